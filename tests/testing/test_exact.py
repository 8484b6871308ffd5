"""The exact comparison of VJPs with the adjoint: what it proves, and that it finds every injected fault."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar.testing import exact
from tinygrad_cifar.testing.faults import VALUE_FAULTS, inject_into_vjp
from tinygrad_cifar.testing.strategies import seeds

# The others change the precision or the recording, which small integers and first derivatives do not show; "clipped at
# 50" and the mean of a cotangent with one element other than 0 are changes of values that they do.
VISIBLE = sorted(set(VALUE_FAULTS) - {"always float32", "always float64", "is not recorded", "clipped at 50"})
OPERATIONS = {
    "matmul.x": (tg.matmul, [(2, 3), (3, 2)]),
    "matmul.y": (tg.matmul, [(2, 3), (3, 2)]),
    "multiply.y": (tg.multiply, [(3, 2), (3, 2)]),
    "sum.x": (lambda x: tg.sum(x, axis=0), [(3, 2)]),
    "transpose.x": (tg.transpose, [(3, 2)]),
    "cumsum.x": (lambda x: tg.cumsum(x, axis=1), [(2, 3)]),
}


@pytest.mark.parametrize("kind", VISIBLE)
@pytest.mark.parametrize("place", OPERATIONS)
def test_injected_fault_is_found(place, kind):
    operation, shapes = OPERATIONS[place]
    exact.check_adjoint(operation, shapes, np.random.default_rng(0))
    with inject_into_vjp(kind, *place.split(".")), pytest.raises((AssertionError, RuntimeError, ValueError)):
        exact.check_adjoint(operation, shapes, np.random.default_rng(0))


@given(seed=seeds)
def test_error_of_one_unit_in_the_last_place_is_found(seed):
    """Where a tolerance would accept it."""
    nearly_one = np.nextafter(1.0, 2.0)
    off = tg.primitive("off_by_an_ulp", lambda x: x * 1.0, x=lambda g: g * nearly_one)
    with pytest.raises(AssertionError, match="not the adjoint"):
        exact.check_adjoint(off, [(2,)], np.random.default_rng(seed))


def test_vjp_that_is_right_at_most_points_only_is_found():
    """Wrong if the other input has a single element other than 0; random points do not show it."""

    def vjp(g, y):
        return g * y * (np.count_nonzero(np.asarray(y)) != 1) if isinstance(y, np.ndarray) else g * y

    product = tg.primitive("product_that_is_mostly_right", lambda x, y: x * y, x=vjp, y=lambda g, x: g * x)
    with pytest.raises(AssertionError, match="input 0"):
        exact.check_adjoint(product, [(4,), (4,)], np.random.default_rng(0))


def test_missing_dependence_is_found():
    def sum_without_y(x, y):
        return x + (y.detach() if isinstance(y, tg.Tensor) else y)

    with pytest.raises(AssertionError, match="input 1 receives no gradient"):
        exact.check_adjoint(sum_without_y, [(2,), (2,)], np.random.default_rng(0))


@pytest.mark.parametrize(("side", "complete"), [(3, True), (15, False)])
def test_the_comparison_says_whether_it_was_complete(side, complete):
    assert exact.check_adjoint(tg.matmul, [(2, side), (side, 1)], np.random.default_rng(0)) is True
    large = exact.check_adjoint(tg.multiply, [(side, side), (side, side)], np.random.default_rng(0))
    assert large is complete


NOT_AFFINE = [tg.square, tg.relu, tg.exp, tg.absolute, tg.sigmoid, lambda x: x * x[::-1], lambda x: tg.max(x, axis=-1)]


@given(seed=seeds, which=st.sampled_from(NOT_AFFINE))
def test_other_functions_are_not_affine(seed, which):
    assert not exact.is_affine(which, [np.zeros(9)], np.random.default_rng(seed))
