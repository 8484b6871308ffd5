"""Helpers for tests of the command line: written files, error messages, processes and a missing package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cifar import course
from tinygrad_cifar.cli import main


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


class Here(Executor):
    """An executor that runs each call immediately, in this process."""

    workers = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (raised by result())
            future.set_exception(error)
        return future


def reproduce_here(arguments: Sequence[str]) -> int:
    """Run the command reproduce without worker processes, which would start slowly; they have their own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygrad_cifar.experiments.reproduce.ProcessExecutor", lambda _: Here())
        return main(["reproduce", *arguments])


def block_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the import of matplotlib fail in this process, as where it is not installed."""
    monkeypatch.delitem(sys.modules, "tinygrad_cifar.course.plotting", raising=False)
    monkeypatch.delattr(course, "plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
