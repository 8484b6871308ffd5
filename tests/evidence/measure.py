"""What the trust in this library's gradients rests on, measured anew and written down: docs/trust.md.

    python -m tests.evidence            everything, on two processes, in about a quarter of an hour
    python -m tests.evidence --quick    a little of everything, to the screen

Nothing on the page is written by hand but the sentences between the numbers. A number that is missing is an error, and
nothing is written then; a fault that survived, a gradient that was wrong or a run that was lost stands on the page, and
the command fails.
"""

# What it measures with is imported where it is measured, in processes of their own; and what it says, it prints.
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
from typing import Any, NamedTuple

import numpy as np

from tests.evidence import faults

ROOT = faults.TESTS.parent
PAGE = ROOT / "docs" / "trust.md"

# What stands in the table of primitives: an oracle, and what it is called there.
ORACLES = {
    "value": "value",
    "differences": "differences",
    "second_order": "second order",
    "step_into_the_complex_plane": "complex step",
    "duality": "duality",
}


class Budget(NamedTuple):
    """How much of each is done."""

    cases: int
    programs: int
    tasks: list[tuple[str, ...]]
    files: int
    kills: int
    profile: str


def full() -> Budget:
    return Budget(300, 4000, faults.all_tasks(), 10_000, 50, "thorough")


def quick() -> Budget:
    return Budget(3, 20, faults.sample_of_tasks()[1:6], 60, 1, "quick")


# -- measuring, in processes -------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What an oracle found of a primitive: cases drawn, and the worst error; a reason if it does not apply."""

    cases: int
    worst: float
    not_applicable: str = ""


def under_oracle(name: str, check: str, cases: int) -> Measured:
    from hypothesis import HealthCheck, given, settings

    from tests.evidence import oracle
    from tests.evidence.specs import SPECS, seeds
    from tinygrad_cifar.engine.primitives import PRIMITIVES

    spec = SPECS[name]
    if check != "value" and not PRIMITIVES[name].vjps:
        return Measured(0, 0.0, "no derivative")
    if check == "step_into_the_complex_plane" and not spec.analytic:
        return Measured(0, 0.0, "not analytic")
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
        errors.append(oracle.ORACLES[check](spec, case, np.random.default_rng(seed)))

    holds()
    return Measured(len(errors), max(errors))


def programs(count: int) -> Counter[str]:
    """Let the machine write programs; a disagreement is an error."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.evidence import programs as machine

    chosen = settings(
        max_examples=count,
        stateful_step_count=machine.STEPS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    machine.counts.clear()
    run_state_machine_as_test(machine.Programs, settings=chosen)
    return machine.counts


def files(reader: str, inputs: int) -> dict[str, Any]:
    from tests.evidence import robustness as hostile

    return hostile.fuzz(reader, inputs)


def kills(times: int) -> dict[str, Any]:
    from tests.evidence import robustness as hostile

    return hostile.kill_counts(times)


def passed(file: str, profile: str) -> int:
    """Run a file of tests with a profile; return how many there are. All have to pass."""
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


WORK = {
    "oracle": under_oracle,
    "fault": lambda *task: faults.attempt(task),
    "programs": programs,
    "files": files,
    "kills": kills,
    "passed": passed,
}


def work(task: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Do one task, with NumPy's warnings as errors, as in the tests."""
    return task, WORK[task[0]](*task[1:])


def all_work(budget: Budget) -> list[tuple[Any, ...]]:
    """Return what there is to do, the longest first."""
    from tests.evidence import robustness as hostile
    from tests.evidence.specs import SPECS

    return [
        ("kills", budget.kills),
        ("programs", budget.programs),
        ("passed", "engine/test_threads.py", budget.profile),
        ("passed", "trust/test_conformance.py", budget.profile),
        *[("files", name, max(3, round(budget.files * reader.share))) for name, reader in hostile.readers().items()],
        *[("fault", *task) for task in budget.tasks],
        *[("oracle", name, check, budget.cases) for name in sorted(SPECS) for check in ORACLES],
    ]


def measured(budget: Budget, processes: int) -> dict[tuple[Any, ...], Any]:
    found = {}
    tasks = all_work(budget)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for task, result in pool.imap_unordered(work, tasks, chunksize=1):
            found[task] = result
            if sys.stderr.isatty():
                print(f"\r{len(found)} of {len(tasks)}", end="", file=sys.stderr)
    return found


# -- the page ----------------------------------------------------------------------------------------------------------


class HoleError(ValueError):
    """Something that belongs on the page was not measured."""


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a table in Markdown, numbers to the right; a cell without anything in it is an error."""
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    lines = [list(head), ["---:" if right else "---" for right in numeric]]
    for row in rows:
        if len(row) != len(head) or any(cell is None or cell == "" for cell in row):
            raise HoleError(f"there is a hole in this row: {row}")
        lines.append([f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", r"\|") for cell in row])
    if not rows:
        raise HoleError(f"there are no rows under {head}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def results(found: dict[tuple[Any, ...], Any], *task: Any) -> dict[tuple[Any, ...], Any]:
    """Return the results whose tasks begin like this; none is an error."""
    chosen = {key[len(task) :]: result for key, result in found.items() if key[: len(task)] == task}
    if not chosen:
        raise HoleError(f"nothing was measured of {task}")
    return chosen


def page(found: dict[tuple[Any, ...], Any]) -> str:
    """Write the page."""
    sections = (summary, primitives, planted, machine_written, decisions, hostile_files, killed_runs)
    return "\n".join(section(found) for section in sections)


def summary(found: dict[tuple[Any, ...], Any]) -> str:
    rows = faults.score(list(results(found, "fault").values()))
    oracles = results(found, "oracle").values()
    (runs,) = results(found, "kills").values()
    (counts,) = results(found, "programs").values()
    inputs = [sum(result["inputs"].values()) for result in results(found, "files").values()]
    threads = next(iter(results(found, "passed", "engine/test_threads.py").values()))
    return f"""# Why these gradients can be trusted

Written by `python -m tests.evidence` from runs of its own: Python {platform.python_version()}, NumPy \
{np.__version__}, {platform.machine()}.
Every number below was measured by that run; it draws the same inputs every time, so the numbers can be had again.

| | |
| --- | --- |
| planted faults | {sum(row[2] for row in rows):,} of {sum(row[1] for row in rows):,} caught by the ordinary tests |
| primitives | {len({key[0] for key in results(found, "oracle")})}, each under every oracle that applies, \
{sum(result.cases for result in oracles):,} drawn cases, 0 wrong |
| programs | {counts["programs"]:,} written by a machine, {counts["gradients"]:,} gradients, 0 wrong |
| threads | {threads} tests of eight threads and of tasks, up to 10,000 gradients in each, 0 wrong |
| files that lie | {sum(inputs):,} read or refused; {bad_files(found)} otherwise |
| killed runs | {runs["kills"]:,} kills of {runs["runs"]:,} runs; {lost_runs(runs)} lost |
"""


def primitives(found: dict[tuple[Any, ...], Any]) -> str:
    oracles = results(found, "oracle")
    names = sorted({key[0] for key in oracles})
    rows = []
    for name in names:
        of_name = {check: result for (primitive, check, _), result in oracles.items() if primitive == name}
        cells = [of_name[check] for check in ORACLES]
        errors = [cell.not_applicable or (f"{cell.worst:.1e}" if cell.cases else None) for cell in cells]
        rows.append([f"`{name}`", sum(cell.cases for cell in cells), *errors])
    return f"""## Primitives and oracles

The worst error of each operation under each oracle, over all the inputs that were drawn for it: shapes from 0-d to 3-d,
with broadcasting and sizes of 0 and 1, and a random cotangent in the place of ones.

- *value*: against the function computed number by number in plain Python.
- *differences*: the gradient against centred differences, element by element, relative; a centred difference has ten
  of sixteen digits, and an element below 1e-5 counts as 1e-5. *Second order*: the gradient's gradient against centred
  differences of the gradient; where it is 0, as for the norm of one number, the error is the differences' own rounding.
- *complex step*: the gradient against `Im f(x + ih) / h`, which has all digits; for functions that are analytic.
- *duality*: `<J v, u> = <v, J' u>`, relative to the lengths of the vectors. `J v` comes from the reverse mode itself,
  differentiated, and is compared with the complex step along `v` where there is one.

{table(["primitive", "cases", *ORACLES.values()], rows)}"""


def planted(found: dict[tuple[Any, ...], Any]) -> str:
    outcomes = list(results(found, "fault").values())
    rows = [[kind, *numbers] for kind, *numbers in faults.score(outcomes)]
    survivors = [f"- **survived**: {outcome.kind}: {outcome.place}" for outcome in outcomes if outcome.survived]
    reasons = Counter(outcome.no_fault for outcome in outcomes if outcome.no_fault)
    none = [f"- {count} times {reason}" for reason, count in sorted(reasons.items())] or ["- never"]
    engine = [[outcome.place, f"`{outcome.caught_by}`"] for outcome in outcomes if outcome.kind == "engine"]
    controls = sum(outcome.kind == faults.NOTHING for outcome in outcomes)
    return f"""## Planted faults

Each kind of fault is planted in each rule of the derivative table, one at a time, and the tests of that operation are
run as they are. Faults in the engine are sentences of its source, replaced by wrong ones. There is no list of
exceptions; {controls} controls, in which nothing was planted, passed. `python -m tests.evidence.faults` prints the score alone.

{table(["fault", "planted", "caught", "no fault"], rows)}
{chr(10).join(survivors) or "None survived."}

What was planted was provably *no fault*, since it changes nothing:

{chr(10).join(none)}

The faults in the engine, and the test that caught each:

{table(["the engine ...", "caught by"], engine)}"""


def machine_written(found: dict[tuple[Any, ...], Any]) -> str:
    (counts,) = results(found, "programs").values()
    return f"""## Programs written by a machine

The machine writes programs of operations and views, updated elements, `no_grad` and `detach`, leaves that are pickled
or given other numbers, and backward passes that keep the graph or use it up. An engine that differentiates number by
number, in the tests, computes the same, and its own derivatives are held against centred differences. A program on
which the two disagree is shortened and printed, to be pasted into a Python session.

{table(["what", "how many"], [[what, counts[what]] for what in sorted(counts)])}"""


def decisions(found: dict[tuple[Any, ...], Any]) -> str:
    from tests.evidence import conformance

    tests = next(iter(results(found, "passed", "trust/test_conformance.py").values()))
    rows = [[row.name, row.behaviour, f"`{row.test}`"] for row in conformance.DECISIONS]
    return f"""## Decisions

What users of such libraries complain about, and what happens here; why, and what NumPy, PyTorch and JAX do, is in
[conformance.md](conformance.md). Each is held by a test; all {tests} tests of them passed.

{table(["question", "here", "test"], rows)}"""


def hostile_files(found: dict[tuple[Any, ...], Any]) -> str:
    rows = []
    for (name, _), counts in results(found, "files").items():
        what = [sum(counts["inputs"].values()), counts["refused"], counts["read"]]
        wrong = [counts[key] for key in ("other errors", "wrong", "code run", "over the limit")]
        rows.append([name, *what, *wrong, f"{counts['most memory'] / 2**20:.1f} MiB"])
    head = ["reader", "files", "refused", "read", "other errors", "wrong data", "code run", "over the limit", "memory"]
    return f"""## Files that lie

Good files that were changed or cut short, and files made to deceive, for every reader of the library. Each has to end
in the library's own error or in data, within the memory that is stated for the reader, and run nothing.

{table(head, rows)}"""


def bad_files(found: dict[tuple[Any, ...], Any]) -> int:
    keys = ("other errors", "wrong", "code run", "over the limit")
    return sum(result[key] for result in results(found, "files").values() for key in keys)


def lost_runs(runs: dict[str, Any]) -> int:
    return runs["different"] + runs["checkpoints lost"] + runs["not resumed"]


def killed_runs(found: dict[tuple[Any, ...], Any]) -> str:
    (runs,) = results(found, "kills").values()
    return f"""## Runs that are killed

Training processes killed at random moments and resumed until they end; their parameters, history and results are
compared, bit by bit, with those of a run that was left in peace.

{table(["what", "how many"], [[what, count] for what, count in runs.items()])}"""


def faultless(found: dict[tuple[Any, ...], Any]) -> bool:
    (runs,) = results(found, "kills").values()
    survived = any(outcome.survived for outcome in results(found, "fault").values())
    return not (survived or bad_files(found) or lost_runs(runs))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.evidence", description="Measure, and write docs/trust.md.")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to the screen")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    found = measured(quick() if options.quick else full(), options.processes)
    text = page(found)
    if options.quick:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
    print(f"{time.perf_counter() - started:.0f} seconds", file=sys.stderr)
    return 0 if faultless(found) else 1
