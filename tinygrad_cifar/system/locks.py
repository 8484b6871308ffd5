"""Exclusive locks on folders.

The operating system releases a lock when the process ends for any reason, so a killed process does not leave a stale
lock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderInUseError(Exception):
    """Another process holds the lock of the folder."""


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder in a ``with`` block.

    On a file system without locks, the block runs without one.

    Parameters
    ----------
    folder : Path
        Existing folder.

    Raises
    ------
    FolderInUseError
        If another process holds the lock.

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
    tinygrad_cifar.system.locks.FolderInUseError: ... is locked by another process
    """
    try:
        handle = _acquire(folder)
    except (BlockingIOError, FileExistsError) as error:
        raise FolderInUseError(f"{folder} is locked by another process") from error
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


if sys.platform == "win32":

    def _acquire(folder: Path) -> int | None:
        """Create a file that must not exist before, and that the system deletes when the process ends."""
        return os.open(folder / ".lock", os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)

else:
    import fcntl

    def _acquire(folder: Path) -> int | None:
        """Lock the folder itself."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:  # some network file systems do not support locks
            os.close(handle)
            return None
        return handle
