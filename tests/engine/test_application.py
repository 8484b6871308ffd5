"""Applying primitives: operands that are rejected, and error messages that name the operation."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar.engine import ops
from tinygrad_cifar.nn import functional

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


# -- arguments by name -------------------------------------------------------------------------------------------------

# A value for each name of an argument; operations with an argument of another name need one here.
VALUES = {
    "x": lambda: variable([[0.3, 0.6], [0.2, 0.4]]),
    "y": lambda: variable([[0.7, 0.1], [0.9, 0.8]]),
    "xs": lambda: [variable([[0.3, 0.6]]), variable([[0.2, 0.4]])],
    "scores": lambda: variable([[0.3, 0.6], [0.2, 0.4]]),
    "prediction": lambda: variable([0.3, 0.6]),
    "target": lambda: [0.5, 0.5],
    "targets": lambda: [[1.0, 0.0], [0.0, 1.0]],
    "labels": lambda: [0, 1],
    "q": lambda: 0.5,
    "axis": lambda: 0,
    "axis1": lambda: 0,
    "axis2": lambda: 1,
    "shape": lambda: (2, 2),
    "arrays": lambda: [[variable([[0.3]]), variable([[0.6]])]],
    "choices": lambda: [variable([[0.3, 0.6], [0.2, 0.4]])],
    "conditions": lambda: [np.array([[True, False], [False, True]])],
    "destination": lambda: 1,
    "fp": lambda: variable([0.1, 0.5]),
    "indices_or_sections": lambda: 2,
    "obj": lambda: 0,
    "p": lambda: variable([0.3, 0.6]),
    "pad_width": lambda: 1,
    "repeats": lambda: 2,
    "reps": lambda: 2,
    "shift": lambda: 1,
    "source": lambda: 0,
    "start": lambda: variable([0.3, 0.6]),
    "stop": lambda: variable([0.3, 0.6]),
    "values": lambda: variable([[0.7, 0.1]]),
    "xp": lambda: [0.1, 0.9],
    "index": lambda: (slice(None), 0),
    "indices": lambda: [[0, 1]],
    "value": lambda: 0.25,
    "condition": lambda: [[True, False], [False, True]],
    "dtype": lambda: np.float32,
    "bias": lambda: variable([0.3, 0.6]),
    "filters": lambda: variable([[[[0.3, 0.6]]]]),
    "scale": lambda: variable([0.3, 0.6]),
    "window": lambda: 1,
}
# The shapes of x and y, for operations that do not take matrices of two rows and columns.
SHAPES = {
    **dict.fromkeys(["avg_pool2d", "channels_first", "channels_last", "max_pool2d"], (1, 2, 2, 2)),
    "conv2d": (1, 2, 2, 1),
    "convolve": (4,),
    "correlate": (4,),
    "cross": (2, 3),
    "dsplit": (2, 1, 2),
    "vander": (4,),
}
OPERATIONS = {
    f"{page.__name__.rpartition('.')[2]}.{name}": function
    for page in (ops, functional)
    for name, function in vars(page).items()
    if hasattr(function, "primitives") and not name.startswith("_")
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_takes_its_arguments_by_name(name):
    function = OPERATIONS[name]
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        pytest.skip("any number of inputs")
    needed = [p.name for p in parameters if p.default is p.empty]
    given = {argument: VALUES[argument]() for argument in needed}
    shape = SHAPES.get(function.__name__, (2, 2))
    for argument in {"x", "y"} & set(needed):
        size = int(np.prod(shape))
        given[argument] = variable(np.linspace(0.1, 0.8, size).reshape(shape) + (function.__name__ == "arccosh"))
    leaves = [leaf for value in given.values() for leaf in (value if type(value) is list else [value])]
    leaves = [leaf for leaf in leaves if isinstance(leaf, tg.Tensor)]
    expected = as_one(function(*given.values()))
    for names in (needed, needed[::-1]):
        out = as_one(function(**{argument: given[argument] for argument in names}))
        np.testing.assert_array_equal(out.data, expected.data)
        assert out.requires_grad == expected.requires_grad
        if out.requires_grad:
            cotangent = np.arange(1.0, out.size + 1).reshape(out.shape)
            gradients = [tg.grad(o, leaves, cotangent, retain_graph=True) for o in (out, expected)]
            for gradient, right in zip(*gradients, strict=True):
                np.testing.assert_array_equal(gradient.data, right.data)


def as_one(result):
    """Return a list of tensors as one tensor."""
    return tg.concatenate([tg.ravel(part) for part in result]) if isinstance(result, (list, tuple)) else result


def test_unknown_name_of_an_argument_is_rejected():
    with pytest.raises(TypeError, match=r"exp\(\) got an unexpected keyword argument 'z'"):
        tg.exp(z=variable([1.0]))
