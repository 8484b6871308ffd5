"""The check of a function: the backward pass against differences, for a random cotangent.

A cotangent of ones would not do: a VJP that ignores its cotangent, or averages it, would pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.backprop import grad, propagate
from tinygrad_cifar.engine.derivatives import inner_product
from tinygrad_cifar.engine.gradcheck.arguments import as_points, as_weights, evaluate_function, format_index, name_of
from tinygrad_cifar.engine.gradcheck.extrapolation import Neighbourhood, neighbourhood_of, norm
from tinygrad_cifar.engine.gradcheck.judgement import Judgement, Part, describe_doubt, judge_gradient
from tinygrad_cifar.engine.gradcheck.measures import relative_errors
from tinygrad_cifar.engine.graph import Array, Value, ancestors, unwrap_value
from tinygrad_cifar.engine.tensor import Tensor


class GradientError(AssertionError):
    """Raised if a gradient disagrees with the numerical one.

    Attributes
    ----------
    input : int
        Position of the input whose gradient is wrong.
    analytic : numpy.ndarray
        Gradient with respect to that input by the backward pass.
    numerical : numpy.ndarray
        Gradient by centred differences.
    """

    def __init__(self, message: str, input: int, analytic: Array, numerical: Array) -> None:
        super().__init__(message)
        self.input = input
        self.analytic = analytic
        self.numerical = numerical

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickling needs, for errors in other processes."""
        return type(self), (*self.args, self.input, self.analytic, self.numerical)


GradientError.__module__ = "tinygrad_cifar.engine.gradcheck"  # where users find it


def check_gradients(
    f: Callable[..., Any],
    *inputs: Any,
    rtol: float = 1e-6,
    atol: float | None = None,
    cotangent: Any = None,
    rng: int | np.random.Generator = 0,
    second_order: bool = False,
) -> float:
    """Check the backward pass of ``f`` against centred differences, element by element.

    With a cotangent ``c``, the gradient of ``sum(c * f)`` with respect to every floating-point input is
    compared element by element: ``|ga - gn| <= rtol * |gn| + error``, where ``error`` is the estimated error of ``gn``.

    Parameters
    ----------
    f : callable
        Function of tensors that returns one tensor, of any shape. It must return the same result each time.
    *inputs : array_like or Tensor
        The point: float64, and away from kinks. All of these are differentiated, whatever their ``requires_grad``;
        their ``grad`` is not changed. Integers and booleans are passed on as read-only arrays.
    rtol : float
        Relative tolerance. Default: 1e-6.
    atol : float, optional
        Absolute tolerance, in place of the estimated error. Every element that agrees within it passes. Default: the
        estimated error, which must be below ``5e-4 * |gn|``.
    cotangent : array_like, optional
        The weights ``c``, of the shape of the result. Default: random weights, also for one element.
    rng : int or numpy.random.Generator
        Generator of the random weights, or its seed. Default: 0.
    second_order : bool
        If True, the derivative of ``sum(u * gradient)`` with random ``u``, recorded by ``create_graph=True``, is
        compared with centred differences of the gradient as well. Default: False.

    Returns
    -------
    float
        The largest relative error of an element, as defined by :func:`relative_errors`.

    Raises
    ------
    GradientError
        If an element differs by more, or the result of ``f`` was not recorded and its derivative is not 0: an
        ``AssertionError`` that names the function, its operations, the input, the element and both values.
    TypeError
        If the arguments are invalid: float32, several results.
    ValueError
        If shapes do not match, or an element cannot be judged: ``f`` is not finite on both sides of the point, the
        differences do not converge, or rounding hides more than ``5e-4`` of the derivative.

    Notes
    -----
    The first difference has the step ``eps**(1/3) * max(1, |x|)`` and takes two evaluations of ``f`` for each element.
    If it disagrees with the gradient, or rounding may change it by more than ``1e-4`` of its value, differences of
    other steps are extrapolated to the step 0, which shows their error as well (see :func:`extrapolated_gradient`).
    The error of rounding is taken as ten times ``eps`` times the values that the step changes, divided by the step.

    **Wrong gradients that pass**, besides those within the tolerance:

    - Where no difference shows an effect of the element, its derivative counts as 0: if it changes ``f`` by less than
      about ``1e-14 * |f|`` within the largest step, ``1.6 * max(1, |x|)``, as in ``1e16 + sin(x)``. A gradient up to
      ``3e-12 * |f| / max(1, |x|)`` is then taken for rounding errors.
    - Derivatives so much smaller than the largest of all elements that rounding hides them: those are compared with an
      error of at most ``5e-4`` of the largest.
    - Details of ``f`` that are narrower than the first step and too small to show in it, such as
      ``x + 1e-12 * sin(1e9 * x)``; and, on a kink, the mean of the slopes on both sides.

    **Right gradients that are rejected**:

    - On a kink, or so near that rounding hides the distance (about ``1e-10``), unless it is the mean of the slopes.
    - Where ``f`` is more than about ``1e9`` times as large as the change to be seen: ``1e10 + sin(x)``.
    - Where ``f`` rounds numbers that are much larger than its result or its change: computations in float32,
      ``var(x + 1e8)``, ``log(1 + x**2)`` for ``x`` of ``1e-7``, or a sum that is 0 by cancellation, such as
      ``sum(x - mean(x))``.
    - Where floating-point numbers near ``x`` are too far apart for the function: ``sin`` at ``1e12``.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> from tinygrad_cifar.engine.gradcheck import check_gradients
    >>> def cost(W, x):
    ...     return tg.logsumexp(x @ W) + 0.1 * tg.sum(W * W)
    >>> error = check_gradients(cost, np.ones((3, 2)), np.array([1.0, -2.0, 0.5]), second_order=True)
    >>> error < 1e-7
    True

    A primitive with a wrong VJP:

    >>> cube = tg.primitive("cube_with_a_wrong_vjp", lambda x: x**3, x=lambda g, x: 2 * g * x**2)
    >>> check_gradients(cube, np.array([1.0, 2.0]), cotangent=[1.0, 1.0])
    Traceback (most recent call last):
        ...
    tinygrad_cifar.engine.gradcheck.GradientError: cube_with_a_wrong_vjp: the gradient is wrong in 2 of 2 elements
    of input 0, of shape (2,); at [0]
        backward gives             2
        centred differences give   3
        they differ by             1 (relative error 0.2); allowed: 3.01e-06
    """
    points = as_points("check_gradients", f, inputs)
    checked = [i for i, point in enumerate(points) if isinstance(point, Value) or point.dtype.kind == "f"]
    if not checked:
        raise TypeError("check_gradients: at least one input must be float64")
    for i in checked:
        points[i] = Tensor(unwrap_value(points[i]), requires_grad=True)  # f may compute gradients itself
    generator = np.random.default_rng(rng)

    leaves, out = _call_with_leaves(f, points, checked)
    if not np.array_equal(out.data, evaluate_function(f, points, "f"), equal_nan=True):
        raise ValueError(
            f"check_gradients: {name_of(f)} must return the same result in each call; seed its generator inside"
        )
    weights = generator.standard_normal(out.shape) if cotangent is None else cotangent
    weights = as_weights("check_gradients", out.data, weights)
    neighbourhoods = [neighbourhood_of(f, points, i, out.data, weights) for i in checked]
    if not out.requires_grad:
        return _require_zero_derivative(f, checked, neighbourhoods, rtol, atol)
    what = describe_function(f, out)
    if out._node is not None and not {leaf._node for leaf in leaves} & set(
        propagate(out._node, weights, retain_graph=True)
    ):
        raise ValueError(
            f"check_gradients: the result of {name_of(f)} does not depend on its inputs, so there is nothing to "
            "compare; let it compute with the tensors that it receives, in place of a model's own parameters"
        )
    gradients = [gradient.data for gradient in grad(out, leaves, weights)]

    def gradients_for(weights: Array) -> list[Array]:
        again, result = _call_with_leaves(f, points, checked)
        return [gradient.data for gradient in grad(result, again, weights)]

    kind = "the gradient for a random cotangent" if cotangent is None else "the gradient"
    worst = _compare(f"{what}: {kind}", checked, gradients, neighbourhoods, gradients_for, rtol, atol)
    if not second_order:
        return worst

    here = np.concatenate([gradient.ravel() for gradient in gradients])
    direction = generator.standard_normal(here.size)

    def gradient_at(*at: Any) -> Array:
        again, result = _call_with_leaves(f, at, checked)
        return np.concatenate([gradient.data.ravel() for gradient in grad(result, again, weights)])

    def second_derivatives_for(direction: Array) -> list[Array]:
        again, result = _call_with_leaves(f, points, checked)
        return _second_derivatives(again, result, weights, direction)

    size = norm(weights * out.data)
    neighbourhoods = [neighbourhood_of(gradient_at, points, i, here, direction, size) for i in checked]
    curvatures = second_derivatives_for(direction)
    what = f"{what}: the second derivative"
    return max(worst, _compare(what, checked, curvatures, neighbourhoods, second_derivatives_for, rtol, atol))


def _second_derivatives(leaves: Sequence[Tensor], out: Tensor, weights: Array, direction: Array) -> list[Array]:
    """Return the gradients of ``sum(direction * gradient)``."""
    gradients = grad(out, leaves, weights, create_graph=True)
    parts = np.split(direction, np.cumsum([gradient.size for gradient in gradients])[:-1])
    shaped = [part.reshape(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
    directional = inner_product(gradients, shaped)
    if not directional.requires_grad:  # the gradient is constant
        return [np.zeros(leaf.shape) for leaf in leaves]
    return [curvature.data for curvature in grad(directional, leaves)]


def _call_with_leaves(
    f: Callable[..., Any], points: Sequence[Any], checked: Sequence[int]
) -> tuple[list[Tensor], Tensor]:
    """Call ``f`` with new leaves as the checked inputs; return the leaves and the result."""
    arguments = list(points)
    for i in checked:
        arguments[i] = Tensor(points[i].data, requires_grad=True)
    out = f(*arguments)
    leaves = [arguments[i] for i in checked]
    if not isinstance(out, Tensor):
        raise TypeError(f"check_gradients: {name_of(f)} must return one tensor; got {type(out).__name__}")
    return leaves, out


def _require_zero_derivative(
    f: Callable[..., Any], checked: Sequence[int], near: Sequence[Neighbourhood], rtol: float, atol: float | None
) -> float:
    """Raise an error if the result, which is not recorded, changes with an input; otherwise return the error 0."""
    parts = [Part(function, np.zeros(function.x.shape), list(np.ndindex(function.x.shape))) for function in near]
    for i, part, judgements in zip(checked, parts, judge_gradient(parts, rtol, atol), strict=True):
        for judgement in judgements:
            if judgement.verdict == "not finite":
                raise ValueError(f"check_gradients: {describe_doubt(f'{name_of(f)}: the gradient', i, judgement)}")
        if any(judgement.verdict != "right" for judgement in judgements):
            raise GradientError(
                f"{name_of(f)}: the result is not recorded, so it has no gradient, but it changes with input {i}; "
                "compute it from the arguments with tensor operations, without .data, detach() or no_grad(), and "
                "gradients with create_graph=True",
                i,
                part.analytic,
                _numerical(part, judgements),
            )
    return 0.0


def _compare(
    what: str,
    checked: Sequence[int],
    gradients: Sequence[Array],
    near: Sequence[Neighbourhood],
    gradients_for: Callable[[Array], list[Array]],
    rtol: float,
    atol: float | None,
) -> float:
    """Raise an error unless the gradients are confirmed by differences; return the largest relative error.

    ``gradients_for(weights)`` computes the gradients for other weights of the elements of the result.
    """

    def of_elements(position: int) -> Callable[[Array], Array]:
        return lambda chosen: gradients_for(np.where(chosen, near[position].weights, 0.0))[position]

    parts = [
        Part(function, gradient, list(np.ndindex(gradient.shape)), of_elements(position))
        for position, (function, gradient) in enumerate(zip(near, gradients, strict=True))
    ]
    worst, doubts = 0.0, []
    for i, part, judgements in zip(checked, parts, judge_gradient(parts, rtol, atol), strict=True):
        numerical = _numerical(part, judgements)
        if wrong := [judgement for judgement in judgements if judgement.verdict == "wrong"]:
            raise GradientError(_describe_wrong(what, i, part.analytic, wrong), i, part.analytic, numerical)
        doubts += [describe_doubt(what, i, judgement) for judgement in judgements if judgement.verdict != "right"]
        worst = max(worst, float(np.max(relative_errors(part.analytic, numerical), initial=0.0)))
    if doubts:
        raise ValueError(f"check_gradients: {doubts[0]}")
    return worst


def _numerical(part: Part, judgements: Sequence[Judgement]) -> Array:
    """Return the numerical gradient."""
    return np.array([judgement.numerical for judgement in judgements]).reshape(part.analytic.shape)


def _describe_wrong(what: str, input: int, analytic: Array, wrong: Sequence[Judgement]) -> str:
    """Return the message for wrong elements, with the values of the worst one."""

    def excess(judgement: Judgement) -> float:
        error = abs(float(analytic[judgement.at]) - judgement.numerical)
        return error / judgement.allowed if judgement.allowed and math.isfinite(error) else math.inf

    worst = max(wrong, key=excess)
    at = worst.at
    error = abs(float(analytic[at]) - worst.numerical)
    relative = float(relative_errors(analytic[at], worst.numerical))
    message = (
        f"{what} is wrong in {len(wrong)} of {analytic.size} elements\n"
        f"of input {input}, of shape {analytic.shape}; at {format_index(at)}\n"
        f"    backward gives             {analytic[at]:.9g}\n"
        f"    centred differences give   {worst.numerical:.9g}\n"
        f"    they differ by             {error:.3g} (relative error {relative:.2g}); allowed: {worst.allowed:.3g}"
    )
    if worst.numerical == 0 and not worst.coordinate.difference(0).is_zero:
        message += "\n    f does not change at all in small steps: see whether it rounds its argument, as float32 does"
    elif worst.coordinate.is_at_kink():
        message += "\n    differences above and below the point differ: it lies on a kink; choose another point"
    elif error <= worst.coordinate.hidden_by_rounding():
        message += "\n    or the rounding of large values of f hides the change: subtract constants, or give atol"
    return message


def describe_function(f: Callable[..., Any], out: Tensor) -> str:
    """Return the name of the function and of the operations that its result is composed of."""
    behind = [] if out._node is None else ancestors(out._node)
    names = {node.primitive.name for node in behind if node.primitive is not None}
    if names <= {name_of(f)}:
        return name_of(f)
    return f"{name_of(f)} (composed of {', '.join(sorted(names))})"
