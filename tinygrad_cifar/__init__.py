"""An autograd mini-framework on NumPy, and the CIFAR-10 classifiers built on it."""

from importlib import import_module
from typing import Any

from tinygrad_cifar._version import __version__
from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.derivatives import hessian, hvp, jacobian, jvp
from tinygrad_cifar.engine.modes import is_recording, no_grad
from tinygrad_cifar.engine.ops import *  # noqa: F403 (the operations, listed once in ops)
from tinygrad_cifar.engine.ops import __all__ as _operations
from tinygrad_cifar.engine.primitives import primitive
from tinygrad_cifar.engine.tensor import Tensor, from_numpy
from tinygrad_cifar.engine.tracing import NonFiniteError, count_kinks, trace_nonfinite
from tinygrad_cifar.system.blas import runtime

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

# Modules that are imported when they are first asked for.
_MODULES = {
    "checkpoints": "system.checkpoints",
    "data": "data",
    "evaluation": "course.evaluation",
    "functional": "nn.functional",
    "gradcheck": "engine.gradcheck",
    "initialisers": "nn.initialisers",
    "model_files": "course.model_files",
    "models": "course.models",
    "nn": "nn",
    "optim": "nn.optim",
    "preparation": "course.preparation",
    "runs": "course.runs",
    "schedules": "nn.schedules",
    "search": "search",
    "settings": "course.settings",
    "training": "course.training",
}


def __getattr__(name: str) -> Any:
    """Import a module of the package when it is first asked for: ``tinygrad_cifar.nn``."""
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    raise AttributeError(f"module {__name__} has no attribute {name}")
