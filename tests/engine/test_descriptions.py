"""What `help` says of the operations of the table: there, true, and with examples that run."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor, grad
from tinygrad_cifar.engine.ops.descriptions import DESCRIPTIONS

OPERATIONS = [getattr(tg, name) for name in tg.engine.ops.__all__]
# Away from where a formula of a course has lost its digits; positive where a root or a logarithm is taken.
EVERYWHERE, POSITIVE = st.floats(-5, 5), st.floats(0.1, 5)
DOMAINS = dict.fromkeys(("divide", "log", "power", "sqrt"), POSITIVE) | {"log1p": st.floats(-0.9, 5)}
WITH_A_FORMULA = [name for name, description in DESCRIPTIONS.items() if description.formula]
DERIVATIVES = [(name, x) for name, description in DESCRIPTIONS.items() for x in description.derivatives]


def said(expression: str, point: dict[str, float], out: float | None = None) -> float:
    return float(eval(expression, {**vars(np), **point, "out": out}))


def a_point(data, name: str) -> dict[str, float]:
    inputs = tuple(DESCRIPTIONS[name].derivatives) or ("x",)
    return {x: data.draw(DOMAINS.get(name, EVERYWHERE), label=x) for x in inputs}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_every_operation_says_what_it_is(operation):
    text = inspect.getdoc(operation)
    assert "derivative table" not in text
    assert ">>>" in text


@pytest.mark.parametrize("name", [*DESCRIPTIONS, "matmul"])
def test_the_example_runs(name):
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(tg, name)), {}, name, None, None)
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", WITH_A_FORMULA)
@given(data=st.data())
def test_the_formula_is_what_is_computed(name, data):
    point = a_point(data, name)
    expected = said(DESCRIPTIONS[name].formula, point | {"e": np.e})
    assert getattr(tg, name)(*point.values()) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("name", "input"), DERIVATIVES)
@given(data=st.data())
def test_the_derivative_that_is_said_is_the_derivative(name, input, data):
    point = a_point(data, name)
    leaves = {x: Tensor(number, requires_grad=True) for x, number in point.items()}
    out = getattr(tg, name)(*leaves.values())
    expected = said(DESCRIPTIONS[name].derivatives[input], point, out.item())
    assert grad(out, leaves[input]).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_help_shows_the_arguments_by_name():
    assert str(inspect.signature(tg.relu)) == "(x)"
    assert str(inspect.signature(tg.maximum)) == "(x, y)"


def test_a_primitive_of_ones_own_has_the_words_and_the_arguments_of_its_computation():
    def scaled(x, factor=2.0):
        """Multiply by a factor."""
        return x * factor

    made = tg.primitive("of_test_descriptions", scaled, x=lambda g, factor: g * factor)
    assert inspect.getdoc(made) == "Multiply by a factor."
    assert str(inspect.signature(made)) == "(x, factor=2.0)"
