"""Files that lie and processes that are killed, by the thousand: what became of each is counted.

    python -m tests.evidence.robustness [--inputs 10000] [--kills 50]

Every reader of the library is given good files that were changed or cut short, and files made to deceive it. Each must
end in the library's own error or in data; nothing but the reader's own folder may be written to, nothing may be
run, and memory must stay within the limit that the reader's row states.
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
    """One way into the library.

    Attributes
    ----------
    good
        A file that is read without complaint.
    read
        Given a path and the bytes to put there, puts them there, reads them, and returns what was found.
    own
        The library's errors for it.
    made
        Makes a malicious file.
    share
        How much of the budget it gets.
    limit
        The bytes of memory that may be taken for a file of a size.
    checked
        Whether the file has checksums: then a changed one is refused, or what it holds is the same.
    """

    good: bytes
    read: Callable[[Path, bytes], Any]
    own: tuple[type[Exception], ...]
    made: Callable[[Random], bytes]
    share: float
    limit: Callable[[int], float]
    checked: bool = False


# -- changing what is good ---------------------------------------------------------------------------------------------

_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def _place(rng: Random, size: int) -> int:
    """Choose a place anywhere, or near the ends, where files keep their structure."""
    near = rng.choice([0, 0, 1, 2])
    if near == 1:
        return rng.randrange(min(size, 400) + 1)
    if near == 2:
        return size - rng.randrange(min(size, 400) + 1)
    return rng.randrange(size + 1)


def changed(rng: Random, good: bytes) -> bytes:
    """Change one to eight things."""
    content = bytearray(good)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, count = _place(rng, len(content)), rng.choice([1, 1, 2, 4, 8, 30, 500])
        elsewhere = _place(rng, len(content))
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


def cut(rng: Random, good: bytes) -> bytes:
    """Cut it short, now and then at its start, or let it go on after its end."""
    end = _place(rng, len(good))
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


def lied(rng: Random, value: Any) -> Any:
    """Replace something, somewhere deep inside a JSON object, by nonsense."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: part for key, part in value.items() if key != name}
        if rng.random() < 0.05:
            return value | {rng.choice(["", "eta", "x" * 300]): rng.choice(_NONSENSE)}
        return value | {name: lied(rng, value[name])}
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.8:
        parts = list(value)
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, rng.choice(_NONSENSE))
            case _:
                parts[at] = lied(rng, parts[at])
        return parts
    return rng.choice(_NONSENSE)


def lied_array(rng: Random, array: np.ndarray) -> np.ndarray:  # noqa: PLR0911 (a way each)
    """Return another array in an array's place: of another shape, type, or of numbers that no training gives."""
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


def lied_checkpoint(rng: Random, good: bytes) -> bytes:
    """Make a checkpoint without a fault but for what it says."""
    arrays, text = _loaded(good)
    for _ in range(rng.choice([1, 1, 2, 4])):
        name = rng.choice([*arrays, "x"])
        match rng.randrange(5):
            case 0 if name in arrays:
                arrays[name] = lied_array(rng, arrays[name])
            case 1 if name in arrays:
                del arrays[name]
            case 2:
                arrays[rng.choice(["x", "model/x", "best/W", "optimiser/x", "optimiser/steps"])] = np.zeros(2)
            case _:
                text = lied(rng, text)
    return _saved(arrays, text)


def _saved(arrays: Any, text: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.npz"
        save_checkpoint(path, arrays, text)
        return path.read_bytes()


def _loaded(content: bytes) -> tuple[dict[str, np.ndarray], Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.npz"
        path.write_bytes(content)
        return load_checkpoint(path)


# -- what attackers make -----------------------------------------------------------------------------------------------


class Exploit:
    """Pickles as a call."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def exploit(rng: Random) -> Any:
    target = str(Path(tempfile.gettempdir()) / "hostile-was-here")
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


def made_pickle(rng: Random) -> bytes:  # noqa: PLR0911 (a way each)
    match rng.randrange(12):
        case 0 | 1:
            return pickle.dumps({"data": exploit(rng), "labels": [1]}, rng.randrange(6))
        case 2:
            return pickle.dumps(exploit(rng), rng.randrange(6))
        case 3:
            return rng.choice(list(MALFORMED.values()))
        case 4:
            return HEAD + rng.choice(list(UNNEEDED.values()))
        case 5 if rng.random() < 0.1:  # each takes a while
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


def made_binary(rng: Random) -> bytes:
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


def made_archive(rng: Random) -> bytes:
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
            return _lying_size(rng)
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


def _lying_size(rng: Random) -> bytes:
    member = tarfile.TarInfo(f"{_IN}/data_batch_1")
    member.size = rng.choice([10**9, 2**33, 2**60, 40_000_000, 40_000_001])
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def _header_bomb(rng: Random) -> bytes:
    """A header that claims, or has, megabytes of extended attributes or of a long name."""
    member = tarfile.TarInfo("././@LongLink")
    member.type = rng.choice([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
    member.size = rng.choice([10**6, 10**9, 2**40])
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(rng.choice([0, 10**6, 10**7, 10**8])), 1)


def made_checkpoint(rng: Random) -> bytes:  # noqa: PLR0911 (a way each)
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
            text = rng.choice([*tc.NO_TEXTS, exploit_bytes(rng), json.dumps(_DEEP).encode(), b"1" * 5000])
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
    """Let many entries of the list of contents point at one part."""
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
    checkpoint: Path, watch: Callable[[training.TrainingProgress], None] | None = None
) -> models.Perceptron:
    rng = np.random.Generator(np.random.MT19937(0))
    model = models.Perceptron([3, 2, 2], rng=rng, dropout=0.2)
    data = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    rate = schedules.Triangular(0.0, 0.1, 4)
    training.fit(
        model, optim.Adam(model.parameters(), rate), data, data, epochs=2, batch_size=4, rng=rng, patience=9,
        checkpoint=checkpoint, watch=watch,
    )  # fmt: skip
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


class OwnError(Exception):
    """What the command line said in one sentence."""


_OPTIONS = ["train", "softmax", "--epochs", "1", "--train-batches", "1", "--first", "100", "--no-figures"]


@functools.cache
def _drawn() -> Any:
    return builtin_dataset()


def _command(out: Path, *options: str) -> None:
    said = io.StringIO()
    with (
        patch("tinygrad_cifar.cli.common.builtin_dataset", _drawn),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        status = main([*_OPTIONS, "--out", str(out), *options])
    if status:
        sentence = said.getvalue()
        assert sentence.count("\n") == 1
        assert sentence[:-1].isprintable()
        assert "a fault of this program" not in sentence, sentence
        raise OwnError(sentence)


def _read_result(path: Path, content: bytes) -> Any:
    (path.parent / "result.json").write_bytes(content)
    _command(path.parent, "--resume")


def _read_trained(path: Path, content: bytes) -> Any:
    """Evaluate a model by the command line, which prints what it holds."""
    path.write_bytes(content)
    said = io.StringIO()
    with (
        patch("tinygrad_cifar.cli.common.builtin_dataset", _drawn),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        status = main(["evaluate", str(path)])
    text = said.getvalue()
    assert "\x1b" not in text, "a file steers the terminal"
    assert "a fault of this program" not in text, text
    if status:
        raise OwnError(text)


@functools.cache
def readers() -> dict[str, Reader]:
    """Return all ways in, each with a good file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _command(folder / "run")
        result, model = (folder / "run" / file for file in ("result.json", "parameters.npz"))
        result_bytes, model_bytes = result.read_bytes(), model.read_bytes()
        begun = _interrupted_checkpoint(folder / "begun.npz")
    checkpoint = _saved(
        {"W": np.arange(6.0).reshape(2, 3), "b": np.array(7, np.int32)}, {"epoch": 3, "rows": [[1.5, None]]}
    )
    python, binary = write_python_version, write_binary_version
    pickled, meta = batch_pickle(*_BATCHES[2]), meta_pickle(2)
    small = _small_model(model_bytes)

    def fields(size: int) -> float:
        return 100 * size + 16e6  # a character of JSON can be a list, and Python's own parser takes some megabytes

    return {
        "pickled batch": Reader(
            pickled, _read_version(python, "data_batch_3"), (DataError,), made_pickle, 0.2, lambda n: 2 * n + 40e6
        ),
        "pickled class names": Reader(
            meta, _read_version(python, "batches.meta"), (DataError,), made_pickle, 0.1, lambda n: 2 * n + 40e6
        ),
        "binary batch": Reader(
            batch_binary(*_BATCHES[2]), _read_version(binary, "data_batch_3.bin"), (DataError,), made_binary, 0.05,
            lambda n: 8 * n + 4e6,
        ),
        "archive": Reader(archive(ARCHIVED), _read_archive, (DataError,), made_archive, 0.1, lambda n: n + 8e6),
        "checkpoint": Reader(
            checkpoint, _read_checkpoint, (CheckpointError,), made_checkpoint, 0.25, fields, checked=True
        ),
        "resumed run": Reader(
            begun, _resume, (CheckpointError, training.TrainingDiverged), lambda rng: lied_checkpoint(rng, begun), 0.1,
            fields,
        ),
        "trained model": Reader(
            small, _read_model, (CheckpointError,), lambda rng: lied_checkpoint(rng, small), 0.1, fields
        ),
        "evaluate": Reader(
            model_bytes, _read_trained, (OwnError,), lambda rng: lied_checkpoint(rng, model_bytes), 0.02,
            lambda n: 100 * n + 400e6,
        ),
        "result of a run": Reader(
            result_bytes, _read_result, (OwnError,),
            lambda rng: json.dumps(lied(rng, json.loads(result_bytes))).encode(), 0.08, fields,
        ),
    }  # fmt: skip


def _small_model(content: bytes) -> bytes:
    """Return the model for images of four pixels: 30,000 weights would hide the structure of the file."""
    arrays, text = _loaded(content)
    arrays["model/W"] = arrays["model/W"][:4]
    return _saved(arrays | {name: arrays[name][:, :4] for name in ("pixels/mean", "pixels/std")}, text)


# -- under watch -------------------------------------------------------------------------------------------------------

_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "subprocess.Popen", "exec"}
_RUNS |= {"pickle.find_class", "socket.connect", "socket.bind", "ctypes.dlopen", "os.kill", "os.putenv", "os.chdir"}
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.rmdir", "os.chmod", "os.truncate"}
_CHANGES |= {"shutil.rmtree", "os.chown", "os.utime"}
_OF_TWO = {"os.rename", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class _Guard:
    """Notes what a reader does that no reader may do; Python calls it at every such event, for good."""

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
        """Tell whether a path, perhaps beside an open folder, is the reader's; a number is of a file opened before."""
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
def guarded(folder: Path) -> Iterator[list[str]]:
    """Collect what happens inside the block that must not."""
    guard = _guard()
    guard.folder, guard.seen = os.path.realpath(folder), []
    try:
        yield guard.seen
    finally:
        guard.folder = None


KINDS = ("changed", "cut", "made")


def fuzz(name: str, inputs: int, seed: int = 0) -> dict[str, Any]:
    """Give one reader as many files, and count what became of them.

    Returns
    -------
    dict
        ``inputs`` by kind; ``refused`` by the library's own error, ``read`` as data; and what must be 0: ``other
        errors``, ``wrong`` (read, but not what was written, from a file with checksums), ``code run``, ``over the
        limit`` of memory. ``most memory`` is the largest peak in bytes, ``complaints`` are the first of what is wrong.
    """
    reader = readers()[name]
    rng = Random(f"{name} {seed}")
    counts: dict[str, Any] = {"inputs": dict.fromkeys(KINDS, 0)}
    counts |= dict.fromkeys(
        ("refused", "read", "other errors", "wrong", "code run", "over the limit", "most memory"), 0
    )
    complaints: list[str] = []
    expected = _read_in_a_folder(reader, reader.good)[0]  # also imports whatever is imported late
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(inputs):
            kind = KINDS[i % 3]
            content = reader.made(rng) if kind == "made" else (changed if kind == "changed" else cut)(rng, reader.good)
            counts["inputs"][kind] += 1
            found, error, did, peak = _attempt(reader, content)
            faults = {
                "code run": bool(did),
                "over the limit": peak > reader.limit(len(content)),
                "other errors": error is not None and not isinstance(error, reader.own),
                "wrong": error is None and reader.checked and kind != "made" and found != expected,
            }
            counts["read" if error is None else "refused"] += not faults["other errors"]
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
            with guarded(folder) as did:
                found = reader.read(folder / "it.npz", content)
        except Exception as caught:  # noqa: BLE001 (looked at by who asked)
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


# -- killing -----------------------------------------------------------------------------------------------------------

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
    "adam": ["softmax", "--optimiser", "adam", "--epochs", "40", "--every", "3"],
}


class Killed(NamedTuple):
    """A started command: whether it was killed, or its status."""

    status: int | None
    sentence: str


def kill_counts(times: int, seed: int = 0) -> dict[str, Any]:
    """Kill training processes at random moments, resume each until it ends, and compare its files with those of a run
    that was left in peace.

    Returns
    -------
    dict
        ``kills``, by when they came (``before the first checkpoint``, ``in training``, ``at the end``); the ``runs``
        that ended ``same`` to the bit, or ``different``; and what must be 0: ``checkpoints lost`` or damaged,
        ``not resumed``.
    """
    rng = Random(seed)
    counts: dict[str, Any] = {"kills": 0, "before the first checkpoint": 0, "in training": 0, "at the end": 0}
    counts |= dict.fromkeys(("runs", "same", "different", "checkpoints lost", "not resumed"), 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_python_version(folder / "data", draw_batches(40))
        peace = {}
        while counts["kills"] < times:
            kind = list(RUNS)[counts["runs"] % len(RUNS)]
            if kind not in peace:
                peace[kind] = _left_in_peace(kind, data, folder / f"{kind} in peace")
            outcome, seconds = peace[kind]
            out = folder / f"run {counts['runs']}"
            _kill_until_it_ends(kind, data, out, seconds, rng, counts, min(8, times - counts["kills"]))
            counts["runs"] += 1
            if (out / "result.json").exists():
                counts["same" if outcome_of(out) == outcome else "different"] += 1
    return counts


def _kill_until_it_ends(
    kind: str, data: Path, out: Path, seconds: tuple[float, float], rng: Random, counts: dict[str, Any], kills: int
) -> None:
    """Kill a run so many times, unless it ends sooner, and then let it end."""
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
    """Train in a process; kill it so many seconds after its start, or after it has said that it begins to train."""
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


def _left_in_peace(kind: str, data: Path, out: Path) -> tuple[Any, tuple[float, float]]:
    """Return what a run ends with, and the seconds that it takes in all and from its first word on."""
    started = time.perf_counter()
    ended = _train(kind, data, out)
    if ended.status != 0:
        raise RuntimeError(ended.sentence)
    total = time.perf_counter() - started
    return outcome_of(out), (total, json.loads((out / "result.json").read_text())["seconds"] + 0.05)


def outcome_of(out: Path) -> Any:
    """Return everything that two runs must agree on, as bits and text."""
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
