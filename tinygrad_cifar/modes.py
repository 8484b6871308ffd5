"""How operations are carried out in a thread or task: recorded or not, and before whose eyes.

The mode is a context variable: each thread and each asynchronous task has its own, and a ``with`` block that changes it
puts the old one back, however the block is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from tinygrad_cifar.graph import Node, Primitive, Rule, Value


class Watcher(Protocol):
    """Who is told of every operation and of every rule that is applied, while a block of code is being watched."""

    def computed(self, row: Primitive, arguments: Sequence[Any], out: Value) -> None:
        """See an operation's arguments, as arrays, and its result; also inside a rule that is being recorded."""

    def entered(self, node: Node, rule: Rule) -> None:
        """See that a rule is about to be applied."""

    def left(self) -> None:
        """See that the rule has been applied, or has failed."""

    def differentiated(self, node: Node, rule: Rule, g: Any, arguments: Sequence[Any], part: Any) -> None:
        """See a rule's cotangent and arguments, and the cotangent that it made of them."""

    def accumulated(self, node: Node, rule: Rule, parts: Sequence[Any], total: Any) -> None:
        """See what has come together for the rule's input: of the rule's own part, and what was there before."""


class Mode(NamedTuple):
    """How operations are carried out in one thread or asynchronous task.

    Attributes
    ----------
    recording
        Whether results remember how they were made.
    watchers
        Who is told.
    """

    recording: bool = True
    watchers: tuple[Watcher, ...] = ()


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


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording, inside a ``with`` block or a function decorated with ``@no_grad()``.

    The state belongs to the current thread or asynchronous task and is restored when an exception leaves the block.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, no_grad
    >>> t = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     doubled = 2 * t
    >>> doubled.requires_grad
    False
    """
    with _in_mode((current() or Mode())._replace(recording=False)):
        yield


def recording() -> AbstractContextManager[None]:
    """Record inside a ``with`` block, even where it is entered under :func:`no_grad`."""
    return _in_mode((current() or Mode())._replace(recording=True))


def watched(watcher: Watcher) -> AbstractContextManager[None]:
    """Tell ``watcher`` of all that happens inside a ``with`` block, in this thread or task."""
    mode = current() or Mode()
    return _in_mode(mode._replace(watchers=(*mode.watchers, watcher)))


def watchers() -> tuple[Watcher, ...]:
    """Return who is watching this thread or task."""
    mode = current()
    return () if mode is None else mode.watchers


@contextmanager
def _in_mode(mode: Mode) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)
