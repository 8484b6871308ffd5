"""What could be tried: a range or a choice for each setting, and the points of a grid or of chance in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from typing import Any, TypeAlias

import numpy as np

Value: TypeAlias = bool | int | float | str | tuple[int, ...] | None
Point: TypeAlias = dict[str, Value]


class SearchError(ValueError):
    """A search that cannot be made: one sentence that says what is wrong, and what to do."""


class OtherSearchError(SearchError):
    """A storage that holds another search of the same name.

    Attributes
    ----------
    where : str
        The storage, and the name of the search.
    what, kept, own : str
        In what they differ, and what it is in the storage and in the search that was refused.
    """

    def __init__(self, where: str, what: str, kept: str, own: str) -> None:
        super().__init__(
            f"{where} with another {what}: it is {kept}, not {own}; give this one another name or another storage"
        )
        self.where, self.what, self.kept, self.own = where, what, kept, own


def import_optional(module: str) -> Any:
    """Import a library that only a search needs, or say how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SearchError(f"this needs {module}, which is not installed: pip install {module}") from error


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Parameters
    ----------
    values : iterable
        Different numbers, texts, truth values, tuples of numbers, or None; at least one.

    Examples
    --------
    >>> from tinygrad_cifar.search import Choice
    >>> Choice([64, 100, 128])
    Choice(values=(64, 100, 128))
    """

    values: tuple[Value, ...]

    def __init__(self, values: Iterable[Value]) -> None:
        object.__setattr__(self, "values", tuple(values))
        labels = [self.label(value) for value in self.values]
        if not labels or len(set(labels)) < len(labels):
            raise SearchError(f"a choice needs different values, at least one; got {self.values}")

    def grid(self) -> list[Value]:
        """Return all values."""
        return list(self.values)

    def label(self, value: Value) -> bool | int | float | str | None:
        """Return what stands for a value in a storage, which knows no tuples."""
        return str(value) if isinstance(value, tuple) else value

    def value(self, label: Any) -> Value:
        """Return the value that a label stands for."""
        return next(value for value in self.values if self.label(value) == label)

    def suggest(self, trial: Any, name: str) -> Any:
        """Let one of Optuna's trials choose a label."""
        return trial.suggest_categorical(name, [self.label(value) for value in self.values])


@dataclass(frozen=True)
class Uniform:
    """Any number of a range, each part of it as likely as another of its length.

    Parameters
    ----------
    low, high : float
        The ends, which belong to it; ``low < high``.
    points : int, optional
        How many numbers of it a grid has, at equal distances from end to end: at least 2.

    Examples
    --------
    >>> from tinygrad_cifar.search import Uniform
    >>> Uniform(0.25, 0.35, points=3).grid()
    [0.25, 0.3, 0.35]
    """

    low: float
    high: float
    points: int | None = None

    _logarithmic = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SearchError(f"a range goes from a lower to a higher number; got {self.low} to {self.high}")
        if self._logarithmic and self.low <= 0:
            raise SearchError(f"a logarithmic range lies above 0; got {self.low} to {self.high}")
        if self.points is not None and self.points < 2:  # noqa: PLR2004 (the two ends)
            raise SearchError(f"a grid has at least 2 points in a range; got {self.points}")

    def grid(self) -> list[Value]:
        """Return the points of a grid."""
        if self.points is None:
            raise SearchError(f"a grid needs to know how many points {self} has: give points=")
        spaced = np.geomspace if self._logarithmic else np.linspace
        numbers: list[Value] = spaced(self.low, self.high, self.points).tolist()
        return numbers

    def around(self, centre: Value, share: float, *, within: Uniform) -> Uniform:
        """Return a range with a share of this one's width and a new centre, as far as it lies within another.

        Examples
        --------
        >>> from tinygrad_cifar.search import Uniform
        >>> whole = Uniform(0, 8)
        >>> whole.around(1, 0.5, within=whole)
        Uniform(low=0.0, high=3.0, points=None)
        """
        if not isinstance(centre, (int, float)):
            raise TypeError(f"a range has a number in its middle, not {centre!r}")
        scale, back = (math.log, math.exp) if self._logarithmic else (float, float)
        half = share * (scale(self.high) - scale(self.low)) / 2
        low = max(within.low, back(scale(centre) - half))
        high = min(within.high, back(scale(centre) + half))
        return replace(self, low=float(low), high=float(high))

    def label(self, value: Value) -> Value:
        """Return what stands for a number in a storage: itself."""
        return value

    def value(self, label: Any) -> Value:
        """Return the number that stands for itself."""
        return float(label)

    def suggest(self, trial: Any, name: str) -> Any:
        """Let one of Optuna's trials choose a number."""
        return trial.suggest_float(name, self.low, self.high, log=self._logarithmic)


class LogUniform(Uniform):
    """Any positive number of a range, on a logarithmic scale: each factor is as likely as another of its size.

    Parameters
    ----------
    low, high : float
        The ends, which belong to it; ``0 < low < high``.
    points : int, optional
        How many numbers of it a grid has, at equal ratios from end to end: at least 2.

    Examples
    --------
    >>> from tinygrad_cifar.search import LogUniform
    >>> LogUniform(1e-3, 1e-1, points=3).grid()
    [0.001, 0.01, 0.1]
    """

    _logarithmic = True


Dimension: TypeAlias = Choice | Uniform
Space: TypeAlias = Mapping[str, Dimension]


def grid_points(space: Space) -> list[Point]:
    """Return every combination, the last setting changing fastest.

    Raises
    ------
    SearchError
        If a range does not say how many points it has.

    Examples
    --------
    >>> from tinygrad_cifar.search import Choice, LogUniform, grid_points
    >>> grid_points({"lam": LogUniform(0.01, 0.1, points=2), "eta": Choice([0.5, 0.3])})[1]
    {'lam': 0.01, 'eta': 0.3}
    """
    return [dict(zip(space, values, strict=True)) for values in product(*(d.grid() for d in space.values()))]


def random_points(space: Space, count: int, seed: int = 0) -> list[Point]:
    """Draw points with Optuna's random sampler, each from a generator of its own.

    Point ``k`` depends on the seed and ``k`` alone: not on how many there are, nor on what becomes of the others.

    Examples
    --------
    >>> from tinygrad_cifar.search import LogUniform, random_points
    >>> space = {"lam": LogUniform(1e-5, 1e-1)}
    >>> random_points(space, 20, seed=1)[:3] == random_points(space, 3, seed=1)
    True
    """
    optuna = import_optional("optuna")
    with silence_optuna():
        study = optuna.create_study()
        points = []
        for k in range(count):
            study.sampler = optuna.samplers.RandomSampler(derive_seed(seed, k))
            points.append(from_labels(space, suggest_point(space, study.ask())))
    return points


def suggest_point(space: Space, trial: Any) -> dict[str, Any]:
    """Return what one of Optuna's trials suggests for each setting, as labels."""
    return {name: dimension.suggest(trial, name) for name, dimension in space.items()}


def listed_space(points: Iterable[Mapping[str, Value]]) -> Space:
    """Return the smallest space that a list of points lies in."""
    listed = list(points)
    if not listed or any(set(point) != set(listed[0]) for point in listed):
        raise SearchError("a list of points needs at least one, and the same settings in each")
    return {name: Choice(dict.fromkeys(point[name] for point in listed)) for name in listed[0]}


def to_labels(space: Space, point: Mapping[str, Value]) -> Point:
    """Return a point as a storage keeps it."""
    return {name: space[name].label(value) for name, value in point.items()}


def from_labels(space: Space, labels: Mapping[str, Any]) -> Point:
    """Return the point that a storage has kept, in the order of the space."""
    return {name: dimension.value(labels[name]) for name, dimension in space.items() if name in labels}


def derive_seed(seed: int, number: int) -> int:
    """Return a seed of 32 bits for one of many generators."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class silence_optuna:  # noqa: N801 (used as contextlib's functions are)
    """Keep Optuna from telling the terminal about every trial; errors still come through."""

    def __enter__(self) -> None:
        self._logging = import_optional("optuna").logging
        self._before = self._logging.get_verbosity()
        self._logging.set_verbosity(self._logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._before)
