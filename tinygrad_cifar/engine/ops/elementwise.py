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
    x=lambda g, x, y: g * (y * power(x + (x == 0) * (y == 0), y - 1)),  # for 0**0: 0, not 0 * 0**-1
    y=lambda g, out, x: g * (out * log(x + (x == 0))),  # 0**y is constant for y > 0, so no factor log(0)
    doc=Doc(
        "Raise to a power.",
        "x**y",
        x="y * x**(y - 1)",
        y="out * log(x)",
        note="The derivative with respect to x is taken as 0 where y is 0, and that with respect to y as 0 where x is "
        "0. With respect to y it is NaN for a negative x.",
    ),
)

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
# exp is applied only to -|x|, written with the sign of the real part so that the complex step works as well.


def _sigmoid(x: Any) -> Any:
    small = np.exp(-x * _sign_of_real_part(x))
    return np.where(x.real >= 0, 1, small) / (1 + small)


def _softplus(x: Any) -> Any:
    return np.where(x.real >= 0, x, 0) + np.log1p(np.exp(-x * _sign_of_real_part(x)))


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
