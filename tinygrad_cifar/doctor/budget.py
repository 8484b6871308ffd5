"""The processor time that a diagnosis may take: one object, which every stage looks at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_SHARE = 0.2  # of the doctor's time that the functions of the user may take


class Budget:
    """A limit of the processor time of this thread, so that the answer does not depend on other programs.

    The time in which the functions of the user run is counted apart, since a slow function must leave the doctor time
    to think; it takes up to a fifth of its time from it.

    Parameters
    ----------
    seconds : float
        Processor time of the doctor.
    of_functions : float
        Processor time of the functions of the user.
    """

    def __init__(self, seconds: float, of_functions: float) -> None:
        self._started = time.thread_time()
        self._seconds = seconds
        self._in_functions = 0.0
        self._of_functions = of_functions
        self.was_used_up = False

    @property
    def spent(self) -> float:
        """Processor time of the doctor so far."""
        return time.thread_time() - self._started - self._in_functions

    @property
    def total(self) -> float:
        """Processor time so far, with that of the functions of the user."""
        return time.thread_time() - self._started

    @property
    def is_used_up(self) -> bool:
        """Whether a stage must stop; it then counts as cut short."""
        of_functions = min(self._in_functions, _SHARE * self._seconds)
        if self.spent + of_functions > self._seconds or self._in_functions > self._of_functions:
            self.was_used_up = True
            return True
        return False

    def is_beyond(self, seconds: float) -> bool:
        """Whether a stage must stop that may run until ``seconds`` have been spent."""
        return self.is_used_up or self.spent > seconds

    def has_reached(self, total: float) -> bool:
        """Return whether a stage must stop that calls functions of the user, and may run until a total time."""
        return self.is_used_up or self.total > total

    @contextmanager
    def in_function(self) -> Iterator[None]:
        """Count the time inside the block as that of a function of the user."""
        started = time.thread_time()
        try:
            yield
        finally:
            self._in_functions += time.thread_time() - started
