"""The course's classifiers, each a short composition of primitives.

Each row of ``X`` is an image with ``features`` values (3072 for 32 x 32 x 3), ``S`` are the scores with one column per
class, and the cost is ``J = mean loss + lambda * sum of all squared weights``. The expected accuracies are those on the
CIFAR-10 test set, after training as described in the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import Dropout, Linear, Module
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.initialisers import FanIn, Initialiser, Normal
from tinygrad_cifar.system.generators import RandomState, make_generator

Images = Tensor | npt.ArrayLike

_N001 = Normal(0.01)
_FAN_IN = FanIn()


class Classifier(Module):
    """Base class of classifiers: a module that returns one score per image and class, with a training loss.

    Subclasses define ``forward``, and :meth:`loss_of` for another loss than the cross-entropy.

    Attributes
    ----------
    q : float
        Exponent of the loss (:func:`tinygrad_cifar.nn.functional.generalised_cross_entropy`). Default: 0.0, the
        cross-entropy.
    loss_function : callable, optional
        Another loss, a function of scores and labels such as
        :func:`tinygrad_cifar.nn.functional.binary_cross_entropy`, assigned to an instance. Default: None.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar import Tensor, nn
    >>> class Linear(models.Classifier):
    ...     def __init__(self, rng: np.random.Generator) -> None:
    ...         self.layer = nn.Linear(4, 2, rng=rng)
    ...
    ...     def forward(self, X: Tensor) -> Tensor:
    ...         return self.layer(X)
    >>> model = Linear(np.random.default_rng(0))
    >>> model.predict(np.ones((3, 4))).shape, model.cost(np.ones((3, 4)), [0, 1, 1], lam=0.1).shape
    ((3,), ())
    """

    q: float = 0.0
    loss_function: Callable[[Any, Any], Any] | None = None

    def loss_of(self, scores: Tensor, labels: npt.ArrayLike) -> Tensor:
        """Return the mean loss of a batch of scores: :attr:`loss_function`, or else the generalised cross-entropy."""
        if self.loss_function is not None:
            other: Tensor = self.loss_function(scores, labels)
            return other
        loss: Tensor = F.generalised_cross_entropy(scores, labels, self.q)
        return loss

    def loss(self, X: Images, labels: npt.ArrayLike) -> Tensor:
        """Return the mean loss of a batch of images."""
        return self.loss_of(self(X), labels)

    def cost(self, X: Images, labels: npt.ArrayLike, lam: float) -> Tensor:
        """Return ``J``: the mean loss plus ``lam`` times the sum of all squared weights."""
        cost: Tensor = self.loss(X, labels) + F.l2_penalty(self.weights(), lam)
        return cost

    def predict(self, X: Images) -> npt.NDArray[np.intp]:
        """Return the predicted class of each image, in evaluation mode and without recording."""
        with self.inference_mode():
            classes: npt.NDArray[np.intp] = np.argmax(np.asarray(self(X)), axis=1)
        return classes


class SoftmaxRegression(Classifier):
    """One linear layer, ``S = X W + b``, trained with the softmax cross-entropy.

    Source: assignment 1 of the course. Expected: 38 to 39 % (reports 000 and 001; 37.5 % with the first settings
    of report 002); 43 % with the settings of the record (:mod:`tinygrad_cifar.experiments.record`).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.SoftmaxRegression(3072, 10, rng=np.random.default_rng(0))
    >>> print(f"{model.loss(np.zeros((1, 3072)), [3]):.4f}")  # log(10): equal scores for ten classes
    2.3026
    """

    decays: ClassVar[Mapping[str, bool]] = {"W": True, "b": False}

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        rng: RandomState = None,
        init: Initialiser = _N001,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        rng = make_generator(type(self).__name__, rng)
        self.W = Tensor(init(rng, features, classes), requires_grad=True, dtype=dtype)
        self.b = Tensor(np.zeros(classes), requires_grad=True, dtype=dtype)

    def forward(self, X: Images) -> Tensor:
        """Return the scores ``X W + b``."""
        scores: Tensor = ops.matmul(X, self.W) + self.b
        return scores


class SVM(SoftmaxRegression):
    """The same linear layer trained with the multi-class hinge loss: a support vector machine with margin 1.

    Source: assignment 1 of the course, bonus part. Expected: 36 % (report 001).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.SVM(3072, 10, rng=np.random.default_rng(0))
    >>> model.loss(np.zeros((1, 3072)), [3]).item()  # each of nine wrong classes violates the margin by 1
    9.0
    """

    def loss_of(self, scores: Tensor, labels: npt.ArrayLike) -> Tensor:
        """Return the mean hinge loss of a batch of scores."""
        loss: Tensor = F.hinge(scores, labels)
        return loss


class TwoLayer(Classifier):
    """A hidden layer of ReLUs, ``H = max(0, X W1 + b1)`` and ``S = H W2 + b2``, trained with the cross-entropy.

    Source: assignment 2 of the course. Expected with 50 hidden units: 45 to 46 % with one batch of training images
    in one cycle, 50 to 53 % with all of them (reports 003 and 004), and 57 to 58 % with the settings of the record.
    ``activation`` replaces the ReLU.

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

    decays: ClassVar[Mapping[str, bool]] = {"W1": True, "b1": False, "W2": True, "b2": False}

    def __init__(
        self,
        features: int,
        hidden: int,
        classes: int,
        *,
        rng: RandomState = None,
        init: Initialiser = _FAN_IN,
        activation: Callable[[Tensor], Tensor] = ops.relu,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        rng = make_generator(type(self).__name__, rng)
        self.activation = activation
        self.W1 = Tensor(init(rng, features, hidden), requires_grad=True, dtype=dtype)
        self.b1 = Tensor(np.zeros(hidden), requires_grad=True, dtype=dtype)
        self.W2 = Tensor(init(rng, hidden, classes), requires_grad=True, dtype=dtype)
        self.b2 = Tensor(np.zeros(classes), requires_grad=True, dtype=dtype)

    def forward(self, X: Images) -> Tensor:
        """Return the scores ``max(0, X W1 + b1) W2 + b2``."""
        H = self.activation(ops.matmul(X, self.W1) + self.b1)
        scores: Tensor = ops.matmul(H, self.W2) + self.b2
        return scores


class Perceptron(Classifier):
    """Any number of hidden layers of ReLUs, each followed by dropout.

    ``H_i = max(0, H_{i-1} W_i + b_i)`` with ``H_0 = X``, and scores ``S = H_k W + b``. Source: assignments 2 (bonus)
    and 3 of the course. Expected: 53 to 56 % with two wide layers and all the training images.

    Parameters
    ----------
    sizes : sequence of int
        Features of an image, units of each hidden layer, and classes.
    rng : numpy.random.Generator or int, optional
        Samples the weights and the dropout masks; or its seed.
    init : Initialiser
        Initialisation of the weights. Default: ``FanIn()``.
    dropout : float
        Fraction of the hidden units dropped. Default: 0.0.
    dtype : dtype
        Type of the parameters. Default: float64.

    Raises
    ------
    ValueError
        If ``sizes`` has fewer than two elements.

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
        rng: RandomState = None,
        init: Initialiser = _FAN_IN,
        dropout: float = 0.0,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        if len(sizes) < 2:  # noqa: PLR2004 (features and classes)
            raise ValueError(f"Perceptron: sizes must have at least two elements; got {list(sizes)}")
        rng = make_generator(type(self).__name__, rng)
        self.layers = [Linear(m, n, rng=rng, init=init, dtype=dtype) for m, n in pairwise(sizes)]
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, X: Images) -> Tensor:
        """Return the scores."""
        *hidden, last = self.layers
        for layer in hidden:
            X = self.dropout(ops.relu(layer(X)))
        return last(X)
