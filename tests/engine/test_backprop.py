"""The backward pass: sums over paths, memory, freed graphs, grad() and higher derivatives."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.support.tensors import gradient_of, variable
from tinygrad_cifar import Tensor, from_numpy, grad, no_grad
from tinygrad_cifar.engine import backprop

# -- sums over paths ---------------------------------------------------------------------------------------------------


def test_three_uses_of_a_tensor_give_gradient_three():
    assert gradient_of(lambda x: ((x + x) + x).sum(), [1.0, 2.0]) == [3.0, 3.0]


@given(st.lists(st.sampled_from(["double", "add the leaf", "negate"]), max_size=12))
def test_random_programs_of_one_variable(steps):
    """Each step has an exactly known derivative."""
    x = variable(1.0)
    y, derivative = x, 1.0
    for step in steps:
        if step == "double":
            y, derivative = y + y, 2 * derivative
        elif step == "add the leaf":
            y, derivative = y + x, derivative + 1
        else:
            y, derivative = -y, -derivative
    assert grad(y, x).item() == derivative


def test_diamond_with_2_to_the_60_paths_is_exact():
    x = variable(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_diamond_with_paths_of_different_lengths():
    def f(x):
        arm = x
        for _ in range(50):
            arm = arm * 1.0
        return (arm * x + x).sum()

    assert gradient_of(f, [3.0]) == [7.0]


def test_node_is_visited_after_its_last_consumer():
    x = variable(2.0)
    h = x * x
    y = h
    for _ in range(5):
        y = y * h
    assert grad(y, x).item() == 12 * 2.0**11


def test_backward_accumulates_into_grad():
    x = variable([1.0, 2.0])
    for _ in range(3):
        (x * 2).sum().backward()
    assert x.grad.data.tolist() == [6.0, 6.0]


def test_accumulation_restarts_after_grad_is_cleared():
    x = variable(1.0)
    (2 * x).backward()
    x.grad = None
    (3 * x).backward()
    assert x.grad.item() == 3


# -- gradients do not share memory -------------------------------------------------------------------------------------


def backward_through_a_sum_of_two_leaves():
    a, b = variable([1.0, 2.0]), variable([3.0, 4.0])
    (a + b).sum().backward()
    return a, b


def test_accumulating_into_one_leaf_does_not_change_another():
    a, b = backward_through_a_sum_of_two_leaves()
    (a * 5).sum().backward()
    assert (a.grad.data.tolist(), b.grad.data.tolist()) == ([6.0, 6.0], [1.0, 1.0])


def test_writing_to_one_gradient_does_not_change_another():
    a, b = backward_through_a_sum_of_two_leaves()
    a.grad.overwrite(lambda array: array.fill(0))
    assert b.grad.data.tolist() == [1.0, 1.0]


def test_initial_cotangent_is_copied():
    cotangent = np.ones(2)
    x = variable([1.0, 2.0])
    (x + 0).backward(gradient=cotangent)
    cotangent[...] = 100
    assert x.grad.data.tolist() == [1.0, 1.0]


def test_accumulation_does_not_change_a_gradient_read_before():
    x = variable([1.0])
    (x + 0).sum().backward()
    first = x.grad
    (x + 0).sum().backward()
    assert (first.data.tolist(), x.grad.data.tolist()) == ([1.0], [2.0])


# -- depth and memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_long_chain(length):
    """Forward pass, backward pass and freeing must not recurse."""
    x = variable(1.0)
    y = x
    for _ in range(length):
        y = y + 1.0
    last = weakref.ref(y)
    y.backward(retain_graph=True)
    assert x.grad.item() == 1
    del y
    assert last() is None


def test_chain_without_backward_is_freed():
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


def test_memory_after_a_step_is_that_of_parameters_and_gradients():
    rng = np.random.default_rng(0)
    X = from_numpy(rng.normal(size=(2000, 100)))
    tracemalloc.start()
    try:
        W1, W2 = variable(rng.normal(size=(100, 50))), variable(rng.normal(size=(50, 10)))
        loss = train_step(W1, W2, X)  # alive, but its graph has been freed
        parameters = W1.data.nbytes + W2.data.nbytes
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loss.requires_grad
    assert held < 2 * parameters + 20_000
    assert peak > held + 2000 * 50 * 8  # the peak includes the hidden layer


def test_step_does_not_retain_the_previous_graph():
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


def count_cyclic_garbage(build):
    """Return the number of objects that only the cyclic garbage collector frees after ``build()``."""
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
    "a graph after backward": lambda: forward()[1].backward(),  # noqa: PLW0108 (each call builds a graph)
    "a retained graph": lambda: forward()[1].backward(retain_graph=True),
    "a second derivative": second_derivative,
    "an operation that fails": operation_that_fails,
}


@pytest.mark.parametrize("build", CYCLES.values(), ids=CYCLES)
def test_no_reference_cycles(build):
    assert count_cyclic_garbage(build) == 0


def test_backward_frees_activations():
    x = variable(np.ones(3))
    hidden = tg.exp(x)
    activation = weakref.ref(hidden.data.base)
    y = (hidden * hidden).sum()
    del hidden
    assert activation() is not None
    y.backward()
    assert activation() is None


def test_arrays_that_no_vjp_declares_are_not_saved():
    """The VJP of a sum declares only the shape."""
    x = variable(np.ones(3))
    doubled = x + x
    array = weakref.ref(doubled.data.base)
    y = doubled.sum()
    del doubled
    assert array() is None
    assert grad(y, x).data.tolist() == [2, 2, 2]


# -- retained and freed graphs -----------------------------------------------------------------------------------------


def test_second_backward_raises_graph_freed_error():
    y = (variable([1.0]) * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"the graph behind sum has been freed .* retain_graph=True"):
        y.backward()


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda y, x: y.backward(create_graph=True),  # noqa: ARG005
        lambda y, x: grad(y, x, create_graph=True),
    ],
    ids=["backward", "grad"],
)
def test_graph_of_a_recorded_gradient_is_retained(differentiate):
    x = variable([1.0])
    y = (x * x).sum()
    differentiate(y, x)
    assert grad(y, x).data.tolist() == [2.0]
    x.grad = None  # it refers to the graph, and the graph to x


def test_retained_graph_can_be_traversed_again():
    x = variable([1.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.data.tolist() == [4.0]


def test_backward_raises_for_a_freed_branch():
    x = variable([1.0])
    shared = x * x
    shared.sum().backward()
    with pytest.raises(RuntimeError, match="the graph behind multiply has been freed"):
        (shared * 3).sum().backward()


def test_grad_raises_for_a_freed_branch():
    """The result depends on x, so zero would be wrong."""
    x = variable([1.0])
    shared = x * x
    shared.sum().backward()
    with pytest.raises(RuntimeError, match="the graph behind multiply has been freed"):
        grad((shared * 3).sum(), x)


def test_freed_branch_older_than_the_target_is_ignored():
    """It cannot lead to a target that was created later."""
    shared = variable([2.0]) * 3
    shared.sum().backward()
    x = variable([5.0])
    assert grad((shared * x).sum(), x).data.tolist() == [6.0]


def test_grad_visits_no_node_that_is_older_than_its_targets(monkeypatch):
    visited = []

    find_paths = backprop._edges_on_paths

    def counted(start, targets, oldest, behind):
        visited.append(len(behind))
        return find_paths(start, targets, oldest, behind)

    monkeypatch.setattr(backprop, "_edges_on_paths", counted)
    old = variable([2.0])
    for _ in range(100):
        old = old * 1.0
    x = variable([3.0])
    assert grad(old * x * x, x).data.tolist() == [12.0]
    assert visited == [3]  # two products, and x


def test_grad_frees_the_graph_unless_retained():
    x = variable([1.0])
    y = (x * x).sum()
    assert grad(y, x, retain_graph=True).data.tolist() == [2.0]
    assert grad(y, x).data.tolist() == [2.0]
    with pytest.raises(RuntimeError, match="has been freed"):
        grad(y, x)


# -- grad() ------------------------------------------------------------------------------------------------------------


def test_grad_does_not_accumulate_into_leaves():
    x = variable([1.0])
    grad((x * x).sum(), x)
    assert x.grad is None


def test_grad_with_respect_to_an_intermediate_result():
    x = variable([1.0, 2.0])
    h = x * x
    y = (h * h).sum()
    by_h, by_x = grad(y, (h, x))
    assert by_h.data.tolist() == [2.0, 8.0]
    assert by_x.data.tolist() == [4.0, 32.0]


def test_grad_of_a_tensor_with_respect_to_itself():
    x = variable([1.0, 2.0])
    y = x * 3
    assert grad(y, y, [5.0, 7.0]).data.tolist() == [5.0, 7.0]
    assert grad(x, x, [5.0, 7.0]).data.tolist() == [5.0, 7.0]


def test_grad_with_respect_to_an_unrelated_tensor_is_zero():
    x, other = variable([1.0]), variable([[1.0, 2.0]], dtype=np.float32)
    zero = grad(x.sum(), other)
    assert (zero.data.tolist(), zero.dtype) == ([[0.0, 0.0]], np.float32)


def test_grad_with_a_repeated_target():
    x = variable(3.0)
    assert [g.item() for g in grad(x * x, [x, x])] == [6.0, 6.0]


def test_grad_returns_a_tuple_for_a_sequence():
    x = variable(3.0)
    assert isinstance(grad(x * x, x), Tensor)
    assert isinstance(grad(x * x, [x]), tuple)
    assert grad(x * x, []) == ()


@pytest.mark.parametrize("wrt", [Tensor([1.0]), np.ones(1), None], ids=["constant", "array", "None"])
def test_grad_rejects_targets_that_are_not_recorded(wrt):
    x = variable([1.0])
    with pytest.raises(TypeError, match=r"wrt\[1\] must be a tensor that requires a gradient"):
        grad(x.sum(), [x, wrt])


@pytest.mark.parametrize("differentiate", [lambda y: y.backward(), lambda y: grad(y, variable(1.0))])
class TestResultsThatCannotBeDifferentiated:
    def test_constant(self, differentiate):
        with pytest.raises(ValueError, match="does not depend on any tensor with requires_grad=True"):
            differentiate(Tensor(1.0) * 2)

    def test_more_than_one_element(self, differentiate):
        with pytest.raises(ValueError, match=r"shape \(2,\); only a result with one element has a default cotangent"):
            differentiate(variable([1.0, 2.0]) * 2)

    def test_result_computed_under_no_grad(self, differentiate):
        x = variable(1.0)
        with no_grad():
            y = x * 2
        with pytest.raises(ValueError, match="was it computed under no_grad"):
            differentiate(y)


@pytest.mark.parametrize("cotangent", [np.ones(3), 1.0, [[1.0, 2.0]], ["a", "b"], [1j, 2j]], ids=str)
def test_initial_cotangent_must_match_the_result(cotangent):
    with pytest.raises(ValueError, match=r"gradient must be real numbers of shape \(2,\), like the result"):
        (variable([1.0, 2.0]) * 2).backward(gradient=cotangent)


@given(a=st.floats(-10, 10), b=st.floats(-10, 10))
def test_gradients_are_linear_in_the_initial_cotangent(a, b):
    x = variable([2.0, -3.0])
    assert grad(x * x, x, [a, b]).data.tolist() == [4 * a, -6 * b]


# -- higher derivatives ------------------------------------------------------------------------------------------------


def test_third_derivative_of_a_polynomial():
    x = variable([2.0, -1.0])
    derivative = x**4
    for expected in ([32.0, -4.0], [48.0, 12.0], [48.0, -24.0]):
        derivative = grad(derivative.sum(), x, create_graph=True)
        assert derivative.data.tolist() == expected


def test_fourth_derivative_of_the_sine_is_the_sine():
    x = variable([0.3, 1.2])
    derivative = tg.sin(x)
    for expected in (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin):
        derivative = grad(derivative.sum(), x, create_graph=True)
        np.testing.assert_allclose(derivative.data, expected(x.data), rtol=1e-15)


def test_backward_through_an_accumulated_gradient():
    x = variable(3.0)
    (x**3).backward(create_graph=True)
    gradient = x.grad
    x.grad = None
    gradient.backward()
    assert x.grad.item() == 18


def test_mixed_second_derivative():
    x, y = variable(2.0), variable(5.0)
    by_x = grad(x * x * y, x, create_graph=True)
    assert [g.item() for g in grad(by_x, (x, y))] == [10.0, 4.0]


def test_mixed_second_derivative_of_a_variadic_primitive():
    x, y, z = variable([2.0]), variable([3.0]), variable([5.0])
    by_x = grad(tg.einsum("i,i,i->", x, y, z), x, create_graph=True)
    assert [g.item() for g in grad(by_x, (x, y, z))] == [0.0, 5.0, 3.0]


def test_gradient_is_constant_without_create_graph():
    x = variable(3.0)
    assert not grad(x**3, x).requires_grad


def test_gradient_of_a_linear_function_is_constant():
    x = variable(3.0)
    assert not grad(2 * x, x, create_graph=True).requires_grad


# -- dtypes, threads and invalid arguments -----------------------------------------------------------------------------


def test_eight_threads_accumulate_into_one_leaf():
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


@pytest.mark.parametrize(("out", "wrt"), [(3.0, "x"), ("y", 3), ("y", None)])
def test_grad_rejects_arguments_that_are_not_tensors(out, wrt):
    x = variable([1.0])
    known = {"x": x, "y": (x * 2).sum()}
    with pytest.raises(TypeError, match=r"grad: .* must be a tensor"):
        tg.grad(known.get(out, out), known.get(wrt, wrt))


def test_create_graph_records_under_no_grad():
    x = variable(3.0)
    y = x**3
    with tg.no_grad():
        derivative = tg.grad(y, x, create_graph=True)
    assert tg.grad(derivative, x).item() == 18


def test_edges_of_an_intermediate_target_are_not_freed():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    np.testing.assert_array_equal(tg.grad((y * y).sum(), y).data, [4, 8])
    np.testing.assert_array_equal(tg.grad((y * 3).sum(), x).data, [6, 6])


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32"), ("float16", "float64")])
def test_a_vjp_receives_a_cotangent_of_the_dtype_of_its_result(dtypes):
    """Whatever it is combined with later: a step in float32 must not be differentiated in float64."""
    own, other = dtypes
    received = []

    def vjp(g):
        received.append(g.dtype)
        return 2 * g

    double = tg.primitive("double_of_test_backprop", lambda x: 2 * x, x=vjp)
    x = Tensor(np.ones(3), requires_grad=True, dtype=own)
    (double(x) * np.ones(3, other)).sum().backward()
    assert received == [np.dtype(own)]


uses = st.lists(st.sampled_from(["product", "row", "sum", "vector", "batch"]), min_size=2, max_size=12)


@given(uses, st.booleans(), st.integers(0, 2**32 - 1))
def test_the_gradient_of_weights_that_are_used_several_times_is_the_sum(chosen, create_graph, seed):
    rng = np.random.default_rng(seed)
    W = tg.Tensor(rng.normal(size=(3, 4)), requires_grad=True)
    total, expected = tg.Tensor(0.0), np.zeros(W.shape)
    for use in chosen:
        x, i = rng.normal(size=(5, 3)), rng.integers(3)
        g = rng.normal(size=(5, 4))
        if use == "product":
            total, expected = total + ((x @ W) * g).sum(), expected + x.T @ g
        elif use == "row":
            total = total + (W[i] * g[0]).sum()
            expected[i] += g[0]
        elif use == "vector":
            total, expected = total + ((x[0] @ W) * g[0]).sum(), expected + np.outer(x[0], g[0])
        elif use == "batch":
            total, expected = total + ((x[None] @ W) * g).sum(), expected + x.T @ g
        else:
            total, expected = total + (W * g[:3]).sum(), expected + g[:3]
    gradient = tg.grad(total, W, create_graph=create_graph)
    np.testing.assert_allclose(gradient.data, expected, rtol=1e-12, atol=1e-12)


@given(st.lists(st.sampled_from(["add", "multiply", "sum"]), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_large_cotangents_that_inputs_share_are_not_changed(chosen, seed):
    rng = np.random.default_rng(seed)
    a, b = (tg.Tensor(rng.normal(size=20_000), requires_grad=True) for _ in range(2))
    w = rng.normal(size=20_000)
    total, expected = tg.Tensor(0.0), [np.zeros(20_000), np.zeros(20_000)]
    for use in chosen:
        if use == "add":  # both inputs receive the same array
            total = total + ((a + b) * w).sum()
            expected = [expected[0] + w, expected[1] + w]
        elif use == "multiply":
            total = total + (a * b * w).sum()
            expected = [expected[0] + b.data * w, expected[1] + a.data * w]
        else:
            total = total + a.sum()
            expected[0] = expected[0] + 1
    for gradient, right in zip(tg.grad(total, (a, b)), expected, strict=True):
        np.testing.assert_allclose(gradient.data, right, rtol=1e-12, atol=1e-12)
