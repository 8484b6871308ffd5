"""``tinygrad-cifar check``: the gradient checks of the reports."""

from __future__ import annotations

import argparse

from tinygrad_cifar.cli.common import Subparsers, add_data_option, add_threads_option, int_in_range, table
from tinygrad_cifar.data import load_dataset
from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.experiments.report_checks import KINDS, CheckMetric, ReportCheck, run_report_checks

_FEATURES = 300
_EXPLANATION = """\
The gradients of the backward pass are compared with centred differences, which
decide, and with one-sided differences of step 1e-6, which the reports used:
the error of the one-sided formula dominates their values."""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "check",
        help="check the gradients of a model as in the reports",
        description="Compare the gradients of a model with centred and one-sided differences, with the metrics of the "
        "reports. The exit status is 1 if the error against a centred difference exceeds the reported value.",
    )
    parser.add_argument("model", choices=KINDS, help="model to check")
    add_data_option(parser)
    add_threads_option(parser)
    parser.add_argument(
        "--features",
        type=int_in_range(1, PIXELS),
        default=_FEATURES,
        metavar="N",
        help=f"number of the {PIXELS} features to use, evenly spaced (default {_FEATURES}: seconds; all, as in the "
        "reports: up to two minutes)",
    )
    parser.add_argument(
        "--seed",
        type=int_in_range(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="seed of the initial weights (default 0)",
    )
    parser.set_defaults(command=check)


def check(options: argparse.Namespace) -> int:
    """Run the command."""
    dataset = load_dataset(options.data)
    print(f"Gradients of {options.model} on {dataset.name}\n\n{_EXPLANATION}")
    if options.features < PIXELS:
        print(f"The reported sums over {PIXELS} features are scaled to {options.features}.")
    passed = True
    for result in run_report_checks(options.model, dataset, features=options.features, seed=options.seed):
        print(f"\nReport {result.report}: {result.setting}\n{_table(result)}", flush=True)
        passed = passed and result.passed
    print(f"\n{'All' if passed else 'NOT all'} errors against centred differences are within the reported bounds.")
    return 0 if passed else 1


def _table(check: ReportCheck) -> str:
    return table(["", "", "backward", "centred", "one-sided", "reported", ""], list(map(_row, check.metrics)), left=2)


def _row(metric: CheckMetric) -> list[str]:
    verdict = "" if metric.bound is None else "ok" if metric.passed else "EXCEEDED"
    values = (metric.analytic, metric.centred, metric.one_sided, metric.bound)
    return [metric.parameter, metric.name, *("" if value is None else f"{value:.2e}" for value in values), verdict]
