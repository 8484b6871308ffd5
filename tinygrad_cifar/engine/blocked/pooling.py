"""Maxima and sums of the windows of images, and where the maxima came from.

The rule at ties: the maximum of a window is its first largest element, in the order of rows and columns, so all of the
cotangent goes to one element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import memory, threads
from tinygrad_cifar.engine.blocked.windows import Geometry, PaddedBlock, PaddedSums, Pair, Place, element_of_windows

_BLOCK_BYTES = 2_097_152


def max_of_windows(x: Any, window: Pair, geometry: Geometry) -> Any:
    """Return the largest element of each window. Padding is smaller than every number."""

    def process(elements: list[Any], out: Any) -> None:
        np.copyto(out, elements[0])
        for element in elements[1:]:
            np.maximum(out, element, out=out)

    return _reduce(process, x, window, geometry, fill=-np.inf)


def count_maxima(x: Any, window: Pair, geometry: Geometry) -> Any:
    """Return how many elements of each window are equal to its maximum."""
    largest = max_of_windows(x, window, geometry)
    padded = PaddedBlock(len(x), x.shape[1:], geometry, x.dtype, -np.inf).load(x)
    output = (largest.shape[1], largest.shape[2])
    return np.add.reduce([element == largest for element in _elements(padded, window, output, geometry)], dtype=int)


def sum_of_windows(x: Any, window: Pair, geometry: Geometry) -> Any:
    """Return the sum of the elements of each window. Padding is 0."""

    def process(elements: list[Any], out: Any) -> None:
        np.copyto(out, elements[0])
        for element in elements[1:]:
            out += element

    return _reduce(process, x, window, geometry)


def _reduce(
    process: Callable[[list[Any], Any], None], x: Any, window: Pair, geometry: Geometry, *, fill: float = 0.0
) -> Any:
    """Return one number per window and channel: ``process`` receives the elements of windows, and writes the result."""
    n, *image = x.shape
    output = geometry.output_size((image[0], image[1]), window)
    out = memory.empty((n, *output, image[2]), x.dtype)
    if not out.size:
        return out
    size = _images_per_block(x)

    def make_worker() -> Any:
        padded = PaddedBlock(size, image, geometry, x.dtype, fill)

        def work(block: slice) -> None:
            process(_elements(padded.load(x[block]), window, output, geometry), out[block])

        return work

    threads.run(threads.split(n, size), make_worker, out.size * window[0] * window[1])
    return out


def spread_to_windows(y: Any, image: Pair, window: Pair, geometry: Geometry) -> Any:
    """Return images in which each number of ``y`` has been added to all elements of its window.

    This is the transpose of :func:`sum_of_windows`.
    """
    n, *output, channels = y.shape
    out = np.zeros((n, *image, channels), y.dtype)
    if not out.size or not y.size:
        return out
    size = _images_per_block(out)

    def make_worker() -> Any:
        padded = PaddedSums(size, image, channels, geometry, y.dtype)

        def process(block: slice) -> None:
            own = y[block]
            out[block] = padded.add_terms(lambda a, b: own, len(own), window, (output[0], output[1]))  # noqa: ARG005

        return process

    threads.run(threads.split(n, size), make_worker, y.size * window[0] * window[1])
    return out


def spread_to_maxima(y: Any, x: Any, largest: Any, window: Pair, geometry: Geometry) -> Any:
    """Return images in which each number of ``y`` has been added to the largest element of its window of ``x``.

    This is the transpose of :func:`at_maxima`. ``largest`` is the result of :func:`max_of_windows`.
    """
    n, height, width, channels = x.shape
    output = (y.shape[1], y.shape[2])
    out = memory.empty(x.shape, y.dtype)
    if not out.size:
        return out
    size = _images_per_block(x)
    # If no element is in two windows, each is written once at most.
    is_disjoint = geometry.dilation == (1, 1) and not any(map(any, geometry.padding))
    is_disjoint = is_disjoint and all(s >= w for s, w in zip(geometry.stride, window, strict=True))
    is_tiled = (
        is_disjoint and geometry.stride == window and (output[0] * window[0], output[1] * window[1]) == (height, width)
    )

    def make_worker() -> Any:
        padded = PaddedBlock(size, (height, width, channels), geometry, x.dtype, -np.inf)
        sums = PaddedSums(size, (height, width), channels, geometry, y.dtype)

        def process(block: slice) -> None:
            own, found = y[block], padded.load(x[block])
            target = out[block] if is_disjoint else sums.zeros(len(own))
            if is_disjoint and not is_tiled:  # there are elements that no window writes to
                target[...] = 0
            for place, is_first in _first_maxima(found, largest[block], window, output, geometry):
                if is_disjoint:
                    np.multiply(own, is_first, out=target[place])
                else:
                    target[place] += own * is_first
            if not is_disjoint:
                out[block] = sums.inside(target)

        return process

    threads.run(threads.split(n, size), make_worker, 4 * x.size)
    return out


def at_maxima(z: Any, x: Any, largest: Any, window: Pair, geometry: Geometry) -> Any:
    """Return the element of ``z`` at the position of the largest element of each window of ``x``."""
    n, *image = x.shape
    output = (largest.shape[1], largest.shape[2])
    out = memory.empty(largest.shape, z.dtype)
    if not out.size:
        return out
    size = _images_per_block(x)

    def make_worker() -> Any:
        padded_x = PaddedBlock(size, image, geometry, x.dtype, -np.inf)
        padded_z = PaddedBlock(size, image, geometry, z.dtype)

        def process(block: slice) -> None:
            found, other, target = padded_x.load(x[block]), padded_z.load(z[block]), out[block]
            target[...] = 0
            for place, is_first in _first_maxima(found, largest[block], window, output, geometry):
                target += other[place] * is_first

        return process

    threads.run(threads.split(n, size), make_worker, 4 * x.size)
    return out


def _elements(padded: Any, window: Pair, output: Pair, geometry: Geometry) -> list[Any]:
    """Return the elements of all windows, one view of the images for each position in a window."""
    return [padded[element_of_windows(a, b, output, geometry)] for a, b in np.ndindex(window)]


def _first_maxima(
    padded: Any, largest: Any, window: Pair, output: Pair, geometry: Geometry
) -> Iterator[tuple[Place, Any]]:
    """Yield each element of the windows, and in which windows it is the first that is the maximum, or NaN."""
    *places, last = [element_of_windows(a, b, output, geometry) for a, b in np.ndindex(window)]
    has_nan = np.isnan(largest).any()
    (top, bottom), (left, right) = geometry.padding
    inside = None
    if any(map(any, geometry.padding)) and np.isneginf(largest).any():  # only these are equal to the padding
        image = (padded.shape[1] - top - bottom, padded.shape[2] - left - right)
        inside = _inside(image, geometry)
    is_left = np.ones(largest.shape, bool)  # the maximum is none of the elements so far
    for place in places:
        element = padded[place]
        is_first = np.equal(element, largest)
        if has_nan:
            is_first |= np.not_equal(element, element)
        if inside is not None:
            np.logical_and(is_first, inside[place], out=is_first)
        is_first &= is_left
        is_left ^= is_first
        yield place, is_first
    yield last, is_left


def _inside(image: Pair, geometry: Geometry) -> Any:
    """Return which positions of a padded image, of shape (1, height, width, 1), are not padding."""
    return np.pad(np.ones((1, *image, 1), bool), ((0, 0), *geometry.padding, (0, 0)))


def _images_per_block(x: Any) -> int:
    return max(1, min(len(x), _BLOCK_BYTES // max(1, int(x[0].nbytes))))
