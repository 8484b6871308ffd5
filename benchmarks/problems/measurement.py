"""Time of the problems that others set, in this library and in others.

Every library first computes the same results: those of the reference for small inputs, and those of this library for
the inputs that are timed. All use float64 and the same number of threads. Arrays are converted, and functions of JAX
compiled, before the measurement.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.agreement import describe_failure, relative_error
from benchmarks.implementations import OURS
from benchmarks.libraries import NAMES, Library, installed
from benchmarks.options import Options
from benchmarks.problems.collection import PROBLEMS
from benchmarks.problems.problem import Inputs, Problem, Size
from benchmarks.timing import ratio, spread, time_interleaved

_ROUNDS = ((0.2, 15), (2.0, 5), (float("inf"), 2))  # for calls that take at most so many seconds
_WIDTHS = {name: 15 for name in NAMES if name != OURS}


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every function of the problems.

    Returns
    -------
    dict
        ``missing``: libraries that are not installed. ``rows``: for each ``problem``, ``size`` and ``function`` the
        ``seconds`` of a call in each round for each library, the largest ``errors`` relative to the reference (of this
        library, for small inputs) or to this library, ``published`` (the error relative to the published figure, if
        there is one for these inputs), and those ``left_out`` with the reason.
    """
    os.environ["NPROC"] = str(options.threads)  # read by XLA when it is loaded
    libraries, missing = installed(options)
    result: dict[str, Any] = {"missing": missing, "rows": []}
    for problem in PROBLEMS:
        wrong = _compare_with_reference(problem, libraries)
        for size in problem.small[-1:] if options.quick else problem.sizes:
            rows = [_row(problem, size, name, libraries, wrong, options) for name in problem.functions]
            result["rows"] += rows
            say("\n".join(_block(rows)))
    if missing:
        say(f"not installed: {', '.join(missing)}\n")
    return result


def _compare_with_reference(problem: Problem, libraries: dict[str, Library]) -> dict[str, str]:
    """Return the other libraries whose results differ from the reference, or that raise an error, with the reason."""
    wrong = dict(problem.unsuitable)
    for name, library in libraries.items():
        if name not in wrong:
            reasons = [
                reason
                for size in problem.small
                for function in problem.functions
                if (reason := _why_wrong(problem, function, library, size))
            ]
            if reasons:
                wrong[name] = reasons[0]
    if OURS in wrong:
        raise RuntimeError(f"{problem.name}, {wrong[OURS]}")
    return wrong


def _why_wrong(problem: Problem, function: str, library: Library, size: Size) -> str:
    """Return why the results of a library are wrong; an empty text if they are those of the reference."""
    inputs = problem.inputs(size)
    expected = problem.reference[function](inputs)
    try:
        error = relative_error(library.numpy(problem.functions[function](library, inputs)()), expected)
    except Exception as failure:  # noqa: BLE001 (of a library that cannot compute it)
        return f"{function}: {describe_failure(failure)}"
    return "" if error <= problem.rtol else f"{function}: the results differ (relative error {error:.1e})"


def _row(
    problem: Problem,
    size: Size,
    function: str,
    libraries: dict[str, Library],
    wrong: dict[str, str],
    options: Options,
) -> dict[str, Any]:
    make, inputs = problem.functions[function], problem.inputs(size)
    left_out = {name: reason for name, reason in wrong.items() if name in libraries}
    thunks, errors, slowest = {}, {}, 0.0
    expected = None
    for name, library in libraries.items():
        if name in left_out:
            continue
        try:
            thunk = make(library, inputs)
            thunk()  # compiles
            started = perf_counter()
            found = library.numpy(thunk())
            slowest = max(slowest, perf_counter() - started)
            expected = found if name == OURS else expected
            errors[name] = relative_error(found, expected)
        except Exception as failure:
            if name == OURS:
                raise
            left_out[name] = describe_failure(failure)
            continue
        if errors[name] <= problem.rtol:
            thunks[name] = thunk
        else:
            left_out[name] = f"the results differ from those of {OURS} (relative error {errors[name]:.1e})"
    rounds = next(count for limit, count in _ROUNDS if slowest <= limit)
    times = time_interleaved(list(thunks.values()), 1 if options.quick else rounds)
    return {
        "problem": problem.name,
        "size": dict(size),
        "function": function,
        "seconds": dict(zip(thunks, times, strict=True)),
        "errors": errors,
        "published": _published_error(problem, function, inputs, expected),
        "left_out": left_out,
    }


def _published_error(problem: Problem, function: str, inputs: Inputs, found: Any) -> float | None:
    for figure in problem.published:
        same = figure.function == function and figure.inputs.keys() == inputs.keys()
        if same and all(np.array_equal(inputs[name], figure.inputs[name]) for name in inputs):
            return relative_error(found, figure.figure)
    return None


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table as lines of text."""
    out = [
        "milliseconds of this library, and the times of others as multiples of its time",
        "",
        f"  {'':21}{'ms':>10}" + "".join(f"{name:>{width}}" for name, width in _WIDTHS.items()),
    ]
    blocks: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        blocks.setdefault(_title(row), []).append(row)
    for rows in blocks.values():
        out += _block(rows)
    if result["missing"]:
        out += ["", f"not installed: {', '.join(result['missing'])}"]
    return [*out, ""]


def _title(row: dict[str, Any]) -> str:
    return " ".join([row["problem"], *[f"{name}={value}" for name, value in row["size"].items()]])


def _block(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a problem of one size: one for each function."""
    out = [_title(rows[0])]
    for row in rows:
        ours = row["seconds"][OURS]
        cells = [
            f"{ratio(row['seconds'][name], ours).median if name in row['seconds'] else '-':>{width}.3}"
            for name, width in _WIDTHS.items()
        ]
        out.append(f"  {row['function']:21}{1e3 * spread(ours).median:>10.3f}" + "".join(cells))
        if row["published"] is not None:
            out.append(f"    the published figure, relative error {row['published']:.1e}")
    reasons = sorted({f"{name} left out: {reason}" for row in rows for name, reason in row["left_out"].items()})
    return out + [textwrap.fill(text, 80, initial_indent="  ", subsequent_indent="    ") for text in reasons]
