"""PyTorch in eager mode, asked for the derivatives of problems and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.libraries import Thunk, floats
from benchmarks.libraries.eager import Eager


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
    relu = staticmethod(torch.relu)
    cross_entropy = staticmethod(F.cross_entropy)

    def gelu(self, x: Any) -> Any:
        return F.gelu(x, approximate="tanh")

    def softmax(self, x: Any) -> Any:
        return torch.softmax(x, -1)

    def embedding(self, weights: Any, indices: Any) -> Any:
        return F.embedding(indices, weights)

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return F.layer_norm(x, scale.shape, scale, bias)

    def batch_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        normalised = F.batch_norm(x.permute(0, 3, 1, 2), None, None, scale, bias, training=True)
        return normalised.permute(0, 2, 3, 1)

    def max_pool(self, x: Any) -> Any:
        return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def array(self, x: Any) -> Any:
        return torch.tensor(floats(x))

    def indices(self, x: Any) -> Any:
        return torch.from_numpy(np.asarray(x))

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

    def value_and_gradients(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        leaves = [self.array(x).requires_grad_() for x in xs]

        def both() -> Any:
            value = f(*leaves)
            return value, torch.autograd.grad(value, leaves)

        return both

    def value_and_nested_gradients(self, f: Callable[..., Any], *xs: Any) -> tuple[Any, tuple[Any, ...]]:
        variables = [x if x.requires_grad else x.clone().requires_grad_() for x in xs]
        value = f(*variables)
        return value, torch.autograd.grad(value, variables, create_graph=True)

    def hessian_product(self, f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> Thunk:
        leaves, along = [self.array(x).requires_grad_() for x in xs], [self.array(v) for v in vs]

        def product() -> Any:
            gradients = torch.autograd.grad(f(*leaves), leaves, create_graph=True)
            return torch.autograd.grad(gradients, leaves, along)

        return product

    def training_step(
        self, cost: Callable[..., Any], parameters: Sequence[Any], data: Sequence[Any], rate: float
    ) -> Callable[[Any], tuple[Any, Sequence[Any]]]:
        leaves = [self.array(x).requires_grad_() for x in parameters]
        arrays = [torch.from_numpy(array) for array in data]
        optimiser = torch.optim.SGD(leaves, lr=rate, fused=True)

        def step(rows: Any) -> tuple[Any, Sequence[Any]]:
            batch = torch.from_numpy(rows)
            value = cost(*leaves, *[torch.index_select(array, 0, batch) for array in arrays])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            return value, leaves

        return step

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
