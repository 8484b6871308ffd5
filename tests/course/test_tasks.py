"""Training of any module: losses given by the user, regression, autoencoders, batches, metrics, and what is shown."""

from __future__ import annotations

import csv
import io
import math
import sys
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_models import CLASSES, FEATURES, some_images, some_model
from tinygrad_cifar import Tensor, nn, relu
from tinygrad_cifar import functional as F
from tinygrad_cifar.course.evaluation import evaluate
from tinygrad_cifar.course.history import History, Measurement
from tinygrad_cifar.course.models import Classifier, SoftmaxRegression
from tinygrad_cifar.course.training import fit
from tinygrad_cifar.data.batches import iterate_batches
from tinygrad_cifar.nn.optim import SGD, Adam

X, LABELS = some_images()
TARGETS = X @ np.arange(8.0).reshape(FEATURES, 2) / 8 + 1


def network(outputs: int = 2) -> nn.Sequential:
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(FEATURES, 8, rng=rng), nn.Tanh(), nn.Linear(8, outputs, rng=rng))


def train(model, data=(X, TARGETS), *, epochs=3, batch_size=5, **options) -> History:
    return fit(model, Adam(model.parameters(), 0.02), data, epochs=epochs, batch_size=batch_size, **options)


# -- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [F.cross_entropy, F.hinge, F.binary_cross_entropy])
def test_a_sequential_is_trained_as_a_classifier(loss):
    history = train(network(CLASSES), (X, LABELS), loss=loss, epochs=60)
    assert history.rows[-1].train_loss < 0.8 * history.rows[0].train_loss
    assert history.rows[-1].train_accuracy > 0.6


def test_a_given_loss_trains_as_the_loss_of_a_classifier_does():
    class Own(Classifier):
        def __init__(self) -> None:
            self.network = network(CLASSES)

        def forward(self, X):
            return self.network(X)

    own, plain = Own(), network(CLASSES)
    histories = [train(own, (X, LABELS)), train(plain, (X, LABELS), loss=F.cross_entropy)]
    assert histories[0].to_csv() == histories[1].to_csv()


def test_a_regression_is_trained_and_has_no_accuracy():
    history = train(network(), epochs=60, loss=F.mse, validation=(X, TARGETS))
    assert history.rows[-1].train_loss < 0.1 * history.rows[0].train_loss
    assert history.rows[-1].validation_loss == history.rows[-1].train_loss
    assert np.isnan(history.column("train_accuracy")).all()


def test_an_autoencoder_is_trained_on_its_inputs():
    history = train(network(FEATURES), (X, X), epochs=60, loss=F.mse)
    assert history.rows[-1].train_loss < 0.5 * history.rows[0].train_loss


def test_a_module_with_a_loss_of_its_own_is_trained():
    """Its forward returns several results, of which only its loss knows the meaning."""

    class Variational(nn.Module):
        def __init__(self) -> None:
            self.encoder, self.decoder = nn.Linear(FEATURES, 4, rng=0), nn.Linear(2, FEATURES, rng=1)

        def forward(self, X):
            code = self.encoder(X)
            return self.decoder(code[:, :2]), code[:, :2], code[:, 2:]

        def loss(self, X, _):
            outputs, mean, deviation = self(X)
            return F.mse(outputs, X) + 0.01 * (mean * mean + deviation * deviation).mean()

    history = train(Variational(), (X, LABELS), epochs=40)
    assert history.rows[-1].train_loss < 0.8 * history.rows[0].train_loss


def test_a_module_with_several_arguments_is_called_with_all():
    class Two(nn.Module):
        def forward(self, x, y, *, factor=1):
            return x * y * factor

    assert Two()(Tensor(2.0), 3.0, factor=2).item() == 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"fit: Sequential has no loss; give one, loss=functional.cross_entropy for classes"),
        ({"loss": "mse"}, "fit: loss must be a function of outputs and targets.*got 'mse'"),
    ],
)
def test_a_missing_loss_is_explained(options, words):
    with pytest.raises(TypeError, match=words):
        train(network(), **options)


def test_a_loss_that_is_not_one_number_is_refused():
    with pytest.raises(ValueError, match=r"must return one number, the mean over the batch; got an array of shape"):
        train(network(), loss=lambda outputs, targets: (outputs - targets) ** 2)


def test_a_loss_that_is_not_a_tensor_is_refused():
    with pytest.raises(TypeError, match=r"fit: the loss must be a tensor, computed from the outputs.*got float"):
        train(network(), loss=lambda outputs, targets: float(np.mean(outputs.data - targets)))


def test_a_model_of_symbols_is_trained():
    symbols = np.random.default_rng(0).integers(0, 6, (40, 2))
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Embedding(6, 3, rng=rng), nn.Flatten(), nn.Linear(6, 2, rng=rng))
    history = train(model, (symbols, (symbols[:, 0] > 2).astype(int)), loss=F.cross_entropy, epochs=40)
    assert history.rows[-1].train_accuracy > 0.95


def test_patience_follows_the_validation_loss_without_an_accuracy():
    """The validation targets are those of the untrained model, so training moves away from them."""
    model = network()
    with model.inference_mode():
        own = model(X).numpy()
    history = train(model, epochs=9, loss=F.mse, validation=(X, own), patience=2)
    losses = history.column("validation_loss")
    assert history.stopped_early
    assert history.best_epoch == int(np.argmin(losses)) == 0
    assert evaluate(model, (X, own), loss=F.mse).loss == losses.min()


# -- metrics ---------------------------------------------------------------------------------------------------------


def worst(outputs, targets) -> float:
    return float(np.abs(outputs - targets).max())


def test_metrics_of_the_user_are_columns_of_the_history():
    model = network()
    history = train(model, loss=F.mse, metrics={"worst": worst}, validation=(X[:9], TARGETS[:9]))
    with model.inference_mode():
        outputs = model(X).data
    assert history.column("train_worst")[-1] == worst(outputs, TARGETS)
    assert history.column("validation_worst")[-1] == worst(outputs[:9], TARGETS[:9])
    (*_, last) = csv.DictReader(io.StringIO(history.to_csv()))
    assert float(last["validation_worst"]) == history.column("validation_worst")[-1]


@pytest.mark.parametrize("name", ["loss", "cost"])
def test_a_metric_with_the_name_of_a_column_is_refused(name):
    with pytest.raises(ValueError, match=f"fit: a metric cannot have the name {name}, since .* a column train_{name};"):
        train(network(), loss=F.mse, metrics={name: worst})


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (np.zeros(3), r"an array of shape \(3,\)"),
        (Tensor(np.zeros((2, 1))), r"an array of shape \(2, 1\)"),
        ([0.1, 0.2], r"an array of shape \(2,\)"),
        ("0.5", "'0.5'"),
        (None, "None"),
    ],
)
def test_a_metric_that_does_not_return_a_number_is_named(result, words):
    with pytest.raises((TypeError, ValueError), match=f"the metric score must return one number; got {words}"):
        train(network(), loss=F.mse, metrics={"score": lambda *_: result})


def test_a_loss_that_returns_nothing_is_explained():
    with pytest.raises(TypeError, match="the loss must return one number, the mean over the batch; got None"):
        train(network(), loss=lambda *_: None)


def test_a_model_that_returns_nothing_is_named():
    class Silent(nn.Linear):
        def forward(self, x):
            super().forward(x)

    with pytest.raises(TypeError, match="forward of Silent returned None; it must return a tensor"):
        train(Silent(FEATURES, 2), loss=F.mse)


def test_a_metric_named_accuracy_replaces_the_accuracy():
    history = train(network(), loss=F.mse, metrics={"accuracy": lambda outputs, _: len(outputs) / 100})
    assert set(history.column("train_accuracy")) == {0.23}
    assert history.rows[-1].others == {}


@pytest.mark.parametrize("model", [network(CLASSES), some_model()])
def test_rows_of_probabilities_have_the_accuracy_of_their_highest_class(model):
    loss = None if isinstance(model, Classifier) else F.cross_entropy
    rows = evaluate(model, (X, np.eye(CLASSES)[LABELS]), loss=loss)
    assert rows.accuracy == evaluate(model, (X, LABELS), loss=loss).accuracy


def test_an_unknown_column_is_refused_with_a_suggestion():
    with pytest.raises(AttributeError, match=r"no column train_los; did you mean train_loss\?"):
        train(network(), loss=F.mse).column("train_los")


# -- batches ---------------------------------------------------------------------------------------------------------


def batches(rng=None):
    return iterate_batches(X, TARGETS, 5, rng)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: list(batches()), {}),
        (lambda: batches, {"steps_per_epoch": 5}),
        (lambda: (batch for _ in range(3) for batch in batches()), {"steps_per_epoch": 5}),
    ],
    ids=["list", "function", "generator"],
)
def test_batches_train_like_the_arrays_that_they_are_from(make, options):
    model, other = network(), network()
    train(model, make(), batch_size=None, loss=F.mse, **options)
    train(other, loss=F.mse)
    assert all((a == b).all() for a, b in zip(model.ravel(), other.ravel(), strict=True))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_may_be_lists(count):
    chosen = list(batches())[:count]
    model, other = network(), network()
    train(model, [list(batch) for batch in chosen], batch_size=None, loss=F.mse)
    train(other, chosen, batch_size=None, loss=F.mse)
    assert (model.ravel() == other.ravel()).all()


def test_a_function_of_batches_that_needs_a_generator_says_so():
    with pytest.raises(
        ValueError, match=r"fit: train raised AttributeError, without a generator \(.*permutation.*\); give rng"
    ):
        train(network(), lambda r: [(X[r.permutation(5)], TARGETS)], batch_size=None, steps_per_epoch=1, loss=F.mse)


def test_shuffled_batches_come_from_the_generator_of_the_run():
    model, other = network(), network()
    train(model, batches, batch_size=None, steps_per_epoch=5, loss=F.mse, rng=7)
    train(other, loss=F.mse, rng=7)
    assert (model.ravel() == other.ravel()).all()


def test_the_training_loss_of_batches_is_the_mean_over_the_updates():
    losses = []
    history = train(
        network(),
        batches,
        batch_size=None,
        steps_per_epoch=5,
        loss=F.mse,
        callback=lambda p: losses.append((p.step, p.loss)),
    )
    of_steps = dict(losses)
    assert math.isnan(history.rows[0].train_loss)
    assert history.rows[1].train_loss == pytest.approx(np.mean([of_steps[step] for step in range(1, 6)]), rel=1e-12)


def test_batches_can_be_measured_on_other_examples():
    model = network()
    history = train(model, list(batches()), batch_size=None, loss=F.mse, measure_on=(X, TARGETS))
    assert history.rows[-1].train_loss == evaluate(model, (X, TARGETS), loss=F.mse).loss


@pytest.mark.parametrize("measure_every", [None, 3])
@pytest.mark.parametrize("step", [3, 7, 12])
def test_an_interrupted_run_on_batches_ends_bit_for_bit_identical(step, measure_every, tmp_path):
    def session(drawn, **options):
        model = network()
        options |= {"steps_per_epoch": 5, "measure_every": measure_every}
        rng = np.random.default_rng(0)
        rng.random(drawn)
        history = train(model, batches, batch_size=None, loss=F.mse, rng=rng, **options)
        return model.ravel().tobytes(), history.to_csv()

    def interrupt(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        session(0, checkpoint=tmp_path / "run.npz", callback=interrupt)
    assert session(1, checkpoint=tmp_path / "run.npz") == session(0)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (
            X,
            {"batch_size": 5},
            r"train must be a pair of arrays \(inputs, targets\).*got ndarray of shape \(23, 4\).*\(X, X\)",
        ),
        (Tensor(X), {}, "train must be a pair of arrays"),
        ((X, TARGETS), {}, "the argument batch_size is missing"),
        ((X, TARGETS), {"batch_size": 5, "steps_per_epoch": 3}, "steps_per_epoch is for batches"),
        (batches, {}, "the argument steps_per_epoch is missing"),
        (batches, {"batch_size": 5, "steps_per_epoch": 5}, "batch_size is for arrays"),
        ([X, X, X], {}, r"a batch must be a pair \(inputs, targets\); got ndarray"),
        (batches, {"steps_per_epoch": 6}, "an epoch has 6 batches; train ended after 5"),
        (batches(), {"steps_per_epoch": 5}, "an epoch has 5 batches; train ended after 0; give a list, or a function"),
        ([], {}, "an epoch must have at least 1 batch"),
    ],
)
def test_data_that_cannot_be_trained_on_is_explained(data, options, words):
    with pytest.raises((TypeError, ValueError), match=f"fit: {words}"):
        train(network(), data, loss=F.mse, **({"batch_size": None} | options))


def test_a_generator_of_batches_cannot_be_resumed(tmp_path):
    with pytest.raises(TypeError, match="cannot resume an iterator of batches; give a function of rng"):
        train(network(), batches(), batch_size=None, steps_per_epoch=5, loss=F.mse, checkpoint=tmp_path / "run.npz")


# -- arguments -------------------------------------------------------------------------------------------------------


MODEL = some_model()
OPTIMISER = SGD(MODEL.parameters(), 0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit(MODEL, OPTIMISER, (X, LABELS)), "fit: the argument epochs is missing"),
        (lambda: fit(MODEL, OPTIMISER, (X, LABELS), epoch=3), "fit: unexpected argument epoch; did you mean epochs?"),
        (lambda: fit(MODEL, OPTIMISER, (X, LABELS), None, 3), r"takes 4 positional arguments; got 5: give epochs"),
        (lambda: fit(MODEL, MODEL.parameters(), (X, LABELS), epochs=1, batch_size=1), "optimiser must be an optimiser"),
        (lambda: train(network(), loss=nn.Linear), "loss must be a function of outputs and targets.*got <class"),
        (lambda: train(network(), loss=F.mse, metrics=worst), r"metrics must be a mapping of names to functions"),
        (lambda: train(network(), loss=F.mse, validation=(X, X, X)), r"a pair \(images, labels\); got a tuple of 3"),
        (
            lambda: train(network(), loss=F.mse, batch_size="5"),
            "fit: batch_size must be an integer of at least 1; got '5'",
        ),
        (lambda: fit(SoftmaxRegression, OPTIMISER, (X, LABELS), epochs=1), "model is a class; construct it: Softmax"),
        (lambda: fit(relu, OPTIMISER, (X, LABELS), epochs=1, batch_size=1), "model must be a module; got"),
        (lambda: fit(MODEL, OPTIMISER, (X, LABELS), X, epochs=1, batch_size=1), "examples must be a pair"),
    ],
)
def test_wrong_arguments_are_explained(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_parameters_that_were_put_into_a_set_later_are_reported():
    model = some_model()
    model.heads = {nn.Linear(2, 2, rng=0)}
    with pytest.raises(TypeError, match="SoftmaxRegression: heads is a set"):
        train(model, (X, LABELS))


def test_a_run_of_a_model_that_keeps_a_result_can_be_resumed(tmp_path):
    class Keeping(SoftmaxRegression):
        def forward(self, X):
            self.h = super().forward(X)
            return self.h

    def session(**options):
        model = Keeping(FEATURES, CLASSES, rng=0)
        train(model, (X, LABELS), **options)
        return model.ravel().tobytes()

    def interrupt(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        session(checkpoint=tmp_path / "run.npz", callback=interrupt)
    assert session(checkpoint=tmp_path / "run.npz") == session()


# -- the history as text and as curves -------------------------------------------------------------------------------


def test_the_repr_of_a_history_says_how_far_the_model_came():
    text = repr(train(some_model(), (X, LABELS)))
    assert text.startswith("History(3 epochs, 15 steps: train loss ")
    assert "train accuracy" in text
    assert "validation" not in text


def test_the_history_of_a_regression_shows_no_accuracy():
    history = train(network(), loss=F.mse, metrics={"worst": worst})
    assert "accuracy" not in repr(history)
    assert history._repr_html_().count("<svg") == 2


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), min_size=1, max_size=6))
def test_a_history_of_any_losses_has_curves_with_finite_coordinates(losses):
    nan = math.nan
    rows = [Measurement(i, float(i), 0.1, loss, loss, nan, nan, nan, nan) for i, loss in enumerate(losses)]
    html = History(rows)._repr_html_()
    assert "nan" not in html.partition("<svg")[2]
    assert "inf" not in html.partition("<svg")[2]


def test_a_history_without_measurements_is_shown():
    assert (repr(History()), "without" in History()._repr_html_()) == ("History()", True)


# -- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3, 100])
def test_progress_is_printed_as_lines_where_there_is_no_terminal(capsys, epochs):
    history = train(some_model(), (X, LABELS), epochs=epochs, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 21
    assert lines[0].startswith(f"step {0:{len(str(5 * epochs))}}/{5 * epochs}  epoch 0      loss")
    assert lines[-1].startswith(f"step {5 * epochs}/{5 * epochs}  epoch {epochs:<5}  loss")
    assert f"train {100 * history.rows[-1].train_accuracy:.1f} %" in lines[-1]


def test_without_progress_nothing_is_printed(capsys):
    train(some_model(), (X, LABELS))
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train(some_model(), (X, LABELS), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "SoftmaxRegression: 100%" in err
    assert "15/15" in err


def test_progress_is_a_bar_in_a_notebook(capsys, monkeypatch):
    """Without a terminal; tqdm draws its bar as text here, since there is no kernel."""
    pytest.importorskip("tqdm")
    shell = type("ZMQInteractiveShell", (), {"config": {}})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    train(some_model(), (X, LABELS), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "15/15" in err


def test_progress_is_printed_as_lines_without_tqdm(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train(some_model(), (X, LABELS), progress=True)
    out, err = capsys.readouterr()
    assert out.count("\n") == 4
    assert err == ""


def test_progress_does_not_change_the_run_and_keeps_the_callback(capsys):
    steps: list[int] = []
    shown = train(some_model(), (X, LABELS), progress=True, callback=lambda p: steps.append(p.step))
    assert shown.to_csv() == train(some_model(), (X, LABELS)).to_csv()
    assert set(steps) == set(range(16))
    capsys.readouterr()


def test_optimiser_in_place_of_the_model_is_named():
    optimiser = SGD(network().parameters(), 0.1)
    with pytest.raises(TypeError, match="model must be a module; got a SGD; give a model first"):
        fit(optimiser, optimiser, (X, TARGETS), epochs=1, batch_size=5)


def test_function_of_batches_without_an_argument_is_explained():
    with pytest.raises(TypeError, match=r"a function of the random generator: def batches\(rng\)"):
        train(network(), lambda: iter([(X, TARGETS)]), batch_size=None, steps_per_epoch=1, loss=F.mse)


def test_inputs_that_are_not_finite_are_named():
    with pytest.raises(ArithmeticError, match="before the first step; inputs and targets must be finite"):
        train(network(), (np.full_like(X, np.nan), TARGETS), loss=F.mse)
