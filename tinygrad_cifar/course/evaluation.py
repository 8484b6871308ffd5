"""Evaluation of a classifier: loss, cost, accuracy and confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.engine.tensor import Tensor, wrap_without_copy
from tinygrad_cifar.nn import functional as F

Array = np.ndarray[Any, np.dtype[Any]]
Examples = tuple[Array, Array]

_BLOCK_SIZE = 10_000  # images evaluated together; it bounds the memory of an evaluation


@dataclass(frozen=True)
class Metrics:
    """Metrics of a model on a set of images.

    Attributes
    ----------
    loss : float
        Mean loss, in nats for the cross-entropy.
    cost : float
        Loss plus the L2 term.
    accuracy : float
        Fraction of the images that are classified correctly.
    """

    loss: float
    cost: float
    accuracy: float


def evaluate(model: Classifier, examples: Examples, lam: float = 0.0) -> Metrics:
    """Return loss, cost and accuracy of a model, in evaluation mode and without recording.

    Parameters
    ----------
    model : Classifier
    examples : (X, labels)
        Images, one per row, and their classes.
    lam : float
        Weight of the L2 term in the cost. Default: 0.0.

    Returns
    -------
    Metrics

    Raises
    ------
    TypeError
        If the images or the labels are not NumPy arrays.
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
    X, labels = examples
    validate_examples("evaluate", examples)
    loss = accuracy = 0.0
    with model.inference_mode():
        for start in range(0, len(labels), _BLOCK_SIZE):
            rows = slice(start, start + _BLOCK_SIZE)
            scores = model(wrap_without_copy(X[rows]))
            share = len(labels[rows]) / len(labels)
            loss += share * model.loss_of(scores, labels[rows]).item()
            accuracy += share * F.accuracy(scores, labels[rows])
        penalty = float(F.l2_penalty(model.weights(), lam)) if lam else 0.0
    return Metrics(loss, loss + penalty, accuracy)


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
    X, labels = examples
    validate_examples("confusion_matrix", examples)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, model.predict(wrap_without_copy(X))), 1)
    return counts


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
