"""The derivative table: trigonometric and hyperbolic functions, and their inverses, element by element.

VJPs are written so that they are accurate where the textbook form cancels: ``1 - tanh(x)**2`` is 0 from x = 20 on,
while ``1 / cosh(x)**2`` is the same function with all its digits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, _or_one, hypot, multiply, sqrt, square
from tinygrad_cifar.engine.primitives import binary, primitive, unary

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
arccos = unary(
    "arccos",
    np.arccos,
    x=lambda g, x: -g / sqrt((1 - x) * (1 + x)),
    doc=Doc(
        "Compute the inverse cosine, in radians from 0 to pi.",
        x="-1 / sqrt(1 - x**2)",
        note="The derivative is infinite at -1 and 1.",
    ),
)
arctan = unary(
    "arctan",
    np.arctan,
    x=lambda g, x: g / (1 + square(x)),
    doc=Doc("Compute the inverse tangent, in radians from -pi / 2 to pi / 2.", x="1 / (1 + x**2)"),
)
arctan2 = binary(
    "arctan2",
    np.arctan2,
    kink=lambda x, y: (x == 0) & (y == 0),
    x=lambda g, x, y: _arctan2_vjp(g, y, x),
    y=lambda g, x, y: -_arctan2_vjp(g, x, y),
    doc=Doc(
        "Compute the angle of the point (y, x), in radians from -pi to pi: the first input is the sine's.",
        x="y / (x**2 + y**2)",
        y="-x / (x**2 + y**2)",
        note="At the origin, which has no angle, the derivatives are taken as 0.",
    ),
)


def _arctan2_vjp(g: Any, x: Any, y: Any) -> Any:
    """Return ``g * x / (x**2 + y**2)``; where a square is not exact enough, divide twice by the root instead."""
    x, y = [z if isinstance(z, (int, float)) else _as_floats(z) for z in (x, y)]  # squares of integers wrap around
    with np.errstate(over="ignore", under="ignore"):
        squared = x * x + y * y  # not square(y), which would make a Python number an array of float64
    if _is_normal(unwrap_value(squared)):  # the root takes four times as long
        return g * (x / squared)
    length = _or_one(hypot(x, y))
    return g * ((x / length) / length)


def _is_normal(squares: Any) -> bool:
    """Return whether no square has overflowed, or lost digits by underflow."""
    kind = np.finfo(squares.dtype)
    smallest = np.minimum.reduce(squares, axis=None, initial=1)
    return bool(smallest > kind.tiny / kind.eps and np.maximum.reduce(squares, axis=None, initial=1) < np.inf)


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
        if x.dtype.kind != "f":
            return np.square(1 / np.cosh(x))
        out = np.cosh(x, out=np.empty_like(x))
    np.divide(1, out, out=out)
    return np.square(out, out=out)


_sech2 = primitive(
    "sech2",
    _inverse_cosh_squared,
    broadcasts=True,
    x=lambda g, out, x: g * (-2 * (out * tanh(x))),
    doc=Doc("Compute the square of the hyperbolic secant.", "1 / cosh(x)**2", x="-2 * out * tanh(x)"),
)

# -- inverse hyperbolic ----------------------------------------------------------------------------------------------

arcsinh = unary(
    "arcsinh",
    np.arcsinh,
    x=lambda g, x: g / hypot(x, 1),  # hypot does not overflow
    doc=Doc("Compute the inverse hyperbolic sine.", "log(x + sqrt(x**2 + 1))", x="1 / sqrt(x**2 + 1)"),
)
arccosh = unary(
    "arccosh",
    np.arccosh,
    x=lambda g, x: g / (sqrt(x - 1) * sqrt(x + 1)),
    doc=Doc(
        "Compute the inverse hyperbolic cosine, of numbers from 1 on.",
        "log(x + sqrt(x**2 - 1))",
        x="1 / sqrt(x**2 - 1)",
        at=(1.25, 1.75),
        note="The derivative is infinite at 1.",
    ),
)
arctanh = unary(
    "arctanh",
    np.arctanh,
    x=lambda g, x: g / ((1 - x) * (1 + x)),
    doc=Doc(
        "Compute the inverse hyperbolic tangent, of numbers between -1 and 1.",
        "log((1 + x) / (1 - x)) / 2",
        x="1 / (1 - x**2)",
    ),
)

# -- units -------------------------------------------------------------------------------------------------------------


@operation(multiply, doc=Doc("", "x * pi / 180"))
def deg2rad(x: TensorLike) -> TensorLike:
    """Convert angles from degrees to radians.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.deg2rad(tg.Tensor([180.0]))
    Tensor([3.14159265])
    """
    return multiply(x, math.pi / 180)


@operation(multiply, doc=Doc("", "x * 180 / pi"))
def rad2deg(x: TensorLike) -> TensorLike:
    """Convert angles from radians to degrees.

    Examples
    --------
    >>> import math
    >>> import tinygrad_cifar as tg
    >>> tg.rad2deg(tg.Tensor([math.pi]))
    Tensor([180.])
    """
    return multiply(x, 180 / math.pi)
