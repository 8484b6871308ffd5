"""The derivative table: solutions of linear systems, inverses and determinants, of stacks of square matrices.

The matrices are the last two axes; leading axes broadcast. The VJPs solve with the transposed matrices, so that
derivatives of every order are defined wherever the matrices are invertible; those of the determinant everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.linalg import matmul
from tinygrad_cifar.engine.ops.shapes import expand_dims
from tinygrad_cifar.engine.primitives import binary, primitive


def _of_square(function: Callable[..., Any], x: Array, *others: Array) -> Any:
    """Return the result of one of NumPy's functions of square matrices; raise an error that says what is wrong."""
    x = np.asarray(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"x must be a square matrix, or a stack of them; got the shape {x.shape}")
    try:
        return function(x, *others)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError("x must be invertible; got a singular matrix") from error


def _solution(x: Array, y: Array) -> Any:
    x, y = np.asarray(x), np.asarray(y)
    if y.ndim == 0 or (x.ndim > 1 and y.shape[max(-2, -y.ndim)] != x.shape[-1]):
        raise ValueError(f"y must be a vector or matrices with the rows of x; got the shapes {x.shape} and {y.shape}")
    return _of_square(np.linalg.solve, x, y)


def _inverse(x: Array) -> Any:
    return _of_square(np.linalg.inv, x)


def _determinant(x: Array) -> Any:
    return _of_square(np.linalg.det, x)


solve = binary(
    "solve",
    _solution,
    x=lambda g, x, y_shape, out: _solve_vjp_x(g, x, y_shape, out),
    y=lambda g, x, y_shape: _solve_transposed(g, x, y_shape),
    doc=Doc(
        "Solve the systems of linear equations ``x @ out = y``, as ``numpy.linalg.solve`` does.",
        "linalg.solve(x, y)",
        x="-linalg.solve(x.mT, g) @ out.mT",
        y="linalg.solve(x.mT, g)",
        note="``x`` is a square matrix, or a stack of them, and ``y`` a vector or a matrix of right-hand sides. "
        "Leading axes broadcast; as in NumPy, a ``y`` of two or more axes consists of matrices, not of vectors. A "
        "singular matrix raises ``numpy.linalg.LinAlgError``, which is a ValueError.",
        example=">>> tg.solve(tg.Tensor([[2.0, 0.0], [1.0, 4.0]]), tg.Tensor([2.0, 5.0]))\nTensor([1., 1.])",
    ),
)


def _solve_transposed(g: Any, x: Any, y_shape: tuple[int, ...]) -> Any:
    if len(y_shape) == 1:  # g may have more axes, those of a stack in x
        return solve(x.mT, expand_dims(g, -1))[..., 0]
    return solve(x.mT, g)


def _solve_vjp_x(g: Any, x: Any, y_shape: tuple[int, ...], out: Any) -> Any:
    if len(y_shape) == 1:
        g, out = expand_dims(g, -1), expand_dims(out, -1)
    return -matmul(solve(x.mT, g), out.mT)


_inv = primitive(
    "inv",
    _inverse,
    x=lambda g, out: -matmul(out.mT, matmul(g, out.mT)),
    doc=Doc(
        "Inverses of matrices.",
        "linalg.inv(x)",
        x="-out.mT @ g @ out.mT",
        note="To multiply an inverse by a matrix, use :func:`solve`, which is faster and more accurate. A singular "
        "matrix raises ``numpy.linalg.LinAlgError``, which is a ValueError.",
    ),
)


@operation(_inv)
def inv(x: TensorLike) -> TensorLike:
    """Compute the inverses of square matrices, as :func:`numpy.linalg.inv` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
    >>> tg.trace(tg.inv(t)).backward()
    >>> t.grad
    Tensor([[-0.25  , -0.    ],
            [-0.    , -0.0625]])
    """
    return _inv(value_or_array(x))


# -- determinants ------------------------------------------------------------------------------------------------------

_det = primitive(
    "det",
    _determinant,
    x=lambda g, x, out: expand_dims(g, (-2, -1)) * _cofactors(x, out),
    doc=Doc(
        "Determinants of matrices.",
        "linalg.det(x)",
        x="g[..., None, None] * out[..., None, None] * linalg.inv(x).mT",
        note="The derivative is the matrix of cofactors, also where the matrix is singular; there and near there it is "
        "computed from the minors, which takes about n**5 operations. The determinant of a large matrix overflows or "
        "underflows; use :func:`slogdet`.",
    ),
)


@operation(_det)
def det(x: TensorLike) -> TensorLike:
    """Compute the determinants of square matrices, as :func:`numpy.linalg.det` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([[2.0, 1.0], [0.0, 4.0]], requires_grad=True)
    >>> tg.det(t).backward()
    >>> t.grad
    Tensor([[ 4.,  0.],
            [-1.,  2.]])
    """
    return _det(value_or_array(x))


def _cofactors(x: Any, determinant: Any) -> Any:
    """Return the matrices of cofactors; from the inverses, unless a matrix of the stack is nearly singular."""
    if _are_well_conditioned(unwrap_value(x)):
        return expand_dims(determinant, (-2, -1)) * inv(x).mT
    places = np.arange(x.shape[-1])
    others = np.array([np.delete(places, i) for i in places])
    minors = x[..., others[:, np.newaxis, :, np.newaxis], others[np.newaxis, :, np.newaxis, :]]
    signs = 1 - 2 * ((places[:, np.newaxis] + places) % 2)
    return det(minors) * signs.astype(x.dtype)


def _are_well_conditioned(x: Array) -> bool:
    """Return whether half of the digits of the inverses are right."""
    try:
        inverses = np.linalg.inv(x)
    except np.linalg.LinAlgError:
        return False
    condition = _largest_column_sum(x) * _largest_column_sum(inverses)
    return not np.any(condition * np.sqrt(np.finfo(condition.dtype).eps) > 1)


def _largest_column_sum(x: Array) -> Array:
    largest: Array = np.abs(x).sum(-2).max(-1, initial=0)
    return largest


_det_sign = primitive("det_sign", lambda x: _of_square(np.linalg.slogdet, x)[0])

_logabsdet = primitive(
    "logabsdet",
    lambda x: _of_square(np.linalg.slogdet, x)[1],
    x=lambda g, x: expand_dims(g, (-2, -1)) * inv(x).mT,
    doc=Doc(
        "Logarithm of the absolute value of the determinant.",
        "linalg.slogdet(x)[1]",
        x="g[..., None, None] * linalg.inv(x).mT",
    ),
)


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of determinants.

    Attributes
    ----------
    sign : Tensor or numpy.ndarray
        1, -1, or 0 where the matrix is singular; a constant.
    logabsdet : Tensor or numpy.ndarray
        ``log(abs(det(x)))``; -inf where the matrix is singular.
    """

    sign: Any
    logabsdet: Any


@documented(
    *(_det_sign, _logabsdet),
    doc=Doc("", "(sign(linalg.det(x)), log(abs(linalg.det(x))))", x="g[1][..., None, None] * linalg.inv(x).mT"),
)
def slogdet(x: TensorLike) -> SlogdetResult:
    """Compute sign and logarithm of the absolute value of determinants, as :func:`numpy.linalg.slogdet` does.

    Parameters
    ----------
    x : Tensor or array_like
        A square matrix, or a stack of them.

    Returns
    -------
    sign : Tensor or numpy.ndarray
        1, -1, or 0 where the matrix is singular; not recorded.
    logabsdet : Tensor or numpy.ndarray
        ``log(abs(det(x)))``; -inf where the matrix is singular, where it has no derivative: a backward pass through it
        raises ``numpy.linalg.LinAlgError``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
    >>> sign, logabsdet = tg.slogdet(t)
    >>> logabsdet.backward()
    >>> t.grad
    Tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    x = value_or_array(x)
    return SlogdetResult(_det_sign(x), _logabsdet(x))
