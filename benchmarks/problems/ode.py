"""ode: an ordinary differential equation by the method of Runge and Kutta, cmpad's ``an_ode``, and its gradient.

``y_0' = x_0`` and ``y_i' = x_i y_{i-1}`` with ``y(0) = 0``, from t = 0 to 2 in s steps of order 4. The primal function
returns y(2), a vector of n elements, and the gradient is that of its last element with respect to x, which is uniform
in [0, 1). (GradBench's text has a sum over j of ``x_j y_{i-1}``; its programs compute what is stated here.)

The exact solution is ``y_i(t) = x_0 ... x_i t**(i + 1) / (i + 1)!``. A step of order 4 is exact for polynomials of
degree 4, so for n <= 4 this solution, and its gradient, are the results for any number of steps. A step carries
information over four elements, so the gradient is 0 if n > 4 s.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Published, Thunk

_END = 2.0


def _draw(rng: np.random.Generator, n: int, s: int) -> Inputs:
    return {"x": rng.random(n), "s": s}


def _solution(library: Library, inputs: Inputs) -> Any:
    np, count, h = library.np, inputs["s"], _END / inputs["s"]
    one, zeros = library.array([1.0]), library.array([0.0] * len(inputs["x"]))

    def solve(x: Any) -> Any:
        def slope(y: Any) -> Any:
            return x * np.concatenate([one, y[:-1]])

        def step(y: Any) -> Any:
            k1 = slope(y)
            k2 = slope(y + h / 2 * k1)
            k3 = slope(y + h / 2 * k2)
            k4 = slope(y + h * k3)
            return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        return library.repeat(step, zeros, count)

    return solve


def _primal(library: Library, inputs: Inputs) -> Thunk:
    return library.value(_solution(library, inputs), inputs["x"])


def _gradient(library: Library, inputs: Inputs) -> Thunk:
    solve = _solution(library, inputs)
    return library.gradient(lambda x: solve(x)[-1], inputs["x"])


# -- the reference: the method element by element, and the complex step ------------------------------------------------


def _by_elements(x: Array, s: int) -> Array:
    h, n = _END / s, len(x)
    y = [0.0 * x[0]] * n
    for _ in range(s):
        slopes: list[list[Any]] = []
        for share in (0.0, 0.5, 0.5, 1.0):
            at = [y[i] + (share * h * slopes[-1][i] if slopes else 0.0) for i in range(n)]
            slopes.append([x[i] * (at[i - 1] if i else 1.0) for i in range(n)])
        y = [y[i] + h * (a + 2 * b + 2 * c + d) / 6 for i, (a, b, c, d) in enumerate(zip(*slopes, strict=True))]
    return np.array(y)


def _complex_step(inputs: Inputs) -> tuple[Array]:
    x = inputs["x"]
    return (np.array([_by_elements(x + 1e-30j * unit, inputs["s"])[-1].imag / 1e-30 for unit in np.eye(len(x))]),)


_X = np.array([0.5, 1.25, 0.75, 1.5])
_PRODUCTS = np.cumprod(_X * _END) / [math.factorial(i + 1) for i in range(4)]

PROBLEM = Problem(
    "ode",
    _draw,
    sizes=({"n": 1000, "s": 100}, {"n": 10_000, "s": 100}),
    small=({"n": 1, "s": 1}, {"n": 7, "s": 3}),
    functions={"primal": _primal, "gradient": _gradient},
    reference={"primal": lambda inputs: _by_elements(inputs["x"], inputs["s"]), "gradient": _complex_step},
    published=(
        Published("primal", {"x": _X, "s": 1}, _PRODUCTS),
        Published("gradient", {"x": _X, "s": 5}, (_PRODUCTS[-1] / _X,)),
    ),
)
