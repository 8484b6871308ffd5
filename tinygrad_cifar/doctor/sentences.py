"""Confirmed changes in words: a sentence, the right formula, and the formula that the given gradients follow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.factors import Factor, name_factor
from tinygrad_cifar.doctor.recording import Ref, Step
from tinygrad_cifar.doctor.search import Finding
from tinygrad_cifar.doctor.vocabulary.sites import operand_index
from tinygrad_cifar.doctor.walks import Walk


@dataclass(frozen=True)
class Mistake:
    """A mistake, in words.

    Attributes
    ----------
    kind : str
        Identifier, such as ``"missing_1/N"`` or ``"derivative_left_out"``.
    sentence : str
        What is wrong, in one sentence.
    right : str
        The right formula; empty if it says no more than the sentence.
    yours : str
        The formula that the given gradients follow.
    parameters : tuple of str
        The parameters whose gradients it changes.
    factor : str
        The factor between the given and the right quantity; empty if it is not a matter of a factor.
    line : int
        Line of the cost function; 0 if it is not known.
    source : str
        The text of that line.
    hint : str
        A further sentence; empty if there is none.
    is_convention : bool
        Whether it is another convention and not a mistake.
    """

    kind: str
    sentence: str
    right: str = ""
    yours: str = ""
    parameters: tuple[str, ...] = ()
    factor: str = ""
    line: int = 0
    source: str = ""
    hint: str = ""
    is_convention: bool = False

    def __str__(self) -> str:
        parts = [self.sentence]
        if self.right:
            parts.append(f"Right: {self.right}; yours: {self.yours}.")
        if self.line:
            parts.append(
                f"See line {self.line} of the cost: `{self.source}`." if self.source else f"See line {self.line}."
            )
        if self.hint:
            parts.append(self.hint)
        return " ".join(parts)


@dataclass(frozen=True)
class _Draft:
    """A mistake before equal ones, in several layers, are merged: ``{at}`` stands for the list of places."""

    kind: str
    text: str
    places: tuple[str, ...] = ()
    right: str = ""
    yours: str = ""
    parameters: tuple[str, ...] = ()
    factor: str = ""
    step: Step | None = None
    hint: str = ""
    is_convention: bool = False
    key: tuple[Any, ...] = field(default=())


def describe_findings(
    findings: Sequence[Finding], cases: Sequence[Case], *, named: Sequence[str] = ()
) -> list[Mistake]:
    """Return the mistakes in words, equal ones in several layers merged, from the last layer back."""
    shown = _Describer(cases)
    drafts = [shown.draft(finding) for finding in findings]
    merged = _merge(drafts)
    order = {name: k for k, name in enumerate(named)} if named else {}
    merged.sort(key=lambda d: min((order.get(p, 0) for p in d.parameters), default=0))
    return [_finish(draft) for draft in merged]


def join(words: Sequence[str]) -> str:
    """Return a list in words: ``a``, ``a and b``, ``a, b and c``."""
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _finish(draft: _Draft) -> Mistake:
    step = draft.step
    return Mistake(
        draft.kind,
        _fill(draft),
        draft.right,
        draft.yours,
        draft.parameters,
        draft.factor,
        step.line if step is not None else 0,
        step.source if step is not None else "",
        draft.hint,
        draft.is_convention,
    )


def _fill(draft: _Draft) -> str:
    text = draft.text.replace("{at}", join(draft.places))
    if len(draft.parameters) == 1:
        text = text.replace("the gradients of {parameters} are", "the gradient of {parameters} is")
        text = text.replace("gradients of {parameters}", "gradient of {parameters}")
    return text.replace("{parameters}", join(draft.parameters))


def _merge(drafts: Sequence[_Draft]) -> list[_Draft]:
    merged: dict[Any, _Draft] = {}
    for draft in drafts:
        key = (draft.kind, draft.text, draft.factor, draft.key)
        if key in merged:
            first = merged[key]
            merged[key] = replace(
                first,
                places=tuple(dict.fromkeys([*first.places, *draft.places])),
                parameters=tuple(dict.fromkeys([*first.parameters, *draft.parameters])),
            )
        else:
            merged[key] = draft
    return list(merged.values())


class _Describer:
    """Puts findings into words, in the names of the user's cost function."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.recording = cases[0].recording
        self.walks = [Walk(case.recording) for case in cases]

    def draft(self, finding: Finding) -> _Draft:
        """Return a finding in words."""
        maker = getattr(self, f"_{finding.edit.kind}", None)
        draft = maker(finding) if maker is not None else self._other(finding)
        step = self._step(finding)
        parameters = finding.affected if not draft.parameters else draft.parameters
        if finding.edit.detail.get("shape") and finding.factor is not None and finding.factor.text != "1":
            draft = replace(draft, hint=f"It is also {finding.factor.text} times this.", factor=finding.factor.text)
        return replace(draft, parameters=tuple(parameters), step=step)

    # -- names ---------------------------------------------------------------------------------------------------------

    def _step(self, finding: Finding) -> Step | None:
        site = finding.edit.site
        if site[0] == "argument":
            return None
        if site[0] == "parameter":
            at = finding.edit.detail.get("node")
            if at is None:
                uses = self.recording.consumers[self.recording.parameters[site[1]]]
                at = min((i for i, _ in uses), default=None)
        else:
            at = site[1]
        return None if at is None else self.recording.steps[at]

    def text(self, at: int) -> str:
        """Return the name of a node."""
        return self.recording.text(at)

    def d(self, at: int) -> str:
        """Return the name of the cotangent of a node; of an unnamed term, that of the named sum, which is the same."""
        steps, uses = self.recording.steps, self.recording.consumers[at]
        if not steps[at].name and len(uses) == 1:
            (above, _), shape = uses[0], steps[at].value.shape
            if steps[above].op == "add" and steps[above].name and steps[above].value.shape == shape:
                return d_of(steps[above].name)
        return d_of(self.text(at))

    def source(self, source: Any) -> str:
        """Return the name of an array in a detail: a node, or an array of the problem."""
        if isinstance(source, Ref):
            return self.text(source.at)
        return source if isinstance(source, str) else self.recording.operand_text(source)

    def _edge(self, finding: Finding) -> tuple[int, int, int, Step]:
        _, i, e = finding.edit.site
        step = self.recording.steps[i]
        return i, e, step.edges[e][0], step

    def _formula(self, i: int, e: int) -> str:
        """Return the right contribution of an edge as a formula."""
        recording, step = self.recording, self.recording.steps[i]
        g = self.d(i)
        k = operand_index(step, e)
        other = recording.operand_text(step.operands[1 - k]) if len(step.operands) > 1 else ""
        own = recording.operand_text(step.operands[k]) if step.operands else ""
        if step.op == "matmul":
            return self._product(i, e, g, other)
        formulas = {
            "relu": f"{g} * ({own} > 0)",
            "maximum": f"{g} * ({own} > {other})",
            "tanh": f"{g} * (1 - {self.text(i)}**2)",
            "sigmoid": f"{g} * {self.text(i)} * (1 - {self.text(i)})",
            "exp": f"{g} * {self.text(i)}",
            "log": f"{g} / {own}",
            "sqrt": f"{g} / (2 * {self.text(i)})",
            "square": f"{g} * 2 * {own}",
            "multiply": f"{g} * {other}",
            "softmax": f"{self.text(i)} * ({g} - sum({g} * {self.text(i)}))",
            "divide": f"{g} / {other}" if k == 0 else f"-{g} * {self.text(i)} / {own}",
            "negative": f"-{g}",
        }
        return formulas.get(step.op, g)

    def _product(self, i: int, e: int, g: str, factor: str) -> str:
        """Return the VJP of a product as a formula."""
        is_left = operand_index(self.recording.steps[i], e) == 0
        return f"{g} @ {_grouped(factor)}.T" if is_left else f"{_grouped(factor)}.T @ {g}"

    # -- changes of size -----------------------------------------------------------------------------------------------

    def _scale(self, finding: Finding) -> _Draft:
        factor = finding.factor
        assert factor is not None
        if self._is_penalty(finding):
            return self._penalty(finding, factor)
        site = finding.edit.site
        names = tuple(finding.affected)
        if site[0] == "parameter":
            return self._scaled_parameter(finding, factor, names)
        i, e, parent, _ = self._edge(finding)
        is_all = self._is_only_path(finding)
        if self.recording.steps[parent].op == "" or (len(names) == 1 and factor.text != "0" and is_all):
            return self._scaled_parameter(finding, factor, names)
        if factor.text == "0":
            return self._cut(finding, i, parent)
        return self._scaled_flow(factor, names, i, e, parent, is_all=is_all, is_loss=is_all and self._is_whole(names))

    def _is_only_path(self, finding: Finding) -> bool:
        """Return whether gradients consist of what flows along an edge, besides a multiple of their parameter."""
        walk = self.walks[0]
        for name, effect in (walk.direction(finding.edit) or {}).items():
            value = self.recording.steps[self.recording.parameters[name]].value
            rest = walk.gradients[name] - effect
            size = float(np.vdot(value, value))
            penalty = value * (np.vdot(value, rest) / size if size else 0.0)
            if np.abs(rest - penalty).max(initial=0) > 1e-9 * np.abs(walk.gradients[name]).max(initial=0):
                return False
        return True

    def _is_whole(self, names: Sequence[str]) -> bool:
        """Return whether a change concerns all parameters that have a gradient without the L2 term."""
        return set(names) >= {n for n in self.recording.parameters if np.any(self.walks[0].gradients[n])} - self._dead()

    def _dead(self) -> set[str]:
        """Return the parameters whose gradient is 0 but for rounding, such as a bias before batch normalisation."""
        gradients = self.walks[0].gradients
        size = max(np.abs(g).max() for g in gradients.values())
        return {name for name, g in gradients.items() if np.abs(g).max() < 1e-10 * size}

    def _scaled_flow(
        self,
        factor: Factor,
        names: tuple[str, ...],
        i: int,
        e: int,
        parent: int,
        *,
        is_all: bool,
        is_loss: bool,
    ) -> _Draft:
        is_named = bool(self.recording.steps[i].name)
        where = f"that flows from {self.text(i)} to" if is_named or not is_all else "of"
        what = f"the gradient {where} {self.text(parent)}" if not is_loss else "the gradient of the loss"
        right = "" if is_loss else f"{self.d(parent)} = {self._formula(i, e)}"
        of = "the gradients of {parameters}" if is_all else "this part of the gradients of {parameters}"
        are = "are" if is_all else "is"
        it = "they" if is_all else "it"
        yours = f"{factor.text} times this"
        batch = [name for name, power in factor.powers if name == "N" and power == 1]
        sign = "-" if factor.text.startswith("-") else ""
        if batch and len(factor.powers) == 1 and abs(factor.coefficient) == 1:
            also = " and the sign is wrong" if sign else ""
            text = (
                f"The factor 1/N is missing{also} in {what}: {of} {are} {factor.text} times as large as {it} should be"
            )
            return _Draft("missing_1/N", text + self._number(factor) + ".", (), right, yours, names, factor.text)
        if factor.text in ("1/N", "-1/N"):
            text = f"The factor 1/N is taken twice in {what}: {of} {are} {factor.text} times what {it} should be"
            return _Draft("double_1/N", text + self._number(factor) + ".", (), right, yours, names, factor.text)
        if factor.text == "-1":
            text = f"The sign is wrong in {what}: {of} {are} -1 times what {it} should be."
            return _Draft("sign", text, (), right, f"-({self._formula(i, e)})", names, factor.text)
        step = self.recording.steps[i]
        if step.op == "divide" and not is_loss and factor.text == self._operand(step, e):
            text = (
                f"The factor 1/{factor.text} is left out in the backward pass at {self.text(i)} (it is not scaled): "
                f"the gradient is {factor.text} times what it should be, in {of}{self._number(factor)}."
            )
            return _Draft("not_scaled", text, (), right, f"{self.d(parent)} = {self.d(i)}", names, factor.text)
        text = f"{what[0].upper()}{what[1:]} is {factor.text} times what it should be, in {of}{self._number(factor)}."
        return _Draft("factor", text, (), right, yours, names, factor.text)

    def _number(self, factor: Factor) -> str:
        if not factor.powers:
            return ""
        numbers = self.cases[-1].recording.numbers
        parts = [f"{name} = {numbers[name]:g}" for name, _ in factor.powers if name[0] != "("]
        return f" ({', '.join(parts)})" if parts else ""

    def _scaled_parameter(self, finding: Finding, factor: Factor, names: tuple[str, ...]) -> _Draft:
        site = finding.edit.site
        at = self.recording.parameters[names[0]]
        uses = [i for i, _ in self.recording.consumers[at] if self.recording.steps[i].value.shape != ()]
        node = site[1] if site[0] == "edge" else (uses[-1] if uses else at)
        is_bias = self._is_bias(names[0])
        has_penalty = site[0] == "edge" and len(self.recording.consumers[at]) > 1
        what = f"the {'data term of the ' if has_penalty else ''}gradient of {{parameters}}"
        g = self.d(node)
        right = f"{d_of(names[0])} = sum({g})" if is_bias else self._product_formula(names[0])
        yours = f"{factor.text} times this" if right else ""
        if factor.text == "0":
            text = f"{what[0].upper()}{what[1:]} is 0: nothing flows to it."
            return _Draft("zero", text, (), right, "0", names, factor.text)
        if is_bias and (factor.text == "1/N" or self._is_mean(factor, names[0], node)):
            over = "the images" if factor.text == "1/N" else "all elements"
            text = (
                f"A mean over {over} stands where the sum belongs in {what}: it is {factor.text} times what it should"
            )
            mean = right.replace("sum(", "mean(")
            return _Draft("mean_for_sum", f"{text} be{self._number(factor)}.", (), right, mean, names, factor.text)
        if factor.text == "N":
            text = f"The factor 1/N is missing in {what}: it is N times as large as it should be{self._number(factor)}."
            return _Draft("missing_1/N", text, (), right, yours, names, "N")
        if factor.text == "1/N":
            text = f"The factor 1/N is taken twice in {what}: it is 1/N times what it should be{self._number(factor)}."
            return _Draft("double_1/N", text, (), right, yours, names, "1/N")
        if factor.text == "-1":
            text = f"The sign is wrong in {what}: it is -1 times what it should be."
            return _Draft("sign", text, (), right, yours, names, "-1")
        text = f"{what[0].upper()}{what[1:]} is {factor.text} times what it should be{self._number(factor)}."
        return _Draft("factor", text, (), right, yours, names, factor.text)

    def _is_mean(self, factor: Factor, name: str, node: int) -> bool:
        """Return whether a factor is 1 / (the number of elements of a node per element of a bias), on all problems."""
        recordings = [case.recording for case in self.cases]
        counts = [r.steps[node].value.size / r.steps[r.parameters[name]].value.size for r in recordings]
        return all(
            abs(factor.evaluate(recording.numbers) * count - 1) < 1e-9  # noqa: PLR2004 (rounding)
            for recording, count in zip(recordings, counts, strict=True)
        )

    def _product_formula(self, name: str) -> str:
        """Return the product that is the gradient of a matrix; empty if it has other uses that are not the L2 term."""
        uses = [(i, e) for i, e in self.recording.consumers[self.recording.parameters[name]]]
        products = [(i, e) for i, e in uses if self.recording.steps[i].op == "matmul"]
        return f"{d_of(name)} = {self._formula(*products[0])}" if len(products) == 1 else ""

    def _is_bias(self, name: str) -> bool:
        """Return whether a parameter is added to, or multiplied with, a larger array, so its gradient is a sum."""
        at = self.recording.parameters[name]
        shape = self.recording.steps[at].value.shape
        return any(
            self.recording.steps[i].op in ("add", "subtract") and self.recording.steps[i].value.shape != shape
            for i, _ in self.recording.consumers[at]
        )

    def _cut(self, finding: Finding, i: int, parent: int) -> _Draft:
        names = tuple(finding.affected)
        recording = self.recording
        several = len(recording.consumers[parent]) > 1
        through = self.text(i)
        if self._is_whole(names) and not several:
            text = "The gradient of the loss is missing in the gradients of {parameters}: only the L2 term is left."
            return _Draft("loss_missing", text, (), "", "", names, "0")
        if several:
            others = [self.text(k) for k, _ in recording.consumers[parent] if k != i]
            text = (
                "A gradient is overwritten or left out where it should be added: "
                f"{self.text(parent)} is used more than once, and "
                f"its gradient lacks the path through {through}, in the gradients of {{parameters}}."
            )
            right = f"{self.d(parent)} is the sum over its uses: {join([through, *others])}"
            return _Draft("not_added", text, (), right, f"without {through}", names, "0")
        text = (
            f"No gradient flows from {through} to {self.text(parent)}: the gradients of "
            f"{{parameters}} are detached from the "
            "loss, as if it were a constant."
        )
        return _Draft(
            "detached", text, (), f"{self.d(parent)} = {self._formula(*finding.edit.site[1:])}", "0", names, "0"
        )

    def _constant_statistics(self, finding: Finding) -> _Draft:
        at, detail = finding.edit.site[1], finding.edit.detail
        kinds = ["mean" if detail["users"][p] == "subtract" else "variance" for p in detail["statistics"]]
        which = [kind for kind in ("mean", "variance") if kind in kinds]
        names = join([self.text(p) for p in detail["statistics"]])
        text = (
            f"Batch normalisation: the {' and the '.join(which)} of {{at}} {'are' if len(which) > 1 else 'is'} "
            "taken for "
            f"{'constants' if len(which) > 1 else 'a constant'}, so the path{'s' * (len(which) > 1)} through "
            f"{'them' if len(which) > 1 else 'it'} {'are' if len(which) > 1 else 'is'} missing, "
            f"in the gradients of {{parameters}}."
        )
        right = f"{self.d(at)} includes the path{'s' * (len(which) > 1)} through {names}"
        return _Draft("constant_statistics", text, (self.text(at),), right, "without")

    # -- the L2 term ---------------------------------------------------------------------------------------------------

    def _is_penalty(self, finding: Finding) -> bool:
        """Return whether a change of size concerns the L2 term only: its effect is a multiple of the value."""
        effect = self.walks[0].direction(finding.edit)
        if not effect:
            return False
        for name in finding.affected:
            value = self.recording.steps[self.recording.parameters[name]].value
            d = effect.get(name)
            if d is None or value.size < 2:  # noqa: PLR2004
                return False
            ratio = float(np.vdot(value, d) / np.vdot(value, value))
            if not np.allclose(d, ratio * value, rtol=1e-6, atol=1e-9 * abs(ratio)):
                return False
        return True

    def _coefficients(self, finding: Finding) -> tuple[str, str]:
        """Return the right coefficient of the weights in the L2 term, and the user's, by name."""
        name = finding.affected[0]
        values = []
        for walk in self.walks:
            effect = walk.direction(finding.edit) or {}
            value = walk.recording.steps[walk.recording.parameters[name]].value
            values.append(float(np.vdot(value, effect[name]) / np.vdot(value, value)))
        numbers = [case.recording.numbers for case in self.cases]
        scalars = [
            {n: x for n, x in row.items() if n not in {"N", "K"} and n[0] != "(" and "." not in n} for row in numbers
        ]
        right = name_factor(values, scalars)
        if right is None or not right.powers:
            right = name_factor(values, numbers)
        if right is None or finding.factor is None:
            return "c", "c'"
        return right.text, (right * finding.factor).text if finding.factor.coefficient else "0"

    def _penalty(self, finding: Finding, factor: Factor) -> _Draft:
        names = tuple(finding.affected)
        right, yours = self._coefficients(finding)
        weight = "W" if len(names) > 1 else names[0]
        formulas = (f"{right} * {weight}", f"{yours} * {weight}")
        of = "in the gradients of {parameters}" if len(names) > 1 else "in the gradient of {parameters}"
        if factor.text == "0":
            text = f"The L2 term is missing {of}: the derivative of the penalty, {formulas[0]}, is not added."
            return _Draft("l2_missing", text, (), formulas[0], "0", names, "0")
        if factor.text in ("1/2", "2"):
            text = (
                f"The L2 term has the wrong factor {of}: it is {formulas[1]}, and the derivative "
                f"of the penalty is {formulas[0]}, "
                f"so it is {factor.text} times what it should be."
            )
            half = factor.text == "1/2"
            hint = (
                f"It would be right for a cost with {'half' if half else 'twice'} this penalty, which some courses use."
            )
            return _Draft("l2_factor", text, (), formulas[0], formulas[1], names, factor.text, hint=hint)
        if "N" in [name for name, _ in factor.powers]:
            power = dict(factor.powers)["N"]
            how = "is divided by N, too," if power < 0 else "is multiplied by N"
            text = (
                f"The L2 term {how} {of}: it is {formulas[1]}, and should be {formulas[0]}, that "
                f"is {factor.text} times what it "
                "should be."
            )
            return _Draft(
                "l2_over_n" if power < 0 else "l2_times_n", text, (), formulas[0], formulas[1], names, factor.text
            )
        if factor.text == "-1":
            text = f"The sign of the L2 term is wrong {of}: it is {formulas[1]}, and should be {formulas[0]}."
            return _Draft("l2_sign", text, (), formulas[0], formulas[1], names, "-1")
        text = (
            f"The L2 term is {factor.text} times what it should be {of}: it is {formulas[1]}, and "
            f"should be {formulas[0]}."
        )
        return _Draft("l2_factor", text, (), formulas[0], formulas[1], names, factor.text)

    # -- derivatives ---------------------------------------------------------------------------------------------------

    def _left_out(self, finding: Finding) -> _Draft:
        i, e, parent, step = self._edge(finding)
        right = f"{self.d(parent)} = {self._formula(i, e)}"
        yours = f"{self.d(parent)} = {self.d(i)}"
        names = tuple(finding.affected)
        if step.op in ("relu", "maximum", "where"):
            text = (
                "The derivative of the ReLU at {at} is left out (the mask is missing), so the "
                "gradient passes where the unit is "
                "off, in the gradients of {parameters}."
            )
            if step.op == "where":
                text = text.replace("the ReLU", "the ReLU or where")
            return _Draft("derivative_left_out", text, (self.text(i),), right, yours, names)
        other = self._other_operand(finding)
        if step.op in ("multiply", "divide"):
            constant = not isinstance(step.operands[1 - operand_index(step, e)], Ref)
            what = f"the factor {'1 / ' if step.op == 'divide' else ''}{other}"
            mask = constant and self._is_mask(step.operands[1 - operand_index(step, e)])
            if mask:
                text = "The dropout mask {at} is not applied in the backward pass, in the gradients of {parameters}."
                return _Draft("mask_not_applied", text, (other.partition(" / ")[0],), right, yours, names)
            text = "A factor is left out in the backward pass: {at}, in the gradients of {parameters}."
            return _Draft("factor_left_out", text, (what.removeprefix("the factor "),), right, yours, names)
        text = f"The derivative of {_function(step.op)} at {{at}} is left out, in the gradients of {{parameters}}."
        return _Draft("derivative_left_out", text, (self.text(i),), right, yours, names)

    def _is_mask(self, operand: Any) -> bool:
        return (
            isinstance(operand, np.ndarray)
            and operand.ndim > 0
            and len(np.unique(operand)) <= len((0, 1))
            and bool((operand == 0).any() or operand.dtype.kind == "b")
        )

    def _operand(self, step: Step, e: int) -> str:
        """Return the name of the operand of an operation that an edge does not lead to."""
        return self.recording.operand_text(step.operands[1 - operand_index(step, e)])

    def _other_operand(self, finding: Finding) -> str:
        _, e, _, step = self._edge(finding)
        k = operand_index(step, e)
        return self.recording.operand_text(step.operands[1 - k]) if len(step.operands) > 1 else ""

    def _twice(self, finding: Finding) -> _Draft:
        i, e, parent, step = self._edge(finding)
        what = "The dropout mask" if step.op == "multiply" else f"The derivative of {_function(step.op)}"
        text = f"{what} at {{at}} is applied twice, in the gradients of {{parameters}}."
        return _Draft("twice", text, (self.text(i),), f"{self.d(parent)} = {self._formula(i, e)}", "applied twice")

    def _other_derivative(self, finding: Finding) -> _Draft:
        i, e, parent, step = self._edge(finding)
        x, out = self.text(parent), self.text(i)
        factor = finding.edit.detail["factor"].replace("out", "@out@").replace("x", x).replace("@out@", out)
        derivative_of = _DERIVATIVES.get(finding.edit.detail["factor"], "")
        if step.op in ("relu", "maximum", "where"):
            lead = "The derivative of the ReLU at {at} is wrong (the mask is not that of the ReLU)"
        else:
            lead = f"The derivative of {_function(step.op)} at {{at}} is wrong"
        why = f": the factor {factor} stands in its place{derivative_of}"
        text = f"{lead}{why}, in the gradients of {{parameters}}."
        return _Draft(
            "other_derivative",
            text,
            (out,),
            f"{self.d(parent)} = {self._formula(i, e)}",
            f"{self.d(parent)} = {self.d(i)} * {factor}",
            key=(finding.edit.detail["factor"],),
        )

    def _wrong_mask(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        source = finding.edit.detail["array"]
        array = self.d(source.at) if finding.edit.detail.get("gradient") else self.source(source)
        text = "The mask of the ReLU is that of the wrong array: {at}, in the gradients of {parameters}."
        return _Draft(
            "wrong_mask",
            text,
            (f"{array} at {self.text(i)}",),
            f"{self.d(parent)} = {self._formula(i, e)}",
            f"{self.d(parent)} = {self.d(i)} * ({array} > 0)",
        )

    def _unscaled_mask(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        mask = self._other_operand(finding)
        name = mask.partition(" / ")[0]
        text = (
            "The dropout mask {at} is not scaled in the backward pass: 1 / (the probability to keep) "
            "is missing, in the gradients of {parameters}."
        )
        yours = f"{self.d(parent)} = {self.d(i)} * ({mask} != 0)"
        return _Draft("mask_not_scaled", text, (name,), f"{self.d(parent)} = {self._formula(i, e)}", yours)

    def _mask_left_out(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        mask = self._other_operand(finding)
        text = "The dropout mask {at} is not applied in the backward pass, in the gradients of {parameters}."
        yours = f"{self.d(parent)} = {self.d(i)} * max({mask})"
        return _Draft(
            "mask_not_applied", text, (mask.partition(" / ")[0],), f"{self.d(parent)} = {self._formula(i, e)}", yours
        )

    def _among(self, parent: int) -> str:
        """Return which gradients a wrong cotangent reaches; empty if it is that of a parameter."""
        return ", in the gradients of {parameters}" if self.recording.steps[parent].op else ""

    # -- products ------------------------------------------------------------------------------------------------------

    def _transposed_factor(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        factor = self.source(finding.edit.detail["factor"])
        right = self._formula(i, e)
        text = (
            f"{factor} is not transposed, or transposed once too often, in the gradient of "
            f"{self.text(parent)}{self._among(parent)}."
        )
        yours = right.replace(f"{factor}.T", factor)
        return _Draft(
            "transposed_factor", text, (), f"{self.d(parent)} = {right}", f"{self.d(parent)} = {yours}", key=(i, e)
        )

    def _transposed_product(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        right = self._formula(i, e)
        text = f"The product for the gradient of {self.text(parent)} is transposed, in the gradients of {{parameters}}."
        return _Draft("transposed", text, (), f"{self.d(parent)} = {right}", f"({right}).T", key=(i, e))

    def _wrong_factor(self, finding: Finding) -> _Draft:
        detail = finding.edit.detail
        array, factor = self.source(detail["array"]), self.source(detail["factor"])
        if finding.edit.site[0] == "parameter":
            name = finding.edit.at
            text = f"{array} stands where {factor} belongs in the gradient of {name}, so its shape is wrong."
            return _Draft("wrong_variable", text, key=(name,))
        i, e, parent, _ = self._edge(finding)
        right = self._formula(i, e)
        text = (
            f"The wrong variable: {array} stands where {factor} belongs in the gradient of "
            f"{self.text(parent)}{self._among(parent)}."
        )
        return _Draft(
            "wrong_variable",
            text,
            (),
            f"{self.d(parent)} = {right}",
            self._product(i, e, self.d(i), array),
            key=(i, e),
        )

    def _wrong_operand(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        array, factor = self.source(finding.edit.detail["array"]), self._other_operand(finding)
        text = "The wrong variable: {at}, in the gradients of {parameters}."
        own = finding.affected == (self.text(parent),)  # then the sentence ends with its name
        place = f"{array} stands where {factor} belongs" + ("" if own else f" in the gradient of {self.text(parent)}")
        right = f"{self.d(parent)} = {self._formula(i, e)}"
        return _Draft("wrong_variable", text, (place,), right, f"{self.d(i)} * {array}")

    def _wrong_cotangent(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        array, right = self.d(finding.edit.detail["array"].at), self._formula(i, e)
        text = (
            f"The wrong variable: {array} stands where {self.d(i)} belongs in the gradient of "
            f"{self.text(parent)}{self._among(parent)}."
        )
        return _Draft(
            "wrong_gradient", text, (), f"{self.d(parent)} = {right}", self._with_gradient(i, e, array), key=(i, e)
        )

    def _value_for_cotangent(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        array, right = self.source(finding.edit.detail["array"]), self._formula(i, e)
        text = (
            f"The wrong variable: the value {array} stands where the gradient {self.d(i)} belongs in "
            f"the gradient of {self.text(parent)}{self._among(parent)}."
        )
        return _Draft(
            "wrong_variable", text, (), f"{self.d(parent)} = {right}", self._with_gradient(i, e, array), key=(i, e)
        )

    def _with_gradient(self, i: int, e: int, array: str) -> str:
        """Return the right contribution of an edge with another array in place of the gradient."""
        step = self.recording.steps[i]
        if step.op != "matmul":
            return f"the sum of {array}" if step.op == "add" else f"with {array}"
        other = self.recording.operand_text(step.operands[1 - operand_index(step, e)])
        return self._product(i, e, _grouped(array), other)

    def _updated_weights(self, finding: Finding) -> _Draft:
        i, e, parent, _ = self._edge(finding)
        name = finding.edit.detail["parameter"]
        size = finding.factor.text.removeprefix("-") if finding.factor else "eta"
        text = (
            f"{name} is updated before the gradient of {self.text(parent)} is computed with it: "
            "the updated weights are used, in "
            "the gradients of {parameters}."
        )
        right, new = self._formula(i, e), f"({name} - {size} * {d_of(name)})"
        yours = f"{self.d(i)} @ {new}.T" if finding.edit.detail["is_left"] else f"{new}.T @ {self.d(i)}"
        return _Draft(
            "updated_too_early", text, (), f"{self.d(parent)} = {right}", f"{self.d(parent)} = {yours}", key=(i, e)
        )

    # -- sums ----------------------------------------------------------------------------------------------------------

    def _sum_right(self, finding: Finding) -> tuple[str, str]:
        site = finding.edit.site
        node = site[1] if site[0] == "edge" else finding.edit.detail.get("node")
        name = finding.edit.at if site[0] == "parameter" else self.text(self.recording.steps[site[1]].edges[site[2]][0])
        return d_of(name), self.d(node) if node is not None else "the gradient"

    def _not_summed(self, finding: Finding) -> _Draft:
        own, g = self._sum_right(finding)
        text = (
            f"The gradient of {finding.edit.at} is not summed over the images: it is {g}, with one "
            "value for each of them."
        )
        return _Draft("not_summed", text, (), f"{own} = sum({g}) over the images", f"{own} = {g}")

    def _wrong_axis(self, finding: Finding) -> _Draft:
        own, g = self._sum_right(finding)
        how = "mean" if finding.edit.detail.get("mean") else "sum"
        also = ", and a mean stands where a sum belongs" if how == "mean" else ""
        axis = finding.edit.detail["axis"]
        is_one = isinstance(axis, int)
        text = (
            f"{own} is summed along the wrong {'axis' if is_one else 'axes'}, {axis}{also}: the {how} of "
            f"{g} must be over the images, in the gradients of {{parameters}}."
        )
        right = f"sum({g}, axis={1 - axis})" if is_one and axis < 2 else f"sum({g}) over the images"  # noqa: PLR2004
        return _Draft("wrong_axis", text, (), f"{own} = {right}", f"{own} = {how}({g}, axis={axis})")

    def _summed_over_all(self, finding: Finding) -> _Draft:
        own, g = self._sum_right(finding)
        text = f"{own} is summed over all axes, not over the images only, in the gradients of {{parameters}}."
        return _Draft("wrong_axis", text, (), f"{own} = sum({g}) over the images", f"{own} = sum({g}) over everything")

    def _summed(self, finding: Finding) -> _Draft:
        text = f"The gradient of {finding.edit.at} is summed along axis {finding.edit.detail['axis']}, and must not be."
        return _Draft("wrong_axis", text)

    def _part_of_sum(self, finding: Finding) -> _Draft:
        detail = finding.edit.detail
        i, e, parent, _ = self._edge(finding)
        which = "first" if detail["row"] == 0 else "last"
        sizes = self.recording.steps[i].value.shape
        unit = (
            "image"
            if sizes[detail["axis"]] == self.recording.numbers.get("N")
            else f"index along axis {detail['axis']}"
        )
        how = f"is that of the {which} {unit} alone" if detail["only"] else f"lacks the {which} {unit} (off by one)"
        text = f"The gradient of {self.text(parent)} {how}: the sum must be over all of them."
        return _Draft("part_of_sum", text, (), f"{self.d(parent)} = {self._formula(i, e)}", f"{self.d(i)} in part")

    def _one_example(self, finding: Finding) -> _Draft:
        own, g = self._sum_right(finding)
        which = "first" if finding.edit.detail["row"] == 0 else "last"
        text = (
            f"{own} is that of the {which} image alone, not the sum over the images, in the gradients "
            f"of {{parameters}}."
        )
        return _Draft("not_summed", text, (), f"{own} = sum({g}) over the images", f"{own} = {g} of the {which} image")

    def _maximum_for_sum(self, finding: Finding) -> _Draft:
        own, g = self._sum_right(finding)
        text = f"{own} is a maximum over the images, not their sum, in the gradients of {{parameters}}."
        return _Draft("maximum_for_sum", text, (), f"{own} = sum({g})", f"{own} = max({g})")

    def _from_weights(self, finding: Finding) -> _Draft:
        name, detail = finding.edit.at, finding.edit.detail
        other = detail["other"]
        text = (
            f"The gradient of {name} is computed from that of {other}: it is the {detail['how']} "
            f"of {d_of(other)} along axis "
            f"{detail['axis']}, and must be the sum of the gradient of the layer's output over the images."
        )
        node = self.recording.consumers[self.recording.parameters[name]][0][0]
        return _Draft(
            "bias_from_weights",
            text,
            (),
            f"{d_of(name)} = sum({self.d(node)}) over the images",
            f"{d_of(name)} = {detail['how']}({d_of(other)}, axis={detail['axis']})",
        )

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _value_for_gradient(self, finding: Finding) -> _Draft:
        name = finding.edit.at
        text = f"The gradient of {name} is {name} itself: the variable {name} stands where {d_of(name)} belongs."
        return _Draft("value_for_gradient", text, (), f"the gradient of {name}", name)

    def _value_of_other(self, finding: Finding) -> _Draft:
        name, other = finding.edit.at, finding.edit.detail["other"]
        text = f"The gradient of {name} is {other} itself: the variable {other} stands where {d_of(name)} belongs."
        return _Draft("value_for_gradient", text, (), f"the gradient of {name}", other)

    def _penalised(self, finding: Finding) -> _Draft:
        name = finding.edit.at
        factor = finding.factor.text if finding.factor else ""
        if self._is_bias(name):
            text = (
                "The bias is penalised: an L2 term is added to the gradient of {parameters}, which "
                "the cost does not have."
            )
            kind = "bias_penalised"
        else:
            text = "An L2 term is added to the gradient of {parameters}, which the cost does not have."
            kind = "l2_added"
        return _Draft(kind, text, (), f"no term with {name}", f"{factor} * {name} is added", (name,), factor)

    def _transposed_gradient(self, finding: Finding) -> _Draft:
        text = "The gradient of {parameters} is transposed."
        name = finding.edit.at
        return _Draft("transposed", text, (), d_of(name), f"{d_of(name)}.T")

    def _other_gradient(self, finding: Finding) -> _Draft:
        name, other = finding.edit.at, finding.edit.detail["other"]
        text = f"The gradient of {name} is that of {other}: the wrong variable is returned."
        return _Draft("wrong_variable", text, (), d_of(name), d_of(other))

    def _array_added(self, finding: Finding) -> _Draft:
        name, array = finding.edit.at, finding.edit.detail["array"]
        factor = finding.factor.text if finding.factor else ""
        text = (
            f"{factor} * {array} is added to the gradient of {name} (a momentum term with the wrong "
            "sign or factor, or in the wrong place)."
        )
        return _Draft("array_added", text, (), d_of(name), f"{d_of(name)} + {factor} * {array}", factor=factor)

    def _flipped(self, finding: Finding) -> _Draft:
        axes = finding.edit.detail.get("order") or f"along axis {' and '.join(map(str, finding.edit.detail['axes']))}"
        text = (
            f"The gradient of {{parameters}} is reversed (flipped), {axes}: the filters are turned "
            "round where they should not be, or the reverse."
        )
        return _Draft("flipped", text, (), "", "", key=(axes,))

    def _axes_swapped(self, finding: Finding) -> _Draft:
        order = finding.edit.detail["order"]
        text = (
            f"The axes of the gradient of {{parameters}} are swapped: they are in the order {order} "
            "(channels or rows and columns swapped)."
        )
        return _Draft("axes_swapped", text, key=(order,))

    def _channels_swapped(self, finding: Finding) -> _Draft:
        text = "The gradient of {parameters} has its channels swapped (in reverse order)."
        return _Draft("axes_swapped", text, key=(finding.edit.detail["block"],))

    def _element_order(self, finding: Finding) -> _Draft:
        order = finding.edit.detail["order"]
        site = finding.edit.site
        at = self.recording.steps[site[1]].edges[site[2]][0] if site[0] == "edge" else site[1]
        where = f" of {d_of(site[1])}" if site[0] == "parameter" else f" of {self.d(at)}"
        text = (
            f"The elements{where} are in another order after a reshape or transposition ({order}; "
            "axes swapped or flattened row by row for column by column), in the gradients of "
            f"{{parameters}}."
        )
        return _Draft("element_order", text, key=(order,))

    def _ties(self, finding: Finding) -> _Draft:
        i, _, _, _ = self._edge(finding)
        text = (
            f"Ties of the maximum {self.text(i)} are counted twice: each of the equal elements "
            f"receives the whole gradient, in the gradients of {{parameters}}."
        )
        return _Draft("ties", text)

    def _maximum_left_out(self, finding: Finding) -> _Draft:
        i, _, parent, _ = self._edge(finding)
        text = (
            "The derivative of the maximum at {at} is left out: its gradient goes to all elements, not only to the "
            "largest, in the gradients of {parameters}."
        )
        right = f"{self.d(parent)} = {self.d(i)} where {self.text(parent)} is largest, and 0 elsewhere"
        return _Draft("derivative_left_out", text, (self.text(i),), right, f"{self.d(i)} everywhere")

    def _one_use(self, finding: Finding) -> _Draft:
        detail, value = finding.edit.detail, self.text(finding.edit.site[1])
        which = "last" if detail["which"] else "first"
        text = (
            f"The gradient is overwritten where it should be added: {value} is used {detail['count']} times, and only "
            f"the {which} use contributes to the gradients of {{parameters}}."
        )
        return _Draft("overwritten", text, (), "the sum over all uses, with +=", f"the {which} use alone")

    def _parameter_forgotten(self, finding: Finding) -> _Draft:
        name = finding.edit.at
        what = "The bias" if self._is_bias(name) else "The parameter"
        text = (
            f"{what} {name} is forgotten in the forward pass of the gradient function, in the "
            f"gradients of {{parameters}}."
        )
        return _Draft("forgotten_in_forward", text, (), "", f"the gradient for {name} = 0")

    def _array_forgotten(self, finding: Finding) -> _Draft:
        name = finding.edit.at
        text = (
            f"The factor {name} is forgotten in the gradient function, as if it were 1 (for a mask: "
            f"it is not applied), in the gradients of {{parameters}}."
        )
        return _Draft("forgotten_in_forward", text, (), "", f"the gradient for {name} = 1")

    # -- scores --------------------------------------------------------------------------------------------------------

    def _scores(self, finding: Finding, kind: str, text: str) -> _Draft:
        at = finding.edit.site[1]
        S, d = self.text(at), self.d(at)
        formula = finding.edit.detail.get("formula")
        if formula is None:
            i, e, parent, _ = self._edge(finding)
            S, right = self.text(parent), f"{self.d(parent)} = {self._formula(i, e)}"
            yours = {
                "softmax_left_out": f"{self.d(parent)} = {self.d(i)}",
                "softmax_diagonal": f"{self.d(parent)} = {self.d(i)} * {self.text(i)} * (1 - {self.text(i)})",
                "softmax_without_sum": f"{self.d(parent)} = {self.d(i)} * {self.text(i)}",
            }.get(kind, "another formula")
        else:
            right, yours = f"{d} is proportional to P - Y with P = softmax({S})", formula.replace("S", S)
        return _Draft(kind, text.replace("{S}", S) + ", in the gradients of {parameters}.", (), right, yours)

    def _softmax_diagonal(self, finding: Finding) -> _Draft:
        return self._scores(
            finding, "softmax_diagonal", (
                "Only the diagonal of the softmax's derivative is used at {S}: the terms between "
                "different classes are missing"
            )
        )  # fmt: skip

    def _softmax_without_sum(self, finding: Finding) -> _Draft:
        return self._scores(
            finding, "softmax_without_sum", (
                "The sum in the denominator of the softmax is forgotten in its derivative at {S} "
                "(taken for a constant)"
            )
        )  # fmt: skip

    def _softmax_sum_only(self, finding: Finding) -> _Draft:
        return self._scores(finding, "softmax_sum_only", "Only the denominator of the softmax at {S} is differentiated")

    def _softmax_left_out(self, finding: Finding) -> _Draft:
        return self._scores(finding, "softmax_left_out", "The derivative of the softmax at {S} is left out")

    def _softmax_unnormalised(self, finding: Finding) -> _Draft:
        return self._scores(
            finding,
            "softmax_unnormalised",
            "The softmax at {S} is not normalised: the sum in the denominator is forgotten",
        )

    def _softmax_wrong_axis(self, finding: Finding) -> _Draft:
        return self._scores(finding, "softmax_wrong_axis", "The softmax at {S} is normalised along the wrong axis")

    def _softmax_twice(self, finding: Finding) -> _Draft:
        return self._scores(finding, "softmax_twice", "The softmax is applied twice at {S}")

    def _label_not_subtracted(self, finding: Finding) -> _Draft:
        return self._scores(
            finding, "label_not_subtracted", (
                "The label is not subtracted in the derivative of the cross-entropy at {S}: it is P, "
                "not P - Y"
            )
        )  # fmt: skip

    def _sigmoid_loss(self, finding: Finding) -> _Draft:
        kind, formula = finding.edit.detail["kind"], finding.edit.detail["formula"]
        at = finding.edit.site[1]
        S = self.text(at)
        reason = {
            "label_not_subtracted": "the label is not subtracted",
            "probability_forgotten": "the probability is forgotten",
            "label_sign": "the sign of the label is wrong",
            "scores_for_probabilities": f"{S} stands where its sigmoid belongs",
            "decision_for_probability": "the predicted label stands where the probability belongs",
            "sigmoid_left_out": "the derivative of the sigmoid, and the term of the label 0, are left out",
        }[kind]
        text = f"The derivative of the cross-entropy at {S} is wrong: {reason}, in the gradients of {{parameters}}."
        right = f"{self.d(at)} is proportional to P - Y with P = sigmoid({S})"
        return _Draft(kind, text, (), right, formula.replace("S", S))

    def _label_added(self, finding: Finding) -> _Draft:
        return self._scores(
            finding, "label_sign", (
                "The sign of the label is wrong in the derivative of the cross-entropy at {S}: it is "
                "P + Y, not P - Y"
            )
        )  # fmt: skip

    def _extra_derivative(self, finding: Finding) -> _Draft:
        return self._scores(
            finding, "extra_derivative", (
                "The derivative of the softmax at {S} is applied once more, though P - Y contains it "
                "already"
            )
        )  # fmt: skip

    def _hinge(self, finding: Finding, kind: str, text: str) -> _Draft:
        at = finding.edit.site[1]
        right = "the element of the own class is -(the number of violated margins)"
        formula = finding.edit.detail["formula"]
        return _Draft(kind, f"{text} (scores {self.text(at)}), in the gradients of {{parameters}}.", (), right, formula)

    def _hinge_own_class_forgotten(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_own_class", (
                "The own class is forgotten in the derivative of the hinge loss: its count of "
                "violated margins is not subtracted"
            )
        )  # fmt: skip

    def _hinge_own_class_counted(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding,
            "hinge_own_class",
            "The own class is counted among the violated margins in the derivative of the hinge loss",
        )

    def _hinge_own_class_positive(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_own_class", (
                "The own class is treated like the others in the derivative of the hinge loss: it is "
                "counted as a violated margin, and its count is forgotten"
            )
        )  # fmt: skip

    def _hinge_own_class_not_counted(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_own_class", (
                "The own class is counted wrongly in the derivative of the hinge loss: 1 remains at "
                "its element"
            )
        )  # fmt: skip

    def _hinge_count_forgotten(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_count", (
                "The count of violated margins is forgotten at the own class in the derivative of "
                "the hinge loss: it is 1"
            )
        )  # fmt: skip

    def _hinge_only_own_class(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding,
            "hinge_others",
            "Only the own class receives a gradient from the hinge loss: the other classes are forgotten",
        )

    def _hinge_sign_of_own_class(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_own_class", "The sign of the own class is wrong in the derivative of the hinge loss"
        )

    def _hinge_own_class_constant(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding,
            "hinge_count",
            "The own class counts all other classes, violated or not, in the derivative of the hinge loss",
        )

    def _hinge_margin_forgotten(self, finding: Finding) -> _Draft:
        return self._hinge(finding, "hinge_margin", "The margin is forgotten in the derivative of the hinge loss")

    def _hinge_mask_forgotten(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding,
            "hinge_mask",
            "The derivative of the maximum is left out in the hinge loss: all classes count, violated or not",
        )

    def _hinge_values_for_indicator(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_values", "The margins stand where their indicator (1 or 0) belongs in the hinge loss"
        )

    def _hinge_largest_only(self, finding: Finding) -> _Draft:
        return self._hinge(
            finding, "hinge_largest", "Only the largest violated margin of each image counts in the hinge loss"
        )

    def _example_left_out(self, finding: Finding) -> _Draft:
        which = "first" if finding.edit.detail["row"] == 0 else "last"
        text = (
            f"The {which} image is left out (off by one in the loop over the images), in the "
            f"gradients of {{parameters}}."
        )
        return _Draft("off_by_one", text, (), "all images", f"all but the {which}")

    def _labels_of_other_images(self, finding: Finding) -> _Draft:
        text = (
            f"The labels are shifted by one image in the gradient of {self.text(finding.edit.at)}: each image has the "
            f"label of {finding.edit.detail['formula']}, in the gradients of {{parameters}}."
        )
        return _Draft("off_by_one", text, (), "P - Y", f"P - Y with the labels of {finding.edit.detail['formula']}")

    def _other(self, finding: Finding) -> _Draft:
        formula = finding.edit.detail.get("formula", "")
        words = finding.edit.kind.replace("_", " ")
        site = finding.edit.site
        where = f" at {self.text(site[1])}" if site[0] != "parameter" else ""
        text = (
            f"{words[0].upper()}{words[1:]}{where}{': ' + formula if formula else ''}, in the "
            f"gradients of {{parameters}}."
        )
        return _Draft(finding.edit.kind, text, (), "", formula)


_NAME = re.compile(r"[A-Za-z_][\w.]*(\[[^\]]*\])*( \(no\. \d+\))?")


def d_of(name: str) -> str:
    """Return the name of a gradient: ``dW`` for ``W``, and ``d(X @ W)`` for an expression."""
    return f"d{name}" if _NAME.fullmatch(name) else f"d({name})"


def _grouped(text: str) -> str:
    """Return an expression in parentheses, unless it is a name."""
    return text if text.replace("_", "").replace(".", "").isalnum() else f"({text})"


def _function(op: str) -> str:
    return {"relu": "the ReLU", "maximum": "the ReLU", "exp": "exp", "log": "the logarithm"}.get(op, op)


_DERIVATIVES = {
    "out * (1 - out)": " (the derivative of the sigmoid)",
    "x * (1 - x)": " (the derivative of the sigmoid, of the input)",
    "(1 - out**2)": " (the derivative of tanh)",
    "(1 - x**2)": " (the derivative of tanh, but of the input, not the output)",
    "sigmoid(x) * (1 - sigmoid(x))": " (the derivative of the sigmoid)",
    "(1 - tanh(x)**2)": " (the derivative of tanh)",
    "(1 - tanh(out)**2)": " (the derivative of tanh, of the output)",
    "sigmoid(out) * (1 - sigmoid(out))": " (the derivative of the sigmoid, of the output)",
    "out": " (the output itself)",
    "x": " (the input itself)",
    "(x < 0)": " (the mask is inverted)",
}
