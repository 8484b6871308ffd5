"""A factor is stated by a name that holds on the given problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar.doctor import diagnose

# -- a mean over the positions of a convolution ------------------------------------------------------------------------


def pooled_cost(X: Any, Y: Any, W1: Any, W2: Any, lam: Any) -> Any:
    S = tg.mean(tg.relu(tg.conv2d(X, W1)), axis=(1, 2)) @ W2
    return -tg.sum(Y * tg.log(tg.softmax(S, axis=1))) / X.shape[0] + lam * (tg.sum(W1**2) + tg.sum(W2**2))


def windows(X: Any, k: int) -> Any:
    n, height, width, _ = X.shape
    corners = [(i, j) for i in range(height - k + 1) for j in range(width - k + 1)]
    return np.stack([X[:, i : i + k, j : j + k].reshape(n, -1) for i, j in corners], 1)


def pooled_gradients(X: Any, Y: Any, W1: Any, W2: Any, lam: Any) -> Any:
    """Return gradients that lack the division by the number of positions."""
    M = windows(X, len(W1))
    A = M @ W1.reshape(-1, W1.shape[3])
    H = np.maximum(A, 0).mean(axis=1)
    P = np.exp(H @ W2)
    G = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    dA = (G @ W2.T)[:, None] * (A > 0)
    return np.einsum("npk,npf->kf", M, dA).reshape(W1.shape) + 2 * lam * W1, H.T @ G + 2 * lam * W2


def pooled_problem(size: int, images: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(images, size, size, 2)), np.eye(3)[rng.integers(0, 3, images)]
    return {"X": X, "Y": Y, "W1": rng.normal(size=(3, 3, 2, 4)), "W2": rng.normal(size=(4, 3))}


@pytest.mark.parametrize(("size", "images"), [(5, 6), (6, 6), (6, 16), (7, 6), (7, 9), (8, 5), (10, 20)])
@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_the_number_of_positions_that_is_left_out_is_that_of_the_given_problem(
    size: int, images: int, lam: float
) -> None:
    report = diagnose(pooled_cost, pooled_gradients, **pooled_problem(size, images), lam=lam)
    assert f": 1 / ({size - 2} * {size - 2}) (the sizes of relu(conv2d(X)) along axes 1 and 2)" in report.sentences[0]


# -- the product of two sizes of which none is an argument -------------------------------------------------------------


def flat_cost(X: Any, Y: Any, Fs: Any, W: Any) -> Any:
    S = tg.reshape(tg.relu(tg.conv2d(X, Fs)), (X.shape[0], -1)) @ W
    return -tg.sum(Y * tg.log(tg.softmax(S, axis=1))) / X.shape[0] + 0.1 * tg.sum(Fs**2)


def flat_gradients(X: Any, Y: Any, Fs: Any, W: Any) -> Any:
    """Return gradients of which that of the filters is divided by the number of positions."""
    M = windows(X, len(Fs))
    A = M @ Fs.reshape(-1, Fs.shape[3])
    H = np.maximum(A, 0).reshape(len(X), -1)
    P = np.exp(H @ W - (H @ W).max(1, keepdims=True))
    G = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    dA = (G @ W.T).reshape(A.shape) * (A > 0)
    return np.einsum("npk,npf->kf", M, dA).reshape(Fs.shape) / M.shape[1] + 0.2 * Fs, H.T @ G


def test_a_factor_is_not_named_after_a_size_that_it_has_nothing_to_do_with() -> None:
    problem = pooled_problem(5, 6)
    W = np.random.default_rng(1).normal(size=(36, 3))
    report = diagnose(flat_cost, flat_gradients, X=problem["X"], Y=problem["Y"], Fs=problem["W1"], W=W)
    assert report.mistakes[0].factor == "1/9", str(report)
