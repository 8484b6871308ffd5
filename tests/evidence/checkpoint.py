"""The results measured so far, in a file, so that a measurement of hours can go on after an interruption.

The file begins with a digest of the sources of the library and of its tests. Results of other sources are refused,
since a page must not mix them.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class StaleCheckpointError(ValueError):
    """The checkpoint was written with other sources or versions."""


def digest_sources(root: Path = ROOT) -> str:
    """Return a digest of all modules of the library and of its tests."""
    digest = hashlib.sha256()
    for folder in ("tinygrad_cifar", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class Checkpoint:
    """Results of tasks that are appended to a file.

    Parameters
    ----------
    path : Path
        The file; it is created if it does not exist.
    digest : str
        Digest of the sources.

    Attributes
    ----------
    results : dict
        The results by task: those that the file had, and those that were added.

    Raises
    ------
    StaleCheckpointError
        If the file has the results of other sources or versions.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.results: dict[tuple[Any, ...], Any] = {}
        if not path.exists():
            path.write_bytes(pickle.dumps(digest))
        records, self._end = _read(path)
        if records[:1] != [digest]:
            raise StaleCheckpointError(
                f"{path}: the results are of other sources, Python or NumPy; delete the file, or restore these"
            )
        self.results.update(records[1:])

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Yield a function that adds the result of a task to the file."""
        with self.path.open("r+b") as file:
            file.seek(self._end)
            file.truncate()

            def add(task: tuple[Any, ...], result: Any) -> None:
                pickle.dump((task, result), file)
                file.flush()
                self._end = file.tell()
                self.results[task] = result

            yield add


def _read(path: Path) -> tuple[list[Any], int]:
    """Return the complete records of a file, and the position behind them; the last one may be cut off."""
    records: list[Any] = []
    with path.open("rb") as file, suppress(EOFError, pickle.UnpicklingError):
        end = 0
        while True:
            records.append(pickle.load(file))
            end = file.tell()
    return records, end
