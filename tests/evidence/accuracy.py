"""The accuracy of values and VJPs, in units in the last place (ulps), against mpmath with 50 digits.

Points are drawn from subnormal numbers to those that overflow: their exponents are uniform, or they lie near a point
where the function is delicate. One ulp is the distance of the exact result, rounded, to the next larger number of its
type; a result that is rounded correctly has an error of at most half of it. The cotangent is 1.

The goals are 2 ulps for a value, beyond NumPy's own error where NumPy has the function, and 8 for a VJP. A result that
changes by more when an input changes by one ulp is ill-conditioned there, and may have that error in addition. Points
where an input, the value or the derivative is subnormal, or overflows, are counted apart: digits are lost there by
definition, also in intermediate results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mp

import tinygrad_cifar as tg
from tests.evidence.specs import SPECS
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.ops.losses import _cross_entropy

DIGITS = 50
VALUE_GOAL, VJP_GOAL = 2, 8  # ulps

Exact = Callable[..., Any]


@dataclass(frozen=True)
class Reference:
    """A function and its derivatives in arbitrary precision, written so that nothing cancels.

    Attributes
    ----------
    value : callable
        The function.
    slopes : tuple of callable
        Its derivative with respect to each input.
    low, high : float
        The domain of every input.
    near : tuple of float
        Points near which more points are drawn.
    """

    value: Exact
    slopes: tuple[Exact, ...]
    low: float = -math.inf
    high: float = math.inf
    near: tuple[float, ...] = (0.0,)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _log_of_sum(x: Any, y: Any) -> Any:
    return max(x, y) + mp.log1p(mp.exp(-abs(x - y)))


def _gelu_argument(x: Any) -> Any:
    return mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)


def _gelu_slope(x: Any) -> Any:
    u, du = _gelu_argument(x), mp.sqrt(2 / mp.pi) * (1 + 3 * mp.mpf("0.044715") * x**2)
    return _sigmoid(2 * u) + x * du / (2 * mp.cosh(u) ** 2)


_ERFC_IS_0 = 1e4  # in every type, and mpmath does not compute it much beyond
_TURNS = tuple(k * math.pi / 2 for k in range(-4, 5))

REFERENCES: dict[str, Reference] = {
    "add": Reference(lambda x, y: x + y, (lambda x, y: mp.one, lambda x, y: mp.one)),  # noqa: ARG005
    "multiply": Reference(lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),  # noqa: ARG005
    "divide": Reference(lambda x, y: x / y, (lambda x, y: 1 / y, lambda x, y: -x / y**2)),  # noqa: ARG005
    "square": Reference(lambda x: x * x, (lambda x: 2 * x,)),
    "sqrt": Reference(mp.sqrt, (lambda x: 1 / (2 * mp.sqrt(x)),), low=5e-324, near=(1.0,)),
    "cbrt": Reference(
        lambda x: mp.sign(x) * mp.cbrt(abs(x)), (lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2),), near=(1.0, -1.0)
    ),
    "hypot": Reference(mp.hypot, (lambda x, y: x / mp.hypot(x, y), lambda x, y: y / mp.hypot(x, y))),
    "power": Reference(
        mp.power,
        (lambda x, y: y * mp.power(x, y - 1), lambda x, y: mp.power(x, y) * mp.log(x)),
        low=5e-324,
        near=(1.0,),
    ),
    "exp": Reference(mp.exp, (mp.exp,), near=(0.0, 709.0, -708.0)),
    "expm1": Reference(mp.expm1, (mp.exp,), near=(0.0, 709.0)),
    "exp2": Reference(lambda x: mp.power(2, x), (lambda x: mp.power(2, x) * mp.log(2),), near=(0.0, 1023.0, -1022.0)),
    "log": Reference(mp.log, (lambda x: 1 / x,), low=5e-324, near=(1.0,)),
    "log2": Reference(lambda x: mp.log(x) / mp.log(2), (lambda x: 1 / (x * mp.log(2)),), low=5e-324, near=(1.0,)),
    "log10": Reference(mp.log10, (lambda x: 1 / (x * mp.log(10)),), low=5e-324, near=(1.0,)),
    "log1p": Reference(mp.log1p, (lambda x: 1 / (1 + x),), low=-1 + 1e-15, near=(0.0, -0.9)),
    "sigmoid": Reference(_sigmoid, (lambda x: 1 / (4 * mp.cosh(x / 2) ** 2),), near=(0.0, 30.0, -700.0)),
    "softplus": Reference(lambda x: _log_of_sum(x, mp.zero), (_sigmoid,), near=(0.0, 30.0, -700.0)),
    "logaddexp": Reference(
        _log_of_sum, (lambda x, y: _sigmoid(x - y), lambda x, y: _sigmoid(y - x)), near=(0.0, 1.0, 700.0)
    ),
    "sin": Reference(mp.sin, (mp.cos,), near=_TURNS),
    "cos": Reference(mp.cos, (lambda x: -mp.sin(x),), near=_TURNS),
    "tan": Reference(mp.tan, (lambda x: 1 + mp.tan(x) ** 2,), near=_TURNS),
    "arcsin": Reference(mp.asin, (lambda x: 1 / mp.sqrt((1 - x) * (1 + x)),), low=-1 + 1e-15, high=1 - 1e-15),
    "arccos": Reference(mp.acos, (lambda x: -1 / mp.sqrt((1 - x) * (1 + x)),), low=-1 + 1e-15, high=1 - 1e-15),
    "arctan": Reference(mp.atan, (lambda x: 1 / (1 + x**2),), near=(0.0, 1.0)),
    "arctan2": Reference(mp.atan2, (lambda x, y: y / (x**2 + y**2), lambda x, y: -x / (x**2 + y**2)), near=(1.0, -1.0)),
    "sinh": Reference(mp.sinh, (mp.cosh,), near=(0.0, 710.0)),
    "cosh": Reference(mp.cosh, (mp.sinh,), near=(0.0, 710.0)),
    "tanh": Reference(mp.tanh, (lambda x: mp.sech(x) ** 2,), near=(0.0, 1.0, 20.0)),
    "sech2": Reference(
        lambda x: mp.sech(x) ** 2, (lambda x: -2 * mp.sech(x) ** 2 * mp.tanh(x),), near=(0.0, 1.0, 350.0)
    ),
    "arcsinh": Reference(mp.asinh, (lambda x: 1 / mp.sqrt(1 + x**2),), near=(0.0, 1.0)),
    "arccosh": Reference(mp.acosh, (lambda x: 1 / mp.sqrt((x - 1) * (x + 1)),), low=1 + 1e-15, near=(1.0,)),
    "arctanh": Reference(mp.atanh, (lambda x: 1 / ((1 - x) * (1 + x)),), low=-1 + 1e-15, high=1 - 1e-15),
    "erf": Reference(mp.erf, (lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x),), near=(0.0, 1.0, 5.0)),
    "erfc": Reference(
        lambda x: mp.erfc(x) if x < _ERFC_IS_0 else mp.zero,
        (lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x),),
        near=(0.0, 1.0, 26.0),
    ),
    "gelu_tanh": Reference(lambda x: x * _sigmoid(2 * _gelu_argument(x)), (_gelu_slope,), near=(0.0, -1.0, -5.0)),
}
# Reductions, along the last axis of rows of five numbers.
WIDTH = 5


def _softmax(row: Sequence[Any]) -> list[Any]:
    exponentials = [mp.exp(x - max(row)) for x in row]
    return [e / mp.fsum(exponentials) for e in exponentials]


def _first_of_softmax_by(row: Sequence[Any], i: int) -> Any:
    p = _softmax(row)
    return -p[0] * p[i] if i else p[0] * mp.fsum(p[1:])


_EPSILON = 1e-5  # of the normalisations; the number in float64, which both types use


def _spread(row: Sequence[Any]) -> tuple[list[Any], Any]:
    """Return the deviations of a row from its mean, and the square root of its variance plus epsilon."""
    mean = mp.fsum(row) / WIDTH
    deviations = [x - mean for x in row]
    return deviations, mp.sqrt(mp.fsum([d * d for d in deviations]) / WIDTH + mp.mpf(_EPSILON))


def _first_normalized(row: Sequence[Any]) -> Any:
    deviations, spread = _spread(row)
    return deviations[0] / spread


def _first_normalized_by(row: Sequence[Any], i: int) -> Any:
    deviations, spread = _spread(row)
    return ((i == 0) - (1 + deviations[0] * deviations[i] / spread**2) / mp.mpf(WIDTH)) / spread


# The operation, its value for a row, and its derivative with respect to element i of the row.
ROWS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "sum": (lambda x: tg.sum(x, axis=-1), mp.fsum, lambda row, i: mp.one),  # noqa: ARG005
    "norm": (
        lambda x: tg.norm(x, axis=-1),
        lambda row: mp.sqrt(mp.fsum([x * x for x in row])),
        lambda row, i: row[i] / mp.sqrt(mp.fsum([x * x for x in row])),
    ),
    "logsumexp": (
        lambda x: tg.logsumexp(x, axis=-1),
        lambda row: max(row) + mp.log(mp.fsum([mp.exp(x - max(row)) for x in row])),
        lambda row, i: _softmax(row)[i],
    ),
    "softmax": (
        lambda x: tg.softmax(x, axis=-1)[..., 0],
        lambda row: _softmax(row)[0],
        _first_of_softmax_by,
    ),
    "cross_entropy": (
        lambda x: tg.stack([_cross_entropy(x[i : i + 1], np.zeros(1, int), 0.0) for i in range(len(x))]),
        lambda row: mp.log1p(mp.fsum([mp.exp(x - row[0]) for x in row[1:]])),
        lambda row, i: _softmax(row)[i] if i else -mp.fsum(_softmax(row)[1:]),
    ),
    "layer_norm": (lambda x: tg.layer_norm(x, epsilon=_EPSILON)[..., 0], _first_normalized, _first_normalized_by),
    "batch_norm": (  # each row is a channel of five images
        lambda x: tg.batch_norm(x.T, np.ones(len(x), x.dtype), np.zeros(len(x), x.dtype), epsilon=_EPSILON)[0],
        _first_normalized,
        _first_normalized_by,
    ),
}


@dataclass(frozen=True)
class Accuracy:
    """The largest errors of one function in one type.

    Attributes
    ----------
    name, dtype : str
        The primitive and the type.
    points : int
        Number of points.
    value, vjp : float
        The largest error of the value and of a VJP, in ulps, where nothing is subnormal or overflows.
    value_at, vjp_at : str
        The inputs there.
    outside_value, outside_vjp : float
        The largest errors where something is subnormal or overflows.
    beyond : int
        Number of points, among those where nothing is subnormal, at which an error is beyond its goal.
    """

    name: str
    dtype: str
    points: int
    value: float
    value_at: str
    vjp: float
    vjp_at: str
    outside_value: float
    outside_vjp: float
    beyond: int


def draw_points(reference: Reference, inputs: int, count: int, dtype: Any, rng: np.random.Generator) -> list[Any]:
    """Return arrays of points: half with uniform exponents, the others near the delicate points."""
    kind = np.finfo(dtype)
    lowest, highest = math.log2(kind.smallest_subnormal), math.log2(kind.max)
    arrays = []
    for _ in range(inputs):
        spread = np.exp2(rng.uniform(lowest, highest, count)) * rng.choice([-1.0, 1.0], count)
        centre = rng.choice(reference.near, count)
        close = centre + np.exp2(rng.uniform(-30, 3, count)) * rng.choice([-1.0, 1.0], count)
        x = np.where(rng.random(count) < 0.5, spread, close)
        x = np.where((x >= reference.low) & (x <= reference.high), x, np.abs(x))
        inside = rng.uniform(max(reference.low, -4), min(reference.high, 4), count)
        x = np.where((x >= reference.low) & (x <= reference.high), x, inside)
        arrays.append(x.astype(dtype))
    return arrays


def error_in_ulps(computed: Any, exact: Any, dtype: Any) -> float:
    """Return the distance of a computed number from the exact one, in ulps of the exact one.

    A correctly rounded number counts as 0.5.

    Examples
    --------
    >>> error_in_ulps(np.nextafter(1.0, 2.0), mp.one, np.float64)
    1.0
    """
    largest = np.finfo(dtype).max
    with np.errstate(over="ignore"):
        rounded = dtype(float(exact))
    if computed == rounded:
        return 0.5
    if not np.isfinite(rounded) or not np.isfinite(computed):  # one of them overflows
        return 1.0 if largest in (abs(rounded), abs(computed)) else math.inf
    return float(abs(mp.mpf(float(computed)) - exact) / mp.mpf(float(np.spacing(abs(rounded)))))


def measure(name: str, dtype: Any, count: int, seed: int = 0) -> Accuracy:
    """Return the largest errors of a primitive at random points."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    if name in ROWS:
        operation, value, slope = ROWS[name]
        x = rng.normal(size=(count, WIDTH)) * np.exp2(rng.uniform(-20, 8, (count, 1)))
        arrays = [x.astype(dtype)]
        slopes: tuple[Exact, ...] = tuple(lambda *row, j=j: slope(row, j) for j in range(WIDTH))
        exact: Exact = lambda *row: value(row)  # noqa: E731
    else:
        reference = REFERENCES[name]
        operation, exact, slopes = SPECS[name].call, reference.value, reference.slopes
        arrays = draw_points(reference, len(slopes), count, dtype, rng)
    variables = [Tensor(array, requires_grad=True) for array in arrays]
    with np.errstate(all="ignore"):
        out = operation(*variables)
        gradients = np.column_stack([g.data for g in tg.grad(out, variables, np.ones(out.shape, dtype))])
        numpy = getattr(np, name, None)
        own = numpy(*arrays) if isinstance(numpy, np.ufunc) else None
    worst = _Worst(dtype)
    points = np.column_stack(arrays).tolist()
    with mp.workdps(DIGITS):
        for i, point in enumerate(points):
            worst.compare(point, [exact, *slopes], [out.data[i], *gradients[i]], None if own is None else own[i])
    return Accuracy(name, np.dtype(dtype).name, count, *worst.inside[0], *worst.inside[1], *worst.outside, worst.beyond)


class _Worst:
    """The largest errors so far: of the value, and of the VJPs."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.kind = dtype, np.finfo(dtype)
        self.inside = [(0.0, "-"), (0.0, "-")]
        self.outside = [0.0, 0.0]
        self.beyond = 0

    def compare(self, point: Sequence[float], functions: Sequence[Exact], computed: Sequence[Any], own: Any) -> None:
        """Compare the value and the VJPs with the exact ones; ``own`` is NumPy's own value, if it has the function."""
        numbers = [mp.mpf(x) for x in point]
        try:
            exact = [function(*numbers) for function in functions]
        except ZeroDivisionError:  # on the boundary of the domain, where a derivative is infinite
            return
        errors = [error_in_ulps(c, e, self.dtype) for c, e in zip(computed, exact, strict=True)]
        worst = [errors[0], max(errors[1:])]
        if not all(self._is_normal(x) for x in (*numbers, *exact)):
            self.outside = [max(pair) for pair in zip(self.outside, worst, strict=True)]
            return
        text = ", ".join(f"{x:.4g}" for x in point)
        for i, error in enumerate(worst):
            if error > self.inside[i][0]:
                self.inside[i] = (error, text)
        goals = [
            VALUE_GOAL + (0 if own is None else error_in_ulps(own, exact[0], self.dtype)),
            *[VJP_GOAL] * len(errors),
        ]
        self.beyond += any(
            error > goal and error > goal + self._conditioning(function, numbers, e)
            for error, goal, function, e in zip(errors, goals, functions, exact, strict=False)
        )

    def _is_normal(self, x: Any) -> bool:
        return x == 0 or self.kind.tiny <= abs(x) <= self.kind.max

    def _conditioning(self, function: Exact, numbers: Sequence[Any], exact: Any) -> float:
        """Return by how many ulps the exact result changes, at most, if each input changes by one ulp."""
        unit = mp.mpf(float(np.spacing(abs(self.dtype(float(exact))))))
        total = mp.zero
        for i, x in enumerate(numbers):
            moved = [*numbers[:i], x + mp.mpf(float(np.spacing(self.dtype(float(x))))), *numbers[i + 1 :]]
            total += abs(function(*moved) - exact) / unit
        return float(total)


NAMES = (*REFERENCES, *ROWS)
# Why the goals are missed at some points.
REASONS = {
    "power": "the derivative by x is `y * x**(y - 1)`, and `y - 1` is rounded",
    "sech2": "an internal function, the square of a quotient: three roundings, one of them doubled",
    "erf": "the series and the polynomial have errors of their own; NumPy has no error function",
    "erfc": "as for `erf`; in the tail, the error of the polynomial's coefficients, from `math.erfc`, remains",
    "gelu_tanh": "`1 + tanh(u)` cancels below -3: the errors are small beside x, not beside the result",
    "softmax": "`g - sum(g * out)` cancels where one probability is near 1: the error is small beside the cotangent, "
    "not beside the result",
    "cross_entropy": "the logarithm of a sum, and `p - 1` at the label: up to a probability of 0.99 their errors are "
    "small beside 1, not beside the result; above, they are computed from the other probabilities",
    "layer_norm": "the mean is rounded, and the difference from it, as the sum of the VJP, cancels at some points: the "
    "errors are small beside the spread of the row, not beside the result",
    "batch_norm": "as for `layer_norm`",
}
TYPES = (np.float64, np.float32)
