"""Atomic file replacement: the old content remains until the new content has been flushed to disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of ``path``, and rename it to ``path`` if the block ends without an error.

    Parameters
    ----------
    path : Path
        File to create or replace.

    Yields
    ------
    file
        Binary file open for writing.

    Raises
    ------
    OSError
        If the folder is not writable or the disk is full. The error names ``path``, which is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "note.txt") as file:
    ...         _ = file.write(b"complete")
    ...     (Path(folder) / "note.txt").read_text()
    'complete'
    """
    try:
        with _temporary_file(path) as file:
            yield file
    except OSError as error:
        error.filename = str(path)  # the user does not know the name of the temporary file
        raise


@contextmanager
def _temporary_file(path: Path) -> Iterator[BinaryIO]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _umask() -> int:
    """Return the permission bits that new files do not get; temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
