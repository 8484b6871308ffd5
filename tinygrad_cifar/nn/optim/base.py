"""The base class of optimisers: groups of parameters, learning rates, steps, and the arrays of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, Generic, TypeVar, cast

import numpy as np

from tinygrad_cifar.engine.blocked import threads
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.schedules import Constant, Schedule
from tinygrad_cifar.nn.weights import is_weight
from tinygrad_cifar.system.arguments import explain_calls, suggest
from tinygrad_cifar.system.interrupts import deferred_interrupt
from tinygrad_cifar.system.numbers import as_python, check_count, check_real

Array = np.ndarray[Any, np.dtype[Any]]
Parameters = Iterable[Tensor] | Iterable[Mapping[str, Any]]
T = TypeVar("T")


@dataclass(eq=False)
class Group:
    """Parameters that are updated with the same settings.

    Attributes
    ----------
    parameters : list of Tensor
        Parameters of the group.
    schedule : schedule
        Function that maps the step number to the learning rate.
    decays : list of float
        Weight decay of each parameter.
    decays_all : bool
        Whether the weight decay applies to all parameters, since the group was given one of its own, or to weights.
    settings : dict of str to value
        The other settings of the optimiser, such as ``momentum``.
    buffers : list of dict of str to ndarray
        State buffers of each parameter, by name.
    updates : list of ndarray of int
        Number of updates of each parameter, which is that of the steps unless it was frozen or had no gradient.
    """

    parameters: list[Tensor]
    schedule: Schedule
    decays: list[float]
    decays_all: bool
    settings: dict[str, Any]
    buffers: list[dict[str, Array]]
    updates: list[Array]


class Setting(Generic[T]):
    """Attribute of an optimiser: the setting of groups without their own. Assigning a value changes all groups."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimiser: Any, owner: type) -> T:
        if optimiser is not None and self.name not in optimiser._defaults:
            raise AttributeError(f"{optimiser.name} has no {self.name} of its own; see its groups")
        value: Any = self if optimiser is None else optimiser._defaults[self.name]
        return cast(T, value)

    def __set__(self, optimiser: Optimiser, value: T) -> None:
        self.__get__(optimiser, type(optimiser))  # raises AttributeError if it has none
        optimiser._change(self.name, value)


class Optimiser:
    """Base class of optimisers: groups of parameters, learning rates, step count and state buffers.

    Parameters
    ----------
    parameters : iterable of Tensor, or of mappings
        Leaves to update; or groups of them: mappings with the key ``"parameters"`` and, for settings that differ from
        those of the optimiser, their names and values.
    eta : float or schedule
        Learning rate, at least 0, or a function that maps the step number (from 0) to it.
    weight_decay : float
        Factor of the decay of the weights, at least 0: twice the lambda of the L2 term. The ``weight_decay`` of a group
        applies to all its parameters, and this one only to those that are weights. Default: 0.
    settings : mapping of str to value, optional
        Other settings, which a subclass passes: a group may have its own, and ``_update`` receives those of the group.

    Attributes
    ----------
    parameters : list of Tensor
        All parameters.
    groups : sequence of Group
        The groups of parameters; one group if the parameters were not given as groups.

    Raises
    ------
    TypeError
        If ``parameters`` is a tensor, or a parameter is not a leaf with ``requires_grad``.
    ValueError
        If there are no parameters, one is given twice, a group has an unknown setting, or a number is out of range.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> from tinygrad_cifar.nn import optim, schedules
    >>> W, b = (Tensor([1.0], requires_grad=True) for _ in range(2))
    >>> optimiser = optim.SGD([W], schedules.Exponential(0.5, 0.1, steps_per_epoch=1))
    >>> optimiser.eta
    0.5
    >>> optimiser.step()
    >>> optimiser.eta, sorted(optimiser.state_dict())
    (0.05, ['steps'])

    The bias has a rate of its own:

    >>> optimiser = optim.SGD([{"parameters": [W]}, {"parameters": [b], "eta": 0.1}], eta=0.5, momentum=0.9)
    >>> (W + b).backward()
    >>> optimiser.step()
    >>> W.data, b.data
    (array([0.5]), array([0.9]))
    """

    weight_decay = Setting[float]()

    @explain_calls
    def __init__(
        self,
        parameters: Parameters,
        eta: float | Schedule,
        *,
        weight_decay: float = 0.0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._defaults: dict[str, Any] = {
            "eta": as_python(eta),
            "weight_decay": as_python(weight_decay),
            **{name: as_python(value) for name, value in (settings or {}).items()},
        }
        self._check(self._defaults)
        given = _given_groups(parameters)
        self.parameters: list[Tensor] = [p for group in given for p in group["parameters"]]
        check_parameters(self.parameters)
        self.groups: Sequence[Group] = [
            self._make_group(group, f"group {i}: " if len(group) > 1 else "") for i, group in enumerate(given)
        ]
        self._steps = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in {"lr", "learning_rate"}:
            raise AttributeError(f"{self.name} has no attribute {name}{suggest(name, ['eta'])}")
        super().__setattr__(name, value)

    def _make_group(self, given: Mapping[str, Any], prefix: str) -> Group:
        own = {name: as_python(value) for name, value in given.items() if name != "parameters"}
        for name in own:
            if name not in self._defaults:
                raise ValueError(
                    f"{prefix}{type(self).__name__} has no setting {name}{suggest(name, self._defaults)}; a group may "
                    f"have {', '.join(self._defaults)}"
                )
        values = self._defaults | own
        try:
            self._check(values)
        except ValueError as error:
            raise ValueError(f"{prefix}{error}") from None
        parameters = given["parameters"]
        self._check_parameters(parameters, values)
        eta, decay = values.pop("eta"), values.pop("weight_decay")
        return Group(
            parameters,
            _as_schedule(eta),
            [decay if "weight_decay" in own or is_weight(p) else 0.0 for p in parameters],
            "weight_decay" in own,
            values,
            [{name: np.zeros(p.shape, dtype=p.dtype) for name in self._buffer_names(values)} for p in parameters],
            [np.zeros((), np.int64) for _ in parameters],
        )

    def _check(self, values: Mapping[str, Any]) -> None:
        if not callable(values["eta"]):
            check_number(f"{self.name}: eta", values["eta"])
        check_number(f"{self.name}: weight_decay", values["weight_decay"])
        self._check_settings(values)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise a ValueError if the settings that a subclass adds are out of range."""

    def _check_parameters(self, parameters: Sequence[Tensor], settings: Mapping[str, Any]) -> None:
        """Raise a ValueError if parameters cannot be updated with these settings."""

    def _buffer_names(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        """Return the names of the buffers that ``_update`` receives for a parameter, in their order."""
        return ()

    def _is_decoupled(self, settings: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Return whether weights decay by ``w = w - eta * weight_decay * w``, and not as part of the gradient."""
        return False

    def _change(self, name: str, value: Any) -> None:
        """Change a setting of all groups."""
        new = self._defaults | {name: as_python(value)}
        for group in self.groups:  # each has settings of its own, which must remain possible
            own = {"weight_decay": max(group.decays, default=0.0)}
            changed = new | own | group.settings | {name: new[name]}
            self._check(changed)
            self._check_parameters(group.parameters, changed)
            if self._buffer_names(changed) != self._buffer_names(self._defaults | group.settings):
                raise ValueError(f"{self.name}: {name} {value} needs other state buffers; make a new optimiser")
        self._defaults, value = new, new[name]
        for group in self.groups:
            if name == "weight_decay":
                group.decays = [value if group.decays_all or is_weight(p) else 0.0 for p in group.parameters]
            else:
                group.settings[name] = value

    @property
    def name(self) -> str:
        """Name of the algorithm."""
        return type(self).__name__

    @property
    def steps(self) -> int:
        """Number of updates so far."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        check_count(f"{self.name}: steps", steps, least=0)
        self._steps = steps

    @property
    def schedule(self) -> Schedule:
        """Function that maps the step number to the learning rate; of the first group, if there are several."""
        return self.groups[0].schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | float) -> None:
        if not callable(schedule):
            check_number(f"{self.name}: schedule", schedule)
        for group in self.groups:
            group.schedule = _as_schedule(schedule)

    @property
    def eta(self) -> float:
        """Learning rate of the next step; of the first group, if there are several. A new one is that of all groups."""
        return self._rate(self.groups[0])

    @eta.setter
    def eta(self, eta: float) -> None:
        check_number(f"{self.name}: eta", eta)
        self.schedule = eta

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient and is not frozen, and increase the step count.

        Ctrl-C during a step takes effect after it, so no parameter is left half updated.
        """
        rates = [self._rate(group) for group in self.groups]
        with deferred_interrupt():
            for group, eta in zip(self.groups, rates, strict=True):
                is_decoupled, numbers = self._is_decoupled(group.settings), {"eta": eta, **group.settings}
                for p, decay, buffers, updates in zip(
                    group.parameters, group.decays, group.buffers, group.updates, strict=True
                ):
                    gradient = p.grad
                    if gradient is not None and p.requires_grad:
                        arrays = [gradient._array, *buffers.values()]
                        factor, decay = (1 - eta * decay, 0.0) if is_decoupled else (1.0, decay)  # noqa: PLW2901
                        if self._counts_updates:
                            np.add(updates, 1, out=updates)
                            numbers["updates"] = int(updates)
                        p.overwrite(partial(self._update_in_blocks, arrays, factor, decay, numbers))
            self._steps += 1

    def _check_rates(self) -> None:
        """Raise the error that the learning rates of the next step would."""
        for group in self.groups:
            self._rate(group)

    def _rate(self, group: Group) -> float:
        """Return the learning rate of the next update of a group; it may be infinite or NaN, which training reports."""
        rate: Any = group.schedule(self.steps)
        if not isinstance(rate, Real) or rate < 0:
            name = f"{type(self).__name__}: the learning rate that the schedule returns for step {self.steps}"
            check_real(name, rate)
            raise ValueError(f"{name} must be at least 0; got {rate}")
        return float(rate)

    def _update_in_blocks(
        self, arrays: list[Array], factor: float, decay: float, numbers: Mapping[str, Any], w: Array
    ) -> None:
        def update(parts: tuple[Array, ...]) -> None:
            block, *others = parts
            if factor != 1:
                np.multiply(block, factor, out=block)
            self._update(block, *others, decay=decay, **numbers)

        # Flattening an array that is not C-contiguous makes a copy, so the update would be lost.
        if w.ndim and (not self._is_elementwise or w.nbytes <= _BLOCK_BYTES or not w.flags.c_contiguous):
            update((w, *arrays))
        else:
            threads.run(list(blocks(w, *arrays)), lambda: update, _PASSES * w.size)

    # Whether an element of the update depends on the same element of the arrays only, so that large parameters can be
    # updated in blocks. A scalar is always updated as a block of one element, since NumPy's functions of arrays without
    # axes return scalars, which cannot be changed in place.
    _is_elementwise = True

    # Whether ``_update`` receives ``updates``, the number of updates of the parameter with this one.
    _counts_updates = False

    def _update(self, w: Array, g: Array, *buffers: Array, eta: float, decay: float, **settings: Any) -> None:
        """Update a parameter or a block of one, and its buffers, in place. All arrays have the same shape.

        ``decay`` is 0 if the decay is decoupled: the base class has applied it then.
        """
        raise NotImplementedError

    def penalty(self) -> float:
        """Return the L2 term that the steps minimise together with the loss: ``weight_decay / 2 * sum(w**2)``.

        It is 0 for parameters whose weight decay is decoupled: that is not the gradient of a term.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor
        >>> from tinygrad_cifar.nn import optim
        >>> W = Tensor([[1.0, 2.0]], requires_grad=True)
        >>> optim.SGD([W], 0.1, weight_decay=0.2).penalty(), optim.AdamW([W], weight_decay=0.2).penalty()
        (0.5, 0.0)
        """
        by_decay: dict[float, list[Tensor]] = {}
        for group in self.groups:
            for p, decay in zip(group.parameters, group.decays, strict=True):
                if decay and not self._is_decoupled(group.settings):
                    by_decay.setdefault(decay, []).append(p.detach())
        return sum((float(F.l2_penalty(weights, decay / 2)) for decay, weights in by_decay.items()), 0.0)

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the parameters have the values to evaluate, such as their running averages.

        They are the current values, unless the optimiser is a :class:`MovingAverage`, or contains one.
        """
        return nullcontext()

    def adopt_average(self) -> None:
        """Set the parameters to the values of :meth:`averaged`, at the end of training."""

    def _state(self) -> dict[str, Array]:
        """Return the arrays of the state by name, not copies."""
        all_buffers = [buffers for group in self.groups for buffers in group.buffers]
        state = {f"{name}.{i}": buffer for i, buffers in enumerate(all_buffers) for name, buffer in buffers.items()}
        if self._counts_updates:
            counts = [updates for group in self.groups for updates in group.updates]
            state |= {f"updates.{i}": updates for i, updates in enumerate(counts)}
        return state

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the step count and the state buffers, by name."""
        return {"steps": np.array(self.steps), **{name: array.copy() for name, array in self._state().items()}}

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
        own = self._state()
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
            given = np.asarray(state[key])
            if own[key].dtype.kind == "i" and (given.dtype.kind not in "iu" or given < 0):
                raise ValueError(f"{kind}: {key} must be a non-negative integer; got {state[key]!r}")
            if given.dtype.kind not in "fiub":
                raise ValueError(f"{kind}: {key} must be real; got {given.dtype}")
        self.steps = int(steps)
        for key, buffer in own.items():
            buffer[...] = state[key]


# The temporary arrays of a block stay in the processor's cache, so updating a million weights block by block takes half
# the time. On two cores it takes 0.6 of that time.
_BLOCK_BYTES = 524_288
_PASSES = 3  # over the weights, in the simplest update


def blocks(w: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """Yield writable blocks of C-contiguous arrays with the same shape."""
    size = _BLOCK_BYTES // w.itemsize
    flat = [w.reshape(-1), *[np.ascontiguousarray(other).reshape(-1) for other in others]]
    for start in range(0, w.size, size):
        yield tuple([array[start : start + size] for array in flat])


def _given_groups(parameters: Any) -> list[dict[str, Any]]:
    """Return groups whose parameters are lists, of the first argument of an optimiser."""
    if isinstance(parameters, Mapping):
        remedy = "one group: use [group]" if "parameters" in parameters else "a dictionary: use model.parameters()"
        raise TypeError(f"parameters must be an iterable of tensors or groups; got {remedy}")
    items = as_list(parameters, "parameters must be an iterable of tensors")
    if not any(isinstance(item, Mapping) for item in items):
        return [{"parameters": items}]
    groups = []
    for i, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise TypeError(f"parameters must be tensors or groups, not both; got {type(item).__name__} after a group")
        if "parameters" not in item:
            raise ValueError(f'group {i} must have the key "parameters"; got {", ".join(map(str, item)) or "no keys"}')
        own = as_list(item["parameters"], f"the parameters of group {i} must be an iterable of tensors")
        groups.append({**item, "parameters": own})
    return groups


def as_list(parameters: Any, wanted: str) -> list[Any]:
    """Return the parameters as a list; ``wanted`` begins the error message for a tensor or a module."""
    if isinstance(parameters, Tensor):
        raise TypeError(f"{wanted}; got a Tensor: use [parameter]")
    if callable(getattr(parameters, "parameters", None)):
        raise TypeError(f"{wanted}; got a {type(parameters).__name__}: use model.parameters()")
    if not isinstance(parameters, Iterable):
        raise TypeError(f"{wanted}; got {parameters!r:.40}")
    return list(parameters)


def check_parameters(parameters: list[Tensor]) -> None:
    """Raise an error unless the parameters are different leaves with ``requires_grad``, at least one."""
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


def _as_schedule(eta: Any) -> Schedule:
    """Return a learning rate as a function of the step."""
    if isinstance(eta, type):
        raise TypeError(f"the schedule is a class; construct it: {eta.__name__}(...)")
    return eta if callable(eta) else Constant(float(eta))


def check_number(name: str, number: float) -> None:
    """Raise an error for a number that is negative, infinite or NaN."""
    check_real(name, number)
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be finite and at least 0; got {number}")


def check_coefficient(name: str, number: float) -> None:
    """Raise an error for a coefficient of an exponential average that is not in [0, 1)."""
    check_real(name, number)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be in [0, 1); got {number}")
