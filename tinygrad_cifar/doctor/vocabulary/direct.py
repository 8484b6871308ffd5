"""Mistakes in the step from the gradient of a layer's output to that of its parameter: other arrays, other orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording, Ref
from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, cotangent_of, parameter_below, value_of
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array

_MOST_ROWS = 512  # of flattened filters; the weights of an image have more
_BLOCKS = (2, 3, 4, 5, 6, 8, 9, 12, 16, 25, 27)  # sizes of groups of rows, such as the channels of a flattened filter


def edits_of_direct_edge(recording: Recording, i: int, e: int, right: Array) -> Iterator[Edit]:
    """Yield the edits of an edge that leads to a parameter, which may be transposed or reshaped first."""
    site = ("edge", i, e)
    step = recording.steps[i]
    name = parameter_below(recording, step.edges[e][0])
    if name is None:
        return
    if step.op != "matmul" and step.value.ndim:
        for j, other in enumerate(recording.steps):
            if j != i and other.value.shape == step.value.shape:
                source = {"array": Ref(j)}
                yield Edit("wrong_cotangent", site, _vjp_of(i, e, j, cotangent_of), cost=2.0, detail=source)
                yield Edit("value_for_cotangent", site, _vjp_of(i, e, j, value_of), cost=2.4, detail=source)
    for axis in range(step.value.ndim):
        for row in (0, -1):
            for only in (True, False):
                detail = {"axis": axis, "row": row, "only": only, "parameter": name}
                yield Edit("part_of_sum", site, _part(i, e, axis, row, only), cost=2.3, detail=detail)
    if recording.steps[step.edges[e][0]].op:
        return
    if right.ndim > 2 or (right.ndim == 2 and min(right.shape) > 1):
        yield from edits_of_elements(site, right)


def _vjp_of(i: int, e: int, j: int, read: Callable[[Walk, int], Array]) -> Callable[[Walk, Array], Array]:
    return lambda walk, _: walk.recording.steps[i].edges[e][1].vjp(read(walk, j))


def _part(i: int, e: int, axis: int, row: int, only: bool) -> Callable[[Walk, Array], Array]:
    """Return the contribution of one row of the cotangent along an axis, or of all others."""

    def value(walk: Walk, _: Array) -> Array:
        g = cotangent_of(walk, i)
        chosen = np.zeros(g.shape[axis], dtype=bool)
        chosen[row] = True
        shape = [-1 if k == axis else 1 for k in range(g.ndim)]
        return walk.recording.steps[i].edges[e][1].vjp(g * (chosen == only).reshape(shape))

    return value


def edits_of_elements(site: tuple[Any, ...], G: Array) -> Iterator[Edit]:
    """Yield the gradients of filters and matrices with their elements in another order."""
    for axis in range(G.ndim):
        flip = bind_arguments(lambda _, G, axis: np.flip(G, axis), axis)
        yield Edit("flipped", site, flip, cost=1.5, detail={"axes": (axis,)})
    if G.ndim == 2:
        yield from _edits_of_blocks(site, G)
        return
    for first in range(G.ndim - 1):
        pair = (first, first + 1)
        flip = bind_arguments(lambda _, G, pair: np.flip(G, pair), pair)
        yield Edit("flipped", site, flip, cost=1.4, detail={"axes": pair})
    for order in permutations(range(G.ndim)):
        if order != tuple(range(G.ndim)) and tuple(G.shape[k] for k in order) == G.shape:
            swap = bind_arguments(lambda _, G, order: G.transpose(order), order)
            yield Edit("axes_swapped", site, swap, cost=1.4, detail={"order": order})


def _edits_of_blocks(site: tuple[Any, ...], G: Array) -> Iterator[Edit]:
    """Yield the matrices whose rows or columns, such as those of flattened filters, are in another order."""
    reshaped = [
        ("reshaped", lambda _, G: G.reshape(G.shape[::-1]).T),
        ("transposed", lambda _, G: G.T.reshape(G.shape)),
    ]
    for order, reshape in reshaped:
        yield Edit("element_order", site, reshape, cost=1.6, detail={"order": order})
    for axis in (0, 1):
        n = G.shape[axis]
        for a in (k for k in _BLOCKS if n % k == 0 and k < n <= _MOST_ROWS):
            for b in (k for k in (1, *_BLOCKS) if (n // a) % k == 0):
                sizes = (a, b, n // a // b)
                for name, function in _BLOCK_ORDERS.items():
                    kind = "flipped" if "reverse" in name else "element_order"
                    how = _blocks(axis, sizes, function)
                    detail = {"axes": (axis,), "order": f"{name} along axis {axis} as {' x '.join(map(str, sizes))}"}
                    yield Edit(kind, site, how, cost=1.9 + 0.1 * (b != 1), detail=detail)


# What is done with the rows as an array of three axes, such as rows, columns and channels of a filter.
_BLOCK_ORDERS: dict[str, Callable[[Array], Array]] = {
    "rows and columns swapped": lambda x: x.swapaxes(0, 1),
    "channels first for last": lambda x: np.moveaxis(x, 2, 0),
    "channels last for first": lambda x: np.moveaxis(x, 0, 2),
    "last two swapped": lambda x: x.swapaxes(1, 2),
    "first and last swapped": lambda x: x.swapaxes(0, 2),
    "reversed in the first": lambda x: x[::-1],
    "reversed in the second": lambda x: x[:, ::-1],
    "reversed in the third": lambda x: x[:, :, ::-1],
    "reversed in the first two": lambda x: x[::-1, ::-1],
    "reversed in the last two": lambda x: x[:, ::-1, ::-1],
}


def _blocks(
    axis: int, sizes: tuple[int, ...], function: Callable[[Array], Array]
) -> Callable[[Walk, Array], Array | None]:
    def value(_: Walk, G: Array) -> Array | None:
        moved = np.moveaxis(G, axis, 0)
        if moved.shape[0] != np.prod(sizes):
            return None
        parts = function(moved.reshape(*sizes, moved.shape[1]))
        return np.moveaxis(parts.reshape(moved.shape), 0, axis)

    return value
