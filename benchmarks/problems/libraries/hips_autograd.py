"""HIPS autograd, asked for the derivatives of the problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp
from autograd.differential_operators import make_jvp
from autograd.tracer import isbox

from benchmarks.problems.libraries import Thunk
from benchmarks.problems.libraries.eager import Eager


class _Names:
    """Autograd's functions under the names of NumPy."""

    def __getattr__(self, name: str) -> Any:
        return getattr(anp, name)

    def det(self, x: Any) -> Any:
        return anp.linalg.det(x)


class _Autograd(Eager):
    np = _Names()

    def array(self, x: Any) -> Any:
        return np.asarray(x, dtype=float)

    def numpy(self, results: Any) -> Any:
        return tuple(map(self.numpy, results)) if isinstance(results, (tuple, list)) else np.array(results)

    def sigmoid(self, x: Any) -> Any:
        return 1 / (1 + anp.exp(-x))

    def logsumexp(self, x: Any, axis: int) -> Any:
        highest = anp.max(x, axis=axis, keepdims=True)
        return anp.squeeze(highest, axis) + anp.log(anp.sum(anp.exp(x - highest), axis=axis))

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        point = [self.array(x) for x in xs]
        return lambda: f(*point)

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        return self.value(autograd.grad(f, tuple(range(len(xs)))), *xs)

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
