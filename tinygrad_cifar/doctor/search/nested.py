"""Pairs of changes of which one is behind the other, so that their effects do not add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.search.candidates import find_candidates
from tinygrad_cifar.doctor.search.confirmation import confirm
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.search.residuals import residuals_of, walk_with
from tinygrad_cifar.doctor.vocabulary import edits_at
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array

_SECONDS = 0.8  # of processor time
_MOST_INNER = 2  # candidates that are confirmed for each outer change
_KINDS = frozenset(
    {
        *("left_out", "composition_left_out", "composition_derivative", "other_derivative", "derivative_elsewhere"),
        *("transposed_factor", "transposed_product", "unscaled_mask", "wrong_mask", "mask_left_out", "twice"),
        *("softmax_diagonal", "softmax_without_sum", "softmax_left_out", "label_not_subtracted"),
        *("constant_statistics", "wrong_factor", "updated_weights", "gradient_for_factor"),
    }
)


def find_nested(
    cases: Sequence[Case], walk: Walk, residuals: Mapping[str, Array], findings: Sequence[Finding], budget: Budget
) -> Iterator[tuple[Finding, Finding]]:
    """Yield confirmed pairs of changes, of which the second is between the first and the parameters."""
    ends = budget.spent + _SECONDS
    wanted = frozenset(residuals)
    outer = [edit for edit in edits_at(walk, wanted) if edit.mode == "replace" and edit.kind in _KINDS]
    for edit in sorted(outer, key=lambda edit: edit.cost):
        if budget.is_beyond(ends):
            return
        effect = {name: d for name, d in (walk.direction(edit) or {}).items() if d.any()}
        if not set(effect) & wanted or not all(np.isfinite(d).all() for d in effect.values()):
            continue
        first = Finding(edit, None, (), tuple(1.0 for _ in cases), tuple(effect))
        try:
            changed = walk_with(cases, 0, [*findings, first])
            left = residuals_of(cases, 0, [*findings, first])
        except (ValueError, IndexError, KeyError):
            continue
        if set(left) - wanted:
            continue
        inner, _ = find_candidates(cases[0], changed, left, budget, partial(_is_below, edit.at))
        for candidate in inner[:_MOST_INNER]:
            if budget.is_beyond(ends):
                return
            try:
                second = confirm(cases, candidate, [*findings, first])
            except (ValueError, IndexError, KeyError):
                continue
            if second is not None:
                first.parameters = second.parameters
                yield first, second


def _is_below(node: int, edit: Edit) -> bool:
    """Return whether a change is between a node and a parameter."""
    return bool(edit.site[0] != "parameter" and edit.at < node and edit.kind in _KINDS)
