"""How much faster a search is on several processes: report 004's coarse grid of 49 settings, in turn each way.

Run it from the repository's root as ``python -m benchmarks.search_throughput``, with ``--data DIR`` for CIFAR-10. Each
way starts its own workers and loads the data in each, and all that is counted. *Serial* is one worker that uses one
BLAS thread; the same with as many threads as cores is what a plain loop over the settings would be. The processor time
is told, too: on a machine that is busy with other things it says more than the clock does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.search import Choice, Space, ValidationAccuracy, search
from tinygrad_cifar.system.blas import relaunch, runtime, usable_cores
from tinygrad_cifar.system.processes import ProcessExecutor

COARSE = Settings(
    model="two-layer",
    hidden=(50,),
    init="xavier",
    preprocessing="centre",
    train_batches=(1,),
    validation_batch=5,
    schedule="exponential",
    decay=0.998,
    momentum=0.8,
    epochs=5,
    batch_size=10_000,
)
GRID: Space = {
    "lam": Choice([0.001, 0.005, 0.01, 0.05, 0.1, 0.3, 0.5]),
    "eta": Choice([0.5, 0.3, 0.1, 0.05, 0.01, 0.005, 0.001]),
}
BUILTIN_BATCH = 2_000  # as many images as a batch of the built-in data has


def seconds(objective: ValidationAccuracy, workers: int, threads: int) -> float:
    """Return how long the search takes on so many workers with so many BLAS threads each."""
    start, before = time.perf_counter(), processor_seconds()
    with ProcessExecutor(workers, threads=threads) as executor:
        found = search(objective, GRID, executor=executor, workers=workers)
    taken = time.perf_counter() - start
    spent = processor_seconds() - before
    best, unfinished = found[0], sum(trial.state != "complete" for trial in found)
    print(
        f"  {workers} x {threads}: {taken:6.1f} s ({spent:.1f} s of processor time); {len(found)} trials, "
        f"{unfinished} incomplete; the best {best.value:.2%} with {best.params}"
    )
    return taken


def processor_seconds() -> float:
    """Return the processor time of the worker processes that have ended; 0 on systems that do not count it."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Measure each way in turn, as often as asked, and compare the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="builtin", metavar="DIR", help="the folder with CIFAR-10, or `builtin`")
    parser.add_argument("--workers", type=int, default=max(2, usable_cores()), help="processes of the parallel search")
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is measured")
    options = parser.parse_args()
    base = replace(COARSE, batch_size=BUILTIN_BATCH) if options.data == "builtin" else COARSE
    objective = ValidationAccuracy(base, options.data)
    cores = usable_cores()
    ways = {"serial": (1, 1), f"serial, {cores} BLAS threads": (1, cores), "parallel": (options.workers, 1)}
    print(f"{len(GRID['lam'].grid()) * len(GRID['eta'].grid())} settings; {runtime()}; workers x BLAS threads:")
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.repeats):
        for way, (workers, threads) in ways.items():
            taken[way].append(seconds(objective, workers, threads))
    medians = {way: statistics.median(times) for way, times in taken.items()}
    for way in list(ways)[:-1]:
        ratio = medians["parallel"] / medians[way]
        print(f"{options.workers} processes take {ratio:.2f} of the time of {way} ({medians[way]:.1f} s)")


if __name__ == "__main__":
    relaunch(["-m", "benchmarks.search_throughput", *sys.argv[1:]])
    main()
