"""Optimisers that divide the step of each element by the size of its past gradients: Adam, AdamW, AdaGrad, RMSprop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.nn.optim.base import Array, Optimiser, Parameters, Setting, check_coefficient, check_number
from tinygrad_cifar.nn.schedules import Schedule
from tinygrad_cifar.system.arguments import explain_calls


class Adam(Optimiser):
    """Adam (Kingma and Ba, arXiv:1412.6980): ``w = w - eta * m / (sqrt(v) + epsilon)``.

    m and v are exponential moving averages of the gradient and of its square, initially 0 and therefore divided by
    ``1 - beta**t`` at the update t of the parameter. Weight decay is added to the gradient.

    Parameters
    ----------
    parameters : iterable of Tensor, or of groups
        Leaves to update, or groups of them with settings of their own; see :class:`Optimiser`.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.001.
    beta1 : float
        Decay rate of m, in [0, 1). Default: 0.9.
    beta2 : float
        Decay rate of v, in [0, 1). Default: 0.999.
    epsilon : float
        Term that prevents division by 0, at least 0. Default: 1e-8.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([1.0, -3.0], requires_grad=True)
    >>> optimiser = optim.Adam([w], eta=0.1)
    >>> (w * w).sum().backward()
    >>> optimiser.step()
    >>> w.data.round(6)  # the first step is eta in the direction of the sign
    array([ 0.9, -2.9])
    """

    beta1 = Setting[float]()
    beta2 = Setting[float]()
    epsilon = Setting[float]()

    @explain_calls
    def __init__(
        self,
        parameters: Parameters,
        eta: float | Schedule = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        super().__init__(parameters, eta, weight_decay=weight_decay, settings=settings)

    _counts_updates = True

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        check_coefficient(f"{self.name}: beta1", settings["beta1"])
        check_coefficient(f"{self.name}: beta2", settings["beta2"])
        check_number(f"{self.name}: epsilon", settings["epsilon"])

    def _buffer_names(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return "mean", "square"

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float, **settings: Any) -> None:
        m, v = buffers
        beta1, beta2, t = settings["beta1"], settings["beta2"], settings["updates"]
        if decay:
            g = g + decay * w
        m *= beta1
        change = (1 - beta1) * g
        m += change
        v *= beta2
        root = np.multiply(g, g)
        root *= 1 - beta2
        v += root
        np.divide(v, 1 - beta2**t, out=root)
        np.sqrt(root, out=root)
        root += settings["epsilon"]
        np.multiply(m, eta / (1 - beta1**t), out=change)
        _divide(change, root)
        w -= change


class AdamW(Adam):
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101): Adam with decoupled weight decay.

    ``w = w - eta * weight_decay * w`` precedes the step of Adam. Unlike the gradient of an L2 term, the decay is not
    divided by the size of the gradients.

    Parameters
    ----------
    parameters : iterable of Tensor, or of groups
        Leaves to update, or groups of them with settings of their own; see :class:`Optimiser`.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.001.
    beta1 : float
        Decay rate of m, in [0, 1). Default: 0.9.
    beta2 : float
        Decay rate of v, in [0, 1). Default: 0.999.
    epsilon : float
        Term that prevents division by 0, at least 0. Default: 1e-8.
    weight_decay : float
        Factor of the decay of the weights. Default: 0.01.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> W = Tensor([[1.0, -3.0]], requires_grad=True)
    >>> optimiser = optim.AdamW([W], eta=0.1, weight_decay=0.5)
    >>> (W * W).sum().backward()
    >>> optimiser.step()
    >>> W.data.round(6)  # 0.95 of each, and then eta in the direction of the sign
    array([[ 0.85, -2.75]])
    """

    @explain_calls
    def __init__(
        self,
        parameters: Parameters,
        eta: float | Schedule = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, eta, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay)

    def _is_decoupled(self, settings: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return True


class AdaGrad(Optimiser):
    """AdaGrad (Duchi, Hazan and Singer, 2011): ``w = w - eta * g / (sqrt(s) + epsilon)`` with ``s = s + g**2``.

    The rate of an element falls with the sum of the squares of its gradients, so elements that rarely have a gradient
    make large steps. Weight decay is added to the gradient. Source: Adaptive subgradient methods for online learning
    and stochastic optimization, Journal of Machine Learning Research 12.

    Parameters
    ----------
    parameters : iterable of Tensor, or of groups
        Leaves to update, or groups of them with settings of their own; see :class:`Optimiser`.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.01.
    epsilon : float
        Term that prevents division by 0, at least 0. Default: 1e-10.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimiser = optim.AdaGrad([w], eta=0.1)
    >>> for _ in range(2):
    ...     w.grad = Tensor([5.0])
    ...     optimiser.step()
    >>> w.data.round(4)  # steps of 0.1 and 0.1 / sqrt(2)
    array([0.8293])
    """

    epsilon = Setting[float]()

    @explain_calls
    def __init__(
        self, parameters: Parameters, eta: float | Schedule = 1e-2, *, epsilon: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, eta, weight_decay=weight_decay, settings={"epsilon": epsilon})

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        check_number(f"{self.name}: epsilon", settings["epsilon"])

    def _buffer_names(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return ("square",)

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float, **settings: Any) -> None:
        (s,) = buffers
        if decay:
            g = g + decay * w
        root = np.multiply(g, g)
        s += root
        np.sqrt(s, out=root)
        root += settings["epsilon"]
        change = eta * g
        _divide(change, root)
        w -= change


class RMSprop(Optimiser):
    """RMSprop (Tieleman and Hinton, 2012): ``w = w - eta * g / (sqrt(s) + epsilon)``, with a moving average s of g**2.

    ``s = alpha * s + (1 - alpha) * g**2``, initially 0. If ``centred``, the root is that of ``s - m**2``, an estimate
    of the variance, with a moving average m of g (Graves, arXiv:1308.0850). With momentum, the steps are added up:
    ``u = momentum * u + eta * g / (sqrt(s) + epsilon)`` and ``w = w - u``. Weight decay is added to the gradient.
    Source: lecture 6.5 of the course Neural Networks for Machine Learning.

    Parameters
    ----------
    parameters : iterable of Tensor, or of groups
        Leaves to update, or groups of them with settings of their own; see :class:`Optimiser`.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it. Default: 0.01.
    alpha : float
        Decay rate of the moving averages, in [0, 1). Default: 0.99.
    epsilon : float
        Term that prevents division by 0, at least 0. Default: 1e-8.
    momentum : float
        Momentum coefficient, in [0, 1). Default: 0.
    centred : bool
        If True, divide by the standard deviation of the gradients. Default: False.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.

    Raises
    ------
    TypeError
        If a parameter is not a leaf with ``requires_grad``.
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim
    >>> w = Tensor([1.0, -3.0], requires_grad=True)
    >>> optimiser = optim.RMSprop([w], eta=0.1, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimiser.step()
    >>> w.data.round(6)  # the first step is eta / sqrt(1 - alpha) in the direction of the sign
    array([ 0.8, -2.8])
    """

    alpha = Setting[float]()
    epsilon = Setting[float]()
    momentum = Setting[float]()
    centred = Setting[bool]()

    @explain_calls
    def __init__(
        self,
        parameters: Parameters,
        eta: float | Schedule = 1e-2,
        *,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centred: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"alpha": alpha, "epsilon": epsilon, "momentum": momentum, "centred": centred}
        super().__init__(parameters, eta, weight_decay=weight_decay, settings=settings)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        check_coefficient("RMSprop: alpha", settings["alpha"])
        check_coefficient("RMSprop: momentum", settings["momentum"])
        check_number(f"{self.name}: epsilon", settings["epsilon"])

    def _buffer_names(self, settings: Mapping[str, Any]) -> Sequence[str]:
        mean, velocity = ("mean",) * settings["centred"], ("velocity",) * bool(settings["momentum"])
        return "square", *mean, *velocity

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float, **settings: Any) -> None:
        s, *others = buffers
        alpha, momentum = settings["alpha"], settings["momentum"]
        if decay:
            g = g + decay * w
        root = np.multiply(g, g)
        root *= 1 - alpha
        s *= alpha
        s += root
        change = (1 - alpha) * g
        if settings["centred"]:
            m = others[0]
            m *= alpha
            m += change
            np.multiply(m, m, out=root)
            np.subtract(s, root, out=root)
            np.maximum(root, 0, out=root)  # rounding can make the estimate of a variance near 0 negative
            np.sqrt(root, out=root)
        else:
            np.sqrt(s, out=root)
        root += settings["epsilon"]
        np.multiply(g, eta, out=change)
        _divide(change, root)
        if momentum:
            u = others[-1]
            u *= momentum
            u += change
            change = u
        w -= change


def _divide(change: Array, root: Array) -> None:
    """Divide in place where ``root`` is not 0: without an epsilon, elements that never had a gradient do not change."""
    np.divide(change, root, out=change, where=root != 0)
