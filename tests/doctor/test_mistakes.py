"""The doctor names common mistakes in the gradients of the course's networks, from a function and from arrays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import DEEP, EXAMPLES, SOFTMAX, as_float32, softmax
from tinygrad_cifar.doctor import diagnose

# Network, changes of the right gradient function, kind of the first mistake, words of its sentence.
MISTAKES = [
    ("softmax", "    G = G / N -> ", "missing_1/N", "N times"),
    ("softmax", "G = G / N -> G = G / N**2", "double_1/N", "1/N is taken twice"),
    ("softmax", "2 * lam * W -> lam * W", "l2_factor", "lam * W"),
    ("softmax", "2 * lam * W -> 2 * lam * W / N", "l2_over_n", "divided by N"),
    ("softmax", "    dW = dW + 2 * lam * W -> ", "l2_missing", "L2 term is missing"),
    ("softmax", "keepdims=True) -> keepdims=True) + 2 * lam * b", "bias_penalised", "bias is penalised"),
    ("softmax", "G = P - Y -> G = Y - P", "sign", "sign is wrong"),
    ("softmax", "G = P - Y -> G = P", "label_not_subtracted", "label is not subtracted"),
    ("softmax", "G = P - Y -> G = S - Y", "scores_for_probabilities", "where their softmax belongs"),
    ("softmax", "G = P - Y -> G = np.log(P) - Y", "log_for_probabilities", "logarithm of the probabilities"),
    ("softmax", "G = P - Y -> G = P; G[Y.argmax(0)] -= 1", "label_in_all_rows", "in whole rows or columns"),
    ("softmax", "G = P - Y -> G = P - np.roll(Y, 1, axis=0)", "shifted_labels", "shifted by one class"),
    ("softmax", "G = P - Y -> G = Y * (P - 1)", "softmax_diagonal", "Only the diagonal"),
    ("softmax", "G = P - Y -> G = -Y", "softmax_without_sum", "denominator"),
    ("softmax", "P = softmax(S, 0) -> P = np.exp(S)", "softmax_unnormalised", "not normalised"),
    ("softmax", "P = softmax(S, 0) -> P = np.exp(S - S.max(0))", "softmax_unnormalised", "not normalised"),
    ("softmax", "P = softmax(S, 0) -> P = softmax(S, 1)", "softmax_wrong_axis", "wrong axis"),
    ("softmax", "S = W @ X + b -> S = W @ X", "forgotten_in_forward", "bias b is forgotten"),
    ("softmax", "return dW, db -> return W, db", "value_for_gradient", "W itself"),
    ("softmax", "G = G / N -> G[:, 0] = 0; G = G / N", "off_by_one", "first image is left out"),
    ("softmax", "G = G / N -> G = G / (N - 1)", "factor", "N/(N - 1)"),
    ("softmax", "keepdims=True) -> keepdims=True) / N", "mean_for_sum", "mean over the images"),
    ("svm", "    G[rows, y] = -G.sum(1) -> ", "hinge_own_class", "own class is forgotten"),
    ("svm", "-G.sum(1) -> -G.sum(1) - 1", "hinge_own_class", "own class is counted"),
    ("svm", "-G.sum(1) -> -1", "hinge_count", "count of violated margins is forgotten"),
    ("svm", "X.T @ G + 2 * lam * W, -> (X.T @ G + 2 * lam * W).T,", "transposed", "W is transposed"),
    ("svm", " + 1 > 0 ->  > 0", "hinge_margin", "margin is forgotten"),
    ("softmax", "G = P - Y -> G = P - np.roll(Y, 1, axis=1)", "off_by_one", "shifted by one image"),
    ("two layers", "db2 = G.sum(0) -> db2 = G.sum(0) / N", "mean_for_sum", "gradient of b2"),
    ("two layers", "db1 = dA.sum(0) -> db1 = dA", "not_summed", "not summed"),
    ("two layers", "db1 = dA.sum(0) -> db1 = dA.sum(1)", "wrong_axis", "wrong axis"),
    ("two layers", "db1 = dA.sum(0) -> db1 = dW1.sum(0)", "bias_from_weights", "computed from that of W1"),
    ("two layers", "db1 = dA.sum(0) -> db1 = dH.sum(0)", "wrong_gradient", "dH stands where"),
    ("two layers", "G @ W2.T -> G @ W2", "transposed_factor", "not transposed"),
    ("two layers", "X.T @ dA -> (X.T @ dA).T", "transposed", "transposed"),
    ("softmax", "return dW, db -> return dW.T, db", "transposed", "W is transposed"),
    ("two layers", "dH * (A > 0) -> dH", "derivative_left_out", "derivative of the ReLU at H is left out"),
    ("two layers", "dH * (A > 0) -> dH * (dH > 0)", "wrong_mask", "wrong array"),
    ("two layers", "dH * (A > 0) -> dH * (1 - H**2)", "other_derivative", "tanh"),
    ("two layers", "dH * (A > 0) -> dH * H * (1 - H)", "other_derivative", "sigmoid"),
    ("two layers", "H.T @ G -> X.T @ G", "wrong_variable", "X stands where H belongs"),
    ("two layers", "H.T @ G -> A.T @ G", "wrong_variable", "stands where H belongs"),
    ("two layers", "dH = G @ W2.T -> dH = G @ (W2 - 0.1 * dW2).T", "updated_too_early", "updated before"),
    ("two layers", "G @ W2.T -> G @ (W2 - 0.1 * H.T @ G).T", "updated_too_early", "updated before"),
    ("two layers", "dH = G @ W2.T -> dH = 0 * G @ W2.T", "detached", "detached"),
    ("deep", "    G = G * masks[k] -> ", "mask_not_applied", "dropout mask"),
    ("deep", "G = G * masks[k] -> G = G / 0.7", "mask_not_applied", "masks[1] and masks[0] is not applied"),
    ("deep", "G = G * masks[k] -> G = G * (masks[k] > 0)", "mask_not_scaled", "not scaled"),
    ("deep", "    G = G * (T > 0) -> ", "derivative_left_out", "A (no. 2) and A (no. 1)"),
    ("deep", "G = G * (T > 0) -> G = G * (S > 0)", "wrong_mask", "S (no. 2)"),
    ("deep", "(G - G.mean(0) - Z * (G * Z).mean(0)) -> G", "constant_statistics", "mean and the variance of S"),
    ("deep", "(G - G.mean(0) - Z * (G * Z).mean(0)) -> (G - G.mean(0))", "constant_statistics", "the variance of S"),
    ("deep", (
        "(G - G.mean(0) - Z * (G * Z).mean(0)) -> (G - Z * (G * Z).mean(0))"
    ), "constant_statistics", "the mean of S"),
    ("deep", "(G * Z).sum(0) -> (G * S).sum(0)", "wrong_variable", "S (no. 2) stands where"),
    ("deep", "        G = G * gamma[k] -> ", "factor_left_out", "the scale gamma[1] and gamma[0]"),
    ("deep", "+ 2 * lam * W[k] -> + lam * W[k]", "l2_factor", "W[0] and W[1]"),
    ("patchify", "    G = G * (x1 > 0) -> ", "derivative_left_out", "x1"),
    ("patchify", "    G = G * (h > 0) -> ", "derivative_left_out", "Fs_flat"),
    ("patchify", (
        "G.reshape(patches, filters, N) -> G.reshape((patches, filters, N), order='F')"
    ), "element_order", "order"),
    ("patchify", "dF = dF + 2 * lam * Fs_flat -> dF = dF[::-1] + 2 * lam * Fs_flat", "flipped", "reversed"),
    ("patchify", '"ijn,iln->jl", MX, G -> "ijn,iln->jl", MX[:1], G[:1]', "part_of_sum", "alone"),
    ("patchify", (
        'G @ h.T -> G @ np.einsum("ijn,jl->iln", MX, Fs_flat).reshape(h.shape).T'
    ), "wrong_variable", "C stands where"),
]  # fmt: skip


rng = np.random.default_rng(0)


def id_of(case: tuple[str, ...]) -> str:
    return f"{case[0]}: {case[1].strip()}"


@pytest.mark.parametrize("case", MISTAKES, ids=id_of)
def test_a_mistake_is_named_by_the_first_sentence(case: tuple[str, str, str, str]) -> None:
    network, change, kind, words = case
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(change), example.problem)
    assert report.status == "wrong", str(report)
    assert report.mistakes[0].kind == kind, str(report)
    assert words in report.sentences[0]


@pytest.mark.parametrize("case", [case for case in MISTAKES if case[0] in ("softmax", "svm", "two layers")], ids=id_of)
def test_a_mistake_is_named_from_the_arrays_of_one_problem(case: tuple[str, str, str, str]) -> None:
    network, change, kind, _ = case
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(change)(**example.problem), example.problem)
    assert report.status == "wrong", str(report)
    assert report.mistakes[0].kind == kind, str(report)
    assert "on this problem only" in report.confirmed


def test_labels_that_are_1_for_every_class_are_named() -> None:
    """On a problem with images of all classes, subtracting 1 in the rows of all labels is the same."""
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients("G = P - Y -> G = P - 1"), SOFTMAX.problem)
    assert "1 is subtracted from every class" in report.sentences[0]


def test_a_sign_on_one_of_two_paths_is_not_said_of_the_whole_gradient() -> None:
    def cost(X: Any, w: Any) -> Any:
        s = X @ w
        return tg.sum((tg.exp(s) - s) ** 2)

    def gradients(X: Any, w: Any) -> Any:
        s = X @ w
        return (X.T @ (2 * (np.exp(s) - s) * (np.exp(s) + 1)),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(6, 3)), w=rng.normal(size=3))
    assert "this part of the gradient of w is -1 times what it should be" in report.sentences[0]


def test_the_cost_has_no_name_of_a_variable_of_the_caller() -> None:
    problem = {k: v for k, v in SOFTMAX.problem.items() if k != "lam"}

    def cost(X: Any, Y: Any, W: Any, b: Any) -> Any:
        return -tg.sum(Y * tg.log(tg.softmax(W @ X + b, axis=0))) / X.shape[1] + tg.sum(W**2)

    wrong = SOFTMAX.gradients("    G = G / N -> ")
    result_of_the_caller = diagnose(cost, lambda **values: wrong(lam=0.7, **values), problem)
    assert "result_of_the_caller" not in str(result_of_the_caller)


@pytest.mark.parametrize("seed", range(3))
def test_the_wrong_number_of_integer_labels_is_named(seed: int) -> None:
    def cost(X: Any, y: Any, W: Any) -> Any:
        return -tg.sum(tg.log(tg.softmax(X @ W, axis=1)[np.arange(len(y)), y])) / len(y)

    def gradients(X: Any, y: Any, W: Any) -> Any:
        return (X.T @ (softmax(X @ W, 1) - np.eye(W.shape[1])[y]) / W.shape[1],)

    problem = {"X": rng.normal(size=(10, 4)), "y": np.arange(10) % 3, "W": rng.normal(size=(4, 3))}
    report = diagnose(cost, gradients, problem, seed=seed)
    assert "N/K times" in report.sentences[0]


def test_rounding_grows_with_gradients_that_are_too_large() -> None:
    """A bias before a batch normalisation has a gradient of rounding errors only, N times as large without 1/N."""
    problem = {name: as_float32(value) for name, value in DEEP.problem.items()}
    wrong = DEEP.gradients("b[-1], 1) - Y) / N -> b[-1], 1) - Y)")
    report = diagnose(DEEP.cost, wrong, problem)
    assert [mistake.kind for mistake in report.mistakes] == ["missing_1/N"], str(report)


def test_of_arrays_with_the_same_mask_the_named_one_is_stated() -> None:
    def cost(X: Any, W: Any) -> Any:
        S = X @ W
        mu = tg.mean(S, axis=0)
        Z = (S - mu) / tg.sqrt(tg.mean((S - mu) ** 2, axis=0))
        T = 0.7 * Z + 0.3
        return tg.sum(tg.relu(T) ** 2)

    def gradients(X: Any, W: Any) -> Any:
        S = X @ W
        deviation = S.std(0)
        Z = (S - S.mean(0)) / deviation
        T = 0.7 * Z + 0.3
        G = 0.7 * 2 * np.maximum(T, 0) * (Z > 0)
        return (X.T @ ((G - G.mean(0) - Z * (G * Z).mean(0)) / deviation),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(9, 4)), W=rng.normal(size=(4, 3)))
    assert report.sentences[0].startswith("The mask of the ReLU is that of the wrong array: Z ")


def test_of_arrays_with_the_same_product_the_named_one_is_stated() -> None:
    """The cotangents in front of a normalisation sum to zero, so that a constant that is added makes no difference."""
    wrong = DEEP.gradients("dW[k] = H.T @ G -> dW[k] = (saved[k - 1][2] if k else H).T @ G")
    assert "T (no. 1) stands where" in diagnose(named_deep_cost, wrong, DEEP.problem).sentences[0]


def named_deep_cost(X: Any, Y: Any, W: Any, b: Any, gamma: Any, beta: Any, masks: Any, lam: Any) -> Any:
    """Return the cost of DEEP, with a variable for the scaled and shifted values."""
    H = X
    for k in range(len(W) - 1):
        S = H @ W[k] + b[k]
        mu = tg.mean(S, axis=0)
        var = tg.mean((S - mu) ** 2, axis=0)
        T = gamma[k] * ((S - mu) / tg.sqrt(var + 1e-9)) + beta[k]
        H = tg.relu(T) * masks[k]
    P = tg.softmax(H @ W[-1] + b[-1])
    return -tg.sum(Y * tg.log(P)) / len(X) + lam * sum(tg.sum(w**2) for w in W)


@pytest.mark.parametrize("seed", range(4))
def test_a_mistake_below_units_that_may_all_be_off_is_named(seed: int) -> None:
    def cost(X: Any, W: Any, v: Any) -> Any:
        H = tg.relu(X @ W)
        return tg.sum(tg.relu(H @ v))

    def gradients(X: Any, W: Any, v: Any) -> Any:
        H = np.maximum(X @ W, 0)
        G = (H @ v > 0) * 1.0
        return X.T @ (-np.outer(G, v) * (H > 0)), H.T @ G

    rng = np.random.default_rng(1)
    problem = {"X": rng.normal(size=(6, 3)), "W": rng.normal(size=(3, 1)), "v": np.array([0.8])}
    report = diagnose(cost, gradients, problem, wrt=("W", "v"), seed=seed)
    assert [mistake.kind for mistake in report.mistakes] == ["sign"], str(report)


def test_filters_that_are_reversed_before_the_l2_term_are_named() -> None:
    def cost(X: Any, F: Any) -> Any:
        return sum(tg.sum(tg.tanh(tg.sum(X * F[k], axis=(1, 2, 3)))) for k in range(2)) + 0.1 * tg.sum(F * F)

    def gradients(X: Any, F: Any) -> Any:
        parts = [1 - np.tanh((X * F[k]).sum((1, 2, 3))) ** 2 for k in range(2)]
        dF = np.array([(part[:, None, None, None] * X).sum(0) for part in parts])
        return (dF[:, :, ::-1] + 0.2 * F,)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(5, 3, 4, 2)), F=0.2 * rng.normal(size=(2, 3, 4, 2)))
    assert report.status == "wrong", str(report)
    assert "revers" in report.sentences[0]


def test_a_mean_over_images_and_patches_is_named() -> None:
    def cost(X: Any, b: Any) -> Any:
        return tg.sum(tg.tanh(X + b))

    def gradients(X: Any, b: Any) -> Any:
        return ((1 - np.tanh(X + b) ** 2).mean(axis=(0, 1)),)

    report = diagnose(cost, gradients, X=rng.normal(size=(4, 3, 6)), b=rng.normal(size=6))
    assert "A mean over all elements stands where the sum belongs" in report.sentences[0]


def test_a_bias_that_is_summed_over_the_wrong_axes_is_named() -> None:
    def cost(X: Any, b: Any) -> Any:
        return tg.sum(tg.tanh(X + b))

    def gradients(X: Any, b: Any) -> Any:
        return ((1 - np.tanh(X + b) ** 2).sum(axis=(0, 1), keepdims=True),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(4, 3, 6)), b=rng.normal(size=(1, 3, 1)))
    assert "wrong axes, (0, 1)" in report.sentences[0]


def test_a_sum_over_the_wrong_axes_is_named_if_the_sizes_are_equal() -> None:
    def cost(X: Any, b: Any) -> Any:
        return tg.sum(tg.tanh(X + b))

    def gradients(X: Any, b: Any) -> Any:
        return ((1 - np.tanh(X + b) ** 2).sum(axis=(0, 2)),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(5, 3, 3)), b=rng.normal(size=3))
    assert "wrong axes, (0, 2)" in report.sentences[0]


def test_sums_that_are_zero_but_for_rounding_are_compared() -> None:
    problem = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in SOFTMAX.problem.items()}
    wrong = SOFTMAX.gradients("db = G.sum(1, keepdims=True) -> db = G.sum(0, keepdims=True)")
    assert "wrong axis" in diagnose(SOFTMAX.cost, wrong, problem).sentences[0]


LEFT_OUT = "dH * (A > 0) -> dH"
LAST_MEAN = "+ 2 * lam * W[-1], G.sum(0) -> + 2 * lam * W[-1], G.mean(0)"
NO_BIAS, NO_BIAS_1 = "S = W @ X + b -> S = W @ X", "A = X @ W1 + b1 -> A = X @ W1"
NEGATED = "return X.T @ G + 2 * lam * W, G.sum(0) -> return -X.T @ G + 2 * lam * W / N, -G.sum(0)"
SCALED_AND_TRANSPOSED = "X.T @ G + 2 * lam * W, G.sum(0) -> 0.1 * (X.T @ G + 2 * lam * W).T, 0.1 * G.sum(0)"
PAIRS = [
    ("svm", [NEGATED], {"sign", "l2_over_n"}),
    ("softmax", [NO_BIAS, "return dW, db -> return dW.T, db"], {"forgotten_in_forward", "transposed"}),
    ("two layers", [NO_BIAS_1, "2 * lam * W1 -> lam * W1"], {"forgotten_in_forward", "l2_factor"}),
    ("two layers", ["db2 = G.sum(0) -> db2 = G.mean(0)", LEFT_OUT], {"mean_for_sum", "derivative_left_out"}),
    ("two layers", ["G @ W2.T -> G @ W2", LEFT_OUT], {"transposed_factor", "derivative_left_out"}),
    ("two layers", ["    G = G / N -> ", "2 * lam * W1 -> lam * W1"], {"missing_1/N", "l2_factor"}),
    ("softmax", ["dW = G @ X.T -> dW = N * G @ X.T", "2 * lam * W -> lam * W"], {"missing_1/N", "l2_factor"}),
    ("svm", [SCALED_AND_TRANSPOSED], {"factor", "transposed"}),
    ("patchify", ["softmax(W2 @ x1 + b2, 0) -> softmax(W2 @ x1, 0)", "    G = G * (x1 > 0) -> "], {
        "forgotten_in_forward", "derivative_left_out"
    }),
    ("deep", ["    G = G * masks[k] -> ", LAST_MEAN], {"mask_not_applied", "mean_for_sum"}),
]  # fmt: skip


@pytest.mark.parametrize(("network", "changes", "kinds"), PAIRS)
def test_both_mistakes_of_a_pair_are_named(network: str, changes: list[str], kinds: set[str]) -> None:
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(*changes), example.problem)
    assert report.status == "wrong", str(report)
    assert sorted(mistake.kind for mistake in report.mistakes) == sorted(kinds)


def test_a_factor_of_a_transposed_gradient_and_of_others_is_one_mistake() -> None:
    example = EXAMPLES["svm"]
    report = diagnose(example.cost, example.gradients(SCALED_AND_TRANSPOSED), example.problem)
    assert "The gradient of b and W is 0.1 times what it should be." in report.sentences


def layer(activation: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a cost of one layer with this activation; ``M`` is a mask."""

    def cost(X: Any, M: Any, W: Any, v: Any) -> Any:
        U = X @ W
        H = activation(U)
        D = H * M
        return tg.sum((D @ v) ** 2)

    return cost


def gradients_of_layer(activation: Callable[[Any], Any], derivative: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradients of :func:`layer`, with the derivative as a function of D."""

    def gradients(X: Any, M: Any, W: Any, v: Any) -> Any:
        U = X @ W
        H = activation(U)
        D = H * M
        G = 2 * D @ v
        return X.T @ (np.outer(G, v) * M * derivative(D)), D.T @ G

    return gradients


@pytest.fixture
def problem_of_layer() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mask = (rng.random((8, 4)) < 0.7) / 0.7
    return {"X": rng.normal(size=(8, 3)), "M": mask, "W": rng.normal(size=(3, 4)), "v": rng.normal(size=4)}


@pytest.mark.parametrize(
    ("function", "plain", "derivative", "factor"),
    [
        (tg.tanh, np.tanh, lambda D: 1 - D**2, "(1 - D**2)"),
        (tg.sigmoid, lambda U: 1 / (1 + np.exp(-U)), lambda D: D * (1 - D), "D * (1 - D)"),
    ],
)
def test_a_derivative_that_is_computed_from_another_array_is_named(
    function: Any, plain: Any, derivative: Any, factor: str, problem_of_layer: dict[str, Any]
) -> None:
    wrong = gradients_of_layer(plain, derivative)
    report = diagnose(layer(function), wrong, problem_of_layer, wrt=("W", "v"))
    assert f"D stands where H belongs in the factor {factor}" in " ".join(report.sentences), str(report)


FUNCTIONS = {
    "softplus": (lambda U: tg.log(1 + tg.exp(U)), lambda U: np.log1p(np.exp(U))),
    "leaky ReLU": (lambda U: tg.maximum(U, 0.1 * U), lambda U: np.maximum(U, 0.1 * U)),
    "swish": (lambda U: U * tg.sigmoid(U), lambda U: U / (1 + np.exp(-U))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_missing_derivative_of_a_function_of_several_operations_is_named(
    name: str, problem_of_layer: dict[str, Any]
) -> None:
    function, plain = FUNCTIONS[name]
    wrong = gradients_of_layer(plain, lambda _: 1)
    report = diagnose(layer(function), wrong, problem_of_layer, wrt=("W", "v"))
    assert report.sentences[0].startswith("The derivative of the activation H is left out"), str(report)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_derivative_of_a_function_of_several_operations_is_named(
    name: str, problem_of_layer: dict[str, Any]
) -> None:
    function, plain = FUNCTIONS[name]
    without_mask = problem_of_layer | {"M": np.ones((8, 4))}
    wrong = gradients_of_layer(plain, lambda H: H * (1 - H))
    report = diagnose(layer(function), wrong, without_mask, wrt=("W", "v"))
    assert "is that of another function: the factor H * (1 - H) stands in its place" in report.sentences[0], str(report)


def test_the_missing_derivative_of_one_operation_is_not_said_of_several() -> None:
    def cost(X: Any, Y: Any, W: Any) -> Any:
        S = X @ W
        own = tg.sum(S * Y, axis=1, keepdims=True)
        margin = tg.where(Y > 0, 0.0, S - own + 1)
        violation = tg.maximum(margin, 0)
        return tg.sum(violation) + tg.sum(W**2)

    def gradients(X: Any, Y: Any, W: Any) -> Any:
        G = 1.0 - Y
        return (X.T @ (G - Y * G.sum(1, keepdims=True)) + 2 * W,)

    rng = np.random.default_rng(0)
    problem = {"X": rng.normal(size=(6, 4)), "Y": np.eye(3)[[0, 1, 2, 0, 1, 2]], "W": rng.normal(size=(4, 3))}
    report = diagnose(cost, gradients, problem, wrt="W")
    assert report.sentences[0].startswith("The derivative of the maximum is left out in the hinge loss"), str(report)


def test_a_derivative_of_positive_values_that_is_left_out_is_no_matter_of_kinks() -> None:
    def cost(X: Any, w: Any) -> Any:
        return tg.sum(tg.log(1 + (X @ w) ** 2))

    rng = np.random.default_rng(0)
    report = diagnose(cost, lambda X, w: (2 * X.T @ (X @ w),), X=rng.normal(size=(6, 3)), w=rng.normal(size=3))
    assert "derivative of the logarithm" in report.sentences[0]


def test_a_softmax_that_is_not_normalised_is_named_with_smoothed_labels() -> None:
    def cost(X: Any, Y: Any, W: Any) -> Any:
        S = X @ W
        return -tg.sum((0.9 * Y + 0.1 / Y.shape[1]) * (S - tg.log(tg.sum(tg.exp(S), axis=1, keepdims=True)))) / len(X)

    def gradients(X: Any, Y: Any, W: Any) -> Any:
        return (X.T @ (np.exp(X @ W) - 0.9 * Y - 0.1 / Y.shape[1]) / len(X),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(6, 3)), Y=np.eye(3)[[0, 1, 2, 0, 1, 2]], W=np.eye(3) / 2)
    assert "softmax at S is not normalised" in report.sentences[0]


def test_a_sum_that_is_taken_for_a_constant_is_no_matter_of_batch_normalisation() -> None:
    def cost(X: Any, Y: Any, W: Any) -> Any:
        S = X @ W
        own = tg.sum(S * Y, axis=1, keepdims=True)
        return tg.sum(((1 - Y) * tg.relu(S - own + 1)) ** 2)

    def gradients(X: Any, Y: Any, W: Any) -> Any:
        S = X @ W
        return (X.T @ (2 * (1 - Y) * np.maximum(0, S - (S * Y).sum(1, keepdims=True) + 1)),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(6, 4)), Y=np.eye(3)[[0, 1, 2, 0, 1, 2]], W=np.ones((4, 3)))
    assert report.sentences[0].startswith("own is taken for a constant")


def test_weights_that_serve_twice_are_transposed_once_too_often() -> None:
    def cost(X: Any, W: Any) -> Any:
        H = tg.tanh(X @ W)
        return tg.sum((H @ W.T) ** 2)

    def gradients(X: Any, W: Any) -> Any:
        H = np.tanh(X @ W)
        G = 2 * H @ W.T
        return (G.T @ H + X.T @ (G @ W.T * (1 - H**2)),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(6, 3)), W=rng.normal(size=(3, 3)))
    assert "W.T stands where W belongs (it is transposed once too often)" in report.sentences[0]


def test_filters_without_the_last_image_are_named() -> None:
    def cost(P: Any, F: Any) -> Any:
        return tg.sum(tg.tanh(tg.tensordot(P, F, 1)) ** 2)

    def gradients(P: Any, F: Any) -> Any:
        H = np.tanh(np.tensordot(P, F, 1))
        G = 2 * H * (1 - H**2)
        return (np.tensordot(P[:-1], G[:-1], axes=([0, 1], [0, 1])),)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, P=rng.normal(size=(6, 4, 5)), F=rng.normal(size=(5, 2)))
    assert report.sentences[0].startswith("The gradient of F lacks the last")


def test_one_of_two_uses_of_a_parameter_that_is_left_out_is_not_said_of_its_whole_gradient() -> None:
    def cost(X: Any, W: Any) -> Any:
        H = tg.tanh(X @ W)
        R = H @ W
        return tg.sum(tg.tanh(R)) + 0.1 * tg.sum(W**2)

    def gradients(X: Any, W: Any) -> Any:
        H = np.tanh(X @ W)
        return (H.T @ (1 - np.tanh(H @ W) ** 2) + 0.2 * W,)

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(6, 3)), W=rng.normal(size=(3, 3)))
    assert report.status == "wrong"
    assert "is 0" not in report.sentences[0], str(report)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ("dgamma[k] = (G * Z).sum(0) -> dgamma[k] = (G * S).sum(0)", "= sum("),
        ("        G = G * gamma[k] -> ", "* gamma[1]"),
    ],
)
def test_the_right_formula_of_a_scale_is_complete(change: str, right: str) -> None:
    report = diagnose(DEEP.cost, DEEP.gradients(change), DEEP.problem)
    assert right in report.mistakes[0].right


def test_the_right_formula_of_a_power_is_complete() -> None:
    def cost(X: Any, w: Any) -> Any:
        s = X @ w
        return tg.sum(s**3)

    rng = np.random.default_rng(0)
    report = diagnose(cost, lambda X: (X.sum(0),), X=rng.normal(size=(6, 3)), w=rng.normal(size=3))
    assert "* 3 * s**2" in report.mistakes[0].right, str(report)


def test_a_mean_of_the_wrong_array_in_the_place_of_pooled_values_is_named() -> None:
    def cost(X: Any, F: Any, W: Any) -> Any:
        C = tg.matmul(X, F)
        A = tg.tanh(C)
        pooled = tg.mean(A, axis=1)
        return tg.sum(tg.tanh(tg.matmul(pooled, W)))

    def gradients(X: Any, F: Any, W: Any) -> Any:
        C = X @ F
        A = np.tanh(C)
        G = 1 - np.tanh(A.mean(1) @ W) ** 2
        dA = np.repeat((G @ W.T)[:, None], X.shape[1], axis=1) / X.shape[1]
        return np.tensordot(X, dA * (1 - A**2), axes=((0, 1), (0, 1))), C.mean(1).T @ G

    rng = np.random.default_rng(0)
    sizes = {"X": (6, 4, 5), "F": (5, 3), "W": (3, 2)}
    report = diagnose(cost, gradients, {name: rng.normal(size=size) for name, size in sizes.items()}, wrt=("F", "W"))
    assert "C stands where pooled belongs" in report.sentences[0], str(report)


def deep_cost_with_scale(X: Any, Y: Any, W: Any, b: Any, gamma: Any, beta: Any, masks: Any, keep: Any) -> Any:
    """Return the cost of DEEP without an L2 term, with masks of 0 and 1 that are divided by the probability to keep."""
    H = X
    for k in range(len(W) - 1):
        S = H @ W[k] + b[k]
        Z = (S - tg.mean(S, axis=0)) / tg.sqrt(tg.mean((S - tg.mean(S, axis=0)) ** 2, axis=0) + 1e-9)
        H = tg.relu(gamma[k] * Z + beta[k]) * masks[k] / keep
    P = tg.softmax(H @ W[-1] + b[-1])
    return -tg.sum(Y * tg.log(P)) / len(X)


@pytest.mark.parametrize(
    ("backward", "words"),
    [("masks[k]", "1/keep"), ("masks[k] * keep", "keep**2"), ("1", "masks"), ("1 / keep", "masks")],
)
def test_the_same_mistake_in_several_layers_is_one(backward: str, words: str) -> None:
    wrong = DEEP.gradients(
        "def gradients(X, Y, W, b, gamma, beta, masks, lam): -> def gradients(X, Y, W, b, gamma, beta, masks, keep):",
        "    N, L = len(X), len(W) ->     N, L, lam = len(X), len(W), 0",
        "np.maximum(T, 0) * masks[k] -> np.maximum(T, 0) * masks[k] / keep",
        f"G = G * masks[k] -> G = G * {backward}",
    )
    problem = {name: value for name, value in DEEP.problem.items() if name not in ("masks", "lam")}
    masks = [(mask > 0) * 1.0 for mask in DEEP.problem["masks"]]
    report = diagnose(deep_cost_with_scale, wrong, problem | {"masks": masks, "keep": 0.7})
    assert len(report.mistakes) == 1, str(report)
    assert words in report.sentences[0]


WHOLE = re.compile(r"(?<!part of )(?<!term of )the gradients? of ([\w, ]+) (?:are|is) (\S+) times")
SIGN = re.compile(r"so (?:are|is) the gradients? of ([\w, ]+)\.")


@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize("network", ["softmax", "svm", "two layers"])
@pytest.mark.parametrize("wrong", ["G", "G / N / N", "-G / N", "3 * G / N"])
def test_gradients_are_said_to_be_multiples_only_if_the_table_has_the_same_ratio(
    network: str, wrong: str, penalty: float
) -> None:
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(f"G / N -> {wrong}"), {**example.problem, "lam": penalty})
    sentence = report.sentences[0]
    said = [*WHOLE.findall(sentence), *[(names, "-1") for names in SIGN.findall(sentence)]]
    ratios = {row.parameter: row.ratio for row in report.rows}
    assert all(ratios[name] == factor for names, factor in said for name in re.split(", | and ", names)), str(report)


def test_a_wrong_sign_is_stated_of_the_gradient_of_the_scores() -> None:
    def cost(X: Any, Y: Any, W: Any, b: Any, lam: Any) -> Any:
        S = W @ X + b
        return -tg.sum(Y * tg.log(tg.softmax(S, axis=0))) / X.shape[1] + lam * tg.sum(W**2)

    report = diagnose(cost, SOFTMAX.gradients("G = P - Y -> G = Y - P"), SOFTMAX.problem)
    assert report.sentences[0] == (
        "The sign is wrong in the gradient of the loss with respect to S: dS is -1 times what it should be, and so is "
        "the data term of the gradients of W and b."
    )


def test_a_wrong_sign_is_stated_of_the_whole_gradients_without_a_penalty() -> None:
    def cost(X: Any, Y: Any, W: Any, b: Any) -> Any:
        return tg.sum((W @ X + b - Y) ** 2)

    def gradients(X: Any, Y: Any, W: Any, b: Any) -> Any:
        G = 2 * (Y - W @ X - b)
        return G @ X.T, G.sum(1, keepdims=True)

    problem = {name: SOFTMAX.problem[name] for name in ("X", "Y", "W", "b")}
    assert "and so are the gradients of W and b." in diagnose(cost, gradients, problem).sentences[0]


@pytest.mark.parametrize("mask", ["(H >= 0)", "(H > -1)", "np.ones(H.shape)"])
def test_a_mask_that_is_true_everywhere_is_not_said_to_be_missing_only(mask: str) -> None:
    example = EXAMPLES["two layers"]
    report = diagnose(example.cost, example.gradients(f"dH * (A > 0) -> dH * {mask}"), example.problem)
    assert "(the mask is missing, or is true everywhere)" in report.sentences[0]
    assert "for example, H >= 0 for an H after the ReLU" in report.mistakes[0].hint


@pytest.mark.parametrize(
    ("zero", "sentence"),
    [
        ("0", "The gradient of b is the number 0, and must be an array of the shape (3, 1), as b is."),
        ("0.0", "The gradient of b is the number 0, and must be an array of the shape (3, 1), as b is."),
        ("np.zeros(X.shape[1])", "The gradient of b is 0 in the shape (7,), and must be an array of the shape (3, 1)"),
        ("G.sum()", "summed over all axes"),  # 0 but for rounding
    ],
)
def test_a_zero_of_another_shape_is_called_what_it_is(zero: str, sentence: str) -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients(f"return dW, db -> return W, {zero}"), SOFTMAX.problem)
    assert any(sentence in said for said in report.sentences), str(report)


def test_a_variable_in_the_place_of_its_gradient_is_stated_once() -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients("return dW, db -> return W, db"), SOFTMAX.problem)
    mistake = str(report.mistakes[0])
    assert mistake.startswith("W itself stands where its gradient, dW, belongs. See line")
