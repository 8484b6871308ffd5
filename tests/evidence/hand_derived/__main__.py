"""Run the gradient doctor on a set of hand-derived gradients and print the table.

    python -m tests.evidence.hand_derived [--set NAME] [--seed N] [--share S] [--json FILE]

The sets are development, validation, second-validation, third-validation and held-out. Each was written apart and is
run once before the doctor is improved on it. The status is 0 if the goals are reached, else 1.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.evidence.hand_derived.adapter import Answer, ask_doctor, ask_doctor_about_arrays
from tests.evidence.hand_derived.cases import Case
from tests.evidence.hand_derived.measurement import (
    NETWORKS,
    SEEDS,
    cases_of,
    details,
    examine,
    format_table,
    reaches_goals,
)


def main(arguments: Sequence[str] | None = None, ask: Callable[[Case], Answer] | None = None) -> int:
    """Run the command and return its status; ``ask`` replaces the doctor."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.evidence.hand_derived",
        description="Measure how often the gradient doctor names injected mistakes right.",
    )
    parser.add_argument("--set", choices=tuple(SEEDS), default="development")
    parser.add_argument("--seed", type=int, help="draw other sizes, names and styles (default: the fixed seed)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the mistakes to draw (default: 1)")
    parser.add_argument("--network", choices=NETWORKS, default="", help="only this kind of network")
    parser.add_argument("--only", default="", help="only cases whose title contains this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write each case with its source and answer")
    parser.add_argument("--arrays", action="store_true", help="give the gradients as arrays, not as a function")
    options = parser.parse_args(arguments)
    if ask is None:
        ask = ask_doctor_about_arrays if options.arrays else ask_doctor
    outcomes = []
    for case in cases_of(options.set, options.seed, options.share, options.network):
        if options.only in case.title:
            outcomes.append(examine(case, ask))
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} cases", end="", file=sys.stderr)
    print(format_table(outcomes))
    if options.json:
        options.json.write_text(json.dumps([details(outcome) for outcome in outcomes], indent=1))
    return 0 if reaches_goals(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
