"""saddle: a saddle point by gradient descent in gradient descent; Pearlmutter and Siskind.

B. Pearlmutter, J. Siskind: Using programming language theory to make automatic differentiation sound and efficient
(2008). The point x minimises the maximum over y of ``f(x, y) = |x|**2 - |y|**2``, and y maximises ``f(x, y)`` for this
x. Both are found by the descent of :mod:`benchmarks.problems.descent` from the same start. The function that is
minimised contains the inner descent with its gradients, so gradients are nested: the variant ``rr`` of GradBench, with
the reverse mode in both places.

Published: from (1, 1), all four elements of x and y end at 8.246324826140356e-06.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import JAX, Library
from benchmarks.problems.descent import minimum
from benchmarks.problems.problem import Array, Inputs, Problem, Published, Thunk


def _draw(rng: np.random.Generator, **descent: float) -> Inputs:
    """Return the inputs of GradBench, or a random start with other settings of the descent."""
    return {"start": rng.normal(size=2) if descent else np.ones(2), "descent": descent}


def _f(x: Any, y: Any) -> Any:
    return x @ x - y @ y


def _reverse_in_reverse(library: Library, inputs: Inputs) -> Thunk:
    start, descent = library.array(inputs["start"]), inputs["descent"]

    def highest(x: Any) -> Any:
        def lowered(y: Any) -> Any:
            return -_f(x, y)

        return minimum(lowered, library.derivative(lowered, nested=library.is_differentiated(x)), start, **descent)

    def saddle() -> Any:
        def maximum(x: Any) -> Any:
            return _f(x, highest(x))

        x = minimum(maximum, library.derivative(maximum, nested=False), start, **descent)
        return x, highest(x)

    return saddle


def _by_hand(inputs: Inputs) -> tuple[Array, Array]:
    """Descend with the derivatives ``2 x`` and ``2 y``; the maximum over y does not depend on x."""
    start, descent = inputs["start"], inputs["descent"]
    y = minimum(lambda y: y @ y, lambda y: 2 * y, start, **descent)
    x = minimum(lambda x: x @ x - y @ y, lambda x: 2 * x, start, **descent)
    return x, y


_END = np.full(2, 8.246324826140356e-06)

PROBLEM = Problem(
    "saddle",
    _draw,
    sizes=({},),
    small=({"eta": 0.3, "tolerance": 0.01},),
    functions={"rr": _reverse_in_reverse},
    reference={"rr": _by_hand},
    published=(Published("rr", {"start": np.array([1.0, 1.0]), "descent": {}}, (_END, _END), rtol=1e-9),),
    unsuitable={JAX: "loops of unknown length cannot be compiled with the reverse mode"},
)
