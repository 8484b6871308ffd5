"""Help texts of operations: complete, correct, and with examples that run."""

from __future__ import annotations

import doctest
import inspect
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.evidence.specs import SPECS
from tinygrad_cifar import Tensor, grad
from tinygrad_cifar.engine.documentation import is_elementwise
from tinygrad_cifar.engine.ops import OPERATIONS
from tinygrad_cifar.engine.primitives import PRIMITIVES

ELEMENTWISE = {
    name: op
    for name, op in PRIMITIVES.items()
    if name in SPECS and op.broadcasts and op.inputs in (("x",), ("x", "y")) and is_elementwise(op.doc)
}
WITH_A_FORMULA = [name for name, op in ELEMENTWISE.items() if op.doc.formula]
DERIVATIVES = [(name, x) for name, op in ELEMENTWISE.items() for x in op.doc.derivatives]
# Formulas of reductions and others, on a point with distinct positive elements.
EVALUATED = ("sum", "max", "min", "prod", "logsumexp", "norm", "cumsum", "mean", "var", "softmax", "flip")


def evaluate(expression: str, point: dict[str, object], **names: object) -> object:
    return eval(expression, {**vars(np), "e": np.e, **point, **names})


def draw_point(data, name: str) -> dict[str, np.ndarray]:
    """Draw arrays for the inputs from the domain of the primitive's spec."""
    inputs = ELEMENTWISE[name].inputs
    case = data.draw(SPECS[name].cases.filter(lambda case: len(case.arrays) == len(inputs)))
    return dict(zip(inputs, case.arrays, strict=True))


def function_of(name: str):
    """Return the function of a primitive: the operation, or a private one."""
    pages = (tg.engine.ops.exponential, tg.engine.ops.gaussian, tg.engine.ops.trigonometric)
    return getattr(tg, name, None) or next(vars(page)[f"_{name}"] for page in pages if f"_{name}" in vars(page))


@pytest.mark.parametrize("name", OPERATIONS)
def test_help_has_a_formula_or_a_derivative_and_an_example(name):
    text = inspect.getdoc(OPERATIONS[name])
    assert "Formula: ``out = " in text or "Derivative with respect to" in text
    assert ">>>" in text
    sections = re.findall(r"^(\w+)\n-+$", text, re.MULTILINE)
    assert sections in (["Parameters", "Returns", "Examples"], ["Parameters", "Returns", "Raises", "Examples"])


@pytest.mark.parametrize("name", [name for name, op in PRIMITIVES.items() if name in SPECS and op.vjps])
def test_every_vjp_is_described(name):
    op = PRIMITIVES[name]
    assert op.doc.summary.endswith(".")
    assert set(op.doc.derivatives) == set(op.vjps)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_names_its_primitives(name):
    operation = OPERATIONS[name]
    assert operation.primitives
    assert all(PRIMITIVES[op.name] is op for op in operation.primitives)
    assert hasattr(operation, "primitive") == (len(operation.primitives) == 1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_example_runs(name):
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(OPERATIONS[name]), {}, name, None, None)
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", WITH_A_FORMULA)
@given(data=st.data())
def test_the_formula_is_the_value(name, data):
    point = draw_point(data, name)
    expected = evaluate(ELEMENTWISE[name].doc.formula, point)
    np.testing.assert_allclose(function_of(name)(*point.values()), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "input"), DERIVATIVES)
@given(data=st.data())
def test_the_derivative_in_words_is_the_vjp(name, input, data):
    point = draw_point(data, name)
    leaves = {x: Tensor(array, requires_grad=True) for x, array in point.items()}
    out = function_of(name)(*leaves.values())
    g = np.random.default_rng(0).normal(size=out.shape)
    factor = evaluate(ELEMENTWISE[name].doc.derivatives[input], point, out=out.data)
    expected = tg.sum_to(g * np.broadcast_to(factor, out.shape), point[input].shape)
    np.testing.assert_allclose(grad(out, leaves[input], gradient=g).data, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", EVALUATED)
def test_formula_and_vjp_of_other_operations_are_true(name):
    rng = np.random.default_rng(0)
    x, axis = rng.permutation(np.linspace(0.5, 3.0, 12)).reshape(3, 4), 1
    t = Tensor(x, requires_grad=True)
    result = getattr(tg, name)(t, axis=axis)
    doc = OPERATIONS[name].doc
    sizes = {"axis": axis, "n": x.shape[axis], "ddof": 0}
    # In formulas reduced axes are kept, so that means, g and out broadcast against x.
    keep = {name: keep_axes(getattr(np, name)) for name in ("sum", "mean", "max", "min", "prod", "count_nonzero")}
    out = result.data if result.ndim == x.ndim else np.expand_dims(result.data, axis)
    np.testing.assert_allclose(out, evaluate(doc.formula, {"x": x}, **sizes, **keep), rtol=1e-12)
    g = rng.normal(size=out.shape)
    keep["expand_dims"] = lambda array, _: array
    expected = evaluate(doc.derivatives["x"], {"x": x}, g=g, out=out, **sizes, **keep)
    np.testing.assert_allclose(grad(result, t, gradient=g.reshape(result.shape)).data, expected, rtol=1e-10)


def keep_axes(function):
    return lambda array, axis: function(array, axis=axis, keepdims=True)


def test_help_shows_the_arguments_by_name():
    assert str(inspect.signature(tg.relu)) == "(x)"
    assert str(inspect.signature(tg.maximum)) == "(x, y)"
    assert list(inspect.signature(tg.sum).parameters) == ["x", "axis", "keepdims"]
    assert list(inspect.signature(Tensor.sum).parameters) == ["x", "axis", "keepdims"]


def test_a_user_defined_primitive_has_the_docstring_and_arguments_of_its_computation():
    def scaled(x, factor=2.0):
        """Multiply by a factor."""
        return x * factor

    made = tg.primitive("of_test_documentation", scaled, x=lambda g, factor: g * factor)
    assert inspect.getdoc(made) == "Multiply by a factor."
    assert str(inspect.signature(made)) == "(x, factor=2.0)"
