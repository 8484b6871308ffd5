"""Convolutions with filters of 3 x 3 in fewer multiplications: Winograd's minimal filtering.

Four neighbouring results, 2 x 2, are computed from a tile of 4 x 4 pixels. Directly, they take 36 multiplications for
each channel and filter; by ::

    Y = A' [(G w G') * (B' d B)] A

they take 16, where ``d`` is the tile, ``w`` the filter, ``*`` the product of elements, and ``'`` the transpose:

    B' = [1  0 -1  0]    G = [ 1    0    0 ]    A' = [1  1  1  0]
         [0  1  1  0]        [1/2  1/2  1/2]         [0  1 -1 -1]
         [0 -1  1  0]        [1/2 -1/2  1/2]
         [0  1  0 -1]        [ 0    0    1 ]

The sums over channels are 16 matrix products, one for each element of a transformed tile. The three factors form a
trilinear form, as in :mod:`~tinygrad_cifar.engine.blocked.convolution`, so the gradient of the filters is
``G' [(B' d B) * (A Y A')] G``, summed over the tiles. That of the input is a convolution itself.

The results differ from those of the direct product by rounding: the error has the same size, since all constants are 1
and 1/2. Source: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, arXiv:1509.09308.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import memory, threads
from tinygrad_cifar.engine.blocked.partial_sums import partial_sums
from tinygrad_cifar.engine.blocked.windows import Geometry, PaddedBlock, Pair

# The transforms are worth it for many channels and filters only. Measured with the kernel for AVX-512, as multiples of
# the time of the direct product (convolution, gradients of the filters and of the input): 15 x 15, 64 -> 256: 0.81,
# 0.87, 0.70; 7 x 7, 256 -> 256: 0.82, 0.86, 0.80; 15 x 15, 64 -> 64: 1.0; 31 x 31, 24 -> 64: 1.1; 3 x 3, 256 -> 256:
# 1.2.
_FEWEST_PRODUCTS = 64 * 256  # of channels and filters
_SMALLEST_RESULT = 5  # rows and columns; of 3 x 3 results, 7 of 16 would be discarded
_FEWEST_TILES = 256  # of all images: transforming the filters takes as long as some tens of tiles

_BLOCK_BYTES = 4_194_304  # of the transformed tiles and results of a block


def applies(
    window: Pair, channels: int, filters: int, images: int, output: Pair, geometry: Geometry, dtype: Any
) -> bool:
    """Return whether convolutions of these sizes take less time in this way.

    Only those of float32: float64 is used to check results, and keeps the sums in the order of the definition.
    """
    rows, columns = _tiles(output)
    return (
        dtype == np.float32
        and window == (3, 3)
        and geometry.stride == geometry.dilation == (1, 1)
        and geometry.groups == 1
        and channels * filters >= _FEWEST_PRODUCTS
        and min(output) >= _SMALLEST_RESULT
        and images * rows * columns >= _FEWEST_TILES
    )


def convolve(x: Any, filters: Any, geometry: Geometry) -> Any:
    """Return the convolution of images with filters of 3 x 3; see :func:`applies`."""
    n, *image = x.shape
    channels, count = filters.shape[2:]
    output = geometry.output_size((image[0], image[1]), (3, 3))
    out = memory.empty((n, *output, count), x.dtype)
    weights = _transform_filters(filters).reshape(16, channels, count)
    blocks, size = _blocks(n, output, channels + count, x.dtype.itemsize, out.size * 9 * channels)

    def make_worker() -> Any:
        tiles = _Tiles(size, image, output, geometry, x.dtype)
        products = np.empty((16, size * tiles.per_image, count), x.dtype)
        half = np.empty((2, 4, size, *_tiles(output), count), x.dtype)

        def process(block: slice) -> None:
            transformed = tiles.transform(x[block])
            found = products[:, : transformed.shape[1]]
            np.matmul(transformed, weights, out=found)
            number = block.stop - block.start
            _write_results(found.reshape(4, 4, number, *_tiles(output), count), half[:, :, :number], out[block])

        return process

    threads.run(blocks, make_worker, out.size * 9 * channels)
    return out


def filter_gradient(x: Any, y: Any, geometry: Geometry) -> Any:
    """Return the derivative of the trilinear form with respect to filters of 3 x 3; see :func:`applies`."""
    n, *image = x.shape
    channels, count = x.shape[3], y.shape[3]
    output = (y.shape[1], y.shape[2])
    work = y.size * 9 * channels
    blocks, size = _blocks(n, output, channels + count, x.dtype.itemsize, work)

    def make_writer() -> Any:
        tiles = _Tiles(size, image, output, geometry, x.dtype)
        results = _Results(size, output, count, x.dtype)
        return lambda block, out: np.matmul(
            tiles.transform(x[block]).swapaxes(1, 2), results.transform(y[block]), out=out
        )

    sums = partial_sums(blocks, make_writer, (16, channels, count), x.dtype, work)

    def add_parts(position: int) -> None:
        total = sums[0, position]
        for part in sums[1:, position]:
            total += part

    threads.run(range(16), lambda: add_parts, sums.size)
    return _filters_of(sums[0].reshape(4, 4, channels, count))


def _tiles(output: Pair) -> Pair:
    """Return the number of tiles along each axis: of 2 x 2 results each, the last ones perhaps in part."""
    return -(-output[0] // 2), -(-output[1] // 2)


def _blocks(n: int, output: Pair, width: int, itemsize: int, work: int) -> tuple[list[slice], int]:
    """Return the blocks of images, and the number of images of the largest."""
    rows, columns = _tiles(output)
    return threads.split_images(n, _BLOCK_BYTES // (16 * rows * columns * width * itemsize), work)


class _Tiles:
    """Scratch memory for the tiles of a block of images, ``B' d B``."""

    def __init__(self, size: int, image: Any, output: Pair, geometry: Geometry, dtype: Any) -> None:
        self._shape = rows, columns = _tiles(output)
        self.per_image = rows * columns
        (top, bottom), (left, right) = geometry.padding
        missing = 2 * rows - output[0], 2 * columns - output[1]
        padding = ((top, bottom + missing[0]), (left, right + missing[1]))
        self._padded = PaddedBlock(size, image, geometry._replace(padding=padding), dtype)
        self._half = np.empty((4, size, rows, 2 * columns + 2, image[2]), dtype)
        self._whole = np.empty((4, 4, size, rows, columns, image[2]), dtype)

    def transform(self, block: Any) -> Any:
        """Return the transformed tiles, of shape (16, tiles, channels), in memory that the next call overwrites."""
        rows, columns = self._shape
        padded, n = self._padded.load(block), len(block)
        half, whole = self._half[:, :n], self._whole[:, :, :n]
        _combine_pixels([padded[:, k : k + 2 * rows - 1 : 2] for k in range(4)], half)
        _combine_pixels([half[:, :, :, k : k + 2 * columns - 1 : 2] for k in range(4)], whole.swapaxes(0, 1))
        return whole.reshape(16, n * self.per_image, -1)


def _combine_pixels(pixels: Sequence[Any], out: Any) -> None:
    """Write ``B' d``, given the four rows of d."""
    np.subtract(pixels[0], pixels[2], out=out[0])
    np.add(pixels[1], pixels[2], out=out[1])
    np.subtract(pixels[2], pixels[1], out=out[2])
    np.subtract(pixels[1], pixels[3], out=out[3])


def _transform_filters(filters: Any) -> Any:
    """Return ``G w G'``, of shape (4, 4, channels, filters)."""
    return _combine_weights(_combine_weights(filters).swapaxes(0, 1)).swapaxes(0, 1)


def _combine_weights(weights: Any) -> Any:
    """Return ``G w``."""
    first, second, third = weights
    ends, middle = (first + third) / 2, second / 2
    return np.stack([first, ends + middle, ends - middle, third])


def _filters_of(transformed: Any) -> Any:
    """Return ``G' m G``, of shape (3, 3, channels, filters)."""
    return _combine_products(_combine_products(transformed).swapaxes(0, 1)).swapaxes(0, 1)


def _combine_products(products: Any) -> Any:
    """Return ``G' m``."""
    first, second, third, fourth = products
    ends, middle = (second + third) / 2, (second - third) / 2
    return np.stack([first + ends, middle, ends + fourth])


class _Results:
    """Scratch memory for the tiles of a block of results, ``A y A'``."""

    def __init__(self, size: int, output: Pair, count: int, dtype: Any) -> None:
        self._output, (rows, columns) = output, _tiles(output)
        self._padded = np.zeros((size, 2 * rows, 2 * columns, count), dtype)
        self._half = np.empty((4, size, rows, 2 * columns, count), dtype)
        self._whole = np.empty((4, 4, size, rows, columns, count), dtype)

    def transform(self, block: Any) -> Any:
        """Return the transformed results, of shape (16, tiles, filters), in memory that the next call overwrites."""
        n, (height, width) = len(block), self._output
        padded, half, whole = self._padded[:n], self._half[:, :n], self._whole[:, :, :n]
        padded[:, :height, :width] = block
        _combine_results(padded[:, ::2], padded[:, 1::2], half)
        _combine_results(half[:, :, :, ::2], half[:, :, :, 1::2], whole.swapaxes(0, 1))
        return whole.reshape(16, -1, whole.shape[-1])


def _combine_results(first: Any, second: Any, out: Any) -> None:
    """Write ``A y``, given the two rows of y."""
    np.copyto(out[0], first)
    np.add(first, second, out=out[1])
    np.subtract(first, second, out=out[2])
    np.negative(second, out=out[3])


def _write_results(products: Any, half: Any, out: Any) -> None:
    """Write ``A' m A``, of shape (images, height, width, filters), given the products of all tiles."""
    _, height, width, _ = out.shape
    even, odd = (width + 1) // 2, width // 2
    _add_products(products, half[0])
    _subtract_products(products, half[1])
    for i in (0, 1):
        rows = half[i][:, :, : (height + 1 - i) // 2]
        _add_products(rows[:, :, :, :even], out[:, i::2, ::2])
        _subtract_products(rows[:, :, :, :odd], out[:, i::2, 1::2])


def _add_products(products: Any, out: Any) -> None:
    """Write the first row of ``A' m``, given the four rows of m."""
    np.add(products[0], products[1], out=out)
    out += products[2]


def _subtract_products(products: Any, out: Any) -> None:
    """Write the second row of ``A' m``, given the four rows of m."""
    np.subtract(products[1], products[2], out=out)
    out -= products[3]
