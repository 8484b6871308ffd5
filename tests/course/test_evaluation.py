"""Evaluation: metrics of all images, without side effects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_models import CLASSES, FEATURES, some_images, some_model
from tests.support.some_runs import DATA, SMALL, each_kind
from tinygrad_cifar import nn, runs
from tinygrad_cifar.course.evaluation import confusion_matrix, evaluate, evaluate_scores, scores_of
from tinygrad_cifar.course.models import SVM, Perceptron, SoftmaxRegression
from tinygrad_cifar.course.preparation import prepare
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


# -- scores ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, -1, 1], "label -1 is out of range; with 3 classes, labels must be from 0 to 2"),
        ([0, 3, 1], "label 3 is out of range; with 3 classes, labels must be from 0 to 2"),
        ([0.0, 1.0, 2.0], "labels must be integers; got float64"),
    ],
)
def test_classes_that_do_not_exist_are_not_counted(labels, words):
    X, _ = some_images(count=3)
    with pytest.raises(ValueError, match=words):
        confusion_matrix(some_model(), (X, np.array(labels)), CLASSES)


def test_scores_need_images_and_a_classifier():
    with pytest.raises(ValueError, match="X must have at least one image; got none"):
        scores_of(some_model(), np.zeros((0, FEATURES)))
    with pytest.raises(TypeError, match="model must be a classifier, which has a loss; got a ReLU"):
        evaluate_scores(nn.ReLU(), np.zeros((1, 2)), np.zeros(1, int))


def test_scores_may_be_a_list():
    assert evaluate_scores(some_model(), [[1.0, 0.0, 0.0]], np.array([0])).accuracy == 1
