"""Declarations of experiments: the data from which the runs, tables, figures and pages follow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from tinygrad_cifar.course.settings import SETTINGS, Settings, describe
from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.experiments.durations import patchify_seconds, training_seconds
from tinygrad_cifar.experiments.small_versions import small_version

NEAR = 2.0  # percentage points: differences from reported accuracies above this are explained

_SMALL_FEATURES = 40  # features in a small gradient check


@dataclass(frozen=True)
class TrainingJob:
    """A training run, as a job for a worker.

    Attributes
    ----------
    settings : Settings
        Settings of the run.
    test : bool
        If True, the model is evaluated on the test images at the end.
    """

    settings: Settings
    test: bool = True

    @cached_property
    def key(self) -> str:
        """Name that two runs share if and only if they are the same."""
        # Renamed settings are digested under their old names, so that stored outcomes are found.
        settings = {SETTINGS[name].old_name or name: value for name, value in self.settings.identity().items()}
        return f"{self.settings.model}-{_digest(settings)}{'' if self.test else '-untested'}"

    @property
    def name(self) -> str:
        """Description for messages."""
        return describe(self.settings)

    @property
    def cost(self) -> float:
        """Approximate duration in seconds."""
        return training_seconds(self.settings)

    def smoke_version(self) -> TrainingJob:
        """Return a short run of the same kind; see :mod:`~tinygrad_cifar.experiments.small_versions`."""
        return replace(self, settings=small_version(self.settings))


@dataclass(frozen=True)
class GradientCheckJob:
    """A report's gradient check on one kind of model, as a job for a worker.

    Attributes
    ----------
    kind : str
        One of :data:`tinygrad_cifar.experiments.report_checks.KINDS`.
    report : str
        Number of the report.
    features : int
        Number of features of each image.
    """

    kind: str
    report: str
    features: int = PIXELS

    @cached_property
    def key(self) -> str:
        """Name that two checks share if and only if they are the same."""
        return f"gradients-{_digest(asdict(self))}"

    @property
    def name(self) -> str:
        """Description for messages."""
        return f"gradient check of report {self.report}, {self.kind}"

    @property
    def cost(self) -> float:
        """Approximate duration in seconds."""
        seconds = {"002": 4.0, "003": 4.0}.get(self.report, 40.0 if self.kind == "two-layer" else 20.0)
        return seconds if self.report == "003" else seconds * self.features / PIXELS

    def smoke_version(self) -> GradientCheckJob:
        """Return the check on images with few features."""
        return replace(self, features=_SMALL_FEATURES)


@dataclass(frozen=True)
class TimingJob:
    """Measurement of the time of a training step of the patchify network, beside PyTorch's, as a job for a worker.

    Attributes
    ----------
    filter_size : int
        Width of the filters.
    filters : int
        Number of filters.
    hidden : int
        Number of hidden units.
    batch_size : int
        Images per step.
    steps : int
        Steps of each library in a round.
    rounds : int
        Number of rounds, of which the median is taken.
    """

    filter_size: int
    filters: int
    hidden: int
    batch_size: int = 100
    steps: int = 200
    rounds: int = 9

    @cached_property
    def key(self) -> str:
        """Name that two measurements share if and only if they are the same."""
        return f"timing-{_digest(asdict(self))}"

    @property
    def name(self) -> str:
        """Description for messages."""
        return f"time of a step, {self.sizes}"

    @property
    def sizes(self) -> str:
        """The sizes of the network, as in the text of the course."""
        return f"f {self.filter_size}, nf {self.filters}, nh {self.hidden}"

    @property
    def cost(self) -> float:
        """Approximate duration in seconds."""
        images = 2 * self.batch_size * self.steps * (self.rounds + 1)
        return patchify_seconds(images, self.filter_size, self.filters, self.hidden)

    def smoke_version(self) -> TimingJob:
        """Return a measurement of few steps."""
        return replace(self, steps=2, rounds=1)


Job: TypeAlias = TrainingJob | GradientCheckJob | TimingJob


@dataclass(frozen=True)
class PublishedAccuracy:
    """A reported accuracy, and the run that reproduces it.

    Attributes
    ----------
    what : str
        Description for the tables.
    run : str
        Name of the run in the experiment.
    quantity : str
        ``train``, ``validation`` or ``test``, at the end of the run; or ``best validation``, of all measurements.
    reported : float, optional
        The reported value in percent; None if the report has none.
    reason : str
        Explanation of a difference, as far as it is known; shown if the difference is large.
    reference : str
        Name of another run whose accuracy is part of the explanation.
    minor : bool
        If True, one of many values that the report lists; also counted separately.
    """

    what: str
    run: str
    quantity: str
    reported: float | None
    reason: str = ""
    reference: str = ""
    minor: bool = False


@dataclass(frozen=True)
class Gradients:
    """A gradient check, with reported values that are not bounds.

    Attributes
    ----------
    check : GradientCheckJob
        The check; :mod:`tinygrad_cifar.experiments.report_checks` has the bounds.
    reported : mapping
        Reported values by the names of the parameter and the metric.
    """

    check: GradientCheckJob
    reported: Mapping[tuple[str, str], float] = field(default_factory=dict)


class FigureSpec(Protocol):
    """A figure to draw from results; :mod:`~tinygrad_cifar.experiments.figure_specs` has the kinds."""

    @property
    def title(self) -> str:
        """Title of the figure."""

    @property
    def slug(self) -> str:
        """Part of the name of the file, unique in an experiment."""

    @property
    def reflows(self) -> bool:
        """Whether it can be drawn for a phone; a matrix cannot."""

    def draw(self, results: Any, width: float = ...) -> Any:
        """Return the figure, drawn from the :class:`~tinygrad_cifar.experiments.results.Results`."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of a report.

    Attributes
    ----------
    name : str
        Name on the command line.
    report : str
        Number of the report.
    source : str
        Section, table or figures of the report.
    title : str
        Title on the pages.
    about : str
        The settings in words, and those that the report does not state.
    runs : mapping
        Settings of each run, by a name that is unique in the experiment.
    seeds : int
        Number of seeds, 0, 1, ..., with which each run is made.
    more_seeds : mapping
        Number of seeds of runs with larger seed noise, by their names.
    untested : tuple of str
        Runs that select settings, and are therefore not evaluated on the test images.
    on_request : bool
        If True, the experiment is run only if it is named.
    gradients : tuple of Gradients
        Its gradient checks.
    timings : tuple of TimingJob
        Its measurements of time.
    numbers : tuple of PublishedAccuracy
        The reported accuracies.
    figures : tuple of FigureSpec
        The figures to draw.
    remark : str
        Conclusion that does not depend on the results.
    states_resources : bool
        Whether the page states the duration and the memory of the runs.
    """

    name: str
    report: str
    source: str
    title: str
    about: str
    runs: Mapping[str, Settings] = field(default_factory=dict)
    seeds: int = 3
    more_seeds: Mapping[str, int] = field(default_factory=dict)
    untested: tuple[str, ...] = ()
    on_request: bool = False
    gradients: tuple[Gradients, ...] = ()
    timings: tuple[TimingJob, ...] = ()
    numbers: tuple[PublishedAccuracy, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    remark: str = ""
    states_resources: bool = False

    def __post_init__(self) -> None:
        named = {run for number in self.numbers for run in (number.run, number.reference) if run}
        unknown = sorted((named | set(self.more_seeds) | set(self.untested)) - set(self.runs))
        if unknown:
            raise ValueError(f"experiment {self.name}: every named run must be in runs; got {unknown}")

    @property
    def origin(self) -> str:
        """The report and its section."""
        return f"Report {self.report}, {self.source}" if self.report.isdecimal() else self.source

    def seeds_of(self, run: str) -> int:
        """Return the number of seeds of a run."""
        return self.more_seeds.get(run, self.seeds)

    def trainings(self, run: str, *, small: bool = False) -> list[TrainingJob]:
        """Return the jobs of a run, one for each seed."""
        test = run not in self.untested
        jobs = [TrainingJob(replace(self.runs[run], seed=seed), test) for seed in range(self.seeds_of(run))]
        return [job.smoke_version() for job in jobs] if small else jobs

    def checks(self, *, small: bool = False) -> list[GradientCheckJob]:
        """Return the jobs of the gradient checks."""
        jobs = [gradients.check for gradients in self.gradients]
        return [job.smoke_version() for job in jobs] if small else jobs

    def time_jobs(self, *, small: bool = False) -> list[TimingJob]:
        """Return the jobs of the measurements of time."""
        return [job.smoke_version() for job in self.timings] if small else list(self.timings)

    def jobs(self, *, small: bool = False) -> list[Job]:
        """Return all jobs."""
        trainings = [job for run in self.runs for job in self.trainings(run, small=small)]
        return [*trainings, *self.checks(small=small), *self.time_jobs(small=small)]


def _digest(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
