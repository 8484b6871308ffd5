"""The report of a search: the printed ranking, the table of all trials, and the figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cifar.cli.common import counted, table
from tinygrad_cifar.cli.vary import format_point, format_rounded
from tinygrad_cifar.search import Choice, LogUniform, Point, Space, Trial, Value
from tinygrad_cifar.search.coarse_to_fine import CoarseToFineResult
from tinygrad_cifar.search.space import Dimension

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BEST = 10
_MAX_ROWS, _MAX_COLUMNS = 20, 10  # of a figure in which each trial is a cell with its value


@dataclass(frozen=True)
class SearchReport:
    """The results of a search.

    Attributes
    ----------
    space : Space
        The space that was searched.
    searches : mapping of str to list of Trial
        The trials of each search by its name: one, or those of a coarse-to-fine search.
    refined : CoarseToFineResult, optional
        The result of a coarse-to-fine search.
    """

    space: Space
    searches: Mapping[str, Sequence[Trial]]
    refined: CoarseToFineResult | None = None

    @property
    def trials(self) -> list[Trial]:
        """All trials."""
        return list(chain.from_iterable(self.searches.values()))

    @property
    def best(self) -> tuple[Point, float] | None:
        """The best point and its validation accuracy, of a finalist with its first seed; None if there is none."""
        if self.refined is not None:
            finalist = self.refined.best
            return finalist.params, finalist.values[0]
        ranked = _ranked(self.trials)
        return (ranked[0].params, ranked[0].value) if ranked else None


def _ranked(trials: Iterable[Trial]) -> list[Trial]:
    return sorted((t for t in trials if t.state == "complete"), key=lambda t: (-t.value, t.number))


# -- text --------------------------------------------------------------------------------------------------------------


def format_ranking(report: SearchReport) -> str:
    """Return the ten best points as a table of 80 columns."""
    if report.refined is None:
        header = ["", "validation", "train", "seconds"]
        best = _ranked(report.trials)[:_BEST]
        points = [trial.params for trial in best]
        rows = [[f"{t.value:.2%}", f"{t.details['train_accuracy']:.2%}", f"{t.seconds:.1f}"] for t in best]
    else:
        header = ["", "mean", "std"]
        final = sorted(report.refined.finalists, key=lambda f: -f.mean)[:_BEST]
        points = [finalist.params for finalist in final]
        rows = [[f"{f.mean:.2%}", f"{f.spread:.2%}"] for f in final]
    widths = {name: max(len(f"{name}={format_rounded(point[name])}") for point in points) for name in report.space}
    settings = [
        "  ".join(f"{name}={format_rounded(point[name])}".ljust(width) for name, width in widths.items())
        for point in points
    ]
    numbered = [[str(k), *row, text] for k, (row, text) in enumerate(zip(rows, settings, strict=True), start=1)]
    return table([*header, "settings"], numbered, wrapped=True)


def describe_incomplete(report: SearchReport) -> str:
    """Return the number of incomplete trials and the reason of the first; empty if all are complete."""
    parts = []
    for state in ("diverged", "failed"):
        ended = [trial for trial in report.trials if trial.state == state]
        if ended:
            parts.append(
                f"{len(ended)} of {counted(len(report.trials), 'trial')} {state}, the first, "
                f"{format_point(ended[0].params)}, with: {ended[0].reason}"
            )
    return "; ".join(parts)


# -- files -------------------------------------------------------------------------------------------------------------


def trials_to_json(report: SearchReport) -> list[dict[str, Any]]:
    """Return a flat dictionary for each trial; missing values are None."""
    names = [name for name in dict.fromkeys(chain.from_iterable(t.details for t in report.trials)) if name != "seed"]
    return [
        {
            "search": search,
            "number": trial.number,
            "state": trial.state,
            **{name: _plain(value) for name, value in trial.params.items()},
            "validation_accuracy": _number(trial.value),
            **{name: _number(trial.details.get(name, np.nan)) for name in names},
            "seconds": _number(trial.seconds),
            "attempts": trial.attempts,
            "reason": trial.reason,
        }
        for search, trials in report.searches.items()
        for trial in trials
    ]


def _plain(value: Any) -> Any:
    return format_rounded(value) if isinstance(value, tuple) else value


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def to_csv(report: SearchReport) -> str:
    """Return all trials as comma-separated values, with a header."""
    rows = trials_to_json(report)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(chain.from_iterable(rows))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rounds_to_json(refined: CoarseToFineResult) -> list[dict[str, Any]]:
    """Return the space and the finalists of each round as JSON."""
    return [
        {
            "space": {name: _dimension(dimension) for name, dimension in r.space.items()},
            "noise": r.noise,
            "finalists": [{**asdict(finalist), "mean": finalist.mean} for finalist in r.finalists],
        }
        for r in refined.rounds
    ]


def _dimension(dimension: Any) -> Any:
    return list(dimension.values) if isinstance(dimension, Choice) else [dimension.low, dimension.high]


# -- figure ------------------------------------------------------------------------------------------------------------


def draw_search(report: SearchReport, details: str) -> Figure:
    """Draw the accuracies: a small grid of two settings as a heat map, otherwise a panel for each setting."""
    from tinygrad_cifar.course import plotting  # noqa: PLC0415 (matplotlib is optional, and slow to import)

    heading = plotting.Heading("Validation accuracy of each trial, in %", details)
    if report.refined is None and _is_small_grid(report):
        values, rows, columns = _as_matrix(report)
        texts = [["-" if np.isnan(value) else f"{value:.2f}" for value in row] for row in values]
        return plotting.plot_heat_map(
            heading, values, texts, rows=rows, columns=columns, scale="validation accuracy in %"
        )
    panels = []
    for name, dimension in report.space.items():
        lines = [
            plotting.Line(
                label, np.array([_position(dimension, p[name]) for p in points]), y, k, spread=spread, joined=False
            )
            for k, (label, points, y, spread) in enumerate(_series(report))
        ]
        names = list(map(format_rounded, dimension.values)) if isinstance(dimension, Choice) else []
        log_x = isinstance(dimension, LogUniform)
        panels.append(plotting.Panel(name, "validation accuracy in %", lines, log_x=log_x, x_names=names))
    return plotting.plot_curves(heading, panels, columns=min(2, len(panels)))


def _position(dimension: Dimension, value: Value) -> Any:
    return dimension.values.index(value) if isinstance(dimension, Choice) else value


def _series(report: SearchReport) -> list[tuple[str, list[Point], Any, Any]]:
    """Return the series to draw: label, points, accuracies in %, and their standard deviations over seeds, or None."""
    if report.refined is None:
        return [_screened_series("", report.trials)]
    rounds = report.refined.rounds
    final = report.refined.finalists
    label = f"finalists, mean of {len(final[0].values)} seeds"
    means, spreads = (100 * np.array([getattr(f, name) for f in final]) for name in ("mean", "spread"))
    screened = []
    for k, r in enumerate(rounds, start=1):
        before = [trial.params for earlier in rounds[: k - 1] for trial in earlier.trials]
        screened.append(_screened_series(f"round {k}", [trial for trial in r.trials if trial.params not in before]))
    return [*screened, (label, [f.params for f in final], means, spreads)]


def _screened_series(label: str, trials: Sequence[Trial]) -> tuple[str, list[Point], Any, Any]:
    ranked = _ranked(trials)
    return label, [t.params for t in ranked], 100 * np.array([t.value for t in ranked]), None


def _is_small_grid(report: SearchReport) -> bool:
    if len(report.space) != 2:  # noqa: PLR2004 (the axes of a map)
        return False
    rows, columns = ({trial.params[name] for trial in report.trials} for name in report.space)
    is_small = len(rows) <= _MAX_ROWS and len(columns) <= _MAX_COLUMNS
    return is_small and len(rows) * len(columns) == len(report.trials)


def _as_matrix(report: SearchReport) -> tuple[Any, tuple[str, list[str]], tuple[str, list[str]]]:
    """Return the accuracies in %, NaN where there is none, and for both axes the name and the tick labels."""
    by_number = sorted(report.trials, key=lambda trial: trial.number)
    axes = {name: list(dict.fromkeys(trial.params[name] for trial in by_number)) for name in report.space}
    (first, rows), (second, columns) = axes.items()
    values = np.full((len(rows), len(columns)), np.nan)
    for trial in report.trials:
        values[rows.index(trial.params[first]), columns.index(trial.params[second])] = 100 * trial.value
    return values, (first, list(map(format_rounded, rows))), (second, list(map(format_rounded, columns)))
