"""Execution of searches: take points from the storage, evaluate them on an executor, and store the results."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from tinygrad_cifar.search.objective import ObjectiveResult
from tinygrad_cifar.search.space import (
    Point,
    SearchError,
    Space,
    Value,
    grid_points,
    listed_space,
    random_points,
    space_to_json,
)
from tinygrad_cifar.search.trial_store import Attempt, AttemptResult, Trial, TrialStore, lock_storage
from tinygrad_cifar.system.blas import usable_cores
from tinygrad_cifar.system.processes import ExecutorClosedError, JobResult, ProcessExecutor, run_jobs

Objective: TypeAlias = Callable[[Point], float | ObjectiveResult]


@dataclass(frozen=True)
class SearchProgress:
    """The progress of a search, passed to its callback.

    Attributes
    ----------
    name : str
        Name of the search.
    trials : list of Trial
        The settled trials by number.
    total : int
        Number of trials of the search, including those of an earlier, longer one.
    """

    name: str
    trials: list[Trial]
    total: int

    @property
    def best(self) -> Trial | None:
        """The best complete trial, or None."""
        ranked = sorted_trials(self.trials)
        return ranked[0] if ranked and ranked[0].state == "complete" else None


@contextmanager
def open_search(
    objective: Objective,
    storage: str | Path | None,
    executor: Executor | None,
    workers: int | None,
    *,
    retries: int,
    callback: Callable[[SearchProgress], None] | None,
) -> Iterator[Callable[..., list[Trial]]]:
    """Hold the lock of the storage, open the executor, and yield a function that searches a space with them.

    The function takes the arguments ``space``, ``sampler``, ``trials``, ``seed`` and ``name`` of
    :func:`~tinygrad_cifar.search.search`, which describes the other arguments as well.
    """
    if workers is not None and workers < 1:
        raise SearchError(f"workers: a search must have at least 1 worker; got {workers}")
    if executor is None:
        _check_picklable(objective)
    path = None if storage is None else Path(storage)
    count = usable_cores() if workers is None else workers
    with lock_storage(path):
        run = partial(_search, objective, storage=path, workers=count, retries=retries, callback=callback)
        if executor is not None:
            yield partial(run, executor=executor)
        else:
            with ProcessExecutor(count) as processes:
                yield partial(run, executor=processes)


def _search(  # noqa: PLR0913 (as of search)
    objective: Objective,
    space: Space | Sequence[Mapping[str, Value]],
    *,
    storage: Path | None,
    executor: Executor,
    workers: int,
    retries: int,
    callback: Callable[[SearchProgress], None] | None,
    name: str,
    sampler: str = "grid",
    trials: int | None = None,
    seed: int = 0,
) -> list[Trial]:
    identity = {
        "objective": _describe_objective(objective),
        "space": space_to_json(space),
        "sampler": sampler,
        "seed": "any" if sampler == "grid" else int(seed),
    }
    space, points = _plan_points(space, sampler, trials, seed)

    def report() -> None:
        if callback is not None:
            settled = store.trials()
            further = sum(trial.number >= len(points) for trial in settled)
            callback(SearchProgress(name, settled, len(points) + further))

    with TrialStore(storage, name, space, points, seed=seed, identity=identity) as store:
        report()
        evaluate = partial(_evaluate, objective)
        attempts = iter(store.next_attempt, None)
        try:
            with closing(run_jobs(executor, evaluate, attempts, workers=workers, retries=retries)) as results:
                for result in results:
                    store.finish(result.job, _result_of(result), result.attempts)
                    report()
        except ExecutorClosedError as error:
            raise SearchError(
                f"the executor accepts no more trials ({error}); with a storage, the search can be resumed"
            ) from error
        return sorted_trials(store.trials())


def _evaluate(objective: Objective, attempt: Attempt) -> AttemptResult:
    """Call the objective in a worker."""
    start = time.perf_counter()
    try:
        result = objective(attempt.params)
        if not isinstance(result, ObjectiveResult):
            result = ObjectiveResult(float(result))
        if not math.isfinite(result.value):
            raise ArithmeticError(f"the objective returned {result.value}")  # noqa: TRY301 (handled like the others)
    except ArithmeticError as error:
        return AttemptResult("diverged", seconds=time.perf_counter() - start, reason=str(error))
    except Exception as error:  # noqa: BLE001 (an objective may raise anything)
        reason = f"{type(error).__name__}: {error}"
        return AttemptResult("failed", seconds=time.perf_counter() - start, reason=reason)
    return AttemptResult("complete", float(result.value), dict(result.details), time.perf_counter() - start)


def _result_of(result: JobResult[Attempt, AttemptResult]) -> AttemptResult:
    if result.value is not None:
        return result.value
    return AttemptResult("failed", reason=f"its worker was lost ({type(result.error).__name__}: {result.error})")


def sorted_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials from the best to the worst, then the others; of equals, the lower number first."""
    return sorted(trials, key=lambda t: (t.state != "complete", -t.value if t.state == "complete" else 0.0, t.number))


def _plan_points(
    space: Space | Sequence[Mapping[str, Value]], sampler: str, trials: int | None, seed: int
) -> tuple[Space, Sequence[Point]]:
    """Return the space and the points to try; empty points are drawn by Optuna when they are started."""
    if not isinstance(space, Mapping):
        if sampler != "grid" or trials is not None:
            raise SearchError("sampler and trials apply only to a space; a list of points is tried as it is")
        return listed_space(space), [dict(point) for point in space]
    if not space:
        raise SearchError("space: the space to search must not be empty; name at least one parameter")
    if sampler == "grid":
        if trials is not None:
            raise SearchError(
                f"trials: a grid has as many trials as points, so trials must be None; got {trials}; use random or tpe"
            )
        return space, grid_points(space)
    if sampler not in ("random", "tpe"):
        raise SearchError(f"sampler: the sampler must be grid, random or tpe; got {sampler!r}")
    if trials is None or trials < 1:
        raise SearchError(f"trials: the sampler {sampler} needs the number of trials, at least 1; got {trials}")
    return space, random_points(space, trials, seed) if sampler == "random" else [{}] * trials


def _check_picklable(objective: Objective) -> None:
    """Raise an error if an objective cannot be sent to a worker process, before every trial fails for it."""
    try:
        pickle.dumps(objective)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SearchError(
            f"objective: the objective must be picklable; got {error}; define it at the top level of a module"
        ) from error


def _describe_objective(objective: Objective) -> str:
    """Return a description of an objective that is the same in every process."""
    if is_dataclass(objective):
        return repr(objective)
    function: Any = objective
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
