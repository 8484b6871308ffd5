"""The options of a training run, and what they are where the user does not say.

An option is a field of :class:`tinygrad_cifar.course.settings.Settings`, which knows what values make sense. The defaults
differ by model, and are chosen to do well on CIFAR-10 and on the built-in data.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from tinygrad_cifar.cli.common import table
from tinygrad_cifar.course.settings import (
    ACTIVATIONS,
    INITIALISERS,
    MODELS,
    OPTIMISERS,
    RENAMED,
    SCHEDULES,
    Settings,
    SettingsError,
)
from tinygrad_cifar.data import Dataset
from tinygrad_cifar.data.preprocess import KINDS

_WHOLE: dict[str, Any] = {"type": int, "metavar": "N"}
_REAL: dict[str, Any] = {"type": float, "metavar": "X"}
_SWITCH: dict[str, Any] = {"action": argparse.BooleanOptionalAction}

# By the fields of Settings; grouped as --help shows them.
_OPTIONS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "the model": {
        "hidden": ("units of each hidden layer", {**_WHOLE, "nargs": "+"}),
        "activation": ("what two-layer's hidden units compute", {"choices": tuple(ACTIVATIONS)}),
        "init": ("how the weights start", {"choices": tuple(INITIALISERS)}),
        "sigma": ("the standard deviation of --init normal", _REAL),
        "dropout": ("share of hidden units dropped (perceptron)", _REAL),
        "dtype": ("float32 takes half the time of float64", {"choices": ("float32", "float64")}),
    },
    "the images": {
        "preprocessing": ("divide by 255; and standardise or only centre each, or whiten all", {"choices": KINDS}),
        "components": ("how many features --preprocessing whiten makes", _WHOLE),
        "train_batches": ("which of the 5 training batches to train on", {**_WHOLE, "nargs": "+"}),
        "train_size": ("use only so many of their images", _WHOLE),
        "validation_size": ("hold out so many of their last images for validation", _WHOLE),
        "validation_batch": ("or validate on this training batch", _WHOLE),
        "flip": ("mirror images at random", _SWITCH),
        "shift": ("move images at random by up to so many pixels", _WHOLE),
    },
    "the training": {
        "q": ("loss = (1 - p**q) / q of the label's p; 0: cross-entropy", _REAL),
        "lam": ("lambda: cost = loss + lambda * sum of squared weights", _REAL),
        "eta": ("the (highest) learning rate", _REAL),
        "schedule": ("how the rate changes", {"choices": SCHEDULES}),
        "decay": ("its factor per epoch (exponential) or --n-s steps (step)", _REAL),
        "eta_min": ("the lowest rate (triangular, cosine)", _REAL),
        "n_s": ("steps of half a cycle (triangular) or between falls (step)", _WHOLE),
        "warm_up": ("steps over which the rate first grows from 0", _WHOLE),
        "optimiser": ("what is done with the gradients", {"choices": OPTIMISERS}),
        "momentum": ("share of the last change that is repeated", _REAL),
        "epochs": ("passes over the training images", _WHOLE),
        "batch_size": ("images per update", _WHOLE),
        "shuffle": ("in a new order each epoch (the default), or in file order", _SWITCH),
        "measure_every": ("measure every so many updates, not every epoch", _WHOLE),
        "patience": ("stop when validation has not improved for N epochs", _WHOLE),
        "seed": ("where all random numbers come from", _WHOLE),
    },
}

NAMES = tuple(name for group in _OPTIONS.values() for name in group)

_COMMON: dict[str, Any] = {
    "preprocessing": "standardise",
    "train_batches": (1, 2, 3, 4, 5),
    "validation_batch": None,
    "shuffle": True,
    "schedule": "cosine",
    "dtype": "float32",
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "softmax": {"eta": 0.01, "lam": 0.01, "epochs": 20},
    "svm": {"eta": 0.001, "lam": 0.01, "epochs": 20},
    "two-layer": {
        "hidden": (50,),
        "init": "fan-in",
        "eta": 0.1,
        "lam": 0.004,
        "schedule": "triangular",
        "epochs": 12,
    },
    "perceptron": {"hidden": (200, 100), "init": "he", "eta": 0.03, "lam": 0.001, "momentum": 0.9, "epochs": 12},
}
_TABULATED = ("hidden", "init", "preprocessing", "lam", "eta", "schedule", "momentum", "epochs", "batch_size", "dtype")
_NOT_TOLD = {"n_s", "decay", "shuffle", *_TABULATED}  # what follows from other settings, or is told elsewhere
_HELD_OUT = 10  # one image in so many

# What another setting must be for one to have an effect; what Settings refuses by itself is left out.
_FOR: dict[str, tuple[str, tuple[str, ...]]] = {
    "n_s": ("schedule", ("triangular", "step")),
    "eta_min": ("schedule", ("triangular", "cosine")),
    "sigma": ("init", ("normal",)),
    "components": ("preprocessing", ("whiten",)),
    "activation": ("model", ("two-layer",)),
}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting; those that are not given leave no trace."""
    for title, group in _OPTIONS.items():
        options = parser.add_argument_group(title)
        for field, (text, how) in group.items():
            told = f"{text}{_told_default(field)}"
            options.add_argument(f"--{field.replace('_', '-')}", help=told, default=argparse.SUPPRESS, **how)
    for old in RENAMED:
        parser.add_argument(
            f"--{old.replace('_', '-')}", action=_Renamed, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


class _Renamed(argparse.Action):
    """An option of earlier versions, refused with its present name."""

    def __call__(
        self, parser: argparse.ArgumentParser, _: argparse.Namespace, __: Any, option: str | None = ""
    ) -> None:
        parser.error(f"{option} is now --{RENAMED[self.dest].replace('_', '-')}")


def _told_default(field: str) -> str:
    """Return the end of an option's help: its default, if that is a value, the same for all models and in no table."""
    values = {_defaults(model)[field] for model in MODELS}
    if field in _NOT_TOLD or len(values) > 1 or values & {None, False}:
        return ""
    return f" (default: {_text(*values)})"


def table_of_defaults() -> str:
    """Show what the settings are where the user does not say."""
    every = {model: _defaults(model) for model in MODELS}
    rows = [[f"--{field.replace('_', '-')}", *(_text(every[model][field]) for model in MODELS)] for field in _TABULATED]
    return table(["", *MODELS], rows)


def _text(value: Any) -> str:
    return (" ".join(map(str, value)) or "-") if isinstance(value, tuple) else str(value)


def _defaults(model: str) -> dict[str, Any]:
    return {field.name: field.default for field in fields(Settings)} | _COMMON | DEFAULTS[model] | {"model": model}


def explicit_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the user gave, in the order of the options."""
    given = {name: getattr(options, name) for name in NAMES if hasattr(options, name)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def settings_from(options: argparse.Namespace, dataset: Dataset) -> Settings:
    """Return the settings that the options mean on a data set.

    Raises
    ------
    SettingsError
        If they make no sense, or one of them has no effect.
    """
    given = explicit_settings(options)
    settings = complete_settings(options.model, given, batch_sizes(dataset))
    for sentence in find_unused(options.model, given).values():
        raise SettingsError(sentence)
    return settings


def find_unused(model: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each setting that was given in vain, a sentence that says so.

    Examples
    --------
    >>> from tinygrad_cifar.cli.settings import find_unused
    >>> find_unused("softmax", {"n_s": 500, "lam": 0.1})
    {'n_s': '--n-s has no effect with --schedule cosine; it is for triangular or step'}
    """
    values = _defaults(model) | dict(given)
    sentences = {}
    for name, (other, kinds) in _FOR.items():
        if name in given and values[other] not in kinds:
            what = f"--{other} {values[other]}" if other in NAMES else f"the {other} {values[other]}"
            option = name.replace("_", "-")
            sentences[name] = f"--{option} has no effect with {what}; it is for {' or '.join(kinds)}"
    return sentences


def batch_sizes(dataset: Dataset) -> tuple[int, ...]:
    """Return how many images each training batch has: what the defaults depend on."""
    return tuple(map(len, dataset.training_batches))


def complete_settings(model: str, given: Mapping[str, Any], sizes: Sequence[int]) -> Settings:
    """Return the settings of a run of which the user said some, on batches of so many images.

    Raises
    ------
    SettingsError
        If they make no sense.

    Examples
    --------
    >>> from tinygrad_cifar.cli.settings import complete_settings
    >>> settings = complete_settings("two-layer", {"epochs": 5, "batch_size": 100}, [2000] * 5)
    >>> settings.validation_size, settings.n_s  # a tenth of the images; half of 5 epochs with 90 updates each
    (1000, 225)
    """
    values = _defaults(model) | dict(given)
    if given.get("optimiser") == "adam" and "momentum" not in given:
        values["momentum"] = 0.0
    # A batch that does not exist has no images here; whoever reads it says so.
    images = sum(size for i, size in enumerate(sizes, start=1) if i in values["train_batches"])
    if "validation_size" not in given and values["validation_batch"] is None:
        values["validation_size"] = images // _HELD_OUT
    settings = Settings(**values)
    if settings.schedule in ("exponential", "step") and settings.decay == 1:
        raise SettingsError(f"the schedule {settings.schedule} changes nothing without --decay, the factor of the rate")
    if settings.schedule in ("triangular", "step") and "n_s" not in given:
        steps = settings.epochs * -(-(settings.train_size or images - settings.validation_size) // settings.batch_size)
        settings = replace(settings, n_s=max(1, steps // 2))
    return settings


def format_options(given: Mapping[str, Any]) -> list[str]:
    """Return the options that give some settings, each with its values, as ``train`` takes them.

    Examples
    --------
    >>> from tinygrad_cifar.cli.settings import format_options
    >>> format_options({"flip": False, "n_s": 500, "hidden": (200, 100)})
    ['--hidden 200 100', '--no-flip', '--n-s 500']
    """
    options = []
    for name in NAMES:
        if name in given:
            value, option = given[name], name.replace("_", "-")
            if isinstance(value, bool):
                options.append(f"--{option}" if value else f"--no-{option}")
            else:
                options.append(f"--{option} {_text(value)}")
    return options
