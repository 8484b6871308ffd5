"""Learning-rate schedules: each is a pure function of the update step, counted from 0.

A schedule has no state: ``schedule(t)`` is the same whenever and wherever it is asked, so a resumed run needs
no more than its step number. They are frozen objects that pickle and print as they were written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """``eta(t) = eta``.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> schedules.Constant(0.1)(1000)
    0.1
    """

    eta: float

    def __call__(self, step: int) -> float:  # noqa: ARG002
        return self.eta


@dataclass(frozen=True)
class Exponential:
    """``eta(t) = eta * decay**epoch`` with ``epoch = t // steps_per_epoch``: reports 001 and 004.

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
        _positive("steps_per_epoch", self.steps_per_epoch)

    def __call__(self, step: int) -> float:
        return self.eta * self.decay ** (step // self.steps_per_epoch)


@dataclass(frozen=True)
class Step:
    """Multiply by ``factor`` after every ``every`` update steps.

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
        _positive("every", self.every)

    def __call__(self, step: int) -> float:
        return self.eta * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Triangular:
    """Up from ``eta_min`` to ``eta_max`` in ``n_s`` steps and down again in ``n_s`` more; one cycle is ``2 * n_s``.

    The cyclical rate of the course's assignment 2 (after L. N. Smith, Cyclical learning rates, arXiv:1506.01186).

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> rate = schedules.Triangular(eta_min=0.0, eta_max=0.1, n_s=500)
    >>> rate(0), rate(250), rate(500), rate(1000)
    (0.0, 0.05, 0.1, 0.0)
    """

    eta_min: float
    eta_max: float
    n_s: int

    def __post_init__(self) -> None:
        _positive("n_s", self.n_s)

    def __call__(self, step: int) -> float:
        way = step % (2 * self.n_s)
        up = way if way <= self.n_s else 2 * self.n_s - way
        return self.eta_min + up / self.n_s * (self.eta_max - self.eta_min)


@dataclass(frozen=True)
class Cosine:
    """Down from ``eta_max`` to ``eta_min`` along half a cosine in ``steps`` steps, and then constant.

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
        _positive("steps", self.steps)

    def __call__(self, step: int) -> float:
        way = min(step / self.steps, 1.0)
        return self.eta_min + (self.eta_max - self.eta_min) * (1 + math.cos(math.pi * way)) / 2


@dataclass(frozen=True)
class WarmUp:
    """Grow linearly into another schedule over the first ``steps`` steps: ``eta(t) = schedule(t) * (t + 1) / steps``.

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
        _positive("steps", self.steps)

    def __call__(self, step: int) -> float:
        return self.schedule(step) * min((step + 1) / self.steps, 1.0)


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1 step, got {value}")
