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
    """Return more images than a block, with different means and standard deviations of the features."""
    rng = np.random.default_rng(5)
    return (rng.integers(0, 256, (count, features)) // np.arange(1, features + 1)).astype(np.uint8)


@given(images_of_any_size)
def test_scale_only_divides_by_255(images):
    assert (Preprocessing.fit("scale", images).apply(images) == images / 255).all()


@given(images_of_any_size)
def test_centre_makes_the_training_mean_zero(images):
    result = Preprocessing.fit("centre", images).apply(images)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-14)


@given(images_of_any_size)
def test_centre_preserves_differences_between_images(images):
    result = Preprocessing.fit("centre", images).apply(images)
    np.testing.assert_allclose(result - result[0], images / 255 - images[0] / 255, atol=1e-14)


@given(images_of_any_size)
def test_standardise_makes_the_training_mean_zero_and_std_one(images):
    result = Preprocessing.fit("standardise", images).apply(images)
    constant = (images == images[0]).all(axis=0)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(result.std(axis=0), np.where(constant, 0, 1), atol=1e-12)


@given(st.integers(0, 255), st.integers(1, 300), st.integers(0, 255))
def test_a_constant_feature_is_centred_and_not_divided(value, count, other):
    preprocessing = Preprocessing.fit("standardise", np.full((count, 1), value, np.uint8))
    result = preprocessing.apply(np.array([[value], [other]], np.uint8))
    np.testing.assert_allclose(result, [[0], [other / 255 - value / 255]], atol=1e-15)


def test_fit_over_many_blocks_agrees_with_numpy():
    images = many_images()
    preprocessing = Preprocessing.fit("standardise", images)
    np.testing.assert_allclose(preprocessing.mean, (images / 255).mean(axis=0, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(preprocessing.std, (images / 255).std(axis=0, keepdims=True), rtol=1e-13)


@given(kinds, st.randoms(use_true_random=False))
def test_fit_does_not_depend_on_the_order_of_the_images(kind, random):
    images = many_images(300)
    order = random.sample(range(len(images)), len(images))
    one, other = Preprocessing.fit(kind, images), Preprocessing.fit(kind, images[order])
    assert (one.mean == other.mean).all()
    assert (one.std == other.std).all()


def test_white_images_do_not_overflow():
    preprocessing = Preprocessing.fit("standardise", np.full((1000, 2), 255, np.uint8))
    assert preprocessing.mean.tolist() == [[1, 1]]


@given(kinds, dtypes, images_of_any_size)
def test_the_result_is_a_new_contiguous_array_of_the_dtype(kind, dtype, images):
    before = images.copy()
    result = Preprocessing.fit(kind, images).apply(images, dtype)
    assert result.dtype == dtype
    assert result.shape == images.shape
    assert result.flags.c_contiguous
    assert result.flags.writeable
    assert (images == before).all()


@given(kinds, st.integers(0, 600))
def test_the_result_of_an_image_does_not_depend_on_the_others(kind, count):
    images = many_images()
    preprocessing = Preprocessing.fit(kind, images)
    error = 1e-12 if kind == "whiten" else 0  # the order of sums in a matrix product varies
    np.testing.assert_allclose(
        preprocessing.apply(images)[:count], preprocessing.apply(images[:count]), rtol=0, atol=error
    )


def test_float32_equals_rounded_float64():
    images = many_images()
    preprocessing = Preprocessing.fit("standardise", images)
    np.testing.assert_allclose(preprocessing.apply(images, np.float32), preprocessing.apply(images), atol=1e-5)


def test_strided_images_are_accepted():
    images = many_images()
    preprocessing = Preprocessing.fit("standardise", images[::2, ::-1])
    expected = Preprocessing.fit("standardise", images[::2, ::-1].copy()).apply(images[::2, ::-1].copy())
    assert (preprocessing.apply(images[::2, ::-1]) == expected).all()


@given(kinds, images_of_any_size)
def test_statistics_stored_without_pickle_give_the_same_preprocessing(kind, images):
    preprocessing = Preprocessing.fit(kind, images)
    file = io.BytesIO()
    np.savez(file, **preprocessing.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        again = Preprocessing.from_arrays(read)
    assert again.kind == kind
    assert (again.apply(images) == preprocessing.apply(images)).all()


def test_statistics_are_read_only():
    preprocessing = Preprocessing.fit("centre", many_images())
    with pytest.raises(ValueError, match="read-only"):
        preprocessing.mean[0, 0] = 5
    preprocessing.to_arrays()["mean"][0, 0] = 5  # a copy


def test_statistics_do_not_alias_the_original_arrays():
    mean = np.zeros((1, 2))
    preprocessing = Preprocessing("centre", mean, np.ones((1, 2)))
    mean[0, 0] = 5
    assert preprocessing.mean[0, 0] == 0


def test_an_unknown_kind_raises():
    with pytest.raises(DataError, match="kind must be scale, standardise, centre or whiten; got 'blur'"):
        Preprocessing.fit("blur", many_images())


# -- whitening -------------------------------------------------------------------------------------------------------


@st.composite
def images_and_components(draw):
    """Few images with many features, and many images with few features, which use different algorithms."""
    images = draw(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 40))))
    return images, draw(st.integers(1, images.shape[1]))


def variances_of(images: np.ndarray) -> np.ndarray:
    """Return the variances along the principal components, the largest first."""
    centred = images / 255 - (images / 255).mean(axis=0)
    found = np.linalg.eigvalsh(centred.T @ centred / len(images))[::-1]
    return np.where(found > 1e-10 * found[0], found, 0) if found[0] > 1e-12 else np.zeros_like(found)


@given(images_and_components())
def test_whitened_features_are_uncorrelated_with_variance_one_or_zero(case):
    images, components = case
    result = Preprocessing.fit("whiten", images, components).apply(images)
    expected = np.diag((variances_of(images)[:components] > 0).astype(float))
    np.testing.assert_allclose(result.T @ result / len(images), expected, atol=1e-5)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-5)


@given(images_and_components())
def test_whitening_retains_the_directions_of_largest_variance(case):
    images, components = case
    directions = Preprocessing.fit("whiten", images, components).directions
    lengths = np.sqrt((directions**2).sum(axis=0))
    variances = np.divide(1, lengths**2, out=np.zeros(components), where=lengths > 0)
    np.testing.assert_allclose(variances, variances_of(images)[:components], rtol=1e-5, atol=1e-9)


@given(images_and_components(), st.integers(2, 10))
def test_repeating_all_images_does_not_change_whitening(case, times):
    """Directions of equal variance are unique up to a rotation, on which their products do not depend."""
    images, _ = case
    one = Preprocessing.fit("whiten", images).directions
    other = Preprocessing.fit("whiten", np.repeat(images, times, axis=0)).directions
    np.testing.assert_allclose(one @ one.T, other @ other.T, rtol=1e-4, atol=1e-4)


@given(images_and_components(), st.integers(0, 2**32))
def test_a_linear_layer_of_whitened_features_equals_one_of_pixels(case, seed):
    images, components = case
    preprocessing = Preprocessing.fit("whiten", images, components)
    weights = np.random.default_rng(seed).normal(size=(components, 3))
    of_pixels = (images / 255 - preprocessing.mean) @ preprocessing.of_pixels(weights)
    np.testing.assert_allclose(preprocessing.apply(images) @ weights, of_pixels, atol=1e-4)


@pytest.mark.parametrize("kind", ["scale", "centre", "standardise"])
def test_of_pixels_returns_the_weights_unless_whitened(kind):
    weights = np.ones((7, 2))
    assert Preprocessing.fit(kind, many_images()).of_pixels(weights) is weights


@pytest.mark.parametrize("components", [0, 8])
def test_components_out_of_range_raise(components):
    with pytest.raises(DataError, match=f"components must be from 1 to 7, .* got {components}"):
        Preprocessing.fit("whiten", many_images(), components)


ROW = np.zeros((1, 3))


@pytest.mark.parametrize(
    ("kind", "directions", "message"),
    [
        ("whiten", None, "whiten requires directions"),
        ("centre", np.ones((3, 2)), "centre does not have directions"),
        ("whiten", np.ones((2, 2)), r"float64 with the shape \(3, K\); got float64 with \(2, 2\)"),
        ("whiten", np.ones((3, 0)), r"float64 with the shape \(3, K\); got float64 with \(3, 0\)"),
        ("whiten", np.ones((3, 2), np.float32), r"got float32 with \(3, 2\)"),
        ("whiten", np.full((3, 2), np.nan), "must be finite"),
    ],
)
def test_invalid_directions_raise(kind, directions, message):
    with pytest.raises(DataError, match=message):
        Preprocessing(kind, ROW, ROW + 1, directions)


def test_fit_without_images_raises():
    with pytest.raises(DataError, match="at least one training image"):
        Preprocessing.fit("centre", np.zeros((0, 4), np.uint8))


@pytest.mark.parametrize("images", [np.zeros((2, 4)), np.zeros(4, np.uint8), np.zeros((2, 4), np.int64), [[1, 2]]])
def test_arrays_that_are_not_images_raise(images):
    with pytest.raises(DataError, match="uint8 with the shape"):
        Preprocessing.fit("scale", images)


def test_images_of_another_size_raise():
    preprocessing = Preprocessing.fit("scale", np.zeros((2, 4), np.uint8))
    with pytest.raises(DataError, match="images must have 4 features, as the training images; got 5"):
        preprocessing.apply(np.zeros((2, 5), np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.uint8])
def test_an_invalid_dtype_raises(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        Preprocessing.fit("scale", many_images()).apply(many_images(), dtype)


@pytest.mark.parametrize("lost", ["kind", "mean", "std"])
def test_a_missing_array_raises_with_its_name(lost):
    arrays = Preprocessing.fit("centre", many_images()).to_arrays()
    del arrays[lost]
    with pytest.raises(DataError, match=lost):
        Preprocessing.from_arrays(arrays)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", np.array("other"), "'other'"),
        ("mean", np.zeros((1, 3)), r"mean and std must have the same shape; got \(1, 3\) and \(1, 7\)"),
        ("mean", np.zeros(7), r"mean must be float64 with the shape \(1, D\)"),
        ("mean", np.full((1, 7), np.nan), "mean must be finite; feature 0 is not"),
        ("std", np.zeros((1, 7)), "std must be positive"),
        ("std", np.ones((1, 7), np.float32), "std must be float64"),
        ("std", np.array([[1, 1, np.inf, 1, 1, 1, 1]]), "std must be finite; feature 2"),
    ],
)
def test_an_invalid_array_raises(name, value, message):
    read = Preprocessing.fit("centre", many_images()).to_arrays()
    with pytest.raises(DataError, match=message):
        Preprocessing.from_arrays({**read, name: value})


def test_a_preprocessing_is_equal_to_itself_only_and_hashable():
    one, other = (Preprocessing.fit("centre", many_images()) for _ in range(2))
    assert one == one  # noqa: PLR0124
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_a_deviation_that_is_not_positive_raises(wrong):
    std = np.array([[1.0, wrong, 1.0]])
    with pytest.raises(DataError, match="std must be positive; use 1 for a constant feature"):
        Preprocessing("centre", ROW, std)


@pytest.mark.parametrize(
    ("kind", "mean", "std", "message"),
    [
        ("scale", 1, 1, "scale subtracts no mean; mean must consist of zeros"),
        ("scale", 0, 3, "scale does not divide by a standard deviation; std must consist of ones"),
        ("centre", 1, 3, "centre does not divide by a standard deviation; std must consist of ones"),
    ],
)
def test_statistics_that_the_kind_does_not_have_raise(kind, mean, std, message):
    with pytest.raises(DataError, match=message):
        Preprocessing(kind, ROW * 0 + mean, ROW * 0 + std)


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 3), np.float32), r"float64 with the shape \(1, D\); got float32 with \(1, 3\)"),
        (np.zeros(3), r"got float64 with \(3,\)"),
        (np.zeros((2, 3)), r"got float64 with \(2, 3\)"),
        (np.zeros((0, 3)), r"got float64 with \(0, 3\)"),
        (np.array([[0.0, np.nan, np.inf]]), "must be finite; feature 1 is not"),
    ],
)
def test_invalid_statistics_raise(name, wrong, message):
    statistics = {"mean": ROW, "std": ROW + 1} | {name: wrong}
    with pytest.raises(DataError, match=f"{name} must be .*{message.removeprefix('must be ')}"):
        Preprocessing("centre", **statistics)


def test_statistics_of_different_lengths_raise():
    with pytest.raises(DataError, match=r"must have the same shape; got \(1, 3\) and \(1, 2\)"):
        Preprocessing("centre", ROW, np.ones((1, 2)))


@pytest.mark.parametrize("missing", ["kind", "mean", "std"])
def test_missing_arrays_are_named(missing):
    arrays_of = Preprocessing.fit("centre", many_images()).to_arrays()
    del arrays_of[missing]
    with pytest.raises(DataError, match=f"must contain kind, mean and std; missing: {missing}$"):
        Preprocessing.from_arrays(arrays_of)


@given(images_and_components())
def test_the_largest_element_of_each_direction_is_positive(case):
    images, components = case
    directions = Preprocessing.fit("whiten", images, components).directions
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(components)]
    assert (largest >= 0).all()


@given(images_and_components())
def test_all_components_are_used_by_default(case):
    images, _ = case
    preprocessing = Preprocessing.fit("whiten", images)
    assert preprocessing.features == images.shape[1]
    assert preprocessing.apply(images).shape == images.shape


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1025])
def test_images_are_preprocessed_in_blocks_as_one_by_one(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 5), dtype=np.uint8)
    mean, std = images.mean(axis=0) / 255, images.std(axis=0) / 255
    preprocessing = Preprocessing.fit("standardise", images)
    expected = (images / 255 - mean) / np.where(std > 0, std, 1)
    np.testing.assert_allclose(preprocessing.apply(images), expected, atol=1e-9)
    assert preprocessing.apply(images[:0]).shape == (0, 5)


@pytest.mark.parametrize("images", [np.zeros((2, 7)), np.zeros(7, np.uint8), np.zeros((2, 7), np.int64), [[1, 2]]])
def test_arrays_that_are_not_images_are_not_preprocessed(images):
    with pytest.raises(DataError, match="uint8 with the shape"):
        Preprocessing.fit("scale", many_images()).apply(images)
