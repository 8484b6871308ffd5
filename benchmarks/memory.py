"""Peak memory of a training step, compared with hand-derived NumPy.

Counted by tracemalloc, to which NumPy reports: all memory allocated after the images, such as parameters, gradients,
the batch and buffers. Each implementation runs in a separate process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from benchmarks.implementations import HAND, OURS
from benchmarks.options import Options
from benchmarks.worker import Worker
from benchmarks.workloads import Workload, workloads


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Train a few steps of every workload, and of a deep network.

    Returns
    -------
    dict
        ``rows``: each workload with, for each implementation, the bytes at the ``peak`` of a step and ``after`` it.
    """
    rows = []
    every = workloads(quick=options.quick)
    for workload in [*(every[-1:] if options.quick else every), _deep(quick=options.quick)]:
        row: dict[str, Any] = {"workload": workload.to_json()}
        for name in (OURS, HAND):
            with closing(Worker(name, options.threads)) as worker:
                row[name] = worker.memory(workload)
        rows.append(row)
    say("\n".join(lines({"rows": rows})))
    return {"rows": rows}


def _deep(*, quick: bool) -> Workload:
    layers, batch = (5, 100) if quick else (50, 1000)
    return Workload(f"deep net, {layers} layers of 100, batch {batch:,}", (100,) * layers, batch, batch)


def peak_ratio(row: dict[str, Any]) -> float:
    """Return the ratio of the peaks of this library and of hand-derived NumPy."""
    return float(row[OURS]["peak"] / row[HAND]["peak"])


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table as lines of text."""
    out = ["memory of a training step, MB", f"  {'':48} {'peak':>6} {'NumPy':>6} {'ratio':>6} {'after':>6}"]
    for row in result["rows"]:
        ours, hand = row[OURS], row[HAND]
        out.append(
            f"  {Workload.from_json(row['workload'])!s:48} {ours['peak'] / 1e6:>6.1f} {hand['peak'] / 1e6:>6.1f}"
            f" {peak_ratio(row):>6.2f} {ours['after'] / 1e6:>6.1f}"
        )
    return [*out, ""]
