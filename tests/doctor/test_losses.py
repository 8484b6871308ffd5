"""Mistakes in the derivatives of losses: weighted images, shifted labels, smoothed labels, squared errors, L2 terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import LABELS, SOFTMAX, Example, one_hot
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)
LINEAR = {"X": rng.normal(size=(7, 4)), "Y": one_hot(LABELS), "W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
WEIGHTS = {"c": rng.random(7) + 0.5}


def weighted_cost(X: Any, Y: Any, c: Any, W: Any, b: Any) -> Any:
    losses = -tg.sum(Y * tg.log(tg.softmax(X @ W + b, axis=1)), axis=1)
    return tg.sum(c * losses) / np.sum(c)


WEIGHTED = Example(
    weighted_cost,
    """
def gradients(X, Y, c, W, b):
    P = softmax(X @ W + b, 1)
    G = P - Y
    G = c[:, None] * G / c.sum()
    return X.T @ G, G.sum(0)
""",
    LINEAR | WEIGHTS,
)


def weighted_hinge_cost(X: Any, Y: Any, c: Any, W: Any, b: Any) -> Any:
    S = X @ W + b
    margins = tg.relu(S - tg.sum(S * Y, axis=1, keepdims=True) + 1) * (1 - Y)
    return tg.sum(c * tg.sum(margins, axis=1)) / len(X)


HINGE = Example(
    weighted_hinge_cost,
    """
def gradients(X, Y, c, W, b):
    S = X @ W + b
    A = (S - (S * Y).sum(1, keepdims=True) + 1 > 0) * (1 - Y)
    G = A - Y * A.sum(1, keepdims=True)
    G = c[:, None] * G / len(X)
    return X.T @ G, G.sum(0)
""",
    LINEAR | WEIGHTS,
)


@pytest.mark.parametrize(
    ("example", "change", "kind"),
    [
        (WEIGHTED, "G = P - Y -> G = P", "label_not_subtracted"),
        (WEIGHTED, "G = P - Y -> G = Y * (P - 1)", "softmax_diagonal"),
        (WEIGHTED, "P = softmax(X @ W + b, 1) -> P = np.exp(X @ W + b)", "softmax_unnormalised"),
        (WEIGHTED, "P = softmax(X @ W + b, 1) -> S = X @ W + b; P = np.exp(S - S.max())", "softmax_unnormalised"),
        (WEIGHTED, "P = softmax(X @ W + b, 1) -> P = softmax(-X @ W - b, 1)", "softmax_of_negative_scores"),
        (WEIGHTED, "G = P - Y -> G = P - np.roll(Y, 1, axis=0)", "off_by_one"),
        (HINGE, "Y * A.sum(1, keepdims=True) -> Y", "hinge_count"),
        (HINGE, "Y * A.sum(1, keepdims=True) -> Y * (A.sum(1, keepdims=True) + 1)", "hinge_own_class"),
        (HINGE, "    S = X @ W + b ->     S = X @ W + b; Y = np.roll(Y, 1, axis=0)", "off_by_one"),
    ],
)
def test_a_mistake_in_a_weighted_loss_is_named(example: Example, change: str, kind: str) -> None:
    report = diagnose(example.cost, example.gradients(change), example.problem)
    assert report.mistakes[0].kind == kind, str(report)


def test_a_weighted_mean_that_is_divided_by_the_number_of_images_is_named() -> None:
    report = diagnose(WEIGHTED.cost, WEIGHTED.gradients("/ c.sum() -> / len(X)"), WEIGHTED.problem)
    assert "sum(c)/N times" in report.sentences[0]


def test_weights_of_images_that_are_left_out_are_no_mask() -> None:
    report = diagnose(WEIGHTED.cost, WEIGHTED.gradients("c[:, None] * G -> G"), WEIGHTED.problem)
    assert "A factor is left out in the backward pass: c" in report.sentences[0]


def smoothed_cost(X: Any, Y: Any, W: Any, b: Any, e: Any) -> Any:
    T = (1 - e) * Y + e / Y.shape[1]
    return -tg.sum(T * tg.log(tg.softmax(X @ W + b, axis=1))) / len(X)


SMOOTHED = Example(
    smoothed_cost,
    """
def gradients(X, Y, W, b, e):
    P = softmax(X @ W + b, 1)
    T = (1 - e) * Y + e / Y.shape[1]
    G = (P - T) / len(X)
    return X.T @ G, G.sum(0)
""",
    LINEAR | {"e": 0.1},
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("P - T -> P - Y", "label smoothing is forgotten"),
        (" + e / Y.shape[1] -> ", "label smoothing is incomplete"),
        ("(1 - e) * Y -> Y", "label smoothing is incomplete"),
    ],
)
def test_label_smoothing_that_is_forgotten_is_named(change: str, words: str) -> None:
    assert words in diagnose(SMOOTHED.cost, SMOOTHED.gradients(change), SMOOTHED.problem).sentences[0]


SQUARES = {
    "e * e": lambda e: e * e,
    "e ** 2": lambda e: e**2,
    "square": tg.square,
}


@pytest.mark.parametrize("form", SQUARES)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("@ e -> @ (X @ w)", "t is left out in the derivative"),
        ("@ e -> @ (X @ w + t)", "t is added in the derivative"),
        ("2 * -> ", "1/2 times"),
        ("/ len(X) -> / np.sqrt(len(X))", "sqrt(N) times"),
    ],
)
def test_a_mistake_in_a_squared_error_is_named(form: str, change: str, words: str) -> None:
    def cost(X: Any, t: Any, w: Any) -> Any:
        e = X @ w - t
        return tg.sum(SQUARES[form](e)) / len(X)

    source = "\ndef gradients(X, t, w):\n    e = X @ w - t\n    return (2 * X.T @ e / len(X),)\n"
    example = Example(cost, source, {"X": rng.normal(size=(7, 4)), "t": rng.normal(size=7), "w": rng.normal(size=4)})
    report = diagnose(example.cost, example.gradients(change), example.problem)
    assert words in report.sentences[0], str(report)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("2 * lam * W -> lam * np.sign(W)", "it is lam * sign(W)"),
        ("2 * lam * W -> 2 * lam * np.abs(W)", "it is 2*lam * abs(W)"),
        ("2 * lam * W -> 2 * lam", "it is 2*lam * 1"),
    ],
)
def test_another_form_of_the_l2_term_is_named(change: str, words: str) -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients(change), SOFTMAX.problem)
    assert report.sentences[0].startswith("The L2 term has the wrong form in the gradient of W")
    assert words in report.sentences[0]


@pytest.mark.parametrize("change", ["G @ X.T -> G @ np.roll(X, 1, axis=1).T", "G @ X.T -> G[:, :-1] @ X[:, 1:].T"])
def test_images_that_are_shifted_against_their_gradients_are_named(change: str) -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients(change), SOFTMAX.problem)
    assert report.sentences[0].startswith("The images of X are shifted by one"), str(report)


def squared_hinge_cost(X: Any, Y: Any, W: Any, b: Any) -> Any:
    S = X @ W + b
    margins = tg.relu(S - tg.sum(S * Y, axis=1, keepdims=True) + 1) * (1 - Y)
    return tg.sum(margins**2) / len(X)


SQUARED_HINGE = Example(
    squared_hinge_cost,
    """
def gradients(X, Y, W, b):
    S = X @ W + b
    A = 2 * np.maximum(S - (S * Y).sum(1, keepdims=True) + 1, 0) * (1 - Y)
    G = (A - Y * A.sum(1, keepdims=True)) / len(X)
    return X.T @ G, G.sum(0)
""",
    LINEAR,
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("A - Y * -> A + Y * ", "own class has the wrong sign"),
        ("(A - Y * A.sum(1, keepdims=True)) -> A", "sum(S * Y) is taken for a constant"),
        ("    S = X @ W + b ->     S = X @ W + b; Y = np.roll(Y, 1, axis=0)", "labels are shifted by one image"),
    ],
)
def test_a_mistake_in_a_squared_hinge_loss_is_named(change: str, words: str) -> None:
    report = diagnose(SQUARED_HINGE.cost, SQUARED_HINGE.gradients(change), SQUARED_HINGE.problem)
    assert report.status == "wrong", str(report)
    assert words in report.sentences[0]


def test_a_hinge_loss_that_stacks_one_class_after_the_other_is_explained() -> None:
    def cost(X: Any, y: Any, W: Any, lam: Any) -> Any:
        S = X @ W
        own = S[np.arange(len(y)), y]
        gaps = tg.stack([tg.relu(S[:, c] - own + 1) * (y != c) for c in range(S.shape[1])])
        return tg.sum(gaps) / len(y) + lam * tg.sum(W**2)

    source = """
def gradients(X, y, W, lam):
    S = X @ W
    A = (S - S[np.arange(len(y)), y][:, None] + 1 > 0) & (np.arange(W.shape[1]) != y[:, None])
    G = (A - np.eye(W.shape[1])[y] * A.sum(1, keepdims=True)) / len(X)
    return (X.T @ G + 2 * lam * W,)
"""
    problem = {"X": rng.normal(size=(7, 4)), "y": np.array([0, 1, 2, 1, 0, 2, 2]), "W": rng.normal(size=(4, 3))}
    example = Example(cost, source, problem | {"lam": 0.1})
    report = diagnose(example.cost, example.gradients("2 * lam -> lam"), example.problem)
    assert "1/2 times what it should be" in report.sentences[0], str(report)
