"""What a worker does: one job, whose outcome is written to a file of its own, wholly or not at all.

A file that is there is an outcome that is known, so nothing is ever computed twice, whenever and however often a
session was stopped or killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.backprop import grad
from tinygrad_cifar.checkpoints import load_checkpoint, save_checkpoint
from tinygrad_cifar.checks import Check, Figure, checks_of_reports
from tinygrad_cifar.data import Dataset, builtin_dataset, read_cifar10
from tinygrad_cifar.experiments.declaration import GradientCheck, Job, Training
from tinygrad_cifar.gradcheck import relative_errors
from tinygrad_cifar.runs import Prepared, Settings, confusion_matrix, of_the_data, prepare, run
from tinygrad_cifar.tensor import from_numpy
from tinygrad_cifar.training import History, Measurement

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Trained:
    """The outcome of a training run.

    Attributes
    ----------
    scores : dict
        As of :meth:`tinygrad_cifar.runs.Result.to_json`.
    history : History
    arrays : dict
        ``confusion``: of the test images, if they were looked at; and of a linear model ``W``, its weights with one row
        for each pixel, and ``gradient``, that of the loss of all training images with respect to what it was trained
        by.
    cpu : float
        Seconds of the processor.
    """

    scores: dict[str, Any]
    history: History
    arrays: Mapping[str, Array]
    cpu: float

    def accuracy(self, quantity: str) -> float:
        """Return the accuracy that a :class:`~tinygrad_cifar.experiments.declaration.Number` names, in percent."""
        if quantity == "best validation":
            return 100 * float(np.nanmax(self.history.column("validation_accuracy")))
        return 100 * float(self.scores[f"{quantity}_accuracy"])


@dataclass(frozen=True)
class Checked:
    """The outcome of a gradient check.

    Attributes
    ----------
    setting : str
        On what, in a line.
    figures : list of Figure
    errors : ndarray
        Of report 002: the relative errors of W against the one-sided difference, ``(features, classes)``.
    cpu : float
        Seconds of the processor.
    """

    setting: str
    figures: list[Figure]
    errors: Array | None
    cpu: float


@dataclass(frozen=True)
class Do:
    """Do a job, unless its outcome is there: the objective of the "search" that all experiments are run as.

    Attributes
    ----------
    data : str
        ``builtin``, or the folder with CIFAR-10.
    folder : str
        Where outcomes are kept.
    jobs : mapping
        By their keys.
    """

    data: str
    folder: str
    jobs: Mapping[str, Job]

    def __call__(self, point: Mapping[str, Any]) -> float:
        job = self.jobs[point["job"]]
        path = outcome_path(Path(self.folder), job)
        if not path.exists():
            (_train if isinstance(job, Training) else _check)(job, self.data, path)  # type: ignore[arg-type]
        return 0.0


def outcome_path(folder: Path, job: Job) -> Path:
    """Return where the outcome of a job is kept."""
    return folder / f"{job.key}.npz"


def load_trained(folder: Path, job: Training) -> Trained:
    """Read what a training run left.

    Raises
    ------
    CheckpointError
        If the file is not there or damaged.
    """
    arrays, text = load_checkpoint(outcome_path(folder, job))
    rows = [Measurement(int(row[0]), *map(float, row[1:])) for row in text["rows"]]
    return Trained(text["scores"], History(rows, seconds=text["scores"]["seconds"]), arrays, text["cpu"])


def load_checked(folder: Path, job: GradientCheck) -> Checked:
    """Read what a gradient check left; raises as :func:`load_trained`."""
    arrays, text = load_checkpoint(outcome_path(folder, job))
    return Checked(text["setting"], [Figure(**figure) for figure in text["figures"]], arrays.get("errors"), text["cpu"])


def _train(job: Training, data: str, path: Path) -> None:
    prepared = _prepared(data, of_the_data(job.settings))
    started = time.process_time()
    result = run(job.settings, prepared, test=job.test)
    arrays = {}
    if job.test:
        arrays["confusion"] = confusion_matrix(result.model, prepared.test, len(prepared.dataset.class_names))
    if not job.settings.hidden:
        (weights,) = result.model.weights()
        X, labels = prepared.train
        (gradient,) = grad(result.model.loss(from_numpy(X), labels), [weights])
        arrays |= {"W": prepared.preprocessing.of_pixels(weights.numpy()), "gradient": gradient.numpy()}
    text = {
        "scores": result.to_json(),
        "rows": [list(asdict(row).values()) for row in result.history.rows],
        "cpu": time.process_time() - started,
    }
    save_checkpoint(path, arrays, text)


def _check(job: GradientCheck, data: str, path: Path) -> None:
    started = time.process_time()
    (check,) = checks_of_reports(job.kind, _dataset(data), reports=(job.report,), features=job.features)
    text = {
        "setting": check.setting,
        "figures": [asdict(figure) for figure in check.figures],
        "cpu": time.process_time() - started,
    }
    save_checkpoint(path, _matrix_of_errors(check), text)


def _matrix_of_errors(check: Check) -> dict[str, Array]:
    if check.report != "002":
        return {}
    first = check.comparisons[0]
    return {"errors": relative_errors(first.analytic, first.one_sided)}


@lru_cache(maxsize=2)  # at most 0.8 GB each, in float32
def _prepared(data: str, settings: Settings) -> Prepared:
    return prepare(_dataset(data), settings)


@lru_cache(maxsize=1)
def _dataset(data: str) -> Dataset:
    return builtin_dataset() if data == "builtin" else read_cifar10(data)
