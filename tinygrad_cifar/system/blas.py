"""BLAS library: its kernel and threads, and environment variables that would make it faster.

NumPy's wheels contain OpenBLAS, which selects a kernel when it is loaded and treats processors that it does not know as
older ones: a recent AMD core with AVX-512 gets the kernel for Haswell (2013), with half the speed for large products.
Environment variables correct this, but only before NumPy is loaded. A library must not change the environment of the
program that imports it, so :func:`runtime` only reports. The command line and the benchmarks, which own their process,
restart it with :func:`relaunch`. Variables that the user has set are never changed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_AVX512 = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
_WITHOUT_AVX512 = {"prescott", "nehalem", "sandybridge", "haswell", "zen", "barcelona", "bulldozer", "excavator"}
_SMALL_MATRIX_KERNELS = {"skylakex", "cooperlake", "sapphirerapids"}
_MARK = "TINYGRAD_CIFAR_RELAUNCHED"

_lock = threading.Lock()
_blocks_open = 0  # of one_thread
_threads_before = 1

#: Environment variables from which BLAS libraries read their number of threads when they are loaded.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Runtime(NamedTuple):
    """BLAS library in use and a recommendation.

    Attributes
    ----------
    blas : str
        Name and version of the library, or "unknown".
    kernel : str
        Processor for which the selected kernel of OpenBLAS is built; "unknown" for other libraries.
    threads : int or None
        Number of threads of a large product. None if unknown.
    cores : int
        Number of cores that this process may use.
    faster : dict
        Environment variables that would make products faster if set before NumPy is loaded; empty if there are none.
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
    """Return the BLAS library, kernel and number of threads in use, and variables that would make it faster.

    Nothing is changed. On an unknown system, processor or library the fields are "unknown" or None, and ``faster`` is
    empty.

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
    kernel, config, threads = (_query(library, name) for name in ("get_corename", "get_config", "get_num_threads"))
    faster: dict[str, str] = {}
    if str(kernel).lower() in _WITHOUT_AVX512 and _instruction_sets() >= _AVX512:
        faster["OPENBLAS_CORETYPE"] = "SkylakeX"
    if isinstance(threads, int) and threads > cores:
        faster["OPENBLAS_NUM_THREADS"] = str(cores)
    version = " ".join(str(config).split()[:2]) if config else "OpenBLAS"
    return Runtime(version, str(kernel or "unknown"), threads if isinstance(threads, int) else None, cores, faster)


def multiplies_small_matrices_directly() -> bool:
    """Return whether the BLAS library multiplies small matrices without copying them first, on one thread.

    This applies to OpenBLAS with one of its kernels for AVX-512. For such a library, dividing a long and narrow product
    into small ones makes it faster; with several threads, OpenBLAS divides large products itself.

    Examples
    --------
    >>> from tinygrad_cifar.system import blas
    >>> blas.multiplies_small_matrices_directly() in (True, False)
    True
    """
    found = runtime()
    return found.blas.startswith("OpenBLAS") and found.kernel.lower() in _SMALL_MATRIX_KERNELS and found.threads == 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenBLAS multiply on one thread inside the block, in all threads of this process.

    Blocks may overlap, in several threads: the last one to end restores the number. Other libraries are left alone.

    Examples
    --------
    >>> from tinygrad_cifar.system import blas
    >>> with blas.one_thread():
    ...     blas.runtime().threads in (1, None)
    True
    """
    global _blocks_open, _threads_before  # noqa: PLW0603 (the number of threads is one of the process)
    functions = _thread_functions()
    if functions is None:
        yield
        return
    get, set_ = functions
    with _lock:
        if not _blocks_open:
            _threads_before = get()
            if _threads_before != 1:
                set_(1)
        _blocks_open += 1
    try:
        yield
    finally:
        with _lock:
            _blocks_open -= 1
            if not _blocks_open and _threads_before != 1:
                set_(_threads_before)


def relaunch(*, threads: int | None = None) -> None:
    """Restart this process with the recommended environment variables, or return if there are none to set.

    The new process runs the same command line with the same options of Python, so it searches the same folders for
    modules as this one: ``python -m`` instead would add the current folder. Ctrl-C and SIGTERM are blocked in the new
    process until it unblocks them, so that it can handle a signal that arrives while it starts.

    Also returns if Python has been restarted before, on systems other than POSIX, and if the command line of the
    process is not that of the running program. Variables that the user has set are not changed. Spawned worker
    processes inherit the variables.

    Parameters
    ----------
    threads : int, optional
        Number of BLAS threads, if the user has not set any of :data:`THREAD_VARIABLES`. If None, the number that the
        library has chosen, but at most the number of cores.
    """
    own = sys.argv[1:]
    is_program = sys.orig_argv[max(0, len(sys.orig_argv) - len(own)) :] == own
    if _MARK in os.environ or os.name != "posix" or not sys.executable or not is_program:
        return
    wanted = runtime().faster
    if threads is not None:
        wanted |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    if any(name in os.environ for name in THREAD_VARIABLES):
        wanted = {name: value for name, value in wanted.items() if name not in THREAD_VARIABLES}
    if wanted := {name: value for name, value in wanted.items() if name not in os.environ}:
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted | {_MARK: "1"})  # noqa: S606 (this program)
        finally:  # only if the program cannot be started
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def usable_cores() -> int:
    """Return the number of cores that this process may use, given its affinity and the limit of a container.

    Examples
    --------
    >>> from tinygrad_cifar.system import blas
    >>> blas.usable_cores() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # there is no limit, or it is "max"
        pass
    return max(1, allowed)


_share: int | None = None  # of the cores, in a worker process


def share_cores(processes: int) -> None:
    """Let this process compute on its share of the cores, since ``processes`` of them compute at the same time."""
    global _share  # noqa: PLW0603 (a setting of the process)
    _share = max(1, usable_cores() // processes)


def cores_to_compute_on() -> int:
    """Return the number of cores that this process may use, or its share of them in a worker process."""
    return usable_cores() if _share is None else _share


def _loaded_openblas() -> ctypes.CDLL | None:
    """Return the loaded OpenBLAS, found in the memory map or the folder of NumPy's wheel, or None."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = [line.split(maxsplit=5)[-1] for line in lines if "openblas" in line]
    except OSError:
        folder = Path(np.__file__).parent
        folders = (folder.parent / "numpy.libs", folder / ".dylibs")
        paths = [str(path) for place in folders if place.is_dir() for path in place.glob("*openblas*")]
    for path in sorted(dict.fromkeys(paths), key=lambda path: "numpy" not in path):  # SciPy has a library of its own
        with suppress(OSError):
            return ctypes.CDLL(path)
    return None


def _query(library: ctypes.CDLL, name: str) -> str | int | None:
    """Call a function of OpenBLAS without arguments, trying the prefixes and suffixes of different builds."""
    for prefix, suffix in product(("scipy_openblas_", "openblas_"), ("64_", "")):
        function = getattr(library, prefix + name + suffix, None)
        if function is not None:
            function.restype = ctypes.c_int if name == "get_num_threads" else ctypes.c_char_p
            answer = function()
            return answer.decode() if isinstance(answer, bytes) else answer
    return None


@cache
def _thread_functions() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Return the functions of OpenBLAS that return and set its number of threads; None for another library."""
    library = _loaded_openblas()
    for prefix, suffix in product(("scipy_openblas_", "openblas_"), ("64_", "")):
        get, set_ = (getattr(library, f"{prefix}{verb}_num_threads{suffix}", None) for verb in ("get", "set"))
        if get is not None and set_ is not None:
            return get, set_
    return None


def _configured_blas() -> str:
    """Return the name and version of the library that NumPy was built with."""
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key)) or "unknown"


def _instruction_sets() -> set[str]:
    """Return the instruction sets of an x86-64 processor, or an empty set if they are unknown."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return set()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
