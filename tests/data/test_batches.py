from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.data import DataError
from tinygrad_cifar.data.batches import iterate_batches, minibatches

counts = st.integers(0, 70)
sizes = st.integers(1, 80)
seeds = st.integers(0, 2**32)
maybe_seeds = st.none() | seeds


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


def epoch(count: int, size: int, seed: int | None, *, drop_last: bool = False) -> list[np.ndarray]:
    batches = minibatches(count, size, generator(seed), drop_last=drop_last)
    return [np.arange(count)[batch] for batch in batches]


@pytest.mark.parametrize(("count", "size"), [(5, 2.5), (5.0, 2)])
def test_numbers_that_are_not_integers_raise(count, size):
    with pytest.raises(DataError, match="must be an integer; got"):
        minibatches(count, size)


def test_lists_are_accepted():
    ((X, y), (X_last, y_last)) = iterate_batches([[1], [2], [3]], [4, 5, 6], 2)
    assert (X.tolist(), y.tolist(), X_last.tolist(), y_last.tolist()) == ([[1], [2]], [4, 5], [[3]], [6])


@given(counts, sizes, maybe_seeds)
def test_every_index_comes_exactly_once(count, size, seed):
    drawn = np.concatenate([np.arange(0), *epoch(count, size, seed)])
    assert sorted(drawn.tolist()) == list(range(count))


@given(counts, sizes, maybe_seeds)
def test_all_batches_but_the_last_are_full(count, size, seed):
    lengths = [len(batch) for batch in epoch(count, size, seed)]
    assert lengths[:-1] == [size] * (count // size if count % size else max(count // size - 1, 0))


@given(counts, sizes, maybe_seeds)
def test_drop_last_leaves_out_an_incomplete_batch(count, size, seed):
    batches = epoch(count, size, seed, drop_last=True)
    assert [len(batch) for batch in batches] == [size] * (count // size)
    for batch, same in zip(batches, epoch(count, size, seed), strict=False):
        assert (batch == same).all()


@given(counts, sizes)
def test_batches_without_a_generator_are_in_file_order(count, size):
    drawn = np.concatenate([np.arange(0), *epoch(count, size, None)])
    assert drawn.tolist() == list(range(count))


@given(counts, sizes, seeds)
def test_a_seed_gives_the_same_batches(count, size, seed):
    for one, other in zip(epoch(count, size, seed), epoch(count, size, seed), strict=True):
        assert (one == other).all()


def test_epochs_of_one_generator_differ():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(minibatches(100, 10, rng))) for _ in range(2))
    assert (first != second).any()


def test_the_permutation_is_drawn_by_the_call():
    used, untouched = np.random.default_rng(0), np.random.default_rng(0)
    minibatches(10, 5, used)
    untouched.permutation(10)
    assert used.bit_generator.state == untouched.bit_generator.state


@pytest.mark.parametrize(("count", "size"), [(-1, 5), (5, 0), (5, -2)])
def test_invalid_counts_raise_in_the_call(count, size):
    with pytest.raises(DataError, match=f"got {min(count, size)}"):
        minibatches(count, size)


@given(counts, sizes, maybe_seeds, st.booleans())
def test_iterate_batches_takes_the_rows_of_minibatches(count, size, seed, drop_last):
    X, y = np.arange(2 * count).reshape(count, 2), np.arange(count) % 10
    pairs = list(iterate_batches(X, y, size, generator(seed), drop_last=drop_last))
    rows = epoch(count, size, seed, drop_last=drop_last)
    assert len(pairs) == len(rows)
    for (X_batch, y_batch), batch in zip(pairs, rows, strict=True):
        assert (X_batch == X[batch]).all()
        assert (y_batch == y[batch]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("seed", [None, 1])
def test_iterate_batches_does_not_change_dtypes(dtype, seed):
    X_batch, y_batch = next(iterate_batches(np.zeros((4, 3), dtype), np.zeros(4, np.int64), 2, generator(seed)))
    assert (X_batch.dtype, y_batch.dtype) == (dtype, np.int64)


def test_batches_in_file_order_are_read_only_views():
    X, y = np.zeros((4, 3)), np.zeros(4, np.int64)
    for batch in iterate_batches(X, y, 2):
        for part, whole in zip(batch, (X, y), strict=True):
            assert np.shares_memory(part, whole)
            assert not part.flags.writeable
    assert X.flags.writeable


def test_shuffled_batches_do_not_alias_the_data():
    X, y = np.zeros((40, 3)), np.zeros(40, np.int64)
    parts = [part for batch in iterate_batches(X, y, 10, np.random.default_rng(0)) for part in batch]
    for i, part in enumerate(parts):
        assert not any(np.shares_memory(part, other) for other in (X, y, *parts[:i]))


@pytest.mark.parametrize(("X", "y"), [((4, 3), (5,)), ((4, 3), ()), ((), ())])
def test_different_numbers_of_images_and_labels_raise(X, y):
    with pytest.raises(DataError, match="same length"):
        iterate_batches(np.zeros(X), np.zeros(y), 2)


def test_a_large_batch_does_not_overwrite_a_referenced_buffer():
    X, y = np.arange(60_000, dtype=float).reshape(6, 10_000).repeat(60, axis=1), np.arange(6)
    buffers = []
    held = []
    for epoch in range(3):
        for X_batch, y_batch in iterate_batches(X, y, 4, np.random.default_rng(epoch), drop_last=True, buffers=buffers):
            assert X_batch.nbytes >= 16 * 2**20
            held.append((X_batch[:, ::1000], y_batch))  # a view prevents the reuse of its buffer
    assert all(np.array_equal(view, X[labels, ::1000]) for view, labels in held)


def test_large_batches_share_two_buffers():
    X, y = np.zeros((8, 2**20)), np.arange(8)
    buffers = []
    addresses = set()
    for epoch in range(3):
        for X_batch, _ in iterate_batches(X, y, 4, np.random.default_rng(epoch), buffers=buffers):
            addresses.add(X_batch.ctypes.data)
            X_batch.flags.writeable = False  # as a tensor does
    assert len(addresses) == 2


@pytest.mark.parametrize(
    "sample",
    [
        lambda rng: np.concatenate(list(minibatches(50, 8, rng))),
        lambda rng: np.concatenate([X for X, _ in iterate_batches(np.arange(50), np.arange(50), 8, rng)]),
    ],
)
def test_an_integer_is_the_seed_of_a_generator(sample):
    assert (sample(5) == sample(np.random.default_rng(5))).all()


@given(counts, sizes, maybe_seeds)
def test_the_last_batch_is_kept_by_default(count, size, seed):
    given_up = sum(map(len, epoch(count, size, seed, drop_last=False)))
    assert sum(len(np.arange(count)[batch]) for batch in minibatches(count, size, generator(seed))) == given_up == count
    images = np.zeros((count, 1))
    assert sum(len(X) for X, _ in iterate_batches(images, images, size, generator(seed))) == count


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("megabytes", "pooled"), [(15, False), (16, True), (20, True)])
def test_only_batches_of_16_mebibytes_or_more_are_stored_for_reuse(rows, megabytes, pooled):
    X = np.zeros((2 * rows, megabytes * 2**20 // rows), np.uint8)
    buffers = []
    for X_batch, _ in iterate_batches(X, np.arange(2 * rows), rows, np.random.default_rng(0), buffers=buffers):
        assert any(X_batch is buffer for buffer in buffers) == pooled
    assert len(buffers) == 2 * pooled


def test_at_most_two_buffers_are_stored():
    X, y = np.zeros((4, 2**24), np.uint8), np.arange(4)
    buffers = []
    held = [X_batch for X_batch, _ in iterate_batches(X, y, 1, np.random.default_rng(0), buffers=buffers)]
    assert [any(batch is buffer for buffer in buffers) for batch in held] == [True, True, False, False]


def test_a_buffer_of_another_shape_is_not_reused():
    X, y = np.zeros((5, 2**24), np.uint8), np.arange(5)
    X[:] = y[:, np.newaxis]
    buffers = []
    for size in (2, 1, 2):
        for X_batch, y_batch in iterate_batches(X, y, size, np.random.default_rng(0), buffers=buffers):
            assert X_batch.shape == (len(y_batch), 2**24)
            assert (X_batch[:, :: 2**20] == y_batch[:, np.newaxis]).all()


def test_batches_may_be_empty():
    assert list(minibatches(0, 3)) == []
    assert list(minibatches(2, 1)) == [slice(0, 1), slice(1, 2)]


@given(st.lists(st.integers(1, 3), max_size=2), st.lists(st.integers(1, 3), max_size=2), maybe_seeds)
def test_images_and_labels_may_have_any_number_of_axes(image, label, seed):
    X, y = np.ones((5, *image)), np.ones((5, *label))
    assert sum(len(X_batch) for X_batch, _ in iterate_batches(X, y, 2, generator(seed))) == 5


def test_an_array_without_axes_has_no_images():
    with pytest.raises(DataError, match="same length"):
        iterate_batches(np.zeros(()), np.zeros(4), 2)


def test_buffers_are_not_reused_by_an_interpreter_without_reference_counts():
    program = """
import sys
import numpy as np
del sys.getrefcount
from tinygrad_cifar.data import iterate_batches
X = np.arange(6, dtype=np.uint8)[:, np.newaxis] * np.ones(2**23, np.uint8)
buffers = []
batches = [X_batch for X_batch, _ in iterate_batches(X, np.arange(6), 2, np.random.default_rng(0), buffers=buffers)]
sys.exit(len(set(map(id, batches))) != 3)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
