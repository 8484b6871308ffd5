"""Startup time: the import in addition to that of NumPy, and ``--help`` of the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
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
    """Start Python repeatedly.

    Returns
    -------
    dict
        Lists of milliseconds: imports of ``numpy``, and of this library ``beyond`` it; whole processes of ``python``
        with an empty program, and of the ``command_line`` with ``--help``.
    """
    result: dict[str, Any] = {"numpy": [], "beyond": [], "python": [], "command_line": []}
    for _ in range(2 if options.quick else 15):
        numpy, beyond = (1e3 * float(part) for part in _run("-c", _IMPORT)[1].split())
        result["numpy"].append(numpy)
        result["beyond"].append(beyond)
        result["python"].append(_run("-c", "pass")[0])
        result["command_line"].append(_run("-m", "tinygrad_cifar", "--help")[0])
    say("\n".join(lines(result)))
    return result


def _run(*arguments: str) -> tuple[float, str]:
    """Run Python with these arguments, and return the milliseconds and the output."""
    started = perf_counter()
    command = [sys.executable, *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (this program)
    return 1e3 * (perf_counter() - started), completed.stdout


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result as lines of text."""
    out = ["startup, milliseconds"]
    for name, label in (
        ("numpy", "import numpy"),
        ("beyond", "import tinygrad_cifar, in addition"),
        ("python", "python -c pass, whole process"),
        ("command_line", "python -m tinygrad_cifar --help, whole process"),
    ):
        times = spread(result[name])
        out.append(f"  {label:48} {times.median:8.1f}   ({times.low:.1f} - {times.high:.1f})")
    return [*out, ""]
