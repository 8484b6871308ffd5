"""What a run of the benchmarks was asked for."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """How thorough to be, with how many threads, and without whom.

    Attributes
    ----------
    quick : bool
        Few images, few rounds: shows that everything runs, and no more.
    threads : int
        For every contestant.
    without : tuple of str
        Contestants that do not take part.
    """

    quick: bool
    threads: int
    without: tuple[str, ...] = ()
