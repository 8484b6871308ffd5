"""docs/trust.md from the results of the measurements, section by section.

A result that is missing raises an error. What survived, was wrong or was lost is stated on the page.
"""

from __future__ import annotations

import platform
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from tests.evidence import accuracy, conformance, faults
from tests.evidence.checkpoint import ROOT
from tests.evidence.measure import ORACLES
from tests.evidence.tables import MissingResultError, format_table
from tinygrad_cifar.testing.fault_score import score_by_kind

PAGE = ROOT / "docs" / "trust.md"


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


def select_results(found: dict[tuple[Any, ...], Any], *task: Any) -> dict[tuple[Any, ...], Any]:
    """Return the results of the tasks that start with ``task``; raise an error if there are none."""
    chosen = {key[len(task) :]: result for key, result in found.items() if key[: len(task)] == task}
    if not chosen:
        raise MissingResultError(f"select_results: there are no results of {task}")
    return chosen


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
Every number below was measured in that run, or in those that it continued. The inputs are drawn with fixed seeds, so
the numbers are reproducible.

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
    tests = next(iter(select_results(found, "passed", "trust/test_conformance.py").values()))
    rows = [[row.name, f"`{row.test}`"] for row in conformance.DECISIONS]
    return f"""## Decisions

The behaviour in cases where libraries differ, the reasons, and the behaviour of NumPy, PyTorch and JAX are in
[conformance.md](conformance.md). Each decision has a test; with all variants there are {tests} tests, and all passed.

{format_table(["question", "test"], rows)}"""


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
    is_open = any(left != "0" for proof in select_results(found, "proof").values() for *_, left in proof)
    return not (survived or is_open or count_bad_files(found) or count_lost_runs(runs))
