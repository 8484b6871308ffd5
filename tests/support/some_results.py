"""Results of experiments with drawn numbers, made without training."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.course.training import History, Measurement
from tinygrad_cifar.experiments.declaration import Experiment
from tinygrad_cifar.experiments.outcomes import CheckOutcome, TrainingOutcome
from tinygrad_cifar.experiments.results import Results

CLASS_NAMES = tuple(f"class {i}" for i in range(10))


def some_history(epochs: int = 4, *, seed: int = 0, lam: float = 0.1, validation: bool = True) -> History:
    rng = np.random.default_rng([seed, epochs])
    rows = []
    for epoch in range(epochs + 1):
        loss, held_out = rng.uniform(1, 2, 2)
        parts = (held_out, held_out + lam, rng.uniform()) if validation else (np.nan,) * 3
        rows.append(Measurement(10 * epoch, float(epoch), 0.1, loss, loss + lam, rng.uniform(), *parts))
    return History(rows)


def some_outcome(seed: int = 0, settings: Settings | None = None, **options: Any) -> TrainingOutcome:
    """Return the outcome of a linear model."""
    rng = np.random.default_rng([seed, 1])
    settings = settings or Settings(seed=seed, epochs=4)
    result = {f"{part}_accuracy": float(rng.uniform()) for part in ("train", "validation", "test")}
    result |= {"settings": json.loads(json.dumps(asdict(settings))), "steps": 40, "seconds": 1.0}
    arrays = {
        "confusion": rng.integers(0, 9, (10, 10)),
        "W": rng.normal(size=(3072, 10)),
        "gradient": rng.normal(size=(3072, 10)),
    }
    return TrainingOutcome(result, some_history(seed=seed, **options), arrays, 1.25 + seed)


def some_results(
    runs: dict[str, Settings] | None = None,
    *,
    seeds: int = 1,
    small: bool = False,
    outcomes: dict[str, list[TrainingOutcome]] | None = None,
    checked: list[CheckOutcome] | None = None,
    **declared: Any,
) -> Results:
    """Return results of an experiment with the given runs; other options are those of the experiment."""
    runs = {"one": Settings(epochs=4)} if runs is None else runs
    declared = {
        "name": "an-experiment",
        "report": "003",
        "source": "Table 1",
        "title": "A title",
        "about": "",
    } | declared
    experiment = Experiment(runs=runs, seeds=seeds, **declared)
    trained = outcomes or {name: [some_outcome(seed) for seed in range(seeds)] for name in runs}
    return Results(experiment, "some data", CLASS_NAMES, trained, checked or [], small)
