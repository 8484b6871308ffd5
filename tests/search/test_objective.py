"""The objective of a search for settings: the run of a point, and its data, which is prepared once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_cifar.course.preparation import prepare
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.data import builtin_dataset
from tinygrad_cifar.search import ObjectiveResult, ValidationAccuracy

BASE = Settings(train_size=60, validation_batch=None, validation_size=40, batch_size=20, epochs=1, shuffle=True)


@pytest.mark.parametrize("point", [{}, {"eta": 0.05}, {"seed": 3, "preprocessing": "centre", "train_size": 40}])
def test_a_value_is_that_of_the_run_of_the_point(point):
    settings = replace(BASE, **point)
    expected = run(settings, prepare(builtin_dataset(), settings))
    found = ValidationAccuracy(BASE)(point)
    assert found.value == expected.validation.accuracy
    assert found.details == {
        "train_accuracy": expected.train.accuracy,
        "train_cost": expected.train.cost,
        "validation_cost": expected.validation.cost,
        "seed": settings.seed,
    }


def test_the_settings_of_a_point_are_those_of_the_base_and_the_point():
    objective = ValidationAccuracy(BASE)
    assert objective.settings({}) == BASE
    assert objective.settings({"eta": 0.5, "flip": True}) == replace(BASE, eta=0.5, flip=True)
    assert objective.data == "builtin"


def test_unknown_settings_are_named():
    with pytest.raises(SettingsError, match="unknown settings: a, b"):
        ValidationAccuracy(BASE).settings({"b": 1, "eta": 0.1, "a": 2})


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({"validation_size": 0, "validation_batch": None}, False),
        ({"validation_size": 0, "validation_batch": 2}, True),
        ({"validation_size": 10, "validation_batch": None}, True),
    ],
)
def test_an_objective_needs_validation_images(values, accepted):
    base = replace(BASE, **values)
    if accepted:
        assert ValidationAccuracy(base).base == base
    else:
        with pytest.raises(SettingsError, match="give validation_size or validation_batch"):
            ValidationAccuracy(base)


def test_a_point_without_validation_images_is_refused():
    with pytest.raises(SettingsError, match="there are no validation images"):
        ValidationAccuracy(BASE)({"validation_size": 0})


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(SettingsError, match="batch_size must be at most 60"):
        ValidationAccuracy(BASE)({"batch_size": 61})
    assert ValidationAccuracy(BASE)({"batch_size": 60}).value >= 0


def test_a_result_has_no_details_by_default():
    assert ObjectiveResult(0.5).details == {}
