"""Benchmarks: all parts run, and implementations compute the same losses. Times are not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import convnet, page, targets, timing
from benchmarks.__main__ import _PARTS
from benchmarks.workloads import Workload
from tinygrad_cifar.course.convnet import ConvNet

ROOT = Path(__file__).parents[2]


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # other tests may run at the same time
    return subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def quick_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    # Compilation is slow, and the other libraries are optional.
    completed = _benchmarks("--quick", "--without", "torch.compile,PyTorch eager,JAX jit", "--json", str(path))
    assert completed.returncode == 0, completed.stderr
    return json.loads(path.read_text())


def test_a_library_that_was_left_out_misses_the_targets() -> None:
    peers = {name: [1.0] for name in ("hand-derived NumPy", "bare kernels", "MyGrad")}
    rows = [
        {"workload": Workload(name, hidden, 100).to_json(), "seconds": peers}
        for name, hidden in (("two layers", (50,)), ("wide net", (512, 512)))
    ]
    verdicts = targets.verdicts({"step": {"rows": rows}})
    assert verdicts
    assert not any(verdict.met for verdict in verdicts)


def test_a_quick_run_measures_every_part(quick_results: dict[str, Any]) -> None:
    assert quick_results.keys() == _PARTS.keys()


def test_every_part_records_its_environment(quick_results: dict[str, Any]) -> None:
    assert all(part["environment"]["blas"]["text"] for part in quick_results.values())


def test_the_losses_of_all_implementations_agree(quick_results: dict[str, Any]) -> None:
    assert [row["left_out"] for row in quick_results["step"]["rows"]] == [{}] * 8


def test_every_workload_is_timed_with_the_library_the_reference_and_the_lower_bound(
    quick_results: dict[str, Any],
) -> None:
    required = {"tinygrad_cifar", "hand-derived NumPy", "bare kernels"}
    assert all(required <= row["seconds"].keys() for row in quick_results["step"]["rows"])


def test_the_long_chain_is_exact_and_freed(quick_results: dict[str, Any]) -> None:
    assert quick_results["chain"]["exact"]
    assert quick_results["chain"]["left"] < 10


def test_convolutions_of_all_implementations_agree(quick_results: dict[str, Any]) -> None:
    rows = quick_results["convolution"]["rows"]
    assert [row["left_out"] for row in rows] == [{}] * len(rows)
    assert all({"tinygrad_cifar", "matrix products", "fancy indexing"} <= row["seconds"].keys() for row in rows)


def test_the_profile_of_the_convolutional_network_names_its_primitives(quick_results: dict[str, Any]) -> None:
    profile = quick_results["convnet"]["profile"]
    assert {"conv2d", "max_pool2d", "batch_norm", "gelu_tanh", "cross_entropy"} <= profile["forward"].keys()
    assert {"conv2d, x", "conv2d, filters", "max_pool2d, x", "batch_norm, bias"} <= profile["backward"].keys()


def test_the_activations_to_keep_are_those_of_the_shapes_of_the_network() -> None:
    sizes = [31 * 31 * (24 + 24 + 64), 15 * 15 * (6 * 64 + 256), 7 * 7 * (6 * 256 + 256), 3 * 3 * 6 * 256, 256]
    assert convnet.activation_bytes(ConvNet(rng=0), 10) == 10 * 4 * sum(sizes)


def test_different_losses_of_the_convolutional_network_miss_its_target() -> None:
    seconds = {"tinygrad_cifar": [1.0], "PyTorch eager": [2.0]}
    result = {"seconds": seconds, "images": 10, "peak": 1, "activations": 1, "environment": {"blas": {"kernel": "Zen"}}}
    met = [targets.verdicts({"convnet": result | {"error": error}})[0].met for error in (1e-6, 0.1)]
    assert met == [True, False]


def test_a_convolution_slower_than_its_products_misses_its_target() -> None:
    def result(seconds: float) -> dict[str, Any]:
        times = {"tinygrad_cifar": [seconds], "matrix products": [1.0]}
        return {"convolution": {"rows": [{"shape": [15, 64, 64], "seconds": times}]}}

    assert [targets.verdicts(result(seconds))[0].met for seconds in (1.1, 1.2)] == [True, False]


def test_calls_that_warm_up_are_not_timed() -> None:
    calls: list[str] = []
    functions = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = timing.time_interleaved(functions, 2, group=0, warm=3)
    assert "".join(calls) == "ab" + 2 * ("aaaa" + "bbbb")
    assert [len(taken) for taken in times] == [2, 2]


def test_the_page_contains_every_part_and_the_notes(quick_results: dict[str, Any]) -> None:
    text = page.render(quick_results, "## What was tried\n\nNothing yet.\n")
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
