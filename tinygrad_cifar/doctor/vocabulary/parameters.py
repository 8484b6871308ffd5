"""Mistakes in the gradient of a parameter as a whole: another variable, transposed, reversed, penalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.vocabulary.direct import edits_of_elements
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
        yield from edits_of_elements(site, G)
    if G.ndim > 2:
        for edit in edits_of_elements(site, G):
            value = bind_arguments(_before_penalty, name, edit.value)
            yield Edit(edit.kind, site, value, cost=edit.cost + 0.1, detail=edit.detail)


def _before_penalty(walk: Walk, G: Array, name: str, change: Callable[[Walk, Array], Array]) -> Array:
    """Return a gradient of which the contributions of the data are changed, and those of the L2 term are not."""
    recording = walk.recording
    at = recording.parameters[name]
    w = recording.steps[at].value
    penalty = np.zeros_like(G)
    for edge in recording.consumers[at]:
        part = walk.contributions.get(edge)
        if part is not None and part.shape == w.shape:
            factor = np.vdot(w, part) / np.vdot(w, w)
            if np.allclose(part, factor * w, rtol=1e-9, atol=1e-12):
                penalty = penalty + part
    return change(walk, G - penalty) + penalty


def _from_product(recording: Recording, name: str, other: str, G: Array) -> Iterator[Edit]:
    """Yield the gradients of a bias that are computed from the product for the weights."""
    site = ("parameter", name)
    shape = recording.steps[recording.parameters[other]].value.shape
    for axis in (0, 1):
        if shape[1 - axis] == G.size:
            edges = [
                None,
                *[edge for edge in recording.consumers[recording.parameters[other]] if _is_product(recording, edge)],
            ]
            for how, edge in product(("sum", "mean", "first row"), edges):
                detail = {"other": other, "axis": axis, "how": how}
                cost = 1.2 + 0.2 * (how != "sum") + 0.1 * (edge is not None)
                yield Edit("from_weights", site, _from_weights(other, axis, how, edge), cost=cost, detail=detail)


def _is_product(recording: Recording, edge: tuple[int, int]) -> bool:
    return recording.steps[edge[0]].op in ("matmul", "einsum")


def _from_weights(
    other: str, axis: int, how: str, edge: tuple[int, int] | None
) -> Callable[[Walk, Array], Array | None]:
    """Return the sum of the gradient of weights along an axis; of one contribution to it if an edge is given."""

    def value(walk: Walk, G: Array) -> Array | None:
        H = walk.gradients[other] if edge is None else walk.contributions[edge]
        part = H.sum(axis) if how == "sum" else H.mean(axis) if how == "mean" else np.take(H, 0, axis)
        return part.reshape(G.shape) if part.size == G.size else None

    return value
