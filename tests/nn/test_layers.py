"""Layers: names, state, modes, derivatives."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar import Tensor, nn, relu
from tinygrad_cifar.engine.gradcheck import check_gradients
from tinygrad_cifar.nn.initialisers import Normal

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Nested(nn.Module):
    """A module with parameters, a constant, modules, lists and tuples of both, and other attributes."""

    def __init__(self, seed: int = 0) -> None:
        rng = generator(seed)
        self.scale = Tensor(rng.normal(), requires_grad=True)
        self.offset = Tensor(rng.normal(size=4))
        self.first = nn.Linear(4, 3, rng=rng)
        self.blocks = [nn.Linear(3, 3, rng=rng), nn.Sequential(nn.ReLU(), nn.Linear(3, 2, rng=rng))]
        self.pair = (Tensor(np.ones(2), requires_grad=True), "no tensor")
        self.dropout = nn.Dropout(0.5, rng=rng)
        self.name = "nested"

    def forward(self, x):
        x = self.first(x * self.scale + self.offset)
        for block in self.blocks:
            x = self.dropout(block(x))
        return x * self.pair[0]


NAMES = [
    "scale",
    "offset",
    "first.W",
    "first.b",
    "blocks.0.W",
    "blocks.0.b",
    "blocks.1.layers.1.W",
    "blocks.1.layers.1.b",
    "pair.0",
]


# -- names -----------------------------------------------------------------------------------------------------------


def test_tensors_are_named_by_their_path():
    assert [name for name, _ in Nested().named_tensors()] == NAMES


def test_parameters_are_the_tensors_that_require_a_gradient():
    assert [name for name, _ in Nested().named_parameters()] == [name for name in NAMES if name != "offset"]


def test_weights_are_the_weights_of_layers_and_matrices():
    model = Nested()
    names = {id(p): name for name, p in model.named_parameters()}
    assert [names[id(w)] for w in model.weights()] == ["first.W", "blocks.0.W", "blocks.1.layers.1.W"]


def test_modules_yields_all_nested_modules():
    kinds = [type(module).__name__ for module in Nested().modules()]
    assert kinds == ["Nested", "Linear", "Linear", "Sequential", "ReLU", "Linear", "Dropout"]


def test_tensors_are_found_in_mappings_and_lists_of_lists():
    class Deep(nn.Module):
        def __init__(self) -> None:
            left, right = nn.Linear(2, 1, rng=generator()), [[Tensor(1.0, requires_grad=True)]]
            self.heads = {"left": left, "right": right, 3: (nn.ReLU(), {"scale": Tensor(2.0)})}

    assert [name for name, _ in Deep().named_tensors()] == [
        "heads.left.W",
        "heads.left.b",
        "heads.right.0.0",
        "heads.3.1.scale",
    ]


def shared() -> nn.Sequential:
    layer = nn.Linear(3, 3, rng=generator())
    return nn.Sequential(layer, nn.ReLU(), layer)


@pytest.mark.parametrize(("listed", "count"), [("parameters", 2), ("weights", 1)])
def test_a_shared_layer_is_listed_once(listed, count):
    assert len(getattr(shared(), listed)()) == count


def test_the_summary_leaves_an_assigned_forward_as_it_is():
    layer = nn.ReLU()
    layer.forward = lambda x: x
    nn.Sequential(layer).summary((3,))
    assert layer(Tensor([-1.0])).data.tolist() == [-1.0]


def test_a_shared_layer_counts_once_in_the_summary():
    assert shared().summary().endswith(" 12")


def test_a_shared_layer_can_be_restored():
    model = shared()
    state = model.state_dict()
    model.layers[0].W.data = np.zeros((3, 3))
    model.load_state_dict(state)
    assert (model.layers[2].W.data == state["layers.0.W"]).all()


def test_generators_are_listed_once_each():
    rng, other = generator(), generator(1)
    model = nn.Sequential(nn.Dropout(0.5, rng=rng), nn.Sequential(nn.Dropout(0.1, rng=rng), nn.Dropout(0.2, rng=other)))
    assert [g is wanted for g, wanted in zip(model.generators(), (rng, other), strict=True)] == [True, True]


# -- state -----------------------------------------------------------------------------------------------------------


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


@given(seeds)
def test_loading_a_state_makes_two_modules_equal(seed):
    one, other = Nested(seed), Nested(seed + 1)
    other.load_state_dict(one.state_dict())
    assert bits(other) == bits(one)


def test_state_dict_contains_the_names_of_all_tensors():
    assert list(Nested().state_dict()) == NAMES


def test_state_dict_does_not_alias_the_module():
    model = Nested()
    state = model.state_dict()
    before = copy.deepcopy(state)
    model.first.W.overwrite(lambda array: array.fill(7))
    assert all((state[name] == before[name]).all() for name in before)


def test_a_module_does_not_alias_a_loaded_state():
    model, state = Nested(), Nested(1).state_dict()
    model.load_state_dict(state)
    before = bits(model)
    for array in state.values():
        array[...] = 7
    assert bits(model) == before


def test_loading_does_not_change_the_dtype_of_the_module():
    model = nn.Linear(2, 2, rng=generator(), dtype=np.float32)
    model.load_state_dict(nn.Linear(2, 2, rng=generator(1)).state_dict())
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_loading_does_not_replace_the_tensors():
    model = Nested()
    before = model.parameters()
    model.load_state_dict(Nested(1).state_dict())
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))


def _without(state):
    del state["first.b"]
    return state


UNFIT = [
    (_without, "it lacks first.b"),
    (lambda state: state | {"second.W": np.ones(3)}, "it has second.W"),
    (lambda state: _without(state) | {"second.W": np.ones(3)}, "lacks first.b and has second.W"),
    (lambda state: state | {"first.W": np.ones((3, 4))}, r"first.W must .* \(4, 3\); got float64 with shape \(3, 4\)"),
    (lambda state: state | {"pair.0": np.ones((2, 1))}, r"pair.0 must .* \(2,\); got float64 with shape \(2, 1\)"),
    (lambda state: state | {"pair.0": np.array(["a", "b"])}, "pair.0"),
    (lambda state: state | {"pair.0": np.array([1j, 2j])}, "pair.0"),
]


@pytest.mark.parametrize(("spoil", "sentence"), UNFIT)
def test_a_state_that_does_not_match_raises(spoil, sentence):
    with pytest.raises(ValueError, match=f"the state does not match this Nested: .*{sentence}"):
        Nested().load_state_dict(spoil(Nested(1).state_dict()))


@pytest.mark.parametrize(("spoil", "sentence"), UNFIT)
def test_a_rejected_state_changes_nothing(spoil, sentence):
    model = Nested()
    before = bits(model)
    with pytest.raises(ValueError, match=sentence):
        model.load_state_dict(spoil(Nested(1).state_dict()))
    assert bits(model) == before


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
@given(seeds)
def test_a_copied_module_computes_identical_results(duplicate, seed):
    model = Nested(seed)
    x = generator(seed).normal(size=(3, 4))
    assert duplicate(model)(x).data.tobytes() == model(x).data.tobytes()


def test_a_copied_module_does_not_share_parameters():
    model = Nested()
    before = bits(model)
    for p in copy.deepcopy(model).parameters():
        p.overwrite(lambda array: array.fill(7))
    assert bits(model) == before


def test_zero_grad_clears_the_gradients_of_all_parameters():
    model = Nested()
    model(np.ones((1, 4))).sum().backward()
    model.zero_grad()
    assert {id(p.grad) for p in model.parameters()} == {id(None)}


def test_zero_grad_leaves_parameters_that_are_results_of_operations():
    layer = nn.Linear(2, 1, rng=0)
    given = layer.with_parameters({"W": 2 * layer.W})
    given(np.ones((1, 2))).sum().backward()
    given.zero_grad()
    assert given.b.grad is None


# -- modes -----------------------------------------------------------------------------------------------------------


def test_modules_are_initially_in_training_mode():
    assert {module.training for module in Nested().modules()} == {True}


@pytest.mark.parametrize(("switch", "mode"), [("eval", False), ("train", True)])
def test_setting_the_mode_affects_all_nested_modules(switch, mode):
    model = Nested().train(not mode)
    assert getattr(model, switch)() is model
    assert {module.training for module in model.modules()} == {mode}


def test_dropout_is_the_identity_in_evaluation_mode():
    x = Tensor(np.ones(10))
    assert nn.Dropout(0.5, rng=generator()).eval()(x) is x


def test_dropout_does_not_use_its_generator_in_evaluation_mode():
    rng = generator()
    before = rng.bit_generator.state
    nn.Dropout(0.5, rng=rng).eval()(Tensor(np.ones(10)))
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rejects_a_rate_outside_0_to_1(rate):
    with pytest.raises(ValueError, match=rf"Dropout: rate must be in \[0, 1\); got {rate}"):
        nn.Dropout(rate, rng=generator())


def test_inference_mode_disables_dropout_and_recording():
    model, x = nn.Sequential(nn.Linear(3, 2, rng=generator()), nn.Dropout(0.5, rng=generator())), np.ones((4, 3))
    with model.inference_mode():
        y = model(x)
    assert not y.requires_grad
    assert (y.data == model.layers[0](x).data).all()


def failing() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("inside", [lambda: None, failing], ids=["ends well", "ends badly"])
def test_inference_mode_restores_the_mode_of_every_module(inside):
    model = Nested()
    model.dropout.eval()
    with suppress(KeyboardInterrupt), model.inference_mode():
        inside()
    assert [type(m).__name__ for m in model.modules() if not m.training] == ["Dropout"]


# -- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 2)])
def test_linear_rejects_sizes_below_one(sizes):
    with pytest.raises(ValueError, match=f"at least 1; got {min(sizes)}$"):
        nn.Linear(*sizes, rng=generator())


@st.composite
def layers(draw):
    """Draw a linear layer with nonzero biases, and a matching input."""
    batch, features, outputs = draw(sizes), draw(sizes), draw(sizes)
    rng = generator(draw(seeds))
    layer = nn.Linear(features, outputs, rng=rng, init=Normal(1.0))
    layer.b.data = rng.normal(size=outputs)
    return layer, rng.normal(size=(batch, features))


@given(layers())
def test_linear_is_a_matrix_product_plus_a_bias(case):
    layer, x = case
    expected = [[sum(row * column) for column in layer.W.data.T] + layer.b.data for row in x]
    np.testing.assert_allclose(layer(x).data, np.reshape(expected, (len(x), -1)), rtol=1e-12, atol=1e-12)


@given(layers())
def test_linear_derivatives_match_differences(case):
    layer, x = case

    def f(x, W, b):
        layer.W, layer.b = W, b
        return layer(x)

    check_gradients(f, x, layer.W.data, layer.b.data, second_order=True)


def test_linear_has_sampled_weights_and_zero_biases_initially():
    layer = nn.Linear(3, 2, rng=generator(), init=Normal(0.5))
    np.testing.assert_array_equal(layer.W.data, Normal(0.5)(generator(), 3, 2))
    assert layer.b.data.tolist() == [0, 0]


def test_linear_with_an_input_of_another_width_raises_with_its_shape():
    with pytest.raises(ValueError, match=r"Linear: the input must have 3 features.*\(5, 4\)"):
        nn.Linear(3, 2, rng=generator())(np.ones((5, 4)))


@given(seeds, st.booleans())
def test_normalize_subtracts_and_divides(seed, divides):
    x, mean = generator(seed).normal(size=(2, 5, 3))
    std = generator(seed).uniform(0.5, 2, 3) if divides else None
    expected = (x - mean[0]) / (1 if std is None else std)
    np.testing.assert_allclose(nn.Normalize(mean[0], std)(x).data, expected, rtol=1e-12)


@given(seeds, st.booleans())
def test_normalize_derivatives_match_differences(seed, divides):
    x, mean = generator(seed).normal(size=(2, 4, 3))
    std = generator(seed).uniform(0.5, 2, 3) if divides else None
    layer = nn.Normalize(mean[0], std)
    check_gradients(lambda x: layer(x * x), x, second_order=True)


def test_normalize_has_no_parameters():
    assert nn.Normalize([1.0], [2.0]).parameters() == []


def test_normalize_constants_are_part_of_the_state():
    assert nn.Normalize([1.0], [2.0]).state_dict() == {"mean": [1.0], "std": [2.0]}


def test_normalize_without_std_rejects_a_state_with_std():
    with pytest.raises(ValueError, match="it has std"):
        nn.Normalize([1.0]).load_state_dict(nn.Normalize([1.0], [2.0]).state_dict())


def test_normalize_rejects_a_zero_std():
    with pytest.raises(ValueError, match="Normalize: std must not contain 0"):
        nn.Normalize([0.0, 0.0], [1.0, 0.0])


def test_normalize_without_std_does_not_promote_float32():
    layer = nn.Normalize([1.0], dtype=np.float32)
    assert layer(Tensor([[1.0]], dtype=np.float32)).dtype == np.float32


@given(seeds, st.sampled_from([0.0, 0.3, 0.9]))
def test_dropout_derivatives_match_differences(seed, rate):
    def f(x):
        return nn.Dropout(rate, rng=generator(seed))(x * x)

    check_gradients(f, generator(seed).normal(size=(3, 4)), second_order=True)


@given(seeds)
def test_sequential_applies_its_layers_in_order(seed):
    rng = generator(seed)
    one, two = nn.Linear(4, 3, rng=rng), nn.Linear(3, 2, rng=rng)
    x = rng.normal(size=(5, 4))
    assert (nn.Sequential(one, nn.ReLU(), two)(x).data == two(relu(one(x))).data).all()


def test_empty_sequential_is_the_identity():
    x = Tensor([1.0])
    assert nn.Sequential()(x) is x


@given(seeds)
def test_float32_layers_compute_in_float32(seed):
    rng = generator(seed)
    model = nn.Sequential(
        nn.Normalize(np.zeros(4), np.ones(4), dtype=np.float32),
        nn.Linear(4, 3, rng=rng, dtype=np.float32),
        nn.ReLU(),
        nn.Dropout(0.5, rng=rng),
    )
    assert model(Tensor(np.ones((2, 4)), dtype=np.float32)).dtype == np.float32


# -- attributes other than parameters --------------------------------------------------------------------------------


class Watched(nn.Module):
    """A module that stores a result, with a nested module that refers to its parent."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2, rng=np.random.default_rng(0))
        self.layer.owner = self

    def forward(self, x):
        self.seen = self.layer(x)
        return self.seen


def test_a_stored_result_is_not_a_parameter():
    module = Watched()
    before = list(module.state_dict())
    module(np.ones((3, 2)))
    assert (
        [name for name, _ in module.named_parameters()] == list(module.state_dict()) == before == ["layer.W", "layer.b"]
    )
    assert [W.shape for W in module.weights()] == [(2, 2)]
    module.zero_grad()


def test_a_nested_module_may_refer_to_its_parent():
    module = Watched()
    assert list(module.modules()) == [module, module.layer]
    assert list(module.layer.modules()) == [module.layer, module]


# -- summary and messages --------------------------------------------------------------------------------------------


def test_the_summary_lists_parameters_with_their_shapes_and_sizes():
    assert Nested().summary().splitlines() == [
        "Nested",
        "  scale                scalar   1",
        "  first.W               4 x 3  12",
        "  first.b                   3   3",
        "  blocks.0.W            3 x 3   9",
        "  blocks.0.b                3   3",
        "  blocks.1.layers.1.W   3 x 2   6",
        "  blocks.1.layers.1.b       2   2",
        "  pair.0                    2   2",
        "  total                        38",
    ]


def test_the_summary_of_a_network_counts_multiplications():
    shared = nn.Linear(6, 6, rng=0)
    model = nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=2, groups=2, rng=0),  # 4 x 3 x 6 results of 3 * 2 * 2 products each
        nn.ReLU(),
        shared,  # 4 x 3 vectors, twice
        shared,
        nn.Flatten(),
        nn.Linear(72, 1000, bias=False, rng=0),
    )
    assert model.summary((9, 6, 4)).splitlines() == [
        "Sequential",
        "  name      layer                                     result     parameters  multiplications",
        "  layers.0  Conv2d(4, 6, (3, 2), stride=2, groups=2)  4 x 3 x 6          78              864",
        "  layers.1  ReLU()                                    4 x 3 x 6",
        "  layers.2  Linear(6, 6)                              4 x 3 x 6          42              864",
        "  layers.4  Flatten()                                 72",
        "  layers.5  Linear(72, 1000)                          1000           72,000           72,000",
        "  total                                                              72,120           73,728",
    ]


def test_the_summary_calls_a_module_with_an_example_of_the_type():
    model = nn.Sequential(nn.Embedding(26, 4, rng=0), nn.Flatten(), nn.Linear(48, 2, rng=0))
    assert "Linear(48, 2)     2 " in model.summary((12,), dtype=int)


def test_the_summary_shows_all_results_of_a_layer():
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x[:, :2]

    assert "5, 2" in Two().summary((5,))


def test_a_module_takes_the_arguments_of_its_forward():
    class Scaled(nn.Module):
        def forward(self, x: Tensor, *, factor: float) -> Tensor:
            return x * factor

    assert Scaled()(Tensor(2.0), factor=3.0).item() == 6


def test_a_module_without_forward_raises():
    class Unfinished(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Unfinished does not define forward"):
        Unfinished()(1.0)


def test_an_integer_is_the_shape_of_a_vector():
    model = nn.Linear(3, 2, rng=0)
    assert model.summary(3) == model.summary((3,))


def test_the_layers_of_a_chain_are_its_elements():
    layers = [nn.ReLU(), nn.Flatten(), np.tanh]
    chain = nn.Sequential(*layers)
    assert len(chain) == 3
    assert [*chain, chain[-1]] == [*layers, np.tanh]


def test_a_linear_layer_without_biases_is_a_matrix_product():
    layer = nn.Linear(3, 2, bias=False, rng=0)
    x = generator().normal(size=(4, 3))
    np.testing.assert_array_equal(layer(x).data, x @ layer.W.data)
    assert [name for name, _ in layer.named_parameters()] == ["W"]


LAYERS_WITH_WEIGHTS = [
    lambda init: nn.Linear(3, 2, init=init),
    lambda init: nn.Embedding(3, 2, init=init),
    lambda init: nn.Conv2d(3, 2, 1, init=init),
]


@pytest.mark.parametrize("make", LAYERS_WITH_WEIGHTS)
def test_weights_of_another_shape_raise(make):
    with pytest.raises(ValueError, match=r"init must return an array of shape .* = \(3, 2\); got \(2, 3\)"):
        make(lambda _, fan_in, fan_out: np.zeros((fan_out, fan_in)))


@pytest.mark.parametrize("make", LAYERS_WITH_WEIGHTS)
@pytest.mark.parametrize(
    ("init", "words"), [(Normal, r"init is a class; construct it: Normal\(\)"), (0.1, "a function of .*; got 0.1")]
)
def test_an_initialiser_that_is_no_function_raises(make, init, words):
    with pytest.raises(TypeError, match=words):
        make(init)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv2d(3, 8, 3, padding="sme"), 'Conv2d: padding must be "same", "valid" or numbers'),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: window must be a positive integer; got 0"),
        (lambda: nn.AvgPool2d(2, stride=-1), "AvgPool2d: stride must be a positive integer; got -1"),
        (lambda: nn.Normalize(np.zeros(3), np.ones(2)), r"shapes that match; got \(3,\) and \(2,\)"),
    ],
)
def test_arguments_that_are_wrong_for_every_input_raise_at_once(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_slice_of_a_chain_is_a_chain():
    chain = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU(), nn.Linear(2, 1, rng=1))
    x = generator().normal(size=(4, 3))
    np.testing.assert_array_equal(chain[:-1](x).data, relu(chain[0](x)).data)


@pytest.mark.parametrize(
    ("shortcut", "words"),
    [(nn.ReLU, r"is a class; construct it: ReLU\(\)"), (3, "must be a module or a function; got int")],
)
def test_a_shortcut_that_is_no_function_raises(shortcut, words):
    with pytest.raises(TypeError, match=f"Residual: shortcut {words}"):
        nn.Residual(nn.ReLU(), shortcut=shortcut)
