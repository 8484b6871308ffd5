"""Ensembles of runs: accuracy, confusion matrix and mistakes, from drawn scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_results import some_outcome, some_results
from tinygrad_cifar.experiments.declaration import PublishedAccuracy
from tinygrad_cifar.experiments.ensembles import ensemble_accuracy, ensemble_confusion, ensemble_mistakes
from tinygrad_cifar.nn import functional

IMAGES, CLASSES, SHOWN = 60, 3, 5


def some_runs(seed: int, members: int):
    """Return outcomes whose images are numbers: image i has the pixels i."""
    rng = np.random.default_rng(seed)
    labels, runs = rng.integers(0, CLASSES, IMAGES), []
    for _ in range(members):
        scores = rng.normal(size=(IMAGES, CLASSES), scale=3)
        of_label = functional.softmax(scores)[np.arange(IMAGES), labels]
        worst = np.argsort(of_label, kind="stable")[:SHOWN]
        arrays = {"scores": scores, "labels": labels, "mistakes": np.tile(worst, (3072, 1)).astype(np.uint8)}
        runs.append(replace(some_outcome(), arrays=arrays))
    probabilities = np.mean([functional.softmax(run.arrays["scores"]) for run in runs], axis=0)
    return runs, labels, probabilities


seeds, sizes = st.integers(0, 2**32 - 1), st.integers(1, 4)


@given(seeds, sizes)
def test_the_accuracy_is_that_of_the_mean_probabilities(seed, members):
    runs, labels, probabilities = some_runs(seed, members)
    assert ensemble_accuracy(runs) == pytest.approx(100 * np.mean(probabilities.argmax(axis=1) == labels))


@given(seeds, sizes)
def test_the_confusion_matrix_is_that_of_the_mean_probabilities(seed, members):
    runs, labels, probabilities = some_runs(seed, members)
    counts = ensemble_confusion(runs)
    for true, predicted in np.ndindex(CLASSES, CLASSES):
        assert counts[true, predicted] == np.sum((labels == true) & (probabilities.argmax(axis=1) == predicted))


@given(seeds, sizes)
def test_the_mistakes_have_the_smallest_mean_probability_of_those_that_are_stored(seed, members):
    runs, labels, probabilities = some_runs(seed, members)
    images, classes = ensemble_mistakes(runs)
    found = images[0].astype(int)
    stored = {int(i) for run in runs for i in run.arrays["mistakes"][0]}
    expected = sorted(stored, key=lambda i: probabilities[i, labels[i]])[:SHOWN]
    assert found.tolist() == expected
    assert (images == found).all()
    assert classes.tolist() == [labels[found].tolist(), probabilities[found].argmax(axis=1).tolist()]


def test_results_have_the_accuracy_of_each_ensemble_and_the_time_of_all_its_members():
    runs, _, _ = some_runs(0, 4)
    number = PublishedAccuracy("", "one", "test", None, members=2)
    (row,) = some_results(seeds=4, outcomes={"one": runs}, numbers=(number,)).comparisons()
    assert row.reproduced == [ensemble_accuracy(runs[:2]), ensemble_accuracy(runs[2:])]
    assert row.seconds == 2 * runs[0].cpu
    assert row.elapsed == 2 * runs[0].elapsed
