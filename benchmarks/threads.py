"""One thread count for all: decided once by whoever starts the contestants, and handed to each through its environment.

OpenBLAS, OpenMP, MKL and XLA each read a variable of their own, before they are loaded; where the system can say which
cores a process may use, that bounds whatever reads none of them.
"""

from __future__ import annotations

import os

from tinygrad_cifar.system.blas import THREAD_VARIABLES, runtime, usable_cores

_COUNT = "BENCHMARKS_THREADS"
_VARIABLES = (*THREAD_VARIABLES, "NPROC")  # NPROC is read by XLA


# A step of the reports' nets is hardly faster on two threads; and two threads that wait for each other, on two cores of
# which something else wants one, take several times as long.
DEFAULT = 1


def decided() -> int:
    """Return the count that this process's own BLAS uses: the user's, or the default."""
    return runtime().threads or usable_cores()


def environment(threads: int) -> dict[str, str]:
    """Return the environment for a process that is to use so many threads."""
    return os.environ | dict.fromkeys(_VARIABLES, str(threads)) | {_COUNT: str(threads)}


def count() -> int:
    """Return what :func:`environment` said to the process that started this one."""
    return int(os.environ[_COUNT])


def confine() -> None:
    """Leave this process no more cores than threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: count()])
