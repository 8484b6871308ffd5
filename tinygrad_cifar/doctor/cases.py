"""The user's gradients on one problem, and whether they agree with those of a backward walk, or of another cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.subject import Problem
from tinygrad_cifar.doctor.walks import Walk
from tinygrad_cifar.engine.graph import Array

_LEAST = 1e-12  # differences below are never errors


@dataclass
class Case:
    """One problem: the recording of the right cost, and the user's gradients.

    Attributes
    ----------
    recording : Recording
        The right cost.
    given : dict of str to ndarray
        The user's gradients by parameter.
    problem : Problem
        Its arguments.
    shapes : dict of str to tuple
        The shapes of the gradients as the user gave them: in ``given``, axes of size 1 are those of the parameters.
    relative : float
        How closely gradients must agree, relative to the largest element of either. Default: 1e-7.
    strict : float
        How closely they must agree with the right ones, besides rounding, to be called right. Default: 1e-7.
    rounding : dict of str to float
        How large errors may be in addition, by parameter, because terms that cancel are rounded. Default: none.
    """

    recording: Recording
    given: dict[str, Array]
    problem: Problem
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    relative: float = 1e-7
    strict: float = 1e-7
    rounding: dict[str, float] = field(default_factory=dict)

    def allowed(self, name: str, gradients: Mapping[str, Array], *, strictly: bool = False) -> float:
        """Return the difference up to which the given gradient of a parameter agrees with that of all ``gradients``."""
        own = magnitude(gradients[name], self.given[name])
        size = max(own, 1e-4 * max(magnitude(g) for g in gradients.values()))
        rounding = self.rounding.get(name, 0.0)
        if rounding:  # of terms that are as much larger as the gradients of this walk are
            rounding *= max(1.0, max(magnitude(g) for g in gradients.values()) / (self._largest or np.inf))
        return (self.strict if strictly else self.relative) * size + rounding + _LEAST

    @cached_property
    def _largest(self) -> float:
        """The largest element of the right gradients."""
        return magnitude(*Walk(self.recording).gradients.values())

    def agrees(self, name: str, gradients: Mapping[str, Array], *, strictly: bool = False) -> bool:
        """Return whether the given gradient of a parameter agrees with that of all ``gradients``."""
        given, g = self.given[name], gradients[name]
        if given.shape != g.shape:
            return False
        return bool(np.all(np.abs(given - g) <= self.allowed(name, gradients, strictly=strictly)))

    def wrong_parameters(self, *, strictly: bool = True) -> frozenset[str]:
        """Return the parameters whose gradient is wrong, or so wrong that the search would see it."""
        gradients = Walk(self.recording).gradients
        return frozenset(name for name in gradients if not self.agrees(name, gradients, strictly=strictly))

    def has_shapes(self) -> dict[str, bool]:
        """Return whether each gradient has the shape of its parameter."""
        steps, at = self.recording.steps, self.recording.parameters
        return {name: g.shape == steps[at[name]].value.shape for name, g in self.given.items()}


def magnitude(*arrays: Array) -> float:
    """Return the largest magnitude in arrays."""
    return max((float(np.abs(a).max()) if a.size else 0.0 for a in arrays), default=0.0)


def agree(a: Array, b: Array, relative: float) -> bool:
    """Return whether two arrays agree, relative to the largest element of either."""
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= relative * magnitude(a, b) + _LEAST))


class Explanation(NamedTuple):
    """What the cost in another form explains of the given gradients.

    Attributes
    ----------
    names : tuple of str
        The gradients that are wrong on the first problem, and those of the other cost on all problems.
    is_enough : bool
        Whether the other cost has all gradients, on all problems.
    is_likely : bool
        Whether these are at least half of those that are wrong on the first problem, or several, not only one.
    """

    names: tuple[str, ...]
    is_enough: bool
    is_likely: bool


def explain(cases: Sequence[Case], wrong: frozenset[str], agreeing: Callable[[Case], set[str]]) -> Explanation | None:
    """Return what a cost explains whose gradients agree with those in ``agreeing(case)``.

    ``wrong`` has the parameters that are wrong on the first problem. None if it explains none, changes one that was
    right, or does so on the first problem only, which may be chance, as with the counts of a hinge loss.
    """
    parameters, first = cases[0].recording.parameters, agreeing(cases[0])
    if not wrong & first or not first >= set(parameters) - wrong:
        return None
    names = tuple(name for name in parameters if name in wrong & first)
    others = [agreeing(case) for case in cases[1:]]
    if not all(set(names) <= other for other in others):
        return None
    is_enough = all(other == set(parameters) for other in (first, *others))
    return Explanation(names, is_enough, is_enough or 2 * len(names) >= len(wrong) or len(names) > 1)
