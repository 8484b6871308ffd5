"""The nodes and edges of the view of a graph.

They describe the engine's nodes (primitive, shape, names) and refer to them only weakly, so they keep no array alive.
What has been freed since, by a backward pass or with the result, is shown as freed. The values come from the arrays
that the graph has saved for its VJPs, and from the tensors that the program still holds.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias
from weakref import ref

import numpy as np

from tinygrad_cifar.engine.backprop import _match_input
from tinygrad_cifar.engine.graph import Array, Edge, Node, Primitive, Value, format_shape

Kind: TypeAlias = Literal["parameter", "data", "operation"]


class Location(NamedTuple):
    """A line of the user's program.

    Attributes
    ----------
    file : str
        Path of the file.
    line : int
        Number of the line.
    """

    file: str
    line: int

    @property
    def source(self) -> str:
        """The text of the line; empty if the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"


class SavedArray(NamedTuple):
    """The description of an array that is saved for a VJP.

    Attributes
    ----------
    name : str
        Its name in the VJP: an argument of the primitive, ``out``, or the auxiliary output.
    shape : tuple of int
        Its shape.
    dtype : data-type
        Type of its elements.
    nbytes : int
        Size of the memory that it keeps: that of the whole buffer, if it is a view.
    buffer : int
        Identifies the memory: saved arrays with the same number share it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    buffer: int


class GraphInput(NamedTuple):
    """An input of an operation.

    Attributes
    ----------
    name : str
        The name of the argument: ``x``, or ``xs[0]`` if the primitive takes a sequence.
    node : GraphNode
        The node of its value: a parameter, data, or another operation.
    """

    name: str
    node: GraphNode


class ReadOnly:
    """Base class of the parts of a view: after :meth:`complete`, their attributes cannot be assigned."""

    __slots__ = ("_is_complete",)

    def complete(self) -> None:
        """Make the attributes read-only."""
        self._is_complete = True

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_is_complete", False):
            raise AttributeError(f"{name} cannot be assigned: the view of a graph is read-only")
        object.__setattr__(self, name, value)


class GraphEdge(ReadOnly):
    """The path of a gradient from the result of an operation to one of its inputs.

    Attributes
    ----------
    input : str
        The name of the input.
    source : GraphNode
        The node of the input, which receives the gradient.
    saved_arrays : tuple of SavedArray
        Description of the arrays that are saved for the VJP.
    """

    __slots__ = ("_node", "_position", "_vjp", "input", "saved_arrays", "source")

    def __init__(self, node: Node, position: int, name: str, source: GraphNode) -> None:
        _, vjp, saved = (node.edges or ())[position]
        self.input = name
        self.source = source
        self.saved_arrays = tuple([entry for key, x in zip(vjp.names, saved, strict=True) for entry in _saved(key, x)])
        self._node = ref(node)
        self._position = position
        self._vjp = vjp
        self.complete()

    @property
    def saved(self) -> dict[str, Any]:
        """The arguments of the VJP after the cotangent, by name: read-only arrays, shapes, axes; empty once freed."""
        edge = self._edge()
        return {} if edge is None else dict(zip(edge[1].names, map(_read_only_argument, edge[2]), strict=True))

    @property
    def is_freed(self) -> bool:
        """Whether the saved arrays have been freed."""
        return self._edge() is None

    def vjp(self, g: Any, **replaced: Any) -> Array:
        """Return the contribution to the gradient of the input, for the cotangent ``g`` of the result.

        Parameters
        ----------
        g : array_like
            Cotangent of the result of the operation.
        **replaced
            Other arguments for the VJP in place of the saved ones, by name.

        Returns
        -------
        ndarray
            An array with the shape of the input.

        Raises
        ------
        RuntimeError
            If the saved arrays have been freed.
        TypeError
            If a keyword is not an argument of the VJP.
        """
        edge, node = self._edge(), self._node()
        if edge is None or node is None:
            raise RuntimeError(f"vjp: the arrays saved for {self._vjp.input} have been freed; compute the result again")
        parent, vjp, saved = edge
        if unknown := sorted(set(replaced) - set(vjp.names)):
            known = ", ".join(vjp.names) or "none"
            raise TypeError(
                f"vjp: {unknown[0]} is not an argument of the VJP for {vjp.input}; the arguments are: {known}"
            )
        arguments = [replaced.get(name, x) for name, x in zip(vjp.names, saved, strict=True)]
        contribution = vjp.apply(np.array(g), *arguments)  # a copy: what a VJP knows of a cotangent is kept with it
        matches = getattr(contribution, "shape", None) == parent.shape and contribution.dtype is parent.dtype
        return np.asarray(contribution if matches else _match_input(contribution, node, edge))

    def _edge(self) -> Edge | None:
        node = self._node()
        edges = None if node is None else node.edges
        return edges[self._position] if edges else None

    def __repr__(self) -> str:
        return f"<edge to {self.source.label}, {self.input}>"


class GraphNode(ReadOnly):
    """A value of the graph: a parameter, data, or the result of an operation.

    Attributes
    ----------
    index : int
        Position in the graph; the inputs of an operation come before it.
    kind : {"parameter", "data", "operation"}
        A parameter is a leaf that receives a gradient; data are constants.
    name : str
        The name of the value in the program; empty if it is not known.
    primitive : Primitive or None
        The entry of the derivative table, with its name and its description; None if the node is not an operation.
    shape : tuple of int
        Shape of the value.
    dtype : data-type
        Type of the elements.
    inputs : tuple of GraphInput
        The inputs of an operation.
    edges : tuple of GraphEdge
        The edges to the inputs that receive a gradient.
    options : dict
        Other arguments of an operation, such as an axis, as far as they are known.
    location : Location or None
        The line of the program that called the operation, if :func:`trace_graph` or ``trace_nonfinite`` recorded it.
    modules : tuple of str
        The names of the modules that were being called, the outermost first.
    """

    __slots__ = (
        *("_cotangent", "_holders", "_node", "_tensors", "dtype", "edges", "index", "inputs", "kind", "location"),
        *("modules", "name", "options", "primitive", "shape"),
    )

    def __init__(self, kind: Kind, shape: tuple[int, ...], dtype: np.dtype[Any], node: Node | None = None) -> None:
        self.index = 0
        self.kind = kind
        self.name = ""
        self.primitive: Primitive | None = node.primitive if node is not None else None
        self.shape = shape
        self.dtype = dtype
        self.inputs: tuple[GraphInput, ...] = ()
        self.edges: tuple[GraphEdge, ...] = ()
        self.options: Mapping[str, Any] = {}
        self.location: Location | None = None
        self.modules: tuple[str, ...] = ()
        self._node = ref(node) if node is not None else None
        self._holders: list[Callable[[], Any]] = []  # each returns the value, or None if it is not held any more
        self._tensors: list[ref[Value]] = []
        self._cotangent: list[Array] = []  # none, or one

    def complete(self) -> None:
        """Make the attributes read-only."""
        self.options = MappingProxyType(dict(self.options))
        super().complete()

    @property
    def label(self) -> str:
        """The name; without one the name of the primitive, or the number itself, or the kind."""
        if self.name or self.primitive:
            return self.name or self.primitive.name  # type: ignore[union-attr]
        value = self.value if self.kind == "data" and not self.shape else None
        return self.kind if value is None else f"{value:.6g}"

    @property
    def value(self) -> Array | None:
        """The value as a read-only array, if the graph or the program still holds it; None otherwise.

        A parameter that no VJP has saved has the present value of its tensor, also if it has been assigned since.
        """
        for holder in self._holders:
            if (array := holder()) is not None:
                return _read_only(np.asarray(array))
        for reference in self._tensors:
            if (tensor := reference()) is not None:
                return _read_only(tensor._array)
        return None

    @property
    def cotangent(self) -> Array | None:
        """The derivative of the result with respect to this value, if the view was made with ``cotangents=True``."""
        return _read_only(self._cotangent[0]) if self._cotangent else None

    @property
    def grad(self) -> Array | None:
        """The gradient that ``backward()`` has accumulated for a parameter; None for other nodes."""
        node = self._node() if self._node is not None and self.kind == "parameter" else None
        return None if node is None or node.grad is None else _read_only(node.grad._array)

    @property
    def is_freed(self) -> bool:
        """Whether a backward pass has freed the operation, or nothing holds it any more."""
        if self.kind != "operation" or self._node is None:
            return False
        node = self._node()
        return node is None or not node.edges

    @property
    def saved_arrays(self) -> tuple[SavedArray, ...]:
        """Description of the arrays that are saved for the VJPs, each buffer once."""
        return tuple({entry.buffer: entry for edge in self.edges for entry in edge.saved_arrays}.values())

    @property
    def nbytes(self) -> int:
        """Size of the memory that the arrays saved for the VJPs keep now."""
        return 0 if self.is_freed else sum(entry.nbytes for entry in self.saved_arrays)

    def __repr__(self) -> str:
        op = f" {self.primitive.name}" if self.primitive else ""
        name = f" {self.name!r}" if self.name else ""
        return f"<{self.kind}{op}{name} {format_shape(self.shape)}>"


def _read_only(x: Array) -> Array:
    view = x.view()
    view.flags.writeable = False
    return view


def _read_only_argument(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_read_only_argument, x))
    return _read_only(x) if isinstance(x, np.ndarray) else x


def _saved(name: str, x: Any) -> list[SavedArray]:
    """Return the descriptions of the arrays in a saved argument."""
    if isinstance(x, tuple):
        return [entry for i, item in enumerate(x) for entry in _saved(f"{name}[{i}]", item)]
    if not isinstance(x, np.ndarray) or x.ndim == 0:
        return []
    buffer = x
    while isinstance(buffer.base, np.ndarray):
        buffer = buffer.base
    return [SavedArray(name, x.shape, x.dtype, buffer.nbytes, id(buffer))]
