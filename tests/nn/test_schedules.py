"""Schedules: pure functions of the step, with the values of the formulas in the reports."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.nn.schedules import Constant, Cosine, Exponential, Step, Triangular, WarmUp

rates = st.floats(0, 1)
steps = st.integers(0, 10_000)
spans = st.integers(1, 500)

plain = st.one_of(
    st.builds(Constant, rates),
    st.builds(Exponential, rates, st.floats(0.5, 1), spans),
    st.builds(Step, rates, st.floats(0, 1), spans),
    st.builds(Triangular, rates, rates, spans),
    st.builds(Cosine, rates, rates, spans),
)
schedules = plain | st.builds(WarmUp, plain, spans)


@given(schedules, st.lists(steps, min_size=1))
def test_a_rate_depends_only_on_its_step(schedule, asked):
    in_order = [schedule(t) for t in asked]
    assert [schedule(t) for t in reversed(asked)] == in_order[::-1]


@given(schedules, steps)
def test_a_rate_is_a_python_float(schedule, t):
    assert type(schedule(t)) is float


@given(schedules)
def test_a_schedule_can_be_copied_pickled_and_evaluated_from_its_repr(schedule):
    assert copy.deepcopy(schedule) == pickle.loads(pickle.dumps(schedule)) == eval(repr(schedule)) == schedule


@given(schedules)
def test_a_schedule_is_hashable(schedule):
    assert {schedule: 1}[copy.deepcopy(schedule)] == 1


@given(rates, steps)
def test_constant_is_constant(eta, t):
    assert Constant(eta)(t) == eta


@given(rates, st.floats(0, 1), spans, st.integers(0, 20), st.data())
def test_exponential_is_constant_within_an_epoch(eta, decay, length, epoch, data):
    t = epoch * length + data.draw(st.integers(0, length - 1))
    assert Exponential(eta, decay, length)(t) == pytest.approx(eta * math.prod([decay] * epoch), rel=1e-12)


def test_exponential_matches_report_001():
    """0.02, times 0.9 after each epoch of 100 steps."""
    schedule = Exponential(0.02, 0.9, 100)
    assert [schedule(100 * epoch) for epoch in range(3)] == pytest.approx([0.02, 0.018, 0.0162])


@given(rates, st.floats(0, 1), spans, steps)
def test_step_multiplies_the_rate_by_its_factor_after_each_interval(eta, factor, every, t):
    schedule = Step(eta, factor, every)
    assert schedule(t + every) == pytest.approx(schedule(t) * factor, rel=1e-12)


@given(rates, rates, spans, steps)
def test_triangular_stays_between_its_rates(one, other, n_s, t):
    low, high = sorted((one, other))
    assert low - 1e-15 <= Triangular(low, high, n_s)(t) <= high + 1e-15


@given(rates, rates, spans, steps)
def test_triangular_repeats_after_two_half_cycles(low, high, n_s, t):
    schedule = Triangular(low, high, n_s)
    assert schedule(t + 2 * n_s) == schedule(t)


@given(rates, rates, spans, steps)
def test_triangular_changes_by_the_same_amount_every_step(low, high, n_s, t):
    schedule = Triangular(low, high, n_s)
    assert abs(schedule(t + 1) - schedule(t)) == pytest.approx(abs(high - low) / n_s, abs=1e-12)


@given(rates, rates, spans, st.data())
def test_triangular_is_symmetric(low, high, n_s, data):
    t = data.draw(st.integers(0, n_s))
    schedule = Triangular(low, high, n_s)
    assert schedule(n_s + t) == schedule(n_s - t)


@given(st.integers(0, 5))
def test_triangular_matches_report_003(cycle):
    """From 1e-5 to 1e-1 and back in 1000 steps."""
    schedule = Triangular(1e-5, 1e-1, 500)
    at = [schedule(1000 * cycle + t) for t in (0, 250, 500, 750, 1000)]
    assert at == pytest.approx([1e-5, 0.050005, 0.1, 0.050005, 1e-5], rel=1e-12)


@given(rates, rates, spans, steps)
def test_cosine_follows_half_a_cosine_and_is_then_constant(high, low, n, t):
    way = min(t, n) / n
    expected = low + (high - low) * math.cos(math.pi * way / 2) ** 2
    assert Cosine(high, low, n)(t) == pytest.approx(expected, abs=1e-12)


@given(rates, rates, spans, steps)
def test_cosine_never_increases(one, other, n, t):
    low, high = sorted((one, other))
    schedule = Cosine(high, low, n)
    assert schedule(t + 1) <= schedule(t) + 1e-15


@given(plain, spans, steps)
def test_warm_up_never_exceeds_the_wrapped_schedule(schedule, n, t):
    assert WarmUp(schedule, n)(t) <= schedule(t)


@given(plain, spans, steps)
def test_after_the_warm_up_the_rate_is_that_of_the_wrapped_schedule(schedule, n, t):
    assert WarmUp(schedule, n)(n - 1 + t) == schedule(n - 1 + t)


@given(rates, spans, st.data())
def test_warm_up_grows_linearly(eta, n, data):
    t = data.draw(st.integers(0, n - 1))
    assert WarmUp(Constant(eta), n)(t) == pytest.approx(eta * (t + 1) / n, rel=1e-12)


@given(rates, spans)
def test_warm_up_starts_above_zero(eta, n):
    assert (WarmUp(Constant(eta), n)(0) > 0) == (eta / n > 0)


@pytest.mark.parametrize("length", [0, -3])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("steps_per_epoch", lambda n: Exponential(0.1, 0.9, n)),
        ("every", lambda n: Step(0.1, 0.9, n)),
        ("n_s", lambda n: Triangular(0.0, 0.1, n)),
        ("steps", lambda n: Cosine(0.1, 0.0, n)),
        ("steps", lambda n: WarmUp(Constant(0.1), n)),
    ],
)
def test_a_length_below_one_raises(name, make, length):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got {length}"):
        make(length)


@given(rates, rates, spans, st.data())
def test_cosine_follows_half_a_cosine_on_its_way(high, low, n, data):
    t = data.draw(st.integers(0, n))
    expected = low + (high - low) * math.cos(math.pi * t / n / 2) ** 2
    assert Cosine(high, low, n)(t) == pytest.approx(expected, abs=1e-12)


def test_cosine_is_half_way_in_the_middle():
    assert Cosine(0.5, 0.1, 100)(50) == pytest.approx(0.3)
