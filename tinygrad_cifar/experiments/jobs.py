"""The function that a worker runs for a job: a training run or a gradient check, whose outcome is saved atomically.

An outcome that is there is not computed again, so a command that was stopped or killed continues where it was.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import confusion_matrix
from tinygrad_cifar.course.preparation import Prepared, data_settings, prepare, with_views
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import load_dataset
from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.gradcheck import relative_errors
from tinygrad_cifar.engine.tensor import from_numpy
from tinygrad_cifar.experiments.declaration import GradientCheckJob, Job, TrainingJob
from tinygrad_cifar.experiments.outcomes import OutcomeStore
from tinygrad_cifar.experiments.report_checks import ReportCheck, run_report_checks

Array = np.ndarray[Any, np.dtype[Any]]


def run_job(source: str, outcomes: OutcomeStore, job: Job) -> str:
    """Run a job in a worker and save its outcome, unless the outcome is there.

    Parameters
    ----------
    source : str
        ``builtin``, or the folder of CIFAR-10.
    outcomes : OutcomeStore
        Store of the outcome.
    job : TrainingJob or GradientCheckJob
        The job.

    Returns
    -------
    str
        The error, if the job failed, else an empty string: not every exception survives the way to another process.
    """
    try:
        if not outcomes.has(job):
            arrays, text = _train(job, source) if isinstance(job, TrainingJob) else _check(job, source)
            outcomes.save(job, arrays, text)
    except Exception as error:  # noqa: BLE001 (reported by the caller, with the job's name)
        return f"{type(error).__name__}: {error}"
    return ""


def _train(job: TrainingJob, source: str) -> tuple[dict[str, Array], dict[str, Any]]:
    prepared = _prepared(source, data_settings(job.settings))
    started = time.process_time()
    result = run(job.settings, prepared, test=job.test)
    arrays = {}
    if job.test:
        test = prepared.test, prepared.dataset.test, prepared.preprocessing
        viewed = with_views(result.model, *test, job.settings)
        arrays["confusion"] = confusion_matrix(*viewed, len(prepared.dataset.class_names))
    if not job.settings.hidden:
        (weights,) = result.model.weights()
        X, labels = prepared.train
        (gradient,) = grad(result.model.loss(from_numpy(X), labels), [weights])
        arrays |= {"W": prepared.preprocessing.of_pixels(weights.numpy()), "gradient": gradient.numpy()}
    text = {
        "scores": result.to_json(),
        "rows": [row.to_list() for row in result.history.rows],
        "cpu": time.process_time() - started,
    }
    return arrays, text


def _check(job: GradientCheckJob, source: str) -> tuple[dict[str, Array], dict[str, Any]]:
    started = time.process_time()
    (check,) = run_report_checks(job.kind, _dataset(source), reports=(job.report,), features=job.features)
    text = {
        "setting": check.setting,
        "figures": [asdict(metric) for metric in check.metrics],
        "cpu": time.process_time() - started,
    }
    return _error_matrix(check), text


def _error_matrix(check: ReportCheck) -> dict[str, Array]:
    if check.report != "002":
        return {}
    first = check.comparisons[0]
    return {"errors": relative_errors(first.analytic, first.one_sided)}


@lru_cache(maxsize=2)  # at most 0.8 GB each, in float32
def _prepared(source: str, settings: Settings) -> Prepared:
    return prepare(_dataset(source), settings)


_dataset = lru_cache(maxsize=1)(load_dataset)
