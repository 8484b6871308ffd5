"""Optimisers: what to do with the gradients.

An optimiser holds the parameters, a learning rate (a number or a schedule of the step) and whatever it
remembers between steps, which ``state_dict`` hands out for checkpoints. It never writes to a gradient, and
writes to a parameter's array in place only while nobody else holds it (:meth:`tinygrad_cifar.Tensor.writable`).

Weight decay is the gradient of the course's L2 term: ``weight_decay = 2 * lam`` adds ``2 * lam * W`` to the
gradient of every parameter of two or more dimensions, so that biases are left alone as in the course.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_cifar.schedules import Constant, Schedule
from tinygrad_cifar.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Optimiser:
    """What all optimisers share: the parameters, the rate, the step count, and their state.

    Parameters
    ----------
    parameters : iterable of Tensor
        The leaves to change.
    eta : float or schedule
        The learning rate, or a function from the step number (from 0) to it.
    weight_decay : float
        See the module's first lines.

    Raises
    ------
    TypeError
        If a parameter is no leaf with ``requires_grad``.
    ValueError
        If there are no parameters, one is given twice, or a number makes no sense.
    """

    def __init__(self, parameters: Iterable[Tensor], eta: float | Schedule, *, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError("give the parameters as a list, also a single one: [w]")
        self.parameters = list(parameters)
        _check_parameters(self.parameters)
        if not callable(eta):
            _check_number("eta", eta)
        _check_number("weight_decay", weight_decay)
        self.schedule: Schedule = eta if callable(eta) else Constant(float(eta))
        # Python floats, here and below: a float64 scalar of NumPy's would pull float32 arithmetic up to float64.
        self.weight_decay = float(weight_decay)
        self.steps = 0

    @property
    def eta(self) -> float:
        """The learning rate that the next step will use."""
        return float(self.schedule(self.steps))

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next ``backward()`` starts afresh."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        eta = self.eta
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                decay = self.weight_decay if p.ndim > 1 else 0.0
                self._update(i, p.writable(), p.grad._array, eta, decay)
        self.steps += 1

    def _update(self, i: int, w: Array, g: Array, eta: float, decay: float) -> None:
        raise NotImplementedError

    def _memories(self) -> dict[str, list[Array | None]]:
        """Return, by name, what is remembered for each parameter."""
        return {}

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all that is needed to go on later: the step count and the memories, as arrays."""
        state = {"steps": np.array(self.steps)}
        for name, memories in self._memories().items():
            state |= {f"{name}.{i}": memory.copy() for i, memory in enumerate(memories) if memory is not None}
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If the state is not one of this kind of optimiser with these parameters.
        """
        memories = self._memories()
        found: dict[str, list[Array | None]] = {name: [None] * len(self.parameters) for name in memories}
        for key, array in state.items():
            if key == "steps":
                continue
            name, _, i = key.rpartition(".")
            if name not in found or not i.isdecimal() or int(i) >= len(self.parameters):
                raise ValueError(
                    f"{type(self).__name__}: the state has {key!r}, which this optimiser does not remember"
                )
            shape = self.parameters[int(i)].shape
            if array.shape != shape:
                raise ValueError(f"{type(self).__name__}: the state's {key} has shape {array.shape}, not {shape}")
            found[name][int(i)] = array.astype(self.parameters[int(i)].dtype)
        steps = np.asarray(state.get("steps"))
        if steps.dtype.kind not in "iu" or steps.ndim or steps < 0:
            raise ValueError(f"{type(self).__name__}: the state lacks the number of steps, a whole number from 0 up")
        self.steps = int(steps)
        for name, memory in found.items():
            memories[name][:] = memory


def _check_parameters(parameters: list[Tensor]) -> None:
    if not parameters:
        raise ValueError("there is nothing to optimise: no parameters were given")
    seen: dict[int, int] = {}
    for i, p in enumerate(parameters):
        if not (isinstance(p, Tensor) and p.requires_grad and p.is_leaf):
            raise TypeError(f"parameter {i} is not a leaf tensor with requires_grad=True")
        if seen.setdefault(id(p), i) != i:
            raise ValueError(f"parameter {i} is parameter {seen[id(p)]} again; give each one once")


def _check_number(name: str, number: float) -> None:
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be a number from 0 up, got {number}")


class SGD(Optimiser):
    """Stochastic gradient descent, with momentum as report 004 writes it: ``v = m * v + eta * g``, ``w = w - v``.

    The rate is inside the memory, so a change of rate acts on new gradients only (PyTorch multiplies the whole
    of v by it; with a constant rate the two are the same). Without momentum it is ``w = w - eta * g``.

    Parameters
    ----------
    parameters, eta, weight_decay
        As for :class:`Optimiser`.
    momentum : float
        The share m of the last change that is repeated, from 0 up to, but not including, 1.
    nesterov : bool
        Look ahead: ``w = w - (m * v + eta * g)`` with the new v.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, optim
    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimiser = optim.SGD([w], eta=0.25)
    >>> for _ in range(3):
    ...     optimiser.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimiser.step()
    >>> w.data
    array([0.125])
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        eta: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, eta, weight_decay=weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"SGD: momentum must be from 0 up to, but not including, 1; got {momentum}")
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov looks ahead along the momentum, which is 0; give momentum, for example 0.9")
        self.momentum = float(momentum)
        self.nesterov = nesterov
        self._velocities: list[Array | None] = [None] * len(self.parameters)

    def _memories(self) -> dict[str, list[Array | None]]:
        return {"velocity": self._velocities}

    def _update(self, i: int, w: Array, g: Array, eta: float, decay: float) -> None:
        change = eta * g
        if decay:
            change += (eta * decay) * w
        if self.momentum:
            v = self._velocities[i]
            if v is None:
                v = self._velocities[i] = np.zeros_like(w)
            v *= self.momentum
            v += change
            change = change + self.momentum * v if self.nesterov else v
        w -= change


class Adam(Optimiser):
    """Adaptive moments (Kingma and Ba, arXiv:1412.6980): ``w = w - eta * m / (sqrt(v) + epsilon)``.

    m and v are running means of the gradient and of its square, with memories ``beta1`` and ``beta2``, divided by
    ``1 - beta**t`` since they start from 0. Weight decay is added to the gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, optim
    >>> w = Tensor([1.0, -3.0], requires_grad=True)
    >>> optimiser = optim.Adam([w], eta=0.1)
    >>> (w * w).sum().backward()
    >>> optimiser.step()
    >>> w.data.round(6)  # the first step is eta in the direction of the sign
    array([ 0.9, -2.9])
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        eta: float | Schedule = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, eta, weight_decay=weight_decay)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"Adam: {name} must be from 0 up to, but not including, 1; got {beta}")
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)
        self._means: list[Array | None] = [None] * len(self.parameters)
        self._squares: list[Array | None] = [None] * len(self.parameters)

    def _memories(self) -> dict[str, list[Array | None]]:
        return {"mean": self._means, "square": self._squares}

    def _update(self, i: int, w: Array, g: Array, eta: float, decay: float) -> None:
        if decay:
            g = g + decay * w
        m, v = self._means[i], self._squares[i]
        if m is None or v is None:
            m = self._means[i] = np.zeros_like(w)
            v = self._squares[i] = np.zeros_like(w)
        t = self.steps + 1
        m += (1 - self.beta1) * (g - m)
        v += (1 - self.beta2) * (g * g - v)
        root = np.sqrt(v / (1 - self.beta2**t))
        root += self.epsilon
        w -= (eta / (1 - self.beta1**t)) * m / root
