"""What confirmed changes leave of the differences between the given gradients and those of the backward walk."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.walks import Applied, NotApplicableError, Walk
from tinygrad_cifar.engine.graph import Array

_LEAST_TOLERANCE = 1e-6


def walk_with(cases: Sequence[Case], k: int, findings: Sequence[Finding]) -> Walk:
    """Return the backward walk of problem ``k`` with confirmed changes."""
    return Walk(cases[k].recording, [Applied(finding.edit, finding.amounts[k]) for finding in findings])


def shaped_parameters(case: Case) -> list[str]:
    """Return the parameters whose gradient has the right shape."""
    has_shape = case.has_shapes()
    return [name for name in case.recording.parameters if has_shape[name]]


def residuals_of(cases: Sequence[Case], k: int, findings: Sequence[Finding]) -> dict[str, Array]:
    """Return the difference between given and walked gradients, for each parameter for which it is not zero."""
    case, walk = cases[k], walk_with(cases, k, findings)
    explained = {finding.edit.at for finding in findings if finding.edit.detail.get("shape")}
    return {
        name: case.given[name] - walk.gradients[name]
        for name in shaped_parameters(case)
        if name not in explained and not case.agrees(name, walk.gradients)
    }


def residuals_if_applicable(cases: Sequence[Case], k: int, findings: Sequence[Finding]) -> dict[str, Array] | None:
    """Return the residuals of problem ``k``; None if a change does not apply to it."""
    try:
        return residuals_of(cases, k, findings)
    except NotApplicableError:
        return None


def amount_tolerance(case: Case) -> float:
    """Return the relative difference up to which two amounts of a change are the same."""
    return max(_LEAST_TOLERANCE, 10 * case.relative)
