"""NumPy's functions and operators on tensors: the operation of that name, or a TypeError.

They never return an object array, or an array whose graph is lost.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, functional, grad, models
from tinygrad_cifar.engine.primitives import PRIMITIVES


def matrix():
    return Tensor([[0.1, 0.5], [0.4, 0.2]], requires_grad=True)


UFUNCS = sorted(name for name, op in PRIMITIVES.items() if isinstance(op.forward, np.ufunc) and hasattr(tg, name))


@pytest.mark.parametrize("name", UFUNCS)
def test_ufunc_equals_the_operation_of_the_same_name(name):
    ufunc, operation = getattr(np, name), getattr(tg, name)
    x, y = matrix(), matrix()
    inputs = (x, y)[: ufunc.nin]
    out, expected = ufunc(*inputs), operation(*inputs)
    assert isinstance(out, Tensor)
    assert out.data.tolist() == ufunc(*[t.data for t in inputs]).tolist()
    if expected.requires_grad:
        assert grad(out.sum(), x).data.tolist() == grad(expected.sum(), x).data.tolist()


# Each is called with tensors, and with arrays for the expected value.
FUNCTIONS = {
    "sum": lambda x: np.sum(x),  # noqa: PLW0108
    "sum of an axis": lambda x: np.sum(x, axis=0, keepdims=True),
    "sum of an axis by position": lambda x: np.sum(x, 1),
    "mean": lambda x: np.mean(x, axis=-1),
    "var": lambda x: np.var(x, axis=0),
    "var with ddof": lambda x: np.var(x, ddof=1),
    "max": lambda x: np.max(x, axis=1),
    "min": lambda x: np.min(x, axis=(0, 1)),
    "prod": lambda x: np.prod(x, axis=0),
    "cumsum": lambda x: np.cumsum(x, axis=1),
    "norm": lambda x: np.linalg.norm(x, axis=1),
    "clip": lambda x: np.clip(x, 0.15, 0.45),
    "clip by name": lambda x: np.clip(x, a_min=0.15, a_max=None),
    "where": lambda x: np.where(np.array([True, False]), x, 0.0),
    "reshape": lambda x: np.reshape(x, (4, 1)),
    "transpose": lambda x: np.transpose(x),  # noqa: PLW0108
    "transpose with axes": lambda x: np.transpose(x, (0, 1)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "squeeze": lambda x: np.squeeze(x[:1], axis=0),
    "broadcast_to": lambda x: np.broadcast_to(x, (3, 2, 2)),
    "flip": lambda x: np.flip(x, axis=0),
    "concatenate": lambda x: np.concatenate([x, x], axis=1),
    "concatenate with an array": lambda x: np.concatenate((x, np.ones((1, 2)))),
    "stack": lambda x: np.stack([x, x], axis=-1),
    "einsum": lambda x: np.einsum("ij,jk->ik", x, x),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[1], [0]]), axis=1),
    "matmul": lambda x: np.matmul(x, [1.0, 2.0]),
    "abs": lambda x: np.abs(x),  # noqa: PLW0108
}


@pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS)
def test_function_returns_a_recorded_tensor_with_numpys_value(call):
    x = matrix()
    out = call(x)
    assert isinstance(out, Tensor)
    assert out.requires_grad
    np.testing.assert_allclose(out.data, call(x.data), rtol=1e-15)


OPERATORS = {
    "array * t": lambda x: np.array([2.0, 3.0]) * x,
    "t * array": lambda x: x * np.array([2.0, 3.0]),
    "array + t": lambda x: np.ones((3, 1, 1)) + x,
    "array - t": lambda x: np.ones(2) - x,
    "array / t": lambda x: np.ones(2) / x,
    "array ** t": lambda x: np.full(2, 2.0) ** x,
    "array @ t": lambda x: np.ones((3, 2)) @ x,
    "t @ array": lambda x: x @ np.ones(2),
    "np.float64 * t": lambda x: np.float64(2) * x,
    "t * np.float64": lambda x: x * np.float64(2),
    "0-d array * t": lambda x: np.array(2.0) * x,
    "np.int64 + t": lambda x: np.int64(2) + x,
    "list * t": lambda x: [2.0, 3.0] * x,
    "t * list": lambda x: x * [2.0, 3.0],
    "list @ t": lambda x: [2.0, 3.0] @ x,
    "t @ list": lambda x: x @ [2.0, 3.0],
    "number - t": lambda x: 1 - x,
    "-t": lambda x: -x,
    "abs(t)": lambda x: abs(x),  # noqa: PLW0108
}


@pytest.mark.parametrize("call", OPERATORS.values(), ids=OPERATORS)
def test_operator_returns_a_recorded_tensor_with_numpys_value(call):
    x = matrix()
    out = call(x)
    assert isinstance(out, Tensor)
    assert out.requires_grad
    assert out.dtype == np.float64
    array = x.data
    expected = call(array) if not isinstance(call(array), list) else None
    np.testing.assert_allclose(out.data, expected, rtol=1e-15)


def test_function_of_a_constant_returns_a_constant():
    out = np.exp(Tensor([0.0]))
    assert isinstance(out, Tensor)
    assert not out.requires_grad


# -- unsupported functions ---------------------------------------------------------------------------------------------

UNDEFINED = {
    "arctan2": lambda x: np.arctan2(x, x),
    "logaddexp": lambda x: np.logaddexp(x, x),
    "floor": lambda x: np.floor(x),  # noqa: PLW0108
    "modf": lambda x: np.modf(x),  # noqa: PLW0108
    "add.reduce": lambda x: np.add.reduce(x),  # noqa: PLW0108
    "add.accumulate": lambda x: np.add.accumulate(x),  # noqa: PLW0108
    "multiply.outer": lambda x: np.multiply.outer(x, x),
    "add.at": lambda x: np.add.at(np.zeros(2), [0], x[0, 0]),
    "exp with out": lambda x: np.exp(x, out=np.zeros((2, 2))),
    "exp with where": lambda x: np.exp(x, where=np.array([True, False])),
    "add with dtype": lambda x: np.add(x, 1, dtype=np.float32),
    "array += t": lambda x: np.zeros((2, 2)).__iadd__(x),
    "sort": lambda x: np.sort(x),  # noqa: PLW0108
    "vstack": lambda x: np.vstack([x, x]),
    "dot": lambda x: np.dot(x, x),
    "tensordot": lambda x: np.tensordot(x, x),
    "median": lambda x: np.median(x),  # noqa: PLW0108
    "zeros_like": lambda x: np.zeros_like(x),  # noqa: PLW0108
    "linalg.inv": lambda x: np.linalg.inv(x),  # noqa: PLW0108
    "copyto": lambda x: np.copyto(np.zeros((2, 2)), x),
    "allclose": lambda x: np.allclose(x, x),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_unsupported_functions_raise_type_error(name):
    with pytest.raises(TypeError, match=r"does not support tensors; use an operation of tinygrad_cifar, or t\.data"):
        UNDEFINED[name](matrix())


UNKNOWN_ARGUMENTS = {
    "sum with dtype": lambda x: np.sum(x, dtype=np.float32),
    "sum with out": lambda x: np.sum(x, out=np.zeros(())),
    "sum with where": lambda x: np.sum(x, where=np.array([True, False])),
    "max with initial": lambda x: np.max(x, initial=0.0),
    "clip with out": lambda x: np.clip(x, 0, 1, out=np.zeros((2, 2))),
    "reshape in Fortran's order": lambda x: np.reshape(x, (4,), order="F"),
    "concatenate with out": lambda x: np.concatenate([x, x], out=np.zeros((4, 2))),
    "stack with dtype": lambda x: np.stack([x, x], dtype=np.float32),
    "where with only a condition": lambda x: np.where(x),  # noqa: PLW0108
    "einsum with optimize": lambda x: np.einsum("ij->", x, optimize=True),
}


@pytest.mark.parametrize("call", UNKNOWN_ARGUMENTS.values(), ids=UNKNOWN_ARGUMENTS)
def test_error_names_unsupported_arguments(call):
    with pytest.raises(TypeError, match=r"np\.\w+ of tensors: .*argument"):
        call(matrix())


# Positions that have another meaning in NumPy than in the operation.
BY_POSITION = {
    "the dtype of a sum": lambda x: np.sum(x, 0, np.float32),
    "the dtype of a mean": lambda x: np.mean(x, 0, np.float32),
    "the dtype of a product": lambda x: np.prod(x, 0, np.float32),
    "the dtype of a variance": lambda x: np.var(x, 0, np.float32),
    "the out of a maximum": lambda x: np.max(x, 0, np.zeros(2)),
}


@pytest.mark.parametrize("call", BY_POSITION.values(), ids=BY_POSITION)
def test_positional_arguments_are_not_misinterpreted(call):
    with pytest.raises(TypeError):
        call(matrix())


def test_order_of_a_norm_is_not_taken_for_its_axis():
    with pytest.raises(TypeError):
        np.linalg.norm(matrix(), 1)


# -- conversion to arrays ----------------------------------------------------------------------------------------------


CONVERSIONS = {
    "asarray": np.asarray,
    "array": np.array,
    "ascontiguousarray": np.ascontiguousarray,
    "array of a list": lambda x: np.array([x, x]),
    "assignment": lambda x: np.zeros((2, 2)).__setitem__(..., x),
}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_recorded_tensor_is_not_converted_implicitly(convert):
    with pytest.raises(TypeError, match=r"graph would be lost; use t\.data to read the values, or detach\(\) it"):
        convert(matrix())


@pytest.mark.parametrize(
    "convert", [np.asarray, np.array, lambda t: np.array([t])[0]], ids=["asarray", "array", "list"]
)
def test_constant_tensor_is_converted_to_an_array(convert):
    array = convert(Tensor([[1.0, 2.0]]))
    assert (type(array), array.dtype, array.tolist()) == (np.ndarray, np.float64, [[1.0, 2.0]])


def test_conversion_with_a_dtype():
    assert np.asarray(Tensor([1.0]), dtype=np.float32).dtype == np.float32


def test_converted_copy_is_independent():
    t = Tensor([1.0])
    np.array(t)[0] = 5
    assert t.data.tolist() == [1.0]


def test_conversion_without_a_copy_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(Tensor([1.0]))[0] = 5


# -- functions that return plain arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_comparison_returns_a_plain_array(name):
    out = getattr(np, name)(matrix(), 0.4)
    assert (type(out), out.dtype) == (np.ndarray, bool)


@pytest.mark.parametrize("name", ["isfinite", "isnan", "isinf"])
def test_finiteness_test_returns_a_plain_array(name):
    out = getattr(np, name)(Tensor([1.0, np.nan, np.inf], requires_grad=True))
    assert out.tolist() == getattr(np, name)([1.0, np.nan, np.inf]).tolist()


def test_shape_functions():
    x = matrix()
    assert (np.shape(x), np.ndim(x), np.size(x), np.argmax(x)) == ((2, 2), 2, 4, 1)


def test_clip_accepts_both_names_of_its_bounds():
    t = tg.Tensor([-1.0, 5.0])
    np.testing.assert_array_equal(np.clip(t, min=0, max=2).data, [0, 2])
    np.testing.assert_array_equal(np.clip(t, a_min=0, a_max=2).data, [0, 2])


def test_norm_rejects_the_argument_ord():
    with pytest.raises(TypeError, match=r"np\.linalg\.norm of tensors takes no argument ord"):
        np.linalg.norm(tg.Tensor([1.0]), 1)


def test_axes_may_be_numpy_integers():
    assert tg.Tensor(np.zeros((2, 3))).transpose(*np.argsort([1, 0])).shape == (3, 2)


def test_operations_accept_lists():
    assert tg.sigmoid([0.0]).tolist() == [0.5]
    assert tg.stack(tg.Tensor([float(i)]) for i in range(2)).data.tolist() == [[0], [1]]


def test_reshape_rejects_a_size_that_is_not_an_integer():
    with pytest.raises(TypeError, match="integer"):
        tg.reshape(tg.Tensor(np.zeros(5)), 2.5)


def test_einsum_rejects_an_ellipsis_in_the_operands_only():
    with pytest.raises(ValueError, match="has an ellipsis for the operands but not for the result"):
        tg.einsum("...i->i", tg.Tensor(np.zeros((2, 3))))


# -- one element of an array -------------------------------------------------------------------------------------------


def assign(array, index, value):
    array[index] = value
    return array


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.longdouble, np.complex128, np.int64, np.uint8])
@pytest.mark.parametrize("value", [lambda: variable(3.0), lambda: variable([3.0]), lambda: 2 * variable(3.0)])
def test_recorded_tensor_is_not_assigned_to_an_element(value, kind):
    for array, index in ((np.zeros(2, kind), 0), (np.zeros((2, 2), kind), (0, 1)), (np.zeros((), kind), ())):
        with pytest.raises((TypeError, ValueError)) as caught:
            assign(array, index, value())
        # NumPy raises "setting an array element with a sequence" from the error of the tensor.
        assert "its graph would be lost; assign t.item()" in str(caught.value.__cause__ or caught.value)
        assert not array.any()


def test_recorded_tensor_is_not_added_to_an_element():
    array = np.zeros(2)
    with pytest.raises((TypeError, ValueError)):
        array[0] += variable(3.0)
    assert not array.any()


def test_constant_tensor_is_assigned_to_an_element():
    assert assign(np.zeros(2), 0, variable(3.0).detach()).tolist() == [3.0, 0.0]


def test_recorded_tensor_converts_to_a_python_number():
    t = variable(3.0)
    assert (float(t), int(t), t.item(), round(float(t)), f"{t:.1f}") == (3.0, 3, 3.0, 3, "3.0")
    assert assign(np.zeros(2), int(t) - 3, float(t)).tolist() == [3.0, 0.0]
    assert assign({}, float(t), t) == {3.0: t}


def test_recorded_tensor_is_an_element_of_an_array_of_objects():
    t = variable(3.0)
    assert assign(np.zeros(2, object), 0, t)[0] is t


# -- masked arrays -----------------------------------------------------------------------------------------------------

MASKED = np.ma.array([1.0, 2.0], mask=[False, True])
MIXTURES = {
    "t * m": lambda t, m: t * m,
    "m * t": lambda t, m: m * t,
    "t @ m": lambda t, m: t @ m,
    "m @ t": lambda t, m: m @ t,
    "t ** m": lambda t, m: t**m,
    "np.add(t, m)": np.add,
    "np.add(m, t)": lambda t, m: np.add(m, t),
    "np.ma.multiply(m, t)": lambda t, m: np.ma.multiply(m, t),
    "maximum": tg.maximum,
    "where, a branch": lambda t, m: tg.where(t > 0, t, m),
    "where, the condition": lambda t, m: np.where(m > 1, t, 0.0),
    "clip": lambda t, m: tg.clip(t, m, None),
    "concatenate": lambda t, m: np.concatenate([t, m]),
    "concatenate, flattened": lambda t, m: np.concatenate([t, m], axis=None),
    "stack": lambda t, m: tg.stack([m, t]),
    "einsum": lambda t, m: np.einsum("i,i->", t, m),
    "index": lambda t, m: t[m > 1],
    "index in a tuple": lambda t, m: t[(m > 1,)],
    "index_update": lambda t, m: tg.index_update(t, 0, m[1:]),
    "index_update of m": lambda t, m: tg.index_update(m, 0, t[0]),
    "take_along_axis": lambda t, m: np.take_along_axis(t, m.astype(int), 0),
    "Tensor": lambda t, m: t + Tensor(m),
    "data": lambda t, m: setattr(t, "data", m),
    "the cotangent of grad": lambda t, m: tg.grad(t * 2, t, m),
    "the cotangent of backward": lambda t, m: (t * 2).backward(m),
    "a tangent": lambda t, m: tg.jvp(lambda x: x * 2, [t], [m]),
    "a constant times m": lambda t, m: t.detach() * m,
    "from_numpy": lambda t, m: t + tg.from_numpy(m),
    "predict": lambda _, m: models.SoftmaxRegression(1, 2, rng=np.random.default_rng(0)).predict(m[:, np.newaxis]),
    "labels": lambda t, m: functional.cross_entropy(t.reshape(1, 2), m[:1].astype(int)),
    "np.ma.masked": lambda t, _: t * np.ma.masked,
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_masked_arrays_are_rejected(mix):
    with pytest.raises(TypeError, match=r"a masked array cannot be combined|graph would be lost"):
        mix(variable([1.0, 2.0]), MASKED)


def test_error_of_a_masked_array_names_the_operation_and_a_remedy():
    with pytest.raises(TypeError, match=r"^multiply: a masked array .* mask would be lost; fill it, .*x\.filled\(0\)"):
        variable([1.0, 2.0]) * MASKED
