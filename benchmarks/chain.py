"""Time and memory of a chain of a million operations: recording, backward pass and freeing."""

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
    """Build chains of additions to one element, with the default settings of the garbage collector.

    Returns
    -------
    dict
        ``operations``: the length; seconds of ``numpy``, ``forward``, ``backward`` (which frees the graph) and ``free``
        (of a chain without a backward pass); ``bytes`` per operation of a chain; ``left``: number of objects that
        remain after a chain is freed with the garbage collector disabled; ``exact``: whether value and gradient are.
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
    finished = perf_counter()
    exact = end.item() == value.item() and leaf.grad is not None and leaf.grad.item() == 1
    end = _chain(leaf, count)
    started_freeing = perf_counter()
    del end
    freed = perf_counter()
    result = {
        "operations": count,
        "numpy": numpy,
        "forward": recorded - started,
        "backward": finished - recorded,
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
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del end
    left = len(gc.get_objects()) - before  # objects, not bytes, since Python caches freed tuples
    gc.enable()
    return {"bytes": allocated // count, "left": left}


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result as lines of text."""
    count = result["operations"]
    out = [f"a chain of {count:,} additions to one element"]
    for name, label in (
        ("numpy", "NumPy without recording"),
        ("forward", "recorded"),
        ("backward", "backward pass"),
        ("free", "freed without a backward pass"),
    ):
        out.append(f"  {label:30} {result[name]:8.3f} s {1e6 * result[name] / count:8.2f} us per operation")
    exact = "exact" if result["exact"] else "WRONG"
    return [
        *out,
        f"  memory {result['bytes']} bytes per operation; {result['left']} objects left after freeing",
        f"  value and gradient: {exact}",
        "",
    ]
