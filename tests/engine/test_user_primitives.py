"""User-defined primitives: names and order of arguments, protection of saved arrays, and invalid definitions."""

from __future__ import annotations

import operator
import re
from functools import partial, wraps

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar.engine import primitives
from tinygrad_cifar.engine.primitives import PRIMITIVES


@pytest.fixture(autouse=True)
def _copy_of_the_table(monkeypatch):
    """Let tests register any name."""
    monkeypatch.setattr("tinygrad_cifar.engine.primitives.PRIMITIVES", dict(PRIMITIVES))


def leaf(*numbers):
    return tg.Tensor(list(numbers), requires_grad=True)


# -- names and orders --------------------------------------------------------------------------------------------------


@given(
    st.permutations(["x", "y"]) | st.permutations(["a", "b"]) | st.permutations(["b", "y"]),
    st.booleans(),
    st.sampled_from([(True, True), (True, False), (False, True)]),
)
def test_gradients_of_two_inputs_belong_to_their_names(names, reverse, recorded):
    """For any names of the inputs and any order of the VJPs, also if constant arrays change before backward."""
    primitives.PRIMITIVES.pop("product", None)
    first, second = names
    forward = eval(f"lambda {first}, {second}: {first}**2 * {second}")
    vjps = {
        first: eval(f"lambda g, {first}, {second}: g * 2 * {first} * {second}"),
        second: eval(f"lambda g, {first}: g * {first}**2"),
    }
    product = tg.primitive("product", forward, **dict(list(vjps.items())[:: -1 if reverse else 1]))
    arrays = [np.array([2.0, 3.0]), np.array([5.0, 7.0])]
    expected = [2 * arrays[0] * arrays[1], arrays[0] ** 2]
    inputs = [tg.Tensor(array, requires_grad=True) if on else array for array, on in zip(arrays, recorded, strict=True)]
    out = product(*inputs).sum()
    for array in arrays:
        array[:] = 0
    out.backward()
    for leaf_, gradient, on in zip(inputs, expected, recorded, strict=True):
        if on:
            np.testing.assert_array_equal(leaf_.grad.data, gradient)


def test_vjps_of_a_ufunc_may_be_in_any_order():
    quotient = tg.primitive("quotient", np.divide, y=lambda g, x, y: -g * x / y**2, x=lambda g, y: g / y)
    x, y = leaf(6.0), leaf(2.0)
    quotient(x, y).backward([1.0])
    assert (x.grad.item(), y.grad.item()) == (0.5, -1.5)


def test_inputs_may_be_keywords_or_defaults():
    scaled = tg.primitive("scaled", lambda x, by=2.0: x * by, x=lambda g, by: g * by, by=lambda g, x: g * x)
    x = leaf(3.0)
    assert tg.grad(scaled(x), x, [1.0]).item() == 2
    assert tg.grad(scaled(x, by=np.array([5.0])), x, [1.0]).item() == 5


def test_input_may_be_named_name():
    kept = tg.primitive("kept", lambda name: name * 1, name=lambda g: g)
    x = leaf(3.0)
    assert tg.grad(kept(x), x, [1.0]).item() == 1


def test_decorated_computation_has_the_arguments_of_the_original():
    def traced(function):
        @wraps(function)
        def wrapper(*arguments):
            return function(*arguments)

        return wrapper

    scaled = tg.primitive("scaled", traced(lambda x, by=2.0: x * by), x=traced(lambda g, by: g * by))
    x = leaf(3.0)
    assert tg.grad(scaled(x), x, [1.0]).item() == 2


# The names that the engine itself uses, and others.
NAMES = sorted(
    {
        "x",
        "y",
        "z",
        "g",
        "i",
        "xs",
        "out",
        "out_shape",
        "x_shape",
        "z_shape",
        "value",
        "index",
        "scores",
        "labels",
        "op",
    }
    | {"aux", "kink", "doc", "broadcasts", "name", "forward", "vjps", "arguments", "named", "self", "saved", "edges"}
)


@given(first=st.sampled_from(NAMES), second=st.sampled_from(NAMES), saves=st.sampled_from(["x", "y", "both"]))
def test_an_input_of_any_name_has_right_derivatives_or_is_rejected_by_name(first, second, saves):
    """For x**3 * y**2 at (2, 5), whatever x and y are called, with arguments given by position and by name."""
    assume(first != second)
    primitives.PRIMITIVES.pop("named", None)
    other = {"x": (first,), "y": (second,), "both": (first, second)}[saves]
    namespace = {"tg": tg, "np": np}
    vjps = {
        first: eval(f"lambda G, {first}, {second}: G * 3 * {first}**2 * {second}**2", namespace),
        second: eval(f"lambda G, {', '.join(dict.fromkeys((*other, first, second)))}: G * 2 * {second} * {first}**3"),
    }
    try:
        named = tg.primitive("named", eval(f"lambda {first}, {second}: {first}**3 * {second}**2"), **vjps)
    except TypeError as error:
        assert any(re.search(rf"\b{name}\b.* rename the input", str(error)) for name in (first, second))  # noqa: PT017
        return
    x, y = leaf(2.0), leaf(5.0)
    for out in (named(x, y), named(x, **{second: y}), named(**{second: y, first: x})):
        along_x, along_y = tg.grad(out, (x, y), [1.0], create_graph=True)
        assert (along_x.item(), along_y.item()) == (300, 80)
        assert [g.item() for g in tg.grad(along_x, (x, y), [1.0], retain_graph=True)] == [300, 120]
        assert [g.item() for g in tg.grad(along_y, (x, y), [1.0])] == [120, 16]


@given(first=st.sampled_from(NAMES), aux=st.sampled_from(NAMES))
def test_an_auxiliary_output_of_any_name_has_right_derivatives_or_is_rejected_by_name(first, aux):
    assume(first != "aux")  # Python refuses the same keyword twice
    primitives.PRIMITIVES.pop("with_aux", None)
    parameters = ", ".join(dict.fromkeys((first, aux)))
    vjp = eval(f"lambda G, {parameters}: G * 3 * ({first}**2 if {aux} is None else {aux})")
    try:
        with_aux = tg.primitive("with_aux", eval(f"lambda {first}: ({first}**3, {first}**2)"), aux=aux, **{first: vjp})
    except TypeError as error:
        assert any(re.search(rf"\b{name}\b.* rename the input", str(error)) for name in (first, aux))  # noqa: PT017
        return
    x = leaf(2.0)
    derivative = tg.grad(with_aux(**{first: x}), x, [1.0], create_graph=True)
    assert (derivative.item(), tg.grad(derivative, x, [1.0]).item()) == (12, 12)


@pytest.mark.parametrize("name", ["xs", "scores"])
def test_recorded_vjp_that_needs_its_auxiliary_output_is_explained(name):
    vjp = eval(f"lambda g, {name}: 3 * g * {name}")
    cube = tg.primitive("cube_of_aux", lambda x: (x**3, x**2), aux=name, x=vjp)
    x = leaf(2.0)
    assert tg.grad(cube(x), x, [1.0]).item() == 12
    with pytest.raises(TypeError, match=f"cube_of_aux: to be differentiated again, its VJP must not need {name}"):
        tg.hvp(lambda t: cube(t).sum(), [[2.0]], [[1.0]])


@pytest.mark.parametrize("arguments", [(), (1.0, 2.0)], ids=["none", "too many"])
def test_wrong_number_of_arguments_is_explained(arguments):
    with pytest.raises(TypeError, match=r"exp\(\) (missing|takes) 1 (required )?positional argument"):
        tg.exp(*arguments)


def test_vjp_of_a_variadic_primitive_must_declare_the_position():
    with pytest.raises(TypeError, match="total: the VJP of a variadic primitive must have the parameter i"):
        primitives.variadic_primitive("total", np.concatenate, lambda g: g)


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("argument", [leaf(1.0, 2.0), np.ones(2)], ids=["tensor", "array"])
@pytest.mark.parametrize("vjps", [{"x": lambda g: g}, {}], ids=["with a VJP", "without one"])
def test_computation_must_return_one_array(kind, argument, vjps):
    pair = tg.primitive("pair", lambda x: kind([x * 1, x * 2]), **vjps)
    with pytest.raises(TypeError, match=f"the computation must return one array; got a {kind.__name__} of 2 "):
        pair(argument)


@pytest.mark.parametrize("result", [lambda x: np.stack([x, x]), lambda x: (x, x, x), lambda x: [x, x]])
@pytest.mark.parametrize("argument", [leaf(1.0, 2.0), np.ones(2)], ids=["tensor", "array"])
def test_computation_with_an_auxiliary_output_must_return_two_arrays(result, argument):
    pair = tg.primitive("pair", result, aux="p", x=lambda g, p: g * p)
    with pytest.raises(TypeError, match="with aux='p' the computation must return a tuple of two arrays"):
        pair(argument)


def test_an_auxiliary_output_needs_a_vjp():
    with pytest.raises(TypeError, match="constant: an auxiliary output is for VJPs, but there is none"):
        tg.primitive("constant", lambda x: (x, x), aux="p")


def test_several_vjps_receive_the_auxiliary_output():
    product = tg.primitive(
        "product",
        lambda x, y: (x * y, np.array([x, y])),
        aux="both",
        x=lambda g, both: g * both[1],
        y=lambda g, both: g * both[0],
    )
    x, y = leaf(3.0), leaf(5.0)
    product(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (5.0, 3.0)


def test_a_recorded_vjp_without_the_auxiliary_output_says_so_for_every_input():
    product = tg.primitive(
        "product_again",
        lambda x, y: (x * y, np.array([x, y])),
        aux="both",
        x=lambda g, both: g * both[1],
        y=lambda g, both: g * both[0],
    )
    for i in range(2):
        leaves = [leaf(3.0), leaf(5.0)]
        with pytest.raises(TypeError, match="product_again: to be differentiated again, its VJP must not need both"):
            tg.grad(product(*leaves), leaves[i], create_graph=True)


# -- saved arrays ------------------------------------------------------------------------------------------------------


def test_vjp_cannot_write_to_its_cotangent():
    doubled = tg.primitive("doubled", lambda x: 2 * x, x=lambda g: np.multiply(g, 2, out=g))
    x, z = leaf(1.0), leaf(1.0)
    with pytest.raises(ValueError, match=r"doubled: the VJP for x must not write .* read-only"):
        (doubled(x) + z).backward([1.0])


def test_vjp_that_writes_is_named_while_a_nan_is_traced():
    doubled = tg.primitive("doubled_while_traced", lambda x: 2 * x, x=lambda g: np.multiply(g, 2, out=g))
    x, z = leaf(1.0), leaf(1.0)
    with (
        tg.trace_nonfinite(),
        pytest.raises(ValueError, match=r"doubled_while_traced: the VJP for x must not write .* read-only"),
    ):
        (doubled(x) + z).backward([1.0])


def test_cause_of_an_error_in_a_vjp_is_kept():
    def fail(g):  # noqa: ARG001 (its name declares the cotangent)
        raise ValueError("wrong") from KeyError("cause")

    with pytest.raises(ValueError, match="wrong") as caught:
        tg.primitive("failing_vjp", lambda x: 2 * x, x=fail)(leaf(1.0)).backward([1.0])
    assert isinstance(caught.value.__cause__, KeyError)


def test_vjp_cannot_write_to_saved_arrays():
    squared = tg.primitive("squared", lambda x: x * x, x=lambda g, x: np.multiply(2 * g, x, out=x))
    x = leaf(3.0)
    with pytest.raises(ValueError, match="read-only"):
        squared(x).backward([1.0])
    assert x.item() == 3


CONSTANT = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    "forward",
    [lambda x, c: c, lambda x, c: c[::-1], lambda x, c: CONSTANT],  # noqa: ARG005
    ids=["its argument", "a view of it", "a constant"],
)
def test_result_that_shares_memory_is_copied(forward):
    taken = tg.primitive("taken", forward, x=lambda g: 0 * g)
    c = np.array([3.0, 4.0])
    out = taken(leaf(0.0, 0.0), c)
    before = out.numpy()
    c[:], CONSTANT[:] = 9.0, 9.0
    np.testing.assert_array_equal(out.data, before)
    CONSTANT[:] = 1.0, 2.0


def test_contribution_that_the_vjp_retains_is_copied():
    kept = np.array([3.0])
    constant = tg.primitive("constant", lambda x: x * 3, x=lambda g: kept)  # noqa: ARG005
    x = leaf(1.0)
    constant(x).backward([1.0])
    kept[:] = 9
    assert x.grad.item() == 3


def test_new_result_is_not_copied():
    made = []

    def forward(x):
        out = x * 2
        made.append(out.ctypes.data)
        return out

    assert tg.primitive("made", forward, x=lambda g: 2 * g)(leaf(1.0)).data.ctypes.data == made[0]


def test_arrays_in_a_dictionary_are_copied():
    scaled = tg.primitive("scaled", lambda x, how: x * how["by"], x=lambda g, how: g * how["by"])
    x, how = leaf(1.0), {"by": np.array([2.0])}
    out = scaled(x, how)
    how["by"][:] = 0
    assert tg.grad(out, x, [1.0]).item() == 2


@pytest.mark.parametrize("kind", [int, complex])
def test_result_must_be_floating_point(kind):
    odd = tg.primitive("odd", lambda x: x.astype(kind), x=lambda g: g)
    with pytest.raises(TypeError, match=f"odd.*: the result is {np.dtype(kind)} for floating-point inputs"):
        odd(leaf(1.0))


def test_vjp_must_return_real_numbers():
    odd = tg.primitive("odd", lambda x: x * 1, x=lambda g: g * 1j)
    with pytest.raises(TypeError, match=r"odd: the VJP for x must return an array of real numbers; got array"):
        odd(leaf(1.0)).backward([1.0])


def test_user_defined_errors_are_not_changed():
    class OwnError(ValueError):
        pass

    def forward(x):  # noqa: ARG001
        raise OwnError("no")

    with pytest.raises(OwnError, match=r"^no$"):
        tg.primitive("failing", forward, x=lambda g: g)(leaf(1.0))


# -- definition -------------------------------------------------------------------------------------------------------


def test_vjp_of_the_wrong_shape_raises_an_error():
    wrong = tg.primitive("of_test_user_primitives_wrong_shape", lambda x: x * 2, x=lambda g: g.sum())
    with pytest.raises(RuntimeError, match=r"the VJP for x must return the shape of the input, \(2,\); got \(\)"):
        wrong(leaf(1.0, 2.0)).sum().backward()


def test_name_can_be_registered_once():
    with pytest.raises(ValueError, match=r"the name exp is already used in .*; choose another name"):
        tg.primitive("exp", np.exp, x=lambda g, out: g * out)


def test_vjp_parameters_must_be_arguments_of_the_primitive():
    with pytest.raises(TypeError, match="the VJP for x has the parameter weight, which is not an argument"):
        tg.primitive("of_test_user_primitives_asks", lambda x: x, x=lambda g, weight: g * weight)


def test_default_arguments_are_passed_to_the_vjp():
    flip = tg.primitive("flip_rows", lambda x, axis=0: np.flip(x, axis), x=lambda g, axis: tg.flip(g, axis))  # noqa: PLW0108
    x = tg.Tensor(np.zeros((2, 3)), requires_grad=True)
    (flip(x) * np.arange(6.0).reshape(2, 3)).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[3, 4, 5], [0, 1, 2]])
    np.testing.assert_array_equal(flip(np.arange(6).reshape(2, 3), axis=1), [[2, 1, 0], [5, 4, 3]])
    with pytest.raises(TypeError, match="flip_rows: takes the arguments x, axis"):
        flip(x, 1, 2)


class _Scale:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x


def test_primitive_of_any_callable():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    twice = tg.primitive("twice", partial(operator.mul, 2.0), b=lambda g: 2 * g)
    scale = tg.primitive("scale", _Scale(3.0), x=_Scale(3.0))
    running = tg.primitive("running", np.cumsum, a=lambda g: g[::-1].cumsum()[::-1])
    np.testing.assert_array_equal(tg.grad(twice(x).sum(), x).data, [2, 2])
    np.testing.assert_array_equal(tg.grad(scale(x).sum(), x).data, [3, 3])
    np.testing.assert_array_equal(tg.grad(running(x).sum(), x).data, [2, 1])


def test_computation_of_any_number_of_inputs_is_rejected():
    with pytest.raises(TypeError, match=r"total: there is a VJP for xs, but no input has a name \(write x, y"):
        tg.primitive("total", lambda *xs: np.sum(xs, 0), xs=lambda g: g)


def test_function_without_argument_names_is_rejected():
    with pytest.raises(TypeError, match=r"biggest: the arguments of .*max.* have no names; wrap it in a lambda"):
        tg.primitive("biggest", max, x=lambda g: g)


def test_cell_that_runs_again_replaces_its_primitive(monkeypatch):
    monkeypatch.setattr("tinygrad_cifar.engine.primitives.PRIMITIVES", dict(PRIMITIVES))
    cell = "cube = primitive('cube', lambda x: x**3, x=lambda g, x: {} * g * x**2)"
    notebook = {"__name__": "__main__", "primitive": tg.primitive}
    exec(cell.format(2), notebook)
    x = tg.Tensor(2.0, requires_grad=True)
    before = notebook["cube"](x)
    exec(cell.format(3), notebook)
    assert tg.grad(notebook["cube"](x), x).item() == 12
    assert tg.grad(before, x).item() == 8  # recorded operations keep their VJPs
    with pytest.raises(ValueError, match="the name cube is already used in __main__; choose another name"):
        exec(cell.format(3), notebook | {"__name__": "another"})
    with pytest.raises(ValueError, match=r"the name exp is already used in tinygrad_cifar\.engine\.ops\.exponential"):
        tg.primitive("exp", np.exp, x=lambda g, out: g * out)


def test_primitive_cannot_write_to_arrays_saved_in_other_graphs():
    double = tg.primitive("double", lambda x: np.multiply(x, 2, out=x), x=lambda g: 2 * g)
    w = tg.Tensor([2.0, 3.0], requires_grad=True)
    square = (w * w).sum()
    with pytest.raises(ValueError, match=r"double\(float64 array of shape \(2,\)\): output array is read-only"):
        double(w)
    np.testing.assert_array_equal(tg.grad(square, w).data, [4, 6])


@pytest.mark.parametrize(
    ("forward", "vjp", "message"),
    [
        (lambda x: x * 1, lambda _: None, "odd: the VJP for x must return an array of real numbers; got None"),
        (lambda x: x * 1, lambda _: [1.0, 2.0], r"odd: the VJP for x must return an array of real numbers; got \[1.0"),
        (lambda x: None, lambda g: g, "odd: the computation must return an array of numbers; got None"),  # noqa: ARG005
    ],
)
def test_results_that_are_not_arrays_are_rejected(forward, vjp, message):
    odd = tg.primitive("odd", forward, x=vjp)
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=message):
        tg.grad(odd(x).sum(), x)


def test_vjp_for_one_input_of_a_ufunc_may_declare_the_other():
    scaled = tg.primitive("scaled", np.multiply, x=lambda g, y: g * y)
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal(tg.grad(scaled(x, 3.0).sum(), x).data, [3, 3])
    with pytest.raises(TypeError, match="wrong: there is a VJP for z, but the inputs are x, y"):
        tg.primitive("wrong", np.multiply, z=lambda g: g)


def test_broadcast_inputs_need_broadcasts_true():
    vjps = {"x": lambda g, y: g * y, "y": lambda g, x: g * x}
    x, y = tg.Tensor(np.ones((4, 3)), requires_grad=True), tg.Tensor(np.ones(3), requires_grad=True)
    product = tg.primitive("product", np.multiply, **vjps)
    with pytest.raises(RuntimeError, match=r"the shape of the input, \(3,\); got \(4, 3\) .*broadcasts=True"):
        tg.grad(product(x, y).sum(), y)
    product = tg.primitive("product_with_broadcasting", np.multiply, broadcasts=True, **vjps)
    np.testing.assert_array_equal(tg.grad(product(x, y).sum(), y).data, [4, 4, 4])


@pytest.mark.parametrize(
    "vjps",
    [{"x": lambda g, out: g * out}, {"x": lambda g: g, "out": lambda g: g}],
    ids=["a VJP needs the result", "an input named out is differentiable"],
)
def test_an_input_named_out_is_rejected_where_it_is_ambiguous(vjps):
    with pytest.raises(TypeError, match=r"out would have two meanings in a VJP.*; rename the input"):
        tg.primitive("with_an_input_named_out", lambda x, out: x * out, **vjps)


def test_a_recorded_input_without_a_vjp_is_named():
    product = tg.primitive("product_with_one_vjp", lambda x, y: x * y, x=lambda g, y: g * y)
    with pytest.raises(TypeError, match=r"product_with_one_vjp: y has no VJP, so it must not be .* pass y.detach\(\)"):
        product(leaf(1.0), leaf(2.0))


def test_a_recorded_first_input_without_a_vjp_is_named():
    product = tg.primitive("product_with_second_vjp", lambda x, y: x * y, y=lambda g, x: g * x)
    with pytest.raises(TypeError, match=r"product_with_second_vjp: x has no VJP, so it must not be .* x.detach\(\)"):
        product(leaf(1.0), leaf(2.0))
    assert product(leaf(1.0).detach(), leaf(2.0)).item() == 2.0
    with tg.no_grad():
        assert product(leaf(1.0), leaf(2.0)).item() == 2.0


def test_a_primitive_of_two_inputs_takes_lists():
    total = tg.primitive("total_of_lists", lambda x, y: x + y, x=lambda g: g, y=lambda g: g)
    assert total([1.0, 2.0], [3.0, 4.0]).tolist() == [4.0, 6.0]
