"""The results of ``tinygrad-cifar search``: the files that it writes, and what it prints at the end."""

from __future__ import annotations

import argparse
import json
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinygrad_cifar.cli.common import WIDTH, CommandError, counted, wrapped
from tinygrad_cifar.cli.search_objective import TrainObjective
from tinygrad_cifar.cli.search_report import (
    SearchReport,
    describe_incomplete,
    draw_search,
    format_ranking,
    rounds_to_json,
    to_csv,
    trials_to_json,
)
from tinygrad_cifar.cli.settings import complete_settings, format_options
from tinygrad_cifar.cli.vary import format_space
from tinygrad_cifar.course.runs import versions
from tinygrad_cifar.data import Dataset
from tinygrad_cifar.search import Point, Value
from tinygrad_cifar.system.files import atomic_write

TRIALS_CSV, TRIALS_JSON, FIGURE = "trials.csv", "trials.json", "search.png"
DEFAULT_NAME = "search"


def write_results(
    options: argparse.Namespace, objective: TrainObjective, report: SearchReport, dataset: Dataset, sampler: str
) -> None:
    """Write the files of a search, and print its results.

    Raises
    ------
    CommandError
        If no trial is complete; the files of the trials are written nevertheless.
    """
    out = options.out
    table, numbers, image, repeated = (
        output_name(options.name, file) for file in (TRIALS_CSV, TRIALS_JSON, FIGURE, "best")
    )
    given = {} if report.best is None else _settings_of_best(objective, report.best[0], report)
    content = _to_json(objective, report, dataset, given, sampler)
    _save(out / numbers, json.dumps(content, indent=1, allow_nan=False) + "\n")  # identifies the other files
    _save(out / table, to_csv(report))
    if report.best is None:
        remedy = "choose other ranges (--vary), and another --out or --name"
        if any(trial.state == "failed" for trial in report.trials):
            remedy = "correct the cause, and repeat the command, which runs the failed trials again"
        raise CommandError(f"no trial is complete: {describe_incomplete(report)}; {remedy}")
    written = [table, numbers]
    details = f"{dataset.name}: {objective.model}, {counted(len(report.trials), 'trial')}"
    if options.figures and _draw(out / image, report, details):
        written.append(image)
    _print_ranking(report, options.trials)
    which = ""
    if report.refined is not None:
        which = f" with seed {given['seed']}, one of the {len(report.refined.best.values)} seeds of its mean"
    print(f"To repeat the best{which}:\n{_command(objective, given, out / repeated)}\n")
    print(wrapped(f"{out}: {' '.join(map(shlex.quote, written))}"))


def _print_ranking(report: SearchReport, wanted: int | None) -> None:
    """Print the best trials, those that are not complete, and why a coarse-to-fine search ended."""
    if report.refined is None and wanted and len(report.trials) > wanted:
        text = f"{len(report.trials)} trials of this search were already made; no further ones were run"
        print(f"\n{textwrap.fill(f'{text}, and all of them are shown.', WIDTH)}")
    print(f"\n{format_ranking(report)}\n")
    incomplete = describe_incomplete(report)
    if incomplete:
        print(f"{textwrap.fill(incomplete, WIDTH)}\n")
    if report.refined is not None:
        text = (
            f"{counted(len(report.refined.rounds), 'round')}; no further one, because {report.refined.reason}. The "
            f"best mean has a standard error of {report.refined.standard_error:.2%}."
        )
        print(f"{textwrap.fill(text, WIDTH)}\n")


def output_name(name: str, file: str) -> str:
    """Return the name of a file of a search; searches with different names have different files."""
    return file if name == DEFAULT_NAME else f"{quote(name, safe=' ')}-{file}"


def _settings_of_best(objective: TrainObjective, point: Point, report: SearchReport) -> dict[str, Value]:
    given = objective.effective_settings(point)
    if report.refined is not None:  # the first of the seeds of its finalists
        first = given.get("seed", 0)
        given["seed"] = first + 1 if isinstance(first, int) else 1
    return given


def _command(objective: TrainObjective, given: Mapping[str, Value], out: Path) -> str:
    """Return the command that trains with given settings, in lines of at most 80 columns where possible."""
    data = [] if objective.data == "builtin" else [f"--data {shlex.quote(objective.data)}"]
    lines = [f"  tinygrad-cifar train {objective.model}"]
    for option in [*data, *format_options(given), f"--out {shlex.quote(str(out))}"]:
        if len(lines[-1]) + 1 + len(option) + len(" \\") > WIDTH:
            lines[-1] += " \\"
            lines.append(f"    {option}")
        else:
            lines[-1] += f" {option}"
    return "\n".join(lines)


def _to_json(
    objective: TrainObjective, report: SearchReport, dataset: Dataset, given: Mapping[str, Value], sampler: str
) -> dict[str, Any]:
    best: dict[str, Any] | None = None
    if report.best is not None:
        settings = asdict(complete_settings(objective.model, given, objective.sizes))
        best = {"params": report.best[0], "validation_accuracy": report.best[1], "settings": settings}
    content: dict[str, Any] = {
        "data": dataset.identity(),
        "model": objective.model,
        "given": dict(objective.given),
        "varied": format_space(report.space),
        "sampler": sampler,
        "best": best,
        "trials": trials_to_json(report),
        "versions": versions(),
    }
    if report.refined is not None:
        content["rounds"] = rounds_to_json(report.refined)
        content["reason"] = report.refined.reason
    return content


def _draw(path: Path, report: SearchReport, details: str) -> bool:
    """Draw the search if matplotlib is installed, and return whether it is."""
    try:
        from tinygrad_cifar.course import plotting  # noqa: PLC0415 (matplotlib is optional, and slow to import)
    except ImportError:
        print("no figure: it needs matplotlib; install it with pip install matplotlib")
        return False
    plotting.save_figure(draw_search(report, details), path)
    return True


def _save(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
