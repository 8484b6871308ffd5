"""Losses and their relatives: values against plain NumPy, derivatives against centred differences, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_cifar import Tensor, grad
from tinygrad_cifar import functional as F
from tinygrad_cifar.engine.gradcheck import check_gradients

numbers = st.floats(-5, 5, width=32)
seeds = st.integers(0, 2**32 - 1)


def half_way(scores, labels):
    return F.generalised_cross_entropy(scores, labels, 0.5)


LOSSES = [F.cross_entropy, F.hinge, half_way]


@st.composite
def problems(draw, elements=numbers):
    """Draw scores and labels that fit them."""
    batch, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    scores = draw(hnp.arrays(np.float64, (batch, classes), elements=elements))
    labels = draw(hnp.arrays(np.int64, batch, elements=st.integers(0, classes - 1)))
    return scores, labels


# On this grid no score comes within 0.1 of a margin, where the hinge has its kink.
smooth_for_hinge = st.integers(-15, 15).map(lambda i: 0.3 * i)


@st.composite
def arrays_with_axis(draw):
    x = draw(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=3), elements=numbers))
    return x, draw(st.integers(-x.ndim, x.ndim - 1))


# -- softmax ---------------------------------------------------------------------------------------------------------


@given(arrays_with_axis())
def test_softmax_is_exponentials_over_their_sum(case):
    x, axis = case
    expected = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(F.softmax(x, axis), expected, rtol=1e-12)


@given(arrays_with_axis())
def test_log_softmax_is_the_logarithm_of_softmax(case):
    x, axis = case
    expected = np.log(np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
    np.testing.assert_allclose(F.log_softmax(x, axis), expected, rtol=1e-12, atol=1e-12)


@given(arrays_with_axis(), st.floats(-1e4, 1e4))
def test_softmax_does_not_see_a_constant_added_to_all_scores(case, constant):
    x, axis = case
    np.testing.assert_allclose(F.softmax(x + constant, axis), F.softmax(x, axis), rtol=1e-10)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
@given(arrays_with_axis())
def test_softmax_has_the_derivatives_that_differences_have(function, case):
    x, axis = case
    check_gradients(lambda t: function(t, axis), x, second_order=True)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
@given(problems(st.sampled_from([-1e4, 0.0, 1e4])))
def test_softmax_and_its_slope_are_finite_at_huge_scores(function, problem):
    x = Tensor(problem[0], requires_grad=True)
    y = function(x)
    (slope,) = grad(y.sum(), [x])
    assert np.isfinite(y.data).all()
    assert np.isfinite(slope.data).all()


def test_softmax_of_no_rows_is_no_rows():
    assert F.softmax(Tensor(np.zeros((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_over_no_classes_names_the_shape(function):
    with pytest.raises(ValueError, match=r"shape \(3, 0\)"):
        function(Tensor(np.zeros((3, 0))))


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_of_integers_is_that_of_the_same_floats(function):
    scores = np.array([[1, 200, 3], [0, 0, 7]])
    np.testing.assert_allclose(function(Tensor(scores)).data, function(scores.astype(float)), rtol=1e-12)


# -- losses over classes ---------------------------------------------------------------------------------------------


@given(problems())
def test_cross_entropy_is_the_mean_of_minus_log_p(problem):
    scores, labels = problem
    expected = [
        -math.log(math.exp(row[y]) / math.fsum(map(math.exp, row))) for row, y in zip(scores, labels, strict=True)
    ]
    assert F.cross_entropy(Tensor(scores), labels).item() == pytest.approx(np.mean(expected), rel=1e-12, abs=1e-12)


@given(problems(), st.floats(0, 3))
def test_hinge_is_the_mean_of_what_lacks_to_the_margin(problem, margin):
    scores, labels = problem
    expected = [
        sum(max(0.0, row[j] - row[y] + margin) for j in range(len(row)) if j != y)
        for row, y in zip(scores, labels, strict=True)
    ]
    assert F.hinge(Tensor(scores), labels, margin).item() == pytest.approx(np.mean(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(problems())
def test_one_hot_labels_mean_the_same_as_integers(dtype, problem):
    scores, labels = problem
    tensor = Tensor(scores, dtype=dtype)
    rows = F.one_hot(labels, scores.shape[1])
    np.testing.assert_allclose(
        F.cross_entropy(tensor, rows).item(), F.cross_entropy(tensor, labels).item(), rtol=1e-5, atol=1e-5
    )


@given(problems(), seeds)
def test_cross_entropy_of_probabilities_is_their_weighted_mean(problem, seed):
    scores, _ = problem
    p = np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]), len(scores))
    log_q = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = -(p * log_q).sum(axis=1).mean()
    assert F.cross_entropy(Tensor(scores), p).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@given(problems(), st.floats(-1e4, 1e4))
def test_a_constant_added_to_a_row_of_scores_does_not_matter(loss, problem, constant):
    scores, labels = problem
    shifted = scores.copy()
    shifted[0] += constant
    assert loss(Tensor(shifted), labels).item() == pytest.approx(loss(Tensor(scores), labels).item(), abs=1e-10)


@given(problems())
def test_cross_entropy_has_the_derivatives_that_differences_have(problem):
    scores, labels = problem
    check_gradients(lambda s: F.cross_entropy(s, labels), scores, second_order=True)


@given(problems(), seeds)
def test_cross_entropy_of_probabilities_has_the_derivatives_that_differences_have(problem, seed):
    scores, _ = problem
    p = np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]), len(scores))
    check_gradients(lambda s: F.cross_entropy(s, p), scores, second_order=True)


@given(problems(), st.floats(0.01, 1))
def test_generalised_cross_entropy_has_the_derivatives_that_differences_have(problem, q):
    scores, labels = problem
    check_gradients(lambda s: F.generalised_cross_entropy(s, labels, q), scores)


@given(problems(), st.floats(0.01, 1))
def test_generalised_cross_entropy_is_the_mean_of_what_a_power_of_p_lacks_to_one(problem, q):
    scores, labels = problem
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = np.mean((1 - p[np.arange(len(labels)), labels] ** q) / q)
    assert F.generalised_cross_entropy(Tensor(scores), labels, q).item() == pytest.approx(expected, abs=1e-10)


@given(problems())
def test_generalised_cross_entropy_becomes_the_cross_entropy(problem):
    scores, labels = problem
    expected = F.cross_entropy(Tensor(scores), labels).item()
    assert F.generalised_cross_entropy(Tensor(scores), labels, 0).item() == expected
    single = Tensor(scores.astype(np.float32))  # too few digits to tell p**q from 1
    assert F.generalised_cross_entropy(single, labels, 1e-8).item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_generalised_cross_entropy_refuses_another_power(q):
    with pytest.raises(ValueError, match=f"q must be from 0 to 1, got {q}"):
        F.generalised_cross_entropy(np.zeros((1, 2)), [0], q)


@given(problems(smooth_for_hinge))
def test_hinge_has_the_gradient_that_differences_have(problem):
    scores, labels = problem
    check_gradients(lambda s: F.hinge(s, labels), scores)


def test_hinge_has_no_slope_at_the_margin_itself():
    scores = Tensor([[2.0, 1.0]], requires_grad=True)
    F.hinge(scores, [0]).backward()
    assert scores.grad.data.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("loss", LOSSES)
@given(problems(st.sampled_from([-1e4, -1.0, 0.0, 1e4])))
def test_losses_and_their_slopes_are_finite_at_huge_scores(loss, problem):
    scores = Tensor(problem[0], requires_grad=True)
    value = loss(scores, problem[1])
    value.backward()
    assert np.isfinite(value.item())
    assert np.isfinite(scores.grad.data).all()


def test_cross_entropy_is_exact_where_the_probability_underflows():
    assert F.cross_entropy(Tensor([[1e4, -1e4]]), [1]).item() == 2e4


@pytest.mark.parametrize("loss", LOSSES)
@given(problems())
def test_losses_of_float32_scores_are_float32(loss, problem):
    scores, labels = problem
    assert loss(Tensor(scores, dtype=np.float32), labels).dtype == np.float32


def test_one_hot_rows_of_float64_leave_a_float32_loss_float32():
    rows = F.one_hot([1], 2)
    assert F.cross_entropy(Tensor([[1.0, 2.0]], dtype=np.float32), rows).dtype == np.float32


@pytest.mark.parametrize("labels", [[0, 1], np.array([0, 1], np.uint8), Tensor([0, 1]), (0, 1)])
@pytest.mark.parametrize("loss", [*LOSSES, F.accuracy])
def test_labels_may_be_any_integers(loss, labels):
    assert np.isfinite(float(loss(Tensor([[1.0, 2.0], [3.0, 4.0]]), labels)))


@pytest.mark.parametrize("labels", [np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]])])
def test_labels_overwritten_after_the_forward_pass_do_not_reach_the_gradient(labels):
    scores = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    expected = grad(F.cross_entropy(scores, labels), scores).data.copy()
    loss = F.cross_entropy(scores, labels)
    labels[...] = labels[::-1].copy()
    loss.backward()
    assert (scores.grad.data == expected).all()


# -- labels and scores that do not fit ---------------------------------------------------------------------------------

OF_SCORES = {
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "cross_entropy": lambda s: F.cross_entropy(s, [1, 2]),
    "cross_entropy of one-hot rows": lambda s: F.cross_entropy(s, F.one_hot([1, 2], 3)),
    "generalised_cross_entropy": lambda s: half_way(s, [1, 2]),
    "hinge": lambda s: F.hinge(s, [1, 2]),
    "mse": lambda s: F.mse(s, np.full((2, 3), 9, np.uint8)),
}


@pytest.mark.parametrize("function", OF_SCORES.values(), ids=OF_SCORES)
@pytest.mark.parametrize("make", [lambda s: s, Tensor, lambda s: s.astype(np.int16), lambda s: s.tolist()])
def test_scores_that_are_small_integers_do_not_wrap_around(function, make):
    scores = np.array([[3, 200, 10], [0, 0, 255]], np.uint8)
    np.testing.assert_array_equal(function(make(scores)), function(scores.astype(np.float64)))


@pytest.mark.parametrize("labels", [[[2, 0], [1, 0]], [[1.5, -0.5], [1, 0]], [[0, 0], [0, 1]], [[math.nan, 1], [0, 1]]])
def test_rows_of_labels_that_are_no_probabilities_are_refused(labels):
    with pytest.raises(ValueError, match="each row of labels must be probabilities"):
        F.cross_entropy(np.zeros((2, 2)), labels)


def test_labels_that_require_a_gradient_are_refused_and_not_left_without_one():
    labels = Tensor([[0.5, 0.5]], requires_grad=True)
    with pytest.raises(ValueError, match=r"give labels.detach\(\)"):
        F.cross_entropy(Tensor([[1.0, 2.0]]), labels)
    assert F.cross_entropy(Tensor([[0.0, 0.0]]), labels.detach()).item() == pytest.approx(math.log(2))


TAKES_LABELS = [F.cross_entropy, F.hinge, F.accuracy]


@pytest.mark.parametrize("loss", TAKES_LABELS)
@given(problems(), st.integers(0, 100), st.booleans())
def test_a_label_out_of_range_is_named(loss, problem, beyond, negative):
    scores, labels = problem
    labels[-1] = -1 - beyond if negative else scores.shape[1] + beyond
    with pytest.raises(ValueError, match=rf"{loss.__name__}: label {labels[-1]} is out of range; .* 0 to"):
        loss(Tensor(scores), labels)


@pytest.mark.parametrize("loss", TAKES_LABELS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_labels_than_of_scores_is_refused(loss, count):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: labels must have the shape \(2,\).* got \({count},\)"):
        loss(Tensor(np.zeros((2, 3))), np.zeros(count, int))


@pytest.mark.parametrize("loss", TAKES_LABELS)
def test_labels_in_a_column_are_refused(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: .*labels must have the shape \(2,.* got \(2, 1\)"):
        loss(Tensor(np.zeros((2, 3))), [[0], [1]])


@pytest.mark.parametrize("loss", TAKES_LABELS)
@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False], ["a", "b"]])
def test_labels_that_are_no_integers_are_refused(loss, labels):
    with pytest.raises(ValueError, match=f"{loss.__name__}: labels must be integers"):
        loss(Tensor(np.zeros((2, 3))), labels)


@pytest.mark.parametrize("loss", [F.hinge, F.accuracy])
def test_only_cross_entropy_says_that_it_takes_one_hot_rows(loss):
    with pytest.raises(ValueError, match=loss.__name__) as refused:
        loss(Tensor(np.zeros((2, 3))), np.eye(3)[:2])
    assert "one-hot" not in str(refused.value)


@pytest.mark.parametrize("loss", TAKES_LABELS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (), (1, 3, 1)])
def test_scores_that_are_no_full_matrix_are_refused(loss, shape):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: scores must have the shape \(batch, classes\)"):
        loss(Tensor(np.zeros(shape)), np.zeros(shape[:1], int))


# -- one_hot and accuracy --------------------------------------------------------------------------------------------


@given(problems())
def test_one_hot_has_its_one_in_the_column_of_the_label(problem):
    scores, labels = problem
    rows = F.one_hot(labels, scores.shape[1])
    assert rows.argmax(axis=1).tolist() == labels.tolist()
    assert np.sort(rows, axis=1)[:, :-1].sum() == 0
    assert rows.sum() == len(labels)


def test_one_hot_refuses_a_label_out_of_range():
    with pytest.raises(ValueError, match="one_hot: label 3 is out of range"):
        F.one_hot([0, 3], 3)


@given(problems(st.integers(-2, 2).map(float)))
def test_accuracy_counts_rows_whose_first_highest_score_is_the_label(problem):
    scores, labels = problem
    right = [max(range(len(row)), key=lambda j: row[j]) == y for row, y in zip(scores.tolist(), labels, strict=True)]
    assert F.accuracy(Tensor(scores), labels) == np.mean(right)


def test_accuracy_reads_scores_that_are_recorded():
    assert F.accuracy(Tensor([[0.0, 1.0]], requires_grad=True), [1]) == 1.0


# -- squares ---------------------------------------------------------------------------------------------------------

pairs = hnp.array_shapes(max_dims=3, max_side=3).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float64, shape, elements=numbers)] * 2)
)


@given(pairs)
def test_mse_is_the_mean_of_squared_differences(pair):
    differences = (pair[0] - pair[1]).ravel().tolist()
    expected = math.fsum(d * d for d in differences) / len(differences)
    assert F.mse(Tensor(pair[0]), pair[1]).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(pairs)
def test_mse_has_the_derivatives_that_differences_have(pair):
    check_gradients(F.mse, *pair, second_order=True)


@pytest.mark.parametrize("shapes", [((3,), (3, 1)), ((3, 1), (3,)), ((1,), ()), ((2, 3), (3,))])
def test_mse_refuses_shapes_that_would_broadcast(shapes):
    with pytest.raises(ValueError, match=r"mse: prediction has shape .* and target .* must be equal") as refused:
        F.mse(Tensor(np.zeros(shapes[0])), np.zeros(shapes[1]))
    assert all(str(shape) in str(refused.value) for shape in shapes)


def test_mse_of_nothing_says_so():
    with pytest.raises(ValueError, match="no elements"):
        F.mse(Tensor([]), [])


@given(pairs, st.floats(0, 10))
def test_l2_penalty_is_lambda_times_the_sum_of_squares(pair, lam):
    expected = lam * sum(float((w**2).sum()) for w in pair)
    assert F.l2_penalty(map(Tensor, pair), lam).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(pairs, st.floats(0.01, 10))
def test_the_slope_of_l2_penalty_is_twice_lambda_times_the_weights(pair, lam):
    W = Tensor(pair[0], requires_grad=True)
    F.l2_penalty([W], lam).backward()
    np.testing.assert_allclose(W.grad.data, 2 * lam * pair[0], rtol=1e-12)


# -- dropout ---------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.01, 0.95))
def test_dropout_scales_what_it_keeps_and_zeroes_the_rest(seed, rate):
    x = np.random.default_rng(seed).uniform(1, 2, 50)
    y = F.dropout(Tensor(x), rate, np.random.default_rng(seed)).data
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-12)


@given(seeds, st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_dropout_drops_the_share_it_is_told(seed, rate):
    n = 10_000
    dropped = np.count_nonzero(F.dropout(Tensor(np.ones(n)), rate, np.random.default_rng(seed)).data == 0)
    assert abs(dropped - n * rate) < 6 * (n * rate * (1 - rate)) ** 0.5  # six standard deviations


@given(seeds, st.floats(0, 0.9))
def test_the_same_generator_drops_the_same_elements(seed, rate):
    once, again = (F.dropout(Tensor(np.ones(20)), rate, np.random.default_rng(seed)).data for _ in range(2))
    assert (once == again).all()


@given(pairs, seeds, st.floats(0, 0.9))
def test_dropout_has_the_derivatives_that_differences_have(pair, seed, rate):
    check_gradients(lambda x: F.dropout(x * x, rate, np.random.default_rng(seed)), pair[0], second_order=True)


@pytest.mark.parametrize("rate", [0.5, np.float64(0.5)])
def test_dropout_leaves_float32_float32(rate):
    x = Tensor(np.ones(3), dtype=np.float32)
    assert F.dropout(x, rate, np.random.default_rng(0)).dtype == np.float32


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, math.nan])
def test_dropout_refuses_a_rate_that_is_no_share(rate):
    with pytest.raises(ValueError, match=f"dropout: rate must be from 0 .* got {rate}"):
        F.dropout(Tensor([1.0]), rate, np.random.default_rng(0))


# -- what is unusual ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">i2", ">i4", "<u8"])
def test_labels_may_be_in_the_byte_order_of_another_machine(dtype):
    scores = np.random.default_rng(0).normal(size=(3, 300))
    assert F.cross_entropy(scores, np.array([0, 1, 299], dtype)) == F.cross_entropy(scores, [0, 1, 299])
    with pytest.raises(ValueError, match="label 300 is out of range"):
        F.cross_entropy(scores, np.array([0, 1, 300], dtype))


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="hinge: the margin must be a number from 0 up, got -1"):
        F.hinge([[0.0, -5.0]], [0], margin=-1.0)


def test_a_class_that_cannot_be_costs_nothing_where_it_is_not_the_label():
    scores = Tensor([[-np.inf, 0.0]], requires_grad=True)
    with np.errstate(invalid="ignore"):
        assert F.cross_entropy(scores, [[0.0, 1.0]]).item() == F.cross_entropy(scores, [1]).item() == 0
