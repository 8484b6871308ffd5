"""Reading a walk at a node: values, cotangents and the arrays of a problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


def unsummed(walk: Walk, i: int, parent: int) -> Array:
    """Return what flows from a node to an operand, such as a bias or a scale, before it is summed along its axes."""
    g, step = cotangent_of(walk, i), walk.recording.steps[i]
    if step.op == "multiply":
        others = [x for x in step.operands[:2] if not (isinstance(x, Ref) and x.at == parent)]
        if len(others) == 1 and not isinstance(others[0], str):
            whole: Array = np.asarray(g * read_array(walk, others[0]))
            return whole if whole.shape == g.shape else g
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


def read_array(walk: Walk, source: Any) -> Array:
    """Return an array of a problem: the value of a node, or an argument by name."""
    if isinstance(source, Ref):
        return value_of(walk, source.at)
    if isinstance(source, str):
        return walk.recording.arrays[source]
    return np.asarray(source)


def matrices(recording: Recording) -> Iterator[tuple[Any, Array]]:
    """Yield the matrices of a problem: values of nodes, arguments and constants."""
    yield from arrays_with_axes(recording, 2)


def arrays_with_axes(recording: Recording, count: int) -> Iterator[tuple[Any, Array]]:
    """Yield the arrays of a problem with a number of axes: values of nodes, arguments and constants."""
    for j, step in enumerate(recording.steps):
        if step.value.ndim == count:
            yield Ref(j), step.value
    for name, array in recording.arrays.items():
        if array.ndim == count and array.dtype.kind in "fiub":
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


def product_vjp(recording: Recording, i: int, e: int) -> Callable[[Array, Array], Array | None] | None:
    """Return the VJP of a product as a function of the cotangent and the other factor; None if it is not a product.

    The VJP is None for a cotangent or factor of another shape. Products are those of matrices and vectors, and those
    of two arrays by ``einsum``.
    """
    step = recording.steps[i]
    shapes = [shape for x in step.operands[:2] if (shape := shape_of(recording, x)) is not None]
    subscripts = subscripts_of(step, e, shapes) if len(shapes) == 2 else None
    if subscripts is None:
        return None
    *inputs, out = subscripts
    own = operand_index(step, e)
    formula = f"{out},{inputs[1 - own]}->{inputs[own]}"

    def vjp(g: Array, factor: Array) -> Array | None:
        if g.ndim != len(out) or factor.ndim != len(inputs[1 - own]):
            return None
        sizes: dict[str, int] = {}
        for letters, array in ((out, g), (inputs[1 - own], factor)):
            for letter, n in zip(letters, array.shape, strict=True):
                if sizes.setdefault(letter, n) != n:
                    return None
        result: Array = np.einsum(formula, g, factor)
        return result

    return vjp


def shape_of(recording: Recording, operand: Any) -> tuple[int, ...] | None:
    """Return the shape of an operand; None if it is not an array, or not held."""
    if isinstance(operand, Ref):
        return recording.steps[operand.at].value.shape
    return operand.shape if isinstance(operand, np.ndarray) else None


_OF_AXES = {(2, 2): ("ij", "jk", "ik"), (2, 1): ("ij", "j", "i"), (1, 2): ("j", "jk", "k"), (1, 1): ("j", "j", "")}


def subscripts_of(step: Any, e: int, shapes: Sequence[tuple[int, ...]]) -> tuple[str, str, str] | None:
    """Return the letters of the axes of both factors of a product and its result."""
    if step.op == "matmul":
        return _OF_AXES.get((len(shapes[0]), len(shapes[1])))
    written = step.edges[e][1].saved.get("subscripts") if step.op == "einsum" else None
    if not isinstance(written, str) or "->" not in written or "." in written or written.count(",") != 1:
        return None
    left, out = written.replace(" ", "").split("->")
    first, second = left.split(",")
    own, other = (first, second) if operand_index(step, e) == 0 else (second, first)
    if len(set(first)) < len(first) or len(set(second)) < len(second) or not set(own) <= set(out + other):
        return None
    return first, second, out


def parameter_below(recording: Recording, i: int) -> str | None:
    """Return the parameter that a node is, or whose elements it gives another shape or order; None if there is none."""
    steps = recording.steps
    while steps[i].op in _OF_SHAPE and steps[i].value.size == steps[steps[i].edges[0][0]].value.size:
        i = steps[i].edges[0][0]
    return next((name for name, at in recording.parameters.items() if at == i), None)
