"""A third set that was held out until 22 November 2026, by an author who had not read the doctor's code.

Its one run, on 2026-11-22, before it served to improve the doctor named 674 of 713 single mistakes (94.5 %) by the
first sentence.

Its programs were checked with numerical gradients alone. Gradients are updated in place, gathered from minibatches or
with one ``einsum`` after the other, kept in dictionaries by layer, in lists of caches that are read backwards, in lists
that count from 1, and in closures. There are logistic scores of one class against the rest, sums for means, a margin as
an argument, smoothed labels, squared errors, two heads on one hidden layer, an autoencoder with tied weights, residual
layers, batch norm with its scale behind the activation, Boolean dropout masks, and patches that are gathered by index.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from tests.evidence.hand_derived.programs import Edit, Program, edit
from tests.evidence.hand_derived.second_validation import after, scaled

Random = np.random.Generator


@cache
def programs() -> tuple[Program, ...]:
    """Return the programs of the set."""
    return (
        *(softmax_in_place(), softmax_in_minibatches(), one_against_the_rest()),
        *(svm_scattered_counts(), svm_einsum(), svm_class_by_class()),
        *(two_layers_in_dictionaries(), two_layers_smoothed_labels(), two_layers_regression(), two_heads()),
        *(denoising_autoencoder(), cached_layers(3), scale_behind_activation()),
        *(updated_in_place(3), layers_from_one(3), residual_layers()),
        *(hinge_of_patches(), einsum_of_patches(), gathered_patches()),
    )


def labels(rng: Random, classes: int, images: int, *, columns: bool) -> dict[str, Any]:
    """Return labels with every class, as integers and as a matrix of zeros and ones."""
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=images - classes)])
    rng.shuffle(y)
    matrix = (y[:, None] == np.arange(classes)).astype(float)
    return {"y": y, "Y": np.ascontiguousarray(matrix.T) if columns else matrix}


def l2_mistakes(terms: Mapping[str, str], bias: tuple[str, ...], images: str = "N") -> list[Edit]:
    """Return the mistakes of the L2 term.

    ``terms`` has the text that adds the term of each weight, with ``DLAM`` in it, by parameter. ``bias`` has a
    parameter without an L2 term, a text, and the text that adds such a term. ``images`` is the number of images.
    """

    def everywhere(new: str) -> list[str]:
        return [text for term in terms.values() for text in (term, term.replace("DLAM", new))]

    return [
        edit("l2_half", *everywhere("CLAM"), factor="1/2"),  # the factor of the cost is copied
        edit("l2_double", *everywhere("2 * lam"), factor="2"),
        edit("l2_over_n", *everywhere(f"DLAM / {images}"), factor="1/N"),
        edit("l2_missing", *[text for term in terms.values() for text in (term, "")]),
        edit("l2_bias", *bias[1:], place=bias[0]),
        *[edit("l2_missing", terms[name], "", place=name) for name in [*terms][1:][-1:]],
    ]


# -- softmax -----------------------------------------------------------------------------------------------------------


def softmax_in_place() -> Program:
    """Columns, the bias a vector; one array becomes scores, log-probabilities, probabilities and their gradient."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 6]), rng.choice([3, 4]), rng.choice([7, 10])
        arrays = labels(rng, k, n, columns=True) | {"X": rng.normal(0.1, 1, (d, n)), "lam": 0.22}
        return arrays | {"W": rng.normal(0, 0.8, (k, d)), "b": rng.normal(0, 0.8, k)}

    costs = {
        "steps": """
    scores = W @ X + tg.reshape(b, (-1, 1))
    lse = tg.logsumexp(scores, axis=0)
    picked = tg.sum(Y * scores, axis=0)
    return tg.sum(lse - picked) / X.shape[1] + CLAM * PENALTY(W)
""",
        "probabilities, labels": """
    scores = tg.matmul(W, X) + b.reshape(-1, 1)
    prob = tg.softmax(scores, axis=0)
    loss = -tg.mean(tg.log(prob[y, np.arange(len(y))]))
    return loss + CLAM * PENALTY(W)
""",
    }
    gradients = """
    n = X.shape[1]
    label = Y.argmax(axis=0)
    G = W @ X + b[:, None]
    G -= G.max(axis=0)
    G -= np.log(np.exp(G).sum(axis=0))
    np.exp(G, out=G)
    np.subtract.at(G, (label, np.arange(n)), 1)
    G /= n
    dW = G @ X.T
    dW += DLAM * W
    db = G.sum(axis=1)
"""
    own, ratio, last = "    np.subtract.at(G, (label, np.arange(n)), 1)\n", "    G /= n\n", "    db = G.sum(axis=1)\n"
    edits = [
        *l2_mistakes({"W": "    dW += DLAM * W\n"}, ("b", *after(last, "    db += DLAM * b\n")), "n"),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", ratio, "    G /= n\n    G /= n\n"),
        edit("divided_by_other", ratio, "    G /= len(G)\n"),
        edit("misplaced_1_over_n", last, "", ratio, f"{last}{ratio}", place="b", factor="N"),
        edit("misplaced_1_over_n", "dW = G @ X.T", "dW = G @ X.T / n", place="W", factor="1/N"),
        edit("db_mean", last, "    db = G.mean(axis=1)\n", place="b"),
        edit("db_from_dw", last, "    db = dW.sum(axis=1)\n", place="b"),
        edit("db_wrong_axis", last, "    db = G.sum(axis=0)\n", place="b"),
        edit("db_not_summed", last, "    db = G\n", place="b"),
        edit("dw_transposed", last, f"{last}    dW = np.transpose(dW)\n", place="W"),
        edit("sign_loss", ratio, "    G /= -n\n"),
        edit("sign_all", *after(last, "    dW, db = -dW, -db\n")),
        edit("sign_param", last, "    db = -G.sum(axis=1)\n", place="b"),
        edit("softmax_diagonal", own, f"{own}    G *= Y\n"),
        edit("softmax_sum_forgotten", own, "    G = -np.array(Y)\n"),
        edit("softmax_unnormalised", "    G -= np.log(np.exp(G).sum(axis=0))\n", ""),
        edit("softmax_unnormalised", "    G -= G.max(axis=0)\n    G -= np.log(np.exp(G).sum(axis=0))\n", ""),
        edit("off_by_one", "label = Y.argmax(axis=0)", "label = Y.argmax(axis=0) - 1"),
        edit("off_by_one", "label = Y.argmax(axis=0)", "label = np.append(0, Y.argmax(axis=0)[:-1])"),
        edit("off_by_one", "dW = G @ X.T", "dW = G[:, : n - 1] @ X[:, : n - 1].T", place="W"),
        edit("w_for_dw", "    dW = G @ X.T\n    dW += DLAM * W\n", "    dW = np.copy(W)\n", place="W"),
        edit("overwritten", "dW += DLAM * W", "dW = DLAM * W", place="W"),
        edit("bias_forgotten", "W @ X + b[:, None]", "W @ X", place="b"),
        edit("detached", last, "    db = np.zeros(len(b))\n", place="b"),
        edit("momentum_factor", *after(last, "    dW *= 1 - 0.9\n    db *= 1 - 0.9\n")),
    ]
    return Program(
        *("softmax", "softmax, in place, columns", ("X", "Y", "lam"), ("W", "b"), costs),
        *("Y = (y == np.arange(b.size)[:, None]).astype(float)", gradients, tuple(edits)),
        *(("scores", "lse", "picked", "prob", "loss"), draw),
        ({}, {"W": "coefs", "b": "offset", "X": "Xcols"}, {"scores": "eta", "lam": "lmb"}),
    )


def softmax_in_minibatches() -> Program:
    """Rows; minibatches whose images have a 1 appended, so that the bias is the last row of one matrix."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 6]), rng.choice([3, 5]), rng.choice([9, 13])
        arrays = labels(rng, k, n, columns=False) | {"X": rng.normal(0.2, 1, (n, d)), "lam": 0.17}
        return arrays | {"W": rng.normal(0, 0.7, (d, k)), "b": rng.normal(0, 0.7, (1, k))}

    costs = {
        "steps, labels": """
    Z = X @ W + b
    total = tg.sum(tg.exp(Z), axis=1)
    nll = tg.log(total) - Z[np.arange(len(y)), y]
    return tg.mean(nll) + CLAM * PENALTY(W)
""",
        "one line": """
    return CLAM * PENALTY(W) - tg.sum(Y * tg.log(tg.softmax(X @ W + b, axis=1))) / len(X)
""",
    }
    gradients = """
    N = len(X)
    theta = np.vstack([W, b])
    summed = np.zeros(theta.shape)
    for start in range(0, N, 4):
        batch = slice(start, start + 4)
        inputs = np.hstack([X[batch], np.ones((len(X[batch]), 1))])
        odds = np.exp(inputs @ theta)
        residual = odds / odds.sum(axis=1, keepdims=True) - Y[batch]
        summed += inputs.T @ residual
    summed /= N
    dW, db = summed[:-1], summed[-1:]
    dW = dW + DLAM * W
"""
    residual, ratio = "odds / odds.sum(axis=1, keepdims=True) - Y[batch]", "    summed /= N\n"
    cut, last = "dW, db = summed[:-1], summed[-1:]", "    dW = dW + DLAM * W\n"
    edits = [
        *l2_mistakes({"W": last}, ("b", ratio, f"{ratio}    summed[-1] += DLAM * b[0]\n")),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", "summed += inputs.T @ residual", "summed += inputs.T @ residual / N"),
        edit("divided_by_other", ratio, "    summed /= Y.shape[1]\n"),
        edit("misplaced_1_over_n", ratio, "    summed[:-1] /= N\n", place="b", factor="N"),
        edit("misplaced_1_over_n", ratio, "    summed[-1] /= N\n", place="W", factor="N"),
        edit("db_mean", cut, f"{cut} / N", place="b"),
        edit("db_from_dw", cut, "dW, db = summed[:-1], summed[:-1].sum(axis=0, keepdims=True)", place="b"),
        edit("dw_transposed", last, f"{last}    dW = dW.T\n", place="W"),
        edit("sign_loss", residual, "Y[batch] - odds / odds.sum(axis=1, keepdims=True)"),
        edit("sign_all", "    dW = dW + DLAM * W\n", "    dW, db = -dW - DLAM * W, -db\n"),
        edit("sign_param", cut, "dW, db = summed[:-1], -summed[-1:]", place="b"),
        edit("sign_param", cut, "dW, db = -summed[:-1], summed[-1:]", place="W"),
        edit("softmax_diagonal", residual, "(odds / odds.sum(axis=1, keepdims=True) - 1) * Y[batch]"),
        edit("softmax_sum_forgotten", residual, "0 - Y[batch]"),
        edit("softmax_unnormalised", residual, "odds - Y[batch]"),
        edit("off_by_one", "range(0, N, 4)", "range(1, N, 4)"),
        edit("off_by_one", "range(0, N, 4)", "range(0, N - 1, 4)"),
        edit("off_by_one", residual, residual.replace("Y[batch]", "np.roll(Y, 1, axis=0)[batch]")),
        edit("w_for_dw", last, "    dW = theta[:-1]\n", place="W"),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("bias_forgotten", "np.exp(inputs @ theta)", "np.exp(X[batch] @ W)", place="b"),
        edit("detached", cut, "dW, db = summed[:-1], np.zeros((1, b.size))", place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "0.1 * "))),
    ]
    return Program(
        *("softmax", "softmax, minibatches, appended ones, rows", ("X", "Y", "lam"), ("W", "b"), costs),
        *("Y = (y[:, None] == np.arange(b.size)) * 1.0", gradients, tuple(edits), ("Z", "total", "nll"), draw),
        ({}, {"W": "Wc", "b": "wc0", "lam": "penalty_weight"}, {"X": "samples", "Z": "linear"}),
    )


def one_against_the_rest() -> Program:
    """Columns; a logistic score for each class against the rest, and the chain rule through its probability."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 5]), rng.choice([3, 4]), rng.choice([8, 11])
        arrays = labels(rng, k, n, columns=True) | {"X": rng.normal(0, 1, (d, n)), "lam": 0.3}
        return arrays | {"W": rng.normal(0, 0.6, (k, d)), "b": rng.normal(0, 0.6, (k, 1))}

    costs = {
        "steps": """
    N = X.shape[1]
    S = W @ X + b
    P = tg.sigmoid(S)
    bce = -(Y * tg.log(P) + (1 - Y) * tg.log(1 - P))
    return tg.sum(bce) / N + CLAM * PENALTY(W)
""",
        "own sigmoid": """
    S = tg.add(tg.matmul(W, X), b)
    P = 1 / (1 + tg.exp(-S))
    bce = tg.where(Y == 1, -tg.log(P), -tg.log(1 - P))
    return tg.mean(tg.sum(bce, axis=0)) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = X.shape[1]
    S = np.einsum("kd,dn->kn", W, X) + b
    P = 1 / (1 + np.exp(-S))
    toP = (1 - Y) / (1 - P) - Y / P
    toP = toP / N
    toS = toP * P * (1 - P)
    dW = np.einsum("kn,dn->kd", toS, X) + DLAM * W
    db = np.einsum("kn->k", toS)[:, np.newaxis]
"""
    ratio, column = "    toP = toP / N\n", 'np.einsum("kn->k", toS)'
    product, last = 'np.einsum("kn,dn->kd", toS, X)', '    db = np.einsum("kn->k", toS)[:, np.newaxis]\n'
    edits = [
        *l2_mistakes({"W": " + DLAM * W"}, ("b", *after(last, "    db = db + DLAM * b\n"))),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", ratio, "    toP = toP / N**2\n"),
        edit("divided_by_other", ratio, "    toP = toP / len(P)\n"),
        edit("misplaced_1_over_n", f"dW = {product}", f"dW = {product} / N", place="W", factor="1/N"),
        edit("db_mean", column, "toS.mean(axis=1)", place="b"),
        edit("db_from_dw", column, 'np.einsum("kn,dn->k", toS, X)', place="b"),
        edit("db_wrong_axis", column, 'np.einsum("kn->n", toS)', place="b"),
        edit("db_not_summed", last, '    db = np.einsum("kn->kn", toS)\n', place="b"),
        edit("dw_transposed", f"{product} + DLAM * W", 'np.einsum("kn,dn->dk", toS, X) + DLAM * W.T', place="W"),
        edit("sign_loss", "(1 - Y) / (1 - P) - Y / P", "Y / P - (1 - Y) / (1 - P)"),
        edit("sign_all", *after(last, scaled("W b", "-"))),
        edit("sign_param", "    dW = np", "    dW = -np", place="W"),
        edit("activation_derivative_missing", "toP * P * (1 - P)", "toP", place="P S"),
        edit("other_derivative", "toP * P * (1 - P)", "toP * (1 - P * P)", place="P S"),
        edit("derivative_at_input", "toP * P * (1 - P)", "toP * S * (1 - S)", place="P S", wrong="S"),
        edit("off_by_one", product, 'np.einsum("kn,dn->kd", toS[:, 1:], X[:, 1:])', place="W"),
        edit("off_by_one", column, 'np.einsum("kn->k", toS[:, :-1])', place="b"),
        edit("w_for_dw", f"dW = {product} + DLAM * W", "dW = 1.0 * W", place="W"),
        edit("overwritten", f"dW = {product} + DLAM * W", f"dW = {product}\n    dW = DLAM * W", place="W"),
        edit("bias_forgotten", '"kd,dn->kn", W, X) + b', '"kd,dn->kn", W, X)', place="b"),
        edit("detached", last, "    db = np.zeros(b.shape)\n", place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "0.1 * "))),
    ]
    return Program(
        *("softmax", "logistic, one against the rest, columns", ("X", "Y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("S", "P", "bce"), draw),
        ({}, {"W": "slopes", "b": "intercepts"}, {"S": "log_odds", "P": "chance", "lam": "ridge"}),
    )


# -- SVM ---------------------------------------------------------------------------------------------------------------


def svm_scattered_counts() -> Program:
    """Columns; a sum for a mean, Boolean masks, and np.add.at for the own class."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 6]), rng.choice([3, 5]), rng.choice([7, 11])
        arrays = labels(rng, k, n, columns=True) | {"X": rng.normal(0, 1, (d, n)), "lam": 1.5}
        return arrays | {"W": rng.normal(0, 0.6, (k, d)), "b": rng.normal(0, 0.6, k)}

    costs = {
        "steps, labels": """
    scores = W @ X + tg.reshape(b, (-1, 1))
    correct = scores[y, np.arange(len(y))]
    excess = tg.relu(scores - correct + 1)
    return tg.sum(excess) - len(y) + CLAM * PENALTY(W)
""",
        "masked": """
    scores = tg.matmul(W, X) + b.reshape(-1, 1)
    correct = tg.sum(Y * scores, axis=0, keepdims=True)
    excess = tg.maximum(scores - correct + 1, 0)
    hinge = tg.where(Y > 0, 0.0, excess)
    return hinge.sum() + CLAM * PENALTY(W)
""",
    }
    gradients = """
    label, image = Y.argmax(axis=0), np.arange(X.shape[1])
    scores = W @ X + b[:, None]
    violated = scores + 1 > scores[label, image]
    violated[label, image] = False
    G = violated.astype(float)
    np.add.at(G, (label, image), -violated.sum(axis=0))
    dW = G @ X.T + DLAM * W
    db = G.sum(axis=1)
"""
    test, last = "scores + 1 > scores[label, image]", "    db = G.sum(axis=1)\n"
    own = "    np.add.at(G, (label, image), -violated.sum(axis=0))\n"
    edits = [
        *l2_mistakes({"W": " + DLAM * W"}, ("b", last, "    db = G.sum(axis=1) + DLAM * b\n"), "len(image)"),
        edit("double_1_over_n", *after(own, "    G /= len(image)\n")),
        edit("misplaced_1_over_n", "dW = G @ X.T", "dW = G @ X.T / len(image)", place="W", factor="1/N"),
        edit("db_mean", last, "    db = G.mean(axis=1)\n", place="b"),
        edit("db_from_dw", last, "    db = (G @ X.T).sum(axis=1)\n", place="b"),
        edit("db_from_dw", last, "    db = dW.sum(axis=1)\n", place="b"),
        edit("db_wrong_axis", last, "    db = G.sum(axis=0)\n", place="b"),
        edit("db_not_summed", last, "    db = G.copy()\n", place="b"),
        edit("dw_transposed", "dW = G @ X.T + DLAM * W", "dW = X @ G.T + DLAM * W.T", place="W"),
        edit("sign_loss", *after(own, "    G = -G\n")),
        edit("sign_all", *after(last, "    dW, db = -dW, -db\n")),
        edit("sign_param", last, "    db = -G.sum(axis=1)\n", place="b"),
        edit("hinge_own_missing", own, "", place="correct"),
        edit("hinge_own_sign", "-violated.sum(axis=0)", "violated.sum(axis=0)", place="correct"),
        edit("hinge_own_once", "-violated.sum(axis=0)", "-1", place="correct"),
        edit("hinge_own_counted", "-violated.sum(axis=0)", f"-({test}).sum(axis=0)", place="correct"),
        edit("activation_derivative_missing", test, "np.full(scores.shape, True)", place="excess"),
        edit("mask_wrong_array", test, "scores > 0", place="excess", wrong="scores"),
        edit("margin_forgotten", test, "scores > scores[label, image]", place="excess"),
        edit("overwritten", "dW = G @ X.T + DLAM * W", "dW = G @ X.T\n    dW = DLAM * W", place="W"),
        edit("w_for_dw", "dW = G @ X.T + DLAM * W", "dW = +W", place="W"),
        edit("off_by_one", "label, image = Y.argmax(axis=0)", "label, image = Y.argmax(axis=0) - 1"),
        edit("off_by_one", "dW = G @ X.T", "dW = G[:, 1:] @ X[:, 1:].T", place="W"),
        edit("bias_forgotten", "W @ X + b[:, None]", "W @ X", place="b"),
        edit("detached", last, "    db = 0 * b\n", place="b"),
        edit("momentum_factor", *after(last, "    dW, db = dW * 0.1, db * 0.1\n")),
    ]
    return Program(
        *("svm", "SVM, sums, scattered counts, columns", ("X", "Y", "lam"), ("W", "b"), costs),
        *("Y = (y == np.arange(b.size)[:, None]) * 1", gradients, tuple(edits)),
        *(("scores", "excess", "hinge"), draw),
        ({}, {"W": "Wsvm", "b": "bsvm", "lam": "C"}, {"scores": "outputs", "excess": "over"}),
    )


def svm_einsum() -> Program:
    """Rows; einsum throughout, the margin an argument; there may be as many images as classes."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k = rng.choice([6, 7]), rng.choice([4, 5])
        arrays = labels(rng, k, k * rng.choice([1, 2, 3]), columns=False)
        arrays |= {"X": rng.normal(0, 1, (len(arrays["y"]), d)), "lam": 0.12, "margin": 1.5}
        return arrays | {"W": rng.normal(0, 0.5, (d, k)), "b": rng.normal(0, 0.5, k)}

    costs = {
        "steps": """
    S = tg.einsum("nd,dk->nk", X, W) + b
    own = tg.einsum("nk,nk->n", S, Y)
    gap = S - tg.reshape(own, (-1, 1)) + margin
    beyond = tg.relu(gap) * (1 - Y)
    return tg.mean(tg.sum(beyond, axis=1)) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = len(X)
    S = np.einsum("nd,dk->nk", X, W) + b
    own = np.einsum("nk,nk->n", S, Y)
    gap = S - own[:, None] + margin
    active = (gap > 0) * (1 - Y)
    count = np.einsum("nk->n", active)
    G = active - np.einsum("n,nk->nk", count, Y)
    G = np.einsum("nk,->nk", G, 1 / N)
    dW = np.einsum("nd,nk->dk", X, G) + DLAM * W
    db = np.einsum("nk->k", G)
"""
    ratio, product = '    G = np.einsum("nk,->nk", G, 1 / N)\n', 'np.einsum("nd,nk->dk", X, G)'
    own, last = 'np.einsum("n,nk->nk", count, Y)', '    db = np.einsum("nk->k", G)\n'
    edits = [
        *l2_mistakes({"W": " + DLAM * W"}, ("b", *after(last, "    db = db + DLAM * b\n"))),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", "G, 1 / N)", "G, 1 / N**2)"),
        edit("misplaced_1_over_n", last, '    db = np.einsum("nk->k", G) * N\n', place="b", factor="N"),
        edit("db_mean", last, '    db = np.einsum("nk->k", G) / N\n', place="b"),
        edit("db_from_dw", last, '    db = np.einsum("nd,nk->k", X, G)\n', place="b"),
        edit("db_wrong_axis", last, '    db = np.einsum("nk->n", G)\n', place="b"),
        edit("db_not_summed", last, "    db = G\n", place="b"),
        edit("dw_transposed", f"{product} + DLAM * W", 'np.einsum("nd,nk->kd", X, G) + DLAM * W.T', place="W"),
        edit("sign_loss", "G, 1 / N)", "G, -1 / N)"),
        edit("sign_all", *after(last, scaled("W b", "-"))),
        edit("sign_param", "    dW = np", "    dW = -np", place="W"),
        edit("hinge_own_missing", f"active - {own}", "active", place="own"),
        edit("hinge_own_sign", f"active - {own}", f"active + {own}", place="own"),
        edit("hinge_own_once", f"active - {own}", "active - Y", place="own"),
        edit("hinge_own_counted", '"nk->n", active)', '"nk->n", 1.0 * (gap > 0))', place="own"),
        edit("activation_derivative_missing", "(gap > 0) * (1 - Y)", "1 - Y", place="beyond gap"),
        edit("mask_wrong_array", "(gap > 0)", "(S > 0)", place="beyond gap", wrong="S"),
        edit("margin_forgotten", "own[:, None] + margin", "own[:, None]", place="beyond gap"),
        edit("overwritten", f"{product} + DLAM * W", "DLAM * W", place="W"),
        edit("w_for_dw", f"{product} + DLAM * W", 'np.einsum("dk->dk", W)', place="W"),
        edit("off_by_one", "count, Y)", "count, np.roll(Y, 1, axis=0))"),
        edit("off_by_one", product, 'np.einsum("nd,nk->dk", X[:-1], G[:-1])', place="W"),
        edit("bias_forgotten", '"nd,dk->nk", X, W) + b', '"nd,dk->nk", X, W)', place="b"),
        edit("detached", last, "    db = 0 * b\n", place="b"),
        edit("momentum_factor", *after(last, scaled("W b", "0.1 * "))),
    ]
    return Program(
        *("svm", "SVM, einsum, rows", ("X", "Y", "margin", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("S", "gap", "beyond"), draw),
        ({}, {"W": "w_svm", "b": "rho", "gap": "violation"}, {"S": "decision", "margin": "Delta", "lam": "reg"}),
    )


def svm_class_by_class() -> Program:
    """Rows; a loop over the classes; the violating images are selected and scattered to their own class."""

    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 5]), rng.choice([3, 4]), rng.choice([9, 12])
        arrays = labels(rng, k, n, columns=False) | {"X": rng.normal(0, 1, (n, d)), "lam": 0.25}
        return arrays | {"W": rng.normal(0, 0.6, (d, k)), "b": rng.normal(0, 0.6, (1, k))}

    costs = {
        "stacked, labels": """
    N = len(y)
    S = X @ W + b
    own = S[np.arange(N), y]
    gaps = tg.stack([tg.relu(S[:, c] - own + 1) * (y != c) for c in range(S.shape[1])])
    return tg.sum(gaps) / N + CLAM * PENALTY(W)
""",
        "steps": """
    N = X.shape[0]
    S = tg.matmul(X, W) + b
    own = tg.sum(S * Y, axis=1, keepdims=True)
    gaps = tg.maximum(S - own + 1, 0)
    hinge = tg.sum(gaps, axis=1) - 1
    return tg.sum(hinge) / N + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N, K = Y.shape
    label = np.argmax(Y, axis=1)
    S = X @ W + b
    own = S[range(N), label]
    dW, db = np.zeros(W.shape), np.zeros(b.shape)
    for c in range(K):
        above = S[:, c] - own + 1 > 0
        active = above & (label != c)
        chosen = X[active] / N
        dW[:, c] += chosen.sum(axis=0)
        db[0, c] += active.sum() / N
        np.subtract.at(dW.T, label[active], chosen)
        np.subtract.at(db[0], label[active], 1 / N)
    dW += DLAM * W
"""
    own_w, own_b = "np.subtract.at(dW.T, label[active], chosen)", "np.subtract.at(db[0], label[active], 1 / N)"
    both, other_b = f"        {own_w}\n        {own_b}\n", "db[0, c] += active.sum() / N"
    last = "    dW += DLAM * W\n"
    edits = [
        *l2_mistakes({"W": last}, ("b", *after(last, "    db += DLAM * b\n"))),
        edit(
            *("missing_1_over_n", "X[active] / N", "X[active]", other_b, "db[0, c] += active.sum()"),
            *(own_b, own_b.replace("1 / N", "1")),
        ),
        edit("double_1_over_n", last, "    dW, db = dW / N, db / N\n    dW += DLAM * W\n"),
        edit("misplaced_1_over_n", "X[active] / N", "X[active]", place="W", factor="N"),
        edit("misplaced_1_over_n", last, f"{last}    db *= N\n", place="b", factor="N"),
        edit("db_mean", *after(last, "    db = db / N\n"), place="b"),
        edit(
            *("db_from_dw", other_b, "db[0, c] += chosen.sum()"),
            *(own_b, own_b.replace("1 / N", "chosen.sum(axis=1)")),
            place="b",
        ),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", last, f"    dW, db = -dW, -db\n{last}"),
        edit("sign_all", *after(last, "    dW, db = -dW, -db\n")),
        edit("sign_param", *after(last, "    db *= -1\n"), place="b"),
        edit("hinge_own_missing", both, "", place="own"),
        edit("hinge_own_sign", both, both.replace("subtract", "add"), place="own"),
        edit(
            *("hinge_own_counted", own_w, "np.subtract.at(dW.T, label[above], X[above] / N)"),
            *(own_b, own_b.replace("active", "above")),
            place="own",
        ),
        edit(
            *(
                "hinge_own_once",
                both,
                "",
                last,
                "    dW -= X.T @ Y / N\n    db -= Y.mean(axis=0)\n    dW += DLAM * W\n",
            ),
            place="own",
        ),
        edit("activation_derivative_missing", "active = above & (label != c)", "active = label != c", place="gaps"),
        edit("mask_wrong_array", "S[:, c] - own + 1 > 0", "S[:, c] > 0", place="gaps", wrong="S"),
        edit("margin_forgotten", "S[:, c] - own + 1 > 0", "S[:, c] > own", place="gaps"),
        edit("overwritten", last, "    dW = DLAM * W\n", place="W"),
        edit("w_for_dw", last, "    dW = W\n", place="W"),
        edit("off_by_one", "label = np.argmax(Y, axis=1)", "label = np.roll(np.argmax(Y, axis=1), -1)"),
        edit("off_by_one", "label = np.argmax(Y, axis=1)", "label = (np.argmax(Y, axis=1) + 1) % K"),
        edit("bias_forgotten", "S = X @ W + b", "S = X @ W", place="b"),
        edit("detached", *after(last, "    db = np.zeros(b.shape)\n"), place="b"),
        edit("momentum_factor", *after(last, "    dW, db = 0.1 * dW, 0.1 * db\n")),
    ]
    return Program(
        *("svm", "SVM, class by class, rows", ("X", "Y", "lam"), ("W", "b"), costs),
        *("Y = (y[:, None] == np.arange(b.size)) * 1.0", gradients, tuple(edits), ("S", "gaps", "hinge"), draw),
        ({}, {"W": "directions", "b": "shifts"}, {"S": "values", "own": "good", "lam": "strength"}),
    )


# -- two layers --------------------------------------------------------------------------------------------------------


def equal_sizes(rng: Random, *, columns: bool) -> dict[str, Any]:
    """Return images and two layers that all have the same width, so that wrong arrays and transposes have a shape."""
    m, n = int(rng.choice([3, 4])), int(rng.choice([8, 11]))
    arrays = labels(rng, m, n, columns=columns) | {"X": rng.normal(0, 1, (m, n) if columns else (n, m)), "lam": 0.05}
    return arrays | {f"W{i}": rng.normal(0, 0.9, (m, m)) for i in (1, 2)}


def two_layers_in_dictionaries() -> Program:
    """Rows; leaky ReLU; parameters, values and gradients in dictionaries, and one loop over the layers."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=False)
        return arrays | {f"b{i}": rng.normal(0, 0.9, len(arrays["W1"])) for i in (1, 2)}

    costs = {
        "steps, labels": """
    N = len(y)
    Z = X @ W1 + b1
    H = tg.where(Z > 0, Z, 0.2 * Z)
    T = H @ W2 + b2
    nll = tg.logsumexp(T, axis=1) - T[np.arange(N), y]
    return tg.sum(nll) / N + CLAM * PENALTY(W1, W2)
""",
        "maximum": """
    Z = tg.matmul(X, W1) + b1
    H = tg.maximum(Z, 0.2 * Z)
    T = tg.matmul(H, W2) + b2
    prob = tg.softmax(T, axis=1)
    nll = -tg.log((Y * prob).sum(axis=1))
    return tg.mean(nll) + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N = len(Y)
    params = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    values, grads = {"Z0": X, "A0": X}, {}
    for l in (1, 2):
        before = values[f"A{l - 1}"] @ params[f"W{l}"] + params[f"b{l}"]
        values[f"Z{l}"], values[f"A{l}"] = before, np.where(before > 0, before, 0.2 * before)
    scores = np.exp(values["Z2"])
    scores = scores / scores.sum(axis=1, keepdims=True)
    flow = (scores - Y) / N
    for l in (2, 1):
        grads[f"W{l}"] = values[f"A{l - 1}"].T @ flow + DLAM * params[f"W{l}"]
        grads[f"b{l}"] = flow.sum(axis=0)
        if l > 1:
            flow = flow @ params[f"W{l}"].T
            flow[values[f"Z{l - 1}"] <= 0] *= 0.2
    dW1, db1 = grads["W1"], grads["b1"]
    dW2, db2 = grads["W2"], grads["b2"]
"""
    inner, both = "Z H W1 b1", "b1 b2"
    to_bias, weight = 'grads[f"b{l}"] = flow.sum(axis=0)', 'values[f"A{l - 1}"].T @ flow + DLAM * params[f"W{l}"]'
    back, slope = 'flow = flow @ params[f"W{l}"].T\n', '            flow[values[f"Z{l - 1}"] <= 0] *= 0.2\n'
    last = '    dW2, db2 = grads["W2"], grads["b2"]\n'
    edits = [
        *l2_mistakes({"W": ' + DLAM * params[f"W{l}"]'}, ("b2", *after(last, "    db2 = db2 + DLAM * b2\n"))),
        edit("l2_missing", *after(last, "    dW1 = X.T @ flow\n"), place="W1"),
        edit("missing_1_over_n", "(scores - Y) / N", "scores - Y"),
        edit(
            "double_1_over_n",
            'values[f"A{l - 1}"].T @ flow',
            'values[f"A{l - 1}"].T @ flow / N',
            to_bias,
            f"{to_bias} / N",
        ),
        edit("divided_by_other", "(scores - Y) / N", "(scores - Y) / Y.shape[1]"),
        edit("misplaced_1_over_n", back, back.replace("\n", " / N\n"), place=inner, factor="1/N"),
        edit("db_mean", to_bias, to_bias.replace("sum", "mean"), place=both),
        edit("db_from_dw", to_bias, 'grads[f"b{l}"] = grads[f"W{l}"].sum(axis=0)', place=both),
        edit(
            "db_from_dw",
            last,
            '    dW2, db2 = grads["W2"], np.sum(values["A1"].T @ (scores - Y) / N, axis=0)\n',
            place="b2",
        ),
        edit("db_wrong_axis", to_bias, to_bias.replace("axis=0", "axis=1"), place=both),
        edit("db_not_summed", to_bias, 'grads[f"b{l}"] = flow', place=both),
        edit("transposed_factor", back, back.replace(".T", ""), place="W2"),
        edit("dw_transposed", 'values[f"A{l - 1}"].T @ flow', 'flow.T @ values[f"A{l - 1}"]', place="W1 W2"),
        edit("sign_loss", "(scores - Y) / N", "(Y - scores) / N"),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-"))),
        edit("sign_param", back, "flow = -flow" + back.removeprefix("flow = flow"), place=inner),
        edit("activation_derivative_missing", slope, "", place=inner),
        edit("other_derivative", slope, slope.replace("*= 0.2", "= 0"), place=inner),
        edit("mask_wrong_array", slope, slope.replace('values[f"Z{l - 1}"]', "X"), place=inner, wrong="X"),
        edit("mask_wrong_array", slope, slope.replace('values[f"Z{l - 1}"]', "flow"), place=inner, wrong="flow"),
        edit("mask_wrong_array", slope, slope.replace('"Z{l - 1}"', '"Z{l}"'), place=inner, wrong="T"),
        edit("softmax_diagonal", "(scores - Y) / N", "-Y * (1 - scores) / N"),
        edit("softmax_sum_forgotten", "(scores - Y) / N", "-Y / N"),
        edit("softmax_unnormalised", "    scores = scores / scores.sum(axis=1, keepdims=True)\n", ""),
        edit(
            "updated_before_delta",
            back,
            f'params["W2"] = params["W2"] - 0.1 * grads["W2"]\n            {back}',
            place="W2",
        ),
        edit(
            "overwritten",
            f"= {weight}",
            f'= {weight.split(" + ", maxsplit=1)[0]}\n        grads[f"W{{l}}"] = DLAM * params[f"W{{l}}"]',
            place="W1 W2",
        ),
        edit("w_for_dw", last, '    dW2, db2 = params["W2"], grads["b2"]\n', place="W2"),
        edit("wrong_variable", 'values[f"A{l - 1}"].T', 'values[f"Z{l - 1}"].T', place="W2 H", wrong="Z"),
        edit("wrong_variable", 'values[f"A{l - 1}"].T', 'values["A0"].T', place="W2 H", wrong="X"),
        edit("detached", back, "flow = np.zeros(X.shape)\n", place=inner),
        edit("bias_forgotten", ' + params[f"b{l}"]', ' + params[f"b{l}"] * (l > 1)', place="b1"),
        edit("off_by_one", "(scores - Y) / N", "(scores - np.roll(Y, 1, axis=0)) / N"),
        edit("off_by_one", "(scores - Y) / N", "(scores - np.roll(Y, 1, axis=1)) / N"),
        edit("momentum_factor", *after(last, scaled("W1 b1 W2 b2", "(1 - 0.9) * "))),
    ]
    return Program(
        *("two layers", "two layers, dictionaries, leaky, rows", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs),
        *("Y = (y[:, None] == np.arange(b2.size)) * 1.0", gradients, tuple(edits), ("T", "nll", "prob"), draw),
        (
            {},
            {"Z": "hidden_in", "H": "hidden", "T": "out"},
            {"W1": "lower", "b1": "lower_b", "W2": "upper", "lam": "tau"},
        ),
    )


def two_layers_smoothed_labels() -> Program:
    """Columns, biases as vectors; tanh by its hyperbolic form, smoothed labels, and one array updated in place."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=True) | {"eps": 0.15}
        return arrays | {f"b{i}": rng.normal(0, 0.8, len(arrays["W1"])) for i in (1, 2)}

    costs = {
        "steps": """
    T = (1 - eps) * Y + eps / Y.shape[0]
    Z = W1 @ X + b1.reshape(-1, 1)
    H = tg.tanh(Z)
    S = W2 @ H + b2.reshape(-1, 1)
    ce = tg.logsumexp(S, axis=0) - tg.sum(T * S, axis=0)
    return tg.mean(ce) + CLAM * PENALTY(W1, W2)
""",
        "softmax": """
    N = X.shape[1]
    T = Y - eps * (Y - 1 / len(Y))
    Z = tg.matmul(W1, X) + tg.reshape(b1, (-1, 1))
    H = 1 - 2 / (tg.exp(2 * Z) + 1)
    S = tg.matmul(W2, H) + tg.reshape(b2, (-1, 1))
    ce = -tg.sum(T * tg.log(tg.softmax(S, axis=0)))
    return ce / N + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    K, N = Y.shape
    T = (1 - eps) * Y + eps / K
    Z = W1 @ X + b1[:, None]
    H = np.tanh(Z)
    G = np.exp(W2 @ H + b2[:, None])
    G /= G.sum(axis=0)
    G -= T
    G /= N
    dW2, db2 = G @ H.T, np.sum(G, axis=1)
    G = W2.T @ G
    G /= np.cosh(Z) ** 2
    dW1, db1 = G @ X.T, np.sum(G, axis=1)
    for weight, gradient in ((W1, dW1), (W2, dW2)):
        gradient += DLAM * weight
"""
    inner, slope, delta = "Z H W1 b1", "    G /= np.cosh(Z) ** 2\n", "    G -= T\n"
    out, first = "dW2, db2 = G @ H.T, np.sum(G, axis=1)", "dW1, db1 = G @ X.T, np.sum(G, axis=1)"
    pairs, last, back = "((W1, dW1), (W2, dW2))", "        gradient += DLAM * weight\n", "    G = W2.T @ G\n"
    loop = f"    for weight, gradient in {pairs}:\n{last}"
    edits = [
        *l2_mistakes({"W": loop}, ("b1", pairs, "((W1, dW1), (b1, db1), (W2, dW2))")),
        edit("l2_missing", pairs, "((W2, dW2),)", place="W1"),
        edit("l2_missing", pairs, "((W1, dW1),)", place="W2"),
        edit("missing_1_over_n", "    G /= N\n", ""),
        edit("double_1_over_n", "    G /= N\n", "    G /= N * N\n"),
        edit("divided_by_other", "    G /= N\n", "    G /= K\n"),
        edit("misplaced_1_over_n", out, out.replace("G @ H.T", "N * G @ H.T"), place="W2", factor="N"),
        edit("misplaced_1_over_n", slope, "    G /= N * np.cosh(Z) ** 2\n", place=inner, factor="1/N"),
        edit("db_mean", out, out.replace("np.sum", "np.mean"), place="b2"),
        edit("db_mean", first, first.replace("np.sum", "np.mean"), place="b1"),
        edit("db_from_dw", first, "dW1 = G @ X.T\n    db1 = dW1.sum(axis=1)", place="b1"),
        edit("db_from_dw", out, "dW2 = G @ H.T\n    db2 = dW2 @ np.ones(K)", place="b2"),
        edit("db_wrong_axis", first, first.replace("axis=1", "axis=0"), place="b1"),
        edit("db_not_summed", out, "dW2, db2 = G @ H.T, G.copy()", place="b2"),
        edit("transposed_factor", back, "    G = W2 @ G\n", place="W2"),
        edit("dw_transposed", out, out.replace("G @ H.T", "H @ G.T"), place="W2"),
        edit("dw_transposed", first, first.replace("G @ X.T", "X @ G.T"), place="W1"),
        edit("sign_loss", "    G /= N\n", "    G /= -N\n"),
        edit("sign_all", last, f"{last}    dW1, db1, dW2, db2 = -dW1, -db1, -dW2, -db2\n"),
        edit("sign_param", back, "    G = -W2.T @ G\n", place=inner),
        edit("activation_derivative_missing", slope, "", place=inner),
        edit("other_derivative", slope, "    G *= H * (1 - H)\n", place=inner),
        edit("other_derivative", slope, "    G *= H > 0\n", place=inner),
        edit("derivative_at_input", slope, "    G *= 1 - Z**2\n", place=inner, wrong="Z"),
        edit("softmax_diagonal", delta, "    G = (G - 1) * T\n"),
        edit("softmax_sum_forgotten", delta, "    G = -T\n"),
        edit("softmax_unnormalised", "    G /= G.sum(axis=0)\n", ""),
        edit(
            "updated_before_delta",
            back,
            "    W2 = W2 - 0.3 * dW2\n    G = W2.T @ G\n",
            pairs,
            "((W1, dW1), (W2 + 0.3 * dW2, dW2))",
            place="W2",
        ),
        edit("overwritten", last, "        gradient[:] = DLAM * weight\n", place="W1 W2"),
        edit("w_for_dw", last, f"{last}    dW1 = W1 * 1.0\n", place="W1"),
        edit("wrong_variable", out, out.replace("H.T", "Z.T"), place="W2 H", wrong="Z"),
        edit("wrong_variable", out, out.replace("H.T", "X.T"), place="W2 H", wrong="X"),
        edit("wrong_variable", first, first.replace("X.T", "Z.T"), place="W1 X", wrong="Z"),
        edit("detached", back, "    G = W2.T @ np.zeros(G.shape)\n", place=inner),
        edit("bias_forgotten", "W1 @ X + b1[:, None]", "W1 @ X", place="b1"),
        edit("off_by_one", first, first.replace("G @ X.T", "G[:, 1:] @ X[:, 1:].T"), place="W1"),
        edit("off_by_one", delta, "    G -= np.roll(T, 1, axis=1)\n"),
    ]
    return Program(
        *(
            "two layers",
            "two layers, smoothed labels, columns",
            ("X", "Y", "eps", "lam"),
            ("W1", "b1", "W2", "b2"),
            costs,
        ),
        *("", gradients, tuple(edits), ("S", "ce"), draw),
        (
            {},
            {"W1": "U", "b1": "u", "W2": "V", "b2": "v"},
            {"Z": "net", "H": "squashed", "eps": "smoothing", "lam": "l2"},
        ),
    )


def two_layers_regression() -> Program:
    """Rows; softplus and half the squared error; the derivative of softplus from its output."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=False)
        arrays |= {f"b{i}": rng.normal(0, 0.8, (1, len(arrays["W1"]))) for i in (1, 2)}
        return arrays | {"Y": rng.normal(0, 1.5, arrays["X"].shape)}

    costs = {
        "steps": """
    N = X.shape[0]
    U = X @ W1 + b1
    A = tg.log(1 + tg.exp(U))
    F = A @ W2 + b2
    error = F - Y
    loss = tg.sum(error**2) / (2 * N)
    return loss + CLAM * PENALTY(W1, W2)
""",
        "mean of rows": """
    U = tg.matmul(X, W1) + b1
    A = tg.log(tg.exp(U) + 1)
    F = tg.matmul(A, W2) + b2
    loss = 0.5 * tg.mean(tg.sum(tg.square(Y - F), axis=1))
    return CLAM * PENALTY(W1, W2) + loss
""",
    }
    gradients = """
    N = X.shape[0]
    U = X.dot(W1) + b1
    A = np.logaddexp(0, U)
    error = A.dot(W2) + b2 - Y
    scaled_error = error / N
    dW2 = np.einsum("ni,nj->ij", A, scaled_error) + DLAM * W2
    db2 = np.einsum("nj->j", scaled_error)[None, :]
    hidden_error = np.einsum("nj,ij->ni", scaled_error, W2)
    hidden_error = hidden_error * (1 - np.exp(-A))
    dW1 = np.einsum("ni,nj->ij", X, hidden_error) + DLAM * W1
    db1 = np.einsum("nj->j", hidden_error)[None, :]
"""
    inner, slope, back = "U A W1 b1", "hidden_error * (1 - np.exp(-A))", 'np.einsum("nj,ij->ni", scaled_error, W2)'
    w1, w2 = 'np.einsum("ni,nj->ij", X, hidden_error)', 'np.einsum("ni,nj->ij", A, scaled_error)'
    b1, b2 = 'np.einsum("nj->j", hidden_error)[None, :]', 'np.einsum("nj->j", scaled_error)[None, :]'
    last = f"    db1 = {b1}\n"
    edits = [
        *l2_mistakes({"W1": " + DLAM * W1", "W2": " + DLAM * W2"}, ("b1", b1, f"{b1} + DLAM * b1")),
        edit("missing_1_over_n", "error / N", "error"),
        edit("double_1_over_n", "error / N", "error / N / N"),
        edit("divided_by_other", "error / N", "error / Y.shape[1]"),
        edit("misplaced_1_over_n", w2, f"{w2} / N", place="W2", factor="1/N"),
        edit("misplaced_1_over_n", back, 'np.einsum("nj,ij->ni", error, W2)', place=inner, factor="N"),
        edit("db_mean", b2, "scaled_error.mean(axis=0, keepdims=True)", place="b2"),
        edit("db_mean", b1, "hidden_error.mean(axis=0, keepdims=True)", place="b1"),
        edit("db_from_dw", b1, 'np.einsum("ni,nj->j", X, hidden_error)[None, :]', place="b1"),
        edit("db_from_dw", b2, 'np.einsum("ni,nj->j", A, scaled_error)[None, :]', place="b2"),
        edit("db_wrong_axis", b2, b2.replace("nj->j", "nj->n"), place="b2"),
        edit("db_wrong_axis", b1, b1.replace("nj->j", "nj->n"), place="b1"),
        edit("db_not_summed", b1, "1 * hidden_error", place="b1"),
        edit("transposed_factor", back, back.replace("nj,ij->ni", "nj,ji->ni"), place="W2"),
        edit("dw_transposed", w1, w1.replace("->ij", "->ji"), place="W1"),
        edit("dw_transposed", w2, w2.replace("->ij", "->ji"), place="W2"),
        edit("sign_loss", "A.dot(W2) + b2 - Y", "Y - (A.dot(W2) + b2)"),
        edit("sign_all", *after(last, scaled("W1 b1 W2 b2", "-"))),
        edit("sign_param", f"= {slope}", f"= -{slope}", place=inner),
        edit("sign_param", f"db2 = {b2}", f"db2 = -{b2}", place="b2"),
        edit("activation_derivative_missing", slope, "hidden_error", place=inner),
        edit("other_derivative", slope, f"{slope} * np.exp(-A)", place=inner),
        edit("other_derivative", slope, "hidden_error * (U > 0)", place=inner),
        edit("derivative_at_input", slope, "hidden_error / (1 + np.exp(-A))", place=inner, wrong="A"),
        edit("updated_before_delta", back, back.replace("W2)", "W2 - 0.2 * dW2)"), place="W2"),
        edit("overwritten", f"dW1 = {w1} + DLAM * W1", "dW1 = DLAM * W1", place="W1"),
        edit("w_for_dw", f"dW2 = {w2} + DLAM * W2", "dW2 = W2.copy()", place="W2"),
        edit("wrong_variable", w2, w2.replace("A, ", "X, "), place="W2 A", wrong="X"),
        edit("wrong_variable", w2, w2.replace("A, ", "U, "), place="W2 A", wrong="U"),
        edit("wrong_variable", w1, w1.replace("X, ", "A, "), place="W1 X", wrong="A"),
        edit("detached", back, back.replace("W2)", "0 * W2)"), place=inner),
        edit("bias_forgotten", "A.dot(W2) + b2", "A.dot(W2)", place="b2"),
        edit("bias_forgotten", "X.dot(W1) + b1", "X.dot(W1)", place="b1"),
        edit("off_by_one", "b2 - Y\n", "b2 - np.roll(Y, -1, axis=0)\n"),
        edit("off_by_one", w2, w2.replace("A, scaled_error", "A[1:], scaled_error[1:]"), place="W2"),
        edit("momentum_factor", *after(last, scaled("W1 b1 W2 b2", "0.1 * "))),
    ]
    return Program(
        *(
            "two layers",
            "two layers, softplus, squared error, rows",
            ("X", "Y", "lam"),
            ("W1", "b1", "W2", "b2"),
            costs,
        ),
        *("", gradients, tuple(edits), ("F", "error", "loss"), draw),
        (
            {},
            {"W1": "Phi", "b1": "phi0", "W2": "Psi", "b2": "psi0"},
            {"U": "pre", "A": "soft", "F": "fit", "lam": "ridge"},
        ),
    )


def two_heads() -> Program:
    """Columns; a classifier and a regression on the same hidden layer, whose two gradients are added."""

    def draw(rng: Random) -> dict[str, Any]:
        arrays = equal_sizes(rng, columns=True)
        m = len(arrays["W1"])
        arrays |= {"W3": rng.normal(0, 0.9, (m, m)), "R": rng.normal(0, 1, arrays["X"].shape)}
        return arrays | {f"b{i}": rng.normal(0, 0.7, (m, 1)) for i in (1, 2, 3)}

    costs = {
        "steps": """
    N = X.shape[1]
    Z = W1 @ X + b1
    H = tg.relu(Z)
    S = W2 @ H + b2
    ce = tg.logsumexp(S, axis=0) - tg.sum(Y * S, axis=0)
    F = W3 @ H + b3
    miss = 0.5 * tg.sum((F - R) ** 2, axis=0)
    loss = tg.sum(ce + miss) / N
    return loss + CLAM * PENALTY(W1, W2, W3)
""",
        "two means, labels": """
    Z = tg.matmul(W1, X) + b1
    H = tg.where(Z > 0, Z, 0.0)
    S = tg.matmul(W2, H) + b2
    F = tg.matmul(W3, H) + b3
    ce = -tg.log(tg.softmax(S, axis=0)[y, np.arange(len(y))])
    miss = tg.sum(tg.square(R - F), axis=0) / 2
    loss = tg.mean(ce) + tg.mean(miss)
    return loss + CLAM * PENALTY(W1, W2, W3)
""",
    }
    gradients = """
    N = X.shape[1]
    Z = W1 @ X + b1
    on = Z > 0
    H = np.where(on, Z, 0)
    P = np.exp(W2 @ H + b2)
    P = P / np.sum(P, axis=0)
    F = W3 @ H + b3
    gS, gF = (P - Y) / N, (F - R) / N
    gH = W2.T @ gS
    gH += W3.T @ gF
    gZ = np.where(on, gH, 0)
    dW1, dW2, dW3 = gZ @ X.T, gS @ H.T, gF @ H.T
    dW1, dW2, dW3 = dW1 + DLAM * W1, dW2 + DLAM * W2, dW3 + DLAM * W3
    db1, db2, db3 = [g.sum(axis=1)[:, np.newaxis] for g in (gZ, gS, gF)]
"""
    inner, sums = "Z H W1 b1", "[g.sum(axis=1)[:, np.newaxis] for g in (gZ, gS, gF)]"
    last, every = f"    db1, db2, db3 = {sums}\n", "W1 b1 W2 b2 W3 b3"
    terms = {f"W{i}": f" + DLAM * W{i}" for i in (1, 2, 3)}
    edits = [
        *l2_mistakes(terms, ("b3", *after(last, "    db3 += DLAM * b3\n"))),
        edit("missing_1_over_n", "(P - Y) / N, (F - R) / N", "P - Y, F - R"),
        edit("double_1_over_n", "(P - Y) / N, (F - R) / N", "(P - Y) / N**2, (F - R) / N**2"),
        edit("misplaced_1_over_n", "(F - R) / N", "F - R", place="F miss W3 b3", factor="N"),
        edit("misplaced_1_over_n", "gZ @ X.T, gS", "gZ @ X.T / N, gS", place="W1", factor="1/N"),
        edit("db_mean", sums, sums.replace("g.sum", "g.mean"), place="b1 b2 b3"),
        edit("db_from_dw", *after(last, "    db3 = np.sum(dW3, axis=1, keepdims=True)\n"), place="b3"),
        edit("db_from_dw", *after(last, "    db1 = np.sum(gZ @ X.T, axis=1, keepdims=True)\n"), place="b1"),
        edit("db_wrong_axis", sums, sums.replace("axis=1", "axis=0"), place="b1 b2 b3"),
        edit("db_not_summed", sums, "gZ, gS, gF", place="b1 b2 b3"),
        edit("transposed_factor", "gH = W2.T @ gS", "gH = W2 @ gS", place="W2"),
        edit("transposed_factor", "gH += W3.T @ gF", "gH += W3 @ gF", place="W3"),
        edit("dw_transposed", "gF @ H.T", "H @ gF.T", place="W3"),
        edit("sign_loss", "(P - Y) / N, (F - R) / N", "(Y - P) / N, (R - F) / N"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", "(F - R) / N", "(R - F) / N", place="F miss W3 b3"),
        edit("sign_param", "gH += W3.T @ gF", "gH -= W3.T @ gF", place="H F W3"),
        edit("activation_derivative_missing", "np.where(on, gH, 0)", "gH", place=inner),
        edit("mask_wrong_array", "np.where(on, gH, 0)", "np.where(X > 0, gH, 0)", place=inner, wrong="X"),
        edit("mask_wrong_array", "np.where(on, gH, 0)", "np.where(F > 0, gH, 0)", place=inner, wrong="F"),
        edit("mask_wrong_array", "np.where(on, gH, 0)", "gH.clip(min=0)", place=inner, wrong="gH"),
        edit("softmax_diagonal", "(P - Y) / N", "Y * (P - 1) / N"),
        edit("softmax_sum_forgotten", "(P - Y) / N", "-Y / N"),
        edit("softmax_unnormalised", "    P = P / np.sum(P, axis=0)\n", ""),
        edit("updated_before_delta", "W3.T @ gF", "(W3 - 0.4 * gF @ H.T).T @ gF", place="W3"),
        edit("overwritten", "gH += W3.T @ gF", "gH = W3.T @ gF", place="H S W2"),
        edit("overwritten", "    gH += W3.T @ gF\n", "", place="H F W3"),
        edit("overwritten", *after(last, "    dW2 = DLAM * W2\n"), place="W2"),
        edit("w_for_dw", *after(last, "    dW3 = W3 + 0\n"), place="W3"),
        edit("wrong_variable", "gS @ H.T", "gS @ Z.T", place="W2 H", wrong="Z"),
        edit("wrong_variable", "gF @ H.T", "gF @ X.T", place="W3 H", wrong="X"),
        edit("wrong_variable", "gZ @ X.T", "gZ @ H.T", place="W1 X", wrong="H"),
        edit("detached", "np.where(on, gH, 0)", "np.zeros(H.shape)", place=inner),
        edit("bias_forgotten", "W3 @ H + b3", "W3 @ H", place="b3"),
        edit("bias_forgotten", "W1 @ X + b1", "W1 @ X", place="b1"),
        edit("off_by_one", "(P - Y) / N", "(P - np.roll(Y, 1, axis=1)) / N"),
        edit("off_by_one", "(P - Y) / N", "(P - np.roll(Y, -1, axis=0)) / N"),
    ]
    names = {f"W{i}": f"{layer}_w" for i, layer in ((1, "trunk"), (2, "cls"), (3, "reg"))}
    return Program(
        *("two layers", "two layers, two heads, columns", ("X", "Y", "R", "lam"), tuple(every.split()), costs),
        *("Y = (y == np.arange(len(b2))[:, None]) * 1.0", gradients, tuple(edits), ("S", "ce", "loss")),
        *(draw, ({}, names | {"lam": "wd"}, {"Z": "z", "H": "feat", "S": "cls", "F": "est", "R": "target"})),
    )


def denoising_autoencoder() -> Program:
    """Rows; the decoder has the transposed matrix of the encoder; squared error of the clean images Y."""

    def draw(rng: Random) -> dict[str, Any]:
        m, n = rng.choice([3, 5]), rng.choice([8, 12])
        arrays = {"X": rng.normal(0, 1, (n, m)), "lam": 0.08, "W": rng.normal(0, 1, (m, m))}
        arrays["Y"] = arrays["X"] + rng.normal(0, 0.4, (n, m))
        return arrays | {"c": rng.normal(0, 0.7, m), "e": rng.normal(0, 0.7, m)}

    costs = {
        "steps": """
    N = X.shape[0]
    Z = X @ W + c
    H = tg.sigmoid(Z)
    F = H @ W.T + e
    gap = F - Y
    return tg.sum(gap * gap) / (2 * N) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = X.shape[0]
    Z = X @ W + c
    H = 1 / (1 + np.exp(-Z))
    gap = H @ W.T + e
    gap = (gap - Y) / N
    decoder = gap.T @ H
    de = np.add.reduce(gap, axis=0)
    gap = gap @ W
    gap = gap * H * (1 - H)
    encoder = X.T @ gap
    dc = np.add.reduce(gap, axis=0)
    dW = encoder + decoder
    dW = dW + DLAM * W
"""
    last, slope = "    dW = dW + DLAM * W\n", "gap * H * (1 - H)"
    to_e, to_c = "    de = np.add.reduce(gap, axis=0)\n", "    dc = np.add.reduce(gap, axis=0)\n"
    edits = [
        *l2_mistakes({"W": last}, ("c", *after(to_c, "    dc = dc + DLAM * c\n"))),
        edit("missing_1_over_n", "(gap - Y) / N", "gap - Y"),
        edit("double_1_over_n", "(gap - Y) / N", "(gap - Y) / N**2"),
        edit("misplaced_1_over_n", slope, f"{slope} / N", place="Z H c", factor="1/N"),
        edit("db_mean", to_e, "    de = np.mean(gap, axis=0)\n", place="e"),
        edit("db_mean", to_c, "    dc = np.mean(gap, axis=0)\n", place="c"),
        edit("db_from_dw", to_c, "    dc = np.add.reduce(encoder, axis=0)\n", place="c"),
        edit("db_from_dw", to_e, "    de = np.add.reduce(decoder, axis=1)\n", place="e"),
        edit("db_wrong_axis", to_e, "    de = np.add.reduce(gap, axis=1)\n", place="e"),
        edit("db_not_summed", to_c, "    dc = gap\n", place="c"),
        edit("transposed_factor", "gap = gap @ W\n", "gap = gap @ W.T\n", place="W"),
        edit("dw_transposed", "encoder + decoder", "encoder + decoder.T", place="W"),
        edit("sign_loss", "(gap - Y) / N", "(Y - gap) / N"),
        edit("sign_all", *after(last, scaled("W c e", "-"))),
        edit("sign_param", f"= {slope}", f"= -{slope}", place="Z H c"),
        edit("activation_derivative_missing", slope, "gap", place="Z H"),
        edit("other_derivative", slope, "gap * (1 - H**2)", place="Z H"),
        edit("derivative_at_input", slope, "gap * Z * (1 - Z)", place="Z H", wrong="Z"),
        edit("overwritten", "dW = encoder + decoder", "dW = decoder", place="W"),
        edit("overwritten", "dW = encoder + decoder", "dW = encoder", place="W"),
        edit("overwritten", "dW = dW + DLAM * W", "dW = DLAM * W", place="W"),
        edit("w_for_dw", last, "    dW = W.copy()\n", place="W"),
        edit("wrong_variable", "gap.T @ H", "gap.T @ X", place="W H", wrong="X"),
        edit("wrong_variable", "gap.T @ H", "gap.T @ Z", place="W H", wrong="Z"),
        edit("detached", "gap = gap @ W\n", "gap = np.zeros(H.shape)\n", place="Z H"),
        edit("bias_forgotten", "H @ W.T + e", "H @ W.T", place="e"),
        edit("off_by_one", "gap - Y", "gap - np.roll(Y, 1, axis=0)"),
        edit("momentum_factor", *after(last, scaled("W c e", "0.1 * "))),
    ]
    return Program(
        *("two layers", "two layers, denoising autoencoder, rows", ("X", "Y", "lam"), ("W", "c", "e"), costs, ""),
        *(
            gradients,
            tuple(edits),
            ("F", "gap"),
            draw,
            ({}, {"W": "code", "F": "decoded"}, {"Y": "clean", "lam": "reg"}),
        ),
    )


# -- k layers ----------------------------------------------------------------------------------------------------------


def cached_layers(k: int) -> Program:
    """Rows; batch norm by way of its mean and variance, Boolean masks, and a list of caches that is read backwards."""
    hidden = range(1, k)
    weights = tuple(f"W{i}" for i in range(1, k + 1))
    names = {0: "X"} | {i: f"H{i}" for i in hidden}

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([9, 12]), rng.choice([3, 4])
        arrays = labels(rng, 3, n, columns=False) | {"X": rng.normal(0, 1, (n, m)), "lam": 0.03, "keep": 0.7}
        for i in range(1, k + 1):
            arrays[f"W{i}"] = rng.normal(0, 1, (m, m if i < k else 3))
        for i in hidden:
            arrays |= {f"gain{i}": rng.uniform(0.6, 1.6, m), f"offset{i}": rng.normal(0, 0.5, m)}
            arrays[f"D{i}"] = rng.random((n, m)) < 0.7
        return arrays | {"b": rng.normal(0, 0.8, 3)}

    def layers(norm: str) -> str:
        return "".join(
            f"""
    A{i} = {names[i - 1]} @ W{i}
    mu{i} = tg.mean(A{i}, axis=0)
    var{i} = tg.mean((A{i} - mu{i}) ** 2, axis=0)
    B{i} = {norm.format(i)}
    T{i} = gain{i} * B{i} + offset{i}
    R{i} = tg.relu(T{i})
    H{i} = R{i} * D{i} / keep"""
            for i in hidden
        )

    costs = {
        "steps": f"""
    N = X.shape[0]{layers("(A{0} - mu{0}) / tg.sqrt(var{0} + 1e-5)")}
    S = H{k - 1} @ W{k} + b
    P = tg.softmax(S, axis=1)
    loss = -tg.sum(Y * tg.log(P)) / N
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
        "power, labels": f"""
    N = len(y){layers("(A{0} - mu{0}) * (var{0} + 1e-5) ** -0.5")}
    S = H{k - 1} @ W{k} + b
    loss = tg.mean(tg.logsumexp(S, axis=1) - S[np.arange(N), y])
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
    }
    lists = ["[" + ", ".join(f"{stem}{i}" for i in hidden) + "]" for stem in ("W", "gain", "offset", "D")]
    results = ", ".join(f"(dW{i}, dgain{i}, doffset{i})" for i in reversed(hidden))
    gradients = f"""
    N, caches, inputs = X.shape[0], [], X
    for weight, gain, offset, on in zip({", ".join(lists)}):
        A = inputs @ weight
        mu, var = A.mean(axis=0), A.var(axis=0)
        normed = (A - mu) / np.sqrt(var + 1e-5)
        scaled = gain * normed + offset
        caches.append((inputs, weight, gain, on, A, mu, var, normed, scaled))
        inputs = np.where(on, np.maximum(scaled, 0) / keep, 0)
    P = np.exp(inputs @ W{k} + b)
    P = P / np.sum(P, axis=1)[:, None]
    G = (P - Y) / N
    db = G.sum(axis=0)
    dW{k} = inputs.T @ G + DLAM * W{k}
    G = G @ W{k}.T
    results = []
    for inputs, weight, gain, on, A, mu, var, normed, scaled in reversed(caches):
        G = np.where(on, G / keep, 0)
        G = np.where(scaled > 0, G, 0)
        to_gain, to_offset = np.sum(G * normed, axis=0), np.sum(G, axis=0)
        G = G * gain
        to_var = np.sum(G * (A - mu), axis=0) * -0.5 * (var + 1e-5) ** -1.5
        to_mu = -np.sum(G, axis=0) / np.sqrt(var + 1e-5)
        G = G / np.sqrt(var + 1e-5)
        G = G + to_var * 2 * (A - mu) / N
        G = G + to_mu / N
        results.append((inputs.T @ G + DLAM * weight, to_gain, to_offset))
        G = G @ weight.T
    {results} = results
"""

    def everywhere(*stems: str) -> str:
        return " ".join(f"{stem}{i}" for i in hidden for stem in stems)

    norm, relu = everywhere("B", "A", "mu", "var", "W"), everywhere("T", "R", "H", "gain", "offset")
    drop, gains, offsets = f"{relu} {everywhere('D')}", everywhere("gain"), everywhere("offset")
    variance, mean = "        G = G + to_var * 2 * (A - mu) / N\n", "        G = G + to_mu / N\n"
    active, mask = "np.where(scaled > 0, G, 0)", "np.where(on, G / keep, 0)"
    top, result = f"    G = G @ W{k}.T\n", "results.append((inputs.T @ G + DLAM * weight, "
    to_b, to_w = "    db = G.sum(axis=0)\n", f"dW{k} = inputs.T @ G + DLAM * W{k}"
    terms = {"": " + DLAM * weight", f"W{k}": f" + DLAM * W{k}"}
    edits = [
        *l2_mistakes(terms, ("b", to_b, "    db = G.sum(axis=0) + DLAM * b\n")),
        edit("missing_1_over_n", "(P - Y) / N", "P - Y"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / (N * N)"),
        edit("divided_by_other", "(P - Y) / N", "(P - Y) / Y.shape[1]"),
        edit("misplaced_1_over_n", to_b, "    db = G.sum(axis=0) * N\n", place="b", factor="N"),
        edit("sign_loss", "(P - Y) / N", "(Y - P) / N"),
        edit("softmax_diagonal", "(P - Y) / N", "(P * Y - Y) / N"),
        edit("softmax_sum_forgotten", "(P - Y) / N", "-Y / N"),
        edit("softmax_unnormalised", "    P = P / np.sum(P, axis=1)[:, None]\n", ""),
        edit("db_mean", to_b, "    db = G.mean(axis=0)\n", place="b"),
        edit(
            "db_mean",
            "np.sum(G, axis=0)\n        G = G * gain",
            "np.mean(G, axis=0)\n        G = G * gain",
            place=offsets,
        ),
        edit("db_from_dw", to_b, "    db = np.sum(inputs.T @ G, axis=0)\n", place="b"),
        edit("db_wrong_axis", to_b, "    db = G.sum(axis=1)\n", place="b"),
        edit("db_not_summed", to_b, "    db = G\n", place="b"),
        edit("db_not_summed", "np.sum(G, axis=0)\n        G = G * gain", "G\n        G = G * gain", place=offsets),
        edit("bias_forgotten", f"inputs @ W{k} + b", f"inputs @ W{k}", place="b"),
        edit("bias_forgotten", "gain * normed + offset", "gain * normed", place=offsets),
        edit("bn_mean_var_constant", variance, "", mean, "", place=norm),
        edit("bn_mean_constant", mean, "", place=norm),
        edit("bn_var_constant", variance, "", place=norm),
        edit("bn_gamma_missing", "        G = G * gain\n", "", place=f"{norm} {gains}"),
        edit("activation_derivative_missing", f"        G = {active}\n", "", place=relu),
        edit("mask_wrong_array", active, "np.where(normed > 0, G, 0)", place=relu, wrong=everywhere("B")),
        edit("mask_wrong_array", active, "np.where(A > 0, G, 0)", place=relu, wrong=everywhere("A")),
        edit("mask_wrong_array", active, "np.where(G > 0, G, 0)", place=relu, wrong="G"),
        edit("dropout_mask_missing", mask, "G / keep", place=drop),
        edit("dropout_not_scaled", mask, "np.where(on, G, 0)", place=drop),
        edit(
            "wrong_variable",
            "np.sum(G * normed, axis=0)",
            "np.sum(G * A, axis=0)",
            place=f"{gains} {everywhere('B')}",
            wrong=everywhere("A"),
        ),
        edit("wrong_variable", to_w, to_w.replace("inputs.T", "scaled.T"), place=f"W{k} H{k - 1}", wrong=f"T{k - 1}"),
        edit("w_for_dw", to_w, f"dW{k} = W{k}", place=f"W{k}"),
        edit(
            "transposed_factor", "        G = G @ weight.T\n", "        G = G @ weight\n", place=" ".join(weights[1:-1])
        ),
        edit("overwritten", to_w, f"dW{k} = DLAM * W{k}", place=f"W{k}"),
        edit("updated_before_delta", top, f"    G = G @ (W{k} - 0.3 * dW{k}).T\n", place=f"W{k}"),
        edit("detached", top, "    G = 0 * inputs\n", place=f"H{k - 1} R{k - 1} T{k - 1}"),
        edit("sign_param", top, f"    G = -G @ W{k}.T\n", place=f"H{k - 1} R{k - 1} T{k - 1}"),
        edit("dw_transposed", f"{result}", "results.append((G.T @ inputs + DLAM * weight, ", place=everywhere("W")),
        edit("off_by_one", to_w, to_w.replace("inputs.T @ G", "inputs[1:].T @ G[1:]"), place=f"W{k}"),
        edit("off_by_one", "(P - Y) / N", "(P - np.roll(Y, -1, axis=1)) / N"),
    ]
    parameters = (*weights, *[f"{stem}{i}" for stem in ("gain", "offset") for i in hidden], "b")
    other = {f"gain{i}": f"stretch{i}" for i in hidden} | {f"W{i}": f"Theta{i}" for i in range(1, k + 1)}
    return Program(
        *("k layers", f"{k} layers, list of caches, rows", ("X", "Y", "lam", *[f"D{i}" for i in hidden], "keep")),
        *(parameters, costs, "Y = (y[:, None] == np.arange(b.size)) * 1.0", gradients, tuple(edits)),
        *(("S", "P", "loss"), draw, ({}, other, {"lam": "reg", "S": "out"} | {f"D{i}": f"drop{i}" for i in hidden})),
    )


def scale_behind_activation() -> Program:
    """Columns, three layers; batch norm in one line, then tanh, and scale and shift behind it."""

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([8, 11]), rng.choice([3, 4])
        arrays = labels(rng, 3, n, columns=True) | {"X": rng.normal(0, 1, (m, n)), "lam": 0.04}
        for i in (1, 2):
            arrays |= {f"W{i}": rng.normal(0, 1, (m, m)), f"gain{i}": rng.uniform(0.6, 1.7, (m, 1))}
            arrays |= {f"offset{i}": rng.normal(0, 0.6, (m, 1))}
        return arrays | {"W3": rng.normal(0, 1, (3, m)), "b": rng.normal(0, 0.8, (3, 1))}

    names = {0: "X", 1: "H1", 2: "H2"}
    costs = {
        "steps, labels": "\n    N = X.shape[1]"
        + "".join(
            f"""
    A{i} = W{i} @ {names[i - 1]}
    mu{i} = tg.mean(A{i}, axis=1, keepdims=True)
    var{i} = tg.mean((A{i} - mu{i}) ** 2, axis=1, keepdims=True)
    B{i} = (A{i} - mu{i}) / tg.sqrt(var{i} + 1e-4)
    T{i} = tg.tanh(B{i})
    H{i} = gain{i} * T{i} + offset{i}"""
            for i in (1, 2)
        )
        + """
    S = W3 @ H2 + b
    ce = tg.logsumexp(S, axis=0) - S[y, np.arange(N)]
    return tg.sum(ce) / N + CLAM * PENALTY(W1, W2, W3)
""",
        "short": "".join(
            f"""
    A{i} = tg.matmul(W{i}, {names[i - 1]})
    mu{i}, var{i} = A{i}.mean(axis=1, keepdims=True), A{i}.var(axis=1, keepdims=True)
    B{i} = (A{i} - mu{i}) / (var{i} + 1e-4) ** 0.5
    H{i} = gain{i} * tg.tanh(B{i}) + offset{i}"""
            for i in (1, 2)
        )
        + """
    S = tg.matmul(W3, H2) + b
    ce = -tg.log(tg.sum(Y * tg.softmax(S, axis=0), axis=0))
    return tg.mean(ce) + CLAM * PENALTY(W1, W2, W3)
""",
    }
    gradients = "\n    N = X.shape[1]" + "".join(
        f"""
    A{i} = W{i} @ {names[i - 1]}
    sd{i} = np.sqrt(A{i}.var(axis=1)[:, None] + 1e-4)
    B{i} = (A{i} - A{i}.mean(axis=1)[:, None]) / sd{i}
    T{i} = np.tanh(B{i})
    H{i} = gain{i} * T{i} + offset{i}"""
        for i in (1, 2)
    )
    gradients += """
    odds = np.exp(W3 @ H2 + b)
    g3 = (odds / odds.sum(axis=0) - Y) / N
    db = g3 @ np.ones((N, 1))
    dW3 = g3 @ H2.T + DLAM * W3"""
    for i in (2, 1):
        gradients += f"""
    gH{i} = np.einsum("ij,in->jn", W{i + 1}, g{i + 1})
    doffset{i} = gH{i} @ np.ones((N, 1))
    dgain{i} = np.einsum("mn,mn->m", gH{i}, T{i})[:, None]
    gT{i} = gH{i} * gain{i}
    gB{i} = gT{i} * (1 - np.square(T{i}))
    g{i} = (gB{i} - gB{i}.mean(1)[:, None] - B{i} * (gB{i} * B{i}).mean(1)[:, None]) / sd{i}
    dW{i} = g{i} @ {names[i - 1]}.T + DLAM * W{i}"""
    gradients += "\n"
    delta, to_b = "(odds / odds.sum(axis=0) - Y) / N", "db = g3 @ np.ones((N, 1))"
    terms = {f"W{i}": f" + DLAM * W{i}" for i in (3, 2, 1)}
    edits = [
        *l2_mistakes(terms, ("b", to_b, f"{to_b} + DLAM * b")),
        edit("missing_1_over_n", delta, delta.removesuffix(" / N")),
        edit("double_1_over_n", delta, f"{delta} / N"),
        edit("divided_by_other", delta, delta.replace("/ N", "/ len(Y)")),
        edit("sign_loss", delta, "(Y - odds / odds.sum(axis=0)) / N"),
        edit("softmax_diagonal", delta, "Y * (odds / odds.sum(axis=0) - 1) / N"),
        edit("softmax_sum_forgotten", delta, "-Y / N"),
        edit("softmax_unnormalised", delta, "(odds - Y) / N"),
        edit("db_mean", to_b, "db = g3.mean(axis=1)[:, None]", place="b"),
        edit("db_from_dw", to_b, "db = (g3 @ H2.T).sum(axis=1)[:, None]", place="b"),
        edit("db_wrong_axis", to_b, "db = np.ones((1, 3)) @ g3", place="b"),
        edit("db_not_summed", to_b, "db = g3 * np.ones(N)", place="b"),
        edit("bias_forgotten", "W3 @ H2 + b", "W3 @ H2", place="b"),
        edit("off_by_one", delta, delta.replace("- Y", "- np.roll(Y, 1, axis=1)")),
        edit("w_for_dw", "dW3 = g3 @ H2.T + DLAM * W3", "dW3 = 1.0 * W3", place="W3"),
        edit("misplaced_1_over_n", "g3 @ H2.T", "g3 @ H2.T / N", place="W3", factor="1/N"),
        edit("transposed_factor", '"ij,in->jn", W2', '"ji,in->jn", W2', place="W2"),
        edit("dw_transposed", "dW2 = g2 @ H1.T", "dW2 = H1 @ g2.T", place="W2"),
        edit("wrong_variable", "g2 @ H1.T", "g2 @ X.T", place="W2 H1", wrong="X"),
    ]
    for i in (2, 1):
        norm, squash, out = f"B{i} A{i} mu{i} var{i} W{i}", f"T{i} B{i} A{i} W{i}", f"H{i} gain{i} offset{i} W{i + 1}"
        mean, variance = f" - gB{i}.mean(1)[:, None]", f" - B{i} * (gB{i} * B{i}).mean(1)[:, None]"
        slope, arrive = f"gT{i} * (1 - np.square(T{i}))", f'np.einsum("ij,in->jn", W{i + 1}, g{i + 1})'
        edits += [
            edit("bn_mean_var_constant", mean, "", variance, "", place=norm),
            edit("bn_mean_constant", mean, "", place=norm),
            edit("bn_var_constant", variance, "", place=norm),
            edit("bn_gamma_missing", f"gT{i} = gH{i} * gain{i}", f"gT{i} = gH{i}", place=f"T{i} {norm} gain{i}"),
            edit("activation_derivative_missing", slope, f"gT{i}", place=squash),
            edit("other_derivative", slope, f"gT{i} * T{i} * (1 - T{i})", place=squash),
            edit("derivative_at_input", slope, f"gT{i} * (1 - np.square(B{i}))", place=squash, wrong=f"B{i}"),
            edit("wrong_variable", f"gH{i}, T{i})", f"gH{i}, B{i})", place=f"gain{i} T{i}", wrong=f"B{i}"),
            edit(
                "updated_before_delta",
                arrive,
                arrive.replace(f"W{i + 1},", f"W{i + 1} - 0.2 * dW{i + 1},"),
                place=f"W{i + 1}",
            ),
            edit("detached", arrive, f"np.zeros(H{i}.shape)", place=out),
            edit("sign_param", arrive, f"-{arrive}", place=out),
        ]
    to_offset = "doffset2 = gH2 @ np.ones((N, 1))"  # that of offset1 is zero, since batch norm removes it
    edits += [
        edit("db_mean", to_offset, to_offset.replace("np.ones((N, 1))", "np.full((N, 1), 1 / N)"), place="offset2"),
        edit("db_wrong_axis", to_offset, "doffset2 = gH2.sum(axis=0)", place="offset2"),
        edit("db_not_summed", to_offset, "doffset2 = gH2", place="offset2"),
    ]
    parameters = ("W1", "gain1", "offset1", "W2", "gain2", "offset2", "W3", "b")
    return Program(
        *("k layers", "3 layers, scale behind tanh, columns", ("X", "Y", "lam"), parameters, costs),
        *("Y = (y == np.arange(len(b))[:, None]) * 1.0", gradients, tuple(edits), ("S", "ce"), draw),
        (
            {},
            {"gain1": "g1", "gain2": "g2", "offset1": "o1", "offset2": "o2"},
            {"lam": "wd", "H1": "out1", "H2": "out2"},
        ),
    )


def updated_in_place(k: int) -> Program:
    """Columns; batch norm, sigmoid and dropout, and one array for each layer that is updated in place."""
    hidden = range(1, k)
    weights = [f"W{i}" for i in range(1, k + 1)]
    names = {0: "X"} | {i: f"H{i}" for i in hidden}

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([9, 11]), rng.choice([3, 4])
        arrays = labels(rng, 3, n, columns=True) | {"X": rng.normal(0, 1, (5, n)), "lam": 0.02, "keep": 0.75}
        for i in hidden:
            arrays |= {f"W{i}": rng.normal(0, 1, (m, 5 if i == 1 else m)), f"g{i}": rng.uniform(0.8, 2, (m, 1))}
            arrays |= {f"h{i}": rng.normal(0, 0.7, (m, 1)), f"M{i}": np.floor(rng.random((m, n)) + 0.75)}
        return arrays | {f"W{k}": rng.normal(0, 1.2, (3, m)), "b": rng.normal(0, 0.8, (3, 1))}

    costs = {
        "steps": "\n    N = X.shape[1]"
        + "".join(
            f"""
    A{i} = tg.matmul(W{i}, {names[i - 1]})
    mu{i} = tg.mean(A{i}, axis=1, keepdims=True)
    var{i} = tg.mean(tg.square(A{i} - mu{i}), axis=1, keepdims=True)
    B{i} = (A{i} - mu{i}) / tg.sqrt(var{i} + 1e-5)
    T{i} = g{i} * B{i} + h{i}
    F{i} = tg.sigmoid(T{i})
    H{i} = F{i} * (M{i} / keep)"""
            for i in hidden
        )
        + f"""
    S = W{k} @ H{k - 1} + b
    logs = S - tg.logsumexp(S, axis=0)
    loss = -tg.sum(Y * logs) / N
    return loss + CLAM * PENALTY({", ".join(weights)})
""",
    }
    gradients = "\n    N = X.shape[1]" + "".join(
        f"""
    A{i} = W{i} @ {names[i - 1]}
    sd{i} = np.sqrt(np.var(A{i}, axis=1, keepdims=True) + 1e-5)
    B{i} = (A{i} - np.mean(A{i}, axis=1, keepdims=True)) / sd{i}
    T{i} = g{i} * B{i} + h{i}
    F{i} = 1 / (1 + np.exp(-T{i}))
    H{i} = F{i} * M{i} / keep"""
        for i in hidden
    )
    gradients += f"""
    S = W{k} @ H{k - 1} + b
    G{k} = np.exp(S - np.max(S, axis=0))
    G{k} /= np.sum(G{k}, axis=0)
    G{k} -= Y
    G{k} /= N
    dW{k} = G{k} @ H{k - 1}.T + DLAM * W{k}
    db = np.sum(G{k}, axis=1, keepdims=True)"""
    for i in reversed(hidden):
        gradients += f"""
    G{i} = W{i + 1}.T @ G{i + 1}
    G{i} *= M{i}
    G{i} /= keep
    G{i} *= F{i} * (1 - F{i})
    dh{i} = np.sum(G{i}, axis=1, keepdims=True)
    dg{i} = np.sum(G{i} * B{i}, axis=1, keepdims=True)
    G{i} *= g{i}
    along{i} = np.mean(G{i} * B{i}, axis=1, keepdims=True)
    G{i} -= np.mean(G{i}, axis=1, keepdims=True)
    G{i} -= along{i} * B{i}
    G{i} /= sd{i}
    dW{i} = G{i} @ {names[i - 1]}.T + DLAM * W{i}"""
    gradients += "\n"
    to_b, delta, ratio = f"db = np.sum(G{k}, axis=1, keepdims=True)", f"    G{k} -= Y\n", f"    G{k} /= N\n"
    edits = [
        *l2_mistakes({w: f" + DLAM * {w}" for w in weights}, ("b", to_b, f"{to_b} + DLAM * b")),
        edit("missing_1_over_n", ratio, ""),
        edit("double_1_over_n", ratio, ratio * 2),
        edit("sign_loss", delta, f"    G{k} = Y - G{k}\n"),
        edit("softmax_diagonal", *after(delta, f"    G{k} *= Y\n")),
        edit("softmax_unnormalised", f"    G{k} /= np.sum(G{k}, axis=0)\n", ""),
        edit("db_from_dw", to_b, f"db = np.sum(dW{k}, axis=1, keepdims=True)", place="b"),
        edit("db_wrong_axis", to_b, f"db = np.sum(G{k}, axis=0)", place="b"),
        edit("off_by_one", delta, f"    G{k} -= np.roll(Y, -1, axis=1)\n"),
    ]
    for i in hidden:
        norm, squash, out = f"B{i} A{i} mu{i} var{i} W{i}", f"F{i} T{i} H{i} g{i} h{i}", f"H{i} F{i} M{i} T{i}"
        mean, variance = f"    G{i} -= np.mean(G{i}, axis=1, keepdims=True)\n", f"    G{i} -= along{i} * B{i}\n"
        slope, to_h = f"    G{i} *= F{i} * (1 - F{i})\n", f"dh{i} = np.sum(G{i}, axis=1, keepdims=True)"
        edits += [
            edit("bn_mean_var_constant", mean, "", variance, "", place=norm),
            edit("bn_mean_constant", mean, "", place=norm),
            edit("bn_var_constant", variance, "", place=norm),
            edit("bn_gamma_missing", f"    G{i} *= g{i}\n", "", place=f"{norm} g{i} T{i}"),
            edit("activation_derivative_missing", slope, "", place=squash),
            edit("other_derivative", slope, f"    G{i} *= 1 - F{i} ** 2\n", place=squash),
            edit("derivative_at_input", slope, f"    G{i} *= T{i} * (1 - T{i})\n", place=squash, wrong=f"T{i}"),
            edit("dropout_mask_missing", f"    G{i} *= M{i}\n", "", place=out),
            edit("dropout_not_scaled", f"    G{i} /= keep\n", "", place=out),
            edit(
                "wrong_variable",
                f"dg{i} = np.sum(G{i} * B{i}",
                f"dg{i} = np.sum(G{i} * A{i}",
                place=f"g{i} B{i}",
                wrong=f"A{i}",
            ),
            edit("db_not_summed", to_h, f"dh{i} = G{i}.copy()", place=f"h{i}"),
        ]
    parameters = (*weights, "b", *[f"{stem}{i}" for stem in "gh" for i in hidden])
    data = ("X", "Y", "lam", *[f"M{i}" for i in hidden], "keep")
    return Program(
        *("k layers", f"{k} layers, updated in place, columns", data, parameters, costs, "", gradients, tuple(edits)),
        *(("S", "logs", "loss"), draw, ({}, {f"g{i}": f"mult{i}" for i in hidden}, {"keep": "p", "lam": "wd"})),
    )


def layers_from_one(k: int) -> Program:
    """Columns; lists that count from 1, sigmoid, dropout by Boolean masks without a scale, and a sum for a mean."""
    hidden = range(1, k)
    weights, biases = ([f"{stem}{i}" for i in range(1, k + 1)] for stem in "Wb")
    names = {0: "X"} | {i: f"H{i}" for i in hidden}

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([7, 10]), rng.choice([3, 4])
        arrays = labels(rng, m, n, columns=True) | {"X": rng.normal(0, 1, (m, n)), "lam": 0.4}
        for i in range(1, k + 1):
            arrays |= {f"W{i}": rng.normal(0, 1.4, (m, m)), f"b{i}": rng.normal(0, 1, (m, 1))}
        return arrays | {f"M{i}": rng.random((m, n)) < 0.8 for i in hidden}

    costs = {
        "steps": "".join(
            f"""
    Z{i} = W{i} @ {names[i - 1]} + b{i}
    F{i} = tg.sigmoid(Z{i})
    H{i} = F{i} * M{i}"""
            for i in hidden
        )
        + f"""
    S = W{k} @ H{k - 1} + b{k}
    nll = tg.logsumexp(S, axis=0) - tg.sum(Y * S, axis=0)
    return tg.sum(nll) + CLAM * PENALTY({", ".join(weights)})
""",
        "where, labels": "".join(
            f"""
    Z{i} = tg.matmul(W{i}, {names[i - 1]}) + b{i}
    F{i} = 1 / (1 + tg.exp(-Z{i}))
    H{i} = tg.where(M{i}, F{i}, 0.0)"""
            for i in hidden
        )
        + f"""
    S = tg.matmul(W{k}, H{k - 1}) + b{k}
    prob = tg.softmax(S, axis=0)
    nll = -tg.log(prob[y, np.arange(len(y))])
    return nll.sum() + CLAM * PENALTY({", ".join(weights)})
""",
    }
    gradients = f"""
    weight, bias = [None, {", ".join(weights)}], [None, {", ".join(biases)}]
    mask, acts, outs = [None, {", ".join(f"M{i}" for i in hidden)}], [X], [X]
    for l in range(1, {k}):
        Z = weight[l] @ outs[l - 1] + bias[l]
        acts.append(1 / (1 + np.exp(-Z)))
        outs.append(acts[l] * mask[l])
    P = np.exp(weight[{k}] @ outs[{k - 1}] + bias[{k}])
    P /= P.sum(axis=0)
    delta = P - Y
    gw, gb = [None] * {k + 1}, [None] * {k + 1}
    for l in range({k}, 0, -1):
        gw[l] = delta @ outs[l - 1].T + DLAM * weight[l]
        gb[l] = delta.sum(axis=1, keepdims=True)
        if l > 1:
            delta = weight[l].T @ delta
            delta = delta * mask[l - 1]
            delta = delta * acts[l - 1] * (1 - acts[l - 1])
    {", ".join(f"d{w}" for w in weights)} = gw[1:]
    {", ".join(f"d{b}" for b in biases)} = gb[1:]
"""

    def everywhere(*stems: str) -> str:
        return " ".join(f"{stem}{i}" for i in hidden for stem in stems)

    here, every = everywhere("Z", "F", "H", "W", "b"), " ".join(biases)
    back, slope = "delta = weight[l].T @ delta\n", "            delta = delta * acts[l - 1] * (1 - acts[l - 1])\n"
    to_w, to_b = "gw[l] = delta @ outs[l - 1].T + DLAM * weight[l]", "gb[l] = delta.sum(axis=1, keepdims=True)"
    masked, last = "            delta = delta * mask[l - 1]\n", f"    {', '.join(f'd{b}' for b in biases)} = gb[1:]\n"
    top = "    delta = P - Y\n"
    edits = [
        *l2_mistakes({"W": " + DLAM * weight[l]"}, (every, to_b, f"{to_b} + DLAM * bias[l]"), "X.shape[1]"),
        edit("l2_missing", *after(last, f"    dW{k} = (P - Y) @ outs[{k - 1}].T\n"), place=f"W{k}"),
        edit("double_1_over_n", top, "    delta = (P - Y) / X.shape[1]\n"),
        edit(
            "misplaced_1_over_n",
            *after(last, f"    dW{k} = (P - Y) @ outs[{k - 1}].T / X.shape[1] + DLAM * W{k}\n"),
            place=f"W{k}",
            factor="1/N",
        ),
        edit("db_mean", to_b, to_b.replace("sum", "mean"), place=every),
        edit("db_from_dw", to_b, "gb[l] = gw[l].sum(axis=1, keepdims=True)", place=every),
        edit(
            "db_from_dw",
            last,
            f"{last}    db{k} = ((P - Y) @ outs[{k - 1}].T).sum(axis=1, keepdims=True)\n",
            place=f"b{k}",
        ),
        edit("db_from_dw", last, f"{last}    db1 = (delta @ X.T).sum(axis=1, keepdims=True)\n", place="b1"),
        edit("db_wrong_axis", to_b, to_b.replace("axis=1", "axis=0"), place=every),
        edit("db_wrong_axis", *after(last, f"    db{k} = (P - Y).sum(axis=0)\n"), place=f"b{k}"),
        edit("db_not_summed", to_b, "gb[l] = delta", place=every),
        edit("db_not_summed", *after(last, "    db1 = delta\n"), place="b1"),
        edit("transposed_factor", back, "delta = weight[l] @ delta\n", place=" ".join(weights[1:])),
        edit("dw_transposed", *after(last, f"    dW{k} = dW{k}.T\n"), place=f"W{k}"),
        edit("sign_loss", top, "    delta = Y - P\n"),
        edit("sign_all", last, last + scaled(" ".join([*weights, *biases]), "-")),
        edit("sign_param", *after(last, f"    db{k} = -db{k}\n"), place=f"b{k}"),
        edit("activation_derivative_missing", slope, "", place=here),
        edit("other_derivative", slope, "            delta = delta * (1 - acts[l - 1] ** 2)\n", place=here),
        edit(
            "derivative_at_input",
            "acts.append(1 / (1 + np.exp(-Z)))\n        outs.append(acts[l] * mask[l])",
            "acts.append(Z)\n        outs.append(1 / (1 + np.exp(-Z)) * mask[l])",
            place=here,
            wrong=everywhere("Z"),
        ),
        edit("dropout_mask_missing", masked, "", place=f"{here} {everywhere('M')}"),
        edit("softmax_diagonal", top, "    delta = -Y * (1 - P)\n"),
        edit("softmax_sum_forgotten", top, "    delta = -1 * Y\n"),
        edit("softmax_unnormalised", "    P /= P.sum(axis=0)\n", ""),
        edit(
            "updated_before_delta",
            back,
            f"weight[l] = weight[l] - 0.1 * gw[l]\n            {back}",
            place=" ".join(weights[1:]),
        ),
        edit("overwritten", *after(f"{to_w}\n", "        gw[l] = DLAM * weight[l]\n"), place=" ".join(weights)),
        edit("w_for_dw", *after(last, "    dW1 = weight[1]\n"), place="W1"),
        edit(
            "wrong_variable",
            *after(last, f"    dW{k} = (P - Y) @ X.T + DLAM * W{k}\n"),
            place=f"W{k} H{k - 1}",
            wrong="X",
        ),
        edit("wrong_variable", *after(last, "    dW1 = delta @ outs[1].T + DLAM * W1\n"), place="W1 X", wrong="H1"),
        edit(
            "wrong_variable",
            "delta @ outs[l - 1].T",
            "delta @ acts[l - 1].T",
            place=f"{' '.join(weights[1:])} {everywhere('H')}",
            wrong=everywhere("F"),
        ),
        edit("detached", back, "delta = 0 * outs[l - 1]\n", place=here),
        edit("detached", to_b, "gb[l] = np.zeros_like(bias[l])", place=every),
        edit("bias_forgotten", f"outs[{k - 1}] + bias[{k}]", f"outs[{k - 1}]", place=f"b{k}"),
        edit(
            "bias_forgotten",
            "weight[l] @ outs[l - 1] + bias[l]",
            "weight[l] @ outs[l - 1]",
            place=" ".join(biases[:-1]),
        ),
        edit("off_by_one", top, "    delta = P - np.roll(Y, 1, axis=1)\n"),
        edit("off_by_one", top, "    delta = P - np.roll(Y, 1, axis=0)\n"),
        edit("momentum_factor", last, last + scaled(" ".join([*weights, *biases]), "0.1 * ")),
    ]
    return Program(
        *("k layers", f"{k} layers, lists from 1, sums, columns", ("X", "Y", "lam", *[f"M{i}" for i in hidden])),
        *((*weights, *biases), costs, f"Y = (y == np.arange(len(b{k}))[:, None]) * 1.0", gradients, tuple(edits)),
        *(("S", "nll", "prob"), draw, ({}, {f"W{i}": f"w{i}" for i in range(1, k + 1)}, {"lam": "mu", "S": "top"})),
    )


def residual_layers() -> Program:
    """Rows, four layers; two residual layers with batch norm; each operation returns a closure for the way back."""

    def draw(rng: Random) -> dict[str, Any]:
        n, m = rng.choice([9, 11]), rng.choice([3, 4])
        arrays = labels(rng, m, n, columns=False) | {"X": rng.normal(0, 1, (n, m)), "lam": 0.02}
        arrays |= {f"W{i}": rng.normal(0, 0.9, (m, m)) for i in (1, 2, 3, 4)}
        return arrays | {"b1": rng.normal(0, 0.8, m), "b2": rng.normal(0, 0.8, m)}

    blocks = "".join(
        f"""
    A{i} = H{i - 1} @ W{i}
    mu{i} = tg.mean(A{i}, axis=0)
    var{i} = tg.var(A{i}, axis=0)
    B{i} = (A{i} - mu{i}) / tg.sqrt(var{i} + 1e-5)
    R{i} = tg.relu(B{i})
    H{i} = H{i - 1} + R{i}"""
        for i in (2, 3)
    )
    costs = {
        "steps": f"""
    N = X.shape[0]
    A1 = X @ W1 + b1
    H1 = tg.relu(A1){blocks}
    S = H3 @ W4 + b2
    P = tg.softmax(S, axis=1)
    loss = -tg.sum(tg.log(P) * Y) / N
    return loss + CLAM * PENALTY(W1, W2, W3, W4)
""",
        "log-sum-exp, labels": f"""
    A1 = tg.matmul(X, W1) + b1
    H1 = tg.maximum(A1, 0){blocks}
    S = tg.matmul(H3, W4) + b2
    loss = tg.mean(tg.logsumexp(S, axis=1) - S[np.arange(len(y)), y])
    return CLAM * PENALTY(W1, W2, W3, W4) + loss
""",
    }
    gradients = """
    def dense(inputs, weight):
        return inputs @ weight, lambda G: (inputs.T @ G, G @ weight.T)

    def rectified(inputs):
        return np.maximum(inputs, 0), lambda G: np.where(inputs > 0, G, 0)

    def normalised(inputs):
        deviation = np.sqrt(inputs.var(axis=0) + 1e-5)
        normed = (inputs - inputs.mean(axis=0)) / deviation

        def back(G):
            centred = G - G.mean(axis=0)
            return (centred - normed * (G * normed).mean(axis=0)) / deviation

        return normed, back

    A1, back_dense1 = dense(X, W1)
    H1, back_relu1 = rectified(A1 + b1)
    A2, back_dense2 = dense(H1, W2)
    B2, back_norm2 = normalised(A2)
    R2, back_relu2 = rectified(B2)
    H2 = H1 + R2
    A3, back_dense3 = dense(H2, W3)
    B3, back_norm3 = normalised(A3)
    R3, back_relu3 = rectified(B3)
    H3 = H2 + R3
    S, back_dense4 = dense(H3, W4)
    odds = np.exp(S + b2)
    G = (odds / odds.sum(axis=1, keepdims=True) - Y) / len(X)
    db2 = np.ones(len(X)) @ G
    dW4, G = back_dense4(G)
    dW3, through3 = back_dense3(back_norm3(back_relu3(G)))
    G = G + through3
    dW2, through2 = back_dense2(back_norm2(back_relu2(G)))
    G = G + through2
    G = back_relu1(G)
    db1 = np.ones(len(X)) @ G
    dW1 = back_dense1(G)[0]
    dW1, dW2 = dW1 + DLAM * W1, dW2 + DLAM * W2
    dW3, dW4 = dW3 + DLAM * W3, dW4 + DLAM * W4
"""
    delta = "(odds / odds.sum(axis=1, keepdims=True) - Y) / len(X)"
    last, gate = "    dW3, dW4 = dW3 + DLAM * W3, dW4 + DLAM * W4\n", "lambda G: np.where(inputs > 0, G, 0)"
    to2, to1 = "db2 = np.ones(len(X)) @ G", "db1 = np.ones(len(X)) @ G"
    norm = " ".join(f"B{i} A{i} mu{i} var{i} W{i}" for i in (2, 3))
    centring, variance = "centred = G - G.mean(axis=0)", "(centred - normed * (G * normed).mean(axis=0))"
    block3, block2 = "back_dense3(back_norm3(back_relu3(G)))", "back_dense2(back_norm2(back_relu2(G)))"
    terms = {f"W{i}": f" + DLAM * W{i}" for i in (1, 2, 3, 4)}
    edits = [
        *l2_mistakes(terms, ("b1", *after(last, "    db1 = db1 + DLAM * b1\n")), "len(X)"),
        edit("missing_1_over_n", delta, delta.removesuffix(" / len(X)")),
        edit("double_1_over_n", delta, f"{delta} / len(X)"),
        edit("divided_by_other", delta, delta.replace("len(X)", "Y.shape[1]")),
        edit(
            "misplaced_1_over_n", "G = G + through2", "G = (G + through2) / len(X)", place="H1 A1 W1 b1", factor="1/N"
        ),
        edit("db_mean", to2, "db2 = np.mean(G, axis=0)", place="b2"),
        edit("db_mean", to1, "db1 = np.mean(G, axis=0)", place="b1"),
        edit("db_from_dw", to1, "db1 = np.ones(len(W1)) @ (X.T @ G)", place="b1"),
        edit("db_from_dw", to2, "db2 = (H3.T @ G).sum(axis=0)", place="b2"),
        edit("db_wrong_axis", to1, "db1 = G @ np.ones(G.shape[1])", place="b1"),
        edit("db_not_summed", to2, "db2 = np.ones(G.shape) * G", place="b2"),
        edit("transposed_factor", "G @ weight.T)", "G @ weight)", place="W2 W3 W4"),
        edit("dw_transposed", "(inputs.T @ G, ", "(G.T @ inputs, ", place="W1 W2 W3 W4"),
        edit("dw_transposed", *after("    dW1 = back_dense1(G)[0]\n", "    dW1 = dW1.T\n"), place="W1"),
        edit("sign_loss", delta, "(Y - odds / odds.sum(axis=1, keepdims=True)) / len(X)"),
        edit("sign_all", *after(last, scaled("W1 W2 W3 W4 b1 b2", "-"))),
        edit("sign_param", "G = G + through3", "G = G - through3", place="R3 B3 A3"),
        edit("sign_param", to1, f"{to1} * -1", place="b1"),
        edit("softmax_diagonal", delta, "Y * (odds / odds.sum(axis=1, keepdims=True) - 1) / len(X)"),
        edit("softmax_sum_forgotten", delta, "(0 - Y) / len(X)"),
        edit("softmax_unnormalised", delta, "(odds - Y) / len(X)"),
        edit("activation_derivative_missing", gate, "lambda G: G", place="H1 A1 R2 B2 R3 B3"),
        edit("activation_derivative_missing", "    G = back_relu1(G)\n", "", place="H1 A1 W1 b1"),
        edit("activation_derivative_missing", block3, "back_dense3(back_norm3(G))", place="R3 B3"),
        edit("mask_wrong_array", "back_relu1(G)", "np.where(X > 0, G, 0)", place="H1 A1 W1 b1", wrong="X"),
        edit(
            "mask_wrong_array",
            "rectified(B2)",
            "np.maximum(B2, 0), lambda G: np.where(H1 > 0, G, 0)",
            place="R2 B2",
            wrong="H1",
        ),
        edit("mask_wrong_array", gate, "lambda G: np.where(G > 0, G, 0)", place="H1 A1 R2 B2 R3 B3", wrong="G"),
        edit("bn_mean_var_constant", centring, "centred = G", variance, "centred", place=norm),
        edit("bn_mean_constant", centring, "centred = G", place=norm),
        edit("bn_var_constant", variance, "centred", place=norm),
        edit(
            "bn_var_constant",
            block2,
            "back_dense2((lambda g: (g - g.mean(axis=0)) / np.sqrt(A2.var(axis=0) + 1e-5))(back_relu2(G)))",
            place="B2 A2 var2 W2",
        ),
        edit("overwritten", "G = G + through3", "G = through3", place="H2 H3"),
        edit("overwritten", "G = G + through2", "G = through2", place="H1 H2"),
        edit("overwritten", "    G = G + through3\n", "", place="H2 A3 W3"),
        edit("overwritten", *after(last, "    dW4 = DLAM * W4\n"), place="W4"),
        edit(
            "updated_before_delta",
            "dW4, G = back_dense4(G)",
            "dW4 = H3.T @ G\n    G = G @ (W4 - 0.3 * dW4).T",
            place="W4",
        ),
        edit("w_for_dw", *after(last, "    dW2 = W2\n"), place="W2"),
        edit("wrong_variable", "dense(H2, W3)", "H2 @ W3, lambda G: (H1.T @ G, G @ W3.T)", place="W3 H2", wrong="H1"),
        edit("wrong_variable", "dense(H3, W4)", "H3 @ W4, lambda G: (R3.T @ G, G @ W4.T)", place="W4 H3", wrong="R3"),
        edit("wrong_variable", "dW1 = back_dense1(G)[0]", "dW1 = H1.T @ G", place="W1 X", wrong="H1"),
        edit("detached", "G = back_relu1(G)", "G = back_relu1(0 * G)", place="H1 A1 W1 b1"),
        edit("bias_forgotten", "rectified(A1 + b1)", "rectified(A1)", place="b1"),
        edit("bias_forgotten", "np.exp(S + b2)", "np.exp(S)", place="b2"),
        edit("off_by_one", delta, delta.replace("- Y", "- np.roll(Y, -1, axis=0)")),
        edit("momentum_factor", *after(last, scaled("W1 W2 W3 W4 b1 b2", "(1 - 0.9) * "))),
    ]
    return Program(
        *("k layers", "4 layers, residual, closures, rows", ("X", "Y", "lam"), ("W1", "W2", "W3", "W4", "b1", "b2")),
        *(costs, "Y = (y[:, None] == np.arange(b2.size)) * 1.0", gradients, tuple(edits), ("S", "P", "loss"), draw),
        (
            {},
            {"W1": "stem", "W2": "block1", "W3": "block2", "W4": "head"},
            {"b1": "c_in", "b2": "c_out", "lam": "decay"},
        ),
    )


# -- patchify ----------------------------------------------------------------------------------------------------------


def hinge_of_patches() -> Program:
    """Columns; images as columns of pixels, one image after the other, and a hinge behind the convolution."""

    def draw(rng: Random) -> dict[str, Any]:
        n, filters = rng.choice([7, 9]), rng.choice([2, 3])
        arrays = labels(rng, 3, n, columns=True) | {"X": rng.normal(0, 1, (32, n)), "lam": 0.06}
        arrays |= {"F": rng.normal(0, 0.5, (8, filters)), "f": rng.normal(0, 0.5, (filters, 1))}
        return arrays | {"W": rng.normal(0, 0.5, (3, 4 * filters)), "b": rng.normal(0, 0.5, (3, 1))}

    cut = """
    N = X.shape[1]
    patches = X.reshape(2, 2, 2, 2, 2, N).transpose(0, 2, 1, 3, 4, 5).reshape(4, 8, N)"""
    costs = {
        "einsum": f"""{cut}
    C = tg.einsum("pvn,vk->pkn", patches, F) + f
    R = tg.relu(C)
    flat = R.reshape(-1, N)
    S = W @ flat + b
    own = tg.sum(Y * S, axis=0)
    gaps = tg.relu(S - own + 1) * (1 - Y)
    hinge = tg.sum(gaps, axis=0)
    return tg.mean(hinge) + CLAM * PENALTY(F, W)
""",
        "products, labels": f"""{cut}
    C = tg.matmul(F.T, patches) + f
    R = tg.where(C > 0, C, 0.0)
    flat = tg.reshape(R, (-1, N))
    S = tg.matmul(W, flat) + b
    own = S[y, np.arange(N)]
    gaps = tg.maximum(S - own + 1, 0)
    return (tg.sum(gaps) - N) / N + CLAM * PENALTY(F, W)
""",
    }
    gradients = f"""{cut}
    dF, df, dW, db = [np.zeros(p.shape) for p in (F, f, W, b)]
    for n in range(N):
        C = F.T @ patches[:, :, n].T + f
        R = np.where(C > 0, C, 0)
        flat = R.T.ravel()
        s = W @ flat + b[:, 0]
        hit = s + 1 > s[Y[:, n] == 1]
        hit[Y[:, n] == 1] = False
        g = np.where(Y[:, n] == 1, -hit.sum(), hit)
        dW += np.outer(g, flat)
        db[:, 0] += g
        toR = (g @ W).reshape(R.T.shape).T
        toC = np.where(C > 0, toR, 0)
        dF += (toC @ patches[:, :, n]).T
        df[:, 0] += toC.sum(axis=1)
    dF, df, dW, db = dF / N, df / N, dW / N, db / N
    dF += DLAM * F
    dW += DLAM * W
"""
    conv, last, own = "C R F f", "    dW += DLAM * W\n", "np.where(Y[:, n] == 1, -hit.sum(), hit)"
    ratio, grow = "dF, df, dW, db = dF / N, df / N, dW / N, db / N", "    dF += DLAM * F\n"
    gate = "np.where(C > 0, toR, 0)"
    to_f, cube = "df[:, 0] += toC.sum(axis=1)", "dF.reshape(2, 2, 2, -1)"
    edits = [
        *l2_mistakes({"F": grow, "W": last}, ("f", *after(last, "    df += DLAM * f\n"))),
        edit("missing_1_over_n", f"    {ratio}\n", ""),
        edit("double_1_over_n", "-hit.sum(), hit)", "-hit.sum() / N, hit / N)"),
        edit("divided_by_other", ratio, ratio.replace("N", "len(Y)")),
        edit("misplaced_1_over_n", ratio, ratio.replace("dF / N, df / N", "dF, df"), place=conv, factor="N"),
        edit("misplaced_1_over_n", ratio, ratio.replace("db / N", "db"), place="b", factor="N"),
        edit("db_mean", to_f, "df[:, 0] += toC.sum(axis=1) / N", place="f"),
        edit("db_mean", to_f, "df[:, 0] += toC.sum(axis=1) / N / 4", place="f"),
        edit("db_from_dw", to_f, "df[:, 0] += (toC @ patches[:, :, n]).sum(axis=1)", place="f"),
        edit("db_from_dw", "db[:, 0] += g", "db[:, 0] += np.outer(g, flat).sum(axis=1)", place="b"),
        edit("dw_transposed", *after(last, "    dW = dW.T\n"), place="W"),
        edit("sign_loss", "-hit.sum(), hit)", "hit.sum(), -1 * hit)"),
        edit("sign_all", *after(last, scaled("F f W b", "-"))),
        edit("sign_param", gate, f"-{gate}", place=conv),
        edit("hinge_own_missing", own, "1 * hit", place="own"),
        edit("hinge_own_sign", "-hit.sum()", "hit.sum()", place="own"),
        edit("hinge_own_once", "-hit.sum()", "-1", place="own"),
        edit("hinge_own_counted", "-hit.sum()", "-(hit.sum() + 1)", place="own"),
        edit("margin_forgotten", "s + 1 > s[", "s > s[", place="gaps"),
        edit("mask_wrong_array", "s + 1 > s[Y[:, n] == 1]", "s > 0", place="gaps", wrong="S"),
        edit("activation_derivative_missing", "s + 1 > s[Y[:, n] == 1]", "s == s", place="gaps"),
        edit("activation_derivative_missing", gate, "toR", place=conv),
        edit("mask_wrong_array", gate, "np.where(toR > 0, toR, 0)", place=conv, wrong="toR"),
        edit("overwritten", grow, "    dF = DLAM * F\n", place="F"),
        edit("updated_before_delta", "(g @ W)", "(g @ (W - 0.2 * np.outer(g, flat)))", place="W"),
        edit("w_for_dw", last, "    dW = W\n", place="W"),
        edit("wrong_variable", "np.outer(g, flat)", "np.outer(g, C.T.ravel())", place="W flat R", wrong="C"),
        edit("detached", "toR = (g @ W)", "toR = (0 * g @ W)", place=f"flat {conv}"),
        edit("filter_flipped", grow, f"    dF = {cube}[::-1, ::-1].reshape(F.shape) + DLAM * F\n", place="F"),
        edit("filter_transposed", grow, f"    dF = {cube}.swapaxes(0, 1).reshape(F.shape) + DLAM * F\n", place="F"),
        edit("channels_swapped", grow, f"    dF = {cube}[:, :, ::-1].reshape(F.shape) + DLAM * F\n", place="F"),
        edit("bias_forgotten", "patches[:, :, n].T + f", "patches[:, :, n].T", place="f"),
        edit("bias_forgotten", "W @ flat + b[:, 0]", "W @ flat", place="b"),
        edit("off_by_one", "range(N)", "range(1, N)"),
        edit("off_by_one", "range(N)", "range(N - 1)"),
    ]
    return Program(
        *("patchify", "patchify, pixels, hinge, columns", ("X", "Y", "lam"), ("F", "f", "W", "b"), costs),
        *("Y = (y == np.arange(len(b))[:, None]) * 1", gradients, tuple(edits), ("S", "gaps", "hinge"), draw),
        ({}, {"F": "filters", "f": "filter_bias", "C": "conv_out"}, {"W": "Wlast", "b": "blast", "lam": "reg"}),
    )


def einsum_of_patches() -> Program:
    """Rows; einsum throughout, filters and linear layer as arrays of four axes, softplus."""

    def draw(rng: Random) -> dict[str, Any]:
        n, channels = rng.choice([7, 10]), rng.choice([2, 3])
        arrays = labels(rng, 4, n, columns=False) | {"X": rng.normal(0, 1, (n, 4, 4, channels)), "lam": 0.05}
        arrays |= {"K": rng.normal(0, 0.5, (2, 2, channels, 2)), "q": rng.normal(0, 0.5, 2)}
        return arrays | {"W": rng.normal(0, 0.7, (2, 2, 2, 4)), "b": rng.normal(0, 0.7, 4)}

    cut = """
    N = X.shape[0]
    blocks = X.reshape(N, 2, 2, 2, 2, -1)"""
    costs = {
        "steps": f"""{cut}
    C = tg.einsum("nafbgc,fgck->nabk", blocks, K) + q
    A = tg.log(1 + tg.exp(C))
    Z = tg.einsum("nabk,abkj->nj", A, W) + b
    logp = Z - tg.logsumexp(Z, axis=1, keepdims=True)
    return -tg.einsum("nj,nj->", Y, logp) / N + CLAM * PENALTY(K, W)
""",
    }
    gradients = f"""{cut}
    C = np.einsum("nafbgc,fgck->nabk", blocks, K) + q
    A = np.log1p(np.exp(C))
    Z = np.einsum("nabk,abkj->nj", A, W) + b
    P = np.exp(Z - np.log(np.einsum("nj->n", np.exp(Z)))[:, None])
    toZ = (P - Y) / N
    dW = np.einsum("nabk,nj->abkj", A, toZ) + DLAM * W
    db = np.einsum("nj->j", toZ)
    toA = np.einsum("nj,abkj->nabk", toZ, W)
    toC = toA / (1 + np.exp(-C))
    dK = np.einsum("nafbgc,nabk->fgck", blocks, toC) + DLAM * K
    dq = np.einsum("nabk->k", toC)
"""
    conv, last, slope = "C A K q", '    dq = np.einsum("nabk->k", toC)\n', "toA / (1 + np.exp(-C))"
    to_k, to_w = 'np.einsum("nafbgc,nabk->fgck", blocks, toC)', 'np.einsum("nabk,nj->abkj", A, toZ)'
    to_b, back = 'np.einsum("nj->j", toZ)', 'np.einsum("nj,abkj->nabk", toZ, W)'
    edits = [
        *l2_mistakes({"W": " + DLAM * W", "K": " + DLAM * K"}, ("q", *after(last, "    dq = dq + DLAM * q\n"))),
        edit("missing_1_over_n", "(P - Y) / N", "P - Y"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N**2"),
        edit("misplaced_1_over_n", slope, "toA / (1 + np.exp(-C)) / N", place=conv, factor="1/N"),
        edit("misplaced_1_over_n", to_k, f"{to_k} / N", place="K", factor="1/N"),
        edit("db_mean", last, "    dq = toC.sum(axis=(1, 2)).mean(axis=0)\n", place="q"),
        edit("db_mean", to_b, "toZ.mean(axis=0)", place="b"),
        edit("db_from_dw", last, '    dq = np.einsum("nafbgc,nabk->k", blocks, toC)\n', place="q"),
        edit("db_from_dw", to_b, 'np.einsum("nabk,nj->j", A, toZ)', place="b"),
        edit("db_wrong_axis", last, '    dq = np.einsum("nabk->b", toC)\n', place="q"),
        edit("db_wrong_axis", to_b, 'np.einsum("nj->n", toZ)', place="b"),
        edit("db_not_summed", last, '    dq = np.einsum("nabk->nk", toC)\n', place="q"),
        edit("db_not_summed", to_b, "toZ", place="b"),
        edit("sign_loss", "(P - Y) / N", "(Y - P) / N"),
        edit("sign_all", *after(last, scaled("K q W b", "-"))),
        edit("sign_param", f"toC = {slope}", f"toC = -{slope}", place=conv),
        edit("activation_derivative_missing", slope, "toA", place=conv),
        edit("other_derivative", slope, "toA * (C > 0)", place=conv),
        edit("other_derivative", slope, "toA * np.exp(-C) / (1 + np.exp(-C)) ** 2", place=conv),
        edit("derivative_at_input", slope, "toA / (1 + np.exp(-A))", place=conv, wrong="A"),
        edit("softmax_diagonal", "(P - Y) / N", "Y * (P - 1) / N"),
        edit("softmax_sum_forgotten", "(P - Y) / N", "-Y / N"),
        edit("softmax_unnormalised", 'np.exp(Z - np.log(np.einsum("nj->n", np.exp(Z)))[:, None])', "np.exp(Z)"),
        edit("overwritten", f"dK = {to_k} + DLAM * K", "dK = DLAM * K", place="K"),
        edit("updated_before_delta", back, back.replace("W)", "W - 0.3 * dW)"), place="W"),
        edit("w_for_dw", f"dW = {to_w} + DLAM * W", "dW = W", place="W"),
        edit("wrong_variable", to_w, to_w.replace("A, ", "C, "), place="W A", wrong="C"),
        edit("detached", back, back.replace("toZ, ", "0 * toZ, "), place=conv),
        edit("filter_transposed", to_k, to_k.replace("->fgck", "->gfck"), place="K"),
        edit("filter_flipped", to_k, f"{to_k}[::-1, ::-1]", place="K"),
        edit("channels_swapped", to_k, f"{to_k}[:, :, ::-1]", place="K"),
        edit("bias_forgotten", "A, W) + b", "A, W)", place="b"),
        edit("bias_forgotten", "blocks, K) + q", "blocks, K)", place="q"),
        edit("off_by_one", "blocks, toC", "blocks[1:], toC[1:]", place="K"),
        edit("off_by_one", "(P - Y) / N", "(P - np.roll(Y, 1, axis=1)) / N"),
        edit("momentum_factor", *after(last, scaled("K q W b", "(1 - 0.9) * "))),
    ]
    return Program(
        *("patchify", "patchify, einsum, softplus, rows", ("X", "Y", "lam"), ("K", "q", "W", "b"), costs, ""),
        *(gradients, tuple(edits), ("Z", "logp"), draw),
        ({}, {"K": "kernel", "q": "kernel_b", "A": "maps"}, {"W": "readout", "b": "readout_b", "lam": "wd"}),
    )


def gathered_patches() -> Program:
    """Columns; overlapping patches gathered by an index, filters as rows, a hidden layer, and dropout by floats."""

    def draw(rng: Random) -> dict[str, Any]:
        n, m, filters = rng.choice([8, 10]), rng.choice([3, 4]), rng.choice([2, 3])
        arrays = labels(rng, 3, n, columns=True) | {"X": rng.normal(0, 1, (9, n)), "lam": 0.03}
        arrays |= {"F": rng.normal(0, 0.8, (filters, 4)), "f": rng.normal(0, 0.6, (filters, 1, 1))}
        arrays |= {"W1": rng.normal(0, 0.7, (m, 4 * filters)), "b1": rng.normal(0, 0.6, (m, 1))}
        arrays |= {"W2": rng.normal(0, 0.9, (3, m)), "b2": rng.normal(0, 0.6, (3, 1))}
        return arrays | {"D1": np.where(rng.random((m, n)) < 0.75, 1 / 0.75, 0)}

    cut = """
    N = X.shape[1]
    corner = np.array([0, 1, 3, 4])
    patches = X[corner[:, None] + corner]"""
    costs = {
        "steps, labels": f"""{cut}
    C = tg.tensordot(F, patches, axes=([1], [0])) + f
    R = tg.relu(C)
    flat = R.reshape(-1, N)
    Z = W1 @ flat + b1
    H = tg.tanh(Z) * D1
    S = W2 @ H + b2
    P = tg.softmax(S, axis=0)
    loss = -tg.mean(tg.log(P[y, np.arange(N)]))
    return loss + CLAM * PENALTY(F, W1, W2)
""",
        "einsum": f"""{cut}
    C = tg.einsum("kv,vpn->kpn", F, patches) + f
    R = tg.maximum(C, 0)
    flat = tg.reshape(R, (-1, N))
    Z = tg.matmul(W1, flat) + b1
    H = D1 * tg.tanh(Z)
    S = tg.matmul(W2, H) + b2
    loss = tg.sum(tg.logsumexp(S, axis=0) - tg.sum(Y * S, axis=0)) / N
    return loss + CLAM * PENALTY(F, W1, W2)
""",
    }
    gradients = f"""{cut}
    C = np.einsum("kv,vpn->kpn", F, patches) + f
    flat = np.where(C > 0, C, 0).reshape(-1, N)
    Z = W1 @ flat + b1
    tanh = np.tanh(Z)
    H = tanh * D1
    P = np.exp(W2 @ H + b2)
    P = P / P.sum(axis=0)
    G = (P - Y) / N
    dW2, db2 = G @ H.T + DLAM * W2, G.sum(axis=1, keepdims=True)
    G = np.matmul(W2.T, G)
    G = G * D1
    G = G * (1 + tanh) * (1 - tanh)
    dW1, db1 = G @ flat.T + DLAM * W1, G.sum(axis=1, keepdims=True)
    G = np.matmul(W1.T, G).reshape(C.shape)
    G = np.where(C > 0, G, 0)
    dF = np.einsum("kpn,vpn->kv", G, patches) + DLAM * F
    df = np.einsum("kpn->k", G).reshape(f.shape)
"""
    conv, inner = "C R F f", "H Z W1 b1"
    last, sums = '    df = np.einsum("kpn->k", G).reshape(f.shape)\n', "G.sum(axis=1, keepdims=True)"
    top, low = f"dW2, db2 = G @ H.T + DLAM * W2, {sums}", f"dW1, db1 = G @ flat.T + DLAM * W1, {sums}"
    to_f, gate = 'np.einsum("kpn,vpn->kv", G, patches)', "    G = np.where(C > 0, G, 0)\n"
    slope, back, every = "    G = G * (1 + tanh) * (1 - tanh)\n", "    G = np.matmul(W2.T, G)\n", "F f W1 b1 W2 b2"
    terms = {name: f" + DLAM * {name}" for name in ("W2", "W1", "F")}
    edits = [
        *l2_mistakes(terms, ("b1", *after(last, "    db1 = db1 + DLAM * b1\n"))),
        edit("missing_1_over_n", "(P - Y) / N", "P - Y"),
        edit("double_1_over_n", "(P - Y) / N", "(P - Y) / N / N"),
        edit("misplaced_1_over_n", "np.matmul(W1.T, G)", "np.matmul(W1.T, G / N)", place=f"flat {conv}", factor="1/N"),
        edit("db_mean", top, top.replace("sum", "mean"), place="b2"),
        edit("db_mean", low, low.replace("sum", "mean"), place="b1"),
        edit("db_from_dw", low, "dW1 = G @ flat.T + DLAM * W1\n    db1 = dW1.sum(axis=1, keepdims=True)", place="b1"),
        edit("db_from_dw", last, '    df = np.einsum("kpn,vpn->k", G, patches).reshape(f.shape)\n', place="f"),
        edit("db_from_dw", top, top.replace(sums, "(G @ H.T).sum(axis=1, keepdims=True)"), place="b2"),
        edit("db_wrong_axis", top, top.replace("axis=1", "axis=0"), place="b2"),
        edit("db_wrong_axis", last, '    df = np.einsum("kpn->p", G)[:, None, None]\n', place="f"),
        edit("db_not_summed", low, low.replace(sums, "G"), place="b1"),
        edit("db_not_summed", last, "    df = G\n", place="f"),
        edit("sign_loss", "(P - Y) / N", "(Y - P) / N"),
        edit("sign_all", *after(last, scaled(every, "-"))),
        edit("sign_param", back, "    G = np.matmul(-W2.T, G)\n", place=inner),
        edit("activation_derivative_missing", slope, "", place=inner),
        edit("activation_derivative_missing", gate, "", place=conv),
        edit("other_derivative", slope, "    G = G * tanh * (1 - tanh)\n", place=inner),
        edit("derivative_at_input", slope, "    G = G * (1 + Z) * (1 - Z)\n", place=inner, wrong="Z"),
        edit("derivative_at_input", slope, "    G = G * (1 + H) * (1 - H)\n", place=inner, wrong="H"),
        edit("mask_wrong_array", gate, "    G = np.where(G > 0, G, 0)\n", place=conv, wrong="G"),
        edit("dropout_mask_missing", "    G = G * D1\n", "", place=f"{inner} D1"),
        edit("dropout_not_scaled", "    G = G * D1\n", "    G = G * (D1 != 0)\n", place=f"{inner} D1"),
        edit("softmax_diagonal", "(P - Y) / N", "-Y * (1 - P) / N"),
        edit("softmax_sum_forgotten", "(P - Y) / N", "(0.0 - Y) / N"),
        edit("softmax_unnormalised", "    P = P / P.sum(axis=0)\n", ""),
        edit("overwritten", *after(last, "    dW1 = DLAM * W1\n"), place="W1"),
        edit("updated_before_delta", back, "    G = np.matmul((W2 - 0.2 * dW2).T, G)\n", place="W2"),
        edit("w_for_dw", *after(last, "    dF = F\n"), place="F"),
        edit("wrong_variable", "G @ H.T", "G @ tanh.T", place="W2 H"),
        edit("wrong_variable", "G @ H.T", "G @ Z.T", place="W2 H", wrong="Z"),
        edit("wrong_variable", "G @ flat.T", "G @ C.reshape(-1, N).T", place="W1 flat R", wrong="C"),
        edit("detached", "np.matmul(W1.T, G)", "np.matmul(0 * W1.T, G)", place=f"flat {conv}"),
        edit("filter_flipped", to_f, f"{to_f}[:, ::-1]", place="F"),
        edit("filter_transposed", to_f, f"{to_f}.reshape(-1, 2, 2).swapaxes(1, 2).reshape(F.shape)", place="F"),
        edit("bias_forgotten", "F, patches) + f", "F, patches)", place="f"),
        edit("bias_forgotten", "W1 @ flat + b1", "W1 @ flat", place="b1"),
        edit("off_by_one", "(P - Y) / N", "(P - np.roll(Y, 1, axis=1)) / N"),
        edit("off_by_one", "G, patches)", "G[:, :, 1:], patches[:, :, 1:])", place="F"),
    ]
    return Program(
        *("patchify", "patchify, gathered pixels, columns", ("X", "Y", "lam", "D1"), tuple(every.split()), costs),
        *("Y = (y == np.arange(len(b2))[:, None]) * 1.0", gradients, tuple(edits), ("S", "P", "loss"), draw),
        ({}, {"F": "conv", "f": "conv_b", "R": "relu_maps"}, {"W1": "fc", "b1": "fc_b", "W2": "out", "b2": "out_b"}),
    )
