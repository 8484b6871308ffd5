"""Gradient checking: numerical gradients of known functions, error measures, and messages."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor, functional, models, nn
from tinygrad_cifar.engine.gradcheck import (
    GradientError,
    check_gradients,
    check_model,
    complex_step,
    numerical_gradient,
    relative_error,
    relative_errors,
    summary,
)

_numbers = itertools.count()


def operation(forward, vjp):
    """Register a primitive of one input with a VJP that may be wrong."""
    return tg.primitive(f"of_test_gradcheck_{next(_numbers)}", forward, x=vjp)


hundreds = st.floats(-100, 100)


def matrices(elements=hundreds):
    return npst.arrays(np.float64, npst.array_shapes(min_dims=1, max_dims=2, max_side=4), elements=elements)


@st.composite
def pairs(draw):
    first = draw(matrices())
    return first, draw(npst.arrays(np.float64, first.shape, elements=hundreds))


# -- numerical gradients ---------------------------------------------------------------------------------------------


@given(x=matrices())
def test_centred_differences_of_a_square(x):
    np.testing.assert_allclose(numerical_gradient(lambda x: np.sum(x * x), x), 2 * x, rtol=1e-6, atol=1e-5)


@given(x=matrices(st.floats(-2, 2)))
def test_one_sided_differences_of_a_sine(x):
    estimate = numerical_gradient(lambda x: np.sum(np.sin(x)), x, method="forward")
    np.testing.assert_allclose(estimate, np.cos(x), atol=1e-6)


@pytest.mark.parametrize(("method", "error"), [("centred", 0.0), ("forward", 0.5)])
def test_step_h_is_used(method, error):
    """With h = 1/2, x**2 has an exact centred difference and a forward one that is wrong by h."""
    assert numerical_gradient(lambda x: x * x, 3.0, method=method, h=0.5) == 6 + error


@pytest.mark.parametrize("x", [1e-6, 1.0, 1e3, 1e6, -1e6])
def test_default_step_is_relative_to_the_point(x):
    assert numerical_gradient(lambda x: x**3, x) == pytest.approx(3 * x * x, rel=1e-6, abs=1e-9)


def test_input_is_selected_by_position():
    x, y = np.array([1.0, 2.0]), np.array([5.0, 7.0])
    gradients = [numerical_gradient(lambda x, y: np.sum(x * y), (x, y), i) for i in (0, 1)]
    np.testing.assert_allclose(gradients, [y, x], rtol=1e-9)


def test_cotangent_weights_the_results():
    weighted = numerical_gradient(lambda x: 2 * x, np.zeros(3), cotangent=[1.0, 10.0, 100.0])
    np.testing.assert_allclose(weighted, [2.0, 20.0, 200.0], rtol=1e-9)


def test_function_receives_tensors_for_tensors():
    seen = []
    numerical_gradient(lambda x, y: (seen.append((type(x), type(y))), 0.0)[1], (Tensor([1.0]), np.ones(1)))
    assert set(seen) == {(Tensor, np.ndarray)}


def test_numerical_gradient_does_not_change_the_point():
    x = np.array([1.0, 2.0])
    numerical_gradient(np.sum, x)
    assert x.tolist() == [1.0, 2.0]


def test_function_cannot_write_to_the_point():
    def writes(x):
        x += 1
        return np.sum(x)

    with pytest.raises(ValueError, match="read-only"):
        numerical_gradient(writes, np.ones(2))


def test_gradient_of_an_empty_input_is_empty():
    assert numerical_gradient(np.sum, np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("differentiate", [numerical_gradient, complex_step])
class TestInvalidArguments:
    @pytest.mark.parametrize("kind", [np.float16, np.float32])
    def test_lower_precision_than_float64(self, differentiate, kind):
        with pytest.raises(
            TypeError, match=r"input 0 is float.., but the check works in float64.*astype\(np.float64\)"
        ):
            differentiate(np.sum, np.ones(2, kind))

    def test_integers(self, differentiate):
        with pytest.raises(TypeError, match="input 0 must be float64; got int64, which has no gradient"):
            differentiate(np.sum, np.ones(2, np.int64))

    def test_several_results_without_a_cotangent(self, differentiate):
        with pytest.raises(ValueError, match=r"shape \(2,\); only a result with one element has a default cotangent"):
            differentiate(lambda x: 2 * x, np.ones(2))

    def test_a_cotangent_of_another_shape(self, differentiate):
        with pytest.raises(ValueError, match=r"cotangent must be real numbers of shape \(2,\).* got float64 of \(3,\)"):
            differentiate(lambda x: 2 * x, np.ones(2), cotangent=np.ones(3))

    @pytest.mark.parametrize("index", [1, -1])
    def test_index_out_of_range(self, differentiate, index):
        with pytest.raises(ValueError, match=f"index must be from 0 to 0; got {index}"):
            differentiate(np.sum, np.ones(2), index)

    def test_the_result_of_a_function(self, differentiate):
        with pytest.raises(TypeError, match="f must be a function of tensors, not its result; got Tensor"):
            differentiate(Tensor(1.0), np.ones(2))

    def test_two_results(self, differentiate):
        with pytest.raises(TypeError, match="must return one tensor or array of numbers; got tuple"):
            differentiate(lambda x: (x, x), np.ones(2))

    def test_result_that_is_not_numeric(self, differentiate):
        with pytest.raises(TypeError, match="must return one tensor or array of numbers; got str"):
            differentiate(lambda x: "nothing", np.ones(2))  # noqa: ARG005


def test_unknown_method():
    with pytest.raises(ValueError, match="must be 'centred' or 'forward', not 'backward'"):
        numerical_gradient(np.sum, np.ones(2), method="backward")


@pytest.mark.parametrize("h", [0.0, -1e-6, math.nan])
def test_step_must_be_positive(h):
    with pytest.raises(ValueError, match="the step h must be positive"):
        numerical_gradient(np.sum, np.ones(2), h=h)


def test_function_must_compute_in_float64():
    with pytest.raises(TypeError, match="must return float64 numbers for float64 inputs; got float32"):
        numerical_gradient(lambda x: np.sum(x.astype(np.float32)), np.ones(2))


def test_a_step_that_is_too_small_for_the_point():
    with pytest.raises(ValueError, match=r"the step h = 1.0e-06 is too small for input 0 at \[1\], 1e\+12"):
        numerical_gradient(lambda x: np.sum(np.sin(x)), np.array([1.0, 1e12]), h=1e-6)


def test_point_at_the_edge_of_the_domain():
    with pytest.raises(ValueError, match=r"input 0 at \[1\] is nan, since f is not finite within 6.1e-06 of the point"):
        numerical_gradient(lambda x: np.sum(np.sqrt(x)), np.array([1.0, 1e-7]))


# -- the complex step ------------------------------------------------------------------------------------------------


@given(x=matrices(st.floats(-3, 3)))
def test_complex_step_is_exact(x):
    derivative = complex_step(lambda x: np.sum(np.exp(x) * x), x)
    np.testing.assert_allclose(derivative, (1 + x) * np.exp(x), rtol=1e-13, atol=1e-15)


@given(seed=st.integers(0, 2**32))
def test_complex_step_of_a_composition_of_operations(seed):
    W, x = np.random.default_rng(seed).normal(size=(2, 3, 3))

    def f(W, x):
        return tg.logsumexp(tg.tanh(x @ W)) + tg.mean(tg.softplus(W))

    t = Tensor(W, requires_grad=True)
    f(t, x).backward()
    np.testing.assert_allclose(complex_step(f, (W, x)), t.grad.data, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loses", [np.abs, np.real, lambda x: x > 0], ids=["abs", "real", "comparison"])
def test_complex_step_rejects_functions_that_drop_the_imaginary_part(loses):
    with pytest.raises(TypeError, match="it is not analytic"):
        complex_step(lambda x: np.sum(loses(x)), np.ones(2))


def test_complex_step_passes_labels_as_integers():
    labels = np.array([1, 0])
    gradient = complex_step(lambda x, labels: np.sum(x[labels] * [1.0, 2.0]), (np.zeros(2), labels))
    assert gradient.tolist() == [2.0, 1.0]


# -- measures of disagreement ----------------------------------------------------------------------------------------


@given(pair=pairs())
def test_relative_errors_lie_between_0_and_1(pair):
    errors = relative_errors(*pair)
    assert errors.shape == pair[0].shape
    assert np.all((errors >= 0) & (errors <= 1 + 1e-15))


@given(pair=pairs())
def test_measures_are_symmetric(pair):
    a, b = pair
    np.testing.assert_array_equal(relative_errors(a, b), relative_errors(b, a))
    assert relative_error(a, b) == relative_error(b, a)


@given(x=matrices())
def test_error_of_a_gradient_against_itself_is_zero(x):
    assert relative_errors(x, x).max() == relative_error(x, x) == summary(x, x).sum_of_differences == 0


@given(x=matrices(st.floats(0.1, 100) | st.floats(-100, -0.1)))
def test_error_of_a_gradient_against_its_negative_is_one(x):
    assert np.all(relative_errors(x, -x) == 1)
    assert relative_error(x, -x) == pytest.approx(1)


def test_measure_of_report_002():
    """|ga - gn| / max(eps, |ga| + |gn|), eps 1e-5."""
    np.testing.assert_allclose(relative_errors([[3.0, 1e-7]], [[1.0, -1e-7]]), [[0.5, 0.02]], rtol=1e-12)


def test_measure_of_report_003():
    """sum |ga - gn| / sum max(eps, |ga| + |gn|): large elements dominate small ones."""
    assert relative_error([3.0, 0.0], [1.0, 0.0], eps=1e-12) == pytest.approx(0.5)
    assert relative_error([3.0, 0.0], [1.0, 0.0]) == pytest.approx(2 / (4 + 1e-5))
    assert relative_error([3.0, 96.0], [1.0, 96.0]) == pytest.approx(2 / 196)


@given(seed=st.integers(0, 2**32))
def test_right_gradient_of_zero_has_a_small_error(seed):
    """The bias before a batch normalisation has no effect, so both gradients consist of rounding errors."""
    x, b, c = (np.random.default_rng(seed).normal(size=shape) for shape in [(8, 3), (3,), (8, 3)])

    def cost(b):
        y = x + b
        return tg.sum(c * ((y - tg.mean(y, 0)) / tg.sqrt(tg.var(y, 0) + 1e-5)))

    t = Tensor(b, requires_grad=True)
    analytic, numerical = tg.grad(cost(t), t), numerical_gradient(cost, b)
    assert np.abs(numerical).max() < 1e-8
    assert relative_error(analytic, numerical) < 1e-3
    assert relative_errors(analytic, numerical).max() < 1e-3


@pytest.mark.parametrize("measure", [relative_error, relative_errors])
def test_a_gradient_that_is_none_is_named(measure):
    W = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(ValueError, match=rf"{measure.__name__}: the second gradient is None; call backward\(\) before"):
        measure(np.ones(3), W.grad)


def test_measures_of_report_004():
    figures = summary(Tensor([[1.0, -3.0]]), np.array([[0.5, -4.0]]))
    assert figures == (1.5, (2.0, 2.25), (1.0, 0.5), (3.0, 4.0))


def test_summary_prints_its_four_measures():
    assert str(summary([1.0], [2.0])).splitlines() == [
        "sum of absolute differences: 1.000e+00",
        "mean of absolute values: analytic 1.000e+00, numerical 2.000e+00",
        "min of absolute values: analytic 1.000e+00, numerical 2.000e+00",
        "max of absolute values: analytic 1.000e+00, numerical 2.000e+00",
    ]


@pytest.mark.parametrize("measure", [relative_errors, relative_error, summary])
def test_gradients_of_different_shapes_are_rejected(measure):
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(3, 1\); they must be equal"):
        measure(np.ones(3), np.ones((3, 1)))


def test_empty_gradients():
    assert relative_error([], []) == 0
    assert relative_errors([], []).shape == (0,)
    with pytest.raises(ValueError, match="the gradients have no elements"):
        summary([], [])


# -- the check -------------------------------------------------------------------------------------------------------

x = np.array([0.5, -1.5, 2.0])


@given(seed=st.integers(0, 2**32))
def test_correct_gradient_passes_with_a_small_error(seed):
    W, b, x = (np.random.default_rng(seed).normal(size=shape) for shape in [(3, 2), (2,), (4, 3)])
    error = check_gradients(lambda W, b, x: tg.tanh(x @ W + b), W, b, x, second_order=True)
    # Differences have errors of about 1e-10, and the relative error treats elements below 1e-5 as 1e-5.
    assert error < 1e-5


FAULTS = {
    "zero": lambda g, x: 0 * g * x,
    "negative": lambda g, x: -2 * g * x,
    "1.001 times": lambda g, x: 2.002 * g * x,
    "ignores the cotangent": lambda g, x: 2 * x + 0 * g,
    "mean of the cotangent": lambda g, x: 2 * x * (g * 0 + np.mean(g)),
    "reversed": lambda g, x: (2 * g * x)[::-1],
    "clipped": lambda g, x: tg.clip(2 * g * x, -0.1, 0.1),
    "not a number": lambda g, x: 2 * g * x * np.nan,
    "infinite": lambda g, x: 2 * g * x * np.inf,
}


@pytest.mark.parametrize("vjp", FAULTS.values(), ids=FAULTS)
def test_wrong_vjp_is_detected(vjp):
    with pytest.raises(GradientError):
        check_gradients(operation(lambda x: x * x, vjp), x)


def test_vjp_that_ignores_the_cotangent_is_detected_for_a_scalar_result():
    total = operation(lambda x: x.sum(), lambda g, x: x * 0 + 1 + 0 * g)
    with pytest.raises(GradientError):
        check_gradients(total, x)


def test_wrong_second_derivative_is_detected():
    """The first derivative is correct, but computed from a constant, so it cannot be differentiated."""
    square = operation(lambda x: x * x, lambda g, x: 2 * g * (x if isinstance(x, np.ndarray) else x.detach()))
    check_gradients(square, x)
    with pytest.raises(GradientError, match="the second derivative is wrong in 3 of 3"):
        check_gradients(square, x, second_order=True)


def test_wrong_gradient_of_the_second_input_is_detected():
    wrong = tg.primitive("of_test_gradcheck_two", lambda x, y: x * y, x=lambda g, y: g * y, y=lambda g, x: -g * x)
    with pytest.raises(GradientError) as caught:
        check_gradients(wrong, x, x + 1)
    assert caught.value.input == 1


def test_error_message_states_the_location_and_both_gradients():
    def cost(W):
        return wrong(W) * 3.0

    wrong = tg.primitive(
        "of_test_gradcheck_message", lambda x: 2 * x, x=lambda g, x_shape: 2 * g * (np.arange(4).reshape(x_shape) < 3)
    )
    with pytest.raises(GradientError) as caught:
        check_gradients(cost, np.ones((2, 2)), cotangent=np.ones((2, 2)))
    assert str(caught.value).splitlines() == [
        "cost (composed of multiply, of_test_gradcheck_message): the gradient is wrong in 1 of 4 elements",
        "of input 0, of shape (2, 2); at [1, 1]",
        "    backward gives             0",
        "    centred differences give   6",
        "    they differ by             6 (relative error 1); allowed: 6.02e-06",
    ]


def test_error_message_says_that_the_cotangent_is_random():
    with pytest.raises(GradientError, match="the gradient for a random cotangent is wrong in 3 of 3"):
        check_gradients(operation(lambda x: x * x, FAULTS["negative"]), x)


def test_error_has_both_gradients_as_attributes():
    with pytest.raises(GradientError) as caught:
        check_gradients(operation(lambda x: x * x, FAULTS["negative"]), x, cotangent=np.ones(3))
    np.testing.assert_allclose(caught.value.analytic, -2 * x)
    np.testing.assert_allclose(caught.value.numerical, 2 * x, rtol=1e-9)


def test_error_is_an_assertion_error():
    assert issubclass(GradientError, AssertionError)


def test_tolerances_are_arguments():
    almost = operation(lambda x: x * x, FAULTS["1.001 times"])
    assert check_gradients(almost, x, rtol=2e-3) == pytest.approx(0.001 / 2.001, rel=1e-3)
    check_gradients(almost, x, rtol=0, atol=1.0)
    with pytest.raises(GradientError, match=r"allowed: 0$"):
        check_gradients(almost, x, rtol=0, atol=0)


def test_default_tolerance_is_relative_to_the_values():
    """Differences of values near 1e6 are not accurate to 1e-8."""
    check_gradients(lambda x: tg.sum(x) + 1e6, x)


def test_seed_makes_the_check_reproducible():
    errors = [check_gradients(tg.exp, x, rng=rng) for rng in (5, 5, np.random.default_rng(5))]
    assert errors[0] == errors[1] == errors[2]


def test_labels_and_masks_are_passed_to_the_function():
    keep = np.array([True, False, True])
    assert check_gradients(lambda x, i, keep: tg.where(keep, x[i], 0.0), x, np.array([0, 0, 2]), keep) < 1e-8


def test_check_does_not_accumulate_gradients():
    t = Tensor(x, requires_grad=True)
    check_gradients(tg.exp, t)
    assert t.grad is None


def test_input_without_effect_has_gradient_zero():
    assert check_gradients(lambda x, y: x + 0 * y.detach(), x, x, second_order=True) < 1e-8


@pytest.mark.parametrize("cut", [lambda t: t.detach() * 2, lambda t: Tensor(2 * t.data)], ids=["detach", "data"])
def test_result_that_is_not_recorded_is_rejected(cut):
    with pytest.raises(GradientError, match="the result is not recorded, so it has no gradient"):
        check_gradients(cut, x)


def test_result_that_is_neither_recorded_nor_finite_is_called_so():
    with pytest.raises(ValueError, match="f is not finite near input 0"):
        check_gradients(lambda x: tg.sign(x) * np.nan, x)


@pytest.mark.parametrize("factor", [1, 7])
def test_a_difference_that_is_infinite_is_no_evidence(factor):
    """The first step, 6e-6, ends at log(0)."""
    log = tg.primitive("log_of_positive", lambda x: np.log(np.maximum(x, 0)), x=lambda g, x: factor * g / x)
    with np.errstate(divide="ignore"):
        if factor == 1:
            assert check_gradients(log, np.array([1e-6])) < 1e-6
        else:
            with pytest.raises(GradientError):
                check_gradients(log, np.array([1e-6]))


def test_result_that_is_not_recorded_is_rejected_if_it_hardly_changes():
    with pytest.raises(GradientError, match="not recorded, so it has no gradient, but it changes with input 1"):
        check_gradients(lambda x, y: tg.sign(x) + 1e-9 * y.detach(), x, x)


@pytest.mark.parametrize("second_order", [False, True])
def test_result_that_is_not_recorded_passes_where_its_derivative_is_zero(second_order):
    assert check_gradients(tg.sign, x, second_order=second_order) == 0
    assert check_gradients(lambda t: tg.sign(t) * t, x, second_order=second_order) < 1e-8


def test_detached_part_is_detected():
    with pytest.raises(GradientError):
        check_gradients(lambda t: tg.sin(t.detach()) * t, x)


def test_result_that_is_not_a_tensor_is_rejected():
    with pytest.raises(TypeError, match="must return one tensor; got list"):
        check_gradients(lambda t: [t], x)


def test_function_that_is_not_deterministic_is_rejected():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="must return the same result in each call; seed its generator inside"):
        check_gradients(lambda t: t * rng.normal(), x)


def test_check_needs_a_float64_input():
    with pytest.raises(TypeError, match="at least one input must be float64"):
        check_gradients(tg.sum, np.arange(3))


def test_float32_is_rejected():
    with pytest.raises(TypeError, match="input 1 is float32, but the check works in float64"):
        check_gradients(tg.add, x, x.astype(np.float32))


def test_function_that_ignores_its_inputs_is_rejected():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="does not depend on its inputs"):
        check_gradients(lambda _: (w * w).sum(), np.ones(2))


@pytest.mark.parametrize("size", [1.0, 1e5, 1e10])
def test_large_constant_does_not_hide_a_wrong_gradient(size):
    wrong = tg.primitive(f"of_test_gradcheck_{next(_numbers)}", lambda x: x + size, x=lambda g: 50 * g)
    with pytest.raises(GradientError):
        check_gradients(wrong, np.ones(3), cotangent=np.ones(3))
    right = tg.primitive(f"of_test_gradcheck_{next(_numbers)}", lambda x: x + size, x=lambda g: g)
    check_gradients(right, np.ones(3), cotangent=np.ones(3))


def test_check_gradients_of_a_function_that_differentiates():
    def derivative(x):
        return tg.grad((x**3).sum(), x, create_graph=True)

    assert check_gradients(derivative, np.array([1.0, -2.0])) < 1e-6


# -- the check of a model ----------------------------------------------------------------------------------------------

BATCH = np.random.default_rng(3).normal(size=(6, 5))
LABELS = np.array([0, 1, 2, 2, 1, 0])


def generator():
    return np.random.default_rng(0)


def sequential(*layers):
    return nn.Sequential(nn.Linear(5, 4, rng=generator()), *layers, nn.Linear(4, 3, rng=generator()))


MODELS = {
    "softmax": lambda: models.SoftmaxRegression(5, 3, rng=generator()),
    "svm": lambda: models.SVM(5, 3, rng=generator()),
    "two-layer": lambda: models.TwoLayer(5, 4, 3, rng=generator()),
    "perceptron": lambda: models.Perceptron([5, 4, 4, 3], rng=generator(), dropout=0.3),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_check_of_a_model_of_the_course_passes(make, lam):
    model = make()
    check = check_model(model, BATCH, LABELS, lam=lam)
    assert check.passed
    assert [(p.name, p.shape) for p in check.parameters] == [(n, p.shape) for n, p in model.named_parameters()]
    assert all(p.checked <= math.prod(p.shape) <= p.checked + p.kinks for p in check.parameters)
    assert all(p.error < 1e-4 for p in check.parameters)


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_check_of_a_model_states_the_cost(lam):
    model = MODELS["two-layer"]()
    assert check_model(model, BATCH, LABELS, lam=lam).loss == pytest.approx(model.cost(BATCH, LABELS, lam).item())


def test_check_of_a_chain_of_layers_takes_a_loss():
    check = check_model(sequential(nn.ReLU()), BATCH, LABELS, loss=functional.cross_entropy)
    assert check.passed
    assert [p.name for p in check.parameters] == ["layers.0.W", "layers.0.b", "layers.2.W", "layers.2.b"]
    with pytest.raises(ValueError, match="Sequential has no method loss; give loss="):
        check_model(sequential(), BATCH, LABELS)


def test_check_of_a_regression_and_of_a_loss_without_targets():
    assert check_model(sequential(), BATCH, BATCH[:, :3], loss=functional.mse).passed
    assert check_model(sequential(), BATCH, loss=lambda out: tg.mean(out**2)).passed


def test_check_of_a_function_finds_its_parameters():
    rng = generator()
    W = Tensor(rng.normal(size=(5, 3)), requires_grad=True)
    biases = [Tensor(np.zeros(3), requires_grad=True)]
    layer = nn.Linear(3, 3, rng=rng)

    def scores(X):
        return layer(X @ W + biases[0])

    check = check_model(scores, BATCH, LABELS, loss=functional.cross_entropy)
    assert check.passed
    assert {p.name for p in check.parameters} == {"W", "biases.0", "layer.W", "layer.b"}
    given = check_model(scores, BATCH, LABELS, loss=functional.cross_entropy, parameters=[W, *biases, layer.W, layer.b])
    assert [p.name for p in given.parameters] == ["0", "1", "2", "3"]


def test_check_of_a_model_names_parameters_that_are_missing():
    W, b = Tensor(np.ones((5, 3)), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(ValueError, match=r"depends on 1 parameters that are not known here, of shape \(3,\)"):
        check_model(lambda X: X @ W + b, BATCH, LABELS, loss=functional.cross_entropy, parameters={"W": W})
    with pytest.raises(ValueError, match="no parameters were found"):
        check_model(sum, BATCH, LABELS, loss=functional.cross_entropy)


MODEL_FAULTS = {
    "1.001 times": lambda g: 1.001 * g,
    "negative": lambda g: -g,
    "zero": lambda g: 0 * g,
    "shifted": lambda g: g + 1e-4,
    "one element": lambda g: tg.index_update(g, (0, 0), 1.01 * g[0, 0]),
}


@pytest.mark.parametrize("vjp", MODEL_FAULTS.values(), ids=MODEL_FAULTS)
@pytest.mark.parametrize("scale", [1.0, 255.0], ids=["standardised", "pixels"])
def test_wrong_gradient_of_a_model_is_detected(vjp, scale):
    """Also where the second derivative is large, as for pixels from 0 to 255."""
    wrong = operation(lambda x: x * 1, vjp)
    W, b = Tensor(0.01 * generator().normal(size=(5, 3)), requires_grad=True), Tensor(np.zeros(3), requires_grad=True)
    check = check_model(lambda X: X @ wrong(W) + b, scale * BATCH, LABELS, loss=functional.cross_entropy)
    weights, biases = check.parameters
    assert (check.passed, weights.passed, biases.passed) == (False, False, True)
    assert weights.verdict.startswith(f"WRONG in {weights.wrong}; at [")
    assert weights.error > 1e-4


def test_gradients_in_the_table_are_those_of_the_loss():
    wrong = operation(lambda x: x * 1, lambda g: 2 * g)
    w = Tensor([2.0], requires_grad=True)
    (row,) = check_model(lambda x: (wrong(w) ** 2).sum() + 0 * x, 0.0, loss=lambda out: out).parameters
    assert (row.backward, row.at) == (8.0, (0,))
    assert row.numerical == pytest.approx(4.0)
    assert row.error == pytest.approx(4 / 12)


@pytest.mark.parametrize("start", [0.0, 1e-6, -2e-6, 5e-7])
def test_right_gradient_passes_beside_a_kink_and_on_it(start):
    w = Tensor([start], requires_grad=True)
    (row,) = check_model(lambda x: 3 * tg.relu(w) + x * w, np.ones(1), loss=tg.sum).parameters
    assert (row.passed, row.kinks) == (True, 1)
    assert row.verdict == ("ok; 1 at kinks" if start else "not compared; all 1 at kinks")


def test_parameter_whose_elements_are_all_on_kinks_is_not_called_ok():
    """Nothing is compared: the derivative of the ReLU at 0 is a choice."""
    W = Tensor(np.zeros((2, 1)), requires_grad=True)
    (row,) = check_model(lambda X: tg.relu(X @ W), np.ones((3, 2)), loss=tg.sum).parameters
    assert (row.checked, row.verdict) == (0, "not compared; all 2 at kinks")


def test_wrong_gradient_beside_a_kink_is_detected():
    wrong = operation(lambda x: np.maximum(x, 0), lambda g, x: 1.01 * g * (x > 0))
    w = Tensor([1e-6], requires_grad=True)
    assert not check_model(lambda x: 3 * wrong(w) + x * w, np.ones(1), loss=tg.sum).passed


@pytest.mark.parametrize(("loss", "w"), [(lambda w: 1e12 + tg.sin(w), 1.0), (tg.sqrt, 0.0)], ids=["constant", "edge"])
def test_element_that_cannot_be_judged_does_not_pass(loss, w):
    t = Tensor([w], requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        (row,) = check_model(lambda _: loss(t), np.ones(1), loss=tg.sum, parameters=[t]).parameters
    assert (row.passed, row.wrong, row.unjudged) == (False, 0, 1)
    assert row.verdict.startswith("NOT JUDGED in 1; at [0] backward gives ")


@pytest.mark.parametrize(("rate", "at"), [(1e3, 1.0), (1.0, 1e6), (1.0, 1e-6)])
def test_smooth_loss_has_no_kinks_where_it_varies_fast(rate, at):
    w = Tensor([at], requires_grad=True)
    (row,) = check_model(lambda _: tg.sin(rate * w), np.ones(1), loss=tg.sum, parameters=[w]).parameters
    assert (row.passed, row.kinks) == (True, 0)


def test_parameter_without_effect_is_named():
    model = sequential()
    model.layers.append(nn.ReLU())
    model.unused = Tensor(np.ones(2), requires_grad=True)
    rows = check_model(model, BATCH, LABELS, loss=functional.cross_entropy).parameters
    assert {p.name: p.verdict for p in rows}["unused"] == "ok; the loss does not depend on it"


def test_bias_before_a_batch_normalisation_passes():
    layer = nn.Linear(5, 4, rng=generator())

    def normalised(X):
        y = layer(X)
        return (y - tg.mean(y, 0)) / tg.sqrt(tg.var(y, 0) + 1e-5)

    check = check_model(normalised, BATCH, np.arange(6) % 4, loss=functional.cross_entropy)
    assert check.passed
    assert all(p.error < 1e-3 for p in check.parameters)


def test_number_of_elements_is_limited():
    model = models.SoftmaxRegression(5, 3, rng=generator())
    check = check_model(model, BATCH, LABELS, elements=4)
    assert [p.checked for p in check.parameters] == [4, 3]
    assert [p.checked for p in check_model(model, BATCH, LABELS, elements=None).parameters] == [15, 3]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_model_is_the_same_after_its_check(make):
    model = make()
    before = model.state_dict(), [g.bit_generator.state for g in model.generators()]
    check_model(model, BATCH, LABELS)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[0][name])
    assert [g.bit_generator.state for g in model.generators()] == before[1]
    assert all(p.grad is None for p in model.parameters())


def test_a_loss_that_is_nan_is_not_called_random():
    w = Tensor([1.0], requires_grad=True)
    assert not check_model(lambda x: x * w, np.nan, loss=tg.sum).passed


def test_loss_that_is_not_deterministic_is_rejected():
    rng = generator()
    w = Tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="the loss must be the same in each call"):
        check_model(lambda x: x * w * rng.normal(), 1.0, loss=tg.sum)


@pytest.mark.parametrize("elements", [0, -1, 1.5])
def test_check_of_a_model_compares_at_least_one_element(elements):
    with pytest.raises(ValueError, match=f"check_model: elements must be an integer of at least 1, .*; got {elements}"):
        check_model(nn.Linear(2, 2, rng=0), np.ones((1, 2)), [0], loss=functional.cross_entropy, elements=elements)


def test_check_of_a_model_in_float32_says_what_to_do():
    model = models.SoftmaxRegression(5, 3, rng=generator(), dtype=np.float32)
    with pytest.raises(TypeError, match=r"the parameter W is float32, .*; make the model with dtype=np.float64"):
        check_model(model, BATCH, LABELS)
    assert check_model(models.SoftmaxRegression(5, 3, rng=generator()), BATCH.astype(np.float32), LABELS).passed


@pytest.mark.parametrize("loss", [lambda _, __: 1.0, lambda s, _: s, lambda s, _: s.sum().astype(np.float32)])
def test_loss_must_be_a_scalar_tensor(loss):
    with pytest.raises(TypeError, match="the loss must be a float64 tensor of one element; got"):
        check_model(sequential(), BATCH, LABELS, loss=loss)


def test_table_has_a_line_for_each_parameter():
    check = check_model(models.SoftmaxRegression(5, 3, rng=generator()), BATCH, LABELS)
    header, *lines = str(check).splitlines()
    assert header.split() == ["parameter", "shape", "checked", "worst", "error", "verdict"]
    assert [line.split()[0] for line in lines] == ["W", "b"]
    assert repr(check) == str(check)


def test_running_statistics_are_the_same_after_the_check_of_a_model():
    model = nn.Sequential(nn.Linear(BATCH.shape[1], 4, rng=0), nn.BatchNorm(4), nn.Linear(4, 3, rng=1))
    before = model.state_dict()
    assert check_model(model, BATCH, LABELS, loss=functional.cross_entropy).passed
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("layer", [lambda: nn.BatchNorm(4), lambda: nn.Dropout(0.5, rng=0)], ids=["norm", "dropout"])
def test_a_function_that_names_a_module_is_checked_as_the_module(layer):
    model = nn.Sequential(nn.Linear(BATCH.shape[1], 4, rng=0), layer(), nn.Linear(4, 3, rng=1))
    before, states = model.state_dict(), [rng.bit_generator.state for rng in model.generators()]
    assert check_model(lambda X: 2 * model(X), BATCH, LABELS, loss=functional.cross_entropy).passed
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert [rng.bit_generator.state for rng in model.generators()] == states


def test_a_class_that_a_function_names_is_no_module():
    weights = Tensor(np.ones((5, 3)), requires_grad=True)

    def model(X: Tensor) -> Tensor:
        assert isinstance(functional, nn.Linear) is False
        return X @ weights

    assert check_model(model, BATCH, LABELS, loss=functional.cross_entropy).passed


def test_an_error_of_another_process_can_be_read():
    error = GradientError("wrong", 1, np.ones(2), np.zeros(2))
    read = pickle.loads(pickle.dumps(error))
    assert (str(read), read.input, read.analytic.tolist(), read.numerical.tolist()) == ("wrong", 1, [1, 1], [0, 0])


@pytest.mark.parametrize("h", [0.0, -1.0, math.nan])
def test_a_complex_step_that_is_not_positive_raises(h):
    with pytest.raises(ValueError, match="complex_step: the step h must be positive"):
        complex_step(np.exp, 1.0, h=h)


@pytest.mark.parametrize("measure", [relative_error, relative_errors, summary])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.array([1 + 5j]), "the first gradient is complex"),
        (np.ma.masked_array([1.0], [True]), "a masked array cannot be combined"),
    ],
    ids=["complex", "masked"],
)
def test_gradients_that_cannot_be_compared_raise(measure, wrong, words):
    with pytest.raises(TypeError, match=f"{measure.__name__}: {words}"):
        measure(wrong, [1.0])
