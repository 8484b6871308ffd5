"""The share of injected faults that the tests in a file catch: ``python -m tinygrad_cifar.testing FILE``.

The tests are run once as they are, and once with each fault in each VJP of each primitive that they make, in a process
of its own. A test that fails catches the fault. A change that is proved to have no effect is not counted, nor is one
with which the VJP returned the right result in every call that the tests made.
"""

# ruff: noqa: T201 (a command line)

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_cifar.system.arguments import listed
from tinygrad_cifar.testing.faults import NOTHING, VALUE_FAULTS

_PASSED, _FAILED, _NOTHING_COLLECTED = 0, 1, 5  # exit statuses of pytest
_LEAST_LIMIT = 60.0  # seconds, with a fault
_TIMES_AS_LONG = 10  # as without a fault
TIME_LIMIT = 600.0  # seconds


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
    unchanged : bool
        Whether no change was observed: the fault rearranges elements, and these were equal in every call of the tests.
    """

    kind: str
    place: str
    caught_by: str
    no_fault: str = ""
    unchanged: bool = False

    @property
    def counted(self) -> bool:
        """Whether it is a fault: the change changes something."""
        return not self.no_fault and not self.unchanged and self.kind != NOTHING

    @property
    def survived(self) -> bool:
        """Whether it is a fault that no test caught."""
        return self.counted and not self.caught_by


class FaultScoreError(ValueError):
    """Raised if faults cannot be injected.

    The tests do not pass as they are, or make no primitive where faults can be injected, or pytest is not installed.
    """


def score_faults(
    file: Path | str,
    *,
    primitives: Sequence[str] = (),
    kinds: Sequence[str] = tuple(VALUE_FAULTS),
    processes: int = 1,
    time_limit: float = TIME_LIMIT,
) -> Iterator[FaultOutcome]:
    """Inject each fault in turn, and yield whether the tests in a file catch it.

    Parameters
    ----------
    file : Path or str
        File or folder of tests, or one test, ``FILE::NAME``, as for pytest.
    primitives : sequence of str
        Names of the primitives whose VJPs are changed. Default: those that the tests make, or import from a module
        other than the library's.
    kinds : sequence of str
        Kinds of faults, of :data:`~tinygrad_cifar.testing.faults.VALUE_FAULTS`. Default: all.
    processes : int
        Number of processes at a time. Default: 1.
    time_limit : float
        Seconds that the tests may take without a fault. Default: 600. With a fault they may take ten times as long as
        they did without, at least 60 s; a fault with which they take longer is caught.

    Yields
    ------
    FaultOutcome
        One for each fault.

    Raises
    ------
    FaultScoreError
        If there is no such kind or file, its tests do not pass without a fault within the time limit, they make no
        primitive, or make one inside a test, or if pytest or Hypothesis is not installed.
    """
    for library, name in (("pytest", "pytest"), ("hypothesis", "Hypothesis")):
        if find_spec(library) is None:
            raise FaultScoreError(f"{name} is not installed; install the extra test: pip install '.[test]'")
    for kind in kinds:
        if kind not in (*VALUE_FAULTS, NOTHING):
            raise FaultScoreError(f"kinds must be among: {', '.join(VALUE_FAULTS)}; got {kind!r}")
    if not Path(str(file).partition("::")[0]).exists():
        raise FaultScoreError(f"{file} does not exist; name a file or a folder of tests")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        report = _run_without_fault(file, Path(folder) / "report.json", time_limit)
        limit = max(_LEAST_LIMIT, _TIMES_AS_LONG * (time.perf_counter() - started))
        vjps = _select_vjps(file, report, primitives)
        tasks = [(kind, f"{name}.{input}") for name, input in vjps for kind in kinds]
        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(
                lambda i: _try_fault(file, *tasks[i], Path(folder) / f"{i}.json", limit), range(len(tasks))
            )


def _run_without_fault(file: Path | str, path: Path, limit: float) -> dict[str, Any]:
    """Return the plugin's report of the tests as they are, which must pass."""
    try:
        status, output, report = _run_tests(file, path, limit=limit)
    except subprocess.TimeoutExpired:
        raise FaultScoreError(
            f"the tests in {file} did not end within {limit:g} s without a fault; run: python -m pytest {file}, or "
            "allow more with --time-limit SECONDS"
        ) from None
    if status == _NOTHING_COLLECTED:
        raise FaultScoreError(f"{file} contains no tests; write functions whose names start with test_")
    if status != _PASSED or not report:
        failed, error = report.get("failed", ""), report.get("error", "")
        if not failed:  # pytest did not come to the tests
            error = _last_message(output)
        where = "".join(f": {part}" for part in (failed, error) if part)
        raise FaultScoreError(
            f"the tests in {file} must pass before faults are injected{where}; run: python -m pytest {file}"
        )
    return report


def _last_message(output: str) -> str:
    """Return the line in which pytest says why it has run no tests: one that it marks, or the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line.partition(" ")[2].strip() for line in lines if line.startswith(("E ", "ERROR: "))]
    reasons = [line.partition(": error: ")[2] for line in lines if ": error: " in line]  # below a line with the usage
    return (reasons or marked or lines or [""])[-1]


def _select_vjps(file: Path | str, report: dict[str, Any], primitives: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the primitive and the input of each VJP to change."""
    for name in report["made_by_tests"]:
        if not primitives or name in primitives:
            raise FaultScoreError(
                f"the primitive {name} is made inside a test, where no fault can be injected; make it at the top of a "
                "module, or name the primitives to change with --primitive"
            )
    vjps = [tuple(vjp) for vjp in report["vjps"] if not primitives or vjp[0] in primitives]
    vjps += _vjps_of_the_library(name for name in primitives if name not in {vjp[0] for vjp in vjps})
    if not vjps and primitives:
        raise FaultScoreError(f"no fault can be injected into {listed(primitives)}: there is no VJP")
    if not vjps:
        raise FaultScoreError(
            f"the tests in {file} make no primitive of their own; make it with tinygrad_cifar.primitive in a "
            "module that they import, or name primitives of the library with --primitive"
        )
    return vjps


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
    if status not in (_PASSED, _FAILED) or not found.get("injected"):
        raise FaultScoreError(f"pytest ended with status {status} with the fault {kind} in {place}:\n{output[-2000:]}")
    if status == _FAILED:
        return FaultOutcome(kind, place, found["failed"].partition("::")[2] or "a test")
    return FaultOutcome(kind, place, "", found["no_fault"], found["unchanged"] and not found["no_fault"])


def _run_tests(
    file: Path | str, report: Path, fault: str = "", limit: float | None = None
) -> tuple[int, str, dict[str, Any]]:
    """Run the tests until the first failure; return the exit status, the output and the plugin's report."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider"]
    command += ["-p", "tinygrad_cifar.testing.fault_plugin", str(file)]
    from tinygrad_cifar.testing.fault_plugin import FAULT, REPORT  # noqa: PLC0415 (needs pytest)

    environment = os.environ | {FAULT: fault, REPORT: str(report), "PYTHONDONTWRITEBYTECODE": "1"}
    # A file, not a pipe: a process that a test has started may keep a pipe open after the time limit.
    with tempfile.TemporaryFile() as output:
        settings: Any = {"env": environment, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        run = subprocess.run(command, check=False, timeout=limit, **settings)  # noqa: S603 (the user's own tests)
        output.seek(0)
        text = output.read().decode(errors="replace")
    found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return run.returncode, text, found


# -- the command line --------------------------------------------------------------------------------------------------


class KindScore(NamedTuple):
    """How many faults of one kind were injected and caught, and how many changes were proved to be none."""

    kind: str
    injected: int
    caught: int
    no_fault: int


def score_by_kind(outcomes: Sequence[FaultOutcome]) -> list[KindScore]:
    """Return the score of each kind of fault, without the controls.

    Examples
    --------
    >>> from tinygrad_cifar.testing.fault_score import FaultOutcome, score_by_kind
    >>> score_by_kind([FaultOutcome("zero", "cube.x", "test_cube"), FaultOutcome("zero", "root.x", "")])
    [KindScore(kind='zero', injected=2, caught=1, no_fault=0)]
    """
    scores = []
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes if outcome.kind != NOTHING):
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        real = [outcome for outcome in of_kind if outcome.counted]
        caught = sum(not outcome.survived for outcome in real)
        scores.append(KindScore(kind, len(real), caught, sum(bool(outcome.no_fault) for outcome in of_kind)))
    return scores


def format_score(outcomes: Sequence[FaultOutcome]) -> str:
    """Return a table of what was caught, a line for each kind of fault, and the faults that no test caught.

    Examples
    --------
    >>> from tinygrad_cifar.testing.fault_score import FaultOutcome, format_score
    >>> print(format_score([FaultOutcome("zero", "cube.x", "test_cube"), FaultOutcome("negated", "cube.x", "")]))
    fault                       injected  caught
    zero                               1       1
    negated                            1       0
    all                                2       1  (50 %)
    <BLANKLINE>
    Not caught by any test:
      negated: cube.x
    """
    lines = [f"{'fault':27}{'injected':>9}{'caught':>8}"]
    scores = score_by_kind(outcomes)
    lines += [f"{score.kind:27}{score.injected:>9}{score.caught:>8}" for score in scores]
    injected = sum(score.injected for score in scores)
    caught = sum(score.caught for score in scores)
    share = f"  ({100 * caught / injected:.0f} %)" if injected else ""
    lines.append(f"{'all':27}{injected:>9}{caught:>8}{share}")
    proved = [f"{each.kind}: {each.place}, {each.no_fault}" for each in outcomes if each.no_fault]
    lines += _section("Changes that are proved to change nothing, and not counted:", proved)
    unchanged = [f"{each.kind}: {each.place}" for each in outcomes if each.unchanged]
    lines += _section(
        "No change observed, and not counted: in every call of the tests, the rearranged result equals the right one:",
        unchanged,
    )
    lines += _section("Not caught by any test:", [f"{each.kind}: {each.place}" for each in outcomes if each.survived])
    return "\n".join(lines)


def _section(title: str, entries: Sequence[str]) -> list[str]:
    """Return the lines of a title and its entries, up to 80 columns wide."""
    if not entries:
        return []
    lines = ["", *_wrap(title)]
    for entry in entries:
        lines += _wrap(entry, initial_indent="  ", subsequent_indent="    ")
    return lines


def _wrap(text: str, **indents: str) -> list[str]:
    return textwrap.wrap(text, 80, break_long_words=False, break_on_hyphens=False, **indents)  # type: ignore[arg-type]


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if every fault was caught, 1 if not, and 2 if faults could not be injected."""
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_cifar.testing",
        description="Inject faults into the VJPs of your primitives, one at a time, and say what share of them your "
        "tests catch.",
    )
    parser.add_argument("file", metavar="FILE", help="file or folder of tests, or FILE::TEST, as for pytest")
    parser.add_argument(
        "--primitive",
        metavar="NAME",
        action="append",
        default=[],
        help="primitive to change; may be repeated (default: those that the tests make)",
    )
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument(
        "--time-limit",
        metavar="SECONDS",
        type=float,
        default=TIME_LIMIT,
        help="seconds that the tests may take without a fault (default: 600); with a fault they may take ten times as "
        "long as they did without, at least 60 s",
    )
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error("--processes must be at least 1")
    if not (math.isfinite(options.time_limit) and options.time_limit > 0):
        parser.error(f"--time-limit must be a positive number of seconds; got {options.time_limit:g}")
    outcomes = []
    given = {"primitives": options.primitive, "processes": options.processes, "time_limit": options.time_limit}
    try:
        for outcome in score_faults(options.file, **given):
            outcomes.append(outcome)
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} faults injected", end="", file=sys.stderr)
    except FaultScoreError as error:
        _clear_progress()
        print("\n".join(_wrap(f"error: {error}")), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _clear_progress()
        return 130
    _clear_progress()
    print(format_score(outcomes))
    return 1 if any(outcome.survived for outcome in outcomes) else 0
