"""What ``trace_graph`` records of each operation while it is computed, for ``graph`` to show.

A node of the graph knows its primitive, its inputs and the arrays that its VJPs need, but not the program around it. A
watcher, active only inside the block, notes the rest on the node: the line, the variable that receives the result, the
modules that are being called, and the arguments that no VJP needs. It is dropped with the node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from types import FrameType
from typing import Any, NamedTuple, TypeVar
from weakref import ref

import numpy as np

from tinygrad_cifar.engine.graph import Node, Primitive, Value
from tinygrad_cifar.engine.locations import caller_location
from tinygrad_cifar.engine.modes import ModeContext, Watcher, observe
from tinygrad_cifar.inspection.variables import (
    assigned_variable,
    join_names,
    module_name,
    read_variables,
    submodules,
    tensors_in,
    user_frames,
)
from tinygrad_cifar.nn.module import Module

R = TypeVar("R")


class Argument(NamedTuple):
    """An argument of an operation that is not a recorded value.

    Attributes
    ----------
    variable : str
        The variable that holds the array or the number; empty if none was found.
    shape : tuple of int
        Shape of an array.
    dtype : data-type or None
        Type of the elements; None for an argument that is not an array, such as an axis.
    value
        The argument itself if it is immutable: a number, an axis, a shape.
    number : int
        Of an array: the same for every use of the same array, and another one for each other array.
    """

    variable: str = ""
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] | None = None
    value: Any = None
    number: int = 0


_next_number = count(1).__next__


class Trace:
    """What was recorded of one operation, or of a leaf.

    Attributes
    ----------
    variable : str
        The variable that holds the value; empty if it is not known.
    modules : tuple of str
        The names of the modules that were being called, the outermost first.
    arguments : tuple of Argument
        The arguments, in the order of the primitive's.
    value : ndarray or None
        The result, if values are kept.
    tensor : weak reference or None
        To the tensor of the result.
    """

    __slots__ = ("arguments", "modules", "tensor", "value", "variable")

    def __init__(
        self,
        variable: str = "",
        modules: tuple[str, ...] = (),
        arguments: tuple[Argument, ...] = (),
        value: Any = None,
        tensor: ref[Value] | None = None,
    ) -> None:
        self.variable = variable
        self.modules = modules
        self.arguments = arguments
        self.value = value
        self.tensor = tensor


class _Tracer(Watcher):
    """Notes on each node what the program was doing when the operation was computed."""

    def __init__(self, *, values: bool, outermost: FrameType | None = None) -> None:
        self._values = values
        self._outermost = outermost
        # The frame that the assigning line called, and the node that has received the name of the variable: if another
        # operation of the same call follows, that one is the result.
        self._called: FrameType | None = None
        self._named: ref[Node] | None = None
        self._numbers: dict[int, tuple[ref[Any], int]] = {}  # of arrays, by their identity

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002
        node = out._node
        if node is None:
            return
        node.location = caller_location()
        frame = sys._getframe(1)
        frames = list(user_frames(frame, self._outermost))
        variables = [read_variables(f) for f in frames]
        trace = Trace(
            variable=self._variable(frame, node),
            modules=_active_modules(frame, variables),
            arguments=tuple([self._describe(argument, variables) for argument in arguments]),
            value=out._array if self._values else None,
            tensor=ref(out),
        )
        node.trace = trace
        for parent, _, _ in node.edges or ():
            if parent.primitive is None and not hasattr(parent, "trace") and (name := _name_of_leaf(parent, variables)):
                parent.trace = Trace(name)

    def _variable(self, frame: FrameType, node: Node) -> str:
        variable, called = assigned_variable(frame, self._outermost)
        if called is not None and called is self._called and self._named is not None:
            before = self._named()
            if before is not None:
                before.trace.variable = ""
        self._called, self._named = called, ref(node)
        return variable

    def _describe(self, argument: Any, variables: Sequence[Mapping[str, Any]]) -> Argument:
        if isinstance(argument, (np.ndarray, np.generic)):
            if argument.ndim == 0:
                return Argument(dtype=argument.dtype, value=argument.item())
            name = _name_of_array(argument, variables)
            return Argument(name, argument.shape, argument.dtype, number=self._number(argument))
        name = _name_of_number(argument, variables) if type(argument) is float else ""
        return Argument(name, value=argument if _is_plain(argument) else None)

    def _number(self, array: Any) -> int:
        """Return the number of an array; the identity of one that has been freed may be that of another."""
        known = self._numbers.get(id(array))
        if known is None or known[0]() is not array:
            known = self._numbers[id(array)] = ref(array), _next_number()
        return known[1]

    def close(self) -> None:
        """Release the frame."""
        self._called = self._named = self._outermost = None


def _is_plain(argument: Any) -> bool:
    if type(argument) is tuple:
        return all(map(_is_plain, argument))
    return argument is None or argument is ... or isinstance(argument, (bool, int, float, str, slice))


def _name_of_array(array: Any, variables: Sequence[Mapping[str, Any]]) -> str:
    for names in variables:
        for name, value in tensors_in(names):
            if value is array or (isinstance(value, Value) and value._array is array):
                return name
    return ""


def _name_of_number(number: float, variables: Sequence[Mapping[str, Any]]) -> str:
    """Return the variable that holds a number; empty if several do, since equal constants may be one object."""
    for names in variables:
        if found := [name for name, value in names.items() if value is number]:
            return found[0] if len(found) == 1 else ""
    return ""


def _name_of_leaf(node: Node, variables: Sequence[Mapping[str, Any]]) -> str:
    for names in variables:
        for name, value in tensors_in(names):
            if isinstance(value, Value) and value._node is node:
                return name
            if isinstance(value, Module):
                for inner, tensor in value.named_tensors():
                    if tensor._node is node:
                        return join_names(module_name(name), inner)
    return ""


def _active_modules(frame: FrameType | None, variables: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the modules whose methods are being called, the outermost first."""
    active: list[Module] = []
    while frame is not None:
        if frame.f_code.co_varnames[:1] == ("self",):
            module = read_variables(frame).get("self")
            if isinstance(module, Module) and not any(module is other for other in active):
                active.insert(0, module)
        frame = frame.f_back
    if not active:
        return ()
    outermost = active[0]
    found = [name for names in variables for name, value in tensors_in(names) if value is outermost]
    root = next((module_name(name) for name in found if name != "self"), type(outermost).__name__)
    names_of = {id(module): name for name, module in submodules(outermost, root).items()}
    return tuple([names_of.get(id(module), type(module).__name__) for module in active])


class _ValueKeeper(Watcher):
    """Keeps the result of each operation with its node."""

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002
        if out._node is not None:
            out._node.trace = Trace(value=out._array)


def keep_values() -> ModeContext:
    """Return a block in which the graph keeps the result of every operation, as ``trace_graph(values=True)`` does.

    It records nothing else, so it is faster.
    """
    return observe(_ValueKeeper())


@contextmanager
def trace_graph(*, values: bool = False) -> Iterator[None]:
    """Record where each operation is called, for :func:`tinygrad_cifar.graph` to show.

    Inside the block, the nodes of the graph note the line of the program, the variable that receives the result, the
    modules that are being called, and the arguments that no VJP needs. Outside of such blocks nothing is slower.

    The block watches the thread or asynchronous task that enters it.

    Parameters
    ----------
    values : bool
        If True, the graph also keeps the result of every operation, until it is freed. Default: False.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, graph, trace_graph
    >>> W = Tensor([1.0, -2.0], requires_grad=True)
    >>> with trace_graph():
    ...     squares = W * W
    ...     loss = squares.sum()
    >>> view = graph(loss)
    >>> [node.name for node in view], view["squares"].location.line
    (['W', 'squares', 'loss'], 2)
    """
    tracer = _Tracer(values=values)
    try:
        with observe(tracer):
            yield
    finally:
        tracer.close()


def call_traced(function: Callable[[], R]) -> R:
    """Call a function inside a ``trace_graph(values=True)`` block that reads the variables of the function only.

    Those of its callers, which may be many, are not searched for names.
    """
    tracer = _Tracer(values=True, outermost=sys._getframe())
    try:
        with observe(tracer):
            return function()
    finally:
        tracer.close()
