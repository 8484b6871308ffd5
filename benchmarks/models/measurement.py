"""Time and memory of models that users write, in this library, derived by hand in NumPy, and in other libraries.

All compute the same: for small inputs in float64, and for the inputs that are timed in their type, losses and gradients
(of a step of training, losses and parameters) must be those of the program derived by hand, or of this library if there
is none. Arrays are converted, and functions of JAX compiled, before the measurement.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import numpy as np

from benchmarks import profiling
from benchmarks.agreement import relative_error
from benchmarks.implementations import HAND, OURS, TORCH
from benchmarks.libraries import AUTOGRAD, JAX
from benchmarks.models.collection import MODELS
from benchmarks.models.contestant import Contestant, RemoteContestant
from benchmarks.models.model import GOALS, MEMORY, OWN_LOOP, SECOND, Case, Model, Size
from benchmarks.options import Options
from benchmarks.processes import NotInstalledError, UnavailableError
from benchmarks.timing import Spread, ratio, spread

OTHERS = (HAND, TORCH, JAX, AUTOGRAD)
_WIDTH = 17  # of a column
_CALLS = 2  # whose results are compared: the second step of training has new parameters
_TOLERANCE = {"float32": 1e-3, "float64": 1e-9}  # relative to the largest element of each array
_ROUNDS = ((0.05, 15), (0.5, 9), (float("inf"), 3))  # for calls that take at most so many seconds
_SHOWN = 4  # parts of the profile of a case that misses its goal
_PROFILED = 0.2  # seconds of the calls of which the profile is the mean
_GROUP = 0.02  # seconds of consecutive calls of one contestant

Contestants = dict[str, "Contestant | RemoteContestant"]


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every case of the models.

    Returns
    -------
    dict
        ``missing``: libraries that are not installed. ``rows``: for each ``case`` its ``goal``, the number of
        ``threads``, the ``seconds`` of a call in each round for each contestant, the largest ``errors`` relative to the
        reference, the bytes at the peak of the ``memory`` (of this library and of the program derived by hand), the
        ``profile`` of this library (see :func:`benchmarks.profiling.profile`), the ``passes`` of first derivatives
        (seconds of the ``whole``, and of its forward pass alone, ``recorded`` or only ``computed``), and those
        ``left_out`` with the reason.
    """
    result: dict[str, Any] = {"missing": [], "rows": []}
    say("\n".join(_heading()))
    for count in sorted({1, options.threads}):
        with ExitStack() as stack:
            contestants, result["missing"] = _start(options, count, stack)
            for position, model in enumerate(MODELS):
                subject = _Subject(position, model, contestants)
                for row in _rows(subject, options, only_own_loops=count != options.threads):
                    result["rows"].append(row | {"threads": count})
                    say("\n".join(_block(result["rows"][-1])))
    if result["missing"]:
        say(f"not installed: {', '.join(result['missing'])}\n")
    return result


def _start(options: Options, count: int, stack: ExitStack) -> tuple[Contestants, list[str]]:
    """Start the contestants with so many threads, and return them and the names of those that are not installed."""
    found: Contestants = {}
    missing = []
    for name in (HAND, OURS, TORCH, JAX, AUTOGRAD):
        if name not in options.without:
            try:
                found[name] = stack.enter_context(closing(RemoteContestant(name, count)))
            except NotInstalledError:
                missing.append(name)
    return found, missing


class _Subject(NamedTuple):
    """A model, its position in the collection, and the contestants."""

    position: int
    model: Model
    contestants: Contestants

    def ways(self) -> Iterator[tuple[str, Contestant | RemoteContestant, str | None]]:
        """Yield the name of each way to compute it, the contestant and the alternative; the first is the reference."""
        for name, contestant in self.contestants.items():
            if name != HAND or self.model.by_hand is not None:
                yield name, contestant, None
        for name, way in self.model.alternatives.items():
            if way.contestant in self.contestants:
                yield name, self.contestants[way.contestant], name

    def compare(self, size: Size, dtype: str, without: Collection[str] = ()) -> tuple[dict[str, float], dict[str, str]]:
        """Return the errors of all ways relative to the reference, and why some are wrong."""
        errors: dict[str, float] = {}
        wrong: dict[str, str] = {}
        expected = None
        for name, contestant, alternative in self.ways():
            if name in without:
                continue
            try:
                found = contestant.results(self.position, size, dtype, alternative, _CALLS)
                expected = found if expected is None else expected
                errors[name] = relative_error(found, expected)
            except (UnavailableError, ValueError) as failure:
                wrong[name] = str(failure)
                continue
            if not errors[name] <= _TOLERANCE[dtype]:  # also true for NaN
                wrong[name] = f"the results differ from those of the reference (relative error {errors[name]:.1e})"
        for name in (HAND, OURS):
            if name in wrong:
                raise RuntimeError(f"{self.model.cases[0].name}, {name}: {wrong[name]}")
        return errors, wrong


def _rows(subject: _Subject, options: Options, *, only_own_loops: bool) -> Iterator[dict[str, Any]]:
    """Measure the cases of a model; a quick run takes the sizes of the tests, in float64."""
    model, wrong = subject.model, {}
    cases = [(i, case) for i, case in enumerate(model.cases) if case.goal is OWN_LOOP or not only_own_loops]
    if cases and not options.quick:
        for size in model.small:
            wrong |= subject.compare(size, "float64", wrong)[1]
    for i, case in cases:
        if options.quick:
            yield _row(subject, case, model.small[i % len(model.small)], "float64", wrong, quick=True)
        else:
            yield _row(subject, case, case.size, model.dtype, wrong, quick=False)


def _row(
    subject: _Subject, case: Case, size: Size, dtype: str, wrong: dict[str, str], *, quick: bool
) -> dict[str, Any]:
    errors, left_out = subject.compare(size, dtype, wrong)
    left_out = wrong | left_out
    ways = [way for way in subject.ways() if way[0] not in left_out]
    slowest = max(contestant.choose_count(key, 0 if quick else _GROUP) for _, contestant, key in ways)
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    rounds = 2 if quick else next(rounds for limit, rounds in _ROUNDS if slowest <= limit)
    for _ in range(rounds):
        for name, contestant, key in ways:
            seconds[name].append(contestant.seconds(key))
    ours = subject.contestants[OURS]
    return {
        "case": case.name,
        "goal": case.goal.name,
        "seconds": seconds,
        "errors": errors,
        "memory": {name: subject.contestants[name].peak() for name in (OURS, HAND) if name in seconds},
        "profile": ours.profile(1 if quick else max(1, int(_PROFILED / slowest))),
        "passes": None if case.goal is SECOND else ours.split(size, dtype, rounds),
        "left_out": left_out,
    }


# -- the goals and the table -------------------------------------------------------------------------------------------


def time_over(row: dict[str, Any], name: str) -> Spread | None:
    """Return the time of this library over that of another contestant; None if that was not measured."""
    return ratio(row["seconds"][OURS], row["seconds"][name]) if name in row["seconds"] else None


def memory_over_hand(row: dict[str, Any]) -> float | None:
    """Return the peak memory of this library over that of the program derived by hand; None if there is none."""
    return row["memory"][OURS] / row["memory"][HAND] if HAND in row["memory"] else None


def title(row: dict[str, Any]) -> str:
    """Return the name of a row: its case, the class of its goal, and the number of threads if there are several."""
    threads = f", {row['threads']} threads" if row["threads"] > 1 else ""
    return f"{row['case']} ({row['goal']}{threads})"


def limits(row: dict[str, Any]) -> dict[str, float]:
    """Return the largest times over those of other contestants that are the goal of a row."""
    goal = next(goal for goal in GOALS if goal.name == row["goal"])
    return {TORCH: goal.to_torch} | ({} if goal.to_hand is None else {HAND: goal.to_hand})


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table as lines of text."""
    out = [*_heading(), *(line for row in result["rows"] for line in _block(row))]
    return [*out, f"not installed: {', '.join(result['missing'])}", ""] if result["missing"] else out


def _heading() -> list[str]:
    out = [
        "time of this library, and over the times of others: median and quartiles;",
        "* misses its goal. memory: its peak over that of the program derived by hand",
        "",
        f"  {'goal: at most':19}{HAND:>20}{TORCH:>15}{'memory':>8}",
    ]
    for goal in GOALS:
        by_hand, memory = ("-", "-") if goal.to_hand is None else (f"{goal.to_hand:.1f}", f"{MEMORY:.1f}")
        out.append(f"  {goal.name:19}{by_hand:>20}{goal.to_torch:>15.1f}{memory:>8}")
    columns = ("NumPy by hand", *OTHERS[1:])
    return [*out, "", f"  {'us':>9}" + "".join(f"{name:>{_WIDTH}}" for name in columns), ""]


def _block(row: dict[str, Any]) -> list[str]:
    """Return the lines of a row."""
    allowed = limits(row)

    def cell(name: str) -> str:
        share = time_over(row, name)
        if share is None:
            return f"{'-':>{_WIDTH}}"
        mark = "*" if share.median > allowed.get(name, np.inf) else " "
        return f"{f'{_short(share.median)} {_short(share.low)}-{_short(share.high)}{mark}':>{_WIDTH}}"

    memory = memory_over_hand(row)
    peak = "" if memory is None else f"memory {memory:.2f}{'*' if memory > MEMORY else ' '}"
    out = [
        f"{title(row):64}{peak:>15}".rstrip(),
        f"  {1e6 * spread(row['seconds'][OURS]).median:>9,.0f}{''.join(map(cell, OTHERS))}".rstrip(),
    ]
    out += [f"    over {name}:{cell(name)}".rstrip() for name in row["seconds"] if name not in (OURS, *OTHERS)]
    if "*" in out[1]:
        out += _wrap(f"where the time goes: {_passes(row)}")
        out += _wrap(f"largest parts, measured with the profiler: {_longest_parts(row['profile'])}")
    for name, reason in row["left_out"].items():
        out += _wrap(f"{name} left out: {reason}")
    return out


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 80, initial_indent="    ", subsequent_indent="      ")


def _passes(row: dict[str, Any]) -> str:
    """Return the shares of the forward pass, of recording it, and of the backward pass, where they were measured."""
    if row["passes"] is None:
        return "a backward pass that is recorded, and one through it"
    whole, recorded, computed = (row["passes"][name] for name in ("whole", "recorded", "computed"))
    update = " and update" if row["goal"] == OWN_LOOP.name else ""
    parts = {
        "computing the forward pass": computed,
        "recording it": recorded - computed,
        f"backward pass{update}": whole - recorded,
    }
    return ", ".join(f"{name} {max(taken, 0) / whole:.0%}" for name, taken in parts.items())


def _longest_parts(profile: dict[str, Any]) -> str:
    shown = profiling.parts(profile)[:_SHOWN]
    return ", ".join(f"{name} {taken / profile['total']:.0%}" for name, taken in shown)


def _short(share: float) -> str:
    """Return a ratio with three digits, and two of them after the point at most."""
    return f"{share:.{2 if share < 10 else 1 if share < 100 else 0}f}"  # noqa: PLR2004
