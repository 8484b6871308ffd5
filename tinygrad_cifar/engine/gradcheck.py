"""Numerical gradients, and comparisons of derivatives with them.

**A derivative is trusted only if an independent computation agrees.** Differences of function values
(:func:`numerical_gradient`) and the complex step (:func:`complex_step`) need only the function;
:func:`check_gradients` compares the backward pass with the differences, element by element, for a random cotangent of
the result. A cotangent of ones would not do: a VJP that ignores its cotangent, or averages it, would pass.
:func:`check_model` compares the gradient of a model's loss, as training uses it, with respect to each parameter.

Everything here works in float64. The centred difference loses a third of the digits: that leaves ten of the sixteen of
float64, but four of the seven of float32, too few to tell a wrong gradient from a rounded one. Inputs of another
floating-point type are refused. Integers and booleans (labels, indices, masks) are passed to the function unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal, NamedTuple

import numpy as np

from tinygrad_cifar.engine.backprop import grad, propagate
from tinygrad_cifar.engine.derivatives import inner_product
from tinygrad_cifar.engine.graph import Array, Value, ancestors, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.tensor import Tensor

__all__ = [
    "GradientError",
    "MagnitudeSummary",
    "ModelCheck",
    "ParameterCheck",
    "check_gradients",
    "check_model",
    "complex_step",
    "numerical_gradient",
    "relative_error",
    "relative_errors",
    "summary",
]

# The steps that balance the error of the formula, which grows with h, against rounding, which grows with 1 / h.
_EPS = float(np.finfo(np.float64).eps)
_STEPS = {"centred": _EPS ** (1 / 3), "forward": _EPS ** (1 / 2)}


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


# -- numerical derivatives ---------------------------------------------------------------------------------------------


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
        The point, float64. Integer and boolean inputs are passed on unchanged.
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
    if method not in _STEPS:
        raise ValueError(f"numerical_gradient: method must be 'centred' or 'forward', not {method!r}")
    if h is not None and not h > 0:
        raise ValueError(f"numerical_gradient: the step h must be positive, not {h}")
    points = _points("numerical_gradient", inputs)
    x = _differentiable("numerical_gradient", points, index)

    def value(at: tuple[int, ...], number: Any) -> Array:
        moved = x.copy()
        moved[at] = number
        return _evaluate(f, [*points[:index], _as(points[index], moved), *points[index:][1:]], "f")

    here = _evaluate(f, points, "f")
    weights = _weights("numerical_gradient", here, cotangent)
    gradient = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        step = _STEPS[method] * max(1.0, abs(x[at])) if h is None else h
        above = x[at] + step
        below = x[at] - step if method == "centred" else x[at]
        with np.errstate(invalid="ignore"):  # inf - inf: reported below
            difference = value(at, above) - (value(at, below) if method == "centred" else here)
            # The step taken is the difference of two rounded numbers, which differs slightly from the requested step.
            gradient[at] = np.sum(weights * difference) / (above - below)
        if not np.isfinite(gradient[at]):
            raise ValueError(
                f"numerical_gradient: the difference for input {index} at {_format_index(at)} is {gradient[at]}, "
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
        If shapes do not match.

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
    points = [np.asarray(unwrap_value(point)) for point in _points("complex_step", inputs)]
    x = _differentiable("complex_step", points, index)
    shifted = [point.astype(complex) if point.dtype.kind == "f" else point for point in points]
    gradient = np.empty(x.shape)
    weights = None
    for at in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[at] += 1j * h
        out = _evaluate(f, [*shifted[:index], moved, *shifted[index:][1:]], "c")
        if weights is None:
            weights = _weights("complex_step", out, cotangent)
        gradient[at] = np.sum(weights * out.imag) / h
    return gradient


# -- the measures of the reports ---------------------------------------------------------------------------------------


def relative_errors(analytic: Any, numerical: Any, eps: float = 1e-5) -> Array:
    """Compare two gradients element by element, as report 002 does.

    ``|ga - gn| / max(eps, |ga| + |gn|)``: 0 where they agree, 1 where their signs differ or one is 0, and small
    where both are smaller than ``eps``.

    Parameters
    ----------
    analytic, numerical : array_like or Tensor
        Two gradients of one shape.
    eps : float
        Absolute value below which a gradient counts as zero. Default: 1e-5.

    Returns
    -------
    numpy.ndarray
        The errors, float64, of the shape of the gradients.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_cifar.engine.gradcheck import relative_errors
    >>> print(relative_errors([1.0, 3.0, 0.0], [1.0, 1.0, 1e-9]).round(4))
    [0.e+00 5.e-01 1.e-04]
    """
    ga, gn = _pair("relative_errors", analytic, numerical)
    with np.errstate(invalid="ignore"):  # the error of an infinite gradient is NaN
        errors: Array = np.abs(ga - gn) / np.maximum(eps, np.abs(ga) + np.abs(gn))
    return errors


def relative_error(analytic: Any, numerical: Any, eps: float = 1e-5) -> float:
    """Compare two gradients by one number, as report 003 does.

    ``sum |ga - gn| / sum max(eps, |ga| + |gn|)``, the sums over all elements.

    Parameters
    ----------
    analytic, numerical : array_like or Tensor
        Two gradients of one shape.
    eps : float
        Absolute value below which an element counts as zero, as in :func:`relative_errors`. It must be larger than the
        rounding errors of the differences (about 1e-10), since a gradient that is 0, such as that of a bias before a
        batch normalisation, consists of them. Report 003 has 1e-12. Default: 1e-5.

    Returns
    -------
    float
        The error, between 0 and 1; 0 for gradients without elements.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_cifar.engine.gradcheck import relative_error
    >>> relative_error([1.0, 2.0], [1.0, 1.0])
    0.2
    >>> relative_error([0.0, 0.0], [4e-11, -2e-11]) < 1e-5
    True
    """
    ga, gn = _pair("relative_error", analytic, numerical)
    if not ga.size:
        return 0.0
    return float(np.sum(np.abs(ga - gn)) / np.sum(np.maximum(eps, np.abs(ga) + np.abs(gn))))


class MagnitudeSummary(NamedTuple):
    """The four measures of report 004; the last three are pairs (analytic, numerical) of absolute values."""

    sum_of_differences: float
    mean: tuple[float, float]
    min: tuple[float, float]
    max: tuple[float, float]

    def __str__(self) -> str:
        lines = [f"sum of absolute differences: {self.sum_of_differences:.3e}"]
        for name in ("mean", "min", "max"):
            analytic, numerical = getattr(self, name)
            lines.append(f"{name} of absolute values: analytic {analytic:.3e}, numerical {numerical:.3e}")
        return "\n".join(lines)


def summary(analytic: Any, numerical: Any) -> MagnitudeSummary:
    """Compare two gradients by the four measures of report 004.

    Parameters
    ----------
    analytic, numerical : array_like or Tensor
        Two gradients of one shape, with at least one element.

    Returns
    -------
    Summary
        The sum of absolute differences, and the mean, smallest and largest absolute value of both.

    Raises
    ------
    ValueError
        If the shapes differ or there are no elements.

    Examples
    --------
    >>> from tinygrad_cifar.engine.gradcheck import summary
    >>> print(summary([1.0, -3.0], [1.0, -2.5]))
    sum of absolute differences: 5.000e-01
    mean of absolute values: analytic 2.000e+00, numerical 1.750e+00
    min of absolute values: analytic 1.000e+00, numerical 1.000e+00
    max of absolute values: analytic 3.000e+00, numerical 2.500e+00
    """
    ga, gn = _pair("summary", analytic, numerical)
    if not ga.size:
        raise ValueError(f"summary: the gradients have no elements; their shape is {ga.shape}")
    sizes = np.abs(ga), np.abs(gn)
    mean, least, most = ([float(measure(size)) for size in sizes] for measure in (np.mean, np.min, np.max))
    return MagnitudeSummary(
        float(np.sum(np.abs(ga - gn))), (mean[0], mean[1]), (least[0], least[1]), (most[0], most[1])
    )


def _pair(name: str, analytic: Any, numerical: Any) -> tuple[Array, Array]:
    ga, gn = (np.asarray(unwrap_value(g), dtype=np.float64) for g in (analytic, numerical))
    if ga.shape != gn.shape:
        raise ValueError(f"{name}: the gradients have shapes {ga.shape} and {gn.shape}; they must be equal")
    return ga, gn


# -- the check -----------------------------------------------------------------------------------------------


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
    compared element by element: ``|ga - gn| <= atol + rtol * |gn|``.

    Parameters
    ----------
    f : callable
        Function of tensors that returns one tensor, of any shape. It must return the same result each time.
    *inputs : array_like or Tensor
        The point: float64, and away from kinks. All of these are differentiated, whatever their ``requires_grad``;
        their ``grad`` is not changed. Integers and booleans are passed on unchanged.
    rtol : float
        Relative tolerance. Default: 1e-6.
    atol : float, optional
        Absolute tolerance. Default: ``1e-8 + 1e-9 * norm(c * f)``, at least ten times the rounding error of a
        difference of values of that size. A smaller gradient cannot be distinguished from 0: scale a function of tiny
        values, or give ``atol``.
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
        If an element differs by more, or the result of ``f`` was not recorded: an ``AssertionError`` that names the
        function, its operations, the input, the element and both values.
    TypeError, ValueError
        If the arguments are invalid: float32, shapes that do not match, several results, values that are not finite.

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
    of input 0, of shape (2,); at [1]
        backward gives             8
        centred differences give   12
        they differ by             4 (relative error 0.2); allowed: 1.2e-05
    """
    points = _points("check_gradients", inputs)
    checked = [i for i, point in enumerate(points) if isinstance(point, Value) or point.dtype.kind == "f"]
    if not checked:
        raise TypeError("check_gradients: at least one input must be float64")
    for i in checked:
        points[i] = Tensor(unwrap_value(points[i]), requires_grad=True)  # f may compute gradients itself
    generator = np.random.default_rng(rng)

    leaves, out = _call_with_leaves(f, points, checked)
    if not np.array_equal(out.data, _evaluate(f, points, "f"), equal_nan=True):
        raise ValueError(
            f"check_gradients: {_name(f)} must return the same result in each call; seed its generator inside"
        )
    weights = generator.standard_normal(out.shape) if cotangent is None else cotangent
    weights = _weights("check_gradients", out.data, weights)
    what = _description(f, out)
    if out._node is not None and not {leaf._node for leaf in leaves} & set(
        propagate(out._node, weights, retain_graph=True)
    ):
        raise ValueError(
            f"check_gradients: the result of {_name(f)} does not depend on its inputs, so there is nothing to compare; "
            "let it compute with the tensors that it receives, in place of a model's own parameters"
        )
    gradients = grad(out, leaves, weights, create_graph=second_order)
    allowed = _rounding(weights * out.data) if atol is None else atol
    worst = 0.0
    for i, gradient in zip(checked, gradients, strict=True):
        numerical = numerical_gradient(f, points, i, cotangent=weights)
        worst = max(worst, _compare(f"{what}: the gradient", i, gradient.data, numerical, rtol, allowed))
    if not second_order:
        return worst

    direction = generator.standard_normal(sum(gradient.size for gradient in gradients))

    def gradient_at(*at: Any) -> Array:
        again, result = _call_with_leaves(f, at, checked)
        return np.concatenate([g.data.ravel() for g in grad(result, again, weights)])

    starts = np.cumsum([gradient.size for gradient in gradients])[:-1]
    parts = np.split(direction, starts)
    shaped = [part.reshape(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
    directional = inner_product(gradients, shaped)
    curvatures: Any = [Tensor(np.zeros(leaf.shape)) for leaf in leaves]
    if directional.requires_grad:  # otherwise the gradient is constant
        curvatures = grad(directional, leaves)
    if atol is None:
        allowed = _rounding(direction * np.concatenate([g.data.ravel() for g in gradients]))
    for i, curvature in zip(checked, curvatures, strict=True):
        numerical = numerical_gradient(gradient_at, points, i, cotangent=direction)
        name = f"{what}: the second derivative"
        worst = max(worst, _compare(name, i, curvature.data, numerical, rtol, allowed))
    return worst


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
        raise TypeError(f"check_gradients: {_name(f)} must return one tensor; got {type(out).__name__}")
    if not out.requires_grad:
        zeros = np.zeros(leaves[0].shape)
        raise GradientError(
            f"{_name(f)}: the result is not recorded, so it has no gradient; compute it from the arguments "
            "with tensor operations, without .data, detach() or no_grad(), and gradients with create_graph=True",
            checked[0],
            zeros,
            zeros,
        )
    return leaves, out


def _compare(what: str, input: int, analytic: Array, numerical: Array, rtol: float, atol: float) -> float:
    """Raise if the gradients disagree; return the largest relative error."""
    error = np.abs(analytic - numerical)
    allowed = atol + rtol * np.abs(numerical)
    wrong = ~(error <= allowed)  # NaN included
    relative = relative_errors(analytic, numerical)
    if not wrong.any():
        return float(np.max(relative, initial=0.0))
    excess = np.where(wrong, np.where(np.isfinite(error), error, np.inf), -1)
    with np.errstate(divide="ignore", over="ignore"):  # a tolerance of 0
        at = np.unravel_index(np.argmax(excess / allowed), error.shape)
    message = (
        f"{what} is wrong in {wrong.sum()} of {wrong.size} elements\n"
        f"of input {input}, of shape {analytic.shape}; at {_format_index(at)}\n"
        f"    backward gives             {analytic[at]:.9g}\n"
        f"    centred differences give   {numerical[at]:.9g}\n"
        f"    they differ by             {error[at]:.3g} (relative error {relative[at]:.2g}); "
        f"allowed: {allowed[at]:.3g}"
    )
    raise GradientError(message, input, analytic, numerical)


def _rounding(parts: Array) -> float:
    """Return ten times the rounding error of a centred difference of ``sum(parts)``, or more."""
    return 1e-8 + 1e-9 * float(np.linalg.norm(parts))


# -- the check of a model ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParameterCheck:
    """The gradient of a loss with respect to one parameter, compared with centred differences.

    Attributes
    ----------
    name : str
        Name of the parameter.
    shape : tuple of int
        Its shape.
    checked : int
        Number of elements that were compared.
    error : float
        Largest relative error of these, as defined by :func:`relative_errors`.
    wrong : int
        Number of elements that are wrong.
    kinks : int
        Number of elements for which the loss has a kink within a step. Beside the kink, differences of smaller steps
        are compared; on it the loss has no derivative, and nothing is compared.
    is_used : bool
        Whether the loss depends on the parameter.
    at : tuple of int
        Index of the element with the largest error, if possible of a wrong one.
    backward : float
        The derivative with respect to this element by the backward pass.
    numerical : float
        The derivative by a centred difference.
    """

    name: str
    shape: tuple[int, ...]
    checked: int = 0
    error: float = 0.0
    wrong: int = 0
    kinks: int = 0
    is_used: bool = True
    at: tuple[int, ...] = ()
    backward: float = 0.0
    numerical: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no element is wrong."""
        return not self.wrong

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.wrong:
            return (
                f"WRONG in {self.wrong}; at {_format_index(self.at)} backward gives {self.backward:.6g}, "
                f"differences {self.numerical:.6g}"
            )
        if not self.is_used:
            return "ok; the loss does not depend on it"
        return f"ok; {self.kinks} at kinks" if self.kinks else "ok"


@dataclass(frozen=True, repr=False)
class ModelCheck:
    """The result of :func:`check_model`; as text, a table with a line for each parameter.

    Attributes
    ----------
    loss : float
        The loss.
    parameters : tuple of ParameterCheck
        One for each parameter.
    """

    loss: float
    parameters: tuple[ParameterCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether the gradients of all parameters are right."""
        return all(parameter.passed for parameter in self.parameters)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as texts: a header, and a row for each parameter."""
        header = ("parameter", "shape", "checked", "worst error", "verdict")
        return [
            header,
            *[
                (p.name, " x ".join(map(str, p.shape)) or "scalar", f"{p.checked:,}", f"{p.error:.1e}", p.verdict)
                for p in self.parameters
            ],
        ]

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{name:<{widths[0]}}  {shape:>{widths[1]}}  {checked:>{widths[2]}}  {error:>{widths[3]}}  {verdict}"
            for name, shape, checked, error, verdict in rows
        )

    __repr__ = __str__


def check_model(  # noqa: PLR0913 (keyword-only arguments)
    model: Callable[..., Any],
    X: Any,
    labels: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    parameters: Mapping[str, Tensor] | Iterable[Tensor] | None = None,
    lam: float = 0.0,
    elements: int | None = 100,
    rtol: float = 1e-6,
    atol: float | None = None,
    rng: int | np.random.Generator = 0,
) -> ModelCheck:
    """Check the gradient of a model's loss with respect to each of its parameters against centred differences.

    The gradient is that of the loss itself, as an optimiser receives it. Its elements are compared as by
    :func:`check_gradients`. The model is the same afterwards: parameters, their ``.grad``, and random generators.

    Parameters
    ----------
    model : Module or callable
        A module in float64, in the mode (training or evaluation) in which it is to be checked; or a function of a batch
        that returns the scores. Dropout masks are the same in all evaluations.
    X : array_like or Tensor
        A batch of inputs.
    labels : array_like, optional
        The labels or other targets of the batch. If None, the loss is a function of the inputs only.
    loss : callable, optional
        ``loss(scores, labels)`` returns the loss of a batch, such as
        :func:`tinygrad_cifar.nn.functional.cross_entropy`. Default: the method ``loss(X, labels)`` of the model.
    parameters : mapping of str to Tensor, or iterable of Tensor, optional
        Default: the parameters of a module; of a function, the leaf tensors and modules that its code names.
    lam : float
        Weight of the L2 term of the course's cost, over the weights of a module. Default: 0.
    elements : int, optional
        Number of elements of each parameter to compare, chosen at random; None for all of them. Each takes two
        evaluations of the loss. Default: 100.
    rtol, atol : float
        Tolerances, as those of :func:`check_gradients`.
    rng : int or numpy.random.Generator
        Generator that chooses the elements, or its seed. Default: 0.

    Returns
    -------
    ModelCheck
        Its attribute ``passed`` is the verdict; printed, it is a table.

    Raises
    ------
    TypeError
        If a parameter is not float64, or the loss is not a tensor.
    ValueError
        If there is no loss or no parameter, if the loss depends on other parameters, or is not the same in each call.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import functional as F, gradcheck, models, nn
    >>> rng = np.random.default_rng(0)
    >>> X, labels = rng.normal(size=(5, 4)), [0, 1, 2, 1, 0]
    >>> print(gradcheck.check_model(models.TwoLayer(4, 3, 3, rng=rng), X, labels))  # doctest: +ELLIPSIS
    parameter  shape  checked  worst error  verdict
    W1         4 x 3       12  ...  ok
    b1             3        3  ...  ok
    W2         3 x 3        9  ...  ok
    b2             3        3  ...  ok
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.ReLU(), nn.Linear(3, 3, rng=rng))
    >>> gradcheck.check_model(model, X, labels, loss=F.cross_entropy).passed
    True
    """
    named = _named_parameters(model, parameters)
    cost = _cost_of(model, X, labels, loss, lam)
    generator = np.random.default_rng(rng)
    with _repeatable(model, cost) as evaluate:
        out = evaluate()
        if out.item() != evaluate().item():
            raise ValueError("check_model: the loss must be the same in each call; seed its generator inside the model")
        behind = {node for node in ancestors(out._node) if node.primitive is None} if out._node is not None else set()
        given = {x._node for x in (X, labels) if isinstance(x, Tensor)}
        if others := behind - {p._node for p in named.values()} - given:
            shapes = ", ".join(sorted(str(node.shape) for node in others))
            raise ValueError(
                f"check_model: the loss also depends on {len(others)} parameters that are not known here, of shape "
                f"{shapes}; give all by parameters="
            )
        tensors = list(named.values())
        gradients: Any = [Tensor(np.zeros(p.shape)) for p in tensors] if out._node is None else grad(out, tensors)
        allowed = _rounding(out.data) if atol is None else atol
        checks = []
        for (name, p), gradient in zip(named.items(), gradients, strict=True):
            chosen = np.arange(p.size)
            if elements is not None and p.size > elements:
                chosen = np.sort(generator.choice(p.size, elements, replace=False))
            places = [tuple(int(i) for i in np.unravel_index(flat, p.shape)) for flat in chosen]
            compared = [(at, *_compare_element(evaluate, p, at, gradient.data[at], rtol, allowed)) for at in places]
            checks.append(_summarise(name, p, p._node in behind, gradient.data, compared))
    return ModelCheck(float(out.item()), tuple(checks))


def _summarise(
    name: str, p: Tensor, is_used: bool, gradient: Array, compared: Sequence[tuple[tuple[int, ...], float, str]]
) -> ParameterCheck:
    if not compared:
        return ParameterCheck(name, p.shape, is_used=is_used)
    errors = [float(relative_errors(gradient[at], numerical)) for at, numerical, _ in compared]
    wrong = [verdict == "wrong" for _, _, verdict in compared]
    worst = max(range(len(compared)), key=lambda k: (wrong[k], np.nan_to_num(errors[k], nan=np.inf)))
    at, numerical, _ = compared[worst]
    kinks = sum(verdict == "kink" for _, _, verdict in compared)
    return ParameterCheck(
        name, p.shape, len(compared), errors[worst], sum(wrong), kinks, is_used, at, float(gradient[at]), numerical
    )


def _compare_element(
    evaluate: Callable[[], Tensor], p: Tensor, at: tuple[int, ...], analytic: float, rtol: float, atol: float
) -> tuple[float, str]:
    """Return the numerical derivative with respect to one element, and a verdict: "ok", "kink" or "wrong".

    If a centred difference disagrees, so may those of smaller steps, or the step crosses a kink: then the difference
    changes with the step, beyond rounding.
    """
    here = float(p.data[at])
    loss = float(evaluate().item())

    def value(number: float) -> float:
        p.overwrite(lambda array: array.__setitem__(at, number))
        return float(evaluate().item())

    def slopes(step: float) -> tuple[float, float, float]:
        above, below = here + step, here - step
        up, down = value(above), value(below)
        return (up - down) / (above - below), (up - loss) / (above - here), (loss - down) / (here - below)

    def agrees(numerical: float, tolerance: float) -> bool:
        return abs(analytic - numerical) <= tolerance + rtol * abs(numerical)

    step = _STEPS["centred"] * max(1.0, abs(here))
    try:
        with np.errstate(invalid="ignore"):
            first, _, _ = slopes(step)
            if agrees(first, atol):
                return first, "ok"
            previous, jumps = first, []
            for smaller in (10, 100):
                centred, right, left = slopes(step / smaller)
                tolerance = atol * smaller  # rounding errors are inversely proportional to the step
                is_smooth = abs(centred - previous) <= 2 * tolerance + rtol * abs(centred)
                if not is_smooth and agrees(centred, tolerance):
                    return centred, "kink"
                previous = centred
                jumps.append(abs(right - left))
            # Of a smooth function the slopes of both sides differ in proportion to the step.
            if jumps[1] > max(4 * tolerance, 0.5 * jumps[0]):
                return analytic, "kink"
    finally:
        p.overwrite(lambda array: array.__setitem__(at, here))
    return first, "wrong"


def _named_parameters(model: Any, parameters: Any) -> dict[str, Tensor]:
    """Return the parameters of a model by name."""
    if parameters is None:
        named = dict(model.named_parameters() if hasattr(model, "named_parameters") else _tensors_named_in(model))
    else:
        named = dict(parameters if isinstance(parameters, Mapping) else {str(i): p for i, p in enumerate(parameters)})
    if not named:
        raise ValueError(f"check_model: no parameters were found in {_name(model)}; give them by parameters=")
    for name, p in named.items():
        if not (isinstance(p, Tensor) and p.requires_grad and p.is_leaf):
            raise TypeError(f"check_model: the parameter {name} must be a leaf tensor with requires_grad=True")
        if p.dtype != np.float64:
            raise TypeError(
                f"check_model: the parameter {name} is {p.dtype}, but the check works in float64; make the model with "
                "dtype=np.float64"
            )
    return named


def _tensors_named_in(function: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the leaf tensors, and those of the modules, that the code of a function names, also inside lists."""
    if not isinstance(function, FunctionType):
        return
    from inspect import getclosurevars  # noqa: PLC0415 (slow)

    found = getclosurevars(function)
    pending = [*found.nonlocals.items(), *found.globals.items()]
    while pending:
        name, thing = pending.pop(0)
        if isinstance(thing, Tensor):
            if thing.requires_grad and thing.is_leaf:
                yield name, thing
        elif hasattr(thing, "named_parameters"):
            pending += [(f"{name}.{inner}", p) for inner, p in thing.named_parameters()]
        elif isinstance(thing, (list, tuple)):
            pending += [(f"{name}.{i}", item) for i, item in enumerate(thing)]
        elif isinstance(thing, dict):
            pending += [(f"{name}.{key}", item) for key, item in thing.items()]


def _cost_of(model: Any, X: Any, labels: Any, loss: Callable[..., Any] | None, lam: float) -> Callable[[], Tensor]:
    """Return the function that computes the cost of a batch."""
    if not isinstance(X, Value):
        array = np.asarray(X)
        X = Tensor(array, dtype=np.float64 if array.dtype.kind == "f" else None)
    targets = () if labels is None else (labels,)
    if loss is None and not callable(getattr(model, "loss", None)):
        raise ValueError(
            f"check_model: {_name(model)} has no method loss; give loss=, a function of scores and labels such as "
            "functional.cross_entropy"
        )
    if lam and not hasattr(model, "weights"):
        raise ValueError(f"check_model: lam needs a module; {_name(model)} has no weights()")

    def cost() -> Tensor:
        out = model.loss(X, *targets) if loss is None else loss(model(X), *targets)
        for W in model.weights() if lam else ():
            out = out + lam * (W * W).sum()
        if not isinstance(out, Tensor) or out.size != 1 or out.dtype != np.float64:
            got = f"a {out.dtype} tensor of shape {out.shape}" if isinstance(out, Tensor) else type(out).__name__
            raise TypeError(f"check_model: the loss must be a float64 tensor of one element; got {got}")
        return out

    return cost


@contextmanager
def _repeatable(model: Any, function: Callable[[], Tensor]) -> Iterator[Callable[[], Tensor]]:
    """Yield a function with the random generators of a model in their present states, to which they return."""
    generators = model.generators() if hasattr(model, "generators") else []
    states = [rng.bit_generator.state for rng in generators]

    def repeat() -> Tensor:
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state
        return function()

    try:
        yield repeat
    finally:
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state


# -- arguments ---------------------------------------------------------------------------------------------------------


def _points(name: str, inputs: Any) -> list[Any]:
    """Return the inputs: copies of tensors, and everything else as read-only arrays."""
    points: list[Any] = []
    for i, given in enumerate(inputs if isinstance(inputs, (tuple, list)) else (inputs,)):
        refuse_masked_array(name, given)
        array = np.array(unwrap_value(given))
        if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and array.dtype != np.float64):
            raise TypeError(
                f"{name}: input {i} is {array.dtype}, but the check works in float64: with fewer digits, "
                "differences cannot tell a wrong gradient from a rounded one. Convert with astype(np.float64)"
            )
        points.append(_as(given if array.dtype.kind == "f" else None, array))
    return points


def _as(like: Any, array: Array) -> Any:
    """Return an array as a tensor if ``like`` is one, and otherwise read-only."""
    if isinstance(like, Tensor):
        return Tensor(array, requires_grad=like.requires_grad)
    array.flags.writeable = False
    return array


def _differentiable(name: str, points: Sequence[Any], index: int) -> Array:
    if not 0 <= index < len(points):
        raise ValueError(f"{name}: index must be from 0 to {len(points) - 1}; got {index}")
    x: Array = unwrap_value(points[index])
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: input {index} must be float64; got {x.dtype}, which has no gradient")
    return x


def _evaluate(f: Callable[..., Any], points: Sequence[Any], kind: str) -> Array:
    """Call ``f`` and return its result as an array of the given kind: ``"f"``, real, or ``"c"``, complex."""
    result = f(*points)
    array = np.asarray(unwrap_value(result)) if not isinstance(result, (tuple, list, dict)) else None
    if array is None or array.dtype.kind not in "fciub":
        raise TypeError(f"{_name(f)} must return one tensor or array of numbers; got {type(result).__name__}")
    if array.dtype.kind != kind and kind == "c":
        raise TypeError(
            f"complex_step: {_name(f)} returned {array.dtype} numbers for complex inputs, so it is not "
            "analytic as written"
        )
    if kind == "f" and array.dtype != np.float64:
        raise TypeError(f"{_name(f)} must return float64 numbers for float64 inputs; got {array.dtype}")
    return array


def _weights(name: str, out: Array, cotangent: Any) -> Array:
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


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _description(f: Callable[..., Any], out: Tensor) -> str:
    """Return the name of the function and of the operations that its result is composed of."""
    behind = [] if out._node is None else ancestors(out._node)
    names = {node.primitive.name for node in behind if node.primitive is not None}
    if names <= {_name(f)}:
        return _name(f)
    return f"{_name(f)} (composed of {', '.join(sorted(names))})"


def _format_index(at: Sequence[Any]) -> str:
    return "[" + ", ".join(str(int(i)) for i in at) + "]"
