"""Names of factors: a number as a product of powers of the problem's own numbers, such as ``1/N`` or ``2*lam``.

A factor is measured on several problems of different sizes. A name is accepted only if it gives the measured value on
all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

LEAST_SIZE = 3  # numbers below are more often plain numbers than sizes
_RTOL = 1e-6
_MOST_ON_ONE = 2  # complexity of a name that is found on a single problem: others would fit by chance
_LARGEST_DIVISOR = 100_000  # of a plain number that is written as a reciprocal
_MOST_POWERS = 3  # of a product of two numbers
_COEFFICIENTS = (1.0, 2.0, 0.5, 4.0, 0.25, 3.0)


@dataclass(frozen=True)
class Factor:
    """A named factor.

    Attributes
    ----------
    text : str
        The name, such as ``N`` or ``-1/N``; a plain number if there is no better name.
    coefficient : float
        The constant in it, with its sign.
    powers : tuple of (str, int)
        The powers of the problem's numbers.
    values : tuple of float
        Its value on each problem.
    """

    text: str
    coefficient: float
    powers: tuple[tuple[str, int], ...]
    values: tuple[float, ...]

    def evaluate(self, numbers: Mapping[str, float]) -> float:
        """Return its value on a problem with these numbers."""
        value = self.coefficient
        for name, power in self.powers:
            value *= numbers[name] ** power
        return value

    def __mul__(self, other: Factor) -> Factor:
        """Return the product, with its name."""
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, 0) + power
        kept = tuple((name, power) for name, power in powers.items() if power)
        values = np.array([a * b for a, b in zip(self.values, other.values, strict=True)])
        return _make(self.coefficient * other.coefficient, kept, values)

    @property
    def is_constant(self) -> bool:
        """Whether it is a number that does not depend on the problem."""
        return not self.powers

    @property
    def complexity(self) -> float:
        """A measure by which simpler names are preferred."""
        return sum(abs(power) for _, power in self.powers) + (abs(self.coefficient) != 1)


def name_factor(
    values: Sequence[float], numbers: Sequence[Mapping[str, float]], rtol: float | Sequence[float] = _RTOL
) -> Factor | None:
    """Return the simplest factor that has these values on problems with these numbers.

    Parameters
    ----------
    values : sequence of float
        The measured factor, on each problem.
    numbers : sequence of mapping
        The numbers of each problem by name, in the order of preference.
    rtol : float or sequence of float
        Relative tolerance, or that of each problem.

    Returns
    -------
    Factor or None
        None if no name fits all problems.

    Examples
    --------
    >>> from tinygrad_cifar.doctor.factors import name_factor
    >>> name_factor([0.125, 0.2], [{"N": 8, "K": 3}, {"N": 5, "K": 4}]).text
    '1/N'
    """
    measured, near = np.asarray(values, dtype=float), np.asarray(rtol, dtype=float)
    if not np.isfinite(measured).all():
        return None
    if np.all(np.abs(measured) < near):
        return Factor("0", 0.0, (), tuple(0.0 * measured))
    if np.any(np.abs(measured) < near) or np.any(np.sign(measured) != np.sign(measured[0])):
        return None
    table = {name: column for name, column in shared_numbers(numbers).items() if np.all(column > 0)}
    names = list(table)
    sign = float(np.sign(measured[0]))

    def fits(candidate: np.ndarray) -> bool:
        return bool(np.all(np.abs(candidate - np.abs(measured)) <= near * np.abs(measured)))

    for complexity in range(8 if len(numbers) > 1 else _MOST_ON_ONE + 1):
        for coefficient in _COEFFICIENTS:
            left = complexity - (coefficient != 1)
            for powers in _products(tuple(names)).get(left, ()):
                if len(numbers) == 1 and any(abs(p) > 1 for _, p in powers):
                    continue  # 0.01 is not lam**2 because lam is 0.1
                candidate = coefficient * np.prod([table[name] ** float(p) for name, p in powers], axis=0)
                candidate = candidate * np.ones_like(measured)
                if fits(candidate):
                    return _make(sign * coefficient, powers, sign * candidate)
    constant = measured[0]
    if len(measured) == 1 or np.all(np.abs(measured - constant) <= near * np.abs(constant)):
        return _number(float(constant), tuple(constant * np.ones_like(measured)))
    return _number_and_images(measured, table["N"], near) if "N" in table else None


def shared_numbers(numbers: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Return the values of the numbers that several problems have, by name.

    Of those that are equal on all problems, the first is included only: they cannot be told apart. A size that is the
    same on several problems is not, since it cannot be told apart from a plain number.
    """
    table: dict[str, np.ndarray] = {}
    seen: set[bytes] = set()
    for name in numbers[0]:
        if all(name in row for row in numbers):
            column = np.array([float(row[name]) for row in numbers])
            is_fixed = len(column) > 1 and np.ptp(column) == 0
            if not is_size(name) or not (is_fixed or column.tobytes() in seen):
                table[name] = column
            if name[0] != "(":  # a size is preferred to (N - 1)
                seen.add(column.tobytes())
    return table


def is_size(name: str) -> bool:
    """Return whether a number of a problem is the size of an axis, other than that of the images."""
    return name == "K" or ".shape[" in name


def is_integer(number: float) -> bool:
    """Return whether a number differs from an integer by rounding only."""
    return math.isclose(number, round(number), rel_tol=_RTOL)


def _number(value: float, values: tuple[float, ...]) -> Factor:
    """Return a plain number as a factor, such as ``0.37`` or ``1/9``."""
    below = round(1 / value) if abs(value) < 1 else 0
    is_short = abs(float(f"{value:.2g}") - value) < _RTOL * abs(value)  # such as 0.1
    is_reciprocal = not is_short and abs(below) < _LARGEST_DIVISOR and abs(value * below - 1) < _RTOL
    text = f"{'-' * (value < 0)}1/{abs(below)}" if is_reciprocal else f"{value:.6g}"
    return Factor(text, value, (), values)


def _number_and_images(measured: np.ndarray, images: np.ndarray, near: np.ndarray) -> Factor | None:
    """Return a factor that is a number, such as a step size, times or divided by the number of images."""
    for power in (1, -1):
        own = measured / images ** float(power)
        if np.all(np.abs(own - own[0]) <= near * np.abs(own[0])):
            return _make(float(own[0]), (("N", power),), measured)
    return None


@lru_cache(maxsize=256)
def _products(names: tuple[str, ...]) -> dict[int, list[tuple[tuple[str, int], ...]]]:
    """Return the products of powers of at most two numbers, by complexity."""
    found: dict[int, list[tuple[tuple[str, int], ...]]] = {0: [()]}
    singles = [(name, power) for name in names for power in (1, -1, 2, -2)]
    for name, power in singles:
        found.setdefault(abs(power) * _weight(name), []).append(((name, power),))
    for (a, p), (b, q) in product(singles, singles):
        if names.index(a) < names.index(b) and abs(p) + abs(q) <= _MOST_POWERS:
            found.setdefault(abs(p) * _weight(a) + abs(q) * _weight(b), []).append(((a, p), (b, q)))
    return found


def _weight(name: str) -> int:
    """Return how far-fetched a number is: sizes of arrays and derived numbers more so than N and the arguments."""
    return 4 if name.startswith(("(", "sqrt")) else 3 if "." in name or "(" in name else 1


def _make(coefficient: float, powers: tuple[tuple[str, int], ...], values: np.ndarray) -> Factor:
    above = [name if p == 1 else f"{name}**{p}" for name, p in powers if p > 0]
    below = [name if p == -1 else f"{name}**{-p}" for name, p in powers if p < 0]
    size = abs(coefficient)
    if 0 < size < 1 and is_integer(1 / size):
        below = [f"{1 / size:g}", *below]
        size = 1.0
    if size != 1 or not above:
        above = [f"{size:g}", *above]
    text = "-" * (coefficient < 0) + "*".join(above)
    if below:
        text += "/" + (below[0] if len(below) == 1 else f"({'*'.join(below)})")
    return Factor(text, float(coefficient), powers, tuple(float(v) for v in values))
