"""What it costs to begin: the import beyond NumPy's own, and the command line until it has printed its help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from benchmarks.options import Options
from benchmarks.timing import spread

_IMPORT = """
from time import perf_counter
started = perf_counter()
import numpy
between = perf_counter()
import tinygrad_cifar
print(between - started, perf_counter() - between)
"""


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Start Python again and again.

    Returns
    -------
    dict
        Milliseconds, a list for each: ``numpy`` and ``beyond`` it inside a new Python; ``python`` from its start to its
        end with nothing to do, and the ``command_line`` with ``--help`` (None if it is not there).
    """
    result: dict[str, Any] = {"numpy": [], "beyond": [], "python": [], "command_line": []}
    has_command_line = find_spec("tinygrad_cifar.cli") is not None
    for _ in range(2 if options.quick else 15):
        numpy, beyond = (1e3 * float(part) for part in _run("-c", _IMPORT)[1].split())
        result["numpy"].append(numpy)
        result["beyond"].append(beyond)
        result["python"].append(_run("-c", "pass")[0])
        if has_command_line:
            result["command_line"].append(_run("-m", "tinygrad_cifar", "--help")[0])
    if not has_command_line:
        result["command_line"] = None
    say("\n".join(lines(result)))
    return result


def _run(*arguments: str) -> tuple[float, str]:
    """Return the milliseconds and the output of a new Python."""
    started = perf_counter()
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (this very program)
    return 1e3 * (perf_counter() - started), done.stdout


def lines(result: dict[str, Any]) -> list[str]:
    """Return what was measured, for a terminal."""
    out = ["starting, milliseconds"]
    for name, what in (
        ("numpy", "import numpy"),
        ("beyond", "import tinygrad_cifar, beyond that"),
        ("python", "python -c pass, whole process"),
        ("command_line", "python -m tinygrad_cifar --help, whole process"),
    ):
        if result[name] is None:
            out.append(f"  {what:48} not there")
        else:
            taken = spread(result[name])
            out.append(f"  {what:48} {taken.median:8.1f}   ({taken.low:.1f} - {taken.high:.1f})")
    return [*out, ""]
