"""PyTorch in eager mode, asked for the derivatives of the problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.problems.libraries import Thunk
from benchmarks.problems.libraries.eager import Eager


class _Names:
    """PyTorch's functions under the names of NumPy; those that are not here have the same name."""

    linalg = torch.linalg

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def det(self, x: Any) -> Any:
        return torch.linalg.det(x)

    def cross(self, x: Any, y: Any) -> Any:
        return torch.linalg.cross(x, y)

    def concatenate(self, xs: Any, axis: int = 0) -> Any:
        return torch.cat(tuple(xs), dim=axis)

    def stack(self, xs: Any, axis: int = 0) -> Any:
        return torch.stack(tuple(xs), dim=axis)

    def max(self, x: Any, axis: int | None = None) -> Any:
        return torch.max(x) if axis is None else torch.amax(x, dim=axis)

    def min(self, x: Any, axis: int) -> Any:
        return torch.amin(x, dim=axis)


class _Torch(Eager):
    np = _Names()
    sigmoid = staticmethod(torch.sigmoid)
    logsumexp = staticmethod(torch.logsumexp)

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def array(self, x: Any) -> Any:
        return torch.tensor(np.asarray(x, dtype=float))

    def numpy(self, results: Any) -> Any:
        if isinstance(results, (tuple, list)):
            return tuple(self.numpy(part) for part in results)
        return results.detach().numpy() if isinstance(results, torch.Tensor) else np.array(results)

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        constants = [self.array(x) for x in xs]
        return lambda: f(*constants)

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        leaves = [self.array(x).requires_grad_() for x in xs]
        return lambda: torch.autograd.grad(f(*leaves), leaves)

    def gradient_and_product(self, f: Callable[[Any], Any], x: Any, v: Any) -> Thunk:
        leaf, along = self.array(x).requires_grad_(), self.array(v)

        def both() -> Any:
            (gradient,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
            return gradient, torch.autograd.grad(gradient, leaf, along)[0]

        return both

    def jacobian_by_columns(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        point, jacobian = self.array(x), torch.func.jacfwd(f)
        return lambda: jacobian(point)

    def batched_jacobian(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        leaf = self.array(x).requires_grad_()

        def jacobian() -> Any:
            out = f(leaf)
            units = torch.eye(out.shape[1], dtype=out.dtype)[:, None, :].expand(-1, *out.shape)
            (rows,) = torch.autograd.grad(out, leaf, units, is_grads_batched=True)
            return rows.transpose(0, 1)

        return jacobian

    def derivative(self, f: Callable[[Any], Any], nested: bool) -> Callable[[Any], Any]:
        def gradient(x: Any) -> Any:
            variable = x if x.requires_grad else x.clone().requires_grad_()
            return torch.autograd.grad(f(variable), variable, create_graph=nested)[0]

        return gradient

    def is_differentiated(self, x: Any) -> bool:
        return bool(x.requires_grad)


LIBRARY = _Torch()
