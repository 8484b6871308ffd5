"""Environment of a measurement: machine, BLAS library, versions and load."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinygrad_cifar.system.blas import THREAD_VARIABLES, runtime

_PACKAGES = ("tinygrad-cifar", "numpy", "torch", "jax", "autograd", "mygrad")
_VARIABLES = ("OPENBLAS_CORETYPE", *THREAD_VARIABLES)


def environment(threads: int) -> dict[str, Any]:
    """Return the environment and the current time, JSON-serialisable."""
    in_use = runtime()
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "blas": in_use._asdict() | {"text": str(in_use)},
        "threads": threads,
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def format_environment(found: dict[str, Any]) -> str:
    """Return an environment as one line of text."""
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items() if number)
    load = "" if found["load"] is None else f" Load average at the start (0 if idle): {found['load'][0]:.1f}."
    count = f"{found['threads']} thread{'s' * (found['threads'] != 1)}"
    return (
        f"{found['processor']}, {found['system']}; {found['blas']['text']}; {count} for every implementation;"
        f" Python {found['python']}, {packages}; {found['when'][:10]}.{load}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
