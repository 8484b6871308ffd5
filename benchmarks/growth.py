"""Growth of time and memory of a step with batch size, width and depth, with fitted exponents."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.implementations import HAND, OURS
from benchmarks.options import Options
from benchmarks.timing import spread
from benchmarks.worker import Worker, steps_in
from benchmarks.workloads import Workload
from tinygrad_cifar.system.files import atomic_write

_GROUP = 0.03
_AXES: dict[str, tuple[str, Callable[[int], Workload], tuple[int, ...]]] = {
    "batch": (
        "images in a batch (3072-50-10)",
        lambda n: Workload(f"batch {n}", (50,), n, max(n, 1000), "float32"),
        (10, 30, 100, 300, 1000, 3000, 10_000),
    ),
    "width": (
        "hidden units (3072-n-10, batch 100)",
        lambda n: Workload(f"width {n}", (n,), 100, 1000, "float32"),
        (16, 32, 64, 128, 256, 512, 1024, 2048),
    ),
    "depth": (
        "hidden layers of 128 (batch 100)",
        lambda n: Workload(f"depth {n}", (128,) * n, 100, 1000, "float32", features=128),
        (1, 2, 4, 8, 16, 32, 64, 128),
    ),
}


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Train networks of different sizes with this library and with hand-derived NumPy, interleaved.

    Returns
    -------
    dict
        ``axes``: for ``batch``, ``width`` and ``depth``, the sizes ``n``, and for each implementation the ``seconds``
        of a step and the ``bytes`` at its peak.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(name, options.threads))) for name in (OURS, HAND)]
        result = {"axes": {axis: _measure_axis(axis, workers, options) for axis in _AXES}}
    say("\n".join(lines(result)))
    return result


def _measure_axis(axis: str, workers: Sequence[Worker], options: Options) -> dict[str, Any]:
    _, workload_of, points = _AXES[axis]
    if options.quick:
        points = points[:2]
    out: dict[str, Any] = {"n": list(points), **{w.name: {"seconds": [], "bytes": []} for w in workers}}
    for n in points:
        workload = workload_of(n)
        for worker in workers:
            out[worker.name]["bytes"].append(worker.memory(workload)["peak"])
        steps = 1 if options.quick else steps_in(_GROUP, workers[0])
        times: dict[str, list[float]] = {worker.name: [] for worker in workers}
        for _ in range(1 if options.quick else 7):
            for worker in workers:
                times[worker.name].append(worker.seconds(steps) / steps)
        for name, seconds in times.items():
            out[name]["seconds"].append(spread(seconds).median)
    return out


def exponent(n: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent fitted to the upper half of the points, where constant costs matter less."""
    half = (len(n) - 1) // 2
    return float(np.polyfit(np.log(n[half:]), np.log(values[half:]), 1)[0])


def lines(result: dict[str, Any]) -> list[str]:
    """Return the exponents as lines of text."""
    out = ["growth of a step: exponents fitted to the upper half of the sizes", f"  {'':44} {'time':>8} {'memory':>8}"]
    for axis, found in result["axes"].items():
        out.append(f"  {_AXES[axis][0]}")
        for name in (OURS, HAND):
            time, memory = (exponent(found["n"], found[name][key]) for key in ("seconds", "bytes"))
            out.append(f"    {name:42} {time:>8.2f} {memory:>8.2f}")
    return [*out, ""]


def plot(result: dict[str, Any], path: Path) -> None:
    """Plot time and memory against the sizes.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (only needed for plots)

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    grid = figure.subplots(2, len(result["axes"]))
    quantities = (("seconds", 1e3, "time of a step (ms)"), ("bytes", 1e-6, "peak memory (MB)"))
    for row, (key, unit, title) in zip(grid, quantities, strict=True):
        for axes, (axis, found) in zip(row, result["axes"].items(), strict=True):
            for name, style in ((OURS, "o-"), (HAND, "x--")):
                label = f"{name}: $n^{{{exponent(found['n'], found[name][key]):.2f}}}$"
                axes.loglog(found["n"], unit * np.array(found[name][key]), style, label=label, markersize=5)
            axes.set_xlabel(_AXES[axis][0])
            axes.grid(visible=True, which="major", alpha=0.3)
            axes.legend(fontsize=9)
        row[0].set_ylabel(title)
    figure.suptitle("A training step with growing batch, width and depth (float32; exponents of the upper half)")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(content.getvalue())
