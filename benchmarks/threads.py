"""Number of threads, equal for all implementations and passed to their processes through the environment.

BLAS libraries, OpenMP and XLA read variables when they are loaded. The processor affinity, where the system supports
it, limits all other libraries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_cifar.system.blas import THREAD_VARIABLES, _thread_functions, runtime, usable_cores

_COUNT = "BENCHMARKS_THREADS"
_VARIABLES = (*THREAD_VARIABLES, "NPROC")  # NPROC is read by XLA

# Two threads are hardly faster for the small networks, and several times slower if another process uses a core.
DEFAULT = 1


def current_count() -> int:
    """Return the number of threads that BLAS uses in this process: set by the user, or the default."""
    return runtime().threads or usable_cores()


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that uses ``threads`` threads."""
    return os.environ | dict.fromkeys(_VARIABLES, str(threads)) | {_COUNT: str(threads)}


def count() -> int:
    """Return the number of threads that the environment of this process sets (see :func:`environment`)."""
    return int(os.environ[_COUNT])


def limit_cores() -> None:
    """Restrict this process to as many cores as threads, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: count()])


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Let OpenBLAS multiply on ``threads`` threads of its own inside the block; other libraries are left alone."""
    functions = _thread_functions()
    if functions is None:
        yield
        return
    get, set_ = functions
    before = get()
    set_(threads)
    try:
        yield
    finally:
        set_(before)
