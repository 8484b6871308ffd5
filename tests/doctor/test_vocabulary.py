"""Mistakes in one step of a gradient function, each with the words that name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import DEEP, SOFTMAX, SVM, TWO_LAYERS, Example
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)

MARGINS = Example(
    lambda X, y, W: tg.mean(tg.sum(_margins(X @ W, y), axis=1)),
    """
def gradients(X, y, W):
    rows, S = np.arange(len(y)), X @ W
    M = np.maximum(S - S[rows, y][:, None] + 1, 0)
    M[rows, y] = 0
    G = (M > 0) * 1.0
    G[rows, y] = -G.sum(1)
    G = G / len(y)
    return X.T @ G
""",
    {"X": rng.normal(size=(7, 5)), "y": np.array([0, 1, 2, 1, 0, 2, 2]), "W": rng.normal(size=(5, 3))},
)


def _margins(S: Any, y: Any) -> Any:
    margins = tg.maximum(S - tg.reshape(S[np.arange(len(y)), y], (-1, 1)) + 1, 0)
    return margins * (np.arange(S.shape[1]) != y[:, None])


LOGISTIC = Example(
    lambda X, t, w: -tg.mean(t * tg.log(tg.sigmoid(X @ w)) + (1 - t) * tg.log(1 - tg.sigmoid(X @ w))),
    """
def gradients(X, t, w):
    p = 1 / (1 + np.exp(-X @ w))
    return X.T @ ((p - t) / len(t))
""",
    {"X": rng.normal(size=(8, 4)), "t": np.array([0.0, 1, 1, 0, 1, 0, 0, 1]), "w": rng.normal(size=4)},
)

SQUARES = Example(
    lambda X, t, w: tg.mean((X @ w - t) ** 2),
    """
def gradients(X, t, w):
    e = X @ w - t
    return 2 * X.T @ e / len(t)
""",
    {"X": rng.normal(size=(8, 4)), "t": rng.normal(size=8), "w": rng.normal(size=4)},
)

EINSUM = Example(
    lambda X, K, V: tg.sum(tg.tanh(tg.einsum("nij,ijk->nk", tg.tanh(tg.einsum("naf,fk->nak", X, K)), V))),
    """
def gradients(X, K, V):
    A = np.einsum("naf,fk->nak", X, K)
    H = np.tanh(A)
    G = 1 - np.tanh(np.einsum("nij,ijk->nk", H, V)) ** 2
    dV = np.einsum("nij,nk->ijk", H, G)
    G = np.einsum("nk,ijk->nij", G, V)
    G = G * (1 - H**2)
    return np.einsum("naf,nak->fk", X, G), dV
""",
    {"X": rng.normal(size=(6, 4, 5)), "K": 0.3 * rng.normal(size=(5, 3)), "V": 0.3 * rng.normal(size=(4, 3, 2))},
)

TIED = Example(
    lambda X, W, c, e: tg.sum((tg.tanh(X @ W + c) @ W.T + e - X) ** 2),
    """
def gradients(X, W, c, e):
    H = np.tanh(X @ W + c)
    G = 2 * (H @ W.T + e - X)
    decoder, de = G.T @ H, G.sum(0)
    G = G @ W * (1 - H**2)
    encoder, dc = X.T @ G, G.sum(0)
    return encoder + decoder, dc, de
""",
    {
        "X": rng.normal(size=(7, 4)),
        "W": 0.4 * rng.normal(size=(4, 3)),
        "c": rng.normal(size=3),
        "e": rng.normal(size=4),
    },
)

PATCHES = Example(
    lambda X, F, f: tg.sum(tg.tanh(tg.matmul(X, F) + f)),
    """
def gradients(X, F, f):
    G = 1 - np.tanh(X @ F + f) ** 2
    df = G.sum(axis=(0, 1))
    return np.tensordot(X, G, axes=((0, 1), (0, 1))), df
""",
    {"X": rng.normal(size=(6, 4, 5)), "F": 0.3 * rng.normal(size=(5, 3)), "f": rng.normal(size=3)},
)

DROPOUT_BY_WHERE = Example(
    lambda X, M, W, v: tg.sum(tg.where(M, tg.sigmoid(X @ W), 0.0) @ v),
    """
def gradients(X, M, W, v):
    H = 1 / (1 + np.exp(-X @ W))
    G = np.tile(v, (len(X), 1))
    G = G * M
    return X.T @ (G * H * (1 - H)), (H * M).sum(0)
""",
    {
        "X": rng.normal(size=(7, 4)),
        "M": rng.random((7, 3)) < 0.6,
        "W": rng.normal(size=(4, 3)),
        "v": rng.normal(size=3),
    },
)

SCALED = Example(
    lambda X, W, gamma: tg.sum(tg.tanh(gamma * (X @ W))),
    """
def gradients(X, W, gamma):
    A = X @ W
    G = 1 - np.tanh(gamma * A) ** 2
    return X.T @ (G * gamma), (G * A).sum(0)
""",
    {"X": rng.normal(size=(6, 4)), "W": rng.normal(size=(4, 3)), "gamma": rng.normal(size=3)},
)

MISTAKES = [
    # the derivative of the loss
    (SOFTMAX, "G = P - Y -> G = P * (1 - Y) - Y", "The own class is wrong"),
    (SOFTMAX, "G = P - Y -> G = P * (1 - Y) + Y * (1 - P)", "The own class is wrong"),
    (SOFTMAX, "G = P - Y -> G = S", "the scores W @ X + b stand where their gradient belongs"),
    (SOFTMAX, "G = P - Y -> G = P - Y; G[-1] = 0", "The last class is left out"),
    (SOFTMAX, "P = softmax(S, 0) -> P = np.exp(S) / np.exp(S - S.max(0)).sum(0)", "subtracted in only one of"),
    (SOFTMAX, "P = softmax(S, 0) -> P = np.exp(S - S.max()) / np.exp(S).sum(0)", "subtracted in only one of"),
    (SOFTMAX, "P = softmax(S, 0) -> E = np.exp(S - S.max(0)); P = E / E.sum(1)[:, None]", "along the wrong axis"),
    (SVM, "    G[rows, y] = 0 ->     G[rows, y] = 0; G[:, 0] = 0", "The first class is left out"),
    (MARGINS, "    M[rows, y] = 0 ->     M = M * (M > 1); M[rows, y] = 0", "The margin is forgotten"),
    (MARGINS, "    M[rows, y] = 0 ->     M = M * (M > 2); M[rows, y] = 0", "The sign of the margin is wrong"),
    (MARGINS, "    G = G / len(y) ->     G = M / len(y)", "margins stand where the gradient of the scores belongs"),
    (LOGISTIC, "(p - t) -> (-t * (1 - p))", "one of its two terms is left out, that of the label 0"),
    (LOGISTIC, "(p - t) -> ((1 - t) * p)", "one of its two terms is left out, that of the label 1"),
    (SQUARES, "    e = X @ w - t ->     e = np.sign(X @ w - t)", "2 * sign("),
    (SQUARES, "    e = X @ w - t ->     e = (X @ w - t) ** 2", "factor 2 * (X @ w - t)**2"),
    # derivatives of layers
    (TWO_LAYERS, "dA = dH * (A > 0) -> dA = (A > 0) * 1.0", "The gradient from above is forgotten at H"),
    (TWO_LAYERS, "2 * lam * W2 -> 2 * lam * W2.sum()", "The L2 term has the wrong form in the gradient of W2"),
    (DROPOUT_BY_WHERE, "    G = G * M -> ", "The dropout mask M is not applied"),
    (DEEP, "(G - G.mean(0) - Z * (G * Z).mean(0)) / deviation -> G", "The derivative of the normalisation of S"),
    (DEEP, "Z * (G * Z).mean(0)) / -> Z * (G * Z).mean(0) * deviation) / ", "through the variance is multiplied"),
    (SCALED, "(G * A).sum(0) -> (G * A).sum(1)", "summed along the wrong axis, 1"),
    # products and sums
    (EINSUM, '"nij,nk->ijk", H, G -> "nij,nk->ijk", A, G', "einsum(X) stands where tanh(einsum(X)) belongs"),
    (EINSUM, '"nk,ijk->nij", G, V -> "nk,ijk->nij", G, V - 0.1 * dV', "V is updated before"),
    (SOFTMAX, "dW = G @ X.T -> dW = P @ X.T / N", "the value P stands where the gradient"),
    (SOFTMAX, "dW = G @ X.T -> dW = W @ X @ X.T", "the value W @ X stands where the gradient"),
    (TIED, "dc = X.T @ G, G.sum(0) -> dc = X.T @ G, (X.T @ G).sum(0)", "c is computed from that of W"),
    (TIED, "de = G.T @ H, G.sum(0) -> de = G.T @ H, (G.T @ H).sum(1)", "e is computed from that of W"),
    (PATCHES, "G.sum(axis=(0, 1)) -> G.sum(axis=1)", "is not summed over all axes"),
]


@pytest.mark.parametrize(("example", "change", "words"), MISTAKES)
def test_a_mistake_is_named(example: Example, change: str, words: str) -> None:
    parameters = [name for name in example.problem if name not in ("X", "Y", "y", "t", "M", "masks", "lam")]
    report = diagnose(example.cost, example.gradients(change), example.problem, wrt=parameters)
    assert len(report.mistakes) == 1, str(report)
    assert words in report.sentences[0]


@pytest.mark.parametrize(
    "example", [MARGINS, LOGISTIC, SQUARES, EINSUM, TIED, PATCHES, DROPOUT_BY_WHERE], ids=lambda e: e.source[:60]
)
def test_the_right_gradients_are_right(example: Example) -> None:
    parameters = [name for name in example.problem if name not in ("X", "y", "t", "M")]
    assert diagnose(example.cost, example.gradients(), example.problem, wrt=parameters).status == "right"


def test_gradients_that_are_exchanged_by_name_are_a_mistake() -> None:
    wrong = DEEP.gradients('"gamma": dgamma, "beta": dbeta -> "gamma": dbeta, "beta": dgamma')
    report = diagnose(DEEP.cost, wrong, DEEP.problem)
    assert report.status == "wrong"
    assert "The gradient of gamma[" in " ".join(report.sentences)


def test_a_factor_of_all_gradients_is_one_mistake_beside_a_transposed_one() -> None:
    wrong = SVM.gradients("return X.T @ G -> G = G / N; return (X.T @ G", "* W, G.sum(0) -> * W).T, G.sum(0)")
    report = diagnose(SVM.cost, wrong, SVM.problem)
    assert "The factor 1/N is taken twice in the gradient of the loss" in " ".join(report.sentences), str(report)


def test_a_sign_is_said_of_gradients_of_another_shape_too() -> None:
    wrong = TWO_LAYERS.gradients("return dW1, db1, dW2, db2 -> return -dW1, -db1, -dW2, -G")
    report = diagnose(TWO_LAYERS.cost, wrong, TWO_LAYERS.problem)
    assert "The sign is wrong in the gradient of the loss" in report.sentences[0]
    assert report.mistakes[0].parameters == ("W1", "b1", "W2", "b2")


@pytest.mark.parametrize("make", [
    lambda rows: rows / rows.sum(1, keepdims=True),  # probabilities
    lambda rows: (rows == rows.max(1, keepdims=True)) * 1.0,
    lambda rows: rows.round(1) / rows.round(1).sum(1, keepdims=True),
])  # fmt: skip
def test_labels_that_sum_to_one_stay_so_in_drawn_problems(make: Callable[[Any], Any]) -> None:
    def cost(X: Any, T: Any, W: Any) -> Any:
        return -tg.sum(T * tg.log(tg.softmax(X @ W))) / len(X)

    def gradients(X: Any, T: Any, W: Any) -> Any:
        P = np.exp(X @ W)
        return X.T @ (P / P.sum(1, keepdims=True) - T) / len(X)

    report = diagnose(cost, gradients, X=rng.normal(size=(6, 5)), T=make(rng.random((6, 3))), W=rng.normal(size=(5, 3)))
    assert (report.status, report.notes) == ("right", ())


def test_one_hot_labels_with_a_third_axis_stay_one_hot() -> None:
    def cost(X: Any, Y: Any, W: Any) -> Any:
        return -sum(tg.sum(Y[t] * tg.log(tg.softmax(W @ X[t], axis=0))) for t in range(4))

    def gradients(X: Any, Y: Any, W: Any) -> Any:
        P = np.exp(W @ X)
        return np.einsum("tkn,tdn->kd", P / P.sum(1, keepdims=True) - Y, X)

    problem = {"X": rng.normal(size=(4, 5, 1)), "Y": np.eye(4)[[1, 0, 3, 2]][:, :, None], "W": rng.normal(size=(4, 5))}
    assert diagnose(cost, gradients, problem, wrt="W").status == "right"


def test_a_property_of_the_data_that_drawn_data_lack_is_no_mistake() -> None:
    """The rows have norm 1."""

    def cost(X: Any, w: Any) -> Any:
        return tg.sum(tg.exp(w) * tg.sum(tg.mean(X * X, axis=0)))

    def gradients(w: Any) -> Any:
        return np.exp(w)

    rows = rng.normal(size=(6, 3))
    report = diagnose(cost, gradients, X=rows / np.linalg.norm(rows, axis=1)[:, None], w=rng.normal(size=4))
    assert report.status == "right", str(report)
    assert "right for the given data, but not for drawn data" in report.notes[0]


@pytest.mark.parametrize(("part", "words"), [("[:-1]", "lacks the last"), ("[:1]", "that of the first")])
def test_a_patch_that_is_left_out_is_named_where_the_filters_are_transposed(part: str, words: str) -> None:
    def cost(X: Any, F: Any) -> Any:
        return tg.sum(tg.tanh(F.T @ X)) + tg.sum(F**2)

    wrong = Example(
        cost,
        f"""
def gradients(X, F):
    G = 1 - np.tanh(F.T @ X) ** 2
    return np.einsum("ijn,iln->jl", X{part}, G{part}) + 2 * F
""",
        {"X": rng.normal(size=(4, 5, 6)), "F": 0.3 * rng.normal(size=(5, 3))},
    )
    report = diagnose(cost, wrong.gradients(), wrong.problem)
    assert words in report.sentences[0], str(report)
    assert "gradient of F " in report.sentences[0]


def test_indices_beside_labels_are_not_taken_for_labels() -> None:
    def cost(E: Any, ids: Any, W: Any, y: Any) -> Any:
        S = tg.mean(E[ids], axis=1) @ W
        return tg.mean(tg.logsumexp(S, axis=1) - S[np.arange(len(y)), y])

    def gradients(E: Any, ids: Any, W: Any, y: Any) -> Any:
        h = E[ids].mean(1)
        G = np.exp(h @ W) / np.exp(h @ W).sum(1, keepdims=True) - np.eye(W.shape[1])[y]
        dE = np.zeros(E.shape)
        np.add.at(dE, ids, (G @ W.T / ids.shape[1])[:, None])
        return dE, h.T @ G

    problem = {"E": rng.normal(size=(10, 4)), "ids": rng.integers(0, 10, (8, 3)), "W": rng.normal(size=(4, 3))}
    report = diagnose(cost, gradients, problem | {"y": np.array([0, 1, 2, 0, 1, 1, 2, 2])}, wrt=("E", "W"))
    assert "The factor 1/N is missing in the gradient of the loss" in report.sentences[0], str(report)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("H = G @ W2", "W2 = W2 - 0.1 * dW2; H = G @ W2"),
        ("H = G @ W2", "H = np.array([g @ (W2 - 0.1 * np.outer(g, h)) for g, h in zip(G, H)])"),
    ],
)
def test_weights_that_are_transposed_and_updated_too_early_are_named(old: str, new: str) -> None:
    example = Example(
        lambda X, W1, W2: tg.sum(tg.tanh(tg.tanh(X @ W1.T) @ W2.T)),
        """
def gradients(X, W1, W2):
    H = np.tanh(X @ W1.T)
    D = 1 - H**2
    G = 1 - np.tanh(H @ W2.T) ** 2
    dW2 = G.T @ H
    H = G @ W2
    return (H * D).T @ X, dW2
""",
        {"X": rng.normal(size=(7, 5)), "W1": 0.5 * rng.normal(size=(4, 5)), "W2": 0.5 * rng.normal(size=(3, 4))},
    )
    report = diagnose(example.cost, example.gradients(f"{old} -> {new}"), example.problem)
    assert report.sentences[0].startswith("W2 is updated before"), str(report)
