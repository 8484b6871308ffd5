"""Times taken in turns, and what is read from them: medians and quartiles, of ratios within a round.

Absolute times on a machine that others use mean little, and drift. What is compared is therefore run in turns (A B C,
A B C, ...), for a short while each, and a ratio is taken between neighbours in time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

_GROUP = 2e-3  # seconds of one function before it is the next one's turn: a thousand calls of the cheapest


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


def ratio(times: Sequence[float], to: Sequence[float]) -> Spread:
    """Return the spread of the ratios of times that were taken in the same rounds."""
    return spread(np.divide(times, to).tolist())


def in_turns(functions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return, for each function, the seconds of one call in each round; the garbage collector rests meanwhile."""
    calls = [_calls(function) for function in functions]
    times: list[list[float]] = [[] for _ in functions]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for function, count, taken in zip(functions, calls, times, strict=True):
                taken.append(_time(function, count) / count)
    finally:
        if collecting:
            gc.enable()
    return times


def _calls(function: Callable[[], object]) -> int:
    count = 1
    while (taken := _time(function, count)) < _GROUP / 2:
        count = max(2 * count, int(count * _GROUP / max(taken, 1e-7) / 2))
    return count


def _time(function: Callable[[], object], count: int) -> float:
    repeats = range(count)
    started = perf_counter()
    for _ in repeats:
        function()
    return perf_counter() - started
