"""Reader of CIFAR-10 from the files of the official Python or binary version."""

from __future__ import annotations

import hashlib
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

# Names of the data in all output. Only the digests of the files of the official Python version are known here.
OFFICIAL = "CIFAR-10"
BINARY = "CIFAR-10 (binary version, not verified)"
OTHER = "CIFAR-10 format, not the official files"

# MD5 digests of the official files, as other libraries verify them.
_OFFICIAL_MD5 = (
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)
_OFFICIAL_SIZE = 10_000  # images of a batch

# The official files have 31 MB, and twice that if Python 3 has written them with protocol 2. Larger files are rejected
# without reading them.
MAX_FILE_BYTES = 65_000_000

_RECORD = 1 + PIXELS
_ADVICE = "`tinygrad-cifar fetch DIR` downloads a valid copy"


def read_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """Read and validate the 60,000 images of CIFAR-10.

    Parameters
    ----------
    folder : path
        Folder with the files of the official Python version (``data_batch_1`` to ``data_batch_5``, ``test_batch``,
        ``batches.meta``) or of the binary version (the same with the suffix ``.bin``, and ``batches.meta.txt``),
        directly or in a subfolder ``cifar-10-batches-py`` or ``cifar-10-batches-bin``.

    Returns
    -------
    Dataset
        The data, named ``"CIFAR-10"`` only if the digests are those of the official files of the Python version; files
        that have been rewritten or changed are named ``"CIFAR-10 format, not the official files"``. The digests of the
        official binary version are not known here, so its name says that it is not verified. Both versions give the
        same images and the same digest in ``identity()``.

    Raises
    ------
    DataError
        If a file is missing, unreadable, damaged, or not one of CIFAR-10. No content of a file is executed, and memory
        use is limited to a small multiple of the file's size.

    See Also
    --------
    tinygrad_cifar.data.fetch.fetch_cifar10 : Download the files.

    Notes
    -----
    "The CIFAR-10 dataset", https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> read_cifar10("missing")
    Traceback (most recent call last):
        ...
    tinygrad_cifar.data.dataset.DataError: folder 'missing' does not exist
    """
    found, version = _find_files(Path(folder))
    names, declared = version.read_meta(found / version.meta)
    if names != CLASS_NAMES:
        raise DataError(f"{found / version.meta} does not contain the class names of CIFAR-10; {_ADVICE}")
    contents = [_read_file(found / name) for name in version.batches]
    batches = [version.read_batch(found / name, c) for name, c in zip(version.batches, contents, strict=True)]
    # The binary version does not declare the number of images, so the longest batch is assumed to be complete.
    expected = max(len(batch) for batch in batches) if declared is None else declared
    for name, batch in zip(version.batches, batches, strict=True):
        if len(batch) != expected:
            raise DataError(f"{found / name} must contain {expected} images; got {len(batch)}; {_ADVICE}")
    name = _name(version, batches, contents)
    return Dataset(name, CLASS_NAMES, tuple(batches[:TRAINING_BATCHES]), batches[TRAINING_BATCHES])


def _name(version: _Version, batches: Sequence[Split], contents: Sequence[bytes]) -> str:
    """Return the name that says whether the files are the official ones."""
    if any(len(batch) != _OFFICIAL_SIZE for batch in batches):
        return OTHER
    if version is _BINARY_VERSION:
        labels = np.concatenate([batch.labels for batch in batches])
        counts = [np.bincount(group, minlength=len(CLASS_NAMES)) for group in (labels, batches[-1].labels)]
        is_balanced = all(np.ptp(count) == 0 for count in counts)  # as many images of each class
        return BINARY if is_balanced else OTHER
    digests = (hashlib.md5(content, usedforsecurity=False).hexdigest() for content in contents)
    return OFFICIAL if all(map(str.__eq__, digests, _OFFICIAL_MD5)) else OTHER


def _read_dict(path: Path, content: bytes) -> dict[str, Value]:
    try:
        return unpickle(content, str(path))
    except DataError as error:
        raise DataError(f"{error}; {_ADVICE}") from error


def _read_pickled_batch(path: Path, file: bytes) -> Split:
    content = _read_dict(path, file)
    images, labels = content.get("data"), content.get("labels")
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != PIXELS:  # noqa: PLR2004
        raise DataError(f"{path} does not contain an array 'data' with {PIXELS} values per image; {_ADVICE}")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{path} does not contain a list 'labels' of {len(images)} labels; {_ADVICE}")
    return _make_split(path, images, labels)


def _read_pickled_meta(path: Path) -> tuple[tuple[str, ...], int | None]:
    content = _read_dict(path, _read_file(path))
    names, declared = content.get("label_names"), content.get("num_cases_per_batch")
    return (
        tuple(_decode(name) for name in names) if isinstance(names, list) else (),
        declared if isinstance(declared, int) else None,
    )


def _read_binary_batch(path: Path, content: bytes) -> Split:
    if not content or len(content) % _RECORD:
        raise DataError(
            f"{path} has {len(content)} bytes, which is not a multiple of the record size, {_RECORD}; {_ADVICE}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return _make_split(path, records[:, 1:], records[:, 0].tolist())


def _read_binary_meta(path: Path) -> tuple[tuple[str, ...], int | None]:
    return tuple(_decode(_read_file(path)).split()), None


class _Version(NamedTuple):
    """File names and readers of one of the two versions of CIFAR-10."""

    subfolder: str
    batches: tuple[str, ...]
    meta: str
    read_batch: Callable[[Path, bytes], Split]
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


def _find_files(folder: Path) -> tuple[Path, _Version]:
    """Return the folder and version of the files: the first of four combinations with any batch."""
    try:
        if folder.is_file():
            raise DataError(f"{folder} is not a folder; `tinygrad-cifar fetch DIR --from FILE` unpacks an archive")
        if not folder.is_dir():
            raise DataError(f"folder {str(folder)!r} does not exist")
        for candidate in (folder, *(folder / version.subfolder for version in (PYTHON_VERSION, _BINARY_VERSION))):
            for version in (PYTHON_VERSION, _BINARY_VERSION):
                if any((candidate / name).exists() for name in version.batches):
                    return candidate, version
    except OSError as error:
        raise DataError(f"folder {str(folder)!r} cannot be read: {error.strerror or error}") from error
    raise DataError(f"folder {str(folder)!r} does not contain CIFAR-10; {_ADVICE}")


def _read_file(path: Path) -> bytes:
    """Return the content of a file, after checking that it is a regular file of acceptable size."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise DataError(f"{path} is not a regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} has {info.st_size} bytes, more than any file of CIFAR-10; {_ADVICE}")
        with path.open("rb") as file:
            return file.read(info.st_size)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_ADVICE}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _make_split(path: Path, images: npt.NDArray[np.uint8], labels: Sequence[object]) -> Split:
    classes = len(CLASS_NAMES)
    for index, label in enumerate(labels):
        if not (isinstance(label, int) and 0 <= label < classes):
            raise DataError(f"the label of image {index} in {path} is not from 0 to {classes - 1}; {_ADVICE}")
    return Split(np.ascontiguousarray(images), np.array(labels, np.int64))


def _decode(name: object) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)
