"""The recorded graph: values, the nodes that record their computation, and the VJPs on their edges.

**A VJP declares the arrays that it needs, and the graph saves exactly these.** A :class:`Value` is an array with the
:class:`Node` that records its computation (:class:`~tinygrad_cifar.engine.tensor.Tensor` is the class that users see).
A node has one edge for each input that needs a gradient: the input's node, the :class:`VJP` for it, and the saved
arrays, which the VJP's parameter names declare. A graph therefore holds no more memory than a gradient derived by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_cifar.engine.signatures import argument_names

Array: TypeAlias = NDArray[Any]

next_number = itertools.count(1).__next__


class Node:
    """How one value was computed.

    Attributes
    ----------
    primitive : Primitive or None
        The primitive that computed the value; None for a leaf.
    edges : tuple of (Node, VJP, tuple), or None
        For each input that needs a gradient: its node, the VJP for it, and the arguments saved for the VJP. Empty for a
        leaf; None once a backward pass has freed the node.
    number : int
        Position in the order of creation. A value's number is larger than those of its inputs, so visiting nodes in
        decreasing order is a reverse topological order.
    shape
        Shape of the value and of its cotangent.
    dtype
        Type of their elements.
    grad : Value or None
        For a leaf, the gradient that ``backward()`` has accumulated.
    frozen : bool
        For a leaf, whether ``backward()`` leaves its gradient unchanged: ``requires_grad`` has been set to False.
    location : tuple, optional
        File and line of the user's code that computed the value, and of the library's code that it called; present only
        if a watcher has recorded it.
    trace
        What ``trace_graph`` has recorded of the operation; present only then.
    hooks : dict
        The functions that ``register_hook`` has added; present only then.
    """

    __slots__ = (
        *("__weakref__", "dtype", "edges", "frozen", "grad", "hooks", "location", "number", "primitive", "shape"),
        "trace",
    )

    primitive: Primitive | None
    edges: tuple[Edge, ...] | None
    number: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grad: Any
    frozen: bool
    location: tuple[str, int, str, int]
    trace: Any
    hooks: dict[int, Any]


class Value:
    """An array, and its node in the graph (None for a constant).

    A leaf that does not require a gradient any more is a constant as well. Its node, to which earlier results are
    connected, is kept in ``_frozen``; for other values this is not set.
    """

    __slots__ = ("__weakref__", "_array", "_frozen", "_node")

    _array: Array
    _node: Node | None
    _frozen: Node

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


def make_leaf(array: Array) -> Node:
    """Return a new leaf: a node without inputs, where gradients accumulate."""
    node = Node()
    node.primitive = None
    node.edges = ()
    node.number = next_number()
    node.shape = array.shape
    node.dtype = array.dtype
    node.grad = None
    node.frozen = False
    return node


def make_node(op: Primitive, result: Array, edges: Any) -> Node:
    """Return the node of a result that the primitive ``op`` has computed."""
    node = Node()
    node.primitive = op
    node.edges = edges
    node.number = next_number()
    node.shape = result.shape
    node.dtype = result.dtype
    return node


def ancestors(start: Node, oldest: int = 0) -> list[Node]:
    """Return a node and all nodes that it was computed from, each once, as far as they have not been freed.

    Nodes with a number below ``oldest``, which were made before, are left out. No path between others leads through
    them, since a node has a larger number than its inputs.
    """
    found, seen, pending = [], {start}, [start]
    while pending:
        node = pending.pop()
        found.append(node)
        for parent, _, _ in node.edges or ():
            if parent not in seen and parent.number >= oldest:
                seen.add(parent)
                pending.append(parent)
    return found


class Collection(NamedTuple):
    """How contributions of a VJP to one cotangent are added together (:mod:`~tinygrad_cifar.engine.parts`).

    Attributes
    ----------
    size : callable
        ``size(node, g, *saved)`` is the number of elements that must be kept until then; 0 if this contribution is to
        be added by itself. ``node`` is that of the input.
    total : callable
        ``total(apply, start, cotangents, saved)`` adds ``apply(g, *arguments)``, for all of ``cotangents`` and
        ``saved``, to ``start``: arrays or values.
    """

    size: Callable[..., int]
    total: Callable[[Callable[..., Any], Any, list[Any], list[tuple[Any, ...]]], Any]


class VJP:
    """The vector-Jacobian product of a primitive for one input, and how to pick the arguments that it declares.

    Attributes
    ----------
    input : str
        The name of the input.
    apply : callable
        ``apply(g, *saved)`` is the cotangent of the input, given the cotangent ``g`` of the result.
    names : tuple of str
        The names of its parameters after ``g``: an argument of the primitive, ``<argument>_shape``, ``out``, the
        auxiliary output, or, of a variadic primitive, ``i``, the position of the input.
    save : callable
        Picks these from ``(out, *arguments, aux, i)``; trailing ones that no VJP declares may be missing.
    collection : Collection or None
        How several contributions are added together, where that takes less than adding one after the other.
    """

    __slots__ = ("apply", "collection", "input", "names", "save")

    collection: Any

    def __init__(self, owner: str, input: str, apply: Callable[..., Any], positions: Mapping[str, int]) -> None:
        self.input = input
        self.apply = apply
        self.names = argument_names(f"{owner}: the VJP for {input}", apply)[1:]
        for name in self.names:
            if name not in positions and name.removesuffix("_shape") not in positions:
                raise TypeError(
                    f"{owner}: the VJP for {input} has the parameter {name}, which is not an argument of the primitive"
                )
        self.save = _picker(self.names, positions)
        self.collection = None


class ReplacedVJP(VJP):
    """A VJP that takes the place of another one and needs no saved arguments."""

    __slots__ = ()

    def __init__(self, vjp: VJP, apply: Callable[[Any], Any]) -> None:
        self.input = vjp.input
        self.names = ()
        self.apply = apply
        self.collection = None


Edge: TypeAlias = tuple[Node, VJP, tuple[Any, ...]]


def _picker(names: Sequence[str], positions: Mapping[str, int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return the function that picks the arguments with these names, or their shapes, from a tuple of all arguments."""
    if not names:
        return lambda _: ()
    if all(name in positions for name in names):
        places = [positions[name] for name in names]
        if len(places) == 1:
            (place,) = places
            return lambda arguments: (arguments[place],)
        return itemgetter(*places)
    pickers = [
        itemgetter(positions[name]) if name in positions else _shape_picker(positions[name.removesuffix("_shape")])
        for name in names
    ]
    if len(pickers) == 1:
        (first,) = pickers
        return lambda arguments: (first(arguments),)
    if len(pickers) == 2:  # noqa: PLR2004 (without a list, in half the time)
        first, second = pickers
        return lambda arguments: (first(arguments), second(arguments))
    return lambda arguments: tuple([pick(arguments) for pick in pickers])


def _shape_picker(place: int) -> Callable[[tuple[Any, ...]], Any]:
    """Return the function that picks the shape of an argument, or the shapes of those of a variadic primitive."""

    def pick(arguments: tuple[Any, ...]) -> Any:
        argument = arguments[place]
        return tuple(map(np.shape, argument)) if type(argument) is tuple else np.shape(argument)

    return pick


class Primitive:
    """One entry of the derivative table.

    Attributes
    ----------
    name : str
        NumPy's name for the operation, where it has one.
    forward : callable
        The NumPy computation.
    inputs : tuple of str
        The names of its arguments.
    vjps : dict of str to VJP
        The VJP for each differentiable input. No gradient flows to other arguments (an axis, a condition, an index).
    broadcasts : bool
        Whether inputs may be broadcast. If True, the backward pass sums each cotangent to the shape of its input, so
        VJPs need not; if False, a VJP must return exactly the shape of the input.
    variadic : bool
        Whether the first argument is a sequence of inputs that share one VJP.
    aux : str or None
        The name of an auxiliary output: a second result of ``forward``, which only the VJPs receive, so that they need
        not compute it again. It is a plain array; a VJP that is itself recorded receives None instead.
    saved : frozenset of str
        The names of the arguments that some VJP declares.
    kink : callable or None
        For a primitive that has no derivative at some points: a function of its arguments that returns which elements
        lie exactly on such a point.
    module : str
        The module in which the primitive was made.
    doc : Doc
        The operation in words and formulas, for ``help``.
    """

    __slots__ = (
        *("aux", "broadcasts", "doc", "forward", "inputs", "kink", "module", "name"),
        *("saved", "variadic", "vjps", "vjps_by_position"),
    )

    def __init__(  # noqa: PLR0913 (keyword-only, and each is one column of the table)
        self,
        name: str,
        forward: Callable[..., Any],
        vjps: Mapping[str, Callable[..., Any]],
        *,
        inputs: tuple[str, ...],
        broadcasts: bool = False,
        variadic: bool = False,
        aux: str | None = None,
        kink: Callable[..., Any] | None = None,
        module: str = "",
        doc: Any = None,
    ) -> None:
        self.name = name
        self.forward = forward
        self.inputs = inputs
        self.broadcasts = broadcasts
        self.variadic = variadic
        self.aux = aux
        self.kink = kink
        self.module = module
        self.doc = doc
        names = ["out", *inputs, aux or "", *(["i"] if variadic else [])]
        positions = {name: place for place, name in enumerate(names) if name}
        self.vjps = {input: VJP(name, input, vjps[input], positions) for input in inputs if input in vjps}
        self.vjps_by_position = tuple([self.vjps.get(input) for input in inputs])
        self.saved = frozenset(name for vjp in self.vjps.values() for name in vjp.names)
        _check_names(name, names, self.saved | set(self.vjps))

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def _check_names(owner: str, names: Sequence[str], declared: Iterable[str]) -> None:
    """Raise TypeError if a name that a VJP declares stands for two things: it would receive the wrong one of them."""
    meanings = [*names, *[f"{name}_shape" for name in names]]
    for name in sorted(declared):
        if meanings.count(name) > 1:
            raise TypeError(
                f"{owner}: {name} would have two meanings in a VJP, where out is the result, x_shape the shape of x; "
                "rename the input or the auxiliary output (of a NumPy function: lambda x: np.prod(x))"
            )


def unwrap_value(x: Any) -> Any:
    """Return the array of a value; anything else unchanged."""
    return x._array if isinstance(x, Value) else x


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a value, an array, or anything that NumPy converts to an array."""
    return x.shape if isinstance(x, Value) else np.shape(x)


def format_shape(shape: Sequence[int]) -> str:
    """Return a shape as text, such as ``3 x 4``."""
    return " x ".join(map(str, shape)) or "scalar"


def value_or_array(x: Any) -> Any:
    """Return a value or an array unchanged; anything else as an array."""
    return x if isinstance(x, (Value, np.ndarray)) else np.asarray(x)


def refuse_masked_array(name: str, x: Any) -> None:
    """Raise TypeError if ``x`` is a masked array, since its mask would be lost; ``name`` is for the error message."""
    if isinstance(x, np.ndarray) and type(x) is not np.ndarray and isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: a masked array cannot be combined with tensors, since its mask would be lost; fill it, for "
            "example with x.filled(0), or choose the elements with where"
        )
