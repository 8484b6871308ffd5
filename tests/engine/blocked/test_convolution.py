"""Convolutions in blocks: the partial sums of the gradient of the filters."""

from __future__ import annotations

import tracemalloc

import numpy as np

import tinygrad_cifar as tg


def _images_and_filters() -> tuple[tg.Tensor, tg.Tensor]:
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.standard_normal((16, 32, 32, 64), np.float32))  # in eight blocks
    return x, tg.Tensor(rng.standard_normal((3, 3, 64, 64), np.float32), requires_grad=True)


def test_the_gradient_of_filters_keeps_no_memory_but_its_own() -> None:
    x, filters = _images_and_filters()
    y = tg.conv2d(x, filters, padding=1)
    tracemalloc.start()
    y.backward(np.ones(y.shape, np.float32))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1.5 * filters.data.nbytes


def test_the_gradient_of_filters_is_the_sum_over_all_blocks() -> None:
    x, filters = _images_and_filters()
    whole = tg.conv2d(x, filters, padding=1)
    g = np.random.default_rng(1).standard_normal(whole.shape, np.float32)
    whole.backward(g)
    padded = np.pad(x.data.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for a, b in np.ndindex(3, 3):
        expected = np.tensordot(padded[:, a : a + 32, b : b + 32], g.astype(np.float64), ((0, 1, 2), (0, 1, 2)))
        np.testing.assert_allclose(np.asarray(filters.grad)[a, b], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
