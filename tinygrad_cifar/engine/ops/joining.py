"""The derivative table: joining arrays, and splitting them.

Joining is linear, and its VJP gives each input the part of the cotangent that lies where the input went.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import shape_of, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, operation, sequence_operation
from tinygrad_cifar.engine.ops.indexing import _getitem
from tinygrad_cifar.engine.ops.shapes import _reshape, atleast_1d, atleast_2d, atleast_3d, ravel, reshape
from tinygrad_cifar.engine.primitives import variadic_primitive

# Programs join the thousands of steps of a recurrence, so the VJP for one input must not depend on how many there are:
# the positions where the inputs begin are computed once, for all of them.
_concatenate = variadic_primitive(
    "concatenate",
    lambda xs, axis, starts: np.concatenate(xs, axis),
    lambda g, i, axis, starts: g[(*[slice(None)] * axis, slice(starts[i], starts[i + 1]))],
    doc=Doc("Join.", "concatenate(xs, axis)", xs="for each of xs, its part of g"),
)
_stack = variadic_primitive(
    "stack",
    lambda xs, axis: _stack_arrays(xs, axis),
    lambda g, i, axis: g[(*[slice(None)] * axis, i, ...)],  # with the ellipsis, a single element is an array as well
    doc=Doc("Join along a new axis.", "stack(xs, axis)", xs="for each of xs, g at its position"),
)


def _stack_arrays(xs: tuple[Any, ...], axis: int) -> Any:
    """Like ``numpy.stack``, for arrays of the same shape; small ones along the first axis take half of its time."""
    shape = shape_of(xs[0])
    return np.stack(xs, axis) if axis or not shape else np.concatenate(xs).reshape(len(xs), *shape)


def _join_along(xs: tuple[Any, ...], axis: int) -> Any:
    """Concatenate along an axis that is counted from the front."""
    shapes = [shape_of(x) for x in xs]
    if len({(len(shape), shape[:axis], shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError(f"concatenate: shapes must be equal except along axis {axis}; got {sorted(set(shapes))}")
    sizes = [math.prod(shape[axis : axis + 1]) for shape in shapes]  # 1 where the axis is missing, which NumPy refuses
    return _concatenate(xs, axis, tuple(itertools.accumulate(sizes, initial=0)))


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
        return _join_along(tuple([ravel(x) for x in xs]), 0)
    return _join_along(xs, normalize_axis_index("concatenate", axis, len(shape_of(xs[0]))))


@sequence_operation(_stack)
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
    if not xs:
        raise ValueError("stack: give at least one tensor")
    shapes = {shape_of(x) for x in xs}
    if len(shapes) > 1:
        raise ValueError(f"stack: all shapes must be equal; got {sorted(shapes)}")
    return _stack(xs, normalize_axis_index("stack", axis, len(shape_of(xs[0])) + 1))


@sequence_operation(_concatenate, _reshape, doc=Doc("", "concatenate([atleast_2d(x) for x in xs], 0)"))
def vstack(xs: Sequence[TensorLike]) -> TensorLike:
    """Stack vertically, along the first axis; vectors are rows.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.vstack([tg.Tensor([1.0, 2.0]), tg.Tensor([3.0, 4.0])])
    Tensor([[1., 2.],
            [3., 4.]])
    """
    return concatenate([atleast_2d(x) for x in xs], 0)


@sequence_operation(
    _concatenate, _reshape, doc=Doc("", "concatenate([atleast_1d(x) for x in xs], 1), or 0 for vectors")
)
def hstack(xs: Sequence[TensorLike]) -> TensorLike:
    """Stack horizontally, along the second axis; vectors along their only one.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.hstack([tg.Tensor([1.0, 2.0]), tg.Tensor([3.0])])
    Tensor([1., 2., 3.])
    """
    parts = [atleast_1d(x) for x in xs]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


@sequence_operation(_concatenate, _reshape, doc=Doc("", "concatenate([atleast_3d(x) for x in xs], 2)"))
def dstack(xs: Sequence[TensorLike]) -> TensorLike:
    """Join along the third axis.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.dstack([tg.Tensor([1.0, 2.0]), tg.Tensor([3.0, 4.0])]).shape
    (1, 2, 2)
    """
    return concatenate([atleast_3d(x) for x in xs], 2)


@sequence_operation(_concatenate, _reshape, doc=Doc("", "concatenate(xs, 1), with vectors as columns"))
def column_stack(xs: Sequence[TensorLike]) -> TensorLike:
    """Join columns to a matrix.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.column_stack([tg.Tensor([1.0, 2.0]), tg.Tensor([3.0, 4.0])])
    Tensor([[1., 3.],
            [2., 4.]])
    """
    return concatenate([reshape(x, (-1, 1)) if len(shape_of(x)) < 2 else x for x in xs], 1)


@operation(_concatenate, _reshape, doc=Doc("", "concatenate([x, y], axis), of ravel(x) and ravel(y) for None"))
def append(x: TensorLike, values: TensorLike, axis: int | None = None) -> TensorLike:
    """Join ``values`` to the end of ``x``; if ``axis`` is None, both are flattened first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.append(tg.Tensor([1.0, 2.0]), 3.0)
    Tensor([1., 2., 3.])
    """
    return concatenate([x, values], axis)


@documented(_concatenate, _reshape, doc=Doc("", "the innermost lists joined along the last axis, and so on"))
def block(arrays: Any) -> TensorLike:
    """Join nested lists of blocks, as :func:`numpy.block` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([[1.0]])
    >>> tg.block([[t, 2 * t], [3 * t, 4 * t]])
    Tensor([[1., 2.],
            [3., 4.]])
    """
    depth = _depth(arrays)
    ndim = max(depth, *[len(shape_of(x)) for x in _leaves(arrays)])
    return _join(arrays, -depth, ndim)


def _depth(arrays: Any) -> int:
    return 1 + _depth(arrays[0]) if isinstance(arrays, list) and arrays else 0


def _leaves(arrays: Any) -> list[Any]:
    return [leaf for part in arrays for leaf in _leaves(part)] if isinstance(arrays, list) else [arrays]


def _join(arrays: Any, axis: int, ndim: int) -> Any:
    if isinstance(arrays, list):
        return concatenate([_join(part, axis + 1, ndim) for part in arrays], axis)
    shape = shape_of(arrays)
    return reshape(arrays, (1,) * (ndim - len(shape)) + shape)


@operation(_getitem, _concatenate, _reshape, doc=Doc("", "concatenate([x[-shift:], x[:-shift]], axis)"))
def roll(x: TensorLike, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> TensorLike:
    """Move elements by ``shift`` positions along ``axis``; the last ones become the first.

    If ``axis`` is None, the elements move in C order, from row to row.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.roll(tg.Tensor([1.0, 2.0, 3.0]), 1)
    Tensor([3., 1., 2.])
    """
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), shape_of(x))
    x = value_or_array(x)
    for step, place in np.broadcast(shift, axis):
        along = normalize_axis_index("roll", int(place), x.ndim)
        cut = x.shape[along] - int(step) % max(x.shape[along], 1)
        before = (slice(None),) * along
        x = concatenate([x[(*before, slice(cut, None))], x[(*before, slice(cut))]], along)
    return x


@operation(_getitem, _reshape, doc=Doc("", "x with each element repeated along axis"))
def repeat(x: TensorLike, repeats: int | Sequence[int], axis: int | None = None) -> TensorLike:
    """Repeat each element along ``axis``; if ``axis`` is None, flatten first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.repeat(tg.Tensor([1.0, 2.0]), 2)
    Tensor([1., 1., 2., 2.])
    """
    if axis is None:
        return repeat(ravel(x), repeats, 0)
    shape = shape_of(x)
    axis = normalize_axis_index("repeat", axis, len(shape))
    return value_or_array(x)[(*[slice(None)] * axis, np.repeat(np.arange(shape[axis]), repeats))]


# -- splitting ---------------------------------------------------------------------------------------------------------


@documented(_getitem, doc=Doc("", "[x[start:stop] for the bounds of each part], along axis"))
def array_split(x: TensorLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[TensorLike]:
    """Split into a number of parts, or at the given positions; the result is a list.

    The parts need not have equal sizes: the first ones are larger by one element if the division leaves a remainder.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.array_split(tg.Tensor([1.0, 2.0, 3.0]), 2)
    [Tensor([1., 2.]), Tensor([3.])]
    """
    x = value_or_array(x)
    axis = normalize_axis_index("array_split", axis, x.ndim)
    size = x.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        sections = index(indices_or_sections)  # type: ignore[arg-type]
        if sections < 1:
            raise ValueError(f"array_split: the number of parts must be at least 1; got {sections}")
        bounds = [i * (size // sections) + min(i, size % sections) for i in range(sections + 1)]
    else:
        bounds = [0, *map(index, indices_or_sections), size]  # type: ignore[arg-type]
    before = (slice(None),) * axis
    return [x[(*before, slice(start, stop))] for start, stop in itertools.pairwise(bounds)]


@documented(_getitem, doc=Doc("", "[x[start:stop] for the bounds of each part], along axis"))
def split(x: TensorLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[TensorLike]:
    """Split into a number of equal parts, or at the given positions; the result is a list.

    Raises
    ------
    ValueError
        If the size is not divisible by the number of parts; :func:`array_split` accepts it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.split(tg.Tensor([1.0, 2.0, 3.0, 4.0]), 2)
    [Tensor([1., 2.]), Tensor([3., 4.])]
    >>> tg.split(tg.Tensor([1.0, 2.0, 3.0, 4.0]), [1])
    [Tensor([1.]), Tensor([2., 3., 4.])]
    """
    if np.ndim(indices_or_sections) == 0:
        size = shape_of(x)[normalize_axis_index("split", axis, len(shape_of(x)))]
        parts = index(indices_or_sections)  # type: ignore[arg-type]
        if parts > 0 and size % parts:  # array_split refuses other numbers
            raise ValueError(
                f"split: {size} elements cannot be split into {indices_or_sections} equal parts; use array_split"
            )
    return array_split(x, indices_or_sections, axis)


@documented(_getitem, doc=Doc("", "split(x, indices_or_sections, 0)"))
def vsplit(x: TensorLike, indices_or_sections: int | Sequence[int]) -> list[TensorLike]:
    """Split along the first axis, as :func:`split` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.vsplit(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), 2)
    [Tensor([[1., 2.]]), Tensor([[3., 4.]])]
    """
    return split(x, indices_or_sections, 0)


@documented(_getitem, doc=Doc("", "split(x, indices_or_sections, 1), or 0 for a vector"))
def hsplit(x: TensorLike, indices_or_sections: int | Sequence[int]) -> list[TensorLike]:
    """Split along the second axis, and a vector along its only one, as :func:`split` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.hsplit(tg.Tensor([1.0, 2.0, 3.0, 4.0]), 2)
    [Tensor([1., 2.]), Tensor([3., 4.])]
    """
    return split(x, indices_or_sections, 0 if len(shape_of(x)) == 1 else 1)


@documented(_getitem, doc=Doc("", "split(x, indices_or_sections, 2)"))
def dsplit(x: TensorLike, indices_or_sections: int | Sequence[int]) -> list[TensorLike]:
    """Split along the third axis, as :func:`split` does.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import dsplit
    >>> [part.shape for part in dsplit(np.zeros((2, 3, 4)), 2)]
    [(2, 3, 2), (2, 3, 2)]
    """
    return split(x, indices_or_sections, 2)


@documented(_getitem, doc=Doc("", "tuple(x[i] for each position i along axis)"))
def unstack(x: TensorLike, axis: int = 0) -> tuple[TensorLike, ...]:
    """Split along ``axis`` into a tuple; the inverse of :func:`stack`.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.unstack(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    (Tensor([1., 2.]), Tensor([3., 4.]))
    """
    x = value_or_array(x)
    before = (slice(None),) * normalize_axis_index("unstack", axis, x.ndim)
    return tuple([x[(*before, i)] for i in range(x.shape[axis])])
