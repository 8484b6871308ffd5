"""Helpers for tests of the command line: written files, error messages, processes and a missing package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cifar import course


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


def block_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the import of matplotlib fail in this process, as where it is not installed."""
    monkeypatch.delitem(sys.modules, "tinygrad_cifar.course.plotting", raising=False)
    monkeypatch.delattr(course, "plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
