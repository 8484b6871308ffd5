"""Types as users see them: mypy accepts a right program, and reports every mistake of a wrong one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

USER_FILES = Path(__file__).parent / "user_files"


def run_mypy(name: str, cache: Path) -> tuple[int, set[int], str]:
    """Return the exit status of mypy --strict on a user's file, the lines with errors, and its output."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "--config-file", ""]
    done = subprocess.run([*command, name], cwd=USER_FILES, capture_output=True, text=True, check=False, timeout=300)
    lines = {int(line) for line in re.findall(rf"^{name}:(\d+): error", done.stdout, re.MULTILINE)}
    return done.returncode, lines, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
def test_a_right_program_passes(cache):
    status, _, output = run_mypy("right.py", cache)
    assert status == 0, output


def test_every_mistake_is_reported_and_nothing_else(cache):
    marked = {
        number
        for number, line in enumerate((USER_FILES / "wrong.py").read_text().splitlines(), start=1)
        if line.endswith("# error")
    }
    _, reported, output = run_mypy("wrong.py", cache)
    assert reported == marked, output


def test_the_right_program_runs():
    subprocess.run([sys.executable, str(USER_FILES / "right.py")], check=True, capture_output=True, timeout=120)
