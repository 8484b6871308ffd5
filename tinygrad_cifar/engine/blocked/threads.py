"""Running the blocks of a large computation on as many threads as there are cores.

NumPy releases the interpreter's lock while it copies, computes element by element, and multiplies matrices, so Python
threads keep all cores busy, if each has its own block and scratch arrays. The blocks and the order in which results are
added do not depend on the number of threads, so the results have the same bits for every number. While blocks run,
BLAS multiplies on one thread: its own threads would compete with these.

The engine does not look for the number of cores or the BLAS library itself: :func:`set_system` tells it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from itertools import pairwise
from numbers import Integral
from typing import Any, TypeVar

B = TypeVar("B")

_SMALLEST = 2_000_000  # the least ``work`` of ``run``: below, starting a thread takes longer than it saves

_SHARES = 4

_cores: Callable[[], int] = int  # 0, until set_system has been called
_one_blas_thread: Callable[[], AbstractContextManager[Any]] = nullcontext
_chosen: int | None = None


def set_system(cores: Callable[[], int], one_blas_thread: Callable[[], AbstractContextManager[Any]]) -> None:
    """Set the function that counts the cores, and the context in which BLAS multiplies on one thread."""
    global _cores, _one_blas_thread
    _cores, _one_blas_thread = cores, one_blas_thread


def set_num_threads(count: int | None) -> None:
    """Set the number of threads of large convolutions, poolings, normalisations and activations, and of large updates.

    Results have the same bits for every number. The threads of matrix products are those of the BLAS library, which
    reads their number when NumPy is loaded (:func:`tinygrad_cifar.runtime`).

    Parameters
    ----------
    count : int or None
        Number of threads, at least 1. None: as many as cores, which is the default.

    Raises
    ------
    ValueError
        If ``count`` is not a positive integer.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.set_num_threads(1)
    >>> tg.set_num_threads(None)
    """
    global _chosen  # noqa: PLW0603 (a setting of the process)
    given: Any = count
    if count is not None and (isinstance(given, bool) or not isinstance(given, Integral) or count < 1):
        raise ValueError(f"set_num_threads: count must be a positive integer or None; got {count!r}")
    _chosen = count


def num_threads() -> int:
    """Return the number of threads of large computations."""
    return _chosen if _chosen is not None else max(1, _cores())


def run(blocks: Sequence[B], make_worker: Callable[[], Callable[[B], object]], work: int) -> None:
    """Process every block once, on several threads if it is worth it.

    Parameters
    ----------
    blocks : sequence
        Descriptions of the blocks, such as slices.
    make_worker : callable
        Called once in each thread; returns the function that processes a block. It allocates the scratch arrays.
    work : int
        Estimated cost: the number of multiplications; an element-wise pass counts as several per element.
    """
    count = min(num_threads(), len(blocks)) if work >= _SMALLEST else 1
    with _one_blas_thread():
        if count <= 1:
            process = make_worker()
            for block in blocks:
                process(block)
        else:
            _run_on_threads(blocks, make_worker, count)


def _run_on_threads(blocks: Sequence[B], make_worker: Callable[[], Callable[[B], object]], count: int) -> None:
    remaining, lock = list(reversed(blocks)), threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            process = make_worker()
            while True:
                with lock:
                    if errors or not remaining:
                        return
                    block = remaining.pop()
                process(block)
        except BaseException as error:  # noqa: BLE001 (raised below, in the thread of the caller)
            errors.append(error)

    # Each thread has the context of the caller, to which NumPy's error state belongs.
    others = []
    for _ in range(count - 1):
        thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system starts no more threads: those that there are process all blocks
            break
        others.append(thread)
    work()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]


def split(length: int, size: int) -> list[slice]:
    """Return the slices of at most ``size`` positions that cover ``length`` positions."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def split_images(count: int, most: int, work: int) -> tuple[list[slice], int]:
    """Return blocks of at most ``most`` images (:func:`split_equally`), and the number of images of the largest."""
    blocks = split_equally(count, max(1, min(count, most)), work)
    return blocks, max([block.stop - block.start for block in blocks])


def split_equally(length: int, most: int, work: int) -> list[slice]:
    """Return slices of nearly the same length, at most ``most``, that cover ``length`` positions.

    If the work, as in :func:`run`, is worth several threads, the number of slices is a multiple of four (or each has
    one position), so that two or four threads have equal shares. It does not depend on the number of threads.
    """
    count = -(-length // most)
    if work >= _SMALLEST:
        count = min(length, -(-count // _SHARES) * _SHARES)
    bounds = [length * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def split_evenly(blocks: Sequence[B], parts: int) -> list[Sequence[B]]:
    """Return ``parts`` or fewer runs of neighbouring blocks of about the same number."""
    bounds = [len(blocks) * i // parts for i in range(parts + 1)]
    return [blocks[start:stop] for start, stop in pairwise(bounds) if start < stop]
