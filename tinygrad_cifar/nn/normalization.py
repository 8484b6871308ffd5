"""Layers that normalise by the statistics of a batch or of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.ops.normalization import batch_norm_with_statistics
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.module import Module
from tinygrad_cifar.system.numbers import check_count, check_real


class BatchNorm(Module):
    """Batch normalisation: each channel is normalised to mean 0 and variance 1, then scaled and shifted.

    In training mode the mean and the variance are those of the batch, over all axes but the last; in evaluation mode
    they are running averages, ``running = (1 - momentum) * running + momentum * batch``, of the means and of the
    unbiased variances, as in PyTorch. Source: Ioffe and Szegedy, arXiv:1502.03167.

    Parameters
    ----------
    channels : int
        Number of channels: the size of the last axis.
    epsilon : float
        Term added to the variance, at least 0. Default: 1e-5.
    momentum : float
        Weight of a new batch in the running averages, in (0, 1]. Default: 0.1.
    scale, bias : bool
        Whether the factors and the shifts are learned. Default: True.
    dtype : data-type
        Type of the parameters and of the running averages. Default: float64.

    Attributes
    ----------
    scale : Tensor, shape (channels,)
        Factors, initially 1; a constant if they are not learned.
    bias : Tensor, shape (channels,)
        Shifts, initially 0; a constant if they are not learned.
    running_mean : Tensor, shape (channels,)
        Running average of the means, initially 0. It is part of the state, and not a parameter.
    running_var : Tensor, shape (channels,)
        Running average of the unbiased variances, initially 1. It is part of the state, and not a parameter.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> layer = nn.BatchNorm(2, momentum=1.0)
    >>> x = np.array([[1.0, 0.0], [3.0, 10.0]])
    >>> layer(x).data.round(3), layer.running_mean, layer.running_var
    (array([[-1., -1.],
           [ 1.,  1.]]), Tensor([2., 5.]), Tensor([ 2., 50.]))
    >>> layer.eval()(x).data.round(3)
    array([[-0.707, -0.707],
           [ 0.707,  0.707]])
    """

    def __init__(
        self,
        channels: int,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        scale: bool = True,
        bias: bool = True,
        dtype: Any = np.float64,
    ) -> None:
        check_count("BatchNorm: channels", channels)
        check_real("BatchNorm: epsilon", epsilon)
        check_real("BatchNorm: momentum", momentum)
        if not 0 <= epsilon < np.inf or not 0 < momentum <= 1:
            raise ValueError(
                f"BatchNorm: epsilon must be at least 0 and momentum in (0, 1]; got {epsilon} and {momentum}"
            )
        self.epsilon, self.momentum = float(epsilon), float(momentum)
        self.scale = Tensor(np.ones(channels), requires_grad=scale, dtype=dtype)
        self.bias = Tensor(np.zeros(channels), requires_grad=bias, dtype=dtype)
        self.running_mean = Tensor(np.zeros(channels), dtype=dtype)
        self.running_var = Tensor(np.ones(channels), dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        """Return the normalised array; in training mode, also update the running averages."""
        if shape_of(x)[-1:] != self.bias.shape:
            raise ValueError(
                f"BatchNorm: the input must have {self.bias.shape[0]} channels, along its last axis; got the shape "
                f"{shape_of(x)}"
            )
        if not self.training:
            factor = self.scale / ops.sqrt(self.running_var + self.epsilon)
            result: Tensor = x * factor + (self.bias - self.running_mean * factor)
            return result
        result, (average, variance) = batch_norm_with_statistics(x, self.scale, self.bias, self.epsilon)
        count = int(np.prod(shape_of(x)[:-1]))
        self._follow(self.running_mean, average)
        self._follow(self.running_var, variance * (count / (count - 1)))
        return result

    def _follow(self, running: Tensor, new: Any) -> None:
        running.data = (1 - self.momentum) * running.data + self.momentum * new

    def _arguments(self) -> str:
        return str(self.bias.shape[0])


class LayerNorm(Module):
    """Layer normalisation: each example is normalised along the last axis, then scaled and shifted.

    Source: Ba, Kiros and Hinton, arXiv:1607.06450.

    Parameters
    ----------
    features : int
        Size of the last axis.
    epsilon : float
        Term added to the variance, at least 0. Default: 1e-5.
    dtype : data-type
        Type of the parameters. Default: float64.

    Attributes
    ----------
    scale : Tensor, shape (features,)
        Factors, initially 1.
    bias : Tensor, shape (features,)
        Shifts, initially 0.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.LayerNorm(2, epsilon=0.0)(Tensor([[1.0, 3.0]])).data
    array([[-1.,  1.]])
    """

    def __init__(self, features: int, *, epsilon: float = 1e-5, dtype: Any = np.float64) -> None:
        check_count("LayerNorm: features", features)
        check_real("LayerNorm: epsilon", epsilon)
        if not 0 <= epsilon < np.inf:
            raise ValueError(f"LayerNorm: epsilon must be at least 0; got {epsilon}")
        self.epsilon = float(epsilon)
        self.scale = Tensor(np.ones(features), requires_grad=True, dtype=dtype)
        self.bias = Tensor(np.zeros(features), requires_grad=True, dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        """Return the normalised array."""
        if shape_of(x)[-1:] != self.bias.shape:
            raise ValueError(
                f"LayerNorm: the input must have {self.bias.shape[0]} features, along its last axis; got the shape "
                f"{shape_of(x)}"
            )
        result: Tensor = ops.layer_norm(x, epsilon=self.epsilon) * self.scale + self.bias
        return result

    def _arguments(self) -> str:
        return str(self.bias.shape[0])
