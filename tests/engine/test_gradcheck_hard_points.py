"""Points at which derivatives are hard to see in differences: right gradients pass there, and wrong ones do not.

Each function is tried with its own gradient and with several wrong ones, which a first operation introduces: it has the
value of its input, and a VJP that is wrong.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar.engine.gradcheck import GradientError, check_gradients


def last_element(g):
    return (np.arange(np.size(g)) == np.size(g) - 1).reshape(np.shape(g))


FAULTS = {
    "2 times": lambda g: 2 * g,
    "half": lambda g: 0.5 * g,
    "1.001 times": lambda g: 1.001 * g,
    "0.999 times": lambda g: 0.999 * g,
    "zero": lambda g: 0 * g,
    "negative": lambda g: -g,
    "1.001 times in one element": lambda g: g * (1 + 0.001 * last_element(g)),
    "zero in one element": lambda g: g * (1 - last_element(g)),
}
WRONG = {
    name: tg.primitive(f"wrong_{number}_of_hard_points", lambda x: x * 1.0, x=vjp)
    for number, (name, vjp) in enumerate(FAULTS.items())
}

pair, triple = np.array([1.0, 3.0]), np.array([0.7, -1.3, 2.1])
matrix = np.array([[0.3, -1.2], [0.8, 0.5]])


def squares(x):
    return tg.sum(x**2)


def network(x):
    return tg.mean(tg.logsumexp(tg.tanh(x @ matrix) @ matrix.T, axis=-1))


def near_a_pole(x):
    return 1 / (1 - x)


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def oscillation(x):
    return x + 1e-3 * tg.sin(1e3 * x)


POINTS = {
    # Small and large values.
    **{
        f"{scale:g} sum(x**2)": (lambda x, s=scale: s * squares(x), pair)
        for scale in (1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9)
    },
    **{f"{scale:g} network": (lambda x, s=scale: s * network(x), matrix) for scale in (1e-9, 1e-6, 1e6, 1e9)},
    **{f"{scale:g} exp(x)": (lambda x, s=scale: s * tg.exp(x), triple) for scale in (1e-9, 1e9)},
    # Small and large arguments.
    **{f"sum(x**2) at {at:g}": (squares, at * pair) for at in (1e-6, 1e-3, 1e3, 1e6)},
    **{f"x**3 at {at:g}": (lambda x: x**3, at * pair) for at in (1e-6, 1e-3, 1e3, 1e6)},
    **{f"log at {at:g}": (tg.log, at * pair) for at in (1e-9, 1e-6, 1e-3, 1e3, 1e6)},
    **{f"1/x at {at:g}": (lambda x: 1 / x, at * pair) for at in (1e-6, 1e-3, 1e3, 1e6)},
    **{f"sqrt at {at:g}": (tg.sqrt, at * pair) for at in (1e-9, 1e-6, 1e-3, 1e6)},
    **{f"x**1.5 at {at:g}": (lambda x: x**1.5, at * pair) for at in (1e-6, 1e-3, 1e6)},
    **{f"norm at {at:g}": (tg.norm, at * triple) for at in (1e-9, 1e-6, 1e-4, 1e-2, 1e6)},
    **{f"unit vector at {at:g}": (lambda x: x / tg.norm(x), at * triple) for at in (1e-6, 1e-4, 1e4)},
    **{f"absolute at {at:g}": (tg.absolute, at * triple) for at in (1e-7, 1e-6, 1e6)},
    **{f"relu at {at:g}": (tg.relu, at * pair) for at in (1e-7, 1e-6, 1e6)},
    **{f"sign(x) * x at {at:g}": (lambda x: tg.sign(x) * x, at * triple) for at in (1e-6, 1.0, 1e6)},
    # Functions that vary on a scale other than that of the argument.
    **{f"sin at {at:g}": (tg.sin, at * pair) for at in (1e-6, 1e2, 1e4, 1e5, 1e6)},
    **{f"sin({rate:g} x)": (lambda x, r=rate: tg.sin(r * x), pair) for rate in (1e-3, 1e2, 1e3, 1e4, 1e5)},
    **{f"logsumexp at {at:g}": (lambda x, at=at: tg.logsumexp(x + at), triple) for at in (1e2, 1e4)},
    **{f"logsumexp of x near {at:g}": (tg.logsumexp, triple + at) for at in (1e2, 1e4, 1e6)},
    **{f"softmax of x near {at:g}": (tg.softmax, triple + at) for at in (1e2, 1e4)},
    **{f"exp({rate:g} x)": (lambda x, r=rate: tg.exp(r * x), triple) for rate in (1e-6, 10.0, 100.0)},
    **{f"{distance:g} from a pole": (near_a_pole, 1 - distance * pair) for distance in (1e-2, 1e-4, 1e-6)},
    **{f"tanh({rate:g} x)": (lambda x, r=rate: tg.tanh(r * x), triple / rate) for rate in (1e4, 1e6)},
    "oscillation of small amplitude": (oscillation, pair),
    "rosenbrock in its valley": (rosenbrock, np.array([1.001, 1.002])),
    "pixels": (lambda x: network(x / 255), 255 * matrix),
    # A constant hides small changes.
    **{f"{constant:g} + sum(x**2)": (lambda x, c=constant: c + squares(x), pair) for constant in (1e4, 1e6, 1e8, 1e10)},
    **{f"{constant:g} + sum(x)": (lambda x, c=constant: c + tg.sum(x), pair) for constant in (1e8, 1e10)},
    "1e8 + sin": (lambda x: 1e8 + tg.sin(x), pair),
    # Elements of unequal size.
    "weights from 1e-9 to 1": (lambda x: tg.sum(x * np.array([1.0, 1e-3, 1e-9])), triple),
    "exp from -20 to 20": (tg.exp, np.array([20.0, 3.0, -5.0, -20.0])),
    "products of unequal factors": (lambda x: x[0] * x[1], np.array([1e6, 1e-6])),
}


def check(name, wrong=None, **options):
    function, x = POINTS[name]
    return check_gradients(lambda x: function(x if wrong is None else WRONG[wrong](x)), x, **options)


@pytest.mark.parametrize("name", POINTS)
def test_right_gradient_passes(name):
    check(name)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", POINTS)
def test_wrong_gradient_is_detected(name, wrong):
    with pytest.raises(GradientError):
        check(name, wrong)
