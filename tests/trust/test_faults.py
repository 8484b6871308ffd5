"""Injected faults are detected: a sample by default, all of them with the profile ``thorough``."""

from __future__ import annotations

import ast

import pytest
from hypothesis import settings

import tinygrad_cifar as tg
from tests.evidence import faults
from tests.evidence.specs import SPECS
from tests.evidence.syntax_patterns import replace_pattern
from tinygrad_cifar import Tensor, grad
from tinygrad_cifar.engine import backprop
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing.fault_score import score_by_kind

pytestmark = pytest.mark.slow

THOROUGH = settings().max_examples >= 300


@pytest.mark.slow
def test_injected_faults_are_detected():
    outcomes = faults.attempted(faults.all_tasks() if THOROUGH else faults.sample_of_tasks(), 2 if THOROUGH else 1)
    assert {outcome.kind for outcome in outcomes} == {*faults.VJP_FAULTS, "engine", faults.NOTHING}
    assert [outcome for outcome in outcomes if outcome.survived] == []
    assert all(detected == injected for _, injected, detected, _ in score_by_kind(outcomes))


def test_every_fault_is_injected_into_every_vjp():
    injected = {task for task in faults.all_tasks() if task[0] in faults.VJP_FAULTS}
    vjps = [(name, input) for name in SPECS for input in PRIMITIVES[name].vjps]
    assert injected == {(kind, *vjp) for kind in faults.VJP_FAULTS for vjp in vjps}


def test_fault_that_no_test_detects_survives(monkeypatch):
    monkeypatch.setattr(faults, "tests_of_primitive", lambda _: [])
    assert faults.try_vjp_fault("zero", "exp", "x").survived
    assert not faults.try_vjp_fault(faults.NOTHING, "exp", "x").survived


def test_tests_that_fail_without_a_fault_are_an_error(monkeypatch):
    monkeypatch.setattr(faults, "first_failure", lambda _: "a test")
    with pytest.raises(RuntimeError, match="the tests fail without a fault: exp, a test"):
        faults.try_vjp_fault(faults.NOTHING, "exp", "x")


# -- changes that are not faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "is_identity"), [("add", True), ("negative", False), ("exp", False)])
def test_only_an_identity_is_proved_to_be_one(name, is_identity):
    assert faults.returns_the_cotangent(name, "x") is is_identity


def test_change_that_had_an_effect_is_a_fault(monkeypatch):
    def differentiate():
        x = Tensor([1.0, 2.0], requires_grad=True)
        grad(tg.exp(x).sum(), x)

    monkeypatch.setattr(faults, "tests_of_primitive", lambda _: [("one", differentiate)])
    assert faults.try_vjp_fault("writes to an input", "exp", "x").survived
    assert faults.try_vjp_fault("averages the cotangent", "exp", "x").survived


def test_vjp_without_saved_arrays_cannot_write_to_an_input(monkeypatch):
    monkeypatch.setattr(faults, "tests_of_primitive", lambda _: [])
    assert faults.try_vjp_fault("writes to an input", "negative", "x").no_fault


# -- injection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", faults.VJP_FAULTS)
def test_a_fault_in_a_rule_is_gone_afterwards(kind):
    right = PRIMITIVES["tanh"].vjps["x"].apply
    with faults.inject(f"{kind}: tanh.x"):
        assert PRIMITIVES["tanh"].vjps["x"].apply is not right
    assert PRIMITIVES["tanh"].vjps["x"].apply is right


@pytest.mark.parametrize("name", faults.ENGINE_FAULTS)
def test_the_pattern_of_an_engine_fault_matches_once(name):
    with faults.inject(f"engine: {name}"):
        pass


def test_an_engine_fault_changes_imported_functions_and_is_removed():
    imported, code = backprop._follow, backprop._follow.__code__
    x = Tensor(1.0, requires_grad=True)
    with faults.inject("engine: keeps only the last contribution to a cotangent"):
        assert backprop._follow is imported
        assert tg.grad((x + x) + x, x).item() != 3
    assert backprop._follow.__code__ is code
    assert tg.grad((x + x) + x, x).item() == 3


RENAMED = """
def total(values, start=None):
    if start is None:
        raise ValueError("start is missing")
    result = start
    for value in values:
        result = result + value * 2
    return result
"""


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("A + B * 2", "A", "result = result\n"),
        ("if A is None:\n    ...", "pass", "pass"),
        ("for A in B:\n    ...", "pass", "pass"),
        ("A = A + B", "A = B + A", "result = value * 2 + result"),
    ],
)
def test_a_pattern_matches_whatever_the_names(right, wrong, expected):
    changed = ast.unparse(replace_pattern(ast.parse(RENAMED), "total", right, wrong))
    assert expected in changed + "\n"


@pytest.mark.parametrize("right", ["A - B", "A"])
def test_a_pattern_that_does_not_match_once_is_an_error(right):
    with pytest.raises(LookupError, match="exactly once"):
        replace_pattern(ast.parse(RENAMED), "total", right, "0")
