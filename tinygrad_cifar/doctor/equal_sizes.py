"""Further problems that tell apart sizes which are equal in the others, as the numbers of classes and of patches.

Axes of the same size are drawn with the same size, since most belong together. A factor that is equal to one of them on
all problems may therefore be another one. Which axes can be changed apart takes many calls to find out, so it is done
only if a mistake is stated with such a factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.drawing import accepts, draw_case, draw_sizes
from tinygrad_cifar.doctor.factors import LEAST_SIZE, is_integer, is_size
from tinygrad_cifar.doctor.problems import Axis, is_labels
from tinygrad_cifar.doctor.recording import NamedNumber, Recording
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.subject import Problem, Subject

_MOST_TRIED = 100  # sets of axes
_SECONDS = 0.2  # of processor time


def cases_that_tell_apart(
    subject: Subject,
    first: Problem,
    cases: Sequence[Case],
    findings: Sequence[Finding],
    order: Mapping[str, str] | None,
) -> list[Case]:
    """Return cases in which the axes of a size that a mistake is stated with have different sizes.

    Parameters
    ----------
    subject : Subject
        The functions of the user.
    first : Problem
        The given problem.
    cases : sequence of Case
        The problems so far; the last is the given one. The numbers in their recordings have names.
    findings : sequence of Finding
        The mistakes.
    order : mapping, optional
        Whose place each gradient has.
    """
    rng, ends = np.random.default_rng(0), subject.budget.total + _SECONDS
    recording = cases[-1].recording
    found: list[Case] = []
    for size in sorted(_sizes_used(findings, recording)):
        known: set[Axis] = set()
        axes = _axes_of_size(first, subject, size)
        if not axes or (len(axes) == 1 and any(_sizes(case.problem)[axes[0]] != size for case in cases)):
            continue
        for part, sizes in islice(_changes(subject, first, axes, rng), _MOST_TRIED):
            if subject.budget.has_reached(ends):
                return found
            if part.isdisjoint(known) and accepts(subject, first, recording, sizes, both=True):
                known |= part
                found += _draw(subject, first, cases[-1], sizes, rng, order)
    return found


def _sizes_used(findings: Sequence[Finding], recording: Recording) -> set[int]:
    """Return the sizes of axes, on a problem, that factors of mistakes are equal to, or their reciprocals."""
    used: set[float] = set()
    for finding in findings:
        if finding.factor is not None:
            used |= {recording.numbers[name] for name, _ in finding.factor.powers if is_size(name)}
            if number := abs(finding.factor.coefficient):
                used |= {float(round(n)) for n in (number, 1 / number) if is_integer(n)}
        if finding.edit.site[0] in ("edge", "node"):
            operands = recording.steps[finding.edit.at].operands
            used |= {float(x) for x in operands if isinstance(x, NamedNumber) and is_size(x.text)}
    return {int(n) for n in used if n >= LEAST_SIZE}


def _axes_of_size(first: Problem, subject: Subject, size: int) -> list[Axis]:
    """Return the axes of a size, other than those of the images."""
    return [axis for axis, n in _sizes(first).items() if n == size and axis not in subject.batch]


def _sizes(first: Problem) -> dict[Axis, int]:
    arrays = [leaf for leaf in first.leaves if isinstance(leaf.value, np.ndarray)]
    return {(leaf.name, k): n for leaf in arrays for k, n in enumerate(leaf.value.shape)}


def _changes(
    subject: Subject, first: Problem, axes: Sequence[Axis], rng: np.random.Generator
) -> Iterator[tuple[set[Axis], dict[Axis, int]]]:
    """Yield sets of axes that may belong together, the smallest first, with new sizes of them.

    They are tried alone first, and then with the axes whose sizes are multiples, as that of flattened patches. Integer
    labels need an image of each class, so the number of images changes with them.
    """
    images = [subject.batch] if any(map(is_labels, first.leaves)) else []
    size = _sizes(first)[axes[0]]
    multiples = {axis: n // size for axis, n in _sizes(first).items() if n > size and n % size == 0}
    multiples = {axis: n for axis, n in multiples.items() if axis not in subject.batch}
    for scaled in ({}, multiples) if multiples else ({},):
        for count in range(1, len(axes) + 1):
            for part in combinations(axes, count):
                sizes = draw_sizes([*images, frozenset(part)], first, rng)
                yield set(part), sizes | {axis: n * sizes[part[0]] for axis, n in scaled.items()}


def _draw(
    subject: Subject,
    first: Problem,
    given: Case,
    sizes: Mapping[Axis, int],
    rng: np.random.Generator,
    order: Mapping[str, str] | None,
) -> list[Case]:
    """Return a case with these sizes; none if its gradients cannot be compared."""
    try:
        case = draw_case(subject, first, sizes, rng, order)
    except DiagnosisError:
        return []
    is_like = case.recording.signature == given.recording.signature and case.has_shapes() == given.has_shapes()
    return [case] if is_like and case.wrong_parameters() >= given.wrong_parameters() else []
