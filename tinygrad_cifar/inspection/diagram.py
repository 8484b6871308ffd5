"""What a picture of a graph shows: boxes and arrows, with modules or repeated operations folded into one box.

One traversal of the nodes makes the diagram that all writers draw. Numbers such as the 2 of ``2 * x`` are written into
the box of their operation. Folding keeps the graph acyclic: operations are folded into one box only if no path leads
from the box out and back in, so a module that is called twice has two boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from tinygrad_cifar.engine.graph import format_shape
from tinygrad_cifar.inspection.nodes import GraphNode

BoxKind: TypeAlias = Literal["parameter", "data", "operation", "folded"]

_SHOWN_ELEMENTS = 4  # arrays up to this size are shown element by element
_LONGEST_ELEMENTS = 19  # characters of all elements
_LONGEST = 30  # characters of a line in a box
_MOST_DATA = 3  # arrays that are drawn beside a folded sequence
_LONGEST_PERIOD = 60  # operations of a sequence that is repeated
_FEWEST_REPEATS = 3


class Box(NamedTuple):
    """A box of a diagram.

    Attributes
    ----------
    kind : {"parameter", "data", "operation", "folded"}
        What it stands for.
    title : str
        Its first line.
    lines : tuple of str
        The other lines: shape, arguments, value, gradient.
    nodes : tuple of GraphNode
        The nodes that it stands for.
    module : str
        The innermost module of its nodes; empty if there is none.
    """

    kind: BoxKind
    title: str
    lines: tuple[str, ...]
    nodes: tuple[GraphNode, ...]
    module: str


class Arrow(NamedTuple):
    """An arrow from the box of an input to that of an operation.

    Attributes
    ----------
    source : int
        Number of the box where it starts.
    target : int
        Number of the box where it ends.
    has_gradient : bool
        Whether a gradient flows back along it.
    """

    source: int
    target: int
    has_gradient: bool


class Diagram(NamedTuple):
    """Boxes and arrows; the source of an arrow comes before its target.

    Attributes
    ----------
    boxes : tuple of Box
        The boxes.
    arrows : tuple of Arrow
        The arrows.
    note : str
        A sentence on what has been folded; empty if nothing has.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    note: str = ""


def make_diagram(
    nodes: Sequence[GraphNode], fold: Iterable[str] | str | None, fits: Callable[[Diagram], bool]
) -> Diagram:
    """Return the diagram of a graph.

    Parameters
    ----------
    nodes : sequence of GraphNode
        The nodes, in order.
    fold : iterable of str, or None
        Names of the modules to fold. If None, as much is folded as is needed for ``fits(diagram)``.
    fits : callable
        Whether a diagram fits the page.

    Raises
    ------
    ValueError
        If ``fold`` names a module that is not in the graph.
    """
    known = list(dict.fromkeys(name for node in nodes for name in node.modules))
    if fold is not None:
        names = [fold] if isinstance(fold, str) else list(fold)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"fold: there is no module {unknown[0]}; the modules are: {', '.join(known) or 'none'} "
                "(trace_graph records which modules are called)"
            )
        note = f"Folded: {', '.join(names)}." if names else ""
        return _draw(nodes, _by_module(nodes, frozenset(names)), note)
    best = _draw(nodes, [None] * len(nodes), "")
    for groups, note in _foldings(nodes):
        if fits(best):
            break
        best = _draw(nodes, groups, note)
    return best


class _Sequence(NamedTuple):
    """A group of consecutive operations, which are not of one module."""

    number: int
    title: str


# For each node the name of a module, or a sequence: nodes of the same group may share a box. None for a box of its own.
Groups: TypeAlias = list[Any]


def _foldings(nodes: Sequence[GraphNode]) -> Iterable[tuple[Groups, str]]:
    """Yield ways of folding a large graph, the finest first, each with a note."""
    depths = sorted({len(node.modules) for node in nodes if node.modules}, reverse=True)
    for depth in depths[: -1 if len(depths) > 1 else None]:
        names = frozenset(node.modules[depth - 1] for node in nodes if len(node.modules) >= depth)
        yield _by_module(nodes, names), _note(f"{len(names)} module{'s' * (len(names) != 1)}")
    repeats = _repeats(nodes)
    if count := len({group for group in repeats if group is not None}):
        yield repeats, _note(f"{count} sequence{'s' * (count != 1)} of repeated operations")
    if len(depths) > 1:
        outer = frozenset(node.modules[0] for node in nodes if node.modules)
        yield (
            _by_module(nodes, outer),
            _note(f"the module {min(outer)}" if len(outer) == 1 else f"{len(outer)} modules"),
        )
    size = 2
    while size < len(nodes):
        operations = [node for node in nodes if node.kind == "operation"]
        group = {node: _Sequence(i // size, "") for i, node in enumerate(operations)}
        yield [group.get(node) for node in nodes], _note(f"operations in groups of {size}")
        size *= 2


def _note(what: str) -> str:
    return f"Folded to fit a page: {what}. Use fold=[] to show every operation."


def _by_module(nodes: Sequence[GraphNode], names: frozenset[str]) -> Groups:
    return [next((name for name in node.modules if name in names), None) for node in nodes]


def _repeats(nodes: Sequence[GraphNode]) -> Groups:
    """Return groups of operations that repeat the same sequence at least three times."""
    operations = [node for node in nodes if node.kind == "operation"]
    names = [node.primitive.name if node.primitive else "" for node in operations]
    group: dict[GraphNode, _Sequence] = {}
    start = 0
    while start < len(names):
        length, period = _longest_repeat(names, start)
        if length:
            title = f"{length // period} times {', '.join(names[start : start + period])}"
            group.update(dict.fromkeys(operations[start : start + length], _Sequence(start, title)))
        start += max(length, 1)
    return [group.get(node) for node in nodes]


def _longest_repeat(names: Sequence[str], start: int) -> tuple[int, int]:
    """Return the length of the longest sequence at ``start`` of at least three equal parts, and that of a part."""
    longest, best = 0, 1
    for period in range(1, min(_LONGEST_PERIOD, (len(names) - start) // _FEWEST_REPEATS) + 1):
        end = start + period
        while names[end : end + period] == names[start : start + period]:
            end += period
        if end - start >= _FEWEST_REPEATS * period and end - start > longest:
            longest, best = end - start, period
    return longest, best


# -- boxes -------------------------------------------------------------------------------------------------------------


def _draw(nodes: Sequence[GraphNode], groups: Groups, note: str) -> Diagram:
    """Return the diagram in which nodes of the same group share a box, as far as it remains acyclic."""
    shown = [(node, group) for node, group in zip(nodes, groups, strict=True) if not _is_number(node)]
    members: list[list[GraphNode]] = []
    titles: list[str] = []
    inputs: list[set[int]] = []  # of each box, the boxes that it depends on directly
    latest: dict[Any, int] = {}
    box_of: dict[GraphNode, int] = {}
    for node, group in shown:
        if node.kind != "operation":
            continue
        sources = {box_of[given.node] for given in node.inputs if given.node in box_of}
        box = latest.get(group) if group is not None else None
        if box is None or any(_depends(source, box, inputs) for source in sources - {box}):
            box = len(members)
            members.append([])
            titles.append(group.title if isinstance(group, _Sequence) else str(group or ""))
            inputs.append(set())
            if group is not None:
                latest[group] = box
        members[box].append(node)
        inputs[box] |= sources - {box}
        box_of[node] = box
    _place_leaves(shown, members, inputs, box_of)
    order = _topological_order(members, box_of)
    number = {box: i for i, box in enumerate(order)}
    prefix = _common_prefix(nodes)
    boxes = tuple([_box(members[box], titles[box] if box < len(titles) else "", prefix) for box in order])
    arrows: dict[tuple[int, int], bool] = {}
    for node, _ in shown:
        differentiable = {edge.source for edge in node.edges}
        for given in node.inputs:
            if given.node in box_of and box_of[given.node] != box_of[node]:
                key = number[box_of[given.node]], number[box_of[node]]
                arrows[key] = arrows.get(key, False) or given.node in differentiable
    return Diagram(boxes, tuple([Arrow(*ends, has) for ends, has in arrows.items()]), note)


def _is_number(node: GraphNode) -> bool:
    return node.kind == "data" and not node.shape


def _depends(box: int, on: int, inputs: Sequence[set[int]]) -> bool:
    """Return whether a box depends on another one."""
    pending, seen = [box], {box}
    while pending:
        current = pending.pop()
        if current == on:
            return True
        pending += inputs[current] - seen
        seen |= inputs[current]
    return False


def _place_leaves(
    shown: Sequence[tuple[GraphNode, Any]],
    members: list[list[GraphNode]],
    inputs: list[set[int]],
    box_of: dict[GraphNode, int],
) -> None:
    """Put the leaves into boxes: those of a folded module or sequence into its box, the others into boxes of their own.

    A leaf that several boxes use goes to the first one, unless that depends on another of them. Of a sequence, data are
    folded as well if there are many.
    """
    leaves = [node for node, _ in shown if node.kind != "operation"]
    group_of = dict(shown)
    users: dict[GraphNode, list[GraphNode]] = {leaf: [] for leaf in leaves}
    for node, _ in shown:
        for given in node.inputs:
            if given.node in users:
                users[given.node].append(node)
    used_by = Counter(group_of[users[leaf][0]] for leaf in leaves if users[leaf] and leaf.kind == "data")
    for leaf in leaves:
        group = group_of[users[leaf][0]] if users[leaf] else None
        in_module = isinstance(group, str) and group in leaf.modules
        in_sequence = isinstance(group, _Sequence) and (leaf.kind == "parameter" or used_by[group] > _MOST_DATA)
        boxes = [box_of[user] for user in users[leaf]]
        others = set(boxes[1:]) - set(boxes[:1])
        if (in_module or in_sequence) and not any(_depends(boxes[0], other, inputs) for other in others):
            box_of[leaf] = boxes[0]
            members[boxes[0]].append(leaf)
            for other in others:
                inputs[other].add(boxes[0])
        else:
            box_of[leaf] = len(members)
            members.append([leaf])


def _topological_order(members: Sequence[Sequence[GraphNode]], box_of: dict[GraphNode, int]) -> list[int]:
    """Return the boxes in an order in which inputs come first."""
    order: list[int] = []
    placed: set[int] = set()
    for first in range(len(members)):
        pending = [first]
        while pending:
            box = pending[-1]
            needed = {box_of[given.node] for node in members[box] for given in node.inputs if given.node in box_of}
            waiting = sorted(needed - placed - {box})
            if waiting and box not in placed:
                pending += waiting
                continue
            pending.pop()
            if box not in placed:
                placed.add(box)
                order.append(box)
    return order


def _common_prefix(nodes: Sequence[GraphNode]) -> str:
    """Return the name of the module that all others belong to, with a dot; it can be left out of names."""
    roots = {node.modules[0] for node in nodes if node.modules}
    return f"{roots.pop()}." if len(roots) == 1 else ""


def _box(nodes: Sequence[GraphNode], title: str, prefix: str) -> Box:
    operations = [node for node in nodes if node.kind == "operation"]
    module = nodes[0].modules[-1].removeprefix(prefix) if nodes[0].modules else ""
    if len(nodes) == 1:
        return _single_box(nodes[0], prefix, module)
    title = title.removeprefix(prefix) or f"{len(operations)} operations"
    names = Counter(node.primitive.name for node in operations if node.primitive)
    summary = ", ".join(f"{count} {name}" if count > 1 else name for name, count in names.items())
    lines = [] if " times " in title else [_shorten(summary)]
    lines.append(f"result {format_shape(operations[-1].shape)}")
    parameters = [node for node in nodes if node.kind == "parameter"]
    if parameters:
        size = sum(int(np.prod(node.shape)) for node in parameters)
        lines.append(f"{len(parameters)} parameter{'s' * (len(parameters) != 1)}, {size:,} elements")
    if saved := sum({a.buffer: a.nbytes for node in operations for a in node.saved_arrays}.values()):
        lines.append(f"{format_bytes(saved)} saved")
    return Box("folded", _shorten(title), tuple(lines), tuple(nodes), module)


def _single_box(node: GraphNode, prefix: str, module: str) -> Box:
    lines = [format_shape(node.shape) if node.dtype == np.float64 else f"{format_shape(node.shape)} {node.dtype}"]
    if node.kind == "operation":
        title = _operation_title(node, prefix)
        if module and f"{module}." != prefix:
            lines[0] += f" in {module}"
        lines += _arguments(node)
    else:
        title = node.label.removeprefix(prefix)
    for what, array in (("value", node.value), ("gradient", gradient_of(node))):
        if array is not None:
            lines.append(f"{what} {format_values(array)}")
    return Box(node.kind, _shorten(title), tuple(map(_shorten, lines)), (node,), module)


def _operation_title(node: GraphNode, prefix: str) -> str:
    op = node.primitive.name if node.primitive else ""
    return f"{node.name.removeprefix(prefix)} = {op}" if node.name else op


def _arguments(node: GraphNode) -> list[str]:
    """Return the numbers that an operation takes, and its other arguments, in one line if there are any."""
    texts = []
    for given in node.inputs:
        if _is_number(given.node):
            value = given.node.value
            texts.append(
                f"{given.name} = {given.node.label}"
                + (f" = {value:.4g}" if given.node.name and value is not None else "")
            )
    texts += [f"{name} = {_plain(value)}" for name, value in shown_options(node).items()]
    return [", ".join(texts)] if texts else []


def _plain(value: Any) -> str:
    return str(value[0]) if isinstance(value, tuple) and len(value) == 1 else str(value)


def shown_options(node: GraphNode) -> dict[str, Any]:
    """Return the other arguments of an operation that are worth showing; a sum of all elements needs no axis."""
    all_axes = tuple(range(len(node.inputs[0].node.shape))) if node.inputs else ()
    return {name: value for name, value in node.options.items() if _is_shown(value) and value != all_axes}


def _is_shown(value: Any) -> bool:
    """Return whether an argument is worth a line: a number, a text or a tuple that does not switch something off."""
    if isinstance(value, float):
        return value != 0
    return type(value) in (int, str, tuple) or value is True


def gradient_of(node: GraphNode) -> Any:
    """Return the cotangent of a node, or the accumulated gradient of a parameter; None if neither is there."""
    return node.cotangent if node.cotangent is not None else node.grad


def format_values(array: Any) -> str:
    """Return the elements of a small array, or the range of a larger one, as text."""
    if not array.size:
        return "empty"
    if array.size <= _SHOWN_ELEMENTS:
        text = ", ".join(f"{x:.3g}" for x in array.ravel())
        if array.size == 1 or len(text) <= _LONGEST_ELEMENTS:
            return text if array.size == 1 else f"[{text}]"
    if not np.isfinite(array).all():
        return f"{np.count_nonzero(~np.isfinite(array))} not finite"
    low, high = array.min(), array.max()
    return f"{low:.3g} to {high:.3g}" if low < high else f"all {low:.3g}"


def format_bytes(count: int) -> str:
    """Return a number of bytes with a unit."""
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:  # noqa: PLR2004 (which is rounded to the next unit)
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 1) // 2
    return f"{text[: _LONGEST - 1 - half]}…{text[-half:]}"
