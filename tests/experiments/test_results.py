"""Results: accuracies, differences, explanations and their JSON, from drawn outcomes."""

from __future__ import annotations

import json
import statistics
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_results import some_history, some_outcome, some_results
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.course.training import History
from tinygrad_cifar.experiments.declaration import (
    NEAR,
    GradientCheckJob,
    Gradients,
    PublishedAccuracy,
    TrainingJob,
)
from tinygrad_cifar.experiments.outcomes import CheckOutcome, OutcomeStore
from tinygrad_cifar.experiments.report_checks import CheckMetric
from tinygrad_cifar.experiments.results import AccuracyComparison, load_results

NUMBER = PublishedAccuracy("a run: test", "one", "test", 50.0, reason="It differs.")
percents = st.lists(st.floats(1, 99), min_size=1, max_size=4)


def comparison(reproduced, number=NUMBER, **options):
    return AccuracyComparison(number, list(reproduced), 1.0, **options)


@given(percents)
def test_mean_and_spread_are_those_of_the_seeds(reproduced):
    found = comparison(reproduced)
    assert found.mean == pytest.approx(np.mean(reproduced))
    if len(reproduced) == 1:
        assert np.isnan(found.spread)
    else:
        assert found.spread == pytest.approx(np.std(reproduced, ddof=1))


@pytest.mark.parametrize("difference", [0.0, 1.0, NEAR, -NEAR])
def test_a_difference_up_to_the_bound_is_near(difference):
    assert comparison([50.0 + difference]).near
    assert not comparison([50.0 + 1.5 * difference]).near or abs(1.5 * difference) <= NEAR


def test_a_difference_above_the_bound_is_not_near():
    assert not comparison([50.01 + NEAR]).near
    assert not comparison([49.99 - NEAR]).near
    assert NEAR == 2


def test_only_reported_values_on_the_same_data_are_compared():
    unreported = replace(NUMBER, reported=None)
    assert comparison([1.0]).compared
    assert not comparison([1.0], comparable=False).compared
    assert not comparison([1.0], unreported).compared


@pytest.mark.parametrize(
    ("options", "reproduced", "expected"),
    [
        ({}, [40.0], "It differs."),
        ({"late_range": (40.0, 42.0)}, [40.0], "It differs."),
        (
            {"late_range": (40.0, 42.1)},
            [40.0],
            (
                "It differs. Over the last 10 measurements of these runs, "
                "the validation accuracy ranges from 40.0 to 42.1 %."
            ),
        ),
        ({}, [41.0, 40.0, 42.0], "It differs. The 3 seeds are between 40.00 and 42.00 %."),
        ({}, [41.0, 40.0], "It differs. The 2 seeds are between 40.00 and 41.00 %."),
    ],
)
def test_an_explanation_contains_what_is_known(options, reproduced, expected):
    assert comparison(reproduced, **options).explain_difference() == expected


def test_the_reference_run_is_part_of_the_explanation():
    number = replace(NUMBER, reason="", reference="another")
    found = comparison([40.0], number, reference=45.678).explain_difference()
    assert found == "The reproduction with another has 45.68 %."
    assert comparison([40.0], number).explain_difference() == ""


@pytest.mark.parametrize("quantity", ["train", "validation", "test"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_an_accuracy_is_that_of_its_run_in_percent(quantity, seeds):
    results = some_results(
        {"one": Settings(), "two": Settings(eta=0.5)},
        seeds=seeds,
        numbers=(PublishedAccuracy("x", "two", quantity, 50.0, reference="one"),),
    )
    (found,) = results.comparisons()
    expected = [100 * run.result[f"{quantity}_accuracy"] for run in results.trained["two"]]
    assert found.reproduced == expected
    assert found.reference == pytest.approx(
        statistics.fmean(100 * run.result[f"{quantity}_accuracy"] for run in results.trained["one"])
    )
    assert found.seconds == pytest.approx(statistics.fmean(run.cpu for run in results.trained["two"]))
    assert found.comparable


def test_the_best_validation_accuracy_is_that_of_all_measurements():
    outcome = some_outcome(3)
    best = max(row.validation_accuracy for row in outcome.history.rows)
    assert outcome.accuracy("best validation") == 100 * best


def test_small_results_are_not_compared():
    (found,) = some_results(small=True, numbers=(replace(NUMBER, run="one"),)).comparisons()
    assert not found.comparable
    assert found.reference is None


def late_range(history, **settings):
    run = Settings(epochs=30, **settings)
    outcomes = {"one": [replace(some_outcome(), history=history)]}
    results = some_results({"one": run}, outcomes=outcomes, numbers=(replace(NUMBER, run="one"),))
    return results.comparisons()[0].late_range


@pytest.mark.parametrize(("measurements", "known"), [(20, True), (19, False), (50, True)])
def test_the_late_range_is_that_of_the_last_ten_measurements(measurements, known):
    history = some_history(measurements - 1)
    last = 100 * history.column("validation_accuracy")[-10:]
    assert late_range(history) == ((last.min(), last.max()) if known else None)


def test_the_late_range_covers_all_seeds():
    histories = [some_history(30, seed=seed) for seed in range(3)]
    outcomes = {"one": [replace(some_outcome(), history=history) for history in histories]}
    results = some_results(seeds=3, outcomes=outcomes, numbers=(replace(NUMBER, run="one"),))
    last = 100 * np.concatenate([history.column("validation_accuracy")[-10:] for history in histories])
    assert results.comparisons()[0].late_range == (last.min(), last.max())


def test_cyclical_and_unvalidated_runs_have_no_late_range():
    assert late_range(some_history(40), schedule="triangular") is None
    assert late_range(some_history(40, validation=False)) is None


METRICS = [
    CheckMetric("W", "bounded", 1e-7, 1e-6, None, 1e-6),
    CheckMetric("W", "too large", 2e-6, 1e-6, None, 1e-6),
    CheckMetric("b", "reported", 3e-7, 1e-6, 0.25),
    CheckMetric("b", "not reported", 4e-7, 1e-6),
]


def check_results(*, small):
    gradients = Gradients(GradientCheckJob("softmax", "000"), {("b", "reported"): 5e-7, ("W", "reported"): 6.0})
    checked = [CheckOutcome("a setting", METRICS, None, 2.5)]
    return some_results({}, gradients=(gradients,), checked=checked, small=small)


def test_gradient_checks_are_compared_with_their_bounds_or_reported_values():
    rows = check_results(small=False).gradient_comparisons()
    assert [(row.parameter, row.name, row.centred, row.one_sided, row.analytic) for row in rows] == [
        (metric.parameter, metric.name, metric.centred, metric.one_sided, metric.analytic) for metric in METRICS
    ]
    assert [row.reported for row in rows] == [1e-6, 1e-6, 5e-7, None]
    assert [row.passed for row in rows] == [True, False, None, None]
    assert {row.setting for row in rows} == {"a setting"}


def test_small_gradient_checks_have_no_reported_values():
    rows = check_results(small=True).gradient_comparisons()
    assert {(row.reported, row.passed) for row in rows} == {(None, None)}


@pytest.mark.parametrize("centred", [1e-6, 0.9e-6])
def test_a_metric_up_to_its_bound_passes(centred):
    assert CheckMetric("W", "error", centred, 0.0, None, 1e-6).passed
    assert CheckMetric("W", "error", centred, 0.0).passed
    assert not CheckMetric("W", "error", 1.1e-6, 0.0, None, 1e-6).passed


def test_the_time_is_that_of_all_jobs():
    results = replace(check_results(small=False), trained={"one": [some_outcome(0), some_outcome(1)]})
    assert results.seconds == 1.25 + 2.25 + 2.5


def test_the_json_has_every_number():
    numbers = (NUMBER, replace(NUMBER, what="exact", reported=None, minor=True))
    results = some_results(seeds=2, numbers=numbers)
    found = json.loads(json.dumps(results.to_json()))
    (row, _) = results.comparisons()
    first, second = found["numbers"]
    assert first["reproduced"] == row.mean
    assert first["standard_deviation"] == row.spread
    assert first["seeds"] == row.reproduced
    assert first["difference"] == row.difference
    assert (first["reported"], first["what"], first["quantity"], first["minor"]) == (50.0, "a run: test", "test", False)
    assert first["within_two_points"] == row.near
    assert first["explanation"] == (None if row.near else row.explain_difference())
    assert first["cpu_seconds_of_a_run"] == 1.75
    assert (second["reported"], second["difference"], second["within_two_points"]) == (None, None, None)
    assert (second["explanation"], second["minor"]) == (None, True)
    assert found["cpu_seconds"] == 3.5
    assert [seed["seed"] for seed in found["runs"]["one"]["seeds"]] == [0, 1]
    assert [seed["cpu_seconds"] for seed in found["runs"]["one"]["seeds"]] == [1.25, 2.25]
    assert all("settings" not in seed for seed in found["runs"]["one"]["seeds"])
    assert found["runs"]["one"]["settings"] == results.trained["one"][0].result["settings"]
    assert {found[key] for key in ("name", "report", "source", "title")} == {
        "an-experiment",
        "003",
        "Table 1",
        "A title",
    }


def test_a_single_seed_has_no_standard_deviation_in_the_json():
    found = some_results(numbers=(NUMBER,)).to_json()["numbers"][0]
    assert found["standard_deviation"] is None


def test_a_near_value_has_no_explanation_in_the_json():
    results = some_results()
    exact = replace(NUMBER, reported=results.trained["one"][0].accuracy("test"))
    found = some_results(numbers=(exact,)).to_json()["numbers"][0]
    assert (found["explanation"], found["within_two_points"], found["difference"]) == (None, True, 0.0)


def test_results_are_loaded_as_they_were_saved(tmp_path):
    gradients = Gradients(GradientCheckJob("softmax", "000"))
    runs = {"a": Settings(epochs=4), "b": Settings(eta=0.5)}
    experiment = some_results(runs, seeds=2, gradients=(gradients,)).experiment
    store = OutcomeStore(tmp_path, "digest")
    expected = {}
    for small in (True, False):
        for k, job in enumerate(experiment.jobs(small=small)):
            if isinstance(job, TrainingJob):
                outcome = some_outcome(k + 10 * small, job.settings)
                rows = [[getattr(row, field.name) for field in fields(row)] for row in outcome.history.rows]
                store.save(job, outcome.arrays, {"scores": outcome.result, "rows": rows, "cpu": outcome.cpu})
                expected.setdefault((small, job.settings.eta), []).append(outcome)
            else:
                metrics = [vars(metric) for metric in METRICS]
                store.save(job, {"errors": np.eye(2)}, {"setting": "a setting", "figures": metrics, "cpu": 1.5})
            assert store.has(job)
    for small in (True, False):
        found = load_results(experiment, store, data="some data", class_names=("a",), small=small)
        assert (found.data, found.class_names, found.small) == ("some data", ("a",), small)
        for run, eta in (("a", Settings().eta), ("b", 0.5)):
            for loaded, saved in zip(found.trained[run], expected[small, eta], strict=True):
                assert loaded.result == saved.result
                assert loaded.cpu == saved.cpu
                assert isinstance(loaded.history, History)
                assert loaded.history.seconds == saved.result["seconds"]
                np.testing.assert_array_equal(loaded.history.column("train_loss"), saved.history.column("train_loss"))
                np.testing.assert_array_equal(loaded.arrays["W"], saved.arrays["W"])
        (check,) = found.checked
        assert (check.setting, check.metrics, check.cpu) == ("a setting", METRICS, 1.5)
        np.testing.assert_array_equal(check.errors, np.eye(2))
