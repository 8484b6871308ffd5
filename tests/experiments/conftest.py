"""A reproduction on the built-in data, made once for all test processes, for the tests that only read it."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.small_report import NAMES
from tinygrad_cifar.cli import main
from tinygrad_cifar.system.locks import FolderInUseError, exclusive_lock


@pytest.fixture(scope="session")
def small_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the reproduction, which tests must not change.

    The first process that needs it makes it, on all cores; the others wait.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a folder in that of the run
        folder = folder.parent
    folder /= "small-report"
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive_lock(folder))
                break
            except FolderInUseError:
                time.sleep(0.1)
        if not (folder / "complete").exists():
            assert main(["reproduce", *NAMES, "--out", str(folder / "out"), "--docs", str(folder / "docs")]) == 0
            (folder / "complete").touch()
    return folder
