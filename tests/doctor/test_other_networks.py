"""Mistakes in networks beside those of the course: a sigmoid with two classes, a convolution in loops, max-pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import Example
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)


def binary_cost(X: Any, t: Any, W1: Any, b1: Any, w2: Any, b2: Any, lam: Any) -> Any:
    H = tg.tanh(X @ W1 + b1)
    z = H @ w2 + b2
    p = tg.sigmoid(z)
    return -tg.mean(t * tg.log(p) + (1 - t) * tg.log(1 - p)) + lam * (tg.sum(W1**2) + tg.sum(w2**2))


BINARY = Example(
    binary_cost,
    """
def gradients(X, t, W1, b1, w2, b2, lam):
    H = np.tanh(X @ W1 + b1)
    z = H @ w2 + b2
    p = 1 / (1 + np.exp(-z))
    g = p - t
    g = g / len(X)
    dA = np.outer(g, w2) * (1 - H**2)
    return X.T @ dA + 2 * lam * W1, dA.sum(0), H.T @ g + 2 * lam * w2, g.sum()
""",
    {
        "X": rng.normal(size=(8, 4)),
        "t": np.array([0.0, 1, 1, 0, 1, 0, 0, 1]),
        "W1": rng.normal(size=(4, 3)),
        "b1": rng.normal(size=3),
        "w2": rng.normal(size=3),
        "b2": np.array(0.3),
        "lam": 0.1,
    },
)


def convolution_cost(X: Any, F: Any, w: Any, y: Any) -> Any:
    n, height, width = X.shape
    filters, k, _ = F.shape
    scores = []
    for i in range(height - k + 1):
        for j in range(width - k + 1):
            patches = tg.reshape(X[:, i : i + k, j : j + k], (n, k * k))
            scores.append(patches @ tg.reshape(F, (filters, k * k)).T)
    H = tg.relu(tg.stack(scores, axis=1))
    M = tg.max(H, axis=1)
    return tg.sum((M @ w - y) ** 2) / n + 0.1 * tg.sum(F**2)


CONVOLUTION = Example(
    convolution_cost,
    """
def gradients(X, F, w, y):
    n, height, width = X.shape
    filters, k, _ = F.shape
    places = [(i, j) for i in range(height - k + 1) for j in range(width - k + 1)]
    S = np.zeros((n, len(places), filters))
    for p, (i, j) in enumerate(places):
        for f in range(filters):
            S[:, p, f] = (X[:, i:i + k, j:j + k] * F[f]).sum((1, 2))
    H = np.maximum(S, 0)
    M = H.max(1)
    g = 2 * (M @ w - y) / n
    largest = (H == M[:, None]) * 1.0
    largest = largest / largest.sum(1, keepdims=True)
    dS = largest * np.outer(g, w)[:, None] * (S > 0)
    dF = np.zeros(F.shape)
    for p, (i, j) in enumerate(places):
        for f in range(filters):
            dF[f] += (dS[:, p, f, None, None] * X[:, i:i + k, j:j + k]).sum(0)
    dF = dF + 0.2 * F
    return dF, M.T @ g
""",
    {
        "X": rng.normal(size=(5, 4, 4)),
        "F": rng.normal(size=(2, 2, 2)),
        "w": rng.normal(size=2),
        "y": rng.normal(size=5),
    },
)
TIES = {**CONVOLUTION.problem, "X": np.ones((5, 4, 4)) * rng.normal(size=(5, 1, 1)), "F": np.ones((2, 2, 2))}

PARAMETERS = {id(BINARY): ("W1", "b1", "w2", "b2"), id(CONVOLUTION): ("F", "w")}
MISTAKES = [
    (BINARY, "    g = g / len(X) -> ", "missing_1/N", "N times"),
    (BINARY, "g = p - t -> g = t - p", "sign", "sign is wrong"),
    (BINARY, "g = p - t -> g = p", "label_not_subtracted", "label is not subtracted"),
    (BINARY, "g = p - t -> g = -t", "probability_forgotten", "probability is forgotten"),
    (BINARY, "g = p - t -> g = z - t", "scores_for_probabilities", "z stands where its sigmoid"),
    (BINARY, "g = p - t -> g = (p > 0.5) - t", "decision_for_probability", "predicted label"),
    (BINARY, "g = p - t -> g = -t / p", "sigmoid_left_out", "derivative of the sigmoid"),
    (BINARY, "g.sum() -> g.mean()", "mean_for_sum", "mean over the images"),
    (BINARY, "* (1 - H**2) -> ", "derivative_left_out", "tanh"),
    (CONVOLUTION, "+ 0.2 * F -> + 0.1 * F", "l2_factor", "L2 term"),
    (CONVOLUTION, "dF = dF + 0.2 -> dF = dF[:, ::-1, ::-1] + 0.2", "flipped", "reversed"),
    (CONVOLUTION, "dF = dF + 0.2 -> dF = dF.transpose(0, 2, 1) + 0.2", "axes_swapped", "swapped"),
    (CONVOLUTION, "dS = largest * -> dS = ", "derivative_left_out", "goes to all elements"),
    (CONVOLUTION, "dF[f] += -> dF[f] =", "overwritten", "only the last use"),
    (CONVOLUTION, "(M @ w - y) / n -> (M @ w - y)", "missing_1/N", "N times"),
]


@pytest.mark.parametrize(("example", "title"), [(BINARY, "binary"), (CONVOLUTION, "convolution")])
def test_right_gradients_are_right(example: Example, title: str) -> None:
    report = diagnose(example.cost, example.gradients(), example.problem, wrt=PARAMETERS[id(example)])
    assert report.status == "right", f"{title}: {report}"


@pytest.mark.parametrize(("example", "change", "kind", "words"), MISTAKES, ids=[case[1].strip() for case in MISTAKES])
def test_a_mistake_is_named_by_the_first_sentence(example: Example, change: str, kind: str, words: str) -> None:
    report = diagnose(example.cost, example.gradients(change), example.problem, wrt=PARAMETERS[id(example)])
    assert (report.status, report.mistakes[0].kind) == ("wrong", kind), str(report)
    assert words in report.sentences[0]


def test_ties_of_a_maximum_that_are_counted_several_times_are_named() -> None:
    wrong = CONVOLUTION.gradients("    largest = largest / largest.sum(1, keepdims=True) -> ")
    report = diagnose(CONVOLUTION.cost, wrong(**TIES), TIES, wrt=("F", "w"))
    assert [mistake.kind for mistake in report.mistakes] == ["ties"], str(report)


def test_ties_of_a_maximum_may_be_shared() -> None:
    report = diagnose(CONVOLUTION.cost, CONVOLUTION.gradients()(**TIES), TIES, wrt=("F", "w"))
    assert report.status == "right", str(report)
