"""Layers: modules that hold parameters and are called like functions.

Each row of a layer's input is one example: the shape is ``(batch, features)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn import initialisers
from tinygrad_cifar.nn.module import Module

__all__ = ["Dropout", "Linear", "Module", "Normalize", "ReLU", "Sequential"]


class Linear(Module):
    """Affine layer: ``x @ W + b``.

    Parameters
    ----------
    features : int
        Number of inputs, at least 1.
    outputs : int
        Number of outputs, at least 1.
    rng : numpy.random.Generator
        Generator from which the weights are sampled.
    init : initialiser
        Initialiser of the weights (see :mod:`tinygrad_cifar.nn.initialisers`). Default: ``FanIn()``.
    dtype : data-type
        Type of the parameters. float32 takes half the memory and time. Default: float64.

    Attributes
    ----------
    W : Tensor, shape (features, outputs)
        Weights.
    b : Tensor, shape (outputs,)
        Biases, initially 0.

    Raises
    ------
    ValueError
        If ``features`` or ``outputs`` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer(np.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        init: initialisers.Initialiser = initialisers.FanIn(),  # noqa: B008 (frozen)
        dtype: Any = np.float64,
    ) -> None:
        if features < 1 or outputs < 1:
            raise ValueError(f"Linear: features and outputs must be at least 1; got {features} and {outputs}")
        self.W = Tensor(init(rng, features, outputs), requires_grad=True, dtype=dtype)
        self.b = Tensor(np.zeros(outputs), requires_grad=True, dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        """Return ``x @ W + b``, of shape ``(batch, outputs)``."""
        scores: Tensor = ops.matmul(x, self.W) + self.b
        return scores


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


class Normalize(Module):
    """Normalisation by constants: ``(x - mean) / std``; gradients flow to ``x`` only.

    Without ``std`` it is the layer that report 004 calls batch normalisation.

    Parameters
    ----------
    mean : array_like
        Value subtracted from the input.
    std : array_like, optional
        Divisor, without zeros. If None, the difference is not divided.
    dtype : data-type
        Type of both constants. Default: float64.

    Raises
    ------
    ValueError
        If an element of ``std`` is 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.Normalize(mean=[1.0, 2.0])(Tensor([[1.0, 3.0]]))
    Tensor([[0., 1.]])
    """

    def __init__(self, mean: Any, std: Any = None, *, dtype: Any = np.float64) -> None:
        self.mean = Tensor(mean, dtype=dtype)
        self.std = None if std is None else Tensor(std, dtype=dtype)
        if self.std is not None and (self.std.data == 0).any():
            raise ValueError("Normalize: std must not contain 0; remove constant features or use 1 for them")

    def forward(self, x: Any) -> Tensor:
        """Return ``(x - mean) / std``."""
        centred: Tensor = ops.subtract(x, self.mean)
        return centred if self.std is None else centred / self.std


class Dropout(Module):
    """Dropout in training mode, the identity in evaluation mode.

    Parameters
    ----------
    rate : float
        Probability with which an element is set to 0, in [0, 1).
    rng : numpy.random.Generator
        Generator from which the elements to drop are sampled.

    Raises
    ------
    ValueError
        If ``rate`` is not in [0, 1).

    See Also
    --------
    tinygrad_cifar.nn.functional.dropout : The function, without a mode.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> layer = nn.Dropout(0.5, rng=np.random.default_rng(1))
    >>> layer(Tensor(np.ones(4))), layer.eval()(Tensor(np.ones(4)))
    (Tensor([0., 2., 2., 2.]), Tensor([1., 1., 1., 1.]))
    """

    def __init__(self, rate: float, *, rng: np.random.Generator) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1); got {rate}")
        self.rate = rate
        self.rng = rng

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with some elements set to 0 and the others rescaled, or ``x`` itself in evaluation mode."""
        return F.dropout(x, self.rate, self.rng) if self.training else x


class Sequential(Module):
    """Chain of layers: each is applied to the result of the one before it.

    Parameters
    ----------
    *layers : Module
        Layers, first to last.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.ReLU(), nn.Linear(3, 2, rng=rng))
    >>> model(np.ones((5, 4))).shape, len(model.parameters())
    ((5, 2), 4)
    """

    def __init__(self, *layers: Module) -> None:
        self.layers = list(layers)

    def forward(self, x: Any) -> Tensor:
        """Return the result of the last layer."""
        result: Tensor = x
        for layer in self.layers:
            result = layer(result)
        return result
