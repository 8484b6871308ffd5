"""The derivative table: functions that are given by their samples or coefficients.

Differences, integrals and interpolation along an axis, and polynomials; all are compositions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import shape_of, unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, add, astype, divide, multiply, subtract
from tinygrad_cifar.engine.ops.exponential import power
from tinygrad_cifar.engine.ops.indexing import _getitem
from tinygrad_cifar.engine.ops.joining import _concatenate, concatenate
from tinygrad_cifar.engine.ops.piecewise import _where, where
from tinygrad_cifar.engine.ops.reductions import _sum, sum
from tinygrad_cifar.engine.ops.shapes import _reshape, broadcast_to, expand_dims, ravel, reshape


@operation(_getitem, subtract, _concatenate, doc=Doc("", "x[1:] - x[:-1], n times, along axis"))
def diff(
    x: TensorLike, n: int = 1, axis: int = -1, *, prepend: TensorLike | None = None, append: TensorLike | None = None
) -> TensorLike:
    """Compute the differences of neighbours along ``axis``, ``n`` times.

    ``prepend`` and ``append`` are joined to ``x`` first.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.diff(tg.Tensor([1.0, 4.0, 9.0]))
    Tensor([3., 5.])
    """
    x = value_or_array(x)
    axis = normalize_axis_index("diff", axis, x.ndim)
    if n < 0:
        raise ValueError(f"diff: n must not be negative; got {n}")
    one = tuple([1 if i == axis else size for i, size in enumerate(x.shape)])
    parts = [part if len(shape_of(part)) else broadcast_to(part, one) for part in (prepend, append) if part is not None]
    if parts:
        x = concatenate([*parts[: prepend is not None], x, *parts[prepend is not None :]], axis)
    before = (slice(None),) * axis
    for _ in range(n):
        x = x[(*before, slice(1, None))] - x[(*before, slice(-1))]
    return x


@operation(_getitem, subtract, _concatenate, _reshape, doc=Doc("", "concatenate([to_begin, diff(ravel(x)), to_end])"))
def ediff1d(x: TensorLike, to_end: TensorLike | None = None, to_begin: TensorLike | None = None) -> TensorLike:
    """Compute the differences of neighbours in C order, between ``to_begin`` and ``to_end``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.ediff1d(tg.Tensor([1.0, 4.0, 9.0]), to_end=0.0)
    Tensor([3., 5., 0.])
    """
    differences = diff(ravel(x))
    dtype = differences.dtype
    first, last = ([] if part is None else [ravel(part)] for part in (to_begin, to_end))
    ends = [astype(part, dtype) if np.can_cast(part.dtype, dtype, "same_kind") else part for part in (*first, *last)]
    return concatenate([*ends[: len(first)], differences, *ends[len(first) :]])


@documented(
    *(_getitem, subtract, divide, _concatenate),
    doc=Doc("", "(x[i + 1] - x[i - 1]) / (2 * spacing), and one-sided differences at the ends, along each axis"),
)
def gradient(x: TensorLike, *spacing: float, axis: int | Sequence[int] | None = None) -> TensorLike | list[TensorLike]:
    """Estimate the derivative of samples by centred differences, one-sided at the ends.

    ``spacing`` is the distance of the samples, one number for all axes or one for each. The result is one array for one
    axis and a list for several. Gradients flow to ``x``. The gradient of a scalar with respect to a tensor is
    :func:`tinygrad_cifar.grad`.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.gradient(tg.Tensor([1.0, 4.0, 9.0, 16.0]))
    Tensor([3., 4., 6., 7.])
    """
    x = _as_floats(x)
    if not x.ndim:
        raise ValueError("gradient: x must have at least one axis; it is a scalar")
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis).tolist()
    if not all(np.ndim(unwrap_value(step)) == 0 for step in spacing):
        raise ValueError("gradient: spacing must be numbers; coordinates are not supported")
    if len(spacing) not in (0, 1, len(axes)):
        raise ValueError(f"gradient: give one spacing, or one for each of the {len(axes)} axes; got {len(spacing)}")
    steps = (spacing or (1.0,)) * (1 if len(spacing) == len(axes) else len(axes))
    found = [
        _gradient_along(x, step, normalize_axis_index("gradient", a, x.ndim))
        for a, step in zip(axes, steps, strict=True)
    ]
    return found[0] if len(found) == 1 else found


def _gradient_along(x: Any, step: Any, axis: int) -> Any:
    if x.shape[axis] < 2:
        raise ValueError(f"gradient: axis {axis} must have at least two elements; the shape is {x.shape}")

    def at(start: int | None, stop: int | None) -> Any:
        return x[(*[slice(None)] * axis, slice(start, stop))]

    first, last = at(1, 2) - at(0, 1), at(-1, None) - at(-2, -1)
    return divide(concatenate([first, (at(2, None) - at(None, -2)) / 2, last], axis), step)


@operation(*(_getitem, add, subtract, multiply, _sum), doc=Doc("", "sum(diff(x) * (y[1:] + y[:-1]) / 2), along axis"))
def trapezoid(y: TensorLike, x: TensorLike | None = None, dx: float = 1.0, axis: int = -1) -> TensorLike:
    """Integrate samples ``y`` along ``axis`` by the trapezoidal rule.

    The positions of the samples are ``x``, of the shape of ``y`` or a vector, or have the distance ``dx``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.trapezoid(tg.Tensor([1.0, 2.0, 4.0]), dx=0.5)
    Tensor(2.25)
    """
    y = _as_floats(y)
    axis = normalize_axis_index("trapezoid", axis, y.ndim)
    before = (slice(None),) * axis
    widths: Any = dx
    if x is not None:
        widths = diff(_as_floats(x), axis=-1 if len(shape_of(x)) == 1 else axis)
        if widths.ndim == 1:
            widths = reshape(widths, tuple([-1 if i == axis else 1 for i in range(y.ndim)]))
    return sum(widths * (y[(*before, slice(1, None))] + y[(*before, slice(-1))]) / 2.0, axis)


@operation(
    *(_getitem, add, subtract, multiply, divide, _where),
    doc=Doc("", "fp[i] + (x - xp[i]) * (fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i]) for xp[i] <= x <= xp[i + 1]"),
)
def interp(
    x: TensorLike, xp: TensorLike, fp: TensorLike, left: TensorLike | None = None, right: TensorLike | None = None
) -> TensorLike:
    """Interpolate linearly at ``x`` between the points ``(xp, fp)``, where ``xp`` increases.

    Below ``xp[0]`` the result is ``left`` (default: ``fp[0]``), above ``xp[-1]`` it is ``right`` (default: ``fp[-1]``).
    At a point, the derivative with respect to ``x`` is that of the interval on its right.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.interp(tg.Tensor([0.5, 5.0]), [0.0, 1.0, 2.0], [0.0, 10.0, 40.0])
    Tensor([ 5., 40.])
    """
    x, xp, fp = _as_floats(x), _as_floats(xp), _as_floats(fp)
    points, places = unwrap_value(xp), unwrap_value(x)
    if points.ndim != 1 or xp.shape != fp.shape or not points.size:
        raise ValueError(f"interp: xp and fp must be vectors of the same size; got {xp.shape} and {fp.shape}")
    last = points.size - 1
    left = fp[0] if left is None else left
    right = fp[last] if right is None else right
    if last == 0:
        inside = broadcast_to(fp[0], x.shape)
    else:
        i = np.clip(np.searchsorted(points, places, side="right") - 1, 0, last - 1)
        # Outside, x is replaced by an end: its value is not used, and must not overflow.
        limited = where((places < points[0]) | (places > points[-1]), points[0], x)
        slope = (fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i])
        inside = fp[i] + (limited - xp[i]) * slope
    return where(places < points[0], left, where(places > points[-1], right, inside))


@documented(multiply, add, doc=Doc("", "p[0] * x**(n - 1) + ... + p[n - 2] * x + p[n - 1]"))
def polyval(p: TensorLike, x: TensorLike) -> TensorLike:
    """Evaluate a polynomial, whose coefficients ``p`` begin with that of the highest power, at ``x``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.polyval(tg.Tensor([1.0, 0.0, -2.0]), tg.Tensor([2.0, 3.0]))
    Tensor([2., 7.])
    """
    p, x = value_or_array(p), value_or_array(x)
    out: Any = multiply(x, 0.0)
    for i in range(p.shape[0]):
        out = add(multiply(out, x), p[i])
    return out


@operation(power, _concatenate, _reshape, doc=Doc("", "column j is x**(n - 1 - j), or x**j if increasing"))
def vander(x: TensorLike, N: int | None = None, increasing: bool = False) -> TensorLike:
    """Return the matrix of the powers of a vector, in ``N`` columns (default: as many as elements).

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.vander(tg.Tensor([2.0, 3.0]), 3)
    Tensor([[4., 2., 1.],
            [9., 3., 1.]])
    """
    x = value_or_array(x)
    if x.ndim != 1:
        raise ValueError(f"vander: x must be a vector; its shape is {x.shape}")
    powers = np.arange(x.shape[0] if N is None else N)
    return power(expand_dims(x, -1), powers if increasing else powers[::-1])


@documented(add, subtract, multiply, doc=Doc("", "start + (stop - start) * arange(num) / (num - 1)"))
def linspace(start: TensorLike, stop: TensorLike, num: int = 50, endpoint: bool = True, axis: int = 0) -> TensorLike:
    """Return ``num`` numbers at equal distances from ``start`` to ``stop``, along a new axis.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.linspace(tg.Tensor(0.0), tg.Tensor(1.0), 3)
    Tensor([0. , 0.5, 1. ])
    """
    # A Python number takes the dtype of the other end.
    start, stop = [end if isinstance(end, (int, float)) else value_or_array(end) for end in (start, stop)]
    steps = num - 1 if endpoint else num
    parts = np.arange(num) / max(steps, 1)
    first, last = (expand_dims(end, axis) for end in (start + 0 * stop, stop + 0 * start))
    column = parts.reshape(
        [-1 if i == normalize_axis_index("linspace", axis, first.ndim) else 1 for i in range(first.ndim)]
    )
    dtype = np.result_type(first.dtype, last.dtype)
    column = column.astype(dtype if dtype.kind == "f" else np.float64)
    return first * (1 - column) + last * column
