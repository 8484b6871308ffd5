"""Computations in blocks: equal to those of single images, and to NumPy's of the whole array."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.blocked import convolution, depthwise

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(150, 12, 11, 8))
FILTERS = RNG.normal(size=(3, 3, 8, 16))

OPERATIONS = {
    "conv2d": lambda x, w: tg.conv2d(x, w, padding=1),
    "conv2d with a stride": lambda x, w: tg.conv2d(x, w, stride=(2, 1), padding=((1, 0), (0, 2))),
    "conv2d with groups": lambda x, w: tg.conv2d(x, w[:, :, :4], groups=2),
    "conv2d, depthwise": lambda x, w: tg.conv2d(x, w[:, :, :1, :8], padding=((1, 0), (0, 2)), groups=8),
    "conv2d, depthwise with a stride": lambda x, w: tg.conv2d(x, w[:, :, :1, :8], stride=(2, 1), padding=1, groups=8),
    "max_pool2d": lambda x, w: tg.max_pool2d(x, 3, stride=2) * w.sum(),
    "max_pool2d without overlap": lambda x, w: tg.max_pool2d(x, 3) * w.sum(),
    "avg_pool2d": lambda x, w: tg.avg_pool2d(x, (2, 3), padding=1) * w.sum(),
    "gelu": lambda x, w: tg.gelu(x, "tanh") * w.sum(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_batch_is_computed_as_its_images_are(name):
    x, w = Tensor(IMAGES, requires_grad=True), Tensor(FILTERS, requires_grad=True)
    out = OPERATIONS[name](x, w)
    g = np.cos(np.arange(out.size)).reshape(out.shape)
    out.backward(g)
    of_filters = np.zeros(FILTERS.shape)
    for i in range(len(IMAGES)):
        image, same = Tensor(IMAGES[i : i + 1], requires_grad=True), Tensor(FILTERS, requires_grad=True)
        alone = OPERATIONS[name](image, same)
        alone.backward(g[i : i + 1])
        np.testing.assert_allclose(out.data[i], alone.data[0], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(x.grad.data[i], image.grad.data[0], rtol=1e-10, atol=1e-9)
        of_filters += same.grad.data
    np.testing.assert_allclose(w.grad.data, of_filters, rtol=1e-9, atol=1e-8)


def test_the_gradient_of_filters_is_the_sum_over_many_blocks(monkeypatch):
    x, g = IMAGES, np.cos(np.arange(150 * 12 * 11 * 16)).reshape(150, 12, 11, 16)
    w = Tensor(FILTERS, requires_grad=True)
    whole = tg.grad(tg.conv2d(x, w, padding=1), w, gradient=g).data
    monkeypatch.setattr(convolution, "_PATCH_BYTES", 1)  # one image or a few in each block
    np.testing.assert_allclose(tg.grad(tg.conv2d(x, w, padding=1), w, gradient=g).data, whole, rtol=1e-9, atol=1e-9)


def test_the_statistics_of_many_blocks_are_those_of_the_whole():
    x = RNG.normal(size=(40_000, 8)) * np.arange(1, 9) + 1000  # a large mean, which a sum of squares would lose
    scale, bias = RNG.normal(size=8), RNG.normal(size=8)
    leaves = [Tensor(array, requires_grad=True) for array in (x, scale, bias)]
    out = tg.batch_norm(*leaves, epsilon=0.25)
    factor = 1 / np.sqrt(x.var(axis=0) + 0.25)
    z = (x - x.mean(axis=0)) * factor
    np.testing.assert_allclose(out.data, z * scale + bias, rtol=1e-10, atol=1e-10)
    g = np.cos(np.arange(x.size)).reshape(x.shape)
    out.backward(g)
    expected = scale * factor * (g - g.mean(axis=0) - z * (g * z).mean(axis=0))
    np.testing.assert_allclose(leaves[0].grad.data, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(leaves[1].grad.data, (g * z).sum(axis=0), rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(leaves[2].grad.data, g.sum(axis=0), rtol=1e-9, atol=1e-8)


def test_a_large_mean_does_not_spoil_float32():
    x = (RNG.normal(size=(20_000, 3)) + 1000).astype(np.float32)
    out = tg.batch_norm(x, np.ones(3, np.float32), np.zeros(3, np.float32), epsilon=0.0)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(out, (wide - wide.mean(axis=0)) / wide.std(axis=0), atol=2e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"stride": (2, 3), "padding": ((1, 0), (0, 2))}, {"dilation": (2, 1)}],
    ids=["padding", "stride", "dilation"],
)
@pytest.mark.parametrize("block_bytes", [1, 2**20], ids=["blocks of one image", "large blocks"])
def test_a_depthwise_convolution_is_a_convolution_with_filters_that_are_0_between_channels(
    options, dtype, block_bytes, monkeypatch
):
    monkeypatch.setattr(depthwise, "_BLOCK_BYTES", block_bytes)
    x, w = IMAGES.astype(dtype), FILTERS[:, :, :1, :8].astype(dtype)
    leaves, full = [Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)], Tensor(w * np.eye(8, dtype=dtype))
    out, expected = tg.conv2d(*leaves, groups=8, **options), tg.conv2d(x, full, **options)
    tolerance = {np.float64: 1e-12, np.float32: 1e-4}[dtype]
    np.testing.assert_allclose(out.data, expected.data, rtol=tolerance, atol=tolerance)
    g = np.cos(np.arange(out.size)).reshape(out.shape).astype(dtype)
    same = [Tensor(x, requires_grad=True), Tensor(full.data, requires_grad=True)]
    of_x, of_w = tg.grad(out, leaves, g)
    expected_x, expected_w = tg.grad(tg.conv2d(*same, **options), same, g)
    np.testing.assert_allclose(of_x.data, expected_x.data, rtol=tolerance, atol=10 * tolerance)
    diagonal = np.einsum("abcc->abc", expected_w.data)[:, :, None]
    np.testing.assert_allclose(of_w.data, diagonal, rtol=tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("padding", [((1, 0), (0, 1)), ((0, 1), (1, 0)), 1])
def test_padding_is_not_the_maximum_of_a_window_of_infinities(padding):
    x = Tensor(np.full((2, 4, 4, 3), -np.inf), requires_grad=True)
    out = tg.max_pool2d(x, 2, stride=2, padding=padding)
    out.backward(np.ones(out.shape))
    assert x.grad.data.sum() == out.size
