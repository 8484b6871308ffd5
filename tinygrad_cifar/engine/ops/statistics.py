"""The derivative table: means, variances, quantiles and other statistics.

All but the variance are composed of other operations. It is a primitive because that takes a third of the time for a
small array, and its VJP needs one pass over the memory and no array of deviations.

The functions whose names begin with ``nan`` disregard the elements that are NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import Axis, normalize_axes, size_along
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import Value, shape_of, unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, add, astype, divide, multiply, sqrt, square, subtract
from tinygrad_cifar.engine.ops.indexing import _getitem, diagonal, sort
from tinygrad_cifar.engine.ops.joining import _concatenate, concatenate
from tinygrad_cifar.engine.ops.linalg import matmul
from tinygrad_cifar.engine.ops.piecewise import _where, where
from tinygrad_cifar.engine.ops.reductions import (
    _count,
    _max,
    _min,
    _norm,
    _restore_axes,
    _sum,
    cumprod,
    cumsum,
    max,
    min,
    prod,
    sum,
)
from tinygrad_cifar.engine.ops.shapes import (
    _reshape,
    _transpose,
    atleast_2d,
    broadcast_to,
    moveaxis,
    reshape,
    squeeze,
    transpose,
)
from tinygrad_cifar.engine.primitives import primitive

_var = primitive(
    "var",
    lambda x, axis, divisor, keepdims: _variance(x, axis, divisor, keepdims),
    aux="average",
    x=lambda g, x, axis, divisor, keepdims, average: _var_vjp(g, x, axis, divisor, keepdims, average),
    doc=Doc("Variance.", "sum((x - mean(x, axis))**2, axis) / divisor", x="g * 2 * (x - mean(x, axis)) / divisor"),
)


def _variance(x: Any, axis: tuple[int, ...], divisor: float, keepdims: bool) -> Any:
    """Return the variance, and the mean, with all axes."""
    average = _sum(x, axis, True) / size_along(x.shape, axis)
    deviation = x - average
    deviation *= deviation
    return _sum(deviation, axis, keepdims) / divisor, average


def _var_vjp(g: Any, x: Any, axis: tuple[int, ...], divisor: float, keepdims: bool, average: Any) -> Any:
    slope = _restore_axes(g * (2 / divisor), x.shape, axis, keepdims)
    if average is not None:
        return slope * (x - average)  # the derivative through the mean is 0, since the deviations sum to 0
    deviation = x - mean(x, axis, True)
    through_squares = slope * deviation
    return through_squares - mean(through_squares, axis, True)  # 0 as well, but derivatives of it round as it does


@operation(_sum, divide, doc=Doc("Mean.", "sum(x, axis) / n", x="broadcast_to(expand_dims(g, axis), x.shape) / n"))
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the mean of the n elements along ``axis`` (None: all axes).

    Raises
    ------
    ValueError
        If there are no elements along ``axis``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.mean(tg.Tensor([1.0, 2.0, 6.0]))
    Tensor(3.)
    """
    if getattr(x, "dtype", None) == np.float16:  # sums overflow beyond 65,504
        return astype(mean(astype(x, np.float32), axis, keepdims), np.float16)
    axes = normalize_axes("mean", x, axis)
    return _sum(x, axes, keepdims) / _count("mean", x, axes)


@operation(
    _var,
    doc=Doc(
        "Variance.", "sum((x - mean(x, axis))**2, axis) / (n - ddof)", x="g * 2 * (x - mean(x, axis)) / (n - ddof)"
    ),
)
def var(x: TensorLike, axis: Axis = None, *, ddof: int = 0, keepdims: bool = False) -> TensorLike:
    """Compute the variance of the n elements along ``axis`` (None: all axes).

    Raises
    ------
    ValueError
        If there are no more than ``ddof`` elements along ``axis``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.var(tg.Tensor([1.0, 2.0, 6.0]), ddof=1)
    Tensor(7.)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(var(astype(x, np.float32), axis, ddof=ddof, keepdims=keepdims), np.float16)
    axes = normalize_axes("var", x, axis)
    count = _degrees_of_freedom("var", x, axes, ddof)
    return _var(x, axes, count, keepdims)


@operation(
    *(_norm, _sum, divide, subtract),
    doc=Doc("", "norm(x - mean(x, axis), axis) / sqrt(n - ddof)", x="g * (x - mean(x, axis)) / (out * (n - ddof))"),
)
def std(x: TensorLike, axis: Axis = None, *, ddof: int = 0, keepdims: bool = False) -> TensorLike:
    """Compute the standard deviation of the n elements along ``axis`` (None: all axes).

    Where all elements are equal, the gradient is taken as 0, as that of the norm is.

    Raises
    ------
    ValueError
        If there are no more than ``ddof`` elements along ``axis``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.std(tg.Tensor([1.0, 2.0, 3.0, 6.0]))
    Tensor(1.87082869)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(std(astype(x, np.float32), axis, ddof=ddof, keepdims=keepdims), np.float16)
    axes = normalize_axes("std", x, axis)
    count = _degrees_of_freedom("std", x, axes, ddof)
    return _norm(value_or_array(x) - mean(x, axes, True), axes, keepdims) / math.sqrt(count)


def _degrees_of_freedom(name: str, x: Any, axes: tuple[int, ...], ddof: int) -> int:
    count = _count(name, x, axes)
    if count <= ddof:
        raise ValueError(f"{name}: {count} elements are too few for ddof={ddof}")
    return count - ddof


@operation(_sum, multiply, divide, doc=Doc("", "sum(x * weights, axis) / sum(weights, axis)"))
def average(
    x: TensorLike, axis: Axis = None, weights: TensorLike | None = None, *, keepdims: bool = False
) -> TensorLike:
    """Compute the weighted mean along ``axis`` (None: all axes).

    The weights have the shape of ``x``, or are a vector for one axis. Gradients flow to them as well.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.average(tg.Tensor([1.0, 2.0, 4.0]), weights=[1, 1, 2])
    Tensor(2.75)
    """
    if weights is None:
        return mean(x, axis, keepdims)
    x, weights = _as_floats(x), _as_floats(weights)
    axes, shape = normalize_axes("average", x, axis), shape_of(x)
    if shape_of(weights) != shape:
        if len(axes) != 1 or shape_of(weights) != (shape[axes[0]],):
            raise ValueError(
                f"average: weights must have the shape {shape}, or that of one axis; got {shape_of(weights)}"
            )
        weights = reshape(weights, tuple([-1 if i == axes[0] else 1 for i in range(len(shape))]))
    return _sum(multiply(x, weights), axes, keepdims) / _sum(broadcast_to(weights, shape), axes, keepdims)


@operation(_max, _min, subtract, doc=Doc("", "max(x, axis) - min(x, axis)"))
def ptp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the range of values, from the smallest to the largest, along ``axis`` (None: all axes).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.ptp(tg.Tensor([3.0, 1.0, 7.0]))
    Tensor(6.)
    """
    return max(x, axis, keepdims) - min(x, axis, keepdims)


# -- quantiles ---------------------------------------------------------------------------------------------------------


@operation(
    *(_getitem, multiply, add, _reshape, _transpose),
    doc=Doc("", "s[i] + (q * (n - 1) - i) * (s[i + 1] - s[i]) with s = sort(x, axis) and i = floor(q * (n - 1))"),
)
def quantile(x: TensorLike, q: Any, axis: Axis = None, *, keepdims: bool = False) -> TensorLike:
    """Compute quantiles along ``axis`` (None: all axes): the value below which the fraction ``q`` of the elements lies.

    Between two elements it is interpolated linearly; the two share the cotangent. If ``q`` is an array, its axes are
    the first ones of the result. If an element is NaN, so is the quantile.

    Raises
    ------
    TypeError
        If ``q`` requires a gradient.
    ValueError
        If ``q`` is not from 0 to 1.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, quantile
    >>> t = Tensor([3.0, 1.0, 2.0, 7.0], requires_grad=True)
    >>> quantile(t, 0.75).backward()
    >>> t.grad
    Tensor([0.75, 0.  , 0.  , 0.25])
    """
    return _quantile("quantile", x, q, 1, axis, keepdims=keepdims)


def _quantile(name: str, x: TensorLike, q: Any, most: int, axis: Axis, *, keepdims: bool) -> TensorLike:
    """Compute the quantiles for ``q / most``; error messages begin with ``name``."""
    if isinstance(q, Value) and q._node is not None:
        raise TypeError(f"{name}: no gradient flows to q; detach() it")
    q = np.asarray(unwrap_value(q), dtype=float)
    if not np.all((q >= 0) & (q <= most)):
        raise ValueError(f"{name}: q must be from 0 to {most}; got {q}")
    q = q / most
    axes, shape = normalize_axes(name, x, axis), shape_of(x)
    count = _count(name, x, axes)
    others = tuple(i for i in range(len(shape)) if i not in axes)
    flat = reshape(transpose(_as_floats(x), (*others, *axes)), (*[shape[i] for i in others], count))
    ordered = sort(flat)
    place = q * (count - 1)
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, count - 1)
    part = (place - low).astype(ordered.dtype)
    lower, upper = ordered[..., low], ordered[..., high]
    with np.errstate(invalid="ignore"):
        between = lower + (upper - lower) * part
    # Infinity minus infinity, and times 0, is NaN: an element that is the quantile itself is taken as it is.
    low_values, high_values = unwrap_value(lower), unwrap_value(upper)
    out = where((part == 0) | (np.isinf(low_values) & (low_values == high_values)), lower, between)
    out = where(np.isnan(unwrap_value(ordered)[(..., -1, *[None] * q.ndim)]), np.nan, out)
    out = moveaxis(out, tuple(range(out.ndim - q.ndim, out.ndim)), tuple(range(q.ndim)))
    if keepdims:
        out = reshape(out, q.shape + tuple([1 if i in axes else size for i, size in enumerate(shape)]))
    return out


@operation(quantile, doc=Doc("", "quantile(x, q / 100, axis)"))
def percentile(x: TensorLike, q: Any, axis: Axis = None, *, keepdims: bool = False) -> TensorLike:
    """Compute percentiles along ``axis`` (None: all axes), as :func:`quantile` does for ``q / 100``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.percentile(tg.Tensor([3.0, 1.0, 2.0, 7.0]), 50)
    Tensor(2.5)
    """
    return _quantile("percentile", x, q, 100, axis, keepdims=keepdims)


@operation(quantile, doc=Doc("", "quantile(x, 0.5, axis)"))
def median(x: TensorLike, axis: Axis = None, *, keepdims: bool = False) -> TensorLike:
    """Compute the median along ``axis`` (None: all axes); of an even number of elements, the mean of the middle two.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, median
    >>> t = Tensor([3.0, 1.0, 2.0, 7.0], requires_grad=True)
    >>> median(t).backward()
    >>> t.grad
    Tensor([0.5, 0. , 0.5, 0. ])
    """
    return _quantile("median", x, 0.5, 1, axis, keepdims=keepdims)


# -- covariance --------------------------------------------------------------------------------------------------------


@operation(
    *(_sum, subtract, matmul, divide, _concatenate),
    doc=Doc("", "(x - mean(x, 1)) @ (x - mean(x, 1)).T / (n - ddof)"),
)
def cov(
    x: TensorLike, y: TensorLike | None = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None
) -> TensorLike:
    """Compute the covariance matrix of variables, each a row of ``x`` (a column if ``rowvar`` is False).

    ``y`` has further variables. The divisor is ``n - ddof``; by default ``ddof`` is 1, and 0 if ``bias`` is True.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.cov(tg.Tensor([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]]))
    Tensor([[ 1., -2.],
            [-2.,  4.]])
    """
    rows = _as_rows(x, rowvar)
    if y is not None:
        rows = concatenate([rows, _as_rows(y, rowvar)], 0)
    if ddof is None:
        ddof = 0 if bias else 1
    count = _degrees_of_freedom("cov", rows, (1,), ddof)
    is_half = rows.dtype == np.float16
    rows = astype(rows, np.float32) if is_half else rows
    centred = rows - mean(rows, 1, True)
    out = squeeze(matmul(centred, transpose(centred)) / count)
    return astype(out, np.float16) if is_half else out


def _as_rows(x: Any, rowvar: bool) -> Any:
    rows = atleast_2d(x)
    if rows.ndim > 2:
        raise ValueError(f"cov: x and y must have one or two axes; got shape {rows.shape}")
    return rows if rowvar or len(shape_of(x)) < 2 else transpose(rows)


@operation(*(cov, _getitem, sqrt, divide), doc=Doc("", "c / sqrt(outer(diag(c), diag(c))) with c = cov(x, y, rowvar)"))
def corrcoef(x: TensorLike, y: TensorLike | None = None, rowvar: bool = True) -> TensorLike:
    """Compute the matrix of correlation coefficients of variables, each a row of ``x`` (or a column).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.corrcoef(tg.Tensor([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]]))
    Tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    spread = sqrt(diagonal(c))
    return c / reshape(spread, (-1, 1)) / spread


# -- without NaN -------------------------------------------------------------------------------------------------------


@operation(_sum, _where, doc=Doc("", "sum(where(isnan(x), 0, x), axis)"))
def nansum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the sum along ``axis`` of the elements that are not NaN; the others receive the gradient 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nansum(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor(4.)
    """
    return sum(_without_nan(x, 0), axis, keepdims)


@operation(prod, _where, doc=Doc("", "prod(where(isnan(x), 1, x), axis)"))
def nanprod(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the product along ``axis`` of the elements that are not NaN; the others receive the gradient 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nanprod(tg.Tensor([2.0, float("nan"), 3.0]))
    Tensor(6.)
    """
    return prod(_without_nan(x, 1), axis, keepdims)


@operation(_max, _where, doc=Doc("", "max(where(isnan(x), -inf, x), axis)"))
def nanmax(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the maximum along ``axis`` of the elements that are not NaN; NaN if all are.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nanmax(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor(3.)
    """
    return _or_nan(x, max(_without_nan(x, -np.inf), axis, keepdims), axis, keepdims)


@operation(_min, _where, doc=Doc("", "min(where(isnan(x), inf, x), axis)"))
def nanmin(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the minimum along ``axis`` of the elements that are not NaN; NaN if all are.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nanmin(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor(1.)
    """
    return _or_nan(x, min(_without_nan(x, np.inf), axis, keepdims), axis, keepdims)


@operation(_sum, _where, divide, doc=Doc("", "nansum(x, axis) / sum(~isnan(x), axis)"))
def nanmean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the mean along ``axis`` of the elements that are not NaN; NaN if all are.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nanmean(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor(2.)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(nanmean(astype(x, np.float32), axis, keepdims), np.float16)
    return nansum(x, axis, keepdims) / _number_present(x, axis, keepdims)


@operation(
    *(_sum, _where, divide, subtract, square),
    doc=Doc("", "nansum((x - nanmean(x, axis))**2, axis) / (sum(~isnan(x), axis) - ddof)"),
)
def nanvar(x: TensorLike, axis: Axis = None, *, ddof: int = 0, keepdims: bool = False) -> TensorLike:
    """Compute the variance along ``axis`` of the elements that are not NaN.

    It is NaN where no more than ``ddof`` elements are left.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nanvar(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor(1.)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(nanvar(astype(x, np.float32), axis, ddof=ddof, keepdims=keepdims), np.float16)
    centred = _centred_without_nan(x, axis)
    count = _number_present(x, axis, keepdims) - ddof
    return sum(square(centred), axis, keepdims) / np.where(count > 0, count, np.nan)


@operation(
    *(_norm, _sum, _where, divide, subtract),
    doc=Doc("", "sqrt(nanvar(x, axis, ddof))"),
)
def nanstd(x: TensorLike, axis: Axis = None, *, ddof: int = 0, keepdims: bool = False) -> TensorLike:
    """Compute the standard deviation along ``axis`` of the elements that are not NaN.

    It is NaN where no more than ``ddof`` elements are left.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nanstd(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor(1.)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(nanstd(astype(x, np.float32), axis, ddof=ddof, keepdims=keepdims), np.float16)
    centred = _centred_without_nan(x, axis)
    count = _number_present(x, axis, keepdims) - ddof
    return _norm(centred, normalize_axes("nanstd", x, axis), keepdims) / np.sqrt(np.where(count > 0, count, np.nan))


def _centred_without_nan(x: TensorLike, axis: Axis) -> Any:
    """Return the differences from the mean of the elements that are not NaN, and 0 for those that are."""
    return where(np.isnan(unwrap_value(x)), 0, value_or_array(x) - nanmean(x, axis, True))


@operation(cumsum, _where, doc=Doc("", "cumsum(where(isnan(x), 0, x), axis)"))
def nancumsum(x: TensorLike, axis: int | None = None) -> TensorLike:
    """Compute the cumulative sum along ``axis`` of the elements that are not NaN; None flattens ``x`` first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nancumsum(tg.Tensor([1.0, float("nan"), 3.0]))
    Tensor([1., 1., 4.])
    """
    return cumsum(_without_nan(x, 0), axis)


@operation(cumprod, _where, doc=Doc("", "cumprod(where(isnan(x), 1, x), axis)"))
def nancumprod(x: TensorLike, axis: int | None = None) -> TensorLike:
    """Compute the cumulative product along ``axis`` of the elements that are not NaN; None flattens ``x`` first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nancumprod(tg.Tensor([2.0, float("nan"), 3.0]))
    Tensor([2., 2., 6.])
    """
    return cumprod(_without_nan(x, 1), axis)


def _without_nan(x: Any, value: float) -> Any:
    x = value_or_array(x)
    return where(np.isnan(unwrap_value(x)), value, x) if x.dtype.kind == "f" else x


def _number_present(x: Any, axis: Axis, keepdims: bool) -> Any:
    """Return the number of elements that are not NaN, and NaN instead of 0."""
    axes = normalize_axes("nanmean", x, axis)
    count = np.sum(~np.isnan(unwrap_value(x)), axis=axes, keepdims=keepdims)
    return np.where(count > 0, count, np.nan).astype(_as_floats(x).dtype)


def _or_nan(x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """Return a result, and NaN where all elements that it was computed from are NaN."""
    if out.dtype.kind != "f":
        return out
    axes = normalize_axes("nanmax", x, axis)
    return where(np.all(np.isnan(unwrap_value(x)), axis=axes, keepdims=keepdims), np.nan, out)
