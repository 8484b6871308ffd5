"""The vocabulary of mistakes: the changes of the backward walk that the doctor tries.

Each module yields the edits of one kind: at an edge of the graph, at a node whose cotangent has a known form, or at the
gradient of a parameter as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_cifar.doctor.vocabulary.derivatives import (
    edits_of_composition,
    edits_of_derivative,
    edits_of_operand,
    edits_of_softmax,
    edits_of_square,
)
from tinygrad_cifar.doctor.vocabulary.direct import edits_of_direct_edge
from tinygrad_cifar.doctor.vocabulary.parameters import edits_of_parameter
from tinygrad_cifar.doctor.vocabulary.paths import edits_of_statistics, edits_of_uses
from tinygrad_cifar.doctor.vocabulary.products import edits_of_product
from tinygrad_cifar.doctor.vocabulary.scores import edits_of_scores
from tinygrad_cifar.doctor.vocabulary.sums import edits_of_maximum, edits_of_node_order, edits_of_order, edits_of_sum
from tinygrad_cifar.doctor.walks import Edit, Walk


def edits_at(walk: Walk, wanted: frozenset[str]) -> Iterator[Edit]:
    """Yield the edits at edges and nodes that lead to one of the wanted parameters, and at these parameters."""
    recording = walk.recording
    for i in range(len(recording.steps) - 1, -1, -1):
        if walk.cotangents[i] is None or not recording.leads_to[i] & wanted:
            continue
        yield from edits_of_scores(walk, i)
        yield from edits_of_statistics(recording, i)
        yield from edits_of_node_order(recording, i)
        yield from edits_of_uses(recording, i)
        yield from edits_of_composition(recording, i)
        yield from edits_of_square(recording, i)
        for e, (parent, _) in enumerate(recording.steps[i].edges):
            if recording.leads_to[parent] & wanted:
                yield from _at_edge(walk, i, e, parent)
    for name in filter(wanted.__contains__, recording.parameters):
        yield from edits_of_parameter(walk, name)


def _at_edge(walk: Walk, i: int, e: int, parent: int) -> Iterator[Edit]:
    recording = walk.recording
    step = recording.steps[i]
    site = ("edge", i, e)
    yield Edit("scale", site, lambda _, c: c, "add", 1.0)
    g = walk.cotangents[i]
    right = walk.contributions.get((i, e))
    if g is None or right is None:
        return
    if step.op in ("matmul", "einsum"):
        yield from edits_of_product(recording, i, e, parent)
    elif step.op == "softmax":
        yield from edits_of_softmax(i, site)
    elif g.shape == right.shape and right.ndim:
        yield from edits_of_derivative(recording, i, e, parent, g)
    if step.op == "multiply" and g.ndim:
        yield from edits_of_operand(recording, i, site, g.shape)
    if (right.ndim and right.ndim < g.ndim) or (step.broadcasts and right.shape != g.shape and right.ndim):
        yield from edits_of_sum(i, parent, site, g.shape, right.shape)
    if step.op in ("reshape", "transpose") and g.ndim > 1:
        yield from edits_of_order(i, site, g.shape)
    yield from edits_of_direct_edge(recording, i, e, right)
    if step.op in ("max", "min"):
        yield from edits_of_maximum(site, i, parent)
