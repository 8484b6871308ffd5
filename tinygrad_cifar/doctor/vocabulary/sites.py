"""Reading a walk at a node: values, cotangents and the arrays of a problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording, Ref
from tinygrad_cifar.doctor.walks import NotApplicableError, Walk
from tinygrad_cifar.engine.graph import Array


def bind_arguments(function: Callable[..., Any], *arguments: Any) -> Callable[[Walk, Array], Any]:
    """Return a function of a walk and an array that receives further arguments."""
    return lambda walk, g: function(walk, g, *arguments)


def cotangent_of(walk: Walk, i: int) -> Array:
    """Return the cotangent of a node."""
    g = walk.cotangents[i]
    if g is None:
        raise NotApplicableError("no cotangent reaches this node")
    return g


def value_of(walk: Walk, i: int) -> Array:
    """Return the value of a node."""
    return walk.recording.steps[i].value


def operand_index(step: Any, e: int) -> int:
    """Return which argument of its operation an edge leads to."""
    return {"x": 0, "y": 1, "xs[0]": 0, "xs[1]": 1}.get(step.edges[e][1].input, 0)


def used_at(recording: Recording, i: int) -> int:
    """Return the node that computes with a node, which may first give its elements another shape, as ``b[:, None]``."""
    steps = recording.steps
    while steps[i].op in _OF_SHAPE and len(recording.consumers[i]) == 1:
        ((above, _),) = recording.consumers[i]
        if steps[i].value.size != steps[steps[i].edges[0][0]].value.size:
            break
        i = above
    return i


_OF_SHAPE = frozenset(("reshape", "transpose", "getitem", "expand_dims", "squeeze"))


def matrix_shape(recording: Recording, operand: Any) -> tuple[int, ...] | None:
    """Return the shape of an operand if it is a matrix; None otherwise."""
    if isinstance(operand, Ref):
        return recording.steps[operand.at].value.shape
    return operand.shape if isinstance(operand, np.ndarray) and operand.ndim == 2 else None


def read_array(walk: Walk, source: Any) -> Array:
    """Return an array of a problem: the value of a node, or an argument by name."""
    if isinstance(source, Ref):
        return value_of(walk, source.at)
    if isinstance(source, str):
        return walk.recording.arrays[source]
    return np.asarray(source)


def matrices(recording: Recording) -> Iterator[tuple[Any, Array]]:
    """Yield the matrices of a problem: values of nodes, arguments and constants."""
    for j, step in enumerate(recording.steps):
        if step.value.ndim == 2:
            yield Ref(j), step.value
    for name, array in recording.arrays.items():
        if array.ndim == 2 and array.dtype.kind in "fiub":
            yield name, array


def namelessness(recording: Recording, source: Any) -> float:
    """Return how much less likely an array is to stand in the place of another if it is not a variable of the cost."""
    if isinstance(source, Ref):
        return 0.05 * (not recording.steps[source.at].name)
    return 0.1


def descend(walk: Walk, i: int, found: dict[int, Array], cut: frozenset[tuple[int, int]] = frozenset()) -> Array:
    """Return the cotangent of a node that comes from those of nodes above it, along all paths that avoid some edges."""
    recording = walk.recording
    for k in range(max(found, default=i), i, -1):
        if k not in found:
            continue
        for e, (parent, _) in enumerate(recording.steps[k].edges):
            if (k, e) not in cut and i in recording.below[parent]:
                contribution = walk.contribution(k, e, found[k])
                found[parent] = found[parent] + contribution if parent in found else contribution
    return found.get(i, np.zeros_like(value_of(walk, i)))


def penalty_of(walk: Walk, name: str) -> Array:
    """Return the part of the gradient of a parameter that comes from an L2 term; zeros if there is none."""
    recording = walk.recording
    at = recording.parameters[name]
    w = recording.steps[at].value
    penalty = np.zeros(w.shape)
    if w.size < 2:  # any number is a multiple of another
        return penalty
    for edge in recording.consumers[at]:
        part = walk.contributions.get(edge)
        if part is not None and part.shape == w.shape:
            factor = np.vdot(w, part) / np.vdot(w, w)
            if np.allclose(part, factor * w, rtol=1e-9, atol=1e-12):
                penalty = penalty + part
    return penalty


def parameter_name(recording: Recording, operand: Any) -> str | None:
    """Return the parameter that an operand is, if it is one."""
    if not isinstance(operand, Ref):
        return None
    return next((name for name, at in recording.parameters.items() if at == operand.at), None)
