"""Gradients of parameters that are another array, or in another order."""

from __future__ import annotations

import numpy as np

from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft, join
from tinygrad_cifar.doctor.sentences.wording import Wording, d_of


class Parameters(Wording):
    """Describes gradients that are something else."""

    def _from_weights(self, finding: Finding) -> Draft:
        name, detail = finding.edit.at, finding.edit.detail
        other = detail["other"]
        is_whole = detail["how"] == "whole"
        it = (
            f"{d_of(other)} itself" if is_whole else f"the {detail['how']} of {d_of(other)} along axis {detail['axis']}"
        )
        text = (
            f"The gradient of {name} is computed from that of {other}: it is {it}, and must be the sum of the gradient "
            "of the layer's output over the images."
        )
        node = self.recording.consumers[self.recording.parameters[name]][0][0]
        yours = d_of(other) if is_whole else f"{detail['how']}({d_of(other)}, axis={detail['axis']})"
        return Draft(
            "bias_from_weights",
            text,
            (),
            f"{d_of(name)} = sum({self.d(node)}) over the images",
            f"{d_of(name)} = {yours}",
        )

    def _value_for_gradient(self, finding: Finding) -> Draft:
        name = finding.edit.at
        text = f"{name} itself stands where its gradient, {d_of(name)}, belongs."
        return Draft("value_for_gradient", text)

    def _value_of_other(self, finding: Finding) -> Draft:
        name, other = finding.edit.at, finding.edit.detail["other"]
        text = f"{other} itself stands where {d_of(name)}, the gradient of {name}, belongs."
        return Draft("value_for_gradient", text)

    def _penalised(self, finding: Finding) -> Draft:
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
        return Draft(kind, text, (), f"no term with {name}", f"{factor} * {name} is added", (name,), factor)

    def _transposed_gradient(self, finding: Finding) -> Draft:
        text = "The gradient of {parameters} is transposed."
        name = finding.edit.at
        return Draft("transposed", text, (), d_of(name), f"{d_of(name)}.T")

    def _other_gradient(self, finding: Finding) -> Draft:
        name, other = finding.edit.at, finding.edit.detail["other"]
        text = f"The gradient of {name} is that of {other}: the wrong variable is returned."
        return Draft("wrong_variable", text, (), d_of(name), d_of(other))

    def _array_added(self, finding: Finding) -> Draft:
        name, array = finding.edit.at, finding.edit.detail["array"]
        factor = finding.factor.text if finding.factor else ""
        text = (
            f"{factor} * {array} is added to the gradient of {name} (a momentum term with the wrong "
            "sign or factor, or in the wrong place)."
        )
        return Draft("array_added", text, (), d_of(name), f"{d_of(name)} + {factor} * {array}", factor=factor)

    def _flipped(self, finding: Finding) -> Draft:
        axes = finding.edit.detail.get("order") or f"along axis {' and '.join(map(str, finding.edit.detail['axes']))}"
        text = (
            f"The gradient of {{parameters}} is reversed (flipped), {axes}: the filters are turned "
            "round where they should not be, or the reverse."
        )
        return Draft("flipped", text, (), "", "", key=(axes,))

    def _axes_swapped(self, finding: Finding) -> Draft:
        order = finding.edit.detail["order"]
        text = (
            f"The axes of the gradient of {{parameters}} are swapped: they are in the order {order} "
            "(channels or rows and columns swapped)."
        )
        return Draft("axes_swapped", text, key=(order,))

    def _channels_swapped(self, finding: Finding) -> Draft:
        text = "The gradient of {parameters} has its channels swapped (in reverse order)."
        return Draft("axes_swapped", text, key=(finding.edit.detail["block"],))

    def _element_order(self, finding: Finding) -> Draft:
        order = finding.edit.detail["order"]
        site = finding.edit.site
        at = self.recording.steps[site[1]].edges[site[2]][0] if site[0] == "edge" else site[1]
        where = f" of {d_of(site[1])}" if site[0] == "parameter" else f" of {self.d(at)}"
        text = (
            f"The elements{where} are in another order after a reshape or transposition ({order}; "
            "axes swapped or flattened row by row for column by column), in the gradients of "
            f"{{parameters}}."
        )
        return Draft("element_order", text, key=(order,))

    def _one_use(self, finding: Finding) -> Draft:
        detail, value = finding.edit.detail, self.text(finding.edit.site[1])
        which = "last" if detail["which"] else "first"
        text = (
            f"The gradient is overwritten where it should be added: {value} is used {detail['count']} times, and only "
            f"the {which} use contributes to the gradients of {{parameters}}."
        )
        return Draft("overwritten", text, (), "the sum over all uses, with +=", f"the {which} use alone")

    def _parameter_forgotten(self, finding: Finding) -> Draft:
        names = finding.edit.detail["arguments"]
        what = "bias" if all(map(self._is_bias, names)) else "parameter"
        these = f"The biases {join(names)} are" if len(names) > 1 else f"The {what} {names[0]} is"
        if what != "bias" and len(names) > 1:
            these = f"The parameters {join(names)} are"
        text = f"{these} forgotten in the forward pass of the gradient function, in the gradients of {{parameters}}."
        return Draft("forgotten_in_forward", text, (), "", f"the gradient for {join(names)} = 0")

    def _array_forgotten(self, finding: Finding) -> Draft:
        names = finding.edit.detail["arguments"]
        these, it = (f"The factors {join(names)} are", "they were")
        if len(names) == 1:
            these, it = f"The factor {names[0]} is", "it were"
        text = (
            f"{these} forgotten in the gradient function, as if {it} 1 (for a mask: it is not applied), in the "
            "gradients of {parameters}."
        )
        return Draft("forgotten_in_forward", text, (), "", f"the gradient for {join(names)} = 1")

    def _images_shifted(self, finding: Finding) -> Draft:
        return self._shifted(finding, "image", "the image before it", "the image after it")

    def _classes_shifted(self, finding: Finding) -> Draft:
        return self._shifted(finding, "class", "the class after its own", "the class before its own")

    def _shifted(self, finding: Finding, unit: str, forward: str, back: str) -> Draft:
        detail = finding.edit.detail
        (name,) = detail["arguments"]
        which = forward if detail["steps"] > 0 else back
        what, each = ("labels", "the label") if detail["is_label"] else ("images", "the values")
        text = (
            f"The {what} are shifted by one {unit} where the gradient function uses {name} (off by one): each image "
            f"has {each} of {which}, in the gradients of {{parameters}}."
        )
        return Draft("off_by_one", text, (), name, f"{name} shifted by one {unit}")

    def _forward_pass(self, finding: Finding) -> Draft:
        result, what = finding.edit.detail["result"], finding.edit.detail["change"].what
        steps = self.recording.steps
        at = next(
            (i for i, step in enumerate(steps) if step.op == result.op and np.array_equal(step.value, result.out)), None
        )
        operands = ["its operand", "its operand"] if at is None else [self.source(x) for x in steps[at].operands[:2]]
        x, y = [*operands, ""][:2]
        if finding.edit.detail["change"].swapped:
            x, y = y, x
        name = f"a result of {result.op}" if at is None else self.text(at)
        also = " (and so in other places)" if any(one.what for one in finding.edit.detail["change"].also) else ""
        text = (
            f"In the forward pass of the gradient function, {name} {what.format(x=x, y=y)}{also}, in the gradients of "
            "{parameters}."
        )
        right = "" if at is None else f"{name} = {self.recording.expression(at)}"
        return Draft("forward_pass", text, (), right, f"{name} {what.format(x=x, y=y)}")
