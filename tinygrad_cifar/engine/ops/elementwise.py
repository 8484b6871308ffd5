"""The derivative table: arithmetic and roots, element by element.

Inputs broadcast as in NumPy; the backward pass sums each cotangent to the shape of its input, so no VJP mentions it.
VJPs are written so that they are accurate where the textbook form cancels or overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import Value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.shapes import _sum_to
from tinygrad_cifar.engine.primitives import binary, primitive, unary

# -- arithmetic ------------------------------------------------------------------------------------------------------

add = binary("add", np.add, x=lambda g: g, y=lambda g: g, doc=Doc("Add.", "x + y", x="1", y="1"))
subtract = binary("subtract", np.subtract, x=lambda g: g, y=lambda g: -g, doc=Doc("Subtract.", "x - y", x="1", y="-1"))
multiply = binary(
    "multiply", np.multiply, x=lambda g, y: g * y, y=lambda g, x: g * x, doc=Doc("Multiply.", "x * y", x="y", y="x")
)


def _sum_as(g: Any, y: Any) -> Any:
    """Sum a cotangent to the shape of the input that it is for, so that what follows is computed for few elements."""
    return g if g.shape == y.shape else _sum_to(g, y.shape)


divide = binary(
    "divide",
    np.divide,
    x=lambda g, y: g / y,
    y=lambda g, out, y: -_sum_as(g * out, y) / y,
    doc=Doc("Divide.", "x / y", x="1 / y", y="-x / y**2"),
)
negative = unary("negative", np.negative, x=lambda g: -g, doc=Doc("Change the sign.", "-x", x="-1"))
square = unary("square", np.square, x=lambda g, x: _double(g) * x, doc=Doc("Square.", "x**2", x="2 * x"))


def _double(g: Any) -> Any:
    """Return ``2 * g``; if it repeats one number, as the cotangent of a sum does, without an array of its size."""
    if type(g) is np.ndarray and g.size > 1 and not any(g.strides):
        return np.broadcast_to(2 * g[(0,) * g.ndim], g.shape)
    return 2 * g


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
cbrt = unary(
    "cbrt",
    np.cbrt,
    x=lambda g, out: g / (3 * square(out)),
    doc=Doc(
        "Compute the cube root, which a negative number has as well.",
        "sign(x) * abs(x) ** (1 / 3)",
        x="1 / (3 * out**2)",
        note="At 0 the derivative is infinite.",
    ),
)


@operation(divide, doc=Doc("", "1 / x"))
def reciprocal(x: TensorLike) -> TensorLike:
    """Compute the reciprocal.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.reciprocal(tg.Tensor([2.0, 4.0]))
    Tensor([0.5 , 0.25])
    """
    return divide(1, x)


def _or_one(length: Any) -> Any:
    """Return lengths as a divisor: 1 where one is 0."""
    is_zero = length == 0
    return length + is_zero if is_zero.any() else length  # to add zeros takes as long as the division


hypot = binary(
    "hypot",
    np.hypot,
    kink=lambda x, y: (x == 0) & (y == 0),
    x=lambda g, out, x: g * (x / _or_one(out)),
    y=lambda g, out, y: g * (y / _or_one(out)),
    doc=Doc(
        "Compute the length of the hypotenuse, without overflow.",
        "sqrt(x**2 + y**2)",
        x="x / out",
        y="y / out",
        note="Where both are 0, the derivatives are taken as 0.",
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
