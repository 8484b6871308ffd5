"""A training step of every workload and implementation, interleaved, as ratios to hand-derived NumPy."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from benchmarks.implementations import BARE, HAND, IMPLEMENTATIONS
from benchmarks.options import Options
from benchmarks.processes import NotInstalledError, UnavailableError
from benchmarks.timing import ratio, spread
from benchmarks.worker import Worker, steps_in
from benchmarks.workloads import Workload, workloads

_GROUP = 0.04  # seconds of consecutive steps of one implementation
_FIRST = 5  # steps whose losses are compared
_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # relative: rounding, and the order of sums


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every implementation on every workload.

    Returns
    -------
    dict
        ``missing``: implementations that are not installed. ``rows``: each workload with its ``steps`` per group, the
        ``seconds`` of a step in each round for each implementation, and those ``left_out`` with the reason.
    """
    with ExitStack() as stack:
        names = [
            implementation.name for implementation in IMPLEMENTATIONS if implementation.name not in options.without
        ]
        candidates = [stack.enter_context(closing(Worker(name, options.threads))) for name in names]
        workers = [worker for worker in candidates if _is_installed(worker)]
        missing = [worker.name for worker in candidates if worker not in workers]
        if missing:
            say(textwrap.fill(f"not installed: {', '.join(missing)}", 80) + "\n")
        rows = []
        for workload in workloads(quick=options.quick):
            rows.append(_row(workload, workers, options))
            say("\n".join(_block(rows[-1])))
    return {"missing": missing, "rows": rows}


def _row(workload: Workload, workers: list[Worker], options: Options) -> dict[str, Any]:
    agreeing, left_out = _compare_losses(workload, workers)
    times: dict[str, list[float]] = {worker.name: [] for worker in agreeing}
    steps, warm = 1, 0
    if HAND in times and not options.quick:
        steps = steps_in(_GROUP, next(worker for worker in agreeing if worker.name == HAND))
        warm = int(steps > 1)
    for _ in range(2 if options.quick else 15):
        for worker in agreeing:
            times[worker.name].append(worker.seconds(steps, warm) / steps)
    return {"workload": workload.to_json(), "steps": steps, "seconds": times, "left_out": left_out}


def _is_installed(worker: Worker) -> bool:
    """Return whether the libraries of an implementation are installed, by starting a tiny workload."""
    try:
        worker.losses(Workload("two images", (2,), 2, 2, features=3), 1)
    except NotInstalledError:
        return False
    except UnavailableError:  # reported with the workload in which it occurs
        return True
    return True


def _compare_losses(workload: Workload, workers: list[Worker]) -> tuple[list[Worker], dict[str, str]]:
    """Start the workload, and return the workers whose first losses agree with hand-derived NumPy, and the others."""
    losses = {worker.name: _first_losses(workload, worker) for worker in workers}
    left_out = {}
    for name, found in losses.items():
        if isinstance(found, str):
            left_out[name] = found
        elif name != BARE and not isinstance(losses[HAND], str):
            error = float(np.max(np.abs(np.divide(found, losses[HAND]) - 1)))
            if not error <= _TOLERANCE[workload.dtype]:  # also true for NaN
                left_out[name] = f"{name}: losses differ from {HAND} (relative error {error:.1e})"
    return [worker for worker in workers if worker.name not in left_out], left_out


def _first_losses(workload: Workload, worker: Worker) -> list[float] | str:
    """Return the losses, or the reason why there are none."""
    try:
        return worker.losses(workload, _FIRST)
    except UnavailableError as reason:
        return str(reason)


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table as lines of text."""
    return [line for row in result["rows"] for line in _block(row)]


def _block(row: dict[str, Any]) -> list[str]:
    workload, seconds = Workload.from_json(row["workload"]), row["seconds"]
    rounds = len(next(iter(seconds.values()), []))
    out = [
        str(workload),
        f"  {rounds} rounds of {row['steps']} step{'s' * (row['steps'] != 1)} each",
        f"  {'':20} {f'ratio to {HAND}':>26} {'quartiles':>14} {'us per step':>12}",
    ]
    for name, times in seconds.items():
        share = ratio(times, seconds[HAND]) if HAND in seconds else spread([float("nan")])
        quartiles = f"{share.low:.2f} - {share.high:.2f}"
        out.append(f"  {name:20} {share.median:>26.2f} {quartiles:>14} {1e6 * spread(times).median:>12,.0f}")
    return [*out, *(f"  left out: {reason}" for reason in row["left_out"].values()), ""]


def markdown(result: dict[str, Any]) -> list[str]:
    """Return the table in Markdown: one row per workload, one column per implementation."""
    names = [implementation.name for implementation in IMPLEMENTATIONS]
    out = [f"| workload | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in result["rows"]:
        workload = Workload.from_json(row["workload"])
        out.append(f"| {workload.name}, **{workload.dtype}** | {' | '.join(_cell(row, name) for name in names)} |")
    reasons = dict.fromkeys(reason for row in result["rows"] for reason in row["left_out"].values())
    absent = [f"Not installed: {', '.join(result['missing'])}."] if result["missing"] else []
    return [*out, "", *absent, *(f"Left out: {reason}." for reason in reasons)]


def _cell(row: dict[str, Any], name: str) -> str:
    seconds = row["seconds"]
    if name not in seconds:
        return "-"
    share = ratio(seconds[name], seconds[HAND])
    cell = "**1**" if name == HAND else f"**{share.median:.2f}** ({share.low:.2f}-{share.high:.2f})"
    return f"{cell}<br><sub>{1e6 * spread(seconds[name]).median:,.0f} us</sub>"
