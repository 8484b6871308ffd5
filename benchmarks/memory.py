"""Peak memory of a training step against hand-derived NumPy's, as tracemalloc counts it (NumPy reports to it).

Parameters, gradients, the batch, whatever is kept from step to step: all that is allocated after the images were drawn.
Each contestant has a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from benchmarks.contestants import HAND, OURS
from benchmarks.options import Options
from benchmarks.worker import Worker
from benchmarks.works import Work, works


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Train a few steps of every work, and of a net of many layers.

    Returns
    -------
    dict
        ``rows``: each work with the bytes at the ``peak`` of a step and ``after`` it, for each contestant.
    """
    rows = []
    every = works(quick=options.quick)
    for work in [*(every[-1:] if options.quick else every), _deep(quick=options.quick)]:
        row: dict[str, Any] = {"work": work.to_json()}
        for name in (OURS, HAND):
            with closing(Worker(name, options.threads)) as worker:
                row[name] = worker.memory(work)
        rows.append(row)
    say("\n".join(lines({"rows": rows})))
    return {"rows": rows}


def _deep(*, quick: bool) -> Work:
    layers, batch = (5, 100) if quick else (50, 1000)
    return Work(f"deep net, {layers} layers of 100, batch {batch:,}", (100,) * layers, batch, batch)


def peak_ratio(row: dict[str, Any]) -> float:
    """Return how much more this library needs at most: its peak over hand-derived NumPy's."""
    return float(row[OURS]["peak"] / row[HAND]["peak"])


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table for a terminal."""
    out = ["memory of a training step, MB", f"  {'':46} {'peak':>8} {'NumPy':>8} {'ratio':>6} {'after':>7}"]
    for row in result["rows"]:
        ours, hand = row[OURS], row[HAND]
        out.append(
            f"  {Work.from_json(row['work'])!s:46} {ours['peak'] / 1e6:>8.1f} {hand['peak'] / 1e6:>8.1f}"
            f" {peak_ratio(row):>6.2f} {ours['after'] / 1e6:>7.1f}"
        )
    return [*out, ""]
