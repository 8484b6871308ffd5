"""The measurements of the evidence for correct gradients: tasks that run in several processes, longest first."""

# Imports are local to the measurements, which run in separate processes; their number is printed.
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from tests.evidence import faults
from tests.evidence.checkpoint import ROOT, Checkpoint

# Columns of the table of primitives: oracles and their titles.
ORACLES = {
    "value": "value",
    "differences": "differences",
    "second_order": "second order",
    "step_into_the_complex_plane": "complex step",
    "duality": "duality",
    "exact_adjoint": "exact adjoint",
}


class Budget(NamedTuple):
    """The size of each measurement."""

    cases: int
    programs: int
    tasks: list[tuple[str, ...]]
    files: int
    kills: int
    profile: str
    points: int


def full_budget() -> Budget:
    return Budget(200, 3000, faults.all_tasks(), 10_000, 40, "thorough", 15_000)


def scaled(budget: Budget, share: float) -> Budget:
    """Return a budget with a share of the cases, programs, files, kills and points, and all faults."""
    counts = {name: max(1, round(getattr(budget, name) * share)) for name in ("cases", "programs", "files", "kills")}
    return budget._replace(**counts, points=max(20, round(budget.points * share)))


def quick_budget() -> Budget:
    return Budget(3, 20, faults.sample_of_tasks()[1:6], 60, 1, "quick", 20)


# -- measuring, in processes -------------------------------------------------------------------------------------------


class OracleResult(NamedTuple):
    """The result of an oracle for a primitive: cases drawn, and the largest error, or why the oracle does not apply."""

    cases: int
    worst: float
    not_applicable: str = ""


def run_oracle(name: str, check: str, cases: int) -> OracleResult:
    from hypothesis import HealthCheck, given, settings

    from tests.evidence.specs import SPECS
    from tinygrad_cifar.engine.primitives import PRIMITIVES
    from tinygrad_cifar.testing.properties import PROPERTIES
    from tinygrad_cifar.testing.strategies import seeds

    spec = SPECS[name]
    if check != "value" and not PRIMITIVES[name].vjps:
        return OracleResult(0, 0.0, "no derivative")
    if check == "step_into_the_complex_plane" and not spec.analytic:
        return OracleResult(0, 0.0, "not analytic")
    if check == "exact_adjoint" and not spec.affine:
        return OracleResult(0, 0.0, "not affine")
    errors: list[float] = []

    @settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=spec.cases, seed=seeds)
    def holds(case: Any, seed: int) -> None:
        errors.append(PROPERTIES[check](spec, case, np.random.default_rng(seed)))

    holds()
    return OracleResult(len(errors), max(errors))


def prove(name: str) -> list[tuple[str, str, str]]:
    """Prove the derivatives of a primitive; return the branch and each statement, and what is left: 0 if proved."""
    from tests.evidence import symbolic

    proofs = [proof for call in symbolic.calls_of(name) for proof in symbolic.prove(name, call)]
    return [(proof.call, proof.statement, str(proof.difference)) for proof in proofs]


def measure_accuracy(name: str, dtype: str, points: int) -> Any:
    from tests.evidence import accuracy

    return accuracy.measure(name, np.dtype(dtype).type, points)


def run_programs(count: int) -> Counter[str]:
    """Run random programs; a disagreement raises an error."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.evidence import programs

    chosen = settings(
        max_examples=count,
        stateful_step_count=programs.STEPS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    programs.counts.clear()
    run_state_machine_as_test(programs.Programs, settings=chosen)
    return programs.counts


def fuzz_reader(reader: str, inputs: int) -> dict[str, Any]:
    from tests.evidence.robustness.fuzzing import fuzz

    return fuzz(reader, inputs)


def kill_runs(times: int) -> dict[str, Any]:
    from tests.evidence.robustness.killed_runs import kill_counts

    return kill_counts(times)


def run_test_file(file: str, profile: str) -> int:
    """Run a test file with a Hypothesis profile; return the number of tests, all of which must pass."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(faults.TESTS / file)],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": profile},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^(\d+) passed", run.stdout, re.MULTILINE)
    if run.returncode or not found or "skipped" in run.stdout.splitlines()[-1]:
        raise RuntimeError(f"{file} does not pass:\n{run.stdout[-3000:]}{run.stderr[-1000:]}")
    return int(found[1])


MEASUREMENTS = {
    "oracle": run_oracle,
    "proof": prove,
    "accuracy": measure_accuracy,
    "fault": lambda *task: faults.attempt(task),
    "programs": run_programs,
    "files": fuzz_reader,
    "kills": kill_runs,
    "passed": run_test_file,
}


def run_task(task: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Run one task and return it with its result."""
    return task, MEASUREMENTS[task[0]](*task[1:])


def list_tasks(budget: Budget) -> list[tuple[Any, ...]]:
    """Return all tasks, the longest first."""
    from tests.evidence import accuracy, symbolic
    from tests.evidence.robustness.readers import readers
    from tests.evidence.specs import SPECS

    return [
        ("kills", budget.kills),
        ("programs", budget.programs),
        ("passed", "engine/test_threads.py", budget.profile),
        ("passed", "trust/test_conformance.py", budget.profile),
        *[("files", name, max(3, round(budget.files * reader.share))) for name, reader in readers().items()],
        *[
            ("accuracy", name, np.dtype(dtype).name, max(2, budget.points // (10 if name in accuracy.ROWS else 1)))
            for name in accuracy.NAMES
            for dtype in accuracy.TYPES
        ],
        *[("proof", name) for name in symbolic.ELEMENTWISE],
        *[("fault", *task) for task in budget.tasks],
        *[
            ("oracle", name, check, max(2, budget.cases // (4 if check == "exact_adjoint" else 1)))  # each is a proof
            for name in sorted(SPECS)
            for check in ORACLES
        ],
    ]


def run_measurements(
    budget: Budget, processes: int, checkpoint: Checkpoint | None = None
) -> dict[tuple[Any, ...], Any]:
    """Return the result of each task; tasks whose result is in the checkpoint are not run again."""
    tasks = list_tasks(budget)
    found = {task: result for task, result in checkpoint.results.items() if task in tasks} if checkpoint else {}
    left = [task for task in tasks if task not in found]
    with ExitStack() as stack:
        add = stack.enter_context(checkpoint.open()) if checkpoint else None
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(processes))
        for task, result in pool.imap_unordered(run_task, left, chunksize=1):
            found[task] = result
            if add is not None:
                add(task, result)
            if sys.stderr.isatty():
                print(f"\r{len(found)} of {len(tasks)}", end="", file=sys.stderr)
    return found
