"""The history of a step: pytest-benchmark's table, kept from run to run and compared with the last ones.

Run it from the repository's root, on request only (its name is not one that pytest collects)::

    python -m pytest -W default benchmarks/history.py --benchmark-storage=runs/history --benchmark-{autosave,compare}

The first run has nothing to be compared with and warns of it; figures are kept in that folder, by machine. A commit
that makes a step slower shows in the comparison; ``--benchmark-compare-fail=median:20%`` makes it fail. Only the
neighbours within a run can be compared on a machine that others use: that is why hand-derived NumPy is timed, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from benchmarks import threads
from benchmarks.contestants import HAND, OURS
from benchmarks.worker import Worker
from benchmarks.works import REPORT_004, Work, works

_WORKS = [work for work in works() if not work.name.startswith(REPORT_004)]


@pytest.fixture(scope="module", params=[OURS, HAND])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """Start the contestant's process."""
    with closing(Worker(request.param, threads.decided())) as started:
        yield started


@pytest.mark.parametrize("work", _WORKS, ids=str)
def test_step(worker: Worker, work: Work, benchmark: Any) -> None:
    """Time ten steps in each round."""
    worker.losses(work, 1)
    benchmark.group = f"ten steps: {work}"
    benchmark.pedantic(worker.seconds, (10, 0), rounds=15, warmup_rounds=1)
