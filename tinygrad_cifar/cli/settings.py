"""The options of a training run, and their defaults.

Each option is a field of :class:`tinygrad_cifar.course.settings.Settings`, whose declaration gives its type,
choices and help. The defaults differ by model; they reach a good accuracy on CIFAR-10 and on the built-in data.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tinygrad_cifar.cli.common import table
from tinygrad_cifar.cli.parser import RenamedOption
from tinygrad_cifar.course.convnet import RECIPE
from tinygrad_cifar.course.setting_fields import SettingField, format_value, option_of, shorten
from tinygrad_cifar.course.settings import MODELS, OLD_NAMES, SETTINGS, Settings, SettingsError
from tinygrad_cifar.data import Dataset

OPTIONS = {name: field for name, field in SETTINGS.items() if field.group}

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
    "patchify": {
        "hidden": (50,),
        "init": "he",
        "eta": 0.1,
        "lam": 0.003,
        "schedule": "triangular",
        "cycles": 3,
        "epochs": 12,
    },
    "convnet": RECIPE,
}
# Options of the short help, and the names that other programs give to options.
BASIC = tuple(field.option for field in OPTIONS.values() if field.is_basic)
SYNONYMS = {
    "--lr": "--eta",
    "--learning-rate": "--eta",
    "--rate": "--eta",
    "--lambda": "--lam",
    "--weight-decay": "--lam",
    "--regularisation": "--lam",
    "--layers": "--hidden",
    "--units": "--hidden",
    "--output": "--out",
    "--output-dir": "--out",
    "--dataset": "--data",
    "--data-dir": "--data",
    "--jobs": "--workers",
    "--num-threads": "--threads",
    "--random-state": "--seed",
    "--resume-from": "--resume",
    "--force": "--overwrite",
}
_WITHOUT_DEFAULT = ("n_s", "decay")  # derived from the length of the run; required by the schedules that use it
_VALIDATION_SHARE = 10  # one training image in this number is held out


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting; the namespace has only those that are given."""
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(f.group for f in OPTIONS.values())}
    for name, field in OPTIONS.items():
        text = f"{field.meaning}{_format_default(name)}"
        groups[field.group].add_argument(
            *field.options, dest=name, help=text, default=argparse.SUPPRESS, **_arguments(field)
        )
    for old, present in OLD_NAMES.items():
        parser.add_argument(option_of(old), action=RenamedOption, present=option_of(present))


def _arguments(field: SettingField) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` that follow from the type of a setting."""
    if field.words:
        return {"action": _OptionalWord, "words": field.words}
    if field.type is bool:
        return {"action": argparse.BooleanOptionalAction}
    if field.choices:
        return {"choices": field.choices}
    number: dict[str, Any] = {"type": partial(_parse, field), "metavar": "N" if field.type is int else "X"}
    return number | {"nargs": "+"} if field.is_tuple else number


def _parse(field: SettingField, text: str) -> Any:
    try:
        return field.parse_element(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class _OptionalWord(argparse.BooleanOptionalAction):
    """An option that switches something on or off, or selects a form of it: ``--flip``, ``--flip alternate``."""

    def __init__(self, *, words: Sequence[str], **declared: Any) -> None:
        super().__init__(**declared)
        self.nargs, self.metavar, self.words = "?", "|".join(words), words

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, word: Any, option: str | None = ""
    ) -> None:
        is_off = option is not None and option.startswith("--no-")
        if word is not None and (is_off or word not in self.words):
            wanted = "have no value" if is_off else f"have no value, or be {' or '.join(self.words)}"
            parser.error(f"{option} must {wanted}; got {shorten(word)}")
        setattr(namespace, self.dest, not is_off if word is None else word)


def _format_default(name: str) -> str:
    """Return the end of an option's help: its default, if that is the same for all models and switches something on."""
    values = {_defaults(model)[name] for model in MODELS}
    if len(values) > 1 or not any(values) or name in _WITHOUT_DEFAULT:
        return ""
    return f" (default: {format_value(*values)})"


def table_of_defaults() -> str:
    """Return a table of the defaults that differ by model."""
    defaults = [_defaults(model) for model in MODELS]
    rows = [
        [field.option, *(format_value(values[name]) * field.has_effect(values) or "-" for values in defaults)]
        for name, field in OPTIONS.items()
        if len({values[name] for values in defaults}) > 1
    ]
    return table(["", *MODELS], rows)


def _defaults(model: str) -> dict[str, Any]:
    return {name: field.default for name, field in SETTINGS.items()} | _COMMON | DEFAULTS[model] | {"model": model}


def explicit_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the user gave, in the order of the options."""
    given = {name: getattr(options, name) for name in OPTIONS if hasattr(options, name)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def settings_from(options: argparse.Namespace, dataset: Dataset) -> Settings:
    """Return the settings that the options mean on a data set.

    Raises
    ------
    SettingsError
        If they contradict each other, or if one of them has no effect.
    """
    given = explicit_settings(options)
    settings = complete_settings(options.model, given, batch_sizes(dataset))
    for message in find_unused(options.model, given).values():
        raise SettingsError(message)
    return settings


def find_unused(model: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each given setting that has no effect, a message that says so.

    Examples
    --------
    >>> from tinygrad_cifar.cli.settings import find_unused
    >>> find_unused("softmax", {"n_s": 500, "lam": 0.1})
    {'n_s': '--n-s has no effect with --schedule cosine; it is for triangular or step'}
    """
    values = _defaults(model) | dict(given)
    messages = {}
    for name, field in OPTIONS.items():
        if name in given and not field.has_effect(values):
            other, allowed = next((o, a) for o, a in field.only_with.items() if values[o] not in a)
            where = f"{option_of(other) if other in OPTIONS else f'the {other}'} {values[other]}"
            messages[name] = f"{field.option} has no effect with {where}; it is for {' or '.join(allowed)}"
    return messages


def batch_sizes(dataset: Dataset) -> tuple[int, ...]:
    """Return the number of images in each training batch, on which the defaults depend."""
    return tuple(map(len, dataset.training_batches))


def complete_settings(model: str, given: Mapping[str, Any], sizes: Sequence[int]) -> Settings:
    """Return the settings of a run, the given ones completed by the defaults.

    Parameters
    ----------
    model : str
        One of :data:`tinygrad_cifar.course.settings.MODELS`.
    given : mapping
        Settings by name.
    sizes : sequence of int
        Number of images in each training batch.

    Raises
    ------
    SettingsError
        If the settings contradict each other.

    Examples
    --------
    >>> from tinygrad_cifar.cli.settings import complete_settings
    >>> settings = complete_settings("two-layer", {"epochs": 5, "batch_size": 100}, [2000] * 5)
    >>> settings.validation_size, settings.n_s  # a tenth of the images; half of 5 epochs with 90 updates each
    (1000, 225)
    """
    values = _defaults(model) | dict(given)
    for name, field in OPTIONS.items():  # a default of the model must not contradict the given settings
        if field.is_strict and name not in given and not field.has_effect(values):
            values[name] = field.default
    if "border" not in given and not values["shift"] and values["views"] not in ("six", "fifty"):
        values["border"] = SETTINGS["border"].default
    if "smoothing" not in given and (values["q"] or values["loss"] != "cross-entropy"):
        values["smoothing"] = SETTINGS["smoothing"].default
    if "eta_min" not in given and values["eta_min"] > values["eta"]:
        values["eta_min"] = 0.0
    # A batch that does not exist counts no images here; reading it raises the error.
    images = sum(size for i, size in enumerate(sizes, start=1) if i in values["train_batches"])
    if "validation_size" not in given and values["validation_batch"] is None:
        values["validation_size"] = images // _VALIDATION_SHARE
    settings = Settings(**values)
    if settings.schedule in ("exponential", "step") and settings.decay == 1:
        raise SettingsError(f"<schedule> {settings.schedule} needs <decay>, the factor of the learning rate")
    if settings.schedule in ("triangular", "step") and "n_s" not in given:
        steps = settings.epochs * -(-(settings.train_size or images - settings.validation_size) // settings.batch_size)
        half_cycles = replace(settings, n_s=1).steps_of_cycles or 2
        settings = replace(settings, n_s=max(1, steps // half_cycles))
    return settings


def format_options(given: Mapping[str, Any]) -> list[str]:
    """Return the options that give some settings, each with its values, as ``train`` takes them.

    Examples
    --------
    >>> from tinygrad_cifar.cli.settings import format_options
    >>> format_options({"flip": False, "n_s": 500, "hidden": (200, 100)})
    ['--hidden 200 100', '--n-s 500', '--no-flip']
    """
    options = []
    for name in OPTIONS:
        if name in given:
            value, option = given[name], option_of(name)
            if isinstance(value, bool):
                options.append(option if value else option_of(f"no_{name}"))
            else:
                options.append(f"{option} {format_value(value)}")
    return options
