"""The derivative table: operations that move, repeat or sum elements.

Each is linear, so its VJP is its adjoint, which is another operation of the same page: ``broadcast_to`` and ``sum_to``
are adjoint to each other, a permutation to the inverse permutation, joining to taking apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import invert_permutation, normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.primitives import primitive

_reshape = primitive(
    "reshape",
    lambda x, shape: x.reshape(shape),
    x=lambda g, x_shape: _reshape(g, x_shape),
    doc=Doc("Change the shape.", "reshape(x, shape)", x="reshape(g, x.shape)"),
)
_transpose = primitive(
    "transpose",
    lambda x, axes: x.transpose(axes),
    x=lambda g, axes: _transpose(g, invert_permutation(axes)),
    doc=Doc("Permute the axes.", "transpose(x, axes)", x="transpose(g, argsort(axes))"),
)
_broadcast_to = primitive(
    "broadcast_to",
    lambda x, shape: np.broadcast_to(x, shape),
    x=lambda g, x_shape: _sum_to(g, x_shape),
    doc=Doc("Repeat.", "broadcast_to(x, shape)", x="sum_to(g, x.shape)"),
)
_flip = primitive(
    "flip",
    lambda x, axis: np.flip(x, axis),
    x=lambda g, axis: _flip(g, axis),
    doc=Doc("Reverse.", "flip(x, axis)", x="flip(g, axis)"),
)
_pad = primitive(
    "pad",
    lambda x, widths, value: _pad_array(x, widths, value),
    x=lambda g, widths: g[_interior(widths)],
    doc=Doc("Pad.", "pad(x, widths)", x="g without its borders"),
)


def _sum_to_shape(x: Any, shape: tuple[int, ...]) -> Any:
    added = x.ndim - len(shape)
    if added > 0 and x.shape[added:] == shape:  # only leading axes were added, as for a bias
        return np.add.reduce(x, axis=tuple(range(added)))
    stretched = list(range(added))
    for axis, (wide, size) in enumerate(zip(x.shape[max(added, 0) :], shape, strict=False), max(added, 0)):
        if size != wide:
            if size != 1:
                added = -1
            stretched.append(axis)
    if added < 0:
        raise ValueError(f"shape {shape} cannot be broadcast to {x.shape}, so there is nothing to sum")
    return np.add.reduce(x, axis=tuple(stretched)).reshape(shape)


_sum_to = primitive(
    "sum_to",
    _sum_to_shape,
    x=lambda g, x_shape: _broadcast_to(g, x_shape),
    doc=Doc(
        "Sum over broadcast axes.", "sum over the axes along which shape is broadcast", x="broadcast_to(g, x.shape)"
    ),
)


def _pad_array(x: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
    shape = tuple(before + size + after for size, (before, after) in zip(x.shape, widths, strict=True))
    out = np.full(shape, value, dtype=x.dtype)
    out[_interior(widths)] = x
    return out


def _interior(widths: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(before, -after if after else None) for before, after in widths)


def _as_shape(shape: Any) -> tuple[int, ...]:
    kind = type(shape)
    if kind is tuple:
        return shape
    return (index(shape),) if kind is int or np.ndim(shape) == 0 else tuple(index(size) for size in shape)


# -- operations --------------------------------------------------------------------------------------------------------


@operation(_reshape)
def reshape(x: TensorLike, shape: int | Sequence[int]) -> TensorLike:
    """Change the shape, keeping the elements in C order; one size may be -1 and is then inferred.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, reshape
    >>> reshape(Tensor([[1.0, 2.0], [3.0, 4.0]]), -1)
    Tensor([1., 2., 3., 4.])
    """
    return _reshape(x, _as_shape(shape))


@operation(_transpose)
def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> TensorLike:
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
        raise ValueError(f"transpose: axes {axes} are not a permutation of the {ndim} axes of shape {shape_of(x)}")
    return _transpose(x, axes)


@operation(_transpose)
def swapaxes(x: TensorLike, axis1: int, axis2: int) -> TensorLike:
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


@operation(_reshape)
def expand_dims(x: TensorLike, axis: int | Sequence[int]) -> TensorLike:
    """Insert axes of size 1 at the positions ``axis`` of the result.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import expand_dims
    >>> expand_dims(np.zeros(3), (0, -1)).shape
    (1, 3, 1)
    """
    return _reshape(x, np.expand_dims(np.empty(shape_of(x), dtype=bool), axis).shape)


@operation(_reshape)
def squeeze(x: TensorLike, axis: int | Sequence[int] | None = None) -> TensorLike:
    """Remove axes of size 1: the given ones, or all of them.

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


@operation(_broadcast_to)
def broadcast_to(x: TensorLike, shape: int | Sequence[int]) -> TensorLike:
    """Broadcast ``x`` to a shape, as NumPy does, without copying; the adjoint of :func:`sum_to`.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, broadcast_to
    >>> t = Tensor([1.0, 2.0], requires_grad=True)
    >>> broadcast_to(t, (3, 2)).sum().backward()
    >>> t.grad
    Tensor([3., 3.])
    """
    return _broadcast_to(x, _as_shape(shape))


@operation(_sum_to)
def sum_to(x: TensorLike, shape: int | Sequence[int]) -> TensorLike:
    """Sum over the axes along which ``shape`` is broadcast to that of ``x``; the adjoint of :func:`broadcast_to`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import sum_to
    >>> sum_to(np.ones((3, 2)), (1, 2))
    array([[3., 3.]])
    """
    return _sum_to(x, _as_shape(shape))


@operation(_flip)
def flip(x: TensorLike, axis: int | Sequence[int] | None = None) -> TensorLike:
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


@operation(_pad)
def pad(x: TensorLike, widths: int | Sequence[TensorLike], value: float = 0.0) -> TensorLike:
    """Pad with a constant; ``widths`` is ``(before, after)`` for each axis, as in :func:`numpy.pad`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import pad
    >>> pad(np.array([1.0, 2.0]), (1, 2))
    array([0., 1., 2., 0., 0.])
    """
    pairs = np.broadcast_to(np.asarray(widths, dtype=int), (len(shape_of(x)), 2)).tolist()
    if any(width < 0 for pair in pairs for width in pair):
        raise ValueError(f"pad: widths must not be negative; got {widths} (slice the tensor to make it smaller)")
    return _pad(x, tuple((before, after) for before, after in pairs), value)
