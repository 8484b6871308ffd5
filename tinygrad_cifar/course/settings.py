"""The settings that define a training run: checked when they are made, and easy to print, store and compare.

Equal settings on equal data give bit-for-bit identical results on the same machine: everything random in a run comes
from its seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tinygrad_cifar.course.setting_fields import SettingField, declared_fields, document_fields, setting
from tinygrad_cifar.data.augmentation import BORDERS, VIEWS
from tinygrad_cifar.data.dataset import PIXELS, SIDE, TRAINING_BATCHES
from tinygrad_cifar.data.preprocess import KINDS
from tinygrad_cifar.engine import ops
from tinygrad_cifar.nn import functional, initialisers
from tinygrad_cifar.system.arguments import explain_constructor, suggest

MODELS = ("softmax", "svm", "two-layer", "perceptron", "patchify", "convnet")
SCHEDULES = ("constant", "exponential", "step", "triangular", "cosine", "linear")
OPTIMISERS = ("sgd", "nesterov", "adam", "adamw", "adagrad", "rmsprop", "muon")
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": ops.relu, "absolute": ops.absolute}
LOSSES: dict[str, Callable[[Any, Any], Any] | None] = {
    "cross-entropy": None,  # that of the models, which have its generalisation by q
    "binary-cross-entropy": functional.binary_cross_entropy,
}
INITIALISERS: dict[str, Callable[[float], initialisers.Initialiser]] = {
    "zeros": lambda _: initialisers.Zeros(),
    "normal": initialisers.Normal,
    "fan-in": lambda _: initialisers.FanIn(),
    "xavier": lambda _: initialisers.Xavier(),
    "he": lambda _: initialisers.He(),
}

# Larger factors are never useful, and their multiples may not be representable as float32.
_MAX_FACTOR = 1e30
_LINEAR = ("softmax", "svm")  # models without hidden layers
_WITH_CROSS_ENTROPY = tuple(model for model in MODELS if model != "svm")
_INITIALISED = tuple(model for model in MODELS if model != "convnet")  # whose initialisation is its source's
_FILTER_SIZES = tuple(size for size in range(1, SIDE + 1) if SIDE % size == 0)
MOST_BLOCKS = 4  # of convnet: each halves the image
_MARKED_NAME = re.compile(r"<([a-z_]+)>")


class SettingsError(ValueError):
    """Settings that contradict each other or cannot be used, as a one-line message that names them.

    Parameters
    ----------
    marked : str
        The message, with names of settings in angle brackets, so that the command line can replace them by its options.

    Examples
    --------
    >>> from tinygrad_cifar.course.setting_fields import option_of
    >>> from tinygrad_cifar.course.settings import SettingsError
    >>> error = SettingsError("<batch_size> must be at most 50")
    >>> str(error), error.format(option_of)
    ('batch_size must be at most 50', '--batch-size must be at most 50')
    """

    def __init__(self, marked: str) -> None:
        super().__init__(_MARKED_NAME.sub(r"\1", marked))
        self.marked = marked

    def format(self, format_name: Callable[[str], str]) -> str:
        """Return the message, with the names of settings replaced."""
        return _MARKED_NAME.sub(lambda found: format_name(found[1]), self.marked)


@explain_constructor
@document_fields
@dataclass(frozen=True)
class Settings:
    """The settings of a training run.

    Raises
    ------
    SettingsError
        If a value is not allowed, or if settings contradict each other.

    Examples
    --------
    >>> from tinygrad_cifar.course.settings import Settings
    >>> Settings(epochs=0)
    Traceback (most recent call last):
        ...
    tinygrad_cifar.course.settings.SettingsError: epochs must be an integer, at least 1; got 0
    """

    model: str = setting("softmax", "classifier", choices=MODELS, label="{}", is_always_shown=True)
    hidden: tuple[int, ...] = setting(
        (),
        "units of each hidden layer (two-layer, patchify: one), or filters of each block of convnet",
        group="model",
        at_least=1,
        at_most=100_000,
        label=" {}",
        is_basic=True,
    )
    activation: str = setting(
        "relu",
        "activation of the hidden units",
        group="model",
        choices=tuple(ACTIVATIONS),
        only_with={"model": ("two-layer",)},
        is_strict=True,
        label="{}",
    )
    filter_size: int = setting(
        4,
        "width of the filters of the first layer in pixels, a divisor of 32",
        group="model",
        at_least=1,
        at_most=SIDE,
        only_with={"model": ("patchify",)},
        is_strict=True,
        was_added=True,
    )
    filters: int = setting(
        10,
        "number of filters of the first layer",
        group="model",
        at_least=1,
        at_most=100_000,
        only_with={"model": ("patchify",)},
        is_strict=True,
        label="{} filters",
        was_added=True,
    )
    depth: int = setting(
        2,
        "number of convolutions of each block",
        group="model",
        at_least=1,
        at_most=100,
        only_with={"model": ("convnet",)},
        is_strict=True,
        label="depth {}",
        was_added=True,
    )
    init: str = setting(
        "normal",
        "initialisation of the weights",
        group="model",
        choices=tuple(INITIALISERS),
        only_with={"model": _INITIALISED},
    )
    sigma: float = setting(
        0.01,
        "standard deviation of the initial weights",
        group="model",
        at_least=0,
        at_most=_MAX_FACTOR,
        only_with={"model": _INITIALISED, "init": ("normal",)},
    )
    preprocessing: str = setting(
        "scale", "pixel preprocessing, after division by 255", group="images", choices=KINDS, old_name="pixels"
    )
    components: int = setting(
        300,
        "number of features that whitening keeps",
        group="images",
        at_least=1,
        at_most=PIXELS,
        only_with={"preprocessing": ("whiten",)},
        label="{} components",
        is_always_shown=True,
    )
    train_batches: tuple[int, ...] = setting(
        (1,),
        "which of the 5 training batches to train on",
        group="images",
        at_least=1,
        at_most=TRAINING_BATCHES,
    )
    train_size: int | None = setting(
        None, "number of training images to use, from the first", group="images", at_least=1, old_name="first"
    )
    validation_size: int = setting(
        0,
        "number of training images held out for validation, the last ones",
        group="images",
        at_least=0,
        old_name="held_out",
    )
    validation_batch: int | None = setting(
        2,
        "training batch to validate on instead of held-out images",
        group="images",
        at_least=1,
        at_most=TRAINING_BATCHES,
    )
    loss: str = setting(
        "cross-entropy",
        "loss of an image: of the softmax, or of a sigmoid for each class (the mean over the classes)",
        group="training",
        choices=tuple(LOSSES),
        only_with={"model": _WITH_CROSS_ENTROPY},
        is_strict=True,
        label="{}",
        was_added=True,
    )
    smoothing: float = setting(
        0.0,
        "label smoothing: this share of the target probability is divided among the other classes",
        group="training",
        at_least=0,
        at_most=0.9,
        only_with={"model": _WITH_CROSS_ENTROPY},
        is_strict=True,
        label="smoothing {:g}",
        was_added=True,
    )
    q: float = setting(
        0.0,
        "exponent q of the loss (1 - p**q) / q, where p is the probability of the label; 0 is the cross-entropy",
        group="training",
        at_least=0,
        at_most=1,
        only_with={"model": _WITH_CROSS_ENTROPY},
        is_strict=True,
        label="q {:g}",
        long_name="loss_exponent",
    )
    lam: float = setting(
        0.0,
        "lambda of the cost: loss + lambda * sum of squared weights; a decoupled decay is not part of the cost",
        group="training",
        at_least=0,
        at_most=_MAX_FACTOR,
        is_basic=True,
        label="lambda {:g}",
        is_always_shown=True,
    )
    eta: float = setting(
        0.01,
        "learning rate; with a schedule, its maximum",
        group="training",
        at_least=0,
        is_basic=True,
        label="eta {:g}",
        is_always_shown=True,
    )
    schedule: str = setting("constant", "learning-rate schedule", group="training", choices=SCHEDULES, label=" {}")
    decay: float = setting(
        1.0,
        "factor of the learning rate, per epoch (exponential) or per n_s steps (step)",
        group="training",
        at_least=0,
        only_with={"schedule": ("exponential", "step")},
        is_strict=True,
    )
    eta_min: float = setting(
        1e-5,
        "minimum of the learning rate",
        group="training",
        at_least=0,
        only_with={"schedule": ("triangular", "cosine")},
    )
    n_s: int = setting(
        500,
        "steps of half a cycle (triangular) or between decays (step)",
        group="training",
        at_least=1,
        only_with={"schedule": ("triangular", "step")},
        long_name="schedule_steps",
    )
    cycle_growth: int = setting(
        1,
        "factor of the length of each cycle; with 2, the cycles double in length",
        group="training",
        at_least=1,
        at_most=10,
        only_with={"schedule": ("triangular",)},
        is_strict=True,
        label="cycles times {}",
        was_added=True,
    )
    cycle_decay: float = setting(
        1.0,
        "factor of the height of each cycle; with 0.5, each maximum is half as far above the minimum",
        group="training",
        at_least=0,
        at_most=1,
        only_with={"schedule": ("triangular",)},
        is_strict=True,
        label="cycle decay {:g}",
        was_added=True,
    )
    cycles: int | None = setting(
        None,
        "number of cycles, after which the learning rate remains at its minimum",
        group="training",
        at_least=1,
        at_most=1000,
        only_with={"schedule": ("triangular",)},
        is_strict=True,
        label="cycles {}",
        was_added=True,
    )
    warm_up: int = setting(
        0, "steps of linear warm-up of the learning rate", group="training", at_least=0, label="warm-up {}"
    )
    optimiser: str = setting("sgd", "optimiser", group="training", choices=OPTIMISERS, label="{}")
    momentum: float = setting(
        0.0,
        "momentum coefficient",
        group="training",
        at_least=0,
        below=1,
        only_with={"optimiser": ("sgd", "nesterov", "rmsprop", "muon")},
        is_strict=True,
        label="momentum {:g}",
    )
    decoupled: bool = setting(
        False,
        "apply the weight decay to the weights, not to their gradients; adamw and muon always do",
        group="training",
        only_with={"optimiser": ("sgd", "nesterov")},
        is_strict=True,
        label="decoupled",
        was_added=True,
    )
    bias_rate: float = setting(
        1.0,
        "factor of the learning rate for biases; of convnet with muon, times the batch size",
        group="training",
        at_least=0,
        at_most=_MAX_FACTOR,
        label="bias rate {:g}",
        was_added=True,
    )
    last_rate: float = setting(
        1.0,
        "factor of the learning rate for the last layer, which muon does not update",
        group="training",
        at_least=0,
        at_most=_MAX_FACTOR,
        only_with={"optimiser": ("muon",)},
        is_strict=True,
        label="last rate {:g}",
        was_added=True,
    )
    clip_norm: float | None = setting(
        None,
        "largest norm of the gradients of an update, greater than 0",
        group="training",
        at_least=0,
        label="clip norm {:g}",
        was_added=True,
    )
    average: float = setting(
        0.0,
        "coefficient of a moving average of the parameters, which is evaluated; 0 for none",
        group="training",
        at_least=0,
        below=1,
        label="average {:g}",
        was_added=True,
    )
    lookahead: int = setting(
        0,
        "updates between two lookaheads, each of which goes back half of the way; 0 for none",
        group="training",
        at_least=0,
        label="lookahead {}",
        was_added=True,
    )
    epochs: int = setting(
        40,
        "passes over the training images",
        group="training",
        at_least=1,
        label=lambda epochs: f"{epochs} epoch{'s' * (epochs != 1)}",
        is_always_shown=True,
        is_basic=True,
    )
    batch_size: int = setting(
        100,
        "images per update",
        group="training",
        at_least=1,
        label="batch {}",
        is_always_shown=True,
        is_basic=True,
    )
    shuffle: bool = setting(False, "shuffle the images before each epoch", group="training")
    measure_every: int | None = setting(
        None, "updates between measurements, instead of an epoch", group="training", at_least=1, old_name="every"
    )
    layer_statistics: bool = setting(
        False,
        "measure mean, spread and zeros of the activations and gradients of each layer",
        group="training",
        was_added=True,
    )
    patience: int | None = setting(
        None, "epochs without a higher validation accuracy before training stops early", group="training", at_least=1
    )
    dropout: float = setting(
        0.0,
        "fraction of hidden units dropped",
        group="model",
        at_least=0,
        below=1,
        only_with={"model": ("perceptron",)},
        is_strict=True,
        label="dropout {:g}",
    )
    flip: bool | str = setting(
        False,
        "mirror images at random; alternate: at random before the first epoch, then all of them after each epoch",
        group="images",
        words=("alternate",),
        label=lambda flip: "flip" if flip is True else f"flip {flip}",
    )
    shift: int = setting(
        0,
        "move images at random by up to this number of pixels",
        group="images",
        at_least=0,
        at_most=SIDE - 1,
        label="shift {}",
    )
    cutout: int = setting(
        0,
        "fill a square of this width, at a random place of each image, with the mean of the training images",
        group="images",
        at_least=0,
        at_most=SIDE,
        label="cutout {}",
        was_added=True,
    )
    border: str = setting(
        "edge",
        "pixels that are shifted in, by views too: repeat the edge, or reflect the pixels next to it",
        group="images",
        choices=BORDERS,
        label="border {}",
        was_added=True,
    )
    views: str = setting(
        "one",
        "views of each validation and test image whose scores are averaged at the end: one; its mirror image too; six, "
        "with shifts by a pixel and mirror images; fifty, with all shifts by up to two pixels and mirror images",
        group="images",
        choices=VIEWS,
        label="views {}",
        was_added=True,
    )
    seed: int = setting(
        0, "random seed", group="training", at_least=0, label="seed {}", is_always_shown=True, is_basic=True
    )
    dtype: str = setting(
        "float64",
        "floating-point type; float32 takes half the time of float64",
        group="model",
        choices=("float32", "float64"),
    )

    def __post_init__(self) -> None:
        values = vars(self)
        for name, declared in SETTINGS.items():
            value = values[name]
            if not declared.accepts(value):
                raise SettingsError(f"<{name}> {declared.refusal(value)}")
        for name, declared in SETTINGS.items():
            if declared.is_strict and values[name] != declared.default and not declared.has_effect(values):
                ((other, allowed),) = declared.only_with.items()
                raise SettingsError(
                    f"<{name}> {values[name]} needs <{other}> {' or '.join(allowed)}, not {values[other]}"
                )
        self._check_layers()
        self._check_images()
        self._check_rates()

    def _check_layers(self) -> None:
        layers = {"softmax": 0, "svm": 0, "two-layer": 1, "patchify": 1}.get(self.model, len(self.hidden))
        if len(self.hidden) != layers:
            given = len(self.hidden)
            raise SettingsError(
                f"{self.model} has {layers} hidden layer{'s' * (layers != 1)}; <hidden> gives {given or 'none'}"
            )

        if self.filter_size not in _FILTER_SIZES:
            raise SettingsError(
                f"<filter_size> must divide {SIDE}, the width of an image ({', '.join(map(str, _FILTER_SIZES))}); "
                f"got {self.filter_size}"
            )
        if self.model in ("patchify", "convnet") and self.preprocessing == "whiten":
            raise SettingsError(f"{self.model} needs pixels, which <preprocessing> whiten mixes; choose another")
        if self.model == "convnet" and not 1 <= len(self.hidden) <= MOST_BLOCKS:
            raise SettingsError(f"convnet has 1 to {MOST_BLOCKS} blocks; <hidden> gives {len(self.hidden) or 'none'}")

    def _check_images(self) -> None:
        if not self.train_batches or len(set(self.train_batches)) < len(self.train_batches):
            raise SettingsError(f"<train_batches> must be different batches, at least one; got {self.train_batches}")
        if self.validation_batch in self.train_batches:
            raise SettingsError(
                f"batch {self.validation_batch} must not be in both <train_batches> and <validation_batch>"
            )
        if self.validation_size and self.validation_batch is not None:
            raise SettingsError("<validation_size> and <validation_batch> exclude each other; give one of them")
        if self.border != "edge" and not self.shift and self.views not in ("six", "fifty"):
            raise SettingsError(f"<border> {self.border} needs a <shift> greater than 0, or <views> six or fifty")
        if self.patience is not None and not self.validation_size and self.validation_batch is None:
            raise SettingsError("<patience> needs validation images; give <validation_size> or <validation_batch>")

    def _check_rates(self) -> None:
        if self.schedule in ("triangular", "cosine") and self.eta_min > self.eta:
            raise SettingsError(f"<eta_min> must be at most <eta>; they are {self.eta_min:g} and {self.eta:g}")
        if self.clip_norm == 0:
            raise SettingsError("<clip_norm> must be greater than 0; got 0")
        if self.optimiser == "nesterov" and not self.momentum:
            raise SettingsError("<optimiser> nesterov needs a <momentum> greater than 0")
        if self.optimiser == "muon" and self.model in _LINEAR:
            raise SettingsError(
                f"<optimiser> muon is for the weights of hidden layers, which {self.model} does not have"
            )
        if self.loss != "cross-entropy" and self.q:
            raise SettingsError(f"<q> {self.q:g} needs <loss> cross-entropy, not {self.loss}")
        if self.smoothing and (self.loss != "cross-entropy" or self.q):
            other = f"<loss> {self.loss}" if self.loss != "cross-entropy" else f"<q> {self.q:g}"
            raise SettingsError(f"<smoothing> {self.smoothing:g} needs the cross-entropy, not {other}")

    @property
    def penalty_factor(self) -> float:
        """Factor of the sum of squared weights in the cost: ``lam``, or 0 if the weight decay is decoupled."""
        return 0.0 if self.decoupled or self.optimiser in ("adamw", "muon") else self.lam

    @property
    def steps_of_cycles(self) -> int:
        """Number of updates until the last cycle of the learning rate ends; 0 if cycles are not counted.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import Settings
        >>> Settings(schedule="triangular", n_s=800, cycles=3, cycle_growth=2).steps_of_cycles
        11200
        """
        return sum(2 * self.n_s * self.cycle_growth**cycle for cycle in range(self.cycles or 0))

    def identity(self) -> dict[str, Any]:
        """Return the settings by name, without those that earlier versions did not have if they have their defaults.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import Settings
        >>> "loss" in Settings().identity(), Settings(loss="binary-cross-entropy").identity()["loss"]
        (False, 'binary-cross-entropy')
        """
        return {
            name: value
            for name, value in asdict(self).items()
            if not (SETTINGS[name].was_added and value == SETTINGS[name].default)
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """Return the settings of which ``values`` is the :func:`dataclasses.asdict`, as read from a JSON file.

        The files of earlier versions are read, too: settings that have been renamed are accepted by their old names.

        Raises
        ------
        SettingsError
            If a name or a value is not one of a setting.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import Settings
        >>> Settings.from_json({"pixels": "centre", "hidden": []}).preprocessing
        'centre'
        """
        values = {OLD_NAMES.get(name, name): value for name, value in values.items()}
        unknown = sorted(set(values) - set(SETTINGS))
        if unknown:
            raise SettingsError(f"unknown settings: {', '.join(unknown)}{suggest(unknown[0], SETTINGS)}")
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)


SETTINGS: dict[str, SettingField] = declared_fields(Settings)
OLD_NAMES = {declared.old_name: name for name, declared in SETTINGS.items() if declared.old_name}


def describe(settings: Settings) -> str:
    """Return one line with the settings that matter most, and those that differ from their defaults.

    Examples
    --------
    >>> from tinygrad_cifar.course.settings import Settings, describe
    >>> describe(Settings(lam=0.1, schedule="cosine"))
    'softmax, lambda 0.1, eta 0.01 cosine, 40 epochs, batch 100, seed 0'
    """
    parts = filter(None, (declared.describe(vars(settings)) for declared in SETTINGS.values()))
    return "".join(part if part.startswith(" ") else f", {part}" for part in parts).removeprefix(", ")
