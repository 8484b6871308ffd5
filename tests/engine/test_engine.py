"""The walk, the graph and the tensor: sums over paths, memory, state, errors; whatever does not depend on one rule."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import threading
import tracemalloc
import weakref
from array import array
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor, from_numpy, grad, is_recording, no_grad
from tinygrad_cifar.engine.gradcheck import check_gradients
from tinygrad_cifar.engine.primitives import variadic_primitive


def variable(data, dtype=float):
    return Tensor(data, requires_grad=True, dtype=dtype)


def gradient_of(function, *points):
    """Return the gradients that backward() deposits."""
    leaves = [variable(point) for point in points]
    function(*leaves).backward()
    gradients = [leaf.grad.numpy().tolist() for leaf in leaves]
    return gradients[0] if len(points) == 1 else gradients


# -- sums over paths -------------------------------------------------------------------------------------------------


def test_three_uses_of_one_tensor_give_three():
    assert gradient_of(lambda x: ((x + x) + x).sum(), [1.0, 2.0]) == [3.0, 3.0]


@given(st.lists(st.sampled_from(["double", "add the leaf", "negate"]), max_size=12))
def test_programs_of_one_variable(steps):
    """Each step has a slope that is known exactly, whatever the paths."""
    x = variable(1.0)
    y, slope = x, 1.0
    for step in steps:
        if step == "double":
            y, slope = y + y, 2 * slope
        elif step == "add the leaf":
            y, slope = y + x, slope + 1
        else:
            y, slope = -y, -slope
    assert grad(y, x).item() == slope


def test_a_diamond_with_2_to_the_60_paths_is_exact():
    x = variable(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_a_diamond_whose_arms_have_different_lengths():
    def f(x):
        arm = x
        for _ in range(50):
            arm = arm * 1.0
        return (arm * x + x).sum()

    assert gradient_of(f, [3.0]) == [7.0]


def test_a_value_used_long_after_it_was_made_waits_for_its_last_consumer():
    x = variable(2.0)
    h = x * x
    y = h
    for _ in range(5):
        y = y * h
    assert grad(y, x).item() == 12 * 2.0**11


def test_an_index_that_repeats_accumulates():
    assert gradient_of(lambda x: (x[[0, 0, 1]] * [1.0, 10.0, 100.0]).sum(), [5.0, 6.0]) == [11.0, 100.0]


def test_backward_adds_to_what_is_there():
    x = variable([1.0, 2.0])
    for _ in range(3):
        (x * 2).sum().backward()
    assert x.grad.data.tolist() == [6.0, 6.0]


def test_clearing_a_gradient_starts_anew():
    x = variable(1.0)
    (2 * x).backward()
    x.grad = None
    (3 * x).backward()
    assert x.grad.item() == 3


# -- nobody shares a gradient ----------------------------------------------------------------------------------------


def two_leaves_after_a_sum():
    a, b = variable([1.0, 2.0]), variable([3.0, 4.0])
    (a + b).sum().backward()
    return a, b


def test_accumulating_into_one_leaf_leaves_the_other():
    a, b = two_leaves_after_a_sum()
    (a * 5).sum().backward()
    assert (a.grad.data.tolist(), b.grad.data.tolist()) == ([6.0, 6.0], [1.0, 1.0])


def test_writing_to_one_gradient_leaves_the_other():
    a, b = two_leaves_after_a_sum()
    a.grad.overwrite(lambda array: array.fill(0))
    assert b.grad.data.tolist() == [1.0, 1.0]


def test_changing_the_seed_afterwards_changes_no_gradient():
    seed = np.ones(2)
    x = variable([1.0, 2.0])
    (x + 0).backward(gradient=seed)
    seed[...] = 100
    assert x.grad.data.tolist() == [1.0, 1.0]


def test_accumulating_leaves_a_gradient_that_was_read_before():
    x = variable([1.0])
    (x + 0).sum().backward()
    first = x.grad
    (x + 0).sum().backward()
    assert (first.data.tolist(), x.grad.data.tolist()) == ([1.0], [2.0])


# -- size and memory -------------------------------------------------------------------------------------------------


def test_a_chain_of_a_million_operations():
    """Forward, backward, and freed: none of the three may recurse."""
    x = variable(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 1.0
    last = weakref.ref(y)
    y.backward(retain_graph=True)
    assert x.grad.item() == 1
    del y
    assert last() is None


def test_a_chain_that_is_never_walked_is_freed():
    x = variable(1.0)
    y = x
    for _ in range(200_000):
        y = -y
    last = weakref.ref(y)
    del y
    assert last() is None


def train_step(W1, W2, X):
    hidden = tg.relu(X @ W1)
    loss = tg.logsumexp(hidden @ W2) + (W1 * W1).sum()
    loss.backward()
    return loss


def test_memory_after_a_step_is_that_of_the_parameters_and_their_gradients():
    rng = np.random.default_rng(0)
    X = from_numpy(rng.normal(size=(2000, 100)))
    tracemalloc.start()
    try:
        W1, W2 = variable(rng.normal(size=(100, 50))), variable(rng.normal(size=(50, 10)))
        loss = train_step(W1, W2, X)  # alive, but its graph is used up
        parameters = W1.data.nbytes + W2.data.nbytes
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loss.requires_grad
    assert held < 2 * parameters + 20_000
    assert peak > held + 2000 * 50 * 8  # the hidden layer was there, so the measure can see it


def test_a_step_does_not_hold_the_one_before():
    X = from_numpy(np.ones((1000, 100)))
    W1, W2 = variable(np.ones((100, 50))), variable(np.ones((50, 10)))
    train_step(W1, W2, X)
    tracemalloc.start()
    try:
        for _ in range(5):
            train_step(W1, W2, X)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < W1.data.nbytes + W2.data.nbytes + 20_000


def collected_by_the_collector(build):
    """Return how many objects only the cycle collector could free after ``build()``."""
    gc.collect()
    gc.disable()
    try:
        build()
        return gc.collect()
    finally:
        gc.enable()


def forward():
    x = variable(np.ones((3, 3)))
    return x, tg.softmax(tg.relu(x @ x).sum(axis=0) * tg.exp(x)[0]).sum()


def second_derivative():
    x, y = forward()
    grad(grad(y, x, create_graph=True).sum(), x)


def operation_that_fails():
    with pytest.raises(ValueError, match="add"):
        tg.add(variable(np.ones(2)), np.ones(3))


CYCLES = {
    "a graph": forward,
    "a graph that was walked": lambda: forward()[1].backward(),  # noqa: PLW0108 (each call walks a graph of its own)
    "a graph that was kept": lambda: forward()[1].backward(retain_graph=True),
    "a second derivative": second_derivative,
    "an operation that fails": operation_that_fails,
}


@pytest.mark.parametrize("build", CYCLES.values(), ids=CYCLES)
def test_no_reference_cycles(build):
    assert collected_by_the_collector(build) == 0


def test_activations_die_with_the_walk():
    x = variable(np.ones(3))
    hidden = tg.exp(x)
    activation = weakref.ref(hidden.data.base)
    y = (hidden * hidden).sum()
    del hidden
    assert activation() is not None
    y.backward()
    assert activation() is None


def test_what_no_rule_needs_dies_at_once():
    """A sum remembers the shape alone."""
    x = variable(np.ones(3))
    doubled = x + x
    array = weakref.ref(doubled.data.base)
    y = doubled.sum()
    del doubled
    assert array() is None
    assert grad(y, x).data.tolist() == [2, 2, 2]


# -- walking twice ---------------------------------------------------------------------------------------------------


def test_a_second_backward_says_that_the_graph_is_gone():
    y = (variable([1.0]) * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"the graph behind sum has been freed by an earlier backward pass .* retain_graph=True"):
        y.backward()


def test_a_graph_that_was_kept_can_be_walked_again():
    x = variable([1.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.data.tolist() == [4.0]


def test_a_branch_that_was_used_up_before_is_an_error_for_backward():
    x = variable([1.0])
    shared = x * x
    shared.sum().backward()
    with pytest.raises(RuntimeError, match="the graph behind multiply has been freed"):
        (shared * 3).sum().backward()


def test_a_branch_that_was_used_up_before_is_an_error_for_grad():
    """Zero would be a wrong gradient: the result does depend on x."""
    x = variable([1.0])
    shared = x * x
    shared.sum().backward()
    with pytest.raises(RuntimeError, match="the graph behind multiply has been freed"):
        grad((shared * 3).sum(), x)


def test_a_branch_that_was_used_up_and_is_older_than_the_target_is_no_error():
    """It cannot lead to what did not exist yet."""
    shared = variable([2.0]) * 3
    shared.sum().backward()
    x = variable([5.0])
    assert grad((shared * x).sum(), x).data.tolist() == [6.0]


def test_grad_uses_up_what_it_walks_unless_told():
    x = variable([1.0])
    y = (x * x).sum()
    assert grad(y, x, retain_graph=True).data.tolist() == [2.0]
    assert grad(y, x).data.tolist() == [2.0]
    with pytest.raises(RuntimeError, match="has been freed"):
        grad(y, x)


# -- grad() ----------------------------------------------------------------------------------------------------------


def test_grad_leaves_the_deposits_alone():
    x = variable([1.0])
    grad((x * x).sum(), x)
    assert x.grad is None


def test_grad_with_respect_to_a_value_on_the_way():
    x = variable([1.0, 2.0])
    h = x * x
    y = (h * h).sum()
    on_the_way, at_the_leaf = grad(y, (h, x))
    assert on_the_way.data.tolist() == [2.0, 8.0]
    assert at_the_leaf.data.tolist() == [4.0, 32.0]


def test_grad_of_something_with_respect_to_itself():
    x = variable([1.0, 2.0])
    y = x * 3
    assert grad(y, y, [5.0, 7.0]).data.tolist() == [5.0, 7.0]
    assert grad(x, x, [5.0, 7.0]).data.tolist() == [5.0, 7.0]


def test_grad_with_respect_to_something_unrelated_is_zero():
    x, other = variable([1.0]), variable([[1.0, 2.0]], dtype=np.float32)
    zero = grad(x.sum(), other)
    assert (zero.data.tolist(), zero.dtype) == ([[0.0, 0.0]], np.float32)


def test_grad_of_the_same_tensor_twice():
    x = variable(3.0)
    assert [g.item() for g in grad(x * x, [x, x])] == [6.0, 6.0]


def test_only_a_tuple_is_answered_by_a_tuple():
    x = variable(3.0)
    assert isinstance(grad(x * x, x), Tensor)
    assert isinstance(grad(x * x, [x]), tuple)
    assert grad(x * x, []) == ()


@pytest.mark.parametrize("wrt", [Tensor([1.0]), np.ones(1), None], ids=["constant", "array", "None"])
def test_grad_with_respect_to_what_is_not_recorded(wrt):
    x = variable([1.0])
    with pytest.raises(TypeError, match=r"wrt\[1\] must be a tensor that requires a gradient"):
        grad(x.sum(), [x, wrt])


@pytest.mark.parametrize("differentiate", [lambda y: y.backward(), lambda y: grad(y, variable(1.0))])
class TestWhatCannotBeDifferentiated:
    def test_a_constant(self, differentiate):
        with pytest.raises(ValueError, match="does not depend on any tensor with requires_grad=True"):
            differentiate(Tensor(1.0) * 2)

    def test_more_than_one_number(self, differentiate):
        with pytest.raises(ValueError, match=r"has shape \(2,\); only a result with one element has a default cotangent"):
            differentiate(variable([1.0, 2.0]) * 2)

    def test_what_was_computed_under_no_grad(self, differentiate):
        x = variable(1.0)
        with no_grad():
            y = x * 2
        with pytest.raises(ValueError, match="was it computed under no_grad"):
            differentiate(y)


@pytest.mark.parametrize("seed", [np.ones(3), 1.0, [[1.0, 2.0]], ["a", "b"], [1j, 2j]], ids=str)
def test_a_seed_that_does_not_fit(seed):
    with pytest.raises(ValueError, match=r"gradient must be real numbers of shape \(2,\), like the result"):
        (variable([1.0, 2.0]) * 2).backward(gradient=seed)


@given(a=st.floats(-10, 10), b=st.floats(-10, 10))
def test_gradients_are_linear_in_the_seed(a, b):
    x = variable([2.0, -3.0])
    assert grad(x * x, x, [a, b]).data.tolist() == [4 * a, -6 * b]


# -- higher orders ---------------------------------------------------------------------------------------------------


def test_the_third_derivative_of_a_polynomial():
    x = variable([2.0, -1.0])
    derivative = x**4
    for expected in ([32.0, -4.0], [48.0, 12.0], [48.0, -24.0]):
        derivative = grad(derivative.sum(), x, create_graph=True)
        assert derivative.data.tolist() == expected


def test_derivatives_of_the_sine_go_round():
    x = variable([0.3, 1.2])
    derivative = tg.sin(x)
    for expected in (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin):
        derivative = grad(derivative.sum(), x, create_graph=True)
        np.testing.assert_allclose(derivative.data, expected(x.data), rtol=1e-15)


def test_backward_through_a_gradient_that_backward_deposited():
    x = variable(3.0)
    (x**3).backward(create_graph=True)
    slope = x.grad
    x.grad = None
    slope.backward()
    assert x.grad.item() == 18


def test_a_mixed_second_derivative():
    x, y = variable(2.0), variable(5.0)
    by_x = grad(x * x * y, x, create_graph=True)
    assert [g.item() for g in grad(by_x, (x, y))] == [10.0, 4.0]


def test_a_mixed_second_derivative_of_one_operation_of_many():
    x, y, z = variable([2.0]), variable([3.0]), variable([5.0])
    by_x = grad(tg.einsum("i,i,i->", x, y, z), x, create_graph=True)
    assert [g.item() for g in grad(by_x, (x, y, z))] == [0.0, 5.0, 3.0]


def test_a_gradient_is_a_constant_unless_asked_for():
    x = variable(3.0)
    assert not grad(x**3, x).requires_grad


def test_the_gradient_of_something_linear_has_no_gradient():
    x = variable(3.0)
    assert not grad(2 * x, x, create_graph=True).requires_grad


# -- recording -------------------------------------------------------------------------------------------------------


def test_no_grad_records_nothing():
    x = variable(1.0)
    with no_grad():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_nests():
    with no_grad():
        with no_grad():
            assert not is_recording()
        assert not is_recording()
    assert is_recording()


def test_no_grad_ends_with_an_exception():
    with contextlib.suppress(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert is_recording()


def test_no_grad_decorates():
    @no_grad()
    def double(x):
        return x * 2

    assert not double(variable(1.0)).requires_grad
    assert is_recording()


def test_leaves_made_under_no_grad_are_leaves():
    with no_grad():
        x = variable(1.0)
    assert (x * 2).requires_grad


def test_no_grad_ends_at_its_thread():
    inside, checked = threading.Event(), threading.Event()

    def without():
        with no_grad():
            inside.set()
            checked.wait(10)

    thread = threading.Thread(target=without)
    thread.start()
    inside.wait(10)
    recorded = (variable(1.0) * 2).requires_grad
    checked.set()
    thread.join()
    assert recorded


def test_no_grad_ends_at_its_task():
    seen = []

    async def without():
        with no_grad():
            await asyncio.sleep(0)
            seen.append(is_recording())

    async def with_recording():
        await asyncio.sleep(0)
        seen.append(is_recording())

    async def both():
        await asyncio.gather(without(), with_recording(), without(), with_recording())

    asyncio.run(both())
    assert seen == [False, True, False, True]


def test_eight_threads_adding_to_one_leaf():
    x = variable(np.ones(4))

    def work():
        for _ in range(100):
            (x * x).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.grad.data.tolist() == [1600.0] * 4


def test_detach_cuts_the_gradient_off():
    assert gradient_of(lambda x: (x * x.detach()).sum(), [3.0]) == [3.0]


# -- changing a parameter after it was used --------------------------------------------------------------------------

HOLDERS = {
    "an operation": lambda p: (p * p, lambda y: grad(y.sum(), p)),
    "a matrix product": lambda p: (p @ p, lambda y: grad(y, p)),
    "a view": lambda p: ((v := p[::-1]) * v, lambda y: grad(y.sum(), p)),
    "a reshaped view": lambda p: ((v := p.reshape(2, 1)) * v, lambda y: grad(y.sum(), p)),
    "a transposed view": lambda p: (p.reshape(1, 2).T * p, lambda y: grad(y.sum(), p)),
    "an einsum": lambda p: (tg.einsum("i,i->i", p, p), lambda y: grad(y.sum(), p)),
    "the result alone": lambda p: (tg.exp(p), lambda y: grad(y.sum(), p)),
}
CHANGES = {
    "overwrite()": lambda p: p.overwrite(lambda array: array.fill(100.0)),
    "data =": lambda p: setattr(p, "data", np.full(2, 100.0)),
    "an optimiser's step": lambda p: p.overwrite(lambda array: np.subtract(array, 7.0, out=array)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_a_change_between_forward_and_backward_leaves_the_gradient_right(hold, change):
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
def test_a_change_is_not_seen_through_what_was_taken_before(share, change):
    p = Tensor([2.0, 3.0])
    taken = share(p)
    before = np.array(taken).tolist()
    change(p)
    assert np.array(taken).tolist() == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_through_the_tensor(change):
    p = variable([2.0, 3.0])
    before = p.numpy()
    y = p * p
    change(p)
    assert np.all(p.data != before)
    assert y.data.tolist() == [4.0, 9.0]


def test_an_array_that_nobody_else_holds_is_not_copied():
    p = variable([2.0, 3.0])
    addresses = []
    p.overwrite(lambda array: addresses.append(array.ctypes.data))
    (p * p).sum().backward()  # held by the graph while it lived
    p.overwrite(lambda array: addresses.append(array.ctypes.data))
    assert addresses[0] == addresses[1]


def test_the_array_a_tensor_was_made_of_is_the_callers():
    array = np.ones(2)
    t = variable(array)
    array[...] = 5
    assert t.data.tolist() == [1.0, 1.0]


def test_the_array_a_tensor_was_assigned_is_the_callers():
    array = np.ones(2)
    t = variable([0.0, 0.0])
    t.data = array
    array[...] = 5
    assert t.data.tolist() == [1.0, 1.0]


def test_an_array_that_several_inputs_were_combined_with_is_remembered_as_it_was():
    weighted = variadic_primitive(
        "of_test_engine_weighted",
        lambda xs, weights: sum(x * w for x, w in zip(xs, weights, strict=True)),
        lambda g, i, weights: g * weights[i],
    )
    x, y, weights = variable([1.0]), variable([1.0]), np.array([2.0, 3.0])
    total = weighted((x, y), weights)
    weights[...] = 7
    assert [g.item() for g in grad(total, (x, y))] == [2.0, 3.0]


def test_an_index_array_is_remembered_as_it_was():
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
def test_a_constant_array_that_its_owner_changes_before_backward_leaves_the_gradient_right(name):
    kind = int if name in ("index", "take_along_axis") else bool if "condition" in name else float
    x, array = variable([2.0, 3.0]), np.array([1, 0] if kind is not float else [1.5, 4.0], dtype=kind)
    y = CONSTANTS[name](x, array)
    expected = grad(CONSTANTS[name](x, array.copy()).sum(), x)
    array[...] = 1 - array
    assert grad(y.sum(), x).data.tolist() == expected.data.tolist()


def test_data_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        variable([1.0]).data[0] = 5


def test_numpy_gives_a_copy_of_ones_own():
    x = variable([1.0])
    x.numpy()[0] = 5
    assert x.data.tolist() == [1.0]


@pytest.mark.parametrize("assign", [lambda y: setattr(y, "data", [5.0]), lambda y: setattr(y, "requires_grad", False)])
def test_what_was_computed_cannot_be_assigned_to(assign):
    with pytest.raises(ValueError, match=r"use detach\(\)"):
        assign(variable([1.0]) * 2)


def test_data_keeps_its_shape():
    with pytest.raises(ValueError, match=r"data: must have the shape \(2,\); got \(3,\)"):
        variable([1.0, 2.0]).data = [1.0, 2.0, 3.0]


def test_data_keeps_its_dtype():
    x = variable([1.0, 2.0], dtype=np.float32)
    x.data = np.array([3.0, 4.0])
    assert x.dtype == np.float32


def test_assigning_to_an_element_names_the_rewrite():
    with pytest.raises(TypeError, match="write x = index_update"):
        variable([1.0])[0] = 2.0


def test_what_was_computed_cannot_be_written_over():
    x = variable([1.0, 2.0])
    y = x * 2
    with pytest.raises(ValueError, match="overwrite: the tensor must be a leaf"):
        y.overwrite(lambda array: array.fill(10))
    np.testing.assert_array_equal(tg.grad((y * y).sum(), x).data, [8, 16])


def _reshape_in_place(array):
    array.shape = (2, 2)


def _reinterpret_in_place(array):
    array.dtype = np.int64


@pytest.mark.parametrize("change", [_reshape_in_place, _reinterpret_in_place])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tensors_shape_and_type_are_its_own(change):
    mine = np.arange(4.0)
    t, p = tg.from_numpy(mine), variable([1.0, 2.0, 3.0, 4.0])
    change(mine)
    p.overwrite(change)
    assert (t.shape, t.dtype, p.shape, p.dtype) == ((4,), np.float64, (4,), np.float64)


def test_a_gradient_that_is_assigned_has_the_leafs_type():
    p = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
    with pytest.raises(ValueError, match=r"grad: must be None or a float32 Tensor of shape \(2,\)"):
        p.grad = tg.Tensor(np.ones(2))


@pytest.mark.parametrize(("out", "wrt"), [(3.0, "x"), ("y", 3), ("y", None)])
def test_what_is_no_tensor_cannot_be_differentiated(out, wrt):
    x = variable([1.0])
    known = {"x": x, "y": (x * 2).sum()}
    with pytest.raises(TypeError, match=r"grad: .* must be a tensor"):
        tg.grad(known.get(out, out), known.get(wrt, wrt))


def test_a_graph_that_is_asked_for_is_recorded_also_under_no_grad():
    x = variable(3.0)
    y = x**3
    with tg.no_grad():
        slope = tg.grad(y, x, create_graph=True)
    assert tg.grad(slope, x).item() == 18


def test_a_bound_that_requires_a_gradient_is_refused():
    with pytest.raises(TypeError, match="clip: no gradient flows to the bounds"):
        tg.clip(variable([1.0]), None, variable([2.0]))


@pytest.mark.parametrize("kind", [complex, str, object])
def test_a_tensor_is_not_converted_to_what_is_no_real_number(kind):
    with pytest.raises(TypeError, match="astype: a tensor holds real numbers; got"):
        tg.Tensor([1.0]).astype(kind)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_mean_of_numbers_whose_sum_is_too_large_is_right(dtype):
    x = tg.Tensor(np.full(100, 1000, dtype), requires_grad=True)
    assert (x.mean().item(), x.mean().dtype, x.var().item()) == (1000, dtype, 0)
    np.testing.assert_allclose(tg.grad(x.mean(), x).data, 0.01, rtol=1e-3)


def test_the_norm_is_flat_where_all_is_0_also_to_the_second_order():
    np.testing.assert_array_equal(tg.hessian(tg.norm, [0.0, 0.0]).data, np.zeros((2, 2)))


def test_the_power_0_of_infinity_is_flat():
    x = variable(np.inf)
    assert tg.grad(x**0, x).item() == 0


# -- types of number -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [[1, 2], [True, False]])
def test_whole_numbers_have_no_gradient(data):
    with pytest.raises(TypeError, match=r"values have no gradient; convert them"):
        Tensor(data, requires_grad=True)


@pytest.mark.parametrize("data", ["text", [1j], [None], [{}]], ids=str)
def test_a_tensor_is_made_of_real_numbers(data):
    with pytest.raises(TypeError, match="Tensor: data must be real numbers"):
        Tensor(data)


def test_a_tensor_is_not_made_of_a_tensor():
    with pytest.raises(TypeError, match=r"data must not be a tensor; use detach\(\)"):
        Tensor(Tensor(1.0))


ARITHMETIC = {
    "+": lambda x: 1.5 + x + 1.5,
    "-": lambda x: 1.5 - (x - 1.5),
    "*": lambda x: 2 * x * 2.0,
    "/": lambda x: 1.5 / (x / 1.5),
    "**": lambda x: 2.0 ** (x**2) + x**0.5,
    "clip": lambda x: tg.clip(x, 0.1, 5.0),
    "where": lambda x: tg.where(x > 0, x, 0.0),
    "maximum": lambda x: tg.maximum(x, 0.5),
    "mean": lambda x: tg.mean(x) + tg.var(x),
    "softmax": lambda x: tg.softmax(x * 0.5) + tg.logsumexp(x),
    "pad": lambda x: tg.pad(x, 1, 0.5),
    "index_update": lambda x: tg.index_update(x, 0, 0.5),
}


@pytest.mark.parametrize("function", ARITHMETIC.values(), ids=ARITHMETIC)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_python_numbers_widen_nothing(function, kind):
    x = variable([1.0, 2.0], dtype=kind)
    y = function(x)
    assert y.dtype == kind
    assert grad(y.sum(), x).dtype == kind


def test_numpys_numbers_widen_as_in_numpy():
    assert (variable([1.0], dtype=np.float32) * np.float64(2)).dtype == np.float64


def test_each_gradient_has_its_leafs_type():
    x, y = variable([1.0], dtype=np.float32), variable([2.0])
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


COMBINATIONS = {
    "add": tg.add,
    "multiply": lambda x, other: other * x,
    "maximum": tg.maximum,
    "where": lambda x, other: tg.where(True, x, other),
    "concatenate": lambda x, other: tg.concatenate([x, np.atleast_1d(other)]),
    "index_update": lambda x, other: tg.index_update(x, ..., other),
}


@pytest.mark.parametrize("other", [1j, "a", None, {}], ids=repr)
@pytest.mark.parametrize("combine", [COMBINATIONS["add"], COMBINATIONS["multiply"], COMBINATIONS["maximum"]])
def test_what_is_no_number_is_refused(combine, other):
    with pytest.raises(TypeError):
        combine(variable([1.0]), other)


@pytest.mark.parametrize("other", [np.array([1j]), np.array([2.0], dtype=object)], ids=["complex", "object"])
def test_numbers_of_another_kind_are_not_assigned(other):
    x = tg.Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="data: must be real numbers"):
        x.data = other


@pytest.mark.parametrize("other", [np.array([1j]), np.array([2.0], dtype=object)], ids=["complex", "object"])
def test_no_tensor_of_another_kind_of_number_comes_about(other):
    for combine in COMBINATIONS.values():
        with pytest.raises(TypeError):
            combine(variable([1.0]), other)


# -- as Python sees it -----------------------------------------------------------------------------------------------


def test_comparisons_are_plain_arrays_of_booleans():
    x = variable([1.0, 2.0])
    results = [x > 1, x >= 2, x < 2, x <= 1, x == 2, x != 1, 1 < x, x == x]  # noqa: PLR0124, SIM300
    assert all(type(result) is np.ndarray and result.dtype == bool for result in results)
    assert [result.tolist() for result in results] == [
        [False, True],
        [False, True],
        [True, False],
        [True, False],
        [False, True],
        [False, True],
        [False, True],
        [True, True],
    ]


def test_iteration_gives_recorded_rows():
    x = variable([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    assert grad((first * second).sum(), x).data.tolist() == [[3.0, 4.0], [1.0, 2.0]]


def test_a_single_number_cannot_be_iterated_over():
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(variable(1.0))


def test_tensors_are_keys_by_identity():
    x, y = variable(1.0), variable(1.0)
    assert {x: "x", y: "y"}[x] == "x"


def test_the_truth_of_several_numbers_is_ambiguous():
    with pytest.raises(ValueError, match="ambiguous"):
        bool(variable([1.0, 2.0]))


def test_only_one_element_can_become_a_number():
    with pytest.raises(ValueError, match=r"the tensor must have one element; its shape is \(2,\)"):
        variable([1.0, 2.0]).item()
    assert float(variable([2.5])) == 2.5


def test_a_tensor_prints_what_it_is():
    assert repr(variable([1.0, 2.0])) == "Tensor([1., 2.], requires_grad=True)"
    assert repr(Tensor([1.0], dtype=np.float32)) == "Tensor([1.], dtype=float32)"
    assert f"{Tensor(0.25):.1%}" == "25.0%"


# -- copies ----------------------------------------------------------------------------------------------------------

COPIES = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("with_grad", [False, True])
def test_a_leaf_is_copied_with_all_it_has(duplicate, kind, with_grad):
    x = variable([[1.0, 2.0]], dtype=kind)
    if with_grad:
        (x * x).sum().backward()
    twin = duplicate(x)
    assert (twin.data.tolist(), twin.dtype, twin.requires_grad) == ([[1.0, 2.0]], kind, True)
    assert (twin.grad.data.tolist() == [[2.0, 4.0]]) if with_grad else (twin.grad is None)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_copy_goes_its_own_way(duplicate):
    x = variable([1.0, 2.0])
    twin = duplicate(x)
    twin.overwrite(lambda array: array.fill(5))
    (twin * twin).sum().backward()
    assert (x.data.tolist(), x.grad) == ([1.0, 2.0], None)


def test_what_is_one_tensor_in_two_places_stays_one():
    x = variable([1.0])
    first, second = pickle.loads(pickle.dumps([x, x]))
    assert first is second


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_what_was_computed_is_not_copied_with_its_graph(duplicate):
    with pytest.raises(TypeError, match=r"cannot be copied or pickled; use detach\(\)"):
        duplicate(variable([1.0]) * 2)


# -- shapes that do not fit ------------------------------------------------------------------------------------------

A, B = (2, 3), (4, 5)
MISFITS = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "power": lambda a, b: a**b,
    "maximum": tg.maximum,
    "matmul": lambda a, b: a @ b,
    "where": lambda a, b: tg.where(True, a, b),
    "concatenate": lambda a, b: tg.concatenate([a, b]),
    "stack": lambda a, b: tg.stack([a, b]),
    "einsum": lambda a, b: tg.einsum("ij,jk", a, b),
    "index_update": lambda a, b: tg.index_update(a, ..., b),
    "reshape": lambda a, b: a.reshape(b.shape),
    "broadcast_to": lambda a, b: tg.broadcast_to(a, b.shape),
    "sum_to": lambda a, b: tg.sum_to(a, b.shape),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_names_the_operation_and_both_shapes(name):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (looked at below)
        MISFITS[name](variable(np.ones(A)), variable(np.ones(B)))
    assert name in str(caught.value)
    assert str(A) in str(caught.value)
    assert str(B) in str(caught.value)


# -- what a newcomer stumbled over -------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [tuple, list, np.array, partial(array, "i")], ids=["tuple", "list", "array", "buffer"])
def test_an_index_that_repeats_accumulates_however_it_is_written(many):
    x = tg.Tensor(np.arange(3.0), requires_grad=True)
    x[many([0, 0, 2]),].sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2, 0, 1])


def test_a_target_on_the_way_is_not_used_up():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    np.testing.assert_array_equal(tg.grad((y * y).sum(), y).data, [4, 8])
    np.testing.assert_array_equal(tg.grad((y * 3).sum(), x).data, [6, 6])


def test_whole_numbers_become_real_where_a_real_one_is_written():
    value = tg.Tensor(2.7, requires_grad=True)
    out = tg.index_update(tg.Tensor([1, 2, 3]), 0, value)
    np.testing.assert_array_equal(out.data, [2.7, 2, 3])


@pytest.mark.parametrize("lay_out_index", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("lay_out_value", [np.ascontiguousarray, np.asfortranarray])
@given(st.integers(0, 2**32 - 1))
def test_of_several_values_for_one_place_the_last_stays_whatever_the_layout(lay_out_index, lay_out_value, seed):
    rng = np.random.default_rng(seed)
    index, value = rng.integers(0, 3, (2, 3)), rng.normal(size=(2, 3))
    last = {place: k for k, place in enumerate(index.ravel().tolist())}
    x = tg.Tensor(lay_out_value(value), requires_grad=True)
    out = tg.index_update(tg.Tensor(np.zeros(3)), lay_out_index(index), x)
    assert out.data.tolist() == [value.ravel()[last[place]] if place in last else 0 for place in range(3)]
    np.testing.assert_array_equal(np.flatnonzero(tg.grad(out.sum(), x).data.ravel()), sorted(last.values()))


def test_joining_along_no_axis_makes_one_row_of_all_elements():
    x, y = tg.Tensor([[1.0, 2.0]], requires_grad=True), tg.Tensor(3.0, requires_grad=True)
    joined = np.concatenate([x, y], axis=None)
    np.testing.assert_array_equal(joined.data, [1, 2, 3])
    np.testing.assert_array_equal(tg.grad(joined, x, gradient=[4.0, 5.0, 6.0]).data, [[4, 5]])
    np.testing.assert_array_equal(np.concatenate([x, [3.0], 4.0], axis=None).data, [1, 2, 3, 4])


def test_a_function_that_differentiates_can_be_checked():
    def slope(x):
        return tg.grad((x**3).sum(), x, create_graph=True)

    assert check_gradients(slope, np.array([1.0, -2.0])) < 1e-6
