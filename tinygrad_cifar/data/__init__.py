"""CIFAR-10 and its stand-in: reading, fetching, drawing, and cutting into mini-batches. NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_cifar.data.batches import augment_flip, augment_shift, iterate_batches, minibatches
from tinygrad_cifar.data.builtin import builtin_dataset
from tinygrad_cifar.data.cifar10 import read_cifar10
from tinygrad_cifar.data.dataset import DataError, Dataset, Split
from tinygrad_cifar.data.preprocess import Preprocessing

if TYPE_CHECKING:
    from tinygrad_cifar.data.fetch import fetch_cifar10

__all__ = [
    "DataError",
    "Dataset",
    "Preprocessing",
    "Split",
    "augment_flip",
    "augment_shift",
    "builtin_dataset",
    "fetch_cifar10",
    "iterate_batches",
    "minibatches",
    "read_cifar10",
]


def __getattr__(name: str) -> object:
    """Import the fetching when it is asked for: the network's modules take 40 ms, and few need them."""
    if name == "fetch_cifar10":
        from tinygrad_cifar.data.fetch import fetch_cifar10  # noqa: PLC0415

        return fetch_cifar10
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
