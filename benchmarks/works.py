"""The works: which networks are trained on what, the same for every contestant to the last bit.

A work is made again from its few numbers wherever it is needed, so contestants in different processes share nothing
but this description: the images, the labels, the initial weights and the order of every epoch follow from one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

FEATURES = 3072
CLASSES = 10


@dataclass(frozen=True)
class Work:
    """A network and how it is trained: ``w = w - eta * (g + 2 * lam * w)``, the second term for weights only.

    Attributes
    ----------
    name : str
        What the tables call it.
    hidden : tuple of int
        The sizes of the hidden layers, all followed by ReLUs.
    batch : int
        Images per step.
    images : int
        Images per epoch.
    dtype : str
        ``float32`` or ``float64``.
    features : int
        Numbers per image.
    eta, lam : float
        The learning rate and the weight of the L2 term.
    """

    name: str
    hidden: tuple[int, ...]
    batch: int
    images: int = 10_000
    dtype: str = "float64"
    features: int = FEATURES
    eta: float = 0.01
    lam: float = 0.001

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of an image, of every hidden layer, and of the scores."""
        return (self.features, *self.hidden, CLASSES)

    def __str__(self) -> str:
        return f"{self.name}, {self.dtype}"

    def to_json(self) -> dict[str, Any]:
        """Return the numbers it can be made of again."""
        return asdict(self)

    @classmethod
    def from_json(cls, numbers: dict[str, Any]) -> Work:
        """Undo :meth:`to_json`."""
        return cls(**(numbers | {"hidden": tuple(numbers["hidden"])}))


SOFTMAX, TWO_LAYERS, WIDE, REPORT_004 = "softmax regression", "two layers", "wide net", "report 004"
REPORTS_TWO_NETS = (SOFTMAX, TWO_LAYERS)
LARGER = (WIDE, REPORT_004)

_KINDS: dict[str, tuple[tuple[int, ...], int]] = {
    SOFTMAX: ((), 100),
    TWO_LAYERS: ((50,), 100),
    WIDE: ((512, 512), 100),
    REPORT_004: ((50,), 10_000),
}


def works(*, quick: bool = False) -> list[Work]:
    """Return the works of the table in its order; quick ones have few images, and the batch is all of them at most."""
    images = 400 if quick else 10_000
    return [
        Work(_name(kind, hidden, min(batch, images)), hidden, min(batch, images), images, dtype)
        for kind, (hidden, batch) in _KINDS.items()
        for dtype in ("float32", "float64")
    ]


def _name(kind: str, hidden: tuple[int, ...], batch: int) -> str:
    return f"{kind} {'-'.join(map(str, (FEATURES, *hidden, CLASSES)))}, batch {batch:,}"


@dataclass(frozen=True)
class Problem:
    """A work with its arrays.

    Attributes
    ----------
    X : array of shape (images, features)
        Standard normal pixels, as standardised ones are.
    labels : array of int64, shape (images,)
        Classes.
    weights, biases : lists of arrays
        ``(inputs, outputs)`` and ``(outputs,)`` for each layer; a contestant that changes them in place copies first.
    """

    work: Work
    X: Array
    labels: Array
    weights: list[Array]
    biases: list[Array]

    def generator(self) -> np.random.Generator:
        """Return what shuffles the epochs: one ``permutation(images)`` is drawn from it before each."""
        return np.random.default_rng(2)


AfterStep = Callable[[Any], None]
Train = Callable[[Problem, AfterStep], None]


def make(work: Work) -> Problem:
    """Draw the images, labels and weights of a work."""
    rng = np.random.default_rng(1)
    dtype: Any = np.dtype(work.dtype)
    weights = [(rng.normal(size=size) / np.sqrt(size[0])).astype(dtype) for size in pairwise(work.sizes)]
    biases = [np.zeros(size, dtype) for size in work.sizes[1:]]
    labels = rng.integers(0, CLASSES, work.images)
    X = rng.standard_normal((work.images, work.features), dtype=dtype)
    return Problem(work, X, labels, weights, biases)
