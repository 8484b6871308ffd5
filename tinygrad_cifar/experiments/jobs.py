"""The function that a worker runs for a job, such as a training run, whose outcome is saved atomically.

An outcome that is there is not computed again. A long run that was stopped or killed resumes from its last epoch, with
a bit-for-bit identical result.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinygrad_cifar.course.convnet import ConvNet
from tinygrad_cifar.course.evaluation import count_pairs
from tinygrad_cifar.course.models import Patchify, Perceptron
from tinygrad_cifar.course.preparation import Prepared, check_sizes, data_settings, prepare
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.course.training import ResumeError
from tinygrad_cifar.data import Dataset, Preprocessing, load_dataset
from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.gradcheck import relative_errors
from tinygrad_cifar.engine.tensor import from_numpy
from tinygrad_cifar.experiments.declaration import GradientCheckJob, Job, TimingJob, TrainingJob
from tinygrad_cifar.experiments.outcomes import OutcomeStore
from tinygrad_cifar.experiments.report_checks import ReportCheck, run_report_checks
from tinygrad_cifar.experiments.timing import time_steps
from tinygrad_cifar.nn import functional
from tinygrad_cifar.system.memory import peak_bytes, reset_peak

Array = np.ndarray[Any, np.dtype[Any]]

_TIMED_BATCHES = 20
_LONG = 100.0  # seconds: a longer run writes a checkpoint after each epoch
_SHOWN = 20  # images


def run_job(source: str, outcomes: OutcomeStore, job: Job) -> str:
    """Run a job in a worker and save its outcome, unless the outcome is there.

    Parameters
    ----------
    source : str
        ``builtin``, or the folder of CIFAR-10.
    outcomes : OutcomeStore
        Store of the outcome.
    job : TrainingJob, GradientCheckJob or TimingJob
        The job.

    Returns
    -------
    str
        The error, if the job failed, else an empty string: not every exception survives the way to another process.
    """
    try:
        if not outcomes.has(job):
            arrays, text = _compute(job, source, outcomes)
            outcomes.save(job, arrays, text)
        outcomes.checkpoint(job).unlink(missing_ok=True)
    except Exception as error:  # noqa: BLE001 (reported by the caller, with the job's name)
        return f"{type(error).__name__}: {error}"
    return ""


def _compute(job: Job, source: str, outcomes: OutcomeStore) -> tuple[dict[str, Array], dict[str, Any]]:
    if isinstance(job, TrainingJob):
        checkpoint = outcomes.checkpoint(job) if job.cost >= _LONG else None
        return _train(job, source, checkpoint)
    return _time(job, source) if isinstance(job, TimingJob) else _check(job, source)


def _time(job: TimingJob, source: str) -> tuple[dict[str, Array], dict[str, Any]]:
    started = time.process_time()
    batch = _dataset(source).batch(1)
    images = batch.images[: _TIMED_BATCHES * job.batch_size]
    X = Preprocessing.fit("standardise", images).apply(images, np.float32)
    milliseconds = time_steps(job, X, batch.labels[: len(X)])
    return {}, {"milliseconds": milliseconds, "cpu": time.process_time() - started}


def _is_unreadable(error: ResumeError) -> bool:
    """Return whether a checkpoint could not be read, and so may be undamaged."""
    reason = error.__cause__ and error.__cause__.__cause__
    return isinstance(reason, (OSError, MemoryError))


def _train(job: TrainingJob, source: str, checkpoint: Path | None) -> tuple[dict[str, Array], dict[str, Any]]:
    prepared = _prepared(source, data_settings(job.settings))
    check_sizes(prepared.dataset, job.settings)
    peak = None if reset_peak() else peak_bytes()
    cpu, elapsed = time.process_time(), time.perf_counter()
    if checkpoint is not None:
        checkpoint.parent.mkdir(exist_ok=True)
    try:
        result = run(job.settings, prepared, test=job.test, checkpoint=checkpoint)
    except ResumeError as error:  # a checkpoint that is damaged, or of another version
        if _is_unreadable(error):
            raise
        cast(Path, checkpoint).unlink()
        result = run(job.settings, prepared, test=job.test, checkpoint=checkpoint)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - elapsed
    arrays: dict[str, Array] = {}
    if result.test_scores is not None:
        arrays |= _predictions(result.test_scores, prepared.dataset)
    if isinstance(result.model, (Patchify, ConvNet)):
        arrays["filters"] = result.model.filters_as_images()
    elif isinstance(result.model, Perceptron):
        arrays["filters"] = prepared.preprocessing.of_pixels(result.model.layers[0].W.numpy()[:, :_SHOWN])
    if not job.settings.hidden:
        (weights,) = result.model.weights()
        X, labels = prepared.train
        (gradient,) = grad(result.model.loss(from_numpy(X), labels), [weights])
        arrays |= {"W": prepared.preprocessing.of_pixels(weights.numpy()), "gradient": gradient.numpy()}
    text = {
        "scores": result.to_json(),
        "rows": [row.to_list() for row in result.history.rows],
        "cpu": cpu + max(0.0, result.seconds - elapsed),  # earlier sessions of a resumed run: at least one core each
        "peak": _raised(peak, peak_bytes()),
    }
    return arrays, text


def _raised(before: int | None, after: int | None) -> int | None:
    """Return the peak after a job, if it exceeds the one before, which is None if it was reset."""
    return after if before is None or after is None or after > before else None


def _predictions(scores: Array, dataset: Dataset) -> dict[str, Array]:
    """Return the confusion matrix of the test images, and those for whose class the probability is smallest."""
    labels, predicted = dataset.test.labels, np.argmax(scores, axis=1)
    probabilities = np.asarray(functional.softmax(scores))[np.arange(len(labels)), labels]
    worst = np.argsort(probabilities, kind="stable")[:_SHOWN]
    return {
        "confusion": count_pairs(labels, predicted, len(dataset.class_names)),
        "mistakes": dataset.test.images[worst].T,
        "mistaken_classes": np.stack([labels[worst], predicted[worst]]),
    }


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


@lru_cache(maxsize=1)  # up to 0.8 GB in float32
def _prepared(source: str, settings: Settings) -> Prepared:
    return prepare(_dataset(source), settings)


_dataset = lru_cache(maxsize=1)(load_dataset)
