from __future__ import annotations

import numpy as np
import pytest

from tinygrad_cifar.data import DataError, Dataset
from tinygrad_cifar.data.builtin import builtin_dataset
from tinygrad_cifar.data.preprocess import Preprocessing


@pytest.fixture(scope="module")
def data() -> Dataset:
    return builtin_dataset(0)


def test_is_not_named_cifar10(data):
    assert data.name == "built-in shapes (not CIFAR-10)"


def test_has_ten_classes_of_different_names(data):
    assert len(set(data.class_names)) == len(data.class_names) == 10


def test_every_split_has_equally_many_images_per_class(data):
    for split in (*data.training_batches, data.test):
        assert np.bincount(split.labels, minlength=10).tolist() == [200] * 10


def test_order_is_shuffled_in_every_split(data):
    orders = {split.labels.tobytes() for split in (*data.training_batches, data.test)}
    assert len(orders) == 6
    assert all(np.diff(split.labels).min() < 0 for split in (*data.training_batches, data.test))


def test_all_images_differ(data):
    images = np.concatenate([data.training().images, data.test.images])
    assert len({image.tobytes() for image in images}) == 12_000


def test_seed_gives_the_same_bytes_on_every_platform(data):
    """All published results on this data depend on these bytes."""
    assert data.identity()["sha256"] == "5b8141c688029707431a98694d0cc394b360566349134af9c872b475dc2eadb5"


def test_different_seeds_give_different_images(data):
    assert (builtin_dataset(1).test.images != data.test.images).any(axis=1).all()


def test_the_whole_range_of_brightness_is_used(data):
    assert (data.test.images.min(), data.test.images.max()) == (0, 255)


def test_a_negative_seed_raises():
    with pytest.raises(DataError, match="seed must be at least 0; got -1"):
        builtin_dataset(-1)


def test_horizontal_and_vertical_stripes_vary_along_their_own_axis(data):
    """The layout of an image is the one that Split documents."""
    pictures = data.test.images.reshape(-1, 3, 32, 32).astype(np.float64)
    # The centre of the image is inside every shape. Noise and rotation affect both axes equally.
    middle = pictures[:, :, 11:21, 11:21]
    down = np.abs(np.diff(middle.mean(axis=3), axis=2)).mean(axis=(1, 2))
    across = np.abs(np.diff(middle.mean(axis=2), axis=2)).mean(axis=(1, 2))
    horizontal = data.test.labels == data.class_names.index("horizontal stripes")
    vertical = data.test.labels == data.class_names.index("vertical stripes")
    assert (down > across)[horizontal].mean() > 0.9
    assert (across > down)[vertical].mean() > 0.9


@pytest.fixture(scope="module")
def linear_accuracy(data) -> float:
    """Test accuracy of softmax regression, with a hand-derived gradient."""
    train = data.training()
    preprocessing = Preprocessing.fit("standardise", train.images)
    X, X_test = (preprocessing.apply(images, np.float32) for images in (train.images, data.test.images))
    one_hot = np.eye(10, dtype=np.float32)[train.labels]
    rng = np.random.default_rng(0)
    W, b = np.zeros((3072, 10), np.float32), np.zeros(10, np.float32)
    for _ in range(8):
        for batch in np.array_split(rng.permutation(len(X)), 100):
            scores = X[batch] @ W + b
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            g = (p / p.sum(axis=1, keepdims=True) - one_hot[batch]) / np.float32(len(batch))
            W -= np.float32(0.001) * (X[batch].T @ g)
            b -= np.float32(0.001) * g.sum(axis=0)
    return float(((X_test @ W + b).argmax(axis=1) == data.test.labels).mean())


def test_a_linear_classifier_stays_below_60_percent(linear_accuracy):
    assert linear_accuracy < 0.6


def test_a_linear_classifier_learns(linear_accuracy):
    assert linear_accuracy > 0.25
