"""HIPS autograd, asked for the derivatives of problems and models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp
from autograd.differential_operators import make_jvp
from autograd.tracer import isbox

from benchmarks.libraries import Thunk, floats
from benchmarks.libraries.eager import Eager


class _Names:
    """Autograd's functions under the names of NumPy."""

    def __getattr__(self, name: str) -> Any:
        return getattr(anp, name)

    def det(self, x: Any) -> Any:
        return anp.linalg.det(x)


class _Autograd(Eager):
    np = _Names()

    def array(self, x: Any) -> Any:
        return floats(x)

    def indices(self, x: Any) -> Any:
        return np.asarray(x)

    def numpy(self, results: Any) -> Any:
        return tuple(map(self.numpy, results)) if isinstance(results, (tuple, list)) else np.array(results)

    def sigmoid(self, x: Any) -> Any:
        return 1 / (1 + anp.exp(-x))

    def logsumexp(self, x: Any, axis: int) -> Any:
        highest = anp.max(x, axis=axis, keepdims=True)
        return anp.squeeze(highest, axis) + anp.log(anp.sum(anp.exp(x - highest), axis=axis))

    def relu(self, x: Any) -> Any:
        return anp.maximum(x, 0)

    def gelu(self, x: Any) -> Any:
        return 0.5 * x * (1 + anp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    def softmax(self, x: Any) -> Any:
        weights = anp.exp(x - anp.max(x, axis=-1, keepdims=True))
        return weights / anp.sum(weights, axis=-1, keepdims=True)

    def cross_entropy(self, scores: Any, labels: Any) -> Any:
        shifted = scores - anp.max(scores, axis=1, keepdims=True)
        log_p = shifted - anp.log(anp.sum(anp.exp(shifted), axis=1, keepdims=True))
        return -anp.mean(log_p[np.arange(len(labels)), labels])

    def embedding(self, weights: Any, indices: Any) -> Any:
        return weights[indices]

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return self._normalise(x, -1) * scale + bias

    def batch_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return self._normalise(x, (0, 1, 2)) * scale + bias

    def _normalise(self, x: Any, axis: Any) -> Any:
        centred = x - anp.mean(x, axis=axis, keepdims=True)
        return centred / anp.sqrt(anp.mean(centred * centred, axis=axis, keepdims=True) + 1e-5)

    def max_pool(self, x: Any) -> Any:
        rows = anp.maximum(x[:, ::2], x[:, 1::2])
        return anp.maximum(rows[:, :, ::2], rows[:, :, 1::2])

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        point = [self.array(x) for x in xs]
        return lambda: f(*point)

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        return self.value(autograd.grad(f, tuple(range(len(xs)))), *xs)

    def value_and_gradients(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        return self.value(autograd.value_and_grad(f, tuple(range(len(xs)))), *xs)

    def value_and_nested_gradients(self, f: Callable[..., Any], *xs: Any) -> tuple[Any, tuple[Any, ...]]:
        value, gradients = autograd.value_and_grad(f, tuple(range(len(xs))))(*xs)
        return value, gradients

    def hessian_product(self, f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> Thunk:
        point, along = tuple(self.array(x) for x in xs), tuple(self.array(v) for v in vs)
        gradients = autograd.grad(lambda arrays: f(*arrays))
        return lambda: make_vjp(gradients, point)[0](along)  # the Hessian is symmetric

    def training_step(
        self, cost: Callable[..., Any], parameters: Sequence[Any], data: Sequence[Any], rate: float
    ) -> Callable[[Any], tuple[Any, Sequence[Any]]]:
        current = [np.array(x) for x in parameters]
        differentiate = autograd.value_and_grad(cost, tuple(range(len(current))))

        def step(rows: Any) -> tuple[Any, Sequence[Any]]:
            value, gradients = differentiate(*current, *[array[rows] for array in data])
            for x, gradient in zip(current, gradients, strict=True):
                x -= rate * gradient  # noqa: PLW2901 (in place)
            return value, current

        return step

    def gradient_and_product(self, f: Callable[[Any], Any], x: Any, v: Any) -> Thunk:
        point, along = self.array(x), self.array(v)

        def both() -> Any:
            pull, gradient = make_vjp(autograd.grad(f), point)
            return gradient, pull(along)  # the Hessian is symmetric

        return both

    def jacobian_by_columns(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        point = self.array(x)

        def jacobian() -> Any:
            push = make_jvp(f)(point)
            return np.stack([push(unit.reshape(point.shape))[1] for unit in np.eye(point.size)], -1)

        return jacobian

    def batched_jacobian(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        point = self.array(x)

        def jacobian() -> Any:
            pull, out = make_vjp(f, point)
            return np.stack([pull(np.broadcast_to(unit, out.shape)) for unit in np.eye(out.shape[1])], 1)

        return jacobian

    def derivative(self, f: Callable[[Any], Any], nested: bool) -> Callable[[Any], Any]:  # noqa: ARG002 (as the others)
        gradient: Callable[[Any], Any] = autograd.grad(f)
        return gradient

    def is_differentiated(self, x: Any) -> bool:
        return bool(isbox(x))


LIBRARY = _Autograd()
