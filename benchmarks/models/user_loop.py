"""The reports' nets and a wide net in a user's own loop: gather the batch, cost with L2 term, gradients, update.

It is the loop of the guide, ``W.data = W.data - eta * W.grad.data``, of a cost written with ``cross_entropy``. The
program derived by hand updates its parameters in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, OWN_LOOP, Array, Case, Inputs, Model, softmax_loss

_RATE, _LAMBDA = 0.01, 0.001


def _draw(rng: np.random.Generator, sizes: tuple[int, ...], images: int = 4000, batch: int = 100) -> Inputs:
    weights = [rng.normal(size=size) / np.sqrt(size[0]) for size in pairwise(sizes)]
    return {
        "parameters": tuple(array for W in weights for array in (W, np.zeros(W.shape[1]))),
        "X": rng.standard_normal((images, sizes[0]), np.float32),
        "labels": rng.integers(0, sizes[-1], images),
        "batch": batch,
    }


def _batches(inputs: Inputs) -> Iterator[Array]:
    """Yield the indices of the images of one batch after another, in a new order in each epoch."""
    rng, count = np.random.default_rng(2), len(inputs["labels"])
    while True:
        order = rng.permutation(count)
        for start in range(0, count, inputs["batch"]):
            yield order[start : start + inputs["batch"]]


def _make(library: Library, inputs: Inputs) -> Thunk:
    np = library.np

    def cost(*arguments: Any) -> Any:
        *parameters, X, labels = arguments
        weights, biases = parameters[::2], parameters[1::2]
        H = X
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            H = library.relu(H @ W + b)
        loss = library.cross_entropy(H @ weights[-1] + biases[-1], labels)
        for W in weights:
            loss = loss + _LAMBDA * np.sum(np.square(W))
        return loss

    step = library.training_step(cost, inputs["parameters"], (inputs["X"], inputs["labels"]), _RATE)
    batches = _batches(inputs)
    return lambda: step(next(batches))


def _by_hand(inputs: Inputs) -> Thunk:
    parameters = [array.copy() for array in inputs["parameters"]]
    Ws, bs = parameters[::2], parameters[1::2]
    batches = _batches(inputs)

    def step() -> Any:
        rows = next(batches)
        H = [inputs["X"][rows]]
        for W, b in zip(Ws[:-1], bs[:-1], strict=True):
            H.append(H[-1] @ W)
            H[-1] += b
            np.maximum(H[-1], 0, out=H[-1])
        scores = H[-1] @ Ws[-1]
        scores += bs[-1]
        cost, G = softmax_loss(scores, inputs["labels"][rows])
        cost += _LAMBDA * sum(np.vdot(W, W) for W in Ws)

        for i in reversed(range(len(Ws))):
            d_W, d_b = H[i].T @ G, G.sum(axis=0)
            if i > 0:
                G = G @ Ws[i].T
                G *= H[i] > 0
            # W -= rate * (d_W + 2 * lambda * W), without temporary arrays
            d_W *= _RATE
            Ws[i] *= 1 - 2 * _RATE * _LAMBDA
            Ws[i] -= d_W
            d_b *= _RATE
            bs[i] -= d_b
        return cost, parameters

    return step


MODEL = Model(
    _draw,
    cases=(
        Case("softmax 3072-10, batch 100", OWN_LOOP, {"sizes": (3072, 10)}),
        Case("two layers 3072-50-10, batch 100", OWN_LOOP, {"sizes": (3072, 50, 10)}),
        Case("wide net 3072-512-512-10, own loop", ARRAYS, {"sizes": (3072, 512, 512, 10)}),
    ),
    small=(
        {"sizes": (7, 3), "images": 12, "batch": 4},
        {"sizes": (7, 5, 4, 3), "images": 12, "batch": 4},
    ),
    make=_make,
    by_hand=_by_hand,
)
