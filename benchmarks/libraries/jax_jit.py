"""JAX with every function compiled, asked for the derivatives of problems and models.

The time of a compilation is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.libraries import Library, Thunk, floats

jax.config.update("jax_enable_x64", True)


class _Names:
    """JAX's functions under the names of NumPy."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    def det(self, x: Any) -> Any:
        return jnp.linalg.det(x)


class _Jax(Library):
    np = _Names()
    sigmoid = staticmethod(jax.nn.sigmoid)
    logsumexp = staticmethod(jax.nn.logsumexp)
    relu = staticmethod(jax.nn.relu)
    softmax = staticmethod(jax.nn.softmax)

    def gelu(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=True)

    def cross_entropy(self, scores: Any, labels: Any) -> Any:
        log_p = jax.nn.log_softmax(scores)
        return -log_p[jnp.arange(len(labels)), labels].mean()

    def embedding(self, weights: Any, indices: Any) -> Any:
        return weights[indices]

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return jax.nn.standardize(x, epsilon=1e-5) * scale + bias

    def batch_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return jax.nn.standardize(x, axis=(0, 1, 2), epsilon=1e-5) * scale + bias

    def max_pool(self, x: Any) -> Any:
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def array(self, x: Any) -> Any:
        return jnp.asarray(floats(x))

    def indices(self, x: Any) -> Any:
        return jnp.asarray(x)

    def numpy(self, results: Any) -> Any:
        return tuple(map(self.numpy, results)) if isinstance(results, (tuple, list)) else np.array(results)

    def fold(self, step: Callable[[Any, Any], Any], state: Any, inputs: Any) -> Any:
        return jax.lax.scan(lambda carry, row: (step(carry, row), None), state, inputs)[0]

    def scan(self, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any) -> tuple[Any, Any]:
        after, outputs = jax.lax.scan(step, state, inputs)
        return after, outputs

    def repeat(self, step: Callable[[Any], Any], state: Any, count: int) -> Any:
        return jax.lax.scan(lambda carry, _: (step(carry), None), state, None, length=count)[0]

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        compiled, point = jax.jit(f), [self.array(x) for x in xs]
        return lambda: jax.block_until_ready(compiled(*point))

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        return self.value(jax.grad(f, tuple(range(len(xs)))), *xs)

    def value_and_gradients(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        return self.value(jax.value_and_grad(f, tuple(range(len(xs)))), *xs)

    def value_and_nested_gradients(self, f: Callable[..., Any], *xs: Any) -> tuple[Any, tuple[Any, ...]]:
        value, gradients = jax.value_and_grad(f, tuple(range(len(xs))))(*xs)
        return value, gradients

    def hessian_product(self, f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> Thunk:
        gradients = jax.grad(f, tuple(range(len(xs))))
        return self.value(lambda *arrays: jax.jvp(gradients, arrays[: len(xs)], arrays[len(xs) :])[1], *xs, *vs)

    def training_step(
        self, cost: Callable[..., Any], parameters: Sequence[Any], data: Sequence[Any], rate: float
    ) -> Callable[[Any], tuple[Any, Sequence[Any]]]:
        current, arrays = [jnp.array(x) for x in parameters], [jnp.asarray(array) for array in data]
        differentiate = jax.value_and_grad(cost, tuple(range(len(current))))

        def update(current: Any, arrays: Any, rows: Any) -> Any:
            value, gradients = differentiate(*current, *[array[rows] for array in arrays])
            return value, [x - rate * gradient for x, gradient in zip(current, gradients, strict=True)]

        compiled = jax.jit(update, donate_argnums=0)

        def step(rows: Any) -> tuple[Any, Sequence[Any]]:
            nonlocal current
            value, current = jax.block_until_ready(compiled(current, arrays, rows))
            return value, current

        return step

    def gradient_and_product(self, f: Callable[[Any], Any], x: Any, v: Any) -> Thunk:
        return self.value(lambda x, v: jax.jvp(jax.grad(f), (x,), (v,)), x, v)

    def jacobian_by_columns(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        return self.value(jax.jacfwd(f), x)

    def batched_jacobian(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        def jacobian(x: Any) -> Any:
            out, pull = jax.vjp(f, x)
            units = jnp.broadcast_to(jnp.eye(out.shape[1])[:, None, :], (out.shape[1], *out.shape))
            return jnp.swapaxes(jax.vmap(pull)(units)[0], 0, 1)

        return self.value(jacobian, x)

    def derivative(self, f: Callable[[Any], Any], nested: bool) -> Callable[[Any], Any]:  # noqa: ARG002 (as the others)
        return jax.grad(f)

    def is_differentiated(self, x: Any) -> bool:
        return isinstance(x, jax.core.Tracer)


LIBRARY = _Jax()
