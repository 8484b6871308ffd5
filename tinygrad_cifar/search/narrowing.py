"""From coarse to fine: search a range, narrow it around the best, and stop where the seeds decide more than the point.

One run says little: with another seed it comes out otherwise. So each round *screens* its points with one seed, runs
the best of them again with others (the *finalists*), and compares means. From what a finalist's runs differ by, the
noise of a single run is estimated; what is smaller than the noise of a mean is not worth another round.
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

from tinygrad_cifar.search.driver import (
    Objective,
    SearchProgress,
    check_picklable,
    open_executor,
    search,
    sorted_trials,
)
from tinygrad_cifar.search.space import Choice, Dimension, Point, SearchError, Space, Uniform, grid_points
from tinygrad_cifar.search.trial_store import Trial

_FEWEST_REPEATS = 3
_ROUNDING = 1e-9  # how far, relatively, two numbers of grids may be apart and still be meant as one


@dataclass(frozen=True)
class Finalist:
    """A point that was run with several seeds.

    Attributes
    ----------
    params : dict
        The point, without its seed.
    values : tuple of float
        What the objective returned, seed by seed.
    """

    params: Point
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds, with one degree of freedom less than there are."""
        return float(np.std(self.values, ddof=1))


@dataclass(frozen=True)
class Round:
    """One search of a range.

    Attributes
    ----------
    space : Space
        What was searched.
    trials : list of Trial
        Its points with the first seed, the best first; those of a grid that an earlier round tried, too, as they came
        out there.
    finalists : list of Finalist
        The best of them with the other seeds, the highest mean first; again with those of earlier rounds.
    noise : float
        The standard deviation of one run, pooled over the finalists of all rounds so far.
    """

    space: Space
    trials: list[Trial]
    finalists: list[Finalist]
    noise: float


@dataclass(frozen=True)
class CoarseToFineResult:
    """Where a coarse-to-fine search ended.

    Attributes
    ----------
    rounds : list of Round
        In order.
    best : Finalist
        The finalist with the highest mean of all rounds. Being the highest, it flatters the point a little.
    standard_error : float
        Of the best's mean: the noise over the root of the number of seeds.
    reason : str
        Why there was no further round.
    """

    rounds: list[Round]
    best: Finalist
    standard_error: float
    reason: str

    @property
    def finalists(self) -> list[Finalist]:
        """Those of all rounds; one that came again in a later round is there once."""
        return _all_finalists(self.rounds)


def coarse_to_fine(  # noqa: PLR0913 (keyword-only, and each says one thing)
    objective: Objective,
    space: Space,
    *,
    sampler: Literal["grid", "random", "tpe"] = "grid",
    trials: int | None = None,
    seed: int = 0,
    seeds: Sequence[int] = (0, 1, 2, 3),
    finalists: int = 3,
    shrink: float = 1 / 3,
    most_rounds: int = 6,
    storage: str | Path | None = None,
    name: str = "search",
    executor: Executor | None = None,
    workers: int | None = None,
    retries: int = 2,
    watch: Callable[[SearchProgress], None] | None = None,
    begin: Callable[[int, Space], None] | None = None,
    number: str = ".2g",
) -> CoarseToFineResult:
    """Search a space again and again, in smaller and smaller ranges around the best, until only noise is left.

    After each round every range becomes ``shrink`` of its width (of its ratio, where it is logarithmic) with the best
    point so far in its middle, but stays within the first range; if the best lies at an end, the range moves there. A
    choice keeps the values that the round's finalists have. It stops when

    - the best mean of the points that are new in the round is not above the best before by more than the standard
      error of a difference of two means, ``noise * sqrt(2 / n)`` for n seeds; or
    - the values of the points screened have a variance of no more than twice ``noise**2``: their settings then
      explain no more of it than their seeds; or
    - there is no range left to narrow, or ``most_rounds`` have been made.

    The finalists' seeds are not the one that chose them, which would flatter them. What was run in an earlier round is
    not run again: the grid of a round often has points of the last, up to rounding.

    Parameters
    ----------
    objective : callable
        As for :func:`search`; the points have a ``seed`` besides the settings of the space.
    space : Space
        Without ``seed``. For a grid, ranges say how many points they have; every round has as many.
    sampler, trials, seed
        How each round draws its points, as for :func:`search`.
    seeds : sequence of int
        The first screens, the others, at least 3, repeat.
    finalists : int
        How many points are repeated in each round.
    shrink : float
        Between 0 and 1. With 7 points a third is from one neighbour of the best to the other.
    most_rounds : int
        A bound for objectives without noise, which can be narrowed for ever.
    storage, name, executor, workers, retries, watch
        As for :func:`search`. Each round is two studies in the storage, ``NAME, round 1`` and
        ``NAME, round 1, finalists``; with a storage a search that was killed goes on where it was.
    begin : callable, optional
        Called with the number of each round, from 1, and its space before anything of it is tried.
    number : str
        How the reason writes what the objective returns: a format, as ``.2%`` for shares.

    Returns
    -------
    Narrowed

    Raises
    ------
    SearchError
        As :func:`search`, and if no run of a round, or of its finalists, is complete.

    Examples
    --------
    >>> import math, random
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from tinygrad_cifar.search import LogUniform, coarse_to_fine
    >>> def objective(point):  # the best is 0.01
    ...     noise = random.Random(str(point)).gauss(0, 0.01)
    ...     return noise - math.log10(point["lam"] / 0.01) ** 2
    >>> with ThreadPoolExecutor(1) as thread:
    ...     found = coarse_to_fine(objective, {"lam": LogUniform(1e-5, 1e-1, points=7)}, executor=thread)
    >>> 0.005 < found.best.params["lam"] < 0.02
    True
    """
    _check(space, seeds, finalists, shrink, most_rounds)
    if executor is None:
        check_picklable(objective)
    rounds: list[Round] = []
    with open_executor(executor, workers) as (place, count):
        shared = partial(
            search, objective, storage=storage, executor=place, workers=count, retries=retries, watch=watch
        )
        while True:
            label = f"{name}, round {len(rounds) + 1}"
            current = _narrowed(space, rounds, shrink)
            if begin is not None:
                begin(len(rounds) + 1, current)
            if rounds and sampler == "grid":
                screened = _screened_grid(current, seeds[0], rounds, partial(shared, name=label))
            else:
                screening = {**current, "seed": Choice(seeds[:1])}
                screened = shared(screening, sampler=sampler, trials=trials, seed=seed, name=label)
            chosen = [_without_seed(trial.params) for trial in screened[:finalists] if trial.state == "complete"]
            if not chosen:
                raise SearchError(f"no trial of {label} is complete; the first failed with: {screened[0].reason}")
            before = _all_finalists(rounds)
            known = [f for f in before if f.params in chosen]
            new = [point for point in chosen if all(point != f.params for f in known)]
            repeats = [{**point, "seed": s} for point in new for s in seeds[1:]]
            repeated = shared(repeats, name=f"{label}, finalists") if repeats else []
            found = _finalists(new, repeated, len(seeds) - 1)
            final = sorted([*known, *found], key=lambda f: -f.mean)
            if not final:
                raise SearchError(f"no finalist of {label} came through with all of the seeds {list(seeds[1:])}")
            noise = _pooled([f.spread for f in (*before, *found)])
            rounds.append(Round(current, screened, final, noise))
            reason = _reason_to_stop(rounds, most_rounds, number)
            if reason:
                best = _best(rounds)
                return CoarseToFineResult(rounds, best, noise / math.sqrt(len(best.values)), reason)


def _check(space: Space, seeds: Sequence[int], finalists: int, shrink: float, most_rounds: int) -> None:
    if "seed" in space:
        raise SearchError("the seeds of a coarse-to-fine search are given as seeds, not in the space")
    if len(seeds) <= _FEWEST_REPEATS or len(set(seeds)) < len(seeds):
        raise SearchError(f"give at least {_FEWEST_REPEATS + 1} different seeds, one to screen; got {list(seeds)}")
    if finalists < 1 or most_rounds < 1 or not 0 < shrink < 1:
        raise SearchError(
            "finalists and most_rounds must be at least 1, and shrink between 0 and 1; "
            f"they are {finalists}, {most_rounds} and {shrink}"
        )


def _without_seed(point: Point) -> Point:
    return {name: value for name, value in point.items() if name != "seed"}


def _screened_grid(
    space: Space, seed: int, rounds: Sequence[Round], run: Callable[[Sequence[Point]], list[Trial]]
) -> list[Trial]:
    """Screen the points of a grid, but take from earlier rounds what is known of them."""
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
    """Say whether two points are one, up to the rounding of the ranges they come from."""
    return all(
        math.isclose(a, b, rel_tol=_ROUNDING) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in ((value, other[name]) for name, value in one.items())
    )


def _all_finalists(rounds: Sequence[Round]) -> list[Finalist]:
    """Return the finalists of some rounds, each once."""
    gathered: list[Finalist] = []
    for finalist in chain.from_iterable(r.finalists for r in rounds):
        if finalist not in gathered:
            gathered.append(finalist)
    return gathered


def _finalists(chosen: Sequence[Point], trials: Sequence[Trial], repeats: int) -> list[Finalist]:
    """Gather the runs of each point; one that did not come through with every seed is no finalist."""
    gathered = []
    for point in chosen:
        values = [t.value for t in trials if t.state == "complete" and _without_seed(t.params) == point]
        if len(values) == repeats:
            gathered.append(Finalist(point, tuple(values)))
    return gathered


def _pooled(spreads: Sequence[float]) -> float:
    return math.sqrt(sum(s * s for s in spreads) / len(spreads))


def _best(rounds: Sequence[Round]) -> Finalist:
    """Return the finalist with the highest mean, the earliest of equals."""
    return max(chain.from_iterable(r.finalists for r in rounds), key=lambda f: f.mean)


def _reason_to_stop(rounds: Sequence[Round], most_rounds: int, number: str) -> str:
    """Say in a sentence why there should be no further round, or nothing."""
    last = rounds[-1]
    if len(rounds) > 1:
        before = _all_finalists(rounds[:-1])
        gain = max((f.mean for f in last.finalists if f not in before), default=-math.inf) - _best(rounds[:-1]).mean
        error = last.noise * math.sqrt(2 / len(last.finalists[0].values))
        if gain <= 0:
            return "the round gained nothing: no new point of it has a better mean over the seeds than the best before"
        if gain <= error:
            text = f"the round gained {gain:{number}}, no more than the standard error of such a gain"
            return f"{text}, {error:{number}}"
    values = [trial.value for trial in last.trials if trial.state == "complete"]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    if spread <= math.sqrt(2) * last.noise:
        much = "no more" if spread <= last.noise else "hardly more"
        text = f"the points of the last round, each with one seed, differ by {spread:{number}}, {much} than the seeds"
        return f"{text} of one of them, by {last.noise:{number}}"
    if not any(isinstance(dimension, Uniform) for dimension in last.space.values()):
        return "there is no range to narrow"
    return f"it was round {most_rounds}, the last that was allowed" if len(rounds) == most_rounds else ""


def _narrowed(first: Space, rounds: Sequence[Round], shrink: float) -> Space:
    """Return the space of the next round."""
    if not rounds:
        return first
    best, last = _best(rounds), rounds[-1]
    narrowed: dict[str, Dimension] = {}
    for name, dimension in last.space.items():
        whole = first[name]
        if isinstance(dimension, Uniform) and isinstance(whole, Uniform):
            narrowed[name] = dimension.around(best.params[name], shrink, within=whole)
        else:
            kept = {finalist.params[name] for finalist in (best, *last.finalists)}
            narrowed[name] = Choice(value for value in dimension.grid() if value in kept)
    return narrowed
