"""Nine layers with batch normalisation (the bonus part of the course's assignment 2), composed of mean and square root.

Each hidden layer is a product, a normalisation of every unit over the batch with a scale and a shift, and a ReLU.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, Array, Case, Inputs, Model, gradients_of, softmax_loss

_EPSILON = 1e-5


def _draw(rng: np.random.Generator, sizes: tuple[int, ...], batch: int = 100) -> Inputs:
    parameters: list[Array] = []
    for size in pairwise(sizes):
        parameters.append(rng.normal(size=size) * np.sqrt(2 / size[0]))
        is_last = len(parameters) == 3 * (len(sizes) - 2) + 1
        units = size[1]
        parameters += [np.zeros(units)] if is_last else [rng.uniform(0.5, 1.5, units), rng.normal(size=units)]
    return {
        "parameters": tuple(parameters),
        "X": rng.normal(size=(batch, sizes[0])),
        "labels": rng.integers(0, sizes[-1], batch),
    }


def _loss(library: Library, inputs: Inputs) -> Any:
    np, X, labels = library.np, library.array(inputs["X"]), library.indices(inputs["labels"])

    def loss(*parameters: Any) -> Any:
        H = X
        for i in range(0, len(parameters) - 2, 3):
            W, scale, shift = parameters[i : i + 3]
            S = H @ W
            centred = S - np.mean(S, axis=0)
            variance = np.mean(np.square(centred), axis=0)
            H = library.relu(centred / np.sqrt(variance + _EPSILON) * scale + shift)
        W, b = parameters[-2:]
        return library.cross_entropy(H @ W + b, labels)

    return loss


def _by_hand(inputs: Inputs) -> Thunk:
    parameters, X, labels = inputs["parameters"], inputs["X"], inputs["labels"]
    n = len(X)

    def loss_and_gradients() -> Any:
        H, saved = X, []
        for i in range(0, len(parameters) - 2, 3):
            W, scale, shift = parameters[i : i + 3]
            normalised = H @ W
            normalised -= normalised.mean(axis=0)
            factor = np.einsum("ij,ij->j", normalised, normalised)
            factor /= n
            factor += _EPSILON
            np.sqrt(factor, out=factor)
            np.divide(1, factor, out=factor)
            normalised *= factor
            out = normalised * scale
            out += shift
            np.maximum(out, 0, out=out)
            saved.append((H, normalised, factor, out))
            H = out
        W, b = parameters[-2:]
        scores = H @ W
        scores += b
        loss, G = softmax_loss(scores, labels)

        gradients = [G.sum(axis=0), H.T @ G]  # from the last to the first
        G = G @ W.T
        for i in reversed(range(len(saved))):
            W, scale = parameters[3 * i], parameters[3 * i + 1]
            H, normalised, factor, out = saved[i]
            G *= out > 0
            d_shift, d_scale = G.sum(axis=0), np.einsum("ij,ij->j", G, normalised)
            # the gradient of S: scale * factor * (G - d_shift / n - normalised * d_scale / n)
            G -= d_shift / n
            normalised *= d_scale / n
            G -= normalised
            G *= scale * factor
            gradients += [d_shift, d_scale, H.T @ G]
            if i > 0:
                G = G @ W.T
        return loss, tuple(reversed(gradients))

    return loss_and_gradients


MODEL = Model(
    _draw,
    cases=(Case("9 layers, batch norm composed", ARRAYS, {"sizes": (3072, 50, 30, 20, 20, 10, 10, 10, 10, 10)}),),
    small=({"sizes": (7, 5, 4), "batch": 6}, {"sizes": (7, 6, 5, 4, 3), "batch": 12}),
    make=gradients_of(_loss),
    by_hand=_by_hand,
)
