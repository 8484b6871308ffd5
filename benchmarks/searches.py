"""Search throughput: report 004's coarse grid of 49 settings by one process and by one for each core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from benchmarks.options import Options
from tinygrad_cifar.system.blas import usable_cores


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Search the grid on the built-in data, each process with one BLAS thread; starting the processes counts.

    Returns
    -------
    dict
        How many ``settings``, and ``ways``: for each number of processes the seconds. Only ``missing``, the library's
        name, if what searches is not installed.
    """
    if find_spec("optuna") is None:
        result: dict[str, Any] = {"missing": "optuna"}
    else:
        result = _measured(quick=options.quick)
    say("\n".join(lines(result)))
    return result


def _measured(*, quick: bool) -> dict[str, Any]:
    # Here, since these need what may not be installed.
    from benchmarks.search_throughput import BUILTIN_BATCH, COARSE, GRID  # noqa: PLC0415
    from tinygrad_cifar.search import Choice, ValidationAccuracy, search  # noqa: PLC0415
    from tinygrad_cifar.system.processes import ProcessExecutor

    space = {"lam": Choice([0.01]), "eta": Choice([0.3])} if quick else GRID
    objective = ValidationAccuracy(replace(COARSE, batch_size=BUILTIN_BATCH), "builtin")
    ways = {}
    for processes in (1,) if quick else (1, usable_cores()):
        started = perf_counter()
        with ProcessExecutor(processes, threads=1) as executor:
            found = search(objective, space, executor=executor, workers=processes)
        ways[str(processes)] = perf_counter() - started
    return {"settings": len(found), "ways": ways}


def lines(result: dict[str, Any]) -> list[str]:
    """Return what was measured, for a terminal."""
    if "missing" in result:
        return [f"searching: {result['missing']} is not installed", ""]
    out = [f"searching {result['settings']} settings of report 004 on the built-in data"]
    for processes, seconds in result["ways"].items():
        speed = result["settings"] / seconds
        out.append(f"  {processes} process{'es' * (processes != '1')}: {seconds:.1f} s, {speed:.2f} settings a second")
    return [*out, ""]
