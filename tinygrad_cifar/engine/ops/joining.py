"""The derivative table: joining arrays, and splitting them.

Joining is linear, and its VJP gives each input the part of the cotangent that lies where the input went.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.operations import TensorLike, sequence_operation
from tinygrad_cifar.engine.ops.shapes import _reshape, expand_dims, reshape
from tinygrad_cifar.engine.primitives import variadic_primitive

_concatenate = variadic_primitive(
    "concatenate",
    lambda xs, axis: np.concatenate(xs, axis),
    lambda g, i, xs_shape, axis: g[_part(i, xs_shape, axis)],
    doc=Doc("Join.", "concatenate(xs, axis)", xs="for each of xs, its part of g"),
)


def _part(i: int, shapes: Sequence[tuple[int, ...]], axis: int) -> tuple[slice, ...]:
    """Return the index of input ``i`` in the concatenation of inputs of these shapes."""
    sizes = [shape[axis] for shape in shapes]
    start = sum(sizes[:i])
    return (*[slice(None)] * axis, slice(start, start + sizes[i]))


# -- operations --------------------------------------------------------------------------------------------------------


@sequence_operation(_concatenate)
def concatenate(xs: Sequence[TensorLike], axis: int | None = 0) -> TensorLike:
    """Join tensors along an existing axis; if ``axis`` is None, flatten them first.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, concatenate
    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.])
    """
    xs = tuple(xs)
    if not xs:
        raise ValueError("concatenate: give at least one tensor")
    if axis is None:
        flat: list[Any] = [reshape(x if hasattr(x, "dtype") else np.asarray(x), -1) for x in xs]
        return _concatenate(tuple(flat), 0)
    return _concatenate(xs, normalize_axis_index("concatenate", axis, len(shape_of(xs[0]))))


@sequence_operation(
    _concatenate,
    _reshape,
    doc=Doc("Join.", "concatenate([expand_dims(x, axis) for x in xs], axis)", xs="for each of xs, its part of g"),
)
def stack(xs: Sequence[TensorLike], axis: int = 0) -> TensorLike:
    """Join tensors of the same shape along a new axis.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, stack
    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    xs = tuple(xs)
    shapes = {shape_of(x) for x in xs}
    if len(shapes) > 1:
        raise ValueError(f"stack: all shapes must be equal; got {sorted(shapes)}")
    expanded: list[Any] = [expand_dims(x, axis) for x in xs]
    return concatenate(expanded, axis)
