"""What is done to pixels before a model sees them: the three treatments of the reports, and whitening.

With x the pixels divided by 255, and the mean and the standard deviation of each feature (one colour of one
pixel) taken over the training images alone:

===============  ================  ======================================
``scale``        x                 reports 001 and 002
``standardise``  (x - mean) / std  reports 000 and 003
``centre``       x - mean          report 004; not divided by std
``whiten``       (x - mean) @ D    beyond the reports
===============  ================  ======================================

The columns of D are the directions in which the training images differ most, their principal components, each divided
by the standard deviation along it. What comes out has the covariance 1, so that a gradient step is as long in every
direction; and a linear layer of it, ``((x - mean) @ D) @ W``, is the linear layer of the pixels with the weights
``D @ W``.

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

KINDS = ("scale", "standardise", "centre", "whiten")
WHITE = 255
BLOCK = 256  # images at a time: the block stays in the cache, and its sums of squares in 32 bits
_FEW = 8  # fewer images than this share of the features: their own matrix is the smaller one
_NOTHING = 1e-10  # what part of the largest variance is a rounding error

_Images: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A treatment of pixels: ``(images / 255 - mean) / std``, or ``(images / 255 - mean) @ directions``.

    Made by :meth:`fit`, or by :meth:`from_arrays` from what :meth:`to_arrays` gave.

    Parameters
    ----------
    kind : {"scale", "standardise", "centre", "whiten"}
        Which treatment it is.
    mean, std : ndarray of float64, shape (1, D)
        What is subtracted from each of the D features and what divides the difference, on the scale from 0
        (black) to 1 (full). ``std`` is finite and positive; ``whiten`` has ones. All are kept as read-only copies.
    directions : ndarray of float64, shape (D, K), optional
        What ``whiten`` multiplies by, and no other kind has.

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
    directions: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        for name in ("mean", "std"):
            object.__setattr__(self, name, _as_row(name, getattr(self, name)))
        if (self.kind == "whiten") != (self.directions is not None):
            raise DataError(f"{self.kind} {'needs' if self.directions is None else 'has no'} directions")
        if self.directions is not None:
            object.__setattr__(self, "directions", _as_directions(self.directions, self.mean.shape[1]))
        if self.mean.shape != self.std.shape:
            raise DataError(f"mean {self.mean.shape} and std {self.std.shape} must have the same shape")
        if not (self.std > 0).all():
            raise DataError("every std must be positive, since it divides: use 1 for a constant feature")

    @property
    def features(self) -> int:
        """How many numbers a model gets for each image."""
        return int(self.mean.shape[1] if self.directions is None else self.directions.shape[1])

    @classmethod
    def fit(cls, kind: str, images: _Images, components: int | None = None) -> Preprocessing:
        """Take from training images the numbers that a treatment needs.

        Sums are those of integers, hence exact: the result does not depend on the order of the images.

        Parameters
        ----------
        kind : {"scale", "standardise", "centre", "whiten"}
            ``scale`` looks only at the number of features.
        images : ndarray of uint8, shape (N, D), N >= 1
            The training images.
        components : int, optional
            How many directions ``whiten`` keeps, at most D; by default D. The other kinds do not look at it.

        Returns
        -------
        Preprocessing
            Its ``std`` is the population's (divided by N, as in the course). A feature with the same value
            in all images gets the ``std`` 1 and not 0, and so becomes 0 in each of them. Of the directions, those
            along which the training images differ most come first; one along which they do not differ becomes 0.

        Raises
        ------
        DataError
            If there is no such kind, or the images or the components are not as above.
        """
        _check_kind(kind)
        _check_images(images)
        count, features = images.shape
        if components is not None and not 1 <= components <= features:
            raise DataError(f"of {features} features there are 1 to {features} components, not {components}")
        if count == 0:
            raise DataError("there are no training images to take a mean of")
        mean, std = np.zeros((1, features)), np.ones((1, features))
        if kind != "scale":
            sums, squares = _sums(images)
            mean[0] = sums / (count * WHITE)
            if kind == "standardise":
                spread = np.sqrt(count * squares - sums * sums) / (count * WHITE)
                std[0] = np.where(spread > 0, spread, 1)
        return cls(kind, mean, std, _directions(images, components or features) if kind == "whiten" else None)

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
        ndarray of dtype, shape (N, features)
            A new C-contiguous array; nothing else of its size is allocated. Whitened, an image's numbers may differ in
            their last digits with the images beside it, as those of any matrix product may.

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
        directions = None if self.directions is None else self.directions.astype(to)
        treated = np.empty((len(images), self.features), to)
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            block = treated[rows] if directions is None else np.empty(images[rows].shape, to)
            np.divide(images[rows], WHITE, out=block, dtype=to)
            block -= mean
            block /= std
            if directions is not None:
                np.matmul(block, directions, out=treated[rows])
        return treated

    def of_pixels(self, weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        """Return a first layer's weights as weights of pixels, to be looked at as images.

        Parameters
        ----------
        weights : ndarray, shape (features, units)

        Returns
        -------
        ndarray, shape (D, units)
            ``directions @ weights`` for ``whiten``; else the weights themselves, of the treated pixels.
        """
        return weights if self.directions is None else self.directions.astype(weights.dtype) @ weights

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the treatment as arrays that ``numpy.savez`` writes without pickle.

        Returns
        -------
        dict
            ``kind`` (0-d, text), ``mean`` and ``std``; and ``directions`` of ``whiten``.
        """
        arrays = {"kind": np.array(self.kind), "mean": self.mean.copy(), "std": self.std.copy()}
        return arrays if self.directions is None else arrays | {"directions": self.directions.copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Preprocessing:
        """Return the treatment that :meth:`to_arrays` gave these arrays for.

        Parameters
        ----------
        arrays : mapping
            With the keys ``kind``, ``mean`` and ``std``, and where it is needed ``directions``; others are ignored.

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
        return cls(str(arrays["kind"]), arrays["mean"], arrays["std"], arrays.get("directions"))


def _sums(images: _Images) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sum the pixels and their squares over the images."""
    sums, squares = np.zeros((2, images.shape[1]), np.int64)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.uint32)
        sums += block.sum(axis=0, dtype=np.uint32)
        block *= block
        squares += block.sum(axis=0, dtype=np.uint32)
    return sums, squares


def _directions(images: _Images, components: int) -> npt.NDArray[np.float64]:
    """Return the principal components of images in columns, each divided by the standard deviation along it.

    Differences are taken of whole numbers, so that what does not differ has no variance at all.
    """
    count, (sums, _) = len(images), _sums(images)
    if count < images.shape[1] // _FEW:
        _, spread, rows = np.linalg.svd((count * images.astype(np.int64) - sums) / WHITE, full_matrices=False)
        variances, found = spread**2 / count**3, rows.T
    else:
        covariance = (count * _products(images) - np.outer(sums, sums)) / (count * WHITE) ** 2
        variances, found = (result[..., ::-1] for result in np.linalg.eigh(covariance))
    directions = np.zeros((images.shape[1], components))
    kept = int(np.count_nonzero(variances[:components] > _NOTHING * variances[0]))
    directions[:, :kept] = found[:, :kept] / np.sqrt(variances[:kept])
    # Either sign would do: that of the largest element makes it the same on every machine.
    return directions * np.where(directions[np.abs(directions).argmax(axis=0), np.arange(components)] < 0, -1, 1)


def _products(images: _Images) -> npt.NDArray[np.float64]:
    """Sum over the images the products of any two pixels: exact, as a block's sums are whole numbers below 2**24."""
    products = np.zeros((images.shape[1],) * 2)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.float32)
        products += block.T @ block
    return products


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise DataError(f"there is no preprocessing {kind!r}: choose {', '.join(KINDS[:-1])} or {KINDS[-1]}")


def _check_images(images: _Images) -> None:
    if images.dtype != np.uint8 or images.ndim != 2:  # noqa: PLR2004
        raise DataError(
            f"images must be uint8 of the shape (N, D), one image per row, not {images.dtype} {images.shape}"
        )


def _as_directions(value: npt.NDArray[Any], features: int) -> npt.NDArray[np.float64]:
    if value.dtype != np.float64 or value.ndim != 2 or len(value) != features or not value.size:  # noqa: PLR2004
        raise DataError(f"directions must be float64 of the shape ({features}, K), not {value.dtype} {value.shape}")
    if not np.isfinite(value).all():
        raise DataError("directions must be finite")
    directions = np.array(value, order="C")
    directions.flags.writeable = False
    return directions


def _as_row(name: str, value: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if value.dtype != np.float64 or value.ndim != 2 or len(value) != 1:  # noqa: PLR2004
        raise DataError(f"{name} must be float64 of the shape (1, D), not {value.dtype} {value.shape}")
    if not np.isfinite(value).all():
        raise DataError(f"{name} must be finite, and feature {int(np.argmin(np.isfinite(value)))} is not")
    row = value.copy()
    row.flags.writeable = False
    return row
