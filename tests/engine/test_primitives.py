"""All oracles for all primitives of the derivative table."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import tinygrad_cifar as tg
from tests.evidence.specs import NOT_ELEMENTWISE, SPECS
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.gradcheck import complex_step
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing import exact, properties
from tinygrad_cifar.testing.cases import Case, Kink, Spec
from tinygrad_cifar.testing.strategies import seeds

LIST_PRIMITIVES = """
import pkgutil, importlib, tinygrad_cifar
from tinygrad_cifar.engine.primitives import PRIMITIVES
for module in pkgutil.walk_packages(tinygrad_cifar.__path__, "tinygrad_cifar."):
    if module.name.rpartition(".")[2] != "__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:  # an extra that is not installed; primitives need only NumPy
            assert not missing.name.startswith("tinygrad_cifar"), missing
print(*sorted(PRIMITIVES))
"""


def test_specs_and_primitives_are_the_same_set():
    """In a separate process, since tests and examples register primitives as well."""
    found = subprocess.run([sys.executable, "-c", LIST_PRIMITIVES], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert sorted(SPECS) == found.stdout.split()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_cases_of_a_spec_exercise_every_vjp(name):
    vjps = set(PRIMITIVES[name].vjps)

    def exercises_all(case):
        node = properties.node_of(properties.bound(SPECS[name], case)(*properties.leaves(case)))
        return {vjp.input for _, vjp, _ in node.edges} == vjps if node else not vjps

    # Raises if there is no such case.
    find(SPECS[name].cases, exercises_all, settings=settings(phases=[Phase.generate]))


EVERY = {"second_order": 2, "layout": 2, "exact_adjoint": 4}  # the slow ones: every second case, or every fourth


@functools.cache
def drawn_cases(name):
    """Return cases of a primitive with seeds, drawn once for all properties: drawing takes longer than checking."""
    drawn = []

    @settings(phases=[Phase.generate])
    @given(case=SPECS[name].cases, seed=seeds)
    def draw(case, seed):
        drawn.append((case, seed))

    draw()
    return drawn


@pytest.mark.parametrize("check", properties.PROPERTIES)
@pytest.mark.parametrize("name", sorted(SPECS))
def test_property(check, name):
    spec = SPECS[name]
    if check == "step_into_the_complex_plane" and not spec.analytic:
        pytest.skip("not analytic")
    if check == "exact_adjoint" and not spec.affine:
        pytest.skip("not affine")
    if check == "broadcasting" and name not in ELEMENTWISE:
        pytest.skip("not element-wise")

    def holds(case, seed):
        properties.PROPERTIES[check](spec, copy.deepcopy(case), np.random.default_rng(seed))

    try:
        for case, seed in drawn_cases(name)[:: EVERY.get(check, 1)]:
            holds(case, seed)
    except Exception:
        given(case=spec.cases, seed=seeds)(holds)()  # reports the simplest case that fails
        raise


@pytest.mark.parametrize("to", [np.float64, np.float32])
def test_vjp_of_astype_has_the_dtype_of_its_cotangent(to):
    """The drawn cases convert to float64 only, since differences need it."""
    for case, seed in drawn_cases("astype"):
        properties.vjp_shape_and_dtype(SPECS["astype"], Case(case.arrays, (to,)), np.random.default_rng(seed))


# The condition of where is an array as drawn.
ELEMENTWISE = sorted(
    set(SPECS) & {op.name for op in PRIMITIVES.values() if op.broadcasts and op.vjps} - {*NOT_ELEMENTWISE, "where"}
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_cases_of_an_elementwise_spec_include_some_to_broadcast(name):
    def is_applied(case):
        return properties.broadcasting(SPECS[name], case, np.random.default_rng(0)) is not None

    # Raises if there is no such case.
    find(SPECS[name].cases, is_applied, settings=settings(phases=[Phase.generate]))


@pytest.mark.parametrize("name", sorted(name for name in SPECS if PRIMITIVES[name].vjps))
def test_affine_operations_are_specified_as_such(name):
    """For integers the sums are exact, so an operation that is affine in each input shows it by equality."""
    spec = SPECS[name]

    def is_not_affine(case):
        rng = np.random.default_rng(0)
        return not exact.is_affine(properties.bound(spec, case), case.arrays, rng)

    if spec.affine:
        with pytest.raises(NoSuchExample):
            find(spec.cases, is_not_affine, settings=settings(phases=[Phase.generate]))
    else:
        with np.errstate(all="ignore"):  # outside the domain of logarithms and roots
            find(spec.cases, is_not_affine, settings=settings(phases=[Phase.generate]))


KINKS = [(spec, kink) for spec in SPECS.values() for kink in spec.kinks]


@pytest.mark.parametrize(("spec", "kink"), KINKS, ids=[kink.name for _, kink in KINKS])
def test_kink(spec: Spec, kink: Kink):
    variables = properties.leaves(kink.case)
    gradients = tg.grad(properties.bound(spec, kink.case)(*variables), variables, kink.cotangent)
    for gradient, expected in zip(gradients, kink.gradients, strict=True):
        np.testing.assert_array_equal(gradient.data, expected)


def test_sign_of_zero_is_zero():
    assert tg.sign(Tensor([0.0, -0.0])).data.tolist() == [0, 0]


def test_sign_is_not_recorded():
    assert not tg.sign(Tensor([1.0], requires_grad=True)).requires_grad


# -- one tensor for both inputs --------------------------------------------------------------------------------------

TWICE = ["add", "subtract", "multiply", "divide", "power", "matmul", "maximum", "minimum"]


@pytest.mark.parametrize("name", TWICE)
@given(seed=seeds, side=st.integers(1, 3))
def test_tensor_used_for_both_inputs_gets_both_gradients(name, seed, side):
    rng = np.random.default_rng(seed)
    array = rng.uniform(0.3, 3, (side, side))
    operation = getattr(tg, name)
    g = rng.uniform(-200, 200, (side, side))
    once, other, both = (Tensor(array, requires_grad=True) for _ in range(3))
    apart = tg.grad(operation(once, other), (once, other), g)
    together = tg.grad(operation(both, both), both, g)
    np.testing.assert_allclose(together.data, apart[0].data + apart[1].data, rtol=1e-13)


@pytest.mark.parametrize("join", [tg.concatenate, tg.stack])
def test_tensor_joined_to_itself_gets_both_gradients(join):
    t = Tensor([1.0, 2.0], requires_grad=True)
    out = join([t, t])
    assert tg.grad(out, t, np.arange(4.0).reshape(out.shape)).data.tolist() == [2.0, 4.0]


def test_where_with_one_tensor_in_both_branches():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert tg.grad(tg.where([True, False], t, t), t, [3.0, 5.0]).data.tolist() == [3.0, 5.0]


def test_index_update_with_elements_of_itself():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert tg.grad(tg.index_update(t, 0, t[1]), t, [3.0, 5.0]).data.tolist() == [0.0, 8.0]


# -- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("here", [np.float16, np.float32, np.float64])
def test_gradient_of_astype_has_the_dtype_of_the_leaf(here, there):
    t = Tensor([1.5, 2.5], requires_grad=True, dtype=here)
    out = t.astype(there)
    gradient = tg.grad(out, t, [3.0, 5.0])
    assert (out.dtype, gradient.dtype, gradient.data.tolist()) == (there, here, [3.0, 5.0])


def test_recorded_tensor_cannot_be_converted_to_integers():
    with pytest.raises(TypeError, match="no gradient flows through int64"):
        Tensor([1.5], requires_grad=True).astype(int)


@pytest.mark.parametrize("name", sorted(set(SPECS) & set(TWICE) - {"matmul"}))
def test_python_scalars_do_not_promote_float32(name):
    t = Tensor([1.5, 2.5], requires_grad=True, dtype=np.float32)
    operation = getattr(tg, name)
    assert operation(t, 2.5).dtype == operation(2.5, t).dtype == np.float32


# -- the complex step at zero ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize(("name", "derivative"), [("sigmoid", 0.25), ("softplus", 0.5), ("tanh", 1.0)])
def test_complex_step_at_zero(name, derivative, zero):
    assert float(complex_step(getattr(tg, name), zero)) == derivative


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 4), (3, 4)), "the last axis of x has length 4, and the last axis but one of y 3; they must be equal"),
        (((2, 3, 4), (5,)), "the last axis of x has length 4, and the only axis of y 5; they must be equal"),
        (((4,), (2, 3, 5)), "the last axis of x has length 4, and the last axis but one of y 3; they must be equal"),
        (((), (3,)), "x and y must have at least one axis; use multiply for numbers"),
        (((2, 3, 4), (3, 4, 5)), "could not be broadcast"),
    ],
)
def test_product_of_shapes_that_do_not_match_names_the_lengths(shapes, message):
    x, y = (Tensor(np.ones(shape), requires_grad=True) for shape in shapes)
    with pytest.raises(ValueError, match=rf"matmul\(.*\): .*{message}"):
        x @ y
