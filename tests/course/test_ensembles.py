"""Classifiers that average others: views of an image, and several models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_models import CLASSES, FEATURES, some_images, some_model
from tinygrad_cifar.course.ensembles import Ensemble, ViewAverage, average_probabilities
from tinygrad_cifar.course.evaluation import confusion_matrix, evaluate, evaluate_scores
from tinygrad_cifar.course.models import SVM
from tinygrad_cifar.nn import functional as F

seeds = st.integers(0, 2**32 - 1)


# -- views -------------------------------------------------------------------------------------------------------------


def weighted(X):
    return [(0.75, X), (0.25, 2 * X)]


def test_the_scores_of_views_are_averaged_with_their_weights():
    model, (X, _) = some_model(), some_images()
    expected = 0.75 * model(X).data + 0.25 * model(2 * X).data
    np.testing.assert_allclose(ViewAverage(model, weighted)(X).data, expected, rtol=1e-12)


def test_the_loss_of_views_is_that_of_the_model_on_the_mean_scores():
    model, (X, labels) = SVM(FEATURES, CLASSES, rng=0), some_images()
    viewed = ViewAverage(model, weighted)
    found = evaluate(viewed, (X, labels), 0.5)
    assert found.loss == model.loss_of(viewed(X), labels).item()
    assert found.cost - found.loss == pytest.approx(0.5 * (model.W.data**2).sum())


def test_predictions_of_views_are_those_of_the_mean_scores():
    model, (X, labels) = some_model(), some_images()
    viewed = ViewAverage(model, lambda X: [(0.5, X), (0.5, -X)])
    np.testing.assert_array_equal(viewed.predict(X), viewed(X).data.argmax(axis=1))
    assert confusion_matrix(viewed, (X, labels), CLASSES).sum() == len(X)


# -- several models ----------------------------------------------------------------------------------------------------


@given(st.lists(seeds, min_size=1, max_size=4))
def test_the_probabilities_of_an_ensemble_are_means(drawn):
    members, (X, _) = [some_model(seed) for seed in drawn], some_images()
    expected = np.mean([F.softmax(member(X)).data for member in members], axis=0)
    np.testing.assert_allclose(F.softmax(Ensemble(members)(X)).data, expected, rtol=1e-10)


def test_the_loss_of_an_ensemble_is_the_logarithm_of_the_mean_probability():
    scores = average_probabilities([np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])])
    assert evaluate_scores(Ensemble([some_model()]), scores, np.array([0])).loss == pytest.approx(-np.log(0.7))


def test_certain_members_do_not_overflow_an_ensemble():
    scores = average_probabilities([np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]])])
    np.testing.assert_allclose(scores, np.log([[0.5, 0.5]]))


def test_the_gradient_of_an_ensemble_reaches_every_member():
    X, labels = some_images()
    ensemble = Ensemble([some_model(0), some_model(1)])
    ensemble.loss(X, labels).backward()
    assert [np.any(parameter.grad.data) for parameter in ensemble.parameters()] == [True] * 4


def binary_model():
    model = some_model()
    model.loss_function = F.binary_cross_entropy
    return model


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "members must be at least one model; got none"),
        (some_model(), "members must be a list of classifiers; got SoftmaxRegression"),
        (["a", "b"], r"members must be a list of classifiers; got \['a', 'b'\]"),
        (
            [some_model(), SVM(FEATURES, CLASSES, rng=0)],
            "members must be trained with the cross-entropy, .*; got a SVM",
        ),
        (
            [binary_model()],
            "members must be trained with the cross-entropy, .*; got a SoftmaxRegression with another loss",
        ),
    ],
)
def test_members_that_cannot_be_averaged_are_refused(members, words):
    with pytest.raises((TypeError, ValueError), match=f"Ensemble: {words}"):
        Ensemble(members)


@pytest.mark.parametrize(
    ("scores", "got"),
    [
        ([], "none"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"\(2, 3\) and \(2, 4\)"),
        (np.zeros((2, 3)), r"\(3,\)"),
    ],
)
def test_scores_of_different_shapes_are_refused(scores, got):
    with pytest.raises(ValueError, match=f"the same shape .batch, classes.; got {got}"):
        average_probabilities(scores)
