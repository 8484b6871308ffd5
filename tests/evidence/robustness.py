"""Malformed files and killed processes: the outcome of each is counted.

    python -m tests.evidence.robustness [--inputs 10000] [--kills 50]

Every reader of the library receives valid files that were mutated or truncated, and malicious files. Each must either
return data or raise the library's error. It must write only to its own folder, run no code, and stay within its memory
limit.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from tests.data.test_unpickle import FRAGMENTS, GREEDY, HEAD, MALFORMED, UNNEEDED
from tests.support.official_format import (
    archive,
    batch_binary,
    batch_pickle,
    draw_batches,
    meta_pickle,
    python_version_files,
    write_binary_version,
    write_python_version,
)
from tests.system import test_checkpoints as tc
from tinygrad_cifar import models, optim, schedules, training
from tinygrad_cifar.cli import main
from tinygrad_cifar.course import model_files as trained
from tinygrad_cifar.data import DataError, builtin_dataset, read_cifar10
from tinygrad_cifar.data.fetch import fetch_cifar10
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

Random = random.Random
Outcome = dict[str, int]


class Reader(NamedTuple):
    """A function of the library that reads files.

    Attributes
    ----------
    good
        The content of a valid file.
    read
        Called with a path and the content to write there; writes and reads the file, and returns the data.
    own
        The errors that the library may raise.
    make
        Returns the content of a malicious file.
    share
        Its share of the files.
    limit
        The memory limit in bytes, as a function of the size of the file.
    checked
        Whether the file has checksums, so that a mutated file is rejected or gives the original data.
    """

    good: bytes
    read: Callable[[Path, bytes], Any]
    own: tuple[type[Exception], ...]
    make: Callable[[Random], bytes]
    share: float
    limit: Callable[[int], float]
    checked: bool = False


# -- mutating valid files ---------------------------------------------------------------------------------------------

_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def _choose_position(rng: Random, size: int) -> int:
    """Choose a position anywhere, or near the ends, where files have their structure."""
    near = rng.choice([0, 0, 1, 2])
    if near == 1:
        return rng.randrange(min(size, 400) + 1)
    if near == 2:
        return size - rng.randrange(min(size, 400) + 1)
    return rng.randrange(size + 1)


def mutate_bytes(rng: Random, good: bytes) -> bytes:
    """Return the content after one to eight mutations."""
    content = bytearray(good)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, count = _choose_position(rng, len(content)), rng.choice([1, 1, 2, 4, 8, 30, 500])
        elsewhere = _choose_position(rng, len(content))
        match rng.randrange(7):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 2:
                width = rng.choice([1, 2, 4, 8])
                number = rng.choice(_NUMBERS) & (256**width - 1)
                content[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
            case 3:
                del content[at : at + count]
            case 4:
                content[at:at] = rng.randbytes(count)
            case 5:
                content[at:at] = content[elsewhere : elsewhere + count]
            case 6:
                content[at : at + count] = content[elsewhere : elsewhere + count]
    return bytes(content)


def truncate(rng: Random, good: bytes) -> bytes:
    """Truncate the content, sometimes at its start, or append to it."""
    end = _choose_position(rng, len(good))
    match rng.randrange(6):
        case 0:
            return good[end:]
        case 1:
            return good + rng.randbytes(rng.randrange(1, 300))
        case _:
            return good[:end]


_DEEP = functools.reduce(lambda inner, _: [inner], range(200), [])
_NONSENSE: list[Any] = [
    *(None, True, False, -1, 0, 1, 7, 10**6, 10**30, 10**400, -(10**30), 2**63, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\x1b[2J", "inf", "a" * 5000, [], {}, [1, 2, 3], [[]], {"": None}, _DEEP),
    *({"bit_generator": "MT19937", "state": {"key": [0], "pos": 10**9}}, [0] * 624, ["PCG64"], "__import__('os')"),
]


def corrupt_json(rng: Random, value: Any) -> Any:
    """Replace a value somewhere inside a JSON object by nonsense."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: part for key, part in value.items() if key != name}
        if rng.random() < 0.05:
            return value | {rng.choice(["", "eta", "x" * 300]): rng.choice(_NONSENSE)}
        return value | {name: corrupt_json(rng, value[name])}
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.8:
        parts = list(value)
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, rng.choice(_NONSENSE))
            case _:
                parts[at] = corrupt_json(rng, parts[at])
        return parts
    return rng.choice(_NONSENSE)


def corrupt_array(rng: Random, array: np.ndarray) -> np.ndarray:  # noqa: PLR0911 (one for each case)
    """Return an array of another shape or dtype, or with values that training does not produce."""
    match rng.randrange(9):
        case 0:
            return array.reshape(-1)
        case 1:
            return array[..., :-1] if array.ndim else np.zeros(3)
        case 2:
            return array.astype(rng.choice(["f2", "i8", "u1", "?", "f4"]), copy=True)
        case 3:
            return np.full_like(array, rng.choice([np.nan, np.inf]) if array.dtype.kind == "f" else -1)
        case 4:
            return np.zeros((0, 5))
        case 5:
            return np.full(array.shape, 1e308)
        case 6:
            return np.array(rng.choice([-1, 2**62, 0]))
        case 7:
            return array.T.copy()
        case _:
            return np.zeros((*array.shape, 1))


def corrupt_checkpoint(rng: Random, good: bytes) -> bytes:
    """Return a well-formed checkpoint with corrupt contents."""
    arrays, text = _checkpoint_contents(good)
    for _ in range(rng.choice([1, 1, 2, 4])):
        name = rng.choice([*arrays, "x"])
        match rng.randrange(5):
            case 0 if name in arrays:
                arrays[name] = corrupt_array(rng, arrays[name])
            case 1 if name in arrays:
                del arrays[name]
            case 2:
                arrays[rng.choice(["x", "model/x", "best/W", "optimiser/x", "optimiser/steps"])] = np.zeros(2)
            case _:
                text = corrupt_json(rng, text)
    return _checkpoint_bytes(arrays, text)


def _checkpoint_bytes(arrays: Any, text: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.npz"
        save_checkpoint(path, arrays, text)
        return path.read_bytes()


def _checkpoint_contents(content: bytes) -> tuple[dict[str, np.ndarray], Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.npz"
        path.write_bytes(content)
        return load_checkpoint(path)


# -- malicious files --------------------------------------------------------------------------------------------------


class Exploit:
    """An object whose pickle is a call."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def exploit(rng: Random) -> Any:
    target = str(Path(tempfile.gettempdir()) / "exploit-was-here")
    return rng.choice(
        [
            Exploit(os.system, f"touch {target}"),
            Exploit(os.mkdir, target),
            Exploit(eval, f"open({target!r}, 'w')"),
            Exploit(exec, "import os; os._exit(3)"),
            Exploit(getattr, "x", "upper"),
            Exploit(subprocess.Popen, ["touch", target]),
            Exploit(np.load, target),
            Exploit(bytearray, 10**12),
            Exploit(np.zeros, (10**12,)),
        ]
    )


def make_pickle(rng: Random) -> bytes:  # noqa: PLR0911 (one for each case)
    match rng.randrange(12):
        case 0 | 1:
            return pickle.dumps({"data": exploit(rng), "labels": [1]}, rng.randrange(6))
        case 2:
            return pickle.dumps(exploit(rng), rng.randrange(6))
        case 3:
            return rng.choice(list(MALFORMED.values()))
        case 4:
            return HEAD + rng.choice(list(UNNEEDED.values()))
        case 5 if rng.random() < 0.1:  # slow
            return HEAD + rng.choice(list(GREEDY.values()))
        case 6:
            return meta_pickle(
                rng.choice([0, 1, 255, 65535]), [rng.randbytes(5) for _ in range(rng.choice([0, 9, 10]))]
            )
        case 7:
            labels = [rng.choice([0, 9, 10, 255, 300]) for _ in range(rng.randrange(4))]
            shape = rng.choice([(1, 3072), (2, 3072), (2, 3071), (3072, 2), (6144,)])
            return batch_pickle(np.zeros(shape, np.uint8), labels, fortran=rng.random() < 0.5)
        case _:
            return HEAD + b"".join(rng.choices(FRAGMENTS, k=rng.randrange(40))) + b"."


def make_binary(rng: Random) -> bytes:
    match rng.randrange(5):
        case 0:
            return bytes([rng.choice([9, 10, 255])]) + bytes(3072) + bytes(3073 * rng.randrange(3))
        case 1:
            return rng.randbytes(3073 * rng.randrange(3) + rng.randrange(2))
        case 2:
            return exploit_bytes(rng)
        case 3:
            return bytes(3073 * rng.choice([1, 2, 300]))
        case _:
            return rng.randbytes(rng.randrange(300))


def exploit_bytes(rng: Random) -> bytes:
    return pickle.dumps(exploit(rng), rng.randrange(6))


_IN = "cifar-10-batches-py"
_NAMES = [
    *(
        "../outside",
        "/tmp/outside",
        f"{_IN}/../../outside",
        f"{_IN}/data_batch_1",
        f"{_IN}/new",
        _IN,
        "",
        ".",
        "x" * 300,
    ),
    *(f"{_IN}/data_batch_1/", f"./{_IN}/data_batch_1", f"{_IN}//test_batch", f"{_IN}/readme.html", "a\0b", "\x1b[2J"),
]
_KINDS = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
_KINDS += [tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]


def make_archive(rng: Random) -> bytes:
    files = dict(ARCHIVED)
    match rng.randrange(8):
        case 0 | 1 | 2:
            members = []
            for _ in range(rng.choice([1, 1, 3])):
                member = tarfile.TarInfo(rng.choice(_NAMES))
                member.type, member.linkname = (
                    rng.choice(_KINDS),
                    rng.choice(["/etc/passwd", "../x", f"{_IN}/test_batch"]),
                )
                member.size = rng.choice([0, 0, 10, 5000]) if member.isreg() else 0
                member.mode = rng.choice([0o777, 0o4777, 0])
                members.append(member)
            return archive(files, *members)
        case 3:
            return _archive_with_false_size(rng)
        case 4:
            return _header_bomb(rng)
        case 5:
            del files[rng.choice(list(files))]
            return archive(files)
        case 6:
            return gzip.compress(exploit_bytes(rng)) if rng.random() < 0.5 else exploit_bytes(rng)
        case _:
            member = tarfile.TarInfo(f"{_IN}/data_batch_1")
            member.size = rng.choice([10**5, 10**6, 41_000_000 if rng.random() < 0.05 else 10**4])
            return archive({}, member)


def _archive_with_false_size(rng: Random) -> bytes:
    member = tarfile.TarInfo(f"{_IN}/data_batch_1")
    member.size = rng.choice([10**9, 2**33, 2**60, 40_000_000, 40_000_001])
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def _header_bomb(rng: Random) -> bytes:
    """Return an archive whose header claims, or has, megabytes of extended attributes or of a long name."""
    member = tarfile.TarInfo("././@LongLink")
    member.type = rng.choice([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
    member.size = rng.choice([10**6, 10**9, 2**40])
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(rng.choice([0, 10**6, 10**7, 10**8])), 1)


def make_checkpoint(rng: Random) -> bytes:  # noqa: PLR0911 (one for each case)
    body = rng.randbytes(rng.choice([0, 8, 16, 800]))
    match rng.randrange(10):
        case 0:
            return tc.archive({"W.npy": rng.choice(list(tc.HEADERS.values()))})
        case 1 | 2:
            shape = tuple(rng.choice([0, 1, 2, 100, -1, 2**31, 2**62, 2**70]) for _ in range(rng.randrange(4)))
            descr = rng.choice(["<f8", "|O", "<U1", "|V8", "<c16", "<M8[s]", ">f8", "f8", "", "|b1", "<f8" * 50])
            header = {"descr": descr, "fortran_order": rng.choice([True, False, 1, None]), "shape": shape}
            if rng.random() < 0.2:
                header |= {"x": 1}
            return tc.archive({"W.npy": tc.with_header(repr(header), body, rng.choice([(1, 0), (2, 0), (9, 9)]))})
        case 3:
            array = np.empty(1, dtype=object)
            array[0] = exploit(rng)
            return tc.archive({"W.npy": tc.npy(array, allow_pickle=True)})
        case 4:
            kind = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            return tc.archive({"W.npy": tc.npy(np.zeros(rng.choice([1, 1000, 300_000])))}, kind)
        case 5:
            return tc.archive({rng.choice(_NAMES).replace("\0", "") or "W": tc.npy(np.ones(2))})
        case 6:
            text = rng.choice([*tc.INVALID_METADATA, exploit_bytes(rng), json.dumps(_DEEP).encode(), b"1" * 5000])
            return tc.archive({"W.npy": tc.npy(np.ones(2))}, text=text)
        case 7:
            return _shared_entries(rng, tc.archive({"W.npy": tc.npy(np.zeros(2000))}))
        case 8:
            return exploit_bytes(rng)
        case _:
            expression = rng.choice(
                ["__import__('os').system('true')", "(" * 300, "[" * 3000 + "]" * 3000, "1" * 9000, "\0"]
            )
            return tc.archive({"W.npy": tc.with_header(expression, body)})


def _shared_entries(rng: Random, content: bytes) -> bytes:
    """Return an archive in which many entries of the central directory refer to one file."""
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start : content.index(b"PK\x01\x02", start + 1)]
    count = rng.choice([2, 30, 1000])
    entries = entry * count + content[start + len(entry) : end]
    trailer = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count + 1, count + 1, len(entries), start, 0)
    return content[:start] + entries + trailer


# -- the readers -------------------------------------------------------------------------------------------------------

_BATCHES = draw_batches(2)
ARCHIVED = python_version_files(_BATCHES)


def _read_archive(path: Path, content: bytes) -> Any:
    folder = path.parent / "fetched"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz.part").write_bytes(content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return fetch_cifar10(folder, mirrors=(), md5=digest, size=len(content))


def _read_version(write: Callable[..., Path], name: str) -> Callable[[Path, bytes], Any]:
    def read(path: Path, content: bytes) -> Any:
        folder = path.parent / "data"
        if not folder.exists():
            write(folder, _BATCHES)
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        try:
            return read_cifar10(folder).identity()
        finally:
            (folder / name).write_bytes(good)

    return read


def _read_checkpoint(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    try:
        arrays, text = load_checkpoint(path)
    finally:
        assert path.read_bytes() == content, "the reader changed the file"
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, json.dumps(text)


def _train_perceptron(
    checkpoint: Path, callback: Callable[[training.TrainingProgress], None] | None = None
) -> models.Perceptron:
    rng = np.random.Generator(np.random.MT19937(0))
    model = models.Perceptron([3, 2, 2], rng=rng, dropout=0.2)
    data = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    rate = schedules.Triangular(0.0, 0.1, 4)
    training.fit(
        model,
        optim.Adam(model.parameters(), rate),
        data,
        data,
        epochs=2,
        batch_size=4,
        rng=rng,
        patience=9,
        checkpoint=checkpoint,
        callback=callback,
    )
    return model


def _interrupted_checkpoint(path: Path) -> bytes:
    """Return the checkpoint of a run that was interrupted in its second epoch."""

    def stop(progress: training.TrainingProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        _train_perceptron(path, stop)
    return path.read_bytes()


def _resume(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    try:
        _train_perceptron(path)
    except CheckpointError:
        assert path.read_bytes() == content, "a refused checkpoint was changed"
        raise


def _read_model(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    kept = trained.load_model(path)
    kept.model.predict(np.zeros((1, kept.preprocessing.mean.size), kept.settings.dtype))


class CommandLineError(Exception):
    """The one-line error message of the command line."""


_OPTIONS = ["train", "softmax", "--epochs", "1", "--train-batches", "1", "--train-size", "100", "--no-figures"]


@functools.cache
def _dataset() -> Any:
    return builtin_dataset()


def _command(out: Path, *options: str) -> None:
    said = io.StringIO()
    with (
        patch("tinygrad_cifar.data.builtin_dataset", _dataset),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        status = main([*_OPTIONS, "--out", str(out), *options])
    if status:
        sentence = said.getvalue()
        assert sentence.count("\n") == 1
        assert sentence[:-1].isprintable()
        assert "internal error" not in sentence, sentence
        raise CommandLineError(sentence)


def _read_result(path: Path, content: bytes) -> Any:
    (path.parent / "result.json").write_bytes(content)
    _command(path.parent, "--resume")


def _read_trained(path: Path, content: bytes) -> Any:
    """Evaluate a model with the command line, which prints its contents."""
    path.write_bytes(content)
    said = io.StringIO()
    with (
        patch("tinygrad_cifar.data.builtin_dataset", _dataset),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        status = main(["evaluate", str(path)])
    text = said.getvalue()
    assert "\x1b" not in text, "a file controls the terminal"
    assert "internal error" not in text, text
    if status:
        raise CommandLineError(text)


@functools.cache
def readers() -> dict[str, Reader]:
    """Return all readers, each with a valid file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _command(folder / "run")
        result, model = (folder / "run" / file for file in ("result.json", "parameters.npz"))
        result_bytes, model_bytes = result.read_bytes(), model.read_bytes()
        begun = _interrupted_checkpoint(folder / "begun.npz")
    checkpoint = _checkpoint_bytes(
        {"W": np.arange(6.0).reshape(2, 3), "b": np.array(7, np.int32)}, {"epoch": 3, "rows": [[1.5, None]]}
    )
    python, binary = write_python_version, write_binary_version
    pickled, meta = batch_pickle(*_BATCHES[2]), meta_pickle(2)
    small = _small_model(model_bytes)

    def fields(size: int) -> float:
        return 100 * size + 16e6  # a character of JSON can be a list, and Python's own parser takes some megabytes

    return {
        "pickled batch": Reader(
            pickled, _read_version(python, "data_batch_3"), (DataError,), make_pickle, 0.2, lambda n: 2 * n + 40e6
        ),
        "pickled class names": Reader(
            meta, _read_version(python, "batches.meta"), (DataError,), make_pickle, 0.1, lambda n: 2 * n + 40e6
        ),
        "binary batch": Reader(
            batch_binary(*_BATCHES[2]),
            _read_version(binary, "data_batch_3.bin"),
            (DataError,),
            make_binary,
            0.05,
            lambda n: 8 * n + 4e6,
        ),
        "archive": Reader(archive(ARCHIVED), _read_archive, (DataError,), make_archive, 0.1, lambda n: n + 8e6),
        "checkpoint": Reader(
            checkpoint, _read_checkpoint, (CheckpointError,), make_checkpoint, 0.25, fields, checked=True
        ),
        "resumed run": Reader(
            begun,
            _resume,
            (CheckpointError, training.TrainingDiverged),
            lambda rng: corrupt_checkpoint(rng, begun),
            0.1,
            fields,
        ),
        "trained model": Reader(
            small, _read_model, (CheckpointError,), lambda rng: corrupt_checkpoint(rng, small), 0.1, fields
        ),
        "evaluate": Reader(
            model_bytes,
            _read_trained,
            (CommandLineError,),
            lambda rng: corrupt_checkpoint(rng, model_bytes),
            0.02,
            lambda n: 100 * n + 400e6,
        ),
        "result of a run": Reader(
            result_bytes,
            _read_result,
            (CommandLineError,),
            lambda rng: json.dumps(corrupt_json(rng, json.loads(result_bytes))).encode(),
            0.08,
            fields,
        ),
    }


def _small_model(content: bytes) -> bytes:
    """Return the model for images of four pixels, so that the structure of the file outweighs its 30,000 weights."""
    arrays, text = _checkpoint_contents(content)
    arrays["model/W"] = arrays["model/W"][:4]
    return _checkpoint_bytes(arrays | {name: arrays[name][:, :4] for name in ("pixels/mean", "pixels/std")}, text)


# -- side effects ------------------------------------------------------------------------------------------------------

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


KINDS = ("mutated", "truncated", "malicious")


def fuzz(name: str, inputs: int, seed: int = 0) -> dict[str, Any]:
    """Run one reader on ``inputs`` files, and count the outcomes.

    Returns
    -------
    dict
        ``inputs`` by kind; ``rejected`` by the library's error, ``read`` as data; and counts that must be 0: ``other
        errors``, ``wrong`` (data other than the original, from a file with checksums), ``code run``, ``over the
        limit`` of memory. ``most memory`` is the largest peak in bytes, ``complaints`` describes the first failures.
    """
    reader = readers()[name]
    rng = Random(f"{name} {seed}")
    counts: dict[str, Any] = {"inputs": dict.fromkeys(KINDS, 0)}
    counts |= dict.fromkeys(
        ("rejected", "read", "other errors", "wrong", "code run", "over the limit", "most memory"), 0
    )
    complaints: list[str] = []
    expected = _read_in_a_folder(reader, reader.good)[0]  # also runs the late imports
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(inputs):
            kind = KINDS[i % 3]
            content = (
                reader.make(rng)
                if kind == "malicious"
                else (mutate_bytes if kind == "mutated" else truncate)(rng, reader.good)
            )
            counts["inputs"][kind] += 1
            found, error, did, peak = _attempt(reader, content)
            faults = {
                "code run": bool(did),
                "over the limit": peak > reader.limit(len(content)),
                "other errors": error is not None and not isinstance(error, reader.own),
                "wrong": error is None and reader.checked and kind != "malicious" and found != expected,
            }
            counts["read" if error is None else "rejected"] += not faults["other errors"]
            counts["most memory"] = max(counts["most memory"], peak)
            for fault, happened in faults.items():
                counts[fault] += happened
                if happened:
                    complaints.append(
                        f"{name}, {kind} {i}: {fault}: {did or ''} {peak} {type(error).__name__}: {error!s:.300}"
                    )
    return counts | {"complaints": complaints[:5]}


def _attempt(reader: Reader, content: bytes) -> tuple[Any, Exception | None, list[str], int]:
    error: Exception | None = None
    found, did, peak = None, [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracemalloc.start()
        try:
            with watch_side_effects(folder) as did:
                found = reader.read(folder / "it.npz", content)
        except Exception as caught:  # noqa: BLE001 (examined by the caller)
            error = caught
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return found, error, did, peak


def _read_in_a_folder(reader: Reader, content: bytes) -> tuple[Any, None]:
    with tempfile.TemporaryDirectory() as name:
        return reader.read(Path(name) / "it.npz", content), None


def fuzz_counts(budget: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Share a number of inputs among all readers; see :func:`fuzz`."""
    return {name: fuzz(name, max(3, round(budget * reader.share)), seed) for name, reader in readers().items()}


# -- killed runs -------------------------------------------------------------------------------------------------------

_RUN = ["--train-batches", "1", "2", "--validation-batch", "3", "--batch-size", "10", "--no-figures"]
RUNS = {
    "two-layer": ["two-layer", "--hidden", "8", "--epochs", "40"],
    "perceptron": [
        *(
            "perceptron",
            "--hidden",
            "6",
            "5",
            "--epochs",
            "30",
            "--dropout",
            "0.2",
            "--momentum",
            "0.9",
            "--patience",
            "25",
        ),
        *("--flip", "--shift", "2", "--dtype", "float64"),
    ],
    "adam": ["softmax", "--optimiser", "adam", "--epochs", "40", "--measure-every", "3"],
}


class Killed(NamedTuple):
    """The result of a command: its exit status, or None if it was killed, and its output."""

    status: int | None
    sentence: str


def kill_counts(times: int, seed: int = 0) -> dict[str, Any]:
    """Kill training processes at random moments, resume each until it ends, and compare its files with those of an
    uninterrupted run.

    Returns
    -------
    dict
        ``kills``, by when they came (``before the first checkpoint``, ``in training``, ``at the end``); the ``runs``
        that ended bit-for-bit the ``same``, or ``different``; and counts that must be 0: ``checkpoints lost``,
        ``not resumed``.
    """
    rng = Random(seed)
    counts: dict[str, Any] = {"kills": 0, "before the first checkpoint": 0, "in training": 0, "at the end": 0}
    counts |= dict.fromkeys(("runs", "same", "different", "checkpoints lost", "not resumed"), 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_python_version(folder / "data", draw_batches(40))
        uninterrupted = {}
        while counts["kills"] < times:
            kind = list(RUNS)[counts["runs"] % len(RUNS)]
            if kind not in uninterrupted:
                uninterrupted[kind] = _run_uninterrupted(kind, data, folder / f"{kind} uninterrupted")
            outcome, seconds = uninterrupted[kind]
            out = folder / f"run {counts['runs']}"
            _kill_until_finished(kind, data, out, seconds, rng, counts, min(8, times - counts["kills"]))
            counts["runs"] += 1
            if (out / "result.json").exists():
                counts["same" if run_outcome(out) == outcome else "different"] += 1
    return counts


def _kill_until_finished(
    kind: str, data: Path, out: Path, seconds: tuple[float, float], rng: Random, counts: dict[str, Any], kills: int
) -> None:
    """Kill a run up to ``kills`` times, and then let it finish."""
    checkpoint = out / "checkpoint.npz"
    begun = False
    while True:
        resume = ["--resume"] * (checkpoint.exists() or (out / "result.json").exists())
        until = None
        if kills > 0:
            from_the_start = rng.random() < 0.25
            until = (from_the_start, rng.uniform(0, seconds[0 if from_the_start else 1]))
        ended = _train(kind, data, out, *resume, kill=until)
        if ended.status is not None:
            counts["not resumed"] += ended.status != 0
            return
        kills -= 1
        counts["kills"] += 1
        if checkpoint.exists():
            begun = True
            with contextlib.suppress(CheckpointError):
                load_checkpoint(checkpoint)
                counts["at the end" if (out / "parameters.npz").exists() else "in training"] += 1
                continue
            counts["checkpoints lost"] += 1
        elif (out / "result.json").exists():
            counts["at the end"] += 1
        else:
            counts["before the first checkpoint"] += 1
            counts["checkpoints lost"] += begun


def _train(kind: str, data: Path, out: Path, *options: str, kill: tuple[bool, float] | None = None) -> Killed:
    """Train in a process; kill it after ``kill[1]`` seconds, from its start if ``kill[0]``, else from training."""
    command = [
        sys.executable,
        "-m",
        "tinygrad_cifar",
        "train",
        *RUNS[kind],
        *_RUN,
        "--data",
        str(data),
        "--out",
        str(out),
    ]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        if kill is not None:
            if not kill[0]:
                next((line for line in process.stdout if line.startswith("CIFAR-10")), None)
            time.sleep(kill[1])
            process.kill()
        said, complaint = process.communicate()
    return Killed(None if process.returncode < 0 else process.returncode, said + complaint)


def _run_uninterrupted(kind: str, data: Path, out: Path) -> tuple[Any, tuple[float, float]]:
    """Return the outcome of a run, and the seconds that it takes in total and in training."""
    started = time.perf_counter()
    ended = _train(kind, data, out)
    if ended.status != 0:
        raise RuntimeError(ended.sentence)
    total = time.perf_counter() - started
    return run_outcome(out), (total, json.loads((out / "result.json").read_text())["seconds"] + 0.05)


def run_outcome(out: Path) -> Any:
    """Return the data that must be identical for two runs, as bytes and text."""
    arrays, text = load_checkpoint(out / "parameters.npz")
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    return (
        {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()},
        json.dumps(text),
        (out / "history.csv").read_text(),
        result,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    options = parser.parse_args()
    counts = {"files": fuzz_counts(options.inputs), "kills": kill_counts(options.kills)}
    sys.stdout.write(json.dumps(counts, indent=2) + "\n")
