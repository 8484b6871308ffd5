"""Training with this library: ``training.fit``, with all its work around a step."""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.workloads import AfterStep, Problem
from tinygrad_cifar import models, training
from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.nn.optim import SGD


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""

    def watch(progress: training.TrainingProgress) -> None:
        if progress.step:  # step 0 reports the untrained model
            after_step(progress.loss)

    workload = problem.workload
    model = classifier(problem)
    training.fit(
        model,
        SGD(model.parameters(), workload.eta, weight_decay=2 * workload.lam),
        (problem.X, problem.labels),
        epochs=sys.maxsize,
        batch_size=workload.batch,
        rng=problem.generator(),
        measure_every=sys.maxsize,  # so that no evaluation is timed
        measure_on=(problem.X[:1], problem.labels[:1]),
        callback=watch,
    )


def classifier(problem: Problem) -> Classifier:
    """Return a classifier with the initial weights of the problem."""
    features, *hidden, classes = problem.workload.sizes
    dtype, rng = problem.workload.dtype, np.random.default_rng(0)
    model: Classifier
    if not hidden:
        model = models.SoftmaxRegression(features, classes, rng=rng, dtype=dtype)
    elif len(hidden) == 1:
        model = models.TwoLayer(features, hidden[0], classes, rng=rng, dtype=dtype)
    else:
        model = models.Perceptron(problem.workload.sizes, rng=rng, dtype=dtype)
    given = [array for pair in zip(problem.weights, problem.biases, strict=True) for array in pair]
    for parameter, array in zip(model.parameters(), given, strict=True):
        parameter.data = array
    return model
