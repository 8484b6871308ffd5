"""Runs: models and optimisers of the settings, and results that depend on nothing else."""

from __future__ import annotations

import copy
import csv
import json
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given

from tests.support.some_runs import DATA, KINDS, SMALL, bits, each_kind, run, seeds, some_data
from tinygrad_cifar import functional as F
from tinygrad_cifar import grad, models, runs, schedules
from tinygrad_cifar.course.convnet import ConvNet
from tinygrad_cifar.course.preparation import prepare
from tinygrad_cifar.course.settings import OLD_NAMES, Settings
from tinygrad_cifar.data import Dataset, builtin_dataset
from tinygrad_cifar.data.augmentation import augment_cutout, augment_flip, augment_shift, mirror, weighted_views
from tinygrad_cifar.data.batches import minibatches
from tinygrad_cifar.nn.initialisers import Normal
from tinygrad_cifar.nn.optim import SGD, AdaGrad, Adam, AdamW, Muon, RMSprop
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

CLASSES_OF = {
    "softmax": models.SoftmaxRegression,
    "svm": models.SVM,
    "two-layer": models.TwoLayer,
    "perceptron": models.Perceptron,
    "convnet": ConvNet,
    "patchify": models.Patchify,
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
    (
        {"schedule": "triangular", "n_s": 30, "cycle_growth": 2, "cycle_decay": 0.5, "cycles": 3},
        schedules.Triangular(1e-5, 0.01, 30, growth=2, decay=0.5, cycles=3),
    ),
    ({"schedule": "linear"}, schedules.Linear(0.01, 280)),
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
        ({"optimiser": "adamw"}, AdamW, None, None),
        ({"optimiser": "adagrad"}, AdaGrad, None, None),
        ({"optimiser": "rmsprop", "momentum": 0.3}, RMSprop, 0.3, None),
    ],
)
def test_the_optimiser_is_that_of_the_settings(values, kind, momentum, nesterov):
    settings = Settings(lam=0.25, **values)
    optimiser = runs.build_optimiser(settings, runs.build_model(settings, 6, 3), 7)
    found = type(optimiser), getattr(optimiser, "momentum", None), getattr(optimiser, "nesterov", None)
    assert found == (kind, momentum, nesterov)
    assert optimiser.weight_decay == 0.5


def build_optimiser(**values):
    settings = Settings(model="perceptron", hidden=(5, 4), lam=0.25, **values)
    model = runs.build_model(settings, 6, 3)
    return model, runs.build_optimiser(settings, model, 7)


def test_sgd_has_the_decay_of_the_settings():
    assert build_optimiser(decoupled=True)[1].decoupled
    assert not build_optimiser()[1].decoupled


def test_muon_updates_all_weights_but_the_last_and_sgd_the_rest():
    model, optimiser = build_optimiser(optimiser="muon", momentum=0.6, bias_rate=3.0, last_rate=2.0)
    muon, sgd = optimiser.optimisers
    names = {id(p): name for name, p in model.named_parameters()}
    assert (type(muon), type(sgd)) == (Muon, SGD)
    assert [names[id(p)] for p in muon.parameters] == ["layers.0.W", "layers.1.W"]
    assert sorted(names[id(p)] for p in sgd.parameters) == ["layers.0.b", "layers.1.b", "layers.2.W", "layers.2.b"]
    assert (muon.momentum, sgd.momentum, sgd.nesterov) == (0.6, 0.85, True)
    assert [group.schedule(0) / muon.eta for group in sgd.groups] == [2.0, 3.0]


def test_the_rate_of_biases_is_that_of_the_settings():
    model, optimiser = build_optimiser(bias_rate=2.0, schedule="cosine")
    weights, biases = optimiser.groups
    assert [id(p) for p in weights.parameters] == [id(p) for p in model.weights()]
    assert len(biases.parameters) == 3
    assert [biases.schedule(t) for t in (0, 100)] == [2 * weights.schedule(t) for t in (0, 100)]


def test_lookahead_and_the_moving_average_are_those_of_the_settings():
    _, optimiser = build_optimiser(average=0.9, lookahead=7)
    assert optimiser.name == "MovingAverage(Lookahead(SGD))"
    assert (optimiser.decay, optimiser.optimisers[0].every) == (0.9, 7)


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
        ({"eta": 0.002}, "its eta was 0.001 and is 0.002 now"),
        ({"lam": 0.1}, "its lam was 0.0 and is 0.1 now"),
        ({"flip": "alternate"}, "its flip was False and is alternate now"),
        ({"seed": 3, "flip": True}, "its flip was False and is True now, its seed was 0 and is 3 now"),
    ],
)
def test_the_checkpoint_of_other_settings_is_refused_by_name(tmp_path, values, sentence):
    run(SMALL, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match=rf"belongs to another run: .*{sentence}"):
        run(replace(SMALL, **values), checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize("other", [some_data(1), some_data(0, "other name")], ids=["other images", "other name"])
def test_the_checkpoint_of_other_data_is_refused_by_name(tmp_path, other):
    run(SMALL, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match=r"its data was noise of three brightnesses with the digest .* and is"):
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


# -- a run by hand -----------------------------------------------------------------------------------------------------


def train_by_hand(settings) -> models.SoftmaxRegression:
    """Train a softmax classifier with plain updates, as the documentation describes a run."""
    prepared = prepare(DATA, settings)
    model = runs.build_model(settings, 3072, 3)
    images, (X, labels) = prepared.images.images, prepared.train
    augments = settings.flip or settings.shift > 0 or settings.cutout > 0
    mean = images.mean(axis=0).round().astype(np.uint8)
    if settings.flip == "alternate":
        images = augment_flip(images, np.random.default_rng([settings.seed, 2]))
    rng = np.random.default_rng([settings.seed, 1])
    for epoch in range(settings.epochs):
        for batch in minibatches(len(labels), settings.batch_size, rng if settings.shuffle else None):
            inputs = X[batch]
            if augments:
                pixels = augment_flip(images[batch], rng) if settings.flip is True else images[batch]
                pixels = mirror(pixels) if settings.flip == "alternate" and epoch % 2 else pixels
                pixels = (
                    augment_shift(pixels, rng, settings.shift, border=settings.border) if settings.shift else pixels
                )
                pixels = augment_cutout(pixels, rng, settings.cutout, fill=mean) if settings.cutout else pixels
                inputs = prepared.preprocessing.apply(pixels, X.dtype)
            gradients = grad(model.loss(inputs, labels[batch]), list(model.parameters()))
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                decay = 2 * settings.lam * parameter.data if parameter.ndim == 2 else 0
                parameter.data = parameter.data - settings.eta * (gradient.data + decay)
    return model


@pytest.mark.parametrize(
    "values",
    [
        {"shuffle": False},
        {"shuffle": True},
        {"shuffle": True, "seed": 3, "lam": 0.1},
        {"shuffle": True, "shift": 1},
        {"shuffle": False, "flip": True},
        {"shuffle": True, "cutout": 12},
        {"shuffle": False, "flip": True, "shift": 2, "cutout": 5},
        {"shuffle": True, "flip": "alternate", "epochs": 4},
        {"shuffle": True, "flip": "alternate", "shift": 3, "border": "reflect"},
        {"shuffle": True, "flip": True, "shift": 2, "batch_size": 7, "dtype": "float32"},
    ],
)
def test_a_run_does_the_updates_of_its_settings(values):
    settings = replace(SMALL, eta=0.01, **values)
    result, expected = run(settings), train_by_hand(settings)
    for name, array in expected.state_dict().items():
        tolerance = 1e-12 if settings.dtype == "float64" else 1e-5
        np.testing.assert_allclose(result.model.state_dict()[name], array, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["mirror", "six", "fifty"])
def test_validation_and_test_images_are_evaluated_with_the_views_of_the_settings(kind):
    settings = replace(SMALL, views=kind, shift=1, border="reflect")
    result, prepared = run(settings), prepare(DATA, settings)
    for split, found in ((prepared.dataset.test, result.test), (prepared.validation_images, result.validation)):
        scores = sum(
            weight * result.model(prepared.preprocessing.apply(images)).data
            for weight, images in weighted_views(split.images, kind, border="reflect")
        )
        assert found.accuracy == (scores.argmax(axis=1) == split.labels).mean()
        assert found.loss == pytest.approx(F.cross_entropy(scores, split.labels))


@pytest.mark.parametrize("pause", [1, 2])
def test_alternating_flips_continue_in_the_epoch_in_which_a_run_was_interrupted(pause, tmp_path):
    settings = replace(SMALL, flip="alternate", epochs=4)

    def interrupt(progress):
        if progress.step == 3 * pause + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, checkpoint=tmp_path / "run.npz", callback=interrupt)
    assert bits(run(settings, checkpoint=tmp_path / "run.npz").model) == bits(run(settings).model)


def test_the_metrics_of_a_result_are_written_with_their_names(tmp_path):
    result, text = saved_result(tmp_path)
    for part in ("train", "validation", "test"):
        for quantity in ("accuracy", "loss", "cost"):
            assert text[f"{part}_{quantity}"] == getattr(getattr(result, part), quantity)
    assert text["seconds"] == round(result.seconds, 3)
    assert text["stopped_early"] is False
    assert set(text["versions"]) == {"tinygrad_cifar", "numpy", "python", "machine"}
    assert text["settings"] == json.loads(json.dumps(asdict(SMALL)))


def test_a_result_file_can_be_read_by_people(tmp_path):
    saved_result(tmp_path)
    text = (tmp_path / "result.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"


def test_seconds_are_rounded_to_milliseconds():
    result = replace(run(SMALL), seconds=1.23456)
    assert result.to_json()["seconds"] == 1.235


def test_metrics_that_were_not_measured_are_null(tmp_path):
    result = run(replace(SMALL, validation_batch=None), test=False)
    runs.save_result(tmp_path, result, DATA)
    text = json.loads((tmp_path / "result.json").read_text())
    assert {name for name, value in text.items() if value is None} == {
        f"{part}_{quantity}" for part in ("validation", "test") for quantity in ("accuracy", "loss", "cost")
    }


def test_a_run_can_be_resumed_only_with_its_settings_and_data(tmp_path):
    path = tmp_path / "run.npz"
    run(SMALL, checkpoint=path)
    runs.check_resumable(path, SMALL, DATA)
    with pytest.raises(CheckpointError, match="belongs to another run: its epochs was 2 and is 3 now"):
        runs.check_resumable(path, replace(SMALL, epochs=3), DATA)
    with pytest.raises(CheckpointError, match="belongs to another run: its data was"):
        runs.check_resumable(path, SMALL, some_data(1))


def test_a_checkpoint_with_old_names_of_settings_cannot_be_resumed(tmp_path):
    path = tmp_path / "run.npz"
    run(SMALL, checkpoint=path)
    arrays, metadata = load_checkpoint(path)
    old, new = next(iter(OLD_NAMES.items()))
    metadata["identity"][old] = metadata["identity"].pop(new)
    save_checkpoint(path, arrays, metadata)
    with pytest.raises(CheckpointError, match=rf"settings were renamed since it was written \({old} is now {new}\)"):
        runs.check_resumable(path, SMALL, DATA)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({}, "run.npz is not the checkpoint of a run; choose another file$"),
        ({"identity": None}, "belongs to another run"),
        ({"identity": [1]}, "belongs to another run"),
    ],
)
def test_a_checkpoint_without_an_identity_cannot_be_resumed(tmp_path, metadata, sentence):
    save_checkpoint(tmp_path / "run.npz", {}, metadata)
    with pytest.raises(CheckpointError, match=sentence):
        runs.check_resumable(tmp_path / "run.npz", SMALL, DATA)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_initial_weights_are_those_of_the_first_stream_of_the_seed(seed):
    """All published results depend on this stream."""
    settings = replace(SMALL, seed=seed, init="normal", sigma=0.5)
    expected = Normal(0.5)(np.random.default_rng([seed, 0]), 3072, 3)
    np.testing.assert_array_equal(runs.build_model(settings, 3072, 3).W.data, expected)


def test_a_result_has_the_time_of_its_training():
    result = run(SMALL)
    assert result.seconds > 0
    assert result.seconds == result.history.seconds
