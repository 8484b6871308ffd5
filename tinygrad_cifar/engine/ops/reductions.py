"""The derivative table: many elements become one.

A reduction's cotangent has lost the reduced axes. Every rule first spreads it over them again (``_spread``) and
then says how much each element had to do with the result. The functions below the table translate what a user
writes for an axis into the tuple, counted from the front, that the rows work with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import shape_of, unwrap_value
from tinygrad_cifar.engine.ops.elementwise import astype, exp, square
from tinygrad_cifar.engine.ops.shapes import (
    _broadcast_to,
    _reshape,
    flip,
    inverse,
    normalize_axis_index,
    pad,
    reshape,
    size_along,
    stack,
    transpose,
)
from tinygrad_cifar.engine.primitives import primitive

Axis = int | Sequence[int] | None

_sum = primitive(
    "sum",
    lambda x, axis, keepdims: np.add.reduce(x, axis=axis, keepdims=keepdims),
    x=lambda g, x_shape, axis, keepdims: _broadcast_to(_spread(g, x_shape, axis, keepdims), x_shape),
)
_max = primitive(
    "max",
    lambda x, axis, keepdims: np.maximum.reduce(x, axis=axis, keepdims=keepdims),
    x=lambda g, out, x, axis, keepdims: _to_the_extreme(g, out, x, axis, keepdims),
)
_min = primitive(
    "min",
    lambda x, axis, keepdims: np.minimum.reduce(x, axis=axis, keepdims=keepdims),
    x=lambda g, out, x, axis, keepdims: _to_the_extreme(g, out, x, axis, keepdims),
)
_prod = primitive(
    "prod",
    lambda x, axis, keepdims: np.multiply.reduce(x, axis=axis, keepdims=keepdims),
    x=lambda g, x, axis, keepdims: _spread(g, x.shape, axis, keepdims) * _product_of_the_others(x, axis),
)
_logsumexp = primitive(
    "logsumexp",
    lambda x, axis, keepdims: _log_of_the_sum(x, axis, keepdims),
    x=lambda g, x, axis, keepdims: _spread(g, x.shape, axis, keepdims) * _shares(x, axis),
)
_norm = primitive(
    "norm",
    lambda x, axis, keepdims: np.sqrt(np.add.reduce(np.square(x), axis=axis, keepdims=keepdims)),
    x=lambda g, out, x, axis, keepdims: _spread(g * (out > 0) / (out + (out == 0)), x.shape, axis, keepdims) * x,
)
_cumsum = primitive(
    "cumsum", lambda x, axis: np.cumsum(x, axis=axis), x=lambda g, axis: flip(_cumsum(flip(g, axis), axis), axis)
)


def _spread(g: Any, shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> Any:
    """Put the reduced axes back, with size 1."""
    return g if keepdims else _reshape(g, tuple([1 if i in axis else size for i, size in enumerate(shape)]))


def _to_the_extreme(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Give the cotangent to the elements that reach the extreme, in equal parts."""
    hit = x == _spread(out, x.shape, axis, keepdims)
    parts = np.maximum(np.add.reduce(hit, axis=axis, keepdims=True), 1).astype(g.dtype)  # NaN hits nothing
    return (_spread(g, x.shape, axis, keepdims) / parts) * hit


def _log_of_the_sum(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    shift = _shift(x, axis)
    total = np.add.reduce(np.exp(x - shift), axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):  # log(0) = -inf is the right answer for a row of -inf
        out = np.log(total) + shift
    return out if keepdims else np.squeeze(out, axis)


def _shift(x: Any, axis: tuple[int, ...]) -> Any:
    """Return the largest element, so that no exponential exceeds 1; a row of -inf has nothing to shift by."""
    largest = np.maximum.reduce(x.real, axis=axis, keepdims=True)
    return np.where(np.isfinite(largest), largest, 0)


def _shares(x: Any, axis: tuple[int, ...]) -> Any:
    """Return each exponential's share of the sum; a row of -inf has none to give.

    As ``exp(x - logsumexp(x))`` they would not add up to 1: a result of 10,000 has lost four of its digits.
    """
    powers = exp(x - _shift(unwrap_value(x), axis))
    total = _sum(powers, axis, True)
    return powers / (total + (total == 0))


def _product_of_the_others(x: Any, axis: tuple[int, ...]) -> Any:
    """For each element, the product of all others along ``axis``: exact where some are 0, since nothing is divided."""
    kept = tuple(i for i in range(x.ndim) if i not in axis)
    last = transpose(x, kept + axis)
    flat = reshape(last, (*[x.shape[i] for i in kept], size_along(x.shape, axis)))
    others = reshape(_others(flat), last.shape)
    return transpose(others, inverse(kept + axis))


def _others(x: Any) -> Any:
    """Halve and conquer along the last axis: the others of one of a pair are its partner and the others of the pair."""
    size = x.shape[-1]
    if size <= 1:
        return np.ones(x.shape, dtype=x.dtype)
    if size % 2:
        x = pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)], 1.0)
    even, odd = x[..., 0::2], x[..., 1::2]
    rest = _others(even * odd)
    return reshape(stack([rest * odd, rest * even], -1), x.shape)[..., :size]


# -- as the user calls them
# ----------------------------------------------------------------------------------------------


def _axes(name: str, x: Any, axis: Axis) -> tuple[int, ...]:
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, (int, np.integer)):
        return (normalize_axis_index(name, int(axis), ndim),)
    axes = tuple(normalize_axis_index(name, i, ndim) for i in axis)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names a dimension twice")
    return axes


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Add up the elements along ``axis`` (all of them by default).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.sum(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([4., 6.])
    """
    return _sum(x, _axes("sum", x, axis), keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Average the elements along ``axis``: their sum divided by their number.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.mean(tg.Tensor([1.0, 2.0, 6.0]))
    Tensor(3.)
    """
    if getattr(x, "dtype", None) == np.float16:  # whose largest number is 65,504
        return astype(mean(astype(x, np.float32), axis, keepdims), np.float16)
    axes = _axes("mean", x, axis)
    return _sum(x, axes, keepdims) / _counted("mean", x, axes)


def _counted(name: str, x: Any, axes: tuple[int, ...]) -> int:
    count = size_along(shape_of(x), axes)
    if count == 0:
        raise ValueError(f"{name}: there are no elements along axis {axes} of shape {shape_of(x)}")
    return count


def var(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """Average the squared distances from the mean, dividing by the number of elements less ``ddof``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.var(tg.Tensor([1.0, 2.0, 6.0]), ddof=1)
    Tensor(7.)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(var(astype(x, np.float32), axis, keepdims, ddof), np.float16)
    axes = _axes("var", x, axis)
    count = _counted("var", x, axes)
    if count <= ddof:
        raise ValueError(f"var: {count} elements are not enough for ddof={ddof}")
    return _sum(square(x - mean(x, axes, True)), axes, keepdims) / (count - ddof)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Take the largest element along ``axis``; elements that tie for it share the gradient equally.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> tg.max(t).backward()
    >>> t.grad
    Tensor([0. , 0.5, 0.5])
    """
    axes = _axes("max", x, axis)
    _counted("max", x, axes)
    return _max(x, axes, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Take the smallest element along ``axis``; elements that tie for it share the gradient equally.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.min(tg.Tensor([[1.0, 2.0], [4.0, 3.0]]), axis=1)
    Tensor([1., 3.])
    """
    axes = _axes("min", x, axis)
    _counted("min", x, axes)
    return _min(x, axes, keepdims)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Multiply the elements along ``axis``; the gradient is exact where some of them are 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([2.0, 0.0, 5.0], requires_grad=True)
    >>> tg.prod(t).backward()
    >>> t.grad
    Tensor([ 0., 10.,  0.])
    """
    return _prod(x, _axes("prod", x, axis), keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Compute ``log(sum(exp(x)))`` along ``axis`` without overflow, for elements of any size.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.logsumexp(tg.Tensor([10000.0, 10000.0]))
    Tensor(10000.69314718)
    """
    axes = _axes("logsumexp", x, axis)
    _counted("logsumexp", x, axes)
    return _logsumexp(x, axes, keepdims)


def norm(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Compute the Euclidean length along ``axis``; its gradient where all elements are 0 is 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> tg.norm(t).backward()
    >>> t.grad
    Tensor([0.6, 0.8])
    """
    return _norm(x, _axes("norm", x, axis), keepdims)


def cumsum(x: Any, axis: int) -> Any:
    """Add up the elements along ``axis`` from its start to each position.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.cumsum(tg.Tensor([1.0, 2.0, 3.0]), axis=0)
    Tensor([1., 3., 6.])
    """
    return _cumsum(x, normalize_axis_index("cumsum", axis, len(shape_of(x))))
