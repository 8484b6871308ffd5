"""A folder that one process at a time works in.

The operating system holds the lock and lets go of it when the process ends, however it ends: nothing is left behind
that could lock out the next one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderInUseError(Exception):
    """Another process works in the folder."""


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Keep out whoever else asks for a folder in this way; where the file system knows no locks, nobody is kept out.

    Raises
    ------
    FolderInUseError
        If somebody has it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tinygrad_cifar.system.locks import exclusive_lock
    >>> with tempfile.TemporaryDirectory() as folder, exclusive_lock(Path(folder)):
    ...     with exclusive_lock(Path(folder)):  # doctest: +ELLIPSIS
    ...         pass
    Traceback (most recent call last):
        ...
    tinygrad_cifar.system.locks.FolderInUseError: another process is at work in ...
    """
    try:
        handle = _taken(folder)
    except (BlockingIOError, FileExistsError) as error:
        raise FolderInUseError(f"another process is at work in {folder}") from error
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


if sys.platform == "win32":

    def _taken(folder: Path) -> int | None:
        """Make a file that cannot be made twice, and that the system deletes with the process."""
        return os.open(folder / ".lock", os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)

else:
    import fcntl

    def _taken(folder: Path) -> int | None:
        """Lock the folder itself."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:  # a network's file system may know no locks
            os.close(handle)
            return None
        return handle
