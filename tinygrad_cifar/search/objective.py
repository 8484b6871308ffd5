"""How good a point is: the validation accuracy of a training run, found without a look at the test set."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

from tinygrad_cifar.course.preparation import Prepared, data_settings, preprocess_split, split_dataset
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.data import Dataset, builtin_dataset, read_cifar10
from tinygrad_cifar.data.preprocess import Preprocessing
from tinygrad_cifar.search.space import Value

_ONE_AT_A_TIME = threading.Lock()  # threads of one worker read the data once, not once each


@dataclass(frozen=True)
class ObjectiveResult:
    """What an objective may return if it has more to tell than a number.

    Attributes
    ----------
    value : float
        What is to be as large as possible.
    details : mapping
        Other numbers, by name.
    """

    value: float
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ValidationAccuracy:
    """Train as some settings say, with those of the point in place of theirs; the test set is not used for anything.

    An objective is any picklable function of a point that returns what is to be as large as possible: a number,
    or :class:`ObjectiveResult`. This one can be sent to any worker, which reads the data when first asked and keeps it.

    Parameters
    ----------
    base : Settings
        What all runs share; they must validate on something.
    data : str
        ``builtin``, or the folder with CIFAR-10, as a worker sees it.

    Returns
    -------
    Measured
        The validation accuracy, a share from 0 to 1, with the details ``train_accuracy``, ``train_cost``,
        ``validation_cost`` and ``seed``.

    Raises
    ------
    SettingsError
        If a setting is unknown, or settings contradict each other.
    TrainingDiverged
        If the loss becomes NaN or infinite.

    Examples
    --------
    >>> from tinygrad_cifar.course.settings import Settings
    >>> from tinygrad_cifar.search import ValidationAccuracy
    >>> objective = ValidationAccuracy(Settings(epochs=1, train_size=200))
    >>> objective.settings({"lam": 0.1, "seed": 7}).lam
    0.1
    >>> 0 < objective({"lam": 0.1}).value < 1
    True
    """

    base: Settings
    data: str = "builtin"

    def __post_init__(self) -> None:
        if not self.base.validation_size and self.base.validation_batch is None:
            raise SettingsError("a search compares validation accuracies; give validation_size or validation_batch")

    def settings(self, point: Mapping[str, Value]) -> Settings:
        """Return the settings of the run that a point stands for."""
        unknown = sorted(set(point) - {f.name for f in fields(Settings)})
        if unknown:
            raise SettingsError(f"unknown settings: {', '.join(unknown)}")
        changes: dict[str, object] = dict(point)
        return replace(self.base, **changes)  # type: ignore[arg-type]

    def __call__(self, point: Mapping[str, Value]) -> ObjectiveResult:
        settings = self.settings(point)
        result = run(settings, _prepared(self.data, settings), test=False)
        if result.validation is None:
            raise SettingsError(f"with {dict(point)} there is nothing to validate on")
        details = {
            "train_accuracy": result.train.accuracy,
            "train_cost": result.train.cost,
            "validation_cost": result.validation.cost,
            "seed": settings.seed,
        }
        return ObjectiveResult(result.validation.accuracy, details)


def _prepared(place: str, settings: Settings) -> Prepared:
    """Return the data as the settings ask for it, made once for all settings that ask for the same."""
    with _ONE_AT_A_TIME:
        prepared = _cut_and_treated(place, data_settings(settings))
    if settings.batch_size > len(prepared.images):
        split_dataset(prepared.dataset, settings)  # says what is wrong
    return prepared


@lru_cache(maxsize=1)
def _cut_and_treated(place: str, settings: Settings) -> Prepared:
    """Do as :func:`tinygrad_cifar.course.preparation.prepare`, but leave the test images alone: none are there to look at."""
    dataset = _dataset(place)
    train, validation = split_dataset(dataset, settings)
    preprocessing = Preprocessing.fit(settings.preprocessing, train.images, settings.components)
    treated = preprocess_split(train, preprocessing, settings)
    return Prepared(
        dataset,
        treated,
        None if validation is None else preprocess_split(validation, preprocessing, settings),
        (treated[0][:0], treated[1][:0]),
        train,
        preprocessing,
    )


@lru_cache(maxsize=1)
def _dataset(place: str) -> Dataset:
    return builtin_dataset() if place == "builtin" else read_cifar10(place)
