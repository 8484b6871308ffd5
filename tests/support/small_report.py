"""A reproduction on the built-in data, made once for the tests that only read it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from tinygrad_cifar.cli import main

# They include every kind of table and figure.
NAMES = (
    "000-gradients",
    "000-softmax",
    "001-init",
    "001-grid",
    "002-gradients",
    "003-one-cycle",
    "003-fine",
    "004-gradients",
    "004-final",
)


@functools.cache
def small_report() -> Path:
    """Return the folder of the reproduction, which tests must not change."""
    folder = Path(tempfile.mkdtemp(prefix="small-report-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    assert main(["reproduce", *NAMES, "--out", str(folder / "out"), "--docs", str(folder / "docs")]) == 0
    return folder
