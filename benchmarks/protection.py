"""What it costs to protect a gradient: the two-layer step without any protection, as it is, and traced, in turns.

Protection is what keeps arrays that somebody else could write to from spoiling a gradient: constants and labels are
copied when a rule needs them, a parameter is updated in place only if nobody else holds its array, and a batch is
shared only after it was seen that nobody else can write to it. Traced is the same step inside ``trace_nonfinite``.

What is counted is the time that the process computes, so that it matters little what else the machine does; with
several threads BLAS would have its waiting counted, so give it one.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.protection [--quick]
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import Any

from benchmarks.contestants.ours import classifier
from benchmarks.timing import ratio, spread
from benchmarks.works import TWO_LAYERS, Problem, Work, make, works
from tinygrad_cifar import Tensor, from_numpy, trace_nonfinite
from tinygrad_cifar.data.batches import iterate_batches
from tinygrad_cifar.engine import graph
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.nn.optim import SGD

LIMITS = {"protected": 1.05, "traced": 1.15}  # of the time of a step without
_ROUNDS = 2001
_WARM = 20


def measure(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Time the steps.

    Returns
    -------
    dict
        ``rows``: each work with the seconds of a step in each round, ``bare``, ``protected`` and ``traced``.
    """
    rows = []
    for work in works(quick=quick):
        if work.name.startswith(TWO_LAYERS):
            problem = make(work)
            steps = [partial(next, steps(problem)) for steps in (_bare, _protected, _traced)]
            times = _in_turns(steps, 2 if quick else _ROUNDS)
            rows.append({"work": work.to_json(), **dict(zip(("bare", "protected", "traced"), times, strict=True))})
            say("\n".join(_block(rows[-1])))
    return {"rows": rows}


def _in_turns(steps: list[Callable[[], None]], rounds: int) -> list[list[float]]:
    """Return, for each kind of step, its seconds in each round; the first rounds only warm up.

    Every round begins with another kind: who comes after whom is worth some per cent.
    """
    times: list[list[float]] = [[] for _ in steps]
    gc.disable()
    try:
        for start in range(rounds + _WARM):
            for i in range(start, start + len(steps)):
                started = process_time()
                steps[i % len(steps)]()
                times[i % len(steps)].append(process_time() - started)
    finally:
        gc.enable()
    return [taken[_WARM:] for taken in times]


def _protected(
    problem: Problem, constant: Callable[[Any], Tensor] = from_numpy, kind: type[SGD] = SGD
) -> Iterator[None]:
    """Make a step each time that it is asked for one."""
    model = classifier(problem)
    optimiser = kind(model.parameters(), problem.work.eta, weight_decay=2 * problem.work.lam)
    rng = problem.generator()
    while True:
        for X, labels in iterate_batches(problem.X, problem.labels, problem.work.batch, rng):
            optimiser.zero_grad()
            loss = model.loss(constant(X), labels)
            loss.item()
            loss.backward()
            optimiser.step()
            del loss
            yield


def _traced(problem: Problem) -> Iterator[None]:
    steps = _protected(problem)
    while True:
        with trace_nonfinite():
            next(steps)
        yield


class _Careless(SGD):
    """Writes to the parameters' arrays without asking."""

    def step(self) -> None:
        eta = self.eta
        for p in self.parameters:
            if p.grad is not None:
                self._update_in_blocks([p.grad._array], eta, self.weight_decay if p.ndim > 1 else 0.0, p._array)
        self.steps += 1


def _bare(problem: Problem) -> Iterator[None]:
    steps = _protected(problem, wrap_without_copy, _Careless)
    own = graph._own
    while True:
        graph._own = _as_it_is
        next(steps)
        graph._own = own
        yield


def _as_it_is(operand: Any) -> Any:
    return operand


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table for a terminal."""
    return [line for row in result["rows"] for line in _block(row)]


def _block(row: dict[str, Any]) -> list[str]:
    out = [f"{Work.from_json(row['work'])}: {1e6 * spread(row['bare']).median:,.0f} us without any protection"]
    out += [f"  {'':12} {'median of ratios (quartiles)':>30} {'ratio of medians':>18} {'limit':>7}"]
    for name, of in (("protected", "bare"), ("traced", "protected")):
        share = ratio(row[name], row[of])
        quartiles = f"{share.median:.3f} ({share.low:.3f} - {share.high:.3f})"
        medians = spread(row[name]).median / spread(row[of]).median
        out.append(f"  {name:12} {quartiles:>30} {medians:>18.3f} {LIMITS[name]:>7}")
    return [*out, ""]


if __name__ == "__main__":
    measure(quick="--quick" in sys.argv[1:], say=print)
