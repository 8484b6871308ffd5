"""Time and memory of models that users write, in this library, derived by hand in NumPy, and in other libraries.

All compute the same: for small inputs in float64, and for the inputs that are timed in their type, losses and gradients
(of a step of training, losses and parameters) must be those of the program derived by hand, or of this library if there
is none. Arrays are converted, and functions of JAX compiled, before the measurement.
"""

from __future__ import annotations

import os
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cifar as tg
from benchmarks import profiling
from benchmarks.agreement import describe_failure, relative_error
from benchmarks.implementations import HAND, OURS
from benchmarks.libraries import AUTOGRAD, JAX, TORCH, Library, Thunk, installed
from benchmarks.models.collection import MODELS
from benchmarks.models.model import GOALS, MEMORY, OWN_LOOP, Case, Inputs, Model, Size
from benchmarks.options import Options
from benchmarks.threads import blas_threads
from benchmarks.timing import Spread, ratio, spread, time_interleaved

OTHERS = (HAND, TORCH, JAX, AUTOGRAD)
_WIDTH = 17  # of a column
_CALLS = 2  # whose results are compared: the second step of training has new parameters
_TOLERANCE = {"float32": 1e-3, "float64": 1e-9}  # relative to the largest element of each array
_ROUNDS = ((0.05, 15), (0.5, 9), (float("inf"), 3))  # for calls that take at most so many seconds
_SHOWN = 4  # parts of the profile of a case that misses its goal
_GROUP = 0.01  # seconds of consecutive calls of one contestant


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every case of the models.

    Returns
    -------
    dict
        ``missing``: libraries that are not installed. ``rows``: for each ``case`` its ``goal``, the number of
        ``threads``, the ``seconds`` of a call in each round for each contestant, the largest ``errors`` relative to the
        reference, the bytes at the peak of the ``memory`` (of this library and of the program derived by hand), the
        ``profile`` of this library (see :func:`benchmarks.profiling.profile`), and those ``left_out`` with the reason.
    """
    os.environ["NPROC"] = str(options.threads)  # read by XLA when it is loaded
    libraries, missing = installed(options)
    result: dict[str, Any] = {"missing": missing, "rows": []}
    say("\n".join(_heading()))
    for model in MODELS:
        wrong = {} if options.quick else _compare_small(model, libraries)
        for case, size in _cases(model, options):
            counts = (1, options.threads) if case.goal is OWN_LOOP and options.threads > 1 else (options.threads,)
            for count in counts:
                others = dict(wrong)
                if count != options.threads:
                    others[JAX] = f"its number of threads is that of the process, {options.threads}"
                with _threads(count, libraries):
                    row = _row(model, case, size, libraries, others, options)
                result["rows"].append(row | {"threads": count})
                say("\n".join(_block(result["rows"][-1])))
    if missing:
        say(f"not installed: {', '.join(missing)}\n")
    return result


def _cases(model: Model, options: Options) -> list[tuple[Case, Size]]:
    """Return the cases with the sizes that are timed; a quick run takes those of the tests, in float64."""
    small = model.small * len(model.cases)
    return [(case, small[i] if options.quick else case.size) for i, case in enumerate(model.cases)]


@contextmanager
def _threads(count: int, libraries: dict[str, Library]) -> Iterator[None]:
    for library in libraries.values():
        library.use_threads(count)
    tg.set_num_threads(count)
    try:
        with blas_threads(count):
            yield
    finally:
        tg.set_num_threads(None)


class _Contestant(NamedTuple):
    """A way to compute a model: ``prepare(inputs)`` returns a function, and ``read`` its results as new arrays."""

    name: str
    prepare: Callable[[Inputs], Thunk]
    read: Callable[[Any], Any]


def _contestants(model: Model, libraries: dict[str, Library]) -> list[_Contestant]:
    """Return the contestants of a model; the first one is the reference."""
    by_hand = [] if model.by_hand is None else [_Contestant(HAND, model.by_hand, _copy)]
    of_libraries = [
        _Contestant(name, partial(model.make, library), partial(_read, library.numpy))
        for name, library in libraries.items()
    ]
    others = [
        _Contestant(name, way.make, partial(_read, way.arrange))
        for name, way in model.alternatives.items()
        if way.library is None or way.library in libraries
    ]
    return [*by_hand, *of_libraries, *others]


def _read(convert: Callable[[Any], Any], results: Any) -> Any:
    return _copy(convert(results))


def _copy(results: Any) -> Any:
    """Return results as arrays of their own, which the next call does not change."""
    return tuple(map(_copy, results)) if isinstance(results, (tuple, list)) else np.array(results)


def _compare_small(model: Model, libraries: dict[str, Library]) -> dict[str, str]:
    """Return the contestants that do not compute the results of the reference for small inputs, with the reason."""
    wrong: dict[str, str] = {}
    for size in model.small:
        inputs = model.inputs(size, "float64")
        expected = None
        for name, prepare, read in _contestants(model, libraries):
            try:
                thunk = prepare(inputs)
                found = [read(thunk()) for _ in range(_CALLS)]
                expected = found if expected is None else expected
                error = relative_error(found, expected)
            except Exception as failure:  # noqa: BLE001 (of a library that cannot compute it)
                wrong.setdefault(name, describe_failure(failure))
                continue
            if not error <= _TOLERANCE["float64"]:  # also true for NaN
                wrong.setdefault(name, f"the results differ from those of the reference (relative error {error:.1e})")
    if OURS in wrong:
        raise RuntimeError(f"{model.cases[0].name}: {wrong[OURS]}")
    return wrong


def _row(
    model: Model, case: Case, size: Size, libraries: dict[str, Library], wrong: dict[str, str], options: Options
) -> dict[str, Any]:
    dtype = "float64" if options.quick else model.dtype
    inputs = model.inputs(size, dtype)
    left_out, errors, thunks, expected, slowest = dict(wrong), {}, {}, None, 0.0
    for name, prepare, read in _contestants(model, libraries):
        if name in left_out:
            continue
        try:
            thunk = prepare(inputs)
            found = [read(thunk()) for _ in range(_CALLS)]  # the first call compiles
            expected = found if expected is None else expected
            errors[name] = relative_error(found, expected)
        except Exception as failure:
            if name == OURS:
                raise
            left_out[name] = describe_failure(failure)
            continue
        if errors[name] <= _TOLERANCE[dtype]:
            thunks[name] = thunk
            started = perf_counter()
            thunk()
            slowest = max(slowest, perf_counter() - started)
        else:
            left_out[name] = f"the results differ from those of the reference (relative error {errors[name]:.1e})"
    if OURS not in thunks:
        raise RuntimeError(f"{case.name}: {left_out[OURS]}")
    rounds = next(count for limit, count in _ROUNDS if slowest <= limit)
    if options.quick:
        times = time_interleaved(list(thunks.values()), 2, group=0)
    else:
        times = time_interleaved(list(thunks.values()), rounds, group=_GROUP, warm=1)
    return {
        "case": case.name,
        "goal": case.goal.name,
        "seconds": dict(zip(thunks, times, strict=True)),
        "errors": errors,
        "memory": {name: _peak(thunks[name]) for name in (OURS, HAND) if name in thunks},
        "profile": profiling.profile(thunks[OURS], _no_update),
        "left_out": left_out,
    }


def _no_update() -> None:
    """Do nothing: the profile of a step of training has its update among everything else."""


def _peak(thunk: Thunk) -> int:
    """Return the bytes at the peak of a call, beyond those allocated before it."""
    tracemalloc.start()
    try:
        thunk()  # a result of an earlier call may be freed in this one
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        thunk()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# -- the goals and the table -------------------------------------------------------------------------------------------


def time_over(row: dict[str, Any], name: str) -> Spread | None:
    """Return the time of this library over that of another contestant; None if that was not measured."""
    return ratio(row["seconds"][OURS], row["seconds"][name]) if name in row["seconds"] else None


def memory_over_hand(row: dict[str, Any]) -> float | None:
    """Return the peak memory of this library over that of the program derived by hand; None if there is none."""
    return row["memory"][OURS] / row["memory"][HAND] if HAND in row["memory"] else None


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
        "time of this library over the times of others: median and quartiles; * misses",
        "its goal. memory: its peak over that of the NumPy program derived by hand",
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
    threads = f", {row['threads']} threads" if row["threads"] > 1 else ""
    title = f"{row['case']} ({row['goal']}{threads})"
    peak = "" if memory is None else f"memory {memory:.2f}{'*' if memory > MEMORY else ' '}"
    out = [
        f"{title:64}{peak:>15}".rstrip(),
        f"  {1e6 * spread(row['seconds'][OURS]).median:>9,.0f}{''.join(map(cell, OTHERS))}".rstrip(),
    ]
    out += [f"    over {name}:{cell(name)}".rstrip() for name in row["seconds"] if name not in (OURS, *OTHERS)]
    if "*" in out[1]:
        out += _wrap(f"where the time goes: {_largest_parts(row['profile'])}")
    for name, reason in row["left_out"].items():
        out += _wrap(f"{name} left out: {reason}")
    return out


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 80, initial_indent="    ", subsequent_indent="      ")


def _largest_parts(profile: dict[str, Any]) -> str:
    shown = profiling.parts(profile)[:_SHOWN]
    rest = profile["total"] - sum(taken for _, taken in shown)
    return "; ".join(f"{name} {taken / profile['total']:.0%}" for name, taken in [*shown, ("everything else", rest)])


def _short(share: float) -> str:
    """Return a ratio with three digits, and two of them after the point at most."""
    return f"{share:.{2 if share < 10 else 1 if share < 100 else 0}f}"  # noqa: PLR2004
