"""A page that steps through a computation, forward and backward: one file with everything in it.

The steps are made here, as text and numbers, and stored in the page (``page.html``) as JSON; ``page.js`` only shows
them. The formulas are those of the derivative table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cifar.engine.documentation import is_elementwise
from tinygrad_cifar.engine.graph import Array, format_shape
from tinygrad_cifar.inspection.diagram import Diagram, format_bytes, make_diagram, shown_options
from tinygrad_cifar.inspection.nodes import GraphEdge, GraphInput, GraphNode, SavedArray
from tinygrad_cifar.inspection.svg import write_svg

_MOST_ROWS, _MOST_COLUMNS = 12, 10  # of an array whose elements are shown

Json = dict[str, Any]


def write_page(nodes: Sequence[GraphNode], cotangents: Mapping[GraphNode, Array]) -> str:
    """Return the page as HTML."""
    diagram = make_diagram(nodes, [], lambda _: True)
    operations = [node for node in nodes if node.kind == "operation"]
    memory = _Memory()
    steps = [_start(nodes)]
    steps += [_forward(node, memory.after_forward(node)) for node in operations]
    steps += [_backward(node, cotangents, memory) for node in reversed(operations)]
    steps.append(_end(nodes, cotangents, memory.level))
    shown_from = _first_steps(steps, diagram, operations)
    title = f"Graph of {nodes[-1].label}"
    data = json.dumps({"steps": steps, **shown_from}).replace("<", "\\u003c")
    return _read("page.html").format(
        title=escape(title),
        style=_read("page.css"),
        picture=write_svg(diagram),
        chart=_chart(steps),
        last=len(steps) - 1,
        data=data,
        script=_read("page.js"),
    )


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


# -- memory ------------------------------------------------------------------------------------------------------------


class _Level(NamedTuple):
    """The bytes of the saved arrays, and of the gradients that have been computed and are still needed."""

    saved: int
    flowing: int


class _Memory:
    """The memory that the graph keeps after each step, and what each step saves and frees."""

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}  # for each buffer the number of operations that hold it
        self._saved = self._flowing = 0
        self._cotangents: set[GraphNode] = set()
        self.level = _Level(0, 0)

    def after_forward(self, node: GraphNode) -> _Level:
        for array in node.saved_arrays:
            self._saved += 0 if self._holders.get(array.buffer) else array.nbytes
            self._holders[array.buffer] = self._holders.get(array.buffer, 0) + 1
        self.level = _Level(self._saved, self._flowing)
        return self.level

    def after_backward(self, node: GraphNode) -> list[SavedArray]:
        """Return the saved arrays that no other operation holds, which are freed."""
        freed = []
        for array in node.saved_arrays:
            self._holders[array.buffer] -= 1
            if not self._holders[array.buffer]:
                self._saved -= array.nbytes
                freed.append(array)
        for edge in node.edges:
            if edge.source not in self._cotangents:
                self._cotangents.add(edge.source)
                self._flowing += _nbytes(edge.source)
        if node in self._cotangents:
            self._flowing -= _nbytes(node)
        self.level = _Level(self._saved, self._flowing)
        return freed


def _nbytes(node: GraphNode) -> int:
    return int(np.prod(node.shape, dtype=np.int64)) * node.dtype.itemsize


def _chart(steps: Sequence[Json]) -> str:
    """Return the memory over the steps as a picture: an area for the saved arrays, and one for the gradients on top."""
    highest = max([step["level"][0] + step["level"][1] for step in steps]) or 1
    count = len(steps)

    def area(name: str, lower: Sequence[int], upper: Sequence[int]) -> str:
        def corners(levels: Sequence[int]) -> list[str]:
            return [f"{x},{100 - 100 * y / highest:.2f}" for i, y in enumerate(levels) for x in (i, i + 1)]

        return f'<polygon class="{name}" points="{" ".join([*corners(upper), *corners(lower)[::-1]])}"/>'

    saved = [step["level"][0] for step in steps]
    total = [step["level"][0] + step["level"][1] for step in steps]
    return (
        f'<svg id="chart" viewBox="0 0 {count} 100" preserveAspectRatio="none" role="img" aria-label="Memory over the '
        f'steps, at most {format_bytes(highest)}">{area("saved", [0] * count, saved)}{area("flow", saved, total)}'
        '<rect id="now" x="0" y="0" width="1" height="100"/></svg>'
    )


# -- steps -------------------------------------------------------------------------------------------------------------
# A step: its title, rows of a term and a text, arrays, the line of the program, the bytes, the boxes that it is about.


def _start(nodes: Sequence[GraphNode]) -> Json:
    leaves = [node for node in nodes if node.kind != "operation" and node.shape]
    return {
        "title": "Before the first operation",
        "phase": "start",
        "rows": [["parameters", "receive a gradient"], ["data", "are constants"]],
        "arrays": [_array(node.label, node.value, node) for node in leaves],
        "level": _Level(0, 0),
        "nodes": [],
    }


def _forward(node: GraphNode, level: _Level) -> Json:
    rows = [["computes", _call(node)]]
    doc = node.primitive.doc if node.primitive is not None else None
    if doc is not None:
        rows.append(["that is", doc.summary])
        rows += [["formula", f"out = {doc.formula}"]] if doc.formula else []
    rows += [[f"{given.name} is", _reference(given.node)] for given in node.inputs]
    if node.location is not None:
        rows.append([str(node.location), node.location.source])
    saved = [f"{array.name} ({format_shape(array.shape)}, {format_bytes(array.nbytes)})" for array in node.saved_arrays]
    rows.append(["saved for backward", "; ".join(saved) or "nothing"])
    inputs = [_array(_argument(given), given.node.value, given.node) for given in node.inputs]
    return {
        "title": f"Forward: {_title(node)}",
        "phase": "forward",
        "rows": rows,
        "arrays": [*inputs, _array("out", node.value, node)],
        "level": level,
        "nodes": [node.index],
    }


def _backward(node: GraphNode, cotangents: Mapping[GraphNode, Array], memory: _Memory) -> Json:
    g = cotangents.get(node)
    rows, arrays = [["g is", f"the gradient of the result with respect to {_reference(node)}"]], []
    if g is not None:
        arrays.append(_array("g", g, node))
    for edge in node.edges:
        rows.append([f"gradient of {edge.input}", _vjp_text(node, edge)])
        total = cotangents.get(edge.source)
        contribution = edge.vjp(g) if g is not None else None
        arrays.append(_array(f"to the gradient of {_argument(edge)}", contribution, edge.source))
        if total is not None and contribution is not None and not np.array_equal(total, contribution, equal_nan=True):
            rows.append(["added to", f"other contributions to the gradient of {_reference(edge.source)}"])
    if node.location is not None:
        rows.append([str(node.location), node.location.source])
    freed = memory.after_backward(node)
    buffers = {array.buffer for array in freed}
    shared = [array for array in node.saved_arrays if array.buffer not in buffers]
    rows.append(["freed", _sizes(freed) or "nothing"])
    if shared:
        rows.append(["not freed", f"{_sizes(shared)}, since another operation holds the same array"])
    return {
        "title": f"Backward: {_title(node)}",
        "phase": "backward",
        "rows": rows,
        "arrays": arrays,
        "level": memory.level,
        "nodes": [node.index],
    }


def _sizes(arrays: Sequence[SavedArray]) -> str:
    return "; ".join(f"{array.name} ({format_bytes(array.nbytes)})" for array in arrays)


def _end(nodes: Sequence[GraphNode], cotangents: Mapping[GraphNode, Array], level: _Level) -> Json:
    parameters = [node for node in nodes if node.kind == "parameter"]
    return {
        "title": "After the backward pass",
        "phase": "end",
        "rows": [["parameters", "have their gradients"], ["the graph", "has been freed"]],
        "arrays": [_array(f"gradient of {node.label}", cotangents.get(node), node) for node in parameters],
        "level": level,
        "nodes": [],
    }


def _title(node: GraphNode) -> str:
    op = node.primitive.name if node.primitive is not None else ""
    return f"{node.name} = {op}" if node.name else op


def _call(node: GraphNode) -> str:
    arguments = [given.node.label if not given.node.shape or given.node.name else given.name for given in node.inputs]
    options = [f"{name}={value}" for name, value in shown_options(node).items()]
    return f"{_title(node)}({', '.join([*arguments, *options])})"


def _argument(given: GraphInput | GraphEdge) -> str:
    """Return an input as ``name = value``, with the name of the argument."""
    name, node = (given.name, given.node) if isinstance(given, GraphInput) else (given.input, given.source)
    return name if name == node.label else f"{name} = {node.label}"


def _reference(node: GraphNode) -> str:
    """Return how a text refers to a node: its name, or what computed it, with its shape."""
    what = node.name or (f"the result of {node.primitive.name}" if node.primitive else node.label)
    return f"{what} ({format_shape(node.shape)})" if node.shape or node.kind == "operation" else what


def _vjp_text(node: GraphNode, edge: GraphEdge) -> str:
    doc = node.primitive.doc if node.primitive is not None else None
    text = doc.derivatives.get(edge.input.partition("[")[0], "") if doc is not None else ""
    if not text:
        return "its vector-Jacobian product"
    if doc is not None and is_elementwise(doc):
        return "g" if text == "1" else f"g * ({text})" if not text.isidentifier() else f"g * {text}"
    return text


def _array(name: str, array: Any, node: GraphNode) -> Json:
    """Return the description of an array: its elements if there are few, and otherwise its range."""
    found: Json = {"name": name, "shape": format_shape(node.shape)}
    if array is None:
        return found | {"text": "not kept; compute it inside trace_graph(values=True)"}
    array = np.asarray(array)
    table = np.atleast_2d(array)
    if array.size and table.ndim == 2 and table.shape[0] <= _MOST_ROWS and table.shape[1] <= _MOST_COLUMNS:  # noqa: PLR2004
        return found | {"cells": [[_number(x) for x in row] for row in table]}
    if not array.size:
        return found | {"text": "empty"}
    finite = array[np.isfinite(array)]
    text = f"{_number(finite.min())} to {_number(finite.max())}, mean {_number(finite.mean())}" if finite.size else ""
    bad = array.size - finite.size
    return found | {"text": ", ".join(filter(None, [text, f"{bad} not finite" if bad else ""]))}


def _number(x: Any) -> str:
    return f"{x:.4g}"


# -- what the picture shows at each step -------------------------------------------------------------------------------


def _first_steps(steps: Sequence[Json], diagram: Diagram, operations: Sequence[GraphNode]) -> Json:
    """Replace the nodes of each step by boxes, and return the steps from which values and gradients are shown.

    The value of an operation is shown from its forward step on, that of a leaf from the start. A gradient is complete
    when all users have been visited.
    """
    box_of = {node.index: i for i, box in enumerate(diagram.boxes) for node in box.nodes}
    forward = {i: number for number, step in enumerate(steps) if step["phase"] == "forward" for i in step["nodes"]}
    backward = {i: number for number, step in enumerate(steps) if step["phase"] == "backward" for i in step["nodes"]}
    seen = [max([forward.get(node.index, 0) for node in box.nodes]) for box in diagram.boxes]
    never = len(steps)
    done = [never] * len(seen)
    if operations:
        done[box_of[operations[-1].index]] = backward[operations[-1].index]
    for node in operations:
        for edge in node.edges:
            box = box_of[edge.source.index]
            done[box] = max(backward[node.index], done[box] if done[box] < never else 0)
    for step in steps:
        step["now"] = [box_of[i] for i in step.pop("nodes")]
    return {"seen": seen, "done": done}
