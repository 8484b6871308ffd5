"""Optimisers: SGD, with momentum and Nesterov momentum, and Adam.

An optimiser holds the parameters, the learning rate (a number or a schedule of the step) and its state buffers, which
``state_dict`` returns for checkpoints. It never writes to a gradient. It updates the array of a parameter in place only
if nothing else refers to that array, and otherwise a copy.

A step is carried out as a whole. It is a list of NumPy operations on the arrays, which one call in C carries out:
Python handles Ctrl-C between two of its own instructions, so not during that call.

Weight decay is the gradient of the course's L2 term: ``weight_decay = 2 * lam`` adds ``2 * lam * W`` to the gradient of
every parameter with at least two dimensions. Biases do not decay, as in the course.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from operator import methodcaller
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.schedules import Constant, Schedule

Array = np.ndarray[Any, np.dtype[Any]]
Operation: TypeAlias = Callable[[], object]


class Optimiser:
    """Base class of optimisers: parameters, learning rate, step count and state buffers.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves to update.
    eta : float or schedule
        Learning rate, at least 0, or a function that maps the step number (from 0) to it.
    weight_decay : float
        Factor of the decay of the weights, at least 0: twice the lambda of the L2 term. Default: 0.

    Attributes
    ----------
    steps : int
        Number of updates so far.

    Raises
    ------
    TypeError
        If ``parameters`` is a tensor, or a parameter is not a leaf with ``requires_grad``.
    ValueError
        If there are no parameters, one is given twice, or a number is out of range.

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

    _scratch_arrays = 1

    def __init__(self, parameters: Iterable[Tensor], eta: float | Schedule, *, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError("parameters must be an iterable of tensors; got a Tensor: use [parameter]")
        self.parameters = list(parameters)
        _check_parameters(self.parameters)
        if not callable(eta):
            _check_number("eta", eta)
        _check_number("weight_decay", weight_decay)
        self.schedule: Schedule = eta if callable(eta) else Constant(float(eta))
        # Python floats, here and below, since a NumPy float64 scalar would promote float32 arithmetic to float64.
        self.weight_decay = float(weight_decay)
        self.steps = 0
        self._buffers: dict[str, list[Array]] = {}

    @property
    def eta(self) -> float:
        """Learning rate of the next step."""
        return float(self.schedule(self.steps))

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient and is not frozen, and increase the step count.

        An exception in the course of it (KeyboardInterrupt, a warning that is an error) is raised after all updates.
        """
        operations = iter(self._operations_of_a_step())
        interruption: BaseException | None = None
        while True:
            try:
                deque(map(_call, operations), maxlen=0)
                break
            except BaseException as error:  # noqa: BLE001 (raised below)
                interruption = interruption or error
        if interruption is not None:
            raise interruption

    def _operations_of_a_step(self) -> list[Operation]:
        eta = self.eta
        operations: list[Operation] = []
        for i, p in enumerate(self.parameters):
            gradient = p.grad
            if gradient is not None and p.requires_grad:
                decay = self.weight_decay if p.ndim > 1 else 0.0
                arrays = [p._array_to_update(), gradient._array, *[buffers[i] for buffers in self._buffers.values()]]
                for part in _parts(arrays, self._scratch_arrays):
                    operations += self._update(*part, eta=eta, decay=decay)
        operations.append(partial(setattr, self, "steps", self.steps + 1))
        return operations

    def _update(self, w: Array, g: Array, *arrays: Array, eta: float, decay: float) -> list[Operation]:
        """Return the operations that update a parameter, or a block of one, and its buffers, in place.

        All arrays have the same shape: the values, the gradient, the buffers, and scratch arrays for other results.
        """
        raise NotImplementedError

    def _add_buffers(self, *names: str) -> None:
        """Add one buffer of zeros per parameter under each name."""
        self._buffers = {name: [np.zeros(p.shape, dtype=p.dtype) for p in self.parameters] for name in names}

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the step count and the state buffers, by name."""
        state = {"steps": np.array(self.steps)}
        for name, buffers in self._buffers.items():
            state |= {f"{name}.{i}": buffer.copy() for i, buffer in enumerate(buffers)}
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Load a state that :meth:`state_dict` returned.

        Parameters
        ----------
        state : mapping of str to array_like
            Step count and state buffers.

        Raises
        ------
        ValueError
            If the state is not of this class of optimiser with parameters of these shapes. Nothing is loaded then.
        """
        kind = type(self).__name__
        own = {f"{name}.{i}": buffer for name, buffers in self._buffers.items() for i, buffer in enumerate(buffers)}
        for key in set(state) - {"steps"}:
            if key not in own:
                raise ValueError(f"{kind}: the state has {key!r}, which this optimiser does not have")
            if np.shape(state[key]) != own[key].shape:
                raise ValueError(f"{kind}: {key} must have the shape {own[key].shape}; got {np.shape(state[key])}")
        steps = np.asarray(state.get("steps"))
        if steps.dtype.kind not in "iu" or steps.ndim or steps < 0:
            raise ValueError(f"{kind}: steps must be a non-negative integer; got {state.get('steps')!r}")
        if missing := sorted(set(own) - set(state)):
            raise ValueError(f"{kind}: the state lacks {', '.join(missing)}")
        for key in own:
            if np.asarray(state[key]).dtype.kind not in "fiub":
                raise ValueError(f"{kind}: {key} must be real; got {np.asarray(state[key]).dtype}")
        self.steps = int(steps)
        for key, buffer in own.items():
            buffer[...] = state[key]


_call = methodcaller("__call__")


def _scaled(x: Array, factor: float, out: Array) -> Operation:
    """Return the operation that computes ``factor * x``."""
    return partial(np.multiply, x, _constant(factor, x.dtype), out)


@lru_cache(maxsize=64)
def _constant(number: float, dtype: Any) -> Array:
    """Return a number as an array: NumPy multiplies a small array by it in half the time."""
    return np.array(number, dtype)


# The scratch arrays of a block stay in the processor's cache, so updating a million weights block by block takes half
# the time.
_BLOCK_BYTES = 524_288


def _parts(arrays: list[Array], scratch_arrays: int) -> list[list[Array]]:
    """Return the arrays of a parameter with scratch arrays; if they are large, in blocks, which share these."""
    w = arrays[0]
    if w.nbytes <= _BLOCK_BYTES or not w.flags.c_contiguous:
        # Flattening an array that is not C-contiguous makes a copy, so the update would be lost.
        return [[*arrays, *[np.empty(w.shape, w.dtype) for _ in range(scratch_arrays)]]]
    size = _BLOCK_BYTES // w.itemsize
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    scratch = [np.empty(size, w.dtype) for _ in range(scratch_arrays)]
    return [
        [*[array[start : start + size] for array in flat], *[array[: w.size - start] for array in scratch]]
        for start in range(0, w.size, size)
    ]


def _check_parameters(parameters: list[Tensor]) -> None:
    if not parameters:
        raise ValueError("parameters must not be empty: there are no parameters to optimise")
    seen: dict[int, int] = {}
    for i, p in enumerate(parameters):
        if not (isinstance(p, Tensor) and p.requires_grad and p.is_leaf):
            raise TypeError(f"parameter {i} must be a leaf tensor with requires_grad=True; got {_describe(p)}")
        if seen.setdefault(id(p), i) != i:
            raise ValueError(f"parameter {i} is the same tensor as parameter {seen[id(p)]}; pass each tensor once")


def _describe(p: object) -> str:
    if not isinstance(p, Tensor):
        return type(p).__name__
    return "the result of an operation" if p.requires_grad else "requires_grad=False"


def _check_number(name: str, number: float) -> None:
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be finite and at least 0; got {number}")


class SGD(Optimiser):
    """Stochastic gradient descent with momentum as in report 004: ``v = m * v + eta * g``, ``w = w - v``.

    The learning rate is part of the velocity, so a changed rate applies to new gradients only. PyTorch multiplies the
    velocity by the rate; with a constant rate both are the same. Without momentum, ``w = w - eta * g``.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves to update.
    eta : float or schedule
        Learning rate, or a function that maps the step number to it.
    momentum : float
        Momentum coefficient m, in [0, 1). Default: 0.
    nesterov : bool
        If True, use Nesterov momentum: ``w = w - (m * v + eta * g)`` with the new v. Default: False.
    weight_decay : float
        Factor of the decay of the weights: twice the lambda of the L2 term. Default: 0.

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
            raise ValueError(f"SGD: momentum must be in [0, 1); got {momentum}")
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov requires momentum greater than 0; got 0: use momentum=0.9, for example")
        self.momentum = float(momentum)
        self.nesterov = nesterov
        self._scratch_arrays = 2 if nesterov else 1
        if momentum:
            self._add_buffers("velocity")

    def _update(self, w: Array, g: Array, *arrays: Array, eta: float, decay: float) -> list[Operation]:
        if not self.momentum:
            (change,) = arrays
            shrink = [_scaled(w, 1 - eta * decay, w)] if decay else []
            return [*shrink, _scaled(g, eta, change), partial(np.subtract, w, change, w)]
        v, change, *others = arrays
        operations = _add_decay(g, w, decay, change)
        operations += [
            _scaled(change if decay else g, eta, change),
            _scaled(v, self.momentum, v),
            partial(np.add, v, change, v),
        ]
        if not self.nesterov:
            return [*operations, partial(np.subtract, w, v, w)]
        (ahead,) = others
        return [
            *operations,
            _scaled(v, self.momentum, ahead),
            partial(np.add, change, ahead, ahead),
            partial(np.subtract, w, ahead, w),
        ]


class Adam(Optimiser):
    """Adam (Kingma and Ba, arXiv:1412.6980): ``w = w - eta * m / (sqrt(v) + epsilon)``.

    m and v are exponential moving averages of the gradient and of its square, initially 0 and therefore divided by
    ``1 - beta**t`` at step t. Weight decay is added to the gradient.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves to update.
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
                raise ValueError(f"Adam: {name} must be in [0, 1); got {beta}")
        _check_number("epsilon", epsilon)
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)
        self._scratch_arrays = 2
        self._add_buffers("mean", "square")

    def _update(self, w: Array, g: Array, *arrays: Array, eta: float, decay: float) -> list[Operation]:
        m, v, root, change = arrays
        t = self.steps + 1
        operations = _add_decay(g, w, decay, change)
        g = change if decay else g
        return [
            *operations,
            _scaled(m, self.beta1, m),
            _scaled(g, 1 - self.beta1, root),
            partial(np.add, m, root, m),
            _scaled(v, self.beta2, v),
            partial(np.multiply, g, g, root),
            _scaled(root, 1 - self.beta2, root),
            partial(np.add, v, root, v),
            partial(np.divide, v, 1 - self.beta2**t, root),
            partial(np.sqrt, root, root),
            partial(np.add, root, _constant(self.epsilon, root.dtype), root),
            _scaled(m, eta / (1 - self.beta1**t), change),
            partial(np.divide, change, root, change),
            partial(np.subtract, w, change, w),
        ]


def _add_decay(g: Array, w: Array, decay: float, out: Array) -> list[Operation]:
    """Return the operations that compute ``g + decay * w``; none without decay."""
    return [_scaled(w, decay, out), partial(np.add, g, out, out)] if decay else []
