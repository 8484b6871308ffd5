"""An autograd mini-framework on NumPy, and the CIFAR-10 classifiers built on it."""

from tinygrad_cifar._version import __version__

__all__ = ["__version__"]
