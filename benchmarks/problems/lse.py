"""lse: the logarithm of a sum of exponentials, and its gradient.

As GradBench asks, it is composed of a maximum, exponentials, a sum and a logarithm, and is not a function of the
library with a derivative of its own. The elements are uniform in [0, 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk


def _draw(rng: np.random.Generator, n: int) -> Inputs:
    return {"x": rng.random(n)}


def _objective(np: Any, x: Any) -> Any:
    highest = np.max(x)
    return highest + np.log(np.sum(np.exp(x - highest)))


def _primal(library: Library, inputs: Inputs) -> Thunk:
    return library.value(lambda x: _objective(library.np, x), inputs["x"])


def _gradient(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(lambda x: _objective(library.np, x), inputs["x"])


def _softmax(inputs: Inputs) -> Array:
    powers = np.exp(inputs["x"])
    return powers / powers.sum()


PROBLEM = Problem(
    "lse",
    _draw,
    sizes=({"n": 2500}, {"n": 160_000}),
    small=({"n": 1}, {"n": 7}),
    functions={"primal": _primal, "gradient": _gradient},
    reference={
        "primal": lambda inputs: np.logaddexp.reduce(inputs["x"]),
        "gradient": lambda inputs: (_softmax(inputs),),
    },
)
