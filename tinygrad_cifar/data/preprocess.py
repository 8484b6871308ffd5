"""What is done to pixels before a model sees them: the three treatments of the reports.

With x the pixels divided by 255, and the mean and the standard deviation of each feature (one colour of one
pixel) taken over the training images alone:

===============  ================  ======================================
``scale``        x                 reports 001 and 002
``standardise``  (x - mean) / std  reports 000 and 003
``centre``       x - mean          report 004; not divided by std
===============  ================  ======================================

Validation and test images get the numbers of the training images: they are part of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_cifar.data.dataset import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "Preprocessing"]

KINDS = ("scale", "standardise", "centre")
WHITE = 255
BLOCK = 256  # images at a time: the block stays in the cache, and its sums of squares in 32 bits

_Images: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A treatment of pixels: ``(images / 255 - mean) / std``.

    Made by :meth:`fit`, or by :meth:`from_arrays` from what :meth:`to_arrays` gave.

    Parameters
    ----------
    kind : {"scale", "standardise", "centre"}
        Which treatment it is.
    mean, std : ndarray of float64, shape (1, D)
        What is subtracted from each of the D features and what divides the difference, on the scale from 0
        (black) to 1 (full). ``std`` is finite and positive. Both are kept as read-only copies.

    Raises
    ------
    DataError
        If there is no such kind, or an array does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.array([[0, 51], [255, 51]], np.uint8)
    >>> Preprocessing.fit("scale", images).apply(images)
    array([[0. , 0.2],
           [1. , 0.2]])
    >>> Preprocessing.fit("standardise", images).apply(images)
    array([[-1.,  0.],
           [ 1.,  0.]])
    """

    kind: str
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        for name in ("mean", "std"):
            object.__setattr__(self, name, _as_row(name, getattr(self, name)))
        if self.mean.shape != self.std.shape:
            raise DataError(f"mean {self.mean.shape} and std {self.std.shape} must have the same shape")
        if not (self.std > 0).all():
            raise DataError("every std must be positive, since it divides: use 1 for a constant feature")

    @classmethod
    def fit(cls, kind: str, images: _Images) -> Preprocessing:
        """Take from training images the numbers that a treatment needs.

        Sums are those of integers, hence exact: the result does not depend on the order of the images.

        Parameters
        ----------
        kind : {"scale", "standardise", "centre"}
            ``scale`` looks only at the number of features.
        images : ndarray of uint8, shape (N, D), N >= 1
            The training images.

        Returns
        -------
        Preprocessing
            Its ``std`` is the population's (divided by N, as in the course). A feature with the same value
            in all images gets the ``std`` 1 and not 0, and so becomes 0 in each of them.

        Raises
        ------
        DataError
            If there is no such kind, or the images are not as above.
        """
        _check_kind(kind)
        _check_images(images)
        count, features = images.shape
        if count == 0:
            raise DataError("there are no training images to take a mean of")
        mean, std = np.zeros((1, features)), np.ones((1, features))
        if kind != "scale":
            sums, squares = _sums(images)
            mean[0] = sums / (count * WHITE)
            if kind == "standardise":
                spread = np.sqrt(count * squares - sums * sums) / (count * WHITE)
                std[0] = np.where(spread > 0, spread, 1)
        return cls(kind, mean, std)

    def apply(self, images: _Images, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.floating[Any]]:
        """Treat images.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, D)
            Not changed. N may be 0.
        dtype : float64 or float32, optional
            Of the result, and of the arithmetic.

        Returns
        -------
        ndarray of dtype, shape (N, D)
            A new C-contiguous array; nothing else of its size is allocated.

        Raises
        ------
        DataError
            If the images are not uint8 or have another number of features.
        TypeError
            If ``dtype`` is another.
        """
        _check_images(images)
        if images.shape[1] != self.mean.shape[1]:
            raise DataError(
                f"images of {images.shape[1]} features cannot be treated by the mean and the std of "
                f"{self.mean.shape[1]}"
            )
        to = np.dtype(dtype)
        if to not in (np.float32, np.float64):
            raise TypeError(f"treated pixels are float32 or float64, not {to}")
        mean, std = self.mean.astype(to), self.std.astype(to)
        treated = np.empty(images.shape, to)
        for start in range(0, len(images), BLOCK):
            block = treated[start : start + BLOCK]
            np.divide(images[start : start + BLOCK], WHITE, out=block, dtype=to)
            block -= mean
            block /= std
        return treated

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the treatment as arrays that ``numpy.savez`` writes without pickle.

        Returns
        -------
        dict
            ``kind`` (0-d, text), ``mean`` and ``std``.
        """
        return {"kind": np.array(self.kind), "mean": self.mean.copy(), "std": self.std.copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Preprocessing:
        """Return the treatment that :meth:`to_arrays` gave these arrays for.

        Parameters
        ----------
        arrays : mapping
            With the keys ``kind``, ``mean`` and ``std``; others are ignored.

        Returns
        -------
        Preprocessing

        Raises
        ------
        DataError
            If an array is missing or does not fit.
        """
        missing = [name for name in ("kind", "mean", "std") if name not in arrays]
        if missing:
            raise DataError(f"the arrays of a preprocessing lack {' and '.join(missing)}")
        return cls(str(arrays["kind"]), arrays["mean"], arrays["std"])


def _sums(images: _Images) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sum the pixels and their squares over the images."""
    sums, squares = np.zeros((2, images.shape[1]), np.int64)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.uint32)
        sums += block.sum(axis=0, dtype=np.uint32)
        block *= block
        squares += block.sum(axis=0, dtype=np.uint32)
    return sums, squares


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise DataError(f"there is no preprocessing {kind!r}: choose {', '.join(KINDS[:-1])} or {KINDS[-1]}")


def _check_images(images: _Images) -> None:
    if images.dtype != np.uint8 or images.ndim != 2:  # noqa: PLR2004
        raise DataError(
            f"images must be uint8 of the shape (N, D), one image per row, not {images.dtype} {images.shape}"
        )


def _as_row(name: str, value: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if value.dtype != np.float64 or value.ndim != 2 or len(value) != 1:  # noqa: PLR2004
        raise DataError(f"{name} must be float64 of the shape (1, D), not {value.dtype} {value.shape}")
    if not np.isfinite(value).all():
        raise DataError(f"{name} must be finite, and feature {int(np.argmin(np.isfinite(value)))} is not")
    row = value.copy()
    row.flags.writeable = False
    return row
