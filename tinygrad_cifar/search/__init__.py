"""Search for good parameters: grids, random points and TPE, on processes or a cluster.

A search has a *space* of parameters (:mod:`~tinygrad_cifar.search.space`), an *objective* that returns the value of a
point (:mod:`~tinygrad_cifar.search.objective`), and an executor that calls it
(:mod:`~tinygrad_cifar.search.execution`). Its trials are stored by :mod:`~tinygrad_cifar.search.trial_store`.
:mod:`~tinygrad_cifar.search.coarse_to_fine` repeats searches on smaller and smaller ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Literal

from tinygrad_cifar.search import execution
from tinygrad_cifar.search.execution import Objective, SearchProgress
from tinygrad_cifar.search.objective import ObjectiveResult, ValidationAccuracy
from tinygrad_cifar.search.space import (
    Choice,
    LogUniform,
    Point,
    SearchError,
    Space,
    Uniform,
    Value,
    grid_points,
    random_points,
)
from tinygrad_cifar.search.trial_store import Trial

__all__ = [
    "Choice",
    "LogUniform",
    "Objective",
    "ObjectiveResult",
    "Point",
    "SearchError",
    "SearchProgress",
    "Space",
    "Trial",
    "Uniform",
    "ValidationAccuracy",
    "Value",
    "grid_points",
    "random_points",
    "search",
]


def search(  # noqa: PLR0913 (keyword-only)
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
    callback: Callable[[SearchProgress], None] | None = None,
) -> list[Trial]:
    """Evaluate an objective at points of a space, in parallel, and return the trials, the best first.

    Parameters
    ----------
    objective : callable
        Picklable function of a point (a dictionary) that returns the value to maximise, or an
        :class:`ObjectiveResult`. If it raises an ArithmeticError, such as TrainingDiverged, or returns a value that is
        not finite, the trial is *diverged*; after any other exception it is *failed*. The search continues.
    space : mapping of str to Choice, Uniform or LogUniform; or a sequence of dict
        The space, or the list of points to try.
    sampler : str
        ``grid``: every combination. ``random``: ``trials`` points, each drawn from the seed and its own number.
        ``tpe``: Optuna's tree-structured Parzen estimator, which learns from earlier trials. The points of the first
        two do not depend on the number of workers and the order in which they finish; those of TPE are reproducible
        only with one worker.
    trials : int, optional
        Number of points for ``random`` and ``tpe``. It may be larger when a search is resumed. If it is smaller, no
        further points are tried, and all trials of the search are returned.
    seed : int
        Seed of the sampler, not of the training.
    storage : path, optional
        SQLite database in which the search is stored; one search at a time uses it. If the same search is called
        again after it was stopped or killed, it is resumed: finished trials are kept, and interrupted and failed ones
        are run again. If None, the search is kept in memory.
    name : str
        Name of the search in the storage, which can hold several.
    executor : concurrent.futures.Executor, optional
        Executor of the objective. Default: a :class:`~tinygrad_cifar.system.processes.ProcessExecutor`, closed at the
        end. For a cluster, Dask's ``Client.get_executor()``. An executor that is given is not closed; if it breaks, as
        Python's own process pool does when a worker dies, the search ends with a SearchError and can be resumed.
    workers : int, optional
        Number of trials to run at once. Default: the number of cores. With a cluster, give its size.
    retries : int
        Number of times that a trial is started again after its worker was lost, before it counts as failed.
    callback : callable, optional
        Called with a :class:`SearchProgress` at the start and after every trial.

    Returns
    -------
    list of Trial
        One for each point: the complete trials from the largest value to the smallest (of equal values, the lower
        number first), then the others.

    Raises
    ------
    SearchError
        If arguments are missing or contradictory, the storage cannot be used, is in use or holds another search of
        this name, or the executor breaks.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from tinygrad_cifar.search import Choice, search
    >>> with ThreadPoolExecutor(2) as threads:
    ...     found = search(lambda p: -(p["x"] ** 2), {"x": Choice([-2, -1, 1, 3])}, executor=threads, workers=2)
    >>> [trial.params["x"] for trial in found]
    [-1, 1, -2, 3]
    """
    with execution.open_search(objective, storage, executor, workers, retries=retries, callback=callback) as run:
        return run(space, sampler=sampler, trials=trials, seed=seed, name=name)
