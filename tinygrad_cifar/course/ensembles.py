"""Classifiers that average others: the scores of several views of an image, or the probabilities of several models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import shape_of, unwrap_value
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.system.arguments import listed

Array = np.ndarray[Any, np.dtype[Any]]


class ViewAverage(Classifier):
    """A classifier whose scores are weighted means of those of another one, over views of each image.

    Views are, for example, the image, its mirror image and shifted ones (:func:`tinygrad_cifar.data.weighted_views`).
    The loss is that of the mean scores.

    Parameters
    ----------
    model : Classifier
        Model of the single views.
    views : callable
        ``views(images)`` yields pairs of a weight and inputs of the model; the weights have the sum 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.ensembles import ViewAverage
    >>> from tinygrad_cifar.course.evaluation import evaluate
    >>> model = models.SoftmaxRegression(4, 2, rng=np.random.default_rng(0))
    >>> both = ViewAverage(model, lambda X: [(0.5, X), (0.5, X[:, ::-1])])
    >>> image = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> bool((both(image).data == both(image[:, ::-1]).data).all())
    True
    >>> evaluate(both, (image, np.array([1]))).loss == both.loss(image, [1]).item()
    True
    """

    def __init__(self, model: Classifier, views: Callable[[Array], Iterable[tuple[float, Array]]]) -> None:
        self.model = model
        self.views = views

    @property
    def has_probabilities(self) -> bool:
        """Whether the softmax of the scores is the probability of each class, as in the model."""
        return self.model.has_probabilities

    def forward(self, X: Any) -> Tensor:
        """Return the weighted mean of the scores of the views."""
        total: Any = 0.0
        for weight, inputs in self.views(np.asarray(unwrap_value(X))):
            total = total + weight * self.model(inputs)
        scores: Tensor = total
        return scores

    def loss_of(self, scores: Tensor, labels: Any) -> Tensor:
        """Return the mean loss of a batch of scores, that of the model."""
        return self.model.loss_of(scores, labels)


class Ensemble(Classifier):
    """A classifier whose probabilities are means of those of several ones.

    The members make different mistakes, so the mean is usually right more often than each of them. Its scores are
    logarithms of the mean probabilities, and its loss is their cross-entropy. Source: B. Lakshminarayanan, A. Pritzel
    and C. Blundell, arXiv:1612.01474.

    Parameters
    ----------
    members : sequence of Classifier
        Models for the same inputs and classes, such as runs with several seeds, or the models at the end of each cycle
        of a cyclical learning rate.

    Raises
    ------
    TypeError
        If a member is not a classifier.
    ValueError
        If there are no members, or if a member was trained with another loss than the cross-entropy, so that its
        scores are not those of softmax probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.ensembles import Ensemble
    >>> from tinygrad_cifar.nn import functional as F
    >>> a, b = (models.SoftmaxRegression(4, 2, rng=seed) for seed in (0, 1))
    >>> X = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> mean = (F.softmax(a(X)) + F.softmax(b(X))) / 2
    >>> np.allclose(F.softmax(Ensemble([a, b])(X)), mean)
    True
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        if isinstance(members, Classifier) or not all(isinstance(member, Classifier) for member in members):
            raise TypeError(f"Ensemble: members must be a list of classifiers; got {members!r:.60}")
        if not members:
            raise ValueError("Ensemble: members must be at least one model; got none")
        for member in members:
            if not member.has_probabilities:
                raise ValueError(
                    "Ensemble: members must be trained with the cross-entropy, whose scores are those of softmax "
                    f"probabilities; got a {type(member).__name__} with another loss"
                )
        self.members = list(members)

    def forward(self, X: Any) -> Tensor:
        """Return the logarithms of the mean probabilities."""
        scores: Tensor = average_probabilities([member(X) for member in self.members])
        return scores


def average_probabilities(scores: Sequence[Any]) -> Any:
    """Return scores whose softmax is the mean of the softmax of each of the given scores: ``log(mean(softmax(s)))``.

    Parameters
    ----------
    scores : sequence of Tensor or ndarray, each of shape (batch, classes)

    Returns
    -------
    Tensor or ndarray, shape (batch, classes)

    Raises
    ------
    ValueError
        If there are no scores, or if their shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.ensembles import average_probabilities
    >>> np.exp(average_probabilities([np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])])).round(6)
    array([[0.7, 0.3]])
    """
    shapes = list(dict.fromkeys(map(shape_of, scores)))
    if len(shapes) != 1 or len(shapes[0]) != 2:  # noqa: PLR2004 (images and classes)
        raise ValueError(
            "average_probabilities: the scores of each model must have the same shape (batch, classes); got "
            f"{listed(map(str, shapes)) if shapes else 'none'}"
        )
    return ops.logsumexp(ops.stack([F.log_softmax(s) for s in scores]), 0) - math.log(len(scores))
