"""Short forms of specifications: functions of one array, of two arrays, and kinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_cifar.testing.cases import Case, Kink, Spec, by_element
from tinygrad_cifar.testing.strategies import Fill, elementwise


def unary(
    call: Callable[..., Any],
    function: Callable[[float], float],
    fill: Fill,
    *kinks: Kink,
    analytic: bool = True,
    affine: bool = False,
) -> Spec:
    return Spec(call, elementwise(fill), by_element(function), analytic=analytic, affine=affine, kinks=kinks)


def binary(
    call: Callable[..., Any],
    function: Callable[[float, float], float],
    x: Fill,
    y: Fill,
    *kinks: Kink,
    analytic: bool = True,
    affine: bool = False,
) -> Spec:
    """Specify an operation of two inputs, the second of which may be a Python scalar."""
    number = elementwise(x, parameters=st.sampled_from([(2.375,), (-1.125,)]))
    cases = st.one_of(elementwise(x, y), elementwise(x, y), number)
    return Spec(call, cases, by_element(function), analytic=analytic, affine=affine, kinks=kinks)


def kink(name: str, arrays: Sequence[Any], gradients: Sequence[Any], *parameters: Any, cotangent: Any) -> Kink:
    case = Case(tuple(np.array(array, dtype=float) for array in arrays), parameters)
    return Kink(name, case, np.array(cotangent, dtype=float), tuple(gradients))
