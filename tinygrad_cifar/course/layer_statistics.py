"""Statistics of the activations and gradients of each layer of a model.

A layer is an operation with a matrix of weights (or a larger array) and the element-wise operations that follow it,
such as the addition of the biases and the activation function. Its activations are the last of these results. Units
that are always 0 and gradients that shrink from layer to layer are seen in these numbers before they are seen in the
loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cifar.engine.modes import enable_grad
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.inspection.nodes import GraphNode
from tinygrad_cifar.inspection.tracing import keep_values
from tinygrad_cifar.inspection.view import Graph, graph
from tinygrad_cifar.nn import Module

_MATRIX = 2  # axes; parameters with fewer, such as biases, do not make a layer


class LayerStatistics(NamedTuple):
    """The activations of a layer on some examples, and the gradient of the loss with respect to them.

    Attributes
    ----------
    activation_mean : float
        Mean of the activations.
    activation_std : float
        Standard deviation of the activations.
    activation_zeros : float
        Share of the activations that are exactly 0, from 0 to 1.
    gradient_mean : float
        Mean of the gradient.
    gradient_std : float
        Standard deviation of the gradient.
    gradient_zeros : float
        Share of the elements of the gradient that are exactly 0, from 0 to 1.
    """

    activation_mean: float
    activation_std: float
    activation_zeros: float
    gradient_mean: float
    gradient_std: float
    gradient_zeros: float


def measure_layers(
    model: Module, loss: Callable[[Any, Any], Tensor], X: Any, targets: Any
) -> dict[str, LayerStatistics]:
    """Return the statistics of the layers of a model on some examples, from the first layer to the last.

    The model is in evaluation mode meanwhile. Its parameters, their gradients and its random generators do not change.

    Parameters
    ----------
    model : Module
        The model.
    loss : callable
        ``loss(X, targets)`` applies the model and returns the loss.
    X : array_like
        Inputs.
    targets : array_like
        Targets.

    Returns
    -------
    dict of str to LayerStatistics
        By the name of the layer in the model, or of its weights. The second application of a layer has the name
        ``"name (2)"``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.course.layer_statistics import measure_layers
    >>> model = models.Perceptron([4, 50, 3], rng=0)
    >>> X, labels = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    >>> layers = measure_layers(model, model.loss, X, labels)
    >>> list(layers), 0.3 < layers["layers.0"].activation_zeros < 0.7, layers["layers.1"].activation_zeros
    (['layers.0', 'layers.1'], True, 0.0)
    """
    with model.inference_mode(), enable_grad(), keep_values():
        result = loss(X, targets)
    if not isinstance(result, Tensor) or not result.requires_grad:
        return {}
    view = graph(result, modules=model, cotangents=True)
    found = {}
    for name, node in _outputs(view).items():
        activations, gradient = node.value, node.cotangent
        if activations is not None and gradient is not None and activations.size:
            found[name] = LayerStatistics(*_summary(activations), *_summary(gradient))
    return found


def _summary(array: Any) -> tuple[float, float, float]:
    """Return mean, standard deviation and share of zeros, computed in float64."""
    return float(array.mean(dtype=float)), float(array.std(dtype=float)), float(np.mean(array == 0))


def _outputs(view: Graph) -> Mapping[str, GraphNode]:
    """Return the last result of each layer, by name."""
    users: dict[GraphNode, list[GraphNode]] = {}
    for node in view.operations:
        for given in dict.fromkeys(given.node for given in node.inputs):
            users.setdefault(given, []).append(node)
    outputs: dict[str, GraphNode] = {}
    for node in view.operations:
        weights = _weights(node)
        if weights and _has_other_array(node):
            name = weights[0].name.rpartition(".")[0] or weights[0].name
            calls = sum(other == name or other.startswith(f"{name} (") for other in outputs)
            outputs[f"{name} ({calls + 1})" if calls else name] = _last_of_layer(node, view.operations, users)
    return outputs


def _last_of_layer(
    first: GraphNode, operations: Sequence[GraphNode], users: Mapping[GraphNode, Sequence[GraphNode]]
) -> GraphNode:
    """Return the last element-wise result that depends on the first operation of a layer, and through which all do.

    An activation may be composed of several operations: x * cdf(x) uses x twice.
    """
    layer, last = {first}, first
    for node in operations[operations.index(first) + 1 :]:
        given = [given.node for given in node.inputs if given.node.shape and given.node.kind != "parameter"]
        if not layer.isdisjoint(given) and layer.issuperset(given) and _continues(node, first):
            layer.add(node)
            others = layer - {node}
            if all(layer.issuperset(users.get(other, ())) for other in others):
                last = node
    return last


def _has_other_array(node: GraphNode) -> bool:
    """Return whether an operation has an input besides parameters: not a power of the weights."""
    return any(given.node.kind != "parameter" and given.node.shape for given in node.inputs)


def _weights(node: GraphNode) -> list[GraphNode]:
    given = [given.node for given in node.inputs]
    return [node for node in given if node.kind == "parameter" and len(node.shape) >= _MATRIX]


def _continues(user: GraphNode, output: GraphNode) -> bool:
    """Return whether an operation belongs to the layer whose result so far is ``output``."""
    is_elementwise = user.primitive is not None and user.primitive.broadcasts
    return is_elementwise and user.shape == output.shape and not _weights(user)
