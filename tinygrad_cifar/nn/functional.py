"""Functions of classifiers: softmax, losses, L2 penalty, accuracy and dropout, all composed of primitives.

Scores have the shape ``(batch, classes)``. Labels are integers of shape ``(batch,)``; the cross-entropy also takes
one-hot rows with the shape of the scores, and scores with any number of axes. Losses are means over the batch and use
the natural logarithm. A differentiable function of arrays returns arrays; if a floating-point input is a tensor, the
result is a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import Array, refuse_masked_array, shape_of, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops import losses
from tinygrad_cifar.engine.ops.elementwise import _as_floats
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.system.arguments import explain_names
from tinygrad_cifar.system.generators import RandomState, make_generator
from tinygrad_cifar.system.numbers import as_python

V = TypeVar("V", Tensor, Array)

_SUM_TOLERANCE = 1e-3  # of the sum of a row of probabilities: float16 has three digits


softmax = ops.softmax  # used with the losses


@operation(ops.subtract, ops.max, ops.logsumexp)
def log_softmax(scores: TensorLike, axis: int = -1) -> TensorLike:
    """Compute the logarithm of the softmax along an axis: ``s - log(sum(exp(s)))``, accurate where the softmax is tiny.

    Parameters
    ----------
    scores : Tensor or array_like
        Integers become float64.
    axis : int
        Axis of the softmax. Default: -1.

    Returns
    -------
    Tensor or ndarray
        Log-probabilities, with the shape of ``scores``.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.log_softmax(Tensor([[0.0, -10000.0]]))
    Tensor([[     0., -10000.]])
    """
    scores = _as_floats(scores)
    # The result does not depend on the shift, so the shift needs no gradient. Without it, large scores lose precision.
    shifted = ops.subtract(scores, ops.max(np.asarray(unwrap_value(scores)), axis, True))
    return ops.subtract(shifted, ops.logsumexp(shifted, axis, True))


def one_hot(labels: Any, classes: int, dtype: Any = np.float64) -> Array:
    """Return one row per label, with 1 in the column of the label and 0 elsewhere.

    Parameters
    ----------
    labels : array_like of int, shape (batch,)
        Class of each row, from 0 to ``classes - 1``.
    classes : int
        Number of columns.
    dtype : data-type
        Type of the result. Default: float64.

    Returns
    -------
    ndarray, shape (batch, classes)

    Raises
    ------
    ValueError
        If a label is not an integer from 0 to ``classes - 1``.

    Examples
    --------
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    labels = _check_labels("one_hot", labels, classes)
    rows = np.zeros((len(labels), classes), dtype=dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def _check_labels(name: str, labels: Any, classes: int, count: int | None = None) -> Array:
    refuse_masked_array(name, labels)
    labels = np.asarray(unwrap_value(labels))
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels must be integers; got {labels.dtype}")
    if labels.ndim != 1 or count not in (None, len(labels)):
        wanted = "(batch,)" if count is None else f"({count},), one label per row of scores"
        raise ValueError(f"{name}: labels must have the shape {wanted}; got {labels.shape}")
    if not labels.dtype.isnative:
        labels = labels.astype(labels.dtype.newbyteorder("="))
    # Viewed as unsigned, a negative label is a large one, so a single maximum checks both bounds.
    bound = min(classes, 2 ** (8 * labels.itemsize - 1)) if labels.dtype.kind == "i" else classes
    if labels.size and np.maximum.reduce(labels.view(f"u{labels.itemsize}")) >= bound:
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(
            f"{name}: label {bad} is out of range; with {classes} classes, labels must be from 0 to {classes - 1}"
        )
    return labels


def _check_rows(labels: Any, shape: tuple[int, int]) -> Array:
    if shape_of(labels) != shape:
        raise ValueError(
            f"cross_entropy: one-hot labels must have the shape {shape} of the scores; got {shape_of(labels)}"
        )
    if getattr(labels, "requires_grad", False):
        raise ValueError("cross_entropy: labels must not require a gradient; use labels.detach()")
    refuse_masked_array("cross_entropy", labels)
    p = np.asarray(unwrap_value(labels))
    sums = p.sum(axis=1)
    if not ((p >= 0).all() and np.allclose(sums, 1, rtol=0, atol=_SUM_TOLERANCE)):
        raise ValueError(
            "cross_entropy: each row of labels must be probabilities, at least 0 and with sum 1; got a minimum of "
            f"{p.min():g} and sums from {sums.min():g} to {sums.max():g}"
        )
    return p


def _are_one_hot(rows: Array) -> bool:
    """Return whether rows of probabilities have one element of 1 each."""
    return bool(((rows == 0) | (rows == 1)).all())


def _flatten_labels(labels: Any, scores: tuple[int, ...]) -> Any:
    """Return labels, or rows of probabilities, of scores with any number of axes as those of a matrix of scores."""
    refuse_masked_array("cross_entropy", labels)
    given = shape_of(labels)
    if given not in (scores[:-1], scores):
        raise ValueError(
            f"cross_entropy: labels must have the shape {scores[:-1]}, one per row of scores, or {scores}, one "
            f"probability per score; got {given}"
        )
    labels = labels if isinstance(labels, Tensor) else np.asarray(labels)
    return labels.reshape(math.prod(scores[:-1]), *given[len(scores) - 1 :])


def _check_scores(name: str, scores: Any) -> tuple[int, int]:
    shape = shape_of(scores)
    if len(shape) != 2 or 0 in shape:  # noqa: PLR2004 (a matrix)
        raise ValueError(f"{name}: scores must have the shape (batch, classes) and not be empty; got {shape}")
    return shape[0], shape[1]


@operation(losses._cross_entropy)
def cross_entropy(scores: TensorLike, labels: Any, *, label_smoothing: float = 0.0) -> TensorLike:
    """Compute the softmax cross-entropy: the mean of ``-log p(label)``, where p is the softmax of the scores.

    With label smoothing e and K classes, the target probabilities are ``1 - e + e / K`` at the label and ``e / K``
    elsewhere (Szegedy et al., arXiv:1512.00567), as in PyTorch. The course's targets, ``1 - eps`` at the label and
    ``eps / (K - 1)`` elsewhere, are those of ``e = eps * K / (K - 1)``.

    Parameters
    ----------
    scores : Tensor or array_like, shape (..., classes)
        Unnormalised scores, not probabilities: the function applies the softmax along the last axis.
    labels : array_like
        Integers of shape ``(...)``, one per row of scores; or rows of probabilities (such as one-hot rows) with the
        shape of ``scores``.
    label_smoothing : float
        Share e of the target probability that is divided among all classes, from 0 to 1. Default: 0.

    Returns
    -------
    Tensor or scalar
        ``mean_i(logsumexp(s_i) - s_i[y_i])``, without overflow for scores of any magnitude.

    Raises
    ------
    ValueError
        If a shape is incompatible, a label or ``label_smoothing`` is out of range, or rows of labels are not
        probabilities or require a gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> scores = Tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> print(f"{F.cross_entropy(scores, [0, 1]):.4f}")
    0.4100
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1; got {label_smoothing}")
    shape, scores = shape_of(scores), _as_floats(scores)
    if len(shape) != 2 and len(shape) and 0 not in shape:  # noqa: PLR2004 (a matrix)
        labels = _flatten_labels(labels, shape)
        scores = ops.reshape(scores, (math.prod(shape[:-1]), shape[-1]))
    batch, classes = _check_scores("cross_entropy", scores)
    if len(shape_of(labels)) == 2:  # noqa: PLR2004 (one-hot rows)
        rows = _check_rows(labels, (batch, classes))
        if _are_one_hot(rows):
            return losses._cross_entropy(scores, np.argmax(rows, axis=1), float(label_smoothing))
        if scores.dtype == np.float16:  # sums over a batch overflow beyond 65,504
            wide = cross_entropy(ops.astype(scores, np.float32), rows, label_smoothing=label_smoothing)
            return ops.astype(wide, np.float16)
        log_p = log_softmax(scores, 1)
        p = rows.astype(log_p.dtype, copy=False)  # so that float64 rows do not promote a float32 loss
        if label_smoothing:
            p = (1 - float(label_smoothing)) * p + float(label_smoothing) / classes
        return ops.sum(ops.multiply(ops.where(p > 0, log_p, 0.0), p)) / -batch  # 0 * log(0) is 0
    labels = _check_labels("cross_entropy", labels, classes, batch)
    return losses._cross_entropy(scores, labels, float(label_smoothing))


@operation(ops.max, ops.subtract, ops.where, ops.logsumexp, ops.getitem, ops.softplus, ops.expm1, ops.mean)
def generalised_cross_entropy(scores: TensorLike, labels: Any, q: float) -> TensorLike:
    """Compute the generalised cross-entropy: the mean of ``(1 - p(label)**q) / q``, where p is the softmax.

    It tends to the cross-entropy as q goes to 0; at q = 1 it is 1 minus the mean probability of the label. The loss of
    an image is at most 1/q, so images that a small model cannot fit have less influence on it, and it classifies more
    of the others correctly (Zhang and Sabuncu, Generalized cross entropy loss, arXiv:1805.07836).

    Parameters
    ----------
    scores : Tensor or array_like, shape (batch, classes)
        Unnormalised scores.
    labels : array_like of int, shape (batch,)
        Class of each row.
    q : float
        Exponent from 0 to 1; 0 is the cross-entropy.

    Returns
    -------
    Tensor or scalar
        Mean loss.

    Raises
    ------
    ValueError
        If a shape is incompatible, or a label or ``q`` is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> scores = Tensor([[0.0, 0.0], [0.0, 1000.0]])  # one undecided, one confident and wrong
    >>> F.generalised_cross_entropy(scores, [0, 0], 1.0), F.generalised_cross_entropy(scores, [0, 0], 0.5).item() < 2
    (Tensor(0.75), True)
    """
    if not 0 <= q <= 1:
        raise ValueError(f"generalised_cross_entropy: q must be from 0 to 1; got {q}")
    if q == 0:
        return cross_entropy(scores, labels)
    scores = _as_floats(scores)
    batch, classes = _check_scores("generalised_cross_entropy", scores)
    labels = _check_labels("generalised_cross_entropy", labels, classes, batch)
    # nll = -log p = softplus(others - score of the label): accurate, as its derivatives are, where 1 - p is small.
    at_label = (np.arange(batch), labels)
    is_label = np.zeros((batch, classes), bool)
    is_label[at_label] = True
    # The difference does not depend on the shift, so the shift needs no gradient.
    shifted = ops.subtract(scores, ops.max(np.asarray(unwrap_value(scores)), 1, True))
    others = ops.logsumexp(ops.where(is_label, float(np.finfo(shifted.dtype).min) / 4, shifted), 1)
    nll = ops.softplus(ops.subtract(others, ops.getitem(shifted, at_label)))
    return ops.mean(ops.expm1(ops.multiply(nll, -float(q)))) / -float(q)


@operation(ops.negative, ops.softplus, ops.multiply, ops.add, ops.mean)
def binary_cross_entropy(scores: TensorLike, targets: Any) -> TensorLike:
    """Compute the binary cross-entropy: the mean of ``-t log p - (1 - t) log(1 - p)``, where p is the sigmoid.

    With one column per class it is the course's other loss for many classes: the mean over images and classes of one
    yes-or-no question for each class. The scores may also be of any shape, with targets of the same shape.

    Parameters
    ----------
    scores : Tensor or array_like
        Unnormalised scores, not probabilities: the function applies the sigmoid.
    targets : array_like
        Probabilities from 0 to 1, such as 0 and 1, with the shape of ``scores``; or, for scores of shape
        ``(batch, classes)``, integers of shape ``(batch,)``, the class of each row.

    Returns
    -------
    Tensor or scalar
        Mean over all elements, without overflow for scores of any magnitude.

    Raises
    ------
    ValueError
        If the shapes are incompatible, a target is out of range, or targets require a gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.binary_cross_entropy(Tensor([1000.0, -1000.0, 1000.0]), [1, 0, 0]).item()  # the last one is wrong
    333.3333333333333
    >>> F.binary_cross_entropy(Tensor([[1000.0, -1000.0]]), [0]).item()  # class 0, and not class 1
    0.0
    """
    name = "binary_cross_entropy"
    if isinstance(targets, Tensor) and targets.requires_grad:
        raise ValueError(f"{name}: targets must not require a gradient; use targets.detach()")
    scores = _as_floats(scores)
    shape = shape_of(scores)
    refuse_masked_array(name, targets)
    t = np.asarray(unwrap_value(targets))
    if len(shape) == 2 and t.ndim == 1 and t.shape != shape:  # noqa: PLR2004 (one class per row)
        t = one_hot(_check_labels(name, t, shape[1], shape[0]), shape[1])
    if t.shape != shape:
        raise ValueError(
            f"{name}: targets must have the shape of scores, or be one class per row; got {t.shape} and {shape}"
        )
    if not t.size:
        raise ValueError(f"{name}: scores must not be empty; got the shape {shape}")
    if t.dtype.kind not in "fiub" or not ((t >= 0) & (t <= 1)).all():
        raise ValueError(
            f"{name}: targets must be probabilities from 0 to 1; got {t.dtype} from {t.min()} to {t.max()}"
        )
    t = t.astype(scores.dtype, copy=False)  # so that float64 targets do not promote a float32 loss
    # The logarithms of p and 1 - p are -softplus(-s) and -softplus(s), accurate where p or 1 - p is tiny.
    return ops.mean(ops.multiply(ops.softplus(-scores), t) + ops.multiply(ops.softplus(scores), 1 - t))


@operation(ops.getitem, ops.reshape, ops.subtract, ops.add, ops.relu, ops.sum, ops.divide)
def hinge(scores: TensorLike, labels: Any, margin: float = 1.0) -> TensorLike:
    """Compute the multi-class hinge loss: the mean of ``sum_{j != y} max(0, s_j - s_y + margin)``.

    The loss of a linear multi-class support vector machine (the course's assignment 1, bonus part). The derivative at
    the kink is 0.

    Parameters
    ----------
    scores : Tensor or array_like, shape (batch, classes)
        Scores.
    labels : array_like of int, shape (batch,)
        Class of each row.
    margin : float
        Required difference, at least 0. Default: 1.

    Returns
    -------
    Tensor or scalar
        Mean loss.

    Raises
    ------
    ValueError
        If a shape is incompatible, a label is out of range, or ``margin`` is negative.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.hinge(Tensor([[3.0, 2.5, 0.0]]), [0])
    Tensor(0.5)
    """
    if not margin >= 0:
        raise ValueError(f"hinge: margin must be at least 0; got {margin}")
    margin = as_python(margin)
    batch, classes = _check_scores("hinge", scores)
    labels = _check_labels("hinge", labels, classes, batch)
    scores = _as_floats(scores)
    if scores.dtype == np.float16:  # sums over a batch overflow beyond 65,504
        return ops.astype(hinge(ops.astype(scores, np.float32), labels, margin), np.float16)
    own = ops.getitem(scores, (np.arange(batch), labels))
    over = ops.relu(scores - ops.reshape(own, (batch, 1)) + margin)
    # The column of the label contributes exactly the margin, a constant.
    return ops.sum(over) / batch - margin


@operation(ops.subtract, ops.square, ops.mean)
def mse(prediction: TensorLike, target: Any) -> TensorLike:
    """Compute the mean squared error over all elements.

    The shapes must be equal, since ``(N,)`` with ``(N, 1)`` would broadcast to ``(N, N)``.

    Parameters
    ----------
    prediction : Tensor or array_like
        Predicted values.
    target : Tensor or array_like
        Target values, with the same shape; those that are not a tensor get the data type of the prediction.

    Returns
    -------
    Tensor or scalar
        Mean of the squared differences.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.mse(Tensor([1.0, 2.0]), [1.0, 4.0])
    Tensor(2.)
    """
    if shape_of(prediction) != shape_of(target):
        raise ValueError(
            f"mse: prediction and target must have the same shape; got {shape_of(prediction)} and "
            f"{shape_of(target)}: reshape one of them"
        )
    prediction = _as_floats(prediction)
    if not isinstance(target, Tensor):  # so that float64 targets do not promote a float32 loss
        target = np.asarray(target).astype(prediction.dtype, copy=False)
    return ops.mean(ops.square(ops.subtract(prediction, target)))


def l2_penalty(weights: Iterable[Tensor], lam: float) -> Any:
    """Compute the L2 term of the course's cost: ``lam`` times the sum of the squares of all weights.

    The derivative is ``2 * lam * W``.

    Parameters
    ----------
    weights : iterable of Tensor
        For example :meth:`tinygrad_cifar.nn.Module.weights`.
    lam : float
        Regularisation strength.

    Returns
    -------
    Tensor
        The penalty, in float32 for weights in float16, whose sums overflow; the float 0 if there are no weights.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.l2_penalty([Tensor([1.0, 2.0]), Tensor([3.0])], 0.1)
    Tensor(1.4)
    """
    if not isinstance(weights, Iterable):
        raise TypeError(
            f"l2_penalty: weights must be an iterable of tensors; got {type(weights).__name__}: use weights()"
        )
    total: Any = 0.0
    for W in weights:
        total = total + ops.sum(ops.square(ops.astype(W, np.float32) if W.dtype == np.float16 else W))
    return as_python(lam) * total


def accuracy(scores: Any, labels: Any) -> float:
    """Return the fraction of rows whose highest score is that of the label; of equal scores, the first counts.

    Parameters
    ----------
    scores : Tensor or array_like, shape (batch, classes)
        Scores.
    labels : array_like of int, shape (batch,)
        Class of each row.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If a shape is incompatible or a label is out of range.

    Examples
    --------
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.accuracy([[1.0, 2.0], [5.0, 0.0]], [1, 1])
    0.5
    """
    batch, classes = _check_scores("accuracy", scores)
    labels = _check_labels("accuracy", labels, classes, batch)
    return float(np.mean(np.argmax(np.asarray(unwrap_value(scores)), axis=1) == labels))


def dropout(x: V, rate: float, rng: RandomState = None) -> V:
    """Set each element to 0 with probability ``rate`` and divide the others by ``1 - rate``.

    The expected value of each element does not change.

    Parameters
    ----------
    x : Tensor or ndarray
        Input.
    rate : float
        Probability in [0, 1).
    rng : numpy.random.Generator or int, optional
        Generator from which one number per element is drawn, or its seed.

    Returns
    -------
    Tensor or ndarray
        Like ``x``; ``x`` itself if ``rate`` is 0.

    Raises
    ------
    ValueError
        If ``rate`` is not in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import functional as F
    >>> F.dropout(Tensor(np.ones(4)), 0.5, np.random.default_rng(1))
    Tensor([0., 2., 2., 2.])
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be in [0, 1); got {rate}")
    if rate == 0:
        return x
    x = _as_floats(x)
    mask = make_generator("dropout", rng).random(shape_of(x), dtype=np.float32) >= rate
    return ops.multiply(x, mask.astype(x.dtype) / (1 - float(rate)))


if not TYPE_CHECKING:  # type checkers would take any name of the module to exist
    __getattr__ = explain_names(__name__, [*globals()])
