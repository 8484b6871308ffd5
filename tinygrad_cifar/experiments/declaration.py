"""What an experiment is: data, from which everything else (the runs, the tables, the figures, the page) follows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from tinygrad_cifar.course.settings import Settings, describe
from tinygrad_cifar.data.dataset import PIXELS

if TYPE_CHECKING:
    from tinygrad_cifar.experiments.figure_specs import Picture

NEAR = 2.0  # percentage points: as far as ours may be from a published accuracy without a reason given

_SMALL_FEATURES = 40  # of images in a small gradient check
_SMALL_EPOCHS = 10
_SMALL_BATCH = 2000  # images in one of the built-in batches
_SMALL_WHITENED = 300
_FULL_BATCH = 10_000

# Seconds per 1000 images on one core in float32, measured once: the order of the runs, and the time that --list tells.
_UPDATE = {"softmax": 0.0025, "svm": 0.003, "two-layer": 0.009}
_AUGMENTATION = 0.0035
_WHITENING = 0.005
_EVALUATION = 0.0015
_DIRECTIONS = 15.0  # seconds to find what whitening multiplies by


@dataclass(frozen=True)
class TrainingJob:
    """A training run, as a job for a worker.

    Attributes
    ----------
    settings : Settings
    test : bool
        Whether the test images are looked at when it is done.
    """

    settings: Settings
    test: bool = True

    @cached_property
    def key(self) -> str:
        """A name that two runs share if and only if they are the same."""
        return f"{self.settings.model}-{_digest(asdict(self.settings))}{'' if self.test else '-untested'}"

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return describe(self.settings)

    @property
    def cost(self) -> float:
        """About how many seconds it takes."""
        s = self.settings
        images = s.train_size or _FULL_BATCH * len(s.train_batches) - s.validation_size
        validated = s.validation_size or (_FULL_BATCH if s.validation_batch else 0)
        updates = s.epochs * images
        measured = updates / (s.measure_every * s.batch_size) if s.measure_every else s.epochs
        whitens, augments = s.preprocessing == "whiten", s.flip or s.shift > 0
        update = _UPDATE.get(s.model, 0.01) + augments * (_AUGMENTATION + whitens * _WHITENING)
        return (updates * update + (measured + 2) * (images + validated) * _EVALUATION) / 1000 + whitens * _DIRECTIONS

    def smoke_version(self) -> TrainingJob:
        """Return a run of the same kind that takes a moment: a tenth of the epochs, on batches of a fifth the size.

        What is counted in steps keeps its share of the run, so that a cycle stays a cycle. Whitening many images
        takes seconds, so there it is few.
        """
        s = self.settings
        epochs = max(1, s.epochs // _SMALL_EPOCHS)
        if s.train_size is None:
            batch = max(20, s.batch_size * _SMALL_BATCH // _FULL_BATCH)
            validation_size = s.validation_size * _SMALL_BATCH // _FULL_BATCH
        else:
            batch, validation_size = s.batch_size, s.validation_size
        share = epochs / s.epochs
        return replace(
            self,
            settings=replace(
                s,
                epochs=epochs,
                batch_size=batch,
                validation_size=validation_size,
                train_size=_SMALL_WHITENED if s.preprocessing == "whiten" else s.train_size,
                n_s=max(1, round(s.n_s * share)),
                measure_every=max(1, round(s.measure_every * share)) if s.measure_every else None,
            ),
        )


@dataclass(frozen=True)
class GradientCheckJob:
    """A report's gradient check on one kind of model, as a job for a worker.

    Attributes
    ----------
    kind : str
        One of :data:`tinygrad_cifar.experiments.report_checks.KINDS`.
    report : str
        Whose check.
    features : int
        Of each image.
    """

    kind: str
    report: str
    features: int = PIXELS

    @cached_property
    def key(self) -> str:
        """A name of its own."""
        return f"gradients-{_digest(asdict(self))}"

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return f"gradient check of report {self.report}, {self.kind}"

    @property
    def cost(self) -> float:
        """About how many seconds it takes."""
        seconds = {"002": 4.0, "003": 4.0}.get(self.report, 40.0 if self.kind == "two-layer" else 20.0)
        return seconds if self.report == "003" else seconds * self.features / PIXELS

    def smoke_version(self) -> GradientCheckJob:
        """Return the check on images of a few features."""
        return replace(self, features=_SMALL_FEATURES)


Job: TypeAlias = TrainingJob | GradientCheckJob


@dataclass(frozen=True)
class PublishedAccuracy:
    """A published accuracy, and which of our runs' is to stand beside it.

    Attributes
    ----------
    what : str
        What it is the accuracy of, as a reader of the report would find it.
    run : str
        The name of the run in the experiment.
    quantity : str
        ``train``, ``validation`` or ``test``, at the end of the run; or ``best validation``, of all measurements.
    published : float, optional
        In percent; None where there is no such figure in the report.
    reason : str
        Why ours is another, as far as it is known; shown where it is, together with what the runs themselves show.
    beside : str
        The name of another run of ours whose figure belongs to the reason.
    minor : bool
        One of many that the report lists for completeness; counted apart, too.
    """

    what: str
    run: str
    quantity: str
    published: float | None
    reason: str = ""
    beside: str = ""
    minor: bool = False


@dataclass(frozen=True)
class Gradients:
    """A gradient check with what the report published of it beyond the bounds that :mod:`tinygrad_cifar.experiments.report_checks` has.

    Attributes
    ----------
    check : GradientCheck
    published : mapping
        Numbers by the parameter's name and the figure's.
    """

    check: GradientCheckJob
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of a report.

    Attributes
    ----------
    name : str
        What the command line calls it.
    report : str
        The report's number.
    source : str
        Where in it.
    title : str
        What was tried.
    about : str
        The settings in words, and what the report leaves unsaid.
    runs : mapping
        The settings of each run, by a name that is unique in the experiment.
    seeds : int
        How often each is run, with the seeds 0, 1, ...
    more_seeds : mapping
        The same for runs whose outcome is more a matter of chance, by their names.
    untested : tuple of str
        Runs that were there to choose settings by, so that the test images are kept from them.
    on_request : bool
        Whether it is only run when it is named.
    gradients : tuple of Gradients
        The gradient checks that belong to it.
    numbers : tuple of Number
        What the report published.
    pictures : tuple of Picture
        What is drawn.
    remark : str
        What to make of it all, as text that does not depend on the results.
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
    numbers: tuple[PublishedAccuracy, ...] = ()
    pictures: tuple[Picture, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        named = {run for number in self.numbers for run in (number.run, number.beside) if run}
        unknown = sorted((named | set(self.more_seeds) | set(self.untested)) - set(self.runs))
        if unknown:
            raise ValueError(f"experiment {self.name} names runs that it does not have: {unknown}")

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"Report {self.report}, {self.source}" if self.report.isdecimal() else self.source

    def seeds_of(self, run: str) -> int:
        """Return how often a run is made."""
        return self.more_seeds.get(run, self.seeds)

    def trainings(self, run: str, *, small: bool = False) -> list[TrainingJob]:
        """Return the jobs of one of the runs, one for each seed."""
        test = run not in self.untested
        jobs = [TrainingJob(replace(self.runs[run], seed=seed), test) for seed in range(self.seeds_of(run))]
        return [job.smoke_version() for job in jobs] if small else jobs

    def checks(self, *, small: bool = False) -> list[GradientCheckJob]:
        """Return the jobs of the gradient checks."""
        jobs = [gradients.check for gradients in self.gradients]
        return [job.smoke_version() for job in jobs] if small else jobs

    def jobs(self, *, small: bool = False) -> list[Job]:
        """Return everything that there is to do."""
        trainings = [job for run in self.runs for job in self.trainings(run, small=small)]
        return [*trainings, *self.checks(small=small)]


def _digest(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
