"""Muon: steps whose matrices are made nearly orthogonal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.optim.base import Array, Optimiser, Parameters, Setting, check_coefficient
from tinygrad_cifar.nn.optim.norms import norm_of
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.numbers import check_count

# With these, small singular values grow quickly, and the iteration does not converge to exactly 1.
_COEFFICIENTS = 3.4445, -4.7750, 2.0315


def orthogonalise(matrix: Any, iterations: int = 5) -> Array:
    """Return nearly the closest matrix with orthonormal rows or columns, by Newton-Schulz iterations.

    If ``matrix`` is ``U @ diag(s) @ V.T``, the result is about ``U @ V.T``. Starting from ``X = matrix / norm``, where
    the norm is the root of the sum of squares, each iteration computes ``X = a * X + (b * A + c * A @ A) @ X`` with
    ``A = X @ X.T`` and ``(a, b, c) = (3.4445, -4.775, 2.0315)``. With these, small singular values grow quickly;
    those of the result converge to the range from 0.7 to 1.3, not to 1 (K. Jordan, Muon: an optimizer for hidden layers
    in neural networks, 2024).

    Parameters
    ----------
    matrix : array_like, shape (rows, columns)
        Matrix, of any scale.
    iterations : int
        Number of iterations, at least 1. Default: 5.

    Returns
    -------
    ndarray, shape (rows, columns)
        New array; zeros if ``matrix`` contains only zeros.

    Raises
    ------
    ValueError
        If ``matrix`` does not have two axes, or ``iterations`` is less than 1.
    TypeError
        If ``matrix`` does not contain real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.nn import optim
    >>> result = optim.orthogonalise(np.diag([3.0, 2.0, 1.0]))
    >>> bool((0.6 < np.diag(result)).all() and (np.diag(result) < 1.3).all())
    True
    """
    x = np.asarray(unwrap_value(matrix))
    if x.ndim != 2:  # noqa: PLR2004 (a matrix)
        raise ValueError(f"orthogonalise: matrix must have two axes; got the shape {x.shape}")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"orthogonalise: matrix must contain real numbers; got {x.dtype}")
    check_count("orthogonalise: iterations", iterations)
    x = np.array(x, dtype=x.dtype if x.dtype.kind == "f" else np.float64, order="C")
    if norm := norm_of(x):
        x /= norm
    return _orthogonalise(x, iterations)


def _orthogonalise(x: Array, iterations: int) -> Array:
    """Return the result for a matrix with norm 1, in whose memory it may be."""
    a, b, c = _COEFFICIENTS
    is_tall = x.shape[0] > x.shape[1]  # the products with the smaller Gram matrix take less time
    product = np.empty_like(x)
    for _ in range(iterations):
        gram = x.T @ x if is_tall else x @ x.T
        polynomial = gram @ gram.T  # as a matrix times its transpose, which BLAS computes in two thirds of the time
        polynomial *= c
        gram *= b
        polynomial += gram
        np.matmul(x if is_tall else polynomial, polynomial if is_tall else x, out=product)
        x *= a
        x += product
    return x


class Muon(Optimiser):
    """Muon (K. Jordan, 2024): ``w = w - eta * orthogonalise(g + m * v)`` with ``v = m * v + g``.

    For the matrices and filters inside a network. The function :func:`orthogonalise` makes all singular values of the
    matrix ``g + m * v`` about 1, so that a step changes all its directions equally. The matrix of a filter has one
    column per output and one row for each element of the other axes. Biases and other vectors, and usually the last
    layer, need another optimiser; :class:`Combined` makes one of several.

    Weight decay is decoupled: every weight is multiplied by ``1 - eta * weight_decay`` before the step.

    Source: https://kellerjordan.github.io/posts/muon/; with ``rescale`` and 3 iterations, the variant of the records on
    CIFAR-10 (https://github.com/KellerJordan/cifar10-airbench).

    Parameters
    ----------
    parameters : iterable of Tensor, or of groups
        Leaves to update, each with at least two axes, or groups of them with settings of their own; see
        :class:`Optimiser`.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.02.
    momentum : float
        Momentum coefficient m, in [0, 1). Default: 0.95.
    nesterov : bool
        If True, use Nesterov momentum: ``g + m * v`` with the new v. If False, only v. Default: True.
    iterations : int
        Newton-Schulz iterations, at least 1. Default: 5.
    rescale : bool
        If True, each parameter is divided by its norm and multiplied by the square root of the number of outputs before
        each step, so that only its direction is learned. It requires a normalisation after the layer. Default: False.
    axis : int
        Axis of the outputs of each parameter. Default: -1, the last, as in :class:`tinygrad_cifar.nn.Linear`.
    weight_decay : float
        Factor of the decay of the weights. Default: 0.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range, or a parameter has fewer than two axes or lacks the axis.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> W = Tensor(np.zeros((2, 2)), requires_grad=True)
    >>> optimiser = optim.Muon([W], eta=0.1)
    >>> (W * [[1000.0, 0.0], [0.0, 1.0]]).sum().backward()
    >>> optimiser.step()
    >>> W.data.round(2)  # both directions change, although the second has a small gradient
    array([[-0.07,  0.  ],
           [ 0.  , -0.05]])
    """

    momentum = Setting[float]()
    nesterov = Setting[bool]()
    iterations = Setting[int]()
    rescale = Setting[bool]()
    axis = Setting[int]()
    _is_elementwise = False

    @explain_calls
    def __init__(
        self,
        parameters: Parameters,
        eta: float | Schedule = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        iterations: int = 5,
        rescale: bool = False,
        axis: int = -1,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {
            "momentum": momentum,
            "nesterov": nesterov,
            "iterations": iterations,
            "rescale": rescale,
            "axis": axis,
        }
        super().__init__(parameters, eta, weight_decay=weight_decay, settings=settings)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        check_coefficient("Muon: momentum", settings["momentum"])
        check_count("Muon: iterations", settings["iterations"])
        if settings["rescale"] and settings["weight_decay"]:
            raise ValueError("Muon: weight_decay has no effect on parameters that are rescaled; give only one of them")

    def _check_parameters(self, parameters: Sequence[Tensor], settings: Mapping[str, Any]) -> None:
        for i, p in enumerate(parameters):
            _check_shape(i, p.shape, settings["axis"])

    def _buffer_names(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return ("velocity",)

    def _is_decoupled(self, settings: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return True

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float, **settings: Any) -> None:  # noqa: ARG002
        (v,) = buffers
        momentum, axis = settings["momentum"], settings["axis"]
        v *= momentum
        v += g
        change = g + momentum * v if settings["nesterov"] else v.copy()
        if settings["rescale"] and (length := norm_of(w)):
            w *= math.sqrt(w.shape[axis]) / length
        if not (norm := norm_of(change)):
            return
        change /= norm
        matrix = np.moveaxis(change, axis, -1)
        shape = matrix.shape
        result = _orthogonalise(matrix.reshape(-1, shape[-1]), settings["iterations"])
        result *= eta
        w -= np.moveaxis(result.reshape(shape), -1, axis)


def _check_shape(i: int, shape: tuple[int, ...], axis: int) -> None:
    if len(shape) < 2:  # noqa: PLR2004 (a matrix)
        raise ValueError(
            f"Muon: parameter {i} must have at least two axes; got the shape {shape}: give vectors to another optimiser"
        )
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"Muon: axis {axis} is out of range for parameter {i}, which has the shape {shape}")
