"""Deferring Ctrl-C, or another signal, until the end of a block of code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, raise_signal

try:
    # The functions in C that those of `signal` call: looking up the names of handlers takes ten times as long as these,
    # and half as long as a step of an optimiser of a small network.
    from _signal import getsignal, signal  # type: ignore[import-not-found]
except ImportError:  # another interpreter
    from signal import getsignal, signal


@contextmanager
def deferred_interrupt(number: int = SIGINT) -> Iterator[None]:
    """Carry out a block as a whole: the handler of the signal, which raises KeyboardInterrupt, is called after it.

    Only the main thread receives signals, so in other threads nothing is done.
    """
    before = getsignal(number)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[int] = []
    signal(number, lambda received, _: interrupts.append(received))
    try:
        yield
    finally:
        signal(number, before)
        if interrupts:
            raise_signal(number)
