"""Where a step's time goes: this library's four stages beside the same stages of the bare kernels, in one process.

Both use NumPy's BLAS and its threads, so they can share a process and are timed in turns, step by step. What the stages
are: the batch gathered; the loss computed and read; the backward pass; the update. What ``training.fit`` does around
them (counting, watching, looking for NaN) is in the table of steps and not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.contestants.bare_kernels import Kernels
from benchmarks.contestants.ours import classifier
from benchmarks.options import Options
from benchmarks.timing import spread
from benchmarks.works import Array, Problem, Work, make, works
from tinygrad_cifar.data.batches import iterate_batches
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.nn.optim import SGD

STAGES = ("gather", "forward", "backward", "update")
Times = list[float]


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time the stages of every work.

    Returns
    -------
    dict
        ``rows``: each work with the microseconds of each stage, for ``ours`` and ``bare``: medians over the steps.
    """
    rows = []
    for work in works(quick=options.quick):
        problem = make(work)
        ours, bare = _ours(problem), _bare(problem)
        few = options.quick or work.batch > 100  # noqa: PLR2004
        both = [(next(ours), next(bare)) for _ in range(5 if options.quick else 9 if few else 200)]
        rows.append(
            {
                "work": work.to_json(),
                **{
                    name: {
                        stage: 1e6 * spread([step[which][i] for step in both[1:]]).median
                        for i, stage in enumerate(STAGES)
                    }
                    for which, name in enumerate(("ours", "bare"))
                },
            }
        )
        say("\n".join(_block(rows[-1])))
    return {"rows": rows}


def _ours(problem: Problem) -> Iterator[Times]:
    model = classifier(problem)
    optimiser = SGD(model.parameters(), problem.work.eta, weight_decay=2 * problem.work.lam)
    rng = problem.generator()
    kept: list[Array] = []
    while True:
        batches = iterate_batches(problem.X, problem.labels, problem.work.batch, rng, kept=kept)
        for _ in range(problem.work.images // problem.work.batch):
            times = [perf_counter()]
            X, labels = next(batches)
            times.append(perf_counter())
            optimiser.zero_grad()
            loss = model.loss(wrap_without_copy(X), labels)
            loss.item()
            times.append(perf_counter())
            loss.backward()
            times.append(perf_counter())
            optimiser.step()
            times.append(perf_counter())
            yield np.diff(times).tolist()


def _bare(problem: Problem) -> Iterator[Times]:
    kernels = Kernels(problem)
    # In an order of their own: of the same images, the second to gather them would find them in the cache.
    rng, n = np.random.default_rng(4), problem.work.batch
    while True:
        order: Array = rng.permutation(len(problem.X))
        for start in range(0, len(order), n):
            times = [perf_counter()]
            kernels.gather(order[start : start + n])
            times.append(perf_counter())
            for stage in (kernels.forward, kernels.backward, kernels.update):
                stage()
                times.append(perf_counter())
            yield np.diff(times).tolist()


def lines(result: dict[str, Any]) -> list[str]:
    """Return the tables for a terminal."""
    return [line for row in result["rows"] for line in _block(row)]


def _block(row: dict[str, Any]) -> list[str]:
    ours, bare = row["ours"], row["bare"]
    total, floor = sum(ours.values()), sum(bare.values())
    out = [
        f"{Work.from_json(row['work'])}: microseconds by stage",
        f"  {'':12} {'this library':>14} {'share':>7} {'bare kernels':>14} {'beyond':>10}",
    ]
    for stage in STAGES:
        mine, least = ours[stage], bare[stage]
        out.append(f"  {stage:12} {mine:>14,.0f} {mine / total:>7.0%} {least:>14,.0f} {mine - least:>10,.0f}")
    return [*out, f"  {'together':12} {total:>14,.0f} {'':7} {floor:>14,.0f} {total - floor:>10,.0f}", ""]
