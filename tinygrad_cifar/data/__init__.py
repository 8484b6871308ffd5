"""Images: CIFAR-10 and a built-in synthetic data set, preprocessing, augmentation and mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_cifar.data.augmentation import augment_cutout, augment_flip, augment_shift, mirror, weighted_views
from tinygrad_cifar.data.batches import iterate_batches, minibatches
from tinygrad_cifar.data.builtin import builtin_dataset
from tinygrad_cifar.data.cifar10 import read_cifar10
from tinygrad_cifar.data.dataset import DataError, Dataset, Split
from tinygrad_cifar.data.preprocess import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

    from tinygrad_cifar.data.fetch import fetch_cifar10, unpack_cifar10

__all__ = [
    "DataError",
    "Dataset",
    "Preprocessing",
    "Split",
    "augment_cutout",
    "augment_flip",
    "augment_shift",
    "builtin_dataset",
    "fetch_cifar10",
    "iterate_batches",
    "load_dataset",
    "minibatches",
    "mirror",
    "read_cifar10",
    "unpack_cifar10",
    "weighted_views",
]


def load_dataset(source: str | Path) -> Dataset:
    """Return the built-in data set, or CIFAR-10 from a folder.

    Parameters
    ----------
    source : str or Path
        ``"builtin"`` for :func:`builtin_dataset`; otherwise a folder that :func:`read_cifar10` reads. A folder named
        ``builtin`` can be given as ``"./builtin"``.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the folder does not contain CIFAR-10.

    Examples
    --------
    >>> from tinygrad_cifar.data import load_dataset
    >>> load_dataset("builtin").name
    'built-in shapes (not CIFAR-10)'
    """
    return builtin_dataset() if source == "builtin" else read_cifar10(source)


def __getattr__(name: str) -> object:
    """Import the functions of ``fetch`` on first use: the standard library's network modules take 40 ms to import."""
    if name in ("fetch_cifar10", "unpack_cifar10"):
        from tinygrad_cifar.data import fetch  # noqa: PLC0415

        return getattr(fetch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
