"""Search spaces: grids, ranges, labels, texts and JSON."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygrad_cifar.search import Choice, LogUniform, SearchError, Uniform, grid_points, random_points
from tinygrad_cifar.search.space import (
    derive_seed,
    dimension_from_json,
    format_space_json,
    from_labels,
    listed_space,
    silence_optuna,
    space_to_json,
    suggest_point,
    to_labels,
)

values = st.one_of(
    st.booleans(),
    st.integers(2, 9),
    st.floats(2.5, 9),
    st.text(max_size=3),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
choices = st.lists(values, min_size=1, max_size=4, unique=True).map(Choice)
positive = st.floats(1e-6, 1e3)
points = st.none() | st.integers(2, 9)


@st.composite
def ranges(draw, kinds=(Uniform, LogUniform)):
    low, high = sorted((draw(positive), draw(positive)))
    assume(high > 1.001 * low)
    return draw(st.sampled_from(kinds))(low, high, draw(points))


dimensions = choices | ranges()
spaces = st.dictionaries(st.sampled_from("abc"), dimensions, min_size=1)


class FixedTrial:
    """A trial that suggests the last label and the upper end, and records what it was asked."""

    def __init__(self):
        self.asked = {}

    def suggest_categorical(self, name, labels):
        self.asked[name] = labels
        return labels[-1]

    def suggest_float(self, name, low, high, *, log=False):
        self.asked[name] = (low, high, log)
        return high


# -- grids and ranges --------------------------------------------------------------------------------------------------


@given(ranges())
def test_a_grid_has_its_ends_and_equal_steps_or_ratios(dimension):
    if dimension.points is None:
        with pytest.raises(SearchError, match="needs the number of points"):
            dimension.grid()
        return
    found = np.array(dimension.grid())
    assert len(found) == dimension.points
    assert found[[0, -1]] == pytest.approx([dimension.low, dimension.high])
    steps = np.diff(np.log(found) if isinstance(dimension, LogUniform) else found)
    assert steps == pytest.approx(steps[0])


@given(choices)
def test_the_grid_of_a_choice_is_its_values(choice):
    assert choice.grid() == list(choice.values)


@given(st.dictionaries(st.sampled_from("abc"), choices, min_size=1))
def test_grid_points_are_all_combinations_in_order(space):
    expected = [dict(zip(space, row, strict=True)) for row in itertools.product(*(c.values for c in space.values()))]
    assert grid_points(space) == expected


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf), (-math.inf, 0.0)])
@pytest.mark.parametrize("kind", [Uniform, LogUniform])
def test_a_range_must_be_finite_and_increasing(kind, ends):
    with pytest.raises(SearchError, match="a range must go from a lower to a higher number"):
        kind(*ends)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_only_a_linear_range_may_start_at_0_or_below(low):
    assert Uniform(low, 1.0).low == low
    with pytest.raises(SearchError, match="a logarithmic range must be above 0"):
        LogUniform(low, 1.0)


@pytest.mark.parametrize("kind", [Uniform, LogUniform])
def test_a_grid_has_at_least_two_points(kind):
    assert kind(1.0, 2.0, 2).grid() == [1.0, 2.0]
    for count in (1, 0, -1):
        with pytest.raises(SearchError, match="at least 2 points"):
            kind(1.0, 2.0, count)


@pytest.mark.parametrize("wrong", [[], [1, 1], [1, 2, 1], [(1,), (1,)]])
def test_a_choice_must_have_different_values(wrong):
    with pytest.raises(SearchError, match="must have different values, at least one"):
        Choice(wrong)


@given(ranges(), st.floats(0, 1), st.floats(0.05, 1))
def test_a_narrower_range_has_its_share_of_the_width(dimension, place, share):
    scale = math.log if isinstance(dimension, LogUniform) else float
    back = math.exp if isinstance(dimension, LogUniform) else float
    low, high = scale(dimension.low), scale(dimension.high)
    centre = back(low + place * (high - low))
    half = share * (high - low) / 2
    assume(dimension.low < centre < dimension.high)
    found = dimension.around(centre, share, within=dimension)
    assert type(found) is type(dimension)
    assert found.points == dimension.points
    assert found.low == pytest.approx(max(dimension.low, back(scale(centre) - half)), rel=1e-9, abs=1e-12)
    assert found.high == pytest.approx(min(dimension.high, back(scale(centre) + half)), rel=1e-9, abs=1e-12)


def test_a_range_is_centred_and_clipped_to_another():
    assert Uniform(2, 6).around(5, 0.5, within=Uniform(0, 10)) == Uniform(4.0, 6.0)
    assert Uniform(2, 6).around(5, 1.0, within=Uniform(0, 6.5)) == Uniform(3.0, 6.5)
    assert Uniform(2, 6).around(2, 1.0, within=Uniform(1.5, 6)) == Uniform(1.5, 4.0)
    assert LogUniform(1, 100).around(10, 0.5, within=LogUniform(1, 100)).high == pytest.approx(10**1.5)


@pytest.mark.parametrize("centre", ["1", None, (1,)])
def test_the_centre_of_a_range_must_be_a_number(centre):
    with pytest.raises(TypeError, match="the centre of a range must be a number"):
        Uniform(0, 1).around(centre, 0.5, within=Uniform(0, 1))


# -- labels ------------------------------------------------------------------------------------------------------------


@given(spaces, st.data())
def test_a_point_is_restored_from_its_labels(space, data):
    point = {
        name: data.draw(st.sampled_from(d.values)) if isinstance(d, Choice) else data.draw(st.floats(d.low, d.high))
        for name, d in space.items()
    }
    labels = to_labels(space, point)
    assert from_labels(space, dict(reversed(labels.items()))) == point
    assert list(from_labels(space, dict(reversed(labels.items())))) == list(space)
    assert all(not isinstance(label, tuple) for label in labels.values())


@given(spaces)
def test_a_missing_label_is_left_out(space):
    assert from_labels(space, {}) == {}


@given(spaces)
def test_a_trial_is_asked_for_every_parameter(space):
    trial = FixedTrial()
    labels = suggest_point(space, trial)
    assert list(labels) == list(space)
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            assert trial.asked[name] == [dimension.label(value) for value in dimension.values]
            assert dimension.value(labels[name]) == dimension.values[-1]
        else:
            assert trial.asked[name] == (dimension.low, dimension.high, isinstance(dimension, LogUniform))
            assert dimension.value(labels[name]) == dimension.high


def test_the_value_of_a_range_is_a_float():
    assert type(Uniform(0, 5).value(3)) is float
    assert Uniform(0, 5).label(3) == 3


# -- JSON and text -----------------------------------------------------------------------------------------------------


@given(spaces)
def test_a_space_is_restored_from_json(space):
    stored = json.loads(json.dumps(space_to_json(space)))
    assert {name: dimension_from_json(dimension) for name, dimension in stored.items()} == space


@given(st.lists(st.dictionaries(st.sampled_from("ab"), values, min_size=1), min_size=1, max_size=3))
def test_a_list_of_points_is_stored_as_choices_of_one(listed):
    stored = json.loads(json.dumps(space_to_json(listed)))
    found = [{name: dimension_from_json(d).values for name, d in point.items()} for point in stored]
    assert found == [{name: (value,) for name, value in point.items()} for point in listed]


def test_numpy_numbers_are_stored_as_numbers():
    assert Choice([np.float64(0.5), np.int64(3)]).to_json() == {"choice": [0.5, 3]}
    assert json.dumps(Uniform(np.float64(0), np.float64(1)).to_json()) == '{"lin": [0.0, 1.0, null]}'


@pytest.mark.parametrize(
    ("dimension", "text"),
    [
        (Choice([True, False]), "grid:yes,no"),
        (Choice([0.1, 1e-20, 3, "adam"]), "grid:0.1,1e-20,3,adam"),
        (Choice([(50,), (20, 10)]), "grid:50,20+10"),
        (Uniform(0, 1), "lin:0:1"),
        (Uniform(0.1, 0.123456789012345, 7), "lin:0.1:0.123456789012345:7"),
        (LogUniform(0.001, 0.1 + 0.2), "log:0.001:0.3"),
    ],
)
def test_a_dimension_is_written_as_on_the_command_line(dimension, text):
    assert str(dimension) == text


def test_a_list_of_points_is_written_with_semicolons():
    stored = space_to_json([{"eta": 0.1, "flip": True}, {"eta": 0.2, "flip": False}])
    assert format_space_json(stored) == "eta=grid:0.1 flip=grid:yes; eta=grid:0.2 flip=grid:no"


# -- points ------------------------------------------------------------------------------------------------------------


def test_the_space_of_listed_points_has_every_value_once():
    found = listed_space([{"a": 1, "b": "x"}, {"b": "y", "a": 1}, {"a": 2, "b": "x"}])
    assert found == {"a": Choice([1, 2]), "b": Choice(["x", "y"])}


@pytest.mark.parametrize("wrong", [[], [{"a": 1}, {"b": 1}], [{"a": 1}, {"a": 1, "b": 2}]])
def test_listed_points_must_have_the_same_parameters(wrong):
    with pytest.raises(SearchError, match="a list of points must have at least one"):
        listed_space(wrong)


@given(st.integers(0, 2**32), st.integers(0, 100), st.integers(0, 100))
def test_derived_seeds_are_those_of_numpy_and_differ(seed, one, other):
    assert derive_seed(seed, one) == int(np.random.SeedSequence([seed, one]).generate_state(1)[0])
    assert (derive_seed(seed, one) == derive_seed(seed, other)) == (one == other)


def test_random_points_are_in_their_ranges_and_fill_them():
    pytest.importorskip("optuna")
    space = {"lin": Uniform(2.0, 4.0), "log": LogUniform(1e-4, 1.0), "one": Choice([1, 2, 3])}
    drawn = random_points(space, 60)
    assert len(drawn) == 60
    assert drawn == random_points(space, 60, seed=0) != random_points(space, 60, seed=1)
    assert all(2 <= point["lin"] <= 4 and 1e-4 <= point["log"] <= 1 for point in drawn)
    assert 0.3 < np.mean([point["log"] < 1e-2 for point in drawn]) < 0.7  # half of the logarithms
    assert {point["one"] for point in drawn} == {1, 2, 3}


def test_optuna_logs_only_errors_inside_the_block():
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        with silence_optuna():
            assert optuna.logging.get_verbosity() == optuna.logging.ERROR
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)
