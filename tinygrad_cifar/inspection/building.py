"""Making the nodes of the view from those of the engine, and naming them after the variables of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any
from weakref import ref

import numpy as np

from tinygrad_cifar.engine.graph import VJP, Array, Node, Primitive, Value, ancestors
from tinygrad_cifar.inspection.nodes import GraphEdge, GraphInput, GraphNode, Location
from tinygrad_cifar.inspection.variables import (
    join_names,
    module_name,
    read_variables,
    submodules,
    tensors_in,
    user_frames,
)
from tinygrad_cifar.nn.module import Module


def make_nodes(start: Node, frame: FrameType | None, modules: Module | Mapping[str, Module] | None) -> list[GraphNode]:
    """Return the nodes behind a result, in order, with the names that they have in a frame of the program."""
    builder = _Builder()
    for node in sorted(ancestors(start), key=lambda node: node.number):
        builder.add(node)
    _give_names(builder, _visible_names(frame, modules))
    for made in builder.nodes:
        made.complete()
    return builder.nodes


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
                    shown.options = {**shown.options, name: constant[0]}
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
        key = (variable, shape, dtype, argument.number) if variable else identity
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


# -- names ------------------------------------------------------------------------------------------------------------


def _visible_names(
    frame: FrameType | None, modules: Module | Mapping[str, Module] | None
) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Yield names, tensors or arrays, and the modules they belong to; of several names of one, the first is used."""
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
        path = tuple([prefix for prefix in inside if prefix and (prefix == name or full.startswith(f"{prefix}."))])
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
        parameters = [given.node for given in node.inputs if given.node.kind == "parameter" and given.node.modules]
        has_other_array = any(given.node.kind != "parameter" and given.node.shape for given in node.inputs)
        if not node.modules and parameters and has_other_array:  # not a power of the parameter
            node.modules = parameters[0].modules


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
