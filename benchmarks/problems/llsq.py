"""llsq: linear least squares with powers, cmpad's ``llsq_obj``.

The objective is ``sum((s - sum_j x_j t**j)**2) / 2`` for n points t from -1 to 1 at equal distances, ``s = sign(t)``,
and m coefficients x, uniform in [0, 1). The powers of t are computed before the measurement, since they do not depend
on x.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk


def _draw(rng: np.random.Generator, n: int, m: int) -> Inputs:
    return {"x": rng.random(m), "t": np.linspace(-1, 1, n)}


def _objective(library: Library, inputs: Inputs) -> Any:
    t = inputs["t"]
    powers = library.array(t[:, np.newaxis] ** np.arange(len(inputs["x"])))
    s = library.array(np.sign(t))

    def objective(x: Any) -> Any:
        difference = s - powers @ x
        return 0.5 * (difference @ difference)

    return objective


def _primal(library: Library, inputs: Inputs) -> Thunk:
    return library.value(_objective(library, inputs), inputs["x"])


def _gradient(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(_objective(library, inputs), inputs["x"])


def _differences(inputs: Inputs) -> Array:
    """Return the errors of the polynomial, by Horner's rule."""
    value = np.zeros_like(inputs["t"])
    for x in inputs["x"][::-1]:
        value = value * inputs["t"] + x
    return np.sign(inputs["t"]) - value


def _gradient_by_hand(inputs: Inputs) -> tuple[Array]:
    difference = _differences(inputs)
    return (np.array([-np.sum(difference * inputs["t"] ** j) for j in range(len(inputs["x"]))]),)


PROBLEM = Problem(
    "llsq",
    _draw,
    sizes=({"n": 256, "m": 128}, {"n": 16_392, "m": 128}),
    small=({"n": 16, "m": 5}, {"n": 3, "m": 8}),
    functions={"primal": _primal, "gradient": _gradient},
    reference={"primal": lambda inputs: np.sum(_differences(inputs) ** 2) / 2, "gradient": _gradient_by_hand},
)
