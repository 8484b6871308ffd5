"""particle: the control of a charged particle's path; Pearlmutter and Siskind (see saddle).

Charges at (10, 0) and (10, 10 - w) have the potential ``p(x) = sum(1 / |x - charge|)``. A particle starts at (0, 8)
with the velocity (0.75, 0) and is accelerated by ``-grad p(x)``. Its path is computed by Euler's method with steps of
0.1 until it crosses the horizontal axis; the place of the crossing, on the line of the last velocity, is x(w). The
descent of :mod:`benchmarks.problems.descent` finds the control w with the smallest ``x(w)**2``. The path contains the
gradient of p, so gradients are nested: the variant ``rr`` of GradBench, with the reverse mode in both places.

Published: from w = 0, the descent ends at w = 0.2071918746486116.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import JAX, Library
from benchmarks.problems.descent import minimum
from benchmarks.problems.problem import Array, Inputs, Problem, Published, Thunk

_STEP = 0.1
_PLACE, _VELOCITY = np.array([0.0, 8.0]), np.array([0.75, 0.0])


def _draw(rng: np.random.Generator, step: float = _STEP, **descent: float) -> Inputs:
    """Return the inputs of GradBench, or a random start with other settings of the descent."""
    return {"w": rng.uniform(0.5, 1, 1) if descent else np.zeros(1), "step": step, "descent": descent}


def _crossing(library: Library, step: float) -> Any:
    np = library.np
    place, velocity = library.array(_PLACE), library.array(_VELOCITY)
    first, second, upwards = library.array([10.0, 0.0]), library.array([10.0, 10.0]), library.array([0.0, 1.0])

    def squared(w: Any) -> Any:
        charges = (first, second - w * upwards)

        def potential(x: Any) -> Any:
            a, b = x - charges[0], x - charges[1]
            return 1 / np.sqrt(a @ a) + 1 / np.sqrt(b @ b)

        force = library.derivative(potential, nested=library.is_differentiated(w))
        x, v = place, velocity
        while True:
            new = x + step * v
            if new[1] <= 0:
                break
            x, v = new, v - step * force(x)
        end = x[0] - x[1] / v[1] * v[0]
        return end * end

    return squared


def _reverse_in_reverse(library: Library, inputs: Inputs) -> Thunk:
    squared, start = _crossing(library, inputs["step"]), library.array(inputs["w"])
    gradient = library.derivative(squared, nested=False)
    return lambda: minimum(squared, gradient, start, **inputs["descent"])


# -- the reference: the force by hand, and the complex step ------------------------------------------------------------


def _squared_crossing(w: Any, step: float) -> Any:
    charges = (np.array([10.0, 0.0]), np.array([10.0, 10.0 - w[0]]))
    x, v = _PLACE, _VELOCITY
    while True:
        new = x + step * v
        if new[1].real <= 0:
            break
        force = sum((charge - x) / ((x - charge) @ (x - charge)) ** 1.5 for charge in charges)
        x, v = new, v - step * force
    return (x[0] - x[1] / v[1] * v[0]) ** 2


def _by_complex_step(inputs: Inputs) -> Array:
    step = inputs["step"]

    def gradient(w: Array) -> Array:
        return np.array([_squared_crossing(w + 1e-30j, step).imag / 1e-30])

    end: Array = minimum(lambda w: _squared_crossing(w, step), gradient, inputs["w"], **inputs["descent"])
    return end


PROBLEM = Problem(
    "particle",
    _draw,
    sizes=({},),
    small=({"step": 2.0, "eta": 0.01, "tolerance": 1e-3},),
    functions={"rr": _reverse_in_reverse},
    reference={"rr": _by_complex_step},
    published=(
        Published("rr", {"w": np.zeros(1), "step": _STEP, "descent": {}}, np.array([0.2071918746486116]), 1e-9),
    ),
    unsuitable={JAX: "loops of unknown length cannot be compiled with the reverse mode"},
)
