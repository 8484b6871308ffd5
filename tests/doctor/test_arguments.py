"""Gradients of the cost with other arguments: biases that are forgotten in several layers, and shifted labels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import DEEP, SVM, Example
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("T = gamma[k] * Z + beta[k] -> T = gamma[k] * Z", "biases beta[0] and beta[1] are forgotten"),
        ("H = np.maximum(T, 0) * masks[k] -> masks = [1, 1]; H = np.maximum(T, 0)", (
            "factors masks[0] and masks[1] are forgotten"
        )),
    ],
)  # fmt: skip
def test_arguments_of_all_layers_that_are_forgotten_are_named_together(change: str, words: str) -> None:
    report = diagnose(DEEP.cost, DEEP.gradients(change), DEEP.problem)
    assert len(report.mistakes) == 1, str(report)
    assert words in report.sentences[0]


def test_biases_that_are_forgotten_in_all_hidden_layers_are_named() -> None:
    def cost(X: Any, t: Any, W: Any, b: Any) -> Any:
        H = X
        for k in range(2):
            H = tg.tanh(H @ W[k] + b[k])
        return tg.sum((H @ W[2] + b[2] - t) ** 2)

    def gradients(X: Any, t: Any, W: Any, b: Any) -> Any:
        H = [X]
        for k in range(2):
            H.append(np.tanh(H[k] @ W[k]))
        G = 2 * (H[2] @ W[2] + b[2] - t)
        dW, db = [H[2].T @ G], [G.sum(0)]
        for k in (1, 0):
            G = G @ W[k + 1].T * (1 - H[k + 1] ** 2)
            dW.insert(0, H[k].T @ G)
            db.insert(0, G.sum(0))
        return {"W": dW, "b": db}

    sizes = (4, 5, 3, 2)
    problem = {
        "X": rng.normal(size=(7, 4)),
        "t": rng.normal(size=(7, 2)),
        "W": [rng.normal(size=shape) for shape in pairwise(sizes)],
        "b": [rng.normal(size=n) for n in sizes[1:]],
    }
    assert "biases b[0] and b[1] are forgotten" in diagnose(cost, gradients, problem, wrt=("W", "b")).sentences[0]


REGRESSION = Example(
    lambda X, t, W: tg.sum((X @ W - t) ** 2),
    """
def gradients(X, t, W):
    return 2 * X.T @ (X @ W - t)
""",
    {"X": rng.normal(size=(7, 4)), "t": rng.normal(size=(7, 2)), "W": rng.normal(size=(4, 2))},
)


REGRESSION_WITH_BIAS = Example(
    lambda X, t, W, b: tg.sum((X @ W + b - t) ** 2),
    """
def gradients(X, t, W, b):
    G = 2 * (X @ W + b - t)
    return X.T @ G, G.sum(0)
""",
    REGRESSION.problem | {"b": rng.normal(size=2)},
)


@pytest.mark.parametrize("given", ["function", "arrays"])
@pytest.mark.parametrize(
    ("example", "change", "words"),
    [
        (SVM, "N = len(y) -> N = len(y); y = (y + 1) % W.shape[1]", "labels are shifted by one class where"),
        (SVM, "N = len(y) -> N = len(y); y = np.append(0, y[:-1])", "labels are shifted by one image where"),
        (REGRESSION, "X @ W - t -> X @ W - np.roll(t, 1, axis=0)", "where the gradient function uses t (off by one)"),
    ],
)
def test_labels_that_are_shifted_are_named(example: Example, change: str, words: str, given: str) -> None:
    gradients = example.gradients(change)
    report = diagnose(example.cost, gradients if given == "function" else gradients(**example.problem), example.problem)
    assert [mistake.kind for mistake in report.mistakes] == ["off_by_one"], str(report)
    assert words in report.sentences[0]


def test_labels_without_a_sign_can_be_shifted() -> None:
    problem = SVM.problem | {"y": SVM.problem["y"].astype(np.uint8)}
    gradients = SVM.gradients("N = len(y) -> N = len(y); y = (y.astype(int) - 1) % W.shape[1]")
    assert "shifted by one class where" in diagnose(SVM.cost, gradients, problem).sentences[0]
    unknown = [rng.normal(size=problem[name].shape) for name in ("W", "b")]
    assert diagnose(SVM.cost, unknown, problem).status == "not known"


def test_the_images_are_those_of_the_labels() -> None:
    """The number of features can be changed alone, too, since the cost takes some of them only."""

    def cost(X: Any, y: Any, W: Any) -> Any:
        P = tg.softmax(W @ X[np.array([0, 1, 3])], axis=0)
        return -tg.mean(tg.log(P[y, np.arange(len(y))]))

    def gradients(X: Any, y: Any, W: Any) -> Any:
        S = W @ X[[0, 1, 3]]
        P = np.exp(S) / np.exp(S).sum(0)
        return (P - np.eye(len(W))[:, y]) @ X[[0, 1, 3]].T

    problem = {"X": rng.normal(size=(5, 7)), "y": np.array([0, 1, 2, 1, 0, 2, 2]), "W": rng.normal(size=(3, 3))}
    assert diagnose(cost, gradients, problem).mistakes[0].kind == "missing_1/N"


def test_gradients_that_shifted_labels_leave_right_are_not_in_the_sentence() -> None:
    """The sum over the images is the same in another order."""
    report = diagnose(
        REGRESSION_WITH_BIAS.cost,
        REGRESSION_WITH_BIAS.gradients("- t -> - np.roll(t, 1, axis=0)"),
        REGRESSION_WITH_BIAS.problem,
    )
    assert report.mistakes[0].parameters == ("W",)
