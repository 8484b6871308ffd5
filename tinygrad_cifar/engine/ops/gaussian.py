"""The derivative table: the error function and the Gaussian error linear unit (GELU).

NumPy has no error function. Here it is computed from ``exp`` and polynomials whose coefficients are determined from
``math.erfc`` when they are first needed. The GELU in its tanh form takes a fraction of the time of the exact one; the
two differ by at most 0.0005.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked.elementwise import apply_in_blocks
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, multiply, square
from tinygrad_cifar.engine.ops.exponential import exp
from tinygrad_cifar.engine.ops.piecewise import clip
from tinygrad_cifar.engine.ops.trigonometric import tanh
from tinygrad_cifar.engine.primitives import primitive, unary

_SLOPE = 2 / math.sqrt(math.pi)
_SERIES_UNTIL, _SERIES_TERMS = 0.5, 14  # the next term is below 1e-20
_DEGREE, _NODES = 28, 200  # of the polynomial and its fit; its error is that of float64
_LAST_NODE, _ZERO_FROM = 26.0, 30.0  # exp(26**2) is finite; erfc(30) is 0 in float64

erf = unary(
    "erf",
    lambda x: apply_in_blocks(_erf, x),
    x=lambda g, x: g * (_SLOPE * exp(-square(x))),
    doc=Doc(
        "Compute the error function.",
        "",
        x="2 / sqrt(pi) * exp(-x**2)",
        note="The integral of ``2 / sqrt(pi) * exp(-t**2)`` from 0 to x.",
        example=">>> tg.erf(tg.Tensor([0.0, 1.0])).numpy().round(4).tolist()\n[0.0, 0.8427]",
    ),
)
erfc = unary(
    "erfc",
    lambda x: apply_in_blocks(_erfc, x),
    x=lambda g, x: g * (-_SLOPE * exp(-square(x))),
    doc=Doc(
        "Compute the complementary error function, 1 - erf(x), accurately where it is small.",
        "",
        x="-2 / sqrt(pi) * exp(-x**2)",
        example=">>> tg.erfc(tg.Tensor([0.0, 1.0])).numpy().round(4).tolist()\n[1.0, 0.1573]",
    ),
)
_gelu_tanh = primitive(
    "gelu_tanh",
    lambda x: apply_in_blocks(_gelu_tanh_forward, x),
    broadcasts=True,
    x=lambda g, x: _gelu_tanh_vjp(g, x),
    doc=Doc(
        "GELU, approximated with tanh.",
        "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2",
        x="(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2 + sqrt(1 / (2 * pi)) * x * (1 + 0.134145 * x**2)"
        " / cosh(sqrt(2 / pi) * (x + 0.044715 * x**3))**2",
    ),
)
_gelu_tanh_vjp = primitive(
    "gelu_tanh_vjp",
    lambda g, x: apply_in_blocks(_gelu_tanh_vjp_forward, g, x),
    broadcasts=True,
    g=lambda h, x: _gelu_tanh_vjp(h, x),
    x=lambda h, g, x: h * g * _gelu_tanh_curvature(x),
    doc=Doc("VJP of the GELU, approximated with tanh.", "g * gelu'(x)", g="h * gelu'(x)", x="h * g * gelu''(x)"),
)

_A, _B = math.sqrt(2 / math.pi), 0.044715
_FLAT_FROM = 30.0  # beyond it the derivative is 0 or 1 in every type; x**3 would overflow far outside


def _gelu_tanh_forward(x: Any) -> Any:
    t = x * x
    t *= _A * _B
    t += _A
    t *= x
    t = np.tanh(t)
    t += 1
    t *= 0.5
    t *= x
    return t


def _gelu_tanh_vjp_forward(g: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        x = np.clip(x, -_FLAT_FROM, _FLAT_FROM)
    squared = x * x
    t = squared * (_A * _B)
    t += _A
    t = t * x
    t = np.tanh(t)
    squared *= 3 * _A * _B
    squared += _A
    squared = squared * x  # x times the derivative of the argument of tanh
    slope = 1 - t * t
    slope *= squared
    slope += t
    slope += 1
    slope *= 0.5
    return slope * g


def _gelu_tanh_curvature(x: Any) -> Any:
    return apply_in_blocks(_second_derivative, x) if isinstance(x, np.ndarray) else _second_derivative(x)


def _second_derivative(x: Any) -> Any:
    x = clip(x, -_FLAT_FROM, _FLAT_FROM)
    squared = square(x)
    t, first, second = tanh(x * (_A + _A * _B * squared)), _A + 3 * _A * _B * squared, 3 * _A * _B * x
    return (1 - square(t)) * (first + x * (second - t * square(first)))


# -- the error function ------------------------------------------------------------------------------------------------
# For x >= 0, erfc(x) = exp(-x**2) * f(t) / (1 + sqrt(pi) * x), with t = 3 / (3 + x) and a smooth function f near 1.


def _erf(x: Any) -> Any:
    wide = np.asarray(x, np.float64)
    tail = np.copysign(1 - _erfc_of_positive(np.abs(wide)), wide)
    return np.where(np.abs(wide) < _SERIES_UNTIL, _erf_series(wide), tail).astype(_type_of_result(x))


def _erfc(x: Any) -> Any:
    wide = np.asarray(x, np.float64)
    tail = _erfc_of_positive(np.abs(wide))
    tail = np.where(wide < 0, 2 - tail, tail)
    return np.where(np.abs(wide) < _SERIES_UNTIL, 1 - _erf_series(wide), tail).astype(_type_of_result(x))


def _type_of_result(x: Any) -> Any:
    return x.dtype if x.dtype.kind == "f" else np.float64


def _erf_series(x: Any) -> Any:
    """Return the sum of ``2 / sqrt(pi) * (-1)**n * x**(2 * n + 1) / (n! * (2 * n + 1))``, for small x."""
    x = np.clip(x, -_SERIES_UNTIL, _SERIES_UNTIL)
    series, term, squared = x.copy(), x.copy(), x * x
    for n in range(1, _SERIES_TERMS):
        term *= squared
        term *= -1 / n
        series += term / (2 * n + 1)
    return _SLOPE * series


def _erfc_of_positive(x: Any) -> Any:
    x = np.minimum(x, _ZERO_FROM)
    high = x.astype(np.float32).astype(np.float64)  # with 24 bits, so that its square is exact
    smooth = np.polynomial.chebyshev.chebval(_variable(x), _coefficients())
    return np.exp(-high * high) * np.exp((high - x) * (high + x)) * smooth / (1 + math.sqrt(math.pi) * x)


def _variable(x: Any) -> Any:
    """Return t, mapped from its range for x from 0 to the last node to the range from -1 to 1 of the polynomials."""
    first = 3 / (3 + _LAST_NODE)
    return (6 / (3 + x) - (1 + first)) / (1 - first)


@cache
def _coefficients() -> Any:
    """Return the Chebyshev coefficients of f, fitted to ``math.erfc``."""
    first = 3 / (3 + _LAST_NODE)
    nodes = first + (1 - first) * (np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES) + 1) / 2
    places: Any = (3 / nodes - 3).astype(np.float32).astype(np.float64)  # their squares are exact
    values = [math.erfc(x) * math.exp(x * x) * (1 + math.sqrt(math.pi) * x) for x in places.tolist()]
    return np.polynomial.chebyshev.chebfit(_variable(places), values, _DEGREE)


@operation(_gelu_tanh, erfc, multiply, doc=Doc("", "x * (1 + erf(x / sqrt(2))) / 2", x="g * (Phi(x) + x * phi(x))"))
def gelu(x: TensorLike, approximate: str = "none") -> TensorLike:
    """Compute the Gaussian error linear unit (Hendrycks and Gimpel, arXiv:1606.08415): x times its normal probability.

    ``approximate="tanh"`` gives ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``, which is several times
    faster and differs by at most 0.0005; ``"none"`` the exact function. Phi and phi are the distribution function and
    the density of the normal distribution.

    Raises
    ------
    ValueError
        If ``approximate`` is neither "none" nor "tanh".

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.gelu(tg.Tensor([-1.0, 0.0, 1.0]))
    Tensor([-0.15865525,  0.        ,  0.84134475])
    """
    if approximate == "tanh":
        return _gelu_tanh(_as_floats(x))
    if approximate != "none":
        raise ValueError(f'gelu: approximate must be "none" or "tanh"; got {approximate!r}')
    x = _as_floats(x)
    return multiply(multiply(x, 0.5), erfc(multiply(x, -math.sqrt(0.5))))
