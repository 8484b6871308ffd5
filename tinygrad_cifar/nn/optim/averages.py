"""Running averages of parameters: an exponential moving average to evaluate, and lookahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tinygrad_cifar.nn.optim.base import Array, Optimiser, blocks, check_coefficient
from tinygrad_cifar.nn.optim.combined import Combined
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.numbers import check_count, check_real


class _Averaging(Combined):
    """Base class of optimisers that keep an average of each parameter of another one.

    The averages begin with the values of the parameters before the first step, which may have been loaded from a file.
    """

    _buffer = "average"

    def __init__(self, optimiser: Optimiser, every: int) -> None:
        super().__init__(optimiser)
        check_count(f"{type(self).__name__}: every", every)
        self.every = every
        self._averages: list[Array] = [p.numpy() for p in self.parameters]
        self._made = np.array(0)  # steps, of which the optimiser may have made some before

    @property
    def averages(self) -> list[Array]:
        """The average of each parameter."""
        if not self._made:
            self._averages = [p.numpy() for p in self.parameters]
        return self._averages

    def _state(self) -> dict[str, Array]:
        own = {f"{self._buffer}.{i}": average for i, average in enumerate(self.averages)}
        return own | {f"{self._buffer}.steps": self._made} | super()._state()

    def step(self) -> None:
        """Make a step of the optimiser, and update the averages if it is time."""
        self._averages = self.averages
        super().step()

    def _after_step(self) -> None:
        self._made += 1
        if self._made % self.every == 0:
            self._update_averages(int(self._made) // self.every)

    def _update_averages(self, update: int) -> None:
        """Update the averages for the given time, counted from 1."""
        raise NotImplementedError

    def _add_parameters(self, share: float) -> None:
        """Set each average to ``average + share * (parameter - average)``, in place."""
        for p, average in zip(self.parameters, self._averages, strict=True):
            for block, w in blocks(average, p._array):
                change = w - block
                change *= share
                np.add(block, change, out=block)

    def _set_parameters(self, values: list[Array], *, with_frozen: bool = True) -> None:
        for p, value in zip(self.parameters, values, strict=True):
            if with_frozen or p.requires_grad:
                p.overwrite(lambda w, value=value: np.copyto(w, value))  # type: ignore[misc]


class MovingAverage(_Averaging):
    """Exponential moving average (EMA) of the parameters: ``average = d * average + (1 - d) * w`` after each step.

    Averages over the last ``1 / (1 - d)`` steps or so have less noise than the parameters, and often a higher accuracy
    (Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992). The steps do not depend on them:
    they are for evaluation. :func:`tinygrad_cifar.training.fit` measures the averages and ends with them.

    With ``warm_up``, d is ``min(decay, (1 + t) / (10 + t))`` at the update t, counted from 1, so that the first average
    is not mainly the initial parameters (as in TensorFlow's ``ExponentialMovingAverage``). The averages begin with the
    parameters before the first step.

    Parameters
    ----------
    optimiser : Optimiser
        Optimiser that makes the steps.
    decay : float
        Coefficient d, in [0, 1). Default: 0.999.
    warm_up : bool
        If True, d starts small. Default: True.
    every : int
        Number of steps between two updates of the average, at least 1. Default: 1.

    Attributes
    ----------
    averages : list of ndarray
        The average of each parameter; before the first step, its values.

    Raises
    ------
    TypeError
        If ``optimiser`` is not an optimiser.
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([0.0], requires_grad=True)
    >>> optimiser = optim.MovingAverage(optim.SGD([w], 1.0), decay=0.5, warm_up=False)
    >>> for _ in range(2):
    ...     w.grad = Tensor([-1.0])
    ...     optimiser.step()
    >>> with optimiser.averaged():
    ...     print(w.data)
    [1.25]
    >>> w.data
    array([2.])
    """

    @explain_calls
    def __init__(self, optimiser: Optimiser, decay: float = 0.999, *, warm_up: bool = True, every: int = 1) -> None:
        super().__init__(optimiser, every)
        check_coefficient("MovingAverage: decay", decay)
        self.decay, self.warm_up = float(decay), warm_up

    def _update_averages(self, update: int) -> None:
        d = min(self.decay, (1 + update) / (10 + update)) if self.warm_up else self.decay
        self._add_parameters(1 - d)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Set the parameters to the averages in a ``with`` block."""
        values = [p.numpy() for p in self.parameters]
        try:
            self._set_parameters(self.averages)
            yield
        finally:
            self._set_parameters(values)

    def adopt_average(self) -> None:
        """Set the parameters to the averages, at the end of training."""
        self._set_parameters(self.averages)


class Lookahead(_Averaging):
    """Lookahead (Zhang, Lucas, Hinton and Ba, arXiv:1907.08610): ``every`` steps forward, and part of the way back.

    After every ``every`` steps of the optimiser, ``slow = slow + fraction * (w - slow)``, and the parameters continue
    from there: ``w = slow``. The state of the optimiser, such as its velocity, does not change.

    Parameters
    ----------
    optimiser : Optimiser
        Optimiser that makes the steps.
    fraction : float or schedule
        Fraction from 0 to 1, or a function that maps the number of steps made to it. Default: 0.5.
    every : int
        Number of steps forward, at least 1. Default: 5.

    Attributes
    ----------
    averages : list of ndarray
        The slow parameters; before the first step, the parameters.

    Raises
    ------
    TypeError
        If ``optimiser`` is not an optimiser.
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([0.0], requires_grad=True)
    >>> optimiser = optim.Lookahead(optim.SGD([w], 1.0), every=2)
    >>> for _ in range(2):
    ...     w.grad = Tensor([-1.0])
    ...     optimiser.step()
    >>> w.data  # half of the way from 0 to 2
    array([1.])
    """

    _buffer = "slow"

    @explain_calls
    def __init__(self, optimiser: Optimiser, fraction: float | Schedule = 0.5, *, every: int = 5) -> None:
        super().__init__(optimiser, every)
        if not callable(fraction):
            _check_fraction(fraction)
        self.fraction = fraction

    def _update_averages(self, update: int) -> None:  # noqa: ARG002 (the fraction depends on the steps)
        fraction = float(self.fraction(self.steps) if callable(self.fraction) else self.fraction)
        _check_fraction(fraction)
        self._add_parameters(fraction)
        self._set_parameters(self._averages, with_frozen=False)


def _check_fraction(fraction: float) -> None:
    check_real("Lookahead: fraction", fraction)
    if not 0 <= fraction <= 1:
        raise ValueError(f"Lookahead: fraction must be from 0 to 1; got {fraction}")
