"""The data as a run needs them: what is cut from where, and treated by whose numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_runs import DATA, SMALL
from tinygrad_cifar.course.preparation import prepare, split_dataset
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.data import DataError


def test_training_and_validation_batches_are_those_named():
    train, validation = split_dataset(DATA, Settings(train_batches=(4, 1), validation_batch=3, batch_size=1))
    expected = np.concatenate([DATA.batch(4).images, DATA.batch(1).images])
    assert (train.images == expected).all()
    assert (validation.images == DATA.batch(3).images).all()


@given(st.integers(1, 59), st.data())
def test_the_last_images_are_held_out_and_the_first_trained_on(held_out, data):
    first = data.draw(st.none() | st.integers(1, 60 - held_out))
    settings = Settings(train_batches=(1, 2), validation_batch=None, held_out=held_out, first=first, batch_size=1)
    train, validation = split_dataset(DATA, settings)
    labels = np.concatenate([DATA.batch(1).labels, DATA.batch(2).labels])
    assert train.labels.tolist() == labels[: first or 60 - held_out].tolist()
    assert validation.labels.tolist() == labels[60 - held_out :].tolist()


def test_nothing_may_be_held_out():
    assert prepare(DATA, replace(SMALL, validation_batch=None)).validation is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"held_out": 30, "validation_batch": None}, "held_out=30 and first=None do not fit 30 training images"),
        ({"held_out": 20, "validation_batch": None, "first": 11}, "held_out=20 and first=11 do not fit"),
        ({"first": 31}, "first=31 do not fit 30 training images"),
        ({"batch_size": 31}, "batch_size is 31, but there are 30 images"),
    ],
)
def test_settings_that_want_more_images_than_there_are_are_refused(values, sentence):
    with pytest.raises(SettingsError, match=sentence):
        split_dataset(DATA, replace(SMALL, **values))


@pytest.mark.parametrize("values", [{"train_batches": (6,)}, {"train_batches": (0,)}, {"validation_batch": 9}])
def test_a_batch_that_there_is_not_is_refused(values):
    with pytest.raises(DataError, match="number of a training batch must be"):
        split_dataset(DATA, replace(SMALL, **values))


@pytest.mark.parametrize("pixels", ["scale", "centre", "standardise"])
def test_pixels_are_treated_by_the_numbers_of_the_training_images_alone(pixels):
    prepared = prepare(DATA, replace(SMALL, pixels=pixels))
    x = DATA.batch(1).images / 255
    mean = 0 if pixels == "scale" else x.mean(axis=0)
    std = x.std(axis=0) if pixels == "standardise" else 1
    for (X, _), split in (
        (prepared.train, DATA.batch(1)),
        (prepared.validation, DATA.batch(2)),
        (prepared.test, DATA.test),
    ):
        np.testing.assert_allclose(X, (split.images / 255 - mean) / std, rtol=1e-9, atol=1e-12)
