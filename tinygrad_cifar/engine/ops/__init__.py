"""The derivative table: every primitive with its VJPs, and the operations that are offered to users.

One module for each kind, in this order: :mod:`elementwise` (arithmetic), :mod:`piecewise`, :mod:`exponential`,
:mod:`trigonometric`, :mod:`shapes`, :mod:`indexing`, :mod:`joining`, :mod:`reductions`, :mod:`linalg`,
:mod:`inverses`, :mod:`statistics`, :mod:`sampled`, :mod:`gaussian`, :mod:`convolution`, :mod:`pooling`,
:mod:`normalization`, :mod:`losses`. A public function of these modules is an operation, ``tinygrad_cifar.<name>`` for
users; to add one, add it to the module of its kind. Most are compositions of the primitives.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from tinygrad_cifar.engine.ops import (
    convolution,
    elementwise,
    exponential,
    gaussian,
    indexing,
    inverses,
    joining,
    linalg,
    losses,
    normalization,
    piecewise,
    pooling,
    reductions,
    sampled,
    shapes,
    statistics,
    trigonometric,
)
from tinygrad_cifar.engine.ops.convolution import *  # noqa: F403
from tinygrad_cifar.engine.ops.elementwise import *  # noqa: F403
from tinygrad_cifar.engine.ops.exponential import *  # noqa: F403
from tinygrad_cifar.engine.ops.gaussian import *  # noqa: F403
from tinygrad_cifar.engine.ops.indexing import *  # noqa: F403
from tinygrad_cifar.engine.ops.inverses import *  # noqa: F403
from tinygrad_cifar.engine.ops.joining import *  # noqa: F403
from tinygrad_cifar.engine.ops.linalg import *  # noqa: F403
from tinygrad_cifar.engine.ops.losses import *  # noqa: F403
from tinygrad_cifar.engine.ops.normalization import *  # noqa: F403
from tinygrad_cifar.engine.ops.piecewise import *  # noqa: F403
from tinygrad_cifar.engine.ops.pooling import *  # noqa: F403
from tinygrad_cifar.engine.ops.reductions import *  # noqa: F403
from tinygrad_cifar.engine.ops.sampled import *  # noqa: F403
from tinygrad_cifar.engine.ops.shapes import *  # noqa: F403
from tinygrad_cifar.engine.ops.statistics import *  # noqa: F403
from tinygrad_cifar.engine.ops.trigonometric import *  # noqa: F403

_MODULES = (
    *(elementwise, piecewise, exponential, trigonometric, shapes, indexing, joining),
    *(reductions, linalg, inverses, statistics, sampled, gaussian, convolution, pooling, normalization, losses),
)


def _operations_of(module: ModuleType) -> dict[str, Any]:
    """Return the operations that a module defines."""
    return {
        name: function
        for name, function in vars(module).items()
        if not name.startswith("_") and hasattr(function, "primitives") and function.__module__ == module.__name__
    }


OPERATIONS: dict[str, Any] = {}
for _module in _MODULES:
    OPERATIONS |= _operations_of(_module)

if not TYPE_CHECKING:  # type checkers take the public names of the modules
    __all__ = list(OPERATIONS)
