"""Pairs of changes whose effects on a gradient add up to what is wrong in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.search.candidates import Candidate, Effects, last_uses
from tinygrad_cifar.doctor.search.confirmation import FEWEST_CONFIRMED, name_amounts
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.search.preference import place_correction, roundness_penalty
from tinygrad_cifar.doctor.search.residuals import amount_tolerance, residuals_if_applicable, residuals_of, walk_with
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array

_TWO = 2
_MOST_COMBINED = 700  # changes that are combined with each other
_MOST_SOLUTIONS = 20_000  # pairs with the right effect on a gradient, of which the simplest are kept
_MOST_YIELDED = 40  # pairs for each gradient
_MOST_COMPLEX = 3  # factors of a pair: with two free factors, only simple ones are believed
_PLAIN = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
_DEPENDENT = 1e-8

Pair = tuple[Candidate, Candidate]


def find_pairs(
    case: Case, walk: Walk, residuals: Mapping[str, Array], effects: Effects, budget: Budget
) -> Iterator[Pair]:
    """Yield pairs of changes whose effects add up to a wrong gradient, the simplest first."""
    last = last_uses(walk.recording)
    for target in sorted(residuals, key=lambda name: -last[name]):
        r = residuals[target].ravel()
        if r.size < FEWEST_CONFIRMED or budget.is_used_up:
            continue
        rows = [(edit, effect) for edit, effect in effects if target in effect]
        rows.sort(key=lambda row: row[0].cost)
        rows = _distinct(rows, target)[:_MOST_COMBINED]
        if len(rows) < _TWO:
            continue
        solutions = _solve(np.array([effect[target].ravel() for _, effect in rows]), r, case.relative)
        allowed = case.allowed(target, walk.gradients)
        pairs = []
        for i, j, a, b in takewhile(lambda _: not budget.is_used_up, solutions):
            (first, d), (second, e) = rows[i], rows[j]
            if not _may_be_together(case, first, a, second, b):
                continue
            if np.abs(r - a * d[target].ravel() - b * e[target].ravel()).max() <= allowed:
                pairs.append((_cost(case, first, a, second, b), i, j, a, b))
        pairs.sort()
        for _, i, j, a, b in pairs[:_MOST_YIELDED]:
            first, second = rows[i][0], rows[j][0]
            yield (
                Candidate(first, a, (target,), tuple(rows[i][1]), first.cost),
                Candidate(second, b, (target,), tuple(rows[j][1]), second.cost),
            )


def confirm_pair(cases: Sequence[Case], pair: Pair, findings: Sequence[Finding]) -> tuple[Finding, Finding] | None:
    """Return a pair of changes as findings if it reproduces the gradients of all problems."""
    (target,) = pair[0].fixed
    if len(cases) == 1 and cases[0].given[target].size < FEWEST_CONFIRMED + _TWO:
        return None
    amounts = [(pair[0].amount, pair[1].amount)]
    for k in range(1, len(cases)):
        measured = _measure_pair(cases, k, pair, findings, target)
        if measured is None:
            return None
        amounts.append(measured)
    first, second = (_as_finding(cases, c, [a[side] for a in amounts]) for side, c in enumerate(pair))
    if first is None or second is None:
        return None
    for k in range(len(cases)):
        left = residuals_if_applicable(cases, k, [*findings, first, second])
        if left is None or target in left or not set(left) <= set(residuals_of(cases, k, findings)):
            return None
    left = residuals_of(cases, 0, [*findings, first, second])
    for finding in (first, second):
        finding.parameters = tuple(name for name in finding.affected if name not in left)
    return first, second


def _may_be_together(case: Case, first: Edit, a: float, second: Edit, b: float) -> bool:
    """Return whether two changes with these amounts are an explanation."""
    tolerance, both = amount_tolerance(case), ((first, a), (second, b))
    if any(x.mode == "replace" and abs(y - 1) > tolerance for x, y in both):
        return False
    if any(x.mode == "add" and abs(y) < tolerance for x, y in both):
        return False
    return first.site != second.site or not _exclude_each_other(first, second)


def _exclude_each_other(first: Edit, second: Edit) -> bool:
    """Return whether two changes at the same place cannot both be true.

    Each change at an edge says what the whole contribution is: if it is 0, it is not that of other weights, either.
    Only to the gradient of a node or a parameter can something be added, such as an L2 term.
    """
    return first.site[0] == "edge" or first.mode == second.mode == "replace"


def _cost(case: Case, first: Edit, a: float, second: Edit, b: float) -> float:
    return (
        first.cost + second.cost + place_correction(case, first, a) + place_correction(case, second, b)
        + roundness_penalty(case, first, a) + roundness_penalty(case, second, b)
    )  # fmt: skip


def _measure_pair(
    cases: Sequence[Case], k: int, pair: Pair, findings: Sequence[Finding], target: str
) -> tuple[float, float] | None:
    """Return the amounts of two changes that reproduce a gradient of problem ``k``."""
    walk, given = walk_with(cases, k, findings), cases[k].given[target]
    try:
        effects = [walk.direction(c.edit) or {} for c in pair]
    except (ValueError, IndexError, KeyError):
        return None
    if any(target not in effect for effect in effects) or given.shape != walk.gradients[target].shape:
        return None
    A = np.array([effect[target].ravel() for effect in effects]).T
    first, second = np.linalg.lstsq(A, (given - walk.gradients[target]).ravel(), rcond=None)[0]
    return float(first), float(second)


def _as_finding(cases: Sequence[Case], candidate: Candidate, amounts: Sequence[float]) -> Finding | None:
    """Return one side of a pair as a finding; None if its factor has no simple name."""
    factor = None
    if candidate.edit.mode == "add":
        factor = name_amounts(cases, candidate.edit, amounts)
        if (
            factor is None
            or factor.complexity > _MOST_COMPLEX
            or (factor.is_constant and factor.coefficient not in _PLAIN)
        ):
            return None
    return Finding(candidate.edit, factor, candidate.fixed, tuple(amounts), candidate.affected)


def _distinct(rows: Effects, target: str) -> Effects:
    """Return the rows whose effects on a gradient differ, counting multiples of one effect once for changes of size."""
    seen: set[Any] = set()
    kept = []
    for edit, effect in rows:
        d = effect[target].ravel()
        k = int(np.abs(d).argmax())
        is_scaled = edit.mode == "add"
        unit = d / d[k] if is_scaled else d / np.abs(d).max()
        size = 0 if is_scaled else float(f"{d[k]:.6g}")
        key = (edit.mode, k, np.round(unit, 7).tobytes(), tuple(effect), size)
        if key not in seen:
            seen.add(key)
            kept.append((edit, effect))
    return kept


def _solve(D: Array, r: Array, rtol: float) -> list[tuple[int, int, float, float]]:
    """Return the pairs of rows of which a combination is ``r``, with the coefficients."""
    norms = np.linalg.norm(D, axis=1)
    U = D / norms[:, None]
    G = U @ U.T
    b = U @ r
    det = 1 - G**2
    np.fill_diagonal(det, 0)
    with np.errstate(all="ignore"):
        x = (b[:, None] - G * b[None, :]) / det
        y = (b[None, :] - G * b[:, None]) / det
        left = float(r @ r) - x * b[:, None] - y * b[None, :]
    size = float(r @ r)
    good = (det > _DEPENDENT) & (np.abs(left) <= max(1e-10, (30 * rtol) ** 2) * size)
    result = []
    for i, j in np.argwhere(np.triu(good, 1)):
        result.append((int(i), int(j), float(x[i, j] / norms[i]), float(y[i, j] / norms[j])))
    return result[:_MOST_SOLUTIONS]
