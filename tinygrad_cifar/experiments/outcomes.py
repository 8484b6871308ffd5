"""Where outcomes are kept: a file for each job, which says what it is of, and is believed only if that is wanted.

A file's name says what should be in it, not what is: files are copied, moved and damaged. So each holds its job and the
digest of the data, and one that is of another job, or not whole, counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tinygrad_cifar.course.training import History, Measurement
from tinygrad_cifar.experiments.declaration import GradientCheckJob, Job, TrainingJob
from tinygrad_cifar.experiments.report_checks import CheckMetric
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

Array = np.ndarray[Any, np.dtype[Any]]
Outcome = TypeVar("Outcome")


class OutcomeError(Exception):
    """A file that does not hold the outcome that is wanted: one sentence that names it."""


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome of a training run.

    Attributes
    ----------
    scores : dict
        As of :meth:`tinygrad_cifar.course.runs.Result.to_json`.
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
        """Return the accuracy that a :class:`~tinygrad_cifar.experiments.declaration.PublishedAccuracy` names, in percent."""
        if quantity == "best validation":
            return 100 * float(np.nanmax(self.history.column("validation_accuracy")))
        return 100 * float(self.scores[f"{quantity}_accuracy"])


@dataclass(frozen=True)
class CheckOutcome:
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
    figures: list[CheckMetric]
    errors: Array | None
    cpu: float


@dataclass(frozen=True)
class OutcomeStore:
    """The outcomes in a folder, all on the same data.

    Attributes
    ----------
    folder : Path
    data : str
        The digest of the data, as in :meth:`tinygrad_cifar.data.Dataset.identity`.
    """

    folder: Path
    data: str

    def path(self, job: Job) -> Path:
        """Return where the outcome of a job is kept."""
        return self.folder / f"{job.key}.npz"

    def save(self, job: Job, arrays: Mapping[str, Array], text: Mapping[str, Any]) -> None:
        """Keep an outcome, wholly or not at all, in the place of whatever is there.

        Raises
        ------
        CheckpointError
            If the file cannot be written.
        """
        save_checkpoint(self.path(job), arrays, {**text, "of": self._identity(job)})

    def load_training(self, job: TrainingJob) -> TrainingOutcome:
        """Return what a training run left.

        Raises
        ------
        OutcomeError
            If it is not there.
        """
        return self._read(job, _trained)

    def load_check(self, job: GradientCheckJob) -> CheckOutcome:
        """Return what a gradient check left; raises as :meth:`load_training`."""
        return self._read(job, _checked)

    def require(self, job: Job) -> None:
        """Raise :class:`OutcomeError` if the outcome of a job is not there."""
        if isinstance(job, TrainingJob):
            self.load_training(job)
        else:
            self.load_check(job)

    def has(self, job: Job) -> bool:
        """Whether the outcome of a job is there."""
        try:
            self.require(job)
        except OutcomeError:
            return False
        return True

    def _identity(self, job: Job) -> Any:
        return json.loads(json.dumps({"job": asdict(job), "data": self.data}))  # as it comes back from a file

    def _read(self, job: Job, made_of: Callable[[dict[str, Array], Any], Outcome]) -> Outcome:
        path = self.path(job)
        if not path.exists():
            raise OutcomeError(f"{path} is not there")
        try:
            arrays, text = load_checkpoint(path)
            if text["of"] == self._identity(job):
                return made_of(arrays, text)
        except CheckpointError as error:
            raise OutcomeError(str(error)) from error
        except (LookupError, TypeError, ValueError) as error:
            raise OutcomeError(f"{path} does not hold what a run of the experiments leaves") from error
        raise OutcomeError(f"{path} is of another run than its name says, or of other data")


def _trained(arrays: dict[str, Array], text: Any) -> TrainingOutcome:
    rows = [Measurement(int(row[0]), *map(float, row[1:])) for row in text["rows"]]
    return TrainingOutcome(text["scores"], History(rows, seconds=text["scores"]["seconds"]), arrays, text["cpu"])


def _checked(arrays: dict[str, Array], text: Any) -> CheckOutcome:
    return CheckOutcome(
        text["setting"], [CheckMetric(**figure) for figure in text["figures"]], arrays.get("errors"), text["cpu"]
    )
