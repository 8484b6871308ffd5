"""Gradient clipping: bounds on the gradients of parameters, applied between ``backward`` and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.optim.base import Array, as_list
from tinygrad_cifar.nn.optim.norms import norm_of
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.numbers import check_real


@explain_calls
def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale the gradients of all parameters so that their norm is at most ``max_norm``: ``g = g * max_norm / norm``.

    The norm is that of all gradients as one vector, so the direction of the step does not change (Pascanu, Mikolov and
    Bengio, On the difficulty of training recurrent neural networks, arXiv:1211.5063).

    Parameters
    ----------
    parameters : iterable of Tensor
        Parameters; those without a gradient are skipped.
    max_norm : float
        Largest norm, greater than 0.

    Returns
    -------
    float
        Norm of the gradients before. If it is infinite or NaN, the gradients do not change.

    Raises
    ------
    ValueError
        If ``max_norm`` is not greater than 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.clip_grad_norm([w], 1.0), w.grad
    (10.0, Tensor([0.6, 0.8]))
    """
    check_real("clip_grad_norm: max_norm", max_norm)
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm must be greater than 0; got {max_norm}")
    gradients = _gradients("clip_grad_norm", parameters)
    norm = norm_of(np.array([norm_of(gradient._array) for gradient in gradients]))
    if max_norm < norm < math.inf:
        factor = float(max_norm) / norm
        _change(gradients, lambda g: np.multiply(g, factor, out=g))
    return norm


@explain_calls
def clip_grad_value(parameters: Iterable[Tensor], max_value: float) -> None:
    """Limit each element of the gradients to the range from ``-max_value`` to ``max_value``.

    Parameters
    ----------
    parameters : iterable of Tensor
        Parameters; those without a gradient are skipped.
    max_value : float
        Largest absolute value, greater than 0.

    Raises
    ------
    ValueError
        If ``max_value`` is not greater than 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([-3.0, 0.25], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.clip_grad_value([w], 1.0)
    >>> w.grad
    Tensor([-1. ,  0.5])
    """
    check_real("clip_grad_value: max_value", max_value)
    if not max_value > 0:
        raise ValueError(f"clip_grad_value: max_value must be greater than 0; got {max_value}")
    limit = float(max_value)
    _change(_gradients("clip_grad_value", parameters), lambda g: np.clip(g, -limit, limit, out=g))


def _gradients(name: str, parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients that exist, detached from the operations that computed them."""
    gradients = []
    for p in as_list(parameters, f"{name}: parameters must be an iterable of tensors"):
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameters must be tensors; got {type(p).__name__}")
        if p.grad is not None:
            if not p.grad.is_leaf:
                p.grad = p.grad.detach()
            gradients.append(p.grad)
    return gradients


def _change(gradients: list[Tensor], write: Callable[[Array], object]) -> None:
    for gradient in {id(gradient): gradient for gradient in gradients}.values():  # two parameters may have the same one
        gradient.overwrite(write)
