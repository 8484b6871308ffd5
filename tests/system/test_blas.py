"""What computes here: told truly, changed only in a process of our own, and never against the user's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tinygrad_cifar.system import blas as machine
from tinygrad_cifar.system.blas import Runtime

KERNEL = {"OPENBLAS_CORETYPE": "SkylakeX"}
COUNT = {"OPENBLAS_NUM_THREADS": "2"}


@pytest.fixture
def started(monkeypatch):
    """What is started again: a function of what would be faster, the user's variables and the wanted threads."""
    for name in ("OPENBLAS_CORETYPE", *machine._THREADS, machine._MARK):
        monkeypatch.delenv(name, raising=False)

    def start(faster, user, **wanted):
        calls = []
        monkeypatch.setattr(machine, "runtime", lambda: Runtime("OpenBLAS", "Haswell", 2, 2, dict(faster)))
        monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
        for name, value in user.items():
            monkeypatch.setenv(name, value)
        before = dict(os.environ)
        machine.relaunch(["-m", "something"], **wanted)
        assert dict(os.environ) == before
        if not calls:
            return None
        ((program, arguments, environment),) = calls
        assert (program, arguments) == (sys.executable, [sys.executable, "-m", "something"])
        return {name: value for name, value in environment.items() if before.get(name) != value}

    return start


@pytest.mark.parametrize(
    ("faster", "user", "wanted", "changed"),
    [
        ({}, {}, {}, {}),
        (KERNEL, {}, {}, KERNEL),
        (KERNEL | COUNT, {}, {}, KERNEL | COUNT),
        (KERNEL, {"OPENBLAS_CORETYPE": "Haswell"}, {}, {}),
        (KERNEL | COUNT, {"OPENBLAS_CORETYPE": "Haswell"}, {}, COUNT),
        (KERNEL | COUNT, {"OMP_NUM_THREADS": "7"}, {}, KERNEL),
        (COUNT, {"GOTO_NUM_THREADS": "7"}, {}, {}),
        ({}, {}, {"threads": 1}, {"OPENBLAS_NUM_THREADS": "1"}),
        (COUNT, {}, {"threads": 1}, {"OPENBLAS_NUM_THREADS": "1"}),
        (KERNEL, {"OPENBLAS_NUM_THREADS": "2"}, {"threads": 1}, KERNEL),
    ],
)
def test_python_is_started_again_with_what_the_user_has_not_set(started, faster, user, wanted, changed):
    environment = started(faster, user, **wanted)
    assert environment == (changed | {machine._MARK: "1"} if changed else None)


def test_python_is_started_again_once(started):
    assert started(KERNEL, {machine._MARK: "1"}) is None


def test_where_processes_cannot_be_replaced_nothing_is_done(started, monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    assert started(KERNEL, {}) is None


FEATURES = machine._AVX512 | {"avx2"}


@pytest.mark.parametrize(
    ("answers", "features", "faster"),
    [
        ({"get_corename": "Haswell", "get_num_threads": 2}, FEATURES, KERNEL),
        ({"get_corename": "Haswell", "get_num_threads": 2}, {"avx2"}, {}),
        ({"get_corename": "Haswell", "get_num_threads": 2}, set(), {}),
        ({"get_corename": "SkylakeX", "get_num_threads": 2}, FEATURES, {}),
        ({"get_corename": "neoversev1", "get_num_threads": 2}, set(), {}),
        ({"get_corename": "Zen", "get_num_threads": 64}, FEATURES, KERNEL | COUNT),
        ({}, FEATURES, {}),
    ],
)
def test_what_would_be_faster_is_told(monkeypatch, answers, features, faster):
    monkeypatch.setattr(machine, "_loaded_openblas", object)
    monkeypatch.setattr(machine, "_ask", lambda _, question: answers.get(question))
    monkeypatch.setattr(machine, "_features", lambda: features)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert machine.runtime().faster == faster


def test_of_another_library_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(machine, "_loaded_openblas", lambda: None)
    told = machine.runtime()
    assert (told.kernel, told.threads, told.faster) == ("unknown", None, {})


def test_it_is_said_in_one_sentence_how_to_be_faster():
    told = Runtime("OpenBLAS 0.3.31", "Haswell", 1, 2, KERNEL)
    assert str(told) == (
        "OpenBLAS 0.3.31, Haswell kernel, 1 thread on 2 cores; "
        "faster with OPENBLAS_CORETYPE=SkylakeX set before Python starts"
    )


def test_one_core_is_one_core():
    assert str(Runtime("OpenBLAS 0.3.31", "Haswell", 1, 1, {})) == "OpenBLAS 0.3.31, Haswell kernel, 1 thread on 1 core"


def test_a_program_that_imports_the_library_keeps_its_environment_and_its_own_threads():
    code = (
        "import json, os; before = dict(os.environ); import tinygrad_cifar as tg; told = tg.runtime();"
        "print(json.dumps([dict(os.environ) == before, told.blas, told.threads]))"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    kept, blas, threads = json.loads(run.stdout)
    assert kept
    if not blas.startswith("OpenBLAS"):
        pytest.skip(f"NumPy computes with {blas} here")
    assert threads == 1
