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
    bind_arguments,
    cotangent_of,
    matrices,
    matrix_shape,
    namelessness,
    operand_index,
    parameter_name,
    read_array,
    value_of,
)
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_product(recording: Recording, i: int, e: int, parent: int) -> Iterator[Edit]:
    """Yield the edits of an edge of a matrix product: transposed, or other, factors."""
    site = ("edge", i, e)
    step = recording.steps[i]
    if step.value.ndim != 2 or any(matrix_shape(recording, op) is None for op in step.operands[:2]):
        return
    is_left = operand_index(step, e) == 0
    other = step.operands[1 if is_left else 0]
    shape = recording.steps[parent].value.shape

    def multiply(walk: Walk, factor: Array, g: Array) -> Array | None:
        """Return the VJP with another factor or cotangent; None if their shapes do not match."""
        a, b = (g, factor.T) if is_left else (factor.T, g)
        return a @ b if a.shape[1:] == b.shape[:1] and (a.shape[0], b.shape[1]) == shape_of(walk) else None

    def shape_of(walk: Walk) -> tuple[int, ...]:
        return walk.recording.steps[parent].value.shape

    def read(walk: Walk, operand: Any) -> Array:
        return read_array(walk, operand)

    yield from _edits_of_outer_sum(recording, i, e)
    where = 1 if is_left else 0
    factor_shape = matrix_shape(recording, other) or ()
    yield Edit(
        "transposed_factor",
        site,
        lambda w, _: multiply(w, read(w, w.recording.steps[i].operands[where]).T, cotangent_of(w, i)),
        cost=1.1,
        detail={"factor": other, "is_left": is_left},
    )
    if shape[0] == shape[1]:
        yield Edit("transposed_product", site, lambda _, c: c.T, cost=1.3, detail={"factor": other})
    if not recording.steps[parent].op:
        for how in _SHIFTS:
            shifted = bind_arguments(
                lambda w, _, how: multiply(w, _shifted(w, i, where, *how), cotangent_of(w, i)), how
            )
            yield Edit("shifted_factor", site, shifted, cost=1.9, detail={"factor": other, "steps": how[0]})
    yield from _edits_of_updates(recording, i, e)
    for source, read_factor in _other_factors(recording, other, factor_shape):
        yield Edit(
            "wrong_factor",
            site,
            bind_arguments(lambda w, _, read_factor: multiply(w, read_factor(w), cotangent_of(w, i)), read_factor),
            cost=2.0 + namelessness(recording, source),
            detail={"array": source, "factor": other, "is_left": is_left},
        )
    for j, candidate in enumerate(recording.steps):
        if j != i and candidate.value.shape == step.value.shape:
            yield Edit(
                "wrong_cotangent",
                site,
                bind_arguments(
                    lambda w, _, j: multiply(w, read(w, w.recording.steps[i].operands[where]), cotangent_of(w, j)), j
                ),
                cost=2.0,
                detail={"array": Ref(j), "factor": other, "is_left": is_left},
            )
            yield Edit(
                "value_for_cotangent",
                site,
                bind_arguments(
                    lambda w, _, j: multiply(w, read(w, w.recording.steps[i].operands[where]), value_of(w, j)), j
                ),
                cost=2.4,
                detail={"array": Ref(j), "factor": other, "is_left": is_left},
            )


def _edits_of_updates(recording: Recording, i: int, e: int) -> Iterator[Edit]:
    """Yield the products with weights that have been updated before."""
    step = recording.steps[i]
    is_left = operand_index(step, e) == 0
    name = parameter_name(recording, step.operands[1 if is_left else 0])
    if name is None:
        return
    for edge in (None, *((i, k) for k in range(len(step.edges)) if k != e)):
        yield Edit(
            "updated_weights",
            ("edge", i, e),
            _updated(i, name, edge, is_left=is_left),
            "add",
            2.0 + 0.05 * (edge is not None),
            {"parameter": name, "is_left": is_left, "edge": edge},
        )
    if len(step.edges) > 1:
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
    steps = recording.steps
    at = steps[i].edges[e][0]
    while steps[at].op in ("reshape", "transpose"):
        at = steps[at].edges[0][0]
    names = [name for name, position in recording.parameters.items() if position == at]
    users = [k for k, _ in recording.consumers[i]]
    if not names or len(users) != 1 or steps[users[0]].op != "reshape" or steps[users[0]].value.ndim < 3:
        return
    (above,) = users
    for axis in range(steps[above].value.ndim):
        for row in (0, -1):
            for only in (True, False):
                detail = {"axis": axis, "row": row, "only": only, "parameter": names[0], "above": above}
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
    """Yield the matrices that have the shape of a factor, or that arrays with more axes are reshaped to."""
    for source, array in matrices(recording):
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


def _updated(
    i: int, name: str, edge: tuple[int, int] | None, *, is_left: bool
) -> Callable[[Walk, Array], Array | None]:
    """Return the change of the delta below a layer if its weights have been updated before: linear in the step size.

    The step is along the whole gradient of the weights, or along one contribution to it if an edge is given.
    """

    def value(walk: Walk, c: Array) -> Array | None:
        before = walk.without_updates
        step = before.gradients[name] if edge is None else before.contributions[edge]
        g = cotangent_of(walk, i)
        a, b = (g, step.T) if is_left else (step.T, g)
        result = a @ b if a.shape[1] == b.shape[0] else None
        return result if result is not None and result.shape == c.shape else None

    return value
