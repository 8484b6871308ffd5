"""Derivatives of functions: Jacobian-vector products, Jacobians and Hessians, all made from the one backward walk.

A function here takes tensors and returns one tensor. The reverse mode computes ``J' u``; since that is linear
in u, its own reverse mode gives ``J v``, and differentiating a gradient gives the Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.backprop import grad
from tinygrad_cifar.ops import stack
from tinygrad_cifar.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


def _leaves(name: str, inputs: Sequence[Any]) -> list[Tensor]:
    if not inputs:
        raise ValueError(f"{name}: give at least one input to differentiate with respect to")
    arrays = [x.numpy() if isinstance(x, Tensor) else np.array(x) for x in inputs]
    return [Tensor(array if array.dtype.kind == "f" else array.astype(float), requires_grad=True) for array in arrays]


def _evaluated(name: str, f: Callable[..., Tensor], leaves: Sequence[Tensor]) -> Tensor:
    out = f(*leaves)
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: the function must return a tensor, not {type(out).__name__}")
    return out


def jvp(f: Callable[..., Tensor], inputs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Compute ``f(x)`` and ``J v``, how the result changes when the inputs move along the tangents.

    ``u -> J' u`` is linear, so its derivative in the direction v is ``J v``: two backward walks, whatever the sizes.

    Parameters
    ----------
    f : callable
        From tensors to one tensor.
    inputs, tangents : sequences of array_like
        The point, and a direction for each input, of its shape.

    Returns
    -------
    out, tangent : Tensor
        Constants of the result's shape.

    Raises
    ------
    ValueError
        If a tangent does not have the shape of its input.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.jvp(lambda x: x**2, [[1.0, 3.0]], [[1.0, 10.0]])
    (Tensor([1., 9.]), Tensor([ 2., 60.]))
    """
    leaves = _leaves("jvp", inputs)
    directions = [np.asarray(t.data if isinstance(t, Tensor) else t) for t in tangents]
    shapes, wanted = [d.shape for d in directions], [x.shape for x in leaves]
    if shapes != wanted:
        raise ValueError(f"jvp: the tangents' shapes {shapes} must be those of the inputs, {wanted}")
    out = _evaluated("jvp", f, leaves)
    if not out.requires_grad:
        return out.detach(), Tensor(np.zeros(out.shape, dtype=out.dtype))
    u = Tensor(np.zeros(out.shape, dtype=out.dtype), requires_grad=True)
    pulled = grad(out, leaves, gradient=u, create_graph=True)
    total: Any = 0.0
    for part, direction in zip(pulled, directions, strict=True):
        total = total + (part * direction).sum()
    moved = grad(total, u) if isinstance(total, Tensor) and total.requires_grad else Tensor(np.zeros(out.shape))
    return out.detach(), moved


def hvp(f: Callable[..., Tensor], inputs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, ...]:
    """Compute ``H v``, how the gradient of a single number changes when the inputs move along the tangents.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.hvp(lambda x: (x**3).sum(), [[1.0, 2.0]], [[1.0, 1.0]])
    (Tensor([ 6., 12.]),)
    """
    leaves = _leaves("hvp", inputs)
    directions = [np.asarray(t.data if isinstance(t, Tensor) else t) for t in tangents]
    first = grad(_single("hvp", f, leaves), leaves, create_graph=True)
    total: Any = 0.0
    for part, direction in zip(first, directions, strict=True):
        if part.shape != direction.shape:
            raise ValueError(f"hvp: a tangent of shape {direction.shape} does not fit an input of shape {part.shape}")
        total = total + (part * direction).sum()
    if not total.requires_grad:
        return tuple(Tensor(np.zeros(x.shape, dtype=x.dtype)) for x in leaves)
    return tuple(grad(total, leaves))


def _single(name: str, f: Callable[..., Tensor], leaves: Sequence[Tensor]) -> Tensor:
    out = _evaluated(name, f, leaves)
    if out.size != 1:
        raise ValueError(f"{name}: the function must return a single number, not a tensor of shape {out.shape}")
    return out


def jacobian(f: Callable[..., Tensor], x: Any) -> Tensor:
    """Compute all derivatives of ``f(x)``: shape ``(*f(x).shape, *x.shape)``, with one backward walk per element.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.jacobian(lambda x: x**2, [1.0, 3.0])
    Tensor([[2., 0.],
            [0., 6.]])
    """
    (leaf,) = _leaves("jacobian", [x])
    out = _evaluated("jacobian", f, [leaf])
    if not out.requires_grad or out.size == 0:
        return Tensor(np.zeros((*out.shape, *leaf.shape)))
    rows = [grad(out, leaf, gradient=unit.reshape(out.shape), retain_graph=True) for unit in np.eye(out.size)]
    matrix: Tensor = stack(rows).reshape((*out.shape, *leaf.shape))
    return matrix


def hessian(f: Callable[..., Tensor], x: Any) -> Tensor:
    """Compute all second derivatives of a single number: shape ``(*x.shape, *x.shape)``. For small functions.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1], [1.0, 3.0])
    Tensor([[6., 2.],
            [2., 0.]])
    """
    return jacobian(lambda leaf: grad(_single("hessian", f, [leaf]), leaf, create_graph=True), x)
