"""No false alarm on right gradients, whatever their form, and no statement about gradients that follow no formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.doctor.examples import DEEP, EXAMPLES, SOFTMAX, TWO_LAYERS, as_float32
from tinygrad_cifar.doctor import DiagnosisError, diagnose


@pytest.mark.parametrize("network", EXAMPLES)
def test_right_gradients_are_right(network: str) -> None:
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(), example.problem)
    assert (report.status, report.mistakes, report.notes) == ("right", (), ())
    assert report.sentences == ("All gradients are right.",)


@pytest.mark.parametrize(
    "change",
    [
        "return dW, db -> return [dW, db]",
        "return dW, db -> return {'grad_b': db, 'grad_W': dW}",
        "return dW, db -> return {'dW': dW, 'db': db}",
        "return dW, db -> return dW, db[:, 0]",
        "return dW, db -> return db, dW",
        "return dW, db -> return dW.T, db.T",
        "return dW, db -> return dW.astype(np.float32), db.astype(np.float32)",
        "G = P - Y -> G = (P - Y).astype(np.float32)",
    ],
)
def test_the_container_order_layout_and_precision_are_no_mistakes(change: str) -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients(change), SOFTMAX.problem)
    assert report.status == "right", str(report)


@pytest.mark.parametrize("given", ["function", "arrays"])
@pytest.mark.parametrize("convert", ["problem", "problem and labels", "inside"])
@pytest.mark.parametrize("network", EXAMPLES)
def test_right_gradients_in_float32_are_right(network: str, convert: str, given: str) -> None:
    example = EXAMPLES[network]
    problem = example.problem if convert == "inside" else {k: as_float32(v) for k, v in example.problem.items()}
    if convert == "problem and labels" and "Y" in problem:
        problem["Y"] = example.problem["Y"]  # in float64, so that the gradients are float64 of float32 numbers
    right = example.gradients()

    def gradients(**arguments: Any) -> Any:
        return right(**{k: as_float32(v) if convert == "inside" else v for k, v in arguments.items()})

    report = diagnose(example.cost, gradients if given == "function" else gradients(**problem), problem)
    assert report.status == "right", str(report)


def test_names_that_differ_in_their_case_are_told_apart() -> None:
    def cost(X: Any, t: Any, W: Any, w: Any) -> Any:
        return tg.sum((tg.tanh(X @ W) @ w - t) ** 2)

    def gradients(X: Any, t: Any, W: Any, w: Any) -> Any:
        H = np.tanh(X @ W)
        e = 2 * (H @ w - t)
        return {"w": H.T @ e, "W": X.T @ (np.outer(e, w) * (1 - H**2))}

    rng = np.random.default_rng(0)
    shapes = {"X": (6, 3), "t": (6,), "W": (3, 2), "w": (2,)}
    problem = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    assert diagnose(cost, gradients, problem, wrt=("W", "w")).status == "right"


def test_a_difference_on_the_given_problem_only_is_not_right() -> None:
    example = SOFTMAX
    right = example.gradients()

    def gradients(X: Any, **others: Any) -> Any:
        dW, db = right(X=X, **others)
        return dW, db + 0.1 * np.arange(3)[:, None] * np.array_equal(X, example.problem["X"])

    report = diagnose(example.cost, gradients, example.problem)
    assert report.status == "not known"
    assert "b" in report.sentences[0]


def test_another_order_is_noted() -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients("return dW, db -> return db, dW"), SOFTMAX.problem)
    assert "another order" in report.notes[0]


def test_a_transposed_convention_is_noted() -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients("return dW, db -> return dW.T, db.T"), SOFTMAX.problem)
    assert "another convention, not a mistake" in report.notes[0]


def test_a_derivative_on_a_kink_is_noted() -> None:
    problem = {**TWO_LAYERS.problem, "W1": np.zeros((3, 3)), "b1": np.zeros(3)}
    gradients = TWO_LAYERS.gradients("(A > 0) -> (A >= 0)")
    for given in (gradients, gradients(**problem)):
        report = diagnose(TWO_LAYERS.cost, given, problem)
        assert report.status == "right"
        assert any("kink" in note for note in report.notes)


def test_the_derivative_0_of_a_maximum_in_a_tie_is_noted() -> None:
    def cost(X: Any, W: Any) -> Any:
        return tg.sum(tg.maximum(X @ W, 0) ** 2 + 3 * tg.maximum(X @ W, 0))

    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(6, 3)), rng.normal(size=(3, 4))
    X[2] = 0
    W[:, 1] = 0
    A = X @ W
    report = diagnose(cost, (X.T @ ((A > 0) * (2 * A + 3)),), {"X": X, "W": W}, wrt="W")
    assert report.status == "right", str(report)
    assert "kink" in report.notes[0]


@pytest.mark.parametrize("has_names", [True, False])
def test_transposed_gradients_of_an_autoencoder_are_in_the_order_of_its_parameters(has_names: bool) -> None:
    def cost(X: Any, W1: Any, W2: Any) -> Any:
        return tg.sum((tg.tanh(X @ W1) @ W2 - X) ** 2)

    rng = np.random.default_rng(0)
    problem = {"X": rng.normal(size=(6, 5)), "W1": rng.normal(size=(5, 7)), "W2": rng.normal(size=(7, 5))}

    def gradients(X: Any, W1: Any, W2: Any) -> Any:
        H = np.tanh(X @ W1)
        G = 2 * (H @ W2 - X)
        dW2, dW1 = H.T @ G, X.T @ (G @ W2.T * (1 - H**2))
        return {"W1": dW1.T, "W2": dW2.T} if has_names else (dW1.T, dW2.T)

    report = diagnose(cost, gradients, problem, wrt=("W1", "W2"))
    assert report.status == "right", str(report)
    assert "transposed" in report.notes[0]


def test_gradients_of_many_parameters_of_one_shape_are_assigned_quickly() -> None:
    def cost(X: Any, b: Any) -> Any:
        for bias in b:
            X = tg.tanh(X + bias)
        return tg.sum(X**2)

    rng = np.random.default_rng(0)
    problem = {"X": rng.normal(size=(4, 3)), "b": [rng.normal(size=3) for _ in range(16)]}
    variables = [tg.Tensor(b, requires_grad=True) for b in problem["b"]]
    given = [g.data for g in tg.grad(cost(problem["X"], variables), variables)]
    given[3] = np.ones((4, 3))  # not summed over the batch
    assert diagnose(cost, {"b": given}, problem, wrt="b", time_limit=2).status == "not known"


def test_a_size_that_is_written_as_a_number_is_noted() -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients("N = X.shape[1] -> N = 7"), SOFTMAX.problem)
    assert report.status == "right"
    assert "written as a number" in report.notes[0]


@pytest.mark.parametrize(
    ("network", "change"),
    [
        ("softmax", "return dW, db -> dW[:, 2] *= 1.1; return dW, db"),
        ("softmax", "return dW, db -> dW[1] += 0.01; return dW, db"),
        ("softmax", "return dW, db -> return dW + 0.01 * np.sin(np.arange(dW.size)).reshape(dW.shape), db"),
        ("two layers", "return dW1, -> dW1[0, 0] += 0.5; return dW1,"),
    ],
)
@pytest.mark.parametrize("given", ["function", "arrays"])
def test_gradients_that_follow_no_formula_are_not_explained(network: str, change: str, given: str) -> None:
    example = EXAMPLES[network]
    gradients = example.gradients(change)
    report = diagnose(example.cost, gradients if given == "function" else gradients(**example.problem), example.problem)
    assert report.status == "not known"
    assert report.mistakes == ()
    assert "is not known" in report.sentences[0]


def test_what_is_known_is_said_when_the_mistake_is_not() -> None:
    gradients = SOFTMAX.gradients("return dW, db -> dW[:, 2] *= 1.1; return dW, db")
    report = diagnose(SOFTMAX.cost, gradients, SOFTMAX.problem)
    assert report.known == ("The gradient of b is right.", "W: 3 of 15 elements are wrong, all of them in column 2.")
    assert [(row.parameter, row.verdict) for row in report.rows] == [("b", "right"), ("W", "wrong")]


def test_the_table_goes_from_the_last_layer_back() -> None:
    report = diagnose(DEEP.cost, DEEP.gradients(), DEEP.problem)
    assert [row.parameter for row in report.rows][:2] == ["b[2]", "W[2]"]
    assert report.rows[-1].parameter == "W[0]"


def test_the_ratio_is_named_and_the_table_fits_80_columns() -> None:
    report = diagnose(DEEP.cost, DEEP.gradients("dbeta[k] = G.sum(0) -> dbeta[k] = G.mean(0)"), DEEP.problem)
    assert {row.ratio for row in report.rows if row.parameter.startswith("beta")} == {"1/N"}
    assert max(map(len, str(report).splitlines())) <= 80


def test_a_model_of_the_library_is_diagnosed() -> None:
    model = tg.models.SoftmaxRegression(4, 3, rng=0)
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 1])

    def gradients(X: Any, labels: Any, lam: float, W: Any, b: Any) -> Any:
        S = X @ W + b
        G = np.exp(S) / np.exp(S).sum(1, keepdims=True) - np.eye(3)[labels]
        return X.T @ G / len(X) + lam * W, G.sum(0) / len(X)

    report = diagnose(model, gradients, X=X, labels=labels, lam=0.1)
    assert [mistake.kind for mistake in report.mistakes] == ["l2_factor"]


def test_the_sentence_gives_both_formulas_and_the_line() -> None:
    report = diagnose(TWO_LAYERS.cost, TWO_LAYERS.gradients("dH * (A > 0) -> dH"), TWO_LAYERS.problem)
    (mistake,) = report.mistakes
    assert mistake.right == "d(X @ W1 + b1) = dH * ((X @ W1 + b1) > 0)"
    assert mistake.yours == "d(X @ W1 + b1) = dH"
    assert mistake.source == "H = tg.relu(X @ W1 + b1)"
    assert mistake.parameters == ("W1", "b1")


# -- found by trying it as a new user would ----------------------------------------------------------------------------

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("function", "mask"),
    [
        (tg.tanh, lambda a: a > 0),
        (tg.sigmoid, lambda a: a > 0),
        (tg.exp, lambda a: a > 0),
        (tg.square, lambda a: a > 0),
        (np.abs, lambda a: a > 0),
    ],
    ids=["tanh", "sigmoid", "exp", "square", "absolute"],
)
def test_the_mask_of_a_relu_is_wrong_for_other_functions(function, mask):
    def cost(X, t, V):
        return tg.mean(tg.sum(function(X @ V), axis=1) * t)

    def gradients(X, t, V):
        return X.T @ (t[:, None] * mask(X @ V)) / len(t)

    problem = {"X": RNG.normal(size=(8, 3)), "t": RNG.normal(size=8), "V": RNG.normal(size=(3, 4))}
    assert diagnose(cost, gradients, problem, wrt="V").status != "right"


@pytest.mark.parametrize("b", [0.3, np.float64(0.3), np.array(0.3)], ids=["float", "NumPy", "array"])
def test_a_number_that_is_named_is_a_parameter(b):
    def cost(A, t, w, b):
        return tg.mean((A @ w + b - t) ** 2)

    def gradients(A, t, w, b):
        r = 2 * (A @ w + b - t) / len(t)
        return {"w": A.T @ r, "b": factor * r.sum()}

    problem = {"A": RNG.normal(size=(9, 4)), "t": RNG.normal(size=9), "w": RNG.normal(size=4), "b": b}
    factor = 1
    assert diagnose(cost, gradients, problem, wrt=["w", "b"]).status == "right"
    factor = 99
    assert [row.verdict for row in diagnose(cost, gradients, problem, wrt=["w", "b"]).rows] == ["wrong", "right"]


def test_a_softmax_along_the_wrong_axis_with_shifted_scores_is_not_right():
    def cost(X, Y, W):
        return -tg.sum(Y * tg.log(tg.softmax(X @ W, axis=1))) / len(X)

    def gradients(X, Y, W):
        z = X @ W
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return X.T @ (e / e.sum(axis=0) - Y) / len(X)

    problem = {"X": RNG.normal(size=(6, 5)), "Y": np.eye(4)[[0, 1, 2, 3, 0, 1]], "W": RNG.normal(size=(5, 4))}
    assert diagnose(cost, gradients, problem, wrt="W").status != "right"


@pytest.mark.parametrize(("name", "value"), [("time_limit", "a"), ("time_limit", 0), ("seed", "a"), ("seed", -1)])
def test_limits_that_are_no_numbers_are_named(name, value):
    with pytest.raises(DiagnosisError, match=f"{name}: must be"):
        diagnose(lambda w: tg.sum(w * w), lambda w: 2 * w, w=np.ones(2), **{name: value})


@pytest.mark.parametrize("change", ["return dW, db -> return dW, db[:, 0]", "return dW, db -> return dW, db.T"])
def test_a_right_gradient_of_another_shape_is_noted(change: str) -> None:
    report = diagnose(SOFTMAX.cost, SOFTMAX.gradients(change), SOFTMAX.problem)
    assert report.status == "right"
    assert "b - eta * gradient has another shape" in " ".join(report.notes)


def test_a_number_that_is_zero_is_noted() -> None:
    """The L2 term cannot be compared then."""
    wrong = SOFTMAX.gradients("    dW = dW + 2 * lam * W -> ")
    report = diagnose(SOFTMAX.cost, wrong, SOFTMAX.problem | {"lam": 0.0})
    assert "lam is 0, so what is multiplied by it cannot be compared" in " ".join(report.notes)


@pytest.mark.parametrize("convert", [lambda g: g, lambda g: g.astype(np.float32)], ids=["float64", "float32"])
@pytest.mark.parametrize("size", [1e-4, 4e-4])
def test_a_small_difference_that_is_more_than_rounding_is_not_right(size: float, convert: Any) -> None:
    def cost(X: Any, t: Any, W: Any) -> Any:
        return tg.mean((tg.tanh(X @ W) - t) ** 2)

    def gradients(X: Any, t: Any, W: Any) -> Any:
        H = np.tanh(X @ W)
        g = X.T @ (2 * (H - t) * (1 - H**2)) / t.size
        return convert(g + size * np.abs(g).max() * np.sin(np.arange(g.size)).reshape(g.shape))

    rng = np.random.default_rng(0)
    report = diagnose(cost, gradients, X=rng.normal(size=(8, 3)), t=rng.normal(size=(8, 2)), W=rng.normal(size=(3, 2)))
    assert report.status == "not known", str(report)
    assert "more than rounding" in " ".join(report.known)
