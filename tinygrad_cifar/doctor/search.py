"""The search for the mistakes: which changes of the backward walk reproduce the user's gradients.

One change is sought at a time: it must reproduce at least one wrong gradient and leave the right ones as they are. It
is then applied, and the next one is sought for the gradients that are still wrong. If no single change helps, pairs
whose effects add up are tried. A change is accepted only if it also reproduces the gradients of problems on which it
was not found, with a factor that is the same expression of the problem's own numbers
(:mod:`~tinygrad_cifar.doctor.factors`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, takewhile
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.factors import Factor, name_factor
from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.vocabulary import edits_at
from tinygrad_cifar.doctor.vocabulary.shapes import edits_of_shape
from tinygrad_cifar.doctor.walks import Applied, Edit, NotApplicableError, Walk
from tinygrad_cifar.engine.graph import Array

_MOST_MISTAKES = 12
_TRIED = 6  # candidates that are confirmed, at each step
_MANY = 4  # findings after which no better explanation is sought
_MOST_PAIRED = 700
_MOST_COMPLEX = 3  # factors of a pair: with two free factors, only simple ones are believed
_DEPENDENT = 1e-8
_FEWEST_CONFIRMED = 2  # elements that confirm a factor on the only problem


@dataclass
class Finding:
    """A confirmed change.

    Attributes
    ----------
    edit : Edit
        The change.
    factor : Factor or None
        For a change of size, the factor of the right quantity (``"scale"``) or of the added one; None otherwise.
    parameters : tuple of str
        The gradients that it reproduces.
    amounts : tuple of float
        The amount of the change on each problem.
    affected : tuple of str
        The gradients that it changes.
    """

    edit: Edit
    factor: Factor | None
    parameters: tuple[str, ...]
    amounts: tuple[float, ...]
    affected: tuple[str, ...] = ()


@dataclass
class _Candidate:
    edit: Edit
    amount: float
    fixed: tuple[str, ...]
    affected: tuple[str, ...]
    cost: float


@dataclass
class Search:
    """A search over the cases of a diagnosis.

    Parameters
    ----------
    cases : sequence of Case
        Problems; the first is the one on which changes are found.
    budget : Budget
        The processor time, at the end of which the search stops.
    """

    cases: Sequence[Case]
    budget: Budget
    findings: list[Finding] = field(default_factory=list)
    tried: int = 0
    _confirmed_first: list[Finding] = field(default_factory=list, init=False)
    _known_repeats: dict[tuple[int, ...], list[Finding]] = field(default_factory=dict, init=False)  # by ids of findings

    def find_single(self) -> list[Finding] | None:
        """Return a change that explains all gradients, alone or repeated in other layers; None if there is none.

        What it tries is not tried again by :meth:`run`.
        """
        recording = self.cases[0].recording
        if len(self._shaped(0)) < len(recording.parameters) or not self._residuals(0, []):
            return None
        complete: list[list[Finding]] = []
        for first in self._first_confirmed():
            findings = self._repeated([first])
            if not any(self._residuals(k, findings) for k in range(len(self.cases))):
                complete.append(findings)
                if not self._is_scattered(findings):
                    return min(complete, key=len)
        return None

    def run(self) -> tuple[list[Finding], dict[str, Array]]:
        """Return the confirmed changes, and what is left unexplained on one of the problems, by parameter."""
        findings = self._explain_shapes(self._extend([], 0))
        residuals: dict[str, Array] = {}
        for k in range(len(self.cases)):
            residuals = {**self._residuals(k, findings), **residuals}
        return findings, residuals

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _extend(self, findings: list[Finding], depth: int) -> list[Finding]:
        """Return the findings, extended until nothing is wrong or no further change is confirmed."""
        findings = self._repeated(findings)
        residuals = self._residuals(0, findings)
        if not residuals or depth >= _MOST_MISTAKES or self.budget.is_used_up:
            return findings
        walk = self._walk(0, findings)
        partial: list[tuple[int, int, int, list[Finding]]] = []
        for found in self._options(walk, residuals, findings):
            extended = self._extend([*findings, *found], depth + 1)
            left = len(self._residuals(0, extended))
            partial.append((left, _count_kinds(extended), len(extended), extended))
            is_short = left == 0 and _count_kinds(extended) == _count_kinds([*findings, *found])
            is_short &= not self._is_scattered(extended[len(findings) :])
            if is_short or depth or self.budget.is_used_up or len(extended) > _MANY:
                break
        return min(partial, key=lambda item: item[:3])[3] if partial else findings

    def _is_scattered(self, findings: Sequence[Finding]) -> bool:
        """Return whether several parameters have the same wrong factor, which may come from one place above them."""
        steps = self.cases[0].recording.steps
        edges = [f.edit.site for f in findings if f.edit.kind == "scale" and f.edit.site[0] == "edge"]
        at_leaves = sum(not steps[steps[i].edges[e][0]].op for _, i, e in edges)
        at_parameters = sum(f.edit.kind == "scale" and f.edit.site[0] == "parameter" for f in findings)
        return bool(at_leaves + at_parameters > 1)

    @cached_property
    def _first_singles(self) -> tuple[list[_Candidate], list[tuple[Edit, Any]]]:
        """The changes that reproduce a wrong gradient alone, and the effects of all changes."""
        return self._singles(self._walk(0, []), self._residuals(0, []))

    def _repeated(self, findings: list[Finding]) -> list[Finding]:
        """Return the findings, with the last one repeated in all layers in which it is confirmed."""
        key = tuple(map(id, findings))
        if key not in self._known_repeats:
            extended = findings
            while findings and len(extended) < _MOST_MISTAKES and not self.budget.is_used_up:
                residuals = self._residuals(0, extended)
                repeated = self._repeat(self._walk(0, extended), residuals, extended) if residuals else None
                if repeated is None:
                    break
                extended = [*extended, repeated]
            self._known_repeats[key] = extended
        return self._known_repeats[key]

    def _first_confirmed(self) -> Iterator[Finding]:
        """Yield the changes that are confirmed alone, best first."""
        yield from self._confirmed_first
        for finding in self._untried_first:
            self._confirmed_first.append(finding)
            yield finding

    @cached_property
    def _untried_first(self) -> Iterator[Finding]:
        return self._confirmed(self._first_singles[0], [])

    def _confirmed(self, candidates: Sequence[_Candidate], findings: Sequence[Finding]) -> Iterator[Finding]:
        """Yield the first candidates that are confirmed."""
        tried = takewhile(lambda _: not self.budget.is_used_up, candidates)
        return islice((found for c in tried if (found := self._confirm(c, findings)) is not None), _TRIED)

    def _repeat(self, walk: Walk, residuals: Mapping[str, Array], findings: Sequence[Finding]) -> Finding | None:
        """Return the last change in another layer, if it is confirmed there: often the same code serves all layers."""
        if findings[-1].edit.site[0] == "parameter" and findings[-1].edit.kind != "scale":
            return None
        for candidate in self._singles(walk, residuals, like=findings[-1].edit)[0][:2]:
            found = self._confirm(candidate, findings)
            if found is not None and _same_factor(found, findings[-1]):
                return found
        return None

    def _options(
        self, walk: Walk, residuals: Mapping[str, Array], findings: Sequence[Finding]
    ) -> Iterator[tuple[Finding, ...]]:
        """Yield confirmed changes, best first, and after them confirmed pairs of changes."""
        candidates, directions = self._singles(walk, residuals) if findings else self._first_singles
        for found in self._confirmed(candidates, findings) if findings else self._first_confirmed():
            yield (found,)
        for pair in self._pairs(walk, residuals, directions):
            if self.budget.is_used_up:
                return
            both = self._confirm_pair(pair, findings)
            if both is not None:
                yield both
                return
        yield from islice(self._nested(walk, residuals, findings), 1)

    def _walk(self, case: int, findings: Sequence[Finding]) -> Walk:
        applied = [Applied(f.edit, f.amounts[case]) for f in findings]
        return Walk(self.cases[case].recording, applied)

    def _shaped(self, case: int) -> list[str]:
        """Return the parameters whose gradient has the right shape."""
        recording, given = self.cases[case].recording, self.cases[case].given
        return [
            name for name, at in recording.parameters.items() if given[name].shape == recording.steps[at].value.shape
        ]

    def _residuals(self, case: int, findings: Sequence[Finding]) -> dict[str, Array]:
        """Return the difference between given and walked gradients, for each parameter for which it is not zero."""
        walk = self._walk(case, findings)
        given = self.cases[case].given
        explained = {f.edit.at for f in findings if f.edit.detail.get("shape")}
        return {
            name: given[name] - walk.gradients[name]
            for name in self._shaped(case)
            if name not in explained and not self.cases[case].agrees(name, walk.gradients)
        }

    def _singles(
        self, walk: Walk, residuals: Mapping[str, Array], like: Edit | None = None, below: int | None = None
    ) -> tuple[list[_Candidate], list[tuple[Edit, Any]]]:
        """Return the changes that reproduce a wrong gradient, best first, and the effects of all changes.

        Only changes of the kind of ``like``, at operations of the same kind, if it is given; and only those between a
        node ``below`` and a parameter.
        """
        candidates = []
        directions = []
        wanted = frozenset(residuals)
        shaped = set(self._shaped(0))
        allowed = {name: self.cases[0].allowed(name, walk.gradients) for name in walk.gradients}
        order = {name: k for k, name in enumerate(residuals)}
        last = _last_uses(walk.recording)
        top = max(residuals, key=last.__getitem__, default="")
        for edit in edits_at(walk, wanted):
            if self.budget.is_used_up:
                break
            if like is not None and not self._is_like(edit, like):
                continue
            if below is not None and (edit.site[0] == "parameter" or edit.at >= below or edit.kind not in _NESTED):
                continue
            self.tried += 1
            effect = walk.direction(edit)
            if effect is None:
                continue
            effect = {
                name: d for name, d in effect.items() if name in shaped and np.abs(d).max(initial=0) > allowed[name]
            }
            if not effect or not all(np.isfinite(d).all() for d in effect.values()):
                continue
            if all(name in residuals for name in effect):
                directions.append((edit, effect))
                candidate = self._fit(edit, effect, residuals, allowed, top)
                if candidate is not None:
                    candidates.append(candidate)
        # The gradients below a mistake are wrong, too, so that the one next to the cost comes first.
        candidates.sort(key=lambda c: (-len(c.fixed), top not in c.fixed, c.cost, len(c.affected), order[c.fixed[0]]))
        return _without_equal_scales(candidates), directions

    def _is_like(self, edit: Edit, other: Edit) -> bool:
        steps = self.cases[0].recording.steps
        if edit.site[0] == "parameter":
            return edit.kind == other.kind == "scale" and other.site[0] == "parameter"
        return (
            edit.kind == other.kind
            and edit.site[0] == other.site[0] != "parameter"
            and edit.site != other.site
            and steps[edit.site[1]].op == steps[other.site[1]].op
            and (edit.kind != "other_derivative" or edit.detail["factor"] == other.detail["factor"])
        ) or edit.kind == other.kind == "wrong_mask"

    def _fit(
        self,
        edit: Edit,
        effect: Mapping[str, Array],
        residuals: Mapping[str, Array],
        allowed: Mapping[str, float],
        top: str,
    ) -> _Candidate | None:
        """Return the change with the amount that reproduces the most gradients; None if it does not reproduce any.

        Of two amounts that reproduce as many, that for the parameter ``top`` is taken.
        """
        amounts: dict[str, float] = {}
        for name, d in effect.items():
            r = residuals[name]
            amount = 1.0
            if edit.mode == "add":
                amount = float(np.vdot(d, r) / np.vdot(d, d))
            if np.all(np.abs(r - amount * d) <= allowed[name]):
                amounts[name] = amount
        if not amounts:
            return None
        best: list[str] = []
        for amount in amounts.values():
            same = [
                name for name, other in amounts.items() if abs(other - amount) <= self._rounding() * max(1, abs(amount))
            ]
            best = max(best, same, key=lambda names: (len(names), top in names))
        amount = float(np.mean([amounts[name] for name in best]))
        if edit.mode == "add" and abs(amount) < self._rounding():
            return None
        return _Candidate(
            edit,
            amount,
            tuple(best),
            tuple(effect),
            edit.cost + self._preference(edit, amount) + self._roundness(edit, amount),
        )

    def _rounding(self) -> float:
        return max(1e-6, 10 * self.cases[0].relative)

    def _preference(self, edit: Edit, amount: float) -> float:
        """Return a correction of the cost of a change of size: the place that explains the factor is preferred."""
        if edit.kind != "scale":
            return 0.0
        if edit.site[0] == "parameter":
            return 0.0
        recording = self.cases[0].recording
        local = local_factor(recording, edit.site[1], edit.site[2])
        factor = 1 + amount
        if local is not None and abs(local * factor - 1) < self._rounding():
            return -0.5 if local != -1 else -0.6
        step = recording.steps[edit.site[1]]
        parent = step.edges[edit.site[2]][0]
        if [p for p, _ in step.edges].count(parent) > 1:
            return 0.5
        if local is not None and abs(local - factor) < self._rounding():
            return -0.3
        return -0.1 * bool(recording.steps[parent].name) - 0.05 * bool(recording.steps[edit.site[1]].name)

    def _roundness(self, edit: Edit, amount: float) -> float:
        """Return a penalty for a factor that is neither a plain number nor one of the problem's numbers."""
        if edit.mode != "add" or edit.kind == "slope":
            return 0.0
        factor = abs(1 + amount if edit.kind == "scale" else amount)
        numbers = [n for name, n in self.cases[0].recording.numbers.items() if not set(name) & set("(.")]
        plain = [0.0, 1.0, 2.0, 0.5, *numbers, *[1 / n for n in numbers if n], *[2 * n for n in numbers]]
        return 0.0 if any(abs(factor - x) <= self._rounding() * max(1, x) for x in plain) else 0.3

    # -- confirmation --------------------------------------------------------------------------------------------------

    def _confirm(self, candidate: _Candidate, findings: Sequence[Finding]) -> Finding | None:
        """Return the change as a finding if it reproduces the gradients of the problems on which it was not found."""
        edit, fixed = candidate.edit, candidate.fixed
        amounts = [candidate.amount]
        for k in range(1, len(self.cases)):
            amount = self._measure(k, edit, findings, fixed)
            if amount is None:
                return None
            amounts.append(amount)
        factor = None
        if edit.mode == "add":
            factor = self._name(edit, amounts)
            if factor is None:
                return None
            values = [factor.evaluate(case.recording.numbers) for case in self.cases]
            if self.cases[0].relative < 1e-6:  # noqa: PLR2004 (exact values, not rounded measurements)
                amounts = [v - 1 if edit.kind == "scale" else v for v in values]
        if len(self.cases) == 1 and sum(self.cases[0].given[p].size for p in fixed) < _FEWEST_CONFIRMED + (
            factor is not None
        ):
            return None
        finding = Finding(edit, factor, fixed, tuple(amounts), candidate.affected)
        for k in range(len(self.cases)):
            left = self._left(k, [*findings, finding])
            if left is None or any(name in left for name in fixed):
                return None
        return finding

    def _left(self, case: int, findings: Sequence[Finding]) -> dict[str, Array] | None:
        """Return the residuals of a case; None if a change does not apply to it."""
        try:
            return self._residuals(case, findings)
        except NotApplicableError:
            return None

    def _name(self, edit: Edit, amounts: Sequence[float]) -> Factor | None:
        """Name the factor of a change of size from all problems but the last, which must agree."""
        numbers = [case.recording.numbers for case in self.cases]
        values = [1 + a if edit.kind == "scale" else a for a in amounts]
        return name_factor(values, numbers, rtol=[max(1e-6, 10 * case.relative) for case in self.cases])

    def _measure(self, case: int, edit: Edit, findings: Sequence[Finding], fixed: Sequence[str]) -> float | None:
        """Return the amount of a change that reproduces these gradients on another problem; None if there is none."""
        walk = self._walk(case, findings)
        try:
            effect = walk.direction(edit)
        except (ValueError, IndexError, KeyError):
            return None
        given = self.cases[case].given
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

    # -- pairs ---------------------------------------------------------------------------------------------------------

    def _pairs(
        self, walk: Walk, residuals: Mapping[str, Array], directions: Sequence[tuple[Edit, Mapping[str, Array]]]
    ) -> Iterator[tuple[_Candidate, _Candidate]]:
        """Yield pairs of changes whose effects add up to a wrong gradient, the simplest first."""
        last = _last_uses(walk.recording)
        for target in sorted(residuals, key=lambda name: -last[name]):
            r = residuals[target].ravel()
            if r.size < _FEWEST_CONFIRMED or self.budget.is_used_up:
                continue
            rows = [(edit, effect) for edit, effect in directions if target in effect]
            rows.sort(key=lambda row: row[0].cost)
            rows = _distinct(rows, target)[:_MOST_PAIRED]
            if len(rows) < 2:  # noqa: PLR2004 (a pair)
                continue
            found = _solve_pairs(np.array([effect[target].ravel() for _, effect in rows]), r, self.cases[0].relative)
            pairs = []
            allowed = self.cases[0].allowed(target, walk.gradients)
            for i, j, a, b in takewhile(lambda _: not self.budget.is_used_up, found):
                (first, d), (second, e) = rows[i], rows[j]
                if any(x.mode == "replace" and abs(y - 1) > self._rounding() for x, y in ((first, a), (second, b))):
                    continue
                if any(x.mode == "add" and abs(y) < self._rounding() for x, y in ((first, a), (second, b))):
                    continue
                if first.site == second.site and first.mode == second.mode == "replace":
                    continue
                error = np.abs(r - a * d[target].ravel() - b * e[target].ravel()).max()
                if error > allowed:
                    continue
                cost = (
                    first.cost + second.cost + self._preference(first, a) + self._preference(second, b)
                    + self._roundness(first, a) + self._roundness(second, b)
                )  # fmt: skip
                pairs.append((cost, i, j, a, b))
            pairs.sort()
            for _, i, j, a, b in pairs[:40]:
                first, second = rows[i][0], rows[j][0]
                yield (
                    _Candidate(first, a, (target,), tuple(rows[i][1]), first.cost),
                    _Candidate(second, b, (target,), tuple(rows[j][1]), second.cost),
                )

    def _confirm_pair(
        self, pair: tuple[_Candidate, _Candidate], findings: Sequence[Finding]
    ) -> tuple[Finding, Finding] | None:
        """Return a pair of changes as findings if it reproduces the gradients of all problems."""
        (target,) = pair[0].fixed
        if len(self.cases) == 1 and self.cases[0].given[target].size < _FEWEST_CONFIRMED + 2:
            return None
        amounts = [(pair[0].amount, pair[1].amount)]
        for k in range(1, len(self.cases)):
            measured = self._measure_pair(k, pair, findings, target)
            if measured is None:
                return None
            amounts.append(measured)
        first, second = (self._as_finding(c, [a[side] for a in amounts]) for side, c in enumerate(pair))
        if first is None or second is None:
            return None
        for k in range(len(self.cases)):
            left = self._left(k, [*findings, first, second])
            if left is None or target in left or not set(left) <= set(self._residuals(k, findings)):
                return None
        left = self._residuals(0, [*findings, first, second])
        for finding in (first, second):
            finding.parameters = tuple(name for name in finding.affected if name not in left)
        return first, second

    def _measure_pair(
        self, case: int, pair: tuple[_Candidate, _Candidate], findings: Sequence[Finding], target: str
    ) -> tuple[float, float] | None:
        """Return the amounts of two changes that reproduce a gradient on another problem."""
        walk, given = self._walk(case, findings), self.cases[case].given[target]
        try:
            effects = [walk.direction(c.edit) or {} for c in pair]
        except (ValueError, IndexError, KeyError):
            return None
        if any(target not in effect for effect in effects) or given.shape != walk.gradients[target].shape:
            return None
        A = np.array([effect[target].ravel() for effect in effects]).T
        first, second = np.linalg.lstsq(A, (given - walk.gradients[target]).ravel(), rcond=None)[0]
        return float(first), float(second)

    def _as_finding(self, candidate: _Candidate, amounts: Sequence[float]) -> Finding | None:
        """Return one side of a pair as a finding; None if its factor has no simple name."""
        factor = None
        if candidate.edit.mode == "add":
            factor = self._name(candidate.edit, amounts)
            if (
                factor is None
                or factor.complexity > _MOST_COMPLEX
                or (factor.is_constant and factor.coefficient not in _PLAIN)
            ):
                return None
        return Finding(candidate.edit, factor, candidate.fixed, tuple(amounts), candidate.affected)

    def _nested(
        self, walk: Walk, residuals: Mapping[str, Array], findings: Sequence[Finding]
    ) -> Iterator[tuple[Finding, Finding]]:
        """Yield pairs of changes of which one is behind the other, so that their effects do not add up."""
        ends = self.budget.spent + _NESTED_SECONDS
        wanted = frozenset(residuals)
        outer = [edit for edit in edits_at(walk, wanted) if edit.mode == "replace" and edit.kind in _NESTED]
        for edit in sorted(outer, key=lambda edit: edit.cost):
            if self.budget.is_beyond(ends):
                return
            effect = {name: d for name, d in (walk.direction(edit) or {}).items() if d.any()}
            if not set(effect) & wanted or not all(np.isfinite(d).all() for d in effect.values()):
                continue
            first = Finding(edit, None, (), tuple(1.0 for _ in self.cases), tuple(effect))
            try:
                changed = self._walk(0, [*findings, first])
                left = self._residuals(0, [*findings, first])
            except (ValueError, IndexError, KeyError):
                continue
            if set(left) - wanted:
                continue
            for candidate in self._singles(changed, left, below=edit.at)[0][:2]:
                if self.budget.is_beyond(ends):
                    return
                try:
                    second = self._confirm(candidate, [*findings, first])
                except (ValueError, IndexError, KeyError):
                    continue
                if second is not None:
                    first.parameters = second.parameters
                    yield first, second

    # -- gradients of another shape ------------------------------------------------------------------------------------

    def _explain_shapes(self, findings: list[Finding]) -> list[Finding]:
        """Return the findings with one for each gradient of another shape that can be explained."""
        recording, given = self.cases[0].recording, self.cases[0].given
        shaped = self._shaped(0)
        for name in [name for name in recording.parameters if name not in shaped]:
            walk = self._walk(0, findings)
            candidates: list[tuple[float, int, Edit]] = []
            for edit in edits_of_shape(walk, name, given[name].shape):
                value = edit.value(walk, walk.gradients[name])
                if value is None or np.shape(value) != given[name].shape:
                    continue
                factor = _ratio(given[name], np.asarray(value), self.cases[0].allowed(name, walk.gradients))
                if factor and _is_near(factor * np.asarray(value), self.cases[0], name, walk):
                    candidates.append((edit.cost + (abs(factor - 1) > self._rounding()), len(candidates), edit))
            for _, _, edit in sorted(candidates)[:_TRIED]:
                found = self._confirm_shape(edit, name, findings)
                if found is not None:
                    findings = [*findings, found]
                    break
        return findings

    def _confirm_shape(self, edit: Edit, name: str, findings: Sequence[Finding]) -> Finding | None:
        factors = []
        for k, case in enumerate(self.cases):
            walk = self._walk(k, findings)
            same = [x for x in edits_of_shape(walk, name, case.given[name].shape) if _is_same(x, edit)]
            own = same[0] if same else None
            if own is None:
                return None
            value = np.asarray(own.value(walk, walk.gradients[name]))
            factor = _ratio(case.given[name], value, case.allowed(name, walk.gradients))
            if not factor or not _is_near(factor * value, case, name, walk):
                return None
            factors.append(factor)
        rtol = [max(1e-6, 10 * case.relative) for case in self.cases]
        named = name_factor(factors, [case.recording.numbers for case in self.cases], rtol)
        if named is None:
            return None
        shaped = Edit(edit.kind, edit.site, lambda _, G: G, "replace", edit.cost, {**edit.detail, "shape": True})
        return Finding(shaped, named, (name,), tuple(1.0 for _ in self.cases), (name,))


def _is_near(value: Array, case: Case, name: str, walk: Walk) -> bool:
    """Return whether a gradient of another shape than the parameter is the given one."""
    given = case.given[name]
    return value.shape == given.shape and bool(np.all(np.abs(value - given) <= case.allowed(name, walk.gradients)))


def _ratio(given: Array, value: Array, noise: float) -> float | None:
    """Return the factor between two gradients of the same shape; 1 if both are 0 but for rounding."""
    if given.shape != value.shape:
        return None
    if max(np.abs(given).max(initial=0), np.abs(value).max(initial=0)) <= noise:
        return 1.0
    bottom = float(np.vdot(value, value))
    return float(np.vdot(value, given)) / bottom if bottom else None


_NESTED_SECONDS = 0.8
_NESTED = frozenset(
    {
        *(
            "left_out",
            "composition_left_out",
            "composition_derivative",
            "other_derivative",
            "derivative_elsewhere",
            "transposed_factor",
            "transposed_product",
            "unscaled_mask",
            "wrong_mask",
        ),
        *("mask_left_out", "twice", "softmax_diagonal", "softmax_without_sum", "softmax_left_out"),
        *("label_not_subtracted", "constant_statistics", "wrong_factor", "updated_weights"),
    }
)
_IDENTITY = ("array", "axis", "mean", "node", "order", "other", "how")  # details that tell edits of a kind apart
_PLAIN = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


def _count_kinds(findings: Sequence[Finding]) -> int:
    """Return the number of different mistakes, counting one that is repeated in several layers once."""
    return len({(f.edit.kind, f.factor.text if f.factor else "") for f in findings})


def _is_same(a: Edit, b: Edit) -> bool:
    """Return whether two edits of two problems are the same change."""
    return a.kind == b.kind and all(a.detail.get(key) == b.detail.get(key) for key in _IDENTITY)


def _same_factor(a: Finding, b: Finding) -> bool:
    return (a.factor.text if a.factor else "") == (b.factor.text if b.factor else "")


def _last_uses(recording: Recording) -> dict[str, int]:
    """Return the last step at which each parameter is used, other than in an L2 term."""
    uses = {
        name: [i for i, _ in recording.consumers[at] if recording.steps[i].op not in ("square", "power")]
        for name, at in recording.parameters.items()
    }
    return {name: max(own, default=0) for name, own in uses.items()}


def _without_equal_scales(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return candidates with at most two changes of size that have the same effect, at different places of a chain."""
    counts: dict[Any, int] = {}
    kept = []
    for candidate in candidates:
        key = (candidate.fixed, candidate.affected, round(candidate.amount, 9))
        if candidate.edit.kind == "scale":
            counts[key] = counts.get(key, 0) + 1
        if counts.get(key, 0) <= 2 or candidate.edit.kind != "scale":  # noqa: PLR2004
            kept.append(candidate)
    return kept


def _distinct(rows: Sequence[tuple[Edit, Any]], target: str) -> list[tuple[Edit, Any]]:
    """Return the rows whose effects on a gradient differ, counting multiples of one effect once for changes of size."""
    seen: set[Any] = set()
    kept = []
    for edit, effect in rows:
        d = effect[target].ravel()
        k = int(np.abs(d).argmax())
        unit = d / d[k] if edit.mode == "add" else d / np.abs(d).max()
        key = (
            edit.mode,
            k,
            np.round(unit, 7).tobytes(),
            tuple(effect),
            0 if edit.mode == "add" else float(f"{d[k]:.6g}"),
        )
        if key not in seen:
            seen.add(key)
            kept.append((edit, effect))
    return kept


def _solve_pairs(D: Array, r: Array, rtol: float) -> list[tuple[int, int, float, float]]:
    """Return all pairs of rows of which a combination is ``r``, with the coefficients."""
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
    return result[:20000]


def local_factor(recording: Recording, i: int, e: int) -> float | None:
    """Return the constant by which an edge multiplies the cotangent; None if it is not a constant."""
    step = recording.steps[i]
    edge = step.edges[e][1]
    if step.op == "negative" or (step.op == "subtract" and edge.input == "y"):
        return -1.0
    if step.op == "square":
        return 2.0
    saved = edge.saved
    constant = saved.get("y" if edge.input == "x" else "x")
    if step.op in _WITH_CONSTANTS and constant is not None and np.size(constant) == 1:
        number = float(np.asarray(constant).item())
        if step.op == "divide":
            return 1 / number if edge.input == "x" and number else None
        return number if step.op == "multiply" or edge.input == "x" else None
    return None


_WITH_CONSTANTS = ("divide", "multiply", "power")
