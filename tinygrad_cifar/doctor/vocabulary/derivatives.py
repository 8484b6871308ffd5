"""Mistakes in a derivative: left out, applied twice, that of another function, or with the mask of another array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording, Ref
from tinygrad_cifar.doctor.vocabulary.sites import (
    bind_arguments,
    cotangent_of,
    descend,
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
_ON_KINK = 0.8  # a difference on kinks alone is not a mistake, so this explanation goes first


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _times(function: Callable[[Array], Array], factor: float) -> Callable[[Array], Array]:
    return lambda x: factor * function(x)


_FACTORS: dict[str, Callable[[Array, Array], Array]] = {
    "(out > 0)": lambda x, out: out > 0,
    "(x > 0)": lambda x, out: x > 0,
    "(x >= 0)": lambda x, out: x >= 0,
    "(x < 0)": lambda x, out: x < 0,
    "out": lambda x, out: out,
    "x": lambda x, out: x,
    "out**2": lambda x, out: out**2,
    "x**2": lambda x, out: x**2,
    "sigmoid(-x)": lambda x, out: _sigmoid(-x),
    "(1 + out)": lambda x, out: 1 + out,
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

# The factors that stand for the derivative of a square, with and without its 2.
_OF_SQUARES: dict[str, Callable[[Array], Array]] = {
    f"{two}{text}": _times(function, factor)
    for two, factor in (("", 1.0), ("2 * ", 2.0))
    for text, function in {"x**2": np.square, "abs(x)": np.abs, "sign(x)": np.sign}.items()
}

# The factors that are the derivative of some activation.
OF_ACTIVATIONS = {
    "(x > 0)": "the derivative of the ReLU",
    "out * (1 - out)": "the derivative of the sigmoid",
    "x * (1 - x)": "the derivative of the sigmoid, of the input",
    "(1 - out**2)": "the derivative of tanh",
    "(1 - x**2)": "the derivative of tanh, but of the input, not the output",
    "sigmoid(x)": "the derivative of softplus",
    "sigmoid(x) * (1 - sigmoid(x))": "the derivative of the sigmoid",
    "(1 - tanh(x)**2)": "the derivative of tanh",
    "(1 - tanh(out)**2)": "the derivative of tanh, of the output",
    "sigmoid(out) * (1 - sigmoid(out))": "the derivative of the sigmoid, of the output",
}

# The derivative of a function of one argument, at another argument.
_AT: dict[str, Callable[[Array], Array]] = {
    "square": lambda x: 2 * x,
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: _sigmoid(x) * (1 - _sigmoid(x)),
    "exp": np.exp,
    "log": lambda x: 1 / x,
    "softplus": _sigmoid,
    "absolute": np.sign,
}

# The derivative of a function as a formula in its output, for which another array is taken.
_IN_OUTPUT: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "tanh": ("(1 - {}**2)", lambda out: 1 - out**2),
    "sigmoid": ("{0} * (1 - {0})", lambda out: out * (1 - out)),
}


def edits_of_derivative(recording: Recording, i: int, e: int, parent: int, g: Array) -> Iterator[Edit]:
    """Yield the edits of an edge whose contribution is the cotangent times a factor, element by element."""
    step = recording.steps[i]
    site = ("edge", i, e)
    operands = [op for k, op in enumerate(step.operands[:2]) if k != operand_index(step, e)]
    other = operands[0] if operands else None
    is_activation = step.op in _ELEMENTWISE and not selects_by_mask(recording, i)
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
        yield Edit("upstream_forgotten", site, _of_ones(i, e), cost=1.7)
        if step.op in _WITH_KINK:
            slope = bind_arguments(lambda w, _: cotangent_of(w, i) * (value_of(w, parent) <= 0))
            yield Edit("slope", site, slope, "add", 1.6)
        if step.op in ("square", "power"):
            for text, factor in _OF_SQUARES.items():
                value = bind_arguments(lambda w, _, f: cotangent_of(w, i) * f(value_of(w, parent)), factor)
                detail = {"factor": text, "parent": parent}
                yield Edit("other_derivative", site, value, cost=1.5 + 0.01 * len(text), detail=detail)
        yield from _without_operands(recording, i, site, parent)
        yield from _masks(recording, i, site, parent, g)
        yield from _derivatives_elsewhere(recording, i, site, parent, g)
    if step.op in ("multiply", "divide") and isinstance(other, np.ndarray) and other.shape == g.shape:
        at = next(k for k, op in enumerate(step.operands) if op is other)
        if len(np.unique(other)) <= 2:  # not weights of the images
            yield Edit("unscaled_mask", site, _unscaled(i, at), cost=0.8, detail={"at": at})
        if step.op == "multiply" and len(np.unique(other[other != 0])) == 1 and not other.all():
            yield Edit("mask_left_out", site, _without_mask(i, at), cost=0.9, detail={"at": at})
            for end in _scaled(recording, i):
                value = bind_arguments(lambda w, _, end: cotangent_of(w, end), end)
                yield Edit("mask_left_out", site, value, cost=0.95, detail={"at": at, "end": end})
            for is_scaled in (True, False):
                value = bind_arguments(_inverted, i, at, is_scaled)
                yield Edit("mask_inverted", site, value, cost=1.5 + 0.1 * is_scaled, detail={"at": at})


def selects_by_mask(recording: Recording, i: int) -> bool:
    """Return whether a node is a ``where`` whose condition is not the sign of one of its values, as with dropout."""
    step = recording.steps[i]
    if step.op != "where":
        return False
    condition = np.asarray(step.operands[0])
    values = [recording.steps[parent].value for parent, _ in step.edges]
    signs = [sign for x in values for sign in (x > 0, x >= 0, x < 0, x <= 0)]
    return not any(np.array_equal(condition, sign) for sign in signs)


def _scaled(recording: Recording, i: int) -> Iterator[int]:
    """Yield the product, or quotient, of a node and a number, which alone uses it, as with dropout."""
    if len(recording.consumers[i]) == 1:
        ((above, _),) = recording.consumers[i]
        step = recording.steps[above]
        if step.op in ("multiply", "divide") and any(np.ndim(x) == 0 for x in _constants(step)):
            yield above


def _of_ones(i: int, e: int) -> Callable[[Walk, Array], Array]:
    """Return the derivative alone, as if the gradient from above were 1."""

    def value(walk: Walk, _: Array) -> Array:
        step = walk.recording.steps[i]
        result: Array = step.edges[e][1].vjp(np.ones(step.value.shape))
        return result

    return value


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


def _inverted(walk: Walk, _: Array, i: int, at: int, is_scaled: bool) -> Array:
    mask = walk.recording.steps[i].operands[at]
    result: Array = cotangent_of(walk, i) * (mask == 0) * (np.abs(mask).max() if is_scaled else 1.0)
    return result


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
        if step.value.shape == g.shape:
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


def _without_operands(recording: Recording, i: int, site: tuple[Any, ...], parent: int) -> Iterator[Edit]:
    """Yield the derivatives of a function of a sum or difference that are computed from one of its terms alone."""
    derivative = _power_at(recording, i) if recording.steps[i].op == "power" else _AT.get(recording.steps[i].op)
    if derivative is not None:
        yield from _edits_of_terms(recording, i, site, parent, lambda walk, x: cotangent_of(walk, i) * derivative(x))


def _power_at(recording: Recording, i: int) -> Callable[[Array], Array] | None:
    """Return the derivative of a power with a constant exponent."""
    operands = recording.steps[i].operands
    if len(operands) < 2 or not isinstance(operands[1], (int, float, np.number)):
        return None
    exponent = float(operands[1])
    return lambda x: exponent * x ** (exponent - 1)


def edits_of_square(recording: Recording, i: int) -> Iterator[Edit]:
    """Yield the derivatives of a value times itself that are computed from one of the terms of the value alone."""
    step = recording.steps[i]
    if step.op != "multiply" or len(step.edges) != 2 or step.edges[0][0] != step.edges[1][0]:
        return
    parent = step.edges[0][0]
    if len(recording.consumers[parent]) == len(step.edges):
        site = ("node", parent)
        yield from _edits_of_terms(recording, i, site, parent, lambda walk, x: 2 * cotangent_of(walk, i) * x)
        for text, factor in _OF_SQUARES.items():
            value = bind_arguments(lambda w, _, f: cotangent_of(w, i) * f(value_of(w, parent)), factor)
            detail = {"end": i, "factor": text}
            yield Edit("composition_derivative", site, value, cost=1.5 + 0.01 * len(text), detail=detail)


def _edits_of_terms(
    recording: Recording, i: int, site: tuple[Any, ...], at: int, derivative: Callable[[Walk, Array], Array]
) -> Iterator[Edit]:
    step = recording.steps[at]
    if step.op not in ("add", "subtract") or all(isinstance(operand, str) for operand in step.operands[:2]):
        return
    sign = 1 if step.op == "add" else -1

    def of_terms(walk: Walk, _: Array, a: int, b: int) -> Array:
        first, second = _terms(walk, at, sign)
        return derivative(walk, a * first + b * second)

    first, second = step.operands[:2]
    how = "subtracted" if sign > 0 else "added"
    for a, b, term, what in (
        *((1, 0, second, "left out"), (0, sign, first, "left out")),
        *((0, -sign, first, "left out"), (1, -sign, second, how)),
    ):
        detail = {"term": term, "what": what, "of": i}
        yield Edit("term_of_argument", site, bind_arguments(of_terms, a, b), cost=1.4, detail=detail)


def _terms(walk: Walk, at: int, sign: int) -> tuple[Array, Array]:
    """Return the terms of a sum, or of a difference if ``sign`` is -1; one of them may be held by its name only."""
    step = walk.recording.steps[at]
    first, second = step.operands[:2]
    if isinstance(first, str):
        known = read_array(walk, second)
        return step.value - sign * known, known
    known = read_array(walk, first)
    return known, sign * (step.value - known) if isinstance(second, str) else read_array(walk, second)


def edits_of_composition(recording: Recording, i: int) -> Iterator[Edit]:
    """Yield the edits of the derivative of a function that consists of several element-wise operations."""
    for end in _ends_of_functions(recording, i):
        site, detail = ("node", i), {"end": end}
        left_out = bind_arguments(lambda w, _, end: cotangent_of(w, end), end)
        # If a value between them has a name, too, the derivative of one of its operations says more.
        is_one = recording.steps[end].name and not any(step.name for step in recording.steps[i + 1 : end])
        cost = (0.45 if is_one else 1.3) + 0.01 * (end - i)
        yield Edit("composition_left_out", site, left_out, cost=cost, detail=detail)
        for text, function in _FACTORS.items():
            if text != "(x >= 0)":
                yield Edit(
                    "composition_derivative",
                    site,
                    bind_arguments(
                        lambda w, _, end, f: cotangent_of(w, end) * f(value_of(w, i), value_of(w, end)), end, function
                    ),
                    cost=0.47 + 0.001 * len(text) if is_one and text in OF_ACTIVATIONS else 1.6 + 0.01 * len(text),
                    detail={"end": end, "factor": text},
                )
        pieces = [k for k in range(i + 1, end + 1) if recording.steps[k].op in ("where", "maximum", "minimum")]
        for k in pieces:
            if len(recording.steps[k].edges) == 2 and i in recording.below[k]:
                slope = bind_arguments(lambda w, _, end: cotangent_of(w, end) * (value_of(w, i) <= 0), end)
                yield Edit("slope", site, slope, "add", 0.49, {"end": end})
                yield from _masks_of_pieces(recording, i, k, end)


def _masks_of_pieces(recording: Recording, i: int, k: int, end: int) -> Iterator[Edit]:
    """Yield the derivatives of a function of two pieces, such as a leaky ReLU, with the mask of another array."""
    site, shape = ("node", i), recording.steps[i].value.shape
    masks: list[tuple[Callable[[Walk], Array], float, dict[str, Any]]] = []
    for j, step in enumerate(recording.steps):
        if step.value.shape == shape:
            if j not in (i, k, end):
                masks.append((partial(value_of, i=j), 2.0 + namelessness(recording, Ref(j)), {"array": Ref(j)}))
            masks.append((partial(cotangent_of, i=j), 2.2, {"array": Ref(j), "gradient": True}))
    for name, array in recording.arrays.items():
        if array.shape == shape:
            masks.append((partial(read_array, source=name), 2.1, {"array": name}))
    for read, cost, detail in masks:
        for derivative in (_of_pieces, _of_elu):
            value = bind_arguments(derivative, read, i, k, end)
            yield Edit("wrong_mask", site, value, cost=cost, detail={**detail, "end": end})
    for j, step in enumerate(recording.steps):
        if step.value.shape == shape and j != end:
            detail = {"array": Ref(j), "formula": "(1 + {})", "end": end}
            cost = 0.6 + namelessness(recording, Ref(j))
            yield Edit("derivative_elsewhere", site, bind_arguments(_of_elu_at, j, i, end), cost=cost, detail=detail)
    inverted = bind_arguments(_of_pieces, lambda walk: -value_of(walk, i), i, k, end)
    yield Edit("mask_inverted", site, inverted, cost=1.5, detail={"end": end})


def _of_pieces(walk: Walk, _: Array, read: Callable[[Walk], Array], i: int, k: int, end: int) -> Array | None:  # noqa: ARG001
    """Return the derivative of a function whose pieces meet at node ``k``, with the mask of another array."""
    is_first = _is_first_piece_of_positive(walk, i, k)
    if is_first is None:
        return None
    mask = read(walk) > 0
    g = cotangent_of(walk, k)
    found: dict[int, Array] = {}
    parents = [parent for parent, _ in walk.recording.steps[k].edges]
    for parent, piece in zip(parents, (mask == is_first, mask != is_first), strict=True):
        found[parent] = found.get(parent, 0.0) + g * piece
    return descend(walk, i, found)


def _of_elu(walk: Walk, _: Array, read: Callable[[Walk], Array], i: int, k: int, end: int) -> Array | None:  # noqa: ARG001
    """Return the derivative of an ELU, 1 or 1 + its output, with the mask of another array."""
    if not _is_elu(walk, i, end):
        return None
    return cotangent_of(walk, end) * np.where(read(walk) > 0, 1, 1 + value_of(walk, end))


def _of_elu_at(walk: Walk, _: Array, j: int, i: int, end: int) -> Array | None:
    """Return the derivative of an ELU, with another array in place of its output."""
    if not _is_elu(walk, i, end):
        return None
    return cotangent_of(walk, end) * np.where(value_of(walk, i) > 0, 1, 1 + value_of(walk, j))


def _is_elu(walk: Walk, i: int, end: int) -> bool:
    x = value_of(walk, i)
    return np.allclose(value_of(walk, end), np.where(x > 0, x, np.expm1(np.minimum(x, 0))))


def _is_first_piece_of_positive(walk: Walk, i: int, k: int) -> bool | None:
    """Return whether the first piece of a function is that of the positive values; None if neither is."""
    x = value_of(walk, i)
    active = walk.recording.steps[k].edges[0][1].vjp(np.ones_like(x)) != 0
    decided = x != 0
    if np.array_equal(active[decided], (x > 0)[decided]):
        return True
    return False if np.array_equal(active[decided], (x < 0)[decided]) else None


def _ends_of_functions(recording: Recording, i: int) -> Iterator[int]:
    """Yield the ends of functions of several element-wise operations on a value, which nothing else uses.

    A function ends at a value with a name, or before another operation, such as the product of the next layer.
    """
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
        has_mask = steps[k].op in ("multiply", "divide") and any(np.ndim(x) for x in _constants(steps[k]))
        if not is_elementwise or has_mask or not parents <= set(inside) or len(inside) > _MOST_OPERATIONS:
            return
        is_function |= steps[k].op in _ELEMENTWISE
        users = {user for j in inside for user, _ in recording.consumers[j]}
        inside.append(k)
        is_end = steps[k].name or any(
            steps[user].op not in _ELEMENTWISE | _ARITHMETIC for user, _ in recording.consumers[k]
        )
        if is_end and is_function and len(inside) > 2 and users <= set(inside):
            yield k


def _constants(step: Any) -> list[Any]:
    return [operand for operand in step.operands if not isinstance(operand, Ref)]


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
