"""Softmax, losses and dropout: values against NumPy, derivatives against centred differences, invalid input."""

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
    """Draw scores and matching labels."""
    batch, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    scores = draw(hnp.arrays(np.float64, (batch, classes), elements=elements))
    labels = draw(hnp.arrays(np.int64, batch, elements=st.integers(0, classes - 1)))
    return scores, labels


# On this grid, no score is within 0.1 of a margin, where the hinge loss has a kink.
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
def test_softmax_is_invariant_to_adding_a_constant(case, constant):
    x, axis = case
    np.testing.assert_allclose(F.softmax(x + constant, axis), F.softmax(x, axis), rtol=1e-10)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
@given(arrays_with_axis())
def test_softmax_derivatives_match_differences(function, case):
    x, axis = case
    check_gradients(lambda t: function(t, axis), x, second_order=True)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
@given(problems(st.sampled_from([-1e4, 0.0, 1e4])))
def test_softmax_and_its_gradient_are_finite_for_large_scores(function, problem):
    x = Tensor(problem[0], requires_grad=True)
    y = function(x)
    (gradient,) = grad(y.sum(), [x])
    assert np.isfinite(y.data).all()
    assert np.isfinite(gradient.data).all()


def test_softmax_of_an_empty_batch_is_empty():
    assert F.softmax(Tensor(np.zeros((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_without_classes_raises_with_the_shape(function):
    with pytest.raises(ValueError, match=r"shape \(3, 0\)"):
        function(Tensor(np.zeros((3, 0))))


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_of_integers_equals_softmax_of_floats(function):
    scores = np.array([[1, 200, 3], [0, 0, 7]])
    np.testing.assert_allclose(function(Tensor(scores)).data, function(scores.astype(float)), rtol=1e-12)


# -- classification losses -------------------------------------------------------------------------------------------


@given(problems())
def test_cross_entropy_is_the_mean_of_minus_log_p(problem):
    scores, labels = problem
    expected = [
        -math.log(math.exp(row[y]) / math.fsum(map(math.exp, row))) for row, y in zip(scores, labels, strict=True)
    ]
    assert F.cross_entropy(Tensor(scores), labels).item() == pytest.approx(np.mean(expected), rel=1e-12, abs=1e-12)


@given(problems(), st.floats(0, 3))
def test_hinge_is_the_mean_of_margin_violations(problem, margin):
    scores, labels = problem
    expected = [
        sum(max(0.0, row[j] - row[y] + margin) for j in range(len(row)) if j != y)
        for row, y in zip(scores, labels, strict=True)
    ]
    assert F.hinge(Tensor(scores), labels, margin).item() == pytest.approx(np.mean(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(problems())
def test_one_hot_labels_equal_integer_labels(dtype, problem):
    scores, labels = problem
    tensor = Tensor(scores, dtype=dtype)
    rows = F.one_hot(labels, scores.shape[1])
    np.testing.assert_allclose(
        F.cross_entropy(tensor, rows).item(), F.cross_entropy(tensor, labels).item(), rtol=1e-5, atol=1e-5
    )


@given(problems(), seeds)
def test_cross_entropy_of_probabilities_is_a_weighted_mean(problem, seed):
    scores, _ = problem
    p = np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]), len(scores))
    log_q = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = -(p * log_q).sum(axis=1).mean()
    assert F.cross_entropy(Tensor(scores), p).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@given(problems(), st.floats(-1e4, 1e4))
def test_losses_are_invariant_to_adding_a_constant_to_a_row(loss, problem, constant):
    scores, labels = problem
    shifted = scores.copy()
    shifted[0] += constant
    assert loss(Tensor(shifted), labels).item() == pytest.approx(loss(Tensor(scores), labels).item(), abs=1e-10)


@given(problems())
def test_cross_entropy_derivatives_match_differences(problem):
    scores, labels = problem
    check_gradients(lambda s: F.cross_entropy(s, labels), scores, second_order=True)


@given(problems(), seeds)
def test_cross_entropy_of_probabilities_derivatives_match_differences(problem, seed):
    scores, _ = problem
    p = np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]), len(scores))
    check_gradients(lambda s: F.cross_entropy(s, p), scores, second_order=True)


@given(problems(), st.floats(0.01, 1))
def test_generalised_cross_entropy_derivatives_match_differences(problem, q):
    scores, labels = problem
    check_gradients(lambda s: F.generalised_cross_entropy(s, labels, q), scores)


@given(problems(), st.floats(0.01, 1))
def test_generalised_cross_entropy_matches_its_formula(problem, q):
    scores, labels = problem
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = np.mean((1 - p[np.arange(len(labels)), labels] ** q) / q)
    assert F.generalised_cross_entropy(Tensor(scores), labels, q).item() == pytest.approx(expected, abs=1e-10)


@given(problems())
def test_generalised_cross_entropy_tends_to_the_cross_entropy(problem):
    scores, labels = problem
    expected = F.cross_entropy(Tensor(scores), labels).item()
    assert F.generalised_cross_entropy(Tensor(scores), labels, 0).item() == expected
    single = Tensor(scores.astype(np.float32))  # too little precision to distinguish p**q from 1
    assert F.generalised_cross_entropy(single, labels, 1e-8).item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_generalised_cross_entropy_rejects_q_outside_0_to_1(q):
    with pytest.raises(ValueError, match=f"q must be from 0 to 1; got {q}"):
        F.generalised_cross_entropy(np.zeros((1, 2)), [0], q)


@given(problems(smooth_for_hinge))
def test_hinge_gradient_matches_differences(problem):
    scores, labels = problem
    check_gradients(lambda s: F.hinge(s, labels), scores)


def test_hinge_derivative_at_the_margin_is_zero():
    scores = Tensor([[2.0, 1.0]], requires_grad=True)
    F.hinge(scores, [0]).backward()
    assert scores.grad.data.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("loss", LOSSES)
@given(problems(st.sampled_from([-1e4, -1.0, 0.0, 1e4])))
def test_losses_and_their_gradients_are_finite_for_large_scores(loss, problem):
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


@pytest.mark.parametrize("labels", ["integers", "rows"])
def test_cross_entropy_of_many_float16_rows_does_not_overflow(labels):
    images = 40_000  # times the loss of 10 classes is more than the largest float16
    given = np.zeros(images, int) if labels == "integers" else F.one_hot(np.zeros(images, int), 10)
    scores = Tensor(np.zeros((images, 10)), dtype=np.float16, requires_grad=True)
    loss = F.cross_entropy(scores, given)
    assert loss.dtype == np.float16
    assert loss.item() == pytest.approx(math.log(10), rel=1e-3)
    expected = np.where(np.arange(10) == 0, -0.9, 0.1) / images
    np.testing.assert_allclose(grad(loss, scores).data, np.tile(expected, (images, 1)), rtol=0.03)


def test_cross_entropy_of_many_float16_rows_with_probabilities_does_not_overflow():
    scores, rows = Tensor(np.zeros((40_000, 10)), dtype=np.float16), np.full((40_000, 10), 0.1)
    loss = F.cross_entropy(scores, rows, label_smoothing=0.1)
    assert loss.dtype == np.float16
    assert loss.item() == pytest.approx(math.log(10), rel=1e-3)


def test_float64_one_hot_rows_do_not_promote_a_float32_loss():
    rows = F.one_hot([1], 2)
    assert F.cross_entropy(Tensor([[1.0, 2.0]], dtype=np.float32), rows).dtype == np.float32


@pytest.mark.parametrize(
    ("loss", "scores", "labels"),
    [
        *[(loss, np.zeros((2, 2)), np.array([0, 1])) for loss in [*LOSSES, F.accuracy]],
        (F.cross_entropy, np.zeros((2, 2)), np.eye(2)),
        (F.cross_entropy, np.zeros((2, 1, 2)), np.array([[0], [1]])),
        (F.binary_cross_entropy, np.zeros(2), np.array([0.0, 1.0])),
    ],
)
def test_masked_labels_are_refused(loss, scores, labels):
    masked = np.ma.masked_array(labels, labels == 0)
    with pytest.raises(TypeError, match=r"a masked array cannot be combined with tensors, .*; fill it"):
        loss(scores, masked)


@pytest.mark.parametrize("labels", [[0, 1], np.array([0, 1], np.uint8), Tensor([0, 1]), (0, 1)])
@pytest.mark.parametrize("loss", [*LOSSES, F.accuracy])
def test_labels_may_have_any_integer_dtype(loss, labels):
    assert np.isfinite(float(loss(Tensor([[1.0, 2.0], [3.0, 4.0]]), labels)))


@pytest.mark.parametrize("labels", [np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]])])
def test_overwriting_labels_after_the_forward_pass_does_not_change_the_gradient(labels):
    scores = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    expected = grad(F.cross_entropy(scores, labels), scores).data.copy()
    loss = F.cross_entropy(scores, labels)
    labels[...] = labels[::-1].copy()
    loss.backward()
    assert (scores.grad.data == expected).all()


# -- invalid labels and scores ---------------------------------------------------------------------------------------

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
def test_small_integer_scores_do_not_wrap_around(function, make):
    scores = np.array([[3, 200, 10], [0, 0, 255]], np.uint8)
    np.testing.assert_array_equal(function(make(scores)), function(scores.astype(np.float64)))


@pytest.mark.parametrize("labels", [[[2, 0], [1, 0]], [[1.5, -0.5], [1, 0]], [[0, 0], [0, 1]], [[math.nan, 1], [0, 1]]])
def test_rows_of_labels_must_be_probabilities(labels):
    with pytest.raises(ValueError, match="each row of labels must be probabilities"):
        F.cross_entropy(np.zeros((2, 2)), labels)


def test_labels_must_not_require_a_gradient():
    labels = Tensor([[0.5, 0.5]], requires_grad=True)
    with pytest.raises(ValueError, match=r"use labels.detach\(\)"):
        F.cross_entropy(Tensor([[1.0, 2.0]]), labels)
    assert F.cross_entropy(Tensor([[0.0, 0.0]]), labels.detach()).item() == pytest.approx(math.log(2))


TAKES_LABELS = [F.cross_entropy, F.hinge, F.accuracy]


@pytest.mark.parametrize("loss", TAKES_LABELS)
@given(problems(), st.integers(0, 100), st.booleans())
def test_a_label_out_of_range_raises(loss, problem, beyond, negative):
    scores, labels = problem
    labels[-1] = -1 - beyond if negative else scores.shape[1] + beyond
    with pytest.raises(ValueError, match=rf"{loss.__name__}: label {labels[-1]} is out of range; .* 0 to"):
        loss(Tensor(scores), labels)


@pytest.mark.parametrize("loss", TAKES_LABELS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_labels_must_equal_the_number_of_rows(loss, count):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: labels must have the shape \(2,\).* got \({count},\)"):
        loss(Tensor(np.zeros((2, 3))), np.zeros(count, int))


@pytest.mark.parametrize("loss", TAKES_LABELS)
def test_labels_must_be_one_dimensional(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: .*labels must have the shape \(2,.* got \(2, 1\)"):
        loss(Tensor(np.zeros((2, 3))), [[0], [1]])


@pytest.mark.parametrize("loss", TAKES_LABELS)
@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False], ["a", "b"]])
def test_labels_must_be_integers(loss, labels):
    with pytest.raises(ValueError, match=f"{loss.__name__}: labels must be integers"):
        loss(Tensor(np.zeros((2, 3))), labels)


@pytest.mark.parametrize("loss", [F.hinge, F.accuracy])
def test_only_the_cross_entropy_mentions_one_hot_rows(loss):
    with pytest.raises(ValueError, match=loss.__name__) as refused:
        loss(Tensor(np.zeros((2, 3))), np.eye(3)[:2])
    assert "one-hot" not in str(refused.value)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (loss, shape)
        for loss in TAKES_LABELS
        for shape in [(0, 3), (3, 0), (), *([] if loss is F.cross_entropy else [(3,), (1, 3, 1)])]
    ],
)
def test_scores_must_be_a_nonempty_matrix(loss, shape):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: scores must have the shape \(batch, classes\)"):
        loss(Tensor(np.zeros(shape)), np.zeros(shape[:1], int))


# -- label smoothing, and scores with any number of axes ---------------------------------------------------------------


@given(problems(), st.floats(0, 1))
def test_label_smoothing_divides_a_share_of_the_probability_among_all_classes(problem, share):
    scores, labels = problem
    rows = (1 - share) * F.one_hot(labels, scores.shape[1]) + share / scores.shape[1]
    expected = F.cross_entropy(scores, rows)
    assert F.cross_entropy(scores, labels, label_smoothing=share) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    one_hot = F.one_hot(labels, scores.shape[1])
    assert F.cross_entropy(scores, one_hot, label_smoothing=share) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_with_all_of_the_probability_divided_the_labels_do_not_matter():
    scores = np.array([[1.0, 2.0, 4.0]])
    expected = -np.log(np.exp(scores) / np.exp(scores).sum()).mean()
    losses = [F.cross_entropy(scores, [label], label_smoothing=1) for label in range(3)]
    assert losses == pytest.approx([expected] * 3)


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_the_share_of_label_smoothing_is_from_0_to_1(share):
    with pytest.raises(ValueError, match="cross_entropy: label_smoothing must be from 0 to 1; got"):
        F.cross_entropy(np.zeros((1, 2)), [0], label_smoothing=share)


@given(problems())
def test_scores_of_any_number_of_axes_are_a_matrix_of_rows(problem):
    scores, labels = problem
    expected = F.cross_entropy(scores, labels)
    batch, classes = scores.shape
    assert F.cross_entropy(scores.reshape(batch, 1, classes), labels.reshape(batch, 1)) == expected
    one_hot = F.one_hot(labels, classes)[:, None]
    assert F.cross_entropy(scores[:, None], one_hot) == F.cross_entropy(scores, one_hot[:, 0])
    assert F.cross_entropy(scores[0], labels[0]) == F.cross_entropy(scores[:1], labels[:1])


def test_labels_of_more_axes_must_fit_the_scores():
    with pytest.raises(ValueError, match=r"labels must have the shape \(2, 4\), one per row of scores, or \(2, 4, 3\)"):
        F.cross_entropy(np.zeros((2, 4, 3)), np.zeros((4, 2), int))


# -- one_hot and accuracy --------------------------------------------------------------------------------------------


@given(problems())
def test_one_hot_is_1_in_the_column_of_the_label(problem):
    scores, labels = problem
    rows = F.one_hot(labels, scores.shape[1])
    assert rows.argmax(axis=1).tolist() == labels.tolist()
    assert np.sort(rows, axis=1)[:, :-1].sum() == 0
    assert rows.sum() == len(labels)


def test_one_hot_rejects_a_label_out_of_range():
    with pytest.raises(ValueError, match="one_hot: label 3 is out of range"):
        F.one_hot([0, 3], 3)


@given(problems(st.integers(-2, 2).map(float)))
def test_accuracy_counts_rows_whose_first_maximum_is_the_label(problem):
    scores, labels = problem
    right = [max(range(len(row)), key=lambda j: row[j]) == y for row, y in zip(scores.tolist(), labels, strict=True)]
    assert F.accuracy(Tensor(scores), labels) == np.mean(right)


def test_accuracy_accepts_recorded_scores():
    assert F.accuracy(Tensor([[0.0, 1.0]], requires_grad=True), [1]) == 1.0


# -- squared losses --------------------------------------------------------------------------------------------------

pairs = hnp.array_shapes(max_dims=3, max_side=3).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float64, shape, elements=numbers)] * 2)
)


@given(pairs)
def test_mse_is_the_mean_of_squared_differences(pair):
    differences = (pair[0] - pair[1]).ravel().tolist()
    expected = math.fsum(d * d for d in differences) / len(differences)
    assert F.mse(Tensor(pair[0]), pair[1]).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(pairs)
def test_mse_derivatives_match_differences(pair):
    check_gradients(F.mse, *pair, second_order=True)


@pytest.mark.parametrize("shapes", [((3,), (3, 1)), ((3, 1), (3,)), ((1,), ()), ((2, 3), (3,))])
def test_mse_rejects_shapes_that_would_broadcast(shapes):
    with pytest.raises(ValueError, match=r"mse: prediction and target must have the same shape") as refused:
        F.mse(Tensor(np.zeros(shapes[0])), np.zeros(shapes[1]))
    assert all(str(shape) in str(refused.value) for shape in shapes)


def test_mse_of_empty_arrays_raises():
    with pytest.raises(ValueError, match="no elements"):
        F.mse(Tensor([]), [])


@given(pairs, st.floats(0, 10))
def test_l2_penalty_is_lambda_times_the_sum_of_squares(pair, lam):
    expected = lam * sum(float((w**2).sum()) for w in pair)
    assert F.l2_penalty(map(Tensor, pair), lam).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(pairs, st.floats(0.01, 10))
def test_l2_penalty_gradient_is_twice_lambda_times_the_weights(pair, lam):
    W = Tensor(pair[0], requires_grad=True)
    F.l2_penalty([W], lam).backward()
    np.testing.assert_allclose(W.grad.data, 2 * lam * pair[0], rtol=1e-12)


# -- dropout ---------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.01, 0.95))
def test_dropout_rescales_or_zeroes_each_element(seed, rate):
    x = np.random.default_rng(seed).uniform(1, 2, 50)
    y = F.dropout(Tensor(x), rate, np.random.default_rng(seed)).data
    retained = y != 0
    np.testing.assert_allclose(y[retained], x[retained] / (1 - rate), rtol=1e-12)


@given(seeds, st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_dropout_drops_the_given_fraction(seed, rate):
    n = 10_000
    dropped = np.count_nonzero(F.dropout(Tensor(np.ones(n)), rate, np.random.default_rng(seed)).data == 0)
    assert abs(dropped - n * rate) < 6 * (n * rate * (1 - rate)) ** 0.5  # six standard deviations


@given(seeds, st.floats(0, 0.9))
def test_the_same_generator_drops_the_same_elements(seed, rate):
    once, again = (F.dropout(Tensor(np.ones(20)), rate, np.random.default_rng(seed)).data for _ in range(2))
    assert (once == again).all()


@given(pairs, seeds, st.floats(0, 0.9))
def test_dropout_derivatives_match_differences(pair, seed, rate):
    x = np.round(pair[0], 3)  # of numbers such as 1e-18, differences of squares cannot be judged
    check_gradients(lambda x: F.dropout(x * x, rate, np.random.default_rng(seed)), x, second_order=True)


@pytest.mark.parametrize("rate", [0.5, np.float64(0.5)])
def test_dropout_does_not_promote_float32(rate):
    x = Tensor(np.ones(3), dtype=np.float32)
    assert F.dropout(x, rate, np.random.default_rng(0)).dtype == np.float32


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, math.nan])
def test_dropout_rejects_a_rate_outside_0_to_1(rate):
    with pytest.raises(ValueError, match=rf"dropout: rate must be in \[0, 1\); got {rate}"):
        F.dropout(Tensor([1.0]), rate, np.random.default_rng(0))


# -- special cases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">i2", ">i4", "<u8"])
def test_labels_may_have_the_other_byte_order(dtype):
    scores = np.random.default_rng(0).normal(size=(3, 300))
    assert F.cross_entropy(scores, np.array([0, 1, 299], dtype)) == F.cross_entropy(scores, [0, 1, 299])
    with pytest.raises(ValueError, match="label 300 is out of range"):
        F.cross_entropy(scores, np.array([0, 1, 300], dtype))


@pytest.mark.parametrize(("dtype", "classes"), [(np.int8, 300), (np.int16, 70_000)])
def test_a_negative_label_of_a_small_type_raises(dtype, classes):
    with pytest.raises(ValueError, match="one_hot: label -1 is out of range"):
        F.one_hot(np.array([0, -1], dtype), classes)
    largest = np.iinfo(dtype).max
    assert F.one_hot(np.array([largest], dtype), classes).argmax() == largest


def test_a_negative_margin_raises():
    with pytest.raises(ValueError, match="hinge: margin must be at least 0; got -1"):
        F.hinge([[0.0, -5.0]], [0], margin=-1.0)


def test_a_class_with_score_minus_infinity_adds_nothing_to_the_loss():
    scores = Tensor([[-np.inf, 0.0]], requires_grad=True)
    with np.errstate(invalid="ignore"):
        assert F.cross_entropy(scores, [[0.0, 1.0]]).item() == F.cross_entropy(scores, [1]).item() == 0


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=3), elements=numbers))
def test_softmax_and_its_logarithm_are_taken_along_the_last_axis_by_default(scores):
    assert F.softmax(scores).sum(axis=-1) == pytest.approx(1)
    np.testing.assert_array_equal(F.softmax(scores), F.softmax(scores, -1))
    np.testing.assert_array_equal(F.log_softmax(scores), F.log_softmax(scores, -1))


@given(problems())
def test_generalised_cross_entropy_at_1_is_the_mean_probability_of_another_class(problem):
    scores, labels = problem
    right = np.asarray(F.softmax(scores, 1))[np.arange(len(labels)), labels]
    assert float(F.generalised_cross_entropy(scores, labels, 1)) == pytest.approx(1 - right.mean(), abs=1e-12)


FLOAT32 = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.mse(x, np.zeros((2, 2))),
        lambda x: F.hinge(x, [0, 1], np.float64(0.5)),
        lambda x: F.l2_penalty([x], np.float64(0.5)),
    ],
    ids=["mse", "hinge", "l2_penalty"],
)
def test_float64_arguments_do_not_promote_a_float32_loss(call):
    assert call(Tensor(FLOAT32, requires_grad=True)).dtype == np.float32
