"""Mistakes about arguments: one that the gradient function has forgotten, or whose images are shifted by one.

The gradients are then those of the cost with other arguments: with a bias of zero, a dropout mask of one, or the labels
of other images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case, explain
from tinygrad_cifar.doctor.problems import Leaf, class_count, is_labels, one_hot_axis
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.subject import Problem, Subject, plain_value
from tinygrad_cifar.doctor.walks import Edit
from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.tensor import Tensor

_SECONDS = 0.25  # of processor time, with that of the cost


@dataclass(frozen=True)
class OtherArgument:
    """Other values of one argument, or of several of the same kind, such as the biases of all layers.

    Attributes
    ----------
    kind : str
        ``"parameter_forgotten"``, ``"array_forgotten"``, ``"images_shifted"`` or ``"classes_shifted"``.
    leaves : tuple of Leaf
        The arguments.
    value : callable
        ``value(array, classes)`` is the other array.
    steps : int
        By how many images or classes it is shifted.
    """

    kind: str
    leaves: tuple[Leaf, ...]
    value: Callable[[Array, int], Array]
    steps: int = 0

    def of(self, problem: Problem) -> Problem:
        """Return a problem with the other values."""
        names, classes = {leaf.name for leaf in self.leaves}, class_count(problem.leaves)

        def change(name: str, old: Any) -> Any:
            if name not in names:
                return old
            array = self.value(np.asarray(plain_value(old)), classes)
            return Tensor(array, requires_grad=old.requires_grad) if isinstance(old, Tensor) else array

        return problem.replace(change)


@dataclass(frozen=True)
class Mistaken:
    """Other arguments that explain gradients.

    Attributes
    ----------
    argument : OtherArgument
        The other values.
    explained : tuple of str
        The gradients that are those of the cost with them.
    is_enough : bool
        Whether that explains all gradients, on all problems.
    is_likely : bool
        Whether it explains at least half of those that are wrong on the first problem, or several, not only its own.
    """

    argument: OtherArgument
    explained: tuple[str, ...]
    is_enough: bool
    is_likely: bool

    def finding(self, cases: Sequence[Case]) -> Finding:
        """Return the mistake as a finding of a search."""
        detail = {"arguments": tuple(leaf.name for leaf in self.argument.leaves), "steps": self.argument.steps}
        detail["is_label"] = all(map(_is_label, self.argument.leaves))
        edit = Edit(self.argument.kind, ("argument", ""), lambda _, g: g, detail=detail)
        affected = self.explained if self.is_enough else tuple(cases[0].given)
        return Finding(edit, None, self.explained, tuple(1.0 for _ in cases), affected)


def find_mistaken_arguments(subject: Subject, cases: Sequence[Case]) -> list[Mistaken]:
    """Return the other arguments with which the cost has some of the given gradients, and none that was right changes.

    The first one is alone if it explains all gradients.
    """
    wrong = [case.wrong_parameters(strictly=False) for case in cases]
    if 2 * len(frozenset().union(*wrong)) < len(cases[0].recording.parameters):
        return []  # another forward pass changes nearly all gradients
    found = []
    ends = subject.budget.total + _SECONDS
    for argument in _other_arguments(subject, cases[0]):
        if subject.budget.has_reached(ends):
            break
        explanation = explain(cases, wrong[0], partial(_agreeing, subject, argument))
        if explanation is None:
            continue
        if explanation.is_enough:
            changed = frozenset().union(*wrong)
            names = tuple(name for name in cases[0].recording.parameters if name in changed)
            return [Mistaken(argument, names, is_enough=True, is_likely=True)]
        found.append(Mistaken(argument, *explanation))
    return sorted(found, key=lambda one: -len(one.explained))


def with_argument(subject: Subject, cases: Sequence[Case], argument: OtherArgument) -> list[Case] | None:
    """Return the cases with the cost of other arguments; None if its graph is another one then."""
    changed = []
    for case in cases:
        try:
            recording = subject.record(argument.of(case.problem))
        except DiagnosisError:
            return None
        if recording.signature != case.recording.signature:
            return None
        changed.append(replace(case, recording=recording))
    return changed


def _agreeing(subject: Subject, argument: OtherArgument, case: Case) -> set[str]:
    """Return the parameters whose given gradients are those of the cost with other arguments."""
    try:
        gradients = subject.right_gradients(argument.of(case.problem))
    except (DiagnosisError, ValueError):
        return set()
    return {name for name in case.given if case.agrees(name, gradients)}


# -- what the arguments may have been instead --------------------------------------------------------------------------


def _other_arguments(subject: Subject, case: Case) -> Iterator[OtherArgument]:
    leaves = [leaf for leaf in case.problem.leaves if isinstance(leaf.value, np.ndarray)]
    parameters = [leaf for leaf in leaves if leaf.is_parameter and _is_vector(leaf)]  # weights are not forgotten
    arrays = [leaf for leaf in leaves if not leaf.is_parameter and leaf.value.dtype.kind == "f" and not _is_label(leaf)]
    for kind, among, value in (
        ("parameter_forgotten", parameters, _zero),
        ("array_forgotten", arrays, _one),
        ("array_forgotten", [leaf for leaf in parameters if _is_scale(case, leaf)], _one),
    ):
        for group in (*[(leaf,) for leaf in among], *_of_all_layers(among)):
            yield OtherArgument(kind, group, value)
    data = [leaf for leaf in leaves if not leaf.is_parameter and leaf.value.ndim]
    for leaf in sorted(data, key=lambda leaf: (not _is_label(leaf), -_last_use(case, leaf))):
        yield from _shifted(leaf, dict(subject.batch).get(leaf.name))


def _shifted(leaf: Leaf, images: int | None) -> Iterator[OtherArgument]:
    """Yield an array with its images shifted by one, and labels shifted by one class."""
    classes = one_hot_axis(leaf.value)
    for steps in (1, -1):
        if images is not None:
            yield OtherArgument("images_shifted", (leaf,), _rolled(images, steps), steps)
        if is_labels(leaf):
            yield OtherArgument("images_shifted", (leaf,), _moved(0, steps), steps)
            yield OtherArgument("classes_shifted", (leaf,), _next_class(steps), steps)
        elif classes is not None:
            yield OtherArgument("images_shifted", (leaf,), _moved(1 - classes, steps), steps)
            yield OtherArgument("classes_shifted", (leaf,), _rolled(classes, steps), steps)


def _zero(array: Array, _: int) -> Array:
    return np.zeros(array.shape)


def _one(array: Array, _: int) -> Array:
    return np.ones(array.shape)


def _rolled(axis: int, steps: int) -> Callable[[Array, int], Array]:
    return lambda array, _: np.roll(array, steps, axis)


def _moved(axis: int, steps: int) -> Callable[[Array, int], Array]:
    """Return a function that shifts labels by one image, of which the one at the end gets the first class."""

    def value(array: Array, _: int) -> Array:
        moved = np.moveaxis(np.roll(array, steps, axis), axis, 0).copy()
        moved[0 if steps > 0 else -1] = 0 if moved.ndim == 1 else np.eye(moved.shape[1])[0]
        return np.moveaxis(moved, 0, axis)

    return value


def _next_class(steps: int) -> Callable[[Array, int], Array]:
    # As signed integers, since those without a sign have no class before the first one.
    return lambda labels, classes: ((labels.astype(np.int64) + steps) % classes).astype(labels.dtype)


def _of_all_layers(leaves: Sequence[Leaf]) -> Iterator[tuple[Leaf, ...]]:
    """Yield the arguments whose names differ in their number only, such as b1 and b2, or bs[0] and bs[1]."""
    groups: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        groups.setdefault(re.sub(r"\d+", "#", leaf.name), []).append(leaf)
    for group in groups.values():
        if len(group) > 1:
            yield tuple(group)
        if len(group) > 2:  # noqa: PLR2004 (the last layer is often computed apart)
            yield tuple(group[:-1])


def _is_label(leaf: Leaf) -> bool:
    return is_labels(leaf) or one_hot_axis(leaf.value) is not None


def _is_vector(leaf: Leaf) -> bool:
    return bool(leaf.value.size == max(leaf.value.shape, default=1))


def _is_scale(case: Case, leaf: Leaf) -> bool:
    """Return whether a parameter is a factor, as in batch normalisation."""
    recording = case.recording
    if leaf.name not in recording.parameters:
        return False
    return any(recording.steps[i].op == "multiply" for i, _ in recording.consumers[recording.parameters[leaf.name]])


def _last_use(case: Case, leaf: Leaf) -> int:
    """Return the last step of the cost that an array is an operand of: targets are used later than images."""
    array = case.recording.arrays.get(leaf.name)
    uses = [
        k
        for k, step in enumerate(case.recording.steps)
        for x in step.operands
        if (isinstance(x, str) and x == leaf.name)
        or (isinstance(x, np.ndarray) and array is not None and np.array_equal(x, array))
    ]
    return max(uses, default=-1)
