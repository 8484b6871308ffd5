"""Declarations of settings: one per dataclass field, from which checks, options and texts follow.

A field that is made with :func:`setting` declares its meaning, range and conditions. :func:`declared_fields` returns
these declarations with the name, type and default of the dataclass field, and :func:`document_fields` writes them into
the docstring of the class.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from tinygrad_cifar.system.arguments import listed

MAX_INTEGER = 2**63 - 1

_MAX_QUOTED = 100

_Class = TypeVar("_Class", bound=type)
_TYPES: dict[str, type] = {"bool": bool, "float": float, "int": int, "str": str, "tuple[int, ...]": int}
_TRUTHS = {"yes": True, "no": False, "true": True, "false": False}


@dataclass(frozen=True)
class SettingField:
    """The declaration of one setting.

    Attributes
    ----------
    name
        Name of the dataclass field.
    annotation
        Its type, as text.
    default
        Its default value.
    meaning : str
        Noun phrase or imperative, for the help of the option and the docstring.
    group : str
        Title under which the option is listed. If empty, the setting is not an option.
    choices : sequence of str
        The allowed values of a setting of type str.
    words : sequence of str
        The allowed values of a setting of type bool besides True and False.
    at_least : float, optional
        Lower bound of a number, or of each element of a tuple.
    at_most : float, optional
        Upper bound, included.
    below : float, optional
        Upper bound, excluded.
    only_with : mapping of str to sequence of str
        Other settings, and the values of them with which this setting has an effect.
    is_strict : bool
        If True, a value other than the default is an error where the setting has no effect.
    label : str or callable, optional
        Format of the value in a one-line description. If it starts with a space, it continues the setting before. If
        None, the setting is left out.
    is_always_shown : bool
        If False, the setting is left out of the description when it has its default value.
    old_name : str
        The name in earlier versions, if it was another.
    long_name : str
        A second name of the option, for a name that does not explain itself.
    is_basic : bool
        If True, the option is in the short help.
    was_added : bool
        Whether earlier versions did not have the setting. With its default value it is left out of identities, so that
        files of those versions are recognised.
    """

    name: str
    annotation: str
    default: Any
    meaning: str
    group: str = ""
    choices: Sequence[str] = ()
    words: Sequence[str] = ()
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    only_with: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_strict: bool = False
    label: str | Callable[[Any], str] | None = None
    is_always_shown: bool = False
    old_name: str = ""
    long_name: str = ""
    is_basic: bool = False
    was_added: bool = False

    @property
    def option(self) -> str:
        """The option of the command line, as ``--batch-size``."""
        return option_of(self.name)

    @property
    def options(self) -> tuple[str, ...]:
        """All names of the option."""
        return tuple(map(option_of, filter(None, (self.name, self.long_name))))

    @property
    def is_optional(self) -> bool:
        """Whether None is allowed."""
        return self.annotation.endswith(" | None")

    @property
    def is_tuple(self) -> bool:
        """Whether the value is a tuple."""
        return self.annotation.startswith("tuple")

    @property
    def type(self) -> type:
        """The type of the value, or of the elements of a tuple."""
        return _TYPES[self.annotation.removesuffix(" | None").removesuffix(" | str")]

    @property
    def requirement(self) -> str:
        """The allowed values, as a phrase that follows "must be"."""
        noun = "a tuple of integers" if self.is_tuple else self._noun
        return f"{noun}{self._range()}{' or None' * self.is_optional}"

    @property
    def element_requirement(self) -> str:
        """The allowed values of an option, as a phrase that follows "must be"; of a tuple, those of an element."""
        return f"{self._noun}{self._range()}"

    @property
    def _noun(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.type is bool:
            return self._truths("True", "False")
        return "an integer" if self.type is int else "a finite number"

    def _truths(self, yes: str, no: str) -> str:
        return listed([yes, no, *self.words], "or")

    def _range(self) -> str:
        if self.at_least is None:
            return ""
        if self.below is not None:
            return f" from {self.at_least:g} up to, but excluding, {self.below:g}"
        if self.at_most is not None:
            return f" from {self.at_least:g} to {self.at_most}"
        return f", at least {self.at_least:g}"

    def refusal(self, value: object) -> str:
        """Return why a value is not accepted, as a phrase that follows the name of the setting.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import SETTINGS
        >>> SETTINGS["epochs"].refusal(0), SETTINGS["seed"].refusal(2**63)
        ('must be an integer, at least 1; got 0', 'must be less than 2**63')
        """
        if self.at_most is None and isinstance(value, int) and value > MAX_INTEGER:
            return "must be less than 2**63"
        return f"must be {self.requirement}; got {value!r:.{_MAX_QUOTED}}"

    def accepts(self, value: object) -> bool:
        """Return whether a value has the type and is in the range."""
        if value is None or self.choices:
            return self.is_optional if value is None else value in self.choices
        if isinstance(value, str) and value in self.words:
            return True
        if self.is_tuple:
            return isinstance(value, tuple) and all(map(self._accepts_element, value))
        return self._accepts_element(value)

    def _accepts_element(self, value: object) -> bool:
        if self.type is bool or isinstance(value, bool):
            return self.type is bool and isinstance(value, bool)
        if not isinstance(value, (int, float) if self.type is float else self.type):
            return False
        number: Any = value
        upper = MAX_INTEGER if self.at_most is None and self.type is int else self.at_most
        return (
            abs(number) <= sys.float_info.max  # not NaN, infinite, or an integer that no float can hold
            and (self.at_least is None or number >= self.at_least)
            and (upper is None or number <= upper)
            and (self.below is None or number < self.below)
        )

    def parse(self, text: str) -> Any:
        """Return the value that a text means; the elements of a tuple are joined by ``+``.

        Raises
        ------
        ValueError
            If the text does not have the type. Its range is not checked.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import SETTINGS
        >>> SETTINGS["hidden"].parse("200+100"), SETTINGS["eta"].parse("0.1"), SETTINGS["flip"].parse("yes")
        ((200, 100), 0.1, True)
        """
        try:
            if self.is_tuple:
                return tuple(map(self.type, text.split("+")))
            if text in self.words:
                return text
            return _TRUTHS[text.lower()] if self.type is bool else self.type(text)
        except (KeyError, ValueError):
            truths = self._truths("yes", "no")
            wanted = "integers joined by +" if self.is_tuple else truths if self.type is bool else self._noun
            wanted += "" if self.is_tuple else self._range()
            raise ValueError(f"{self.name} must be {wanted}; got {text!r}") from None

    def parse_element(self, text: str) -> Any:
        """Parse a value given on the command line; for a tuple, one element of it.

        Raises
        ------
        ValueError
            If the word does not have the type, or is not in the range. The message does not name the setting.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import SETTINGS
        >>> SETTINGS["hidden"].parse_element("0")
        Traceback (most recent call last):
            ...
        ValueError: must be an integer from 1 to 100000; got '0'
        """
        try:
            value = self.type(text)
        except ValueError:
            value = None
        if value is None or not self._accepts_element(value):
            if isinstance(value, int) and self.at_most is None and value > MAX_INTEGER:
                raise ValueError(self.refusal(value))
            raise ValueError(f"must be {self.element_requirement}; got {shorten(text)}")
        return value

    def has_effect(self, values: Mapping[str, Any]) -> bool:
        """Return whether the setting has an effect beside the other settings.

        Examples
        --------
        >>> from tinygrad_cifar.course.settings import SETTINGS
        >>> SETTINGS["eta_min"].has_effect({"schedule": "cosine"}), SETTINGS["eta_min"].has_effect({"schedule": "step"})
        (True, False)
        """
        return all(values[other] in allowed for other, allowed in self.only_with.items())

    def describe(self, values: Mapping[str, Any]) -> str:
        """Return the setting as part of a one-line description; empty if it is left out of it."""
        value = values[self.name]
        is_shown = self.is_always_shown or value != self.default
        if self.label is None or not is_shown or not self.has_effect(values):
            return ""
        value = " ".join(map(str, value)) if self.is_tuple else value
        return self.label(value) if callable(self.label) else self.label.format(value)


def shorten(text: str) -> str:
    """Return a text in quotation marks, for a message; a long one without its middle.

    Examples
    --------
    >>> from tinygrad_cifar.course.setting_fields import shorten
    >>> shorten("9" * 5000)
    "'99999999999999999999...99999999999999999999'"
    """
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:20]}...{text[-20:]}")


def format_value(value: object, *, digits: int | None = None, separator: str = " ") -> str:
    """Return a value of a setting as it is given: yes or no, and several values with a separator.

    Parameters
    ----------
    value : object
    digits : int, optional
        Significant digits of a float. Default: as many as identify it.
    separator : str
        Between the elements of a tuple. Default: a space.

    Examples
    --------
    >>> from tinygrad_cifar.course.setting_fields import format_value
    >>> format_value((200, 100)), format_value(True), format_value(0.0123456, digits=4)
    ('200 100', 'yes', '0.01235')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return separator.join(map(str, value))
    return f"{value:.{digits}g}" if digits and isinstance(value, float) else str(value)


def option_of(name: str) -> str:
    """Return the option of a setting.

    Examples
    --------
    >>> from tinygrad_cifar.course.setting_fields import option_of
    >>> option_of("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def setting(default: Any, meaning: str, **declaration: Any) -> Any:
    """Return a dataclass field with the declaration of a setting; see :class:`SettingField` for the arguments.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from tinygrad_cifar.course.setting_fields import declared_fields, setting
    >>> @dataclass
    ... class Walk:
    ...     speed: float = setting(1.0, "speed in m/s", at_least=0, below=10)
    >>> speed = declared_fields(Walk)["speed"]
    >>> speed.requirement, speed.accepts(3), speed.accepts(10)
    ('a finite number from 0 up to, but excluding, 10', True, False)
    """
    return field(default=default, metadata={"meaning": meaning, **declaration})


def declared_fields(cls: type) -> dict[str, SettingField]:
    """Return the declarations of a dataclass by name; every field must be made with :func:`setting`."""
    return {f.name: SettingField(f.name, _annotation(f.type), f.default, **f.metadata) for f in fields(cls)}


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def document_fields(cls: _Class) -> _Class:
    """Append the declared fields to the docstring of a dataclass."""
    lines = [inspect.cleandoc(cls.__doc__ or ""), "", "Attributes", "----------"]
    for f in declared_fields(cls).values():
        sentences = [f.meaning, f.requirement]
        sentences += [f"only with {other} {' or '.join(values)}" for other, values in f.only_with.items()]
        lines.append(f"{f.name} : {f.annotation}")
        lines.extend(f"    {sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
        lines.append(f"    Default: {f.default!r}.")
    cls.__doc__ = "\n".join(lines)
    return cls
