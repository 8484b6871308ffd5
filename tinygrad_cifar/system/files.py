"""Writing a file wholly or not at all: what was there before stays until the new content is safely on the disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` for writing, and put it in its place when the block ends well.

    Raises
    ------
    OSError
        If the folder cannot be written to or the disk is full; it names ``path``, which is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "note.txt") as file:
    ...         _ = file.write(b"whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    try:
        with _temporary_beside(path) as file:
            yield file
    except OSError as error:
        error.filename = str(path)  # the temporary file's name would tell the user nothing
        raise


@contextmanager
def _temporary_beside(path: Path) -> Iterator[BinaryIO]:
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
    """Return the permissions that new files do not get; a temporary file is private until it takes its place."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
