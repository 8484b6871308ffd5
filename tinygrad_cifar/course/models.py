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

from tinygrad_cifar.data.dataset import COLOURS, SIDE
from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import Dropout, Linear, Module
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.initialisers import FanIn, He, Initialiser, Normal
from tinygrad_cifar.system.generators import RandomState, make_generator
from tinygrad_cifar.system.numbers import check_real

Images = Tensor | npt.ArrayLike

_N001 = Normal(0.01)
_FAN_IN = FanIn()
_HE = He()


class Classifier(Module):
    """Base class of classifiers: a module that returns one score per image and class, with a training loss.

    Subclasses define ``forward``, and :meth:`loss_of` for another loss than the cross-entropy.

    Attributes
    ----------
    loss_exponent : float
        Exponent q of the loss (:func:`tinygrad_cifar.nn.functional.generalised_cross_entropy`). Default: 0.0, the
        cross-entropy.
    loss_smoothing : float
        Label smoothing s of the cross-entropy: the target is ``1 - s`` for the label and ``s / (classes - 1)`` for each
        other class, as in the course. The ``label_smoothing`` of :func:`tinygrad_cifar.nn.functional.cross_entropy` and
        of PyTorch divides among all classes and equals ``s * classes / (classes - 1)``. Default: 0.0.
    loss_function : callable, optional
        Another loss, a function of scores and labels such as
        :func:`tinygrad_cifar.nn.functional.binary_cross_entropy`, assigned to an instance. Default: None. Only one of
        the three can be set.

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

    loss_exponent: float = 0.0
    loss_smoothing: float = 0.0
    loss_function: Callable[[Any, Any], Any] | None = None

    @property
    def has_probabilities(self) -> bool:
        """Whether training fits the softmax of the scores to the classes, as the cross-entropy does."""
        return self.loss_function is None

    def loss_of(self, scores: Tensor, labels: npt.ArrayLike) -> Tensor:
        """Return the mean loss of a batch of scores: :attr:`loss_function`, or else the generalised cross-entropy."""
        kind, own = type(self).__name__, self.loss_function
        smoothing, exponent = self.loss_smoothing, self.loss_exponent
        check_real(f"{kind}: loss_smoothing", smoothing)
        check_real(f"{kind}: loss_exponent", exponent)
        if bool(smoothing) + bool(exponent) + (own is not None) > 1:
            raise ValueError(f"{kind}: only one of loss_smoothing, loss_exponent and loss_function can be set")
        if own is not None:
            if not callable(own):
                raise TypeError(f"{kind}: loss_function must be a function of scores and labels; got {own!r:.40}")
            other: Tensor = own(scores, labels)
            return other
        if smoothing:
            classes = scores.shape[-1]
            share = smoothing * classes / max(classes - 1, 1)
            if not 0 <= share <= 1:
                raise ValueError(
                    f"{kind}: loss_smoothing must be from 0 to {1 - 1 / classes:.3g}, with which all "
                    f"{classes} classes have the same target; got {smoothing}"
                )
            smoothed: Tensor = F.cross_entropy(scores, labels, label_smoothing=share)
            return smoothed
        if not 0 <= exponent <= 1:
            raise ValueError(f"{kind}: loss_exponent must be from 0 to 1; got {exponent}")
        loss: Tensor = F.generalised_cross_entropy(scores, labels, exponent)
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

    Source: assignment 1 of the course, bonus part. Expected: 36 % (report 001). The attributes of
    :class:`Classifier` that choose another loss have no effect.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.SVM(3072, 10, rng=np.random.default_rng(0))
    >>> model.loss(np.zeros((1, 3072)), [3]).item()  # each of nine wrong classes violates the margin by 1
    9.0
    """

    @property
    def has_probabilities(self) -> bool:
        """False: the hinge loss compares scores, and fits no probabilities."""
        return False

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


class Patchify(Classifier):
    """Filters on patches of the image that do not overlap, and two linear layers on top.

    ``H_i = max(0, X * F_i + c_i)`` for each filter i, a convolution whose stride is the filter's width, then
    ``Z = max(0, h W1 + b1)``, where ``h`` is the flattened ``H``, and ``S = Z W2 + b2``. Such a convolution is a
    product of the matrix of all patches with the matrix of the filters, ``F``. The patches of given images can be
    computed once (:func:`patches_of`) and used in place of the images.

    Source: assignment 3 of the course. Expected: 56 % with filters of width 4, 10 filters and 50 hidden units (57.6 %
    in its text); more with more filters.

    Parameters
    ----------
    hidden : int
        Units of the hidden layer.
    classes : int
        Number of classes.
    filter_size : int
        Width of the filters in pixels, a divisor of 32. Default: 4.
    filters : int
        Number of filters. Default: 10.
    rng : numpy.random.Generator or int, optional
        Samples the weights; or its seed.
    init : Initialiser
        Initialisation of filters and weights. Default: ``He()``.
    dtype : dtype
        Type of the parameters. Default: float64.

    Raises
    ------
    ValueError
        If ``filter_size`` does not divide 32.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> model = models.Patchify(50, 10, rng=np.random.default_rng(0))
    >>> print(model.summary())
    Patchify
      F       48 x 10     480
      c            10      10
      W1     640 x 50  32,000
      b1           50      50
      W2      50 x 10     500
      b2           10      10
      total            33,050
    >>> images = np.zeros((2, 3072))
    >>> model(images).shape, model(models.patches_of(images, 4)).shape
    ((2, 10), (2, 10))
    """

    decays: ClassVar[Mapping[str, bool]] = {"F": True, "c": False, "W1": True, "b1": False, "W2": True, "b2": False}

    def __init__(
        self,
        hidden: int,
        classes: int,
        *,
        filter_size: int = 4,
        filters: int = 10,
        rng: RandomState = None,
        init: Initialiser = _HE,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        _check_filter_size("Patchify", filter_size)
        rng = make_generator(type(self).__name__, rng)
        self.filter_size = filter_size
        patches = (SIDE // filter_size) ** 2
        self.F = Tensor(init(rng, COLOURS * filter_size**2, filters), requires_grad=True, dtype=dtype)
        self.c = Tensor(np.zeros(filters), requires_grad=True, dtype=dtype)
        self.W1 = Tensor(init(rng, patches * filters, hidden), requires_grad=True, dtype=dtype)
        self.b1 = Tensor(np.zeros(hidden), requires_grad=True, dtype=dtype)
        self.W2 = Tensor(init(rng, hidden, classes), requires_grad=True, dtype=dtype)
        self.b2 = Tensor(np.zeros(classes), requires_grad=True, dtype=dtype)

    def forward(self, X: Images) -> Tensor:
        """Return the scores of images, or of the patches that :func:`patches_of` computed."""
        patches = patches_of(X, self.filter_size) if np.ndim(X) == 2 else X  # noqa: PLR2004 (rows)
        count = np.shape(patches)[0]
        rows = ops.reshape(patches, (-1, self.F.shape[0]))
        H = ops.reshape(ops.relu(ops.matmul(rows, self.F) + self.c), (count, self.W1.shape[0]))
        Z = ops.relu(ops.matmul(H, self.W1) + self.b1)
        scores: Tensor = ops.matmul(Z, self.W2) + self.b2
        return scores

    def filters_as_images(self) -> npt.NDArray[Any]:
        """Return the filters enlarged to images, one column per filter, in the layout of the images.

        Examples
        --------
        >>> from tinygrad_cifar.course import models
        >>> models.Patchify(50, 10, filters=7, rng=0).filters_as_images().shape
        (3072, 7)
        """
        return enlarge_filters(self.F.numpy().reshape(self.filter_size, self.filter_size, COLOURS, -1))


def enlarge_filters(filters: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return filters of shape (size, size, colours, n) as images, each pixel enlarged: one column for each.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> models.enlarge_filters(np.zeros((4, 4, 3, 7))).shape
    (3072, 7)
    """
    factor = SIDE // len(filters)
    enlarged: npt.NDArray[Any] = filters.transpose(2, 0, 1, 3).repeat(factor, axis=1).repeat(factor, axis=2)
    return enlarged.reshape(COLOURS * SIDE**2, -1)


def patches_of(X: Any, size: int) -> Any:
    """Return the patches of images that do not overlap, in rows: their pixels in another order.

    Parameters
    ----------
    X : Tensor or ndarray, shape (N, 3072)
        Images, laid out as in :class:`~tinygrad_cifar.data.Split`.
    size : int
        Width of a patch in pixels, a divisor of 32.

    Returns
    -------
    Tensor or ndarray, shape (N, (32 / size)**2, 3 * size**2)
        Patches, row by row from the top left. A patch has the layout (height, width, colour) of a filter of
        :func:`tinygrad_cifar.conv2d`.

    Raises
    ------
    ValueError
        If ``size`` does not divide 32, or ``X`` has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> image = np.arange(3072.0)[np.newaxis]
    >>> models.patches_of(image, 16).shape, models.patches_of(image, 1)[0, 1]  # the second pixel: red, green, blue
    ((1, 4, 768), array([1.000e+00, 1.025e+03, 2.049e+03]))
    """
    _check_filter_size("patches_of", size)
    if np.ndim(X) != 2 or np.shape(X)[1] != COLOURS * SIDE**2:  # noqa: PLR2004 (rows)
        raise ValueError(f"patches_of: images must have the shape (N, {COLOURS * SIDE**2}); got {np.shape(X)}")
    count, across = np.shape(X)[0], SIDE // size
    pixels = ops.reshape(X, (count, COLOURS, across, size, across, size))
    patches = ops.transpose(pixels, (0, 2, 4, 3, 5, 1))
    return ops.reshape(patches, (count, across**2, size**2 * COLOURS))


def _check_filter_size(name: str, size: int) -> None:
    if not 1 <= size <= SIDE or SIDE % size:
        raise ValueError(f"{name}: the filter size must divide {SIDE}, the width of an image; got {size}")
