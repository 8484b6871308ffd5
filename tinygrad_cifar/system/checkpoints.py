"""Checkpoints: named arrays and a JSON text in one file that is checked before it is believed.

The file is an uncompressed ``.npz`` archive, so NumPy alone can open it, and never a pickle. Reading allocates
no more than the size of the file: every array's header must agree with the bytes that are there, every part carries
its checksum, and the text lists the arrays, since an archive's own list of contents carries none.
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

_TEXT = "json"
_HEADER_LIMIT = 10_000


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read, or used: one sentence that says why."""


def save_checkpoint(path: Path | str, arrays: Mapping[str, Array], metadata: Any) -> None:
    """Write arrays and a JSON-serialisable object to ``path``, wholly or not at all.

    Raises
    ------
    CheckpointError
        If the file cannot be written; what was at ``path`` is then still there.

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
            raise CheckpointError(f"checkpoint {path}: an array's name must be text, not {name!r}")
        if array.dtype.kind not in "fiub":
            raise CheckpointError(f"checkpoint {path}: {name} is of {array.dtype}; only real numbers can be kept")
    if _TEXT in parts:
        raise CheckpointError(f"checkpoint {path}: no array can be called {_TEXT}, the name of the metadata")
    try:
        content = json.dumps({"arrays": list(parts), "text": metadata}, allow_nan=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: the metadata cannot be kept ({error})") from error
    parts[_TEXT] = np.frombuffer(content.encode(), dtype=np.uint8)
    left = ""
    try:
        left = "; the one before it is unharmed" if path.is_file() else ""
        with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in parts.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
                    np.lib.format.write_array(part, array, allow_pickle=False)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} could not be written ({error.strerror or error}){left}") from error


def load_checkpoint(path: Path | str) -> tuple[dict[str, Array], Any]:
    """Read what :func:`save_checkpoint` wrote.

    Returns
    -------
    arrays, text
        The named arrays and the JSON object.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is not, wholly and exactly, a checkpoint.

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
            raise CheckpointError(f"{path} is no regular file, so no checkpoint")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} could not be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise CheckpointError(f"checkpoint {path} is larger than the memory that is left") from error
    try:
        arrays = _arrays(content)
        known = json.loads(arrays.pop(_TEXT).tobytes())
        if known["arrays"] != list(arrays):
            raise ValueError("arrays are missing")  # noqa: TRY301 (one sentence for all)
        text = known["text"]
    except Exception as error:  # a damaged archive can fail in any way; none of them is the caller's business
        raise CheckpointError(
            f"{path} is not a whole checkpoint of this library ({error or type(error).__name__})"
        ) from error
    return arrays, text


def _arrays(content: bytes) -> dict[str, Array]:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("it claims to hold more than its own size")
        if entries and entries[0].header_offset:
            raise ValueError("something else comes first")  # perhaps an archive of which this one was a part
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(".npy"):
                raise ValueError(f"{entry.filename!r} is no plain array")
            arrays[entry.filename.removesuffix(".npy")] = _array(archive.read(entry))
    return arrays


def _array(content: bytes) -> Array:
    """Read one array in NumPy's format, after checking that its header speaks of the bytes that are there."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array is in version {version} of NumPy's format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER_LIMIT)
    if dtype.kind not in "fiub":
        raise ValueError(f"an array is of {dtype}")
    count = 1
    for size in shape:
        count *= int(size)
    body = content[file.tell() :]
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(body):
        raise ValueError(f"an array of shape {shape} comes with {len(body)} bytes")
    array = np.frombuffer(body, dtype=dtype, count=count)
    return array.reshape(shape, order="F" if fortran_order else "C").copy(order="C")
