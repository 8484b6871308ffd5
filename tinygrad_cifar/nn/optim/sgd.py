"""Stochastic gradient descent, with momentum and Nesterov momentum."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.optim.base import Array, Optimiser
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls


class SGD(Optimiser):
    """Stochastic gradient descent with momentum as in report 004: ``v = m * v + eta * g``, ``w = w - v``.

    The learning rate is part of the velocity, so a changed rate applies to new gradients only. PyTorch multiplies the
    velocity by the rate; with a constant rate both are the same. Without momentum, ``w = w - eta * g``.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves to update.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it.
    momentum : float
        Momentum coefficient m, in [0, 1). Default: 0.
    nesterov : bool
        If True, use Nesterov momentum: ``w = w - (m * v + eta * g)`` with the new v. Default: False.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range, or ``nesterov`` is given without momentum.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimiser = optim.SGD([w], eta=0.25)
    >>> for _ in range(3):
    ...     optimiser.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimiser.step()
    >>> w.data
    array([0.125])
    """

    @explain_calls
    def __init__(
        self,
        parameters: Iterable[Tensor],
        eta: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, eta, weight_decay=weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"SGD: momentum must be in [0, 1); got {momentum}")
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov requires momentum greater than 0; got 0: use momentum=0.9, for example")
        self.momentum = float(momentum)
        self.nesterov = nesterov
        if momentum:
            self._add_buffers("velocity")

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float) -> None:
        if not buffers:
            if decay:
                w *= 1 - eta * decay
            w -= eta * g
            return
        (v,) = buffers
        change = eta * (g + decay * w)
        v *= self.momentum
        v += change
        w -= change + self.momentum * v if self.nesterov else v
