"""gmm: the log posterior of a Gaussian mixture with a Wishart prior; ADBench's paper.

F. Srajer, Z. Kukelova, A. Fitzgibbon: A benchmark of selected algorithmic differentiation tools on some problems in
computer vision and machine learning (arXiv:1807.10129), with the corrections of GradBench: the prior is over the
precision matrices, and likelihood and prior have the same sign.

There are n points in d dimensions and k components, with weights ``softmax(alpha)`` and means mu. The precision matrix
of a component is ``Q.T @ Q``; Q is lower triangular, with the diagonal ``exp(q)``, and below it l, column by column.
The prior of a precision matrix is the Wishart distribution with d + m + 1 degrees of freedom and the scale matrix
``eye(d) / gamma**2``. The gradient is taken with respect to alpha, mu, q and l.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk

_INDEPENDENT = ("alpha", "mu", "q", "l")


def _draw(rng: np.random.Generator, d: int, k: int, n: int, m: int = 0, gamma: float = 1.0) -> Inputs:
    return {
        "x": rng.normal(size=(n, d)),
        "alpha": rng.normal(size=k),
        "mu": rng.random((k, d)),
        "q": rng.normal(size=(k, d)),
        "l": rng.normal(size=(k, d * (d - 1) // 2)),
        "m": m,
        "gamma": gamma,
    }


def _log_multivariate_gamma(a: float, d: int) -> float:
    return d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma(a - j / 2) for j in range(d))


def _constant(inputs: Inputs) -> float:
    """Return the terms that do not depend on the parameters."""
    (n, d), k = inputs["x"].shape, len(inputs["alpha"])
    freedom = d + inputs["m"] + 1
    prior = freedom * d * math.log(inputs["gamma"] / math.sqrt(2)) - _log_multivariate_gamma(freedom / 2, d)
    return k * prior - n * d / 2 * math.log(2 * math.pi)


def _places(d: int) -> Array:
    """Return where the elements of Q are in a vector of a zero, the diagonal and the elements below it."""
    places = np.zeros((d, d), int)
    places[np.diag_indices(d)] = 1 + np.arange(d)
    columns, rows = np.triu_indices(d, 1)  # column by column below the diagonal
    places[rows, columns] = 1 + d + np.arange(len(rows))
    return places


def _objective(library: Library, inputs: Inputs) -> Any:
    np = library.np
    (n, d), k = inputs["x"].shape, len(inputs["alpha"])
    points, zeros = library.array(inputs["x"].T), library.array([[0.0]] * k)
    places, constant, m, gamma = _places(d), _constant(inputs), inputs["m"], inputs["gamma"]

    def log_posterior(alpha: Any, mu: Any, q: Any, l: Any) -> Any:  # noqa: E741 (the paper's name)
        Q = np.concatenate([zeros, np.exp(q), l], axis=1)[:, places]
        scaled = Q @ (points - mu[:, :, None])  # (k, d, n)
        log_determinants = np.sum(q, axis=1)
        terms = (alpha + log_determinants)[:, None] - 0.5 * np.sum(scaled * scaled, axis=1)
        likelihood = np.sum(library.logsumexp(terms, 0)) - n * library.logsumexp(alpha, 0)
        return likelihood - 0.5 * gamma**2 * np.sum(Q * Q) + m * np.sum(log_determinants) + constant

    return log_posterior


def _value(library: Library, inputs: Inputs) -> Thunk:
    return library.value(_objective(library, inputs), *[inputs[name] for name in _INDEPENDENT])


def _gradient(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(_objective(library, inputs), *[inputs[name] for name in _INDEPENDENT])


# -- the reference: densities as they are defined, and the gradient by hand --------------------------------------------


def _factors(inputs: Inputs) -> Array:
    """Return the matrices Q."""
    q = inputs["q"]
    k, d = q.shape
    Q = np.zeros((k, d, d))
    for component in range(k):
        below = iter(inputs["l"][component])
        for column in range(d):
            Q[component, column, column] = np.exp(q[component, column])
            for row in range(column + 1, d):
                Q[component, row, column] = next(below)
    return Q


def _log_densities(inputs: Inputs, precisions: Array) -> Array:
    """Return the logarithm of weight times density, for each component and point."""
    d = inputs["x"].shape[1]
    weights = np.exp(inputs["alpha"]) / np.exp(inputs["alpha"]).sum()
    out = []
    for weight, mean, precision in zip(weights, inputs["mu"], precisions, strict=True):
        difference = inputs["x"] - mean
        exponents = -0.5 * np.einsum("ni,ij,nj->n", difference, precision, difference)
        out.append(np.log(weight) + exponents + 0.5 * np.linalg.slogdet(precision)[1] - d / 2 * np.log(2 * np.pi))
    return np.array(out)


def _value_by_definition(inputs: Inputs) -> float:
    Q, d = _factors(inputs), inputs["x"].shape[1]
    precisions = Q.mT @ Q
    freedom, scale = d + inputs["m"] + 1, np.eye(d) / inputs["gamma"] ** 2
    prior = 0.0
    for precision in precisions:
        prior += (freedom - d - 1) / 2 * np.linalg.slogdet(precision)[1]
        prior -= np.trace(np.linalg.inv(scale) @ precision) / 2
        prior -= freedom * d / 2 * math.log(2) + freedom / 2 * np.linalg.slogdet(scale)[1]
        prior -= _log_multivariate_gamma(freedom / 2, d)
    return float(np.logaddexp.reduce(_log_densities(inputs, precisions), 0).sum() + prior)


def _gradient_by_hand(inputs: Inputs) -> tuple[Array, ...]:
    Q, (n, d) = _factors(inputs), inputs["x"].shape
    log_densities = _log_densities(inputs, Q.mT @ Q)
    shares = np.exp(log_densities - np.logaddexp.reduce(log_densities, 0))  # of each component in each point
    weights = np.exp(inputs["alpha"]) / np.exp(inputs["alpha"]).sum()
    d_alpha = shares.sum(1) - n * weights
    d_mu, d_q, d_l = [], [], []
    columns, rows = np.triu_indices(d, 1)
    for share, mean, q, factor in zip(shares, inputs["mu"], inputs["q"], Q, strict=True):
        difference = inputs["x"] - mean
        scaled = difference @ factor.T
        d_mu.append(share @ (scaled @ factor))
        d_factor = -np.einsum("n,ni,nj->ij", share, scaled, difference) - inputs["gamma"] ** 2 * factor
        d_q.append(np.diag(d_factor) * np.exp(q) + share.sum() + inputs["m"])
        d_l.append(d_factor[rows, columns])
    return d_alpha, np.array(d_mu), np.array(d_q), np.array(d_l).reshape(inputs["l"].shape)


PROBLEM = Problem(
    "gmm",
    _draw,
    sizes=({"d": 2, "k": 5, "n": 1000}, {"d": 20, "k": 25, "n": 1000}),
    small=({"d": 1, "k": 2, "n": 3}, {"d": 3, "k": 2, "n": 6, "m": 2, "gamma": 1.5}),
    functions={"objective": _value, "jacobian": _gradient},
    reference={"objective": _value_by_definition, "jacobian": _gradient_by_hand},
)
