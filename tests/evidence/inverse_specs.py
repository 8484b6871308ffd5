"""Specifications of the primitives that solve, invert and take determinants; their references are exact.

A matrix of floats is one of fractions. Its inverse and its determinant are computed with these, so that a reference has
only the error of the last conversion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.evidence.builders import kink
from tinygrad_cifar.engine.ops.inverses import _det_sign, _logabsdet
from tinygrad_cifar.testing.cases import Array, Case, Spec
from tinygrad_cifar.testing.strategies import Shape, moderate, seeds

Matrix = list[list[Fraction]]


def invertible(rng: np.random.Generator, shape: Shape) -> Array:
    """Fill matrices with numbers such that they are well conditioned, with determinants of both signs."""
    side = shape[-1]
    diagonal = np.eye(side)[rng.permutation(side)] * rng.uniform(2, 3, shape) * rng.choice([-1.0, 1.0], shape)
    return np.asarray(diagonal + rng.uniform(-1, 1, shape) / max(side, 1))


stacks = st.sampled_from([(), (), (2,), (2, 3), (0,)])
sides = st.sampled_from([2, 3, 2, 3, 1, 0])


@st.composite
def matrices(draw: Any) -> Case:
    rng, side = np.random.default_rng(draw(seeds)), draw(sides)
    return Case((invertible(rng, (*draw(stacks), side, side)),))


@st.composite
def systems(draw: Any) -> Case:
    rng, side = np.random.default_rng(draw(seeds)), draw(sides)
    x = invertible(rng, (*draw(st.sampled_from([(), (2,), (2, 1), (1, 3)])), side, side))
    columns = draw(st.sampled_from([2, 1, 0]))
    y = draw(st.sampled_from([(side,), (side, columns), (2, side, columns)][: 2 if x.shape[:-2] == (1, 3) else 3]))
    return Case((x, moderate(rng, y)))


def _sign(permutation: tuple[int, ...]) -> int:
    return (-1) ** sum(a > b for a, b in itertools.combinations(permutation, 2))


def _determinant(matrix: Matrix) -> Fraction:
    places = range(len(matrix))
    terms = [
        _sign(chosen) * math.prod((matrix[i][j] for i, j in zip(places, chosen, strict=True)), start=Fraction(1))
        for chosen in itertools.permutations(places)
    ]
    return sum(terms, Fraction(0))


def _inverse(matrix: Matrix) -> Matrix:
    places = range(len(matrix))

    def cofactor(i: int, j: int) -> Fraction:
        return (-1) ** (i + j) * _determinant([[matrix[r][c] for c in places if c != j] for r in places if r != i])

    determinant = _determinant(matrix)
    return [[cofactor(j, i) / determinant for j in places] for i in places]


def _fractions(x: Array) -> Matrix:
    return [[Fraction(number) for number in line] for line in x.tolist()]


def of_each(function: Callable[[Matrix], Any], shape: Callable[[Shape], Shape]) -> Callable[[Array], Array]:
    """Return a function of a matrix of fractions as a function of stacks of arrays."""

    def reference(x: Array) -> Array:
        out = np.empty((*x.shape[:-2], *shape(x.shape[-2:])))
        for at in np.ndindex(x.shape[:-2]):
            out[at] = np.array(function(_fractions(x[at])), dtype=float).reshape(shape(x.shape[-2:]))
        return out

    return reference


def _solved(x: Array, y: Array) -> Array:
    columns = y[:, None] if y.ndim == 1 else y
    inverses = of_each(_inverse, lambda shape: shape)(x)
    out = (inverses[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    return out[..., 0] if y.ndim == 1 else out


def _scalar(shape: Shape) -> Shape:  # noqa: ARG001
    return ()


INVERSE_SPECS: dict[str, Spec] = {
    "solve": Spec(tg.solve, systems(), _solved),
    "inv": Spec(tg.inv, matrices(), of_each(_inverse, lambda shape: shape)),
    "det": Spec(
        tg.det,
        matrices(),
        of_each(_determinant, _scalar),
        kinks=(
            kink(
                "the determinant of a singular matrix", [[[1.0, 2.0], [2.0, 4.0]]], [[[12, -6], [-6, 3]]], cotangent=3
            ),
            kink(
                "determinants of a zero and an identity matrix",
                [[[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]],
                [[[[0, 0], [0, 0]], [[5, 0], [0, 5]]]],
                cotangent=[3, 5],
            ),
            kink(
                "the determinant of a matrix of rank 1",
                [[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]],
                [np.zeros((3, 3))],
                cotangent=3,
            ),
            kink("the determinant of a number that is 0", [[[0.0]]], [[[3.0]]], cotangent=3),
        ),
    ),
    "logabsdet": Spec(
        _logabsdet,
        matrices(),
        of_each(lambda matrix: math.log(abs(_determinant(matrix))), _scalar),
        analytic=False,
    ),
    "det_sign": Spec(
        _det_sign,
        matrices(),
        of_each(lambda matrix: math.copysign(1, _determinant(matrix)), _scalar),
        analytic=False,
    ),
}
