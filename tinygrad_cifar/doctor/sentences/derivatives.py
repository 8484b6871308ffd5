"""Derivatives of element-wise functions and masks that are left out, taken twice or replaced."""

from __future__ import annotations

import re

import numpy as np

from tinygrad_cifar.doctor.recording import NamedNumber, Ref
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft
from tinygrad_cifar.doctor.sentences.wording import Wording, function_name, grouped
from tinygrad_cifar.doctor.vocabulary.derivatives import OF_ACTIVATIONS, selects_by_mask
from tinygrad_cifar.doctor.vocabulary.sites import operand_index


class Derivatives(Wording):
    """Describes wrong derivatives and masks."""

    def _left_out(self, finding: Finding) -> Draft:
        i, e, parent, step = self._edge(finding)
        right = f"{self.d(parent)} = {self._formula(i, e)}"
        yours = f"{self.d(parent)} = {self.d(i)}"
        names = tuple(finding.affected)
        if step.op == "where" and selects_by_mask(self.recording, i):
            text = "The dropout mask {at} is not applied in the backward pass, in the gradients of {parameters}."
            return Draft("mask_not_applied", text, (self.recording.array_text(step.operands[0]),), right, yours, names)
        if step.op in ("relu", "maximum", "where"):
            function = "the ReLU or where" if step.op == "where" else "the ReLU"
            text = (
                f"The derivative of {function} at {{at}} is left out (the mask is missing, or is true everywhere), so "
                "the gradient passes where the unit is off, in the gradients of {parameters}."
            )
            H = self.text(i) if self.text(i).isidentifier() else "H"
            hint = f"A mask that is true everywhere is, for example, {H} >= 0 for an {H} after the ReLU."
            return Draft("derivative_left_out", text, (self.text(i),), right, yours, names, hint=hint)
        other = self._other_operand(finding)
        if step.op in ("multiply", "divide"):
            number = step.operands[1 - operand_index(step, e)]
            constant = not isinstance(number, Ref)
            what = f"the factor {'1 / ' if step.op == 'divide' else ''}{other}"
            mask = constant and self._is_mask(number)
            if mask:
                text = "The dropout mask {at} is not applied in the backward pass, in the gradients of {parameters}."
                return Draft("mask_not_applied", text, (other.partition(" / ")[0],), right, yours, names)
            noun = "the scale " if self._is_scale(number, step) else ""
            text = f"A factor is left out in the backward pass: {noun}{{at}}, in the gradients of {{parameters}}."
            place = what.removeprefix("the factor ")
            if isinstance(number, NamedNumber) and number.meaning:
                place += f" ({number.meaning})"
            return Draft("factor_left_out", text, (place,), right, yours, names)
        text = f"The derivative of {function_name(step.op)} at {{at}} is left out, in the gradients of {{parameters}}."
        return Draft("derivative_left_out", text, (self.text(i),), right, yours, names)

    def _twice(self, finding: Finding) -> Draft:
        i, e, parent, step = self._edge(finding)
        what = f"The derivative of {function_name(step.op)}"
        if step.op == "multiply":
            is_mask = self._is_mask(step.operands[1 - operand_index(step, e)])
            what = "The dropout mask" if is_mask else f"The factor {self._other_operand(finding)}"
        text = f"{what} at {{at}} is applied twice, in the gradients of {{parameters}}."
        return Draft("twice", text, (self.text(i),), f"{self.d(parent)} = {self._formula(i, e)}", "applied twice")

    def _other_derivative(self, finding: Finding) -> Draft:
        i, e, parent, step = self._edge(finding)
        factor = self._factor(finding.edit.detail["factor"], parent, i)
        name = "the ReLU" if step.op == "where" else function_name(step.op)
        text = (
            f"The derivative of {name} at {{at}} {_what(finding.edit.detail['factor'])}: the factor {factor} stands in "
            f"its place{_explained(finding.edit.detail['factor'])}, in the gradients of {{parameters}}."
        )
        return Draft(
            "other_derivative",
            text,
            (self.text(i),),
            f"{self.d(parent)} = {self._formula(i, e)}",
            f"{self.d(parent)} = {self.d(i)} * {factor}",
            key=(finding.edit.detail["factor"],),
        )

    def _upstream_forgotten(self, finding: Finding) -> Draft:
        i, e, parent, step = self._edge(finding)
        text = (
            f"The gradient from above is forgotten at {{at}}: only the derivative of {function_name(step.op)} is "
            "passed on, in the gradients of {parameters}."
        )
        yours = f"{self.d(parent)} = the derivative of {self.text(i)}"
        return Draft("upstream_forgotten", text, (self.text(i),), f"{self.d(parent)} = {self._formula(i, e)}", yours)

    def _factor(self, formula: str, x: int, out: int) -> str:
        """Return a formula of the input and output of a function in the names of both."""
        words = {"x": self.text(x), "out": self.text(out)}
        if formula not in words:
            words = {letter: grouped(text) for letter, text in words.items()}
        return re.sub(r"\b(x|out)\b", lambda match: words[match[0]], formula)

    def _slope(self, finding: Finding) -> Draft:
        at, end = self._input_and_output(finding)
        factor = finding.factor
        assert factor is not None
        amounts = np.array(finding.amounts)
        right = self._slope_of(at, end)
        is_number = np.ptp(amounts) < 1e-6 * abs(amounts[0])
        yours = f"{right + amounts[-1]:.6g}" if is_number else f"{right:g} + {factor.text}"
        name, other = ("leaky ReLU", "") if right else ("ReLU", " (that of a leaky ReLU)")
        text = (
            f"The derivative of the {name} at {{at}} is that of another function: the slope of negative inputs is "
            f"{yours}{other}, and must be {right:g}, in the gradients of {{parameters}}."
        )
        formula = f"{self.d(at)} = {self.d(end)} * (1 where {self.text(at)} > 0, or else {{}})"
        return Draft("other_derivative", text, (self.text(end),), formula.format(f"{right:g}"), formula.format(yours))

    def _slope_of(self, at: int, end: int) -> float:
        """Return the derivative of a function at negative inputs."""
        walk = self.walks[0]
        x, g, above = self.recording.steps[at].value, walk.cotangents[at], walk.cotangents[end]
        assert g is not None
        assert above is not None
        chosen = (x < 0) & (above != 0)
        return float(np.median(g[chosen] / above[chosen])) if chosen.any() else 0.0

    def _input_and_output(self, finding: Finding) -> tuple[int, int]:
        """Return the nodes of the input and output of an activation."""
        if finding.edit.site[0] == "node":
            return finding.edit.at, finding.edit.detail["end"]
        i, _, parent, _ = self._edge(finding)
        return parent, i

    def _mask_inverted(self, finding: Finding) -> Draft:
        if finding.edit.site[0] == "edge":
            i, e, parent, _ = self._edge(finding)
            mask = self._other_operand(finding)
            text = "The dropout mask {at} is inverted in the backward pass, in the gradients of {parameters}."
            right = f"{self.d(parent)} = {self._formula(i, e)}"
            return Draft("mask_inverted", text, (mask,), right, f"{self.d(parent)} = {self.d(i)} * ({mask} == 0)")
        at, end = self._input_and_output(finding)
        text = (
            "The mask of the activation {at} is inverted: the derivative of its negative inputs stands where that of "
            "the positive ones belongs, in the gradients of {parameters}."
        )
        return Draft("mask_inverted", text, (self.text(end),), *self._with_mask(at, end, f"{self.text(at)} < 0"))

    def _with_mask(self, at: int, end: int, condition: str) -> tuple[str, str]:
        """Return the right formula of a function of two pieces, and that with another condition."""
        formula = f"{self.d(at)} = {self.d(end)} * (the derivative of {self.text(end)} for "
        return f"{formula}{self.text(at)} > 0, or else <= 0)", f"{formula}{condition}, or else not)"

    def _term_of_argument(self, finding: Finding) -> Draft:
        detail, site = finding.edit.detail, finding.edit.site
        i = detail["of"]
        parent = site[1] if site[0] == "node" else self.recording.steps[i].edges[site[2]][0]
        term, argument = self.source(detail["term"]), self.text(parent)
        text = (
            f"{term} is {detail['what']} in the derivative of {self.text(i)}, which is computed from "
            f"{self.recording.expression(parent)}, in the gradients of {{parameters}}."
        )
        right = f"{self.d(parent)} = {self.d(i)} * (the derivative of {self.text(i)} at {argument})"
        return Draft("term_of_argument", text, (), right, f"with {term} {detail['what']}", key=(detail["what"],))

    def _derivative_elsewhere(self, finding: Finding) -> Draft:
        at, end = self._input_and_output(finding)
        array, out = self.source(finding.edit.detail["array"]), self.text(end)
        factor = finding.edit.detail["formula"].format(grouped(array))
        is_one = finding.edit.site[0] == "edge"
        name = function_name(self.recording.steps[end].op) if is_one else "the activation"
        text = (
            f"The derivative of {name} at {{at}} is computed from the wrong array: {array} stands where {out} belongs "
            f"in the factor {factor}, in the gradients of {{parameters}}."
        )
        right = self._formula(*finding.edit.site[1:]) if is_one else f"{self.d(end)} * (its derivative)"
        return Draft(
            "other_derivative", text, (out,), f"{self.d(at)} = {right}", f"{self.d(at)} = {self.d(end)} * {factor}"
        )

    def _composition_left_out(self, finding: Finding) -> Draft:
        return self._composition(finding, "derivative_left_out", "is left out", "")

    def _composition_derivative(self, finding: Finding) -> Draft:
        formula = finding.edit.detail["factor"]
        factor = self._factor(formula, finding.edit.at, finding.edit.detail["end"])
        what = f"{_what(formula)}: the factor {factor} stands in its place{_explained(formula)}"
        return self._composition(finding, "other_derivative", what, factor)

    def _composition(self, finding: Finding, kind: str, what: str, factor: str) -> Draft:
        at, end = finding.edit.at, finding.edit.detail["end"]
        step = self.recording.steps[end]
        is_square = step.op in ("multiply", "square", "power") and not step.name
        name = "{at}" if is_square else "the activation {at}"
        text = f"The derivative of {name} {what}, in the gradients of {{parameters}}."
        function = f"the derivative of {self.recording.expression(end)} with respect to {self.text(at)}"
        right = f"{self.d(at)} = {self.d(end)} * ({function})"
        yours = f"{self.d(at)} = {self.d(end)}" + (f" * {factor}" if factor else "")
        return Draft(kind, text, (self.text(end),), right, yours)

    def _wrong_mask(self, finding: Finding) -> Draft:
        source = finding.edit.detail["array"]
        array = self.d(source.at) if finding.edit.detail.get("gradient") else self.source(source)
        if finding.edit.site[0] == "node":
            at, end = self._input_and_output(finding)
            text = "The mask of the activation is that of the wrong array: {at}, in the gradients of {parameters}."
            place = f"{array} stands where {self.text(at)} belongs in the derivative of {self.text(end)}"
            return Draft("wrong_mask", text, (place,), *self._with_mask(at, end, f"{array} > 0"))
        i, e, parent, _ = self._edge(finding)
        text = "The mask of the ReLU is that of the wrong array: {at}, in the gradients of {parameters}."
        return Draft(
            "wrong_mask",
            text,
            (f"{array} at {self.text(i)}",),
            f"{self.d(parent)} = {self._formula(i, e)}",
            f"{self.d(parent)} = {self.d(i)} * ({array} > 0)",
        )

    def _unscaled_mask(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        mask = self._other_operand(finding)
        name = mask.partition(" / ")[0]
        text = (
            "The dropout mask {at} is not scaled in the backward pass: 1 / (the probability to keep) "
            "is missing, in the gradients of {parameters}."
        )
        yours = f"{self.d(parent)} = {self.d(i)} * ({mask} != 0)"
        step = self.recording.steps[i]
        if not self._is_mask(step.operands[1 - operand_index(step, e)]):
            text = "The factor {at} is 1 in the backward pass where it is not 0, in the gradients of {parameters}."
        return Draft("mask_not_scaled", text, (name,), f"{self.d(parent)} = {self._formula(i, e)}", yours)

    def _mask_left_out(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        mask = self._other_operand(finding)
        text = "The dropout mask {at} is not applied in the backward pass, in the gradients of {parameters}."
        end = finding.edit.detail.get("end")
        yours = f"{self.d(parent)} = " + (f"{self.d(i)} * max({mask})" if end is None else self.d(end))
        if end is not None:
            text = text.replace("is not applied", "is not applied, nor its scale,")
        return Draft(
            "mask_not_applied", text, (mask.partition(" / ")[0],), f"{self.d(parent)} = {self._formula(i, e)}", yours
        )

    def _ties(self, finding: Finding) -> Draft:
        i, _, _, _ = self._edge(finding)
        text = (
            f"Ties of the maximum {self.text(i)} are counted twice: each of the equal elements "
            f"receives the whole gradient, in the gradients of {{parameters}}."
        )
        return Draft("ties", text)

    def _maximum_left_out(self, finding: Finding) -> Draft:
        i, _, parent, _ = self._edge(finding)
        text = (
            "The derivative of the maximum at {at} is left out: its gradient goes to all elements, not only to the "
            "largest, in the gradients of {parameters}."
        )
        right = f"{self.d(parent)} = {self.d(i)} where {self.text(parent)} is largest, and 0 elsewhere"
        return Draft("derivative_left_out", text, (self.text(i),), right, f"{self.d(i)} everywhere")


def _what(formula: str) -> str:
    """Return what is wrong about a derivative with another factor."""
    return "is that of another function" if formula in OF_ACTIVATIONS else "is wrong"


def _explained(formula: str) -> str:
    """Return a factor in words, in parentheses."""
    words = OF_ACTIVATIONS.get(formula) or _IN_WORDS.get(formula, "")
    return f" ({words})" if words else ""


_IN_WORDS = {"out": "the output itself", "x": "the input itself", "(x < 0)": "the mask is inverted"}
