"""The evidence for correct gradients: runs every measurement and generates docs/trust.md.

    python -m tests.evidence            all measurements, in two processes, in about half an hour
    python -m tests.evidence --quick    a small sample of each, printed

All numbers on the page are measured. If one is missing, the command raises an error and does not write the page. If a
fault survived, a gradient was wrong or a run was lost, the page says so, and the command fails.
"""

# Imports are local to the measurements, which run in separate processes; the results are printed.
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tests.evidence import faults
from tinygrad_cifar.testing.fault_score import score_by_kind

ROOT = faults.TESTS.parent
PAGE = ROOT / "docs" / "trust.md"

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
    from tests.evidence import robustness

    return robustness.fuzz(reader, inputs)


def kill_runs(times: int) -> dict[str, Any]:
    from tests.evidence import robustness

    return robustness.kill_counts(times)


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
    from tests.evidence import accuracy, robustness, symbolic
    from tests.evidence.specs import SPECS

    return [
        ("kills", budget.kills),
        ("programs", budget.programs),
        ("passed", "engine/test_threads.py", budget.profile),
        ("passed", "trust/test_conformance.py", budget.profile),
        *[("files", name, max(3, round(budget.files * reader.share))) for name, reader in robustness.readers().items()],
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


def run_measurements(budget: Budget, processes: int) -> dict[tuple[Any, ...], Any]:
    found = {}
    tasks = list_tasks(budget)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for task, result in pool.imap_unordered(run_task, tasks, chunksize=1):
            found[task] = result
            if sys.stderr.isatty():
                print(f"\r{len(found)} of {len(tasks)}", end="", file=sys.stderr)
    return found


# -- the page ----------------------------------------------------------------------------------------------------------


class MissingResultError(ValueError):
    """A result of the page was not measured."""


def format_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table, numbers aligned right; an empty cell raises an error."""
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    lines = [list(head), ["---:" if right else "---" for right in numeric]]
    for row in rows:
        if len(row) != len(head) or any(cell is None or cell == "" for cell in row):
            raise MissingResultError(f"format_table: the row has an empty cell: {row}")
        lines.append([f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", r"\|") for cell in row])
    if not rows:
        raise MissingResultError(f"format_table: there are no rows under {head}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def select_results(found: dict[tuple[Any, ...], Any], *task: Any) -> dict[tuple[Any, ...], Any]:
    """Return the results of the tasks that start with ``task``; raise an error if there are none."""
    chosen = {key[len(task) :]: result for key, result in found.items() if key[: len(task)] == task}
    if not chosen:
        raise MissingResultError(f"select_results: there are no results of {task}")
    return chosen


def format_page(found: dict[tuple[Any, ...], Any], options: str = "") -> str:
    """Return the text of the page, which states the options of the command."""
    sections = (
        partial(summary, options),
        primitives,
        proofs,
        accuracies,
        injected_faults,
        generated_programs,
        decisions,
        malformed_files,
        killed_runs,
    )
    return "\n".join(section(found) for section in sections)


def summary(options: str, found: dict[tuple[Any, ...], Any]) -> str:
    rows = score_by_kind(list(select_results(found, "fault").values()))
    oracles = select_results(found, "oracle").values()
    proved = list(select_results(found, "proof").values())
    measured = list(select_results(found, "accuracy").values())
    (runs,) = select_results(found, "kills").values()
    (counts,) = select_results(found, "programs").values()
    inputs = [sum(result["inputs"].values()) for result in select_results(found, "files").values()]
    threads = next(iter(select_results(found, "passed", "engine/test_threads.py").values()))
    return f"""# Evidence for correct gradients

Written by `python -m tests.evidence{options}` from runs of its own: Python {platform.python_version()}, NumPy \
{np.__version__}, {platform.machine()}.
Every number below was measured in that run. The inputs are drawn with fixed seeds, so the numbers are reproducible.

| | |
| --- | --- |
| injected faults | {sum(row[2] for row in rows):,} of {sum(row[1] for row in rows):,} detected by the regular tests |
| primitives | {len({key[0] for key in select_results(found, "oracle")})}, each with every applicable oracle, \
{sum(result.cases for result in oracles):,} drawn cases, 0 wrong |
| proofs | {sum(left == "0" for proof in proved for *_, left in proof):,} of {sum(map(len, proved)):,} statements \
about {len(proved)} element-wise primitives |
| accuracy | {sum(result.points for result in measured):,} points; {len({r.name for r in measured if r.beyond})} of \
{len({r.name for r in measured})} functions beyond their goal somewhere |
| programs | {counts["programs"]:,} generated, {counts["gradients"]:,} gradients, 0 wrong |
| threads | {threads} tests with eight threads and with tasks, up to 10,000 gradients in each, 0 wrong |
| malformed files | {sum(inputs):,} read or rejected; {count_bad_files(found)} otherwise |
| killed runs | {runs["kills"]:,} kills of {runs["runs"]:,} runs; {count_lost_runs(runs)} lost |
"""


def primitives(found: dict[tuple[Any, ...], Any]) -> str:
    oracles = select_results(found, "oracle")
    names = sorted({key[0] for key in oracles})
    rows = []
    for name in names:
        of_name = {check: result for (primitive, check, _), result in oracles.items() if primitive == name}
        cells = [of_name[check] for check in ORACLES]
        errors = [cell.not_applicable or (f"{cell.worst:.1e}" if cell.cases else None) for cell in cells]
        rows.append([f"`{name}`", sum(cell.cases for cell in cells), *errors])
    return f"""## Primitives and oracles

The largest error of each operation for each oracle, over all drawn inputs: shapes from 0-d to 3-d, with broadcasting
and sizes of 0 and 1, and a random cotangent.

- *value*: compared with the function computed element by element in plain Python.
- *differences*: the gradient compared with centred differences, element by element, relative; they are extrapolated
  where one is not accurate enough, and an element below 1e-5 counts as 1e-5. *Second order*: the second derivative
  compared with centred differences of the gradient; where it is 0, as for the norm of one element, the error is that of
  rounding in the differences.
- *complex step*: the gradient compared with `Im f(x + ih) / h`, which is accurate to rounding; for analytic functions.
- *duality*: `<J v, u> = <v, J' u>`, relative to the norms of the vectors. `J v` is computed by differentiating the
  reverse mode, and for analytic functions it is compared with the complex step along `v`.
- *exact adjoint*: for operations that are affine in each input; the VJP is compared with the transpose of the Jacobian
  on every basis vector of the drawn shapes, for small integers, by equality and not within a tolerance.

{format_table(["primitive", "cases", *ORACLES.values()], rows)}"""


def proofs(found: dict[tuple[Any, ...], Any]) -> str:
    by_name = {key[0]: result for key, result in select_results(found, "proof").items()}
    rows = [
        [
            f"`{name}`",
            len({call for call, *_ in by_name[name]}),
            len(by_name[name]),
            sum(p[2] == "0" for p in by_name[name]),
        ]
        for name in sorted(by_name)
    ]
    open_ones = [
        f"- `{name}` at {call}: {statement}; left: `{left}`"
        for name, proved in sorted(by_name.items())
        for call, statement, left in proved
        if left != "0"
    ]
    return f"""## Proofs

For each element-wise primitive, on each of its branches: the VJP, run by the engine on symbols, equals the cotangent
times the derivative of the function's definition, and the derivatives of the VJP equal the second derivatives. SymPy
simplifies each difference to 0; the inputs are any real numbers of the branch. Nothing is sampled. The values at kinks
are tested separately.

{format_table(["primitive", "branches", "statements", "proved"], rows)}
{chr(10).join(open_ones) or "None is open."}
"""


def accuracies(found: dict[tuple[Any, ...], Any]) -> str:
    from tests.evidence import accuracy

    rows = [
        [
            f"`{result.name}`",
            result.dtype,
            result.points,
            f"{result.value:.3g}",
            f"{result.vjp:.3g}",
            f"{result.outside_value:.3g}",
            f"{result.outside_vjp:.3g}",
            result.beyond,
        ]
        for result in select_results(found, "accuracy").values()
    ]
    names = sorted({result.name for result in select_results(found, "accuracy").values() if result.beyond})
    reasons = [f"- `{name}`: {accuracy.REASONS.get(name, 'not explained yet')}." for name in names]
    head = ["function", "type", "points", "value", "VJP", "value, subnormal", "VJP, subnormal", "beyond"]
    return f"""## Accuracy

The largest errors in units in the last place (ulps) against mpmath with {accuracy.DIGITS} digits, for points from
subnormal numbers to those that overflow; 0.5 is correct rounding. Where an input, the value or the derivative is
subnormal or overflows, digits are lost by definition, and the errors are given apart. The goals are \
{accuracy.VALUE_GOAL} for a
value, beyond NumPy's own error, and {accuracy.VJP_GOAL} for a VJP, plus what an ill-conditioned result changes by when
each input changes by one ulp; the last column counts the points beyond them.

{format_table(head, sorted(rows))}
Why some are beyond their goal:

{chr(10).join(reasons) or "None is."}
"""


def injected_faults(found: dict[tuple[Any, ...], Any]) -> str:
    outcomes = list(select_results(found, "fault").values())
    rows = [[kind, *numbers] for kind, *numbers in score_by_kind(outcomes)]
    survivors = [f"- **survived**: {outcome.kind}: {outcome.place}" for outcome in outcomes if outcome.survived]
    reasons = Counter(outcome.no_fault for outcome in outcomes if outcome.no_fault)
    none = [f"- {count} times {reason}" for reason, count in sorted(reasons.items())] or ["- never"]
    engine = [[outcome.place, f"`{outcome.caught_by}`"] for outcome in outcomes if outcome.kind == "engine"]
    controls = sum(outcome.kind == faults.NOTHING for outcome in outcomes)
    return f"""## Injected faults

Each kind of fault is injected into each VJP of the derivative table, one at a time, and the regular tests of that
operation are run. Faults in the engine replace a part of its source. No fault is
excluded by hand; {controls} controls without a fault passed. `python -m tests.evidence.faults` prints only the score.

{format_table(["fault", "injected", "detected", "equivalent"], rows)}
{chr(10).join(survivors) or "None survived."}

Injected changes that are provably *equivalent*, since they change no result:

{chr(10).join(none)}

The faults in the engine, and the test that detected each:

{format_table(["the engine ...", "detected by"], engine)}"""


def generated_programs(found: dict[tuple[Any, ...], Any]) -> str:
    (counts,) = select_results(found, "programs").values()
    return f"""## Generated programs

Random programs of operations and views, `index_update`, `no_grad` and `detach`, leaves that are pickled or assigned,
and backward passes that retain or free the graph. A scalar engine in the tests computes the same results, and its
derivatives are compared with centred differences. A program on which the two disagree is shortened and printed, to be
pasted into a Python session.

{format_table(["item", "count"], [[what, counts[what]] for what in sorted(counts)])}"""


def decisions(found: dict[tuple[Any, ...], Any]) -> str:
    from tests.evidence import conformance

    tests = next(iter(select_results(found, "passed", "trust/test_conformance.py").values()))
    rows = [[row.name, row.behaviour, f"`{row.test}`"] for row in conformance.DECISIONS]
    return f"""## Decisions

Behaviour in cases where libraries differ; the reasons, and the behaviour of NumPy, PyTorch and JAX, are in
[conformance.md](conformance.md). Each decision has a test; all {tests} of these tests passed.

{format_table(["question", "here", "test"], rows)}"""


def malformed_files(found: dict[tuple[Any, ...], Any]) -> str:
    rows = []
    for (name, _), counts in select_results(found, "files").items():
        what = [sum(counts["inputs"].values()), counts["rejected"], counts["read"]]
        wrong = [counts[key] for key in ("other errors", "wrong", "code run", "over the limit")]
        rows.append([name, *what, *wrong, f"{counts['most memory'] / 2**20:.1f} MiB"])
    head = ["reader", "files", "rejected", "read", "other errors", "wrong data", "code run", "over the limit", "memory"]
    return f"""## Malformed files

Valid files that were mutated or truncated, and malicious files, for every reader of the library. Each must either be
read or raise the library's error, within the memory limit of the reader, and must not run code.

{format_table(head, rows)}"""


def count_bad_files(found: dict[tuple[Any, ...], Any]) -> int:
    keys = ("other errors", "wrong", "code run", "over the limit")
    return sum(result[key] for result in select_results(found, "files").values() for key in keys)


def count_lost_runs(runs: dict[str, Any]) -> int:
    return runs["different"] + runs["checkpoints lost"] + runs["not resumed"]


def killed_runs(found: dict[tuple[Any, ...], Any]) -> str:
    (runs,) = select_results(found, "kills").values()
    return f"""## Killed runs

Training processes killed at random moments and resumed until they finish; their parameters, history and results are
compared, bit by bit, with those of an uninterrupted run.

{format_table(["item", "count"], [[what, count] for what, count in runs.items()])}"""


def is_faultless(found: dict[tuple[Any, ...], Any]) -> bool:
    (runs,) = select_results(found, "kills").values()
    survived = any(outcome.survived for outcome in select_results(found, "fault").values())
    return not (survived or count_bad_files(found) or count_lost_runs(runs))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.evidence", description="Run all measurements and generate docs/trust.md."
    )
    parser.add_argument("--quick", action="store_true", help="run a small sample of each, and print the page")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="of the cases, programs, files, kills and points")
    options = parser.parse_args()
    if not 0 < options.share <= 1:
        parser.error("--share must be above 0 and at most 1")
    started = time.perf_counter()
    budget = quick_budget() if options.quick else scaled(full_budget(), options.share)
    found = run_measurements(budget, options.processes)
    text = format_page(found, "" if options.share == 1 else f" --share {options.share:g}")
    if options.quick:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
    print(f"{time.perf_counter() - started:.0f} seconds", file=sys.stderr)
    return 0 if is_faultless(found) else 1
