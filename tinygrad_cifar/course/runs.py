"""Training runs, from settings to results.

The command line, the experiments and the search train through this module, so their results are comparable.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar._version import __version__
from tinygrad_cifar.course import models
from tinygrad_cifar.course.convnet import ConvNet
from tinygrad_cifar.course.evaluation import Examples, Metrics, evaluate, evaluate_scores, scores_of
from tinygrad_cifar.course.memory_check import require_memory
from tinygrad_cifar.course.preparation import Prepared, preprocess_images, with_views
from tinygrad_cifar.course.run_checkpoints import ResumeError, read_run
from tinygrad_cifar.course.settings import ACTIVATIONS, INITIALISERS, LOSSES, OLD_NAMES, Settings
from tinygrad_cifar.course.training import History, TrainingProgress, fit
from tinygrad_cifar.data import Dataset, Split
from tinygrad_cifar.data.augmentation import augment_cutout, augment_flip, augment_shift, mirror
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import schedules
from tinygrad_cifar.nn.optim import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Combined,
    Lookahead,
    MovingAverage,
    Muon,
    Optimiser,
    RMSprop,
)
from tinygrad_cifar.nn.weights import is_weight
from tinygrad_cifar.system.files import atomic_write
from tinygrad_cifar.system.identity import require_same

Array = np.ndarray[Any, np.dtype[Any]]

_MOMENTUM_BESIDE_MUON = 0.85  # as in the source of convnet
_MEASURED_BY_CONVNET = 2000  # training images


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes
    ----------
    settings : Settings
    model : Classifier
        The trained model.
    history : History
    train : Metrics
        Metrics on the training images; of ``convnet`` on the first 2,000, as in the history.
    validation : Metrics
        Metrics on the validation images; None without any.
    test : Metrics
        Metrics on the test images; None if they were not evaluated.
    seconds : float
        Wall-clock time of the training; see :class:`~tinygrad_cifar.course.training.History`.
    test_scores : ndarray, shape (images, classes)
        Scores of the test images; None if they were not evaluated.
    train_images : int
        Number of the training images on which the model was measured.
    """

    settings: Settings
    model: models.Classifier
    history: History
    train: Metrics
    validation: Metrics | None
    test: Metrics | None
    seconds: float
    test_scores: Array | None = field(default=None, repr=False, compare=False)
    train_images: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return settings and metrics as a dictionary that can be serialised as JSON; accuracies are from 0 to 1."""
        content: dict[str, Any] = {"settings": asdict(self.settings)}
        for name, metrics in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            for quantity in ("accuracy", "loss", "cost"):
                content[f"{name}_{quantity}"] = None if metrics is None else getattr(metrics, quantity)
        return content | {
            "train_images": self.train_images,
            "steps": self.history.rows[-1].step,
            "stopped_early": self.history.stopped_early,
            "seconds": round(self.seconds, 3),
        }


def build_model(settings: Settings, features: int, classes: int) -> models.Classifier:
    """Return the untrained model of the settings, initialised from their seed.

    Examples
    --------
    >>> from tinygrad_cifar.course.runs import build_model
    >>> from tinygrad_cifar.course.settings import Settings
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
    if settings.model == "convnet":
        model = ConvNet(settings.hidden, classes, depth=settings.depth, rng=rng, dtype=shared["dtype"])
    elif settings.model == "patchify":
        size, filters = settings.filter_size, settings.filters
        model = models.Patchify(settings.hidden[0], classes, filter_size=size, filters=filters, **shared)
    elif settings.model == "two-layer":
        activation = ACTIVATIONS[settings.activation]
        model = models.TwoLayer(features, settings.hidden[0], classes, activation=activation, **shared)
    elif settings.model == "perceptron":
        model = models.Perceptron([features, *settings.hidden, classes], dropout=settings.dropout, **shared)
    else:
        model = (models.SVM if settings.model == "svm" else models.SoftmaxRegression)(features, classes, **shared)
    model.loss_exponent = settings.q
    model.loss_smoothing = settings.smoothing
    model.loss_function = LOSSES[settings.loss]
    return model


def build_schedule(settings: Settings, steps_per_epoch: int) -> schedules.Schedule:
    """Return the learning-rate schedule of the settings.

    Examples
    --------
    >>> from tinygrad_cifar.course.runs import build_schedule
    >>> from tinygrad_cifar.course.settings import Settings
    >>> build_schedule(Settings(eta=0.02, schedule="exponential", decay=0.9), steps_per_epoch=100)
    Exponential(eta=0.02, decay=0.9, steps_per_epoch=100)
    """
    kinds: dict[str, Callable[[], schedules.Schedule]] = {
        "constant": lambda: schedules.Constant(settings.eta),
        "exponential": lambda: schedules.Exponential(settings.eta, settings.decay, steps_per_epoch),
        "step": lambda: schedules.Step(settings.eta, settings.decay, settings.n_s),
        "triangular": lambda: schedules.Triangular(
            settings.eta_min,
            settings.eta,
            settings.n_s,
            settings.cycle_growth,
            settings.cycle_decay,
            settings.cycles,
        ),
        "cosine": lambda: schedules.Cosine(settings.eta, settings.eta_min, settings.epochs * steps_per_epoch),
        "linear": lambda: schedules.Linear(settings.eta, settings.epochs * steps_per_epoch),
    }
    schedule = kinds[settings.schedule]()
    return schedules.WarmUp(schedule, settings.warm_up) if settings.warm_up else schedule


def build_optimiser(settings: Settings, model: models.Classifier, steps_per_epoch: int) -> Optimiser:
    """Return the optimiser of the settings.

    Examples
    --------
    >>> from tinygrad_cifar.course.runs import build_model, build_optimiser
    >>> from tinygrad_cifar.course.settings import Settings
    >>> settings = Settings(lam=0.1, momentum=0.9)
    >>> optimiser = build_optimiser(settings, build_model(settings, 4, 2), steps_per_epoch=100)
    >>> type(optimiser).__name__, optimiser.momentum, optimiser.weight_decay
    ('SGD', 0.9, 0.2)
    """
    schedule = build_schedule(settings, steps_per_epoch)
    groups = _groups(model.parameters(), schedule, settings.bias_rate)
    decay, momentum = 2 * settings.lam, settings.momentum
    optimiser: Optimiser
    if settings.optimiser == "muon":
        optimiser = _muon(settings, model, schedule)
    elif settings.optimiser == "rmsprop":
        optimiser = RMSprop(groups, schedule, momentum=momentum, weight_decay=decay)
    elif settings.optimiser in _ADAPTIVE:
        optimiser = _ADAPTIVE[settings.optimiser](groups, schedule, weight_decay=decay)
    else:
        optimiser = SGD(
            groups,
            schedule,
            momentum=momentum,
            nesterov=settings.optimiser == "nesterov",
            weight_decay=decay,
            decoupled=settings.decoupled,
        )
    if settings.lookahead:
        optimiser = Lookahead(optimiser, every=settings.lookahead)
    return MovingAverage(optimiser, settings.average) if settings.average else optimiser


_ADAPTIVE: dict[str, type[Adam | AdaGrad]] = {"adam": Adam, "adamw": AdamW, "adagrad": AdaGrad}


def _groups(parameters: list[Tensor], schedule: schedules.Schedule, bias_rate: float) -> list[dict[str, Any]]:
    """Return one group, or two if the rate of the biases differs."""
    if bias_rate == 1:
        return [{"parameters": parameters}]
    return [
        {"parameters": [p for p in parameters if is_weight(p)]},
        {"parameters": [p for p in parameters if not is_weight(p)], "eta": schedules.Scaled(schedule, bias_rate)},
    ]


def _muon(settings: Settings, model: models.Classifier, schedule: schedules.Schedule) -> Optimiser:
    """Return Muon for all weights but those of the last layer, and SGD with Nesterov momentum for the others."""
    *inner, last = model.weights()
    decay, momentum = 2 * settings.lam, settings.momentum
    is_convnet = isinstance(model, ConvNet)
    bias_rate = settings.bias_rate * (settings.batch_size if is_convnet else 1)  # its source sums the losses of a batch
    groups = [
        {"parameters": [last], "eta": schedules.Scaled(schedule, settings.last_rate)},
        {
            "parameters": [p for p in model.parameters() if not is_weight(p)],
            "eta": schedules.Scaled(schedule, bias_rate),
        },
    ]
    rest = SGD(
        [group for group in groups if group["parameters"]],
        schedule,
        momentum=_MOMENTUM_BESIDE_MUON,
        nesterov=True,
        weight_decay=decay,
        decoupled=True,
    )
    if is_convnet:  # a normalisation follows each convolution, so only the direction of a filter counts
        return Combined(Muon(inner, schedule, momentum=momentum, iterations=3, rescale=True), rest)
    return Combined(Muon(inner, schedule, momentum=momentum, iterations=3, weight_decay=decay), rest)


def initial_model(settings: Settings, prepared: Prepared) -> models.Classifier:
    """Return the model of a run before its training.

    Raises
    ------
    SettingsError
        If a step of the training needs more memory than there is.

    Examples
    --------
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import prepare
    >>> from tinygrad_cifar.course.runs import initial_model
    >>> from tinygrad_cifar.course.settings import Settings
    >>> settings = Settings(train_size=100)
    >>> type(initial_model(settings, prepare(builtin_dataset(), settings))).__name__
    'SoftmaxRegression'
    """
    model = build_model(settings, prepared.preprocessing.features, len(prepared.dataset.class_names))
    if isinstance(model, ConvNet):
        model.initialise_from(prepared.train[0])
        require_memory(model, *prepared.train, settings.batch_size)
    return model


def run(
    settings: Settings,
    prepared: Prepared,
    *,
    test: bool = True,
    checkpoint: Path | None = None,
    callback: Callable[[TrainingProgress], None] | None = None,
) -> Result:
    """Train a model with the settings.

    Parameters
    ----------
    settings : Settings
    prepared : Prepared
        Result of :func:`~tinygrad_cifar.course.preparation.prepare` for the same settings.
    test : bool
        If True, evaluate the trained model on the test images. A search does not. Default: True.
    checkpoint, callback
        As for :func:`tinygrad_cifar.course.training.fit`. A checkpoint of other settings or data is refused.

    Returns
    -------
    Result

    Raises
    ------
    TrainingDiverged
        If the loss becomes NaN or infinite.
    CheckpointError
        If the checkpoint cannot be written, is damaged, or belongs to another run.

    Examples
    --------
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import prepare
    >>> from tinygrad_cifar.course.runs import run
    >>> from tinygrad_cifar.course.settings import Settings
    >>> settings = Settings(train_size=500, epochs=2)
    >>> prepared = prepare(builtin_dataset(), settings)  # split, and scaled to the range 0 to 1
    >>> X, labels = prepared.train
    >>> X.shape, prepared.validation[0].shape
    ((500, 3072), (2000, 3072))
    >>> result = run(settings, prepared, test=False)
    >>> result.history.column("step")
    array([ 0.,  5., 10.])
    >>> result.train.loss < result.history.rows[0].train_loss
    True
    """
    labels = prepared.images.labels
    model = initial_model(settings, prepared)
    optimiser = build_optimiser(settings, model, -(-len(labels) // settings.batch_size))
    measured = _measured(prepared.train, settings)
    augmentation = _Augmentation(settings, prepared) if settings.flip or settings.shift or settings.cutout else None
    history = fit(
        model,
        optimiser,
        prepared.train if augmentation is None else (augmentation.start_from(prepared.images.images), labels),
        prepared.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        rng=np.random.default_rng([settings.seed, 1]) if settings.shuffle or augmentation else None,
        shuffle=settings.shuffle,
        measure_every=settings.measure_every,
        patience=settings.patience,
        augment=augmentation,
        clip_norm=settings.clip_norm,
        measure_on=measured,
        layer_statistics=settings.layer_statistics,
        checkpoint=checkpoint,
        run_id=None if checkpoint is None else _identity(settings, prepared.dataset),
        callback=callback,
    )

    validation = test_scores = test_metrics = None
    if prepared.validation is not None and prepared.validation_images is not None:
        _, validation = _evaluate(model, prepared.validation, prepared.validation_images, prepared, settings)
    if test:
        test_scores, test_metrics = _evaluate(model, prepared.test, prepared.dataset.test, prepared, settings)
    return Result(
        settings,
        model,
        history,
        evaluate(model, measured, settings.penalty_factor),
        validation,
        test_metrics,
        history.seconds,
        test_scores,
        len(measured[1]),
    )


def _evaluate(
    model: models.Classifier, examples: Examples, images: Split, prepared: Prepared, settings: Settings
) -> tuple[Array, Metrics]:
    """Return the scores of images, which are means over the views of the settings, and their metrics."""
    viewed, (X, labels) = with_views(model, examples, images, prepared.preprocessing, settings)
    scores = scores_of(viewed, X)
    return scores, evaluate_scores(model, scores, labels, settings.penalty_factor)


def _measured(train: Examples, settings: Settings) -> Examples:
    """Return the training examples on which the model is measured: not all for ``convnet``, which takes longer."""
    X, labels = train
    return (X[:_MEASURED_BY_CONVNET], labels[:_MEASURED_BY_CONVNET]) if settings.model == "convnet" else train


def check_resumable(
    checkpoint: Path, settings: Settings, dataset: Dataset, *, name_of: Callable[[str], str] = str
) -> None:
    """Raise an error for a checkpoint of other settings or data, without preparing the data.

    ``name_of`` returns the name of a setting in the message, by default the name itself.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import prepare
    >>> from tinygrad_cifar.course.runs import check_resumable, run
    >>> from tinygrad_cifar.course.settings import Settings
    >>> settings, dataset = Settings(epochs=1, train_size=100), builtin_dataset()
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     checkpoint = Path(folder) / "checkpoint.npz"
    ...     result = run(settings, prepare(dataset, settings), checkpoint=checkpoint)
    ...     check_resumable(checkpoint, Settings(epochs=2, train_size=100), dataset)
    Traceback (most recent call last):
    tinygrad_cifar.course.run_checkpoints.ResumeError: ... belongs to another run: its epochs was 1 and is 2 ...

    Raises
    ------
    ResumeError
        If it is damaged or belongs to another run.
    """
    _, metadata = read_run(checkpoint)
    try:
        renamed = [f"{name} is now {OLD_NAMES[name]}" for name in OLD_NAMES if name in metadata["identity"]]
        if renamed:
            raise ValueError(f"settings were renamed since it was written ({', '.join(renamed)})")  # noqa: TRY301
        require_same(metadata["identity"], _identity(settings, dataset), name_of=name_of)
    except (LookupError, TypeError, ValueError) as error:
        raise ResumeError(f"{checkpoint} belongs to another run: {error}") from error


def _identity(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    return asdict(settings) | {"data": _name_and_digest(dataset)}


def _name_and_digest(dataset: Dataset) -> str:
    identity = dataset.identity()
    return f"{identity['name']} with the digest {str(identity['sha256'])[:16]}"


class _Augmentation:
    """The augmentation of the settings: random flips, shifts and squares of a batch, and its preprocessing."""

    def __init__(self, settings: Settings, prepared: Prepared) -> None:
        self.settings, self.preprocessing = settings, prepared.preprocessing
        self.mean_image = prepared.images.images.mean(axis=0).round().astype(np.uint8) if settings.cutout else None
        self.is_mirrored = False

    def start_from(self, images: Array) -> Array:
        """Return the images of the first epoch: with alternating flips, each is flipped at random."""
        if self.settings.flip != "alternate":
            return images
        return augment_flip(images, np.random.default_rng([self.settings.seed, 2]))

    def start_epoch(self, epoch: int) -> None:
        """Flip all images of every second epoch."""
        self.is_mirrored = self.settings.flip == "alternate" and epoch % 2 == 1

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        if self.settings.flip is True:
            images = augment_flip(images, rng)
        elif self.is_mirrored:
            images = mirror(images)
        if self.settings.shift:
            images = augment_shift(images, rng, self.settings.shift, border=self.settings.border)
        if self.mean_image is not None:
            images = augment_cutout(images, rng, self.settings.cutout, fill=self.mean_image)
        return preprocess_images(images, self.preprocessing, self.settings)


def versions() -> dict[str, str]:
    """Return the versions and the platform that a result depends on besides its settings and data.

    Examples
    --------
    >>> from tinygrad_cifar.course.runs import versions
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
    """Write ``history.csv`` and ``result.json``, in this order and each atomically.

    See :func:`tinygrad_cifar.course.model_files.load_model` for an example.
    """
    content = result.to_json() | {"data": dataset.identity(), "versions": versions()}
    with atomic_write(folder / "history.csv") as file:
        file.write(result.history.to_csv().encode())
    with atomic_write(folder / "result.json") as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
