"""Worker processes of this machine, each in a pool of its own, with one BLAS thread each.

Python's process pool is one fate: when a worker dies, every call that the pool holds fails, and the pool is
spent. Here each worker is a pool of one, so a death fails the calls of that worker alone, and another takes its
place. Matrix products in several processes that each use all cores are slower than one process alone, so each
worker is told to use one; BLAS reads that when NumPy is loaded, so it is said before the process starts.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from tinygrad_cifar.system.blas import THREAD_VARIABLES, usable_cores

P = ParamSpec("P")
T = TypeVar("T")


class ProcessExecutor(Executor):
    """An executor that survives its workers.

    The workers are spawned, not forked, when there is something to do, and end with the process that owns them,
    even if that is killed. As always with spawned processes, what they call must be importable, and a script that
    starts them must do so below ``if __name__ == "__main__":``.

    Parameters
    ----------
    workers : int, optional
        How many; by default one for each core that this process may use.
    threads : int
        How many threads BLAS uses in each.

    Attributes
    ----------
    workers : int
        How many there are.

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
            raise ValueError(f"there must be at least 1 worker with 1 thread; got {workers} with {threads}")
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._leash, self._hand = self._context.Pipe(duplex=False)
        self._pools = [self._new_pool() for _ in range(self.workers)]
        self._waiting = [0] * self.workers
        self._lock = threading.Lock()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, initializer=_exit_with_parent, initargs=(self._leash,))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Give a call to the worker that has the fewest, replacing it first if it has died."""
        with self._lock, blas_threads(self._threads), _block_sigint():
            k = min(range(self.workers), key=self._waiting.__getitem__)
            try:
                future = self._pools[k].submit(fn, *args, **kwargs)
            except BrokenProcessPool:
                self._pools[k].shutdown(wait=False)  # its thread may be at _release_slot, which waits for the lock
                self._pools[k] = self._new_pool()
                future = self._pools[k].submit(fn, *args, **kwargs)
            self._waiting[k] += 1
        future.add_done_callback(lambda _: self._release_slot(k))
        return future

    def _release_slot(self, k: int) -> None:
        with self._lock:
            self._waiting[k] -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when they have done theirs."""
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self.kill()
            self._leash.close()

    def kill(self) -> None:
        """End the workers at once, whatever they are at."""
        self._hand.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.shutdown(cancel_futures=kind is not None)


def _exit_with_parent(leash: Connection) -> None:
    """Make a worker end when its owner lets go or dies, and leave Ctrl-C to the owner."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        with suppress(EOFError, OSError):
            leash.recv_bytes()  # nothing is ever sent: this returns when no process has the other end any more
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Let the processes started in this block never hear Ctrl-C, not even before :func:`_follow`; ours is only late."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let the processes started in this block use so many BLAS threads; nothing changes for this one."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
