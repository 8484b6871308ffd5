"""The library of this project, asked for the derivatives of the problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from benchmarks.problems.libraries import Thunk
from benchmarks.problems.libraries.eager import Eager
from tinygrad_cifar import Tensor


class _Ours(Eager):
    np = tg
    array = staticmethod(Tensor)
    sigmoid = staticmethod(tg.sigmoid)
    logsumexp = staticmethod(tg.logsumexp)

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


LIBRARY = _Ours()
