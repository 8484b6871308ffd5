"""The held-out set: written apart from the doctor, by an author who has not read its code.

It was run once, on 2026-11-22: 702 of 726 mistakes were named right, and none of 152 right gradients was called wrong.

Its programs are those that courses hand out and students hand in, with images as columns or as rows. Of the course:
``G = -(Y - P)`` with 1/N in each product, products with vectors of ones, dictionaries of parameters and gradients, row
vectors ``g`` for one image after the other, the Jacobian of the softmax, batch norm with ``G1``, ``G2``, ``D`` and
``c``, inverted dropout, and patches ``MX`` with ``einsum`` or one image at a time, with smoothed labels. Of other
courses: ``dscores[range(N), y] -= 1``, margins in loops and as arrays, ``dZ2`` and ``dA1`` with tanh and inverted
dropout, batch norm in nine steps and by its short formula, a recursion through the layers, and convolutions by im2col
and in loops.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests.evidence.hand_derived.programs import Edit, Program, edit
from tests.evidence.hand_derived.second_validation import after, scaled
from tests.evidence.hand_derived.third_validation import equal_sizes, l2_mistakes, labels

Random = np.random.Generator

ONE_HOT_COLUMNS = "Y = (y == np.arange(len({}))[:, None]) * 1.0"
ONE_HOT_ROWS = "Y = (y[:, None] == np.arange({}.size)) * 1.0"


@cache
def programs() -> tuple[Program, ...]:
    """Return the programs of the set."""
    return (
        *(softmax_course_functions(), softmax_loops(), softmax_dscores(), softmax_jacobian()),
        *(svm_course(), svm_margins(), svm_loops()),
        *(two_layers_course_dictionaries(), two_layers_dscores(), two_layers_tanh_dropout(), two_layers_row_vectors()),
        *(course_batch_norm(3), short_batch_norm(), nine_steps(), dropout_by_recursion()),
        *(course_patches(), course_patches_in_loops(), convolution_by_columns(), convolution_in_loops()),
    )


def one_layer(rng: Random, *, columns: bool, sizes: tuple[int, ...] = (4, 6), lam: float = 0.2) -> dict[str, Any]:
    """Return images, labels and one matrix."""
    d, k, n = rng.choice(sizes), rng.choice([3, 5]), rng.choice([8, 11])
    arrays = labels(rng, k, n, columns=columns)
    arrays |= {"X": rng.normal(0, 1, (d, n) if columns else (n, d)), "lam": lam}
    return arrays | {"W": rng.normal(0, 0.7, (k, d) if columns else (d, k))}


# -- softmax -----------------------------------------------------------------------------------------------------------


def softmax_course_functions() -> Program:
    """Columns; the functions of the course's first assignment, with 1/N in each product and a vector of ones."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=True)
        return arrays | {"b": rng.normal(0, 0.7, (len(arrays["W"]), 1))}

    costs = {
        "steps": """
    n = X.shape[1]
    S = W @ X + b
    P = tg.exp(S) / tg.sum(tg.exp(S), axis=0)
    l_cross = -tg.log(tg.sum(Y * P, axis=0))
    return tg.sum(l_cross) / n + CLAM * PENALTY(W)
""",
        "softmax, labels": """
    S = tg.matmul(W, X) + b
    P = tg.softmax(S, axis=0)
    l_cross = -tg.log(P[y, np.arange(len(y))])
    return tg.mean(l_cross) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    def apply_network(X):
        S = W @ X + b
        return np.exp(S) / np.sum(np.exp(S), axis=0)

    def backward_pass(X, Y, P):
        n_b, grads = X.shape[1], {}
        ones = np.ones((n_b, 1))
        G_batch = -(Y - P)
        grads["W"] = (1 / n_b) * G_batch @ X.T + DLAM * W
        grads["b"] = (1 / n_b) * G_batch @ ones
        return grads

    grads = backward_pass(X, Y, apply_network(X))
    dW, db = grads["W"], grads["b"]
"""
    delta, last = "G_batch = -(Y - P)", '    dW, db = grads["W"], grads["b"]\n'
    to_w, to_b = "(1 / n_b) * G_batch @ X.T", 'grads["b"] = (1 / n_b) * G_batch @ ones'
    put_w, end = f'grads["W"] = {to_w} + DLAM * W', "        return grads\n"
    edits = [
        *l2_mistakes({"W": " + DLAM * W"}, ("b", to_b, f"{to_b} + DLAM * b"), "n_b"),
        edit("missing_1_over_n", to_w, "G_batch @ X.T", to_b, 'grads["b"] = G_batch @ ones'),
        edit("double_1_over_n", delta, "G_batch = -(1 / n_b) * (Y - P)"),
        edit("divided_by_other", to_w, "(1 / len(Y)) * G_batch @ X.T", to_b, to_b.replace("n_b", "len(Y)")),
        edit("misplaced_1_over_n", to_w, "G_batch @ X.T", place="W", factor="N"),
        edit("misplaced_1_over_n", to_b, 'grads["b"] = G_batch @ ones', place="b", factor="N"),
        edit("db_mean", to_b, 'grads["b"] = (1 / n_b) * np.mean(G_batch, axis=1, keepdims=True)', place="b"),
        edit("db_from_dw", to_b, 'grads["b"] = grads["W"] @ np.ones((len(X), 1))', place="b"),
        edit("db_wrong_axis", to_b, 'grads["b"] = (1 / n_b) * np.sum(G_batch, axis=0)', place="b"),
        edit("db_not_summed", to_b, 'grads["b"] = (1 / n_b) * G_batch', place="b"),
        edit("dw_transposed", end, f'        grads["W"] = grads["W"].T\n{end}', place="W"),
        edit("sign_loss", delta, "G_batch = Y - P"),
        edit("sign_all", end, '        return {"W": -grads["W"], "b": -grads["b"]}\n'),
        edit("sign_param", to_b, to_b.replace("(1 / n_b)", "-(1 / n_b)"), place="b"),
        edit("softmax_diagonal", delta, "G_batch = -Y * (1 - P)"),
        edit("softmax_sum_forgotten", delta, "G_batch = -Y"),
        edit("softmax_unnormalised", "return np.exp(S) / np.sum(np.exp(S), axis=0)", "return np.exp(S)"),
        edit("off_by_one", "(X, Y, apply", "(X, np.roll(Y, 1, axis=1), apply"),
        edit("off_by_one", "(X, Y, apply", "(X, np.roll(Y, 1, axis=0), apply"),
        edit("off_by_one", to_w, "(1 / n_b) * G_batch[:, :-1] @ X[:, :-1].T", place="W"),
        edit("w_for_dw", last, '    dW, db = W, grads["b"]\n', place="W"),
        edit("overwritten", put_w, f'grads["W"] = {to_w}\n        grads["W"] = DLAM * W', place="W"),
        edit("wrong_variable", to_w, "(1 / n_b) * P @ X.T", place="W", wrong="P"),
        edit("bias_forgotten", "S = W @ X + b", "S = W @ X", place="b"),
        edit("detached", to_b, 'grads["b"] = np.zeros(b.shape)', place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "(1 - 0.9) * "))),
    ]
    return Program(
        *("softmax", "softmax, functions of assignment 1, columns", ("X", "Y", "lam"), ("W", "b"), costs),
        *(ONE_HOT_COLUMNS.format("b"), gradients, tuple(edits), ("S", "P", "l_cross"), draw),
        ({}, {"W": "Wmat", "b": "bvec"}, {"lam": "lmbda", "X": "X_batch", "l_cross": "losses"}),
    )


def softmax_loops() -> Program:
    """Rows; a loop over the images and one over the classes; the labels are integers."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=False, lam=0.3)
        return arrays | {"b": rng.normal(0, 0.6, arrays["W"].shape[1])}

    costs = {
        "steps": """
    num_train = X.shape[0]
    scores = X @ W + b
    probs = tg.softmax(scores, axis=1)
    losses = -tg.log(probs[np.arange(num_train), y])
    return tg.sum(losses) / num_train + CLAM * PENALTY(W)
""",
        "log-sum-exp": """
    scores = tg.matmul(X, W) + b
    picked = scores[np.arange(len(y)), y]
    losses = tg.log(tg.sum(tg.exp(scores), axis=1)) - picked
    return tg.mean(losses) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    num_train, num_classes = X.shape[0], W.shape[1]
    dW, db = np.zeros(W.shape), np.zeros(b.shape)
    for i in range(num_train):
        f = X[i].dot(W) + b
        f -= np.max(f)
        total = np.sum(np.exp(f))
        for j in range(num_classes):
            p = np.exp(f[j]) / total
            if j == y[i]:
                p -= 1
            dW[:, j] += p * X[i]
            db[j] += p
    dW /= num_train
    db /= num_train
    dW += DLAM * W
"""
    own, to_w, to_b = "                p -= 1\n", "dW[:, j] += p * X[i]", "db[j] += p\n"
    divide_w, divide_b, last = "    dW /= num_train\n", "    db /= num_train\n", "    dW += DLAM * W\n"
    share, shift = "p = np.exp(f[j]) / total", "        f -= np.max(f)\n"
    edits = [
        *l2_mistakes({"W": last}, ("b", *after(last, "    db += DLAM * b\n")), "num_train"),
        edit("missing_1_over_n", divide_w, "", divide_b, ""),
        edit("double_1_over_n", to_w, f"{to_w} / num_train", to_b, "db[j] += p / num_train\n"),
        edit("divided_by_other", divide_w, "    dW /= num_classes\n", divide_b, "    db /= num_classes\n"),
        edit("misplaced_1_over_n", divide_b, "", place="b", factor="N"),
        edit("db_mean", to_b, "db[j] += p / num_train\n", place="b"),
        edit("db_from_dw", to_b, "db[j] += np.sum(p * X[i])\n", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", to_w, "dW[:, j] -= p * X[i]", to_b, "db[j] -= p\n"),
        edit("sign_all", *after(last, scaled("W b", "-"))),
        edit("sign_param", to_b, "db[j] -= p\n", place="b"),
        edit("sign_param", to_w, "dW[:, j] -= p * X[i]", place="W"),
        edit("softmax_diagonal", own, f"{own}            else:\n                p = 0.0\n"),
        edit("softmax_sum_forgotten", share, "p = 0.0"),
        edit("softmax_unnormalised", share, "p = np.exp(f[j])", shift, ""),
        edit("softmax_unnormalised", share, "p = np.exp(f[j])"),
        edit("off_by_one", "range(num_train)", "range(1, num_train)"),
        edit("off_by_one", "j == y[i]", "j == y[i - 1]"),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("overwritten", to_b, "db[j] = p\n", place="b"),
        edit("w_for_dw", last, "    dW = W.copy()\n", place="W"),
        edit("wrong_variable", to_w, "dW[:, j] += np.exp(f[j]) / total * X[i]", place="W", wrong="probs"),
        edit("bias_forgotten", "X[i].dot(W) + b", "X[i].dot(W)", place="b"),
        edit("detached", divide_b, "    db *= 0\n", place="b"),
        edit("momentum_factor", *after(last, "    dW *= 0.1\n    db *= 0.1\n")),
    ]
    return Program(
        *("softmax", "softmax, loops over images and classes, rows", ("X", "y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("scores", "probs", "losses"), draw),
        ({}, {"W": "theta", "b": "theta0", "lam": "reg"}, {"X": "x_dev", "y": "y_dev", "scores": "logits"}),
    )


def softmax_dscores() -> Program:
    """Rows; the probabilities become the gradient of the scores by subtracting 1 at the labels."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=False, sizes=(5, 7), lam=0.1)
        return arrays | {"b": rng.normal(0, 0.9, (1, arrays["W"].shape[1]))}

    costs = {
        "steps": """
    num_examples = X.shape[0]
    scores = X @ W + b
    exp_scores = tg.exp(scores)
    probs = exp_scores / tg.sum(exp_scores, axis=1, keepdims=True)
    correct_logprobs = -tg.log(probs[range(num_examples), y])
    data_loss = tg.sum(correct_logprobs) / num_examples
    reg_loss = CLAM * PENALTY(W)
    return data_loss + reg_loss
""",
        "mean": """
    probs = tg.softmax(tg.matmul(X, W) + b, axis=1)
    data_loss = tg.mean(-tg.log(probs[np.arange(len(y)), y]))
    return data_loss + CLAM * PENALTY(W)
""",
    }
    gradients = """
    num_examples = X.shape[0]
    scores = np.dot(X, W) + b
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    dscores = probs.copy()
    dscores[range(num_examples), y] -= 1
    dscores /= num_examples
    dW = np.dot(X.T, dscores)
    db = np.sum(dscores, axis=0, keepdims=True)
    dW += DLAM * W
"""
    own, ratio = "    dscores[range(num_examples), y] -= 1\n", "    dscores /= num_examples\n"
    to_w, to_b, last = "np.dot(X.T, dscores)", "np.sum(dscores, axis=0, keepdims=True)", "    dW += DLAM * W\n"
    edits = [
        *l2_mistakes({"W": last}, ("b", *after(last, "    db += DLAM * b\n")), "num_examples"),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", to_w, f"{to_w} / num_examples", to_b, f"{to_b} / num_examples"),
        edit("divided_by_other", ratio, "    dscores /= W.shape[1]\n"),
        edit("misplaced_1_over_n", ratio, "", to_b, f"{to_b} / num_examples", place="W", factor="N"),
        edit("misplaced_1_over_n", to_w, f"{to_w} / num_examples", place="W", factor="1/N"),
        edit("db_mean", to_b, to_b.replace("sum", "mean"), place="b"),
        edit("db_from_dw", to_b, "np.sum(dW, axis=0, keepdims=True)", place="b"),
        edit("db_from_dw", f"{to_b}\n    dW += DLAM * W\n", "0\n    dW += DLAM * W\n    db = dW[:1]\n", place="b"),
        edit("db_wrong_axis", to_b, "np.sum(dscores, axis=1, keepdims=True)", place="b"),
        edit("db_not_summed", to_b, "dscores", place="b"),
        edit("dw_transposed", last, "    dW = (dW + DLAM * W).T\n", place="W"),
        edit("sign_loss", ratio, "    dscores = -dscores / num_examples\n"),
        edit("sign_all", *after(last, "    dW, db = -1 * dW, -1 * db\n")),
        edit("sign_param", to_w, "-np.dot(X.T, dscores)", place="W"),
        edit("sign_param", to_b, "-np.sum(dscores, axis=0, keepdims=True)", place="b"),
        edit("softmax_diagonal", own, f"{own}    dscores[dscores > 0] = 0\n"),
        edit("softmax_sum_forgotten", "dscores = probs.copy()", "dscores = np.zeros(probs.shape)"),
        edit("softmax_unnormalised", "dscores = probs.copy()", "dscores = exp_scores"),
        edit("off_by_one", own, own.replace("y]", "y - 1]")),
        edit("off_by_one", to_b, "np.sum(dscores[1:], axis=0, keepdims=True)", place="b"),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("w_for_dw", last, "    dW = 1.0 * W\n", place="W"),
        edit("wrong_variable", to_w, "np.dot(X.T, probs)", place="W", wrong="probs"),
        edit("bias_forgotten", "np.dot(X, W) + b", "np.dot(X, W)", place="b"),
        edit("detached", to_b, "np.zeros((1, b.size))", place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "0.1 * "))),
    ]
    return Program(
        *("softmax", "softmax, dscores, rows", ("X", "y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("scores", "exp_scores", "probs", "correct_logprobs", "data_loss"), draw),
        ({}, {"W": "W_out", "b": "b_out", "lam": "reg"}, {"X": "Xtr", "y": "targets", "scores": "f"}),
    )


def softmax_jacobian() -> Program:
    """Columns; one image after the other, with the row vector ``g`` and the Jacobian of the softmax."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=True, sizes=(3, 5), lam=0.15)
        return arrays | {"b": rng.normal(0, 0.5, (len(arrays["W"]), 1))}

    costs = {
        "log of a sum": """
    n = X.shape[1]
    S = W @ X + b
    p = tg.softmax(S, axis=0)
    loss = -tg.sum(tg.log(tg.sum(Y * p, axis=0)))
    return loss / n + CLAM * PENALTY(W)
""",
        "sum of logs": """
    S = tg.add(tg.matmul(W, X), b)
    p = tg.exp(S - tg.logsumexp(S, axis=0))
    loss = -tg.sum(Y * tg.log(p), axis=0)
    return tg.mean(loss) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    n = X.shape[1]
    dW, db = np.zeros_like(W), np.zeros_like(b)
    for i in range(n):
        x, t = X[:, [i]], Y[:, [i]]
        p = np.exp(W @ x + b)
        p /= np.sum(p)
        g = -t.T / (t.T @ p)
        g = g @ (np.diag(p[:, 0]) - p @ p.T)
        db += g.T
        dW += g.T @ x.T
    dW, db = dW / n, db / n
    dW = dW + DLAM * W
"""
    chain, jacobian = "-t.T / (t.T @ p)", "(np.diag(p[:, 0]) - p @ p.T)"
    to_w, to_b, ratio = "dW += g.T @ x.T", "db += g.T\n", "dW, db = dW / n, db / n"
    last = "    dW = dW + DLAM * W\n"
    edits = [
        *l2_mistakes({"W": last}, ("b", *after(last, "    db = db + DLAM * b\n")), "n"),
        edit("missing_1_over_n", f"    {ratio}\n", ""),
        edit("double_1_over_n", chain, f"{chain} / n"),
        edit("divided_by_other", ratio, "dW, db = dW / b.size, db / b.size"),
        edit("misplaced_1_over_n", ratio, "dW = dW / n", place="b", factor="N"),
        edit("db_mean", to_b, "db += g.T / n\n", place="b"),
        edit("db_from_dw", to_b, "db += (g.T @ x.T).sum(axis=1, keepdims=True)\n", place="b"),
        edit("dw_transposed", *after(last, "    dW = np.transpose(dW)\n"), place="W"),
        edit("sign_loss", chain, "t.T / (t.T @ p)"),
        edit("sign_all", *after(last, "    dW, db = -dW, -db\n")),
        edit("sign_param", to_b, "db -= g.T\n", place="b"),
        edit("sign_param", to_w, "dW -= g.T @ x.T", place="W"),
        edit("softmax_diagonal", jacobian, "np.diag(p[:, 0] * (1 - p[:, 0]))"),
        edit("softmax_sum_forgotten", jacobian, "np.diag(p[:, 0])"),
        edit("softmax_unnormalised", "        p /= np.sum(p)\n", ""),
        edit("off_by_one", "Y[:, [i]]", "Y[:, [i - 1]]"),
        edit("off_by_one", "range(n)", "range(n - 1)"),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("overwritten", to_w, "dW = g.T @ x.T", place="W"),
        edit("w_for_dw", last, "    dW = W + 0\n", place="W"),
        edit("bias_forgotten", "np.exp(W @ x + b)", "np.exp(W @ x)", place="b"),
        edit("detached", f"        {to_b}", "", place="b"),
        edit("momentum_factor", *after(last, "    dW, db = (1 - 0.9) * dW, (1 - 0.9) * db\n")),
    ]
    return Program(
        *("softmax", "softmax, Jacobian of one image, columns", ("X", "Y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("S", "p", "loss"), draw),
        ({}, {"W": "A", "b": "a0"}, {"lam": "lambda_", "S": "Z", "p": "P"}),
    )


# -- SVM ---------------------------------------------------------------------------------------------------------------


def svm_course() -> Program:
    """Columns; the hinge of the first assignment's optional part, with products with a vector of ones."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=True, lam=0.4)
        return arrays | {"b": rng.normal(0, 0.5, (len(arrays["W"]), 1))}

    costs = {
        "steps": """
    n = X.shape[1]
    S = W @ X + b
    s_y = tg.sum(Y * S, axis=0)
    H = tg.maximum(S - s_y + 1, 0)
    l_svm = tg.sum((1 - Y) * H, axis=0)
    return tg.sum(l_svm) / n + CLAM * PENALTY(W)
""",
        "minus one, labels": """
    S = tg.matmul(W, X) + b
    s_y = S[y, np.arange(len(y))]
    H = tg.relu(S - s_y + 1)
    l_svm = tg.sum(H, axis=0) - 1
    return tg.mean(l_svm) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    n, right = X.shape[1], np.argmax(Y, axis=0)
    S = W @ X + b
    H = np.maximum(0, S - np.sum(Y * S, axis=0) + 1)
    G = np.zeros(S.shape)
    G[H > 0] = 1
    G[right, np.arange(n)] = 0
    G[right, np.arange(n)] = -np.sum(G, axis=0)
    dW = (1 / n) * (G @ X.T)
    db = (1 / n) * (G @ np.ones((n, 1)))
    dW += DLAM * W
"""
    to_w, to_b = "(1 / n) * (G @ X.T)", "(1 / n) * (G @ np.ones((n, 1)))"
    zero, own = "    G[right, np.arange(n)] = 0\n", "    G[right, np.arange(n)] = -np.sum(G, axis=0)\n"
    last, active = "    dW += DLAM * W\n", "    G[H > 0] = 1\n"
    edits = [
        *l2_mistakes({"W": last}, ("b", *after(last, "    db += DLAM * b\n")), "n"),
        edit("missing_1_over_n", to_w, "G @ X.T", to_b, "G @ np.ones((n, 1))"),
        edit("double_1_over_n", own, f"{own}    G /= n\n"),
        edit("divided_by_other", to_w, "(1 / len(S)) * (G @ X.T)", to_b, to_b.replace("(1 / n)", "(1 / len(S))")),
        edit("misplaced_1_over_n", to_w, "G @ X.T", place="W", factor="N"),
        edit("db_mean", to_b, "(1 / n) * np.mean(G, axis=1, keepdims=True)", place="b"),
        edit("db_from_dw", to_b, "np.sum(dW, axis=1, keepdims=True)", place="b"),
        edit("db_wrong_axis", to_b, "(1 / n) * (np.ones((1, len(G))) @ G)", place="b"),
        edit("db_not_summed", to_b, "(1 / n) * G", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", own, f"{own}    G = -G\n"),
        edit("sign_all", *after(last, scaled("W b", "-"))),
        edit("sign_param", to_w, f"-{to_w}", place="W"),
        edit("hinge_own_missing", own, "", place="s_y"),
        edit("hinge_own_sign", own, own.replace("-np", "np"), place="s_y"),
        edit("hinge_own_once", own, own.replace("-np.sum(G, axis=0)", "-1"), place="s_y"),
        edit("hinge_own_counted", zero, "", place="s_y"),
        edit("activation_derivative_missing", active, "    G[H >= 0] = 1\n", place="H"),
        edit("mask_wrong_array", active, "    G[S > 0] = 1\n", place="H", wrong="S"),
        edit("margin_forgotten", "axis=0) + 1)", "axis=0))", place="H"),
        edit("off_by_one", "np.argmax(Y, axis=0)", "np.roll(np.argmax(Y, axis=0), 1)"),
        edit("off_by_one", to_b, "(1 / n) * (G[:, 1:] @ np.ones((n - 1, 1)))", place="b"),
        edit("wrong_variable", to_w, "(1 / n) * (H @ X.T)", place="W", wrong="H"),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("w_for_dw", last, "    dW = W\n", place="W"),
        edit("bias_forgotten", "S = W @ X + b", "S = W @ X", place="b"),
        edit("detached", to_b, "np.zeros((len(b), 1))", place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "0.1 * "))),
    ]
    return Program(
        *("svm", "SVM, optional part of assignment 1, columns", ("X", "Y", "lam"), ("W", "b"), costs),
        *(ONE_HOT_COLUMNS.format("b"), gradients, tuple(edits), ("S", "H", "l_svm"), draw),
        ({}, {"W": "Wsvm", "b": "bsvm", "H": "L"}, {"lam": "lamda", "S": "scores", "s_y": "score_of_y"}),
    )


def svm_margins() -> Program:
    """Rows; an array of margins, set to 0 at the labels, whose positive elements are counted."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=False, sizes=(4, 7), lam=0.12)
        return arrays | {"b": rng.normal(0, 0.6, arrays["W"].shape[1])}

    costs = {
        "steps": """
    num_train = X.shape[0]
    scores = X @ W + b
    correct_score = scores[np.arange(num_train), y].reshape(-1, 1)
    others = y[:, None] != np.arange(scores.shape[1])
    excess = tg.maximum(scores - correct_score + 1, 0) * others
    return tg.sum(excess) / num_train + CLAM * PENALTY(W)
""",
        "where": """
    scores = tg.matmul(X, W) + b
    correct_score = tg.reshape(scores[np.arange(len(y)), y], (-1, 1))
    excess = tg.where(y[:, None] == np.arange(scores.shape[1]), 0.0, tg.relu(scores - correct_score + 1))
    loss = tg.mean(tg.sum(excess, axis=1))
    return loss + CLAM * PENALTY(W)
""",
    }
    gradients = """
    num_train = X.shape[0]
    scores = X.dot(W) + b
    correct_score = scores[np.arange(num_train), y][:, np.newaxis]
    margins = np.maximum(0, scores - correct_score + 1)
    margins[np.arange(num_train), y] = 0
    binary = margins
    binary[margins > 0] = 1
    row_sum = np.sum(binary, axis=1)
    binary[np.arange(num_train), y] = -row_sum
    dW = X.T.dot(binary) / num_train
    db = np.sum(binary, axis=0) / num_train
    dW = dW + DLAM * W
"""
    first, margin = "    num_train = X.shape[0]\n", "scores - correct_score + 1"
    zero, last = "    margins[np.arange(num_train), y] = 0\n", "    dW = dW + DLAM * W\n"
    active, own = "    binary[margins > 0] = 1\n", "    binary[np.arange(num_train), y] = -row_sum\n"
    to_w, to_b = "X.T.dot(binary) / num_train", "np.sum(binary, axis=0) / num_train"
    edits = [
        *l2_mistakes({"W": last}, ("b", *after(last, "    db = db + DLAM * b\n")), "num_train"),
        edit("missing_1_over_n", to_w, "X.T.dot(binary)", to_b, "np.sum(binary, axis=0)"),
        edit("double_1_over_n", own, f"{own}    binary /= num_train\n"),
        edit("divided_by_other", to_w, "X.T.dot(binary) / b.size", to_b, "np.sum(binary, axis=0) / b.size"),
        edit("misplaced_1_over_n", to_b, "np.sum(binary, axis=0)", place="b", factor="N"),
        edit("db_mean", to_b, "np.mean(binary, axis=0) / num_train", place="b"),
        edit("db_from_dw", to_b, "np.sum(dW, axis=0)", place="b"),
        edit("db_wrong_axis", to_b, "np.sum(binary, axis=1) / num_train", place="b"),
        edit("db_not_summed", to_b, "binary / num_train", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", own, f"{own}    binary *= -1\n"),
        edit("sign_all", *after(last, "    dW *= -1\n    db *= -1\n")),
        edit("sign_param", to_b, "np.sum(-binary, axis=0) / num_train", place="b"),
        edit("hinge_own_missing", own, "", place="correct_score"),
        edit("hinge_own_sign", own, own.replace("-row_sum", "row_sum"), place="correct_score"),
        edit("hinge_own_once", own, own.replace("-row_sum", "-1"), place="correct_score"),
        edit("hinge_own_counted", zero, "", place="correct_score"),
        edit(
            "activation_derivative_missing",
            active,
            "    binary[margins >= 0] = 1\n    binary[np.arange(num_train), y] = 0\n",
            place="excess",
        ),
        edit(
            "mask_wrong_array",
            "binary = margins\n    binary[margins > 0] = 1\n",
            "binary = (scores > 0) * 1.0\n    binary[np.arange(num_train), y] = 0\n",
            place="excess",
            wrong="scores",
        ),
        edit("margin_forgotten", margin, "scores - correct_score", place="excess"),
        edit("off_by_one", *after(first, "    y = np.roll(y, 1)\n")),
        edit("off_by_one", *after(first, "    y = y - 1\n")),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("w_for_dw", last, "    dW = W\n", place="W"),
        edit("bias_forgotten", "X.dot(W) + b", "X.dot(W)", place="b"),
        edit("detached", to_b, "np.zeros(b.size)", place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "(1 - 0.9) * "))),
    ]
    return Program(
        *("svm", "SVM, margins and counts, rows", ("X", "y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("scores", "excess", "loss"), draw),
        ({}, {"W": "w", "b": "b_vec", "lam": "reg"}, {"X": "X_dev", "y": "y_dev", "excess": "M", "scores": "S"}),
    )


def svm_loops() -> Program:
    """Columns; loops over the images and the classes; each violation adds an image here and subtracts it there."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = one_layer(rng, columns=True, sizes=(3, 6), lam=0.25)
        return arrays | {"b": rng.normal(0, 0.6, len(arrays["W"]))}

    costs = {
        "by class": """
    n = X.shape[1]
    S = W @ X + b.reshape(-1, 1)
    own = S[y, np.arange(n)]
    excess = tg.stack([tg.maximum(S[j] - own + 1, 0) * (y != j) for j in range(len(W))])
    return tg.sum(excess) / n + CLAM * PENALTY(W)
""",
        "at once": """
    S = tg.matmul(W, X) + tg.reshape(b, (-1, 1))
    own = S[y, np.arange(len(y))]
    excess = tg.relu(S - own + 1)
    hinge = tg.sum(excess, axis=0) - 1
    return tg.mean(hinge) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    K, n = len(b), X.shape[1]
    dW, db = np.zeros(W.shape), np.zeros(K)
    for i in range(n):
        x, label = X[:, i], y[i]
        s = W.dot(x) + b
        for j in range(K):
            if j == label:
                continue
            if s[j] - s[label] + 1 > 0:
                dW[j] += x
                db[j] += 1
                dW[label] -= x
                db[label] -= 1
    dW = dW / n + DLAM * W
    db = db / n
"""
    margin, skip = "s[j] - s[label] + 1 > 0", "            if j == label:\n                continue\n"
    own_w, own_b = "                dW[label] -= x\n", "                db[label] -= 1\n"
    other_w, other_b = "                dW[j] += x\n", "                db[j] += 1\n"
    put_w, last = "dW = dW / n + DLAM * W", "    db = db / n\n"
    once = "    for i in range(n):\n        dW[y[i]] -= X[:, i]\n        db[y[i]] -= 1\n"
    edits = [
        *l2_mistakes({"W": " + DLAM * W"}, ("b", last, "    db = db / n + DLAM * b\n"), "n"),
        edit("missing_1_over_n", put_w, "dW = dW + DLAM * W", last, ""),
        edit("double_1_over_n", put_w, "dW = dW / n / n + DLAM * W", last, "    db = db / n / n\n"),
        edit("divided_by_other", put_w, "dW = dW / K + DLAM * W", last, "    db = db / K\n"),
        edit("misplaced_1_over_n", last, "", place="b", factor="N"),
        edit("misplaced_1_over_n", put_w, "dW = dW / n / n + DLAM * W", place="W", factor="1/N"),
        edit("db_mean", last, "    db = db / n**2\n", place="b"),
        edit("db_from_dw", other_b, other_b.replace("1", "x.sum()"), own_b, own_b.replace("1", "x.sum()"), place="b"),
        edit("db_from_dw", last, "    db = dW.sum(axis=1)\n", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", put_w, "dW = -dW / n + DLAM * W", last, "    db = -db / n\n"),
        edit("sign_all", *after(last, scaled("W b", "-"))),
        edit("sign_param", last, "    db = -db / n\n", place="b"),
        edit("hinge_own_missing", own_w, "", own_b, "", place="own"),
        edit("hinge_own_sign", own_w, own_w.replace("-=", "+="), own_b, own_b.replace("-=", "+="), place="own"),
        edit("hinge_own_once", own_w, "", own_b, "", f"    {put_w}", f"{once}    {put_w}", place="own"),
        edit(
            *("hinge_own_counted", skip, "", other_w, "                dW[j] += x * (j != label)\n"),
            *(other_b, "                db[j] += j != label\n"),
            place="own",
        ),
        edit("activation_derivative_missing", f"            if {margin}:\n", "            if True:\n", place="excess"),
        edit("mask_wrong_array", margin, "s[j] > 0", place="excess", wrong="S"),
        edit("margin_forgotten", margin, "s[j] - s[label] > 0", place="excess"),
        edit("overwritten", put_w, "dW = DLAM * W", place="W"),
        edit("w_for_dw", put_w, "dW = W", place="W"),
        edit("off_by_one", "X.shape[1]\n", "X.shape[1]\n    y = (y - 1) % K\n"),
        edit("off_by_one", "for i in range(n)", "for i in range(n - 1)"),
        edit("bias_forgotten", "W.dot(x) + b", "W.dot(x)", place="b"),
        edit("detached", last, "    db = np.zeros(K)\n", place="b"),
        edit("momentum_factor", *after(last, "    dW, db = 0.1 * dW, 0.1 * db\n")),
    ]
    return Program(
        *("svm", "SVM, loops over images and classes, columns", ("X", "y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("S", "excess", "hinge"), draw),
        ({}, {"W": "planes", "b": "thresholds"}, {"S": "f", "own": "f_y", "lam": "C"}),
    )


# -- two layers --------------------------------------------------------------------------------------------------------


def two_layers_course_dictionaries() -> Program:
    """Columns; the functions of the second assignment: dictionaries with lists, 1/N in each product."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=True)
        return arrays | {f"b{i}": rng.normal(0, 0.8, (len(arrays["W1"]), 1)) for i in (1, 2)}

    costs = {
        "steps": """
    n = X.shape[1]
    s1 = W1 @ X + b1
    h = tg.maximum(s1, 0)
    S = W2 @ h + b2
    P = tg.softmax(S, axis=0)
    l_cross = -tg.log(tg.sum(Y * P, axis=0))
    return tg.sum(l_cross) / n + CLAM * PENALTY(W1, W2)
""",
        "log-sum-exp, labels": """
    s1 = tg.matmul(W1, X) + b1
    h = tg.relu(s1)
    S = tg.matmul(W2, h) + b2
    l_cross = tg.logsumexp(S, axis=0) - S[y, np.arange(len(y))]
    return tg.mean(l_cross) + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    def forward_pass(X, net):
        s1 = net["W"][0] @ X + net["b"][0]
        h = np.maximum(s1, 0)
        S = net["W"][1] @ h + net["b"][1]
        P = np.exp(S)
        P = P / P.sum(axis=0)
        return {"s1": s1, "h": h, "S": S, "P": P}

    def backward_pass(X, Y, fp, net):
        n = X.shape[1]
        ones = np.ones((n, 1))
        grads = {"W": [None] * 2, "b": [None] * 2}
        G = -(Y - fp["P"])
        grads["W"][1] = G @ fp["h"].T / n + DLAM * net["W"][1]
        grads["b"][1] = G @ ones / n
        G = net["W"][1].T @ G
        G = G * (fp["h"] > 0)
        grads["W"][0] = G @ X.T / n + DLAM * net["W"][0]
        grads["b"][0] = G @ ones / n
        return grads

    net = {"W": [W1, W2], "b": [b1, b2]}
    grads = backward_pass(X, Y, forward_pass(X, net), net)
    dW1, dW2 = grads["W"]
    db1, db2 = grads["b"]
"""
    inner, delta, last = "s1 h W1 b1", 'G = -(Y - fp["P"])\n', '    db1, db2 = grads["b"]\n'
    w2, w1 = 'grads["W"][1] = G @ fp["h"].T / n', 'grads["W"][0] = G @ X.T / n'
    to2, to1 = 'grads["b"][1] = G @ ones / n', 'grads["b"][0] = G @ ones / n'
    back, gate = '        G = net["W"][1].T @ G\n', 'G * (fp["h"] > 0)'
    softmax, end = "        P = P / P.sum(axis=0)\n", "        return grads\n"
    terms = {f"W{i + 1}": f' + DLAM * net["W"][{i}]' for i in (0, 1)}
    edits = [
        *l2_mistakes(terms, ("b1", to1, f'{to1} + DLAM * net["b"][0]'), "n"),
        edit("missing_1_over_n", *[t for text in (w2, to2, w1, to1) for t in (text, text.removesuffix(" / n"))]),
        edit("double_1_over_n", delta, 'G = -(Y - fp["P"]) / n\n'),
        edit("divided_by_other", *[t for text in (w2, to2, w1, to1) for t in (text, text.replace("/ n", "/ len(Y)"))]),
        edit("misplaced_1_over_n", w2, w2.removesuffix(" / n"), place="W2", factor="N"),
        edit("misplaced_1_over_n", to1, to1.removesuffix(" / n"), place="b1", factor="N"),
        edit("db_mean", to1, 'grads["b"][0] = G.mean(axis=1, keepdims=True) / n', place="b1"),
        edit("db_from_dw", to1, 'grads["b"][0] = grads["W"][0].sum(axis=1, keepdims=True)', place="b1"),
        edit("db_from_dw", to2, 'grads["b"][1] = G @ fp["h"].T @ np.ones((len(fp["h"]), 1)) / n', place="b2"),
        edit("db_wrong_axis", to2, 'grads["b"][1] = G.sum(axis=0, keepdims=True) / n', place="b2"),
        edit("db_not_summed", to2, 'grads["b"][1] = G / n', place="b2"),
        edit("transposed_factor", back, '        G = net["W"][1] @ G\n', place="W2"),
        edit(
            "dw_transposed", end, f'        grads["W"] = [gradient.T for gradient in grads["W"]]\n{end}', place="W1 W2"
        ),
        edit("sign_loss", delta, 'G = Y - fp["P"]\n'),
        edit("sign_all", *after(last, scaled("W1 W2 b1 b2", "-"))),
        edit("sign_param", back, '        G = -net["W"][1].T @ G\n', place=inner),
        edit("activation_derivative_missing", gate, 'G * (fp["h"] >= 0)', place=inner),
        edit("mask_wrong_array", gate, "G * (X > 0)", place=inner, wrong="X"),
        edit("mask_wrong_array", gate, "G * (G > 0)", place=inner, wrong="G"),
        edit("mask_wrong_array", gate, 'G * (fp["S"] > 0)', place=inner, wrong="S"),
        edit("other_derivative", gate, 'G * (1 - fp["h"] ** 2)', place=inner),
        edit("softmax_diagonal", delta, 'G = -Y * (1 - fp["P"])\n'),
        edit("softmax_sum_forgotten", delta, "G = -Y\n"),
        edit("softmax_unnormalised", softmax, ""),
        edit(
            "updated_before_delta", back, f'        net["W"][1] = net["W"][1] - 0.1 * grads["W"][1]\n{back}', place="W2"
        ),
        edit("overwritten", w1 + terms["W1"], f'{w1}\n        grads["W"][0] = DLAM * net["W"][0]', place="W1"),
        edit("w_for_dw", end, f'        grads["W"][1] = net["W"][1]\n{end}', place="W2"),
        edit("wrong_variable", w2, w2.replace('"h"', '"s1"'), place="W2 h", wrong="s1"),
        edit("wrong_variable", w2, w2.replace('fp["h"]', "X"), place="W2 h", wrong="X"),
        edit("wrong_variable", w1, w1.replace("X", 'fp["h"]'), place="W1 X", wrong="h"),
        edit("wrong_variable", delta, 'G = -(Y - fp["S"])\n', place="P", wrong="S"),
        edit("detached", back, '        G = np.zeros(fp["h"].shape)\n', place=inner),
        edit("bias_forgotten", '@ h + net["b"][1]', "@ h", place="b2"),
        edit("off_by_one", delta, 'G = -(np.roll(Y, 1, axis=1) - fp["P"])\n'),
        edit("off_by_one", w1, w1.replace("G @ X.T", "G[:, 1:] @ X[:, 1:].T"), place="W1"),
        edit("momentum_factor", *after(last, scaled("W1 W2 b1 b2", "(1 - 0.9) * "))),
    ]
    return Program(
        *("two layers", "two layers, dictionaries of assignment 2, columns", ("X", "Y", "lam")),
        *(("W1", "W2", "b1", "b2"), costs, ONE_HOT_COLUMNS.format("b2"), gradients, tuple(edits)),
        *(("S", "P", "l_cross"), draw),
        (
            {},
            {"s1": "s_hidden", "h": "H", "S": "scores"},
            {"W1": "Wa", "W2": "Wb", "b1": "ba", "b2": "bb", "lam": "lmb"},
        ),
    )


def two_layers_dscores() -> Program:
    """Rows; integers as labels, elements set to 0 in place, and a dictionary of gradients."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=False)
        return arrays | {f"b{i}": rng.normal(0, 0.8, len(arrays["W1"])) for i in (1, 2)}

    costs = {
        "steps": """
    N = X.shape[0]
    fc1 = X @ W1 + b1
    hidden = tg.relu(fc1)
    scores = hidden @ W2 + b2
    probs = tg.softmax(scores, axis=1)
    loss = -tg.sum(tg.log(probs[np.arange(N), y])) / N
    return loss + CLAM * PENALTY(W1, W2)
""",
        "where": """
    fc1 = tg.matmul(X, W1) + b1
    hidden = tg.where(fc1 > 0, fc1, 0.0)
    scores = tg.matmul(hidden, W2) + b2
    losses = tg.logsumexp(scores, axis=1) - scores[np.arange(len(y)), y]
    return tg.mean(losses) + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N = X.shape[0]
    fc1 = X.dot(W1) + b1
    hidden = np.maximum(0, fc1)
    scores = hidden.dot(W2) + b2
    probs = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    probs /= np.sum(probs, axis=1, keepdims=True)
    grads = {}
    dscores = probs
    dscores[np.arange(N), y] -= 1
    dscores /= N
    grads["W2"] = np.dot(hidden.T, dscores)
    grads["b2"] = np.sum(dscores, axis=0)
    dhidden = np.dot(dscores, W2.T)
    dhidden[hidden <= 0] = 0
    grads["W1"] = np.dot(X.T, dhidden)
    grads["b1"] = np.sum(dhidden, axis=0)
    grads["W1"] += DLAM * W1
    grads["W2"] += DLAM * W2
    dW1, db1 = grads["W1"], grads["b1"]
    dW2, db2 = grads["W2"], grads["b2"]
"""
    inner, own, ratio = "fc1 hidden W1 b1", "    dscores[np.arange(N), y] -= 1\n", "    dscores /= N\n"
    back, gate, last = (
        "np.dot(dscores, W2.T)",
        "    dhidden[hidden <= 0] = 0\n",
        '    dW2, db2 = grads["W2"], grads["b2"]\n',
    )
    w2, to2 = "np.dot(hidden.T, dscores)", 'grads["b2"] = np.sum(dscores, axis=0)'
    w1, to1 = "np.dot(X.T, dhidden)", 'grads["b1"] = np.sum(dhidden, axis=0)'
    terms = {f"W{i}": f'    grads["W{i}"] += DLAM * W{i}\n' for i in (1, 2)}
    edits = [
        *l2_mistakes(terms, ("b2", *after(last, "    db2 = db2 + DLAM * b2\n"))),
        edit("l2_missing", terms["W1"], "", place="W1"),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", ratio, "    dscores /= N**2\n"),
        edit("divided_by_other", ratio, "    dscores /= scores.shape[1]\n"),
        edit("misplaced_1_over_n", back, f"{back} / N", place=inner, factor="1/N"),
        edit("misplaced_1_over_n", to2, f"{to2} * N", place="b2", factor="N"),
        edit("db_mean", to2, to2.replace("sum", "mean"), place="b2"),
        edit("db_from_dw", to2, 'grads["b2"] = np.sum(grads["W2"], axis=0)', place="b2"),
        edit("db_from_dw", to1, 'grads["b1"] = np.sum(grads["W1"], axis=0)', place="b1"),
        edit("db_wrong_axis", to1, to1.replace("axis=0", "axis=1"), place="b1"),
        edit("db_not_summed", to1, 'grads["b1"] = dhidden', place="b1"),
        edit("transposed_factor", back, "np.dot(dscores, W2)", place="W2"),
        edit("dw_transposed", w1, "np.dot(dhidden.T, X)", place="W1"),
        edit("sign_loss", ratio, "    dscores /= -N\n"),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-1 * "))),
        edit("sign_param", back, f"-{back}", place=inner),
        edit("activation_derivative_missing", gate, "", place=inner),
        edit("mask_wrong_array", gate, "    dhidden[dhidden <= 0] = 0\n", place=inner, wrong="dhidden"),
        edit("mask_wrong_array", gate, "    dhidden[X <= 0] = 0\n", place=inner, wrong="X"),
        edit("mask_wrong_array", gate, "    dhidden[scores <= 0] = 0\n", place=inner, wrong="scores"),
        edit("other_derivative", gate, "    dhidden *= hidden * (1 - hidden)\n", place=inner),
        edit("softmax_diagonal", own, f"{own}    dscores *= y[:, None] == np.arange(b2.size)\n"),
        edit("softmax_sum_forgotten", "dscores = probs\n", "dscores = 0 * probs\n"),
        edit("softmax_unnormalised", "    probs /= np.sum(probs, axis=1, keepdims=True)\n", ""),
        edit("updated_before_delta", back, 'np.dot(dscores, (W2 - 0.2 * grads["W2"]).T)', place="W2"),
        edit("overwritten", terms["W2"], terms["W2"].replace("+=", "="), place="W2"),
        edit("w_for_dw", last, '    dW2, db2 = W2, grads["b2"]\n', place="W2"),
        edit("wrong_variable", w2, "np.dot(fc1.T, dscores)", place="W2 hidden", wrong="fc1"),
        edit("wrong_variable", w2, "np.dot(X.T, dscores)", place="W2 hidden", wrong="X"),
        edit("wrong_variable", w1, "np.dot(hidden.T, dhidden)", place="W1 X", wrong="hidden"),
        edit("detached", back, "np.zeros(hidden.shape)", place=inner),
        edit("detached", to1, 'grads["b1"] = np.zeros(b1.shape)', place="b1"),
        edit("bias_forgotten", "X.dot(W1) + b1", "X.dot(W1)", place="b1"),
        edit("off_by_one", own, own.replace("y]", "y - 1]")),
        edit("momentum_factor", *after(last, scaled("W1 b1 W2 b2", "0.1 * "))),
    ]
    return Program(
        *(
            "two layers",
            "two layers, dscores and dhidden, rows",
            ("X", "y", "lam"),
            ("W1", "b1", "W2", "b2"),
            costs,
            "",
        ),
        *(gradients, tuple(edits), ("scores", "probs", "loss", "losses"), draw),
        (
            {},
            {"W1": "w_in", "b1": "b_in", "W2": "w_out", "b2": "b_out"},
            {"fc1": "z1", "hidden": "a1", "scores": "z2", "lam": "reg"},
        ),
    )


def two_layers_tanh_dropout() -> Program:
    """Columns; ``dZ2``, ``dA1`` and ``dZ1`` with the factor ``1 / m`` in each product; tanh and inverted dropout."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=True) | {"keep": 0.7}
        m, n = arrays["X"].shape
        arrays["D1"] = np.floor(rng.random((m, n)) + 0.7)
        return arrays | {f"b{i}": rng.normal(0, 0.8, (m, 1)) for i in (1, 2)}

    costs = {
        "steps": """
    m = X.shape[1]
    Z1 = W1 @ X + b1
    A1 = tg.tanh(Z1)
    H1 = A1 * D1 / keep
    Z2 = W2 @ H1 + b2
    A2 = tg.softmax(Z2, axis=0)
    cross_entropy = -tg.sum(Y * tg.log(A2)) / m
    return cross_entropy + CLAM * PENALTY(W1, W2)
""",
        "exponentials, labels": """
    Z1 = tg.matmul(W1, X) + b1
    A1 = (tg.exp(2 * Z1) - 1) / (tg.exp(2 * Z1) + 1)
    H1 = A1 * (D1 / keep)
    Z2 = tg.matmul(W2, H1) + b2
    A2 = tg.exp(Z2) / tg.sum(tg.exp(Z2), axis=0)
    cross_entropy = tg.mean(-tg.log(A2[y, np.arange(len(y))]))
    return cross_entropy + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    m = X.shape[1]
    Z1 = np.dot(W1, X) + b1
    A1 = np.tanh(Z1)
    H1 = np.multiply(A1, D1)
    H1 = H1 / keep
    Z2 = np.dot(W2, H1) + b2
    t = np.exp(Z2)
    A2 = t / np.sum(t, axis=0, keepdims=True)
    dZ2 = A2 - Y
    dW2 = 1.0 / m * np.dot(dZ2, H1.T) + DLAM * W2
    db2 = 1.0 / m * np.sum(dZ2, axis=1, keepdims=True)
    dH1 = np.dot(W2.T, dZ2)
    dA1 = np.multiply(dH1, D1)
    dA1 = dA1 / keep
    dZ1 = np.multiply(dA1, 1 - np.power(A1, 2))
    dW1 = 1.0 / m * np.dot(dZ1, X.T) + DLAM * W1
    db1 = 1.0 / m * np.sum(dZ1, axis=1, keepdims=True)
"""
    inner, delta, back = "Z1 A1 W1 b1", "dZ2 = A2 - Y\n", "dH1 = np.dot(W2.T, dZ2)"
    w2, w1 = "1.0 / m * np.dot(dZ2, H1.T)", "1.0 / m * np.dot(dZ1, X.T)"
    to2, to1 = "1.0 / m * np.sum(dZ2, axis=1, keepdims=True)", "1.0 / m * np.sum(dZ1, axis=1, keepdims=True)"
    mask, scale, gate = "np.multiply(dH1, D1)", "    dA1 = dA1 / keep\n", "np.multiply(dA1, 1 - np.power(A1, 2))"
    last, every = f"    db1 = {to1}\n", "W1 b1 W2 b2"
    edits = [
        *l2_mistakes({"W1": " + DLAM * W1", "W2": " + DLAM * W2"}, ("b2", to2, f"{to2} + DLAM * b2"), "m"),
        edit("missing_1_over_n", *[t for text in (w2, to2, w1, to1) for t in (text, text.removeprefix("1.0 / m * "))]),
        edit("double_1_over_n", delta, "dZ2 = (A2 - Y) / m\n"),
        edit("divided_by_other", *[t for text in (w2, to2, w1, to1) for t in (text, text.replace("/ m", "/ len(Y)"))]),
        edit("misplaced_1_over_n", w1, w1.removeprefix("1.0 / m * "), place="W1", factor="N"),
        edit("misplaced_1_over_n", back, "dH1 = 1 / m * np.dot(W2.T, dZ2)", place=f"H1 {inner}", factor="1/N"),
        edit("db_mean", to1, to1.replace("sum", "mean"), place="b1"),
        edit("db_from_dw", to2, "np.sum(dW2, axis=1, keepdims=True)", place="b2"),
        edit("db_from_dw", to1, "1.0 / m * np.sum(np.dot(dZ1, X.T), axis=1, keepdims=True)", place="b1"),
        edit("db_wrong_axis", to2, to2.replace("axis=1", "axis=0"), place="b2"),
        edit("db_not_summed", to1, "1.0 / m * dZ1", place="b1"),
        edit("transposed_factor", back, "dH1 = np.dot(W2, dZ2)", place="W2"),
        edit("dw_transposed", w1, "1.0 / m * np.dot(X, dZ1.T)", place="W1"),
        edit("sign_loss", delta, "dZ2 = Y - A2\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back, f"{back} * -1", place=f"H1 {inner}"),
        edit("activation_derivative_missing", gate, "dA1", place=inner),
        edit("other_derivative", gate, "np.multiply(dA1, A1 * (1 - A1))", place=inner),
        edit("other_derivative", gate, "np.multiply(dA1, np.int64(A1 > 0))", place=inner),
        edit("derivative_at_input", gate, "np.multiply(dA1, 1 - np.power(Z1, 2))", place=inner, wrong="Z1"),
        edit("derivative_at_input", gate, "np.multiply(dA1, 1 - np.power(H1, 2))", place=inner, wrong="H1"),
        edit("dropout_mask_missing", mask, "dH1", place=f"H1 {inner} D1"),
        edit("dropout_not_scaled", scale, "", place=f"H1 {inner} D1"),
        edit("softmax_diagonal", delta, "dZ2 = np.multiply(Y, A2 - 1)\n"),
        edit("softmax_sum_forgotten", delta, "dZ2 = 0 - Y\n"),
        edit("softmax_unnormalised", "t / np.sum(t, axis=0, keepdims=True)", "t"),
        edit("updated_before_delta", back, "dH1 = np.dot((W2 - 0.1 * dW2).T, dZ2)", place="W2"),
        edit("overwritten", f"dW2 = {w2} + DLAM * W2", f"dW2 = {w2}\n    dW2 = DLAM * W2", place="W2"),
        edit("w_for_dw", f"dW1 = {w1} + DLAM * W1", "dW1 = np.array(W1)", place="W1"),
        edit("wrong_variable", w2, w2.replace("H1", "A1"), place="W2 H1", wrong="A1"),
        edit("wrong_variable", w2, w2.replace("H1", "Z1"), place="W2 H1", wrong="Z1"),
        edit("wrong_variable", w1, w1.replace("X.T", "H1.T"), place="W1 X", wrong="H1"),
        edit("wrong_variable", delta, "dZ2 = Z2 - Y\n", place="A2", wrong="Z2"),
        edit("detached", back, "dH1 = np.zeros(H1.shape)", place=f"H1 {inner}"),
        edit("bias_forgotten", "np.dot(W1, X) + b1", "np.dot(W1, X)", place="b1"),
        edit("off_by_one", delta, "dZ2 = A2 - np.roll(Y, 1, axis=1)\n"),
        edit("off_by_one", to1, to1.replace("dZ1", "dZ1[:, :-1]"), place="b1"),
        edit("momentum_factor", *after(last, scaled(every, "(1 - 0.9) * "))),
    ]
    return Program(
        *("two layers", "two layers, dZ2 and dA1, tanh, dropout, columns", ("X", "Y", "lam", "D1", "keep")),
        *(tuple(every.split()), costs, ONE_HOT_COLUMNS.format("b2"), gradients, tuple(edits)),
        *(("Z2", "A2", "cross_entropy"), draw),
        ({}, {"W1": "theta1", "W2": "theta2", "keep": "keep_prob"}, {"lam": "lambd", "D1": "mask1", "H1": "A1_drop"}),
    )


def two_layers_row_vectors() -> Program:
    """Columns; the lecture's row vectors ``g`` for one image after the other, and diagonal matrices for the ReLU."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=True) | {"lam": 0.08}
        return arrays | {f"b{i}": rng.normal(0, 0.9, (len(arrays["W1"]), 1)) for i in (1, 2)}

    costs = {
        "steps": """
    D = X.shape[1]
    z = W1 @ X + b1
    h = tg.relu(z)
    S = W2 @ h + b2
    p = tg.softmax(S, axis=0)
    loss = -tg.sum(tg.log(tg.sum(Y * p, axis=0))) / D
    return loss + CLAM * PENALTY(W1, W2)
""",
        "labels": """
    D = len(y)
    z = tg.add(tg.matmul(W1, X), b1)
    h = tg.maximum(z, 0)
    S = tg.add(tg.matmul(W2, h), b2)
    loss = tg.sum(tg.logsumexp(S, axis=0) - S[y, np.arange(D)]) / D
    return CLAM * PENALTY(W1, W2) + loss
""",
    }
    gradients = """
    D = X.shape[1]
    sums = [np.zeros(array.shape) for array in (W1, b1, W2, b2)]
    for x, t in zip(X.T, Y.T):
        x, t = x[:, np.newaxis], t[:, np.newaxis]
        z = W1 @ x + b1
        h = np.where(z > 0, z, 0)
        S = W2 @ h + b2
        p = np.exp(S) / np.sum(np.exp(S))
        g = -(t - p).T
        sums[2] += g.T @ h.T
        sums[3] += g.T
        g = g @ W2
        g = g @ np.diag(z[:, 0] > 0)
        sums[0] += g.T @ x.T
        sums[1] += g.T
    dW1, db1, dW2, db2 = [total / D for total in sums]
    dW1 = dW1 + DLAM * W1
    dW2 = dW2 + DLAM * W2
"""
    inner, chain, back, gate = "z h W1 b1", "g = -(t - p).T\n", "        g = g @ W2\n", "np.diag(z[:, 0] > 0)"
    w2, w1, to2, to1 = "sums[2] += g.T @ h.T", "sums[0] += g.T @ x.T", "sums[3] += g.T\n", "sums[1] += g.T\n"
    ratio, last, every = "[total / D for total in sums]", "    dW2 = dW2 + DLAM * W2\n", "W1 b1 W2 b2"
    loop = "zip(X.T, Y.T)"
    edits = [
        *l2_mistakes(
            {"W1": "    dW1 = dW1 + DLAM * W1\n", "W2": last}, ("b1", *after(last, "    db1 = db1 + DLAM * b1\n")), "D"
        ),
        edit("missing_1_over_n", ratio, "sums"),
        edit("double_1_over_n", chain, "g = -(t - p).T / D\n"),
        edit("divided_by_other", ratio, "[total / len(b2) for total in sums]"),
        edit("misplaced_1_over_n", back, "        g = g @ W2 / D\n", place=inner, factor="1/N"),
        edit("misplaced_1_over_n", ratio, f"{ratio}\n    dW2 = sums[2]", place="W2", factor="N"),
        edit("db_mean", to2, "sums[3] += g.T / D\n", place="b2"),
        edit("db_from_dw", to2, "sums[3] += (g.T @ h.T).sum(axis=1, keepdims=True)\n", place="b2"),
        edit("transposed_factor", back, "        g = g @ W2.T\n", place="W2"),
        edit("dw_transposed", w1, "sums[0] += x @ g", place="W1"),
        edit("sign_loss", chain, "g = (t - p).T\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back, "        g = -g @ W2\n", place=inner),
        edit("sign_param", to2, "sums[3] -= g.T\n", place="b2"),
        edit("activation_derivative_missing", gate, "np.diag(h[:, 0] >= 0)", place=inner),
        edit("mask_wrong_array", gate, "np.diag(x[:, 0] > 0)", place=inner, wrong="X"),
        edit("mask_wrong_array", gate, "np.diag(S[:, 0] > 0)", place=inner, wrong="S"),
        edit("mask_wrong_array", gate, "np.diag(g[0] > 0)", place=inner, wrong="g"),
        edit("softmax_diagonal", chain, "g = -(t * (1 - p)).T\n"),
        edit("softmax_sum_forgotten", chain, "g = -t.T\n"),
        edit("softmax_unnormalised", "np.exp(S) / np.sum(np.exp(S))", "np.exp(S)"),
        edit("overwritten", last, "    dW2 = DLAM * W2\n", place="W2"),
        edit("overwritten", w1, "sums[0] = g.T @ x.T", place="W1"),
        edit("w_for_dw", last, f"{last}    dW1 = W1\n", place="W1"),
        edit("wrong_variable", w2, "sums[2] += g.T @ z.T", place="W2 h", wrong="z"),
        edit("wrong_variable", w2, "sums[2] += g.T @ x.T", place="W2 h", wrong="X"),
        edit("wrong_variable", w1, "sums[0] += g.T @ h.T", place="W1 X", wrong="h"),
        edit("detached", back, "        g = g @ np.zeros(W2.shape)\n", place=inner),
        edit("detached", f"        {to1}", "", place="b1"),
        edit("bias_forgotten", "W2 @ h + b2", "W2 @ h", place="b2"),
        edit("off_by_one", loop, "zip(X.T, np.roll(Y, 1, axis=1).T)"),
        edit("off_by_one", loop, "zip(X.T[:-1], Y.T)"),
        edit("momentum_factor", *after(last, scaled(every, "0.1 * "))),
    ]
    return Program(
        *(
            "two layers",
            "two layers, row vectors of one image, columns",
            ("X", "Y", "lam"),
            tuple(every.split()),
            costs,
        ),
        *(ONE_HOT_COLUMNS.format("b2"), gradients, tuple(edits), ("S", "p", "loss"), draw),
        ({}, {"z": "s1", "h": "x1", "S": "s2"}, {"W1": "V", "b1": "v0", "W2": "U", "b2": "u0", "lam": "eta"}),
    )


# -- k layers ----------------------------------------------------------------------------------------------------------


def course_batch_norm(k: int) -> Program:
    """Columns; the course's steps ``G1``, ``G2``, ``D`` and ``c`` in a loop; biases that batch norm makes useless."""
    hidden = range(1, k)
    weights, biases = ([f"{stem}{i}" for i in range(1, k + 1)] for stem in "Wb")
    names = {1: "X"} | {i + 1: f"X{i}" for i in hidden}

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([9, 12]), rng.choice([3, 4])
        arrays = labels(rng, m, n, columns=True) | {"X": rng.normal(0, 1, (m, n)), "lam": 0.02}
        for i in range(1, k + 1):
            arrays |= {f"W{i}": rng.normal(0, 1, (m, m)), f"b{i}": rng.normal(0, 0.6, (m, 1))}
        for i in hidden:
            arrays |= {f"gamma{i}": rng.uniform(0.6, 1.6, (m, 1)), f"beta{i}": rng.normal(0, 0.5, (m, 1))}
            arrays[f"U{i}"] = (rng.random((m, n)) < 0.8) / 0.8
        return arrays

    costs = {
        "steps": "\n    n = X.shape[1]"
        + "".join(
            f"""
    S{i} = W{i} @ {names[i]} + b{i}
    mu{i} = tg.mean(S{i}, axis=1, keepdims=True)
    v{i} = tg.mean((S{i} - mu{i}) ** 2, axis=1, keepdims=True)
    Sh{i} = (S{i} - mu{i}) / tg.sqrt(v{i} + 1e-6)
    St{i} = gamma{i} * Sh{i} + beta{i}
    R{i} = tg.maximum(St{i}, 0)
    X{i} = R{i} * U{i}"""
            for i in hidden
        )
        + f"""
    S = W{k} @ X{k - 1} + b{k}
    P = tg.softmax(S, axis=0)
    loss = -tg.sum(tg.log(tg.sum(Y * P, axis=0))) / n
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
        "var, labels": "".join(
            f"""
    S{i} = tg.matmul(W{i}, {names[i]}) + b{i}
    mu{i}, v{i} = tg.mean(S{i}, axis=1, keepdims=True), tg.var(S{i}, axis=1, keepdims=True)
    Sh{i} = (v{i} + 1e-6) ** -0.5 * (S{i} - mu{i})
    St{i} = tg.multiply(gamma{i}, Sh{i}) + beta{i}
    R{i} = tg.relu(St{i})
    X{i} = U{i} * R{i}"""
            for i in hidden
        )
        + f"""
    S = tg.matmul(W{k}, X{k - 1}) + b{k}
    loss = tg.mean(tg.logsumexp(S, axis=0) - S[y, np.arange(len(y))])
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
    }
    scale, shift = ([f"{stem}{i}" for i in hidden] for stem in ("gamma", "beta"))
    gradients = f"""
    W, bias = [{", ".join(weights)}], [{", ".join(biases)}]
    gammas, betas = [{", ".join(scale)}], [{", ".join(shift)}]
    U, n, last = [{", ".join(f"U{i}" for i in hidden)}], X.shape[1], {k - 1}
    one = np.ones((n, 1))

    def batch_norm_back_pass(G, S, mu, v):
        sigma1, sigma2 = (v + 1e-6) ** -0.5, (v + 1e-6) ** -1.5
        G1 = G * (sigma1 @ one.T)
        G2 = G * (sigma2 @ one.T)
        D = S - mu @ one.T
        c = (G2 * D) @ one
        return G1 - (G1 @ one) @ one.T / n - D * (c @ one.T) / n

    layer_input, S, S_hat, S_tilde, mu, v = [X], [], [], [], [], []
    for l in range(last):
        S.append(W[l] @ layer_input[l] + bias[l])
        mu.append(np.mean(S[l], axis=1, keepdims=True))
        v.append(np.var(S[l], axis=1, keepdims=True))
        S_hat.append((S[l] - mu[l]) / np.sqrt(v[l] + 1e-6))
        S_tilde.append(gammas[l] * S_hat[l] + betas[l])
        layer_input.append(np.maximum(0, S_tilde[l]) * U[l])
    P = np.exp(W[last] @ layer_input[last] + bias[last])
    P = P / np.sum(P, axis=0)
    G = -(Y - P)
    grads = {{"W": [None] * {k}, "b": [None] * {k}, "gammas": [None] * {k - 1}, "betas": [None] * {k - 1}}}
    grads["W"][last] = G @ layer_input[last].T / n + DLAM * W[last]
    grads["b"][last] = G @ one / n
    G = W[last].T @ G
    for l in range(last - 1, -1, -1):
        G = G * U[l]
        G = G * (S_tilde[l] > 0)
        grads["gammas"][l] = (G * S_hat[l]) @ one / n
        grads["betas"][l] = G @ one / n
        G = G * (gammas[l] @ one.T)
        G = batch_norm_back_pass(G, S[l], mu[l], v[l])
        grads["W"][l] = G @ layer_input[l].T / n + DLAM * W[l]
        grads["b"][l] = G @ one / n
        G = W[l].T @ G
    {", ".join(f"d{name}" for name in weights)} = grads["W"]
    {", ".join(f"d{name}" for name in biases)} = grads["b"]
    {", ".join(f"d{name}" for name in scale)}, = grads["gammas"]
    {", ".join(f"d{name}" for name in shift)}, = grads["betas"]
"""

    def everywhere(*stems: str) -> str:
        return " ".join(f"{stem}{i}" for i in hidden for stem in stems)

    norm, relu = everywhere("Sh", "S", "mu", "v", "W", "b"), everywhere("R", "St", "gamma", "beta")
    drop, below = f"{relu} {everywhere('X', 'U')}", f"X{k - 1} R{k - 1} St{k - 1}"
    scaled_by = everywhere("gamma", "Sh")
    mean, variance = " - (G1 @ one) @ one.T / n", " - D * (c @ one.T) / n"
    mask, gate = "        G = G * U[l]\n", "        G = G * (S_tilde[l] > 0)\n"
    top_w, top_b = 'grads["W"][last] = G @ layer_input[last].T / n', 'grads["b"][last] = G @ one / n'
    low_w, low_b = 'grads["W"][l] = G @ layer_input[l].T / n', 'grads["b"][l] = G @ one / n'
    to_gamma, to_beta = 'grads["gammas"][l] = (G * S_hat[l]) @ one / n', 'grads["betas"][l] = G @ one / n'
    each = (top_w, top_b, low_w, low_b, to_gamma, to_beta)
    delta, back, var = "    G = -(Y - P)\n", "    G = W[last].T @ G\n", "np.var(S[l], axis=1, keepdims=True)"
    end = f'    {", ".join(f"d{name}" for name in shift)}, = grads["betas"]\n'
    terms = {"": " + DLAM * W[l]", f"W{k}": " + DLAM * W[last]"}
    edits = [
        *l2_mistakes(terms, (f"b{k}", top_b, f"{top_b} + DLAM * bias[last]"), "n"),
        edit("missing_1_over_n", *[t for text in each for t in (text, text.removesuffix(" / n"))]),
        edit("double_1_over_n", delta, "    G = -(Y - P) / n\n"),
        edit("divided_by_other", *[t for text in each for t in (text, text.replace("/ n", "/ len(Y)"))]),
        edit("misplaced_1_over_n", top_w, top_w.removesuffix(" / n"), place=f"W{k}", factor="N"),
        edit("misplaced_1_over_n", to_gamma, to_gamma.removesuffix(" / n"), place=" ".join(scale), factor="N"),
        edit("misplaced_1_over_n", back, "    G = W[last].T @ G / n\n", place=below, factor="1/N"),
        edit("sign_loss", delta, "    G = Y - P\n"),
        edit("sign_all", *after(end, scaled(" ".join([*weights, *biases, *scale, *shift]), "-"))),
        edit("sign_param", back, "    G = -W[last].T @ G\n", place=below),
        edit("softmax_diagonal", delta, "    G = -Y * (1 - P)\n"),
        edit("softmax_sum_forgotten", delta, "    G = -Y\n"),
        edit("softmax_unnormalised", "    P = P / np.sum(P, axis=0)\n", ""),
        edit("db_mean", top_b, 'grads["b"][last] = np.mean(G, axis=1, keepdims=True) / n', place=f"b{k}"),
        edit("db_mean", to_beta, f"{to_beta} / n", place=" ".join(shift)),
        edit("db_from_dw", top_b, 'grads["b"][last] = np.sum(grads["W"][last], axis=1, keepdims=True)', place=f"b{k}"),
        edit("db_wrong_axis", top_b, 'grads["b"][last] = np.sum(G, axis=0) / n', place=f"b{k}"),
        edit("db_not_summed", to_beta, 'grads["betas"][l] = G / n', place=" ".join(shift)),
        edit("transposed_factor", "        G = W[l].T @ G\n", "        G = W[l] @ G\n", place=" ".join(weights[1:-1])),
        edit("transposed_factor", back, "    G = W[last] @ G\n", place=f"W{k}"),
        edit("dw_transposed", low_w, 'grads["W"][l] = layer_input[l] @ G.T / n', place=" ".join(weights[:-1])),
        edit("bn_mean_var_constant", mean, "", variance, "", place=norm),
        edit("bn_mean_constant", mean, "", place=norm),
        edit("bn_var_constant", variance, "", place=norm),
        edit("bn_gamma_missing", "        G = G * (gammas[l] @ one.T)\n", "", place=f"{norm} {everywhere('gamma')}"),
        edit("activation_derivative_missing", gate, "", place=relu),
        edit("mask_wrong_array", gate, gate.replace("S_tilde", "S_hat"), place=relu, wrong=everywhere("Sh")),
        edit("mask_wrong_array", gate, "        G = G * (G > 0)\n", place=relu, wrong="G"),
        edit("dropout_mask_missing", mask, "", place=drop),
        edit("dropout_not_scaled", mask, "        G = G * (U[l] > 0)\n", place=drop),
        edit("wrong_variable", to_gamma, to_gamma.replace("S_hat", "S_tilde"), place=scaled_by, wrong=everywhere("St")),
        edit("wrong_variable", to_gamma, to_gamma.replace("S_hat", "S"), place=scaled_by, wrong=everywhere("S")),
        edit(
            "wrong_variable",
            top_w,
            top_w.replace("layer_input[last]", "S_tilde[-1]"),
            place=f"W{k} X{k - 1}",
            wrong=f"St{k - 1}",
        ),
        edit(
            "overwritten",
            *after(f"{top_w} + DLAM * W[last]\n", '    grads["W"][last] = DLAM * W[last]\n'),
            place=f"W{k}",
        ),
        edit("w_for_dw", end, f"{end}    dW1 = W1\n", place="W1"),
        edit("updated_before_delta", back, '    G = (W[last] - 0.1 * grads["W"][last]).T @ G\n', place=f"W{k}"),
        edit("detached", back, "    G = np.zeros(layer_input[last].shape)\n", place=below),
        edit("bias_forgotten", " + bias[last])", ")", place=f"b{k}"),
        edit("bias_forgotten", "gammas[l] * S_hat[l] + betas[l]", "gammas[l] * S_hat[l]", place=" ".join(shift)),
        edit("off_by_one", delta, "    G = -(np.roll(Y, 1, axis=1) - P)\n"),
        edit("off_by_one", var, var.replace("keepdims", "ddof=1, keepdims")),
        edit(
            "off_by_one",
            top_w,
            top_w.replace("G @ layer_input[last].T", "G[:, 1:] @ layer_input[last][:, 1:].T"),
            place=f"W{k}",
        ),
        edit("momentum_factor", *after(end, scaled(" ".join([*weights, *biases, *scale, *shift]), "(1 - 0.9) * "))),
    ]
    parameters = (*weights, *biases, *scale, *shift)
    return Program(
        *("k layers", f"{k} layers, G1, G2, D and c, columns", ("X", "Y", "lam", *[f"U{i}" for i in hidden])),
        *(parameters, costs, ONE_HOT_COLUMNS.format(f"b{k}"), gradients, tuple(edits), ("S", "P", "loss"), draw),
        (
            {},
            {f"gamma{i}": f"ga{i}" for i in hidden} | {f"beta{i}": f"be{i}" for i in hidden},
            {f"U{i}": f"keep{i}" for i in hidden} | {"lam": "lmb"},
        ),
    )


def short_batch_norm() -> Program:
    """Rows, three layers; the gradients of scale and shift serve in the short formula; masks that contain the scale."""
    k, hidden = 3, (1, 2)
    inputs = {1: "X", 2: "r1", 3: "r2"}

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([9, 11]), rng.choice([3, 4])
        arrays = labels(rng, 3, n, columns=False) | {"X": rng.normal(0, 1, (n, 5)), "lam": 0.05}
        for i in hidden:
            arrays |= {f"W{i}": rng.normal(0, 1, (5 if i == 1 else m, m)), f"M{i}": (rng.random((n, m)) < 0.75) / 0.75}
            arrays |= {f"gamma{i}": rng.uniform(0.6, 1.5, m), f"beta{i}": rng.normal(0, 0.5, m)}
        return arrays | {"W3": rng.normal(0, 1.1, (m, 3)), "b3": rng.normal(0, 0.7, 3)}

    costs = {
        "steps": "\n    N = X.shape[0]"
        + "".join(
            f"""
    a{i} = {inputs[i]} @ W{i}
    mu{i} = tg.mean(a{i}, axis=0)
    var{i} = tg.mean((a{i} - mu{i}) ** 2, axis=0)
    xhat{i} = (a{i} - mu{i}) / tg.sqrt(var{i} + 1e-5)
    z{i} = gamma{i} * xhat{i} + beta{i}
    h{i} = tg.maximum(z{i}, 0)
    r{i} = h{i} * M{i}"""
            for i in hidden
        )
        + """
    scores = r2 @ W3 + b3
    probs = tg.softmax(scores, axis=1)
    loss = -tg.sum(tg.log(probs[np.arange(N), y])) / N
    return loss + CLAM * PENALTY(W1, W2, W3)
""",
        "log-sum-exp": "".join(
            f"""
    a{i} = tg.matmul({inputs[i]}, W{i})
    mu{i}, var{i} = a{i}.mean(axis=0), a{i}.var(axis=0)
    xhat{i} = (a{i} - mu{i}) / (var{i} + 1e-5) ** 0.5
    z{i} = xhat{i} * gamma{i} + beta{i}
    h{i} = tg.relu(z{i})
    r{i} = tg.multiply(h{i}, M{i})"""
            for i in hidden
        )
        + """
    scores = tg.matmul(r2, W3) + b3
    loss = tg.mean(tg.logsumexp(scores, axis=1) - scores[np.arange(len(y)), y])
    return CLAM * PENALTY(W1, W2, W3) + loss
""",
    }
    gradients = "\n    N = X.shape[0]" + "".join(
        f"""
    a{i} = {inputs[i]}.dot(W{i})
    mu{i}, ivar{i} = a{i}.mean(axis=0), 1 / np.sqrt(a{i}.var(axis=0) + 1e-5)
    xhat{i} = (a{i} - mu{i}) * ivar{i}
    z{i} = gamma{i} * xhat{i} + beta{i}
    h{i} = np.maximum(0, z{i})
    r{i} = h{i} * M{i}"""
        for i in hidden
    )
    gradients += """
    scores = r2.dot(W3) + b3
    probs = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    dout3 = probs
    dout3[np.arange(N), y] -= 1
    dout3 /= N
    db3 = dout3.sum(axis=0)
    dW3 = r2.T.dot(dout3) + DLAM * W3"""
    for i in (2, 1):
        gradients += f"""
    dr{i} = dout{i + 1}.dot(W{i + 1}.T)
    dh{i} = dr{i} * M{i}
    dz{i} = dh{i} * (z{i} > 0)
    dbeta{i} = np.sum(dz{i}, axis=0)
    dgamma{i} = np.sum(dz{i} * xhat{i}, axis=0)
    dout{i} = (gamma{i} * ivar{i} / N) * (N * dz{i} - xhat{i} * dgamma{i} - dbeta{i})
    dW{i} = {inputs[i]}.T.dot(dout{i}) + DLAM * W{i}"""
    gradients += "\n"
    own, ratio = "    dout3[np.arange(N), y] -= 1\n", "    dout3 /= N\n"
    to_b, to_w, last = "db3 = dout3.sum(axis=0)", "r2.T.dot(dout3)", "    dW1 = X.T.dot(dout1) + DLAM * W1\n"
    every = "W1 W2 W3 b3 gamma1 gamma2 beta1 beta2"
    edits = [
        *l2_mistakes({f"W{i}": f" + DLAM * W{i}" for i in (3, 2, 1)}, ("b3", to_b, f"{to_b} + DLAM * b3")),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", ratio, ratio * 2),
        edit("divided_by_other", ratio, "    dout3 /= scores.shape[1]\n"),
        edit("sign_param", "dout3.dot(W3.T)", "-dout3.dot(W3.T)", place="r2 h2 z2"),
        edit("misplaced_1_over_n", "(gamma2 * ivar2 / N)", "(gamma2 * ivar2)", place="a2 W2", factor="N"),
        edit("sign_loss", ratio, "    dout3 /= -N\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("softmax_diagonal", own, f"{own}    dout3 *= y[:, np.newaxis] == np.arange(3)\n"),
        edit("softmax_sum_forgotten", own, f"    dout3 *= 0\n{own}"),
        edit("softmax_unnormalised", "    probs /= probs.sum(axis=1, keepdims=True)\n", ""),
        edit("db_mean", to_b, "db3 = dout3.mean(axis=0)", place="b3"),
        edit("db_mean", *after(last, "    dbeta2 = np.mean(dz2, axis=0)\n"), place="beta2"),
        edit("db_from_dw", to_b, f"db3 = {to_w}.sum(axis=0)", place="b3"),
        edit("db_wrong_axis", to_b, "db3 = dout3.sum(axis=1)", place="b3"),
        edit("db_not_summed", *after(last, "    dbeta1 = dz1\n"), place="beta1"),
        edit("dw_transposed", *after(last, "    dW3 = dW3.T\n"), place="W3"),
        edit("bias_forgotten", "r2.dot(W3) + b3", "r2.dot(W3)", place="b3"),
        edit("off_by_one", own, own.replace("y]", "y - 1]")),
        edit("off_by_one", to_w, "r2[1:].T.dot(dout3[1:])", place="W3"),
        edit("w_for_dw", *after(last, "    dW2 = W2.copy()\n"), place="W2"),
        edit("overwritten", f"dW3 = {to_w} + DLAM * W3", "dW3 = DLAM * W3", place="W3"),
        edit("momentum_factor", *after(last, scaled(every, "0.1 * "))),
    ]
    for i in hidden:
        norm, relu, drop = f"xhat{i} a{i} mu{i} var{i} W{i}", f"h{i} z{i} gamma{i} beta{i}", f"r{i} h{i} M{i} z{i}"
        mean, variance, gate = f" - dbeta{i})", f" - xhat{i} * dgamma{i}", f"dh{i} * (z{i} > 0)"
        arrive, outs = f"dout{i + 1}.dot(W{i + 1}.T)", f"r{i} h{i} z{i}"
        edits += [
            edit("bn_mean_var_constant", mean, ")", variance, "", place=norm),
            edit("bn_mean_constant", mean, ")", place=norm),
            edit("bn_var_constant", variance, "", place=norm),
            edit("bn_gamma_missing", f"(gamma{i} * ivar{i} / N)", f"(ivar{i} / N)", place=f"{norm} gamma{i} z{i}"),
            edit("activation_derivative_missing", gate, f"dh{i}", place=relu),
            edit("mask_wrong_array", gate, f"dh{i} * (xhat{i} > 0)", place=relu, wrong=f"xhat{i}"),
            edit("other_derivative", gate, f"dh{i} * (1 - h{i} ** 2)", place=relu),
            edit("dropout_mask_missing", f"dr{i} * M{i}", f"dr{i}", place=drop),
            edit("dropout_not_scaled", f"dr{i} * M{i}", f"dr{i} * (M{i} > 0)", place=drop),
            edit("detached", arrive, f"np.zeros(r{i}.shape)", place=outs),
            edit("updated_before_delta", arrive, f"dout{i + 1}.dot((W{i + 1} - 0.2 * dW{i + 1}).T)", place=f"W{i + 1}"),
        ]
        products = f"    dgamma{i} = np.sum(dz{i} * a{i}, axis=0)\n"
        edits.append(edit("wrong_variable", *after(last, products), place=f"gamma{i} xhat{i}", wrong=f"a{i}"))
    edits.append(edit("wrong_variable", to_w, "h2.T.dot(dout3)", place="W3 r2", wrong="h2"))
    return Program(
        *("k layers", f"{k} layers, dgamma and dbeta in the short formula, rows", ("X", "y", "lam", "M1", "M2")),
        *(("W1", "gamma1", "beta1", "W2", "gamma2", "beta2", "W3", "b3"), costs, "", gradients, tuple(edits)),
        *(("scores", "probs", "loss"), draw),
        (
            {},
            {"M1": "mask1", "M2": "mask2", "lam": "reg"},
            {"W1": "w1", "W2": "w2", "W3": "w3", "z1": "bn1", "z2": "bn2"},
        ),
    )


def nine_steps() -> Program:
    """Rows, two layers; each of the nine operations of batch norm and its gradient is a step with its own names."""

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([8, 11]), rng.choice([3, 4])
        arrays = labels(rng, m, n, columns=False) | {"X": rng.normal(0, 1, (n, m)), "lam": 0.06, "keep": 0.6}
        arrays |= {"W1": rng.normal(0, 1, (m, m)), "W2": rng.normal(0, 1, (m, m)), "b2": rng.normal(0, 0.7, m)}
        arrays |= {"gamma": rng.uniform(0.7, 1.6, m), "beta": rng.normal(0, 0.4, m)}
        return arrays | {"M1": np.floor(rng.random((n, m)) + 0.6)}

    costs = {
        "steps, labels": """
    N = X.shape[0]
    x = X @ W1
    mu = tg.mean(x, axis=0)
    xmu = x - mu
    var = tg.mean(xmu**2, axis=0)
    xhat = xmu / tg.sqrt(var + 1e-5)
    bn = gamma * xhat + beta
    act = tg.relu(bn)
    drop = act * M1 / keep
    scores = drop @ W2 + b2
    loss = tg.sum(tg.logsumexp(scores, axis=1) - scores[np.arange(N), y]) / N
    return loss + CLAM * PENALTY(W1, W2)
""",
        "inverse": """
    x = tg.matmul(X, W1)
    mu, var = tg.mean(x, axis=0), tg.var(x, axis=0)
    xhat = (x - mu) * (1 / tg.sqrt(var + 1e-5))
    bn = xhat * gamma + beta
    act = tg.maximum(bn, 0)
    drop = act * (M1 / keep)
    scores = tg.matmul(drop, W2) + b2
    probs = tg.softmax(scores, axis=1)
    loss = -tg.mean(tg.sum(Y * tg.log(probs), axis=1))
    return loss + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N, D = X.shape
    x = np.dot(X, W1)
    mu = 1.0 / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1.0 / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + 1e-5)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    bn = gamma * xhat + beta
    act = np.maximum(bn, 0)
    drop = act * M1 / keep
    probs = np.exp(np.dot(drop, W2) + b2)
    probs = probs / probs.sum(axis=1)[:, None]
    dscores = (probs - Y) / N
    dW2 = np.dot(drop.T, dscores) + DLAM * W2
    db2 = np.sum(dscores, axis=0)
    ddrop = np.dot(dscores, W2.T)
    dact = ddrop * M1
    dact = dact / keep
    dout = np.where(bn > 0, dact, 0)
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dxhat = dout * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    dvar = 0.5 * 1.0 / np.sqrt(var + 1e-5) * dsqrtvar
    dsq = 1.0 / N * np.ones((N, D)) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1.0 / N * np.ones((N, D)) * dmu
    dx = dx1 + dx2
    dW1 = np.dot(X.T, dx) + DLAM * W1
"""
    norm, relu, dropped = "xhat x mu var W1", "act bn gamma beta", "drop act M1 bn"
    delta, gate = "dscores = (probs - Y) / N", "np.where(bn > 0, dact, 0)"
    to_w, to_b, back = "np.dot(drop.T, dscores)", "db2 = np.sum(dscores, axis=0)", "ddrop = np.dot(dscores, W2.T)"
    mean, variance = "dx = dx1 + dx2\n", "dx1 = dxmu1 + dxmu2"
    to_beta, to_gamma = "dbeta = np.sum(dout, axis=0)", "dgamma = np.sum(dout * xhat, axis=0)"
    low, every = "np.dot(X.T, dx)", "W1 gamma beta W2 b2"
    last = f"    dW1 = {low} + DLAM * W1\n"
    no_variance = (variance, "dx1 = dxmu1", "np.sum(dxmu1 + dxmu2, axis=0)", "np.sum(dxmu1, axis=0)")
    edits = [
        *l2_mistakes({"W1": " + DLAM * W1", "W2": " + DLAM * W2"}, ("b2", to_b, f"{to_b} + DLAM * b2")),
        edit("missing_1_over_n", delta, "dscores = probs - Y"),
        edit("double_1_over_n", delta, f"{delta} / N"),
        edit("divided_by_other", delta, "dscores = (probs - Y) / D"),
        edit("misplaced_1_over_n", to_w, f"{to_w} / N", place="W2", factor="1/N"),
        edit("misplaced_1_over_n", back, f"{back} * N", place="drop act bn", factor="N"),
        edit("db_mean", to_beta, "dbeta = np.mean(dout, axis=0)", place="beta"),
        edit("db_from_dw", to_b, "db2 = np.sum(dW2, axis=0)", place="b2"),
        edit("db_wrong_axis", to_b, "db2 = np.sum(dscores, axis=1)", place="b2"),
        edit("db_not_summed", to_beta, "dbeta = dout", place="beta"),
        edit("transposed_factor", back, "ddrop = np.dot(dscores, W2)", place="W2"),
        edit("dw_transposed", low, "np.dot(dx.T, X)", place="W1"),
        edit("sign_loss", delta, "dscores = (Y - probs) / N"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back, "ddrop = -np.dot(dscores, W2.T)", place="drop act bn"),
        edit("sign_param", to_beta, f"{to_beta} * -1", place="beta"),
        edit("activation_derivative_missing", gate, "dact", place=relu),
        edit("mask_wrong_array", gate, "np.where(xhat > 0, dact, 0)", place=relu, wrong="xhat"),
        edit("mask_wrong_array", gate, "np.where(dact > 0, dact, 0)", place=relu, wrong="dact"),
        edit("softmax_diagonal", delta, "dscores = Y * (probs - 1) / N"),
        edit("softmax_sum_forgotten", delta, "dscores = -Y / N"),
        edit("softmax_unnormalised", "    probs = probs / probs.sum(axis=1)[:, None]\n", ""),
        edit("updated_before_delta", back, "ddrop = np.dot(dscores, (W2 - 0.1 * dW2).T)", place="W2"),
        edit("bn_mean_var_constant", *no_variance, mean, "dx = dx1\n", place=norm),
        edit("bn_mean_constant", mean, "dx = dx1\n", place=norm),
        edit("bn_var_constant", *no_variance, place=norm),
        edit("bn_gamma_missing", "dxhat = dout * gamma", "dxhat = dout", place=f"{norm} gamma bn"),
        edit("dropout_mask_missing", "dact = ddrop * M1", "dact = ddrop", place=dropped),
        edit("dropout_not_scaled", "    dact = dact / keep\n", "", place=dropped),
        edit("overwritten", last, "    dW1 = DLAM * W1\n", place="W1"),
        edit("w_for_dw", last, "    dW1 = 1.0 * W1\n", place="W1"),
        edit("wrong_variable", to_gamma, "dgamma = np.sum(dout * x, axis=0)", place="gamma xhat", wrong="x"),
        edit("wrong_variable", to_w, "np.dot(act.T, dscores)", place="W2 drop", wrong="act"),
        edit("wrong_variable", low, "np.dot(x.T, dx)", place="W1 X", wrong="x"),
        edit("detached", back, "ddrop = np.zeros((N, D))", place="drop act bn"),
        edit("bias_forgotten", "gamma * xhat + beta", "gamma * xhat", place="beta"),
        edit("off_by_one", "- Y) / N", "- np.roll(Y, 1, axis=0)) / N"),
        edit("momentum_factor", *after(last, scaled(every, "(1 - 0.9) * "))),
    ]
    return Program(
        *("k layers", "2 layers, nine steps of batch norm, rows", ("X", "Y", "lam", "M1", "keep")),
        *(
            tuple(every.split()),
            costs,
            ONE_HOT_ROWS.format("b2"),
            gradients,
            tuple(edits),
            ("scores", "probs", "loss"),
            draw,
        ),
        ({}, {"gamma": "g", "beta": "h", "M1": "mask1"}, {"keep": "p", "lam": "reg", "bn": "bn_out", "act": "hid"}),
    )


def dropout_by_recursion() -> Program:
    """Columns, four layers; ReLU, dropout of the images, too, and a function that calls itself for the layer above."""
    k = 4
    layers = range(1, k + 1)
    weights, biases = ([f"{stem}{i}" for i in layers] for stem in "Wb")

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([9, 12]), rng.choice([3, 4])
        arrays = labels(rng, m, n, columns=True) | {"X": rng.normal(0, 1, (m, n)), "lam": 0.03, "keep": 0.8}
        for i in layers:
            arrays |= {f"W{i}": rng.normal(0, 0.7, (m, m)), f"b{i}": rng.normal(0.3, 0.5, (m, 1))}
            arrays[f"D{i}"] = rng.random((m, n)) < 0.8
        return arrays

    values = {i: f"A{i - 1}" if i > 1 else "X" for i in layers}
    costs = {
        "steps": "\n    n = X.shape[1]"
        + "".join(
            f"""
    R{i} = {values[i]} * D{i} / keep
    Z{i} = W{i} @ R{i} + b{i}"""
            + (f"\n    A{i} = tg.relu(Z{i})" if i < k else "")
            for i in layers
        )
        + f"""
    P = tg.softmax(Z{k}, axis=0)
    loss = -tg.sum(Y * tg.log(P)) / n
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
        "where, labels": "".join(
            f"""
    R{i} = tg.where(D{i}, {values[i]} / keep, 0.0)
    Z{i} = tg.matmul(W{i}, R{i}) + b{i}"""
            + (f"\n    A{i} = tg.maximum(Z{i}, 0)" if i < k else "")
            for i in layers
        )
        + f"""
    loss = tg.mean(tg.logsumexp(Z{k}, axis=0) - Z{k}[y, np.arange(len(y))])
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
    }
    gradients = f"""
    net = [{", ".join(f"(W{i}, b{i}, D{i})" for i in layers)}]
    found = [None] * len(net)

    def below(layer, A):
        W, b, D = net[layer]
        dropped = A * D / keep
        Z = W @ dropped + b
        if layer + 1 == len(net):
            expZ = np.exp(Z)
            P = expZ / np.sum(expZ, axis=0)
            delta = (P - Y) / Y.shape[1]
        else:
            delta = below(layer + 1, np.maximum(Z, 0))
            delta = delta * (Z > 0)
        found[layer] = (delta @ dropped.T + DLAM * W, np.sum(delta, axis=1, keepdims=True))
        upstream = W.T @ delta
        return upstream * D / keep

    below(0, X)
    {", ".join(f"(d{w}, d{b})" for w, b in zip(weights, biases, strict=True))} = found
"""

    def everywhere(*stems: str) -> str:
        return " ".join(f"{stem}{i}" for i in layers for stem in stems)

    def hidden(*stems: str) -> str:
        return " ".join(f"{stem}{i}" for i in range(1, k) for stem in stems)

    delta, gate = "delta = (P - Y) / Y.shape[1]\n", "            delta = delta * (Z > 0)\n"
    to_b, to_w, up = "np.sum(delta, axis=1, keepdims=True)", "delta @ dropped.T", "upstream = W.T @ delta"
    down, last = "return upstream * D / keep", f"    {', '.join(f'(dW{i}, db{i})' for i in layers)} = found\n"
    call, every = "delta = below(layer + 1, np.maximum(Z, 0))\n", " ".join([*weights, *biases])
    inner, outs = hidden("A", "Z", "W", "b"), f"{hidden('A', 'Z')} R2 R3 R4 D2 D3 D4"
    edits = [
        *l2_mistakes({"": " + DLAM * W"}, (" ".join(biases), to_b, f"{to_b} + DLAM * b"), "Y.shape[1]"),
        edit("l2_missing", *after(last, "    dW4 = dW4 - DLAM * W4\n"), place="W4"),
        edit("l2_bias", *after(last, "    db1 = db1 + DLAM * b1\n"), place="b1"),
        edit("missing_1_over_n", delta, "delta = P - Y\n"),
        edit("double_1_over_n", to_w, f"{to_w} / Y.shape[1]", to_b, f"{to_b} / Y.shape[1]"),
        edit("divided_by_other", delta, "delta = (P - Y) / Y.shape[0]\n"),
        edit("db_mean", to_b, to_b.replace("sum", "mean"), place=" ".join(biases)),
        edit("db_mean", *after(last, "    db4 = db4 / X.shape[1]\n"), place="b4"),
        edit("db_from_dw", to_b, "np.sum(delta @ dropped.T, axis=1, keepdims=True)", place=" ".join(biases)),
        edit("db_wrong_axis", to_b, to_b.replace("axis=1", "axis=0"), place=" ".join(biases)),
        edit("db_not_summed", to_b, "delta", place=" ".join(biases)),
        edit("transposed_factor", up, "upstream = W @ delta", place=" ".join(weights[1:])),
        edit("dw_transposed", to_w, "dropped @ delta.T", place=" ".join(weights)),
        edit("dw_transposed", *after(last, "    dW1 = dW1.T\n"), place="W1"),
        edit("sign_loss", delta, "delta = (Y - P) / Y.shape[1]\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", *after(last, "    db2 = -db2\n"), place="b2"),
        edit("activation_derivative_missing", gate, gate.replace("Z > 0", "np.maximum(Z, 0) >= 0"), place=inner),
        edit("mask_wrong_array", gate, gate.replace("Z > 0", "A > 0"), place=inner, wrong="X A1 A2"),
        edit("mask_wrong_array", gate, gate.replace("Z > 0", "delta > 0"), place=inner, wrong="delta"),
        edit("dropout_mask_missing", down, "return upstream / keep", place=outs),
        edit("dropout_not_scaled", down, "return upstream * D", place=outs),
        edit("softmax_diagonal", delta, "delta = Y * (P - 1) / Y.shape[1]\n"),
        edit("softmax_sum_forgotten", delta, "delta = -Y / Y.shape[1]\n"),
        edit("softmax_unnormalised", "expZ / np.sum(expZ, axis=0)", "expZ"),
        edit(
            "updated_before_delta", up, "upstream = (W - 0.1 * found[layer][0]).T @ delta", place=" ".join(weights[1:])
        ),
        edit("overwritten", f"({to_w} + DLAM * W, ", "(DLAM * W, ", place=" ".join(weights)),
        edit("overwritten", *after(last, "    dW3 = DLAM * W3\n"), place="W3"),
        edit("w_for_dw", *after(last, "    dW2 = W2 * 1\n"), place="W2"),
        edit("wrong_variable", to_w, "delta @ A.T", place=f"{' '.join(weights)} {everywhere('R')}", wrong="X A1 A2 A3"),
        edit(
            "detached",
            call,
            call.replace("below(layer + 1, np.maximum(Z, 0))", "0 * below(layer + 1, np.maximum(Z, 0))"),
            place=f"{inner} R2 R3 R4",
        ),
        edit("bias_forgotten", "Z = W @ dropped + b", "Z = W @ dropped", place=" ".join(biases)),
        edit("bias_forgotten", "Z = W @ dropped + b", "Z = W @ dropped + b * (layer > 0)", place="b1"),
        edit("off_by_one", "(P - Y)", "(P - np.roll(Y, 1, axis=1))"),
        edit("momentum_factor", *after(last, scaled(every, "0.1 * "))),
    ]
    return Program(
        *(
            "k layers",
            f"{k} layers, recursion, dropout, columns",
            ("X", "Y", "lam", *[f"D{i}" for i in layers], "keep"),
        ),
        *(
            tuple(every.split()),
            costs,
            ONE_HOT_COLUMNS.format("b4"),
            gradients,
            tuple(edits),
            ("Z4", "P", "loss"),
            draw,
        ),
        ({}, {"lam": "wd", "keep": "p"}, {f"D{i}": f"kept{i}" for i in layers}),
    )


# -- patchify ----------------------------------------------------------------------------------------------------------


def turned(name: str, text: str, shape: str) -> list[Edit]:
    """Return the mistakes of filters whose gradient is a text; ``shape`` is (height, width, channels, filters)."""

    def changed(index: str) -> str:
        return f"({text}).reshape({shape}){index}.reshape({name}.shape)"

    return [
        edit("filter_flipped", text, changed("[::-1, ::-1]"), place=name),
        edit("filter_transposed", text, changed(".swapaxes(0, 1)"), place=name),
        edit("channels_swapped", text, changed("[:, :, ::-1]"), place=name),
    ]


def patches(rng: Random, *, filters: int, classes: int) -> dict[str, Any]:
    """Return the patches of images (patches, values, images), with 2 x 2 pixels and 2 or 3 channels, and filters."""
    n, channels = rng.choice([8, 10]), rng.choice([2, 3])
    arrays = labels(rng, classes, n, columns=True) | {"MX": rng.normal(0, 1, (4, 4 * channels, n)), "lam": 0.04}
    return arrays | {"Fs": rng.normal(0, 0.6, (4 * channels, filters))}


def course_patches() -> Program:
    """Columns; the third assignment: einsum of all patches and filters, a hidden layer, no bias of the filters."""

    def draw(rng: Random) -> dict[str, Any]:
        m, filters = rng.choice([3, 4]), rng.choice([2, 3])
        arrays = patches(rng, filters=filters, classes=m) | {"W1": rng.normal(0, 0.5, (m, 4 * filters))}
        arrays |= {"W2": rng.normal(0, 0.9, (m, m)), "b1": rng.normal(0.3, 0.6, (m, 1))}
        return arrays | {"b2": rng.normal(0, 0.6, (m, 1))}

    costs = {
        "steps": """
    n = MX.shape[2]
    conv = tg.einsum("ijn,jl->iln", MX, Fs)
    h = tg.maximum(conv.reshape(-1, n), 0)
    s1 = W1 @ h + b1
    x1 = tg.maximum(s1, 0)
    S = W2 @ x1 + b2
    P = tg.softmax(S, axis=0)
    loss = -tg.sum(tg.log(tg.sum(Y * P, axis=0))) / n
    return loss + CLAM * PENALTY(Fs, W1, W2)
""",
        "transposed patches, labels": """
    n = MX.shape[2]
    conv = tg.einsum("lj,jin->iln", tg.transpose(Fs), np.transpose(MX, (1, 0, 2)))
    h = tg.reshape(tg.relu(conv), (-1, n))
    s1 = tg.matmul(W1, h) + b1
    x1 = tg.relu(s1)
    S = tg.matmul(W2, x1) + b2
    loss = tg.mean(tg.logsumexp(S, axis=0) - S[y, np.arange(n)])
    return loss + CLAM * PENALTY(Fs, W1, W2)
""",
    }
    gradients = """
    n_p, _, n = MX.shape
    nf = Fs.shape[1]
    conv_outputs = np.einsum("ijn, jl -> iln", MX, Fs, optimize=True)
    h = np.fmax(conv_outputs.reshape((n_p * nf, n), order="C"), 0)
    s1 = W1 @ h + b1
    x1 = np.fmax(s1, 0)
    S = W2 @ x1 + b2
    P = np.exp(S - np.max(S, axis=0))
    P /= np.sum(P, axis=0)
    G_batch = -(Y - P)
    dW2 = G_batch @ x1.T / n + DLAM * W2
    db2 = np.sum(G_batch, axis=1, keepdims=True) / n
    G_batch = W2.T @ G_batch
    G_batch = G_batch * (x1 > 0)
    dW1 = G_batch @ h.T / n + DLAM * W1
    db1 = np.sum(G_batch, axis=1, keepdims=True) / n
    G_batch = W1.T @ G_batch
    G_batch = G_batch * (h > 0)
    GG = G_batch.reshape((n_p, nf, n), order="C")
    MXt = np.transpose(MX, (1, 0, 2))
    dFs = np.einsum("jin, iln -> jl", MXt, GG, optimize=True) / n + DLAM * Fs
"""
    delta, softmax = "    G_batch = -(Y - P)\n", "    P /= np.sum(P, axis=0)\n"
    w2, w1, to_f = "G_batch @ x1.T / n", "G_batch @ h.T / n", 'np.einsum("jin, iln -> jl", MXt, GG, optimize=True) / n'
    to2, to1 = (f"db{i} = np.sum(G_batch, axis=1, keepdims=True) / n\n    G_batch = W{i}.T" for i in (2, 1))
    back2, back1 = "    G_batch = W2.T @ G_batch\n", "    G_batch = W1.T @ G_batch\n"
    gate2, gate1 = "    G_batch = G_batch * (x1 > 0)\n", "    G_batch = G_batch * (h > 0)\n"
    inner, conv, every = "s1 x1 W1 b1", "conv h Fs", "Fs W1 W2 b1 b2"
    last = f"    dFs = {to_f} + DLAM * Fs\n"
    each = (w2, to2, w1, to1, to_f)
    edits = [
        *l2_mistakes(
            {w: f" + DLAM * {w}" for w in ("W2", "W1", "Fs")}, ("b2", *after(last, "    db2 += DLAM * b2\n")), "n"
        ),
        edit("missing_1_over_n", *[t for text in each for t in (text, text.replace(" / n", ""))]),
        edit("double_1_over_n", delta, "    G_batch = -(Y - P) / n\n"),
        edit("divided_by_other", *[t for text in each for t in (text, text.replace(" / n", " / len(Y)"))]),
        edit("misplaced_1_over_n", to_f, to_f.removesuffix(" / n"), place="Fs", factor="N"),
        edit("misplaced_1_over_n", w2, w2.removesuffix(" / n"), place="W2", factor="N"),
        edit("misplaced_1_over_n", back2, "    G_batch = W2.T @ G_batch / n\n", place=inner, factor="1/N"),
        edit("db_mean", to2, to2.replace("np.sum", "np.mean"), place="b2"),
        edit("db_from_dw", to1, to1.replace("np.sum(G_batch", "n * np.sum(dW1"), place="b1"),
        edit("db_wrong_axis", to2, to2.replace("axis=1", "axis=0"), place="b2"),
        edit("db_not_summed", to1, "db1 = G_batch / n\n    G_batch = W1.T", place="b1"),
        edit("transposed_factor", back2, "    G_batch = W2 @ G_batch\n", place="W2"),
        edit("dw_transposed", *after(last, "    dW1, dW2 = dW1.T, dW2.T\n"), place="W1 W2"),
        edit("sign_loss", delta, "    G_batch = Y - P\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back1, "    G_batch = -W1.T @ G_batch\n", place=conv),
        edit("activation_derivative_missing", gate2, "", place=inner),
        edit("activation_derivative_missing", gate1, gate1.replace(">", ">="), place=conv),
        edit("mask_wrong_array", gate2, gate2.replace("x1", "S"), place=inner, wrong="S"),
        edit("other_derivative", gate2, "    G_batch = G_batch * (1 - x1**2)\n", place=inner),
        edit("mask_wrong_array", gate1, gate1.replace("(h", "(G_batch"), place=conv, wrong="G_batch"),
        edit("softmax_diagonal", delta, "    G_batch = -Y * (1 - P)\n"),
        edit("softmax_sum_forgotten", delta, "    G_batch = -Y\n"),
        edit("softmax_unnormalised", softmax, ""),
        edit("updated_before_delta", back2, "    G_batch = (W2 - 0.1 * dW2).T @ G_batch\n", place="W2"),
        edit("overwritten", last, f"    dFs = {to_f}\n    dFs = DLAM * Fs\n", place="Fs"),
        edit("w_for_dw", last, "    dFs = Fs.copy()\n", place="Fs"),
        edit("wrong_variable", w2, "G_batch @ s1.T / n", place="W2 x1", wrong="s1"),
        edit("wrong_variable", w1, "G_batch @ conv_outputs.reshape(h.shape).T / n", place="W1 h", wrong="conv"),
        edit("detached", back1, "    G_batch = np.zeros(h.shape)\n", place=conv),
        edit("detached", back2, "    G_batch = np.zeros(x1.shape)\n", place=f"{inner} h"),
        *turned("Fs", to_f, "2, 2, -1, nf"),
        edit("bias_forgotten", "W1 @ h + b1", "W1 @ h", place="b1"),
        edit("off_by_one", delta, "    G_batch = -(np.roll(Y, 1, axis=1) - P)\n"),
        edit("off_by_one", to_f, to_f.replace("MXt, GG", "MXt[:, :, :-1], GG[:, :, :-1]"), place="Fs"),
        edit("momentum_factor", *after(last, scaled(every, "(1 - 0.9) * "))),
    ]
    return Program(
        *("patchify", "patchify, einsum of assignment 3, columns", ("MX", "Y", "lam"), tuple(every.split()), costs),
        *(ONE_HOT_COLUMNS.format("b2"), gradients, tuple(edits), ("S", "P", "loss"), draw),
        (
            {},
            {"Fs": "Fs_flat", "h": "conv_flat", "conv": "conv_mat"},
            {"lam": "lmbda", "W1": "Wa", "W2": "Wb", "s1": "a1"},
        ),
    )


def course_patches_in_loops() -> Program:
    """Columns; one image after the other as a matrix of patches, a bias for each filter, and smoothed labels."""

    def draw(rng: Random) -> dict[str, Any]:
        filters = int(rng.choice([2, 3]))
        arrays = patches(rng, filters=filters, classes=3) | {"f": rng.normal(0.2, 0.5, (1, filters)), "eps": 0.12}
        return arrays | {"W": rng.normal(0, 0.5, (3, 4 * filters)), "b": rng.normal(0, 0.6, (3, 1))}

    costs = {
        "steps": """
    n, K = MX.shape[2], Y.shape[0]
    T = (1 - eps) * Y + eps / K
    conv = tg.einsum("ijn,jl->iln", MX, Fs) + tg.reshape(f, (1, -1, 1))
    act = tg.relu(conv)
    h = tg.reshape(act, (-1, n))
    S = W @ h + b
    P = tg.softmax(S, axis=0)
    loss = -tg.sum(T * tg.log(P)) / n
    return loss + CLAM * PENALTY(Fs, W)
""",
        "products": """
    n = MX.shape[2]
    T = Y - eps * Y + eps / len(Y)
    conv = tg.transpose(tg.matmul(np.transpose(MX, (2, 0, 1)), Fs) + f, (1, 2, 0))
    act = tg.where(conv > 0, conv, 0.0)
    h = act.reshape(-1, n)
    S = tg.matmul(W, h) + b
    loss = tg.mean(tg.logsumexp(S, axis=0) - tg.sum(T * S, axis=0))
    return loss + CLAM * PENALTY(Fs, W)
""",
    }
    gradients = """
    n_p, d, n = MX.shape
    K, nf = len(b), Fs.shape[1]
    conv = np.zeros((n_p, nf, n))
    for i in range(n):
        conv[:, :, i] = np.matmul(MX[:, :, i], Fs) + f
    act = np.maximum(conv, 0)
    h = act.reshape(n_p * nf, n)
    P = np.exp(W @ h + b)
    P = P / np.sum(P, axis=0)
    Y_smooth = (1 - eps) * Y + eps / K
    G = -(Y_smooth - P) / n
    dW = np.matmul(G, h.T)
    db = np.sum(G, axis=1, keepdims=True)
    G = np.matmul(W.T, G).reshape(n_p, nf, n)
    G[conv <= 0] = 0
    dFs, df = np.zeros((d, nf)), np.zeros((1, nf))
    for i in range(n):
        dFs += np.matmul(MX[:, :, i].T, G[:, :, i])
        df += np.sum(G[:, :, i], axis=0)
    dFs = dFs + DLAM * Fs
    dW = dW + DLAM * W
"""
    delta, back, gate = "G = -(Y_smooth - P) / n\n", "np.matmul(W.T, G)", "    G[conv <= 0] = 0\n"
    to_w, to_b = "dW = np.matmul(G, h.T)", "db = np.sum(G, axis=1, keepdims=True)"
    to_fs, to_f, grow = (
        "np.matmul(MX[:, :, i].T, G[:, :, i])",
        "df += np.sum(G[:, :, i], axis=0)",
        "    dFs = dFs + DLAM * Fs\n",
    )
    last, conv, every = "    dW = dW + DLAM * W\n", "conv act Fs f", "Fs f W b"
    forward, loop = "np.matmul(MX[:, :, i], Fs) + f", f"    for i in range(n):\n        dFs += {to_fs}"
    edits = [
        *l2_mistakes({"Fs": grow, "W": last}, ("f", *after(last, "    df = df + DLAM * f\n")), "n"),
        edit("missing_1_over_n", delta, "G = -(Y_smooth - P)\n"),
        edit("double_1_over_n", delta, "G = -(Y_smooth - P) / (n * n)\n"),
        edit("divided_by_other", delta, "G = -(Y_smooth - P) / K\n"),
        edit("misplaced_1_over_n", to_fs, f"{to_fs} / n", place="Fs", factor="1/N"),
        edit("misplaced_1_over_n", back, f"({back} / n)", place=f"h {conv}", factor="1/N"),
        edit("misplaced_1_over_n", to_w, f"{to_w} * n", place="W", factor="N"),
        edit("db_mean", to_f, f"{to_f} / n", place="f"),
        edit("db_from_dw", to_f, f"df += np.sum({to_fs}, axis=0)", place="f"),
        edit("db_from_dw", to_b, "db = np.sum(dW, axis=1, keepdims=True)", place="b"),
        edit("db_wrong_axis", to_b, "db = np.sum(G, axis=0)", place="b"),
        edit("db_not_summed", to_b, "db = G", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", delta, "G = (Y_smooth - P) / n\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back, f"-{back}", place=conv),
        edit("sign_param", to_f, to_f.replace("+=", "-="), place="f"),
        edit("activation_derivative_missing", gate, "    G[act < 0] = 0\n", place=conv),
        edit("mask_wrong_array", gate, "    G[G <= 0] = 0\n", place=conv, wrong="G"),
        edit("softmax_diagonal", delta, "G = -Y_smooth * (1 - P) / n\n"),
        edit("softmax_sum_forgotten", delta, "G = -Y_smooth / n\n"),
        edit("softmax_unnormalised", "    P = P / np.sum(P, axis=0)\n", ""),
        edit("updated_before_delta", back, "np.matmul((W - 0.2 * dW).T, G)", place="W"),
        edit("overwritten", grow, "    dFs = DLAM * Fs\n", place="Fs"),
        edit("overwritten", loop, loop.replace("+=", "="), place="Fs"),
        edit("w_for_dw", grow, "    dFs = 1 * Fs\n", place="Fs"),
        edit("wrong_variable", to_w, "dW = np.matmul(G, conv.reshape(n_p * nf, n).T)", place="W h act", wrong="conv"),
        edit("wrong_variable", "G = -(Y_smooth", "G = -(Y", wrong="Y"),
        edit("detached", back, "np.zeros(h.shape)", place=f"h {conv}"),
        edit("detached", f"        {to_f}\n", "", place="f"),
        *turned("Fs", to_fs, "2, 2, -1, nf"),
        edit("bias_forgotten", forward, "np.matmul(MX[:, :, i], Fs)", place="f"),
        edit("bias_forgotten", "W @ h + b", "W @ h", place="b"),
        edit("off_by_one", loop, loop.replace("range(n)", "range(1, n)"), place="Fs f"),
        edit("off_by_one", delta, "G = -(np.roll(Y_smooth, 1, axis=1) - P) / n\n"),
        edit("momentum_factor", *after(last, scaled(every, "0.1 * "))),
    ]
    return Program(
        *("patchify", "patchify, one image at a time, smoothed labels, columns", ("MX", "Y", "eps", "lam")),
        *(tuple(every.split()), costs, "", gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, {"Fs": "F", "f": "F_bias", "conv": "conv_outputs"}, {"MX": "patch_data", "W": "Wout", "lam": "lmb"}),
    )


def convolution_by_columns() -> Program:
    """Rows; images (images, channels, height, width), im2col with the images last, and two layers behind it."""

    def draw(rng: Random) -> dict[str, Any]:
        n, m, channels, filters = (int(rng.choice(sizes)) for sizes in ([7, 9], [3, 4], [2, 3], [2, 3]))
        arrays = labels(rng, m, n, columns=False) | {"X": rng.normal(0, 1, (n, channels, 4, 4)), "lam": 0.03}
        arrays |= {"W1": rng.normal(0, 0.5, (filters, channels, 2, 2)), "b1": rng.normal(0, 0.5, filters)}
        arrays |= {"W2": rng.normal(0, 0.5, (4 * filters, m)), "b2": rng.normal(0.3, 0.5, m)}
        return arrays | {"W3": rng.normal(0, 0.9, (m, m)), "b3": rng.normal(0, 0.5, m)}

    costs = {
        "einsum": """
    N, C = X.shape[:2]
    conv = tg.einsum("ncafbg,kcfg->nkab", X.reshape(N, C, 2, 2, 2, 2), W1) + b1.reshape(-1, 1, 1)
    maps = tg.relu(conv)
    flat = maps.reshape(N, -1)
    pre = flat @ W2 + b2
    hidden = tg.relu(pre)
    scores = hidden @ W3 + b3
    probs = tg.softmax(scores, axis=1)
    loss = -tg.sum(tg.log(probs[np.arange(N), y])) / N
    return loss + CLAM * PENALTY(W1, W2, W3)
""",
        "product": """
    N, C = X.shape[:2]
    patches = X.reshape(N, C, 2, 2, 2, 2).transpose(0, 2, 4, 1, 3, 5).reshape(4 * N, -1)
    rows = tg.matmul(patches, tg.transpose(tg.reshape(W1, (len(b1), -1)))) + b1
    conv = tg.transpose(tg.reshape(rows, (N, 2, 2, -1)), (0, 3, 1, 2))
    maps = tg.maximum(conv, 0)
    flat = tg.reshape(maps, (N, -1))
    pre = tg.matmul(flat, W2) + b2
    hidden = tg.maximum(pre, 0)
    scores = tg.matmul(hidden, W3) + b3
    loss = tg.mean(tg.logsumexp(scores, axis=1) - scores[np.arange(N), y])
    return loss + CLAM * PENALTY(W1, W2, W3)
""",
    }
    gradients = """
    N, C = X.shape[:2]
    num_filters = len(W1)
    x_cols = X.reshape(N, C, 2, 2, 2, 2).transpose(1, 3, 5, 2, 4, 0).reshape(4 * C, 4 * N)
    res = W1.reshape(num_filters, -1) @ x_cols + b1[:, np.newaxis]
    conv = res.reshape(num_filters, 2, 2, N).transpose(3, 0, 1, 2)
    maps = np.maximum(0, conv)
    flat = maps.reshape(N, -1)
    hidden = np.maximum(0, flat.dot(W2) + b2)
    scores = hidden.dot(W3) + b3
    dscores = np.exp(scores - scores.max(axis=1)[:, np.newaxis])
    dscores /= dscores.sum(axis=1)[:, np.newaxis]
    dscores[np.arange(N), y] -= 1
    dscores /= N
    dW3, db3 = hidden.T.dot(dscores), dscores.sum(axis=0)
    dhidden = dscores.dot(W3.T)
    dhidden *= hidden > 0
    dW2, db2 = flat.T.dot(dhidden), dhidden.sum(axis=0)
    dmaps = dhidden.dot(W2.T).reshape(maps.shape)
    dconv = dmaps * (conv > 0)
    db1 = np.sum(dconv, axis=(0, 2, 3))
    dout_reshaped = dconv.transpose(1, 2, 3, 0).reshape(num_filters, -1)
    dW1 = dout_reshaped.dot(x_cols.T).reshape(W1.shape)
    dW1 += DLAM * W1
    dW2 += DLAM * W2
    dW3 += DLAM * W3
"""
    own, ratio = "    dscores[np.arange(N), y] -= 1\n", "    dscores /= N\n"
    top, middle = "hidden.T.dot(dscores), dscores.sum(axis=0)", "flat.T.dot(dhidden), dhidden.sum(axis=0)"
    back, gate = "dscores.dot(W3.T)", "    dhidden *= hidden > 0\n"
    down, mask = "dhidden.dot(W2.T)", "dmaps * (conv > 0)"
    to_b, to_w = "np.sum(dconv, axis=(0, 2, 3))", "dout_reshaped.dot(x_cols.T).reshape(W1.shape)"
    grow, last = "    dW1 += DLAM * W1\n", "    dW3 += DLAM * W3\n"
    conv, inner, every = "conv maps W1 b1", "pre hidden W2 b2", "W1 b1 W2 b2 W3 b3"
    edits = [
        *l2_mistakes(
            {"W1": grow, "W2": "    dW2 += DLAM * W2\n", "W3": last},
            ("b1", *after(last, "    db1 = db1 + DLAM * b1\n")),
        ),
        edit("l2_missing", grow, "", place="W1"),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", ratio, "    dscores /= N * N\n"),
        edit("divided_by_other", ratio, "    dscores /= scores.shape[1]\n"),
        edit("misplaced_1_over_n", to_w, f"{to_w} / N", place="W1", factor="1/N"),
        edit("misplaced_1_over_n", back, f"{back} / N", place=inner, factor="1/N"),
        edit("db_mean", to_b, "np.sum(np.mean(dconv, axis=0), axis=(1, 2))", place="b1"),
        edit(
            "db_from_dw",
            to_b,
            "np.sum(dconv.transpose(1, 2, 3, 0).reshape(num_filters, -1) @ x_cols.T, axis=1)",
            place="b1",
        ),
        edit("db_from_dw", middle, "flat.T.dot(dhidden), flat.T.dot(dhidden).sum(axis=0)", place="b2"),
        edit("db_wrong_axis", to_b, "np.sum(dconv, axis=(1, 2, 3))", place="b1"),
        edit("db_wrong_axis", middle, middle.replace("axis=0", "axis=1"), place="b2"),
        edit("db_not_summed", to_b, "np.sum(dconv, axis=0)", place="b1"),
        edit("transposed_factor", back, "dscores.dot(W3)", place="W3"),
        edit("dw_transposed", top, top.replace("hidden.T.dot(dscores)", "dscores.T.dot(hidden)"), place="W3"),
        edit("sign_loss", ratio, "    dscores /= -N\n"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back, "-dscores.dot(W3.T)", place=inner),
        edit("activation_derivative_missing", gate, "", place=inner),
        edit("activation_derivative_missing", mask, "dmaps", place=conv),
        edit("mask_wrong_array", gate, "    dhidden *= dhidden > 0\n", place=inner, wrong="dhidden"),
        edit("mask_wrong_array", gate, "    dhidden *= scores > 0\n", place=inner, wrong="scores"),
        edit("mask_wrong_array", mask, "dmaps * (dmaps > 0)", place=conv, wrong="dmaps"),
        edit("softmax_diagonal", own, f"{own}    dscores[dscores > 0] = 0\n"),
        edit("softmax_sum_forgotten", own, f"    dscores[:] = 0\n{own}"),
        edit("softmax_unnormalised", "    dscores /= dscores.sum(axis=1)[:, np.newaxis]\n", ""),
        edit("updated_before_delta", down, "dhidden.dot((W2 - 0.2 * dW2).T)", place="W2"),
        edit("overwritten", grow, "    dW1 = DLAM * W1\n", place="W1"),
        edit("w_for_dw", last, f"{last}    dW2 = W2\n", place="W2"),
        edit(
            "wrong_variable",
            middle,
            "conv.reshape(N, -1).T.dot(dhidden), dhidden.sum(axis=0)",
            place="W2 flat maps",
            wrong="conv",
        ),
        edit(
            "wrong_variable",
            top,
            "(flat.dot(W2) + b2).T.dot(dscores), dscores.sum(axis=0)",
            place="W3 hidden",
            wrong="pre",
        ),
        edit("detached", down, "np.zeros(flat.shape)", place=f"flat {conv}"),
        edit("filter_flipped", grow, f"    dW1 = dW1[:, :, ::-1, ::-1]\n{grow.replace('+=', '= dW1 +')}", place="W1"),
        edit(
            "filter_transposed",
            grow,
            f"    dW1 = dW1.transpose(0, 1, 3, 2)\n{grow.replace('+=', '= dW1 +')}",
            place="W1",
        ),
        edit("channels_swapped", grow, f"    dW1 = dW1[:, ::-1]\n{grow.replace('+=', '= dW1 +')}", place="W1"),
        edit("bias_forgotten", " + b1[:, np.newaxis]", "", place="b1"),
        edit("off_by_one", own, own.replace("y]", "y - 1]")),
        edit("momentum_factor", *after(last, scaled(every, "(1 - 0.9) * "))),
    ]
    return Program(
        *(
            "patchify",
            "patchify, im2col, two layers behind it, rows",
            ("X", "y", "lam"),
            tuple(every.split()),
            costs,
            "",
        ),
        *(gradients, tuple(edits), ("scores", "probs", "loss"), draw),
        (
            {},
            {"W1": "conv_w", "b1": "conv_b", "maps": "pooled"},
            {"W2": "fc_w", "b2": "fc_b", "W3": "out_w", "lam": "reg"},
        ),
    )


def convolution_in_loops() -> Program:
    """Rows; images (images, height, width, channels), and loops over the filters and the places of the windows."""

    def draw(rng: Random) -> dict[str, Any]:
        n, k, channels, filters = (int(rng.choice(sizes)) for sizes in ([7, 10], [3, 4], [2, 3], [2, 3]))
        arrays = labels(rng, k, n, columns=False) | {"X": rng.normal(0, 1, (n, 4, 6, channels)), "lam": 0.05}
        arrays |= {"F": rng.normal(0, 0.5, (filters, 2, 2, channels)), "c": rng.normal(0.1, 0.5, filters)}
        return arrays | {"W": rng.normal(0, 0.6, (6 * filters, k)), "b": rng.normal(0, 0.5, (1, k))}

    costs = {
        "windows": """
    N = X.shape[0]
    windows = [X[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(N, -1) for i in range(2) for j in range(3)]
    Z = tg.stack([tg.matmul(window, tg.transpose(F.reshape(len(c), -1))) + c for window in windows], axis=1)
    A = tg.relu(Z)
    scores = A.reshape(N, -1) @ W + b
    probs = tg.softmax(scores, axis=1)
    loss = -tg.sum(Y * tg.log(probs)) / N
    return loss + CLAM * PENALTY(F, W)
""",
        "einsum, labels": """
    N = len(y)
    Z = tg.einsum("niajbc,kabc->nijk", X.reshape(N, 2, 2, 3, 2, -1), F) + c
    A = tg.maximum(Z, 0)
    scores = tg.matmul(tg.reshape(A, (N, -1)), W) + b
    loss = tg.mean(tg.logsumexp(scores, axis=1) - scores[np.arange(N), y])
    return CLAM * PENALTY(F, W) + loss
""",
    }
    gradients = """
    N, stride = len(X), 2
    Z = np.zeros((N, 2, 3, len(F)))
    for i in range(2):
        for j in range(3):
            window = X[:, i * stride : i * stride + 2, j * stride : j * stride + 2]
            for k in range(len(F)):
                Z[:, i, j, k] = np.sum(window * F[k], axis=(1, 2, 3)) + c[k]
    A = Z * (Z > 0)
    flat = A.reshape(N, -1)
    scores = flat @ W + b
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    dscores = (probs - Y) * (1.0 / N)
    dW = flat.T @ dscores
    db = dscores.sum(axis=0, keepdims=True)
    dA = (dscores @ W.T).reshape(A.shape)
    dZ = dA * (Z > 0)
    dF, dc = np.zeros(F.shape), np.zeros(c.shape)
    for i in range(2):
        for j in range(3):
            window = X[:, i * stride : i * stride + 2, j * stride : j * stride + 2]
            for k in range(len(F)):
                dF[k] += np.sum(window * dZ[:, i, j, k].reshape(-1, 1, 1, 1), axis=0)
                dc[k] += np.sum(dZ[:, i, j, k])
    dF += DLAM * F
    dW += DLAM * W
"""
    delta, to_w, to_b = "(probs - Y) * (1.0 / N)", "flat.T @ dscores", "dscores.sum(axis=0, keepdims=True)"
    back, gate = "(dscores @ W.T)", "dZ = dA * (Z > 0)"
    to_f, to_c = "np.sum(window * dZ[:, i, j, k].reshape(-1, 1, 1, 1), axis=0)", "dc[k] += np.sum(dZ[:, i, j, k])"
    grow, last, conv, every = "    dF += DLAM * F\n", "    dW += DLAM * W\n", "Z A F c", "F c W b"
    edits = [
        *l2_mistakes({"F": grow, "W": last}, ("b", *after(last, "    db = db + DLAM * b\n"))),
        edit("missing_1_over_n", delta, "probs - Y"),
        edit("double_1_over_n", delta, f"{delta} * (1.0 / N)"),
        edit("divided_by_other", delta, "(probs - Y) * (1.0 / Y.shape[1])"),
        edit("misplaced_1_over_n", back, "(dscores @ W.T / N)", place=conv, factor="1/N"),
        edit("db_mean", to_c, "dc[k] += np.mean(dZ[:, i, j, k])", place="c"),
        edit("db_from_dw", to_c, f"dc[k] += np.sum({to_f})", place="c"),
        edit("db_from_dw", to_b, f"np.sum({to_w}, axis=0, keepdims=True)", place="b"),
        edit("db_wrong_axis", to_b, to_b.replace("axis=0", "axis=1"), place="b"),
        edit("db_not_summed", to_b, "dscores", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", delta, "(Y - probs) * (1.0 / N)"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", gate, f"{gate} * -1", place=conv),
        edit("sign_param", to_c, to_c.replace("+=", "-="), place="c"),
        edit("activation_derivative_missing", gate, "dZ = dA", place=conv),
        edit("mask_wrong_array", gate, "dZ = dA * (dA > 0)", place=conv, wrong="dA"),
        edit("softmax_diagonal", delta, "Y * (probs - 1) * (1.0 / N)"),
        edit("softmax_sum_forgotten", delta, "-Y * (1.0 / N)"),
        edit("softmax_unnormalised", "np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)", "np.exp(scores)"),
        edit("updated_before_delta", back, "(dscores @ (W - 0.1 * dW).T)", place="W"),
        edit("overwritten", grow, "    dF = DLAM * F\n", place="F"),
        edit("overwritten", f"dF[k] += {to_f}", f"dF[k] = {to_f}", place="F"),
        edit("w_for_dw", grow, "    dF = F.copy()\n", place="F"),
        edit("wrong_variable", to_w, "Z.reshape(N, -1).T @ dscores", place="W A", wrong="Z"),
        edit("detached", back, "np.zeros(flat.shape)", place=conv),
        edit("detached", *after(last, "    dc = np.zeros(len(c))\n"), place="c"),
        edit("filter_flipped", to_f, f"{to_f}[::-1, ::-1]", place="F"),
        edit("filter_transposed", to_f, f"{to_f}.swapaxes(0, 1)", place="F"),
        edit("channels_swapped", to_f, f"{to_f}[:, :, ::-1]", place="F"),
        edit("bias_forgotten", "axis=(1, 2, 3)) + c[k]", "axis=(1, 2, 3))", place="c"),
        edit("bias_forgotten", "flat @ W + b", "flat @ W", place="b"),
        edit("off_by_one", delta, "(probs - np.roll(Y, 1, axis=0)) * (1.0 / N)"),
        edit("off_by_one", to_f, to_f.replace("window * dZ[:, i", "window[1:] * dZ[1:, i"), place="F"),
        edit("momentum_factor", *after(last, scaled(every, "0.1 * "))),
    ]
    return Program(
        *("patchify", "patchify, loops over windows and filters, rows", ("X", "Y", "lam"), tuple(every.split()), costs),
        *(ONE_HOT_ROWS.format("b"), gradients, tuple(edits), ("scores", "probs", "loss"), draw),
        (
            {},
            {"F": "K", "c": "filter_b", "Z": "conv_out"},
            {"W": "w_fc", "b": "b_fc", "A": "feature", "lam": "reg"},
        ),
    )
