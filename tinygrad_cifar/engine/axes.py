"""Axis arguments: checked, and counted from the front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from operator import index
from typing import Any, TypeAlias

from tinygrad_cifar.engine.graph import shape_of

Axis: TypeAlias = int | Sequence[int] | None


def normalize_axis_index(name: str, axis: int, ndim: int) -> int:
    """Return ``axis`` counted from the front.

    Raises
    ------
    TypeError
        If it is not an integer; the message names the operation, as that of the next one does.
    IndexError
        If it is out of range.
    """
    if type(axis) is not int:
        axis = _as_integer(name, axis)
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def normalize_axes(name: str, x: Any, axis: Axis) -> tuple[int, ...]:
    """Return one or several axes of ``x`` as a tuple, counted from the front; None stands for all of them."""
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, int) or not isinstance(axis, Iterable):
        return (normalize_axis_index(name, axis, ndim),)
    axes = tuple(normalize_axis_index(name, i, ndim) for i in axis)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} contains a dimension twice")
    return axes


def _as_integer(name: str, axis: Any) -> int:
    try:
        return index(axis)
    except TypeError:
        raise TypeError(f"{name}: axis must be an integer; got {axis!r}") from None


@cache
def invert_permutation(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the permutation of axes that undoes ``axes``."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def size_along(shape: Sequence[int], axes: Sequence[int]) -> int:
    """Return the number of elements that a reduction over ``axes`` combines into one."""
    return math.prod(shape[axis] for axis in axes)


@cache
def reversed_axes(ndim: int) -> tuple[int, ...]:
    """Return the permutation that reverses the axes."""
    return tuple(range(ndim))[::-1]
