"""What is stated of a product reproduces the gradients, and two statements about one product do not contradict."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.doctor.examples import TWO_LAYERS
from tinygrad_cifar.cli import main
from tinygrad_cifar.doctor import Report, diagnose

# Multiples of the weights, and of their gradient, that are added to the factor of a product.
FACTORS = [(0.0, 1.0), (0.0, -1.0), (0.0, 2.0), (1.0, 0.1), (1.0, -0.1), (1.0, 1.0), (-1.0, 1.0), (2.0, -1.0)]


@cache
def report_with(factor: str) -> Report:
    """Return the report on a gradient that uses another factor than the weights of the last layer."""
    wrong = TWO_LAYERS.gradients(f"dH = G @ W2.T -> dH = G @ ({factor}).T")
    return diagnose(TWO_LAYERS.cost, wrong, TWO_LAYERS.problem)


@pytest.mark.parametrize(("a", "b"), FACTORS)
def test_the_factor_that_is_stated_is_that_of_the_gradients(a: float, b: float) -> None:
    report = report_with(f"{a} * W2 + {b} * dW2")
    rng = np.random.default_rng(0)
    W2, dW2, dS = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=(2, 3))
    for mistake in report.mistakes:
        formula = mistake.yours.replace("d(H @ W2)", "dS").removeprefix("dH = ")
        stated = eval(formula, {"W2": W2, "dW2": dW2, "dS": dS})
        assert np.allclose(stated, dS @ (a * W2 + b * dW2).T), str(report)


@pytest.mark.parametrize(("a", "b"), FACTORS)
def test_one_product_has_one_mistake(a: float, b: float) -> None:
    report = report_with(f"{a} * W2 + {b} * dW2")
    assert len(report.mistakes) <= 1, str(report)


@pytest.mark.parametrize("used", ["dW2", "H.T @ G"])
def test_a_gradient_in_the_place_of_the_weights_is_named(used: str) -> None:
    report = report_with(used)
    assert "stands where W2 belongs in the gradient of H" in report.sentences[0], str(report)


HAND_IN = """
import numpy as np
def ComputeGradients(MX, Y, Fs_flat, W1, b1, W2, b2, lam):
    patches, filters, n = MX.shape[0], Fs_flat.shape[1], MX.shape[2]
    h = np.maximum(np.einsum('ijn,jl->iln', MX, Fs_flat).reshape(patches * filters, n), 0)
    X1 = np.maximum(W1 @ h + b1, 0)
    P = np.exp(W2 @ X1 + b2)
    G = (P / P.sum(axis=0) - Y) / n
    dW2, db2 = G @ X1.T + 2 * lam * W2, G.sum(axis=1, keepdims=True)
    G = (W2.T @ G) * (X1 > 0)
    dW1, db1 = G @ h.T + 2 * lam * W1, G.sum(axis=1, keepdims=True)
    G = (W1.T @ G) * (h > 0)
    dF = np.einsum('jin,iln->jl', MX.transpose(1, 0, 2), G.reshape(patches, filters, n))
    return dF + 2 * lam * Fs_flat, dW1, db1, dW2, db2
"""


def answer_to_hand_in(right: str, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the answer of the command to the hand-in with one expression replaced, on one line."""
    file = tmp_path / "hand_in.py"
    file.write_text(HAND_IN.replace(right, wrong))
    main(["doctor", str(file)])
    return " ".join(capsys.readouterr().out.split())


def test_a_gradient_in_the_place_of_the_weights_of_a_hand_in_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answer_to_hand_in("W1.T @ G", "dW1.T @ G", tmp_path, capsys)
    assert "the gradient dW1 stands where W1 belongs" in answer
