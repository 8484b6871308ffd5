"""The derivative of the loss with respect to the scores: softmax, sigmoid and hinge."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft
from tinygrad_cifar.doctor.sentences.wording import Wording


class Scores(Wording):
    """Describes wrong derivatives of losses."""

    def _scores(self, finding: Finding, kind: str, text: str) -> Draft:
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
        return Draft(kind, text.replace("{S}", S) + ", in the gradients of {parameters}.", (), right, yours)

    def _softmax_diagonal(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "softmax_diagonal", (
                "Only the diagonal of the softmax's derivative is used at {S}: the terms between "
                "different classes are missing"
            )
        )  # fmt: skip

    def _softmax_without_sum(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "softmax_without_sum", (
                "The sum in the denominator of the softmax is forgotten in its derivative at {S} "
                "(taken for a constant)"
            )
        )  # fmt: skip

    def _softmax_sum_only(self, finding: Finding) -> Draft:
        return self._scores(finding, "softmax_sum_only", "Only the denominator of the softmax at {S} is differentiated")

    def _softmax_left_out(self, finding: Finding) -> Draft:
        return self._scores(finding, "softmax_left_out", "The derivative of the softmax at {S} is left out")

    def _softmax_unnormalised(self, finding: Finding) -> Draft:
        return self._scores(
            finding,
            "softmax_unnormalised",
            "The softmax at {S} is not normalised: the sum in the denominator is forgotten",
        )

    def _softmax_shift(self, finding: Finding) -> Draft:
        text = "The maximum is subtracted in only one of numerator and denominator of the softmax at {S}"
        return self._scores(finding, "softmax_shift", text)

    def _softmax_wrong_axis(self, finding: Finding) -> Draft:
        return self._scores(finding, "softmax_wrong_axis", "The softmax at {S} is normalised along the wrong axis")

    def _softmax_twice(self, finding: Finding) -> Draft:
        return self._scores(finding, "softmax_twice", "The softmax is applied twice at {S}")

    def _softmax_of_negative_scores(self, finding: Finding) -> Draft:
        return self._scores(
            finding,
            "softmax_of_negative_scores",
            "The sign of the scores is wrong in the softmax at {S}: it is that of -{S}",
        )

    def _smoothing_forgotten(self, finding: Finding) -> Draft:
        text = "The label smoothing is forgotten in the derivative of the cross-entropy at {S}: the labels are 0 and 1"
        return self._smoothing(finding, "smoothing_forgotten", text)

    def _smoothing_in_part(self, finding: Finding) -> Draft:
        formula = finding.edit.detail["formula"]
        text = f"The label smoothing is incomplete in the derivative of the cross-entropy at {{S}}: it is {formula}"
        return self._smoothing(finding, "smoothing_in_part", text)

    def _smoothing(self, finding: Finding, kind: str, text: str) -> Draft:
        right = f"{self.d(finding.edit.at)} is proportional to P - ((1 - e) * Y + e / K)"
        return replace(self._scores(finding, kind, text), right=right)

    def _label_not_subtracted(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "label_not_subtracted", (
                "The label is not subtracted in the derivative of the cross-entropy at {S}: it is P, "
                "not P - Y"
            )
        )  # fmt: skip

    def _sigmoid_loss(self, finding: Finding) -> Draft:
        kind, formula = finding.edit.detail["kind"], finding.edit.detail["formula"]
        at = finding.edit.site[1]
        S = self.text(at)
        reason = {
            "label_not_subtracted": "the label is not subtracted",
            "probability_forgotten": "the probability is forgotten",
            "label_sign": "the sign of the label is wrong",
            "scores_for_probabilities": f"{S} stands where its sigmoid belongs",
            "scores_sign": f"the sign of {S} is wrong in the sigmoid",
            "shifted_labels": "the labels are shifted by one image (off by one)",
            "decision_for_probability": "the predicted label stands where the probability belongs",
            "term_forgotten": f"one of its two terms is left out, that of the label {0 if formula[0] == '-' else 1}",
            "sigmoid_left_out": "the derivative of the sigmoid, and the term of the label 0, are left out",
        }[kind]
        text = f"The derivative of the cross-entropy at {S} is wrong: {reason}, in the gradients of {{parameters}}."
        right = f"{self.d(at)} is proportional to P - Y with P = sigmoid({S})"
        return Draft(kind, text, (), right, formula.replace("S", S))

    def _label_added(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "label_sign", (
                "The sign of the label is wrong in the derivative of the cross-entropy at {S}: it is "
                "P + Y, not P - Y"
            )
        )  # fmt: skip

    def _scores_for_probabilities(self, finding: Finding) -> Draft:
        text = "The scores {S} stand where their softmax belongs in the derivative of the cross-entropy"
        return self._scores(finding, "scores_for_probabilities", text)

    def _log_for_probabilities(self, finding: Finding) -> Draft:
        text = "The logarithm of the probabilities stands where the probabilities belong in the derivative of the "
        return self._scores(finding, "log_for_probabilities", f"{text}cross-entropy at {{S}}")

    def _uniform_labels(self, finding: Finding) -> Draft:
        text = "1 is subtracted from every class, not only the label, in the derivative of the cross-entropy at {S}"
        return self._scores(finding, "uniform_labels", text)

    def _label_in_all_rows(self, finding: Finding) -> Draft:
        text = "1 is subtracted in whole rows or columns, not only at the label, in the derivative of the cross-entropy"
        return self._scores(finding, "label_in_all_rows", f"{text} at {{S}}")

    def _shifted_labels(self, finding: Finding) -> Draft:
        text = "The labels are shifted by one class (off by one) in the derivative of the cross-entropy at {S}"
        return self._scores(finding, "shifted_labels", text)

    def _own_class_assigned(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "own_class_assigned", (
                "The own class is wrong in the derivative of the cross-entropy at {S}: its element must be P - 1"
            )
        )  # fmt: skip

    def _scores_for_gradient(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "wrong_variable", (
                "The wrong variable: the scores {S} stand where their gradient belongs"
            )
        )  # fmt: skip

    def _extra_derivative(self, finding: Finding) -> Draft:
        return self._scores(
            finding, "extra_derivative", (
                "The derivative of the softmax at {S} is applied once more, though P - Y contains it "
                "already"
            )
        )  # fmt: skip

    def _hinge(self, finding: Finding, kind: str, text: str) -> Draft:
        at = finding.edit.site[1]
        right = "the element of the own class is -(the number of violated margins)"
        formula = finding.edit.detail["formula"]
        return Draft(kind, f"{text} (scores {self.text(at)}), in the gradients of {{parameters}}.", (), right, formula)

    def _hinge_own_class_forgotten(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_own_class", (
                "The own class is forgotten in the derivative of the hinge loss: its count of "
                "violated margins is not subtracted"
            )
        )  # fmt: skip

    def _hinge_own_class_counted(self, finding: Finding) -> Draft:
        return self._hinge(
            finding,
            "hinge_own_class",
            "The own class is counted among the violated margins in the derivative of the hinge loss",
        )

    def _hinge_own_class_positive(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_own_class", (
                "The own class is treated like the others in the derivative of the hinge loss: it is "
                "counted as a violated margin, and its count is forgotten"
            )
        )  # fmt: skip

    def _hinge_own_class_not_counted(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_own_class", (
                "The own class is counted wrongly in the derivative of the hinge loss: 1 remains at "
                "its element"
            )
        )  # fmt: skip

    def _hinge_count_forgotten(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_count", (
                "The count of violated margins is forgotten at the own class in the derivative of "
                "the hinge loss: it is 1"
            )
        )  # fmt: skip

    def _hinge_only_own_class(self, finding: Finding) -> Draft:
        return self._hinge(
            finding,
            "hinge_others",
            "Only the own class receives a gradient from the hinge loss: the other classes are forgotten",
        )

    def _hinge_sign_of_own_class(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_own_class", "The sign of the own class is wrong in the derivative of the hinge loss"
        )

    def _hinge_own_class_constant(self, finding: Finding) -> Draft:
        return self._hinge(
            finding,
            "hinge_count",
            "The own class counts all other classes, violated or not, in the derivative of the hinge loss",
        )

    def _hinge_margin_forgotten(self, finding: Finding) -> Draft:
        return self._hinge(finding, "hinge_margin", "The margin is forgotten in the derivative of the hinge loss")

    def _hinge_margin_sign(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_margin", "The sign of the margin is wrong in the derivative of the hinge loss"
        )

    def _hinge_margins_for_gradient(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_values", "The margins stand where the gradient of the scores belongs in the hinge loss"
        )

    def _hinge_mask_forgotten(self, finding: Finding) -> Draft:
        return self._hinge(
            finding,
            "hinge_mask",
            "The derivative of the maximum is left out in the hinge loss: all classes count, violated or not",
        )

    def _hinge_values_for_indicator(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_values", "The margins stand where their indicator (1 or 0) belongs in the hinge loss"
        )

    def _hinge_largest_only(self, finding: Finding) -> Draft:
        return self._hinge(
            finding, "hinge_largest", "Only the largest violated margin of each image counts in the hinge loss"
        )

    def _own_class_forgotten(self, finding: Finding) -> Draft:
        return self._own_class(finding, "is forgotten", "it is 0")

    def _own_class_sign(self, finding: Finding) -> Draft:
        return self._own_class(finding, "has the wrong sign", "it is the sum of the others")

    def _own_class(self, finding: Finding, what: str, yours: str) -> Draft:
        text = (
            f"The own class {what} in the derivative of the margins at {self.text(finding.edit.at)}: {yours}, and must "
            "be minus the sum of the other classes, in the gradients of {parameters}."
        )
        return Draft("hinge_own_class", text, (), "minus the sum of the others", yours)

    def _example_left_out(self, finding: Finding) -> Draft:
        which = "first" if finding.edit.detail["row"] == 0 else "last"
        text = (
            f"The {which} image is left out (off by one in the loop over the images), in the "
            f"gradients of {{parameters}}."
        )
        return Draft("off_by_one", text, (), "all images", f"all but the {which}")

    def _class_left_out(self, finding: Finding) -> Draft:
        which = "first" if finding.edit.detail["row"] == 0 else "last"
        text = (
            f"The {which} class is left out (off by one in the loop over the classes) at {self.text(finding.edit.at)}, "
            "in the gradients of {parameters}."
        )
        return Draft("off_by_one", text, (), "all classes", f"all but the {which}")

    def _labels_of_other_images(self, finding: Finding) -> Draft:
        text = (
            f"The labels are shifted by one image in the gradient of {self.text(finding.edit.at)}: each image has the "
            f"label of {finding.edit.detail['formula']}, in the gradients of {{parameters}}."
        )
        other = finding.edit.detail["formula"]
        return Draft("off_by_one", text, (), "the label of each image", f"the label of {other}")
