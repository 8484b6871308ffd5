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


@pytest.mark.parametrize("wrt", [3, [PROBLEM["W"]], PROBLEM["W"]])
def test_parameters_that_are_not_named_by_a_string_are_refused(wrt: Any) -> None:
    with pytest.raises(DiagnosisError, match="wrt: must be names of arguments"):
        diagnose(SOFTMAX.cost, RIGHT, PROBLEM, wrt=wrt)


def test_the_time_may_be_unlimited() -> None:
    assert diagnose(SOFTMAX.cost, RIGHT, PROBLEM, time_limit=float("inf")).status == "right"


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


def test_a_new_key_of_an_argument_is_no_change_of_another() -> None:
    def cost(network: Any, X: Any, lam: Any) -> Any:
        return tg.sum((X @ network["W"]) ** 2) + lam * tg.sum(network["W"] ** 2)

    def gradients(network: Any, X: Any, lam: Any) -> Any:
        network["A"] = X @ network["W"]
        return (2 * X.T @ network["A"] + 2 * lam * network["W"],)

    X, W = NOISE.normal(size=(6, 3)), NOISE.normal(size=(3, 2))
    report = diagnose(cost, gradients, {"network": {"W": W}, "X": X, "lam": 0.1}, wrt="network['W']")
    assert (report.status, report.notes) == ("right", ())


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


def two_layers(X: Any, Y: Any, W1: Any, b1: Any, W2: Any, b2: Any, lam: Any = 0.0) -> Any:
    return tg.sum((W2 @ tg.relu(W1 @ X + b1) + b2 - Y) ** 2) + lam * tg.sum(W1**2)


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (["b2"], "cost: takes b2, which is not among the arguments X, Y, W1, b1, W2, lam; pass it, too"),
        (["b2", "lam"], "cost: takes b2, which is not among the arguments X, Y, W1, b1, W2; pass it, too"),
        (["X", "b1"], "cost: takes X, b1, which are not among the arguments Y, W1, W2, b2, lam; pass them, too"),
    ],
)
def test_an_argument_of_the_cost_that_is_left_out_is_named(left_out: list[str], message: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"X": (5, 7), "Y": (3, 7), "W1": (4, 5), "b1": (4, 1), "W2": (3, 4), "b2": (3, 1)}
    problem = {**{name: rng.normal(size=shape) for name, shape in shapes.items()}, "lam": 0.1}
    with pytest.raises(DiagnosisError) as error:
        diagnose(two_layers, RIGHT, {name: x for name, x in problem.items() if name not in left_out})
    assert str(error.value) == message


def test_an_argument_of_the_gradients_that_is_left_out_is_named() -> None:
    with pytest.raises(DiagnosisError) as error:
        diagnose(SOFTMAX.cost, lambda X, Y, P, W, lam: (W, P), PROBLEM)
    assert "takes P, which is not among the arguments X, Y, W, b, lam" in str(error.value)


def test_arguments_under_other_names_are_passed_in_their_order() -> None:
    def gradients(X: Any, T: Any, W: Any, b: Any, reg: Any) -> Any:
        return RIGHT(X, T, W, b, reg)

    assert diagnose(SOFTMAX.cost, gradients, PROBLEM).status == "right"


def test_the_recognition_of_parameters_is_explained_if_the_number_of_gradients_is_wrong() -> None:
    def cost(X: Any, A: Any, B: Any) -> Any:
        return tg.sum((B @ (A @ X)) ** 2)

    A, B = NOISE.normal(size=(4, 5)), NOISE.normal(size=(3, 4))
    with pytest.raises(DiagnosisError) as error:
        diagnose(cost, lambda X, A, B: (A, B), X=PROBLEM["X"], A=A, B=B)
    assert (
        "arrays with names such as W1, b and gamma, not X, A; if that is wrong, name all parameters with wrt="
        in str(error.value)
    )


def test_the_recognition_of_parameters_is_not_explained_if_they_are_named() -> None:
    with pytest.raises(DiagnosisError) as error:
        diagnose(SOFTMAX.cost, changed(lambda W, b: (W,)), PROBLEM, wrt=["W", "b"])
    assert "wrt=" not in str(error.value)


@pytest.mark.parametrize("is_function", [True, False])
def test_a_gradient_by_name_of_an_argument_that_is_not_a_parameter_is_noted(is_function: bool) -> None:
    def cost(X: Any, A: Any, B: Any) -> Any:
        return tg.sum((B @ (A @ X)) ** 2)

    def gradients(X: Any, A: Any, B: Any) -> Any:
        G = 2 * B @ A @ X
        return {"dA": B.T @ G @ X.T, "dB": G @ (A @ X).T}

    problem = {"X": PROBLEM["X"], "A": NOISE.normal(size=(4, 5)), "B": NOISE.normal(size=(3, 4))}
    report = diagnose(cost, gradients if is_function else gradients(**problem), problem)
    (note,) = [note for note in report.notes if "wrt=" in note]
    assert note.startswith("the gradient of A is not compared, since A is not taken for a parameter")
