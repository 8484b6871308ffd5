"""One training run, from its settings to its result.

A run is described by plain settings that can be printed, stored and compared; everything random in it comes
from one seed. The command line, the experiments and the search all train through this module, so a result means
the same wherever it was made.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar import initialisers, models, ops, schedules
from tinygrad_cifar._version import __version__
from tinygrad_cifar.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.data import Dataset, Split
from tinygrad_cifar.data.batches import augment_flip, augment_shift
from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.data.preprocess import KINDS, Preprocessing
from tinygrad_cifar.files import replacing
from tinygrad_cifar.optim import SGD, Adam, Optimiser
from tinygrad_cifar.tensor import borrowed
from tinygrad_cifar.training import Examples, History, Progress, Scores, check_identity, evaluate, fit

Array = np.ndarray[Any, np.dtype[Any]]

MODELS = ("softmax", "svm", "two-layer", "perceptron")
SCHEDULES = ("constant", "exponential", "step", "triangular", "cosine")
OPTIMISERS = ("sgd", "nesterov", "adam")
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": ops.relu, "absolute": ops.absolute}
INITIALISERS: dict[str, Callable[[float], initialisers.Initialiser]] = {
    "zeros": lambda _: initialisers.Zeros(),
    "normal": initialisers.Normal,
    "fan-in": lambda _: initialisers.FanIn(),
    "xavier": lambda _: initialisers.Xavier(),
    "he": lambda _: initialisers.He(),
}


_BELOW_1 = np.nextafter(1.0, 0.0)
_FINITE = np.finfo(np.float64).max
_MOST = 2**63 - 1
# What each number may be, from and to; None is left out.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("epochs", "batch_size", "n_s", "every", "patience", "first"), (1, _MOST)),
    "components": (1, PIXELS),
    "q": (0, 1),
    **dict.fromkeys(("held_out", "warm_up", "seed"), (0, _MOST)),
    **dict.fromkeys(("eta", "eta_min", "lam", "sigma", "decay"), (0, _FINITE)),
    **dict.fromkeys(("momentum", "dropout"), (0, _BELOW_1)),
    "shift": (0, 31),
}
_ENDS = {_MOST: " to 2**63 - 1", _FINITE: " up, and finite", _BELOW_1: " up to, but not including, 1"}
_MOST_UNITS = 100_000


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# What each annotation of a setting means, in words and as a test: they come from JSON too, which has no types.
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _is_whole),
    "int | None": ("a whole number or None", lambda value: value is None or _is_whole(value)),
    "float": ("a number", lambda value: isinstance(value, float) or _is_whole(value)),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "tuple[int, ...]": (
        "a tuple of whole numbers",
        lambda value: isinstance(value, tuple) and all(_is_whole(part) for part in value),
    ),
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
    activation : str
        One of :data:`ACTIVATIONS`, of the hidden units of two-layer.
    init, sigma : str, float
        One of :data:`INITIALISERS`, and the standard deviation of ``normal``.
    pixels : str
        What is done to pixels first: ``scale`` (/ 255), ``centre`` (and the training mean subtracted),
        ``standardise`` (and divided by the standard deviation) or ``whiten`` (centred, and turned into uncorrelated
        features).
    components : int
        How many of these ``whiten`` keeps.
    train_batches : tuple of int
        Which of the five training batches to train on.
    first : int, optional
        Train on the first so many of their images only.
    held_out : int
        Keep the last so many of their images for validation.
    validation_batch : int, optional
        Or: validate on this training batch, which must not be one of those trained on.
    q : float
        Of the loss ``(1 - p**q) / q``; 0 is the cross-entropy (see
        :func:`tinygrad_cifar.functional.generalised_cross_entropy`).
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
    activation: str = "relu"
    init: str = "normal"
    sigma: float = 0.01
    pixels: str = "scale"
    components: int = 300
    train_batches: tuple[int, ...] = (1,)
    first: int | None = None
    held_out: int = 0
    validation_batch: int | None = 2
    q: float = 0.0
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
            ("activation", tuple(ACTIVATIONS)),
            ("pixels", KINDS),
            ("dtype", ("float32", "float64")),
        ):
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        self._check_types()
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                to = _ENDS.get(most, f" to {most}")
                raise SettingsError(f"{name} must be a number from {least}{to}; got {value}")
        self._check_layers()
        self._check_images()
        self._check_rates()

    def _check_types(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            wanted, is_one = _TYPES.get(str(setting.type), ("", lambda _: True))  # text was compared with its choices
            if not is_one(value):
                raise SettingsError(f"{setting.name} must be {wanted}; got {value!r}")

    def _check_layers(self) -> None:
        layers = {"softmax": 0, "svm": 0, "two-layer": 1}.get(self.model, len(self.hidden))
        if len(self.hidden) != layers:
            raise SettingsError(f"{self.model} has {layers} hidden layer{'s' * (layers != 1)}; hidden is {self.hidden}")
        if not all(1 <= units <= _MOST_UNITS for units in self.hidden):
            raise SettingsError(f"a hidden layer has 1 to {_MOST_UNITS} units; hidden is {self.hidden}")
        if self.dropout and self.model != "perceptron":
            raise SettingsError(f"dropout needs the model perceptron, not {self.model}")
        if self.activation != "relu" and self.model != "two-layer":
            raise SettingsError(f"activation {self.activation} needs the model two-layer, not {self.model}")
        if self.q and self.model == "svm":
            raise SettingsError("svm has the hinge loss, which has no q")

    def _check_images(self) -> None:
        if not self.train_batches or len(set(self.train_batches)) < len(self.train_batches):
            raise SettingsError(f"train_batches must name different batches, at least one; got {self.train_batches}")
        if self.validation_batch in self.train_batches:
            raise SettingsError(f"batch {self.validation_batch} cannot be trained and validated on at once")
        if self.held_out and self.validation_batch is not None:
            raise SettingsError("give either held_out or validation_batch: there is one set to validate on")
        if self.patience is not None and not self.held_out and self.validation_batch is None:
            raise SettingsError("patience watches the validation accuracy; give held_out or validation_batch")

    def _check_rates(self) -> None:
        if self.decay != 1 and self.schedule not in ("exponential", "step"):
            raise SettingsError(f"decay needs the schedule exponential or step, not {self.schedule}")
        if self.schedule in ("triangular", "cosine") and self.eta_min > self.eta:
            raise SettingsError(f"eta_min must not be greater than eta; they are {self.eta_min:g} and {self.eta:g}")
        if (self.optimiser == "nesterov") > (self.momentum > 0) or (self.optimiser == "adam" and self.momentum):
            raise SettingsError(f"the optimiser {self.optimiser} does not go with momentum {self.momentum:g}")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """Return the settings that :func:`dataclasses.asdict` gave, after a journey through JSON."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise SettingsError(f"unknown settings: {', '.join(unknown)}")
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)


def describe(settings: Settings) -> str:
    """Say in one short line what defines a run most.

    Examples
    --------
    >>> from tinygrad_cifar.runs import Settings, describe
    >>> describe(Settings(lam=0.1))
    'softmax, lambda 0.1, eta 0.01, batch 100, 40 epochs, seed 0'
    """
    units = " ".join(map(str, settings.hidden))
    rate = f"eta {settings.eta:g}" + (f" {settings.schedule}" if settings.schedule != "constant" else "")
    parts = [
        f"{settings.model} {units}".strip(),
        settings.activation if settings.activation != "relu" else "",
        f"{settings.components} components" if settings.pixels == "whiten" else "",
        "flip" if settings.flip else "",
        f"shift {settings.shift}" if settings.shift else "",
        f"q {settings.q:g}" if settings.q else "",
        f"lambda {settings.lam:g}",
        rate,
        f"warm-up {settings.warm_up}" if settings.warm_up else "",
        settings.optimiser if settings.optimiser != "sgd" else "",
        f"momentum {settings.momentum:g}" if settings.momentum else "",
        f"dropout {settings.dropout:g}" if settings.dropout else "",
        f"batch {settings.batch_size}",
        f"{settings.epochs} epoch{'s' * (settings.epochs != 1)}",
        f"seed {settings.seed}",
    ]
    return ", ".join(filter(None, parts))


def cut(dataset: Dataset, settings: Settings) -> tuple[Split, Split | None]:
    """Return the images to train on and those to validate on, if any.

    Raises
    ------
    SettingsError
        If the data set is too small for the settings.
    DataError
        If it has no such batch.

    See :func:`run` for an example.
    """
    batches = [dataset.batch(i) for i in settings.train_batches]
    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    kept = len(labels) - settings.held_out
    end = settings.first or kept
    if not 1 <= end <= kept:
        raise SettingsError(
            f"held_out={settings.held_out} and first={settings.first} do not fit {len(labels)} training images of "
            f"{dataset.name}"
        )
    if settings.batch_size > end:
        raise SettingsError(f"batch_size is {settings.batch_size}, but there are {end} images to train on")
    validation: Split | None = None
    if settings.held_out:
        validation = Split(images[kept:], labels[kept:])
    elif settings.validation_batch is not None:
        validation = dataset.batch(settings.validation_batch)
    return Split(images[:end], labels[:end]), validation


def of_the_data(settings: Settings) -> Settings:
    """Return settings that are the same for all runs that need the same preparation of the data.

    Examples
    --------
    >>> from tinygrad_cifar.runs import Settings, of_the_data
    >>> of_the_data(Settings(eta=0.1, lam=0.2, first=50)) == of_the_data(Settings(epochs=3, seed=1, first=50))
    True
    """
    return Settings(
        pixels=settings.pixels,
        components=settings.components,
        train_batches=settings.train_batches,
        first=settings.first,
        held_out=settings.held_out,
        validation_batch=settings.validation_batch,
        dtype=settings.dtype,
        batch_size=1,
    )


def treat(split: Split, preprocessing: Preprocessing, settings: Settings) -> Examples:
    """Return images as a model sees them, with their labels.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.data import Preprocessing, Split
    >>> from tinygrad_cifar.runs import Settings, treat
    >>> white = Split(np.full((1, 3072), 255, np.uint8), np.array([0]))
    >>> X, labels = treat(white, Preprocessing.fit("scale", white.images), Settings(dtype="float32"))
    >>> X[0, :3], X.dtype
    (array([1., 1., 1.], dtype=float32), dtype('float32'))
    """
    return preprocessing.apply(split.images, np.dtype(settings.dtype)), split.labels


@dataclass(frozen=True)
class Prepared:
    """A data set cut up and its pixels treated as settings say.

    Attributes
    ----------
    dataset : Dataset
        What it was made from.
    train, validation, test : (X, labels)
        Validation is None if the settings hold nothing out.
    images : Split
        The training images as they were, for augmentation.
    preprocessing : Preprocessing
        Fitted on the training images.
    """

    dataset: Dataset
    train: Examples
    validation: Examples | None
    test: Examples
    images: Split
    preprocessing: Preprocessing


def prepare(dataset: Dataset, settings: Settings) -> Prepared:
    """Cut up a data set and treat its pixels; see :func:`cut` for what can be wrong, and :func:`run` for an example."""
    train, validation = cut(dataset, settings)
    preprocessing = Preprocessing.fit(settings.pixels, train.images, settings.components)
    return Prepared(
        dataset,
        treat(train, preprocessing, settings),
        None if validation is None else treat(validation, preprocessing, settings),
        treat(dataset.test, preprocessing, settings),
        train,
        preprocessing,
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
        Wall-clock time of the training, measurements included; see :class:`~tinygrad_cifar.training.History`.
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
    """Return the untrained model that settings describe, drawn from their seed.

    Examples
    --------
    >>> from tinygrad_cifar.runs import Settings, build_model
    >>> print(build_model(Settings(model="two-layer", hidden=(50,)), 3072, 10).summary())
    TwoLayer
      W1     3072 x 50  153,600
      b1            50       50
      W2       50 x 10      500
      b2            10       10
      total             154,160
    """
    rng = np.random.default_rng([settings.seed, 0])
    shared: dict[str, Any] = {
        "rng": rng,
        "init": INITIALISERS[settings.init](settings.sigma),
        "dtype": np.dtype(settings.dtype),
    }
    model: models.Classifier
    if settings.model == "two-layer":
        activation = ACTIVATIONS[settings.activation]
        model = models.TwoLayer(features, settings.hidden[0], classes, activation=activation, **shared)
    elif settings.model == "perceptron":
        model = models.Perceptron([features, *settings.hidden, classes], dropout=settings.dropout, **shared)
    else:
        model = (models.SVM if settings.model == "svm" else models.SoftmaxRegression)(features, classes, **shared)
    model.q = settings.q
    return model


def build_schedule(settings: Settings, steps_per_epoch: int) -> schedules.Schedule:
    """Return the learning rate as a function of the step.

    Examples
    --------
    >>> from tinygrad_cifar.runs import Settings, build_schedule
    >>> build_schedule(Settings(eta=0.02, schedule="exponential", decay=0.9), steps_per_epoch=100)
    Exponential(eta=0.02, decay=0.9, steps_per_epoch=100)
    """
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
    """Return the optimiser that settings describe.

    Examples
    --------
    >>> from tinygrad_cifar.runs import Settings, build_model, build_optimiser
    >>> settings = Settings(lam=0.1, momentum=0.9)
    >>> optimiser = build_optimiser(settings, build_model(settings, 4, 2), steps_per_epoch=100)
    >>> type(optimiser).__name__, optimiser.momentum, optimiser.weight_decay
    ('SGD', 0.9, 0.2)
    """
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
    test: bool = True,
    checkpoint: Path | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Result:
    """Train as settings say.

    Parameters
    ----------
    settings, prepared
        What to do, and :func:`prepare` of the same settings.
    test : bool
        Whether to look at the test set at the end: a search does not.
    checkpoint, watch
        As for :func:`tinygrad_cifar.training.fit`; a checkpoint of other settings or data is refused.

    Raises
    ------
    TrainingDiverged
        If the loss becomes NaN or infinite.
    CheckpointError
        If the checkpoint cannot be written, is damaged, or is of another run.

    Examples
    --------
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.runs import Settings, prepare, run
    >>> settings = Settings(first=500, epochs=2)
    >>> prepared = prepare(builtin_dataset(), settings)  # cut, and scaled to 0 to 1
    >>> X, labels = prepared.train
    >>> X.shape, prepared.validation[0].shape
    ((500, 3072), (2000, 3072))
    >>> result = run(settings, prepared, test=False)
    >>> result.history.column("step")
    array([ 0.,  5., 10.])
    >>> result.train.loss < result.history.rows[0].train_loss
    True
    """
    X, labels = prepared.train
    model = build_model(settings, X.shape[1], len(prepared.dataset.class_names))
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
        identity=None if checkpoint is None else _identity(settings, prepared.dataset),
        watch=watch,
    )
    return Result(
        settings,
        model,
        history,
        evaluate(model, prepared.train, settings.lam),
        None if prepared.validation is None else evaluate(model, prepared.validation, settings.lam),
        evaluate(model, prepared.test, settings.lam) if test else None,
        history.seconds,
    )


def check_resumable(checkpoint: Path, settings: Settings, dataset: Dataset) -> None:
    """Refuse a checkpoint of other settings or data before anything is prepared; :func:`run` looks at the rest of it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.runs import Settings, check_resumable, prepare, run
    >>> settings, dataset = Settings(epochs=1, first=100), builtin_dataset()
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     checkpoint = Path(folder) / "checkpoint.npz"
    ...     result = run(settings, prepare(dataset, settings), checkpoint=checkpoint)
    ...     check_resumable(checkpoint, Settings(epochs=2, first=100), dataset)
    Traceback (most recent call last):
    tinygrad_cifar.checkpoints.CheckpointError: ... belongs to another run: its epochs is 1, not 2

    Raises
    ------
    CheckpointError
        If it is damaged, or of another run.
    """
    _, text = load_checkpoint(checkpoint)
    try:
        check_identity(text["identity"], _identity(settings, dataset))
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} belongs to another run: {error}") from error


def _identity(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    return asdict(settings) | {"data": _name_and_digest(dataset)}


def _name_and_digest(dataset: Dataset) -> str:
    identity = dataset.identity()
    return f"{identity['name']} with the digest {str(identity['sha256'])[:16]}"


def _augmentation(settings: Settings, preprocessing: Preprocessing) -> Callable[[Array, np.random.Generator], Array]:
    def augment(images: Array, rng: np.random.Generator) -> Array:
        if settings.flip:
            images = augment_flip(images, rng)
        if settings.shift:
            images = augment_shift(images, rng, settings.shift)
        return preprocessing.apply(images, np.dtype(settings.dtype))

    return augment


def confusion_matrix(model: models.Classifier, examples: Examples, classes: int = 10) -> Array:
    """Count, for each true class (row), what the model took its images for (column).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import models
    >>> from tinygrad_cifar.runs import confusion_matrix
    >>> model = models.SoftmaxRegression(2, 2, rng=np.random.default_rng(0))
    >>> model.W.data = np.eye(2)  # the larger of two pixels is the class
    >>> confusion_matrix(model, (np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), np.array([0, 0, 1])), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    X, labels = examples
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, model.predict(borrowed(X))), 1)
    return counts


def versions() -> dict[str, str]:
    """Return what a result depends on besides its settings.

    Examples
    --------
    >>> from tinygrad_cifar.runs import versions
    >>> sorted(versions())
    ['machine', 'numpy', 'python', 'tinygrad_cifar']
    """
    return {
        "tinygrad_cifar": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def save_result(folder: Path, result: Result, dataset: Dataset) -> None:
    """Write ``history.csv`` and ``result.json``, in this order and each wholly or not at all.

    See :func:`load_model` for an example.
    """
    text = result.to_json() | {"data": dataset.identity(), "versions": versions()}
    with replacing(folder / "history.csv") as file:
        file.write(result.history.to_csv().encode())
    with replacing(folder / "result.json") as file:
        file.write((json.dumps(text, indent=2) + "\n").encode())


def save_model(path: Path, result: Result, preprocessing: Preprocessing, dataset: Dataset) -> None:
    """Write the trained parameters with all that is needed to use them: settings, treatment of pixels, class names.

    See :func:`load_model` for an example.
    """
    arrays = {f"model/{name}": array for name, array in result.model.state_dict().items()}
    arrays |= {f"pixels/{name}": array for name, array in preprocessing.to_arrays().items() if name != "kind"}
    text = {"settings": asdict(result.settings), "class_names": dataset.class_names, "trained_on": dataset.identity()}
    save_checkpoint(path, arrays, text)


@dataclass(frozen=True)
class Trained:
    """A trained model with all that is needed to use it.

    Attributes
    ----------
    model : Classifier
    settings : Settings
        How it was trained.
    preprocessing : Preprocessing
        What pixels go through before they come to the model.
    class_names : tuple of str
        What its scores are of.
    trained_on : dict
        The :meth:`~tinygrad_cifar.data.Dataset.identity` of the data.
    """

    model: models.Classifier
    settings: Settings
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    trained_on: dict[str, Any]


def load_model(path: Path) -> Trained:
    """Read what :func:`save_model` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged, or no trained model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.runs import Settings, load_model, prepare, run, save_model, save_result, treat
    >>> settings, dataset = Settings(first=100, epochs=1), builtin_dataset()
    >>> prepared = prepare(dataset, settings)
    >>> result = run(settings, prepared)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_result(Path(folder), result, dataset)
    ...     save_model(Path(folder) / "model.npz", result, prepared.preprocessing, dataset)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ...     trained = load_model(Path(folder) / "model.npz")
    ['history.csv', 'model.npz', 'result.json']
    >>> X, labels = treat(dataset.test, trained.preprocessing, trained.settings)
    >>> trained.class_names[trained.model.predict(X)[0]] in dataset.class_names
    True
    """
    arrays, text = load_checkpoint(path)
    try:
        settings = Settings.from_json(text["settings"])
        mean, std = arrays.pop("pixels/mean"), arrays.pop("pixels/std")
        preprocessing = Preprocessing(settings.pixels, mean, std, arrays.pop("pixels/directions", None))
        state = {name.removeprefix("model/"): array for name, array in arrays.items()}
        class_names = tuple(map(str, text["class_names"]))
        # Nothing larger than the file is ever made: the sizes must be those of the arrays that are there.
        features = preprocessing.features
        shapes = [array.shape for array in state.values() if array.ndim > 1]
        if shapes != list(pairwise((features, *settings.hidden, len(class_names)))):
            raise ValueError(f"its matrices have the shapes {shapes}")  # noqa: TRY301 (one sentence for all)
        model = build_model(replace(settings, init="zeros"), features, len(class_names))
        model.load_state_dict(state)
        return Trained(model, settings, preprocessing, class_names, dict(text["trained_on"]))
    except KeyError as error:
        raise CheckpointError(f"{path} holds no trained model of this library: there is no {error} in it") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no trained model of this library: {error}") from error
