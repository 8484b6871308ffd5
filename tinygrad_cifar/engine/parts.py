"""Cotangents that arrive in parts: those of the rows of a matrix, of the words of an embedding.

The VJP of an operation that takes a part of its input gives zeros everywhere else. If n parts are taken, adding n such
arrays costs n times the size of the input: the time of a loop over the rows of a matrix would grow with the square of
its length. The cotangents of the parts are therefore collected, and added to one array of zeros when they have as many
elements as the input together, or when its cotangent is needed. The order of the additions is that in which the
cotangents arrive, so the sums have the same bits as those of whole arrays.

A VJP takes part in this if it has a :attr:`VJP.sum_of`, which :func:`add_in_parts` gives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_cifar.engine.graph import VJP, Node
from tinygrad_cifar.engine.operations import Operation


class Parts:
    """A cotangent that has not been added up: what is known of it, and the cotangents of parts of its value.

    Parameters
    ----------
    node : Node
        The node of the value.
    vjp : VJP
        The VJP for which parts are collected.
    start : ndarray, Value or None
        The sum of the contributions before the first part.
    """

    __slots__ = ("_cotangents", "_missing", "_saved", "_start", "vjp")

    def __init__(self, node: Node, vjp: VJP, start: Any = None) -> None:
        self.vjp = vjp
        self._start = start
        self._cotangents: list[Any] = []
        self._saved: list[tuple[Any, ...]] = []
        self._missing = math.prod(node.shape)  # elements, until the parts are as large as the whole

    def add(self, g: Any, saved: tuple[Any, ...]) -> Any:
        """Add the cotangent of a part; return this object, or the sum if the parts are as large as the whole."""
        self._cotangents.append(g)
        self._saved.append(saved)
        self._missing -= math.prod(g.shape)
        return self if self._missing > 0 else self.total()

    def total(self) -> Any:
        """Return the sum."""
        return sum_parts(self.vjp, self._start, self._cotangents, self._saved)


def sum_parts(vjp: VJP, start: Any, cotangents: list[Any], saved: list[tuple[Any, ...]]) -> Any:
    """Return ``start`` (None: zeros) plus the results of the VJP for these cotangents, each with its saved arrays."""
    if start is None and len(cotangents) == 1:
        return vjp.apply(cotangents[0], *saved[0])
    return vjp.sum_of(start, cotangents, saved)


def add_in_parts(operation: Operation[...], sum_of: Callable[[Any, list[Any], list[tuple[Any, ...]]], Any]) -> None:
    """Let the results of the VJP for the first input be added up by ``sum_of(start, cotangents, saved)``.

    It returns what the sum of ``start``, unless it is None, and of ``apply(g, *arguments)`` for all of ``cotangents``
    and ``saved`` would be, with arrays and with values.
    """
    vjp, *_ = operation.primitive.vjps.values()
    vjp.sum_of = sum_of
