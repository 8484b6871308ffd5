"""The read-only view of a recorded graph, and backward passes over it with other VJPs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from weakref import ref

import numpy as np

from tinygrad_cifar.engine.backprop import _initial_cotangent, propagate
from tinygrad_cifar.engine.graph import Array, Edge, Node, ReplacedVJP, Value, format_shape
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.inspection.building import make_nodes
from tinygrad_cifar.inspection.diagram import Diagram, make_diagram
from tinygrad_cifar.inspection.nodes import GraphEdge, GraphNode, ReadOnly
from tinygrad_cifar.inspection.page import write_page
from tinygrad_cifar.inspection.svg import fits_page, write_svg
from tinygrad_cifar.inspection.text_formats import write_dot, write_mermaid
from tinygrad_cifar.nn.module import Module
from tinygrad_cifar.system.files import atomic_write

_MOST_STEPS = 2000  # nodes of the page: its file has about 3 MB then

Override: TypeAlias = Callable[[Array, GraphEdge], Any]


class Graph(ReadOnly):
    """A read-only view of the graph behind a result; see :func:`graph` for an example.

    Attributes
    ----------
    nodes : tuple of GraphNode
        All nodes; the inputs of an operation come before it, and the result is the last one.
    """

    __slots__ = ("_start", "nodes")

    def __init__(self, nodes: Sequence[GraphNode], result: Node) -> None:
        self.nodes = tuple(nodes)
        self._start = ref(result)
        self.complete()

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
                "the graph has been freed by a backward pass, or its result has been deleted; compute the result "
                "again, keep it in a variable, and call backward() afterwards"
            )
        out = Value()
        out._array = np.broadcast_to(np.zeros((), start.dtype), start.shape)
        out._node = start
        initial = np.asarray(_initial_cotangent("cotangents", out, gradient))
        nodes = {node._node(): node for node in self.nodes if node._node is not None}
        nodes.pop(None, None)
        targets = frozenset(node for node in nodes if node is not None)
        replacements: dict[tuple[Node, int], ReplacedVJP] = {}
        for edge, function in (override or {}).items():
            node = edge._node()
            if node is None or node not in targets:
                raise ValueError("cotangents: override must consist of edges of this graph")
            replacements[node, edge._position] = ReplacedVJP(edge._vjp, partial(_override, function, edge))

        def replace(node: Node, edges: Sequence[Edge]) -> Sequence[Edge]:
            return [
                (parent, replacements[node, i], ()) if (node, i) in replacements else (parent, vjp, saved)
                for i, (parent, vjp, saved) in enumerate(edges)
            ]

        found = propagate(start, initial, retain_graph=True, targets=targets, replace=replace if replacements else None)
        return {nodes[node]: np.asarray(g) for node, g in found.items()}

    def to_svg(self, fold: Iterable[str] | str | None = None) -> str:
        """Return a picture of the graph as SVG; notebooks show it by itself.

        Parameters
        ----------
        fold : iterable of str, optional
            Names of the modules to draw as one box; ``[]`` shows every operation. If None, a graph that does not fit a
            page is folded, by module or else by repeated operations, until it does, and the picture says so.

        Returns
        -------
        str
            An SVG element, which can be written to a file.

        Raises
        ------
        ValueError
            If ``fold`` names a module that is not in the graph.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor, graph
        >>> x = Tensor([1.0, -2.0], requires_grad=True)
        >>> graph((x * x).sum()).to_svg()[:4]
        '<svg'
        """
        return write_svg(self._diagram(fold))

    def to_mermaid(self, fold: Iterable[str] | str | None = None) -> str:
        """Return the graph as a Mermaid flowchart, which GitHub draws in Markdown; see :meth:`to_svg` for ``fold``.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor, graph
        >>> x = Tensor([1.0, -2.0], requires_grad=True)
        >>> y = x.sum()
        >>> print(graph(y).to_mermaid().partition("  classDef")[0], end="")
        flowchart TD
          n0{{"x<br/>2<br/>value [1, -2]"}}:::parameter
          n1("y = sum<br/>scalar<br/>value -1"):::operation
          n0 --> n1
        """
        return write_mermaid(self._diagram(fold))

    def to_dot(self, fold: Iterable[str] | str | None = None) -> str:
        """Return the graph in the DOT language of Graphviz; see :meth:`to_svg` for ``fold``."""
        return write_dot(self._diagram(fold))

    def to_html(self, path: Path | str) -> None:
        """Write a page that steps through the computation: forward, then backward, one operation at a time.

        The page is one file that needs no network. It shows the formula of each step, the numbers of small tensors,
        the arrays that are saved and freed, and the memory over time. The arrow keys, Home, End and the space bar move
        through the steps; so do the buttons. To see the values of all operations, compute the result inside
        ``trace_graph(values=True)``.

        Parameters
        ----------
        path : str or Path
            File to create or replace.

        Raises
        ------
        RuntimeError
            If the graph has been freed.
        ValueError
            If the result has more than one element and the view was made without ``cotangents=True``, or the graph has
            more than 2,000 nodes.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor, graph, trace_graph
        >>> x = Tensor([1.0, -2.0], requires_grad=True)
        >>> with trace_graph(values=True):
        ...     loss = (x * x).sum()
        >>> graph(loss).to_html("loss.html")
        """
        if len(self.nodes) > _MOST_STEPS:
            raise ValueError(
                f"to_html: the page shows at most {_MOST_STEPS:,} nodes, and the graph has {len(self.nodes):,}; use "
                "fewer time steps, or draw it with to_svg, which folds large graphs"
            )
        cotangents = {node: node.cotangent for node in self.nodes if node.cotangent is not None}
        is_freed = any(node.is_freed for node in self.operations)
        if not cotangents or is_freed:
            if math.prod(self.result.shape) != 1 and not is_freed:
                raise ValueError(
                    "to_html: the result must have one element, or the view its cotangents; make it with "
                    f"graph(result, gradient=...), an array of shape {self.result.shape}"
                )
            cotangents = self.cotangents()
        text = write_page(self.nodes, cotangents)
        with atomic_write(Path(path)) as file:
            file.write(text.encode())

    def _diagram(self, fold: Iterable[str] | str | None) -> Diagram:
        return make_diagram(self.nodes, fold, fits_page)

    def _repr_svg_(self) -> str:
        return self.to_svg()

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
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        if any(node.is_freed for node in self.nodes):
            lines += ["", "freed: by a backward pass, or since the result is not in a variable any more"]
        return "\n".join(lines)


def _override(function: Override, edge: GraphEdge, g: Any) -> Any:
    return np.asarray(function(g, edge))


def _position(node: GraphNode) -> str:
    return node.label if node.kind == "data" and not node.shape else str(node.index)


def graph(
    result: Tensor,
    *,
    modules: Module | Mapping[str, Module] | None = None,
    cotangents: bool = False,
    gradient: Any = None,
) -> Graph:
    """Return a read-only view of the graph behind a result.

    The view does not keep the graph or its arrays alive, so keep the result in a variable. A view that is made before
    ``backward()`` keeps the structure and shows what has been freed since; one that is made afterwards contains what
    remains.

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
        Cotangent of the result for that pass, which it implies. Default: 1, for a result with one element.

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
    view = Graph(make_nodes(start, sys._getframe(1), modules), start)
    if cotangents or gradient is not None:
        for node, g in view.cotangents(gradient).items():
            node._cotangent.append(g)
    return view
