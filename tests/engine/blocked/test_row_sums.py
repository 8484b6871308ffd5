"""Sums over leading axes, or the last, are NumPy's up to rounding, for all shapes, layouts and types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar.engine.blocked import row_sums


@given(
    rows=st.sampled_from([1, 63, 64, 1000, 1025]),
    shape=st.sampled_from([(16, 1), (16, 3), (16, 16), (3, 5, 7), (16, 300)]),
    layout=st.sampled_from(["C", "F", "every other row"]),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    leading=st.booleans(),
    keepdims=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_over_leading_axes_or_the_last_are_numpys(rows, shape, layout, dtype, leading, keepdims, seed):
    x = (np.random.default_rng(seed).standard_normal((rows, *shape)) * 10).astype(dtype)
    x = np.repeat(x, 2, axis=0)[::2] if layout == "every other row" else np.array(x, order=layout)
    axes = tuple(range(x.ndim - 1)) if leading else (x.ndim - 1,)
    found = tg.sum(x, axes, keepdims)
    wanted = np.sum(x, axis=axes, keepdims=keepdims)
    bound = (
        0
        if dtype is np.int64
        else max(rows, 300) * np.finfo(dtype).eps * np.sum(np.abs(x), axis=axes, keepdims=keepdims)
    )
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert (np.abs(found - wanted) <= bound).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_error_of_a_long_sum_is_that_of_a_short_one(dtype):
    """NumPy adds one row after the other, and its error grows with their number."""
    x = np.random.default_rng(0).uniform(0.5, 1, (100_000, 10)).astype(dtype)
    exact = x.astype(np.longdouble).sum(axis=0)
    error = np.abs(row_sums.sum_leading(x, 1) - exact) / exact
    assert error.max() <= 20 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_error_of_a_sum_along_the_last_axis(dtype):
    x = np.random.default_rng(0).uniform(0.5, 1, (100, 256)).astype(dtype)
    exact = x.astype(np.longdouble).sum(axis=1)
    error = np.abs(row_sums.sum_last(x) - exact) / exact
    assert error.max() <= 20 * np.finfo(dtype).eps


def test_gradient_of_a_bias_is_a_sum_of_that_kind():
    g = np.random.default_rng(0).uniform(0.5, 1, (4, 50, 100, 3)).astype(np.float32)
    bias = tg.Tensor(np.zeros(3), requires_grad=True, dtype=np.float32)
    found = tg.grad(np.zeros_like(g) + bias, bias, g).data
    np.testing.assert_array_equal(found, row_sums.sum_leading(g, 3))
    np.testing.assert_allclose(found, g.sum(axis=(0, 1, 2), dtype=float), rtol=1e-6)
