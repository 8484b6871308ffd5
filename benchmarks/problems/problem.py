"""A problem: its inputs, its functions for every library, and a reference that uses none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.libraries import Library

Array = np.ndarray
Inputs = Mapping[str, Any]  # arrays and numbers by name
Size = Mapping[str, Any]
Results = Any  # arrays, or tuples of them
Thunk = Callable[[], Results]


class Published(NamedTuple):
    """A figure that the authors of a problem state.

    Attributes
    ----------
    function : str
        The function of the problem.
    inputs : mapping of str
        Its inputs.
    figure : array_like
        Its result.
    rtol : float
        Relative tolerance of a comparison.
    """

    function: str
    inputs: Inputs
    figure: Any
    rtol: float = 1e-12


class Problem(NamedTuple):
    """A problem.

    Attributes
    ----------
    name : str
        The name that GradBench gives it.
    draw : callable
        ``draw(rng, **size)`` returns the inputs.
    sizes : tuple of mapping
        Sizes that are timed.
    small : tuple of mapping
        Sizes of the tests.
    functions : mapping of str to callable
        For each function ``make(library, inputs)``, which returns a function without arguments that computes it.
    reference : mapping of str to callable
        For each function, ``compute(inputs)`` in NumPy, independent of any library for automatic differentiation.
    rtol : float
        Relative tolerance of a comparison, in float64.
    published : tuple of Published
        Figures that the authors of the problem state.
    unsuitable : mapping of str to str
        Libraries that are not measured, with the reason.
    """

    name: str
    draw: Callable[..., Inputs]
    sizes: tuple[Size, ...]
    small: tuple[Size, ...]
    functions: Mapping[str, Callable[[Library, Inputs], Thunk]]
    reference: Mapping[str, Callable[[Inputs], Results]]
    rtol: float = 1e-9
    published: tuple[Published, ...] = ()
    unsuitable: Mapping[str, str] = {}

    def inputs(self, size: Size) -> Inputs:
        """Return the inputs of a size, which are always the same."""
        return self.draw(np.random.default_rng(31337), **size)
