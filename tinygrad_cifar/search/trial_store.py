"""Who tries which point, and what came of it: kept by Optuna, so that no trial is lost or counted twice.

A *point* is what is to be tried, numbered from 0; each *attempt* at it is one of Optuna's trials, which bears the
point's number and its owner's name. A point is settled by one attempt that ended well, or badly for a reason of its
own; an attempt whose worker or whose owner died is closed as failed, and the point is free again.

Everything that reads the storage in order to change it holds a lock, so of several searches that share a storage
only one at a time chooses, and none chooses what another has chosen. Optuna alone does not promise that: its claim of
a waiting trial is not atomic in SQLite. The lock is a transaction on an empty SQLite file, which every system that
Python runs on lets go of when its holder dies.
"""

from __future__ import annotations

import math
import os
import socket
import sqlite3
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tinygrad_cifar.search.space import (
    OtherSearchError,
    Point,
    SearchError,
    Space,
    derive_seed,
    from_labels,
    import_optional,
    silence_optuna,
    suggest_point,
    to_labels,
)

LEASE = 60.0  # seconds after which an owner that has not been heard of is taken for dead
_PATIENCE = 60.0  # seconds to wait for the lock, which is held for some milliseconds

End = Literal["complete", "diverged", "failed", "lost", "given back"]


@dataclass(frozen=True)
class Trial:
    """A point that has been tried.

    Attributes
    ----------
    number : int
        Of the point, from 0: the same for the same seed, whoever tried it and when.
    params : dict
        The point itself.
    state : str
        ``complete``; ``diverged`` if the training did; ``failed`` if the objective raised an error, or its worker
        died too often.
    value : float
        What the objective returned; NaN unless complete.
    details : dict
        Other numbers that the objective told.
    seconds : float
        Wall-clock time of the objective; NaN if its worker died.
    attempts : int
        How often it was begun.
    reason : str
        Why it is not complete.
    """

    number: int
    params: Point
    state: str
    value: float
    details: dict[str, float]
    seconds: float
    attempts: int
    reason: str


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; ``lost`` means that its worker died, ``given back`` that it was stopped."""

    end: End
    value: float = math.nan
    details: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class Claim:
    """An attempt that is ours to make: nobody else will try this point while we are alive."""

    attempt: int
    params: Point


class Ledger:
    """A search's memory. Use it as a context manager.

    Parameters
    ----------
    storage : Path or None
        A file for Optuna to keep the trials in: its journal if the name ends with ``.journal``, else an SQLite
        database. None forgets them at the end.
    name : str
        The study's name in the storage.
    space : Space
        What settings there are.
    points : sequence of dict
        What to try; empty ones are filled in by Optuna's TPE sampler.
    seed : int
        Of the sampler.
    identity : mapping of str to str
        What makes the search the one it is: a study with another is refused.
    retries : int
        How often a point is tried again after its worker died.

    Raises
    ------
    SearchError
        If the storage cannot be used, or holds another search of this name.
    """

    def __init__(
        self,
        storage: Path | None,
        name: str,
        space: Space,
        points: Sequence[Point],
        *,
        seed: int,
        identity: Mapping[str, str],
        retries: int,
    ) -> None:
        self._optuna = import_optional("optuna")
        self._states = self._optuna.trial.TrialState
        self._database_error = import_optional("sqlalchemy").exc.SQLAlchemyError
        self._path, self._name, self._identity = storage, name, dict(identity)
        self._space, self._points, self._seed, self._retries = space, points, seed, retries
        self._owner = uuid.uuid4().hex
        self._renewed = -math.inf
        self._running: dict[int, Any] = {}
        self._storage: Any = None
        self._quiet = silence_optuna()

    def __enter__(self) -> Ledger:  # noqa: PYI034 (Python 3.10 has no Self)
        self._quiet.__enter__()
        try:
            self._check_file()
            with self._alone():
                self._storage = self._open()
                self._study = self._optuna.create_study(
                    storage=self._storage, study_name=self._name, direction="maximize", load_if_exists=True
                )
                self._check_identity()
                self._first_own = len(self._attempts())
                self._renew()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for attempt in list(self._running):
            self.finish(Claim(attempt, {}), Outcome("given back"))
        if hasattr(self._storage, "engine"):
            self._storage.remove_session()
            self._storage.engine.dispose()
        self._quiet.__exit__()

    def claim(self) -> Claim | None:
        """Return an attempt to make, or None if every point is settled or being tried."""
        with self._alone():
            self._renew()
            attempts = self._attempts()
            if not any(trial.state == self._states.WAITING for trial in attempts):
                point = self._next_point(attempts)
                if point is None:
                    return None
                self._enqueue(point, attempts)
            trial = self._study.ask()
            trial.set_user_attr("owner", self._owner)
            self._running[trial.number] = trial
            return Claim(trial.number, from_labels(self._space, self._suggest(trial)))

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Write down how an attempt ended, unless we were taken for dead meanwhile and it is another's."""
        with self._alone():
            attempts = self._attempts()
            trial = self._running.pop(claim.attempt)
            if attempts[claim.attempt].state != self._states.RUNNING:
                return
            lost = outcome.end == "lost" and not self._often_enough_lost(trial, attempts)
            how = {
                "details": {name: float(number) for name, number in outcome.details.items()},
                "seconds": outcome.seconds,
                "reason": outcome.reason,
                "settles": not lost and outcome.end != "given back",
                "lost": lost,
            }
            trial.set_user_attr("end", how)
            state = {"complete": self._states.COMPLETE, "diverged": self._states.PRUNED}.get(
                outcome.end, self._states.FAIL
            )
            self._study.tell(trial, outcome.value if outcome.end == "complete" else None, state)

    def renew(self) -> None:
        """Tell other searches that we are alive; to be called more often than every :data:`LEASE` seconds."""
        with self._alone():
            self._renew()

    def trials(self) -> list[Trial]:
        """Return the points that are settled, by number: those of an earlier, longer search, too."""
        with self._alone():
            attempts = self._attempts()
        begun = Counter(trial.user_attrs.get("point") for trial in attempts)
        settled = {trial.user_attrs["point"]: trial for trial in attempts if self._settles(trial)}
        return [self._as_trial(settled[k], begun[k]) for k in sorted(settled)]

    def _as_trial(self, trial: Any, begun: int) -> Trial:
        complete, end = trial.state == self._states.COMPLETE, trial.user_attrs["end"]
        return Trial(
            number=trial.user_attrs["point"],
            params=from_labels(self._space, trial.params),
            state={self._states.COMPLETE: "complete", self._states.PRUNED: "diverged"}.get(trial.state, "failed"),
            value=float(trial.value) if complete else math.nan,
            details=dict(end["details"]),
            seconds=float(end["seconds"]),
            attempts=begun,
            reason=str(end["reason"]),
        )

    def _settles(self, trial: Any) -> bool:
        """Say whether an attempt settled its point; what failed before our time is worth another try."""
        if trial.state == self._states.FAIL and trial.number < self._first_own:
            return False
        return bool(trial.state.is_finished() and trial.user_attrs.get("end", {}).get("settles"))

    def _next_point(self, attempts: Sequence[Any]) -> int | None:
        """Return the first point that nobody has settled or is trying, freeing those of the dead on the way."""
        alive = self._alive()
        taken = set()
        for trial in attempts:
            running = trial.state == self._states.RUNNING
            if running and trial.user_attrs.get("owner") not in alive:
                self._study.tell(trial.number, state=self._states.FAIL)
            elif running or self._settles(trial):
                taken.add(trial.user_attrs.get("point"))
        return next((k for k in range(len(self._points)) if k not in taken), None)

    def _enqueue(self, point: int, attempts: Sequence[Any]) -> None:
        """Put an attempt into Optuna's queue: at the point itself, or at what an earlier attempt drew for it."""
        drawn: dict[str, Any] = next((t.params for t in attempts if t.user_attrs.get("point") == point), {})
        params = to_labels(self._space, self._points[point]) or drawn
        self._study.enqueue_trial(params, user_attrs={"point": point})

    def _suggest(self, trial: Any) -> dict[str, Any]:
        """Return the parameters of an attempt, which its sampler draws where the queue does not say."""
        with warnings.catch_warnings():
            # Optuna calls some of TPE's options experimental in some versions.
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            # A generator for each point: two searches, or one that is resumed, must not draw the same again.
            self._study.sampler = self._optuna.samplers.TPESampler(
                seed=derive_seed(self._seed, trial.user_attrs["point"]), constant_liar=True
            )
        return suggest_point(self._space, trial)

    def _often_enough_lost(self, trial: Any, attempts: Sequence[Any]) -> bool:
        point = trial.user_attrs["point"]
        of_point = [t for t in attempts[self._first_own :] if t.user_attrs.get("point") == point]
        return sum(bool(t.user_attrs.get("end", {}).get("lost")) for t in of_point) >= self._retries

    def _attempts(self) -> list[Any]:
        attempts: list[Any] = self._study.get_trials(deepcopy=False)
        return attempts

    def _renew(self) -> None:
        if time.time() - self._renewed > LEASE / 6:
            self._renewed = time.time()
            lease = [socket.gethostname(), os.getpid(), self._renewed + LEASE]
            self._study.set_user_attr(f"lease of {self._owner}", lease)

    def _alive(self) -> set[str]:
        """Return the owners that are not known to be dead and were heard of lately; ourselves always."""
        leases = {
            name.removeprefix("lease of "): lease
            for name, lease in self._study.user_attrs.items()
            if name.startswith("lease of ")
        }
        now = time.time()
        return {self._owner} | {
            owner
            for owner, (host, pid, end) in leases.items()
            if now < end and not (host == socket.gethostname() and _is_dead(pid))
        }

    def _check_identity(self) -> None:
        kept = self._study.user_attrs.get("identity")
        if kept is None:
            self._study.set_user_attr("identity", self._identity)
            return
        for what, own in self._identity.items():
            if kept.get(what) != own:
                where = f"{self._path} already holds a search named {self._name!r}"
                raise OtherSearchError(where, what, str(kept.get(what)), own)

    def _check_file(self) -> None:
        """Refuse a file that is no storage before anything is written to it or beside it."""
        if self._path is None or not self._path.exists():
            return
        start = b"{" if self._path.suffix == ".journal" else b"SQLite format 3\0"
        try:
            with self._path.open("rb") as file:
                found = file.read(len(start))
        except OSError as error:
            raise SearchError(f"{self._path} cannot be used as the storage of a search: {error}") from error
        if found and found != start:
            raise SearchError(
                f"{self._path} cannot be used as the storage of a search: it is something else; name another file"
            )

    def _open(self) -> Any:
        if self._path is None:
            return None
        storages = self._optuna.storages
        if self._path.suffix == ".journal":
            _drop_half_a_line(self._path)
            return storages.JournalStorage(storages.journal.JournalFileBackend(str(self._path), _HeldAlready()))
        # With a write-ahead log and without waiting for the disk at each of Optuna's many small changes, a trial costs
        # milliseconds. What a loss of power can undo are the last trials, which are then run again.
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        storage = storages.RDBStorage(f"sqlite:///{self._path.as_posix()}")
        import_optional("sqlalchemy").event.listen(storage.engine, "connect", _without_waiting)
        storage.engine.dispose()  # the connections of before
        return storage

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other searches on the same storage waiting."""
        if self._path is None:
            yield
            return
        lock = self._path.with_name(f"{self._path.name}.claims")
        try:
            with closing(sqlite3.connect(lock, timeout=_PATIENCE, isolation_level=None)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                yield
        except (OSError, sqlite3.Error, self._optuna.exceptions.OptunaError, self._database_error) as error:
            raise SearchError(f"{self._path} cannot be used as the storage of a search: {error}") from error


class _HeldAlready:
    """A lock for Optuna's journal, which is under ours; its own, a file, would outlive a holder that is killed."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _drop_half_a_line(journal: Path) -> None:
    """Take away what a process that was killed had only begun to write."""
    if journal.exists():
        with journal.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _without_waiting(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


def _is_dead(pid: int) -> bool:
    """Say whether a process of this machine is known to have ended."""
    if os.name != "posix":  # elsewhere there is no asking without harm; its lease will end
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
