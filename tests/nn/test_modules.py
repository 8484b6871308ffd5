"""Modules of users: what belongs to their state, what decays, calls with given parameters, files and text."""

from __future__ import annotations

import copy
import pickle
import sys
from collections import deque
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar import Tensor, grad, nn, no_grad, relu
from tinygrad_cifar import functional as F
from tinygrad_cifar.course.models import Perceptron, SoftmaxRegression, TwoLayer
from tinygrad_cifar.engine.gradcheck import check_gradients
from tinygrad_cifar.nn.optim import SGD, Adam
from tinygrad_cifar.nn.weights import is_weight
from tinygrad_cifar.system.checkpoints import CheckpointError, save_checkpoint

X = np.random.default_rng(0).normal(size=(5, 4))
LABELS = np.array([0, 1, 2, 1, 0])


# -- results that a module keeps -------------------------------------------------------------------------------------


class Keeping(nn.Module):
    """A module that stores results in attributes and in a list, and a mean that its constructor defines."""

    def __init__(self) -> None:
        self.layer = nn.Linear(4, 3, rng=0)
        self.mean = Tensor(np.zeros(3))
        self.results: list[Tensor] = []

    def forward(self, x):
        self.h = relu(self.layer(x))
        self.results.append(self.h)
        self.mean = Tensor(0.9 * self.mean.data + 0.1 * self.h.data.mean(axis=0))
        return self.h - self.mean


@pytest.mark.parametrize("recording", [True, False])
def test_a_result_that_forward_keeps_is_not_part_of_the_state(recording):
    module = Keeping()
    names = list(module.state_dict())
    if recording:
        module(X)
    else:
        with module.inference_mode():
            module(X)
    assert list(module.state_dict()) == names == ["layer.W", "layer.b", "mean"]


def test_a_constant_of_the_constructor_remains_part_of_the_state_when_it_is_replaced():
    module = Keeping()
    module(X)
    assert module.state_dict()["mean"].any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copied_module_has_the_same_state(duplicate):
    with no_grad():
        module = Keeping()
        module(X)
    assert list(duplicate(module).state_dict()) == list(module.state_dict())


def test_a_parameter_that_is_added_later_and_frozen_remains_part_of_the_state():
    module = nn.Linear(2, 1, rng=0)
    module.extra = Tensor([1.0], requires_grad=True)
    assert len(module.parameters()) == 3
    module.extra.requires_grad = False
    assert list(module.state_dict()) == ["W", "b", "extra"]


# -- parameters that would not be found ------------------------------------------------------------------------------


def parameter(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


class Plain:
    """A layer whose author forgot to derive it from Module."""

    def __init__(self) -> None:
        self.W = parameter(2, 2)

    def __call__(self, x):
        return x @ self.W


def holding(value) -> type[nn.Module]:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.part = value()

    return Model


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: 0.01 * parameter(2), "part is the result of an operation.*self.part = Tensor"),
        (lambda: {"W": [-parameter(2)]}, "part.W.0 is the result of an operation"),
        (lambda: {parameter(2)}, "part is a set with parameters"),
        (lambda: frozenset({nn.ReLU()}), "part is a frozenset"),
        (lambda: deque([nn.Linear(1, 1)]), "part is a deque"),
        (lambda: np.array([nn.Linear(1, 1), None], dtype=object), "part is a ndarray"),
        (Plain, "part is a Plain with the parameter W.*derive it from nn.Module"),
    ],
)
def test_a_parameter_that_would_not_be_found_is_reported_with_its_attribute(value, words):
    with pytest.raises(TypeError, match=f"Model: {words}"):
        holding(value)()


@pytest.mark.parametrize("value", [lambda: {1, "a"}, lambda: np.array([None]), lambda: relu, lambda: nn.Linear, Tensor])
def test_other_attributes_are_allowed(value):
    holding((lambda: Tensor([1.0])) if value is Tensor else value)()


def test_an_object_that_shares_parameters_of_the_module_is_allowed():
    class Model(nn.Module):
        def __init__(self) -> None:
            self.helper = Plain()
            self.W = self.helper.W

    assert len(Model().parameters()) == 1


# -- weights ---------------------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """A module with parameters of all kinds."""

    decays: ClassVar = {"logistic": True, "table": False}

    def __init__(self) -> None:
        self.linear = nn.Linear(1, 3, rng=0)
        self.embedding = nn.Embedding(5, 3, rng=0)
        self.scale = parameter(3, 1, 1)
        self.kernel = parameter(2, 3, 3)
        self.logistic = parameter(4)
        self.table = parameter(4, 4)
        self.own = parameter(1, 4)


def names_of(module: nn.Module, tensors: list[Tensor]) -> list[str]:
    names = {id(p): name for name, p in module.named_parameters()}
    return [names[id(p)] for p in tensors]


def test_the_layer_says_which_parameters_are_weights():
    module = Mixed()
    assert names_of(module, module.weights()) == ["linear.W", "kernel", "logistic", "own"]


@pytest.mark.parametrize("make", [SGD, lambda p, eta, **o: SGD(p, eta, momentum=0.5, **o), Adam])
def test_exactly_the_weights_decay(make):
    module = Mixed()
    before = module.state_dict()
    optimiser = make(module.parameters(), 0.1, weight_decay=0.5)
    for p in module.parameters():
        p.data = p.data + 1  # no initial value is 0
        p.grad = Tensor(np.zeros(p.shape))
    before = module.state_dict()
    optimiser.step()
    changed = [name for name, array in module.state_dict().items() if (array != before[name]).any()]
    assert changed == ["linear.W", "kernel", "logistic", "own"]


def test_a_layer_decays_alike_in_a_copied_model():
    module = copy.deepcopy(Mixed())
    assert names_of(module, module.weights()) == ["linear.W", "kernel", "logistic", "own"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), False),
        ((4,), False),
        ((1, 1), True),
        ((4, 1), True),
        ((4, 1, 1), False),
        ((2, 2, 1), True),
        ((3, 3, 3, 2), True),
    ],
)
def test_without_a_layer_the_shape_decides_what_a_weight_is(shape, expected):
    assert is_weight(Tensor(np.ones(shape), requires_grad=True)) is expected


def test_a_new_tensor_is_not_taken_for_a_freed_one():
    for _ in range(50):
        nn.Embedding(2, 2, rng=0)
        assert is_weight(Tensor(np.ones((2, 2)), requires_grad=True))


def test_a_subclass_may_add_weights_to_a_model():
    class Deeper(TwoLayer):
        def __init__(self) -> None:
            super().__init__(4, 3, 2, rng=0)
            self.W3 = parameter(2, 2)

    assert len(Deeper().weights()) == 3


# -- calls with given parameters -------------------------------------------------------------------------------------


MODELS = [
    lambda: SoftmaxRegression(4, 3, rng=0),
    lambda: TwoLayer(4, 3, 3, rng=0),
    lambda: Perceptron([4, 3, 3], rng=0),
]
models = pytest.mark.parametrize("make", MODELS)


@models
def test_a_module_with_given_parameters_computes_with_them(make):
    model, other = make(), make()
    given = {name: Tensor(np.random.default_rng(1).normal(size=p.shape)) for name, p in model.named_parameters()}
    other.load_state_dict({name: tensor.data for name, tensor in given.items()})
    assert (model.with_parameters(given)(X).data == other(X).data).all()


@models
def test_the_cost_with_given_parameters_includes_the_penalty(make):
    model = make()
    given = {name: p.data for name, p in model.named_parameters()}
    assert model.with_parameters(given).cost(X, LABELS, 0.1).item() == model.cost(X, LABELS, 0.1).item()


@models
def test_gradients_flow_through_given_parameters(make):
    model = make()
    vector = model.ravel()
    check_gradients(lambda w: model.with_parameters(model.unravel(w)).cost(X, LABELS, 0.1), vector)


def test_a_step_of_gradient_descent_can_be_differentiated():
    """The meta-gradient equals that of the same step written out by hand."""
    model = nn.Linear(4, 3, rng=0)
    W, b = model.parameters()

    def loss_of(W, b):
        return F.cross_entropy(Tensor(X) @ W + b, LABELS)

    dW, db = grad(F.cross_entropy(model(X), LABELS), [W, b], create_graph=True)
    after = F.cross_entropy(model.with_parameters({"W": W - 0.5 * dW, "b": b - 0.5 * db})(X), LABELS)
    dW2, db2 = grad(loss_of(W, b), [W, b], create_graph=True)
    by_hand = loss_of(W - 0.5 * dW2, b - 0.5 * db2)
    for g, expected in zip(grad(after, [W, b]), grad(by_hand, [W, b]), strict=True):
        np.testing.assert_allclose(g.data, expected.data, rtol=1e-12)


def test_the_module_itself_does_not_change():
    module = Keeping()
    before = {name: (id(tensor), tensor.numpy().tobytes()) for name, tensor in module.named_tensors()}
    module.with_parameters({"layer.W": np.zeros((4, 3))})(X)
    assert {name: (id(t), t.numpy().tobytes()) for name, t in module.named_tensors()} == before
    assert not hasattr(module, "h")


def test_a_shared_layer_is_replaced_everywhere():
    layer = nn.Linear(3, 3, rng=0)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    zeros = model.with_parameters({"layers.0.W": np.zeros((3, 3)), "layers.0.b": np.ones(3)})
    assert (zeros(np.ones((1, 3))).data == 1).all()


def test_given_parameters_may_be_some_of_them():
    model = nn.Linear(4, 3, rng=0)
    assert model.with_parameters({"b": np.ones(3)}).W is model.W


@pytest.mark.parametrize(
    ("given", "words"),
    [({"w": np.zeros((4, 3))}, "no tensor w; did you mean W?"), ({"W": np.zeros((3, 4))}, r"W must have the shape")],
)
def test_given_parameters_that_do_not_match_are_refused(given, words):
    with pytest.raises(ValueError, match=f"with_parameters: .*{words}"):
        nn.Linear(4, 3, rng=0).with_parameters(given)


@models
def test_unravel_is_the_inverse_of_ravel(make):
    model = make()
    parts = model.unravel(model.ravel())
    assert list(parts) == [name for name, _ in model.named_parameters()]
    assert all((parts[name] == p.data).all() for name, p in model.named_parameters())


class Tied(nn.Module):
    """A module that has one parameter under two names."""

    def __init__(self) -> None:
        self.encoder = nn.Linear(2, 2, rng=0)
        self.decoder = self.encoder


def test_a_vector_is_loaded_into_a_parameter_with_two_names():
    model = Tied()
    wanted = np.arange(6.0)
    model.load_state_dict(model.state_dict() | model.unravel(wanted))
    np.testing.assert_array_equal(model.ravel(), wanted)


def test_different_values_of_one_parameter_are_refused():
    model = Tied()
    before = model.ravel()
    with pytest.raises(ValueError, match=r"load_state_dict: encoder.b and decoder.b are one tensor of this Tied"):
        model.load_state_dict(model.state_dict() | {"encoder.b": np.ones(2)})
    np.testing.assert_array_equal(model.ravel(), before)
    with pytest.raises(ValueError, match=r"with_parameters: encoder.b and decoder.b are one tensor"):
        model.with_parameters({"encoder.b": np.ones(2), "decoder.b": np.zeros(2)})


@pytest.mark.parametrize(
    "tables",
    [
        {"a.b": nn.Linear(2, 2, rng=0), "a": {"b": nn.Linear(2, 2, rng=1)}},
        {1: Tensor([0.0], requires_grad=True), "1": Tensor([1.0], requires_grad=True)},
    ],
    ids=["dot", "number"],
)
def test_two_tensors_with_one_name_are_refused(tables):
    class Holder(nn.Module):
        def __init__(self) -> None:
            self.tables = tables

    with pytest.raises(ValueError, match=r"Holder: two tensors have the name tables\.(a\.b\.W|1), so one would not"):
        Holder()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ravel_and_unravel_keep_the_type(dtype):
    model = nn.Linear(4, 3, rng=0, dtype=dtype)
    assert model.ravel().dtype == dtype
    assert {part.dtype for part in model.unravel(np.zeros(15)).values()} == {np.dtype(dtype)}


def test_a_vector_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"unravel: the vector must have the shape \(15,\).*got \(14,\)"):
        nn.Linear(4, 3, rng=0).unravel(np.zeros(14))


def test_scipy_minimises_the_loss_of_a_model():
    optimize = pytest.importorskip("scipy.optimize")
    model = SoftmaxRegression(4, 3, rng=0)

    def objective(values):
        w = Tensor(values, requires_grad=True)
        cost = model.with_parameters(model.unravel(w)).cost(X, LABELS, 0.1)
        cost.backward()
        return cost.item(), w.grad.data

    found = optimize.minimize(objective, model.ravel(), jac=True)
    assert found.success
    assert np.abs(found.jac).max() < 1e-4


# -- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (5,), (2, 3, 1), ()])
def test_a_linear_layer_says_how_many_features_it_needs(shape):
    with pytest.raises(ValueError, match=r"Linear: the input must have 2 features, along its last axis; got the shape"):
        nn.Linear(2, 3, rng=0)(np.ones(shape))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(3.0, 3), "Linear: features must be an integer of at least 1; got 3.0"),
        (lambda: nn.Linear(3, "3"), "Linear: outputs must be an integer of at least 1; got '3'"),
        (lambda: nn.Linear(0, 3), "Linear: features must be an integer of at least 1; got 0"),
        (lambda: nn.Embedding(3, 2.5), "Embedding: features must be an integer of at least 1; got 2.5"),
        (lambda: nn.Embedding(None, 2), "Embedding: count must be an integer of at least 1; got None"),
    ],
)
def test_the_size_of_a_layer_is_named_if_it_is_not_a_count(make, words):
    with pytest.raises((ValueError, TypeError), match=f"^{words}$"):
        make()


def test_sequential_says_which_layer_has_failed():
    inner = nn.Sequential(nn.ReLU(), nn.Linear(5, 2, rng=0))
    with pytest.raises(
        ValueError, match=r"^layer 2 of Sequential: layer 1 of Sequential: Linear: the input must have 5"
    ):
        nn.Sequential(nn.Linear(2, 3, rng=0), nn.Tanh(), inner)(np.ones((4, 2)))


def test_sequential_does_not_change_errors_of_other_classes():
    class OwnError(ValueError):
        pass

    def fail(_):
        raise OwnError(3)

    with pytest.raises(OwnError, match=r"^3$"):
        nn.Sequential(fail)(np.ones(2))


@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.Tanh(), nn.Flatten()])
def test_layers_without_parameters_are_differentiable(layer):
    check_gradients(layer, X.reshape(5, 2, 2))


def test_the_gradient_of_an_embedding_counts_repeated_symbols():
    layer = nn.Embedding(4, 2, rng=0)
    layer(Tensor([[0, 0], [3, 0]])).sum().backward()
    assert layer.W.grad.data.tolist() == [[3, 3], [0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("index", "words"), [([4], "from 0 to 3; got"), ([-1], "from 0 to 3; got"), ([0.5], "must consist of integers")]
)
def test_an_index_that_an_embedding_does_not_have_is_refused(index, words):
    with pytest.raises((IndexError, TypeError), match=f"Embedding: the index .*{words}"):
        nn.Embedding(4, 2, rng=0)(np.array(index))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([[nn.ReLU()]], r"layer 0 must be a module or a function; got list; .*Sequential\(\*layers\)"),
        ([nn.ReLU(), nn.Tanh], r"layer 1 is a class; construct it: Tanh\(\)"),
    ],
)
def test_sequential_says_which_layer_it_cannot_use(layers, words):
    with pytest.raises(TypeError, match=f"Sequential: {words}"):
        nn.Sequential(*layers)


# -- random generators -----------------------------------------------------------------------------------------------


TAKING_RNG = [
    lambda **rng: nn.Linear(4, 3, **rng).W.data,
    lambda **rng: nn.Embedding(4, 3, **rng).W.data,
    lambda **rng: nn.Dropout(0.5, **rng)(Tensor(np.ones(64))).data,
    lambda **rng: F.dropout(np.ones(64), 0.5, **rng),
    lambda **rng: SoftmaxRegression(4, 3, **rng).W.data,
    lambda **rng: TwoLayer(4, 3, 3, **rng).W2.data,
    lambda **rng: Perceptron([4, 3, 3], **rng).layers[1].W.data,
]
taking_rng = pytest.mark.parametrize("sample", TAKING_RNG)


@taking_rng
def test_an_integer_is_the_seed_of_a_generator(sample):
    assert (sample(rng=3) == sample(rng=np.random.default_rng(3))).all()


@taking_rng
def test_without_a_generator_every_call_differs(sample):
    assert (sample() != sample()).any()


@taking_rng
@pytest.mark.parametrize("rng", ["0", 0.5, -1, True])
def test_other_generators_are_refused(sample, rng):
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, a non-negative integer"):
        sample(rng=rng)


def test_layers_of_one_model_differ_though_its_generator_is_an_integer():
    first, second = Perceptron([4, 4, 4], rng=0).weights()
    assert (first.data != second.data).any()


# -- binary cross-entropy --------------------------------------------------------------------------------------------


scores = st.lists(st.floats(-30, 30), min_size=1, max_size=6)


@given(scores, st.integers(0, 63))
def test_the_binary_cross_entropy_is_the_mean_negative_log_likelihood(values, bits):
    s, t = np.array(values), np.array([bits >> i & 1 for i in range(len(values))])
    right = 1 / (1 + np.exp(np.where(t == 1, -s, s)))
    np.testing.assert_allclose(F.binary_cross_entropy(s, t), -np.log(right).mean(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("magnitude", [40.0, 700.0, 1e5, 1e300])
def test_the_binary_cross_entropy_is_accurate_for_large_scores(magnitude):
    assert F.binary_cross_entropy([magnitude], [0]) == magnitude
    assert F.binary_cross_entropy([magnitude], [1]) == np.exp(-magnitude)


@given(st.integers(0, 2**32 - 1))
def test_the_derivatives_of_the_binary_cross_entropy_are_right(seed):
    s = np.random.default_rng(seed).normal(size=(3, 3))
    check_gradients(lambda s: F.binary_cross_entropy(s, [1, 0, 2]), s)
    check_gradients(lambda s: F.binary_cross_entropy(s, np.array([0.0, 0.3, 1.0])), 0 * s[0])


def test_one_class_per_row_means_yes_for_that_class_and_no_for_the_others():
    s = X[:, :3]
    assert F.binary_cross_entropy(s, LABELS) == F.binary_cross_entropy(s, np.eye(3)[LABELS])


@pytest.mark.parametrize(
    ("s", "t", "words"),
    [
        (np.zeros(3), [0, 1], "must have the shape of scores"),
        (np.zeros(2), [0.0, 1.5], "probabilities from 0 to 1"),
        (np.zeros((2, 3)), [0, 3], "label 3 is out of range"),
        (np.zeros(2), Tensor([0.0, 1.0], requires_grad=True), "must not require a gradient"),
        (np.zeros(0), [], "must not be empty"),
    ],
)
def test_targets_that_are_no_probabilities_are_refused(s, t, words):
    with pytest.raises(ValueError, match=f"binary_cross_entropy: .*{words}"):
        F.binary_cross_entropy(s, t)


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["model.npz", "model.safetensors"])
def path(request, tmp_path):
    if request.param.endswith("safetensors"):
        pytest.importorskip("safetensors")
    return tmp_path / request.param


@models
def test_a_loaded_model_is_bit_for_bit_identical(make, path):
    model = make()
    for p in model.parameters():
        p.data = np.random.default_rng(1).normal(size=p.shape)
    model.save(path)
    loaded = make().load(path)
    assert all((array == loaded.state_dict()[name]).all() for name, array in model.state_dict().items())


@pytest.mark.parametrize(
    "array", [np.float64(3.0), np.ones((0, 2)), np.arange(6.0).reshape(2, 3).T, np.float32([1, 2])]
)
def test_arrays_of_any_shape_and_order_are_saved(array, path):
    module = nn.Module()
    module.p = Tensor(array, requires_grad=True)
    module.save(path)
    other = nn.Module()
    other.p = Tensor(np.zeros_like(array), requires_grad=True)
    loaded = other.load(path).p
    assert (loaded.shape, loaded.dtype) == (np.shape(array), np.asarray(array).dtype)
    assert (loaded.data == array).all()


def test_a_file_of_another_model_is_refused_by_name(path):
    nn.Linear(4, 3, rng=0).save(path)
    model = nn.Linear(4, 2, rng=0)
    before = model.W.numpy()
    with pytest.raises(
        CheckpointError, match=r"model\..* does not match this Linear: W must be real, with shape \(4, 2\)"
    ):
        model.load(path)
    with pytest.raises(CheckpointError, match=r"does not match this Sequential: it lacks layers.0.W, .* and has W, b"):
        nn.Sequential(nn.Linear(4, 3, rng=0)).load(path)
    assert (model.W.data == before).all()


def test_a_damaged_file_is_refused(path):
    nn.Linear(4, 3, rng=0).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="is not a complete"):
        nn.Linear(4, 3, rng=0).load(path)


def test_a_missing_file_is_reported(path):
    with pytest.raises(CheckpointError, match="could not be read: No such file"):
        nn.Linear(4, 3, rng=0).load(path)


def test_another_archive_of_this_library_is_refused(tmp_path):
    save_checkpoint(tmp_path / "run.npz", {"W": np.zeros((4, 3)), "b": np.zeros(3)}, {"epoch": 3})
    with pytest.raises(CheckpointError, match=r"was not written by Module.save"):
        nn.Linear(4, 3, rng=0).load(tmp_path / "run.npz")


def test_the_file_of_a_trained_classifier_is_refused_with_the_function_that_reads_it(tmp_path):
    save_checkpoint(tmp_path / "parameters.npz", {"model/W": np.zeros((4, 3))}, {"settings": {}})
    with pytest.raises(CheckpointError, match=r"use model_files\.load_model"):
        nn.Linear(4, 3, rng=0).load(tmp_path / "parameters.npz")


def test_numpy_opens_a_saved_model(tmp_path):
    nn.Linear(4, 3, rng=0).save(str(tmp_path / "model.npz"))
    assert set(np.load(tmp_path / "model.npz")) >= {"W", "b"}


def test_without_safetensors_its_suffix_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(CheckpointError, match="pip install safetensors"):
        nn.Linear(4, 3, rng=0).save(tmp_path / "model.safetensors")


# -- text ------------------------------------------------------------------------------------------------------------


NESTED = nn.Sequential(nn.Linear(4, 3, rng=0), relu, nn.Sequential(nn.Linear(3, 2, rng=0), nn.Dropout(0.5)))


def test_a_module_is_printed_as_a_table_of_the_modules_inside_it():
    assert str(NESTED).splitlines() == [
        "Sequential: 23 parameters",
        "  layers.0    Linear(4, 3)  W 4 x 3, b 3  15",
        "  layers.2    Sequential",
        "    layers.0  Linear(3, 2)  W 3 x 2, b 2   8",
        "    layers.1  Dropout(0.5)",
    ]


def test_one_parameter_is_in_the_singular():
    module = nn.Module()
    module.p = parameter(1)
    assert str(module) == "Module: 1 parameter (p 1)"


def test_the_repr_of_a_module_names_the_layers_in_one_line():
    assert repr(NESTED) == "Sequential(Linear(4, 3), relu, Sequential(Linear(3, 2), Dropout(0.5)))"


def test_the_repr_of_a_module_with_its_own_tensors_has_their_shapes():
    assert repr(SoftmaxRegression(4, 3, rng=0)) == "SoftmaxRegression(W: 4 x 3, b: 3)"


def test_a_module_that_is_printed_may_refer_to_its_parent_and_repeat_a_layer():
    layer = nn.Linear(2, 2, rng=0)
    model = nn.Sequential(layer, layer)
    layer.owner = model
    assert str(model).count("W 2 x 2") == 1
    assert "the same as above" in str(model)
    assert repr(model)


def test_a_notebook_shows_the_table_of_a_module():
    html = NESTED._repr_html_()
    assert "23 parameters" in html
    assert html.count("<tr>") == 1 + 4


def test_names_in_a_notebook_are_escaped():
    class Own(nn.Module):
        def __init__(self) -> None:
            self.parts = {"<b>": nn.ReLU()}

    assert "<b>Own</b>" in Own()._repr_html_()
    assert "parts.&lt;b&gt;" in Own()._repr_html_()


# -- misspelt arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: Adam(p, lr=0.1), "Adam: unexpected argument lr; did you mean eta?"),
        (lambda p: Adam(p, wieght_decay=0.1), "Adam: unexpected argument wieght_decay; did you mean weight_decay?"),
        (SGD, "SGD: the argument eta is missing"),
        (lambda p: SGD(p, 0.1, 0.9), "SGD: takes 2 positional arguments; got 3: give momentum, .* by name"),
        (lambda _: SGD(NESTED, 0.1), r"got a Sequential: use model.parameters\(\)"),
        (lambda _: nn.Linear(in_features=3, outputs=2), "Linear: unexpected argument in_features; did you mean feat"),
        (lambda _: nn.ReLU(inplace=True), "ReLU: takes no arguments"),
        (lambda _: nn.Linear(3), "Linear: the argument outputs is missing"),
        (lambda _: Mixed(rng=0), "Mixed: unexpected argument rng; it takes none by name"),
    ],
)
def test_wrong_arguments_are_explained(call, words):
    with pytest.raises(TypeError, match=words):
        call([parameter(2)])


def test_an_error_inside_a_constructor_is_not_changed():
    class Faulty(nn.Module):
        def __init__(self) -> None:
            len(3)

    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        Faulty()


# -- parameters are replaced by parameters only ------------------------------------------------------------------------


def _halve(layer):
    layer.W *= 0.5


def _halve_without_recording(layer):
    with no_grad():
        layer.W *= 0.5


def _replace_by_constant(layer):
    layer.W = Tensor(np.ones((2, 2)))


@pytest.mark.parametrize("change", [_halve, _halve_without_recording, _replace_by_constant])
def test_a_parameter_is_not_replaced_by_a_result_or_a_constant(change):
    layer = nn.Linear(2, 2, rng=0)
    before = layer.W
    with pytest.raises(TypeError, match=r"Linear: W is a parameter, and cannot be replaced by a result or a constant"):
        change(layer)
    assert layer.W is before


@pytest.mark.parametrize("value", [np.zeros((2, 2)), [[0.0, 0.0]] * 2, None, 0, np.float64(1), nn.ReLU()], ids=type)
def test_a_parameter_is_not_replaced_by_another_value(value):
    layer = nn.Linear(2, 2, rng=0)
    before = layer.W
    with pytest.raises(TypeError, match=r"Linear: W is a parameter, and cannot be .* of type .*, module.W.data = val"):
        layer.W = value
    assert layer.W is before


@pytest.mark.parametrize("value", [np.zeros(2), [0.0, 0.0], 0.0], ids=type)
def test_a_constructor_does_not_replace_a_parameter_by_numbers(value):
    class Model(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.b = value

    with pytest.raises(TypeError, match="Model: b is a parameter"):
        Model()


def test_a_constructor_may_remove_an_inherited_parameter():
    class Model(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.b = None

    assert list(Model().state_dict()) == ["W"]


def test_a_parameter_may_be_deleted():
    layer = nn.Linear(2, 2, rng=0)
    del layer.b
    assert list(layer.state_dict()) == ["W"]


# -- names of attributes of every module -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["training", "parameters", "summary", "eval", "modules", "save", "decays"])
@pytest.mark.parametrize(
    ("value", "other"),
    [(nn.ReLU(), "layer"), ([nn.ReLU()], "layer"), (parameter(2), "tensor"), ({"a": parameter(2)}, "layer")],
    ids=["module", "list", "parameter", "dict"],
)
def test_a_layer_does_not_take_the_name_of_an_attribute_of_every_module(name, value, other):
    module = nn.ReLU()
    with pytest.raises(TypeError, match=f"ReLU: {name} is an attribute .*; take another name, such as {name}_{other}$"):
        setattr(module, name, value)
    assert name not in vars(module)


def test_a_layer_may_be_the_forward_of_a_module():
    module = nn.Module()
    module.forward = nn.Tanh()
    assert module(Tensor([0.0])).item() == 0


def test_a_module_that_returns_nothing_is_named():
    class Model(nn.Module):
        def forward(self, x):
            x + 1

    with pytest.raises(TypeError, match="forward of Model returned None; it must return a tensor"):
        Model()(Tensor([1.0]))


def test_a_parameter_is_replaced_by_another_parameter():
    layer, new = nn.Linear(2, 2, rng=0), Tensor(np.ones((2, 2)), requires_grad=True)
    layer.W = new
    assert layer.parameters()[0] is new


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_a_copy_has_the_same_weights(duplicate):
    model = nn.Sequential(nn.Embedding(4, 2, rng=0), nn.Linear(2, 3, rng=0))
    tensors = duplicate(model).layers[0].W, duplicate(model).layers[1].W
    assert [is_weight(t) for t in tensors] == [False, True]


def test_values_that_the_data_type_cannot_represent_are_refused():
    layer = nn.Linear(2, 1, rng=0, dtype=np.float32)
    before = layer.state_dict()
    with pytest.raises(ValueError, match="W is float32, which cannot represent 1e\\+300"):
        layer.load_state_dict({"W": np.array([[1.0], [1e300]]), "b": np.zeros(1)})
    assert all(np.array_equal(before[name], array) for name, array in layer.state_dict().items())


def test_a_module_inside_may_remain_in_evaluation_mode():
    class Frozen(nn.BatchNorm):
        def train(self, mode=True):  # noqa: ARG002
            return super().train(False)

    model = nn.Sequential(nn.Residual(Frozen(3)), nn.Dropout(0.5))
    model.train()
    assert [m.training for m in model.modules() if isinstance(m, (Frozen, nn.Dropout))] == [False, True]


def test_the_mode_of_modules_that_contain_each_other_is_set():
    one, other = nn.Module(), nn.Module()
    one.other, other.one = other, one
    one.eval()
    assert (one.training, other.training) == (False, False)
