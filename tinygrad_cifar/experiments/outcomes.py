"""Storage of outcomes: a file for each job, which records its job and data, and is ignored unless both match.

Files are copied, moved and damaged, so the name of a file is not enough: each holds its job and the digest of the
data, and a file of another job, or a damaged one, counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tinygrad_cifar.course.settings import OLD_NAMES, SETTINGS
from tinygrad_cifar.course.training import History, Measurement
from tinygrad_cifar.experiments.declaration import GradientCheckJob, Job, TimingJob, TrainingJob
from tinygrad_cifar.experiments.report_checks import CheckMetric
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.system.identity import require_same

Array = np.ndarray[Any, np.dtype[Any]]
Outcome = TypeVar("Outcome")

# The values of settings that earlier versions did not have and therefore did not store.
_ADDED_SETTINGS = {name: declared.default for name, declared in SETTINGS.items() if declared.was_added}


class OutcomeError(Exception):
    """A missing or damaged file, or one of another job; the message names it."""


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome of a training run.

    Attributes
    ----------
    result : dict
        As of :meth:`tinygrad_cifar.course.runs.Result.to_json`.
    history : History
        The measurements of the run.
    arrays : dict
        ``confusion``: the confusion matrix of the test images, if they were used. For a linear model also ``W``, its
        weights with one row for each pixel, and ``gradient``, the gradient of the loss of all training images with
        respect to its weights. For other models whose first layer is on pixels ``filters``, its weights as images. With
        the test images also ``mistakes``, the test images with the largest losses of their class, and
        ``mistaken_classes``, their true and their predicted classes.
    cpu : float
        Processor time in seconds.
    peak : int, optional
        Largest memory of the process in bytes; None if it was not measured, or if an earlier run of the process had it
        and the system cannot reset it.
    """

    result: dict[str, Any]
    history: History
    arrays: Mapping[str, Array]
    cpu: float
    peak: int | None = None

    @property
    def elapsed(self) -> float:
        """Seconds of the training."""
        return float(self.result["seconds"])

    def accuracy(self, quantity: str) -> float:
        """Return an accuracy in percent; ``quantity`` is as of a published accuracy."""
        if quantity == "best validation":
            return 100 * float(np.nanmax(self.history.column("validation_accuracy")))
        return 100 * float(self.result[f"{quantity}_accuracy"])


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of a gradient check.

    Attributes
    ----------
    setting : str
        Description of the inputs.
    metrics : list of CheckMetric
        The metrics of the check.
    errors : ndarray, optional
        Relative errors of W against the one-sided difference, of shape ``(features, classes)``; only of report 002.
    cpu : float
        Processor time in seconds.
    """

    setting: str
    metrics: list[CheckMetric]
    errors: Array | None
    cpu: float


@dataclass(frozen=True)
class TimingOutcome:
    """The outcome of a measurement of time.

    Attributes
    ----------
    ours : float
        Milliseconds of a training step.
    torch : float, optional
        Those of PyTorch; None if it was not installed.
    cpu : float
        Processor time of the measurement in seconds.
    """

    ours: float
    torch: float | None
    cpu: float


@dataclass(frozen=True)
class OutcomeStore:
    """The outcomes in a folder, all on the same data.

    Attributes
    ----------
    folder : Path
        The folder of the files.
    data : str
        Digest of the data, as in :meth:`tinygrad_cifar.data.Dataset.identity`.
    """

    folder: Path
    data: str

    def path(self, job: Job) -> Path:
        """Return the path of the outcome of a job."""
        return self.folder / f"{job.key}.npz"

    def checkpoint(self, job: Job) -> Path:
        """Return the path of the checkpoint of a job that is not finished."""
        return self.folder / "unfinished" / f"{job.key}.npz"

    def save(self, job: Job, arrays: Mapping[str, Array], text: Mapping[str, Any]) -> None:
        """Save an outcome atomically, replacing an existing file.

        Raises
        ------
        CheckpointError
            If the file cannot be written.
        """
        save_checkpoint(self.path(job), arrays, {**text, "of": self._identity(job)})

    def load_training(self, job: TrainingJob) -> TrainingOutcome:
        """Return the outcome of a training run.

        Raises
        ------
        OutcomeError
            If it is missing, damaged or of another job.
        """
        return self._read(job, _training_outcome)

    def load_check(self, job: GradientCheckJob) -> CheckOutcome:
        """Return the outcome of a gradient check; raises as :meth:`load_training`."""
        return self._read(job, _check_outcome)

    def load_timing(self, job: TimingJob) -> TimingOutcome:
        """Return the outcome of a measurement of time; raises as :meth:`load_training`."""
        return self._read(job, _timing_outcome)

    def require(self, job: Job) -> None:
        """Check that the outcome of a job can be loaded; raises as :meth:`load_training`."""
        if isinstance(job, TrainingJob):
            self.load_training(job)
        elif isinstance(job, TimingJob):
            self.load_timing(job)
        else:
            self.load_check(job)

    def has(self, job: Job) -> bool:
        """Return whether the outcome of a job can be loaded."""
        try:
            self.require(job)
        except OutcomeError:
            return False
        return True

    def _identity(self, job: Job) -> dict[str, Any]:
        return {"job": asdict(job), "data": self.data}

    def _read(self, job: Job, load: Callable[[dict[str, Array], Any], Outcome]) -> Outcome:
        path = self.path(job)
        if not path.exists():
            raise OutcomeError(f"{path} does not exist")
        try:
            arrays, text = load_checkpoint(path)
            stored = _ADDED_SETTINGS | _flatten(text["of"])
            outcome = load(arrays, text)
        except CheckpointError as error:
            raise OutcomeError(str(error)) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise OutcomeError(f"{path} is not the file of a run of the experiments") from error
        try:
            require_same(stored, _flatten(self._identity(job)))
        except ValueError as error:
            raise OutcomeError(f"{path} holds another run: {error}") from error
        return outcome


def _flatten(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data and the settings of a job side by side, so that differences are listed one by one."""
    job = identity["job"]
    settings = {OLD_NAMES.get(name, name): value for name, value in job.get("settings", {}).items()}
    return {"data": identity["data"], **{k: v for k, v in job.items() if k != "settings"}, **settings}


def _training_outcome(arrays: dict[str, Array], text: Any) -> TrainingOutcome:
    rows = [Measurement.from_list(row) for row in text["rows"]]
    history = History(rows, seconds=text["scores"]["seconds"])
    return TrainingOutcome(text["scores"], history, arrays, text["cpu"], text.get("peak"))


def _check_outcome(arrays: dict[str, Array], text: Any) -> CheckOutcome:
    return CheckOutcome(
        text["setting"], [CheckMetric(**figure) for figure in text["figures"]], arrays.get("errors"), text["cpu"]
    )


def _timing_outcome(_: dict[str, Array], text: Any) -> TimingOutcome:
    ours, torch = text["milliseconds"]["ours"], text["milliseconds"]["torch"]
    return TimingOutcome(float(ours), None if torch is None else float(torch), float(text["cpu"]))
