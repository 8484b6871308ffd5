"""A second set that was held out until 22 November 2026, written in ways that the first one does not use.

Its one run before it served to improve the doctor named 567 of 600 single mistakes (94.5 %) by the first sentence.

Gradients are classes with a cache, nested functions, outer products in a loop over images, averages, and explicit
Jacobians. There are a temperature in the softmax, weighted examples, weight decay on some parameters only, leaky ReLU,
ELU, a hinge behind a hidden layer, batch norm in single steps and after the activation, patches as views of the images,
and two filter banks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from tests.evidence.hand_derived.programs import Edit, Program, edit

Random = np.random.Generator


@cache
def programs() -> tuple[Program, ...]:
    """Return the programs of the set."""
    return (
        *(softmax_with_temperature(), softmax_of_weighted_images(), softmax_class()),
        *(svm_averages(), svm_of_weighted_images()),
        *(two_layers_functions(), two_layers_elu(), two_layers_objects(), two_layers_outer(), two_layers_hinge()),
        *(batch_norm_functions(k) for k in (2, 3)),
        *(batch_norm_steps(k) for k in (2, 3)),
        norm_after_activation(),
        *(windows_of_images(), two_filter_banks(), averaged_patches()),
    )


def images_and_labels(rng: Random, classes: int, images: int, *, columns: bool) -> dict[str, Any]:
    """Return labels of every class and the same as one-hot vectors."""
    y = rng.permutation(np.resize(np.arange(classes), images))
    one_hot = np.zeros((images, classes))
    one_hot[np.arange(images), y] = 1
    return {"y": y, "Y": one_hot.T.copy() if columns else one_hot}


def decay_edits(terms: Mapping[str, str], bias: tuple[str, str, str] | None, images: str = "N") -> list[Edit]:
    """Return the mistakes of the L2 term.

    ``terms`` has the text of the term for each decayed parameter, ``bias`` a parameter without decay, a text of its
    gradient and the text with decay, ``images`` the number of images.
    """

    def everywhere(old: str, new: str) -> list[str]:
        return [text for term in terms.values() for text in (term, term.replace(old, new) if old else "")]

    edits = [
        edit("l2_half", *everywhere("DLAM", "lam"), factor="1/2"),
        edit("l2_double", *everywhere("DLAM", "2 * lam"), factor="2"),
        edit("l2_over_n", *everywhere("DLAM", f"DLAM / {images}"), factor="1/N"),
        edit("l2_missing", *everywhere("", "")),
    ]
    if bias:
        edits.append(edit("l2_bias", *bias[1:], place=bias[0]))
    if len(terms) > 1:
        edits += [edit("l2_missing", term, "", place=name) for name, term in list(terms.items())[:1]]
    return edits


def after(line: str, new: str) -> tuple[str, str]:
    """Return the change that adds lines after a line."""
    return line, line + new


def scaled(names: str, factor: str) -> str:
    """Return lines that multiply the gradients of parameters."""
    return "".join(f"    d{name} = {factor}d{name}\n" for name in names.split())


# -- softmax -----------------------------------------------------------------------------------------------------------


def softmax_with_temperature() -> Program:
    """Rows; a loop over the images with outer products, and log-sum-exp by hand."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 6]), rng.choice([3, 4]), rng.choice([8, 11])
        arrays = images_and_labels(rng, k, n, columns=False) | {"X": rng.normal(0.1, 1, (n, d)), "lam": 0.12}
        arrays |= {"tau": float(rng.choice([0.8, 2.5]))}
        return arrays | {"W": rng.normal(0, 0.9, (d, k)), "b": rng.normal(0, 0.9, k)}

    costs = {
        "steps": """
    S = (X @ W + b) / tau
    logZ = tg.log(tg.sum(tg.exp(S), axis=1))
    nll = logZ - tg.sum(Y * S, axis=1)
    return nll.mean() + CLAM * PENALTY(W)
""",
        "softmax, labels": """
    S = tg.matmul(X, W) / tau + b / tau
    P = tg.softmax(S, axis=1)
    nll = -tg.log(P[np.arange(len(y)), y])
    return CLAM * PENALTY(W) + tg.mean(nll)
""",
    }
    gradients = """
    N, D = X.shape
    dW = np.zeros((D, Y.shape[1]))
    db = np.zeros(Y.shape[1])
    for x, t in zip(X, Y):
        s = (x.dot(W) + b) / tau
        top = s.max()
        logsum = top + np.log(np.sum(np.exp(s - top)))
        p = np.exp(s - logsum)
        ds = (p - t) / tau
        dW += np.outer(x, ds)
        db += ds
    dW, db = dW / N + DLAM * W, db / N
"""
    last = "    dW, db = dW / N + DLAM * W, db / N\n"
    edits = [
        *decay_edits({"W": " + DLAM * W"}, ("b", ", db / N\n", ", db / N + DLAM * b\n")),
        edit("missing_1_over_n", last, "    dW, db = dW + DLAM * W, db\n"),
        edit("double_1_over_n", "(p - t) / tau", "(p - t) / tau / N"),
        edit("misplaced_1_over_n", "dW / N +", "dW +", place="W", factor="N"),
        edit("misplaced_1_over_n", ", db / N\n", ", db\n", place="b", factor="N"),
        edit("divided_by_other", last, "    dW, db = dW / len(b) + DLAM * W, db / len(b)\n"),
        edit("db_mean", ", db / N\n", ", db / N**2\n", place="b"),
        edit("db_from_dw", "db += ds", "db += np.outer(x, ds).sum(axis=0)", place="b"),
        edit("dw_transposed", "dW / N + DLAM * W", "dW.T / N + DLAM * W.T", place="W"),
        edit("sign_all", last, "    dW, db = -dW / N - DLAM * W, -db / N\n"),
        edit("sign_loss", "(p - t)", "(t - p)"),
        edit("sign_param", "db += ds", "db -= ds", place="b"),
        edit("overwritten", "dW / N + DLAM * W", "DLAM * W", place="W"),
        edit("softmax_diagonal", "(p - t)", "-t * (1 - p)"),
        edit("softmax_sum_forgotten", "(p - t)", "(0 - t)"),
        edit("softmax_unnormalised", "np.exp(s - logsum)", "np.exp(s - top)"),
        edit("w_for_dw", "dW, db = dW / N + DLAM * W, ", "dW, db = W, ", place="W"),
        edit("off_by_one", "zip(X, Y)", "zip(X[1:], Y[1:])"),
        edit("off_by_one", "zip(X, Y)", "zip(X, np.roll(Y, 1, axis=0))"),
        edit("bias_forgotten", "x.dot(W) + b", "x.dot(W)", place="b"),
        edit("detached", "        db += ds\n", "", place="b"),
        edit("momentum_factor", last, "    dW, db = 0.1 * (dW / N + DLAM * W), 0.1 * db / N\n"),
    ]
    return Program(
        *("softmax", "softmax, temperature, outer products, rows", ("X", "Y", "tau", "lam"), ("W", "b"), costs),
        *("Y = np.eye(b.size)[y]", gradients, tuple(edits), ("S", "logZ", "nll", "P"), draw),
        ({}, {"W": "weight", "b": "bias", "tau": "temperature"}, {"X": "data", "lam": "decay"}),
    )


def softmax_of_weighted_images() -> Program:
    """Columns; each image has a weight in the cost, and the gradient of the bias is an average."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 6]), rng.choice([3, 5]), rng.choice([9, 12])
        arrays = images_and_labels(rng, k, n, columns=True) | {"X": rng.normal(0, 1.1, (d, n)), "lam": 0.2}
        arrays |= {"v": rng.uniform(0.3, 2, n)}
        return arrays | {"W": rng.normal(0, 0.7, (k, d)), "b": rng.normal(0, 0.7, (k, 1))}

    costs = {
        "steps": """
    N = Y.shape[1]
    S = W @ X + b
    P = tg.softmax(S, axis=0)
    ce = -tg.log(tg.sum(Y * P, axis=0))
    return tg.mean(v * ce) + CLAM * PENALTY(W)
""",
        "logsumexp, labels": """
    N = len(y)
    S = tg.tensordot(W, X, 1) + b
    ce = tg.logsumexp(S, axis=0) - S[y, np.arange(N)]
    loss = (ce * v).sum() / N
    return loss + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = X.shape[1]
    own, columns = np.argmax(Y, axis=0), np.arange(N)
    P = np.exp(np.matmul(W, X) + b)
    P = np.true_divide(P, np.sum(P, axis=0))
    G = np.copy(P)
    G[own, columns] -= 1
    G = np.multiply(G, v)
    dW = np.matmul(G, X.T) / N + W * DLAM
    db = np.average(G, axis=1).reshape(-1, 1)
"""
    delta = "    G = np.copy(P)\n    G[own, columns] -= 1\n"
    edits = [
        *decay_edits({"W": " + W * DLAM"}, ("b", "reshape(-1, 1)", "reshape(-1, 1) + b * DLAM")),
        edit("missing_1_over_n", "X.T) / N", "X.T)", "np.average(G, axis=1)", "np.sum(G, axis=1)"),
        edit("double_1_over_n", "np.multiply(G, v)", "np.multiply(G, v) / N"),
        edit("misplaced_1_over_n", "np.average(G", "np.sum(G", place="b", factor="N"),
        edit("misplaced_1_over_n", "X.T) / N", "X.T)", place="W", factor="N"),
        edit("divided_by_other", "X.T) / N", "X.T) / len(b)", "np.average(G, axis=1)", "np.sum(G / len(b), axis=1)"),
        edit("db_mean", "np.average(G, axis=1)", "np.average(G / N, axis=1)", place="b"),
        edit("db_wrong_axis", "np.average(G, axis=1)", "np.average(G, axis=0)", place="b"),
        edit("db_not_summed", "np.average(G, axis=1).reshape(-1, 1)", "G / N", place="b"),
        edit("db_from_dw", "np.average(G, axis=1)", "np.sum(G @ X.T / N, axis=1)", place="b"),
        edit("dw_transposed", "np.matmul(G, X.T) / N + W", "np.matmul(X, G.T) / N + W.T", place="W"),
        edit("sign_loss", "np.multiply(G, v)", "np.multiply(-G, v)"),
        edit("sign_all", *after("reshape(-1, 1)\n", scaled("W b", "-"))),
        edit("sign_param", "db = np", "db = -np", place="b"),
        edit("softmax_diagonal", delta, "    G = Y * (P - 1)\n"),
        edit("softmax_sum_forgotten", delta, "    G = -1.0 * Y\n"),
        edit("softmax_unnormalised", "    P = np.true_divide(P, np.sum(P, axis=0))\n", ""),
        edit("w_for_dw", "np.matmul(G, X.T) / N + W * DLAM", "W", place="W"),
        edit("off_by_one", "G[own, columns]", "G[np.roll(own, -1), columns]"),
        edit("bias_forgotten", "np.matmul(W, X) + b", "np.matmul(W, X)", place="b"),
        edit("detached", "np.matmul(G, X.T) / N +", "np.matmul(0 * G, X.T) / N +", place="W"),
        edit("momentum_factor", *after("reshape(-1, 1)\n", scaled("W b", "(1 - 0.9) * "))),
    ]
    return Program(
        *("softmax", "softmax, weighted images, columns", ("X", "Y", "v", "lam"), ("W", "b"), costs),
        *("Y = np.eye(b.shape[0])[:, y]", gradients, tuple(edits), ("S", "P", "ce", "loss"), draw),
        ({}, {"W": "Wmat", "b": "bvec", "v": "importance"}, {"v": "sample_weight", "lam": "lamb", "X": "Xb"}),
    )


def softmax_class() -> Program:
    """Rows; a class with a cache; the bias is penalised, too."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([3, 7]), rng.choice([4, 5]), rng.choice([9, 10])
        arrays = images_and_labels(rng, k, n, columns=False) | {"X": rng.normal(0, 1, (n, d)), "lam": 0.35}
        return arrays | {"W": rng.normal(0, 0.8, (d, k)), "b": rng.normal(0, 0.8, (1, k))}

    costs = {
        "steps": """
    N = X.shape[0]
    logits = X @ W + b
    prob = tg.softmax(logits, axis=1)
    nll = -tg.sum(Y * tg.log(prob)) / N
    return nll + CLAM * PENALTY(W, b)
""",
        "by hand": """
    logits = tg.add(tg.matmul(X, W), b)
    e = tg.exp(logits)
    prob = tg.divide(e, e.sum(axis=1, keepdims=True))
    nll = tg.mean(tg.negative(tg.log((prob * Y).sum(axis=1))))
    return CLAM * PENALTY(W, b) + nll
""",
    }
    gradients = """
    class Classifier:
        def __init__(self, weight, bias):
            self.weight, self.bias = weight, bias
            self.cache = {}

        def forward(self, inputs):
            exps = np.exp(inputs @ self.weight + self.bias)
            self.cache["inputs"] = inputs
            self.cache["probs"] = exps / exps.sum(axis=-1)[:, np.newaxis]

        def backward(self, targets):
            count = len(targets)
            delta = (self.cache["probs"] - targets) / count
            grads = {"weight": self.cache["inputs"].T @ delta}
            grads["bias"] = delta.sum(axis=0, keepdims=True)
            grads["weight"] = grads["weight"] + DLAM * self.weight
            grads["bias"] = grads["bias"] + DLAM * self.bias
            return grads

    model = Classifier(W, b)
    model.forward(X)
    grads = model.backward(Y)
    dW, db = grads["weight"], grads["bias"]
"""
    delta = 'self.cache["probs"] - targets'
    last = '    dW, db = grads["weight"], grads["bias"]\n'
    terms = {"W": " + DLAM * self.weight", "b": " + DLAM * self.bias"}
    edits = [
        *decay_edits(terms, None, "count"),
        edit("missing_1_over_n", f"({delta}) / count", delta),
        edit("double_1_over_n", f"({delta}) / count", f"({delta}) / count**2"),
        edit("divided_by_other", "count = len(targets)", "count = targets.shape[1]"),
        edit("misplaced_1_over_n", ".T @ delta}", ".T @ delta / count}", place="W", factor="1/N"),
        edit("db_mean", "delta.sum(", "delta.mean(", place="b"),
        edit("db_not_summed", "delta.sum(axis=0, keepdims=True)", "delta", place="b"),
        edit("db_from_dw", 'grads["bias"] = delta.sum(', 'grads["bias"] = grads["weight"].sum(', place="b"),
        edit("sign_loss", delta, 'targets - self.cache["probs"]'),
        edit("sign_all", last, '    dW, db = -grads["weight"], -grads["bias"]\n'),
        edit("sign_param", ".T @ delta}", ".T @ -delta}", place="W"),
        edit("overwritten", 'grads["weight"] + DLAM', "DLAM", place="W"),
        edit("overwritten", 'grads["bias"] + DLAM', "DLAM", place="b"),
        edit("softmax_diagonal", delta, 'targets * self.cache["probs"] - targets'),
        edit("softmax_sum_forgotten", f"({delta})", "-targets"),
        edit("softmax_unnormalised", "exps / exps.sum(axis=-1)[:, np.newaxis]", "exps"),
        edit("w_for_dw", last, '    dW, db = model.weight, grads["bias"]\n', place="W"),
        edit("dw_transposed", last, '    dW, db = grads["weight"].T, grads["bias"]\n', place="W"),
        edit("off_by_one", 'inputs"].T @ delta', 'inputs"][:-1].T @ delta[:-1]', place="W"),
        edit("momentum_factor", *after(last, scaled("W b", "0.1 * "))),
    ]
    return Program(
        *("softmax", "softmax, class, decayed bias, rows", ("X", "Y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("logits", "prob", "nll", "e"), draw),
        ({}, {"W": "w", "b": "w_0", "lam": "alpha"}, {"X": "features", "logits": "act"}),
    )


# -- SVM ---------------------------------------------------------------------------------------------------------------


def svm_averages() -> Program:
    """Rows; np.where for the mask, and averages of products for the gradients."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 6]), rng.choice([3, 4]), rng.choice([9, 11])
        arrays = images_and_labels(rng, k, n, columns=False) | {"X": rng.normal(0, 1, (n, d)), "lam": 0.15}
        return arrays | {"W": rng.normal(0, 0.6, (d, k)), "b": rng.normal(0, 0.6, k)}

    costs = {
        "steps": """
    S = X @ W + b
    own = tg.reshape(tg.sum(S * Y, axis=1), (-1, 1))
    gaps = tg.relu(S - own + 1)
    hinge = tg.sum(gaps, axis=1) - 1
    return tg.mean(hinge) + CLAM * PENALTY(W)
""",
        "where, labels": """
    S = tg.matmul(X, W) + b
    own = S[np.arange(len(y)), y].reshape(-1, 1)
    gaps = tg.where(np.eye(b.size)[y] == 1, 0.0, tg.maximum(1 + S - own, 0))
    return tg.mean(tg.sum(gaps, axis=1)) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = len(X)
    label = Y.argmax(axis=1)[:, None]
    S = np.dot(X, W) + b
    own = np.take_along_axis(S, label, axis=1)
    hit = np.where(S - own + 1 > 0, 1.0, 0.0)
    np.put_along_axis(hit, label, 0.0, axis=1)
    total = hit.sum(axis=1, keepdims=True)
    np.put_along_axis(hit, label, -total, axis=1)
    dW = np.average(X[:, :, None] * hit[:, None, :], axis=0) + DLAM * W
    db = np.average(hit, axis=0)
"""
    product = "np.average(X[:, :, None] * hit[:, None, :], axis=0)"
    zero = "    np.put_along_axis(hit, label, 0.0, axis=1)\n"
    subtract = "    np.put_along_axis(hit, label, -total, axis=1)\n"
    total = "    total = hit.sum(axis=1, keepdims=True)\n"
    edits = [
        *decay_edits({"W": " + DLAM * W"}, ("b", "np.average(hit, axis=0)", "np.average(hit, axis=0) + DLAM * b")),
        edit("missing_1_over_n", product, product.replace("average", "sum"), "db = np.average", "db = np.sum"),
        edit("double_1_over_n", product, f"{product} / N", "np.average(hit, axis=0)", "np.average(hit, axis=0) / N"),
        edit("misplaced_1_over_n", product, product.replace("average", "sum"), place="W", factor="N"),
        edit("misplaced_1_over_n", "db = np.average", "db = np.sum", place="b", factor="N"),
        edit("db_mean", "db = np.average(hit, axis=0)", "db = np.average(hit, axis=0) / N", place="b"),
        edit("db_wrong_axis", "np.average(hit, axis=0)", "np.average(hit, axis=1)", place="b"),
        edit("db_not_summed", "np.average(hit, axis=0)", "hit / N", place="b"),
        edit("db_from_dw", "db = np.average(hit, axis=0)", f"db = {product}.sum(axis=0)", place="b"),
        edit("dw_transposed", f"{product} + DLAM * W", f"({product} + DLAM * W).T", place="W"),
        edit("sign_all", "db = np.average(hit, axis=0)\n", "db = -np.average(hit, axis=0)\n    dW = -dW\n"),
        edit("sign_loss", subtract, f"{subtract}    hit = -hit\n"),
        edit("sign_param", f"dW = {product}", f"dW = -{product}", place="W"),
        edit("hinge_own_missing", subtract, "", place="own"),
        edit("hinge_own_sign", "label, -total", "label, total", place="own"),
        edit("hinge_own_once", "label, -total", "label, -1.0", place="own"),
        edit("hinge_own_counted", f"{zero}{total}", total, place="own"),
        edit("activation_derivative_missing", "np.where(S - own + 1 > 0, 1.0, 0.0)", "np.ones(S.shape)", place="gaps"),
        edit("mask_wrong_array", "np.where(S - own + 1 > 0", "np.where(S > 0", place="gaps", wrong="S"),
        edit("margin_forgotten", "S - own + 1 > 0", "S - own > 0", place="gaps"),
        edit("overwritten", f"dW = {product} + DLAM * W", f"dW = {product}\n    dW = DLAM * W", place="W"),
        edit("w_for_dw", f"{product} + DLAM * W", "np.copy(W)", place="W"),
        edit("off_by_one", "label = Y.argmax(axis=1)", "label = np.roll(Y.argmax(axis=1), 1)"),
        edit("bias_forgotten", "np.dot(X, W) + b", "np.dot(X, W)", place="b"),
        edit("detached", "db = np.average(hit, axis=0)", "db = np.average(0 * hit, axis=0)", place="b"),
    ]
    return Program(
        *("svm", "SVM, averages, rows", ("X", "Y", "lam"), ("W", "b"), costs, "Y = np.eye(b.size)[y]"),
        *(gradients, tuple(edits), ("S", "gaps", "hinge"), draw),
        ({}, {"W": "normals", "b": "thresholds"}, {"S": "raw", "lam": "nu", "X": "Xtr"}),
    )


def svm_of_weighted_images() -> Program:
    """Columns; nested functions; each image has a weight in the cost."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 7]), rng.choice([3, 4]), rng.choice([8, 12])
        arrays = images_and_labels(rng, k, n, columns=True) | {"X": rng.normal(0, 1, (d, n)), "lam": 0.18}
        arrays |= {"v": rng.uniform(0.4, 1.8, n)}
        return arrays | {"W": rng.normal(0, 0.5, (k, d)), "b": rng.normal(0, 0.5, (k, 1))}

    costs = {
        "steps": """
    N = X.shape[1]
    S = W @ X + b
    own = tg.sum(Y * S, axis=0)
    excess = tg.maximum(S - own + 1, 0) * (1 - Y)
    hinge = v * tg.sum(excess, axis=0)
    return tg.sum(hinge) / N + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = X.shape[1]

    def excess_of(weights, offset):
        scores = weights @ X + offset
        own = scores[np.argmax(Y, axis=0), np.arange(N)]
        excess = scores - own + 1
        excess[Y == 1] = 0
        return scores, excess

    def scores_gradient(scores, excess):
        active = excess > 0
        count = np.count_nonzero(active, axis=0)
        return np.where(Y == 1, -count, active) * (v / N)

    delta = scores_gradient(*excess_of(W, b))
    dW = delta.dot(X.T)
    dW = dW + DLAM * W
    db = delta.dot(np.ones((N, 1)))
"""
    column = "delta.dot(np.ones((N, 1)))"
    edits = [
        *decay_edits({"W": "    dW = dW + DLAM * W\n"}, ("b", column, f"{column} + DLAM * b")),
        edit("missing_1_over_n", "(v / N)", "v"),
        edit("double_1_over_n", "(v / N)", "(v / N**2)"),
        edit("divided_by_other", "(v / N)", "(v / len(Y))"),
        edit("misplaced_1_over_n", "dW = delta.dot(X.T)", "dW = delta.dot(X.T) / N", place="W", factor="1/N"),
        edit("db_mean", column, "delta.mean(axis=1, keepdims=True)", place="b"),
        edit("db_wrong_axis", column, "delta.sum(axis=0, keepdims=True)", place="b"),
        edit("db_not_summed", column, "delta", place="b"),
        edit("db_from_dw", column, "delta.dot(X.T).sum(axis=1, keepdims=True)", place="b"),
        edit("dw_transposed", "    dW = dW + DLAM * W\n", "    dW = (dW + DLAM * W).T\n", place="W"),
        edit("sign_loss", "-count, active) * (v / N)", "count, -1 * active) * (v / N)"),
        edit("sign_all", f"db = {column}\n", f"db = {column}\n{scaled('W b', '-')}"),
        edit("sign_param", f"db = {column}", f"db = -{column}", place="b"),
        edit("hinge_own_missing", "-count, active", "0, active", place="own"),
        edit("hinge_own_sign", "-count, active", "count, active", place="own"),
        edit("hinge_own_once", "-count, active", "-1, active", place="own"),
        edit("hinge_own_counted", "-count, active", "-count - 1, active", place="own"),
        edit("activation_derivative_missing", "active = excess > 0", "active = Y == 0", place="excess"),
        edit("mask_wrong_array", "active = excess > 0", "active = (scores > 0) & (Y == 0)", place="excess", wrong="S"),
        edit("margin_forgotten", "excess = scores - own + 1", "excess = scores - own", place="excess"),
        edit("overwritten", "dW = dW + DLAM * W", "dW = DLAM * W", place="W"),
        edit("w_for_dw", "    dW = dW + DLAM * W\n", "    dW = W\n", place="W"),
        edit("off_by_one", "delta.dot(X.T)", "delta[:, 1:].dot(X[:, 1:].T)", place="W"),
        edit("bias_forgotten", "weights @ X + offset", "weights @ X", place="b"),
        edit("momentum_factor", f"db = {column}\n", f"db = {column}\n{scaled('W b', '0.1 * ')}"),
    ]
    return Program(
        *("svm", "SVM, weighted images, functions, columns", ("X", "Y", "v", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("S", "excess", "hinge"), draw),
        ({}, {"W": "A_svm", "b": "a_svm", "v": "cost_of"}, {"S": "margins_in", "lam": "reg"}),
    )


# -- two layers --------------------------------------------------------------------------------------------------------


def square_layers(rng: Random, *, columns: bool) -> dict[str, Any]:
    """Return two layers and images whose sizes let a matrix be transposed and one array be taken for another."""
    m, n = int(rng.choice([3, 4])), int(rng.choice([7, 10]))
    arrays = images_and_labels(rng, m, n, columns=columns) | {"X": rng.normal(0, 1, (m, n) if columns else (n, m))}
    for i in (1, 2):
        arrays |= {f"W{i}": rng.normal(0, 1, (m, m)), f"b{i}": rng.normal(0, 1, (m, 1) if columns else m)}
    return arrays | {"lam": 0.06}


def two_layers_functions() -> Program:
    """Columns; leaky ReLU; separate functions for the way forward and the way back."""
    costs = {
        "steps": """
    N = X.shape[1]
    Z = W1 @ X + b1
    A = tg.maximum(Z, 0.1 * Z)
    O = W2 @ A + b2
    Q = tg.softmax(O, axis=0)
    nll = -tg.log(tg.sum(Q * Y, axis=0))
    return nll.mean() + CLAM * PENALTY(W1, W2)
""",
        "where, labels": """
    N = len(y)
    Z = tg.matmul(W1, X) + b1
    A = tg.where(Z > 0, Z, 0.1 * Z)
    O = tg.matmul(W2, A) + b2
    nll = tg.logsumexp(O, axis=0) - O[y, np.arange(N)]
    return tg.sum(nll) / N + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N = X.shape[1]

    def leaky(z):
        return np.where(z > 0, z, 0.1 * z)

    def slope(z):
        return np.where(z > 0, 1, 0.1)

    def forward():
        Z = W1 @ X + b1
        A = leaky(Z)
        O = W2 @ A + b2
        expO = np.exp(O - O.max())
        return Z, A, expO / expO.sum(axis=0)

    def backward(Z, A, Q):
        gO = np.subtract(Q, Y) / N
        gW2, gb2 = gO @ A.T, gO.sum(axis=1)
        gA = W2.T @ gO
        gZ = slope(Z) * gA
        gW1, gb1 = gZ @ X.T, gZ.sum(axis=1)
        return gW1, gb1, gW2, gb2

    dW1, db1, dW2, db2 = backward(*forward())
    dW1, dW2 = dW1 + DLAM * W1, dW2 + DLAM * W2
    db1, db2 = db1[:, None], db2[:, None]
"""
    inner, last = "Z A W1 b1", "    db1, db2 = db1[:, None], db2[:, None]\n"
    decay = "dW1, dW2 = dW1 + DLAM * W1, dW2 + DLAM * W2"
    edits = [
        *decay_edits({"W1": " + DLAM * W1", "W2": " + DLAM * W2"}, ("b2", *after(last, "    db2 += DLAM * b2\n"))),
        edit("missing_1_over_n", "np.subtract(Q, Y) / N", "np.subtract(Q, Y)"),
        edit("double_1_over_n", "np.subtract(Q, Y) / N", "np.subtract(Q, Y) / N**2"),
        edit("misplaced_1_over_n", "gA = W2.T @ gO", "gA = W2.T @ gO / N", place=inner, factor="1/N"),
        edit("db_mean", "gO.sum(axis=1)", "gO.mean(axis=1)", place="b2"),
        edit("db_mean", "gZ.sum(axis=1)", "gZ.mean(axis=1)", place="b1"),
        edit("db_wrong_axis", "gZ.sum(axis=1)", "gZ.sum(axis=0)", place="b1"),
        edit("db_not_summed", "gO.sum(axis=1)", "gO", place="b2"),
        edit("transposed_factor", "gA = W2.T @ gO", "gA = W2 @ gO", place="W2"),
        edit("dw_transposed", "gO @ A.T", "A @ gO.T", place="W2"),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-"))),
        edit("sign_loss", "np.subtract(Q, Y)", "np.subtract(Y, Q)"),
        edit("sign_param", "slope(Z) * gA", "-slope(Z) * gA", place=inner),
        edit("activation_derivative_missing", "gZ = slope(Z) * gA", "gZ = gA", place=inner),
        edit("other_derivative", "np.where(z > 0, 1, 0.1)", "np.where(z > 0, 1, 0)", place=inner),
        edit("mask_wrong_array", "slope(Z)", "slope(X)", place=inner, wrong="X"),
        edit("mask_wrong_array", "slope(Z)", "slope(gA)", place=inner, wrong="gA"),
        edit("softmax_diagonal", "np.subtract(Q, Y)", "(Q - 1) * Y"),
        edit("softmax_sum_forgotten", "np.subtract(Q, Y)", "np.negative(Y)"),
        edit("softmax_unnormalised", "expO / expO.sum(axis=0)", "expO"),
        edit(
            "updated_before_delta",
            "        gA = ",
            "        V = W2 - 0.2 * gW2\n        gA = ",
            "W2.T @",
            "V.T @",
            place="W2",
        ),
        edit("overwritten", decay, f"{decay}\n    dW2 = DLAM * W2", place="W2"),
        edit("w_for_dw", decay, "dW1, dW2 = W1, dW2 + DLAM * W2", place="W1"),
        edit("wrong_variable", "gO @ A.T", "gO @ X.T", place="W2 A", wrong="X"),
        edit("wrong_variable", "gO @ A.T", "gO @ Z.T", place="W2 A", wrong="Z"),
        edit("wrong_variable", "gZ @ X.T", "gZ @ A.T", place="W1 X", wrong="A"),
        edit("detached", "gA = W2.T @ gO", "gA = W2.T @ (0 * gO)", place=inner),
        edit("bias_forgotten", "W2 @ A + b2", "W2 @ A", place="b2"),
        edit("off_by_one", "np.subtract(Q, Y)", "np.subtract(Q, np.roll(Y, 1, axis=1))"),
        edit("momentum_factor", *after(last, scaled("W1 b1 W2 b2", "0.1 * "))),
    ]
    parameters = ("W1", "b1", "W2", "b2")
    names = {"W1": "Win", "b1": "bin_", "W2": "Wout", "b2": "bout", "lam": "reg"}
    return Program(
        *("two layers", "two layers, leaky, functions, columns", ("X", "Y", "lam"), parameters, costs),
        *("Y = np.eye(len(b2))[:, y]", gradients, tuple(edits), ("O", "Q", "nll")),
        *(lambda rng: square_layers(rng, columns=True), ({}, {"Z": "z1", "A": "a1", "O": "z2"}, names)),
    )


def two_layers_elu() -> Program:
    """Rows; ELU, with a dictionary of gradients."""

    def draw(rng: Random) -> dict[str, Any]:
        return square_layers(rng, columns=False)

    costs = {
        "steps": """
    U = tg.matmul(X, W1) + b1
    F = tg.where(U > 0, U, tg.exp(U) - 1)
    T = tg.matmul(F, W2) + b2
    lse = tg.logsumexp(T, axis=1, keepdims=True)
    data = tg.mean(tg.sum(Y * (lse - T), axis=1))
    return data + CLAM * PENALTY(W1, W2)
""",
        "softmax, labels": """
    U = X @ W1 + b1
    F = tg.where(U > 0, U, tg.exp(U) - 1)
    T = F @ W2 + b2
    prob = tg.softmax(T, axis=1)
    data = -tg.log(prob[np.arange(len(y)), y]).mean()
    return data + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N = float(len(X))
    U = X @ W1 + b1
    F = np.where(U > 0, U, np.expm1(U))
    T = F @ W2 + b2
    lse = np.log(np.exp(T).sum(axis=1, keepdims=True))
    prob = np.exp(T - lse)
    back = {"T": (prob - Y) / N}
    back["F"] = back["T"] @ np.transpose(W2)
    back["U"] = back["F"] * np.where(U > 0, 1, 1 + F)
    dW2 = np.transpose(F) @ back["T"] + W2 * DLAM
    db2 = np.add.reduce(back["T"], axis=0)
    dW1 = np.transpose(X) @ back["U"] + W1 * DLAM
    db1 = np.add.reduce(back["U"], axis=0)
"""
    inner, slope = "U F W1 b1", "np.where(U > 0, 1, 1 + F)"
    sum1, sum2 = 'np.add.reduce(back["U"], axis=0)', 'np.add.reduce(back["T"], axis=0)'
    edits = [
        *decay_edits({"W1": " + W1 * DLAM", "W2": " + W2 * DLAM"}, ("b1", sum1, f"{sum1} + b1 * DLAM")),
        edit("missing_1_over_n", "(prob - Y) / N", "(prob - Y)"),
        edit("double_1_over_n", "(prob - Y) / N", "(prob - Y) / N / N"),
        edit("misplaced_1_over_n", f"db2 = {sum2}", f"db2 = N * {sum2}", place="b2", factor="N"),
        edit(
            "misplaced_1_over_n",
            'np.transpose(X) @ back["U"]',
            'np.transpose(X) @ back["U"] / N',
            place="W1",
            factor="1/N",
        ),
        edit("db_mean", sum2, 'np.mean(back["T"], axis=0)', place="b2"),
        edit("db_mean", sum1, 'np.mean(back["U"], axis=0)', place="b1"),
        edit("db_not_summed", sum1, 'back["U"]', place="b1"),
        edit("db_from_dw", sum1, '(np.transpose(X) @ back["U"]).sum(axis=0)', place="b1"),
        edit("transposed_factor", "@ np.transpose(W2)", "@ W2", place="W2"),
        edit("dw_transposed", 'np.transpose(X) @ back["U"]', 'np.transpose(back["U"]) @ X', place="W1"),
        edit("sign_loss", "(prob - Y)", "(Y - prob)"),
        edit("sign_param", f'back["F"] * {slope}', f'-back["F"] * {slope}', place=inner),
        edit("activation_derivative_missing", f'back["F"] * {slope}', 'back["F"]', place=inner),
        edit("mask_wrong_array", slope, "np.where(X > 0, 1, 1 + F)", place=inner, wrong="X"),
        edit("derivative_at_input", slope, "np.where(U > 0, 1, 1 + U)", place=inner, wrong="U"),
        edit("other_derivative", slope, "np.where(U > 0, 1, 0)", place=inner),
        edit("softmax_diagonal", "(prob - Y)", "(-Y * (1 - prob))"),
        edit("softmax_sum_forgotten", "(prob - Y)", "(0 - Y)"),
        edit("softmax_unnormalised", "np.exp(T - lse)", "np.exp(T)"),
        edit("updated_before_delta", "@ np.transpose(W2)", '@ np.transpose(W2 - 0.3 * F.T @ back["T"])', place="W2"),
        edit("overwritten", 'np.transpose(F) @ back["T"] + W2 * DLAM', "W2 * DLAM", place="W2"),
        edit("w_for_dw", 'np.transpose(F) @ back["T"] + W2 * DLAM', "np.array(W2)", place="W2"),
        edit("wrong_variable", "np.transpose(F) @", "np.transpose(X) @", place="W2 F", wrong="X"),
        edit("wrong_variable", "np.transpose(F) @", "np.transpose(U) @", place="W2 F", wrong="U"),
        edit("detached", 'back["T"] @ np.transpose(W2)', "np.zeros_like(F)", place=inner),
        edit("bias_forgotten", "F @ W2 + b2", "F @ W2", place="b2"),
        edit("off_by_one", "(prob - Y)", "(prob - np.roll(Y, -1, axis=0))"),
    ]
    names = {"W1": "hidden_w", "b1": "hidden_b", "W2": "out_w", "b2": "out_b", "lam": "weight_decay"}
    return Program(
        *("two layers", "two layers, ELU, rows", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs),
        *("Y = np.eye(b2.size)[y]", gradients, tuple(edits), ("T", "lse", "prob", "data"), draw, ({}, names)),
    )


def two_layers_objects() -> Program:
    """Rows; sigmoid; layers as objects, so that a mistake of a class is one of both layers."""

    def draw(rng: Random) -> dict[str, Any]:
        return square_layers(rng, columns=False)

    costs = {
        "steps": """
    N = len(X)
    Z1 = X @ W1 + b1
    H1 = tg.sigmoid(Z1)
    Z2 = H1 @ W2 + b2
    P = tg.softmax(Z2, axis=1)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss + CLAM * PENALTY(W1, W2)
""",
        "own sigmoid": """
    Z1 = tg.add(tg.matmul(X, W1), b1)
    H1 = 1 / (1 + tg.exp(-Z1))
    Z2 = tg.add(tg.matmul(H1, W2), b2)
    loss = tg.mean(tg.logsumexp(Z2, axis=1) - (Y * Z2).sum(axis=1))
    return loss + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    class Linear:
        def __init__(self, w, c):
            self.cache = {"w": w, "c": c}

        def forward(self, inputs):
            self.cache["inputs"] = inputs
            return inputs @ self.cache["w"] + self.cache["c"]

        def backward(self, upstream):
            self.gw = self.cache["inputs"].T @ upstream
            self.gw = self.gw + DLAM * self.cache["w"]
            self.gc = upstream.sum(axis=0)
            return upstream @ self.cache["w"].T

    class Sigmoid:
        def forward(self, inputs):
            self.cache = {"in": inputs, "out": 1 / (1 + np.exp(-inputs))}
            return self.cache["out"]

        def backward(self, upstream):
            out = self.cache["out"]
            return upstream * out * (1 - out)

    class CrossEntropy:
        def forward(self, inputs):
            shifted = np.exp(inputs - inputs.max(axis=1, keepdims=True))
            self.cache = {"P": shifted / shifted.sum(axis=1, keepdims=True)}

        def backward(self, targets):
            return (self.cache["P"] - targets) / N

    N = len(X)
    layers = [Linear(W1, b1), Sigmoid(), Linear(W2, b2), CrossEntropy()]
    values = X
    for layer in layers:
        values = layer.forward(values)
    grad = Y
    for layer in reversed(layers):
        grad = layer.backward(grad)
    dW1, db1 = layers[0].gw, layers[0].gc
    dW2, db2 = layers[2].gw, layers[2].gc
"""
    inner = "Z1 H1 W1 b1"
    slope, delta = "upstream * out * (1 - out)", '(self.cache["P"] - targets) / N'
    last = "    dW2, db2 = layers[2].gw, layers[2].gc\n"
    first = "    dW1, db1 = layers[0].gw, layers[0].gc\n"
    term = ' + DLAM * self.cache["w"]'
    edits = [
        *decay_edits({"W": term}, ("b2", last, last.replace(".gc", ".gc + DLAM * b2"))),
        edit("missing_1_over_n", delta, delta.removesuffix(" / N")),
        edit("double_1_over_n", delta, f"{delta}**2"),
        edit("misplaced_1_over_n", f"return {slope}", f"return {slope} / N", place=inner, factor="1/N"),
        edit("db_mean", "upstream.sum(axis=0)", "upstream.mean(axis=0)", place="b1 b2"),
        edit("db_not_summed", "upstream.sum(axis=0)", "upstream", place="b1 b2"),
        edit("db_wrong_axis", "upstream.sum(axis=0)", "upstream.sum(axis=1)", place="b1 b2"),
        edit("db_from_dw", "self.gc = upstream.sum(axis=0)", "self.gc = self.gw.sum(axis=0)", place="b1 b2"),
        edit("transposed_factor", 'upstream @ self.cache["w"].T', 'upstream @ self.cache["w"]', place="W2"),
        edit("dw_transposed", 'self.cache["inputs"].T @ upstream', 'upstream.T @ self.cache["inputs"]', place="W1 W2"),
        edit("sign_loss", '(self.cache["P"] - targets)', '(targets - self.cache["P"])'),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-"))),
        edit("sign_param", f"return {slope}", f"return -{slope}", place=inner),
        edit("activation_derivative_missing", f"return {slope}", "return upstream", place=inner),
        edit("other_derivative", slope, "upstream * (1 - out * out)", place=inner),
        edit("derivative_at_input", 'out = self.cache["out"]', 'out = self.cache["in"]', place=inner, wrong="Z1"),
        edit("softmax_diagonal", delta, '-targets * (1 - self.cache["P"]) / N'),
        edit("softmax_sum_forgotten", delta, "-targets / N"),
        edit("softmax_unnormalised", "shifted / shifted.sum(axis=1, keepdims=True)", "shifted"),
        edit("updated_before_delta", '["w"].T\n', '["w"].T - 0.2 * upstream @ self.gw.T\n', place="W2"),
        edit("overwritten", f"self.gw{term}", term.removeprefix(" + "), place="W1 W2"),
        edit("overwritten", *after(last, "    dW2 = DLAM * W2\n"), place="W2"),
        edit("w_for_dw", first, first.replace("layers[0].gw", 'layers[0].cache["w"]'), place="W1"),
        edit(
            "wrong_variable",
            "    grad = Y\n",
            '    layers[2].cache["inputs"] = X\n    grad = Y\n',
            place="W2 H1",
            wrong="X",
        ),
        edit("detached", f"return {slope}", "return 0 * upstream", place=inner),
        edit("bias_forgotten", "Linear(W2, b2)", "Linear(W2, 0 * b2)", place="b2"),
        edit("off_by_one", "grad = Y\n", "grad = np.roll(Y, 1, axis=0)\n"),
        edit("momentum_factor", *after(last, scaled("W1 b1 W2 b2", "(1 - 0.9) * "))),
    ]
    names = {"W1": "fc1", "b1": "fc1_b", "W2": "fc2", "b2": "fc2_b", "lam": "reg"}
    return Program(
        *("two layers", "two layers, objects, rows", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs, ""),
        *(gradients, tuple(edits), ("Z2", "P", "loss"), draw, ({}, {"Z1": "lin", "H1": "sig", "Z2": "logit"}, names)),
    )


def two_layers_outer() -> Program:
    """Columns; tanh; a loop over weighted images with outer products."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = square_layers(rng, columns=True)
        return arrays | {"v": rng.uniform(0.4, 1.7, arrays["X"].shape[1])}

    costs = {
        "steps": """
    N = X.shape[1]
    Z = tg.tensordot(W1, X, 1) + b1
    H = tg.tanh(Z)
    R = tg.tensordot(W2, H, 1) + b2
    Q = tg.exp(R) / tg.sum(tg.exp(R), axis=0)
    nll = -tg.sum(Y * tg.log(Q), axis=0)
    return tg.sum(v * nll) / N + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N = X.shape[1]
    dW1, db1 = np.zeros(W1.shape), np.zeros(b1.shape)
    dW2, db2 = np.zeros(W2.shape), np.zeros(b2.shape)
    for n in range(N):
        x = X[:, n]
        z = W1 @ x + b1.ravel()
        h = np.tanh(z)
        r = W2 @ h + b2.ravel()
        q = np.exp(r) / np.sum(np.exp(r))
        delta = v[n] * (q - Y[:, n])
        dW2 += np.outer(delta, h)
        db2[:, 0] += delta
        delta = np.dot(delta, W2)
        delta = delta - delta * h**2
        dW1 += np.outer(delta, x)
        db1[:, 0] += delta
    dW1, dW2 = dW1 / N, dW2 / N
    db1, db2 = db1 / N, db2 / N
    dW1 = dW1 + DLAM * W1
    dW2 = dW2 + DLAM * W2
"""
    inner, last = "Z H W1 b1", "    dW2 = dW2 + DLAM * W2\n"
    decay = {"W1": "    dW1 = dW1 + DLAM * W1\n", "W2": last}
    ratio = "    dW1, dW2 = dW1 / N, dW2 / N\n    db1, db2 = db1 / N, db2 / N\n"
    slope = "        delta = delta - delta * h**2\n"
    edits = [
        *decay_edits(decay, ("b1", "db1, db2 = db1 / N,", "db1, db2 = db1 / N + DLAM * b1,")),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", "(q - Y[:, n])", "(q - Y[:, n]) / N"),
        edit("misplaced_1_over_n", "    dW1, dW2 = dW1 / N, dW2 / N\n", "    dW1 = dW1 / N\n", place="W2", factor="N"),
        edit("misplaced_1_over_n", "np.dot(delta, W2)", "np.dot(delta, W2) / N", place=inner, factor="1/N"),
        edit("db_mean", "db1, db2 = db1 / N, db2 / N", "db1, db2 = db1 / N**2, db2 / N**2", place="b1 b2"),
        edit("db_from_dw", "db1[:, 0] += delta", "db1[:, 0] += np.outer(delta, x).sum(axis=1)", place="b1"),
        edit("transposed_factor", "np.dot(delta, W2)", "np.dot(W2, delta)", place="W2"),
        edit("dw_transposed", "np.outer(delta, h)", "np.outer(h, delta)", place="W2"),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-"))),
        edit("sign_loss", "(q - Y[:, n])", "(Y[:, n] - q)"),
        edit("sign_param", "np.dot(delta, W2)", "-np.dot(delta, W2)", place=inner),
        edit("sign_param", "db2[:, 0] += delta", "db2[:, 0] -= delta", place="b2"),
        edit("activation_derivative_missing", slope, "", place=inner),
        edit("other_derivative", slope, "        delta = delta * (h - h**2)\n", place=inner),
        edit("derivative_at_input", "delta * h**2", "delta * z**2", place=inner, wrong="Z"),
        edit("softmax_diagonal", "(q - Y[:, n])", "Y[:, n] * (q - 1)"),
        edit("softmax_sum_forgotten", "(q - Y[:, n])", "-Y[:, n]"),
        edit("softmax_unnormalised", "np.exp(r) / np.sum(np.exp(r))", "np.exp(r)"),
        edit("updated_before_delta", "np.dot(delta, W2)", "np.dot(delta, W2 - 0.4 * np.outer(delta, h))", place="W2"),
        edit("overwritten", "dW2 = dW2 + DLAM * W2", "dW2 = DLAM * W2", place="W2"),
        edit("w_for_dw", decay["W1"], "    dW1 = 1 * W1\n", place="W1"),
        edit("wrong_variable", "np.outer(delta, h)", "np.outer(delta, x)", place="W2 H", wrong="X"),
        edit("wrong_variable", "np.outer(delta, h)", "np.outer(delta, z)", place="W2 H", wrong="Z"),
        edit("wrong_variable", "np.outer(delta, x)", "np.outer(delta, h)", place="W1 X", wrong="H"),
        edit("detached", "np.dot(delta, W2)", "np.zeros(len(W2))", place=inner),
        edit("detached", "        db2[:, 0] += delta\n", "", place="b2"),
        edit("bias_forgotten", "z = W1 @ x + b1.ravel()", "z = W1 @ x", place="b1"),
        edit("off_by_one", "(q - Y[:, n])", "(q - Y[:, n - 1])"),
        edit("momentum_factor", *after(last, scaled("W1 b1 W2 b2", "0.1 * "))),
    ]
    names = {"W1": "V", "b1": "a", "W2": "U", "b2": "c", "v": "omega", "lam": "rho"}
    return Program(
        *("two layers", "two layers, outer products, columns", ("X", "Y", "v", "lam"), ("W1", "b1", "W2", "b2"), costs),
        *("", gradients, tuple(edits), ("R", "Q", "nll"), draw, ({}, {"Z": "pre", "H": "post", "R": "logits"}, names)),
    )


def two_layers_hinge() -> Program:
    """Rows; a hinge behind a hidden layer; only the second matrix is penalised."""

    def draw(rng: Random) -> dict[str, Any]:
        return square_layers(rng, columns=False)

    costs = {
        "steps": """
    N = X.shape[0]
    Z = X @ W1 + b1
    H = tg.relu(Z)
    S = H @ W2 + b2
    own = tg.sum(Y * S, axis=1, keepdims=True)
    gaps = tg.relu(S - own + 1) * (1 - Y)
    hinge = tg.sum(gaps) / N
    return hinge + CLAM * PENALTY(W2)
""",
        "minus one, labels": """
    N = len(y)
    Z = tg.matmul(X, W1) + b1
    H = tg.maximum(Z, 0)
    S = tg.matmul(H, W2) + b2
    own = tg.reshape(S[np.arange(N), y], (N, 1))
    gaps = tg.maximum(S - own + 1, 0)
    hinge = tg.mean(tg.sum(gaps, axis=1) - 1)
    return hinge + CLAM * PENALTY(W2)
""",
    }
    gradients = """
    N = X.shape[0]
    rows, label = np.arange(N), Y.argmax(axis=1)
    Z = X @ W1 + b1
    H = np.clip(Z, 0, None)
    S = H @ W2 + b2
    gap = S - S[rows, label].reshape(N, 1) + 1
    gap[rows, label] = 0
    dS = np.heaviside(gap, 0)
    dS[rows, label] = -dS.sum(axis=1)
    dS = dS * (1 / N)
    dH = np.inner(dS, W2)
    dZ = dH * np.heaviside(Z, 0)
    dW1 = np.tensordot(X, dZ, axes=(0, 0))
    dW2 = np.tensordot(H, dS, axes=(0, 0)) + DLAM * W2
    db1 = np.ones(N) @ dZ
    db2 = np.ones(N) @ dS
"""
    inner, own = "Z H W1 b1", "    dS[rows, label] = -dS.sum(axis=1)\n"
    last = "    db2 = np.ones(N) @ dS\n"
    edits = [
        *decay_edits({"W2": " + DLAM * W2"}, ("b2", last, "    db2 = np.ones(N) @ dS + DLAM * b2\n")),
        edit(
            "l2_bias",
            "    dW1 = np.tensordot(X, dZ, axes=(0, 0))\n",
            "    dW1 = np.tensordot(X, dZ, axes=(0, 0)) + DLAM * W1\n",
            place="W1",
        ),
        edit("missing_1_over_n", "    dS = dS * (1 / N)\n", ""),
        edit("double_1_over_n", "dS * (1 / N)", "dS * (1 / N**2)"),
        edit("divided_by_other", "dS * (1 / N)", "dS * (1 / S.shape[1])"),
        edit("misplaced_1_over_n", "dH = np.inner(dS, W2)", "dH = N * np.inner(dS, W2)", place=inner, factor="N"),
        edit("db_mean", "np.ones(N) @ dZ", "np.ones(N) / N @ dZ", place="b1"),
        edit("db_mean", "np.ones(N) @ dS", "np.mean(dS, axis=0)", place="b2"),
        edit("db_not_summed", "np.ones(N) @ dS", "dS", place="b2"),
        edit("transposed_factor", "np.inner(dS, W2)", "np.dot(dS, W2)", place="W2"),
        edit("dw_transposed", "np.tensordot(X, dZ", "np.tensordot(dZ, X", place="W1"),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-"))),
        edit("sign_loss", "dS * (1 / N)", "dS * (-1 / N)"),
        edit("hinge_own_missing", own, "", place="own"),
        edit("hinge_own_sign", "= -dS.sum(axis=1)", "= dS.sum(axis=1)", place="own"),
        edit("hinge_own_once", "= -dS.sum(axis=1)", "= -1", place="own"),
        edit("hinge_own_counted", "= -dS.sum(axis=1)", "= -(dS.sum(axis=1) + 1)", place="own"),
        edit("margin_forgotten", "reshape(N, 1) + 1\n", "reshape(N, 1)\n", place="gaps"),
        edit("activation_derivative_missing", "dH * np.heaviside(Z, 0)", "dH", place=inner),
        edit("activation_derivative_missing", "np.heaviside(gap, 0)", "1 - Y", place="gaps"),
        edit("mask_wrong_array", "np.heaviside(Z, 0)", "np.heaviside(X, 0)", place=inner, wrong="X"),
        edit("mask_wrong_array", "np.heaviside(Z, 0)", "np.heaviside(dH, 0)", place=inner, wrong="dH"),
        edit("updated_before_delta", "np.inner(dS, W2)", "np.inner(dS, W2 - 0.5 * H.T @ dS)", place="W2"),
        edit("overwritten", "np.tensordot(H, dS, axes=(0, 0)) + DLAM * W2", "DLAM * W2", place="W2"),
        edit("w_for_dw", "dW1 = np.tensordot(X, dZ, axes=(0, 0))", "dW1 = W1", place="W1"),
        edit("wrong_variable", "np.tensordot(H, dS", "np.tensordot(Z, dS", place="W2 H", wrong="Z"),
        edit("wrong_variable", "np.tensordot(X, dZ", "np.tensordot(H, dZ", place="W1 X", wrong="H"),
        edit("detached", "dH = np.inner(dS, W2)", "dH = np.inner(0 * dS, W2)", place=inner),
        edit("bias_forgotten", "H @ W2 + b2", "H @ W2", place="b2"),
        edit(
            "off_by_one", "label = np.arange(N), Y.argmax(axis=1)", "label = np.arange(N), np.roll(Y, 1, 0).argmax(1)"
        ),
    ]
    names = {"W1": "enc", "b1": "enc_b", "W2": "dec", "b2": "dec_b", "lam": "l2"}
    return Program(
        *("two layers", "two layers, hinge, rows", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs),
        *("Y = np.eye(b2.size)[y]", gradients, tuple(edits), ("S", "gaps", "hinge"), draw),
        ({}, {"Z": "u", "H": "relu_out", "S": "f"}, names),
    )


# -- k layers ----------------------------------------------------------------------------------------------------------


def batch_norm_functions(k: int) -> Program:
    """Rows; functions with a cache for each kind of layer, so that a mistake of a function is one of all layers."""
    hidden = range(1, k)
    weights = tuple(f"W{i}" for i in range(1, k + 1))
    names = {0: "X"} | {i: f"H{i}" for i in hidden}

    def draw(rng: Random) -> dict[str, Any]:
        n, width = rng.choice([8, 11]), rng.choice([3, 5])
        sizes = [4, *[width] * (k - 1), 3]
        arrays = images_and_labels(rng, 3, n, columns=False) | {"X": rng.normal(0, 1, (n, 4)), "lam": 0.02}
        for i in range(1, k + 1):
            arrays[f"W{i}"] = rng.normal(0, 1, (sizes[i - 1], sizes[i]))
        for i in hidden:
            arrays |= {f"gamma{i}": rng.uniform(0.7, 1.5, width), f"beta{i}": rng.normal(0, 0.5, width)}
            arrays[f"M{i}"] = (rng.random((n, width)) < 0.8).astype(float)
        return arrays | {"b": rng.normal(0, 1, 3), "keep": 0.8}

    costs = {
        "steps": "\n    N = X.shape[0]"
        + "".join(
            f"""
    U{i} = {names[i - 1]} @ W{i}
    mean{i} = tg.mean(U{i}, axis=0)
    var{i} = tg.mean((U{i} - mean{i}) ** 2, axis=0)
    B{i} = (U{i} - mean{i}) / tg.sqrt(var{i} + 1e-5)
    T{i} = gamma{i} * B{i} + beta{i}
    R{i} = tg.relu(T{i})
    H{i} = R{i} * M{i} / keep"""
            for i in hidden
        )
        + f"""
    S = H{k - 1} @ W{k} + b
    P = tg.softmax(S, axis=1)
    loss = -tg.mean(tg.log(tg.sum(P * Y, axis=1)))
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
    }
    gradients = """
    def norm_forward(inputs, g, shift):
        centred = inputs - np.mean(inputs, axis=0)
        std = np.sqrt(np.mean(centred * centred, axis=0) + 1e-5)
        return centred / std * g + shift, {"normed": centred / std, "std": std, "g": g}

    def norm_backward(upstream, cache):
        normed = cache["normed"]
        to_g, to_shift = np.sum(upstream * normed, axis=0), np.sum(upstream, axis=0)
        upstream = upstream * cache["g"]
        inner = upstream - upstream.mean(axis=0)
        inner = inner - normed * np.mean(upstream * normed, axis=0)
        return inner / cache["std"], to_g, to_shift

    def relu_dropout_backward(upstream, before, mask):
        upstream = upstream * (mask / keep)
        return np.where(before > 0, upstream, 0.0)

    N = X.shape[0]"""
    gradients += "".join(
        f"""
    T{i}, cache{i} = norm_forward({names[i - 1]} @ W{i}, gamma{i}, beta{i})
    H{i} = np.where(T{i} > 0, T{i}, 0.0) * (M{i} / keep)"""
        for i in hidden
    )
    gradients += f"""
    S = H{k - 1} @ W{k} + b
    P = np.exp(S - np.log(np.exp(S).sum(axis=1, keepdims=True)))
    dS = (P - Y) / N
    dW{k} = H{k - 1}.T @ dS + DLAM * W{k}
    db = dS.sum(axis=0)
    dH{k - 1} = dS @ W{k}.T"""
    for i in reversed(hidden):
        gradients += f"""
    dT{i} = relu_dropout_backward(dH{i}, T{i}, M{i})
    dU{i}, dgamma{i}, dbeta{i} = norm_backward(dT{i}, cache{i})
    dW{i} = {names[i - 1]}.T @ dU{i} + DLAM * W{i}"""
        if i > 1:
            gradients += f"\n    dH{i - 1} = dU{i} @ W{i}.T"
    gradients += "\n"

    def everywhere(*stems: str) -> str:
        return " ".join(f"{stem}{i}" for i in hidden for stem in stems)

    norm, relu = everywhere("B", "U", "mean", "var", "W", "gamma"), everywhere("T", "R", "H")
    correction = "        inner = inner - normed * np.mean(upstream * normed, axis=0)\n"
    centring = "inner = upstream - upstream.mean(axis=0)"
    edits = [
        *decay_edits(
            {w: f" + DLAM * {w}" for w in reversed(weights)}, ("b", "dS.sum(axis=0)", "dS.sum(axis=0) + DLAM * b")
        ),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N**2"),
        edit("divided_by_other", "(P - Y) / N", "(P - Y) / P.shape[1]"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("softmax_diagonal", "(P - Y)", "(Y * P - Y)"),
        edit("softmax_sum_forgotten", "(P - Y)", "(0 * P - Y)"),
        edit("softmax_unnormalised", "np.exp(S - np.log(np.exp(S).sum(axis=1, keepdims=True)))", "np.exp(S)"),
        edit("db_mean", "dS.sum(axis=0)", "dS.mean(axis=0)", place="b"),
        edit("db_wrong_axis", "dS.sum(axis=0)", "dS.sum(axis=1)", place="b"),
        edit("db_from_dw", "db = dS.sum(axis=0)", f"db = dW{k}.sum(axis=0)", place="b"),
        edit("db_mean", "np.sum(upstream, axis=0)", "np.mean(upstream, axis=0)", place=everywhere("beta")),
        edit("db_not_summed", "np.sum(upstream, axis=0)", "upstream", place=everywhere("beta")),
        edit("bias_forgotten", f"S = H{k - 1} @ W{k} + b", f"S = H{k - 1} @ W{k}", place="b"),
        edit("bn_mean_var_constant", centring, "inner = upstream", correction, "", place=norm),
        edit("bn_mean_constant", centring, "inner = upstream", place=norm),
        edit("bn_var_constant", correction, "", place=norm),
        edit("bn_gamma_missing", '        upstream = upstream * cache["g"]\n', "", place=norm),
        edit("activation_derivative_missing", "np.where(before > 0, upstream, 0.0)", "upstream", place=relu),
        edit("dropout_mask_missing", "upstream * (mask / keep)", "upstream / keep", place=f"{relu} {everywhere('M')}"),
        edit("dropout_not_scaled", "upstream * (mask / keep)", "upstream * mask", place=f"{relu} {everywhere('M')}"),
        edit("w_for_dw", f"dW{k} = H{k - 1}.T @ dS + DLAM * W{k}", f"dW{k} = W{k}", place=f"W{k}"),
        edit("overwritten", f"H{k - 1}.T @ dS + DLAM * W{k}", f"DLAM * W{k}", place=f"W{k}"),
        edit("off_by_one", f"H{k - 1}.T @ dS", f"H{k - 1}[1:].T @ dS[1:]", place=f"W{k}"),
    ]
    for i in hidden:
        here, delta = f"T{i} R{i} H{i}", "dS" if i == k - 1 else f"dU{i + 1}"
        arrive = f"dH{i} = {delta} @ W{i + 1}.T"
        edits += [
            edit(
                "mask_wrong_array",
                f"(dH{i}, T{i}, M{i})",
                f"(dH{i}, cache{i}['normed'], M{i})",
                place=here,
                wrong=f"B{i}",
            ),
            edit("detached", arrive, f"dH{i} = np.zeros(H{i}.shape)", place=f"{here} W{i + 1}"),
            edit("sign_param", arrive, f"dH{i} = -{delta} @ W{i + 1}.T", place=f"{here} W{i + 1}"),
            edit("updated_before_delta", f"@ W{i + 1}.T", f"@ (W{i + 1} - 0.2 * dW{i + 1}).T", place=f"W{i + 1}"),
            edit("wrong_variable", f"H{i}.T @ {delta}", f"T{i}.T @ {delta}", place=f"W{i + 1} H{i}", wrong=f"T{i}"),
        ]
        if i > 1:
            edits.append(edit("transposed_factor", f"@ W{i}.T", f"@ W{i}", place=f"W{i}"))
            edits.append(
                edit("dw_transposed", f"H{i - 1}.T @ dU{i}", f"dU{i}.T @ H{i - 1}", place=f"W{i}"),
            )
    parameters = (*weights, "b", *[f"{p}{i}" for i in hidden for p in ("gamma", "beta")])
    other = {f"gamma{i}": f"bn_scale{i}" for i in hidden} | {f"beta{i}": f"bn_shift{i}" for i in hidden}
    return Program(
        *("k layers", f"{k} layers, functions, rows", ("X", "Y", "lam", *[f"M{i}" for i in hidden], "keep")),
        *(parameters, costs, "", gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, other, {"lam": "reg", "S": "logits"} | {f"M{i}": f"kept{i}" for i in hidden}),
    )


def batch_norm_steps(k: int) -> Program:
    """Columns; each operation of batch norm is a step of its own, on the way back, too; the masks contain the scale."""
    hidden = range(1, k)
    weights = tuple(f"W{i}" for i in range(1, k + 1))
    names = {0: "X"} | {i: f"O{i}" for i in hidden}

    def draw(rng: Random) -> dict[str, Any]:
        n, width = rng.choice([9, 12]), rng.choice([3, 4])
        sizes = [5, *[width] * (k - 1), 3]
        arrays = images_and_labels(rng, 3, n, columns=True) | {"X": rng.normal(0, 1, (5, n)), "lam": 0.03}
        for i in range(1, k + 1):
            arrays[f"W{i}"] = rng.normal(0, 1, (sizes[i], sizes[i - 1]))
            arrays[f"b{i}"] = rng.normal(0, 1, (sizes[i], 1))
        for i in hidden:
            arrays |= {f"g{i}": rng.uniform(0.6, 1.4, (width, 1)), f"h{i}": rng.normal(0, 0.5, (width, 1))}
            arrays[f"M{i}"] = np.where(rng.random((width, n)) < 0.7, 1 / 0.7, 0.0)
        return arrays

    head = "\n    N = X.shape[1]"
    last = f"""
    S = W{k} @ O{k - 1} + b{k}
    P = tg.softmax(S, axis=0)
    data = -tg.sum(Y * tg.log(P)) / N
    return data + CLAM * PENALTY({", ".join(weights)})
"""
    costs = {
        "steps": head
        + "".join(
            f"""
    Z{i} = W{i} @ {names[i - 1]} + b{i}
    m{i} = tg.mean(Z{i}, axis=1, keepdims=True)
    C{i} = Z{i} - m{i}
    v{i} = tg.mean(tg.square(C{i}), axis=1, keepdims=True)
    B{i} = C{i} / tg.sqrt(v{i} + 1e-4)
    T{i} = g{i} * B{i} + h{i}
    R{i} = tg.relu(T{i})
    O{i} = R{i} * M{i}"""
            for i in hidden
        )
        + last,
        "power, labels": head
        + "".join(
            f"""
    Z{i} = tg.matmul(W{i}, {names[i - 1]}) + b{i}
    C{i} = Z{i} - Z{i}.mean(axis=1, keepdims=True)
    B{i} = C{i} * (Z{i}.var(axis=1, keepdims=True) + 1e-4) ** -0.5
    O{i} = tg.maximum(B{i} * g{i} + h{i}, 0) * M{i}"""
            for i in hidden
        )
        + last.replace("tg.sum(Y * tg.log(P))", "tg.log(P[y, np.arange(N)]).sum()"),
    }
    gradients = head + "".join(
        f"""
    Z{i} = W{i} @ {names[i - 1]} + b{i}
    C{i} = Z{i} - np.average(Z{i}, axis=1)[:, None]
    root{i} = np.sqrt(np.average(C{i} ** 2, axis=1) + 1e-4)[:, None]
    inv{i} = 1 / root{i}
    B{i} = C{i} * inv{i}
    T{i} = g{i} * B{i} + h{i}
    O{i} = T{i} * (T{i} > 0) * M{i}"""
        for i in hidden
    )
    gradients += f"""
    S = W{k} @ O{k - 1} + b{k}
    P = np.exp(S)
    P = P / P.sum(axis=0, keepdims=True)
    top = (P - Y) / N
    dW{k} = np.dot(top, O{k - 1}.T) + DLAM * W{k}
    db{k} = np.sum(top, axis=1).reshape(-1, 1)
    gO{k - 1} = np.dot(W{k}.T, top)"""
    for i in reversed(hidden):
        gradients += f"""
    gR{i} = gO{i} * M{i}
    gT{i} = gR{i} * (T{i} > 0)
    dh{i} = np.sum(gT{i}, axis=1, keepdims=True)
    dg{i} = np.sum(gT{i} * B{i}, axis=1, keepdims=True)
    gB{i} = gT{i} * g{i}
    ginv{i} = np.sum(gB{i} * C{i}, axis=1, keepdims=True)
    groot{i} = -ginv{i} / root{i} ** 2
    gv{i} = 0.5 * groot{i} / root{i}
    gC{i} = gB{i} * inv{i}
    gC{i} += 2 * C{i} * gv{i} / N
    gZ{i} = gC{i}
    gZ{i} = gZ{i} - np.sum(gC{i}, axis=1, keepdims=True) / N
    dW{i} = np.dot(gZ{i}, {names[i - 1]}.T) + DLAM * W{i}
    db{i} = np.sum(gZ{i}, axis=1, keepdims=True)"""
        if i > 1:
            gradients += f"\n    gO{i - 1} = np.dot(W{i}.T, gZ{i})"
    gradients += "\n"
    sum_top = "np.sum(top, axis=1).reshape(-1, 1)"
    edits = [
        *decay_edits({w: f" + DLAM * {w}" for w in weights}, (f"b{k}", sum_top, f"{sum_top} + DLAM * b{k}")),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N / N"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("softmax_diagonal", "(P - Y)", "Y * (P - 1)"),
        edit("softmax_sum_forgotten", "(P - Y)", "(-Y)"),
        edit("softmax_unnormalised", "    P = P / P.sum(axis=0, keepdims=True)\n", ""),
        edit("db_mean", sum_top, "np.mean(top, axis=1).reshape(-1, 1)", place=f"b{k}"),
        edit("db_not_summed", sum_top, "top", place=f"b{k}"),
        edit("db_from_dw", sum_top, f"np.sum(dW{k}, axis=1).reshape(-1, 1)", place=f"b{k}"),
        edit("bias_forgotten", f"S = W{k} @ O{k - 1} + b{k}", f"S = W{k} @ O{k - 1}", place=f"b{k}"),
        edit("w_for_dw", f"dW{k} = np.dot(top, O{k - 1}.T) + DLAM * W{k}", f"dW{k} = W{k}", place=f"W{k}"),
        edit("off_by_one", "(P - Y)", "(P - np.roll(Y, 1, axis=1))"),
    ]
    for i in hidden:
        norm, relu = f"B{i} C{i} Z{i} m{i} v{i} W{i} g{i}", f"T{i} R{i} O{i}"
        variance, mean = f"    gC{i} += 2 * C{i} * gv{i} / N\n", f" - np.sum(gC{i}, axis=1, keepdims=True) / N"
        delta = "top" if i == k - 1 else f"gZ{i + 1}"
        arrive = f"gO{i} = np.dot(W{i + 1}.T, {delta})"
        edits += [
            edit("bn_mean_var_constant", variance, "", mean, "", place=norm),
            edit("bn_var_constant", variance, "", place=norm),
            edit("bn_mean_constant", mean, "", place=norm),
            edit("bn_gamma_missing", f"gT{i} * g{i}\n", f"gT{i}\n", place=norm),
            edit("activation_derivative_missing", f"gR{i} * (T{i} > 0)", f"gR{i}", place=relu),
            edit("mask_wrong_array", f"gR{i} * (T{i} > 0)", f"gR{i} * (Z{i} > 0)", place=relu, wrong=f"Z{i}"),
            edit("dropout_mask_missing", f"gO{i} * M{i}", f"gO{i}", place=f"{relu} M{i}"),
            edit("dropout_not_scaled", f"gO{i} * M{i}", f"gO{i} * np.sign(M{i})", place=f"{relu} M{i}"),
            edit("db_mean", f"dh{i} = np.sum(", f"dh{i} = np.mean(", place=f"h{i}"),
            edit("wrong_variable", f"gT{i} * B{i}", f"gT{i} * C{i}", place=f"g{i} B{i}", wrong=f"C{i}"),
            edit("detached", arrive, f"gO{i} = 0 * O{i}", place=f"{relu} W{i + 1}"),
            edit("sign_param", arrive, f"gO{i} = -np.dot(W{i + 1}.T, {delta})", place=f"{relu} W{i + 1}"),
            edit(
                "updated_before_delta",
                arrive,
                f"V = W{i + 1} - 0.3 * dW{i + 1}\n    gO{i} = np.dot(V.T, {delta})",
                place=f"W{i + 1}",
            ),
        ]
        if i > 1:
            edits += [
                edit("transposed_factor", f"np.dot(W{i}.T, gZ{i})", f"np.dot(W{i}, gZ{i})", place=f"W{i}"),
                edit("dw_transposed", f"np.dot(gZ{i}, O{i - 1}.T)", f"np.dot(O{i - 1}, gZ{i}.T)", place=f"W{i}"),
                edit(
                    "wrong_variable",
                    f"np.dot(gZ{i}, O{i - 1}.T)",
                    f"np.dot(gZ{i}, B{i - 1}.T)",
                    place=f"W{i} O{i - 1}",
                    wrong=f"B{i - 1}",
                ),
            ]
    parameters = (*weights, *[f"b{i}" for i in range(1, k + 1)], *[f"{p}{i}" for p in "gh" for i in hidden])
    return Program(
        *("k layers", f"{k} layers, single steps, columns", ("X", "Y", "lam", *[f"M{i}" for i in hidden]), parameters),
        *(costs, f"Y = np.eye(len(b{k}))[:, y]", gradients, tuple(edits), ("S", "P", "data"), draw),
        ({}, {f"g{i}": f"gain{i}" for i in hidden} | {f"h{i}": f"offset{i}" for i in hidden} | {"lam": "wd"}),
    )


def norm_after_activation() -> Program:
    """Rows, three layers; sigmoid, then batch norm, whose Jacobian is written out, then dropout without a scale."""

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([8, 10]), rng.choice([3, 4])
        arrays = images_and_labels(rng, 3, n, columns=False) | {"X": rng.normal(0, 1, (n, m)), "lam": 0.02}
        for i, outputs in ((1, m), (2, m), (3, 3)):
            arrays |= {f"W{i}": rng.normal(0, 1, (m, outputs)), f"c{i}": rng.normal(0, 1, outputs)}
        for i in (1, 2):
            arrays |= {f"gamma{i}": rng.uniform(0.7, 1.5, m), f"M{i}": (rng.random((n, m)) < 0.75).astype(float)}
        return arrays

    names = {0: "X", 1: "H1", 2: "H2"}
    costs = {
        "steps": "\n    N = len(X)"
        + "".join(
            f"""
    A{i} = {names[i - 1]} @ W{i} + c{i}
    F{i} = tg.sigmoid(A{i})
    mu{i} = F{i}.mean(axis=0)
    var{i} = F{i}.var(axis=0)
    B{i} = (F{i} - mu{i}) / tg.sqrt(var{i} + 1e-4)
    H{i} = gamma{i} * B{i} * M{i}"""
            for i in (1, 2)
        )
        + """
    L = H2 @ W3 + c3
    ce = tg.logsumexp(L, axis=1) - tg.sum(L * Y, axis=1)
    return tg.mean(ce) + CLAM * PENALTY(W1, W2, W3)
""",
    }
    gradients = "\n    N = len(X)" + "".join(
        f"""
    A{i} = np.add({names[i - 1]} @ W{i}, c{i})
    F{i} = np.reciprocal(1 + np.exp(-A{i}))
    sd{i} = np.sqrt(F{i}.var(axis=0) + 1e-4)
    B{i} = (F{i} - F{i}.mean(axis=0)) / sd{i}
    H{i} = gamma{i} * B{i} * M{i}"""
        for i in (1, 2)
    )
    gradients += """
    expL = np.exp(np.add(H2 @ W3, c3))
    Q = expL / expL.sum(axis=1, keepdims=True)
    gA3 = (Q - Y) / N
    dW3 = H2.T @ gA3 + DLAM * W3
    dc3 = np.add.reduce(gA3)"""
    for i in (2, 1):
        gradients += f"""
    gH{i} = gA{i + 1} @ W{i + 1}.T
    gH{i} = gH{i} * M{i}
    dgamma{i} = np.add.reduce(gH{i} * B{i})
    gB{i} = gH{i} * gamma{i}
    gF{i} = np.empty(F{i}.shape)
    for j in range(F{i}.shape[1]):
        jacobian{i} = np.eye(N)
        jacobian{i} = jacobian{i} - 1 / N
        jacobian{i} = jacobian{i} - np.outer(B{i}[:, j], B{i}[:, j]) / N
        gF{i}[:, j] = jacobian{i} @ gB{i}[:, j] / sd{i}[j]
    gA{i} = gF{i} * (F{i} - F{i} ** 2)
    dW{i} = {names[i - 1]}.T @ gA{i} + DLAM * W{i}
    dc{i} = np.add.reduce(gA{i})"""
    gradients += "\n"
    edits = [
        *decay_edits(
            {f"W{i}": f" + DLAM * W{i}" for i in (1, 2, 3)},
            ("c1", "np.add.reduce(gA1)", "np.add.reduce(gA1) + DLAM * c1"),
        ),
        edit("missing_1_over_n", "(Q - Y) / N", "(Q - Y)"),
        edit("double_1_over_n", "(Q - Y) / N", "(Q - Y) / N**2"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit("softmax_sum_forgotten", "(Q - Y)", "(0 - Y)"),
        edit("softmax_diagonal", "(Q - Y)", "-Y * (1 - Q)"),
        edit("softmax_unnormalised", "expL / expL.sum(axis=1, keepdims=True)", "expL"),
        edit("db_mean", "np.add.reduce(gA3)", "gA3.mean(axis=0)", place="c3"),
        edit("db_not_summed", "np.add.reduce(gA3)", "gA3", place="c3"),
        edit("w_for_dw", "dW3 = H2.T @ gA3 + DLAM * W3", "dW3 = W3", place="W3"),
        edit("overwritten", "H2.T @ gA3 + DLAM * W3", "DLAM * W3", place="W3"),
        edit("bias_forgotten", "np.add(H2 @ W3, c3)", "H2 @ W3", place="c3"),
    ]
    for i in (2, 1):
        here, norm = f"A{i} F{i} W{i} c{i}", f"B{i} F{i} A{i} mu{i} var{i} W{i} c{i}"
        mean = f"        jacobian{i} = jacobian{i} - 1 / N\n"
        variance = f"        jacobian{i} = jacobian{i} - np.outer(B{i}[:, j], B{i}[:, j]) / N\n"
        edits += [
            edit("bn_mean_var_constant", mean, "", variance, "", place=norm),
            edit("bn_mean_constant", mean, "", place=norm),
            edit("bn_var_constant", variance, "", place=norm),
            edit("bn_gamma_missing", f"gH{i} * gamma{i}\n", f"gH{i}\n", place=f"{norm} gamma{i}"),
            edit("dropout_mask_missing", f"    gH{i} = gH{i} * M{i}\n", "", place=f"H{i} B{i} M{i}"),
            edit("activation_derivative_missing", f"gF{i} * (F{i} - F{i} ** 2)", f"gF{i}", place=here),
            edit("other_derivative", f"(F{i} - F{i} ** 2)", f"(1 - F{i} ** 2)", place=here),
            edit("derivative_at_input", f"(F{i} - F{i} ** 2)", f"(A{i} - A{i} ** 2)", place=here, wrong=f"A{i}"),
            edit("wrong_variable", f"gH{i} * B{i}", f"gH{i} * F{i}", place=f"gamma{i} B{i}", wrong=f"F{i}"),
            edit("wrong_variable", f"H{i}.T @ gA{i + 1}", f"F{i}.T @ gA{i + 1}", place=f"W{i + 1} H{i}", wrong=f"F{i}"),
            edit("updated_before_delta", f"@ W{i + 1}.T", f"@ (W{i + 1} - 0.3 * dW{i + 1}).T", place=f"W{i + 1}"),
            edit("detached", f"gA{i + 1} @ W{i + 1}.T", f"0 * gA{i + 1} @ W{i + 1}.T", place=f"H{i} B{i} W{i + 1}"),
            edit("db_from_dw", f"np.add.reduce(gA{i})", f"np.add.reduce({names[i - 1]}.T @ gA{i})", place=f"c{i}"),
        ]
    edits += [
        edit("transposed_factor", "gA2 @ W2.T", "gA2 @ W2", place="W2"),
        edit("dw_transposed", "H1.T @ gA2", "gA2.T @ H1", place="W2"),
        edit("misplaced_1_over_n", "gA3 @ W3.T", "N * gA3 @ W3.T", place="H2 B2", factor="N"),
    ]
    parameters = ("W1", "c1", "gamma1", "W2", "c2", "gamma2", "W3", "c3")
    return Program(
        *("k layers", "3 layers, norm after sigmoid, rows", ("X", "Y", "lam", "M1", "M2"), parameters, costs, ""),
        *(gradients, tuple(edits), ("L", "ce"), draw),
        ({}, {"gamma1": "s1", "gamma2": "s2", "lam": "decay"}, {f"W{i}": f"theta{i}" for i in (1, 2, 3)}),
    )


# -- patchify ----------------------------------------------------------------------------------------------------------


def windows_of_images() -> Program:
    """Rows; overlapping patches as a view of the images, and a hidden layer."""

    def draw(rng: Random) -> dict[str, Any]:
        n, side, filters, m = rng.choice([7, 9]), rng.choice([3, 4]), 2, rng.choice([3, 4])
        arrays = images_and_labels(rng, 3, n, columns=False) | {"X": rng.normal(0, 1, (n, side, side, 2))}
        arrays |= {"K": rng.normal(0, 0.7, (2, 2, 2, filters)), "k0": rng.normal(0, 0.5, filters), "lam": 0.05}
        arrays |= {"W1": rng.normal(0, 0.7, ((side - 1) ** 2 * filters, m)), "b1": rng.normal(0, 0.5, (1, m))}
        return arrays | {"W2": rng.normal(0, 0.8, (m, 3)), "b2": rng.normal(0, 0.5, (1, 3))}

    head = """
    N = X.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(X, (2, 2), axis=(1, 2))"""
    tail = """
    R = tg.relu(C)
    flat = R.reshape(N, -1)
    Z = flat @ W1 + b1
    H = tg.relu(Z)
    S = H @ W2 + b2
"""
    costs = {
        "tensordot": f"""{head}
    C = tg.tensordot(windows, K, axes=([4, 5, 3], [0, 1, 2])) + k0{tail}    P = tg.softmax(S, axis=1)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss + CLAM * PENALTY(K, W1, W2)
""",
        "einsum, labels": f"""{head}
    C = tg.einsum("nabcij,ijck->nabk", windows, K) + k0{tail}    P = tg.softmax(S, axis=1)
    loss = -tg.mean(tg.log(P[np.arange(N), y]))
    return loss + CLAM * PENALTY(K, W1, W2)
""",
    }
    gradients = f"""{head}
    C = np.tensordot(windows, K, axes=([4, 5, 3], [0, 1, 2])) + k0
    flat = C.clip(min=0).reshape(N, -1)
    Z = flat @ W1 + b1
    H = Z.clip(min=0)
    P = np.exp(H @ W2 + b2)
    P = P / P.sum(axis=1, keepdims=True)
    gS = np.where(Y == 1, P - 1, P) / N
    gZ = np.where(Z > 0, gS @ W2.T, 0)
    gR = (gZ @ W1.T).reshape(C.shape)
    gC = np.where(C > 0, gR, 0)
    dW2 = H.T @ gS + DLAM * W2
    db2 = gS.sum(axis=0, keepdims=True)
    dW1 = flat.T @ gZ + DLAM * W1
    db1 = gZ.sum(axis=0, keepdims=True)
    dK = np.tensordot(windows, gC, axes=([0, 1, 2], [0, 1, 2])).transpose(1, 2, 0, 3)
    dk0 = gC.reshape(-1, len(k0)).sum(axis=0)
    dK = dK + DLAM * K
"""
    delta, conv, last = "np.where(Y == 1, P - 1, P) / N", "C R K k0 flat", "    dK = dK + DLAM * K\n"
    decay = {"K": " + DLAM * K", "W1": " + DLAM * W1", "W2": " + DLAM * W2"}
    edits = [
        *decay_edits(decay, ("k0", *after(last, "    dk0 = dk0 + DLAM * k0\n"))),
        edit("missing_1_over_n", delta, delta.removesuffix(" / N")),
        edit("double_1_over_n", delta, f"{delta}**2"),
        edit(
            "misplaced_1_over_n",
            "gC = np.where(C > 0, gR, 0)",
            "gC = np.where(C > 0, gR, 0) / N",
            place="C K k0",
            factor="1/N",
        ),
        edit("db_mean", "len(k0)).sum(", "len(k0)).mean(", place="k0"),
        edit("db_mean", "gZ.sum(", "gZ.mean(", place="b1"),
        edit("db_not_summed", "gS.sum(axis=0, keepdims=True)", "gS", place="b2"),
        edit("db_wrong_axis", "gC.reshape(-1, len(k0)).sum(axis=0)", "gC.sum(axis=(0, 1, 3))", place="k0"),
        edit("sign_loss", delta, delta.replace("P - 1, P", "1 - P, -P")),
        edit("sign_param", "gR = (gZ @ W1.T)", "gR = (-gZ @ W1.T)", place=conv),
        edit("activation_derivative_missing", "np.where(C > 0, gR, 0)", "gR", place="C R K k0"),
        edit("activation_derivative_missing", "np.where(Z > 0, gS @ W2.T, 0)", "gS @ W2.T", place="Z H W1 b1"),
        edit("mask_wrong_array", "np.where(C > 0, gR, 0)", "np.where(gR > 0, gR, 0)", place="C R K", wrong="gR"),
        edit("softmax_diagonal", delta, "np.where(Y == 1, P - 1, 0) / N"),
        edit("softmax_sum_forgotten", delta, "np.where(Y == 1, -1, 0) / N"),
        edit("softmax_unnormalised", "    P = P / P.sum(axis=1, keepdims=True)\n", ""),
        edit("overwritten", last, "    dK = DLAM * K\n", place="K"),
        edit("updated_before_delta", "(gZ @ W1.T)", "(gZ @ (W1 - 0.5 * flat.T @ gZ).T)", place="W1"),
        edit("w_for_dw", last, "    dK = K\n", place="K"),
        edit("wrong_variable", "dW2 = H.T @", "dW2 = Z.T @", place="W2 H", wrong="Z"),
        edit("wrong_variable", "dW1 = flat.T @", "dW1 = C.reshape(N, -1).T @", place="W1 flat R", wrong="C"),
        edit("detached", "gR = (gZ @ W1.T)", "gR = (0 * gZ @ W1.T)", place=conv),
        edit("filter_flipped", last, "    dK = np.rot90(dK, 2) + DLAM * K\n", place="K"),
        edit("channels_swapped", last, "    dK = np.flip(dK, axis=2) + DLAM * K\n", place="K"),
        edit("filter_transposed", "transpose(1, 2, 0, 3)", "transpose(2, 1, 0, 3)", place="K"),
        edit("bias_forgotten", "[0, 1, 2])) + k0", "[0, 1, 2]))", place="k0"),
        edit("off_by_one", "windows, gC, axes", "windows[1:], gC[1:], axes", place="K"),
        edit("momentum_factor", *after(last, scaled("K k0 W1 b1 W2 b2", "0.1 * "))),
    ]
    return Program(
        *("patchify", "patchify, windows, rows", ("X", "Y", "lam"), ("K", "k0", "W1", "b1", "W2", "b2"), costs),
        *("Y = np.eye(b2.size)[y]", gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, {"K": "conv_w", "k0": "conv_b", "lam": "reg"}, {"C": "maps", "R": "fmap", "W1": "Wa", "W2": "Wb"}),
    )


def two_filter_banks() -> Program:
    """Columns; two banks of filters on the same patches, joined before a linear layer."""

    def draw(rng: Random) -> dict[str, Any]:
        places, values, n, filters = rng.choice([3, 4]), rng.choice([4, 5]), rng.choice([8, 10]), 2
        arrays = images_and_labels(rng, 3, n, columns=True) | {"X": rng.normal(0, 1, (n, places, values))}
        for i in (1, 2):
            arrays |= {f"F{i}": rng.normal(0, 0.8, (values, filters)), f"f{i}": rng.normal(0, 0.5, filters)}
        arrays |= {"W": rng.normal(0, 0.7, (3, 2 * places * filters)), "b": rng.normal(0, 0.7, (3, 1))}
        return arrays | {"lam": 0.04}

    costs = {
        "steps": """
    N = X.shape[0]
    C1 = tg.matmul(X, F1) + f1
    C2 = tg.matmul(X, F2) + f2
    R1 = tg.relu(C1)
    R2 = tg.tanh(C2)
    flat = tg.concatenate([R1.reshape(N, -1), R2.reshape(N, -1)], axis=1)
    S = W @ flat.T + b
    P = tg.softmax(S, axis=0)
    loss = -tg.mean(tg.log(tg.sum(Y * P, axis=0)))
    return loss + CLAM * PENALTY(F1, F2, W)
""",
    }
    gradients = """
    N, places, values = X.shape
    patches = X.reshape(N * places, values)
    C1, C2 = patches @ F1 + f1, patches @ F2 + f2
    R1, R2 = np.maximum(C1, 0.0), np.tanh(C2)
    flat = np.hstack([R1.reshape(N, -1), R2.reshape(N, -1)])
    S = W @ flat.T + b
    P = np.exp(S - S.max(axis=0))
    P = P / P.sum(axis=0)
    delta = (P - Y) / N
    dW = delta @ flat + DLAM * W
    db = delta @ np.ones((N, 1))
    to1, to2 = np.hsplit(delta.T @ W, 2)
    to1, to2 = to1.reshape(C1.shape), to2.reshape(C2.shape)
    to1 = to1 * np.sign(R1)
    to2 = to2 - to2 * R2 * R2
    dF1, df1 = patches.T @ to1, to1.sum(axis=0)
    dF2, df2 = patches.T @ to2, to2.sum(axis=0)
    dF1 = dF1 + DLAM * F1
    dF2 = dF2 + DLAM * F2
"""
    last = "    dF2 = dF2 + DLAM * F2\n"
    bank1, bank2 = "C1 R1 F1 f1", "C2 R2 F2 f2"
    decay = {"W": " + DLAM * W", "F1": " + DLAM * F1", "F2": " + DLAM * F2"}
    edits = [
        *decay_edits(decay, ("f1", *after(last, "    df1 = df1 + DLAM * f1\n"))),
        edit("missing_1_over_n", "(P - Y) / N", "(P - Y)"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N**2"),
        edit(
            "misplaced_1_over_n",
            "np.hsplit(delta.T @ W, 2)",
            "np.hsplit(delta.T @ W / N, 2)",
            place="flat C1 C2 R1 R2",
            factor="1/N",
        ),
        edit("db_mean", "to1.sum(axis=0)", "to1.mean(axis=0)", place="f1"),
        edit("db_mean", "delta @ np.ones((N, 1))", "np.mean(delta, axis=1, keepdims=True)", place="b"),
        edit("db_not_summed", "to2.sum(axis=0)", "to2", place="f2"),
        edit("db_wrong_axis", "to2.sum(axis=0)", "to2.sum(axis=1)", place="f2"),
        edit("db_from_dw", "to1.sum(axis=0)", "(patches.T @ to1).sum(axis=0)", place="f1"),
        edit("dw_transposed", "dW = delta @ flat + DLAM * W", "dW = flat.T @ delta.T + DLAM * W.T", place="W"),
        edit("sign_loss", "(P - Y)", "(Y - P)"),
        edit("sign_param", "to2 = to2 - to2 * R2 * R2", "to2 = to2 * R2 * R2 - to2", place=bank2),
        edit("activation_derivative_missing", "    to1 = to1 * np.sign(R1)\n", "", place=bank1),
        edit("activation_derivative_missing", "    to2 = to2 - to2 * R2 * R2\n", "", place=bank2),
        edit("other_derivative", "to2 - to2 * R2 * R2", "to2 * R2 * (1 - R2)", place=bank2),
        edit("derivative_at_input", "to2 * R2 * R2", "to2 * C2 * C2", place=bank2, wrong="C2"),
        edit("mask_wrong_array", "np.sign(R1)", "(C2 > 0)", place=bank1, wrong="C2"),
        edit("mask_wrong_array", "np.sign(R1)", "(to1 > 0)", place=bank1, wrong="to1"),
        edit("softmax_diagonal", "(P - Y)", "(P - 1) * Y"),
        edit("softmax_sum_forgotten", "(P - Y)", "(0 - Y)"),
        edit("softmax_unnormalised", "    P = P / P.sum(axis=0)\n", ""),
        edit("overwritten", "dF1 = dF1 + DLAM * F1", "dF1 = DLAM * F1", place="F1"),
        edit("updated_before_delta", "delta.T @ W, 2)", "delta.T @ (W - 0.5 * dW), 2)", place="W"),
        edit("w_for_dw", last, "    dF2 = np.copy(F2)\n", place="F2"),
        edit(
            "detached",
            "to1, to2 = np.hsplit(delta.T @ W, 2)",
            "to1, to2 = np.zeros(R1.shape), np.zeros(R2.shape)",
            place="flat C1 C2 R1 R2",
        ),
        edit("bias_forgotten", "patches @ F1 + f1", "patches @ F1", place="f1"),
        edit("off_by_one", "(P - Y)", "(P - np.roll(Y, -1, axis=1))"),
    ]
    return Program(
        *("patchify", "patchify, two banks, columns", ("X", "Y", "lam"), ("F1", "f1", "F2", "f2", "W", "b"), costs, ""),
        *(gradients, tuple(edits), ("S", "P", "loss"), draw),
        (
            {},
            {"F1": "bank_a", "f1": "bias_a", "F2": "bank_b", "f2": "bias_b"},
            {"W": "head", "b": "head_b", "lam": "l2"},
        ),
    )


def averaged_patches() -> Program:
    """Rows; patches as columns of a matrix for each image, the mean over the places, and a linear layer."""

    def draw(rng: Random) -> dict[str, Any]:
        places, n, m = rng.choice([4, 5]), rng.choice([8, 11]), 3
        arrays = images_and_labels(rng, m, n, columns=False) | {"X": rng.normal(0, 1, (n, m, places))}
        arrays |= {"G": rng.normal(0, 0.9, (m, m)), "q": rng.normal(0, 0.6, (m, 1)), "lam": 0.08}
        return arrays | {"W": rng.normal(0, 1, (m, m)), "b": rng.normal(0, 0.7, m)}

    costs = {
        "steps": """
    N = X.shape[0]
    C = tg.matmul(G, X) + q
    A = tg.sigmoid(C)
    pooled = tg.mean(A, axis=2)
    T = pooled @ W + b
    logs = T - tg.logsumexp(T, axis=1, keepdims=True)
    return -tg.sum(logs * Y) / N + CLAM * PENALTY(G, W)
""",
        "tanh form, labels": """
    N = len(y)
    C = G @ X + q
    A = 0.5 * tg.tanh(C / 2) + 0.5
    pooled = A.mean(axis=2)
    T = tg.matmul(pooled, W) + b
    logs = tg.log(tg.softmax(T, axis=1))
    return -tg.mean(logs[np.arange(N), y]) + CLAM * PENALTY(G, W)
""",
    }
    gradients = """
    N, places = X.shape[0], X.shape[2]
    C = np.stack([G @ x + q for x in X])
    A = 1 / (1 + np.exp(-C))
    pooled = A.sum(axis=2) / places
    E = np.exp(pooled @ W + b)
    prob = E / E.sum(axis=1, keepdims=True)
    gT = (prob - Y) / N
    dW = pooled.T @ gT + DLAM * W
    db = np.sum(gT, axis=0)
    gpooled = gT @ W.T
    gA = np.repeat(gpooled[:, :, None], places, axis=2) / places
    gC = np.multiply(gA, A * (1 - A))
    dG = np.sum([g @ x.T for g, x in zip(gC, X)], axis=0) + DLAM * G
    dq = np.sum(gC, axis=(0, 2)).reshape(q.shape)
"""
    conv = "C A G q"
    products = "np.sum([g @ x.T for g, x in zip(gC, X)], axis=0)"
    last = "    dq = np.sum(gC, axis=(0, 2)).reshape(q.shape)\n"
    edits = [
        *decay_edits(
            {"W": " + DLAM * W", "G": " + DLAM * G"}, ("b", "np.sum(gT, axis=0)", "np.sum(gT, axis=0) + DLAM * b")
        ),
        edit("missing_1_over_n", "(prob - Y) / N", "(prob - Y)"),
        edit("double_1_over_n", "(prob - Y) / N", "(prob - Y) / N / N"),
        edit("misplaced_1_over_n", products, products.replace("np.sum", "np.mean"), place="G", factor="1/N"),
        edit("db_mean", "np.sum(gT, axis=0)", "np.mean(gT, axis=0)", place="b"),
        edit("db_mean", "np.sum(gC, axis=(0, 2))", "np.sum(gC, axis=2).mean(axis=0)", place="q"),
        edit("db_not_summed", "np.sum(gT, axis=0)", "gT", place="b"),
        edit("db_wrong_axis", "np.sum(gT, axis=0)", "np.sum(gT, axis=1)", place="b"),
        edit("transposed_factor", "gpooled = gT @ W.T", "gpooled = gT @ W", place="W"),
        edit("dw_transposed", "[g @ x.T for", "[x @ g.T for", place="G"),
        edit("sign_all", *after(last, scaled("G q W b", "-"))),
        edit("sign_loss", "(prob - Y)", "(Y - prob)"),
        edit("sign_param", "gpooled = gT @ W.T", "gpooled = -gT @ W.T", place=f"{conv} pooled"),
        edit("activation_derivative_missing", "np.multiply(gA, A * (1 - A))", "gA", place=conv),
        edit("other_derivative", "A * (1 - A)", "1 - A**2", place=conv),
        edit("derivative_at_input", "A * (1 - A)", "C * (1 - C)", place=conv, wrong="C"),
        edit("softmax_diagonal", "(prob - Y)", "(prob * Y - Y)"),
        edit("softmax_sum_forgotten", "(prob - Y)", "(0 - Y)"),
        edit("softmax_unnormalised", "E / E.sum(axis=1, keepdims=True)", "E"),
        edit("overwritten", f"dG = {products} + DLAM * G", "dG = DLAM * G", place="G"),
        edit("updated_before_delta", "gT @ W.T", "gT @ (W - 0.5 * dW).T", place="W"),
        edit("w_for_dw", "dW = pooled.T @ gT + DLAM * W", "dW = W", place="W"),
        edit("channels_swapped", f"{products} + DLAM * G", f"{products}[:, ::-1] + DLAM * G", place="G"),
        edit("wrong_variable", "dW = pooled.T @", "dW = C.mean(axis=2).T @", place="W pooled", wrong="C"),
        edit("detached", "gpooled = gT @ W.T", "gpooled = 0 * pooled", place=f"{conv} pooled"),
        edit("bias_forgotten", "G @ x + q", "G @ x", place="q"),
        edit("off_by_one", "zip(gC, X)", "zip(gC[:-1], X[:-1])", place="G"),
        edit("momentum_factor", *after(last, scaled("G q W b", "0.1 * "))),
    ]
    return Program(
        *("patchify", "patchify, averaged patches, rows", ("X", "Y", "lam"), ("G", "q", "W", "b"), costs),
        *("Y = np.eye(b.size)[y]", gradients, tuple(edits), ("T", "logs"), draw),
        ({}, {"G": "bank", "q": "bank_b", "C": "response"}, {"W": "readout", "b": "readout_b", "lam": "reg"}),
    )
