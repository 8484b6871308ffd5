"""Preparation: the split of the data, and preprocessing with the statistics of the training images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_runs import DATA, SMALL
from tinygrad_cifar.course.models import patches_of
from tinygrad_cifar.course.preparation import data_settings, prepare, split_dataset
from tinygrad_cifar.course.settings import Settings, SettingsError


def test_training_and_validation_batches_are_those_named():
    train, validation = split_dataset(DATA, Settings(train_batches=(4, 1), validation_batch=3, batch_size=1))
    expected = np.concatenate([DATA.batch(4).images, DATA.batch(1).images])
    assert (train.images == expected).all()
    assert (validation.images == DATA.batch(3).images).all()


@given(st.integers(1, 59), st.data())
def test_the_last_images_are_held_out_and_the_first_trained_on(validation_size, data):
    train_size = data.draw(st.none() | st.integers(1, 60 - validation_size))
    settings = Settings(
        train_batches=(1, 2),
        validation_batch=None,
        validation_size=validation_size,
        train_size=train_size,
        batch_size=1,
    )
    train, validation = split_dataset(DATA, settings)
    labels = np.concatenate([DATA.batch(1).labels, DATA.batch(2).labels])
    assert train.labels.tolist() == labels[: train_size or 60 - validation_size].tolist()
    assert validation.labels.tolist() == labels[60 - validation_size :].tolist()


def test_a_run_without_validation_images_is_allowed():
    assert prepare(DATA, replace(SMALL, validation_batch=None)).validation is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"validation_size": 30, "validation_batch": None},
            "validation_size must be less than 30, the number of training images of .*; got 30",
        ),
        (
            {"validation_size": 20, "validation_batch": None, "train_size": 11},
            "validation_size 20 and train_size 11 do not match",
        ),
        ({"train_size": 31}, "train_size must be at most 30, the number of training images of .*; got 31"),
        ({"batch_size": 31}, "batch_size must be at most 30"),
        (
            {"schedule": "triangular", "n_s": 2, "cycles": 2, "batch_size": 10, "epochs": 2},
            "cycles 2 with n_s 2 need 8 updates; the run has 6: increase epochs, or give a smaller number of cycles",
        ),
        (
            {"schedule": "linear", "warm_up": 7, "batch_size": 10, "epochs": 2},
            "warm_up must be at most 6, the number of updates of the run; got 7",
        ),
        (
            {"model": "convnet", "hidden": (2, 2, 2, 2), "batch_size": 29},
            "batch_size 29 leaves a batch of one of 30 images, whose last block .* cannot be normalised",
        ),
    ],
)
def test_settings_that_the_images_do_not_allow_are_refused(values, sentence):
    with pytest.raises(SettingsError, match=sentence):
        split_dataset(DATA, replace(SMALL, **values))


@pytest.mark.parametrize("values", [{"train_batches": (6,)}, {"train_batches": (0,)}, {"validation_batch": 9}])
def test_a_missing_batch_is_refused(values):
    with pytest.raises(SettingsError, match=r"_batch(es)? must be .*integers? from 1 to 5"):
        replace(SMALL, **values)


@pytest.mark.parametrize("preprocessing", ["scale", "centre", "standardise"])
def test_preprocessing_uses_the_statistics_of_the_training_images_only(preprocessing):
    prepared = prepare(DATA, replace(SMALL, preprocessing=preprocessing))
    x = DATA.batch(1).images / 255
    mean = 0 if preprocessing == "scale" else x.mean(axis=0)
    std = x.std(axis=0) if preprocessing == "standardise" else 1
    for (X, _), split in (
        (prepared.train, DATA.batch(1)),
        (prepared.validation, DATA.batch(2)),
        (prepared.test, DATA.test),
    ):
        np.testing.assert_allclose(X, (split.images / 255 - mean) / std, rtol=1e-9, atol=1e-12)


OF_THE_DATA = {
    "preprocessing": "centre",
    "train_batches": (3,),
    "train_size": 11,
    "validation_size": 4,
    "validation_batch": 4,
    "dtype": "float32",
}
OF_THE_RUN = {
    "eta": 0.5,
    "seed": 3,
    "epochs": 7,
    "lam": 0.1,
    "batch_size": 5,
    "shuffle": False,
    "flip": True,
    "model": "svm",
}


@pytest.mark.parametrize("name", OF_THE_DATA)
def test_the_settings_of_the_data_contain_what_the_images_depend_on(name):
    other = replace(
        SMALL, **({"validation_batch": None} if name == "validation_size" else {}), **{name: OF_THE_DATA[name]}
    )
    assert data_settings(other) != data_settings(SMALL)
    assert getattr(data_settings(other), name) == OF_THE_DATA[name]


@pytest.mark.parametrize("name", OF_THE_RUN)
def test_runs_with_the_same_data_share_its_settings(name):
    assert data_settings(replace(SMALL, **{name: OF_THE_RUN[name]})) == data_settings(SMALL)


def test_the_settings_of_patches_contain_the_width_of_the_filters_only():
    settings = replace(SMALL, model="patchify", hidden=(5,), filter_size=8)
    assert data_settings(replace(settings, filters=3, hidden=(9,), smoothing=0.1)) == data_settings(settings)
    assert data_settings(replace(settings, filter_size=4)) != data_settings(settings) != data_settings(SMALL)


@pytest.mark.parametrize("size", [4, 16])
def test_inputs_of_patchify_are_the_patches_of_the_preprocessed_images(size):
    settings = replace(SMALL, model="patchify", hidden=(5,), filter_size=size, preprocessing="standardise")
    patches, plain = prepare(DATA, settings), prepare(DATA, replace(SMALL, preprocessing="standardise"))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(patches, part)[0], patches_of(getattr(plain, part)[0], size))


def test_the_settings_of_the_data_prepare_the_same_images():
    settings = replace(SMALL, preprocessing="whiten", components=9, dtype="float32", train_size=20)
    one, other = (prepare(DATA, chosen) for chosen in (settings, data_settings(settings)))
    for part in ("train", "validation", "test"):
        for a, b in zip(getattr(one, part), getattr(other, part), strict=True):
            assert a.tobytes() == b.tobytes()
    assert one.train[0].dtype == np.float32
    assert one.train[0].shape == (20, 9)


def test_a_single_training_image_is_enough():
    settings = replace(SMALL, train_size=1, batch_size=1)
    (X, labels) = prepare(DATA, data_settings(settings)).train
    assert (len(X), len(labels)) == (1, 1)
