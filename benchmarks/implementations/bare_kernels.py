"""Lower bound: only the NumPy kernels that every training step needs.

These are gathering the batch, the matrix products forward and backward into preallocated arrays, and one pass over the
weights, without loss, biases, ReLU and L2 term. A constant small array replaces the gradient of the scores.
"""

from __future__ import annotations

from itertools import pairwise
from math import nan
from typing import Any

import numpy as np

from benchmarks.workloads import AfterStep, Array, Problem


class Kernels:
    """The four stages of a step, with preallocated results."""

    def __init__(self, problem: Problem) -> None:
        workload = problem.workload
        dtype: Any = np.dtype(workload.dtype)
        self.images = problem.X
        self.Ws = [W.copy() for W in problem.weights]
        self.H = [np.empty((workload.batch, size), dtype) for size in workload.sizes]
        self.G = [np.empty((workload.batch, size), dtype) for size in workload.sizes]
        # Small enough to leave the weights nearly unchanged, but not subnormal, since subnormal arithmetic is slow.
        self.G[-1][...] = np.random.default_rng(3).normal(scale=1e-6, size=self.G[-1].shape)
        self.grads = [np.empty(size, dtype) for size in pairwise(workload.sizes)]

    def gather(self, batch: Array) -> None:
        """Copy the batch's images."""
        np.take(self.images, batch, axis=0, out=self.H[0], mode="clip")  # other modes use a temporary copy

    def forward(self) -> None:
        """Compute the matrix products of the forward pass."""
        for i, W in enumerate(self.Ws):
            np.matmul(self.H[i], W, out=self.H[i + 1])

    def backward(self) -> None:
        """Compute the matrix products of the backward pass."""
        for i in reversed(range(len(self.Ws))):
            np.matmul(self.H[i].T, self.G[i + 1], out=self.grads[i])
            if i > 0:
                np.matmul(self.G[i + 1], self.Ws[i].T, out=self.G[i])

    def update(self) -> None:
        """Subtract the gradients from the weights."""
        for W, grad in zip(self.Ws, self.grads, strict=True):
            np.subtract(W, grad, out=W)


def train(problem: Problem, after_step: AfterStep) -> None:
    """Run the kernels until ``after_step`` raises an exception; the loss is NaN."""
    kernels = Kernels(problem)
    rng, n = problem.generator(), problem.workload.batch
    while True:
        order = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            kernels.gather(order[start : start + n])
            kernels.forward()
            kernels.backward()
            kernels.update()
            after_step(nan)
