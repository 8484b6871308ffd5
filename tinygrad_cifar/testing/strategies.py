"""Hypothesis strategies for the cases of a primitive: elements, shapes, and calls.

Hypothesis draws shapes, arguments and a seed; the elements are drawn with the seed (a :data:`Fill` is a function of a
generator and a shape). They are unequal and of moderate size, as comparisons need, and a failing case still shrinks to
its smallest shape.

Examples
--------
Cases of a function of two arrays that broadcast, the second of them positive:

>>> import tinygrad_cifar as tg
>>> from tinygrad_cifar.testing import check_primitive, strategies
>>> cases = strategies.elementwise(strategies.moderate, strategies.between(0.5, 2))
>>> check_primitive(tg.divide, cases, examples=5).passed
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinygrad_cifar.testing.cases import Array, Case

Shape: TypeAlias = tuple[int, ...]
Fill: TypeAlias = Callable[[np.random.Generator, Shape], Array]

seeds = st.integers(0, 2**32 - 1)
mostly = st.sampled_from([True, True, True, False])

# -- elements ----------------------------------------------------------------------------------------------------------


def between(low: float, high: float) -> Fill:
    """Fill with numbers from ``low`` to ``high``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import between
    >>> between(1, 2)(np.random.default_rng(0), (2,)).round(2).tolist()
    [1.64, 1.27]
    """
    return lambda rng, shape: np.asarray(rng.uniform(low, high, shape))


def either_side(low: float, high: float) -> Fill:
    """Fill with numbers of either sign and of absolute value from ``low`` to ``high``: away from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import either_side
    >>> either_side(1, 2)(np.random.default_rng(0), (3,)).round(2).tolist()
    [-1.64, -1.27, -1.04]
    """
    return lambda rng, shape: np.asarray(rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape))


def on_grid(offset: float) -> Fill:
    """Fill with multiples of 1/2 from -3 to 2.5, plus an offset; arrays with different offsets have no ties.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import on_grid
    >>> on_grid(0.25)(np.random.default_rng(0), (3,)).tolist()
    [2.25, 0.75, 0.25]
    """
    return lambda rng, shape: np.asarray(rng.integers(-6, 6, shape) / 2 + offset)


def distinct(rng: np.random.Generator, shape: Shape) -> Array:
    """Fill with numbers that are at least 0.2 apart, in any order, for operations that compare elements.

    They lie between ``-size / 4`` and ``size / 4 + 0.3``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import distinct
    >>> bool(np.diff(np.sort(distinct(np.random.default_rng(0), (9,)))).min() > 0.2)
    True
    """
    size = math.prod(shape)
    return (rng.permutation(size) * 0.5 + rng.uniform(0, 0.3, size) - size / 4).reshape(shape)


def moderate(rng: np.random.Generator, shape: Shape) -> Array:
    """Fill with numbers from -2 to 2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import moderate
    >>> moderate(np.random.default_rng(0), (2,)).round(2).tolist()
    [0.55, -0.92]
    """
    return np.asarray(rng.uniform(-2, 2, shape))


def off_integers(rng: np.random.Generator, shape: Shape) -> Array:
    """Fill with numbers from -2.8 to 2.8 that are at least 0.2 away from integers.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import off_integers
    >>> x = off_integers(np.random.default_rng(0), (9,))
    >>> bool(np.abs(x - np.round(x)).min() >= 0.2)
    True
    """
    return np.asarray(rng.integers(-3, 3, shape) + rng.uniform(0.2, 0.8, shape))


# -- shapes ------------------------------------------------------------------------------------------------------------


def shapes(min_dims: int = 0, max_dims: int = 3) -> st.SearchStrategy[Shape]:
    """Draw shapes, mostly with sides of 2 and 3; sometimes 0-d, or with sides of 0 and 1.

    Parameters
    ----------
    min_dims, max_dims : int
        The smallest and the largest number of axes. Default: 0 and 3.
    """
    ordinary = npst.array_shapes(min_dims=max(min_dims, 1), max_dims=max_dims, min_side=2, max_side=3)
    odd = npst.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=2)
    return st.one_of(ordinary, ordinary.map(tuple), odd)  # one_of leaves out a strategy that is given twice


def broadcastable(count: int) -> st.SearchStrategy[tuple[Shape, ...]]:
    """Draw ``count`` shapes that broadcast against each other."""
    equal = npst.array_shapes(min_dims=1, max_dims=2, min_side=2, max_side=4).map(lambda shape: (shape,) * count)
    stretched = partial(npst.mutually_broadcastable_shapes, num_shapes=count, max_dims=3, max_side=3)
    return st.one_of(
        equal,
        stretched(min_side=1).map(lambda shapes: shapes.input_shapes),
        stretched(min_side=0).map(lambda shapes: shapes.input_shapes),
    )


# -- calls -------------------------------------------------------------------------------------------------------------


@st.composite
def elementwise(draw: Any, *fills: Fill, parameters: st.SearchStrategy[tuple[Any, ...]] | None = None) -> Case:
    """Draw calls with one array for each fill, of shapes that broadcast, and further arguments.

    Parameters
    ----------
    *fills : Fill
        How the elements of each array are drawn.
    parameters : hypothesis.strategies.SearchStrategy of tuple, optional
        Draws the remaining arguments. Default: none.
    """
    if not all(map(callable, fills)):
        raise TypeError("elementwise: each fill must be a function of a generator and a shape, such as moderate")
    rng = np.random.default_rng(draw(seeds))
    arrays = tuple(fill(rng, shape) for fill, shape in zip(fills, draw(broadcastable(len(fills))), strict=True))
    return Case(arrays, () if parameters is None else draw(parameters))


def draw_cotangent(out: Any, rng: np.random.Generator) -> Array:
    """Return unequal weights of both signs, many above 50, so that ignoring, averaging or clipping them is detected.

    They have the shape and the dtype of ``out``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.testing.strategies import draw_cotangent
    >>> draw_cotangent(np.zeros(2), np.random.default_rng(0)).round(1).tolist()
    [137.0, -230.2]
    """
    return np.asarray(rng.uniform(-500, 500, out.shape).astype(out.dtype))


# -- memory layouts ----------------------------------------------------------------------------------------------------


def transposed(make: Callable[[Array], Any], x: Array) -> Any:
    """Return ``make(x)`` in Fortran order, as a view."""
    return make(x.T.copy(order="C")).T


def with_gaps(make: Callable[[Array], Any], x: Array) -> Any:
    """Return ``make(x)`` as a view with a gap after each element."""
    return make(np.stack([x, x], -1))[..., 0]


def backwards(make: Callable[[Array], Any], x: Array) -> Any:
    """Return ``make(x)`` as a view with negative strides."""
    last_to_first: Any = (*[slice(None, None, -1)] * x.ndim, ...)
    return make(x[last_to_first])[last_to_first]


LAYOUTS: tuple[Callable[[Callable[[Array], Any], Array], Any], ...] = (transposed, with_gaps, backwards)
