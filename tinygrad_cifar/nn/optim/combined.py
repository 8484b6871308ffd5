"""Optimisers that contain others: several as one, and the base class of those that add something to a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tinygrad_cifar.nn.optim.base import Array, Optimiser, check_parameters
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.interrupts import deferred_interrupt


class Combined(Optimiser):
    """Several optimisers that make their steps together, such as Muon for filters and SGD for all else.

    Parameters
    ----------
    *optimisers : Optimiser
        Optimisers with different parameters, at least one.

    Attributes
    ----------
    optimisers : tuple of Optimiser
        The optimisers.

    Raises
    ------
    TypeError
        If an argument is not an optimiser.
    ValueError
        If there are no optimisers, two have the same parameter, or their numbers of steps differ.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> from tinygrad_cifar.nn import optim
    >>> layer = nn.Linear(4, 3, rng=0)
    >>> optimiser = optim.Combined(optim.Muon([layer.W]), optim.SGD([layer.b], eta=0.1, momentum=0.9))
    >>> optimiser.name
    'Combined(Muon, SGD)'
    >>> sorted(optimiser.state_dict())
    ['0.velocity.0', '1.velocity.0', 'steps']
    """

    @explain_calls
    def __init__(self, *optimisers: Optimiser) -> None:
        kind = type(self).__name__
        for optimiser in optimisers:
            if not isinstance(optimiser, Optimiser):
                raise TypeError(f"{kind}: the argument must be an optimiser; got {type(optimiser).__name__}")
        self.optimisers = optimisers
        self.parameters = [p for optimiser in optimisers for p in optimiser.parameters]
        check_parameters(self.parameters)
        if len({optimiser.steps for optimiser in optimisers}) > 1:
            counts = ", ".join(str(optimiser.steps) for optimiser in optimisers)
            raise ValueError(f"{kind}: the optimisers must have made the same number of steps; got {counts}")
        self.groups = [group for optimiser in optimisers for group in optimiser.groups]
        self._defaults = {}

    @property
    def name(self) -> str:
        """Names of the algorithms."""
        return f"{type(self).__name__}({', '.join(optimiser.name for optimiser in self.optimisers)})"

    @property
    def steps(self) -> int:
        """Number of updates so far."""
        return self.optimisers[0].steps

    @steps.setter
    def steps(self, steps: int) -> None:
        for optimiser in self.optimisers:
            optimiser.steps = steps

    def step(self) -> None:
        """Make one step of each optimiser."""
        self._check_rates()  # raises an error before a parameter has been updated
        with deferred_interrupt():
            for optimiser in self.optimisers:
                optimiser.step()
            self._after_step()

    def _check_rates(self) -> None:
        for optimiser in self.optimisers:
            optimiser._check_rates()

    def _after_step(self) -> None:
        """Do what a subclass adds to a step."""

    def penalty(self) -> float:
        """Return the sum of the L2 terms of the optimisers."""
        return sum(optimiser.penalty() for optimiser in self.optimisers)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Set the parameters to the values to evaluate in a ``with`` block."""
        with ExitStack() as stack:
            for optimiser in self.optimisers:
                stack.enter_context(optimiser.averaged())
            yield

    def adopt_average(self) -> None:
        """Set the parameters to the values of :meth:`averaged`, at the end of training."""
        for optimiser in self.optimisers:
            optimiser.adopt_average()

    def _state(self) -> dict[str, Array]:
        return {
            f"{i}.{name}": array
            for i, optimiser in enumerate(self.optimisers)
            for name, array in optimiser._state().items()
        }
