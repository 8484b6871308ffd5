"""Mistakes in the forward pass of the gradient function: an argument that it has forgotten.

The gradients are then those of the cost in which a bias is zero, or a dropout mask one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.problems import Leaf, one_hot_axis
from tinygrad_cifar.doctor.search import Finding
from tinygrad_cifar.doctor.subject import Problem, Subject, plain_value
from tinygrad_cifar.doctor.walks import Edit
from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.tensor import Tensor


@dataclass(frozen=True)
class Forgotten:
    """An argument that the gradient function seems to have forgotten.

    Attributes
    ----------
    leaf : Leaf
        The argument.
    explained : tuple of str
        The gradients that are those of the cost without it.
    is_enough : bool
        Whether that explains all gradients, on all problems.
    is_likely : bool
        Whether it explains at least half of those that are wrong on the first problem, or several, not only its own.
    """

    leaf: Leaf
    explained: tuple[str, ...]
    is_enough: bool
    is_likely: bool

    def finding(self, cases: Sequence[Case]) -> Finding:
        """Return the mistake as a finding of a search."""
        kind = "parameter_forgotten" if self.leaf.is_parameter else "array_forgotten"
        edit = Edit(kind, ("argument", self.leaf.name), lambda _, g: g)
        return Finding(edit, None, self.explained, tuple(1.0 for _ in cases), tuple(cases[0].given))


def find_forgotten_arguments(subject: Subject, cases: Sequence[Case]) -> list[Forgotten]:
    """Return the arguments without which the cost has some of the given gradients, and none that was right changes.

    The first one is alone if it explains all gradients.
    """
    wrong = [case.wrong_parameters() for case in cases]
    if 2 * len(frozenset().union(*wrong)) < len(cases[0].recording.parameters):
        return []  # another forward pass changes nearly all gradients
    found = []
    for leaf in filter(_may_be_forgotten, cases[0].problem.leaves):
        if subject.budget.is_used_up:
            break
        names = cases[0].recording.parameters
        agreeing = _agreeing(subject, cases[0], leaf)
        if wrong[0] & agreeing and agreeing >= set(names) - wrong[0]:
            explained = tuple(name for name in names if name in wrong[0] and name in agreeing)
            is_enough = all(_agreeing(subject, case, leaf) == set(names) for case in cases)
            if is_enough:
                return [Forgotten(leaf, tuple(names), is_enough, True)]
            is_likely = 2 * len(explained) >= len(wrong[0]) or len(explained) > 1
            found.append(Forgotten(leaf, explained, is_enough, is_likely))
    return sorted(found, key=lambda forgotten: -len(forgotten.explained))


def without_argument(subject: Subject, cases: Sequence[Case], leaf: Leaf) -> list[Case] | None:
    """Return the cases with the cost without an argument; None if its graph is another one then."""
    changed = []
    for case in cases:
        try:
            recording = subject.record(_without(case.problem, leaf))
        except DiagnosisError:
            return None
        if recording.signature != case.recording.signature:
            return None
        changed.append(replace(case, recording=recording))
    return changed


def _may_be_forgotten(leaf: Leaf) -> bool:
    """Return whether an argument is an array that can be left out: not labels."""
    array = leaf.value
    return isinstance(array, np.ndarray) and array.dtype.kind == "f" and (leaf.is_parameter or not _is_one_hot(array))


def _is_one_hot(array: Array) -> bool:
    return one_hot_axis(array) is not None


def _agreeing(subject: Subject, case: Case, leaf: Leaf) -> set[str]:
    """Return the parameters whose given gradients are those of the cost without an argument."""
    try:
        gradients = subject.right_gradients(_without(case.problem, leaf))
    except DiagnosisError:
        return set()
    return {name for name in case.given if case.agrees(name, gradients)}


def _without(problem: Problem, leaf: Leaf) -> Problem:
    """Return a problem in which a parameter is zero, or another array one."""

    def change(own: str, value: Any) -> Any:
        if own != leaf.name:
            return value
        array = np.full(np.shape(plain_value(value)), 0.0 if leaf.is_parameter else 1.0)
        return Tensor(array, requires_grad=value.requires_grad) if isinstance(value, Tensor) else array

    return problem.replace(change)
