"""Statistics of layers during training: what they contain, and that they do not change the training."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tinygrad_cifar import Tensor, models, nn, optim, training
from tinygrad_cifar import functional as F
from tinygrad_cifar.course.history import Measurement
from tinygrad_cifar.course.layer_statistics import measure_layers

X = np.random.default_rng(0).normal(size=(60, 6))
LABELS = np.arange(60) % 3


def fit(model, **options):
    optimiser = optim.SGD(model.parameters(), 0.1, momentum=0.5)
    chosen = {"epochs": 2, "batch_size": 20, "rng": 1, "layer_statistics": True} | options
    return training.fit(model, optimiser, chosen.pop("train", (X, LABELS)), **chosen)


def test_statistics_are_those_of_a_derivation_by_hand():
    model = models.TwoLayer(6, 8, 3, rng=0)
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    H = np.maximum(X @ W1 + b1, 0)
    S = H @ W2 + b2
    P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
    to_S = (P - np.eye(3)[LABELS]) / 60
    to_H = to_S @ W2.T
    expected = {
        layer: [f(array) for array in (values, gradient) for f in (np.mean, np.std, lambda a: np.mean(a == 0))]
        for layer, values, gradient in (("W1", H, to_H), ("W2", S, to_S))
    }
    found = measure_layers(model, model.loss, X, LABELS)
    assert list(found) == ["W1", "W2"]
    for layer in found:
        np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-12, atol=1e-16)


def test_dead_relus_have_only_zeros():
    model = models.Perceptron([6, 5, 3], rng=0)
    model.layers[0].b.data = np.full(5, -1e6)
    dead = measure_layers(model, model.loss, X, LABELS)["layers.0"]
    assert (dead.activation_zeros, dead.activation_std) == (1.0, 0.0)


def test_vanishing_gradients_shrink_from_the_last_layer_to_the_first():
    layers = [layer for _ in range(6) for layer in (nn.Linear(6, 6, rng=0), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(6, 3, rng=1))
    found = measure_layers(model, lambda X, y: F.cross_entropy(model(X), y), X, LABELS)
    spreads = [statistics.gradient_std for statistics in found.values()]
    assert len(spreads) == 7
    assert spreads == sorted(spreads)
    assert spreads[0] < 1e-3 * spreads[-1]


def test_measuring_changes_neither_gradients_nor_the_mode():
    model = models.Perceptron([6, 5, 3], rng=0, dropout=0.5)
    state = model.generators()[0].bit_generator.state
    measure_layers(model, model.loss, X, LABELS)
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert model.generators()[0].bit_generator.state == state


def test_a_loss_without_parameters_has_no_layers():
    model = models.TwoLayer(6, 5, 3, rng=0)
    assert measure_layers(model, lambda *_: Tensor(1.0), X, LABELS) == {}


# -- in fit ------------------------------------------------------------------------------------------------------------


def test_the_training_is_bit_for_bit_the_same():
    runs = []
    for measured in (False, True):
        model = models.Perceptron([6, 5, 3], rng=0, dropout=0.5)
        history = fit(model, layer_statistics=measured)
        runs.append((model.ravel().tobytes(), history.column("train_loss").tolist()))
    assert runs[0] == runs[1]


def test_every_measurement_has_the_layers():
    history = fit(models.Perceptron([6, 5, 3], rng=0), measure_every=1)
    assert history.layers == ["layers.0", "layers.1"]
    zeros = history.column("layers.0_activation_zeros")
    assert zeros.shape == (7,)
    assert ((zeros > 0) & (zeros < 1)).all()


def test_without_the_option_there_are_no_layers():
    assert fit(models.TwoLayer(6, 5, 3, rng=0), layer_statistics=False).layers == []


def test_the_csv_has_a_column_for_each_quantity():
    history = fit(models.TwoLayer(6, 5, 3, rng=0))
    rows = list(csv.DictReader(io.StringIO(history.to_csv())))
    assert float(rows[-1]["W2_gradient_std"]) == history.rows[-1].layers["W2"].gradient_std
    assert len(rows[0]) == 9 + 2 * 6


def test_a_measurement_is_stored_and_read():
    row = fit(models.TwoLayer(6, 5, 3, rng=0), metrics={"share": F.accuracy}).rows[-1]
    assert row.others
    assert repr(Measurement.from_list(row.to_list())) == repr(row)  # there are NaNs, which equal nothing
    plain = Measurement.from_list(row.to_list()[:-1])
    assert (plain.others, plain.layers) == (row.others, {})


def test_a_resumed_run_has_the_same_history(tmp_path):
    whole = fit(models.TwoLayer(6, 5, 3, rng=0), epochs=3)

    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise StoppedError

    path = tmp_path / "run.npz"
    with pytest.raises(StoppedError):
        fit(models.TwoLayer(6, 5, 3, rng=0), epochs=3, checkpoint=path, callback=stop)
    resumed = fit(models.TwoLayer(6, 5, 3, rng=0), epochs=3, checkpoint=path)
    assert [row.layers for row in resumed.rows] == [row.layers for row in whole.rows]


def test_batches_need_images_to_measure_on():
    batches = [(X, LABELS)]
    with pytest.raises(ValueError, match="fit: layer_statistics needs images to measure on; give measure_on"):
        fit(models.TwoLayer(6, 5, 3, rng=0), train=batches, batch_size=None)
    history = fit(models.TwoLayer(6, 5, 3, rng=0), train=batches, batch_size=None, measure_on=(X, LABELS))
    assert history.layers == ["W1", "W2"]


def statistics_of(model, penalty=lambda: 0.0):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    loss = lambda inputs, targets: F.cross_entropy(model(inputs), targets) + penalty()  # noqa: E731
    return X, measure_layers(model, loss, X, labels)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU("tanh"), nn.GELU()], ids=str)
def test_activations_are_those_after_the_activation_function(activation):
    first = nn.Linear(4, 6, rng=0)
    X, found = statistics_of(nn.Sequential(first, activation, nn.Linear(6, 3, rng=1)))
    expected = activation(first(X)).data
    measured = found["layers.0"]
    np.testing.assert_allclose(
        [measured.activation_mean, measured.activation_std], [expected.mean(), expected.std()], rtol=1e-12
    )


def test_each_application_of_a_shared_layer_is_measured():
    shared, last = nn.Linear(4, 4, rng=0), nn.Linear(4, 3, rng=1)
    _, found = statistics_of(nn.Sequential(shared, shared, shared, last))
    assert list(found) == ["layers.0", "layers.0 (2)", "layers.0 (3)", "layers.3"]


def test_a_penalty_is_not_a_layer():
    model = nn.Sequential(nn.Linear(4, 3, rng=0))
    _, found = statistics_of(model, lambda: F.l2_penalty(model.weights(), 0.1))
    assert list(found) == ["layers.0"]
