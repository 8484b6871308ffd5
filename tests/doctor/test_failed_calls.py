"""Files whose gradient function raises an exception: the reason is that of the student's layout, with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.doctor.examples import SOFTMAX
from tests.support.command_line import sentence
from tinygrad_cifar.cli import main
from tinygrad_cifar.doctor import DiagnosisError, diagnose

COLUMNS = """
def ComputeGradients(X, Y, P, W, lam):
    n = X.shape[1]
    G = P - Y
    dW = X @ G.T / n
    dW = dW + 2 * lam * W
    return dW, G.sum(axis=1, keepdims=True) / n
"""
ROWS = """
def ComputeGradients(X, Y, P, W, lam):
    G = (P - Y) / len(X)
    dW = X.T @ G
    dW = dW.T + 2 * lam * W
    return dW, G.sum(0)
"""
ONE_LINE = """
def ComputeGradients(X, Y, P, W, lam):
    return X @ (P - Y).T / X.shape[1] + 2 * lam * W, (P - Y).mean(1, keepdims=True)
"""
NO_HIDDEN_LAYER = """
import numpy as np
def ApplyNetwork(X, network):
    s = network["W"] @ X + network["b"]
    return np.exp(s) / np.exp(s).sum(0)
def BackwardPass(X, Y, fp_data, network, lam):
    P, H = fp_data
    return (P - Y) @ X.T / X.shape[1], (P - Y).mean(1, keepdims=True)
"""
LOOP = """
def ComputeGradients(X, Y, P, W, lam):
    for _ in range(20 if len(X) == len(Y) else 1):
        G = P - Y
    if len(X) == len(Y):
        raise ValueError("rows")
    n = X.shape[1]
    raise ValueError("columns")
"""
BOTH = """
def ComputeGradients(X, Y, P, W, lam):
    return X @ (P - Y)
"""


def reason(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str) -> str:
    """Return the message of the command."""
    path = tmp_path / "hand_in.py"
    path.write_text(source)
    assert main(["doctor", str(path)]) == 2
    return sentence(capsys)


@pytest.mark.parametrize(
    ("source", "images", "line"),
    [(COLUMNS, "columns", 6), (ROWS, "rows", 5), (ONE_LINE, "columns", 3), (NO_HIDDEN_LAYER, "columns", 7)],
)
def test_the_error_is_that_of_the_layout_in_which_the_function_gets_furthest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, images: str, line: int
) -> None:
    text = reason(tmp_path, capsys, source)
    assert f"with images as {images}" in text
    assert f"(line {line} of hand_in.py" in text


def test_a_loop_that_runs_often_is_not_taken_for_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "ValueError: columns" in reason(tmp_path, capsys, LOOP)


def test_the_errors_of_both_layouts_are_reported_if_the_function_gets_as_far(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = reason(tmp_path, capsys, BOTH)
    assert text.index("with images as columns") < text.index("with images as rows")


def test_the_layout_is_not_named_if_all_layouts_have_the_same_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "with images" not in reason(tmp_path, capsys, COLUMNS.replace("P - Y", "V - Y"))


def test_the_line_of_an_error_is_said_with_its_file() -> None:
    def gradients(X: np.ndarray, W: np.ndarray) -> np.ndarray:
        return X @ W @ X

    with pytest.raises(DiagnosisError, match=r"\(line \d+ of test_failed_calls.py, in gradients\)"):
        diagnose(SOFTMAX.cost, gradients, SOFTMAX.problem)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("/tmp/ipykernel_12/345.py", "line 2 of the cell, in gradients"),
        ("/home/student/tinygrad_cifar/numpy_lab.py", "line 2 of numpy_lab.py, in gradients"),
    ],
)
def test_the_line_is_that_of_the_users_file_wherever_it_is(file: str, place: str) -> None:
    namespace: dict[str, Any] = {"np": np}
    exec(compile("def gradients(X):\n    return np.linalg.inv(X)", file, "exec"), namespace)
    with pytest.raises(DiagnosisError, match=re.escape(f"({place})")):
        diagnose(SOFTMAX.cost, namespace["gradients"], SOFTMAX.problem)


@pytest.mark.parametrize(
    ("definition", "use", "why"),
    [
        (
            "import helper_lib",
            "helper_lib.f()",
            "line 2 of hand_in.py, which defines helper_lib, failed: ModuleNotFoundError: No module named 'helper_lib'",
        ),
        ("import helper_lib as h", "h.f()", "which defines h, failed: ModuleNotFoundError"),
        ("from helper_lib import f", "f()", "which defines f, failed: ModuleNotFoundError"),
        ("from helper_lib import *", "f()", "which may define f, failed: ModuleNotFoundError"),
        ("data = open('missing.npy')", "data['W']", "line 2 of hand_in.py, which defines data, failed: FileNotFound"),
        ("a, (b, c) = open('missing.npy')", "c", "which defines c, failed: FileNotFoundError"),
        ("@njit\ndef f(): pass", "f()", "which defines f, failed: NameError: name 'njit' is not defined"),
        (
            "data = open('missing.npy')\nW0 = data['W']",
            "W0",
            "which defines W0, failed: NameError: name 'data' is not defined; line 2 of hand_in.py, which defines data",
        ),
        (
            "try:\n    import math\nfinally: pass",
            "math.pi",
            "line 3 of hand_in.py, which defines math, is not executed",
        ),
        ("if True:\n    c = 1", "c", "line 3 of hand_in.py, which defines c, is not executed"),
        ("class C:\n    c = 1", "c", "name 'c' is not defined (line 5 of hand_in.py, in ComputeGradients); see"),
    ],
)
def test_a_name_that_a_skipped_line_defines_is_reported_with_that_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], definition: str, use: str, why: str
) -> None:
    source = f"\n{definition}\ndef ComputeGradients(X, Y, W, b, lam):\n    return {use}\n"
    assert why in reason(tmp_path, capsys, source)


def test_a_gradient_function_that_could_not_be_defined_is_reported_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = reason(tmp_path, capsys, "@njit\ndef ComputeGradients(X, Y, W, b, lam):\n    return W, b\n")
    assert "which defines ComputeGradients, failed: NameError: name 'njit' is not defined" in text


def test_a_cost_function_that_fails_for_a_skipped_line_is_noted_with_that_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = "import helper_lib\ndef ComputeCost(X, Y, W, b, lam):\n    return helper_lib.f(X)\n"
    path = tmp_path / "hand_in.py"
    path.write_text(cost + ONE_LINE.replace("X @ (P - Y).T", "(P - Y) @ X.T"))
    assert main(["doctor", str(path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "which defines helper_lib, failed: ModuleNotFoundError" in out
