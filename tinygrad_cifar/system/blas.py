"""What does the arithmetic here, and what would do it faster: the BLAS library, its kernel, its threads.

NumPy's wheels bring OpenBLAS, which chooses a kernel when it is loaded and takes processors that it does not
know for older ones: a recent AMD core with AVX-512 gets the kernel of a 2013 Haswell, at half the speed for
large products. Environment variables correct that, but only before NumPy is loaded. A library must not change
the environment of the program that uses it, so :func:`runtime` only tells; the command line and the benchmarks,
which own their process, start themselves again with :func:`relaunch` in the better environment; what the user has set
himself is obeyed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_AVX512 = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
_WITHOUT_AVX512 = {"prescott", "nehalem", "sandybridge", "haswell", "zen", "barcelona", "bulldozer", "excavator"}
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOTO_NUM_THREADS")  # whichever is set, OpenBLAS obeys
_MARK = "TINYGRAD_CIFAR_RELAUNCHED"


class Runtime(NamedTuple):
    """What is in use.

    Attributes
    ----------
    blas : str
        The library and its version, or "unknown".
    kernel : str
        What OpenBLAS was built to run on the processor it believes to see; "unknown" for other libraries.
    threads : int or None
        How many threads a large product uses.
    cores : int
        How many this process may use.
    faster : dict
        Environment variables that would make it faster if they were set before NumPy is loaded; empty if none would.
    """

    blas: str
    kernel: str
    threads: int | None
    cores: int
    faster: dict[str, str]

    def __str__(self) -> str:
        threads = "?" if self.threads is None else self.threads
        text = f"{self.blas}, {self.kernel} kernel, {threads} thread{'s' * (threads != 1)}"
        text += f" on {self.cores} core{'s' * (self.cores != 1)}"
        if self.faster:
            text += f"; faster with {' '.join(f'{k}={v}' for k, v in self.faster.items())} set before Python starts"
        return text


def runtime() -> Runtime:
    """Return which BLAS, kernel and threads are in use, and what would be faster.

    Nothing is changed. On systems, processors or libraries that this function does not know, it says so and recommends
    nothing.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.runtime().cores >= 1
    True
    """
    library = _loaded_openblas()
    cores = usable_cores()
    if library is None:
        return Runtime(_configured_blas(), "unknown", None, cores, {})
    kernel, config, threads = (_ask(library, name) for name in ("get_corename", "get_config", "get_num_threads"))
    faster: dict[str, str] = {}
    if str(kernel).lower() in _WITHOUT_AVX512 and _features() >= _AVX512:
        faster["OPENBLAS_CORETYPE"] = "SkylakeX"
    if isinstance(threads, int) and threads > cores:
        faster["OPENBLAS_NUM_THREADS"] = str(cores)
    version = " ".join(str(config).split()[:2]) if config else "OpenBLAS"
    return Runtime(version, str(kernel or "unknown"), threads if isinstance(threads, int) else None, cores, faster)


_DIRECT_KERNELS = {"skylakex", "cooperlake", "sapphirerapids"}


def multiplies_small_matrices_directly() -> bool:
    """Return whether the BLAS in use multiplies small matrices without copying them first, and on one thread.

    OpenBLAS does with its kernels for AVX-512. On several threads it divides large products itself.

    Examples
    --------
    >>> from tinygrad_cifar.system.blas import multiplies_small_matrices_directly
    >>> multiplies_small_matrices_directly() in (True, False)
    True
    """
    in_use = runtime()
    return in_use.blas.startswith("OpenBLAS") and in_use.kernel.lower() in _DIRECT_KERNELS and in_use.threads == 1


def relaunch(arguments: Sequence[str], *, threads: int | None = None) -> None:
    """Start Python again with ``arguments`` in the better environment, or return if there is none to be had.

    Returns when nothing would be faster, or when this has been done. What the user has set stays: a kernel, a number of
    threads. Everything that a spawned worker process inherits is then set, too.

    Parameters
    ----------
    arguments : sequence of str
        Those of the Python command.
    threads : int, optional
        How many threads BLAS is to use; by default as many as it has chosen, and no more than there are cores.
    """
    if _MARK in os.environ or os.name != "posix":
        return
    wanted = runtime().faster
    if threads is not None:
        wanted |= {"OPENBLAS_NUM_THREADS": str(threads)}
    if any(name in os.environ for name in _THREADS):
        wanted.pop("OPENBLAS_NUM_THREADS", None)
    if wanted := {name: value for name, value in wanted.items() if name not in os.environ}:
        sys.stdout.flush()
        sys.stderr.flush()
        environment = os.environ | wanted | {_MARK: "1"}
        os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606 (this very program)


def usable_cores() -> int:
    """Return how many cores this process may use: the machine's, less what the scheduler or a container withholds.

    Examples
    --------
    >>> from tinygrad_cifar.system import blas as machine
    >>> machine.usable_cores() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit, or none set ("max")
        pass
    return max(1, allowed)


def _loaded_openblas() -> ctypes.CDLL | None:
    """Find the OpenBLAS that this process has loaded: by the memory map, or in the folder where wheels keep it."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = [line.split(maxsplit=5)[-1] for line in lines if "openblas" in line]
    except OSError:
        folder = Path(np.__file__).parent
        places = (folder.parent / "numpy.libs", folder / ".dylibs")
        paths = [str(path) for place in places if place.is_dir() for path in place.glob("*openblas*")]
    for path in dict.fromkeys(paths):
        with suppress(OSError):
            return ctypes.CDLL(path)
    return None


def _ask(library: ctypes.CDLL, question: str) -> str | int | None:
    """Call one of OpenBLAS's informing functions, under any of the names that builds give it."""
    for prefix, suffix in product(("scipy_openblas_", "openblas_"), ("64_", "")):
        function = getattr(library, prefix + question + suffix, None)
        if function is not None:
            function.restype = ctypes.c_int if question == "get_num_threads" else ctypes.c_char_p
            answer = function()
            return answer.decode() if isinstance(answer, bytes) else answer
    return None


def _configured_blas() -> str:
    """Return the library that NumPy says it was built with."""
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key)) or "unknown"


def _features() -> set[str]:
    """Return the processor's instruction sets, where the system tells."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return set()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
