"""Element-wise functions of large arrays, block by block.

A function of several steps writes its intermediate results to memory and reads them again, unless it is applied to
blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import memory, threads

_BLOCK_BYTES = 131_072


def apply_in_blocks(function: Callable[..., Any], *arrays: Any) -> Any:
    """Return ``function(*arrays)`` for an element-wise function of arrays of the same shape.

    Small arrays, integers, arrays of different shapes or dtypes, and arrays that are not C-contiguous are passed as a
    whole.
    """
    first = arrays[0]
    if not all(
        type(x) is np.ndarray and x.flags.c_contiguous and x.shape == first.shape and x.dtype is first.dtype
        for x in arrays
    ):
        return function(*arrays)
    if first.dtype.kind != "f" or first.nbytes <= 2 * _BLOCK_BYTES:
        return function(*arrays)
    out = memory.empty(first.shape, first.dtype)
    flat_out, flat = out.reshape(-1), [x.reshape(-1) for x in arrays]

    def process(block: slice) -> None:
        flat_out[block] = function(*[x[block] for x in flat])

    threads.run(threads.split(first.size, _BLOCK_BYTES // first.itemsize), lambda: process, 4 * first.size)
    return out
