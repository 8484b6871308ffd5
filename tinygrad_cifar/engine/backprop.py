"""The backward pass: reverse-mode differentiation over the graph.

It starts from the cotangent of the result and visits nodes in decreasing order of creation. All values computed from a
node were created after it, so when a node is visited, its cotangent is complete. The VJPs on its edges are applied, and
each result is added to the cotangent of the input that it belongs to; some contributions are collected first
(:mod:`~tinygrad_cifar.engine.parts`). Leaves end the pass.

Unless the graph is retained, a node is freed when it is visited: its edges are dropped, and with them the arrays saved
for its VJPs. A training loop therefore holds no activations between steps. Cotangents are added out of place, or
in a new array to which nothing else refers, so a VJP may return its own cotangent, and several inputs may share one
array without a copy; it may be a read-only view.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter
from typing import Any, overload

import numpy as np

from tinygrad_cifar.engine.graph import (
    VJP,
    Edge,
    Node,
    ReplacedVJP,
    Value,
    refuse_masked_array,
    unwrap_value,
)
from tinygrad_cifar.engine.hooks import hooked_nodes, run_hooks
from tinygrad_cifar.engine.modes import Watcher, active_watchers, enable_grad
from tinygrad_cifar.engine.operations import V
from tinygrad_cifar.engine.ops.elementwise import astype
from tinygrad_cifar.engine.ops.shapes import sum_to
from tinygrad_cifar.engine.ownership import is_local
from tinygrad_cifar.engine.parts import Parts

Cotangents = dict[Node, Any]
Prepare = Callable[[Node, Sequence[Edge]], Sequence[Edge]]

# Elements from which a cotangent is added to a contribution in place, if nothing else refers to that array: a pass over
# the memory takes less than asking for new memory, and the largest memory in use is smaller.
_LARGE = 16_384


def propagate(
    start: Node,
    cotangent: Any,
    *,
    retain_graph: bool,
    value_type: type[Value] | None = None,
    targets: frozenset[Node] | None = None,
    replace: Prepare | None = None,
) -> Cotangents:
    """Propagate ``cotangent`` from ``start`` back through the graph.

    Parameters
    ----------
    start : Node
        Node of the result.
    cotangent : ndarray or Value
        Cotangent of the result, of the same shape. A value if the VJPs are to be recorded.
    retain_graph : bool
        If True, the graph can be traversed again. If False, visited nodes are freed.
    value_type : type, optional
        Class of the values in which saved arrays are passed to VJPs that are recorded. If None, VJPs receive arrays.
    targets : frozenset of Node, optional
        Nodes whose cotangents are wanted; only paths that lead to them are followed. If None, all leaves are.
    replace : callable, optional
        ``replace(node, edges)`` returns the edges of a node with other VJPs; their parents must stay the same. For
        passes over arrays.

    Returns
    -------
    dict
        The cotangent of each target, or leaf, that was reached.
    """
    # What differs between passes is decided here, once: which edges of a node to follow, and how.
    prepare = replace or (_as_saved if value_type is None else partial(_as_values, value_type))
    edges_of = _edges_towards(start, targets, prepare) if targets is not None else _all_edges(prepare)
    watchers = active_watchers()
    follow = partial(_follow_watched, watchers) if watchers else _follow
    kept = targets or frozenset()

    cotangents: Cotangents = {start: cotangent}
    if hooked_nodes:
        edges_of = partial(_edges_after_hooks, edges_of, cotangents)
    queue: list[tuple[int, Node]] = []
    node: Node | None = start
    while node is not None:
        edges = edges_of(node)
        if edges is None:
            raise _graph_freed_error(node)
        following = None  # one node beside the queue: a chain of operations needs no queue
        if edges:  # neither a leaf, nor a target with no other target behind it
            g = cotangents.pop(node)
            if type(g) is Parts:
                g = g.total()
            if node in kept:
                cotangents[node] = g
            if not retain_graph:
                node.edges = None
            for edge in edges:
                if follow(cotangents, node, edge, g) and edge[0].primitive is not None:
                    if following is not None:
                        heapq.heappush(queue, (-following.number, following))
                    following = edge[0]
        node = _next(queue, following)
    _complete_leaves(cotangents)
    return cotangents


def _next(queue: list[tuple[int, Node]], following: Node | None) -> Node | None:
    """Return the newest node of the queue and the one beside it, and remove it; None if there is none."""
    if not queue:
        return following
    return heapq.heappop(queue)[1] if following is None else heapq.heappushpop(queue, (-following.number, following))[1]


def _complete_leaves(cotangents: Cotangents) -> None:
    """Add up the cotangents of leaves that have arrived in parts, and run the hooks of leaves."""
    for node, g in cotangents.items():
        if type(g) is Parts:
            cotangents[node] = g.total()
    if hooked_nodes:
        for leaf in [node for node in cotangents if node.primitive is None and node in hooked_nodes]:
            cotangents[leaf] = _with_dtype_of(leaf, run_hooks(leaf, cotangents[leaf]))


def _follow(cotangents: Cotangents, node: Node, edge: Edge, g: Any) -> bool:
    """Apply the VJP of an edge to the cotangent ``g`` of ``node``, and add the result to the cotangent of the input.

    Return whether it is the first contribution to that cotangent.
    """
    parent, vjp, saved = edge
    known = cotangents.get(parent)
    if known is not None and (size := _size_to_collect(parent, vjp, g, saved)):
        cotangents[parent] = _collect(known, parent, vjp).add(g, saved, size)
        return False
    try:
        contribution = vjp.apply(g, *saved)
    except ValueError as error:
        _explain_read_only(node, vjp, error)
        raise
    try:
        fits = contribution.shape == parent.shape and contribution.dtype is parent.dtype
    except AttributeError:
        fits = False
    if not fits:
        contribution = _match_input(contribution, node, edge)
    if type(known) is Parts:
        known = known.total()
    if known is None:
        cotangents[parent] = contribution
    elif type(known) is np.ndarray and known.size >= _LARGE and known.dtype is parent.dtype and is_local(contribution):
        cotangents[parent] = np.add(known, contribution, out=contribution)
    else:
        cotangents[parent] = known + contribution
    return known is None


def _size_to_collect(parent: Node, vjp: VJP, g: Any, saved: Sequence[Any]) -> int:
    """Return the number of elements that a contribution keeps if it is collected; 0 if it is added by itself."""
    return 0 if vjp.collection is None else vjp.collection.size(parent, g, *saved)


def _collect(known: Any, node: Node, vjp: VJP) -> Parts:
    """Return the parts of a cotangent, of which a sum or parts are known."""
    if type(known) is not Parts:
        return Parts(node, vjp, known)
    return known if known.vjp is vjp else Parts(node, vjp, known.total())


def _follow_watched(watchers: Sequence[Watcher], cotangents: Cotangents, node: Node, edge: Edge, g: Any) -> bool:
    """Follow an edge, and notify the watchers of each step."""
    parent, vjp, saved = edge
    for watcher in watchers:
        watcher.on_vjp_start(node, vjp)
    try:
        contribution = vjp.apply(g, *saved)
    except ValueError as error:
        _explain_read_only(node, vjp, error)
        raise
    finally:
        for watcher in watchers:
            watcher.on_vjp_end()
    for watcher in watchers:
        watcher.on_vjp_result(node, vjp, g, saved, contribution)
    known = cotangents.get(parent)
    if known is not None and _size_to_collect(parent, vjp, g, saved):
        cotangents[parent] = vjp.collection.total(vjp.apply, known, [g], [saved])
    else:
        _follow(cotangents, node, (parent, ReplacedVJP(vjp, lambda _: contribution), ()), g)
    terms = (contribution, known)
    for watcher in watchers:
        watcher.on_accumulate(node, vjp, terms, cotangents[parent])
    return known is None


def _explain_read_only(node: Node, vjp: VJP, error: ValueError) -> None:
    """Raise an error with the name of the VJP, if the given one is that of writing to a read-only array."""
    op: Any = node.primitive
    if "read-only" in str(error):
        raise ValueError(
            f"{op.name}: the VJP for {vjp.input} must not write to its cotangent or to a saved array, which are "
            "read-only; compute a new one"
        ) from error


def _match_input(contribution: Any, node: Node, edge: Edge) -> Any:
    """Undo broadcasting and a change of precision; any other difference from the input is an error of the VJP."""
    parent, vjp, _ = edge
    op: Any = node.primitive
    if not hasattr(contribution, "shape") or contribution.dtype.kind not in "fiub":
        raise TypeError(
            f"{op.name}: the VJP for {vjp.input} must return an array of real numbers; got {contribution!r:.40}"
        )
    if contribution.shape != parent.shape:
        if not op.broadcasts:
            raise RuntimeError(
                f"{op.name}: the VJP for {vjp.input} must return the shape of the input, {parent.shape}; got "
                f"{contribution.shape} (if inputs are broadcast, make the primitive with broadcasts=True)"
            )
        contribution = sum_to(contribution, parent.shape)
    return contribution if contribution.dtype is parent.dtype else astype(contribution, parent.dtype)


# -- which edges to follow ---------------------------------------------------------------------------------------------
# Another thread may free a node at any time, so the edges of a node are read once.


def _as_saved(node: Node, edges: Sequence[Edge]) -> Sequence[Edge]:  # noqa: ARG001
    """Return the edges of a node as they are."""
    return edges


def _as_values(value_type: type[Value], node: Node, edges: Sequence[Edge]) -> Sequence[Edge]:
    """Return the edges of a node with their saved arrays as values, so that operations inside the VJPs are recorded."""
    op: Any = node.primitive
    if op.variadic:
        return _as_values_of_several(value_type, node, edges)
    nodes = {vjp.input: parent for parent, vjp, _ in edges}
    nodes["out"] = node
    found = []
    for parent, vjp, saved in edges:
        values = [
            _wrap(value_type, x, nodes[name]) if name in nodes else None if name == op.aux else x
            for name, x in zip(vjp.names, saved, strict=True)
        ]
        found.append((parent, vjp, tuple(values)))
    return found


def _as_values_of_several(value_type: type[Value], node: Node, edges: Sequence[Edge]) -> Sequence[Edge]:
    """Like :func:`_as_values`, for a variadic primitive, whose first argument is a tuple of inputs."""
    op: Any = node.primitive
    nodes = {saved[vjp.names.index("i")]: parent for parent, vjp, saved in edges}

    def as_value(name: str, x: Any) -> Any:
        if name == op.inputs[0]:
            return tuple([_wrap(value_type, part, nodes[i]) if i in nodes else part for i, part in enumerate(x)])
        return _wrap(value_type, x, node) if name == "out" else x

    return [
        (parent, vjp, tuple([as_value(name, x) for name, x in zip(vjp.names, saved, strict=True)]))
        for parent, vjp, saved in edges
    ]


def _all_edges(prepare: Prepare) -> Callable[[Node], Sequence[Edge] | None]:
    """Return the function that returns the edges of a node; None if the node has been freed."""
    if prepare is _as_saved:
        return attrgetter("edges")

    def edges_of(node: Node) -> Sequence[Edge] | None:
        edges = node.edges
        return prepare(node, edges) if edges else edges

    return edges_of


def _edges_after_hooks(
    edges_of: Callable[[Node], Sequence[Edge] | None], cotangents: Cotangents, node: Node
) -> Sequence[Edge] | None:
    """Run the hooks of a result, whose cotangent is now complete, and return the edges of its node."""
    if node.primitive is not None and node in hooked_nodes:
        g = cotangents[node]
        cotangents[node] = _with_dtype_of(node, run_hooks(node, g.total() if type(g) is Parts else g))
    return edges_of(node)


def _edges_towards(start: Node, targets: frozenset[Node], prepare: Prepare) -> Callable[[Node], Sequence[Edge] | None]:
    """Return the function that returns the edges of a node that lie on a path from ``start`` to one of ``targets``."""
    oldest = min((node.number for node in targets), default=start.number)
    behind = _nodes_behind(start, targets, oldest)
    if behind is None:
        return _all_edges(prepare)
    on_paths = _edges_on_paths(start, targets, oldest, behind)

    def edges_of(node: Node) -> Sequence[Edge]:
        edges = on_paths.pop(node)  # so that the saved arrays are freed with the node
        for parent, _, _ in edges:
            if parent not in on_paths:
                return [edge for edge in prepare(node, edges) if edge[0] in on_paths]
        return prepare(node, edges) if edges else edges

    return edges_of


def _nodes_behind(start: Node, targets: frozenset[Node], oldest: int) -> list[Node] | None:
    """Return the nodes that ``start`` was computed from, none older than ``oldest``; None if all paths lead to targets.

    They do if the targets are all leaves behind ``start``, as in a training step. Then no path needs to be found.
    """
    found, seen, pending = [], {start}, [start]
    others = False
    while pending:
        node = pending.pop()
        found.append(node)
        edges = node.edges
        if edges is None or (node in targets) is not (not edges):  # freed, another leaf, or a target that is not a leaf
            others = True
        for parent, _, _ in edges or ():
            if parent.number < oldest:
                others = True
            elif parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return found if others else None


def _edges_on_paths(
    start: Node, targets: frozenset[Node], oldest: int, behind: list[Node]
) -> dict[Node, Sequence[Edge]]:
    """Return the nodes on the paths from ``start`` to ``targets``, each with its edges.

    A freed node raises an error: it may have led to any target that was created before it, so leaving it out could make
    a gradient too small.
    """
    on_paths: dict[Node, Sequence[Edge]] = {}
    for node in sorted(behind, key=attrgetter("number")):  # inputs before what was computed from them
        edges = node.edges
        if edges is None and node.number > oldest:
            raise _graph_freed_error(node)
        if node is start or node in targets:
            on_paths[node] = edges or ()
            continue
        for parent, _, _ in edges or ():
            if parent in on_paths:
                on_paths[node] = edges or ()
                break
    return on_paths


def _graph_freed_error(node: Node) -> RuntimeError:
    name = node.primitive.name if node.primitive is not None else "the result"
    return RuntimeError(
        f"the graph behind {name} has been freed by an earlier backward pass (or by one that failed); pass "
        "retain_graph=True to that one, or compute the result again"
    )


# -- grad and backward -------------------------------------------------------------------------------------------------


def _initial_cotangent(name: str, out: Value, gradient: Any) -> Any:
    """Return the cotangent of the result: an array, or ``gradient`` itself if it is a value."""
    if out._node is None:
        raise ValueError(
            f"{name}: the result does not depend on any tensor with requires_grad=True, so there is nothing to "
            "differentiate (was it computed under no_grad, or from detached tensors? to update a parameter w, write "
            "w.data = w.data - eta * w.grad.data)"
        )
    array = out._array
    if gradient is None:
        if array.size != 1:
            raise ValueError(
                f"{name}: the result has shape {array.shape}; only a result with one element has a default cotangent. "
                "Reduce it, for example with sum(), or pass gradient=, an array of the same shape"
            )
        return np.ones(array.shape, dtype=array.dtype)
    refuse_masked_array(name, gradient)
    given = np.asarray(unwrap_value(gradient))
    if given.shape != array.shape or given.dtype.kind not in "fiub":
        raise ValueError(
            f"{name}: gradient must be real numbers of shape {array.shape}, like the result; got {given.dtype} of "
            f"shape {given.shape}"
        )
    return astype(gradient, array.dtype) if isinstance(gradient, Value) else given.astype(array.dtype)


def _wrap(value_type: type[Value], array: Any, node: Node | None = None) -> Any:
    out = object.__new__(value_type)
    out._array = array if type(array) is np.ndarray else np.asarray(array)
    out._node = node
    return out


@overload
def grad(
    out: V, wrt: V, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> V: ...
@overload
def grad(
    out: V, wrt: Iterable[V], gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> tuple[V, ...]: ...
def grad(
    out: Any, wrt: Any, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> Any:
    """Compute the gradient of ``out`` with respect to tensors, without changing their ``.grad``.

    The result is ``J' gradient``, where ``J[i, j]`` is the derivative of element i of ``out`` with respect to element j
    of ``wrt``.

    Parameters
    ----------
    out : Tensor
        The result to differentiate.
    wrt : Tensor or sequence of Tensor
        Leaves or intermediate results to differentiate with respect to.
    gradient : array_like, optional
        The initial cotangent, of the shape of ``out``. Default: 1, for a result with one element.
    retain_graph : bool, optional
        If True, the graph can be traversed again. Default: the value of ``create_graph``.
    create_graph : bool
        If True, the gradients are recorded, so that they can be differentiated again. Default: False.

    Returns
    -------
    Tensor or tuple of Tensor
        One gradient for each tensor in ``wrt``, of its shape and dtype; zeros where ``out`` does not depend on it.

    Raises
    ------
    ValueError
        If ``out`` is not recorded, or has more than one element and no ``gradient`` was given.
    TypeError
        If a tensor in ``wrt`` does not require a gradient.
    RuntimeError
        If the graph has been freed.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, grad
    >>> x = Tensor(3.0, requires_grad=True)
    >>> derivative = grad(x**3, x, create_graph=True)
    >>> derivative.item(), grad(derivative, x).item()
    (27.0, 18.0)
    """
    if not isinstance(out, Value):
        raise TypeError(f"grad: out must be a tensor; got {type(out).__name__}")
    is_single = isinstance(wrt, Value) or not isinstance(wrt, Iterable)
    targets: Sequence[Value] = [wrt] if is_single else list(wrt)
    for i, target in enumerate(targets):
        if not isinstance(target, Value) or target._node is None:
            which = "wrt" if is_single else f"wrt[{i}]"
            raise TypeError(f"grad: {which} must be a tensor that requires a gradient, or was computed from one")
    nodes = [target._node for target in targets if target._node is not None]
    retain = create_graph if retain_graph is None else retain_graph
    with _recording_if(create_graph):
        cotangent = _initial_cotangent("grad", out, gradient)
        found = _run_backward(out, cotangent, retain_graph=retain, create_graph=create_graph, targets=frozenset(nodes))
        results = [
            _with_dtype_of(n, found[n]) if n in found else _wrap(type(out), np.zeros(n.shape, n.dtype)) for n in nodes
        ]
    return results[0] if is_single else tuple(results)


def backward(out: Any, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Compute the gradients of ``out`` with respect to all leaves, and accumulate them into their ``.grad``.

    See :meth:`Tensor.backward` for the parameters.
    """
    retain = create_graph if retain_graph is None else retain_graph
    with _recording_if(create_graph):
        cotangent = _initial_cotangent("backward", out, gradient)
        found = _run_backward(out, cotangent, retain_graph=retain, create_graph=create_graph)
        with _grad_lock:  # two threads may share a leaf, and adding to its gradient takes more than one step
            for node, g in found.items():
                if not node.frozen:
                    node.grad = _with_dtype_of(node, g if node.grad is None else node.grad + g)


_grad_lock = threading.Lock()


def _recording_if(create_graph: bool) -> AbstractContextManager[Any]:
    """Return a ``with`` block that records if a graph of the gradients was requested, also under ``no_grad``."""
    return enable_grad() if create_graph else nullcontext()


def _with_dtype_of(node: Node, g: Any) -> Any:
    """Return a gradient with the dtype of its node: a sum of gradients has the byte order of the machine."""
    return g if g.dtype is node.dtype else astype(g, node.dtype)


def _run_backward(
    out: Any, cotangent: Any, *, retain_graph: bool, create_graph: bool, targets: frozenset[Node] | None = None
) -> Cotangents:
    """Propagate values with recording, or plain arrays; return values in both cases."""
    value_type = type(out)
    if create_graph:
        initial = cotangent if isinstance(cotangent, Value) else _wrap(value_type, cotangent)
        return propagate(out._node, initial, retain_graph=retain_graph, value_type=value_type, targets=targets)
    found = propagate(out._node, unwrap_value(cotangent), retain_graph=retain_graph, targets=targets)
    return {node: _wrap(value_type, g) for node, g in found.items()}
