"""NumPy's functions of tensors: the values of NumPy, and correct first and second derivatives.

Each function is called by its NumPy name with tensors, and with arrays for the expected values. :data:`CALLS` has one
entry for each operation that is composed of others; primitives have a spec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.evidence.inverse_specs import invertible
from tests.evidence.specs import SPECS
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.gradcheck import check_gradients
from tinygrad_cifar.engine.ops import OPERATIONS
from tinygrad_cifar.testing.strategies import between, distinct, either_side, moderate, seeds


class Arguments(NamedTuple):
    """The arguments of one call after the arrays."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


class Calls(NamedTuple):
    """Calls of one function: how to fill the arrays, their shapes, the other arguments, and how to call it."""

    fill: Callable[..., Any]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    arguments: tuple[Arguments, ...]
    arrange: Callable[..., Any] | None = None


def a(*positional: Any, **named: Any) -> Arguments:
    return Arguments(positional, named)


def calls(fill: Any, shapes: list[Any], *arguments: Arguments, arrange: Any = None) -> Calls:
    return Calls(fill, tuple(shapes), arguments or (a(),), arrange)


def with_nan(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Fill with numbers, some of which are NaN, but not all of a row or column."""
    x = rng.uniform(0.3, 2, shape)
    x.flat[:: max(shape[-1] + 1, 2)] = np.nan
    return x


def listed(function: Any, *parts: Any, **named: Any) -> Any:
    """Call a function of a sequence."""
    arrays = [part for part in parts if isinstance(part, (np.ndarray, Tensor))]
    return function(arrays, *parts[len(arrays) :], **named)


def condition_first(function: Any, x: Any, condition: Any, **named: Any) -> Any:
    return function(condition, x, **named)


ONE = [((3,),), ((2, 3),), ((2, 3, 2),)]
MATRICES = [((3, 3),), ((2, 4),), ((4, 2),)]
PAIRS = [((3,), (3,)), ((2, 3), (3,)), ((2, 1), (2, 3))]
AXES = (a(), a(axis=0), a(axis=-1), a(axis=1, keepdims=True), a(axis=(0, 1)))
SMALL = [((2, 3),), ((3, 2, 2),)]
SQUARE = [((1, 1),), ((3, 3),), ((2, 4, 4),)]
NAN_AXES = (a(), a(axis=0), a(axis=-1, keepdims=True))

CALLS: dict[str, Calls] = {
    # element by element
    "reciprocal": calls(either_side(0.4, 2), ONE),
    "logaddexp2": calls(moderate, PAIRS),
    "deg2rad": calls(between(-200, 200), ONE),
    "rad2deg": calls(moderate, ONE),
    "fmax": calls(distinct, [((3,), (1,)), ((2, 2), (2, 2))]),
    "fmin": calls(distinct, [((3,), (1,)), ((2, 2), (2, 2))]),
    "copysign": calls(either_side(0.3, 2), ONE, a(-1.0), a(0.0), a(-0.0), a(2)),
    "fmod": calls(either_side(1.1, 1.9), PAIRS),
    "nan_to_num": calls(with_nan, [((2, 3),)], a(), a(nan=7.0)),
    "clip": calls(distinct, SMALL, a(-0.1, 0.6), a(min=0.1), a(a_min=None, a_max=0.4)),
    "floor": calls(moderate, ONE),
    "ceil": calls(moderate, ONE),
    "trunc": calls(moderate, ONE),
    "rint": calls(moderate, ONE),
    "round": calls(moderate, ONE, a(), a(1), a(decimals=-1)),
    "heaviside": calls(moderate, ONE, a(0.5)),
    "floor_divide": calls(either_side(0.4, 2), PAIRS),
    "select": calls(
        moderate,
        [((3,), (3,), (3,)), ((2, 3), (3,), (2, 1))],
        a(),
        arrange=lambda function, x, y, z: function([[True, False, False], [False, True, False]], [x, y], z),
    ),
    # shapes
    "ravel": calls(moderate, [((),), *ONE, ((2, 0),)]),
    "atleast_1d": calls(moderate, [((),), *ONE]),
    "atleast_2d": calls(moderate, [((),), *ONE]),
    "atleast_3d": calls(moderate, [((),), *ONE]),
    "moveaxis": calls(moderate, [((2, 3, 4),)], a(0, -1), a((0, 1), (-1, 0)), a(source=-2, destination=0)),
    "rollaxis": calls(moderate, [((2, 3, 4),)], a(2), a(0, 3), a(-1, start=1)),
    "swapaxes": calls(moderate, [((2, 3, 4),)], a(0, -1), a(axis1=1, axis2=2)),
    "expand_dims": calls(moderate, ONE, a(0), a((0, -1)), a(axis=1)),
    "squeeze": calls(moderate, [((1, 3, 1),)], a(), a(0), a(axis=(0, 2))),
    "flipud": calls(moderate, ONE),
    "fliplr": calls(moderate, [((2, 3),), ((2, 3, 2),)]),
    "rot90": calls(moderate, [((2, 3),), ((2, 3, 2),)], *[a(k) for k in range(-1, 5)], a(axes=(1, 0))),
    "tile": calls(moderate, [((),), *ONE], a(2), a((2, 1)), a(reps=(2, 1, 3)), a(0)),
    "broadcast_arrays": calls(moderate, PAIRS),
    "meshgrid": calls(moderate, [((3,), (2,)), ((3,), (2,), (2,)), ((3,),)], a(), a(indexing="ij")),
    "pad": calls(
        moderate,
        [((3,),), ((3, 4),)],
        a(2),
        a((1, 2), constant_values=5.0),
        *[a((2, 1), mode=mode) for mode in ("edge", "reflect", "symmetric", "wrap")],
    ),
    # joining and splitting
    "stack": calls(moderate, [((3,), (3,))], a(), a(1), a(axis=-1), arrange=listed),
    "vstack": calls(moderate, [((3,), (3,)), ((2, 3), (1, 3))], arrange=listed),
    "hstack": calls(moderate, [((3,), (2,)), ((2, 3), (2, 1))], arrange=listed),
    "dstack": calls(moderate, [((3,), (3,)), ((2, 3), (2, 3))], arrange=listed),
    "column_stack": calls(moderate, [((3,), (3,)), ((3,), (3, 2))], arrange=listed),
    "append": calls(moderate, [((2, 3), (1, 3))], a(), a(0), a(axis=-2)),
    "block": calls(moderate, [((2, 2), (2, 3))], arrange=lambda function, x, y: function([[x, y], [y, x]])),
    "roll": calls(moderate, SMALL, a(1), a(-4), a(2, 0), a((1, 2), axis=(0, 1)), a(2, axis=(0, 1))),
    "repeat": calls(moderate, [((3, 2),), ((2, 3, 2),)], a(2), a(3, axis=1), a(0, axis=0), a([1, 0, 2], axis=-2)),
    "array_split": calls(moderate, [((5, 4),)], a(2), a(3, axis=1), a([1, 3]), a([3, 1, 9])),
    "split": calls(moderate, [((4, 6),)], a(2), a(3, axis=1), a([1, 3], axis=-1)),
    "vsplit": calls(moderate, [((4, 6),)], a(2), a([1])),
    "hsplit": calls(moderate, [((4, 6),), ((6,),)], a(2), a([1])),
    "dsplit": calls(moderate, [((2, 3, 4),)], a(2), a([1])),
    "unstack": calls(moderate, SMALL, a(), a(axis=1)),
    # indexing
    "take": calls(
        moderate,
        SMALL,
        a([0, 1, 1]),
        a([[1, 0], [1, 1]], axis=1),
        a(-1, 0),
        a([7, -9], mode="wrap"),
        a([7, -9], axis=0, mode="clip"),
    ),
    "take_along_axis": calls(moderate, [((2, 3),)], a(np.array([[2, 0], [1, 1]]), axis=1), a(np.array([[1, 2]]).T)),
    "delete": calls(moderate, SMALL, a(1), a([0, 1], axis=1), a(slice(1), axis=0)),
    "compress": calls(moderate, SMALL, a([True, False]), a([True, False], axis=1), arrange=condition_first),
    "extract": calls(moderate, [((2, 3),)], a([[1, 0, 1], [0, 1, 1]]), arrange=condition_first),
    "diagonal": calls(moderate, [*MATRICES, ((2, 3, 4),)], a(), a(1), a(-1), a(5), a(axis1=1, axis2=0)),
    "diag": calls(moderate, [((3,),), *MATRICES], a(), a(1), a(k=-2), a(np.int8(-1))),
    "diagflat": calls(moderate, [((3,),), ((2, 2),)], a(), a(1)),
    "tril": calls(moderate, [*MATRICES, ((2, 3, 4),)], a(), a(1), a(k=-1)),
    "triu": calls(moderate, [*MATRICES, ((2, 3, 4),)], a(), a(1), a(k=-1)),
    "sort": calls(distinct, SMALL, a(), a(0), a(axis=None), a(kind="stable")),
    # reductions and statistics
    "cumprod": calls(either_side(0.4, 1.6), SMALL, a(), a(0), a(axis=-1)),
    "mean": calls(moderate, SMALL, *AXES, a(0, None)),
    "var": calls(moderate, SMALL, *AXES, a(ddof=1), a(0, None, None, 1)),
    "std": calls(moderate, SMALL, *AXES, a(ddof=1), a(correction=1)),
    "average": calls(moderate, [((2, 3),)], a(), a(1), a(axis=0, keepdims=True)),
    "ptp": calls(distinct, SMALL, *AXES),
    "quantile": calls(distinct, SMALL, *[a(0.3, *x.positional, **x.named) for x in AXES], a([0, 0.5, 1], axis=0)),
    "percentile": calls(distinct, SMALL, a(30), a([0, 50, 100], axis=-1), a(q=75, axis=0, keepdims=True)),
    "median": calls(distinct, [*SMALL, ((4, 4),)], *AXES),
    "cov": calls(moderate, [((2, 5),), ((5,),)], a(), a(bias=True), a(ddof=0)),
    "corrcoef": calls(moderate, [((2, 5),), ((3, 4),)], a(), a(rowvar=True)),
    "nansum": calls(with_nan, [((3, 4),)], *NAN_AXES),
    "nanprod": calls(with_nan, [((3, 4),)], *NAN_AXES),
    "nanmax": calls(with_nan, [((3, 4),)], *NAN_AXES),
    "nanmin": calls(with_nan, [((3, 4),)], *NAN_AXES),
    "nanmean": calls(with_nan, [((3, 4),)], *NAN_AXES),
    "nanvar": calls(with_nan, [((3, 4),)], *NAN_AXES, a(ddof=1)),
    "nanstd": calls(with_nan, [((3, 4),)], *NAN_AXES, a(ddof=1)),
    "nancumsum": calls(with_nan, [((3, 4),)], a(), a(axis=1)),
    "nancumprod": calls(with_nan, [((3, 4),)], a(), a(axis=1)),
    # linear algebra
    "dot": calls(moderate, [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((), (2,)), ((2, 2), (2, 2, 3))]),
    "vdot": calls(moderate, [((3,), (3,)), ((2, 3), (3, 2))]),
    "vecdot": calls(moderate, [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (2, 3))], a(), a(axis=-1)),
    "matvec": calls(moderate, [((2, 3), (3,)), ((2, 2, 3), (2, 3))]),
    "vecmat": calls(moderate, [((3,), (3, 2)), ((2, 3), (2, 3, 2))]),
    "inner": calls(moderate, [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((), (2,))]),
    "outer": calls(moderate, [((3,), (2,)), ((2, 2), (3,)), ((), (2,))]),
    "tensordot": calls(moderate, [((2, 3, 4), (3, 4, 2))], a(), a(axes=([0], [2])), a(([1, 2], [0, 1])), a(0)),
    "kron": calls(moderate, [((2,), (3,)), ((2, 2), (2, 1)), ((2,), (2, 2))]),
    "cross": calls(moderate, [((3,), (3,)), ((2, 3), (3,))], a(), a(axis=-1)),
    "trace": calls(moderate, [*MATRICES, ((2, 3, 4),)], a(), a(1), a(axis1=1, axis2=0)),
    "convolve": calls(moderate, [((4,), (3,)), ((2,), (5,))], a(), a("same"), a(mode="valid")),
    "correlate": calls(moderate, [((4,), (3,)), ((3,), (3,))], a(), a("same"), a(mode="full")),
    "norm": calls(
        either_side(0.3, 2),
        [((2, 3),)],
        a(),
        a(1),
        a("fro"),
        a(ord=np.inf),
        a(-1),
        a(-np.inf),
        a(axis=1),
        a(3, axis=0),
        a(1, axis=1, keepdims=True),
        a(0, 1),
        a(2, -1),
        a(np.inf, 0),
        a(-np.inf, 1),
        a(0.5, 1),
    ),
    "inv": calls(invertible, SQUARE),
    "det": calls(invertible, SQUARE),
    "slogdet": calls(invertible, SQUARE),
    # sampled functions
    "diff": calls(moderate, SMALL, a(), a(2), a(axis=0), a(0), a(prepend=0.5, append=1.0), a(axis=0, append=0.0)),
    "ediff1d": calls(moderate, SMALL, a(), a(1.0), a(to_begin=[0.0, 1.0])),
    "gradient": calls(moderate, [((4,),), ((3, 4),)], a(), a(0.5), a(axis=0)),
    "trapezoid": calls(moderate, SMALL, a(), a(dx=0.5), a(axis=0), a(None, 2.0, 1)),
    "interp": calls(
        between(0.1, 1.9),
        [((3,),), ((2, 3),)],
        a([0.0, 0.5, 2.0], [1.0, 3.0, 2.0]),
        a([0.7, 0.9], [1.0, 3.0]),
        a([0.7, 0.9], [1.0, 3.0], left=0.0, right=9.0),
    ),
    "polyval": calls(moderate, [((3,), (2, 2)), ((1,), ())]),
    "vander": calls(either_side(0.3, 2), [((3,),)], a(), a(2), a(4, increasing=True)),
    "linspace": calls(moderate, [((), ()), ((2,), (2,)), ((2,), ())], a(4), a(3, endpoint=False), a(3, axis=-1)),
}


def numpys(name: str) -> Any:
    return getattr(np, name, None) or getattr(np.linalg, name)


NOT_IN_NUMPY = {"avg_pool2d", "channels_first", "channels_last", "gelu"}  # tested with the layers of images


def test_every_composition_is_called():
    assert set(OPERATIONS) - set(SPECS) - set(CALLS) == NOT_IN_NUMPY


def outputs(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


@pytest.mark.parametrize("name", [name for name in CALLS if name != "unstack" or hasattr(np, name)])  # NumPy 2.1
def test_values_and_derivatives(name):
    @settings(max_examples=max(1, settings().max_examples // 3))  # each is differentiated twice
    @given(data=st.data(), seed=seeds)
    def holds(data, seed):
        check_call(name, data, seed)

    holds()


def check_call(name: str, data: Any, seed: int) -> None:
    """Check one call, with drawn shapes, arguments and elements."""
    spec, rng = CALLS[name], np.random.default_rng(seed)
    shapes = data.draw(st.sampled_from(spec.shapes))
    positional, named = data.draw(st.sampled_from(spec.arguments))
    arrays = [np.asarray(spec.fill(rng, shape)) for shape in shapes]
    arrange = spec.arrange or (lambda function, *arguments, **options: function(*arguments, **options))

    def function(*xs: Any) -> list[Any]:
        return outputs(arrange(numpys(name), *xs, *positional, **named))

    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    out, expected = function(*leaves), function(*arrays)
    assert len(out) == len(expected)
    for mine, numpy in zip(out, expected, strict=True):
        assert isinstance(mine, Tensor)
        assert mine.shape == np.shape(numpy)
        np.testing.assert_allclose(mine.data, numpy, rtol=1e-13, atol=1e-14)
    recorded = [t for t in out if t.requires_grad and t.size]
    if recorded:
        present = [not np.isnan(array).any() for array in arrays]
        check_gradients(
            lambda *xs: tg.concatenate([tg.ravel(t) for t in function(*xs) if t.requires_grad or not t.size]),
            *arrays,
            rng=rng,
            second_order=all(present),
        ) if all(present) else check_where_present(function, arrays, rng)


def check_where_present(function: Any, arrays: list[Any], rng: np.random.Generator) -> None:
    """Check the gradient with respect to the elements that are not NaN; that of the others is 0."""
    (array,) = arrays
    present = ~np.isnan(array)

    def of_the_others(values: Any) -> Any:
        full = tg.index_update(np.where(present, 0.0, array), present, values)
        return tg.concatenate([tg.ravel(t) for t in function(full)])

    check_gradients(of_the_others, array[present], rng=rng, second_order=True)
    leaf = Tensor(array, requires_grad=True)
    total = tg.concatenate([tg.ravel(t) for t in function(leaf)]).sum()
    assert tg.grad(total, leaf).data[~present].tolist() == [0.0] * int((~present).sum())


# -- integers, infinities ----------------------------------------------------------------------------------------------

BYTES, SIGNED = np.array([200, 17, 90], np.uint8), np.array([-128, 100, -90], np.int8)
WITH_INTEGERS = {
    "interp between integers": lambda x: np.interp(x, [0, 1, 2], BYTES),
    "interp at integers": lambda x: np.interp(x, np.sort(SIGNED), [0.0, 1.0, 5.0]),
    "arctan2 with integers": lambda x: np.arctan2(x, np.array([17, -100, 100], np.int8)),
    "fmod by integers": lambda x: np.fmod(x, SIGNED),
    "logaddexp2 with float16": lambda x: np.logaddexp2(x, np.array([300, 1, 2], np.float16)),
    "average weighted by integers": lambda x: np.average(x, weights=BYTES),
}


@pytest.mark.parametrize("call", WITH_INTEGERS.values(), ids=WITH_INTEGERS)
def test_small_integers_beside_a_tensor_do_not_wrap_around(call):
    x = np.array([0.5, 1.25, 0.75])
    np.testing.assert_allclose(call(Tensor(x)).data, call(x), rtol=1e-13)
    check_gradients(call, x)


OF_INTEGERS = {
    "median": np.median,
    "quantile": lambda x: np.quantile(x, [0.3, 0.9]),
    "nanmean": np.nanmean,
    "nanvar": np.nanvar,
    "average": lambda x: np.average(x, weights=x),
    "cumprod": np.cumprod,
    "gradient": np.gradient,
    "trapezoid": np.trapezoid,
    "fabs": np.fabs,
}


@pytest.mark.parametrize("x", [BYTES, SIGNED, BYTES > 50], ids=["uint8", "int8", "bool"])
@pytest.mark.parametrize("name", OF_INTEGERS)
def test_small_integers_give_the_result_of_floats(name, x):
    np.testing.assert_allclose(OF_INTEGERS[name](Tensor(x)).data, OF_INTEGERS[name](x.astype(float)), rtol=1e-12)


INFINITE = {
    "the middle of three": (np.median, [np.inf, -3.0, 1.0]),
    "the middle of five": (np.median, [1.0, 2.0, 3.0, np.inf, np.inf]),
    "between two infinities": (np.median, [np.inf, np.inf, 1.0, np.inf]),
    "nanvar": (np.nanvar, [np.inf, 1.0]),
    "fraction": (lambda x: np.modf(x)[0], [np.inf, -1.5]),
}


@pytest.mark.parametrize(("function", "x"), INFINITE.values(), ids=INFINITE)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_infinite_elements_give_numpys_result(function, x):
    np.testing.assert_array_equal(function(Tensor(x)).data, function(np.array(x)))


def test_median_that_is_an_element_beside_an_infinity_has_its_gradient():
    t = Tensor([np.inf, -3.0, 1.0], requires_grad=True)
    assert tg.grad(np.median(t), t).data.tolist() == [0.0, 0.0, 1.0]


OF_LINALG = {
    "matmul": [(2, 2), (2, 2)],
    "outer": [(2,), (3,)],
    "trace": [(2, 3, 3)],
    "matrix_transpose": [(2, 3)],
    "diagonal": [(2, 3, 3)],
    "cross": [(2, 3), (3,)],
    "tensordot": [(2, 3, 4), (3, 4)],
    "vecdot": [(2, 3), (3,)],
    "solve": [(2, 3, 3), (3,)],
    "inv": [(3, 3)],
    "det": [(3, 3)],
}


@pytest.mark.parametrize("name", OF_LINALG)
def test_functions_of_numpys_linalg_with_an_operation(name):
    function, rng = getattr(np.linalg, name), np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in OF_LINALG[name]]
    out = function(*[Tensor(array, requires_grad=True) for array in arrays])
    np.testing.assert_allclose(out.data, function(*arrays))
    assert out.requires_grad


@pytest.mark.parametrize(
    "function",
    [
        lambda np, x: np.fmod(x, 4),
        lambda np, x: np.fmod(x, -4.5),
        lambda np, x: np.copysign(x, -1.0),
        lambda np, x: np.copysign(x, 1),
        lambda np, x: np.ediff1d(x, to_end=0.0, to_begin=[1, 2]),
    ],
)
def test_python_numbers_keep_float32(function):
    x = np.array([5.5, -2.0, 7.0], dtype=np.float32)
    expected = function(np, x)
    result = function(tg, Tensor(x)).data
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == expected.dtype == np.float32


@pytest.mark.parametrize("name", ["nanmax", "nanmin"])
def test_extrema_without_nan_of_large_integers_are_exact(name):
    x = np.array([2**53 + 1, 2**60 + 1])
    assert getattr(tg, name)(x) == getattr(np, name)(x)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_positions_of_a_small_type_wrap_around_on_a_long_axis(dtype):
    x, positions = np.arange(300.0), np.array([5, 100], dtype=dtype)
    np.testing.assert_array_equal(tg.take(x, positions, mode="wrap"), np.take(x, positions, mode="wrap"))


def test_a_position_of_a_quantile_that_requires_a_gradient_is_refused():
    with pytest.raises(TypeError, match="no gradient flows to q"):
        tg.quantile(np.arange(3.0), Tensor(0.5, requires_grad=True))
