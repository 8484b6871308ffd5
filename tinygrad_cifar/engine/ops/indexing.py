"""The derivative table: choosing elements by position or order, and writing to them.

``getitem`` and ``scatter`` are adjoint to each other: an element that is chosen twice receives the sum of both
cotangents. ``scatter_all`` does the same for several parts of one array.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import refuse_masked_array, shape_of, unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.piecewise import _where, where
from tinygrad_cifar.engine.ops.shapes import _reshape, _transpose, moveaxis, ravel, reshape
from tinygrad_cifar.engine.parts import collect
from tinygrad_cifar.engine.primitives import primitive, variadic_primitive

_getitem = primitive(
    "getitem",
    lambda x, index: _choose(x, index),
    x=lambda g, x_shape, index: _scatter(g, index, x_shape),
    doc=Doc("Choose elements.", "x[index]", x="zeros(x.shape) with g added at index"),
)
_scatter = primitive(
    "scatter",
    lambda x, index, shape: _scatter_array(x, index, shape),
    x=lambda g, index: _getitem(g, index),
    doc=Doc("Add elements to an array of zeros.", "zeros(shape) with x added at index", x="g[index]"),
)
_scatter_all = variadic_primitive(
    "scatter_all",
    lambda xs, indices, shape: _scatter_arrays(xs, indices, shape),
    lambda g, i, indices: _getitem(g, indices[i]),
    doc=Doc("Add several arrays to an array of zeros.", "zeros(shape) with each x added at its index", xs="g[index]"),
)
_index_update = primitive(
    "index_update",
    lambda x, index, value: _update_array(x, index, value),
    broadcasts=True,
    x=lambda g, index: _index_update(g, index, 0),
    value=lambda g, index, value_shape: _update_cotangent(g, index, len(value_shape)),
    doc=Doc("Replace elements.", "x with value at index", x="g with 0 at index", value="g[index]"),
)


def _choose(x: Any, index: Any) -> Any:
    if x.ndim and _chooses_rows(index) and np.can_cast(index.dtype, np.intp):
        return x.take(index, 0)  # in a third of the time
    return x[index]


def _scatter_array(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    if _may_repeat(index):
        return _scatter_arrays((x,), (index,), shape)
    out = np.zeros(shape, dtype=x.dtype)
    out[index] = x
    return out


def _scatter_arrays(xs: tuple[Any, ...], indices: Sequence[Any], shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, dtype=np.result_type(*xs))
    for of_rows, group in itertools.groupby(zip(xs, indices, strict=True), key=lambda part: _chooses_rows(part[1])):
        if of_rows:
            parts = list(group)
            _add_to_rows(out, [index for _, index in parts], [x for x, _ in parts])
            continue
        for x, index in group:
            if _may_repeat(index):
                np.add.at(out, index, x)
            else:
                out[index] += x
    return out


def _chooses_rows(index: Any) -> bool:
    """Return whether an index is one array of integers, of any shape."""
    return isinstance(index, np.ndarray) and index.dtype.kind in "iu"


def _add_to_rows(out: Any, indices: Sequence[Any], xs: Sequence[Any]) -> None:
    """Add each ``x`` to the rows ``out[index]``, in this order, as ``numpy.add.at`` does.

    That takes four to eight times as long for rows as for single elements, so the positions of the elements are given.
    """
    size = math.prod(out.shape[1:])
    if not size or not len(out):
        return
    # Small integers would overflow, and unsigned ones of 64 bits become floating-point numbers beside signed ones.
    rows = np.concatenate([index.reshape(-1).astype(np.intp, copy=False) for index in indices])
    rows = np.where(rows < 0, rows + len(out), rows).reshape(-1, 1)
    np.add.at(out.reshape(-1), (rows * size + np.arange(size)).reshape(-1), np.concatenate([x.reshape(-1) for x in xs]))


def _add_all(_: Any, start: Any, cotangents: list[Any], saved: list[tuple[Any, ...]]) -> Any:
    """Return the cotangent of an array of which parts have been chosen."""
    indices = [index for _, index in saved]
    return _scatter_all((start, *cotangents), (..., *indices), saved[0][0])


collect(_getitem, "x", size=lambda node, g, *saved: max(math.prod(g.shape), 1), total=_add_all)


def _update_array(x: Any, index: Any, value: Any) -> Any:
    kind = (
        x.dtype if x.dtype.kind == "f" else np.result_type(x, value)
    )  # an integer x is promoted if the value is floating-point
    out = np.array(x, dtype=kind, order="C")
    if _may_repeat(index):  # then the last value in C order is written last
        given, value = value, np.empty(out[index].shape, kind)
        value[...] = given
    out[index] = value
    return out


def _update_cotangent(g: Any, index: Any, ndim: int) -> Any:
    """Return the cotangent of the value, with all its axes: assignment drops leading axes of size 1."""
    chosen = _getitem(g, index) * _is_last_written(g.shape, index)
    return reshape(chosen, (1,) * (ndim - chosen.ndim) + chosen.shape) if ndim > chosen.ndim else chosen


def _is_last_written(shape: tuple[int, ...], index: Any) -> Any:
    """Return which of the values remain: where an index repeats, only the last one written does."""
    if not _may_repeat(index):
        return 1
    place = np.empty(shape, dtype=np.intp)
    order = np.arange(np.size(place[index])).reshape(place[index].shape)
    place[index] = order
    return place[index] == order


def _may_repeat(index: Any) -> bool:
    """Return whether an index can contain an element twice: only arrays of integers can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype.kind in "iu" for part in parts)


def _constant_index(index: Any) -> Any:
    """Return the index with tensors and lists converted to arrays."""
    kind = type(index)
    if kind is slice or kind is int:
        return index
    if kind is tuple and len(index) != 1:
        return tuple([_constant_part(part) for part in index])
    if kind is tuple:
        (index,) = index
    return _constant_part(index)


def _constant_part(part: Any) -> Any:
    """Return the index of one axis (for booleans, of several): an array if it is not a single index or a slice."""
    if part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer, np.bool_)):
        return part
    refuse_masked_array("an index", part)
    index = np.asarray(unwrap_value(part))
    if index.size == 0 and isinstance(part, (list, tuple)):  # an empty list becomes an array of floating-point numbers
        return index.astype(np.intp)
    if index.dtype.kind not in "iub":
        raise IndexError(f"an index must consist of integers, booleans or slices; got {index.dtype}")
    return index


@operation(_getitem)
def getitem(x: TensorLike, index: Any) -> TensorLike:
    """Choose elements by integers, slices, None, an ellipsis, or arrays of integers or booleans.

    The gradients of an element that is chosen more than once are added.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> t = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> t[[0, 0, 2]].sum().backward()
    >>> t.grad
    Tensor([2., 0., 1.])
    """
    return _getitem(x, _constant_index(index))


@operation(_index_update)
def index_update(x: TensorLike, index: Any, value: Any) -> TensorLike:
    """Return a copy of ``x`` in which ``x[index]`` is ``value``, as after ``x[index] = value`` on an array.

    Where an array index contains a position twice, the last value remains and the others receive no gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, index_update
    >>> t = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> u = index_update(t, 0, 10.0)
    >>> u.sum().backward()
    >>> u.data, t.grad
    (array([10.,  2.,  3.]), Tensor([0., 1., 1.]))
    """
    return _index_update(x, _constant_index(index), value)


@operation(_getitem)
def take_along_axis(x: TensorLike, indices: Any, axis: int = -1) -> TensorLike:
    """Choose elements along ``axis`` by an array of integers, one for every position along the other axes.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, take_along_axis
    >>> scores = Tensor([[1.0, 5.0], [3.0, 2.0]])
    >>> take_along_axis(scores, np.array([[1], [0]]), axis=1)
    Tensor([[5.],
            [3.]])
    """
    refuse_masked_array("take_along_axis", indices)
    indices = np.asarray(unwrap_value(indices))
    shape = shape_of(x)
    axis = normalize_axis_index("take_along_axis", axis, len(shape))
    if indices.dtype.kind not in "iu" or indices.ndim != len(shape):
        raise IndexError(
            f"take_along_axis: indices must be integers with {len(shape)} dimensions, "
            f"got {indices.dtype} of shape {indices.shape}"
        )
    grid = tuple(
        indices if i == axis else np.arange(size).reshape([-1 if j == i else 1 for j in range(len(shape))])
        for i, size in enumerate(shape)
    )
    return getitem(x, grid)


@operation(_getitem, _reshape, doc=Doc("", "x[indices] along axis, of ravel(x) if axis is None"))
def take(x: TensorLike, indices: Any, axis: int | None = None, *, mode: str = "raise") -> TensorLike:
    """Choose elements, rows or other parts by their positions along ``axis``.

    If ``axis`` is None, the positions are those in C order. Positions out of range raise IndexError, are counted on
    from the start (``mode="wrap"``), or are limited to the range (``mode="clip"``).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.take(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), [1, 0], axis=1)
    Tensor([[2., 1.],
            [4., 3.]])
    """
    if axis is None:
        return take(ravel(x), indices, 0, mode=mode)
    x = value_or_array(x)
    axis = normalize_axis_index("take", axis, x.ndim)
    refuse_masked_array("take", indices)
    positions = np.asarray(unwrap_value(indices))
    if positions.dtype.kind == "b":
        raise TypeError("take: indices must be integers; got bool, which x[...] takes as a mask")
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"take: mode must be 'raise', 'wrap' or 'clip'; got {mode!r}")
    if mode != "raise":
        last = x.shape[axis] - 1
        if positions.dtype.kind in "iu":
            positions = positions.astype(np.intp)  # a small type cannot hold the size of the axis
        positions = positions % (last + 1) if mode == "wrap" else np.clip(positions, 0, last)
    return getitem(x, (*[slice(None)] * axis, positions))


@operation(_getitem, _reshape, doc=Doc("", "take(x, arange(n) without obj, axis)"))
def delete(x: TensorLike, obj: Any, axis: int | None = None) -> TensorLike:
    """Delete the positions ``obj`` along ``axis``: an integer, a slice, or integers; None flattens ``x`` first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.delete(tg.Tensor([1.0, 2.0, 3.0]), 1)
    Tensor([1., 3.])
    """
    if axis is None:
        return delete(ravel(x), obj, 0)
    size = shape_of(x)[normalize_axis_index("delete", axis, len(shape_of(x)))]
    return take(x, np.delete(np.arange(size), unwrap_value(obj)), axis)


@documented(_getitem, _reshape, doc=Doc("", "take(x, nonzero(condition)[0], axis)"))
def compress(condition: Any, x: TensorLike, axis: int | None = None) -> TensorLike:
    """Choose the parts along ``axis`` for which the condition holds; None flattens ``x`` first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.compress([True, False], tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    Tensor([[1.],
            [3.]])
    """
    return take(x, np.flatnonzero(unwrap_value(condition)), axis)


@documented(_getitem, _reshape, doc=Doc("", "x[condition]"))
def extract(condition: Any, x: TensorLike) -> TensorLike:
    """Choose the elements for which the condition, of the same shape, holds.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([[1.0, -2.0], [3.0, -4.0]])
    >>> tg.extract(t > 0, t)
    Tensor([1., 3.])
    """
    return take(x, np.flatnonzero(unwrap_value(condition)))


# -- diagonals and triangles -------------------------------------------------------------------------------------------


@operation(_getitem, _transpose, doc=Doc("", "x[..., i, i + offset] for each i"))
def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> TensorLike:
    """Return the diagonals of the planes of two axes; those are replaced by one, the last axis.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.diagonal(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([1., 4.])
    """
    planes = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = planes.shape[-2:]
    offset = operator.index(offset)  # an int8 would overflow
    i = np.arange(max(min(rows + min(offset, 0), columns - max(offset, 0)), 0))
    return getitem(planes, (..., i + max(-offset, 0), i + max(offset, 0)))


@operation(
    _getitem, _scatter, _transpose, doc=Doc("", "x[i, i + k] for each i; of a vector: zeros with x at [i, i + k]")
)
def diag(x: TensorLike, k: int = 0) -> TensorLike:
    """Return the ``k``-th diagonal of a matrix, or the matrix that has a vector as its ``k``-th diagonal.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.diag(tg.Tensor([1.0, 2.0]))
    Tensor([[1., 0.],
            [0., 2.]])
    >>> tg.diag(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([1., 4.])
    """
    shape, k = shape_of(x), operator.index(k)
    if len(shape) == 2:
        return diagonal(x, k)
    if len(shape) != 1:
        raise ValueError(f"diag: x must have one or two axes; its shape is {shape}")
    size, i = shape[0] + abs(k), np.arange(shape[0])
    return _scatter(x, (i + max(-k, 0), i + max(k, 0)), (size, size))


@operation(_scatter, _reshape, doc=Doc("", "diag(ravel(x), k)"))
def diagflat(x: TensorLike, k: int = 0) -> TensorLike:
    """Return the matrix that has the elements of ``x`` on its ``k``-th diagonal.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.diagflat(tg.Tensor([[1.0], [2.0]]))
    Tensor([[1., 0.],
            [0., 2.]])
    """
    return diag(ravel(x), k)


@operation(_where, doc=Doc("", "where(j <= i + k, x[..., i, j], 0)"))
def tril(x: TensorLike, k: int = 0) -> TensorLike:
    """Replace the elements above the ``k``-th diagonal by 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.tril(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[1., 0.],
            [3., 4.]])
    """
    return where(_is_lower("tril", x, k), x, 0)


@operation(_where, doc=Doc("", "where(j >= i + k, x[..., i, j], 0)"))
def triu(x: TensorLike, k: int = 0) -> TensorLike:
    """Replace the elements below the ``k``-th diagonal by 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.triu(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[1., 2.],
            [0., 4.]])
    """
    return where(_is_lower("triu", x, operator.index(k) - 1), 0, x)


def _is_lower(name: str, x: Any, k: int) -> Any:
    """Return which elements of a matrix of the shape of ``x`` lie on the ``k``-th diagonal or below it."""
    shape = shape_of(x)
    if len(shape) < 2:
        raise ValueError(f"{name}: x must have at least two axes; its shape is {shape}")
    return np.tri(shape[-2], shape[-1], operator.index(k), dtype=bool)


# -- order -------------------------------------------------------------------------------------------------------------


@operation(_getitem, doc=Doc("", "take_along_axis(x, argsort(x, axis), axis)"))
def sort(x: TensorLike, axis: int | None = -1) -> TensorLike:
    """Sort along ``axis`` in ascending order; None flattens ``x`` first.

    The gradient goes back to the positions from which the elements came; equal elements keep their order.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, sort
    >>> t = Tensor([3.0, 1.0, 2.0], requires_grad=True)
    >>> (sort(t) * [10.0, 20.0, 30.0]).sum().backward()
    >>> t.grad
    Tensor([30., 10., 20.])
    """
    if axis is None:
        return sort(ravel(x), 0)
    x = value_or_array(x)
    return take_along_axis(x, np.argsort(unwrap_value(x), axis, stable=True), axis)
