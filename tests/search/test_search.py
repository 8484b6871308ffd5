"""Searches: points, results, resumption after a kill, lost workers, clusters, and the coarse-to-fine search."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.official_format import draw_batches, write_python_version
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.search import (
    Choice,
    LogUniform,
    ObjectiveResult,
    SearchError,
    SearchProgress,
    Space,
    Trial,
    Uniform,
    ValidationAccuracy,
    grid_points,
    random_points,
    search,
)
from tinygrad_cifar.search.coarse_to_fine import coarse_to_fine
from tinygrad_cifar.search.space import dimension_from_json, format_space_json, space_to_json
from tinygrad_cifar.search.trial_store import TrialStore

optuna = pytest.importorskip("optuna", reason="searches need optuna")

posix = pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX systems do")

GRID: Space = {"x": Choice(range(4)), "y": Choice(["a", "b", "c"])}
RANGE: Space = {"lam": LogUniform(1e-5, 1e-1, points=8)}
ROOT = Path(__file__).parents[2]


# Objectives that worker processes can import.


@dataclass(frozen=True)
class LoggingObjective:
    """Objective that logs each call and its process."""

    folder: Path
    seconds: float = 0.0

    def __call__(self, point):
        number = len(point) and 3 * point["x"] + "abc".index(point["y"])
        with (self.folder / "calls").open("a") as file:
            file.write(f"{number} {os.getpid()}\n")  # one write, so that lines of two processes do not mix
        time.sleep(self.seconds)
        return ObjectiveResult(float(number), {"doubled": 2 * number})


@dataclass(frozen=True)
class WorkerKillingObjective(LoggingObjective):
    """Objective that kills its worker at one point: once, or always."""

    always: bool = False

    def __call__(self, point):
        result = super().__call__(point)
        if result.value == 5 and (self.always or calls(self.folder)[5] == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def calls(folder):
    """Return how often each point was started."""
    return Counter(int(line.split()[0]) for line in (folder / "calls").read_text().splitlines())


def pids(folder):
    return {int(line.split()[1]) for line in (folder / "calls").read_text().splitlines()}


def reversed_delay(point):
    time.sleep(0.05 * (3 - point["x"]))
    return float(point["x"])


def parabola(point):
    return -((math.log10(point["lam"]) + 2) ** 2)


def failing_objective(point):
    if point["x"] == 0:
        raise OverflowError("the loss became inf")
    if point["x"] == 1:
        return math.nan
    if point["x"] == 2:
        raise SettingsError("there is no such thing")
    return 1


@dataclass(frozen=True)
class Hill:
    """Objective with a known maximum, and noise of known size derived from the point and its seed."""

    best: float = 4e-3
    noise: float = 0.003
    height: float = 0.05
    universe: int = 0

    def __call__(self, point):
        rng = random.Random(f"{self.universe} {sorted(point.items())}")
        away = math.log10(point["lam"] / self.best)
        return 0.5 - self.height * away**2 + rng.gauss(0, self.noise)


class SynchronousExecutor(Executor):
    """Executor that runs each call in the calling thread, so an interruption in a call interrupts the search."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextlib.contextmanager
def thread(count: int = 1):
    with ThreadPoolExecutor(count) as executor:
        yield {"executor": executor, "workers": count}


def complete_attempts(storage: Path, name: str = "search") -> list[int]:
    """Return the points of the complete trials as Optuna reads them."""
    database = optuna.storages.RDBStorage(f"sqlite:///{storage}")
    study = optuna.load_study(study_name=name, storage=database)
    points = [t.user_attrs["point"] for t in study.trials if t.state.name == "COMPLETE"]
    database.remove_session()
    database.engine.dispose()
    return sorted(points)


def searching_process(folder: Path, storage: Path, seconds: float, callback: str = "None") -> subprocess.Popen[bytes]:
    """Start a process that searches GRID."""
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from tests.search.test_search import GRID, LoggingObjective, search\n"
        f"objective, callback = LoggingObjective(Path({str(folder)!r}), {seconds}), {callback}\n"
        f"found = search(objective, GRID, storage={str(storage)!r}, workers=2, callback=callback)\n"
        "print(len(found))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


# Points.

dimensions = st.one_of(
    st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True).map(Choice),
    st.tuples(st.floats(-5, 5), st.floats(0.1, 5), st.integers(2, 5)).map(lambda t: Uniform(t[0], t[0] + t[1], t[2])),
    st.tuples(st.floats(1e-6, 1), st.floats(1.1, 1e4), st.integers(2, 5)).map(
        lambda t: LogUniform(t[0], t[0] * t[1], t[2])
    ),
)
spaces = st.dictionaries(st.sampled_from(["lam", "eta", "decay"]), dimensions, min_size=1)


def is_inside(dimension, value):
    if isinstance(dimension, Choice):
        return value in dimension.values
    return dimension.low <= value <= dimension.high


@given(spaces)
def test_a_grid_has_every_combination_once(space):
    points = grid_points(space)
    assert len({tuple(p.values()) for p in points}) == len(points) == math.prod(len(d.grid()) for d in space.values())


@given(spaces)
def test_a_grid_is_inside_its_space_and_includes_the_ends_of_its_ranges(space):
    points = grid_points(space)
    for name, dimension in space.items():
        values = [p[name] for p in points]
        assert all(is_inside(dimension, v) for v in values)
        if not isinstance(dimension, Choice):
            assert (min(values), max(values)) == (dimension.low, dimension.high)


@given(spaces, st.integers(0, 2**32))
def test_random_points_are_inside_their_space(space, seed):
    assert all(is_inside(space[name], value) for p in random_points(space, 3, seed) for name, value in p.items())


@given(spaces, st.integers(0, 2**32))
def test_a_random_point_depends_only_on_the_seed_and_its_number(space, seed):
    assert random_points(space, 4, seed)[:2] == random_points(space, 2, seed)


def test_random_points_of_a_logarithmic_range_cover_its_decades():
    exponents = [math.log10(p["lam"]) for p in random_points({"lam": LogUniform(1e-4, 1)}, 200)]
    counts = np.histogram(exponents, bins=4, range=(-4, 0))[0]
    assert counts.min() > 25  # 50 expected, with a standard deviation of 6


def test_the_grid_of_report_003_equals_numpys_logspace():
    assert LogUniform(1e-5, 1e-1, points=8).grid() == pytest.approx(np.logspace(-5, -1, 8).tolist())


@given(st.floats(1e-5, 1e-1), st.floats(0.05, 0.9))
def test_a_range_around_a_centre_contains_it_and_stays_within(centre, share):
    whole = LogUniform(1e-5, 1e-1)
    narrow = whole.around(centre, share, within=whole)
    assert whole.low <= narrow.low <= centre <= narrow.high <= whole.high
    assert math.log(narrow.high / narrow.low) <= share * math.log(1e4) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Choice([]), "at least one"),
        (lambda: Choice([1, 1]), "different"),
        (lambda: Uniform(1, 1), "1 to 1"),
        (lambda: LogUniform(0, 1), "above 0"),
        (lambda: Uniform(0, math.inf), "inf"),
        (lambda: Uniform(0, 1, points=1), "at least 2 points"),
        (lambda: grid_points({"lam": Uniform(0, 1)}), "points="),
        (lambda: search(parabola, {}), "empty"),
        (lambda: search(parabola, GRID, sampler="random"), "number of trials"),
        (lambda: search(parabola, GRID, trials=3), "as many trials as points"),
        (lambda: search(parabola, GRID, sampler="best"), "'best'"),
        (lambda: search(parabola, GRID, workers=0), "at least 1 worker"),
        (lambda: search(lambda _: 1.0, GRID), "top level of a module"),
        (lambda: search(parabola, [{"x": 1}, {"y": 1}]), "same settings"),
        (lambda: coarse_to_fine(parabola, {"seed": Choice([1])}), "must not contain seed"),
        (lambda: coarse_to_fine(parabola, GRID, seeds=(1, 2, 3)), "at least 4 different"),
    ],
)
def test_invalid_arguments_are_refused(make, words):
    with pytest.raises(SearchError, match=words):
        make()


@given(spaces)
def test_a_space_can_be_stored_as_json(space):
    stored = json.loads(json.dumps(space_to_json(space)))
    assert {name: dimension_from_json(dimension) for name, dimension in stored.items()} == space


def test_a_stored_space_is_formatted_like_the_option_vary():
    space = {"eta": LogUniform(1e-3, 0.1, 5), "q": Uniform(0, 1), "hidden": Choice([(50,), (200, 100)])}
    assert format_space_json(space_to_json(space)) == "eta=log:0.001:0.1:5 q=lin:0:1 hidden=grid:50,200+100"
    assert format_space_json(space_to_json([{"x": 1}, {"x": True}])) == "x=grid:1; x=grid:yes"


def test_a_file_that_is_not_a_storage_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear reader, " * 100)
    for storage in (tmp_path / "nowhere" / "trials.db", tmp_path / "letter.txt"):
        with thread() as where, pytest.raises(SearchError, match=f"{storage.name} cannot be used as the storage"):
            search(parabola, GRID, storage=storage, **where)


def test_a_journal_is_refused(tmp_path):
    with thread() as where, pytest.raises(SearchError, match="not a journal; name another file"):
        search(parabola, GRID, storage=tmp_path / "trials.journal", **where)
    assert list(tmp_path.iterdir()) == []


# Results.


def test_a_search_returns_every_point_of_a_grid_the_best_first(tmp_path):
    with thread() as where:
        found = search(LoggingObjective(tmp_path), GRID, **where)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert [t.params for t in sorted(found, key=lambda t: t.number)] == grid_points(GRID)
    assert calls(tmp_path) == dict.fromkeys(range(12), 1)


def test_a_trial_has_the_result_of_its_objective():
    with thread() as where:
        (trial,) = search(reversed_delay, [{"x": 2}], **where)
    assert (trial.number, trial.params, trial.state, trial.value, trial.attempts) == (0, {"x": 2}, "complete", 2.0, 1)
    assert 0.05 <= trial.seconds < 5


def test_choices_may_be_tuples():
    with thread() as where:
        found = search(lambda p: len(p["hidden"]), {"hidden": Choice([(50,), (50, 30)])}, **where)
    assert [t.params["hidden"] for t in found] == [(50, 30), (50,)]


def results(found: list[Trial]) -> list[tuple[object, ...]]:
    return [(t.number, t.params, t.value) for t in sorted(found, key=lambda t: t.number)]


@pytest.mark.parametrize("how", [{"sampler": "grid"}, {"sampler": "random", "trials": 4, "seed": 3}])
def test_the_points_do_not_depend_on_the_workers_or_their_order(how):
    space = {"x": Choice(range(4))}
    with thread(1) as one, thread(4) as four:
        assert results(search(reversed_delay, space, **how, **one)) == results(
            search(reversed_delay, space, **how, **four)
        )


def test_tpe_with_one_worker_is_reproducible_and_better_than_random():
    how = {"space": {"lam": LogUniform(1e-8, 1e4)}, "trials": 40, "seed": 1}
    with thread() as where:
        first, again = (search(parabola, sampler="tpe", **how, **where) for _ in range(2))
        chance = search(parabola, sampler="random", **how, **where)
    assert results(first) == results(again)
    assert sum(t.value > -0.5 for t in first) > 2 * sum(t.value > -0.5 for t in chance)


def test_a_search_can_be_continued_with_more_trials(tmp_path):
    how = {"space": {"lam": LogUniform(1e-5, 1)}, "sampler": "random", "storage": tmp_path / "trials.db"}
    with thread() as where:
        few = search(parabola, trials=3, **how, **where)
        more = search(parabola, trials=5, **how, **where)
    assert results(more)[:3] == results(few)
    assert complete_attempts(tmp_path / "trials.db") == [0, 1, 2, 3, 4]


def test_a_search_continued_with_fewer_trials_returns_all_that_were_made(tmp_path):
    how = {"space": {"lam": LogUniform(1e-5, 1)}, "sampler": "random", "storage": tmp_path / "trials.db"}
    seen = []
    with thread() as where:
        more = search(parabola, trials=5, **how, **where)
        fewer = search(parabola, trials=3, callback=seen.append, **how, **where)
    assert results(fewer) == results(more)
    assert (len(seen[-1].trials), seen[-1].total) == (5, 5)


def test_diverged_and_failed_trials_have_a_reason():
    with thread() as where:
        found = search(failing_objective, {"x": Choice(range(4))}, **where)
    assert [(t.params["x"], t.state) for t in found] == [
        (3, "complete"),
        (0, "diverged"),
        (1, "diverged"),
        (2, "failed"),
    ]
    assert [t.reason for t in found] == [
        "",
        "the loss became inf",
        "the objective returned nan",
        "SettingsError: there is no such thing",
    ]
    assert all(math.isnan(t.value) for t in found[1:])


def test_a_failed_trial_is_run_again_when_the_search_is_resumed(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()

    def objective(point):
        if broken.exists() and point["x"] == 1:
            raise FileNotFoundError("no data")
        return 1.0

    with thread() as where:
        how = {"space": {"x": Choice(range(3))}, "storage": tmp_path / "trials.db", **where}
        assert [t.state for t in search(objective, **how)] == ["complete", "complete", "failed"]
        broken.unlink()
        assert [t.state for t in search(objective, **how)] == ["complete"] * 3
    assert complete_attempts(tmp_path / "trials.db") == [0, 1, 2]


def test_the_callback_is_called_after_every_trial():
    seen: list[SearchProgress] = []
    with thread() as where:
        search(reversed_delay, {"x": Choice([2, 3, 1])}, callback=seen.append, **where)
    assert [len(p.trials) for p in seen] == [0, 1, 2, 3]
    assert [p.best and p.best.value for p in seen] == [None, 2.0, 3.0, 3.0]
    assert {p.total for p in seen} == {3}


def test_another_search_of_the_same_name_is_refused(tmp_path):
    with thread() as where:
        search(parabola, {"lam": Choice([1.0])}, storage=tmp_path / "trials.db", **where)
        with pytest.raises(
            SearchError, match="its space was lam=grid:1 and is lam=grid:2 now; give this one another name"
        ):
            search(parabola, {"lam": Choice([2.0])}, storage=tmp_path / "trials.db", **where)
        assert len(search(parabola, {"lam": Choice([2.0])}, storage=tmp_path / "trials.db", name="b", **where)) == 1


def test_without_optuna_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SearchError, match="pip install optuna"):
        search(parabola, GRID)


def test_importing_the_search_imports_neither_optuna_nor_dask():
    program = "import sys, tinygrad_cifar.search; print(*{'optuna', 'dask', 'distributed'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program]).split() == []


# Worker processes.


@posix
def test_the_trial_of_a_killed_worker_is_run_again_and_no_other(tmp_path):
    found = search(WorkerKillingObjective(tmp_path), GRID, workers=2)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert calls(tmp_path) == {k: 2 if k == 5 else 1 for k in range(12)}
    assert {t.number: t.attempts for t in found} == {k: 2 if k == 5 else 1 for k in range(12)}


@posix
def test_a_trial_that_always_kills_its_worker_fails_after_some_retries(tmp_path):
    found = search(WorkerKillingObjective(tmp_path, always=True), GRID, workers=2, retries=1)
    assert [t.value for t in found[:-1]] == [k for k in range(11, -1, -1) if k != 5]
    assert (found[-1].number, found[-1].state, found[-1].attempts) == (5, "failed", 2)
    assert "worker was lost" in found[-1].reason


@posix
def test_a_pool_that_breaks_ends_the_search_which_can_be_resumed(tmp_path):
    storage = tmp_path / "trials.db"
    with ProcessPoolExecutor(2) as pool, pytest.raises(SearchError, match="can be resumed"):
        search(WorkerKillingObjective(tmp_path), GRID, storage=storage, executor=pool, workers=2)
    found = search(WorkerKillingObjective(tmp_path), GRID, storage=storage, workers=1)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(storage) == list(range(12))


# Searches that are killed, and searches that share a storage.


def test_an_earlier_versions_storage_is_refused(tmp_path):
    database = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'trials.db'}")
    optuna.create_study(storage=database, study_name="search").set_user_attr("identity", {"space": "{'x': Choice()}"})
    database.remove_session()
    database.engine.dispose()
    with thread() as where, pytest.raises(SearchError, match="an earlier version"):
        search(parabola, {"lam": Choice([1.0])}, storage=tmp_path / "trials.db", **where)


@pytest.mark.slow
@posix
def test_a_killed_search_is_resumed_without_losing_or_repeating_a_trial(tmp_path):
    storage = tmp_path / "trials.db"
    kill = "lambda p: len(p.trials) >= 4 and os.kill(os.getpid(), signal.SIGKILL)"
    searching_process(tmp_path, storage, 0.2, kill).communicate()
    wait_until(lambda: all(map(is_ended, pids(tmp_path))))  # the workers end with the process that owns them
    before = calls(tmp_path)
    finished = complete_attempts(storage)
    found = search(LoggingObjective(tmp_path, 0.2), GRID, storage=storage, workers=2)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(storage) == list(range(12))
    assert 4 <= len(finished) < 12
    assert calls(tmp_path) == before + Counter(k for k in range(12) if k not in finished)


def is_ended(pid: int) -> bool:
    """Whether a process has ended or is a zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except OSError:  # no /proc here
        return False


@posix
def test_a_killed_tpe_search_tries_the_points_that_it_had_drawn(tmp_path):
    storage, drawn = tmp_path / "trials.db", []

    def objective(point):
        drawn.append(point["lam"])
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return parabola(point)

    arguments = {"sampler": "tpe", "trials": 5, "storage": storage, "executor": SynchronousExecutor(), "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        search(objective, {"lam": LogUniform(1e-5, 1)}, **arguments)
    assert complete_attempts(storage) == [0, 1]
    found = search(objective, {"lam": LogUniform(1e-5, 1)}, **arguments)
    assert drawn[2] == drawn[3]
    assert sorted(t.params["lam"] for t in found) == sorted(set(drawn))
    assert {t.number: t.attempts for t in found} == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1}


@posix
def test_an_interrupt_during_an_access_to_the_storage_stops_the_search_after_it(tmp_path, monkeypatch):
    def interrupted_finish(self, *arguments):
        with self._access():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # the interrupt would be raised here
            finish(self, *arguments)

    finish = TrialStore.finish
    monkeypatch.setattr(TrialStore, "finish", interrupted_finish)
    with thread() as where, pytest.raises(KeyboardInterrupt):
        search(parabola, {"lam": Choice([1.0, 2.0])}, storage=tmp_path / "trials.db", **where)
    assert complete_attempts(tmp_path / "trials.db") == [0]


def test_a_second_search_on_a_storage_that_is_in_use_is_refused(tmp_path):
    storage = tmp_path / "trials.db"

    def refused(progress: SearchProgress) -> None:
        with thread() as where, pytest.raises(SearchError, match="another search is using"):
            search(parabola, {"lam": Choice([1.0])}, storage=storage, name=f"at {len(progress.trials)}", **where)

    with thread() as where:
        assert len(search(parabola, {"lam": Choice([1.0])}, storage=storage, callback=refused, **where)) == 1
        coarse_to_fine(Hill(), RANGE, storage=storage, on_round=lambda *_: refused(SearchProgress("", [], 0)), **where)
        assert len(search(parabola, {"lam": Choice([1.0])}, storage=storage, **where)) == 1


# A cluster.


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed", reason="a cluster needs dask[distributed]")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


def cluster_pids(client) -> list[int]:
    return list(client.run(os.getpid).values())


@pytest.mark.slow
@posix
def test_a_cluster_that_loses_a_worker_loses_no_trial_and_counts_none_twice(tmp_path, cluster):
    doomed = cluster_pids(cluster)[0]
    killed: list[int] = []

    def kill(progress: SearchProgress) -> None:
        if len(progress.trials) >= 3 and not killed:
            killed.append(doomed)
            os.kill(doomed, signal.SIGKILL)

    storage = tmp_path / "trials.db"
    executor: Executor = cluster.get_executor()
    found = search(LoggingObjective(tmp_path, 0.1), GRID, executor=executor, workers=4, storage=storage, callback=kill)
    assert killed
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(storage) == list(range(12))
    assert set(calls(tmp_path)) == set(range(12))


@pytest.mark.slow
def test_a_cluster_finds_what_one_process_finds(cluster):
    objective = ValidationAccuracy(Settings(epochs=1, train_size=200))
    space = {"lam": Choice([0.0, 0.1]), "eta": Choice([0.01, 0.1])}
    with thread() as where:
        here = search(objective, space, **where)
    there = search(objective, space, executor=cluster.get_executor(), workers=2)
    assert results(there) == results(here)


# Training runs.


def test_the_value_of_a_run_is_its_validation_accuracy():
    settings = Settings(epochs=2, train_size=300, lam=0.01)
    objective = ValidationAccuracy(settings)
    result = objective({"eta": 0.02, "seed": 5})
    assert 0.1 < result.value < 0.6
    assert result.details["seed"] == 5
    assert result.details["train_accuracy"] > result.value


def test_the_test_images_are_not_used(tmp_path):
    batches = draw_batches(20)
    values = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        write_python_version(folder, batches)
        batches[-1] = (255 - batches[-1][0], [(label + 1) % 10 for label in batches[-1][1]])
        values.append(ValidationAccuracy(Settings(epochs=1, batch_size=10), str(folder))({"eta": 0.1}))
    assert values[0] == values[1]


def test_unknown_settings_and_those_without_validation_images_are_refused():
    with pytest.raises(SettingsError, match="lambada"):
        ValidationAccuracy(Settings())({"lambada": 1})
    with pytest.raises(SettingsError, match="validation_size or validation_batch"):
        ValidationAccuracy(Settings(validation_batch=None))
    with pytest.raises(SettingsError, match="batch_size must be at most 200"):
        ValidationAccuracy(Settings(train_size=200))({"batch_size": 300})


def test_a_run_that_diverges_is_a_diverged_trial():
    with thread() as where:
        (trial,) = search(ValidationAccuracy(Settings(train_size=200, lam=1e30)), [{"eta": 1e200}], **where)
    assert trial.state == "diverged"
    assert "step" in trial.reason


# Coarse to fine.


@given(st.integers(0, 10**6), st.floats(2e-5, 5e-2))
def test_coarse_to_fine_finds_the_best_within_the_noise(universe, best):
    hill = Hill(best=best, universe=universe)
    with thread() as where:
        found = coarse_to_fine(hill, RANGE, **where)
    lost = hill.height * math.log10(found.best.params["lam"] / best) ** 2
    assert lost < 4 * hill.noise  # four standard deviations of one run
    assert len(found.rounds) <= 4
    assert "standard error" in found.reason or "seeds" in found.reason


def test_each_round_has_a_third_of_the_range_around_the_best():
    with thread() as where:
        found = coarse_to_fine(Hill(noise=0.0), RANGE, max_rounds=3, **where)
    assert "round 3" in found.reason
    widths = [math.log10(r.space["lam"].high / r.space["lam"].low) for r in found.rounds]
    assert widths == pytest.approx([4, 4 / 3, 4 / 9])
    assert found.best.params["lam"] == pytest.approx(4e-3, rel=0.05)


def test_a_point_of_a_later_round_is_not_run_again():
    started = []

    def objective(point):
        started.append(tuple(float(f"{value:.9g}") for value in point.values()))
        return Hill(best=1e-3, noise=1e-9)(point)

    with thread() as where:
        found = coarse_to_fine(objective, {"lam": LogUniform(1e-5, 1e-1, points=7)}, max_rounds=3, **where)
    assert len(found.rounds) > 1
    assert Counter(started).most_common(1)[0][1] == 1
    assert [len(r.trials) for r in found.rounds] == [7] * len(found.rounds)
    assert [len(r.finalists) for r in found.rounds] == [3] * len(found.rounds)


def test_a_known_point_does_not_count_as_a_gain():
    def objective(point):  # the best is the middle of every range
        return -abs(math.log10(point["lam"]) + 3) + 1e-4 * point["seed"]

    with thread() as where:
        found = coarse_to_fine(objective, {"lam": LogUniform(1e-5, 1e-1, points=7)}, **where)
    assert found.reason.startswith("the last round gained nothing")
    assert len(found.rounds) == 2


def test_the_reason_formats_values_as_asked():
    def of_seed(point):
        return 0.01 * point["seed"]

    with thread() as where:
        found = coarse_to_fine(of_seed, RANGE, value_format=".2%", **where)
    points = "the points of the last round, each with one seed, have a standard deviation of 0.00%"
    assert found.reason == f"{points}, not more than the 1.00% of one point over its seeds"


def test_on_round_is_called_with_each_space():
    started = []
    with thread() as where:
        found = coarse_to_fine(Hill(), RANGE, on_round=lambda k, space: started.append((k, space)), **where)
    assert started == [(k, r.space) for k, r in enumerate(found.rounds, start=1)]


def test_a_flat_objective_ends_after_few_rounds():
    reasons = Counter()
    with thread() as where:
        for universe in range(10):
            found = coarse_to_fine(Hill(height=0.0, universe=universe), RANGE, **where)
            assert len(found.rounds) <= 3
            reasons[" ".join(found.reason.split()[:2])] += 1
    assert reasons["the points"] >= 5  # "the points of the last round ...": after one round


def test_the_noise_of_the_objective_is_estimated():
    with thread() as where:
        pooled = [coarse_to_fine(Hill(universe=u), RANGE, **where).rounds[-1].noise for u in range(10)]
    assert np.mean(pooled) == pytest.approx(0.003, rel=0.25)


def test_a_choice_keeps_the_values_of_the_finalists():
    def objective(point):
        return Hill(noise=0.0)({"lam": point["lam"]}) - 10 * (point["kind"] == "bad")

    space = {**RANGE, "kind": Choice(["bad", "good"])}
    with thread() as where:
        found = coarse_to_fine(objective, space, max_rounds=2, **where)
    assert [r.space["kind"].values for r in found.rounds] == [("bad", "good"), ("good",)]


def test_finalists_are_run_with_other_seeds_than_the_screening():
    seen = Counter()

    def objective(point):
        seen[point["seed"]] += 1
        return Hill()(point)

    with thread() as where:
        found = coarse_to_fine(objective, RANGE, seeds=(9, 1, 2, 3), max_rounds=1, finalists=2, **where)
    assert seen == {9: 8, 1: 2, 2: 2, 3: 2}
    assert [len(f.values) for f in found.rounds[0].finalists] == [3, 3]
    assert found.standard_error == pytest.approx(found.rounds[0].noise / math.sqrt(3))


def test_coarse_to_fine_can_be_resumed(tmp_path):
    started: list[object] = []

    def objective(point):
        started.append(tuple(point.values()))
        if len(started) == 20:
            raise KeyboardInterrupt
        return Hill()(point)

    how = {"storage": tmp_path / "trials.db", "sampler": "random", "trials": 8}
    how |= {"executor": SynchronousExecutor(), "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        coarse_to_fine(objective, RANGE, **how)
    found = coarse_to_fine(objective, RANGE, **how)
    assert Counter(started).most_common(2)[0][1] == 2  # the interrupted one
    assert Counter(started).most_common(2)[1][1] == 1
    with thread() as where:
        uninterrupted = coarse_to_fine(Hill(), RANGE, sampler="random", trials=8, **where)
    assert [r.finalists for r in found.rounds] == [r.finalists for r in uninterrupted.rounds]


def test_a_round_without_a_complete_trial_is_an_error():
    with thread() as where, pytest.raises(SearchError, match=r"no trial of search, round 1 is complete.*KeyError"):
        coarse_to_fine(parabola, {"eta": LogUniform(1, 2, points=2)}, **where)
