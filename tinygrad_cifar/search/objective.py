"""The objective of a search: the validation accuracy of a training run, without use of the test images."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

from tinygrad_cifar.course.preparation import Prepared, check_sizes, data_settings, prepare
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.data import load_dataset
from tinygrad_cifar.search.space import Value
from tinygrad_cifar.system.arguments import suggest

_DATA_LOCK = threading.Lock()  # the threads of a worker share one copy of the data


@dataclass(frozen=True)
class ObjectiveResult:
    """A value of an objective with details.

    Attributes
    ----------
    value : float
        The value to maximise.
    details : mapping
        Further values by name.
    """

    value: float
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ValidationAccuracy:
    """Objective that trains with given settings, updated by those of the point, without use of the test images.

    It can be sent to any worker, which reads the data at its first call and caches it.

    Parameters
    ----------
    base : Settings
        The settings that all runs share; they must include validation images.
    data : str
        ``builtin``, or the folder of CIFAR-10 on the worker.

    Returns
    -------
    ObjectiveResult
        The validation accuracy, from 0 to 1, with the details ``train_accuracy``, ``train_cost``, ``validation_cost``
        and ``seed``.

    Raises
    ------
    SettingsError
        If a setting is unknown, or settings are contradictory.
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
            raise SettingsError("a search compares validation accuracies; give <validation_size> or <validation_batch>")

    def settings(self, point: Mapping[str, Value]) -> Settings:
        """Return the settings of the run of a point."""
        unknown = sorted(set(point) - {f.name for f in fields(Settings)})
        if unknown:
            raise SettingsError(f"unknown settings: {', '.join(unknown)}{suggest(unknown[0], vars(self.base))}")
        changes: dict[str, object] = dict(point)
        return replace(self.base, **changes)  # type: ignore[arg-type]

    def __call__(self, point: Mapping[str, Value]) -> ObjectiveResult:
        settings = self.settings(point)
        result = run(settings, _prepared(self.data, settings), test=False)
        if result.validation is None:
            raise SettingsError(f"with {dict(point)} there are no validation images")
        details = {
            "train_accuracy": result.train.accuracy,
            "train_cost": result.train.cost,
            "validation_cost": result.validation.cost,
            "seed": settings.seed,
        }
        return ObjectiveResult(result.validation.accuracy, details)


def _prepared(source: str, settings: Settings) -> Prepared:
    """Return the preprocessed data, cached for all settings that share it."""
    with _DATA_LOCK:
        prepared = _prepare_without_test(source, data_settings(settings))
    check_sizes(prepared.dataset, settings)
    return prepared


@lru_cache(maxsize=1)
def _prepare_without_test(source: str, settings: Settings) -> Prepared:
    return prepare(_dataset(source), settings, test=False)


_dataset = lru_cache(maxsize=1)(load_dataset)
