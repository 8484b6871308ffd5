"""Searches: what is tried, where it runs, and that no trial is lost or counted twice, whoever dies."""

from __future__ import annotations

import contextlib
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
    coarse_to_fine,
    grid_points,
    random_points,
    search,
)
from tinygrad_cifar.search.trial_store import LEASE

optuna = pytest.importorskip("optuna", reason="searching needs optuna")

posix = pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX systems do")

GRID: Space = {"x": Choice(range(4)), "y": Choice(["a", "b", "c"])}
ROOT = Path(__file__).parents[2]


# Objectives, at the top of a module so that worker processes can import them.


@dataclass(frozen=True)
class Noted:
    """Writes down every call of it, and which process made it, before it does its work."""

    folder: Path
    seconds: float = 0.0

    def __call__(self, point):
        number = len(point) and 3 * point["x"] + "abc".index(point["y"])
        with (self.folder / "calls").open("a") as file:
            file.write(f"{number} {os.getpid()}\n")  # one write, so that lines of two processes do not mix
        time.sleep(self.seconds)
        return ObjectiveResult(float(number), {"doubled": 2 * number})


@dataclass(frozen=True)
class Deadly(Noted):
    """Kills its worker at one point: the first time only, or always."""

    always: bool = False

    def __call__(self, point):
        measured = super().__call__(point)
        if measured.value == 5 and (self.always or calls(self.folder)[5] == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return measured


def calls(folder):
    """Count how often each point was begun."""
    return Counter(int(line.split()[0]) for line in (folder / "calls").read_text().splitlines())


def pids(folder):
    return {int(line.split()[1]) for line in (folder / "calls").read_text().splitlines()}


def slower_the_sooner(point):
    time.sleep(0.05 * (3 - point["x"]))
    return float(point["x"])


def parabola(point):
    return -((math.log10(point["lam"]) + 2) ** 2)


def troubled(point):
    if point["x"] == 0:
        raise OverflowError("the loss became inf")
    if point["x"] == 1:
        return math.nan
    if point["x"] == 2:
        raise SettingsError("there is no such thing")
    return 1


@dataclass(frozen=True)
class Hill:
    """A known best setting, and noise of a known size that the point and its seed decide."""

    best: float = 4e-3
    noise: float = 0.003
    height: float = 0.05
    universe: int = 0

    def __call__(self, point):
        rng = random.Random(f"{self.universe} {sorted(point.items())}")
        away = math.log10(point["lam"] / self.best)
        return 0.5 - self.height * away**2 + rng.gauss(0, self.noise)


@contextlib.contextmanager
def thread(count: int = 1):
    with ThreadPoolExecutor(count) as executor:
        yield {"executor": executor, "workers": count}


def complete_attempts(storage: Path, name: str = "search") -> list[int]:
    """Return the points of the complete trials as Optuna has them, without our ledger."""
    if storage.suffix == ".journal":
        kept = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(storage)))
    else:
        kept = optuna.storages.RDBStorage(f"sqlite:///{storage}")
    study = optuna.load_study(study_name=name, storage=kept)
    points = [t.user_attrs["point"] for t in study.trials if t.state.name == "COMPLETE"]
    if storage.suffix != ".journal":
        kept.remove_session()
        kept.engine.dispose()
    return sorted(points)


def searching_process(folder: Path, storage: Path, seconds: float, watch: str = "None") -> subprocess.Popen[bytes]:
    """Start another process that searches GRID."""
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from tests.search.test_search import GRID, Noted, search\n"
        f"objective, watch = Noted(Path({str(folder)!r}), {seconds}), {watch}\n"
        f"found = search(objective, GRID, storage={str(storage)!r}, workers=2, watch=watch)\n"
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


# What is tried.

dimensions = st.one_of(
    st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True).map(Choice),
    st.tuples(st.floats(-5, 5), st.floats(0.1, 5), st.integers(2, 5)).map(lambda t: Uniform(t[0], t[0] + t[1], t[2])),
    st.tuples(st.floats(1e-6, 1), st.floats(1.1, 1e4), st.integers(2, 5)).map(
        lambda t: LogUniform(t[0], t[0] * t[1], t[2])
    ),
)
spaces = st.dictionaries(st.sampled_from(["lam", "eta", "decay"]), dimensions, min_size=1)


def inside(dimension, value):
    if isinstance(dimension, Choice):
        return value in dimension.values
    return dimension.low <= value <= dimension.high


@given(spaces)
def test_a_grid_has_every_combination_once(space):
    points = grid_points(space)
    assert len({tuple(p.values()) for p in points}) == len(points) == math.prod(len(d.grid()) for d in space.values())


@given(spaces)
def test_a_grid_lies_in_its_space_and_touches_the_ends_of_its_ranges(space):
    points = grid_points(space)
    for name, dimension in space.items():
        values = [p[name] for p in points]
        assert all(inside(dimension, v) for v in values)
        if not isinstance(dimension, Choice):
            assert (min(values), max(values)) == (dimension.low, dimension.high)


@given(spaces, st.integers(0, 2**32))
def test_random_points_lie_in_their_space(space, seed):
    assert all(inside(space[name], value) for p in random_points(space, 3, seed) for name, value in p.items())


@given(spaces, st.integers(0, 2**32))
def test_a_random_point_depends_on_the_seed_and_its_number_alone(space, seed):
    assert random_points(space, 4, seed)[:2] == random_points(space, 2, seed)


def test_random_points_of_a_logarithmic_range_spread_over_its_decades():
    exponents = [math.log10(p["lam"]) for p in random_points({"lam": LogUniform(1e-4, 1)}, 200)]
    counts = np.histogram(exponents, bins=4, range=(-4, 0))[0]
    assert counts.min() > 25  # 50 expected, with a standard deviation of 6


def test_the_grid_of_report_003_is_the_courses_logspace():
    assert LogUniform(1e-5, 1e-1, points=8).grid() == pytest.approx(np.logspace(-5, -1, 8).tolist())


@given(st.floats(1e-5, 1e-1), st.floats(0.05, 0.9))
def test_a_narrowed_range_holds_its_centre_and_stays_within(centre, share):
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
        (lambda: search(parabola, GRID, sampler="random"), "how many trials"),
        (lambda: search(parabola, GRID, trials=3), "as many trials as points"),
        (lambda: search(parabola, GRID, sampler="best"), "'best'"),
        (lambda: search(parabola, GRID, workers=0), "at least 1 worker"),
        (lambda: search(lambda _: 1.0, GRID), "top of a module"),
        (lambda: search(parabola, [{"x": 1}, {"y": 1}]), "same settings"),
        (lambda: coarse_to_fine(parabola, {"seed": Choice([1])}), "given as seeds"),
        (lambda: coarse_to_fine(parabola, GRID, seeds=(1, 2, 3)), "at least 4"),
    ],
)
def test_what_cannot_be_searched_is_said_in_a_sentence(make, words):
    with pytest.raises(SearchError, match=words):
        make()


def test_a_storage_that_is_none_is_said_in_a_sentence(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear reader, " * 100)
    for storage in (tmp_path / "nowhere" / "kept.db", tmp_path / "letter.txt"):
        with thread() as where, pytest.raises(SearchError, match=f"{storage.name} cannot be used as the storage"):
            search(parabola, GRID, storage=storage, **where)


# What comes of it.


def test_a_search_returns_every_point_of_a_grid_the_best_first(tmp_path):
    with thread() as where:
        found = search(Noted(tmp_path), GRID, **where)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert [t.params for t in sorted(found, key=lambda t: t.number)] == grid_points(GRID)
    assert calls(tmp_path) == dict.fromkeys(range(12), 1)


def test_a_trial_says_what_was_measured():
    with thread() as where:
        (trial,) = search(slower_the_sooner, [{"x": 2}], **where)
    assert (trial.number, trial.params, trial.state, trial.value, trial.attempts) == (0, {"x": 2}, "complete", 2.0, 1)
    assert 0.05 <= trial.seconds < 5


def test_choices_may_be_tuples_and_come_back_as_such():
    with thread() as where:
        found = search(lambda p: len(p["hidden"]), {"hidden": Choice([(50,), (50, 30)])}, **where)
    assert [t.params["hidden"] for t in found] == [(50, 30), (50,)]


def results(found: list[Trial]) -> list[tuple[object, ...]]:
    return [(t.number, t.params, t.value) for t in sorted(found, key=lambda t: t.number)]


@pytest.mark.parametrize("how", [{"sampler": "grid"}, {"sampler": "random", "trials": 4, "seed": 3}])
def test_the_points_do_not_depend_on_the_workers_or_on_who_finishes_first(how):
    space = {"x": Choice(range(4))}
    with thread(1) as one, thread(4) as four:
        assert results(search(slower_the_sooner, space, **how, **one)) == results(
            search(slower_the_sooner, space, **how, **four)
        )


def test_tpe_with_one_worker_repeats_itself_and_comes_closer_than_chance():
    how = {"space": {"lam": LogUniform(1e-8, 1e4)}, "trials": 40, "seed": 1}
    with thread() as where:
        first, again = (search(parabola, sampler="tpe", **how, **where) for _ in range(2))
        chance = search(parabola, sampler="random", **how, **where)
    assert results(first) == results(again)
    assert sum(t.value > -0.5 for t in first) > 2 * sum(t.value > -0.5 for t in chance)


def test_a_search_can_be_continued_with_more_trials(tmp_path):
    how = {"space": {"lam": LogUniform(1e-5, 1)}, "sampler": "random", "storage": tmp_path / "kept.db"}
    with thread() as where:
        few = search(parabola, trials=3, **how, **where)
        more = search(parabola, trials=5, **how, **where)
    assert results(more)[:3] == results(few)
    assert complete_attempts(tmp_path / "kept.db") == [0, 1, 2, 3, 4]


def test_a_search_continued_with_fewer_trials_returns_all_that_were_made(tmp_path):
    how = {"space": {"lam": LogUniform(1e-5, 1)}, "sampler": "random", "storage": tmp_path / "kept.db"}
    seen = []
    with thread() as where:
        more = search(parabola, trials=5, **how, **where)
        fewer = search(parabola, trials=3, watch=seen.append, **how, **where)
    assert results(fewer) == results(more)
    assert (len(seen[-1].trials), seen[-1].total) == (5, 5)


def test_what_diverges_or_fails_is_a_trial_with_a_reason():
    with thread() as where:
        found = search(troubled, {"x": Choice(range(4))}, **where)
    assert [(t.params["x"], t.state) for t in found] == [
        (3, "complete"), (0, "diverged"), (1, "diverged"), (2, "failed"),
    ]  # fmt: skip
    assert [t.reason for t in found] == [
        "", "the loss became inf", "the objective returned nan", "SettingsError: there is no such thing",
    ]  # fmt: skip
    assert all(math.isnan(t.value) for t in found[1:])


def test_a_failed_trial_is_tried_again_when_the_search_is_resumed(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()

    def objective(point):
        if broken.exists() and point["x"] == 1:
            raise FileNotFoundError("no data")
        return 1.0

    with thread() as where:
        how = {"space": {"x": Choice(range(3))}, "storage": tmp_path / "kept.db", **where}
        assert [t.state for t in search(objective, **how)] == ["complete", "complete", "failed"]
        broken.unlink()
        assert [t.state for t in search(objective, **how)] == ["complete"] * 3
    assert complete_attempts(tmp_path / "kept.db") == [0, 1, 2]


def test_whoever_watches_sees_every_trial_end_and_the_best_so_far():
    seen: list[SearchProgress] = []
    with thread() as where:
        search(slower_the_sooner, {"x": Choice([2, 3, 1])}, watch=seen.append, **where)
    assert [len(p.trials) for p in seen] == [0, 1, 2, 3]
    assert [p.best and p.best.value for p in seen] == [None, 2.0, 3.0, 3.0]
    assert {p.total for p in seen} == {3}


def test_another_search_of_the_same_name_is_refused(tmp_path):
    with thread() as where:
        search(parabola, {"lam": Choice([1.0])}, storage=tmp_path / "kept.db", **where)
        with pytest.raises(SearchError, match="another space"):
            search(parabola, {"lam": Choice([2.0])}, storage=tmp_path / "kept.db", **where)
        assert len(search(parabola, {"lam": Choice([2.0])}, storage=tmp_path / "kept.db", name="b", **where)) == 1


def test_without_optuna_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SearchError, match="pip install optuna"):
        search(parabola, GRID)


def test_importing_the_search_imports_neither_optuna_nor_dask():
    program = "import sys, tinygrad_cifar.search; print(*{'optuna', 'dask', 'distributed'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program]).split() == []


# Worker processes.


@posix
def test_the_trial_of_a_killed_worker_is_run_again_and_no_other(tmp_path):
    found = search(Deadly(tmp_path), GRID, workers=2)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert calls(tmp_path) == {k: 2 if k == 5 else 1 for k in range(12)}
    assert {t.number: t.attempts for t in found} == {k: 2 if k == 5 else 1 for k in range(12)}


@posix
def test_a_trial_that_always_kills_its_worker_fails_after_some_retries(tmp_path):
    found = search(Deadly(tmp_path, always=True), GRID, workers=2, retries=1)
    assert [t.value for t in found[:-1]] == [k for k in range(11, -1, -1) if k != 5]
    assert (found[-1].number, found[-1].state, found[-1].attempts) == (5, "failed", 2)
    assert "worker was lost" in found[-1].reason


@posix
def test_a_pool_that_breaks_ends_the_search_which_can_be_resumed(tmp_path):
    storage = tmp_path / "kept.db"
    with ProcessPoolExecutor(2) as pool, pytest.raises(SearchError, match="can be resumed"):
        search(Deadly(tmp_path), GRID, storage=storage, executor=pool, workers=2)
    found = search(Deadly(tmp_path), GRID, storage=storage, workers=1)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(storage) == list(range(12))


# Searches that are killed, and searches that share.


@posix
@pytest.mark.parametrize("storage", ["kept.db", "kept.journal"])
def test_a_killed_search_is_resumed_without_losing_or_repeating_a_trial(tmp_path, storage):
    kill = "lambda p: len(p.trials) >= 4 and os.kill(os.getpid(), signal.SIGKILL)"
    searching_process(tmp_path, tmp_path / storage, 0.2, kill).communicate()
    wait_until(lambda: all(map(ended, pids(tmp_path))))  # the workers end with the process that owns them
    before = calls(tmp_path)
    finished = complete_attempts(tmp_path / storage)
    found = search(Noted(tmp_path, 0.2), GRID, storage=tmp_path / storage, workers=2)
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(tmp_path / storage) == list(range(12))
    assert 4 <= len(finished) < 12
    assert calls(tmp_path) == before + Counter(k for k in range(12) if k not in finished)


def ended(pid: int) -> bool:
    """Say whether a process is gone, or only waits to be buried."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except OSError:  # no /proc here
        return False


@pytest.mark.parametrize("storage", ["kept.db", "kept.journal"])
def test_searches_that_share_a_storage_never_run_the_same_point(tmp_path, storage):
    processes = [searching_process(tmp_path, tmp_path / storage, seconds=0.05) for _ in range(2)]
    assert [p.communicate()[0].split() for p in processes] == [[b"12"]] * 2
    assert calls(tmp_path) == dict.fromkeys(range(12), 1)
    assert complete_attempts(tmp_path / storage) == list(range(12))


@posix
def test_what_a_search_taken_for_dead_brings_late_is_not_counted(tmp_path, monkeypatch):
    storage = tmp_path / "kept.db"
    stop = "lambda p: len(p.trials) == 2 and os.kill(os.getpid(), signal.SIGSTOP)"
    process = searching_process(tmp_path, storage, 0.1, stop)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    now = time.time
    monkeypatch.setattr("tinygrad_cifar.search.trial_store.time.time", lambda: now() + 2 * LEASE)
    found = search(Noted(tmp_path, 0.1), GRID, storage=storage, workers=1)
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0].split() == [b"12"]
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(storage) == list(range(12))
    assert sum(calls(tmp_path).values()) == 13  # one was under way when its search was stopped


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


@posix
def test_a_cluster_that_loses_a_worker_loses_no_trial_and_counts_none_twice(tmp_path, cluster):
    doomed = cluster_pids(cluster)[0]
    killed: list[int] = []

    def kill(progress: SearchProgress) -> None:
        if len(progress.trials) >= 3 and not killed:
            killed.append(doomed)
            os.kill(doomed, signal.SIGKILL)

    storage = tmp_path / "kept.db"
    executor: Executor = cluster.get_executor()
    found = search(Noted(tmp_path, 0.1), GRID, executor=executor, workers=4, storage=storage, watch=kill)
    assert killed
    assert [t.value for t in found] == list(range(11, -1, -1))
    assert complete_attempts(storage) == list(range(12))
    assert set(calls(tmp_path)) == set(range(12))


def test_a_cluster_finds_what_one_process_finds(cluster):
    objective = ValidationAccuracy(Settings(epochs=1, train_size=200))
    space = {"lam": Choice([0.0, 0.1]), "eta": Choice([0.01, 0.1])}
    with thread() as where:
        here = search(objective, space, **where)
    there = search(objective, space, executor=cluster.get_executor(), workers=2)
    assert results(there) == results(here)


# Training runs.


def test_a_run_is_worth_its_validation_accuracy():
    settings = Settings(epochs=2, train_size=300, lam=0.01)
    objective = ValidationAccuracy(settings)
    measured = objective({"eta": 0.02, "seed": 5})
    assert 0.1 < measured.value < 0.6
    assert measured.details["seed"] == 5
    assert measured.details["train_accuracy"] > measured.value


def test_the_test_set_is_never_looked_at(tmp_path):
    batches = draw_batches(20)
    values = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        write_python_version(folder, batches)
        batches[-1] = (255 - batches[-1][0], [(label + 1) % 10 for label in batches[-1][1]])
        values.append(ValidationAccuracy(Settings(epochs=1, batch_size=10), str(folder))({"eta": 0.1}))
    assert values[0] == values[1]


def test_settings_that_do_not_exist_or_leave_nothing_to_compare_are_refused():
    with pytest.raises(SettingsError, match="lambada"):
        ValidationAccuracy(Settings())({"lambada": 1})
    with pytest.raises(SettingsError, match="validation_size or validation_batch"):
        ValidationAccuracy(Settings(validation_batch=None))
    with pytest.raises(SettingsError, match="batch_size is 300"):
        ValidationAccuracy(Settings(train_size=200))({"batch_size": 300})


def test_a_run_that_diverges_is_a_diverged_trial():
    with thread() as where:
        (trial,) = search(ValidationAccuracy(Settings(train_size=200, lam=1e200)), [{"eta": 1e200}], **where)
    assert trial.state == "diverged"
    assert "step" in trial.reason


# From coarse to fine.

RANGE = {"lam": LogUniform(1e-5, 1e-1, points=8)}


@given(st.integers(0, 10**6), st.floats(2e-5, 5e-2))
def test_coarse_to_fine_comes_as_close_to_the_best_as_noise_lets_it(universe, best):
    hill = Hill(best=best, universe=universe)
    with thread() as where:
        found = coarse_to_fine(hill, RANGE, **where)
    lost = hill.height * math.log10(found.best.params["lam"] / best) ** 2
    assert lost < 4 * hill.noise  # four standard deviations of one run
    assert len(found.rounds) <= 4
    assert "standard error" in found.reason or "seeds" in found.reason


def test_each_round_has_a_third_of_the_range_around_the_best():
    with thread() as where:
        found = coarse_to_fine(Hill(noise=0.0), RANGE, most_rounds=3, **where)
    assert "round 3" in found.reason
    widths = [math.log10(r.space["lam"].high / r.space["lam"].low) for r in found.rounds]
    assert widths == pytest.approx([4, 4 / 3, 4 / 9])
    assert found.best.params["lam"] == pytest.approx(4e-3, rel=0.05)


def test_a_point_of_a_later_round_is_not_run_again():
    begun = []

    def objective(point):
        begun.append(tuple(float(f"{value:.9g}") for value in point.values()))
        return Hill(best=1e-3, noise=1e-9)(point)

    with thread() as where:
        found = coarse_to_fine(objective, {"lam": LogUniform(1e-5, 1e-1, points=7)}, most_rounds=3, **where)
    assert len(found.rounds) > 1
    assert Counter(begun).most_common(1)[0][1] == 1
    assert [len(r.trials) for r in found.rounds] == [7] * len(found.rounds)
    assert [len(r.finalists) for r in found.rounds] == [3] * len(found.rounds)


def test_a_point_is_not_counted_against_itself_in_the_gain():
    def objective(point):  # the best is the middle of every range
        return -abs(math.log10(point["lam"]) + 3) + 1e-4 * point["seed"]

    with thread() as where:
        found = coarse_to_fine(objective, {"lam": LogUniform(1e-5, 1e-1, points=7)}, **where)
    assert found.reason.startswith("the round gained nothing")
    assert len(found.rounds) == 2


def test_the_reason_writes_numbers_as_it_is_told_and_says_whether_points_or_seeds_differ_more():
    def of_seed(point):
        return 0.01 * point["seed"]

    with thread() as where:
        found = coarse_to_fine(of_seed, RANGE, number=".2%", **where)
    points = "the points of the last round, each with one seed, differ by 0.00%"
    assert found.reason == f"{points}, no more than the seeds of one of them, by 1.00%"


def test_each_round_is_announced_with_its_space():
    begun = []
    with thread() as where:
        found = coarse_to_fine(Hill(), RANGE, begin=lambda k, space: begun.append((k, space)), **where)
    assert begun == [(k, r.space) for k, r in enumerate(found.rounds, start=1)]


def test_a_flat_objective_is_not_narrowed_for_long():
    reasons = Counter()
    with thread() as where:
        for universe in range(10):
            found = coarse_to_fine(Hill(height=0.0, universe=universe), RANGE, **where)
            assert len(found.rounds) <= 3
            reasons[" ".join(found.reason.split()[:2])] += 1
    assert reasons["the points"] >= 5  # of the last round differ hardly more than the seeds of one: after one round


def test_the_estimated_noise_is_that_of_the_objective():
    with thread() as where:
        pooled = [coarse_to_fine(Hill(universe=u), RANGE, **where).rounds[-1].noise for u in range(10)]
    assert np.mean(pooled) == pytest.approx(0.003, rel=0.25)


def test_a_choice_keeps_the_values_of_the_finalists():
    def objective(point):
        return Hill(noise=0.0)({"lam": point["lam"]}) - 10 * (point["kind"] == "bad")

    space = {**RANGE, "kind": Choice(["bad", "good"])}
    with thread() as where:
        found = coarse_to_fine(objective, space, most_rounds=2, **where)
    assert [r.space["kind"].values for r in found.rounds] == [("bad", "good"), ("good",)]


def test_finalists_are_run_with_other_seeds_than_the_one_that_chose_them():
    seen = Counter()

    def objective(point):
        seen[point["seed"]] += 1
        return Hill()(point)

    with thread() as where:
        found = coarse_to_fine(objective, RANGE, seeds=(9, 1, 2, 3), most_rounds=1, finalists=2, **where)
    assert seen == {9: 8, 1: 2, 2: 2, 3: 2}
    assert [len(f.values) for f in found.rounds[0].finalists] == [3, 3]
    assert found.standard_error == pytest.approx(found.rounds[0].noise / math.sqrt(3))


def test_coarse_to_fine_goes_on_where_it_was(tmp_path):
    begun: list[object] = []

    def objective(point):
        begun.append(tuple(point.values()))
        if len(begun) == 20:
            raise KeyboardInterrupt
        return Hill()(point)

    class Here(Executor):
        """Calls at once, in this very thread, so that an interruption is one of the search."""

        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    how = {"storage": tmp_path / "kept.db", "sampler": "random", "trials": 8, "executor": Here(), "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        coarse_to_fine(objective, RANGE, **how)
    found = coarse_to_fine(objective, RANGE, **how)
    assert Counter(begun).most_common(2)[0][1] == 2  # the interrupted one
    assert Counter(begun).most_common(2)[1][1] == 1
    with thread() as where:
        uninterrupted = coarse_to_fine(Hill(), RANGE, sampler="random", trials=8, **where)
    assert [r.finalists for r in found.rounds] == [r.finalists for r in uninterrupted.rounds]


def test_a_round_without_a_complete_trial_is_said_to_be_one():
    with thread() as where, pytest.raises(SearchError, match=r"no trial of search, round 1 is complete.*KeyError"):
        coarse_to_fine(parabola, {"eta": LogUniform(1, 2, points=2)}, **where)
