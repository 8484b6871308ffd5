"""Locks on folders: they exclude other processes until their holder releases them or ends."""

from __future__ import annotations

import errno
import os
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


@pytest.fixture
def handles(monkeypatch):
    """Return the handles that are open, of those that the lock opens."""
    opened = set()
    right_open, right_close = os.open, os.close
    monkeypatch.setattr(os, "open", lambda *given: opened.add(handle := right_open(*given)) or handle)
    monkeypatch.setattr(os, "close", lambda handle: opened.discard(handle) or right_close(handle))
    return opened


def test_a_refused_lock_leaves_no_handle_open(tmp_path, handles):
    with exclusive_lock(tmp_path):
        before = set(handles)
        with pytest.raises(FolderInUseError), exclusive_lock(tmp_path):
            pass
        assert handles == before
    assert handles == set()


@pytest.mark.skipif(sys.platform == "win32", reason="flock is a function of POSIX systems")
def test_the_block_runs_on_a_file_system_without_locks(tmp_path, handles, monkeypatch):
    import fcntl  # noqa: PLC0415 (missing on Windows)

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with exclusive_lock(tmp_path), exclusive_lock(tmp_path):
        assert handles == set()
