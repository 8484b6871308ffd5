"""What is diagnosed: the two functions of the user, and how they are called on a problem."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.calls import DiagnosisError, call_function
from tinygrad_cifar.doctor.matching import collect_gradients, find_others, have_names
from tinygrad_cifar.doctor.problems import (
    Axis,
    Leaf,
    class_count,
    leaves_of,
    numbers_of,
    replace_leaves,
)
from tinygrad_cifar.doctor.recording import Recording, check_cost, record
from tinygrad_cifar.engine.backprop import grad
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

    def replace(self, change: Callable[[str, Any], Any]) -> Problem:
        """Return the problem with other values: ``change(name, value)`` for each array and number."""
        return self.with_arguments(replace_leaves(self.arguments, change))

    def with_arguments(self, arguments: dict[str, Any]) -> Problem:
        """Return a problem of other arguments with the same parameters."""
        names = {leaf.name for leaf in self.parameters}
        leaves = [Leaf(leaf.name, leaf.value, leaf.name in names, leaf.is_tensor) for leaf in leaves_of(arguments)]
        return Problem(arguments, leaves)


@dataclass
class Subject:
    """What is diagnosed: the two functions of the user, and how they are called.

    ``has_names`` says whether the gradients were last returned by the names of the parameters.
    """

    cost: Callable[..., Any]
    gradients: Any
    seconds: float
    budget: Budget
    name: str = "gradients"
    printed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    batch: frozenset[Axis] = frozenset()
    values: Callable[[], Mapping[str, Any]] = dict
    has_names: bool = False

    def record(self, problem: Problem) -> Recording:
        """Evaluate the cost in float64 and return its recording."""
        arguments, tensors = _as_tensors(problem, np.float64)
        arrays = {
            leaf.name: _convert(leaf.value, np.float64)
            for leaf in problem.leaves
            if isinstance(leaf.value, np.ndarray) and not leaf.is_parameter
        }
        evaluate = self._timed(lambda: _call(self.cost, arguments, "cost"))
        recording: Recording = self._call_cost(lambda: record(evaluate, tensors, arrays, self.numbers(problem)))
        recording.give_names(self.values())
        return recording

    def numbers(self, problem: Problem) -> dict[str, float]:
        """Return the numbers of a problem by name."""
        return numbers_of(problem.leaves, self.batch, class_count(problem.leaves))

    def evaluate_cost(self, problem: Problem, dtype: type = np.float64) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cost, without recording names and values, and the parameters; in float64, or another precision."""
        arguments, tensors = _as_tensors(problem, dtype)
        out = self._call_cost(self._timed(lambda: _call(self.cost, arguments, "cost")))
        check_cost(out)
        return out, tensors

    def right_gradients(self, problem: Problem, dtype: type = np.float64) -> dict[str, Array]:
        """Return the right gradients, by parameter; zeros where the cost does not depend on it."""
        out, tensors = self.evaluate_cost(problem, dtype)
        return dict(zip(tensors, [np.asarray(g._array) for g in grad(out, list(tensors.values()))], strict=True))

    def _call_cost(self, function: Callable[[], Any]) -> Any:
        return call_function(function, "cost", seconds=self.seconds, printed=self.printed)

    def _timed(self, function: Callable[[], Any]) -> Callable[[], Any]:
        def timed() -> Any:
            with self.budget.in_function():
                return function()

        return timed

    def evaluate(self, problem: Problem) -> dict[str, Array]:
        """Return the user's gradients by parameter."""
        if not callable(self.gradients):
            return self._collect(self.gradients, problem)
        arguments = replace_leaves(problem.arguments, lambda _, value: _copy(plain_value(value)))
        before = copy.deepcopy(arguments)
        function = self._timed(lambda: _call(self.gradients, arguments, self.name))
        given = call_function(function, self.name, seconds=self.seconds, printed=self.printed)
        old = {leaf.name: leaf.value for leaf in leaves_of(before)}
        changed = [
            leaf.name
            for leaf in leaves_of(arguments)
            if isinstance(leaf.value, np.ndarray)
            and leaf.name in old
            and not np.array_equal(leaf.value, old[leaf.name], equal_nan=leaf.value.dtype.kind == "f")
        ]
        if changed:
            self._note(
                f"{self.name} changes its argument {', '.join(changed)}; copy it first, since training would use the "
                "changed values"
            )
        return {name: np.array(g) for name, g in self._collect(given, problem).items()}

    def _collect(self, given: Any, problem: Problem) -> dict[str, Array]:
        """Return gradients by parameter, and note those of other arguments, which are not compared."""
        shapes = {leaf.name: leaf.value.shape for leaf in problem.parameters}
        self.has_names = have_names(given, shapes)
        others = [leaf.name for leaf in problem.leaves if isinstance(leaf.value, np.ndarray) and not leaf.is_parameter]
        for name in find_others(given, shapes, others) if self.has_names else ():
            self._note(
                f"the gradient of {name} is not compared, since {name} is not taken for a parameter; to compare it, "
                "name all parameters with wrt="
            )
        return collect_gradients(given, shapes)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _as_tensors(problem: Problem, dtype: type) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the arguments of the cost with tensors for the parameters, and these by name."""
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
    return replace_leaves(problem.arguments, as_argument), tensors


def plain_value(value: Any) -> Any:
    """Return the array of a tensor, and any other value itself."""
    return value._array if isinstance(value, Tensor) else value


def _copy(value: Any) -> Any:
    return np.array(value) if np.ndim(value) else value


def _convert(value: Any, dtype: type) -> Any:
    array = np.asarray(value)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _call(function: Callable[..., Any], arguments: Mapping[str, Any], called: str) -> Any:
    """Call a function with arguments by name if it has parameters of these names, and otherwise by position."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function(*arguments.values())
    parameters = signature.parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    accepted = {name: value for name, value in arguments.items() if takes_all or name in parameters}
    if _binds(signature, **accepted):
        return function(**accepted)
    by_name = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in by_name if p.default is p.empty and p.name not in arguments]
    places = {name: k for k, name in enumerate(parameters)}
    keeps_places = all(places.get(name, k) == k for k, name in enumerate(arguments)) and len(accepted) < len(arguments)
    if missing and not (keeps_places and _binds(signature, *arguments.values())):
        are, them = ("are", "them") if len(missing) > 1 else ("is", "it")
        given = ", ".join(arguments)
        raise DiagnosisError(
            f"{called}: takes {', '.join(missing)}, which {are} not among the arguments {given}; pass {them}, too"
        )
    return function(*arguments.values())


def _binds(signature: inspect.Signature, *args: Any, **arguments: Any) -> bool:
    """Return whether a function of this signature can be called with these arguments."""
    try:
        signature.bind(*args, **arguments)
    except TypeError:
        return False
    return True
