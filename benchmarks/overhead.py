"""Overhead of one operation over the same NumPy computation, forward and backward.

Forward: ``op(tensor)`` with recording and ``op(array)``, interleaved. Backward: the time per node of the backward pass
of a chain of one operation, minus the time of the NumPy computation of its VJP, written out by hand and interleaved.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cifar as tg
from benchmarks.options import Options
from benchmarks.timing import spread, time_interleaved
from benchmarks.workloads import Array

_SIZES = {"small": 10, "large": 500}  # of square matrices, float64
_LENGTHS = {"small": 200, "large": 20}


class Operation(NamedTuple):
    """An operation to measure.

    Attributes
    ----------
    name : str
        Name in the table.
    ours : callable
        Operation of this library, as a function of ``x`` and ``y``.
    numpy : callable
        Same computation in NumPy.
    vjp : callable, optional
        Computation of the VJP in NumPy, as a function of the cotangent, ``x`` and ``y``. None if the operation cannot
        be chained.
    recorded : bool
        If True, ``y`` is recorded as well.
    """

    name: str
    ours: Callable[[Any, Any], Any]
    numpy: Callable[[Any, Any], Any]
    vjp: Callable[[Array, Array, Array], Any] | None = None
    recorded: bool = False


# x is a matrix of ones; y is the identity matrix for products, otherwise ones. So every operation can be chained.
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
        ``rows``: for each operation and size, in microseconds, ``numpy`` and ``vjp`` (NumPy's time forward and
        backward), and the median overheads ``forward`` and ``backward``. ``vjp`` and ``backward`` are None without a
        chain.
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
    ours, numpy = time_interleaved([lambda: operation.ours(leaf, other), lambda: operation.numpy(x, y)], rounds)
    vjp, backward = (None, None) if operation.vjp is None else _backward(operation, leaf, y, _LENGTHS[size], rounds)
    return {
        "operation": operation.name,
        "size": size,
        "numpy": 1e6 * spread(numpy).median,
        "forward": 1e6 * spread(np.subtract(ours, numpy).tolist()).median,
        "vjp": vjp,
        "backward": backward,
    }


def _backward(operation: Operation, leaf: Any, y: Array, length: int, rounds: int) -> tuple[float, float]:
    """Return the microseconds of the VJP in NumPy, and the overhead per node of a chain."""
    vjp = operation.vjp
    if vjp is None:
        raise ValueError(f"{operation.name} has no VJP to compare with")
    x, times, overheads = leaf.data, [], []
    for _ in range(rounds):
        value = leaf
        for _ in range(length):
            value = operation.ours(value, y)
        g = np.ones_like(x)
        started = perf_counter()
        value.backward(g)
        finished = perf_counter()
        for _ in range(length):
            g = vjp(g, x, y)
        times.append((perf_counter() - finished) / length)
        overheads.append((finished - started) / length - times[-1])
        leaf.grad = None
    return 1e6 * spread(times).median, 1e6 * spread(overheads).median


def lines(result: dict[str, Any]) -> list[str]:
    """Return the tables as lines of text: overheads in microseconds for small arrays, in per cent for large ones."""
    out = ["one operation: microseconds of NumPy, and what recording and visiting it add"]
    for size, n in _SIZES.items():
        unit = "us" if size == "small" else "%"
        heads = ("forward", f"+ {unit}", "backward", f"+ {unit}")
        out += ["", f"  {f'{n} x {n}, float64':22}" + "".join(f"{head:>11}" for head in heads)]
        for row in result["rows"]:
            if row["size"] == size:
                pairs = ((row["numpy"], row["forward"]), (row["vjp"], row["backward"]))
                out.append(f"  {row['operation']:22}" + "".join(_cells(*pair, size) for pair in pairs).rstrip())
    return [*out, ""]


def _cells(numpy: float | None, overhead: float | None, size: str) -> str:
    if numpy is None or overhead is None:
        return ""
    return f"{numpy:>11.2f}{overhead if size == 'small' else 100 * overhead / numpy:>11.{2 if size == 'small' else 0}f}"
