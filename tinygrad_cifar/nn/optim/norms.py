"""The norm of an array, of any magnitude."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_cifar.nn.optim.base import Array


def norm_of(x: Array) -> float:
    """Return the root of the sum of squares, also if a square overflows or underflows.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn.optim.norms import norm_of
    >>> norm_of(np.array([1e200, 0.0]))
    1e+200
    """
    flat = x.reshape(-1)
    if flat.dtype == np.float16:  # in which the sum would be rounded to 6e-8
        flat = flat.astype(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norm = math.sqrt(np.dot(flat, flat))
    # A square below the smallest normal number has lost digits.
    if math.isinf(norm) or norm**2 < flat.size * float(np.finfo(flat.dtype).tiny):
        largest = float(np.abs(flat).max(initial=0))
        if 0 < largest < math.inf:
            scaled = flat / largest
            return largest * math.sqrt(np.dot(scaled, scaled))
    return norm
