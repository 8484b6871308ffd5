"""``check_primitive``: right primitives pass, each planted fault fails, and the table says what was found."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing import Case, Kink, by_element, check_primitive, strategies
from tinygrad_cifar.testing.checks import TITLES
from tinygrad_cifar.testing.faults import VALUE_FAULTS, inject_into_vjp
from tinygrad_cifar.testing.properties import PROPERTIES

FEW = 15
PAIRS = strategies.elementwise(strategies.moderate, strategies.either_side(0.5, 2))


@pytest.fixture(autouse=True)
def _copy_of_the_table(monkeypatch):
    """Let tests register any name."""
    monkeypatch.setattr("tinygrad_cifar.engine.primitives.PRIMITIVES", dict(PRIMITIVES))


def quotient(**changed):
    """Return a primitive x / y with some VJPs replaced."""
    vjps = {"x": lambda g, y: g / y, "y": lambda g, x, y: -g * x / y**2} | changed
    return tg.primitive("quotient", lambda x, y: x / y, broadcasts=True, **vjps)


def swap_halves():
    """Return an affine primitive: the two halves of an array, exchanged."""
    return tg.primitive(
        "swap_halves", lambda x: np.roll(x, x.size // 2), x=lambda g, x_shape: tg.roll(g, -(math.prod(x_shape) // 2))
    )


def verdicts(check):
    return {found.name: found.verdict for found in check.properties}


# -- right primitives --------------------------------------------------------------------------------------------------


def test_right_primitive_passes_every_property():
    check = check_primitive(quotient(), PAIRS, value=by_element(lambda x, y: x / y), examples=FEW)
    assert verdicts(check) == dict.fromkeys(PROPERTIES, "holds") | {"exact_adjoint": "not affine"}
    assert check.passed


def test_affine_primitive_is_recognised():
    check = check_primitive(swap_halves(), lambda rng: rng.normal(size=4), examples=FEW)
    assert verdicts(check)["exact_adjoint"] == "holds"
    assert check.passed, check


def test_operation_that_is_not_analytic_is_recognised():
    check = check_primitive(tg.absolute, strategies.elementwise(strategies.either_side(0.5, 2)), examples=FEW)
    assert verdicts(check)["step_into_the_complex_plane"] == "not analytic"
    assert check.passed, check


@pytest.mark.parametrize(
    "cases",
    [
        lambda rng: rng.normal(size=3),
        lambda rng: (rng.normal(size=3),),
        lambda rng: Case((rng.normal(size=3),)),
        st.just(np.array([1.0, 2.0])),
        strategies.elementwise(strategies.moderate),
    ],
)
def test_cases_may_be_given_in_several_forms(cases):
    assert check_primitive(tg.sin, cases, examples=3).passed


def test_other_arguments_are_passed_on():
    cases = strategies.shapes(min_dims=2).map(lambda shape: Case((np.ones(shape),), (1,)))
    assert check_primitive(tg.cumsum, cases, examples=3).passed


def test_composition_of_operations_can_be_checked():
    assert check_primitive(lambda x: tg.log(1 + tg.exp(x)), strategies.elementwise(strategies.moderate), examples=FEW)


# -- wrong primitives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("input", ["x", "y"])
@pytest.mark.parametrize("kind", VALUE_FAULTS)
def test_planted_fault_fails(kind, input):
    """Each kind, in each VJP of a primitive of the library."""
    with inject_into_vjp(kind, "divide", input):
        assert not check_primitive(tg.divide, PAIRS, examples=FEW).passed


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("value", {"value": by_element(lambda x, y: x / y + 1e-9)}),
        ("value", {"value": lambda *arrays: np.zeros((7, len(arrays)))}),
    ],
)
def test_wrong_value_fails(name, wrong):
    check = check_primitive(quotient(), PAIRS, examples=FEW, **wrong)
    assert [failure.name for failure in check.failures] == [name]


def test_vjp_that_changes_with_the_precision_fails():
    doubled = quotient(x=lambda g, y: (2 if g.dtype == np.float32 else 1) * (g / y))
    names = [failure.name for failure in check_primitive(doubled, PAIRS, examples=FEW).failures]
    assert names == ["float32_agrees"]


def test_gradient_of_another_shape_fails():
    """A primitive that broadcasts, but does not say so."""
    careless = tg.primitive("careless", lambda x, y: x * y, x=lambda g, y: g * y, y=lambda g, x: g * x)
    check = check_primitive(careless, PAIRS, examples=100)
    assert "differences" in {failure.name for failure in check.failures}


def test_wrong_gradient_at_a_kink_fails():
    relu = tg.primitive("one_at_zero", lambda x: np.maximum(x, 0), x=lambda g, x: g * (x >= 0))
    at_zero = Kink("zero at 0", Case((np.zeros(1),)), [3.0], ([0.0],))
    check = check_primitive(relu, lambda rng: rng.uniform(0.5, 1, 3), analytic=False, kinks=[at_zero], examples=3)
    assert [failure.failure for failure in check.failures] == ["the gradient of input 0 is [3.0], not [0.0]"]


def test_primitive_that_raises_fails_with_its_message():
    def only_long(x):
        if x.size < 3:
            raise ValueError("too short")
        return x * 1.0

    short = tg.primitive("only_long", only_long, x=lambda g: g)
    check = check_primitive(
        short, strategies.elementwise(strategies.moderate), analytic=False, affine=False, examples=3
    )
    assert "too short" in str(check)


# -- the table ---------------------------------------------------------------------------------------------------------


def test_table_has_a_line_for_each_property_within_80_columns():
    lines = str(check_primitive(quotient(), PAIRS, examples=3)).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [TITLES[name] for name in PROPERTIES]
    assert max(map(len, lines)) <= 80


def test_failure_shows_the_smallest_case():
    text = str(check_primitive(quotient(x=lambda g, y: 2 * g / y), PAIRS, examples=FEW))
    assert "gradient: differences:" in text
    assert "float64, shape (2,)" in text


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "cases", "error", "message"),
    [
        (3, PAIRS, TypeError, "operation must be a function of tensors; got int"),
        (tg.sin, 3, TypeError, "a Hypothesis strategy or a function of a random generator; got int"),
        (tg.sin, lambda rng: rng.integers(3, size=2), TypeError, "float64 arrays.* input 0 is int64"),
        (tg.sin, st.nothing(), ValueError, "no case can be drawn"),
        (tg.sign, strategies.elementwise(strategies.moderate), ValueError, "is not recorded"),
    ],
)
def test_bad_input_is_explained(operation, cases, error, message):
    with pytest.raises(error, match=message):
        check_primitive(operation, cases, examples=3)


def test_missing_hypothesis_is_explained():
    code = (
        "import sys; sys.modules['hypothesis'] = None; import importlib.util; importlib.util.find_spec = lambda _: None"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom tinygrad_cifar.testing import check_primitive"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "needs Hypothesis; install the extra test: pip install '.[test]'" in run.stderr


def test_vjp_that_is_affine_but_not_linear_fails():
    """It returns something for a cotangent of 0."""
    offset = quotient(x=lambda g, y: g / y + 1e-3)
    assert "vjp_is_linear" in {failure.name for failure in check_primitive(offset, PAIRS, examples=FEW).failures}
