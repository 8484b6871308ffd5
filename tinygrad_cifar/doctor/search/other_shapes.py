"""The explanation of gradients that have another shape than the parameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.factors import name_factor
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.search.residuals import amount_tolerance, shaped_parameters, walk_with
from tinygrad_cifar.doctor.vocabulary.shapes import edits_of_shape
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array

_MOST_TRIED = 6  # candidates that are confirmed for each gradient
_IDENTITY = ("array", "axis", "mean", "node", "order", "other", "how")  # details that tell edits of a kind apart


def explain_shapes(cases: Sequence[Case], findings: list[Finding]) -> list[Finding]:
    """Return the findings with one for each gradient of another shape that can be explained."""
    case = cases[0]
    shaped = shaped_parameters(case)
    for name in [name for name in case.recording.parameters if name not in shaped]:
        if not any(case.given[name].any() for case in cases):
            # A sum that should be 0, such as that of P - Y over the classes, is 0 but for rounding only.
            zero = Edit("zero_of_shape", ("parameter", name), lambda _, G: G, detail={"shape": True})
            findings = [*findings, Finding(zero, None, (name,), tuple(1.0 for _ in cases), (name,))]
            continue
        walk = walk_with(cases, 0, findings)
        candidates: list[tuple[float, int, Edit]] = []
        for edit in edits_of_shape(walk, name, case.given[name].shape):
            factor = _fitting_factor(case, walk, name, edit)
            if factor:
                cost = edit.cost + (abs(factor - 1) > amount_tolerance(case))
                candidates.append((cost, len(candidates), edit))
        for _, _, edit in sorted(candidates)[:_MOST_TRIED]:
            found = _confirm(cases, edit, name, findings)
            if found is not None:
                findings = [*findings, found]
                break
    return findings


def _confirm(cases: Sequence[Case], edit: Edit, name: str, findings: Sequence[Finding]) -> Finding | None:
    """Return a gradient of another shape as a finding if all problems have it."""
    factors = []
    for k, case in enumerate(cases):
        walk = walk_with(cases, k, findings)
        same = [other for other in edits_of_shape(walk, name, case.given[name].shape) if _are_same(other, edit)]
        factor = _fitting_factor(case, walk, name, same[0]) if same else None
        if not factor:
            return None
        factors.append(factor)
    named = name_factor(factors, [case.recording.numbers for case in cases], [amount_tolerance(case) for case in cases])
    if named is None:
        return None
    shaped = Edit(edit.kind, edit.site, lambda _, G: G, "replace", edit.cost, {**edit.detail, "shape": True})
    return Finding(shaped, named, (name,), tuple(1.0 for _ in cases), (name,))


def _fitting_factor(case: Case, walk: Walk, name: str, edit: Edit) -> float | None:
    """Return the factor with which a gradient of another shape is the given one; None if there is none."""
    value, given = edit.value(walk, walk.gradients[name]), case.given[name]
    if value is None or np.shape(value) != given.shape:
        return None
    value, allowed = np.asarray(value), case.allowed(name, walk.gradients)
    factor = _ratio(given, value, allowed)
    is_near = factor is not None and bool(np.all(np.abs(factor * value - given) <= allowed))
    return factor if is_near else None


def _ratio(given: Array, value: Array, noise: float) -> float | None:
    """Return the factor between two gradients of the same shape; 1 if both are 0 but for rounding."""
    if max(np.abs(given).max(initial=0), np.abs(value).max(initial=0)) <= noise:
        return 1.0
    bottom = float(np.vdot(value, value))
    return float(np.vdot(value, given)) / bottom if bottom else None


def _are_same(a: Edit, b: Edit) -> bool:
    """Return whether two edits of two problems are the same change."""
    return a.kind == b.kind and all(a.detail.get(key) == b.detail.get(key) for key in _IDENTITY)
