"""The floor: what no training step on NumPy's kernels can do without, and nothing else.

Gather the batch, the matrix products of forward and backward into arrays that are kept, and one pass over every matrix
of weights. There is no loss, no bias, no ReLU, no L2 term; a fixed small gradient stands in for that of the scores.
"""

from __future__ import annotations

from itertools import pairwise
from math import nan
from typing import Any

import numpy as np

from benchmarks.works import AfterStep, Array, Problem


class Kernels:
    """The four stages of a step, with the arrays that they write to."""

    def __init__(self, problem: Problem) -> None:
        work = problem.work
        dtype: Any = np.dtype(work.dtype)
        self.images = problem.X
        self.Ws = [W.copy() for W in problem.weights]
        self.H = [np.empty((work.batch, size), dtype) for size in work.sizes]
        self.G = [np.empty((work.batch, size), dtype) for size in work.sizes]
        # So small that the weights stay what they are, and far from the numbers that processors are slow with.
        self.G[-1][...] = np.random.default_rng(3).normal(scale=1e-6, size=self.G[-1].shape)
        self.grads = [np.empty(size, dtype) for size in pairwise(work.sizes)]

    def gather(self, batch: Array) -> None:
        """Copy the batch's images."""
        np.take(self.images, batch, axis=0, out=self.H[0], mode="clip")  # any other mode writes to a copy first

    def forward(self) -> None:
        """Multiply through to the scores."""
        for i, W in enumerate(self.Ws):
            np.matmul(self.H[i], W, out=self.H[i + 1])

    def backward(self) -> None:
        """Multiply back to the first layer's weights."""
        for i in reversed(range(len(self.Ws))):
            np.matmul(self.H[i].T, self.G[i + 1], out=self.grads[i])
            if i > 0:
                np.matmul(self.G[i + 1], self.Ws[i].T, out=self.G[i])

    def update(self) -> None:
        """Subtract once."""
        for W, grad in zip(self.Ws, self.grads, strict=True):
            np.subtract(W, grad, out=W)


def train(problem: Problem, after_step: AfterStep) -> None:
    """Go through the motions until ``after_step`` does not return; there is no loss to give it."""
    kernels = Kernels(problem)
    rng, n = problem.generator(), problem.work.batch
    while True:
        order = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            kernels.gather(order[start : start + n])
            kernels.forward()
            kernels.backward()
            kernels.update()
            after_step(nan)
