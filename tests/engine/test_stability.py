"""Values and gradients far from zero: right to the last digits and without a warning (in tests, an error)."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor, grad

far = st.floats(-1e4, 1e4)
rows = npst.arrays(np.float64, npst.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=far)
KINDS = [np.float32, np.float64]


def value_and_slope(function, point, kind=np.float64):
    x = Tensor(point, requires_grad=True, dtype=kind)
    y = function(x)
    slope = grad(y.sum(), x)
    assert y.dtype == slope.dtype == kind
    return y.data, slope.data


def exactly(function, x):
    """Compute with so many digits that those that cancel are not missed."""
    with localcontext() as context:
        context.prec = 800
        context.Emax, context.Emin = 10**6, -(10**6)
        return float(function(Decimal(x)))


# -- the sigmoid, the softplus, tanh ---------------------------------------------------------------------------------

EXACT = {
    "sigmoid": (
        lambda x: 1 / (1 + (-x).exp()),
        lambda x: (-x).exp() / (1 + (-x).exp()) ** 2,
    ),
    "softplus": (
        lambda x: max(x, Decimal(0)) + (1 + (-abs(x)).exp()).ln(),
        lambda x: 1 / (1 + (-x).exp()),
    ),
    "tanh": (
        lambda x: 1 - 2 / ((2 * x).exp() + 1),
        lambda x: 4 / (x.exp() + (-x).exp()) ** 2,
    ),
}


@pytest.mark.parametrize("name", EXACT)
@given(x=st.floats(-1000, 1000) | st.floats(-40, 40))
def test_all_digits_from_minus_to_plus_a_thousand(name, x):
    value, slope = EXACT[name]
    y, dy = value_and_slope(getattr(tg, name), x)
    smallest = np.finfo(float).tiny
    assert float(y) == pytest.approx(exactly(value, x), rel=1e-14, abs=smallest)
    assert float(dy) == pytest.approx(exactly(slope, x), rel=1e-13, abs=smallest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "values", "slopes"),
    [
        ("sigmoid", [0, 1], [0, 0]),
        ("softplus", [0, 1000], [0, 1]),
        ("tanh", [-1, 1], [0, 0]),
        ("arctan", [math.atan(-1000), math.atan(1000)], [1 / 1000001, 1 / 1000001]),
    ],
)
def test_a_thousand_either_side(name, values, slopes, kind):
    y, dy = value_and_slope(getattr(tg, name), [-1000.0, 1000.0], kind)
    np.testing.assert_allclose(y, values, rtol=1e-6)
    np.testing.assert_allclose(dy, slopes, rtol=1e-6)


@pytest.mark.parametrize(("name", "values"), [("sigmoid", [0, 1]), ("softplus", [0, np.inf]), ("tanh", [-1, 1])])
def test_infinity_is_the_limit(name, values):
    y, dy = value_and_slope(getattr(tg, name), [-np.inf, np.inf])
    assert y.tolist() == values
    assert dy.tolist() == [0, name == "softplus"]


def test_the_slope_of_tanh_does_not_die_at_20():
    """1 - tanh(x)**2 is 0 from there on."""
    _, dy = value_and_slope(tg.tanh, [20.0, 300.0])
    np.testing.assert_allclose(dy, [4 * math.exp(-40), 4 * math.exp(-600)], rtol=1e-13)


@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_small_arguments_keep_their_digits(name):
    y, dy = value_and_slope(getattr(tg, name), [1e-12, -1e-12])
    np.testing.assert_allclose(y, [1e-12, -1e-12], rtol=1e-11)
    np.testing.assert_allclose(dy, [1, 1], rtol=1e-11)


# -- scores of ten thousand ------------------------------------------------------------------------------------------


def log_softmax(x):
    return x - tg.logsumexp(x, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
@given(x=rows)
def test_logsumexp_lies_between_the_largest_score_and_that_of_as_many_equal_ones(kind, x):
    x = x.astype(kind)
    y, _ = value_and_slope(lambda x: tg.logsumexp(x, axis=1), x, kind)
    largest = x.max(axis=1)
    slack = 1e-6 * (1 + np.abs(largest))
    assert np.all(y >= largest - slack)
    assert np.all(y <= largest + math.log(x.shape[1]) + slack)


@pytest.mark.parametrize("kind", KINDS)
@given(x=rows)
def test_the_slope_of_logsumexp_is_a_probability(kind, x):
    _, slope = value_and_slope(lambda x: tg.logsumexp(x, axis=1), x, kind)
    assert np.all((slope >= 0) & (slope <= 1 + 1e-6))
    np.testing.assert_allclose(slope.sum(axis=1), 1, rtol=1e-6 if kind is np.float32 else 1e-14)


@given(x=rows, shift=far)
def test_logsumexp_moves_with_its_scores(x, shift):
    y, slope = value_and_slope(lambda x: tg.logsumexp(x, axis=1), x)
    moved, moved_slope = value_and_slope(lambda x: tg.logsumexp(x + shift, axis=1), x)
    np.testing.assert_allclose(moved, y + shift, rtol=1e-14, atol=1e-10)
    np.testing.assert_allclose(moved_slope, slope, rtol=1e-8, atol=1e-10)


@given(x=rows)
def test_softmax_is_the_exponential_of_log_softmax(x):
    p, _ = value_and_slope(lambda x: tg.softmax(x, axis=1), x)
    log_p, _ = value_and_slope(log_softmax, x)
    np.testing.assert_allclose(p, np.exp(log_p), rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_hopeless_score_is_finite_and_so_is_its_gradient(kind):
    scores = [[1e4, -1e4, 0.0]]
    loss, slope = value_and_slope(lambda x: -log_softmax(x)[0, 1], scores, kind)
    assert loss == 2e4
    assert slope.tolist() == [[1.0, -1.0, 0.0]]


def test_equal_scores_of_any_size():
    for score in (-1e4, 0.0, 1e4, 1e300):
        y, slope = value_and_slope(tg.logsumexp, [score] * 4)
        assert y == score + math.log(4)
        assert slope.tolist() == [0.25] * 4


def test_scores_of_minus_infinity_do_not_count():
    y, slope = value_and_slope(tg.logsumexp, [-np.inf, 1.0])
    assert (y, slope.tolist()) == (1.0, [0.0, 1.0])


def test_nothing_but_minus_infinity():
    y, slope = value_and_slope(tg.logsumexp, [-np.inf, -np.inf])
    assert (y, slope.tolist()) == (-np.inf, [0.0, 0.0])


# -- second derivatives far out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "tanh"])
@pytest.mark.parametrize("x", [-1000.0, 1000.0])
def test_a_second_derivative_a_thousand_out_is_zero(name, x):
    t = Tensor(x, requires_grad=True)
    slope = grad(getattr(tg, name)(t), t, create_graph=True)
    assert grad(slope, t).item() == 0


def test_a_second_derivative_of_logsumexp_at_ten_thousand():
    t = Tensor([1e4, -1e4, 1e4], requires_grad=True)
    slope = grad(tg.logsumexp(t), t, create_graph=True)
    assert grad(slope, t, [1.0, 0.0, 0.0]).data.tolist() == [0.25, 0.0, -0.25]


# -- branches that are not taken -------------------------------------------------------------------------------------


def test_where_hides_what_it_does_not_take():
    x = Tensor([0.0, 4.0], requires_grad=True)
    safe = tg.where(x > 0, x, 1.0)  # the inner where: the root never sees the 0
    slope = grad(tg.where(x > 0, tg.sqrt(safe), 0.0).sum(), x)
    assert slope.data.tolist() == [0.0, 0.25]


def test_a_value_that_where_does_not_take_may_be_infinite():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert grad(tg.where([True, False], x, np.inf).sum(), x).data.tolist() == [1.0, 0.0]
