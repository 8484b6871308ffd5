"""``python -m tinygrad_cifar.testing``: the share of injected faults that tests catch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinygrad_cifar.testing.fault_score import FaultOutcome, FaultScoreError, format_score, score_faults

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


def test_a_vjp_that_is_never_applied_is_not_proved_to_be_right(write):
    (outcome,) = score_faults(write(PRIMITIVE + VALUE), kinds=["averages the cotangent"])
    assert (outcome.no_fault, outcome.survived) == ("", True)


def test_a_primitive_without_vjps_is_named(write):
    with pytest.raises(FaultScoreError, match="no fault can be injected into sign: there is no VJP"):
        list(score_faults(write(PRIMITIVE + GRADIENT), primitives=["sign"]))


def test_an_option_that_pytest_does_not_know_is_named(write):
    write("[pytest]\naddopts = --unknown-option\n", "pytest.ini")
    with pytest.raises(FaultScoreError, match="unrecognized arguments: --unknown-option"):
        list(score_faults(write(PRIMITIVE + GRADIENT)))


TOTAL = """
import numpy as np
import tinygrad_cifar as tg

total = tg.primitive("total", lambda x: np.sum(x), x=lambda g, x_shape: tg.broadcast_to(g, x_shape))

def test_total():
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert tg.grad(total(x), x).numpy().tolist() == [1.0, 1.0, 1.0]
"""


def test_change_that_is_never_observed_is_not_missed(write):
    """The reverse of a constant array is that array."""
    reversed_, negated = score_faults(write(TOTAL), kinds=["reversed", "negated"])
    assert (reversed_.unchanged, reversed_.survived) == (True, False)
    assert (negated.unchanged, negated.caught_by) == (False, "test_total")


@pytest.mark.parametrize("kind", ["reversed", "is not recorded", "always float32"])
def test_change_that_no_assertion_looks_at_is_missed(write, kind):
    """The VJP runs; what is not recorded could only be seen in a second derivative."""
    text = "def test_end():\n    x = tg.Tensor([1.0, 2.0], requires_grad=True)\n    tg.grad(cube(x).sum(), x)\n"
    (outcome,) = score_faults(write(PRIMITIVE + text), kinds=[kind])
    assert outcome.survived


def test_one_test_of_a_file_can_be_named(write):
    path = write(PRIMITIVE + GRADIENT + VALUE)
    (outcome,) = score_faults(f"{path}::test_value", kinds=["negated"])
    assert outcome.survived


@pytest.mark.parametrize("options", ["-n 2", "-n 2 --dist loadfile", "-d --tx 2*popen", "-qq --no-summary"])
def test_options_in_the_settings_of_the_project_are_no_obstacle(write, options):
    """The fault is injected in one process, and the report does not depend on what pytest prints."""
    path = write(PRIMITIVE + GRADIENT)
    write(f"[pytest]\naddopts = {options}\n", "pytest.ini")
    (outcome,) = score_faults(path, kinds=["negated"])
    assert outcome.caught_by == "test_gradient"


def test_primitive_that_no_test_makes_can_be_named_beside_one_made_inside_a_test(write):
    inside = PRIMITIVE.replace("cube = ", "def make():\n    return ").replace('"cube"', '"other"')
    path = write(PRIMITIVE + GRADIENT + inside + "def test_other():\n    assert make()(2.0) == 8\n")
    with pytest.raises(FaultScoreError, match="the primitive other is made inside a test"):
        next(score_faults(path, kinds=["negated"]))
    (outcome,) = score_faults(path, primitives=["cube"], kinds=["negated"])
    assert outcome.caught_by == "test_gradient"


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


def test_unknown_kind_is_named():
    with pytest.raises(FaultScoreError, match=r"kinds must be among: .*; got 'zeros'"):
        list(score_faults(__file__, kinds=["zeros"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PRIMITIVE + "def test_wrong():\n    assert cube(2.0) == 9",
            "must pass before faults are injected: .*test_wrong",
        ),
        (PRIMITIVE, "contains no tests"),
        ("def test_nothing():\n    pass", "make no primitive of their own"),
        (
            "import nothing_of_this_name\ndef test():\n    pass",
            "must pass before faults are injected: .*test_cube.py: ModuleNotFoundError: No module named 'nothing_of_",
        ),
        ("def test(:\n    pass", "must pass before faults are injected: .*test_cube.py: SyntaxError: "),
        ("import os\nos._exit(0)", "must pass before faults are injected"),
        (
            PRIMITIVE.replace("cube = ", "def make():\n    return ") + "def test_value():\n    assert make()(2.0) == 8",
            "the primitive cube is made inside a test",
        ),
    ],
)
def test_tests_that_cannot_be_scored_are_explained(write, text, message):
    with pytest.raises(FaultScoreError, match=message):
        list(score_faults(write(text), kinds=["zero"]))


def test_name_of_a_missing_test_is_explained(write):
    with pytest.raises(FaultScoreError, match=r"must pass before faults are injected: not found: .*::test_other"):
        next(score_faults(f"{write(PRIMITIVE + VALUE)}::test_other"))


def test_error_in_the_configuration_of_the_tests_is_explained(write):
    path = write(PRIMITIVE + VALUE)
    write("import nothing_of_this_name", "conftest.py")
    with pytest.raises(FaultScoreError, match="are injected: ModuleNotFoundError: No module named 'nothing_of_"):
        next(score_faults(path))


def test_unknown_primitive_is_explained(write):
    with pytest.raises(FaultScoreError, match="there is no primitive 'cub'"):
        list(score_faults(write(PRIMITIVE + VALUE), primitives=["cub"], kinds=["zero"]))


def run_command(*arguments, before=""):
    """Run the command in a process of its own, after some lines of Python."""
    code = f"import runpy, sys\n{before}\nsys.argv[1:] = {list(map(str, arguments))}\n"
    code += "runpy.run_module('tinygrad_cifar.testing', run_name='__main__', alter_sys=True)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    return run.returncode, " ".join(run.stderr.split())


def test_missing_file_is_explained_on_the_command_line(tmp_path):
    status, message = run_command(tmp_path / "nothing.py")
    assert status == 2
    assert message.startswith("error: ")
    assert message.endswith("does not exist; name a file or a folder of tests")


def test_tests_that_do_not_end_are_explained_on_the_command_line(write):
    path = write(PRIMITIVE + "import time\ndef test_wait():\n    time.sleep(100000)\n")
    status, message = run_command(path, "--time-limit", "3")
    assert status == 2
    assert message.startswith("error: ")
    assert "did not end within 3 s without a fault" in message


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_time_limit_must_be_positive(write, limit):
    status, message = run_command(write(PRIMITIVE + VALUE), f"--time-limit={limit}")
    assert status == 2
    assert "--time-limit must be a positive number of seconds" in message


@pytest.mark.parametrize(("library", "name"), [("pytest", "pytest"), ("hypothesis", "Hypothesis")])
def test_missing_library_is_explained_on_the_command_line(write, library, name):
    status, message = run_command(write(PRIMITIVE + VALUE), before=f"sys.modules['{library}'] = None")
    assert status == 2
    assert message == f"error: {name} is not installed; install the extra test: pip install '.[test]'"


def test_table_fits_80_columns(write):
    outcomes = list(score_faults(write(PRIMITIVE + VALUE), kinds=["zero", "is not recorded"]))
    text = format_score(outcomes)
    assert max(map(len, text.splitlines())) <= 80
    assert "all                                2       0  (0 %)" in text


def test_reasons_fit_80_columns():
    place = "a_primitive_with_quite_a_long_name.weights"
    proved = FaultOutcome("averages the cotangent", place, "", "the result has one element, which is its own mean")
    unchanged = FaultOutcome("times 1.001 in one element", place, "", unchanged=True)
    lines = format_score([proved, unchanged, FaultOutcome("negated", place, "test")]).splitlines()
    assert max(map(len, lines)) <= 80
    assert "all                                1       1  (100 %)" in lines
