"""How far right gradients may be from the exact ones: the rounding of their precision, and of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case
from tinygrad_cifar.doctor.subject import Subject, plain_value
from tinygrad_cifar.doctor.walks import Walk
from tinygrad_cifar.engine.tensor import Tensor

ROUNDED, HALF = 5e-4, 3e-2  # relative tolerances of float32 and float16 in the search
STRICT, STRICT_HALF = 2e-5, 3e-2  # and of gradients that are right, besides the rounding that has been measured
_ROUNDED_RUNS = 3  # evaluations in float32, from which the size of rounding errors is taken
_OTHER_ORDER = 16  # how much larger they may be in another order of evaluation


def allow_rounding(subject: Subject, case: Case) -> Case:
    """Return a case with the tolerance of the precision of its gradients, and of the arguments they come from."""
    types = {g.dtype for g in case.given.values()}
    types |= {leaf.value.dtype for leaf in case.problem.leaves if isinstance(leaf.value, np.ndarray)}
    if np.dtype(np.float16) in types:
        return replace(case, relative=HALF, strict=STRICT_HALF, rounding=rounding_errors(subject, case, np.float16))
    if np.dtype(np.float32) in types:
        return replace(case, relative=ROUNDED, strict=STRICT, rounding=rounding_errors(subject, case, np.float32))
    return case


def rounding_errors(subject: Subject, case: Case, dtype: type) -> dict[str, float]:
    """Return how large the rounding errors of the right gradients are, by parameter.

    The right gradients are evaluated in float32 as well, once as they are and then with inputs that differ in their
    last digit. The differences from float64 measure the rounding of all terms, including those that cancel: the
    gradient of a bias in front of a batch normalisation is zero, and consists of rounding errors only.
    """
    right = Walk(case.recording).gradients
    worst = dict.fromkeys(right, 0.0)
    rng = np.random.default_rng(0)
    for run in range(_ROUNDED_RUNS):
        try:
            rounded = subject.right_gradients(
                case.problem.replace(_change_last_digit(rng if run else None)), np.float32
            )
        except DiagnosisError:
            continue
        for name, g in rounded.items():
            if name not in right:
                continue
            error = float(np.abs(g - right[name]).max(initial=0))
            worst[name] = max(worst[name], error if np.isfinite(error) else 0.0)
    factor = _OTHER_ORDER * float(np.finfo(dtype).eps / np.finfo(np.float32).eps)
    return {name: factor * error for name, error in worst.items()}


def _change_last_digit(rng: np.random.Generator | None) -> Callable[[str, Any], Any]:
    """Return a function that changes the last digit of numbers in float32, except 0 and 1, as in masks."""

    def change(_: str, value: Any) -> Any:
        array = plain_value(value)
        if rng is None or not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return value
        digits = np.finfo(np.float32).eps * rng.uniform(-0.5, 0.5, array.shape) * ((array != 0) & (array != 1))
        changed = array.astype(np.float64) * (1 + digits)
        return Tensor(changed, requires_grad=value.requires_grad) if isinstance(value, Tensor) else changed

    return change
