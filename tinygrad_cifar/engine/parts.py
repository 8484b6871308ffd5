"""Cotangents that arrive in parts: of the rows of a matrix, or of weights that are used in every step of a recurrence.

The VJP of an operation that takes a part of its input gives zeros everywhere else. If n parts are taken, adding n such
arrays costs n times the size of the input: the time of a loop over the rows of a matrix would grow with the square of
its length. In the same way, the gradient of the weights of a recurrent network is a sum of many small matrix products,
which one large product gives in less time. Such contributions are therefore collected, from the second one on, and
added together when they have as many elements as the input (or, if that is small, :data:`FEWEST`), or when the sum is
needed.

A VJP takes part in this if it has a :class:`Collection`, which :func:`collect` gives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_cifar.engine.graph import VJP, Collection, Node
from tinygrad_cifar.engine.operations import BinaryOperation, Operation

FEWEST = 131_072  # elements that may be kept, however small the input is: 0.5 MB of float32


class Parts:
    """A cotangent that has not been added up: the sum so far, and contributions that are still to be computed.

    Parameters
    ----------
    node : Node
        The node of the input.
    vjp : VJP
        The VJP of these contributions.
    start : ndarray or Value
        The sum of the contributions before.
    """

    __slots__ = ("_cotangents", "_saved", "_space", "_start", "vjp")

    def __init__(self, node: Node, vjp: VJP, start: Any) -> None:
        self.vjp = vjp
        self._start = start
        self._cotangents: list[Any] = []
        self._saved: list[tuple[Any, ...]] = []
        self._space = max(math.prod(node.shape), FEWEST)

    def add(self, g: Any, saved: tuple[Any, ...], size: int) -> Any:
        """Add a contribution that keeps ``size`` elements; return this object, or the sum if there is no more space."""
        self._cotangents.append(g)
        self._saved.append(saved)
        self._space -= size
        return self if self._space > 0 else self.total()

    def total(self) -> Any:
        """Return the sum."""
        return self.vjp.collection.total(self.vjp.apply, self._start, self._cotangents, self._saved)


def collect(
    operation: Operation[...] | BinaryOperation,
    input: str,
    *,
    size: Callable[..., int],
    total: Callable[[Callable[..., Any], Any, list[Any], list[tuple[Any, ...]]], Any],
) -> None:
    """Let the contributions of an operation to the cotangent of one of its inputs be collected."""
    operation.primitive.vjps[input].collection = Collection(size, total)
