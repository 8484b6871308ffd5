"""The derivative table: operations that move, repeat or add up elements and compute nothing else.

Each is linear, so its rule is its adjoint, another operation of the same page: ``broadcast_to`` and ``sum_to`` are each
other's, a permutation's is the inverse permutation, what joins is undone by taking apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import Value, shape_of
from tinygrad_cifar.engine.primitives import primitive, variadic_primitive

_reshape = primitive("reshape", lambda x, shape: x.reshape(shape), x=lambda g, x_shape: _reshape(g, x_shape))
_transpose = primitive(
    "transpose",
    lambda x, axes: x.transpose(axes),
    x=lambda g, axes: _transpose(g, inverse(axes)),
)
_broadcast_to = primitive(
    "broadcast_to", lambda x, shape: np.broadcast_to(x, shape), x=lambda g, x_shape: _sum_to(g, x_shape)
)
_flip = primitive("flip", lambda x, axis: np.flip(x, axis), x=lambda g, axis: _flip(g, axis))
_pad = primitive("pad", lambda x, widths, value: _padded(x, widths, value), x=lambda g, widths: g[_inside(widths)])
_concatenate = variadic_primitive(
    "concatenate",
    lambda xs, axis: np.concatenate(xs, axis),
    lambda g, i, xs_shape, axis: g[_part(i, xs_shape, axis)],
)


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the permutation of axes that undoes ``axes``."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _summed_to(x: Any, shape: tuple[int, ...]) -> Any:
    added = x.ndim - len(shape)
    if added > 0 and x.shape[added:] == shape:  # a bias: nothing but leading axes
        return np.add.reduce(x, axis=tuple(range(added)))
    stretched = list(range(added))
    for axis, (wide, size) in enumerate(zip(x.shape[max(added, 0) :], shape, strict=False), max(added, 0)):
        if size != wide:
            if size != 1:
                added = -1
            stretched.append(axis)
    if added < 0:
        raise ValueError(f"an array of shape {x.shape} is no broadcast of shape {shape}")
    return np.add.reduce(x, axis=tuple(stretched)).reshape(shape)


_sum_to = primitive("sum_to", _summed_to, x=lambda g, x_shape: _broadcast_to(g, x_shape))


def _padded(x: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
    shape = tuple(before + size + after for size, (before, after) in zip(x.shape, widths, strict=True))
    out = np.full(shape, value, dtype=x.dtype)
    out[_inside(widths)] = x
    return out


def _inside(widths: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(before, -after if after else None) for before, after in widths)


def _part(i: int, shapes: Sequence[tuple[int, ...]], axis: int) -> tuple[slice, ...]:
    sizes = [shape[axis] for shape in shapes]
    return (*[slice(None)] * axis, slice(sum(sizes[:i]), sum(sizes[: i + 1])))


def normalize_axis_index(name: str, axis: int, ndim: int) -> int:
    """Return ``axis`` counted from the front, or raise an IndexError that names the operation."""
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def _shape(shape: Any) -> tuple[int, ...]:
    kind = type(shape)
    if kind is tuple:
        return shape
    return (index(shape),) if kind is int or np.ndim(shape) == 0 else tuple(index(size) for size in shape)


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """Give the elements, in their order, another shape; one size may be -1, and is then worked out.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, reshape
    >>> reshape(Tensor([[1.0, 2.0], [3.0, 4.0]]), -1)
    Tensor([1., 2., 3., 4.])
    """
    return _reshape(x, _shape(shape))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Permute the axes: axis ``i`` of the result is axis ``axes[i]`` of ``x``; None reverses them.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, transpose
    >>> transpose(Tensor([[1.0, 2.0, 3.0]])).shape
    (3, 1)
    """
    ndim = len(shape_of(x))
    if axes is None:
        return _transpose(x, tuple(range(ndim))[::-1])
    axes = tuple(normalize_axis_index("transpose", axis, ndim) for axis in axes)
    if sorted(axes) != list(range(ndim)):
        raise ValueError(f"transpose: axes {axes} are no permutation of the {ndim} axes of shape {shape_of(x)}")
    return _transpose(x, axes)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import swapaxes
    >>> swapaxes(np.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    ndim = len(shape_of(x))
    axes = list(range(ndim))
    i, j = (normalize_axis_index("swapaxes", axis, ndim) for axis in (axis1, axis2))
    axes[i], axes[j] = axes[j], axes[i]
    return _transpose(x, tuple(axes))


def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """Insert axes of size 1, at the positions ``axis`` of the result.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import expand_dims
    >>> expand_dims(np.zeros(3), (0, -1)).shape
    (1, 3, 1)
    """
    return _reshape(x, np.expand_dims(np.empty(shape_of(x), dtype=bool), axis).shape)


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Remove axes of size 1: those named, or all.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import squeeze
    >>> squeeze(np.zeros((1, 3, 1)), -1).shape
    (1, 3)
    """
    shape = shape_of(x)
    axes = None if axis is None else tuple(np.atleast_1d(axis).tolist())
    try:
        return _reshape(x, np.squeeze(np.empty(shape, dtype=bool), axes).shape)
    except ValueError as error:
        raise ValueError(f"squeeze: an axis of {axis} in shape {shape} does not have size 1") from error


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """Repeat ``x`` along new axes and axes of size 1, as NumPy does, without copying; the adjoint of :func:`sum_to`.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, broadcast_to
    >>> t = Tensor([1.0, 2.0], requires_grad=True)
    >>> broadcast_to(t, (3, 2)).sum().backward()
    >>> t.grad
    Tensor([3., 3.])
    """
    return _broadcast_to(x, _shape(shape))


def sum_to(x: Any, shape: int | Sequence[int]) -> Any:
    """Add up what broadcasting ``shape`` to the shape of ``x`` would repeat; the adjoint of :func:`broadcast_to`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import sum_to
    >>> sum_to(np.ones((3, 2)), (1, 2))
    array([[3., 3.]])
    """
    return _sum_to(x, _shape(shape))


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Reverse the order of the elements along the given axes, or along all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import flip
    >>> flip(np.array([1.0, 2.0, 3.0]))
    array([3., 2., 1.])
    """
    ndim = len(shape_of(x))
    axes = range(ndim) if axis is None else np.atleast_1d(axis).tolist()
    return _flip(x, tuple(normalize_axis_index("flip", a, ndim) for a in axes))


def pad(x: Any, widths: int | Sequence[Any], value: float = 0.0) -> Any:
    """Surround ``x`` with a constant: ``widths`` as in :func:`numpy.pad`, ``(before, after)`` for each axis.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import pad
    >>> pad(np.array([1.0, 2.0]), (1, 2))
    array([0., 1., 2., 0., 0.])
    """
    pairs = np.broadcast_to(np.asarray(widths, dtype=int), (len(shape_of(x)), 2)).tolist()
    if any(width < 0 for pair in pairs for width in pair):
        raise ValueError(f"pad: widths must not be negative, got {widths}; slice the tensor to make it smaller")
    return _pad(x, tuple((before, after) for before, after in pairs), value)


def concatenate(xs: Sequence[Any], axis: int | None = 0) -> Any:
    """Join tensors along an axis that exists; with None, all their elements in one row.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, concatenate
    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.])
    """
    xs = tuple(xs)
    if not xs:
        raise ValueError("concatenate: there is nothing to join; give at least one tensor")
    if axis is None:
        return _concatenate(tuple([reshape(x if isinstance(x, Value) else np.asarray(x), -1) for x in xs]), 0)
    return _concatenate(xs, normalize_axis_index("concatenate", axis, len(shape_of(xs[0]))))


def stack(xs: Sequence[Any], axis: int = 0) -> Any:
    """Join tensors of one shape along a new axis.

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
        raise ValueError(f"stack: all shapes must be equal, got {sorted(shapes)}")
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def size_along(shape: Sequence[int], axes: Sequence[int]) -> int:
    """Return how many elements one result of a reduction over ``axes`` stands for."""
    return math.prod(shape[axis] for axis in axes)
