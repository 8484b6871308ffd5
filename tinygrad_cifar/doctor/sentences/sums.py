"""Sums over the images that are left out, or taken over another axis."""

from __future__ import annotations

import numpy as np

from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft
from tinygrad_cifar.doctor.sentences.wording import Wording, d_of


class Sums(Wording):
    """Describes wrong sums."""

    def _sum_right(self, finding: Finding) -> tuple[str, str]:
        site = finding.edit.site
        node = site[1] if site[0] == "edge" else finding.edit.detail.get("node")
        name = finding.edit.at if site[0] == "parameter" else self.text(self.recording.steps[site[1]].edges[site[2]][0])
        return d_of(name), self.d(node) if node is not None else "the gradient"

    def _axes_of_sum(self, finding: Finding) -> tuple[int, ...]:
        """Return the axes along which the gradient of a parameter is the sum of the cotangent of a node."""
        site = finding.edit.site
        if site[0] == "edge":
            i, parent = site[1], self.recording.steps[site[1]].edges[site[2]][0]
        else:
            i, at = finding.edit.detail["node"], self.recording.parameters[finding.edit.at]
            parent = next((p for p, _ in self.recording.steps[i].edges if at in self.recording.below[p]), i)
        whole, own = self.recording.steps[i].value.shape, self.recording.steps[parent].value.shape
        missing = len(whole) - len(own)
        return tuple(k for k in range(len(whole)) if k < missing or (own[k - missing] == 1 < whole[k]))

    def _not_summed(self, finding: Finding) -> Draft:
        own, g = self._sum_right(finding)
        text = (
            f"The gradient of {finding.edit.at} is not summed over the images: it is {g}, with one "
            "value for each of them."
        )
        return Draft("not_summed", text, (), f"{own} = sum({g}) over the images", f"{own} = {g}")

    def _wrong_axis(self, finding: Finding) -> Draft:
        own, g = self._sum_right(finding)
        how = "mean" if finding.edit.detail.get("mean") else "sum"
        also = ", and a mean stands where a sum belongs" if how == "mean" else ""
        axis = finding.edit.detail["axis"]
        is_one = isinstance(axis, int)
        right_axes = self._axes_of_sum(finding)
        if set(np.atleast_1d(axis)) < set(right_axes) and how == "sum":
            text = (
                f"The gradient of {{parameters}} is not summed over all axes: it is the sum of {g} along axis "
                f"{axis} only, and must be that along all of {right_axes}."
            )
            return Draft(
                "not_summed", text, (), f"{own} = sum({g}, axis={right_axes})", f"{own} = sum({g}, axis={axis})"
            )
        text = (
            f"{own} is summed along the wrong {'axis' if is_one else 'axes'}, {axis}{also}: the {how} of "
            f"{g} must be over the images, in the gradients of {{parameters}}."
        )
        right = f"sum({g}, axis={1 - axis})" if is_one and axis < 2 else f"sum({g}) over the images"  # noqa: PLR2004
        return Draft("wrong_axis", text, (), f"{own} = {right}", f"{own} = {how}({g}, axis={axis})")

    def _summed_over_all(self, finding: Finding) -> Draft:
        own, g = self._sum_right(finding)
        text = f"{own} is summed over all axes, not over the images only, in the gradients of {{parameters}}."
        return Draft("wrong_axis", text, (), f"{own} = sum({g}) over the images", f"{own} = sum({g}) over everything")

    def _summed(self, finding: Finding) -> Draft:
        text = f"The gradient of {finding.edit.at} is summed along axis {finding.edit.detail['axis']}, and must not be."
        return Draft("wrong_axis", text)

    def _part_of_sum(self, finding: Finding) -> Draft:
        detail = finding.edit.detail
        i, e, parent, _ = self._edge(finding)
        which = "first" if detail["row"] == 0 else "last"
        sizes = self.recording.steps[detail.get("above", i)].value.shape
        unit = (
            "image"
            if sizes[detail["axis"]] == self.recording.numbers.get("N")
            else f"index along axis {detail['axis']}"
        )
        how = f"is that of the {which} {unit} alone" if detail["only"] else f"lacks the {which} {unit} (off by one)"
        name = detail.get("parameter", self.text(parent))
        text = f"The gradient of {name} {how}: the sum must be over all of them."
        return Draft("part_of_sum", text, (), f"{self.d(parent)} = {self._formula(i, e)}", f"{self.d(i)} in part")

    def _one_example(self, finding: Finding) -> Draft:
        own, g = self._sum_right(finding)
        which = "first" if finding.edit.detail["row"] == 0 else "last"
        text = (
            f"{own} is that of the {which} image alone, not the sum over the images, in the gradients "
            f"of {{parameters}}."
        )
        return Draft("not_summed", text, (), f"{own} = sum({g}) over the images", f"{own} = {g} of the {which} image")

    def _maximum_for_sum(self, finding: Finding) -> Draft:
        own, g = self._sum_right(finding)
        text = f"{own} is a maximum over the images, not their sum, in the gradients of {{parameters}}."
        return Draft("maximum_for_sum", text, (), f"{own} = sum({g})", f"{own} = max({g})")
