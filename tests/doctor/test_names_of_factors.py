"""A factor is stated by a name that holds on the given problem, and on problems in which equal sizes differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.test_stated_changes import answer_to_hand_in
from tinygrad_cifar.doctor import Report, diagnose

# -- a mean over the positions of a convolution ------------------------------------------------------------------------


def pooled_cost(X: Any, Y: Any, W1: Any, W2: Any, lam: Any) -> Any:
    S = tg.mean(tg.relu(tg.conv2d(X, W1)), axis=(1, 2)) @ W2
    return -tg.sum(Y * tg.log(tg.softmax(S, axis=1))) / X.shape[0] + lam * (tg.sum(W1**2) + tg.sum(W2**2))


def windows(X: Any, k: int) -> Any:
    n, height, width, _ = X.shape
    corners = [(i, j) for i in range(height - k + 1) for j in range(width - k + 1)]
    return np.stack([X[:, i : i + k, j : j + k].reshape(n, -1) for i, j in corners], 1)


def pooled_gradients(X: Any, Y: Any, W1: Any, W2: Any, lam: Any) -> Any:
    """Return gradients that lack the division by the number of positions."""
    M = windows(X, len(W1))
    A = M @ W1.reshape(-1, W1.shape[3])
    H = np.maximum(A, 0).mean(axis=1)
    P = np.exp(H @ W2)
    G = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    dA = (G @ W2.T)[:, None] * (A > 0)
    return np.einsum("npk,npf->kf", M, dA).reshape(W1.shape) + 2 * lam * W1, H.T @ G + 2 * lam * W2


def pooled_problem(size: int, images: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(images, size, size, 2)), np.eye(3)[rng.integers(0, 3, images)]
    return {"X": X, "Y": Y, "W1": rng.normal(size=(3, 3, 2, 4)), "W2": rng.normal(size=(4, 3))}


@pytest.mark.parametrize(("size", "images"), [(5, 6), (6, 6), (6, 16), (7, 6), (7, 9), (8, 5), (10, 20)])
@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_the_number_of_positions_that_is_left_out_is_that_of_the_given_problem(
    size: int, images: int, lam: float
) -> None:
    report = diagnose(pooled_cost, pooled_gradients, **pooled_problem(size, images), lam=lam)
    assert f": 1 / ({size - 2} * {size - 2}) (the sizes of relu(conv2d(X)) along axes 1 and 2)" in report.sentences[0]


def test_the_size_of_one_axis_of_a_result_that_is_left_out_is_stated() -> None:
    def cost(X: Any, Y: Any, W1: Any, W2: Any) -> Any:
        S = tg.mean(tg.sum(tg.relu(tg.conv2d(X, W1)), axis=2), axis=1) @ W2
        return tg.sum((S - Y) ** 2) / X.shape[0]

    def gradients(X: Any, Y: Any, W1: Any, W2: Any) -> Any:
        M = windows(X, len(W1))
        A = M @ W1.reshape(-1, W1.shape[3])
        H = np.maximum(A, 0).sum(axis=1) / (X.shape[1] - len(W1) + 1)
        G = 2 * (H @ W2 - Y) / len(X)
        dA = (G @ W2.T)[:, None] * (A > 0)
        return np.einsum("npk,npf->kf", M, dA).reshape(W1.shape), H.T @ G

    report = diagnose(cost, gradients, **pooled_problem(9, 6))
    assert ": 1 / 7 (the size of " in report.sentences[0], str(report)
    assert " along axis 1)" in report.sentences[0], str(report)


# -- a mean over parts of images, of which there may be as many as classes, features or units --------------------------


def parts_cost(X: Any, Y: Any, W1: Any, W2: Any, lam: Any) -> Any:
    S = tg.mean(tg.relu(X @ W1), axis=1) @ W2
    return -tg.sum(Y * tg.log(tg.softmax(S, axis=1))) / X.shape[0] + lam * tg.sum(W1**2)


def parts_gradients(factor: str, shape: tuple[int, ...] = ()) -> Callable[..., Any]:
    """Return gradients of which that of W1 has a factor; they are computed only for parts of this shape, if given."""

    def gradients(X: Any, Y: Any, W1: Any, W2: Any, lam: Any) -> Any:
        if shape and X.shape[1:] != shape:
            raise ValueError("another shape")
        A = X @ W1
        H = np.maximum(A, 0).mean(axis=1)
        P = np.exp(H @ W2)
        G = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
        dA = (G @ W2.T)[:, None] * (A > 0) / A.shape[1]
        scaled = np.einsum("ntd,ntf->df", X, dA) * eval(factor, {"X": X, "Y": Y, "W1": W1})
        return scaled + 2 * lam * W1, H.T @ G

    return gradients


def parts_problem(parts: int, features: int = 5, units: int = 4, classes: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    Y = np.eye(classes)[rng.permutation(np.arange(8) % classes)]
    W1, W2 = rng.normal(size=(features, units)), rng.normal(size=(units, classes))
    return {"X": rng.normal(size=(8, parts, features)), "Y": Y, "W1": W1, "W2": W2, "lam": 0.1}


def parts_report(factor: str, parts: int, shape: tuple[int, ...] = ()) -> Report:
    return diagnose(parts_cost, parts_gradients(factor, shape), parts_problem(parts))


def value(factor: str, problem: dict[str, Any]) -> float:
    """Return the value of a factor, in the names of the doctor, on a problem."""
    return float(eval(factor, {**problem, "K": problem["Y"].shape[1], "N": len(problem["X"])}))


@pytest.mark.parametrize("parts", [3, 4, 5, 7])
@pytest.mark.parametrize(
    "factor", ["X.shape[1]", "len(X) / X.shape[1]", "1/X.shape[1]", "1/X.shape[2]", "1/Y.shape[1]", "1/W1.shape[1]"]
)
def test_the_name_of_a_factor_holds_on_a_problem_in_which_all_sizes_differ(factor: str, parts: int) -> None:
    problem = parts_problem(13, 17, 19, 7)
    stated = parts_report(factor, parts).mistakes[0].factor
    assert np.isclose(value(stated, problem), value(factor, problem)), stated


def test_a_factor_that_is_the_reciprocal_of_the_number_of_images_is_stated() -> None:
    """0.125 is 1/N for the 8 images of this problem only, and no other axis has this size."""
    assert parts_report("0.125", 4).mistakes[0].factor == "1/8"


@pytest.mark.parametrize("parts", [4, 5, 7])
def test_a_size_that_cannot_be_changed_is_not_stated_as_the_factor(parts: int) -> None:
    report = parts_report("1/X.shape[1]", parts, (parts, 5))
    assert not re.search("[A-Z]", report.mistakes[0].factor), str(report)


@pytest.mark.parametrize("parts", [4, 5, 7])
def test_a_size_that_cannot_be_changed_is_said_to_be_the_factor_perhaps(parts: int) -> None:
    report = parts_report("1/X.shape[1]", parts, (parts, 5))
    assert "times what it should be (perhaps X.shape[1]" in report.sentences[0], str(report)


# -- the product of two sizes of which none is an argument -------------------------------------------------------------


def flat_cost(X: Any, Y: Any, Fs: Any, W: Any) -> Any:
    S = tg.reshape(tg.relu(tg.conv2d(X, Fs)), (X.shape[0], -1)) @ W
    return -tg.sum(Y * tg.log(tg.softmax(S, axis=1))) / X.shape[0] + 0.1 * tg.sum(Fs**2)


def flat_gradients(X: Any, Y: Any, Fs: Any, W: Any) -> Any:
    """Return gradients of which that of the filters is divided by the number of positions."""
    M = windows(X, len(Fs))
    A = M @ Fs.reshape(-1, Fs.shape[3])
    H = np.maximum(A, 0).reshape(len(X), -1)
    P = np.exp(H @ W - (H @ W).max(1, keepdims=True))
    G = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    dA = (G @ W.T).reshape(A.shape) * (A > 0)
    return np.einsum("npk,npf->kf", M, dA).reshape(Fs.shape) / M.shape[1] + 0.2 * Fs, H.T @ G


def flat_report() -> Report:
    problem = pooled_problem(5, 6)
    W = np.random.default_rng(1).normal(size=(36, 3))
    return diagnose(flat_cost, flat_gradients, X=problem["X"], Y=problem["Y"], Fs=problem["W1"], W=W)


def test_a_factor_is_not_named_after_a_size_that_it_has_nothing_to_do_with() -> None:
    assert flat_report().mistakes[0].factor == "1/9"


def test_a_factor_is_said_to_be_the_number_of_positions_perhaps() -> None:
    assert "(perhaps conv2d(X).shape[1] * conv2d(X).shape[2], which is 9" in flat_report().sentences[0]


# -- a hand-in, whose problem has as many patches as classes -----------------------------------------------------------


def test_a_division_by_the_patches_of_a_hand_in_is_not_said_to_be_by_the_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answer_to_hand_in("return dF +", "return dF / patches +", tmp_path, capsys)
    assert "is 1/MX.shape[0] times what it should be (MX.shape[0] = 4)" in answer
