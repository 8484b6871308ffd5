"""Single changes of the backward walk that reproduce a wrong gradient on the first problem, best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.search.preference import place_correction, roundness_penalty
from tinygrad_cifar.doctor.search.residuals import amount_tolerance, shaped_parameters
from tinygrad_cifar.doctor.vocabulary import edits_at
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array

_MOST_EQUAL_SCALES = 2  # changes of size at different places of a chain that have the same effect

Effects = list[tuple[Edit, dict[str, Array]]]  # changes, and how the gradients change with each


@dataclass
class Candidate:
    """A change that has not been confirmed.

    Attributes
    ----------
    edit : Edit
        The change.
    amount : float
        Its amount on the first problem.
    fixed : tuple of str
        The gradients that it reproduces there.
    affected : tuple of str
        The gradients that it changes.
    cost : float
        How far-fetched it is with this amount.
    """

    edit: Edit
    amount: float
    fixed: tuple[str, ...]
    affected: tuple[str, ...]
    cost: float


def find_candidates(
    case: Case,
    walk: Walk,
    residuals: Mapping[str, Array],
    budget: Budget,
    is_tried: Callable[[Edit], bool] = lambda _: True,
) -> tuple[list[Candidate], Effects]:
    """Return the changes that reproduce a wrong gradient, best first, and the effects of all changes.

    Parameters
    ----------
    case : Case
        The first problem.
    walk : Walk
        Its backward walk with the changes that have been confirmed.
    residuals : mapping of str to ndarray
        What they leave.
    budget : Budget
        The processor time.
    is_tried : callable
        Whether a change is tried. Default: all are.
    """
    candidates = []
    effects: Effects = []
    shaped = set(shaped_parameters(case))
    allowed = {name: case.allowed(name, walk.gradients) for name in walk.gradients}
    order = {name: k for k, name in enumerate(residuals)}
    last = last_uses(walk.recording)
    top = max(residuals, key=last.__getitem__, default="")
    for edit in edits_at(walk, frozenset(residuals)):
        if budget.is_used_up:
            break
        effect = walk.direction(edit) if is_tried(edit) else None
        if effect is None:
            continue
        effect = {name: d for name, d in effect.items() if name in shaped and np.abs(d).max(initial=0) > allowed[name]}
        if not effect or not all(np.isfinite(d).all() for d in effect.values()):
            continue
        if all(name in residuals for name in effect):
            effects.append((edit, effect))
            candidate = _fit(case, edit, effect, residuals, allowed, top)
            if candidate is not None:
                candidates.append(candidate)
    # The gradients below a mistake are wrong, too, so that the one next to the cost comes first.
    candidates.sort(key=lambda c: (-len(c.fixed), top not in c.fixed, c.cost, len(c.affected), order[c.fixed[0]]))
    return _without_equal_scales(candidates), effects


def is_like(recording: Recording, edit: Edit, other: Edit) -> bool:
    """Return whether an edit is of the kind of another one, at an operation of the same kind."""
    steps = recording.steps
    if edit.site[0] == "parameter":
        return edit.kind == other.kind == "scale" and other.site[0] == "parameter"
    return (
        edit.kind == other.kind
        and edit.site[0] == other.site[0] != "parameter"
        and edit.site != other.site
        and steps[edit.site[1]].op == steps[other.site[1]].op
        and (edit.kind != "other_derivative" or edit.detail["factor"] == other.detail["factor"])
    ) or edit.kind == other.kind == "wrong_mask"


def last_uses(recording: Recording) -> dict[str, int]:
    """Return the last step at which each parameter is used, other than in an L2 term."""
    uses = {
        name: [i for i, _ in recording.consumers[at] if recording.steps[i].op not in ("square", "power")]
        for name, at in recording.parameters.items()
    }
    return {name: max(own, default=0) for name, own in uses.items()}


def _fit(
    case: Case,
    edit: Edit,
    effect: Mapping[str, Array],
    residuals: Mapping[str, Array],
    allowed: Mapping[str, float],
    top: str,
) -> Candidate | None:
    """Return the change with the amount that reproduces the most gradients; None if it does not reproduce any.

    Of two amounts that reproduce as many, that for the parameter ``top`` is taken.
    """
    amounts: dict[str, float] = {}
    for name, d in effect.items():
        r = residuals[name]
        amount = float(np.vdot(d, r) / np.vdot(d, d)) if edit.mode == "add" else 1.0
        if np.all(np.abs(r - amount * d) <= allowed[name]):
            amounts[name] = amount
    if not amounts:
        return None
    tolerance = amount_tolerance(case)
    best: list[str] = []
    for amount in amounts.values():
        same = [name for name, other in amounts.items() if abs(other - amount) <= tolerance * max(1, abs(amount))]
        best = max(best, same, key=lambda names: (len(names), top in names))
    amount = float(np.mean([amounts[name] for name in best]))
    if edit.mode == "add" and abs(amount) < tolerance:
        return None
    cost = edit.cost + place_correction(case, edit, amount) + roundness_penalty(case, edit, amount)
    return Candidate(edit, amount, tuple(best), tuple(effect), cost)


def _without_equal_scales(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates with few changes of size that have the same effect, at different places of a chain."""
    counts: dict[Any, int] = {}
    kept = []
    for candidate in candidates:
        key = (candidate.fixed, candidate.affected, round(candidate.amount, 9))
        if candidate.edit.kind == "scale":
            counts[key] = counts.get(key, 0) + 1
        if counts.get(key, 0) <= _MOST_EQUAL_SCALES or candidate.edit.kind != "scale":
            kept.append(candidate)
    return kept
