"""Solutions, inverses and determinants: singular matrices, invalid arguments, large matrices."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import Tensor
from tinygrad_cifar.engine.gradcheck import check_gradients

SINGULAR = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [5.0, 7.0, 9.0]])


@pytest.mark.parametrize("x", [SINGULAR, SINGULAR * 1e-8, np.zeros((2, 2)), np.ones((3, 3))])
def test_determinant_of_a_singular_matrix_has_first_and_second_derivatives(x):
    check_gradients(tg.det, x, second_order=True)


def test_determinant_of_a_nearly_singular_matrix_has_a_gradient_to_full_precision():
    x = SINGULAR + np.diag([0.0, 0.0, 1e-12])
    expected = [[3.0, -6.0, 3.0], [3.0, -6.0, 3.0], [-3.0, 6.0, -3.0]]
    t = variable(x)
    np.testing.assert_allclose(tg.grad(tg.det(t), t).data, expected, rtol=1e-10)


def test_third_derivative_of_a_determinant():
    # det is linear in each element, so only products of elements of different rows and columns have a derivative.
    def middle(x):
        return tg.hessian(tg.det, x)[0, 0, 1, 1]

    for x in (np.eye(3), np.zeros((3, 3))):
        t = variable(x)
        expected = np.zeros((3, 3))
        expected[2, 2] = 1.0
        np.testing.assert_allclose(tg.grad(middle(t), t).data, expected, atol=1e-12)


def test_slogdet_of_a_determinant_that_overflows():
    sign, logabsdet = np.linalg.slogdet(Tensor(-1e10 * np.eye(51)))
    assert (sign.item(), logabsdet.item()) == (-1.0, pytest.approx(51 * np.log(1e10), rel=1e-14))


def test_sign_of_a_determinant_is_not_recorded():
    result = np.linalg.slogdet(variable([[1.0, 2.0], [3.0, 4.0]]))
    assert (result.sign.requires_grad, result.logabsdet.requires_grad) == (False, True)


def test_slogdet_of_a_singular_matrix_is_that_of_numpy():
    sign, logabsdet = np.linalg.slogdet(Tensor([[1.0, 2.0], [2.0, 4.0]]))
    assert (sign.item(), logabsdet.item()) == (0.0, -np.inf)


@pytest.mark.parametrize("wrap", [variable, np.array], ids=["tensor", "array"])
@pytest.mark.parametrize(
    "function", [np.linalg.inv, tg.inv, lambda x: tg.solve(x, np.ones(2))], ids=["numpy", "inv", "solve"]
)
def test_singular_matrix_is_rejected_as_by_numpy(function, wrap):
    with pytest.raises(np.linalg.LinAlgError, match=r"[Ss]ingular matrix"):
        function(wrap([[1.0, 2.0], [2.0, 4.0]]))


def test_backward_pass_through_slogdet_of_a_singular_matrix_raises():
    t = variable([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(np.linalg.LinAlgError, match="x must be invertible; got a singular matrix"):
        tg.slogdet(t).logabsdet.backward()


@pytest.mark.parametrize("function", [tg.inv, tg.det, tg.slogdet, lambda x: tg.solve(x, [1.0, 2.0])])
@pytest.mark.parametrize("shape", [(2,), (2, 3), ()])
def test_matrix_that_is_not_square_is_rejected(function, shape):
    with pytest.raises(ValueError, match=r"x must be a square matrix, or a stack of them; got the shape|rows of x"):
        function(variable(np.ones(shape)))


@pytest.mark.parametrize("y", [1.0, [1.0, 2.0, 3.0], [[1.0, 2.0]]])
def test_right_hand_side_without_the_rows_of_the_matrix_is_rejected(y):
    with pytest.raises(ValueError, match="y must be a vector or matrices with the rows of x; got the shapes"):
        tg.solve(variable(np.eye(2)), y)


def test_integers_are_solved_as_by_numpy():
    assert tg.solve(Tensor([[2, 0], [0, 4]]), [2, 2]).data.tolist() == [1.0, 0.5]
