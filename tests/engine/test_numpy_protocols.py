"""NumPy's functions and operators on tensors: the operation of that name, or a TypeError.

They never return an object array, or an array whose graph is lost.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, functional, grad, models, nn
from tinygrad_cifar.engine.primitives import PRIMITIVES


def matrix():
    return Tensor([[0.1, 0.5], [0.4, 0.2]], requires_grad=True)


UFUNCS = sorted(name for name, op in PRIMITIVES.items() if isinstance(op.forward, np.ufunc) and hasattr(tg, name))


@pytest.mark.parametrize("name", UFUNCS)
def test_ufunc_equals_the_operation_of_the_same_name(name):
    ufunc, operation = getattr(np, name), getattr(tg, name)
    x, y = (Tensor(matrix().data + (name == "arccosh"), requires_grad=True) for _ in range(2))
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


# -- functions without gradient ----------------------------------------------------------------------------------------

# Each is called with tensors, and with arrays for the expected value.
WITHOUT_GRADIENT = {
    "all": lambda x: np.all(x, axis=0),
    "any": lambda x: np.any(x > 0.3, axis=1),
    "allclose": lambda x: np.allclose(x, x + 1e-12),
    "isclose": lambda x: np.isclose(x, 0.5, rtol=0.1),
    "array_equal": lambda x: np.array_equal(x, x),
    "argmax": lambda x: np.argmax(x, axis=1),
    "argmin": lambda x: np.argmin(x, axis=0),
    "argsort": lambda x: np.argsort(x, axis=None),
    "argwhere": lambda x: np.argwhere(x > 0.3),
    "nonzero": lambda x: np.nonzero(x)[0],
    "count_nonzero": lambda x: np.count_nonzero(x, axis=0),
    "flatnonzero": lambda x: np.flatnonzero(x),  # noqa: PLW0108
    "searchsorted": lambda x: np.searchsorted([0.0, 0.3, 1.0], x),
    "digitize": lambda x: np.digitize(x, [0.0, 0.3, 1.0]),
    "histogram": lambda x: np.histogram(x, bins=2)[0],
    "zeros_like": lambda x: np.zeros_like(x),  # noqa: PLW0108
    "ones_like": lambda x: np.ones_like(x, dtype=np.float32),
    "full_like": lambda x: np.full_like(x, 7),
    "where of a condition": lambda x: np.where(x)[1],
    "signbit": lambda x: np.signbit(x),  # noqa: PLW0108
    "logical_and": lambda x: np.logical_and(x > 0.3, x),
    "isposinf": lambda x: np.isposinf(x),  # noqa: PLW0108
    "result_type": lambda x: np.result_type(x, np.float32),
    "shape": lambda x: np.shape(x),  # noqa: PLW0108
    "ndim": lambda x: np.ndim(x),  # noqa: PLW0108
    "size": lambda x: np.size(x, axis=0),
    "array_repr": lambda x: np.array_repr(x),  # noqa: PLW0108
}


@pytest.mark.parametrize("call", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
def test_function_without_gradient_returns_numpys_result(call):
    x = matrix()
    out, expected = call(x), call(x.data)
    assert type(out) is type(expected)
    np.testing.assert_array_equal(out, expected)


def test_weights_of_a_count_are_not_detached():
    with pytest.raises(TypeError, match=r"np\.bincount does not support tensors"):
        np.bincount([0, 1], weights=Tensor([1.0, 2.0], requires_grad=True))
    with pytest.raises(TypeError):
        np.bincount([0, 1], Tensor([1.0, 2.0], requires_grad=True))


# -- functions with results of their own -------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", [np.divmod, divmod], ids=["np.divmod", "divmod"])
def test_divmod(operator):
    x = matrix()
    quotient, rest = operator(x, 0.3)
    np.testing.assert_array_equal(quotient.data, np.floor_divide(x.data, 0.3))
    np.testing.assert_array_equal(rest.data, np.remainder(x.data, 0.3))
    assert (quotient.requires_grad, rest.requires_grad) == (False, True)


def test_modf_returns_the_fraction_first():
    t = Tensor([1.25, -2.5], requires_grad=True)
    fraction, whole = np.modf(t)
    assert (fraction.data.tolist(), whole.data.tolist()) == ([0.25, -0.5], [1.0, -2.0])
    assert grad(fraction.sum(), t).data.tolist() == [1.0, 1.0]


def test_einsum_with_integer_labels():
    x = matrix()
    out = np.einsum(x, [0, 1], x, [1, 2], [0, 2], optimize=True)
    np.testing.assert_allclose(out.data, x.data @ x.data)


def test_einsum_of_lists_of_labels_without_a_result():
    np.testing.assert_allclose(np.einsum(matrix(), [0, 0]).data, 0.3)


@pytest.mark.parametrize("function", [np.atleast_1d, np.atleast_2d, np.atleast_3d])
def test_atleast_of_several_returns_a_tuple(function):
    out = function(matrix(), 1.0)
    assert [type(out), len(out)] == [tuple, 2]


# -- arguments ---------------------------------------------------------------------------------------------------------

# Arguments that NumPy's functions have and that do not change the result.
HARMLESS = {
    "sum with defaults": lambda x: np.sum(x, dtype=None, out=None),
    "sum with defaults by position": lambda x: np.sum(x, 0, None, None),
    "mean of no axis": lambda x: np.mean(x, axis=None),
    "einsum with optimize": lambda x: np.einsum("ij->", x, optimize="greedy"),
    "clip with out": lambda x: np.clip(x, 0.2, 0.4, out=None),
    "reshape with order": lambda x: np.reshape(x, (4,), order="C"),
    "concatenate with casting": lambda x: np.concatenate([x, x], axis=0, casting="same_kind"),
    "sort with a kind": lambda x: np.sort(x, kind="mergesort"),
    "median with overwrite_input": lambda x: np.median(x, overwrite_input=False),
    "exp with out": lambda x: np.exp(x, out=None),
    "amax": lambda x: np.amax(x, axis=0),
    "amin": lambda x: np.amin(x, axis=1),
    "positive": lambda x: np.positive(x),  # noqa: PLW0108
    "pad": lambda x: np.pad(x, 1),
    "pad by name": lambda x: np.pad(x, pad_width=((0, 1), (2, 0)), constant_values=0.5),
    "copy": lambda x: np.copy(x),  # noqa: PLW0108
    "real": lambda x: np.real(x),  # noqa: PLW0108
    "fabs": lambda x: np.fabs(x),  # noqa: PLW0108
    "float_power": lambda x: np.float_power(x, 2),
    "radians": lambda x: np.radians(x),  # noqa: PLW0108
    "cumulative_sum": lambda x: np.cumsum(x, axis=0),
    "permute_dims": lambda x: np.permute_dims(x, (1, 0)),
}


@pytest.mark.parametrize("call", HARMLESS.values(), ids=HARMLESS)
def test_arguments_that_have_no_effect_are_accepted(call):
    x = matrix()
    out = call(x)
    assert isinstance(out, Tensor)
    np.testing.assert_allclose(out.data, call(x.data), rtol=1e-15)


REFUSED = {
    "sum with dtype": (lambda x: np.sum(x, dtype=np.float32), r"dtype is not supported; convert with t\.astype"),
    "the dtype of a sum by position": (lambda x: np.sum(x, 0, np.float32), "the argument dtype is not supported"),
    "the dtype of a mean by position": (lambda x: np.mean(x, 0, np.float32), "the argument dtype is not supported"),
    "the out of a maximum by position": (lambda x: np.max(x, 0, np.zeros(2)), "the argument out is not supported"),
    "sum with out": (lambda x: np.sum(x, out=np.zeros(())), r"out is not supported; .* write y = np\.sum\(\.\.\.\)"),
    "sum with where": (lambda x: np.sum(x, where=np.array([True, False])), r"choose elements with np\.where"),
    "max with initial": (lambda x: np.max(x, initial=0.0), "the argument initial is not supported"),
    "clip with out": (lambda x: np.clip(x, 0, 1, out=np.zeros((2, 2))), "the argument out is not supported"),
    "reshape in Fortran's order": (lambda x: np.reshape(x, (4,), order="F"), "elements are taken in C order"),
    "concatenate with out": (lambda x: np.concatenate([x, x], out=np.zeros((4, 2))), "the argument out"),
    "stack with dtype": (lambda x: np.stack([x, x], dtype=np.float32), "the argument dtype"),
    "quantile with a method": (lambda x: np.quantile(x, 0.5, method="lower"), "the argument method"),
    "exp with out": (lambda x: np.exp(x, out=np.zeros((2, 2))), "the argument out is not supported"),
    "exp with where": (lambda x: np.exp(x, where=np.array([True, False])), "the argument where is not supported"),
    "add with dtype": (lambda x: np.add(x, 1, dtype=np.float32), "the argument dtype is not supported"),
    "array += t": (lambda x: np.zeros((2, 2)).__iadd__(x), "the argument out is not supported"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_error_names_the_unsupported_argument(call, message):
    with pytest.raises(TypeError, match=rf"np\.\w+ of tensors: .*{message}"):
        call(matrix())


# -- unsupported functions ---------------------------------------------------------------------------------------------

UNDEFINED = {
    "add.reduce": (lambda x: np.add.reduce(x), r"write np\.sum\(t, axis\)"),  # noqa: PLW0108
    "add.accumulate": (lambda x: np.add.accumulate(x), r"write np\.cumsum"),  # noqa: PLW0108
    "multiply.outer": (lambda x: np.multiply.outer(x, x), r"write np\.outer"),
    "add.at": (lambda x: np.add.at(np.zeros(2), [0], x[0, 0]), r"index_update\(x, index, value\)"),
    "copyto": (lambda x: np.copyto(np.zeros((2, 2)), x), r"index_update\(x, index, value\)"),
    "put_along_axis": (lambda x: np.put_along_axis(x, np.array([[0]]), 0.0, 1), r"index_update"),
    "linalg.pinv": (
        lambda x: np.linalg.pinv(x),  # noqa: PLW0108
        r"np\.linalg\.pinv does not support tensors; .*tinygrad_cifar.primitive",
    ),
    "sinc": (lambda x: np.sinc(x), r"write np\.sin"),  # noqa: PLW0108
    "unique": (lambda x: np.unique(x), r"return_index=True"),  # noqa: PLW0108
    "partition": (lambda x: np.partition(x, 1), r"write np\.sort"),
    "gcd": (lambda x: np.gcd(x, 2), r"t\.data"),
}


@pytest.mark.parametrize(("call", "message"), UNDEFINED.values(), ids=UNDEFINED)
def test_unsupported_function_says_what_to_write(call, message):
    with pytest.raises(TypeError, match=message):
        call(matrix())


DISPATCHED = [
    name
    for name in dir(np)
    if type(getattr(np, name)).__name__ in ("ufunc", "_ArrayFunctionDispatcher") and not name.startswith("save")
]


@pytest.mark.parametrize("name", DISPATCHED)
def test_no_function_of_numpy_returns_an_array_of_objects(name):
    function = getattr(np, name)
    try:
        with np.errstate(all="ignore"):
            out = function(*[matrix()] * getattr(function, "nin", 1))
    except (TypeError, ValueError, IndexError):
        return
    assert getattr(out, "dtype", None) != np.dtype(object)


def test_order_of_a_norm_is_not_taken_for_its_axis():
    t = Tensor([[3.0, -4.0], [1.0, 1.0]])
    assert np.linalg.norm(t, 1).item() == np.linalg.norm(t.data, 1)


@pytest.mark.parametrize("ord", [2, -2, "nuc", "unknown"])
def test_norm_of_a_matrix_that_needs_singular_values_is_refused(ord):
    with pytest.raises(ValueError, match="norm: ord of matrices must be 'fro', 1, -1, inf or -inf"):
        np.linalg.norm(matrix(), ord)


# -- Python numbers ----------------------------------------------------------------------------------------------------

OF_NUMBERS = {
    "reshape": (lambda: tg.reshape(1.0, (1, 1)), [[1.0]]),
    "expand_dims": (lambda: tg.expand_dims(2, 0), [2]),
    "sum": (lambda: tg.sum(3.0), 3.0),
    "transpose": (lambda: tg.transpose(3.0), 3.0),
    "broadcast_to": (lambda: tg.broadcast_to(1.0, 2), [1.0, 1.0]),
    "relu": (lambda: tg.relu(-1.0), 0.0),
    "softmax": (lambda: tg.softmax([0.0, 0.0]), [0.5, 0.5]),
    "stack with a tensor": (lambda: np.stack([Tensor(2.0), 1.0]).data, [2.0, 1.0]),
    "concatenate with a tensor": (lambda: np.hstack([Tensor(2.0), 1.0]).data, [2.0, 1.0]),
}


@pytest.mark.parametrize(("call", "expected"), OF_NUMBERS.values(), ids=OF_NUMBERS)
def test_operations_accept_python_numbers(call, expected):
    np.testing.assert_array_equal(call(), expected)


@pytest.mark.parametrize("wrong", [None, "text", object()], ids=["None", "str", "object"])
@pytest.mark.parametrize("operation", [tg.relu, tg.sum, tg.reshape, tg.where, tg.exp], ids=lambda f: f.__name__)
def test_anything_but_numbers_is_refused_by_name(operation, wrong):
    more = {"reshape": (1,), "where": (wrong, 1.0)}.get(operation.__name__, ())
    with pytest.raises(TypeError, match=rf"{operation.__name__}: the input must be a tensor, or an array of numbers"):
        operation(wrong, *more)


@pytest.mark.parametrize("axis", [1.0, None, "0"])
def test_an_axis_that_is_not_an_integer_is_refused(axis):
    with pytest.raises(TypeError, match="softmax: axis must be an integer; got"):
        tg.softmax(matrix(), axis)
    if axis is not None:
        with pytest.raises(TypeError, match="sum: axis must be an integer; got"):
            tg.sum(matrix(), axis)


@pytest.mark.parametrize("name", ["var", "std"])
def test_second_argument_of_a_variance_is_not_taken_for_keepdims(name):
    with pytest.raises(TypeError, match="positional"):
        getattr(matrix(), name)(0, 1)


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
    "labels of three axes": lambda t, m: functional.cross_entropy(t.reshape(1, 1, 2), m[:1].astype(int).reshape(1, 1)),
    "binary targets": functional.binary_cross_entropy,
    "embedding": lambda t, m: nn.Embedding(3, 2)(m.astype(int)) * t,
    "take": lambda t, m: np.take(t, m.astype(int) - 1),
    "np.ma.masked": lambda t, _: t * np.ma.masked,
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_masked_arrays_are_rejected(mix):
    with pytest.raises(TypeError, match=r"a masked array cannot be combined|graph would be lost"):
        mix(variable([1.0, 2.0]), MASKED)


def test_error_of_a_masked_array_names_the_operation_and_a_remedy():
    with pytest.raises(TypeError, match=r"^multiply: a masked array .* mask would be lost; fill it, .*x\.filled\(0\)"):
        variable([1.0, 2.0]) * MASKED


@pytest.mark.parametrize("values", [(5, 7), np.arange(4.0), Tensor(3.0), [1]], ids=str)
def test_padding_with_several_numbers_is_refused(values):
    with pytest.raises(TypeError, match="pad: constant_values must be one number"):
        np.pad(matrix(), ((1, 0), (0, 0)), constant_values=values)


def test_a_number_for_padding_with_elements_is_refused():
    with pytest.raises(ValueError, match="pad: constant_values requires mode='constant'; got mode='edge'"):
        np.pad(matrix(), 1, mode="edge", constant_values=9)


def test_a_conversion_without_a_copy_raises_if_it_needs_one():
    t = Tensor([1.0, 2.0])
    assert np.shares_memory(t.__array__(np.dtype(float), copy=False), t.data)
    with pytest.raises(ValueError, match="cannot be converted to float32 without a copy"):
        t.__array__(np.dtype(np.float32), copy=False)


@pytest.mark.parametrize("labels", [(0, 1, 2), (30, 31, 32), (51, 0, 26)], ids=str)
@pytest.mark.parametrize("gives_result", [True, False])
def test_einsum_takes_the_labels_that_numpy_does(labels, gives_result):
    i, j, k = labels
    x, y = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    result = [[k, i]] if gives_result else []
    out = np.einsum(Tensor(x), [i, j], Tensor(y), [j, k], *result)
    np.testing.assert_array_equal(out.data, np.einsum(x, [i, j], y, [j, k], *result))


def test_einsum_refuses_the_labels_that_numpy_does():
    with pytest.raises(ValueError, match="a label must be from 0 to 51; got 52"):
        np.einsum(matrix(), [52, 0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.vecdot(matrix(), matrix(), axis=2), "vecdot: axis 2 is out of range"),
        (lambda: tg.percentile(matrix(), 120), "percentile: q must be from 0 to 100; got 120"),
        (lambda: tg.median(Tensor(np.zeros((0, 2))), 0), "median: there are no elements along axis"),
    ],
)
def test_errors_name_the_function_that_was_called(call, words):
    with pytest.raises((ValueError, IndexError), match=words):
        call()
