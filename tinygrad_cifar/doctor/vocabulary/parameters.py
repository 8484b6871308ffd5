"""Mistakes in the gradient of a parameter as a whole: another variable, transposed, reversed, penalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, value_of
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_parameter(walk: Walk, name: str) -> Iterator[Edit]:
    """Yield the edits of the gradient of a parameter as a whole."""
    recording = walk.recording
    site = ("parameter", name)
    G = walk.gradients[name]
    at = recording.parameters[name]
    yield Edit("scale", site, lambda _, G: G, "add", 1.05)
    yield Edit("value_for_gradient", site, lambda w, _: value_of(w, at), cost=1.0)
    yield Edit("penalised", site, lambda w, _: value_of(w, at), "add", 1.1)
    if G.ndim == 2 and G.shape[0] == G.shape[1]:
        yield Edit("transposed_gradient", site, lambda _, G: G.T, cost=1.15)
    for other in recording.parameters:
        if other == name:
            continue
        H = walk.gradients[other]
        if H.shape == G.shape:
            yield Edit(
                "other_gradient",
                site,
                bind_arguments(lambda w, _, o: w.gradients[o], other),
                cost=1.5,
                detail={"other": other},
            )
            own = bind_arguments(lambda w, _, o: value_of(w, w.recording.parameters[o]), other)
            yield Edit("value_of_other", site, own, cost=2.5, detail={"other": other})
        if H.ndim == 2 and G.size in H.shape and max(G.shape, default=0) == G.size:
            yield from _from_product(recording, name, other, G)
    for source, array in recording.arrays.items():
        if array.shape == G.shape and array.dtype.kind == "f":
            yield Edit(
                "array_added",
                site,
                bind_arguments(lambda w, _, s: w.recording.arrays[s], source),
                "add",
                1.6,
                {"array": source},
            )
    if G.ndim > 2 or (G.ndim == 2 and min(G.shape) > 1):
        yield from _reordered(site, G)


def _from_product(recording: Recording, name: str, other: str, G: Array) -> Iterator[Edit]:
    """Yield the gradients of a bias that are computed from the product for the weights."""
    site = ("parameter", name)
    shape = recording.steps[recording.parameters[other]].value.shape
    for axis in (0, 1):
        if shape[1 - axis] == G.size:
            for kind, text in (("sum", "sum"), ("mean", "mean"), ("first", "first row")):
                yield Edit(
                    "from_weights",
                    site,
                    _from_weights(other, axis, kind),
                    cost=1.2 + 0.2 * (kind != "sum"),
                    detail={"other": other, "axis": axis, "how": text},
                )


def _from_weights(other: str, axis: int, kind: str) -> Callable[[Walk, Array], Array | None]:
    def value(walk: Walk, G: Array) -> Array | None:
        H = walk.gradients[other]
        part = H.sum(axis) if kind == "sum" else H.mean(axis) if kind == "mean" else np.take(H, 0, axis)
        return part.reshape(G.shape) if part.size == G.size else None

    return value


def _reordered(site: tuple[Any, ...], G: Array) -> Iterator[Edit]:
    """Yield the gradients of filters and matrices with their elements in another order."""
    for axis in range(G.ndim):
        yield Edit(
            "flipped",
            site,
            bind_arguments(lambda _, G, axis: np.flip(G, axis), axis),
            cost=1.5,
            detail={"axes": (axis,)},
        )
    if G.ndim > 2:
        for first in range(G.ndim - 1):
            pair = (first, first + 1)
            yield Edit(
                "flipped",
                site,
                bind_arguments(lambda _, G, pair: np.flip(G, pair), pair),
                cost=1.4,
                detail={"axes": pair},
            )
        for order in permutations(range(G.ndim)):
            if order != tuple(range(G.ndim)) and tuple(G.shape[k] for k in order) == G.shape:
                yield Edit(
                    "axes_swapped",
                    site,
                    bind_arguments(lambda _, G, order: G.transpose(order), order),
                    cost=1.4,
                    detail={"order": order},
                )
    yield Edit("element_order", site, lambda _, G: G.reshape(G.shape[::-1]).T, cost=1.6, detail={"order": "reshaped"})
    yield Edit("element_order", site, lambda _, G: G.T.reshape(G.shape), cost=1.6, detail={"order": "transposed"})
    if G.ndim == 2:
        for axis in (0, 1):
            n = G.shape[axis]
            for block in (k for k in (2, 3, 4, 5, 6, 8, 9, 12, 16, 25, 27) if n % k == 0 and 1 < k < n):
                yield Edit(
                    "element_order",
                    site,
                    _blocks(axis, block, flip=False),
                    cost=1.9,
                    detail={"order": f"axis {axis} in blocks of {block}"},
                )
                yield Edit(
                    "flipped",
                    site,
                    _blocks(axis, block, flip=True),
                    cost=1.9,
                    detail={"axes": (axis,), "block": block},
                )
                yield Edit(
                    "channels_swapped",
                    site,
                    _reversed_blocks(axis, block),
                    cost=1.9,
                    detail={"axes": (axis,), "block": block},
                )


def _blocks(axis: int, block: int, *, flip: bool) -> Callable[[Walk, Array], Array]:
    def value(_: Walk, G: Array) -> Array:
        moved = np.moveaxis(G, axis, 0)
        parts = moved.reshape(-1, block, moved.shape[1])
        parts = parts[:, ::-1] if flip else parts.swapaxes(0, 1)
        return np.moveaxis(parts.reshape(moved.shape), 0, axis)

    return value


def _reversed_blocks(axis: int, block: int) -> Callable[[Walk, Array], Array]:
    def value(_: Walk, G: Array) -> Array:
        moved = np.moveaxis(G, axis, 0)
        return np.moveaxis(moved.reshape(-1, block, moved.shape[1])[::-1].reshape(moved.shape), 0, axis)

    return value
