"""Mistakes in the gradient of a matrix product: a transposed factor, another variable, weights updated too early."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording, Ref
from tinygrad_cifar.doctor.vocabulary.sites import (
    arrays_with_axes,
    bind_arguments,
    cotangent_of,
    namelessness,
    operand_index,
    parameter_below,
    product_vjp,
    read_array,
    shape_of,
    value_of,
)
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_product(recording: Recording, i: int, e: int, parent: int) -> Iterator[Edit]:
    """Yield the edits of an edge of a product: transposed, or other, factors."""
    site = ("edge", i, e)
    step = recording.steps[i]
    vjp = product_vjp(recording, i, e)
    if vjp is None:
        return
    is_left = operand_index(step, e) == 0
    where = 1 if is_left else 0
    other = step.operands[where]
    shape, factor_shape = recording.steps[parent].value.shape, shape_of(recording, other) or ()

    def multiply(walk: Walk, factor: Array, g: Array) -> Array | None:
        """Return the VJP with another factor or cotangent; None if their shapes do not match."""
        result = vjp(g, factor)
        return result if result is not None and result.shape == value_of(walk, parent).shape else None

    def right_factor(walk: Walk) -> Array:
        return read_array(walk, walk.recording.steps[i].operands[where])

    yield from _edits_of_outer_sum(recording, i, e)
    detail = {"factor": other, "is_left": is_left}
    if len(factor_shape) == 2:
        transposed = bind_arguments(lambda w, _: multiply(w, right_factor(w).T, cotangent_of(w, i)))
        yield Edit("transposed_factor", site, transposed, cost=1.1, detail=detail)
    if len(shape) == 2 and shape[0] == shape[1]:
        yield Edit("transposed_product", site, lambda _, c: c.T, cost=1.3, detail={"factor": other})
    if not recording.steps[parent].op and step.op == "matmul" and len(factor_shape) == len(shape) == 2:
        for how in _SHIFTS:
            shifted = bind_arguments(
                lambda w, _, how: multiply(w, _shifted(w, i, where, *how), cotangent_of(w, i)), how
            )
            yield Edit("shifted_factor", site, shifted, cost=1.9, detail={"factor": other, "steps": how[0]})
    yield from _edits_of_updates(recording, i, e, multiply)
    for source, read_factor in _other_factors(recording, other, factor_shape):
        value = bind_arguments(lambda w, _, read: multiply(w, read(w), cotangent_of(w, i)), read_factor)
        cost = 2.0 + namelessness(recording, source)
        yield Edit("wrong_factor", site, value, cost=cost, detail={"array": source, **detail})
    yield from _edits_of_cotangents(recording, i, site, lambda w, g: multiply(w, right_factor(w), g), detail)


def _edits_of_cotangents(
    recording: Recording,
    i: int,
    site: tuple[Any, ...],
    vjp: Callable[[Walk, Array], Array | None],
    detail: dict[str, Any],
) -> Iterator[Edit]:
    """Yield the VJPs of a product with the cotangent, or the value, of another node in place of its cotangent."""
    steps = recording.steps
    is_last = not steps[steps[i].edges[site[2]][0]].op
    for j, candidate in enumerate(steps):
        if candidate.value.shape != steps[i].value.shape:
            continue
        array = {"array": Ref(j), **detail}
        if j != i:
            value = bind_arguments(lambda w, _, j: vjp(w, cotangent_of(w, j)), j)
            yield Edit("wrong_cotangent", site, value, cost=2.0, detail=array)
        for is_mean in (False, True) if is_last else (False,):
            value = bind_arguments(lambda w, _, j, is_mean: vjp(w, _per_image(w, j, is_mean)), j, is_mean)
            yield Edit("value_for_cotangent", site, value, cost=2.4 + 0.1 * is_mean, detail=array)


def _per_image(walk: Walk, j: int, is_mean: bool) -> Array:
    """Return the value of a node, divided by the number of images if the gradient is that of a mean."""
    return value_of(walk, j) / (walk.recording.numbers.get("N", 1.0) if is_mean else 1.0)


def _edits_of_updates(
    recording: Recording, i: int, e: int, multiply: Callable[[Walk, Array, Array], Array | None]
) -> Iterator[Edit]:
    """Yield the products with weights that have been updated before, and with the gradient of the weights instead."""
    step = recording.steps[i]
    is_left = operand_index(step, e) == 0
    operand = step.operands[1 if is_left else 0]
    name = parameter_below(recording, operand.at) if isinstance(operand, Ref) else None
    if name is None:
        return
    for edge in (None, *((i, k) for k in range(len(step.edges)) if k != e)):
        value, detail = _with_gradient(i, name, edge, multiply), {"parameter": name, "is_left": is_left, "edge": edge}
        cost = 2.0 + 0.05 * (edge is not None)
        yield Edit("updated_weights", ("edge", i, e), value, "add", cost, detail)
        yield Edit("gradient_for_factor", ("edge", i, e), value, cost=cost, detail=detail)
    if len(step.edges) > 1 and step.op == "matmul" and step.value.ndim == 2:
        detail = {"parameter": name, "is_left": is_left, "edge": (i, 1 - e)}
        value = bind_arguments(_updated_for_each_image, i, e, int(is_left))
        yield Edit("updated_weights", ("edge", i, e), value, "add", 2.1, detail)


def _updated_for_each_image(walk: Walk, _: Array, i: int, e: int, classes: int) -> Array:
    """Return the change of the delta below a layer whose weights are updated after each image, before it."""
    g, x = cotangent_of(walk, i), value_of(walk, walk.recording.steps[i].edges[e][0])
    squares: Array = (g * g).sum(classes, keepdims=True)
    return x * squares


_SHIFTS = ((1, True), (-1, True), (1, False), (-1, False))  # by how many images, and whether they wrap around


def _shifted(walk: Walk, i: int, where: int, steps: int, wraps: bool) -> Array:
    """Return a factor of a product with its images shifted by one; those at the end are 0, or wrap around."""
    axis = 1 if where == 1 else 0
    moved = np.moveaxis(np.roll(read_array(walk, walk.recording.steps[i].operands[where]), steps, axis), axis, 0).copy()
    if not wraps:
        moved[0 if steps > 0 else -1] = 0
    return np.moveaxis(moved, 0, axis)


def _edits_of_outer_sum(recording: Recording, i: int, e: int) -> Iterator[Edit]:
    """Yield the gradients of the parameter of a product that lack a part of one of several axes of its sum.

    They are the axes of the array to which the product is reshaped, as that of images and patches with filters.
    """
    steps, name = recording.steps, parameter_below(recording, recording.steps[i].edges[e][0])
    users = [k for k, _ in recording.consumers[i]]
    if name is None or len(users) != 1 or steps[users[0]].op != "reshape" or steps[users[0]].value.ndim < 3:
        return
    (above,) = users
    for axis in range(steps[above].value.ndim):
        for row in (0, -1):
            for only in (True, False):
                detail = {"axis": axis, "row": row, "only": only, "parameter": name, "above": above}
                value = _outer_part(i, e, above, (axis, row, only))
                yield Edit("part_of_sum", ("edge", i, e), value, cost=2.3, detail=detail)


def _outer_part(i: int, e: int, above: int, part: tuple[int, int, bool]) -> Callable[[Walk, Array], Array]:
    axis, row, only = part

    def value(walk: Walk, _: Array) -> Array:
        g = cotangent_of(walk, above)
        chosen = np.zeros(g.shape[axis], dtype=bool)
        chosen[row] = True
        kept = g * (chosen == only).reshape([-1 if k == axis else 1 for k in range(g.ndim)])
        return walk.recording.steps[i].edges[e][1].vjp(kept.reshape(cotangent_of(walk, i).shape))

    return value


def _other_factors(
    recording: Recording, factor: Any, shape: tuple[int, ...]
) -> Iterator[tuple[Any, Callable[[Walk], Array]]]:
    """Yield the arrays that have the shape of a factor, and the matrices that arrays with more axes are reshaped to."""
    for source, array in arrays_with_axes(recording, len(shape)):
        if array.shape == shape and array is not factor and not (isinstance(factor, Ref) and source == factor):
            yield source, partial(read_array, source=source)
    for j, step in enumerate(recording.steps):
        for axis in _axes_kept(step.value.shape, shape):
            yield Ref(j), partial(_read_flat, j=j, axis=axis)
    if isinstance(factor, Ref):
        yield from _other_reductions(recording, factor.at)


def _other_reductions(recording: Recording, at: int) -> Iterator[tuple[Any, Callable[[Walk], Array]]]:
    """Yield the means or maxima of other arrays, if a factor is that of an array with one axis more, as in pooling."""
    pooled = recording.steps[at].value
    whole = [(j, step.value) for j, step in enumerate(recording.steps) if step.value.ndim == pooled.ndim + 1]
    for j, value in whole:
        for axis, reduce in product(range(value.ndim), (np.mean, np.max)):
            reduced = reduce(value, axis=axis)
            if reduced.shape == pooled.shape and np.allclose(reduced, pooled):
                for k, other in whole:
                    if k != j and other.shape == value.shape:
                        yield Ref(k), partial(_read_reduced, j=k, axis=axis, reduce=reduce)


def _read_reduced(walk: Walk, j: int, axis: int, reduce: Callable[..., Any]) -> Array:
    result: Array = reduce(value_of(walk, j), axis=axis)
    return result


def _axes_kept(shape: tuple[int, ...], matrix: tuple[int, ...]) -> Iterator[int]:
    """Yield the axis, first or last, along which an array with more axes is reshaped to a matrix of this shape."""
    if len(shape) > 2 and len(matrix) == 2 and math.prod(shape) == math.prod(matrix):
        yield from (axis for axis in (0, -1) if shape[axis] == matrix[axis])


def _read_flat(walk: Walk, j: int, axis: int) -> Array:
    """Return a value as a matrix whose first, or last, axis is that of the value."""
    value = value_of(walk, j)
    return value.reshape((len(value), -1) if axis == 0 else (-1, value.shape[-1]))


def _with_gradient(
    i: int, name: str, edge: tuple[int, int] | None, multiply: Callable[[Walk, Array, Array], Array | None]
) -> Callable[[Walk, Array], Array | None]:
    """Return the product with the gradient of the weights as a factor: the whole, or the contribution of an edge.

    It stands for the product with the weights; or it is the change of that per step size if they have been updated.
    """

    def value(walk: Walk, _: Array) -> Array | None:
        before = walk.before_update(i)
        return multiply(
            walk, before.gradients[name] if edge is None else before.contributions[edge], cotangent_of(walk, i)
        )

    return value
