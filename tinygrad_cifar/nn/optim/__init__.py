"""Optimisers: SGD, Adam, AdamW, AdaGrad, RMSprop and Muon; combinations, running averages and gradient clipping.

An optimiser holds the parameters, the learning rate (a number or a schedule of the step) and its state buffers, which
``state_dict`` returns for checkpoints. Parameters may be given in groups with settings of their own
(:class:`Optimiser`), or to several optimisers (:class:`Combined`). A step does not write to gradients, and it updates
the array of a parameter in place only if nothing else refers to that array (:meth:`tinygrad_cifar.Tensor.overwrite`).

Weight decay is the gradient of the course's L2 term: ``weight_decay = 2 * lam`` adds ``2 * lam * W`` to the gradient of
every weight. Modules state which of their parameters are weights (:attr:`tinygrad_cifar.nn.Module.decays`); biases are
not, as in the course. AdamW, Muon and, on request, SGD decouple the decay from the gradient:
``w = w - eta * decay * w``.
"""

from typing import TYPE_CHECKING

from tinygrad_cifar.nn.optim.adaptive import AdaGrad, Adam, AdamW, RMSprop
from tinygrad_cifar.nn.optim.averages import Lookahead, MovingAverage
from tinygrad_cifar.nn.optim.base import Group, Optimiser
from tinygrad_cifar.nn.optim.clipping import clip_grad_norm, clip_grad_value
from tinygrad_cifar.nn.optim.combined import Combined
from tinygrad_cifar.nn.optim.muon import Muon, orthogonalise
from tinygrad_cifar.nn.optim.sgd import SGD
from tinygrad_cifar.system.arguments import explain_names

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Combined",
    "Group",
    "Lookahead",
    "MovingAverage",
    "Muon",
    "Optimiser",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
    "orthogonalise",
]

if not TYPE_CHECKING:  # type checkers would take any name of the module to exist
    __getattr__ = explain_names(__name__, __all__)
