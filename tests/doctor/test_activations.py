"""Wrong derivatives of activations that consist of two pieces: ReLU, leaky ReLU and ELU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)
PROBLEM = {"X": rng.normal(size=(8, 4)), "W": rng.normal(size=(4, 4)), "v": rng.normal(size=4)}
LEAKY_WHERE = (lambda U: tg.where(U > 0, U, 0.1 * U), lambda U: np.where(U > 0, U, 0.1 * U))
LEAKY_MAXIMUM = (lambda U: tg.maximum(0.1 * U, U), LEAKY_WHERE[1])
ELU = (lambda U: tg.where(U > 0, U, tg.exp(U) - 1), lambda U: np.where(U > 0, U, np.expm1(U)))
RELU = (tg.relu, lambda U: np.maximum(U, 0))
SIGMOID = (tg.sigmoid, lambda U: 1 / (1 + np.exp(-U)))


def sentence_about(activation: Any, derivative: str) -> str:
    """Return the first sentence about a layer with a derivative that is given as an expression of X, U, H and dH."""
    function, plain = activation

    def cost(X: Any, W: Any, v: Any) -> Any:
        U = X @ W
        H = function(U)
        return tg.sum(tg.tanh(H @ v))

    def gradients(X: Any, W: Any, v: Any) -> Any:
        U = X @ W
        H = plain(U)
        g = 1 - np.tanh(H @ v) ** 2
        dH = np.outer(g, v)
        return X.T @ (dH * eval(derivative)), H.T @ g

    return diagnose(cost, gradients, PROBLEM, wrt=("W", "v")).sentences[0]


@pytest.mark.parametrize("activation", [LEAKY_WHERE, LEAKY_MAXIMUM])
@pytest.mark.parametrize(
    ("derivative", "words"),
    [
        ("U > 0", "that of another function: the factor (U > 0)"),
        ("np.where(U > 0, 1, 0.01)", "the slope of negative inputs is 0.01, and must be 0.1"),
        ("np.where(U > 0, 0.1, 1)", "The mask of the activation H is inverted"),
        ("np.where(X > 0, 1, 0.1)", "X stands where U belongs in the derivative of H"),
        ("np.where(dH > 0, 1, 0.1)", "stands where U belongs in the derivative of H"),
    ],
)
def test_a_wrong_derivative_of_a_leaky_relu_is_named(activation: Any, derivative: str, words: str) -> None:
    assert words in sentence_about(activation, derivative)


@pytest.mark.parametrize(
    ("activation", "derivative", "words"),
    [
        (RELU, "np.where(U > 0, 1, 0.01)", "the slope of negative inputs is 0.01"),
        (ELU, "U > 0", "that of another function: the factor (U > 0)"),
        (ELU, "np.where(X > 0, 1, 1 + H)", "X stands where U belongs in the derivative of H"),
        (ELU, "np.where(U > 0, 1, 1 + U)", "U stands where H belongs in the factor (1 + U)"),
        (SIGMOID, "H**2", "the factor H**2"),
        (SIGMOID, "U > 0", "that of another function: the factor (U > 0)"),
    ],
)
def test_a_wrong_derivative_of_another_activation_is_named(activation: Any, derivative: str, words: str) -> None:
    assert words in sentence_about(activation, derivative)
