"""What a specification of a primitive is, and how its arrays and shapes are drawn.

A :class:`Case` is one call: the arrays to differentiate with respect to, and the remaining arguments. Cases lie inside
the smooth domain, so differences never cross a kink; at the kinks themselves, a :class:`Kink` states the derivative
that the table defines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

Array = np.ndarray
Shape = tuple[int, ...]
Fill = Callable[[np.random.Generator, Shape], Array]


@dataclass(frozen=True)
class Case:
    """One call: ``call(*arrays, *parameters)``, with gradient for the arrays."""

    arrays: tuple[Array, ...]
    parameters: tuple[Any, ...] = ()

    def __post_init__(self) -> None:  # a random scalar is not an array
        object.__setattr__(self, "arrays", tuple(np.asarray(array) for array in self.arrays))

    def astype(self, dtype: Any) -> Case:
        """Return the case with its arrays converted, including floating-point arrays among the parameters."""
        return Case(
            tuple(array.astype(dtype) for array in self.arrays),
            tuple(p.astype(dtype) if isinstance(p, np.ndarray) and p.dtype.kind == "f" else p for p in self.parameters),
        )


@dataclass(frozen=True)
class Kink:
    """A point where the derivative is not unique, and the derivative that the table defines."""

    name: str
    case: Case
    cotangent: Any
    gradients: tuple[Any, ...]


@dataclass(frozen=True)
class Spec:
    """The specification of a primitive, for the oracles.

    Attributes
    ----------
    call
        The operation, called with the arrays and then the parameters.
    cases
        Calls inside the smooth domain.
    reference
        An independent computation of the value.
    analytic
        Whether the complex step applies to the operation.
    keeps_dtype
        Whether the result has the dtype of the inputs.
    """

    call: Callable[..., Any]
    cases: st.SearchStrategy[Case]
    reference: Callable[..., Any]
    analytic: bool = True
    keeps_dtype: bool = True
    kinks: tuple[Kink, ...] = field(default=())


# -- numbers ---------------------------------------------------------------------------------------------------------
# Hypothesis draws shapes, arguments and a seed; the elements are drawn with the seed. They are unequal and of moderate
# size, as comparisons need, and a failing case still shrinks to its smallest shape.

seeds = st.integers(0, 2**32 - 1)
mostly = st.sampled_from([True, True, True, False])


def between(low: float, high: float) -> Fill:
    return lambda rng, shape: rng.uniform(low, high, shape)


def either_side(low: float, high: float) -> Fill:
    """Fill with numbers of either sign and of absolute value from ``low`` to ``high``."""
    return lambda rng, shape: rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)


def on_grid(offset: float) -> Fill:
    """Fill with multiples of 1/2 plus an offset; arrays with different offsets have no ties."""
    return lambda rng, shape: rng.integers(-6, 6, shape) / 2 + offset


def distinct(rng: np.random.Generator, shape: Shape) -> Array:
    """Fill with numbers that are at least 0.2 apart, in any order."""
    size = math.prod(shape)
    return (rng.permutation(size) * 0.5 + rng.uniform(0, 0.3, size) - size / 4).reshape(shape)


moderate = between(-2, 2)


def off_integers(rng: np.random.Generator, shape: Shape) -> Array:
    """Fill with numbers that are at least 0.2 away from integers."""
    return rng.integers(-3, 3, shape) + rng.uniform(0.2, 0.8, shape)


# -- shapes ----------------------------------------------------------------------------------------------------------


def shapes(min_dims: int = 0, max_dims: int = 3) -> st.SearchStrategy[Shape]:
    """Draw shapes, mostly with sides of 2 and 3; sometimes 0-d, or with sides of 0 and 1."""
    ordinary = npst.array_shapes(min_dims=max(min_dims, 1), max_dims=max_dims, min_side=2, max_side=3)
    odd = npst.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=2)
    return st.one_of(ordinary, ordinary.map(tuple), odd)


def broadcastable(count: int) -> st.SearchStrategy[tuple[Shape, ...]]:
    """Draw shapes that broadcast against each other."""
    equal = npst.array_shapes(min_dims=1, max_dims=2, min_side=2, max_side=4).map(lambda shape: (shape,) * count)
    stretched = partial(npst.mutually_broadcastable_shapes, num_shapes=count, max_dims=3, max_side=3)
    return st.one_of(
        equal,
        stretched(min_side=1).map(lambda shapes: shapes.input_shapes),
        stretched(min_side=0).map(lambda shapes: shapes.input_shapes),
    )


@st.composite
def elementwise(draw: Any, *fills: Fill, parameters: st.SearchStrategy[Any] | None = None) -> Case:
    rng = np.random.default_rng(draw(seeds))
    arrays = tuple(fill(rng, shape) for fill, shape in zip(fills, draw(broadcastable(len(fills))), strict=True))
    return Case(arrays, () if parameters is None else draw(parameters))


def by_element(function: Callable[..., float]) -> Callable[..., Array]:
    """Return a function of Python numbers as a function of arrays, applied to each element."""
    return np.vectorize(function, otypes=[float])


def unary(
    call: Callable[..., Any], function: Callable[[float], float], fill: Fill, *kinks: Kink, analytic: bool = True
) -> Spec:
    return Spec(call, elementwise(fill), by_element(function), analytic=analytic, kinks=kinks)


def binary(
    call: Callable[..., Any],
    function: Callable[[float, float], float],
    x: Fill,
    y: Fill,
    *kinks: Kink,
    analytic: bool = True,
) -> Spec:
    """Specify an operation of two inputs, the second of which may be a Python scalar."""
    number = elementwise(x, parameters=st.sampled_from([(2.375,), (-1.125,)]))
    cases = st.one_of(elementwise(x, y), elementwise(x, y), number)
    return Spec(call, cases, by_element(function), analytic=analytic, kinks=kinks)


def kink(name: str, arrays: Sequence[Any], gradients: Sequence[Any], *parameters: Any, cotangent: Any) -> Kink:
    case = Case(tuple(np.array(array, dtype=float) for array in arrays), parameters)
    return Kink(name, case, np.array(cotangent, dtype=float), tuple(gradients))
