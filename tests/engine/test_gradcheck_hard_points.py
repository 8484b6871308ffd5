"""Points at which derivatives are hard to see in differences: right gradients pass there, and wrong ones do not.

Each function is tried with its own gradient and with several wrong ones, which a first operation introduces: it has the
value of its input, and a VJP that is wrong.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar.engine.gradcheck import (
    GradientError,
    check_gradients,
    extrapolated_gradient,
    extrapolation,
    judgement,
    numerical_gradient,
)
from tinygrad_cifar.nn import functional as F


def last_element(g):
    return (np.arange(np.size(g)) == np.size(g) - 1).reshape(np.shape(g))


def constant(g):
    """Return a cotangent that cannot be differentiated."""
    return g if isinstance(g, np.ndarray) else g.detach()


def wrong_operation(name, vjp):
    return tg.primitive(name.replace(" ", "_").replace(".", "_") + "_of_hard_points", lambda x: x * 1.0, x=vjp)


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
WRONG = {name: wrong_operation(name, vjp) for name, vjp in FAULTS.items()}
WRONG_SECOND = {  # the gradient is right, but its derivative is not
    "constant": wrong_operation("constant", constant),
    "1.001 times the second": wrong_operation("second", lambda g: 1.001 * g - 0.001 * constant(g)),
    "twice the second": wrong_operation("twice", lambda g: 2 * g - constant(g)),
}

pair, triple = np.array([1.0, 3.0]), np.array([0.7, -1.3, 2.1])
matrix = np.array([[0.3, -1.2], [0.8, 0.5]])
certain = np.array([[0.7, 0.1, -0.1]])


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
    # Sums of an exponential of 1 and of small ones.
    **{
        f"loss of a class that leads by {lead:g}": (lambda x, lead=lead: F.cross_entropy(lead * x, [0]), certain)
        for lead in (10, 30, 60)
    },
    **{
        f"generalised loss of a class that leads by {lead:g}": (
            lambda x, lead=lead: F.generalised_cross_entropy(lead * x, [0], 0.5),
            certain,
        )
        for lead in (10, 30)
    },
    # Elements of unequal size.
    "weights from 1e-9 to 1": (lambda x: tg.sum(x * np.array([1.0, 1e-3, 1e-9])), triple),
    "exp from -20 to 20": (tg.exp, np.array([20.0, 3.0, -5.0, -20.0])),
    "products of unequal factors": (lambda x: x[0] * x[1], np.array([1e6, 1e-6])),
}


LINEAR = [name for name in POINTS if name.startswith(("absolute", "relu", "sign", "weights")) or "+ sum(x)" in name]
CURVED = [name for name in POINTS if name not in LINEAR]


def check(name, wrong=None, **options):
    function, x = POINTS[name]
    return check_gradients(lambda x: function(x if wrong is None else wrong(x)), x, **options)


@pytest.mark.parametrize("name", POINTS)
def test_right_gradient_passes(name):
    check(name)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", POINTS)
def test_wrong_gradient_is_detected(name, wrong):
    with pytest.raises(GradientError, match="the gradient for a random cotangent is wrong"):
        check(name, WRONG[wrong])


@pytest.mark.parametrize("name", POINTS)
def test_right_second_derivative_passes(name):
    check(name, second_order=True)


@pytest.mark.parametrize("wrong", WRONG_SECOND)
@pytest.mark.parametrize("name", CURVED)
def test_wrong_second_derivative_is_detected(name, wrong):
    with pytest.raises(GradientError, match="the second derivative is wrong"):
        check(name, WRONG_SECOND[wrong], second_order=True)


# -- kinks, noise, and values that hide the change ---------------------------------------------------------------------


def steep_relu(distance, slope_below=0.0):
    """Return a function of slope 1 with a kink above 0, where its gradient is ``slope_below`` too large."""
    ramp = tg.primitive(
        f"ramp_{distance:g}_{slope_below:g}_of_hard_points",
        lambda x: 3 * np.maximum(x - distance, 0.0),
        x=lambda g, x: g * np.where(x > distance, 3.0, slope_below),
    )
    return lambda x: x + ramp(x)


DISTANCES = [1e-1, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]


@pytest.mark.parametrize("distance", DISTANCES)
def test_right_gradient_beside_a_kink_passes(distance):
    check_gradients(steep_relu(distance), np.zeros(1))
    check_gradients(lambda x: tg.sum(tg.absolute(x)) + 1, distance * triple)


@pytest.mark.parametrize("slope", [0.001, 1.5, 3.0], ids=["small", "mean of both sides", "other side"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_wrong_gradient_beside_a_kink_is_detected(distance, slope):
    with pytest.raises(GradientError):
        check_gradients(steep_relu(distance, slope), np.zeros(1))


def test_gradient_on_a_kink_is_rejected_with_the_reason():
    with pytest.raises(GradientError, match="it lies on a kink; choose another point"):
        check_gradients(tg.relu, np.zeros(1))


def test_gradient_at_a_jump_is_not_accepted():
    """The differences grow without bound as the steps become smaller, and so does their estimated error."""
    with pytest.raises((GradientError, ValueError), match=r"wrong|cannot be judged"):
        check_gradients(lambda x: tg.where(x.data >= 1, x + 1, x), np.ones(1))


def test_kink_is_not_hidden_by_the_rounding_of_a_constant():
    """Large steps, which the constant demands, agree with each other, but not with those of the kink."""
    wrong = steep_relu(1e-6, 1.5)
    with pytest.raises(ValueError, match="cannot be judged"):
        check_gradients(lambda x: 1e8 + wrong(x), np.zeros(1))


@pytest.mark.parametrize("constant", [1e10, 1e11, 1e12, 1e13])
def test_change_that_is_mostly_rounded_away_is_reported(constant):
    with pytest.raises(
        ValueError,
        match=r"cannot be judged: the differences for input 0 at \[0\] give .* \+- .*, since f rounds off most of the "
        "change; subtract constants from f, or give atol",
    ):
        check_gradients(lambda x: constant + tg.sin(x), np.ones(1))
    check_gradients(lambda x: constant + tg.sin(x), np.ones(1), atol=0.1)


def saturated(wrong=None):
    """Return the probabilities of logits far apart, of which one is nearly 1."""
    return lambda x: tg.softmax(x if wrong is None else wrong(x))


def test_elements_of_a_result_that_round_the_change_off_do_not_reject_a_gradient():
    """The largest probability falls by as much as another rises, which it rounds off."""
    x = np.array([0.0, 50.0, 49.0, -300.0])
    check_gradients(saturated(), x)
    check_gradients(lambda x: 1e-8 * saturated()(100 * x), np.array([1.0, 9.0, 7.0]))
    for wrong in ("1.001 times", "1.001 times in one element"):
        with pytest.raises(GradientError):
            check_gradients(saturated(WRONG[wrong]), x)


@pytest.mark.parametrize("size", [1.0, 1e-9])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
@pytest.mark.parametrize("second_order", [False, True])
def test_gradient_that_consists_of_rounding_errors_passes(size, spread, second_order):
    """A normalisation removes the effect of a bias."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, c = spread * rng.normal(size=(20, 8)), size * rng.normal(size=(20, 8))

        def normalised(b, y=y, c=c):
            z = y + b
            return tg.sum(c * ((z - tg.mean(z, 0)) / tg.sqrt(tg.var(z, 0) + 1e-5)))

        check_gradients(normalised, spread * rng.normal(size=8), second_order=second_order)


@pytest.mark.parametrize("x", [0.0, 0.5], ids=["alone", "beside others"])
@pytest.mark.parametrize("power", [2, 3, 5])
def test_gradient_of_zero_at_a_stationary_point_passes(power, x):
    check_gradients(lambda x: x**power, np.array([0.0, x]), second_order=True)
    check_gradients(lambda x: 1 + (x - 1) ** power, np.array([1.0, 1 + x]), second_order=True)


def test_wrong_gradient_of_an_input_without_effect_is_detected():
    wrong = tg.primitive("of_hard_points_without_effect", lambda x, y: x + 0 * y, x=lambda g: g, y=lambda g: 1e-6 * g)
    with pytest.raises(GradientError):
        check_gradients(wrong, pair, pair)


def test_function_that_rounds_its_argument_is_rejected_with_the_reason():
    with pytest.raises(GradientError, match=r"f does not change at all in small steps: .* as float32 does"):
        check_gradients(lambda x: tg.sin(x.astype(np.float32)).astype(np.float64), pair)


# -- the estimate by itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POINTS)
def test_estimated_error_bounds_the_error(name):
    function, x = POINTS[name]
    t = tg.Tensor(x, requires_grad=True)
    out = function(t)
    weights = np.random.default_rng(0).normal(size=out.shape)
    exact = tg.grad(out, t, weights).data
    gradient, error = extrapolated_gradient(function, x, cotangent=weights)
    assert np.all(np.abs(gradient - exact) <= error + 1e-12 * np.abs(exact))
    assert np.all(error <= 1e-4 * np.abs(exact))


def test_estimate_is_more_accurate_than_one_difference():
    estimate = extrapolated_gradient(np.sin, 1.0)
    assert abs(estimate.gradient - np.cos(1.0)) < 1e-12 < abs(numerical_gradient(np.sin, 1.0) - np.cos(1.0))
    assert estimate.error < 1e-11


def test_estimate_outside_the_domain_is_rejected():
    with pytest.raises(ValueError, match=r"f is not finite on both sides of input 0 at \[1\], for any step"):
        extrapolated_gradient(lambda x: np.sum(np.sqrt(x)), np.array([1.0, 0.0]))


def count_evaluations(name, **options):
    function, x = POINTS[name]
    calls = []
    check_gradients(lambda x: (calls.append(1), function(x))[1], x, **options)
    return len(calls)


@pytest.mark.parametrize("name", ["1000 sum(x**2)", "1e+06 network", "sum(x**2) at 1e+06", "0.001 sum(x**2)"])
def test_two_evaluations_per_element_suffice_at_ordinary_points(name):
    _, x = POINTS[name]
    assert count_evaluations(name) <= 2 * x.size + 2


@pytest.mark.parametrize("name", POINTS)
def test_number_of_evaluations_is_bounded(name):
    _, x = POINTS[name]
    assert count_evaluations(name) <= 40 * x.size + 3


# -- faults of the check itself ----------------------------------------------------------------------------------------

CHECK_FAULTS = {
    "no allowance for rounding": (extrapolation, "MARGIN", 0.0),
    "a large allowance for rounding": (extrapolation, "MARGIN", 1e5),
    "rounded differences suffice": (judgement, "SHARP", 1.0),
    "smaller steps contradict nothing": (extrapolation, "CONTRADICTION", 1e9),
    "rounding contradicts": (extrapolation, "CONTRADICTION", 0.0),
    "no larger steps": (extrapolation, "LARGEST", 0),
    "no smaller steps": (extrapolation, "_SMALLEST", 0),
    "no extrapolation": (extrapolation, "_COLUMNS", 0),
    "poor estimates suffice": (judgement, "_POOR", 10.0),
    "everything is noise": (judgement, "_SCATTER", 1e9),
    "nothing is noise": (judgement, "_SCATTER", 0.0),
    "the backward pass does not round": (judgement, "_NOTHING", 0.0),
}
SELF_TESTS = [
    test_kink_is_not_hidden_by_the_rounding_of_a_constant,
    lambda: test_change_that_is_mostly_rounded_away_is_reported(1e12),
    *[
        partial(test_gradient_that_consists_of_rounding_errors_passes, 1.0, spread, second_order)
        for spread in (1.0, 1e-3)
        for second_order in (False, True)
    ],
    *[partial(test_right_gradient_passes, name) for name in POINTS],
    *[partial(test_wrong_gradient_is_detected, name, "1.001 times") for name in POINTS],
]


@pytest.mark.parametrize(("module", "constant", "value"), CHECK_FAULTS.values(), ids=CHECK_FAULTS)
def test_fault_of_the_check_is_detected(monkeypatch, module, constant, value):
    monkeypatch.setattr(module, constant, value)
    assert any(fails(test) for test in SELF_TESTS)


def fails(test):
    try:
        test()
    except (Exception, pytest.fail.Exception):  # noqa: BLE001
        return True
    return False
