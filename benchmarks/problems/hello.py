"""hello: the square of a number, and its derivative. GradBench uses it to test that a library answers at all.

Published: GradBench starts at 1 and applies ``square`` and then ``double`` (the derivative of the square) four times,
with the results 1, 2, 4, 8, 64, 128, 16384, 32768; so the derivative at 64 is 128.
"""

from __future__ import annotations

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Inputs, Problem, Published, Thunk


def _draw(rng: np.random.Generator) -> Inputs:
    return {"x": rng.normal()}


def _square(library: Library, inputs: Inputs) -> Thunk:
    return library.value(lambda x: x * x, inputs["x"])


def _double(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(lambda x: x * x, inputs["x"])


PROBLEM = Problem(
    "hello",
    _draw,
    sizes=({},),
    small=({},),
    functions={"square": _square, "double": _double},
    reference={"square": lambda inputs: inputs["x"] ** 2, "double": lambda inputs: (2 * inputs["x"],)},
    published=(
        *[Published("square", {"x": x}, y) for x, y in ((1.0, 1.0), (2.0, 4.0), (8.0, 64.0), (128.0, 16384.0))],
        *[Published("double", {"x": x}, (y,)) for x, y in ((1.0, 2.0), (4.0, 8.0), (64.0, 128.0), (16384.0, 32768.0))],
    ),
)
