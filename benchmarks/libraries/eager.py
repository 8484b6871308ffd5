"""What libraries that compute at once have in common: their loops are Python's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.libraries import Library


class Eager(Library):
    """A library that computes at once."""

    def fold(self, step: Callable[[Any, Any], Any], state: Any, inputs: Any) -> Any:
        for row in _rows(inputs):
            state = step(state, row)
        return state

    def scan(self, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any) -> tuple[Any, Any]:
        outputs = []
        for row in _rows(inputs):
            state, output = step(state, row)
            outputs.append(output)
        return state, self.np.stack(outputs)

    def repeat(self, step: Callable[[Any], Any], state: Any, count: int) -> Any:
        for _ in range(count):
            state = step(state)
        return state


def _rows(inputs: Any) -> Iterable[Any]:
    """Return the rows of an array, or tuples of the rows of arrays."""
    return zip(*inputs, strict=True) if isinstance(inputs, tuple) else inputs
