"""What a recorded computation is made of: values, the nodes that made them, and rules that lead back.

One idea: **a derivative rule names what it needs, and the graph keeps exactly that.** A :class:`Value` is an array with
the :class:`Node` that made it (:class:`~tinygrad_cifar.engine.tensor.Tensor` is its public face). A node has an edge to each
input that gradient flows to: the input's node, the :class:`VJP` for it, and the arguments that the rule's own
parameter names ask for. Nothing else stays alive, so a graph holds no more memory than derivatives written by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from operator import itemgetter
from types import FunctionType
from typing import Any

import numpy as np

_next_number = itertools.count(1).__next__


class Node:
    """The place of one value in the graph: who made it, from what, and what the rules will need.

    Attributes
    ----------
    primitive
        The :class:`Primitive` that made the value; None for a leaf.
    edges
        One ``(parent, rule, arguments)`` for each input that gradient flows to; None once a backward pass has used
        the node up. A leaf has no edges.
    number
        Counts nodes in the order of their making, so a value's number is above those of all its inputs: the backward
        walk goes by falling numbers and needs no other sorting.
    shape, dtype
        Those of the value; its gradient has the same.
    grad
        For a leaf, what ``backward()`` deposited.
    place
        Where the program made the value (file and line, of the program and of this library), if a watcher has
        written it down; otherwise missing.
    """

    __slots__ = ("dtype", "edges", "grad", "number", "place", "primitive", "shape")

    primitive: Primitive | None
    edges: tuple[tuple[Node, VJP, tuple[Any, ...]], ...] | None
    number: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grad: Any
    place: tuple[str, int, str, int]


class Value:
    """An array, and its node in the graph (None for a constant)."""

    __slots__ = ("__weakref__", "_array", "_node")

    _array: np.ndarray[Any, Any]
    _node: Node | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self._array.dtype


def leaf(array: np.ndarray[Any, Any]) -> Node:
    """Return the node of a value that nobody computed: where gradients end."""
    node = Node()
    node.primitive = None
    node.edges = ()
    node.number = _next_number()
    node.shape = array.shape
    node.dtype = array.dtype
    node.grad = None
    return node


def make_node(row: Primitive, result: np.ndarray[Any, Any], edges: Any) -> Node:
    """Return the node of a value that ``row`` computed, with its edges to the inputs' nodes."""
    node = Node()
    node.primitive = row
    node.edges = edges
    node.number = _next_number()
    node.shape = result.shape
    node.dtype = result.dtype
    return node


def ancestors(start: Node) -> list[Node]:
    """Return a node and all that it was made of, each once, as far as the graph has not been used up."""
    found, seen, unseen = [], {start}, [start]
    while unseen:
        node = unseen.pop()
        found.append(node)
        for parent, _, _ in node.edges or ():
            if parent not in seen:
                seen.add(parent)
                unseen.append(parent)
    return found


class VJP:
    """The derivative of a primitive with respect to one input, and how to pick what it names.

    Attributes
    ----------
    input
        The name of the input that the rule is for (for a primitive of many, its position).
    apply
        ``apply(g, *arguments)``, the cotangent of the input.
    names
        The names of the arguments after ``g``.
    """

    __slots__ = ("apply", "input", "names", "pick")

    def __init__(self, owner: str, input: str, apply: Callable[..., Any], positions: dict[str, int]) -> None:
        self.input = input
        self.apply = apply
        self.names = parameters(f"{owner}: the rule for {input}", apply)[1:]
        for name in self.names:
            if name not in positions and name.removesuffix("_shape") not in positions:
                raise TypeError(f"{owner}: the rule for {input} names {name}, which is no argument of the primitive")
        self.pick = _picker(self.names, positions)


def _picker(names: Sequence[str], positions: dict[str, int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    """Return the function that takes, from ``(out, *arguments)``, what ``names`` ask for; None for nothing at all."""
    if not names:
        return None
    if all(name in positions for name in names):
        at = [positions[name] for name in names]
        if len(at) == 1:
            (i,) = at
            return lambda values: (values[i],)
        return itemgetter(*at)
    at_or_shape = [
        (positions[name], False) if name in positions else (positions[name.removesuffix("_shape")], True)
        for name in names
    ]
    return lambda values: tuple([values[i].shape if shape else values[i] for i, shape in at_or_shape])


class Primitive:
    """One row of the derivative table.

    Attributes
    ----------
    name
        NumPy's name for the operation, where it has one.
    forward
        The NumPy computation.
    inputs
        The names of its arguments.
    rules
        Input name to :class:`VJP`. An input without a rule (an axis, a condition, an index) lets no gradient through.
    broadcasts
        Whether inputs may be broadcast. Then the backward walk sums a cotangent back to its input's shape, and
        no rule has to mention it; otherwise the rule itself must return the exact shape.
    module
        The name of the module that the row stands in.
    by_product
        The name of a second result of ``forward`` that only the rules see, so that they need not compute it again. It
        is a plain array, so a rule that is itself recorded is given None in its place.
    """

    __slots__ = ("broadcasts", "by_product", "forward", "inputs", "module", "name", "rules")

    def __init__(self, name: str, forward: Callable[..., Any], *, broadcasts: bool, module: str) -> None:
        self.name = name
        self.module = module
        self.by_product: str | None = None
        self.forward = forward
        self.inputs: tuple[str, ...] = ()
        self.rules: dict[str, VJP] = {}
        self.broadcasts = broadcasts

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def parameters(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments that a function takes by position; ``name`` is for the message if it has none.

    Raises
    ------
    TypeError
        If the arguments have no names, as those of some functions that are written in C.
    """
    function = unwrapped(function)
    if isinstance(function, np.ufunc):
        return ("x", "y")[: function.nin]
    if isinstance(function, FunctionType):
        return function.__code__.co_varnames[: function.__code__.co_argcount]
    return tuple(_signature(name, function))


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments that may be left out, with what is then taken."""
    function = unwrapped(function)
    if isinstance(function, np.ufunc):
        return {}
    if isinstance(function, FunctionType):
        values = function.__defaults__ or ()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        return dict(zip(names[len(names) - len(values) :], values, strict=True))
    found = _signature("", function)
    return {name: parameter.default for name, parameter in found.items() if parameter.default is not parameter.empty}


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a decorated function decorates."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _signature(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    import inspect  # noqa: PLC0415 (the import takes longer than all rows of the table, none of which needs it)

    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise TypeError(f"{name}: the arguments of {function!r} have no names; wrap it in a lambda") from None
    return {name: p for name, p in found.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)}


def unwrap_value(x: Any) -> Any:
    """Return the plain array of a value, for an argument that lets no gradient through; anything else as it is."""
    return x._array if isinstance(x, Value) else x


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a value, an array, or whatever NumPy would make an array of."""
    return x.shape if isinstance(x, Value) else np.shape(x)
