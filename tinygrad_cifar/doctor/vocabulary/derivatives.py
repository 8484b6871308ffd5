"""Mistakes in a derivative: left out, applied twice, that of another function, or with the mask of another array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording, Ref
from tinygrad_cifar.doctor.vocabulary.sites import (
    bind_arguments,
    cotangent_of,
    matrices,
    namelessness,
    operand_index,
    read_array,
    value_of,
)
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array

_ELEMENTWISE = frozenset(
    ("relu", "tanh", "sigmoid", "exp", "log", "sqrt", "square", "softplus", "absolute", "power", "maximum", "where")
)


_ARITHMETIC = frozenset(("add", "subtract", "multiply", "divide", "negative"))
_MOST_OPERATIONS = 8  # of a function that is composed of element-wise operations
_WITH_KINK = frozenset(("relu", "maximum", "where", "absolute"))
_ON_KINK = 0.8  # a difference on kinks alone is no mistake, so this explanation goes first
_FACTORS: dict[str, Callable[[Array, Array], Array]] = {
    "(out > 0)": lambda x, out: out > 0,
    "(x > 0)": lambda x, out: x > 0,
    "(x >= 0)": lambda x, out: x >= 0,
    "(x < 0)": lambda x, out: x < 0,
    "out": lambda x, out: out,
    "x": lambda x, out: x,
    "out * (1 - out)": lambda x, out: out * (1 - out),
    "x * (1 - x)": lambda x, out: x * (1 - x),
    "(1 - out**2)": lambda x, out: 1 - out**2,
    "(1 - x**2)": lambda x, out: 1 - x**2,
    "(1 - out)": lambda x, out: 1 - out,
    "(1 - tanh(out)**2)": lambda x, out: 1 - np.tanh(out) ** 2,
    "sigmoid(out) * (1 - sigmoid(out))": lambda x, out: _sigmoid(out) * (1 - _sigmoid(out)),
    "(1 - tanh(x)**2)": lambda x, out: 1 - np.tanh(x) ** 2,
    "tanh(x)": lambda x, out: np.tanh(x),
    "(1 - tanh(x))": lambda x, out: 1 - np.tanh(x),
    "sigmoid(x) * (1 - sigmoid(x))": lambda x, out: _sigmoid(x) * (1 - _sigmoid(x)),
    "sigmoid(x)": lambda x, out: _sigmoid(x),
    "sigmoid(out)": lambda x, out: _sigmoid(out),
    "(1 - x)": lambda x, out: 1 - x,
    "2 * x": lambda x, out: 2 * x,
    "out * (1 + out)": lambda x, out: out * (1 + out),
    "(1 + out**2)": lambda x, out: 1 + out**2,
    "1 / x": lambda x, out: 1 / x,
    "1 / out": lambda x, out: 1 / out,
}


# The derivative of a function as a formula in its output, for which another array is taken.
_IN_OUTPUT: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "tanh": ("(1 - {}**2)", lambda out: 1 - out**2),
    "sigmoid": ("{0} * (1 - {0})", lambda out: out * (1 - out)),
}


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def edits_of_derivative(recording: Recording, i: int, e: int, parent: int, g: Array) -> Iterator[Edit]:
    """Yield the edits of an edge whose contribution is the cotangent times a factor, element by element."""
    step = recording.steps[i]
    site = ("edge", i, e)
    operands = [op for k, op in enumerate(step.operands[:2]) if k != operand_index(step, e)]
    other = operands[0] if operands else None
    is_activation = step.op in _ELEMENTWISE
    yield Edit("left_out", site, lambda w, _: cotangent_of(w, i), cost=1.0 if is_activation else 1.2)
    yield Edit("twice", site, _applied_twice(i, e), cost=1.6)
    if is_activation:
        for text, function in _FACTORS.items():
            if text == "(x >= 0)" and step.op not in _WITH_KINK:
                continue
            yield Edit(
                "other_derivative",
                site,
                bind_arguments(lambda w, _, f: cotangent_of(w, i) * f(value_of(w, parent), value_of(w, i)), function),
                cost=_ON_KINK if text == "(x >= 0)" else 1.5 + 0.01 * len(text),
                detail={"factor": text, "parent": parent},
            )
        yield from _masks(recording, i, site, parent, g)
        yield from _derivatives_elsewhere(recording, i, site, parent, g)
    if step.op in ("multiply", "divide") and isinstance(other, np.ndarray) and other.shape == g.shape:
        at = next(k for k, op in enumerate(step.operands) if op is other)
        yield Edit("unscaled_mask", site, _unscaled(i, at), cost=0.8, detail={"at": at})
        if step.op == "multiply" and len(np.unique(other[other != 0])) == 1 and not other.all():
            yield Edit("mask_left_out", site, _without_mask(i, at), cost=0.9, detail={"at": at})


def edits_of_operand(recording: Recording, i: int, site: tuple[Any, ...], shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the edits of an element-wise product: another array in place of the other factor."""
    for source, array in matrices(recording):
        if array.shape == shape:
            yield Edit(
                "wrong_operand",
                site,
                bind_arguments(lambda w, _, source: cotangent_of(w, i) * read_array(w, source), source),
                cost=2.0 + namelessness(recording, source),
                detail={"array": source},
            )


def _applied_twice(i: int, e: int) -> Callable[[Walk, Array], Array | None]:
    def value(walk: Walk, c: Array) -> Array | None:
        edge = walk.recording.steps[i].edges[e][1]
        return edge.vjp(c) if c.shape == walk.recording.steps[i].value.shape else None

    return value


def _unscaled(i: int, at: int) -> Callable[[Walk, Array], Array]:
    return lambda walk, _: cotangent_of(walk, i) * (walk.recording.steps[i].operands[at] != 0)


def _without_mask(i: int, at: int) -> Callable[[Walk, Array], Array]:
    """Return the cotangent times the scale of a mask, such as 1 / keep, as if all its elements had been kept."""
    return lambda walk, _: cotangent_of(walk, i) * np.abs(walk.recording.steps[i].operands[at]).max()


def _masks(recording: Recording, i: int, site: tuple[Any, ...], parent: int, g: Array) -> Iterator[Edit]:
    if recording.steps[i].op not in ("relu", "maximum", "where"):
        return
    for j, step in enumerate(recording.steps):
        if j not in (i, parent) and step.value.shape == g.shape:
            yield Edit(
                "wrong_mask",
                site,
                bind_arguments(lambda w, _, j: cotangent_of(w, i) * (value_of(w, j) > 0), j),
                # Centred and normalised values have the same sign: the one with a name, next to the ReLU, is meant.
                cost=2.0 + 0.05 * (not step.name) - 0.0001 * j * (j < i),
                detail={"array": Ref(j)},
            )
        cotangent = j != i and step.value.shape == g.shape
        if cotangent or j == i:
            yield Edit(
                "wrong_mask",
                site,
                bind_arguments(lambda w, _, j: cotangent_of(w, i) * (cotangent_of(w, j) > 0), j),
                cost=2.2,
                detail={"array": Ref(j), "gradient": True},
            )
    for name, array in recording.arrays.items():
        if array.shape == g.shape:
            yield Edit(
                "wrong_mask",
                site,
                bind_arguments(lambda w, _, name: cotangent_of(w, i) * (w.recording.arrays[name] > 0), name),
                cost=2.1,
                detail={"array": name},
            )


def _derivatives_elsewhere(
    recording: Recording, i: int, site: tuple[Any, ...], parent: int, g: Array
) -> Iterator[Edit]:
    """Yield the derivatives that are computed from another array than the output of the function."""
    if recording.steps[i].op not in _IN_OUTPUT:
        return
    text, function = _IN_OUTPUT[recording.steps[i].op]
    for j, step in enumerate(recording.steps):
        if j not in (i, parent) and step.value.shape == g.shape:
            yield Edit(
                "derivative_elsewhere",
                site,
                bind_arguments(lambda w, _, j: cotangent_of(w, i) * function(value_of(w, j)), j),
                cost=1.8 + namelessness(recording, Ref(j)),
                detail={"array": Ref(j), "formula": text},
            )


def edits_of_composition(recording: Recording, i: int) -> Iterator[Edit]:
    """Yield the edits of the derivative of a function that consists of several element-wise operations."""
    for end in _ends_of_functions(recording, i):
        detail = {"end": end}
        left_out = bind_arguments(lambda w, _, end: cotangent_of(w, end), end)
        # If a value between them has a name, too, the derivative of one of its operations says more.
        is_one = not any(step.name for step in recording.steps[i + 1 : end])
        cost = (0.45 if is_one else 1.3) + 0.01 * (end - i)
        yield Edit("composition_left_out", ("node", i), left_out, cost=cost, detail=detail)
        for text, function in _FACTORS.items():
            if text != "(x >= 0)":
                yield Edit(
                    "composition_derivative",
                    ("node", i),
                    bind_arguments(
                        lambda w, _, end, f: cotangent_of(w, end) * f(value_of(w, i), value_of(w, end)), end, function
                    ),
                    cost=1.6 + 0.01 * len(text),
                    detail={"end": end, "factor": text},
                )


def _ends_of_functions(recording: Recording, i: int) -> Iterator[int]:
    """Yield the named values that are several element-wise operations on a value, which nothing else uses."""
    steps = recording.steps
    shape = steps[i].value.shape
    if not shape or not steps[i].op:
        return
    inside, is_function = [i], False
    for k in range(i + 1, len(steps)):
        parents = {parent for parent, _ in steps[k].edges}
        if parents.isdisjoint(inside):
            continue
        is_elementwise = steps[k].op in _ELEMENTWISE | _ARITHMETIC and steps[k].value.shape == shape
        if not is_elementwise or not parents <= set(inside) or len(inside) > _MOST_OPERATIONS:
            return
        is_function |= steps[k].op in _ELEMENTWISE
        users = {user for j in inside for user, _ in recording.consumers[j]}
        inside.append(k)
        if steps[k].name and is_function and len(inside) > 2 and users <= set(inside):
            yield k


def edits_of_softmax(i: int, site: tuple[Any, ...]) -> Iterator[Edit]:
    """Yield the edits of the derivative of a softmax."""
    yield Edit("softmax_left_out", site, lambda w, _: cotangent_of(w, i), cost=1.0)
    yield Edit(
        "softmax_diagonal", site, lambda w, _: cotangent_of(w, i) * value_of(w, i) * (1 - value_of(w, i)), cost=1.0
    )
    yield Edit("softmax_without_sum", site, lambda w, _: cotangent_of(w, i) * value_of(w, i), cost=1.0)
    yield Edit(
        "softmax_sum_only",
        site,
        lambda w, c: c - cotangent_of(w, i) * value_of(w, i),
        cost=1.3,
    )
