"""Learning-rate schedules: pure functions of the update step, counted from 0.

A schedule has no state, so a resumed run needs only its step number. Schedules are frozen dataclasses: they can be
compared, hashed and pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_cifar.system.arguments import explain_constructor

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
        _check_positive("steps_per_epoch", self.steps_per_epoch)

    def __call__(self, step: int) -> float:
        return self.eta * self.decay ** (step // self.steps_per_epoch)


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
        _check_positive("every", self.every)

    def __call__(self, step: int) -> float:
        return self.eta * self.factor ** (step // self.every)


@explain_constructor
@dataclass(frozen=True)
class Triangular:
    """Triangular cycle: ``n_s`` steps up from ``eta_min`` to ``eta_max``, then ``n_s`` steps down.

    The cyclical rate of the course's assignment 2 (after L. N. Smith, Cyclical learning rates, arXiv:1506.01186).

    Parameters
    ----------
    eta_min : float
        Rate at the start and end of a cycle.
    eta_max : float
        Rate in the middle of a cycle.
    n_s : int
        Steps in half a cycle, at least 1.

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
        _check_positive("n_s", self.n_s)

    def __call__(self, step: int) -> float:
        position = step % (2 * self.n_s)
        height = position if position <= self.n_s else 2 * self.n_s - position
        return self.eta_min + height / self.n_s * (self.eta_max - self.eta_min)


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
        _check_positive("steps", self.steps)

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
        _check_positive("steps", self.steps)

    def __call__(self, step: int) -> float:
        return self.schedule(step) * min((step + 1) / self.steps, 1.0)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
