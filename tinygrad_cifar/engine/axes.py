"""Axis arguments: checked, and counted from the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.engine.graph import shape_of

Axis: TypeAlias = int | Sequence[int] | None


def normalize_axis_index(name: str, axis: int, ndim: int) -> int:
    """Return ``axis`` counted from the front; raise IndexError, naming the operation, if it is out of range."""
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def normalize_axes(name: str, x: Any, axis: Axis) -> tuple[int, ...]:
    """Return one or several axes of ``x`` as a tuple, counted from the front; None stands for all of them."""
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, (int, np.integer)):
        return (normalize_axis_index(name, int(axis), ndim),)
    axes = tuple(normalize_axis_index(name, i, ndim) for i in axis)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} contains a dimension twice")
    return axes


def invert_permutation(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the permutation of axes that undoes ``axes``."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def size_along(shape: Sequence[int], axes: Sequence[int]) -> int:
    """Return the number of elements that a reduction over ``axes`` combines into one."""
    return math.prod(shape[axis] for axis in axes)
