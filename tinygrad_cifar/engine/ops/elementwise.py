"""The derivative table: arithmetic, exponentials and logarithms, element by element.

Inputs broadcast as in NumPy; the backward pass sums each cotangent to the shape of its input, so no VJP mentions it.
VJPs are written so that they are accurate where the textbook form cancels or overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import Value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.piecewise import _where
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
