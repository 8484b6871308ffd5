"""The names and formulas that sentences consist of, in the words of the user's cost function."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.recording import Ref, Step
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.vocabulary.sites import operand_index, shape_of, subscripts_of, used_at
from tinygrad_cifar.doctor.walks import Walk


class Wording:
    """Names and formulas of a recorded cost; ``common_factors`` are those of gradients of several shapes."""

    def __init__(self, cases: Sequence[Case], common_factors: frozenset[str] = frozenset()) -> None:
        self.cases = cases
        self.common_factors = common_factors
        self.recording = cases[0].recording
        self.walks = [Walk(case.recording) for case in cases]

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
        if step.op in ("matmul", "einsum"):
            return self._product(i, e, g, other)
        formulas = {
            "relu": f"{g} * ({own} > 0)",
            "maximum": f"{g} * ({own} > {other})",
            "tanh": f"{g} * (1 - {self.text(i)}**2)",
            "sigmoid": f"{g} * {self.text(i)} * (1 - {self.text(i)})",
            "softplus": f"{g} * sigmoid({own})",
            "exp": f"{g} * {self.text(i)}",
            "log": f"{g} / {grouped(own)}",
            "sqrt": f"{g} / (2 * {grouped(self.text(i))})",
            "square": f"{g} * 2 * {grouped(own)}",
            "power": self._power(step, g, grouped(own), grouped(self.text(i)), k),
            "multiply": f"{g} * {grouped(other)}",
            "softmax": f"{self.text(i)} * ({g} - sum({g} * {self.text(i)}))",
            "divide": f"{g} / {grouped(other)}" if k == 0 else f"-{g} * {grouped(self.text(i))} / {grouped(own)}",
            "subtract": g if k == 0 else f"-{g}",
            "negative": f"-{g}",
        }
        formula = formulas.get(step.op, g)
        parent = recording.steps[step.edges[e][0]].value
        is_summed = step.broadcasts and parent.size < step.value.size
        return f"sum({formula}) over the images" if is_summed else formula

    def _power(self, step: Step, g: str, base: str, out: str, k: int) -> str:
        """Return the derivative of a power as a formula, with respect to its base or its exponent."""
        exponent = step.operands[1] if len(step.operands) > 1 else None
        if k or not isinstance(exponent, (int, float, np.number)):
            return g if k == 0 else f"{g} * {out} * log({base})"
        less = float(exponent) - 1
        return f"{g} * {float(exponent):g} * {base}" + (f"**{less:g}" if less != 1 else "")

    def _product(self, i: int, e: int, g: str, factor: str) -> str:
        """Return the VJP of a product as a formula."""
        step = self.recording.steps[i]
        is_left = operand_index(step, e) == 0
        if step.op == "einsum":
            shapes = [shape_of(self.recording, x) or () for x in step.operands[:2]]
            subscripts = subscripts_of(step, e, shapes) if len(shapes) == 2 else None  # noqa: PLR2004
            if subscripts is None:
                return g
            first, second, out = subscripts
            own, other = (first, second) if is_left else (second, first)
            return f'einsum("{out},{other}->{own}", {g}, {factor})'
        if step.value.ndim == 1 and self.recording.steps[step.edges[e][0]].value.ndim == 2:  # noqa: PLR2004
            return f"outer({g}, {factor})" if is_left else f"outer({factor}, {g})"
        return f"{g} @ {grouped(factor)}.T" if is_left else f"{grouped(factor)}.T @ {g}"

    def _is_bias(self, name: str) -> bool:
        """Return whether a parameter is added to, or multiplied with, a larger array, so its gradient is a sum."""
        at = self.recording.parameters[name]
        shape, steps = self.recording.steps[at].value.shape, self.recording.steps
        users = [steps[used_at(self.recording, i)] for i, _ in self.recording.consumers[at]]
        return any(step.op in ("add", "subtract") and step.value.shape != shape for step in users)

    def _is_mask(self, operand: Any) -> bool:
        return (
            isinstance(operand, np.ndarray)
            and operand.ndim > 0
            and len(np.unique(operand)) <= len((0, 1))
            and bool((operand == 0).any() or operand.dtype.kind == "b")
        )

    def _is_scale(self, operand: Any, step: Step) -> bool:
        """Return whether a factor is a parameter with fewer elements than the product, as in batch normalisation."""
        if not isinstance(operand, Ref) or operand.at not in self.recording.parameters.values():
            return False
        return 1 < self.recording.steps[operand.at].value.size < step.value.size

    def _operand(self, step: Step, e: int) -> str:
        """Return the name of the operand of an operation that an edge does not lead to."""
        return self.recording.operand_text(step.operands[1 - operand_index(step, e)])

    def _other_operand(self, finding: Finding) -> str:
        _, e, _, step = self._edge(finding)
        k = operand_index(step, e)
        return self.recording.operand_text(step.operands[1 - k]) if len(step.operands) > 1 else ""

    def _among(self, parent: int) -> str:
        """Return which gradients a wrong cotangent reaches; empty if it is that of a parameter."""
        return ", in the gradients of {parameters}" if self.recording.steps[parent].op else ""


_NAME = re.compile(r"[A-Za-z_][\w.]*(\[[^\]]*\])*( \(no\. \d+\))?")
_GROUPED = re.compile(rf"{_NAME.pattern}|\([^()]*\)")


def d_of(name: str) -> str:
    """Return the name of a gradient: ``dW`` for ``W``, and ``d(X @ W)`` for an expression."""
    return f"d{name}" if _NAME.fullmatch(name) else f"d({name})"


def grouped(text: str) -> str:
    """Return an expression in parentheses, unless it is a name."""
    return text if _GROUPED.fullmatch(text) or text.replace(".", "").isalnum() else f"({text})"


def function_name(op: str) -> str:
    """Return the name of an operation in a sentence."""
    return {"relu": "the ReLU", "maximum": "the ReLU", "exp": "exp", "log": "the logarithm"}.get(op, op)
