"""A scalar engine for comparison: every element is a node, differentiated by recursion over its inputs.

It shares no code with the library. A :class:`Number` stores the function that computed it, so it can be computed again
for other inputs (:func:`recompute`), and the derivatives of that function, which are numbers as well, so a derivative
can be differentiated. Arrays of numbers are NumPy's object arrays, which move and repeat elements.
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
    """A number, with the function and inputs that it was computed from, and the derivative by each input."""

    __array_ufunc__ = None  # NumPy scalars defer arithmetic to this class

    def __init__(self, value: float, function: Any = None, inputs: Any = (), derivatives: Any = ()) -> None:
        self.value, self.function, self.inputs, self.derivatives = value, function, inputs, derivatives

    def __add__(self, y: Any) -> Number:
        return make_number(operator.add, (self, y), (lambda: 1.0, lambda: 1.0))

    def __mul__(self, y: Any) -> Any:
        return self if type(y) is float and y == 1 else make_number(operator.mul, (self, y), (lambda: y, lambda: self))

    def __truediv__(self, y: Any) -> Number:
        return make_number(operator.truediv, (self, y), (lambda: 1 / y, lambda: -self / (y * y)))

    def __pow__(self, y: Any) -> Number:
        return make_number(operator.pow, (self, y), (lambda: y * self ** (y - 1), lambda: self**y * apply("log", self)))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Number:
        return self * -1.0

    def __sub__(self, y: Any) -> Number:
        return self + -y

    def __rsub__(self, x: Any) -> Number:
        return -self + x

    def __rtruediv__(self, x: Any) -> Number:
        return make_number(operator.truediv, (x, self), (lambda: 1 / self, lambda: -x / (self * self)))

    def __rpow__(self, x: Any) -> Number:
        return make_number(operator.pow, (x, self), (lambda: self * x ** (self - 1), lambda: x**self * math.log(x)))


def make_number(
    function: Callable[..., float], inputs: tuple[Any, ...], derivatives: Iterable[Callable[[], Any]]
) -> Number:
    return Number(function(*map(value, inputs)), function, inputs, derivatives)


def value(x: Any) -> float:
    return x.value if isinstance(x, Number) else x


# Functions of one number, and their derivatives at x.
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
    function, derivative = FUNCTIONS[name]
    return make_number(function, (x,), (lambda: derivative(x),)) if isinstance(x, Number) else function(x)


def gradient(outs: np.ndarray, cotangents: np.ndarray, wrt: np.ndarray) -> np.ndarray:
    """Return the derivative of ``sum(cotangents * outs)`` by each number of ``wrt``.

    The cotangent of a number is its initial cotangent, plus the cotangents of its consumers times their derivatives.
    """
    consumers: dict[Number, list[Any]] = defaultdict(list)
    seen: set[Number] = set()

    def visit(n: Any) -> None:
        if isinstance(n, Number) and n not in seen:
            seen.add(n)
            for x, derivative in zip(n.inputs, n.derivatives, strict=True):
                if isinstance(x, Number):
                    consumers[x].append((n, derivative))
                    visit(x)

    own: dict[Any, Any] = defaultdict(float)
    for out, cotangent in zip(outs.ravel(), cotangents.ravel(), strict=True):
        visit(out)
        if isinstance(out, Number):
            own[out] = own[out] + cotangent

    known: dict[Number, Any] = {}

    def cotangent_of(n: Number) -> Any:
        if n not in known:
            known[n] = sum([derivative() * cotangent_of(consumer) for consumer, derivative in consumers[n]], own[n])
        return known[n]

    return each(cotangent_of, wrt)


def count(outs: np.ndarray) -> int:
    """Return how many numbers these were computed from, themselves included."""
    seen: set[Number] = set()
    unseen = [n for n in outs.ravel() if isinstance(n, Number)]
    while unseen:
        n = unseen.pop()
        if n not in seen:
            seen.add(n)
            unseen += [x for x in n.inputs if isinstance(x, Number)]
    return len(seen)


def recompute(outs: np.ndarray, moved: dict[Number, float]) -> np.ndarray:
    """Compute values again, with other values for some of the numbers."""
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
    """Apply a function of numbers element-wise, with broadcasting; always return an object array."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)


def variables(numbers: Any) -> np.ndarray:
    """Return new numbers without inputs."""
    return each(lambda x: Number(float(x)), np.asarray(numbers, dtype=float).astype(object))


def constants(numbers: Any) -> np.ndarray:
    """Return plain numbers of the same values: no derivative flows through them."""
    return each(value, np.asarray(numbers, dtype=object))


def values(numbers: np.ndarray) -> np.ndarray:
    return constants(numbers).astype(float)


def fresh(numbers: Any) -> np.ndarray:
    """Return new numbers of the same values, to distinguish a view from its base."""
    return each(lambda x: apply("itself", x) if isinstance(x, Number) else Number(x), np.asarray(numbers, dtype=object))


def largest(x: Any, y: Any) -> Any:
    return x if value(x) >= value(y) else y


def smallest(x: Any, y: Any) -> Any:
    return x if value(x) <= value(y) else y
