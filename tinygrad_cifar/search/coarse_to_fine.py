"""Coarse-to-fine search: search a range, shrink it around the best point, and stop when seed noise dominates.

A single run depends on its seed. Each round therefore *screens* its points with one seed, runs the best of them again
with other seeds (the *finalists*), and compares means. The spread over a finalist's seeds estimates the noise of a
single run; a gain within the noise of a mean does not justify another round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from tinygrad_cifar.search.execution import Objective, SearchProgress, open_search, sorted_trials
from tinygrad_cifar.search.space import Choice, Dimension, Point, SearchError, Space, Uniform, grid_points
from tinygrad_cifar.search.trial_store import Trial

_MIN_REPEATS = 3
_ROUNDING = 1e-9  # relative difference up to which two values of grids are the same


@dataclass(frozen=True)
class Finalist:
    """A point that was run with several seeds.

    Attributes
    ----------
    params : dict
        The point, without its seed.
    values : tuple of float
        Values of the objective, in the order of the seeds.
    """

    params: Point
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """The sample standard deviation over the seeds."""
        return float(np.std(self.values, ddof=1))


@dataclass(frozen=True)
class Round:
    """The search of one range.

    Attributes
    ----------
    space : Space
        The space that was searched.
    trials : list of Trial
        Its points with the first seed, the best first, including the points of a grid that an earlier round ran.
    finalists : list of Finalist
        The best of them with the other seeds, the highest mean first, including those that an earlier round ran.
    noise : float
        Standard deviation of one run, pooled over the finalists of all rounds so far.
    """

    space: Space
    trials: list[Trial]
    finalists: list[Finalist]
    noise: float


@dataclass(frozen=True)
class CoarseToFineResult:
    """The result of a coarse-to-fine search.

    Attributes
    ----------
    rounds : list of Round
        The rounds in order.
    best : Finalist
        The finalist with the highest mean of all rounds. As the maximum of noisy means, it is slightly biased upwards.
    standard_error : float
        Standard error of the best mean: the noise divided by the root of the number of seeds.
    reason : str
        The reason why there was no further round.
    """

    rounds: list[Round]
    best: Finalist
    standard_error: float
    reason: str

    @property
    def finalists(self) -> list[Finalist]:
        """The finalists of all rounds, each once."""
        return _all_finalists(self.rounds)


def coarse_to_fine(  # noqa: PLR0913 (keyword-only)
    objective: Objective,
    space: Space,
    *,
    sampler: Literal["grid", "random", "tpe"] = "grid",
    trials: int | None = None,
    seed: int = 0,
    seeds: Sequence[int] = (0, 1, 2, 3),
    finalists: int = 3,
    shrink: float = 1 / 3,
    max_rounds: int = 6,
    storage: str | Path | None = None,
    name: str = "search",
    executor: Executor | None = None,
    workers: int | None = None,
    retries: int = 2,
    callback: Callable[[SearchProgress], None] | None = None,
    on_round: Callable[[int, Space], None] | None = None,
    value_format: str = ".2g",
) -> CoarseToFineResult:
    """Search a space repeatedly, in smaller and smaller ranges around the best point, until seed noise dominates.

    After each round every range shrinks to ``shrink`` of its width (of its ratio, on a logarithmic scale) around the
    best point so far, clipped to the first range; if the best point is at an end, the range moves there. A choice
    keeps the values of the round's finalists. The search stops when

    - the best mean of the new points of the round does not exceed the best mean before by more than the standard
      error of a difference of two means, ``noise * sqrt(2 / n)`` for n seeds; or
    - the variance of the values of the screened points is at most ``2 * noise**2``: the parameters then explain no
      more of it than the seeds; or
    - there is no range left to shrink, or ``max_rounds`` have been made.

    The seeds of the finalists do not include the one that selected them, whose values are biased upwards. Points of
    an earlier round are not run again: the grid of a round often shares points with the last, up to rounding.

    Parameters
    ----------
    objective : callable
        As for :func:`~tinygrad_cifar.search.search`; the points have a ``seed`` in addition to the parameters of the
        space.
    space : Space
        The space, without ``seed``. For a grid, ranges need a number of points; every round has as many.
    sampler, trials, seed
        Sampler of the points of each round, as for :func:`~tinygrad_cifar.search.search`.
    seeds : sequence of int
        The first seed screens, the others, at least 3, repeat.
    finalists : int
        Number of points that are repeated in each round.
    shrink : float
        Factor of the ranges, between 0 and 1. With 7 points, a third spans the two neighbours of the best point.
    max_rounds : int
        Largest number of rounds, for objectives without noise.
    storage, name, executor, workers, retries, callback
        As for :func:`~tinygrad_cifar.search.search`. Each round is two searches in the storage, ``NAME, round 1`` and
        ``NAME, round 1, finalists``; with a storage, a search that was killed can be resumed.
    on_round : callable, optional
        Called before each round with its number, from 1, and its space.
    value_format : str
        Format of values in the reason, for example ``.2%``.

    Returns
    -------
    CoarseToFineResult

    Raises
    ------
    SearchError
        As :func:`~tinygrad_cifar.search.search`, and if no run of a round, or of its finalists, is complete.

    Examples
    --------
    >>> import math, random
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from tinygrad_cifar.search import LogUniform
    >>> from tinygrad_cifar.search.coarse_to_fine import coarse_to_fine
    >>> def objective(point):  # the best is 0.01
    ...     noise = random.Random(str(point)).gauss(0, 0.01)
    ...     return noise - math.log10(point["lam"] / 0.01) ** 2
    >>> with ThreadPoolExecutor(1) as thread:
    ...     found = coarse_to_fine(objective, {"lam": LogUniform(1e-5, 1e-1, points=7)}, executor=thread)
    >>> 0.005 < found.best.params["lam"] < 0.02
    True
    """
    _check(space, seeds, finalists, shrink, max_rounds)
    rounds: list[Round] = []
    with open_search(objective, storage, executor, workers, retries=retries, callback=callback) as run:
        while True:
            label = f"{name}, round {len(rounds) + 1}"
            current = _next_space(space, rounds, shrink)
            if on_round is not None:
                on_round(len(rounds) + 1, current)
            if rounds and sampler == "grid":
                screened = _screen_grid(current, seeds[0], rounds, partial(run, name=label))
            else:
                screening = {**current, "seed": Choice(seeds[:1])}
                screened = run(screening, sampler=sampler, trials=trials, seed=seed, name=label)
            chosen = [_without_seed(trial.params) for trial in screened[:finalists] if trial.state == "complete"]
            if not chosen:
                raise SearchError(f"no trial of {label} is complete; the first failed with: {screened[0].reason}")
            before = _all_finalists(rounds)
            known = [f for f in before if f.params in chosen]
            new = [point for point in chosen if all(point != f.params for f in known)]
            repeats = [{**point, "seed": s} for point in new for s in seeds[1:]]
            repeated = run(repeats, name=f"{label}, finalists") if repeats else []
            found = _make_finalists(new, repeated, seeds[1:])
            final = sorted([*known, *found], key=lambda f: -f.mean)
            if not final:
                raise SearchError(f"no finalist of {label} is complete with all of the seeds {list(seeds[1:])}")
            noise = _pooled([f.spread for f in (*before, *found)])
            rounds.append(Round(current, screened, final, noise))
            reason = _reason_to_stop(rounds, max_rounds, value_format)
            if reason:
                best = _best(rounds)
                return CoarseToFineResult(rounds, best, noise / math.sqrt(len(best.values)), reason)


def _check(space: Space, seeds: Sequence[int], finalists: int, shrink: float, max_rounds: int) -> None:
    if "seed" in space:
        raise SearchError("space: the space of a coarse-to-fine search must not contain seed; use the argument seeds")
    if len(seeds) <= _MIN_REPEATS or len(set(seeds)) < len(seeds):
        raise SearchError(f"seeds: there must be at least {_MIN_REPEATS + 1} different seeds; got {list(seeds)}")
    if finalists < 1 or max_rounds < 1 or not 0 < shrink < 1:
        raise SearchError(
            "finalists and max_rounds must be at least 1, and shrink between 0 and 1; "
            f"got {finalists}, {max_rounds} and {shrink}"
        )


def _without_seed(point: Point) -> Point:
    return {name: value for name, value in point.items() if name != "seed"}


def _screen_grid(
    space: Space, seed: int, rounds: Sequence[Round], run: Callable[[Sequence[Point]], list[Trial]]
) -> list[Trial]:
    """Screen the points of a grid, reusing the trials of earlier rounds."""
    tried = list(chain.from_iterable(r.trials for r in rounds))
    known, new = [], []
    for point in grid_points(space):
        trial = next((t for t in tried if _is_same(_without_seed(t.params), point)), None)
        if trial is None:
            new.append({**point, "seed": seed})
        else:
            known.append(trial)
    return sorted_trials([*known, *(run(new) if new else [])])


def _is_same(one: Point, other: Point) -> bool:
    """Return whether two points are equal up to rounding."""
    return all(
        math.isclose(a, b, rel_tol=_ROUNDING) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in ((value, other[name]) for name, value in one.items())
    )


def _all_finalists(rounds: Sequence[Round]) -> list[Finalist]:
    """Return the finalists of rounds, each once."""
    gathered: list[Finalist] = []
    for finalist in chain.from_iterable(r.finalists for r in rounds):
        if finalist not in gathered:
            gathered.append(finalist)
    return gathered


def _make_finalists(chosen: Sequence[Point], trials: Sequence[Trial], seeds: Sequence[int]) -> list[Finalist]:
    """Return the points for which the runs with all seeds are complete."""
    gathered = []
    for point in chosen:
        complete = [t for t in trials if t.state == "complete" and _without_seed(t.params) == point]
        values = {t.params["seed"]: t.value for t in complete}
        if values.keys() == set(seeds):
            gathered.append(Finalist(point, tuple(values[seed] for seed in seeds)))
    return gathered


def _pooled(spreads: Sequence[float]) -> float:
    return math.sqrt(sum(s * s for s in spreads) / len(spreads))


def _best(rounds: Sequence[Round]) -> Finalist:
    """Return the finalist with the highest mean, the earliest of equals."""
    return max(chain.from_iterable(r.finalists for r in rounds), key=lambda f: f.mean)


def _reason_to_stop(rounds: Sequence[Round], max_rounds: int, value_format: str) -> str:
    """Return the reason not to make a further round; empty if there is none."""
    last = rounds[-1]
    if len(rounds) > 1:
        before = _all_finalists(rounds[:-1])
        gain = max((f.mean for f in last.finalists if f not in before), default=-math.inf) - _best(rounds[:-1]).mean
        error = last.noise * math.sqrt(2 / len(last.finalists[0].values))
        if gain <= 0:
            return "the last round gained nothing: no new point has a higher mean over the seeds than the best before"
        if gain <= error:
            text = f"the last round gained {gain:{value_format}}, within the standard error of such a gain"
            return f"{text}, {error:{value_format}}"
    values = [trial.value for trial in last.trials if trial.state == "complete"]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    if spread <= math.sqrt(2) * last.noise:
        comparison = "not more" if spread <= last.noise else "hardly more"
        text = f"the points of the last round, each with one seed, have a standard deviation of {spread:{value_format}}"
        return f"{text}, {comparison} than the {last.noise:{value_format}} of one point over its seeds"
    if not any(isinstance(dimension, Uniform) for dimension in last.space.values()):
        return "there is no range to shrink"
    return f"round {max_rounds} is the last that is allowed" if len(rounds) == max_rounds else ""


def _next_space(first: Space, rounds: Sequence[Round], shrink: float) -> Space:
    """Return the space of the next round."""
    if not rounds:
        return first
    best, last = _best(rounds), rounds[-1]
    space: dict[str, Dimension] = {}
    for name, dimension in last.space.items():
        whole = first[name]
        if isinstance(dimension, Uniform) and isinstance(whole, Uniform):
            space[name] = dimension.around(best.params[name], shrink, within=whole)
        else:
            values = {finalist.params[name] for finalist in (best, *last.finalists)}
            space[name] = Choice(value for value in dimension.grid() if value in values)
    return space
