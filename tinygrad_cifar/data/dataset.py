"""Data sets of labelled images: five training batches and a test batch, in the layout of CIFAR-10.

The classes validate their content when they are constructed, so that other modules need not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

COLOURS, SIDE = 3, 32  # of an image
PIXELS = COLOURS * SIDE * SIDE
TRAINING_BATCHES = 5


class DataError(ValueError):
    """Data or an argument is invalid."""


def check_integer(name: str, value: Any) -> None:
    """Raise DataError for anything but an integer.

    Examples
    --------
    >>> check_integer("size", 2.5)
    Traceback (most recent call last):
    tinygrad_cifar.data.dataset.DataError: size must be an integer; got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise DataError(f"{name} must be an integer; got {value!r:.40}")


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels.

    Both arrays are stored as read-only views of the given ones, which must not be changed afterwards.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072), N >= 1
        One image per row: 1024 red values, then 1024 green, then 1024 blue, each colour row by row from the top left,
        from 0 to 255. ``images.reshape(-1, 3, 32, 32)`` has the axes image, colour, row, column.
    labels : ndarray of int64, shape (N,)
        Index of the class of each image, from 0.

    Raises
    ------
    DataError
        If an array has another shape or data type.

    Examples
    --------
    >>> import numpy as np
    >>> split = Split(np.zeros((2, 3072), np.uint8), np.array([3, 1], np.int64))
    >>> len(split)
    2
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        _check_array("images", self.images, np.uint8, "(N, 3072)")
        _check_array("labels", self.labels, np.int64, "(N,)")
        if self.images.ndim != 2 or self.images.shape[1] != PIXELS or len(self.images) == 0:  # noqa: PLR2004
            raise DataError(f"images must have the shape (N, 3072) with N >= 1; got {self.images.shape}")
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels must have the shape ({len(self.images)},), one label per image; got {self.labels.shape}"
            )
        object.__setattr__(self, "images", _read_only(self.images))
        object.__setattr__(self, "labels", _read_only(self.labels))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Five training batches and a test batch, with class names.

    Parameters
    ----------
    name : str
        Name of the data in all output, such as ``"CIFAR-10"``.
    class_names : tuple of str
        Names of the classes; a label is an index into them.
    training_batches : tuple of Split
        Five training batches, in the order of the files.
    test : Split
        Test images, not to be used for choosing a model.

    Raises
    ------
    DataError
        If there are not five training batches, or a label is not an index into ``class_names``.

    Examples
    --------
    >>> import numpy as np
    >>> batch = Split(np.zeros((4, 3072), np.uint8), np.array([0, 1, 1, 0], np.int64))
    >>> data = Dataset("black images", ("zero", "one"), (batch,) * 5, batch)
    >>> train, validation = data.split(validation=6)
    >>> len(train), len(validation)
    (14, 6)
    """

    name: str
    class_names: tuple[str, ...]
    training_batches: tuple[Split, ...]
    test: Split

    def __post_init__(self) -> None:
        if len(self.training_batches) != TRAINING_BATCHES:
            raise DataError(f"training_batches must have length {TRAINING_BATCHES}; got {len(self.training_batches)}")
        for number, batch in enumerate(self.training_batches, start=1):
            self._check_labels(f"training batch {number}", batch)
        self._check_labels("the test batch", self.test)

    def _check_labels(self, where: str, split: Split) -> None:
        classes = len(self.class_names)
        wrong = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"labels must be from 0 to {classes - 1}; image {first} in {where} of {self.name} has the label "
                f"{split.labels[first]}"
            )

    def batch(self, i: int) -> Split:
        """Return a training batch, numbered like the official files.

        Parameters
        ----------
        i : int
            Number of the batch, from 1 to 5.

        Returns
        -------
        Split

        Raises
        ------
        DataError
            If ``i`` is not an integer from 1 to 5.
        """
        check_integer("the number of a training batch", i)
        if not 1 <= i <= TRAINING_BATCHES:
            raise DataError(f"the number of a training batch must be from 1 to {TRAINING_BATCHES}; got {i}")
        return self.training_batches[i - 1]

    def training(self, n: int | None = None) -> Split:
        """Return the first ``n`` training batches, concatenated.

        Parameters
        ----------
        n : int, optional
            Number of batches, from 1 to 5. If None, all.

        Returns
        -------
        Split

        Raises
        ------
        DataError
            If ``n`` is not an integer from 1 to 5.
        """
        count = TRAINING_BATCHES if n is None else n
        check_integer("n", count)
        if not 1 <= count <= TRAINING_BATCHES:
            raise DataError(f"n must be from 1 to {TRAINING_BATCHES} training batches; got {n}")
        batches = self.training_batches[:count]
        return Split(
            np.concatenate([batch.images for batch in batches]),
            np.concatenate([batch.labels for batch in batches]),
        )

    def split(self, validation: int = 5000) -> tuple[Split, Split]:
        """Concatenate all training batches and split off the last images for validation.

        Parameters
        ----------
        validation : int
            Number of validation images, at least 1 and less than the number of images. Default: 5000.

        Returns
        -------
        train : Split
            The first images.
        validation : Split
            The last images, in the same array of pixels.

        Raises
        ------
        DataError
            If ``validation`` is not an integer, or either split would be empty.
        """
        check_integer("validation", validation)
        joined = self.training()
        size = len(joined) - validation
        if not 0 < size < len(joined):
            raise DataError(
                f"validation must be from 1 to {len(joined) - 1} of {len(joined)} training images; got {validation}"
            )
        return (
            Split(joined.images[:size], joined.labels[:size]),
            Split(joined.images[size:], joined.labels[size:]),
        )

    def identity(self) -> dict[str, str | int]:
        """Return the name, size and digest of the data, with which results state their data.

        Returns
        -------
        dict
            ``name``, ``training_images``, ``test_images`` and ``sha256``: the hexadecimal digest of the six batches in
            order, each as its number of images (8 bytes, little-endian), its pixels and its labels (8 bytes each,
            little-endian). It does not depend on the file format.
        """
        return {
            "name": self.name,
            "training_images": sum(len(batch) for batch in self.training_batches),
            "test_images": len(self.test),
            "sha256": self._sha256,
        }

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for split in (*self.training_batches, self.test):
            digest.update(len(split).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
        return digest.hexdigest()


def _check_array(name: str, value: object, dtype: type[np.generic], shape: str) -> None:
    if not isinstance(value, np.ndarray):
        raise DataError(f"{name} must be a NumPy array with the shape {shape}; got {type(value).__name__}")
    if value.dtype != dtype:
        raise DataError(f"{name} must be {np.dtype(dtype).name}; got {value.dtype}")


def _read_only(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    view = array.view()
    view.flags.writeable = False
    return view
