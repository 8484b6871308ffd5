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


def _normalize(positive: Any, axis: int) -> Any:
    positive /= np.add.reduce(positive, axis=axis, keepdims=True)
    return positive


def _loss_and_derivative(scores: Any, labels: Any, smoothing: float) -> Any:
    """Return the loss and, from the same exponentials, its derivative: (probabilities - targets) / n."""
    n = len(labels)
    at_label = (labels, np.arange(n))
    columns = np.ascontiguousarray(scores.T)  # reductions along a short last axis are slow
    shifted = columns - np.maximum.reduce(columns.real, axis=0)  # so no exponential exceeds 1
    derivative = np.exp(shifted)
    total = np.add.reduce(derivative, axis=0)
    scores_of_targets = np.add.reduce(shifted[at_label])
    if smoothing:
        elsewhere = np.add.reduce(shifted, axis=None) / len(columns)
        scores_of_targets = (1 - smoothing) * scores_of_targets + smoothing * elsewhere
    loss = (np.add.reduce(np.log(total)) - scores_of_targets) / n
    derivative /= n * total
    if smoothing:
        derivative -= smoothing / (n * len(columns))
    derivative[at_label] -= (1 - smoothing) / n
    return loss, np.ascontiguousarray(derivative.T)


def _derivative(scores: Any, labels: Any, smoothing: float) -> Any:
    """Return the derivative as a composition of operations, which can be differentiated again."""
    targets = np.full(scores.shape, smoothing / scores.shape[1], dtype=scores.dtype)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return (_softmax(scores, 1) - targets) / len(labels)


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
