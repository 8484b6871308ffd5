"""How windows lie on images, and the windows of a block of images as views of it.

Convolutions and poolings take images of the shape (n, height, width, channels), and move a window over them with a
stride, a padding and a dilation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

Pair: TypeAlias = tuple[int, int]
Place: TypeAlias = tuple[slice, slice, slice]  # of images, rows and columns


class Geometry(NamedTuple):
    """How windows lie on an image: numbers for the vertical and for the horizontal axis.

    Attributes
    ----------
    stride : (int, int)
        Distance of neighbouring windows.
    padding : ((int, int), (int, int))
        Rows and columns of zeros before and after the image. Negative numbers crop it.
    dilation : (int, int)
        Distance of neighbouring elements of a window.
    groups : int
        Number of equal groups of channels, each with filters of its own.
    """

    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def output_size(self, image: Pair, window: Pair) -> Pair:
        """Return the number of windows along each axis; not positive if there are none."""
        first, second = [
            (size + sum(padding) - dilation * (length - 1) - 1) // stride + 1
            for size, padding, dilation, length, stride in zip(
                image, self.padding, self.dilation, window, self.stride, strict=True
            )
        ]
        return first, second


class PaddedBlock:
    """Scratch memory for a block of images with their padding."""

    def __init__(self, count: int, image: Any, geometry: Geometry, dtype: Any, fill: float = 0.0) -> None:
        self._padding = geometry.padding
        self._inside: tuple[slice, ...] = ()
        if any(map(any, geometry.padding)):
            size = [length + sum(p) for length, p in zip(image[:2], geometry.padding, strict=True)]
            self._array = np.full((count, *size, image[2]), fill, dtype)
            # Where the padding is negative, part of the image is left out.
            pairs = list(zip(image[:2], geometry.padding, strict=True))
            self._inside = tuple([slice(max(p, 0), n + p + min(q, 0)) for n, (p, q) in pairs])
            self._outside = tuple([slice(max(-p, 0), n - max(-q, 0)) for n, (p, q) in pairs])

    def load(self, block: Any) -> Any:
        """Return the images with padding, in memory that the next call overwrites; without padding, the images."""
        if not self._inside:
            return block
        padded = self._array[: len(block)]
        padded[(slice(None), *self._inside)] = block[(slice(None), *self._outside)]
        return padded


class PaddedSums:
    """Scratch memory for numbers that are added up at the positions of padded images."""

    def __init__(self, count: int, image: Pair, channels: int, geometry: Geometry, dtype: Any) -> None:
        (top, bottom), (left, right) = geometry.padding
        self._geometry = geometry
        self._rows, self._columns = slice(top, top + image[0]), slice(left, left + image[1])
        self._array = np.empty((count, image[0] + top + bottom, image[1] + left + right, channels), dtype)

    def zeros(self, count: int) -> Any:
        """Return zeros for this many padded images, in memory that the next call overwrites."""
        sums = self._array[:count]
        sums[...] = 0
        return sums

    def inside(self, sums: Any) -> Any:
        """Return a view without the padding."""
        return sums[:, self._rows, self._columns]

    def add_terms(self, term: Callable[[int, int], Any], count: int, window: Pair, output: Pair) -> Any:
        """Return the sums of ``term(a, b)``, each added at the element (a, b) of all windows, without the padding."""
        sums = self.zeros(count)
        for a, b in np.ndindex(window):
            sums[element_of_windows(a, b, output, self._geometry)] += term(a, b)
        return self.inside(sums)


def windows(padded: Any, window: Pair, output: Pair, geometry: Geometry) -> Any:
    """Return a view of shape (n, *output, *window, channels): the windows of padded images."""
    n, row, column, channel = padded.strides
    (vertical, horizontal), (down, right) = geometry.stride, geometry.dilation
    return as_strided(
        padded,
        (len(padded), *output, *window, padded.shape[3]),
        (n, row * vertical, column * horizontal, row * down, column * right, channel),
        writeable=False,
    )


def element_of_windows(a: int, b: int, output: Pair, geometry: Geometry) -> Place:
    """Return the index of padded images at which element (a, b) of all windows lies."""
    (vertical, horizontal), (down, right) = geometry.stride, geometry.dilation
    return (
        slice(None),
        slice(a * down, a * down + (output[0] - 1) * vertical + 1, vertical),
        slice(b * right, b * right + (output[1] - 1) * horizontal + 1, horizontal),
    )
