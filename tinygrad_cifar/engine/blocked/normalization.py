"""Means and variances of the channels of an array, and the normalisation by them, block by block.

The channels are the last axis; an array is taken as a matrix with one row per position. The variance is computed from
deviations from the mean, which the blocks combine by the formula of Chan, Golub and LeVeque (1979), so that it is
accurate in one pass over the memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import memory, threads
from tinygrad_cifar.engine.blocked.row_sums import sum_leading

_BLOCK_BYTES = 262_144


def channel_statistics(x: Any) -> Any:
    """Return the means and the variances of the channels, as an array of shape (2, channels)."""
    rows = _as_rows(x)
    blocks = _blocks(rows)
    parts = np.empty((len(blocks), 2, rows.shape[1]), x.dtype)

    def process(place: int) -> None:
        block = rows[blocks[place]]
        deviation = block - block[0]  # a sum of small numbers has a small rounding error
        mean = sum_leading(deviation, 1) / len(block)
        deviation -= mean
        deviation *= deviation
        parts[place] = block[0] + mean, sum_leading(deviation, 1)

    threads.run(range(len(blocks)), lambda: process, 4 * x.size)
    (mean, squares), count = parts[0].copy(), blocks[0].stop
    for (block_mean, block_squares), block in zip(parts[1:], blocks[1:], strict=True):
        added = block.stop - block.start
        difference = block_mean - mean
        mean += difference * (added / (count + added))
        squares += block_squares + difference * difference * (count * added / (count + added))
        count += added
    return np.stack([mean, squares / count])


def normalize(x: Any, mean: Any, factor: Any, bias: Any) -> Any:
    """Return ``(x - mean) * factor + bias``, with one number per channel."""
    rows, out = _as_rows(x), memory.empty(x.shape, x.dtype)
    results = _as_rows(out)

    def process(block: slice) -> None:
        target = results[block]
        np.subtract(rows[block], mean, out=target)
        target *= factor
        target += bias

    threads.run(_blocks(rows), lambda: process, 4 * x.size)
    return out


def channel_sums(g: Any, x: Any = None, mean: Any = None) -> tuple[Any, Any]:
    """Return the sums of ``g``, and of ``g * (x - mean)``, over each channel; None for the second without ``x``."""
    rows = _as_rows(g)
    others = None if x is None else _as_rows(x)
    blocks = _blocks(rows)
    parts = np.empty((len(blocks), 2, rows.shape[1]), g.dtype)

    def process(place: int) -> None:
        block = rows[blocks[place]]
        parts[place, 0] = sum_leading(block, 1)
        if others is not None:
            deviation = others[blocks[place]] - mean
            deviation *= block
            parts[place, 1] = sum_leading(deviation, 1)

    threads.run(range(len(blocks)), lambda: process, 4 * g.size)
    return np.add.reduce(parts[:, 0], axis=0), None if x is None else np.add.reduce(parts[:, 1], axis=0)


def combine(g: Any, x: Any, mean: Any, factors: tuple[Any, Any, Any]) -> Any:
    """Return ``a * g + b * (x - mean) + c`` for the factors (a, b, c), with one number per channel each."""
    own, others, out = _as_rows(g), _as_rows(x), memory.empty(g.shape, g.dtype)
    results = _as_rows(out)
    a, b, c = factors

    def process(block: slice) -> None:
        target = results[block]
        np.subtract(others[block], mean, out=target)
        target *= b
        target += own[block] * a
        target += c

    threads.run(_blocks(own), lambda: process, 4 * g.size)
    return out


def _as_rows(x: Any) -> Any:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _blocks(rows: Any) -> list[slice]:
    return threads.split(len(rows), max(1, _BLOCK_BYTES // max(1, rows[:1].nbytes)))
