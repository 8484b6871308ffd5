"""Wrong gradients of biases: with an L2 term, from the weights, and with the axes of images and patches joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import Example
from tinygrad_cifar.doctor import diagnose

rng = np.random.default_rng(0)


def decayed_cost(X: Any, W: Any, b: Any, lam: Any) -> Any:
    S = X @ W + b
    return tg.sum(tg.exp(S)) / len(X) + lam * (tg.sum(W**2) + tg.sum(b**2))


DECAYED = Example(
    decayed_cost,
    """
def gradients(X, W, b, lam):
    G = np.exp(X @ W + b) / len(X)
    dW = X.T @ G
    db = G.sum(0, keepdims=True)
    return dW + 2 * lam * W, db + 2 * lam * b
""",
    {"X": rng.normal(size=(6, 4)), "W": 0.3 * rng.normal(size=(4, 3)), "b": rng.normal(size=(1, 3)), "lam": 0.1},
)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("db = G.sum(0, keepdims=True) -> db = G", "not_summed"),
        ("db = G.sum(0, keepdims=True) -> db = G.sum(1, keepdims=True)", "wrong_axis"),
        ("db = G.sum(0, keepdims=True) -> db = dW.sum(0, keepdims=True)", "bias_from_weights"),
        ("db = G.sum(0, keepdims=True) -> db = (dW + 2 * lam * W).sum(0)", "bias_from_weights"),
    ],
)
def test_a_wrong_gradient_of_a_bias_with_an_l2_term_is_named(change: str, kind: str) -> None:
    report = diagnose(DECAYED.cost, DECAYED.gradients(change), DECAYED.problem)
    assert [mistake.kind for mistake in report.mistakes] == [kind], str(report)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda G: G.reshape(-1, G.shape[-1]), "not_summed"),
        (lambda G: G.reshape(-1, G.shape[-1]).sum(1), "wrong_axis"),
        (lambda G: G.reshape(-1, G.shape[-1]).T, "not_summed"),
    ],
)
def test_a_bias_that_is_not_summed_over_images_and_patches_in_one_axis_is_named(wrong: Any, kind: str) -> None:
    def cost(X: Any, F: Any, f: Any) -> Any:
        C = tg.matmul(X, F) + f
        return tg.sum(tg.tanh(C))

    def gradients(X: Any, F: Any, f: Any) -> Any:
        G = 1 - np.tanh(X @ F + f) ** 2
        return np.tensordot(X, G, axes=((0, 1), (0, 1))), wrong(G)

    report = diagnose(cost, gradients, X=rng.normal(size=(6, 4, 5)), F=rng.normal(size=(5, 3)), f=rng.normal(size=3))
    assert [mistake.kind for mistake in report.mistakes] == [kind], str(report)


def test_a_gradient_of_a_column_with_one_axis_more_is_named() -> None:
    def cost(X: Any, W: Any, b: Any) -> Any:
        return tg.sum(tg.tanh(W @ X + b))

    def gradients(X: Any, W: Any, b: Any) -> Any:
        G = 1 - np.tanh(W @ X + b) ** 2
        return G @ X.T, G.sum(0)[:, None]

    report = diagnose(cost, gradients, X=rng.normal(size=(4, 6)), W=rng.normal(size=(3, 4)), b=rng.normal(size=(3, 1)))
    assert [mistake.kind for mistake in report.mistakes] == ["wrong_axis"], str(report)


@pytest.mark.parametrize(
    ("change", "kind"),
    [("db = G.sum(1) -> db = G", "not_summed"), ("db = G.sum(1) -> db = G.sum(0)", "wrong_axis")],
)
def test_a_wrong_sum_for_a_vector_that_is_added_to_columns_is_named(change: str, kind: str) -> None:
    def cost(X: Any, W: Any, b: Any) -> Any:
        return tg.sum(tg.tanh(W @ X + b[:, None]))

    source = """
def gradients(X, W, b):
    G = 1 - np.tanh(W @ X + b[:, None]) ** 2
    db = G.sum(1)
    return G @ X.T, db
"""
    problem = {"X": rng.normal(size=(4, 6)), "W": rng.normal(size=(3, 4)), "b": rng.normal(size=3)}
    example = Example(cost, source, problem)
    report = diagnose(cost, example.gradients(change), problem)
    assert [mistake.kind for mistake in report.mistakes] == [kind], str(report)
