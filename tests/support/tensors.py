"""Tensors for tests."""

from __future__ import annotations

from tinygrad_cifar import Tensor


def variable(data, dtype=float):
    """Return a leaf that requires a gradient."""
    return Tensor(data, requires_grad=True, dtype=dtype)


def gradient_of(function, *points):
    """Return the gradients that backward() accumulates, as lists; of one point, its gradient."""
    leaves = [variable(point) for point in points]
    function(*leaves).backward()
    gradients = [leaf.grad.numpy().tolist() for leaf in leaves]
    return gradients[0] if len(points) == 1 else gradients
