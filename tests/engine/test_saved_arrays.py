"""Arrays that tensors and graphs share with the caller: no later change reaches a saved array."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, grad
from tinygrad_cifar.engine.primitives import variadic_primitive

# -- changes between forward and backward ------------------------------------------------------------------------------

HOLDERS = {
    "an operation": lambda p: (p * p, lambda y: grad(y.sum(), p)),
    "a matrix product": lambda p: (p @ p, lambda y: grad(y, p)),
    "a view": lambda p: ((v := p[::-1]) * v, lambda y: grad(y.sum(), p)),
    "a reshaped view": lambda p: ((v := p.reshape(2, 1)) * v, lambda y: grad(y.sum(), p)),
    "a transposed view": lambda p: (p.reshape(1, 2).T * p, lambda y: grad(y.sum(), p)),
    "an einsum": lambda p: (tg.einsum("i,i->i", p, p), lambda y: grad(y.sum(), p)),
    "only the result": lambda p: (tg.exp(p), lambda y: grad(y.sum(), p)),
}


CHANGES = {
    "overwrite()": lambda p: p.overwrite(lambda array: array.fill(100.0)),
    "data =": lambda p: setattr(p, "data", np.full(2, 100.0)),
    "an optimiser's step": lambda p: p.overwrite(lambda array: np.subtract(array, 7.0, out=array)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_gradient_is_correct_if_a_parameter_changes_before_backward(hold, change):
    p, unchanged = variable([2.0, 3.0]), variable([2.0, 3.0])
    y, differentiate = hold(p)
    change(p)
    expected, differentiate_unchanged = hold(unchanged)
    assert differentiate(y).data.tolist() == differentiate_unchanged(expected).data.tolist()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "share",
    [lambda p: p.detach(), lambda p: p.data, lambda p: p.reshape(2, 1), lambda p: p.T, lambda p: p[1:], np.asarray],
    ids=["detach", "data", "reshape", "T", "slice", "asarray"],
)
def test_views_taken_before_a_change_keep_the_old_values(share, change):
    p = Tensor([2.0, 3.0])
    taken = share(p)
    before = np.array(taken).tolist()
    change(p)
    assert np.array(taken).tolist() == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_is_visible_in_the_tensor_only(change):
    p = variable([2.0, 3.0])
    before = p.numpy()
    y = p * p
    change(p)
    assert np.all(p.data != before)
    assert y.data.tolist() == [4.0, 9.0]


def test_unshared_array_is_not_copied():
    p = variable([2.0, 3.0])
    addresses = []
    p.overwrite(lambda array: addresses.append(array.ctypes.data))
    (p * p).sum().backward()  # the graph holds it until it is freed
    p.overwrite(lambda array: addresses.append(array.ctypes.data))
    assert addresses[0] == addresses[1]


def test_tensor_copies_the_array_it_is_made_from():
    array = np.ones(2)
    t = variable(array)
    array[...] = 5
    assert t.data.tolist() == [1.0, 1.0]


def test_assignment_to_data_copies_the_array():
    array = np.ones(2)
    t = variable([0.0, 0.0])
    t.data = array
    array[...] = 5
    assert t.data.tolist() == [1.0, 1.0]


def test_array_argument_of_a_variadic_primitive_is_copied():
    weighted = variadic_primitive(
        "of_test_engine_weighted",
        lambda xs, weights: sum(x * w for x, w in zip(xs, weights, strict=True)),
        lambda g, i, weights: g * weights[i],
    )
    x, y, weights = variable([1.0]), variable([1.0]), np.array([2.0, 3.0])
    total = weighted((x, y), weights)
    weights[...] = 7
    assert [g.item() for g in grad(total, (x, y))] == [2.0, 3.0]


def test_index_array_is_copied():
    x, index = variable([1.0, 2.0]), np.array([0, 0])
    y = x[index]
    index[...] = 1
    assert grad(y.sum(), x).data.tolist() == [2.0, 0.0]


CONSTANTS = {
    "multiply": lambda x, array: x * array,
    "divide": lambda x, array: x / array,
    "from the left": lambda x, array: array / x,
    "power": lambda x, array: x**array,
    "matmul": lambda x, array: x @ array,
    "maximum": tg.maximum,
    "where": lambda x, array: tg.where(array > 2, x, 0.0),
    "where's condition": lambda x, array: tg.where(array, x, 0.0),
    "clip": lambda x, array: tg.clip(x, array, None),
    "einsum": lambda x, array: tg.einsum("i,i->i", x, array),
    "index": lambda x, array: x[array],
    "take_along_axis": lambda x, array: tg.take_along_axis(x, array, 0),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_gradient_is_correct_if_a_constant_array_changes_before_backward(name):
    kind = int if name in ("index", "take_along_axis") else bool if "condition" in name else float
    x, array = variable([2.0, 3.0]), np.array([1, 0] if kind is not float else [1.5, 4.0], dtype=kind)
    y = CONSTANTS[name](x, array)
    expected = grad(CONSTANTS[name](x, array.copy()).sum(), x)
    array[...] = 1 - array
    assert grad(y.sum(), x).data.tolist() == expected.data.tolist()


def test_data_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        variable([1.0]).data[0] = 5


def test_numpy_returns_a_writable_copy():
    x = variable([1.0])
    x.numpy()[0] = 5
    assert x.data.tolist() == [1.0]


def _reshape_in_place(array):
    array.shape = (2, 2)


def _reinterpret_in_place(array):
    array.dtype = np.int64


@pytest.mark.parametrize("change", [_reshape_in_place, _reinterpret_in_place])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_place_changes_of_shape_or_dtype_do_not_affect_the_tensor(change):
    mine = np.arange(4.0)
    t, p = tg.from_numpy(mine), variable([1.0, 2.0, 3.0, 4.0])
    change(mine)
    p.overwrite(change)
    assert (t.shape, t.dtype, p.shape, p.dtype) == ((4,), np.float64, (4,), np.float64)
