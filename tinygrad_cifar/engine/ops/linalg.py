"""The derivative table: products of matrices and vectors, sums of products in general, norms.

``matmul`` broadcasts its leading axes and treats a vector as a matrix of one row or one column, as NumPy does; its VJPs
restore the missing axis, and the backward pass sums over the axes that were broadcast.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from tinygrad_cifar.engine.axes import Axis, normalize_axes, normalize_axis_index, size_along
from tinygrad_cifar.engine.blocked import products
from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, Node, shape_of, unwrap_value, value_or_array
from tinygrad_cifar.engine.operations import TensorLike, V, binary_operation, operation
from tinygrad_cifar.engine.ops import reductions
from tinygrad_cifar.engine.ops.elementwise import _as_floats, multiply, subtract
from tinygrad_cifar.engine.ops.exponential import power
from tinygrad_cifar.engine.ops.indexing import _getitem, diagonal
from tinygrad_cifar.engine.ops.joining import concatenate
from tinygrad_cifar.engine.ops.piecewise import absolute, sign, where
from tinygrad_cifar.engine.ops.reductions import _max, _min, _norm, _sum
from tinygrad_cifar.engine.ops.shapes import (
    _pad,
    _reshape,
    _transpose,
    expand_dims,
    flip,
    moveaxis,
    pad,
    ravel,
    reshape,
    squeeze,
    transpose,
)
from tinygrad_cifar.engine.parts import collect
from tinygrad_cifar.engine.primitives import binary, variadic_primitive

matmul = binary(
    "matmul",
    products.matmul,
    x=lambda g, y, x_shape: _matmul_vjp_x(g, y, x_shape),
    y=lambda g, x, y_shape: _matmul_vjp_y(g, x, y_shape),
    doc=Doc(
        "Compute the product of matrices, as ``numpy.matmul`` does.",
        "x @ y",
        x="g @ y.mT",
        y="x.mT @ g",
        note="``out[..., i, j] = sum_k x[..., i, k] * y[..., k, j]``. Leading axes broadcast; a vector is a row on the "
        "left and a column on the right. Shapes that do not match raise ValueError.",
        example=">>> tg.matmul(tg.Tensor([[1.0, 2.0]]), tg.Tensor([[3.0], [4.0]]))\nTensor([[11.]])",
    ),
)


def _matmul_vjp_x(g: Any, y: Any, x_shape: tuple[int, ...]) -> Any:
    if y.ndim == 1:  # (..., n, k) @ (k,)
        return expand_dims(g, -1) * y
    if g.ndim < y.ndim:  # (k,) @ (..., k, m)
        return matmul(expand_dims(g, -2), y.mT)
    if stretched := _stretched_axes(x_shape, g.shape):
        return _reshape(matmul(_with_axes_in(g, stretched, -1), _with_axes_in(y, stretched, -1, g.ndim).mT), x_shape)
    return matmul(g, y.mT)


def _matmul_vjp_y(g: Any, x: Any, y_shape: tuple[int, ...]) -> Any:
    if x.ndim == 1:  # (k,) @ (..., k, m) or (k,) @ (k,)
        return expand_dims(x, -1) * expand_dims(g, -2) if g.ndim else x * g
    if len(y_shape) == 1:  # (..., n, k) @ (k,)
        rows = math.prod(g.shape)
        return matmul(_reshape(g, (rows,)), _reshape(x, (rows, *y_shape)))
    if stretched := _stretched_axes(y_shape, g.shape):
        rows_of_x, rows_of_g = _with_axes_in(x, stretched, -2, g.ndim), _with_axes_in(g, stretched, -2)
        return _reshape(matmul(rows_of_x.mT, rows_of_g), y_shape)
    return matmul(x.mT, g)


# The cotangent of an operand is a sum over the axes along which it was broadcast. These axes are merged with the one
# that the product sums over: the gradient of W in (1000, 16, 256) @ (256, 256) is one product of matrices instead of
# 1000 whose sum follows, and takes 0.1 to 0.5 of the time and an eighth of the memory.


def _stretched_axes(shape: tuple[int, ...], result: tuple[int, ...]) -> list[int]:
    """Return the leading axes of the result along which an operand of this shape was broadcast."""
    added = len(result) - len(shape)
    if not added and len(shape) <= 2:
        return []
    return [i for i, size in enumerate(result[:-2]) if size != 1 and (i < added or shape[i - added] == 1)]


def _with_axes_in(x: Any, axes: list[int], into: int, ndim: int = 0) -> Any:
    """Merge leading axes into the last axis or the last but one; ``x`` gets ``ndim`` axes first, if it has fewer."""
    shape = (1,) * (ndim - x.ndim) + x.shape
    others = [i for i in range(len(shape) - 2) if i not in axes]
    row, column = range(len(shape))[-2:]
    order = (*others, *axes, row, column) if into == -2 else (*others, row, *axes, column)
    size = size_along(shape, axes)
    rows, columns = (size * shape[row], shape[column]) if into == -2 else (shape[row], size * shape[column])
    return _reshape(_transpose(_reshape(x, shape), order), (*[shape[i] for i in others], rows, columns))


def _elements_of_product(node: Node, g: Any, x: Any, _: Any) -> int:
    """Return the number of elements of a product of matrices; 0 if it broadcasts, or is of another dtype."""
    is_plain = g.ndim == 2 == x.ndim and g.dtype == x.dtype == node.dtype
    return math.prod(g.shape) + math.prod(x.shape) if is_plain else 0


def _add_products(apply: Any, start: Any, cotangents: list[Any], saved: list[tuple[Any, ...]]) -> Any:
    """Return ``start`` and all ``x.T @ g``, as one product, which takes 0.4 of the time in a recurrent network."""
    if len(saved) == 1:
        return start + apply(cotangents[0], *saved[0])
    x = concatenate(tuple([x for x, _ in saved]), 0)
    return start + apply(concatenate(cotangents, 0), x, saved[0][1])


collect(matmul, "y", size=_elements_of_product, total=_add_products)

_einsum = variadic_primitive(
    "einsum",
    lambda xs, subscripts: np.einsum(subscripts, *xs, optimize=len(xs) > 1),
    lambda g, i, xs, subscripts: _einsum_vjp(g, i, xs, subscripts),
    doc=Doc(
        "Sum of products.", "einsum(subscripts, *xs)", xs="einsum of g and the other operands, with this one's labels"
    ),
)


@overload
def einsum(subscripts: str, *xs: V) -> V: ...
@overload
def einsum(subscripts: str, *xs: Array) -> Array: ...
@overload
def einsum(subscripts: str, *xs: Any) -> Any: ...
@documented(_einsum)
def einsum(subscripts: str, *xs: TensorLike) -> TensorLike:
    """Compute a sum of products of elements, in Einstein's summation convention.

    The sum is over the labels that the result does not have: ``"ij,jk->ik"`` is the product of two matrices,
    ``"ii->i"`` a diagonal, ``"...ij->...ji"`` a transposition. Axes that an ellipsis represents must have equal sizes.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, einsum
    >>> t = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> einsum("ii->", t).backward()
    >>> t.grad
    Tensor([[1., 0.],
            [0., 1.]])
    """
    return _einsum(xs, _explicit(subscripts, [shape_of(x) for x in xs]))


def _explicit(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> str:
    """Return explicit subscripts: letters for an ellipsis, and the labels of the result after an arrow."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {subscripts!r} must have one term for each of the {len(shapes)} operands")
    free = iter(sorted(set(string.ascii_letters) - set(subscripts)))
    counts = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    hidden = [n for n, term in zip(counts, terms, strict=True) if "..." in term]
    ellipsis = "".join(next(free) for _ in range(max(hidden, default=0)))
    full = []
    for term, count, shape in zip(terms, counts, shapes, strict=True):
        if count < 0 or (count > 0 and "..." not in term):
            raise ValueError(f"einsum: {term!r} in {subscripts!r} does not match an operand of shape {shape}")
        full.append(term.replace("...", ellipsis[len(ellipsis) - count :]))
    if not arrow:
        labels = "".join(full)
        right = "..." * bool(ellipsis) + "".join(sorted(x for x in set(labels) - set(ellipsis) if labels.count(x) == 1))
    if hidden and "..." not in right:
        raise ValueError(f"einsum: {subscripts!r} has an ellipsis for the operands but not for the result; add one")
    sizes: dict[str, int] = {}
    for term, shape in zip(full, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ValueError(f"einsum: in {subscripts!r}, a label has two sizes for the shapes {list(shapes)}")
    return ",".join(full) + "->" + right.replace("...", ellipsis)


def _einsum_vjp(g: Any, i: int, xs: tuple[Any, ...], subscripts: str) -> Any:
    """Contract the cotangent with the other operands, for the labels of operand ``i``.

    A label that only this operand has was summed over: the cotangent is repeated along it (a factor of ones). A label
    that occurs in it twice took a diagonal: the cotangent goes to that diagonal (a factor of the identity).
    """
    left, right = subscripts.split("->")
    terms = left.split(",")
    free = iter(sorted(set(string.ascii_letters) - set(subscripts)))
    shape = xs[i].shape
    factors = [g, *[x for j, x in enumerate(xs) if j != i]]
    labels = [right, *[term for j, term in enumerate(terms) if j != i]]
    known = set("".join(labels))
    wanted = ""
    for label, size in zip(terms[i], shape, strict=True):
        if label in wanted:
            second = next(free)
            factors.append(np.eye(size, dtype=g.dtype))
            labels.append(label + second)
            wanted += second
        else:
            if label not in known:
                factors.append(np.ones(size, dtype=g.dtype))
                labels.append(label)
            wanted += label
    return _einsum(tuple(factors), ",".join(labels) + "->" + wanted)


# -- products ----------------------------------------------------------------------------------------------------------


@binary_operation(
    *(matmul, multiply, _reshape, _transpose),
    doc=Doc("", "x @ y; for more axes, the sum over the last axis of x and the last but one of y"),
)
def dot(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the dot product of vectors, the product of matrices, or a multiple, as :func:`numpy.dot` does.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.dot(tg.Tensor([1.0, 2.0]), tg.Tensor([3.0, 4.0]))
    Tensor(11.)
    """
    x, y = value_or_array(x), value_or_array(y)
    if x.ndim == 0 or y.ndim == 0:
        return multiply(x, y)
    if y.ndim <= 2:
        return matmul(x, y)
    return tensordot(x, y, (-1, -2))


@binary_operation(matmul, _reshape, doc=Doc("", "sum(ravel(x) * ravel(y))"))
def vdot(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the dot product of two arrays of the same size, as vectors.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.vdot(tg.Tensor([[1.0, 2.0]]), tg.Tensor([[3.0], [4.0]]))
    Tensor(11.)
    """
    return matmul(ravel(x), ravel(y))


@operation(multiply, _sum, doc=Doc("", "sum(x * y, axis)"))
def vecdot(x: TensorLike, y: TensorLike, axis: int = -1) -> TensorLike:
    """Compute the dot products of the vectors along ``axis``; the other axes broadcast.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.vecdot(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), tg.Tensor([10.0, 1.0]))
    Tensor([12., 34.])
    """
    first, second = [shape_of(z)[normalize_axis_index("vecdot", axis, len(shape_of(z)))] for z in (x, y)]
    if first != second:
        raise ValueError(
            f"vecdot: axis {axis} must have the same size in both; got the shapes {shape_of(x)} and {shape_of(y)}"
        )
    return reductions.sum(multiply(moveaxis(x, axis, -1), moveaxis(y, axis, -1)), -1)


@binary_operation(matmul, _reshape, _getitem, doc=Doc("", "x @ y[..., None]"))
def matvec(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the products of matrices and vectors; leading axes broadcast.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.matvec(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), tg.Tensor([10.0, 1.0]))
    Tensor([12., 34.])
    """
    return matmul(x, expand_dims(y, -1))[..., 0]


@binary_operation(matmul, _reshape, _getitem, doc=Doc("", "x[..., None, :] @ y"))
def vecmat(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the products of vectors and matrices; leading axes broadcast.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.vecmat(tg.Tensor([10.0, 1.0]), tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([13., 24.])
    """
    return matmul(expand_dims(x, -2), y)[..., 0, :]


@binary_operation(*(matmul, multiply, _reshape, _transpose), doc=Doc("", "sum_k x[..., k] * y[..., k]"))
def inner(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the sum of products over the last axes, for all pairs of other positions.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.inner(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), tg.Tensor([10.0, 1.0]))
    Tensor([12., 34.])
    """
    x, y = value_or_array(x), value_or_array(y)
    return multiply(x, y) if x.ndim == 0 or y.ndim == 0 else tensordot(x, y, (-1, -1))


@binary_operation(multiply, _reshape, doc=Doc("", "ravel(x)[:, None] * ravel(y)"))
def outer(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the products of all pairs of elements: a matrix with a row for each element of ``x``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.outer(tg.Tensor([1.0, 2.0]), tg.Tensor([3.0, 4.0]))
    Tensor([[3., 4.],
            [6., 8.]])
    """
    return multiply(reshape(x, (-1, 1)), ravel(y))


@operation(matmul, _reshape, _transpose, doc=Doc("", "sum over the given axes of x and y"))
def tensordot(x: TensorLike, y: TensorLike, axes: Any = 2) -> TensorLike:
    """Sum products over pairs of axes, as :func:`numpy.tensordot` does.

    ``axes`` is the number of last axes of ``x`` and first ones of ``y``, or a pair: the axes of ``x``, those of ``y``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.tensordot(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), tg.Tensor([[1.0, 0.0], [0.0, 1.0]]))
    Tensor(5.)
    """
    x_shape, y_shape = shape_of(x), shape_of(y)
    if np.ndim(axes) == 0:
        axes = (range(len(x_shape) - axes, len(x_shape)), range(axes))
    x_axes, y_axes = (
        [normalize_axis_index("tensordot", int(axis), len(shape)) for axis in np.atleast_1d(np.asarray(given, int))]
        for given, shape in zip(axes, (x_shape, y_shape), strict=True)
    )
    if [x_shape[i] for i in x_axes] != [y_shape[i] for i in y_axes]:
        raise ValueError(f"tensordot: the shapes {x_shape} and {y_shape} do not match along axes={axes}")
    x_rest = [i for i in range(len(x_shape)) if i not in x_axes]
    y_rest = [i for i in range(len(y_shape)) if i not in y_axes]
    size = size_along(x_shape, x_axes)
    rows = reshape(transpose(x, (*x_rest, *x_axes)), (size_along(x_shape, x_rest), size))
    columns = reshape(transpose(y, (*y_axes, *y_rest)), (size, size_along(y_shape, y_rest)))
    return reshape(matmul(rows, columns), (*[x_shape[i] for i in x_rest], *[y_shape[i] for i in y_rest]))


@binary_operation(multiply, _reshape, doc=Doc("", "for matrices: the block matrix of x[i, j] * y"))
def kron(x: TensorLike, y: TensorLike) -> TensorLike:
    """Compute the Kronecker product: blocks of ``y``, each multiplied by an element of ``x``.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.kron(tg.Tensor([1.0, 10.0]), tg.Tensor([1.0, 2.0]))
    Tensor([ 1.,  2., 10., 20.])
    """
    ndim = max(len(shape_of(x)), len(shape_of(y)))
    x_shape, y_shape = ((1,) * (ndim - len(shape)) + shape for shape in (shape_of(x), shape_of(y)))
    apart_x = reshape(x, tuple([size for n in x_shape for size in (n, 1)]))
    apart_y = reshape(y, tuple([size for n in y_shape for size in (1, n)]))
    return reshape(multiply(apart_x, apart_y), tuple([m * n for m, n in zip(x_shape, y_shape, strict=True)]))


@operation(
    _getitem, multiply, subtract, doc=Doc("", "(x[1]*y[2] - x[2]*y[1], x[2]*y[0] - x[0]*y[2], x[0]*y[1] - x[1]*y[0])")
)
def cross(x: TensorLike, y: TensorLike, axis: int = -1) -> TensorLike:
    """Compute the cross products of the vectors of three elements along ``axis``; the other axes broadcast.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.cross(tg.Tensor([1.0, 0.0, 0.0]), tg.Tensor([0.0, 1.0, 0.0]))
    Tensor([0., 0., 1.])
    """
    x, y = moveaxis(x, axis, -1), moveaxis(y, axis, -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise ValueError(f"cross: axis {axis} must have three elements; got {x.shape[-1]} and {y.shape[-1]}")
    following, preceding = (..., [1, 2, 0]), (..., [2, 0, 1])
    out = multiply(x[following], y[preceding]) - multiply(x[preceding], y[following])
    return moveaxis(out, -1, axis)


@operation(_getitem, _sum, doc=Doc("", "sum(diagonal(x, offset, axis1, axis2), -1)"))
def trace(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> TensorLike:
    """Compute the sum of the diagonal.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.trace(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor(5.)
    """
    return reductions.sum(diagonal(x, offset, axis1, axis2), -1)


@operation(*(_pad, _getitem, matmul), doc=Doc("", "[sum_j x[i - j] * y[j] for each i]"))
def convolve(x: TensorLike, y: TensorLike, mode: str = "full") -> TensorLike:
    """Compute the convolution of two vectors, as :func:`numpy.convolve` does.

    With ``mode="full"`` the result has ``n + m - 1`` elements, with ``"same"`` ``max(n, m)``, in the middle of these,
    and with ``"valid"`` ``max(n, m) - min(n, m) + 1``, those for which the vectors overlap completely.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.convolve(tg.Tensor([1.0, 2.0, 3.0]), tg.Tensor([1.0, 10.0]))
    Tensor([ 1., 12., 23., 30.])
    """
    x, y = value_or_array(x), value_or_array(y)
    if x.ndim != 1 or y.ndim != 1 or not x.shape[0] or not y.shape[0]:
        raise ValueError(f"convolve: x and y must be vectors with elements; got the shapes {x.shape} and {y.shape}")
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"convolve: mode must be 'full', 'same' or 'valid'; got {mode!r}")
    if x.shape[0] < y.shape[0]:
        x, y = y, x
    n, m = x.shape[0], y.shape[0]
    windows = np.arange(n + m - 1)[:, np.newaxis] + np.arange(m)
    full = matmul(pad(x, m - 1)[windows], y[::-1])
    start, size = {"full": (0, n + m - 1), "same": ((m - 1) // 2, n), "valid": (m - 1, n - m + 1)}[mode]
    return full[start : start + size]


@operation(*(_pad, _getitem, matmul), doc=Doc("", "[sum_j x[i + j] * y[j] for each i]"))
def correlate(x: TensorLike, y: TensorLike, mode: str = "valid") -> TensorLike:
    """Compute the cross-correlation of two vectors, as :func:`numpy.correlate` does; see :func:`convolve`.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.correlate(tg.Tensor([1.0, 2.0, 3.0]), tg.Tensor([1.0, 10.0]))
    Tensor([21., 32.])
    """
    x, y = value_or_array(x), value_or_array(y)
    if x.shape[0] < y.shape[0]:
        return flip(convolve(y, flip(x), mode))
    return convolve(x, flip(y), mode)


# -- norms -------------------------------------------------------------------------------------------------------------


@operation(
    *(_norm, absolute, _sum, _max, _min, power),
    doc=Doc(
        "",
        "sqrt(sum(x**2, axis))",
        x="expand_dims(g, axis) * (x / expand_dims(out, axis))",
        note="This is the formula for the default ``ord``. Where all elements are 0, the gradient is taken as 0, and "
        "with an ``ord`` below 1 that of each element that is 0.",
    ),
)
def norm(x: TensorLike, axis: Axis = None, keepdims: bool = False, *, ord: float | str | None = None) -> TensorLike:
    """Compute the norm along ``axis`` (None: all axes): the Euclidean one, or that of order ``ord``.

    Of vectors (one axis), ``ord`` is a number p, for ``sum(abs(x)**p)**(1 / p)``, or ``inf`` or ``-inf``, for the
    largest or smallest absolute value, or 0, for the number of elements that are not 0. Of matrices (two axes), it is
    ``"fro"``, or 1, -1, ``inf`` or ``-inf``, for the largest or smallest sum of a column or row.

    Raises
    ------
    ValueError
        If the norm of matrices needs singular values (``ord`` 2, -2 or ``"nuc"``), or ``ord`` is unknown.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> t = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> tg.norm(t).backward()
    >>> t.grad
    Tensor([0.6, 0.8])
    >>> tg.norm(t, ord=1)
    Tensor(7., requires_grad=True)
    """
    x, axes = _as_floats(x), normalize_axes("norm", x, axis)
    if ord is None:
        return _norm(x, axes, keepdims)
    if len(axes) == 1:
        return _vector_norm(x, axes, keepdims, ord)
    if len(axes) != 2:
        raise ValueError(f"norm: with ord={ord!r}, x must have one or two axes, or axis must name them")
    if ord in ("fro", "f"):
        return _norm(x, axes, keepdims)
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError(
            f"norm: ord of matrices must be 'fro', 1, -1, inf or -inf; got {ord!r} (write np.linalg.norm of t.data)"
        )
    rows, columns = axes
    summed, compared = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = reductions.sum(absolute(x), summed, True)
    out = (reductions.max if ord > 0 else reductions.min)(sums, compared, True)
    return out if keepdims else squeeze(out, axes)


def _vector_norm(x: Any, axes: tuple[int, ...], keepdims: bool, ord: Any) -> Any:
    if ord == 2:
        return _norm(x, axes, keepdims)
    if not isinstance(ord, (int, float, np.number)):
        raise TypeError(f"norm: ord of vectors must be a number; got {ord!r}")
    size = absolute(x)
    if ord in (np.inf, -np.inf):
        return (reductions.max if ord > 0 else reductions.min)(size, axes, keepdims)
    if ord == 0:
        return reductions.sum(sign(size), axes, keepdims)
    if ord == 1:
        return reductions.sum(size, axes, keepdims)
    at_zero = 0.0 if ord > 0 else np.inf
    total = reductions.sum(_power(size, ord, at_zero) if ord < 1 else power(size, ord), axes, keepdims)
    return _power(total, 1 / ord, at_zero)


def _power(x: Any, exponent: Any, at_zero: float) -> Any:
    """Return a power of numbers that are not negative, with the gradient 0 where it has no finite one."""
    is_zero = unwrap_value(x) == 0
    return where(is_zero, at_zero, power(where(is_zero, 1.0, x), exponent))
