"""The derivative table: the softmax and its cross-entropy, each fused into one primitive.

Both could be compositions of other primitives, with the same values. They are primitives because every classifier ends
in them: one operation instead of six saves a tenth of the training step of a small network. The VJP of the
cross-entropy is the derivative that courses teach: the probabilities, minus one at the label.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.blocked import short_axes
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops import reductions
from tinygrad_cifar.engine.ops.elementwise import _as_floats
from tinygrad_cifar.engine.primitives import primitive

_softmax = primitive(
    "softmax",
    lambda x, axis: _normalize(np.exp(x - short_axes.reduce(np.maximum, x.real, (axis,), True)), axis),
    x=lambda g, out, axis: out * (g - reductions.sum(g * out, axis, True)),
    doc=Doc("Softmax.", "exp(x) / sum(exp(x), axis)", x="out * (g - sum(g * out, axis))"),
)
_cross_entropy = primitive(
    "cross_entropy",
    lambda scores, labels, smoothing: _loss_and_derivative(scores, labels, smoothing),
    aux="derivative",
    scores=lambda g, scores, labels, smoothing, derivative: (
        g * (_derivative(scores, labels, smoothing) if derivative is None else derivative)
    ),
    doc=Doc(
        "Mean cross-entropy of the softmax.",
        "mean(logsumexp(scores, 1) - (1 - e) * scores[arange(n), labels] - e * mean(scores, 1)), e = smoothing",
        scores="g * (softmax(scores, 1) - (1 - e) * one_hot(labels) - e / classes) / n",
    ),
)

_CERTAIN = 1.01  # the sum of the exponentials, of which the largest is 1, where a class has a probability above 0.99


def _normalize(positive: Any, axis: int) -> Any:
    positive /= np.add.reduce(positive, axis=axis, keepdims=True)
    return positive


def _loss_and_derivative(scores: Any, labels: Any, smoothing: float) -> Any:
    """Return the loss and, from the same exponentials, its derivative: (probabilities - targets) / n."""
    n = len(labels)
    at_label = (labels, np.arange(n))
    columns = np.ascontiguousarray(scores.T)  # reductions along a short last axis are slow
    shifted = columns - np.maximum.reduce(columns.real, axis=0)  # so no exponential exceeds 1
    powers = np.exp(shifted)
    total = np.add.reduce(powers, axis=0)
    certain = np.flatnonzero(total.real < _CERTAIN)
    logarithms, difference = np.log(total), None
    if certain.size:
        logarithms[certain], difference = _near_certainty(powers[:, certain], labels[certain])
    scores_of_targets = np.add.reduce(shifted[at_label])
    if smoothing:
        elsewhere = np.add.reduce(shifted, axis=None) / len(columns)
        scores_of_targets = (1 - smoothing) * scores_of_targets + smoothing * elsewhere
    loss = (np.add.reduce(logarithms) - scores_of_targets) / n
    derivative = powers
    derivative /= n * total
    if smoothing:
        derivative -= smoothing / (n * len(columns))
    derivative[at_label] -= (1 - smoothing) / n
    if certain.size and not smoothing:
        derivative[labels[certain], certain] = difference / (n * total[certain])
    return loss, np.ascontiguousarray(derivative.T)


def _near_certainty(powers: Any, labels: Any) -> tuple[Any, Any]:
    """Return the logarithm of each column's sum, and the power of the label minus the sum, where the sum is near 1.

    Both are sums of the powers other than the largest one, which is 1. Computed from the sum they would be differences
    from 1, and have its rounding error, however small they are.
    """
    is_largest = powers.real == 1
    powers -= is_largest
    excess = np.add.reduce(powers, axis=0)
    at_label = (labels, np.arange(len(labels)))
    return np.log1p(excess), powers[at_label] - excess - ~is_largest[at_label]


def _derivative(scores: Any, labels: Any, smoothing: float) -> Any:
    """Return the derivative as a composition of operations, which can be differentiated again.

    The probability of the label minus 1 is computed from the other probabilities, so that it is accurate near 0.
    """
    is_label = np.zeros(scores.shape, dtype=scores.dtype)
    is_label[np.arange(len(labels)), labels] = 1
    others = _softmax(scores, 1) * (1 - is_label)
    derivative = others - is_label * reductions.sum(others, 1, True)
    if smoothing:
        derivative = derivative + smoothing * (is_label - 1 / scores.shape[1]).astype(scores.dtype)
    return derivative / len(labels)


@operation(_softmax)
def softmax(x: TensorLike, axis: int = -1) -> TensorLike:
    """Compute the softmax along ``axis``, without overflow.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, softmax
    >>> softmax(Tensor([1000.0, 1000.0]))
    Tensor([0.5, 0.5])
    """
    return _softmax(_as_floats(x), normalize_axis_index("softmax", axis, len(shape_of(x))))
