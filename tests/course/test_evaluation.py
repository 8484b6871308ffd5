"""Evaluation: metrics of all images, without side effects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_models import CLASSES, FEATURES, some_images, some_model
from tests.support.some_runs import DATA, SMALL, each_kind
from tinygrad_cifar import runs
from tinygrad_cifar.course.evaluation import (
    Ensemble,
    ViewAverage,
    average_probabilities,
    confusion_matrix,
    evaluate,
    evaluate_scores,
    scores_of,
)
from tinygrad_cifar.course.models import SVM, Perceptron, SoftmaxRegression
from tinygrad_cifar.course.preparation import prepare
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.initialisers import Normal

seeds = st.integers(0, 2**32 - 1)


# -- loss, cost, accuracy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [SoftmaxRegression, SVM])
@given(seeds, st.sampled_from([0.0, 0.1]))
def test_metrics_are_those_of_all_images(make, seed, lam):
    model = make(FEATURES, CLASSES, rng=np.random.default_rng(seed), init=Normal(1.0))
    X, labels = some_images(seed)
    loss = model.loss(X, labels).item()
    expected = (loss, loss + lam * (model.W.data**2).sum(), np.mean(model.predict(X) == labels))
    found = evaluate(model, (X, labels), lam)
    assert (found.loss, found.cost, found.accuracy) == pytest.approx(expected, rel=1e-12)


def test_evaluation_in_blocks_gives_the_metrics_of_all_images():
    X, labels = some_images(count=25_000)
    model = some_model()
    found = evaluate(model, (X, labels))
    assert found.loss == pytest.approx(model.loss(X, labels).item(), rel=1e-12)
    assert found.accuracy == pytest.approx(np.mean(model.predict(X) == labels), rel=1e-12)


def test_evaluation_applies_no_dropout_and_draws_no_random_number():
    rng = np.random.default_rng(0)
    model = Perceptron([FEATURES, 20, CLASSES], rng=rng, dropout=0.9)
    before = rng.bit_generator.state
    assert evaluate(model, some_images()) == evaluate(model, some_images())
    assert rng.bit_generator.state == before


def test_evaluation_restores_the_mode_of_every_module():
    model = Perceptron([FEATURES, 20, CLASSES], rng=np.random.default_rng(0), dropout=0.5)
    model.dropout.eval()
    evaluate(model, some_images())
    assert [module.training for module in model.modules()] == [True, True, True, False]


def test_evaluation_leaves_no_gradient_and_no_graph():
    class Watched(SoftmaxRegression):
        def loss_of(self, scores, labels):
            assert not scores.requires_grad
            return super().loss_of(scores, labels)

    model = Watched(FEATURES, CLASSES, rng=np.random.default_rng(0))
    evaluate(model, some_images())
    assert model.W.grad is None


@pytest.mark.parametrize("count", [0, 22])
def test_images_and_labels_of_different_lengths_are_refused(count):
    X, labels = some_images()
    with pytest.raises(ValueError, match="evaluate: images and labels must have the same length of at least 1; got"):
        evaluate(some_model(), (X[: max(count - 5, 0)], labels[:count]))


# -- confusion matrix ------------------------------------------------------------------------------------------------


@each_kind
def test_the_confusion_matrix_counts_every_image_once(settings):
    prepared = prepare(DATA, settings)
    result = runs.run(settings, prepared)
    counts = confusion_matrix(result.model, prepared.test, 3)
    assert counts.sum(axis=1).tolist() == np.bincount(DATA.test.labels, minlength=3).tolist()
    assert counts.trace() == round(result.test.accuracy * len(DATA.test))


def test_the_confusion_matrix_restores_the_mode_of_the_model():
    prepared = prepare(DATA, SMALL)
    model = runs.build_model(SMALL, 3072, 3)
    confusion_matrix(model, prepared.test, 3)
    assert model.training


@pytest.mark.parametrize("count", [0, 22])
def test_the_confusion_matrix_refuses_images_and_labels_of_different_lengths(count):
    X, labels = some_images()
    with pytest.raises(ValueError, match="confusion_matrix: images and labels must have the same length"):
        confusion_matrix(some_model(), (X[: max(count - 5, 0)], labels[:count]), CLASSES)


def test_the_confusion_matrix_has_ten_classes_by_default():
    assert confusion_matrix(some_model(), some_images()).shape == (10, 10)


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


# -- scores, and ensembles -------------------------------------------------------------------------------------------


@given(seeds, st.sampled_from([0.0, 0.1]))
def test_metrics_of_scores_are_those_of_their_model(seed, lam):
    model, (X, labels) = some_model(seed), some_images(seed)
    found, expected = evaluate_scores(model, scores_of(model, X), labels, lam), evaluate(model, (X, labels), lam)
    assert (found.loss, found.cost, found.accuracy) == (expected.loss, expected.cost, expected.accuracy)


def test_scores_in_blocks_are_those_of_all_images():
    X, _ = some_images(count=25_000)
    model = some_model()
    np.testing.assert_allclose(scores_of(model, X), model(X).data, rtol=1e-12)


def test_scores_are_computed_without_dropout_and_without_a_graph():
    model = Perceptron([FEATURES, 20, CLASSES], rng=np.random.default_rng(0), dropout=0.9)
    X, _ = some_images()
    assert np.array_equal(scores_of(model, X), scores_of(model, X))
    assert model.training


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


def test_an_ensemble_has_members():
    with pytest.raises(ValueError, match="members must be at least one model; got none"):
        Ensemble([])
