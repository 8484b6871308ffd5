"""A long short-term memory, gate by gate from one product, that classifies sequences by its last state.

``i, f, g, o = x @ U + h @ W + b``; ``c = sigmoid(f) * c + sigmoid(i) * tanh(g)``; ``h = sigmoid(o) * tanh(c)``.
PyTorch also has it as one operation, ``nn.LSTM``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.implementations import TORCH
from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import (
    ARRAYS,
    Alternative,
    Array,
    Case,
    Inputs,
    Model,
    gradients_of,
    softmax_loss,
)

FUSED = "PyTorch nn.LSTM"


def _draw(
    rng: np.random.Generator, steps: int, batch: int = 32, features: int = 64, hidden: int = 128, classes: int = 10
) -> Inputs:
    return {
        "parameters": (
            rng.normal(size=(features, 4 * hidden)) / np.sqrt(features),
            rng.normal(size=(hidden, 4 * hidden)) / np.sqrt(hidden),
            rng.normal(size=4 * hidden),
            rng.normal(size=(hidden, classes)) / np.sqrt(hidden),
            rng.normal(size=classes),
        ),
        "x": rng.normal(size=(steps, batch, features)),
        "start": np.zeros((batch, hidden)),
        "labels": rng.integers(0, classes, batch),
    }


def _loss(library: Library, inputs: Inputs) -> Any:
    np, sigmoid, start = library.np, library.sigmoid, library.array(inputs["start"])
    x, labels = library.array(inputs["x"]), library.indices(inputs["labels"])
    n = inputs["start"].shape[1]

    def loss(U: Any, W: Any, b: Any, V: Any, c: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            h, cell = state
            gates = row @ U + h @ W + b
            ingate, forget = sigmoid(gates[:, :n]), sigmoid(gates[:, n : 2 * n])
            change, outgate = np.tanh(gates[:, 2 * n : 3 * n]), sigmoid(gates[:, 3 * n :])
            cell = forget * cell + ingate * change
            return outgate * np.tanh(cell), cell

        h, _ = library.fold(step, (start, start), x)
        return library.cross_entropy(h @ V + c, labels)

    return loss


def _sigmoid_in_place(x: Array) -> None:
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    np.divide(1, x, out=x)


def _by_hand(inputs: Inputs) -> Thunk:
    U, W, b, V, c = inputs["parameters"]
    x, labels, n = inputs["x"], inputs["labels"], len(W)
    steps, batch, _ = x.shape
    rows = x.reshape(steps * batch, -1)

    def loss_and_gradients() -> Any:
        Z = rows @ U  # of each step, the gates
        Z += b
        Z = Z.reshape(steps, batch, 4 * n)
        H, C = np.empty((steps + 1, batch, n), W.dtype), np.empty((steps + 1, batch, n), W.dtype)
        T = np.empty((steps, batch, n), W.dtype)  # the tanh of the cells
        H[0] = C[0] = inputs["start"]
        for t in range(steps):
            z, cell = Z[t], C[t + 1]
            z += H[t] @ W
            _sigmoid_in_place(z[:, : 2 * n])
            _sigmoid_in_place(z[:, 3 * n :])
            change = z[:, 2 * n : 3 * n]
            np.tanh(change, out=change)
            np.multiply(z[:, n : 2 * n], C[t], out=cell)
            cell += z[:, :n] * change
            np.tanh(cell, out=T[t])
            np.multiply(z[:, 3 * n :], T[t], out=H[t + 1])
        scores = H[-1] @ V
        scores += c
        loss, G = softmax_loss(scores, labels)

        d_V, d_c = H[-1].T @ G, G.sum(axis=0)
        d_h, d_cell = G @ V.T, np.zeros((batch, n), W.dtype)
        d_Z = np.empty_like(Z)
        for t in reversed(range(steps)):
            z, d_z, tanh = Z[t], d_Z[t], T[t]
            ingate, forget, change, outgate = (z[:, k * n : (k + 1) * n] for k in range(4))
            # the slopes of all gates, and then their cotangents
            np.subtract(1, z, out=d_z)
            d_z *= z
            d_change = d_z[:, 2 * n : 3 * n]
            np.multiply(change, change, out=d_change)
            np.subtract(1, d_change, out=d_change)
            d_z[:, 3 * n :] *= d_h * tanh
            d_h *= outgate
            d_cell += d_h
            tanh *= tanh
            d_h *= tanh
            d_cell -= d_h
            d_z[:, :n] *= d_cell * change
            d_z[:, n : 2 * n] *= d_cell * C[t]
            d_change *= d_cell * ingate
            if t > 0:
                d_cell *= forget
                d_h = d_z @ W.T
        D = d_Z.reshape(steps * batch, 4 * n)
        d_W = H[:-1].reshape(steps * batch, n).T @ D
        return loss, (rows.T @ D, d_W, D.sum(axis=0), d_V, d_c)

    return loss_and_gradients


def _fused(inputs: Inputs) -> Thunk:
    import torch  # noqa: PLC0415 (optional)

    U, W, b, V, c = (torch.tensor(np.ascontiguousarray(array.T)).requires_grad_() for array in inputs["parameters"])
    layer = torch.nn.LSTM(U.shape[1], W.shape[1], dtype=U.dtype)
    with torch.no_grad():
        for parameter, values in zip(layer.parameters(), (U, W, b, torch.zeros_like(b)), strict=True):
            parameter.copy_(values)
    leaves = [*list(layer.parameters())[:3], V, c]  # the second bias, for which there is no gradient, is 0
    x, start = torch.tensor(inputs["x"]), torch.tensor(inputs["start"])[None]
    labels = torch.from_numpy(inputs["labels"])

    def loss_and_gradients() -> Any:
        _, (last, _) = layer(x, (start, start))
        loss = torch.nn.functional.cross_entropy(torch.nn.functional.linear(last[0], V, c), labels)
        return loss, torch.autograd.grad(loss, leaves)

    return loss_and_gradients


def _transposed(results: Any) -> Any:
    loss, gradients = results
    return loss.detach().numpy(), tuple(gradient.numpy().T for gradient in gradients)


MODEL = Model(
    _draw,
    cases=(
        Case("LSTM, 50 steps, batch 32", ARRAYS, {"steps": 50}),
        Case("LSTM, 100 steps, batch 32", ARRAYS, {"steps": 100}),
    ),
    small=({"steps": 4, "batch": 3, "features": 2, "hidden": 5, "classes": 3},),
    make=gradients_of(_loss),
    by_hand=_by_hand,
    alternatives={FUSED: Alternative(_fused, _transposed, TORCH)},
)
