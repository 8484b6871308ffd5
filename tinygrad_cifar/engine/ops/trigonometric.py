"""The derivative table: trigonometric and hyperbolic functions, and their inverses, element by element.

VJPs are written so that they are accurate where the textbook form cancels: ``1 - tanh(x)**2`` is 0 from x = 20 on,
while ``1 / cosh(x)**2`` is the same function with all its digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.ops.elementwise import sqrt, square
from tinygrad_cifar.engine.primitives import primitive, unary

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
