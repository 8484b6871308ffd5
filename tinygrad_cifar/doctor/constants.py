"""Names of the numbers in a recorded cost, such as the divisor of a mean: those that hold on all of its problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.factors import shared_numbers
from tinygrad_cifar.doctor.recording import NamedNumber, Recording, Ref, Step

_PLAIN = {0.0, 1.0, 2.0}  # more often written as numbers than sizes of a problem


def name_constants(recordings: Sequence[Recording]) -> None:
    """Name the numbers among the operands in recordings of the same cost; the last is that of the given problem.

    On one problem, a number may be equal to several sizes, so only a name that holds on every problem is taken. Without
    one, the number is written as it is on the given problem.
    """
    table = shared_numbers([recording.numbers for recording in recordings])
    for steps in zip(*[recording.steps for recording in recordings], strict=True):
        for k, operands in enumerate(zip(*[step.operands for step in steps], strict=False)):
            if all(isinstance(operand, (int, float)) for operand in operands):
                values = np.array(operands, dtype=float)
                text, meaning = _name(values, table, _name_of_count(values, recordings, steps, k))
                for step, value in zip(steps, values, strict=True):
                    step.operands[k] = number = NamedNumber(value)
                    number.text, number.meaning = text, meaning


def _name(values: np.ndarray, table: Mapping[str, np.ndarray], count: tuple[str, str] | None) -> tuple[str, str]:
    """Return the name of a number that has these values, and what it is if the name does not say it.

    ``count`` is what it is as the divisor of a mean: a product is taken first, since N may be equal to 3 * 3 by chance.
    """
    names = [] if set(values) <= _PLAIN else [name for name, n in table.items() if np.array_equal(n, values)]
    if count is not None and (not names or " * " in count[0]):
        return count
    return names[0] if names else f"{values[-1]:g}", ""


def _name_of_count(
    values: np.ndarray, recordings: Sequence[Recording], steps: Sequence[Step], k: int
) -> tuple[str, str] | None:
    """Return the product of sizes that is the divisor of a mean, and whose sizes they are; None for other numbers."""
    summed = steps[-1].operands[0]
    if steps[-1].op != "divide" or k != 1 or not isinstance(summed, Ref):
        return None
    inner = recordings[-1].steps[summed.at]
    if inner.op != "sum":
        return None
    ((whole, edge),) = inner.edges
    axes = _axes(edge.saved.get("axis"), recordings[-1].steps[whole].value.ndim)
    shapes = [recording.steps[whole].value.shape for recording in recordings]
    if not axes or any(math.prod(s[axis] for axis in axes) != n for s, n in zip(shapes, values, strict=True)):
        return None
    axes = tuple(axis for axis in axes if any(shape[axis] > 1 for shape in shapes)) or axes[:1]
    sizes, along = " * ".join(str(shapes[-1][axis]) for axis in axes), " and ".join(map(str, axes))
    of = recordings[0].text(whole)
    if len(axes) == 1:
        return sizes, f"the size of {of} along axis {along}"
    return f"({sizes})", f"the sizes of {of} along axes {along}"


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes of a sum, counted from the first; empty if it is over all."""
    axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % ndim for a in axes)
