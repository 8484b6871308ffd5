"""The convolutional network of the records: its layers, its whitening, and training it."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.some_runs import KINDS
from tinygrad_cifar import Tensor, training
from tinygrad_cifar.course import memory_check
from tinygrad_cifar.course.convnet import ConvNet, multiplications, shapes_of_weights
from tinygrad_cifar.course.runs import build_model, build_optimiser
from tinygrad_cifar.course.settings import SettingsError
from tinygrad_cifar.engine.gradcheck import check_model
from tinygrad_cifar.inspection.view import graph
from tinygrad_cifar.nn.optim import Adam


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3072))


def small_net(seed: int = 0, *, dtype: type = np.float64) -> ConvNet:
    model = ConvNet([2, 3, 4], depth=2, rng=seed, dtype=dtype)
    model.initialise_from(images(20, seed))
    return model


def test_the_layers_are_those_of_the_source():
    model = small_net()
    model.whitening_bias.data = np.linspace(-1, 1, 24)
    x = tg.channels_last(images(3).reshape(3, 3, 32, 32))
    x = tg.gelu(tg.conv2d(x, model.whitening.data) + model.whitening_bias.data, "tanh")
    filters = [m.W.data for m in model.modules() if isinstance(m, tg.nn.Conv2d)]
    for first, second in zip(filters[::2], filters[1::2], strict=True):
        x = tg.max_pool2d(tg.conv2d(x, first, padding=1), 2)
        x = tg.gelu((x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-12), "tanh")
        x = tg.conv2d(x, second, padding=1)
        x = tg.gelu((x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-12), "tanh")
    expected = x.max((1, 2)) @ model.head.data
    np.testing.assert_allclose(model(images(3)).data, expected, rtol=1e-9, atol=1e-12)


def test_all_gradients_agree_with_differences():
    model = ConvNet([2], depth=1, rng=0, dtype=np.float64)
    model.initialise_from(images(5))
    check = check_model(model, images(2), np.array([3, 7]))
    assert check.passed, str(check)


def test_whitened_patches_are_not_correlated_and_have_variance_1():
    X = np.repeat(images(400).reshape(400, 3, 16, 2, 32), 2, axis=3)[:, :, :, :2].reshape(400, 3072)
    model = ConvNet([2], rng=0, dtype=np.float64)
    model.initialise_from(X)
    x = tg.channels_last(X.reshape(-1, 3, 32, 32))
    whitened = tg.conv2d(x, model.whitening.data)[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(12), atol=2e-3)
    np.testing.assert_array_equal(model.whitening.data[..., :12], -model.whitening.data[..., 12:])


def test_the_first_filters_repeat_the_channels():
    model = ConvNet([30], depth=1, rng=0)
    filters = model.blocks[0].layers[0].W.data
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 24)).astype(np.float32)
    np.testing.assert_allclose(tg.conv2d(x, filters, padding=1)[..., :24], x, rtol=1e-6)


def test_the_biases_of_the_whitening_layer_are_trained_in_the_first_three_eighths_of_a_run():
    model = small_net()
    trained = []
    for epoch in range(8):
        model.start_epoch(epoch, 8)
        trained.append(model.whitening_bias.requires_grad)
    assert trained == [True] * 3 + [False] * 5


def test_fit_tells_the_model_which_epoch_begins():
    seen = []

    class Told(tg.models.SoftmaxRegression):
        def start_epoch(self, epoch: int, epochs: int) -> None:
            seen.append((epoch, epochs))

    model = Told(3, 2, rng=0)
    X = np.eye(3)
    training.fit(model, Adam(model.parameters()), (X, np.array([0, 1, 1])), epochs=3, batch_size=2)
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_many_images_are_measured_in_blocks_with_the_same_scores():
    model = small_net(dtype=np.float32)
    model(images(50).astype(np.float32))  # running statistics
    X = images(1100, 1).astype(np.float32)
    with model.inference_mode():
        whole = np.concatenate([model(X[i : i + 100]).data for i in range(0, 1100, 100)])
        np.testing.assert_allclose(model(X).data, whole, rtol=1e-4, atol=1e-6)


def test_state_contains_whitening_and_running_statistics():
    model = small_net()
    model(images(4))
    other = ConvNet([2, 3, 4], depth=2, rng=5, dtype=np.float64)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.eval()(images(4)).data, model.eval()(images(4)).data)


@pytest.mark.parametrize("depth", [1, 3])
def test_shapes_of_weights_are_those_of_the_model(depth):
    model = ConvNet([2, 5], 7, depth=depth, rng=0)
    shapes = [t.shape for _, t in model.named_tensors() if t.ndim > 1]
    assert shapes == shapes_of_weights([2, 5], depth, 7)


@pytest.mark.parametrize("depth", [1, 3])
def test_multiplications_are_those_of_the_convolutions_in_the_summary(depth):
    lines = ConvNet([2, 5], depth=depth, rng=0).summary((3072,)).splitlines()
    counts = [int(line.split()[-1].replace(",", "")) for line in lines if "Conv2d" in line]
    assert sum(counts) == multiplications([2, 5], depth)


@pytest.mark.parametrize(("widths", "depth"), [([], 2), ([4] * 5, 2), ([4, 0], 2), ([4], 0)])
def test_impossible_sizes_are_refused(widths, depth):
    with pytest.raises(ValueError, match="ConvNet: widths must be one to four numbers, and widths, classes and depth"):
        ConvNet(widths, depth=depth)


def test_images_must_be_rows_of_pixels():
    with pytest.raises(ValueError, match="ConvNet: images must be rows of 3072 pixels, without whitening; got"):
        small_net()(Tensor(np.zeros((2, 400))))


def test_the_optimiser_of_the_settings_is_muon_for_filters_and_sgd_for_the_rest():
    settings = replace(KINDS["convnet"], bias_rate=0.5, last_rate=0.25, batch_size=10, eta=0.1)
    model = build_model(settings, 3072, 10)
    muon, sgd = build_optimiser(settings, model, steps_per_epoch=1).optimisers
    filters = [m.W for m in model.modules() if isinstance(m, tg.nn.Conv2d)]
    assert [id(p) for p in muon.parameters] == [id(p) for p in filters]
    head, biases = sgd.groups
    assert [id(p) for p in head.parameters] == [id(model.head)]
    assert head.schedule(0) == pytest.approx(0.1 * 0.25)
    assert biases.schedule(0) == pytest.approx(0.1 * 0.5 * 10)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_into_memory_is_refused_with_one_that_does(monkeypatch):
    model, X, labels = small_net(), images(8), np.zeros(8, int)
    monkeypatch.setattr(memory_check, "available_bytes", lambda: 50_000_000)
    with pytest.raises(SettingsError, match=r"needs about \d+\.\d GB of memory, and 0\.1 GB are available") as refused:
        memory_check.require_memory(model, X, labels, 100_000)
    most = int(str(refused.value).split("a batch of ")[1].split()[0])
    memory_check.require_memory(model, X, labels, most)
    with pytest.raises(SettingsError):
        memory_check.require_memory(model, X, labels, most + 2)


def test_the_filters_are_not_counted_for_each_image(monkeypatch):
    model, X, labels = ConvNet([4, 64], rng=0, dtype=np.float32), images(8), np.zeros(8, int)
    loss = model.loss(X, labels)
    saved = graph(loss).nbytes
    monkeypatch.setattr(memory_check, "available_bytes", lambda: 1.5 * saved)
    memory_check.require_memory(model, X, labels, 8)


def test_the_check_of_the_memory_leaves_the_model_as_it_was():
    model = small_net()
    before = model.state_dict()
    memory_check.require_memory(model, images(8), np.zeros(8, int), 1)
    assert all(array.tobytes() == before[name].tobytes() for name, array in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_system_that_does_not_report_its_memory_is_trusted(monkeypatch):
    monkeypatch.setattr(memory_check, "available_bytes", lambda: None)
    memory_check.require_memory(small_net(), images(4), np.zeros(4, int), 10**9)


def test_after_training_all_parameters_can_be_trained_again():
    model = small_net()
    names = [name for name, _ in model.named_parameters()]
    training.fit(model, Adam(model.parameters()), (images(4), np.arange(4)), epochs=3, batch_size=2)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == names


def test_training_that_fails_keeps_no_memory():
    def stop(progress):
        if progress.step == 1:
            raise KeyboardInterrupt

    model, X = ConvNet([16, 16], depth=1, rng=0), images(200).astype(np.float32)
    tracemalloc.start()
    try:
        with suppress(KeyboardInterrupt):
            training.fit(
                model, Adam(model.parameters()), (X, np.zeros(200, int)), epochs=1, batch_size=200, callback=stop
            )
        model.zero_grad()
        gc.collect()
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most > 50_000_000
    assert kept < 5_000_000
