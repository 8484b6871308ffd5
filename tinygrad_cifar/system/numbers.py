"""Checks of numbers that are given as arguments."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


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
