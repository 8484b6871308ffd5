"""What a reader must not do, recorded by an audit hook: run code, connect, or write outside its folder."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "subprocess.Popen", "exec"}
_RUNS |= {"pickle.find_class", "socket.connect", "socket.bind", "ctypes.dlopen", "os.kill", "os.putenv", "os.chdir"}
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.rmdir", "os.chmod", "os.truncate"}
_CHANGES |= {"shutil.rmtree", "os.chown", "os.utime"}
_OF_TWO = {"os.rename", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class _Guard:
    """An audit hook that records forbidden actions of a reader. Audit hooks cannot be removed."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        paths = arguments[: 2 if event in _OF_TWO else 1]
        beside = arguments[1] if event in {"os.remove", "os.rmdir"} else -1
        if event in _RUNS or ((writes or event in _CHANGES) and not all(self.inside(path, beside) for path in paths)):
            self.seen.append(f"{event}{arguments[:2]!r:.200}")

    def inside(self, path: Any, beside: int) -> bool:
        """Return whether a path, relative to an open folder if given, is in the reader's folder."""
        if isinstance(path, int):
            return True
        if beside >= 0:
            path = Path(f"/proc/self/fd/{beside}").readlink() / os.fsdecode(path)
        return os.path.realpath(os.fsdecode(path)).startswith(f"{self.folder}{os.sep}")


@functools.cache
def _guard() -> _Guard:
    guard = _Guard()
    sys.addaudithook(guard)
    return guard


@contextlib.contextmanager
def watch_side_effects(folder: Path) -> Iterator[list[str]]:
    """Collect the forbidden actions inside the block."""
    guard = _guard()
    guard.folder, guard.seen = os.path.realpath(folder), []
    try:
        yield guard.seen
    finally:
        guard.folder = None
