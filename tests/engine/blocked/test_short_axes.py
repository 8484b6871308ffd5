"""Reductions over short axes are NumPy's, for all shapes, memory layouts and special values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_cifar as tg
from tinygrad_cifar.engine.blocked import short_axes


@pytest.fixture(autouse=True)
def _from_few_results_on(monkeypatch):
    """Take slices of small arrays as well."""
    monkeypatch.setattr(short_axes, "_FEWEST", 2)


@st.composite
def arrays_and_axes(draw):
    shape = draw(npst.array_shapes(min_dims=1, max_dims=5, max_side=4))
    axes = draw(npst.valid_tuple_axes(len(shape), min_size=1))
    values = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])
    x = draw(npst.arrays(draw(st.sampled_from([np.float32, np.float64])), shape, elements=values))
    axes = tuple(axis % len(shape) for axis in axes)
    return x.transpose(draw(st.permutations(range(len(shape))))), axes


@given(arrays_and_axes(), st.sampled_from([np.maximum, np.minimum]), st.booleans())
def test_extremes_are_numpys(drawn, ufunc, keepdims):
    x, axes = drawn
    before = x.copy()
    found = short_axes.reduce(ufunc, x, axes, keepdims)
    np.testing.assert_array_equal(found, ufunc.reduce(x, axis=axes, keepdims=keepdims), strict=True)
    np.testing.assert_array_equal(x, before)


def _shared_equally(g, x, axes):
    """Return the cotangent of x, one group of elements after the other."""
    out = np.zeros(x.shape)
    kept = [i for i in range(x.ndim) if i not in axes]
    order = [*kept, *axes]
    moved_out, moved_x, moved_g = out.transpose(order), x.transpose(order), g.transpose(order)
    for at in np.ndindex(tuple(x.shape[i] for i in kept)):
        group = moved_x[at]
        ties = group == group.max()
        if ties.any():
            moved_out[at][ties] = moved_g[at].ravel()[0] / ties.sum()
    return out


@given(arrays_and_axes())
def test_ties_of_a_maximum_share_the_cotangent_equally(drawn):
    """Also where as many elements are NaN as others are tied, so that there are as many hits as results."""
    x, axes = drawn
    t = tg.Tensor(x, requires_grad=True, dtype=x.dtype)
    out = tg.max(t, axes, keepdims=True)
    g = np.arange(1.0, out.data.size + 1).reshape(out.shape).astype(x.dtype)
    found = tg.grad(out, t, g).data
    np.testing.assert_allclose(found, _shared_equally(g, x, axes), rtol=1e-6)


def test_a_nan_beside_a_tie_does_not_hide_it():
    t = tg.Tensor([[np.nan, 1.0], [2.0, 2.0]], requires_grad=True)
    tg.max(t, axis=1).backward(np.ones(2))
    np.testing.assert_array_equal(t.grad.data, [[0, 0], [0.5, 0.5]])
