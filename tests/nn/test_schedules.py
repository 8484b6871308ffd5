"""Schedules: pure functions of the step, with the values of the formulas in the reports."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.nn.schedules import Constant, Cosine, Exponential, Linear, Scaled, Step, Triangular, WarmUp

rates = st.floats(0, 1)
steps = st.integers(0, 10_000)
spans = st.integers(1, 500)

plain = st.one_of(
    st.builds(Constant, rates),
    st.builds(Exponential, rates, st.floats(0.5, 1), spans),
    st.builds(Step, rates, st.floats(0, 1), spans),
    st.builds(Triangular, rates, rates, spans),
    st.builds(Triangular, rates, rates, spans, st.integers(1, 3), st.floats(0, 2), st.none() | st.integers(1, 4)),
    st.builds(Linear, rates, st.integers(51, 500), st.integers(0, 50), rates, rates),
    st.builds(Cosine, rates, rates, spans),
)
schedules = plain | st.builds(WarmUp, plain, spans) | st.builds(Scaled, plain, rates)


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


def cycles_by_concatenation(low, high, n_s, growth, decay, cycles):
    """Return the rates of all steps of the cycles, each interpolated on its own."""
    parts = []
    for cycle in range(cycles):
        half, top = n_s * growth**cycle, low + (high - low) * decay**cycle
        parts.append(np.interp(np.arange(2 * half), [0, half, 2 * half], [low, top, low]))
    return np.concatenate(parts)


@given(rates, rates, st.integers(1, 20), st.integers(1, 3), st.floats(0, 1.5), st.integers(1, 4))
def test_cycles_grow_in_length_and_decay_in_height(low, high, n_s, growth, decay, cycles):
    expected = cycles_by_concatenation(low, high, n_s, growth, decay, cycles)
    schedule = Triangular(low, high, n_s, growth=growth, decay=decay)
    np.testing.assert_allclose([schedule(t) for t in range(len(expected))], expected, atol=1e-12)


@given(rates, rates, st.integers(1, 20), st.integers(1, 3), st.integers(1, 4), st.integers(0, 100))
def test_after_the_last_cycle_the_rate_remains_the_lowest(low, high, n_s, growth, cycles, further):
    end = len(cycles_by_concatenation(low, high, n_s, growth, 1.0, cycles))
    endless, ending = Triangular(low, high, n_s, growth), Triangular(low, high, n_s, growth, cycles=cycles)
    assert [ending(t) for t in range(end)] == [endless(t) for t in range(end)]
    assert ending(end + further) == low


def test_doubling_cycles_match_assignment_3():
    """Three cycles from half a cycle of 800 steps: 1600, 3200 and 6400 steps."""
    schedule = Triangular(1e-5, 0.1, 800, growth=2)
    at = [schedule(t) for t in (0, 800, 1600, 3200, 4800, 8000, 11200)]
    assert at == pytest.approx([1e-5, 0.1, 1e-5, 0.1, 1e-5, 0.1, 1e-5], rel=1e-12)


@given(rates, rates, rates, st.integers(51, 120), st.integers(0, 50), st.integers(0, 150))
def test_linear_interpolates_between_its_rates(eta, start, end, n, warm_up, t):
    corners = {0: start} | {warm_up: eta, n: end}
    assert Linear(eta, n, warm_up, start, end)(t) == pytest.approx(np.interp(t, [*corners], [*corners.values()]))


@pytest.mark.parametrize("warm_up", [-1, 10, 11])
def test_a_warm_up_that_does_not_end_before_the_last_step_raises(warm_up):
    with pytest.raises(ValueError, match=f"warm_up must be from 0 to 9, less than steps; got {warm_up}"):
        Linear(0.1, 10, warm_up)


@pytest.mark.parametrize("decay", [-0.5, float("nan")])
def test_a_negative_decay_of_cycles_raises(decay):
    with pytest.raises(ValueError, match=f"decay must be at least 0; got {decay}"):
        Triangular(0.0, 0.1, 5, decay=decay)


@given(plain, st.floats(0, 10), steps)
def test_a_scaled_schedule_is_the_schedule_times_its_factor(schedule, factor, t):
    assert Scaled(schedule, factor)(t) == factor * schedule(t)


@pytest.mark.parametrize("factor", [-1.0, float("nan")])
def test_a_negative_factor_raises(factor):
    with pytest.raises(ValueError, match=f"factor must be at least 0; got {factor}"):
        Scaled(Constant(0.1), factor)


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


@pytest.mark.parametrize("length", [0, -3, 2.5, math.nan])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("steps_per_epoch", lambda n: Exponential(0.1, 0.9, n)),
        ("every", lambda n: Step(0.1, 0.9, n)),
        ("n_s", lambda n: Triangular(0.0, 0.1, n)),
        ("growth", lambda n: Triangular(0.0, 0.1, 5, growth=n)),
        ("cycles", lambda n: Triangular(0.0, 0.1, 5, cycles=n)),
        ("steps", lambda n: Linear(0.1, n)),
        ("steps", lambda n: Cosine(0.1, 0.0, n)),
        ("steps", lambda n: WarmUp(Constant(0.1), n)),
    ],
)
def test_a_length_below_one_raises(name, make, length):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1; got {length}"):
        make(length)


@pytest.mark.parametrize("make", [lambda rate: WarmUp(rate, 10), lambda rate: Scaled(rate, 0.5)])
def test_a_number_in_place_of_a_schedule_raises(make):
    with pytest.raises(TypeError, match=r"schedule must be a function of the step, such as Constant\(0.1\); got 0.1"):
        make(0.1)


@given(rates, rates, spans, st.data())
def test_cosine_follows_half_a_cosine_on_its_way(high, low, n, data):
    t = data.draw(st.integers(0, n))
    expected = low + (high - low) * math.cos(math.pi * t / n / 2) ** 2
    assert Cosine(high, low, n)(t) == pytest.approx(expected, abs=1e-12)


def test_cosine_is_half_way_in_the_middle():
    assert Cosine(0.5, 0.1, 100)(50) == pytest.approx(0.3)


@pytest.mark.parametrize("rate", [Exponential(0.1, 1e300, 1), Exponential(0.1, 10, 1), Step(0.1, 10.0, 1)])
def test_a_rate_that_overflows_is_infinite(rate):
    assert rate(400) == math.inf


def test_a_rate_of_zero_stays_zero():
    assert Exponential(0.0, 1e300, 1)(400) == 0
