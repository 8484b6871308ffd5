"""Operations composed of primitives: values equal to NumPy's, and correct derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, grad
from tinygrad_cifar.engine.gradcheck import check_gradients, complex_step
from tinygrad_cifar.testing.strategies import LAYOUTS, draw_cotangent, seeds, shapes


def check(function, reference, arrays, rng):
    """Check value, shape, first and second derivatives, the complex step, and memory layouts."""
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    out = function(*leaves)
    expected = reference(*arrays)
    assert out.shape == np.shape(expected)
    np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-13)
    g = draw_cotangent(out, rng)
    check_gradients(function, *arrays, cotangent=g, rng=rng, second_order=True)
    for i, gradient in enumerate(grad(out, leaves, g)):
        np.testing.assert_allclose(gradient.data, complex_step(function, arrays, i, cotangent=g), rtol=1e-11, atol=1e-9)
    for laid_out in LAYOUTS:
        views = [laid_out(np.array, array) for array in arrays]
        np.testing.assert_allclose(function(*views), expected, rtol=1e-12, atol=1e-13)


@st.composite
def arrays(draw, **bounds):
    return np.random.default_rng(draw(seeds)).uniform(-2, 2, draw(shapes(**bounds)))


@st.composite
def averages(draw):
    """Draw an array and an axis along which there are elements."""
    x = draw(arrays())
    one = st.integers(-x.ndim, x.ndim - 1) if x.ndim else st.none()
    axis = draw(st.one_of(one, npst.valid_tuple_axes(x.ndim), st.none()))
    assume(np.sum(np.ones(x.shape), axis=axis).size and np.size(x))
    return x, axis, draw(st.booleans())


@given(case=averages(), seed=seeds)
def test_mean(case, seed):
    x, axis, keepdims = case
    check(
        lambda x: tg.mean(x, axis, keepdims),
        lambda x: np.mean(x, axis=axis, keepdims=keepdims),
        [x],
        np.random.default_rng(seed),
    )


@given(case=averages(), seed=seeds, ddof=st.sampled_from([0, 1]))
def test_var(case, seed, ddof):
    x, axis, keepdims = case
    assume(np.size(x) // np.size(np.sum(x, axis=axis)) > ddof)
    check(
        lambda x: tg.var(x, axis, keepdims=keepdims, ddof=ddof),
        lambda x: np.var(x, axis=axis, keepdims=keepdims, ddof=ddof),
        [x],
        np.random.default_rng(seed),
    )


@given(data=st.data(), count=st.integers(1, 3), seed=seeds)
def test_stack(data, count, seed):
    rng = np.random.default_rng(seed)
    shape = data.draw(shapes(max_dims=2))
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    parts = [rng.uniform(-2, 2, shape) for _ in range(count)]
    check(lambda *parts: tg.stack(parts, axis), lambda *parts: np.stack(parts, axis), parts, rng)


@given(x=arrays(min_dims=1), data=st.data(), seed=seeds)
def test_swapaxes(x, data, seed):
    one = st.integers(-x.ndim, x.ndim - 1)
    i, j = data.draw(one), data.draw(one)
    check(lambda x: tg.swapaxes(x, i, j), lambda x: np.swapaxes(x, i, j), [x], np.random.default_rng(seed))


@given(x=arrays(max_dims=2), data=st.data(), seed=seeds)
def test_expand_dims(x, data, seed):
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim) | npst.valid_tuple_axes(x.ndim + 2, min_size=2, max_size=2))
    check(lambda x: tg.expand_dims(x, axis), lambda x: np.expand_dims(x, axis), [x], np.random.default_rng(seed))


@given(x=arrays(max_dims=2), data=st.data(), seed=seeds)
def test_squeeze(x, data, seed):
    x = np.expand_dims(x, data.draw(npst.valid_tuple_axes(x.ndim + 2, min_size=2, max_size=2)))
    ones = [i for i, size in enumerate(x.shape) if size == 1]
    axis = data.draw(st.sampled_from([None, ones[0], ones[-1] - x.ndim, tuple(ones)]))
    check(lambda x: tg.squeeze(x, axis), lambda x: np.squeeze(x, axis), [x], np.random.default_rng(seed))


@given(x=arrays(min_dims=1), data=st.data(), seed=seeds)
def test_take_along_axis(x, data, seed):
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    assume(x.shape[axis])
    shape = list(x.shape)
    shape[axis] = data.draw(st.integers(0, 4))
    indices = rng.integers(-x.shape[axis], x.shape[axis], shape)
    check(lambda x: tg.take_along_axis(x, indices, axis), lambda x: np.take_along_axis(x, indices, axis), [x], rng)


@given(seed=seeds)
def test_take_along_axis_broadcasts_its_indices(seed):
    rng = np.random.default_rng(seed)
    x, indices = rng.uniform(-2, 2, (3, 4)), rng.integers(0, 3, (2, 1))
    check(lambda x: tg.take_along_axis(x, indices, 0), lambda x: np.take_along_axis(x, indices, 0), [x], rng)


# -- methods and operators are the operations --------------------------------------------------------------------------

METHODS = {
    "sum": lambda x: (x.sum(axis=0), tg.sum(x, 0)),
    "mean": lambda x: (x.mean(axis=0, keepdims=True), tg.mean(x, 0, True)),
    "var": lambda x: (x.var(ddof=1), tg.var(x, ddof=1)),
    "max": lambda x: (x.max(axis=1), tg.max(x, 1)),
    "min": lambda x: (x.min(), tg.min(x)),
    "prod": lambda x: (x.prod(axis=1), tg.prod(x, 1)),
    "cumsum": lambda x: (x.cumsum(axis=1), tg.cumsum(x, 1)),
    "clip": lambda x: (x.clip(0.5, None), tg.clip(x, 0.5)),
    "reshape": lambda x: (x.reshape(3, -1), tg.reshape(x, (3, 2))),
    "reshape to a tuple": lambda x: (x.reshape((6,)), tg.reshape(x, 6)),
    "transpose": lambda x: (x.transpose(), tg.transpose(x)),
    "transpose with axes": lambda x: (x.transpose(1, 0), tg.transpose(x, (1, 0))),
    "transpose with a tuple": lambda x: (x.transpose((1, 0)), tg.transpose(x, (1, 0))),
    "T": lambda x: (x.T, tg.transpose(x)),
    "mT": lambda x: (x.mT, tg.swapaxes(x, 0, 1)),
    "swapaxes": lambda x: (x.swapaxes(0, 1), tg.swapaxes(x, 0, 1)),
    "squeeze": lambda x: (x[:1].squeeze(0), x[0]),
    "astype": lambda x: (x.astype(np.float32), tg.astype(x, np.float32)),
    "flatten": lambda x: (x.flatten(), tg.ravel(x)),
    "flip": lambda x: (x.flip(1), tg.flip(x, 1)),
    "pow": lambda x: (x.pow(3), tg.power(x, 3)),
    "abs()": lambda x: (x.abs(), tg.absolute(x)),
    "dot": lambda x: (x.dot(x.T), tg.matmul(x, x.T)),
    "take": lambda x: (x.take([1], axis=1), x[:, [1]]),
    "repeat": lambda x: (x.repeat(2, axis=0), tg.repeat(x, 2, 0)),
    "std": lambda x: (x.std(ddof=1), tg.std(x, ddof=1)),
    "median": lambda x: (x.median(axis=0), tg.median(x, 0)),
    "norm": lambda x: (x.norm(axis=1), tg.norm(x, 1)),
    "cumprod": lambda x: (x.cumprod(axis=0), tg.cumprod(x, 0)),
    "trace": lambda x: (x.trace(), tg.trace(x)),
    "diagonal": lambda x: (x.diagonal(1), tg.diagonal(x, 1)),
    "softmax": lambda x: (x.softmax(), tg.softmax(x)),
    "logsumexp": lambda x: (x.logsumexp(axis=1), tg.logsumexp(x, 1)),
    **{
        name: lambda x, name=name: (getattr(x, name)(), getattr(tg, name)(x))
        for name in ("cos", "exp", "log", "relu", "ravel", "sigmoid", "sin", "sqrt", "square", "tanh")
    },
    "+": lambda x: (x + 2, tg.add(x, 2)),
    "-": lambda x: (2 - x, tg.subtract(2, x)),
    "*": lambda x: (2 * x, tg.multiply(2, x)),
    "/": lambda x: (2 / x, tg.divide(2, x)),
    "**": lambda x: (x**2, tg.square(x)),
    "** from the right": lambda x: (2**x, tg.power(2, x)),
    "@": lambda x: (x @ x.T, tg.matmul(x, tg.transpose(x))),
    "abs": lambda x: (abs(x), tg.absolute(x)),
    "-x": lambda x: (-x, tg.negative(x)),
    "%": lambda x: (x % 0.4, tg.remainder(x, 0.4)),
    "% from the right": lambda x: (7 % x, tg.remainder(7, x)),
    "divmod": lambda x: (divmod(x, 0.4)[1], tg.remainder(x, 0.4)),
    "divmod from the right": lambda x: (divmod(7, x)[1], tg.remainder(7, x)),
    "+x": lambda x: (+x, x),
    "[]": lambda x: (x[:, 1], tg.getitem(x, (slice(None), 1))),
}


@pytest.mark.parametrize("both", METHODS.values(), ids=METHODS)
def test_methods_and_operators_equal_the_operations(both):
    x = Tensor([[0.5, 1.5, 0.25], [2.5, 0.75, 1.25]], requires_grad=True)
    method, operation = both(x)
    assert method.dtype == operation.dtype
    assert method.data.tolist() == operation.data.tolist()
    assert grad(method.sum(), x).data.tolist() == grad(operation.sum(), x).data.tolist()


# Methods and operators whose results have no gradient, and NumPy's.
PLAIN = {
    "argmax": lambda x: [x.argmax(), x.argmax(axis=1).tolist()],
    "argmin": lambda x: [x.argmin(), x.argmin(axis=1).tolist()],
    "argsort": lambda x: [x.argsort().tolist(), x.argsort(axis=None).tolist()],
    "all": lambda x: [x.all(), x.all(axis=0).tolist()],
    "any": lambda x: [x.any(), x.any(axis=0).tolist()],
    "tolist": lambda x: x.tolist(),
    "round": lambda x: round(x, 1).tolist(),
    "//": lambda x: (x // 0.4).tolist(),
    "// from the right": lambda x: (7 // (x + 1)).tolist(),
    "divmod": lambda x: divmod(x, 0.4)[0].tolist(),
    "divmod from the right": lambda x: divmod(7, x + 1)[0].tolist(),
}


@pytest.mark.parametrize("method", PLAIN.values(), ids=PLAIN)
def test_methods_without_gradient_return_numpys_result(method):
    x = Tensor([[0.55, 3.25], [0.0, 2.0]], requires_grad=True)
    expected = method(np.array(x.tolist())) if method is not PLAIN["round"] else np.round(x.data, 1).tolist()
    assert method(x) == expected


# -- invalid arguments ------------------------------------------------------------------------------------------------

t = Tensor(np.ones((2, 3)), requires_grad=True)
empty = Tensor(np.ones((0, 3)), requires_grad=True)

INVALID = {
    "an axis that is not there": (IndexError, "sum: axis 2 is out of range for 2 dimensions", lambda: t.sum(2)),
    "an axis twice": (ValueError, r"sum: axis \(0, -2\) contains a dimension twice", lambda: t.sum((0, -2))),
    "the mean of nothing": (ValueError, r"mean: there are no elements along axis \(0,\)", lambda: empty.mean(0)),
    "the largest of nothing": (ValueError, r"max: there are no elements", empty.max),
    "the variance of one": (ValueError, "var: 1 elements are too few for ddof=1", lambda: t[0, 0].var(ddof=1)),
    "no permutation": (ValueError, r"transpose: axes \(0, 0\) are not a permutation", lambda: t.transpose(0, 0)),
    "no size of 1": (ValueError, r"squeeze: an axis of 0 in shape \(2, 3\)", lambda: t.squeeze(0)),
    "shapes that differ": (ValueError, r"stack: all shapes must be equal", lambda: tg.stack([t, t[0]])),
    "nothing to join": (ValueError, "concatenate: give at least one tensor", lambda: tg.concatenate([])),
    "an axis out of range": (IndexError, "squeeze: axis 5 is out of range for 2 dimensions", lambda: t.squeeze(5)),
    "no parts": (ValueError, "the number of parts must be at least 1; got 0", lambda: tg.split(t, 0)),
    "half a width": (TypeError, "pad: widths must be integers; got 1.5", lambda: tg.pad(t, 1.5)),
    "a mask for positions": (TypeError, "take: indices must be integers; got bool", lambda: tg.take(t, [True, False])),
    "a negative width": (ValueError, "pad: widths must not be negative", lambda: tg.pad(t, -1)),
    "too many labels": (ValueError, "einsum: 'ijk' .* does not match an operand", lambda: tg.einsum("ijk->i", t)),
    "too many operands": (ValueError, "must have one term for each of the 2 operands", lambda: tg.einsum("ij->", t, t)),
    "two sizes": (ValueError, "a label has two sizes", lambda: tg.einsum("ij,ji->", t, t)),
    "an index of floats": (
        IndexError,
        "must consist of integers, booleans or slices; got float64",
        lambda: t[[0.5, 1.0]],
    ),
    "an index that is not there": (IndexError, r"getitem\(.* index 5 is out of bounds", lambda: t[5]),
    "indices of another rank": (
        IndexError,
        "take_along_axis: indices must be integers with 2 dimensions",
        lambda: tg.take_along_axis(t, [0, 1], 0),
    ),
    "no broadcast": (ValueError, r"shape \(4,\) cannot be broadcast to \(2, 3\)", lambda: tg.sum_to(t, (4,))),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_arguments_raise_a_clear_error(name):
    error, message, call = INVALID[name]
    with pytest.raises(error, match=message):
        call()


def test_clip_rejects_bounds_that_require_a_gradient():
    with pytest.raises(TypeError, match="clip: no gradient flows to the bounds"):
        tg.clip(variable([1.0]), None, variable([2.0]))


def test_concatenate_with_axis_none_flattens():
    x, y = tg.Tensor([[1.0, 2.0]], requires_grad=True), tg.Tensor(3.0, requires_grad=True)
    joined = np.concatenate([x, y], axis=None)
    np.testing.assert_array_equal(joined.data, [1, 2, 3])
    np.testing.assert_array_equal(tg.grad(joined, x, gradient=[4.0, 5.0, 6.0]).data, [[4, 5]])
    np.testing.assert_array_equal(np.concatenate([x, [3.0], 4.0], axis=None).data, [1, 2, 3, 4])
