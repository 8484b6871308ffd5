"""Worker processes on this machine, each in its own pool and with one BLAS thread, and a loop that runs jobs on them.

When a worker of Python's process pool dies, every pending call of the pool fails and the pool cannot be used again.
Here each worker is a pool of one, so its death fails only its own calls, and a new worker replaces it. Several
processes that each compute matrix products on all cores are slower than one, so each worker uses one BLAS thread; BLAS
reads that setting when NumPy is imported, so it is set before the process starts.

Workers search the same folders for modules as this process. Without further measures, Python would search the current
folder first until a worker has received that list.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

from tinygrad_cifar.system.blas import THREAD_VARIABLES, share_cores, usable_cores

_NO_TRACKER_WARNINGS = "ignore:resource_tracker:UserWarning"

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")
R = TypeVar("R")


class ProcessExecutor(Executor):
    """An executor that replaces workers that die.

    The workers are spawned, not forked, when the first calls are submitted. They end with the process that owns them,
    even if it is killed. As always with spawned processes, the functions they call must be importable, and a script
    must start them below ``if __name__ == "__main__":``.

    Parameters
    ----------
    workers : int, optional
        Number of processes. Default: the number of cores that this process may use.
    threads : int
        Number of BLAS threads in each process.

    Attributes
    ----------
    workers : int
        Number of processes.

    Raises
    ------
    ValueError
        If ``workers`` or ``threads`` is less than 1.

    Examples
    --------
    >>> import math
    >>> from tinygrad_cifar.system.processes import ProcessExecutor
    >>> with ProcessExecutor(1) as executor:
    ...     executor.submit(math.sqrt, 4).result()
    2.0
    """

    def __init__(self, workers: int | None = None, *, threads: int = 1) -> None:
        self.workers = usable_cores() if workers is None else workers
        if self.workers < 1 or threads < 1:
            raise ValueError(f"workers and threads must be at least 1; got {workers} and {threads}")
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._parent_alive, self._keep_alive = self._context.Pipe(duplex=False)
        with _safe_start():
            resource_tracker.ensure_running()
        self._pools = [self._new_pool() for _ in range(self.workers)]
        self._pending = [0] * self.workers
        self._submitting = threading.Lock()
        # A pool calls _release_slot with a lock of its own, which submitting needs: hence two locks.
        self._counting = threading.Lock()

    def _new_pool(self) -> ProcessPoolExecutor:
        arguments = (self._parent_alive, self.workers)
        return ProcessPoolExecutor(1, self._context, initializer=_start_worker, initargs=arguments)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call to the worker with the fewest pending calls, after replacing it if it has died."""
        with self._submitting, blas_threads(self._threads), _safe_start(), _block_sigint():
            with self._counting:
                k = min(range(self.workers), key=self._pending.__getitem__)
            try:
                future = self._pools[k].submit(fn, *args, **kwargs)
            except BrokenProcessPool:
                self._pools[k].shutdown(wait=False)
                self._pools[k] = self._new_pool()
                future = self._pools[k].submit(fn, *args, **kwargs)
            with self._counting:
                self._pending[k] += 1
        future.add_done_callback(lambda _: self._release_slot(k))
        return future

    def _release_slot(self, k: int) -> None:
        with self._counting:
            self._pending[k] -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and end the workers after their pending calls."""
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self.kill()
            self._parent_alive.close()

    def kill(self) -> None:
        """End the workers immediately, without waiting for their calls."""
        self._keep_alive.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.shutdown(cancel_futures=kind is not None)


@dataclass(frozen=True)
class JobResult(Generic[J, R]):
    """The result of a job, or the reason why there is none.

    Attributes
    ----------
    job : object
        The job.
    value : object, optional
        The value that the job's function returned; None if its worker was lost.
    error : Exception, optional
        The exception of the executor if the worker was lost more than ``retries`` times, else None.
    attempts : int
        The number of times that the job was started.
    """

    job: J
    value: R | None
    error: Exception | None
    attempts: int


class ExecutorClosedError(RuntimeError):
    """An executor that accepts no more calls."""


def run_jobs(
    executor: Executor, function: Callable[[J], R], jobs: Iterable[J], *, workers: int, retries: int = 2
) -> Generator[JobResult[J, R], None, None]:
    """Run jobs on an executor, each in one call, and yield each result as soon as it is there.

    A job is taken from ``jobs`` when a worker is free to run it, after the results so far have been yielded, so the
    iterable may depend on them. Use :func:`contextlib.closing` so that pending calls are cancelled on an exception.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Executor of the calls.
    function : callable
        Picklable function of a job. It handles its own errors: any exception of a call is taken for the loss of its
        worker, since each executor reports that in its own way.
    jobs : iterable
        The jobs.
    workers : int
        Number of calls to have pending at once.
    retries : int
        Number of times that a job is started again after its worker was lost.

    Yields
    ------
    JobResult
        One for each job, in the order in which they end.

    Raises
    ------
    ExecutorClosedError
        If the executor accepts no more calls, as Python's process pool after the death of a worker.

    Examples
    --------
    >>> import math
    >>> from tinygrad_cifar.system.processes import ProcessExecutor, run_jobs
    >>> with ProcessExecutor(1) as executor:
    ...     [result.value for result in run_jobs(executor, math.sqrt, [4, 9], workers=1)]
    [2.0, 3.0]
    """
    remaining, again = iter(jobs), deque[tuple[J, int]]()
    pending: dict[Future[R], tuple[J, int]] = {}
    try:
        while True:
            while len(pending) < workers and (start := _next(again, remaining)) is not None:
                try:
                    # The identifier makes the arguments unique: Dask merges calls with equal arguments.
                    future = executor.submit(_run_job, function, start[0], uuid.uuid4().hex)
                except RuntimeError as error:  # includes BrokenExecutor
                    raise ExecutorClosedError(str(error)) from error
                pending[future] = start
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                job, attempt = pending.pop(future)
                try:
                    result = JobResult[J, R](job, future.result(), None, attempt)
                except Exception as error:  # noqa: BLE001 (each executor has its own exception for a lost worker)
                    if attempt <= retries:
                        again.append((job, attempt + 1))
                        continue
                    result = JobResult[J, R](job, None, error, attempt)
                yield result
    finally:
        for future in pending:
            future.cancel()


def _next(again: deque[tuple[J, int]], remaining: Iterator[J]) -> tuple[J, int] | None:
    """Return the next job to start, with the number of the attempt."""
    if again:
        return again.popleft()
    try:
        return next(remaining), 1
    except StopIteration:
        return None


def _run_job(function: Callable[[J], R], job: J, _identifier: str) -> R:
    return function(job)


def _start_worker(parent_alive: Connection, workers: int) -> None:
    """Prepare a worker process: the cores are shared, and it ends with its parent."""
    share_cores(workers)
    _exit_with_parent(parent_alive)


def _exit_with_parent(parent_alive: Connection) -> None:
    """Make a worker exit when its parent closes the pipe or dies, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait_for_parent() -> None:
        with suppress(EOFError, OSError):
            parent_alive.recv_bytes()  # nothing is ever sent: this returns when the other end is closed
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Start the processes of this block with Ctrl-C blocked, before :func:`_exit_with_parent` ignores it.

    In this process, the signal is delivered after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by new processes
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _safe_start() -> Iterator[None]:
    """Start the processes of this block without modules of the current folder, and the tracker without its warnings.

    The resource tracker of multiprocessing is a process that removes what killed processes have left. It would warn of
    that on the standard error, after the end of the process that the user has stopped.
    """
    sys.warnoptions.append(_NO_TRACKER_WARNINGS)  # started processes have the same options
    try:
        with _environment({"PYTHONSAFEPATH": "1"}), _isolated() if sys.version_info < (3, 11) else nullcontext():
            yield
    finally:
        sys.warnoptions.remove(_NO_TRACKER_WARNINGS)


@contextmanager
def _isolated() -> Iterator[None]:
    """Start the processes of this block with the option -I, since Python 3.10 does not know PYTHONSAFEPATH.

    The option also ignores the user's environment; what matters of it, the list of folders, is sent to the workers.
    """
    util: Any = multiprocessing.util
    options = util._args_from_interpreter_flags
    util._args_from_interpreter_flags = lambda: ["-I", *options()]
    try:
        yield
    finally:
        util._args_from_interpreter_flags = options


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Start the processes of this block with ``count`` BLAS threads; this process is not affected."""
    with _environment(dict.fromkeys(THREAD_VARIABLES, str(count))):
        yield


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in this block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
