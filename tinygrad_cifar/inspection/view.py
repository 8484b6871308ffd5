"""A read-only view of a recorded graph: its nodes in order, their edges, names, lines, saved arrays and values.

The view copies the description of the graph (primitives, shapes, names) and refers to the graph itself only weakly, so
it keeps no array alive. What has been freed since, by a backward pass or with the result, is shown as freed. The values
come from the arrays that the graph has saved for its VJPs, and from the tensors that the program still holds.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, TypeAlias
from weakref import ref

import numpy as np

from tinygrad_cifar.engine.backprop import _initial_cotangent, _match_input, propagate
from tinygrad_cifar.engine.graph import VJP, Array, Edge, Node, Primitive, Value, ancestors
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.inspection.variables import (
    join_names,
    module_name,
    read_variables,
    submodules,
    tensors_in,
    user_frames,
)
from tinygrad_cifar.nn.module import Module

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


class GraphEdge:
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
            If the VJP has no argument of a given name.
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
        contribution = vjp.apply(np.asarray(g), *arguments)
        matches = getattr(contribution, "shape", None) == parent.shape and contribution.dtype is parent.dtype
        return np.asarray(contribution if matches else _match_input(contribution, node, edge))

    def _edge(self) -> Edge | None:
        node = self._node()
        edges = None if node is None else node.edges
        return edges[self._position] if edges else None

    def __repr__(self) -> str:
        return f"<edge to {self.source.label}, {self.input}>"


class GraphNode:
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
        *("_cotangents", "_holders", "_node", "_tensors", "dtype", "edges", "index", "inputs", "kind", "location"),
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
        self.options: dict[str, Any] = {}
        self.location: Location | None = None
        self.modules: tuple[str, ...] = ()
        self._node = ref(node) if node is not None else None
        self._holders: list[Callable[[], Any]] = []  # each returns the value, or None if it is not held any more
        self._tensors: list[ref[Value]] = []
        self._cotangents: Mapping[int, Array] = {}

    @property
    def label(self) -> str:
        """The name; without one the name of the primitive, or the number itself, or the kind."""
        if self.name or self.primitive:
            return self.name or self.primitive.name  # type: ignore[union-attr]
        value = self.value if self.kind == "data" and not self.shape else None
        return self.kind if value is None else f"{value:.6g}"

    @property
    def value(self) -> Array | None:
        """The value as a read-only array, if the graph or the program still holds it; None otherwise."""
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
        found = self._cotangents.get(self.index)
        return None if found is None else _read_only(found)

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


Override: TypeAlias = Callable[[Array, GraphEdge], Any]


class Graph:
    """A read-only view of the graph behind a result; see :func:`graph` for an example.

    Attributes
    ----------
    nodes : tuple of GraphNode
        All nodes; the inputs of an operation come before it, and the result is the last one.
    """

    def __init__(self, nodes: Sequence[GraphNode], result: Node) -> None:
        self.nodes = tuple(nodes)
        self._start = ref(result)

    @property
    def result(self) -> GraphNode:
        """The node of the result."""
        return self.nodes[-1]

    @property
    def parameters(self) -> tuple[GraphNode, ...]:
        """The leaves that receive a gradient."""
        return tuple([node for node in self.nodes if node.kind == "parameter"])

    @property
    def data(self) -> tuple[GraphNode, ...]:
        """The constants."""
        return tuple([node for node in self.nodes if node.kind == "data"])

    @property
    def operations(self) -> tuple[GraphNode, ...]:
        """The operations, in the order in which they were computed."""
        return tuple([node for node in self.nodes if node.kind == "operation"])

    @property
    def nbytes(self) -> int:
        """Size of the memory that all saved arrays keep now; an array that is saved twice counts once."""
        saved = [entry for node in self.nodes if not node.is_freed for entry in node.saved_arrays]
        return sum({entry.buffer: entry.nbytes for entry in saved}.values())

    def consumers(self, node: GraphNode) -> tuple[GraphNode, ...]:
        """Return the operations of which a node is an input."""
        return tuple([other for other in self.nodes if any(given.node is node for given in other.inputs)])

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[GraphNode]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return any(node is name or node.name == name for node in self.nodes)

    def __getitem__(self, key: int | str) -> GraphNode:
        """Return a node by its position or its name; of several with the same name the last one."""
        if isinstance(key, int):
            return self.nodes[key]
        for node in reversed(self.nodes):
            if node.name == key:
                return node
        known = ", ".join(dict.fromkeys(node.name for node in self.nodes if node.name)) or "none"
        raise KeyError(f"no node has the name {key}; the names are: {known}")

    def cotangents(
        self, gradient: Any = None, *, override: Mapping[GraphEdge, Override] | None = None
    ) -> dict[GraphNode, Array]:
        """Run a backward pass over the graph, with other VJPs on chosen edges, and return all cotangents.

        The pass is that of ``backward``, but it changes neither the graph nor the gradients of the parameters.

        Parameters
        ----------
        gradient : array_like, optional
            Cotangent of the result, of its shape. Default: 1, for a result with one element.
        override : dict of GraphEdge to callable, optional
            For some edges, ``function(g, edge)``, which returns the contribution to the gradient of the input in place
            of ``edge.vjp(g)``. It must have the shape of the input, or be broadcast from it.

        Returns
        -------
        dict of GraphNode to ndarray
            The derivative of the result with respect to each parameter and each result of an operation.

        Raises
        ------
        RuntimeError
            If the graph has been freed.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor, graph
        >>> x = Tensor([1.0, -2.0], requires_grad=True)
        >>> loss = (x * x).sum()
        >>> view = graph(loss)
        >>> view.cotangents()[view["x"]]
        array([ 2., -4.])
        >>> first, _ = view[1].edges
        >>> view.cotangents(override={first: lambda g, edge: 10 * edge.vjp(g)})[view["x"]]
        array([ 11., -22.])
        """
        start = self._start()
        if start is None or start.edges is None:
            raise RuntimeError(
                "cotangents: the graph has been freed by a backward pass, or its result has been deleted; compute the "
                "result again, or call cotangents before backward()"
            )
        out = Value()
        out._array = np.broadcast_to(np.zeros((), start.dtype), start.shape)
        out._node = start
        initial = np.asarray(_initial_cotangent("cotangents", out, gradient))
        nodes = {node._node(): node for node in self.nodes if node._node is not None}
        nodes.pop(None, None)
        targets = frozenset(node for node in nodes if node is not None)
        replacements: dict[tuple[Node, int], VJP] = {}
        for edge, function in (override or {}).items():
            node = edge._node()
            if node is None or node not in targets:
                raise ValueError("cotangents: override must consist of edges of this graph")
            replacements[node, edge._position] = _OverriddenVJP(edge, function)

        def replace(node: Node, edges: Sequence[Edge]) -> Sequence[Edge]:
            return [
                (parent, replacements[node, i], ()) if (node, i) in replacements else (parent, vjp, saved)
                for i, (parent, vjp, saved) in enumerate(edges)
            ]

        found = propagate(start, initial, retain_graph=True, targets=targets, replace=replace if replacements else None)
        return {nodes[node]: np.asarray(g) for node, g in found.items()}

    def __repr__(self) -> str:
        return (
            f"<graph of {self.result.label}: {len(self.operations)} operations, {len(self.parameters)} parameters, "
            f"{self.nbytes:,} bytes saved>"
        )

    def __str__(self) -> str:
        rows = [("", "name", "operation", "shape", "inputs", "bytes saved", "line")]
        for node in self.nodes:
            inputs = ", ".join(given.node.name or _position(given.node) for given in node.inputs)
            name = node.label if node.kind == "data" else node.name
            row = (str(node.index), name, node.primitive.name if node.primitive else node.kind)
            saved = "freed" if node.is_freed else f"{node.nbytes:,}" if node.nbytes else ""
            rows.append((*row, format_shape(node.shape), inputs, saved, str(node.location or "")))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


class _OverriddenVJP(VJP):
    """A VJP that the caller of :meth:`Graph.cotangents` has given."""

    __slots__ = ()

    def __init__(self, edge: GraphEdge, function: Override) -> None:
        self.input = edge._vjp.input
        self.names = ()
        self.apply = lambda g: np.asarray(function(g, edge))


def _position(node: GraphNode) -> str:
    return node.label if node.kind == "data" and not node.shape else str(node.index)


def format_shape(shape: Sequence[int]) -> str:
    """Return a shape as text, such as ``3 x 4``."""
    return " x ".join(map(str, shape)) or "scalar"


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


# -- making the view ---------------------------------------------------------------------------------------------------


class _Builder:
    """Makes the nodes of the view, in order."""

    def __init__(self) -> None:
        self.nodes: list[GraphNode] = []
        self.of: dict[Node, GraphNode] = {}
        self.constants: dict[Any, GraphNode] = {}

    def add(self, node: Node) -> None:
        shown = GraphNode("parameter" if node.primitive is None else "operation", node.shape, node.dtype, node)
        self.of[node] = shown
        trace = getattr(node, "trace", None)
        if hasattr(node, "location"):
            shown.location = Location(*node.location[:2])
        if trace is not None:
            shown.name, shown.modules = trace.variable, trace.modules
            shown._tensors += [trace.tensor] if trace.tensor is not None else []
            if trace.value is not None:
                shown._holders.append(_traced_value(node))
        if node.edges:
            self._connect(node, shown, trace.arguments if trace is not None else ())
        self._append(shown)

    def _append(self, node: GraphNode) -> None:
        node.index = len(self.nodes)
        self.nodes.append(node)

    def _connect(self, node: Node, shown: GraphNode, arguments: Sequence[Any]) -> None:
        """Give an operation its inputs and edges; constants that it uses become nodes before it."""
        op: Any = node.primitive
        edges = node.edges or ()
        names = [_input_name(op, vjp, saved) for _, vjp, saved in edges]
        parents = {name: self.of[parent] for name, (parent, _, _) in zip(names, edges, strict=True)}
        held: dict[str, tuple[int, int, int | None]] = {}  # where the value of an input, or of the result, is saved
        for i, (_, vjp, saved) in enumerate(edges):
            for j, (name, x) in enumerate(zip(vjp.names, saved, strict=True)):
                if op.variadic and name == op.inputs[0]:
                    held.update({f"{name}[{k}]": (i, j, k) for k in range(len(x))})
                else:
                    held.setdefault(name, (i, j, None))
        traced = _named_arguments(op, arguments)
        inputs: dict[str, GraphNode] = {}
        for name in dict.fromkeys([*_all_inputs(op, held, traced, names)]):
            holder = _saved_value(node, *held[name]) if name in held else None
            if name in parents:
                inputs[name] = parents[name]
                if holder is not None:
                    parents[name]._holders.append(holder)
            else:
                constant = self._constant(op, name, holder, traced.get(name))
                if isinstance(constant, GraphNode):
                    inputs[name] = constant
                elif constant is not None:
                    shown.options[name] = constant[0]
        if "out" in held:
            shown._holders.append(_saved_value(node, *held["out"]))
        shown.inputs = tuple([GraphInput(name, given) for name, given in inputs.items()])
        shown.edges = tuple([GraphEdge(node, i, name, parents[name]) for i, name in enumerate(names)])

    def _constant(self, op: Primitive, name: str, holder: Any, argument: Any) -> GraphNode | tuple[Any] | None:
        """Return the node of a constant, or an argument that is not an array in a tuple; None if it is not known."""
        x = holder() if holder is not None else argument.value if argument is not None else None
        is_input = name.partition("[")[0] in op.vjps
        if isinstance(x, np.ndarray) and (x.ndim or is_input):
            return self._data(x.shape, x.dtype, id(x), holder, argument)
        if argument is not None and argument.dtype is not None and (argument.shape or is_input):
            return self._data(argument.shape, argument.dtype, None, _constant_value(x), argument)
        if is_input and isinstance(x, (bool, int, float, np.generic)):
            return self._data((), np.asarray(x).dtype, None, _constant_value(x), argument)
        return None if x is None and argument is None and holder is None else (x,)

    def _data(self, shape: Any, dtype: Any, identity: int | None, holder: Any, argument: Any) -> GraphNode:
        variable = argument.variable if argument is not None else ""
        key = (variable, shape, dtype) if variable else identity
        node = self.constants.get(key) if key is not None else None
        if node is None:
            node = GraphNode("data", shape, dtype)
            node.name = variable
            self._append(node)
            if key is not None:
                self.constants[key] = node
        if holder is not None:
            node._holders.append(holder)
        return node


def _input_name(op: Primitive, vjp: VJP, saved: tuple[Any, ...]) -> str:
    return f"{op.inputs[0]}[{saved[vjp.names.index('i')]}]" if op.variadic else vjp.input


def _all_inputs(op: Primitive, held: Mapping[str, Any], traced: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the names of all arguments of a node that are known, in the order of the primitive's."""
    if not op.variadic:
        return [name for name in op.inputs if name in held or name in traced or name in names]
    elements = {name for name in [*held, *traced, *names] if name.startswith(f"{op.inputs[0]}[")}
    return [
        *sorted(elements, key=lambda name: int(name.rpartition("[")[2][:-1])),
        *[name for name in op.inputs[1:] if name in held or name in traced],
    ]


def _named_arguments(op: Primitive, arguments: Sequence[Any]) -> dict[str, Any]:
    """Return the traced arguments by name."""
    if not op.variadic:
        return dict(zip(op.inputs, arguments, strict=False))
    count = len(arguments) - len(op.inputs) + 1
    names = [*[f"{op.inputs[0]}[{i}]" for i in range(count)], *op.inputs[1:]]
    return dict(zip(names, arguments, strict=False))


def _saved_value(node: Node, edge: int, position: int, element: int | None) -> Callable[[], Any]:
    """Return a function that returns a saved array while the graph holds it; None afterwards."""
    reference = ref(node)

    def value() -> Any:
        holder = reference()
        edges = None if holder is None else holder.edges
        if not edges:
            return None
        saved = edges[edge][2][position]
        return saved if element is None else saved[element]

    return value


def _traced_value(node: Node) -> Callable[[], Any]:
    reference = ref(node)

    def value() -> Any:
        holder = reference()
        return holder.trace.value if holder is not None and holder.edges is not None else None

    return value


def _constant_value(x: Any) -> Callable[[], Any] | None:
    return None if x is None else lambda: x


def graph(
    result: Tensor,
    *,
    modules: Module | Mapping[str, Module] | None = None,
    cotangents: bool = False,
    gradient: Any = None,
) -> Graph:
    """Return a read-only view of the graph behind a result.

    The view does not keep the graph or its arrays alive. Made before ``backward()``, it keeps the structure, and shows
    what has been freed since. Made afterwards, it contains what remains.

    Names are those of the variables that hold the tensors where ``graph`` is called, in containers as well
    (``W[0]``, ``params['W']``), and of the attributes of modules (``model.hidden.W``). For operations that are computed
    inside a :func:`trace_graph` block, the view also shows the line, the modules, and the names of variables of
    functions that have returned.

    Parameters
    ----------
    result : Tensor
        The result of recorded operations, such as a loss.
    modules : Module or dict of str to Module, optional
        Modules whose parameters give names to the leaves, if no variable holds the modules.
    cotangents : bool
        If True, a backward pass over the view computes the derivative of the result with respect to each node, and the
        view keeps them. Default: False.
    gradient : array_like, optional
        Cotangent of the result for that pass. Default: 1, for a result with one element.

    Raises
    ------
    TypeError
        If ``result`` is not a tensor.
    ValueError
        If it was not computed from tensors with ``requires_grad=True``.

    See Also
    --------
    trace_graph : Record lines, variables, modules and values.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, graph
    >>> W = Tensor([[1.0, 2.0]], requires_grad=True)
    >>> H = W @ [[1.0], [3.0]]
    >>> loss = (H * H).sum()
    >>> view = graph(loss)
    >>> [(node.label, node.shape) for node in view]  # doctest: +NORMALIZE_WHITESPACE
    [('W', (1, 2)), ('data', (2, 1)), ('H', (1, 1)), ('multiply', (1, 1)), ('loss', ())]
    >>> view["H"].primitive, view["H"].value
    (<primitive matmul>, array([[7.]]))
    """
    if not isinstance(result, Value):
        raise TypeError(f"graph: result must be a tensor; got {type(result).__name__}")
    start = result._node
    if start is None:
        raise ValueError(
            "graph: result must be computed from tensors with requires_grad=True; nothing was recorded of this one "
            "(was it computed under no_grad, or from detached tensors?)"
        )
    builder = _Builder()
    for node in sorted(ancestors(start), key=lambda node: node.number):
        builder.add(node)
    _give_names(builder, _visible_names(sys._getframe(1), modules))
    view = Graph(builder.nodes, start)
    if cotangents:
        found = {node.index: g for node, g in view.cotangents(gradient).items()}
        for shown in view.nodes:
            shown._cotangents = found
    return view


def _visible_names(
    frame: FrameType | None, modules: Module | Mapping[str, Module] | None
) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Yield names, tensors or arrays, and the modules they belong to; names that go first are better."""
    given = {"": modules} if isinstance(modules, Module) else modules or {}
    if not isinstance(given, Mapping) or not all(isinstance(module, Module) for module in given.values()):
        raise TypeError("graph: modules must be a module, or a dictionary of modules by name")
    for name, module in given.items():
        yield from _names_in_module(name, module)
    variables = [read_variables(f) for f in user_frames(frame)]
    if frame is not None:
        variables.append(frame.f_globals)
    for names in variables:
        for name, value in tensors_in(names):
            if isinstance(value, Module):
                yield from _names_in_module(module_name(name), value)
            else:
                yield name, value, ()


def _names_in_module(name: str, module: Module) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    inside = submodules(module, name)
    for attribute, tensor in module.named_tensors():
        full = join_names(name, attribute)
        path = tuple([prefix for prefix in inside if prefix == name or full.startswith(f"{prefix}.")])
        yield full, tensor, tuple(sorted(path, key=len))


def _give_names(builder: _Builder, names: Iterator[tuple[str, Any, tuple[str, ...]]]) -> None:
    """Name the nodes whose tensors or arrays are found in the program, and note the modules of parameters."""
    named: set[GraphNode] = set()
    arrays: list[tuple[str, Array]] = []
    for name, value, path in names:
        if isinstance(value, Value):
            node = builder.of.get(_node_of(value)) if _node_of(value) is not None else None  # type: ignore[arg-type]
            node = node or builder.constants.get(id(value._array))
        else:
            node = builder.constants.get(id(value))
            arrays.append((name, value))
        if node is None:
            continue
        if isinstance(value, Value):
            node._tensors.append(ref(value))
        if path and not node.modules:
            node.modules = path
        if node not in named:
            node.name = name
            named.add(node)
    _name_copies([node for node in builder.nodes if node.kind == "data" and not node.name], arrays)
    for node in builder.nodes:
        inputs = [given.node for given in node.inputs if given.node.kind == "parameter" and given.node.modules]
        if node.kind == "operation" and not node.modules and inputs:
            node.modules = inputs[0].modules


def _name_copies(unnamed: Sequence[GraphNode], arrays: Sequence[tuple[str, Array]]) -> None:
    """Name data of which the graph has saved a copy, if exactly one array of the program has the same elements."""
    for node in unnamed:
        alike = [(name, array) for name, array in arrays if (array.shape, array.dtype) == (node.shape, node.dtype)]
        copy = node.value if node.shape and alike else None
        if copy is not None:
            equal = {id(array): name for name, array in reversed(alike) if np.array_equal(array, copy)}
            node.name = next(iter(equal.values())) if len(equal) == 1 else ""


def _node_of(value: Value) -> Node | None:
    return value._node if value._node is not None else getattr(value, "_frozen", None)
