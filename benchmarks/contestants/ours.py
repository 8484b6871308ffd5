"""The library itself, as everybody uses it: ``training.fit`` itself, with what it does around a step."""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.works import AfterStep, Problem
from tinygrad_cifar import models, training
from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.nn.optim import SGD


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` does not return."""

    def watch(progress: training.TrainingProgress) -> None:
        if progress.step:  # the untrained model is reported, too
            after_step(progress.loss)

    work = problem.work
    model = classifier(problem)
    training.fit(
        model,
        SGD(model.parameters(), work.eta, weight_decay=2 * work.lam),
        (problem.X, problem.labels),
        epochs=sys.maxsize,
        batch_size=work.batch,
        rng=problem.generator(),
        measure_every=sys.maxsize,  # steps are timed, not the measurements between them
        measure_on=(problem.X[:1], problem.labels[:1]),
        callback=watch,
    )


def classifier(problem: Problem) -> Classifier:
    """Return the library's own model of the problem, with the problem's weights."""
    features, *hidden, classes = problem.work.sizes
    dtype, rng = problem.work.dtype, np.random.default_rng(0)
    model: Classifier
    if not hidden:
        model = models.SoftmaxRegression(features, classes, rng=rng, dtype=dtype)
    elif len(hidden) == 1:
        model = models.TwoLayer(features, hidden[0], classes, rng=rng, dtype=dtype)
    else:
        model = models.Perceptron(problem.work.sizes, rng=rng, dtype=dtype)
    given = [array for pair in zip(problem.weights, problem.biases, strict=True) for array in pair]
    for parameter, array in zip(model.parameters(), given, strict=True):
        parameter.data = array
    return model
