"""Applying primitives: operands that are rejected, and error messages that name the operation."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable

COMBINATIONS = {
    "add": tg.add,
    "multiply": lambda x, other: other * x,
    "maximum": tg.maximum,
    "where": lambda x, other: tg.where(True, x, other),
    "concatenate": lambda x, other: tg.concatenate([x, np.atleast_1d(other)]),
    "index_update": lambda x, other: tg.index_update(x, ..., other),
}


@pytest.mark.parametrize("other", [1j, "a", None, {}], ids=repr)
@pytest.mark.parametrize("combine", [COMBINATIONS["add"], COMBINATIONS["multiply"], COMBINATIONS["maximum"]])
def test_operands_that_are_not_numbers_are_rejected(combine, other):
    with pytest.raises(TypeError):
        combine(variable([1.0]), other)


@pytest.mark.parametrize("other", [np.array([1j]), np.array([2.0], dtype=object)], ids=["complex", "object"])
def test_operations_reject_complex_and_object_arrays(other):
    for combine in COMBINATIONS.values():
        with pytest.raises(TypeError):
            combine(variable([1.0]), other)


# -- incompatible shapes -----------------------------------------------------------------------------------------------


A, B = (2, 3), (4, 5)


INCOMPATIBLE = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "power": lambda a, b: a**b,
    "maximum": tg.maximum,
    "matmul": lambda a, b: a @ b,
    "where": lambda a, b: tg.where(True, a, b),
    "concatenate": lambda a, b: tg.concatenate([a, b]),
    "stack": lambda a, b: tg.stack([a, b]),
    "einsum": lambda a, b: tg.einsum("ij,jk", a, b),
    "index_update": lambda a, b: tg.index_update(a, ..., b),
    "reshape": lambda a, b: a.reshape(b.shape),
    "broadcast_to": lambda a, b: tg.broadcast_to(a, b.shape),
    "sum_to": lambda a, b: tg.sum_to(a, b.shape),
}


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_shape_error_names_the_operation_and_both_shapes(name):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (checked below)
        INCOMPATIBLE[name](variable(np.ones(A)), variable(np.ones(B)))
    assert name in str(caught.value)
    assert str(A) in str(caught.value)
    assert str(B) in str(caught.value)
