"""Data sets: validation on construction, splits and identity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.data.dataset import DataError, Dataset, Split

CLASSES = ("a", "b", "c")


def make_split(count: int, first: int = 0) -> Split:
    """Return images whose first pixels are ``first``, ``first + 1``, ..."""
    images = np.zeros((count, 3072), np.uint8)
    images[:, 0] = np.arange(first, first + count)
    return Split(images, np.arange(first, first + count, dtype=np.int64) % len(CLASSES))


def make_dataset(*counts: int, test: int = 2) -> Dataset:
    starts = np.cumsum([0, *counts])
    batches = tuple(make_split(count, int(first)) for count, first in zip(counts, starts, strict=False))
    return Dataset("drawn", CLASSES, batches, make_split(test, 200))


five_counts = st.lists(st.integers(1, 9), min_size=5, max_size=5)


@given(five_counts, st.data())
def test_split_preserves_all_images(counts, data):
    dataset = make_dataset(*counts)
    held_out = data.draw(st.integers(1, sum(counts) - 1))
    train, validation = dataset.split(held_out)
    assert len(validation) == held_out
    joined = dataset.training()
    np.testing.assert_array_equal(np.concatenate([train.images, validation.images]), joined.images)
    np.testing.assert_array_equal(np.concatenate([train.labels, validation.labels]), joined.labels)


@given(five_counts, st.integers(1, 5))
def test_training_concatenates_the_first_batches_in_order(counts, n):
    joined = make_dataset(*counts).training(n)
    np.testing.assert_array_equal(joined.images[:, 0], np.arange(sum(counts[:n])))


def test_batches_are_numbered_from_one():
    dataset = make_dataset(3, 1, 1, 1, 4)
    assert [len(dataset.batch(1)), len(dataset.batch(5))] == [3, 4]


@pytest.mark.parametrize(
    "call", [lambda data: data.batch(1.5), lambda data: data.training(1.5), lambda data: data.split(1.5)]
)
def test_a_number_that_is_not_an_integer_raises(call):
    with pytest.raises(DataError, match=r"must be an integer; got 1.5"):
        call(make_dataset(1, 1, 1, 1, 1))


@pytest.mark.parametrize("number", [0, 6, -1])
def test_a_batch_number_out_of_range_raises(number):
    with pytest.raises(DataError, match=f"must be from 1 to 5; got {number}"):
        make_dataset(1, 1, 1, 1, 1).batch(number)


@pytest.mark.parametrize("n", [0, 6, -1])
def test_a_number_of_batches_out_of_range_raises(n):
    with pytest.raises(DataError, match=f"n must be from 1 to 5 training batches; got {n}"):
        make_dataset(1, 1, 1, 1, 1).training(n)


@pytest.mark.parametrize("validation", [0, -1, 5, 5000])
def test_an_empty_split_raises(validation):
    with pytest.raises(DataError, match=f"validation must be from 1 to 4 of 5 training images; got {validation}"):
        make_dataset(1, 1, 1, 1, 1).split(validation)


IMAGES, LABELS = np.zeros((2, 3072), np.uint8), np.zeros(2, np.int64)
WRONG_ARRAYS = {
    "images must be uint8; got float32": (IMAGES.astype(np.float32), LABELS),
    "labels must be int64; got int32": (IMAGES, LABELS.astype(np.int32)),
    r"images must be a NumPy array .* got list": (IMAGES.tolist(), LABELS),
    r"labels must be a NumPy array .* got list": (IMAGES, LABELS.tolist()),
    r"shape \(N, 3072\) with N >= 1; got \(2, 32, 32, 3\)": (IMAGES.reshape(2, 32, 32, 3), LABELS),
    r"shape \(N, 3072\) with N >= 1; got \(3072,\)": (IMAGES[0], LABELS),
    r"shape \(N, 3072\) with N >= 1; got \(0, 3072\)": (IMAGES[:0], LABELS[:0]),
    r"labels must have the shape \(2,\), one label per image; got \(1,\)": (IMAGES, LABELS[:1]),
    r"labels must have the shape \(2,\), one label per image; got \(2, 1\)": (IMAGES, LABELS[:, None]),
}


@pytest.mark.parametrize("message", WRONG_ARRAYS)
def test_invalid_arrays_raise(message):
    with pytest.raises(DataError, match=message):
        Split(*WRONG_ARRAYS[message])


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_split_is_read_only(part):
    with pytest.raises(ValueError, match="read-only"):
        getattr(make_split(2), part)[0] = 1


def test_creating_a_split_leaves_the_original_arrays_writable():
    images, labels = IMAGES.copy(), LABELS.copy()
    Split(images, labels)
    assert images.flags.writeable
    assert labels.flags.writeable


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_a_class_name_raises(label):
    good, bad = make_split(2), Split(IMAGES, np.array([0, label]))
    with pytest.raises(DataError, match=rf"image 1 in training batch 2 of drawn has the label {label}"):
        Dataset("drawn", CLASSES, (good, bad, good, good, good), good)


def test_a_label_of_the_test_batch_without_a_class_name_raises():
    good, bad = make_split(2), Split(IMAGES, np.array([0, 7]))
    with pytest.raises(DataError, match="image 1 in the test batch of drawn has the label 7"):
        Dataset("drawn", CLASSES, (good,) * 5, bad)


def test_other_than_five_training_batches_raise():
    with pytest.raises(DataError, match="training_batches must have length 5; got 4"):
        make_dataset(1, 1, 1, 1)


def test_identity_counts_the_images():
    identity = make_dataset(3, 1, 1, 1, 4, test=7).identity()
    assert [identity["name"], identity["training_images"], identity["test_images"]] == ["drawn", 10, 7]


def test_identity_does_not_depend_on_the_memory_layout():
    split = make_split(2)
    same = Split(np.asfortranarray(split.images), split.labels[::-1].copy()[::-1])
    identities = [Dataset("drawn", CLASSES, (part,) * 5, part).identity() for part in (split, same)]
    assert identities[0] == identities[1]


@given(st.integers(0, 5), st.integers(0, 1), st.integers(0, 3071), st.integers(1, 255))
def test_identity_changes_with_any_pixel(batch, image, pixel, change):
    splits = [make_split(2) for _ in range(6)]
    before = Dataset("drawn", CLASSES, tuple(splits[:5]), splits[5]).identity()
    images = splits[batch].images.copy()
    images[image, pixel] += np.uint8(change)
    splits[batch] = Split(images, splits[batch].labels)
    assert Dataset("drawn", CLASSES, tuple(splits[:5]), splits[5]).identity()["sha256"] != before["sha256"]


def test_identity_changes_with_a_label():
    split, other = make_split(2), Split(make_split(2).images, np.array([0, 2]))
    identities = [Dataset("drawn", CLASSES, (split,) * 5, test).identity() for test in (split, other)]
    assert identities[0]["sha256"] != identities[1]["sha256"]


def test_identity_changes_with_the_border_between_batches():
    # All values are 0, so that only the border differs.
    one, two = (Split(np.zeros((count, 3072), np.uint8), np.zeros(count, np.int64)) for count in (1, 2))
    first = Dataset("black", CLASSES, (one, two, one, one, one), one)
    second = Dataset("black", CLASSES, (two, one, one, one, one), one)
    assert first.identity()["sha256"] != second.identity()["sha256"]


def test_splits_and_data_sets_are_equal_to_themselves_only_and_hashable():
    one, other = (Split(np.zeros((2, 3072), np.uint8), np.zeros(2, np.int64)) for _ in range(2))
    assert one != other
    assert len({one, other}) == 2
    datasets = {Dataset("black", ("zero",), (one,) * 5, one) for _ in range(2)}
    assert len(datasets) == 2
