"""What defines a training run: plain settings, checked when they are made, that can be printed, stored and compared.

Equal settings on equal data give equal results, to the last bit on the same machine: everything random in a run comes
from its seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.data.preprocess import KINDS
from tinygrad_cifar.engine import ops
from tinygrad_cifar.nn import initialisers

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
    **dict.fromkeys(("epochs", "batch_size", "n_s", "measure_every", "patience", "train_size"), (1, _MOST)),
    "components": (1, PIXELS),
    "q": (0, 1),
    **dict.fromkeys(("validation_size", "warm_up", "seed"), (0, _MOST)),
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


RENAMED = {
    "pixels": "preprocessing",
    "first": "train_size",
    "held_out": "validation_size",
    "every": "measure_every",
}  # what settings were called in the files of earlier versions


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
    preprocessing : str
        What is done to pixels first: ``scale`` (/ 255), ``centre`` (and the training mean subtracted),
        ``standardise`` (and divided by the standard deviation) or ``whiten`` (centred, and turned into uncorrelated
        features).
    components : int
        How many of these ``whiten`` keeps.
    train_batches : tuple of int
        Which of the five training batches to train on.
    train_size : int, optional
        Train on the first so many of their images only.
    validation_size : int
        Keep the last so many of their images for validation.
    validation_batch : int, optional
        Or: validate on this training batch, which must not be one of those trained on.
    q : float
        Of the loss ``(1 - p**q) / q``; 0 is the cross-entropy (see
        :func:`tinygrad_cifar.nn.functional.generalised_cross_entropy`).
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
    measure_every : int, optional
        Measure after so many updates, not after every epoch.
    patience : int, optional
        Stop early (see :func:`tinygrad_cifar.course.training.fit`).
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
    preprocessing: str = "scale"
    components: int = 300
    train_batches: tuple[int, ...] = (1,)
    train_size: int | None = None
    validation_size: int = 0
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
    measure_every: int | None = None
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
            ("preprocessing", KINDS),
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
        if self.validation_size and self.validation_batch is not None:
            raise SettingsError("give either validation_size or validation_batch: there is one set to validate on")
        if self.patience is not None and not self.validation_size and self.validation_batch is None:
            raise SettingsError("patience watches the validation accuracy; give validation_size or validation_batch")

    def _check_rates(self) -> None:
        if self.decay != 1 and self.schedule not in ("exponential", "step"):
            raise SettingsError(f"decay needs the schedule exponential or step, not {self.schedule}")
        if self.schedule in ("triangular", "cosine") and self.eta_min > self.eta:
            raise SettingsError(f"eta_min must not be greater than eta; they are {self.eta_min:g} and {self.eta:g}")
        if (self.optimiser == "nesterov") > (self.momentum > 0) or (self.optimiser == "adam" and self.momentum):
            raise SettingsError(f"the optimiser {self.optimiser} does not go with momentum {self.momentum:g}")

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
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise SettingsError(f"unknown settings: {', '.join(unknown)}")
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)


def describe(settings: Settings) -> str:
    """Say in one short line what defines a run most.

    Examples
    --------
    >>> from tinygrad_cifar.course.settings import Settings, describe
    >>> describe(Settings(lam=0.1))
    'softmax, lambda 0.1, eta 0.01, batch 100, 40 epochs, seed 0'
    """
    units = " ".join(map(str, settings.hidden))
    rate = f"eta {settings.eta:g}" + (f" {settings.schedule}" if settings.schedule != "constant" else "")
    parts = [
        f"{settings.model} {units}".strip(),
        settings.activation if settings.activation != "relu" else "",
        f"{settings.components} components" if settings.preprocessing == "whiten" else "",
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
