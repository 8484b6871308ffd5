"""Which arrays may be shared, and which must be copied, so that the arrays saved in a graph never change.

A VJP is applied long after its primitive. It must find the values of that time, whatever the program has done since
with its own arrays, and whatever a user-defined primitive does to the arrays that it receives.

An array can be reused without a copy only if nothing else refers to it. CPython counts references, so the engine asks:
:func:`is_shared`, :func:`is_held_elsewhere`, :func:`is_local`, :func:`take_temporary`. On an interpreter that does not
count references (PyPy, for example) every array is taken to be shared: more arrays are copied, and every result is the
same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import Array, Value

# Immutable operands, such as an axis, a shape or an index: they need no copy.
_IMMUTABLE = frozenset({bool, int, float, str, slice, type(None), type(...)})


def copy_arrays(operand: Any) -> Any:
    """Return an operand that is not a value with its arrays copied, to be saved in the graph.

    The array of a tensor is not written to while a graph holds it, but the caller may write to an array of its own at
    any time before the backward pass. A read-only array is copied as well: it may be a view of one that can be written
    to.
    """
    kind = type(operand)
    if kind in _IMMUTABLE or (kind is tuple and _IMMUTABLE.issuperset(map(type, operand))):
        return operand
    if kind is tuple or kind is list:
        return kind([copy_arrays(part) for part in operand])
    if kind is dict:
        return {name: copy_arrays(part) for name, part in operand.items()}
    return np.array(operand) if isinstance(operand, np.ndarray) else operand


def make_read_only(array: Array) -> None:
    """Make an array and the arrays that it is a view of read-only; a view alone could be made writeable again."""
    array.flags.writeable = False
    while isinstance(array.base, np.ndarray):
        array = array.base
        array.flags.writeable = False


# -- reference counts --------------------------------------------------------------------------------------------------

COUNTS_REFERENCES = sys.implementation.name == "cpython" and hasattr(sys, "getrefcount")


def is_shared(value: Value) -> bool:
    """Return whether anything but ``value`` itself refers to its array: a graph, a view, a variable."""
    if not COUNTS_REFERENCES:
        return True
    return sys.getrefcount(value._array) > _OF_A_VALUE or value._array.base is not None


def is_held_elsewhere(array: Array) -> bool:
    """Return whether anything but one variable refers to an array; to be called by the function that was given it."""
    if not COUNTS_REFERENCES:
        return True
    return sys.getrefcount(array) > _OF_AN_ARGUMENT


def is_local(array: Array) -> bool:
    """Return whether nothing but one local variable of the calling function refers to an array and its memory."""
    return (
        COUNTS_REFERENCES
        and type(array) is np.ndarray
        and array.base is None
        and array.flags.writeable
        and sys.getrefcount(array) <= _OF_A_LOCAL
    )


def take_temporary(array: Any, dtype: np.dtype[Any]) -> bool:
    """Return whether a property setter may keep what it was given without a copy, and make it read-only in that case.

    It may keep a new array of this dtype to which nothing else will refer when it has returned, as that of
    ``t.data = t.data - g``; the setter must have no other name for it. If a reference was not
    counted, writing to the array raises ValueError.
    """
    if not COUNTS_REFERENCES or _OF_AN_ASSIGNED >= _OF_AN_ASSIGNED_VARIABLE:
        return False
    is_new = type(array) is np.ndarray and array.base is None and array.flags.writeable and array.dtype is dtype
    if not is_new or sys.getrefcount(array) > _OF_AN_ASSIGNED:
        return False
    array.flags.writeable = False
    return True


# The counts that mean "not shared" depend on the version of Python, so they are measured on arrays that are not shared.


def _count_of_a_value() -> int:
    value = Value()
    value._array = np.zeros(1)
    return sys.getrefcount(value._array)


def _count(array: Any) -> int:
    return sys.getrefcount(array)


def _count_of_an_argument() -> int:
    def public_function(array: Array) -> int:
        return _count(array)

    variable = np.zeros(1)
    return public_function(variable)


def _count_of_a_local() -> int:
    local = np.zeros(1)
    return _count(local)


def _count_of_a_result() -> int:
    return _count(np.zeros(1))


class _Counter:
    """Counts the references to what is assigned to its attribute."""

    count = 0

    def _set(self, array: Array) -> None:
        self.count = _count(array)

    array: Any = property(None, _set)


def _counts_of_assignments() -> tuple[int, int]:
    """Return the references to a new array that is assigned to an attribute, and to a variable that is."""
    of_new, of_variable = _Counter(), _Counter()
    of_new.array = np.zeros(1)
    variable = np.zeros(1)
    of_variable.array = variable
    return of_new.count, of_variable.count


if COUNTS_REFERENCES:
    _OF_A_VALUE = _count_of_a_value()
    _OF_A_LOCAL = _count_of_a_local()
    _OF_AN_ARGUMENT = _count_of_an_argument()
    _OF_A_RESULT = _count_of_a_result()
    _OF_AN_ASSIGNED, _OF_AN_ASSIGNED_VARIABLE = _counts_of_assignments()


# -- user-defined primitives -------------------------------------------------------------------------------------------


def isolate(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that receives read-only arrays and whose results are not shared with anything."""

    @wraps(function, assigned=())
    def isolated(*arguments: Any) -> Any:
        return _copy_if_shared(function(*map(_read_only_view, arguments)))

    return isolated


def _read_only_view(argument: Any) -> Any:
    if type(argument) is not np.ndarray:
        return argument
    view = argument.view()
    view.flags.writeable = False
    return view


def _copy_if_shared(result: Any) -> Any:
    """Return a result, copied unless it is a new array: it may be an argument of the function, or a constant."""
    if type(result) is tuple:
        return tuple([_copy_if_shared(part) for part in result])
    if not isinstance(result, np.ndarray):
        return result
    is_new = (
        COUNTS_REFERENCES
        and result.base is None
        and result.flags.writeable
        and sys.getrefcount(result) <= _OF_A_RESULT
        and type(result) is np.ndarray
    )
    return result if is_new else np.array(result)


def require_float_result(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a computation that raises TypeError if floating-point inputs give an integer or complex result."""

    @wraps(forward, assigned=())
    def checked(*arguments: Any) -> Any:
        result = forward(*arguments)
        kinds = {argument.dtype.kind for argument in arguments if isinstance(argument, np.ndarray)}
        dtype = np.asarray(result[0] if type(result) is tuple else result).dtype
        if "f" in kinds and "c" not in kinds and dtype.kind in "iubc":
            raise TypeError(f"the result is {dtype} for floating-point inputs, so it has no derivative")
        return result

    return checked


def require_results(forward: Callable[..., Any], aux: str | None) -> Callable[..., Any]:
    """Return a computation that raises TypeError unless it returns one array, or two with an auxiliary output."""

    @wraps(forward, assigned=())
    def checked(*arguments: Any) -> Any:
        result = forward(*arguments)
        if aux is None and isinstance(result, (tuple, list)):
            raise TypeError(
                f"the computation must return one array; got a {type(result).__name__} of {len(result)} (make one "
                "primitive for each; a second result that only the VJP needs is named by aux=)"
            )
        if aux is not None and not (isinstance(result, tuple) and len(result) == 2):  # noqa: PLR2004 (as it says)
            raise TypeError(f"with aux={aux!r} the computation must return a tuple of two arrays: the result and {aux}")
        return result

    return checked


def explain_missing_aux(name: str, vjp: Callable[..., Any], aux: str, place: int) -> Callable[..., Any]:
    """Return a VJP whose errors say, while it is recorded, that it has received None for the auxiliary output."""

    @wraps(vjp, assigned=())
    def explained(*arguments: Any) -> Any:
        try:
            return vjp(*arguments)
        except Exception as error:
            if arguments[place] is not None:
                raise
            raise TypeError(
                f"{name}: to be differentiated again, its VJP must not need {aux}: it then receives None for it, and "
                f"must compute it from the arguments ({type(error).__name__}: {error})"
            ) from error

    return explained
