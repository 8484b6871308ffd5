"""Coarse-to-fine search on objectives whose noise is known: statistics, reasons to stop, and arguments."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_cifar.search import Choice, LogUniform, SearchError, Uniform
from tinygrad_cifar.search.coarse_to_fine import Finalist, coarse_to_fine

GRID = {"x": Uniform(0.0, 6.0, points=7)}
NOISE = (50.0, -0.1, 0.0, 0.1)  # by the seed; the first screens only


def search(objective, space=GRID, **options):
    with ThreadPoolExecutor(1) as thread:
        return coarse_to_fine(objective, space, executor=thread, workers=1, **options)


def noisy(height):
    """Return an objective of x with the noise of NOISE."""
    return lambda point: height(point["x"]) + NOISE[point["seed"]]


def slope(point):
    return point["x"] + NOISE[point["seed"]]


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=6))
def test_a_finalist_has_the_mean_and_the_deviation_of_its_values(values):
    finalist = Finalist({}, tuple(values))
    assert finalist.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert finalist.spread == pytest.approx(statistics.stdev(values), abs=1e-7)


def test_the_defaults_are_four_seeds_three_finalists_a_third_and_six_rounds():
    calls = Counter()

    def objective(point):
        calls[point["seed"]] += 1
        return -abs(point["x"] - 6 + 1e-7)  # without noise, and best near an end, so every round gains

    found = search(objective, {"x": Uniform(0.0, 6.0, points=7)})
    widths = [r.space["x"].high - r.space["x"].low for r in found.rounds]
    assert len(found.rounds) <= 6
    assert widths[1] == pytest.approx(1)  # a third of 6, of which half is beyond the end
    assert all(len(r.finalists) == 3 for r in found.rounds)
    assert set(calls) == {0, 1, 2, 3}
    assert len(found.best.values) == 3


@pytest.mark.parametrize("finalists", [1, 2, 5])
def test_the_best_points_of_the_screening_are_the_finalists(finalists):
    found = search(slope, finalists=finalists, max_rounds=1)
    (only,) = found.rounds
    assert [trial.params["x"] for trial in only.trials] == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    assert [finalist.params["x"] for finalist in only.finalists] == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0][:finalists]
    assert only.finalists[0].values == pytest.approx([6 + NOISE[seed] for seed in (1, 2, 3)])
    assert found.best == only.finalists[0]
    assert found.finalists == only.finalists


def test_noise_is_pooled_over_the_finalists_of_all_rounds():
    def objective(point):  # the noise grows with x
        return point["x"] + NOISE[point["seed"]] * point["x"]

    found = search(objective, max_rounds=2)
    for k, made in enumerate(found.rounds):
        known = [finalist for r in found.rounds[: k + 1] for finalist in r.finalists]
        different = [f for i, f in enumerate(known) if f not in known[:i]]
        assert made.noise == pytest.approx(math.sqrt(statistics.fmean(f.spread**2 for f in different)))
    assert found.standard_error == pytest.approx(found.rounds[-1].noise / math.sqrt(3))


def test_the_best_is_that_of_all_rounds():
    def objective(point):  # 3 is best; all points of the second round but known ones are bad
        return 5.0 - abs(point["x"] - 3) if point["x"] == round(point["x"]) else -9.0

    found = search(objective, noise_free := GRID, max_rounds=3)
    assert noise_free is GRID
    assert found.best.params == {"x": 3.0}
    assert found.reason.startswith("the last round gained nothing")


# -- reasons to stop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_number_of_rounds_is_limited(rounds):
    def objective(point):  # without noise, each round comes closer
        return -abs(point["x"] - 2.45)

    found = search(objective, max_rounds=rounds)
    assert len(found.rounds) == rounds
    assert found.reason == f"round {rounds} is the last that is allowed"


def test_a_space_of_choices_has_one_round():
    found = search(slope, {"x": Choice([1.0, 2.0, 8.0])})
    assert len(found.rounds) == 1
    assert found.reason == "there is no range to shrink"


@pytest.mark.parametrize(
    ("spread", "words"),
    [(0.99, "not more than the 0.10 of"), (1.3, "hardly more than the 0.10 of"), (1.6, "there is no range")],
)
def test_points_that_vary_no_more_than_their_seeds_end_the_search(spread, words):
    """The sample standard deviation of the three points is ``spread`` times that of the seeds, 0.1."""
    values = {1.0: -0.1 * spread, 2.0: 0.0, 3.0: 0.1 * spread}
    found = search(
        lambda p: values[p["x"]] + NOISE[p["seed"]] * (p["seed"] > 0), {"x": Choice(values)}, value_format=".2f"
    )
    assert found.reason.startswith(
        ("the points of the last round, each with one seed, have a standard deviation of", words)
    )
    assert words in found.reason


@pytest.mark.parametrize(("gain", "stops"), [(0.05, True), (0.08, True), (0.09, False)])
def test_a_gain_within_its_standard_error_ends_the_search(gain, stops):
    """The standard error of the difference of two means of three values with deviation 0.1 is 0.0816."""
    best = 5.0 + gain

    def height(x):
        return {3.0: 5.0}.get(x, best if x == pytest.approx(10 / 3) else -abs(x - 3))

    found = search(noisy(height), max_rounds=2, value_format=".4f")
    assert len(found.rounds) == 2
    expected = f"the last round gained {gain:.4f}, within the standard error of such a gain, 0.0816"
    assert (found.reason == expected) == stops
    assert found.best.params["x"] == pytest.approx(10 / 3)


def test_no_gain_at_all_ends_the_search():
    found = search(noisy(lambda x: -abs(x - 3)), max_rounds=5)
    assert len(found.rounds) == 2
    assert found.reason.startswith("the last round gained nothing")


# -- ranges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shrink", [0.2, 0.5])
@pytest.mark.parametrize("kind", [Uniform, LogUniform])
def test_a_range_shrinks_around_the_best_point(kind, shrink):
    space = {"x": kind(1.0, 16.0, points=5)}
    middle = space["x"].grid()[2]
    found = search(noisy(lambda x: -abs(x - middle - 0.001)), space, shrink=shrink, max_rounds=2)
    assert found.rounds[1].space["x"] == space["x"].around(middle, shrink, within=space["x"])


def test_values_of_a_choice_without_a_finalist_are_left_out():
    space = {**GRID, "kind": Choice(["a", "b", "c"])}

    def objective(point):
        return point["x"] + {"a": 0.5, "b": -50.0, "c": 0.25}[point["kind"]]

    found = search(objective, space, max_rounds=2)
    assert found.rounds[1].space["kind"] == Choice(["a", "c"])
    assert found.best.params == {"x": 6.0, "kind": "a"}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_each_round_has_the_trials_of_its_sampler(sampler):
    found = search(slope, {"x": Uniform(0.0, 6.0)}, sampler=sampler, trials=5, max_rounds=2, seed=3)
    assert [len(made.trials) for made in found.rounds] == [5] * len(found.rounds)
    assert all(trial.params["seed"] == 0 for made in found.rounds for trial in made.trials)


# -- failures and arguments --------------------------------------------------------------------------------------------


def test_points_that_fail_are_no_finalists():
    def objective(point):
        if point["x"] > 4:
            raise ValueError("too large")
        return slope(point)

    found = search(objective, max_rounds=1)
    assert [finalist.params["x"] for finalist in found.finalists] == [4.0, 3.0, 2.0]


def test_a_finalist_needs_all_of_its_seeds():
    def objective(point):
        if point["x"] == 6 and point["seed"] == 2:
            raise ValueError("no luck")
        return slope(point)

    found = search(objective, max_rounds=1)
    assert [finalist.params["x"] for finalist in found.finalists] == [5.0, 4.0]


def test_a_round_without_finalists_is_an_error():
    def objective(point):
        if point["seed"]:
            raise ValueError("no luck")
        return point["x"]

    with pytest.raises(
        SearchError, match=r"no finalist of search, round 1 is complete with all of the seeds \[1, 2, 3\]"
    ):
        search(objective)


def test_a_round_without_a_result_names_the_first_failure():
    def objective(_):
        raise ValueError("no luck")

    with pytest.raises(
        SearchError, match="no trial of mine, round 1 is complete; the first failed with: ValueError: no luck"
    ):
        search(objective, name="mine")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": {"seed": Choice([1, 2])}}, "must not contain seed"),
        ({"seeds": (0, 1, 2)}, "at least 4 different seeds"),
        ({"seeds": (0, 1, 2, 2)}, "at least 4 different seeds"),
        ({"finalists": 0}, "finalists and max_rounds must be at least 1"),
        ({"max_rounds": 0}, "finalists and max_rounds must be at least 1"),
        ({"shrink": 0}, "shrink between 0 and 1"),
        ({"shrink": 1}, "shrink between 0 and 1"),
    ],
)
def test_impossible_arguments_are_refused(options, words):
    with pytest.raises(SearchError, match=words):
        search(slope, **{"space": GRID} | options)


@settings(max_examples=10)
@given(st.integers(4, 6))
def test_the_first_seed_screens_and_the_others_repeat(count):
    found = search(lambda point: point["x"] + point["seed"] % 3, seeds=range(count), max_rounds=1)
    assert len(found.best.values) == count - 1
    assert all(trial.params["seed"] == 0 for trial in found.rounds[0].trials)


def test_one_finalist_for_each_round_is_enough():
    found = search(lambda point: -abs(point["x"] - 2.45), finalists=1, max_rounds=3)
    assert [len(made.finalists) for made in found.rounds] == [1, 1, 1]
    assert abs(found.best.params["x"] - 2.45) < 0.05
