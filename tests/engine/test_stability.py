"""Values and gradients far from zero: accurate, and without warnings (which are errors in tests)."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, functional, grad
from tinygrad_cifar.nn import functional as F

far = st.floats(-1e4, 1e4)
rows = npst.arrays(np.float64, npst.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=far)
KINDS = [np.float32, np.float64]


def value_and_gradient(function, point, kind=np.float64):
    x = Tensor(point, requires_grad=True, dtype=kind)
    y = function(x)
    gradient = grad(y.sum(), x)
    assert y.dtype == gradient.dtype == kind
    return y.data, gradient.data


def evaluate_exactly(function, x):
    """Compute with enough digits for all cancellations."""
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
def test_all_digits_are_correct_from_minus_to_plus_1000(name, x):
    value, gradient = EXACT[name]
    y, dy = value_and_gradient(getattr(tg, name), x)
    smallest = np.finfo(float).tiny
    assert float(y) == pytest.approx(evaluate_exactly(value, x), rel=1e-14, abs=smallest)
    assert float(dy) == pytest.approx(evaluate_exactly(gradient, x), rel=1e-13, abs=smallest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "values", "gradients"),
    [
        ("sigmoid", [0, 1], [0, 0]),
        ("softplus", [0, 1000], [0, 1]),
        ("tanh", [-1, 1], [0, 0]),
        ("arctan", [math.atan(-1000), math.atan(1000)], [1 / 1000001, 1 / 1000001]),
    ],
)
def test_values_and_gradients_at_minus_and_plus_1000(name, values, gradients, kind):
    y, dy = value_and_gradient(getattr(tg, name), [-1000.0, 1000.0], kind)
    np.testing.assert_allclose(y, values, rtol=1e-6)
    np.testing.assert_allclose(dy, gradients, rtol=1e-6)


@pytest.mark.parametrize(("name", "values"), [("sigmoid", [0, 1]), ("softplus", [0, np.inf]), ("tanh", [-1, 1])])
def test_limits_at_infinity(name, values):
    y, dy = value_and_gradient(getattr(tg, name), [-np.inf, np.inf])
    assert y.tolist() == values
    assert dy.tolist() == [0, name == "softplus"]


def test_gradient_of_tanh_does_not_underflow_at_20():
    """1 - tanh(x)**2 rounds to 0 there."""
    _, dy = value_and_gradient(tg.tanh, [20.0, 300.0])
    np.testing.assert_allclose(dy, [4 * math.exp(-40), 4 * math.exp(-600)], rtol=1e-13)


@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_small_arguments_keep_their_digits(name):
    y, dy = value_and_gradient(getattr(tg, name), [1e-12, -1e-12])
    np.testing.assert_allclose(y, [1e-12, -1e-12], rtol=1e-11)
    np.testing.assert_allclose(dy, [1, 1], rtol=1e-11)


# -- scores of ten thousand ------------------------------------------------------------------------------------------


def log_softmax(x):
    return x - tg.logsumexp(x, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
@given(x=rows)
def test_bounds_of_logsumexp(kind, x):
    x = x.astype(kind)
    y, _ = value_and_gradient(lambda x: tg.logsumexp(x, axis=1), x, kind)
    largest = x.max(axis=1)
    slack = 1e-6 * (1 + np.abs(largest))
    assert np.all(y >= largest - slack)
    assert np.all(y <= largest + math.log(x.shape[1]) + slack)


@pytest.mark.parametrize("kind", KINDS)
@given(x=rows)
def test_gradient_of_logsumexp_is_a_probability_distribution(kind, x):
    _, gradient = value_and_gradient(lambda x: tg.logsumexp(x, axis=1), x, kind)
    assert np.all((gradient >= 0) & (gradient <= 1 + 1e-6))
    np.testing.assert_allclose(gradient.sum(axis=1), 1, rtol=1e-6 if kind is np.float32 else 1e-14)


@given(x=rows, shift=far)
def test_logsumexp_of_shifted_scores(x, shift):
    y, gradient = value_and_gradient(lambda x: tg.logsumexp(x, axis=1), x)
    shifted, shifted_gradient = value_and_gradient(lambda x: tg.logsumexp(x + shift, axis=1), x)
    np.testing.assert_allclose(shifted, y + shift, rtol=1e-14, atol=1e-10)
    np.testing.assert_allclose(shifted_gradient, gradient, rtol=1e-8, atol=1e-10)


@given(x=rows)
def test_softmax_is_the_exponential_of_log_softmax(x):
    p, _ = value_and_gradient(lambda x: tg.softmax(x, axis=1), x)
    log_p, _ = value_and_gradient(log_softmax, x)
    np.testing.assert_allclose(p, np.exp(log_p), rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_finite_for_scores_of_10000(kind):
    scores = [[1e4, -1e4, 0.0]]
    loss, gradient = value_and_gradient(lambda x: -log_softmax(x)[0, 1], scores, kind)
    assert loss == 2e4
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]


leads = st.lists(st.floats(8, 600), min_size=1, max_size=4)


def exact_terms(leads):
    """Return the exponentials of the other scores, and the sum of all."""
    others = [(-Decimal(lead)).exp() for lead in leads]
    return others, 1 + sum(others)


@given(leads=leads)
def test_all_digits_of_the_loss_of_a_class_that_is_nearly_certain(leads):
    with localcontext() as context:
        context.prec = 600
        others, total = exact_terms(leads)
        exact = float(total.ln()), [float(p / total) for p in (-sum(others), *others)]
    scores = [[0.0, *(-lead for lead in leads)]]
    loss, gradient = value_and_gradient(lambda x: F.cross_entropy(x, [0]), scores)
    logarithm, _ = value_and_gradient(tg.logsumexp, scores)
    assert loss == pytest.approx(exact[0], rel=1e-14, abs=0)
    assert logarithm == pytest.approx(exact[0], rel=1e-14, abs=0)
    assert gradient[0] == pytest.approx(exact[1], rel=1e-14, abs=0)


@given(leads=leads)
def test_rows_with_one_1_are_labels(leads):
    scores = [[0.0, *(-lead for lead in leads)]]
    rows = np.eye(1, len(leads) + 1)
    loss, gradient = value_and_gradient(lambda x: F.cross_entropy(x, rows), scores)
    expected = value_and_gradient(lambda x: F.cross_entropy(x, [0]), scores)
    assert loss == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [-1e5, 1e3, 1e5])
def test_the_generalised_cross_entropy_does_not_depend_on_a_shift(shift, kind):
    scores = np.array([[1.0, 0.0, -1.0], [0.0, 3.0, -2.0]])
    losses = [
        value_and_gradient(lambda x: F.generalised_cross_entropy(x, [0, 0], 0.5), scores + by, kind)
        for by in (0.0, shift)
    ]
    assert losses[0][0] == losses[1][0]
    np.testing.assert_array_equal(losses[0][1], losses[1][1])


@given(leads=leads, smoothing=st.sampled_from([0.0, 0.1]))
def test_all_digits_of_the_second_derivative_of_the_loss_of_a_class_that_is_nearly_certain(leads, smoothing):
    with localcontext() as context:
        context.prec = 600
        others, total = exact_terms(leads)
        exact = float(sum(others) / total**2)
    x = Tensor([[0.0, *(-lead for lead in leads)]], requires_grad=True)
    gradient = grad(F.cross_entropy(x, [0], label_smoothing=smoothing), x, create_graph=True)
    assert grad(gradient[0, 0], x).data[0, 0] == pytest.approx(exact, rel=1e-14, abs=0)


def test_logsumexp_of_equal_scores():
    for score in (-1e4, 0.0, 1e4, 1e300):
        y, gradient = value_and_gradient(tg.logsumexp, [score] * 4)
        assert y == score + math.log(4)
        assert gradient.tolist() == [0.25] * 4


def test_logsumexp_ignores_scores_of_minus_infinity():
    y, gradient = value_and_gradient(tg.logsumexp, [-np.inf, 1.0])
    assert (y, gradient.tolist()) == (1.0, [0.0, 1.0])


def test_logsumexp_of_minus_infinity_only():
    y, gradient = value_and_gradient(tg.logsumexp, [-np.inf, -np.inf])
    assert (y, gradient.tolist()) == (-np.inf, [0.0, 0.0])


# -- second derivatives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "tanh"])
@pytest.mark.parametrize("x", [-1000.0, 1000.0])
def test_second_derivatives_at_minus_and_plus_1000_are_zero(name, x):
    t = Tensor(x, requires_grad=True)
    gradient = grad(getattr(tg, name)(t), t, create_graph=True)
    assert grad(gradient, t).item() == 0


def test_second_derivative_of_logsumexp_at_10000():
    t = Tensor([1e4, -1e4, 1e4], requires_grad=True)
    gradient = grad(tg.logsumexp(t), t, create_graph=True)
    assert grad(gradient, t, [1.0, 0.0, 0.0]).data.tolist() == [0.25, 0.0, -0.25]


# -- branches of where -----------------------------------------------------------------------------------------------


def test_gradient_of_a_double_where():
    x = Tensor([0.0, 4.0], requires_grad=True)
    safe = tg.where(x > 0, x, 1.0)  # the inner where, so that the root is not computed at 0
    gradient = grad(tg.where(x > 0, tg.sqrt(safe), 0.0).sum(), x)
    assert gradient.data.tolist() == [0.0, 0.25]


def test_where_may_discard_an_infinite_value():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert grad(tg.where([True, False], x, np.inf).sum(), x).data.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_mean_is_correct_if_the_sum_overflows(dtype):
    x = tg.Tensor(np.full(100, 1000, dtype), requires_grad=True)
    assert (x.mean().item(), x.mean().dtype, x.var().item()) == (1000, dtype, 0)
    np.testing.assert_allclose(tg.grad(x.mean(), x).data, 0.01, rtol=1e-3)


MANY = {
    "cov": (tg.cov, 70_000),
    "log_softmax": (functional.log_softmax, 70_000),
    "logsumexp": (tg.logsumexp, 70_000),
    "nanmean": (tg.nanmean, 70_000),
    "nanstd": (tg.nanstd, 70_000),
    "nanvar": (tg.nanvar, 70_000),
    "norm": (tg.norm, 70_000),
    "softmax": (tg.softmax, 70_000),
    "l2_penalty": (lambda x: functional.l2_penalty([x], 0.01), 70_000),
    "hinge": (lambda x: functional.hinge(x.reshape(-1, 10), np.zeros(x.size // 10, int)), 700_000),
}


@pytest.mark.parametrize(("function", "size"), MANY.values(), ids=MANY)
def test_functions_of_many_float16_numbers_do_not_overflow(function, size):
    numbers = np.where(np.arange(size) % 2, 1.5, 0.5)
    half, single = (Tensor(numbers, dtype=kind, requires_grad=True) for kind in (np.float16, np.float32))
    np.testing.assert_allclose(function(half).data, function(single).data, rtol=2e-3, atol=1e-6)
    gradients = [grad(tg.mean(function(x)), x).data for x in (half, single)]
    np.testing.assert_allclose(*gradients, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("function", [tg.erf, tg.erfc])
def test_gaussian_functions_of_many_integers_are_floats(function):
    ones = np.ones(40_000, dtype=int)
    np.testing.assert_array_equal(function(ones), function(ones.astype(float)))


@pytest.mark.parametrize(("number", "cotangent"), [(1e-5, 1), (0.01, 1024)])
def test_gradient_of_a_small_float16_norm_does_not_overflow(number, cotangent):
    x = Tensor([number, 0.0], dtype=np.float16, requires_grad=True)
    assert grad(tg.norm(x), x, gradient=np.float16(cotangent)).data.tolist() == [cotangent, 0.0]


def test_hessian_of_the_norm_at_zero_is_zero():
    np.testing.assert_array_equal(tg.hessian(tg.norm, [0.0, 0.0]).data, np.zeros((2, 2)))


def test_gradient_of_a_norm_of_order_3_at_zero_is_zero():
    x = variable([0.0, 0.0])
    assert grad(tg.norm(x, ord=3), x).data.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("order", [0.5, -0.5, -1, -2])
def test_norms_of_small_orders_have_finite_gradients_beside_zeros(order):
    x = variable([0.0, -4.0, 1.0])
    norm = tg.norm(x, ord=order)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(norm.data, np.linalg.norm(x.data, ord=order), rtol=1e-15)
    expected = [0.0, -1.5, 3.0] if order == 0.5 else [0.0, 0.0, 0.0]  # d/dx (sqrt(4) + sqrt(x))^2 at 1 is (2 + 1) / 1
    np.testing.assert_allclose(grad(norm, x).data, expected, rtol=1e-15)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_gradient_of_fmod_at_zero_is_one(zero):
    x = variable([zero, -5.0])
    out = tg.fmod(x, 4.0)
    assert np.array_equal(np.signbit(out.data), np.signbit(np.fmod(x.data, 4.0)))
    assert grad(out.sum(), x).data.tolist() == [1.0, 1.0]


def test_linspace_keeps_float32():
    assert tg.linspace(Tensor(0.0, dtype=np.float32), 1.0, 3).dtype == np.float32


def test_gradient_of_infinity_to_the_power_0_is_zero():
    x = variable(np.inf)
    assert tg.grad(x**0, x).item() == 0


# -- powers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "derivative"),
    [(-0.0, -2, np.inf), (0.0, -2, -np.inf), (-0.0, -1, -np.inf), (-0.0, 3, 0), (np.nan, 0, 0), (np.inf, 0, 0)],
)
@pytest.mark.parametrize("how", [lambda y: y, float, np.array, Tensor], ids=["int", "float", "array", "tensor"])
def test_slope_of_a_power_at_special_points(x, y, derivative, how):
    with np.errstate(divide="ignore"):
        t = Tensor([x], requires_grad=True)
        gradient = grad((t ** how(y)).sum(), t)
    assert gradient.data.tolist() == [derivative]


@given(
    st.tuples(st.just(0.0), st.sampled_from([0.0, 1.0, 2.0, 3.0]) | st.floats(2, 3))
    | st.tuples(st.floats(0.25, 3), st.sampled_from([0.0, 1.0]) | st.floats(-3, 3))
)
def test_hessian_of_a_power_is_symmetric(point):
    matrix = tg.hessian(lambda v: v[0] ** v[1], point).data
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-12)


def test_third_derivatives_of_a_power_are_symmetric():
    def along(v):
        return tg.hvp(lambda w: w[0] ** w[1], [v], [[0.3, -0.7]])[0]

    matrix = tg.jacobian(along, Tensor([1.3, 2.1], requires_grad=True)).data
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-12)


# -- integers of few bits, such as pixels ------------------------------------------------------------------------------

SMALL = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.uint64, np.int64, np.bool_]


def small_integers(kind):
    elements = npst.from_dtype(np.dtype(kind)) if np.dtype(kind).itemsize == 1 else st.integers(0, 1000)
    return npst.arrays(kind, npst.array_shapes(max_dims=2, max_side=4), elements=elements)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("name", ["softmax", "sigmoid", "softplus", "logsumexp", "norm", "mean", "var", "erf", "erfc"])
def test_functions_of_integers_equal_those_of_floats(name, kind):
    function = getattr(tg, name)

    @given(small_integers(kind))
    def equal(array):
        expected = function(Tensor(array.astype(float)))
        for out in (function(Tensor(array)), function(array)):
            np.testing.assert_allclose(np.asarray(out), expected.data, rtol=1e-12, atol=1e-300)

    equal()


@pytest.mark.parametrize("kind", SMALL)
@given(data=st.data())
def test_gradients_of_powers_with_integers_equal_those_with_floats(kind, data):
    elements = st.integers(0, 1 if kind is np.bool_ else 3)
    numbers = data.draw(npst.arrays(kind, 3, elements=elements))
    x = Tensor([0.5, 1.5, 2.5], requires_grad=True)
    for power in (lambda n: x**n, lambda n: x ** Tensor(n), lambda n: n**x):
        expected, out = (grad(power(n).sum(), x).data for n in (numbers.astype(float), numbers))
        np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_large", [True, False])
def test_norm_neither_overflows_nor_underflows(dtype, is_large):
    """The squares of numbers near the largest and the smallest normal ones cannot be represented."""
    kind = np.finfo(dtype)
    size = float(kind.max) * 0.1 if is_large else float(kind.tiny) * 100
    x = tg.Tensor(np.array([[3.0, 4.0], [0.6, 0.8]]) * [[size / 5], [1.0]], requires_grad=True, dtype=dtype)
    out = tg.norm(x, axis=1)
    np.testing.assert_allclose(out.data, np.array([size, 1.0], dtype), rtol=1e-5)
    np.testing.assert_allclose(tg.grad(out.sum(), x).data, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-5)
