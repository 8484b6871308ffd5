"""``tinygrad-cifar doctor FILE``: the functions of the assignments as they are, in either layout."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.command_line import sentence
from tinygrad_cifar.cli import main
from tinygrad_cifar.doctor import budget
from tinygrad_cifar.doctor.hand_ins import diagnose_file
from tinygrad_cifar.doctor.student_file import load_definitions

LINEAR = """
import numpy as np
data = LoadBatch("missing")
print("training ...")
def ComputeGradients(X, Y, P, W, lam):
    G = P - Y
    return G @ X.T / X.shape[1] + 2 * lam * W, G.mean(1, keepdims=True)
"""
LINEAR_ROWS = """
def ComputeGradients(X, Y, P, W, b, lam):
    G = (P - Y) / len(X)
    return {"grad_W": X.T @ G + 2 * lam * W, "grad_b": G.sum(0)}
"""
SVM = """
import numpy as np
def ComputeGradients(X, y, W, b, lam):
    n = np.arange(X.shape[1])
    S = W @ X + b
    G = 1.0 * (S - S[y, n] + 1 > 0)
    G[y, n] = 0
    G[y, n] = -G.sum(0)
    G /= X.shape[1]
    return G @ X.T + 2 * lam * W, G.sum(1, keepdims=True)
"""
TWO_LAYERS = """
import numpy as np
def ApplyNetwork(X, network):
    W, b = network["W"], network["b"]
    s1 = W[0] @ X + b[0]
    h = np.maximum(0, s1)
    s = W[1] @ h + b[1]
    return {"s1": s1, "h": h, "P": np.exp(s) / np.exp(s).sum(0)}
def BackwardPass(X, Y, fp_data, network, lam):
    n, W = X.shape[1], network["W"]
    G = (fp_data["P"] - Y) / n
    grad_W, grad_b = [None, G @ fp_data["h"].T + 2 * lam * W[1]], [None, G.sum(1, keepdims=True)]
    G = W[1].T @ G * (fp_data["h"] > 0)
    grad_W[0], grad_b[0] = G @ X.T + 2 * lam * W[0], G.sum(1, keepdims=True)
    return {"W": grad_W, "b": grad_b}
"""
NUMBERED = """
import numpy as np
def compute_gradients(X, Y, W1, b1, W2, b2, lam):
    h = np.maximum(X @ W1 + b1, 0)
    s = h @ W2 + b2
    G = (np.exp(s) / np.exp(s).sum(1, keepdims=True) - Y) / len(X)
    D = G @ W2.T * (h > 0)
    return X.T @ D + 2 * lam * W1, D.sum(0), h.T @ G + 2 * lam * W2, G.sum(0)
"""
NORMALISED = """
import numpy as np
def ForwardPass(X, net):
    Xs, Z, v = [X], [], []
    for W, b, gamma, beta in zip(net["W"], net["b"], net["gamma"], net["beta"]):
        s = W @ Xs[-1] + b
        v.append(s.var(1, keepdims=True))
        Z.append((s - s.mean(1, keepdims=True)) / np.sqrt(v[-1] + 1e-16))
        Xs.append(np.maximum(0, gamma * Z[-1] + beta))
    s = net["W"][-1] @ Xs[-1] + net["b"][-1]
    return {"X": Xs, "Z": Z, "v": v, "P": np.exp(s) / np.exp(s).sum(0)}
def BackwardPass(X, Y, fp, net, lam):
    k = len(net["W"])
    g = {"W": [None] * k, "b": [None] * k, "gamma": [None] * (k - 1), "beta": [None] * (k - 1)}
    G = (fp["P"] - Y) / X.shape[1]
    for i in range(k - 1, -1, -1):
        if i < k - 1:
            G = net["W"][i + 1].T @ G * (fp["X"][i + 1] > 0)
            g["gamma"][i], g["beta"][i] = (G * fp["Z"][i]).sum(1, keepdims=True), G.sum(1, keepdims=True)
            G, Z = G * net["gamma"][i], fp["Z"][i]
            G = (G - G.mean(1, keepdims=True) - Z * (G * Z).mean(1, keepdims=True)) / np.sqrt(fp["v"][i] + 1e-16)
        g["W"][i], g["b"][i] = G @ fp["X"][i].T + 2 * lam * net["W"][i], G.sum(1, keepdims=True)
    return g
"""
LISTS = """
import numpy as np
def BackwardPass(X, Y, fp_data, network, lam):
    W, b, H = network["W"], network["b"], [X]
    for i in range(len(W) - 1):
        H.append(np.maximum(W[i] @ H[-1] + b[i], 0))
    s = W[-1] @ H[-1] + b[-1]
    G = (np.exp(s) / np.exp(s).sum(0) - Y) / X.shape[1]
    grads = {"W": [], "b": []}
    for i in reversed(range(len(W))):
        grads["W"].insert(0, G @ H[i].T + 2 * lam * W[i])
        grads["b"].insert(0, G.sum(1, keepdims=True))
        G = W[i].T @ G * (H[i] > 0)
    return grads
"""
PATCHES = """
import numpy as np
def BackwardPass(MX, Y, Fs_flat, W1, b1, W2, b2, lam):
    p, _, n = MX.shape
    h = np.maximum(np.einsum("ijn,jl->iln", MX, Fs_flat), 0).reshape(-1, n)
    x1 = np.maximum(W1 @ h + b1, 0)
    s = W2 @ x1 + b2
    G = (np.exp(s) / np.exp(s).sum(0) - Y) / n
    g2 = G @ x1.T + 2 * lam * W2, G.sum(1, keepdims=True)
    G = W2.T @ G * (x1 > 0)
    g1 = G @ h.T + 2 * lam * W1, G.sum(1, keepdims=True)
    G = (W1.T @ G * (h > 0)).reshape(p, -1, n)
    return np.einsum("ijn,iln->jl", MX, G) + 2 * lam * Fs_flat, *g1, *g2
"""


def write(tmp_path: Path, source: str) -> Path:
    path = tmp_path / "hand_in.py"
    path.write_text(source)
    return path


def run(tmp_path: Path, source: str, *options: str) -> int:
    return main(["doctor", str(write(tmp_path, source)), *options])


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        (LINEAR, "softmax regression; images as columns"),
        (LINEAR_ROWS, "softmax regression; images as rows"),
        (SVM, "SVM; images as columns"),
        (TWO_LAYERS, "two layers; images as columns"),
        (NUMBERED, "two layers; images as rows"),
        (NORMALISED, "three layers with batch normalisation; images as columns"),
        (PATCHES, "patchify network of three layers; images as columns"),
    ],
)
def test_a_right_hand_in_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, taken: str) -> None:
    assert run(tmp_path, source) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert taken in out
    assert "All gradients are right." in out


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor try everything on a slow machine as well, where its time would end before."""
    clock = SimpleNamespace(thread_time=lambda: time.thread_time() / 5)
    monkeypatch.setattr(budget, "time", clock)


@pytest.mark.usefixtures("slow_clock")
@pytest.mark.parametrize(
    ("source", "change", "sentence"),
    [
        (LINEAR, "2 * lam * W -> lam * W", "it is lam * W, and the derivative of the penalty is 2*lam * W"),
        (SVM, "G /= X.shape[1] -> pass", "The factor 1/N is missing"),
        (TWO_LAYERS, ' * (fp_data["h"] > 0) -> ', "The derivative of the ReLU at H is left out"),
        pytest.param(
            *(NORMALISED, " - G.mean(1, keepdims=True) -> ", "Batch normalisation: the mean of S[1] and S[0]"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(PATCHES, ".reshape(p, -1, n) -> .reshape(-1, p, n).swapaxes(0, 1)", "in another order"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_mistake_in_a_hand_in_is_named(tmp_path: Path, source: str, change: str, sentence: str) -> None:
    old, new = change.split(" -> ")
    assert source.count(old) == 1
    report, _ = diagnose_file(load_definitions(write(tmp_path, source.replace(old, new))))
    assert sentence in report.sentences[0]
    assert max(map(len, str(report).splitlines())) <= 80


def test_the_first_wrong_quantity_of_a_wrong_l2_term_is_the_gradient(tmp_path: Path) -> None:
    report, _ = diagnose_file(load_definitions(write(tmp_path, LISTS.replace("2 * lam", "lam"))))
    assert {row.parameter: row.where for row in report.rows if row.wrong} == {f"W[{i}]": f"dW[{i}]" for i in range(3)}


def test_the_command_prints_the_function_the_table_and_the_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, LINEAR.replace("2 * lam * W", "lam * W")) == 1
    out = capsys.readouterr().out
    assert out.startswith("ComputeGradients: softmax regression; images as columns")
    assert "parameter  shape  verdict" in out
    assert "1. The L2 term has the wrong factor" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_command_succeeds_for_right_gradients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, LINEAR) == 0
    assert "All gradients are right." in capsys.readouterr().out


def test_the_convention_of_the_own_cost_function_is_no_mistake(
    tmp_path: Path,
) -> None:
    cost = """
def ComputeCost(X, Y, W, b, lam):
    P = np.exp(W @ X + b)
    return -np.mean(np.log((Y * P / P.sum(0)).sum(0))) + lam / 2 * np.sum(W**2)
"""
    source = LINEAR.replace("2 * lam * W", "lam * W") + cost
    report, _ = diagnose_file(load_definitions(write(tmp_path, source)))
    assert report.status == "right"
    assert "another convention, not a mistake" in report.notes[0]


def test_the_convention_is_found_if_the_log_has_a_small_number(tmp_path: Path) -> None:
    cost = """
def ComputeCost(X, Y, W, b, lam):
    P = np.exp(W @ X + b)
    return -np.mean(np.log((Y * P / P.sum(0)).sum(0) + 1e-8)) + lam / 2 * np.sum(W**2)
"""
    source = LINEAR.replace("2 * lam * W", "lam * W") + cost
    report, _ = diagnose_file(load_definitions(write(tmp_path, source)))
    assert report.status == "right", str(report)


def test_a_cost_of_no_known_convention_is_noted(tmp_path: Path) -> None:
    source = LINEAR + "def ComputeCost(X, Y, W, b, lam):\n    return 3.0\n"
    report, _ = diagnose_file(load_definitions(write(tmp_path, source)))
    assert report.status == "right"
    assert "follows no known convention" in report.notes[0]


def test_a_file_with_a_byte_order_mark_is_a_program(tmp_path: Path) -> None:
    path = write(tmp_path, LINEAR)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert diagnose_file(load_definitions(path))[0].status == "right"


@pytest.mark.parametrize("epsilon", ["0", "1e-8", "1e-5", "1e-3"])
def test_batch_normalisation_may_add_any_of_the_usual_numbers(tmp_path: Path, epsilon: str) -> None:
    report, _ = diagnose_file(load_definitions(write(tmp_path, NORMALISED.replace("1e-16", epsilon))))
    assert report.status == "right"


@pytest.mark.parametrize("epsilon", ["1e-8", "2e-5"])
def test_the_number_in_batch_normalisation_is_found_if_no_gradient_is_right(tmp_path: Path, epsilon: str) -> None:
    source = NORMALISED.replace("1e-16", epsilon).replace("gamma * Z[-1] + beta", "Z[-1] + beta")
    report, _ = diagnose_file(load_definitions(write(tmp_path, source)))
    assert "lacks the factor gamma[0] (and so in other places)" in report.sentences[0], str(report)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("x = (", [], "is not a Python program"),
        ("x = 1", [], "does not define the function ComputeGradients"),
        (LINEAR, ["--function", "Gradients"], "does not define the function Gradients"),
        ("def ComputeGradients(spam, eggs):\n    return 1", [], "the parameter spam is not known"),
        ("def ComputeGradients(X, Y, W, b, lam):\n    return X @ X", [], "could not be called in any layout"),
        ("def ComputeGradients(X, Y, W, b, lam):\n    return V @ X", [], "NameError: name 'V' is not defined"),
        ("def ComputeGradients(X, Y, W, b, lam):\n    W * 0", [], "none were returned"),
        ("import os\ndef ComputeGradients(X, Y, W, b, lam):\n    os._exit(7)", [], "exit status 7"),
        ("def ComputeGradients(X, Y, W, b, lam):\n    while True: pass", ["--time-limit", "2"], "stopped after 2 s"),
    ],
)
def test_a_file_that_cannot_be_diagnosed_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, options: list[str], message: str
) -> None:
    assert run(tmp_path, source, *options) == 2
    assert message in sentence(capsys)


def test_a_missing_file_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "missing.py")]) == 2
    assert "cannot be read" in sentence(capsys)


def test_a_cost_function_that_raises_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = LINEAR + "def ComputeCost(X, Y, W, b, lam):\n    raise ValueError('not written yet')\n"
    assert run(tmp_path, source) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "ComputeCost is not used, and the convention of the course is taken" in out
