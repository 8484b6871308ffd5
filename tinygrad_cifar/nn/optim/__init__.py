"""Optimisers: SGD (with momentum and Nesterov momentum), Adam and Muon.

An optimiser holds the parameters, the learning rate (a number or a schedule of the step) and its state buffers, which
``state_dict`` returns for checkpoints. It never writes to a gradient. It updates the array of a parameter in place only
if nothing else refers to that array (:meth:`tinygrad_cifar.Tensor.overwrite`).

Weight decay is the gradient of the course's L2 term: ``weight_decay = 2 * lam`` adds ``2 * lam * W`` to the gradient of
every weight. Which parameters are weights, their modules say (:attr:`tinygrad_cifar.nn.Module.decays`); biases are not,
as in the course.
"""

from typing import TYPE_CHECKING

from tinygrad_cifar.nn.optim.adaptive import Adam
from tinygrad_cifar.nn.optim.base import Optimiser
from tinygrad_cifar.nn.optim.muon import Muon, orthogonalise
from tinygrad_cifar.nn.optim.sgd import SGD
from tinygrad_cifar.system.arguments import explain_names

__all__ = ["SGD", "Adam", "Muon", "Optimiser", "orthogonalise"]

if not TYPE_CHECKING:  # type checkers would take any name of the module to exist
    __getattr__ = explain_names(__name__, __all__)
