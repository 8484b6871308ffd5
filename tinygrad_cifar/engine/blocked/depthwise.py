"""Depthwise convolutions of images: every channel has one filter of its own.

As matrix products, they would have one column per group. Instead, one position of the filter at a time, the elements of
all windows at that position are multiplied by the numbers of the filters and added. The three functions belong to the
trilinear form of :mod:`~tinygrad_cifar.engine.blocked.convolution`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import memory, threads
from tinygrad_cifar.engine.blocked.partial_sums import partial_sums
from tinygrad_cifar.engine.blocked.row_sums import sum_leading
from tinygrad_cifar.engine.blocked.windows import Geometry, PaddedBlock, PaddedSums, Pair, element_of_windows

_BLOCK_BYTES = 1_048_576  # of the images of a block, measured: a tenth less time than with 128 kB or 2 MB
_PASSES = 2  # over the elements, for each position of the filter


def applies(channels: int, count: int, geometry: Geometry) -> bool:
    """Return whether ``channels`` per group and ``count`` filters are one channel and one filter for each group."""
    return channels == 1 and count == geometry.groups


def convolve(x: Any, filters: Any, geometry: Geometry) -> Any:
    """Return the convolution of images with one filter per channel."""
    n, *image = x.shape
    height, width, _, channels = filters.shape
    output = geometry.output_size((image[0], image[1]), (height, width))
    out = memory.empty((n, *output, channels), x.dtype)
    if not out.size:
        return out
    work = _PASSES * out.size * height * width
    blocks, size = _blocks(x, work)

    def make_worker() -> Any:
        padded, products = PaddedBlock(size, image, geometry, x.dtype), np.empty((size, *out.shape[1:]), x.dtype)

        def process(block: slice) -> None:
            found, target = padded.load(x[block]), out[block]
            for a, b in np.ndindex(height, width):
                element = found[element_of_windows(a, b, output, geometry)]
                product = np.multiply(element, filters[a, b, 0], out=products[: len(target)] if a or b else target)
                if a or b:
                    target += product

        return process

    threads.run(blocks, make_worker, work)
    return out


def input_gradient(y: Any, filters: Any, image: Pair, geometry: Geometry) -> Any:
    """Return the derivative with respect to images of this size, for any stride."""
    n, *output, channels = y.shape
    height, width = filters.shape[:2]
    out = memory.empty((n, *image, channels), y.dtype)
    if not out.size or not y.size:
        out[...] = 0
        return out
    work = _PASSES * y.size * height * width
    blocks, size = _blocks(out, work)

    def make_worker() -> Any:
        padded, products = PaddedSums(size, image, channels, geometry, y.dtype), np.empty((size, *y.shape[1:]), y.dtype)

        def process(block: slice) -> None:
            own = y[block]
            product = products[: len(own)]
            out[block] = padded.add_terms(
                lambda a, b: np.multiply(own, filters[a, b, 0], out=product),
                *(len(own), (height, width), (output[0], output[1])),
            )

        return process

    threads.run(blocks, make_worker, work)
    return out


def filter_gradient(x: Any, y: Any, window: Pair, geometry: Geometry) -> Any:
    """Return the derivative with respect to filters of this height and width."""
    image = x.shape[1:]
    _, *output, channels = y.shape
    if not x.size or not y.size:
        return np.zeros((*window, 1, channels), x.dtype)
    work = _PASSES * y.size * window[0] * window[1]
    blocks, size = _blocks(x, work)

    def make_writer() -> Any:
        padded, products = PaddedBlock(size, image, geometry, x.dtype), np.empty((size, *y.shape[1:]), x.dtype)

        def write(block: slice, out: Any) -> None:
            found, own = padded.load(x[block]), y[block]
            for a, b in np.ndindex(window):
                element = found[element_of_windows(a, b, (output[0], output[1]), geometry)]
                out[a, b, 0] = sum_leading(np.multiply(element, own, out=products[: len(own)]), 3)

        return write

    return np.add.reduce(partial_sums(blocks, make_writer, (*window, 1, channels), x.dtype, work))


def _blocks(images: Any, work: int) -> tuple[list[slice], int]:
    """Return the blocks of images, and the number of images of the largest."""
    return threads.split_images(len(images), _BLOCK_BYTES // max(1, int(images[0].nbytes)), work)
