"""Factors are named as products of powers of the problem's numbers, which give their value on all problems."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.doctor.factors import name_factor

PROBLEMS = [{"N": 7, "K": 3, "lam": 0.13}, {"N": 5, "K": 4, "lam": 0.07}, {"N": 11, "K": 9, "lam": 0.31}]


@given(
    st.sampled_from([1.0, -1.0, 2.0, -2.0, 0.5]),
    st.integers(-2, 2),
    st.sampled_from(["N", "K", "lam"]),
)
def test_a_named_factor_has_its_value_on_all_problems(coefficient: float, power: int, name: str) -> None:
    values = [coefficient * problem[name] ** power for problem in PROBLEMS]
    factor = name_factor(values, PROBLEMS)
    assert factor is not None
    assert [factor.evaluate(problem) for problem in PROBLEMS] == pytest.approx(values)
    assert [eval(factor.text, {}, dict(problem)) for problem in PROBLEMS] == pytest.approx(values)


@pytest.mark.parametrize("power", [1, -1])
def test_a_number_times_or_divided_by_the_images_is_named(power: int) -> None:
    values = [0.37 * problem["N"] ** power for problem in PROBLEMS]
    factor = name_factor(values, PROBLEMS)
    assert factor is not None
    assert factor.text == {1: "0.37*N", -1: "0.37/N"}[power]
    assert [factor.evaluate(problem) for problem in PROBLEMS] == pytest.approx(values)


def test_a_factor_without_a_common_name_has_none() -> None:
    assert name_factor([0.3, 0.4, 0.1], PROBLEMS) is None


def test_a_constant_is_its_own_name() -> None:
    factor = name_factor([0.37, 0.37, 0.37], PROBLEMS)
    assert factor is not None
    assert factor.text == "0.37"


def test_factors_multiply_with_their_names() -> None:
    first = name_factor([2 * problem["lam"] for problem in PROBLEMS], PROBLEMS)
    second = name_factor([1 / problem["N"] for problem in PROBLEMS], PROBLEMS)
    assert first is not None
    assert second is not None
    assert (first * second).text == "2*lam/N"


def test_a_power_of_a_number_is_not_named_on_one_problem() -> None:
    factor = name_factor([0.01], [{"N": 7, "lam": 0.1}])
    assert factor is not None
    assert factor.text == "0.01"
