"""Second derivatives of a two-layer net, the character RNN and the GPT: the programs that users write for them.

- A Hessian-vector product: that of the loss, with respect to all parameters.
- A gradient penalty: the loss plus the mean of ``(|g| - 1)**2``, where g is the gradient of the sum of the losses with
  respect to an example (of the RNN, a character); the gradients of that are taken with respect to all parameters.
- MAML: the loss of one batch after a step of gradient descent on another one, with the gradients of the parameters
  before that step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models import character_rnn, gpt
from benchmarks.models.model import SECOND, Case, Inputs, Model, Size, gradients_of

_INNER_RATE = 0.1
_PENALTY = 0.1

Loss = Callable[[Library, Inputs], Callable[..., Any]]
Draw = Callable[..., Inputs]


def _draw_two_layers(
    rng: np.random.Generator, features: int = 3072, hidden: int = 50, classes: int = 10, batch: int = 100
) -> Inputs:
    return {
        "parameters": (
            rng.normal(size=(features, hidden)) / np.sqrt(features),
            rng.normal(size=hidden),
            rng.normal(size=(hidden, classes)) / np.sqrt(hidden),
            rng.normal(size=classes),
        ),
        "x": rng.normal(size=(batch, features)),
        "labels": rng.integers(0, classes, batch),
    }


def _two_layers(library: Library, inputs: Inputs) -> Any:
    images, labels = library.array(inputs["x"]), library.indices(inputs["labels"])

    def loss(W: Any, b: Any, V: Any, c: Any, x: Any = images) -> Any:
        return library.cross_entropy(library.relu(x @ W + b) @ V + c, labels)

    return loss


def hessian_product(draw: Draw, loss: Loss) -> tuple[Draw, Callable[[Library, Inputs], Thunk]]:
    """Return the functions ``draw`` and ``make`` of a Hessian-vector product."""

    def draw_with_directions(rng: np.random.Generator, **size: Any) -> Inputs:
        inputs = draw(rng, **size)
        return {**inputs, "directions": tuple(rng.normal(size=array.shape) for array in inputs["parameters"])}

    def make(library: Library, inputs: Inputs) -> Thunk:
        return library.hessian_product(loss(library, inputs), inputs["parameters"], inputs["directions"])

    return draw_with_directions, make


def _gradient_penalty(draw: Draw, loss: Loss, examples: str) -> tuple[Draw, Callable[[Library, Inputs], Thunk]]:
    def penalised(library: Library, inputs: Inputs) -> Any:
        np, of, x = library.np, loss(library, inputs), library.array(inputs[examples])
        count = math.prod(inputs[examples].shape[:-1])

        def value(*parameters: Any) -> Any:
            mean, (gradient,) = library.value_and_nested_gradients(lambda x: of(*parameters, x), x)
            norms = np.sqrt(np.sum(np.square(gradient * count), axis=-1))
            return mean + _PENALTY * np.mean(np.square(norms - 1))

        return value

    return draw, gradients_of(penalised)


def _maml(draw: Draw, loss: Loss) -> tuple[Draw, Callable[[Library, Inputs], Thunk]]:
    def draw_two(rng: np.random.Generator, **size: Any) -> Inputs:
        first, second = draw(rng, **size), draw(rng, **size)
        return {"parameters": first["parameters"], "first": first, "second": second}

    def after_a_step(library: Library, inputs: Inputs) -> Any:
        first, second = loss(library, inputs["first"]), loss(library, inputs["second"])

        def value(*parameters: Any) -> Any:
            _, gradients = library.value_and_nested_gradients(first, *parameters)
            return second(*[x - _INNER_RATE * g for x, g in zip(parameters, gradients, strict=True)])

        return value

    return draw_two, gradients_of(after_a_step)


def _model(parts: tuple[Draw, Callable[[Library, Inputs], Thunk]], name: str, size: Size, small: Size) -> Model:
    draw, make = parts
    return Model(draw, (Case(name, SECOND, size),), (small,), make, by_hand=None)


_NET: tuple[Draw, Loss] = (_draw_two_layers, _two_layers)
_NET_SIZES: tuple[Size, Size] = ({}, {"features": 5, "hidden": 4, "classes": 3, "batch": 6})
_RNN: tuple[Draw, Loss] = (character_rnn.draw, character_rnn.loss_by_step)
_RNN_SIZES: tuple[Size, Size] = (
    {"steps": 25, "batch": 1},
    {"steps": 4, "batch": 1, "hidden": 5, "vocabulary": 3},
)
_GPT: tuple[Draw, Loss] = (gpt.draw, gpt.loss)

MODELS = (
    _model(hessian_product(*_NET), "Hessian product, 3072-50-10", *_NET_SIZES),
    _model(_gradient_penalty(*_NET, "x"), "gradient penalty, 3072-50-10", *_NET_SIZES),
    _model(_maml(*_NET), "MAML, 3072-50-10", *_NET_SIZES),
    _model(hessian_product(*_RNN), "Hessian product, RNN of 25 steps", *_RNN_SIZES),
    _model(_gradient_penalty(*_RNN, "one_hot"), "gradient penalty, RNN of 25 steps", *_RNN_SIZES),
    _model(_maml(*_RNN), "MAML, RNN of 25 steps", *_RNN_SIZES),
    _model(hessian_product(*_GPT), "Hessian product, small GPT", gpt.SIZE, gpt.SMALL),
    _model(_maml(*_GPT), "MAML, small GPT", gpt.SIZE, gpt.SMALL),
)
