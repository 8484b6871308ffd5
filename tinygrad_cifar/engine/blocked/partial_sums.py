"""Sums over the blocks of a computation: a few partial sums, each computed by one thread.

Which blocks belong to a partial sum, and their order, do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import threads

_MOST = 16  # at most so many threads compute them


def partial_sums(
    blocks: Sequence[slice],
    make_writer: Callable[[], Callable[[slice, Any], object]],
    shape: tuple[int, ...],
    dtype: Any,
    work: int,
) -> Any:
    """Return sums of the terms of neighbouring blocks, of shape (number of sums, *shape).

    ``make_writer()`` is called once in each thread; it returns the function that writes the term of a block to an
    array. ``work`` is that of :func:`~tinygrad_cifar.engine.blocked.threads.run`.
    """
    runs = threads.split_evenly(blocks, _MOST)
    sums = np.empty((len(runs), *shape), dtype)

    def make_worker() -> Any:
        write, term = make_writer(), np.empty(shape, dtype)

        def process(place: int) -> None:
            own = sums[place]
            for i, block in enumerate(runs[place]):
                write(block, term if i else own)
                if i:
                    own += term

        return process

    threads.run(range(len(runs)), make_worker, work)
    return sums
