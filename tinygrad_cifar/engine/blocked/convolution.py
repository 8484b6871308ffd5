"""Convolutions of images: three contractions of one trilinear form, each computed as matrix products.

Images have the shape (n, height, width, channels), filters (height, width, channels / groups, filters). For an image
``x``, filters ``w`` and a result ``y``, all three functions belong to the form ::

    T(x, w, y) = sum over n, i, j, a, b, c, f of  x[n, s i + d a - p, s j + d b - p, c] w[a, b, c, f] y[n, i, j, f]

with the stride s, the dilation d and the padding p: :func:`convolve` is its derivative with respect to y,
:func:`input_gradient` that with respect to x, and :func:`filter_gradient` that with respect to w.

A block of images is copied to a matrix with one row per position of the filter, its *patches*, and multiplied by the
matrix of the filters. Patches of a block of some megabytes stay in the cache, so this takes hardly longer than the
product alone, and no copy of the patches of all images is ever made: :func:`filter_gradient` gathers them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import depthwise, memory, threads, winograd
from tinygrad_cifar.engine.blocked.partial_sums import partial_sums
from tinygrad_cifar.engine.blocked.windows import Geometry, PaddedBlock, PaddedSums, Pair, windows

_PATCH_BYTES = 2_097_152  # of the patches of a block, measured: a fifth less time than with 8 MB
_ADDED_ROWS = 64  # of the partial sums: a block of them stays in the cache


class _Patches:
    """Scratch memory for the patches of a block of images, one matrix per group of channels."""

    def __init__(self, count: int, image: Any, window: Pair, geometry: Geometry, dtype: Any) -> None:
        self._window, self._geometry = window, geometry
        self._output = geometry.output_size(image[:2], window)
        self._padded = PaddedBlock(count, image, geometry, dtype)
        groups = geometry.groups
        self._patches = np.empty((groups, count, *self._output, *window, image[2] // groups), dtype)

    def gather(self, block: Any) -> Any:
        """Return the patches of images, of shape (groups, rows, columns): one row for each window."""
        found = windows(self._padded.load(block), self._window, self._output, self._geometry)
        groups, _, *rest = self._patches.shape
        patches = self._patches[:, : len(block)]
        np.copyto(patches, np.moveaxis(found.reshape(*found.shape[:-1], groups, -1), -2, 0) if groups > 1 else found)
        return patches.reshape(groups, -1, rest[2] * rest[3] * rest[4])


def _blocks(n: int, patch_count: int, patch_size: int, itemsize: int, work: int) -> tuple[list[slice], int]:
    """Return the blocks of images, and the number of images of the largest."""
    return threads.split_images(n, round(_PATCH_BYTES / max(1, patch_count * patch_size * itemsize)), work)


def _as_matrices(filters: Any, groups: int) -> Any:
    """Return filters as one matrix per group, with one column per filter."""
    height, width, channels, count = filters.shape
    return filters.reshape(height * width * channels, groups, count // groups).transpose(1, 0, 2)


def _by_group(y: Any, groups: int) -> Any:
    """Return a view of results with the shape (groups, positions, filters / groups)."""
    return y.reshape(-1, groups, y.shape[-1] // groups).transpose(1, 0, 2)


def convolve(x: Any, filters: Any, geometry: Geometry) -> Any:
    """Return the convolution of images with filters, without flipping the filters."""
    n, *image = x.shape
    height, width, channels, count = filters.shape
    output = geometry.output_size((image[0], image[1]), (height, width))
    dtype = np.result_type(x, filters)
    if winograd.applies((height, width), channels, count, n, output, geometry, dtype):
        return winograd.convolve(x.astype(dtype, copy=False), filters.astype(dtype, copy=False), geometry)
    if depthwise.applies(channels, count, geometry):
        return depthwise.convolve(x.astype(dtype, copy=False), filters.astype(dtype, copy=False), geometry)
    out = memory.empty((n, *output, count), dtype)
    if not out.size or not channels:
        out[...] = 0
        return out
    patch = height * width * image[2]
    work = out.size * patch // geometry.groups
    blocks, size = _blocks(n, output[0] * output[1], patch, dtype.itemsize, work)
    matrices = np.ascontiguousarray(_as_matrices(filters, geometry.groups), dtype)

    def make_worker() -> Any:
        patches = _Patches(size, image, (height, width), geometry, dtype)

        def process(block: slice) -> None:
            np.matmul(patches.gather(x[block]), matrices, out=_by_group(out[block], geometry.groups))

        return process

    threads.run(blocks, make_worker, work)
    return out


def input_gradient(y: Any, filters: Any, image: Pair, geometry: Geometry) -> Any:
    """Return the derivative of T with respect to images of this size: ``y`` distributed to the positions it came from.

    With stride 1 it is a convolution of ``y`` with each filter rotated by 180 degrees, and with channels and filters
    exchanged.
    """
    if geometry.stride == (1, 1):
        return convolve(y, _turned(filters, geometry.groups), _reversed(geometry, filters.shape, y.shape, image))
    return _scatter(y, filters, image, geometry)


def _turned(filters: Any, groups: int) -> Any:
    height, width, channels, count = filters.shape
    by_group = filters[::-1, ::-1].reshape(height, width, channels, groups, count // groups)
    return by_group.transpose(0, 1, 4, 3, 2).reshape(height, width, count // groups, groups * channels)


def _reversed(geometry: Geometry, filters: Any, y: Any, image: Pair) -> Geometry:
    """Return the geometry of the convolution, with stride 1, that undoes the positions of another."""
    padding = []
    for axis in (0, 1):
        reach = geometry.dilation[axis] * (filters[axis] - 1)
        before = reach - geometry.padding[axis][0]
        padding.append((before, image[axis] - y[1 + axis] + reach - before))
    return Geometry(geometry.stride, (padding[0], padding[1]), geometry.dilation, geometry.groups)


def _scatter(y: Any, filters: Any, image: Pair, geometry: Geometry) -> Any:
    """Return the gradient of the input for any stride: one product, and one addition, for each element of a window."""
    n, *output, count = y.shape
    height, width, channels, _ = filters.shape
    groups, dtype = geometry.groups, np.result_type(y, filters)
    if depthwise.applies(channels, count, geometry):
        return depthwise.input_gradient(y.astype(dtype, copy=False), filters.astype(dtype), image, geometry)
    out = np.zeros((n, *image, groups * channels), dtype)
    if not out.size or not y.size or not filters.size:
        return out
    work = y.size * height * width * channels
    blocks, size = _blocks(n, output[0] * output[1], 2 * (count + groups * channels), dtype.itemsize, work)
    # Of the shape (height, width, groups, filters / groups, channels / groups).
    matrices = filters.astype(dtype).reshape(height, width, channels, groups, -1).transpose(0, 1, 3, 4, 2)
    matrices = np.ascontiguousarray(matrices)

    def make_worker() -> Any:
        padded = PaddedSums(size, image, groups * channels, geometry, dtype)
        terms = np.empty((size, *output, groups * channels), dtype)

        def process(block: slice) -> None:
            own, part = _by_group(np.ascontiguousarray(y[block]), groups), terms[: len(y[block])]

            def term(a: int, b: int) -> Any:
                np.matmul(own, matrices[a, b], out=_by_group(part, groups))
                return part

            out[block] = padded.add_terms(term, len(part), (height, width), (output[0], output[1]))

        return process

    threads.run(blocks, make_worker, work)
    return out


def filter_gradient(x: Any, y: Any, window: Pair, geometry: Geometry) -> Any:
    """Return the derivative of T with respect to filters of this height and width."""
    n, *image = x.shape
    count, groups = y.shape[-1], geometry.groups
    channels, per_group = image[2] // groups, count // groups
    dtype = np.result_type(x, y)
    rows = window[0] * window[1] * channels
    if winograd.applies(window, channels, count, n, (y.shape[1], y.shape[2]), geometry, dtype):
        return winograd.filter_gradient(x.astype(dtype, copy=False), y.astype(dtype, copy=False), geometry)
    if depthwise.applies(channels, count, geometry):
        return depthwise.filter_gradient(x.astype(dtype, copy=False), y.astype(dtype, copy=False), window, geometry)
    if not x.size or not y.size:
        return np.zeros((*window, channels, count), dtype)
    blocks, size = _blocks(n, y.shape[1] * y.shape[2], rows * groups, dtype.itemsize, y.size * rows)
    y = np.ascontiguousarray(y, dtype)

    def make_writer() -> Any:
        patches = _Patches(size, image, window, geometry, dtype)
        return lambda block, out: np.matmul(
            patches.gather(x[block]).swapaxes(1, 2), _by_group(y[block], groups), out=out
        )

    sums = partial_sums(blocks, make_writer, (groups, rows, per_group), dtype, y.size * rows)
    return _add_parts(sums).reshape(*window, channels, count)


def _add_parts(parts: Any) -> Any:
    """Return the sum of arrays of shape (groups, rows, filters / groups), in their order, as (rows, filters)."""
    _, groups, rows, per_group = parts.shape
    total = np.empty((rows, groups, per_group), parts.dtype)  # not a view: the parts are many times as large
    by_row = parts.transpose(0, 2, 1, 3)

    def process(block: slice) -> None:
        own = total[block]
        np.copyto(own, by_row[0, block])
        for part in by_row[1:]:
            own += part[block]

    threads.run(threads.split(rows, _ADDED_ROWS), lambda: process, parts.size)
    return total
