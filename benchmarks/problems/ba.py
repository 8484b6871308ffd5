"""ba: the residuals of a bundle adjustment and their sparse Jacobian; ADBench's paper (see gmm).

A camera has 11 parameters: rotation r (a vector along the axis, as long as the angle), centre C, focal length f,
principal point u, and two radial distortions k. A point X is projected in four steps::

    y = R @ (X - C)
    y = y[:2] / y[2]
    y = y * (1 + k[0] * |y|**2 + k[1] * |y|**4)
    y = f * y + u

Each of the p observations of a point by a camera has a weight w, the two residuals ``w * (y - feature)``, and one for
its weight, ``1 - w**2``.

The Jacobian has blocks of two rows and 15 columns (camera, point and weight of the observation), computed for all
observations together, and one element for each weight. It is returned in compressed sparse rows, as in GradBench: where
the rows start, columns and values. Cameras and points are drawn such that the points are before the cameras; GradBench
repeats one observation of ADBench's data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk

_CAMERA, _POINT = 11, 3
_COLUMNS = _CAMERA + _POINT + 1


def _draw(rng: np.random.Generator, n: int, m: int, p: int, still: bool = False) -> Inputs:
    """Draw n cameras, m points and p observations; the first camera is not rotated if ``still``."""
    cameras = np.concatenate(
        [
            rng.normal(scale=0.2, size=(n, 3)),
            rng.normal(size=(n, 3)),
            rng.uniform(300, 500, (n, 1)),
            rng.normal(scale=5, size=(n, 2)),
            rng.normal(scale=0.05, size=(n, 2)),
        ],
        axis=1,
    )
    if still:
        cameras[0, :3] = 0
    return {
        "cameras": cameras,
        "points": rng.normal(size=(m, 3)) + np.array([0, 0, 15]),
        "weights": rng.uniform(0.5, 1.5, p),
        "features": rng.normal(scale=50, size=(p, 2)),
        "observations": np.stack([np.arange(p) % n, np.arange(p) % m], 1),
    }


def _gathered(inputs: Inputs) -> Array:
    """Return the 15 parameters of each observation."""
    camera, point = inputs["observations"].T
    return np.concatenate([inputs["cameras"][camera], inputs["points"][point], inputs["weights"][:, np.newaxis]], 1)


def _rotated(np: Any, r: Any, p: Any) -> Any:
    squares = np.sum(r * r, axis=1)[:, None]
    moves = squares > 0
    angle = np.sqrt(np.where(moves, squares, 1.0))  # without a second where, the derivative of sqrt at 0 would be NaN
    axis = r / angle
    across, along = np.cross(axis, p), np.sum(axis * p, axis=1)[:, None]
    turned = p * np.cos(angle) + across * np.sin(angle) + axis * along * (1 - np.cos(angle))
    return np.where(moves, turned, p + np.cross(r, p))


def _reprojection(library: Library, inputs: Inputs) -> Any:
    np, features = library.np, library.array(inputs["features"])

    def residuals(x: Any) -> Any:
        p = _rotated(np, x[:, :3], x[:, 11:14] - x[:, 3:6])
        p = p[:, :2] / p[:, 2:]
        squares = np.sum(p * p, axis=1)[:, None]
        p = p * (1 + x[:, 9:10] * squares + x[:, 10:11] * squares * squares)
        return x[:, 14:] * (x[:, 6:7] * p + x[:, 7:9] - features)

    return residuals


def _objective(library: Library, inputs: Inputs) -> Thunk:
    residuals = _reprojection(library, inputs)
    return library.value(lambda x, w: (residuals(x), 1 - w * w), _gathered(inputs), inputs["weights"])


def _jacobian(library: Library, inputs: Inputs) -> Thunk:
    blocks = library.batched_jacobian(_reprojection(library, inputs), _gathered(inputs))
    weights = library.gradient(lambda w: library.np.sum(1 - w * w), inputs["weights"])
    starts, columns = _pattern(inputs)

    def jacobian() -> Any:
        return starts, columns, np.concatenate([np.ravel(part) for part in library.numpy((blocks(), *weights()))])

    return jacobian


def _pattern(inputs: Inputs) -> tuple[Array, Array]:
    """Return where the rows start, and the columns of the elements."""
    n, m, p = (len(inputs[name]) for name in ("cameras", "points", "weights"))
    camera, point = inputs["observations"].T
    of_weights = _CAMERA * n + _POINT * m + np.arange(p)
    block = [
        _CAMERA * camera[:, np.newaxis] + np.arange(_CAMERA),
        _CAMERA * n + _POINT * point[:, np.newaxis] + np.arange(_POINT),
        of_weights[:, np.newaxis],
    ]
    columns = np.repeat(np.concatenate(block, 1), 2, axis=0)
    counts = np.concatenate([[0], np.full(2 * p, _COLUMNS), np.ones(p, int)])
    return np.cumsum(counts), np.concatenate([columns.ravel(), of_weights])


# -- the reference: rotation matrices, one observation after the other -------------------------------------------------


def _cross_matrix(v: Array) -> Array:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def _rotation(r: Array) -> tuple[Array, Array]:
    """Return the rotation matrix and the right Jacobian: that of r + d is that of r after that of J d."""
    angle, K = np.sqrt(r @ r), _cross_matrix(r)
    if angle == 0:
        return np.eye(3) + K, np.eye(3)
    R = np.eye(3) + np.sin(angle) / angle * K + (1 - np.cos(angle)) / angle**2 * K @ K
    J = np.eye(3) - (1 - np.cos(angle)) / angle**2 * K + (angle - np.sin(angle)) / angle**3 * K @ K
    return R, J


def _one(x: Array, feature: Array) -> tuple[Array, Array]:
    """Return the residuals of an observation, and the derivatives with respect to its parameters."""
    r, centre, f, u, (k0, k1), point, w = x[:3], x[3:6], x[6], x[7:9], x[9:11], x[11:14], x[14]
    R, J = _rotation(r)
    y = R @ (point - centre)
    flat, d_flat = y[:2] / y[2], np.array([[1, 0, -y[0] / y[2]], [0, 1, -y[1] / y[2]]]) / y[2]
    s = flat @ flat
    factor, d_factor = 1 + k0 * s + k1 * s**2, k0 + 2 * k1 * s
    residuals = f * flat * factor + u - feature
    by_y = w * f * (factor * np.eye(2) + 2 * d_factor * np.outer(flat, flat)) @ d_flat
    by_point = by_y @ R
    derivatives = [
        -by_y @ R @ _cross_matrix(point - centre) @ J,
        -by_point,
        w * np.stack([flat * factor], 1),
        w * np.eye(2),
        w * f * np.stack([flat * s, flat * s**2], 1),
        by_point,
        residuals[:, np.newaxis],
    ]
    return w * residuals, np.concatenate(derivatives, 1)


def _objective_by_hand(inputs: Inputs) -> tuple[Array, Array]:
    residuals = [_one(x, feature)[0] for x, feature in zip(_gathered(inputs), inputs["features"], strict=True)]
    return np.array(residuals), 1 - inputs["weights"] ** 2


def _jacobian_by_hand(inputs: Inputs) -> tuple[Array, Array, Array]:
    blocks = [_one(x, feature)[1].ravel() for x, feature in zip(_gathered(inputs), inputs["features"], strict=True)]
    return (*_pattern(inputs), np.concatenate([*blocks, -2 * inputs["weights"]]))


PROBLEM = Problem(
    "ba",
    _draw,
    sizes=({"n": 49, "m": 7776, "p": 31_843},),
    small=({"n": 2, "m": 3, "p": 6}, {"n": 2, "m": 5, "p": 7, "still": True}),
    functions={"objective": _objective, "jacobian": _jacobian},
    reference={"objective": _objective_by_hand, "jacobian": _jacobian_by_hand},
)
