"""Time of the four stages of a step: gather, forward, backward and update, of this library and of the bare kernels.

Both use NumPy's BLAS library and its threads, so they share a process and are interleaved step by step. The work of
``training.fit`` between the stages (counting, callbacks, checks for NaN) is part of the table of steps only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.implementations.bare_kernels import Kernels
from benchmarks.implementations.ours import classifier
from benchmarks.options import Options
from benchmarks.timing import spread
from benchmarks.workloads import Array, Problem, Workload, make_problem, workloads
from tinygrad_cifar.data.batches import iterate_batches
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.nn.optim import SGD

STAGES = ("gather", "forward", "backward", "update")
Times = list[float]


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time the stages of every workload.

    Returns
    -------
    dict
        ``rows``: each workload with the microseconds of each stage, for ``ours`` and ``bare``: medians over the steps.
    """
    rows = []
    for workload in workloads(quick=options.quick):
        problem = make_problem(workload)
        ours, bare = _ours(problem), _bare(problem)
        few = options.quick or workload.batch > 100  # noqa: PLR2004
        both = [(next(ours), next(bare)) for _ in range(5 if options.quick else 9 if few else 200)]
        rows.append(
            {
                "workload": workload.to_json(),
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
    optimiser = SGD(model.parameters(), problem.workload.eta, weight_decay=2 * problem.workload.lam)
    rng = problem.generator()
    buffers: list[Array] = []
    while True:
        batches = iterate_batches(problem.X, problem.labels, problem.workload.batch, rng, buffers=buffers)
        for _ in range(problem.workload.images // problem.workload.batch):
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
    # Another order, since the second to gather the same images would find them in the cache.
    rng, n = np.random.default_rng(4), problem.workload.batch
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
    """Return the tables as lines of text."""
    return [line for row in result["rows"] for line in _block(row)]


def _block(row: dict[str, Any]) -> list[str]:
    ours, bare = row["ours"], row["bare"]
    total, bound = sum(ours.values()), sum(bare.values())
    out = [
        f"{Workload.from_json(row['workload'])}: microseconds by stage",
        f"  {'':12} {'this library':>14} {'share':>7} {'bare kernels':>14} {'difference':>10}",
    ]
    for stage in STAGES:
        time, least = ours[stage], bare[stage]
        out.append(f"  {stage:12} {time:>14,.0f} {time / total:>7.0%} {least:>14,.0f} {time - least:>10,.0f}")
    return [*out, f"  {'total':12} {total:>14,.0f} {'':7} {bound:>14,.0f} {total - bound:>10,.0f}", ""]
