"""How far-fetched the amount of a change is: at its place in the walk, and as a number."""

from __future__ import annotations

import numpy as np

from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.search.residuals import amount_tolerance
from tinygrad_cifar.doctor.walks import Edit

_WITH_CONSTANTS = ("divide", "multiply", "power")


def place_correction(case: Case, edit: Edit, amount: float) -> float:
    """Return a correction of the cost of a change of size: the place that explains the factor is preferred."""
    if edit.kind != "scale" or edit.site[0] == "parameter":
        return 0.0
    recording = case.recording
    local = _local_factor(recording, edit.site[1], edit.site[2])
    factor = 1 + amount
    if local is not None and abs(local * factor - 1) < amount_tolerance(case):
        return -0.5 if local != -1 else -0.6
    step = recording.steps[edit.site[1]]
    parent = step.edges[edit.site[2]][0]
    if [p for p, _ in step.edges].count(parent) > 1:
        return 0.5
    if local is not None and abs(local - factor) < amount_tolerance(case):
        return -0.3
    return -0.1 * bool(recording.steps[parent].name) - 0.05 * bool(recording.steps[edit.site[1]].name)


def roundness_penalty(case: Case, edit: Edit, amount: float) -> float:
    """Return a penalty for a factor that is neither a plain number nor one of the problem's numbers."""
    if edit.mode != "add" or edit.kind == "slope":
        return 0.0
    factor = abs(1 + amount if edit.kind == "scale" else amount)
    numbers = [n for name, n in case.recording.numbers.items() if not set(name) & set("(.")]
    plain = [0.0, 1.0, 2.0, 0.5, *numbers, *[1 / n for n in numbers if n], *[2 * n for n in numbers]]
    return 0.0 if any(abs(factor - x) <= amount_tolerance(case) * max(1, x) for x in plain) else 0.3


def _local_factor(recording: Recording, i: int, e: int) -> float | None:
    """Return the constant by which an edge multiplies the cotangent; None if it is not a constant."""
    step = recording.steps[i]
    edge = step.edges[e][1]
    if step.op == "negative" or (step.op == "subtract" and edge.input == "y"):
        return -1.0
    if step.op == "square":
        return 2.0
    saved = edge.saved
    constant = saved.get("y" if edge.input == "x" else "x")
    if step.op in _WITH_CONSTANTS and constant is not None and np.size(constant) == 1:
        number = float(np.asarray(constant).item())
        if step.op == "divide":
            return 1 / number if edge.input == "x" and number else None
        return number if step.op == "multiply" or edge.input == "x" else None
    return None
