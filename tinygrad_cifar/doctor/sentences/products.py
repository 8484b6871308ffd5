"""Factors of matrix products: transposed, of another layer, or updated too early."""

from __future__ import annotations

from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft
from tinygrad_cifar.doctor.sentences.wording import Wording, d_of, grouped
from tinygrad_cifar.doctor.vocabulary.sites import operand_index


class Products(Wording):
    """Describes wrong factors of products."""

    def _transposed_factor(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        factor = self.source(finding.edit.detail["factor"])
        right = self._formula(i, e)
        plain = factor.removesuffix(".T")
        what = (
            f"{factor} is not transposed, or transposed once too often,"
            if plain == factor
            else f"{factor} stands where {plain} belongs (it is transposed once too often)"
        )
        text = f"{what} in the gradient of {self.text(parent)}{self._among(parent)}."
        yours = right.replace(f"{factor}.T", factor)
        return Draft(
            "transposed_factor", text, (), f"{self.d(parent)} = {right}", f"{self.d(parent)} = {yours}", key=(i, e)
        )

    def _transposed_product(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        right = self._formula(i, e)
        text = f"The product for the gradient of {self.text(parent)} is transposed, in the gradients of {{parameters}}."
        return Draft("transposed", text, (), f"{self.d(parent)} = {right}", f"({right}).T", key=(i, e))

    def _wrong_factor(self, finding: Finding) -> Draft:
        detail = finding.edit.detail
        array, factor = self.source(detail["array"]), self.source(detail["factor"])
        if finding.edit.site[0] == "parameter":
            name = finding.edit.at
            text = f"{array} stands where {factor} belongs in the gradient of {name}, so its shape is wrong."
            return Draft("wrong_variable", text, key=(name,))
        i, e, parent, _ = self._edge(finding)
        right = self._formula(i, e)
        text = (
            f"The wrong variable: {array} stands where {factor} belongs in the gradient of "
            f"{self.text(parent)}{self._among(parent)}."
        )
        return Draft(
            "wrong_variable",
            text,
            (),
            f"{self.d(parent)} = {right}",
            self._product(i, e, self.d(i), array),
            key=(i, e),
        )

    def _shifted_factor(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        factor = self.source(finding.edit.detail["factor"])
        which = "before" if finding.edit.detail["steps"] > 0 else "after"
        text = (
            f"The images of {factor} are shifted by one against their gradients in the gradient of {self.text(parent)} "
            f"(off by one): the gradient of each image is multiplied by the image {which} it."
        )
        right = self._formula(i, e)
        return Draft("off_by_one", text, (), f"{self.d(parent)} = {right}", f"{factor} shifted by one", key=(i, e))

    def _wrong_operand(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        array, factor = self.source(finding.edit.detail["array"]), self._other_operand(finding)
        text = "The wrong variable: {at}, in the gradients of {parameters}."
        own = finding.affected == (self.text(parent),)  # then the sentence ends with its name
        place = f"{array} stands where {factor} belongs" + ("" if own else f" in the gradient of {self.text(parent)}")
        right = f"{self.d(parent)} = {self._formula(i, e)}"
        return Draft("wrong_variable", text, (place,), right, f"{self.d(i)} * {array}")

    def _wrong_cotangent(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        array, right = self.d(finding.edit.detail["array"].at), self._formula(i, e)
        text = (
            f"The wrong variable: {array} stands where {self.d(i)} belongs in the gradient of "
            f"{self.text(parent)}{self._among(parent)}."
        )
        return Draft(
            "wrong_gradient", text, (), f"{self.d(parent)} = {right}", self._with_gradient(i, e, array), key=(i, e)
        )

    def _value_for_cotangent(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        array, right = self.source(finding.edit.detail["array"]), self._formula(i, e)
        text = (
            f"The wrong variable: the value {array} stands where the gradient {self.d(i)} belongs in "
            f"the gradient of {self.text(parent)}{self._among(parent)}."
        )
        return Draft(
            "wrong_variable", text, (), f"{self.d(parent)} = {right}", self._with_gradient(i, e, array), key=(i, e)
        )

    def _with_gradient(self, i: int, e: int, array: str) -> str:
        """Return the right contribution of an edge with another array in place of the gradient."""
        step = self.recording.steps[i]
        if step.op not in ("matmul", "einsum"):
            return f"the sum of {array}" if step.op == "add" else f"with {array}"
        other = self.recording.operand_text(step.operands[1 - operand_index(step, e)])
        return self._product(i, e, grouped(array), other)

    def _updated_weights(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        name = finding.edit.detail["parameter"]
        size = finding.factor.text if finding.factor else "-eta"
        text = (
            f"{name} is updated before the gradient of {self.text(parent)} is computed with it: "
            "the updated weights are used, in "
            "the gradients of {parameters}."
        )
        sign = "-" if size.startswith("-") else "+"  # against the gradient, or along it
        step = f"{sign} {size.removeprefix('-')} * {grouped(self._gradient_used(finding))}"
        right, new = self._formula(i, e), f"{name} {step}"
        yours = self._product(i, e, self.d(i), new)
        return Draft(
            "updated_too_early", text, (), f"{self.d(parent)} = {right}", f"{self.d(parent)} = {yours}", key=(i, e)
        )

    def _gradient_for_factor(self, finding: Finding) -> Draft:
        i, e, parent, _ = self._edge(finding)
        name, used = finding.edit.detail["parameter"], self._gradient_used(finding)
        text = (
            f"The wrong variable: the gradient {used} stands where {name} belongs in the gradient of "
            f"{self.text(parent)}{self._among(parent)}."
        )
        right, yours = self._formula(i, e), self._product(i, e, self.d(i), used)
        return Draft(
            "wrong_variable", text, (), f"{self.d(parent)} = {right}", f"{self.d(parent)} = {yours}", key=(i, e)
        )

    def _gradient_used(self, finding: Finding) -> str:
        """Return the gradient of weights that a product is computed with; a formula if it lacks the L2 term."""
        edge = finding.edit.detail["edge"]
        return d_of(finding.edit.detail["parameter"]) if edge is None else self._formula(*edge)
