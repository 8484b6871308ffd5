"""The derivative table: functions with kinks or jumps, element by element.

Where a function has a kink, the table takes one documented value: ``relu'(0) = 0``, ``absolute'(0) = 0``, a tie of
``maximum`` or ``minimum`` gives half to each, ``clip`` lets the gradient through at its ends. A function that is
constant between its jumps, such as ``sign`` or ``floor``, has no VJP: its result is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, Value, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, V, binary_operation, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, multiply
from tinygrad_cifar.engine.primitives import binary, primitive, unary

sign = unary(
    "sign",
    np.sign,
    kink=lambda x: x == 0,
    doc=Doc(
        "Compute the sign: 1, -1, or 0 for 0.",
        "where(x > 0, 1, where(x < 0, -1, 0))",
        at=(-5.0, 0.0, 5.0),
        note="The derivative is 0 everywhere, also at the jump, so nothing is recorded.",
    ),
)
absolute = unary(
    "absolute",
    np.absolute,
    kink=lambda x: x == 0,
    x=lambda g, x: g * sign(x),
    doc=Doc(
        "Compute the absolute value.",
        "where(x < 0, -x, x)",
        x="sign(x)",
        at=(-0.25, 0.75),
        note="At 0 the derivative is taken as 0, midway between -1 and 1.",
    ),
)
relu = unary(
    "relu",
    lambda x: np.maximum(x, 0),
    kink=lambda x: x == 0,
    x=lambda g, out: g * (out > 0),
    doc=Doc(
        "Compute the rectified linear unit.",
        "maximum(x, 0)",
        x="1.0 * (x > 0)",
        at=(-0.25, 0.75),
        note="At 0 the derivative is taken as 0.",
    ),
)
maximum = binary(
    "maximum",
    np.maximum,
    kink=lambda x, y: x == y,
    x=lambda g, x, y: g * (x > y) + (0.5 * g) * (x == y),
    y=lambda g, x, y: g * (y > x) + (0.5 * g) * (x == y),
    doc=Doc(
        "Compute the larger of two.",
        "where(x > y, x, y)",
        x="(x > y) + 0.5 * (x == y)",
        y="(y > x) + 0.5 * (x == y)",
        note="In a tie each input receives half of the cotangent.",
    ),
)
minimum = binary(
    "minimum",
    np.minimum,
    kink=lambda x, y: x == y,
    x=lambda g, x, y: g * (x < y) + (0.5 * g) * (x == y),
    y=lambda g, x, y: g * (y < x) + (0.5 * g) * (x == y),
    doc=Doc(
        "Compute the smaller of two.",
        "where(x < y, x, y)",
        x="(x < y) + 0.5 * (x == y)",
        y="(y < x) + 0.5 * (x == y)",
        note="In a tie each input receives half of the cotangent.",
    ),
)


@binary_operation(maximum, doc=Doc("", "where((x >= y) | isnan(y), x, y)"))
def fmax(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the larger of two, or the one that is not NaN.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.fmax(tg.Tensor([1.0, float("nan")]), tg.Tensor([3.0, 2.0]))
    Tensor([3., 2.])
    """
    return maximum(_or_other(x, y), _or_other(y, x))


@binary_operation(minimum, doc=Doc("", "where((x <= y) | isnan(y), x, y)"))
def fmin(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the smaller of two, or the one that is not NaN.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.fmin(tg.Tensor([1.0, float("nan")]), tg.Tensor([3.0, 2.0]))
    Tensor([1., 2.])
    """
    return minimum(_or_other(x, y), _or_other(y, x))


def _or_other(x: Any, y: Any) -> Any:
    """Return x, and the element of y where that of x is NaN."""
    return where(np.isnan(unwrap_value(x)), y, x)


def _between(x: Any, low: Any, high: Any) -> Any:
    inside = x == x  # noqa: PLR0124 (False for NaN)
    if low is not None:
        inside = inside & (x >= low)
    if high is not None:
        inside = inside & (x <= high)
    return inside


def _or_nan(bound: Any) -> Any:
    """Return a bound, or NaN, which equals nothing, for None."""
    return np.nan if bound is None else bound


_clip = primitive(
    "clip",
    lambda x, low, high: np.clip(x, low, high),
    broadcasts=True,
    kink=lambda x, low, high: (x == _or_nan(low)) | (x == _or_nan(high)),
    x=lambda g, x, low, high: g * _between(x, low, high),
    doc=Doc(
        "Limit to an interval.",
        "minimum(maximum(x, low), high)",
        x="(x >= low) & (x <= high)",
        note="At both ends the derivative is taken as 1.",
    ),
)


@operation(
    _clip,
    doc=Doc("", "minimum(maximum(x, min), max)", x="g * ((x >= min) & (x <= max))", note=_clip.primitive.doc.note),
)
def clip(x: TensorLike, min: Any = None, max: Any = None) -> TensorLike:
    """Limit ``x`` to the interval from ``min`` to ``max``.

    The bounds are constants (arrays, numbers or None): no gradient flows to them.

    Raises
    ------
    TypeError
        If a bound requires a gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, clip
    >>> t = Tensor([-2.0, -1.0, 0.0, 3.0], requires_grad=True)
    >>> clip(t, -1, 1).sum().backward()
    >>> t.grad
    Tensor([0., 1., 1., 0.])
    """
    if any(isinstance(bound, Value) and bound._node is not None for bound in (min, max)):
        raise TypeError("clip: no gradient flows to the bounds; detach() them, or use maximum and minimum")
    for bound in (min, max):
        refuse_masked_array("clip", bound)
    return _clip(x, unwrap_value(min), unwrap_value(max))


_where = primitive(
    "where",
    lambda condition, x, y: np.where(condition, x, y),
    broadcasts=True,
    x=lambda g, condition: _where(condition, g, 0),
    y=lambda g, condition: _where(condition, 0, g),
    doc=Doc("Choose elements.", "where(condition, x, y)", x="where(condition, 1, 0)", y="where(condition, 0, 1)"),
)


@overload
def where(condition: Any, x: V, y: V | ArrayLike) -> V: ...
@overload
def where(condition: Any, x: ArrayLike, y: V) -> V: ...
@overload
def where(condition: Any, x: ArrayLike, y: ArrayLike) -> Array: ...
@documented(_where)
def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> TensorLike:
    """Choose elements of ``x`` where ``condition`` holds, and of ``y`` elsewhere.

    A non-finite value in the branch that is not chosen does not affect the gradient here, but may affect that of the
    operation that computed it, whose own derivative times 0 can be NaN. Replace the input of that operation by a
    harmless value with an inner ``where``.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, where
    >>> t = Tensor([-1.0, 2.0], requires_grad=True)
    >>> where(t > 0, t, 0.0).sum().backward()
    >>> t.grad
    Tensor([0., 1.])
    """
    refuse_masked_array("where", condition)
    return _where(unwrap_value(condition), x, y)


@operation(_where, doc=Doc("", "where(isnan(x), nan, where(x == inf, posinf, where(x == -inf, neginf, x)))"))
def nan_to_num(
    x: TensorLike, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> TensorLike:
    """Replace NaN by ``nan``, and infinities by ``posinf`` and ``neginf`` (None: the largest finite numbers).

    The gradient of a replaced element is 0.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.nan_to_num(tg.Tensor([1.0, float("nan"), float("inf")]), posinf=9.0)
    Tensor([1., 0., 9.])
    """
    array = unwrap_value(x)
    return _where(np.isfinite(array), x, np.nan_to_num(array, nan=nan, posinf=posinf, neginf=neginf))


@documented(_where, doc=Doc("", "where(conditions[0], choices[0], where(conditions[1], choices[1], ... default))"))
def select(conditions: Sequence[Any], choices: Sequence[TensorLike], default: TensorLike = 0) -> TensorLike:
    """Choose elements of the first of ``choices`` whose condition holds, and of ``default`` where none does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([-2.0, 0.5, 3.0])
    >>> tg.select([t < 0, t > 1], [-t, t * t], default=t)
    Tensor([2. , 0.5, 9. ])
    """
    if len(conditions) != len(choices):
        raise ValueError(
            f"select: conditions and choices must have the same length; got {len(conditions)} and {len(choices)}"
        )
    out = default
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        out = where(condition, choice, out)
    return out


# -- steps: constant between their jumps, so nothing is recorded -------------------------------------------------------

_step = primitive(
    "step",
    lambda x, y, function: function(x) if y is None else function(x, y),
    doc=Doc("Apply a function that is constant between its jumps.", "function(x, y)"),
)


@operation(_step, doc=Doc("", "the largest integer that is not above x"))
def floor(x: TensorLike) -> TensorLike:
    """Round down to an integer; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.floor(tg.Tensor([-1.5, 1.5]))
    Tensor([-2.,  1.])
    """
    return _step(x, None, np.floor)


@operation(_step, doc=Doc("", "the smallest integer that is not below x"))
def ceil(x: TensorLike) -> TensorLike:
    """Round up to an integer; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.ceil(tg.Tensor([-1.5, 1.5]))
    Tensor([-1.,  2.])
    """
    return _step(x, None, np.ceil)


@operation(_step, doc=Doc("", "x without its fraction"))
def trunc(x: TensorLike) -> TensorLike:
    """Round towards 0 to an integer; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.trunc(tg.Tensor([-1.5, 1.5]))
    Tensor([-1.,  1.])
    """
    return _step(x, None, np.trunc)


@operation(_step, doc=Doc("", "the nearest integer, the even one in a tie"))
def rint(x: TensorLike) -> TensorLike:
    """Round to the nearest integer; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.rint(tg.Tensor([0.5, 1.5, 1.75]))
    Tensor([0., 2., 2.])
    """
    return _step(x, None, np.rint)


@operation(_step, doc=Doc("", "rint(x * 10**decimals) / 10**decimals"))
def round(x: TensorLike, decimals: int = 0) -> TensorLike:
    """Round to ``decimals`` places; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.round(tg.Tensor([3.14159]), 2)
    Tensor([3.14])
    """
    return _step(x, decimals, np.round)


@binary_operation(_step, doc=Doc("", "where(x < 0, 0, where(x > 0, 1, y))"))
def heaviside(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the unit step: 0 for negative x, 1 for positive x, and y at 0; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.heaviside(tg.Tensor([-2.0, 0.0, 2.0]), 0.5)
    Tensor([0. , 0.5, 1. ])
    """
    return _step(x, y, np.heaviside)


@binary_operation(_step, doc=Doc("", "floor(x / y)"))
def floor_divide(x: TensorLike, y: TensorLike) -> TensorLike:
    """Divide and round down; no gradient flows through it.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.floor_divide(tg.Tensor([-7.0, 7.0]), 2)
    Tensor([-4.,  3.])
    """
    return _step(x, y, np.floor_divide)


remainder = binary(
    "remainder",
    np.remainder,
    kink=lambda x, y: np.remainder(x, y) == 0,
    x=lambda g: g,
    y=lambda g, x, y: -(g * floor_divide(x, y)),
    doc=Doc(
        "Compute the remainder of a division that rounds down; it has the sign of y.",
        "x - y * floor(x / y)",
        x="1",
        y="-floor(x / y)",
        at=(2.5, -3.5),
    ),
)


@binary_operation(multiply, absolute, _step, doc=Doc("", "absolute(x) * where(signbit(y), -1, 1)"))
def copysign(x: TensorLike, y: TensorLike) -> TensorLike:
    """Give the absolute value of x the sign of y; no gradient flows to y.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.copysign(tg.Tensor([1.0, 2.0]), tg.Tensor([-5.0, 0.0]))
    Tensor([-1.,  2.])
    """
    sign = math.copysign(1.0, y) if isinstance(y, (int, float)) else _step(y, None, _sign_of_zeros_too)
    return multiply(absolute(x), sign)


def _sign_of_zeros_too(x: Any) -> Any:
    return np.copysign(1, x)


@binary_operation(remainder, multiply, absolute, _step, doc=Doc("", "x - y * trunc(x / y)"))
def fmod(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the remainder of a division that rounds towards 0; it has the sign of x.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.fmod(tg.Tensor([-7.0, 7.0]), 4)
    Tensor([-3.,  3.])
    """
    x = _as_floats(x)
    divisor = abs(y) if isinstance(y, (int, float)) else absolute(_as_floats(y))  # a Python number has no dtype
    sign_of_x = _step(x, None, _sign_of_zeros_too)  # not absolute(x), which has no derivative at 0
    return multiply(sign_of_x, remainder(multiply(sign_of_x, x), divisor))
