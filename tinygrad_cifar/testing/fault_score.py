"""The share of planted faults that the tests in a file catch: ``python -m tinygrad_cifar.testing FILE``.

The tests are run once as they are, and once with each fault in each VJP of each primitive that they make, in a process
of its own. A test that fails catches the fault. A change that is proved to change nothing is not counted.
"""

# ruff: noqa: T201 (a command line)

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_cifar.testing.fault_plugin import FAULT, REPORT
from tinygrad_cifar.testing.faults import NOTHING, VALUE_FAULTS

_PASSED, _FAILED, _NOTHING_COLLECTED = 0, 1, 5  # exit statuses of pytest
_LEAST_LIMIT, _TIMES_AS_LONG = 60, 10  # seconds


class FaultOutcome(NamedTuple):
    """The outcome of one fault: the test that caught it, if any, and why it is not a fault, if it is not.

    Attributes
    ----------
    kind : str
        The kind of fault.
    place : str
        The VJP, ``<primitive>.<input>``.
    caught_by : str
        Name of the first test that failed; empty if none did.
    no_fault : str
        Why the change changes nothing; empty unless that is proved.
    """

    kind: str
    place: str
    caught_by: str
    no_fault: str = ""

    @property
    def survived(self) -> bool:
        """Whether it is a fault that no test caught."""
        return not self.caught_by and not self.no_fault and self.kind != NOTHING


class FaultScoreError(ValueError):
    """Raised if faults cannot be planted: the tests do not pass as they are, or they make no primitive."""


def score_faults(
    file: Path | str, *, primitives: Sequence[str] = (), kinds: Sequence[str] = tuple(VALUE_FAULTS), processes: int = 1
) -> Iterator[FaultOutcome]:
    """Plant each fault in turn, and yield whether the tests in a file catch it.

    Parameters
    ----------
    file : Path or str
        File or folder of tests, as for pytest.
    primitives : sequence of str
        Names of the primitives whose VJPs are changed. Default: those that the tests make, or import from a module
        other than the library's.
    kinds : sequence of str
        Kinds of faults, of :data:`~tinygrad_cifar.testing.faults.VALUE_FAULTS`. Default: all.
    processes : int
        Number of processes at a time. Default: 1.

    Yields
    ------
    FaultOutcome
        One for each fault.

    Raises
    ------
    FaultScoreError
        If there is no such file, its tests do not pass without a fault, or they make no primitive.
    """
    with tempfile.TemporaryDirectory() as folder:
        if not Path(file).exists():
            raise FaultScoreError(f"{file} does not exist; name a file or a folder of tests")
        started = time.perf_counter()
        status, output, report = _run_tests(file, Path(folder) / "report.json")
        limit = max(_LEAST_LIMIT, _TIMES_AS_LONG * (time.perf_counter() - started))
        if status == _NOTHING_COLLECTED:
            raise FaultScoreError(f"{file} contains no tests; write functions whose names start with test_")
        if status != _PASSED:
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
            where = f": {failed[1]}" if failed else ""
            raise FaultScoreError(
                f"the tests in {file} must pass before faults are planted{where}; run: python -m pytest {file}"
            )
        vjps = [tuple(vjp) for vjp in report["vjps"] if not primitives or vjp[0] in primitives]
        vjps += _vjps_of_the_library(name for name in primitives if name not in {vjp[0] for vjp in vjps})
        if not vjps:
            raise FaultScoreError(
                f"the tests in {file} make no primitive of their own; make it with tinygrad_cifar.primitive in a "
                "module that they import, or name primitives of the library with --primitive"
            )
        tasks = [(kind, f"{name}.{input}") for name, input in vjps for kind in kinds]
        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(
                lambda i: _try_fault(file, *tasks[i], Path(folder) / f"{i}.json", limit), range(len(tasks))
            )


def _vjps_of_the_library(names: Any) -> list[tuple[str, ...]]:
    from tinygrad_cifar.engine import ops  # noqa: F401, PLC0415 (they enter the table when they are imported)
    from tinygrad_cifar.engine.primitives import PRIMITIVES  # noqa: PLC0415

    vjps: list[tuple[str, ...]] = []
    for name in names:
        if name not in PRIMITIVES:
            raise FaultScoreError(f"there is no primitive {name!r} in the derivative table or among those of the tests")
        vjps += [(name, input) for input in PRIMITIVES[name].vjps]
    return vjps


def _try_fault(file: Path | str, kind: str, place: str, report: Path, limit: float) -> FaultOutcome:
    try:
        status, output, found = _run_tests(file, report, f"{kind}: {place}", limit)
    except subprocess.TimeoutExpired:
        return FaultOutcome(kind, place, f"no end within {limit:.0f} s")
    if status not in (_PASSED, _FAILED):
        raise FaultScoreError(f"pytest ended with status {status} with the fault {kind} in {place}:\n{output[-2000:]}")
    if not found["planted"]:
        raise FaultScoreError(
            f"the primitive {place.rpartition('.')[0]} is made inside a test, where no fault can be planted; make it "
            "at the top of a module"
        )
    failed = re.search(r"^FAILED \S+?::(\S+)", output, re.MULTILINE)
    if status == _FAILED:
        return FaultOutcome(kind, place, failed[1] if failed else "a test")
    return FaultOutcome(kind, place, "", found["no_fault"])


def _run_tests(
    file: Path | str, report: Path, fault: str = "", limit: float | None = None
) -> tuple[int, str, dict[str, Any]]:
    """Run the tests until the first failure; return the exit status, the output and the plugin's report."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider"]
    command += ["-p", "tinygrad_cifar.testing.fault_plugin", str(file)]
    environment = os.environ | {FAULT: fault, REPORT: str(report), "PYTHONDONTWRITEBYTECODE": "1"}
    settings: Any = {"env": environment, "capture_output": True, "text": True, "timeout": limit}
    run = subprocess.run(command, check=False, **settings)  # noqa: S603 (the user's own tests)
    found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return run.returncode, run.stdout + run.stderr, found


# -- the command line --------------------------------------------------------------------------------------------------


class KindScore(NamedTuple):
    """How many faults of one kind were planted and caught, and how many changes were proved to be none."""

    kind: str
    planted: int
    caught: int
    no_fault: int


def score_by_kind(outcomes: Sequence[FaultOutcome]) -> list[KindScore]:
    """Return the score of each kind of fault, without the controls.

    Examples
    --------
    >>> from tinygrad_cifar.testing.fault_score import FaultOutcome, score_by_kind
    >>> score_by_kind([FaultOutcome("zero", "cube.x", "test_cube"), FaultOutcome("zero", "root.x", "")])
    [KindScore(kind='zero', planted=2, caught=1, no_fault=0)]
    """
    scores = []
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes if outcome.kind != NOTHING):
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        real = [outcome for outcome in of_kind if not outcome.no_fault]
        caught = sum(not outcome.survived for outcome in real)
        scores.append(KindScore(kind, len(real), caught, len(of_kind) - len(real)))
    return scores


def format_score(outcomes: Sequence[FaultOutcome]) -> str:
    """Return a table of what was caught, a line for each kind of fault, and the faults that no test caught.

    Examples
    --------
    >>> from tinygrad_cifar.testing.fault_score import FaultOutcome, format_score
    >>> print(format_score([FaultOutcome("zero", "cube.x", "test_cube"), FaultOutcome("negated", "cube.x", "")]))
    fault                        planted  caught
    zero                               1       1
    negated                            1       0
    all                                2       1  (50 %)
    <BLANKLINE>
    Not caught by any test:
      negated: cube.x
    """
    lines = [f"{'fault':27}{'planted':>9}{'caught':>8}"]
    scores = score_by_kind(outcomes)
    lines += [f"{score.kind:27}{score.planted:>9}{score.caught:>8}" for score in scores]
    planted = sum(score.planted for score in scores)
    caught = sum(score.caught for score in scores)
    no_fault = sum(score.no_fault for score in scores)
    share = f"  ({100 * caught / planted:.0f} %)" if planted else ""
    lines.append(f"{'all':27}{planted:>9}{caught:>8}{share}")
    if no_fault:
        lines += ["", "Changes that are proved to change nothing, and not counted:"]
        lines += [f"  {outcome.kind}: {outcome.place}, {outcome.no_fault}" for outcome in outcomes if outcome.no_fault]
    if survivors := [outcome for outcome in outcomes if outcome.survived]:
        lines += ["", "Not caught by any test:"]
        lines += [f"  {outcome.kind}: {outcome.place}" for outcome in survivors]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if every fault was caught, 1 if not, and 2 if faults could not be planted."""
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_cifar.testing",
        description="Plant faults into the VJPs of your primitives, one at a time, and say what share of them your "
        "tests catch.",
    )
    parser.add_argument("file", metavar="FILE", help="file or folder of tests, as for pytest")
    parser.add_argument(
        "--primitive",
        metavar="NAME",
        action="append",
        default=[],
        help="primitive to change; may be repeated (default: those that the tests make)",
    )
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: 2)")
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error("--processes must be at least 1")
    outcomes = []
    try:
        for outcome in score_faults(options.file, primitives=options.primitive, processes=options.processes):
            outcomes.append(outcome)
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} faults planted", end="", file=sys.stderr)
    except FaultScoreError as error:
        print(textwrap.fill(f"error: {error}", 80, break_long_words=False), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    print(format_score(outcomes))
    return 1 if any(outcome.survived for outcome in outcomes) else 0
