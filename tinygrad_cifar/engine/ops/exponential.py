"""The derivative table: powers, exponentials and logarithms, element by element.

The sigmoid, the softplus and ``logaddexp`` are accurate for all numbers, and none of their steps overflows.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, binary_operation
from tinygrad_cifar.engine.ops.elementwise import astype, multiply
from tinygrad_cifar.engine.ops.piecewise import _where, where
from tinygrad_cifar.engine.primitives import binary, primitive, unary

_LOG_2 = math.log(2)
_LOG_10 = math.log(10)

power = binary(
    "power",
    np.power,
    x=lambda g, x, y: g * (y * power(_power_base(x, y), y - 1.0)),  # not y - 1, which wraps around in small integers
    y=lambda g, x, y: g * _power_log(x, y),
    doc=Doc(
        "Raise to a power.",
        "x**y",
        x="y * x**(y - 1)",
        y="out * log(x)",
        note="The derivative with respect to x is taken as 0 where y is 0, and that with respect to y as 0 where x is "
        "0. With respect to y it is NaN for a negative x.",
    ),
)

_power_log = primitive(
    "power_log",
    lambda x, y: _power_times_log(x, y),
    broadcasts=True,
    # The sum is also the derivative of y * x**(y - 1) with respect to y, so Hessians of powers are symmetric.
    x=lambda g, x, y: g * (y * _power_log(_power_base(x, y), y - 1.0) + power(_power_base(x, y), y - 1.0)),
    y=lambda g, out, x: g * (out * log(_where(x == 0, 1.0, x))),
    doc=Doc(
        "Compute the derivative of a power with respect to its exponent.",
        "x**y * log(x)",
        x="x**(y - 1) * (y * log(x) + 1)",
        y="out * log(x)",
        note="Where x is 0, it is taken as 0.",
    ),
)


def _power_base(x: Any, y: Any) -> Any:
    """Return x, with 1 where ``y * x**(y - 1)`` would be 0 times infinity or NaN: the derivative of ``x**0`` is 0."""
    if isinstance(y, (int, float)) and y:
        return x
    constant = y == 0
    if not np.any(constant):  # the usual case, in a third of the time
        return x
    return _where(constant & ((x == 0) | (x != x)), 1.0, x)  # noqa: PLR0124 (True for NaN)


def _power_times_log(x: Any, y: Any) -> Any:
    if np.result_type(x).kind == "f" and np.all(x):  # none is 0
        return np.power(x, y) * np.log(x)
    base = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 0.0, np.power(base, y) * np.log(base))


# -- exponentials, logarithms ----------------------------------------------------------------------------------------

exp = unary("exp", np.exp, x=lambda g, out: g * out, doc=Doc("Compute the exponential.", "e**x", x="out"))
expm1 = unary(
    "expm1",
    np.expm1,
    x=lambda g, x: g * exp(x),
    doc=Doc("Compute ``exp(x) - 1``, accurate also for small x.", "exp(x) - 1", x="exp(x)"),
)
log = unary("log", np.log, x=lambda g, x: g / x, doc=Doc("Compute the natural logarithm.", x="1 / x"))
exp2 = unary(
    "exp2",
    np.exp2,
    x=lambda g, out: g * (out * _LOG_2),
    doc=Doc("Compute 2 to the power x.", "2**x", x="out * log(2)"),
)
log2 = unary(
    "log2", np.log2, x=lambda g, x: (g / _LOG_2) / x, doc=Doc("Compute the logarithm to base 2.", x="1 / (x * log(2))")
)
log10 = unary(
    "log10",
    np.log10,
    x=lambda g, x: (g / _LOG_10) / x,  # x * log(10) can overflow
    doc=Doc("Compute the logarithm to base 10.", x="1 / (x * log(10))"),
)
log1p = unary(
    "log1p",
    np.log1p,
    x=lambda g, x: g / (1 + x),
    doc=Doc("Compute ``log(1 + x)``, accurate also for small x.", "log(1 + x)", x="1 / (1 + x)"),
)

# -- the sigmoid and its integral: accurate from -1000 to 1000, without overflow ---------------------------------------
# For floating-point arrays, the steps write to one array: 10^6 numbers take as long as 1 / (1 + exp(-x)) by hand, and
# took 6 times as long with a choice between two forms. In general exp is applied only to -|x|, written with the
# sign of the real part so that the complex step works as well. The sign is negated, not x, since it is a floating-point
# number, and -x would wrap around in unsigned integers.


def _sigmoid(x: Any) -> Any:
    if x.dtype.kind == "f" and np.minimum.reduce(x, axis=None, initial=0) > -_largest_exponent(x.dtype):
        out = np.negative(x, out=np.empty_like(x))
        np.exp(out, out=out)
        out += 1
        return np.divide(1, out, out=out)
    small = np.exp(x * -_sign_of_real_part(x))
    return np.where(x.real >= 0, 1, small) / (1 + small)


def _softplus(x: Any) -> Any:
    if x.dtype.kind == "f":
        out = np.absolute(x, out=np.empty_like(x))
        np.negative(out, out=out)
        np.exp(out, out=out)
        np.log1p(out, out=out)
        out += np.maximum(x, 0)
        return out
    return np.where(x.real >= 0, x, 0) + np.log1p(np.exp(x * -_sign_of_real_part(x)))


@cache
def _largest_exponent(dtype: Any) -> float:
    """Return a number whose exponential does not overflow, with a margin."""
    return math.log(np.finfo(dtype).max) - 1


def _sign_of_real_part(x: Any) -> Any:
    """Return 1 from 0 on and -1 below; adding 0 turns -0.0 into 0.0."""
    return np.copysign(1, x.real + 0.0)


sigmoid = unary(
    "sigmoid",
    _sigmoid,
    x=lambda g, out, x: g * (out * sigmoid(-x)),
    doc=Doc(
        "Compute the logistic sigmoid.",
        "1 / (1 + exp(-x))",
        x="out * (1 - out)",
        note="Neither the function nor its derivative overflows, whatever the size of x.",
    ),
)
softplus = unary(
    "softplus",
    _softplus,
    x=lambda g, x: g * sigmoid(x),
    doc=Doc(
        "Compute the softplus, a smooth ``relu`` whose derivative is the sigmoid.",
        "log(1 + exp(x))",
        x="1 / (1 + exp(-x))",
        note="Neither the function nor its derivative overflows, whatever the size of x.",
    ),
)

logaddexp = binary(
    "logaddexp",
    np.logaddexp,
    x=lambda g, x, y: g * sigmoid(_difference(x, y)),
    y=lambda g, x, y: g * sigmoid(_difference(y, x)),
    doc=Doc(
        "Compute the logarithm of the sum of two exponentials, without overflow.",
        "log(exp(x) + exp(y))",
        x="exp(x - out)",
        y="exp(y - out)",
        note="Where both are -inf or both inf, each derivative is taken as 0.5.",
    ),
)


def _difference(x: Any, y: Any) -> Any:
    """Return ``x - y``, and 0 where both are the same infinity."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = x - y
        # One pass: if the sum is finite, there is no infinity, and no correction is needed.
        if np.isfinite(np.add.reduce(unwrap_value(difference), axis=None)):
            return difference
    return where((x == y) & np.isinf(unwrap_value(x)), 0, difference)


@binary_operation(logaddexp, doc=Doc("", "log2(2**x + 2**y)"))
def logaddexp2(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the logarithm, to base 2, of the sum of two powers of 2, without overflow.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.logaddexp2(tg.Tensor([3.0, 5000.0]), tg.Tensor([3.0, 5000.0]))
    Tensor([4.000e+00, 5.001e+03])
    """
    # Multiplied in the type of the result: log(2) in float16 would have three digits.
    given = [z for z in (x, y) if not isinstance(z, (int, float))]
    dtype = np.result_type(np.float16, *[value_or_array(z).dtype for z in given]) if given else np.dtype(float)
    x, y = (astype(z, dtype) for z in (x, y))
    return logaddexp(multiply(x, _LOG_2), multiply(y, _LOG_2)) / _LOG_2
