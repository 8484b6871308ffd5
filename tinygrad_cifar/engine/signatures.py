"""Argument names and defaults of functions, without the cost of importing :mod:`inspect` for ordinary ones."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np


def argument_names(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the positional arguments of a function; ``name`` is for the error message.

    Raises
    ------
    TypeError
        If the arguments have no names, as those of some functions that are written in C.
    """
    function = unwrap_function(function)
    if isinstance(function, np.ufunc):
        return ("x", "y")[: function.nin]
    if isinstance(function, FunctionType):
        return function.__code__.co_varnames[: function.__code__.co_argcount]
    return tuple(_parameters(name, function))


def argument_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the default values of the arguments that have one."""
    function = unwrap_function(function)
    if isinstance(function, np.ufunc):
        return {}
    if isinstance(function, FunctionType):
        values = function.__defaults__ or ()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        return dict(zip(names[len(names) - len(values) :], values, strict=True))
    found = _parameters("", function)
    return {name: parameter.default for name, parameter in found.items() if parameter.default is not parameter.empty}


def unwrap_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that decorators have wrapped."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _parameters(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    import inspect  # noqa: PLC0415 (importing it takes longer than making the whole table, which never needs it)

    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise TypeError(f"{name}: the arguments of {function!r} have no names; wrap it in a lambda") from None
    return {name: p for name, p in found.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)}
