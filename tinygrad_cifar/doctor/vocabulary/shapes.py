"""Wrong gradients that have another shape than the parameter: not summed, transposed, made of other factors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, cotangent_of, matrices, operand_index, read_array
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_shape(walk: Walk, name: str, shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the wrong gradients of a parameter that have another shape than the parameter."""
    recording = walk.recording
    site = ("parameter", name)
    G = walk.gradients[name]
    if G.ndim == 2 and G.T.shape == shape:
        yield Edit("transposed_gradient", site, lambda _, G: G.T, cost=1.0)
    for i, e in recording.consumers[recording.parameters[name]]:
        g = walk.cotangents[i]
        if g is None:
            continue
        yield from _sums_of_shape(i, site, g, shape)
        if recording.steps[i].op == "matmul" and g.ndim == 2:
            yield from _products_of_shape(walk, i, e, name, shape)
    for axis in range(G.ndim):
        if G.ndim == 2 and G.sum(axis).shape == shape:
            along = bind_arguments(lambda _, G, axis: G.sum(axis), axis)
            yield Edit("summed", site, along, cost=1.4, detail={"axis": axis})


def _sums_of_shape(i: int, site: tuple[Any, ...], g: Array, shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the cotangent of a node itself, and its sums along axes, as the gradient of a parameter."""
    if g.shape == shape:
        yield Edit("not_summed", site, lambda w, _: cotangent_of(w, i), cost=1.0, detail={"node": i})
    elif g.T.shape == shape:
        yield Edit("not_summed", site, lambda w, _: cotangent_of(w, i).T, cost=1.1, detail={"node": i})
    several = [axes for n in range(2, g.ndim) for axes in combinations(range(g.ndim), n)]
    for axis, keepdims, mean in product([*range(g.ndim), *several], (False, True), (False, True)):
        if g.sum(axis, keepdims=keepdims).shape == shape:
            how = bind_arguments(_reduced, i, axis, keepdims, mean)
            detail = {"axis": axis, "node": i, "mean": mean}
            yield Edit("wrong_axis", site, how, cost=1.1 + 0.3 * mean, detail=detail)
    if np.prod(shape, dtype=int) == 1:
        yield Edit(
            "summed_over_all", site, lambda w, _: cotangent_of(w, i).sum().reshape(shape), cost=1.2, detail={"node": i}
        )


def _reduced(walk: Walk, _: Array, i: int, axis: int | tuple[int, ...], keepdims: bool, mean: bool) -> Array:
    result: Array = (np.mean if mean else np.sum)(cotangent_of(walk, i), axis=axis, keepdims=keepdims)
    return result


def _products_of_shape(walk: Walk, i: int, e: int, name: str, shape: tuple[int, ...]) -> Iterator[Edit]:
    recording = walk.recording
    step = recording.steps[i]
    is_left = operand_index(step, e) == 0
    other = step.operands[1 if is_left else 0]
    for source, array in matrices(recording):
        for turned in (False, True):
            factor = array.T if turned else array
            g_shape = step.value.shape
            result = (
                (g_shape[0], factor.shape[1])
                if is_left and g_shape[1] == factor.shape[0]
                else (factor.shape[0], g_shape[1])
                if not is_left and factor.shape[1] == g_shape[0]
                else None
            )
            if result is None or shape not in (result, result[::-1]):
                continue
            back = result != shape

            value = bind_arguments(_multiplied, i, source, is_left, turned, back)
            yield Edit(
                "wrong_factor" if not back else "transposed_gradient",
                ("parameter", name),
                value,
                cost=1.5,
                detail={"array": source, "factor": other, "is_left": is_left},
            )


def _multiplied(walk: Walk, _: Array, i: int, source: Any, is_left: bool, turned: bool, back: bool) -> Array:
    """Return the cotangent of a product times an array of the problem."""
    a, g = read_array(walk, source), cotangent_of(walk, i)
    a = a.T if turned else a
    result = g @ a if is_left else a @ g
    return result.T if back else result
