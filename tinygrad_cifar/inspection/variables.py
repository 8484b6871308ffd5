"""The names of tensors and arrays in the user's program: variables, elements of containers, attributes of modules."""

from __future__ import annotations

import dis
import sys
from bisect import bisect
from collections.abc import Iterator, Mapping
from itertools import islice
from types import CodeType, FrameType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tinygrad_cifar.engine.graph import Value
from tinygrad_cifar.engine.locations import is_library_frame
from tinygrad_cifar.nn.module import Module

_DEPTH = 3  # of containers inside each other
_ITEMS = 1000  # of one container that are looked at
_NOTEBOOK_HISTORY = frozenset({"In", "Out"})

Names = Iterator[tuple[str, Any]]


def user_frames(frame: FrameType | None, outermost: FrameType | None = None) -> Iterator[FrameType]:
    """Yield the frames of the user's program that led to ``frame``, the innermost first, up to ``outermost``."""
    while frame is not None and frame is not outermost:
        if not is_library_frame(frame):
            yield frame
        frame = frame.f_back


def read_variables(frame: FrameType) -> dict[str, Any]:
    """Return the local variables of a frame, without keeping them alive after it has dropped them.

    Until CPython 3.12 a function's frame keeps the dictionary that ``f_locals`` returns, with references to all
    variables. It is emptied, unless the program itself refers to it, as after ``locals()``.
    """
    variables = frame.f_locals
    copy = dict(variables)
    is_kept = sys.version_info < (3, 13) and sys.implementation.name == "cpython"
    if is_kept and frame.f_code.co_flags & _OPTIMIZED and sys.getrefcount(variables) <= _UNSHARED:
        variables.clear()
    return copy


_OPTIMIZED = 0x1  # a code object's flag: the local variables are not in a dictionary
_UNSHARED = 3  # references to the dictionary: the frame's, the variable above, the argument of getrefcount


def tensors_in(variables: Mapping[str, Any]) -> Names:
    """Yield the tensors, arrays and modules among variables, and inside containers, each with the name it has there."""
    for name, value in variables.items():
        if not name.startswith("_") and name not in _NOTEBOOK_HISTORY:
            yield from _inside(name, value, _DEPTH)


def _inside(name: str, value: Any, depth: int) -> Names:
    if isinstance(value, (Value, np.ndarray, Module)):
        yield name, value
    elif depth and type(value) in (list, tuple):
        for i, item in enumerate(islice(value, _ITEMS)):
            yield from _inside(f"{name}[{i}]", item, depth - 1)
    elif depth and isinstance(value, dict):
        for key, item in islice(list(value.items()), _ITEMS):
            if isinstance(key, (str, int)):
                yield from _inside(f"{name}[{key!r}]", item, depth - 1)


def submodules(module: Module, name: str) -> dict[str, Module]:
    """Return a module and the modules inside it, each once, by their dotted names."""
    found: dict[str, Module] = {}
    pending = [(name, module)]
    while pending:
        path, current = pending.pop()
        if not any(current is other for other in found.values()):
            found[path] = current
            pending += [(join_names(path, inner), child) for inner, child in current._nested()]
    return found


def join_names(module: str, attribute: str) -> str:
    """Return the name of an attribute of a module; that of ``self`` is the attribute alone."""
    return f"{module}.{attribute}" if module else attribute


def module_name(variable: str) -> str:
    """Return the name of a module that is found under a variable."""
    return "" if variable == "self" else variable


# -- names of results --------------------------------------------------------------------------------------------------


def assigned_variable(frame: FrameType, outermost: FrameType | None = None) -> tuple[str, FrameType | None]:
    """Return the variable to which the result of a call is about to be assigned, and the frame that was called.

    The innermost frame of the user's program, or of a model of the course, is examined; where it returns the result,
    the one that called it, up to ``outermost``. The name is empty if the result is used otherwise. It is read from the
    instruction after the call.
    """
    current: FrameType | None = frame
    below: FrameType | None = None
    while current is not None and current is not outermost:
        if not is_library_frame(current) or current.f_globals.get("__name__") == _MODELS:
            follows = _use_of_result(current.f_code, current.f_lasti)
            if follows is not _RETURN:
                return follows or "", below
        below, current = current, current.f_back
    return "", None


_MODELS = "tinygrad_cifar.course.models"
_RETURN: Any = object()
_NOT_EXECUTED = frozenset({"CACHE", "COPY", "DUP_TOP", "EXTENDED_ARG", "NOP"})
_uses: WeakKeyDictionary[CodeType, tuple[list[int], list[Any]]] = WeakKeyDictionary()


def _use_of_result(code: CodeType, position: int) -> Any:
    """Return the variable to which the result of an instruction is assigned, _RETURN, or None for another use.

    The position may be in the cache that follows the instruction.
    """
    if code not in _uses:
        instructions = [one for one in dis.get_instructions(code) if one.opname not in _NOT_EXECUTED]
        uses = [*map(_use_of_operand, instructions[1:]), None]
        _uses[code] = [one.offset for one in instructions], uses
    offsets, uses = _uses[code]
    return uses[max(bisect(offsets, position) - 1, 0)]


def _use_of_operand(instruction: dis.Instruction) -> Any:
    if instruction.opname.startswith(_ASSIGNMENTS):
        name = instruction.argval
        return name[0] if isinstance(name, tuple) else name
    return _RETURN if instruction.opname.startswith("RETURN") else None


_ASSIGNMENTS = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR")
