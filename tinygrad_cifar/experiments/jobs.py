"""What a worker does: one job, whose outcome is written to a file of its own, wholly or not at all.

An outcome that is there is known, so nothing is ever computed twice, whenever and however often a command was
stopped or killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import confusion_matrix
from tinygrad_cifar.course.preparation import Prepared, data_settings, prepare
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import Dataset, builtin_dataset, read_cifar10
from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.gradcheck import relative_errors
from tinygrad_cifar.engine.tensor import from_numpy
from tinygrad_cifar.experiments.declaration import GradientCheckJob, Job, TrainingJob
from tinygrad_cifar.experiments.outcomes import OutcomeStore
from tinygrad_cifar.experiments.report_checks import ReportCheck, run_report_checks

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class JobObjective:
    """Do a job, unless its outcome is there: the objective of the "search" that all experiments are run as.

    Attributes
    ----------
    data : str
        ``builtin``, or the folder with CIFAR-10.
    outcomes : Outcomes
        Where they are kept.
    jobs : mapping
        By their keys.
    """

    data: str
    outcomes: OutcomeStore
    jobs: Mapping[str, Job]

    def __call__(self, point: Mapping[str, Any]) -> float:
        job = self.jobs[point["job"]]
        if not self.outcomes.has(job):
            arrays, text = _train(job, self.data) if isinstance(job, TrainingJob) else _check(job, self.data)
            self.outcomes.save(job, arrays, text)
        return 0.0


def _train(job: TrainingJob, data: str) -> tuple[dict[str, Array], dict[str, Any]]:
    prepared = _prepared(data, data_settings(job.settings))
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
    return arrays, text


def _check(job: GradientCheckJob, data: str) -> tuple[dict[str, Array], dict[str, Any]]:
    started = time.process_time()
    (check,) = run_report_checks(job.kind, _dataset(data), reports=(job.report,), features=job.features)
    text = {
        "setting": check.setting,
        "figures": [asdict(figure) for figure in check.figures],
        "cpu": time.process_time() - started,
    }
    return _matrix_of_errors(check), text


def _matrix_of_errors(check: ReportCheck) -> dict[str, Array]:
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
