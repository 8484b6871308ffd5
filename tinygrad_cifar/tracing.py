"""Watching a computation: where the first NaN was made, and how often a kink was hit.

Both are context managers over the graph's watchers, so they cost nothing while nobody watches, and see operations and
derivative rules alike.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tinygrad_cifar.graph import Node, Primitive, Rule, Value, watched
from tinygrad_cifar.ops.kinks import KINKS

_PACKAGE = str(Path(__file__).parent)

# What to write instead, where a well-known rewrite avoids the trouble.
_REWRITES = {
    "log": "use log1p(x) for log(1 + x), logsumexp for the log of a sum of exponentials, log_softmax or cross_entropy "
    "for the log of a softmax, or where(x > 0, x, 1) inside the log for elements that are masked out later",
    "exp": "use logsumexp or softmax, which subtract the largest element first, or sigmoid and softplus",
    "divide": "make the divisor safe with where(y == 0, 1, y) inside the division, and choose the result outside of it "
    "(a where outside alone still lets NaN through in the backward pass), or add an epsilon to it",
    "sqrt": "the slope of the root is infinite at 0: add an epsilon under the root, or use norm, whose gradient there "
    "is 0",
    "power": "the slope of a root is infinite at 0 and a negative base has no real power: add an epsilon to the base, "
    "or use square or sqrt",
    "square": "scale the numbers down first, or use norm",
    "multiply": "an infinity times 0 is NaN: choose with where(mask, x, 0), not by multiplying with the mask",
    "subtract": "infinity less infinity is NaN: find where the infinities come from, or use log_softmax",
    "matmul": "the products overflow: normalise the inputs or start from smaller weights",
    "tan": "the tangent has poles: keep the angle away from pi/2",
    "cosh": "cosh(x) overflows beyond |x| = 710 in float64 and 89 in float32: clip the input",
    "sinh": "sinh(x) overflows beyond |x| = 710 in float64 and 89 in float32: clip the input",
}


class NonFiniteError(ArithmeticError):
    """An operation, or the rule of one, made a NaN or an infinity from finite numbers."""


class _NonFiniteWatcher:
    """Raises at the first operation or rule whose result is not finite although its inputs are.

    A result's finiteness is judged by its sum, at the cost of one pass; only a sum that is not finite is looked into.
    """

    def __init__(self) -> None:
        self.places: dict[int, tuple[str, int]] = {}

    def computed(self, row: Primitive, arguments: Sequence[Any], out: Value) -> None:
        if out._node is not None:
            frame = _user_frame()
            self.places[out._node.number] = (frame.f_code.co_filename, frame.f_lineno)
        if _is_finite(out._array) or not all(_is_finite(argument) for argument in arguments):
            return
        frame = _user_frame()
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        raise NonFiniteError(_report(f"{row.name}, at {place}, made", out._array, row.name, arguments))

    def differentiated(self, node: Node, rule: Rule, g: Any, arguments: Sequence[Any], part: Any) -> None:
        values = [argument._array if isinstance(argument, Value) else argument for argument in (part, g, *arguments)]
        if _is_finite(values[0]) or not all(_is_finite(value) for value in values[1:]):
            return
        name = node.primitive.name if node.primitive else "leaf"
        file, line = self.places.get(node.number, ("a line outside this block", 0))
        place = f"{file}:{line}" if line else file
        what = f"the derivative of {name} for {rule.input}, computed at {place}, made"
        raise NonFiniteError(_report(what, values[0], name, values[1:]))


def _is_finite(x: Any) -> bool:
    if not isinstance(x, (np.ndarray, np.generic)) or x.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(x, axis=None)
    return bool(np.isfinite(total) or np.isfinite(x).all())


def _report(what: str, result: Any, name: str, arguments: Sequence[Any]) -> str:
    result = np.asarray(result)
    bad = ~np.isfinite(result)
    first = result[bad].flat[0]
    where = f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}" if result.ndim else ""
    numbers = (argument for argument in arguments if isinstance(argument, (np.ndarray, np.generic, float)))
    ranges = "; ".join(_range(number) for number in numbers)
    advice = f". Known rewrite: {_REWRITES[name]}" if name in _REWRITES else ""
    return f"{what} {first} in {int(bad.sum())} of {result.size} elements{where}; its inputs: {ranges}{advice}"


def _range(x: Any) -> str:
    x = np.asarray(x)
    if x.size == 0 or x.dtype.kind not in "fiub":
        return f"{x.dtype} of shape {x.shape}"
    if x.size == 1:
        return f"the number {x.item():.6g}"
    zeros = int((x == 0).sum())
    return f"{x.dtype} of shape {x.shape}, from {x.min():.6g} to {x.max():.6g}" + f" ({zeros} zeros)" * bool(zeros)


def _user_frame() -> FrameType:
    """Return the innermost frame that is not this library's."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame


@contextmanager
def trace_nonfinite() -> Iterator[None]:
    """Stop at the first operation, or derivative rule, that makes a NaN or an infinity from finite numbers.

    The error names the operation, the line of the program that called it, the elements, the ranges of its
    inputs and, where there is one, the rewrite that avoids it. NumPy's own floating-point warnings are silenced
    inside the block, since the error says more.

    Raises
    ------
    NonFiniteError
        From the operation, inside the block.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, sqrt, trace_nonfinite
    >>> t = Tensor([0.0, 1.0], requires_grad=True)
    >>> with trace_nonfinite():  # doctest: +ELLIPSIS
    ...     sqrt(t).sum().backward()
    Traceback (most recent call last):
        ...
    tinygrad_cifar.tracing.NonFiniteError: the derivative of sqrt for x, computed at ..., made inf in 1 of 2 elements...
    """
    with np.errstate(all="ignore"), watched(_NonFiniteWatcher()):
        yield


class KinkCounter(Counter[str]):
    """How many elements sat exactly on a kink, by the primitive's name."""

    def computed(self, row: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002 (a Watcher's)
        """Count an operation's hits."""
        kink = KINKS.get(row.name)
        if kink is not None and (hits := int(np.count_nonzero(kink.hits(*arguments)))):
            self[row.name] += hits

    def differentiated(self, node: Node, rule: Rule, g: Any, arguments: Sequence[Any], part: Any) -> None:
        """Ignore rules: a kink is a matter of the point, not of the direction."""


@contextmanager
def count_kinks() -> Iterator[KinkCounter]:
    """Count the elements that sit exactly where a function has no derivative, and the table takes a convention.

    A gradient check can disagree there, and nowhere else, without anything being wrong.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, count_kinks, relu
    >>> with count_kinks() as kinks:
    ...     _ = relu(Tensor([0.0, 1.0, 0.0]))
    >>> dict(kinks)
    {'relu': 2}
    """
    counter = KinkCounter()
    with watched(counter):
        yield counter
