"""The objective of ``tinygrad-cifar search``: the runs that ``train`` makes, and the check of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, product

from tinygrad_cifar.cli.settings import complete_settings, find_unused, format_options
from tinygrad_cifar.cli.vary import format_point
from tinygrad_cifar.course.preparation import check_sizes
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.data import Dataset
from tinygrad_cifar.search import Choice, ObjectiveResult, Space, ValidationAccuracy, Value

_MAX_CHECKED = 10_000  # points whose settings are checked before the first trial


@dataclass(frozen=True, repr=False)
class TrainObjective:
    """Objective of the command: the validation accuracy of a run that ``train`` makes.

    Attributes
    ----------
    model : str
        Name of the classifier.
    given : tuple of (str, value)
        The settings that the user gave and that are not varied.
    sizes : tuple of int
        Number of images in each training batch.
    data : str
        ``builtin``, or the folder of CIFAR-10.
    digest : str
        Beginning of the SHA-256 digest of the data, which a folder may replace by others.
    """

    model: str
    given: tuple[tuple[str, Value], ...]
    sizes: tuple[int, ...]
    data: str
    digest: str

    def __repr__(self) -> str:
        """Return the command of a run and the digest of the data, which identify the objective in a storage."""
        command = " ".join(["train", self.model, "--data", self.data, *format_options(dict(self.given))])
        return f"{command} (data {self.digest})"

    def effective_settings(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """Return the settings to give for the run of a point, without those that have no effect."""
        given = dict(self.given) | dict(point)
        unused = find_unused(self.model, given)
        return {name: value for name, value in given.items() if name not in unused}

    def settings(self, point: Mapping[str, Value]) -> Settings:
        """Return all settings of the run of a point."""
        return complete_settings(self.model, self.effective_settings(point), self.sizes)

    def __call__(self, point: Mapping[str, Value]) -> ObjectiveResult:
        return ValidationAccuracy(self.settings(point), self.data)({})


def check_points(objective: TrainObjective, space: Space, sampler: str, dataset: Dataset) -> None:
    """Raise an error for settings that would fail in every trial or have no effect.

    Checks the points of a grid, or the corners of the space.

    Raises
    ------
    SettingsError
        If settings contradict each other, do not fit the data, or have no effect in any trial.
    """
    values = [
        d.grid() if isinstance(d, Choice) or sampler == "grid" else [float(d.low), float(d.high)]
        for d in space.values()
    ]
    unused: dict[str, str] = {}
    for k, combination in enumerate(islice(product(*values), _MAX_CHECKED)):
        point = dict(zip(space, combination, strict=True))
        try:
            check_sizes(dataset, ValidationAccuracy(objective.settings(point), objective.data).base)
        except SettingsError as error:
            raise SettingsError(f"with {format_point(point)}: {error.marked}") from error
        unused_here = find_unused(objective.model, {**dict(objective.given), **point})
        unused = {name: message for name, message in unused_here.items() if k == 0 or name in unused}
    for message in unused.values():
        raise SettingsError(message)
