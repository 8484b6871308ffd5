"""Mistakes in the gradient of a matrix product: a transposed factor, another variable, weights updated too early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

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

    def product(walk: Walk, factor: Array, g: Array) -> Array | None:
        """Return the VJP with another factor or cotangent; None if their shapes do not match."""
        a, b = (g, factor.T) if is_left else (factor.T, g)
        return a @ b if a.shape[1:] == b.shape[:1] and (a.shape[0], b.shape[1]) == shape_of(walk) else None

    def shape_of(walk: Walk) -> tuple[int, ...]:
        return walk.recording.steps[parent].value.shape

    def read(walk: Walk, operand: Any) -> Array:
        return read_array(walk, operand)

    where = 1 if is_left else 0
    factor_shape = matrix_shape(recording, other) or ()
    yield Edit(
        "transposed_factor",
        site,
        lambda w, _: product(w, read(w, w.recording.steps[i].operands[where]).T, cotangent_of(w, i)),
        cost=1.1,
        detail={"factor": other, "is_left": is_left},
    )
    if shape[0] == shape[1]:
        yield Edit("transposed_product", site, lambda _, c: c.T, cost=1.3, detail={"factor": other})
    name = parameter_name(recording, other)
    if name is not None:
        yield Edit(
            "updated_weights",
            site,
            _updated(i, name, is_left=is_left),
            "add",
            2.0,
            {"parameter": name, "is_left": is_left},
        )
    for source, array in matrices(recording):
        if array.shape == factor_shape and not (isinstance(source, Ref) and isinstance(other, Ref) and source == other):
            if isinstance(source, str) and array is other:
                continue
            yield Edit(
                "wrong_factor",
                site,
                bind_arguments(lambda w, _, s: product(w, read_array(w, s), cotangent_of(w, i)), source),
                cost=2.0 + namelessness(recording, source),
                detail={"array": source, "factor": other, "is_left": is_left},
            )
    for j, candidate in enumerate(recording.steps):
        if j != i and candidate.value.shape == step.value.shape:
            yield Edit(
                "wrong_cotangent",
                site,
                bind_arguments(
                    lambda w, _, j: product(w, read(w, w.recording.steps[i].operands[where]), cotangent_of(w, j)), j
                ),
                cost=2.0,
                detail={"array": Ref(j), "factor": other, "is_left": is_left},
            )
            yield Edit(
                "value_for_cotangent",
                site,
                bind_arguments(
                    lambda w, _, j: product(w, read(w, w.recording.steps[i].operands[where]), value_of(w, j)), j
                ),
                cost=2.4,
                detail={"array": Ref(j), "factor": other, "is_left": is_left},
            )


def _updated(i: int, name: str, *, is_left: bool) -> Callable[[Walk, Array], Array | None]:
    """Return the change of the delta below a layer if its weights have been updated before: linear in the step size."""

    def value(walk: Walk, c: Array) -> Array | None:
        step = walk.without_updates.gradients[name]
        g = cotangent_of(walk, i)
        a, b = (g, step.T) if is_left else (step.T, g)
        result = a @ b if a.shape[1] == b.shape[0] else None
        return result if result is not None and result.shape == c.shape else None

    return value
