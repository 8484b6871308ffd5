"""VJPs of element-wise primitives are proved to be the derivatives, and the proof fails for injected faults."""

from __future__ import annotations

import math

import pytest
import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.evidence import symbolic
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing.faults import inject_into_vjp

CALLS = [(name, call) for name in symbolic.ELEMENTWISE for call in symbolic.calls_of(name)]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CALLS)])
def test_vjps_and_their_derivatives_are_proved(name, call):
    proofs = symbolic.prove(name, call)
    assert [proof for proof in proofs if not proof.holds] == []
    variables = sum(isinstance(argument, symbolic.Variable) for argument in call)
    assert {proof.statement.partition(" = ")[0] for proof in proofs} >= {f"VJP of {'xyz'[i]}" for i in range(variables)}


@pytest.mark.parametrize("name", symbolic.ELEMENTWISE)
def test_both_sides_of_every_kink_are_proved(name):
    """The numbers of the calls lie on each side of the points that ``count_kinks`` counts."""
    if PRIMITIVES[name].kink is not None and name not in ("hypot", "arctan2"):  # whose only such point is the origin
        assert len(symbolic.calls_of(name)) >= 2


# -- faults ------------------------------------------------------------------------------------------------------------

# The others change no value at one number: "clipped at 50" and those of the precision.
VISIBLE = ["zero", "negated", "times 1.001", "ignores the cotangent", "returns the cotangent", "is not recorded"]


@pytest.mark.parametrize("kind", VISIBLE)
@pytest.mark.parametrize("place", ["tanh.x", "divide.y", "power.y", "sigmoid.x", "gelu_tanh.x", "hypot.x"])
def test_injected_fault_is_not_proved(place, kind):
    name, input = place.split(".")
    with inject_into_vjp(kind, name, input):
        proofs = symbolic.prove(name, symbolic.calls_of(name)[0])
    assert not all(proof.holds for proof in proofs)


def test_rule_that_is_right_at_the_number_only_is_not_proved(monkeypatch):
    """A sampled comparison at that number passes."""
    wrong = PRIMITIVES["exp"].vjps["x"]
    monkeypatch.setattr(wrong, "apply", lambda g, out: g * out + (tg.log(out) - 0.7) * 0.001)
    assert not all(proof.holds for proof in symbolic.prove("exp", symbolic.calls_of("exp")[0]))


def test_wrong_second_derivative_is_not_proved(monkeypatch):
    """A rule whose value is right, but which is not differentiable through: part of it is a constant."""
    monkeypatch.setattr(PRIMITIVES["square"].vjps["x"], "apply", lambda g, x: (2 * g) * tg.astype(x, float).detach())
    proofs = symbolic.prove("square", symbolic.calls_of("square")[0])
    assert any("derivative of the VJP" in proof.statement and not proof.holds for proof in proofs)


# -- numbers -----------------------------------------------------------------------------------------------------------


@given(st.integers(-999, 999), st.integers(1, 99), st.sampled_from(symbolic._UNITS))
def test_constants_are_recognised(numerator, denominator, unit):
    exact = sp.Rational(numerator, denominator) * unit
    assume(numerator)
    assert sp.simplify(symbolic.exact_number(float(exact)) - exact) == 0


@given(st.floats(0.1, 10))
def test_other_numbers_are_not_taken_for_constants(x):
    try:
        found = symbolic.exact_number(x)
    except ValueError:
        return
    assert abs(float(found) - x) <= 4 * math.ulp(x)


def test_operation_without_a_formula_is_an_error():
    watcher = symbolic.SymbolicWatcher()
    with pytest.raises(symbolic.UnknownFormulaError, match="the formula of cumsum is not known"):
        watcher.on_operation(PRIMITIVES["cumsum"], (), None)
