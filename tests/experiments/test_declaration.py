"""Declarations: jobs, their keys, durations and small versions, and the published settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.catalogue import EXPERIMENTS, REPORTS
from tinygrad_cifar.experiments.declaration import (
    Experiment,
    GradientCheckJob,
    Gradients,
    PublishedAccuracy,
    TrainingJob,
)

FULL = Settings(train_batches=(1, 2, 3, 4, 5), validation_batch=None, validation_size=5000)


def test_an_experiment_has_a_run_for_each_seed():
    runs = {"a": Settings(eta=0.1), "b": Settings(eta=0.2)}
    made = Experiment(
        name="x", report="000", source="", title="", about="", runs=runs, more_seeds={"b": 5}, untested=("b",)
    )
    assert [job.settings.seed for job in made.trainings("a")] == [0, 1, 2]
    assert [job.settings.seed for job in made.trainings("b")] == [0, 1, 2, 3, 4]
    assert {job.settings.eta for job in made.trainings("b")} == {0.2}
    assert ({job.test for job in made.trainings("a")}, {job.test for job in made.trainings("b")}) == ({True}, {False})


def test_the_jobs_are_all_trainings_and_checks():
    checks = tuple(Gradients(GradientCheckJob(kind, "000")) for kind in ("softmax", "svm"))
    made = Experiment(
        name="x", report="000", source="", title="", about="", runs={"a": FULL, "b": Settings()}, gradients=checks
    )
    for small in (False, True):
        expected = [*made.trainings("a", small=small), *made.trainings("b", small=small), *made.checks(small=small)]
        assert made.jobs(small=small) == expected
        assert len(expected) == 8
    assert made.jobs() == made.jobs(small=False)
    assert made.trainings("a") == made.trainings("a", small=False)
    assert made.checks() == [check.check for check in checks]
    assert made.jobs(small=True) == [job.smoke_version() for job in made.jobs()]


@pytest.mark.parametrize(("report", "origin"), [("003", "Report 003, Table 1"), ("record", "Table 1")])
def test_the_origin_names_the_report(report, origin):
    assert Experiment(name="x", report=report, source="Table 1", title="", about="").origin == origin


@pytest.mark.parametrize(
    "wrong",
    [
        {"untested": ("b",)},
        {"more_seeds": {"b": 2}},
        {"numbers": (PublishedAccuracy("", "a", "test", 1.0, reference="b"),)},
    ],
)
def test_a_run_that_is_not_declared_is_refused(wrong):
    with pytest.raises(ValueError, match=r"got \['b'\]"):
        Experiment(name="x", report="000", source="", title="", about="", runs={"a": Settings()}, **wrong)


def test_an_experiment_has_no_optional_part_by_default():
    made = Experiment(name="x", report="000", source="", title="", about="")
    assert (made.jobs(), made.numbers, made.figures, made.untested, made.on_request) == ([], (), (), (), False)
    assert PublishedAccuracy("", "a", "test", 1.0).minor is False


# -- small versions ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 300))
def test_a_small_run_has_a_tenth_of_the_epochs(epochs):
    assert TrainingJob(replace(FULL, epochs=epochs)).smoke_version().settings.epochs == max(1, epochs // 10)


@given(st.integers(1, 2000), st.integers(0, 9000))
def test_a_small_run_has_a_fifth_of_the_images(batch_size, validation_size):
    small = TrainingJob(replace(FULL, batch_size=batch_size, validation_size=validation_size)).smoke_version().settings
    assert small.batch_size == max(1, batch_size // 5)
    assert small.validation_size == validation_size // 5
    assert small.train_size is None


def test_a_small_run_on_few_images_has_its_batches():
    settings = replace(FULL, train_size=100, batch_size=10, validation_size=50)
    small = TrainingJob(settings).smoke_version().settings
    assert (small.train_size, small.batch_size, small.validation_size) == (100, 10, 50)


def test_a_small_run_with_whitening_has_few_images():
    whitened = replace(FULL, preprocessing="whiten", components=20, batch_size=2000)
    small = TrainingJob(whitened).smoke_version().settings
    assert (small.train_size, small.batch_size) == (300, 300)


def test_a_small_run_of_a_large_network_has_a_tenth_of_the_units():
    large = replace(FULL, model="convnet", hidden=(640, 300, 1000))
    assert TrainingJob(large).smoke_version().settings.hidden == (64, 30, 100)


def test_a_small_run_of_a_large_network_on_patches_has_a_tenth_of_the_filters():
    small = TrainingJob(replace(FULL, model="patchify", hidden=(500,), filters=100)).smoke_version().settings
    assert (small.hidden, small.filters) == ((50,), 10)


def test_a_small_run_of_a_small_network_has_its_units():
    settings = replace(FULL, model="patchify", hidden=(300,), filters=40)
    assert TrainingJob(settings).smoke_version().settings.hidden == (300,)


@given(st.integers(1, 100), st.integers(1, 5000), st.none() | st.integers(1, 5000))
def test_lengths_in_steps_keep_their_share_of_the_run(epochs, n_s, every):
    small = TrainingJob(replace(FULL, epochs=epochs, n_s=n_s, measure_every=every)).smoke_version().settings
    share = small.epochs / epochs
    assert small.n_s == max(1, round(n_s * share))
    assert small.measure_every == (None if every is None else max(1, round(every * share)))


@pytest.mark.parametrize("test", [True, False])
def test_a_small_run_keeps_all_other_settings(test):
    job = TrainingJob(replace(FULL, eta=0.3, lam=0.2, seed=7, epochs=40, schedule="cosine"), test)
    small = job.smoke_version()
    changed = {name for name, value in asdict(small.settings).items() if asdict(job.settings)[name] != value}
    assert changed <= {"epochs", "batch_size", "validation_size", "train_size", "n_s", "measure_every"}
    assert small.test is test


def test_a_small_check_has_few_features():
    small = GradientCheckJob("svm", "001").smoke_version()
    assert small == GradientCheckJob("svm", "001", 40)
    assert GradientCheckJob("svm", "001").features == 3072


# -- keys, names and durations -----------------------------------------------------------------------------------------


def test_a_key_starts_with_the_model_and_says_whether_the_test_images_are_used():
    tested, untested = (TrainingJob(Settings(model="svm"), test) for test in (True, False))
    assert tested.key.startswith("svm-")
    assert untested.key == f"{tested.key}-untested"
    assert TrainingJob(Settings(model="svm")) == tested


@pytest.mark.parametrize("change", [{"kind": "svm"}, {"report": "001"}, {"features": 5}])
def test_the_key_of_a_check_depends_on_all_of_it(change):
    job = GradientCheckJob("softmax", "000")
    assert job.key.startswith("gradients-")
    assert replace(job, **change).key != job.key
    assert replace(job).key == job.key


def test_a_job_is_described_for_messages():
    assert GradientCheckJob("svm", "001").name == "gradient check of report 001, svm"
    assert "eta 0.3" in TrainingJob(Settings(eta=0.3)).name


@given(st.integers(1, 20), st.sampled_from(["softmax", "svm"]))
def test_the_duration_grows_with_the_epochs(epochs, model):
    one, other, third = (TrainingJob(replace(FULL, epochs=epochs * k, model=model)).cost for k in (1, 2, 3))
    assert other > one > 0
    assert third - other == pytest.approx(other - one)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (Settings(epochs=10), 0.0025 * 100 + 12 * 20 * 0.0015),
        (Settings(epochs=10, model="svm"), 0.003 * 100 + 12 * 20 * 0.0015),
        (Settings(epochs=10, train_size=1000), 0.0025 * 10 + 12 * 11 * 0.0015),
        (Settings(epochs=10, validation_batch=None, validation_size=1000), 0.0025 * 90 + 12 * 10 * 0.0015),
        (Settings(epochs=10, validation_batch=None), 0.0025 * 100 + 12 * 10 * 0.0015),
        (Settings(epochs=10, flip=True), 0.006 * 100 + 12 * 20 * 0.0015),
        (Settings(epochs=10, shift=1), 0.006 * 100 + 12 * 20 * 0.0015),
        (Settings(epochs=10, measure_every=50, batch_size=100), 0.0025 * 100 + 22 * 20 * 0.0015),
        (Settings(epochs=10, preprocessing="whiten", components=9), 0.0025 * 100 + 12 * 20 * 0.0015 + 15),
        (Settings(epochs=10, preprocessing="whiten", components=9, flip=True), 0.011 * 100 + 12 * 20 * 0.0015 + 15),
        (FULL, 0.0025 * 45 * FULL.epochs + (FULL.epochs + 2) * 50 * 0.0015),
        (replace(FULL, epochs=2, model="two-layer", hidden=(5,)), 0.009 * 90 + 4 * 50 * 0.0015),
        (
            replace(FULL, epochs=2, model="patchify", hidden=(5,), filter_size=8, filters=3),
            (0.01 + 8e-8 * (3072 * 3 + 16 * 3 * 5)) * 90 + 4 * 50 * 0.0015,
        ),
        (
            replace(FULL, epochs=2, model="perceptron", hidden=(5, 4)),
            (0.01 + 8e-8 * (3072 * 5 + 5 * 4)) * 90 + 4 * 50 * 0.0015,
        ),
        (
            replace(FULL, epochs=2, model="convnet", hidden=(5,), depth=2),
            (0.01 + 8e-8 * 9 * (31**2 * 24 * 5 + 15**2 * 5 * 5)) * 90 + 4 * 50 * 0.0015,
        ),
    ],
)
def test_the_duration_is_that_of_updates_measurements_and_whitening(settings, seconds):
    assert TrainingJob(settings).cost == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("kind", "report", "features", "seconds"),
    [
        ("softmax", "000", 3072, 20),
        ("two-layer", "000", 3072, 40),
        ("two-layer", "002", 3072, 4),
        ("softmax", "000", 1536, 10),
        ("two-layer", "003", 1536, 4),
        ("softmax", "002", 768, 1),
    ],
)
def test_the_duration_of_a_check_depends_on_its_features(kind, report, features, seconds):
    assert GradientCheckJob(kind, report, features).cost == pytest.approx(seconds)


# -- the published experiments -----------------------------------------------------------------------------------------

# A change of these digests is a change of published settings or values: the reports must then be reproduced again.
PUBLISHED = {
    "000": "75e3e1d90039ca21",
    "001": "57f106b97fbba7ef",
    "002": "425d9a1909de8708",
    "003": "d53e089e87683421",
    "004": "a06820fb2e52ccfb",
    "a3": "904af8a5a29eef22",
    "record": "fef3fd8bd5f3c006",
    "patchify": "ac97e440800dc309",
    "fully-connected": "446241d0b37f998e",
    "convnet": "e7dbdfa4ef1ceaaf",
}


@pytest.mark.parametrize("report", REPORTS)
def test_the_published_runs_and_values_are_those_of_the_pages(report):
    declared = [e for e in EXPERIMENTS.values() if e.report == report]
    content = {
        e.name: [
            sorted(job.key for job in e.jobs()),
            [[n.run, n.quantity, n.reported, n.reference, n.minor] for n in e.numbers],
            [sorted((*names, value) for names, value in g.reported.items()) for g in e.gradients],
            e.on_request,
        ]
        for e in declared
    }
    assert hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16] == PUBLISHED[report]
