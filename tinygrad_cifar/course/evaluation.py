"""What a trained model gets right: loss, cost, accuracy, and which classes it takes for which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.engine.tensor import Tensor, wrap_without_copy
from tinygrad_cifar.nn import functional as F

Array = np.ndarray[Any, np.dtype[Any]]
Examples = tuple[Array, Array]

_ROWS_AT_ONCE = 10_000  # how many images are evaluated together: bounds the memory of an evaluation


@dataclass(frozen=True)
class Metrics:
    """How good a model is on some images.

    Attributes
    ----------
    loss : float
        The mean loss, in nats for the cross-entropy.
    cost : float
        The loss plus the L2 term.
    accuracy : float
        The share of images classified right, from 0 to 1.
    """

    loss: float
    cost: float
    accuracy: float


def evaluate(model: Classifier, examples: Examples, lam: float = 0.0) -> Metrics:
    """Measure loss, cost and accuracy of a model, in evaluation mode and without recording.

    Raises
    ------
    TypeError
        If the images or the labels are no NumPy array.
    ValueError
        If there are no images, or the labels do not fit them.

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
    loss = right = 0.0
    with model.inference_mode():
        for start in range(0, len(labels), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            scores = model(wrap_without_copy(X[rows]))
            share = len(labels[rows]) / len(labels)
            loss += share * model.loss_of(scores, labels[rows]).item()
            right += share * F.accuracy(scores, labels[rows])
        penalty = float(F.l2_penalty(model.weights(), lam)) if lam else 0.0
    return Metrics(loss, loss + penalty, right)


def confusion_matrix(model: Classifier, examples: Examples, classes: int = 10) -> Array:
    """Count, for each true class (row), what the model took its images for (column).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.evaluation import confusion_matrix
    >>> model = models.SoftmaxRegression(2, 2, rng=np.random.default_rng(0))
    >>> model.W.data = np.eye(2)  # the larger of two pixels is the class
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
    """Refuse, in the name of a function, what is not images and a label for each.

    Raises
    ------
    TypeError, ValueError
        As :func:`evaluate` does.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.evaluation import validate_examples
    >>> validate_examples("evaluate", (np.zeros((2, 4)), np.array([0])))
    Traceback (most recent call last):
    ValueError: evaluate: there must be images, and a label for each; got 2 and 1
    """
    X, labels = examples
    parts: dict[str, object] = {"images": X, "labels": labels}
    for what, array in parts.items():
        if isinstance(array, Tensor):
            raise TypeError(f"{name}: the {what} are a Tensor; give the numbers alone, which are its .data")
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: the {what} must be a NumPy array, not {type(array).__name__}; give np.array(...)")
    if len(X) != len(labels) or len(labels) == 0:
        raise ValueError(f"{name}: there must be images, and a label for each; got {len(X)} and {len(labels)}")
