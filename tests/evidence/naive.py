"""Another engine, as naive as it can be: every number by itself, differentiated by recursion over what it was made of.

It has nothing of the library's: no arrays in a rule, no table, no walk. A :class:`PublishedAccuracy` keeps the function that
made it, so it can be computed again with some of the numbers moved (:func:`again`), and the slopes of that function,
which are numbers too: a derivative can be differentiated. Arrays of them are NumPy's arrays of objects, which move
and repeat elements and know nothing of derivatives.
"""

from __future__ import annotations

import math
import operator
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

sys.setrecursionlimit(max(20_000, sys.getrecursionlimit()))  # a program of thirty lines is a thousand numbers deep


class Number:
    """A number, the function that made it, of which inputs, and the function's slope by each input."""

    __array_ufunc__ = None  # a NumPy number leaves the arithmetic to us

    def __init__(self, value: float, function: Any = None, inputs: Any = (), slopes: Any = ()) -> None:
        self.value, self.function, self.inputs, self.slopes = value, function, inputs, slopes

    def __add__(self, y: Any) -> Number:
        return made(operator.add, (self, y), (lambda: 1.0, lambda: 1.0))

    def __mul__(self, y: Any) -> Any:
        return self if type(y) is float and y == 1 else made(operator.mul, (self, y), (lambda: y, lambda: self))

    def __truediv__(self, y: Any) -> Number:
        return made(operator.truediv, (self, y), (lambda: 1 / y, lambda: -self / (y * y)))

    def __pow__(self, y: Any) -> Number:
        return made(operator.pow, (self, y), (lambda: y * self ** (y - 1), lambda: self**y * apply("log", self)))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Number:
        return self * -1.0

    def __sub__(self, y: Any) -> Number:
        return self + -y

    def __rsub__(self, x: Any) -> Number:
        return -self + x

    def __rtruediv__(self, x: Any) -> Number:
        return made(operator.truediv, (x, self), (lambda: 1 / self, lambda: -x / (self * self)))

    def __rpow__(self, x: Any) -> Number:
        return made(operator.pow, (x, self), (lambda: self * x ** (self - 1), lambda: x**self * math.log(x)))


def made(function: Callable[..., float], inputs: tuple[Any, ...], slopes: Iterable[Callable[[], Any]]) -> Number:
    return Number(function(*map(value, inputs)), function, inputs, slopes)


def value(x: Any) -> float:
    return x.value if isinstance(x, Number) else x


# Each function of one number, and its slope at x.
FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[Any], Any]]] = {
    "exp": (math.exp, lambda x: apply("exp", x)),
    "expm1": (math.expm1, lambda x: apply("exp", x)),
    "log": (math.log, lambda x: 1 / x),
    "log1p": (math.log1p, lambda x: 1 / (x + 1.0)),
    "sin": (math.sin, lambda x: apply("cos", x)),
    "cos": (math.cos, lambda x: -apply("sin", x)),
    "tan": (math.tan, lambda x: 1 / (apply("cos", x) * apply("cos", x))),
    "arctan": (math.atan, lambda x: 1 / (x * x + 1.0)),
    "sinh": (math.sinh, lambda x: apply("cosh", x)),
    "cosh": (math.cosh, lambda x: apply("sinh", x)),
    "tanh": (math.tanh, lambda x: 1 / (apply("cosh", x) * apply("cosh", x))),
    "sqrt": (math.sqrt, lambda x: 0.5 / apply("sqrt", x)),
    "square": (lambda x: x * x, lambda x: x * 2.0),
    "negative": (lambda x: -x, lambda x: -1.0),  # noqa: ARG005
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), lambda x: apply("sigmoid", x) * (1.0 - apply("sigmoid", x))),
    "softplus": (lambda x: math.log(1 + math.exp(x)), lambda x: 1 / (apply("exp", -x) + 1.0)),
    "relu": (lambda x: max(x, 0.0), lambda x: 1.0 if value(x) > 0 else 0.0),
    "absolute": (abs, lambda x: 1.0 if value(x) > 0 else -1.0),
    "itself": (lambda x: x, lambda x: 1.0),  # noqa: ARG005
}


def apply(name: str, x: Any) -> Any:
    function, slope = FUNCTIONS[name]
    return made(function, (x,), (lambda: slope(x),)) if isinstance(x, Number) else function(x)


def gradient(outs: np.ndarray, seeds: np.ndarray, wrt: np.ndarray) -> np.ndarray:
    """Return the derivative of ``sum(seeds * outs)`` by each number of ``wrt``.

    A number's share in the sum is its own seed, and its consumers' shares times their slopes.
    """
    consumers: dict[Number, list[Any]] = defaultdict(list)
    seen: set[Number] = set()

    def visit(n: Any) -> None:
        if isinstance(n, Number) and n not in seen:
            seen.add(n)
            for x, slope in zip(n.inputs, n.slopes, strict=True):
                if isinstance(x, Number):
                    consumers[x].append((n, slope))
                    visit(x)

    own: dict[Any, Any] = defaultdict(float)
    for out, seed in zip(outs.ravel(), seeds.ravel(), strict=True):
        visit(out)
        if isinstance(out, Number):
            own[out] = own[out] + seed

    known: dict[Number, Any] = {}

    def share(n: Number) -> Any:
        if n not in known:
            known[n] = sum([slope() * share(consumer) for consumer, slope in consumers[n]], own[n])
        return known[n]

    return each(share, wrt)


def count(outs: np.ndarray) -> int:
    """Return how many numbers went into these."""
    seen: set[Number] = set()
    unseen = [n for n in outs.ravel() if isinstance(n, Number)]
    while unseen:
        n = unseen.pop()
        if n not in seen:
            seen.add(n)
            unseen += [x for x in n.inputs if isinstance(x, Number)]
    return len(seen)


def again(outs: np.ndarray, moved: dict[Number, float]) -> np.ndarray:
    """Compute values once more, with other values for some of the numbers on the way."""
    known = dict(moved)

    def compute(n: Any) -> float:
        if not isinstance(n, Number):
            return n
        if n not in known:
            known[n] = n.function(*[compute(x) for x in n.inputs]) if n.inputs else n.value
        return known[n]

    return each(compute, outs).astype(float)


# -- arrays of numbers -----------------------------------------------------------------------------------------------


def each(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """Apply a function of numbers to every element, broadcasting; the result is an array of objects, always."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)


def variables(numbers: Any) -> np.ndarray:
    """Return new numbers, made of nothing."""
    return each(lambda x: Number(float(x)), np.asarray(numbers, dtype=float).astype(object))


def constants(numbers: Any) -> np.ndarray:
    """Return plain numbers of the same values: no derivative flows through them."""
    return each(value, np.asarray(numbers, dtype=object))


def values(numbers: np.ndarray) -> np.ndarray:
    return constants(numbers).astype(float)


def fresh(numbers: Any) -> np.ndarray:
    """Return numbers of their own, so that a view and what it is a view of can be told apart."""
    return each(lambda x: apply("itself", x) if isinstance(x, Number) else Number(x), np.asarray(numbers, dtype=object))


def largest(x: Any, y: Any) -> Any:
    return x if value(x) >= value(y) else y


def smallest(x: Any, y: Any) -> Any:
    return x if value(x) <= value(y) else y
