"""Search spaces: a range or a choice for each parameter, the points of a grid, and random points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.course.setting_fields import format_value

Value: TypeAlias = bool | int | float | str | tuple[int, ...] | None
Point: TypeAlias = dict[str, Value]


class SearchError(ValueError):
    """A search that cannot be made or continued."""


class OtherSearchError(SearchError):
    """A storage that holds another search of the same name.

    Attributes
    ----------
    reason : str
        The storage, the name of the search, and the differences.
    """

    def __init__(self, where: str, differences: str) -> None:
        self.reason = f"{where}: {differences}"
        super().__init__(f"{self.reason}; give this one another name or another storage")


def import_optional(module: str) -> Any:
    """Import a library that only some searches need.

    Raises
    ------
    SearchError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise SearchError(f"this search needs {module}; install it with pip install {module}") from error


@dataclass(frozen=True)
class Choice:
    """A parameter that takes one of several values.

    Parameters
    ----------
    values : iterable
        Numbers, strings, booleans, tuples of integers, or None: at least one, all different.

    Raises
    ------
    SearchError
        If there are no values, or two are equal.

    Examples
    --------
    >>> from tinygrad_cifar.search import Choice
    >>> Choice([64, 100, 128])
    Choice(values=(64, 100, 128))
    >>> print(Choice([64, 100, 128]))
    grid:64,100,128
    """

    values: tuple[Value, ...]

    def __init__(self, values: Iterable[Value]) -> None:
        object.__setattr__(self, "values", tuple(values))
        labels = [self.label(value) for value in self.values]
        if not labels or len(set(labels)) < len(labels):
            raise SearchError(f"values: a choice must have different values, at least one; got {self.values}")

    def __str__(self) -> str:
        return f"grid:{','.join(map(_format_value, self.values))}"

    def grid(self) -> list[Value]:
        """Return all values."""
        return list(self.values)

    def label(self, value: Value) -> bool | int | float | str | None:
        """Return the value as Optuna stores it: a tuple as text."""
        return str(value) if isinstance(value, tuple) else value

    def value(self, label: Any) -> Value:
        """Return the value of a label."""
        return next(value for value in self.values if self.label(value) == label)

    def suggest(self, trial: Any, name: str) -> Any:
        """Return the label that an Optuna trial suggests."""
        return trial.suggest_categorical(name, [self.label(value) for value in self.values])

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON."""
        return {"choice": [value.item() if isinstance(value, np.generic) else value for value in self.values]}


@dataclass(frozen=True)
class Uniform:
    """A real parameter in a range, on a linear scale.

    Parameters
    ----------
    low, high : float
        The ends of the range, which belong to it; ``low < high``.
    points : int, optional
        Number of equally spaced points of a grid, including both ends; at least 2.

    Raises
    ------
    SearchError
        If the ends are not finite and increasing, or ``points`` is less than 2.

    Examples
    --------
    >>> from tinygrad_cifar.search import Uniform
    >>> Uniform(0.25, 0.35, points=3).grid()
    [0.25, 0.3, 0.35]
    >>> print(Uniform(0.25, 0.35, points=3))
    lin:0.25:0.35:3
    """

    low: float
    high: float
    points: int | None = None

    _logarithmic = False
    _form = "lin"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SearchError(f"a range must go from a lower to a higher number; got {self.low} to {self.high}")
        if self._logarithmic and self.low <= 0:
            raise SearchError(f"a logarithmic range must be above 0; got {self.low} to {self.high}")
        if self.points is not None and self.points < 2:  # noqa: PLR2004 (the two ends)
            raise SearchError(f"points: a range must have at least 2 points of a grid; got {self.points}")

    def __str__(self) -> str:
        ends = [self.low, self.high] if self.points is None else [self.low, self.high, self.points]
        return ":".join([self._form, *map(_format_value, ends)])

    def grid(self) -> list[Value]:
        """Return the points of a grid.

        Raises
        ------
        SearchError
            If the range has no number of points.
        """
        if self.points is None:
            raise SearchError(f"a grid needs the number of points of the range {self}; give points=")
        spaced = np.geomspace if self._logarithmic else np.linspace
        values: list[Value] = spaced(self.low, self.high, self.points).tolist()
        return values

    def around(self, centre: Value, share: float, *, within: Uniform) -> Uniform:
        """Return a range around ``centre`` with ``share`` of this one's width, clipped to the range ``within``.

        Examples
        --------
        >>> from tinygrad_cifar.search import Uniform
        >>> whole = Uniform(0, 8)
        >>> whole.around(1, 0.5, within=whole)
        Uniform(low=0.0, high=3.0, points=None)
        """
        if not isinstance(centre, (int, float)):
            raise TypeError(f"centre: the centre of a range must be a number; got {centre!r}")
        scale, back = (math.log, math.exp) if self._logarithmic else (float, float)
        half = share * (scale(self.high) - scale(self.low)) / 2
        low = max(within.low, back(scale(centre) - half))
        high = min(within.high, back(scale(centre) + half))
        return replace(self, low=float(low), high=float(high))

    def label(self, value: Value) -> Value:
        """Return the value as Optuna stores it: unchanged."""
        return value

    def value(self, label: Any) -> Value:
        """Return the value of a label."""
        return float(label)

    def suggest(self, trial: Any, name: str) -> Any:
        """Return the value that an Optuna trial suggests."""
        return trial.suggest_float(name, self.low, self.high, log=self._logarithmic)

    def to_json(self) -> dict[str, Any]:
        """Return the range as JSON."""
        return {self._form: [float(self.low), float(self.high), self.points]}


class LogUniform(Uniform):
    """A positive real parameter in a range, on a logarithmic scale.

    Parameters
    ----------
    low, high : float
        The ends of the range, which belong to it; ``0 < low < high``.
    points : int, optional
        Number of points of a grid at equal ratios, including both ends; at least 2.

    Raises
    ------
    SearchError
        As :class:`Uniform`, and if ``low`` is not positive.

    Examples
    --------
    >>> from tinygrad_cifar.search import LogUniform
    >>> LogUniform(1e-3, 1e-1, points=3).grid()
    [0.001, 0.01, 0.1]
    """

    _logarithmic = True
    _form = "log"


Dimension: TypeAlias = Choice | Uniform
Space: TypeAlias = Mapping[str, Dimension]


def dimension_from_json(stored: Mapping[str, Any]) -> Dimension:
    """Return the dimension that ``to_json`` stored.

    Examples
    --------
    >>> from tinygrad_cifar.search.space import Choice, dimension_from_json
    >>> dimension_from_json(Choice([(50,), (200, 100)]).to_json())
    Choice(values=((50,), (200, 100)))
    """
    ((form, values),) = stored.items()
    if form == "choice":
        return Choice(tuple(value) if isinstance(value, list) else value for value in values)
    return (LogUniform if form == "log" else Uniform)(*values)


def space_to_json(space: Space | Sequence[Mapping[str, Value]]) -> Any:
    """Return a space, or a list of points, as JSON."""
    if isinstance(space, Mapping):
        return {name: dimension.to_json() for name, dimension in space.items()}
    return [{name: Choice([value]).to_json() for name, value in point.items()} for point in space]


def format_space_json(stored: Any) -> str:
    """Return a space that :func:`space_to_json` stored as text.

    Examples
    --------
    >>> from tinygrad_cifar.search.space import Choice, LogUniform, format_space_json, space_to_json
    >>> format_space_json(space_to_json({"eta": LogUniform(0.001, 0.1, 5), "flip": Choice([True, False])}))
    'eta=log:0.001:0.1:5 flip=grid:yes,no'
    """
    spaces = stored if isinstance(stored, list) else [stored]
    return "; ".join(
        " ".join(f"{name}={dimension_from_json(dimension)}" for name, dimension in space.items()) for space in spaces
    )


def _format_value(value: Value) -> str:
    return format_value(value, digits=15, separator="+")


def grid_points(space: Space) -> list[Point]:
    """Return every combination; the last parameter varies fastest.

    Raises
    ------
    SearchError
        If a range has no number of points.

    Examples
    --------
    >>> from tinygrad_cifar.search import Choice, LogUniform, grid_points
    >>> grid_points({"lam": LogUniform(0.01, 0.1, points=2), "eta": Choice([0.5, 0.3])})[1]
    {'lam': 0.01, 'eta': 0.3}
    """
    return [dict(zip(space, values, strict=True)) for values in product(*(d.grid() for d in space.values()))]


def random_points(space: Space, count: int, seed: int = 0) -> list[Point]:
    """Draw points with Optuna's random sampler.

    Point ``k`` depends only on the seed and ``k``, not on ``count``.

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
    """Return the labels that an Optuna trial suggests for each parameter."""
    return {name: dimension.suggest(trial, name) for name, dimension in space.items()}


def listed_space(points: Iterable[Mapping[str, Value]]) -> Space:
    """Return the smallest space that contains a list of points.

    Raises
    ------
    SearchError
        If there are no points, or they do not all have the same parameters.
    """
    listed = list(points)
    if not listed or any(set(point) != set(listed[0]) for point in listed):
        raise SearchError("a list of points must have at least one, and the same settings in each")
    return {name: Choice(dict.fromkeys(point[name] for point in listed)) for name in listed[0]}


def to_labels(space: Space, point: Mapping[str, Value]) -> Point:
    """Return a point as Optuna stores it."""
    return {name: space[name].label(value) for name, value in point.items()}


def from_labels(space: Space, labels: Mapping[str, Any]) -> Point:
    """Return the point of labels, with its parameters in the order of the space."""
    return {name: dimension.value(labels[name]) for name, dimension in space.items() if name in labels}


def derive_seed(seed: int, number: int) -> int:
    """Return the 32-bit seed of one of many generators."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class silence_optuna:  # noqa: N801 (used as contextlib's functions are)
    """Context in which Optuna logs only errors, not every trial."""

    def __enter__(self) -> None:
        self._logging = import_optional("optuna").logging
        self._before = self._logging.get_verbosity()
        self._logging.set_verbosity(self._logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._before)
