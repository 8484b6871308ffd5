"""Initialisers: distributions, and dependence on the generator only."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.nn.initialisers import Absolute, FanIn, He, Normal, Xavier, Zeros

ALL = [Zeros(), Normal(0.3), FanIn(), Xavier(), He(), Absolute(Xavier()), Absolute(Normal(2.0))]
DEVIATIONS = [
    (Normal(0.3), lambda fan_in, fan_out: 0.3),  # noqa: ARG005
    (FanIn(), lambda fan_in, fan_out: 1 / np.sqrt(fan_in)),  # noqa: ARG005
    (Xavier(), lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out))),
    (He(), lambda fan_in, fan_out: np.sqrt(2 / fan_in)),  # noqa: ARG005
]
fans = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)
each = pytest.mark.parametrize("init", ALL, ids=repr)


@each
@given(fans, fans, seeds)
def test_an_initialiser_returns_a_float64_matrix_of_fan_in_by_fan_out(init, fan_in, fan_out, seed):
    W = init(np.random.default_rng(seed), fan_in, fan_out)
    assert (W.shape, W.dtype) == ((fan_in, fan_out), np.float64)


@each
@given(fans, fans, seeds)
def test_equal_generators_give_equal_weights(init, fan_in, fan_out, seed):
    once, again = (init(np.random.default_rng(seed), fan_in, fan_out) for _ in range(2))
    assert (once == again).all()


@pytest.mark.parametrize(("init", "deviation"), DEVIATIONS, ids=[repr(init) for init, _ in DEVIATIONS])
@given(st.integers(20, 200), st.integers(20, 200), seeds)
def test_weights_have_mean_zero_and_the_documented_standard_deviation(init, deviation, fan_in, fan_out, seed):
    W = init(np.random.default_rng(seed), fan_in, fan_out) / deviation(fan_in, fan_out)
    six_standard_errors = 6 / np.sqrt(W.size)
    assert abs(W.mean()) < six_standard_errors
    assert abs(W.std() - 1) < six_standard_errors


def test_zeros_are_zeros():
    assert not Zeros()(np.random.default_rng(0), 3, 2).any()


@pytest.mark.parametrize("init", [Normal(0.3), FanIn(), Xavier(), He()], ids=repr)
@given(fans, fans, seeds)
def test_absolute_returns_absolute_values_of_the_other_initialiser(init, fan_in, fan_out, seed):
    positive = Absolute(init)(np.random.default_rng(seed), fan_in, fan_out)
    assert (positive == np.abs(init(np.random.default_rng(seed), fan_in, fan_out))).all()


@each
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: eval(repr(x))])
def test_an_initialiser_can_be_copied_pickled_and_evaluated_from_its_repr(init, duplicate):
    assert duplicate(init) == init


@given(fans, fans, seeds)
def test_the_default_standard_deviation_is_one_hundredth(fan_in, fan_out, seed):
    default, explicit = (init(np.random.default_rng(seed), fan_in, fan_out) for init in (Normal(), Normal(0.01)))
    assert (default == explicit).all()
