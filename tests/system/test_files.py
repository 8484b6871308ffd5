"""Atomic file replacement: complete content or no change, after any error."""

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


# Calls that can fail after the temporary file has been created.
CALLS = [(os, "fsync"), (Path, "chmod"), (Path, "replace")]
calls = pytest.mark.parametrize(("owner", "name"), CALLS, ids=[name for _, name in CALLS])
failures = pytest.mark.parametrize(("failure", "error"), [(disk_full, OSError), (interrupted, KeyboardInterrupt)])
before = pytest.mark.parametrize("old", [b"old content", None], ids=["over an old file", "as a new file"])


@before
def test_the_file_has_the_new_content(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    replace(path)
    assert path.read_bytes() == b"new content"


def test_no_temporary_file_remains(tmp_path):
    replace(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_old_content_remains_until_the_block_ends(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    with atomic_write(path) as file:
        file.write(b"new content")
        file.flush()
        assert path.read_bytes() == b"old content"


def test_the_content_is_flushed_to_disk_before_the_rename(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, to: order.append("replace") or rename(self, to))
    replace(tmp_path / "file")
    assert order == ["fsync", "replace"]


def attempt(path: Path, old: bytes | None, error: type[BaseException]) -> None:
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error):
        replace(path)


@before
@calls
@failures
def test_a_failure_leaves_only_the_old_content(tmp_path, monkeypatch, owner, name, failure, error, old):
    monkeypatch.setattr(owner, name, failure)
    attempt(tmp_path / "file", old, error)
    monkeypatch.undo()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


@before
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ZeroDivisionError])
def test_an_error_inside_the_block_leaves_the_old_content_and_no_temporary_file(tmp_path, error, old):
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


def test_a_missing_folder_raises_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "nowhere" / "file")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_default_permissions(tmp_path, mask):
    previous = os.umask(mask)
    try:
        replace(tmp_path / "replaced")
        (tmp_path / "ordinary").write_bytes(b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@calls
def test_the_error_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, disk_full)
    with pytest.raises(OSError, match="No space left") as caught:
        replace(tmp_path / "file")
    assert caught.value.filename == str(tmp_path / "file")


def test_the_error_of_a_missing_folder_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        replace(tmp_path / "nowhere" / "file")
    assert caught.value.filename == str(tmp_path / "nowhere" / "file")


@pytest.mark.parametrize("size", [1, 11, 100_001])
def test_all_content_has_reached_the_system_when_it_is_flushed_to_disk(tmp_path, monkeypatch, size):
    sizes = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size) or fsync(handle))
    replace(tmp_path / "file", b"x" * size)
    assert sizes == [size]
