"""Batch normalisation of images, channels last: composed of mean and square root, and by each library's own function.

The loss is the product of the result with fixed numbers, so that the time is that of the normalisation. The program
derived by hand computes sums over images and places as products with ones: for few channels, NumPy's sum along the
first axes takes twenty times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, Array, Case, Inputs, Model, gradients_of

_EPSILON = 1e-5


def _draw(rng: np.random.Generator, images: int, size: int, channels: int, built_in: bool) -> Inputs:
    shape = (images, size, size, channels)
    return {
        "parameters": (rng.normal(1, 2, shape), rng.uniform(0.5, 1.5, channels), rng.normal(size=channels)),
        "weights": rng.normal(size=shape),
        "built_in": built_in,
    }


def _loss(library: Library, inputs: Inputs) -> Any:
    np, weights = library.np, library.array(inputs["weights"].ravel())

    def composed(x: Any, scale: Any, shift: Any) -> Any:
        centred = x - np.mean(x, axis=(0, 1, 2))
        variance = np.mean(np.square(centred), axis=(0, 1, 2))
        return centred / np.sqrt(variance + _EPSILON) * scale + shift

    normalise = library.batch_norm if inputs["built_in"] else composed
    return lambda x, scale, shift: normalise(x, scale, shift).reshape(-1) @ weights


def _by_hand(inputs: Inputs) -> Thunk:
    x, scale, shift = inputs["parameters"]
    weights = inputs["weights"]
    channels = len(scale)
    n = x.size // channels
    ones = np.ones(n, x.dtype)

    def sums(x: Array) -> Array:
        found: Array = ones @ x.reshape(n, channels)
        return found

    def loss_and_gradients() -> Any:
        normalised = x - sums(x) / n
        factor = 1 / np.sqrt(sums(normalised * normalised) / n + _EPSILON)
        normalised *= factor
        out = normalised * scale
        out += shift
        loss = np.vdot(out, weights)

        d_shift, d_scale = sums(weights), sums(weights * normalised)
        # The gradient of x is scale * factor * (weights - d_shift / n - normalised * d_scale / n).
        normalised *= d_scale / n
        d_x = np.subtract(weights, normalised, out=normalised)
        d_x -= d_shift / n
        d_x *= scale * factor
        return loss, (d_x, d_scale, d_shift)

    return loss_and_gradients


_SIZE = {"images": 64, "size": 32, "channels": 16}
_SMALL = {"images": 3, "size": 4, "channels": 5}
MODEL = Model(
    _draw,
    cases=(
        Case("batch norm of images, composed", ARRAYS, {**_SIZE, "built_in": False}),
        Case("batch norm of images, built in", ARRAYS, {**_SIZE, "built_in": True}),
    ),
    small=({**_SMALL, "built_in": False}, {**_SMALL, "built_in": True}),
    make=gradients_of(_loss),
    by_hand=_by_hand,
)
