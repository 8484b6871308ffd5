"""The search for the mistakes: which changes of the backward walk reproduce the user's gradients.

One change is sought at a time: it must reproduce at least one wrong gradient and leave the right ones as they are. It
is then applied, and the next one is sought for the gradients that are still wrong. If no single change helps, pairs are
tried. This module has the order of the search; the others, in reading order:

1. :mod:`~tinygrad_cifar.doctor.search.findings`: confirmed changes;
   :mod:`~tinygrad_cifar.doctor.search.residuals`: what they leave.
2. :mod:`~tinygrad_cifar.doctor.search.candidates`: single changes, with the amount and cost of each;
   :mod:`~tinygrad_cifar.doctor.search.preference`: which amounts are far-fetched.
3. :mod:`~tinygrad_cifar.doctor.search.confirmation`: the test on problems on which a change was not found.
4. :mod:`~tinygrad_cifar.doctor.search.pairs`: two changes whose effects add up;
   :mod:`~tinygrad_cifar.doctor.search.nested`: two changes of which one is behind the other.
5. :mod:`~tinygrad_cifar.doctor.search.other_shapes`: gradients that have another shape than the parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice, takewhile

from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.search.candidates import Candidate, Effects, find_candidates, is_like
from tinygrad_cifar.doctor.search.confirmation import confirm
from tinygrad_cifar.doctor.search.findings import Finding, count_kinds, have_same_factor
from tinygrad_cifar.doctor.search.nested import find_nested
from tinygrad_cifar.doctor.search.other_shapes import explain_shapes
from tinygrad_cifar.doctor.search.pairs import confirm_pair, find_pairs
from tinygrad_cifar.doctor.search.residuals import residuals_of, shaped_parameters, walk_with
from tinygrad_cifar.doctor.walks import Walk
from tinygrad_cifar.engine.graph import Array

_MOST_MISTAKES = 12
_MOST_TRIED = 6  # candidates that are confirmed, at each step
_MOST_REPEATED = 2  # candidates that are confirmed in another layer
_MANY = 4  # findings after which no better explanation is sought


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
    _confirmed_first: list[Finding] = field(default_factory=list, init=False)
    _known_repeats: dict[tuple[int, ...], list[Finding]] = field(default_factory=dict, init=False)  # by ids of findings

    def find_single(self) -> list[Finding] | None:
        """Return a change that explains all gradients, alone or repeated in other layers; None if there is none.

        What it tries is not tried again by :meth:`run`.
        """
        case = self.cases[0]
        if len(shaped_parameters(case)) < len(case.recording.parameters) or not residuals_of(self.cases, 0, []):
            return None
        complete: list[list[Finding]] = []
        for first in self._first_confirmed():
            findings = self._repeated([first])
            if not any(residuals_of(self.cases, k, findings) for k in range(len(self.cases))):
                complete.append(findings)
                if not self._is_scattered(findings):
                    return min(complete, key=len)
        return None

    def run(self) -> tuple[list[Finding], dict[str, Array]]:
        """Return the confirmed changes, and what is left unexplained on one of the problems, by parameter."""
        findings = explain_shapes(self.cases, self._extend([], 0))
        residuals: dict[str, Array] = {}
        for k in range(len(self.cases)):
            residuals = {**residuals_of(self.cases, k, findings), **residuals}
        return findings, residuals

    def _extend(self, findings: list[Finding], depth: int) -> list[Finding]:
        """Return the findings, extended until nothing is wrong or no further change is confirmed."""
        findings = self._repeated(findings)
        residuals = residuals_of(self.cases, 0, findings)
        if not residuals or depth >= _MOST_MISTAKES or self.budget.is_used_up:
            return findings
        outcomes: list[tuple[int, int, int, list[Finding]]] = []
        for found in self._options(residuals, findings):
            extended = self._extend([*findings, *found], depth + 1)
            left = len(residuals_of(self.cases, 0, extended))
            outcomes.append((left, count_kinds(extended), len(extended), extended))
            is_short = left == 0 and count_kinds(extended) == count_kinds([*findings, *found])
            is_short &= not self._is_scattered(extended[len(findings) :])
            if is_short or depth or self.budget.is_used_up or len(extended) > _MANY:
                break
        return min(outcomes, key=lambda item: item[:3])[3] if outcomes else findings

    def _is_scattered(self, findings: Sequence[Finding]) -> bool:
        """Return whether several parameters have the same wrong factor, which may come from one place above them."""
        steps = self.cases[0].recording.steps
        edges = [f.edit.site for f in findings if f.edit.kind == "scale" and f.edit.site[0] == "edge"]
        at_leaves = sum(not steps[steps[i].edges[e][0]].op for _, i, e in edges)
        at_parameters = sum(f.edit.kind == "scale" and f.edit.site[0] == "parameter" for f in findings)
        return bool(at_leaves + at_parameters > 1)

    def _options(self, residuals: Mapping[str, Array], findings: Sequence[Finding]) -> Iterator[tuple[Finding, ...]]:
        """Yield confirmed changes, best first, and after them confirmed pairs of changes."""
        case, walk = self.cases[0], self._walk(findings)
        candidates, effects = (
            find_candidates(case, walk, residuals, self.budget) if findings else self._first_candidates
        )
        for found in self._confirmed(candidates, findings) if findings else self._first_confirmed():
            yield (found,)
        for pair in find_pairs(case, walk, residuals, effects, self.budget):
            if self.budget.is_used_up:
                return
            both = confirm_pair(self.cases, pair, findings)
            if both is not None:
                yield both
                return
        yield from islice(find_nested(self.cases, walk, residuals, findings, self.budget), 1)

    def _walk(self, findings: Sequence[Finding]) -> Walk:
        return walk_with(self.cases, 0, findings)

    def _confirmed(self, candidates: Sequence[Candidate], findings: Sequence[Finding]) -> Iterator[Finding]:
        """Yield the first candidates that are confirmed."""
        tried = takewhile(lambda _: not self.budget.is_used_up, candidates)
        return islice((found for c in tried if (found := confirm(self.cases, c, findings)) is not None), _MOST_TRIED)

    # -- the first change, which both parts of the search begin with ---------------------------------------------------

    @cached_property
    def _first_candidates(self) -> tuple[list[Candidate], Effects]:
        return find_candidates(self.cases[0], self._walk([]), residuals_of(self.cases, 0, []), self.budget)

    def _first_confirmed(self) -> Iterator[Finding]:
        """Yield the changes that are confirmed alone, best first."""
        yield from self._confirmed_first
        for finding in self._untried_first:
            self._confirmed_first.append(finding)
            yield finding

    @cached_property
    def _untried_first(self) -> Iterator[Finding]:
        return self._confirmed(self._first_candidates[0], [])

    # -- the same change in other layers -------------------------------------------------------------------------------

    def _repeated(self, findings: list[Finding]) -> list[Finding]:
        """Return the findings, with the last one repeated in all layers in which it is confirmed."""
        key = tuple(map(id, findings))
        if key not in self._known_repeats:
            extended = findings
            while findings and len(extended) < _MOST_MISTAKES and not self.budget.is_used_up:
                residuals = residuals_of(self.cases, 0, extended)
                repeated = self._repeat(residuals, extended) if residuals else None
                if repeated is None:
                    break
                extended = [*extended, repeated]
            self._known_repeats[key] = extended
        return self._known_repeats[key]

    def _repeat(self, residuals: Mapping[str, Array], findings: Sequence[Finding]) -> Finding | None:
        """Return the last change in another layer, if it is confirmed there: often the same code serves all layers."""
        last = findings[-1]
        if last.edit.site[0] == "parameter" and last.edit.kind != "scale":
            return None
        case = self.cases[0]
        is_tried = partial(is_like, case.recording, other=last.edit)
        candidates, _ = find_candidates(case, self._walk(findings), residuals, self.budget, is_tried)
        for candidate in candidates[:_MOST_REPEATED]:
            found = confirm(self.cases, candidate, findings)
            if found is not None and have_same_factor(found, last):
                return found
        return None
