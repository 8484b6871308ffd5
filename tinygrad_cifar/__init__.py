"""An autograd mini-framework on NumPy, and the CIFAR-10 classifiers built on it."""

from importlib import import_module
from typing import Any

from tinygrad_cifar._version import __version__
from tinygrad_cifar.backprop import grad
from tinygrad_cifar.derivatives import hessian, hvp, jacobian, jvp
from tinygrad_cifar.machine import runtime
from tinygrad_cifar.modes import is_recording, no_grad
from tinygrad_cifar.ops import *  # noqa: F403 (the operations, listed once in ops)
from tinygrad_cifar.ops import __all__ as _operations
from tinygrad_cifar.primitives import primitive
from tinygrad_cifar.tensor import Tensor, from_numpy
from tinygrad_cifar.tracing import NonFiniteError, count_kinks, trace_nonfinite

__all__ = [  # noqa: PLE0604 (a list of strings)
    "NonFiniteError",
    "Tensor",
    "__version__",
    "count_kinks",
    "from_numpy",
    "grad",
    "hessian",
    "hvp",
    "is_recording",
    "jacobian",
    "jvp",
    "no_grad",
    "primitive",
    "runtime",
    "trace_nonfinite",
    *_operations,
]

_ON_DEMAND = {
    *("checkpoints", "data", "evaluation", "files", "functional", "gradcheck", "initialisers", "models", "nn"),
    *("optim", "preparation", "runs", "schedules", "search", "settings", "trained", "training"),
}


def __getattr__(name: str) -> Any:
    """Import a module of the package when it is first asked for: ``tinygrad_cifar.nn``."""
    if name in _ON_DEMAND:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__} has no attribute {name}")
