"""Proofs that the VJPs of element-wise primitives are the derivatives, by computer algebra.

The rule is run as it is, by the engine, on numbers. A watcher repeats each operation that it consists of on SymPy
expressions, so the result is a formula of the inputs and the cotangent. It must equal the cotangent times SymPy's own
derivative of the function's definition (:data:`FORMULAS`); and the derivative of the rule, computed by differentiating
the recorded rule, must equal the second derivative. The difference is simplified until it is 0.

A function with several branches is proved on each of them; the numbers select the branch. What SymPy cannot simplify
is a :class:`Proof` that is not complete, with the difference that was left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

import tinygrad_cifar as tg
from tests.evidence.specs import NOT_ELEMENTWISE, SPECS
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.modes import Watcher, observe
from tinygrad_cifar.engine.primitives import PRIMITIVES

# -- definitions -------------------------------------------------------------------------------------------------------


def _gelu_tanh(x: Any) -> Any:
    return x * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * (x + sp.Rational("0.044715") * x**3))) / 2


def _gelu_tanh_vjp(g: Any, x: Any) -> Any:
    u = sp.Dummy("u")
    return g * sp.diff(_gelu_tanh(u), u).subs(u, x)


# The functions as formulas of their inputs.
FORMULAS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "square": lambda x: x**2,
    "sqrt": sp.sqrt,
    "power": lambda x, y: x**y,
    "power_log": lambda x, y: x**y * sp.log(x),
    "hypot": lambda x, y: sp.sqrt(x**2 + y**2),
    "exp": sp.exp,
    "expm1": lambda x: sp.exp(x) - 1,
    "exp2": lambda x: 2**x,
    "log": sp.log,
    "log1p": lambda x: sp.log(1 + x),
    "log2": lambda x: sp.log(x) / sp.log(2),
    "log10": lambda x: sp.log(x) / sp.log(10),
    "logaddexp": lambda x, y: sp.log(sp.exp(x) + sp.exp(y)),
    "sigmoid": lambda x: 1 / (1 + sp.exp(-x)),
    "softplus": lambda x: sp.log(1 + sp.exp(x)),
    "sin": sp.sin,
    "cos": sp.cos,
    "tan": sp.tan,
    "arcsin": sp.asin,
    "arccos": sp.acos,
    "arctan": sp.atan,
    "arctan2": sp.atan2,
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "sech2": lambda x: 1 / sp.cosh(x) ** 2,
    "arcsinh": sp.asinh,
    "arccosh": lambda x: sp.log(x + sp.sqrt(x - 1) * sp.sqrt(x + 1)),
    "arctanh": lambda x: (sp.log(1 + x) - sp.log(1 - x)) / 2,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "gelu_tanh": _gelu_tanh,
    "gelu_tanh_vjp": _gelu_tanh_vjp,
}
# Those with branches also receive the numbers, as a tuple.
BRANCHES: dict[str, Callable[..., Any]] = {
    "cbrt": lambda at, x: sp.cbrt(x) if at[0] > 0 else -sp.cbrt(-x),
    "absolute": lambda at, x: x if at[0] > 0 else -x,
    "relu": lambda at, x: x if at[0] > 0 else sp.Integer(0),
    "sign": lambda at, x: sp.Integer(1 if at[0] > 0 else -1),  # noqa: ARG005
    "maximum": lambda at, x, y: x if at[0] > at[1] else y,
    "minimum": lambda at, x, y: x if at[0] < at[1] else y,
    "clip": lambda at, x, low, high: low if at[0] < at[1] else high if at[0] > at[2] else x,
    "where": lambda at, condition, x, y: x if at[0] else y,  # noqa: ARG005
    "remainder": lambda at, x, y: x - y * math.floor(float(at[0] / at[1])),
    "step": lambda at, *_: sp.Integer(int(at[2](*[a for a in at[:2] if a is not None]))),
    "astype": lambda at, x, dtype: x,  # noqa: ARG005
}


@dataclass(frozen=True)
class Variable:
    """An input to differentiate with respect to: a number on the branch, and what is assumed of the symbol."""

    number: float
    assumptions: tuple[tuple[str, bool], ...] = (("real", True),)

    @classmethod
    def positive(cls, number: float) -> Variable:
        return cls(number, (("positive", True),))

    @classmethod
    def negative(cls, number: float) -> Variable:
        return cls(number, (("negative", True),))


_ANY = Variable(0.7)
_UP, _DOWN = Variable.positive(0.7), Variable.negative(-0.7)

# The calls that are proved, if not at one number that is any real number for each input.
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "divide": [(_ANY, Variable(1.3))],
    "sqrt": [(_UP,)],
    "cbrt": [(_UP,), (_DOWN,)],
    "power": [
        (_UP, Variable(1.3)),
        *[(x, y) for x in (Variable.positive(1.3), Variable.negative(-1.3)) for y in (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)],
    ],
    "power_log": [(_UP, Variable(1.3))],
    "hypot": [(_ANY, Variable(-1.3))],
    "log": [(_UP,)],
    "log1p": [(_UP,)],
    "log2": [(_UP,)],
    "log10": [(_UP,)],
    "arccosh": [(Variable.positive(1.7),)],
    "absolute": [(_UP,), (_DOWN,)],
    "relu": [(_UP,), (_DOWN,)],
    "maximum": [(_ANY, Variable(0.2)), (_ANY, Variable(1.2))],
    "minimum": [(_ANY, Variable(0.2)), (_ANY, Variable(1.2))],
    "clip": [(_ANY, 0.0, 1.0), (_ANY, 1.0, 2.0), (_ANY, -1.0, 0.0)],
    "where": [(_ANY, Variable(0.2), np.True_), (_ANY, Variable(0.2), np.False_)],
    "remainder": [(Variable(2.5), Variable(0.7)), (Variable(-2.5), Variable(0.7)), (Variable(2.5), Variable(-0.7))],
    "logaddexp": [(_ANY, Variable(-0.3)), (_ANY, Variable(2.0))],
    "arctan2": [(_UP, Variable.positive(0.4)), (_DOWN, Variable.positive(0.4)), (_UP, Variable.negative(-0.4))],
    "sigmoid": [(_UP,), (_DOWN,)],
    "softplus": [(_UP,), (_DOWN,)],
}

ELEMENTWISE = sorted(
    name for name in SPECS if PRIMITIVES[name].broadcasts and PRIMITIVES[name].vjps and name not in NOT_ELEMENTWISE
)


def calls_of(name: str) -> list[tuple[Any, ...]]:
    """Return the calls of a primitive that are proved."""
    inputs = [_ANY, Variable(1.3)][: len(PRIMITIVES[name].vjps)]
    return CALLS.get(name, [tuple(inputs)])


# -- following a computation in symbols --------------------------------------------------------------------------------


class UnknownFormulaError(LookupError):
    """A rule uses an operation whose formula is not known."""


class SymbolicWatcher(Watcher):
    """Repeats every operation on expressions; arrays are recognised by their identity."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, Any]] = {}  # the array is kept, so that its identity is not used again

    def bind(self, value: Tensor, expression: Any) -> None:
        """State what a tensor stands for."""
        self.known[id(value._array)] = (value._array, expression)

    def expression_of(self, thing: Any) -> Any:
        """Return the expression of an array or a number; anything else unchanged."""
        thing = unwrap_value(thing)
        if id(thing) in self.known:
            return self.known[id(thing)][1]
        is_number = isinstance(thing, (int, float, np.ndarray, np.generic))
        return exact_number(thing) if is_number else thing  # None, a dtype, a function

    def on_operation(self, op: Any, arguments: Sequence[Any], out: Any) -> None:
        """Compute the expression of the result."""
        if op.name in FORMULAS:
            result = FORMULAS[op.name](*map(self.expression_of, arguments))
        elif op.name in BRANCHES:
            result = BRANCHES[op.name](arguments, *map(self.expression_of, arguments))
        else:
            raise UnknownFormulaError(f"the formula of {op.name} is not known")
        self.known[id(out._array)] = (out._array, result)


_UNITS = (
    sp.Integer(1),
    sp.log(2),
    sp.log(10),
    sp.sqrt(2 / sp.pi),
    2 / sp.sqrt(sp.pi),
    sp.pi,
)


def exact_number(number: Any) -> Any:
    """Return the number that a float stands for: a fraction, or one of the constants of the table times a fraction."""
    x = float(np.asarray(number))
    for unit in _UNITS:
        quotient = x / float(unit)
        for ratio in (Fraction(quotient).limit_denominator(1000), Fraction(f"{quotient:.8g}")):  # 1/3, or 0.044715
            if abs(float(ratio) * float(unit) - x) <= 4 * abs(math.ulp(x)):
                return sp.Rational(ratio.numerator, ratio.denominator) * unit
    raise ValueError(f"exact_number: {x!r} is not a fraction of a constant that is known")


# -- proofs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """One statement about a VJP.

    Attributes
    ----------
    name : str
        The primitive.
    call : str
        The branch, as numbers.
    statement : str
        What is to be shown.
    difference : sympy.Expr
        What is left of the difference of both sides after simplification; 0 if the statement is proved.
    """

    name: str
    call: str
    statement: str
    difference: Any

    @property
    def holds(self) -> bool:
        """Whether the statement is proved."""
        return bool(self.difference == 0)


def prove(name: str, call: tuple[Any, ...]) -> list[Proof]:
    """Return the proofs for one call of a primitive: each VJP, and its derivatives."""
    watcher = SymbolicWatcher()

    def variable(letter: str, number: float, **assumptions: bool) -> tuple[Tensor, Any]:
        leaf = Tensor(number, requires_grad=True, dtype=np.float64)
        watcher.bind(leaf, sp.Symbol(letter, **assumptions))
        return leaf, watcher.expression_of(leaf)

    arguments: list[Any] = list(call)
    places = [i for i, argument in enumerate(call) if isinstance(argument, Variable)]
    leaves, symbols = [], []
    for i in places:
        arguments[i], symbol = variable("xyz"[i], call[i].number, **dict(call[i].assumptions))
        leaves.append(arguments[i])
        symbols.append(symbol)
    g, of_g = variable("g", 1.7, real=True)
    h, of_h = variable("h", 0.9, real=True)
    at = ", ".join(f"{argument.number:g}" if isinstance(argument, Variable) else str(argument) for argument in call)
    proofs = []

    def state(statement: str, found: Any, expected: Any) -> None:
        proofs.append(Proof(name, at, statement, simplify_to_zero(found - expected)))

    with observe(watcher):
        out = SPECS[name].call(*arguments)
        function = watcher.expression_of(out)
        for leaf, symbol in zip(leaves, symbols, strict=True):
            slope = sp.diff(function, symbol)
            vjp = tg.grad(out, leaf, g, create_graph=True)
            state(f"VJP of {symbol} = g * df/d{symbol}", watcher.expression_of(vjp), of_g * slope)
            if not vjp.requires_grad:
                state(f"the derivatives of the VJP of {symbol} are 0", sp.Integer(0), of_g * slope)
                continue
            *seconds, by_g = tg.grad(vjp, [*leaves, g], h, create_graph=True)
            state(f"derivative of the VJP of {symbol} by g", watcher.expression_of(by_g), of_h * slope)
            for second, other in zip(seconds, symbols, strict=True):
                expected = of_h * of_g * sp.diff(slope, other)
                state(f"derivative of the VJP of {symbol} by {other}", watcher.expression_of(second), expected)
    return proofs


_NOT_ZERO = sp.Float("1e-20")  # in a computation with 30 digits
_STEPS: tuple[Callable[[Any], Any], ...] = (
    sp.expand,
    lambda e: sp.expand(e.replace(sp.cosh, lambda u: 1 / sp.sqrt(1 - sp.tanh(u) ** 2))),
    sp.simplify,
    lambda e: sp.simplify(sp.expand(e.rewrite(sp.exp))),
    lambda e: sp.simplify(sp.factor(sp.together(e.rewrite(sp.exp)))),
    lambda e: sp.radsimp(sp.simplify(e)),
    lambda e: sp.simplify(sp.powsimp(sp.expand_log(sp.expand(e), force=True), force=True)),
)


def simplify_to_zero(difference: Any) -> Any:
    """Return 0 if one of several ways to simplify an expression shows that it is 0; otherwise what is left.

    A number that is not 0 at one point shows that the expression is not 0, without simplifying it.
    """
    difference = sp.sympify(difference)
    if difference != 0 and _is_not_zero_at_a_point(difference):
        return difference
    for step in _STEPS:
        if difference == 0 or step(difference) == 0:
            return sp.Integer(0)
    return difference


def _is_not_zero_at_a_point(difference: Any) -> bool:
    point = {
        symbol: (-1 if symbol.is_negative else 1) * sp.Rational(7 + 2 * i, 11)
        for i, symbol in enumerate(sorted(difference.free_symbols, key=str))
    }
    number = difference.subs(point).evalf(30)
    return bool(number.is_number and number.is_finite and abs(number) > _NOT_ZERO)
