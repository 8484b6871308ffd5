"""Programs of many small parts, whose time must grow no faster than their number: rows, chosen rows, single numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, NO_CLIFF, Case, Inputs, Model, gradients_of


def _draw_embedding(rng: np.random.Generator, vocabulary: int, width: int, count: int) -> Inputs:
    return {
        "parameters": (rng.normal(size=(vocabulary, width)),),
        "indices": rng.integers(0, vocabulary, count),
        "weights": rng.normal(size=(count, width)),
    }


def _embedding(library: Library, inputs: Inputs) -> Any:
    indices, weights = library.indices(inputs["indices"]), library.array(inputs["weights"].ravel())
    return lambda E: library.embedding(E, indices).reshape(-1) @ weights


def _embedding_by_hand(inputs: Inputs) -> Thunk:
    (E,), indices, weights = inputs["parameters"], inputs["indices"], inputs["weights"]
    width = E.shape[1]

    def loss_and_gradients() -> Any:
        loss = np.vdot(E[indices], weights)
        d_E = np.zeros(E.size, E.dtype)
        places = (indices * width)[:, None] + np.arange(width)  # np.add.at is fastest with one axis
        np.add.at(d_E, places.ravel(), weights.ravel())
        return loss, (d_E.reshape(E.shape),)

    return loss_and_gradients


def _draw_rows(rng: np.random.Generator, count: int, width: int) -> Inputs:
    return {
        "parameters": (rng.normal(size=(count, width)),),
        "zero": np.zeros(width),
        "weights": rng.normal(size=width),
    }


def _sum_of_rows(library: Library, inputs: Inputs) -> Any:
    np, zero, weights = library.np, library.array(inputs["zero"]), library.array(inputs["weights"])
    return lambda x: library.fold(lambda total, row: total + np.square(row), zero, x) @ weights


def _draw_numbers(rng: np.random.Generator, count: int) -> Inputs:
    return {"parameters": (np.array(rng.normal()),), "factors": rng.normal(size=count)}


def _stack(library: Library, inputs: Inputs) -> Any:
    np, factors = library.np, inputs["factors"].tolist()
    weights = library.array(inputs["factors"])
    return lambda x: np.stack([x * factor for factor in factors]) @ weights


MODELS = (
    Model(
        _draw_embedding,
        (Case("embedding 1000 x 64, 2048 indices", ARRAYS, {"vocabulary": 1000, "width": 64, "count": 2048}),),
        ({"vocabulary": 5, "width": 3, "count": 9},),
        gradients_of(_embedding),
        _embedding_by_hand,
    ),
    Model(
        _draw_rows,
        (Case("sum over the rows of (2000, 100)", NO_CLIFF, {"count": 2000, "width": 100}),),
        ({"count": 5, "width": 3},),
        gradients_of(_sum_of_rows),
        None,
    ),
    Model(
        _draw_numbers,
        (Case("stack of 2000 recorded numbers", NO_CLIFF, {"count": 2000}),),
        ({"count": 5},),
        gradients_of(_stack),
        None,
        dtype="float64",
    ),
)
