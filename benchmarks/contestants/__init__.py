"""Who takes part: each module trains a problem for ever in its own best way, and says so after every step.

A contestant's ``train(problem, after_step)`` is the plain loop that a person would write with that library. It calls
``after_step(loss)`` with the mean loss of the batch, in whatever form it has it: it is read only at the end of a group
of steps, so libraries that compute asynchronously may do so. The call may not return, which ends the training.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from benchmarks.works import Train


class Contestant(NamedTuple):
    """A contestant's name in the tables, and the module (of this folder) and distribution that it comes from."""

    name: str
    module: str
    needs: str | None = None
    short: str = ""


OURS, HAND, BARE = "tinygrad_cifar", "hand-derived NumPy", "bare kernels"

CONTESTANTS = (
    Contestant(OURS, "ours", short="this library"),
    Contestant(HAND, "hand_derived"),
    Contestant(BARE, "bare_kernels"),
    Contestant("PyTorch eager", "torch_eager", "torch"),
    Contestant("torch.compile", "torch_compiled", "torch"),
    Contestant("JAX jit", "jax_jit", "jax"),
    Contestant("HIPS autograd", "hips_autograd", "autograd"),
    Contestant("MyGrad", "mygrad_eager", "mygrad"),
)
PEERS = tuple(contestant.name for contestant in CONTESTANTS if contestant.needs)


def training_of(name: str) -> Train:
    """Return the contestant's ``train``.

    Raises
    ------
    ImportError
        If a library that it needs is not installed.
    """
    module = next(contestant.module for contestant in CONTESTANTS if contestant.name == name)
    train: Train = import_module(f"benchmarks.contestants.{module}").train
    return train
