"""Layers of images and of normalisation: values, modes, state, and messages for wrong input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor, nn
from tinygrad_cifar.engine.gradcheck import check_gradients, check_model


def images(n: int = 4, side: int = 6, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, side, side, channels))


def small_network() -> nn.Sequential:
    rng = np.random.default_rng(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same", bias=False, rng=rng),
        nn.MaxPool2d(2),
        nn.BatchNorm(4),
        nn.GELU(),
        nn.Residual(nn.Conv2d(4, 4, 3, padding="same", rng=rng), nn.BatchNorm(4), nn.ReLU()),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.LayerNorm(4),
        nn.Linear(4, 5, rng=rng),
    )


def test_all_gradients_of_a_network_agree_with_differences():
    model = small_network()
    check = check_model(model, images(), np.array([0, 3, 1, 4]), loss=tg.functional.cross_entropy)
    assert check.passed, str(check)


def test_the_layer_is_the_operation_plus_a_bias():
    layer = nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2, rng=0)
    layer.b.data = np.arange(6.0)
    x = images(channels=4)
    expected = tg.conv2d(x, layer.W.data, stride=2, padding=1, groups=2) + np.arange(6.0)
    np.testing.assert_array_equal(layer(x).data, expected)


def test_filters_are_weights_and_biases_are_not():
    layer = nn.Conv2d(3, 1, 1, rng=0)
    assert layer.weights() == [layer.W]
    assert nn.BatchNorm(3).weights() == nn.LayerNorm(3).weights() == []


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.Conv2d(3, 2, 1, rng=0), ["W", "b"]),
        (nn.Conv2d(3, 2, 1, bias=False, rng=0), ["W"]),
        (nn.BatchNorm(3), ["scale", "bias"]),
        (nn.LayerNorm(3), ["scale", "bias"]),
    ],
    ids=repr,
)
def test_a_layer_trains_its_parameters(layer, names):
    layer(images()).sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is not None] == names


def test_initial_filters_have_the_variance_of_he():
    layer = nn.Conv2d(64, 128, 3, rng=0)
    assert layer.W.data.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(3, 8, 3, rng=0), "Conv2d(3, 8, 3)"),
        (nn.Conv2d(4, 8, (3, 1), stride=2, groups=2, rng=0), "Conv2d(4, 8, (3, 1), stride=2, groups=2)"),
        (nn.MaxPool2d(3, stride=2, padding=1), "MaxPool2d(3, stride=2, padding=1)"),
        (nn.AvgPool2d((2, 3)), "AvgPool2d((2, 3))"),
        (nn.BatchNorm(7), "BatchNorm(7)"),
        (nn.LayerNorm(7), "LayerNorm(7)"),
    ],
)
def test_repr_shows_the_arguments(layer, text):
    assert repr(layer) == text


# -- batch normalisation -----------------------------------------------------------------------------------------------


@given(momentum=st.floats(0.01, 1.0), seed=st.integers(0, 1000), batches=st.integers(1, 4))
def test_running_statistics_are_weighted_means_of_the_batches(momentum, seed, batches):
    layer = nn.BatchNorm(3, momentum=momentum)
    mean, var = np.zeros(3), np.ones(3)
    for i in range(batches):
        x = images(seed=seed + i) * (i + 1) + i
        layer(x)
        mean = (1 - momentum) * mean + momentum * x.mean((0, 1, 2))
        var = (1 - momentum) * var + momentum * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-12)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    layer = nn.BatchNorm(3, epsilon=0.25)
    layer(images(seed=1) * 3 + 1)
    layer.scale.data, layer.bias.data = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, -1.0])
    before = layer.state_dict()
    x = images(seed=2)
    expected = (x - before["running_mean"]) / np.sqrt(before["running_var"] + 0.25) * [1.0, 2.0, 3.0] + [0.5, 0.0, -1.0]
    np.testing.assert_allclose(layer.eval()(x).data, expected, rtol=1e-12)
    assert all((layer.state_dict()[name] == array).all() for name, array in before.items())


def test_one_example_is_normalised_in_evaluation_mode_only():
    layer = nn.BatchNorm(3)
    with pytest.raises(ValueError, match="at least two elements per channel, since the variance of one is 0; got 1"):
        layer(np.ones((1, 3)))
    assert layer.eval()(np.ones((1, 3))).shape == (1, 3)


def test_running_statistics_are_state_and_not_parameters(tmp_path):
    model = small_network()
    model(images())
    names = {name for name, _ in model.named_parameters()}
    assert {"layers.2.scale", "layers.2.bias"} <= names
    assert not {name for name in names if "running" in name}
    model.save(tmp_path / "model.npz")
    loaded = small_network().load(tmp_path / "model.npz")
    state, expected = loaded.state_dict(), model.state_dict()
    assert {"layers.2.running_mean", "layers.2.running_var"} <= set(state)
    assert all(state[name].tobytes() == expected[name].tobytes() for name in expected)


def test_a_state_without_running_statistics_is_refused():
    layer = nn.BatchNorm(2)
    state = {name: array for name, array in layer.state_dict().items() if "running" not in name}
    with pytest.raises(ValueError, match="it lacks running_mean, running_var"):
        layer.load_state_dict(state)


def test_a_fixed_scale_and_bias_are_constants():
    layer = nn.BatchNorm(2, scale=False, bias=False)
    assert layer.parameters() == []
    assert set(layer.state_dict()) == {"scale", "bias", "running_mean", "running_var"}


def test_training_does_not_depend_on_the_running_statistics():
    x = images()
    fresh, used = nn.BatchNorm(3), nn.BatchNorm(3)
    used(x * 7 + 1)
    np.testing.assert_array_equal(fresh(x).data, used(x).data)


@pytest.mark.parametrize("given", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("own", [np.float16, np.float32, np.float64])
def test_batch_norm_has_one_type_in_training_and_evaluation(given, own):
    layer = nn.BatchNorm(3, dtype=own)
    x = images().astype(given)
    assert layer(x).dtype == layer.eval()(x).dtype == np.result_type(given, own)


# -- wrong input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tg.conv2d(images(), np.ones((7, 7, 3, 1))), "a window of 7 x 7 does not fit into an image of 6 x 6"),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 4, 1))), "the filters are for 4 channels; the images have 3"),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3, 4)), groups=2), "groups=2 must divide the 3 channels and the 4"),
        (lambda: tg.conv2d(images()[0], np.ones((3, 3, 3, 1))), "x must be images with four axes; its shape is"),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3))), "filters must have the shape"),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3, 1)), stride=0), "stride must be a positive integer; got 0"),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3, 1)), stride=(1, 2, 3)), "stride must be one integer or a pair"),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3, 1)), padding="full"), 'padding must be "same", "valid" or numb'),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3, 1)), padding=-1), 'padding must be "same", "valid", a non-nega'),
        (lambda: tg.conv2d(images(), np.ones((3, 3, 3, 1)), padding=[[1], [1, 2]]), "padding must be"),
        (lambda: tg.max_pool2d(images(), 7), "max_pool2d: a window of 7 x 7 does not fit into an image of 6 x 6"),
        (lambda: tg.max_pool2d(images(), 2, padding=2), "padding must be at most half the window; got 2 for 2"),
        (lambda: tg.avg_pool2d(images(), 2, padding=2), "avg_pool2d: padding must be at most half the window"),
        (lambda: tg.batch_norm(images(), np.ones(2), np.ones(3)), r"scale must have the shape \(3,\); got \(2,\)"),
        (lambda: tg.layer_norm(np.float64(1.0)), "there must be elements along the last axis"),
        (lambda: tg.channels_last(np.ones((3, 3))), "channels_last: x must be images with four axes"),
        (lambda: tg.gelu(np.ones(3), "sigmoid"), 'approximate must be "none" or "tanh"; got \'sigmoid\''),
        (lambda: nn.GELU("fast"), 'approximate must be "none" or "tanh"'),
        (
            lambda: nn.Conv2d(3, 0, 3),
            "Conv2d: filters must be an integer of at least 1; got 0",
        ),
        (lambda: nn.MaxPool2d(2, padding=2), "MaxPool2d: padding must be at most half the window; got 2 for 2"),
        (lambda: nn.ReLU().summary((-1, 3)), "summary: a size of input_shape must be an integer of at least 0; got -1"),
        (lambda: nn.ReLU().summary((5.0, 3)), "summary: a size of input_shape must be an integer of at least 0; got 5"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: groups=2 must divide the 3 channels and the 4 filters"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "Conv2d: stride must be a positive integer; got 0"),
        (lambda: nn.Conv2d(3, 4, 3, dilation=(1, -1)), "Conv2d: dilation must be"),
        (lambda: nn.BatchNorm(0), "BatchNorm: channels must be an integer of at least 1; got"),
        (lambda: nn.BatchNorm(3, momentum=0.0), r"momentum in \(0, 1\]"),
        (lambda: nn.BatchNorm(3, epsilon=np.inf), "BatchNorm: epsilon must be"),
        (lambda: nn.LayerNorm(0), "LayerNorm: features must be an integer of at least 1; got 0"),
        (lambda: nn.LayerNorm(3, epsilon=np.inf), "LayerNorm: epsilon must be at least 0; got inf"),
        (lambda: nn.Flatten()(np.float64(1.0)), "Flatten: the input must have at least one axis, that of the batch"),
        (lambda: nn.BatchNorm(4)(images()), "BatchNorm: the input must have 4 channels, along its last axis; got the"),
        (lambda: nn.LayerNorm(4)(images()), "LayerNorm: the input must have 4 features, along its last axis; got the"),
        (
            lambda: nn.Residual(nn.Conv2d(3, 4, 3, padding="same", rng=0))(images()),
            r"Residual: the body returned the shape \(4, 6, 6, 4\), but \(4, 6, 6, 3\) is to be added to it",
        ),
    ],
)
def test_wrong_input_gets_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- compositions ------------------------------------------------------------------------------------------------------

FILTERS = np.random.default_rng(3).normal(size=(3, 2, 2, 2))
COMPOSITIONS = {
    "avg_pool2d": (lambda x: tg.avg_pool2d(x, (2, 3), stride=2, padding=1), (2, 4, 5, 2)),
    "channels_first": (tg.channels_first, (2, 3, 4, 2)),
    "channels_last": (tg.channels_last, (2, 3, 4, 2)),
    "conv2d": (lambda x: tg.conv2d(x, FILTERS, stride=2, padding="same", dilation=(1, 2)), (2, 4, 5, 2)),
    "conv2d with unequal padding": (lambda x: tg.conv2d(x, FILTERS, padding=((2, 0), (0, 1))), (2, 4, 5, 2)),
    "gelu": (tg.gelu, (3, 4)),
    "gelu with tanh": (lambda x: tg.gelu(x, "tanh"), (3, 4)),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_first_and_second_derivatives_agree_with_differences(name):
    operation, shape = COMPOSITIONS[name]
    x = np.random.default_rng(0).normal(size=shape)
    check_gradients(operation, x, second_order=True, rng=np.random.default_rng(1))


def test_a_mean_counts_the_zeros_of_the_padding():
    out = tg.avg_pool2d(np.full((1, 2, 2, 1), 8.0), 2, padding=1)
    assert out[0, :, :, 0].tolist() == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize(("sign", "slope"), [(1, 1.0), (-1, 0.0)])
def test_gelu_does_not_overflow(approximate, dtype, sign, slope):
    x = tg.Tensor(sign * np.finfo(dtype).max, requires_grad=True, dtype=dtype)
    with np.errstate(over="ignore"):  # squares on the way
        out = tg.gelu(x, approximate)
        gradient = tg.grad(out, x, create_graph=True)
        second = tg.grad(gradient, x)
    assert (out.item(), gradient.item(), second.item()) == (x.item() * slope, slope, 0.0)


@given(x=st.floats(-40, 40))
def test_gelu_is_x_times_the_normal_probability(x):
    expected = 0.5 * x * math.erfc(-x / math.sqrt(2))
    # Rounding x / sqrt(2) alone changes exp(-x**2 / 2) by x**2 units of rounding.
    assert tg.gelu(np.float64(x)) == pytest.approx(expected, rel=1e-14 * (1 + x * x / 10), abs=1e-300)
    assert tg.gelu(np.float64(x), "tanh") == pytest.approx(expected, abs=5e-4)


@given(x=st.floats(-26, 26))
def test_the_error_functions_are_those_of_the_standard_library(x):
    assert tg.erf(np.float64(x)) == pytest.approx(math.erf(x), rel=1e-15, abs=0)
    assert tg.erfc(np.float64(x)) == pytest.approx(math.erfc(x), rel=1e-14, abs=0)


def test_the_error_functions_at_infinity_and_nan():
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0])
    np.testing.assert_array_equal(tg.erf(x), [-1.0, 1.0, np.nan, 0.0, -0.0])
    np.testing.assert_array_equal(tg.erfc(x), [2.0, 0.0, np.nan, 1.0, 1.0])


# -- conversion, padding, pooling --------------------------------------------------------------------------------------


def test_channels_first_and_last_are_inverse():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert tg.channels_last(x).shape == (2, 4, 5, 3)
    np.testing.assert_array_equal(tg.channels_first(tg.channels_last(x)), x)


@given(size=st.integers(1, 9), window=st.integers(1, 4), stride=st.integers(1, 4), dilation=st.integers(1, 2))
def test_same_padding_gives_the_size_divided_by_the_stride(size, window, stride, dilation):
    x, filters = np.ones((1, size, 1, 1)), np.ones((window, 1, 1, 1))
    out = tg.conv2d(x, filters, padding="same", stride=(stride, 1), dilation=(dilation, 1))
    assert out.shape[1] == -(-size // stride)


def test_padding_never_wins_a_maximum():
    assert (tg.max_pool2d(np.full((1, 3, 3, 1), -5.0), 3, stride=1, padding=1) == -5).all()


def test_a_nan_is_the_maximum_of_its_window_and_receives_the_cotangent():
    x = Tensor(np.array([[1.0, np.nan], [3.0, 4.0]])[None, :, :, None], requires_grad=True)
    out = tg.max_pool2d(x, 2)
    assert np.isnan(out.data).all()
    out.backward(np.ones(out.shape))
    assert x.grad.data[0, :, :, 0].tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_half_precision_does_not_overflow_inside():
    x = np.full((1, 2, 2, 64), 200.0, np.float16)
    out = tg.conv2d(x, np.full((2, 2, 64, 1), 1.0, np.float16))
    assert out.dtype == np.float16
    assert out.item() == 51_200.0
    assert tg.avg_pool2d(np.full((1, 4, 4, 1), 60_000.0, np.float16), 4).item() == 60_000.0
    assert tg.batch_norm(x[0], np.ones(64, np.float16), np.ones(64, np.float16)).dtype == np.float16


def test_the_options_of_a_convolution_can_be_assigned():
    layer = nn.Conv2d(3, 2, 3, rng=0)
    layer.stride, layer.padding = 2, "same"
    assert layer(images()).shape == tg.conv2d(images(), layer.W.data, stride=2, padding="same").shape


@pytest.mark.parametrize("epsilon", [-1.0, np.nan, np.inf, (3,)], ids=str)
def test_a_wrong_epsilon_is_refused(epsilon):
    x = images()
    for call in (tg.layer_norm, lambda x, **options: tg.batch_norm(x, np.ones(3), np.zeros(3), **options)):
        with pytest.raises(ValueError, match="epsilon must be one number, at least 0 and finite"):
            call(x, epsilon=epsilon)
