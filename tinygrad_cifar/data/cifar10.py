"""Read CIFAR-10 from a folder that holds the files of the official Python archive or of the binary one."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinygrad_cifar.data.dataset import PIXELS, TRAINING_BATCHES, DataError, Dataset, Split
from tinygrad_cifar.data.unpickle import Value, unpickle

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The official files have 31 MB; one that is longer than this is something else and is not read at all.
MAX_FILE_BYTES = 40_000_000

_RECORD = 1 + PIXELS
_ADVICE = "`tinygrad-cifar fetch DIR` gets a good copy"


def read_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """Read the 60,000 images of CIFAR-10 and check them.

    Parameters
    ----------
    folder : path
        Holds the unpacked files of the official Python version (``data_batch_1`` to ``data_batch_5``,
        ``test_batch``, ``batches.meta``) or of the binary version (the same with the suffix ``.bin``, and
        ``batches.meta.txt``), directly or in a subfolder ``cifar-10-batches-py`` or ``cifar-10-batches-bin``.

    Returns
    -------
    Dataset
        Named ``"CIFAR-10"``; either version gives the same images and the same ``identity()``.

    Raises
    ------
    DataError
        If a file is missing, cannot be read, is damaged, or holds something else. Nothing that a file says
        is ever executed, whoever wrote it, and no more memory is taken than a small multiple of its size.

    See Also
    --------
    tinygrad_cifar.data.fetch.fetch_cifar10 : Download the archive into a folder that this function reads.

    Notes
    -----
    "The CIFAR-10 dataset", https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> read_cifar10("no such folder")
    Traceback (most recent call last):
        ...
    tinygrad_cifar.data.dataset.DataError: there is no folder 'no such folder'
    """
    place, version = _find(Path(folder))
    names, declared = version.read_meta(place / version.meta)
    if names != CLASS_NAMES:
        raise DataError(f"{place / version.meta} does not name the ten classes of CIFAR-10; {_ADVICE}")
    batches = [version.read_batch(place / name) for name in version.batches]
    # The binary version declares no number; a file that was cut short is not the longest one.
    expected = max(len(batch) for batch in batches) if declared is None else declared
    for name, batch in zip(version.batches, batches, strict=True):
        if len(batch) != expected:
            raise DataError(f"{place / name} holds {len(batch)} images instead of {expected}; {_ADVICE}")
    return Dataset("CIFAR-10", CLASS_NAMES, tuple(batches[:TRAINING_BATCHES]), batches[TRAINING_BATCHES])


def _unpickled(path: Path) -> dict[str, Value]:
    content = _read_file(path)
    try:
        return unpickle(content, str(path))
    except DataError as error:
        raise DataError(f"{error}; {_ADVICE}") from error


def _read_pickled_batch(path: Path) -> Split:
    content = _unpickled(path)
    images, labels = content.get("data"), content.get("labels")
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != PIXELS:  # noqa: PLR2004
        raise DataError(f"{path} has no array 'data' of {PIXELS} values per image; {_ADVICE}")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{path} has no list 'labels' for its {len(images)} images; {_ADVICE}")
    return _split(path, images, labels)


def _read_pickled_meta(path: Path) -> tuple[tuple[str, ...], int | None]:
    content = _unpickled(path)
    names, declared = content.get("label_names"), content.get("num_cases_per_batch")
    return (
        tuple(_text(name) for name in names) if isinstance(names, list) else (),
        declared if isinstance(declared, int) else None,
    )


def _read_binary_batch(path: Path) -> Split:
    content = _read_file(path)
    if not content or len(content) % _RECORD:
        raise DataError(
            f"{path} has {len(content)} bytes, which are no whole number of records of {_RECORD}; {_ADVICE}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return _split(path, records[:, 1:], records[:, 0].tolist())


def _read_binary_meta(path: Path) -> tuple[tuple[str, ...], int | None]:
    return tuple(_text(_read_file(path)).split()), None


class _Version(NamedTuple):
    """One of the two forms in which CIFAR-10 is published."""

    subfolder: str
    batches: tuple[str, ...]
    meta: str
    read_batch: Callable[[Path], Split]
    read_meta: Callable[[Path], tuple[tuple[str, ...], int | None]]


_BATCHES = (*(f"data_batch_{number}" for number in range(1, TRAINING_BATCHES + 1)), "test_batch")
PYTHON_VERSION = _Version("cifar-10-batches-py", _BATCHES, "batches.meta", _read_pickled_batch, _read_pickled_meta)
_BINARY_VERSION = _Version(
    "cifar-10-batches-bin",
    tuple(f"{name}.bin" for name in _BATCHES),
    "batches.meta.txt",
    _read_binary_batch,
    _read_binary_meta,
)


def _find(folder: Path) -> tuple[Path, _Version]:
    """Return the place and the version of the files: of the first of four possibilities that has any."""
    try:
        if not folder.is_dir():
            raise DataError(f"there is no folder {str(folder)!r}")
        for place in (folder, *(folder / version.subfolder for version in (PYTHON_VERSION, _BINARY_VERSION))):
            for version in (PYTHON_VERSION, _BINARY_VERSION):
                if any((place / name).exists() for name in version.batches):
                    return place, version
    except OSError as error:
        raise DataError(f"cannot look into the folder {str(folder)!r}: {error.strerror or error}") from error
    raise DataError(f"the folder {str(folder)!r} holds no files of CIFAR-10; {_ADVICE}")


def _read_file(path: Path) -> bytes:
    """Read a file whole, unless its size or kind already says that it is none of CIFAR-10's."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise DataError(f"{path} is no regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} has {info.st_size} bytes, more than any file of CIFAR-10; {_ADVICE}")
        with path.open("rb") as file:
            return file.read(info.st_size)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_ADVICE}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _split(path: Path, images: npt.NDArray[np.uint8], labels: Sequence[object]) -> Split:
    classes = len(CLASS_NAMES)
    for index, label in enumerate(labels):
        if not (isinstance(label, int) and 0 <= label < classes):
            raise DataError(f"the label of image {index} in {path} is none of 0 to {classes - 1}; {_ADVICE}")
    return Split(np.ascontiguousarray(images), np.array(labels, np.int64))


def _text(name: object) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)
