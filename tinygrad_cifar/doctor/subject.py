"""What is diagnosed: the two functions of the user, and how they are called on a problem."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import call_function
from tinygrad_cifar.doctor.matching import collect_gradients
from tinygrad_cifar.doctor.problems import (
    Axis,
    Leaf,
    class_count,
    leaves_of,
    numbers_of,
    replace_leaves,
)
from tinygrad_cifar.doctor.recording import Recording, record
from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.tensor import Tensor


@dataclass
class Problem:
    """The arguments of the cost, with its parameters.

    Attributes
    ----------
    arguments : dict
        Arguments by name.
    leaves : list of Leaf
        The arrays and numbers among them.
    """

    arguments: dict[str, Any]
    leaves: list[Leaf]

    @property
    def parameters(self) -> list[Leaf]:
        """The leaves that are differentiated."""
        return [leaf for leaf in self.leaves if leaf.is_parameter]


@dataclass
class Subject:
    """What is diagnosed: the two functions of the user, and how they are called."""

    cost: Callable[..., Any]
    gradients: Any
    seconds: float
    name: str = "gradients"
    printed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    batch: frozenset[Axis] = frozenset()
    values: Callable[[], Mapping[str, Any]] = dict

    def record(self, problem: Problem, dtype: type = np.float64) -> Recording:
        """Evaluate the cost in float64, or in another precision, and return its recording."""
        tensors: dict[str, Tensor] = {}

        def as_argument(name: str, value: Any) -> Any:
            leaf = by_name[name]
            if leaf.is_parameter:
                tensors[name] = Tensor(np.array(leaf.value, dtype=dtype), requires_grad=True, dtype=dtype)
                return tensors[name]
            if isinstance(value, Tensor):
                return Tensor(_convert(leaf.value, dtype))
            return _convert(value, dtype) if isinstance(value, np.ndarray) else value

        by_name = {leaf.name: leaf for leaf in problem.leaves}
        arguments = replace_leaves(problem.arguments, as_argument)
        arrays = {
            leaf.name: _convert(leaf.value, dtype)
            for leaf in problem.leaves
            if isinstance(leaf.value, np.ndarray) and not leaf.is_parameter
        }
        numbers = numbers_of(problem.leaves, self.batch, class_count(problem.leaves))
        recording: Recording = call_function(
            lambda: record(lambda: _call(self.cost, arguments), tensors, arrays, numbers),
            "cost",
            seconds=self.seconds,
            printed=self.printed,
        )
        recording.give_names(self.values())
        return recording

    def evaluate(self, problem: Problem) -> dict[str, Array]:
        """Return the user's gradients by parameter."""
        shapes = {leaf.name: leaf.value.shape for leaf in problem.parameters}
        if not callable(self.gradients):
            return collect_gradients(self.gradients, shapes)
        arguments = replace_leaves(problem.arguments, lambda _, value: _copy(plain_value(value)))
        before = copy.deepcopy(arguments)
        given = call_function(
            lambda: _call(self.gradients, arguments), self.name, seconds=self.seconds, printed=self.printed
        )
        changed = [
            a.name
            for a, b in zip(leaves_of(arguments), leaves_of(before), strict=False)
            if isinstance(a.value, np.ndarray)
            and not np.array_equal(a.value, b.value, equal_nan=a.value.dtype.kind == "f")
        ]
        if changed:
            note = f"{self.name} changes its argument {', '.join(changed)}; copy it first, since training would use the changed values"  # noqa: E501
            if note not in self.notes:
                self.notes.append(note)
        return {name: np.array(g) for name, g in collect_gradients(given, shapes).items()}


def plain_value(value: Any) -> Any:
    """Return the array of a tensor, and any other value itself."""
    return value._array if isinstance(value, Tensor) else value


def _copy(value: Any) -> Any:
    return np.array(value) if np.ndim(value) else value


def _convert(value: Any, dtype: type) -> Any:
    array = np.asarray(value)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function with arguments by name if it has parameters of these names, and otherwise by position."""
    try:
        signature = inspect.signature(function)
        accepted = {name: value for name, value in arguments.items() if name in signature.parameters}
        if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            accepted = dict(arguments)
        signature.bind(**accepted)
        arguments = accepted
    except (TypeError, ValueError):
        return function(*arguments.values())
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    return function(*arguments.values()) if positional else function(**arguments)
