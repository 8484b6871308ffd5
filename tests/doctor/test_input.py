"""Input that cannot be diagnosed gets one sentence, which names what is wrong."""

# ruff: noqa: ARG005 (functions of all arguments of a problem, or of all gradients)

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import SOFTMAX
from tinygrad_cifar.doctor import DiagnosisError, diagnose

PROBLEM = SOFTMAX.problem
RIGHT = SOFTMAX.gradients()
NOISE = np.random.default_rng(0)


def endless(**_: Any) -> Any:
    while True:
        with suppress(Exception):
            pass


def raises(**_: Any) -> Any:
    raise RuntimeError("some\nreason")


def leaves(**_: Any) -> Any:
    sys.exit(3)


def changed(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def gradients(**arguments: Any) -> Any:
        return function(*RIGHT(**arguments))

    return gradients


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (changed(lambda W, b: (W,)), "must be 2, one for each of W, b; got 1"),
        (changed(lambda W, b: (W, b, b)), "must be 2, one for each of W, b; got 3"),
        (changed(lambda W, b: {"dW": W}), "no gradient for b"),
        (changed(lambda W, b: (W * np.nan, b)), "the gradient of W is NaN in 15 of 15 elements"),
        (changed(lambda W, b: (W / 0, b)), "the gradient of W is infinite"),
        (changed(lambda W, b: ("W", b)), "must be an array of real numbers; got str"),
        (changed(lambda W, b: None), "none were returned"),
        (changed(lambda W, b: (W + NOISE.normal(size=W.shape), b)), "returns other values when it is called again"),
        (raises, "raises raised RuntimeError: some reason"),
        (leaves, "leaves raised SystemExit"),
        (endless, "endless did not return within 0.3 s"),
    ],
)  # fmt: skip
def test_gradients_that_cannot_be_compared_are_refused(gradients: Any, message: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(DiagnosisError) as error:
        diagnose(SOFTMAX.cost, gradients, PROBLEM, time_limit=0.3)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (3, "must be a function or a model; got int"),
        (lambda X, Y, W, b, lam: 1.0, "must return a tensor"),
        (lambda X, Y, W, b, lam: W @ X + b, "must return one number; got an array of shape (3, 7)"),
        (lambda X, Y, W, b, lam: tg.sum(W * NOISE.normal()) + tg.sum(b), "is random"),
        (lambda X, Y, W, b, lam: tg.sum(W**2), "does not depend on b"),
        (lambda X, Y, W, b, lam: tg.sum(tg.Tensor(X)), "does not depend on any of the parameters"),
        (lambda X, Y, W, b, lam: tg.sum(tg.sqrt(-(W**2)) + tg.sum(b)), "is nan"),
        (raises, "cost raised RuntimeError"),
        (endless, "cost did not return within 0.3 s"),
    ],
)
def test_costs_that_cannot_be_differentiated_are_refused(cost: Any, message: str) -> None:
    with pytest.raises(DiagnosisError) as error:
        diagnose(cost, RIGHT, PROBLEM, time_limit=0.3)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_problem_without_parameters_is_refused() -> None:
    with pytest.raises(DiagnosisError, match="no argument is a parameter"):
        diagnose(SOFTMAX.cost, RIGHT, X=PROBLEM["X"])


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(DiagnosisError, match="wrt: Q is not an argument"):
        diagnose(SOFTMAX.cost, RIGHT, PROBLEM, wrt="Q")


def test_a_gradient_of_the_wrong_shape_is_reported() -> None:
    report = diagnose(SOFTMAX.cost, changed(lambda W, b: (W[:, :2], b)), PROBLEM)
    assert report.status == "not known"
    assert "W: the gradient must have the shape" in report.known[1]


def test_printed_text_is_kept_apart(capsys: pytest.CaptureFixture[str]) -> None:
    def gradients(**arguments: Any) -> Any:
        sys.stdout.write("loss 1.2")
        return RIGHT(**arguments)

    report = diagnose(SOFTMAX.cost, gradients, PROBLEM)
    assert capsys.readouterr().out == ""
    assert "loss 1.2" in report.notes[0]


def test_a_function_that_changes_its_arguments_is_noted() -> None:
    def gradients(X: Any, Y: Any, W: Any, b: Any, lam: Any) -> Any:
        result = RIGHT(X, Y, W, b, lam)
        W += 1
        return result

    before = PROBLEM["W"].copy()
    report = diagnose(SOFTMAX.cost, gradients, PROBLEM)
    assert report.status == "right"
    assert "changes its argument W" in report.notes[0]
    assert np.array_equal(PROBLEM["W"], before)
