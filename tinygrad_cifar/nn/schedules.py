"""Learning-rate schedules: pure functions of the update step, counted from 0.

A schedule has no state, so a resumed run needs only its step number. Schedules are frozen dataclasses: they can be
compared, hashed and pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinygrad_cifar.system.arguments import explain_constructor
from tinygrad_cifar.system.numbers import check_count

Schedule = Callable[[int], float]


@explain_constructor
@dataclass(frozen=True)
class Constant:
    """Constant rate: ``eta(t) = eta``.

    Parameters
    ----------
    eta : float
        Learning rate.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> schedules.Constant(0.1)(1000)
    0.1
    """

    eta: float

    def __call__(self, step: int) -> float:  # noqa: ARG002
        return self.eta


@explain_constructor
@dataclass(frozen=True)
class Exponential:
    """Exponential decay per epoch: ``eta(t) = eta * decay**epoch`` with ``epoch = t // steps_per_epoch``.

    Used in reports 001 and 004.

    Parameters
    ----------
    eta : float
        Initial learning rate.
    decay : float
        Factor per epoch.
    steps_per_epoch : int
        Number of steps per epoch, at least 1.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Exponential(0.02, decay=0.5, steps_per_epoch=100)
    >>> rate(99), rate(100)
    (0.02, 0.01)
    """

    eta: float
    decay: float
    steps_per_epoch: int

    def __post_init__(self) -> None:
        check_count("steps_per_epoch", self.steps_per_epoch)

    def __call__(self, step: int) -> float:
        return _decayed(self.eta, self.decay, step // self.steps_per_epoch)


@explain_constructor
@dataclass(frozen=True)
class Step:
    """Step decay: the rate is multiplied by ``factor`` after every ``every`` steps.

    Parameters
    ----------
    eta : float
        Initial learning rate.
    factor : float
        Factor per interval.
    every : int
        Interval in steps, at least 1.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Step(1.0, factor=0.1, every=10)
    >>> rate(9), rate(10)
    (1.0, 0.1)
    """

    eta: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        check_count("every", self.every)

    def __call__(self, step: int) -> float:
        return _decayed(self.eta, self.factor, step // self.every)


@explain_constructor
@dataclass(frozen=True)
class Triangular:
    """Triangular cycles: ``n_s`` steps up from ``eta_min`` to ``eta_max``, then ``n_s`` steps down.

    The cyclical rate of the course's assignments 2 and 3, after L. N. Smith, Cyclical learning rates, arXiv:1506.01186.
    Half of cycle c, counted from 0, has ``n_s * growth**c`` steps, and its highest rate is
    ``eta_min + (eta_max - eta_min) * decay**c``.

    Parameters
    ----------
    eta_min : float
        Rate at the start and end of a cycle.
    eta_max : float
        Rate in the middle of the first cycle.
    n_s : int
        Steps in half of the first cycle, at least 1.
    growth : int
        Factor of the length per cycle, at least 1: with 2, each cycle is twice as long as the one before. Default: 1.
    decay : float
        Factor of the height per cycle, at least 0: with 0.5, each cycle is half as high (Smith's "triangular2").
        Default: 1.
    cycles : int, optional
        Number of cycles, after which the rate remains ``eta_min``. If None, the cycles do not end.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Triangular(eta_min=0.0, eta_max=0.1, n_s=500)
    >>> rate(0), rate(250), rate(500), rate(1000)
    (0.0, 0.05, 0.1, 0.0)
    >>> rate = schedules.Triangular(eta_min=0.0, eta_max=0.1, n_s=500, growth=2, decay=0.5, cycles=2)
    >>> rate(1000), rate(1500), rate(2000), rate(3000), rate(3500)  # the second cycle ends with step 3000
    (0.0, 0.025, 0.05, 0.0, 0.0)
    """

    eta_min: float
    eta_max: float
    n_s: int
    growth: int = 1
    decay: float = 1.0
    cycles: int | None = None

    def __post_init__(self) -> None:
        check_count("n_s", self.n_s)
        check_count("growth", self.growth)
        if not self.decay >= 0:
            raise ValueError(f"decay must be at least 0; got {self.decay}")
        if self.cycles is not None:
            check_count("cycles", self.cycles)

    def __call__(self, step: int) -> float:
        cycle, half = (step // (2 * self.n_s), self.n_s) if self.growth == 1 else (0, self.n_s)
        position = step - 2 * self.n_s * cycle
        while position >= 2 * half:
            position -= 2 * half
            half *= self.growth
            cycle += 1
        if self.cycles is not None and cycle >= self.cycles:
            return self.eta_min
        height = position if position <= half else 2 * half - position
        return self.eta_min + _decayed(height / half * (self.eta_max - self.eta_min), self.decay, cycle)


@explain_constructor
@dataclass(frozen=True)
class Linear:
    """Linear rise and fall: ``warm_up`` steps from ``start`` to ``eta``, then down to ``end`` at step ``steps``.

    Without a warm-up, the rate falls from ``eta`` from the first step on. Both forms are those of the records on
    CIFAR-10 with little computation (K. Jordan, arXiv:2404.00498).

    Parameters
    ----------
    eta : float
        Highest rate.
    steps : int
        Step at which the rate is ``end``, at least 1. It remains there.
    warm_up : int
        Number of steps until the rate is ``eta``, from 0 to ``steps - 1``. Default: 0.
    start : float
        Rate of the first step, if there is a warm-up. Default: 0.
    end : float
        Last rate. Default: 0.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Linear(1.0, steps=10, warm_up=2)
    >>> rate(0), rate(1), rate(2), rate(6), rate(10), rate(11)
    (0.0, 0.5, 1.0, 0.5, 0.0, 0.0)
    """

    eta: float
    steps: int
    warm_up: int = 0
    start: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        if not 0 <= self.warm_up < self.steps:
            raise ValueError(f"warm_up must be from 0 to {self.steps - 1}, less than steps; got {self.warm_up}")

    def __call__(self, step: int) -> float:
        if step < self.warm_up:
            return self.start + (self.eta - self.start) * (step / self.warm_up)
        remaining = max(self.steps - step, 0) / (self.steps - self.warm_up)
        return self.end + (self.eta - self.end) * remaining


@explain_constructor
@dataclass(frozen=True)
class Cosine:
    """Cosine annealing: from ``eta_max`` to ``eta_min`` in ``steps`` steps along half a cosine, then constant.

    Parameters
    ----------
    eta_max : float
        Initial learning rate.
    eta_min : float
        Final learning rate.
    steps : int
        Length of the descent, at least 1.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Cosine(1.0, 0.0, steps=100)
    >>> rate(0), round(rate(50), 12), rate(100), rate(1000)
    (1.0, 0.5, 0.0, 0.0)
    """

    eta_max: float
    eta_min: float
    steps: int

    def __post_init__(self) -> None:
        check_count("steps", self.steps)

    def __call__(self, step: int) -> float:
        progress = min(step / self.steps, 1.0)
        return self.eta_min + (self.eta_max - self.eta_min) * (1 + math.cos(math.pi * progress)) / 2


@explain_constructor
@dataclass(frozen=True)
class WarmUp:
    """Linear warm-up of another schedule: ``eta(t) = schedule(t) * min((t + 1) / steps, 1)``.

    Parameters
    ----------
    schedule : schedule
        Schedule to follow.
    steps : int
        Length of the warm-up, at least 1.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.WarmUp(schedules.Constant(1.0), steps=4)
    >>> [rate(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        _check_schedule("schedule", self.schedule)
        check_count("steps", self.steps)

    def __call__(self, step: int) -> float:
        return self.schedule(step) * min((step + 1) / self.steps, 1.0)


@explain_constructor
@dataclass(frozen=True)
class Scaled:
    """Another schedule times a factor, such as for the biases of a model: ``eta(t) = factor * schedule(t)``.

    Parameters
    ----------
    schedule : schedule
        Schedule to follow.
    factor : float
        Factor, at least 0.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Scaled(schedules.Linear(1.0, steps=4), factor=2.0)
    >>> [rate(t) for t in range(5)]
    [2.0, 1.5, 1.0, 0.5, 0.0]
    """

    schedule: Schedule
    factor: float

    def __post_init__(self) -> None:
        _check_schedule("schedule", self.schedule)
        if not self.factor >= 0:
            raise ValueError(f"factor must be at least 0; got {self.factor}")

    def __call__(self, step: int) -> float:
        return self.factor * self.schedule(step)


def _decayed(eta: float, factor: float, times: int) -> float:
    """Return ``eta * factor**times``, infinite if it overflows, which training reports."""
    try:
        return eta * float(factor) ** times
    except OverflowError:
        return math.inf if eta else 0.0


def _check_schedule(name: str, schedule: Any) -> None:
    if not callable(schedule):
        raise TypeError(f"{name} must be a function of the step, such as Constant(0.1); got {schedule!r:.40}")
