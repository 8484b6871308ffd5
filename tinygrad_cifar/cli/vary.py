"""The option ``--vary``: a setting and the values to try, as ``eta=log:0.001:0.1`` or ``hidden=grid:50,200+100``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from tinygrad_cifar.cli.settings import OPTIONS, SYNONYMS
from tinygrad_cifar.course.setting_fields import format_value
from tinygrad_cifar.course.settings import OLD_NAMES
from tinygrad_cifar.search.space import Choice, Dimension, LogUniform, SearchError, Space, Uniform, Value
from tinygrad_cifar.system.arguments import suggest

FORMS = "NAME=log:LOW:HIGH[:N], NAME=lin:LOW:HIGH[:N] or NAME=grid:A,B,..."

_MAX_POINTS = 10_000
_LONG_NAMES = {field.long_name: name for name, field in OPTIONS.items() if field.long_name}
_SYNONYMS = {name[2:].replace("-", "_"): option[2:].replace("-", "_") for name, option in SYNONYMS.items()}
_RANGES = {"log": LogUniform, "lin": Uniform}


def parse_vary(text: str) -> tuple[str, Dimension]:
    """Parse one ``--vary``.

    Raises
    ------
    argparse.ArgumentTypeError
        If the text is invalid.

    Examples
    --------
    >>> from tinygrad_cifar.cli.vary import parse_vary
    >>> parse_vary("eta=log:0.001:0.1")
    ('eta', LogUniform(low=0.001, high=0.1, points=None))
    >>> parse_vary("hidden=grid:50,200+100")
    ('hidden', Choice(values=((50,), (200, 100))))
    """
    name, equals, dimension = text.partition("=")
    name = name.replace("-", "_")
    name = _LONG_NAMES.get(name, name)
    form, colon, values = dimension.partition(":")
    if not equals or not colon or form not in ("grid", *_RANGES):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form {FORMS}")
    if name in OLD_NAMES:
        raise argparse.ArgumentTypeError(f"the setting {name} is now {OLD_NAMES[name]}")
    if name not in OPTIONS:
        raise argparse.ArgumentTypeError(
            f"unknown setting {name!r} to vary"
            + (suggest(name, OPTIONS, _SYNONYMS) or "; use an option of train, as eta or batch-size")
        )
    try:
        if form == "grid":
            return name, _choice(name, values.split(","))
        return name, _range(name, form, values.split(":"))
    except SearchError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _choice(name: str, parts: list[str]) -> Choice:
    values = [_value(name, part) for part in parts]
    for k, value in enumerate(values):
        if value in values[:k]:
            raise SearchError(f"a grid must have different values; got {format_rounded(value)} more than once")
    return Choice(values)


def _value(name: str, text: str) -> Value:
    try:
        value: Value = OPTIONS[name].parse(text.strip())
    except ValueError as error:
        raise SearchError(str(error)) from error
    return value


def _range(name: str, form: str, parts: list[str]) -> Uniform:
    if OPTIONS[name].type is not float:
        raise SearchError(f"{form} is for real numbers, and {name} must be {OPTIONS[name].requirement}; use grid")
    if len(parts) not in (2, 3):
        raise SearchError(f"a range must be LOW:HIGH or LOW:HIGH:N; got {len(parts)} parts")
    try:
        low, high = map(float, parts[:2])
        points = int(parts[2]) if parts[2:] else None
    except ValueError as error:
        raise SearchError(f"a range must be LOW:HIGH or LOW:HIGH:N, with numbers; got {':'.join(parts)}") from error
    if points is not None and points > _MAX_POINTS:
        raise SearchError(f"a range must have at most {_MAX_POINTS} points; got {points}")
    return _RANGES[form](low, high, points)


def format_rounded(value: Value) -> str:
    """Format a value for a table: as it is typed, but with at most four digits.

    Examples
    --------
    >>> from tinygrad_cifar.cli.vary import format_rounded
    >>> format_rounded(0.0123456), format_rounded((200, 100)), format_rounded(True)
    ('0.01235', '200+100', 'yes')
    """
    return format_value(value, digits=4, separator="+")


def format_point(point: Mapping[str, Value]) -> str:
    """Format a point in one line.

    Examples
    --------
    >>> from tinygrad_cifar.cli.vary import format_point
    >>> format_point({"eta": 0.0123456, "optimiser": "adam"})
    'eta=0.01235 optimiser=adam'
    """
    return " ".join(f"{name}={format_rounded(value)}" for name, value in point.items())


def format_space(space: Space) -> list[str]:
    """Return one line per varied setting.

    Examples
    --------
    >>> from tinygrad_cifar.cli.vary import format_space, parse_vary
    >>> format_space(dict([parse_vary("eta=log:0.001:0.1:5"), parse_vary("lam=grid:0,0.1")]))
    ['eta from 0.001 to 0.1 on a logarithmic scale, 5 points', 'lam 0, 0.1']
    """
    lines = []
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            lines.append(f"{name} {', '.join(map(format_rounded, dimension.values))}")
        else:
            line = f"{name} from {format_rounded(dimension.low)} to {format_rounded(dimension.high)}"
            line += " on a logarithmic scale" if isinstance(dimension, LogUniform) else ""
            lines.append(line + (f", {dimension.points} points" if dimension.points else ""))
    return lines
