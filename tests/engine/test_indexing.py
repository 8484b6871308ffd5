"""Indexing and index_update: repeated indices, and the order of assignments."""

from __future__ import annotations

from array import array
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg


@pytest.mark.parametrize("many", [tuple, list, np.array, partial(array, "i")], ids=["tuple", "list", "array", "buffer"])
def test_repeated_index_accumulates_for_every_sequence_type(many):
    x = tg.Tensor(np.arange(3.0), requires_grad=True)
    x[many([0, 0, 2]),].sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2, 0, 1])


def test_index_update_promotes_integers():
    value = tg.Tensor(2.7, requires_grad=True)
    out = tg.index_update(tg.Tensor([1, 2, 3]), 0, value)
    np.testing.assert_array_equal(out.data, [2.7, 2, 3])


@pytest.mark.parametrize("lay_out_index", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("lay_out_value", [np.ascontiguousarray, np.asfortranarray])
@given(st.integers(0, 2**32 - 1))
def test_last_of_several_values_for_one_index_stays_in_every_layout(lay_out_index, lay_out_value, seed):
    rng = np.random.default_rng(seed)
    index, value = rng.integers(0, 3, (2, 3)), rng.normal(size=(2, 3))
    last = {place: k for k, place in enumerate(index.ravel().tolist())}
    x = tg.Tensor(lay_out_value(value), requires_grad=True)
    out = tg.index_update(tg.Tensor(np.zeros(3)), lay_out_index(index), x)
    assert out.data.tolist() == [value.ravel()[last[place]] if place in last else 0 for place in range(3)]
    np.testing.assert_array_equal(np.flatnonzero(tg.grad(out.sum(), x).data.ravel()), sorted(last.values()))
