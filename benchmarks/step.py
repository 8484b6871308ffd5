"""The table: a training step of every work by every contestant, in turns, as ratios to hand-derived NumPy."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from benchmarks.contestants import BARE, CONTESTANTS, HAND
from benchmarks.options import Options
from benchmarks.timing import ratio, spread
from benchmarks.worker import Missing, Unable, Worker, steps_in
from benchmarks.works import Work, works

_GROUP = 0.04  # seconds of one contestant before it is the next one's turn
_FIRST = 5  # steps whose losses must agree
_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # relative: rounding, and the order of sums


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every contestant on every work.

    Returns
    -------
    dict
        ``missing``, the contestants that are not installed; and ``rows``, each work with its ``steps`` in a group,
        the ``seconds`` of a step in each round for each contestant, and those ``left_out`` with the reason.
    """
    with ExitStack() as stack:
        names = [contestant.name for contestant in CONTESTANTS if contestant.name not in options.without]
        everybody = [stack.enter_context(closing(Worker(name, options.threads))) for name in names]
        workers = [worker for worker in everybody if _is_installed(worker)]
        missing = [worker.name for worker in everybody if worker not in workers]
        if missing:
            say(textwrap.fill(f"not installed: {', '.join(missing)}", 80) + "\n")
        rows = []
        for work in works(quick=options.quick):
            rows.append(_row(work, workers, options))
            say("\n".join(_block(rows[-1])))
    return {"missing": missing, "rows": rows}


def _row(work: Work, workers: list[Worker], options: Options) -> dict[str, Any]:
    taking_part, left_out = _agreeing(work, workers)
    times: dict[str, list[float]] = {worker.name: [] for worker in taking_part}
    steps, warm = 1, 0
    if HAND in times and not options.quick:
        steps = steps_in(_GROUP, next(worker for worker in taking_part if worker.name == HAND))
        warm = int(steps > 1)
    for _ in range(2 if options.quick else 15):
        for worker in taking_part:
            times[worker.name].append(worker.seconds(steps, warm) / steps)
    return {"work": work.to_json(), "steps": steps, "seconds": times, "left_out": left_out}


def _is_installed(worker: Worker) -> bool:
    """Start a tiny work to see."""
    try:
        worker.losses(Work("two images", (2,), 2, 2, features=3), 1)
    except Missing:
        return False
    except Unable:  # whatever it is, it will be told with the work that it happens to
        return True
    return True


def _agreeing(work: Work, workers: list[Worker]) -> tuple[list[Worker], dict[str, str]]:
    """Start the work everywhere, and keep who begins with the losses of hand-derived NumPy."""
    losses = {worker.name: _first_losses(work, worker) for worker in workers}
    left_out = {}
    for name, found in losses.items():
        if isinstance(found, str):
            left_out[name] = found
        elif name != BARE and not isinstance(losses[HAND], str):
            error = float(np.max(np.abs(np.divide(found, losses[HAND]) - 1)))
            if not error <= _TOLERANCE[work.dtype]:  # NaN is not, either
                left_out[name] = f"{name}: its losses disagree with {HAND}'s (relative error {error:.1e})"
    return [worker for worker in workers if worker.name not in left_out], left_out


def _first_losses(work: Work, worker: Worker) -> list[float] | str:
    """Return the losses, or why there are none."""
    try:
        return worker.losses(work, _FIRST)
    except Unable as reason:
        return str(reason)


def lines(result: dict[str, Any]) -> list[str]:
    """Return the blocks of the table for a terminal."""
    return [line for row in result["rows"] for line in _block(row)]


def _block(row: dict[str, Any]) -> list[str]:
    work, seconds = Work.from_json(row["work"]), row["seconds"]
    rounds = len(next(iter(seconds.values()), []))
    out = [
        str(work),
        f"  {rounds} rounds of {row['steps']} step{'s' * (row['steps'] != 1)} each",
        f"  {'':20} {f'ratio to {HAND}':>26} {'quartiles':>14} {'us a step':>12}",
    ]
    for name, times in seconds.items():
        share = ratio(times, seconds[HAND]) if HAND in seconds else spread([float("nan")])
        quartiles = f"{share.low:.2f} - {share.high:.2f}"
        out.append(f"  {name:20} {share.median:>26.2f} {quartiles:>14} {1e6 * spread(times).median:>12,.0f}")
    return [*out, *(f"  left out: {reason}" for reason in row["left_out"].values()), ""]


def markdown(result: dict[str, Any]) -> list[str]:
    """Return the table for the documentation: works down, contestants across."""
    names = [contestant.name for contestant in CONTESTANTS]
    out = [f"| work | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in result["rows"]:
        work = Work.from_json(row["work"])
        out.append(f"| {work.name}, **{work.dtype}** | {' | '.join(_cell(row, name) for name in names)} |")
    reasons = dict.fromkeys(reason for row in result["rows"] for reason in row["left_out"].values())
    absent = [f"Not installed: {', '.join(result['missing'])}."] if result["missing"] else []
    return [*out, "", *absent, *(f"Left out: {reason}." for reason in reasons)]


def _cell(row: dict[str, Any], name: str) -> str:
    seconds = row["seconds"]
    if name not in seconds:
        return "-"
    share = ratio(seconds[name], seconds[HAND])
    figure = "**1**" if name == HAND else f"**{share.median:.2f}** ({share.low:.2f}-{share.high:.2f})"
    return f"{figure}<br><sub>{1e6 * spread(seconds[name]).median:,.0f} us</sub>"
