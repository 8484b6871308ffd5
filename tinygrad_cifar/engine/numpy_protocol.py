"""NumPy's functions applied to tensors: ``np.exp(t)``, ``np.sum(t)``, ``array * t``.

NumPy calls :func:`call_ufunc` and :func:`call_function` through the methods ``__array_ufunc__`` and
``__array_function__`` of a tensor (NEP 13, NEP 18). Each NumPy function is mapped to the operation of the same meaning;
one that is not raises TypeError.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from opcode import opmap
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import unwrap_value


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a ufunc returns for tensors; raise TypeError if it is not supported."""
    operation = _UFUNCS.get(ufunc)
    if operation is not None and method == "__call__" and not options:
        return operation(*inputs)
    if ufunc in _PREDICATES and method == "__call__" and not options:
        return ufunc(*[unwrap_value(x) for x in inputs])
    name = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
    detail = f" with {', '.join(sorted(options))}=" if options else ""
    raise _not_supported(name + detail)


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what another NumPy function returns for tensors; raise TypeError if it is not supported."""
    operation = _FUNCTIONS.get(function)
    if operation is None:
        raise _not_supported(function.__name__)
    try:
        return operation(*args, **kwargs)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise TypeError(f"np.{function.__name__} of tensors: {error}") from error


def is_item_assignment() -> bool:
    """Return whether the conversion in the calling function is part of ``array[...] = tensor``.

    NumPy converts the value of one element by ``__float__``, as ``float(tensor)`` does; only the instruction that is
    being carried out tells them apart.
    """
    frame = sys._getframe(2)
    return frame.f_code.co_code[frame.f_lasti] == opmap["STORE_SUBSCR"]


def _not_supported(what: str) -> TypeError:
    return TypeError(
        f"np.{what} does not support tensors; use an operation of tinygrad_cifar, or t.data for the values alone"
    )


def _ufuncs() -> dict[Any, Callable[..., Any]]:
    """Return the operations that are a ufunc with VJPs."""
    found = {}
    for operation in ops.OPERATIONS.values():
        if len(operation.primitives) == 1 and isinstance(operation.primitive.forward, np.ufunc):
            found[operation.primitive.forward] = operation
    return found


_UFUNCS: dict[Any, Callable[..., Any]] = _ufuncs() | {np.matmul: ops.matmul}
_PREDICATES = {
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.isfinite,
    np.isnan,
    np.isinf,
}


def _of_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function, applied to the array of its first argument: its result has no gradient."""
    return lambda x, *args, **kwargs: function(unwrap_value(x), *args, **kwargs)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord is not None:
        raise TypeError("np.linalg.norm of tensors takes no argument ord; it is the Euclidean length")
    return ops.norm(x, axis, keepdims)


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return ops.clip(x, a_min if min is None else min, a_max if max is None else max)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: ops.sum,
    np.mean: ops.mean,
    np.var: lambda x, axis=None, ddof=0, keepdims=False: ops.var(x, axis, keepdims, ddof),
    np.max: ops.max,
    np.min: ops.min,
    np.prod: ops.prod,
    np.cumsum: ops.cumsum,
    np.linalg.norm: _norm,
    np.clip: _clip,
    np.where: ops.where,
    np.reshape: ops.reshape,
    np.transpose: ops.transpose,
    np.matrix_transpose: lambda x: ops.swapaxes(x, -1, -2),
    np.swapaxes: ops.swapaxes,
    np.expand_dims: ops.expand_dims,
    np.squeeze: ops.squeeze,
    np.broadcast_to: ops.broadcast_to,
    np.flip: ops.flip,
    np.concatenate: ops.concatenate,
    np.stack: ops.stack,
    np.einsum: ops.einsum,
    np.take_along_axis: ops.take_along_axis,
    np.shape: _of_values(np.shape),
    np.ndim: _of_values(np.ndim),
    np.size: _of_values(np.size),
    np.argmax: _of_values(np.argmax),
}
