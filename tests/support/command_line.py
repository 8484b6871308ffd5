"""Helpers for tests of the command line: written files, error messages and processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one-line message on the standard error."""
    error = capsys.readouterr().err
    assert error.startswith("tinygrad-cifar: "), error
    assert error.count("\n") == 1, error
    return error


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tinygrad_cifar", *arguments],
        text=True,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
    )
