"""``tinygrad-cifar check``: the gradient check of a model, and those of the reports."""

from __future__ import annotations

import argparse

import numpy as np

from tinygrad_cifar.cli.common import Subparsers, add_data_option, add_threads_option, int_in_range, table
from tinygrad_cifar.cli.settings import DEFAULTS
from tinygrad_cifar.course.runs import build_model
from tinygrad_cifar.course.settings import MODELS, Settings
from tinygrad_cifar.data import Dataset, Preprocessing, load_dataset
from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.engine.gradcheck import ModelCheck, check_model
from tinygrad_cifar.experiments.report_checks import KINDS, CheckMetric, ReportCheck, run_report_checks

_FEATURES = 300
_IMAGES = 20
# Not convnet: among thousands of maxima of windows, a difference changes which element is the largest in some.
CHECKED = tuple(model for model in MODELS if model != "convnet")
_EXPLANATION = """\
The gradient of the cost with respect to each parameter is compared with centred
differences, in up to 100 elements chosen at random."""
_EXPLANATION_OF_REPORTS = """\
The checks of the reports compare with centred differences, which decide, and
with one-sided differences of step 1e-6, which the reports used: the error of
the one-sided formula dominates their values."""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "check",
        help="check the gradients of a model",
        description="Compare the gradient of the cost with respect to each parameter of a model with centred "
        "differences, and for the models of the reports also with the metrics of these. The exit status is 1 if a "
        "gradient is wrong, or if the error against a centred difference exceeds the reported value.",
    )
    parser.add_argument("model", choices=CHECKED, help="model to check")
    add_data_option(parser)
    add_threads_option(parser)
    parser.add_argument(
        "--features",
        type=int_in_range(1, PIXELS),
        default=_FEATURES,
        metavar="N",
        help=f"number of the {PIXELS} features to use, evenly spaced (default {_FEATURES}: seconds; all, as in the "
        "reports: up to two minutes); patchify uses all, since its filters need whole images",
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
    print(f"Gradients of {options.model} on {dataset.name}\n\n{_EXPLANATION}\n", flush=True)
    features = PIXELS if options.model == "patchify" else options.features
    of_model = _check_model(options.model, dataset, features, options.seed)
    print(f"{_table_of_model(of_model)}\n\n{'All' if of_model.passed else 'NOT all'} gradients are right.", flush=True)
    of_reports = _check_reports(options, dataset) if options.model in KINDS else True
    return 0 if of_model.passed and of_reports else 1


def _check_reports(options: argparse.Namespace, dataset: Dataset) -> bool:
    """Print the checks of the reports; return whether they pass."""
    print(f"\n{_EXPLANATION_OF_REPORTS}")
    if options.features < PIXELS:
        print(f"The reported sums over {PIXELS} features are scaled to {options.features}.")
    passed = True
    for result in run_report_checks(options.model, dataset, features=options.features, seed=options.seed):
        print(f"\nReport {result.report}: {result.setting}\n{_table(result)}", flush=True)
        passed = passed and result.passed
    print(f"\n{'All' if passed else 'NOT all'} errors against centred differences are within the reported bounds.")
    return passed


def _check_model(kind: str, dataset: Dataset, features: int, seed: int) -> ModelCheck:
    """Check the model of ``train`` with its default settings, in float64, on a few images of the first batch."""
    defaults = {name: DEFAULTS[kind][name] for name in ("hidden", "init") if name in DEFAULTS[kind]}
    settings = Settings(model=kind, seed=seed, dtype="float64", **defaults)
    batch = dataset.batch(1)
    X = Preprocessing.fit("standardise", batch.images).apply(batch.images[:_IMAGES])
    selected = np.linspace(0, PIXELS - 1, features).round().astype(int)
    model = build_model(settings, features, len(dataset.class_names))
    return check_model(model, X[:, selected], batch.labels[:_IMAGES], lam=DEFAULTS[kind]["lam"], rng=seed)


def _table_of_model(check: ModelCheck) -> str:
    header, *rows = check.rows()
    return table(header, rows, left=1, wrapped=True)


def _table(check: ReportCheck) -> str:
    return table(["", "", "backward", "centred", "one-sided", "reported", ""], list(map(_row, check.metrics)), left=2)


def _row(metric: CheckMetric) -> list[str]:
    verdict = "" if metric.bound is None else "ok" if metric.passed else "EXCEEDED"
    values = (metric.analytic, metric.centred, metric.one_sided, metric.bound)
    return [metric.parameter, metric.name, *("" if value is None else f"{value:.2e}" for value in values), verdict]
