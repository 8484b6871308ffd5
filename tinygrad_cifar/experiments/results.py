"""What came of an experiment: the outcomes of its jobs, and each published number beside ours."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinygrad_cifar.experiments.declaration import NEAR, Experiment, PublishedAccuracy
from tinygrad_cifar.experiments.outcomes import CheckOutcome, OutcomeStore, TrainingOutcome

_LAST = 10  # measurements of a run that show whether it has settled


@dataclass(frozen=True)
class AccuracyComparison:
    """A published accuracy beside ours, all in percent.

    Attributes
    ----------
    number : Number
    ours : list of float
        Of each seed.
    seconds : float
        Of the processor, for a run.
    unsettled : tuple of float, optional
        The least and the greatest validation accuracy of the last measurements of the runs.
    beside : float, optional
        Ours of the run that is named beside the reason, in percent.
    comparable : bool
        Whether ours is of the same data and the same settings.
    """

    number: PublishedAccuracy
    ours: list[float]
    seconds: float
    unsettled: tuple[float, float] | None = None
    beside: float | None = None
    comparable: bool = True

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.ours)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; NaN of one."""
        return statistics.stdev(self.ours) if len(self.ours) > 1 else math.nan

    @property
    def difference(self) -> float:
        """Ours less the published, in percentage points; NaN if nothing was published."""
        return math.nan if self.number.published is None else self.mean - self.number.published

    @property
    def compared(self) -> bool:
        """Whether there is a published number that ours can be compared with."""
        return self.comparable and self.number.published is not None

    @property
    def near(self) -> bool:
        """Whether ours is as near as asked."""
        return abs(self.difference) <= NEAR

    def explain_difference(self) -> str:
        """Say why ours is another than the published number: what is known, and what the runs show."""
        shown = [self.number.reason] if self.number.reason else []
        if self.beside is not None:
            shown.append(f"Ours with {self.number.beside} has {self.beside:.2f} %.")
        if len(self.ours) > 1:
            shown.append(f"Our {len(self.ours)} seeds lie between {min(self.ours):.2f} and {max(self.ours):.2f} %.")
        if self.unsettled and self.unsettled[1] - self.unsettled[0] > NEAR:
            least, greatest = self.unsettled
            shown.append(
                f"Over the last {_LAST} measurements of these runs the validation accuracy is anywhere from "
                f"{least:.1f} to {greatest:.1f} %."
            )
        return " ".join(shown)


@dataclass(frozen=True)
class GradientComparison:
    """One number of a gradient check.

    Attributes
    ----------
    setting : str
        On what.
    parameter, name : str
        What it is of, and what it is.
    analytic : float, optional
        By the backward pass, where it is of one gradient and not a distance of two.
    one_sided, centred : float
        With either difference as the numerical gradient.
    published : float, optional
    passed : bool, optional
        Whether the centred one keeps to the published bound; None if that is not a bound.
    """

    setting: str
    parameter: str
    name: str
    analytic: float | None
    one_sided: float
    centred: float
    published: float | None
    passed: bool | None


@dataclass(frozen=True)
class Results:
    """Everything that came of an experiment.

    Attributes
    ----------
    experiment : Experiment
    data : str
        The name of the data.
    class_names : tuple of str
    trained : dict
        By the name of the run, one outcome for each seed.
    checked : list of Checked
        One for each of its gradient checks.
    small : bool
        Whether it was run small, on other data.
    """

    experiment: Experiment
    data: str
    class_names: tuple[str, ...]
    trained: dict[str, list[TrainingOutcome]]
    checked: list[CheckOutcome]
    small: bool

    @property
    def seconds(self) -> float:
        """Seconds of the processor for all of it."""
        return sum(t.cpu for runs in self.trained.values() for t in runs) + sum(c.cpu for c in self.checked)

    def rows(self) -> list[AccuracyComparison]:
        """Return the published accuracies beside ours."""
        return [self._row(number) for number in self.experiment.numbers]

    def _row(self, number: PublishedAccuracy) -> AccuracyComparison:
        runs = self.trained[number.run]
        ours = [run.accuracy(number.quantity) for run in runs]
        beside = None
        if number.beside:
            beside = statistics.fmean(run.accuracy(number.quantity) for run in self.trained[number.beside])
        return AccuracyComparison(
            number,
            ours,
            statistics.fmean(run.cpu for run in runs),
            self._late_accuracy_range(number),
            beside,
            not self.small,
        )

    def _late_accuracy_range(self, number: PublishedAccuracy) -> tuple[float, float] | None:
        """Return between what the runs still moved at their ends, if they were to have settled by then."""
        curves = [run.history.column("validation_accuracy") for run in self.trained[number.run]]
        if self.experiment.runs[number.run].schedule == "triangular" or len(curves[0]) < 2 * _LAST:
            return None
        last = np.concatenate([curve[-_LAST:] for curve in curves])
        return None if np.isnan(last).any() else (100 * float(last.min()), 100 * float(last.max()))

    def gradient_rows(self) -> list[GradientComparison]:
        """Return the numbers of the gradient checks beside the published ones."""
        rows = []
        for gradients, checked in zip(self.experiment.gradients, self.checked, strict=True):
            for figure in checked.figures:
                also = gradients.published.get((figure.parameter, figure.name))
                rows.append(
                    GradientComparison(
                        checked.setting,
                        figure.parameter,
                        figure.name,
                        figure.analytic,
                        figure.one_sided,
                        figure.centred,
                        None if self.small else also if figure.bound is None else figure.bound,
                        None if self.small or figure.bound is None else figure.passed,
                    )
                )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return it all as what JSON can hold, accuracies in percent."""
        experiment = self.experiment
        return {
            "name": experiment.name,
            "report": experiment.report,
            "source": experiment.source,
            "title": experiment.title,
            "about": experiment.about,
            "numbers": [_plain_row(row) for row in self.rows()],
            "gradients": [asdict(row) for row in self.gradient_rows()],
            "runs": {
                name: {
                    "settings": trained[0].scores["settings"],
                    "seeds": [
                        {key: value for key, value in one.scores.items() if key != "settings"}
                        | {"seed": one.scores["settings"]["seed"], "cpu_seconds": round(one.cpu, 2)}
                        for one in trained
                    ],
                }
                for name, trained in self.trained.items()
            },
            "cpu_seconds": round(self.seconds, 1),
        }


def load_results(
    experiment: Experiment, outcomes: OutcomeStore, *, data: str, class_names: tuple[str, ...], small: bool
) -> Results:
    """Read what the jobs of an experiment left.

    Raises
    ------
    OutcomeError
        If an outcome is not there.
    """
    return Results(
        experiment,
        data,
        class_names,
        {
            run: [outcomes.load_training(job) for job in experiment.trainings(run, small=small)]
            for run in experiment.runs
        },
        [outcomes.load_check(job) for job in experiment.checks(small=small)],
        small,
    )


def _plain_row(row: AccuracyComparison) -> dict[str, Any]:
    number = row.number
    return {
        "what": number.what,
        "quantity": number.quantity,
        "published": number.published,
        "ours": row.mean,
        "standard_deviation": None if math.isnan(row.spread) else row.spread,
        "seeds": row.ours,
        "difference": row.difference if row.compared else None,
        "within_two_points": row.near if row.compared else None,
        "minor": number.minor,
        "why": row.explain_difference() if row.compared and not row.near else None,
        "cpu_seconds_of_a_run": round(row.seconds, 2),
    }
