"""Max-pooling of images in windows of 2 x 2, channels last: by ``max`` over axes, and by each library's own function.

The loss is the product of the result with fixed numbers, so that the time is that of the pooling. All elements of an
image differ: at equal ones, the libraries divide the gradient differently.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, Case, Inputs, Model, gradients_of


def _draw(rng: np.random.Generator, images: int, size: int, channels: int, built_in: bool) -> Inputs:
    shape, halved = (images, size, size, channels), (images, size // 2, size // 2, channels)
    count = images * size * size * channels
    return {
        "parameters": ((rng.permutation(count) / count).reshape(shape),),
        "weights": rng.normal(size=halved),
        "built_in": built_in,
    }


def _loss(library: Library, inputs: Inputs) -> Any:
    np, weights = library.np, library.array(inputs["weights"].ravel())

    def composed(x: Any) -> Any:
        images, size, _, channels = x.shape
        windows = x.reshape(images, size // 2, 2, size // 2, 2, channels)
        return np.max(windows, axis=(2, 4))

    pool = library.max_pool if inputs["built_in"] else composed
    return lambda x: pool(x).reshape(-1) @ weights


def _by_hand(inputs: Inputs) -> Thunk:
    (x,), weights = inputs["parameters"], inputs["weights"]

    def loss_and_gradients() -> Any:
        corners = [(slice(None), slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1)]
        out = np.maximum(x[corners[0]], x[corners[1]])
        np.maximum(out, x[corners[2]], out=out)
        np.maximum(out, x[corners[3]], out=out)
        d_x = np.empty_like(x)
        for corner in corners:
            np.multiply(x[corner] == out, weights, out=d_x[corner])
        return np.vdot(out, weights), (d_x,)

    return loss_and_gradients


_SIZE = {"images": 64, "size": 32, "channels": 16}
_SMALL = {"images": 3, "size": 6, "channels": 5}
MODEL = Model(
    _draw,
    cases=(
        Case("max-pooling by max over axes", ARRAYS, {**_SIZE, "built_in": False}),
        Case("max-pooling, built in", ARRAYS, {**_SIZE, "built_in": True}),
    ),
    small=({**_SMALL, "built_in": False}, {**_SMALL, "built_in": True}),
    make=gradients_of(_loss),
    by_hand=_by_hand,
)
