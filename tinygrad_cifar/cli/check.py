"""``tinygrad-cifar check``: the reports' gradient checks."""

from __future__ import annotations

import argparse

from tinygrad_cifar.cli.common import Subparsers, add_data_option, int_in_range, table
from tinygrad_cifar.data import load_dataset
from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.experiments.report_checks import KINDS, CheckMetric, ReportCheck, run_report_checks

_FEATURES = 300
_EXPLANATION = """\
The backward pass beside centred differences, which decide, and one-sided
differences of step 1e-6, which the reports used: most of what those show,
here and as published, is the error of the one-sided formula itself."""


def add_parser(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "check",
        help="check a model's gradients as the reports did",
        description="Compare a model's gradients with centred and one-sided differences, by the measures of the "
        "reports. The status is 1 if a centred difference is farther from the gradient than the report published.",
    )
    parser.add_argument("model", choices=KINDS, help="which model")
    add_data_option(parser)
    parser.add_argument(
        "--features",
        type=int_in_range(1, PIXELS),
        default=_FEATURES,
        metavar="N",
        help=f"keep so many of the {PIXELS} features, evenly spread (default {_FEATURES}: seconds; all of them, as the "
        "reports: up to two minutes)",
    )
    parser.add_argument(
        "--seed", type=int_in_range(0, 2**63 - 1), default=0, metavar="N", help="of the models' weights (default 0)"
    )
    parser.set_defaults(command=check)


def check(options: argparse.Namespace) -> int:
    """Check a model's gradients and print the figures of each report."""
    dataset = load_dataset(options.data)
    print(f"Gradients of {options.model} on {dataset.name}\n\n{_EXPLANATION}")
    if options.features < PIXELS:
        print(f"Published sums over {PIXELS} features are cut in proportion to {options.features}.")
    passed = True
    for done in run_report_checks(options.model, dataset, features=options.features, seed=options.seed):
        print(f"\nReport {done.report}: {done.setting}\n{_table(done)}", flush=True)
        passed = passed and done.passed
    print(f"\n{'All' if passed else 'NOT all'} centred differences keep to what was published.")
    return 0 if passed else 1


def _table(done: ReportCheck) -> str:
    return table(["", "", "backward", "centred", "one-sided", "published", ""], list(map(_row, done.figures)), left=2)


def _row(figure: CheckMetric) -> list[str]:
    verdict = "" if figure.bound is None else "ok" if figure.passed else "TOO GREAT"
    numbers = (figure.analytic, figure.centred, figure.one_sided, figure.bound)
    return [figure.parameter, figure.name, *("" if n is None else f"{n:.2e}" for n in numbers), verdict]
