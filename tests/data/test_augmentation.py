"""Augmentation and views: flips, shifts and their borders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.data import DataError
from tinygrad_cifar.data.augmentation import augment_cutout, augment_flip, augment_shift, mirror, weighted_views

seeds = st.integers(0, 2**32)


def some_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


@given(st.integers(0, 6), seeds)
def test_flip_returns_each_image_or_its_mirror_image(count, seed):
    images = some_images(count)
    flipped = augment_flip(images, np.random.default_rng(seed)).reshape(-1, 3, 32, 32)
    for before, after in zip(images.reshape(-1, 3, 32, 32), flipped, strict=True):
        assert (after == before).all() or (after == before[:, :, ::-1]).all()


def test_about_half_of_the_images_are_flipped():
    images = some_images(1000)
    flipped = (augment_flip(images, np.random.default_rng(0)) != images).any(axis=1)
    assert 420 < flipped.sum() < 580  # five standard deviations


@pytest.mark.parametrize("border", ["edge", "reflect"])
@given(st.integers(0, 4), st.integers(0, 3), seeds)
def test_shift_returns_a_shifted_image_with_its_border(border, count, most, seed):
    images = some_images(count)
    moved = augment_shift(images, np.random.default_rng(seed), most, border=border).reshape(-1, 3, 32, 32)
    for before, after in zip(images.reshape(-1, 3, 32, 32), moved, strict=True):
        assert any(
            (after == moved_by(before, down, right, border)).all()
            for down in range(-most, most + 1)
            for right in range(-most, most + 1)
        )


def moved_by(picture: np.ndarray, down: int, right: int, border: str = "edge") -> np.ndarray:
    return picture[:, sources(down, border)][:, :, sources(right, border)]


def sources(shift: int, border: str) -> np.ndarray:
    """Return which pixel of a row each pixel of the shifted row shows."""
    at = np.arange(32) - shift
    return np.clip(at, 0, 31) if border == "edge" else np.minimum(np.abs(at), 62 - np.abs(at))


def test_every_shift_occurs():
    """A white pixel in the centre shows the shift of its image."""
    images = np.zeros((1000, 3, 32, 32), np.uint8)
    images[:, :, 16, 16] = 255
    moved = augment_shift(images.reshape(-1, 3072), np.random.default_rng(0), 2).reshape(-1, 3, 32, 32)
    places = np.argwhere(moved[:, 0])[:, 1:]
    assert np.unique(places, axis=0).tolist() == [[i, j] for i in range(14, 19) for j in range(14, 19)]


@given(st.integers(0, 4), st.integers(0, 32), seeds)
def test_cutout_fills_one_square_of_each_image(count, size, seed):
    images = some_images(count)
    mean = some_images(1, seed=1)[0].reshape(3, 32, 32)
    filled = augment_cutout(images, np.random.default_rng(seed), size, fill=mean.ravel()).reshape(-1, 3, 32, 32)
    for before, after in zip(images.reshape(-1, 3, 32, 32), filled, strict=True):
        assert any(
            (after == with_square(before, top, left, size, mean)).all()
            for top in range(33 - size)
            for left in range(33 - size)
        )


def with_square(picture: np.ndarray, top: int, left: int, size: int, fill: np.ndarray) -> np.ndarray:
    square = np.s_[:, top : top + size, left : left + size]
    expected = picture.copy()
    expected[square] = fill[square]
    return expected


def test_cutout_fills_with_black_by_default():
    assert not augment_cutout(some_images(2), 0, 32).any()


def test_every_place_of_a_square_occurs():
    filled = augment_cutout(np.full((2000, 3072), 255, np.uint8), 0, 28).reshape(-1, 3, 32, 32)
    corners = [tuple(np.argwhere(image[0] == 0)[0]) for image in filled]
    assert set(corners) == {(i, j) for i in range(5) for j in range(5)}


@pytest.mark.parametrize("augment", [augment_cutout, augment_shift])
def test_a_size_that_is_not_an_integer_raises(augment):
    with pytest.raises(DataError, match=r"must be an integer; got 2.5"):
        augment(some_images(2), 0, 2.5)


@pytest.mark.parametrize("size", [-1, 33])
def test_a_square_out_of_range_raises(size):
    with pytest.raises(DataError, match=f"size must be from 0 to 32 pixels; got {size}"):
        augment_cutout(some_images(2), 0, size)


@pytest.mark.parametrize("fill", [np.zeros(3, np.uint8), np.zeros(3072), np.zeros((1, 3072), np.uint8), [0]])
def test_a_fill_that_is_not_an_image_raises(fill):
    with pytest.raises(DataError, match=r"fill must be uint8 with the shape \(3072,\)"):
        augment_cutout(some_images(2), 0, 4, fill=fill)


@pytest.mark.parametrize(
    "augment",
    [
        augment_flip,
        lambda images, rng: augment_shift(images, rng, 4),
        lambda images, rng: augment_shift(images, rng, 4, border="reflect"),
        lambda images, rng: augment_cutout(images, rng, 9),
        lambda images, _: mirror(images),
    ],
)
class TestEveryAugmentation:
    def test_returns_new_contiguous_uint8_rows(self, augment):
        images = some_images(20)
        before = images.copy()
        new = augment(images, np.random.default_rng(0))
        assert (new.dtype, new.shape, new.flags.c_contiguous) == (np.uint8, images.shape, True)
        assert not np.shares_memory(new, images)
        assert (images == before).all()

    def test_is_deterministic_for_a_seed(self, augment):
        images = some_images(20)
        one, other = (augment(images, np.random.default_rng(3)) for _ in range(2))
        assert (one == other).all()

    def test_accepts_read_only_images(self, augment):
        images = some_images(20)
        images.flags.writeable = False
        assert augment(images, np.random.default_rng(0)).flags.writeable

    @pytest.mark.parametrize("wrong", [np.zeros((2, 3072)), np.zeros((2, 3, 32, 32), np.uint8)])
    def test_rejects_arrays_that_are_not_images(self, augment, wrong):
        with pytest.raises(DataError, match="uint8 with the shape"):
            augment(wrong, np.random.default_rng(0))


@pytest.mark.parametrize("most", [-1, 32])
def test_a_shift_out_of_range_raises(most):
    with pytest.raises(DataError, match=f"got {most}"):
        augment_shift(some_images(2), np.random.default_rng(0), most)


@pytest.mark.parametrize(
    "sample",
    [
        lambda rng: augment_flip(some_images(8), rng),
        lambda rng: augment_shift(some_images(8), rng, 3),
        lambda rng: augment_cutout(some_images(8), rng, 3),
    ],
)
def test_an_integer_is_the_seed_of_a_generator(sample):
    assert (sample(5) == sample(np.random.default_rng(5))).all()


@given(st.integers(0, 9), seeds)
def test_an_image_is_flipped_if_its_number_is_below_one_half(count, seed):
    images = some_images(count)
    numbers = np.random.default_rng(seed).random(count)
    expected = images.reshape(-1, 3, 32, 32).copy()
    expected[numbers < 0.5] = expected[numbers < 0.5][..., ::-1]
    assert (augment_flip(images, np.random.default_rng(seed)) == expected.reshape(images.shape)).all()


@pytest.mark.parametrize("shape", [(), (2,), (2, 3071), (2, 3073), (2, 3072, 1)])
def test_images_of_another_shape_are_rejected(shape):
    with pytest.raises(DataError, match="shape"):
        augment_flip(np.zeros(shape, np.uint8), np.random.default_rng(0))


def test_the_largest_shift_is_31_pixels():
    moved = augment_shift(some_images(3), np.random.default_rng(0), 31)
    assert moved.shape == (3, 3072)


@given(st.integers(0, 4))
def test_mirror_reverses_the_rows_of_pixels(count):
    images = some_images(count)
    assert (mirror(images).reshape(-1, 32)[:, ::-1] == images.reshape(-1, 32)).all()


def test_an_unknown_border_raises():
    with pytest.raises(DataError, match="border must be edge or reflect; got 'wrap'"):
        augment_shift(some_images(2), 0, 1, border="wrap")


def by_weight(views) -> list[tuple[float, bytes]]:
    return sorted((weight, images.tobytes()) for weight, images in views)


@given(st.integers(0, 3))
def test_six_views_are_images_and_diagonal_shifts_with_their_mirror_images(count):
    images = some_images(count)
    expected = []
    for weight, shift in ((0.25, 0), (0.125, 1), (0.125, -1)):
        moved = np.array([moved_by(image, shift, shift, "reflect") for image in images.reshape(-1, 3, 32, 32)])
        moved = moved.astype(np.uint8).reshape(images.shape)
        expected += [(weight, moved), (weight, mirror(moved))]
    assert by_weight(weighted_views(images, border="reflect")) == by_weight(expected)


@given(st.integers(0, 2), st.sampled_from(["edge", "reflect"]))
def test_fifty_views_are_all_shifts_by_up_to_two_pixels_and_their_mirror_images(count, border):
    images = some_images(count)
    expected = []
    for down, right in itertools.product(range(-2, 3), repeat=2):
        moved = np.array([moved_by(image, down, right, border) for image in images.reshape(-1, 3, 32, 32)])
        moved = moved.astype(np.uint8).reshape(images.shape)
        expected += [(0.02, moved), (0.02, mirror(moved))]
    assert by_weight(weighted_views(images, "fifty", border=border)) == by_weight(expected)


def test_an_unknown_border_of_views_raises():
    with pytest.raises(DataError, match="border must be edge or reflect; got 'wrap'"):
        weighted_views(some_images(1), "six", border="wrap")


def test_other_views_are_the_images_and_their_mirror_images():
    images = some_images(3)
    assert by_weight(weighted_views(images, "one")) == by_weight([(1.0, images)])
    assert by_weight(weighted_views(images, "mirror")) == by_weight([(0.5, images), (0.5, mirror(images))])


def test_unknown_views_raise():
    with pytest.raises(DataError, match="views must be one, mirror, six or fifty; got 'two'"):
        weighted_views(some_images(1), "two")


def test_views_of_arrays_that_are_not_images_raise():
    with pytest.raises(DataError, match="uint8 with the shape"):
        weighted_views(np.zeros((2, 3072)))
    with pytest.raises(DataError, match="images must be a NumPy array of uint8; got list"):
        weighted_views([[0] * 3072])
