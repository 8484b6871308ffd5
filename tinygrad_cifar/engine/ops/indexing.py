"""The derivative table: choosing elements, and writing to them.

``getitem`` and ``scatter`` are adjoint to each other: an element that is chosen twice receives the sum of both
cotangents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import refuse_masked_array, shape_of, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.shapes import reshape
from tinygrad_cifar.engine.primitives import primitive

_getitem = primitive(
    "getitem",
    lambda x, index: x[index],
    x=lambda g, x_shape, index: _scatter(g, index, x_shape),
    doc=Doc("Choose elements.", "x[index]", x="zeros(x.shape) with g added at index"),
)
_scatter = primitive(
    "scatter",
    lambda x, index, shape: _scatter_array(x, index, shape),
    x=lambda g, index: _getitem(g, index),
    doc=Doc("Add elements to an array of zeros.", "zeros(shape) with x added at index", x="g[index]"),
)
_index_update = primitive(
    "index_update",
    lambda x, index, value: _update_array(x, index, value),
    broadcasts=True,
    x=lambda g, index: _index_update(g, index, 0),
    value=lambda g, index, value_shape: _update_cotangent(g, index, len(value_shape)),
    doc=Doc("Replace elements.", "x with value at index", x="g with 0 at index", value="g[index]"),
)


def _scatter_array(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, dtype=x.dtype)
    if _may_repeat(index):
        np.add.at(out, index, x)
    else:
        out[index] = x
    return out


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
    if kind is tuple:
        return tuple([_constant_part(part) for part in index])
    return _constant_part(index)


def _constant_part(part: Any) -> Any:
    """Return the index of one axis (for booleans, of several): an array if it is not a single index or a slice."""
    if part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer, np.bool_)):
        return part
    refuse_masked_array("an index", part)
    index = np.asarray(unwrap_value(part))
    if index.size == 0 and index.dtype.kind == "f":
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
def take_along_axis(x: TensorLike, indices: Any, axis: int) -> TensorLike:
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
