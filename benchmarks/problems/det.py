"""det: the determinant by expansion by minors, cmpad's ``det_by_minor``, and its gradient.

The matrix has l rows, with elements uniform in [0, 1). A determinant is expanded along its rows: the minor of the first
k rows and the columns S is the sum over j in S of the element (k, j) times the minor of k - 1 rows and S without j,
with alternating signs. Every minor is computed once, all those of k rows together: 2**l minors instead of the l! terms
of the recursion of GradBench's C++, which libraries for arrays could not compute element by element in reasonable time.

``by LU`` and its gradient are computed with the library's own determinant.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk


def _draw(rng: np.random.Generator, l: int) -> Inputs:  # noqa: E741 (the problem's name of the size)
    return {"x": rng.random((l, l))}


def _expansions(side: int) -> list[tuple[Array, Array, Array]]:
    """Return for each row, for the minors of the rows so far: the columns, the minors without each, and the signs."""
    out = []
    place = {(): 0}
    for k in range(1, side + 1):
        chosen = list(itertools.combinations(range(side), k))
        without = [[place[columns[:i] + columns[i + 1 :]] for i in range(k)] for columns in chosen]
        signs = (-1.0) ** (k - 1 + np.arange(k))
        out.append((np.array(chosen), np.array(without), signs))
        place = {columns: i for i, columns in enumerate(chosen)}
    return out


def _by_minors(library: Library, inputs: Inputs) -> Any:
    expansions = [(columns, minors, library.array(signs)) for columns, minors, signs in _expansions(len(inputs["x"]))]
    one = library.array(np.ones(1))

    def determinant(x: Any) -> Any:
        minors = one
        for row, (columns, without, signs) in enumerate(expansions):
            minors = library.np.sum(x[row][columns] * minors[without] * signs, axis=1)
        return minors[0]

    return determinant


def _primal(library: Library, inputs: Inputs) -> Thunk:
    return library.value(_by_minors(library, inputs), inputs["x"])


def _gradient(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(_by_minors(library, inputs), inputs["x"])


def _by_lu(library: Library, inputs: Inputs) -> Thunk:
    return library.value(library.np.det, inputs["x"])


def _gradient_by_lu(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(library.np.det, inputs["x"])


def _determinant(inputs: Inputs) -> Any:
    return np.linalg.det(inputs["x"])


def _cofactors(inputs: Inputs) -> tuple[Array]:
    return (np.linalg.det(inputs["x"]) * np.linalg.inv(inputs["x"]).T,)


PROBLEM = Problem(
    "det",
    _draw,
    sizes=({"l": 5}, {"l": 11}),
    small=({"l": 1}, {"l": 4}),
    functions={"primal": _primal, "gradient": _gradient, "by LU": _by_lu, "gradient by LU": _gradient_by_lu},
    reference={
        "primal": _determinant,
        "gradient": _cofactors,
        "by LU": _determinant,
        "gradient by LU": _cofactors,
    },
)
