"""The base class of optimisers: parameters, learning rate, steps, and the state buffers of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.schedules import Constant, Schedule
from tinygrad_cifar.nn.weights import is_weight
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.interrupts import deferred_interrupt

Array = np.ndarray[Any, np.dtype[Any]]


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

    @explain_calls
    def __init__(self, parameters: Iterable[Tensor], eta: float | Schedule, *, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError("parameters must be an iterable of tensors; got a Tensor: use [parameter]")
        if callable(getattr(parameters, "parameters", None)):
            raise TypeError(
                f"parameters must be an iterable of tensors; got a {type(parameters).__name__}: use model.parameters()"
            )
        self.parameters = list(parameters)
        _check_parameters(self.parameters)
        self._is_weight = [is_weight(p) for p in self.parameters]
        if not callable(eta):
            check_number("eta", eta)
        check_number("weight_decay", weight_decay)
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

        Ctrl-C during a step takes effect after it, so no parameter is left half updated.
        """
        eta = self.eta
        with deferred_interrupt():
            for i, p in enumerate(self.parameters):
                gradient = p.grad
                if gradient is not None and p.requires_grad:
                    decay = self.weight_decay if self._is_weight[i] else 0.0
                    arrays = [gradient._array, *[buffers[i] for buffers in self._buffers.values()]]
                    p.overwrite(partial(self._update_in_blocks, arrays, eta, decay))
            self.steps += 1

    def _update_in_blocks(self, arrays: list[Array], eta: float, decay: float, w: Array) -> None:
        if w.nbytes <= _BLOCK_BYTES or not w.flags.c_contiguous:
            # Flattening an array that is not C-contiguous makes a copy, so the update would be lost.
            self._update(w, *arrays, eta=eta, decay=decay)
            return
        for block in _blocks(w, *arrays):
            self._update(*block, eta=eta, decay=decay)

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float) -> None:
        """Update a parameter or a block of one, and its buffers, in place. All arrays have the same shape."""
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


# The temporary arrays of a block stay in the processor's cache, so updating a million weights block by block takes half
# the time.
_BLOCK_BYTES = 524_288


def _blocks(w: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """Yield writable blocks of C-contiguous arrays with the same shape."""
    size = _BLOCK_BYTES // w.itemsize
    flat = [w.reshape(-1), *[np.ascontiguousarray(other).reshape(-1) for other in others]]
    for start in range(0, w.size, size):
        yield tuple([array[start : start + size] for array in flat])


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


def check_number(name: str, number: float) -> None:
    """Raise an error for a number that is negative, infinite or NaN."""
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be finite and at least 0; got {number}")
