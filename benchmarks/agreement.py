"""Whether the results of libraries agree, and why one is left out of a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np


def relative_error(results: Any, expected: Any) -> float:
    """Return the largest difference of two results, relative to the largest element of each array; NaN is an error."""
    if isinstance(expected, (tuple, list)):
        return max(relative_error(*pair) for pair in zip(results, expected, strict=True))
    found, wanted = np.asarray(results, dtype=float), np.asarray(expected, dtype=float)
    if found.shape != wanted.shape:
        raise ValueError(f"the results have the shape {found.shape}, and not {wanted.shape}")
    if not np.all(np.isfinite(found)):
        return float("inf")
    scale = np.max(np.abs(wanted), initial=0.0)
    return float(np.max(np.abs(found - wanted), initial=0.0) / (scale or 1.0))


def describe_failure(failure: Exception) -> str:
    """Return an exception as one line of text."""
    return f"{type(failure).__name__}: {failure}".split("\n", 1)[0]
