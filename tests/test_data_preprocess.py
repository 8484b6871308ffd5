from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinygrad_cifar.data import DataError
from tinygrad_cifar.data.preprocess import KINDS, Preprocessing

images_of_any_size = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12))
kinds = st.sampled_from(KINDS)
dtypes = st.sampled_from([np.float32, np.float64])


def many_images(count: int = 600, features: int = 7) -> np.ndarray:
    """More than fit one block, with a different mean and spread in each feature."""
    rng = np.random.default_rng(5)
    return (rng.integers(0, 256, (count, features)) // np.arange(1, features + 1)).astype(np.uint8)


@given(images_of_any_size)
def test_scale_divides_by_255_and_nothing_else(images):
    assert (Preprocessing.fit("scale", images).apply(images) == images / 255).all()


@given(images_of_any_size)
def test_centre_makes_the_training_mean_zero(images):
    treated = Preprocessing.fit("centre", images).apply(images)
    np.testing.assert_allclose(treated.mean(axis=0), 0, atol=1e-14)


@given(images_of_any_size)
def test_centre_keeps_differences_between_images(images):
    treated = Preprocessing.fit("centre", images).apply(images)
    np.testing.assert_allclose(treated - treated[0], images / 255 - images[0] / 255, atol=1e-14)


@given(images_of_any_size)
def test_standardise_makes_the_training_mean_zero_and_std_one(images):
    treated = Preprocessing.fit("standardise", images).apply(images)
    constant = (images == images[0]).all(axis=0)
    np.testing.assert_allclose(treated.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(treated.std(axis=0), np.where(constant, 0, 1), atol=1e-12)


@given(st.integers(0, 255), st.integers(1, 300), st.integers(0, 255))
def test_constant_feature_is_centred_and_not_divided(value, count, other):
    treatment = Preprocessing.fit("standardise", np.full((count, 1), value, np.uint8))
    treated = treatment.apply(np.array([[value], [other]], np.uint8))
    np.testing.assert_allclose(treated, [[0], [other / 255 - value / 255]], atol=1e-15)


def test_fit_over_many_blocks_agrees_with_numpy():
    images = many_images()
    treatment = Preprocessing.fit("standardise", images)
    np.testing.assert_allclose(treatment.mean, (images / 255).mean(axis=0, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(treatment.std, (images / 255).std(axis=0, keepdims=True), rtol=1e-13)


@given(kinds, st.randoms(use_true_random=False))
def test_fit_does_not_depend_on_the_order_of_the_images(kind, random):
    images = many_images(300)
    order = random.sample(range(len(images)), len(images))
    one, other = Preprocessing.fit(kind, images), Preprocessing.fit(kind, images[order])
    assert (one.mean == other.mean).all()
    assert (one.std == other.std).all()


def test_full_white_does_not_overflow():
    treatment = Preprocessing.fit("standardise", np.full((1000, 2), 255, np.uint8))
    assert treatment.mean.tolist() == [[1, 1]]


@given(kinds, dtypes, images_of_any_size)
def test_result_is_new_contiguous_and_of_the_dtype(kind, dtype, images):
    before = images.copy()
    treated = Preprocessing.fit(kind, images).apply(images, dtype)
    assert treated.dtype == dtype
    assert treated.shape == images.shape
    assert treated.flags.c_contiguous
    assert treated.flags.writeable
    assert (images == before).all()


@given(kinds, st.integers(0, 600))
def test_an_image_is_treated_alike_whatever_stands_beside_it(kind, count):
    images = many_images()
    treatment = Preprocessing.fit(kind, images)
    assert (treatment.apply(images)[:count] == treatment.apply(images[:count])).all()


def test_float32_is_float64_rounded():
    images = many_images()
    treatment = Preprocessing.fit("standardise", images)
    np.testing.assert_allclose(treatment.apply(images, np.float32), treatment.apply(images), atol=1e-5)


def test_strided_images_are_accepted():
    images = many_images()
    treatment = Preprocessing.fit("standardise", images[::2, ::-1])
    expected = Preprocessing.fit("standardise", images[::2, ::-1].copy()).apply(images[::2, ::-1].copy())
    assert (treatment.apply(images[::2, ::-1]) == expected).all()


@given(kinds, images_of_any_size)
def test_arrays_written_and_read_without_pickle_give_the_same_treatment(kind, images):
    treatment = Preprocessing.fit(kind, images)
    file = io.BytesIO()
    np.savez(file, **treatment.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        again = Preprocessing.from_arrays(read)
    assert again.kind == kind
    assert (again.apply(images) == treatment.apply(images)).all()


def test_treatment_cannot_be_changed():
    treatment = Preprocessing.fit("centre", many_images())
    with pytest.raises(ValueError, match="read-only"):
        treatment.mean[0, 0] = 5
    treatment.to_arrays()["mean"][0, 0] = 5  # the caller's own copy


def test_treatment_does_not_follow_the_array_it_was_made_of():
    mean = np.zeros((1, 2))
    treatment = Preprocessing("centre", mean, np.ones((1, 2)))
    mean[0, 0] = 5
    assert treatment.mean[0, 0] == 0


def test_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(DataError, match="'whiten': choose scale, standardise or centre"):
        Preprocessing.fit("whiten", many_images())


def test_fit_to_no_images_is_refused():
    with pytest.raises(DataError, match="no training images"):
        Preprocessing.fit("centre", np.zeros((0, 4), np.uint8))


@pytest.mark.parametrize("images", [np.zeros((2, 4)), np.zeros(4, np.uint8), np.zeros((2, 4), np.int64)])
def test_what_is_no_image_is_refused(images):
    with pytest.raises(DataError, match="uint8 of the shape"):
        Preprocessing.fit("scale", images)


def test_images_of_another_size_are_refused():
    treatment = Preprocessing.fit("scale", np.zeros((2, 4), np.uint8))
    with pytest.raises(DataError, match="5 features cannot be treated by the mean and the std of 4"):
        treatment.apply(np.zeros((2, 5), np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.uint8])
def test_result_of_another_dtype_is_refused(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        Preprocessing.fit("scale", many_images()).apply(many_images(), dtype)


@pytest.mark.parametrize("lost", ["kind", "mean", "std"])
def test_missing_array_is_named(lost):
    kept = Preprocessing.fit("centre", many_images()).to_arrays()
    del kept[lost]
    with pytest.raises(DataError, match=lost):
        Preprocessing.from_arrays(kept)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("kind", np.array("other"), "'other'"),
        ("mean", np.zeros((1, 3)), r"mean \(1, 3\) and std \(1, 7\)"),
        ("mean", np.zeros(7), r"mean must be float64 of the shape \(1, D\)"),
        ("mean", np.full((1, 7), np.nan), "mean must be finite, and feature 0 is not"),
        ("std", np.zeros((1, 7)), "std must be positive"),
        ("std", np.ones((1, 7), np.float32), "std must be float64"),
        ("std", np.array([[1, 1, np.inf, 1, 1, 1, 1]]), "std must be finite, and feature 2"),
    ],
)
def test_unfit_array_is_refused(name, value, complaint):
    read = Preprocessing.fit("centre", many_images()).to_arrays()
    with pytest.raises(DataError, match=complaint):
        Preprocessing.from_arrays({**read, name: value})
