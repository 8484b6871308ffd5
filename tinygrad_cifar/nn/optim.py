"""Optimisers: what to do with the gradients.

An optimiser holds the parameters, a learning rate (a number or a schedule of the step) and whatever it
remembers between steps, which ``state_dict`` hands out for checkpoints. It never writes to a gradient, and
writes to a parameter's array in place only while nobody else holds it (:meth:`tinygrad_cifar.Tensor.overwrite`).

Weight decay is the gradient of the course's L2 term: ``weight_decay = 2 * lam`` adds ``2 * lam * W`` to the
gradient of every parameter of two or more dimensions, so that biases are left alone as in the course.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.schedules import Constant, Schedule

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

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim, schedules
    >>> optimiser = optim.SGD([Tensor([1.0], requires_grad=True)], schedules.Exponential(0.5, 0.1, steps_per_epoch=1))
    >>> optimiser.eta
    0.5
    >>> optimiser.step()
    >>> optimiser.eta, sorted(optimiser.state_dict())
    (0.05, ['steps'])
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
        self._memories: dict[str, list[Array]] = {}

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
                arrays = [p.grad._array, *[memory[i] for memory in self._memories.values()]]
                p.overwrite(partial(self._update_in_blocks, arrays, eta, decay))
        self.steps += 1

    def _update_in_blocks(self, arrays: list[Array], eta: float, decay: float, w: Array) -> None:
        if w.nbytes <= _BLOCK_BYTES or not w.flags.c_contiguous:
            # In another order than C's, an array flattened would be a copy, and what is written to it lost.
            self._update(w, *arrays, eta=eta, decay=decay)
            return
        for block in _blocks(w, *arrays):
            self._update(*block, eta=eta, decay=decay)

    def _update(self, w: Array, g: Array, *memories: Array, eta: float, decay: float) -> None:
        """Write to ``w`` and the memories, all of one shape: a parameter, or a block of one."""
        raise NotImplementedError

    def _remember(self, *names: str) -> None:
        """Keep an array for each parameter, from 0 on, under each of the names."""
        self._memories = {name: [np.zeros(p.shape, dtype=p.dtype) for p in self.parameters] for name in names}

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all that is needed to go on later: the step count and the memories, as arrays."""
        state = {"steps": np.array(self.steps)}
        for name, memories in self._memories.items():
            state |= {f"{name}.{i}": memory.copy() for i, memory in enumerate(memories)}
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If the state is not one of this kind of optimiser with these parameters.
        """
        kind = type(self).__name__
        own = {f"{name}.{i}": memory for name, all_ in self._memories.items() for i, memory in enumerate(all_)}
        for key in set(state) - {"steps"}:
            if key not in own:
                raise ValueError(f"{kind}: the state has {key!r}, which this optimiser does not remember")
            if np.shape(state[key]) != own[key].shape:
                raise ValueError(f"{kind}: the state's {key} has shape {np.shape(state[key])}, not {own[key].shape}")
        steps = np.asarray(state.get("steps"))
        if steps.dtype.kind not in "iu" or steps.ndim or steps < 0:
            raise ValueError(f"{kind}: the state lacks the number of steps, a whole number from 0 up")
        if missing := sorted(set(own) - set(state)):
            raise ValueError(f"{kind}: the state lacks {', '.join(missing)}")
        for key in own:
            if np.asarray(state[key]).dtype.kind not in "fiub":
                raise ValueError(f"{kind}: the state's {key} is {np.asarray(state[key]).dtype}, no real numbers")
        self.steps = int(steps)
        for key, memory in own.items():
            memory[...] = state[key]


# An update reads and writes each element once, so it can be made a block at a time: the temporary arrays of a block
# stay in the processor's cache, and an update of a million weights takes half the time.
_BLOCK_BYTES = 524_288


def _blocks(w: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """Cut arrays of one shape, in C's order, into blocks that can be written to."""
    size = _BLOCK_BYTES // w.itemsize
    flat = [w.reshape(-1), *[np.ascontiguousarray(other).reshape(-1) for other in others]]
    for start in range(0, w.size, size):
        yield tuple([array[start : start + size] for array in flat])


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
        if momentum:
            self._remember("velocity")

    def _update(self, w: Array, g: Array, *memories: Array, eta: float, decay: float) -> None:
        if not memories:
            if decay:
                w *= 1 - eta * decay
            w -= eta * g
            return
        (v,) = memories
        change = eta * (g + decay * w)
        v *= self.momentum
        v += change
        w -= change + self.momentum * v if self.nesterov else v


class Adam(Optimiser):
    """Adaptive moments (Kingma and Ba, arXiv:1412.6980): ``w = w - eta * m / (sqrt(v) + epsilon)``.

    m and v are running means of the gradient and of its square, with memories ``beta1`` and ``beta2``, divided by
    ``1 - beta**t`` since they start from 0. Weight decay is added to the gradient.

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
        _check_number("epsilon", epsilon)
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)
        self._remember("mean", "square")

    def _update(self, w: Array, g: Array, *memories: Array, eta: float, decay: float) -> None:
        m, v = memories
        if decay:
            g = g + decay * w
        t = self.steps + 1
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * (g * g)
        root = np.sqrt(v / (1 - self.beta2**t))
        root += self.epsilon
        w -= (eta / (1 - self.beta1**t)) * m / root
