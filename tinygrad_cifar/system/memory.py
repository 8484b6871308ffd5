"""How much memory a process may still allocate, and how much it has used."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

_BYTES_PER_KIB = 1024


def available_bytes() -> int | None:
    """Return the bytes that the system can give to a new process without swapping; None if it does not say.

    Linux overcommits memory: it grants an array that does not fit, and stops the process when the array is written.

    Examples
    --------
    >>> from tinygrad_cifar.system import memory
    >>> available = memory.available_bytes()
    >>> available is None or available > 0
    True
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = entries.get("MemAvailable", "").split()
    return int(fields[0]) * _BYTES_PER_KIB if fields and fields[0].isdigit() else None


def peak_bytes() -> int | None:
    """Return the largest memory that this process has used so far, in bytes; None if the system does not say.

    Examples
    --------
    >>> from tinygrad_cifar.system import memory
    >>> peak = memory.peak_bytes()
    >>> peak is None or peak > 1_000_000
    True
    """
    try:
        resource = import_module("resource")  # of POSIX systems
    except ImportError:
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _BYTES_PER_KIB
