"""Updates of parameters in the idioms of other libraries say what to write; computations in place are allowed."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_cifar import Tensor, grad, no_grad
from tinygrad_cifar.engine.gradcheck import check_gradients


def a_parameter_with_a_gradient() -> Tensor:
    w = Tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    return w


def subtract_tensor(w):
    w -= 0.1 * w.grad


def subtract_array(w):
    w -= 0.1 * w.grad.data


def add_tensor(w):
    w += -0.1 * w.grad


def subtract_under_no_grad(w):
    with no_grad():
        w -= 0.1 * w.grad


@pytest.mark.parametrize("update", [subtract_tensor, subtract_array, add_tensor, subtract_under_no_grad])
def test_an_update_in_place_says_which_line_to_write(update):
    w = a_parameter_with_a_gradient()
    with pytest.raises(
        TypeError, match=r"does not update a tensor in place.*write w.data = w.data [+-] eta \* w.grad.data"
    ):
        update(w)
    assert w.is_leaf
    assert w.requires_grad
    assert w.data.tolist() == [1, 2]


def test_the_line_that_the_message_says_updates_the_parameter():
    w = a_parameter_with_a_gradient()
    w.data = w.data - 0.1 * w.grad.data
    assert w.is_leaf
    assert w.data.tolist() == [0.8, 1.6]


def test_clearing_the_gradient_of_a_result_says_which_line_to_write():
    w = a_parameter_with_a_gradient()
    w = w - 0.1 * w.grad
    with pytest.raises(ValueError, match=r"w is a result and not a leaf: write w.data = w.data - eta \* w.grad.data"):
        w.grad = None


def test_a_backward_pass_from_a_parameter_that_became_a_constant_says_which_line_to_write():
    w = a_parameter_with_a_gradient()
    with no_grad():
        w = w - 0.1 * w.grad
    with pytest.raises(ValueError, match=r"to update a parameter w, write w.data = w.data - eta \* w.grad.data"):
        (w * w).sum().backward()


def shifted(x, y):
    x += 1
    x -= y
    x += np.ones(2)
    return (x * x).sum()


def test_a_computation_may_use_operators_in_place():
    check_gradients(shifted, np.array([1.0, 2.0]), np.array([0.5, 3.0]))


def test_a_computation_in_place_does_not_change_its_argument():
    x = Tensor([1.0, 2.0], requires_grad=True)
    shifted(x, 1.0)
    assert x.data.tolist() == [1, 2]


@pytest.mark.parametrize("change", [1, 0.5, Tensor([[1.0], [2.0]]), Tensor([1.0, 2.0], requires_grad=True)], ids=repr)
def test_a_computation_in_place_is_allowed_on_a_parameter_with_a_gradient(change):
    w = a_parameter_with_a_gradient()
    x = w
    x += change
    x -= change
    assert (grad(x.sum(), w).data > 0).all()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor([[1.0, 2.0]], requires_grad=True), ["1 x 2, float64, requires a gradient", "mean 1.5", "[[1., 2.]]"]),
        (Tensor([1.0], requires_grad=True) * 2, ["1, float64, result of multiply"]),
        (Tensor(np.float32(3)), ["scalar, float32<pre>3."]),
        (Tensor(np.zeros((1000, 1000), dtype=int)), ["1000 x 1000, int64", "..."]),
        (Tensor(np.zeros((0, 3))), ["0 x 3, float64"]),
    ],
    ids=["leaf", "result", "scalar", "large", "empty"],
)
def test_a_notebook_shows_shape_type_origin_and_values(tensor, words):
    html = tensor._repr_html_()
    assert [word for word in words if word not in html] == []
    assert len(html) < 3000
