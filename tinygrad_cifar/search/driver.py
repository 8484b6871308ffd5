"""The loop of a search: ask the ledger what to try, have an executor try it, tell the ledger what came of it."""

from __future__ import annotations

import math
import pickle
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tinygrad_cifar.search.objective import ObjectiveResult
from tinygrad_cifar.search.space import (
    Point,
    SearchError,
    Space,
    Value,
    grid_points,
    listed_space,
    random_points,
)
from tinygrad_cifar.search.trial_store import LEASE, Claim, Ledger, Outcome, Trial
from tinygrad_cifar.system.blas import usable_cores
from tinygrad_cifar.system.processes import ProcessExecutor

Objective: TypeAlias = Callable[[Point], float | ObjectiveResult]

_POLL = 0.5  # seconds between two looks at what other searches on the same storage have done


@dataclass(frozen=True)
class SearchProgress:
    """Where a search is, for whoever watches it.

    Attributes
    ----------
    name : str
        The search's name.
    trials : list of Trial
        Those that are settled, in the order of their numbers.
    total : int
        How many there will be, those of an earlier, longer search included.
    running : int
        How many this search is at.
    """

    name: str
    trials: list[Trial]
    total: int
    running: int

    @property
    def best(self) -> Trial | None:
        """The best complete trial, if there is any."""
        ranked = sorted_trials(self.trials)
        return ranked[0] if ranked and ranked[0].state == "complete" else None


def search(  # noqa: PLR0913 (keyword-only, and each says one thing)
    objective: Objective,
    space: Space | Sequence[Mapping[str, Value]],
    *,
    sampler: Literal["grid", "random", "tpe"] = "grid",
    trials: int | None = None,
    seed: int = 0,
    storage: str | Path | None = None,
    name: str = "search",
    executor: Executor | None = None,
    workers: int | None = None,
    retries: int = 2,
    watch: Callable[[SearchProgress], None] | None = None,
) -> list[Trial]:
    """Try points of a space, in parallel, and return what came of each, the best first.

    Parameters
    ----------
    objective : callable
        A picklable function of a point (a dictionary) that returns a number to be as large as possible, or
        :class:`ObjectiveResult`. An ArithmeticError, as TrainingDiverged is, and a value that is not finite make a trial
        *diverged*; any other exception makes it *failed*. Neither ends the search.
    space : mapping of str to Choice, Uniform or LogUniform; or a sequence of dict
        What there is to try; or the very points, which are then tried as a grid is.
    sampler : str
        ``grid``: every combination. ``random``: ``trials`` points, each drawn from the seed and its own number.
        ``tpe``: Optuna's tree-structured Parzen estimator, which learns from what has been tried. The points of the
        first two are the same whatever the number of workers and the order in which they finish; those of TPE, with
        one worker only.
    trials : int, optional
        How many points ``random`` and ``tpe`` try. It may be larger when a search is resumed; if it is smaller,
        nothing more is tried, and all that was is returned.
    seed : int
        Of the sampler, not of the training.
    storage : path, optional
        A file to keep the search in: Optuna's journal if it ends with ``.journal``, else an SQLite database, the
        better choice where processes get killed. With it, a search that was stopped or killed goes on where it was,
        and several processes, each calling this function with the same arguments, share one search: no point is
        given to two of them, and each returns all trials. Failed trials are tried again when a search is resumed.
    name : str
        The search's name in the storage, which can hold many.
    executor : concurrent.futures.Executor, optional
        Where the objective is called; by default :class:`ProcessExecutor`, closed at the end. For a cluster, Dask's
        ``Client.get_executor()``. An executor that is given is not closed; if it breaks, as Python's own process pool
        does when a worker dies, the search ends with a SearchError and can be resumed.
    workers : int, optional
        How many trials to have under way at once; by default one for each core. With a cluster, give its size.
    retries : int
        How often a trial is begun again after its worker died, before it counts as failed.
    watch : callable, optional
        Called with a :class:`SearchProgress` at the start and whenever a trial has ended.

    Returns
    -------
    list of Trial
        One for each point: the complete ones from the largest value to the smallest (of equals, the lower number
        first), then the others.

    Raises
    ------
    SearchError
        If something is missing or contradicts, the storage cannot be used or holds another search of this name, or
        the executor breaks.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from tinygrad_cifar.search import Choice, search
    >>> with ThreadPoolExecutor(2) as threads:
    ...     found = search(lambda p: -(p["x"] ** 2), {"x": Choice([-2, -1, 1, 3])}, executor=threads, workers=2)
    >>> [trial.params["x"] for trial in found]
    [-1, 1, -2, 3]
    """
    identity = {
        "objective": _described(objective),
        "space": str(dict(space) if isinstance(space, Mapping) else list(space)),
        "sampler": sampler,
        "seed": "any" if sampler == "grid" else str(seed),
    }
    space, points = _plan_points(space, sampler, trials, seed)
    if executor is None:
        check_picklable(objective)
    path = None if storage is None else Path(storage)
    ledger = Ledger(path, name, space, points, seed=seed, identity=identity, retries=retries)
    with open_executor(executor, workers) as (place, count), ledger:
        _SearchLoop(objective, ledger, place, count, SearchProgress(name, [], len(points), 0), watch).run()
        return sorted_trials(ledger.trials())


class _SearchLoop:
    """What is under way."""

    def __init__(
        self,
        objective: Objective,
        ledger: Ledger,
        executor: Executor,
        workers: int,
        progress: SearchProgress,
        watch: Callable[[SearchProgress], None] | None,
    ) -> None:
        self.objective, self.ledger, self.executor = objective, ledger, executor
        self.workers, self.progress, self.watch = workers, progress, watch
        self.points = progress.total
        self.running: dict[Future[Outcome], Claim] = {}

    def run(self) -> None:
        """Go on until every point is settled, by us or by another search."""
        try:
            self.report()
            self.look()
            while self.left():
                self.start()
                if self.running:
                    done, _ = wait(self.running, timeout=LEASE / 3, return_when=FIRST_COMPLETED)
                    for future in done:
                        self.ledger.finish(self.running.pop(future), _outcome(future))
                    self.ledger.renew()
                else:
                    time.sleep(_POLL)
                self.look()
        finally:
            for future in self.running:
                future.cancel()

    def left(self) -> int:
        """Return how many of our points are not settled."""
        return self.points - sum(trial.number < self.points for trial in self.progress.trials)

    def start(self) -> None:
        """Have as many trials under way as there are workers, or points left."""
        while len(self.running) < self.workers and (claim := self.ledger.claim()) is not None:
            try:
                future = self.executor.submit(evaluate_point, self.objective, claim.params, uuid.uuid4().hex)
            except RuntimeError as error:  # as BrokenExecutor is
                raise SearchError(
                    f"the executor takes no more trials ({error}); with a storage, the search can be resumed"
                ) from error
            self.running[future] = claim

    def look(self) -> None:
        """See what is settled, and report it if it is news."""
        trials = self.ledger.trials()
        if len(trials) > len(self.progress.trials):
            beyond = sum(trial.number >= self.points for trial in trials)
            self.progress = replace(self.progress, trials=trials, total=self.points + beyond, running=len(self.running))
            self.report()

    def report(self) -> None:
        """Tell whoever watches."""
        if self.watch is not None:
            self.watch(self.progress)


def evaluate_point(objective: Objective, point: Point, _token: str) -> Outcome:
    """Call an objective, in a worker, and return what came of it; whatever this raises is not the objective's doing.

    The token is different for each attempt: Dask takes two calls with the same arguments for one.
    """
    start = time.perf_counter()
    try:
        measured = objective(point)
        if not isinstance(measured, ObjectiveResult):
            measured = ObjectiveResult(float(measured))
        if not math.isfinite(measured.value):
            raise ArithmeticError(f"the objective returned {measured.value}")  # noqa: TRY301 (one sentence for all)
    except ArithmeticError as error:
        return Outcome("diverged", seconds=time.perf_counter() - start, reason=str(error))
    except Exception as error:  # noqa: BLE001 (an objective may raise anything)
        reason = f"{type(error).__name__}: {error}"
        return Outcome("failed", seconds=time.perf_counter() - start, reason=reason)
    return Outcome("complete", float(measured.value), dict(measured.details), time.perf_counter() - start)


def sorted_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return complete trials from the best to the worst, and then the others; the lower number first of equals."""
    return sorted(trials, key=lambda t: (t.state != "complete", -t.value if t.state == "complete" else 0.0, t.number))


@contextmanager
def open_executor(executor: Executor | None, workers: int | None) -> Iterator[tuple[Executor, int]]:
    """Lend an executor with the number of trials to have under way in it."""
    if workers is not None and workers < 1:
        raise SearchError(f"a search needs at least 1 worker, not {workers}")
    count = usable_cores() if workers is None else workers
    if executor is not None:
        yield executor, count
    else:
        with ProcessExecutor(count) as own:
            yield own, count


def _plan_points(
    space: Space | Sequence[Mapping[str, Value]], sampler: str, trials: int | None, seed: int
) -> tuple[Space, Sequence[Point]]:
    """Return the space and what to try in it; empty points are for Optuna to fill in when their time comes."""
    if not isinstance(space, Mapping):
        if sampler != "grid" or trials is not None:
            raise SearchError("a list of points is tried as it is: sampler and trials are for a space")
        return listed_space(space), [dict(point) for point in space]
    if not space:
        raise SearchError("the space to search is empty: name at least one setting")
    if sampler == "grid":
        if trials is not None:
            raise SearchError("a grid has as many trials as points; trials is for the samplers random and tpe")
        return space, grid_points(space)
    if sampler not in ("random", "tpe"):
        raise SearchError(f"the sampler must be grid, random or tpe; got {sampler!r}")
    if trials is None or trials < 1:
        raise SearchError(f"the sampler {sampler} needs to know how many trials to make, at least 1; got {trials}")
    return space, random_points(space, trials, seed) if sampler == "random" else [{}] * trials


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 (each executor has its own words for a death)
        return Outcome("lost", reason=f"its worker was lost ({type(error).__name__}: {error})")


def check_picklable(objective: Objective) -> None:
    """Say at once, and not once per trial, if an objective cannot go to a worker process."""
    try:
        pickle.dumps(objective)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SearchError(
            f"the objective cannot be sent to another process ({error}); define it at the top of a module"
        ) from error


def _described(objective: Objective) -> str:
    """Return words for an objective that are the same in every process."""
    if is_dataclass(objective):
        return repr(objective)
    function: Any = objective
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
