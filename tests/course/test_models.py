"""Classifiers: costs compared with plain NumPy, and gradients compared with centred differences."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygrad_cifar import Tensor, nn
from tinygrad_cifar.course.models import SVM, Classifier, Patchify, Perceptron, SoftmaxRegression, TwoLayer, patches_of
from tinygrad_cifar.engine.gradcheck import check_gradients, check_model
from tinygrad_cifar.engine.ops import absolute
from tinygrad_cifar.nn.functional import binary_cross_entropy, generalised_cross_entropy
from tinygrad_cifar.nn.initialisers import Normal, Zeros

FEATURES, CLASSES = 4, 3
seeds = st.integers(0, 2**32 - 1)
lambdas = st.sampled_from([0.0, 0.01, 0.3])

KINDS = {
    "softmax": lambda **options: SoftmaxRegression(FEATURES, CLASSES, **options),
    "svm": lambda **options: SVM(FEATURES, CLASSES, **options),
    "two-layer": lambda **options: TwoLayer(FEATURES, 5, CLASSES, **options),
    "perceptron": lambda **options: Perceptron([FEATURES, 4, 3, CLASSES], **options),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def some_model(make, seed: int, **options) -> Classifier:
    """Return a model with random biases."""
    rng = np.random.default_rng(seed)
    model = make(rng=rng, init=Normal(1.0), **options)
    for p in model.parameters():
        p.data = rng.normal(size=p.shape)
    return model


def some_images(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=(count, FEATURES)), rng.integers(0, CLASSES, count)


def by_hand(model: Classifier, X: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return scores, mean loss, and the distance to the nearest kink: the smallest |input| of a ReLU or hinge."""
    arrays = [p.data for p in model.parameters()]
    near = [np.inf]
    for W, b in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        Z = X @ W + b
        near.append(np.abs(Z).min())
        X = np.where(Z > 0, Z, 0)
    scores = X @ arrays[-2] + arrays[-1]
    if isinstance(model, SVM):
        wrong = np.arange(CLASSES) != labels[:, np.newaxis]
        lacking = (scores - scores[np.arange(len(labels)), labels][:, np.newaxis] + 1)[wrong]
        return scores, lacking[lacking > 0].sum() / len(labels), min(*near, np.abs(lacking).min())
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return scores, -np.log(p[np.arange(len(labels)), labels]).mean(), min(near)


def cost_as_a_function(model: Classifier, labels: np.ndarray, lam: float):
    """Return the cost as a function of the images and of all parameters, which replace those of the model."""
    names = [name for name, _ in model.named_parameters()]

    def cost(X, *parameters):
        for name, tensor in zip(names, parameters, strict=True):
            if not tensor.requires_grad:  # differences use constants, but the L2 term is over trainable tensors
                tensor.requires_grad = True
            *way, last = name.split(".")
            owner = model
            for part in way:
                owner = owner[int(part)] if part.isdecimal() else getattr(owner, part)
            setattr(owner, last, tensor)
        return model.cost(X, labels, lam)

    return cost


@given(seeds)
def test_an_activation_replaces_the_relu(seed):
    """|z| = max(0, z) + max(0, -z): a network of twice as many ReLUs gives the same scores."""
    model, (X, _) = some_model(KINDS["two-layer"], seed, activation=absolute), some_images(seed)
    twice = TwoLayer(FEATURES, 10, CLASSES, rng=np.random.default_rng(0))
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    twice.load_state_dict({"W1": np.c_[W1, -W1], "b1": np.r_[b1, -b1], "W2": np.r_[W2, W2], "b2": b2})
    np.testing.assert_allclose(model(X).data, twice(X).data, rtol=1e-10, atol=1e-10)


@given(seeds, st.floats(0, 1))
def test_the_loss_of_a_model_has_its_exponent_q(seed, q):
    model, (X, labels) = some_model(KINDS["softmax"], seed), some_images(seed)
    model.loss_exponent = q
    assert model.loss(X, labels).item() == generalised_cross_entropy(model(X), labels, q).item()


@pytest.mark.parametrize("value", [nn.Linear(FEATURES, FEATURES, rng=0), 0.3], ids=["layer", "number"])
@pytest.mark.parametrize("name", ["q", "smoothing", "exponent"])
def test_the_loss_does_not_depend_on_short_names_of_a_subclass(name, value):
    class Own(SoftmaxRegression):
        def __init__(self) -> None:
            super().__init__(FEATURES, CLASSES, rng=0)
            setattr(self, name, value)

    X, labels = some_images(0)
    assert Own().loss(X, labels).item() == SoftmaxRegression(FEATURES, CLASSES, rng=0).loss(X, labels).item()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("loss_exponent", nn.ReLU(), r"loss_exponent must be a number; got ReLU\(\)"),
        ("loss_exponent", 1.5, "loss_exponent must be from 0 to 1; got 1.5"),
        ("loss_smoothing", "0.1", "loss_smoothing must be a number; got '0.1'"),
        ("loss_function", 0.1, "loss_function must be a function of scores and labels; got 0.1"),
    ],
)
def test_an_attribute_that_the_loss_cannot_use_is_named(name, value, words):
    model, (X, labels) = some_model(KINDS["softmax"], 0), some_images(0)
    setattr(model, name, value)
    with pytest.raises((TypeError, ValueError), match=f"SoftmaxRegression: {words}"):
        model.loss(X, labels)


@pytest.mark.parametrize("names", list(combinations(["loss_exponent", "loss_smoothing", "loss_function"], 2)))
def test_attributes_that_exclude_each_other_are_refused(names):
    values = {"loss_exponent": 0.5, "loss_smoothing": 0.1, "loss_function": binary_cross_entropy}
    model, (X, labels) = some_model(KINDS["softmax"], 0), some_images(0)
    for name in names:
        setattr(model, name, values[name])
    with pytest.raises(ValueError, match="only one of loss_smoothing, loss_exponent and loss_function can be set"):
        model.loss(X, labels)


# -- values ----------------------------------------------------------------------------------------------------------


@each_kind
@given(seeds)
def test_scores_equal_those_of_plain_numpy(make, seed):
    model, (X, labels) = some_model(make, seed), some_images(seed)
    np.testing.assert_allclose(model(X).data, by_hand(model, X, labels)[0], rtol=1e-10, atol=1e-10)


@each_kind
@given(seeds, lambdas)
def test_the_cost_is_the_mean_loss_and_lambda_times_the_squared_weights(make, seed, lam):
    model, (X, labels) = some_model(make, seed), some_images(seed)
    squares = sum((p.data**2).sum() for p in model.parameters() if p.ndim == 2)
    expected = by_hand(model, X, labels)[1] + lam * squares
    assert model.cost(X, labels, lam).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@each_kind
@given(seeds)
def test_the_loss_of_a_batch_is_the_mean_over_its_images(make, seed):
    model, (X, labels) = some_model(make, seed), some_images(seed, 6)
    single = [model.loss(X[i : i + 1], labels[i : i + 1]).item() for i in range(6)]
    assert model.loss(X, labels).item() == pytest.approx(np.mean(single), rel=1e-10)


@each_kind
@given(seeds)
def test_the_scores_of_an_image_do_not_depend_on_the_batch(make, seed):
    model, (X, _) = some_model(make, seed), some_images(seed, 6)
    np.testing.assert_allclose(model(X).data[::-1], model(X[::-1].copy()).data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "loss"), [("softmax", np.log(3)), ("svm", 2), ("two-layer", np.log(3))])
def test_equal_scores_give_the_loss_of_guessing(kind, loss):
    model = KINDS[kind](rng=np.random.default_rng(0), init=Zeros())
    assert model.loss(*some_images(0)).item() == pytest.approx(loss)


@given(seeds)
def test_a_perceptron_without_hidden_layers_is_softmax_regression(seed):
    X, _ = some_images(seed)
    one = Perceptron([FEATURES, CLASSES], rng=np.random.default_rng(seed), init=Normal(1.0))
    other = SoftmaxRegression(FEATURES, CLASSES, rng=np.random.default_rng(seed), init=Normal(1.0))
    assert one(X).data.tobytes() == other(X).data.tobytes()


@given(seeds)
def test_a_perceptron_with_one_hidden_layer_is_the_two_layer_network(seed):
    X, _ = some_images(seed)
    one = Perceptron([FEATURES, 5, CLASSES], rng=np.random.default_rng(seed))
    other = TwoLayer(FEATURES, 5, CLASSES, rng=np.random.default_rng(seed))
    assert one(X).data.tobytes() == other(X).data.tobytes()


# -- derivatives -----------------------------------------------------------------------------------------------------


@each_kind
@given(seeds, lambdas)
def test_the_gradient_of_the_cost_equals_centred_differences(make, seed, lam):
    model, (X, labels) = some_model(make, seed), some_images(seed)
    assume(by_hand(model, X, labels)[2] > 1e-3)

    check_gradients(cost_as_a_function(model, labels, lam), X, *[p.data for p in model.parameters()])


@pytest.mark.parametrize("kind", ["softmax", "two-layer", pytest.param("perceptron", marks=pytest.mark.slow)])
@given(seeds, lambdas)
def test_the_second_derivative_of_the_cost_equals_centred_differences(kind, seed, lam):
    model, (X, labels) = some_model(KINDS[kind], seed), some_images(seed, 2)
    assume(by_hand(model, X, labels)[2] > 1e-3)

    cost = cost_as_a_function(model, labels, lam)
    check_gradients(cost, X, *[p.data for p in model.parameters()], second_order=True)


@given(seeds)
def test_the_gradient_through_dropout_equals_centred_differences(seed):
    def make(**options):
        return Perceptron([FEATURES, 6, CLASSES], dropout=0.5, **options)

    model, (X, labels) = some_model(make, seed), some_images(seed)
    assume(by_hand(model, X, labels)[2] > 1e-3)

    cost = cost_as_a_function(model, labels, 0.1)

    def cost_with_the_same_units_dropped(*arguments):
        model.dropout.rng = np.random.default_rng(seed)
        return cost(*arguments)

    check_gradients(cost_with_the_same_units_dropped, X, *[p.data for p in model.parameters()])


# -- dtypes, modes, predictions ----------------------------------------------------------------------------------------


@each_kind
@given(seeds)
def test_a_float32_model_is_float32_from_scores_to_gradients(make, seed):
    model, (X, labels) = some_model(make, seed, dtype=np.float32), some_images(seed)
    cost = model.cost(Tensor(X, dtype=np.float32), labels, 0.1)
    cost.backward()
    assert {cost.dtype, *(p.grad.dtype for p in model.parameters())} == {np.dtype(np.float32)}


@each_kind
@given(seeds)
def test_the_prediction_is_the_class_with_the_highest_score(make, seed):
    model, (X, _) = some_model(make, seed), some_images(seed, 5)
    assert model.predict(X).tolist() == [max(range(CLASSES), key=lambda j: row[j]) for row in model(X).data.tolist()]


def test_a_prediction_does_not_apply_dropout():
    model = Perceptron([FEATURES, 50, CLASSES], rng=np.random.default_rng(0), dropout=0.9)
    X, _ = some_images(0, 50)
    in_training = model.predict(X)
    assert (in_training == model.eval().predict(X)).all()


def test_dropout_is_applied_after_each_hidden_layer_only():
    model = Perceptron([FEATURES, 4, 4, CLASSES], rng=np.random.default_rng(0), dropout=0.5)
    calls = []
    model.dropout.forward = lambda x: calls.append(x.shape) or x
    model(np.ones((2, FEATURES)))
    assert calls == [(2, 4), (2, 4)]


@pytest.mark.parametrize("sizes", [[], [4]])
def test_a_perceptron_with_fewer_than_two_sizes_is_refused(sizes):
    with pytest.raises(ValueError, match=f"sizes must have at least two elements; got {sizes}".replace("[", r"\[")):
        Perceptron(sizes, rng=np.random.default_rng(0))


@each_kind
def test_images_with_other_features_are_refused_with_their_shape(make):
    with pytest.raises(ValueError, match=r"(matmul|4 features).*\(2, 5\)"):
        make(rng=np.random.default_rng(0))(np.ones((2, 5)))


@each_kind
def test_labels_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="label 3 is out of range; with 3 classes"):
        make(rng=np.random.default_rng(0)).loss(np.ones((1, FEATURES)), [3])


# -- patches -----------------------------------------------------------------------------------------------------------


def patchify_by_hand(model: Patchify, X: np.ndarray) -> np.ndarray:
    """Return the scores, with a convolution by loops over the positions of the filters."""
    size, count = model.filter_size, len(X)
    images = X.reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)
    filters = model.F.data.reshape(size, size, 3, -1)
    maps = []
    for i in range(0, 32, size):
        for j in range(0, 32, size):
            window = images[:, i : i + size, j : j + size]
            maps.append(np.maximum(np.einsum("nhwc,hwcf->nf", window, filters) + model.c.data, 0))
    hidden = np.maximum(np.concatenate(maps, axis=1) @ model.W1.data + model.b1.data, 0)
    return hidden @ model.W2.data + model.b2.data


def some_patchify(seed: int, size: int) -> Patchify:
    rng = np.random.default_rng(seed)
    model = Patchify(5, CLASSES, filter_size=size, filters=2, rng=rng)
    for p in model.parameters():
        p.data = rng.normal(size=p.shape) / np.sqrt(len(p.data))
    return model


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
@given(seeds, st.integers(1, 3))
def test_patchify_is_a_convolution_whose_stride_is_the_width_of_its_filters(size, seed, count):
    model, X = some_patchify(seed, size), np.random.default_rng(seed).normal(size=(count, 3072))
    np.testing.assert_allclose(model(X).data, patchify_by_hand(model, X), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [1, 4, 32])
def test_scores_of_patches_are_those_of_the_images(size):
    model, X = some_patchify(0, size), np.random.default_rng(1).normal(size=(3, 3072))
    assert model(patches_of(X, size)).data.tobytes() == model(X).data.tobytes()


def test_gradients_of_patchify_match_centred_differences():
    model, X = some_patchify(0, 16), np.random.default_rng(1).normal(size=(2, 3072))
    assert check_model(model, X, np.array([0, 2]), lam=0.1, rng=0).passed


def test_patches_of_a_tensor_have_a_gradient():
    X = Tensor(np.random.default_rng(0).normal(size=(2, 3072)), requires_grad=True)
    weights = np.random.default_rng(1).normal(size=(2, 16, 192))
    (patches_of(X, 8) * weights).sum().backward()
    np.testing.assert_array_equal(patches_of(X.grad.data, 8), weights)


def test_filters_as_images_enlarge_each_pixel():
    model = some_patchify(0, 8)
    images = model.filters_as_images().T.reshape(2, 3, 32, 32)
    filters = model.F.data.reshape(8, 8, 3, 2).transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(images, np.kron(filters, np.ones((4, 4))))


def test_patchify_decays_filters_and_weights_only():
    model = Patchify(5, CLASSES, rng=0)
    assert [id(p) for p in model.weights()] == [id(p) for p in (model.F, model.W1, model.W2)]


@pytest.mark.parametrize("size", [0, 3, 33, 64])
def test_a_filter_size_that_does_not_divide_32_raises(size):
    with pytest.raises(
        ValueError, match=f"Patchify: the filter size must divide 32, the width of an image; got {size}"
    ):
        Patchify(5, CLASSES, filter_size=size)


@pytest.mark.parametrize("shape", [(2, 3071), (3072,), (2, 3, 1024)])
def test_patches_of_other_arrays_raise(shape):
    with pytest.raises(ValueError, match=r"patches_of: images must have the shape \(N, 3072\); got"):
        patches_of(np.zeros(shape), 4)


# -- label smoothing ---------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.01, 0.66))
def test_smoothing_is_the_cross_entropy_with_the_courses_targets(seed, smoothing):
    X, labels = some_images(seed)
    model = some_model(KINDS["softmax"], seed)
    model.loss_smoothing = smoothing
    scores = model(X).data
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    targets = np.where(np.arange(CLASSES) == labels[:, np.newaxis], 1 - smoothing, smoothing / (CLASSES - 1))
    assert model.loss(X, labels).item() == pytest.approx(-(targets * log_p).sum() / len(labels))


def test_smoothing_0_is_the_cross_entropy():
    X, labels = some_images(0)
    model = some_model(KINDS["softmax"], 0)
    plain = model.loss(X, labels).item()
    model.loss_smoothing = 0.0
    assert model.loss(X, labels).item() == plain


def test_a_smoothed_loss_stays_float32():
    X, labels = some_images(0)
    model = SoftmaxRegression(FEATURES, CLASSES, rng=0, dtype=np.float32)
    model.loss_smoothing = 0.1
    assert model.loss(X.astype(np.float32), labels).dtype == np.float32


@pytest.mark.parametrize("smoothing", [-0.1, 0.7])
def test_smoothing_beyond_equal_targets_raises(smoothing):
    X, labels = some_images(0)
    model = some_model(KINDS["softmax"], 0)
    model.loss_smoothing = smoothing
    with pytest.raises(
        ValueError, match=f"loss_smoothing must be from 0 to 0.667, with which all 3 .*; got {smoothing}"
    ):
        model.loss(X, labels)
