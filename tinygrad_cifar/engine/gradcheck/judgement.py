"""The comparison of a gradient with differences, element by element, and what it decides.

The tolerance of an element is the estimated error of its own numerical derivative. So that a poor estimate does not
accept any gradient, an element of which too little is known is not judged, which is an error as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from tinygrad_cifar.engine.gradcheck.arguments import format_index
from tinygrad_cifar.engine.gradcheck.extrapolation import (
    CONTRADICTION,
    EPS,
    LARGEST,
    MARGIN,
    RATIO,
    SHARP,
    Coordinate,
    Estimate,
    Index,
    Neighbourhood,
)
from tinygrad_cifar.engine.graph import Array

_POOR = 5e-4  # relative to the gradient: the error from which an estimate says too little
_ROUNDED = 1e-9  # relative to f: the largest change that may consist of rounding errors
_NOTHING = 1e-11  # relative to f: a change in the largest step that may be one of rounding in the backward pass
_SCATTER = 5.0  # times the standard deviation of rounding errors: their largest size
_BACKWARD_ROUNDING = 1e-13  # relative to the largest derivative of all inputs

Verdict = Literal["right", "wrong", "kink", "not finite", "unsettled", "rounded away"]
DOUBTS = ("not finite", "unsettled", "rounded away")


class Judgement(NamedTuple):
    """The verdict on one element of a gradient.

    Attributes
    ----------
    verdict : str
        "right" or "wrong"; "kink" (of models only); or the reason why the numerical derivative says too little: the
        function is "not finite" on both sides of the point; the differences are "unsettled", that is, do not converge;
        or the effect of the element is "rounded away".
    numerical : float
        The numerical derivative.
    error : float
        Its estimated error.
    allowed : float
        The largest accepted deviation.
    coordinate : Coordinate
        The differences.
    """

    verdict: Verdict
    numerical: float
    error: float
    allowed: float
    coordinate: Coordinate

    @property
    def at(self) -> Index:
        """Index of the element."""
        return self.coordinate.at

    def crossed_kink(self) -> bool:
        """Whether the function has a kink within the first step, but not within the steps of the result.

        For a smooth function, the error of a difference is proportional to the square of the step. For a difference
        across a kink, it vanishes once the step is smaller than the distance to the kink.
        """
        level = 0
        while self.coordinate.is_known(level) and self.coordinate.is_known(level - 1):
            wide, narrow = self.coordinate.difference(level), self.coordinate.difference(level - 1)
            expected = abs(wide.slope - self.numerical) / RATIO**2
            if expected > MARGIN * narrow.rounding and abs(narrow.slope - self.numerical) < 0.1 * expected:
                return True
            level -= 1
        return False


class Part(NamedTuple):
    """The gradient with respect to one array: the function, the gradient, and the elements to compare.

    If the result has several elements, ``gradient_of(chosen)`` returns the gradient of some of them only.
    """

    near: Neighbourhood
    analytic: Array
    places: Sequence[Index]
    gradient_of: Callable[[Array], Array] | None = None


def judge_gradient(parts: Sequence[Part], rtol: float, atol: float | None) -> list[list[Judgement]]:
    """Compare the elements of gradients with differences; return the judgements of each part.

    Most elements agree with the difference of the first step, which takes two evaluations. Differences of other steps
    are computed for the rest.
    """
    coordinates = [[Coordinate(part.near, at) for at in part.places] for part in parts]
    scales = [max(map(_finite_slope, column), default=0.0) for column in coordinates]
    largest = max(scales, default=0.0)
    judgements = []
    for part, column, scale in zip(parts, coordinates, scales, strict=True):
        constant = _without_effect(part, column, scale)
        judgements.append(
            [
                Judgement("right", 0.0, 0.0, atol or 0.0, coordinate)
                if coordinate.at in constant
                else _judge(part, coordinate, largest, rtol, atol)
                for coordinate in column
            ]
        )
    return judgements


def _finite_slope(coordinate: Coordinate) -> float:
    first = coordinate.difference(0)
    return abs(first.slope) if first.is_finite else 0.0


def _without_effect(part: Part, column: Sequence[Coordinate], scale: float) -> set[Index]:
    """Return the elements of derivative zero with which the function does not change at all."""
    unmoved = [c for c in column if part.analytic[c.at] == 0 and c.difference(0).is_zero]
    places = {c.at for c in unmoved}
    if all(MARGIN * c.difference(0).hidden <= SHARP * scale for c in unmoved) or part.near.ignores(list(places)):
        return places
    return set()


def _judge(part: Part, coordinate: Coordinate, scale: float, rtol: float, atol: float | None) -> Judgement:
    analytic = float(part.analytic[coordinate.at])
    first = coordinate.difference(0)
    estimate = Estimate(first.slope, MARGIN * first.rounding, first.rounding)

    def allow(estimate: Estimate) -> float:
        return rtol * abs(estimate.value) + (estimate.error if atol is None else atol)

    agrees = first.is_finite and abs(analytic - first.slope) <= allow(estimate)
    if agrees and (atol is not None or estimate.error <= SHARP * abs(first.slope)):
        return Judgement("right", first.slope, estimate.error, allow(estimate), coordinate)
    for accuracy in (rtol, 0.0):  # before an element is called wrong, all steps are tried
        estimate = coordinate.extrapolate(accuracy, first.rounding if agrees else first.hidden)
        if abs(analytic - estimate.value) <= allow(estimate):
            break
    if atol is None and abs(analytic - estimate.value) > allow(estimate):
        estimate = _with_measured_error(coordinate, estimate)
    if math.isnan(estimate.value):
        verdict: Verdict = "not finite"
    elif not math.isfinite(analytic):
        verdict = "wrong"
    elif abs(analytic - estimate.value) <= allow(estimate):
        verdict = "right" if atol is not None else _reliability(analytic, estimate, scale)
    else:
        verdict = "wrong" if atol is not None else _compare_visible(part, coordinate, estimate, allow(estimate), scale)
    if verdict in ("wrong", "unsettled", "rounded away") and atol is None:
        verdict = "right" if _is_noise(coordinate, analytic, estimate, scale) else verdict
    return Judgement(verdict, estimate.value, estimate.error, allow(estimate), coordinate)


def _with_measured_error(coordinate: Coordinate, estimate: Estimate) -> Estimate:
    """Return the estimate with the error that differences of nearly equal steps show, unless it is a poor one then."""
    measured = _SCATTER * coordinate.scatter(estimate.level)
    return estimate._replace(error=measured) if estimate.error < measured <= _POOR * abs(estimate.value) else estimate


def _reliability(analytic: float, estimate: Estimate, scale: float) -> Verdict:
    """Return whether the estimate, which agrees with the gradient, is accurate enough to confirm it."""
    size = max(abs(analytic), abs(estimate.value))
    if estimate.error <= _POOR * size:
        return "right"
    if estimate.error > CONTRADICTION * estimate.rounding:
        return "unsettled"
    return "right" if estimate.error <= _POOR * scale else "rounded away"  # no step shows more


def _compare_visible(part: Part, coordinate: Coordinate, estimate: Estimate, allowed: float, scale: float) -> Verdict:
    """Return the verdict on an element that disagrees: only those elements of the result may that no step changes."""
    analytic, level = float(part.analytic[coordinate.at]), estimate.level
    hidden = MARGIN * coordinate.difference(level).hidden
    if part.gradient_of is None or abs(analytic - estimate.value) > hidden:
        return "wrong"
    visible = float(part.gradient_of(coordinate.changed(level))[coordinate.at])
    if not abs(visible - estimate.value) <= allowed:
        return "wrong"
    nothing = _NOTHING * coordinate.size_of_all(level) / coordinate.width(LARGEST)
    return "right" if hidden <= _POOR * scale or abs(analytic) <= nothing else "rounded away"


def _is_noise(coordinate: Coordinate, analytic: float, estimate: Estimate, scale: float) -> bool:
    """Return whether both derivatives consist of rounding errors, as that of a bias before a batch normalisation."""
    size = coordinate.size(estimate.level)
    change = abs(estimate.value) * coordinate.width(estimate.level)
    if change > max(_ROUNDED * size, CONTRADICTION * EPS * abs(coordinate.x)):
        return False
    least = _SCATTER * coordinate.scatter(estimate.level)
    if estimate.error <= CONTRADICTION * coordinate.difference(estimate.level).hidden:
        least = max(least, estimate.error)
    # The backward pass subtracts other numbers than f, which may be larger.
    nothing = max(_SCATTER * least, _BACKWARD_ROUNDING * scale, _NOTHING * size / coordinate.width(LARGEST))
    return abs(estimate.value) <= least and abs(analytic) <= nothing


def describe_doubt(what: str, input: int, judgement: Judgement) -> str:
    """Return the message for an element that is not judged: the reason, and what to do."""
    at = format_index(judgement.at)
    if judgement.verdict == "not finite":
        return f"{what} cannot be judged: f is not finite near input {input} at {at}; choose a point inside its domain"
    differences = f"differences for input {input} at {at} give {judgement.numerical:.3g} +- {judgement.error:.1g}"
    if judgement.verdict == "unsettled":
        return (
            f"{what} cannot be judged: the {differences}, since they do not converge; choose a point farther from "
            "kinks, jumps and the edge of the domain, and compute in float64 inside f"
        )
    return (
        f"{what} cannot be judged: the {differences}, since f rounds off most of the change; subtract constants "
        "from f, or give atol"
    )
