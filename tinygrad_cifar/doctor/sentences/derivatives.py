"""Derivatives of element-wise functions and masks that are left out, taken twice or replaced."""

from __future__ import annotations

from tinygrad_cifar.doctor.recording import Ref
from tinygrad_cifar.doctor.search import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft
from tinygrad_cifar.doctor.sentences.wording import Wording, function_name, grouped
from tinygrad_cifar.doctor.vocabulary.sites import operand_index


class Derivatives(Wording):
    """Describes wrong derivatives and masks."""

    def _left_out(self, finding: Finding) -> Draft:
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
            return Draft("derivative_left_out", text, (self.text(i),), right, yours, names)
        other = self._other_operand(finding)
        if step.op in ("multiply", "divide"):
            constant = not isinstance(step.operands[1 - operand_index(step, e)], Ref)
            what = f"the factor {'1 / ' if step.op == 'divide' else ''}{other}"
            mask = constant and self._is_mask(step.operands[1 - operand_index(step, e)])
            if mask:
                text = "The dropout mask {at} is not applied in the backward pass, in the gradients of {parameters}."
                return Draft("mask_not_applied", text, (other.partition(" / ")[0],), right, yours, names)
            noun = "the scale " if self._is_scale(step.operands[1 - operand_index(step, e)], step) else ""
            text = f"A factor is left out in the backward pass: {noun}{{at}}, in the gradients of {{parameters}}."
            return Draft("factor_left_out", text, (what.removeprefix("the factor "),), right, yours, names)
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
        x, out = self.text(parent), self.text(i)
        factor = finding.edit.detail["factor"].replace("out", "@out@").replace("x", x).replace("@out@", out)
        derivative_of = _DERIVATIVES.get(finding.edit.detail["factor"], "")
        if step.op in ("relu", "maximum", "where"):
            lead = "The derivative of the ReLU at {at} is wrong (the mask is not that of the ReLU)"
        else:
            lead = f"The derivative of {function_name(step.op)} at {{at}} is wrong"
        why = f": the factor {factor} stands in its place{derivative_of}"
        text = f"{lead}{why}, in the gradients of {{parameters}}."
        return Draft(
            "other_derivative",
            text,
            (out,),
            f"{self.d(parent)} = {self._formula(i, e)}",
            f"{self.d(parent)} = {self.d(i)} * {factor}",
            key=(finding.edit.detail["factor"],),
        )

    def _derivative_elsewhere(self, finding: Finding) -> Draft:
        i, e, parent, step = self._edge(finding)
        array, out = self.source(finding.edit.detail["array"]), self.text(i)
        factor = finding.edit.detail["formula"].format(grouped(array))
        text = (
            f"The derivative of {function_name(step.op)} at {{at}} is computed from the wrong array: {array} stands "
            f"where {out} belongs in the factor {factor}, in the gradients of {{parameters}}."
        )
        yours = f"{self.d(parent)} = {self.d(i)} * {factor}"
        return Draft("other_derivative", text, (out,), f"{self.d(parent)} = {self._formula(i, e)}", yours)

    def _composition_left_out(self, finding: Finding) -> Draft:
        return self._composition(finding, "derivative_left_out", "is left out", "")

    def _composition_derivative(self, finding: Finding) -> Draft:
        x, out = self.text(finding.edit.at), self.text(finding.edit.detail["end"])
        factor = finding.edit.detail["factor"].replace("out", "@out@").replace("x", x).replace("@out@", out)
        return self._composition(
            finding, "other_derivative", f"is wrong: the factor {factor} stands in its place", factor
        )

    def _composition(self, finding: Finding, kind: str, what: str, factor: str) -> Draft:
        at, end = finding.edit.at, finding.edit.detail["end"]
        function = f"{self.text(end)} = {self.recording.expression(end)}"
        text = f"The derivative of the activation {{at}} ({function}) {what}, in the gradients of {{parameters}}."
        right = f"{self.d(at)} = {self.d(end)} * (the derivative of {self.text(end)} with respect to {self.text(at)})"
        yours = f"{self.d(at)} = {self.d(end)}" + (f" * {factor}" if factor else "")
        return Draft(kind, text, (self.text(end),), right, yours)

    def _wrong_mask(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        source = finding.edit.detail["array"]
        array = self.d(source.at) if finding.edit.detail.get("gradient") else self.source(source)
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
        yours = f"{self.d(parent)} = {self.d(i)} * max({mask})"
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
