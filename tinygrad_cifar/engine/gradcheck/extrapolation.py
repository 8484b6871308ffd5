"""Derivatives by differences of several steps, extrapolated to the step 0, with an estimate of their errors.

The error of a centred difference has two parts. That of the formula is a series in the square of the step, so
differences of several steps can be combined to cancel its first terms (Richardson's extrapolation). That of rounding is
about ``eps * |f| / step``. The step that balances them depends on the scale on which the function varies, which is
unknown: a first step suits most functions; where it does not, the table of extrapolations shows which steps do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cifar.engine.gradcheck.arguments import (
    as_given,
    as_points,
    as_weights,
    differentiable_input,
    evaluate_function,
    format_index,
)
from tinygrad_cifar.engine.gradcheck.differences import STEPS
from tinygrad_cifar.engine.graph import Array, unwrap_value

EPS = float(np.finfo(np.float64).eps)
RATIO = 8.0  # of a step to the next smaller one
LARGEST, _SMALLEST = 6, -30  # levels; the largest step is 1.6 * max(1, |x|)
_COLUMNS = 4  # of the table of extrapolations

MARGIN = 10.0  # times the rounding error of the values: the error that rounding inside f may cause
CONTRADICTION = 100.0  # times the rounding error: a disagreement that rounding does not explain
SHARP = 1e-4  # the relative error from which no other steps are tried: smaller than faults that matter


class Difference(NamedTuple):
    """A centred difference.

    Attributes
    ----------
    slope : float
        The difference, NaN or infinite if ``f`` is not finite within the step.
    rounding : float
        Error by rounding of those elements of the result that the step changes; of all if it changes none.
    hidden : float
        Error by rounding of all elements of the result, and of the numbers they are computed from: a smaller change is
        not always visible.
    is_zero : bool
        Whether the step changes no element of the result, to the last bit.
    """

    slope: float
    rounding: float = 0.0
    hidden: float = 0.0
    is_zero: bool = False

    @property
    def is_finite(self) -> bool:
        """Whether the function is finite within the step."""
        return math.isfinite(self.slope)


class Estimate(NamedTuple):
    """An extrapolated derivative.

    Attributes
    ----------
    value : float
        The derivative; NaN if the function is not finite within any step.
    error : float
        Estimate of its absolute error.
    rounding : float
        The error by rounding of the values, of which ``error`` is at least ``MARGIN`` times as large.
    level : int
        Level of the smallest step.
    """

    value: float
    error: float
    rounding: float = 0.0
    level: int = 0

    def limited_by(self, finer: Difference) -> Estimate:
        """Return the estimate with its error increased to the distance from a difference of a smaller step."""
        distance = abs(self.value - finer.slope) - CONTRADICTION * finer.hidden
        return self._replace(error=max(self.error, distance))


Index = tuple[int, ...]


@dataclass(frozen=True)
class Neighbourhood:
    """A function of one array near a point.

    Attributes
    ----------
    evaluate : callable
        Returns the result of the function at the point, with other numbers for the elements of a mapping.
    x : numpy.ndarray
        The point.
    here : numpy.ndarray
        The result at the point.
    weights : numpy.ndarray
        Weights of the elements of the result; the derivative is that of their weighted sum.
    magnitude : float
        Size of the numbers that the result is computed from, if it may be small by cancellation. Default: 0.
    """

    evaluate: Callable[[Mapping[Index, float]], Array]
    x: Array
    here: Array
    weights: Array
    magnitude: float = 0.0

    def ignores(self, places: Sequence[Index]) -> bool:
        """Whether the result is the same, to the last bit, after a large step of several elements at once."""
        try:
            with np.errstate(all="ignore"):
                moved = self.evaluate({at: float(self.x[at]) + _step(float(self.x[at]), LARGEST) for at in places})
        except (ValueError, ArithmeticError):  # outside its domain
            return False
        return np.array_equal(moved, self.here, equal_nan=True)


def _step(x: float, level: int) -> float:
    return float(STEPS["centred"] * max(1.0, abs(x)) * RATIO**level)


class Coordinate:
    """The differences with respect to one element, which are computed when they are first needed.

    The step of level 0 is that of :func:`numerical_gradient`; each level is 8 times the one below it.
    """

    __slots__ = ("_known", "_near", "at", "x")

    def __init__(self, near: Neighbourhood, at: Index) -> None:
        self.at = at
        self.x = float(near.x[at])
        self._near = near
        self._known: dict[int, Difference] = {}

    def difference(self, level: int) -> Difference:
        """Return the difference of one level."""
        if level not in self._known:
            self._known[level] = self._measure(_step(self.x, level))
        return self._known[level]

    def is_known(self, level: int) -> bool:
        """Whether the difference of a level was computed."""
        return level in self._known

    def _values(self, step: float) -> tuple[Array, Array, float, float]:
        """Return the results above and below the point, and the two steps that were taken."""
        above, below = self.x + step, self.x - step
        try:
            up, down = self._near.evaluate({self.at: above}), self._near.evaluate({self.at: below})
        except (ValueError, ArithmeticError):
            if step <= _step(self.x, 0):
                raise
            up = down = np.full(self._near.here.shape, math.nan)  # a larger step may leave the domain
        return up, down, above - self.x, self.x - below  # of rounded numbers, which differ slightly from the step

    def _measure(self, step: float) -> Difference:
        weights = self._near.weights
        with np.errstate(all="ignore"):
            up, down, above, below = self._values(step)
            width = above + below
            if not width:
                return Difference(math.nan)
            change = weights * (up - down)
            sizes = weights * np.maximum(np.abs(up), np.abs(down))
            slope = float(np.sum(change)) / width
            argument = abs(self.x * slope)  # f rounds what it computes from x as well
            hidden = norm(sizes) + argument
            moved = change != 0
            is_zero = not moved.any()
            rounding = hidden if is_zero or moved.all() else norm(sizes[moved]) + argument
        hidden = max(hidden, self._near.magnitude)
        return Difference(slope, EPS * rounding / width, EPS * hidden / width, is_zero)

    def bend(self, level: int) -> float:
        """Return the difference between the one-sided differences above and below the point."""
        with np.errstate(all="ignore"):
            up, down, above, below = self._values(_step(self.x, level))
            weights, here = self._near.weights, self._near.here
            return float(np.sum(weights * (up - here)) / above - np.sum(weights * (here - down)) / below)

    def is_at_kink(self) -> bool:
        """Whether the function has a kink at the point: without one, the bend is proportional to the step."""
        for level in sorted(level for level, known in self._known.items() if known.is_finite):
            half = 0.5 * abs(self.bend(level + 1))
            if 4 * MARGIN * self.difference(level).rounding < half:
                return abs(self.bend(level)) > half
        return False

    def scatter(self, level: int) -> float:
        """Return the standard deviation of differences of nearly equal steps.

        For a derivative it is small beside their mean; for the rounding errors of a function it is as large.
        """
        steps = [_step(self.x, level) * factor for factor in (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)]
        slopes = [self._measure(step).slope for step in steps]
        return float(np.std(slopes, ddof=1))

    def width(self, level: int) -> float:
        """Return the distance between the two points of a difference."""
        return 2 * _step(self.x, level)

    def size(self, level: int) -> float:
        """Return the size of the numbers that a step changes: of the result, and of those it is computed from."""
        return max(self.difference(level).rounding * self.width(level) / EPS, self._near.magnitude)

    def size_of_all(self, level: int) -> float:
        """Return the size of the result, including the elements that a step does not change."""
        return self.difference(level).hidden * self.width(level) / EPS

    def changed(self, level: int) -> Array:
        """Return which elements of the result a step changes."""
        with np.errstate(all="ignore"):
            up, down, _, _ = self._values(_step(self.x, level))
            changed: Array = up != down
        return changed

    def hidden_by_rounding(self) -> float:
        """Return the largest derivative that the rounding of the whole result may hide."""
        return MARGIN * min((d.hidden for d in self._known.values() if d.is_finite), default=0.0)

    def extrapolate(self, rtol: float, unseen: float, enough: float = SHARP) -> Estimate:
        """Estimate the derivative from the steps that suit the function.

        Parameters
        ----------
        rtol : float
            Relative error to reach.
        unseen : float
            Error by rounding at the first step. If it is large, larger steps are taken first.
        enough : float
            Relative error from which no other range of steps is tried.
        """
        first = self.difference(0)
        best = Estimate(math.nan, math.inf)
        for level in _first_levels(first, unseen):
            found = self._descend(level, rtol)
            best = found if found.error < best.error else best
            if best.error <= enough * abs(best.value):
                break
        return best

    def _descend(self, start: int, rtol: float) -> Estimate:
        """Extrapolate from ever smaller steps, until rounding prevents any improvement."""
        first = self.difference(0)
        best = Estimate(math.nan, math.inf)
        row: list[float] = []
        for level in range(start, _SMALLEST - 1, -1):
            difference = self.difference(level)
            if not difference.is_finite:
                row = []
                continue
            above, row = row, [difference.slope]
            best = best.limited_by(difference)
            rounding = MARGIN * difference.rounding
            for column, coarser in enumerate(above[:_COLUMNS]):
                value = row[-1] + (row[-1] - coarser) / (RATIO ** (2 * column + 2) - 1)
                error = 2 * max(abs(value - row[-1]), abs(value - coarser))
                row.append(value)
                found = Estimate(value, max(error, rounding), difference.rounding, level)
                if level > 0:
                    found = found.limited_by(first)
                best = found if found.error < best.error else best
            if best.error <= rtol * abs(best.value) or rounding >= best.error:
                break
        return best


def norm(array: Array) -> float:
    """Return the Euclidean norm, or more than it where its square is out of range."""
    flat = array.ravel()
    square = float(np.dot(flat, flat))
    if 0 < square < math.inf:
        return math.sqrt(square)
    return math.sqrt(flat.size) * float(np.max(np.abs(flat), initial=0.0))


def _first_levels(first: Difference, unseen: float) -> tuple[int, ...]:
    """Return the levels of the steps to begin with, of which the next is used if the one before does not suffice."""
    if not first.is_finite:
        return (-1,)
    if first.slope == 0:
        return (LARGEST,)
    excess = MARGIN * unseen / (SHARP * abs(first.slope))
    if excess <= 1:
        return (0, LARGEST)
    level = 1 + math.ceil(math.log(excess, RATIO)) if excess < RATIO**LARGEST else LARGEST
    return (level, LARGEST) if level < LARGEST else (LARGEST,)


class ExtrapolatedGradient(NamedTuple):
    """A gradient by extrapolated differences, and the estimated absolute error of each element."""

    gradient: Array
    error: Array


def extrapolated_gradient(
    f: Callable[..., Any], inputs: Any, index: int = 0, *, cotangent: Any = None
) -> ExtrapolatedGradient:
    """Estimate the gradient of ``f`` with respect to one input, and the error of the estimate.

    Centred differences of several steps are extrapolated to the step 0. The steps are chosen for each element, by the
    scale on which the function varies; each element takes twenty to forty evaluations.

    Parameters
    ----------
    f, inputs, index, cotangent
        As in :func:`numerical_gradient`.

    Returns
    -------
    gradient : numpy.ndarray
        The estimate, float64, of the input's shape.
    error : numpy.ndarray
        The estimated absolute errors: of the extrapolation, and ten times the rounding error of the values, divided by
        the step.

    Raises
    ------
    TypeError
        If the input is not float64, or ``f`` does not return one real tensor or array in float64.
    ValueError
        If shapes do not match, or ``f`` is not finite on both sides of the point.

    Notes
    -----
    C. J. F. Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4 (1982).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.engine.gradcheck import extrapolated_gradient, numerical_gradient
    >>> estimate = extrapolated_gradient(np.sin, 1e6)
    >>> bool(abs(estimate.gradient - np.cos(1e6)) < estimate.error < 1e-5)
    True

    One step, which is 6 at this point, does not suit the sine:

    >>> print(f"{numerical_gradient(np.sin, 1e6):.2f}, {np.cos(1e6):.2f}")
    -0.03, 0.94
    """
    name = "extrapolated_gradient"
    points = as_points(name, f, inputs)
    x = differentiable_input(name, points, index)
    here = evaluate_function(f, points, "f")
    near = neighbourhood_of(f, points, index, here, as_weights(name, here, cotangent))
    gradient, error = np.empty(x.shape), np.empty(x.shape)
    for at in np.ndindex(x.shape):
        coordinate = Coordinate(near, at)
        estimate = coordinate.extrapolate(0.0, coordinate.difference(0).rounding, enough=0.0)
        if not math.isfinite(estimate.error):
            raise ValueError(
                f"{name}: f is not finite on both sides of input {index} at {format_index(at)}, for any step; choose "
                "a point inside its domain"
            )
        gradient[at], error[at] = estimate[:2]
    return ExtrapolatedGradient(gradient, error)


def neighbourhood_of(
    f: Callable[..., Any], points: Sequence[Any], index: int, here: Array, weights: Array, magnitude: float = 0.0
) -> Neighbourhood:
    """Return a function of several inputs as a function of one of them."""
    x = np.asarray(unwrap_value(points[index]))

    def evaluate(numbers: Mapping[Index, float]) -> Array:
        moved = x.copy()
        for at, number in numbers.items():
            moved[at] = number
        return evaluate_function(f, [*points[:index], as_given(points[index], moved), *points[index:][1:]], "f")

    return Neighbourhood(evaluate, x, here, weights, magnitude)
