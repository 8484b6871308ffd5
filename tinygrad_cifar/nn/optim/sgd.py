"""Stochastic gradient descent, with momentum and Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_cifar.nn.optim.base import Array, Optimiser, Parameters, Setting, check_coefficient
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls


class SGD(Optimiser):
    """Stochastic gradient descent with momentum as in report 004: ``v = m * v + eta * g``, ``w = w - v``.

    The learning rate is part of the velocity, so a changed rate applies to new gradients only. PyTorch multiplies the
    velocity by the rate; with a constant rate both are the same. Without momentum, ``w = w - eta * g``.

    Sources: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013; for the form of
    Nesterov momentum, Bengio et al., arXiv:1212.0901.

    Parameters
    ----------
    parameters : iterable of Tensor, or of groups
        Leaves to update, or groups of them with settings of their own; see :class:`Optimiser`.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it.
    momentum : float
        Momentum coefficient m, in [0, 1). Default: 0.
    nesterov : bool
        If True, use Nesterov momentum: ``w = w - (m * v + eta * g)`` with the new v. Default: False.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.
    decoupled : bool
        If True, weights decay by ``w = w - eta * weight_decay * w`` before the step, so that the momentum does not
        contain the decay (SGDW; Loshchilov and Hutter, arXiv:1711.05101). Default: False.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range, or ``nesterov`` is given without momentum.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimiser = optim.SGD([w], eta=0.25)
    >>> for _ in range(3):
    ...     optimiser.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimiser.step()
    >>> w.data
    array([0.125])
    """

    momentum = Setting[float]()
    nesterov = Setting[bool]()
    decoupled = Setting[bool]()

    @explain_calls
    def __init__(
        self,
        parameters: Parameters,
        eta: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        settings = {"momentum": momentum, "nesterov": nesterov, "decoupled": decoupled}
        super().__init__(parameters, eta, weight_decay=weight_decay, settings=settings)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        momentum = settings["momentum"]
        check_coefficient("SGD: momentum", momentum)
        if settings["nesterov"] and not momentum:
            raise ValueError("SGD: nesterov requires momentum greater than 0; got 0: use momentum=0.9, for example")

    def _buffer_names(self, settings: Mapping[str, Any]) -> Sequence[str]:
        return ("velocity",) if settings["momentum"] else ()

    def _is_decoupled(self, settings: Mapping[str, Any]) -> bool:
        return bool(settings["decoupled"])

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float, **settings: Any) -> None:
        if not buffers:
            if decay:
                w *= 1 - eta * decay
            w -= eta * g
            return
        (v,) = buffers
        momentum = settings["momentum"]
        change = decay * w
        change += g
        change *= eta
        v *= momentum
        v += change
        if not settings["nesterov"]:
            w -= v
            return
        change += momentum * v
        w -= change
