"""Worker processes, and jobs that survive the death of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.engine.blocked.threads import num_threads
from tinygrad_cifar.system import blas, processes
from tinygrad_cifar.system.blas import THREAD_VARIABLES
from tinygrad_cifar.system.processes import ExecutorClosedError, JobResult, ProcessExecutor, blas_threads, run_jobs

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


@pytest.mark.parametrize("workers", [1, 2, 100])
def test_workers_share_the_cores(workers: int) -> None:
    """The threads of large computations in all workers together are as many as the cores, or one in each."""
    with ProcessExecutor(workers) as executor:
        assert executor.submit(num_threads).result() == max(1, blas.usable_cores() // workers)


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


# -- the life of a worker ----------------------------------------------------------------------------------------------


def own_process(_: Any = None) -> int:
    return os.getpid()


def wait_for_file(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


def touch_and_wait(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)
    (Path(folder) / "the end").touch()


def ignores_interrupts() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def is_running(process: int) -> bool:
    """Return whether a process exists that is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the condition is not met in half a minute"
        time.sleep(0.01)


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def test_calls_go_to_the_worker_with_the_fewest_pending_calls(tmp_path: Path) -> None:
    with ProcessExecutor(2) as executor:
        blocked = executor.submit(wait_for_file, str(tmp_path / "go"))
        others = {executor.submit(own_process).result() for _ in range(3)}
        (tmp_path / "go").touch()
        assert len(others) == 1
        assert blocked.result() not in others


def test_a_worker_is_free_again_after_its_call(tmp_path: Path) -> None:
    with ProcessExecutor(2) as executor:
        first = executor.submit(own_process).result()
        blocked = executor.submit(wait_for_file, str(tmp_path / "go"))
        assert executor.submit(own_process).result() != first  # the first worker is the one that is blocked
        (tmp_path / "go").touch()
        assert blocked.result() == first


@posix
def test_a_dead_worker_is_replaced() -> None:
    with ProcessExecutor(1) as executor:
        with pytest.raises(BrokenProcessPool):
            executor.submit(kill_worker, 2).result()
        assert executor.submit(square, 3).result() == 9
        assert executor.submit(square, 4).result() == 16


def test_a_call_may_end_while_another_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that breaks ends its calls with a lock that its ``submit`` needs."""

    class Pool:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.futures: list[Future[None]] = []

        def submit(self, *_: Any) -> Future[None]:
            if self.futures:
                ending = threading.Thread(target=self.futures[-1].set_result, args=(None,), daemon=True)
                ending.start()
                ending.join(10)
                assert not ending.is_alive()
            self.futures.append(Future())
            return self.futures[-1]

        def shutdown(self, *_: Any, **__: Any) -> None:
            pass

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    with ProcessExecutor(1) as executor:
        first, second = executor.submit(square, 1), executor.submit(square, 2)
        assert (first.done(), second.done()) == (True, False)


def test_a_closed_executor_accepts_no_calls() -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(square, 2).result()
    with pytest.raises(RuntimeError):
        executor.submit(square, 2)


def test_leaving_the_block_waits_for_pending_calls() -> None:
    with ProcessExecutor(1) as executor:
        futures = [executor.submit(square, x) for x in range(4)]
    assert [future.result(timeout=0) for future in futures] == [0, 1, 4, 9]


@linux
def test_leaving_the_block_with_an_error_does_not_wait_for_calls(tmp_path: Path) -> None:
    def fail() -> None:
        with ProcessExecutor(1) as executor:
            executor.submit(touch_and_wait, str(tmp_path))
            waiting.extend(executor.submit(square, 2) for _ in range(5))
            wait_until(lambda: any(tmp_path.iterdir()))
            raise ZeroDivisionError

    waiting: list[Future[int]] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    # Cancelled, or lost with the worker, whichever the executor notices first; in either case it was not carried out.
    with pytest.raises((CancelledError, BrokenProcessPool)):
        waiting[-1].result(timeout=10)
    (process,) = (int(path.name) for path in tmp_path.iterdir())  # and not "the end"
    wait_until(lambda: not is_running(process))


@linux
def test_leaving_the_block_ends_the_workers() -> None:
    with ProcessExecutor(2) as executor:
        processes = {executor.submit(own_process).result() for _ in range(4)}
    wait_until(lambda: not any(map(is_running, processes)))


@linux
def test_a_closed_executor_leaves_no_handles_open() -> None:
    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with ProcessExecutor(1) as executor:  # starts what multiprocessing keeps
        executor.submit(own_process).result()
    before = handles()
    kept = []  # alive, so that closing is not left to the garbage collector
    for _ in range(3):
        with ProcessExecutor(1) as executor:
            executor.submit(own_process).result()
        kept.append(executor)
    assert handles() == before


@posix
def test_workers_leave_interrupts_to_their_parent() -> None:
    with ProcessExecutor(1) as executor:
        assert executor.submit(ignores_interrupts).result()


@linux
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.system.test_processes import ProcessExecutor, touch_and_wait\n"
        "if __name__ == '__main__':\n"
        "    executor = ProcessExecutor(1); executor.submit(touch_and_wait, sys.argv[1]).result()"
    )
    paths = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: any(tmp_path.iterdir()))
        (worker,) = (int(path.name) for path in tmp_path.iterdir())
        assert is_running(worker)
        parent.kill()
    wait_until(lambda: not is_running(worker))


@posix
@pytest.mark.parametrize("options", [{}, {"retries": 0}, {"retries": 3}])
def test_a_job_is_started_again_twice_by_default(options: dict[str, int]) -> None:
    with ProcessExecutor(1) as executor:
        (result,) = run_jobs(executor, kill_worker, [2], workers=1, **options)
    assert result.attempts == options.get("retries", 2) + 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_as_many_calls_are_pending_as_there_are_workers(workers: int) -> None:
    executor = PendingExecutor()
    with closing(run_jobs(executor, square, range(9), workers=workers)) as results:
        next(results)
        assert len(executor.futures) == workers


@given(st.lists(st.sampled_from(THREAD_VARIABLES), unique=True), st.integers(1, 99))
def test_thread_variables_are_set_in_the_block_and_restored_afterwards(given_before: list[str], count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in THREAD_VARIABLES:
            patch.delenv(name, raising=False)
        for name in given_before:
            patch.setenv(name, "7")
        before = dict(os.environ)
        with blas_threads(count):
            assert {os.environ[name] for name in THREAD_VARIABLES} == {str(count)}
        assert dict(os.environ) == before


def blocked_signals() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_the_calls_of_one_worker_run_one_after_the_other(tmp_path: Path) -> None:
    with ProcessExecutor(1) as executor:
        first = executor.submit(wait_for_file, str(tmp_path / "go"))
        second = executor.submit(own_process)
        (tmp_path / "go").touch()
        assert first.result() == second.result()


@posix
def test_workers_start_with_interrupts_blocked_and_their_parent_is_not_affected() -> None:
    with ProcessExecutor(1) as executor:
        assert signal.SIGINT in executor.submit(blocked_signals).result()
        assert signal.SIGINT not in blocked_signals()


def test_a_closed_executor_waits_only_if_asked(tmp_path: Path) -> None:
    executor = ProcessExecutor(1)
    blocked = executor.submit(wait_for_file, str(tmp_path / "go"))
    waiting = [executor.submit(square, x) for x in range(5)]
    executor.shutdown(wait=False)
    assert not blocked.done()
    (tmp_path / "go").touch()
    assert [future.result() for future in waiting] == [0, 1, 4, 9, 16]  # calls are not cancelled by default
    executor.shutdown()
