"""Mistakes in the forward pass of the gradient function: an operation that it computes in another way.

The cost is evaluated again, and the result of one of its operations is replaced as soon as it has been computed. What
follows is computed from the other result, forward and backward, as in a gradient function that has this mistake in its
forward pass and derivatives that fit the cost. The derivative of the operation itself may be computed from the other
result, too, or from the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case, explain, magnitude
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.subject import Subject
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array, Primitive, Value
from tinygrad_cifar.engine.modes import ModeContext, Watcher

_MOST_TRIED = 100
_SECONDS = 0.35  # of processor time, with that of the cost
_FEW = 2  # distinct values of a mask


@dataclass(frozen=True)
class Result:
    """The result of an operation of the cost, in the order of evaluation."""

    position: int
    op: str
    arguments: tuple[Any, ...]
    out: Array


@dataclass(frozen=True)
class ForwardChange:
    """Another result of an operation.

    Attributes
    ----------
    position : int
        Which operation, in the order of evaluation.
    what : str
        What the gradient function computes instead, with {out} for the result, {x} and {y} for the operands.
    value : callable
        ``value(x, y, out)`` is the other result.
    swapped : bool
        Whether the operands are exchanged, so that x is the second one.
    also : tuple of ForwardChange
        Changes of other operations: of the one before it, or the same in other layers.
    keeps_derivative : bool
        Whether the VJP of the operation has the right result.
    """

    position: int
    what: str
    value: Callable[[Array, Any, Array], Array]
    swapped: bool = False
    also: tuple[ForwardChange, ...] = ()
    keeps_derivative: bool = False

    @property
    def all(self) -> list[ForwardChange]:
        """The change and those that belong to it."""
        return [self, *[inner for one in self.also for inner in one.all]]


class _Log(Watcher):
    """Keeps all results that are recorded."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:
        if out._node is not None:
            self.results.append(Result(len(self.results), op.name, tuple(arguments), out._array))


class _Replace(Watcher):
    """Replaces results; in place, the VJP of the operation itself receives the other result, too."""

    def __init__(self, change: ForwardChange) -> None:
        self._changes = {one.position: one for one in change.all}
        self._count = 0

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002
        if out._node is None:
            return
        change = self._changes.get(self._count)
        if change is not None:
            other = change.value(*_operands(arguments, swapped=change.swapped), out._array)
            if change.keeps_derivative:
                out._array = np.array(np.broadcast_to(other, out._array.shape), dtype=out._array.dtype)
            else:
                out._array[...] = other
        self._count += 1


def _operands(arguments: Sequence[Any], *, swapped: bool) -> tuple[Any, Any]:
    x, y = (*arguments, None)[:2]
    return (y, x) if swapped else (x, y)


@dataclass(frozen=True)
class Confirmed:
    """A change of the forward pass that explains some gradients, and changes none that was right."""

    change: ForwardChange
    result: Result
    explained: tuple[str, ...]
    is_enough: bool
    is_likely: bool

    def finding(self, cases: Sequence[Case]) -> Finding:
        """Return the mistake as a finding of a search."""
        edit = Edit(
            "forward_pass", ("argument", ""), lambda _, g: g, detail={"result": self.result, "change": self.change}
        )
        affected = self.explained if self.is_enough else tuple(cases[0].recording.parameters)
        return Finding(edit, None, self.explained, tuple(1.0 for _ in cases), affected)


def find_forward_changes(subject: Subject, cases: Sequence[Case]) -> list[Confirmed]:
    """Return the changes of the forward pass with which the cost has some of the given gradients, the best first."""
    names = tuple(cases[0].recording.parameters)
    wrong = cases[0].wrong_parameters(strictly=False)
    if not _all_are_wrong(cases):
        return []  # another forward pass changes the scores, and with them all gradients
    log = _Log()
    try:
        with ModeContext(watcher=log):
            subject.evaluate_cost(cases[0].problem)
    except DiagnosisError:
        return []
    ends = subject.budget.total + _SECONDS
    found = []
    for tried, (result, change) in enumerate(_changes(log.results)):
        if tried == _MOST_TRIED or subject.budget.has_reached(ends):
            break
        explanation = explain(cases, wrong, partial(_agreeing, subject, change))
        if explanation is None:
            continue
        if explanation.is_enough:
            explained = tuple(name for name in names if any(name in case.wrong_parameters() for case in cases))
            return [Confirmed(change, result, explained, is_enough=True, is_likely=True)]
        found.append(Confirmed(change, result, *explanation))
    return sorted(found, key=lambda one: -len(one.explained))


def _all_are_wrong(cases: Sequence[Case]) -> bool:
    """Return whether each gradient is wrong on some problem, besides those that are 0 but for rounding."""
    wrong = frozenset[str]().union(*(case.wrong_parameters(strictly=False) for case in cases))
    gradients = Walk(cases[0].recording).gradients
    return all(name in wrong or magnitude(g) <= cases[0].allowed(name, gradients) for name, g in gradients.items())


def with_change(subject: Subject, cases: Sequence[Case], change: ForwardChange) -> list[Case] | None:
    """Return the cases with the cost with another forward pass; None if it cannot be recorded."""
    changed = []
    for case in cases:
        try:
            with ModeContext(watcher=_Replace(change)):
                recording = subject.record(case.problem)
        except (DiagnosisError, ValueError):
            return None
        if recording.signature != case.recording.signature:
            return None
        changed.append(replace(case, recording=recording))
    return changed


def _agreeing(subject: Subject, change: ForwardChange, case: Case) -> set[str]:
    """Return the parameters whose given gradients are those of the cost with another forward pass."""
    try:
        with ModeContext(watcher=_Replace(change)):
            gradients = subject.right_gradients(case.problem)
    except (DiagnosisError, ValueError):
        return set()
    return {name for name in case.given if name in gradients and case.agrees(name, gradients)}


# -- what may be computed instead --------------------------------------------------------------------------------------


def _changes(results: Sequence[Result]) -> Iterator[tuple[Result, ForwardChange]]:
    """Yield the other results of operations that are tried: first of all layers, then of one operation."""
    singles = list(_of_operations(results))
    seen = set()
    for detail in (3, 2, 1):
        layers: dict[Any, list[tuple[Result, ForwardChange]]] = {}
        for result, change in singles:
            key: Any = (change.what, change.swapped, change.keeps_derivative, *_surroundings(results, result)[:detail])
            layers.setdefault(key, []).append((result, change))
        for (result, change), *others in layers.values():
            places = tuple(other.position for other, _ in others)
            if others and (change, places) not in seen:
                seen.add((change, places))
                yield result, replace(change, also=(*change.also, *[other for _, other in others]))
    yield from singles


def _of_operations(results: Sequence[Result]) -> Iterator[tuple[Result, ForwardChange]]:
    for result in results:
        if result.out.ndim and result.op in _MAKERS:
            for change in _MAKERS[result.op](result):
                if not (result.op == "relu" and change.what.endswith(_POSITIVE)):  # its mask would be 1 everywhere
                    yield result, change
                if result.op in _WITH_OWN_RESULT:
                    yield result, replace(change, keeps_derivative=True)
            if result.op == "divide":
                for first in results[: result.position]:
                    if first.out is result.arguments[0]:
                        yield from _of_two_operations(first, result)


_WITH_OWN_RESULT = frozenset(("relu", "sigmoid", "sqrt", "divide"))  # their VJPs use it


def _surroundings(results: Sequence[Result], result: Result) -> tuple[Any, ...]:
    """Return an operation, those that compute its operands, and those that use its result: the same in all layers."""
    made = [r.op for x in result.arguments if isinstance(x, np.ndarray) for r in results if r.out is x]
    users = [r.op for r in results if any(x is result.out for x in r.arguments)]
    return result.op, tuple(made), tuple(users)


def _of_two_operations(first: Result, second: Result) -> Iterator[tuple[Result, ForwardChange]]:
    """Yield the quotients of which the operation before it has another result, as if it were left out."""
    if first.op == "multiply" and not np.ndim(second.arguments[1]):
        for swapped in (False, True):
            if _is_mask(_operands(first.arguments, swapped=swapped)[1]):
                without = ForwardChange(first.position, "", lambda x, _y, _out: x, swapped)
                what = "lacks the dropout mask and its scale, 1 / {y} (they are not applied)"
                yield second, ForwardChange(second.position, what, lambda x, _y, _out: x, also=(without,))
    if first.op == "subtract" and np.size(first.arguments[1]) < np.size(first.out):
        mean = _Mean()
        seen = ForwardChange(first.position, "", mean.keep)
        what = "is computed without the mean, which is not subtracted"
        yield second, ForwardChange(second.position, what, mean.add, also=(seen,), keeps_derivative=True)


class _Mean:
    """The mean that an operation subtracts, which is added again to the operand of a later one."""

    def keep(self, _x: Array, y: Array, out: Array) -> Array:
        self._mean = y
        return out

    def add(self, x: Array, y: Array, _out: Array) -> Array:
        result: Array = (x + self._mean) / y
        return result


def _of_product(result: Result) -> Iterator[ForwardChange]:
    """Yield the products without a dropout mask or its scale, and with the inverted mask."""
    at = result.position
    for swapped in (False, True):
        x, y = _operands(result.arguments, swapped=swapped)
        if np.ndim(y) == 0:
            if 0 < float(y) != 1 and np.ndim(x):
                yield ForwardChange(at, "lacks the factor {y}", lambda x, _y, _out: x, swapped)
        elif _is_mask(y) and np.shape(x) == result.out.shape:
            yield ForwardChange(at, "lacks the dropout mask {y} (it is not applied)", lambda x, _y, _out: x, swapped)
            if np.max(y) != 1:
                text = "has the dropout mask {y} without its scale, 1 / (the probability to keep)"
                yield ForwardChange(at, text, lambda x, y, _out: x * (y != 0), swapped)
            what = "is computed with the inverted dropout mask, {y} == 0"
            yield ForwardChange(at, what, lambda x, y, _out: x * (y == 0) * np.max(y), swapped)
            if np.max(y) != 1:
                yield ForwardChange(at, f"{what}, without its scale", lambda x, y, _out: x * (y == 0), swapped)
        elif 1 < np.size(y) < np.size(x) and np.shape(x) == result.out.shape:
            yield ForwardChange(at, "lacks the factor {y}", lambda x, _y, _out: x, swapped)


def _is_mask(array: Any) -> bool:
    return bool(np.size(array) and not np.all(array) and len(np.unique(array)) <= _FEW)


def _of_quotient(result: Result) -> Iterator[ForwardChange]:
    """Yield the quotients without the division, and with one less in the denominator, as in a sample variance."""
    at, (x, y) = result.position, result.arguments[:2]
    if np.ndim(y) == 0 and float(y) == round(float(y)) > 2:  # noqa: PLR2004 (the divisor of a mean)
        yield ForwardChange(at, "is divided by ({y} - 1), not by {y} (ddof=1)", lambda x, y, _out: x / (y - 1))
    elif np.ndim(y) == 0 or np.size(y) < np.size(x):
        yield ForwardChange(at, "is not divided by {y}", lambda x, _y, _out: x)
        if np.ndim(y) == 0:
            yield ForwardChange(at, "is multiplied by {y}, not divided by it", lambda x, y, _out: x * y)
        else:
            yield ForwardChange(at, "is divided by the square of {y}", lambda x, y, _out: x / y**2)


def _of_difference(result: Result) -> Iterator[ForwardChange]:
    x, y = result.arguments[:2]
    if 1 < np.size(y) < np.size(x):
        yield ForwardChange(result.position, "lacks the term {y} (it is not subtracted)", lambda x, _y, _out: x)


def _of_root(result: Result) -> Iterator[ForwardChange]:
    yield ForwardChange(result.position, "is {x} itself: the root is not taken", lambda x, _y, _out: x)
    yield ForwardChange(result.position, "is 1", lambda _x, _y, out: np.ones_like(out))


_POSITIVE = ("sigmoid", "sigmoid of the negative input")
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sigmoid of the negative input": lambda x: 1 / (1 + np.exp(x)),
    "tanh": np.tanh,
    "leaky ReLU of slope 0.1": lambda x: np.where(x > 0, x, 0.1 * x),
    "leaky ReLU of slope 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
}


def _of_activation(result: Result) -> Iterator[ForwardChange]:
    """Yield the values without an activation, and with another one."""
    if np.shape(result.arguments[0]) != result.out.shape:
        return
    yield ForwardChange(result.position, "lacks the activation: it is {x}", lambda x, _y, _out: x)
    for name, function in _ACTIVATIONS.items():
        what = f"is that of another function, {name}"
        yield ForwardChange(result.position, what, _applied(function))


def _applied(function: Callable[[Array], Array]) -> Callable[[Array, Any, Array], Array]:
    def value(x: Array, _y: Any, _out: Array) -> Array:
        return function(x)

    return value


_MAKERS: dict[str, Callable[[Result], Iterator[ForwardChange]]] = {
    "multiply": _of_product,
    "divide": _of_quotient,
    "subtract": _of_difference,
    "sqrt": _of_root,
    "relu": _of_activation,
    "maximum": _of_activation,
    "tanh": _of_activation,
    "sigmoid": _of_activation,
}
