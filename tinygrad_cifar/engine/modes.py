"""How operations are carried out in a thread or task: recorded or not, and before whose eyes.

The mode is a context variable, so each thread and each asynchronous task has its own. It follows from the ``with``
blocks that are open there: leaving one takes away that block and no other, however and in whatever order blocks are
left (those in two generators may be left in the order in which they were entered).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, NamedTuple, Protocol, TypeVar

from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value

Function = TypeVar("Function", bound=Callable[..., Any])


class Watcher(Protocol):
    """Who is told of every operation and of every rule that is applied, while a block of code is being watched."""

    def computed(self, row: Primitive, arguments: Sequence[Any], out: Value) -> None:
        """See an operation's arguments, as arrays, and its result; also inside a rule that is being recorded."""

    def entered(self, node: Node, rule: VJP) -> None:
        """See that a rule is about to be applied."""

    def left(self) -> None:
        """See that the rule has been applied, or has failed."""

    def differentiated(self, node: Node, rule: VJP, g: Any, arguments: Sequence[Any], part: Any) -> None:
        """See a rule's cotangent and arguments, and the cotangent that it made of them."""

    def accumulated(self, node: Node, rule: VJP, parts: Sequence[Any], total: Any) -> None:
        """See what has come together for the rule's input: of the rule's own part, and what was there before."""


class Mode(NamedTuple):
    """How operations are carried out in one thread or asynchronous task.

    Attributes
    ----------
    recording
        Whether results remember how they were made.
    watchers
        Who is told.
    blocks
        The open blocks that this follows from, the innermost last.
    """

    recording: bool
    watchers: tuple[Watcher, ...]
    blocks: tuple[ModeContext, ...]


# None is the ordinary mode, recorded and unwatched: a single question decides whether an operation has to care.
_mode: ContextVar[Mode | None] = ContextVar("mode", default=None)

current = _mode.get  # the mode of this thread or task


def is_recording() -> bool:
    """Return whether operations are being recorded in this thread or task.

    Examples
    --------
    >>> from tinygrad_cifar import is_recording, no_grad
    >>> with no_grad():
    ...     is_recording()
    False
    """
    mode = current()
    return mode is None or mode.recording


class ModeContext:
    """A ``with`` block that says, in its thread or task, whether to record, or who watches."""

    def __init__(self, *, recording: bool | None = None, watcher: Watcher | None = None) -> None:
        self.recording = recording
        self.watcher = watcher

    def __enter__(self) -> None:
        mode = current()
        _open((self,) if mode is None else (*mode.blocks, self))

    def __exit__(self, *_: object) -> None:
        mode = current()
        blocks = list(mode.blocks) if mode is not None else []
        if self in blocks:  # a generator may be closed in another task than it was begun in
            del blocks[len(blocks) - 1 - blocks[::-1].index(self)]
            _open(tuple(blocks))


def _open(blocks: tuple[ModeContext, ...]) -> None:
    said = [block.recording for block in blocks if block.recording is not None]
    watching = tuple([block.watcher for block in blocks if block.watcher is not None])
    _mode.set(Mode(said[-1] if said else True, watching, blocks) if blocks else None)


class no_grad(ModeContext):  # noqa: N801 (it is used like a function)
    """Compute without recording, inside a ``with`` block or a function decorated with ``@no_grad()``.

    The state belongs to the current thread or asynchronous task and is restored when an exception leaves the block. A
    decorated generator does not record while it runs, and leaves alone whoever it yields to; a block inside a generator
    is open until the generator leaves it, also for them.

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
                return (yield from _not_recording(function(*args, **kwargs)))

        else:

            @wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with no_grad():
                    return function(*args, **kwargs)

        return wrapped  # type: ignore[no-any-return]


def _not_recording(generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
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
        except BaseException as error:  # noqa: BLE001 (what is thrown in is the generator's business)
            proceed = partial(generator.throw, error)
        else:
            proceed = partial(generator.send, sent)


def enable_grad() -> ModeContext:
    """Record inside a ``with`` block, even where it is entered under :func:`no_grad`."""
    return ModeContext(recording=True)


def observe(watcher: Watcher) -> ModeContext:
    """Tell ``watcher`` of all that happens inside a ``with`` block, in this thread or task."""
    return ModeContext(watcher=watcher)


def active_watchers() -> tuple[Watcher, ...]:
    """Return who is watching this thread or task."""
    mode = current()
    return () if mode is None else mode.watchers
