"""Mistakes in sums over broadcast axes, in the order of elements, and in the ties of a maximum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, cotangent_of, unsummed, value_of
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_sum(
    i: int, parent: int, site: tuple[Any, ...], whole: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[Edit]:
    """Yield the edits of a sum over broadcast axes, as in the gradient of a bias."""
    axes = [k for k in range(len(whole)) if k < len(whole) - len(shape) or shape[k - len(whole) + len(shape)] == 1]
    others = [k for k in range(len(whole)) if k not in axes]
    size = int(np.prod(shape))
    for k in others:
        if whole[k] != size or len(whole) == 2:
            yield Edit("wrong_axis", site, _summed(i, parent, (k,)), cost=1.2, detail={"axis": k})
            yield Edit(
                "wrong_axis", site, _summed(i, parent, (k,), mean=True), cost=1.6, detail={"axis": k, "mean": True}
            )
    for several in (several for n in range(2, len(whole)) for several in combinations(range(len(whole)), n)):
        if list(several) != axes and np.prod(whole) == size * np.prod([whole[k] for k in several]):
            yield Edit("wrong_axis", site, _summed(i, parent, several), cost=1.3, detail={"axis": several})
    yield Edit("summed_over_all", site, _summed(i, parent, tuple(range(len(whole)))), cost=1.5)
    for row, cost in ((0, 1.5), (-1, 1.6)):
        yield Edit(
            "one_example", site, _one_row(i, parent, axes[0] if axes else 0, row), cost=cost, detail={"row": row}
        )
    yield Edit("maximum_for_sum", site, _extreme(i, parent, tuple(axes)), cost=1.9)


def _summed(i: int, parent: int, axes: tuple[int, ...], *, mean: bool = False) -> Callable[[Walk, Array], Any]:
    def value(walk: Walk, right: Array) -> Array | None:
        g = unsummed(walk, i, parent)
        total = g.mean(axes) if mean else g.sum(axes)
        if total.ndim == 0:
            return np.full(right.shape, total)
        return total.reshape(right.shape) if total.size == right.size else None

    return value


def _one_row(i: int, parent: int, axis: int, row: int) -> Callable[[Walk, Array], Any]:
    def value(walk: Walk, right: Array) -> Array | None:
        part = np.take(unsummed(walk, i, parent), row, axis)
        return part.reshape(right.shape) if part.size == right.size else None

    return value


def _extreme(i: int, parent: int, axes: tuple[int, ...]) -> Callable[[Walk, Array], Any]:
    def value(walk: Walk, right: Array) -> Array | None:
        part = unsummed(walk, i, parent).max(axes)
        return part.reshape(right.shape) if part.size == right.size else None

    return value


def edits_of_order(i: int, site: tuple[Any, ...], out: tuple[int, ...]) -> Iterator[Edit]:
    """Yield the edits of a reshape or transposition: the elements in another order."""
    for order, text in (("F", "column by column"), ("C", "row by row")):
        function = bind_arguments(lambda w, c, order: cotangent_of(w, i).reshape(c.shape, order=order), order)
        yield Edit("element_order", site, function, cost=1.5, detail={"order": f"flattened {text}"})
    for axes in _orders(len(out)):
        function = bind_arguments(lambda w, c, axes: cotangent_of(w, i).transpose(axes).reshape(c.shape), axes)
        yield Edit("element_order", site, function, cost=1.8, detail={"order": f"axes in the order {axes}"})


def edits_of_node_order(recording: Recording, i: int) -> Iterator[Edit]:
    """Yield the edits in which the cotangent of an array of several axes has been unflattened in another order."""
    step = recording.steps[i]
    if step.value.ndim not in (3, 4) or not step.op:
        return
    site = ("node", i)
    for axes in _orders(step.value.ndim):
        detail = {"order": f"axes in the order {axes}"}
        yield Edit("element_order", site, bind_arguments(_unflattened, axes), cost=1.7, detail=detail)
    for k in range(1, step.value.ndim):
        detail = {"order": "flattened column by column"}
        yield Edit("element_order", site, bind_arguments(_by_columns, k), cost=1.6, detail=detail)


def _orders(n: int) -> list[tuple[int, ...]]:
    return [axes for axes in permutations(range(n)) if axes != tuple(range(n))] if n <= len(_AXES) else []


_AXES = (0, 1, 2, 3)  # of arrays whose orders are all tried


def _unflattened(_: Walk, g: Array, axes: tuple[int, ...]) -> Array:
    result: Array = g.reshape([g.shape[k] for k in axes]).transpose(np.argsort(axes))
    return result


def _by_columns(_: Walk, g: Array, k: int) -> Array:
    """Return the array that is flattened row by row at axis ``k``, and unflattened column by column."""
    flat = g.reshape(int(np.prod(g.shape[:k])), -1)
    return flat.reshape(g.shape, order="F")


def edits_of_maximum(site: tuple[Any, ...], i: int, parent: int) -> Iterator[Edit]:
    """Yield the edits of a maximum along axes: ties that are counted several times, and all elements."""
    # Without ties, the first change has no effect; with them, it is likelier than a change of size.
    yield Edit("ties", site, _reaching(i, parent, ties=True), cost=0.8, detail={"parent": parent})
    yield Edit("maximum_left_out", site, _reaching(i, parent, ties=False), cost=1.2)


def _reaching(i: int, parent: int, *, ties: bool) -> Callable[[Walk, Array], Array | None]:
    """Return the gradient of a maximum that each of several equal elements, or each element, receives whole."""

    def value(walk: Walk, _: Array) -> Array | None:
        x, out, g = value_of(walk, parent), value_of(walk, i), cotangent_of(walk, i)
        if x.ndim != out.ndim:
            axis = walk.recording.steps[i].edges[0][1].saved.get("axis")
            axes = axis if isinstance(axis, tuple) else (axis,)
            if not all(isinstance(k, int) for k in axes):
                return None
            out, g = np.expand_dims(out, axes), np.expand_dims(g, axes)
        try:
            return np.asarray(g * (x == out) if ties else np.broadcast_to(g, x.shape))
        except ValueError:
            return None

    return value
