"""How much memory a process may still allocate, how much it has used, and whether it keeps what it has freed."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np

_BYTES_PER_KIB = 1024
_LARGEST_KEPT = 33_000_000  # bytes; glibc takes up to 2**25, with the header and whole pages


def available_bytes() -> int | None:
    """Return the bytes that the system, or its limit for this container, still allows; None if it does not say.

    Linux overcommits memory: it grants an array that does not fit, and stops the process when the array is written.

    Examples
    --------
    >>> from tinygrad_cifar.system import memory
    >>> available = memory.available_bytes()
    >>> available is None or available > 0
    True
    """
    available = _read_entry(Path("/proc/meminfo"), "MemAvailable")
    limits = [n for n in (available, _available_in_container(Path("/sys/fs/cgroup"))) if n is not None]
    return min(limits, default=None)


def _read_entry(path: Path, name: str) -> int | None:
    """Return an entry of a file in which Linux states sizes in KiB, in bytes; None if there is no such entry."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = entries.get(name, "").split()
    return int(fields[0]) * _BYTES_PER_KIB if fields and fields[0].isdigit() else None


def _available_in_container(group: Path) -> int | None:
    """Return what the limit of a control group of Linux leaves; None without a limit."""
    try:
        limit, used, statistics = (
            (group / name).read_text().strip() for name in ("memory.max", "memory.current", "memory.stat")
        )
    except OSError:
        return None
    if not limit.isdigit():
        return None
    cached = dict(line.split() for line in statistics.splitlines()).get("inactive_file", "0")  # can be reclaimed
    return max(0, int(limit) - int(used) + int(cached))


def peak_bytes() -> int | None:
    """Return the largest memory that this process has used since it began or since :func:`reset_peak`, in bytes.

    It is None if the system does not say.

    Examples
    --------
    >>> from tinygrad_cifar.system import memory
    >>> peak = memory.peak_bytes()
    >>> peak is None or peak > 1_000_000
    True
    """
    peak = _read_entry(Path("/proc/self/status"), "VmHWM")  # Linux counts the parent's memory in ru_maxrss, too
    if peak is not None:
        return peak
    try:
        resource = import_module("resource")  # of POSIX systems
    except ImportError:
        return None
    largest: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * _BYTES_PER_KIB


def reset_peak() -> bool:
    """Let :func:`peak_bytes` count from what the process uses now; return whether the system, Linux, can do so.

    Examples
    --------
    >>> from tinygrad_cifar.system import memory
    >>> import numpy as np
    >>> np.ones(10_000_000).nbytes
    80000000
    >>> before = memory.peak_bytes()
    >>> memory.peak_bytes() < before if memory.reset_peak() else True
    True
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed arrays of up to 33 MB for the next ones.

    Where it is glibc, by default it soon returns such memory to the operating system, and the next array gets new
    pages, each of which the system first fills with zeros. In a training loop whose weights have 0.6 MB that took half
    of the time: 568 pages a step, in 3.0 instead of 1.6 milliseconds. glibc keeps more after it has freed a large array
    once, so one is freed here, which nothing has been written to. Up to 66 MB that are free may then stay with the
    process. The environment variables ``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_`` take precedence.
    """
    np.empty(_LARGEST_KEPT, np.uint8)
