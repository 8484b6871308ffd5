"""One training run, from its settings to its result.

A run is described by plain settings that can be printed, stored and compared; everything random in it comes
from one seed. The command line, the experiments and the search all train through this module, so a result means
the same wherever it was made.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar import initialisers, models, schedules
from tinygrad_cifar._version import __version__
from tinygrad_cifar.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.data import Dataset, Split
from tinygrad_cifar.data.batches import augment_flip, augment_shift
from tinygrad_cifar.data.preprocess import Preprocessing
from tinygrad_cifar.files import replacing
from tinygrad_cifar.graph import no_grad
from tinygrad_cifar.optim import SGD, Adam, Optimiser
from tinygrad_cifar.tensor import from_numpy
from tinygrad_cifar.training import Examples, History, Progress, Scores, evaluate, fit

Array = np.ndarray[Any, np.dtype[Any]]

MODELS = ("softmax", "svm", "two-layer", "perceptron")
SCHEDULES = ("constant", "exponential", "step", "triangular", "cosine")
OPTIMISERS = ("sgd", "nesterov", "adam")
INITIALISERS: dict[str, Callable[[float], initialisers.Initialiser]] = {
    "zeros": lambda _: initialisers.Zeros(),
    "normal": initialisers.Normal,
    "fan-in": lambda _: initialisers.FanIn(),
    "xavier": lambda _: initialisers.Xavier(),
    "he": lambda _: initialisers.He(),
}


class SettingsError(ValueError):
    """Settings that contradict each other or cannot be used: one sentence that names them."""


@dataclass(frozen=True)
class Settings:
    """What defines a training run.

    Attributes
    ----------
    model : str
        One of :data:`MODELS`.
    hidden : tuple of int
        The hidden layers' sizes: one for two-layer, any number for perceptron, none for the linear models.
    init, sigma : str, float
        One of :data:`INITIALISERS`, and the standard deviation of ``normal``.
    pixels : str
        What is done to pixels first: ``scale`` (/ 255), ``centre`` (and the training mean subtracted) or
        ``standardise`` (and divided by the standard deviation).
    train_batches : tuple of int
        Which of the five training batches to train on.
    first : int, optional
        Train on the first so many of their images only.
    held_out : int
        Keep the last so many of their images for validation.
    validation_batch : int, optional
        Or: validate on this training batch, which must not be one of those trained on.
    lam : float
        lambda, the weight of the L2 term.
    eta, schedule, decay, eta_min, n_s, warm_up
        The learning rate: its (highest) value; one of :data:`SCHEDULES`; the factor per epoch of
        ``exponential``, and per ``n_s`` steps of ``step``; the lowest value and the half cycle, in steps, of
        ``triangular``; ``cosine`` falls to eta_min over the whole run; the steps over which the rate first
        grows from 0.
    optimiser, momentum : str, float
        One of :data:`OPTIMISERS`.
    epochs, batch_size, shuffle
        How long, in what portions, and whether in a new order every epoch.
    every : int, optional
        Measure after so many updates, not after every epoch.
    patience : int, optional
        Stop early (see :func:`tinygrad_cifar.training.fit`).
    dropout : float
        The share of hidden units dropped, for perceptron.
    flip, shift : bool, int
        Augmentation: mirror images at random, and move them by up to so many pixels.
    seed : int
        Where all random numbers come from.
    dtype : str
        ``float64`` or ``float32``.
    """

    model: str = "softmax"
    hidden: tuple[int, ...] = ()
    init: str = "normal"
    sigma: float = 0.01
    pixels: str = "scale"
    train_batches: tuple[int, ...] = (1,)
    first: int | None = None
    held_out: int = 0
    validation_batch: int | None = 2
    lam: float = 0.0
    eta: float = 0.01
    schedule: str = "constant"
    decay: float = 1.0
    eta_min: float = 1e-5
    n_s: int = 500
    warm_up: int = 0
    optimiser: str = "sgd"
    momentum: float = 0.0
    epochs: int = 40
    batch_size: int = 100
    shuffle: bool = False
    every: int | None = None
    patience: int | None = None
    dropout: float = 0.0
    flip: bool = False
    shift: int = 0
    seed: int = 0
    dtype: str = "float64"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("model", MODELS),
            ("schedule", SCHEDULES),
            ("optimiser", OPTIMISERS),
            ("init", tuple(INITIALISERS)),
            ("pixels", ("scale", "centre", "standardise")),
            ("dtype", ("float32", "float64")),
        ):
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "n_s"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("eta", "lam", "sigma", "decay"):
            if not 0 <= getattr(self, name) < np.inf:
                raise SettingsError(f"{name} must be a number from 0 up, got {getattr(self, name)}")
        layers = {"softmax": 0, "svm": 0, "two-layer": 1}.get(self.model, len(self.hidden))
        if len(self.hidden) != layers or any(size < 1 for size in self.hidden):
            raise SettingsError(f"{self.model} has {layers} hidden layer{'s' * (layers != 1)}; hidden is {self.hidden}")
        if self.dropout and self.model != "perceptron":
            raise SettingsError(f"dropout needs the model perceptron, not {self.model}")
        if self.validation_batch in self.train_batches:
            raise SettingsError(f"batch {self.validation_batch} cannot be trained and validated on at once")
        if not self.train_batches:
            raise SettingsError("train_batches is empty: there is nothing to train on")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """Return the settings that :func:`dataclasses.asdict` gave, after a journey through JSON."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise SettingsError(f"unknown settings: {', '.join(unknown)}")
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)


@dataclass(frozen=True)
class Prepared:
    """A data set cut up and its pixels treated as settings say.

    Attributes
    ----------
    train, validation, test : (X, labels)
        Validation is None if the settings hold nothing out.
    images : Split
        The training images as they were, for augmentation.
    preprocessing : Preprocessing
        Fitted on the training images.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    images: Split
    preprocessing: Preprocessing


def prepare(dataset: Dataset, settings: Settings) -> Prepared:
    """Cut up a data set and treat its pixels.

    Raises
    ------
    SettingsError
        If the data set is too small for the settings.
    """
    batches = [dataset.batch(i) for i in settings.train_batches]
    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    kept = len(labels) - settings.held_out
    if kept < 1 or (settings.first is not None and not 1 <= settings.first <= kept):
        raise SettingsError(
            f"held_out={settings.held_out} and first={settings.first} do not fit {len(labels)} training images of "
            f"{dataset.name}"
        )
    validation: Split | None = None
    if settings.held_out:
        validation = Split(images[kept:], labels[kept:])
    elif settings.validation_batch is not None:
        validation = dataset.batch(settings.validation_batch)
    end = settings.first or kept
    train = Split(images[:end], labels[:end])
    preprocessing = Preprocessing.fit(settings.pixels, train.images)

    def treated(split: Split) -> Examples:
        return preprocessing.apply(split.images, np.dtype(settings.dtype)), split.labels

    return Prepared(
        treated(train), None if validation is None else treated(validation), treated(dataset.test), train, preprocessing
    )


@dataclass(frozen=True)
class Result:
    """What came out of a run.

    Attributes
    ----------
    settings : Settings
    model : Classifier
    history : History
    train, validation, test : Scores
        At the end; validation or test is None where nothing was held out or the test set was not looked at.
    seconds : float
        Wall-clock time of the training, measurements included.
    """

    settings: Settings
    model: models.Classifier
    history: History
    train: Scores
    validation: Scores | None
    test: Scores | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a dictionary of plain numbers; accuracies are shares from 0 to 1."""
        figures: dict[str, Any] = {"settings": asdict(self.settings)}
        for name, scores in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            for quantity in ("accuracy", "loss", "cost"):
                figures[f"{name}_{quantity}"] = None if scores is None else getattr(scores, quantity)
        return figures | {
            "steps": self.history.rows[-1].step,
            "stopped_early": self.history.stopped_early,
            "seconds": round(self.seconds, 3),
        }


def build_model(settings: Settings, features: int, classes: int) -> models.Classifier:
    """Return the untrained model that settings describe, drawn from their seed."""
    rng = np.random.default_rng([settings.seed, 0])
    shared: dict[str, Any] = {
        "rng": rng,
        "init": INITIALISERS[settings.init](settings.sigma),
        "dtype": np.dtype(settings.dtype),
    }
    if settings.model == "two-layer":
        return models.TwoLayer(features, settings.hidden[0], classes, **shared)
    if settings.model == "perceptron":
        return models.Perceptron([features, *settings.hidden, classes], dropout=settings.dropout, **shared)
    return (models.SVM if settings.model == "svm" else models.SoftmaxRegression)(features, classes, **shared)


def build_schedule(settings: Settings, steps_per_epoch: int) -> schedules.Schedule:
    """Return the learning rate as a function of the step."""
    kinds: dict[str, Callable[[], schedules.Schedule]] = {
        "constant": lambda: schedules.Constant(settings.eta),
        "exponential": lambda: schedules.Exponential(settings.eta, settings.decay, steps_per_epoch),
        "step": lambda: schedules.Step(settings.eta, settings.decay, settings.n_s),
        "triangular": lambda: schedules.Triangular(settings.eta_min, settings.eta, settings.n_s),
        "cosine": lambda: schedules.Cosine(settings.eta, settings.eta_min, settings.epochs * steps_per_epoch),
    }
    schedule = kinds[settings.schedule]()
    return schedules.WarmUp(schedule, settings.warm_up) if settings.warm_up else schedule


def build_optimiser(settings: Settings, model: models.Classifier, steps_per_epoch: int) -> Optimiser:
    """Return the optimiser that settings describe."""
    schedule = build_schedule(settings, steps_per_epoch)
    if settings.optimiser == "adam":
        return Adam(model.parameters(), schedule, weight_decay=2 * settings.lam)
    return SGD(
        model.parameters(),
        schedule,
        momentum=settings.momentum,
        nesterov=settings.optimiser == "nesterov",
        weight_decay=2 * settings.lam,
    )


def run(
    settings: Settings,
    prepared: Prepared,
    *,
    classes: int = 10,
    test: bool = True,
    checkpoint: Path | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Result:
    """Train as settings say.

    Parameters
    ----------
    settings, prepared
        What to do, and :func:`prepare` of the same settings.
    classes : int
        How many there are.
    test : bool
        Whether to look at the test set at the end: a search does not.
    checkpoint, watch
        As for :func:`tinygrad_cifar.training.fit`.

    Raises
    ------
    TrainingDiverged
        If the loss becomes NaN or infinite.
    """
    start = time.perf_counter()
    X, labels = prepared.train
    model = build_model(settings, X.shape[1], classes)
    optimiser = build_optimiser(settings, model, -(-len(labels) // settings.batch_size))
    augments = settings.flip or settings.shift > 0
    history = fit(
        model,
        optimiser,
        (prepared.images.images, labels) if augments else prepared.train,
        prepared.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        rng=np.random.default_rng([settings.seed, 1]) if settings.shuffle or augments else None,
        every=settings.every,
        patience=settings.patience,
        augment=_augmentation(settings, prepared.preprocessing) if augments else None,
        measured=prepared.train,
        checkpoint=checkpoint,
        watch=watch,
    )
    return Result(
        settings,
        model,
        history,
        evaluate(model, prepared.train, settings.lam),
        None if prepared.validation is None else evaluate(model, prepared.validation, settings.lam),
        evaluate(model, prepared.test, settings.lam) if test else None,
        time.perf_counter() - start,
    )


def _augmentation(settings: Settings, preprocessing: Preprocessing) -> Callable[[Array, np.random.Generator], Array]:
    def augment(images: Array, rng: np.random.Generator) -> Array:
        if settings.flip:
            images = augment_flip(images, rng)
        if settings.shift:
            images = augment_shift(images, rng, settings.shift)
        return preprocessing.apply(images, np.dtype(settings.dtype))

    return augment


@no_grad()
def confusion_matrix(model: models.Classifier, examples: Examples, classes: int = 10) -> Array:
    """Count, for each true class (row), what the model took its images for (column)."""
    X, labels = examples
    counts = np.zeros((classes, classes), dtype=int)
    model.eval()
    np.add.at(counts, (labels, model.predict(from_numpy(X))), 1)
    return counts


def versions() -> dict[str, str]:
    """Return what a result depends on besides its settings."""
    return {
        "tinygrad_cifar": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def save_result(folder: Path, result: Result, dataset: Dataset) -> None:
    """Write ``result.json`` and ``history.csv``, each wholly or not at all."""
    text = result.to_json() | {"data": dataset.identity(), "versions": versions()}
    with replacing(folder / "result.json") as file:
        file.write((json.dumps(text, indent=2) + "\n").encode())
    with replacing(folder / "history.csv") as file:
        file.write(result.history.to_csv().encode())


def save_model(path: Path, result: Result, preprocessing: Preprocessing, dataset: Dataset) -> None:
    """Write the trained parameters with all that is needed to use them: settings, treatment of pixels, class names."""
    arrays = {f"model/{name}": array for name, array in result.model.state_dict().items()}
    arrays |= {f"pixels/{name}": array for name, array in preprocessing.to_arrays().items()}
    text = {"settings": asdict(result.settings), "class_names": dataset.class_names, "trained_on": dataset.identity()}
    save_checkpoint(path, arrays, text)


def load_model(path: Path) -> tuple[models.Classifier, Settings, Preprocessing, dict[str, Any]]:
    """Read what :func:`save_model` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged, or no trained model.
    """
    arrays, text = load_checkpoint(path)
    parts: dict[str, dict[str, Array]] = {"model": {}, "pixels": {}}
    try:
        settings = Settings.from_json(text["settings"])
        for name, array in arrays.items():
            part, _, inner = name.partition("/")
            parts[part][inner] = array
        preprocessing = Preprocessing.from_arrays(parts["pixels"])
        # The sizes come from the arrays that are there, so nothing larger than the file is ever made.
        state = parts["model"]
        sizes = {name: array.shape for name, array in state.items()}
        first = sizes.get("W") or sizes.get("W1") or sizes["layers.0.W"]
        classes = len(text["class_names"])
        model = build_model(replace(settings, init="zeros"), first[0], classes)
        model.load_state_dict(state)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no trained model of this library: {error}") from error
    return model, settings, preprocessing, text
