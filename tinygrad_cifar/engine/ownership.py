"""What a graph holds is nobody else's: arrays of the caller's are copied, and a user's functions are kept off its own.

A rule is applied long after its operation was computed. It must find the numbers of that time, whatever the program has
done since with the arrays that it gave, and whatever a user's own computation or rule would do to those of others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

# An axis, a shape, an index: what cannot be changed, and is found out fastest.
_FIXED = frozenset({bool, int, float, str, slice, type(None), type(...)})


def copy_arrays(operand: Any) -> Any:
    """Return what the graph may keep of an operand that is no value: copies of its arrays.

    A tensor's array is never written to while the graph holds it; an array of the caller's may be, at any time before
    the backward pass. That an array is read-only does not help: its owner can write to what it is a view of.
    """
    kind = type(operand)
    if kind in _FIXED or (kind is tuple and _FIXED.issuperset(map(type, operand))):
        return operand
    if kind is tuple or kind is list:
        return kind([copy_arrays(part) for part in operand])
    if kind is dict:
        return {name: copy_arrays(part) for name, part in operand.items()}
    return np.array(operand) if isinstance(operand, np.ndarray) else operand


# -- a user's functions ------------------------------------------------------------------------------------------------


def isolate(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that cannot write into what it is given, and has let go of what it returns."""

    @wraps(function, assigned=())
    def safe(*arguments: Any) -> Any:
        return _let_go(function(*map(_read_only, arguments)))

    return safe


def _read_only(argument: Any) -> Any:
    if type(argument) is not np.ndarray:
        return argument
    view = argument.view()
    view.flags.writeable = False
    return view


def _references(result: Any) -> int:
    return sys.getrefcount(result)


_FRESH = _references(np.zeros(1))  # as Python counts them for an array that nobody has kept


def _let_go(result: Any) -> Any:
    """Return an array itself if nobody else can have it, and otherwise a copy: it may be an argument, or a constant."""
    if type(result) is tuple:
        return tuple([_let_go(part) for part in result])
    if not isinstance(result, np.ndarray):
        return result
    is_fresh = result.base is None and result.flags.writeable and sys.getrefcount(result) <= _FRESH
    return result if is_fresh and type(result) is np.ndarray else np.array(result)


def require_float_result(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a computation that refuses to make whole or complex numbers of floating-point ones: it has derivatives."""

    @wraps(forward, assigned=())
    def computed(*arguments: Any) -> Any:
        result = forward(*arguments)
        kinds = {argument.dtype.kind for argument in arguments if isinstance(argument, np.ndarray)}
        dtype = np.asarray(result[0] if type(result) is tuple else result).dtype
        if "f" in kinds and "c" not in kinds and dtype.kind in "iubc":
            raise TypeError(f"the computation returned {dtype} for floating-point numbers, which has no derivative")
        return result

    return computed
