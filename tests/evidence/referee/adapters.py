"""Adapters: what the cases need of a library, in the same form for each.

An adapter has the operations of NumPy's names as methods of ``np`` (where the library offers them), ``leaf``, ``value``
and ``grad``. Libraries with a tape also have ``backward`` and ``gradient_of``; for the others these are None, and cases
that need a tape are not offered.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


class Adapter:
    """The base: a library with functions of arrays, and no tape.

    Attributes
    ----------
    title, module : str
        The name of the library, and its module, whose version is stated.
    np : Any
        Its operations, by NumPy's names.
    """

    title, module = "", ""
    np: Any
    has_tape = False

    @classmethod
    def version(cls) -> str:
        """Return the name and version of the library."""
        return f"{cls.title} {importlib.metadata.version(cls.module)}"

    def constant(self, array: Any) -> Any:
        """Return an array that is not differentiated, as a user would pass it."""
        return array

    def value(self, x: Any) -> Any:
        """Return the numbers of a result."""
        return np.asarray(x)

    def grad(self, f: Function, *arrays: Any) -> list[Any]:
        """Return the gradient of the sum of ``f`` with respect to each array."""
        raise NotImplementedError

    def second(self, f: Function, x: float) -> float:
        """Return the second derivative of a function of one number."""
        raise NotImplementedError


class Taped(Adapter):
    """A library whose variables record what is computed from them."""

    has_tape = True

    def leaf(self, array: Any) -> Any:
        """Return a variable."""
        raise NotImplementedError

    def backward(self, out: Any) -> None:
        """Run the backward pass of the sum of a result."""
        self.np.sum(out).backward()

    def gradient_of(self, leaf: Any) -> Any:
        """Return the gradient of a variable, as numbers; zeros if it has none."""
        return np.zeros(self.value(leaf).shape) if leaf.grad is None else self.value(leaf.grad)

    def grad(self, f: Function, *arrays: Any) -> list[Any]:
        leaves = [self.leaf(array) for array in arrays]
        self.backward(f(*leaves))
        return [self.gradient_of(leaf) for leaf in leaves]


class TinygradCifar(Taped):
    """This library."""

    title, module = "tinygrad_cifar", "tinygrad-cifar"

    def __init__(self) -> None:
        self.np = importlib.import_module("tinygrad_cifar")

    def leaf(self, array: Any) -> Any:
        return self.np.Tensor(array, requires_grad=True, dtype=getattr(array, "dtype", float))

    def value(self, x: Any) -> Any:
        return np.array(x.data) if isinstance(x, self.np.Tensor) else np.asarray(x)

    def second(self, f: Function, x: float) -> float:
        t = self.leaf(np.array(x))
        return float(self.np.grad(self.np.grad(f(t), t, create_graph=True), t).data)


class PyTorch(Taped):
    """PyTorch; its operations that have other names get NumPy's."""

    title, module = "PyTorch", "torch"

    def __init__(self) -> None:
        torch = self.np = importlib.import_module("torch")
        self.renamed = {
            "absolute": torch.abs,
            "max": torch.amax,
            "logsumexp": lambda x: torch.logsumexp(x, 0),
            "relu": torch.relu,
            "softplus": torch.nn.functional.softplus,
            "norm": torch.linalg.norm,
            "power": torch.pow,
            "concatenate": torch.cat,
        }

    def leaf(self, array: Any) -> Any:
        return self.np.tensor(array, requires_grad=True)

    def constant(self, array: Any) -> Any:
        return self.np.from_numpy(array)

    def value(self, x: Any) -> Any:
        return x.detach().numpy() if isinstance(x, self.np.Tensor) else np.asarray(x)

    def second(self, f: Function, x: float) -> float:
        t = self.leaf(np.array(x))
        (first,) = self.np.autograd.grad(f(t), t, create_graph=True)
        return float(self.np.autograd.grad(first, t)[0]) if first.requires_grad else 0.0


class JAX(Adapter):
    """JAX, with float64 enabled."""

    title, module = "JAX", "jax"

    def __init__(self) -> None:
        self.jax = importlib.import_module("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.np = importlib.import_module("jax.numpy")
        nn = self.jax.nn
        self.renamed = {
            "relu": nn.relu,
            "sigmoid": nn.sigmoid,
            "softplus": nn.softplus,
            "logsumexp": nn.logsumexp,
            "norm": self.np.linalg.norm,
        }

    def grad(self, f: Function, *arrays: Any) -> list[Any]:
        found = self.jax.grad(lambda *xs: self.np.sum(f(*xs)), argnums=tuple(range(len(arrays))))(*arrays)
        return [np.asarray(g) for g in found]

    def second(self, f: Function, x: float) -> float:
        return float(self.jax.grad(self.jax.grad(f))(x))


class Autograd(Adapter):
    """HIPS autograd."""

    title, module = "HIPS autograd", "autograd"

    def __init__(self) -> None:
        self.autograd = importlib.import_module("autograd")
        self.np = importlib.import_module("autograd.numpy")
        special = importlib.import_module("autograd.scipy.special") if importlib.util.find_spec("scipy") else None
        self.renamed = {"norm": self.np.linalg.norm}
        if special is not None:
            self.renamed |= {"sigmoid": special.expit, "logsumexp": special.logsumexp}

    def grad(self, f: Function, *arrays: Any) -> list[Any]:
        return [np.asarray(self.autograd.grad(lambda *xs: self.np.sum(f(*xs)), i)(*arrays)) for i in range(len(arrays))]

    def second(self, f: Function, x: float) -> float:
        return float(self.autograd.grad(self.autograd.grad(f))(x))


class MyGrad(Taped):
    """MyGrad."""

    title, module = "MyGrad", "mygrad"

    def __init__(self) -> None:
        self.np = importlib.import_module("mygrad")
        nn = importlib.import_module("mygrad.nnet")
        self.renamed = {"relu": nn.relu, "sigmoid": nn.sigmoid, "norm": self.np.linalg.norm}

    def leaf(self, array: Any) -> Any:
        return self.np.tensor(array)

    def value(self, x: Any) -> Any:
        return np.asarray(x)


ADAPTERS: tuple[type[Adapter], ...] = (TinygradCifar, PyTorch, JAX, Autograd, MyGrad)


def operation(adapter: Adapter, name: str) -> Function:
    """Return an operation by NumPy's name; raise NotImplementedError if the library has none."""
    found = getattr(adapter, "renamed", {}).get(name) or getattr(adapter.np, name, None)
    if found is None:
        raise NotImplementedError(f"{adapter.title} has no {name}")
    function: Function = found
    return function
