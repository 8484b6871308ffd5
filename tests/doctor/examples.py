"""Costs of the course's networks, and gradients derived by hand: the right ones, and the same with a wrong line.

A gradient function is given as source text. A wrong version replaces one line, or several, by others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from tinygrad_cifar import functional as F

CLASSES = 3


@dataclass(frozen=True)
class Example:
    """A cost, the source of its right gradient function, and a problem."""

    cost: Callable[..., Any]
    source: str
    problem: dict[str, Any]

    def gradients(self, *changes: str) -> Callable[..., Any]:
        """Return the gradient function with lines replaced; each change is ``old -> new``."""
        source = self.source
        for change in changes:
            old, new = change.split(" -> ")
            assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
            source = source.replace(old, new)
        namespace: dict[str, Any] = {"np": np, "softmax": softmax}
        exec(compile(source, "<example>", "exec"), namespace)
        function: Callable[..., Any] = namespace["gradients"]
        return function


def softmax(S: Any, axis: int) -> Any:
    P = np.exp(S - S.max(axis, keepdims=True))
    return P / P.sum(axis, keepdims=True)


def as_float32(x: Any) -> Any:
    """Return floating-point arrays, also in lists, in float32."""
    if isinstance(x, list):
        return [as_float32(part) for part in x]
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def one_hot(labels: Any) -> Any:
    return np.eye(CLASSES)[labels]


rng = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 1, 0, 2, 2])


# -- softmax regression, images as columns -----------------------------------------------------------------------------


def softmax_cost(X: Any, Y: Any, W: Any, b: Any, lam: Any) -> Any:
    P = tg.softmax(W @ X + b, axis=0)
    return -tg.sum(tg.log(tg.sum(Y * P, axis=0))) / X.shape[1] + lam * tg.sum(W**2)


SOFTMAX = Example(
    softmax_cost,
    """
def gradients(X, Y, W, b, lam):
    N = X.shape[1]
    S = W @ X + b
    P = softmax(S, 0)
    G = P - Y
    G = G / N
    db = G.sum(1, keepdims=True)
    dW = G @ X.T
    dW = dW + 2 * lam * W
    return dW, db
""",
    {
        "X": rng.normal(size=(5, 7)),
        "Y": one_hot(LABELS).T,
        "W": rng.normal(size=(3, 5)),
        "b": rng.normal(size=(3, 1)),
        "lam": 0.1,
    },
)


# -- SVM, images as rows, integer labels -------------------------------------------------------------------------------


def svm_cost(X: Any, y: Any, W: Any, b: Any, lam: Any) -> Any:
    N = len(y)
    S = X @ W + b
    own = tg.reshape(S[np.arange(N), y], (N, 1))
    return tg.sum(tg.relu(S - own + 1)) / N - 1 + lam * tg.sum(W * W)


SVM = Example(
    svm_cost,
    """
def gradients(X, y, W, b, lam):
    N = len(y)
    rows = np.arange(N)
    S = X @ W + b
    G = 1.0 * (S - S[rows, y][:, None] + 1 > 0)
    G[rows, y] = 0
    G[rows, y] = -G.sum(1)
    G = G / N
    return X.T @ G + 2 * lam * W, G.sum(0)
""",
    {"X": rng.normal(size=(7, 5)), "y": LABELS, "W": rng.normal(size=(5, 3)), "b": rng.normal(size=3), "lam": 0.1},
)


# -- two layers, with a square matrix of weights -----------------------------------------------------------------------


def two_layer_cost(X: Any, Y: Any, W1: Any, b1: Any, W2: Any, b2: Any, lam: Any) -> Any:
    H = tg.relu(X @ W1 + b1)
    return F.cross_entropy(H @ W2 + b2, Y) + lam * (tg.sum(W1**2) + tg.sum(W2**2))


TWO_LAYERS = Example(
    two_layer_cost,
    """
def gradients(X, Y, W1, b1, W2, b2, lam):
    N = len(X)
    A = X @ W1 + b1
    H = np.maximum(A, 0)
    P = softmax(H @ W2 + b2, 1)
    G = P - Y
    G = G / N
    dW2 = H.T @ G + 2 * lam * W2
    db2 = G.sum(0)
    dH = G @ W2.T
    dA = dH * (A > 0)
    dW1 = X.T @ dA + 2 * lam * W1
    db1 = dA.sum(0)
    return dW1, db1, dW2, db2
""",
    {
        "X": rng.normal(size=(7, 3)),
        "Y": one_hot(LABELS),
        "W1": rng.normal(size=(3, 3)),
        "b1": rng.normal(size=3),
        "W2": rng.normal(size=(3, 3)),
        "b2": rng.normal(size=3),
        "lam": 0.1,
    },
)


# -- three layers with batch normalisation and dropout, parameters in lists --------------------------------------------


def deep_cost(X: Any, Y: Any, W: Any, b: Any, gamma: Any, beta: Any, masks: Any, lam: Any) -> Any:
    H = X
    for k in range(len(W) - 1):
        S = H @ W[k] + b[k]
        mu = tg.mean(S, axis=0)
        var = tg.mean((S - mu) ** 2, axis=0)
        A = tg.relu(gamma[k] * ((S - mu) / tg.sqrt(var + 1e-9)) + beta[k])
        H = A * masks[k]
    P = tg.softmax(H @ W[-1] + b[-1])
    return -tg.sum(Y * tg.log(P)) / len(X) + lam * sum(tg.sum(w**2) for w in W)


_SIZES = (4, 6, 5, 3)
DEEP = Example(
    deep_cost,
    """
def gradients(X, Y, W, b, gamma, beta, masks, lam):
    N, L = len(X), len(W)
    H, saved = X, []
    for k in range(L - 1):
        S = H @ W[k] + b[k]
        deviation = np.sqrt(S.var(0) + 1e-9)
        Z = (S - S.mean(0)) / deviation
        T = gamma[k] * Z + beta[k]
        saved.append((H, Z, T, deviation, S))
        H = np.maximum(T, 0) * masks[k]
    G = (softmax(H @ W[-1] + b[-1], 1) - Y) / N
    dW, db, dgamma, dbeta = [None] * L, [None] * L, [None] * (L - 1), [None] * (L - 1)
    dW[-1], db[-1] = H.T @ G + 2 * lam * W[-1], G.sum(0)
    for k in reversed(range(L - 1)):
        H, Z, T, deviation, S = saved[k]
        G = G @ W[k + 1].T
        G = G * masks[k]
        G = G * (T > 0)
        dgamma[k] = (G * Z).sum(0)
        dbeta[k] = G.sum(0)
        G = G * gamma[k]
        G = (G - G.mean(0) - Z * (G * Z).mean(0)) / deviation
        dW[k] = H.T @ G + 2 * lam * W[k]
        db[k] = G.sum(0)
    return {"W": dW, "b": db, "gamma": dgamma, "beta": dbeta}
""",
    {
        "X": rng.normal(size=(7, 4)),
        "Y": one_hot(LABELS),
        "W": [rng.normal(size=(m, n)) for m, n in pairwise(_SIZES)],
        "b": [rng.normal(size=n) for n in _SIZES[1:]],
        "gamma": [1 + 0.3 * rng.normal(size=n) for n in _SIZES[1:-1]],
        "beta": [0.3 * rng.normal(size=n) for n in _SIZES[1:-1]],
        "masks": [(rng.random((7, n)) < 0.7) / 0.7 for n in _SIZES[1:-1]],
        "lam": 0.05,
    },
)


# -- patchify network, images as columns -------------------------------------------------------------------------------


def patchify_cost(MX: Any, Y: Any, Fs_flat: Any, W1: Any, b1: Any, W2: Any, b2: Any, lam: Any) -> Any:
    patches, _, N = MX.shape
    C = tg.einsum("ijn,jl->iln", MX, Fs_flat)
    h = tg.reshape(tg.relu(C), (patches * Fs_flat.shape[1], N))
    x1 = tg.relu(W1 @ h + b1)
    P = tg.softmax(W2 @ x1 + b2, axis=0)
    penalty = tg.sum(Fs_flat**2) + tg.sum(W1**2) + tg.sum(W2**2)
    return -tg.sum(Y * tg.log(P)) / N + lam * penalty


PATCHIFY = Example(
    patchify_cost,
    """
def gradients(MX, Y, Fs_flat, W1, b1, W2, b2, lam):
    patches, _, N = MX.shape
    filters = Fs_flat.shape[1]
    h = np.maximum(np.einsum("ijn,jl->iln", MX, Fs_flat), 0).reshape(patches * filters, N)
    x1 = np.maximum(W1 @ h + b1, 0)
    G = (softmax(W2 @ x1 + b2, 0) - Y) / N
    dW2, db2 = G @ x1.T + 2 * lam * W2, G.sum(1, keepdims=True)
    G = W2.T @ G
    G = G * (x1 > 0)
    dW1, db1 = G @ h.T + 2 * lam * W1, G.sum(1, keepdims=True)
    G = W1.T @ G
    G = G * (h > 0)
    G = G.reshape(patches, filters, N)
    dF = np.einsum("ijn,iln->jl", MX, G)
    dF = dF + 2 * lam * Fs_flat
    return dF, dW1, db1, dW2, db2
""",
    {
        "MX": rng.normal(size=(4, 12, 7)),
        "Y": one_hot(LABELS).T,
        "Fs_flat": rng.normal(size=(12, 2)),
        "W1": rng.normal(size=(5, 8)),
        "b1": rng.normal(size=(5, 1)),
        "W2": rng.normal(size=(3, 5)),
        "b2": rng.normal(size=(3, 1)),
        "lam": 0.1,
    },
)

EXAMPLES = {"softmax": SOFTMAX, "svm": SVM, "two layers": TWO_LAYERS, "deep": DEEP, "patchify": PATCHIFY}
