"""Options of a run of the benchmarks."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """Options of a run.

    Attributes
    ----------
    quick : bool
        If True, few images and rounds are used, as a smoke test.
    threads : int
        Number of threads of every implementation.
    without : tuple of str
        Names of the implementations to leave out.
    """

    quick: bool
    threads: int
    without: tuple[str, ...] = ()
