"""The work of a program grows no faster than its size: forward, backward, and for second derivatives.

Programs are drawn: where their n parts come from, what is done with each, how the results are joined, and what is
computed from all of them. The true work of each is proportional to n. Counted are calls and bytes, not seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.support.work import exponent, measure_work
from tinygrad_cifar.engine.primitives import PRIMITIVES

pytestmark = pytest.mark.slow

SIZES = (16, 32, 64)
WIDTH = 16

# Linear work has the exponent 1, and the noise of the counts, such as dictionaries that grow in jumps, is below 0.05.
# A sort, whose work is n * log(n), has 1.17 at these sizes, and a quadratic part of a sixth has 1.15.
LARGEST_EXPONENT = 1.15


# -- where the parts come from: n vectors of WIDTH elements ------------------------------------------------------------


def leaf(*shape: int) -> tg.Tensor:
    return tg.Tensor(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape), requires_grad=True)


Source = Callable[[int], tuple[list[tg.Tensor], list[tg.Tensor]]]  # size -> (leaves, parts)


def rows(take: Callable[[tg.Tensor], Any], *, recorded: bool = False) -> Source:
    """Return a source of the rows of one matrix, a leaf or the result of an operation."""

    def source(n: int) -> tuple[list[tg.Tensor], list[tg.Tensor]]:
        matrix = leaf(n, WIDTH)
        return [matrix], list(take(matrix * 1.5 if recorded else matrix))

    return source


def columns(matrix: tg.Tensor) -> list[tg.Tensor]:
    return [matrix[:, i] for i in range(matrix.shape[1])]


def separate(n: int) -> tuple[list[tg.Tensor], list[tg.Tensor]]:
    parts = [leaf(WIDTH) for _ in range(n)]
    return parts, parts


def embedded(n: int) -> tuple[list[tg.Tensor], list[tg.Tensor]]:
    table = leaf(7, WIDTH)
    return [table], [tg.take(table, i % 7, axis=0) for i in range(n)]


SOURCES: dict[str, Source] = {
    "for row in x": rows(lambda x: x),
    "for row in f(x)": rows(lambda x: x, recorded=True),
    "x[i]": rows(lambda x: [x[i] for i in range(len(x))], recorded=True),
    "x[i : i + 1]": rows(lambda x: [x[i : i + 1].reshape(WIDTH) for i in range(len(x))], recorded=True),
    "x[:, i]": rows(lambda x: columns(x.T), recorded=True),
    "x[[i]]": rows(lambda x: [x[[i]].reshape(WIDTH) for i in range(len(x))], recorded=True),
    "x[i][j]": rows(lambda x: [tg.stack([row[j % 4] for j in range(WIDTH)]) for row in x], recorded=True),
    "unstack": rows(tg.unstack, recorded=True),
    "split": rows(lambda x: [part.reshape(WIDTH) for part in tg.split(x, len(x))]),
    "leaves": separate,
    "embedding": embedded,
}

# -- what is done with each --------------------------------------------------------------------------------------------


def scan(step: Callable[[Any, tg.Tensor], Any]) -> Callable[[list[tg.Tensor]], list[tg.Tensor]]:
    """Return a recurrence, with the list of its states as its result."""

    def run(parts: list[tg.Tensor]) -> list[tg.Tensor]:
        states = [parts[0]]
        for part in parts[1:]:
            states.append(step(states[-1], part))
        return states

    return run


def with_weights(step: Callable[..., Any], over: Callable[..., Any]) -> Callable[[list[tg.Tensor]], list[tg.Tensor]]:
    """Return a body whose steps share a matrix of weights, which is their first argument."""
    return lambda parts: over(partial(step, leaf(WIDTH, WIDTH)))(parts)  # noqa: PLW0108 (new weights for each run)


def each(step: Callable[[tg.Tensor], Any]) -> Callable[[list[tg.Tensor]], list[tg.Tensor]]:
    return lambda parts: [step(part) for part in parts]


BODIES: dict[str, Callable[[list[tg.Tensor]], list[tg.Tensor]]] = {
    "nothing": each(lambda x: x),
    "tanh(x * x)": each(lambda x: tg.tanh(x * x)),
    "where(x > 0, x, y)": each(lambda x: tg.where(x > 0, x, 0.1 * x)),
    "index_update(x, 0, y)": each(lambda x: tg.index_update(x, 0, x[1])),
    "outer sums": each(lambda x: tg.sum(tg.expand_dims(x, 0) * tg.expand_dims(x, 1), axis=0)),
    "softmax and cumsum": each(lambda x: tg.cumsum(tg.softmax(x))),
    "concatenated halves": each(lambda x: tg.concatenate([x[8:], x[:8]])),
    "x @ W": with_weights(lambda w, x: x @ w, each),
    "running sum": scan(lambda s, x: s + x),
    "tanh(h @ W + x)": with_weights(lambda w, h, x: tg.tanh(h @ w + x), scan),
    "index_update(h, 1, x)": scan(lambda h, x: tg.index_update(h, 1, x[0])),
    "reshape, transpose": scan(lambda h, x: h.reshape(4, 4).T.reshape(WIDTH) + x),
}

# -- how they are joined, to an array of n * WIDTH elements ------------------------------------------------------------

JOINS: dict[str, Callable[[list[tg.Tensor]], tg.Tensor]] = {
    "stack": tg.stack,
    "stack, axis=1": lambda parts: tg.stack(parts, axis=1).T,
    "concatenate": lambda parts: tg.concatenate(parts).reshape(-1, WIDTH),
    "vstack": tg.vstack,
    "column_stack": lambda parts: tg.column_stack(parts).T,
    "block": lambda parts: tg.block([[part.reshape(1, WIDTH)] for part in parts]),
    "sum": lambda parts: reduce(tg.add, parts).reshape(1, WIDTH),
    "array of sums": lambda parts: tg.stack([part.sum() for part in parts]).reshape(-1, 1),
}

# -- what is computed from all of them ---------------------------------------------------------------------------------

HEADS: dict[str, Callable[[tg.Tensor], tg.Tensor]] = {
    "mean of squares": lambda x: tg.mean(x * x),
    "cumsum": lambda x: tg.cumsum(x, axis=0) / 100,
    "logsumexp": lambda x: tg.logsumexp(x, axis=0),
    "softmax": lambda x: tg.softmax(x, axis=0),
    "var": lambda x: tg.var(x, axis=0),
    "norm": lambda x: tg.norm(x + 2, axis=1),
    "max": lambda x: tg.max(x * x, axis=0),
    "diff": lambda x: tg.square(tg.diff(x, axis=1)) if x.shape[1] > 1 else x,
    "where": lambda x: tg.where(x > 0, x * x, x),
    "centred": lambda x: tg.square(x - x.mean(axis=0)),
    "batched matmul": lambda x: tg.tanh(tg.expand_dims(x, 1) @ leaf(x.shape[1], 3)),
    "batched outer product": lambda x: tg.expand_dims(x, 2) @ tg.expand_dims(x, 1),
    "einsum": lambda x: tg.einsum("ni,ni->n", x, x),
    "getitem": lambda x: x[np.arange(len(x)) // 2] * x,
    "reversed": lambda x: x[::-1] * x,
    "pad": lambda x: tg.square(tg.pad(x, [(1, 1), (0, 0)])),
}


@dataclass(frozen=True)
class Program:
    """A program of any size; ``order`` is that of the derivatives that it computes."""

    source: str
    body: str
    join: str
    head: str
    order: int

    def __call__(self, n: int) -> None:
        leaves, parts = SOURCES[self.source](n)
        out = HEADS[self.head](JOINS[self.join](BODIES[self.body](parts))).sum()
        if self.order == 2:
            gradients = tg.grad(out, leaves, create_graph=True)
            out = sum((tg.sum(g * g) for g in gradients[1:]), tg.sum(gradients[0] * gradients[0]))
            if not out.requires_grad:  # the program is affine
                return
        out.backward()


programs = st.builds(
    Program,
    *[st.sampled_from(list(table)) for table in (SOURCES, BODIES, JOINS, HEADS)],
    order=st.sampled_from([1, 2]),
)


def check_growth(program: Callable[[int], object], sizes: tuple[int, ...] = SIZES) -> None:
    """Raise AssertionError if the work of a program grows faster than its size."""
    measure_work(lambda: program(sizes[0]))  # what is computed once is not counted
    found = [measure_work(lambda n=n: program(n)) for n in sizes]
    for kind in ("calls", "bytes"):
        work = [getattr(each, kind) for each in found]
        assert exponent(work) <= LARGEST_EXPONENT, f"{kind}: {work} for n = {sizes}"


@given(programs)
@settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.too_slow])
def test_work_of_a_program_is_proportional_to_its_size(program):
    check_growth(program)


# -- one at a time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_work_of_a_loop_over_parts_is_proportional_to_their_number(source):
    check_growth(Program(source, "tanh(x * x)", "sum", "mean of squares", 1))


@pytest.mark.parametrize("source", ["for row in f(x)", "leaves", "embedding"])
def test_work_of_a_second_derivative_of_a_loop_is_proportional(source):
    check_growth(Program(source, "tanh(x * x)", "sum", "mean of squares", 2))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("join", JOINS)
def test_work_of_joining_is_proportional_to_the_number_of_parts(join, order):
    check_growth(Program("leaves", "nothing", join, "mean of squares", order))


@pytest.mark.parametrize("source", ["for row in f(x)", "leaves"])
def test_work_of_a_recurrent_network_is_proportional_to_its_steps(source):
    check_growth(Program(source, "tanh(h @ W + x)", "stack", "mean of squares", 1))


def small_numbers(order: int) -> Callable[[int], None]:
    """Return a program that joins single numbers."""

    def program(n: int) -> None:
        leaves = [tg.Tensor(1.0, requires_grad=True) for _ in range(n)]
        out = tg.stack([x * x for x in leaves]).sum()
        if order == 1:
            out.backward()
        else:
            tg.stack(tg.grad(out, leaves, create_graph=True)).sum().backward()

    return program


@pytest.mark.parametrize("order", [1, 2])
def test_work_of_joining_single_numbers_is_proportional_to_how_many_they_are(order):
    check_growth(small_numbers(order))


@pytest.mark.parametrize("head", HEADS)
def test_work_of_the_derivatives_of_an_array_is_proportional_to_its_size(head):
    def program(n: int) -> None:
        x = leaf(8 * n, WIDTH)
        g = tg.grad(HEADS[head](x).sum(), x, create_graph=True)
        if g.requires_grad:
            (g * g).sum().backward()

    check_growth(program)


@pytest.mark.parametrize("wanted", ["x", "y"])
@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((-1, 2, 16), (16, 16)),
        ((2, 16), (-1, 16, 16)),
        ((-1, 2, 16), (1, 16, 16)),
        ((-1, 2, 16), (16,)),
        ((2, 1, 2, 16), (-1, 16, 16)),
    ],
)
def test_gradient_of_a_stack_of_products_needs_no_more_memory_than_the_operands(x_shape, y_shape, wanted):
    n = 512
    shapes = {
        name: tuple(n if size == -1 else size for size in shape) for name, shape in (("x", x_shape), ("y", y_shape))
    }
    operands = {name: leaf(*shape) for name, shape in shapes.items()}
    out = operands["x"] @ operands["y"]
    cotangent = np.ones(out.shape)
    largest = max(out.data.nbytes, *[operand.data.nbytes for operand in operands.values()])
    work = measure_work(lambda: tg.grad(out, operands[wanted], cotangent))
    buffers = 200_000  # of NumPy's iterators, which do not grow
    assert work.bytes <= 3 * largest + buffers  # the cotangent, and each operand in another order


# -- the measurement itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2])
def test_exponent_of_calls_is_found(power):
    work = [measure_work(lambda n=n: [abs(0) for _ in range(n**power)]) for n in SIZES]
    assert exponent([each.calls for each in work]) == pytest.approx(power, abs=0.1)


@pytest.mark.parametrize("power", [1, 2])
def test_exponent_of_bytes_is_found_though_they_are_freed_at_once(power):
    work = [measure_work(lambda n=n: [np.zeros(n ** (power - 1) * 100).sum() for _ in range(n)]) for n in SIZES]
    assert exponent([each.bytes for each in work]) == pytest.approx(power, abs=0.1)


# VJPs as a first version may have them: one sums the sizes of all inputs, the other makes an array as large as all.
CLIFFS: dict[str, tuple[str, Callable[..., Any]]] = {
    "sums all sizes": (
        "concatenate",
        lambda g, i, axis, starts: g[sum(b - a for a, b in pairwise(starts[: i + 1])) + 0 * axis :][: starts[1]],
    ),
    "makes a whole array": ("stack", lambda g, i, axis: (g * 1.0)[i + 0 * axis]),
}


@pytest.mark.parametrize("cliff", CLIFFS)
def test_quadratic_work_is_found(cliff, monkeypatch):
    name, slow = CLIFFS[cliff]
    (vjp,) = PRIMITIVES[name].vjps.values()
    monkeypatch.setattr(vjp, "apply", slow)
    with pytest.raises(AssertionError, match=r"calls|bytes"):
        check_growth(Program("leaves", "nothing", name, "mean of squares", 1))
