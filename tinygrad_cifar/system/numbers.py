"""Checks and conversions of numbers that are given as arguments."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np


def check_real(name: str, number: Any) -> None:
    """Raise TypeError for anything but a real number.

    Examples
    --------
    >>> from tinygrad_cifar.system.numbers import check_real
    >>> check_real("Adam: eta", "0.1")
    Traceback (most recent call last):
    TypeError: Adam: eta must be a number; got '0.1'
    """
    if not isinstance(number, Real):
        raise TypeError(f"{name} must be a number; got {number!r:.40}")


def check_count(name: str, number: Any, least: int = 1) -> None:
    """Raise an error for anything but an integer of at least ``least``: TypeError, or ValueError if it is a number.

    Examples
    --------
    >>> from tinygrad_cifar.system.numbers import check_count
    >>> check_count("Conv2d: filters", 0)
    Traceback (most recent call last):
    ValueError: Conv2d: filters must be an integer of at least 1; got 0
    """
    message = f"{name} must be an integer of at least {least}; got {number!r:.40}"
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise (ValueError if isinstance(number, Real) else TypeError)(message)
    if number < least:
        raise ValueError(message)


def as_python(number: Any) -> Any:
    """Return a NumPy number as Python's, which does not promote float32 arithmetic to float64; others unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.system.numbers import as_python
    >>> np.float32(1) * np.float64(0.5), np.float32(1) * as_python(np.float64(0.5))
    (np.float64(0.5), np.float32(0.5))
    """
    return number.item() if isinstance(number, (np.generic, np.ndarray)) and np.ndim(number) == 0 else number
