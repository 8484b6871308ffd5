"""The cases: a question, a program that every adapter can run, and the answer that counts as right.

A program returns what a user would see: numbers. If they are not the right ones, the library has given a wrong answer
silently, which the table states with the numbers; an error is stated as such, and may be the better answer.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.evidence.referee.adapters import Adapter, Taped, operation

Program = Callable[[Any], Any]


class Case(NamedTuple):
    """One question.

    Attributes
    ----------
    group, question : str
        What it is about.
    program : callable
        Receives an adapter, and returns numbers.
    right : tuple
        The answers that count as right; the first is the mathematical or most useful one.
    """

    group: str
    question: str
    program: Program
    right: tuple[Any, ...]


CASES: list[Case] = []


def case(group: str, question: str, *right: Any) -> Callable[[Program], Program]:
    """Add a program to the cases."""

    def add(program: Program) -> Program:
        CASES.append(Case(group, question, program, right))
        return program

    return add


def _tape(adapter: Adapter) -> Taped:
    if not isinstance(adapter, Taped):
        raise NotImplementedError(f"{adapter.title} has no tape")
    return adapter


def _op(adapter: Adapter, name: str) -> Callable[..., Any]:
    return operation(adapter, name)


# -- aliasing and mutation ---------------------------------------------------------------------------------------------


@case("aliasing", "the array that a variable was made of is changed before backward; gradient of x * x at 3", 6.0)
def _array_of_a_leaf(adapter: Adapter) -> Any:
    library, array = _tape(adapter), np.array([3.0])
    x = library.leaf(array)
    out = x * x
    array[:] = 100
    library.backward(out)
    return library.gradient_of(x)


@case("aliasing", "a constant array is changed before backward; gradient of x * c for c = 3", 3.0)
def _constant_array(adapter: Adapter) -> Any:
    library, c = _tape(adapter), np.array([3.0])
    x = library.leaf(np.array([2.0]))
    out = x * library.constant(c)
    c[:] = 100
    library.backward(out)
    return library.gradient_of(x)


@case("aliasing", "the array of indices is changed before backward; gradient of x[i] for i = [0, 0]", [2.0, 0.0])
def _index_array(adapter: Adapter) -> Any:
    library, i = _tape(adapter), np.array([0, 0])
    x = library.leaf(np.array([2.0, 5.0]))
    out = x[library.constant(i)]
    i[:] = 1
    library.backward(out)
    return library.gradient_of(x)


@case("aliasing", "one gradient is changed; the gradient of another variable of the same sum", [1.0, 1.0])
def _gradients_share_memory(adapter: Adapter) -> Any:
    library = _tape(adapter)
    x, y = library.leaf(np.zeros(2)), library.leaf(np.zeros(2))
    library.backward(x + y)
    with contextlib.suppress(ValueError):  # it may be read-only
        np.asarray(library.gradient_of(x))[:] = 100
    return library.gradient_of(y)


@case("mutation", "out = exp(x); out *= 2; gradient of the sum of out * out at 0", 8.0)
def _in_place(adapter: Adapter) -> Any:
    library = _tape(adapter)
    x = library.leaf(np.array([0.0]))
    out = _op(library, "exp")(x)
    out *= 2
    library.backward(out * out)
    return library.gradient_of(x)


@case("mutation", "an element of y = 1 * x is assigned a number; gradient of the sum of y", [0.0, 1.0])
def _item_assignment(adapter: Adapter) -> Any:
    library = _tape(adapter)
    x = library.leaf(np.array([2.0, 3.0]))
    y = 1.0 * x
    y[0] = 5.0
    library.backward(y)
    return library.gradient_of(x)


@case("freed graph", "backward twice through the same graph; gradient of x * x at 3", 12.0, "an error")
def _backward_twice(adapter: Adapter) -> Any:
    library = _tape(adapter)
    x = library.leaf(np.array([3.0]))
    out = x * x
    library.backward(out)
    library.backward(out)
    return library.gradient_of(x)


# -- threads -----------------------------------------------------------------------------------------------------------


@case("threads", "gradients of x**3 in eight threads at once: how many of 400 are wrong", 0)
def _threads(adapter: Adapter) -> Any:
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = 0
        for _ in range(50):
            x = rng.normal(size=5)
            (g,) = adapter.grad(lambda t: t * t * t, x)
            count += not np.allclose(g, 3 * x * x, rtol=1e-12)
        wrong.append(count)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(wrong) + 50 * (8 - len(wrong))


# -- kinks -------------------------------------------------------------------------------------------------------------


def _slope(name: str, x: float) -> Program:
    return lambda adapter: adapter.grad(_op(adapter, name), np.array([x]))[0]


for _name in ("relu", "absolute"):
    case("kinks", f"derivative of {_name} at 0", 0.0)(_slope(_name, 0.0))


@case("kinks", "gradient of max([2, 2]): shared equally", [0.5, 0.5])
def _tie_of_max(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "max"), np.array([2.0, 2.0]))[0]


@case("kinks", "gradients of maximum(x, y) in a tie: shared equally", [[0.5], [0.5]])
def _tie_of_maximum(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "maximum"), np.array([1.0]), np.array([1.0]))


@case("kinks", "gradient of the norm of a vector of zeros", [0.0, 0.0])
def _norm_of_zeros(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "norm"), np.zeros(2))[0]


@case("kinks", "derivative of x**0.0 at 0", 0.0)
def _zeroth_power(adapter: Adapter) -> Any:
    return adapter.grad(lambda x: x**0.0, np.array([0.0]))[0]


@case("kinks", "gradient of prod([0, 3, 5])", [15.0, 0.0, 0.0])
def _prod_with_a_zero(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "prod"), np.array([0.0, 3.0, 5.0]))[0]


# -- second derivatives at 0 -------------------------------------------------------------------------------------------

_SECOND: list[tuple[str, Callable[[Adapter, Any], Any], float]] = [
    ("x**2", lambda _, x: x**2, 2.0),
    ("x**3", lambda _, x: x**3, 0.0),
    ("x**2.0", lambda _, x: x**2.0, 2.0),
    ("x * x", lambda _, x: x * x, 2.0),
    ("sigmoid(x)", lambda a, x: _op(a, "sigmoid")(x), 0.0),
    ("softplus(x)", lambda a, x: _op(a, "softplus")(x), 0.25),
    ("cos(x)", lambda a, x: _op(a, "cos")(x), -1.0),
    ("log1p(x)", lambda a, x: _op(a, "log1p")(x), -1.0),
]
for _formula, _function, _expected in _SECOND:
    case("second derivatives at 0", _formula, _expected)(
        lambda adapter, function=_function: adapter.second(lambda x: function(adapter, x), 0.0)
    )


# -- overflow ----------------------------------------------------------------------------------------------------------


_STABLE: list[tuple[str, str, float, float]] = [
    ("sigmoid", "derivative of sigmoid at -800", -800.0, 0.0),
    ("softplus", "derivative of softplus at 800", 800.0, 1.0),
    ("tanh", "derivative of tanh at 20", 20.0, 1 / math.cosh(20) ** 2),
    ("log1p", "derivative of log1p at 1e300", 1e300, 1e-300),
]
for _name, _question, _at, _expected in _STABLE:
    case("accuracy", _question, _expected)(_slope(_name, _at))


@case("accuracy", "gradient of logsumexp([1000, 1000])", [0.5, 0.5])
def _large_logsumexp(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "logsumexp"), np.array([1000.0, 1000.0]))[0]


@case("accuracy", "gradient of the norm of [3e200, 4e200]", [0.6, 0.8])
def _large_norm(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "norm"), np.array([3e200, 4e200]))[0]


@case("accuracy", "where(x > 0, log(x), 0) at -1: derivative", 0.0)
def _where(adapter: Adapter) -> Any:
    def f(x: Any) -> Any:
        return _op(adapter, "where")(x > 0, _op(adapter, "log")(x), 0.0 * x)

    return adapter.grad(f, np.array([-1.0]))[0]


# -- indices, shapes, dtypes -------------------------------------------------------------------------------------------


@case("indices", "gradient of x[[0, 0, 1]]: repeated indices add up", [2.0, 1.0])
def _repeated(adapter: Adapter) -> Any:
    return adapter.grad(lambda x: x[np.array([0, 0, 1])], np.array([2.0, 3.0]))[0]


@case("indices", "gradient of x[::-1][:2]", [0.0, 1.0, 1.0])
def _negative_step(adapter: Adapter) -> Any:
    return adapter.grad(lambda x: x[::-1][:2], np.array([2.0, 3.0, 4.0]))[0]


@case("shapes", "gradient of the sum of an empty array: its shape", (0, 3))
def _empty(adapter: Adapter) -> Any:
    return adapter.grad(_op(adapter, "sum"), np.zeros((0, 3)))[0].shape


@case("shapes", "gradient of x + y for shapes (3, 1) and (4,): their shapes", ((3, 1), (4,)))
def _broadcast(adapter: Adapter) -> Any:
    return tuple(g.shape for g in adapter.grad(lambda x, y: x + y, np.zeros((3, 1)), np.zeros(4)))


@case("shapes", "gradient with respect to an input that is not used", [0.0])
def _unused(adapter: Adapter) -> Any:
    return adapter.grad(lambda x, y: 2.0 * x + 0 * 1.0, np.array([1.0]), np.array([1.0]))[1]  # noqa: ARG005


@case("dtypes", "dtype of the gradient of a float32 variable times a Python number", "float32")
def _single(adapter: Adapter) -> Any:
    return str(adapter.grad(lambda x: x * 2.0, np.ones(2, np.float32))[0].dtype)


@case("dtypes", "dtype of the gradient of a float32 variable times a float64 array", "float32")
def _mixed(adapter: Adapter) -> Any:
    c = adapter.constant(np.ones(2))
    return str(adapter.grad(lambda x: x * c, np.ones(2, np.float32))[0].dtype)


@case("dtypes", "gradient of x / 2 for integers, as an error or as floating point", "an error", "float64")
def _integers(adapter: Adapter) -> Any:
    return str(adapter.grad(lambda x: x / 2, np.array([3, 4]))[0].dtype)


@case("NaN", "log(-1)**2: the derivative is NaN or an error", math.nan, "an error")
def _nan(adapter: Adapter) -> Any:
    return adapter.grad(lambda x: _op(adapter, "log")(x) * _op(adapter, "log")(x), np.array([-1.0]))[0]
