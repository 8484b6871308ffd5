"""Preprocessing of pixels: the three kinds of the reports, and whitening.

With x the pixels divided by 255, and the mean and standard deviation of each feature (one colour of one pixel) over the
training images:

===============  ================  ======================================
``scale``        x                 reports 001 and 002
``standardise``  (x - mean) / std  reports 000 and 003
``centre``       x - mean          report 004
``whiten``       (x - mean) @ D    the record
===============  ================  ======================================

The columns of D are the principal components of the training images, each divided by the standard deviation along it.
The result has the identity as its covariance matrix. A linear layer applied to it, ``((x - mean) @ D) @ W``, is a
linear layer of the pixels with the weights ``D @ W``.

The statistics of the training images also apply to validation and test images: they are part of the model.
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
MAX_PIXEL = 255
BLOCK = 256  # images; a block stays in the cache, and its sums of squares do not overflow 32 bits
_FEW = 8  # with fewer images than features / 8, decompose the images instead of their covariance matrix
_RELATIVE_ERROR = 1e-10  # variances below this fraction of the largest are rounding errors

_Images: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Preprocessing of pixels: ``(images / 255 - mean) / std``, or ``(images / 255 - mean) @ directions``.

    Created by :meth:`fit`, or by :meth:`from_arrays` from the result of :meth:`to_arrays`. Arrays are stored as
    read-only copies.

    Parameters
    ----------
    kind : {"scale", "standardise", "centre", "whiten"}
        Kind of preprocessing.
    mean : ndarray of float64, shape (1, D)
        Mean of each of the D features, on the scale from 0 to 1; zeros for ``scale``.
    std : ndarray of float64, shape (1, D)
        Divisor of each feature, finite and positive; ones unless ``kind`` is ``standardise``.
    directions : ndarray of float64, shape (D, K), optional
        Matrix of ``whiten``. None for the other kinds.

    Raises
    ------
    DataError
        If ``kind`` is unknown, or an array has an incompatible shape, another type or invalid values.

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
            raise DataError(f"{self.kind} {'requires' if self.directions is None else 'does not have'} directions")
        if self.directions is not None:
            object.__setattr__(self, "directions", _as_directions(self.directions, self.mean.shape[1]))
        if self.mean.shape != self.std.shape:
            raise DataError(f"mean and std must have the same shape; got {self.mean.shape} and {self.std.shape}")
        if not (self.std > 0).all():
            raise DataError("std must be positive; use 1 for a constant feature")
        if self.kind == "scale" and self.mean.any():
            raise DataError("scale subtracts no mean; mean must consist of zeros")
        if self.kind != "standardise" and (self.std != 1).any():
            raise DataError(f"{self.kind} does not divide by a standard deviation; std must consist of ones")

    @property
    def features(self) -> int:
        """Number of values per preprocessed image."""
        return int(self.mean.shape[1] if self.directions is None else self.directions.shape[1])

    @classmethod
    def fit(cls, kind: str, images: _Images, components: int | None = None) -> Preprocessing:
        """Compute the preprocessing statistics of the training images.

        Integers are summed, which is exact, so the result does not depend on the order of the images.

        Parameters
        ----------
        kind : {"scale", "standardise", "centre", "whiten"}
            Kind of preprocessing.
        images : ndarray of uint8, shape (N, D), N >= 1
            Training images.
        components : int, optional
            Number of principal components for ``whiten``, from 1 to D. If None, D. Ignored by the other kinds.

        Returns
        -------
        Preprocessing
            With the population standard deviation (divided by N, as in the course), or 1 for a constant feature, which
            therefore becomes 0. Principal components are in decreasing order of variance; those with variance 0 are
            replaced by zeros.

        Raises
        ------
        DataError
            If ``kind`` is unknown, ``images`` has another shape or type, or ``components`` is out of range.
        """
        _check_kind(kind)
        _check_images(images)
        count, features = images.shape
        if components is not None and not 1 <= components <= features:
            raise DataError(f"components must be from 1 to {features}, the number of features; got {components}")
        if count == 0:
            raise DataError("images must contain at least one training image")
        mean, std = np.zeros((1, features)), np.ones((1, features))
        if kind != "scale":
            sums, squares = _sums(images)
            mean[0] = sums / (count * MAX_PIXEL)
            if kind == "standardise":
                spread = np.sqrt(count * squares - sums * sums) / (count * MAX_PIXEL)
                std[0] = np.where(spread > 0, spread, 1)
        return cls(kind, mean, std, _directions(images, components or features) if kind == "whiten" else None)

    def apply(self, images: _Images, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.floating[Any]]:
        """Preprocess images.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, D)
            Images; N may be 0.
        dtype : data-type
            float64 or float32, for the arithmetic and the result. Default: float64.

        Returns
        -------
        ndarray, shape (N, features)
            New C-contiguous array; no other array of its size is allocated. Whitened values may differ in the last
            digits if other images are in the same call, since they are computed by a matrix product.

        Raises
        ------
        DataError
            If ``images`` is not uint8 or has another number of features.
        TypeError
            If ``dtype`` is not float64 or float32.
        """
        _check_images(images)
        if images.shape[1] != self.mean.shape[1]:
            raise DataError(
                f"images must have {self.mean.shape[1]} features, as the training images; got {images.shape[1]}"
            )
        to = np.dtype(dtype)
        if to not in (np.float32, np.float64):
            raise TypeError(f"dtype must be float32 or float64; got {to}")
        mean, std = self.mean.astype(to), self.std.astype(to)
        directions = None if self.directions is None else self.directions.astype(to)
        result = np.empty((len(images), self.features), to)
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            block = result[rows] if directions is None else np.empty(images[rows].shape, to)
            np.divide(images[rows], MAX_PIXEL, out=block, dtype=to)
            block -= mean
            block /= std
            if directions is not None:
                np.matmul(block, directions, out=result[rows])
        return result

    def of_pixels(self, weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        """Convert the weights of a first layer to weights of pixels, which can be shown as images.

        Parameters
        ----------
        weights : ndarray, shape (features, units)
            Weights of preprocessed values.

        Returns
        -------
        ndarray, shape (D, units)
            ``directions @ weights`` for ``whiten``; otherwise ``weights`` itself.
        """
        return weights if self.directions is None else self.directions.astype(weights.dtype) @ weights

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the statistics as arrays that ``numpy.savez`` writes without pickle.

        Returns
        -------
        dict
            ``kind`` (0-dimensional, a string), ``mean``, ``std``, and for ``whiten`` also ``directions``.
        """
        arrays = {"kind": np.array(self.kind), "mean": self.mean.copy(), "std": self.std.copy()}
        return arrays if self.directions is None else arrays | {"directions": self.directions.copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Preprocessing:
        """Create a preprocessing from the result of :meth:`to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            With the keys ``kind``, ``mean``, ``std``, and for ``whiten`` also ``directions``. Other keys are ignored.

        Returns
        -------
        Preprocessing

        Raises
        ------
        DataError
            If an array is missing or invalid.
        """
        missing = [name for name in ("kind", "mean", "std") if name not in arrays]
        if missing:
            raise DataError(f"arrays must contain kind, mean and std; missing: {', '.join(missing)}")
        return cls(str(arrays["kind"]), arrays["mean"], arrays["std"], arrays.get("directions"))


def _sums(images: _Images) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the sums of the pixels and of their squares over the images."""
    sums, squares = np.zeros((2, images.shape[1]), np.int64)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.uint32)
        sums += block.sum(axis=0, dtype=np.uint32)
        block *= block
        squares += block.sum(axis=0, dtype=np.uint32)
    return sums, squares


def _directions(images: _Images, components: int) -> npt.NDArray[np.float64]:
    """Return the principal components of images as columns, each divided by its standard deviation.

    Differences are computed from integers, so a constant direction has variance 0 exactly.
    """
    count, (sums, _) = len(images), _sums(images)
    if count < images.shape[1] // _FEW:
        _, spread, rows = np.linalg.svd((count * images.astype(np.int64) - sums) / MAX_PIXEL, full_matrices=False)
        variances, found = spread**2 / count**3, rows.T
    else:
        covariance = (count * _products(images) - np.outer(sums, sums)) / (count * MAX_PIXEL) ** 2
        variances, found = (result[..., ::-1] for result in np.linalg.eigh(covariance))
    directions = np.zeros((images.shape[1], components))
    nonzero = int(np.count_nonzero(variances[:components] > _RELATIVE_ERROR * variances[0]))
    directions[:, :nonzero] = found[:, :nonzero] / np.sqrt(variances[:nonzero])
    # The sign of a component is arbitrary: make its largest element positive, for the same result on every machine.
    return directions * np.where(directions[np.abs(directions).argmax(axis=0), np.arange(components)] < 0, -1, 1)


def _products(images: _Images) -> npt.NDArray[np.float64]:
    """Return the sums of products of pairs of pixels, exact since the sums of a block are integers below 2**24."""
    products = np.zeros((images.shape[1],) * 2)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.float32)
        products += block.T @ block
    return products


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise DataError(f"kind must be {', '.join(KINDS[:-1])} or {KINDS[-1]}; got {kind!r}")


def _check_images(images: _Images) -> None:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 2:  # noqa: PLR2004
        raise DataError(
            f"images must be uint8 with the shape (N, D), one image per row; got {images.dtype} with {images.shape}"
        )


def _as_directions(value: npt.NDArray[Any], features: int) -> npt.NDArray[np.float64]:
    if value.dtype != np.float64 or value.ndim != 2 or len(value) != features or not value.size:  # noqa: PLR2004
        raise DataError(
            f"directions must be float64 with the shape ({features}, K); got {value.dtype} with {value.shape}"
        )
    if not np.isfinite(value).all():
        raise DataError("directions must be finite")
    directions = np.array(value, order="C")
    directions.flags.writeable = False
    return directions


def _as_row(name: str, value: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if value.dtype != np.float64 or value.ndim != 2 or len(value) != 1:  # noqa: PLR2004
        raise DataError(f"{name} must be float64 with the shape (1, D); got {value.dtype} with {value.shape}")
    if not np.isfinite(value).all():
        raise DataError(f"{name} must be finite; feature {int(np.argmin(np.isfinite(value)))} is not")
    row = value.copy()
    row.flags.writeable = False
    return row
