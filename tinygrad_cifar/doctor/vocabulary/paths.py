"""Paths that are missing: through the statistics of a batch, or through all uses of a value but one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, cotangent_of, descend, value_of
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_statistics(recording: Recording, i: int) -> Iterator[Edit]:
    """Yield the edits in which statistics of a value, such as its mean and its variance, are taken for constants."""
    step = recording.steps[i]
    end = _merge_point(recording, i) if len(recording.consumers[i]) > 1 and step.op and step.value.ndim > 1 else None
    if end is None:
        return
    # The variance may branch off the centred values, behind the point where the mean has come back.
    while len(recording.consumers[end]) > 1 and (further := _merge_point(recording, end)) is not None:
        end = further
    steps = recording.steps
    size = steps[i].value.size
    inside = [k for k in range(i + 1, end + 1) if i in recording.below[k]]
    # Edges at which a statistic, which has fewer elements, is combined with all elements again.
    entries = [
        (k, e)
        for k in inside
        for e, (parent, _) in enumerate(steps[k].edges)
        if steps[k].value.size >= size > steps[parent].value.size and parent in inside and steps[parent].value.ndim
    ]
    parents = list(dict.fromkeys(steps[k].edges[e][0] for k, e in entries))
    groups = [parents, *[[p] for p in parents]] if len(parents) > 1 else [parents]
    for group in groups:
        if group:
            cut = frozenset((k, e) for k, e in entries if steps[k].edges[e][0] in group)
            yield Edit(
                "constant_statistics",
                ("node", i),
                _avoiding(i, end, cut),
                cost=0.7 + 0.05 * (not step.name),
                detail={
                    "statistics": tuple(group),
                    "users": {p: steps[k].op for k, e in entries for p in [steps[k].edges[e][0]]},
                },
            )

    if parents and steps[end].value.shape == step.value.shape:
        value = bind_arguments(lambda w, _, end: cotangent_of(w, end), end)
        yield Edit("normalisation_left_out", ("node", i), value, cost=0.8, detail={"end": end})
    scales = [(k, e) for k, e in entries if steps[k].op != "subtract"]
    for p in parents:
        for power in (1, -1):
            for part, avoided in (
                ("whole", None),
                *((part, frozenset(scales)) for part in ("scale", "rest") if scales),
            ):
                detail = {"statistic": p, "power": power, "part": part}
                value = bind_arguments(_times_statistic, p, power, avoided and (i, end, avoided), part)
                yield Edit("times_statistic", ("node", i), value, cost=1.6 + 0.1 * (part != "whole"), detail=detail)
                if part != "whole":
                    value = bind_arguments(_times_statistic, p, 2 * power, avoided and (i, end, avoided), part)
                    detail = detail | {"power": 2 * power}
                    yield Edit("times_statistic", ("node", i), value, cost=1.8, detail=detail)


def _times_statistic(
    walk: Walk, g: Array, p: int, power: int, avoided: tuple[int, int, frozenset[tuple[int, int]]] | None, part: str
) -> Array | None:
    """Return a cotangent, or the part of it along some paths, or the rest, times a power of a statistic."""
    statistic = value_of(walk, p)
    try:
        fits = np.broadcast_shapes(g.shape, statistic.shape) == g.shape
    except ValueError:
        fits = False
    if not fits:
        return None
    rest = _avoiding(*avoided)(walk, g) if avoided is not None else g
    factor = statistic ** float(power)
    return rest + (g - rest) * factor if part == "scale" else rest * factor + (g - rest)


def edits_of_uses(recording: Recording, i: int) -> Iterator[Edit]:
    """Yield the edits in which the last, or first, of several equal uses of a value overwrites the others."""
    operations = [recording.steps[k].op for k, _ in recording.consumers[i]]
    op = max(operations, key=operations.count, default="")
    uses = [edge for edge in recording.consumers[i] if recording.steps[edge[0]].op == op]
    if len(uses) > 2:  # of two, an edge that is cut says more
        for which, cost in ((-1, 0.9), (0, 1.1)):
            detail = {"count": len(uses), "which": which}
            yield Edit("one_use", ("node", i), _of_one_use(tuple(uses), which), cost=cost, detail=detail)


def _of_one_use(uses: Sequence[tuple[int, int]], which: int) -> Callable[[Walk, Array], Array | None]:
    def value(walk: Walk, g: Array) -> Array | None:
        parts = [walk.contributions.get(edge) for edge in uses]
        kept = parts.pop(which)
        if kept is None or any(part is None for part in parts):
            return None
        without: Array = g - sum(np.asarray(part) for part in parts)
        return without

    return value


def _merge_point(recording: Recording, i: int) -> int | None:
    """Return the first node through which all paths from a node to the cost lead; None if that is the cost."""
    open_ = {k for k, _ in recording.consumers[i]}
    while len(open_) > 1:
        first = min(open_)
        open_.remove(first)
        above = {k for k, _ in recording.consumers[first]}
        if not above:
            return None
        open_ |= above
    (end,) = open_ or {len(recording.steps) - 1}
    return end if end < len(recording.steps) - 1 and recording.steps[end].value.ndim else None


def _avoiding(i: int, end: int, cut: frozenset[tuple[int, int]]) -> Callable[[Walk, Array], Array]:
    """Return the cotangent of a node along all paths that avoid some edges."""

    def value(walk: Walk, _: Array) -> Array:
        start = walk.cotangents[end]
        return descend(walk, i, {} if start is None else {end: start}, cut)

    return value
