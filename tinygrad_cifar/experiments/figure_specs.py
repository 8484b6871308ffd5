"""The kinds of figures of the reports: an experiment declares which to draw, and each draws itself from the results.

If an experiment has several seeds, curves and weights are those of seed 0, and searches show the mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tinygrad_cifar.course import plotting
from tinygrad_cifar.course.plotting import Heading, Line, Panel
from tinygrad_cifar.course.runs import build_schedule
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.course.training import History
from tinygrad_cifar.experiments.results import Results

_MAX_SHOWN = 10  # columns of a matrix of errors


@dataclass(frozen=True)
class LossCurves:
    """Loss and cost over the epochs, on training and validation images: a panel for each run."""

    title: str
    shared: bool = False

    slug = "loss"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        return _small_multiples(self, results, {"loss": "loss", "cost": "cost"}, 1.0, width)


@dataclass(frozen=True)
class AccuracyCurves:
    """Accuracy over the epochs, on training and validation images: a panel for each run."""

    title: str
    shared: bool = True

    slug = "accuracy"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        return _small_multiples(self, results, {"accuracy": "accuracy in %"}, 100.0, width)


def _small_multiples(
    figure: LossCurves | AccuracyCurves, results: Results, quantities: Mapping[str, str], scale: float, width: float
) -> Figure:
    panels = []
    for name, runs in results.trained.items():
        history = runs[0].history
        drawn = dict(quantities)
        label = " and ".join(drawn.values())
        if "cost" in drawn and (history.column("train_loss") == history.column("train_cost")).all():
            del drawn["loss"]
            label = "loss, equal to the cost"
        panels.append(Panel("epoch", label, _lines(history, drawn, scale), name if len(results.trained) > 1 else ""))
    columns = 1 if len(panels) == 1 else 2
    heading = _heading(figure.title, results)
    return plotting.plot_curves(heading, panels, columns=columns, shared=figure.shared, width=width)


def _lines(history: History, quantities: Collection[str], scale: float) -> list[Line]:
    lines = []
    for i, quantity in enumerate(quantities):
        name = f" {quantity}" if len(quantities) > 1 else ""
        labels = (f"training{name}", f"validation{name}")
        lines += plotting.lines_of(history, quantity, labels, (2 * i, 2 * i + 1), scale)
    return lines


@dataclass(frozen=True)
class RateCurve:
    """The learning rate of each update of a run."""

    title: str
    run: str

    slug = "rate"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        trained = results.trained[self.run][0]
        settings = Settings.from_json(trained.result["settings"])
        steps = int(trained.result["steps"])
        schedule = build_schedule(settings, max(1, steps // settings.epochs))
        rates = np.array([schedule(step) for step in range(steps)])
        return plotting.plot_learning_rate(_heading(self.title, results), rates, width=width)


@dataclass(frozen=True)
class Templates:
    """The weights of each class of a linear model, as images."""

    title: str
    run: str

    reflows = True

    @property
    def slug(self) -> str:
        """Part of the name of the file."""
        return f"weights-{_slug(self.run)}"

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        weights = results.trained[self.run][0].arrays["W"]
        heading = _heading(f"{self.title}: {self.run}", results)
        return plotting.plot_templates(heading, weights, results.class_names, width=width)


@dataclass(frozen=True)
class Filters:
    """The filters of the first layer, enlarged to images."""

    title: str
    run: str

    slug = "filters"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        filters = results.trained[self.run][0].arrays["filters"]
        heading = _heading(f"{self.title}: {self.run}", results)
        return plotting.plot_templates(heading, filters, columns=10, width=width)


@dataclass(frozen=True)
class Bars:
    """A bar for each run: an accuracy, or the processor time, as means over the seeds with standard deviations."""

    title: str
    quantity: str  # as of a published accuracy, or "seconds"

    reflows = True

    @property
    def slug(self) -> str:
        """Part of the name of the file."""
        return f"bars-{_slug(self.quantity)}"

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        is_time = self.quantity == "seconds"
        values = {
            name: [run.cpu if is_time else run.accuracy(self.quantity) for run in runs]
            for name, runs in results.trained.items()
        }
        label = "seconds of processor time" if is_time else f"{self.quantity} accuracy in %"
        return plotting.plot_bars(_heading(self.title, results, mean=True), values, label, width=width)


@dataclass(frozen=True)
class ClassTemplates:
    """The weights of one class under each of the settings."""

    title: str
    class_number: int

    slug = "one-class"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        columns = [runs[0].arrays["W"][:, self.class_number] for runs in results.trained.values()]
        title = f"{self.title}: {results.class_names[self.class_number]}"
        return plotting.plot_templates(
            _heading(title, results),
            np.stack(columns, axis=1),
            list(results.trained),
            columns=len(columns),
            width=width,
        )


@dataclass(frozen=True)
class GradientHistograms:
    """Histograms of the elements of the gradient of W after training, for each run."""

    title: str

    slug = "gradients"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        values = {name: runs[0].arrays["gradient"] for name, runs in results.trained.items()}
        return plotting.plot_histograms(
            _heading(self.title, results), values, "element of the gradient of W", width=width
        )


@dataclass(frozen=True)
class SearchLine:
    """An accuracy over lambda: the reproduction, with the standard deviation over the seeds, and the report."""

    title: str
    quantity: str

    slug = "search"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        settings = results.experiment.runs
        rows = [row for row in results.comparisons() if settings[row.number.run].lam > 0]
        lambdas = np.array([settings[row.number.run].lam for row in rows])
        seeds = results.experiment.seeds
        lines = [
            Line(
                f"reproduced, mean of {seeds} seeds with standard deviation"
                if seeds > 1
                else "reproduced, one run each",
                lambdas,
                np.array([row.mean for row in rows]),
                spread=np.array([row.spread for row in rows]),
                joined=False,
            )
        ]
        if all(row.compared for row in rows):
            reported = np.array([row.number.reported for row in rows], dtype=float)
            lines.append(Line("reported, one run each", lambdas, reported, 1, joined=False))
        panel = Panel("lambda", f"{self.quantity} accuracy in %", lines, log_x=True)
        return plotting.plot_curves(_heading(self.title, results, mean=True), [panel], width=width)


@dataclass(frozen=True)
class SearchMap:
    """A reproduced accuracy over a grid, with the reported values in brackets.

    The names of a row and a column, joined by a comma, are the name of a run.
    """

    title: str
    quantity: str
    rows: tuple[str, tuple[str, ...]]
    columns: tuple[str, tuple[str, ...]]

    slug = "search"
    reflows = False

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:  # noqa: ARG002
        """Draw the figure."""
        reported = {
            row.number.run: row.number.reported
            for row in results.comparisons()
            if row.compared and row.number.quantity == self.quantity
        }
        values = np.empty((len(self.rows[1]), len(self.columns[1])))
        texts: list[list[str]] = []
        for i, row in enumerate(self.rows[1]):
            texts.append([])
            for j, column in enumerate(self.columns[1]):
                name = f"{row}, {column}"
                values[i, j] = np.mean([run.accuracy(self.quantity) for run in results.trained[name]])
                below = f"\n({reported[name]:.2f})" if name in reported else ""
                texts[-1].append(f"{values[i, j]:.2f}{below}")
        title = f"{self.title} in %" + (" (reported in brackets)" if reported else "")
        return plotting.plot_heat_map(
            _heading(title, results, mean=True),
            values,
            texts,
            rows=(self.rows[0], [_remove_axis_words(self.rows[0], name) for name in self.rows[1]]),
            columns=(self.columns[0], [_remove_axis_words(self.columns[0], name) for name in self.columns[1]]),
            scale=f"{self.quantity} accuracy in %",
        )


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of the test images."""

    title: str
    run: str

    slug = "confusion"
    reflows = False

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:  # noqa: ARG002
        """Draw the figure."""
        counts = results.trained[self.run][0].arrays["confusion"]
        return plotting.plot_confusion_matrix(
            _heading(f"{self.title}: true and predicted classes", results), counts, results.class_names
        )


@dataclass(frozen=True)
class Mistakes:
    """The test images for whose class the model has the smallest probability, with the true and the predicted class."""

    title: str
    run: str

    slug = "mistakes"
    reflows = True

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:
        """Draw the figure."""
        arrays = results.trained[self.run][0].arrays
        names = [
            f"{results.class_names[true]}: {results.class_names[predicted]}"
            for true, predicted in arrays["mistaken_classes"].T
        ]
        heading = _heading(f"{self.title}: true and predicted class", results)
        return plotting.plot_templates(heading, arrays["mistakes"], names, width=width)


@dataclass(frozen=True)
class ErrorMatrix:
    """The first columns of the matrix of relative gradient errors, one row for each class as in the report."""

    title: str

    slug = "errors"
    reflows = False

    def draw(self, results: Results, width: float = plotting.WIDE) -> Figure:  # noqa: ARG002
        """Draw the figure."""
        errors = results.checked[0].errors
        if errors is None:
            raise ValueError(
                f"{results.experiment.name}: its gradient check must be of report 002, which has the matrix of errors"
            )
        corner = errors.T[:, :_MAX_SHOWN]
        return plotting.plot_heat_map(
            _heading(self.title, results),
            corner,
            [[f"{error:.1e}" for error in row] for row in corner],
            rows=("class", [str(i) for i in range(1, len(corner) + 1)]),
            columns=("feature", [str(j) for j in range(1, corner.shape[1] + 1)]),
            scale="relative error, one-sided difference",
        )


def _heading(title: str, results: Results, *, mean: bool = False) -> Heading:
    experiment = results.experiment
    seeds = ""
    if any(len(runs) > 1 for runs in results.trained.values()):
        counts = sorted({len(runs) for runs in results.trained.values()})
        seeds = f" Means of {' or '.join(map(str, counts))} seeds." if mean else " The run with seed 0."
    small = " Small version of the runs." if results.small and results.trained else ""
    return Heading(title, f"{results.data}. {experiment.origin}. {experiment.title}.{seeds}{small}")


def _remove_axis_words(axis: str, name: str) -> str:
    """Return a name without the words of its axis."""
    return re.sub(rf"\b({'|'.join(re.escape(word) for word in axis.split(', '))}) ", "", name)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
