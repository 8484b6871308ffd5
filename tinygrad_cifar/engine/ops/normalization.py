"""The derivative table: normalisation by the statistics of a batch or of a layer.

Both are compositions of means and variances in principle. They are primitives because each needs the array in two
passes over the memory instead of ten; their VJPs, when they are differentiated again, are those compositions.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from tinygrad_cifar.engine.application import apply_with_aux
from tinygrad_cifar.engine.blocked import normalization as blocked
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, astype, sqrt, square
from tinygrad_cifar.engine.ops.reductions import sum
from tinygrad_cifar.engine.ops.statistics import mean
from tinygrad_cifar.engine.primitives import primitive

_batch_norm = primitive(
    "batch_norm",
    lambda x, scale, bias, epsilon: _batch_norm_forward(x, scale, bias, epsilon),
    aux="statistics",
    x=lambda g, x, scale, statistics, epsilon: _batch_norm_vjp_x(g, x, scale, statistics, epsilon),
    scale=lambda g, x, statistics, epsilon: _batch_norm_vjp_scale(g, x, statistics, epsilon),
    bias=lambda g, statistics: _batch_norm_vjp_bias(g, statistics),
    doc=Doc(
        "Batch normalisation.",
        "scale * (x - mean(x)) / sqrt(var(x) + epsilon) + bias, over all axes but the last",
        x="scale / sqrt(var(x) + epsilon) * (g - mean(g) - z * mean(g * z)), with the normalised array z",
        scale="sum(g * z)",
        bias="sum(g)",
    ),
)
_layer_norm = primitive(
    "layer_norm",
    lambda x, epsilon: _layer_norm_forward(x, epsilon),
    aux="factor",
    x=lambda g, out, x, factor, epsilon: _layer_norm_vjp(g, out, x, factor, epsilon),
    doc=Doc(
        "Normalisation along the last axis.",
        "(x - mean(x, -1)) / sqrt(var(x, -1) + epsilon)",
        x="(g - mean(g, -1) - out * mean(g * out, -1)) / sqrt(var(x, -1) + epsilon)",
    ),
)


class _Statistics:
    """Mean and variance of each channel, and the sums over the cotangent, which all three VJPs need."""

    __slots__ = ("_known", "mean", "variance")

    def __init__(self, x: Any) -> None:
        self.mean, self.variance = blocked.channel_statistics(x)
        # A weak reference to a cotangent, and its sums: one object, which two threads cannot mix.
        self._known: tuple[Any, Any] | None = None

    def sums(self, g: Any, x: Any) -> Any:
        """Return the sums of ``g``, and of ``g * (x - mean)``, over each channel."""
        known = self._known
        if known is None or known[0]() is not g:
            self._known = known = (weakref.ref(g), blocked.channel_sums(g, x, self.mean))
        return known[1]

    def sum(self, g: Any) -> Any:
        """Return the sums of ``g`` over each channel."""
        known = self._known
        return blocked.channel_sums(g)[0] if known is None or known[0]() is not g else known[1][0]


def _batch_norm_forward(x: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    statistics = _Statistics(x)
    return blocked.normalize(x, statistics.mean, scale / np.sqrt(statistics.variance + epsilon), bias), statistics


def _batch_norm_vjp_x(g: Any, x: Any, scale: Any, statistics: Any, epsilon: float) -> Any:
    if statistics is None:
        z, factor = _normalized(x, tuple(range(x.ndim - 1)), epsilon)
        return _through_statistics(g * scale, z, factor, tuple(range(x.ndim - 1)))
    factor, count = 1 / np.sqrt(statistics.variance + epsilon), math.prod(g.shape[:-1])
    total, total_with_x = statistics.sums(g, x)
    a = scale * factor
    return blocked.combine(g, x, statistics.mean, (a, -a * factor * factor * total_with_x / count, -a * total / count))


def _batch_norm_vjp_scale(g: Any, x: Any, statistics: Any, epsilon: float) -> Any:
    if statistics is None:
        return _sum_over_rows(g * _normalized(x, tuple(range(x.ndim - 1)), epsilon)[0])
    return statistics.sums(g, x)[1] / np.sqrt(statistics.variance + epsilon)


def _batch_norm_vjp_bias(g: Any, statistics: Any) -> Any:
    return _sum_over_rows(g) if statistics is None else statistics.sum(g)


def _sum_over_rows(g: Any) -> Any:
    return sum(g, tuple(range(g.ndim - 1)))


def _layer_norm_forward(x: Any, epsilon: float) -> Any:
    deviation = x - np.add.reduce(x, axis=-1, keepdims=True) / x.shape[-1]
    variance = np.add.reduce(deviation * deviation, axis=-1, keepdims=True) / x.shape[-1]
    factor = 1 / np.sqrt(variance + epsilon)
    deviation *= factor
    return deviation, factor


def _layer_norm_vjp(g: Any, out: Any, x: Any, factor: Any, epsilon: float) -> Any:
    if factor is None:
        out, factor = _normalized(x, -1, epsilon)
    return _through_statistics(g, out, factor, -1)


def _normalized(x: Any, axes: Any, epsilon: float) -> Any:
    """Return the normalised array and the factor, as compositions of operations, which can be differentiated again."""
    deviation = x - mean(x, axes, True)
    factor = 1 / sqrt(mean(square(deviation), axes, True) + epsilon)
    return deviation * factor, factor


def _through_statistics(g: Any, z: Any, factor: Any, axes: Any) -> Any:
    """Return the cotangent of x, given that of the normalised array z: also through the mean and the variance."""
    return factor * (g - mean(g, axes, True) - z * mean(g * z, axes, True))


@operation(_batch_norm)
def batch_norm(x: TensorLike, scale: TensorLike, bias: TensorLike, *, epsilon: float = 1e-5) -> TensorLike:
    """Normalise each channel, the last axis, to mean 0 and variance 1 over all other axes; then scale and shift it.

    The variance is that of the batch, divided by the number of elements (Ioffe and Szegedy, arXiv:1502.03167).

    Raises
    ------
    ValueError
        If there are fewer than two elements per channel, ``scale`` or ``bias`` is not one number per channel, or
        ``epsilon`` is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> x = tg.Tensor([[1.0, 0.0], [3.0, 10.0]])
    >>> tg.batch_norm(x, np.ones(2), np.zeros(2), epsilon=0.0)
    Tensor([[-1., -1.],
            [ 1.,  1.]])
    """
    return batch_norm_with_statistics(x, scale, bias, epsilon)[0]


def batch_norm_with_statistics(x: Any, scale: Any, bias: Any, epsilon: float) -> tuple[Any, tuple[Any, Any]]:
    """Return the result of :func:`batch_norm`, and the means and the variances of the channels."""
    x, scale, bias = _as_floats(x), _as_floats(scale), _as_floats(bias)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x must have a batch axis and a channel axis; its shape is {x.shape}")
    for name, given in (("scale", scale), ("bias", bias)):
        if shape_of(given) != x.shape[-1:]:
            raise ValueError(f"batch_norm: {name} must have the shape {x.shape[-1:]}; got {shape_of(given)}")
    count = math.prod(x.shape[:-1])
    if count < 2:
        raise ValueError(
            f"batch_norm: there must be at least two elements per channel, since the variance of one is 0; got {count} "
            "(in evaluation mode, a BatchNorm layer uses its running statistics)"
        )
    dtype = np.result_type(x.dtype, scale.dtype, bias.dtype)
    if x.dtype != dtype:
        x = astype(x, dtype)
    if dtype == np.float16:  # sums overflow beyond 65,504
        x, scale, bias = (astype(part, np.float32) for part in (x, scale, bias))
        result, statistics = batch_norm_with_statistics(x, scale, bias, epsilon)
        return astype(result, np.float16), statistics
    result, statistics = apply_with_aux(_batch_norm.primitive, (x, scale, bias, _check_epsilon("batch_norm", epsilon)))
    return result, (statistics.mean, statistics.variance)


@operation(_layer_norm)
def layer_norm(x: TensorLike, *, epsilon: float = 1e-5) -> TensorLike:
    """Normalise to mean 0 and variance 1 along the last axis (Ba, Kiros and Hinton, arXiv:1607.06450).

    Raises
    ------
    ValueError
        If ``x`` is a scalar, or has no elements along the last axis, or ``epsilon`` is negative or not finite.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.layer_norm(tg.Tensor([[1.0, 3.0], [0.0, 10.0]]), epsilon=0.0)
    Tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    x = _as_floats(x)
    if not x.ndim or not x.shape[-1]:
        raise ValueError(f"layer_norm: there must be elements along the last axis; the shape is {x.shape}")
    if x.dtype == np.float16:
        return astype(layer_norm(astype(x, np.float32), epsilon=epsilon), np.float16)
    return _layer_norm(x, _check_epsilon("layer_norm", epsilon))


def _check_epsilon(name: str, epsilon: Any) -> float:
    if np.ndim(epsilon) or not 0 <= epsilon < np.inf:
        raise ValueError(f"{name}: epsilon must be one number, at least 0 and finite; got {epsilon!r}")
    return float(epsilon)
