"""A recurrent network of many steps, with the gradient of its input, whose rows are taken one after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, Case, Inputs, Model, gradients_of


def _draw(rng: np.random.Generator, steps: int, batch: int = 16, features: int = 64, hidden: int = 64) -> Inputs:
    return {
        "parameters": (
            rng.normal(size=(steps, batch, features)),
            rng.normal(size=(hidden, hidden)) / np.sqrt(hidden),
            rng.normal(size=(features, hidden)) / np.sqrt(features),
            rng.normal(size=hidden),
        ),
        "start": np.zeros((batch, hidden)),
        "targets": rng.normal(size=(batch, hidden)),
    }


def _loss(library: Library, inputs: Inputs) -> Any:
    np, start, targets = library.np, library.array(inputs["start"]), library.array(inputs["targets"])

    def loss(x: Any, W: Any, U: Any, b: Any) -> Any:
        last = library.fold(lambda h, row: np.tanh(h @ W + row @ U + b), start, x)
        return np.mean(np.square(last - targets))

    return loss


def _by_hand(inputs: Inputs) -> Thunk:
    x, W, U, b = inputs["parameters"]
    steps, batch, _ = x.shape
    rows = x.reshape(steps * batch, -1)

    def loss_and_gradients() -> Any:
        H = np.empty((steps + 1, batch, len(W)), W.dtype)
        H[0] = inputs["start"]
        np.matmul(rows, U, out=H[1:].reshape(steps * batch, -1))
        H[1:] += b
        for t in range(steps):
            h = H[t + 1]
            h += H[t] @ W
            np.tanh(h, out=h)
        difference = H[-1] - inputs["targets"]
        loss = np.vdot(difference, difference) / difference.size

        A = H[1:] ** 2  # the gradients before the tanh; here its slopes
        np.subtract(1, A, out=A)
        G = difference * (2 / difference.size)
        for t in reversed(range(steps)):
            A[t] *= G
            if t > 0:
                G = A[t] @ W.T
        D = A.reshape(steps * batch, -1)
        before = H[:-1].reshape(steps * batch, -1)
        return loss, ((D @ U.T).reshape(x.shape), before.T @ D, rows.T @ D, D.sum(axis=0))

    return loss_and_gradients


MODEL = Model(
    _draw,
    cases=(Case("RNN, 500 steps, gradient of the input", ARRAYS, {"steps": 500}),),
    small=({"steps": 5, "batch": 2, "features": 3, "hidden": 4},),
    make=gradients_of(_loss),
    by_hand=_by_hand,
)
