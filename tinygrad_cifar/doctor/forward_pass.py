"""Mistakes in the forward pass of the gradient function: an argument that it has forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.problems import Leaf, leaves_of, replace_leaves
from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.search import Finding
from tinygrad_cifar.doctor.subject import Problem, Subject, plain_value
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.tensor import Tensor


def find_forgotten_argument(subject: Subject, cases: Sequence[Case]) -> list[Finding] | None:
    """Return the argument without which the given gradients are computed, as if the forward pass had forgotten it."""
    for leaf in cases[0].problem.leaves:
        if not isinstance(leaf.value, np.ndarray):
            continue
        neutral = 0.0 if leaf.is_parameter else 1.0
        changed = [_without(subject, case, leaf.name, neutral) for case in cases]
        for case, other in zip(cases, changed, strict=True):
            if other is None:
                break
            walk = Walk(other)
            if not all(case.agrees(name, walk) for name in walk.gradients):
                break
        else:
            kind = "parameter_forgotten" if leaf.is_parameter else "array_forgotten"
            edit = Edit(kind, ("argument", leaf.name), lambda _, g: g)
            names = tuple(cases[0].given)
            return [Finding(edit, None, names, tuple(1.0 for _ in cases), names)]
    return None


def _without(subject: Subject, case: Case, name: str, neutral: float) -> Recording | None:
    """Return the recording of a problem in which an array has been replaced by zeros, or ones."""

    def change(own: str, value: Any) -> Any:
        if own != name:
            return value
        array = np.full(np.shape(plain_value(value)), neutral)
        return Tensor(array, requires_grad=value.requires_grad) if isinstance(value, Tensor) else array

    arguments = replace_leaves(case.problem.arguments, change)
    is_parameter = {leaf.name: leaf.is_parameter for leaf in case.problem.leaves}
    leaves = [Leaf(x.name, x.value, is_parameter.get(x.name, False), x.is_tensor) for x in leaves_of(arguments)]
    try:
        recording = subject.record(Problem(arguments, leaves))
    except DiagnosisError:
        return None
    return recording if recording.signature == case.recording.signature else None
