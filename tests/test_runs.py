"""Runs: settings that are checked and kept, results that depend on nothing else, models that can be kept and used."""

from __future__ import annotations

import copy
import csv
import json
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_cifar import models, runs, schedules
from tinygrad_cifar.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.data import DataError, Dataset, Split, builtin_dataset
from tinygrad_cifar.optim import SGD, Adam
from tinygrad_cifar.runs import Settings, SettingsError

CLASSES = ("night", "dusk", "day")
seeds = st.integers(0, 2**32 - 1)


def some_data(seed: int = 0, name: str = "noise of three brightnesses", count: int = 30) -> Dataset:
    rng = np.random.default_rng(seed)

    def split():
        labels = rng.integers(0, len(CLASSES), count)
        pixels = 60 * labels[:, np.newaxis] + rng.integers(0, 130, (count, 3072))
        return Split(pixels.astype(np.uint8), labels)

    return Dataset(name, CLASSES, tuple(split() for _ in range(5)), split())


DATA = some_data()
SMALL = Settings(epochs=2, batch_size=10, eta=0.001, shuffle=True)
KINDS = {
    "softmax": SMALL,
    "svm": replace(SMALL, model="svm", init="xavier", pixels="centre"),
    "two-layer": replace(SMALL, model="two-layer", hidden=(4,), init="fan-in", pixels="standardise", dtype="float32"),
    "perceptron": replace(SMALL, model="perceptron", hidden=(5, 4), init="he", dropout=0.5, optimiser="adam"),
    "augmented": replace(SMALL, flip=True, shift=2, shuffle=False, held_out=5, validation_batch=None),
    "whitened": replace(
        SMALL, model="two-layer", hidden=(4,), activation="absolute", pixels="whiten", components=20, q=0.5, shift=1
    ),
    "patient": replace(SMALL, patience=1, epochs=4, optimiser="nesterov", momentum=0.9, schedule="cosine", warm_up=2),
}
each_kind = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)


def run(settings, data=DATA, **options):
    return runs.run(settings, runs.prepare(data, settings), **options)


def bits(model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


# -- settings --------------------------------------------------------------------------------------------------------

whole = st.integers(1, 1000)
sizes = st.floats(0, 10)
any_settings = st.builds(
    Settings,
    init=st.sampled_from(sorted(runs.INITIALISERS)),
    sigma=sizes,
    pixels=st.sampled_from(["scale", "centre", "standardise", "whiten"]),
    components=st.integers(1, 3072),
    q=st.floats(0, 1),
    train_batches=st.permutations([1, 3, 4, 5]).map(tuple),
    first=st.none() | whole,
    lam=sizes,
    eta=sizes,
    n_s=whole,
    warm_up=whole,
    epochs=whole,
    batch_size=whole,
    shuffle=st.booleans(),
    every=st.none() | whole,
    patience=st.none() | whole,
    flip=st.booleans(),
    shift=st.integers(0, 31),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from(["float32", "float64"]),
) | st.sampled_from(list(KINDS.values()))


@given(any_settings)
def test_settings_survive_a_journey_through_json(settings):
    assert Settings.from_json(json.loads(json.dumps(asdict(settings)))) == settings


@given(any_settings)
def test_settings_survive_copying_pickling_and_printing(settings):
    assert copy.deepcopy(settings) == pickle.loads(pickle.dumps(settings)) == eval(repr(settings)) == settings


@given(any_settings)
def test_settings_can_be_a_key(settings):
    assert {settings: 1}[copy.deepcopy(settings)] == 1


CHOICES = ["model", "activation", "schedule", "optimiser", "init", "pixels", "dtype"]


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["none of these", None, 3])
def test_a_choice_that_there_is_not_is_refused_with_those_there_are(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} must be one of .*{getattr(Settings(), name)}.*; got {value!r}$"):
        Settings(**{name: value})


BELOW_1 = ["components", "epochs", "batch_size", "n_s", "every", "patience", "first"]
NOT_FINITE = ["q", "eta", "eta_min", "lam", "sigma", "decay", "momentum", "dropout"]
BELOW_0 = ["held_out", "warm_up", "seed", "shift", *NOT_FINITE]
OUT_OF_RANGE = [
    *((name, value) for name in BELOW_1 for value in (0, -1)),
    *((name, -1) for name in BELOW_0),
    *((name, value) for name in NOT_FINITE for value in (float("nan"), float("inf"))),
    *((name, 1.0) for name in ("momentum", "dropout")),
    ("shift", 32),
    ("components", 3073),
    ("q", 1.1),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused_with_the_range(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} must be .* from [01].*; got {value}$"):
        Settings(**{name: value})


WRONG_TYPES = [
    *((name, "3") for name in (*BELOW_1, *BELOW_0)),
    *((name, 2.5) for name in (*BELOW_1, "held_out", "warm_up", "seed", "shift")),
    *((name, None) for name in ("epochs", "batch_size", "eta", "seed")),
    *((name, "no") for name in ("shuffle", "flip")),
    ("validation_batch", "2"),
    ("hidden", 5),
    ("hidden", ("5",)),
    ("hidden", (2.5,)),
    ("train_batches", 1),
    ("train_batches", ("1",)),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(SettingsError, match=f"^{name} must be"):
        Settings(**{"model": "perceptron", name: value})


CONTRADICTIONS = [
    ({"hidden": (5,)}, r"softmax has 0 hidden layers; hidden is \(5,\)"),
    ({"model": "two-layer"}, r"two-layer has 1 hidden layer; hidden is \(\)"),
    ({"model": "two-layer", "hidden": (5, 5)}, r"two-layer has 1 hidden layer; hidden is \(5, 5\)"),
    ({"model": "two-layer", "hidden": (0,)}, "a hidden layer has 1 to .* units"),
    ({"model": "two-layer", "hidden": (10**9,)}, "a hidden layer has 1 to .* units"),
    ({"model": "two-layer", "hidden": (5,), "dropout": 0.5}, "dropout needs the model perceptron, not two-layer"),
    ({"activation": "absolute"}, "activation absolute needs the model two-layer, not softmax"),
    ({"model": "svm", "q": 0.5}, "svm has the hinge loss, which has no q"),
    ({"train_batches": ()}, "train_batches must name different batches, at least one"),
    ({"train_batches": (1, 1)}, "train_batches must name different batches"),
    ({"train_batches": (1, 2)}, "batch 2 cannot be trained and validated on at once"),
    ({"held_out": 5}, "give either held_out or validation_batch"),
    ({"patience": 2, "validation_batch": None}, "patience watches the validation accuracy"),
    ({"decay": 0.9}, "decay needs the schedule exponential or step, not constant"),
    ({"schedule": "triangular", "eta": 0.01, "eta_min": 0.1}, "eta_min must not be greater than eta"),
    ({"optimiser": "nesterov"}, "the optimiser nesterov does not go with momentum 0"),
    ({"optimiser": "adam", "momentum": 0.9}, r"the optimiser adam does not go with momentum 0\.9"),
]


@pytest.mark.parametrize(("values", "sentence"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused(values, sentence):
    with pytest.raises(SettingsError, match=sentence):
        Settings(**values)


@pytest.mark.parametrize("values", [{"epoch": 3}, {"epoch": 3, "modell": "svm", "epochs": 1}])
def test_unknown_settings_are_refused_by_name(values):
    with pytest.raises(SettingsError, match="unknown settings: epoch"):
        Settings.from_json(values)


@given(any_settings)
def test_settings_are_described_in_one_line(settings):
    line = runs.describe(settings)
    named = (settings.model, f"lambda {settings.lam:g}", f"eta {settings.eta:g}", f"seed {settings.seed}")
    assert all(word in line for word in named)
    assert "\n" not in line


@pytest.mark.parametrize("other", [{"flip": True}, {"shift": 3}, {"warm_up": 100}])
def test_runs_that_differ_in_augmentation_or_warm_up_are_described_differently(other):
    assert runs.describe(Settings(**other)) != runs.describe(Settings())


# -- what settings make ----------------------------------------------------------------------------------------------


CLASSES_OF = {
    "softmax": models.SoftmaxRegression,
    "svm": models.SVM,
    "two-layer": models.TwoLayer,
    "perceptron": models.Perceptron,
}


@pytest.mark.parametrize(("kind", "model"), CLASSES_OF.items())
def test_the_model_is_of_the_kind_and_dtype_that_is_asked_for(kind, model):
    built = runs.build_model(KINDS[kind], 6, 3)
    assert type(built) is model
    assert {p.dtype for p in built.parameters()} == {np.dtype(KINDS[kind].dtype)}


def test_the_perceptron_has_the_sizes_that_are_asked_for():
    model = runs.build_model(KINDS["perceptron"], 6, 3)
    assert [w.shape for w in model.weights()] == [(6, 5), (5, 4), (4, 3)]
    assert model.dropout.rate == 0.5


@given(seeds)
def test_a_seed_draws_the_same_weights_again_and_another_others(seed):
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
def test_the_schedule_is_the_one_asked_for(values, schedule):
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
def test_the_optimiser_is_the_one_asked_for(values, kind, momentum, nesterov):
    settings = Settings(lam=0.25, **values)
    optimiser = runs.build_optimiser(settings, runs.build_model(settings, 6, 3), 7)
    found = type(optimiser), getattr(optimiser, "momentum", None), getattr(optimiser, "nesterov", None)
    assert found == (kind, momentum, nesterov)
    assert optimiser.weight_decay == 0.5


# -- cutting the data ------------------------------------------------------------------------------------------------


def test_training_and_validation_batches_are_those_named():
    train, validation = runs.cut(DATA, Settings(train_batches=(4, 1), validation_batch=3, batch_size=1))
    expected = np.concatenate([DATA.batch(4).images, DATA.batch(1).images])
    assert (train.images == expected).all()
    assert (validation.images == DATA.batch(3).images).all()


@given(st.integers(1, 59), st.data())
def test_the_last_images_are_held_out_and_the_first_trained_on(held_out, data):
    first = data.draw(st.none() | st.integers(1, 60 - held_out))
    settings = Settings(train_batches=(1, 2), validation_batch=None, held_out=held_out, first=first, batch_size=1)
    train, validation = runs.cut(DATA, settings)
    labels = np.concatenate([DATA.batch(1).labels, DATA.batch(2).labels])
    assert train.labels.tolist() == labels[: first or 60 - held_out].tolist()
    assert validation.labels.tolist() == labels[60 - held_out :].tolist()


def test_nothing_may_be_held_out():
    assert runs.prepare(DATA, replace(SMALL, validation_batch=None)).validation is None


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
        runs.cut(DATA, replace(SMALL, **values))


@pytest.mark.parametrize("values", [{"train_batches": (6,)}, {"train_batches": (0,)}, {"validation_batch": 9}])
def test_a_batch_that_there_is_not_is_refused(values):
    with pytest.raises(DataError, match="there is no training batch"):
        runs.cut(DATA, replace(SMALL, **values))


@pytest.mark.parametrize("pixels", ["scale", "centre", "standardise"])
def test_pixels_are_treated_by_the_numbers_of_the_training_images_alone(pixels):
    prepared = runs.prepare(DATA, replace(SMALL, pixels=pixels))
    x = DATA.batch(1).images / 255
    mean = 0 if pixels == "scale" else x.mean(axis=0)
    std = x.std(axis=0) if pixels == "standardise" else 1
    for (X, _), split in (
        (prepared.train, DATA.batch(1)),
        (prepared.validation, DATA.batch(2)),
        (prepared.test, DATA.test),
    ):
        np.testing.assert_allclose(X, (split.images / 255 - mean) / std, rtol=1e-9, atol=1e-12)


# -- running ---------------------------------------------------------------------------------------------------------


@each_kind
def test_the_same_settings_give_the_same_bits(settings):
    one, other = run(settings), run(settings)
    assert bits(one.model) == bits(other.model)
    assert one.history.to_csv() == other.history.to_csv()


@each_kind
def test_another_seed_gives_other_bits(settings):
    assert bits(run(settings).model) != bits(run(replace(settings, seed=1)).model)


@each_kind
def test_the_result_scores_the_model_as_it_is(settings):
    prepared = runs.prepare(DATA, settings)
    result = runs.run(settings, prepared)
    X, labels = prepared.test
    assert result.test.accuracy == pytest.approx(np.mean(result.model.predict(X) == labels))
    assert (result.train.loss, result.train.accuracy) == (
        result.history.rows[-1].train_loss,
        result.history.rows[-1].train_accuracy,
    ) or settings.patience is not None


@pytest.mark.parametrize("values", [{"shuffle": True}, {"flip": True}, {"shift": 3}], ids=str)
def test_another_seed_gives_another_order_and_other_augmentations(values):
    """Also where the weights do not show it, since all of them start from 0."""
    one, other = (run(replace(SMALL, init="zeros", seed=seed, **values)) for seed in (0, 1))
    assert bits(one.model) != bits(other.model)


def test_a_search_does_not_look_at_the_test_images():
    result = run(SMALL, test=False)
    assert result.test is None
    assert result.to_json()["test_accuracy"] is None


def test_shuffling_changes_the_order_and_not_the_start():
    shuffled, in_order = run(SMALL), run(replace(SMALL, shuffle=False))
    assert shuffled.history.rows[0] == in_order.history.rows[0]
    assert bits(shuffled.model) != bits(in_order.model)


@each_kind
def test_a_run_that_was_interrupted_ends_with_the_same_bits(settings, tmp_path):
    def watch(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, checkpoint=tmp_path / "run.npz", watch=watch)
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
def test_the_settings_of_a_result_make_the_run_again(tmp_path, settings):
    result, text = saved_result(tmp_path, settings)
    assert bits(run(Settings.from_json(text["settings"])).model) == bits(result.model)


def test_a_result_has_the_figures_the_data_and_the_versions(tmp_path):
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


@each_kind
def test_the_confusion_matrix_counts_every_image_once(settings):
    prepared = runs.prepare(DATA, settings)
    result = runs.run(settings, prepared)
    counts = runs.confusion_matrix(result.model, prepared.test, 3)
    assert counts.sum(axis=1).tolist() == np.bincount(DATA.test.labels, minlength=3).tolist()
    assert counts.trace() == round(result.test.accuracy * len(DATA.test))


def test_counting_confusions_leaves_the_model_in_its_mode():
    prepared = runs.prepare(DATA, SMALL)
    model = runs.build_model(SMALL, 3072, 3)
    runs.confusion_matrix(model, prepared.test, 3)
    assert model.training


# -- models that are kept --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return the path of a kept two-layer network, what made it, and how its pixels were treated."""
    path = tmp_path_factory.mktemp("kept") / "model.npz"
    prepared = runs.prepare(DATA, KINDS["two-layer"])
    result = runs.run(KINDS["two-layer"], prepared)
    runs.save_model(path, result, prepared.preprocessing, DATA)
    return path, result, prepared


@each_kind
def test_a_kept_model_predicts_the_same(settings, tmp_path):
    prepared = runs.prepare(DATA, settings)
    result = runs.run(settings, prepared)
    runs.save_model(tmp_path / "model.npz", result, prepared.preprocessing, DATA)
    trained = runs.load_model(tmp_path / "model.npz")
    X, _ = runs.treat(DATA.test, trained.preprocessing, trained.settings)
    assert (prepared.test[0] == X).all()
    with trained.model.in_use(), result.model.in_use():
        assert trained.model(X).data.tobytes() == result.model(X).data.tobytes()


def test_a_kept_model_knows_how_it_was_made(kept):
    path, result, _ = kept
    trained = runs.load_model(path)
    assert (trained.settings, trained.class_names, trained.trained_on) == (result.settings, CLASSES, DATA.identity())


def spoilt(kept, tmp_path, change):
    """Return the path of a kept model that was changed."""
    arrays, text = load_checkpoint(kept[0])
    change(arrays, text)
    save_checkpoint(tmp_path / "model.npz", arrays, text)
    return tmp_path / "model.npz"


def setting(name, value):
    return lambda _, text: text["settings"].update({name: value})


SPOILERS = {
    "no settings": lambda _, text: text.pop("settings"),
    "no class names": lambda _, text: text.pop("class_names"),
    "settings that are no mapping": lambda _, text: text.update(settings=[1]),
    "class names that are no list": lambda _, text: text.update(class_names=3),
    "no identity": lambda _, text: text.update(trained_on=None),
    "an unknown setting": setting("speed", 3),
    "a setting out of range": setting("epochs", 0),
    "a setting of another type": setting("epochs", "3"),
    "another model": setting("model", "svm"),
    "another size": setting("hidden", [5]),
    "a huge size": setting("hidden", [100_000]),
    "another treatment": setting("pixels", "none"),
    "fewer classes": lambda _, text: text["class_names"].pop(),
    "no weights": lambda arrays, _: arrays.pop("model/W1"),
    "no mean": lambda arrays, _: arrays.pop("pixels/mean"),
    "no deviation": lambda arrays, _: arrays.pop("pixels/std"),
    "a mean of another size": lambda arrays, _: arrays.update({"pixels/mean": np.zeros((1, 3))}),
    "directions that nothing needs": lambda arrays, _: arrays.update({"pixels/directions": np.ones((3072, 2))}),
    "a deviation of zero": lambda arrays, _: arrays.update({"pixels/std": np.zeros((1, 3072))}),
    "another array": lambda arrays, _: arrays.update(more=np.zeros(3)),
    "weights of another shape": lambda arrays, _: arrays.update({"model/b1": np.zeros(3)}),
}


@pytest.mark.parametrize("change", SPOILERS.values(), ids=SPOILERS)
def test_a_file_that_is_no_kept_model_is_refused(kept, tmp_path, change):
    with pytest.raises(CheckpointError, match=r"model.npz holds no trained model of this library: .+"):
        runs.load_model(spoilt(kept, tmp_path, change))


def test_the_checkpoint_of_a_run_is_no_kept_model(tmp_path):
    run(SMALL, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match="holds no trained model"):
        runs.load_model(tmp_path / "run.npz")


@settings(max_examples=settings.default.max_examples // 2)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_model_is_refused(kept, share, tmp_path_factory):
    path = tmp_path_factory.mktemp("truncated") / "model.npz"
    content = kept[0].read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        runs.load_model(path)


@settings(max_examples=settings.default.max_examples // 2)
@given(at=st.integers(0, 2**32), change=st.integers(1, 255))
def test_a_model_with_a_changed_byte_is_refused_or_the_same(kept, at, change, tmp_path_factory):
    path = tmp_path_factory.mktemp("changed") / "model.npz"
    content = bytearray(kept[0].read_bytes())
    content[at % len(content)] ^= change
    path.write_bytes(content)
    try:
        trained = runs.load_model(path)
    except CheckpointError:
        return
    assert bits(trained.model) == bits(kept[1].model)


# -- the point of it all ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return builtin_dataset()


def test_two_layers_clearly_beat_one_on_the_built_in_data(shapes):
    shared = Settings(pixels="standardise", lam=0.01, batch_size=100, shuffle=True, dtype="float32")
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
