"""A damped pendulum, integrated by the Runge-Kutta method of order 4, as a program of single numbers.

``angle'' = -gravity / length * sin(angle) - damping * angle'``. The loss is the squared distance of the final state
from a given one; the gradients are those of gravity, length, damping and the initial state. The program derived by hand
computes with NumPy's numbers and functions; with numbers of Python and ``math``, the alternative, it is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import TINY, Alternative, Case, Inputs, Model, gradients_of

PLAIN = "Python floats, by hand"
_STEP = 0.01
_TARGET = (0.3, -0.2)


def _draw(rng: np.random.Generator, steps: int) -> Inputs:
    start = [9.81, 1.2, 0.3, 1.0, 0.1]
    return {"parameters": tuple(np.array(x * rng.uniform(0.9, 1.1)) for x in start), "steps": steps}


def _loss(library: Library, inputs: Inputs) -> Any:
    sin, steps, h = library.np.sin, inputs["steps"], _STEP

    def loss(gravity: Any, length: Any, damping: Any, angle: Any, velocity: Any) -> Any:
        ratio = gravity / length

        def acceleration(angle: Any, velocity: Any) -> Any:
            return -ratio * sin(angle) - damping * velocity

        def step(state: Any) -> Any:
            p, v = state
            v1, a1 = v, acceleration(p, v)
            v2, a2 = v + h / 2 * a1, acceleration(p + h / 2 * v1, v + h / 2 * a1)
            v3, a3 = v + h / 2 * a2, acceleration(p + h / 2 * v2, v + h / 2 * a2)
            v4, a4 = v + h * a3, acceleration(p + h * v3, v + h * a3)
            return p + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), v + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)

        p, v = library.repeat(step, (angle, velocity), steps)
        return (p - _TARGET[0]) ** 2 + (v - _TARGET[1]) ** 2

    return loss


def _by_hand(inputs: Inputs) -> Thunk:
    return _with_numbers(inputs, np.float64, np.sin, np.cos)


def _with_floats(inputs: Inputs) -> Thunk:
    return _with_numbers(inputs, float, math.sin, math.cos)


def _with_numbers(
    inputs: Inputs, number: Callable[[Any], Any], sin: Callable[[Any], Any], cos: Callable[[Any], Any]
) -> Thunk:
    gravity, length, damping, angle, velocity = (number(x) for x in inputs["parameters"])
    steps, h = inputs["steps"], _STEP

    def loss_and_gradients() -> Any:
        ratio = gravity / length
        p, v, saved = angle, velocity, []
        for _ in range(steps):
            s1 = sin(p)
            a1 = -ratio * s1 - damping * v
            p2, v2 = p + h / 2 * v, v + h / 2 * a1
            s2 = sin(p2)
            a2 = -ratio * s2 - damping * v2
            p3, v3 = p + h / 2 * v2, v + h / 2 * a2
            s3 = sin(p3)
            a3 = -ratio * s3 - damping * v3
            p4, v4 = p + h * v3, v + h * a3
            s4 = sin(p4)
            a4 = -ratio * s4 - damping * v4
            saved.append((p, v, s1, p2, v2, s2, p3, v3, s3, p4, v4, s4))
            p += h / 6 * (v + 2 * v2 + 2 * v3 + v4)
            v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        loss = (p - _TARGET[0]) ** 2 + (v - _TARGET[1]) ** 2

        d_p, d_v = 2 * (p - _TARGET[0]), 2 * (v - _TARGET[1])
        d_ratio = d_damping = number(0)
        for p, v, s1, p2, v2, s2, p3, v3, s3, p4, v4, s4 in reversed(saved):
            d_a = h / 6 * d_v  # of a4
            d_p4, d_v4 = -ratio * cos(p4) * d_a, h / 6 * d_p - damping * d_a
            d_ratio -= s4 * d_a
            d_damping -= v4 * d_a

            d_a = h / 3 * d_v + h * d_v4  # of a3
            d_p3, d_v3 = -ratio * cos(p3) * d_a, h / 3 * d_p + h * d_p4 - damping * d_a
            d_ratio -= s3 * d_a
            d_damping -= v3 * d_a

            d_a = h / 3 * d_v + h / 2 * d_v3  # of a2
            d_p2, d_v2 = -ratio * cos(p2) * d_a, h / 3 * d_p + h / 2 * d_p3 - damping * d_a
            d_ratio -= s2 * d_a
            d_damping -= v2 * d_a

            d_a = h / 6 * d_v + h / 2 * d_v2  # of a1
            d_ratio -= s1 * d_a
            d_damping -= v * d_a
            d_v += d_v2 + d_v3 + d_v4 + h / 6 * d_p + h / 2 * d_p2 - damping * d_a
            d_p += d_p2 + d_p3 + d_p4 - ratio * cos(p) * d_a
        return loss, (d_ratio / length, -d_ratio * ratio / length, d_damping, d_p, d_v)

    return loss_and_gradients


MODEL = Model(
    _draw,
    cases=(Case("pendulum by RK4, 200 steps", TINY, {"steps": 200}),),
    small=({"steps": 3}, {"steps": 20}),
    make=gradients_of(_loss),
    by_hand=_by_hand,
    alternatives={PLAIN: Alternative(_with_floats, lambda results: results)},
    dtype="float64",
)
