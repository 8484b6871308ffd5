"""The course's classifiers, each a short composition of primitives.

An image is a row of ``features`` numbers (3072 for 32 x 32 x 3), S the scores with one column per class, and the cost
``J = mean loss + lambda * sum of all squared weights``. The expected accuracies are on the CIFAR-10 test set, after
training as the source says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import Dropout, Linear, Module
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.initialisers import FanIn, Initialiser, Normal

_N001 = Normal(0.01)
_FAN_IN = FanIn()


class Classifier(Module):
    """A module that gives each image a score for each class, with the loss it is trained by.

    Attributes
    ----------
    q : float
        Of the loss, :func:`tinygrad_cifar.nn.functional.generalised_cross_entropy`; 0, the cross-entropy, unless set.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar import nn
    >>> class Metrics(models.Classifier):
    ...     def __init__(self, rng):
    ...         self.layer = nn.Linear(4, 2, rng=rng)
    ...
    ...     def forward(self, X):
    ...         return self.layer(X)
    >>> model = Metrics(np.random.default_rng(0))
    >>> model.predict(np.ones((3, 4))).shape, model.cost(np.ones((3, 4)), [0, 1, 1], lam=0.1).shape
    ((3,), ())
    """

    q: float = 0.0

    def loss_of(self, scores: Any, labels: Any) -> Any:
        """Return the mean loss of a batch's scores: the softmax cross-entropy, unless a model says otherwise."""
        return F.generalised_cross_entropy(scores, labels, self.q)

    def loss(self, X: Any, labels: Any) -> Any:
        """Return the mean loss of a batch of images."""
        return self.loss_of(self(X), labels)

    def cost(self, X: Any, labels: Any, lam: float) -> Any:
        """Return ``J``: the mean loss plus ``lam`` times the sum of all squared weights."""
        return self.loss(X, labels) + F.l2_penalty(self.weights(), lam)

    def predict(self, X: Any) -> Any:
        """Return the class of each image, as an array of integers; nothing is dropped or recorded on the way."""
        with self.inference_mode():
            return np.argmax(np.asarray(self(X)), axis=1)


class SoftmaxRegression(Classifier):
    """One linear layer: ``S = X W + b``, trained by the softmax cross-entropy.

    Source: the course's assignment 1. Expected: 38 to 39 % (reports 000 and 001; 37.5 % with the first settings
    of report 002); 43 % as the record is trained (:mod:`tinygrad_cifar.experiments.record`).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.SoftmaxRegression(3072, 10, rng=np.random.default_rng(0))
    >>> print(f"{model.loss(np.zeros((1, 3072)), [3]):.4f}")  # log(10): it knows nothing yet
    2.3026
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        rng: np.random.Generator,
        init: Initialiser = _N001,
        dtype: Any = np.float64,
    ) -> None:
        self.W = Tensor(init(rng, features, classes), requires_grad=True, dtype=dtype)
        self.b = Tensor(np.zeros(classes), requires_grad=True, dtype=dtype)

    def forward(self, X: Any) -> Any:
        """Return the scores ``X W + b``."""
        return ops.matmul(X, self.W) + self.b


class SVM(SoftmaxRegression):
    """The same linear layer trained by the multi-class hinge loss, a support vector machine with margin 1.

    Source: the course's assignment 1, bonus part. Expected: 36 % (report 001).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.SVM(3072, 10, rng=np.random.default_rng(0))
    >>> model.loss(np.zeros((1, 3072)), [3]).item()  # nine wrong classes, each one margin away
    9.0
    """

    def loss_of(self, scores: Any, labels: Any) -> Any:
        """Return the mean hinge loss of a batch's scores."""
        return F.hinge(scores, labels)


class TwoLayer(Classifier):
    """A hidden layer of ReLUs: ``H = max(0, X W1 + b1)``, ``S = H W2 + b2``, trained by the softmax cross-entropy.

    Source: the course's assignment 2. Expected with 50 hidden units: 45 to 46 % on one batch of training images
    in one cycle, 50 to 53 % on all of them (reports 003 and 004), and 57 to 58 % as the record is trained. Another
    ``activation`` may take the ReLU's place.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.TwoLayer(3072, 50, 10, rng=np.random.default_rng(0))
    >>> print(model.summary())
    TwoLayer
      W1     3072 x 50  153,600
      b1            50       50
      W2       50 x 10      500
      b2            10       10
      total             154,160
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        classes: int,
        *,
        rng: np.random.Generator,
        init: Initialiser = _FAN_IN,
        activation: Callable[[Any], Any] = ops.relu,
        dtype: Any = np.float64,
    ) -> None:
        self.activation = activation
        self.W1 = Tensor(init(rng, features, hidden), requires_grad=True, dtype=dtype)
        self.b1 = Tensor(np.zeros(hidden), requires_grad=True, dtype=dtype)
        self.W2 = Tensor(init(rng, hidden, classes), requires_grad=True, dtype=dtype)
        self.b2 = Tensor(np.zeros(classes), requires_grad=True, dtype=dtype)

    def forward(self, X: Any) -> Any:
        """Return the scores ``max(0, X W1 + b1) W2 + b2``."""
        H = self.activation(ops.matmul(X, self.W1) + self.b1)
        return ops.matmul(H, self.W2) + self.b2


class Perceptron(Classifier):
    """As many hidden layers of ReLUs as sizes are given, with dropout after each if wanted.

    ``H_i = max(0, H_{i-1} W_i + b_i)`` with ``H_0 = X``, and scores ``S = H_k W + b``. Source: the course's
    assignments 2 (bonus) and 3. Expected: 53 to 56 % with two wide layers and all the training images.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.Perceptron([3072, 512, 512, 10], rng=np.random.default_rng(0))
    >>> [name for name, _ in model.named_parameters()]
    ['layers.0.W', 'layers.0.b', 'layers.1.W', 'layers.1.b', 'layers.2.W', 'layers.2.b']
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        rng: np.random.Generator,
        init: Initialiser = _FAN_IN,
        dropout: float = 0.0,
        dtype: Any = np.float64,
    ) -> None:
        if len(sizes) < 2:  # noqa: PLR2004 (the images' and the classes')
            raise ValueError(f"Perceptron: give at least the sizes of an image and of the scores, got {list(sizes)}")
        self.layers = [Linear(m, n, rng=rng, init=init, dtype=dtype) for m, n in pairwise(sizes)]
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, X: Any) -> Any:
        """Return the scores."""
        *hidden, last = self.layers
        for layer in hidden:
            X = self.dropout(ops.relu(layer(X)))
        return last(X)
