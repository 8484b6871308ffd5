"""A set that was held out until 22 November 2026: other networks, written in other ways, for the same mistakes.

Its one run before it served to improve the doctor named 480 of 508 single mistakes (94.5 %) by the first sentence.

Gradients are accumulated over images, in helper variables, by ``einsum``, or with the short formula of batch norm.
There are label smoothing, a squared hinge, weights and activations that are used twice, and other activations.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests.evidence.hand_derived.programs import Edit, Program, edit

Random = np.random.Generator


@cache
def programs() -> tuple[Program, ...]:
    """Return the programs of the set."""
    return (
        *(softmax_image_by_image(), softmax_with_smoothed_labels(), svm_image_by_image(), squared_hinge()),
        *(two_layers_chained(name) for name in ("tanh", "relu", "softplus")),
        *(two_layers_with_skip(), tied_weights()),
        *(short_batch_norm(k) for k in (2, 3, 4)),
        *(plain_layers_with_dropout(k) for k in (3, 5)),
        *(patches_as_rows(), patches_by_reshaping()),
    )


def labels_and_one_hot(rng: Random, classes: int, images: int, *, rows: bool) -> dict[str, Any]:
    """Return labels of every class, as integers and one-hot."""
    y = rng.permutation(np.arange(images) % classes)
    one_hot = np.eye(classes)[y]
    return {"y": y, "Y": one_hot if rows else np.ascontiguousarray(one_hot.T)}


def added_penalty(weights: tuple[str, ...], bias: str) -> list[Edit]:
    """Return the mistakes of the L2 term, where each weight's gradient has the statement ``dW += DLAM * W``."""
    lines = [f"    d{w} += DLAM * {w}\n" for w in weights]

    def all_lines(text: str) -> list[str]:
        return [t for w, line in zip(weights, lines, strict=True) for t in (line, text.format(w))]

    last = weights[-1]
    edits = [
        edit("l2_half", *all_lines("    d{0} += {0} * lam\n"), factor="1/2"),
        edit("l2_double", *all_lines("    d{0} += (lam + lam) * {0}\n"), factor="2"),
        edit("l2_over_n", *all_lines("    d{0} += DLAM / N * {0}\n"), factor="1/N"),
        edit("l2_missing", *all_lines("")),
        edit("l2_bias", lines[-1], f"{lines[-1]}    d{bias} = d{bias} + DLAM * {bias}\n", place=bias),
        edit("w_for_dw", lines[-1], f"    d{last} = 1.0 * {last}\n", place=last),
        edit("overwritten", lines[0], f"    d{weights[0]} = DLAM * {weights[0]}\n", place=weights[0]),
        edit("momentum_factor", lines[-1], lines[-1] + "MOMENTUM"),
    ]
    if len(weights) > 1:
        edits.append(edit("l2_missing", lines[-1], "", place=last))
    return edits


def with_momentum(edits: list[Edit], parameters: tuple[str, ...]) -> tuple[Edit, ...]:
    """Return the edits with the factor ``1 - 0.9`` of all gradients written out."""
    text = "".join(f"    d{p} = (1 - 0.9) * d{p}\n" for p in parameters)
    return tuple(e._replace(changes=tuple((a, b.replace("MOMENTUM", text)) for a, b in e.changes)) for e in edits)


def negated(line: str, parameters: tuple[str, ...]) -> Edit:
    """Return the edit that negates all gradients after a line, the last one of the source."""
    return edit("sign_all", line, line + "".join(f"    d{p} = -d{p}\n" for p in parameters))


# -- one layer ---------------------------------------------------------------------------------------------------------


def softmax_image_by_image() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 8]), rng.choice([3, 5]), rng.choice([7, 11])
        arrays = labels_and_one_hot(rng, k, n, rows=False) | {"X": rng.normal(0.2, 1, (d, n))}
        arrays |= {"W": rng.normal(0, 0.8, (k, d)), "b": rng.normal(0, 0.8, (k, 1))}
        return arrays | {"lam": float(rng.choice([0.15, 0.4]))}

    costs = {
        "probabilities": """
    N = X.shape[1]
    scores = tg.add(tg.matmul(W, X), b)
    shifted = tg.exp(scores)
    probs = tg.divide(shifted, tg.sum(shifted, axis=0))
    ce = tg.negative(tg.log(tg.sum(tg.multiply(Y, probs), axis=0)))
    return tg.sum(ce) / N + CLAM * PENALTY(W)
""",
        "nested, labels": """
    N = X.shape[1]
    probs = tg.softmax(tg.matmul(W, X) + b, axis=0)
    return CLAM * PENALTY(W) - tg.mean(tg.log(probs[y, np.arange(N)]))
""",
    }
    gradients = """
    N = X.shape[1]
    dW = np.zeros(W.shape)
    db = np.zeros(b.shape)
    for i in range(N):
        x, t = X[:, [i]], Y[:, [i]]
        e = np.exp(W.dot(x) + b)
        q = e / e.sum()
        g = q - t
        dW += g.dot(x.T)
        db += g
    dW /= N
    dW += DLAM * W
    db /= N
"""
    edits = [
        *added_penalty(("W",), "b"),
        negated("    db /= N\n", ("W", "b")),
        edit("missing_1_over_n", "    dW /= N\n", "", "    db /= N\n", ""),
        edit("double_1_over_n", "g = q - t", "g = (q - t) / N"),
        edit("misplaced_1_over_n", "    db /= N\n", "", place="b", factor="N"),
        edit("misplaced_1_over_n", "    dW /= N\n", "", place="W", factor="N"),
        edit("l2_over_n", "    dW /= N\n    dW += DLAM * W\n", "    dW += DLAM * W\n    dW /= N\n", factor="1/N"),
        edit("db_mean", "    db /= N\n", "    db /= N\n    db /= N\n", place="b"),
        edit("sign_loss", "g = q - t", "g = t - q"),
        edit("softmax_diagonal", "g = q - t", "g = -(t / q) * (q * (1 - q))"),
        edit("softmax_sum_forgotten", "g = q - t", "g = -(t / q) * q"),
        edit("softmax_unnormalised", "q = e / e.sum()", "q = e"),
        edit("off_by_one", "range(N)", "range(N - 1)"),
        edit("off_by_one", "range(N)", "range(1, N)"),
        edit("bias_forgotten", "W.dot(x) + b", "W.dot(x)", place="b"),
        edit("detached", "        db += g\n", "", place="b"),
        edit("dw_transposed", "    db /= N\n", "    db /= N\n    dW = dW.T\n", place="W"),
    ]
    return Program(
        *("softmax", "softmax, image by image, columns", ("X", "Y", "lam"), ("W", "b"), costs),
        *("Y = np.eye(b.shape[0])[y].T", gradients, with_momentum(edits, ("W", "b"))),
        *(
            ("scores", "shifted", "probs", "ce"),
            draw,
            ({"W": "w", "b": "w0"}, {"X": "batch", "N": "n", "lam": "lmbda"}),
        ),
    )


def softmax_with_smoothed_labels() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([5, 7]), rng.choice([3, 4]), rng.choice([9, 13])
        arrays = labels_and_one_hot(rng, k, n, rows=True) | {"X": rng.normal(-0.3, 1, (n, d))}
        return arrays | {"W": rng.normal(0, 1, (d, k)), "b": rng.normal(0, 1, (1, k)), "lam": 0.25}

    costs = {
        "log-softmax": """
    N, K = Y.shape
    target = 0.9 * Y + 0.1 / K
    Z = tg.einsum("nd,dk->nk", X, W) + b
    logs = Z - tg.log(tg.sum(tg.exp(Z), axis=1, keepdims=True))
    data = -(target * logs).sum() / N
    decay = CLAM * PENALTY(W)
    return data + decay
""",
    }
    gradients = """
    N, K = Y.shape
    target = 0.9 * Y + 0.1 / K
    Z = X @ W + b
    expZ = np.exp(Z - Z.max(1, keepdims=True))
    Q = expZ / expZ.sum(1, keepdims=True)
    delta = Q - target
    delta = delta * (1.0 / N)
    dW = np.einsum("nd,nk->dk", X, delta)
    dW += DLAM * W
    db = np.ones((1, N)) @ delta
"""
    einsum = 'np.einsum("nd,nk->dk", X, delta)'
    edits = [
        *[e for e in added_penalty(("W",), "b") if e.mistake not in ("l2_bias", "momentum_factor")],
        edit("l2_bias", "np.ones((1, N)) @ delta", "np.ones((1, N)) @ delta + DLAM * b", place="b"),
        edit("missing_1_over_n", "delta * (1.0 / N)", "delta * 1.0"),
        edit("double_1_over_n", "(1.0 / N)", "(1.0 / N**2)"),
        edit("divided_by_other", "(1.0 / N)", "(1.0 / K)"),
        edit("db_mean", "np.ones((1, N)) @ delta", "delta.mean(0, keepdims=True)", place="b"),
        edit("db_not_summed", "np.ones((1, N)) @ delta", "delta", place="b"),
        edit("db_wrong_axis", "np.ones((1, N)) @ delta", "delta.sum(1, keepdims=True)", place="b"),
        edit("db_from_dw", "np.ones((1, N)) @ delta", f"{einsum}.sum(0, keepdims=True)", place="b"),
        edit(
            "dw_transposed", f"dW = {einsum}\n    dW += DLAM * W", f"dW = {einsum}.T\n    dW += DLAM * W.T", place="W"
        ),
        edit("sign_loss", "delta = Q - target", "delta = target - Q"),
        edit("sign_param", f"dW = {einsum}\n    dW += DLAM * W", f"dW = -{einsum}\n    dW -= DLAM * W", place="W"),
        edit("softmax_unnormalised", "Q = expZ / expZ.sum(1, keepdims=True)", "Q = np.exp(Z)"),
        edit("softmax_sum_forgotten", "delta = Q - target", "delta = 0 * Q - target"),
        edit("bias_forgotten", "Z = X @ W + b", "Z = X @ W", place="b"),
        edit("detached", f"dW = {einsum}", "dW = 0 * W", place="W"),
    ]
    return Program(
        *("softmax", "softmax, smoothed labels, rows", ("X", "Y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("Z", "logs", "data"), draw, ({"W": "coef", "b": "intercept"}, {"lam": "alpha"})),
    )


def svm_image_by_image() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 7]), rng.choice([4, 5]), rng.choice([7, 12])
        arrays = labels_and_one_hot(rng, k, n, rows=False) | {"X": rng.normal(0, 1, (d, n))}
        return arrays | {"W": rng.normal(0, 0.6, (k, d)), "b": rng.normal(0, 0.6, (k, 1)), "lam": 0.2}

    costs = {
        "where, labels": """
    N = X.shape[1]
    R = W @ X + b
    right = R[y, np.arange(N)]
    margin = tg.where(np.arange(b.shape[0])[:, None] == y, 0.0, R - right + 1)
    hinge = tg.maximum(margin, 0)
    return tg.sum(hinge) / N + CLAM * PENALTY(W)
""",
        "product": """
    N = X.shape[1]
    R = tg.matmul(W, X) + b
    right = tg.sum(tg.multiply(R, Y), axis=0)
    hinge = tg.multiply(1 - Y, tg.relu(R - right + 1))
    return tg.mean(tg.sum(hinge, axis=0)) + CLAM * PENALTY(W)
""",
    }
    gradients = """
    K, N = Y.shape
    dW = np.zeros(W.shape)
    db = np.zeros(b.shape)
    for i in range(N):
        c = int(np.argmax(Y[:, i]))
        r = W @ X[:, i] + b[:, 0]
        for j in range(K):
            if j == c:
                continue
            if r[j] - r[c] + 1 > 0:
                dW[j] += X[:, i] / N
                db[j] += 1 / N
                dW[c] -= X[:, i] / N
                db[c] -= 1 / N
    dW += DLAM * W
"""
    own = "                dW[c] -= X[:, i] / N\n                db[c] -= 1 / N\n"
    others = "                dW[j] += X[:, i] / N\n                db[j] += 1 / N\n"
    sums = [("dW[j] += X[:, i] / N", "dW[j] += X[:, i]"), ("dW[c] -= X[:, i] / N", "dW[c] -= X[:, i]")]
    biases = [("db[j] += 1 / N", "db[j] += 1"), ("db[c] -= 1 / N", "db[c] -= 1")]
    flipped = own.replace("-=", "+=")
    edits = [
        *added_penalty(("W",), "b"),
        edit("missing_1_over_n", *[t for pair in sums + biases for t in pair]),
        edit("misplaced_1_over_n", *[t for pair in biases for t in pair], place="b", factor="N"),
        edit("misplaced_1_over_n", *[t for pair in sums for t in pair], place="W", factor="N"),
        edit("sign_loss", others, others.replace("+=", "-="), own, flipped),
        edit("hinge_own_missing", own, "", place="right"),
        edit("hinge_own_sign", own, flipped, place="right"),
        edit(
            "hinge_own_once",
            own,
            "",
            "            if r[j] - r",
            f"            if j == (c + 1) % K:\n{own}            if r[j] - r",
            place="right",
        ),
        edit("hinge_own_counted", own, own, "                continue\n", own + "                continue\n"),
        edit("activation_derivative_missing", "if r[j] - r[c] + 1 > 0:", "if True:", place="hinge margin"),
        edit("margin_forgotten", "r[j] - r[c] + 1 > 0", "r[j] - r[c] > 0", place="hinge margin"),
        edit("bias_forgotten", "X[:, i] + b[:, 0]", "X[:, i]", place="b"),
        edit("dw_transposed", "    dW += DLAM * W\n", "    dW += DLAM * W\n    dW = dW.T.copy()\n", place="W"),
        edit("off_by_one", "range(N)", "range(1, N)"),
        edit("detached", "    dW += DLAM * W\n", "    dW += DLAM * W\n    db = 0 * db\n", place="b"),
        negated("    dW += DLAM * W\n", ("W", "b")),
    ]
    return Program(
        *("svm", "SVM, image by image, columns", ("X", "Y", "lam"), ("W", "b"), costs, "Y = np.eye(b.size)[y].T"),
        *(gradients, with_momentum(edits, ("W", "b")), ("R", "right", "margin", "hinge"), draw),
        ({"W": "planes", "b": "offsets"}, {"R": "f", "hinge": "violation", "lam": "C"}),
    )


def squared_hinge() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        d, k, n = rng.choice([4, 6]), rng.choice([3, 5]), rng.choice([8, 11])
        arrays = labels_and_one_hot(rng, k, n, rows=True) | {"X": rng.normal(0, 1, (n, d))}
        return arrays | {"W": rng.normal(0, 0.6, (d, k)), "b": rng.normal(0, 0.6, k), "lam": 0.3}

    costs = {
        "steps": """
    N = len(X)
    R = X @ W + b
    right = tg.sum(R * Y, axis=1, keepdims=True)
    slack = (1 - Y) * tg.relu(R - right + 1)
    data = tg.sum(slack ** 2) / N
    return data + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = len(X)
    R = X @ W + b
    right = np.sum(R * Y, axis=1, keepdims=True)
    slack = (1 - Y) * np.maximum(0, R - right + 1)
    D = 2 * slack
    D = D - Y * D.sum(axis=1, keepdims=True)
    D = D / N
    dW = X.T @ D
    dW += DLAM * W
    db = D.sum(axis=0)
"""
    edits = [
        *[e for e in added_penalty(("W",), "b") if e.mistake not in ("l2_bias", "momentum_factor")],
        negated("    db = D.sum(axis=0)\n", ("W", "b")),
        edit("missing_1_over_n", "    D = D / N\n", ""),
        edit("double_1_over_n", "    D = D / N\n", "    D = D / N\n    D = D / N\n"),
        edit("db_mean", "D.sum(axis=0)", "D.mean(axis=0)", place="b"),
        edit("db_wrong_axis", "D.sum(axis=0)", "D.sum(axis=1)", place="b"),
        edit("db_not_summed", "D.sum(axis=0)", "D", place="b"),
        edit("hinge_own_missing", "    D = D - Y * D.sum(axis=1, keepdims=True)\n", "", place="right"),
        edit("hinge_own_sign", "D = D - Y *", "D = D + Y *", place="right"),
        edit("sign_loss", "D = 2 * slack", "D = -2 * slack"),
        edit("dw_transposed", "    dW += DLAM * W\n", "    dW += DLAM * W\n    dW = dW.T\n", place="W"),
        edit("bias_forgotten", "R = X @ W + b", "R = X @ W", place="b"),
        edit("detached", "db = D.sum(axis=0)", "db = np.zeros(b.shape)", place="b"),
    ]
    return Program(
        *("svm", "SVM, squared hinge, rows", ("X", "Y", "lam"), ("W", "b"), costs, ""),
        *(gradients, tuple(edits), ("R", "right", "slack", "data"), draw, ({}, {"W": "Theta", "b": "theta0"})),
    )


# -- two layers --------------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "tanh": ("np.tanh(U)", "1 - F * F", "F * (1 - F)", "1 - U * U"),
    "relu": ("U * (U > 0)", "np.where(U > 0, 1, 0)", "", ""),
    "softplus": ("np.log1p(np.exp(U))", "1 / (1 + np.exp(-U))", "", ""),
}


def two_layers_chained(name: str) -> Program:
    """Rows; each step's gradient has its own variable; the sizes make wrong arrays fit."""
    forward, derivative, other, at_input = ACTIVATIONS[name]

    def draw(rng: Random) -> dict[str, Any]:
        m, n = rng.choice([3, 4]), rng.choice([7, 11])
        arrays = labels_and_one_hot(rng, m, n, rows=True) | {"X": rng.normal(0, 1, (n, m)), "lam": 0.07}
        arrays |= {"Win": rng.normal(0, 1, (m, m)), "bin": rng.normal(0, 1, (1, m))}
        return arrays | {"Wout": rng.normal(0, 1, (m, m)), "bout": rng.normal(0, 1, (1, m))}

    call = f"tg.{name}(U)" if name != "softplus" else "tg.log(1 + tg.exp(U))"
    costs = {
        "steps": f"""
    N = len(X)
    U = tg.matmul(X, Win) + bin
    F = {call}
    V = tg.matmul(F, Wout) + bout
    ce = tg.logsumexp(V, axis=1) - tg.sum(V * Y, axis=1)
    return tg.sum(ce) / N + CLAM * PENALTY(Win, Wout)
""",
        "mean, labels": f"""
    N = len(X)
    U = tg.add(X @ Win, bin)
    F = {call}
    V = tg.add(F @ Wout, bout)
    Q = tg.softmax(V, axis=1)
    ce = -tg.log(Q[np.arange(N), y])
    return tg.mean(ce) + CLAM * PENALTY(Win, Wout)
""",
    }
    gradients = f"""
    N = len(X)
    U = X.dot(Win) + bin
    F = {forward}
    V = F.dot(Wout) + bout
    Q = np.exp(V)
    Q /= Q.sum(axis=1, keepdims=True)
    gV = (Q - Y) / N
    gF = gV.dot(Wout.T)
    gU = gF * ({derivative})
    dWout = F.T.dot(gV)
    dWout += DLAM * Wout
    dbout = gV.sum(axis=0, keepdims=True)
    dWin = X.T.dot(gU)
    dWin += DLAM * Win
    dbin = gU.sum(axis=0, keepdims=True)
"""
    inner = "U F Win bin"
    edits = [
        *[e for e in added_penalty(("Wout", "Win"), "bout") if e.mistake != "momentum_factor"],
        negated("    dbin = gU.sum(axis=0, keepdims=True)\n", ("Win", "bin", "Wout", "bout")),
        edit("missing_1_over_n", "(Q - Y) / N", "Q - Y"),
        edit("double_1_over_n", "(Q - Y) / N", "(Q - Y) / (N * N)"),
        edit("misplaced_1_over_n", "gF = gV.dot(Wout.T)", "gF = N * gV.dot(Wout.T)", place=inner, factor="N"),
        edit("misplaced_1_over_n", "F.T.dot(gV)", "F.T.dot(gV) / N", place="Wout", factor="1/N"),
        edit("db_mean", "gV.sum(", "gV.mean(", place="bout"),
        edit("db_mean", "gU.sum(", "gU.mean(", place="bin"),
        edit("db_from_dw", "dbin = gU.sum(", "dbin = X.T.dot(gU).sum(", place="bin"),
        edit("db_not_summed", "dbin = gU.sum(axis=0, keepdims=True)", "dbin = gU", place="bin"),
        edit("db_wrong_axis", "gV.sum(axis=0", "gV.sum(axis=1", place="bout"),
        edit("transposed_factor", "gV.dot(Wout.T)", "gV.dot(Wout)", place="Wout"),
        edit("dw_transposed", "dWin = X.T.dot(gU)", "dWin = gU.T.dot(X)", place="Win"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit("sign_param", "gU = gF", "gU = -gF", place=inner),
        edit("activation_derivative_missing", f"gU = gF * ({derivative})", "gU = gF", place=inner),
        edit("softmax_diagonal", "(Q - Y)", "-(Y - Y * Q)"),
        edit("softmax_sum_forgotten", "(Q - Y)", "-Y"),
        edit("softmax_unnormalised", "    Q /= Q.sum(axis=1, keepdims=True)\n", ""),
        edit("updated_before_delta", "gV.dot(Wout.T)", "gV.dot((Wout - 0.3 * F.T.dot(gV)).T)", place="Wout"),
        edit("wrong_variable", "F.T.dot(gV)", "X.T.dot(gV)", place="Wout F", wrong="X"),
        edit("wrong_variable", "F.T.dot(gV)", "U.T.dot(gV)", place="Wout F", wrong="U"),
        edit("wrong_variable", "X.T.dot(gU)", "F.T.dot(gU)", place="Win X", wrong="F"),
        edit("detached", "gF = gV.dot(Wout.T)", "gF = np.zeros(F.shape)", place=inner),
        edit("bias_forgotten", "X.dot(Win) + bin", "X.dot(Win)", place="bin"),
        edit("off_by_one", "(Q - Y) / N", "np.vstack([(Q - Y)[:-1], 0 * Y[:1]]) / N"),
    ]
    if other:
        edits.append(edit("other_derivative", derivative, other, place=inner))
        edits.append(edit("derivative_at_input", derivative, at_input, place=inner, wrong="U"))
    if name == "relu":
        edits.append(edit("mask_wrong_array", "np.where(U > 0", "np.where(X > 0", place=inner, wrong="X"))
        edits.append(edit("mask_wrong_array", "np.where(U > 0", "np.where(gF > 0", place=inner, wrong="gF"))
        edits.append(edit("mask_wrong_array", "np.where(U > 0", "np.where(F >= 0", place=inner, wrong="F"))
    return Program(
        *("two layers", f"two layers, chained, rows, {name}", ("X", "Y", "lam"), ("Win", "bin", "Wout", "bout"), costs),
        *("Y = np.eye(bout.size)[y]", gradients, tuple(edits), ("V", "ce", "Q"), draw),
        *(({"bin": "b_in", "bout": "b_out"}, {"Win": "M1", "bin": "v1", "Wout": "M2", "bout": "v2", "lam": "wd"}),),
    )


def two_layers_with_skip() -> Program:
    """Columns; the hidden activations reach the scores along two paths."""

    def draw(rng: Random) -> dict[str, Any]:
        d, m, n = rng.choice([5, 6]), rng.choice([3, 4]), rng.choice([8, 12])
        arrays = labels_and_one_hot(rng, m, n, rows=False) | {"X": rng.normal(0, 1, (d, n)), "lam": 0.04}
        arrays |= {"W1": rng.normal(0, 1, (m, d)), "b1": rng.normal(0, 1, (m, 1))}
        return arrays | {"W2": rng.normal(0, 1, (m, m)), "b2": rng.normal(0, 1, (m, 1))}

    costs = {
        "steps": """
    N = X.shape[1]
    Z = tg.tensordot(W1, X, 1) + b1
    H = tg.relu(Z)
    T = tg.tensordot(W2, H, 1) + b2 + H
    logs = T - tg.logsumexp(T, axis=0)
    return -tg.sum(logs * Y) / N + CLAM * PENALTY(W1, W2)
""",
    }
    gradients = """
    N = X.shape[1]
    Z = W1 @ X + b1
    H = np.maximum(0, Z)
    T = W2 @ H + b2 + H
    Q = np.exp(T - T.max(0))
    Q = Q / Q.sum(0)
    gT = (Q - Y) / N
    gH = W2.T @ gT
    gH += gT
    gZ = np.array(gH)
    gZ[Z <= 0] = 0
    dW1 = gZ @ X.T
    dW1 += DLAM * W1
    db1 = gZ.sum(1)[:, None]
    dW2 = gT @ H.T
    dW2 += DLAM * W2
    db2 = gT.sum(1)[:, None]
"""
    edits = [
        *[e for e in added_penalty(("W1", "W2"), "b1") if e.mistake != "momentum_factor"],
        edit("overwritten", "gH += gT", "gH = gT", place="H W2 T"),
        edit("overwritten", "    gH += gT\n", "", place="H T"),
        edit("missing_1_over_n", "(Q - Y) / N", "(Q - Y)"),
        edit("transposed_factor", "W2.T @ gT", "W2 @ gT", place="W2"),
        edit("activation_derivative_missing", "    gZ[Z <= 0] = 0\n", "", place="H Z W1 b1"),
        edit("mask_wrong_array", "gZ[Z <= 0]", "gZ[gH <= 0]", place="H Z W1 b1", wrong="gH"),
        edit("wrong_variable", "gT @ H.T", "gT @ Z.T", place="W2 H", wrong="Z"),
        edit("wrong_variable", "gT @ H.T", "gT @ T.T", place="W2 H", wrong="T"),
        edit("db_mean", "gZ.sum(1)", "gZ.mean(1)", place="b1"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit("detached", "gZ = np.array(gH)", "gZ = 0 * gH", place="Z H W1 b1"),
        edit("bias_forgotten", "T = W2 @ H + b2 + H", "T = W2 @ H + H", place="b2"),
        edit("softmax_diagonal", "(Q - Y)", "(Y * Q - Y)"),
    ]
    return Program(
        *("two layers", "two layers, skip, columns", ("X", "Y", "lam"), ("W1", "b1", "W2", "b2"), costs, ""),
        *(gradients, tuple(edits), ("T", "logs"), draw, ({}, {"H": "hid", "Z": "pre", "T": "logits", "lam": "gamma"})),
    )


def tied_weights() -> Program:
    """Rows; one matrix is used in both layers."""

    def draw(rng: Random) -> dict[str, Any]:
        m, n = rng.choice([3, 4]), rng.choice([8, 13])
        arrays = labels_and_one_hot(rng, m, n, rows=True) | {"X": rng.normal(0, 1, (n, m)), "lam": 0.06}
        return arrays | {"W": rng.normal(0, 1, (m, m)), "c": rng.normal(0, 1, m), "e": rng.normal(0, 1, m)}

    costs = {
        "steps": """
    N = X.shape[0]
    Z = X @ W + c
    H = tg.sigmoid(Z)
    T = H @ W.T + e
    Q = tg.softmax(T)
    data = -tg.sum(tg.log(tg.sum(Q * Y, axis=1))) / N
    return data + CLAM * PENALTY(W)
""",
    }
    gradients = """
    N = X.shape[0]
    Z = X @ W + c
    H = 1 / (1 + np.exp(-Z))
    T = H @ W.T + e
    Q = np.exp(T)
    Q = Q / Q.sum(axis=1, keepdims=True)
    back = (Q - Y) / N
    de = back.sum(axis=0)
    dW = back.T @ H
    back = back @ W
    back = back * H * (1 - H)
    dW = dW + X.T @ back
    dW += DLAM * W
    dc = back.sum(axis=0)
"""
    edits = [
        *[e for e in added_penalty(("W",), "c") if e.mistake not in ("momentum_factor", "l2_bias")],
        edit("overwritten", "dW = dW + X.T @ back", "dW = X.T @ back", place="W"),
        edit("overwritten", "    dW = dW + X.T @ back\n", "", place="W"),
        edit("activation_derivative_missing", "    back = back * H * (1 - H)\n", "", place="Z H"),
        edit("other_derivative", "H * (1 - H)", "(1 - H * H)", place="Z H"),
        edit("derivative_at_input", "H * (1 - H)", "Z * (1 - Z)", place="Z H", wrong="Z"),
        edit("missing_1_over_n", "(Q - Y) / N", "(Q - Y)"),
        edit("db_mean", "dc = back.sum(", "dc = back.mean(", place="c"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit("transposed_factor", "back = back @ W\n", "back = back @ W.T\n", place="W"),
        edit("dw_transposed", "dW = back.T @ H", "dW = H.T @ back", place="W"),
        edit("detached", "back = back @ W\n", "back = 0 * back @ W\n", place="Z H"),
    ]
    return Program(
        *("two layers", "two layers, tied weights, rows", ("X", "Y", "lam"), ("W", "c", "e"), costs, ""),
        *(gradients, tuple(edits), ("T", "Q", "data"), draw, ({}, {"W": "shared", "lam": "reg"})),
    )


# -- k layers ----------------------------------------------------------------------------------------------------------


def short_batch_norm(k: int) -> Program:
    """Rows, no bias before batch norm, the short formula of its gradient, masks that contain the scale."""
    hidden = range(1, k)

    def draw(rng: Random) -> dict[str, Any]:
        n, width, classes = rng.choice([9, 14]), rng.choice([3, 6]), 4
        sizes = [5, *[width] * (k - 1), classes]
        arrays = labels_and_one_hot(rng, classes, n, rows=True) | {"X": rng.normal(0, 1, (n, 5)), "lam": 0.03}
        for i in range(1, k + 1):
            arrays[f"W{i}"] = rng.normal(0, 1, (sizes[i - 1], sizes[i]))
        for i in hidden:
            arrays |= {f"scale{i}": rng.uniform(0.6, 1.6, width), f"shift{i}": rng.normal(0, 0.6, width)}
            arrays[f"D{i}"] = (rng.random((n, width)) < 0.75) / 0.75
        return arrays | {"b": rng.normal(0, 1, classes)}

    weights = tuple(f"W{i}" for i in range(1, k + 1))
    names = {0: "X"} | {i: f"O{i}" for i in hidden}
    long = "\n    N = X.shape[0]" + "".join(
        f"""
    A{i} = tg.matmul({names[i - 1]}, W{i})
    mean{i} = A{i}.mean(axis=0)
    var{i} = tg.var(A{i}, axis=0)
    B{i} = (A{i} - mean{i}) / (var{i} + 1e-6) ** 0.5
    C{i} = tg.relu(B{i} * scale{i} + shift{i})
    O{i} = C{i} * D{i}"""
        for i in hidden
    )
    costs = {
        "steps": f"""{long}
    T = O{k - 1} @ W{k} + b
    ce = tg.logsumexp(T, axis=1) - tg.sum(T * Y, axis=1)
    return tg.mean(ce) + CLAM * PENALTY({", ".join(weights)})
""",
        "steps, labels": f"""{long}
    T = O{k - 1} @ W{k} + b
    ce = tg.logsumexp(T, axis=1) - T[np.arange(N), y]
    return tg.mean(ce) + CLAM * PENALTY({", ".join(weights)})
""",
    }
    gradients = "\n    N = X.shape[0]" + "".join(
        f"""
    A{i} = {names[i - 1]} @ W{i}
    sd{i} = np.sqrt(A{i}.var(axis=0) + 1e-6)
    B{i} = (A{i} - A{i}.mean(axis=0)) / sd{i}
    L{i} = B{i} * scale{i} + shift{i}
    O{i} = np.maximum(L{i}, 0) * D{i}"""
        for i in hidden
    )
    gradients += f"""
    T = O{k - 1} @ W{k} + b
    Q = np.exp(T - T.max(axis=1, keepdims=True))
    Q /= Q.sum(axis=1, keepdims=True)
    g = (Q - Y) / N
    db = g.sum(axis=0)
    dW{k} = O{k - 1}.T @ g
    dW{k} += DLAM * W{k}"""
    for i in reversed(hidden):
        gradients += f"""
    g = g @ W{i + 1}.T
    g = g * D{i}
    g = np.where(L{i} > 0, g, 0)
    dshift{i} = g.sum(axis=0)
    dscale{i} = np.einsum("ij,ij->j", g, B{i})
    g = g * scale{i}
    g = (N * g - g.sum(axis=0) - B{i} * (g * B{i}).sum(axis=0)) / (N * sd{i})
    dW{i} = {names[i - 1]}.T @ g
    dW{i} += DLAM * W{i}"""
    gradients += "\n"
    edits = [
        *[e for e in added_penalty(weights[::-1], "b") if e.mistake != "momentum_factor"],
        edit("missing_1_over_n", "(Q - Y) / N", "(Q - Y)"),
        edit("double_1_over_n", "(Q - Y) / N", "(Q - Y) / N / N"),
        edit("divided_by_other", "(Q - Y) / N", "(Q - Y) / Y.shape[1]"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit("db_mean", "db = g.sum(axis=0)", "db = g.mean(axis=0)", place="b"),
        edit("db_not_summed", "db = g.sum(axis=0)", "db = g", place="b"),
        edit("softmax_unnormalised", "    Q /= Q.sum(axis=1, keepdims=True)\n", ""),
        edit("softmax_diagonal", "(Q - Y)", "(Q - 1) * Y"),
    ]
    for i in hidden:
        relu, norm = f"C{i} O{i}", f"B{i} A{i} mean{i} var{i} W{i} scale{i}"
        compact = f"(N * g - g.sum(axis=0) - B{i} * (g * B{i}).sum(axis=0)) / (N * sd{i})"
        edits += [
            edit("activation_derivative_missing", f"    g = np.where(L{i} > 0, g, 0)\n", "", place=relu),
            edit("mask_wrong_array", f"np.where(L{i} > 0", f"np.where(A{i} > 0", place=relu, wrong=f"A{i}"),
            edit("dropout_mask_missing", f"    g = g * D{i}\n", "", place=f"{relu} D{i}"),
            edit("dropout_not_scaled", f"g * D{i}\n", f"g * (D{i} > 0)\n", place=f"{relu} D{i}"),
            edit("bn_mean_var_constant", compact, f"g / sd{i}", place=norm),
            edit("bn_var_constant", compact, f"(g - g.mean(axis=0)) / sd{i}", place=norm),
            edit("bn_mean_constant", compact, f"(N * g - B{i} * (g * B{i}).sum(axis=0)) / (N * sd{i})", place=norm),
            edit("bn_gamma_missing", f"    g = g * scale{i}\n", "", place=norm),
            edit("db_mean", f"dshift{i} = g.sum(axis=0)", f"dshift{i} = g.mean(axis=0)", place=f"shift{i}"),
            edit("wrong_variable", f"g, B{i})", f"g, A{i})", place=f"scale{i} B{i}", wrong=f"A{i}"),
            edit("detached", f"g = g @ W{i + 1}.T", f"g = 0 * g @ W{i + 1}.T", place=f"O{i} C{i} W{i + 1}"),
            edit(
                "updated_before_delta",
                f"    g = g @ W{i + 1}.T",
                f"    g = g @ (W{i + 1} - 0.05 * dW{i + 1}).T",
                place=f"W{i + 1}",
            ),
        ]
        if i > 1:
            edits.append(edit("transposed_factor", f"g = g @ W{i}.T", f"g = g @ W{i}", place=f"W{i}"))
            edits.append(
                edit("dw_transposed", f"dW{i} = {names[i - 1]}.T @ g", f"dW{i} = g.T @ {names[i - 1]}", place=f"W{i}")
            )
    parameters = (*weights, *[f"{p}{i}" for p in ("scale", "shift") for i in hidden], "b")
    other_names = {f"scale{i}": f"gam{i}" for i in hidden} | {f"D{i}": f"drop{i}" for i in hidden}
    return Program(
        *("k layers", f"{k} layers, short batch norm, rows", ("X", "Y", "lam", *[f"D{i}" for i in hidden]), parameters),
        *(costs, "Y = np.eye(b.size)[y]", gradients, tuple(edits), ("T", "ce"), draw, ({}, other_names)),
    )


def plain_layers_with_dropout(k: int) -> Program:
    """Columns, tanh without batch norm, the same dropout mask for each pixel column; backward in one loop body each."""
    hidden = range(1, k)

    def draw(rng: Random) -> dict[str, Any]:
        n, width = rng.choice([7, 10]), rng.choice([4, 5])
        sizes = [width] * k + [3]
        arrays = labels_and_one_hot(rng, 3, n, rows=False) | {"X": rng.normal(0, 1, (width, n)), "lam": 0.02, "p": 0.6}
        for i in range(1, k + 1):
            arrays[f"K{i}"] = rng.normal(0, 0.8, (sizes[i], sizes[i - 1]))
            arrays[f"c{i}"] = rng.normal(0, 0.8, (sizes[i], 1))
        return arrays | {f"U{i}": np.where(rng.random((width, n)) < 0.75, 1.0, 0.0) for i in hidden}

    weights = tuple(f"K{i}" for i in range(1, k + 1))
    names = {0: "X"} | {i: f"E{i}" for i in hidden}
    costs = {
        "steps": "\n    N = X.shape[1]"
        + "".join(
            f"""
    Z{i} = tg.matmul(K{i}, {names[i - 1]}) + c{i}
    R{i} = tg.tanh(Z{i})
    E{i} = R{i} * U{i} / p"""
            for i in hidden
        )
        + f"""
    Z{k} = tg.matmul(K{k}, E{k - 1}) + c{k}
    Q = tg.exp(Z{k}) / tg.sum(tg.exp(Z{k}), axis=0)
    ce = -tg.log(tg.einsum("kn,kn->n", Q, Y))
    return tg.sum(ce) / N + CLAM * PENALTY({", ".join(weights)})
""",
    }
    gradients = "\n    N = X.shape[1]" + "".join(
        f"""
    Z{i} = K{i} @ {names[i - 1]} + c{i}
    R{i} = np.tanh(Z{i})
    E{i} = R{i} * U{i} / p"""
        for i in hidden
    )
    gradients += f"""
    Z{k} = K{k} @ E{k - 1} + c{k}
    Q = np.exp(Z{k}) / np.exp(Z{k}).sum(0)
    v{k} = (Q - Y) / N"""
    for i in range(k, 0, -1):
        if i < k:
            gradients += f"""
    v{i} = K{i + 1}.T @ v{i + 1} * U{i} / p
    v{i} = v{i} * (1 - R{i} ** 2)"""
        gradients += f"""
    dK{i} = v{i} @ {names[i - 1]}.T
    dK{i} += DLAM * K{i}
    dc{i} = np.sum(v{i}, axis=1, keepdims=True)"""
    gradients += "\n"
    edits = [
        *[e for e in added_penalty(weights[::-1], f"c{k}") if e.mistake not in ("momentum_factor", "l2_bias")],
        edit("missing_1_over_n", "(Q - Y) / N", "(Q - Y)"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit(
            "db_mean",
            *[t for i in range(1, k + 1) for t in (f"dc{i} = np.sum(", f"dc{i} = np.mean(")],
            place=" ".join(f"c{i}" for i in range(1, k + 1)),
        ),
        edit("softmax_sum_forgotten", "(Q - Y)", "(0 - Y)"),
        edit("off_by_one", "(Q - Y)", "(Q - np.roll(Y, 1, axis=1))"),
    ]
    for i in hidden:
        here = f"Z{i} R{i} E{i} K{i} c{i}"
        edits += [
            edit("activation_derivative_missing", f"    v{i} = v{i} * (1 - R{i} ** 2)\n", "", place=here),
            edit("other_derivative", f"(1 - R{i} ** 2)", f"R{i} * (1 - R{i})", place=here),
            edit("derivative_at_input", f"(1 - R{i} ** 2)", f"(1 - Z{i} ** 2)", place=here, wrong=f"Z{i}"),
            edit("derivative_at_input", f"(1 - R{i} ** 2)", f"(1 - E{i} ** 2)", place=here, wrong=f"E{i}"),
            edit("dropout_mask_missing", f"v{i + 1} * U{i} / p", f"v{i + 1} / p", place=f"{here} U{i}"),
            edit("dropout_not_scaled", f"v{i + 1} * U{i} / p", f"v{i + 1} * U{i}", place=f"{here} U{i}"),
            edit("sign_param", f"v{i} = K{i + 1}.T @", f"v{i} = -K{i + 1}.T @", place=f"{here} K{i + 1}"),
            edit("wrong_variable", f"v{i + 1} @ E{i}.T", f"v{i + 1} @ R{i}.T", place=f"K{i + 1} E{i}", wrong=f"R{i}"),
            edit(
                "wrong_variable",
                f"v{i + 1} @ E{i}.T",
                f"v{i + 1} @ {names[i - 1]}.T",
                place=f"K{i + 1} E{i}",
                wrong=names[i - 1],
            ),
            edit("detached", f"v{i} = K{i + 1}.T @ v{i + 1}", f"v{i} = 0 * E{i}", place=f"{here} K{i + 1}"),
            edit("bias_forgotten", f"K{i} @ {names[i - 1]} + c{i}", f"K{i} @ {names[i - 1]}", place=f"c{i}"),
        ]
        if i < k - 1:
            edits.append(edit("transposed_factor", f"v{i} = K{i + 1}.T @", f"v{i} = K{i + 1} @", place=f"K{i + 1}"))
    parameters = (*weights, *[f"c{i}" for i in range(1, k + 1)])
    return Program(
        *("k layers", f"{k} layers, tanh, dropout, columns", ("X", "Y", "lam", *[f"U{i}" for i in hidden], "p")),
        *(parameters, costs, "", gradients, tuple(edits), (f"Z{k}", "Q", "ce"), draw),
        *(({}, {f"K{i}": f"kernel{i}" for i in range(1, k + 1)} | {"lam": "beta_l2"}),),
    )


# -- patchify ----------------------------------------------------------------------------------------------------------


def patchify(
    head: str, conv: str, back: str, title: str, draw: Any, first: str, bias: str, edits: list[Edit]
) -> Program:
    """Return the program with a convolution ``conv`` of the images or patches and its gradient ``back``; rows."""
    costs = {
        "steps": f"""{head}
    C = {conv}
    B = tg.relu(C)
    flat = tg.reshape(B, (N, -1))
    Z = flat @ V1 + a1
    H = tg.relu(Z)
    T = H @ V2 + a2
    ce = tg.logsumexp(T, axis=1) - tg.sum(Y * T, axis=1)
    return tg.mean(ce) + CLAM * PENALTY({first}, V1, V2)
""",
    }
    gradients = f"""{head}
    C = {conv.replace("tg.", "np.")}
    B = np.where(C > 0, C, 0)
    flat = B.reshape(N, -1)
    Z = flat @ V1 + a1
    H = np.where(Z > 0, Z, 0)
    T = H @ V2 + a2
    Q = np.exp(T)
    Q = Q / Q.sum(axis=1)[:, None]
    gT = (Q - Y) / N
    dV2 = H.T @ gT
    dV2 += DLAM * V2
    da2 = gT.sum(axis=0)
    gH = gT @ V2.T
    gZ = gH * (H > 0)
    dV1 = flat.T @ gZ
    dV1 += DLAM * V1
    da1 = gZ.sum(axis=0)
    gB = np.reshape(gZ @ V1.T, B.shape)
    gC = gB * (B > 0)
{back}    d{first} += DLAM * {first}
"""
    edits = [
        *edits,
        *[e for e in added_penalty(("V2", "V1", first), "a2") if e.mistake != "momentum_factor"],
        edit("missing_1_over_n", "(Q - Y) / N", "(Q - Y)"),
        edit("misplaced_1_over_n", "gH = gT @ V2.T", "gH = gT @ V2.T / N", place="H Z V2", factor="1/N"),
        edit("db_mean", "da1 = gZ.sum(", "da1 = gZ.mean(", place="a1"),
        edit("db_not_summed", "da2 = gT.sum(axis=0)", "da2 = gT", place="a2"),
        edit("sign_loss", "(Q - Y)", "(Y - Q)"),
        edit("sign_param", "np.reshape(gZ", "np.reshape(-gZ", place=f"B C flat {first} {bias}"),
        edit("activation_derivative_missing", "gC = gB * (B > 0)", "gC = gB", place=f"B C {first} {bias}"),
        edit("activation_derivative_missing", "gZ = gH * (H > 0)", "gZ = gH", place="H Z V1 a1"),
        edit("mask_wrong_array", "gB * (B > 0)", "gB * (gB > 0)", place="B C", wrong="gB"),
        edit("wrong_variable", "H.T @ gT", "Z.T @ gT", place="V2 H", wrong="Z"),
        edit("wrong_variable", "flat.T @ gZ", "C.reshape(N, -1).T @ gZ", place="V1 flat B", wrong="C"),
        edit("softmax_diagonal", "(Q - Y)", "Y * (Q - 1)"),
        edit("softmax_sum_forgotten", "(Q - Y)", "(-Y)"),
        edit("softmax_unnormalised", "    Q = Q / Q.sum(axis=1)[:, None]\n", ""),
        edit("bias_forgotten", "T = H @ V2 + a2", "T = H @ V2", place="a2"),
        edit("detached", "gC = gB * (B > 0)", "gC = 0 * gB", place=f"B C flat {first}"),
        edit("updated_before_delta", "gB = np", "V1 = V1 - 0.1 * dV1\n    gB = np", place="V1"),
    ]
    data = ("P" if "P.shape" in head else "X", "Y", "lam")
    return Program(
        *("patchify", title, data, (first, bias, "V1", "a1", "V2", "a2"), costs, "", gradients, tuple(edits)),
        *(("T", "ce"), draw, ({}, {"V1": "dense1", "a1": "d1", "V2": "dense2", "a2": "d2", "lam": "l2"})),
    )


def _dense(rng: Random, inputs: int, classes: int) -> dict[str, Any]:
    width = int(rng.choice([3, 5]))
    arrays = {"V1": rng.normal(0, 0.7, (inputs, width)), "a1": rng.normal(0, 0.7, width)}
    return arrays | {"V2": rng.normal(0, 0.7, (width, classes)), "a2": rng.normal(0, 0.7, classes), "lam": 0.04}


def patches_as_rows() -> Program:
    def draw(rng: Random) -> dict[str, Any]:
        n, places, values, filters = rng.choice([7, 10]), 3, rng.choice([4, 6]), rng.choice([3, 4])
        arrays = labels_and_one_hot(rng, 3, n, rows=True) | {"P": rng.normal(0, 1, (n, places, values))}
        arrays |= {"G": rng.normal(0, 0.8, (values, filters)), "o": rng.normal(0, 0.8, filters)}
        return arrays | _dense(rng, places * filters, 3)

    back = """    dG = np.tensordot(P, gC, axes=([0, 1], [0, 1]))
    do = gC.sum(axis=(0, 1))
"""
    edits = [
        edit("db_mean", "do = gC.sum(axis=(0, 1))", "do = gC.mean(axis=(0, 1))", place="o"),
        edit("db_mean", "do = gC.sum(axis=(0, 1))", "do = gC.sum(axis=1).mean(axis=0)", place="o"),
        edit("db_wrong_axis", "gC.sum(axis=(0, 1))", "gC.sum(axis=(0, 2))", place="o"),
        edit("dw_transposed", "    dG += DLAM * G\n", "    dG += DLAM * G\n    dG = dG.T\n", place="G"),
        edit("off_by_one", "np.tensordot(P, gC", "np.tensordot(P[:-1], gC[:-1]", place="G"),
    ]
    head = "\n    N = P.shape[0]"
    return patchify(head, "tg.tensordot(P, G, 1) + o", back, "patchify, patches as rows", draw, "G", "o", edits)


def patches_by_reshaping() -> Program:
    """Images (images, channels, height, width) and filters (filters, channels, f, f); the stride is f."""

    def draw(rng: Random) -> dict[str, Any]:
        n, f, filters = rng.choice([6, 9]), 2, rng.choice([2, 4])
        arrays = labels_and_one_hot(rng, 3, n, rows=True) | {"X": rng.normal(0, 1, (n, 3, 2 * f, 2 * f))}
        arrays |= {"G": rng.normal(0, 0.6, (filters, 3, f, f)), "o": rng.normal(0, 0.6, (filters, 1, 1))}
        return arrays | _dense(rng, 4 * filters, 3)

    head = """
    N, c, f = X.shape[0], G.shape[1], G.shape[2]
    m = X.shape[2] // f
    X6 = X.reshape(N, c, m, f, m, f)"""
    back = """    dG = np.einsum("ncifjg,nkij->kcfg", X6, gC)
    do = gC.sum(axis=(0, 2, 3)).reshape(o.shape)
"""
    grow = "    dG += DLAM * G\n"
    edits = [
        edit("filter_flipped", grow, "    dG = dG[:, :, ::-1, ::-1]\n    dG = dG + DLAM * G\n", place="G"),
        edit("channels_swapped", grow, "    dG = dG[:, ::-1] + DLAM * G\n", place="G"),
        edit("filter_transposed", "nkij->kcfg", "nkij->kcgf", place="G"),
        edit("db_mean", "do = gC.sum(", "do = gC.mean(", place="o"),
        edit("bias_forgotten", "X6, G) + o", "X6, G)", place="o"),
    ]
    conv = 'tg.einsum("ncifjg,kcfg->nkij", X6, G) + o'
    return patchify(head, conv, back, "patchify, images, stride f, rows", draw, "G", "o", edits)
