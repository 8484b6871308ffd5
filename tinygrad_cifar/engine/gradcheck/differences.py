"""Numerical derivatives: differences of function values, and the complex step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tinygrad_cifar.engine.gradcheck.arguments import (
    as_given,
    as_points,
    as_weights,
    differentiable_input,
    evaluate_function,
    format_index,
)
from tinygrad_cifar.engine.graph import Array, unwrap_value

# The steps that balance the error of the formula, which grows with h, against rounding, which grows with 1 / h.
_EPS = float(np.finfo(np.float64).eps)
STEPS = {"centred": _EPS ** (1 / 3), "forward": _EPS ** (1 / 2)}


def numerical_gradient(
    f: Callable[..., Any],
    inputs: Any,
    index: int = 0,
    *,
    method: Literal["centred", "forward"] = "centred",
    h: float | None = None,
    cotangent: Any = None,
) -> Array:
    """Estimate the gradient of ``f`` with respect to one input by differences.

    For each element ``x`` of the input, with all others fixed::

        centred   (f(x + h) - f(x - h)) / 2h      error of order h**2
        forward   (f(x + h) - f(x)) / h           error of order h: the one-sided difference of the reports

    Parameters
    ----------
    f : callable
        Function of tensors or arrays that returns one tensor or array. It receives tensors where ``inputs`` contains
        tensors (recorded where those are), and arrays otherwise.
    inputs : array_like, Tensor, or a tuple or list of them
        The point, float64. Integer and boolean inputs are passed on as read-only arrays.
    index : int
        Position of the input to differentiate with respect to. Default: 0.
    method : {"centred", "forward"}
        The formula. Default: "centred".
    h : float, optional
        The step, the same for every element (1e-6 in the reports). Default: ``eps**(1/3)`` for centred and
        ``eps**(1/2)`` for forward differences, times ``max(1, |x|)``, where ``eps = 2.2e-16``.
    cotangent : array_like, optional
        Weights ``c`` of the shape of the result: the gradient is that of ``sum(c * f)``. Default: 1, for a result with
        one element.

    Returns
    -------
    numpy.ndarray
        The estimate, float64, of the input's shape.

    Raises
    ------
    TypeError
        If the input is not float64, or ``f`` does not return one real tensor or array in float64.
    ValueError
        If shapes do not match, the method is unknown, or ``f`` is not finite near the point.

    Notes
    -----
    Both formulas are those of the course's reports 000 (both) and 004 (forward, h = 1e-6).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.engine.gradcheck import numerical_gradient
    >>> gradient = numerical_gradient(lambda x: np.sum(x**3), np.array([1.0, 2.0]))
    >>> print(gradient.round(8))
    [ 3. 12.]
    >>> one_sided = numerical_gradient(lambda x: x**3, 2.0, method="forward", h=1e-6)
    >>> print(f"{one_sided:.6f}")
    12.000006
    """
    if method not in STEPS:
        raise ValueError(f"numerical_gradient: method must be 'centred' or 'forward', not {method!r}")
    if h is not None and not h > 0:
        raise ValueError(f"numerical_gradient: the step h must be positive, not {h}")
    points = as_points("numerical_gradient", f, inputs)
    x = differentiable_input("numerical_gradient", points, index)

    def value(at: tuple[int, ...], number: Any) -> Array:
        moved = x.copy()
        moved[at] = number
        return evaluate_function(f, [*points[:index], as_given(points[index], moved), *points[index:][1:]], "f")

    here = evaluate_function(f, points, "f")
    weights = as_weights("numerical_gradient", here, cotangent)
    gradient = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        step = STEPS[method] * max(1.0, abs(x[at])) if h is None else h
        above = x[at] + step
        below = x[at] - step if method == "centred" else x[at]
        if above == below:
            raise ValueError(
                f"numerical_gradient: the step h = {step:.1e} is too small for input {index} at {format_index(at)}, "
                f"{x[at]:.6g}, which does not change by it; choose a larger h"
            )
        with np.errstate(invalid="ignore"):  # inf - inf: reported below
            difference = value(at, above) - (value(at, below) if method == "centred" else here)
            # The step taken is the difference of two rounded numbers, which differs slightly from the requested step.
            gradient[at] = np.sum(weights * difference) / (above - below)
        if not np.isfinite(gradient[at]):
            raise ValueError(
                f"numerical_gradient: the difference for input {index} at {format_index(at)} is {gradient[at]}, "
                f"since f is not finite within {step:.1e} of the point; choose a point farther inside its domain"
            )
    return gradient


def complex_step(
    f: Callable[..., Any], inputs: Any, index: int = 0, *, h: float = 1e-30, cotangent: Any = None
) -> Array:
    """Compute the gradient of an analytic function by the complex step.

    ``Im f(x + ih) / h`` for each element ``x``. Nothing is subtracted, so nothing cancels: the step can be so small
    that the error of the formula, of order ``h**2``, vanishes, and the result is as accurate as ``f`` itself.

    Parameters
    ----------
    f : callable
        Function of complex arrays. The operations of this package qualify if they are analytic; ``absolute``, ``relu``,
        ``maximum``, comparisons and conjugation are not.
    inputs, index, cotangent
        As in :func:`numerical_gradient`.
    h : float
        The step. Default: 1e-30.

    Returns
    -------
    numpy.ndarray
        The gradient, float64, of the input's shape.

    Raises
    ------
    TypeError
        If the input is not float64, or ``f`` returns real numbers.
    ValueError
        If shapes do not match, or ``h`` is not positive.

    Notes
    -----
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998).

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> from tinygrad_cifar.engine.gradcheck import complex_step
    >>> float(complex_step(np.exp, 1.0)) == math.e
    True
    """
    if not h > 0:
        raise ValueError(f"complex_step: the step h must be positive, not {h}")
    points = [np.asarray(unwrap_value(point)) for point in as_points("complex_step", f, inputs)]
    x = differentiable_input("complex_step", points, index)
    shifted = [point.astype(complex) if point.dtype.kind == "f" else point for point in points]
    gradient = np.empty(x.shape)
    weights = None
    for at in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[at] += 1j * h
        out = evaluate_function(f, [*shifted[:index], moved, *shifted[index:][1:]], "c")
        if weights is None:
            weights = as_weights("complex_step", out, cotangent)
        gradient[at] = np.sum(weights * out.imag) / h
    return gradient
