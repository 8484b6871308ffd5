"""Locks on folders: they exclude other processes until their holder releases them or ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinygrad_cifar.system.locks import FolderInUseError, exclusive_lock


def test_a_locked_folder_cannot_be_locked_again(tmp_path):
    with (
        exclusive_lock(tmp_path),
        pytest.raises(FolderInUseError, match="is locked by another process"),
        exclusive_lock(tmp_path),
    ):
        pass


def test_a_released_folder_can_be_locked_again(tmp_path):
    for _ in range(2):
        with exclusive_lock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_locks_of_different_folders_are_independent(tmp_path):
    (tmp_path / "below").mkdir()
    with exclusive_lock(tmp_path), exclusive_lock(tmp_path / "below"):
        pass


def test_a_killed_process_does_not_hold_its_lock(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tinygrad_cifar.system.locks import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(FolderInUseError), exclusive_lock(tmp_path):
            pass
        process.kill()
    with exclusive_lock(tmp_path):
        pass


def test_a_missing_folder_cannot_be_locked(tmp_path):
    with pytest.raises(FileNotFoundError), exclusive_lock(tmp_path / "missing"):
        pass
