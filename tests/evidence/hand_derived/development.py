"""The development set: programs in the style of the course, with names that students use."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests.evidence.hand_derived.programs import Edit, Program, edit, penalty_edits

Random = np.random.Generator

ACTIVATIONS = {
    "relu": ("tg.relu({})", "np.maximum({}, 0)", "({0} > 0)"),
    "tanh": ("tg.tanh({})", "np.tanh({})", "(1 - {1}**2)"),
    "sigmoid": ("tg.sigmoid({})", "1 / (1 + np.exp(-{}))", "({1} * (1 - {1}))"),
}
OTHERS = {"tanh": "({1} * (1 - {1}))", "sigmoid": "(1 - {1}**2)"}
AT_THE_INPUT = {"tanh": "(1 - {0}**2)", "sigmoid": "({0} * (1 - {0}))"}


def draw_labels(rng: Random, classes: int, images: int) -> np.ndarray[Any, Any]:
    """Return labels that contain every class if there are enough images."""
    return rng.permutation(np.concatenate([np.arange(classes), rng.integers(classes, size=images)])[:images])


@cache
def programs() -> tuple[Program, ...]:
    """Return the programs of the set."""
    found = [softmax_columns(), softmax_rows(), svm_columns(), svm_rows()]
    found += [two_layers_columns(name) for name in ACTIVATIONS] + [two_layers_rows(name) for name in ACTIVATIONS]
    found += [k_layers(k) for k in (2, 3, 4, 5)]
    return (*found, patchify_from_patches(), patchify_by_convolution())


# -- one layer ---------------------------------------------------------------------------------------------------------


def softmax_columns() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 6, 7]), rng.choice([3, 4]), rng.choice([8, 9, 10])
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((d, n)), "Y": np.eye(k)[y].T, "y": y, "lam": float(rng.choice([0.1, 0.3]))}
        return arrays | {"W": rng.standard_normal((k, d)), "b": rng.standard_normal((k, 1))}

    penalty = " + CLAM * PENALTY(W)"
    costs = {
        "steps": f"""
    N = X.shape[1]
    S = tg.matmul(W, X) + b
    P = tg.softmax(S, axis=0)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss{penalty}
""",
        "own softmax": f"""
    N = X.shape[1]
    S = W @ X + b
    E = tg.exp(S)
    P = E / tg.sum(E, axis=0, keepdims=True)
    p = tg.sum(Y * P, axis=0)
    return tg.mean(-tg.log(p)){penalty}
""",
        "one line": f"""
    N = Y.shape[1]
    return -tg.sum(Y * tg.log(tg.softmax(tg.matmul(W, X) + b, axis=0))) / N{penalty}
""",
        "steps, labels": f"""
    N = len(y)
    S = W @ X + b
    P = tg.softmax(S, axis=0)
    loss = -tg.log(P[y, np.arange(N)]).sum() / N
    return loss{penalty}
""",
    }
    gradients = """
    N = X.shape[1]
    S = W @ X + b
    E = np.exp(S - S.max(axis=0))
    P = E / E.sum(axis=0)
    G = -(Y - P) / N
    dW = G @ X.T + DLAM * W
    db = G.sum(axis=1, keepdims=True)
"""
    edits = [
        *penalty_edits(("W",), "b"),
        edit("missing_1_over_n", "-(Y - P) / N", "-(Y - P)"),
        edit("double_1_over_n", "dW = G @ X.T", "dW = G @ X.T / N", "db = G", "db = 1 / N * G"),
        edit("misplaced_1_over_n", "-(Y - P) / N", "-(Y - P)", "db = G", "db = 1 / N * G", place="W", factor="N"),
        edit("divided_by_other", "-(Y - P) / N", "-(Y - P) / Y.shape[0]"),
        edit("db_from_dw", "db = G.sum(axis=1, keepdims=True)", "db = (G @ X.T).sum(axis=1, keepdims=True)", place="b"),
        edit("db_mean", "G.sum(axis=1", "G.mean(axis=1", place="b"),
        edit("db_not_summed", "db = G.sum(axis=1, keepdims=True)", "db = G", place="b"),
        edit("db_wrong_axis", "G.sum(axis=1", "G.sum(axis=0", place="b"),
        edit("dw_transposed", "G @ X.T + DLAM * W", "X @ G.T + DLAM * W.T", place="W"),
        edit("sign_all", "dW = ", "dW = -(", "* W\n", "* W)\n", "db = G", "db = -G"),
        edit("sign_loss", "-(Y - P)", "(Y - P)"),
        edit("sign_param", "db = G", "db = -G", place="b"),
        edit("softmax_diagonal", "G = -(Y - P) / N", "G = -Y / P / N * P * (1 - P)"),
        edit("softmax_sum_forgotten", "G = -(Y - P) / N", "G = -Y / N"),
        edit("softmax_unnormalised", "P = E / E.sum(axis=0)", "P = E"),
        edit("overwritten", "dW = G @ X.T + DLAM * W", "dW = G @ X.T\n    dW = DLAM * W", place="W"),
        edit("w_for_dw", "dW = G @ X.T + DLAM * W", "dW = W", place="W"),
        edit("off_by_one", "G @ X.T", "G[:, :-1] @ X[:, :-1].T", "G.sum(", "G[:, :-1].sum("),
        edit("off_by_one", "-(Y - P) / N", "-(np.roll(Y, 1, axis=1) - P) / N"),
        edit("bias_forgotten", "S = W @ X + b", "S = W @ X", place="b"),
        edit("detached", "db = G.sum(axis=1, keepdims=True)", "db = np.zeros_like(b)", place="b"),
        edit("momentum_factor", "* W\n", "* W\n    dW = 0.1 * dW\n", "db = G", "db = 0.1 * G"),
    ]
    return Program(
        *("softmax", "softmax, columns", ("X", "Y", "lam"), ("W", "b"), costs, "Y = np.eye(len(b))[y].T"),
        *(gradients, tuple(edits), ("S", "P", "loss", "p", "E"), draw),
        ({}, {"W": "weights", "b": "bias", "X": "images"}, {"lam": "reg", "W": "W_out", "b": "b_out"}),
    )


def softmax_rows() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 6, 7]), rng.choice([3, 4]), rng.choice([8, 9, 10])
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((n, d)), "Y": np.eye(k)[y], "y": y, "lam": float(rng.choice([0.05, 0.2]))}
        return arrays | {"W": rng.standard_normal((d, k)), "b": rng.standard_normal(k)}

    penalty = " + CLAM * PENALTY(W)"
    costs = {
        "logsumexp, labels": f"""
    N = X.shape[0]
    S = X @ W + b
    logP = S - tg.logsumexp(S, axis=1, keepdims=True)
    loss = -tg.mean(logP[np.arange(N), y])
    return loss{penalty}
""",
        "steps": f"""
    N = X.shape[0]
    S = X @ W + b
    P = tg.softmax(S)
    loss = -tg.mean(tg.sum(Y * tg.log(P), axis=1))
    J = loss{penalty}
    return J
""",
        "one line, labels": f"""
    N = len(X)
    return -tg.sum(tg.log(tg.softmax(X @ W + b, axis=1)[np.arange(N), y])) / N{penalty}
""",
    }
    gradients = """
    N = len(X)
    S = X @ W + b
    P = np.exp(S)
    P = P / P.sum(axis=1, keepdims=True)
    G = P.copy()
    G -= Y
    G /= N
    dW = np.dot(X.T, G) + DLAM * W
    db = np.sum(G, axis=0)
"""
    dw = "np.dot(X.T, G) + DLAM * W"
    edits = [
        *penalty_edits(("W",), "b"),
        edit("missing_1_over_n", "    G /= N\n", ""),
        edit("double_1_over_n", "    G /= N\n", "    G /= N\n    G /= N\n"),
        edit("misplaced_1_over_n", "    G /= N\n", "", "np.dot(X.T, G)", "np.dot(X.T, G) / N", place="b", factor="N"),
        edit("db_mean", "np.sum(G, axis=0)", "np.mean(G, axis=0)", place="b"),
        edit("db_not_summed", "np.sum(G, axis=0)", "G", place="b"),
        edit("db_wrong_axis", "np.sum(G, axis=0)", "np.sum(G, axis=1)", place="b"),
        edit("db_from_dw", "np.sum(G, axis=0)", "np.dot(X.T, G).sum(axis=0)", place="b"),
        edit("dw_transposed", dw, "np.dot(G.T, X) + DLAM * W.T", place="W"),
        edit("sign_all", f"dW = {dw}", f"dW = -({dw})", "db = np", "db = -np"),
        edit("sign_loss", "G = P.copy()\n    G -= Y", "G = Y.copy()\n    G -= P"),
        edit("softmax_diagonal", "G = P.copy()\n    G -= Y\n", "G = (-Y / P) * P * (1 - P)\n"),
        edit("softmax_sum_forgotten", "G = P.copy()\n    G -= Y\n", "G = (-Y / P) * P\n"),
        edit("softmax_unnormalised", "    P = P / P.sum(axis=1, keepdims=True)\n", ""),
        edit("overwritten", f"dW = {dw}", "dW = np.dot(X.T, G)\n    dW = DLAM * W", place="W"),
        edit("w_for_dw", f"dW = {dw}", "dW = W.copy()", place="W"),
        edit("off_by_one", "np.dot(X.T, G)", "np.dot(X[1:].T, G[1:])", "np.sum(G,", "np.sum(G[1:],"),
        edit("bias_forgotten", "S = X @ W + b", "S = X @ W", place="b"),
        edit("detached", dw, "DLAM * W", place="W"),
    ]
    return Program(
        *("softmax", "softmax, rows", ("X", "Y", "lam"), ("W", "b"), costs, "Y = np.eye(len(b))[y]"),
        *(gradients, tuple(edits), ("S", "P", "loss", "logP"), draw),
        ({}, {"W": "theta", "b": "bias", "lam": "l2"}, {"W": "W_1", "b": "b_1"}),
    )


def svm_columns() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 6]), rng.choice([3, 4]), rng.choice([8, 9, 11])
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((d, n)), "Y": np.eye(k)[y].T, "y": y, "lam": float(rng.choice([0.1, 0.3]))}
        return arrays | {"W": 0.5 * rng.standard_normal((k, d)), "b": 0.5 * rng.standard_normal((k, 1))}

    penalty = " + CLAM * PENALTY(W)"
    costs = {
        "steps": f"""
    N = X.shape[1]
    S = W @ X + b
    own = tg.sum(S * Y, axis=0, keepdims=True)
    M = tg.maximum(0, S - own + 1) * (1 - Y)
    loss = tg.sum(M) / N
    return loss{penalty}
""",
        "minus K, labels": f"""
    N = X.shape[1]
    S = tg.matmul(W, X) + b
    own = S[y, np.arange(N)]
    M = tg.relu(S - own + 1.0)
    loss = tg.sum(M) / N - 1
    return loss{penalty}
""",
    }
    gradients = """
    N = X.shape[1]
    S = W @ X + b
    own = (S * Y).sum(axis=0)
    V = 1.0 * (S - own + 1 > 0) * (Y == 0)
    G = (V - Y * V.sum(axis=0)) / N
    dW = G @ X.T + DLAM * W
    db = G.sum(axis=1, keepdims=True)
"""
    edits = [
        *penalty_edits(("W",), "b"),
        edit("missing_1_over_n", "V.sum(axis=0)) / N", "V.sum(axis=0))"),
        edit("double_1_over_n", "V.sum(axis=0)) / N", "V.sum(axis=0)) / N**2"),
        edit("misplaced_1_over_n", "db = G", "db = N * G", place="b", factor="N"),
        edit("db_mean", "G.sum(axis=1", "G.mean(axis=1", place="b"),
        edit("db_from_dw", "db = G.sum(axis=1", "db = dW.sum(axis=1", place="b"),
        edit("db_not_summed", "db = G.sum(axis=1, keepdims=True)", "db = G", place="b"),
        edit("dw_transposed", "G @ X.T + DLAM * W", "(G @ X.T + DLAM * W).T", place="W"),
        edit("sign_all", "dW = ", "dW = -(", "* W\n", "* W)\n", "db = G", "db = -G"),
        edit("sign_loss", "G = (V - Y * V.sum(axis=0))", "G = (Y * V.sum(axis=0) - V)"),
        edit("hinge_own_missing", "(V - Y * V.sum(axis=0)) / N", "V / N", place="own"),
        edit("hinge_own_counted", "Y * V.sum(axis=0)", "Y * (V.sum(axis=0) + 1)", place="own"),
        edit("hinge_own_once", "Y * V.sum(axis=0)", "Y", place="own"),
        edit("activation_derivative_missing", "1.0 * (S - own + 1 > 0) * (Y == 0)", "1.0 - Y", place="M"),
        edit("mask_wrong_array", "S - own + 1 > 0", "S > 0", place="M", wrong="S"),
        edit("margin_forgotten", "S - own + 1 > 0", "S - own > 0", place="M"),
        edit("overwritten", "dW = G @ X.T + DLAM * W", "dW = G @ X.T\n    dW = DLAM * W", place="W"),
        edit("w_for_dw", "dW = G @ X.T + DLAM * W", "dW = W", place="W"),
        edit("bias_forgotten", "S = W @ X + b", "S = W @ X", place="b"),
        edit("off_by_one", "G @ X.T", "G[:, 1:] @ X[:, 1:].T", "G.sum(", "G[:, 1:].sum("),
        edit("detached", "G.sum(axis=1, keepdims=True)", "0 * b", place="b"),
    ]
    return Program(
        *("svm", "SVM, columns", ("X", "Y", "lam"), ("W", "b"), costs, "Y = np.eye(len(b))[y].T"),
        *(gradients, tuple(edits), ("S", "M", "loss"), draw),
        ({}, {"W": "W_svm", "b": "b_svm"}, {"M": "margins", "S": "scores", "lam": "reg"}),
    )


def svm_rows() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 5]), rng.choice([3, 4, 6]), rng.choice([8, 9, 11])
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((n, d)), "Y": np.eye(k)[y], "y": y, "lam": float(rng.choice([0.1, 0.3]))}
        return arrays | {"W": 0.5 * rng.standard_normal((d, k)), "b": 0.5 * rng.standard_normal((1, k))}

    penalty = " + CLAM * PENALTY(W)"
    costs = {
        "labels": f"""
    N = X.shape[0]
    S = X @ W + b
    own = S[np.arange(N), y].reshape(N, 1)
    others = np.ones(S.shape)
    others[np.arange(N), y] = 0
    M = others * tg.relu(S - own + 1)
    return tg.sum(M) / N{penalty}
""",
        "one line": f"""
    N = X.shape[0]
    S = X @ W + b
    return tg.mean(tg.sum((1 - Y) * tg.relu(1 + S - (S * Y).sum(axis=1, keepdims=True)), axis=1)){penalty}
""",
    }
    gradients = """
    N = X.shape[0]
    S = X @ W + b
    y = Y.argmax(axis=1)
    M = S - S[np.arange(N), y][:, None] + 1
    G = np.zeros_like(S)
    G[M > 0] = 1
    G[np.arange(N), y] = 0
    count = G.sum(axis=1)
    G[np.arange(N), y] -= count
    dW = X.T @ G / N + DLAM * W
    db = G.sum(axis=0, keepdims=True) / N
"""
    edits = [
        *penalty_edits(("W",), "b"),
        edit("missing_1_over_n", "X.T @ G / N", "X.T @ G", "keepdims=True) / N", "keepdims=True)"),
        edit("misplaced_1_over_n", "keepdims=True) / N", "keepdims=True)", place="b", factor="N"),
        edit("db_mean", "G.sum(axis=0, keep", "G.mean(axis=0, keep", place="b"),
        edit("l2_over_n", "X.T @ G / N + DLAM * W", "(X.T @ G + DLAM * W) / N", factor="1/N"),
        edit("sign_all", "dW = X.T @ G / N + DLAM * W", "dW = -X.T @ G / N - DLAM * W", "db = G", "db = -G"),
        edit("sign_loss", "X.T @ G / N", "-X.T @ G / N", "db = G", "db = -G"),
        edit("sign_param", "db = G", "db = -G", place="b"),
        edit("hinge_own_missing", "    G[np.arange(N), y] -= count\n", "", place="own"),
        edit("hinge_own_counted", "    G[np.arange(N), y] = 0\n    count", "    count", "y] -= count", "y] = -count"),
        edit("hinge_own_sign", "y] -= count", "y] += count", place="own"),
        edit("dw_transposed", "X.T @ G / N + DLAM * W", "G.T @ X / N + DLAM * W.T", place="W"),
        edit("overwritten", "dW = X.T @ G / N + DLAM * W", "dW = X.T @ G / N\n    dW = DLAM * W", place="W"),
        edit("bias_forgotten", "S = X @ W + b", "S = X @ W", place="b"),
        edit("momentum_factor", "* W\n", "* W\n    dW = 0.1 * dW\n", "db = G", "db = 0.1 * G"),
    ]
    return Program(
        *("svm", "SVM, rows", ("X", "Y", "lam"), ("W", "b"), costs, "Y = np.eye(b.size)[y]"),
        *(gradients, tuple(edits), ("S", "M", "loss"), draw),
        ({}, {"W": "w", "b": "bias"}, {"M": "margins", "X": "images"}),
    )


# -- two layers --------------------------------------------------------------------------------------------------------


def activation_edits(name: str, used: str, a: str, h: str, place: str) -> list[Edit]:
    """Return the mistakes of an activation whose derivative is the text ``used``."""
    edits = [edit("activation_derivative_missing", f" * {used}", "", place=place)]
    if name == "relu":
        edits.append(edit("mask_wrong_array", used, f"({h} >= 0)", place=place, wrong=h))
    else:
        edits.append(edit("other_derivative", used, OTHERS[name].format(a, h), place=place))
        edits.append(edit("derivative_at_input", used, AT_THE_INPUT[name].format(a, h), place=place, wrong=a))
    return edits


def two_layers_columns(name: str) -> Program:
    tensor, array, derivative = ACTIVATIONS[name]
    used = derivative.format("A", "H")

    def draw(rng: Random) -> dict[str, Any]:
        k = rng.choice([3, 4])
        n = rng.choice([8, 9, 10])
        d = h = k  # so that a matrix can be transposed, or one array taken for another, without an error
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((d, n)), "Y": np.eye(k)[y].T, "y": y, "lam": float(rng.choice([0.02, 0.1]))}
        arrays |= {"W1": rng.standard_normal((h, d)), "b1": rng.standard_normal((h, 1))}
        return arrays | {"W2": rng.standard_normal((k, h)), "b2": rng.standard_normal((k, 1))}

    penalty = " + CLAM * PENALTY(W1, W2)"
    costs = {
        "steps": f"""
    N = X.shape[1]
    A = W1 @ X + b1
    H = {tensor.format("A")}
    S = W2 @ H + b2
    P = tg.softmax(S, axis=0)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss{penalty}
""",
        "functions": f"""
    N = X.shape[1]
    A = tg.add(tg.matmul(W1, X), b1)
    H = {tensor.format("A")}
    S = tg.add(tg.matmul(W2, H), b2)
    P = tg.softmax(S, axis=0)
    loss = tg.mean(-tg.log(tg.sum(tg.multiply(Y, P), axis=0)))
    return tg.add(loss, CLAM * PENALTY(W1, W2))
""",
        "one line": f"""
    N = X.shape[1]
    return -tg.sum(Y * tg.log(tg.softmax(W2 @ {tensor.format("W1 @ X + b1")} + b2, axis=0))) / N{penalty}
""",
        "steps, labels": f"""
    N = X.shape[1]
    A = W1 @ X + b1
    H = {tensor.format("A")}
    S = W2 @ H + b2
    loss = tg.mean(tg.logsumexp(S, axis=0) - S[y, np.arange(N)])
    return loss{penalty}
""",
    }
    gradients = f"""
    N = X.shape[1]
    A = W1 @ X + b1
    H = {array.format("A")}
    S = W2 @ H + b2
    E = np.exp(S - np.max(S))
    P = E / np.sum(E, axis=0)
    G = -(Y - P)
    dW2 = G @ H.T / N + DLAM * W2
    db2 = G.sum(axis=1, keepdims=True) / N
    D = W2.T @ G
    D = D * {used}
    dW1 = D @ X.T / N + DLAM * W1
    db1 = D.sum(axis=1, keepdims=True) / N
"""
    layer = "A H W1 b1"
    edits = [
        *penalty_edits(("W1", "W2"), "b1"),
        *activation_edits(name, used, "A", "H", ""),
        edit(
            "missing_1_over_n",
            *("G @ H.T / N", "G @ H.T", "D @ X.T / N", "D @ X.T"),
            *("db2 = G.sum(axis=1, keepdims=True) / N", "db2 = G.sum(axis=1, keepdims=True)"),
            *("db1 = D.sum(axis=1, keepdims=True) / N", "db1 = D.sum(axis=1, keepdims=True)"),
        ),
        edit("double_1_over_n", "G = -(Y - P)", "G = -(Y - P) / N"),
        edit("misplaced_1_over_n", "D = W2.T @ G\n", "D = W2.T @ G / N\n", place=layer, factor="1/N"),
        edit("misplaced_1_over_n", "D @ X.T / N", "D @ X.T", place="W1", factor="N"),
        edit("db_mean", "G.sum(axis=1", "G.mean(axis=1", "D.sum(axis=1", "D.mean(axis=1", place="b1 b2"),
        edit("db_mean", "D.sum(axis=1", "D.mean(axis=1", place="b1"),
        edit("db_not_summed", "db1 = D.sum(axis=1, keepdims=True) / N", "db1 = D / N", place="b1"),
        edit("db_wrong_axis", "G.sum(axis=1, keepdims=True)", "G.sum(axis=0, keepdims=True)", place="b2"),
        edit("db_from_dw", "db1 = D.sum", "db1 = (D @ X.T).sum", place="b1"),
        edit("transposed_factor", "D = W2.T @ G\n", "D = W2 @ G\n", place="W2"),
        edit("dw_transposed", "dW1 = D @ X.T / N", "dW1 = (D @ X.T / N).T", place="W1"),
        edit("sign_loss", "-(Y - P)", "(Y - P)"),
        edit("sign_param", "D = W2.T @ G\n", "D = -W2.T @ G\n", place=layer),
        edit("sign_all", *[t for p in ["W1", "b1", "W2", "b2"] for t in (f"d{p} = ", f"d{p} = -1 * (")], *_closed()),
        edit("softmax_diagonal", "G = -(Y - P)", "G = -Y * (1 - P)"),
        edit("softmax_sum_forgotten", "G = -(Y - P)", "G = -Y"),
        edit("overwritten", "    D = W2.T @ G\n", "    dW2 = DLAM * W2\n    D = W2.T @ G\n", place="W2"),
        edit("updated_before_delta", "D = W2.T @ G\n", "W2 = W2 - 0.1 * dW2\n    D = W2.T @ G\n", place="W2"),
        edit("w_for_dw", "dW1 = D @ X.T / N + DLAM * W1", "dW1 = W1", place="W1"),
        edit("wrong_variable", "G @ H.T", "G @ X.T", place="W2 H", wrong="X"),
        edit("wrong_variable", "G @ H.T", "G @ A.T", place="W2 H", wrong="A"),
        edit("wrong_variable", "D @ X.T", "D @ H.T", place="W1 X", wrong="H"),
        edit("detached", "D = W2.T @ G\n", "D = np.zeros_like(A)\n", place=layer),
        edit("bias_forgotten", "A = W1 @ X + b1", "A = W1 @ X", place="b1"),
        edit("bias_forgotten", "S = W2 @ H + b2", "S = W2 @ H", place="b2"),
        edit("off_by_one", "-(Y - P)", "-(np.roll(Y, -1, axis=1) - P)"),
    ]
    if name == "relu":
        edits.append(edit("mask_wrong_array", used, "(X > 0)", place=layer, wrong="X"))
        edits.append(edit("mask_wrong_array", used, "(D > 0)", place=layer, wrong="D"))
    return Program(
        *("two layers", f"two layers, columns, {name}", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs),
        *("Y = np.eye(len(b2))[y].T", gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, {"A": "s1", "H": "h", "S": "s", "G": "g"}, {"W1": "Wh", "b1": "bh", "W2": "Wo", "b2": "bo", "lam": "reg"}),
    )


def _closed() -> tuple[str, ...]:
    ends = ("DLAM * W2", "db2 = -1 * (G.sum(axis=1, keepdims=True) / N")
    ends += ("DLAM * W1", "db1 = -1 * (D.sum(axis=1, keepdims=True) / N")
    return tuple(text for end in ends for text in (f"{end}\n", f"{end})\n"))


def two_layers_rows(name: str) -> Program:
    tensor, array, derivative = ACTIVATIONS[name]
    used = derivative.format("Z1", "A1")

    def draw(rng: Random) -> dict[str, Any]:
        d, h, k, n = rng.choice([4, 5]), rng.choice([6, 7]), 3, rng.choice([9, 10])
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((n, d)), "Y": np.eye(k)[y], "y": y, "lam": float(rng.choice([0.02, 0.1]))}
        arrays |= {"W1": rng.standard_normal((d, h)), "b1": rng.standard_normal(h)}
        return arrays | {"W2": rng.standard_normal((h, k)), "b2": rng.standard_normal(k)}

    penalty = " + CLAM * PENALTY(W1, W2)"
    costs = {
        "steps, labels": f"""
    N = X.shape[0]
    Z1 = X @ W1 + b1
    A1 = {tensor.format("Z1")}
    Z2 = A1 @ W2 + b2
    P = tg.softmax(Z2, axis=1)
    loss = -tg.sum(tg.log(P[np.arange(N), y])) / N
    return loss{penalty}
""",
        "steps": f"""
    N = X.shape[0]
    Z1 = X @ W1 + b1
    A1 = {tensor.format("Z1")}
    Z2 = A1 @ W2 + b2
    loss = tg.mean(tg.logsumexp(Z2, axis=1) - tg.sum(Y * Z2, axis=1))
    return loss{penalty}
""",
    }
    gradients = f"""
    N = X.shape[0]
    Z1 = X @ W1 + b1
    A1 = {array.format("Z1")}
    Z2 = A1 @ W2 + b2
    P = np.exp(Z2) / np.exp(Z2).sum(axis=1, keepdims=True)
    dZ2 = (P - Y) / N
    dW2 = A1.T @ dZ2 + DLAM * W2
    db2 = dZ2.sum(axis=0)
    dA1 = dZ2 @ W2.T
    dZ1 = dA1 * {used}
    dW1 = X.T @ dZ1 + DLAM * W1
    db1 = dZ1.sum(axis=0)
"""
    edits = [
        *penalty_edits(("W1", "W2"), "b2"),
        *activation_edits(name, used, "Z1", "A1", ""),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N / N"),
        edit("divided_by_other", "(P - Y) / N", "(P - Y) / Y.shape[1]"),
        edit("db_mean", "dZ2.sum(", "dZ2.mean(", "dZ1.sum(", "dZ1.mean(", place="b1 b2"),
        edit("db_not_summed", "db2 = dZ2.sum(axis=0)", "db2 = dZ2", place="b2"),
        edit("db_wrong_axis", "dZ1.sum(axis=0)", "dZ1.sum(axis=1)", place="b1"),
        edit("dw_transposed", "dW2 = A1.T @ dZ2 + DLAM * W2", "dW2 = dZ2.T @ A1 + DLAM * W2.T", place="W2"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("sign_param", "db1 = dZ1", "db1 = -dZ1", place="b1"),
        edit("softmax_unnormalised", " / np.exp(Z2).sum(axis=1, keepdims=True)", ""),
        edit("overwritten", "dW1 = X.T @ dZ1 +", "dW1 = X.T @ dZ1\n    dW1 =", place="W1"),
        edit("updated_before_delta", "dA1 =", "W2 = W2 - 0.5 * dW2\n    dA1 =", place="W2"),
        edit("w_for_dw", "dW2 = A1.T @ dZ2 + DLAM * W2", "dW2 = W2", place="W2"),
        edit("wrong_variable", "A1.T @ dZ2", "Z1.T @ dZ2", place="W2 A1", wrong="Z1"),
        edit("detached", "dW1 = X.T @ dZ1 +", "dW1 =", "dZ1.sum(axis=0)", "np.zeros_like(b1)", place="Z1 A1"),
        edit("bias_forgotten", "Z1 = X @ W1 + b1", "Z1 = X @ W1", place="b1"),
        edit("momentum_factor", "(P - Y) / N", "(P - Y) / N * 0.1", "DLAM * W2", "0.1 * DLAM * W2", *_tenth()),
        edit("off_by_one", "A1.T @ dZ2", "A1[:-1].T @ dZ2[:-1]", place="W2"),
    ]
    return Program(
        *("two layers", f"two layers, rows, {name}", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs),
        *("Y = np.eye(len(b2))[y]", gradients, tuple(edits), ("Z2", "P", "loss"), draw),
        ({}, {"Z1": "hidden", "A1": "act", "Z2": "scores"}, {"W1": "U", "b1": "c", "W2": "V", "b2": "e", "lam": "l2"}),
    )


def _tenth() -> tuple[str, str]:
    return "DLAM * W1", "0.1 * DLAM * W1"


# -- k layers with batch norm and dropout ------------------------------------------------------------------------------


def k_layers(k: int) -> Program:
    """Columns, batch norm before each ReLU, dropout after it; the last layer is linear, as in the course."""
    hidden = range(1, k)

    def draw(rng: Random) -> dict[str, Any]:
        n, width, classes = rng.choice([10, 12]), rng.choice([4, 5]), 3
        sizes = [rng.choice([4, 6]), *[width] * (k - 1), classes]
        y = draw_labels(rng, classes, n)
        arrays = {"X": rng.standard_normal((sizes[0], n)), "Y": np.eye(classes)[y].T, "y": y}
        arrays |= {"lam": float(rng.choice([0.01, 0.05])), "keep": float(rng.choice([0.8, 0.7]))}
        for i in range(1, k + 1):
            arrays[f"W{i}"] = rng.standard_normal((sizes[i], sizes[i - 1]))
            arrays[f"b{i}"] = rng.standard_normal((sizes[i], 1))
        for i in hidden:
            arrays[f"gamma{i}"] = rng.uniform(0.5, 1.5, (width, 1))
            arrays[f"beta{i}"] = 0.5 * rng.standard_normal((width, 1))
            arrays[f"M{i}"] = 1.0 * (rng.random((width, n)) < 0.8)
        return arrays

    weights = tuple(f"W{i}" for i in range(1, k + 1))
    forward, steps, short = [], [], []
    for i in hidden:
        before = f"H{i - 1}" if i > 1 else "X"
        steps.append(f"""
    S{i} = W{i} @ {before} + b{i}
    mu{i} = tg.mean(S{i}, axis=1, keepdims=True)
    v{i} = tg.mean((S{i} - mu{i}) ** 2, axis=1, keepdims=True)
    Z{i} = (S{i} - mu{i}) / tg.sqrt(v{i} + 1e-5)
    T{i} = gamma{i} * Z{i} + beta{i}
    R{i} = tg.relu(T{i})
    H{i} = R{i} * M{i} / keep""")
        short.append(f"""
    S{i} = W{i} @ {before} + b{i}
    Z{i} = (S{i} - S{i}.mean(axis=1, keepdims=True)) / tg.sqrt(tg.var(S{i}, axis=1, keepdims=True) + 1e-5)
    H{i} = tg.relu(gamma{i} * Z{i} + beta{i}) * (M{i} / keep)""")
        forward.append(f"""
    S{i} = W{i} @ {before} + b{i}
    mu{i} = S{i}.mean(axis=1, keepdims=True)
    v{i} = S{i}.var(axis=1, keepdims=True)
    Z{i} = (S{i} - mu{i}) / np.sqrt(v{i} + 1e-5)
    T{i} = gamma{i} * Z{i} + beta{i}
    H{i} = np.maximum(T{i}, 0) * M{i} / keep""")
    last = f"""
    S{k} = W{k} @ H{k - 1} + b{k}
    P = tg.softmax(S{k}, axis=0)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss + CLAM * PENALTY({", ".join(weights)})
"""
    labels = last.replace("tg.sum(Y * tg.log(P))", "tg.sum(tg.log(P[y, np.arange(N)]))")
    first = "\n    N = X.shape[1]"
    costs = {
        "steps": first + "".join(steps) + last,
        "short": first + "".join(short) + last,
        "short, labels": first + "".join(short) + labels,
    }
    backward = f"""
    S{k} = W{k} @ H{k - 1} + b{k}
    E = np.exp(S{k} - S{k}.max(axis=0))
    P = E / E.sum(axis=0)
    G{k} = (P - Y) / N
    dW{k} = G{k} @ H{k - 1}.T + DLAM * W{k}
    db{k} = G{k}.sum(axis=1, keepdims=True)"""
    for i in reversed(hidden):
        before = f"H{i - 1}" if i > 1 else "X"
        backward += f"""
    dH{i} = W{i + 1}.T @ G{i + 1}
    dR{i} = dH{i} * M{i} / keep
    dT{i} = dR{i} * (T{i} > 0)
    dgamma{i} = (dT{i} * Z{i}).sum(axis=1, keepdims=True)
    dbeta{i} = dT{i}.sum(axis=1, keepdims=True)
    dZ{i} = dT{i} * gamma{i}
    s{i} = 1 / np.sqrt(v{i} + 1e-5)
    dv{i} = (dZ{i} * (S{i} - mu{i})).sum(axis=1, keepdims=True) * -0.5 * s{i} ** 3
    dmu{i} = -s{i} * dZ{i}.sum(axis=1, keepdims=True)
    G{i} = dZ{i} * s{i} + dmu{i} / N + dv{i} * 2 * (S{i} - mu{i}) / N
    dW{i} = G{i} @ {before}.T + DLAM * W{i}
    db{i} = G{i}.sum(axis=1, keepdims=True)"""
    gradients = first + "".join(forward) + backward + "\n"
    edits = [
        *penalty_edits(weights, f"b{k}"),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N / N"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("softmax_diagonal", "(P - Y)", "(-Y * (1 - P))"),
        edit("softmax_sum_forgotten", "(P - Y)", "(-Y)"),
        edit("db_mean", f"db{k} = G{k}.sum(", f"db{k} = G{k}.mean(", place=f"b{k}"),
        edit("db_from_dw", f"db{k} = G{k}.sum(", f"db{k} = dW{k}.sum(", place=f"b{k}"),
        edit("w_for_dw", f"dW{k} = G{k} @ H{k - 1}.T + DLAM * W{k}", f"dW{k} = W{k}", place=f"W{k}"),
        edit("overwritten", f"    dH{k - 1} =", f"    dW{k} = DLAM * W{k}\n    dH{k - 1} =", place=f"W{k}"),
        edit("bias_forgotten", f"S{k} = W{k} @ H{k - 1} + b{k}", f"S{k} = W{k} @ H{k - 1}", place=f"b{k}"),
    ]
    for i in hidden:
        before = f"H{i - 1}" if i > 1 else "X"
        relu, norm = f"T{i} R{i} H{i}", f"Z{i} S{i} v{i} mu{i} W{i} gamma{i}"
        edits += [
            edit("activation_derivative_missing", f"dR{i} * (T{i} > 0)", f"dR{i}", place=relu),
            edit("mask_wrong_array", f"(T{i} > 0)", f"(S{i} > 0)", place=relu, wrong=f"S{i}"),
            edit("mask_wrong_array", f"(T{i} > 0)", f"(Z{i} > 0)", place=relu, wrong=f"Z{i}"),
            edit("dropout_mask_missing", f"dH{i} * M{i} / keep", f"dH{i} / keep", place=f"{relu} M{i}"),
            edit("dropout_not_scaled", f"dH{i} * M{i} / keep", f"dH{i} * M{i}", place=f"{relu} M{i}"),
            edit(
                "bn_mean_var_constant",
                f"dZ{i} * s{i} + dmu{i} / N + dv{i} * 2 * (S{i} - mu{i}) / N",
                f"dZ{i} * s{i}",
                place=norm,
            ),
            edit("bn_var_constant", f" + dv{i} * 2 * (S{i} - mu{i}) / N", "", place=norm),
            edit("bn_mean_constant", f" + dmu{i} / N", "", place=norm),
            edit("bn_gamma_missing", f"dT{i} * gamma{i}\n", f"dT{i}\n", place=f"{norm} T{i}"),
            edit("db_mean", f"dbeta{i} = dT{i}.sum(", f"dbeta{i} = dT{i}.mean(", place=f"beta{i}"),
            edit("wrong_variable", f"(dT{i} * Z{i})", f"(dT{i} * S{i})", place=f"gamma{i} Z{i}", wrong=f"S{i}"),
            edit("wrong_variable", f"(dT{i} * Z{i})", f"(dT{i} * T{i})", place=f"gamma{i} Z{i}", wrong=f"T{i}"),
            edit("detached", f"dH{i} = W{i + 1}.T @ G{i + 1}", f"dH{i} = 0 * H{i}", place=f"H{i} R{i} T{i} W{i + 1}"),
            edit("sign_param", f"dH{i} = W{i + 1}.T", f"dH{i} = -W{i + 1}.T", place=f"H{i} R{i} T{i} W{i + 1}"),
            edit(
                "updated_before_delta",
                f"dH{i} =",
                f"W{i + 1} = W{i + 1} - 0.1 * dW{i + 1}\n    dH{i} =",
                place=f"W{i + 1}",
            ),
        ]
        if i > 1:
            edits += [
                edit("transposed_factor", f"dH{i - 1} = W{i}.T", f"dH{i - 1} = W{i}", place=f"W{i}"),
                edit(
                    "wrong_variable",
                    f"G{i} @ {before}.T",
                    f"G{i} @ T{i - 1}.T",
                    place=f"W{i} {before}",
                    wrong=f"T{i - 1}",
                ),
                edit("dw_transposed", f"dW{i} = G{i} @ {before}.T", f"dW{i} = {before} @ G{i}.T", place=f"W{i}"),
            ]
    parameters = tuple(f"{p}{i}" for i in range(1, k + 1) for p in ("W", "b", "gamma", "beta") if p in "Wb" or i < k)
    masks = tuple(f"M{i}" for i in hidden)
    short_names = {f"gamma{i}": f"g{i}" for i in hidden} | {f"beta{i}": f"h{i}" for i in hidden}
    return Program(
        *("k layers", f"{k} layers, columns", ("X", "Y", "lam", *masks, "keep"), parameters, costs),
        *(f"Y = np.eye(len(b{k}))[y].T", gradients, tuple(edits), (f"S{k}", "P", "loss"), draw),
        ({}, short_names, {"P": "prob", "lam": "reg"} | {f"M{i}": f"mask{i}" for i in hidden}),
    )


# -- patchify ----------------------------------------------------------------------------------------------------------


def patchify_from_patches() -> Program:
    """Assignment 3 of the course: patches as a constant array (patches, values, images), filters as a matrix."""

    def draw(rng: Random) -> dict[str, Any]:
        places, values, filters, width, k, n = 4, rng.choice([5, 6]), rng.choice([2, 3]), rng.choice([4, 5]), 3, 9
        y = draw_labels(rng, k, n)
        arrays = {"MX": rng.standard_normal((places, values, n)), "Y": np.eye(k)[y].T, "y": y, "lam": 0.05}
        arrays |= {"F": rng.standard_normal((values, filters)), "b0": rng.standard_normal((1, filters, 1))}
        arrays |= {"W1": rng.standard_normal((width, places * filters)), "b1": rng.standard_normal((width, 1))}
        return arrays | {"W2": rng.standard_normal((k, width)), "b2": rng.standard_normal((k, 1))}

    penalty = " + CLAM * PENALTY(F, W1, W2)"
    tail = """
    A = W1 @ h + b1
    B = tg.relu(A)
    S = W2 @ B + b2
    P = tg.softmax(S, axis=0)
"""
    costs = {
        "einsum": f"""
    N = MX.shape[2]
    C = tg.einsum("ijn,jl->iln", MX, F) + b0
    H = tg.relu(C)
    h = H.reshape(-1, N){tail}    loss = -tg.sum(Y * tg.log(P)) / N
    return loss{penalty}
""",
        "matmul, labels": f"""
    N = MX.shape[2]
    C = F.T @ MX + b0
    H = tg.relu(C)
    h = tg.reshape(H, (-1, N)){tail}    loss = -tg.mean(tg.log(P[y, np.arange(N)]))
    return loss{penalty}
""",
    }
    gradients = """
    N = MX.shape[2]
    C = np.einsum("ijn,jl->iln", MX, F) + b0
    H = np.maximum(C, 0)
    h = H.reshape(-1, N)
    A = W1 @ h + b1
    B = np.maximum(A, 0)
    S = W2 @ B + b2
    P = np.exp(S) / np.exp(S).sum(axis=0)
    G = (P - Y) / N
    dW2 = G @ B.T + DLAM * W2
    db2 = G.sum(axis=1, keepdims=True)
    G1 = W2.T @ G
    G1 = G1 * (A > 0)
    dW1 = G1 @ h.T + DLAM * W1
    db1 = G1.sum(axis=1, keepdims=True)
    G0 = W1.T @ G1
    G0 = G0.reshape(H.shape) * (C > 0)
    dF = np.einsum("ijn,iln->jl", MX, G0) + DLAM * F
    db0 = G0.sum(axis=(0, 2), keepdims=True)
"""
    edits = [
        *penalty_edits(("F", "W1", "W2"), "b0"),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N**2"),
        edit("misplaced_1_over_n", "MX, G0)", "MX, G0) / N", place="F", factor="1/N"),
        edit("db_mean", "db0 = G0.sum(", "db0 = G0.mean(", place="b0"),
        edit("db_mean", "db1 = G1.sum(", "db1 = G1.mean(", place="b1"),
        edit("db_wrong_axis", "G0.sum(axis=(0, 2)", "G0.sum(axis=(0, 1)", place="b0"),
        edit("db_not_summed", "db2 = G.sum(axis=1, keepdims=True)", "db2 = G", place="b2"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("sign_param", "G0 = W1.T", "G0 = -W1.T", place="C H h F b0"),
        edit("activation_derivative_missing", "G0.reshape(H.shape) * (C > 0)", "G0.reshape(H.shape)", place="C H F b0"),
        edit("activation_derivative_missing", "    G1 = G1 * (A > 0)\n", "", place="A B W1 b1"),
        edit("mask_wrong_array", "(C > 0)", "(H >= 0)", place="C H", wrong="H"),
        edit("mask_wrong_array", "(A > 0)", "(G1 > 0)", place="A B W1", wrong="G1"),
        edit("softmax_diagonal", "(P - Y)", "-Y * (1 - P)"),
        edit("softmax_sum_forgotten", "(P - Y)", "-Y"),
        edit("overwritten", "dF = np.einsum", "dF = DLAM * F\n    gone = np.einsum", place="F"),
        edit("updated_before_delta", "G0 = W1.T", "W1 = W1 - 0.2 * dW1\n    G0 = W1.T", place="W1"),
        edit("w_for_dw", 'dF = np.einsum("ijn,iln->jl", MX, G0) + DLAM * F', "dF = F", place="F"),
        edit("wrong_variable", "G @ B.T", "G @ A.T", place="W2 B", wrong="A"),
        edit("detached", "MX, G0)", "MX, 0 * G0)", "G0.sum(", "0 * G0.sum(", place="C H h"),
        edit(
            "dw_transposed",
            "dF = np",
            "dF = 0.0 * F.T + np",
            '->jl", MX, G0) + DLAM * F',
            '->lj", MX, G0) + DLAM * F.T',
            place="F",
        ),
        edit("bias_forgotten", "MX, F) + b0", "MX, F)", place="b0"),
        edit("off_by_one", "MX, G0)", "MX[:-1], G0[:-1])", place="F"),
    ]
    names = ("F", "b0", "W1", "b1", "W2", "b2")
    return Program(
        *("patchify", "patchify, patches", ("MX", "Y", "lam"), names, costs, "Y = np.eye(len(b2))[y].T"),
        *(gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, {"F": "Fs_flat", "b0": "bF"}, {"F": "filters", "C": "conv", "lam": "reg", "A": "s1", "B": "x1"}),
    )


def patchify_by_convolution() -> Program:
    """Images as rows (images, height, width, channels), and a convolution written as a sum over the filter's pixels."""

    def draw(rng: Random) -> dict[str, Any]:
        n, side, f, filters, k, width = 8, 4, rng.choice([2, 3]), 3, 3, 4
        out = side - f + 1
        y = draw_labels(rng, k, n)
        arrays = {"X": rng.standard_normal((n, side, side, 3)), "Y": np.eye(k)[y], "y": y, "lam": 0.05}
        arrays |= {"F": 0.5 * rng.standard_normal((f, f, 3, filters)), "b0": rng.standard_normal(filters)}
        arrays |= {"W1": rng.standard_normal((out * out * filters, width)), "b1": rng.standard_normal(width)}
        return arrays | {"W2": rng.standard_normal((width, k)), "b2": rng.standard_normal(k)}

    penalty = " + CLAM * PENALTY(F, W1, W2)"
    head = """
    N = X.shape[0]
    f, m = F.shape[0], X.shape[1] - F.shape[0] + 1
    C = 0
    for i in range(f):
        for j in range(f):
            C = C + X[:, i:i + m, j:j + m] @ F[i, j]
    C = C + b0
"""
    costs = {
        "loops": f"""{head}    H = tg.relu(C)
    h = H.reshape(N, -1)
    A = h @ W1 + b1
    B = tg.relu(A)
    S = B @ W2 + b2
    P = tg.softmax(S, axis=1)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss{penalty}
""",
    }
    gradients = f"""{head}    H = np.maximum(C, 0)
    h = H.reshape(N, -1)
    A = h @ W1 + b1
    B = np.maximum(A, 0)
    S = B @ W2 + b2
    E = np.exp(S)
    P = E / E.sum(axis=1, keepdims=True)
    G = (P - Y) / N
    dW2 = B.T @ G + DLAM * W2
    db2 = G.sum(axis=0)
    G1 = G @ W2.T * (A > 0)
    dW1 = h.T @ G1 + DLAM * W1
    db1 = G1.sum(axis=0)
    G0 = (G1 @ W1.T).reshape(C.shape) * (C > 0)
    dF = np.zeros_like(F)
    for i in range(f):
        for j in range(f):
            dF[i, j] = np.einsum("nabc,nabk->ck", X[:, i:i + m, j:j + m], G0)
    dF = dF + DLAM * F
    db0 = G0.sum(axis=(0, 1, 2))
"""
    edits = [
        *penalty_edits(("F", "W1", "W2"), "b1"),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("filter_flipped", "    dF = dF + DLAM", "    dF = dF[::-1, ::-1]\n    dF = dF + DLAM", place="F"),
        edit("channels_swapped", "    dF = dF + DLAM", "    dF = dF[:, :, ::-1]\n    dF = dF + DLAM", place="F"),
        edit("filter_transposed", "dF[i, j] = np", "dF[j, i] = np", place="F"),
        edit("activation_derivative_missing", "reshape(C.shape) * (C > 0)", "reshape(C.shape)", place="C H F b0"),
        edit("activation_derivative_missing", "G @ W2.T * (A > 0)", "G @ W2.T", place="A B W1 b1"),
        edit("db_mean", "G0.sum(axis=(0, 1, 2))", "G0.mean(axis=(0, 1, 2))", place="b0"),
        edit("db_wrong_axis", "G0.sum(axis=(0, 1, 2))", "G0.sum(axis=(1, 2, 3))", place="b0"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("overwritten", "    db0 =", "    dF = DLAM * F\n    db0 =", place="F"),
        edit("detached", "G0 = (G1", "G0 = 0 * (G1", place="C H h"),
        edit("wrong_variable", "B.T @ G +", "A.T @ G +", place="W2 B", wrong="A"),
        edit("bias_forgotten", "    C = C + b0\n", "", place="b0"),
        edit("updated_before_delta", "G1 = G @", "W2 = W2 - 0.1 * dW2\n    G1 = G @", place="W2"),
    ]
    names = ("F", "b0", "W1", "b1", "W2", "b2")
    return Program(
        *("patchify", "patchify, convolution, rows", ("X", "Y", "lam"), names, costs, "Y = np.eye(len(b2))[y]"),
        *(gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, {"F": "filters", "b0": "bias0"}, {"F": "K1", "b0": "k1", "C": "conv", "H": "act"}),
    )
