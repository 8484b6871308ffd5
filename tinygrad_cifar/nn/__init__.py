"""Layers: modules that hold parameters and are called like functions.

The first axis of an input is the batch: ``(batch, features)``, or ``(batch, height, width, channels)`` for images.
Random numbers come from ``rng``, a :class:`numpy.random.Generator`, an integer (the seed of a new one), or None, with
which every run differs. Layers that are given the same integer get the same numbers; share one generator between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_cifar.nn.activations import GELU, ReLU, Sigmoid, Tanh
from tinygrad_cifar.nn.containers import Flatten, Residual, Sequential
from tinygrad_cifar.nn.convolution import AvgPool2d, Conv2d, MaxPool2d
from tinygrad_cifar.nn.layers import Dropout, Embedding, Linear, Normalize
from tinygrad_cifar.nn.module import Module
from tinygrad_cifar.nn.normalization import BatchNorm, LayerNorm
from tinygrad_cifar.system.arguments import explain_names

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Module",
    "Normalize",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
]

if not TYPE_CHECKING:  # type checkers would take any name of the module to exist
    __getattr__ = explain_names(__name__, __all__)
