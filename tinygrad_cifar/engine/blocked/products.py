"""Matrix products, as few large or as many small ones, whichever the BLAS library computes faster.

NumPy multiplies a stack of matrices by one matrix with one call of the library for each of the stack. The rows of all
of them are those of one matrix, and one product of it takes 0.2 to 1 of the time: (1000, 16, 256) @ (256, 256) in
float32 0.16, (64, 1, 128) @ (128, 128) 0.5 (interleaved, processor time, while other processes were running).

Before it multiplies, OpenBLAS copies both matrices into the order that its inner loops need. For a product with few
columns (a hundred images by ten classes) that takes as long as the multiplication. Its kernels for processors with
AVX-512 multiply matrices without the copy up to a million products of elements, so the product of a long and narrow
matrix is computed in blocks of that size, along its long side, in 0.4 to 0.9 of the time. With other kernels or shapes,
this is ``numpy.matmul``.

The engine does not look for the kernel itself: :func:`set_kernel_test` tells it how to find out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

_LARGEST_UNCOPIED = 1_000_000  # products of elements
_SHORTEST_BLOCK = 64  # rows or terms: below, the cost of a call exceeds the gain

_multiplies_directly: Callable[[], bool] = bool  # False, until set_kernel_test has been called


def set_kernel_test(multiplies_directly: Callable[[], bool]) -> None:
    """Set the function that returns whether the BLAS in use multiplies small matrices without copying them.

    It is called once, before the first large product.
    """
    global _multiplies_directly  # noqa: PLW0603 (a setting of the process, as the BLAS library is)
    _multiplies_directly = multiplies_directly
    _uses_blocks.cache_clear()


@cache
def _uses_blocks() -> bool:
    return _multiplies_directly()


def matmul(x: Any, y: Any) -> Any:
    """Compute ``numpy.matmul(x, y)``, with rounding errors of the same size."""
    try:
        if type(x) is not np.ndarray or type(y) is not np.ndarray or x.ndim < 2 or y.ndim != 2:  # noqa: PLR2004
            return np.matmul(x, y)
        if x.ndim == 2:  # noqa: PLR2004
            return np.matmul(x, y) if x.size * y.shape[1] <= _LARGEST_UNCOPIED else _multiply(x, y, None)
        if x.shape[-1] != y.shape[0] or x.dtype is not y.dtype or not x.flags.c_contiguous:
            return np.matmul(x, y)
        out = np.empty((*x.shape[:-1], y.shape[1]), x.dtype)
        rows = math.prod(x.shape[:-1])
        _multiply(x.reshape(rows, len(y)), y, out.reshape(rows, y.shape[1]))
    except ValueError as error:
        if reason := _find_mismatch(x, y):
            raise ValueError(reason) from error
        raise
    return out


def _find_mismatch(x: Any, y: Any) -> str:
    """Return which lengths differ, where NumPy states the signature of the operation; empty if these are equal."""
    shapes = np.shape(x), np.shape(y)
    if not all(shapes):
        return "x and y must have at least one axis; use multiply for numbers"
    ends = shapes[0][-1], shapes[1][-2:][0]
    if ends[0] == ends[1]:
        return ""
    place = "the only axis" if len(shapes[1]) == 1 else "the last axis but one"
    return f"the last axis of x has length {ends[0]}, and {place} of y {ends[1]}; they must be equal"


def _multiply(x: Any, y: Any, out: Any) -> Any:
    """Return the product of two matrices, in ``out`` if that is given."""
    (m, k), n = x.shape, y.shape[1]
    if (
        m * k * n <= _LARGEST_UNCOPIED
        or y.shape[0] != k
        or not _uses_blocks()
        or x.dtype is not y.dtype
        or x.dtype.char not in "fd"
    ):
        return np.matmul(x, y, out=out)
    blocks = _block_count(max(m, k), m * k * n)
    if not blocks:
        return np.matmul(x, y, out=out)
    if m > k:  # blocks of rows of the result
        out = np.empty((m, n), x.dtype) if out is None else out
        np.matmul(x.reshape(blocks, -1, k), y, out=out.reshape(blocks, -1, n))
        return out
    terms = np.matmul(x.reshape(m, blocks, -1).swapaxes(0, 1), y.reshape(blocks, -1, n))
    return np.add.reduce(terms, axis=0, out=out)


@cache
def _block_count(length: int, work: int) -> int:
    """Return the number of equal blocks to compute a product in; 0 for none."""
    fewest = -(-work // _LARGEST_UNCOPIED)
    return next((count for count in range(fewest, length // _SHORTEST_BLOCK + 1) if length % count == 0), 0)
