"""The types of operations: functions of tensors or arrays, such as ``relu(x)`` and ``sum(x, axis)``.

An operation is a primitive, a function that prepares the arguments of one, or a composition of several. Its attribute
``primitives`` names them; ``primitive`` is there if it is only one.

The protocols tell type checkers that an operation returns a tensor for a tensor and an array for an array, and that it
is a method where it is assigned in the body of a class. At run time operations are plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from numpy.typing import ArrayLike

from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, Primitive, Value

TensorLike: TypeAlias = Any  # a tensor, an array, or anything that numpy.asarray converts

V = TypeVar("V", bound=Value)
P = ParamSpec("P")


class Operation(Protocol[P]):
    """``f(x, ...)``: a tensor for a tensor, an array for an array; also usable as a method."""

    @overload
    def __call__(self, x: V, /, *args: P.args, **kwargs: P.kwargs) -> V: ...
    @overload
    def __call__(self, x: ArrayLike, /, *args: P.args, **kwargs: P.kwargs) -> Array: ...

    @overload
    def __get__(self, instance: None, owner: type) -> Operation[P]: ...
    @overload
    def __get__(self, instance: V, owner: type) -> Callable[P, V]: ...

    @property
    def primitive(self) -> Primitive:
        """The primitive, if there is only one."""

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The primitives that the operation is composed of."""


class BinaryOperation(Protocol):
    """``f(x, y)``: a tensor if either is one; also usable as a method."""

    @overload
    def __call__(self, x: V, y: V | ArrayLike, /) -> V: ...
    @overload
    def __call__(self, x: ArrayLike, y: V, /) -> V: ...
    @overload
    def __call__(self, x: ArrayLike, y: ArrayLike, /) -> Array: ...

    @overload
    def __get__(self, instance: None, owner: type) -> BinaryOperation: ...
    @overload
    def __get__(self, instance: V, owner: type) -> Callable[[Value | ArrayLike], V]: ...

    @property
    def primitive(self) -> Primitive:
        """The primitive, if there is only one."""

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The primitives that the operation is composed of."""


class SequenceOperation(Protocol[P]):
    """``f(xs, ...)`` of a sequence: a tensor if one of them is, and an array otherwise."""

    @overload
    def __call__(self, xs: Sequence[V], /, *args: P.args, **kwargs: P.kwargs) -> V: ...
    @overload
    def __call__(self, xs: Sequence[Array], /, *args: P.args, **kwargs: P.kwargs) -> Array: ...
    @overload
    def __call__(self, xs: Sequence[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any: ...


def operation(*parts: Any, doc: Doc | None = None) -> Callable[[Callable[Concatenate[Any, P], Any]], Operation[P]]:
    """Like :func:`documented`, for a function whose first argument is a tensor or an array."""
    decorate: Any = documented(*parts, doc=doc)
    return decorate  # type: ignore[no-any-return]


def binary_operation(*parts: Any, doc: Doc | None = None) -> Callable[[Callable[[Any, Any], Any]], BinaryOperation]:
    """Like :func:`documented`, for a function of two tensors or arrays."""
    decorate: Any = documented(*parts, doc=doc)
    return decorate  # type: ignore[no-any-return]


def sequence_operation(
    *parts: Any, doc: Doc | None = None
) -> Callable[[Callable[Concatenate[Any, P], Any]], SequenceOperation[P]]:
    """Like :func:`documented`, for a function whose first argument is a sequence of tensors or arrays."""
    decorate: Any = documented(*parts, doc=doc)
    return decorate  # type: ignore[no-any-return]
