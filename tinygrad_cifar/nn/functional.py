"""What classifiers are made of, as compositions of primitives: there is no derivative rule in this module.

Images come one per row, so scores have the shape ``(batch, classes)``; labels are integers of shape ``(batch,)``, and
for the cross-entropy also one-hot rows of the shape of the scores. Losses are means over the batch and use the natural
logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import shape_of, unwrap_value
from tinygrad_cifar.engine.ops import losses
from tinygrad_cifar.engine.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
ArrayLike = Any

_NOT_QUITE_1 = 1e-3  # how far a sum of probabilities may be from it: float16 has three digits


def softmax(scores: ArrayLike, axis: int = -1) -> Any:
    """Turn scores into probabilities: ``exp(s) / sum(exp(s))`` along ``axis``, without overflow.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.softmax(Tensor([[1000.0, 1000.0]]))
    Tensor([[0.5, 0.5]])
    """
    return ops.softmax(_as_floats(scores), axis)


def log_softmax(scores: ArrayLike, axis: int = -1) -> Any:
    """Compute ``s - log(sum(exp(s)))`` along ``axis``: the logarithms of the softmax, exact where it is nearly 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.log_softmax(Tensor([[0.0, -10000.0]]))
    Tensor([[     0., -10000.]])
    """
    scores = _as_floats(scores)
    # A shift changes nothing, so its gradient is not needed; without it, large scores would cost float32 its digits.
    shifted = ops.subtract(scores, ops.max(np.asarray(unwrap_value(scores)), axis, True))
    return ops.subtract(shifted, ops.logsumexp(shifted, axis, True))


def one_hot(labels: ArrayLike, classes: int, dtype: Any = np.float64) -> Array:
    """Return an array with one row for each label: 1 in the label's column and 0 elsewhere.

    Raises
    ------
    ValueError
        If a label is no integer from 0 to ``classes - 1``.

    Examples
    --------
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    labels = _checked_labels("one_hot", labels, classes)
    return np.eye(classes, dtype=dtype)[labels]


def _checked_labels(name: str, labels: ArrayLike, classes: int, count: int | None = None) -> Array:
    labels = np.asarray(unwrap_value(labels))
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels must be integers, got {labels.dtype}")
    if labels.ndim != 1 or count not in (None, len(labels)):
        wanted = "(batch,)" if count is None else f"({count},), one for each row of scores"
        raise ValueError(f"{name}: labels must have the shape {wanted}, got {labels.shape}")
    if not labels.dtype.isnative:
        labels = labels.astype(labels.dtype.newbyteorder("="))
    # Seen as unsigned, a negative label is a huge one: one pass tells whether all of them are in range.
    if labels.size and np.maximum.reduce(labels.view(f"u{labels.itemsize}")) >= classes:
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(
            f"{name}: label {bad} is out of range; with {classes} classes, labels go from 0 to {classes - 1}"
        )
    return labels


def _as_floats(scores: ArrayLike) -> Any:
    """Return integers as float64: differences of small or unsigned ones would wrap around."""
    scores = scores if hasattr(scores, "dtype") else np.asarray(scores)
    return ops.astype(scores, np.float64) if scores.dtype.kind in "iub" else scores


def _checked_rows(labels: ArrayLike, shape: tuple[int, int]) -> Array:
    if shape_of(labels) != shape:
        raise ValueError(
            f"cross_entropy: one-hot labels must have the shape {shape} of the scores, got {shape_of(labels)}"
        )
    if getattr(labels, "requires_grad", False):
        raise ValueError("cross_entropy: no gradient goes to labels, but these require one; give labels.detach()")
    p = np.asarray(unwrap_value(labels))
    sums = p.sum(axis=1)
    if not ((p >= 0).all() and np.allclose(sums, 1, rtol=0, atol=_NOT_QUITE_1)):
        raise ValueError(
            "cross_entropy: each row of labels must be probabilities, none below 0 and with the sum 1; the least is "
            f"{p.min():g}, and the sums are from {sums.min():g} to {sums.max():g}"
        )
    return p


def _checked_scores(name: str, scores: ArrayLike) -> tuple[int, int]:
    shape = shape_of(scores)
    if len(shape) != 2 or 0 in shape:  # noqa: PLR2004 (a matrix)
        raise ValueError(f"{name}: scores must have the shape (batch, classes), with nothing empty; got {shape}")
    return shape[0], shape[1]


def cross_entropy(scores: ArrayLike, labels: ArrayLike) -> Any:
    """Average ``-log p(label)`` over the batch, where p is the softmax of the scores.

    Parameters
    ----------
    scores : Tensor
        Of shape ``(batch, classes)``: not probabilities, the softmax is taken here.
    labels : array_like
        Integers of shape ``(batch,)``, or rows of probabilities (one-hot) of the shape of ``scores``.

    Returns
    -------
    Tensor
        A single number: ``mean_i(logsumexp(s_i) - s_i[y_i])``. Exact for scores of any size.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range, or rows of labels are no probabilities or require a gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> scores = Tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> print(f"{F.cross_entropy(scores, [0, 1]):.4f}")
    0.4100
    """
    batch, classes = _checked_scores("cross_entropy", scores)
    if len(shape_of(labels)) == 2:  # noqa: PLR2004 (one-hot rows)
        rows = _checked_rows(labels, (batch, classes))
        log_p = log_softmax(scores, 1)
        p = rows.astype(log_p.dtype, copy=False)  # float64 rows leave a float32 loss float32
        return ops.sum(ops.multiply(ops.where(p > 0, log_p, 0.0), p)) / -batch  # 0 * log(0) is 0
    return losses._cross_entropy(_as_floats(scores), _checked_labels("cross_entropy", labels, classes, batch))


def generalised_cross_entropy(scores: ArrayLike, labels: ArrayLike, q: float) -> Any:
    """Average ``(1 - p(label)**q) / q`` over the batch, where p is the softmax of the scores.

    Between the cross-entropy, which it becomes as q goes to 0, and one minus the mean probability of the label (q = 1).
    No image can cost more than 1/q, so a model too small to fit all images gives up those it cannot fit, and has more
    of the others right (Zhang and Sabuncu, Generalized cross entropy loss, arXiv:1805.07836).

    Parameters
    ----------
    scores : Tensor
        Of shape ``(batch, classes)``.
    labels : array_like
        Integers of shape ``(batch,)``.
    q : float
        From 0, the cross-entropy itself, to 1.

    Raises
    ------
    ValueError
        If shapes do not fit, or a label or q is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> scores = Tensor([[0.0, 0.0], [0.0, 1000.0]])  # undecided; and sure, and wrong
    >>> F.generalised_cross_entropy(scores, [0, 0], 1.0), F.generalised_cross_entropy(scores, [0, 0], 0.5).item() < 2
    (Tensor(0.75), True)
    """
    if not 0 <= q <= 1:
        raise ValueError(f"generalised_cross_entropy: q must be from 0 to 1, got {q}")
    if q == 0:
        return cross_entropy(scores, labels)
    batch, classes = _checked_scores("generalised_cross_entropy", scores)
    labels = _checked_labels("generalised_cross_entropy", labels, classes, batch)
    log_p = ops.getitem(log_softmax(scores, 1), (np.arange(batch), labels))
    return ops.mean(ops.expm1(ops.multiply(log_p, float(q)))) / -float(q)  # p**q - 1, exact where q or 1 - p is small


def hinge(scores: ArrayLike, labels: ArrayLike, margin: float = 1.0) -> Any:
    """Average the multi-class hinge loss over the batch: ``sum_{j != y} max(0, s_j - s_y + margin)``.

    The loss of a linear support vector machine with many classes (the course's assignment 1, bonus part). At the margin
    itself the slope is 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.hinge(Tensor([[3.0, 2.5, 0.0]]), [0])
    Tensor(0.5)
    """
    if not margin >= 0:
        raise ValueError(f"hinge: the margin must be a number from 0 up, got {margin}")
    batch, classes = _checked_scores("hinge", scores)
    labels = _checked_labels("hinge", labels, classes, batch)
    scores = _as_floats(scores)
    own = ops.getitem(scores, (np.arange(batch), labels))
    over = ops.relu(scores - ops.reshape(own, (batch, 1)) + margin)
    # The label's own column adds exactly the margin, which has no slope.
    return ops.sum(over) / batch - margin


def mse(prediction: ArrayLike, target: ArrayLike) -> Any:
    """Average the squared difference over all elements.

    The shapes must be equal: ``(N,)`` against ``(N, 1)`` would broadcast to ``(N, N)`` and mean something else.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.mse(Tensor([1.0, 2.0]), [1.0, 4.0])
    Tensor(2.)
    """
    if shape_of(prediction) != shape_of(target):
        raise ValueError(
            f"mse: prediction has shape {shape_of(prediction)} and target {shape_of(target)}; they must be equal "
            "(reshape one of them)"
        )
    return ops.mean(ops.square(ops.subtract(_as_floats(prediction), target)))


def l2_penalty(weights: Iterable[Tensor], lam: float) -> Any:
    """Add up ``lam * W**2`` over all elements of all weights: the second term of the course's cost.

    Its derivative is ``2 * lam * W``.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.l2_penalty([Tensor([1.0, 2.0]), Tensor([3.0])], 0.1)
    Tensor(1.4)
    """
    total: Any = 0.0
    for W in weights:
        total = total + ops.sum(ops.square(W))
    return lam * total


def accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of rows whose highest score is the label's, from 0 to 1; the first of equal scores counts.

    Examples
    --------
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.accuracy([[1.0, 2.0], [5.0, 0.0]], [1, 1])
    0.5
    """
    batch, classes = _checked_scores("accuracy", scores)
    labels = _checked_labels("accuracy", labels, classes, batch)
    return float(np.mean(np.argmax(np.asarray(unwrap_value(scores)), axis=1) == labels))


def dropout(x: Tensor, rate: float, rng: np.random.Generator) -> Tensor:
    """Set each element to 0 with probability ``rate`` and divide the others by ``1 - rate``, so that means stay.

    Raises
    ------
    ValueError
        If ``rate`` is not from 0 up to, but not including, 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.dropout(Tensor(np.ones(4)), 0.5, np.random.default_rng(1))
    Tensor([0., 2., 2., 2.])
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be from 0 up to, but not including, 1; got {rate}")
    if rate == 0:
        return x
    kept = rng.random(x.shape, dtype=np.float32) >= rate
    return ops.multiply(x, kept.astype(x.dtype) / (1 - float(rate)))
