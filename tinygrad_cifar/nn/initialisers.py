"""Weight initialisers: each samples a matrix of shape ``(fan_in, fan_out)``.

An initialiser is a frozen dataclass that is called with a generator (or its seed), ``fan_in`` and ``fan_out``. It has
no state, so initial weights depend only on the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cifar.system.arguments import explain_constructor
from tinygrad_cifar.system.generators import RandomState, make_generator

Array = np.ndarray[Any, np.dtype[Any]]
Initialiser = Callable[[np.random.Generator, int, int], Array]


@explain_constructor
@dataclass(frozen=True)
class Zeros:
    """All zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> initialisers.Zeros()(np.random.default_rng(0), 1, 2)
    array([[0., 0.]])
    """

    def __call__(self, rng: RandomState, fan_in: int, fan_out: int) -> Array:  # noqa: ARG002
        return np.zeros((fan_in, fan_out))


@explain_constructor
@dataclass(frozen=True)
class Normal:
    """Gaussian with mean 0 and standard deviation ``sigma`` (0.01 in the course's assignment 1).

    Parameters
    ----------
    sigma : float
        Standard deviation. Default: 0.01.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> initialisers.Normal(0.01)(np.random.default_rng(0), 3072, 10).shape
    (3072, 10)
    """

    sigma: float = 0.01

    def __call__(self, rng: RandomState, fan_in: int, fan_out: int) -> Array:
        return make_generator(type(self).__name__, rng).normal(0.0, self.sigma, (fan_in, fan_out))


@explain_constructor
@dataclass(frozen=True)
class FanIn:
    """Gaussian with variance ``1 / fan_in``: the Xavier initialisation of reports 001 and 003 (LeCun's).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> W = initialisers.FanIn()(np.random.default_rng(0), 3072, 50)
    >>> print(f"{W.std():.3f}")  # 1 / sqrt(3072) = 0.018
    0.018
    """

    def __call__(self, rng: RandomState, fan_in: int, fan_out: int) -> Array:
        return make_generator(type(self).__name__, rng).normal(0.0, fan_in**-0.5, (fan_in, fan_out))


@explain_constructor
@dataclass(frozen=True)
class Xavier:
    """Gaussian with variance ``2 / (fan_in + fan_out)``: the Xavier initialisation of report 004 (Glorot's).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> W = initialisers.Xavier()(np.random.default_rng(0), 300, 100)
    >>> print(f"{W.std():.2f}")  # sqrt(2 / 400) = 0.07
    0.07
    """

    def __call__(self, rng: RandomState, fan_in: int, fan_out: int) -> Array:
        return make_generator(type(self).__name__, rng).normal(0.0, (2 / (fan_in + fan_out)) ** 0.5, (fan_in, fan_out))


@explain_constructor
@dataclass(frozen=True)
class He:
    """Gaussian with variance ``2 / fan_in``, which preserves the variance through ReLU layers.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> W = initialisers.He()(np.random.default_rng(0), 200, 100)
    >>> print(f"{W.std():.1f}")  # sqrt(2 / 200) = 0.1
    0.1
    """

    def __call__(self, rng: RandomState, fan_in: int, fan_out: int) -> Array:
        return make_generator(type(self).__name__, rng).normal(0.0, (2 / fan_in) ** 0.5, (fan_in, fan_out))


@explain_constructor
@dataclass(frozen=True)
class Absolute:
    """Absolute values of the samples of another initialiser (a variation in report 004).

    Parameters
    ----------
    of : initialiser
        Initialiser that is sampled.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> W = initialisers.Absolute(initialisers.Xavier())(np.random.default_rng(0), 30, 10)
    >>> bool((W >= 0).all())
    True
    """

    of: Initialiser

    def __call__(self, rng: RandomState, fan_in: int, fan_out: int) -> Array:
        return np.abs(self.of(make_generator("Absolute", rng), fan_in, fan_out))


def draw_weights(layer: str, init: Initialiser, rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Return the matrix that an initialiser samples for a layer; errors begin with ``layer``.

    Raises
    ------
    TypeError
        If the initialiser is not a function.
    ValueError
        If the matrix has another shape than ``(fan_in, fan_out)``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import initialisers
    >>> initialisers.draw_weights("Linear", initialisers.He(), np.random.default_rng(0), 3, 2).shape
    (3, 2)
    """
    if isinstance(init, type):
        raise TypeError(f"{layer}: init is a class; construct it: {init.__name__}()")
    if not callable(init):
        raise TypeError(f"{layer}: init must be a function of a generator, fan_in and fan_out; got {init!r:.40}")
    matrix = init(rng, fan_in, fan_out)
    if np.shape(matrix) != (fan_in, fan_out):
        raise ValueError(
            f"{layer}: init must return an array of shape (fan_in, fan_out) = {(fan_in, fan_out)}; got "
            f"{np.shape(matrix)}"
        )
    return matrix
