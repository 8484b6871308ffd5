"""The library of this project, asked for the derivatives of problems and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from benchmarks.libraries import Thunk
from benchmarks.libraries.eager import Eager
from tinygrad_cifar import Tensor
from tinygrad_cifar.nn import functional as F


class _Ours(Eager):
    np = tg
    array = staticmethod(Tensor)
    sigmoid = staticmethod(tg.sigmoid)
    logsumexp = staticmethod(tg.logsumexp)
    relu = staticmethod(tg.relu)
    softmax = staticmethod(F.softmax)
    cross_entropy = staticmethod(F.cross_entropy)
    batch_norm = staticmethod(tg.batch_norm)

    def indices(self, x: Any) -> Any:
        return np.asarray(x)

    def gelu(self, x: Any) -> Any:
        return tg.gelu(x, "tanh")

    def embedding(self, weights: Any, indices: Any) -> Any:
        return weights[indices]

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return tg.layer_norm(x) * scale + bias

    def max_pool(self, x: Any) -> Any:
        return tg.max_pool2d(x, 2)

    def numpy(self, results: Any) -> Any:
        if isinstance(results, (tuple, list)):
            return tuple(self.numpy(part) for part in results)
        return np.array(results.data if isinstance(results, Tensor) else results)

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        constants = [Tensor(x) for x in xs]
        return lambda: f(*constants)

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        leaves = [Tensor(x, requires_grad=True) for x in xs]
        return lambda: tg.grad(f(*leaves), leaves)

    def value_and_gradients(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        leaves = [Tensor(x, requires_grad=True) for x in xs]

        def both() -> Any:
            value = f(*leaves)
            return value, tg.grad(value, leaves)

        return both

    def value_and_nested_gradients(self, f: Callable[..., Any], *xs: Any) -> tuple[Any, tuple[Any, ...]]:
        variables = [x if x.requires_grad else Tensor(x.data, requires_grad=True) for x in xs]
        value = f(*variables)
        return value, tg.grad(value, variables, create_graph=True)

    def hessian_product(self, f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> Thunk:
        return lambda: tg.hvp(f, xs, vs)

    def training_step(
        self, cost: Callable[..., Any], parameters: Sequence[Any], data: Sequence[Any], rate: float
    ) -> Callable[[Any], tuple[Any, Sequence[Any]]]:
        leaves = [Tensor(x, requires_grad=True) for x in parameters]

        def step(rows: Any) -> tuple[Any, Sequence[Any]]:  # as in the guide
            value = cost(*leaves, *[array[rows] for array in data])
            for leaf in leaves:
                leaf.grad = None
            value.backward()
            for leaf in leaves:
                leaf.data = leaf.data - rate * leaf.grad.data
            return value, leaves

        return step

    def gradient_and_product(self, f: Callable[[Any], Any], x: Any, v: Any) -> Thunk:
        leaf = Tensor(x, requires_grad=True)

        def both() -> Any:
            gradient = tg.grad(f(leaf), leaf, create_graph=True)
            return gradient, tg.grad(gradient, leaf, v)

        return both

    def jacobian_by_columns(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        return lambda: tg.jacobian(f, x, by="columns")

    def batched_jacobian(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        return lambda: tg.jacobian(f, x, batched=True)

    def derivative(self, f: Callable[[Any], Any], nested: bool) -> Callable[[Any], Any]:
        def gradient(x: Any) -> Any:
            variable = x if x.requires_grad else Tensor(x.data, requires_grad=True)
            return tg.grad(f(variable), variable, create_graph=nested)

        return gradient

    def is_differentiated(self, x: Any) -> bool:
        return bool(x.requires_grad)


class ForwardPass(_Ours):
    """The forward passes of models alone, recorded or not: how much of the time of a model they are.

    A step of training gathers the batch and computes the cost.
    """

    def __init__(self, *, recorded: bool) -> None:
        self._recorded = recorded

    def value_and_gradients(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        leaves = [Tensor(x, requires_grad=self._recorded) for x in xs]
        return lambda: f(*leaves)

    def training_step(
        self,
        cost: Callable[..., Any],
        parameters: Sequence[Any],
        data: Sequence[Any],
        rate: float,  # noqa: ARG002
    ) -> Callable[[Any], Any]:
        leaves = [Tensor(x, requires_grad=self._recorded) for x in parameters]
        return lambda rows: cost(*leaves, *[array[rows] for array in data])


LIBRARY = _Ours()
