"""Microseconds that an operation costs beyond NumPy's own: forward against the same NumPy call, backward in a chain.

Forward, ``op(tensor)`` with recording is timed in turns with ``op(array)``; the node is made and thrown away.
Backward, a chain of one operation is walked, and from the time of one node the NumPy work of the operation's rule,
written out by hand and timed in turns, is taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cifar as tg
from benchmarks.options import Options
from benchmarks.timing import in_turns, spread
from benchmarks.works import Array

_SIZES = {"small": 10, "large": 500}  # of square matrices, float64
_LONG = {"small": 200, "large": 20}


class Operation(NamedTuple):
    """One row: the operation, NumPy's, whether ``y`` is recorded, and the rule written out; None if it cannot be
    repeated on its own result.
    """  # noqa: D205

    name: str
    ours: Callable[[Any, Any], Any]
    numpy: Callable[[Any, Any], Any]
    rule: Callable[[Array, Array, Array], Any] | None = None
    recorded: bool = False


# x is a matrix of ones, y the unit matrix (for the product) or ones: every operation can be repeated for ever.
_OPERATIONS = (
    Operation("add(x, array)", tg.add, np.add, lambda g, *_: g),
    Operation("add(x, y)", tg.add, np.add, recorded=True),
    Operation("multiply(x, array)", tg.multiply, np.multiply, lambda g, _, y: g * y),
    Operation("multiply(x, y)", tg.multiply, np.multiply, recorded=True),
    Operation("multiply(x, x)", lambda x, _: x * x, lambda x, _: x * x, lambda g, x, _: g * x + g * x),
    Operation("x * 0.5", lambda x, _: x * 0.5, lambda x, _: x * 0.5, lambda g, *_: g * 0.5),
    Operation("sqrt", lambda x, _: tg.sqrt(x), lambda x, _: np.sqrt(x), lambda g, x, _: g / (2 * x)),
    Operation("exp", lambda x, _: tg.exp(x), lambda x, _: np.exp(x)),
    Operation("tanh", lambda x, _: tg.tanh(x), lambda x, _: np.tanh(x), lambda g, x, _: g * (1 - x * x)),
    Operation("relu", lambda x, _: tg.relu(x), lambda x, _: np.maximum(x, 0), lambda g, x, _: g * (x > 0)),
    Operation("matmul(x, array)", tg.matmul, np.matmul, lambda g, _, y: np.matmul(g, y.T)),
    Operation("matmul(x, y)", tg.matmul, np.matmul, recorded=True),
    Operation("sum(x, axis=0)", lambda x, _: tg.sum(x, axis=0), lambda x, _: np.sum(x, axis=0)),
    Operation("max(x, axis=1)", lambda x, _: tg.max(x, axis=1), lambda x, _: np.max(x, axis=1)),
    Operation("transpose", lambda x, _: tg.transpose(x), lambda x, _: np.transpose(x), lambda g, *_: np.transpose(g)),
    Operation(
        "reshape",
        lambda x, _: tg.reshape(x, x.shape),
        lambda x, _: np.reshape(x, x.shape),
        lambda g, x, _: np.reshape(g, x.shape),
    ),
    Operation("x[1:]", lambda x, _: x[1:], lambda x, _: x[1:]),
)


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every operation on small and on large arrays.

    Returns
    -------
    dict
        ``rows``: for each operation and size, in microseconds, ``numpy`` and ``rule`` (NumPy's work forward and
        backward), and the medians over rounds of what ``forward`` and ``backward`` cost beyond it; ``rule`` and
        ``backward`` are None where there is no chain.
    """
    rounds = 1 if options.quick else 31
    rows = [_row(operation, size, rounds) for size in _SIZES for operation in _OPERATIONS]
    say("\n".join(lines({"rows": rows})))
    return {"rows": rows}


def _row(operation: Operation, size: str, rounds: int) -> dict[str, Any]:
    n = _SIZES[size]
    x = np.ones((n, n))
    y = np.eye(n) if operation.numpy is np.matmul else np.ones((n, n))
    leaf = tg.Tensor(x, requires_grad=True)
    other = tg.Tensor(y, requires_grad=True) if operation.recorded else y
    ours, numpy = in_turns([lambda: operation.ours(leaf, other), lambda: operation.numpy(x, y)], rounds)
    rule, backward = (None, None) if operation.rule is None else _backward(operation, leaf, y, _LONG[size], rounds)
    return {
        "operation": operation.name,
        "size": size,
        "numpy": 1e6 * spread(numpy).median,
        "forward": 1e6 * spread(np.subtract(ours, numpy).tolist()).median,
        "rule": rule,
        "backward": backward,
    }


def _backward(operation: Operation, leaf: Any, y: Array, length: int, rounds: int) -> tuple[float, float]:
    """Return the microseconds of a rule's NumPy work, and of one node of a chain beyond it."""
    rule = operation.rule
    if rule is None:
        raise ValueError(f"{operation.name} has no rule to compare with")
    x, rules, beyond = leaf.data, [], []
    for _ in range(rounds):
        value = leaf
        for _ in range(length):
            value = operation.ours(value, y)
        g = np.ones_like(x)
        started = perf_counter()
        value.backward(g)
        walked = perf_counter()
        for _ in range(length):
            g = rule(g, x, y)
        rules.append((perf_counter() - walked) / length)
        beyond.append((walked - started) / length - rules[-1])
        leaf.grad = None
    return 1e6 * spread(rules).median, 1e6 * spread(beyond).median


def lines(result: dict[str, Any]) -> list[str]:
    """Return the tables for a terminal: microseconds beyond NumPy on small arrays, per cent on large ones."""
    out = ["one operation: NumPy's own microseconds, and what recording and walking add"]
    for size, n in _SIZES.items():
        unit = "us" if size == "small" else "%"
        heads = ("forward", f"+ {unit}", "backward", f"+ {unit}")
        out += ["", f"  {f'{n} x {n}, float64':22}" + "".join(f"{head:>11}" for head in heads)]
        for row in result["rows"]:
            if row["size"] == size:
                pairs = ((row["numpy"], row["forward"]), (row["rule"], row["backward"]))
                out.append(f"  {row['operation']:22}" + "".join(_cells(*pair, size) for pair in pairs).rstrip())
    return [*out, ""]


def _cells(numpy: float | None, beyond: float | None, size: str) -> str:
    if numpy is None or beyond is None:
        return ""
    return f"{numpy:>11.2f}{beyond if size == 'small' else 100 * beyond / numpy:>11.{2 if size == 'small' else 0}f}"
