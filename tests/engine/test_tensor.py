"""The tensor: assignment, dtypes, Python's protocols and copies."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import gradient_of, variable
from tinygrad_cifar import Tensor, grad

# -- data, grad and detach ---------------------------------------------------------------------------------------------


def test_detach_stops_the_gradient():
    assert gradient_of(lambda x: (x * x.detach()).sum(), [3.0]) == [3.0]


@pytest.mark.parametrize("assign", [lambda y: setattr(y, "data", [5.0]), lambda y: setattr(y, "requires_grad", False)])
def test_assignment_to_a_computed_tensor_is_rejected(assign):
    with pytest.raises(ValueError, match=r"use detach\(\)"):
        assign(variable([1.0]) * 2)


def test_data_keeps_its_shape():
    with pytest.raises(ValueError, match=r"data: must have the shape \(2,\); got \(3,\)"):
        variable([1.0, 2.0]).data = [1.0, 2.0, 3.0]


def test_data_keeps_its_dtype():
    x = variable([1.0, 2.0], dtype=np.float32)
    x.data = np.array([3.0, 4.0])
    assert x.dtype == np.float32


def test_overwrite_rejects_a_computed_tensor():
    x = variable([1.0, 2.0])
    y = x * 2
    with pytest.raises(ValueError, match="overwrite: the tensor must be a leaf"):
        y.overwrite(lambda array: array.fill(10))
    np.testing.assert_array_equal(tg.grad((y * y).sum(), x).data, [8, 16])


def test_assigned_gradient_must_have_the_dtype_of_the_leaf():
    p = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
    with pytest.raises(ValueError, match=r"grad: must be None or a float32 Tensor of shape \(2,\)"):
        p.grad = tg.Tensor(np.ones(2))


@pytest.mark.parametrize("kind", [complex, str, object])
def test_astype_rejects_dtypes_that_are_not_real(kind):
    with pytest.raises(TypeError, match="astype: a tensor holds real numbers; got"):
        tg.Tensor([1.0]).astype(kind)


# -- dtypes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [[1, 2], [True, False]])
def test_integers_cannot_require_a_gradient(data):
    with pytest.raises(TypeError, match=r"values have no gradient; convert them"):
        Tensor(data, requires_grad=True)


@pytest.mark.parametrize("data", ["text", [1j], [None], [{}]], ids=str)
def test_tensor_rejects_data_that_are_not_real_numbers(data):
    with pytest.raises(TypeError, match="Tensor: data must be real numbers"):
        Tensor(data)


def test_tensor_rejects_a_tensor_as_data():
    with pytest.raises(TypeError, match=r"data must not be a tensor; use detach\(\)"):
        Tensor(Tensor(1.0))


ARITHMETIC = {
    "+": lambda x: 1.5 + x + 1.5,
    "-": lambda x: 1.5 - (x - 1.5),
    "*": lambda x: 2 * x * 2.0,
    "/": lambda x: 1.5 / (x / 1.5),
    "**": lambda x: 2.0 ** (x**2) + x**0.5,
    "clip": lambda x: tg.clip(x, 0.1, 5.0),
    "where": lambda x: tg.where(x > 0, x, 0.0),
    "maximum": lambda x: tg.maximum(x, 0.5),
    "mean": lambda x: tg.mean(x) + tg.var(x),
    "softmax": lambda x: tg.softmax(x * 0.5) + tg.logsumexp(x),
    "pad": lambda x: tg.pad(x, 1, constant_values=0.5),
    "index_update": lambda x: tg.index_update(x, 0, 0.5),
}


@pytest.mark.parametrize("function", ARITHMETIC.values(), ids=ARITHMETIC)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_python_scalars_do_not_change_the_dtype(function, kind):
    x = variable([1.0, 2.0], dtype=kind)
    y = function(x)
    assert y.dtype == kind
    assert grad(y.sum(), x).dtype == kind


def test_numpy_scalars_promote_as_in_numpy():
    assert (variable([1.0], dtype=np.float32) * np.float64(2)).dtype == np.float64


@pytest.mark.parametrize("other", [np.array([1j]), np.array([2.0], dtype=object)], ids=["complex", "object"])
def test_assignment_to_data_rejects_complex_and_object_arrays(other):
    x = tg.Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="data: must be real numbers"):
        x.data = other


# -- Python's protocols ------------------------------------------------------------------------------------------------


def test_comparisons_return_boolean_arrays():
    x = variable([1.0, 2.0])
    results = [x > 1, x >= 2, x < 2, x <= 1, x == 2, x != 1, 1 < x, x == x]  # noqa: PLR0124, SIM300
    assert all(type(result) is np.ndarray and result.dtype == bool for result in results)
    assert [result.tolist() for result in results] == [
        [False, True],
        [False, True],
        [True, False],
        [True, False],
        [False, True],
        [False, True],
        [False, True],
        [True, True],
    ]


def test_iteration_yields_recorded_rows():
    x = variable([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    assert grad((first * second).sum(), x).data.tolist() == [[3.0, 4.0], [1.0, 2.0]]


def test_0d_tensor_cannot_be_iterated_over():
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(variable(1.0))


def test_tensors_are_hashed_by_identity():
    x, y = variable(1.0), variable(1.0)
    assert {x: "x", y: "y"}[x] == "x"


def test_truth_value_of_several_elements_is_ambiguous():
    with pytest.raises(ValueError, match="ambiguous"):
        bool(variable([1.0, 2.0]))


def test_nested_lists_of_different_lengths_are_named():
    with pytest.raises(ValueError, match="Tensor: nested lists must have the same length at each level"):
        Tensor([[1.0, 2.0], [3.0]])


def test_item_requires_one_element():
    with pytest.raises(ValueError, match=r"only a tensor with one element can be converted.*; the shape is \(2,\)"):
        variable([1.0, 2.0]).item()
    assert float(variable([2.5])) == 2.5


def test_repr_and_format():
    assert repr(variable([1.0, 2.0])) == "Tensor([1., 2.], requires_grad=True)"
    assert repr(Tensor([1.0], dtype=np.float32)) == "Tensor([1.], dtype=float32)"
    assert f"{Tensor(0.25):.1%}" == "25.0%"


# -- copies ------------------------------------------------------------------------------------------------------------

COPIES = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("with_grad", [False, True])
def test_copy_of_a_leaf_has_its_data_dtype_and_grad(duplicate, kind, with_grad):
    x = variable([[1.0, 2.0]], dtype=kind)
    if with_grad:
        (x * x).sum().backward()
    twin = duplicate(x)
    assert (twin.data.tolist(), twin.dtype, twin.requires_grad) == ([[1.0, 2.0]], kind, True)
    assert (twin.grad.data.tolist() == [[2.0, 4.0]]) if with_grad else (twin.grad is None)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copy_is_independent_of_the_original(duplicate):
    x = variable([1.0, 2.0])
    twin = duplicate(x)
    twin.overwrite(lambda array: array.fill(5))
    (twin * twin).sum().backward()
    assert (x.data.tolist(), x.grad) == ([1.0, 2.0], None)


def test_pickle_preserves_shared_tensors():
    x = variable([1.0])
    first, second = pickle.loads(pickle.dumps([x, x]))
    assert first is second


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_computed_tensor_cannot_be_copied_or_pickled(duplicate):
    with pytest.raises(TypeError, match=r"cannot be copied or pickled; use detach\(\)"):
        duplicate(variable([1.0]) * 2)


def test_copies_of_a_frozen_leaf_keep_its_gradient():
    x = variable([1.0, 2.0])
    (x * x).sum().backward()
    x.requires_grad = False
    for duplicate in COPIES.values():
        twin = duplicate(x)
        assert (twin.requires_grad, twin.grad.data.tolist()) == (False, [2.0, 4.0])


class Labelled(Tensor):
    """A subclass with a constructor of its own, attributes and slots."""

    __slots__ = ("__dict__", "__secret", "unit")

    def __init__(self, label, data, **options):
        super().__init__(data, **options)
        self.label = label
        self.unit = "m"
        self.__secret = [label]

    @property
    def secret(self):
        return self.__secret


class Plain(Tensor):
    pass


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_copy_of_a_subclass_has_its_class_and_attributes(duplicate, requires_grad):
    x = Labelled("length", [1.0, 2.0], requires_grad=requires_grad)
    x.twin = x
    twin = duplicate(x)
    assert (type(twin), twin.label, twin.unit, twin.secret) == (Labelled, "length", "m", ["length"])
    assert (twin.data.tolist(), twin.requires_grad) == ([1.0, 2.0], requires_grad)
    assert twin.twin is (x if duplicate is copy.copy else twin)
    assert type(duplicate(Plain([1.0]))) is Plain


# -- freezing ----------------------------------------------------------------------------------------------------------


def freeze_and_unfreeze(x):
    x.requires_grad = False
    x.requires_grad = True


def test_unfrozen_leaf_receives_the_gradient_of_what_was_computed_before():
    x = variable([1.0, 2.0])
    y = (x * x).sum()
    freeze_and_unfreeze(x)
    assert grad(y, x, retain_graph=True).data.tolist() == [2.0, 4.0]
    (y + (3 * x).sum()).backward()
    assert x.grad.data.tolist() == [5.0, 7.0]


def test_freezing_keeps_grad():
    x = variable([1.0, 2.0])
    (x * x).sum().backward()
    x.requires_grad = False
    assert x.grad.data.tolist() == [2.0, 4.0]
    x.requires_grad = True
    (x * x).sum().backward()
    assert x.grad.data.tolist() == [4.0, 8.0]


def test_grad_of_a_frozen_leaf_does_not_change():
    x, y = variable([1.0]), variable([3.0])
    product = (x * y).sum()
    x.requires_grad = False
    product.backward()
    assert (x.grad, y.grad.item()) == (None, 1.0)


def test_grad_of_a_frozen_leaf_can_be_cleared():
    x = variable([1.0])
    (x * x).sum().backward()
    x.requires_grad = False
    x.grad = None
    x.requires_grad = True
    assert x.grad is None


def test_operations_on_a_frozen_leaf_are_not_recorded():
    x = variable([1.0])
    x.requires_grad = False
    assert x.is_leaf
    assert not (x * 2).requires_grad
    with pytest.raises(TypeError, match="wrt must be a tensor that requires a gradient"):
        grad((variable([1.0]) * x).sum(), x)


def test_detached_copy_of_a_frozen_leaf_is_another_leaf():
    x = variable([1.0])
    y = (x * x).sum()
    x.requires_grad = False
    other = x.detach()
    other.requires_grad = True
    y.backward()
    assert (other.grad, x.grad) == (None, None)


# -- byte order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [">f8", "<f8", ">f4", "<f4"])
def test_gradient_of_a_leaf_used_twice_has_its_byte_order(kind):
    x = variable([1.0, 2.0], dtype=kind)
    for _ in range(2):
        (x * x + x).sum().backward()
    assert (x.grad.dtype, x.grad.data.tolist()) == (np.dtype(kind), [6.0, 10.0])
    once = grad((x * x + x).sum(), x, create_graph=True)
    assert (once.dtype, grad(once.sum(), x).dtype) == (np.dtype(kind), np.dtype(kind))
    x.grad = once.detach()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("view", "reshape"),
        ("permute", "transpose"),
        ("unsqueeze", "expand_dims(x, axis)"),
        ("numel", "size"),
        ("requires_grad_", "x.requires_grad = True"),
        ("add_", "a new tensor: operations do not change their inputs"),
    ],
)
def test_an_attribute_of_other_libraries_is_refused_with_what_to_write(name, instead):
    with pytest.raises(AttributeError, match=re.escape(f"'Tensor' object has no attribute '{name}'; use {instead}")):
        getattr(Tensor([1.0]), name)


def test_an_unknown_attribute_is_refused_with_its_name():
    with pytest.raises(AttributeError, match=r"^'Tensor' object has no attribute 'unknown'$") as caught:
        Tensor([1.0]).unknown  # noqa: B018 (raises)
    assert caught.value.name == "unknown"  # from which Python derives its own suggestion


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 1)])
def test_the_text_of_a_tensor_without_elements_shows_its_shape(shape):
    assert repr(Tensor(np.zeros(shape))) == f"Tensor([], shape={shape})"
