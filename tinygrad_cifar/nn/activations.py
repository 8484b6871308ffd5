"""Activation functions as modules, for :class:`~tinygrad_cifar.nn.Sequential`."""

from __future__ import annotations

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.module import Module


class ReLU(Module):
    """Rectified linear unit: ``max(0, x)``, with derivative 0 at 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.ReLU()(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``max(0, x)``."""
        rectified: Tensor = ops.relu(x)
        return rectified


class Sigmoid(Module):
    """Logistic sigmoid: ``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.Sigmoid()(Tensor([-1000.0, 0.0]))
    Tensor([0. , 0.5])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the sigmoid of ``x``."""
        result: Tensor = ops.sigmoid(x)
        return result


class Tanh(Module):
    """Hyperbolic tangent.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.Tanh()(Tensor([0.0, 1000.0]))
    Tensor([0., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the hyperbolic tangent of ``x``."""
        result: Tensor = ops.tanh(x)
        return result


class GELU(Module):
    """Gaussian error linear unit: ``x`` times the probability that a standard normal number is below it.

    Parameters
    ----------
    approximate : str
        "none" for the exact function; "tanh" for one that is several times faster and differs by at most 0.0005.
        Default: "none".

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.GELU()(Tensor([0.0, 1.0]))
    Tensor([0.        , 0.84134475])
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f'GELU: approximate must be "none" or "tanh"; got {approximate!r}')
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Return the GELU of ``x``."""
        result: Tensor = ops.gelu(x, self.approximate)
        return result
