"""Numerical gradients in plain NumPy: the cost's source runs with NumPy's functions in the place of the library's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

STEP = 1e-6
RIGHT = 1e-5  # largest relative difference of a right gradient from the numerical one
WRONG = 1e-3  # smallest relative difference of a gradient that counts as wrong
SAME = 1e-7  # largest relative difference of two mistakes that count as the same


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


_EXTRA = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": _softmax,
    "logsumexp": _logsumexp,
}
_NAMES = (
    *("matmul", "sum", "mean", "var", "log", "exp", "sqrt", "square", "tanh", "maximum", "reshape", "einsum"),
    *("transpose", "where", "stack", "concatenate", "multiply", "add", "subtract", "divide", "negative", "tensordot"),
)
PLAIN_NUMPY = SimpleNamespace(**_EXTRA, **{name: getattr(np, name) for name in _NAMES})


def numerical_gradients(
    cost: Callable[..., Any], arguments: Mapping[str, Any], parameters: Sequence[Any]
) -> list[np.ndarray[Any, Any]]:
    """Return centred differences of ``cost(**arguments)`` for each array of ``parameters``, which it contains."""
    gradients = []
    for array in parameters:
        gradient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + STEP
            above = cost(**arguments)
            array[index] = value - STEP
            below = cost(**arguments)
            array[index] = value
            gradient[index] = (above - below) / (2 * STEP)
        gradients.append(gradient)
    return gradients


def difference(a: Any, b: Any) -> float:
    """Return the largest difference of two gradients, relative to the largest element; infinite for other shapes."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.inf
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    size = max(np.abs(a).max(), np.abs(b).max(), 1e-3)
    return float(np.abs(a - b).max() / size)
