"""The derivative table: the softmax and its cross-entropy, each fused into one primitive.

Both could be compositions of other primitives, with the same values. They are primitives because every classifier ends
in them: one operation instead of six saves a tenth of the training step of a small network. The VJP of the
cross-entropy is the derivative that courses teach: the probabilities, minus one at the label.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.axes import normalize_axis_index
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops import reductions
from tinygrad_cifar.engine.ops.elementwise import _as_floats
from tinygrad_cifar.engine.primitives import primitive

_softmax = primitive(
    "softmax",
    lambda x, axis: _normalize(np.exp(x - np.maximum.reduce(x.real, axis=axis, keepdims=True)), axis),
    x=lambda g, out, axis: out * (g - reductions.sum(g * out, axis, True)),
    doc=Doc("Softmax.", "exp(x) / sum(exp(x), axis)", x="out * (g - sum(g * out, axis))"),
)
_cross_entropy = primitive(
    "cross_entropy",
    lambda scores, labels: _loss_and_derivative(scores, labels),
    aux="derivative",
    scores=lambda g, scores, labels, derivative: (
        g * (_derivative(scores, labels) if derivative is None else derivative)
    ),
    doc=Doc(
        "Mean cross-entropy of the softmax.",
        "mean(logsumexp(scores, 1) - scores[arange(n), labels])",
        scores="g * (softmax(scores, 1) - one_hot(labels)) / n",
    ),
)


def _normalize(positive: Any, axis: int) -> Any:
    positive /= np.add.reduce(positive, axis=axis, keepdims=True)
    return positive


def _loss_and_derivative(scores: Any, labels: Any) -> Any:
    """Return the loss and, from the same exponentials, its derivative: (probabilities - one_hot(labels)) / n."""
    n = len(labels)
    at_label = (labels, np.arange(n))
    columns = np.ascontiguousarray(scores.T)  # reductions along a short last axis are slow
    shifted = columns - np.maximum.reduce(columns.real, axis=0)  # so no exponential exceeds 1
    derivative = np.exp(shifted)
    total = np.add.reduce(derivative, axis=0)
    loss = (np.add.reduce(np.log(total)) - np.add.reduce(shifted[at_label])) / n
    derivative /= n * total
    derivative[at_label] -= 1 / n
    return loss, np.ascontiguousarray(derivative.T)


def _derivative(scores: Any, labels: Any) -> Any:
    """Return the derivative as a composition of operations, which can be differentiated again."""
    one_hot = np.zeros(scores.shape, dtype=scores.dtype)
    one_hot[np.arange(len(labels)), labels] = 1
    return (_softmax(scores, 1) - one_hot) / len(labels)


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
