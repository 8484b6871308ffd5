"""A model: its inputs, its loss for every library, the NumPy program derived by hand, and the goals of its cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.implementations import HAND
from benchmarks.libraries import Library, Thunk

Array = np.ndarray
Inputs = Mapping[str, Any]  # arrays, numbers, or tuples and mappings of them, by name
Size = Mapping[str, Any]


class Goal(NamedTuple):
    """What the time of this library should be, as multiples of others' times.

    Attributes
    ----------
    name : str
        The class of the cases.
    to_hand : float, optional
        Largest multiple of the program derived by hand.
    to_torch : float
        Largest multiple of PyTorch in eager mode.
    """

    name: str
    to_hand: float | None
    to_torch: float = 1.0


OWN_LOOP = Goal("own loop", 1.0)
ARRAYS = Goal("arrays", 1.1)
TINY = Goal("tiny operations", 2.0)
NO_CLIFF = Goal("many parts", None)
SECOND = Goal("second derivatives", None)
GOALS = (OWN_LOOP, ARRAYS, TINY, NO_CLIFF, SECOND)
MEMORY = 1.1  # the largest multiple of the peak memory of the program derived by hand


class Case(NamedTuple):
    """A model of one size.

    Attributes
    ----------
    name : str
        Name in the table.
    goal : Goal
        Class of the case.
    size : mapping
        Arguments of the model's ``draw``.
    """

    name: str
    goal: Goal
    size: Size


class Alternative(NamedTuple):
    """Another way to compute the same.

    Attributes
    ----------
    make : callable
        ``make(inputs)`` returns a function that computes it.
    arrange : callable
        Returns its results as those of the others.
    contestant : str
        Contestant in whose process it is computed.
    """

    make: Callable[[Inputs], Thunk]
    arrange: Callable[[Any], Any]
    contestant: str = HAND


class Model(NamedTuple):
    """A model.

    Attributes
    ----------
    draw : callable
        ``draw(rng, **size)`` returns the inputs.
    cases : tuple of Case
        Sizes that are timed.
    small : tuple of mapping
        Sizes of the tests.
    make : callable
        ``make(library, inputs)`` returns a function that computes the loss and its gradients, or makes a step of
        training and returns the loss and the parameters.
    by_hand : callable, optional
        ``by_hand(inputs)`` returns a function that computes the same in NumPy.
    alternatives : mapping of str to Alternative
        Other ways to compute it.
    dtype : str
        Type of the arrays that are timed; those of the tests are of float64.
    """

    draw: Callable[..., Inputs]
    cases: tuple[Case, ...]
    small: tuple[Size, ...]
    make: Callable[[Library, Inputs], Thunk]
    by_hand: Callable[[Inputs], Thunk] | None
    alternatives: Mapping[str, Alternative] = {}
    dtype: str = "float32"

    def inputs(self, size: Size, dtype: str) -> Inputs:
        """Return the inputs of a size, which are always the same."""
        found: Inputs = _cast(self.draw(np.random.default_rng(31337), **size), dtype)
        return found


def _cast(x: Any, dtype: str) -> Any:
    """Return inputs with floating-point arrays of a type."""
    if isinstance(x, dict):
        return {name: _cast(part, dtype) for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(_cast(part, dtype) for part in x)
    return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def gradients_of(loss: Callable[[Library, Inputs], Callable[..., Any]]) -> Callable[[Library, Inputs], Thunk]:
    """Return the function ``make`` of a model whose loss is a function of all ``inputs["parameters"]``."""
    return lambda library, inputs: library.value_and_gradients(loss(library, inputs), *inputs["parameters"])


def softmax_loss(scores: Array, labels: Array) -> tuple[Any, Array]:
    """Return the mean cross-entropy, and its gradient in the memory of the scores."""
    own = np.arange(len(labels)), labels
    scores -= scores.max(axis=1, keepdims=True)
    loss = -scores[own].mean()
    np.exp(scores, out=scores)
    totals = scores.sum(axis=1, keepdims=True)
    loss += np.log(totals).mean()
    scores /= totals
    scores[own] -= 1
    scores /= len(labels)
    return loss, scores
