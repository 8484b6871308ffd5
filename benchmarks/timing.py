"""Interleaved timing, and medians and quartiles of ratios within a round.

Absolute times drift on a shared machine. Functions are therefore timed in short groups, interleaved (A B C, A B C,
...), and ratios are computed within a round.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, sleep
from typing import NamedTuple, TypeVar

import numpy as np

K = TypeVar("K")

_GROUP = 2e-3  # seconds of consecutive calls of one function


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of values."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


def ratio(times: Sequence[float], to: Sequence[float]) -> Spread:
    """Return the spread of the ratios of times from the same rounds."""
    return spread(np.divide(times, to).tolist())


def time_interleaved(
    functions: Sequence[Callable[[], object]],
    rounds: int,
    *,
    group: float = _GROUP,
    warm: int = 0,
    pause: float = 0.0,
) -> list[list[float]]:
    """Time functions in groups of calls, interleaved, with the garbage collector disabled.

    Parameters
    ----------
    functions : sequence of callable
        Functions without arguments.
    rounds : int
        Number of groups of each function.
    group : float
        Approximate seconds of a group, which has at least one call.
    warm : int
        Number of calls before each group that are not timed, so that the caches hold the data of this function.
    pause : float
        Seconds before these calls, in which threads of the function before stop spinning.

    Returns
    -------
    list of list of float
        Seconds per call of each function, in each round.
    """
    counts = [choose_count(function, group) for function in functions]
    times: list[list[float]] = [[] for _ in functions]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for function, count, seconds in zip(functions, counts, times, strict=True):
                sleep(pause)
                time_calls(function, warm)
                seconds.append(time_calls(function, count) / count)
    finally:
        if collecting:
            gc.enable()
    return times


def fastest(functions: Mapping[K, Callable[[], object]], *, group: float = _GROUP) -> K:
    """Return the key of the function that takes the least time: the median of three groups of calls."""
    times = time_interleaved(list(functions.values()), 3, group=group, warm=1)
    medians = {key: spread(taken).median for key, taken in zip(functions, times, strict=True)}
    return min(medians, key=lambda key: medians[key])


def choose_count(function: Callable[[], object], group: float) -> int:
    """Return the number of calls that take about half a group."""
    count = 1
    while (taken := time_calls(function, count)) < group / 2:
        count = max(2 * count, int(count * group / max(taken, 1e-7) / 2))
    return count


def time_calls(function: Callable[[], object], count: int) -> float:
    """Return the seconds of ``count`` consecutive calls."""
    repeats = range(count)
    started = perf_counter()
    for _ in repeats:
        function()
    return perf_counter() - started
