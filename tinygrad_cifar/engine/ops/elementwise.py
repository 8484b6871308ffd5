"""The derivative table: element-wise functions.

Inputs broadcast as in NumPy; the backward pass sums each cotangent to the shape of its input, so no VJP mentions it.
Where a function has a kink, the table takes one documented value: ``relu'(0) = 0``, ``absolute'(0) = 0``, a tie of
``maximum`` or ``minimum`` gives half to each, ``clip`` lets the gradient through at its ends.

VJPs are written so that they are accurate where the textbook form cancels: ``1 - tanh(x)**2`` is 0 from x = 20 on,
while ``1 / cosh(x)**2`` is the same function with all its digits.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, Value, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, V, operation
from tinygrad_cifar.engine.primitives import binary, primitive, unary

# -- arithmetic ------------------------------------------------------------------------------------------------------

add = binary("add", np.add, x=lambda g: g, y=lambda g: g, doc=Doc("Add.", "x + y", x="1", y="1"))
subtract = binary("subtract", np.subtract, x=lambda g: g, y=lambda g: -g, doc=Doc("Subtract.", "x - y", x="1", y="-1"))
multiply = binary(
    "multiply", np.multiply, x=lambda g, y: g * y, y=lambda g, x: g * x, doc=Doc("Multiply.", "x * y", x="y", y="x")
)
divide = binary(
    "divide",
    np.divide,
    x=lambda g, y: g / y,
    y=lambda g, out, y: -(g * out) / y,
    doc=Doc("Divide.", "x / y", x="1 / y", y="-x / y**2"),
)
negative = unary("negative", np.negative, x=lambda g: -g, doc=Doc("Change the sign.", "-x", x="-1"))
square = unary("square", np.square, x=lambda g, x: (2 * g) * x, doc=Doc("Square.", "x**2", x="2 * x"))
sqrt = unary(
    "sqrt",
    np.sqrt,
    x=lambda g, out: (0.5 * g) / out,
    doc=Doc(
        "Compute the square root.",
        "x**0.5",
        x="0.5 / out",
        note="At 0 the derivative is infinite: add a small number under the root, or use ``norm`` for the root of a "
        "sum of squares.",
    ),
)
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
    return _where((y == 0) & ((x == 0) | (x != x)), 1.0, x)  # noqa: PLR0124 (True for NaN)


def _power_times_log(x: Any, y: Any) -> Any:
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
log1p = unary(
    "log1p",
    np.log1p,
    x=lambda g, x: g / (1 + x),
    doc=Doc("Compute ``log(1 + x)``, accurate also for small x.", "log(1 + x)", x="1 / (1 + x)"),
)

# -- trigonometric, hyperbolic ---------------------------------------------------------------------------------------

sin = unary("sin", np.sin, x=lambda g, x: g * cos(x), doc=Doc("Compute the sine of angles in radians.", x="cos(x)"))
cos = unary(
    "cos", np.cos, x=lambda g, x: -(g * sin(x)), doc=Doc("Compute the cosine of angles in radians.", x="-sin(x)")
)
tan = unary(
    "tan",
    np.tan,
    x=lambda g, out: g * (1 + square(out)),
    doc=Doc("Compute the tangent of angles in radians.", "sin(x) / cos(x)", x="1 + out**2"),
)
arcsin = unary(
    "arcsin",
    np.arcsin,
    x=lambda g, x: g / sqrt((1 - x) * (1 + x)),  # not 1 - x**2, which cancels near 1
    doc=Doc(
        "Compute the inverse sine, in radians from -pi / 2 to pi / 2.",
        x="1 / sqrt(1 - x**2)",
        note="The derivative is infinite at -1 and 1.",
    ),
)
arctan = unary(
    "arctan",
    np.arctan,
    x=lambda g, x: g / (1 + square(x)),
    doc=Doc("Compute the inverse tangent, in radians from -pi / 2 to pi / 2.", x="1 / (1 + x**2)"),
)
sinh = unary(
    "sinh",
    np.sinh,
    x=lambda g, x: g * cosh(x),
    doc=Doc("Compute the hyperbolic sine.", "(exp(x) - exp(-x)) / 2", x="cosh(x)"),
)
cosh = unary(
    "cosh",
    np.cosh,
    x=lambda g, x: g * sinh(x),
    doc=Doc("Compute the hyperbolic cosine.", "(exp(x) + exp(-x)) / 2", x="sinh(x)"),
)
tanh = unary(
    "tanh",
    np.tanh,
    x=lambda g, x: g * _sech2(x),
    doc=Doc(
        "Compute the hyperbolic tangent.",
        "sinh(x) / cosh(x)",
        x="1 / cosh(x)**2",
        note="The derivative is computed in this form: ``1 - out**2`` has lost all its digits from x = 20 on.",
    ),
)


def _inverse_cosh_squared(x: Any) -> Any:
    with np.errstate(over="ignore"):  # where cosh overflows, 1 / cosh**2 is 0 in floating point
        return np.square(1 / np.cosh(x))


_sech2 = primitive(
    "sech2",
    _inverse_cosh_squared,
    broadcasts=True,
    x=lambda g, out, x: g * (-2 * (out * tanh(x))),
    doc=Doc("Compute the square of the hyperbolic secant.", "1 / cosh(x)**2", x="-2 * out * tanh(x)"),
)

# -- the sigmoid and its integral: accurate from -1000 to 1000, without overflow ---------------------------------------
# exp is applied only to -|x|, written with the sign of the real part so that the complex step works as well. The sign
# is negated, not x, since it is a floating-point number, and -x would wrap around in unsigned integers.


def _sigmoid(x: Any) -> Any:
    small = np.exp(x * -_sign_of_real_part(x))
    return np.where(x.real >= 0, 1, small) / (1 + small)


def _softplus(x: Any) -> Any:
    return np.where(x.real >= 0, x, 0) + np.log1p(np.exp(x * -_sign_of_real_part(x)))


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

# -- kinks -----------------------------------------------------------------------------------------------------------

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


@operation(_clip)
def clip(x: TensorLike, low: Any = None, high: Any = None) -> TensorLike:
    """Limit ``x`` to the interval from ``low`` to ``high``.

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
    if any(isinstance(bound, Value) and bound._node is not None for bound in (low, high)):
        raise TypeError("clip: no gradient flows to the bounds; detach() them, or use maximum and minimum")
    for bound in (low, high):
        refuse_masked_array("clip", bound)
    return _clip(x, unwrap_value(low), unwrap_value(high))


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


# -- precision ---------------------------------------------------------------------------------------------------------

_astype = primitive(
    "astype", lambda x, dtype: x.astype(dtype), x=lambda g: g, doc=Doc("Convert the type.", "x.astype(dtype)", x="g")
)


@operation(_astype)
def astype(x: TensorLike, dtype: Any) -> TensorLike:
    """Convert to another floating-point type.

    The gradient has the type of the input.

    Raises
    ------
    TypeError
        If a recorded tensor is converted to a type that is not floating-point, since no gradient can flow through
        integers, or a tensor to one that does not hold real numbers.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, astype
    >>> astype(Tensor([1, 2]), float)
    Tensor([1., 2.])
    """
    dtype = np.dtype(dtype)
    if dtype.kind != "f" and isinstance(x, Value) and x._node is not None:
        raise TypeError(f"astype: no gradient flows through {dtype}; call detach() first if that is intended")
    if dtype.kind not in "fiub" and isinstance(x, Value):
        raise TypeError(f"astype: a tensor holds real numbers; got {dtype}")
    return _astype(x, dtype)


def _as_floats(x: Any) -> Any:
    """Convert integers to float64, since differences and squares of small or unsigned integers wrap around."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return astype(x, np.float64) if x.dtype.kind in "iub" else x
