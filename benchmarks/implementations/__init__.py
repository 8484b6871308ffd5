"""Implementations of a training step: each module runs its library's fastest training loop until it is stopped.

The function ``train(problem, after_step)`` of a module is the loop that a user of the library would write. It calls
``after_step(loss)`` with the mean loss of the batch, in the library's own type. The loss is read only at the end of a
group of steps, so that libraries may compute asynchronously. ``after_step`` raises an exception to end the training.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from benchmarks.workloads import Train


class Implementation(NamedTuple):
    """An implementation.

    Attributes
    ----------
    name : str
        Name in the tables.
    module : str
        Module of this package.
    needs : str, optional
        Library that must be installed.
    """

    name: str
    module: str
    needs: str | None = None


OURS, HAND, BARE = "tinygrad_cifar", "hand-derived NumPy", "bare kernels"
TORCH = "PyTorch eager"

IMPLEMENTATIONS = (
    Implementation(OURS, "ours"),
    Implementation(HAND, "hand_derived"),
    Implementation(BARE, "bare_kernels"),
    Implementation(TORCH, "torch_eager", "torch"),
    Implementation("torch.compile", "torch_compiled", "torch"),
    Implementation("JAX jit", "jax_jit", "jax"),
    Implementation("HIPS autograd", "hips_autograd", "autograd"),
    Implementation("MyGrad", "mygrad_eager", "mygrad"),
)
PEERS = tuple(implementation.name for implementation in IMPLEMENTATIONS if implementation.needs)


def load_train(name: str) -> Train:
    """Import an implementation and return its function ``train``.

    Raises
    ------
    ImportError
        If its library is not installed.
    """
    module = next(implementation.module for implementation in IMPLEMENTATIONS if implementation.name == name)
    train: Train = import_module(f"benchmarks.implementations.{module}").train
    return train
