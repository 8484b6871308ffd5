"""BLAS information, and the restart that respects variables set by the user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tinygrad_cifar.system import blas
from tinygrad_cifar.system.blas import Runtime

KERNEL = {"OPENBLAS_CORETYPE": "SkylakeX"}
COUNT = {"OPENBLAS_NUM_THREADS": "2"}


ONE = dict.fromkeys(blas.THREAD_VARIABLES, "1")


@pytest.fixture
def started(monkeypatch):
    """Return a function that calls relaunch and returns the changed environment, or None without a restart."""
    for name in ("OPENBLAS_CORETYPE", *blas.THREAD_VARIABLES, blas._MARK):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["program", "train", "softmax"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "utf8", "/bin/program", "train", "softmax"])

    def start(faster, user, **wanted):
        calls = []
        monkeypatch.setattr(blas, "runtime", lambda: Runtime("OpenBLAS", "Haswell", 2, 2, dict(faster)))
        monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
        for name, value in user.items():
            monkeypatch.setenv(name, value)
        before = dict(os.environ)
        blas.relaunch(**wanted)
        assert dict(os.environ) == before
        if not calls:
            return None
        ((program, arguments, environment),) = calls
        assert program == sys.executable
        assert arguments == [sys.executable, "-X", "utf8", "/bin/program", "train", "softmax"]
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
        ({}, {}, {"threads": 1}, ONE),
        (COUNT, {}, {"threads": 1}, ONE),
        (KERNEL, {"OPENBLAS_NUM_THREADS": "2"}, {"threads": 1}, KERNEL),
        (KERNEL, {"MKL_NUM_THREADS": "2"}, {"threads": 1}, KERNEL),
    ],
)
def test_relaunch_sets_only_variables_that_the_user_has_not_set(started, faster, user, wanted, changed):
    environment = started(faster, user, **wanted)
    assert environment == (changed | {blas._MARK: "1"} if changed else None)


def test_relaunch_restarts_only_once(started):
    assert started(KERNEL, {blas._MARK: "1"}) is None


def test_relaunch_does_nothing_on_systems_other_than_posix(started, monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    assert started(KERNEL, {}) is None


@pytest.mark.parametrize("own", [["other"], ["train"], ["train", "softmax", "more"]])
def test_relaunch_does_nothing_inside_another_program(started, monkeypatch, own):
    monkeypatch.setattr(sys, "argv", ["program", *own])
    assert started(KERNEL, {}) is None


def test_signals_are_not_lost_if_the_process_cannot_be_restarted(started):
    if not hasattr(signal, "pthread_sigmask"):
        pytest.skip("needs signal masks")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    started(KERNEL, {})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


FEATURES = blas._AVX512 | {"avx2"}


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
def test_runtime_recommends_faster_settings(monkeypatch, answers, features, faster):
    monkeypatch.setattr(blas, "_loaded_openblas", object)
    monkeypatch.setattr(blas, "_query", lambda _, name: answers.get(name))
    monkeypatch.setattr(blas, "_instruction_sets", lambda: features)
    monkeypatch.setattr(blas, "usable_cores", lambda: 2)
    assert blas.runtime().faster == faster


def test_runtime_of_another_library_is_unknown(monkeypatch):
    monkeypatch.setattr(blas, "_loaded_openblas", lambda: None)
    found = blas.runtime()
    assert (found.kernel, found.threads, found.faster) == ("unknown", None, {})


def test_runtime_is_printed_with_its_recommendation():
    found = Runtime("OpenBLAS 0.3.31", "Haswell", 1, 2, KERNEL)
    assert str(found) == (
        "OpenBLAS 0.3.31, Haswell kernel, 1 thread on 2 cores; "
        "faster with OPENBLAS_CORETYPE=SkylakeX set before Python starts"
    )


def test_one_core_is_printed_in_the_singular():
    assert str(Runtime("OpenBLAS 0.3.31", "Haswell", 1, 1, {})) == "OpenBLAS 0.3.31, Haswell kernel, 1 thread on 1 core"


@pytest.mark.parametrize(
    ("library", "kernel", "threads", "expected"),
    [
        ("OpenBLAS 0.3.31", "SkylakeX", 1, True),
        ("OpenBLAS 0.3.31", "Cooperlake", 1, True),
        ("OpenBLAS 0.3.31", "SkylakeX", 2, False),
        ("OpenBLAS 0.3.31", "Haswell", 1, False),
        ("accelerate", "unknown", None, False),
    ],
)
def test_only_openblas_kernels_for_avx512_multiply_small_matrices_directly(
    monkeypatch, library, kernel, threads, expected
):
    monkeypatch.setattr(blas, "runtime", lambda: Runtime(library, kernel, threads, 2, {}))
    assert blas.multiplies_small_matrices_directly() is expected


def test_importing_the_library_does_not_change_environment_or_threads():
    code = (
        "import json, os; before = dict(os.environ); import tinygrad_cifar as tg; found = tg.runtime();"
        "print(json.dumps([dict(os.environ) == before, found.blas, found.threads]))"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    unchanged, library, threads = json.loads(run.stdout)
    assert unchanged
    if not library.startswith("OpenBLAS"):
        pytest.skip(f"NumPy uses {library}")
    assert threads == 1
