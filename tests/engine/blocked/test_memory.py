"""Memory of large results: every array has its own while it or a view of it exists, and later arrays use it again."""

from __future__ import annotations

import gc
import tracemalloc
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.blocked import memory

PAGE = 4096


@pytest.fixture(autouse=True)
def _start_and_end_without_cache():
    tg.empty_cache()
    yield
    gc.collect()
    tg.empty_cache()


@pytest.fixture
def of_any_size(monkeypatch):
    """Let the region be used for arrays of one byte and more."""
    monkeypatch.setattr(memory, "_SMALLEST", 1)


def test_after_too_large_an_array_smaller_ones_have_memory():
    with pytest.raises(MemoryError):
        memory.empty((10**7, 10**7), np.float64)
    assert memory.empty((2048, 2048), np.float64).shape == (2048, 2048)


# A program: allocate an array of so many pages (a positive number), or free the oldest (None) or latest (0) one.
ACTIONS = st.lists(st.one_of(st.integers(1, 20), st.none(), st.just(0)), min_size=1, max_size=60)


@given(actions=ACTIONS)
def test_arrays_that_exist_never_share_memory(actions):
    tg.empty_cache()
    arrays: list[tuple[np.ndarray, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_SMALLEST", 1)
        for _ in range(2):  # the second time with the region that the first has shown to be needed
            for number, action in enumerate(actions):
                if action:
                    array = memory.empty((action, PAGE // 4), np.float32)
                    array[...] = number
                    arrays.append((array, number))
                elif arrays:
                    arrays.pop(0 if action is None else -1)
                assert all((array == written).all() for array, written in arrays), f"after action {number}"
            arrays.clear()


@pytest.mark.usefixtures("of_any_size")
def test_a_view_keeps_the_memory_of_its_array():
    for _ in range(3):
        view = memory.empty((8, PAGE), np.uint8)[3:].reshape(-1)[5:]
        view[...] = 1
        memory.empty((8, PAGE), np.uint8)[...] = 2
        assert (view == 1).all()


@pytest.mark.usefixtures("of_any_size")
def test_the_second_step_needs_no_new_memory():
    def step() -> None:
        forward = [memory.empty((pages, PAGE), np.uint8) for pages in (40, 90, 20, 70)]
        while forward:
            forward.pop()
            memory.empty((20, PAGE), np.uint8)

    step()
    step()  # makes the region
    tracemalloc.start()
    try:
        step()
        assert tracemalloc.get_traced_memory()[1] < 20 * PAGE
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("of_any_size")
def test_threads_never_share_memory():
    wrong = []

    def work(number: int) -> None:
        for i in range(200):
            array = memory.empty((1 + (i * number) % 7, PAGE), np.uint8)
            array[...] = number
            if not (array == number).all():
                wrong.append(number)

    threads = [Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_empty_cache_frees_the_memory_of_a_step():
    x = Tensor(np.ones((4, 512, 512, 2), np.float32), requires_grad=True)
    tracemalloc.start()
    try:
        for _ in range(3):
            tg.max_pool2d(x, 2, stride=1).sum().backward()
        x.grad = None
        kept = tracemalloc.get_traced_memory()[0]
        tg.empty_cache()
        assert kept - tracemalloc.get_traced_memory()[0] > x.data.nbytes
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_result_survives_empty_cache():
    x = np.full((4, 512, 512, 2), 3, np.float32)
    for _ in range(2):
        result = tg.max_pool2d(x, 2, stride=1)
        tg.empty_cache()
        again = tg.max_pool2d(x + 1, 2, stride=1)
        assert (np.asarray(result) == 3).all()
        assert (np.asarray(again) == 4).all()
