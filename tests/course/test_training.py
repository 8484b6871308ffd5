"""Training: history, checkpoints and resuming, early stopping, divergence and invalid arguments."""

from __future__ import annotations

import csv
import io
import math
import re
from contextlib import nullcontext, suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.some_models import CLASSES, FEATURES, some_images, some_model
from tinygrad_cifar import Tensor, nn
from tinygrad_cifar.course.evaluation import Metrics, evaluate
from tinygrad_cifar.course.models import SVM, Classifier, Perceptron, SoftmaxRegression, TwoLayer
from tinygrad_cifar.course.training import Measurement, TrainingDiverged, TrainingProgress, fit, read_divergence
from tinygrad_cifar.nn.functional import mse
from tinygrad_cifar.nn.initialisers import Zeros
from tinygrad_cifar.nn.optim import SGD, Adam, AdamW, Combined, Lookahead, MovingAverage, Muon, RMSprop, clip_grad_norm
from tinygrad_cifar.nn.schedules import Triangular
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

seeds = st.integers(0, 2**32 - 1)


def train(model=None, *, eta=0.1, epochs=3, batch_size=5, data=None, **options):
    """Train a small model, by default in five steps an epoch, and return it with its history."""
    model = some_model() if model is None else model
    data = some_images() if data is None else data
    history = fit(model, SGD(model.parameters(), eta), data, epochs=epochs, batch_size=batch_size, **options)
    return model, history


def bits(state: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


# -- the history -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 30), st.none() | st.integers(1, 12))
def test_measurements_are_made_at_the_interval_and_at_both_ends(epochs, batch_size, every):
    _, history = train(epochs=epochs, batch_size=batch_size, measure_every=every)
    in_epoch = math.ceil(23 / batch_size)
    last = epochs * in_epoch
    assert [row.step for row in history.rows] == sorted({*range(0, last + 1, every or in_epoch), last})


@given(st.integers(1, 30), st.none() | st.integers(1, 12))
def test_the_epoch_of_a_measurement_is_its_step_over_the_steps_per_epoch(batch_size, every):
    _, history = train(batch_size=batch_size, measure_every=every)
    assert history.column("epoch").tolist() == [row.step / math.ceil(23 / batch_size) for row in history.rows]


def test_the_learning_rate_in_the_history_is_that_of_the_next_step():
    schedule = Triangular(0.01, 0.1, 4)
    _, history = train(eta=schedule, measure_every=1)
    assert history.column("eta").tolist() == [schedule(step) for step in range(16)]


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_the_last_row_has_the_metrics_of_the_trained_model(lam):
    model, data, validation = some_model(), some_images(0), some_images(1)
    history = fit(
        model,
        SGD(model.parameters(), 0.1, weight_decay=2 * lam),
        data,
        validation,
        epochs=2,
        batch_size=5,
    )
    last, found, held_out = history.rows[-1], evaluate(model, data, lam), evaluate(model, validation, lam)
    assert Metrics(last.train_loss, last.train_cost, last.train_accuracy) == found
    assert Metrics(last.validation_loss, last.validation_cost, last.validation_accuracy) == held_out


def test_the_first_row_has_the_metrics_of_the_untrained_model():
    model, history = train()
    model.load_state_dict(some_model().state_dict())
    assert history.rows[0].train_loss == evaluate(model, some_images()).loss


def test_without_validation_images_its_columns_are_nan():
    _, history = train()
    assert np.isnan([history.column(f"validation_{what}") for what in ("loss", "cost", "accuracy")]).all()


def test_the_training_columns_can_be_measured_on_other_images():
    model, history = train(measure_on=some_images(5))
    assert history.rows[-1].train_loss == evaluate(model, some_images(5)).loss


def test_the_csv_has_one_named_column_per_quantity():
    _, history = train(validation=some_images(1))
    rows = list(csv.DictReader(io.StringIO(history.to_csv())))
    assert ",".join(rows[0]) == (
        "step,epoch,eta,train_loss,train_cost,train_accuracy,validation_loss,validation_cost,validation_accuracy"
    )
    assert [Measurement(int(row.pop("step")), *map(float, row.values())) for row in rows] == history.rows


# -- updates ---------------------------------------------------------------------------------------------------------


class Recorder(SoftmaxRegression):
    """A model that records the first pixel of all images it is trained on."""

    def __init__(self) -> None:
        super().__init__(FEATURES, CLASSES, rng=np.random.default_rng(0))
        self.seen: list[np.ndarray] = []

    def loss(self, X, labels):
        self.seen.append(X.data[:, 0].copy())
        return super().loss(X, labels)


def test_without_a_generator_images_come_in_file_order():
    model, _ = train(Recorder(), epochs=2)
    X, _ = some_images()
    assert [batch.tolist() for batch in model.seen] == [X[i : i + 5, 0].tolist() for i in range(0, 23, 5)] * 2


@given(seeds)
def test_with_a_generator_each_epoch_has_another_order_of_all_images(seed):
    model, _ = train(Recorder(), epochs=3, rng=np.random.default_rng(seed))
    X, _ = some_images()
    epochs = [np.concatenate(model.seen[i : i + 5]) for i in (0, 5, 10)]
    assert [sorted(epoch) for epoch in epochs] == [sorted(X[:, 0])] * 3
    assert all((one != other).any() for one, other in pairwise(epochs))


def test_augmented_images_are_trained_on_and_not_measured():
    model, history = train(Recorder(), rng=np.random.default_rng(0), augment=lambda X, _: 0 * X + 7)
    assert set(np.concatenate(model.seen)) == {7}
    assert history.rows[-1].train_loss == evaluate(model, some_images()).loss


@given(st.integers(1, 23))
def test_drop_last_leaves_out_an_incomplete_batch(batch_size):
    model, history = train(Recorder(), epochs=2, batch_size=batch_size, drop_last=True)
    X, _ = some_images()
    starts = range(0, 23 - batch_size + 1, batch_size)
    assert [batch.tolist() for batch in model.seen] == [X[i : i + batch_size, 0].tolist() for i in starts] * 2
    assert history.rows[-1].epoch == 2


def test_drop_last_needs_images_for_a_batch():
    with pytest.raises(ValueError, match="batch_size must be at most 23, the number of images, with drop_last; got 24"):
        train(batch_size=24, drop_last=True)


def test_drop_last_is_not_for_batches():
    with pytest.raises(TypeError, match="drop_last is for arrays; omit it"):
        train(data=[some_images()], batch_size=None, drop_last=True)


@given(seeds)
def test_without_shuffling_a_generator_serves_the_augmentation_only(seed):
    in_order, _ = train(Recorder(), rng=None)
    model, _ = train(Recorder(), rng=seed, shuffle=False, augment=lambda X, _: X)
    assert [batch.tolist() for batch in model.seen] == [batch.tolist() for batch in in_order.seen]


@given(st.integers(1, 30))
def test_an_update_is_one_step_along_the_mean_gradient_of_its_batch(batch_size):
    model, _ = train(eta=0.5, epochs=1, batch_size=batch_size)
    X, labels = some_images()
    W, b = some_model().W.numpy(), np.zeros(CLASSES)
    for i in range(0, 23, batch_size):
        x, y = X[i : i + batch_size], labels[i : i + batch_size]
        p = np.exp(x @ W + b)
        g = (p / p.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]) / len(x)
        W, b = W - 0.5 * x.T @ g, b - 0.5 * g.sum(axis=0)
    np.testing.assert_allclose(model.W.data, W, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.b.data, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [SoftmaxRegression, SVM])
def test_training_lowers_the_loss(make):
    model = make(FEATURES, CLASSES, rng=np.random.default_rng(0))
    _, history = train(model, epochs=20)
    assert history.rows[-1].train_loss < 0.7 * history.rows[0].train_loss


def test_training_in_float32_stays_in_float32():
    model = SoftmaxRegression(FEATURES, CLASSES, rng=np.random.default_rng(0), dtype=np.float32)
    train(model, data=some_images(dtype=np.float32))
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_the_data_is_not_changed():
    data = some_images()
    before = [a.copy() for a in data]
    train(data=data, rng=np.random.default_rng(0))
    assert all((a == b).all() for a, b in zip(data, before, strict=True))


def test_the_callback_is_called_after_every_step():
    reports: list[TrainingProgress] = []
    train(callback=reports.append)
    assert sorted({progress.step for progress in reports}) == list(range(16))
    assert {progress.steps for progress in reports} == {15}


def test_the_callback_gets_the_last_measurement():
    reports: list[TrainingProgress] = []
    _, history = train(callback=reports.append)
    assert reports[-1].measurement == history.rows[-1]


# -- early stopping --------------------------------------------------------------------------------------------------


class Scripted(Classifier):
    """A model that classifies ``script[e]`` of ten images correctly after epoch e; its parameter counts the epochs."""

    def __init__(self, script: list[int]) -> None:
        self.script = script
        self.minus_epoch = Tensor(0.0, requires_grad=True)

    def forward(self, X):
        right = self.script[round(-self.minus_epoch.item())]
        return Tensor(np.eye(2)[(np.arange(len(X)) < right).astype(int)]) + 0 * self.minus_epoch

    def loss_of(self, scores, labels):  # noqa: ARG002
        return scores.sum() * 0 + self.minus_epoch


TEN = np.zeros((10, 1)), np.ones(10, int)
scripts = st.lists(st.integers(0, 10), min_size=2, max_size=9)


def run_script(script, patience):
    options = {"eta": 1, "epochs": len(script) - 1, "batch_size": 10, "data": TEN, "validation": TEN}
    return train(Scripted(script), **options, patience=patience)


def best_and_last(script, patience):
    best = 0
    for epoch in range(1, len(script)):
        if script[epoch] > script[best]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch, True
    return best, len(script) - 1, False


@given(scripts, st.integers(1, 4))
def test_training_stops_when_patience_runs_out(script, patience):
    _, history = run_script(script, patience)
    _, last, stopped = best_and_last(script, patience)
    assert (history.rows[-1].step, history.stopped_early) == (last, stopped)


@given(scripts, st.integers(1, 4))
def test_the_best_parameters_are_restored(script, patience):
    model, history = run_script(script, patience)
    best, _, _ = best_and_last(script, patience)
    assert (history.best_epoch, -model.minus_epoch.item()) == (best, best)


@given(scripts)
def test_without_patience_the_last_parameters_are_kept(script):
    model, history = run_script(script, None)
    assert (-model.minus_epoch.item(), history.stopped_early) == (len(script) - 1, False)


# -- resuming --------------------------------------------------------------------------------------------------------


def noise(X, rng):
    return X + rng.normal(size=X.shape)


KINDS_OF_RUN = {
    "file order": {},
    "shuffled": {"shuffle": True},
    "shuffled, without the last batch": {"shuffle": True, "drop_last": True},
    "momentum": {"shuffle": True, "optimiser": "momentum"},
    "adam": {"shuffle": True, "optimiser": "adam"},
    "average with patience": {"shuffle": True, "optimiser": "average", "patience": 2},
    "average": {"shuffle": True, "optimiser": "average", "clip_norm": 0.5},
    "combined": {"shuffle": True, "optimiser": "combined"},
    "dropout": {"shuffle": True, "optimiser": "momentum", "dropout": 0.5},
    "one generator": {"shuffle": True, "dropout": 0.5, "one_generator": True},
    "augmented": {"shuffle": True, "augment": noise},
    "often measured": {"shuffle": True, "measure_every": 3},
    "patient": {"shuffle": True, "patience": 2, "epochs": 6},
    "patient and often measured": {
        "shuffle": True,
        "patience": 1,
        "epochs": 6,
        "measure_every": 2,
        "optimiser": "adam",
    },
    "float32": {"shuffle": True, "optimiser": "momentum", "dtype": np.float32},
    "MT19937": {"shuffle": True, "bits": np.random.MT19937},
    "SFC64": {"shuffle": True, "bits": np.random.SFC64},
}


class Session:
    """One session of a run: all objects that a new process creates."""

    def __init__(  # noqa: PLR0913
        self,
        seed,
        *,
        shuffle=False,
        optimiser="sgd",
        dropout=0.0,
        one_generator=False,
        dtype=np.float64,
        bits=np.random.PCG64,
        epochs=4,
        batch_size=6,
        drawn=0,
        **options,
    ) -> None:
        rng = np.random.Generator(bits(seed))
        rng.random(drawn)  # other parameters and another order, with the same seed
        self.model = Perceptron([FEATURES, 8, CLASSES], rng=rng, dropout=dropout, dtype=dtype)
        rate = Triangular(0.01, 0.3, 5)
        self.optimiser = {
            "sgd": lambda p: SGD(p, rate, weight_decay=0.01),
            "momentum": lambda p: SGD(p, rate, momentum=0.9, weight_decay=0.01),
            "adam": lambda p: Adam(p, rate),
            "average": lambda p: MovingAverage(AdamW(p, rate), 0.9),
            "combined": lambda p: Lookahead(Combined(Muon(p[::2], rate), RMSprop(p[1::2], rate)), every=3),
        }[optimiser](self.model.parameters())
        self.rng = (rng if one_generator else np.random.Generator(bits(seed + 1))) if shuffle else None
        if self.rng is not None:
            self.rng.random(drawn)
        self.options = {"epochs": epochs, "batch_size": batch_size, **options}
        self.data = [some_images(0, dtype=dtype), some_images(1, dtype=dtype)]

    def fit(self, **more):
        self.history = fit(self.model, self.optimiser, *self.data, rng=self.rng, **(self.options | more))
        return self

    def outcome(self) -> tuple:
        """Return all results that must be equal for two runs, as bytes and text."""
        return (
            bits(self.model.state_dict()),
            bits(self.optimiser.state_dict()),
            self.history.to_csv(),
            self.history.best_epoch,
            self.history.stopped_early,
            None if self.rng is None else repr(self.rng.random(3)),
        )


def interrupt_at(step):
    def watch(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    return watch


# Each example writes a dozen checkpoints to the disk, and there are a dozen kinds.
fewer = settings(max_examples=settings.default.max_examples // 5)


@pytest.mark.parametrize("kind", KINDS_OF_RUN.values(), ids=KINDS_OF_RUN)
@fewer
@given(seed=seeds, steps=st.lists(st.integers(1, 16), min_size=1, max_size=2).map(sorted))
def test_an_interrupted_run_ends_bit_for_bit_identical(kind, seed, steps, tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("run") / "run.npz"
    for others, step in enumerate(steps):
        with suppress(KeyboardInterrupt):  # another state the second time: all that matters is in the checkpoint
            Session(seed, drawn=10 * others, **kind).fit(checkpoint=checkpoint, callback=interrupt_at(step))
    resumed = Session(seed, drawn=7, **kind).fit(checkpoint=checkpoint)
    assert resumed.outcome() == Session(seed, **kind).fit().outcome()


def test_averages_are_measured_and_are_the_parameters_at_the_end():
    model, data = some_model(), some_images()
    optimiser = MovingAverage(SGD(model.parameters(), 0.5, weight_decay=0.1), 0.9)
    history = fit(model, optimiser, data, epochs=2, batch_size=5)
    for p, average in zip(optimiser.parameters, optimiser.averages, strict=True):
        np.testing.assert_array_equal(p.data, average)
    last = history.rows[-1]
    assert Metrics(last.train_loss, last.train_cost, last.train_accuracy) == evaluate(model, data, 0.05)


def test_with_patience_the_best_averages_are_the_parameters_at_the_end():
    model, data, validation = some_model(), some_images(0), some_images(1)
    optimiser = MovingAverage(SGD(model.parameters(), 5.0), 0.9)
    history = fit(model, optimiser, data, validation, epochs=5, batch_size=5, patience=2)
    best = max(row.validation_accuracy for row in history.rows[1:])
    assert evaluate(model, validation).accuracy == best


def test_the_cost_contains_the_l2_terms_of_all_groups():
    model, data = some_model(), some_images()
    W, b = model.parameters()
    optimiser = SGD([{"parameters": [W], "weight_decay": 0.5}, {"parameters": [b], "weight_decay": 0.25}], 0.1)
    last = fit(model, optimiser, data, epochs=1, batch_size=5).rows[-1]
    penalty = 0.25 * (W.data**2).sum() + 0.125 * (b.data**2).sum()
    assert last.train_cost - last.train_loss == pytest.approx(penalty)


def test_the_cost_is_the_loss_if_the_decay_is_decoupled():
    model = some_model()
    last = fit(model, AdamW(model.parameters(), weight_decay=0.5), some_images(), epochs=1, batch_size=5).rows[-1]
    assert last.train_cost == last.train_loss


def test_an_augmentation_learns_when_an_epoch_starts(tmp_path):
    class Counting:
        def __init__(self):
            self.epochs = []

        def start_epoch(self, epoch):
            self.epochs.append(epoch)

        def __call__(self, X, _):
            return X

    first, second = Counting(), Counting()
    with pytest.raises(KeyboardInterrupt):
        Session(0, shuffle=True, augment=first).fit(checkpoint=tmp_path / "run.npz", callback=interrupt_at(10))
    Session(0, shuffle=True, augment=second).fit(checkpoint=tmp_path / "run.npz")
    assert (first.epochs, second.epochs) == ([0, 1, 2], [2, 3])


def test_clip_norm_limits_the_gradients_of_each_update():
    def by_hand(model, X, labels):
        model.loss(X, labels).backward()
        clip_grad_norm(model.parameters(), 0.01)
        SGD(model.parameters(), 1.0).step()
        return bits(model.state_dict())

    X, labels = some_images()
    model = some_model()
    fit(model, SGD(model.parameters(), 1.0), (X, labels), epochs=1, batch_size=len(X), clip_norm=0.01)
    assert bits(model.state_dict()) == by_hand(some_model(), X, labels)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan])
def test_a_clip_norm_that_is_not_positive_raises(norm):
    with pytest.raises(ValueError, match=f"fit: clip_norm must be greater than 0; got {norm}"):
        train(clip_norm=norm)


def test_divergence_names_the_largest_rate_of_all_groups():
    model = some_model()
    W, b = model.parameters()
    optimiser = SGD([{"parameters": [W]}, {"parameters": [b], "eta": 1e308}], 0.1)
    X, labels = some_images()
    with pytest.raises(TrainingDiverged, match=r"learning rates up to 1e\+308"):
        fit(model, optimiser, (100 * X, labels), epochs=5, batch_size=5)


def test_a_checkpoint_does_not_change_the_run(tmp_path):
    kind = KINDS_OF_RUN["dropout"]
    assert Session(0, **kind).fit(checkpoint=tmp_path / "run.npz").outcome() == Session(0, **kind).fit().outcome()


def test_the_path_of_a_checkpoint_can_be_a_string(tmp_path):
    Session(0).fit(checkpoint=str(tmp_path / "run.npz"))
    assert (tmp_path / "run.npz").exists()


def test_a_finished_run_is_not_trained_again(tmp_path):
    finished = Session(0, patience=3, shuffle=True).fit(checkpoint=tmp_path / "run.npz")
    steps = []
    again = Session(0, drawn=1, patience=3, shuffle=True).fit(
        checkpoint=tmp_path / "run.npz", callback=lambda progress: steps.append(progress.step)
    )
    assert set(steps) <= {finished.history.rows[-1].step}
    assert again.outcome() == finished.outcome()


def test_the_checkpoint_has_the_state_after_the_last_complete_epoch(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Session(0).fit(checkpoint=tmp_path / "run.npz", callback=interrupt_at(10))
    assert load_checkpoint(tmp_path / "run.npz")[0]["optimiser/steps"] == 8


# -- checkpoints of another run --------------------------------------------------------------------------------------


class Other(Perceptron):
    pass


def other_model(session):
    session.model = Other([FEATURES, 8, CLASSES], rng=np.random.default_rng(0))
    session.optimiser = SGD(session.model.parameters(), 0.1)


def other_size(session):
    session.model = Perceptron([FEATURES, 9, CLASSES], rng=np.random.default_rng(0))
    session.optimiser = SGD(session.model.parameters(), 0.1)


def another(name, value):
    return lambda session: session.options.update({name: value})


def other_generator(session):
    session.rng = np.random.Generator(np.random.SFC64(0))


def no_generator(session):
    session.rng = None


def adam(session):
    session.optimiser = Adam(session.model.parameters())


def momentum(session):
    session.optimiser = SGD(session.model.parameters(), 0.1, momentum=0.9)


def fewer_images(session):
    session.data[0] = some_images(0, 22)


def rate(eta):
    def change(session):
        session.optimiser = SGD(session.model.parameters(), eta, weight_decay=0.01)

    return change


def settings_of(make):
    def change(session):
        session.optimiser = make(session.model.parameters())

    return change


def decay_of_all(session):
    group = {"parameters": session.model.parameters(), "weight_decay": 0.01}
    session.optimiser = SGD([group], Triangular(0.01, 0.3, 5))


def other_data(part, place, change):
    def replace_array(session):
        arrays = list(session.data[part])
        arrays[place] = change(arrays[place])
        session.data[part] = tuple(arrays)

    return replace_array


def no_validation(session):
    session.data[1] = None


def other_seed(session):
    session.rng = np.random.default_rng(5)


def other_seed_of_dropout(session):
    session.model.dropout.rng = np.random.default_rng(5)


TRIANGULAR = r"Triangular\(eta_min=0.01, .*\)"
OTHERS = [
    (other_model, "its model was Perceptron and is Other now"),
    (other_size, r"its parameter layers.0.W was \(4, 8\) float64 and is \(4, 9\) float64 now"),
    (lambda session: setattr(session.model, "loss_exponent", 0.5), "its loss_exponent was 0.0 and is 0.5 now"),
    (lambda session: setattr(session.model, "loss_function", mse), "its loss_function was not given and is mse now"),
    (adam, "its optimiser was SGD and is Adam now"),
    (momentum, "its momentum was 0.0 and is 0.9 now"),
    (rate(0.1), f"its eta was {TRIANGULAR} and is 0.1 now"),
    (rate(lambda _: 0.1), rf"its eta was {TRIANGULAR} and is <lambda> \(from 0.1 to 0.1, digest .{{8}}\) now"),
    (
        settings_of(lambda p: SGD(p, Triangular(0.01, 0.3, 5), weight_decay=0.02)),
        "its weight_decay was 0.01 for 2 of 4 parameters and is 0.02 for 2 of 4 parameters now",
    ),
    (decay_of_all, "its weight_decay was 0.01 for 2 of 4 parameters and is 0.01 for 4 of 4 parameters now"),
    (another("epochs", 5), "its epochs was 4 and is 5 now"),
    (another("batch_size", 7), "its batch_size was 6 and is 7 now"),
    (another("measure_every", 2), "its measure_every was not given and is 2 now"),
    (another("patience", 2), "its patience was not given and is 2 now"),
    (another("clip_norm", 2), "its clip_norm was not given and is 2.0 now"),
    (another("metrics", {"error": mse}), r"its metrics was not given and is \['error \(mse\)'\] now"),
    (another("augment", noise), "its augment was not given and is noise now"),
    (another("run_id", {"lesson": "shapes"}), "it has no lesson"),
    (other_generator, "its rng was PCG64 and is SFC64 now"),
    (no_generator, "its rng was PCG64 and is not given now"),
    (other_seed, "its seed of rng was 1 and is 5 now"),
    (other_seed_of_dropout, r"its seeds of layers was \[0\] and is \[5\] now"),
    (fewer_images, "its number of images was 23 and is 22 now"),
    (other_data(0, 0, lambda X: X * 0), "run: its training inputs differ"),
    (other_data(0, 1, lambda y: y[::-1]), "run: its training targets differ"),
    (other_data(0, 1, lambda y: y.astype(np.int32)), "run: its training targets differ"),
    (other_data(1, 0, lambda X: X.T.copy().T + 1), "run: its validation inputs differ"),
    (no_validation, "it had validation inputs and has none now, it had validation targets"),
]
others = pytest.mark.parametrize(("change", "sentence"), OTHERS)


@others
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, change, sentence):
    Session(0, shuffle=True).fit(checkpoint=tmp_path / "run.npz")
    session = Session(0, shuffle=True)
    change(session)
    with pytest.raises(CheckpointError, match=sentence) as raised:
        session.fit(checkpoint=tmp_path / "run.npz")
    assert "run.npz belongs to another run: it" in str(raised.value)
    assert str(raised.value).endswith("; delete the file to start again, or choose another")


@others
def test_a_refused_checkpoint_changes_neither_model_nor_optimiser_nor_file(tmp_path, change, sentence):
    path = tmp_path / "run.npz"
    Session(0, shuffle=True).fit(checkpoint=path)
    content = path.read_bytes()
    session = Session(0, drawn=1, shuffle=True)
    change(session)
    before = bits(session.model.state_dict()), bits(session.optimiser.state_dict())
    with pytest.raises(CheckpointError, match=sentence):
        session.fit(checkpoint=path)
    assert (bits(session.model.state_dict()), bits(session.optimiser.state_dict())) == before
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "make", [lambda p: MovingAverage(SGD(p, 0.1), 0.9), lambda p: Lookahead(SGD(p, 0.1), every=2)], ids=["EMA", "LA"]
)
def test_other_settings_of_averages_are_refused_by_name(tmp_path, make):
    session = Session(0)
    session.optimiser = make(session.model.parameters())
    session.fit(checkpoint=tmp_path / "run.npz")
    session = Session(0)
    session.optimiser = make(session.model.parameters())
    session.optimiser.every = 3
    with pytest.raises(CheckpointError, match=r"its every of (MovingAverage|Lookahead) was (1|2) and is 3 now"):
        session.fit(checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize("schedule", [lambda step: 0.1 / (1 + step), Triangular(0.01, 0.3, 5)])
def test_an_interrupted_run_is_continued_in_the_same_session(tmp_path, schedule):
    """In a notebook, model, optimiser and generator have changed when the cell is run again."""

    def session(path, *steps):
        model, rng = some_model(), np.random.default_rng(1)
        optimiser = SGD(model.parameters(), schedule, momentum=0.9)
        options = {"epochs": 3, "batch_size": 5, "rng": rng, "checkpoint": path}
        for step in steps:
            with suppress(KeyboardInterrupt):
                fit(model, optimiser, some_images(), **options, callback=interrupt_at(step))
        return fit(model, optimiser, some_images(), **options).to_csv(), bits(model.state_dict())

    assert session(tmp_path / "run.npz", 7, 12) == session(None)


def test_a_generator_without_a_seed_is_not_compared(tmp_path):
    train(rng=np.random.default_rng(), checkpoint=tmp_path / "run.npz")
    train(rng=np.random.default_rng(), checkpoint=tmp_path / "run.npz")


def test_data_with_a_name_in_run_id_is_not_compared(tmp_path):
    X, labels = some_images()
    _, history = train(data=(X, labels), run_id={"data": "noise"}, checkpoint=tmp_path / "run.npz")
    _, again = train(data=(X + 1e-9, labels), run_id={"data": "noise"}, checkpoint=tmp_path / "run.npz")
    assert again.to_csv() == history.to_csv()


@pytest.mark.parametrize(
    ("entry", "change", "sentence"),
    [
        ({"batch_size": "small"}, {"batch_size": 10}, "its batch_size of fit was 5 and is 10 now"),
        ({"epochs": 99}, {"epochs": 5}, "its epochs of fit was 3 and is 5 now"),
        ({"eta": "x"}, {"eta": 0.5}, "its eta of fit was 0.1 and is 0.5 now"),
        ({"patience": 1}, {"epochs": 5}, "its epochs was 3 and is 5 now"),
    ],
)
def test_an_argument_is_compared_although_run_id_has_its_name(tmp_path, entry, change, sentence):
    train(run_id=entry, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match=sentence):
        train(run_id=entry, checkpoint=tmp_path / "run.npz", **change)


def test_an_entry_of_run_id_with_the_name_of_an_argument_is_compared_too(tmp_path):
    train(run_id={"epochs": "few"}, checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match="its epochs was few and is many now"):
        train(run_id={"epochs": "many"}, checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize(
    ("run_id", "sentence"),
    [
        ("abc", "fit: run_id must be a mapping, .*; got 'abc'"),
        ({"a": np.ones(2)}, "fit: run_id must be serialisable as JSON, without NaN; "),
        ({"a": math.nan}, "fit: run_id must be serialisable as JSON, without NaN; "),
    ],
)
def test_a_run_id_that_cannot_be_compared_is_refused(tmp_path, run_id, sentence):
    with pytest.raises(TypeError, match=sentence):
        train(run_id=run_id, checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize("read", [read_divergence, lambda path: train(checkpoint=path)])
def test_a_file_that_is_not_a_checkpoint_of_a_run_is_not_to_be_deleted(tmp_path, read):
    some_model().save(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match=r"model\.npz is not the checkpoint of a run; choose another file$"):
        read(tmp_path / "model.npz")


@pytest.mark.parametrize("name", ["augment", "callback"])
def test_an_argument_that_is_not_a_function_is_refused(name):
    with pytest.raises(TypeError, match=f"fit: {name} must be a function; got 3"):
        train(**{name: 3})


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    train(checkpoint=path)
    arrays, text = load_checkpoint(path)
    del text["version"]
    save_checkpoint(path, arrays, text)
    with pytest.raises(CheckpointError, match=r"which another version of this library has written; delete the"):
        train(checkpoint=path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    Session(0).fit(checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint .*; delete the file to start again"):
        Session(0).fit(checkpoint=path)


PARTS = ["identity", "epochs_done", "best_accuracy", "best_epoch", "stopped_early", "seconds", "rows", "generators"]
nonsense = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run.npz"
    Session(0, shuffle=True).fit(checkpoint=path)
    return path


@pytest.mark.parametrize("part", PARTS)
@fewer
@given(value=nonsense | st.just(...))
def test_an_invalid_entry_in_a_checkpoint_is_refused_or_has_no_effect(part, value, finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.npz"
    arrays, text = load_checkpoint(finished)
    del text[part]
    save_checkpoint(path, arrays, text if value is ... else text | {part: value})
    try:
        Session(0, shuffle=True).fit(checkpoint=path, callback=lambda _: None)
    except CheckpointError as refused:
        assert re.search("belongs to another run|is not the checkpoint of a run", str(refused))  # noqa: PT017


def test_an_error_of_the_callback_is_not_reported_as_one_of_the_checkpoint(tmp_path):
    def watch(_):
        raise ValueError("mine")

    Session(0).fit(checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="mine"):
        Session(0).fit(checkpoint=tmp_path / "run.npz", callback=watch)


# -- divergence ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 22))
def test_a_loss_that_is_not_finite_is_reported_with_its_step(image):
    X, labels = some_images()
    X[image] = np.nan
    step = image // 5 + 1
    with pytest.raises(TrainingDiverged, match=rf"loss became nan at step {step} \(epoch 1, learning rate 0.1\)"):
        train(data=(X, labels), measure_on=some_images(1))


@given(st.integers(0, 14))
def test_a_parameter_that_is_not_finite_stops_the_training(step):
    """It is also detected after the last update of an epoch, which no later loss would show."""
    epoch = step // 5 + 1
    with pytest.raises(TrainingDiverged, match=rf"at step ({step + 1}|{step + 2}) \(epoch {epoch}, learning rate"):
        train(eta=lambda t: math.nan if t == step else 0.1)


@pytest.mark.parametrize("step", range(15))
def test_divergence_leaves_the_checkpoint_of_the_last_good_epoch(tmp_path, step):
    with pytest.raises(TrainingDiverged):
        train(eta=lambda t: math.nan if t == step else 0.1, checkpoint=tmp_path / "run.npz")
    arrays, _ = load_checkpoint(tmp_path / "run.npz")
    assert arrays["optimiser/steps"] == step - step % 5
    assert all(np.isfinite(array).all() for array in arrays.values())


@given(st.integers(0, 14))
def test_divergence_names_the_highest_rate_so_far_and_the_epoch_of_the_step(step):
    rates = [math.inf if t == step else 0.1 - 0.001 * t for t in range(15)]
    with pytest.raises(TrainingDiverged) as raised:
        train(eta=lambda t: rates[t])
    named = re.search(r"at step (\d+) \(epoch (\d+), learning rates? (up to )?inf\)", str(raised.value))
    assert named is not None
    assert int(named[2]) == math.ceil(int(named[1]) / 5)


def test_a_loss_that_diverges_at_the_end_of_the_last_epoch_is_reported_in_that_epoch():
    """The rate has been lowered since, so that of the last step is not the one that was too high."""

    class Overflowing(SoftmaxRegression):
        def loss_of(self, scores, labels):
            loss = super().loss_of(scores, labels)
            return loss if self.training or not self.W.data.any() else loss * np.inf

    model = Overflowing(FEATURES, CLASSES, rng=0, init=Zeros())
    with pytest.raises(TrainingDiverged, match=r"at step 5 \(epoch 1, learning rates up to 0.1\)"):
        train(model, eta=Triangular(0.001, 0.1, 2), epochs=1)


def test_a_checkpoint_says_that_the_run_diverged(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(TrainingDiverged) as raised:
        train(eta=lambda t: math.nan if t == 7 else 0.1, checkpoint=path)
    assert read_divergence(path) == str(raised.value)


def test_a_checkpoint_of_an_interrupted_run_does_not_say_that_it_diverged(tmp_path):
    with suppress(KeyboardInterrupt):
        train(checkpoint=tmp_path / "run.npz", callback=interrupt_at(7))
    assert read_divergence(tmp_path / "run.npz") is None


def test_a_run_that_diverged_can_be_resumed_with_a_smaller_rate(tmp_path):
    with suppress(TrainingDiverged):
        train(eta=lambda t: math.nan if t == 7 else 0.1, checkpoint=tmp_path / "run.npz")
    model, _ = train(eta=0.1, checkpoint=tmp_path / "run.npz")
    assert bits(model.state_dict()) == bits(train(eta=0.1)[0].state_dict())
    assert read_divergence(tmp_path / "run.npz") is None


@pytest.mark.parametrize("eta", [1e3, 1e100, 1e300, 1e308])
def test_divergence_emits_no_warning(eta):
    """NumPy would warn of overflows in addition to the error."""
    model = TwoLayer(FEATURES, 8, CLASSES, rng=np.random.default_rng(0))
    try:
        train(model, eta=eta, epochs=20)
    except TrainingDiverged as diverged:
        assert "try a smaller learning rate" in str(diverged)  # noqa: PT017


# -- invalid arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["epochs", "batch_size", "measure_every", "patience"])
@pytest.mark.parametrize("number", [0, -1, 1.5])
def test_counts_that_are_not_positive_integers_are_refused(name, number):
    with pytest.raises(ValueError, match=f"fit: {name} must be an integer of at least 1; got {number}"):
        train(**{name: number})


def test_patience_without_validation_is_refused():
    with pytest.raises(ValueError, match="patience needs validation images"):
        train(patience=1)


def test_augmentation_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="augment needs a random generator"):
        train(augment=noise)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, labels: (X.tolist(), labels), "images must be a NumPy array; got list; use np.asarray"),
        (lambda X, labels: (X, labels.tolist()), "labels must be a NumPy array; got list"),
        (lambda X, labels: (Tensor(X), labels), r"images must be a NumPy array; got Tensor; use its \.data"),
    ],
)
@pytest.mark.parametrize("which", ["train", "validation"])
def test_images_and_labels_that_are_not_arrays_are_refused(which, change, words):
    examples = {"train": some_images(), "validation": some_images()}
    examples[which] = change(*examples[which])
    with pytest.raises(TypeError, match=f"fit: {words}"):
        train(data=examples["train"], validation=examples["validation"])


def test_an_integer_is_the_seed_of_the_generator():
    def bits_of(rng):
        return bits(train(rng=rng)[0].state_dict())

    assert bits_of(3) == bits_of(np.random.default_rng(3)) != bits_of(None)


@pytest.mark.parametrize("rng", ["0", 0.5, -1])
def test_what_is_neither_generator_nor_seed_is_refused(rng):
    with pytest.raises(TypeError, match=r"fit: rng must be a numpy.random.Generator, a non-negative integer"):
        train(rng=rng)


@pytest.mark.parametrize("which", ["data", "validation", "measure_on"])
@pytest.mark.parametrize(("images", "labels"), [(0, 0), (5, 4)])
def test_images_and_labels_of_different_lengths_are_refused(which, images, labels):
    X, y = some_images()
    with pytest.raises(ValueError, match=f"the same length of at least 1; got {images} and {labels}"):
        train(**{which: (X[:images], y[:labels])})


def test_a_label_out_of_range_is_refused():
    X, labels = some_images()
    labels[3] = 3
    with pytest.raises(ValueError, match="label 3 is out of range"):
        train(data=(X, labels))


def test_a_user_defined_module_can_be_trained():
    class Own(Classifier):
        def __init__(self) -> None:
            self.layers = nn.Sequential(
                nn.Normalize(np.zeros(FEATURES)), nn.Linear(FEATURES, CLASSES, rng=np.random.default_rng(0))
            )

        def forward(self, X):
            return self.layers(X)

    _, history = train(Own(), epochs=20)
    assert history.rows[-1].train_loss < history.rows[0].train_loss


# -- the arrays and the model of the caller ----------------------------------------------------------------------------


class ReadsItsInput(Classifier):
    def __init__(self) -> None:
        self.inner = SoftmaxRegression(FEATURES, CLASSES, rng=0)

    def forward(self, X):
        assert np.isfinite(np.asarray(X)).all()
        assert np.isfinite(X.data).all()
        return self.inner(X)


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_arrays_of_the_caller_remain_writeable(shuffle):
    X, labels = (np.array(part) for part in some_images())
    train(ReadsItsInput(), data=(X, labels), validation=(X, labels), shuffle=shuffle)
    evaluate(ReadsItsInput(), (X, labels))
    assert X.flags.writeable
    assert labels.flags.writeable


def halve(X, rng):  # noqa: ARG001
    X /= 2
    return X


def test_augmentation_in_place_leaves_the_data_unchanged():
    X, labels = (np.array(part) for part in some_images())
    model, _ = train(data=(X, labels), augment=halve, shuffle=False, rng=0)
    same, _ = train(data=(X / 2, labels), shuffle=False)
    assert bits(model.state_dict()) == bits(same.state_dict())


def test_augmentation_that_returns_nothing_is_named():
    with pytest.raises(TypeError, match="augment must return the images to train on; got None"):
        train(augment=lambda X, rng: None, rng=0)  # noqa: ARG005


@pytest.mark.parametrize("fails", [False, True])
def test_fit_tells_the_model_that_training_has_ended(fails):
    ended = []

    class Told(SoftmaxRegression):
        def end_training(self) -> None:
            ended.append(True)

    def stop(progress):
        if fails and progress.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        train(Told(FEATURES, CLASSES, rng=0), callback=stop)
    assert ended == [True]
