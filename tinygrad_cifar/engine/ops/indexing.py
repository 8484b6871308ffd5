"""The derivative table: choosing elements and putting them back.

``getitem`` and ``scatter`` are each other's adjoints: an element that was chosen twice gets both its cotangents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import shape_of, unwrap_value
from tinygrad_cifar.engine.ops.shapes import normalize_axis_index, reshape
from tinygrad_cifar.engine.primitives import primitive

_getitem = primitive("getitem", lambda x, index: x[index], x=lambda g, x_shape, index: _scatter(g, index, x_shape))
_scatter = primitive(
    "scatter", lambda x, index, shape: _scattered(x, index, shape), x=lambda g, index: _getitem(g, index)
)
_index_update = primitive(
    "index_update",
    lambda x, index, value: _updated(x, index, value),
    broadcasts=True,
    x=lambda g, index: _index_update(g, index, 0),
    value=lambda g, index, value_shape: _written(g, index, len(value_shape)),
)


def _scattered(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, dtype=x.dtype)
    if _may_repeat(index):
        np.add.at(out, index, x)
    else:
        out[index] = x
    return out


def _updated(x: Any, index: Any, value: Any) -> Any:
    kind = x.dtype if x.dtype.kind == "f" else np.result_type(x, value)  # numbers with a fraction keep it
    out = np.array(x, dtype=kind, order="C")
    if _may_repeat(index):  # which of two values is written last depends on the layout: here it is always C's
        given, value = value, np.empty(out[index].shape, kind)
        value[...] = given
    out[index] = value
    return out


def _written(g: Any, index: Any, ndim: int) -> Any:
    """Return the cotangent of what was written, with as many axes as it had: NumPy drops leading axes of size 1."""
    part = _getitem(g, index) * _last_written(g.shape, index)
    return reshape(part, (1,) * (ndim - part.ndim) + part.shape) if ndim > part.ndim else part


def _last_written(shape: tuple[int, ...], index: Any) -> Any:
    """Tell which of the values written survive: where an index repeats, the last one written does."""
    if not _may_repeat(index):
        return 1
    place = np.empty(shape, dtype=np.intp)
    order = np.arange(np.size(place[index])).reshape(place[index].shape)
    place[index] = order
    return place[index] == order


def _may_repeat(index: Any) -> bool:
    """Tell whether an index can name an element twice: only arrays of integers can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype.kind in "iu" for part in parts)


def _constant_index(index: Any) -> Any:
    """Return the index with tensors and lists turned into arrays."""
    kind = type(index)
    if kind is slice or kind is int:
        return index
    if kind is tuple:
        return tuple([_constant_part(part) for part in index])
    return _constant_part(index)


def _constant_part(part: Any) -> Any:
    """Return what indexes one axis (or, for booleans, several): as it is, or, if it holds many indices, an array."""
    if part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer, np.bool_)):
        return part
    index = np.asarray(unwrap_value(part))
    if index.size == 0 and index.dtype.kind == "f":
        return index.astype(np.intp)
    if index.dtype.kind not in "iub":
        raise IndexError(f"an index must be made of integers, booleans or slices, not {index.dtype}")
    return index


def getitem(x: Any, index: Any) -> Any:
    """Choose elements as ``x[index]`` does: integers, slices, None, an ellipsis, arrays of integers or booleans.

    An element that is chosen more than once accumulates its gradients.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> t = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> t[[0, 0, 2]].sum().backward()
    >>> t.grad
    Tensor([2., 0., 1.])
    """
    return _getitem(x, _constant_index(index))


def index_update(x: Any, index: Any, value: Any) -> Any:
    """Return a copy of ``x`` in which ``x[index]`` is ``value``: what ``x[index] = value`` would do to an array.

    Where an array index names a place twice, the last value stays and the others get no gradient.

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


def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
    """Choose along ``axis`` by an array of integers that has one index for every other position.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, take_along_axis
    >>> scores = Tensor([[1.0, 5.0], [3.0, 2.0]])
    >>> take_along_axis(scores, np.array([[1], [0]]), axis=1)
    Tensor([[5.],
            [3.]])
    """
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
