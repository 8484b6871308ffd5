"""Training processes that are killed at random moments and resumed, compared with uninterrupted ones."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.official_format import draw_batches, write_python_version
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint

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
    rng = random.Random(seed)
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
    kind: str,
    data: Path,
    out: Path,
    seconds: tuple[float, float],
    rng: random.Random,
    counts: dict[str, Any],
    kills: int,
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
