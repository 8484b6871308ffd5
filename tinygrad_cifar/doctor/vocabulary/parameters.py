"""Mistakes in the gradient of a parameter as a whole: another variable, transposed, reversed, penalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from tinygrad_cifar.doctor.vocabulary.direct import edits_of_elements
from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, penalty_of, value_of
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
    yield from _edits_of_penalty(walk, name)
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
                bind_arguments(_gradient_of, other),
                cost=1.5,
                detail={"other": other},
            )
            own = bind_arguments(lambda w, _, o: value_of(w, w.recording.parameters[o]), other)
            yield Edit("value_of_other", site, own, cost=2.5, detail={"other": other})
        if H.ndim > 1 and H.size > G.size and G.size in H.shape and max(G.shape, default=0) == G.size:
            yield from _from_product(walk, name, other, G)
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


def _gradient_of(walk: Walk, _: Array, name: str) -> Array | None:
    """Return the gradient of another parameter, which may itself be replaced by this one's."""
    return walk.cotangents[walk.recording.parameters[name]]


# What may stand for the weights in the derivative of an L2 term.
_FORMS: dict[str, Callable[[Array], Array]] = {
    "sign({})": np.sign,
    "{}**2": np.square,
    "abs({})": np.abs,
    "1": np.ones_like,
    "sum({}**2)": lambda w: np.full(w.shape, np.sum(w**2)),
    "sum({})": lambda w: np.full(w.shape, np.sum(w)),
}


def _edits_of_penalty(walk: Walk, name: str) -> Iterator[Edit]:
    """Yield the gradients of a parameter whose L2 term has another form."""
    if penalty_of(walk, name).any():
        for form, factor in product(_FORMS, (1.0, 0.5, 2.0)):
            value = bind_arguments(_with_other_penalty, name, form, factor)
            detail = {"form": form, "factor": factor}
            yield Edit("l2_form", ("parameter", name), value, cost=1.5, detail=detail)


def _with_other_penalty(walk: Walk, G: Array, name: str, form: str, factor: float) -> Array:
    """Return a gradient with another form of the L2 term, whose coefficient is a multiple of the right one."""
    w, penalty = value_of(walk, walk.recording.parameters[name]), penalty_of(walk, name)
    coefficient = np.vdot(w, penalty) / np.vdot(w, w)
    return G - penalty + factor * coefficient * _FORMS[form](w)


def _before_penalty(walk: Walk, G: Array, name: str, change: Callable[[Walk, Array], Array]) -> Array:
    """Return a gradient of which the contributions of the data are changed, and those of the L2 term are not."""
    penalty = penalty_of(walk, name)
    return change(walk, G - penalty) + penalty


def _from_product(walk: Walk, name: str, other: str, G: Array) -> Iterator[Edit]:
    """Yield the gradients of a bias that are computed from that of the weights, with or without its L2 term."""
    recording = walk.recording
    shape = recording.steps[recording.parameters[other]].value.shape
    uses = [edge for edge in recording.consumers[recording.parameters[other]] if not _is_penalty(walk, other, edge)]
    sources: list[tuple[int, int] | str] = ["whole"]
    if penalty_of(walk, other).any():
        sources.append("data")
    if len(uses) > 1:
        sources += uses
    for kept in range(len(shape)):
        if shape[kept] == G.size:
            axes = tuple(k for k in range(len(shape)) if k != kept)
            for how, source in product(("sum", "mean", "first row"), sources):
                detail = {"other": other, "axis": axes[0] if len(axes) == 1 else axes, "how": how}
                cost = 1.2 + 0.2 * (how != "sum") + 0.1 * (source != "whole")
                value = bind_arguments(_from_weights, name, other, axes, how, source)
                yield Edit("from_weights", ("parameter", name), value, cost=cost, detail=detail)


def _is_penalty(walk: Walk, name: str, edge: tuple[int, int]) -> bool:
    """Return whether a use of a parameter contributes a multiple of the parameter to its gradient."""
    w, part = value_of(walk, walk.recording.parameters[name]), walk.contributions.get(edge)
    if part is None or part.shape != w.shape:
        return True
    return np.allclose(part, np.vdot(w, part) / np.vdot(w, w) * w, rtol=1e-9, atol=1e-12)


def _from_weights(
    walk: Walk, G: Array, name: str, other: str, axes: tuple[int, ...], how: str, source: tuple[int, int] | str
) -> Array | None:
    """Return the sum of the gradient of weights, or of a part of it, along axes, with the L2 term of the bias."""
    if isinstance(source, str):
        H = walk.gradients[other] - (penalty_of(walk, other) if source == "data" else 0)
    else:
        H = walk.contributions[source]
    first = tuple(0 if k in axes else slice(None) for k in range(H.ndim))
    part = H.sum(axes) if how == "sum" else H.mean(axes) if how == "mean" else H[first]
    return part.reshape(G.shape) + penalty_of(walk, name) if part.size == G.size else None
