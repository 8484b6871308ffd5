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


parts = st.one_of(
    st.just(...),
    st.integers(-4, 3),
    st.builds(slice, st.integers(0, 3), st.integers(0, 4)),
    st.lists(st.integers(-4, 3), min_size=1, max_size=6).map(np.array),
    st.tuples(st.lists(st.integers(0, 3), min_size=3, max_size=3).map(np.array), st.just(np.array([0, 1, 1]))),
)


@given(st.lists(parts, min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_the_cotangents_of_parts_are_added_in_their_order(indices, seed):
    rng = np.random.default_rng(seed)
    x = tg.Tensor(rng.normal(size=(4, 2)), requires_grad=True)
    cotangents = [rng.normal(size=x.data[index].shape) for index in indices]
    taken = [x * 1 if index is ... else x[index] for index in indices]  # the last one is differentiated first
    for out, g in zip(taken, cotangents, strict=True):
        out.register_hook(lambda _, g=g: tg.Tensor(g))
    expected = np.zeros(x.shape)
    for index, g in zip(reversed(indices), reversed(cotangents), strict=True):
        np.add.at(expected, index, g)
    total = sum(out.sum() for out in taken)
    (gradient,) = tg.grad(total, [x], retain_graph=True)
    np.testing.assert_array_equal(gradient.data, expected)
    with tg.trace_nonfinite():
        watched = tg.grad(total, x, retain_graph=True)
    np.testing.assert_array_equal(watched.data, expected)


@given(st.lists(parts, min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_second_derivatives_of_parts_are_those_of_the_whole(indices, seed):
    x = tg.Tensor(np.random.default_rng(seed).normal(size=(4, 2)), requires_grad=True)
    cubes = sum((x[index] ** 3).sum() for index in indices)
    gradient = tg.grad(cubes, x, create_graph=True)
    count = np.zeros(x.shape)
    for index in indices:
        np.add.at(count, index, 1)
    np.testing.assert_allclose(gradient.data, 3 * count * x.data**2, rtol=1e-14)
    second = tg.grad((gradient**2).sum(), x)
    np.testing.assert_allclose(second.data, 36 * count**2 * x.data**3, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i4"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_index_of_any_integer_type_chooses_rows(dtype, count):
    x = tg.Tensor(np.arange(120 * 40.0).reshape(120, 40), requires_grad=True)
    index = np.array([0, 119, 100, 119]).astype(dtype)
    taken = [x[index] for _ in range(count)]
    np.testing.assert_array_equal(taken[0].data, x.data[index])
    sum(part.sum() for part in taken).backward()
    np.testing.assert_array_equal(x.grad.data[:, 0], count * np.bincount(index.astype(int), minlength=120))


@pytest.mark.parametrize("index", [np.array([0]), [0], np.array(0)], ids=["array", "list", "scalar"])
def test_a_number_cannot_be_indexed_by_an_array(index):
    with pytest.raises(IndexError, match="too many indices"):
        tg.Tensor(3.0, requires_grad=True)[index]


def test_an_empty_array_of_floating_point_numbers_is_refused_as_an_index():
    t = tg.Tensor(np.zeros((3, 2)), requires_grad=True)
    assert t[[]].shape == (0, 2)
    with pytest.raises(IndexError, match="float64"):
        t[np.zeros(0)]


def test_shapes_that_cannot_be_joined_are_named():
    with pytest.raises(ValueError, match=r"shapes must be equal except along axis 0; got \[\(2,\), \(3, 2\)\]"):
        tg.concatenate([tg.Tensor(np.zeros((3, 2))), tg.Tensor(np.zeros(2))])
