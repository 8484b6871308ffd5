"""Optimisers that divide each element's step by the size of its past gradients: Adam."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.optim.base import Array, Optimiser, check_number
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls


class Adam(Optimiser):
    """Adam (Kingma and Ba, arXiv:1412.6980): ``w = w - eta * m / (sqrt(v) + epsilon)``.

    m and v are exponential moving averages of the gradient and of its square, initially 0 and therefore divided by
    ``1 - beta**t`` at step t. Weight decay is added to the gradient.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves to update.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.001.
    beta1 : float
        Decay rate of m, in [0, 1). Default: 0.9.
    beta2 : float
        Decay rate of v, in [0, 1). Default: 0.999.
    epsilon : float
        Term that prevents division by 0, at least 0. Default: 1e-8.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([1.0, -3.0], requires_grad=True)
    >>> optimiser = optim.Adam([w], eta=0.1)
    >>> (w * w).sum().backward()
    >>> optimiser.step()
    >>> w.data.round(6)  # the first step is eta in the direction of the sign
    array([ 0.9, -2.9])
    """

    @explain_calls
    def __init__(
        self,
        parameters: Iterable[Tensor],
        eta: float | Schedule = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, eta, weight_decay=weight_decay)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"Adam: {name} must be in [0, 1); got {beta}")
        check_number("epsilon", epsilon)
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)
        self._add_buffers("mean", "square")

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float) -> None:
        m, v = buffers
        if decay:
            g = g + decay * w
        t = self.steps + 1
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * (g * g)
        root = np.sqrt(v / (1 - self.beta2**t))
        root += self.epsilon
        w -= (eta / (1 - self.beta1**t)) * m / root
