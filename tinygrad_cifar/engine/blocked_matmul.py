"""Products of two matrices, cut into pieces where the BLAS library multiplies small matrices better than large ones.

OpenBLAS copies both matrices into an order that its inner loops like before it multiplies. For a product with few
columns (a hundred images by ten classes) that takes as long as the multiplication. Its kernels for processors with
AVX-512 multiply matrices of up to a million products of elements without the copy; so a product of a long and narrow
matrix is cut along its long side into pieces of that size, and takes 0.4 to 0.9 of the time. Where the library, its
kernel or the shapes are others, this is ``numpy.matmul``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tinygrad_cifar.system.blas import runtime

_SMALL = 1_000_000  # products of elements: up to here these kernels do not copy
_SHORTEST = 64  # rows or terms of a piece: below, a call's own cost outweighs what it saves
_UNCOPIED = {"skylakex", "cooperlake", "sapphirerapids"}


def matmul(x: Any, y: Any) -> Any:
    """Multiply as ``numpy.matmul`` does, with the same rounding errors at most."""
    if type(x) is not np.ndarray or type(y) is not np.ndarray or x.ndim != 2 or y.ndim != 2:  # noqa: PLR2004
        return np.matmul(x, y)
    (m, k), n = x.shape, y.shape[1]
    if m * k * n <= _SMALL or y.shape[0] != k or not _cuts() or x.dtype is not y.dtype or x.dtype.char not in "fd":
        return np.matmul(x, y)
    pieces = _pieces(max(m, k), m * k * n)
    if not pieces:
        return np.matmul(x, y)
    if m > k:  # rows of the result
        out = np.empty((m, n), x.dtype)
        np.matmul(x.reshape(pieces, -1, k), y, out=out.reshape(pieces, -1, n))
        return out
    terms = np.matmul(x.reshape(m, pieces, -1).swapaxes(0, 1), y.reshape(pieces, -1, n))
    return np.add.reduce(terms, axis=0)


@cache
def _pieces(length: int, work: int) -> int:
    """Return into how many equal pieces to cut; 0 for none."""
    fewest = -(-work // _SMALL)
    return next((p for p in range(fewest, length // _SHORTEST + 1) if length % p == 0), 0)


@cache
def _cuts() -> bool:
    """Return whether the BLAS that is loaded is one of those, on one thread (on several, it cuts large ones itself)."""
    in_use = runtime()
    return in_use.blas.startswith("OpenBLAS") and in_use.kernel.lower() in _UNCOPIED and in_use.threads == 1
