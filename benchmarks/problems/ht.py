"""ht: the errors of a hand model and their Jacobian; ADBench's paper (see gmm).

The hand has 22 bones: the wrist, five fingers of four bones in a chain from the wrist, and the forearm. Its 26
parameters theta are the global rotation (a vector along the axis, as long as the angle; it is not 0 here), the
translation, and four angles of each finger: the second bone turns about two axes, ``Rz @ Rx``, the third and the fourth
about one. A bone's transformation is that of its parent, times its own at rest, times its rotation. A vertex is moved
by the weighted mean of its bones' transformations, each after the inverse of that bone's transformation at rest (linear
blend skinning); then all are rotated and translated.

The errors are the c measured points minus the corresponding points of the model. In the simple variant these are
vertices, and the Jacobian has 26 columns. In the complicated one they are points of triangles, with two coordinates u
for each correspondence; the Jacobian has two more columns, first, with the derivatives of an error with respect to its
own u.

The hand itself is drawn: 544 vertices as in ADBench, on random bones, and random triangles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk

_FINGERS, _PHALANGES = 5, 4
_BONES = 2 + _FINGERS * _PHALANGES
_PARENTS = [-1, *[0 if i % _PHALANGES == 0 else i for i in range(_FINGERS * _PHALANGES)], 0]
_SHARE = 0.15  # of all bones, that move a vertex
_FIRST_ANGLE = 6  # after rotation and translation


def _draw(rng: np.random.Generator, c: int, variant: str, vertices: int = 544) -> Inputs:
    """Draw a hand of some vertices, and c correspondences; the variant is "simple" or "complicated"."""
    at_rest = np.array([_rigid(rng.normal(size=3), rng.normal(scale=0.5, size=3)) for _ in range(_BONES)])
    weights = rng.random((vertices, _BONES)) * (rng.random((vertices, _BONES)) < _SHARE)
    weights[np.arange(vertices), rng.integers(0, _BONES, vertices)] += 0.5
    u = rng.random((c, 2)) if variant == "complicated" else None
    triangles = np.array([rng.choice(vertices, 3, replace=False) for _ in range(2 * vertices)])
    return {
        "theta": rng.normal(scale=0.5, size=_FIRST_ANGLE + 4 * _FINGERS),
        "u": u,
        "at_rest": at_rest,
        "inverses": np.linalg.inv(_chained(at_rest)),
        "vertices": np.concatenate([rng.normal(size=(vertices, 3)), np.ones((vertices, 1))], 1),
        "weights": weights / weights.sum(1, keepdims=True),
        "corresponding": triangles[rng.integers(0, len(triangles), c)]
        if u is not None
        else rng.integers(0, vertices, c),
        "points": rng.normal(size=(c, 3)),
    }


def _rotation(r: Any) -> Any:
    """Return the matrix of a rotation by the angle ``|r|`` about r."""
    angle = np.sqrt(r @ r)
    x, y, z = r / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def _rigid(r: Array, translation: Array) -> Array:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = _rotation(r), translation
    return out


def _chained(relative: Array) -> Array:
    """Return the transformations of the bones, given those relative to their parents."""
    out: list[Array] = []
    for parent, own in zip(_PARENTS, relative, strict=True):
        out.append(own if parent < 0 else out[parent] @ own)
    return np.array(out)


def _angle_places() -> Array:
    """Return where the angles of each bone about z and x are in ``concatenate([theta, [0]])``."""
    places = np.full((_BONES, 2), _FIRST_ANGLE + 4 * _FINGERS)
    for finger in range(_FINGERS):
        bone, first = 1 + _PHALANGES * finger, _FIRST_ANGLE + 4 * finger
        places[bone + 1] = first + 1, first
        places[bone + 2, 1], places[bone + 3, 1] = first + 2, first + 3
    return places


# Bones at each distance from the wrist, those of a finger at the same place, and where each bone is in this order.
_LEVELS = [np.array([0]), np.array([*range(1, _BONES - 1, _PHALANGES), _BONES - 1])]
_LEVELS += [np.arange(1 + i, _BONES - 1, _PHALANGES) for i in range(1, _PHALANGES)]
_ORDER = np.argsort(np.concatenate(_LEVELS))


def _positions(library: Library, inputs: Inputs) -> Any:
    """Return the function of theta that computes the positions of all vertices."""
    np, places, zero = library.np, _angle_places(), library.array([0.0])
    at_rest, inverses = library.array(inputs["at_rest"]), library.array(inputs["inverses"])
    vertices, weights = library.array(inputs["vertices"][:, :, None]), library.array(inputs["weights"])
    ones, zeros = library.array([1.0] * _BONES), library.array([0.0] * _BONES)

    def positions(theta: Any) -> Any:
        angles = np.concatenate([theta, zero])[places]
        (cz, sz), (cx, sx) = [(np.cos(angles[:, i]), np.sin(angles[:, i])) for i in range(2)]
        rows = [
            np.stack([cz, -sz * cx, sz * sx, zeros], axis=1),
            np.stack([sz, cz * cx, -cz * sx, zeros], axis=1),
            np.stack([zeros, sx, cx, zeros], axis=1),
            np.stack([zeros, zeros, zeros, ones], axis=1),
        ]
        relative = at_rest @ np.stack(rows, axis=1)
        level = relative[_LEVELS[0]]
        levels = [level]
        for bones in _LEVELS[1:]:
            level = level[:_FINGERS] @ relative[bones]  # the wrist is the parent of six, the others of one each
            levels.append(level)
        moved = (np.concatenate(levels, axis=0)[_ORDER] @ inverses)[:, :3].reshape(_BONES, 12)
        skinned = ((weights @ moved).reshape(-1, 3, 4) @ vertices)[:, :, 0]
        r = theta[:3]
        angle = np.sqrt(r @ r)
        axis = r / angle
        cross = np.cross(axis[None, :], skinned)
        along = (skinned @ axis)[:, None] * axis
        return skinned * np.cos(angle) + cross * np.sin(angle) + along * (1 - np.cos(angle)) + theta[3:6]

    return positions


def _errors(library: Library, inputs: Inputs) -> Any:
    """Return the function of theta and u that computes the errors, one row for each correspondence."""
    positions, points = _positions(library, inputs), library.array(inputs["points"])
    corresponding = inputs["corresponding"]

    def errors(theta: Any, u: Any) -> Any:
        found = positions(theta)[corresponding]
        if u is not None:
            a, b = u[:, 0:1], u[:, 1:2]
            found = a * found[:, 0] + b * found[:, 1] + (1 - a - b) * found[:, 2]
        return points - found

    return errors


def _objective(library: Library, inputs: Inputs) -> Thunk:
    errors = _errors(library, inputs)
    if inputs["u"] is None:
        return library.value(lambda theta: errors(theta, None), inputs["theta"])
    return library.value(errors, inputs["theta"], inputs["u"])


def _jacobian(library: Library, inputs: Inputs) -> Thunk:
    errors, theta, u = _errors(library, inputs), inputs["theta"], inputs["u"]
    if u is None:
        by_theta = library.jacobian_by_columns(lambda theta: errors(theta, None), theta)
        return lambda: library.numpy(by_theta()).reshape(-1, len(theta))
    fixed_theta, fixed_u = library.array(theta), library.array(u)
    by_theta = library.jacobian_by_columns(lambda theta: errors(theta, fixed_u), theta)
    by_u = library.batched_jacobian(lambda u: errors(fixed_theta, u), u)

    def jacobian() -> Array:
        parts = [library.numpy(by_u()).reshape(-1, 2), library.numpy(by_theta()).reshape(-1, len(theta))]
        return np.concatenate(parts, 1)

    return jacobian


# -- the reference: one bone and one vertex after the other, and the complex step --------------------------------------


def _axis_rotation(axis: int, angle: Any) -> Array:
    """Return the matrix of a rotation about an axis of the coordinates."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.eye(4, dtype=np.asarray(angle).dtype)
    out[i, i] = out[j, j] = np.cos(angle)
    out[j, i] = np.sin(angle)
    out[i, j] = -out[j, i]
    return out


def _errors_one_by_one(inputs: Inputs, theta: Array, u: Array | None) -> Array:
    angles = {
        1 + _PHALANGES * finger + bone: part
        for finger in range(_FINGERS)
        for bone, part in zip((1, 2, 3), np.split(theta[_FIRST_ANGLE + 4 * finger :][:4], [2, 3]), strict=True)
    }
    relative = []
    for bone, own in enumerate(inputs["at_rest"]):
        about_x, *about_z = angles.get(bone, np.zeros(1))
        relative.append(own @ _axis_rotation(2, about_z[0] if about_z else 0.0 * about_x) @ _axis_rotation(0, about_x))
    moved = [absolute @ inverse for absolute, inverse in zip(_chained(relative), inputs["inverses"], strict=True)]
    R = _rotation(theta[:3])

    def position(vertex: int) -> Array:
        parts = zip(inputs["weights"][vertex], moved, strict=True)
        skinned = sum(weight * (transformation @ inputs["vertices"][vertex]) for weight, transformation in parts)
        return R @ skinned[:3] + theta[3:6]

    found = []
    for i, corresponding in enumerate(inputs["corresponding"]):
        if u is None:
            found.append(position(corresponding))
        else:
            a, b, c = (position(vertex) for vertex in corresponding)
            found.append(u[i, 0] * a + u[i, 1] * b + (1 - u[i, 0] - u[i, 1]) * c)
    return inputs["points"] - np.array(found)


def _complex_step(inputs: Inputs) -> Array:
    theta, u = inputs["theta"], inputs["u"]
    tiny = 1e-30j
    columns = []
    if u is not None:
        columns += [_errors_one_by_one(inputs, theta, u + tiny * np.eye(2)[i]).imag / 1e-30 for i in range(2)]
    columns += [_errors_one_by_one(inputs, theta + tiny * unit, u).imag / 1e-30 for unit in np.eye(len(theta))]
    return np.stack([column.ravel() for column in columns], 1)


PROBLEM = Problem(
    "ht",
    _draw,
    sizes=({"c": 100, "variant": "simple"}, {"c": 100, "variant": "complicated"}),
    small=(
        {"c": 2, "variant": "simple", "vertices": 5},
        {"c": 3, "variant": "complicated", "vertices": 5},
    ),
    functions={"objective": _objective, "jacobian": _jacobian},
    reference={
        "objective": lambda inputs: _errors_one_by_one(inputs, inputs["theta"], inputs["u"]),
        "jacobian": _complex_step,
    },
)
