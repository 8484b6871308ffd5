"""Runs: models and optimisers of the settings, and results that depend on nothing else."""

from __future__ import annotations

import copy
import csv
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from tests.support.some_runs import DATA, KINDS, SMALL, bits, each_kind, run, seeds, some_data
from tinygrad_cifar import functional as F
from tinygrad_cifar import models, runs, schedules
from tinygrad_cifar.course.preparation import prepare
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import Dataset, builtin_dataset
from tinygrad_cifar.nn.optim import SGD, Adam
from tinygrad_cifar.system.checkpoints import CheckpointError

CLASSES_OF = {
    "softmax": models.SoftmaxRegression,
    "svm": models.SVM,
    "two-layer": models.TwoLayer,
    "perceptron": models.Perceptron,
}


@pytest.mark.parametrize(("kind", "model"), CLASSES_OF.items())
def test_the_model_has_the_kind_and_dtype_of_the_settings(kind, model):
    built = runs.build_model(KINDS[kind], 6, 3)
    assert type(built) is model
    assert {p.dtype for p in built.parameters()} == {np.dtype(KINDS[kind].dtype)}


def test_the_perceptron_has_the_sizes_of_the_settings():
    model = runs.build_model(KINDS["perceptron"], 6, 3)
    assert [w.shape for w in model.weights()] == [(6, 5), (5, 4), (4, 3)]
    assert model.dropout.rate == 0.5


@given(seeds)
def test_the_seed_determines_the_initial_weights(seed):
    one, same, other = (runs.build_model(replace(SMALL, seed=s), 6, 3) for s in (seed, seed, seed + 1))
    assert bits(one) == bits(same)
    assert bits(one)["W"] != bits(other)["W"]


SCHEDULES = [
    ({}, schedules.Constant(0.01)),
    ({"schedule": "exponential", "decay": 0.9}, schedules.Exponential(0.01, 0.9, 7)),
    ({"schedule": "step", "decay": 0.5, "n_s": 30}, schedules.Step(0.01, 0.5, 30)),
    ({"schedule": "triangular", "n_s": 30}, schedules.Triangular(1e-5, 0.01, 30)),
    ({"schedule": "cosine", "eta_min": 0.0}, schedules.Cosine(0.01, 0.0, 280)),
    ({"warm_up": 5}, schedules.WarmUp(schedules.Constant(0.01), 5)),
]


@pytest.mark.parametrize(("values", "schedule"), SCHEDULES)
def test_the_schedule_is_that_of_the_settings(values, schedule):
    assert runs.build_schedule(Settings(**values), 7) == schedule


@pytest.mark.parametrize(
    ("values", "kind", "momentum", "nesterov"),
    [
        ({}, SGD, 0, False),
        ({"momentum": 0.9}, SGD, 0.9, False),
        ({"optimiser": "nesterov", "momentum": 0.5}, SGD, 0.5, True),
        ({"optimiser": "adam"}, Adam, None, None),
    ],
)
def test_the_optimiser_is_that_of_the_settings(values, kind, momentum, nesterov):
    settings = Settings(lam=0.25, **values)
    optimiser = runs.build_optimiser(settings, runs.build_model(settings, 6, 3), 7)
    found = type(optimiser), getattr(optimiser, "momentum", None), getattr(optimiser, "nesterov", None)
    assert found == (kind, momentum, nesterov)
    assert optimiser.weight_decay == 0.5


@pytest.mark.parametrize(
    ("loss", "function"), [("cross-entropy", F.cross_entropy), ("binary-cross-entropy", F.binary_cross_entropy)]
)
@pytest.mark.parametrize("model", ["softmax", "two-layer", "perceptron"])
def test_the_loss_is_that_of_the_settings(model, loss, function):
    built = runs.build_model(Settings(model=model, loss=loss, hidden=() if model == "softmax" else (4,)), 6, 3)
    X, labels = np.random.default_rng(0).normal(size=(5, 6)), np.array([0, 1, 2, 1, 0])
    assert built.loss(X, labels).item() == function(built(X), labels).item()


# -- running ---------------------------------------------------------------------------------------------------------


@each_kind
def test_the_same_settings_give_bit_for_bit_identical_results(settings):
    one, other = run(settings), run(settings)
    assert bits(one.model) == bits(other.model)
    assert one.history.to_csv() == other.history.to_csv()


@each_kind
def test_another_seed_gives_other_results(settings):
    assert bits(run(settings).model) != bits(run(replace(settings, seed=1)).model)


@each_kind
def test_the_result_has_the_metrics_of_the_trained_model(settings):
    prepared = prepare(DATA, settings)
    result = runs.run(settings, prepared)
    X, labels = prepared.test
    assert result.test.accuracy == pytest.approx(np.mean(result.model.predict(X) == labels))
    assert (result.train.loss, result.train.accuracy) == (
        result.history.rows[-1].train_loss,
        result.history.rows[-1].train_accuracy,
    ) or settings.patience is not None


@pytest.mark.parametrize("values", [{"shuffle": True}, {"flip": True}, {"shift": 3}], ids=str)
def test_another_seed_gives_another_order_and_other_augmentations(values):
    """Also with weights that are all initialised to 0."""
    one, other = (run(replace(SMALL, init="zeros", seed=seed, **values)) for seed in (0, 1))
    assert bits(one.model) != bits(other.model)


def test_a_run_without_test_does_not_evaluate_the_test_images():
    result = run(SMALL, test=False)
    assert result.test is None
    assert result.to_json()["test_accuracy"] is None


def test_shuffling_changes_the_order_and_not_the_initial_weights():
    shuffled, in_order = run(SMALL), run(replace(SMALL, shuffle=False))
    assert shuffled.history.rows[0] == in_order.history.rows[0]
    assert bits(shuffled.model) != bits(in_order.model)


@each_kind
def test_an_interrupted_run_ends_bit_for_bit_identical(settings, tmp_path):
    def watch(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, checkpoint=tmp_path / "run.npz", callback=watch)
    resumed, whole = run(settings, checkpoint=tmp_path / "run.npz"), run(settings)
    assert bits(resumed.model) == bits(whole.model)
    assert resumed.history.to_csv() == whole.history.to_csv()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"eta": 0.002}, "its eta is 0.001, not 0.002"),
        ({"lam": 0.1}, "its lam is 0.0, not 0.1"),
        ({"seed": 3, "flip": True}, "its flip is False, not True and its seed is 0, not 3"),
    ],
)
def test_the_checkpoint_of_other_settings_is_refused_by_name(tmp_path, values, sentence):
    run(SMALL, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match=rf"belongs to another run: .*{sentence}"):
        run(replace(SMALL, **values), checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize("other", [some_data(1), some_data(0, "other name")], ids=["other images", "other name"])
def test_the_checkpoint_of_other_data_is_refused_by_name(tmp_path, other):
    run(SMALL, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match=r"its data is noise of three brightnesses with the digest .*, not"):
        run(SMALL, other, checkpoint=tmp_path / "run.npz")


# -- results ---------------------------------------------------------------------------------------------------------


def saved_result(folder, settings=SMALL):
    result = run(settings)
    runs.save_result(folder, result, DATA)
    return result, json.loads((folder / "result.json").read_text())


@each_kind
def test_the_settings_of_a_result_repeat_the_run(tmp_path, settings):
    result, text = saved_result(tmp_path, settings)
    assert bits(run(Settings.from_json(text["settings"])).model) == bits(result.model)


def test_a_result_has_the_metrics_the_data_and_the_versions(tmp_path):
    result, text = saved_result(tmp_path)
    assert text["test_accuracy"] == result.test.accuracy
    assert text["validation_loss"] == result.validation.loss
    assert text["steps"] == 6
    assert text["data"] == DATA.identity()
    assert text["versions"]["numpy"] == np.__version__


def test_the_history_is_written_beside_the_result(tmp_path):
    result, _ = saved_result(tmp_path)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == result.history.column("train_loss").tolist()


def test_a_result_can_be_copied_and_pickled():
    result = run(SMALL)
    for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert other.to_json() == result.to_json()
        assert bits(other.model) == bits(result.model)


# -- comparison of models --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return builtin_dataset()


def test_two_layers_are_clearly_better_than_one_on_the_builtin_data(shapes):
    shared = Settings(preprocessing="standardise", lam=0.01, batch_size=100, shuffle=True, dtype="float32")
    one = run(replace(shared, eta=0.001, epochs=15), shapes)
    two = run(
        replace(
            shared,
            model="two-layer",
            hidden=(50,),
            init="fan-in",
            schedule="triangular",
            eta=0.1,
            n_s=250,
            epochs=25,
        ),
        shapes,
    )
    assert one.test.accuracy < 0.5
    assert two.test.accuracy > one.test.accuracy + 0.1
