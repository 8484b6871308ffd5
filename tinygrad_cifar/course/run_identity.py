"""The identity of a training run: what a run must have in common with the checkpoint that it is resumed from.

It consists of the arguments of ``fit`` as far as they can be compared: numbers by their values, arrays by a digest,
schedules by their rates, other functions by their names, and random generators by their seeds. The states of the
generators and the values of the parameters are not part of it: they change during a run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import Examples
from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.nn import Module
from tinygrad_cifar.nn.optim import Combined, Optimiser
from tinygrad_cifar.nn.schedules import Constant
from tinygrad_cifar.system.identity import digest_array

_PLAIN = (bool, int, float, str, type(None))
_SETTINGS_OF_AVERAGES = ("decay", "warm_up", "fraction", "every")
_SEEDS_END = 2**96  # NumPy takes a seed of 128 bits from the operating system if none is given

_RATES = "eta"  # the first word of the entries for learning rates


def identify_run(
    own: Mapping[str, Any],
    model: Module,
    optimiser: Optimiser,
    steps: int,
    settings: Mapping[str, Any],
    rng: np.random.Generator | None,
) -> tuple[dict[str, Any], set[str]]:
    """Return the identity of a run, in the order in which differences are listed, and the names of its learning rates.

    Parameters
    ----------
    own : mapping
        Entries of the caller. An entry that is compared anyway and has the name of one of these is named "... of fit".
    model, optimiser
        Model and optimiser of the run.
    steps : int
        Number of updates of the run.
    settings : mapping
        Other settings, by name, as values that JSON can represent.
    rng : numpy.random.Generator, optional
        Generator of the run.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> from tinygrad_cifar.course.run_identity import identify_run
    >>> from tinygrad_cifar.nn import optim
    >>> model = nn.Linear(3, 2, rng=0)
    >>> identity, rates = identify_run({"eta": 7}, model, optim.SGD(model.parameters(), 0.1), 10, {"epochs": 2}, None)
    >>> identity["eta"], identity["eta of fit"], identity["epochs"], rates
    (7, 0.1, 2, {'eta of fit'})
    """
    compared = {
        **identify_model(model),
        **identify_optimiser(optimiser, steps),
        **settings,
        **identify_generator(rng),
    }
    compared = {f"{name} of fit" if name in own else name: value for name, value in compared.items()}
    return {**own, **compared}, {name for name in compared if name.split()[0] == _RATES}


def identify_model(model: Module) -> dict[str, Any]:
    """Return the class of a model, the shapes and types of its tensors, its loss, and the seeds of its layers.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> from tinygrad_cifar.course.run_identity import identify_model
    >>> identity = identify_model(nn.Linear(3, 2))
    >>> identity["model"], identity["parameter W"]
    ('Linear', '(3, 2) float64')
    """
    inside = model.generators()
    shapes = {f"parameter {name}": f"{tensor.shape} {tensor.dtype}" for name, tensor in model.named_tensors()}
    of_loss = {}
    if isinstance(model, Classifier):
        of_loss = {name: _identify_value(getattr(model, name)) for name in ("loss_exponent", "loss_smoothing")}
        of_loss["loss_function"] = identify_function(model.loss_function)
    return {
        "model": type(model).__name__,
        **shapes,
        **of_loss,
        "number of random generators in layers, such as dropout,": len(inside),
        "seeds of layers": [identify_seed(rng) for rng in inside],
    }


def identify_optimiser(optimiser: Optimiser, steps: int) -> dict[str, Any]:
    """Return the class of an optimiser and the settings of its groups.

    Parameters
    ----------
    optimiser : Optimiser
    steps : int
        Number of updates of the run, for which the learning rates of functions are compared.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> from tinygrad_cifar.course.run_identity import identify_optimiser
    >>> from tinygrad_cifar.nn import optim
    >>> identify_optimiser(optim.Adam(nn.Linear(3, 2).parameters(), 0.1), 10)
    {'optimiser': 'Adam', 'eta': 0.1, 'weight_decay': '0', 'beta1': 0.9, 'beta2': 0.999, 'epsilon': 1e-08}
    """
    identity: dict[str, Any] = {"optimiser": optimiser.name}
    several = len(optimiser.groups) > 1
    for i, group in enumerate(optimiser.groups):
        where = f" of group {i}" if several else ""
        identity[f"{_RATES}{where}"] = _identify_schedule(group.schedule, steps)
        decaying = [decay for decay in group.decays if decay]
        decay = f"{max(decaying):g} for {len(decaying)} of {len(group.decays)} parameters" if decaying else "0"
        identity[f"weight_decay{where}"] = decay
        identity |= {f"{name}{where}": _identify_value(value) for name, value in group.settings.items()}
    return identity | _identify_averages(optimiser, steps)


def _identify_averages(optimiser: Optimiser, steps: int) -> dict[str, Any]:
    """Return the settings of the optimisers that average the parameters of another one."""
    if not isinstance(optimiser, Combined):
        return {}
    own = {name: value for name, value in vars(optimiser).items() if name in _SETTINGS_OF_AVERAGES}
    identity = {
        f"{name} of {type(optimiser).__name__}": _identify_schedule(value, steps) if callable(value) else value
        for name, value in own.items()
    }
    for inner in optimiser.optimisers:
        identity |= _identify_averages(inner, steps)
    return identity


def identify_data(data: Mapping[str, Examples | None]) -> dict[str, Any]:
    """Return digests of the inputs and targets of each set of examples; None for missing ones.

    Examples
    --------
    >>> from tinygrad_cifar.course.run_identity import identify_data
    >>> identify_data({"validation": None})
    {'validation inputs': None, 'validation targets': None}
    """
    parts = ("inputs", "targets")
    return {
        f"{name} {part}": None if examples is None else digest_array(examples[i])
        for name, examples in data.items()
        for i, part in enumerate(parts)
    }


def identify_function(function: object) -> Any:
    """Return the name of a function, or of the class of another object; None for None.

    Examples
    --------
    >>> from tinygrad_cifar import functional
    >>> from tinygrad_cifar.course.run_identity import identify_function
    >>> identify_function(functional.mse), identify_function(None)
    ('mse', None)
    """
    if function is None:
        return None
    if isinstance(function, partial):
        arguments = [*map(str, function.args), *(f"{name}={value}" for name, value in function.keywords.items())]
        text = f"{identify_function(function.func)} with {', '.join(arguments)}"
        return text if _is_stable(text) else identify_function(function.func)
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def identify_generator(rng: np.random.Generator | None) -> dict[str, Any]:
    """Return the kind and the seed of the generator of a run.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.run_identity import identify_generator
    >>> identify_generator(np.random.default_rng(3))
    {'rng': 'PCG64', 'seed of rng': 3}
    """
    kind = None if rng is None else type(rng.bit_generator).__name__
    return {"rng": kind, "seed of rng": identify_seed(rng)}


def identify_seed(rng: np.random.Generator | None) -> Any:
    """Return the seed of a generator; None if it was given none. The numbers drawn since then do not matter.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.run_identity import identify_seed
    >>> rng = np.random.default_rng(3)
    >>> rng.random() > 0, identify_seed(rng), identify_seed(np.random.default_rng())
    (True, 3, None)
    """
    seeds = None if rng is None else getattr(rng.bit_generator, "seed_seq", None)
    entropy = getattr(seeds, "entropy", None)
    if entropy is None or (isinstance(entropy, int) and entropy >= _SEEDS_END):
        return None
    seed = int(entropy) if isinstance(entropy, (int, np.integer)) else [int(part) for part in np.ravel(entropy)]
    spawned = list(getattr(seeds, "spawn_key", ()))
    return f"{seed}, spawned as {spawned}" if spawned else seed


def _identify_schedule(schedule: Any, steps: int) -> Any:
    """Return the rate of a constant schedule, the text of another one of the library, and the rates of a function."""
    if isinstance(schedule, Constant) and math.isfinite(schedule.eta):
        return float(schedule.eta)
    text = repr(schedule)
    if is_dataclass(schedule) and _is_stable(text):
        return text
    rates = np.array([float(schedule(step)) for step in range(steps)])
    digest = hashlib.sha256(rates.tobytes()).hexdigest()[:8]
    return f"{identify_function(schedule)} (from {rates[0]:g} to {rates[-1]:g}, digest {digest})"


def _identify_value(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)):
        return [_identify_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _identify_value(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return digest_array(value)
    return repr(value) if _is_stable(repr(value)) else identify_function(value)


def _is_stable(text: str) -> bool:
    """Return whether the text of an object is the same in another process: it does not contain an address."""
    return " at 0x" not in text
