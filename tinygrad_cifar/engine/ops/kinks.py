"""Where functions of the table have no derivative, and the value that the table takes there.

One row for each primitive with a kink: a test for the points of its inputs that lie exactly on it, and the
convention in words. The rules themselves stand in the table; this page is what documentation, the counter of
kinks and the tests share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Kink(NamedTuple):
    """A primitive's kink.

    Attributes
    ----------
    hits
        Given the primitive's arguments, tells which elements lie exactly on the kink.
    convention
        What the derivative is taken to be there.
    """

    hits: Callable[..., Any]
    convention: str


def _ties(extreme: Callable[..., Any]) -> Callable[..., Any]:
    """Return the test for lanes in which more than one element reaches the extreme: all of these elements count."""

    def hits(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:  # noqa: ARG001 (the primitive's arguments)
        equal = x == extreme(x, axis=axis, keepdims=True)
        return equal & (np.add.reduce(equal, axis=axis, keepdims=True) > 1)

    return hits


KINKS: dict[str, Kink] = {
    "relu": Kink(lambda x: x == 0, "0 at 0, the slope on the left"),
    "absolute": Kink(lambda x: x == 0, "0 at 0, midway between the slopes -1 and 1"),
    "sign": Kink(lambda x: x == 0, "0 everywhere, also at its jump"),
    "maximum": Kink(lambda x, y: x == y, "a tie gives half to each"),
    "minimum": Kink(lambda x, y: x == y, "a tie gives half to each"),
    "clip": Kink(
        lambda x, low, high: (x == (np.nan if low is None else low)) | (x == (np.nan if high is None else high)),
        "1 at both ends, the slope inside",
    ),
    "max": Kink(_ties(np.maximum.reduce), "elements that tie share equally"),
    "min": Kink(_ties(np.minimum.reduce), "elements that tie share equally"),
    "norm": Kink(
        lambda x, axis, keepdims: np.broadcast_to(  # noqa: ARG005
            np.add.reduce(np.square(x), axis=axis, keepdims=True) == 0, x.shape
        ),
        "0 where all elements are 0",
    ),
}
