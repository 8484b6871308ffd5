"""Wrong gradients that have another shape than the parameter: not summed, transposed, made of other factors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.vocabulary.sites import (
    bind_arguments,
    cotangent_of,
    matrices,
    operand_index,
    penalty_of,
    read_array,
    unsummed,
    used_at,
)
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
        yield from _sums_of_shape(walk, used_at(recording, i), name, shape)
        if recording.steps[i].op == "matmul" and g.ndim == 2:
            yield from _products_of_shape(walk, i, e, name, shape)
    for axis in range(G.ndim):
        if G.ndim == 2 and G.sum(axis).shape == shape:
            along = bind_arguments(lambda _, G, axis: G.sum(axis), axis)
            yield Edit("summed", site, along, cost=1.4, detail={"axis": axis})
    if G.size in (1, max(G.shape, default=1)):
        yield from _gradients_of_weights(walk, name, shape)


def _sums_of_shape(walk: Walk, i: int, name: str, shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the cotangent of a node itself, and its sums along axes, as the gradient of a parameter.

    The axes that are left may be in another order, or joined, as those of images and patches. The L2 term of the
    parameter, if there is one, is added as NumPy broadcasts it.
    """
    site, at = ("parameter", name), walk.recording.parameters[name]
    g = walk.cotangents[i]
    if g is None:
        return
    has_penalty = bool(penalty_of(walk, name).any())
    for count in range(g.ndim):
        for axes in combinations(range(g.ndim), count):
            for order, is_kept in product(permutations(k for k in range(g.ndim) if k not in axes), (False, True)):
                if not _fits(g.shape, order, is_kept, walk.gradients[name].shape if has_penalty else None, shape):
                    continue
                cost = 1.0 + 0.1 * (order != tuple(sorted(order))) + 0.1 * count
                if not axes:
                    value = bind_arguments(_reduced, i, name, axes, order, is_kept, False, shape)
                    detail: dict[str, Any] = {"node": i, "order": order}
                    yield Edit("not_summed", site, value, cost=cost, detail=detail)
                for mean in (False, True) if axes else ():
                    value = bind_arguments(_reduced, i, name, axes, order, is_kept, mean, shape)
                    axis = axes[0] if count == 1 else axes
                    detail = {"axis": axis, "node": i, "mean": mean, "order": order}
                    yield Edit("wrong_axis", site, value, cost=cost + 0.3 * mean, detail=detail)
    if np.prod(shape, dtype=int) == 1:
        yield Edit(
            "summed_over_all", site, lambda w, _: unsummed(w, i, at).sum().reshape(shape), cost=1.2, detail={"node": i}
        )


def _fits(
    whole: tuple[int, ...],
    order: tuple[int, ...],
    is_kept: bool,
    penalty: tuple[int, ...] | None,
    shape: tuple[int, ...],
) -> bool:
    """Return whether the axes ``order`` of an array, and an L2 term of the shape ``penalty``, give this shape."""
    if penalty is None:
        return int(np.prod([whole[k] for k in order])) == int(np.prod(shape)) and not is_kept
    try:
        return np.broadcast_shapes(_kept(whole, order, is_kept), penalty) == shape
    except ValueError:
        return False


def _kept(whole: tuple[int, ...], order: tuple[int, ...], is_kept: bool) -> tuple[int, ...]:
    """Return the shape of a sum: of the axes that are left, or of all axes, those of the sum with size 1."""
    return tuple(n if k in order else 1 for k, n in enumerate(whole)) if is_kept else tuple(whole[k] for k in order)


def _reduced(
    walk: Walk,
    _: Array,
    i: int,
    name: str,
    axes: tuple[int, ...],
    order: tuple[int, ...],
    is_kept: bool,
    mean: bool,
    shape: tuple[int, ...],
) -> Array:
    g = unsummed(walk, i, walk.recording.parameters[name])
    total = g.mean(axes) if mean else g.sum(axes)
    left = sorted(order)
    total = total.transpose([left.index(k) for k in order])
    penalty = penalty_of(walk, name)
    if penalty.any():
        return np.asarray(total.reshape(_kept(g.shape, order, is_kept)) + penalty)
    result: Array = total.reshape(shape)
    return result


def _gradients_of_weights(walk: Walk, name: str, shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the gradient of weights, or a sum of it, as that of a bias."""
    for other, H in walk.gradients.items():
        if other == name or H.ndim != 2:
            continue
        if H.shape == shape:
            detail = {"other": other, "axis": None, "how": "whole"}
            yield Edit("from_weights", ("parameter", name), bind_arguments(_of_other, other), cost=1.3, detail=detail)
        for axis in (0, 1):
            total = H.sum(axis)
            if total.size == np.prod(shape, dtype=int) > 1:
                value = bind_arguments(_of_other, other, axis, shape)
                summed = {"other": other, "axis": axis, "how": "sum"}
                yield Edit("from_weights", ("parameter", name), value, cost=1.4, detail=summed)


def _of_other(walk: Walk, _: Array, other: str, axis: int | None = None, shape: tuple[int, ...] = ()) -> Array:
    H = walk.gradients[other]
    return H if axis is None else H.sum(axis).reshape(shape)


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
