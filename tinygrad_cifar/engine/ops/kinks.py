"""Points at which primitives have no derivative.

For each primitive with such a point: a function of its arguments that returns which elements lie exactly on it. The
values that the table takes there are in the descriptions of the primitives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _ties(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Return the test for lanes in which several elements equal the extreme: all of these elements count."""

    def is_tied(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:  # noqa: ARG001 (an argument of the primitive)
        equal = x == reduce(x, axis=axis, keepdims=True)
        return equal & (np.add.reduce(equal, axis=axis, keepdims=True) > 1)

    return is_tied


KINKS: dict[str, Callable[..., Any]] = {
    "relu": lambda x: x == 0,
    "absolute": lambda x: x == 0,
    "sign": lambda x: x == 0,
    "maximum": lambda x, y: x == y,
    "minimum": lambda x, y: x == y,
    "clip": lambda x, low, high: (
        (x == (np.nan if low is None else low)) | (x == (np.nan if high is None else high))  # nothing equals NaN
    ),
    "max": _ties(np.maximum.reduce),
    "min": _ties(np.minimum.reduce),
    "norm": lambda x, axis, keepdims: np.broadcast_to(  # noqa: ARG005
        np.add.reduce(np.square(x), axis=axis, keepdims=True) == 0, x.shape
    ),
}
