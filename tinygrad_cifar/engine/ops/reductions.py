"""The derivative table: reductions, and cumulative sums and products.

The cotangent of a reduction lacks the reduced axes. Each VJP restores them with size 1 (``_restore_axes``), so that it
broadcasts against the input. The public functions translate the ``axis`` argument into the tuple, counted from the
front, that the primitives take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import Axis, invert_permutation, normalize_axes, normalize_axis_index, size_along
from tinygrad_cifar.engine.blocked import row_sums, short_axes
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of, unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, astype, multiply
from tinygrad_cifar.engine.ops.exponential import exp
from tinygrad_cifar.engine.ops.indexing import _getitem
from tinygrad_cifar.engine.ops.joining import _concatenate, concatenate, stack
from tinygrad_cifar.engine.ops.shapes import _broadcast_to, _reshape, flip, pad, ravel, reshape, transpose
from tinygrad_cifar.engine.primitives import primitive

_NEAR_ONE = 0.01

_sum = primitive(
    "sum",
    lambda x, axis, keepdims: _sum_array(x, axis, keepdims),
    x=lambda g, x_shape, axis, keepdims: _broadcast_to(_restore_axes(g, x_shape, axis, keepdims), x_shape),
    doc=Doc("Sum.", "sum(x, axis)", x="broadcast_to(expand_dims(g, axis), x.shape)"),
)
_max = primitive(
    "max",
    lambda x, axis, keepdims: short_axes.reduce(np.maximum, x, axis, keepdims),
    kink=lambda x, axis, keepdims: _is_tied(x, np.maximum.reduce(x, axis=axis, keepdims=True), axis),
    x=lambda g, out, x, axis, keepdims: _split_among_ties(g, out, x, axis, keepdims),
    doc=Doc(
        "Maximum.",
        "max(x, axis)",
        x="expand_dims(g, axis) * (x == out) / count_nonzero(x == out, axis)",
        note="Elements that tie for the maximum receive equal parts of the cotangent.",
    ),
)
_min = primitive(
    "min",
    lambda x, axis, keepdims: short_axes.reduce(np.minimum, x, axis, keepdims),
    kink=lambda x, axis, keepdims: _is_tied(x, np.minimum.reduce(x, axis=axis, keepdims=True), axis),
    x=lambda g, out, x, axis, keepdims: _split_among_ties(g, out, x, axis, keepdims),
    doc=Doc(
        "Minimum.",
        "min(x, axis)",
        x="expand_dims(g, axis) * (x == out) / count_nonzero(x == out, axis)",
        note="Elements that tie for the minimum receive equal parts of the cotangent.",
    ),
)
_prod = primitive(
    "prod",
    lambda x, axis, keepdims: np.multiply.reduce(x, axis=axis, keepdims=keepdims),
    x=lambda g, x, axis, keepdims: _restore_axes(g, x.shape, axis, keepdims) * _leave_one_out_product(x, axis),
    doc=Doc(
        "Product.",
        "prod(x, axis)",
        x="expand_dims(g, axis) * out / x",
        note="The quotient is computed as the product of the other elements, so it is exact where elements are 0.",
    ),
)
_logsumexp = primitive(
    "logsumexp",
    lambda x, axis, keepdims: _log_sum_exp(x, axis, keepdims),
    x=lambda g, x, axis, keepdims: _restore_axes(g, x.shape, axis, keepdims) * _softmax_weights(x, axis),
    doc=Doc(
        "Log of the sum of exponentials.",
        "log(sum(exp(x), axis))",
        x="expand_dims(g, axis) * exp(x) / sum(exp(x), axis)",
    ),
)
_norm = primitive(
    "norm",
    lambda x, axis, keepdims: _norm_forward(x, axis, keepdims),
    kink=lambda x, axis, keepdims: np.broadcast_to(_norm_forward(x, axis, True) == 0, x.shape),
    x=lambda g, out, x, axis, keepdims: (
        _restore_axes(g * (out > 0), x.shape, axis, keepdims)
        * (x / _restore_axes(out + (out == 0), x.shape, axis, keepdims))  # 0, not 0 / 0, at 0
    ),
    doc=Doc(
        "Euclidean norm.",
        "sqrt(sum(x**2, axis))",
        x="expand_dims(g, axis) * (x / expand_dims(out, axis))",
        note="Where all elements are 0, the gradient is taken as 0.",
    ),
)
_cumsum = primitive(
    "cumsum",
    lambda x, axis: np.cumsum(x, axis=axis),
    x=lambda g, axis: flip(_cumsum(flip(g, axis), axis), axis),
    doc=Doc("Cumulative sum.", "cumsum(x, axis)", x="flip(cumsum(flip(g, axis), axis), axis)"),
)


def _sum_array(x: Any, axis: tuple[int, ...], keepdims: Any) -> Any:
    if x.size < row_sums.SMALLEST or len(axis) in (0, x.ndim):
        return np.add.reduce(x, axis=axis, keepdims=keepdims)
    if axis == (x.ndim - 1,):
        out = row_sums.sum_last(x)
    elif sorted(axis) == [*range(len(axis))]:
        out = row_sums.sum_leading(x, len(axis))
    else:
        return np.add.reduce(x, axis=axis, keepdims=keepdims)
    return _restore_axes(out, x.shape, axis, False) if keepdims else out


def _restore_axes(g: Any, shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> Any:
    """Return ``g`` with the reduced axes, of size 1."""
    return g if keepdims else _reshape(g, tuple([1 if i in axis else size for i, size in enumerate(shape)]))


def _split_among_ties(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Give the cotangent to the elements that equal the extreme, in equal parts."""
    hit = x == _restore_axes(out, x.shape, axis, keepdims)
    g = _restore_axes(g, x.shape, axis, keepdims)
    largest = unwrap_value(out)
    # Counting the elements of each tie takes longer than the rest. There is none if there are as many hits as results,
    # and none of these is NaN, which equals nothing.
    if np.count_nonzero(hit) == largest.size and not np.isnan(np.maximum.reduce(largest, axis=None, initial=0)):
        return g * hit
    if size_along(x.shape, axis) <= np.iinfo(np.uint8).max:
        count = short_axes.reduce(np.add, hit.view(np.uint8), axis, True)
    else:
        count = np.add.reduce(hit, axis=axis, keepdims=True)
    return (g / np.maximum(count, 1).astype(g.dtype)) * hit


def _norm_forward(x: Any, axis: tuple[int, ...], keepdims: Any) -> Any:
    if x.dtype == np.float16:
        return _norm_forward(x.astype(np.float32), axis, keepdims).astype(np.float16)
    with np.errstate(over="ignore", under="ignore"):
        out = np.sqrt(np.add.reduce(np.square(x), axis=axis, keepdims=keepdims))
    if x.dtype.kind != "f" or not x.size or _squares_are_exact(out):
        return out
    scale = np.maximum.reduce(np.absolute(x), axis=axis, keepdims=True)
    scale = np.where((scale > 0) & (scale < np.inf), scale, 1)
    scaled = np.sqrt(np.add.reduce(np.square(x / scale), axis=axis, keepdims=True)) * scale
    return scaled.reshape(out.shape)


def _squares_are_exact(norm: Any) -> bool:
    """Return whether no square under a root has overflowed, or lost digits by underflow."""
    kind = np.finfo(norm.dtype)
    return bool(np.all((norm > np.sqrt(kind.tiny) / kind.eps) & (norm < np.inf)))


def _is_tied(x: Any, extreme: Any, axis: tuple[int, ...]) -> Any:
    """Return which elements equal the extreme, where several do."""
    hit = x == extreme
    return hit & (np.add.reduce(hit, axis=axis, keepdims=True) > 1)


def _log_sum_exp(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    if x.dtype == np.float16:  # sums overflow beyond 65,504
        return _log_sum_exp(x.astype(np.float32), axis, keepdims).astype(np.float16)
    shift = _finite_max(x, axis)
    powers = np.exp(x - shift)
    total = np.add.reduce(powers, axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):  # log(0) = -inf is right where all elements are -inf
        out = np.log(total)
    is_near_one = _is_near_one(total)
    if is_near_one.any():
        out = np.where(is_near_one, np.log1p(_excess(powers, axis)), out)
    out = out + shift
    return out if keepdims else np.squeeze(out, axis)


def _is_near_one(total: Any) -> Any:
    """Return which sums are so near 1 that their logarithms are computed from :func:`_excess`."""
    return abs(total.real - 1) < _NEAR_ONE


def _excess(powers: Any, axis: tuple[int, ...]) -> Any:
    """Return the sums of exponentials minus 1, their largest term, without the rounding error of a sum near 1."""
    return np.add.reduce(powers - (powers.real == 1), axis=axis, keepdims=True)


def _finite_max(x: Any, axis: tuple[int, ...]) -> Any:
    """Return the largest element, so that no exponential of a difference exceeds 1; 0 where it is not finite."""
    largest = short_axes.reduce(np.maximum, x.real, axis, True)
    return np.where(np.isfinite(largest), largest, 0)


def _softmax_weights(x: Any, axis: tuple[int, ...]) -> Any:
    """Return each exponential's share of the sum; 0 where all elements are -inf.

    Computed as ``exp(x - logsumexp(x))`` they would not sum to 1: near 10,000 a result has lost four digits.
    """
    if x.dtype == np.float16:
        return astype(_softmax_weights(astype(x, np.float32), axis), np.float16)
    powers = exp(x - _finite_max(unwrap_value(x), axis))
    total = _sum(powers, axis, True)
    return powers / (total + (total == 0))


def _leave_one_out_product(x: Any, axis: tuple[int, ...]) -> Any:
    """Return, for each element, the product of all others along ``axis``, without a division."""
    kept = tuple(i for i in range(x.ndim) if i not in axis)
    last = transpose(x, kept + axis)
    flat = reshape(last, (*[x.shape[i] for i in kept], size_along(x.shape, axis)))
    others = reshape(_products_of_others(flat), last.shape)
    return transpose(others, invert_permutation(kept + axis))


def _products_of_others(x: Any) -> Any:
    """Divide and conquer along the last axis.

    Recurse on the products of adjacent pairs, then multiply each result by the other element of its pair.
    """
    size = x.shape[-1]
    if size <= 1:
        return np.ones(x.shape, dtype=x.dtype)
    if size % 2:
        x = pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)], constant_values=1.0)
    even, odd = x[..., 0::2], x[..., 1::2]
    rest = _products_of_others(even * odd)
    return reshape(stack([rest * odd, rest * even], -1), x.shape)[..., :size]


def _count(name: str, x: Any, axes: tuple[int, ...]) -> int:
    """Return the number of elements that are reduced to one; raise ValueError if it is 0."""
    shape = shape_of(x)
    count = size_along(shape, axes)
    if not count:
        raise ValueError(f"{name}: there are no elements along axis {axes} of an array of shape {shape}")
    return count


# -- operations --------------------------------------------------------------------------------------------------------


@operation(_sum)
def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the sum of the elements along ``axis`` (None: all axes).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.sum(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([4., 6.])
    """
    return _sum(x, normalize_axes("sum", x, axis), keepdims)


@operation(_max)
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the maximum along ``axis`` (None: all axes).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> tg.max(t).backward()
    >>> t.grad
    Tensor([0. , 0.5, 0.5])
    """
    axes = normalize_axes("max", x, axis)
    _count("max", x, axes)
    return _max(x, axes, keepdims)


@operation(_min)
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the minimum along ``axis`` (None: all axes).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.min(tg.Tensor([[1.0, 2.0], [4.0, 3.0]]), axis=1)
    Tensor([1., 3.])
    """
    axes = normalize_axes("min", x, axis)
    _count("min", x, axes)
    return _min(x, axes, keepdims)


@operation(_prod)
def prod(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the product of the elements along ``axis`` (None: all axes).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([2.0, 0.0, 5.0], requires_grad=True)
    >>> tg.prod(t).backward()
    >>> t.grad
    Tensor([ 0., 10.,  0.])
    """
    return _prod(x, normalize_axes("prod", x, axis), keepdims)


@operation(_logsumexp)
def logsumexp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the logarithm of the sum of exponentials along ``axis`` (None: all axes), without overflow.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.logsumexp(tg.Tensor([10000.0, 10000.0]))
    Tensor(10000.69314718)
    """
    axes = normalize_axes("logsumexp", x, axis)
    _count("logsumexp", x, axes)
    return _logsumexp(_as_floats(x), axes, keepdims)


@operation(_cumsum)
def cumsum(x: TensorLike, axis: int | None = None) -> TensorLike:
    """Compute the sums of the elements up to each position along ``axis``; None flattens ``x`` first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.cumsum(tg.Tensor([1.0, 2.0, 3.0]))
    Tensor([1., 3., 6.])
    """
    if axis is None:
        return cumsum(ravel(x), 0)
    return _cumsum(x, normalize_axis_index("cumsum", axis, len(shape_of(x))))


@operation(multiply, _getitem, _concatenate, doc=Doc("", "[prod(x[: i + 1]) for i in range(n)] along axis"))
def cumprod(x: TensorLike, axis: int | None = None) -> TensorLike:
    """Compute the products of the elements up to each position along ``axis``; None flattens ``x`` first.

    The gradient is exact where elements are 0. It is that of log2(n) multiplications of shifted arrays.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, cumprod
    >>> t = Tensor([2.0, 0.0, 5.0], requires_grad=True)
    >>> cumprod(t).sum().backward()
    >>> t.grad
    Tensor([ 1., 12.,  0.])
    """
    if axis is None:
        return cumprod(ravel(x), 0)
    x = value_or_array(x)
    if x.dtype.kind in "iub":
        x = x.astype(np.cumprod(np.empty(0, x.dtype)).dtype)  # as NumPy does, since small integers would wrap around
    axis = normalize_axis_index("cumprod", axis, x.ndim)
    before, step = (slice(None),) * axis, 1
    while step < x.shape[axis]:  # each element is the product of up to `step` elements; now of up to twice as many
        head, tail = x[(*before, slice(step))], x[(*before, slice(step, None))]
        x = concatenate([head, tail * x[(*before, slice(-step))]], axis)
        step *= 2
    return x
