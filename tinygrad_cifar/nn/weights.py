"""Which parameters are weights: those in the L2 term, which the weight decay of an optimiser includes.

The module that owns a parameter says so (:attr:`tinygrad_cifar.nn.Module.decays`). An optimiser receives tensors
without their modules, so the declarations are noted here, by tensor.
"""

from __future__ import annotations

import weakref

from tinygrad_cifar.engine.tensor import Tensor

_declared: dict[int, tuple[weakref.ref[Tensor], bool]] = {}


def declare(tensor: Tensor, is_weight: bool) -> None:
    """Note whether a tensor is a weight, for as long as it exists."""
    key = id(tensor)
    _declared[key] = (weakref.ref(tensor, lambda _: _declared.pop(key, None)), is_weight)


def is_weight(tensor: Tensor) -> bool:
    """Return whether a tensor is a weight.

    If no module has declared it, the shape decides: a weight has two axes, or more of which at least two have more than
    one element. So a vector is not a weight, and neither is a scale of shape (channels, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> from tinygrad_cifar.nn.weights import is_weight
    >>> embedding = nn.Embedding(10, 4, rng=0)
    >>> is_weight(Tensor(np.ones((10, 4)))), is_weight(embedding.W), is_weight(Tensor(np.ones((3, 1, 1))))
    (True, False, False)
    """
    reference, declared = _declared.get(id(tensor), (None, False))
    if reference is not None and reference() is tensor:
        return declared
    return tensor.ndim == 2 or sum(size > 1 for size in tensor.shape) > 1  # noqa: PLR2004 (a matrix)
