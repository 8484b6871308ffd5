"""Watchers of a computation: where the first NaN was computed, and how many elements lie on a kink.

Both are context managers; outside of them nothing is slower. They are notified of operations and of VJPs, in the thread
or asynchronous task that enters them and in tasks that are started inside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value, unwrap_value
from tinygrad_cifar.engine.locations import caller_location, format_location
from tinygrad_cifar.engine.modes import Watcher, observe

# Advice for operations whose non-finite results a well-known rewrite avoids.
_OVERFLOW = "the values are too large: normalise the inputs, or use smaller initial weights or a smaller learning rate"
_REWRITES = {
    "log": "use log1p(x) for log(1 + x), logsumexp for the log of a sum of exponentials, log_softmax or cross_entropy "
    "for the log of a softmax, or where(x > 0, x, 1) inside the log for elements that are masked out later",
    "log1p": "put where(x > -1, x, 0) inside it for elements that are masked out later",
    "exp": "use logsumexp or softmax, which subtract the largest element first, or sigmoid or softplus",
    "expm1": "clip the input: it overflows above 709 in float64 and 88 in float32",
    "divide": "make the divisor safe with where(y == 0, 1, y) inside the division and choose the result with a second "
    "where outside, or add an epsilon to the divisor",
    "sqrt": "a negative number has no real root: apply it to where(x > 0, x, 0) or to square(x)",
    "power": "a negative base has no real root, and 0 no negative power: put where(x > 0, x, 1) inside it, add an "
    "epsilon to the base, or use square or sqrt",
    "square": "scale the input down first, or use norm, whose squares do not overflow",
    **dict.fromkeys(("add", "subtract", "multiply", "sum", "norm", "matmul", "einsum"), _OVERFLOW),
    "prod": "sum logarithms instead",
    "tan": "the tangent has poles: keep the angle away from pi/2",
    "cosh": "it overflows above 710 in float64 and 89 in float32: clip the input",
    "sinh": "it overflows above 710 in float64 and 89 in float32: clip the input",
    "astype": "the smaller type ends at 65504 (float16) or 3.4e38 (float32): scale first",
}
# Advice where a NaN was computed from infinities.
_REWRITES_OF_INFINITIES = {
    "multiply": "an infinity times 0 is NaN: choose with where(mask, x, 0) instead of multiplying by the mask",
    "subtract": "infinity minus infinity is NaN: use log_softmax or logsumexp for a difference of logarithms",
}
_VJP_REWRITES = {
    "log": "a where around the log does not help, since its derivative at 0 is computed as well: put a second one, "
    "where(x > 0, x, 1), inside; or use log1p, logsumexp or log_softmax",
    "log1p": "its derivative at -1 is infinite: put where(x > -1, x, 0) inside it",
    "divide": "a where around the division does not help, since its derivative is computed as well: put a second one, "
    "where(y == 0, 1, y), inside; or add an epsilon to the divisor",
    "sqrt": "the derivative of the root is infinite at 0: add an epsilon under it, put where(x > 0, x, 1) inside and a "
    "second where around it, or use norm, whose gradient there is 0",
    "power": "the derivative of a root is infinite at 0: add an epsilon to the base, or put where(x > 0, x, 1) "
    "inside and a second where around it",
}

_NAN, _INFINITE, _FINITE = 2, 1, 0


class NonFiniteError(ArithmeticError):
    """An operation, or a VJP, computed a NaN or an infinity from inputs without one."""


class _NonFiniteWatcher(Watcher):
    """Raises at the first operation or VJP whose result is less finite than all its inputs.

    A NaN is less finite than an infinity, and that than a finite number. An array is taken to be finite if its sum of
    squares is, which BLAS computes fast; otherwise its elements are checked.
    """

    def __init__(self) -> None:
        # The VJP that is being applied: one that is recorded consists of operations.
        self.node: Node | None = None
        self.vjp: VJP | None = None

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:
        node, array = out._node, out._array
        if node is not None:
            node.location = caller_location()
        if _is_finite(array) or _severity(array) <= _severity(arguments):
            return
        names = op.inputs if len(op.inputs) == len(arguments) else [f"[{i}]" for i in range(len(arguments))]
        if self.node is not None and self.vjp is not None:
            what = f"{op.name}, in {_describe_vjp(self.node, self.vjp)}"
            advice = _vjp_rewrite(self.node)
        else:
            what = f"{op.name}, at {format_location(caller_location())},"
            of_infinities = _REWRITES_OF_INFINITIES.get(op.name) if _severity(arguments) == _INFINITE else None
            advice = of_infinities or _REWRITES.get(op.name)
        raise NonFiniteError(_report(what, array, names, arguments, advice))

    def on_vjp_start(self, node: Node, vjp: VJP) -> None:
        self.node, self.vjp = node, vjp

    def on_vjp_end(self) -> None:
        self.node = self.vjp = None

    def on_vjp_result(self, node: Node, vjp: VJP, g: Any, arguments: Sequence[Any], contribution: Any) -> None:
        array = unwrap_value(contribution)
        inputs = (g, *arguments)
        if not hasattr(array, "dtype"):  # an error, which is raised when its shape is checked
            return
        if _is_finite(array) or _severity(array) <= _severity(inputs):
            return
        names = ["the cotangent", *vjp.names]
        raise NonFiniteError(_report(_describe_vjp(node, vjp), array, names, inputs, _vjp_rewrite(node)))

    def on_accumulate(self, node: Node, vjp: VJP, terms: Sequence[Any], total: Any) -> None:
        if total is terms[0]:
            return
        array = unwrap_value(total)
        if _is_finite(array) or _severity(array) <= _severity(terms):
            return
        what = f"the sum of cotangents, after {_describe_vjp(node, vjp)}"
        raise NonFiniteError(_report(what, array, ["the new term", "the sum before it"], terms, _OVERFLOW))


def _is_finite(x: Any) -> bool:
    if x.dtype.kind != "f":
        return True
    total = np.vdot(x, x) if x.flags.c_contiguous else np.vdot(x.T, x.T)
    return bool(total - total == 0) or bool(np.isfinite(x).all())


def _severity(x: Any) -> int:
    """Return the severity of the least finite number in an argument."""
    if isinstance(x, (tuple, list)):
        return max(map(_severity, x), default=_FINITE)
    x = unwrap_value(x)
    if isinstance(x, float):
        return _NAN if math.isnan(x) else _INFINITE if math.isinf(x) else _FINITE
    if not isinstance(x, (np.ndarray, np.generic)) or x.dtype.kind != "f" or _is_finite(x):
        return _FINITE
    return _NAN if np.isnan(x).any() else _INFINITE


def _name(node: Node) -> str:
    return node.primitive.name if node.primitive else "a leaf"


def _describe_vjp(node: Node, vjp: VJP) -> str:
    location = getattr(node, "location", None)
    origin = f"at {format_location(location)}" if location else "outside any trace_nonfinite block"
    return f"the derivative of {_name(node)} for {vjp.input}, computed {origin},"


def _vjp_rewrite(node: Node) -> str | None:
    return _VJP_REWRITES.get(_name(node), _REWRITES.get(_name(node)))


def _report(what: str, result: Any, names: Sequence[str], inputs: Sequence[Any], rewrite: str | None) -> str:
    result = np.asarray(result)
    is_bad = ~np.isfinite(result)
    count, found = int(np.count_nonzero(is_bad)), str(result[is_bad].flat[0])
    if result.ndim:
        first = tuple(int(i) for i in np.argwhere(is_bad)[0])
        found += (
            f" at index {first}" if count == 1 else f" in {count} of {result.size} elements, first at index {first}"
        )
    ranges = "; ".join(f"{name} is {text}" for name, x in zip(names, inputs, strict=True) if (text := _range(x)))
    advice = f". Known rewrite: {rewrite}" if rewrite else ""
    return f"{what} computed {found}. Its inputs: {ranges or 'none'}{advice}"


def _range(x: Any) -> str:
    """Describe the values of an argument; return an empty string for an axis or an index."""
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


@contextmanager
def trace_nonfinite() -> Iterator[None]:
    """Raise an error at the first operation, or VJP, that computes a NaN or an infinity from inputs without one.

    The error names the operation, the line of the program that called it (for a VJP: that called the operation), the
    elements, the ranges of the inputs and, if one is known, a rewrite that avoids it. An infinity or a NaN in the
    inputs (in the data, for example) is not reported, but a NaN computed from infinities is. NumPy's own floating-point
    warnings are silenced inside the block, since the error says more.

    The block watches the thread or asynchronous task that enters it; a thread started inside must enter its own.

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
    tinygrad_cifar.engine.tracing.NonFiniteError: the derivative of sqrt for x, computed at ..., computed inf at ...
    """
    with np.errstate(all="ignore"), observe(_NonFiniteWatcher()):
        yield


class KinkCounter(Counter[str], Watcher):
    """The number of elements that lie exactly on a kink, by the name of the primitive."""

    _in_vjp = False

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002
        """Count the elements of an operation that lie on a kink."""
        if op.kink is not None and not self._in_vjp and (count := int(np.count_nonzero(op.kink(*arguments)))):
            self[op.name] += count

    def on_vjp_start(self, node: Node, vjp: VJP) -> None:  # noqa: ARG002
        """Suspend counting: operations inside a VJP are not part of the program's forward pass."""
        self._in_vjp = True

    def on_vjp_end(self) -> None:
        """Resume counting."""
        self._in_vjp = False


@contextmanager
def count_kinks() -> Iterator[KinkCounter]:
    """Count the elements that lie exactly where a function has no derivative, and the table takes a convention.

    There, and nowhere else, a correct gradient can disagree with a numerical one.

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
