"""MyGrad with its own activation and loss, and with memory guarding off, as its documentation recommends for speed."""

from __future__ import annotations

import mygrad as mg
from mygrad.nnet.activations import relu
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.workloads import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""
    mg.turn_memory_guarding_off()
    Ws = [mg.tensor(W) for W in problem.weights]
    bs = [mg.tensor(b) for b in problem.biases]
    rng, n = problem.generator(), problem.workload.batch
    eta, lam = problem.workload.eta, problem.workload.lam
    while True:
        order = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            batch = order[start : start + n]
            H = problem.X[batch]
            for W, b in zip(Ws[:-1], bs[:-1], strict=True):
                H = relu(mg.matmul(H, W) + b)
            loss = softmax_crossentropy(mg.matmul(H, Ws[-1]) + bs[-1], problem.labels[batch])
            loss.backward()
            for W in Ws:
                W.data -= eta * (W.grad + 2 * lam * W.data)
            for b in bs:
                b.data -= eta * b.grad
            after_step(loss.item())
