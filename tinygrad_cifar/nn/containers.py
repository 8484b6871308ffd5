"""Modules that contain others: Sequential and Residual; and Flatten, for the change of shape between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn.module import Module

_PLAIN_ERRORS = (ValueError, TypeError, IndexError)


class Sequential(Module):
    """Chain of layers: each is applied to the result of the one before it.

    Parameters
    ----------
    *layers : Module or callable
        Layers, first to last: modules, or functions of one tensor. The attribute ``layers`` is a list of them, and
        ``model[i]`` is one; ``model[:-1]`` is the chain without the last.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.ReLU(), nn.Linear(3, 2, rng=rng))
    >>> model(np.ones((5, 4))).shape, len(model.parameters())
    ((5, 2), 4)
    """

    def __init__(self, *layers: Module | Callable[[Any], Any]) -> None:
        for i, layer in enumerate(layers):
            _check_layer(f"Sequential: layer {i}", layer)
        self.layers = list(layers)

    def forward(self, x: Any) -> Tensor:
        """Return the result of the last layer."""
        result: Tensor = x
        i = 0
        try:
            for i, layer in enumerate(self.layers):  # noqa: B007 (used below)
                result = layer(result)
        except _PLAIN_ERRORS as error:
            if type(error) in _PLAIN_ERRORS and len(error.args) == 1:  # others may be built from other arguments
                error.args = (f"layer {i} of {type(self).__name__}: {error}",)
            raise
        return result

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, place: int | slice) -> Any:
        return Sequential(*self.layers[place]) if isinstance(place, slice) else self.layers[place]

    def _arguments(self) -> str:
        return ", ".join(repr(layer) if isinstance(layer, Module) else _name(layer) for layer in self.layers)


class Residual(Module):
    """Residual connection: ``x + body(x)`` (He et al., arXiv:1512.03385).

    Parameters
    ----------
    *body : Module or callable
        Layers, as for :class:`Sequential`. Their result must have the shape of the input, or that of the shortcut.
    shortcut : Module or callable, optional
        Applied to the input before it is added, for example a convolution of 1 x 1 that changes the number of channels.

    Raises
    ------
    ValueError
        If the shapes of the two terms differ.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> block = nn.Residual(nn.Conv2d(8, 8, 3, padding="same", rng=0), nn.ReLU())
    >>> block(np.zeros((10, 4, 4, 8))).shape
    (10, 4, 4, 8)
    """

    def __init__(
        self, *body: Module | Callable[[Any], Any], shortcut: Module | Callable[[Any], Any] | None = None
    ) -> None:
        self.body = Sequential(*body)
        if shortcut is not None:
            _check_layer("Residual: shortcut", shortcut)
        self.shortcut = shortcut

    def forward(self, x: Any) -> Tensor:
        """Return the sum of the input, or its shortcut, and the result of the body."""
        term = x if self.shortcut is None else self.shortcut(x)
        result = self.body(x)
        if shape_of(term) != shape_of(result):
            raise ValueError(
                f"Residual: the body returned the shape {shape_of(result)}, but {shape_of(term)} is to be added to it; "
                "give a shortcut that returns the shape of the body's result"
            )
        return result + term


class Flatten(Module):
    """All axes but the first in one: ``(batch, ...)`` becomes ``(batch, features)``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.Flatten()(Tensor(np.zeros((5, 3, 32, 32)))).shape
    (5, 3072)
    """

    def forward(self, x: Any) -> Tensor:
        """Return ``x`` with the shape ``(batch, features)``."""
        shape = shape_of(x)
        if not shape:
            raise ValueError("Flatten: the input must have at least one axis, that of the batch; got a scalar")
        features = int(np.prod(shape[1:]))
        result: Tensor = ops.reshape(x, (shape[0], features))
        return result


def _check_layer(name: str, layer: Any) -> None:
    """Raise TypeError for anything but a module or a function of one tensor."""
    if isinstance(layer, type):
        raise TypeError(f"{name} is a class; construct it: {layer.__name__}()")
    if not callable(layer):
        remedy = "; give the layers one by one: Sequential(*layers)" if isinstance(layer, (list, tuple)) else ""
        raise TypeError(f"{name} must be a module or a function; got {type(layer).__name__}{remedy}")


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
