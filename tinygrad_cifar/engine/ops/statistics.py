"""The derivative table: means, variances and other statistics, composed of reductions."""

from __future__ import annotations

import numpy as np

from tinygrad_cifar.engine.axes import Axis, normalize_axes
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import astype, divide, square, subtract
from tinygrad_cifar.engine.ops.reductions import _count, _sum


@operation(_sum, divide, doc=Doc("Mean.", "sum(x, axis) / n", x="broadcast_to(expand_dims(g, axis), x.shape) / n"))
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> TensorLike:
    """Compute the mean of the n elements along ``axis`` (None: all axes).

    Raises
    ------
    ValueError
        If there are no elements along ``axis``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.mean(tg.Tensor([1.0, 2.0, 6.0]))
    Tensor(3.)
    """
    if getattr(x, "dtype", None) == np.float16:  # sums overflow beyond 65,504
        return astype(mean(astype(x, np.float32), axis, keepdims), np.float16)
    axes = normalize_axes("mean", x, axis)
    return _sum(x, axes, keepdims) / _count("mean", x, axes)


@operation(
    *(_sum, divide, subtract, square),
    doc=Doc(
        "Variance.", "sum((x - mean(x, axis))**2, axis) / (n - ddof)", x="g * 2 * (x - mean(x, axis)) / (n - ddof)"
    ),
)
def var(x: TensorLike, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> TensorLike:
    """Compute the variance of the n elements along ``axis`` (None: all axes).

    Raises
    ------
    ValueError
        If there are no more than ``ddof`` elements along ``axis``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.var(tg.Tensor([1.0, 2.0, 6.0]), ddof=1)
    Tensor(7.)
    """
    if getattr(x, "dtype", None) == np.float16:
        return astype(var(astype(x, np.float32), axis, keepdims, ddof), np.float16)
    axes = normalize_axes("var", x, axis)
    count = _count("var", x, axes)
    if count <= ddof:
        raise ValueError(f"var: {count} elements are too few for ddof={ddof}")
    return _sum(square(x - mean(x, axes, True)), axes, keepdims) / (count - ddof)
