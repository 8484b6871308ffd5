"""no_grad: what it covers, in nested blocks, threads and tasks."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import grad, is_recording, no_grad

OPERATIONS = {
    "one input": tg.exp,
    "one input and other arguments": lambda x: tg.sum(x, axis=0),
    "two inputs": lambda x: x * 2,
    "three inputs": lambda x: tg.clip(x, 0.0, 2.0),
    "a sequence of inputs": lambda x: tg.stack([x, x]),
    "an auxiliary result": tg.layer_norm,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_no_grad_records_nothing(operation):
    x = variable([1.0, 3.0])
    with no_grad():
        assert not operation(x).requires_grad
    assert operation(x).requires_grad


def test_no_grad_can_be_nested():
    with no_grad():
        with no_grad():
            assert not is_recording()
        assert not is_recording()
    assert is_recording()


def test_no_grad_ends_with_an_exception():
    with contextlib.suppress(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert is_recording()


def test_no_grad_as_a_decorator():
    @no_grad()
    def double(x):
        return x * 2

    assert not double(variable(1.0)).requires_grad
    assert is_recording()


def test_leaf_made_under_no_grad_requires_grad():
    with no_grad():
        x = variable(1.0)
    assert (x * 2).requires_grad


def test_no_grad_applies_to_its_thread_only():
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


def test_no_grad_applies_to_its_task_only():
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


def test_gradients_with_a_graph_are_recorded_under_no_grad():
    x, u = variable([2.0]), variable([3.0])
    y = x**2
    with no_grad():
        gradient = grad(y, x, gradient=u, create_graph=True)
        for _ in range(2):
            y.backward(np.ones(1), create_graph=True)
    assert grad(gradient, u).item() == 4.0
    assert grad(x.grad, x).item() == 4.0
