"""``python -m tinygrad_cifar.testing``: the share of planted faults that tests catch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinygrad_cifar.testing.fault_score import FaultScoreError, format_score, score_faults

pytestmark = pytest.mark.slow

PRIMITIVE = """
import numpy as np
import tinygrad_cifar as tg
from tinygrad_cifar.testing import check_gradients

cube = tg.primitive("cube", lambda x: x**3, x=lambda g, x: 3 * g * x**2)
"""
GRADIENT = """
def test_gradient():
    check_gradients(cube, np.array([0.5, 2.0]))
"""
VALUE = """
def test_value():
    assert cube(2.0) == 8
"""


@pytest.fixture
def write(tmp_path):
    def write_tests(text, name="test_cube.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_tests


def test_tests_of_the_gradient_catch_a_wrong_sign_and_tests_of_the_value_do_not(write):
    caught = {}
    for text in (GRADIENT, VALUE):
        (outcome,) = score_faults(write(PRIMITIVE + text), kinds=["negated"])
        caught[text] = outcome.caught_by
    assert caught == {GRADIENT: "test_gradient", VALUE: ""}


def test_change_that_changes_nothing_is_not_counted(write):
    text = PRIMITIVE.replace("lambda x: x**3, x=lambda g, x: 3 * g * x**2", "lambda x: x * 1.0, x=lambda g: g")
    (outcome,) = score_faults(
        write(text + "def test_value():\n    assert cube(2.0) == 2"), kinds=["returns the cotangent"]
    )
    assert outcome.no_fault == "the VJP does nothing else"
    assert not outcome.survived


def test_primitive_of_the_library_can_be_named(write):
    text = "import tinygrad_cifar as tg\ndef test_sin():\n    x = tg.Tensor(0.0, requires_grad=True)\n"
    path = write(text + "    assert tg.grad(tg.sin(x), x).item() == 1\n")
    (outcome,) = score_faults(path, primitives=["sin"], kinds=["zero"])
    assert (outcome.place, outcome.caught_by) == ("sin.x", "test_sin")


def test_hanging_tests_are_caught(write, monkeypatch):
    monkeypatch.setattr("tinygrad_cifar.testing.fault_score._LEAST_LIMIT", 5)
    monkeypatch.setattr("tinygrad_cifar.testing.fault_score._TIMES_AS_LONG", 0)
    text = PRIMITIVE + "def test_end():\n    x = tg.Tensor(1.0, requires_grad=True)\n"
    path = write(text + "    while tg.grad(cube(x), x).item() < 0:\n        pass\n")
    (outcome,) = score_faults(path, kinds=["negated"])
    assert outcome.caught_by == "no end within 5 s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PRIMITIVE + "def test_wrong():\n    assert cube(2.0) == 9",
            "must pass before faults are planted: .*test_wrong",
        ),
        (PRIMITIVE, "contains no tests"),
        ("def test_nothing():\n    pass", "make no primitive of their own"),
        ("import nothing_of_this_name\ndef test():\n    pass", "must pass before faults are planted"),
        (
            PRIMITIVE.replace("cube = ", "def make():\n    return ") + "def test_value():\n    assert make()(2.0) == 8",
            "made inside a test",
        ),
    ],
)
def test_tests_that_cannot_be_scored_are_explained(write, text, message):
    with pytest.raises(FaultScoreError, match=message):
        list(score_faults(write(text), kinds=["zero"]))


def test_unknown_primitive_is_explained(write):
    with pytest.raises(FaultScoreError, match="there is no primitive 'cub'"):
        list(score_faults(write(PRIMITIVE + VALUE), primitives=["cub"], kinds=["zero"]))


def test_missing_file_is_explained_on_the_command_line(tmp_path):
    command = [sys.executable, "-m", "tinygrad_cifar.testing", str(tmp_path / "nothing.py")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "does not exist; name a file or a folder of tests" in run.stderr.replace("\n", " ")
    assert "Traceback" not in run.stderr


def test_table_fits_80_columns(write):
    outcomes = list(score_faults(write(PRIMITIVE + VALUE), kinds=["zero", "is not recorded"]))
    text = format_score(outcomes)
    assert max(map(len, text.splitlines())) <= 80
    assert "all                                2       0  (0 %)" in text
