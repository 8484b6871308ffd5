"""An autograd mini-framework on NumPy, and the CIFAR-10 classifiers built on it."""

from importlib import import_module
from typing import TYPE_CHECKING

from tinygrad_cifar._version import __version__ as __version__
from tinygrad_cifar.engine.backprop import grad as grad
from tinygrad_cifar.engine.blocked import products as _products
from tinygrad_cifar.engine.blocked import threads as _threads
from tinygrad_cifar.engine.blocked.memory import empty_cache as empty_cache
from tinygrad_cifar.engine.blocked.threads import set_num_threads as set_num_threads
from tinygrad_cifar.engine.derivatives import hessian as hessian
from tinygrad_cifar.engine.derivatives import hvp as hvp
from tinygrad_cifar.engine.derivatives import jacobian as jacobian
from tinygrad_cifar.engine.derivatives import jvp as jvp
from tinygrad_cifar.engine.modes import is_recording as is_recording
from tinygrad_cifar.engine.modes import no_grad as no_grad
from tinygrad_cifar.engine.ops import *  # noqa: F403
from tinygrad_cifar.engine.ops import OPERATIONS as _OPERATIONS
from tinygrad_cifar.engine.primitives import primitive as primitive
from tinygrad_cifar.engine.tensor import Tensor as Tensor
from tinygrad_cifar.engine.tensor import from_numpy as from_numpy
from tinygrad_cifar.engine.tracing import NonFiniteError as NonFiniteError
from tinygrad_cifar.engine.tracing import count_kinks as count_kinks
from tinygrad_cifar.engine.tracing import trace_nonfinite as trace_nonfinite
from tinygrad_cifar.system import blas as _blas
from tinygrad_cifar.system import memory as _memory
from tinygrad_cifar.system.arguments import explain_names as _explain_names
from tinygrad_cifar.system.blas import runtime as runtime

_memory.keep_freed_memory()
_products.set_kernel_test(_blas.multiplies_small_matrices_directly)
_threads.set_system(_blas.cores_to_compute_on, _blas.one_thread)

# Modules that are imported when they are first asked for.
_MODULES = {
    "checkpoints": "system.checkpoints",
    "data": "data",
    "doctor": "doctor",
    "ensembles": "course.ensembles",
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
    "testing": "testing",
    "training": "course.training",
}
# Functions of modules that are imported when they are first asked for.
_FUNCTIONS = {
    "graph": "inspection.view",
    "profile": "inspection.profile",
    "trace_graph": "inspection.tracing",
}

if TYPE_CHECKING:
    from tinygrad_cifar import data as data
    from tinygrad_cifar import doctor as doctor
    from tinygrad_cifar import nn as nn
    from tinygrad_cifar import search as search
    from tinygrad_cifar import testing as testing
    from tinygrad_cifar.course import ensembles as ensembles
    from tinygrad_cifar.course import evaluation as evaluation
    from tinygrad_cifar.course import model_files as model_files
    from tinygrad_cifar.course import models as models
    from tinygrad_cifar.course import preparation as preparation
    from tinygrad_cifar.course import runs as runs
    from tinygrad_cifar.course import settings as settings
    from tinygrad_cifar.course import training as training
    from tinygrad_cifar.engine import gradcheck as gradcheck
    from tinygrad_cifar.inspection.profile import profile as profile
    from tinygrad_cifar.inspection.tracing import trace_graph as trace_graph
    from tinygrad_cifar.inspection.view import graph as graph
    from tinygrad_cifar.nn import functional as functional
    from tinygrad_cifar.nn import initialisers as initialisers
    from tinygrad_cifar.nn import optim as optim
    from tinygrad_cifar.nn import schedules as schedules
    from tinygrad_cifar.system import checkpoints as checkpoints
else:  # type checkers would take any name of the package to exist, if they saw __getattr__
    __all__ = [
        *("NonFiniteError", "Tensor", "__version__", "count_kinks", "empty_cache", "from_numpy", "grad", "hessian"),
        *("hvp", "is_recording", "jacobian", "jvp", "no_grad", "primitive", "runtime", "set_num_threads"),
        "trace_nonfinite",
        *_FUNCTIONS,
        *_OPERATIONS,
    ]

    def __getattr__(name):
        """Import a module of the package, or a function of one, when it is first asked for: ``tinygrad_cifar.nn``."""
        if name in _MODULES:
            return import_module(f"{__name__}.{_MODULES[name]}")
        if name in _FUNCTIONS:
            return getattr(import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
        return _explain(name)

    _explain = _explain_names(__name__, [*__all__, *_MODULES])

    def __dir__():
        """Return everything that is offered, modules that have not been imported yet included."""
        return sorted({*__all__, *_MODULES})
