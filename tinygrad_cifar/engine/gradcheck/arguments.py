"""The arguments of gradient checks: points in float64, the results of functions, and cotangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import Array, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.tensor import Tensor


def as_points(name: str, f: Any, inputs: Any) -> list[Any]:
    """Return the inputs of a function: copies of tensors, and everything else as read-only arrays."""
    if not callable(f):
        raise TypeError(f"{name}: f must be a function of tensors, not its result; got {type(f).__name__}")
    points: list[Any] = []
    for i, given in enumerate(inputs if isinstance(inputs, (tuple, list)) else (inputs,)):
        refuse_masked_array(name, given)
        array = np.array(unwrap_value(given))
        if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and array.dtype != np.float64):
            raise TypeError(
                f"{name}: input {i} is {array.dtype}, but the check works in float64: with fewer digits, "
                "differences cannot tell a wrong gradient from a rounded one. Convert with astype(np.float64)"
            )
        points.append(as_given(given if array.dtype.kind == "f" else None, array))
    return points


def as_given(like: Any, array: Array) -> Any:
    """Return an array as a tensor if ``like`` is one, and otherwise read-only."""
    if isinstance(like, Tensor):
        return Tensor(array, requires_grad=like.requires_grad)
    array.flags.writeable = False
    return array


def differentiable_input(name: str, points: Sequence[Any], index: int) -> Array:
    """Return the input to differentiate with respect to; raise an error unless it is float64."""
    if not 0 <= index < len(points):
        raise ValueError(f"{name}: index must be from 0 to {len(points) - 1}; got {index}")
    x: Array = unwrap_value(points[index])
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: input {index} must be float64; got {x.dtype}, which has no gradient")
    return x


def evaluate_function(f: Callable[..., Any], points: Sequence[Any], kind: str) -> Array:
    """Call ``f`` and return its result as an array of the given kind: ``"f"``, real, or ``"c"``, complex."""
    result = f(*points)
    array = np.asarray(unwrap_value(result)) if not isinstance(result, (tuple, list, dict)) else None
    if array is None or array.dtype.kind not in "fciub":
        raise TypeError(f"{name_of(f)} must return one tensor or array of numbers; got {type(result).__name__}")
    if array.dtype.kind != kind and kind == "c":
        raise TypeError(
            f"complex_step: {name_of(f)} returned {array.dtype} numbers for complex inputs, so it is not "
            "analytic as written"
        )
    if kind == "f" and array.dtype != np.float64:
        raise TypeError(f"{name_of(f)} must return float64 numbers for float64 inputs; got {array.dtype}")
    return array


def as_weights(name: str, out: Array, cotangent: Any) -> Array:
    """Return the weights of the elements of a result: the cotangent, or 1 for a single element."""
    if cotangent is None:
        if out.size != 1:
            raise ValueError(
                f"{name}: the result has shape {out.shape}; only a result with one element has a default cotangent. "
                "Pass cotangent=, an array of that shape, for the gradient of sum(cotangent * f)"
            )
        return np.ones(out.shape)
    weights = np.asarray(unwrap_value(cotangent))
    if weights.shape != out.shape or weights.dtype.kind not in "fiub":
        raise ValueError(
            f"{name}: the cotangent must be real numbers of shape {out.shape}, like the result; got "
            f"{weights.dtype} of {weights.shape}"
        )
    return weights.astype(np.float64)


def name_of(f: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of a callable object."""
    return getattr(f, "__name__", type(f).__name__)


def format_index(at: Sequence[Any]) -> str:
    """Return an index as in ``x[1, 2]``."""
    return "[" + ", ".join(str(int(i)) for i in at) + "]"
