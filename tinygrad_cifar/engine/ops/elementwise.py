"""The derivative table, first page: functions that act on each element by itself.

Inputs broadcast as in NumPy; the backward walk sums each cotangent back to its input's shape, so no row mentions it.
Where a function has a kink, the table takes one documented value: ``relu'(0) = 0``, ``absolute'(0) = 0``, a tie of
``maximum`` or ``minimum`` gives half to each, ``clip`` lets the gradient through at its ends.

The factors are written so that they stay exact where the textbook form cancels: ``1 - tanh(x)**2`` is 0 from x = 20 on,
``1 / cosh(x)**2`` is the same function with all its digits.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import Value, unwrap_value
from tinygrad_cifar.engine.primitives import primitive

_elementwise = partial(primitive, broadcasts=True)

# -- arithmetic ------------------------------------------------------------------------------------------------------

add = _elementwise("add", np.add, x=lambda g: g, y=lambda g: g)
subtract = _elementwise("subtract", np.subtract, x=lambda g: g, y=lambda g: -g)
multiply = _elementwise("multiply", np.multiply, x=lambda g, y: g * y, y=lambda g, x: g * x)
divide = _elementwise("divide", np.divide, x=lambda g, y: g / y, y=lambda g, out, y: -(g * out) / y)
negative = _elementwise("negative", np.negative, x=lambda g: -g)
square = _elementwise("square", np.square, x=lambda g, x: (2 * g) * x)
sqrt = _elementwise("sqrt", np.sqrt, x=lambda g, out: (0.5 * g) / out)
power = _elementwise(
    "power",
    np.power,
    x=lambda g, x, y: g * (y * power(x + (x == 0) * (y == 0), y - 1)),  # 0**0 is flat, not 0 * 0**-1
    y=lambda g, out, x: g * (out * log(_nonzero(x))),
)


def _nonzero(x: Any) -> Any:
    """Return ``x``, or 1 where x is 0: ``0**y`` does not change with y > 0, so log's factor must not be -inf."""
    return x + (x == 0)


# -- exponentials, logarithms ----------------------------------------------------------------------------------------

exp = _elementwise("exp", np.exp, x=lambda g, out: g * out)
expm1 = _elementwise("expm1", np.expm1, x=lambda g, x: g * exp(x))
log = _elementwise("log", np.log, x=lambda g, x: g / x)
log1p = _elementwise("log1p", np.log1p, x=lambda g, x: g / (1 + x))

# -- trigonometric, hyperbolic ---------------------------------------------------------------------------------------

sin = _elementwise("sin", np.sin, x=lambda g, x: g * cos(x))
cos = _elementwise("cos", np.cos, x=lambda g, x: -(g * sin(x)))
tan = _elementwise("tan", np.tan, x=lambda g, out: g * (1 + square(out)))
arctan = _elementwise("arctan", np.arctan, x=lambda g, x: g / (1 + square(x)))
sinh = _elementwise("sinh", np.sinh, x=lambda g, x: g * cosh(x))
cosh = _elementwise("cosh", np.cosh, x=lambda g, x: g * sinh(x))
tanh = _elementwise("tanh", np.tanh, x=lambda g, x: g * _sech2(x))
_sech2 = _elementwise("sech2", lambda x: _inverse_cosh_squared(x), x=lambda g, out, x: g * (-2 * (out * tanh(x))))


def _inverse_cosh_squared(x: Any) -> Any:
    with np.errstate(over="ignore"):  # where cosh overflows, 1 / cosh**2 has long been 0
        return np.square(1 / np.cosh(x))


# -- the sigmoid and its integral: exact from -1000 to 1000, without an overflow ---------------------------------------
# exp is only ever taken of -|x|; written with the side of the real part, both serve the complex step too.


def _sigmoid(x: Any) -> Any:
    small = np.exp(-x * _side(x))
    return np.where(x.real >= 0, 1, small) / (1 + small)


def _softplus(x: Any) -> Any:
    return np.where(x.real >= 0, x, 0) + np.log1p(np.exp(-x * _side(x)))


def _side(x: Any) -> Any:
    """Return 1 from 0 on and -1 below; adding 0 makes -0.0 an ordinary 0."""
    return np.copysign(1, x.real + 0.0)


sigmoid = _elementwise("sigmoid", _sigmoid, x=lambda g, out, x: g * (out * sigmoid(-x)))
softplus = _elementwise("softplus", _softplus, x=lambda g, x: g * sigmoid(x))

# -- kinks -----------------------------------------------------------------------------------------------------------

sign = _elementwise("sign", np.sign)
absolute = _elementwise("absolute", np.absolute, x=lambda g, x: g * sign(x))
relu = _elementwise("relu", lambda x: np.maximum(x, 0), x=lambda g, out: g * (out > 0))
maximum = _elementwise(
    "maximum",
    np.maximum,
    x=lambda g, x, y: g * (x > y) + (0.5 * g) * (x == y),
    y=lambda g, x, y: g * (y > x) + (0.5 * g) * (x == y),
)
minimum = _elementwise(
    "minimum",
    np.minimum,
    x=lambda g, x, y: g * (x < y) + (0.5 * g) * (x == y),
    y=lambda g, x, y: g * (y < x) + (0.5 * g) * (x == y),
)
_clip = _elementwise(
    "clip", lambda x, low, high: np.clip(x, low, high), x=lambda g, x, low, high: g * _between(x, low, high)
)
_where = _elementwise(
    "where",
    lambda condition, x, y: np.where(condition, x, y),
    x=lambda g, condition: _where(condition, g, 0),
    y=lambda g, condition: _where(condition, 0, g),
)


def _between(x: Any, low: Any, high: Any) -> Any:
    inside = x == x  # noqa: PLR0124 (false for NaN, which is nowhere between)
    if low is not None:
        inside = inside & (x >= low)
    if high is not None:
        inside = inside & (x <= high)
    return inside


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """Limit ``x`` to ``[low, high]``; the gradient is 1 between them and at both ends, and 0 outside.

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
    return _clip(x, unwrap_value(low), unwrap_value(high))


def where(condition: Any, x: Any, y: Any) -> Any:
    """Take ``x`` where ``condition`` holds and ``y`` elsewhere; each gets the gradient of the elements taken from it.

    A non-finite value in the branch that is not taken does no harm here, but the operation that made it may: its own
    derivative times 0 can be NaN. Put a harmless value into that operation's input with an inner ``where``.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, where
    >>> t = Tensor([-1.0, 2.0], requires_grad=True)
    >>> where(t > 0, t, 0.0).sum().backward()
    >>> t.grad
    Tensor([0., 1.])
    """
    return _where(unwrap_value(condition), x, y)


# -- precision ---------------------------------------------------------------------------------------------------------

_astype = primitive("astype", lambda x, dtype: x.astype(dtype), x=lambda g: g)


def astype(x: Any, dtype: Any) -> Any:
    """Convert to another floating-point type; the backward walk gives the gradient in the input's own type.

    Raises
    ------
    TypeError
        If a recorded tensor is asked for a type that is not floating, since no gradient can flow through integers, or
        a tensor for one that has no real numbers.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, astype
    >>> astype(Tensor([1, 2]), float)
    Tensor([1., 2.])
    """
    dtype = np.dtype(dtype)
    if dtype.kind != "f" and isinstance(x, Value) and x._node is not None:
        raise TypeError(f"astype: no gradient flows through {dtype}; call detach() first if that is what you want")
    if dtype.kind not in "fiub" and isinstance(x, Value):
        raise TypeError(f"astype: a tensor cannot be made of {dtype} data; it has real numbers")
    return _astype(x, dtype)
