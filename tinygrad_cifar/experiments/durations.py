"""Approximate durations of training runs, for the order of the jobs and ``reproduce --list``.

They are seconds of one core in float32, measured once: a run on another machine takes longer or shorter, and the order
is the same.
"""

from __future__ import annotations

from itertools import pairwise

from tinygrad_cifar.course.convnet import multiplications
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data.dataset import PIXELS, SIDE

IMAGES_PER_BATCH = 10_000  # of CIFAR-10

# Seconds per 1,000 images.
_UPDATE = {"softmax": 0.0025, "svm": 0.003, "two-layer": 0.009}
_LARGE_UPDATE = 0.01  # of the other models, beside
_PER_PRODUCT = 8e-8  # for each multiplication of the forward pass of an image
_AUGMENTATION = 0.0035
_WHITENING = 0.005
_EVALUATION = 0.0015

_WHITENING_MATRIX = 15.0  # seconds


def training_seconds(s: Settings) -> float:
    """Return the approximate duration of a training run."""
    images = s.train_size or IMAGES_PER_BATCH * len(s.train_batches) - s.validation_size
    validated = s.validation_size or (IMAGES_PER_BATCH if s.validation_batch else 0)
    updates = s.epochs * images
    measured = updates / (s.measure_every * s.batch_size) if s.measure_every else s.epochs
    whitens, augments = s.preprocessing == "whiten", bool(s.flip) or s.shift + s.cutout > 0
    update = _UPDATE[s.model] if s.model in _UPDATE else _large_update(multiplications_of(s))
    update += augments * (_AUGMENTATION + whitens * _WHITENING)
    evaluations = (measured + 2) * (images + validated) * _EVALUATION
    return (updates * update + evaluations) / 1000 + whitens * _WHITENING_MATRIX


def patchify_seconds(images: int, filter_size: int, filters: int, hidden: int) -> float:
    """Return the approximate duration of updates of the patchify network on this number of images."""
    return images * _large_update(_multiplications_of_patches(filter_size, filters, hidden)) / 1000


def multiplications_of(s: Settings) -> int:
    """Return the number of multiplications of the forward pass of an image, or 0 for the smallest models."""
    if s.model == "patchify":
        return _multiplications_of_patches(s.filter_size, s.filters, s.hidden[0])
    if s.model == "perceptron":
        return sum(m * n for m, n in pairwise([PIXELS, *s.hidden]))
    return multiplications(s.hidden, s.depth) if s.model == "convnet" else 0


def _large_update(products: int) -> float:
    return _LARGE_UPDATE + _PER_PRODUCT * products


def _multiplications_of_patches(filter_size: int, filters: int, hidden: int) -> int:
    filtered = (SIDE // filter_size) ** 2 * filters
    return PIXELS * filters + filtered * hidden
