"""One evaluation of the right cost: the nodes of its graph with their values, operands, names and lines.

Nodes, edges and operands are referred to by their position, which is the same for every problem of the same cost. A
hypothesis that is found on one problem can therefore be applied to another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.engine.graph import Array, ancestors
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.inspection.building import make_nodes
from tinygrad_cifar.inspection.nodes import GraphEdge, GraphNode
from tinygrad_cifar.inspection.tracing import call_traced
from tinygrad_cifar.nn.module import Module

_LONGEST = 34  # characters of an expression that stands for an unnamed value


@dataclass
class Step:
    """A node of the recorded graph.

    Attributes
    ----------
    op : str
        Name of the primitive; empty for a leaf.
    value : ndarray
        Its value.
    edges : list of (int, GraphEdge)
        For each input that leads to a parameter: its position, and the edge of the view.
    operands : list
        The arguments of the primitive: positions of nodes as :class:`Ref`, and constants.
    name : str
        Name of the variable in the user's code; empty if it has none.
    line : int
        Line of the user's code; 0 if it is not known.
    """

    op: str
    value: Array
    edges: list[tuple[int, GraphEdge]]
    operands: list[Any]
    broadcasts: bool = False
    name: str = ""
    line: int = 0
    source: str = ""


@dataclass(frozen=True)
class Ref:
    """The position of a node."""

    at: int


class NamedNumber(float):
    """A constant operand with its name in ``text``, and in ``meaning`` what it is if the name does not say it."""

    text: str
    meaning: str


@dataclass
class Recording:
    """An evaluation of the cost.

    Attributes
    ----------
    steps : list of Step
        The nodes that lead to the cost, in the order in which they were computed; the last is the cost.
    parameters : dict of str to int
        Position of each parameter; only those on which the cost depends.
    arrays : dict of str to ndarray
        The other arrays of the problem by name: arguments, and constants of the cost function.
    numbers : dict of str to float
        The numbers of the problem by name: sizes and scalars.
    cost : float
        Value of the cost.
    """

    steps: list[Step]
    parameters: dict[str, int]
    arrays: dict[str, Array]
    numbers: dict[str, float]
    cost: float
    result: Tensor  # holds the graph
    consumers: list[list[tuple[int, int]]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)
    leads_to: list[frozenset[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.consumers = [[] for _ in self.steps]
        names = {at: name for name, at in self.parameters.items()}
        for i, step in enumerate(self.steps):
            nodes = {i}
            for e, (parent, _) in enumerate(step.edges):
                self.consumers[parent].append((i, e))
                nodes.update(self.below[parent])
            self.below.append(sorted(nodes, reverse=True))
            self.leads_to.append(frozenset(names[j] for j in nodes if j in names))

    @cached_property
    def signature(self) -> list[Any]:
        """What must be equal in two problems for positions to mean the same in both."""
        return [(step.op, [parent for parent, _ in step.edges]) for step in self.steps]

    @cached_property
    def operations(self) -> list[Any]:
        """The operations that were computed and their inputs, without regard to values."""
        return operations_of(self.result)

    def positions(self) -> dict[str, float]:
        """Return the numbers of positions of filters in images, by name: products of two sizes of a convolution."""
        found = {}
        for i, step in enumerate(self.steps):
            if step.op == "conv2d":
                text, (_, rows, columns, _) = self.text(i), step.value.shape
                found[f"{text}.shape[1] * {text}.shape[2]"] = float(rows * columns)
        return found

    def give_names(self, values: Mapping[str, Any]) -> None:
        """Name the nodes of tensors, given by name, single or in lists."""
        flat = {
            f"{name}[{k}]" if isinstance(value, list) else name: part
            for name, value in values.items()
            for k, part in enumerate(value if isinstance(value, list) else [value])
        }
        for step in self.steps:
            for name, tensor in flat.items():
                if (
                    isinstance(tensor, Tensor)
                    and step.op
                    and not step.name
                    and _is_same_array(step.value, tensor._array)
                ):
                    step.name = name

    def text(self, at: int, depth: int = 0) -> str:
        """Return the name of a node's value, or the expression that computes it."""
        step = self.steps[at]
        if step.name:
            return step.name
        expression = self._expression(step, depth)
        return expression if len(expression) <= _LONGEST or depth else f"the {_NOUNS.get(step.op, step.op)} result"

    def expression(self, at: int) -> str:
        """Return the expression that computes a node, in the names of its operands."""
        return self._expression(self.steps[at], 0)

    def operand_text(self, operand: Any, depth: int = 1, binding: int = 9) -> str:
        """Return the name of an operand of a primitive, in parentheses if it binds less than ``binding``."""
        if isinstance(operand, Ref):
            text = self.text(operand.at, depth)
            step = self.steps[operand.at]
            own = _BINDING.get(step.op, 9) if not step.name and text == self._expression(step, depth) else 9
            return f"({text})" if own < binding else text
        if isinstance(operand, np.ndarray) and operand.ndim:
            return self.array_text(operand)
        if isinstance(operand, NamedNumber):
            return operand.text
        if isinstance(operand, (int, float, np.generic)) or (isinstance(operand, np.ndarray) and not operand.ndim):
            return f"{float(operand):g}"
        return operand if isinstance(operand, str) and operand else "..."

    def array_text(self, array: Any) -> str:
        """Return the name of an array that a primitive received or saved."""
        for name, other in self.arrays.items():
            if other.shape == array.shape and np.array_equal(other, array):
                return name
            if other.ndim > 1 and other.T.shape == array.shape and np.array_equal(other.T, array):
                return f"{name}.T"
        for step in self.steps:
            if step.name and step.value.shape == array.shape and np.array_equal(step.value, array):
                return step.name
        return "a constant"

    def _expression(self, step: Step, depth: int) -> str:
        if depth > 3 or not step.op:  # noqa: PLR2004 (nesting that can still be read)
            return "..."
        own = _BINDING.get(step.op, 0)
        bounds = (own, own + 1) if step.op in _INFIX else (own, own)
        operands = [self.operand_text(x, depth + 1, bound) for x, bound in zip(step.operands, bounds, strict=False)]
        if step.op in _INFIX and len(operands) == 2:  # noqa: PLR2004
            return f"{operands[0]} {_INFIX[step.op]} {operands[1]}"
        if step.op == "negative":
            return f"-{operands[0]}"
        if step.op == "transpose":
            return f"{operands[0]}.T"
        return f"{step.op}({operands[0] if operands else ''})"


_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@", "power": "**"}
_BINDING = {"add": 1, "subtract": 1, "negative": 2, "multiply": 2, "divide": 2, "matmul": 2, "power": 3, "transpose": 4}
_NOUNS = {"matmul": "product's", "add": "sum's", "multiply": "product's"}


def record(
    evaluate: Callable[[], Any],
    parameters: Mapping[str, Tensor],
    arrays: Mapping[str, Array],
    numbers: Mapping[str, float],
) -> Recording:
    """Evaluate the cost and return its recording.

    Parameters
    ----------
    evaluate : callable
        Evaluates the cost, without arguments.
    parameters : mapping of str to Tensor
        The tensors that it is to be differentiated with respect to.
    arrays, numbers : mapping
        Other arrays and numbers of the problem, by name.

    Raises
    ------
    DiagnosisError
        If the cost is not a scalar, is not finite, or does not depend on any of the parameters.
    """
    out = call_traced(evaluate)
    check_cost(out)
    names = {f"parameter{k}": name for k, name in enumerate(parameters)}
    holder = Module()
    for name, tensor in zip(names, parameters.values(), strict=True):
        setattr(holder, name, tensor)
    view = make_nodes(out._node, None, holder)  # without the variables of the callers
    nodes, position = _distinct_nodes([node for node in view if node.kind != "data"])
    found: dict[str, int] = {}
    steps = []
    for i, node in enumerate(nodes):
        value = node.value
        step = Step(
            node.primitive.name if node.primitive is not None else "",
            np.zeros(node.shape) if value is None else value,
            [(position[edge.source], edge) for edge in node.edges],
            [Ref(position[x.node]) if x.node in position else _constant(x.node) for x in node.inputs],
            node.primitive is not None and node.primitive.broadcasts,
            node.name,
            node.location.line if node.location is not None else 0,
            node.location.source if node.location is not None else "",
        )
        if node.kind == "parameter" and node.name in names:
            step.name = names[node.name]
            found[step.name] = i
            step.value = parameters[step.name]._array
        steps.append(step)
    for node, i in position.items():
        steps[i].name = steps[i].name or node.name
    if not found:
        raise DiagnosisError("cost: does not depend on any of the parameters")
    _number_repeated_names(steps)
    known = dict(arrays)
    for node in (node for node in view if node.kind == "data"):
        value = node.value
        if value is not None and value.ndim and value.dtype.kind in "fiub":
            same = [
                name for name, other in known.items() if other.shape == value.shape and np.array_equal(other, value)
            ]
            if not same:
                known[node.name or _multiple(value, arrays, numbers) or f"constant {len(known)}"] = value
    return Recording(steps, found, known, dict(numbers), float(out._array.item()), out)


def operations_of(out: Tensor) -> list[Any]:
    """Return the operations behind a result with the positions of their inputs, in the order of computation."""
    start = out._node
    nodes = sorted(ancestors(start), key=lambda node: node.number) if start is not None else []
    position = {node: k for k, node in enumerate(nodes)}
    return [
        (node.primitive.name if node.primitive else "", [position[parent] for parent, _, _ in node.edges or ()])
        for node in nodes
    ]


def _distinct_nodes(all_nodes: Sequence[GraphNode]) -> tuple[list[GraphNode], dict[GraphNode, int]]:
    """Return the nodes without those that compute the same as an earlier one, and the position of each.

    A cost in one line may compute the scores twice; their cotangent is the sum of both.
    """
    nodes: list[GraphNode] = []
    position: dict[GraphNode, int] = {}
    known: dict[Any, int] = {}
    for node in all_nodes:
        key = _key_of(node, position)
        if key is None or key not in known:
            position[node] = len(nodes)
            nodes.append(node)
            if key is not None:
                known[key] = position[node]
        else:
            position[node] = known[key]
    return nodes, position


def _key_of(node: GraphNode, position: Mapping[GraphNode, int]) -> Any:
    """Return what determines the value of a node: its operation, operands and options; None for a leaf."""
    if node.primitive is None or node.value is None:
        return None
    operands = tuple([position[x.node] if x.node in position else _contents(x.node.value) for x in node.inputs])
    options = tuple([(name, _contents(option)) for name, option in node.options.items()])
    return node.primitive.name, operands, options, node.value.tobytes()


def _multiple(array: Array, arrays: Mapping[str, Array], numbers: Mapping[str, float]) -> str:
    """Return an array as a multiple of another one by a number of the problem, such as ``mask / keep``."""
    largest = np.abs(array).max(initial=0)
    for name, other in arrays.items():
        if other.shape == array.shape and largest and other.any():
            factor = largest / np.abs(other).max()
            if np.allclose(array, factor * other, rtol=1e-12, atol=0):
                for number, value in numbers.items():
                    if np.isclose(factor * value, 1, rtol=1e-12):
                        return f"{name} / {number}"
                    if np.isclose(factor, value, rtol=1e-12):
                        return f"{name} * {number}"
    return ""


def _contents(x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return tuple(map(_contents, x))
    return (x.shape, x.tobytes()) if isinstance(x, np.ndarray) else repr(x)


def check_cost(out: Any) -> None:
    """Raise an error unless a cost is a finite scalar that depends on a parameter."""
    if not isinstance(out, Tensor):
        raise DiagnosisError(
            f"cost: must return a tensor, computed with the library's operations; got {type(out).__name__} (if it "
            "converts its arguments to arrays, remove the conversion)"
        )
    if out._array.size != 1:
        raise DiagnosisError(f"cost: must return one number; got an array of shape {out.shape}")
    if not np.isfinite(out._array).all():
        raise DiagnosisError(f"cost: is {out._array.item()}; choose a problem for which it is finite")
    if out._node is None:
        raise DiagnosisError("cost: does not depend on any of the parameters")


def _constant(node: GraphNode) -> Any:
    """Return a constant operand: an array, or a number; its name if the value is not held."""
    value = node.value
    return node.name if value is None else value if value.ndim else value.item()


def _is_same_array(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.may_share_memory(a, b)


def _number_repeated_names(steps: list[Step]) -> None:
    """Tell values of the same variable apart, as in a loop over layers: by how often it has been assigned."""
    times: dict[str, int] = {}
    names = [step.name for step in steps]
    for step in steps:
        if step.name and step.op and names.count(step.name) > 1:
            times[step.name] = times.get(step.name, 0) + 1
            step.name = f"{step.name} (no. {times[step.name]})"
