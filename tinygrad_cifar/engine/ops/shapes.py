"""The derivative table: operations that move, repeat or sum elements.

Each is linear, so its VJP is its adjoint, which is another operation of this module: ``broadcast_to`` and ``sum_to``
are adjoint to each other, a permutation to the inverse permutation, joining to taking apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import invert_permutation, normalize_axes, normalize_axis_index, reversed_axes
from tinygrad_cifar.engine.blocked.row_sums import sum_last, sum_leading
from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Value, shape_of, value_or_array
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
        return sum_leading(x, added)
    stretched = list(range(added))
    for axis, (wide, size) in enumerate(zip(x.shape[max(added, 0) :], shape, strict=False), max(added, 0)):
        if size != wide:
            if size != 1:
                added = -1
            stretched.append(axis)
    if added < 0:
        raise ValueError(f"shape {shape} cannot be broadcast to {x.shape}, so there is nothing to sum")
    if stretched == [x.ndim - 1]:
        return sum_last(x).reshape(shape)
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
        return _transpose(x, reversed_axes(ndim))
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
    shape = shape_of(x)
    ndim = len(shape) + 1
    if type(axis) is int and -ndim <= axis < ndim:  # the usual case, in a third of the time
        axis %= ndim
        return _reshape(x, (*shape[:axis], 1, *shape[axis:]))
    return _reshape_as(x, np.expand_dims, axis)


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
    axes = None if axis is None else normalize_axes("squeeze", x, axis)
    if axes is not None and any(shape_of(x)[i] != 1 for i in axes):
        raise ValueError(f"squeeze: an axis of {axis} in shape {shape_of(x)} does not have size 1")
    return _reshape_as(x, np.squeeze, axes)


@operation(_reshape, doc=Doc("", "reshape(x, -1)"))
def ravel(x: TensorLike) -> TensorLike:
    """Flatten to one axis, with the elements in C order.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.ravel(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([1., 2., 3., 4.])
    """
    return _reshape(x, (-1,) if math.prod(shape_of(x)) else (0,))


@operation(_reshape, doc=Doc("", "reshape(x, (1,)) if x.ndim == 0 else x"))
def atleast_1d(x: TensorLike) -> TensorLike:
    """Convert to at least one dimension.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.atleast_1d(tg.Tensor(2.0))
    Tensor([2.])
    """
    return _reshape_as(x, np.atleast_1d)


@operation(_reshape, doc=Doc("", "reshape(x, (1, *x.shape)[-2:]) if x.ndim < 2 else x"))
def atleast_2d(x: TensorLike) -> TensorLike:
    """Make a vector, or a scalar, a matrix of one row.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.atleast_2d(tg.Tensor([1.0, 2.0]))
    Tensor([[1., 2.]])
    """
    return _reshape_as(x, np.atleast_2d)


@operation(_reshape, doc=Doc("", "x with axes of size 1 added: (n,) becomes (1, n, 1), and (m, n) becomes (m, n, 1)"))
def atleast_3d(x: TensorLike) -> TensorLike:
    """Add axes of size 1 until there are three, as :func:`numpy.atleast_3d` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.atleast_3d(tg.Tensor([1.0, 2.0])).shape
    (1, 2, 1)
    """
    return _reshape_as(x, np.atleast_3d)


@operation(_transpose, doc=Doc("", "moveaxis(x, source, destination)"))
def moveaxis(x: TensorLike, source: int | Sequence[int], destination: int | Sequence[int]) -> TensorLike:
    """Move axes to other positions; the other axes remain in their order.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import moveaxis
    >>> moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return _transpose_as(x, np.moveaxis, source, destination)


@operation(_transpose, doc=Doc("", "rollaxis(x, axis, start)"))
def rollaxis(x: TensorLike, axis: int, start: int = 0) -> TensorLike:
    """Move an axis before the axis ``start``; :func:`moveaxis` is easier to read.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import rollaxis
    >>> rollaxis(np.zeros((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    return _transpose_as(x, np.rollaxis, axis, start)


def _reshape_as(x: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Reshape ``x`` as a NumPy function that only changes shapes does."""
    return _reshape(x, function(np.broadcast_to(False, shape_of(x)), *arguments).shape)


def _transpose_as(x: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Permute the axes of ``x`` as a NumPy function that permutes axes does: their sizes are their numbers."""
    return _transpose(x, function(np.empty(range(len(shape_of(x)))), *arguments).shape)


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


@operation(_flip, doc=Doc("", "flip(x, 0)"))
def flipud(x: TensorLike) -> TensorLike:
    """Reverse the order of the rows.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.flipud(tg.Tensor([1.0, 2.0, 3.0]))
    Tensor([3., 2., 1.])
    """
    return flip(x, 0)


@operation(_flip, doc=Doc("", "flip(x, 1)"))
def fliplr(x: TensorLike) -> TensorLike:
    """Reverse the order of the columns.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.fliplr(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[2., 1.],
            [4., 3.]])
    """
    return flip(x, 1)


@operation(_flip, _transpose, doc=Doc("", "for k = 1: swapaxes(flip(x, axes[1]), *axes)"))
def rot90(x: TensorLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> TensorLike:
    """Rotate by ``k`` times 90 degrees in the plane of two axes, from the first towards the second.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.rot90(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[2., 4.],
            [1., 3.]])
    """
    first, second = (normalize_axis_index("rot90", axis, len(shape_of(x))) for axis in axes)
    if first == second:
        raise ValueError(f"rot90: axes must be two different axes; got {axes}")
    flipped = ((), second, (first, second), first)[k % 4]
    out = flip(x, flipped)
    return swapaxes(out, first, second) if k % 2 else out


@operation(_broadcast_to, _reshape, doc=Doc("", "x repeated reps times along each axis"))
def tile(x: TensorLike, reps: int | Sequence[int]) -> TensorLike:
    """Repeat ``x`` as a whole, ``reps`` times along each axis.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.tile(tg.Tensor([1.0, 2.0]), 2)
    Tensor([1., 2., 1., 2.])
    """
    shape, counts = shape_of(x), _as_shape(reps)
    ndim = max(len(shape), len(counts))
    shape = (1,) * (ndim - len(shape)) + shape
    counts = (1,) * (ndim - len(counts)) + counts
    pairs = list(zip(counts, shape, strict=True))
    spread = _broadcast_to(_reshape(x, _interleave((1, size) for size in shape)), _interleave(pairs))
    return _reshape(spread, tuple(count * size for count, size in pairs))


def _interleave(pairs: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(size for pair in pairs for size in pair)


@documented(_broadcast_to, doc=Doc("", "[broadcast_to(x, shape) for x in xs], with the shape to which all broadcast"))
def broadcast_arrays(*xs: TensorLike) -> list[TensorLike]:
    """Broadcast several tensors or arrays to one shape; the result is a list.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> [x.shape for x in tg.broadcast_arrays(tg.Tensor([[1.0], [2.0]]), tg.Tensor([3.0, 4.0, 5.0]))]
    [(2, 3), (2, 3)]
    """
    shape = np.broadcast_shapes(*map(shape_of, xs))
    return [_broadcast_to(x, shape) for x in xs]


@documented(
    _broadcast_to, _reshape, doc=Doc("", "for each of xs: its elements along one axis, repeated along the others")
)
def meshgrid(*xs: TensorLike, indexing: str = "xy") -> list[TensorLike]:
    """Make the coordinates of a grid from those of its axes, as :func:`numpy.meshgrid` does; the result is a list.

    With ``indexing="xy"`` the first two axes of the results are exchanged; with ``indexing="ij"`` they are not.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> x, y = tg.meshgrid(tg.Tensor([1.0, 2.0]), tg.Tensor([3.0, 4.0, 5.0]))
    >>> x
    Tensor([[1., 2.],
            [1., 2.],
            [1., 2.]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij'; got {indexing!r}")
    order = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        order[:2] = [1, 0]
    return broadcast_arrays(
        *[_reshape(x, tuple(-1 if place == axis else 1 for place in order)) for axis, x in enumerate(xs)]
    )


@operation(_pad, doc=Doc("", "pad(x, pad_width, mode)"))
def pad(
    x: TensorLike,
    pad_width: int | Sequence[TensorLike],
    mode: str = "constant",
    *,
    constant_values: float = 0.0,
) -> TensorLike:
    """Pad; ``pad_width`` is ``(before, after)`` for each axis, as in :func:`numpy.pad`.

    With ``mode="constant"``, the new elements are ``constant_values``, one number. With ``"edge"``, ``"reflect"``,
    ``"symmetric"`` or ``"wrap"``, they are elements of ``x``, which receive their gradients as well.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import pad
    >>> pad(np.array([1.0, 2.0]), (1, 2))
    array([0., 1., 2., 0., 0.])
    >>> pad(np.array([1.0, 2.0]), (1, 2), mode="edge")
    array([1., 1., 2., 2., 2.])
    """
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" and widths.size:
        raise TypeError(f"pad: widths must be integers; got {pad_width}")
    pairs = np.broadcast_to(widths.astype(int), (len(shape_of(x)), 2)).tolist()
    if any(width < 0 for pair in pairs for width in pair):
        raise ValueError(f"pad: widths must not be negative; got {pad_width} (slice the tensor to make it smaller)")
    number: Any = constant_values
    if isinstance(number, Value) or np.ndim(number):
        raise TypeError(
            f"pad: constant_values must be one number; got {number!r} (pad one side at a time for several "
            "numbers; to pad with tensors, use concatenate)"
        )
    if mode == "constant":
        return _pad(x, tuple((before, after) for before, after in pairs), number)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"pad: mode must be 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'; got {mode!r}")
    if number != 0:
        raise ValueError(f"pad: constant_values requires mode='constant'; got mode={mode!r}")
    x = value_or_array(x)
    for axis, pair in enumerate(pairs):
        x = x[(*[slice(None)] * axis, np.pad(np.arange(x.shape[axis]), pair, mode))]  # type: ignore[call-overload]
    return x
