"""The storage of trials: attempts, results, resumption and refused files."""

from __future__ import annotations

import math
import signal
import sqlite3
import threading
from contextlib import closing

import pytest

pytest.importorskip("optuna")

from tinygrad_cifar.search.space import Choice, SearchError, Uniform, space_to_json
from tinygrad_cifar.search.trial_store import (
    AttemptResult,
    OtherSearchError,
    TrialStore,
    lock_storage,
)

SPACE = {"x": Choice([1.0, 2.0, 3.0]), "size": Choice([(1,), (2, 3)])}
POINTS = [{"x": 1.0, "size": (1,)}, {"x": 2.0, "size": (2, 3)}, {"x": 3.0, "size": (1,)}]


def open_store(path=None, *, space=SPACE, points=POINTS, name="search", seed=0, **identity):
    identity = {"objective": "f", "space": space_to_json(space), "sampler": "grid"} | identity
    return TrialStore(path, name, space, points, seed=seed, identity=identity)


@pytest.fixture(params=[None, "trials.db"], ids=["in memory", "in a file"], name="path")
def _path(request, tmp_path):
    return request.param and tmp_path / request.param


def complete(store, value=1.0, attempts=1, **options):
    attempt = store.next_attempt()
    store.finish(attempt, AttemptResult("complete", value, **options), attempts)
    return attempt


# -- attempts ----------------------------------------------------------------------------------------------------------


def test_points_are_started_in_order_and_each_once(path):
    with open_store(path) as store:
        started = [store.next_attempt() for _ in POINTS]
        assert [attempt.params for attempt in started] == POINTS
        assert store.next_attempt() is None
        assert store.trials() == []


def test_a_result_is_stored(path):
    with open_store(path) as store:
        complete(store, 0.75, attempts=2, details={"cost": 3}, seconds=1.5)
        (trial,) = store.trials()
        assert (trial.number, trial.params, trial.state, trial.value) == (0, POINTS[0], "complete", 0.75)
        assert (trial.details, trial.seconds, trial.attempts, trial.reason) == ({"cost": 3.0}, 1.5, 2, "")


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_a_trial_without_a_value_has_a_reason(path, state):
    with open_store(path) as store:
        store.finish(store.next_attempt(), AttemptResult(state, reason="too fast"), 1)
        (trial,) = store.trials()
        assert (trial.state, trial.reason, trial.details) == (state, "too fast", {})
        assert math.isnan(trial.value)
        assert math.isnan(trial.seconds)
        assert store.next_attempt().params == POINTS[1]  # a failure settles its point in this search


def test_trials_are_sorted_by_their_points(path):
    with open_store(path) as store:
        attempts = [store.next_attempt() for _ in POINTS]
        for attempt, value in zip(attempts[::-1], (0.1, 0.2, 0.3), strict=True):
            store.finish(attempt, AttemptResult("complete", value), 1)
        assert [(trial.number, trial.value) for trial in store.trials()] == [(0, 0.3), (1, 0.2), (2, 0.1)]


def test_points_of_tpe_are_drawn_from_the_seed_and_their_number(path):
    space = {"x": Uniform(0.0, 1.0), "kind": Choice(["a", "b"])}

    def drawn(seed, where=None):
        with open_store(where, space=space, points=[{}] * 4, seed=seed) as store:
            return [complete(store, k).params for k in range(4)]

    first = drawn(0, path)
    assert first == drawn(0) != drawn(1)
    assert len({point["x"] for point in first}) == 4
    assert all(0 <= point["x"] <= 1 and point["kind"] in "ab" for point in first)


# -- resumption --------------------------------------------------------------------------------------------------------


def test_complete_and_diverged_trials_are_not_repeated(tmp_path):
    with open_store(tmp_path / "x.db") as store:
        complete(store)
        store.finish(store.next_attempt(), AttemptResult("diverged", reason="NaN"), 1)
    with open_store(tmp_path / "x.db") as store:
        assert [trial.state for trial in store.trials()] == ["complete", "diverged"]
        assert store.next_attempt().params == POINTS[2]


def test_a_failed_trial_is_repeated_and_its_attempts_are_counted(tmp_path):
    with open_store(tmp_path / "x.db") as store:
        store.finish(store.next_attempt(), AttemptResult("failed", reason="no disk"), 3)
    with open_store(tmp_path / "x.db") as store:
        assert store.trials() == []
        assert store.next_attempt().params == POINTS[0]
    with open_store(tmp_path / "x.db") as store:
        complete(store, attempts=2)
        (trial,) = store.trials()
        assert (trial.state, trial.attempts) == ("complete", 3 + 1 + 2)  # the attempt without an end counts once


def test_attempts_that_did_not_end_are_repeated_with_the_same_point(tmp_path):
    space = {"x": Uniform(0.0, 1.0)}

    def start(count):
        with open_store(tmp_path / "x.db", space=space, points=[{}] * 3) as store:
            return [store.next_attempt().params["x"] for _ in range(count)]

    first = start(2)
    assert start(3)[:2] == first


def test_a_longer_search_continues_a_shorter_one(tmp_path):
    with open_store(tmp_path / "x.db", points=POINTS[:1]) as store:
        complete(store, 0.5)
    with open_store(tmp_path / "x.db") as store:
        assert [complete(store).params for _ in range(2)] == POINTS[1:]
    with open_store(tmp_path / "x.db", points=POINTS[:1]) as store:
        assert len(store.trials()) == 3
        assert store.next_attempt() is None


def test_searches_of_different_names_are_independent(tmp_path):
    for name in ("a", "b"):
        with open_store(tmp_path / "x.db", name=name) as store:
            assert complete(store).params == POINTS[0]
            assert len(store.trials()) == 1


@pytest.mark.parametrize("options", [{"objective": "g"}, {"sampler": "random"}, {"space": {"x": Choice([1.0, 2.0])}}])
def test_another_search_of_the_same_name_is_refused(tmp_path, options):
    with open_store(tmp_path / "x.db"):
        pass
    points = [{"x": 1.0}] if "space" in options else POINTS
    with pytest.raises(OtherSearchError, match=r"x\.db already holds a search named 'search'"):
        open_store(tmp_path / "x.db", points=points, **options).__enter__()


def test_a_study_of_another_program_is_refused(tmp_path):
    import optuna  # noqa: PLC0415

    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="search")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    with pytest.raises(OtherSearchError, match="made by another program or an earlier version"):
        open_store(tmp_path / "x.db").__enter__()


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_storage_is_locked_once(tmp_path):
    with lock_storage(tmp_path / "x.db"):
        with pytest.raises(SearchError, match="another search is using"), lock_storage(tmp_path / "x.db"):
            pass
        with lock_storage(tmp_path / "y.db"), lock_storage(None), lock_storage(None):
            pass
    with lock_storage(tmp_path / "x.db"):
        pass


@pytest.mark.parametrize("content", [b"PK", b"a text that is longer than the header of a database"])
def test_a_file_that_is_not_a_database_is_refused_and_unchanged(tmp_path, content):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(SearchError, match="it is not an SQLite database"), lock_storage(tmp_path / "x.db"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]
    assert (tmp_path / "x.db").read_bytes() == content


def test_an_empty_file_or_a_database_is_accepted(tmp_path):
    (tmp_path / "x.db").touch()
    with lock_storage(tmp_path / "x.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "y.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    with lock_storage(tmp_path / "y.db"):
        pass


def test_a_journal_and_a_folder_are_refused(tmp_path):
    with pytest.raises(SearchError, match="must be an SQLite database, not a journal"):
        lock_storage(tmp_path / "x.journal").__enter__()
    with pytest.raises(SearchError, match="cannot be used as the storage of a search"):
        lock_storage(tmp_path).__enter__()


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(SearchError, match="cannot be used as the storage of a search"):
        lock_storage(tmp_path / "missing" / "x.db").__enter__()


def test_a_storage_does_not_wait_for_the_disk(tmp_path):
    with open_store(tmp_path / "x.db") as store:
        complete(store)
        with store._storage.engine.connect() as connection:
            raw = connection.connection.cursor()
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert raw.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL


def test_a_closed_store_has_no_connections(tmp_path):
    with open_store(tmp_path / "x.db") as store:
        complete(store)
    assert store._storage.engine.pool.checkedin() == store._storage.engine.pool.checkedout() == 0


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_an_interrupt_during_an_access_takes_effect_after_it(tmp_path):
    with open_store(tmp_path / "x.db") as store:
        tell = store._study.tell

        def interrupted(*arguments, **options):
            signal.raise_signal(signal.SIGINT)
            return tell(*arguments, **options)

        store._study.tell = interrupted
        attempt = store.next_attempt()
        with pytest.raises(KeyboardInterrupt):
            store.finish(attempt, AttemptResult("complete", 1.0), 1)
        store._study.tell = tell
        assert len(store.trials()) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_store_can_be_used_in_another_thread(tmp_path):
    found = []

    def work():
        with open_store(tmp_path / "x.db") as store:
            complete(store)
            found.extend(store.trials())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1


def test_an_error_of_the_database_is_reported_with_its_own_reason(tmp_path):
    path = tmp_path / "trials.db"
    with open_store(path) as store:
        complete(store)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON trials BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
        connection.commit()
    message = r"trials\.db cannot be used as the storage of a search: database or disk is full$"
    with pytest.raises(SearchError, match=message), open_store(path) as store:
        store.next_attempt()
