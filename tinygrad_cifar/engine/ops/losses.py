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
from tinygrad_cifar.engine.ops.reductions import _excess, _is_near_one
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
    dtype = np.float32 if positive.dtype == np.float16 else None  # sums of float16 overflow beyond 65,504
    positive /= np.add.reduce(positive, axis=axis, keepdims=True, dtype=dtype)
    return positive


def _loss_and_derivative(scores: Any, labels: Any, smoothing: float) -> Any:
    """Return the loss and, from the same exponentials, its derivative: (probabilities - targets) / n."""
    if scores.dtype == np.float16:  # its sums over a batch overflow
        loss, derivative = _loss_and_derivative(scores.astype(np.float32), labels, smoothing)
        return loss.astype(np.float16), derivative.astype(np.float16)
    n = len(labels)
    at_label = (labels, np.arange(n))
    columns = np.ascontiguousarray(scores.T)  # reductions along a short last axis are slow
    shifted = columns - np.maximum.reduce(columns.real, axis=0)  # so no exponential exceeds 1
    powers = np.exp(shifted)
    total = np.add.reduce(powers, axis=0)
    logarithms = np.log(total)
    certain = np.flatnonzero(_is_near_one(total))
    at_certain = (labels[certain], certain)
    if certain.size:
        (excess,) = _excess(powers[:, certain], (0,))
        logarithms[certain] = np.log1p(excess)
        minus_others = powers[at_certain] - 1 - excess  # minus the powers of the classes other than the label
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
        derivative[at_certain] = minus_others / (n * total[certain])
    return loss, np.ascontiguousarray(derivative.T)


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
