"""HIPS autograd: the loss in ``autograd.numpy``, differentiated by ``value_and_grad``; the update in NumPy."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
from autograd import value_and_grad

from benchmarks.workloads import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""
    Ws, bs = [W.copy() for W in problem.weights], [b.copy() for b in problem.biases]
    rng, n = problem.generator(), problem.workload.batch
    eta, lam = problem.workload.eta, problem.workload.lam
    loss_and_grads = value_and_grad(_loss)
    while True:
        order = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            batch = order[start : start + n]
            loss, (dWs, dbs) = loss_and_grads((Ws, bs), problem.X[batch], problem.labels[batch])
            for i, (dW, db) in enumerate(zip(dWs, dbs, strict=True)):
                Ws[i] -= eta * (dW + 2 * lam * Ws[i])
                bs[i] -= eta * db
            after_step(loss)


def _loss(parameters: Any, X: Any, labels: Any) -> Any:
    Ws, bs = parameters
    H = X
    for W, b in zip(Ws[:-1], bs[:-1], strict=True):
        H = anp.maximum(0, anp.dot(H, W) + b)
    S = anp.dot(H, Ws[-1]) + bs[-1]
    S = S - anp.max(S, axis=1, keepdims=True)
    log_p = S - anp.log(anp.sum(anp.exp(S), axis=1, keepdims=True))
    return -anp.mean(log_p[anp.arange(len(labels)), labels])
