"""Number of threads, equal for all implementations and passed to their processes through the environment.

BLAS libraries, OpenMP and XLA read variables when they are loaded. The processor affinity, where the system supports
it, limits all other libraries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tinygrad_cifar.engine.blocked import products
from tinygrad_cifar.system.blas import (
    _SMALL_MATRIX_KERNELS,
    THREAD_VARIABLES,
    _thread_functions,
    multiplies_small_matrices_directly,
    runtime,
    usable_cores,
)

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
    """Let OpenBLAS multiply on ``threads`` threads of its own inside the block; other libraries are left alone.

    This library splits its products as it does in a process that was started with this number.
    """
    functions = _thread_functions()
    if functions is None:
        yield
        return
    get, set_ = functions
    before, is_direct = get(), threads == 1 and _kernel() in _SMALL_MATRIX_KERNELS
    set_(threads)
    products.set_kernel_test(lambda: is_direct)
    try:
        yield
    finally:
        set_(before)
        products.set_kernel_test(multiplies_small_matrices_directly)


@cache
def _kernel() -> str:
    return runtime().kernel.lower()
