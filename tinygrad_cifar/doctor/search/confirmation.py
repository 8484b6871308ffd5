"""The confirmation of a change: it must reproduce the gradients of the problems on which it was not found.

A factor must be the same expression of each problem's own numbers (:mod:`~tinygrad_cifar.doctor.factors`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.factors import Factor, name_factor
from tinygrad_cifar.doctor.search.candidates import Candidate
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.search.residuals import amount_tolerance, residuals_if_applicable, walk_with
from tinygrad_cifar.doctor.walks import Edit

FEWEST_CONFIRMED = 2  # elements that confirm a factor on the only problem
_ROUNDED = 1e-6  # relative errors of gradients from here on are those of rounded values


def confirm(cases: Sequence[Case], candidate: Candidate, findings: Sequence[Finding]) -> Finding | None:
    """Return the change as a finding if it reproduces the gradients of the problems on which it was not found."""
    edit, fixed = candidate.edit, candidate.fixed
    amounts = [candidate.amount]
    for k in range(1, len(cases)):
        amount = _measure(cases, k, edit, findings, fixed)
        if amount is None:
            return None
        amounts.append(amount)
    factor = None
    if edit.mode == "add":
        factor = name_amounts(cases, edit, amounts)
        if factor is None:
            return None
        if cases[0].relative < _ROUNDED:
            values = [factor.evaluate(case.recording.numbers) for case in cases]
            amounts = [v - 1 if edit.kind == "scale" else v for v in values]
    if len(cases) == 1 and sum(cases[0].given[p].size for p in fixed) < FEWEST_CONFIRMED + (factor is not None):
        return None
    finding = Finding(edit, factor, fixed, tuple(amounts), candidate.affected)
    for k in range(len(cases)):
        left = residuals_if_applicable(cases, k, [*findings, finding])
        if left is None or any(name in left for name in fixed):
            return None
    return finding


def confirm_again(cases: Sequence[Case], findings: Sequence[Finding]) -> list[Finding] | None:
    """Return findings with the names of factors that hold on more cases; None if one is not confirmed by itself."""
    again: list[Finding] = []
    for old in findings:
        if old.edit.site[0] == "argument" or old.edit.detail.get("shape"):
            return None
        found = confirm(cases, Candidate(old.edit, old.amounts[0], old.parameters, old.affected, 0.0), again)
        if found is None:
            return None
        again.append(found)
    return again


def name_amounts(cases: Sequence[Case], edit: Edit, amounts: Sequence[float]) -> Factor | None:
    """Return a name of the factor of a change of size that fits all problems; None if there is none."""
    values = [1 + a if edit.kind == "scale" else a for a in amounts]
    return name_factor(values, [case.recording.numbers for case in cases], [amount_tolerance(case) for case in cases])


def _measure(
    cases: Sequence[Case], k: int, edit: Edit, findings: Sequence[Finding], fixed: Sequence[str]
) -> float | None:
    """Return the amount of a change that reproduces these gradients on problem ``k``; None if there is none."""
    walk, given = walk_with(cases, k, findings), cases[k].given
    try:
        effect = walk.direction(edit)
    except (ValueError, IndexError, KeyError):
        return None
    if effect is None:
        return None
    if edit.mode == "replace":
        return 1.0
    top = bottom = 0.0
    for name in fixed:
        d = effect.get(name)
        if d is None or given[name].shape != walk.gradients[name].shape:
            return None
        top += float(np.vdot(d, given[name] - walk.gradients[name]))
        bottom += float(np.vdot(d, d))
    return top / bottom if bottom else None
