"""JAX with the whole step compiled, including gathering the batch, and with donated parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.workloads import AfterStep, Problem

Parameters = list[tuple[Any, Any]]


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""
    jax.config.update("jax_enable_x64", problem.workload.dtype == "float64")
    eta, lam, n = problem.workload.eta, problem.workload.lam, problem.workload.batch

    def step(parameters: Parameters, images: Any, labels: Any, batch: Any) -> tuple[Parameters, Any]:
        loss, grads = jax.value_and_grad(_loss)(parameters, images[batch], labels[batch])
        updated = [
            (W - eta * (dW + 2 * lam * W), b - eta * db) for (W, b), (dW, db) in zip(parameters, grads, strict=True)
        ]
        return updated, loss

    compiled = jax.jit(step, donate_argnums=0)
    parameters: Parameters = [
        (jnp.array(W), jnp.array(b)) for W, b in zip(problem.weights, problem.biases, strict=True)
    ]
    images, labels = jnp.array(problem.X), jnp.array(problem.labels)
    rng = problem.generator()
    while True:
        order = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            parameters, loss = compiled(parameters, images, labels, order[start : start + n])
            after_step(loss)


def _loss(parameters: Parameters, X: Any, labels: Any) -> Any:
    H = X
    for W, b in parameters[:-1]:
        H = jax.nn.relu(H @ W + b)
    W, b = parameters[-1]
    log_p = jax.nn.log_softmax(H @ W + b)
    return -log_p[jnp.arange(len(labels)), labels].mean()
