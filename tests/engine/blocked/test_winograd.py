"""Winograd's convolutions: those of float64, which are computed directly, up to the rounding of float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.blocked import partial_sums, winograd
from tinygrad_cifar.testing.strategies import seeds

CHANNELS = COUNT = 128  # enough of them that float32 is computed in this way
EPS = np.finfo(np.float32).eps

paddings = st.one_of(st.sampled_from(["same", "valid", 2]), st.tuples(*[st.tuples(*[st.integers(0, 3)] * 2)] * 2))


@pytest.fixture(scope="module")
def counted():
    """Count the convolutions and the gradients of filters that are computed in this way."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("convolve", "filter_gradient"):
            function = getattr(winograd, name)
            patch.setattr(winograd, name, lambda *a, f=function, n=name: (calls.append(n), f(*a))[1])
        yield calls


def draw(seed, shape):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(32, *shape, CHANNELS))
    return x.astype(np.float32), (rng.normal(size=(3, 3, CHANNELS, COUNT)) / 32).astype(np.float32)


def results(x, w, padding, g=None):
    """Return a convolution and the gradients of its input and of its filters."""
    leaves = [Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)]
    out = tg.conv2d(*leaves, padding=padding)
    g = np.cos(np.arange(out.size)).reshape(out.shape) if g is None else g
    return [out.data, *[found.data for found in tg.grad(out, leaves, g.astype(x.dtype))]]


@given(height=st.integers(8, 9), width=st.integers(8, 9), padding=paddings, seed=seeds)
def test_results_differ_from_those_of_float64_by_rounding(counted, height, width, padding, seed):
    counted.clear()
    x, w = draw(seed, (height, width))
    found = results(x, w, padding)
    assert counted == ["convolve", "convolve", "filter_gradient"]
    for own, exact in zip(found, results(x.astype(float), w.astype(float), padding), strict=True):
        assert own.dtype == np.float32
        assert np.abs(own - exact).max() <= 16 * EPS * np.abs(exact).max()  # the direct product reaches 8
    assert len(counted) == 3  # float64 is computed directly


def test_the_gradient_of_filters_is_the_sum_over_many_blocks(monkeypatch):
    x, w = draw(0, (9, 8))
    expected = results(x, w, "same")[2]
    monkeypatch.setattr(winograd, "_BLOCK_BYTES", 1)  # one image in each block
    monkeypatch.setattr(partial_sums, "_MOST", 3)
    np.testing.assert_allclose(results(x, w, "same")[2], expected, atol=16 * EPS * np.abs(expected).max())


def test_the_transforms_are_exact_for_small_integers():
    rng = np.random.default_rng(0)
    x, w = draw(0, (9, 8))
    x, w = rng.integers(-3, 4, x.shape).astype(np.float32), rng.integers(-2, 3, w.shape).astype(np.float32) * 4
    g = rng.integers(-3, 4, (*x.shape[:3], COUNT)).astype(np.float32)
    for own, exact in zip(results(x, w, "same", g), results(x.astype(float), w.astype(float), "same", g), strict=True):
        np.testing.assert_array_equal(own, exact)


@pytest.mark.parametrize(
    "changed",
    [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"window": 2}, {"channels": 32}, {"size": 6}, {"images": 3}],
    ids=str,
)
def test_other_convolutions_are_computed_directly(counted, changed):
    sizes = {"images": 64, "size": 8, "channels": 128, "window": 3} | changed
    counted.clear()
    settings = {name: sizes.pop(name) for name in ("stride", "dilation", "groups") if name in sizes}
    x = np.ones((sizes["images"], sizes["size"], sizes["size"], sizes["channels"]), np.float32)
    w = np.ones((sizes["window"],) * 2 + (sizes["channels"] // settings.get("groups", 1), 128), np.float32)
    tg.conv2d(x, w, **settings)
    assert counted == []
