"""Workloads: networks and their training data, bit-for-bit identical for every implementation.

A process creates a workload from its description: images, labels, initial weights and the order of every epoch are
generated from fixed seeds.
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
class Workload:
    """A network and how it is trained: ``w = w - eta * (g + 2 * lam * w)``, the second term for weights only.

    Attributes
    ----------
    name : str
        Name in the tables.
    hidden : tuple of int
        Sizes of the hidden layers, each followed by a ReLU.
    batch : int
        Images per step.
    images : int
        Images per epoch.
    dtype : str
        ``float32`` or ``float64``.
    features : int
        Inputs per image.
    eta : float
        Learning rate.
    lam : float
        Factor of the L2 term.
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
        """Sizes of the input, the hidden layers and the scores."""
        return (self.features, *self.hidden, CLASSES)

    def __str__(self) -> str:
        return f"{self.name}, {self.dtype}"

    def to_json(self) -> dict[str, Any]:
        """Return the description, JSON-serialisable."""
        return asdict(self)

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> Workload:
        """Create a workload from the result of :meth:`to_json`."""
        return cls(**(description | {"hidden": tuple(description["hidden"])}))


SOFTMAX, TWO_LAYERS, WIDE, REPORT_004 = "softmax regression", "two layers", "wide net", "report 004"
REPORTS_TWO_NETS = (SOFTMAX, TWO_LAYERS)
LARGER = (WIDE, REPORT_004)

_KINDS: dict[str, tuple[tuple[int, ...], int]] = {
    SOFTMAX: ((), 100),
    TWO_LAYERS: ((50,), 100),
    WIDE: ((512, 512), 100),
    REPORT_004: ((50,), 10_000),
}


def workloads(*, quick: bool = False) -> list[Workload]:
    """Return the workloads of the table; with ``quick``, they have few images."""
    images = 400 if quick else 10_000
    return [
        Workload(_name(kind, hidden, min(batch, images)), hidden, min(batch, images), images, dtype)
        for kind, (hidden, batch) in _KINDS.items()
        for dtype in ("float32", "float64")
    ]


def _name(kind: str, hidden: tuple[int, ...], batch: int) -> str:
    return f"{kind} {'-'.join(map(str, (FEATURES, *hidden, CLASSES)))}, batch {batch:,}"


@dataclass(frozen=True)
class Problem:
    """A workload with its arrays.

    Attributes
    ----------
    workload : Workload
        Description.
    X : ndarray, shape (images, features)
        Images, sampled from the standard normal distribution.
    labels : ndarray of int64, shape (images,)
        Class of each image.
    weights : list of ndarray
        Initial weights ``(inputs, outputs)`` of each layer. Implementations must not modify them in place.
    biases : list of ndarray
        Initial biases ``(outputs,)`` of each layer. Implementations must not modify them in place.
    """

    workload: Workload
    X: Array
    labels: Array
    weights: list[Array]
    biases: list[Array]

    def generator(self) -> np.random.Generator:
        """Return the generator of the epochs' orders: ``permutation(images)`` is called once per epoch."""
        return np.random.default_rng(2)


AfterStep = Callable[[Any], None]
Train = Callable[[Problem, AfterStep], None]


def make_problem(workload: Workload) -> Problem:
    """Generate the images, labels and initial weights of a workload."""
    rng = np.random.default_rng(1)
    dtype: Any = np.dtype(workload.dtype)
    weights = [(rng.normal(size=size) / np.sqrt(size[0])).astype(dtype) for size in pairwise(workload.sizes)]
    biases = [np.zeros(size, dtype) for size in workload.sizes[1:]]
    labels = rng.integers(0, CLASSES, workload.images)
    X = rng.standard_normal((workload.images, workload.features), dtype=dtype)
    return Problem(workload, X, labels, weights, biases)
