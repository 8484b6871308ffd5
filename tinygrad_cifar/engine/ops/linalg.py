"""The derivative table: matrix products, and sums of products in general.

``matmul`` broadcasts its leading axes and treats a vector as a matrix of one row or one column, as NumPy does; its VJPs
restore the missing axis, and the backward pass sums over the axes that were broadcast.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from tinygrad_cifar.engine import blocked_matmul
from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, shape_of
from tinygrad_cifar.engine.operations import TensorLike, V
from tinygrad_cifar.engine.ops.shapes import expand_dims
from tinygrad_cifar.engine.primitives import binary, variadic_primitive

matmul = binary(
    "matmul",
    blocked_matmul.matmul,
    x=lambda g, y: _matmul_vjp_x(g, y),
    y=lambda g, x: _matmul_vjp_y(g, x),
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


def _matmul_vjp_x(g: Any, y: Any) -> Any:
    if y.ndim == 1:  # (..., n, k) @ (k,)
        return expand_dims(g, -1) * y
    if g.ndim < y.ndim:  # (k,) @ (..., k, m)
        return matmul(expand_dims(g, -2), y.mT)
    return matmul(g, y.mT)


def _matmul_vjp_y(g: Any, x: Any) -> Any:
    if x.ndim == 1:  # (k,) @ (..., k, m) or (k,) @ (k,)
        return expand_dims(x, -1) * expand_dims(g, -2) if g.ndim else x * g
    if g.ndim < x.ndim:  # (..., n, k) @ (k,)
        return matmul(x.mT, expand_dims(g, -1))[..., 0]
    return matmul(x.mT, g)


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
