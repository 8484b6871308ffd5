"""How much work a function does, counted and not timed, and how it grows with the size of its input."""

from __future__ import annotations

import gc
import math
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """What a call of a function has done.

    Attributes
    ----------
    calls : int
        How many functions were called, those of Python and those of C.
    bytes : int
        How much memory was allocated, as the sum over all steps, also where it was freed at once.
    """

    calls: int
    bytes: int


def measure_work(function: Callable[[], object]) -> Work:
    """Call a function, and count the work that it does.

    A step is the time between two events of the profiler. Its allocations are how far the traced memory has risen
    above the level at its beginning. Arrays that are written to in place are not counted.
    """
    calls = allocated = level = 0

    def count(frame: Any, event: str, argument: Any) -> None:  # noqa: ARG001
        nonlocal calls, allocated, level
        now, peak = tracemalloc.get_traced_memory()
        allocated += peak - level
        level = now
        calls += event in ("call", "c_call")
        tracemalloc.reset_peak()

    gc.collect()
    gc.disable()  # collections, and the functions that others have registered for them, come at arbitrary times
    tracemalloc.start()
    try:
        level = tracemalloc.get_traced_memory()[0]
        sys.setprofile(count)
        try:
            function()
        finally:
            sys.setprofile(None)
    finally:
        tracemalloc.stop()
        gc.enable()
    return Work(calls, allocated)


def exponent(work: Sequence[float]) -> float:
    """Return the exponent with which work grows, given that of three sizes, each twice the last.

    It is that of the increments, so a constant part does not hide the growth: ``a + b * n`` has the exponent 1. With
    ``b * n + c * n**2`` it exceeds 1.15 from ``c * n = b / 6`` on, for the largest n.
    """
    small, middle, large = work[-3:]
    if large - middle <= 0:
        return 0.0
    return math.log2((large - middle) / (middle - small)) if middle > small else math.inf
