"""The checks of numbers that are given as arguments."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.system.numbers import check_count, check_real

REAL = [0, -1, 2.5, float("nan"), np.float32(1), np.int8(3), Fraction(1, 3)]
NOT_REAL = ["0.1", None, 1j, [1.0], np.ones(1)]


@pytest.mark.parametrize("number", REAL, ids=repr)
def test_a_real_number_passes(number):
    check_real("f: x", number)


@pytest.mark.parametrize("number", NOT_REAL, ids=repr)
def test_anything_but_a_real_number_raises(number):
    with pytest.raises(TypeError, match=r"^f: x must be a number; got "):
        check_real("f: x", number)


@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([int, np.int64]))
def test_a_count_is_at_least_its_bound(number, least, kind):
    if number >= least:
        check_count("f: n", kind(number), least)
    else:
        with pytest.raises(ValueError, match=f"^f: n must be an integer of at least {least}; got "):
            check_count("f: n", kind(number), least)


def test_a_count_is_at_least_1_by_default():
    check_count("f: n", 1)
    with pytest.raises(ValueError, match=r"^f: n must be an integer of at least 1; got 0$"):
        check_count("f: n", 0)


@pytest.mark.parametrize("number", [1.0, True, np.float64(2.0), Fraction(3, 1)], ids=repr)
def test_a_number_that_is_not_an_integer_raises_value_error(number):
    with pytest.raises(ValueError, match=r"^f: n must be an integer of at least 1; got "):
        check_count("f: n", number)


@pytest.mark.parametrize("number", NOT_REAL, ids=repr)
def test_a_count_that_is_not_a_number_raises_type_error(number):
    with pytest.raises(TypeError, match=r"^f: n must be an integer of at least 1; got "):
        check_count("f: n", number)
