"""jvp, hvp, jacobian and hessian: compared with differences and with each other; invalid arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor, grad, hessian, hvp, jacobian, jvp, no_grad
from tinygrad_cifar.engine import backprop, derivatives, graph
from tinygrad_cifar.engine.gradcheck import complex_step, numerical_gradient
from tinygrad_cifar.testing.strategies import seeds

# Functions of an array of shape (2, 3), composed of operations, so that the complex step applies.
FUNCTIONS = {
    "elementwise": lambda x: tg.sin(x) * tg.exp(x),
    "a row": lambda x: x[1] ** 2,
    "a softmax": lambda x: tg.softmax(x, 1),
    "a product": lambda x: tg.matmul(x, tg.transpose(x)),
    "a scalar": lambda x: tg.logsumexp(x * x),
    "one element": lambda x: tg.reshape(tg.prod(x), (1, 1)),
    "linear": lambda x: tg.cumsum(x, 1) * 3.0,
    "used twice": lambda x: tg.concatenate([x, tg.tanh(x)], 0),
    "nothing": lambda x: x[:0] * x[:0],
}
SCALAR_FUNCTIONS = {
    "a cubic": lambda x: tg.sum(x * x * x),
    "logsumexp": tg.logsumexp,
    "a network": lambda x: tg.sum(tg.tanh(tg.matmul(x, tg.transpose(x)) * 0.5) ** 2),
    "linear": lambda x: tg.sum(x * 2.0),
    "one element": lambda x: tg.reshape(tg.norm(x), (1,)),
}


def point(seed, shape=(2, 3)):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1.5, shape), rng.uniform(-2, 2, shape)


def to_array(out):
    return np.array(out.data if isinstance(out, Tensor) else out)


# -- numerical derivatives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
@given(seed=seeds)
def test_jvp_equals_the_complex_step_along_the_tangent(f, seed):
    x, v = point(seed)
    out, tangent = jvp(f, [x], [v])
    np.testing.assert_array_equal(out.data, f(x))
    np.testing.assert_allclose(tangent.data, f(x + 1e-30j * v).imag / 1e-30, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
@given(seed=seeds)
def test_rows_of_the_jacobian_equal_numerical_gradients(f, seed):
    x, _ = point(seed)
    J = jacobian(f, x)
    out = to_array(f(x))
    assert J.shape == (*out.shape, *x.shape)
    for at in np.ndindex(out.shape):
        unit = np.zeros(out.shape)
        unit[at] = 1
        np.testing.assert_allclose(J.data[at], numerical_gradient(f, x, cotangent=unit), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(J.data[at], complex_step(f, x, cotangent=unit), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
@given(seed=seeds)
def test_the_jacobian_by_columns_is_that_by_rows(f, seed):
    x, _ = point(seed)
    by_columns = jacobian(f, x, by="columns")
    np.testing.assert_allclose(by_columns.data, jacobian(f, x).data, rtol=1e-12, atol=1e-13)


# Functions of a batch of two examples.
BATCHED = {
    "elementwise": lambda x: tg.sin(x) * tg.exp(x),
    "a scalar of each": lambda x: tg.logsumexp(x, 1),
    "more elements": lambda x: tg.concatenate([x, x * x], 1),
    "a matrix of each": lambda x: tg.expand_dims(x, 1) * tg.expand_dims(x, 2) * np.array([1.0, 3.0])[:, None, None],
    "a constant": lambda _: tg.Tensor(np.ones((2, 2))),
    "linear": lambda x: x[:, ::-1] * 3.0,
    "no element of each": lambda x: x[:, :0],
}


@pytest.mark.parametrize("by", ["rows", "columns"])
@pytest.mark.parametrize("f", BATCHED.values(), ids=BATCHED)
@given(seed=seeds)
def test_batched_jacobian_is_the_diagonal_of_the_jacobian(f, by, seed):
    x, _ = point(seed)
    full = jacobian(f, x).data
    J = jacobian(f, x, by=by, batched=True)
    assert J.shape == (*f(x).shape, 3)
    for i in range(2):
        np.testing.assert_allclose(J.data[i], full[i, ..., i, :], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("by", ["rows", "columns"])
@pytest.mark.parametrize(
    "f", [lambda x: x - tg.mean(x, 0), lambda x: x * x[::-1], lambda x: x @ x.T, lambda x: x[::-1]]
)
def test_batched_jacobian_of_dependent_examples_is_rejected(f, by):
    with pytest.raises(ValueError, match="jacobian: with batched=True, an example of f"):
        jacobian(f, [[1.0, 2.0], [3.0, 5.0]], by=by, batched=True)


def test_batched_jacobian_needs_as_many_examples_in_both():
    for f in (lambda x: x[:1], tg.sum):
        with pytest.raises(ValueError, match=r"jacobian: if batched, x and f\(x\) must have as many examples"):
            jacobian(f, np.ones((2, 3)), batched=True)


def test_unknown_order_of_a_jacobian_is_rejected():
    with pytest.raises(ValueError, match='jacobian: by must be "rows" or "columns"; got \'forward\''):
        jacobian(tg.sin, [1.0], by="forward")


@pytest.mark.parametrize("derivative", [jacobian, hessian], ids=["jacobian", "hessian"])
def test_a_derivative_visits_no_node_that_is_older_than_its_variable(derivative, monkeypatch):
    visited = []

    def counted(*arguments):
        nodes = graph.ancestors(*arguments)
        visited.append(len(nodes))
        return nodes

    monkeypatch.setattr(derivatives, "ancestors", counted)
    find_paths = backprop._edges_on_paths

    def counted_on_paths(start, targets, oldest, behind):
        visited.append(len(behind))
        return find_paths(start, targets, oldest, behind)

    monkeypatch.setattr(backprop, "_edges_on_paths", counted_on_paths)
    W = Tensor(2.0, requires_grad=True)
    for _ in range(100):
        W = W * 1.0
    out = derivative(lambda x: W * x**3, 5.0)
    assert out.requires_grad
    assert max(visited) < 20


def test_backward_passes_of_a_batched_jacobian_are_shared():
    calls = []
    counted = tg.primitive("counted_by_test", lambda x: x * 1.0, x=lambda g: (calls.append(1), g)[1])
    jacobian(lambda x: tg.sum(counted(x).reshape(50, 2, 2), 2), np.ones((50, 4)), batched=True)
    assert len(calls) == 2 + 1


@pytest.mark.parametrize("f", SCALAR_FUNCTIONS.values(), ids=SCALAR_FUNCTIONS)
@given(seed=seeds)
def test_hessian_equals_differences_of_the_gradient(f, seed):
    x, _ = point(seed)

    def gradient(x):
        leaf = Tensor(x, requires_grad=True)
        return grad(f(leaf), leaf).data

    H = hessian(f, x)
    assert H.shape == (*x.shape, *x.shape)
    for at in np.ndindex(x.shape):
        unit = np.zeros(x.shape)
        unit[at] = 1
        np.testing.assert_allclose(H.data[at], numerical_gradient(gradient, x, cotangent=unit), rtol=1e-6, atol=1e-8)


# -- nested and recorded -----------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_derivatives_can_be_nested(seed):
    x, v = point(seed, (3,))
    twice = np.zeros((3, 3, 3))
    twice[range(3), range(3), range(3)] = 6 * x
    np.testing.assert_allclose(jacobian(lambda x: jacobian(lambda y: y**3, x), x).data, twice, rtol=1e-12)
    np.testing.assert_allclose(jacobian(lambda x: hessian(lambda y: tg.sum(y**4) / 4, x), x).data, twice, rtol=1e-12)
    _, moved = jvp(lambda x: jvp(lambda y: y**3, [x], [v])[1], [x], [v])
    np.testing.assert_allclose(moved.data, 6 * x * v**2, rtol=1e-12)
    (pushed,) = hvp(lambda x: tg.sum(hvp(lambda y: tg.sum(y**4) / 4, [x], [v])[0] * v), [x], [v])
    np.testing.assert_allclose(pushed.data, 6 * v**3, rtol=1e-12)


DERIVATIVES = {
    "jvp": lambda f, x: jvp(f, [x], [np.ones(2)])[1],
    "hvp": lambda f, x: hvp(lambda x: tg.sum(f(x) * x), [x], [np.ones(2)])[0],
    "jacobian": jacobian,
    "jacobian by columns": lambda f, x: jacobian(f, x, by="columns"),
    "batched jacobian": lambda f, x: jacobian(lambda x: f(x) * x, x, batched=True),
    "hessian": lambda f, x: hessian(lambda x: tg.sum(f(x) * x), x),
}


@pytest.mark.parametrize("derivative", DERIVATIVES.values(), ids=DERIVATIVES)
def test_derivative_is_differentiable_with_respect_to_closed_over_tensors(derivative):
    W = Tensor([2.0, 3.0], requires_grad=True)
    out = derivative(lambda x: x * x * W, [5.0, 7.0])
    gradient = grad(out.sum(), W)
    W.data = [2.0, 4.0]  # the function is linear in W
    again = derivative(lambda x: x * x * W, [5.0, 7.0])
    assert gradient.data[1] == again.data.sum() - out.data.sum()


@pytest.mark.parametrize("derivative", DERIVATIVES.values(), ids=DERIVATIVES)
def test_derivative_is_recorded_only_if_it_depends_on_a_recorded_tensor(derivative):
    W, x = Tensor([2.0, 3.0], requires_grad=True), Tensor([5.0, 7.0], requires_grad=True)
    assert not derivative(lambda x: x * x * W.data, [5.0, 7.0]).requires_grad
    assert derivative(lambda x: x * x * W, [5.0, 7.0]).requires_grad
    assert derivative(lambda x: x * x * W.data, x).requires_grad
    with no_grad():
        assert not derivative(lambda x: x * x * W, x).requires_grad


def test_gradient_with_respect_to_a_tangent():
    v = Tensor([1.0, 2.0], requires_grad=True)
    _, moved = jvp(lambda x: x * x, [[3.0, 4.0]], [v])
    np.testing.assert_array_equal(grad(moved.sum(), v).data, [6, 8])


# -- consistency -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
@given(seed=seeds)
def test_jvp_equals_the_jacobian_times_the_tangent(f, seed):
    x, v = point(seed)
    _, tangent = jvp(f, [x], [v])
    np.testing.assert_allclose(tangent.data, np.tensordot(jacobian(f, x).data, v, axes=2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", SCALAR_FUNCTIONS.values(), ids=SCALAR_FUNCTIONS)
@given(seed=seeds)
def test_hvp_equals_the_hessian_times_the_tangent(f, seed):
    x, v = point(seed)
    (product,) = hvp(f, [x], [v])
    np.testing.assert_allclose(product.data, np.tensordot(hessian(f, x).data, v, axes=2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", SCALAR_FUNCTIONS.values(), ids=SCALAR_FUNCTIONS)
@given(seed=seeds)
def test_hessian_is_symmetric(f, seed):
    H = hessian(f, point(seed)[0].ravel()[:4].reshape(2, 2)).data.reshape(4, 4)
    np.testing.assert_allclose(H, H.T, rtol=1e-12, atol=1e-13)


@given(seed=seeds)
def test_several_inputs_with_tangents(seed):
    (x, v), (y, w) = point(seed), point(seed + 1)

    def f(x, y):
        return tg.sin(x) * y

    _, tangent = jvp(f, (x, y), (v, w))
    np.testing.assert_allclose(tangent.data, np.cos(x) * y * v + np.sin(x) * w, rtol=1e-12)
    by_x, by_y = hvp(lambda x, y: tg.sum(f(x, y)), (x, y), (v, w))
    np.testing.assert_allclose(by_x.data, -np.sin(x) * y * v + np.cos(x) * w, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(by_y.data, np.cos(x) * v, rtol=1e-12)


# -- dtypes, constants and the caller's tensors ------------------------------------------------------------------------

ALL = {
    "jvp": lambda f, x: jvp(f, [x], [np.ones(np.shape(x))])[1],
    "hvp": lambda f, x: hvp(f, [x], [np.ones(np.shape(x))])[0],
    "jacobian": jacobian,
    "hessian": hessian,
}


@pytest.fixture(params=ALL.values(), ids=ALL)
def differentiate(request):
    return request.param


def test_float32_stays_float32(differentiate):
    assert differentiate(lambda x: tg.sum(x**3), np.ones(2, np.float32)).dtype == np.float32


def test_integers_become_float64(differentiate):
    assert differentiate(lambda x: tg.sum(x**3), [1, 2]).dtype == np.float64


@pytest.mark.parametrize(
    "f", [lambda _: Tensor(5.0), lambda x: tg.sum(x.detach()), lambda x: tg.sum(x) * 0.0], ids=["other", "cut", "zero"]
)
def test_derivative_of_a_result_independent_of_the_input_is_zero(differentiate, f):
    derivative = differentiate(f, np.ones(2, np.float32))
    assert derivative.dtype in (np.float32, np.float64)
    assert not derivative.data.any()


def test_derivative_of_a_result_of_other_variables_is_zero(differentiate):
    other = Tensor(3.0, requires_grad=True)
    assert not differentiate(lambda _: other * other, [1.0, 2.0]).data.any()
    assert other.grad is None


def test_results_are_constants(differentiate):
    assert not differentiate(lambda x: tg.sum(x**3), [1.0, 2.0]).requires_grad


def test_derivatives_under_no_grad(differentiate):
    expected = differentiate(lambda x: tg.sum(x**3), [1.0, 2.0])
    with no_grad():
        derivative = differentiate(lambda x: tg.sum(x**3), [1.0, 2.0])
        assert not tg.is_recording()
    assert expected.data.any()
    assert derivative.data.tolist() == expected.data.tolist()


def test_derivatives_do_not_change_the_callers_tensor(differentiate):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = tg.sum(x * x)
    differentiate(lambda x: tg.sum(x**3), x)
    differentiate(lambda h: tg.sum(h**3), x * x)
    assert x.grad is None
    assert grad(y, x).data.tolist() == [2.0, 4.0]


def test_functions_may_use_recorded_tensors_from_outside():
    """Their graph is not freed."""
    w = Tensor(3.0, requires_grad=True)
    scale = w * w
    assert jacobian(lambda x: x * scale, [1.0, 2.0]).data.tolist() == [[9.0, 0.0], [0.0, 9.0]]
    assert hessian(lambda x: tg.sum(x * x * scale), [1.0]).data.tolist() == [[18.0]]
    assert jvp(lambda x: x * scale, [2.0], [1.0])[1].item() == 9
    assert hvp(lambda x: x * x * scale, [2.0], [1.0])[0].item() == 18
    assert grad(scale, w).item() == 6


# -- invalid arguments ------------------------------------------------------------------------------------------------


def double(x):
    return x * 2.0


INVALID = {
    "no input": (ValueError, "jvp: inputs must not be empty", lambda: jvp(double, [], [])),
    "an array for the list of inputs": (
        TypeError,
        "jvp: inputs must be a tuple or a list of arrays; got ndarray",
        lambda: jvp(double, np.ones(2), [np.ones(2)]),
    ),
    "a tensor for the list of tangents": (
        TypeError,
        "hvp: tangents must be a tuple or a list of arrays; got Tensor",
        lambda: hvp(tg.sum, [np.ones(2)], Tensor(np.ones(2))),
    ),
    "a tangent too few": (
        ValueError,
        r"jvp: the tangents must have the shapes of the inputs, \[\(2,\), \(2,\)\]; got \[\(2,\)\]",
        lambda: jvp(tg.add, [np.ones(2), np.ones(2)], [np.ones(2)]),
    ),
    "a tangent too many": (
        ValueError,
        "hvp: the tangents must have the shapes of the inputs",
        lambda: hvp(tg.sum, [np.ones(2)], [np.ones(2), np.ones(2)]),
    ),
    "a tangent that would be broadcast": (
        ValueError,
        r"hvp: the tangents must have the shapes of the inputs, \[\(2,\)\]; got \[\(1,\)\]",
        lambda: hvp(tg.sum, [np.ones(2)], [np.ones(1)]),
    ),
    "complex inputs": (
        TypeError,
        "jacobian: input 0 must be real numbers; got complex128",
        lambda: jacobian(double, [1j]),
    ),
    "words": (TypeError, "hessian: input 0 must be real numbers; got <U1", lambda: hessian(tg.sum, ["a"])),
    "complex tangents": (
        TypeError,
        "jvp: tangent 0 must be real numbers; got complex128",
        lambda: jvp(double, [1.0], [1j]),
    ),
    "no tensor": (TypeError, "jacobian: the function must return a tensor; got float", lambda: jacobian(float, 1.0)),
    "the result of a function": (
        TypeError,
        "hvp: f must be a function of tensors, not its result; got Tensor",
        lambda: hvp(Tensor(1.0), [1.0], [1.0]),
    ),
    "several tensors where there must be one": (
        TypeError,
        "jacobian: input 0 must be one tensor or array; got a list of tensors",
        lambda: jacobian(double, [Tensor(1.0, requires_grad=True)]),
    ),
    "two tensors": (
        TypeError,
        "jvp: the function must return a tensor; got tuple",
        lambda: jvp(lambda x: (x, x), [1.0], [1.0]),
    ),
    "more than one element": (
        ValueError,
        r"hessian: the function must return one element; got a tensor of shape \(2,\)",
        lambda: hessian(double, [1.0, 2.0]),
    ),
    "more than one element for hvp": (
        ValueError,
        "hvp: the function must return one element",
        lambda: hvp(double, [[1.0, 2.0]], [[1.0, 2.0]]),
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_arguments_raise_a_clear_error(name):
    error, message, call = INVALID[name]
    with pytest.raises(error, match=message):
        call()
