"""Mistakes in sums over broadcast axes, in the order of elements, and in the ties of a maximum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, cotangent_of, value_of
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_sum(i: int, site: tuple[Any, ...], whole: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the edits of a sum over broadcast axes, as in the gradient of a bias."""
    axes = [k for k in range(len(whole)) if k < len(whole) - len(shape) or shape[k - len(whole) + len(shape)] == 1]
    others = [k for k in range(len(whole)) if k not in axes]
    size = int(np.prod(shape))
    for k in others:
        if whole[k] != size or len(whole) == 2:
            yield Edit("wrong_axis", site, _summed(i, (k,)), cost=1.2, detail={"axis": k})
            yield Edit("wrong_axis", site, _summed(i, (k,), mean=True), cost=1.6, detail={"axis": k, "mean": True})
    yield Edit("summed_over_all", site, _summed(i, tuple(range(len(whole)))), cost=1.5)
    for row, cost in ((0, 1.5), (-1, 1.6)):
        yield Edit("one_example", site, _one_row(i, axes[0] if axes else 0, row), cost=cost, detail={"row": row})
    yield Edit("maximum_for_sum", site, _extreme(i, tuple(axes)), cost=1.9)


def _summed(i: int, axes: tuple[int, ...], *, mean: bool = False) -> Callable[[Walk, Array], Any]:
    def value(walk: Walk, right: Array) -> Array | None:
        g = cotangent_of(walk, i)
        total = g.mean(axes) if mean else g.sum(axes)
        if total.ndim == 0:
            return np.full(right.shape, total)
        return total.reshape(right.shape) if total.size == right.size else None

    return value


def _one_row(i: int, axis: int, row: int) -> Callable[[Walk, Array], Any]:
    def value(walk: Walk, right: Array) -> Array | None:
        part = np.take(cotangent_of(walk, i), row, axis)
        return part.reshape(right.shape) if part.size == right.size else None

    return value


def _extreme(i: int, axes: tuple[int, ...]) -> Callable[[Walk, Array], Any]:
    def value(walk: Walk, right: Array) -> Array | None:
        part = cotangent_of(walk, i).max(axes)
        return part.reshape(right.shape) if part.size == right.size else None

    return value


def edits_of_order(i: int, site: tuple[Any, ...], out: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the edits of a reshape or transposition: the elements in another order."""
    yield Edit(
        "element_order",
        site,
        lambda w, c: cotangent_of(w, i).reshape(c.shape, order="F"),
        cost=1.5,
        detail={"order": "column-major"},
    )
    yield Edit(
        "element_order", site, lambda w, c: cotangent_of(w, i).reshape(c.shape), cost=1.6, detail={"order": "row-major"}
    )
    if len(out) <= 4:
        for order in permutations(range(len(out))):
            if order != tuple(range(len(out))):
                yield Edit(
                    "element_order",
                    site,
                    bind_arguments(lambda w, c, order: cotangent_of(w, i).transpose(order).reshape(c.shape), order),
                    cost=1.8,
                    detail={"order": f"transposed {order}"},
                )
    if len(shape) in (3, 4):
        for order in permutations(range(len(shape))):
            if order != tuple(range(len(shape))):
                yield Edit(
                    "element_order",
                    site,
                    bind_arguments(
                        lambda _, c, order: (
                            c.reshape([c.shape[k] for k in order]).transpose(np.argsort(order)).reshape(c.shape)
                        ),
                        order,
                    ),
                    cost=1.8,
                    detail={"order": f"axes {order}"},
                )


def edits_of_ties(i: int, parent: int) -> Callable[[Walk, Array], Array | None]:
    """Return the gradient of a maximum in which each of several equal elements receives all of it."""

    def value(walk: Walk, _: Array) -> Array | None:
        x, out, g = value_of(walk, parent), value_of(walk, i), cotangent_of(walk, i)
        if x.ndim != out.ndim:
            axes = list(range(x.ndim))
            for axis in axes:
                if np.array_equal(x.max(axis), out) or np.array_equal(x.min(axis), out):
                    out, g = np.expand_dims(out, axis), np.expand_dims(g, axis)
                    break
        try:
            return np.asarray(g * (x == out)) if np.broadcast_shapes(g.shape, x.shape) == x.shape else None
        except ValueError:
            return None

    return value
