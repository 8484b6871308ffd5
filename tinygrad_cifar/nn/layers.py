"""Layers with parameters or random numbers: linear maps, tables of vectors, fixed scales and dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import refuse_masked_array, shape_of, unwrap_value
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn import initialisers
from tinygrad_cifar.nn.module import Module
from tinygrad_cifar.system.generators import RandomState, make_generator
from tinygrad_cifar.system.numbers import check_count, check_real


class Linear(Module):
    """Affine layer: ``x @ W + b``.

    Parameters
    ----------
    features : int
        Number of inputs, at least 1.
    outputs : int
        Number of outputs, at least 1.
    bias : bool
        Whether there are biases. Default: True.
    rng : numpy.random.Generator or int, optional
        Generator from which the weights are sampled, or its seed.
    init : initialiser
        Initialiser of the weights (see :mod:`tinygrad_cifar.nn.initialisers`). Default: ``FanIn()``.
    dtype : data-type
        Type of the parameters. float32 takes half the memory and time. Default: float64.

    Attributes
    ----------
    W : Tensor, shape (features, outputs)
        Weights.
    b : Tensor, shape (outputs,), or None
        Biases, initially 0.

    Raises
    ------
    ValueError
        If ``features`` or ``outputs`` is not an integer of at least 1, or ``init`` returns an array of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer(np.zeros((5, 3))).shape
    (5, 2)
    """

    decays: ClassVar[Mapping[str, bool]] = {"W": True, "b": False}

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        bias: bool = True,
        rng: RandomState = None,
        init: initialisers.Initialiser = initialisers.FanIn(),  # noqa: B008 (frozen)
        dtype: Any = np.float64,
    ) -> None:
        check_count("Linear: features", features)
        check_count("Linear: outputs", outputs)
        rng = make_generator("Linear", rng)
        matrix = initialisers.draw_weights("Linear", init, rng, features, outputs)
        self.W = Tensor(matrix, requires_grad=True, dtype=dtype)
        self.b = Tensor(np.zeros(outputs), requires_grad=True, dtype=dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return ``x @ W + b``, of shape ``(batch, outputs)``."""
        try:
            product: Tensor = ops.matmul(x, self.W)
        except ValueError:
            if shape_of(x)[-1:] == self.W.shape[:1]:
                raise
            raise ValueError(
                f"Linear: the input must have {self.W.shape[0]} features, along its last axis; got the shape "
                f"{shape_of(x)}"
            ) from None
        return product if self.b is None else product + self.b

    def _arguments(self) -> str:
        return ", ".join(map(str, self.W.shape))


class Embedding(Module):
    """Table of vectors, one for each of ``count`` symbols: ``W[index]``. They are not weights: they do not decay.

    Parameters
    ----------
    count : int
        Number of symbols, at least 1.
    features : int
        Elements of each vector, at least 1.
    rng : numpy.random.Generator or int, optional
        Generator from which the vectors are sampled, or its seed.
    init : initialiser
        Initialiser of the table. Default: ``Normal(1.0)``.
    dtype : data-type
        Type of the table. Default: float64.

    Attributes
    ----------
    W : Tensor, shape (count, features)
        The vectors, one per row.

    Raises
    ------
    ValueError
        If ``count`` or ``features`` is not an integer of at least 1.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> letters = nn.Embedding(26, 4, rng=0)
    >>> letters([[0, 1, 2], [3, 3, 3]]).shape
    (2, 3, 4)
    """

    decays: ClassVar[Mapping[str, bool]] = {"W": False}

    def __init__(
        self,
        count: int,
        features: int,
        *,
        rng: RandomState = None,
        init: initialisers.Initialiser = initialisers.Normal(1.0),  # noqa: B008 (frozen)
        dtype: Any = np.float64,
    ) -> None:
        check_count("Embedding: count", count)
        check_count("Embedding: features", features)
        rng = make_generator("Embedding", rng)
        matrix = initialisers.draw_weights("Embedding", init, rng, count, features)
        self.W = Tensor(matrix, requires_grad=True, dtype=dtype)

    def forward(self, index: Any) -> Tensor:
        """Return the vectors of an array of integers from 0 to ``count - 1``, along a new last axis."""
        refuse_masked_array("Embedding", index)
        index = np.asarray(unwrap_value(index))
        count = len(self.W)
        if index.dtype.kind not in "iu":
            raise TypeError(f"Embedding: the index must consist of integers; got {index.dtype}")
        if index.size and not (index.min() >= 0 and index.max() < count):
            raise IndexError(
                f"Embedding: the index must be from 0 to {count - 1}; got values from {index.min()} to {index.max()}"
            )
        vectors: Tensor = self.W[index.astype(np.intp, copy=False)]
        return vectors

    def _arguments(self) -> str:
        return ", ".join(map(str, self.W.shape))


class Normalize(Module):
    """Normalisation by constants: ``(x - mean) / std``; gradients flow to ``x`` only.

    Without ``std`` it is the layer that report 004 calls batch normalisation.

    Parameters
    ----------
    mean : array_like
        Value subtracted from the input.
    std : array_like, optional
        Divisor, without zeros. If None, the difference is not divided.
    dtype : data-type
        Type of both constants. Default: float64.

    Raises
    ------
    ValueError
        If an element of ``std`` is 0, or the shapes of the constants do not match.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.Normalize(mean=[1.0, 2.0])(Tensor([[1.0, 3.0]]))
    Tensor([[0., 1.]])
    """

    def __init__(self, mean: Any, std: Any = None, *, dtype: Any = np.float64) -> None:
        self.mean = Tensor(mean, dtype=dtype)
        self.std = None if std is None else Tensor(std, dtype=dtype)
        if self.std is not None and (self.std.data == 0).any():
            raise ValueError("Normalize: std must not contain 0; remove constant features or use 1 for them")
        if self.std is not None:
            try:
                np.broadcast_shapes(self.mean.shape, self.std.shape)
            except ValueError:
                shapes = f"{self.mean.shape} and {self.std.shape}"
                raise ValueError(f"Normalize: mean and std must have shapes that match; got {shapes}") from None

    def forward(self, x: Any) -> Tensor:
        """Return ``(x - mean) / std``."""
        centred: Tensor = ops.subtract(x, self.mean)
        return centred if self.std is None else centred / self.std


class Dropout(Module):
    """Dropout in training mode, the identity in evaluation mode.

    Parameters
    ----------
    rate : float
        Probability with which an element is set to 0, in [0, 1).
    rng : numpy.random.Generator or int, optional
        Generator from which the elements to drop are sampled, or its seed.

    Raises
    ------
    ValueError
        If ``rate`` is not in [0, 1).

    See Also
    --------
    tinygrad_cifar.nn.functional.dropout : The function, without a mode.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> layer = nn.Dropout(0.5, rng=np.random.default_rng(1))
    >>> layer(Tensor(np.ones(4))), layer.eval()(Tensor(np.ones(4)))
    (Tensor([0., 2., 2., 2.]), Tensor([1., 1., 1., 1.]))
    """

    def __init__(self, rate: float, *, rng: RandomState = None) -> None:
        check_real("Dropout: rate", rate)
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1); got {rate}")
        self.rate = rate
        self.rng = make_generator("Dropout", rng)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with some elements set to 0 and the others rescaled, or ``x`` itself in evaluation mode."""
        return F.dropout(x, self.rate, self.rng) if self.training else x

    def _arguments(self) -> str:
        return f"{self.rate:g}"
