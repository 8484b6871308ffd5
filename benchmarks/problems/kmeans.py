"""kmeans: the cost of a clustering, and the direction of a Newton step; Bottou and Bengio, NIPS 1994.

The cost is the sum over the n points of the squared distance to the nearest of the k centroids, in d dimensions. The
direction is the gradient with respect to the centroids divided by the diagonal of the Hessian, which has no other
elements that are not 0: its product with a vector of ones. Squared distances are computed as ``p'p - 2 p'c + c'c``. The
points are uniform in [0, 1), and the last k of them are the centroids, as in GradBench.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk


def _draw(rng: np.random.Generator, k: int, n: int, d: int) -> Inputs:
    points = rng.random((n, d))
    return {"points": points, "centroids": points[n - k :].copy()}


def _objective(library: Library, inputs: Inputs) -> Any:
    np, points = library.np, library.array(inputs["points"])
    squares = float((inputs["points"] ** 2).sum())

    def cost(centroids: Any) -> Any:
        distances = np.sum(centroids * centroids, axis=1) - 2 * (points @ centroids.T)
        return np.sum(np.min(distances, axis=1)) + squares

    return cost


def _cost(library: Library, inputs: Inputs) -> Thunk:
    return library.value(_objective(library, inputs), inputs["centroids"])


def _direction(library: Library, inputs: Inputs) -> Thunk:
    centroids = inputs["centroids"]
    both = library.gradient_and_product(_objective(library, inputs), centroids, np.ones_like(centroids))

    def direction() -> Any:
        gradient, diagonal = both()
        return gradient / diagonal

    return direction


def _nearest(inputs: Inputs) -> tuple[Array, Array]:
    """Return the squared distances to the nearest centroids, and which these are."""
    distances = ((inputs["points"][:, np.newaxis] - inputs["centroids"]) ** 2).sum(-1)
    return distances.min(1), distances.argmin(1)


def _direction_by_hand(inputs: Inputs) -> Array:
    """Return the distances from the means of the clusters: gradients 2 * (n c - sum of points), over 2 n."""
    _, chosen = _nearest(inputs)
    return np.stack([c - inputs["points"][chosen == j].mean(0) for j, c in enumerate(inputs["centroids"])])


PROBLEM = Problem(
    "kmeans",
    _draw,
    sizes=({"k": 10, "n": 1000, "d": 8}, {"k": 100, "n": 10_000, "d": 16}),
    small=({"k": 1, "n": 5, "d": 2}, {"k": 4, "n": 30, "d": 3}),
    functions={"cost": _cost, "dir": _direction},
    reference={"cost": lambda inputs: _nearest(inputs)[0].sum(), "dir": _direction_by_hand},
)
