"""The benchmarks run, and their contestants do the same work; how long anything takes is no matter for a test."""

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
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # tests may have neighbours
    return subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    # Compiling takes longer than all the rest, and whether peers are installed is none of this project's tests' matter.
    done = _benchmarks("--quick", "--without", "torch.compile,PyTorch eager,JAX jit", "--json", str(path))
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def test_a_quick_run_measures_every_part(results: dict[str, Any]) -> None:
    assert results.keys() == _PARTS.keys()


def test_every_part_knows_its_machine(results: dict[str, Any]) -> None:
    assert all(part["environment"]["blas"]["text"] for part in results.values())


def test_the_losses_of_all_contestants_agree(results: dict[str, Any]) -> None:
    assert [row["left_out"] for row in results["step"]["rows"]] == [{}] * 8


def test_every_work_is_timed_by_the_library_by_hand_and_by_the_kernels(results: dict[str, Any]) -> None:
    wanted = {"tinygrad_cifar", "hand-derived NumPy", "bare kernels"}
    assert all(wanted <= row["seconds"].keys() for row in results["step"]["rows"])


def test_the_long_chain_is_exact_and_freed(results: dict[str, Any]) -> None:
    assert results["chain"]["exact"]
    assert results["chain"]["left"] < 10


def test_the_page_shows_each_part_and_keeps_the_notes(results: dict[str, Any]) -> None:
    text = page.render(results, "## What was tried\n\nNothing yet.\n")
    assert text.endswith("Nothing yet.\n")
    assert text.count("<sub>") >= len(_PARTS)


def test_a_target_is_met_at_its_limit_and_missed_beyond_it() -> None:
    assert targets.Verdict("ratio", 1.05, 1.05, "").met
    assert not targets.Verdict("ratio", 1.05, 1.06, "").met
    assert not targets.Verdict("lead", 1.3, 1.29, "", at_least=True).met


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "steps"], "'steps' is no part; choose from step,"),
        (["--without", "hand-derived NumPy"], "'hand-derived NumPy' is no contestant that can be left out"),
        (["--quick", "--docs"], "--docs wants real figures, not those of --quick"),
    ],
)
def test_a_wrong_question_is_answered_in_a_sentence(arguments: list[str], sentence: str) -> None:
    done = _benchmarks(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
