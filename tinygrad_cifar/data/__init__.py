"""CIFAR-10 and its stand-in: reading, fetching, drawing, and cutting into mini-batches. NumPy alone."""

from tinygrad_cifar.data.dataset import DataError, Dataset, Split

__all__ = ["DataError", "Dataset", "Split"]
