"""Jobs: what a worker saves for a training run and for a gradient check."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from tinygrad_cifar.course.evaluation import confusion_matrix
from tinygrad_cifar.course.models import SoftmaxRegression
from tinygrad_cifar.course.preparation import prepare
from tinygrad_cifar.course.runs import run
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import builtin_dataset
from tinygrad_cifar.engine.gradcheck import relative_errors
from tinygrad_cifar.experiments import jobs, timing
from tinygrad_cifar.experiments.declaration import GradientCheckJob, TimingJob, TrainingJob
from tinygrad_cifar.experiments.jobs import run_job
from tinygrad_cifar.experiments.outcomes import OutcomeError, OutcomeStore
from tinygrad_cifar.experiments.report_checks import run_report_checks
from tinygrad_cifar.system.memory import peak_bytes, reset_peak

SMALL = Settings(train_size=40, validation_batch=None, validation_size=20, batch_size=10, epochs=2)


@pytest.fixture(name="store")
def _store(tmp_path):
    return OutcomeStore(tmp_path, "digest")


@pytest.mark.parametrize(
    "values", [{}, {"preprocessing": "whiten", "components": 5}, {"model": "two-layer", "hidden": (3,)}]
)
def test_a_training_job_saves_the_outcome_of_its_run(store, values):
    job = TrainingJob(replace(SMALL, **values))
    before = time.process_time()
    assert run_job("builtin", store, job) == ""
    found = store.load_training(job)
    assert 0 < found.cpu <= time.process_time() - before
    prepared = prepare(builtin_dataset(), job.settings)
    expected = run(job.settings, prepared)
    assert {k: v for k, v in found.result.items() if k not in ("settings", "seconds")} == {
        k: v for k, v in expected.to_json().items() if k not in ("settings", "seconds")
    }
    assert found.history.to_csv() == expected.history.to_csv()
    assert (found.arrays["confusion"] == confusion_matrix(expected.model, prepared.test)).all()
    assert ("W" in found.arrays) == (not job.settings.hidden)
    if not job.settings.hidden:
        pixels = prepared.preprocessing.of_pixels(expected.model.W.data)
        np.testing.assert_array_equal(found.arrays["W"], pixels)
        X, labels = prepared.train
        scores = X @ expected.model.W.data + expected.model.b.data
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        errors = p / p.sum(axis=1, keepdims=True) - np.eye(10)[labels]
        np.testing.assert_allclose(found.arrays["gradient"], X.T @ errors / len(X), atol=1e-10)


def test_an_untested_job_has_no_confusion_matrix(store):
    job = TrainingJob(SMALL, test=False)
    assert run_job("builtin", store, job) == ""
    found = store.load_training(job)
    assert "confusion" not in found.arrays
    assert found.result["test_accuracy"] is None


def test_an_outcome_that_is_there_is_not_computed_again(store):
    job = TrainingJob(SMALL, test=False)
    run_job("builtin", store, job)
    before = store.path(job).stat().st_mtime_ns
    assert run_job("a folder that does not exist", store, job) == ""
    assert store.path(job).stat().st_mtime_ns == before


def test_the_error_of_a_job_is_returned(store, tmp_path):
    error = run_job(str(tmp_path / "missing"), store, TrainingJob(SMALL))
    assert error.startswith("DataError: ")
    assert not store.has(TrainingJob(SMALL))


def test_a_patchify_job_saves_its_filters(store):
    job = TrainingJob(replace(SMALL, model="patchify", hidden=(3,), filter_size=16, filters=2))
    assert run_job("builtin", store, job) == ""
    expected = run(job.settings, prepare(builtin_dataset(), job.settings)).model.filters_as_images()
    np.testing.assert_array_equal(store.load_training(job).arrays["filters"], expected)


def test_the_confusion_matrix_of_a_job_is_that_of_the_views(store):
    job = TrainingJob(replace(SMALL, views="six"))
    assert run_job("builtin", store, job) == ""
    found = store.load_training(job)
    assert found.arrays["confusion"].trace() == round(found.accuracy("test") / 100 * found.arrays["confusion"].sum())


def test_a_job_saves_the_images_with_the_largest_losses(store):
    job = TrainingJob(SMALL)
    assert run_job("builtin", store, job) == ""
    found, test = store.load_training(job).arrays, builtin_dataset().test
    prepared = prepare(builtin_dataset(), job.settings)
    scores = run(job.settings, prepared).model(prepared.test[0]).data
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    losses = -np.log(p / p.sum(axis=1, keepdims=True))[np.arange(len(p)), test.labels]
    worst = np.argsort(-losses)[:20]
    np.testing.assert_array_equal(found["mistakes"].T, test.images[worst])
    np.testing.assert_array_equal(found["mistaken_classes"], [test.labels[worst], scores[worst].argmax(axis=1)])


@pytest.mark.parametrize("values", [{"model": "perceptron", "hidden": (4,)}, {"model": "convnet", "hidden": (2, 2)}])
def test_the_weights_of_a_first_layer_are_saved_as_images(store, values):
    job = TrainingJob(replace(SMALL, **values), test=False)
    assert run_job("builtin", store, job) == ""
    assert store.load_training(job).arrays["filters"].shape == (3072, 24 if "convnet" in values.values() else 4)


@pytest.mark.skipif(not reset_peak(), reason="the system cannot reset the peak")
def test_the_largest_memory_of_a_job_is_saved_without_that_of_earlier_ones(store):
    np.ones(300_000_000, np.uint8)
    earlier = peak_bytes()
    job = TrainingJob(SMALL, test=False)
    assert run_job("builtin", store, job) == ""
    assert 10_000_000 < store.load_training(job).peak < earlier - 100_000_000


def test_where_peaks_cannot_be_reset_only_a_larger_one_is_saved(store, monkeypatch):
    monkeypatch.setattr(jobs, "reset_peak", lambda: False)
    peaks = [10_000, 12_345, 12_345, 12_345]  # before and after each of two runs
    monkeypatch.setattr(jobs, "peak_bytes", lambda: peaks.pop(0))
    first, second = (TrainingJob(replace(SMALL, seed=seed), test=False) for seed in (0, 1))
    for job in (first, second):
        assert run_job("builtin", store, job) == ""
    assert store.load_training(first).peak == 12_345
    assert store.load_training(second).peak is None  # this run has used no more than the first


def test_a_long_job_continues_after_a_kill_to_the_same_result(store, tmp_path, monkeypatch):
    job = TrainingJob(replace(SMALL, epochs=3), test=False)
    expected = OutcomeStore(tmp_path / "other", "digest")
    expected.folder.mkdir()
    assert run_job("builtin", expected, job) == ""
    monkeypatch.setattr(jobs, "_LONG", 0.0)
    epochs = []

    def stop_in_the_second_epoch(_, epoch, *__):
        epochs.append(epoch)
        if epochs == [0, 1]:
            raise RuntimeError("killed")

    monkeypatch.setattr(SoftmaxRegression, "start_epoch", stop_in_the_second_epoch, raising=False)
    assert run_job("builtin", store, job) == "RuntimeError: killed"
    assert store.checkpoint(job).exists()
    assert run_job("builtin", store, job) == ""
    assert epochs == [0, 1, 1, 2]
    assert not store.checkpoint(job).exists()
    found, whole = (s.load_training(job).history for s in (store, expected))
    assert found.to_csv() == whole.to_csv()


def test_a_damaged_checkpoint_is_replaced(store, monkeypatch):
    job = TrainingJob(replace(SMALL, epochs=2), test=False)
    monkeypatch.setattr(jobs, "_LONG", 0.0)
    store.checkpoint(job).parent.mkdir()
    store.checkpoint(job).write_bytes(b"damaged")
    assert run_job("builtin", store, job) == ""
    assert len(store.load_training(job).history.rows) == 3


def test_a_checkpoint_that_cannot_be_read_is_kept(store, monkeypatch):
    job = TrainingJob(replace(SMALL, epochs=2), test=False)
    monkeypatch.setattr(jobs, "_LONG", 0.0)
    store.checkpoint(job).mkdir(parents=True)
    assert "could not be read" in run_job("builtin", store, job)
    assert store.checkpoint(job).exists()


TIMING = TimingJob(16, 2, 3, batch_size=4, steps=2, rounds=1)


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_timing_job_saves_milliseconds_and_those_of_torch_if_it_is_installed(store, monkeypatch, is_installed):
    torch_step = (lambda *_: lambda _: None) if is_installed else (lambda *_: None)
    monkeypatch.setattr(timing, "_torch_step", torch_step)
    assert run_job("builtin", store, TIMING) == ""
    found = store.load_timing(TIMING)
    assert found.ours > 0
    assert (found.torch is not None) == is_installed
    assert found.cpu > 0


def test_a_step_of_torch_is_timed_if_it_is_installed():
    pytest.importorskip("torch")
    assert timing.time_steps(TIMING, np.ones((4, 3072), np.float32), np.arange(4))["torch"] > 0


@pytest.mark.parametrize(("report", "kind"), [("000", "softmax"), ("002", "softmax"), ("000", "svm")])
def test_a_check_saves_its_metrics(store, report, kind):
    job = GradientCheckJob(kind, report, 8)
    before = time.process_time()
    assert run_job("builtin", store, job) == ""
    found = store.load_check(job)
    assert 0 < found.cpu <= time.process_time() - before
    (check,) = run_report_checks(kind, builtin_dataset(), reports=(report,), features=8)
    assert (found.setting, [asdict(metric) for metric in found.metrics]) == (
        check.setting,
        [asdict(metric) for metric in check.metrics],
    )
    if report == "002":
        first = check.comparisons[0]
        np.testing.assert_array_equal(found.errors, relative_errors(first.analytic, first.one_sided))
    else:
        assert found.errors is None


def test_outcomes_of_other_jobs_are_not_confused(store):
    job = TrainingJob(SMALL, test=False)
    run_job("builtin", store, job)
    other = replace(job, settings=replace(SMALL, seed=1))
    store.path(job).rename(store.path(other))
    with pytest.raises(OutcomeError, match="holds another run: its seed was 0 and is 1 now"):
        store.load_training(other)
    with pytest.raises(OutcomeError, match="does not exist"):
        store.load_training(job)
