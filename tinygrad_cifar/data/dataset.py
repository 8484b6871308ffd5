"""What a set of labelled images is: five training batches and a test batch, in the layout of CIFAR-10.

Everything that makes a data set (the reader of the official files, the built-in drawing) makes these two
classes, and everything that consumes one can rely on what they check once, on construction.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

PIXELS = 3 * 32 * 32
TRAINING_BATCHES = 5


class DataError(ValueError):
    """Data that cannot be used: one sentence that says what is wrong, and where possible what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, one row per image.

    Both arrays are kept as read-only views: a data set that changes under a training run is not the one its
    results name.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072), N >= 1
        One image per row: 1024 red values, then 1024 green, then 1024 blue, each colour row by row from the
        top left, 0 to 255. ``images.reshape(-1, 3, 32, 32)`` has the axes image, colour, row, column.
    labels : ndarray of int64, shape (N,)
        The index of each image's class, from 0.

    Raises
    ------
    DataError
        If a shape or a dtype is another.

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
            raise DataError(f"images must have the shape (N, 3072) with N >= 1, not {self.images.shape}")
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{len(self.images)} images need labels of the shape ({len(self.images)},), not {self.labels.shape}"
            )
        object.__setattr__(self, "images", _read_only(self.images))
        object.__setattr__(self, "labels", _read_only(self.labels))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Five training batches and a test batch, with the names of the classes.

    Parameters
    ----------
    name : str
        What the data is, as every output states it: ``"CIFAR-10"``, or a name that cannot be mistaken for it.
    class_names : tuple of str
        The name of class ``k`` at index ``k``.
    training_batches : tuple of five Split
        In the order of the files.
    test : Split
        Images that no choice of a model may look at.

    Raises
    ------
    DataError
        If there are not five training batches, or a label is no index of a class name.

    Examples
    --------
    >>> import numpy as np
    >>> batch = Split(np.zeros((4, 3072), np.uint8), np.array([0, 1, 1, 0], np.int64))
    >>> data = Dataset("all black", ("night", "cellar"), (batch,) * 5, batch)
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
            raise DataError(f"{self.name} needs {TRAINING_BATCHES} training batches, not {len(self.training_batches)}")
        for number, batch in enumerate(self.training_batches, start=1):
            self._check_labels(f"training batch {number}", batch)
        self._check_labels("the test batch", self.test)

    def _check_labels(self, where: str, split: Split) -> None:
        classes = len(self.class_names)
        wrong = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"image {first} in {where} of {self.name} has the label {split.labels[first]}; "
                f"with {classes} classes a label is 0 to {classes - 1}"
            )

    def batch(self, i: int) -> Split:
        """Return training batch ``i``, counted from 1 as the official files are.

        Parameters
        ----------
        i : int
            1 to 5.

        Returns
        -------
        Split

        Raises
        ------
        DataError
            If there is no such batch.
        """
        if not 1 <= i <= TRAINING_BATCHES:
            raise DataError(f"there is no training batch {i}: they are numbered 1 to {TRAINING_BATCHES}")
        return self.training_batches[i - 1]

    def training(self, n: int | None = None) -> Split:
        """Return the first ``n`` training batches joined in order; all five by default.

        Parameters
        ----------
        n : int, optional
            How many batches (not images), 1 to 5.

        Returns
        -------
        Split

        Raises
        ------
        DataError
            If ``n`` is not from 1 to 5.
        """
        count = TRAINING_BATCHES if n is None else n
        if not 1 <= count <= TRAINING_BATCHES:
            raise DataError(f"cannot join {n} training batches: there are {TRAINING_BATCHES}")
        batches = self.training_batches[:count]
        return Split(
            np.concatenate([batch.images for batch in batches]),
            np.concatenate([batch.labels for batch in batches]),
        )

    def split(self, validation: int = 5000) -> tuple[Split, Split]:
        """Join all training batches and hold the last images out for validation.

        Parameters
        ----------
        validation : int
            How many images to hold out: at least one, and fewer than there are.

        Returns
        -------
        train, validation : Split
            Both share one array of pixels.

        Raises
        ------
        DataError
            If either part would be empty.
        """
        joined = self.training()
        kept = len(joined) - validation
        if not 0 < kept < len(joined):
            raise DataError(
                f"cannot hold out {validation} of {len(joined)} training images: choose 1 to {len(joined) - 1}"
            )
        return (
            Split(joined.images[:kept], joined.labels[:kept]),
            Split(joined.images[kept:], joined.labels[kept:]),
        )

    def identity(self) -> dict[str, str | int]:
        """Say which data this is, for a result to state what it was measured on.

        Returns
        -------
        dict
            ``name``, ``training_images``, ``test_images`` and ``sha256``: the hexadecimal digest of the six
            batches in order, each as its number of images (8 bytes, little-endian), its pixels and its labels
            (8 bytes each, little-endian). It does not depend on the file format they came in.
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
        for part in (*self.training_batches, self.test):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(part.images).data)
            digest.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
        return digest.hexdigest()


def _check_array(name: str, value: object, dtype: type[np.generic], shape: str) -> None:
    if not isinstance(value, np.ndarray):
        raise DataError(f"{name} must be a NumPy array of the shape {shape}, not {type(value).__name__}")
    if value.dtype != dtype:
        raise DataError(f"{name} must be {np.dtype(dtype).name}, not {value.dtype}")


def _read_only(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    view = array.view()
    view.flags.writeable = False
    return view
