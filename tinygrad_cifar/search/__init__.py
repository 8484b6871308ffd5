"""Searching for settings: what to try comes from Optuna, where to run it is any ``concurrent.futures.Executor``.

Three questions that a search answers apart from each other, one module each. *What* could be tried is a
:mod:`~tinygrad_cifar.search.space`; *how good* one of its points is, an
:mod:`~tinygrad_cifar.search.objective`; *where* that is found out, an executor, by default
:mod:`~tinygrad_cifar.system.processes`. The :mod:`~tinygrad_cifar.search.trial_store` sees to it that every point is
counted exactly once, whoever dies, and :mod:`~tinygrad_cifar.search.driver` runs them;
:mod:`~tinygrad_cifar.search.narrowing` repeats all this on smaller and smaller ranges.
"""

from __future__ import annotations

from tinygrad_cifar.search.driver import SearchProgress, search
from tinygrad_cifar.search.narrowing import CoarseToFineResult, Finalist, Round, coarse_to_fine
from tinygrad_cifar.search.objective import ObjectiveResult, ValidationAccuracy
from tinygrad_cifar.search.space import (
    Choice,
    LogUniform,
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
    "CoarseToFineResult",
    "Finalist",
    "LogUniform",
    "ObjectiveResult",
    "Round",
    "SearchError",
    "SearchProgress",
    "Space",
    "Trial",
    "Uniform",
    "ValidationAccuracy",
    "Value",
    "coarse_to_fine",
    "grid_points",
    "random_points",
    "search",
]
