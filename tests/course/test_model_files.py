"""Files of trained models: saved, loaded, and refused if they are malformed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.some_runs import CLASSES, DATA, KINDS, SMALL, bits, each_kind, run
from tinygrad_cifar import runs
from tinygrad_cifar.course.model_files import load_model, save_model
from tinygrad_cifar.course.preparation import prepare, preprocess_split
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the path of a saved two-layer network, its result and its preprocessing."""
    path = tmp_path_factory.mktemp("saved") / "model.npz"
    prepared = prepare(DATA, KINDS["two-layer"])
    result = runs.run(KINDS["two-layer"], prepared)
    save_model(path, result, prepared.preprocessing, DATA)
    return path, result, prepared


@each_kind
def test_a_loaded_model_predicts_the_same(settings, tmp_path):
    prepared = prepare(DATA, settings)
    result = runs.run(settings, prepared)
    save_model(tmp_path / "model.npz", result, prepared.preprocessing, DATA)
    trained = load_model(tmp_path / "model.npz")
    X, _ = preprocess_split(DATA.test, trained.preprocessing, trained.settings)
    assert (prepared.test[0] == X).all()
    with trained.model.inference_mode(), result.model.inference_mode():
        assert trained.model(X).data.tobytes() == result.model(X).data.tobytes()


def test_a_loaded_model_has_its_settings_data_and_classes(saved):
    path, result, _ = saved
    trained = load_model(path)
    assert (trained.settings, trained.class_names, trained.trained_on) == (result.settings, CLASSES, DATA.identity())


def spoilt(saved, tmp_path, change):
    """Return the path of a saved model that was changed."""
    arrays, text = load_checkpoint(saved[0])
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
    "another preprocessing": setting("pixels", "none"),
    "fewer classes": lambda _, text: text["class_names"].pop(),
    "no weights": lambda arrays, _: arrays.pop("model/W1"),
    "no mean": lambda arrays, _: arrays.pop("pixels/mean"),
    "no deviation": lambda arrays, _: arrays.pop("pixels/std"),
    "a mean of another size": lambda arrays, _: arrays.update({"pixels/mean": np.zeros((1, 3))}),
    "directions that nothing needs": lambda arrays, _: arrays.update({"pixels/directions": np.ones((3072, 2))}),
    "a deviation of zero": lambda arrays, _: arrays.update({"pixels/std": np.zeros((1, 3072))}),
    "another array": lambda arrays, _: arrays.update(more=np.zeros(3)),
    "weights of another shape": lambda arrays, _: arrays.update({"model/b1": np.zeros(3)}),
    "weights that are not finite": lambda arrays, _: arrays["model/b1"].fill(np.nan),
}


@pytest.mark.parametrize("change", SPOILERS.values(), ids=SPOILERS)
def test_a_malformed_model_file_is_refused(saved, tmp_path, change):
    with pytest.raises(CheckpointError, match=r"model.npz is not a trained model: .+"):
        load_model(spoilt(saved, tmp_path, change))


def test_the_checkpoint_of_a_run_is_refused(tmp_path):
    run(SMALL, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match="is not a trained model"):
        load_model(tmp_path / "run.npz")


@settings(max_examples=settings.default.max_examples // 2)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_model_is_refused(saved, share, tmp_path_factory):
    path = tmp_path_factory.mktemp("truncated") / "model.npz"
    content = saved[0].read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load_model(path)


@settings(max_examples=settings.default.max_examples // 2)
@given(at=st.integers(0, 2**32), change=st.integers(1, 255))
def test_a_model_with_a_changed_byte_is_refused_or_the_same(saved, at, change, tmp_path_factory):
    path = tmp_path_factory.mktemp("changed") / "model.npz"
    content = bytearray(saved[0].read_bytes())
    content[at % len(content)] ^= change
    path.write_bytes(content)
    try:
        trained = load_model(path)
    except CheckpointError:
        return
    assert bits(trained.model) == bits(saved[1].model)


@pytest.mark.parametrize("name", ["another size", "a huge size", "fewer classes", "no weights"])
def test_sizes_are_compared_with_the_arrays_before_a_model_is_made(saved, tmp_path, name):
    with pytest.raises(CheckpointError, match="the weights have the shapes"):
        load_model(spoilt(saved, tmp_path, SPOILERS[name]))
