"""The derivative table, last page: the softmax and its cross-entropy, each fused into one row.

Both could be compositions of other rows, with the same numbers; they are rows because every classifier ends in
them, and one operation in the place of six is a tenth of a small network's training step. Fused, the derivative
is the one that courses teach: the probabilities, less one at the label.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.ops.reductions import sum as sum_
from tinygrad_cifar.engine.ops.shapes import normalize_axis_index
from tinygrad_cifar.engine.primitives import primitive

_softmax = primitive(
    "softmax",
    lambda x, axis: _normalised(np.exp(x - np.maximum.reduce(x.real, axis=axis, keepdims=True)), axis),
    x=lambda g, out, axis: out * (g - sum_(g * out, axis, True)),
)
cross_entropy = primitive(
    "cross_entropy",
    lambda scores, labels: _cross_entropy(scores, labels),
    by_product="slope",
    scores=lambda g, scores, labels, slope: g * (_slope(scores, labels) if slope is None else slope),
)


def _normalised(positive: Any, axis: int) -> Any:
    positive /= np.add.reduce(positive, axis=axis, keepdims=True)
    return positive


def _cross_entropy(scores: Any, labels: Any) -> Any:
    """Return the loss and, from the same exponentials, its slope: (the probabilities, less 1 at the label) / n."""
    n = len(labels)
    own = (labels, np.arange(n))
    columns = np.ascontiguousarray(scores.T)  # NumPy is slow along a last axis of ten
    shifted = columns - np.maximum.reduce(columns.real, axis=0)  # no exponential exceeds 1
    slope = np.exp(shifted)
    total = np.add.reduce(slope, axis=0)
    loss = (np.add.reduce(np.log(total)) - np.add.reduce(shifted[own])) / n
    slope /= n * total
    slope[own] -= 1 / n
    return loss, np.ascontiguousarray(slope.T)


def _slope(scores: Any, labels: Any) -> Any:
    """Return the derivative as a composition, which can be differentiated again."""
    one_hot = np.zeros(scores.shape, dtype=scores.dtype)
    one_hot[np.arange(len(labels)), labels] = 1
    return (_softmax(scores, 1) - one_hot) / len(labels)


def softmax(x: Any, axis: int = -1) -> Any:
    """Compute ``exp(x) / sum(exp(x))`` along ``axis``, without overflow.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, softmax
    >>> softmax(Tensor([1000.0, 1000.0]))
    Tensor([0.5, 0.5])
    """
    return _softmax(x, normalize_axis_index("softmax", axis, len(shape_of(x))))
