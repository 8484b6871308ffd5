"""Exact comparison of VJPs with the adjoint, for operations that are affine in each input.

Sums, products, shapes, indices and convolutions compute sums of products of their inputs. For small integers these are
exact in float64, so no tolerance is needed: the VJP is compared with the Jacobian's transpose by equality.

For one input, the others fixed, the operation is ``f(v) = f(0) + J v``, so ``J`` is known from its values at 0 and at
each basis vector; row ``u`` of ``J`` must be the VJP for the basis cotangent ``u``. A function that is affine in each
input is determined by its values where every input is 0 or a basis vector. If the others take all these values, the
comparison is therefore a proof for the given shapes and arguments, provided that the VJP is affine in what it saves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.testing.cases import Array

_LARGEST = 4  # of the integers that are drawn
_MOST_POINTS = 200  # of the other inputs, for one input
_DRAWS = 3  # of integers, to find out whether an operation is affine

Operation = Callable[..., Any]


def is_affine(operation: Operation, arrays: Sequence[Array], rng: np.random.Generator) -> bool:
    """Return whether an operation is affine in each input, as far as three draws of numbers of these shapes show.

    The numbers are multiples of 1/4, so that sums of products are exact, and rounding to integers is not affine.
    ``f(v + w) - f(0)`` must equal ``f(v) - f(0) + f(w) - f(0)``, and ``f(-3 v) - f(0)`` must be -3 times
    ``f(v) - f(0)``, exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.exact import is_affine
    >>> x, rng = np.zeros((3, 3)), np.random.default_rng(0)
    >>> is_affine(np.matmul, [x, x], rng), is_affine(np.square, [x], rng)
    (True, False)
    """
    try:  # the integers may lie outside the domain of the operation
        with np.errstate(all="ignore"):
            return all(_is_affine_in(operation, i, arrays, rng) for _ in range(_DRAWS) for i in range(len(arrays)))
    except (ValueError, ArithmeticError):
        return False


def _is_affine_in(operation: Operation, i: int, arrays: Sequence[Array], rng: np.random.Generator) -> bool:
    shape = arrays[i].shape
    v, w = draw_integers(shape, rng) / 4, draw_integers(shape, rng) / 4
    points = [draw_integers(array.shape, rng) / 4 for array in arrays]
    zero, of_v, of_w, of_sum, of_opposite = (
        np.asarray(operation(*_replaced(points, i, x))) for x in (np.zeros(shape), v, w, v + w, -3 * v)
    )
    return (
        zero.dtype.kind == "f"
        and bool(np.all(np.isfinite(zero)))
        and np.array_equal(of_sum - zero, (of_v - zero) + (of_w - zero))
        and np.array_equal(of_opposite - zero, -3 * (of_v - zero))
    )


def check_adjoint(operation: Operation, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> bool:
    """Check the VJPs of an operation that is affine in each input; return whether the comparison was complete.

    Parameters
    ----------
    operation : callable
        Function of arrays or tensors of these shapes.
    shapes : sequence of tuple of int
        The shapes of its inputs.
    rng : numpy.random.Generator
        Draws the integers.

    Returns
    -------
    bool
        True if, for each input, the others took every combination of 0 and basis vectors; False if there were more than
        200 combinations, of which 200 were drawn.

    Raises
    ------
    AssertionError
        If a VJP differs from the transpose of the Jacobian in any element.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> from tinygrad_cifar.testing.exact import check_adjoint
    >>> check_adjoint(tg.matmul, [(2, 3), (3, 2)], np.random.default_rng(0))
    True
    """
    is_complete = True
    for i, shape in enumerate(shapes):
        others = [other for j, other in enumerate(shapes) if j != i]
        count = math.prod(math.prod(other) + 1 for other in others)
        is_complete &= count <= _MOST_POINTS
        dense = [draw_integers(other, rng) for other in others]
        for point in itertools.chain([dense], _points(others, rng, count)):
            _compare(operation, i, [*point[:i], draw_integers(shape, rng), *point[i:]])
    return is_complete


def _points(shapes: Sequence[tuple[int, ...]], rng: np.random.Generator, count: int) -> Iterator[list[Array]]:
    """Yield every combination of 0 and basis vectors of these shapes, or some of them if there are too many."""
    choices: Iterable[tuple[int, ...]] = itertools.product(*[range(-1, math.prod(shape)) for shape in shapes])
    if count > _MOST_POINTS:
        choices = [tuple(int(rng.integers(-1, math.prod(shape))) for shape in shapes) for _ in range(_MOST_POINTS)]
    for choice in choices:
        yield [basis_vector(shape, at) for shape, at in zip(shapes, choice, strict=True)]


def basis_vector(shape: tuple[int, ...], at: int) -> Array:
    """Return zeros with a 1 at a flat position; zeros alone if the position is -1."""
    vector = np.zeros(math.prod(shape))
    if at >= 0:
        vector[at] = 1
    return vector.reshape(shape)


def draw_integers(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return integers from -4 to 4 as float64."""
    return np.asarray(rng.integers(-_LARGEST, _LARGEST + 1, shape), dtype=np.float64)


def _compare(operation: Operation, i: int, arrays: list[Array]) -> None:
    """Compare the VJP for input ``i`` with the transpose of the Jacobian, at one value of the inputs."""
    variables = [Tensor(array, requires_grad=j == i) for j, array in enumerate(arrays)]
    out = operation(*variables)
    shape = arrays[i].shape
    zero = np.asarray(operation(*_replaced(arrays, i, np.zeros(shape))))
    jacobian = np.zeros((zero.size, math.prod(shape)))
    for at in range(math.prod(shape)):
        jacobian[:, at] = (np.asarray(operation(*_replaced(arrays, i, basis_vector(shape, at)))) - zero).ravel()
    if not out.requires_grad:
        assert not jacobian.any(), f"input {i} receives no gradient, but the result depends on it"
        return
    for at in range(zero.size):
        row = grad(out, variables[i], basis_vector(zero.shape, at), retain_graph=True).data.ravel()
        assert np.array_equal(row, jacobian[at]), (
            f"the VJP of input {i} of shape {shape} is not the adjoint: for element {at} of the result it is {row}, "
            f"not {jacobian[at]} (with small integers as inputs; pass affine=False if the operation is not affine)"
        )


def _replaced(arrays: Sequence[Array], i: int, array: Array) -> list[Array]:
    return [array if j == i else other for j, other in enumerate(arrays)]
