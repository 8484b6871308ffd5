"""Confirmed changes in words: a sentence, the right formula, and the formula that the given gradients follow.

Each module describes the mistakes of one subject, as the modules of the vocabulary try them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.derivatives import Derivatives
from tinygrad_cifar.doctor.sentences.drafts import Draft, Mistake, finish, merge
from tinygrad_cifar.doctor.sentences.parameters import Parameters
from tinygrad_cifar.doctor.sentences.products import Products
from tinygrad_cifar.doctor.sentences.scores import Scores
from tinygrad_cifar.doctor.sentences.sizes import Sizes
from tinygrad_cifar.doctor.sentences.sums import Sums
from tinygrad_cifar.doctor.walks import Edit


class _Describer(Sizes, Derivatives, Products, Sums, Parameters, Scores):
    """Puts findings into words: each kind of change has a method of its name."""

    def draft(self, finding: Finding) -> Draft:
        """Return a finding in words."""
        maker = getattr(self, f"_{finding.edit.kind}", None)
        draft = maker(finding) if maker is not None else self._other(finding)
        step = self._step(finding)
        parameters = finding.affected if not draft.parameters else draft.parameters
        if finding.edit.detail.get("shape") and finding.factor is not None and finding.factor.text != "1":
            draft = replace(draft, hint=f"It is also {finding.factor.text} times this.", factor=finding.factor.text)
        return replace(draft, parameters=tuple(parameters), step=step)

    def _other(self, finding: Finding) -> Draft:
        formula = finding.edit.detail.get("formula", "")
        words = finding.edit.kind.replace("_", " ")
        site = finding.edit.site
        where = f" at {self.text(site[1])}" if site[0] != "parameter" else ""
        text = (
            f"{words[0].upper()}{words[1:]}{where}{': ' + formula if formula else ''}, in the "
            f"gradients of {{parameters}}."
        )
        return Draft(finding.edit.kind, text, (), "", formula)


def _common_factors(findings: Sequence[Finding]) -> frozenset[str]:
    """Return the factors that gradients of another shape have, and others, too: each is one mistake."""
    scaled = {f.factor.text for f in findings if f.edit.kind == "scale" and f.factor is not None}
    shaped = {f.factor.text for f in findings if f.edit.detail.get("shape") and f.factor is not None}
    return frozenset(scaled & shaped)


def _apart(findings: Sequence[Finding], common: frozenset[str]) -> list[Finding]:
    """Return findings of which those of a shape have no common factor, which is a finding of its own."""
    result = []
    for finding in findings:
        factor = finding.factor
        if finding.edit.detail.get("shape") and factor is not None and factor.text in common:
            scale = Edit("scale", ("parameter", finding.edit.at), lambda _, G: G, "add")
            result += [replace(finding, edit=scale), replace(finding, factor=None)]
        else:
            result.append(finding)
    return result


def describe_findings(
    findings: Sequence[Finding], cases: Sequence[Case], *, named: Sequence[str] = ()
) -> list[Mistake]:
    """Return the mistakes in words, equal ones in several layers merged, from the last layer back."""
    common = _common_factors(findings)
    shown = _Describer(cases, common)
    drafts = [shown.draft(finding) for finding in _apart(findings, common)]
    merged = merge(drafts)
    order = {name: k for k, name in enumerate(named)} if named else {}
    merged.sort(key=lambda d: min((order.get(p, 0) for p in d.parameters), default=0))
    return [finish(draft) for draft in merged]
