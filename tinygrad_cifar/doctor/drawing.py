"""The cases of problems that are drawn: of other sizes, if both functions of the user accept them.

Axes of the same size are assumed to belong together; those of the images are found by changing their size alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.matching import fit_shape
from tinygrad_cifar.doctor.problems import (
    Axis,
    axis_groups,
    batch_candidates,
    class_count,
    draw_problem,
    is_labels,
    small_size,
)
from tinygrad_cifar.doctor.recording import Recording, operations_of
from tinygrad_cifar.doctor.rounding import allow_rounding
from tinygrad_cifar.doctor.subject import Problem, Subject
from tinygrad_cifar.engine.graph import Array

_DRAWN = 3  # problems on which a hypothesis is confirmed


def make_case(
    problem: Problem, recording: Recording, given: Mapping[str, Array], order: Mapping[str, str] | None
) -> Case:
    """Return the user's gradients on a problem, in the order and shapes of the parameters."""
    own = {name: given[order[name] if order else name] for name in recording.parameters}
    arrays = {name: fit_shape(own[name], recording.steps[at].value.shape) for name, at in recording.parameters.items()}
    return Case(recording, arrays, problem, {name: array.shape for name, array in own.items()})


def drawn_cases(subject: Subject, first: Problem, case: Case, order: Mapping[str, str] | None, seed: int) -> list[Case]:
    """Return cases of drawn problems: of other sizes if both functions accept them, otherwise of the same sizes."""
    rng = np.random.default_rng(seed)
    free = _free_axes(subject, first, case.recording, rng)
    errors: list[str] = []
    resized = _draw_cases(subject, first, case, order, rng, free, errors) if free else []
    is_right = not case.wrong_parameters()
    if resized and not (is_right and not _are_right(resized)):
        return resized
    errors.clear()
    cases = _draw_cases(subject, first, case, order, rng, [], errors)
    if is_right and cases and not _are_right(cases):
        # The gradients may rely on a property of the data that drawn data do not have.
        with_data = _draw_cases(subject, first, case, order, rng, [], [], keeps_data=True)
        if with_data and _are_right(with_data):
            subject.notes.append(
                "the gradients are right for the given data, but not for drawn data, which may lack a property that "
                "they rely on"
            )
            return with_data
    if resized and not (cases and _are_right(cases)):
        return resized
    if resized:
        subject.notes.append(
            "the gradients are right for the sizes of the given problem, but not for others: a size, such as the "
            "number of images, is probably written as a number"
        )
    if not cases and errors:
        subject.notes.append(f"other problems could not be compared: {errors[0]}")
    return cases


def _draw_cases(
    subject: Subject,
    first: Problem,
    case: Case,
    order: Mapping[str, str] | None,
    rng: np.random.Generator,
    free: Sequence[frozenset[Axis]],
    errors: list[str],
    *,
    keeps_data: bool = False,
) -> list[Case]:
    """Return cases of problems in which the sizes of some axes have been changed, or all but the data."""
    wrong = case.wrong_parameters()
    cases: list[Case] = []
    spare: list[Case] = []
    for attempt in range(3 * _DRAWN):
        if attempt and subject.budget.is_used_up:
            break
        try:
            drawn = draw_case(subject, first, draw_sizes(free, first, rng), rng, order, keeps_data=keeps_data)
        except DiagnosisError as error:
            errors.append(str(error))
            continue
        if drawn.recording.signature != case.recording.signature:
            continue
        if drawn.has_shapes() == case.has_shapes():
            # No gradient reaches the parameters below units that are all off, so a mistake there cannot be seen.
            (cases if drawn.wrong_parameters() >= wrong else spare).append(drawn)
        if len(cases) == _DRAWN:
            break
    return cases or spare[:_DRAWN]


def draw_sizes(groups: Sequence[frozenset[Axis]], first: Problem, rng: np.random.Generator) -> dict[Axis, int]:
    """Return new sizes of groups of axes: small ones, all different."""
    changed = {axis for group in groups for axis in group}
    shapes = {leaf.name: leaf.value.shape for leaf in first.leaves if isinstance(leaf.value, np.ndarray)}
    taken = {n for name, shape in shapes.items() for k, n in enumerate(shape) if (name, k) not in changed}
    sizes: dict[Axis, int] = {}
    for group in groups:
        name, k = min(group)
        new = small_size(shapes[name][k], taken, rng)
        taken.add(new)
        sizes.update(dict.fromkeys(group, new))
    _give_each_class_an_image(sizes, groups, first)
    return sizes


def _give_each_class_an_image(sizes: dict[Axis, int], groups: Sequence[frozenset[Axis]], first: Problem) -> None:
    """Swap the numbers of images and classes if there are fewer images: integer labels show only classes that occur."""
    labels = [leaf.name for leaf in first.leaves if is_labels(leaf)]
    classes = class_count(first.leaves)
    parameters = {leaf.name: leaf.value.shape for leaf in first.parameters}
    images = [group for group in groups if any((name, 0) in group for name in labels)]
    outputs = [group for group in groups if any(parameters[n][k] == classes for n, k in group if n in parameters)]
    if images and outputs and images[0] != outputs[0]:
        few, many = sizes[min(images[0])], sizes[min(outputs[0])]
        if few < many:
            sizes.update(dict.fromkeys(images[0], many))
            sizes.update(dict.fromkeys(outputs[0], few))


def draw_case(
    subject: Subject,
    first: Problem,
    sizes: Mapping[Axis, int],
    rng: np.random.Generator,
    order: Mapping[str, str] | None,
    *,
    keeps_data: bool = False,
) -> Case:
    """Return the case of a problem like the first one, with these sizes."""
    problem = _draw(first, sizes, rng)
    if keeps_data:
        data = {leaf.name: leaf.value for leaf in first.leaves if not leaf.is_parameter}
        problem = problem.replace(lambda name, value: data[name] if isinstance(data.get(name), np.ndarray) else value)
    recording = subject.record(problem)
    given = subject.evaluate(problem)
    return allow_rounding(subject, make_case(problem, recording, given, order))


def _draw(first: Problem, sizes: Mapping[Axis, int], rng: np.random.Generator) -> Problem:
    arguments = draw_problem(first.arguments, first.leaves, sizes, rng)
    return first.with_arguments(arguments)


def accepts(subject: Subject, first: Problem, recording: Recording, sizes: Mapping[Axis, int], *, both: bool) -> bool:
    """Return whether the cost, and the gradients if ``both``, can be computed with other sizes."""
    try:
        problem = _draw(first, sizes, np.random.default_rng(0))
        if operations_of(subject.evaluate_cost(problem)[0]) != recording.operations:
            return False
        if both and callable(subject.gradients):
            subject.evaluate(problem)
    except (DiagnosisError, ValueError):
        return False
    return True


def find_batch(subject: Subject, first: Problem, recording: Recording) -> frozenset[Axis]:
    """Return the axes of the images: those of the data whose size can be changed alone."""
    tried: list[frozenset[Axis]] = []
    for axes in batch_candidates(first.leaves):
        if axes not in tried:
            tried.append(axes)
            sizes = draw_sizes([axes], first, np.random.default_rng(0))
            if accepts(subject, first, recording, sizes, both=False):
                return axes
    return frozenset()


def _free_axes(
    subject: Subject, first: Problem, recording: Recording, rng: np.random.Generator
) -> list[frozenset[Axis]]:
    """Return the groups of axes whose sizes can be changed, if possible all, without an error of a function."""
    groups = axis_groups(first.leaves, subject.batch)
    if accepts(subject, first, recording, draw_sizes(groups, first, rng), both=True):
        return groups
    free: list[frozenset[Axis]] = []
    for group in groups:
        if subject.budget.is_used_up:
            break
        if accepts(subject, first, recording, draw_sizes([*free, group], first, rng), both=True):
            free.append(group)
    return free


def _are_right(cases: Sequence[Case]) -> bool:
    return not any(case.wrong_parameters() for case in cases)
