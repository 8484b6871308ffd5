"""Mistakes in the forward pass of the gradient function, with derivatives that fit the cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import DEEP, TWO_LAYERS, Example
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)
LAYERS = {
    "X": rng.normal(size=(7, 4)),
    "Y": np.eye(3)[[0, 1, 2, 1, 0, 2, 2]],
    "W1": rng.normal(size=(4, 5)),
    "b1": rng.normal(size=5),
    "W2": rng.normal(size=(5, 3)),
    "b2": rng.normal(size=3),
}


def dropout_cost(X: Any, Y: Any, M: Any, W1: Any, b1: Any, W2: Any, b2: Any, keep: Any) -> Any:
    H = tg.relu(X @ W1 + b1)
    D = H * M / keep
    P = tg.softmax(D @ W2 + b2, axis=1)
    return -tg.sum(Y * tg.log(P)) / len(X)


DROPOUT = Example(
    dropout_cost,
    """
def gradients(X, Y, M, W1, b1, W2, b2, keep):
    A = X @ W1 + b1
    H = np.maximum(A, 0)
    D = H * M / keep
    P = softmax(D @ W2 + b2, 1)
    G = (P - Y) / len(X)
    dH = G @ W2.T * M / keep
    dA = dH * (A > 0)
    return X.T @ dA, dA.sum(0), D.T @ G, G.sum(0)
""",
    LAYERS | {"M": (rng.random((7, 5)) < 0.6) * 1.0, "keep": 0.6},
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("D = H * M / keep -> D = H", "D lacks the dropout mask and its scale, 1 / keep"),
        ("D = H * M / keep -> D = H / keep", "H * M lacks the dropout mask M"),
        ("D = H * M / keep -> D = H * M", "D is not divided by keep"),
        ("D = H * M / keep -> D = H * M * keep", "D is multiplied by keep, not divided by it"),
        ("D = H * M / keep -> D = H * (1 - M) / keep", "inverted dropout mask, M == 0"),
        ("H = np.maximum(A, 0) -> H = A", "H lacks the activation"),
        ("H = np.maximum(A, 0) -> H = np.tanh(A)", "H is that of another function, tanh"),
    ],
)
def test_another_forward_pass_with_dropout_is_named(change: str, words: str) -> None:
    report = diagnose(DROPOUT.cost, DROPOUT.gradients(change), DROPOUT.problem)
    assert report.sentences[0].startswith("In the forward pass of the gradient function"), str(report)
    assert words in report.sentences[0]


def test_a_mask_that_is_inverted_in_both_passes_is_named_in_both() -> None:
    wrong = DROPOUT.gradients("A = X @ W1 + b1 -> M = 1 - M; A = X @ W1 + b1")
    kinds = [mistake.kind for mistake in diagnose(DROPOUT.cost, wrong, DROPOUT.problem).mistakes]
    assert sorted(kinds) == ["forward_pass", "mask_inverted"]


def normalised_cost(X: Any, Y: Any, W1: Any, b1: Any, gamma: Any, beta: Any, W2: Any, b2: Any) -> Any:
    S = X @ W1 + b1
    mu = tg.mean(S, axis=0)
    var = tg.mean((S - mu) ** 2, axis=0)
    Z = (S - mu) / tg.sqrt(var + 1e-6)
    H = tg.relu(gamma * Z + beta)
    return -tg.sum(Y * tg.log(tg.softmax(H @ W2 + b2, axis=1))) / len(X)


NORMALISED = Example(
    normalised_cost,
    """
def gradients(X, Y, W1, b1, gamma, beta, W2, b2):
    S = X @ W1 + b1
    var = S.var(0)
    deviation = np.sqrt(var + 1e-6)
    Z = (S - S.mean(0)) / deviation
    T = gamma * Z + beta
    H = np.maximum(T, 0)
    G = (softmax(H @ W2 + b2, 1) - Y) / len(X)
    dW2, db2 = H.T @ G, G.sum(0)
    G = G @ W2.T * (T > 0)
    dgamma, dbeta = (G * Z).sum(0), G.sum(0)
    G = G * gamma
    G = (G - G.mean(0) - Z * (G * Z).mean(0)) / deviation
    return {"W1": X.T @ G, "b1": G.sum(0), "gamma": dgamma, "beta": dbeta, "W2": dW2, "b2": db2}
""",
    LAYERS | {"gamma": 1 + 0.3 * rng.normal(size=5), "beta": 0.3 * rng.normal(size=5)},
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("np.sqrt(var + 1e-6) -> var + 1e-6", "the root is not taken"),
        ("S.var(0) -> S.var(0, ddof=1)", "var is divided by (N - 1), not by N (ddof=1)"),
        ("T = gamma * Z + beta -> T = Z + beta", "lacks the factor gamma"),
    ],
)
def test_another_forward_pass_with_batch_normalisation_is_named(change: str, words: str) -> None:
    report = diagnose(NORMALISED.cost, NORMALISED.gradients(change), NORMALISED.problem)
    assert report.sentences[0].startswith("In the forward pass of the gradient function"), str(report)
    assert words in report.sentences[0]


def test_the_division_by_the_deviation_that_is_left_out_in_the_backward_pass_is_named() -> None:
    wrong = NORMALISED.gradients("(G * Z).mean(0)) / deviation -> (G * Z).mean(0))")
    report = diagnose(NORMALISED.cost, wrong, NORMALISED.problem)
    assert "the division by it is left out" in report.sentences[0], str(report)


def test_another_forward_pass_that_no_change_reproduces_is_not_known() -> None:
    wrong = DROPOUT.gradients("H = np.maximum(A, 0) -> H = np.maximum(A, 0) + np.cos(A)")
    assert diagnose(DROPOUT.cost, wrong, DROPOUT.problem).status == "not known"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["T = gamma[k] * Z + beta[k] -> T = Z + beta[k]"], "lacks the factor gamma[0] (and so in other places)"),
        (["np.sqrt(S.var(0) + 1e-9) -> np.sqrt(S.var(0, ddof=1) + 1e-9)"], "(ddof=1) (and so in other places)"),
        (["np.sqrt(S.var(0) + 1e-9) -> S.var(0) + 1e-9"], "the root is not taken"),
        (
            [
                "T = gamma[k] * Z + beta[k] -> T = gamma[k] * S / deviation + beta[k]",
                "(G * Z).sum(0) -> (G * S / deviation).sum(0)",
            ],
            "is computed without the mean, which is not subtracted (and so in other places)",
        ),
    ],
)
def test_another_forward_pass_in_all_layers_is_named(changes: list[str], words: str) -> None:
    report = diagnose(DEEP.cost, DEEP.gradients(*changes), DEEP.problem)
    assert words in report.sentences[0], str(report)


def test_another_activation_with_the_right_mask_is_named() -> None:
    wrong = TWO_LAYERS.gradients("H = np.maximum(A, 0) -> H = 1 / (1 + np.exp(-A))")
    report = diagnose(TWO_LAYERS.cost, wrong, TWO_LAYERS.problem)
    assert "H is that of another function, sigmoid" in report.sentences[0], str(report)
