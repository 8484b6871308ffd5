"""NumPy's functions applied to tensors: ``np.exp(t)``, ``np.sum(t)``, ``array * t``.

NumPy calls :func:`call_ufunc` and :func:`call_function` through the methods ``__array_ufunc__`` and
``__array_function__`` of a tensor (NEP 13, NEP 18). A function of NumPy is one of these:

- It has an operation of the same name, which is called with NumPy's arguments under the names of the operation's.
- It has no gradient, since its result consists of integers or booleans, or since it takes only the shape and type of
  the tensor. It is applied to the arrays.
- It raises TypeError with the line to write instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from opcode import opmap
from operator import index
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import Value, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return the result of a ufunc for tensors; raise TypeError if it is not supported."""
    if method == "__call__":
        operation = _UFUNCS.get(ufunc)
        if operation is not None:
            if options:
                options = _without_defaults(ufunc.__name__, options, operation)
            return operation(*inputs, **options)
        if ufunc in _PREDICATES and not options:
            return ufunc(*map(unwrap_value, inputs))
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    raise _not_supported(name)


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of another function of NumPy for tensors; raise TypeError if it is not supported."""
    operation = _FUNCTIONS.get(function)
    if operation is not None:
        if len(args) == 1 and not kwargs:
            return operation(args[0])
        args, kwargs = _translate(function, operation, args, kwargs)
        return operation(*args, **kwargs)
    if function in _ADAPTERS:
        return _ADAPTERS[function](*args, **kwargs)
    if function in _WITHOUT_GRADIENT and not isinstance(_differentiable_argument(function, args, kwargs), Value):
        return function(*_unwrap_all(args), **{name: _unwrap_all(value) for name, value in kwargs.items()})
    raise _not_supported(_name(function))


def _differentiable_argument(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the argument whose gradient a function without gradients would lose; None without one."""
    name, place = _LOSES_GRADIENT_OF.get(function, ("weights", len(args)))
    return kwargs.get(name, args[place] if place < len(args) else None)


# -- arguments ---------------------------------------------------------------------------------------------------------

# NumPy's names of arguments, and the operations' names for the same. The first that the operation has is taken.
_RENAMED = {
    "A": ("x",),
    "a": ("x",),
    "a_max": ("max",),
    "a_min": ("min",),
    "arr": ("x",),
    "array": ("x",),
    "arrays": ("xs", "arrays"),
    "ary": ("x",),
    "b": ("y",),
    "choicelist": ("choices",),
    "condlist": ("conditions",),
    "correction": ("ddof",),
    "f": ("x",),
    "m": ("x",),
    "tup": ("xs",),
    "v": ("y", "x"),
    "x1": ("x",),
    "x2": ("y",),
}
# Arguments that do not change the value of the result.
_WITHOUT_EFFECT = frozenset({"casting", "copy", "device", "kind", "optimize", "overwrite_input", "stable", "subok"})
_REMEDIES = {
    "out": "a result is a new tensor: write y = np.{name}(...), or apply the function to arrays such as t.data",
    "where": "choose elements with np.where(...), before or after",
    "dtype": "convert with t.astype(...)",
    "order": "elements are taken in C order",
    "initial": "add, multiply or compare it afterwards",
}


def _translate(
    function: Callable[..., Any], operation: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return NumPy's arguments as arguments of the operation; raise TypeError for those that it does not have."""
    defaults, known = _parameters(function), _names(operation)
    names = list(defaults)
    name = _name(function)
    if len(args) > len(names):
        raise TypeError(f"np.{name} of tensors: takes at most {len(names)} arguments; got {len(args)}")
    given = dict(zip(names, args, strict=False))
    if twice := sorted(set(given) & set(kwargs)):
        raise TypeError(f"np.{name} of tensors: the argument {twice[0]} is given twice")
    translated = {}
    for argument, value in (given | kwargs).items():
        target = next((new for new in (*_RENAMED.get(argument, ()), argument) if new in known), None)
        if target is None:
            _require_default(name, argument, value, defaults.get(argument))
        elif not (value is defaults.get(argument) and value is np._NoValue):
            translated[target] = value
    return (), translated


def _without_defaults(name: str, options: dict[str, Any], operation: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a ufunc that the operation has; raise TypeError for others, unless they have no effect."""
    known = _names(operation)
    for option, value in options.items():
        if option not in known:
            is_none = isinstance(value, tuple) and all(part is None for part in value)  # out is a tuple
            _require_default(name, option, None if is_none else value, True if option == "where" else None)
    return {option: value for option, value in options.items() if option in known}


def _require_default(name: str, argument: str, value: Any, default: Any) -> None:
    if argument in _WITHOUT_EFFECT or value is default or value is None:
        return
    if isinstance(value, (bool, int, float, str)) and type(value) is type(default) and value == default:
        return
    remedy = _REMEDIES.get(argument, "leave it out, or apply the function to t.data").format(name=name)
    raise TypeError(f"np.{name} of tensors: the argument {argument} is not supported; {remedy}")


@cache
def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names and defaults of a NumPy function's arguments."""
    import inspect  # noqa: PLC0415 (importing it takes time, and few programs need it)

    if function in _IN_C:
        return dict.fromkeys(_IN_C[function])
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@cache
def _names(operation: Callable[..., Any]) -> frozenset[str]:
    """Return the names of an operation's arguments."""
    import inspect  # noqa: PLC0415

    return frozenset(inspect.signature(operation).parameters)


# Functions that are written in C have no signature before NumPy 2.4.
_IN_C = {
    np.concatenate: ("arrays", "axis", "out", "dtype", "casting"),
    np.dot: ("a", "b", "out"),
    np.inner: ("a", "b"),
    np.vdot: ("a", "b"),
}


def _name(function: Any) -> str:
    module = str(getattr(function, "__module__", "")).removeprefix("numpy").strip(".")
    return f"{module}.{function.__name__}" if module in ("linalg", "fft") else str(function.__name__)


def _unwrap_all(argument: Any) -> Any:
    if isinstance(argument, (tuple, list)):
        return type(argument)([_unwrap_all(part) for part in argument])
    return unwrap_value(argument)


# -- operations --------------------------------------------------------------------------------------------------------


def _of_the_same_name(kind: Callable[[Any], bool]) -> dict[Any, Callable[..., Any]]:
    """Return the operations with the names of those functions of NumPy that are of a kind."""
    found = {vars(np).get(name): operation for name, operation in ops.OPERATIONS.items()}
    return {function: operation for function, operation in found.items() if kind(function)}


def _is_ufunc(function: Any) -> bool:
    return isinstance(function, np.ufunc)


def _is_function(function: Any) -> bool:
    return callable(function) and not isinstance(function, (np.ufunc, type))


def _plus(x: Any) -> Any:
    return +x


def _divmod(x: TensorLike, y: TensorLike) -> tuple[TensorLike, TensorLike]:
    return ops.floor_divide(x, y), ops.remainder(x, y)


def _modf(x: TensorLike) -> tuple[TensorLike, TensorLike]:
    whole = ops.trunc(x)
    with np.errstate(invalid="ignore"):
        return ops.where(np.isinf(unwrap_value(x)), 0, x - whole), whole


_UFUNCS: dict[Any, Callable[..., Any]] = _of_the_same_name(_is_ufunc) | {
    np.conjugate: _plus,
    np.degrees: ops.rad2deg,
    np.divmod: _divmod,
    np.fabs: lambda x: ops.absolute(ops.multiply(x, 1.0)),  # of integers, the result is floating-point
    np.float_power: lambda x, y: ops.power(ops.multiply(x, np.float64(1)), y),
    np.modf: _modf,
    np.positive: _plus,
    np.radians: ops.deg2rad,
}
_FUNCTIONS: dict[Any, Callable[..., Any]] = _of_the_same_name(_is_function) | {
    np.amax: ops.max,
    np.amin: ops.min,
    np.around: ops.round,
    np.cumulative_prod: ops.cumprod,
    np.cumulative_sum: ops.cumsum,
    np.fix: ops.trunc,
    np.linalg.cross: ops.cross,
    np.linalg.det: ops.det,
    np.linalg.inv: ops.inv,
    np.linalg.matmul: ops.matmul,
    np.linalg.norm: ops.norm,
    np.linalg.outer: ops.outer,
    np.linalg.slogdet: ops.slogdet,
    np.linalg.solve: ops.solve,
    np.linalg.tensordot: ops.tensordot,
    np.linalg.vecdot: ops.vecdot,
}


def _einsum(*operands: Any, **options: Any) -> TensorLike:
    if not isinstance(operands[0], str):  # einsum(x, [0, 1], y, [1, 2], [0, 2]): the labels are integers
        xs, labels = operands[: len(operands) // 2 * 2 : 2], operands[1::2]
        result = operands[-1] if len(operands) % 2 else None
        terms = [_letters(label) for label in labels]
        operands = (",".join(terms) + ("" if result is None else "->" + _letters(result)), *xs)
    for name, value in options.items():
        _require_default("einsum", name, value, {"order": "K"}.get(name))
    return ops.einsum(*operands)


_LETTERS = ascii_uppercase + ascii_lowercase  # of the labels 0 to 51; without a result, its axes have this order


def _letters(labels: Any) -> str:
    if not isinstance(labels, (tuple, list)):
        raise TypeError("np.einsum of tensors: give the subscripts as a string, or a list of labels after each operand")
    return "".join("..." if label is Ellipsis else _letter(label) for label in labels)


def _letter(label: Any) -> str:
    if not 0 <= index(label) < len(_LETTERS):
        raise ValueError(f"np.einsum: a label must be from 0 to {len(_LETTERS) - 1}; got {label}")
    return _LETTERS[label]


def _where(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.nonzero(unwrap_value(condition))
    return ops.where(condition, *choices)


def _of_each(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation of one tensor as a function of several, which returns a tuple."""
    return lambda *xs: operation(xs[0]) if len(xs) == 1 else tuple([operation(x) for x in xs])


def _meshgrid(*xs: Any, indexing: str = "xy", **options: Any) -> tuple[TensorLike, ...]:
    for name, value in options.items():
        _require_default("meshgrid", name, value, {"sparse": False}.get(name))
    return tuple(ops.meshgrid(*xs, indexing=indexing))


def _copy(x: Any, **options: Any) -> Any:
    return x if isinstance(x, Value) else np.copy(x, **options)


# Functions that take several arrays, or whose arguments have another order.
_ADAPTERS: dict[Any, Callable[..., Any]] = {
    np.atleast_1d: _of_each(ops.atleast_1d),
    np.atleast_2d: _of_each(ops.atleast_2d),
    np.atleast_3d: _of_each(ops.atleast_3d),
    np.broadcast_arrays: lambda *xs: tuple(ops.broadcast_arrays(*xs)),
    np.copy: _copy,
    np.einsum: _einsum,
    np.gradient: lambda f, *spacing, axis=None, edge_order=1: _gradient(f, spacing, axis, edge_order),
    np.linalg.diagonal: lambda x, *, offset=0: ops.diagonal(x, offset, -2, -1),
    np.linalg.matrix_transpose: lambda x: ops.swapaxes(x, -1, -2),
    np.linalg.trace: lambda x, *, offset=0: ops.trace(x, offset, -2, -1),
    np.matrix_transpose: lambda x: ops.swapaxes(x, -1, -2),
    np.meshgrid: _meshgrid,
    np.pad: lambda array, pad_width, mode="constant", **options: ops.pad(array, pad_width, mode, **options),
    np.real: _plus,
    np.real_if_close: _plus,
    np.where: _where,
}
for _function in _ADAPTERS:
    _FUNCTIONS.pop(_function, None)


def _gradient(f: Any, spacing: tuple[Any, ...], axis: Any, edge_order: int) -> Any:
    if edge_order != 1:
        raise TypeError("np.gradient of tensors: edge_order must be 1")
    found = ops.gradient(f, *spacing, axis=axis)
    return tuple(found) if isinstance(found, list) else found


# -- no gradient -------------------------------------------------------------------------------------------------------

_PREDICATES = frozenset(
    {
        *(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal),
        *(np.isfinite, np.isnan, np.isinf, np.signbit),
        *(np.logical_and, np.logical_or, np.logical_not, np.logical_xor),
    }
)
# The argument that a result depends on, though the function is not differentiable here: its name and its place.
_LOSES_GRADIENT_OF: dict[Any, tuple[str, int]] = {
    np.bincount: ("weights", 1),
    np.full_like: ("fill_value", 1),
    np.histogram: ("weights", 4),
    np.histogram_bin_edges: ("weights", 3),
}
_WITHOUT_GRADIENT = frozenset(
    {
        *(np.all, np.any, np.allclose, np.isclose, np.array_equal, np.array_equiv, np.isin),
        *(np.isneginf, np.isposinf, np.isreal, np.isrealobj, np.iscomplex, np.iscomplexobj),
        *(np.argmax, np.argmin, np.argpartition, np.argsort, np.argwhere, np.lexsort, np.nanargmax, np.nanargmin),
        *(np.bincount, np.count_nonzero, np.digitize, np.flatnonzero, np.histogram, np.nonzero, np.searchsorted),
        *(np.array2string, np.array_repr, np.array_str, np.may_share_memory, np.shares_memory),
        *(np.can_cast, np.common_type, np.min_scalar_type, np.ndim, np.result_type, np.shape, np.size),
        *(np.empty_like, np.full_like, np.ones_like, np.zeros_like),
        *(np.diag_indices_from, np.tril_indices_from, np.triu_indices_from, np.ix_),
        *(np.histogram_bin_edges, np.unravel_index, np.ravel_multi_index),
    }
)

# -- not supported -----------------------------------------------------------------------------------------------------

_IN_PLACE = "tensors are not changed in place; write x = tg.index_update(x, index, value)"
_INSTEAD = {
    "add.accumulate": "write np.cumsum(t, axis)",
    "add.at": _IN_PLACE,
    "add.reduce": "write np.sum(t, axis)",
    "angle": "tensors are real; write np.arctan2(imag, real)",
    "apply_along_axis": "write the function with axis= or with broadcasting",
    "choose": "write np.where(...), or np.take_along_axis(...)",
    "copyto": _IN_PLACE,
    "fill_diagonal": _IN_PLACE,
    "geomspace": "write np.exp(np.linspace(np.log(start), np.log(stop), num))",
    "imag": "tensors are real",
    "insert": "write np.concatenate(...) of slices",
    "logspace": "write 10 ** np.linspace(start, stop, num)",
    "maximum.reduce": "write np.max(t, axis)",
    "minimum.reduce": "write np.min(t, axis)",
    "multiply.accumulate": "write np.cumprod(t, axis)",
    "multiply.outer": "write np.outer(t, u), or t[:, None] * u",
    "multiply.reduce": "write np.prod(t, axis)",
    "nanmedian": "write np.median of the elements that are not NaN",
    "partition": "write np.sort(t, axis)",
    "piecewise": "write np.select(conditions, choices)",
    "place": _IN_PLACE,
    "put": _IN_PLACE,
    "put_along_axis": _IN_PLACE,
    "putmask": "write t = np.where(mask, values, t)",
    "resize": "write np.reshape(np.tile(...), ...)",
    "sinc": "write np.sin(np.pi * t) / (np.pi * t) for t other than 0",
    "unique": "write np.unique(t.data, return_index=True) and t[index]",
}


def _not_supported(name: str) -> TypeError:
    instead = _INSTEAD.get(
        name, "use operations of tinygrad_cifar, define one with tinygrad_cifar.primitive, or take the values t.data"
    )
    return TypeError(f"np.{name} does not support tensors; {instead}")


# -- conversion of one element -----------------------------------------------------------------------------------------


def is_item_assignment() -> bool:
    """Return whether the conversion in the calling function is part of ``array[...] = tensor``.

    NumPy converts the value of one element by ``__float__``, as ``float(tensor)`` does; only the instruction that is
    being carried out tells them apart.
    """
    frame = sys._getframe(2)
    return frame.f_code.co_code[frame.f_lasti] == opmap["STORE_SUBSCR"]
