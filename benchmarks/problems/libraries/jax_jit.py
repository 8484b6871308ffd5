"""JAX with every function compiled, asked for the derivatives of the problems.

The time of a compilation is not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems.libraries import Library, Thunk

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

    def array(self, x: Any) -> Any:
        return jnp.asarray(np.asarray(x, dtype=float))

    def numpy(self, results: Any) -> Any:
        return tuple(map(self.numpy, results)) if isinstance(results, (tuple, list)) else np.array(results)

    def fold(self, step: Callable[[Any, Any], Any], state: Any, inputs: Any) -> Any:
        return jax.lax.scan(lambda carry, row: (step(carry, row), None), state, inputs)[0]

    def repeat(self, step: Callable[[Any], Any], state: Any, count: int) -> Any:
        return jax.lax.scan(lambda carry, _: (step(carry), None), state, None, length=count)[0]

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        compiled, point = jax.jit(f), [self.array(x) for x in xs]
        return lambda: jax.block_until_ready(compiled(*point))

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        return self.value(jax.grad(f, tuple(range(len(xs)))), *xs)

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
