"""Blocked matrix products: equal to NumPy's up to rounding, for all shapes and memory layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tinygrad_cifar.engine.blocked import products
from tinygrad_cifar.system.blas import multiplies_small_matrices_directly


@pytest.fixture(autouse=True)
def _always_use_blocks(monkeypatch):
    """Use blocks with every BLAS, so that the tests do not depend on that of the machine."""
    monkeypatch.setattr(products, "_uses_blocks", lambda: True)


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the operands of each call of np.matmul."""
    seen = []

    def spy(x, y, *args, **kwargs):
        seen.append((np.shape(x), np.shape(y)))
        return np.matmul(x, y, *args, **kwargs)

    monkeypatch.setattr(products, "np", _NumPy(spy))
    return seen


class _NumPy:
    """NumPy with another matmul."""

    def __init__(self, matmul):
        self.matmul = matmul

    def __getattr__(self, name):
        return getattr(np, name)


layouts = st.sampled_from(["C", "F", "every other row", "every other column", "reversed"])


def _with_layout(array, layout):
    if layout == "every other row":
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "every other column":
        return np.repeat(array, 2, axis=1)[:, ::2]
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    return np.array(array, order=layout)


@given(
    m=st.sampled_from([10, 100, 1000, 3072]),
    k=st.sampled_from([3, 100, 1024, 3072]),
    n=st.sampled_from([1, 10, 50, 64]),
    dtype=st.sampled_from([np.float32, np.float64]),
    x_layout=layouts,
    y_layout=layouts,
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_product_equals_numpys_up_to_rounding(m, k, n, dtype, x_layout, y_layout, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((m, k), dtype), rng.standard_normal((k, n), dtype)
    product = products.matmul(_with_layout(x, x_layout), _with_layout(y, y_layout))
    assert product.dtype == dtype
    assert product.flags.owndata
    # The error of a sum of k products is bounded by k * eps times the sum of their magnitudes, in any order.
    bound = 2 * k * np.finfo(dtype).eps * (np.abs(x) @ np.abs(y))
    assert (np.abs(product - np.matmul(x, y)) <= bound).all()


@pytest.mark.parametrize(
    ("m", "k", "n", "blocked"),
    [
        (100, 3072, 10, ((4, 100, 768), (4, 768, 10))),  # the scores of softmax regression, split along the pixels
        (3072, 100, 10, ((4, 768, 100), (100, 10))),  # their gradient, split along the rows
        (100, 3072, 50, ((16, 100, 192), (16, 192, 50))),
        (100, 3072, 512, ((100, 3072), (3072, 512))),  # blocks would be too short
        (100, 50, 10, ((100, 50), (50, 10))),  # small already
        (100, 3089, 10, ((100, 3089), (3089, 10))),  # a prime number cannot be split equally
    ],
)
def test_long_side_is_split_into_equal_blocks(calls, m, k, n, blocked):
    products.matmul(np.ones((m, k)), np.ones((k, n)))
    assert calls == [blocked]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((100, 3072), int), np.ones((3072, 10), int)),
        (np.ones((100, 3072), np.float32), np.ones((3072, 10))),
        (np.ones((2, 3072, 100)).mT, np.ones((3072, 10))),
        (np.ones((2, 4, 5)), np.ones((2, 5, 3))),
        (np.ones((100, 3072)), np.ones(3072)),
        (np.ones((100, 3072), complex), np.ones((3072, 10), complex)),
    ],
    ids=["integers", "two types", "not contiguous", "two stacks", "a vector", "complex"],
)
def test_other_products_are_left_to_numpy(calls, x, y):
    products.matmul(x, y)
    assert calls == [(x.shape, y.shape)]


def test_product_of_a_stack_and_a_matrix_is_one_product(calls):
    out = products.matmul(np.ones((4, 3, 5)), np.ones((5, 2)))
    assert calls == [((12, 5), (5, 2))]
    np.testing.assert_array_equal(out, np.full((4, 3, 2), 5.0))


# The gradients, with respect to x and to y, of matrices and stacks of them; each is one product that is not broadcast.
STACKS = {
    "a stack and a matrix": ((4, 3, 5), (5, 2), ((12, 2), (2, 5)), ((5, 12), (12, 2))),
    "a stack and one of one matrix": ((4, 3, 5), (1, 5, 2), ((4, 3, 2), (1, 2, 5)), ((5, 12), (12, 2))),
    "a matrix and a stack": ((3, 5), (4, 5, 2), ((3, 8), (8, 5)), ((5, 3), (4, 3, 2))),
    "heads that share a matrix": (
        *((4, 6, 3, 5), (4, 1, 5, 2)),
        *(((4, 6, 3, 2), (4, 1, 2, 5)), ((4, 5, 18), (4, 18, 2))),
    ),
    "a stack and a vector": ((4, 3, 5), (5,), None, ((12,), (12, 5))),
}


@pytest.mark.parametrize(("x_shape", "y_shape", "for_x", "for_y"), STACKS.values(), ids=STACKS)
def test_gradient_of_a_broadcast_operand_is_one_product(calls, x_shape, y_shape, for_x, for_y):
    x, y = (tg.Tensor(np.ones(shape), requires_grad=True) for shape in (x_shape, y_shape))
    out = x @ y
    calls.clear()
    tg.grad(out, x, np.ones(out.shape), retain_graph=True)
    assert calls == ([] if for_x is None else [for_x])
    calls.clear()
    tg.grad(out, y, np.ones(out.shape))
    assert calls == [for_y]


def test_gradient_of_a_blocked_product_equals_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    X = tg.Tensor(rng.normal(size=(100, 3072)), requires_grad=True)
    W = tg.Tensor(rng.normal(size=(3072, 10)), requires_grad=True)
    G = rng.normal(size=(100, 10))
    blocked = tg.grad(X @ W, [X, W], gradient=G)
    monkeypatch.setattr(products, "_uses_blocks", lambda: False)
    whole = tg.grad(X @ W, [X, W], gradient=G)
    for one, other in zip(blocked, whole, strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=0, atol=1e-10)


def test_shape_error_names_both_shapes():
    with pytest.raises(ValueError, match=r"matmul.*\(100, 3072\).*\(3071, 10\)"):
        tg.Tensor(np.ones((100, 3072))) @ np.ones((3071, 10))


@pytest.mark.parametrize("answer", [True, False])
def test_engine_uses_the_kernel_test_that_was_set(monkeypatch, answer):
    monkeypatch.undo()
    try:
        products.set_kernel_test(lambda: answer)
        assert products._uses_blocks() is answer
    finally:
        products.set_kernel_test(multiplies_small_matrices_directly)
