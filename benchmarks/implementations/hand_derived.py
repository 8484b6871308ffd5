"""Hand-derived gradients in NumPy, as in the course: the reference of all ratios."""

from __future__ import annotations

import numpy as np

from benchmarks.workloads import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""
    Ws = [W.copy() for W in problem.weights]
    bs = [b.copy() for b in problem.biases]
    rng, n = problem.generator(), problem.workload.batch
    eta, lam = problem.workload.eta, problem.workload.lam

    while True:
        order = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            batch = order[start : start + n]
            X, labels = problem.X[batch], problem.labels[batch]
            rows = np.arange(len(labels))

            # forward: the hidden layers, the scores, the probabilities, the loss
            H = [X]
            for W, b in zip(Ws[:-1], bs[:-1], strict=True):
                H.append(np.maximum(0, H[-1] @ W + b))
            S = H[-1] @ Ws[-1] + bs[-1]
            P = np.exp(S - S.max(axis=1, keepdims=True))
            P /= P.sum(axis=1, keepdims=True)
            loss = -np.log(P[rows, labels]).mean()

            # backward: the gradient of the scores, then of each layer
            G = P
            G[rows, labels] -= 1
            G /= len(labels)
            for i in reversed(range(len(Ws))):
                grad_W = H[i].T @ G + 2 * lam * Ws[i]
                grad_b = G.sum(axis=0)
                if i > 0:
                    G = (G @ Ws[i].T) * (H[i] > 0)
                Ws[i] -= eta * grad_W
                bs[i] -= eta * grad_b

            after_step(loss)
