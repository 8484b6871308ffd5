"""Worker processes, and jobs that survive the death of a worker."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cifar.system import blas, processes
from tinygrad_cifar.system.processes import ExecutorClosedError, JobResult, ProcessExecutor, run_jobs

posix = pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX systems do")


# Functions that worker processes can import.


def worker_blas() -> tuple[int | None, str]:
    return blas.runtime().threads, os.environ["OPENBLAS_NUM_THREADS"]


def worker_folders() -> list[str]:
    return [str(Path(folder).absolute()) for folder in sys.path]


def square(x: int) -> int:
    return x * x


def kill_worker_once(job: tuple[str, int]) -> int:
    folder, x = job
    started = Path(folder) / str(x)
    if x == 2 and not started.exists():
        started.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def kill_worker(x: int) -> int:
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


class PendingExecutor(Executor):
    """An executor whose first call ends and whose other calls stay pending."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if not self.futures:
            future.set_result(fn(*args, **kwargs))
        self.futures.append(future)
        return future


def test_workers_have_one_blas_thread_and_the_parents_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with ProcessExecutor(1) as executor:
        threads, variable = executor.submit(worker_blas).result()
    assert threads in (1, None)  # None: the number of threads of this BLAS cannot be read
    assert variable == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("isolated", [False, True])  # as on Python 3.11 and newer, and as on Python 3.10
def test_workers_search_the_folders_of_their_parent(isolated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("/some/folder")
    monkeypatch.setenv("PYTHONPATH", "/another")
    with processes._isolated() if isolated else nullcontext(), ProcessExecutor(1) as executor:
        assert executor.submit(worker_folders).result() == [str(Path(folder).absolute()) for folder in sys.path]
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"workers": 1, "threads": 0}])
def test_workers_and_threads_must_be_positive(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        ProcessExecutor(**arguments)


def test_every_job_is_run_once() -> None:
    with ThreadPoolExecutor(2) as executor:
        results = list(run_jobs(executor, square, range(5), workers=2))
    assert sorted((r.job, r.value, r.error, r.attempts) for r in results) == [(x, x * x, None, 1) for x in range(5)]


def test_a_job_is_drawn_after_the_results_so_far() -> None:
    seen: list[int] = []

    def jobs() -> Iterator[int]:
        for k in range(4):
            assert seen == list(range(k))
            yield k

    with ThreadPoolExecutor(1) as executor:
        for result in run_jobs(executor, square, jobs(), workers=1):
            seen.append(result.job)  # noqa: PERF401 (the jobs look at it meanwhile)
    assert seen == [0, 1, 2, 3]


@posix
def test_the_job_of_a_killed_worker_is_run_again(tmp_path: Path) -> None:
    with ProcessExecutor(2) as executor:
        jobs = [(str(tmp_path), x) for x in range(5)]
        results = list(run_jobs(executor, kill_worker_once, jobs, workers=2))
    assert sorted((r.value, r.attempts) for r in results) == [(0, 1), (1, 1), (2, 2), (3, 1), (4, 1)]


@posix
def test_a_job_that_always_kills_its_worker_ends_with_an_error() -> None:
    with ProcessExecutor(1) as executor:
        results: dict[int, JobResult[int, int]] = {
            r.job: r for r in run_jobs(executor, kill_worker, range(4), workers=1, retries=1)
        }
    assert [results[x].value for x in range(4)] == [0, 1, None, 3]
    assert results[2].error is not None
    assert results[2].attempts == 2


@posix
def test_an_executor_that_breaks_is_reported() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(ExecutorClosedError):
        list(run_jobs(pool, kill_worker, range(4), workers=1))


def test_closing_cancels_pending_calls() -> None:
    executor = PendingExecutor()
    with closing(run_jobs(executor, square, range(9), workers=3)) as results:
        next(results)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]
