"""The functions of the library that read files, each with a valid file and its limits."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from tests.evidence.robustness.malicious_files import (
    ARCHIVED,
    BATCHES,
    make_archive,
    make_binary,
    make_checkpoint,
    make_pickle,
)
from tests.evidence.robustness.mutated_files import (
    checkpoint_bytes,
    checkpoint_contents,
    corrupt_checkpoint,
    corrupt_json,
)
from tests.support.official_format import (
    archive,
    batch_binary,
    batch_pickle,
    meta_pickle,
    write_binary_version,
    write_python_version,
)
from tinygrad_cifar import models, optim, schedules, training
from tinygrad_cifar.cli import main
from tinygrad_cifar.course import model_files as trained
from tinygrad_cifar.data import DataError, builtin_dataset, read_cifar10
from tinygrad_cifar.data.fetch import fetch_cifar10
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint


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
    make: Callable[[random.Random], bytes]
    share: float
    limit: Callable[[int], float]
    checked: bool = False


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
            write(folder, BATCHES)
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
    checkpoint = checkpoint_bytes(
        {"W": np.arange(6.0).reshape(2, 3), "b": np.array(7, np.int32)}, {"epoch": 3, "rows": [[1.5, None]]}
    )
    python, binary = write_python_version, write_binary_version
    pickled, meta = batch_pickle(*BATCHES[2]), meta_pickle(2)
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
            batch_binary(*BATCHES[2]),
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
    arrays, text = checkpoint_contents(content)
    arrays["model/W"] = arrays["model/W"][:4]
    return checkpoint_bytes(arrays | {name: arrays[name][:, :4] for name in ("pixels/mean", "pixels/std")}, text)
