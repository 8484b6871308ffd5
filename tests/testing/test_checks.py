"""``check_primitive``: right primitives pass, each injected fault fails, and the table says what was found."""

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


REAL_PARTS = {
    "a remainder": (lambda x: np.mod(x, 1.0), lambda g: g),
    "Huber": (lambda x: np.where(abs(x) < 1, x * x / 2, abs(x) - 0.5), lambda g, x: g * tg.clip(x, -1, 1)),
    "softsign": (lambda x: x / (1 + abs(x)), lambda g, x: g / tg.square(1 + tg.absolute(x))),
    "with the conjugate": (lambda x: x * np.conj(x), lambda g, x: 2 * g * x),
}


def test_property_that_is_left_out_is_named_in_the_table():
    check = check_primitive(quotient(), PAIRS, without=["second_order", "duality"], examples=FEW)
    assert {name for name, verdict in verdicts(check).items() if verdict == "left out"} == {"second_order", "duality"}


def test_property_may_be_left_out_by_its_title():
    check = check_primitive(quotient(), PAIRS, without=["VJP: linear"], examples=FEW)
    assert verdicts(check)["vjp_is_linear"] == "left out"


def test_operation_that_raises_at_a_kink_fails_there():
    def square_root(x):
        if not np.all(x > 0):
            raise ValueError("only positive numbers")
        return np.sqrt(x)

    operation = tg.primitive("positive_root", square_root, x=lambda g, out: g / (2 * out))
    corner = Kink("at 0", Case((np.zeros(1),)), 1.0, (0.0,))
    check = check_primitive(operation, lambda rng: rng.uniform(1, 2, 3), kinks=corner, examples=FEW)
    assert [(failure.name, "only positive numbers" in failure.failure) for failure in check.failures] == [
        ("at 0", True)
    ]


def test_checks_that_python_removes_are_not_reported_as_passed():
    program = "import tinygrad_cifar as tg; from tinygrad_cifar.testing import check_primitive as c; c(tg.exp, abs)"
    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "check_primitive: the option -O of Python removes the checks; run without it" in done.stderr


def test_trial_with_complex_numbers_prints_no_warning(recwarn):
    drops_imaginary_part = tg.primitive("real_double", lambda x: 2 * x.astype(float), x=lambda g: 2 * g)
    others = [name for name in PROPERTIES if name != "vjp_is_linear"]
    assert check_primitive(drops_imaginary_part, lambda rng: rng.normal(size=4), without=others, examples=FEW).passed
    assert not recwarn.list


@pytest.mark.parametrize("name", REAL_PARTS)
def test_right_primitive_that_is_neither_analytic_nor_affine_passes(name):
    """Complex numbers go through, with another derivative; at integers alone, some of them look affine."""
    value, vjp = REAL_PARTS[name]
    cases = strategies.elementwise(strategies.off_integers)
    check = check_primitive(tg.primitive("checked", value, broadcasts=True, x=vjp), cases, examples=FEW)
    assert check.passed, check
    assert verdicts(check)["step_into_the_complex_plane"] == "not analytic"
    assert verdicts(check)["exact_adjoint"] == "not affine"


def test_operation_that_refuses_complex_numbers_is_not_analytic():
    def sine(x):
        if np.iscomplexobj(x):
            raise NotImplementedError
        return np.sin(x)

    real = tg.primitive("real_sine", sine, broadcasts=True, x=lambda g, x: g * tg.cos(x))
    check = check_primitive(real, strategies.elementwise(strategies.moderate), examples=FEW)
    assert check.passed, check
    assert verdicts(check)["step_into_the_complex_plane"] == "not analytic"


def test_operation_of_another_dtype_passes_if_that_is_said():
    def double(x, to):
        return np.asarray(x * 2, to)

    converts = tg.primitive("converts", double, x=lambda g: 2 * g)
    cases = lambda rng: Case((rng.normal(size=3),), (np.float64,))  # noqa: E731
    assert not check_primitive(converts, cases, analytic=False, examples=FEW).passed
    assert check_primitive(converts, cases, analytic=False, keeps_dtype=False, examples=FEW).passed


# -- wrong primitives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("input", ["x", "y"])
@pytest.mark.parametrize("kind", VALUE_FAULTS)
def test_injected_fault_fails(kind, input):
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
    assert "gradient: differences" in text
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


@pytest.mark.parametrize(
    "is_wrong", [lambda x: x.ndim == 0, lambda x: x.ndim and x.shape[-1] == 1], ids=["0-d", "(..., 1)"]
)
def test_vjp_that_is_wrong_for_some_shapes_fails(is_wrong):
    """Also if these shapes are not among the cases, and there is no other input to stretch the array."""
    wrong = tg.primitive("wrong", np.square, broadcasts=True, x=lambda g, x: g * x * (3 if is_wrong(x) else 2))
    check = check_primitive(wrong, lambda rng: rng.uniform(1, 2, (3, 4)), examples=FEW)
    assert [failure.name for failure in check.failures] == ["broadcasting"]


def test_the_table_fits_80_columns_and_states_an_error_once():
    def double(g, x):
        g *= 2
        return g * x

    wrong = tg.primitive("writes", np.square, broadcasts=True, x=double)
    text = str(check_primitive(wrong, strategies.elementwise(strategies.moderate), examples=FEW))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("the VJP for x must not write to its cotangent") == 1


CUBE_AT_0 = Case((np.zeros(2),))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cases": strategies.elementwise}, TypeError, "it is a function that returns a strategy: call it"),
        ({"operation": tg.hypot}, TypeError, "cannot be called with the arrays of a case: missing a required argument"),
        (
            {"cases": lambda rng: Case(rng.normal(size=(2, 3)))},
            TypeError,
            r"arrays must be .*; got ndarray: write \(x,\)",
        ),
        ({"without": ["second order"]}, ValueError, "without must contain names of properties; got 'second order'"),
        ({"examples": 0}, ValueError, "examples must be an integer of at least 1; got 0"),
        ({"kinks": Kink("0", CUBE_AT_0, 1.0, ())}, ValueError, "the kink '0' must have a gradient for each of the 1"),
        ({"kinks": [Kink("0", np.zeros(2), 1.0, (0.0,))]}, TypeError, "kinks must be Kink"),
        ({"cases": lambda rng: Case((rng.normal(size=2),), 3)}, TypeError, "Case: parameters must be a tuple; got int"),
        ({"cases": strategies.elementwise(3.0)}, TypeError, "each fill must be a function"),
        ({"operation": lambda x: (x, x)}, TypeError, "must return a tensor for tensors; it returned a tuple"),
    ],
)
def test_an_invalid_argument_is_named(arguments, error, message):
    given = {"operation": tg.square, "cases": strategies.elementwise(strategies.moderate)} | arguments
    with pytest.raises(error, match=message):
        check_primitive(**given)
