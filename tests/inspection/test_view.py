"""The read-only view of a graph: structure, names, values, saved arrays, cotangents, and what is freed."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_cifar as tg
from tests.evidence.specs import SPECS
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, nn
from tinygrad_cifar.engine.graph import ancestors
from tinygrad_cifar.inspection.diagram import format_bytes
from tinygrad_cifar.testing import properties


def two_layers(X, W1, b1, W2):
    H = tg.relu(X @ W1 + b1)
    S = H @ W2
    return (S * S).sum()


def small_network():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(5, 4)), *[variable(rng.normal(size=shape)) for shape in [(4, 3), (3,), (3, 2)]]]


# -- structure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SPECS))
def test_cotangents_of_the_parameters_are_their_gradients(name):
    @settings(max_examples=3)
    @given(case=SPECS[name].cases)
    def holds(case):
        leaves = properties.leaves(case)
        result = properties.bound(SPECS[name], case)(*leaves)
        if result._node is None:
            return
        total = (result * np.arange(1.0, 1 + result.size).reshape(result.shape)).sum()
        view = tg.graph(total, cotangents=True)
        expected = {leaf._node: g for leaf, g in zip(leaves, tg.grad(total, leaves, retain_graph=True), strict=True)}
        found = {node._node(): node.cotangent for node in view.parameters}
        assert found.keys() == expected.keys() & set(ancestors(total._node))
        assert all((found[node] == expected[node].data).all() for node in found)

    holds()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_trace_with_values_shows_every_argument_and_result(name):
    @settings(max_examples=3)
    @given(case=SPECS[name].cases)
    def holds(case):
        leaves = properties.leaves(case)
        with tg.trace_graph(values=True):
            result = properties.bound(SPECS[name], case)(*leaves)
        if result._node is None:
            return
        for node in tg.graph(result).operations:
            assert node.value.shape == node.shape
            shown = {given.name.partition("[")[0] for given in node.inputs} | set(node.options)
            assert shown == set(node.primitive.inputs)

    holds()


def test_inputs_come_before_the_operations_that_use_them():
    view = tg.graph(two_layers(*small_network()))
    assert all(given.node.index < node.index for node in view for given in node.inputs)
    assert [node.index for node in view] == list(range(len(view)))
    assert view.result is view[-1]


def test_constants_are_data_and_the_same_array_is_one_node():
    X, w = Tensor([1.0, 2.0]), variable([3.0, 4.0])
    view = tg.graph((w * X + w / X).sum())
    assert [(node.name, node.kind) for node in view.data] == [("X", "data")]
    assert len(view.consumers(view["X"])) == 2


def test_numbers_and_other_arguments_are_shown():
    w = variable([[3.0, 4.0]])
    with tg.trace_graph():
        y = (2 * w).sum(axis=1)
    view = tg.graph(y)
    assert [node.label for node in view.data] == ["2"]
    assert view.result.options["axis"] == (1,)


def test_inputs_of_a_sequence_are_numbered():
    p, q = variable([1.0]), variable([2.0])
    view = tg.graph(tg.concatenate([p, np.ones(2), q]))
    assert [(given.name, given.node.label) for given in view.result.inputs] == [("xs[0]", "p"), ("xs[2]", "q")]


def test_bytes_count_an_array_that_is_saved_twice_once():
    w = variable(np.ones(10))
    y = w * w
    view = tg.graph(y)
    assert (view.nbytes, view.result.nbytes) == (80, 80)


def test_bytes_of_a_view_are_those_of_the_whole_buffer():
    w = variable(np.ones(10))
    row = w[:2]
    y = row * row
    assert tg.graph(y).result.nbytes == 80


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_are_those_of_variables_and_of_elements_of_containers():
    W, params = [variable([1.0])], {"b": variable([2.0])}
    H = W[0] * params["b"]
    loss = H.sum()
    assert [node.name for node in tg.graph(loss)] == ["W[0]", "params['b']", "H", "loss"]


def test_parameters_of_a_module_have_its_names():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU())
    loss = model(np.ones((1, 3))).sum()
    view = tg.graph(loss)
    assert [node.name for node in view.parameters] == ["model.layers.0.W", "model.layers.0.b"]
    assert view["model.layers.0.W"].modules == ("model", "model.layers.0")


def loss_of_a_hidden_model():
    model = nn.Linear(3, 2, rng=0)
    return model, model(np.ones((1, 3))).sum()


def test_modules_can_be_given():
    (pair,) = [loss_of_a_hidden_model]
    *_, loss = made = pair()
    module = made[0]
    del made
    view = tg.graph(loss, modules={"net": module})
    assert [node.name for node in view.parameters] == ["net.W", "net.b"]


def test_data_that_the_graph_copied_has_the_name_of_the_equal_array():
    X, other, w = np.array([1.0, 2.0]), np.array([3.0, 4.0]), variable([1.0, 1.0])
    assert "X" in tg.graph(w * X)
    assert other is not X


def test_data_that_equals_two_arrays_has_no_name():
    X, same, w = np.array([1.0, 2.0]), np.array([1.0, 2.0]), variable([1.0, 1.0])
    (data,) = tg.graph(w * X).data
    assert (data.name, same.tolist()) == ("", X.tolist())


def test_an_unknown_name_lists_the_names():
    w = variable([1.0])
    loss = w.sum()
    with pytest.raises(KeyError, match="no node has the name v; the names are: w, loss"):
        tg.graph(loss)["v"]


# -- what a trace adds -------------------------------------------------------------------------------------------------


def test_a_trace_names_the_variables_of_functions_that_have_returned():
    with tg.trace_graph():
        loss = two_layers(*small_network())
    assert [node.name for node in tg.graph(loss) if node.name] == ["W1", "b1", "W2", "X", "H", "S", "loss"]


def test_a_trace_shows_the_line_of_each_operation():
    X, *parameters = small_network()
    with tg.trace_graph():
        loss = two_layers(X, *parameters)
    view = tg.graph(loss)
    assert view["S"].location.source == "S = H @ W2"
    assert str(view["S"].location) == f"test_view.py:{two_layers.__code__.co_firstlineno + 2}"


def test_a_trace_names_each_round_of_a_loop():
    H, layer = variable(np.ones((1, 2))), nn.Linear(2, 2, rng=0)
    with tg.trace_graph():
        for _ in range(2):
            H = layer(H)
    view = tg.graph(H)
    assert [node.name for node in view.operations] == ["", "H", "", "H"]


def test_a_trace_names_the_result_that_a_function_returns():
    def double(x):
        y = x + x
        return y * 1.0

    w = variable([1.0])
    with tg.trace_graph():
        z = double(w)
        loss = z.sum()
    del z  # so that graph() cannot find it
    assert [node.name for node in tg.graph(loss)] == ["w", "y", "", "z", "loss"]


def test_a_trace_notes_the_modules_that_are_being_called():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU())
    with tg.trace_graph():
        loss = model(np.ones((1, 3))).sum()
    assert [node.modules for node in tg.graph(loss).operations] == [
        ("model", "model.layers.0"),
        ("model", "model.layers.0"),
        ("model", "model.layers.1"),
        (),
    ]


def test_outside_of_the_block_nothing_is_recorded():
    w = variable([1.0])
    with tg.trace_graph():
        pass
    assert tg.graph(w * w).result.location is None


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_computation():
    X, *parameters = small_network()
    loss = two_layers(X, *parameters)
    view = tg.graph(loss)
    assert (view["X"].value == X).all()
    assert (view["loss"].value == loss.data).all()
    relu = next(node for node in view.operations if node.primitive.name == "relu")
    assert (relu.value == np.maximum(X @ parameters[0].data + parameters[1].data, 0)).all()


def test_values_of_a_parameter_are_those_that_the_graph_saved():
    w = variable([2.0])
    y = w * w
    w.data = [5.0]
    assert tg.graph(y)["w"].value.tolist() == [2.0]


def test_values_that_nothing_holds_are_none():
    w = variable([2.0])
    y = (w + 1) + 1
    assert tg.graph(y).operations[0].value is None


def test_a_trace_can_keep_all_values():
    w = variable([2.0])
    with tg.trace_graph(values=True):
        y = (w + 1) + 1
    assert tg.graph(y).operations[0].value.tolist() == [3.0]


@pytest.mark.parametrize("which", ["value", "cotangent", "grad", "saved"])
def test_arrays_are_read_only(which):
    w = variable([2.0, 3.0])
    y = (w * w).sum()
    y.backward(retain_graph=True)
    view = tg.graph(y, cotangents=True)
    array = view[1].edges[0].saved["y"] if which == "saved" else getattr(view["w"], which)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0


def test_nothing_can_be_assigned():
    w = variable([2.0, 3.0])
    y = w.sum(axis=0)
    view = tg.graph(y)
    for part, name in ((view, "nodes"), (view["w"], "name"), (view.result.edges[0], "source")):
        with pytest.raises(AttributeError, match=f"{name} cannot be assigned: the view of a graph is read-only"):
            setattr(part, name, None)
    with pytest.raises(TypeError):
        view.result.options["axis"] = 1


# -- the memory that a view does not hold ------------------------------------------------------------------------------


def recorded():
    w = variable(np.ones(3))
    h = tg.exp(w)
    return w, h, h.sum()


@pytest.mark.parametrize("trace", [False, True], ids=["", "traced"])
def test_a_view_holds_no_array_of_the_graph(trace):
    def make():
        if not trace:
            return recorded()
        with tg.trace_graph():
            return recorded()

    w, h, loss = make()
    view = tg.graph(loss)
    watched = [weakref.ref(h._array), weakref.ref(h), weakref.ref(loss), weakref.ref(w)]
    del w, h, loss
    gc.collect()
    assert [reference() for reference in watched] == [None] * 4
    assert [node.is_freed for node in view] == [False, True, True]


def test_a_view_does_not_wait_for_the_garbage_collector():
    w, h, loss = recorded()
    gc.disable()
    try:
        view = tg.graph(loss)
        array = weakref.ref(h._array)
        del w, h, loss
        assert array() is None
        assert len(view) == 3
    finally:
        gc.enable()


def test_a_backward_pass_frees_what_a_view_shows():
    X, W1, b1, W2 = small_network()
    loss = two_layers(X, W1, b1, W2)
    view = tg.graph(loss)
    before = [repr(node) for node in view]
    assert view.nbytes > 0
    loss.backward()
    assert view.nbytes == 0
    assert all(node.is_freed for node in view.operations)
    assert [repr(node) for node in view] == before
    assert (view["W1"].grad == W1.grad.data).all()


def test_the_table_explains_what_is_freed():
    w, h, loss = recorded()
    view = tg.graph(loss)
    assert "freed" not in str(view)
    del w, h, loss
    assert str(view).endswith("freed: by a backward pass, or since the result is not in a variable any more")


def test_a_view_made_after_a_backward_pass_contains_what_remains():
    p = variable([1.0])
    shared = p * p
    first, second = shared.exp(), shared.sin()
    first.backward()
    view = tg.graph(second)
    assert [(node.label, node.is_freed) for node in view] == [("shared", True), ("second", False)]


def test_a_variable_that_holds_locals_is_not_emptied():
    w = variable([1.0])
    names = locals()
    tg.graph(w * w)
    assert names["w"] is w


# -- other VJPs --------------------------------------------------------------------------------------------------------


def test_an_edge_can_be_replaced():
    W, X = variable([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    S = W @ X
    loss = (S * S).sum()
    view = tg.graph(loss)
    (edge,) = view["S"].edges
    right = view.cotangents()[view["W"]]
    assert (view.cotangents(override={edge: lambda g, edge: edge.vjp(g) / 2})[view["W"]] == right / 2).all()
    assert (view.cotangents(override={edge: lambda g, edge: edge.vjp(g, y=np.ones((2, 1)))})[view["W"]] == 22).all()
    assert (view.cotangents()[view["W"]] == right).all()


def test_replacing_an_edge_changes_no_gradient_and_frees_nothing():
    w = variable([2.0])
    loss = (w * w).sum()
    view = tg.graph(loss)
    view.cotangents(override={edge: lambda g, edge: 0 * edge.vjp(g) for edge in view[1].edges})
    assert w.grad is None
    loss.backward()
    assert w.grad.data.tolist() == [4.0]


def test_an_edge_of_another_graph_is_refused():
    w = variable([2.0])
    first, second = w * w, w * w
    (edge, _) = tg.graph(first).result.edges
    with pytest.raises(ValueError, match="override must consist of edges of this graph"):
        tg.graph(second).cotangents(override={edge: lambda g, _: g})


def test_a_vjp_says_which_arguments_it_has():
    w = variable([2.0])
    y = w * w
    with pytest.raises(TypeError, match="z is not an argument of the VJP for x; the arguments are: y"):
        tg.graph(y).result.edges[0].vjp([1.0], z=1)


def test_cotangents_of_a_freed_graph_are_refused():
    w = variable([2.0])
    loss = w.sum()
    view = tg.graph(loss)
    loss.backward()
    with pytest.raises(RuntimeError, match="the graph has been freed"):
        view.cotangents()
    with pytest.raises(RuntimeError, match="arrays saved for x have been freed"):
        view.result.edges[0].vjp(1.0)


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_only_a_tensor_has_a_graph():
    with pytest.raises(TypeError, match="graph: result must be a tensor; got ndarray"):
        tg.graph(np.ones(2))


def test_a_constant_has_no_graph():
    with pytest.raises(ValueError, match="nothing was recorded of this one"):
        tg.graph(Tensor([1.0]))


def test_modules_must_be_modules():
    w = variable([2.0])
    with pytest.raises(TypeError, match="modules must be a module, or a dictionary of modules by name"):
        tg.graph(w * w, modules=[w])


def test_a_penalty_belongs_to_no_module():
    model = nn.Sequential(nn.Linear(3, 2, rng=0))
    loss = (model(np.ones((4, 3))) ** 2).sum() + (model.layers[0].W ** 2).sum()
    powers = [node for node in tg.graph(loss, modules=model).operations if node.primitive.name == "power"]
    assert [node.modules for node in powers] == [(), ()]


def test_different_arrays_of_one_variable_are_different_nodes():
    W, total = variable([1.0, 1.0]), 0
    shared = np.array([5.0, 6.0])
    with tg.trace_graph(values=True):
        for x in (np.array([1.0, 2.0]), np.array([3.0, 4.0])):
            total = total + W * x + W * shared
    found = [node.value.tolist() for node in tg.graph(total).data if node.shape]
    assert sorted(found) == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def test_a_number_that_two_variables_hold_has_no_name():
    lam = eta = 0.01
    rate = 0.5
    x = variable([1.0])
    with tg.trace_graph():
        y = eta * x
        z = rate * y + lam
    names = {node.name for node in tg.graph(z).data}
    assert "rate" in names
    assert not names & {"lam", "eta"}


def test_the_module_that_is_the_whole_graph_is_not_listed():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU())
    view = tg.graph(model(np.ones((1, 3))).sum(), modules=model)
    with pytest.raises(ValueError, match=r"the modules are: layers\.0"):
        view.to_svg(fold="nope")


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 bytes"), (1000, "1 kB"), (999_400, "999 kB"), (999_696, "1 MB"), (1.5e9, "1.5 GB")],
)
def test_sizes_have_three_digits_and_no_exponent(count, text):
    assert format_bytes(count) == text
