"""Ensembles of runs that differ in their seeds, computed from the scores that the outcomes of the runs hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.course.ensembles import average_probabilities
from tinygrad_cifar.course.evaluation import count_pairs, order_by_loss
from tinygrad_cifar.experiments.outcomes import TrainingOutcome
from tinygrad_cifar.nn import functional

Array = np.ndarray[Any, np.dtype[Any]]


def ensemble_accuracy(runs: Sequence[TrainingOutcome]) -> float:
    """Return the accuracy of the mean probabilities on the test images, in percent."""
    return 100 * functional.accuracy(_scores(runs), _labels(runs))


def ensemble_confusion(runs: Sequence[TrainingOutcome]) -> Array:
    """Return the confusion matrix of the mean probabilities."""
    scores = _scores(runs)
    return count_pairs(_labels(runs), np.argmax(scores, axis=1), scores.shape[1])


def ensemble_mistakes(runs: Sequence[TrainingOutcome]) -> tuple[Array, Array]:
    """Return the test images for whose class the mean probability is smallest, and the true and predicted classes.

    They are searched among the images that the outcomes hold, those with the largest losses of each run, and are as
    many as one outcome holds.

    Returns
    -------
    images : ndarray of uint8, shape (3072, n)
    classes : ndarray of int, shape (2, n)
    """
    labels, found = _labels(runs), dict[int, Array]()
    for run in runs:
        images = run.arrays["mistakes"].T
        found |= zip(order_by_loss(run.arrays["scores"], labels)[: len(images)].tolist(), images, strict=True)
    scores = _scores(runs)
    worst = [i for i in order_by_loss(scores, labels).tolist() if i in found][: len(images)]
    return np.stack([found[i] for i in worst], axis=1), np.stack([labels[worst], np.argmax(scores[worst], axis=1)])


def _scores(runs: Sequence[TrainingOutcome]) -> Array:
    return np.asarray(average_probabilities([run.arrays["scores"] for run in runs]))


def _labels(runs: Sequence[TrainingOutcome]) -> Array:
    return np.asarray(runs[0].arrays["labels"])
