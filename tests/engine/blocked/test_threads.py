"""Large computations on several threads: the same bits for every number of them, and errors that reach the caller."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.blocked import threads
from tinygrad_cifar.system import blas

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(97, 12, 11, 8)).astype(np.float32)
FILTERS = RNG.normal(size=(3, 3, 8, 16)).astype(np.float32)
MANY_CHANNELS = RNG.normal(size=(40, 7, 7, 128)).astype(np.float32)
MANY_FILTERS = RNG.normal(size=(3, 3, 128, 128)).astype(np.float32)
CHANNELS = RNG.normal(size=8).astype(np.float32)

LARGE = {
    "conv2d": (lambda x, w: tg.conv2d(x, w, padding=1), (IMAGES, FILTERS)),
    "conv2d of many channels": (lambda x, w: tg.conv2d(x, w, padding=1), (MANY_CHANNELS, MANY_FILTERS)),
    "conv2d with a stride": (lambda x, w: tg.conv2d(x, w, stride=2, padding=1), (IMAGES, FILTERS)),
    "conv2d with groups": (lambda x, w: tg.conv2d(x, w, groups=2), (IMAGES, FILTERS[:, :, :4])),
    "conv2d, depthwise": (lambda x, w: tg.conv2d(x, w, groups=8, padding=1), (IMAGES, FILTERS[:, :, :1, :8])),
    "conv2d, depthwise, with a stride": (
        lambda x, w: tg.conv2d(x, w, groups=8, stride=2),
        (IMAGES, FILTERS[:, :, :1, :8]),
    ),
    "max_pool2d": (lambda x: tg.max_pool2d(x, 3, stride=2), (IMAGES,)),
    "avg_pool2d": (lambda x: tg.avg_pool2d(x, 2), (IMAGES,)),
    "batch_norm": (tg.batch_norm, (IMAGES, CHANNELS, CHANNELS)),
    "gelu": (lambda x: tg.gelu(x, "tanh"), (IMAGES,)),
    "erf": (tg.erf, (IMAGES,)),
}


@pytest.fixture(autouse=True)
def _restore_threads():
    yield
    tg.set_num_threads(None)


def results(operation, arrays) -> list[bytes]:
    """Return the result of an operation and the gradients of its inputs, as bytes."""
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    out = operation(*leaves)
    out.backward(np.cos(np.arange(out.size, dtype=np.float32)).reshape(out.shape))
    return [out.data.tobytes(), *[leaf.grad.data.tobytes() for leaf in leaves]]


@pytest.mark.parametrize("name", LARGE)
def test_results_have_the_same_bits_for_every_number_of_threads(name, monkeypatch):
    monkeypatch.setattr(threads, "_SMALLEST", 0)
    tg.set_num_threads(1)
    expected = results(*LARGE[name])
    for count in (2, 3, 8):
        tg.set_num_threads(count)
        assert results(*LARGE[name]) == expected


def test_blocks_are_processed_once_each_on_several_threads(monkeypatch):
    monkeypatch.setattr(threads, "_SMALLEST", 0)
    tg.set_num_threads(3)
    done, used, meeting = [], set(), threading.Barrier(3, timeout=30)

    def make_worker():
        used.add(threading.get_ident())
        meeting.wait()  # so that no thread finishes before the others start
        return done.append

    threads.run(range(100), make_worker, 10**9)
    assert sorted(done) == list(range(100))
    assert len(used) == 3


def test_small_computations_use_the_thread_of_the_caller():
    tg.set_num_threads(4)
    used = set()
    threads.run(range(10), lambda: lambda _: used.add(threading.get_ident()), work=10)
    assert used == {threading.get_ident()}


def test_an_error_in_a_block_is_raised_and_stops_the_other_threads(monkeypatch):
    monkeypatch.setattr(threads, "_SMALLEST", 0)
    tg.set_num_threads(2)
    done = []

    def process(block: int) -> None:
        if block == 3:
            raise ZeroDivisionError("block 3")
        done.append(block)

    with pytest.raises(ZeroDivisionError, match="block 3"):
        threads.run(range(10_000), lambda: process, 10**9)
    assert len(done) < 9_999


def test_the_error_state_of_numpy_applies_in_all_threads(monkeypatch):
    monkeypatch.setattr(threads, "_SMALLEST", 0)
    tg.set_num_threads(2)
    huge = np.full((64, 8, 8, 8), 3e38, np.float32)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("error")
        tg.conv2d(huge, np.full((3, 3, 8, 16), 3e38, np.float32))


@pytest.mark.parametrize("count", [0, -1, 1.5, "two"])
def test_the_number_of_threads_must_be_positive(count):
    with pytest.raises(ValueError, match="set_num_threads: count must be a positive integer or None; got"):
        tg.set_num_threads(count)


def test_openblas_has_one_thread_inside_and_its_own_number_afterwards():
    before = tg.runtime().threads
    with blas.one_thread():
        with blas.one_thread():
            assert tg.runtime().threads in (1, None)
        assert tg.runtime().threads in (1, None)
    assert tg.runtime().threads == before


def test_a_slice_list_covers_everything_once():
    assert threads.split(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert [list(part) for part in threads.split_evenly(range(5), 2)] == [[0, 1], [2, 3, 4]]
    assert [list(part) for part in threads.split_evenly(range(2), 16)] == [[0], [1]]


@given(st.integers(1, 3000), st.integers(1, 100), st.sampled_from([0, 10**9]))
def test_equal_slices_cover_all_positions_and_differ_by_one_at_most(length: int, most: int, work: int) -> None:
    slices = threads.split_equally(length, most, work)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(length))
    lengths = [part.stop - part.start for part in slices]
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 3000), st.integers(1, 100))
def test_four_threads_have_as_many_slices_of_large_work(length: int, most: int) -> None:
    count = len(threads.split_equally(length, most, 10**9))
    assert count % 4 == 0 or count == length


def test_small_work_is_not_divided_for_threads() -> None:
    assert threads.split_equally(50, 100, 1000) == [slice(0, 50)]


@pytest.mark.parametrize("started", [0, 1])
def test_all_blocks_are_processed_if_the_system_starts_fewer_threads(started, monkeypatch):
    """A process may be limited to a number of threads."""
    start, count = threading.Thread.start, iter(range(100))

    def start_some(thread):
        if next(count) >= started:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    tg.set_num_threads(4)
    seen = []
    threads.run(range(20), lambda: seen.append, 10**9)
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("count", [True, 2.0, "2"])
def test_a_number_of_threads_that_is_no_integer_is_refused(count):
    with pytest.raises(ValueError, match="count must be a positive integer or None"):
        tg.set_num_threads(count)
