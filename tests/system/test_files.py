"""A file is replaced wholly or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tinygrad_cifar.system.files import atomic_write


def replace(path: Path, content: bytes = b"new content") -> None:
    with atomic_write(path) as file:
        file.write(content)


def disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# Where it can go wrong after the temporary file is there.
PLACES = [(os, "fsync"), (Path, "chmod"), (Path, "replace")]
places = pytest.mark.parametrize(("owner", "name"), PLACES, ids=[name for _, name in PLACES])
mishaps = pytest.mark.parametrize(("mishap", "error"), [(disk_full, OSError), (interrupted, KeyboardInterrupt)])
before = pytest.mark.parametrize("old", [b"old content", None], ids=["over an old file", "as a new file"])


@before
def test_the_content_is_there_afterwards(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    replace(path)
    assert path.read_bytes() == b"new content"


def test_nothing_else_is_there_afterwards(tmp_path):
    replace(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_old_content_is_there_until_the_block_ends(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    with atomic_write(path) as file:
        file.write(b"new content")
        file.flush()
        assert path.read_bytes() == b"old content"


def test_the_content_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    order = []
    fsync, take_place = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, to: order.append("replace") or take_place(self, to))
    replace(tmp_path / "file")
    assert order == ["fsync", "replace"]


def attempt(path: Path, old: bytes | None, error: type[BaseException]) -> None:
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error):
        replace(path)


@before
@places
@mishaps
def test_a_mishap_leaves_what_was_there_and_no_litter(tmp_path, monkeypatch, owner, name, mishap, error, old):
    monkeypatch.setattr(owner, name, mishap)
    attempt(tmp_path / "file", old, error)
    monkeypatch.undo()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


@before
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ZeroDivisionError])
def test_an_error_inside_the_block_leaves_what_was_there_and_no_litter(tmp_path, error, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half of the new con")
            raise error

    with pytest.raises(error):
        write_half()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "nowhere" / "file")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_any_new_file_gets(tmp_path, mask):
    previous = os.umask(mask)
    try:
        replace(tmp_path / "replaced")
        (tmp_path / "ordinary").write_bytes(b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
