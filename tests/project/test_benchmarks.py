"""Benchmarks: all parts run, and implementations compute the same losses. Times are not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, targets
from benchmarks.__main__ import _PARTS

ROOT = Path(__file__).parents[2]


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # other tests may run at the same time
    return subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    # Compilation is slow, and the other libraries are optional.
    completed = _benchmarks("--quick", "--without", "torch.compile,PyTorch eager,JAX jit", "--json", str(path))
    assert completed.returncode == 0, completed.stderr
    return json.loads(path.read_text())


def test_a_quick_run_measures_every_part(results: dict[str, Any]) -> None:
    assert results.keys() == _PARTS.keys()


def test_every_part_records_its_environment(results: dict[str, Any]) -> None:
    assert all(part["environment"]["blas"]["text"] for part in results.values())


def test_the_losses_of_all_implementations_agree(results: dict[str, Any]) -> None:
    assert [row["left_out"] for row in results["step"]["rows"]] == [{}] * 8


def test_every_workload_is_timed_with_the_library_the_reference_and_the_lower_bound(results: dict[str, Any]) -> None:
    required = {"tinygrad_cifar", "hand-derived NumPy", "bare kernels"}
    assert all(required <= row["seconds"].keys() for row in results["step"]["rows"])


def test_the_long_chain_is_exact_and_freed(results: dict[str, Any]) -> None:
    assert results["chain"]["exact"]
    assert results["chain"]["left"] < 10


def test_the_page_contains_every_part_and_the_notes(results: dict[str, Any]) -> None:
    text = page.render(results, "## What was tried\n\nNothing yet.\n")
    assert text.endswith("Nothing yet.\n")
    assert text.count("<sub>") >= len(_PARTS)


def test_a_target_is_met_at_its_limit_and_missed_beyond_it() -> None:
    assert targets.Verdict("ratio", 1.05, 1.05, "").met
    assert not targets.Verdict("ratio", 1.05, 1.06, "").met
    assert not targets.Verdict("lead", 1.3, 1.29, "", at_least=True).met


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "steps"], "'steps' is not a part; choose from step,"),
        (["--without", "hand-derived NumPy"], "'hand-derived NumPy' is not an implementation that can be left out"),
        (["--quick", "--docs"], "--docs cannot be combined with --quick"),
    ],
)
def test_invalid_arguments_are_reported_without_a_traceback(arguments: list[str], message: str) -> None:
    completed = _benchmarks(*arguments)
    assert completed.returncode == 2
    assert message in completed.stderr
    assert "Traceback" not in completed.stderr
