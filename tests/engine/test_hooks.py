"""Hooks on tensors: when they are called, with what, and what they can change."""

from __future__ import annotations

import gc
import sys
import weakref
from threading import Thread

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, grad, no_grad


def recorder(calls, result=None):
    def hook(gradient):
        calls.append(gradient.numpy().tolist())
        return result

    return hook


@pytest.mark.parametrize("differentiate", [lambda y, _: y.backward(), grad], ids=["backward", "grad"])
def test_a_hook_receives_the_whole_gradient_once(differentiate):
    x, calls = variable([1.0, 2.0]), []
    y = 3 * x
    y.register_hook(recorder(calls))
    differentiate((y * y + y).sum(), x)
    assert calls == [[7.0, 13.0]]


def test_a_hook_on_a_leaf_receives_the_gradient_of_each_pass():
    x, calls = variable([1.0]), []
    x.register_hook(recorder(calls))
    (x * x).backward()
    (5 * x).backward()
    assert calls == [[2.0], [5.0]]
    assert x.grad.data.tolist() == [7.0]


def test_a_returned_gradient_flows_on():
    x = variable([1.0, 2.0])
    y = x * x
    y.register_hook(lambda g: g * [1.0, 0.0])
    y.sum().backward()
    assert x.grad.data.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("new", [Tensor([5.0]), np.array([5.0]), [5]], ids=["tensor", "array", "list"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_returned_gradient_is_that_of_a_leaf(new, create_graph):
    x = variable([1.0])
    x.register_hook(lambda _: new)
    (found,) = grad(x * x, [x], create_graph=create_graph)
    assert found.data.tolist() == [5.0]


def test_hooks_are_called_in_order_with_the_gradient_before():
    x, calls = variable([1.0]), []
    x.register_hook(recorder(calls, Tensor([10.0])))
    x.register_hook(recorder(calls))
    x.sum().backward()
    assert calls == [[1.0], [10.0]]


def test_a_hook_on_the_target_and_on_the_result():
    x, calls = variable([3.0]), []
    y = x * x
    y.register_hook(recorder(calls, Tensor([2.0])))
    z = y.sum()
    z.register_hook(recorder(calls))
    assert grad(z, y).data.tolist() == [2.0]
    assert calls == [1.0, [1.0]]


def test_hooks_of_values_that_lead_to_no_target_are_not_called():
    x, w, calls = variable([3.0]), variable([4.0]), []
    h = w * w
    h.register_hook(recorder(calls))
    w.register_hook(recorder(calls))
    grad((x * h).sum(), x)
    assert calls == []


def test_a_removed_hook_is_not_called():
    x, calls = variable([1.0]), []
    handle, other = x.register_hook(recorder(calls)), x.register_hook(recorder(calls))
    handle.remove()
    handle.remove()
    x.sum().backward()
    assert calls == [[1.0]]
    other.remove()
    x.sum().backward()
    assert calls == [[1.0]]


def test_a_hook_can_remove_itself():
    x, calls = variable([1.0]), []
    handle = x.register_hook(lambda g: (calls.append(g.item()), handle.remove())[1])
    x.sum().backward()
    x.sum().backward()
    assert calls == [1.0]


def test_what_a_hook_computes_is_recorded_only_with_create_graph():
    x, recorded = variable([3.0]), []
    x.register_hook(lambda g: recorded.append((g * x).requires_grad))
    y = x * x
    y.backward(retain_graph=True)
    with no_grad():
        y.backward(create_graph=True)
    assert recorded == [False, True]


def test_a_gradient_of_a_gradient_goes_through_the_hook():
    x = variable([3.0])
    y = x * x
    y.register_hook(lambda g: g * x)
    first = grad(y.sum(), x, create_graph=True)
    assert first.data.tolist() == [18.0]  # 2 x times x
    assert grad(first.sum(), x).data.tolist() == [12.0]


def test_the_gradient_keeps_its_dtype():
    x = variable([1.0], dtype=np.float32)
    x.register_hook(lambda g: g.astype(np.float64) / 3)
    x.sum().backward()
    assert x.grad.dtype == np.float32


def test_a_recorded_gradient_of_another_dtype_stays_recorded():
    x = variable([3.0], dtype=np.float32)
    y = x * x
    y.register_hook(lambda g: g * np.float64(1))
    first = grad((y * y).sum(), x, create_graph=True)
    assert (first.dtype, first.item()) == (np.float32, 108.0)  # 4 x**3
    assert grad(first.sum(), x).item() == 108.0  # 12 x**2


def test_an_array_that_a_hook_returned_can_be_changed_later():
    x, buffer = variable([1.0]), np.array([7.0])
    x.register_hook(lambda _: buffer)
    x.sum().backward()
    buffer[0] = 0.0
    assert x.grad.data.tolist() == [7.0]


def test_a_hook_that_refers_to_its_tensor_is_collected():
    x = variable([1.0])
    held = [x * x]
    held[0].register_hook(lambda _, held=tuple(held): held)
    reference = weakref.ref(held.pop())
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("wrong", [np.ones(3), "text"], ids=["shape", "type"])
def test_a_wrong_gradient_is_refused(wrong):
    x = variable([1.0, 2.0])
    x.register_hook(lambda _: wrong)
    with pytest.raises(ValueError, match=r"register_hook: the hook must return None, or a gradient .* shape \(2,\)"):
        x.sum().backward()


def test_a_constant_has_no_hooks():
    with pytest.raises(TypeError, match="register_hook: the tensor must require a gradient"):
        Tensor([1.0]).register_hook(print)


def test_a_hook_must_be_callable():
    with pytest.raises(TypeError, match="register_hook: hook must be a function of the gradient; got 3"):
        variable([1.0]).register_hook(3)


def test_a_traced_pass_calls_hooks_as_well():
    x, calls = variable([1.0]), []
    x.register_hook(recorder(calls))
    with tg.trace_nonfinite():
        (x * x).backward()
    assert calls == [[2.0]]


def test_hooks_of_several_threads_are_all_kept():
    x, calls = variable([1.0]), []
    hook = lambda _: calls.append(1)  # noqa: E731
    workers = [Thread(target=lambda: [x.register_hook(hook) for _ in range(500)]) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    x.sum().backward()
    assert len(calls) == 2000
