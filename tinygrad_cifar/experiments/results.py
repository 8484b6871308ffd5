"""Results of experiments: the outcomes of the jobs, compared with the reported values."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tinygrad_cifar.experiments.declaration import NEAR, Experiment, PublishedAccuracy
from tinygrad_cifar.experiments.outcomes import CheckOutcome, OutcomeStore, TimingOutcome, TrainingOutcome

_LAST = 10  # measurements of a run that show whether it has converged


@dataclass(frozen=True)
class AccuracyComparison:
    """A reported accuracy and its reproduction, in percent.

    Attributes
    ----------
    number : PublishedAccuracy
        The reported accuracy.
    reproduced : list of float
        The accuracy of each seed.
    seconds : float
        Mean processor time of a run.
    late_range : tuple of float, optional
        Smallest and largest validation accuracy of the last measurements of the runs.
    reference : float, optional
        Accuracy of the run that is part of the explanation.
    comparable : bool
        Whether the data and the settings are those of the report.
    elapsed : float
        Mean duration of the training in seconds.
    peak : int, optional
        Largest memory of a process in bytes, if it was measured.
    """

    number: PublishedAccuracy
    reproduced: list[float]
    seconds: float
    late_range: tuple[float, float] | None = None
    reference: float | None = None
    comparable: bool = True
    elapsed: float = math.nan
    peak: int | None = None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.reproduced)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; NaN for a single seed."""
        return statistics.stdev(self.reproduced) if len(self.reproduced) > 1 else math.nan

    @property
    def difference(self) -> float:
        """Reproduced minus reported, in percentage points; NaN if there is no reported value."""
        return math.nan if self.number.reported is None else self.mean - self.number.reported

    @property
    def compared(self) -> bool:
        """Whether there is a reported value to compare with."""
        return self.comparable and self.number.reported is not None

    @property
    def near(self) -> bool:
        """Whether the difference is at most :data:`~tinygrad_cifar.experiments.declaration.NEAR`."""
        return abs(self.difference) <= NEAR

    def explain_difference(self) -> str:
        """Return an explanation of the difference: the known reason, and the ranges of the runs."""
        shown = [self.number.reason] if self.number.reason else []
        if self.reference is not None:
            shown.append(f"The reproduction with {self.number.reference} has {self.reference:.2f} %.")
        if len(self.reproduced) > 1:
            lowest, highest = min(self.reproduced), max(self.reproduced)
            shown.append(f"The {len(self.reproduced)} seeds are between {lowest:.2f} and {highest:.2f} %.")
        if self.late_range and self.late_range[1] - self.late_range[0] > NEAR:
            lowest, highest = self.late_range
            shown.append(
                f"Over the last {_LAST} measurements of these runs, the validation accuracy ranges from "
                f"{lowest:.1f} to {highest:.1f} %."
            )
        return " ".join(shown)


@dataclass(frozen=True)
class GradientComparison:
    """One metric of a gradient check.

    Attributes
    ----------
    setting : str
        Description of the inputs.
    parameter : str
        Name of the parameter.
    name : str
        Name of the metric.
    analytic : float, optional
        Value for the backward pass, if the metric is of one gradient and not of a difference of two.
    one_sided : float
        Value with the one-sided difference as the numerical gradient.
    centred : float
        Value with the centred difference as the numerical gradient.
    reported : float, optional
        The reported value.
    passed : bool, optional
        Whether the centred value is within the reported bound; None if the reported value is not a bound.
    """

    setting: str
    parameter: str
    name: str
    analytic: float | None
    one_sided: float
    centred: float
    reported: float | None
    passed: bool | None


@dataclass(frozen=True)
class Results:
    """All results of an experiment.

    Attributes
    ----------
    experiment : Experiment
        The declaration.
    data : str
        Name of the data set.
    class_names : tuple of str
        Names of the classes.
    trained : dict
        The outcomes of each run by its name, one for each seed.
    checked : list of CheckOutcome
        The outcomes of the gradient checks.
    small : bool
        Whether the jobs were the small versions for the built-in data.
    timed : list of TimingOutcome
        The outcomes of the measurements of time.
    """

    experiment: Experiment
    data: str
    class_names: tuple[str, ...]
    trained: dict[str, list[TrainingOutcome]]
    checked: list[CheckOutcome]
    small: bool
    timed: list[TimingOutcome] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Processor time of all jobs in seconds."""
        trained = sum(outcome.cpu for runs in self.trained.values() for outcome in runs)
        return trained + sum(outcome.cpu for outcome in self.checked) + sum(outcome.cpu for outcome in self.timed)

    def comparisons(self) -> list[AccuracyComparison]:
        """Return the reported accuracies with their reproductions."""
        return [self._compare(number) for number in self.experiment.numbers]

    def _compare(self, number: PublishedAccuracy) -> AccuracyComparison:
        runs = self.trained[number.run]
        reproduced = [run.accuracy(number.quantity) for run in runs]
        reference = None
        if number.reference:
            reference = statistics.fmean(run.accuracy(number.quantity) for run in self.trained[number.reference])
        return AccuracyComparison(
            number,
            reproduced,
            statistics.fmean(run.cpu for run in runs),
            self._late_accuracy_range(number),
            reference,
            not self.small,
            statistics.fmean(run.elapsed for run in runs),
            max([run.peak for run in runs if run.peak is not None], default=None),
        )

    def _late_accuracy_range(self, number: PublishedAccuracy) -> tuple[float, float] | None:
        """Return the range of the last validation accuracies, for runs that should have converged."""
        curves = [run.history.column("validation_accuracy") for run in self.trained[number.run]]
        if self.experiment.runs[number.run].schedule == "triangular" or len(curves[0]) < 2 * _LAST:
            return None
        last = np.concatenate([curve[-_LAST:] for curve in curves])
        return None if np.isnan(last).any() else (100 * float(last.min()), 100 * float(last.max()))

    def gradient_comparisons(self) -> list[GradientComparison]:
        """Return the metrics of the gradient checks with the reported values."""
        rows = []
        for gradients, checked in zip(self.experiment.gradients, self.checked, strict=True):
            for metric in checked.metrics:
                value = gradients.reported.get((metric.parameter, metric.name))
                rows.append(
                    GradientComparison(
                        checked.setting,
                        metric.parameter,
                        metric.name,
                        metric.analytic,
                        metric.one_sided,
                        metric.centred,
                        None if self.small else value if metric.bound is None else metric.bound,
                        None if self.small or metric.bound is None else metric.passed,
                    )
                )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the results as JSON, accuracies in percent."""
        experiment = self.experiment
        return {
            "name": experiment.name,
            "report": experiment.report,
            "source": experiment.source,
            "title": experiment.title,
            "about": experiment.about,
            "numbers": [_comparison_to_json(row) for row in self.comparisons()],
            "gradients": [asdict(row) for row in self.gradient_comparisons()],
            "milliseconds_of_a_step": {
                job.sizes: {"ours": outcome.ours, "torch": outcome.torch}
                for job, outcome in zip(experiment.timings, self.timed, strict=True)
            },
            "runs": {
                name: {
                    "settings": trained[0].result["settings"],
                    "seeds": [
                        {key: value for key, value in one.result.items() if key != "settings"}
                        | {"seed": one.result["settings"]["seed"], "cpu_seconds": round(one.cpu, 2)}
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
    """Read the outcomes of the jobs of an experiment.

    Raises
    ------
    OutcomeError
        If an outcome is missing.
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
        [outcomes.load_timing(job) for job in experiment.time_jobs(small=small)],
    )


def _comparison_to_json(row: AccuracyComparison) -> dict[str, Any]:
    number = row.number
    return {
        "what": number.what,
        "quantity": number.quantity,
        "reported": number.reported,
        "reproduced": row.mean,
        "standard_deviation": None if math.isnan(row.spread) else row.spread,
        "seeds": row.reproduced,
        "difference": row.difference if row.compared else None,
        "within_two_points": row.near if row.compared else None,
        "minor": number.minor,
        "explanation": row.explain_difference() if row.compared and not row.near else None,
        "cpu_seconds_of_a_run": round(row.seconds, 2),
        "seconds_of_a_training": round(row.elapsed, 2),
        "peak_bytes": row.peak,
    }
