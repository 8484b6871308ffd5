"""Evaluation of a model: loss, cost, the accuracy of a classifier, other metrics, and the confusion matrix.

A model is anything that maps inputs to outputs. Its loss is a function of outputs and targets that the caller passes,
or else a method of the model. Only classifiers have an accuracy: models with one score per class, for targets that are
integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.tensor import Tensor, wrap_without_copy
from tinygrad_cifar.nn import Module
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.system.arguments import explain_calls

Array = np.ndarray[Any, np.dtype[Any]]
Examples = tuple[Array, Array]
Loss = Callable[[Any, Any], Tensor]
Metric = Callable[[Any, Any], float]

_BLOCK_SIZE = 10_000  # images evaluated together; it bounds the memory of an evaluation


@dataclass(frozen=True)
class Metrics:
    """Metrics of a model on a set of examples.

    Attributes
    ----------
    loss : float
        Mean loss, in nats for the cross-entropy.
    cost : float
        Loss plus the L2 term.
    accuracy : float
        Fraction of the images that are classified correctly; NaN if the model is not a classifier.
    others : mapping of str to float
        The other metrics, by name.
    """

    loss: float
    cost: float
    accuracy: float
    others: Mapping[str, float] = field(default_factory=dict, hash=False)


@explain_calls
def evaluate(
    model: Module,
    examples: Examples,
    lam: float = 0.0,
    *,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Metrics:
    """Return loss, cost, accuracy and other metrics of a model, in evaluation mode and without recording.

    Parameters
    ----------
    model : Module
        Classifier, or any module with a loss.
    examples : (X, labels)
        Images, one per row, and their classes; or any inputs and targets.
    lam : float
        Weight of the L2 term in the cost. Default: 0.0.
    loss : callable, optional
        ``loss(outputs, targets)`` returns the mean loss of a batch. Default: that of the model.
    metrics : mapping of str to callable, optional
        Functions ``metric(outputs, targets)`` of arrays with all examples, by name. One with the name ``accuracy``
        replaces the accuracy.

    Returns
    -------
    Metrics

    Raises
    ------
    TypeError
        If the images or the labels are not NumPy arrays, or if the model has no loss and none is given.
    ValueError
        If there are no images, or if the number of labels differs from that of the images.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.evaluation import evaluate
    >>> model = models.SoftmaxRegression(4, 2, rng=np.random.default_rng(0))
    >>> evaluate(model, (np.zeros((3, 4)), np.array([0, 0, 1]))).accuracy.__round__(3)
    0.667
    """
    validate_examples("evaluate", examples)
    X, labels = examples
    metrics = metrics or {}
    mean_loss, accuracy = 0.0, math.nan if "accuracy" in metrics else 0.0
    collected: list[Array] = []
    with model.inference_mode():
        for start in range(0, len(labels), _BLOCK_SIZE):
            rows = slice(start, start + _BLOCK_SIZE)
            x, y = wrap_without_copy(X[rows]), labels[rows]
            share = len(y) / len(labels)
            outputs, value = _outputs_and_loss(model, x, y, loss)
            mean_loss += share * value
            if not math.isnan(accuracy):
                accuracy += share * _accuracy(model, x, outputs, y, loss)
            if metrics:
                collected.append(np.asarray(unwrap_value(model(x) if outputs is None else outputs)))
        penalty = float(F.l2_penalty(model.weights(), lam)) if lam else 0.0
    outputs = np.concatenate(collected) if collected else None
    others = {name: _as_number(f"the metric {name}", metric(outputs, labels)) for name, metric in metrics.items()}
    accuracy = others.pop("accuracy", accuracy)
    return Metrics(mean_loss, mean_loss + penalty, accuracy, others)


def scores_of(model: Classifier, X: Array) -> Array:
    """Return the scores of a classifier, in evaluation mode and without recording; many images in blocks.

    Parameters
    ----------
    model : Classifier
    X : ndarray, shape (images, ...)
        Inputs of the model.

    Returns
    -------
    ndarray, shape (images, classes)

    Raises
    ------
    ValueError
        If there are no images.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.evaluation import scores_of
    >>> scores_of(models.SoftmaxRegression(4, 2, rng=0), np.zeros((3, 4))).tolist()
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    if not len(X):
        raise ValueError("scores_of: X must have at least one image; got none")
    with model.inference_mode():
        starts = range(0, len(X), _BLOCK_SIZE)
        return np.concatenate([np.asarray(model(wrap_without_copy(X[i : i + _BLOCK_SIZE]))) for i in starts])


def evaluate_scores(model: Classifier, scores: Array, labels: Array, lam: float = 0.0) -> Metrics:
    """Return loss, cost and accuracy of scores that a model has computed.

    Parameters
    ----------
    model : Classifier
        Has the loss, and the weights of the L2 term.
    scores : ndarray, shape (images, classes)
        As of :func:`scores_of`.
    labels : ndarray of int, shape (images,)
    lam : float
        Weight of the L2 term in the cost. Default: 0.0.

    Returns
    -------
    Metrics

    Raises
    ------
    TypeError
        If the model is not a classifier.
    ValueError
        If the labels are not one class for each row of scores.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.evaluation import evaluate_scores
    >>> model = models.SoftmaxRegression(4, 2, rng=0)
    >>> evaluate_scores(model, np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])).accuracy
    0.5
    """
    if not isinstance(model, Classifier):
        raise TypeError(f"evaluate_scores: model must be a classifier, which has a loss; got a {type(model).__name__}")
    scores = np.asarray(scores)
    accuracy = F.accuracy(scores, labels)
    with model.inference_mode():
        loss = float(model.loss_of(wrap_without_copy(scores), labels))
        penalty = float(F.l2_penalty(model.weights(), lam)) if lam else 0.0
    return Metrics(loss, loss + penalty, accuracy)


def loss_function(name: str, model: Module, loss: Loss | None) -> Loss:
    """Return the function of inputs and targets that training minimises.

    Parameters
    ----------
    name : str
        Beginning of the error message.
    model : Module
        Module to train.
    loss : callable or None
        ``loss(outputs, targets)``. If None, the model must have a method ``loss(X, labels)``.

    Raises
    ------
    TypeError
        If ``loss`` is None and the model has no method ``loss``, or if ``loss`` is not callable.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> from tinygrad_cifar.course.evaluation import loss_function
    >>> loss_function("fit", nn.Sequential(nn.Linear(2, 1, rng=0)), None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    TypeError: fit: Sequential has no loss; give one, loss=functional.cross_entropy for classes or ...
    """
    if loss is not None:
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(
                f"{name}: loss must be a function of outputs and targets, such as functional.mse; got {loss!r:.40}"
            )
        return lambda X, targets: loss(model(X), targets)
    own = getattr(model, "loss", None)
    if not callable(own):
        raise TypeError(
            f"{name}: {type(model).__name__} has no loss; give one, loss=functional.cross_entropy for classes or "
            "loss=functional.mse for numbers, or define the method loss(X, labels)"
        )
    result: Loss = own
    return result


def _outputs_and_loss(model: Module, x: Tensor, y: Array, loss: Loss | None) -> tuple[Any, float]:
    """Return the outputs, or None if the model computes its loss by itself, and the loss as a number."""
    outputs = None
    if loss is None and isinstance(model, Classifier):
        loss = model.loss_of
    if loss is not None:
        outputs = model(x)
        value: Any = loss(outputs, y)
    else:
        value = loss_function("evaluate", model, None)(x, y)
    return outputs, _as_number("the loss", value, "one number, the mean over the batch")


def _as_number(name: str, value: Any, wanted: str = "one number") -> float:
    """Return what a function of the user returned, as a number."""
    array = np.asarray(unwrap_value(value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must return {wanted}; got {value!r:.40}")
    if array.size != 1:
        raise ValueError(f"{name} must return {wanted}; got an array of shape {array.shape}")
    return float(array.item())


def _accuracy(model: Module, x: Tensor, outputs: Any, y: Array, loss: Loss | None) -> float:
    """Return the fraction of rows whose highest score is that of the label; NaN if the outputs are not scores."""
    has_classes = y.ndim == 1 and y.dtype.kind in "iu"
    # Rows of probabilities have the shape of the outputs, as the targets of a regression do.
    has_rows = y.ndim == 2 and (loss is F.cross_entropy or (loss is None and isinstance(model, Classifier)))  # noqa: PLR2004
    if not (has_classes or has_rows):
        return math.nan
    outputs = model(x) if outputs is None else outputs
    is_scores = isinstance(outputs, (Tensor, np.ndarray)) and outputs.ndim == 2  # noqa: PLR2004 (images and classes)
    return F.accuracy(outputs, np.argmax(y, axis=1) if has_rows else y) if is_scores else math.nan


def confusion_matrix(model: Classifier, examples: Examples, classes: int = 10) -> Array:
    """Return the confusion matrix (rows: true, columns: predicted).

    Parameters
    ----------
    model : Classifier
    examples : (X, labels)
        Images, one per row, and their classes.
    classes : int
        Number of classes. Default: 10.

    Returns
    -------
    ndarray of int, shape (classes, classes)

    Raises
    ------
    ValueError
        If a label is not an integer from 0 to ``classes - 1``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.evaluation import confusion_matrix
    >>> model = models.SoftmaxRegression(2, 2, rng=np.random.default_rng(0))
    >>> model.W.data = np.eye(2)  # predicts the larger of two pixels
    >>> confusion_matrix(model, (np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), np.array([0, 0, 1])), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    validate_examples("confusion_matrix", examples)
    X, labels = examples
    return count_pairs(labels, np.argmax(scores_of(model, X), axis=1), classes)


def count_pairs(true: Array, predicted: Array, classes: int = 10) -> Array:
    """Return how often each true class (row) was predicted as each class (column).

    Parameters
    ----------
    true, predicted : ndarray of int, shape (images,)
    classes : int
        Number of classes. Default: 10.

    Returns
    -------
    ndarray of int, shape (classes, classes)

    Raises
    ------
    ValueError
        If a class is not an integer from 0 to ``classes - 1``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.evaluation import count_pairs
    >>> count_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    return F.one_hot(true, classes, dtype=int).T @ F.one_hot(predicted, classes, dtype=int)


def validate_examples(name: str, examples: Examples) -> None:
    """Raise an error that begins with ``name`` unless the examples are arrays of images and one label for each.

    Raises
    ------
    TypeError, ValueError
        As for :func:`evaluate`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.evaluation import validate_examples
    >>> validate_examples("evaluate", (np.zeros((2, 4)), np.array([0])))
    Traceback (most recent call last):
    ValueError: evaluate: images and labels must have the same length of at least 1; got 2 and 1
    """
    given: Any = examples
    if not isinstance(given, (tuple, list)) or len(given) != 2:  # noqa: PLR2004 (images and labels)
        size = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
        raise TypeError(f"{name}: examples must be a pair (images, labels); got a {type(given).__name__}{size}")
    X, labels = examples
    arrays: dict[str, object] = {"images": X, "labels": labels}
    for argument, array in arrays.items():
        if not isinstance(array, np.ndarray):
            remedy = "use its .data" if isinstance(array, Tensor) else "use np.asarray"
            raise TypeError(f"{name}: {argument} must be a NumPy array; got {type(array).__name__}; {remedy}")
    if len(X) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"{name}: images and labels must have the same length of at least 1; got {len(X)} and {len(labels)}"
        )
