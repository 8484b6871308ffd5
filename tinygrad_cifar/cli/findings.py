"""What a search leaves: the ranking that is printed, the table of all trials, and the picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cifar.cli.common import table
from tinygrad_cifar.cli.vary import format_point, format_value
from tinygrad_cifar.search import Choice, CoarseToFineResult, LogUniform, Space, Trial
from tinygrad_cifar.search.space import Dimension, Point, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BEST = 10
_MOST_ROWS, _MOST_COLUMNS = 20, 10  # of a picture in which each trial is a cell with its number


@dataclass(frozen=True)
class SearchReport:
    """What came of a search.

    Attributes
    ----------
    space : Space
        What was varied.
    searches : mapping of str to list of Trial
        The trials of each search by its name: one, or several on the way from coarse to fine.
    narrowed : Narrowed, optional
        How a search from coarse to fine ended.
    """

    space: Space
    searches: Mapping[str, Sequence[Trial]]
    narrowed: CoarseToFineResult | None = None

    @property
    def trials(self) -> list[Trial]:
        """All trials."""
        return list(chain.from_iterable(self.searches.values()))

    @property
    def best(self) -> tuple[Point, float] | None:
        """The best point and its validation accuracy, if any trial is complete; for a mean, that of its first seed."""
        if self.narrowed is not None:
            finalist = self.narrowed.best
            return finalist.params, finalist.values[0]
        ranked = _ranked(self.trials)
        return (ranked[0].params, ranked[0].value) if ranked else None


def _ranked(trials: Iterable[Trial]) -> list[Trial]:
    return sorted((t for t in trials if t.state == "complete"), key=lambda t: (-t.value, t.number))


# -- in words ----------------------------------------------------------------------------------------------------------


def ranking(findings: SearchReport) -> str:
    """Return the best ten points in a table of 80 columns."""
    if findings.narrowed is None:
        header = ["", "validation", "train", "seconds"]
        best = _ranked(findings.trials)[:_BEST]
        points = [trial.params for trial in best]
        rows = [[f"{t.value:.2%}", f"{t.details['train_accuracy']:.2%}", f"{t.seconds:.1f}"] for t in best]
    else:
        header = ["", "mean", "std"]
        final = sorted(findings.narrowed.finalists, key=lambda f: -f.mean)[:_BEST]
        points = [finalist.params for finalist in final]
        rows = [[f"{f.mean:.2%}", f"{f.spread:.2%}"] for f in final]
    widths = {name: max(len(f"{name}={format_value(point[name])}") for point in points) for name in findings.space}
    settings = [
        "  ".join(f"{name}={format_value(point[name])}".ljust(width) for name, width in widths.items())
        for point in points
    ]
    numbered = [[str(k), *row, text] for k, (row, text) in enumerate(zip(rows, settings, strict=True), start=1)]
    return table([*header, "settings"], numbered, wrapped=True)


def describe_incomplete(findings: SearchReport) -> str:
    """Say how many trials are not complete, and why the first was not; nothing if all are."""
    parts = []
    for state in ("diverged", "failed"):
        ended = [trial for trial in findings.trials if trial.state == state]
        if ended:
            parts.append(
                f"{len(ended)} of {len(findings.trials)} trials {state}, the first, {format_point(ended[0].params)}, "
                f"with: {ended[0].reason}"
            )
    return "\n".join(parts)


# -- in files ----------------------------------------------------------------------------------------------------------


def rows_of(findings: SearchReport) -> list[dict[str, Any]]:
    """Return a flat dictionary for each trial; what there is none of is None."""
    names = [name for name in dict.fromkeys(chain.from_iterable(t.details for t in findings.trials)) if name != "seed"]
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
        for search, trials in findings.searches.items()
        for trial in trials
    ]


def _plain(value: Any) -> Any:
    return format_value(value) if isinstance(value, tuple) else value


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def to_csv(findings: SearchReport) -> str:
    """Return all trials as comma-separated values with a header."""
    rows = rows_of(findings)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(chain.from_iterable(rows))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rounds_of(narrowed: CoarseToFineResult) -> list[dict[str, Any]]:
    """Return what each round searched and found, as JSON has it."""
    return [
        {
            "space": {name: _dimension(dimension) for name, dimension in r.space.items()},
            "noise": r.noise,
            "finalists": [{**asdict(finalist), "mean": finalist.mean} for finalist in r.finalists],
        }
        for r in narrowed.rounds
    ]


def _dimension(dimension: Any) -> Any:
    return list(dimension.values) if isinstance(dimension, Choice) else [dimension.low, dimension.high]


# -- in a picture ------------------------------------------------------------------------------------------------------


def picture(findings: SearchReport, details: str) -> Figure:
    """Draw the accuracies: of a small grid over two settings as a map, else over each of the settings."""
    from tinygrad_cifar.course import plotting as figures  # noqa: PLC0415 (matplotlib is optional, and slow to import)

    heading = figures.Heading("Validation accuracy of each trial, in %", details)
    if findings.narrowed is None and _is_small_grid(findings):
        values, rows, columns = _as_matrix(findings)
        texts = [["-" if np.isnan(value) else f"{value:.2f}" for value in row] for row in values]
        return figures.plot_heat_map(
            heading, values, texts, rows=rows, columns=columns, scale="validation accuracy in %"
        )
    panels = []
    for name, dimension in findings.space.items():
        lines = [
            figures.Line(label, np.array([_place(dimension, p[name]) for p in points]), y, k, spread=spread)
            for k, (label, points, y, spread) in enumerate(_series(findings))
        ]
        names = list(map(format_value, dimension.values)) if isinstance(dimension, Choice) else []
        log_x = isinstance(dimension, LogUniform)
        panels.append(figures.Panel(name, "validation accuracy in %", lines, log_x=log_x, x_names=names))
    return figures.plot_curves(heading, panels, columns=min(2, len(panels)))


def _place(dimension: Dimension, value: Value) -> Any:
    return dimension.values.index(value) if isinstance(dimension, Choice) else value


def _series(findings: SearchReport) -> list[tuple[str, list[Point], Any, Any]]:
    """Return points to be drawn alike: a label, and of each the settings, the accuracy and the seeds' spread in %."""
    if findings.narrowed is None:
        return [_screened("", findings.trials)]
    rounds = findings.narrowed.rounds
    final = findings.narrowed.finalists
    label = f"finalists, mean of {len(final[0].values)} seeds"
    means, spreads = (100 * np.array([getattr(f, name) for f in final]) for name in ("mean", "spread"))
    screened = []
    for k, r in enumerate(rounds, start=1):
        before = [trial.params for earlier in rounds[: k - 1] for trial in earlier.trials]
        screened.append(_screened(f"round {k}", [trial for trial in r.trials if trial.params not in before]))
    return [*screened, (label, [f.params for f in final], means, spreads)]


def _screened(label: str, trials: Sequence[Trial]) -> tuple[str, list[Point], Any, Any]:
    ranked = _ranked(trials)
    return label, [t.params for t in ranked], 100 * np.array([t.value for t in ranked]), np.zeros(len(ranked))


def _is_small_grid(findings: SearchReport) -> bool:
    if len(findings.space) != 2:  # noqa: PLR2004 (the axes of a map)
        return False
    rows, columns = ({trial.params[name] for trial in findings.trials} for name in findings.space)
    fits = len(rows) <= _MOST_ROWS and len(columns) <= _MOST_COLUMNS
    return fits and len(rows) * len(columns) == len(findings.trials)


def _as_matrix(findings: SearchReport) -> tuple[Any, tuple[str, list[str]], tuple[str, list[str]]]:
    """Return accuracies in %, NaN where there is none, and the names of both axes and of their entries."""
    by_number = sorted(findings.trials, key=lambda trial: trial.number)
    axes = {name: list(dict.fromkeys(trial.params[name] for trial in by_number)) for name in findings.space}
    (first, rows), (second, columns) = axes.items()
    values = np.full((len(rows), len(columns)), np.nan)
    for trial in findings.trials:
        values[rows.index(trial.params[first]), columns.index(trial.params[second])] = 100 * trial.value
    return values, (first, list(map(format_value, rows))), (second, list(map(format_value, columns)))
