"""A folder's lock: it keeps others out as long as its holder lives, and no longer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinygrad_cifar.system.locks import FolderInUseError, exclusive_lock


def test_a_folder_that_is_held_is_held_by_one(tmp_path):
    with (
        exclusive_lock(tmp_path),
        pytest.raises(FolderInUseError, match="another process is at work in"),
        exclusive_lock(tmp_path),
    ):
        pass


def test_what_was_let_go_of_can_be_held_again(tmp_path):
    for _ in range(2):
        with exclusive_lock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_different_folders_do_not_mind_each_other(tmp_path):
    (tmp_path / "below").mkdir()
    with exclusive_lock(tmp_path), exclusive_lock(tmp_path / "below"):
        pass


def test_a_process_that_is_killed_holds_nothing(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tinygrad_cifar.system.locks import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(FolderInUseError), exclusive_lock(tmp_path):
            pass
        process.kill()
    with exclusive_lock(tmp_path):
        pass


def test_a_folder_that_is_not_there_cannot_be_held(tmp_path):
    with pytest.raises(FileNotFoundError), exclusive_lock(tmp_path / "nowhere"):
        pass
