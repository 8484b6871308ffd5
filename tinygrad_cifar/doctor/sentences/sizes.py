"""Gradients of another size: factors such as 1/N, signs, parts that are missing, and the L2 term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from tinygrad_cifar.doctor.factors import LEAST_SIZE, Factor, is_integer, is_size, name_factor
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences.drafts import Draft, join
from tinygrad_cifar.doctor.sentences.wording import Wording, d_of, grouped
from tinygrad_cifar.doctor.vocabulary.scores import cross_entropy_form
from tinygrad_cifar.doctor.vocabulary.sites import penalty_of
from tinygrad_cifar.doctor.walks import Walk
from tinygrad_cifar.engine.graph import Array

_MOST_NAMES = 3  # sizes that a number may be


class Sizes(Wording):
    """Describes gradients that are multiples of the right ones."""

    def _scale(self, finding: Finding) -> Draft:
        factor = finding.factor
        assert factor is not None
        if self._is_penalty(finding):
            return self._penalty(finding, factor)
        site = finding.edit.site
        names = tuple(finding.affected)
        if site[0] == "parameter":
            return self._scaled_parameter(finding, factor, names)
        # Also those whose gradient has another shape, in which the change is not seen.
        names = (*names, *[name for name in self._reached(finding) if name not in names])
        i, e, parent, _ = self._edge(finding)
        is_all = self._is_only_path(finding)
        # A parameter that is used several times has a gradient of several terms, of which this is one.
        is_direct = self.recording.steps[parent].op == "" and (is_all or factor.text != "0")
        if is_direct or (len(names) == 1 and factor.text != "0" and is_all):
            return self._scaled_parameter(finding, factor, names)
        if factor.text == "0":
            return self._cut(finding, i, parent)
        return self._scaled_flow(factor, names, i, e, parent, is_all=is_all, is_loss=is_all and self._is_whole(names))

    def _reached(self, finding: Finding) -> list[str]:
        """Return the parameters with a gradient of another shape that a change reaches."""
        given = self.cases[0].given
        effect = self.walks[0].direction(finding.edit) or {}
        return [name for name, d in effect.items() if given[name].shape != d.shape and np.any(d)]

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
    ) -> Draft:
        is_named = bool(self.recording.steps[i].name)
        where = f"that flows from {self.text(i)} to" if is_named or not is_all else "of"
        what, places = "the gradient {at}", [f"{where} {self.text(parent)}"]
        if is_loss and factor.text == "-1":
            return self._sign_of_loss(names, parent)
        if is_loss:
            what, places = "the gradient of the loss", []
        right = "" if is_loss else f"{self.d(parent)} = {self._formula(i, e)}"
        has_penalty = self._have_penalty(names)
        part = "this part of " if not is_all else "the data term of " if has_penalty else ""
        of = f"{part}the gradients of {{parameters}}"
        are, it = ("is", "it") if part else ("are", "they")
        yours = f"{factor.text} times this"
        batch = [name for name, power in factor.powers if name == "N" and power == 1]
        sign = "-" if factor.text.startswith("-") else ""
        if batch and len(factor.powers) == 1 and abs(factor.coefficient) == 1:
            also = " and the sign is wrong" if sign else ""
            text = (
                f"The factor 1/N is missing{also} in {what}: {of} {are} {factor.text} times as large as {it} should be"
            )
            return Draft(
                "missing_1/N", text + self._number(factor) + ".", tuple(places), right, yours, names, factor.text
            )
        if factor.text in ("1/N", "-1/N"):
            text = f"The factor 1/N is taken twice in {what}: {of} {are} {factor.text} times what {it} should be"
            return Draft(
                "double_1/N", text + self._number(factor) + ".", tuple(places), right, yours, names, factor.text
            )
        if factor.text == "-1":
            text = f"The sign is wrong in {what}: {of} {are} -1 times what {it} should be."
            return Draft("sign", text, tuple(places), right, f"-({self._formula(i, e)})", names, factor.text)
        step = self.recording.steps[i]
        if step.op == "divide" and not is_loss and factor.text == self._operand(step, e):
            text = (
                f"The factor 1/{factor.text} is left out in the backward pass at {{at}} (it is not scaled): "
                f"the gradient is {factor.text} times what it should be, in {of}{self._number(factor)}."
            )
            return Draft(
                "not_scaled", text, (self.text(i),), right, f"{self.d(parent)} = {self.d(i)}", names, factor.text
            )
        text = f"{what[0].upper()}{what[1:]} is {factor.text} times what it should be, in {of}{self._number(factor)}."
        return Draft("factor", text, tuple(places), right, yours, names, factor.text)

    def _sign_of_loss(self, names: tuple[str, ...], below: int) -> Draft:
        """Describe the wrong sign of the loss at the last node through which all of it flows, such as the scores."""
        at = self._last_common_node(names, below)
        S, d, value, g = self.text(at), self.d(at), self.recording.steps[at].value, self.walks[0].cotangents[at]
        term = "is the data term of" if self._have_penalty(names) else "are"
        text = (
            f"The sign is wrong in the gradient of the loss with respect to {S}: {d} is -1 times what it should be, "
            f"and so {term} the gradients of {{parameters}}."
        )
        is_softmax = g is not None and g.ndim == len(("images", "classes")) and cross_entropy_form(value, g) is not None
        right = f"{d} is proportional to P - Y with P = softmax({S})" if is_softmax else ""
        return Draft("sign", text, (), right, "Y - P", names, "-1")

    def _last_common_node(self, names: Sequence[str], below: int) -> int:
        """Return the node nearest to the parameters through which all flows that reaches them from a node."""
        walk, recording = self.walks[0], self.recording
        whole = walk.push(below, _cotangent(walk, below))
        for i in sorted(recording.below[below]):
            if not recording.steps[i].op or not recording.leads_to[i] >= set(names):
                continue
            own = walk.push(i, _cotangent(walk, i))
            if all(np.allclose(own[n], whole[n], rtol=1e-9, atol=1e-9 * np.abs(whole[n]).max()) for n in names):
                return i
        return below

    def _have_penalty(self, names: Sequence[str]) -> bool:
        """Return whether the gradient of one of these parameters contains an L2 term."""
        return any(penalty_of(self.walks[0], name).any() for name in names)

    def _number(self, factor: Factor) -> str:
        numbers = self.cases[-1].recording.numbers
        parts = [f"{name} = {numbers[name]:g}" for name, _ in factor.powers if name[0] != "("]
        parts += self._perhaps(factor.coefficient)
        return f" ({', '.join(parts)})" if parts else ""

    def _perhaps(self, number: float) -> list[str]:
        """Return which sizes the number in a factor may be, as they are equal to it on all problems."""
        if len(self.cases) == 1 or not number:
            return []
        number = max(abs(number), 1 / abs(number))
        size = round(number)
        rows = [case.recording.numbers | case.recording.positions() for case in self.cases]
        names = [name for name in rows[0] if is_size(name) and all(row.get(name) == size for row in rows)]
        if not is_integer(number) or size < LEAST_SIZE or not names:
            return []
        are = "are" if len(names) > 1 else "is"
        return [f"perhaps {' or '.join(names[:_MOST_NAMES])}, which {are} {size} on all problems"]

    def _scaled_parameter(self, finding: Finding, factor: Factor, names: tuple[str, ...]) -> Draft:
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
            return Draft("zero", text, (), right, "0", names, factor.text)
        if (
            is_bias
            and factor.text not in self.common_factors
            and (factor.text == "1/N" or self._is_mean(factor, names[0], node))
        ):
            over = "the images" if factor.text == "1/N" else "all elements"
            text = (
                f"A mean over {over} stands where the sum belongs in {what}: it is {factor.text} times what it should"
            )
            mean = right.replace("sum(", "mean(")
            return Draft("mean_for_sum", f"{text} be{self._number(factor)}.", (), right, mean, names, factor.text)
        if factor.text == "N":
            text = f"The factor 1/N is missing in {what}: it is N times as large as it should be{self._number(factor)}."
            return Draft("missing_1/N", text, (), right, yours, names, "N")
        if factor.text == "1/N":
            text = f"The factor 1/N is taken twice in {what}: it is 1/N times what it should be{self._number(factor)}."
            return Draft("double_1/N", text, (), right, yours, names, "1/N")
        if factor.text == "-1":
            text = f"The sign is wrong in {what}: it is -1 times what it should be."
            return Draft("sign", text, (), right, yours, names, "-1")
        text = f"{what[0].upper()}{what[1:]} is {factor.text} times what it should be{self._number(factor)}."
        return Draft("factor", text, (), right, yours, names, factor.text)

    def _zero_of_shape(self, finding: Finding) -> Draft:
        name = finding.edit.at
        case, at = self.cases[-1], self.recording.parameters[name]
        own = case.given[name].shape
        shape = case.recording.steps[case.recording.parameters[name]].value.shape
        what = f"is 0 in the shape {own}" if own else "is the number 0"
        text = f"The gradient of {name} {what}, and must be an array of the shape {shape}, as {name} is."
        uses = [i for i, _ in self.recording.consumers[at] if self.recording.steps[i].value.shape != ()]
        is_sum = self._is_bias(name) and bool(uses)
        right = f"{d_of(name)} = sum({self.d(uses[-1])})" if is_sum else self._product_formula(name)
        return Draft("zero", text, (), right, "0", (name,), "0")

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

    def _cut(self, finding: Finding, i: int, parent: int) -> Draft:
        names = tuple(finding.affected)
        recording = self.recording
        several = len(recording.consumers[parent]) > 1
        through = self.text(i)
        if self._is_whole(names) and not several:
            text = "The gradient of the loss is missing in the gradients of {parameters}: only the L2 term is left."
            return Draft("loss_missing", text, (), "", "", names, "0")
        if several:
            others = [self.text(k) for k, _ in recording.consumers[parent] if k != i]
            text = (
                "A gradient is overwritten or left out where it should be added: "
                f"{self.text(parent)} is used more than once, and "
                f"its gradient lacks the path through {through}, in the gradients of {{parameters}}."
            )
            right = f"{self.d(parent)} is the sum over its uses: {join([through, *others])}"
            return Draft("not_added", text, (), right, f"without {through}", names, "0")
        text = (
            f"No gradient flows from {through} to {self.text(parent)}: the gradients of "
            f"{{parameters}} are detached from the "
            "loss, as if it were a constant."
        )
        return Draft(
            "detached", text, (), f"{self.d(parent)} = {self._formula(*finding.edit.site[1:])}", "0", names, "0"
        )

    def _constant_statistics(self, finding: Finding) -> Draft:
        at, detail = finding.edit.site[1], finding.edit.detail
        kinds = ["mean" if detail["users"][p] == "subtract" else "variance" for p in detail["statistics"]]
        which = [kind for kind in ("mean", "variance") if kind in kinds]
        names = join([self.text(p) for p in detail["statistics"]])
        if not all(self._is_statistic(p, at, kind) for p, kind in zip(detail["statistics"], kinds, strict=True)):
            verb = "are taken for constants" if len(kinds) > 1 else "is taken for a constant"
            text = (
                f"{names} {verb}: the path from {{at}} through {'them' if len(kinds) > 1 else 'it'} is missing, in the "
                "gradients of {parameters}."
            )
            right = f"{self.d(at)} includes the path{'s' * (len(kinds) > 1)} through {names}"
            return Draft("path_missing", text, (self.text(at),), right, "without")
        text = (
            f"Batch normalisation: the {' and the '.join(which)} of {{at}} {'are' if len(which) > 1 else 'is'} "
            "taken for "
            f"{'constants' if len(which) > 1 else 'a constant'}, so the path{'s' * (len(which) > 1)} through "
            f"{'them' if len(which) > 1 else 'it'} {'are' if len(which) > 1 else 'is'} missing, "
            f"in the gradients of {{parameters}}."
        )
        right = f"{self.d(at)} includes the path{'s' * (len(which) > 1)} through {names}"
        return Draft("constant_statistics", text, (self.text(at),), right, "without")

    def _times_statistic(self, finding: Finding) -> Draft:
        detail, at, p = finding.edit.detail, finding.edit.at, self.text(finding.edit.detail["statistic"])
        count = abs(detail["power"])
        factor = p if count == 1 else f"{grouped(p)}**{count}"
        is_product = detail["power"] > 0
        how, sign = ("multiplied", "*") if is_product else ("divided", "/")
        if detail["part"] == "whole":
            what = "left out" if is_product else "applied twice"
            text = (
                f"The gradient of {self.text(at)} is {how} by {p} in the backward pass (the division by it is {what}), "
                "in the gradients of {parameters}."
            )
            return Draft("times_statistic", text, (), self.d(at), f"{self.d(at)} {sign} {p}")
        is_path = detail["part"] == "scale"
        path = "the path through the variance" if is_path else "the other paths than that through the variance"
        text = (
            f"Batch normalisation: {path} {'is' if is_path else 'are'} {how} by a power of the variance that does not "
            "belong there, in the gradient of {at}, in the gradients of {parameters}."
        )
        right = f"{self.d(at)} with the path through the variance"
        return Draft("times_statistic", text, (self.text(at),), right, f"{path} {sign} {factor}")

    def _normalisation_left_out(self, finding: Finding) -> Draft:
        at, end = finding.edit.at, finding.edit.detail["end"]
        text = "The derivative of the normalisation of {at} is left out, in the gradients of {parameters}."
        right = f"{self.d(at)} includes the division by the deviation and the paths through the mean and the variance"
        return Draft("normalisation_left_out", text, (self.text(at),), right, f"{self.d(at)} = {self.d(end)}")

    def _is_statistic(self, p: int, at: int, kind: str) -> bool:
        """Return whether a node is the mean of the values of another one along some axes, or a form of the variance."""
        value, own = self.recording.steps[at].value, self.recording.steps[p].value.ravel()
        for count in range(1, value.ndim + 1):
            for axes in combinations(range(value.ndim), count):
                found = np.asarray(value.mean(axes) if kind == "mean" else value.var(axes)).ravel()
                if found.size != own.size:
                    continue
                # A variance may stand for itself, plus a constant, or for its root or inverse.
                forms = (own,) if kind == "mean" else (own, own**2, own**-1.0, own**-2.0)
                if any(_is_same_form(form, found, with_constant=kind != "mean") for form in forms):
                    return True
        return False

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

    def _l2_form(self, finding: Finding) -> Draft:
        name, form, factor = finding.edit.at, finding.edit.detail["form"], finding.edit.detail["factor"]
        penalties = {walk: penalty_of(walk, name) for walk in self.walks}
        right = self._coefficient(name, penalties)
        twice = Factor(f"{factor:g}", factor, (), tuple(factor for _ in self.walks))
        yours = f"{(right * twice).text} * {form.format(name)}" if right else form.format(name)
        formula = f"{right.text if right else 'c'} * {name}"
        text = (
            f"The L2 term has the wrong form in the gradient of {name}: it is {yours}, and the derivative of the "
            f"penalty is {formula}."
        )
        return Draft("l2_form", text, (), formula, yours, (name,))

    def _coefficients(self, finding: Finding) -> tuple[str, str]:
        """Return the right coefficient of the weights in the L2 term, and the user's, by name."""
        name = finding.affected[0]
        right = self._coefficient(name, {walk: (walk.direction(finding.edit) or {})[name] for walk in self.walks})
        if right is None or finding.factor is None:
            return "c", "c'"
        return right.text, (right * finding.factor).text if finding.factor.coefficient else "0"

    def _coefficient(self, name: str, penalties: Mapping[Walk, Array]) -> Factor | None:
        """Return the factor of a parameter in its L2 term, by name."""
        values = []
        for walk, penalty in penalties.items():
            value = walk.recording.steps[walk.recording.parameters[name]].value
            values.append(float(np.vdot(value, penalty) / np.vdot(value, value)))
        numbers = [case.recording.numbers for case in self.cases]
        scalars = [{n: x for n, x in row.items() if n not in {"N", "K"} and not set(n) & set("(.")} for row in numbers]
        right = name_factor(values, scalars)
        if right is None or not right.powers:
            right = name_factor(values, numbers)
        if right is not None and right.text == "0" and any(values):  # a small lambda is not 0
            right = Factor(f"{values[0]:.6g}", values[0], (), tuple(values))
        return right

    def _penalty(self, finding: Finding, factor: Factor) -> Draft:
        names = tuple(finding.affected)
        right, yours = self._coefficients(finding)
        weight = "W" if len(names) > 1 else names[0]
        formulas = (f"{right} * {weight}", f"{yours} * {weight}")
        of = "in the gradients of {parameters}" if len(names) > 1 else "in the gradient of {parameters}"
        if factor.text == "0":
            text = f"The L2 term is missing {of}: the derivative of the penalty, {formulas[0]}, is not added."
            return Draft("l2_missing", text, (), formulas[0], "0", names, "0")
        if factor.text in ("1/2", "2"):
            text = (
                f"The L2 term has the wrong factor {of}: it is {formulas[1]}, and the derivative "
                f"of the penalty is {formulas[0]}, "
                f"so it is {factor.text} times what it should be."
            )
            half = factor.text == "1/2"
            hint = f"It would be right for a cost with {'half' if half else 'twice'} this penalty."
            return Draft("l2_factor", text, (), formulas[0], formulas[1], names, factor.text, hint=hint)
        if "N" in [name for name, _ in factor.powers]:
            power = dict(factor.powers)["N"]
            how = "is divided by N, too," if power < 0 else "is multiplied by N"
            text = (
                f"The L2 term {how} {of}: it is {formulas[1]}, and should be {formulas[0]}, that "
                f"is {factor.text} times what it "
                "should be."
            )
            return Draft(
                "l2_over_n" if power < 0 else "l2_times_n", text, (), formulas[0], formulas[1], names, factor.text
            )
        if factor.text == "-1":
            text = f"The sign of the L2 term is wrong {of}: it is {formulas[1]}, and should be {formulas[0]}."
            return Draft("l2_sign", text, (), formulas[0], formulas[1], names, "-1")
        text = (
            f"The L2 term is {factor.text} times what it should be {of}: it is {formulas[1]}, and "
            f"should be {formulas[0]}."
        )
        return Draft("l2_factor", text, (), formulas[0], formulas[1], names, factor.text)


def _cotangent(walk: Walk, at: int) -> Array:
    """Return the cotangent of a node that the cost depends on."""
    g = walk.cotangents[at]
    assert g is not None
    return g


def _is_same_form(form: Array, statistic: Array, *, with_constant: bool) -> bool:
    """Return whether an array is a statistic, or differs from it by a constant number or factor."""
    near = 1e-3 * float(np.abs(statistic).max())
    difference = form - statistic
    if not with_constant:
        return bool(np.abs(difference).max() <= near)
    factor = float(np.vdot(form, statistic) / np.vdot(statistic, statistic))
    return bool(np.ptp(difference) <= near or np.abs(form - factor * statistic).max() <= near * abs(factor))
