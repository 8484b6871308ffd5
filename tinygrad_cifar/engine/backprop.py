"""The only walk over the graph.

Start with the cotangent of the result. Take the youngest value that has a cotangent (all its consumers are younger, so
all of them have spoken), let its rules say what that means for its inputs, and add. Stop when only leaves are left.

The walk uses the graph up as it goes: a node's edges are dropped when it has been visited, and with them the arrays
that its rules needed. That keeps the memory of a training loop at that of the parameters and their gradients.
Cotangents are never written in place, so nothing has to be copied to be safe from a later addition.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value, ancestors, unwrap_value
from tinygrad_cifar.engine.modes import Watcher, active_watchers, enable_grad
from tinygrad_cifar.engine.ops.elementwise import astype
from tinygrad_cifar.engine.ops.shapes import sum_to


def walk(
    start: Node, cotangent: Any, *, keep: bool, kind: type[Value] | None = None, targets: set[Node] | None = None
) -> dict[Node, Any]:
    """Carry ``cotangent`` from ``start`` back through the graph.

    Parameters
    ----------
    start
        The node of the result.
    cotangent
        An array of its shape; a value if the derivatives are to be recorded themselves.
    keep
        Whether the graph can be walked again; otherwise it is used up.
    kind
        The class of value to give rules that are recorded (they need the remembered arrays with their nodes);
        None gives them plain arrays.
    targets
        The nodes whose cotangents are wanted, which alone decide where to go; None for all leaves.

    Returns
    -------
    dict
        The cotangents of the targets that were reached.
    """
    along = None if targets is None else _between(start, targets)
    watching = active_watchers()
    cotangents = {start: cotangent}
    queue = [(-start.number, start)]
    while queue:
        _, node = heapq.heappop(queue)
        edges, row = node.edges, node.primitive
        if row is None:  # the walk started at a leaf
            continue
        if edges is None:
            raise _used_up(row)
        if along is not None and not any(parent in along for parent, _, _ in edges):
            continue  # a target: nothing below it is wanted, so it is not used up
        g = cotangents[node] if targets and node in targets else cotangents.pop(node)
        if not keep:
            node.edges = None
        for parent, rule, remembered in edges:
            if along is not None and parent not in along:
                continue
            arguments = remembered if kind is None else _recorded(node, edges, rule, remembered, kind)
            part = rule.apply(g, *arguments) if not watching else _watched(watching, node, rule, g, arguments)
            parts = (part, cotangents.get(parent)) if watching else ()
            if getattr(part, "shape", None) != parent.shape or part.dtype is not parent.dtype:
                part = _fitted(part, parent, row, rule)
            if parent in cotangents:
                cotangents[parent] = cotangents[parent] + part
            else:
                cotangents[parent] = part
                if parent.primitive is not None:  # a leaf's cotangent waits for the end
                    heapq.heappush(queue, (-parent.number, parent))
            for watcher in watching:
                watcher.accumulated(node, rule, parts, cotangents[parent])
    return cotangents


def _watched(watching: Sequence[Watcher], node: Node, rule: VJP, g: Any, arguments: tuple[Any, ...]) -> Any:
    """Apply a rule before witnesses."""
    for watcher in watching:
        watcher.entered(node, rule)
    try:
        part = rule.apply(g, *arguments)
    finally:
        for watcher in watching:
            watcher.left()
    for watcher in watching:
        watcher.differentiated(node, rule, g, arguments, part)
    return part


def _fitted(part: Any, parent: Node, row: Primitive, rule: VJP) -> Any:
    """Undo broadcasting and a change of precision; any other difference from the input is a wrong rule."""
    if not hasattr(part, "shape") or part.dtype.kind not in "fiub":
        raise TypeError(
            f"the rule of {row.name} for {rule.input} returned {part!r:.40}, which is no array of real numbers"
        )
    if part.shape != parent.shape:
        if not row.broadcasts:
            raise RuntimeError(
                f"the rule of {row.name} for {rule.input} returned shape {part.shape} for an input of {parent.shape}; "
                "if its inputs are broadcast, make it with broadcasts=True"
            )
        part = sum_to(part, parent.shape)
    return part if part.dtype is parent.dtype else astype(part, parent.dtype)


def _recorded(
    node: Node, edges: Iterable[Any], rule: VJP, arguments: tuple[Any, ...], kind: type[Value]
) -> tuple[Any, ...]:
    """Give the remembered arrays their places in the graph again, so that the rule's own work is recorded."""
    by_product = node.primitive.by_product if node.primitive else None
    nodes: dict[Any, Node] = {"out": node}
    for parent, other, others_arguments in edges:
        nodes[other.input if other.input != "xs" else others_arguments[other.names.index("i")]] = parent

    def value(array: Any, name: Any) -> Any:
        if name not in nodes:
            return None if name == by_product else array
        out = object.__new__(kind)
        out._array = array
        out._node = nodes[name]
        return out

    return tuple(
        tuple(value(array, i) for i, array in enumerate(argument)) if name == "xs" else value(argument, name)
        for name, argument in zip(rule.names, arguments, strict=True)
    )


def _used_up(row: Primitive) -> RuntimeError:
    return RuntimeError(
        f"the graph behind {row.name} has been used up by an earlier backward pass (or one that failed); give that one "
        "retain_graph=True, or compute the result again"
    )


def _between(start: Node, targets: set[Node]) -> set[Node]:
    """Return the nodes on the paths from ``start`` to ``targets``.

    Nobody knows any more where a node led that has been used up. It may have been to any older target, so to
    take it for a dead end could make a gradient too small: that is an error.
    """
    oldest = min((node.number for node in targets), default=start.number)
    behind = ancestors(start)
    for node in behind:
        if node.edges is None and node.primitive is not None and node.number > oldest:
            raise _used_up(node.primitive)
    found = targets.intersection(behind)
    for node in sorted(behind, key=lambda node: node.number):  # inputs before what was made of them
        if any(parent in found for parent, _, _ in node.edges or ()):
            found.add(node)
    return found


def _seed(name: str, out: Value, gradient: Any) -> Any:
    """Return the first cotangent: an array, or ``gradient`` itself if it is a value, to be differentiated too."""
    if out._node is None:
        raise ValueError(
            f"{name}: the result does not depend on any tensor with requires_grad=True, so there is nothing to "
            "differentiate (was it computed under no_grad, or from detached tensors?)"
        )
    array = out._array
    if gradient is None:
        if array.size != 1:
            raise ValueError(
                f"{name}: the result has shape {array.shape}; only a single number has a gradient. Reduce it, for "
                "example with sum(), or pass gradient=, an array of the same shape"
            )
        return np.ones(array.shape, dtype=array.dtype)
    seed = np.asarray(gradient._array if isinstance(gradient, Value) else gradient)
    if seed.shape != array.shape or seed.dtype.kind not in "fiub":
        raise ValueError(
            f"{name}: gradient must be real numbers of shape {array.shape}, like the result; got {seed.dtype} of shape "
            f"{seed.shape}"
        )
    return astype(gradient, array.dtype) if isinstance(gradient, Value) else seed.astype(array.dtype)


def _wrapped(kind: type[Value], array: Any) -> Any:
    out = object.__new__(kind)
    out._array = np.asarray(array)
    out._node = None
    return out


def grad(
    out: Any,
    wrt: Any,
    gradient: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> Any:
    """Differentiate ``out`` with respect to tensors, and leave their ``.grad`` alone.

    Computes ``J' gradient``, where ``J[i, j]`` is the derivative of element i of ``out`` with respect to
    element j of ``wrt``.

    Parameters
    ----------
    out : Tensor
        The result.
    wrt : Tensor or sequence of Tensor
        What to differentiate with respect to: leaves or values on the way.
    gradient : array_like, optional
        The cotangent, of the shape of ``out``; not needed for a single number, where it is 1.
    retain_graph : bool, optional
        Whether the graph can be walked again. By default it can be if ``create_graph`` is set.
    create_graph : bool
        Whether to record the derivatives, so that they can be differentiated again.

    Returns
    -------
    Tensor or tuple of Tensor
        One gradient for each tensor in ``wrt``, of its shape and dtype; zeros where ``out`` does not depend on it.

    Raises
    ------
    ValueError
        If ``out`` is not recorded, or is not a single number and no ``gradient`` was given.
    TypeError
        If a tensor in ``wrt`` does not require a gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, grad
    >>> x = Tensor(3.0, requires_grad=True)
    >>> slope = grad(x**3, x, create_graph=True)
    >>> slope.item(), grad(slope, x).item()
    (27.0, 18.0)
    """
    if not isinstance(out, Value):
        raise TypeError(f"grad: out must be a tensor, not {type(out).__name__}")
    single = isinstance(wrt, Value) or not isinstance(wrt, Iterable)
    targets: Sequence[Value] = [wrt] if single else list(wrt)
    for i, target in enumerate(targets):
        if not isinstance(target, Value) or target._node is None:
            which = "wrt" if single else f"wrt[{i}]"
            raise TypeError(f"grad: {which} must be a tensor that requires a gradient, or was computed from one")
    seed = _seed("grad", out, gradient)
    kind = type(out)
    nodes = [target._node for target in targets if target._node is not None]
    keep = create_graph if retain_graph is None else retain_graph
    found = _walk_for(out, seed, keep=keep, create_graph=create_graph, targets=set(nodes))
    results = [found[n] if n in found else _wrapped(kind, np.zeros(n.shape, n.dtype)) for n in nodes]
    return results[0] if single else tuple(results)


def _walk_for(out: Any, seed: Any, *, keep: bool, create_graph: bool, targets: set[Node] | None) -> dict[Node, Any]:
    """Walk with values, recording, or with plain arrays; return values either way."""
    kind = type(out)
    if create_graph:  # asked for by name, so also under no_grad
        seed = seed if isinstance(seed, Value) else _wrapped(kind, seed)
        with enable_grad():
            return walk(out._node, seed, keep=keep, kind=kind, targets=targets)
    found = walk(out._node, unwrap_value(seed), keep=keep, targets=targets)
    return {node: _wrapped(kind, g) for node, g in found.items()}


_depositing = threading.Lock()


def backward(out: Any, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Differentiate ``out`` with respect to all leaves it depends on, and add the results to their ``.grad``.

    See :meth:`Tensor.backward` for the parameters.
    """
    seed = _seed("backward", out, gradient)
    keep = create_graph if retain_graph is None else retain_graph
    found = _walk_for(out, seed, keep=keep, create_graph=create_graph, targets=None)
    with _depositing:  # two threads may share a leaf, and adding to its gradient takes more than one step
        for node, g in found.items():
            node.grad = g if node.grad is None else node.grad + g
