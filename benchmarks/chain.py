"""A million operations in a row: recorded, walked back, and freed, with what each costs in time and memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from benchmarks.options import Options


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Build chains of additions on one number, with the garbage collector as it is by default.

    Returns
    -------
    dict
        ``operations``; seconds for ``numpy`` alone, ``forward``, ``backward`` (which uses the graph up) and
        ``free`` (of a chain that was not walked); ``bytes`` of memory an operation while the chain stands, and
        ``left``, how many objects remain when one is freed with the collector off; ``exact``, whether value and
        gradient are.
    """
    count = 10_000 if options.quick else 1_000_000
    ones = np.ones(1)
    started = perf_counter()
    value = ones
    for _ in range(count):
        value = value + 1.0
    numpy = perf_counter() - started

    leaf = tg.Tensor(ones, requires_grad=True)
    started = perf_counter()
    end = _chain(leaf, count)
    recorded = perf_counter()
    end.backward()
    walked = perf_counter()
    exact = end.item() == value.item() and leaf.grad is not None and leaf.grad.item() == 1
    end = _chain(leaf, count)
    started_freeing = perf_counter()
    del end
    freed = perf_counter()
    result = {
        "operations": count,
        "numpy": numpy,
        "forward": recorded - started,
        "backward": walked - recorded,
        "free": freed - started_freeing,
        "exact": exact,
        **_memory(leaf, count // 10),
    }
    say("\n".join(lines(result)))
    return result


def _chain(value: Any, count: int) -> Any:
    for _ in range(count):
        value = value + 1.0
    return value


def _memory(leaf: Any, count: int) -> dict[str, int]:
    gc.collect()
    gc.disable()
    before = len(gc.get_objects())
    tracemalloc.start()
    end = _chain(leaf, count)
    standing, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del end
    left = len(gc.get_objects()) - before  # not bytes: Python keeps some thousand empty tuples for the next caller
    gc.enable()
    return {"bytes": standing // count, "left": left}


def lines(result: dict[str, Any]) -> list[str]:
    """Return what was measured, for a terminal."""
    count = result["operations"]
    out = [f"a chain of {count:,} additions to one number"]
    for name, what in (
        ("numpy", "NumPy alone"),
        ("forward", "recorded"),
        ("backward", "walked back, and so used up"),
        ("free", "freed without a walk"),
    ):
        out.append(f"  {what:30} {result[name]:8.3f} s {1e6 * result[name] / count:8.2f} us an operation")
    exact = "exact" if result["exact"] else "WRONG"
    return [
        *out,
        f"  memory {result['bytes']} bytes an operation; {result['left']} objects left after freeing",
        f"  value and gradient: {exact}",
        "",
    ]
