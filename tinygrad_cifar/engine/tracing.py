"""Watching a computation: where the first NaN was made, and how often a kink was hit.

Both are context managers over the graph's watchers, so they cost nothing while nobody watches, and see operations and
derivative rules alike. They watch the thread or asynchronous task that enters them, and the tasks started inside.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value, unwrap_value
from tinygrad_cifar.engine.modes import observe
from tinygrad_cifar.engine.ops.kinks import KINKS

_ROOT = Path(__file__).parents[1]
_NAME = _ROOT.name
_PACKAGE = str(_ROOT) + os.sep
# An operation's own frames say nothing about where it was wanted.
_MACHINERY = (f"engine{os.sep}", f"nn{os.sep}functional.py")
_ENGINE = tuple(_PACKAGE + name for name in _MACHINERY)

# What to write instead, where a well-known rewrite avoids the trouble.
_OVERFLOW = "the numbers are too large: normalise the inputs, or start from smaller weights or a smaller learning rate"
_REWRITES = {
    "log": "use log1p(x) for log(1 + x), logsumexp for the log of a sum of exponentials, log_softmax or cross_entropy "
    "for the log of a softmax, or where(x > 0, x, 1) inside the log for elements that are masked out later",
    "log1p": "put where(x > -1, x, 0) inside it for elements that are masked out later",
    "exp": "use logsumexp or softmax, which subtract the largest element first, or sigmoid or softplus",
    "expm1": "clip the input: it overflows beyond 709 in float64 and 88 in float32",
    "divide": "make the divisor safe with where(y == 0, 1, y) inside the division and choose the result with a second "
    "where outside, or add an epsilon to the divisor",
    "sqrt": "a negative number has no real root: put where(x > 0, x, 0) or square(x) under it",
    "power": "a negative base has no real root, and 0 no negative power: put where(x > 0, x, 1) inside it, add an "
    "epsilon to the base, or use square or sqrt",
    "square": "scale the numbers down first, or use norm of scaled ones",
    **dict.fromkeys(("add", "subtract", "multiply", "sum", "matmul", "einsum"), _OVERFLOW),
    "prod": "add up logarithms instead",
    "norm": "the squares are too large: divide by the largest element first and multiply the norm by it",
    "tan": "the tangent has poles: keep the angle away from pi/2",
    "cosh": "it overflows beyond 710 in float64 and 89 in float32: clip the input",
    "sinh": "it overflows beyond 710 in float64 and 89 in float32: clip the input",
    "astype": "the smaller type ends at 65504 (float16) or 3.4e38 (float32): scale first",
}
# Where a NaN was made of infinities.
_REWRITES_OF_INFINITIES = {
    "multiply": "an infinity times 0 is NaN: choose with where(mask, x, 0) instead of multiplying by the mask",
    "subtract": "infinity less infinity is NaN: use log_softmax or logsumexp for a difference of logarithms",
}
_REWRITES_OF_SLOPES = {
    "log": "a where around the log does not help, since its slope at 0 is computed all the same: put a second one, "
    "where(x > 0, x, 1), inside; or use log1p, logsumexp or log_softmax",
    "log1p": "its slope at -1 is infinite: put where(x > -1, x, 0) inside it",
    "divide": "a where around the division does not help, since its slope is computed all the same: put a second one, "
    "where(y == 0, 1, y), inside; or add an epsilon to the divisor",
    "sqrt": "the slope of the root is infinite at 0: add an epsilon under it, put where(x > 0, x, 1) inside and a "
    "second where around it, or use norm, whose gradient there is 0",
    "power": "the slope of a root is infinite at 0: add an epsilon to the base, or put where(x > 0, x, 1) inside and a "
    "second where around it",
}

_NAN, _INFINITE, _FINITE = 2, 1, 0


class NonFiniteError(ArithmeticError):
    """An operation, or the rule of one, made a NaN or an infinity of better numbers."""


class _NonFiniteWatcher:
    """Raises at the first operation or rule whose result is worse than all its inputs.

    A NaN is worse than an infinity, and that than a finite number. Whether all is finite is judged by the sum of
    squares, which BLAS adds up in no time; only a sum that is not finite is looked into.
    """

    def __init__(self) -> None:
        # What is being applied: when derivatives are recorded, a rule is made of operations.
        self.node: Node | None = None
        self.rule: VJP | None = None

    def computed(self, row: Primitive, arguments: Sequence[Any], out: Value) -> None:
        node, array = out._node, out._array
        if node is not None:
            node.place = _place()
        if _is_finite(array) or _level(array) <= _level(arguments):
            return
        names = row.inputs if len(row.inputs) == len(arguments) else [f"[{i}]" for i in range(len(arguments))]
        if self.node is not None and self.rule is not None:
            what = f"{row.name}, in {_derivative(self.node, self.rule)}"
            advice = _rewrite_of_slope(self.node)
        else:
            what = f"{row.name}, at {_said(_place())},"
            of_infinities = _REWRITES_OF_INFINITIES.get(row.name) if _level(arguments) == _INFINITE else None
            advice = of_infinities or _REWRITES.get(row.name)
        raise NonFiniteError(_report(what, array, names, arguments, advice))

    def entered(self, node: Node, rule: VJP) -> None:
        self.node, self.rule = node, rule

    def left(self) -> None:
        self.node = self.rule = None

    def differentiated(self, node: Node, rule: VJP, g: Any, arguments: Sequence[Any], part: Any) -> None:
        array = unwrap_value(part)
        inputs = (g, *arguments)
        if _is_finite(array) or _level(array) <= _level(inputs):
            return
        names = ["the cotangent", *rule.names]
        raise NonFiniteError(_report(_derivative(node, rule), array, names, inputs, _rewrite_of_slope(node)))

    def accumulated(self, node: Node, rule: VJP, parts: Sequence[Any], total: Any) -> None:
        if total is parts[0]:
            return
        array = unwrap_value(total)
        if _is_finite(array) or _level(array) <= _level(parts):
            return
        what = f"adding up, after {_derivative(node, rule)}"
        raise NonFiniteError(_report(what, array, ["this part", "what was there"], parts, _OVERFLOW))


def _is_finite(x: Any) -> bool:
    if x.dtype.kind != "f":
        return True
    total = np.vdot(x, x) if x.flags.c_contiguous else np.vdot(x.T, x.T)
    return bool(total - total == 0) or bool(np.isfinite(x).all())


def _level(x: Any) -> int:
    """Tell how bad the worst number is that is anywhere in an argument."""
    if isinstance(x, (tuple, list)):
        return max(map(_level, x), default=_FINITE)
    x = unwrap_value(x)
    if isinstance(x, float):
        return _NAN if math.isnan(x) else _INFINITE if math.isinf(x) else _FINITE
    if not isinstance(x, (np.ndarray, np.generic)) or x.dtype.kind != "f" or _is_finite(x):
        return _FINITE
    return _NAN if np.isnan(x).any() else _INFINITE


def _name(node: Node) -> str:
    return node.primitive.name if node.primitive else "a leaf"


def _derivative(node: Node, rule: VJP) -> str:
    place = getattr(node, "place", None)
    origin = f"at {_said(place)}" if place else "outside of any trace_nonfinite block"
    return f"the derivative of {_name(node)} for {rule.input}, computed {origin},"


def _rewrite_of_slope(node: Node) -> str | None:
    return _REWRITES_OF_SLOPES.get(_name(node), _REWRITES.get(_name(node)))


def _report(what: str, result: Any, names: Sequence[str], inputs: Sequence[Any], rewrite: str | None) -> str:
    result = np.asarray(result)
    bad = ~np.isfinite(result)
    count, made = int(np.count_nonzero(bad)), str(result[bad].flat[0])
    if result.ndim:
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        made += f" at index {first}" if count == 1 else f" in {count} of {result.size} elements, first at index {first}"
    ranges = "; ".join(f"{name} is {text}" for name, x in zip(names, inputs, strict=True) if (text := _range(x)))
    advice = f". Known rewrite: {rewrite}" if rewrite else ""
    return f"{what} made {made}. Its inputs: {ranges or 'none'}{advice}"


def _range(x: Any) -> str:
    """Describe the numbers of an argument; nothing of one that has none (an axis, an index)."""
    x = unwrap_value(x)
    if isinstance(x, tuple) and any(isinstance(part, (Value, np.ndarray)) for part in x):
        return ", ".join(filter(None, map(_range, x)))
    if isinstance(x, float):
        return f"{x:.6g}"
    if not isinstance(x, (np.ndarray, np.generic)) or x.dtype.kind not in "fiub":
        return ""
    x = np.asarray(x)
    if x.size == 1:
        return f"{x.item():.6g}"
    text = f"{x.dtype} of shape {x.shape}"
    finite = x[np.isfinite(x)]
    if finite.size:
        text += f" from {finite.min():.6g} to {finite.max():.6g}"
    counts = {"0": x == 0, "infinite": np.isinf(x), "NaN": np.isnan(x)}
    return text + "".join(f", {np.count_nonzero(hits)} of them {kind}" for kind, hits in counts.items() if hits.any())


def _place() -> tuple[str, int, str, int]:
    """Find which line of the program wanted the operation, and which of this library's layers, if any, on the way."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_ENGINE):
        frame = frame.f_back
    inside = frame
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<frozen")):
        frame = frame.f_back
    user = frame or inside or sys._getframe(2)
    layer = inside or user
    return user.f_code.co_filename, user.f_lineno, layer.f_code.co_filename, layer.f_lineno


def _said(place: tuple[str, int, str, int]) -> str:
    file, line, layer, layers_line = place
    through = f" (through {_NAME}/{layer.removeprefix(_PACKAGE)}:{layers_line})" if (file, line) != place[2:] else ""
    return f"{file}:{line}{through}"


@contextmanager
def trace_nonfinite() -> Iterator[None]:
    """Stop at the first operation, or derivative rule, that makes a NaN or an infinity of better numbers.

    The error names the operation, the line of the program that called it (for a derivative: that called the operation),
    the elements, the ranges of its inputs and, where there is one, the rewrite that avoids it. An infinity or a NaN
    that was there before (in the data, say) is not reported, but a NaN made of infinities is. NumPy's own
    floating-point warnings are silenced inside the block, since the error says more.

    The block watches the thread or asynchronous task that enters it: a thread started inside must enter its own.

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
    tinygrad_cifar.engine.tracing.NonFiniteError: the derivative of sqrt for x, computed at ..., made inf at index (0,)...
    """
    with np.errstate(all="ignore"), observe(_NonFiniteWatcher()):
        yield


class KinkCounter(Counter[str]):
    """How many elements sat exactly on a kink, by the primitive's name."""

    _in_rule = False

    def computed(self, row: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002 (a Watcher's)
        """Count an operation's hits."""
        kink = KINKS.get(row.name)
        if kink is not None and not self._in_rule and (hits := int(np.count_nonzero(kink.hits(*arguments)))):
            self[row.name] += hits

    def entered(self, node: Node, rule: VJP) -> None:  # noqa: ARG002
        """Look away: a kink is a matter of the program's point, not of what its derivatives are made of."""
        self._in_rule = True

    def left(self) -> None:
        """Look again."""
        self._in_rule = False

    def differentiated(self, node: Node, rule: VJP, g: Any, arguments: Sequence[Any], part: Any) -> None:
        """Ignore derivatives."""

    def accumulated(self, node: Node, rule: VJP, parts: Sequence[Any], total: Any) -> None:
        """Ignore sums."""


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
    with observe(counter):
        yield counter
