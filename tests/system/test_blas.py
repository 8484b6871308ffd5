"""BLAS information, and the restart that respects variables set by the user."""

from __future__ import annotations

import io
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_program_without_arguments_is_restarted(monkeypatch, started):
    monkeypatch.setattr(sys, "argv", ["program"])
    assert started(KERNEL, {}) == KERNEL | {blas._MARK: "1"}


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


# -- what the system says ----------------------------------------------------------------------------------------------


@pytest.fixture
def system_files(monkeypatch):
    """Return a function that replaces the files of the system; all others are missing."""

    def replace(**contents):
        by_path = {path.replace("_", "/"): text for path, text in contents.items()}

        def read(path, *_, **__):
            if (key := str(path).strip("/").replace(".", "/")) in by_path:
                return by_path[key]
            raise FileNotFoundError(path)

        monkeypatch.setattr(Path, "read_text", read)

    return replace


BUILT = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
needs_openblas = pytest.mark.skipif("openblas" not in BUILT["name"], reason="NumPy does not use OpenBLAS")


@needs_openblas
def test_runtime_reports_the_version_and_the_threads_of_openblas():
    found = blas.runtime()
    name, version = found.blas.split()
    assert name == "OpenBLAS"
    assert BUILT["version"].startswith(version)
    assert re.fullmatch("[A-Za-z0-9]+", found.kernel)
    assert found.kernel != "unknown"
    assert isinstance(found.threads, int)
    assert found.threads >= 1


@needs_openblas
@pytest.mark.skipif(not (Path(np.__file__).parents[1] / "numpy.libs").is_dir(), reason="NumPy is not from a wheel")
def test_openblas_is_found_where_the_memory_map_cannot_be_read(system_files):
    right = blas.runtime()
    system_files()
    found = blas.runtime()
    assert (found.blas, found.kernel, found.threads) == (right.blas, right.kernel, right.threads)
    assert found.kernel != "unknown"


def test_no_openblas_is_found_where_there_is_none(system_files):
    system_files(proc_self_maps="7f00-7f01 r-xp 00000000 08:01 42    /usr/lib/libc.so.6\n")
    assert blas.runtime().kernel == "unknown"


@needs_openblas
def test_a_library_that_cannot_be_loaded_is_passed_over(system_files):
    (path,) = {
        line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "openblas" in line
    }
    right = blas.runtime()
    system_files(proc_self_maps=f"0-1 r-xp 0 0 4 /missing/with a space/openblas.so\n0-1 r-xp 0 0 4    {path}\n")
    assert blas.runtime().kernel == right.kernel != "unknown"


def test_the_library_of_numpy_is_preferred_to_that_of_scipy(monkeypatch, system_files):
    system_files(proc_self_maps="0-1 r-xp 0 0 4 /a/scipy.libs/openblas.so\n0-1 r-xp 0 0 4 /a/numpy.libs/openblas.so\n")
    monkeypatch.setattr(blas.ctypes, "CDLL", lambda path: path)
    assert blas._loaded_openblas() == "/a/numpy.libs/openblas.so"


def test_another_library_has_the_name_that_numpy_was_built_with(monkeypatch):
    monkeypatch.setattr(blas, "_loaded_openblas", lambda: None)
    for built, name in [
        ({"name": "accelerate", "version": "unknown", "found": True}, "accelerate unknown"),
        ({"name": "mkl"}, "mkl"),
        ({"name": "mkl", "version": ""}, "mkl"),
        ({}, "unknown"),
    ]:
        config = {"Build Dependencies": {"blas": built}} if built else {}
        monkeypatch.setattr(np, "show_config", lambda mode, config=config: config if mode == "dicts" else None)
        assert blas.runtime().blas == name


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            {"get_config": "OpenBLAS 0.3.31 USE64BITINT", "get_corename": "Zen", "get_num_threads": 3},
            ("OpenBLAS 0.3.31", "Zen", 3),
        ),
        ({"get_config": None, "get_corename": None, "get_num_threads": None}, ("OpenBLAS", "unknown", None)),
    ],
)
def test_runtime_contains_what_the_library_answers(monkeypatch, answers, expected):
    monkeypatch.setattr(blas, "_loaded_openblas", object)
    monkeypatch.setattr(blas, "_query", lambda _, name: answers[name])
    found = blas.runtime()
    assert (found.blas, found.kernel, found.threads) == expected
    assert found.cores == blas.usable_cores()


@pytest.mark.parametrize("extra", sorted(blas._AVX512))
def test_the_kernel_for_avx512_needs_all_of_its_instructions(monkeypatch, extra):
    monkeypatch.setattr(blas, "_loaded_openblas", object)
    monkeypatch.setattr(blas, "_query", lambda _, name: {"get_corename": "Haswell"}.get(name))
    monkeypatch.setattr(blas, "_instruction_sets", lambda: set(blas._AVX512))
    assert blas.runtime().faster == KERNEL
    monkeypatch.setattr(blas, "_instruction_sets", lambda: blas._AVX512 - {extra})
    assert blas.runtime().faster == {}


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_the_instruction_sets_are_those_of_the_first_core(monkeypatch, system_files, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    system_files(proc_cpuinfo="processor : 0\nflags : fpu avx2 avx512f\n\nprocessor : 1\nflags : fpu\n")
    assert {"avx2", "avx512f"} <= blas._instruction_sets()
    system_files(proc_cpuinfo="processor : 0\nmodel name : avx2\n")
    assert blas._instruction_sets() == set()
    system_files()
    assert blas._instruction_sets() == set()


def test_other_processors_have_no_instruction_sets_of_x86(monkeypatch, system_files):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    system_files(proc_cpuinfo="flags : avx2\n")
    assert blas._instruction_sets() == set()


@given(st.integers(1, 64), st.integers(1, 10**6), st.integers(1, 10**6))
def test_usable_cores_are_those_of_the_affinity_up_to_the_rounded_limit(affinity, quota, period):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: range(affinity) if process == 0 else (), raising=False)
        patch.setattr(Path, "read_text", lambda path: f"{quota} {period}\n" if path.name == "cpu.max" else "")
        assert blas.usable_cores() == min(affinity, math.ceil(Fraction(quota, period)))


@pytest.mark.parametrize("limit", ["max 100000\n", "", "nonsense"])
def test_without_a_limit_usable_cores_are_those_of_the_affinity(monkeypatch, system_files, limit):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    system_files(sys_fs_cgroup_cpu_max=limit)
    assert blas.usable_cores() == 3
    system_files()
    assert blas.usable_cores() == 3


@pytest.mark.parametrize(("count", "expected"), [(5, 5), (None, 1)])
def test_usable_cores_are_all_cores_where_there_is_no_affinity(monkeypatch, system_files, count, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    system_files()
    assert blas.usable_cores() == expected


def test_relaunch_flushes_the_output_before_it_replaces_the_process(started, monkeypatch):
    flushed = []
    for name in ("stdout", "stderr"):
        stream = io.StringIO()
        stream.flush = lambda name=name: flushed.append(name)
        monkeypatch.setattr(sys, name, stream)
    assert started(KERNEL, {}) is not None
    assert sorted(flushed) == ["stderr", "stdout"]
