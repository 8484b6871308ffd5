"""Execution of a search in one process: points, results, states, order and the callback."""

from __future__ import annotations

import math
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar import search as package
from tinygrad_cifar.search import Choice, ObjectiveResult, SearchError, Uniform, search
from tinygrad_cifar.search.execution import sorted_trials
from tinygrad_cifar.search.trial_store import Trial

SPACE = {"x": Choice([3.0, 1.0, 2.0])}


def value_of(point):
    return point["x"]


def run(objective=value_of, space=SPACE, **options):
    with ThreadPoolExecutor(1) as thread:
        return search(objective, space, executor=thread, **options)


def test_trials_are_sorted_by_their_values():
    assert [(trial.params, trial.value) for trial in run()] == [({"x": x}, x) for x in (3.0, 2.0, 1.0)]


def some_trial(number, state, value):
    return Trial(number, {}, state, value, {}, 0.0, 1, "")


@given(st.lists(st.tuples(st.sampled_from(["complete", "diverged", "failed"]), st.sampled_from([-1.0, 0.0, 2.0]))))
def test_complete_trials_come_first_and_the_earlier_of_equals(drawn):
    trials = [some_trial(i, state, value) for i, (state, value) in enumerate(drawn)]
    complete = [t for t in trials if t.state == "complete"]
    others = [t for t in trials if t.state != "complete"]
    for given_trials in (trials, trials[::-1]):
        assert sorted_trials(given_trials) == [*sorted(complete, key=lambda t: (-t.value, t.number)), *others]


def test_a_value_and_details_may_be_returned():
    (trial,) = run(lambda point: ObjectiveResult(point["x"] / 2, {"half": 1.0}), {"x": Choice([3.0])})
    assert (trial.state, trial.value, trial.details, trial.attempts) == ("complete", 1.5, {"half": 1.0}, 1)
    assert trial.seconds >= 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_divergence(value):
    (trial,) = run(lambda _: value, {"x": Choice([3.0])})
    assert (trial.state, trial.reason) == ("diverged", f"the objective returned {value}")


def test_an_error_is_a_failure_with_its_reason():
    def fail(_):
        raise KeyError("speed")

    (trial,) = run(fail, {"x": Choice([3.0])})
    assert (trial.state, trial.reason) == ("failed", "KeyError: 'speed'")
    assert trial.seconds >= 0


def test_an_arithmetic_error_is_a_divergence_with_its_message():
    def fail(_):
        raise ZeroDivisionError("no slope")

    (trial,) = run(fail, {"x": Choice([3.0])})
    assert (trial.state, trial.reason) == ("diverged", "no slope")


def test_the_callback_sees_every_state_of_the_search():
    seen = []
    run(callback=seen.append, name="mine")
    assert [(p.name, len(p.trials), p.total) for p in seen] == [("mine", k, 3) for k in range(4)]
    assert [None if p.best is None else p.best.value for p in seen] == [None, 3.0, 3.0, 3.0]


def test_there_is_no_best_trial_before_one_is_complete():
    seen = []
    run(lambda _: math.nan, callback=seen.append)
    assert {p.best for p in seen} == {None}


def test_a_list_of_points_is_tried_as_it_is():
    found = run(space=[{"x": 5.0}, {"x": 7.0}])
    assert [trial.params for trial in found] == [{"x": 7.0}, {"x": 5.0}]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_sampler_makes_the_requested_number_of_trials(sampler, count):
    found = run(space={"x": Uniform(0, 1)}, sampler=sampler, trials=count)
    assert sorted(trial.number for trial in found) == list(range(count))
    assert len({trial.params["x"] for trial in found}) == count


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": {}}, "must not be empty"),
        ({"trials": 3}, "a grid has as many trials as points"),
        ({"sampler": "guess"}, "must be grid, random or tpe; got 'guess'"),
        ({"sampler": "random"}, "needs the number of trials, at least 1; got None"),
        ({"sampler": "tpe", "trials": 0}, "needs the number of trials, at least 1; got 0"),
        ({"space": [{"x": 1.0}], "sampler": "random", "trials": 3}, "apply only to a space"),
        ({"space": [{"x": 1.0}], "trials": 3}, "apply only to a space"),
        ({"workers": 0}, "at least 1 worker; got 0"),
    ],
)
def test_contradictory_arguments_are_refused(options, words):
    with pytest.raises(SearchError, match=words):
        run(**options)


def test_an_objective_that_cannot_be_sent_to_a_worker_is_refused():
    with pytest.raises(SearchError, match="the objective must be picklable"):
        search(lambda _: 0.0, SPACE)


def other_value(point):
    return -point["x"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": other_value}, "objective"),
        ({"space": {"x": Choice([3.0])}}, "space"),
        ({"sampler": "random", "trials": 3}, "sampler"),
    ],
)
def test_a_storage_belongs_to_one_search_of_a_name(tmp_path, options, words):
    run(storage=tmp_path / "trials.db")
    with pytest.raises(SearchError, match=words):
        run(storage=tmp_path / "trials.db", **options)
    assert len(run(storage=tmp_path / "trials.db", name="another", **options)) >= 1


@pytest.mark.parametrize("name", ["{a}", "a?b", "50%25", "a#b", "a b"])
def test_the_name_of_a_storage_may_have_any_characters(tmp_path, name):
    (tmp_path / name).mkdir()
    found = run(storage=tmp_path / name / "trials.db")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "trials.db" in {path.name for path in (tmp_path / name).iterdir()}
    assert run(storage=tmp_path / name / "trials.db") == found


def test_the_seed_belongs_to_a_random_search_only(tmp_path):
    space = {"x": Uniform(0, 1, points=2)}
    run(space=space, storage=tmp_path / "trials.db", seed=1)
    assert len(run(space=space, storage=tmp_path / "trials.db", seed=2)) == 2
    run(space=space, storage=tmp_path / "trials.db", name="r", sampler="random", trials=1, seed=1)
    with pytest.raises(SearchError, match="seed"):
        run(space=space, storage=tmp_path / "trials.db", name="r", sampler="random", trials=1, seed=2)


def test_all_public_names_of_the_search_exist():
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert {*package.__all__} <= {*dir(package)}


def test_the_defaults_are_a_grid_seed_0_and_the_name_search():
    space = {"x": Uniform(0, 1, points=3)}
    seen = []
    assert [t.params for t in run(space=space, callback=seen.append)] == [{"x": 1.0}, {"x": 0.5}, {"x": 0.0}]
    assert {progress.name for progress in seen} == {"search"}
    for sampler in ("random", "tpe"):
        default, zero, one = (
            run(space=space, sampler=sampler, trials=3, **options) for options in ({}, {"seed": 0}, {"seed": 1})
        )
        assert [t.params for t in default] == [t.params for t in zero] != [t.params for t in one]


class LosingExecutor(Executor):
    """An executor all of whose workers are lost."""

    def submit(self, *_, **__):
        future = Future()
        future.set_exception(RuntimeError("gone"))
        return future


@pytest.mark.parametrize(("options", "attempts"), [({}, 3), ({"retries": 0}, 1), ({"retries": 4}, 5)])
def test_a_trial_whose_worker_is_lost_is_repeated_twice_by_default(options, attempts):
    (trial,) = search(value_of, {"x": Choice([1.0])}, executor=LosingExecutor(), workers=1, **options)
    assert (trial.state, trial.attempts) == ("failed", attempts)
    assert trial.reason == "its worker was lost (RuntimeError: gone)"


@dataclass(frozen=True)
class Scaled:
    """An objective with a parameter of its own."""

    factor: float

    def __call__(self, point):
        return self.factor * point["x"]


class Unnamed:
    """An objective that is neither a function nor a dataclass."""

    def __call__(self, point):
        return point["x"]


def test_a_resumed_search_must_have_the_same_objective(tmp_path):
    storage = tmp_path / "trials.db"
    run(Scaled(2.0), storage=storage)
    assert run(Scaled(2.0), storage=storage)[0].value == 6.0
    for other in (Scaled(3.0), value_of, Unnamed()):
        with pytest.raises(SearchError, match="objective"):
            run(other, storage=storage)


def test_objectives_without_parameters_are_told_apart_by_their_names(tmp_path):
    storage = tmp_path / "trials.db"
    for name, objective in (("a", value_of), ("b", Unnamed())):
        run(objective, storage=storage, name=name)
        assert len(run(objective, storage=storage, name=name)) == 3
    assert len(run(Unnamed(), storage=storage, name="b")) == 3  # another object of the same class
    with pytest.raises(SearchError, match="objective"):
        run(other_value, storage=storage, name="a")
