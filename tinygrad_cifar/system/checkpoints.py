"""Checkpoints: named arrays and JSON metadata in one file that is verified when it is read.

The file is an uncompressed ``.npz`` archive, which ``numpy.load`` can open, without pickles. Reading allocates at most
a few times the size of the file: the header of every array must match the bytes present, every member has a checksum,
and the metadata list the arrays, since the directory of an archive has no checksum.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.system.files import atomic_write

Array = np.ndarray[Any, np.dtype[Any]]

_METADATA = "json"
_HEADER_LIMIT = 10_000


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or used."""


def save_checkpoint(path: Path | str, arrays: Mapping[str, Array], metadata: Any) -> None:
    """Write arrays and a JSON-serialisable object to ``path`` atomically.

    Parameters
    ----------
    path : str or Path
        File to create or replace.
    arrays : mapping of str to ndarray
        Real arrays of any shape. The name ``json`` is reserved.
    metadata : object
        Any object that ``json.dumps`` accepts.

    Raises
    ------
    CheckpointError
        If the file cannot be written or an argument cannot be stored. A file at ``path`` is then unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "run.npz"
    ...     save_checkpoint(path, {"W": np.ones(2)}, {"epoch": 3})
    ...     load_checkpoint(path)
    ({'W': array([1., 1.])}, {'epoch': 3})
    """
    path = Path(path)
    parts = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in parts.items():
        if not isinstance(name, str):
            raise CheckpointError(f"checkpoint {path}: names of arrays must be strings; got {name!r}")
        if array.dtype.kind not in "fiub":
            raise CheckpointError(f"checkpoint {path}: {name} must be real; got {array.dtype}")
    if _METADATA in parts:
        raise CheckpointError(f"checkpoint {path}: the name {_METADATA} is reserved for the metadata; rename the array")
    try:
        content = json.dumps({"arrays": list(parts), "text": metadata}, allow_nan=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: metadata must be JSON-serialisable ({error})") from error
    parts[_METADATA] = np.frombuffer(content.encode(), dtype=np.uint8)
    note = ""
    try:
        note = "; the previous checkpoint is unchanged" if path.is_file() else ""
        with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in parts.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
                    np.lib.format.write_array(part, array, allow_pickle=False)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} could not be written ({error.strerror or error}){note}") from error


def load_checkpoint(path: Path | str) -> tuple[dict[str, Array], Any]:
    """Read a checkpoint written by :func:`save_checkpoint`.

    Parameters
    ----------
    path : str or Path
        File to read.

    Returns
    -------
    arrays : dict of str to ndarray
        Arrays by name.
    metadata : object
        The JSON object.

    Raises
    ------
    CheckpointError
        If the file does not exist or is not a complete, undamaged checkpoint.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "run.npz"
    ...     save_checkpoint(path, {}, ["no arrays"])
    ...     load_checkpoint(path)
    ({}, ['no arrays'])
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # reading a folder fails by itself
            raise CheckpointError(f"{path} is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} could not be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise CheckpointError(f"checkpoint {path} is larger than the available memory") from error
    try:
        arrays = _arrays(content)
        stored = json.loads(arrays.pop(_METADATA).tobytes())
        if stored["arrays"] != list(arrays):
            raise ValueError("arrays are missing")  # noqa: TRY301 (handled with all others)
        metadata = stored["text"]
    except MemoryError as error:  # its arrays are no larger than the file, so it may be undamaged
        raise CheckpointError(f"checkpoint {path} is larger than the available memory") from error
    except Exception as error:  # a damaged archive may raise any exception
        raise CheckpointError(
            f"{path} is not a complete checkpoint of this library ({error or type(error).__name__})"
        ) from error
    return arrays, metadata


def _arrays(content: bytes) -> dict[str, Array]:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("its entries are larger than the file")
        if entries and entries[0].header_offset:
            raise ValueError("it does not start with its first entry")  # such as an archive inside a truncated one
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(".npy"):
                raise ValueError(f"{entry.filename!r} is not an uncompressed array")
            arrays[entry.filename.removesuffix(".npy")] = _array(archive.read(entry))
    return arrays


def _array(content: bytes) -> Array:
    """Read one array in NumPy's format, after checking that its header matches the bytes present."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array has version {version} of NumPy's format, not (1, 0)")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER_LIMIT)
    if dtype.kind not in "fiub":
        raise ValueError(f"an array has the type {dtype}, which is not real")
    count = 1
    for size in shape:
        count *= int(size)
    body = content[file.tell() :]
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(body):
        raise ValueError(f"an array of shape {shape} has {len(body)} bytes")
    array = np.frombuffer(body, dtype=dtype, count=count)
    return array.reshape(shape, order="F" if fortran_order else "C").copy(order="C")
