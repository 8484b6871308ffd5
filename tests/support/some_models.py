"""A small linear model and images for it, for the tests of evaluation and training."""

from __future__ import annotations

import numpy as np

from tinygrad_cifar.course.models import SoftmaxRegression
from tinygrad_cifar.nn.initialisers import Normal

FEATURES, CLASSES = 4, 3


def some_images(seed: int = 0, count: int = 23, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels that a linear model can learn in part; 23 is not a multiple of the batch sizes used."""
    rng = np.random.default_rng([seed, 99])
    X = rng.normal(size=(count, FEATURES)).astype(dtype)
    return X, np.argmax(X[:, :CLASSES] + 0.5 * rng.normal(size=(count, CLASSES)), axis=1)


def some_model(seed: int = 0) -> SoftmaxRegression:
    return SoftmaxRegression(FEATURES, CLASSES, rng=np.random.default_rng(seed), init=Normal(0.5))
