"""How operations are carried out in a thread or task: recorded or not, and which watchers are notified.

The mode is a context variable, so each thread and each asynchronous task has its own. It follows from the ``with``
blocks that are open there. Leaving a block removes that block only, in whatever order blocks are left (the blocks of
two generators may be left in the order in which they were entered).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value

Function = TypeVar("Function", bound=Callable[..., Any])


class Watcher:
    """Callbacks for every operation and every VJP, while a block of code is being watched; these do nothing.

    In a watched backward pass, contributions to a cotangent are added one by one. Those that are added together
    otherwise (:mod:`~tinygrad_cifar.engine.parts`) may then differ in their last bits.
    """

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:
        """Receive the arguments of an operation, as arrays, and its result; also inside a VJP that is recorded."""

    def on_vjp_start(self, node: Node, vjp: VJP) -> None:
        """Receive a VJP that is about to be applied."""

    def on_vjp_end(self) -> None:
        """Be notified that the VJP has returned or raised."""

    def on_vjp_result(self, node: Node, vjp: VJP, g: Any, arguments: Sequence[Any], contribution: Any) -> None:
        """Receive the cotangent and the saved arguments of a VJP, and its result."""

    def on_accumulate(self, node: Node, vjp: VJP, terms: Sequence[Any], total: Any) -> None:
        """Receive the cotangent of an input, and its terms: the result of the VJP, and the sum before it (or None)."""


class Mode(NamedTuple):
    """How operations are carried out in one thread or asynchronous task.

    Attributes
    ----------
    recording : bool
        Whether results record their computation.
    watchers : tuple of Watcher
        Those to be notified.
    blocks : tuple of ModeContext
        The open blocks that determine the mode, the innermost last.
    """

    recording: bool
    watchers: tuple[Watcher, ...]
    blocks: tuple[ModeContext, ...]


# None is the default mode, recording and unwatched, so that it costs each operation only one comparison.
_mode: ContextVar[Mode | None] = ContextVar("mode", default=None)

current_mode = _mode.get


def is_recording() -> bool:
    """Return whether operations are being recorded in this thread or task.

    Examples
    --------
    >>> from tinygrad_cifar import is_recording, no_grad
    >>> with no_grad():
    ...     is_recording()
    False
    """
    mode = current_mode()
    return mode is None or mode.recording


class ModeContext:
    """A ``with`` block that sets, in its thread or task, whether to record, or adds a watcher."""

    def __init__(self, *, recording: bool | None = None, watcher: Watcher | None = None) -> None:
        self.recording = recording
        self.watcher = watcher

    def __enter__(self) -> None:
        mode = current_mode()
        _set_mode((self,) if mode is None else (*mode.blocks, self))

    def __exit__(self, *_: object) -> None:
        mode = current_mode()
        blocks = list(mode.blocks) if mode is not None else []
        if self in blocks:  # a generator may be closed in another task than the one that started it
            del blocks[len(blocks) - 1 - blocks[::-1].index(self)]
            _set_mode(tuple(blocks))


def _set_mode(blocks: tuple[ModeContext, ...]) -> None:
    settings = [block.recording for block in blocks if block.recording is not None]
    watchers = tuple([block.watcher for block in blocks if block.watcher is not None])
    _mode.set(Mode(settings[-1] if settings else True, watchers, blocks) if blocks else None)


class no_grad(ModeContext):  # noqa: N801 (used like a function)
    """Compute without recording, inside a ``with`` block or a function decorated with ``@no_grad()``.

    The state belongs to the current thread or asynchronous task and is restored when an exception leaves the block. A
    decorated generator does not record while it runs, and does not affect the code that iterates over it; a ``with``
    block inside a generator is open until the generator leaves it, also while other code runs.

    Raises
    ------
    TypeError
        If it decorates an asynchronous generator; write a ``with`` block inside.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, no_grad
    >>> t = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     doubled = 2 * t
    >>> doubled.requires_grad
    False
    """

    def __init__(self) -> None:
        super().__init__(recording=False)

    def __call__(self, function: Function) -> Function:
        """Return the function as one that does not record."""
        from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction  # noqa: PLC0415 (slow)

        if isasyncgenfunction(function):
            raise TypeError("no_grad: an asynchronous generator cannot be decorated; write 'with no_grad():' inside")
        wrapped: Any
        if iscoroutinefunction(function):

            @wraps(function)
            async def wrapped(*args: Any, **kwargs: Any) -> Any:
                with no_grad():
                    return await function(*args, **kwargs)

        elif isgeneratorfunction(function):

            @wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                return (yield from _run_without_recording(function(*args, **kwargs)))

        else:

            @wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with no_grad():
                    return function(*args, **kwargs)

        return wrapped  # type: ignore[no-any-return]


def _run_without_recording(generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run each part of a generator, from one yield to the next, without recording."""
    proceed = partial(generator.send, None)
    while True:
        try:
            with no_grad():
                item = proceed()
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield item
        except GeneratorExit:
            with no_grad():
                generator.close()
            raise
        except BaseException as error:  # noqa: BLE001 (any exception thrown in belongs to the generator)
            proceed = partial(generator.throw, error)
        else:
            proceed = partial(generator.send, sent)


def enable_grad() -> ModeContext:
    """Return a ``with`` block that records, even inside :func:`no_grad`."""
    return ModeContext(recording=True)


def observe(watcher: Watcher) -> ModeContext:
    """Return a ``with`` block in which ``watcher`` is notified, in this thread or task."""
    return ModeContext(watcher=watcher)


def active_watchers() -> tuple[Watcher, ...]:
    """Return the watchers of this thread or task."""
    mode = current_mode()
    return () if mode is None else mode.watchers
