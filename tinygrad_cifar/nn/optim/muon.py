"""Muon: steps whose matrices are made nearly orthogonal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.optim.base import Array, Optimiser
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls

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
        If ``matrix`` does not have two axes, or there are fewer than one iteration.

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
    _check_iterations("orthogonalise", iterations)
    x = np.array(x, dtype=x.dtype if x.dtype.kind == "f" else np.float64, order="C")
    if norm := _norm(x):
        x /= norm
    return _orthogonalise(x, iterations)


def _orthogonalise(x: Array, iterations: int) -> Array:
    """Return the result for a matrix with norm 1, in whose memory it may be."""
    a, b, c = _COEFFICIENTS
    is_tall = x.shape[0] > x.shape[1]  # the products with the smaller Gram matrix take less time
    product = np.empty_like(x)
    for _ in range(iterations):
        gram = x.T @ x if is_tall else x @ x.T
        polynomial = gram @ gram
        polynomial *= c
        gram *= b
        polynomial += gram
        np.matmul(*((x, polynomial) if is_tall else (polynomial, x)), out=product)
        x *= a
        x += product
    return x


def _norm(x: Array) -> float:
    """Return the root of the sum of squares, also if a square overflows or underflows."""
    flat = x.reshape(-1)
    with np.errstate(over="ignore", under="ignore"):
        norm = math.sqrt(np.dot(flat, flat))
    if norm == 0 or math.isinf(norm):
        largest = float(np.abs(flat).max(initial=0))
        if 0 < largest < math.inf:
            scaled = flat / largest
            return largest * math.sqrt(np.dot(scaled, scaled))
    return norm


def _check_iterations(name: str, iterations: int) -> None:
    if iterations < 1:
        raise ValueError(f"{name}: iterations must be at least 1; got {iterations}")


class Muon(Optimiser):
    """Muon (K. Jordan, 2024): ``w = w - eta * orthogonalise(g + m * v)`` with ``v = m * v + g``.

    For the matrices and filters inside a network. The function :func:`orthogonalise` makes all singular values of the
    matrix ``g + m * v`` about 1, so that a step changes all its directions equally. The matrix of a filter has one
    column per output and one row for each element of the other axes. Biases and other vectors, and usually the last
    layer, need another optimiser.

    Weight decay is decoupled: every weight is multiplied by ``1 - eta * weight_decay`` before the step.

    Source: https://kellerjordan.github.io/posts/muon/; with ``rescale`` and 3 iterations, the variant of the records on
    CIFAR-10 (https://github.com/KellerJordan/cifar10-airbench; K. Jordan, arXiv:2404.00498).

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves to update, each with at least two axes.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.02.
    momentum : float
        Momentum coefficient m, in [0, 1). Default: 0.95.
    nesterov : bool
        If True, use Nesterov momentum: ``g + m * v`` with the new v. If False, v alone. Default: True.
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

    @explain_calls
    def __init__(
        self,
        parameters: Iterable[Tensor],
        eta: float | Schedule = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        iterations: int = 5,
        rescale: bool = False,
        axis: int = -1,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, eta, weight_decay=weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"Muon: momentum must be in [0, 1); got {momentum}")
        _check_iterations("Muon", iterations)
        for i, p in enumerate(self.parameters):
            if p.ndim < 2:  # noqa: PLR2004 (a matrix)
                raise ValueError(
                    f"Muon: parameter {i} must have at least two axes; got the shape {p.shape}: give vectors to "
                    "another optimiser"
                )
            if not -p.ndim <= axis < p.ndim:
                raise ValueError(f"Muon: axis {axis} is out of range for parameter {i}, which has the shape {p.shape}")
        self.momentum = float(momentum)
        self.nesterov, self.iterations, self.rescale, self.axis = nesterov, iterations, rescale, axis
        self._add_buffers("velocity")

    def _update_in_blocks(self, arrays: list[Array], eta: float, decay: float, w: Array) -> None:
        self._update(w, *arrays, eta=eta, decay=decay)  # the matrix as a whole

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float) -> None:
        (v,) = buffers
        v *= self.momentum
        v += g
        change = np.multiply(v, self.momentum, order="C") if self.nesterov else v.copy()
        if self.nesterov:
            change += g
        if self.rescale and (length := _norm(w)):
            w *= math.sqrt(w.shape[self.axis]) / length
        if decay:
            w *= 1 - eta * decay
        if not (norm := _norm(change)):
            return
        change /= norm
        matrix = np.moveaxis(change, self.axis, -1)
        shape = matrix.shape
        result = _orthogonalise(matrix.reshape(-1, shape[-1]), self.iterations)
        result *= eta
        w -= np.moveaxis(result.reshape(shape), -1, self.axis)
