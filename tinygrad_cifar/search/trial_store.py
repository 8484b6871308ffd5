"""The storage of a search: the points that have been tried and their results, stored by Optuna.

A *point* is a set of parameters to try, numbered from 0. Each *attempt* at a point is a trial of Optuna's with the
number of the point. A point is settled by a finished attempt; an attempt that was running when its search was killed
is closed as failed when the search is resumed, and its point is tried again.

A storage belongs to one search process at a time, which holds its lock: a transaction on an empty SQLite file next
to it, which the operating system releases if the process dies.
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any, Literal

from tinygrad_cifar.search.space import (
    OtherSearchError,
    Point,
    SearchError,
    Space,
    derive_seed,
    format_space_json,
    from_labels,
    import_optional,
    silence_optuna,
    suggest_point,
    to_labels,
)
from tinygrad_cifar.system.identity import require_same
from tinygrad_cifar.system.interrupts import deferred_interrupt

_HEADER = b"SQLite format 3\0"


@dataclass(frozen=True)
class Trial:
    """A point that has been tried.

    Attributes
    ----------
    number : int
        Number of the point, from 0. With the same seed it is the same point in every search.
    params : dict
        The point.
    state : str
        ``complete``; ``diverged`` if the training diverged; ``failed`` if the objective raised an error or its worker
        was lost too often.
    value : float
        Value of the objective; NaN unless the trial is complete.
    details : dict
        Further values that the objective reported.
    seconds : float
        Wall-clock time of the objective; NaN if its worker was lost.
    attempts : int
        Number of times that the trial was started.
    reason : str
        The reason why the trial is not complete.
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
class AttemptResult:
    """The result of an attempt.

    Attributes
    ----------
    state : str
        ``complete``, ``diverged`` or ``failed``.
    value, details, seconds, reason
        As in :class:`Trial`.
    """

    state: Literal["complete", "diverged", "failed"]
    value: float = math.nan
    details: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """An attempt to make.

    Attributes
    ----------
    number : int
        Number of Optuna's trial.
    params : dict
        The point.
    """

    number: int
    params: Point


@contextmanager
def lock_storage(path: Path | None) -> Iterator[None]:
    """Hold the lock of a storage; without a path, do nothing.

    Raises
    ------
    SearchError
        If the file is not a storage, or another search is using it.
    """
    if path is None:
        yield
        return
    _check_file(path)
    try:
        connection = sqlite3.connect(path.with_name(f"{path.name}.lock"), timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    with closing(connection):
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if "locked" not in str(error):
                raise _unusable(path, error) from error
            raise SearchError(
                f"another search is using {path}; wait until it has ended, or name another storage"
            ) from error
        yield


def _check_file(path: Path) -> None:
    """Refuse a file that is not a storage before anything is written."""
    if path.suffix == ".journal":
        raise SearchError(f"{path}: the storage must be an SQLite database, not a journal; name another file, as x.db")
    try:
        with path.open("rb") as file:
            start = file.read(len(_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error) from error
    if start and start != _HEADER:
        raise _unusable(path, "it is not an SQLite database; name another file")


def _unusable(path: Path | None, reason: object) -> SearchError:
    return SearchError(f"{path} cannot be used as the storage of a search: {reason}")


class TrialStore:
    """The trials of a search. Use it as a context manager, with the lock of the storage held.

    Parameters
    ----------
    path : Path or None
        SQLite database in which Optuna stores the trials. If None, they are kept in memory.
    name : str
        Name of the study in the storage.
    space : Space
        The space of the points.
    points : sequence of dict
        The points to try; empty ones are drawn by Optuna's TPE sampler.
    seed : int
        Seed of the sampler.
    identity : mapping
        What must be the same for a search to be resumed, as JSON.

    Raises
    ------
    SearchError
        If the storage cannot be used, or holds another search of this name.
    """

    def __init__(
        self,
        path: Path | None,
        name: str,
        space: Space,
        points: Sequence[Point],
        *,
        seed: int,
        identity: Mapping[str, Any],
    ) -> None:
        self._optuna = import_optional("optuna")
        self._states = self._optuna.trial.TrialState
        self._database_error = import_optional("sqlalchemy").exc.SQLAlchemyError
        self._path, self._name, self._identity = path, name, dict(identity)
        self._space, self._points, self._seed = space, points, seed
        self._running: dict[int, Any] = {}
        self._storage: Any = None
        self._silence = silence_optuna()

    def __enter__(self) -> TrialStore:  # noqa: PYI034 (Python 3.10 has no Self)
        self._silence.__enter__()
        try:
            with self._access():
                self._storage = self._open()
                self._study = self._optuna.create_study(
                    storage=self._storage, study_name=self._name, direction="maximize", load_if_exists=True
                )
                self._check_identity()
                self._close_interrupted()
                self._first_own = len(self._attempts())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with self._access():
                for trial in self._running.values():
                    self._study.tell(trial, state=self._states.FAIL, skip_if_finished=True)
        finally:
            if self._storage is not None:
                self._storage.remove_session()
                self._storage.engine.dispose()
            self._silence.__exit__()

    def next_attempt(self) -> Attempt | None:
        """Start an attempt at the first point that is neither settled nor being tried; None if there is none."""
        with self._access():
            attempts = self._attempts()
            taken = {t.user_attrs["point"] for t in attempts if t.number in self._running or self._settles(t)}
            point = next((k for k in range(len(self._points)) if k not in taken), None)
            if point is None:
                return None
            # An earlier attempt at a point that TPE drew decides the point.
            drawn: dict[str, Any] = next(
                (t.params for t in attempts if t.user_attrs["point"] == point and t.params), {}
            )
            params = to_labels(self._space, self._points[point]) or drawn
            self._study.enqueue_trial(params, user_attrs={"point": point})
            trial = self._study.ask()
            self._running[trial.number] = trial
            return Attempt(trial.number, from_labels(self._space, self._suggest(trial, point)))

    def finish(self, attempt: Attempt, result: AttemptResult, attempts: int) -> None:
        """Store the result of an attempt that was started ``attempts`` times."""
        with self._access():
            trial = self._running[attempt.number]
            end = {
                "details": {name: float(value) for name, value in result.details.items()},
                "seconds": result.seconds,
                "reason": result.reason,
                "attempts": attempts,
            }
            trial.set_user_attr("end", end)
            states = {"complete": self._states.COMPLETE, "diverged": self._states.PRUNED, "failed": self._states.FAIL}
            self._study.tell(trial, result.value if result.state == "complete" else None, states[result.state])
            del self._running[attempt.number]

    def trials(self) -> list[Trial]:
        """Return the settled points by number, including those of an earlier, longer search."""
        with self._access():
            attempts = self._attempts()
        started: Counter[int] = Counter()
        for trial in attempts:
            started[trial.user_attrs["point"]] += trial.user_attrs.get("end", {}).get("attempts", 1)
        settled = {trial.user_attrs["point"]: trial for trial in attempts if self._settles(trial)}
        return [self._as_trial(settled[k], started[k]) for k in sorted(settled)]

    def _as_trial(self, trial: Any, attempts: int) -> Trial:
        complete, end = trial.state == self._states.COMPLETE, trial.user_attrs["end"]
        return Trial(
            number=trial.user_attrs["point"],
            params=from_labels(self._space, trial.params),
            state={self._states.COMPLETE: "complete", self._states.PRUNED: "diverged"}.get(trial.state, "failed"),
            value=float(trial.value) if complete else math.nan,
            details=dict(end["details"]),
            seconds=float(end["seconds"]),
            attempts=attempts,
            reason=str(end["reason"]),
        )

    def _settles(self, trial: Any) -> bool:
        """Whether an attempt settles its point; a resumed search tries points again that failed before."""
        if trial.state == self._states.FAIL and trial.number < self._first_own:
            return False
        return bool(trial.state.is_finished() and "end" in trial.user_attrs)

    def _suggest(self, trial: Any, point: int) -> dict[str, Any]:
        """Return the parameters of an attempt; the sampler draws those that are not given."""
        with warnings.catch_warnings():
            # Some versions of Optuna call options of TPE experimental.
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            # Each point has its own generator, so a resumed search does not draw the same points again.
            self._study.sampler = self._optuna.samplers.TPESampler(
                seed=derive_seed(self._seed, point), constant_liar=True
            )
        return suggest_point(self._space, trial)

    def _attempts(self) -> list[Any]:
        attempts: list[Any] = self._study.get_trials(deepcopy=False)
        return attempts

    def _close_interrupted(self) -> None:
        """Close the attempts that were waiting or running when an earlier search was killed."""
        for trial in self._attempts():
            if trial.state == self._states.WAITING:
                self._study.tell(self._study.ask(), state=self._states.FAIL)  # tell() refuses waiting trials
            elif not trial.state.is_finished():
                self._study.tell(trial.number, state=self._states.FAIL)

    def _check_identity(self) -> None:
        stored = self._study.user_attrs.get("identity")
        if stored is None and not self._attempts():
            self._study.set_user_attr("identity", self._identity)
            return
        where = f"{self._path} already holds a search named {self._name!r}"
        if stored is None or isinstance(stored.get("space"), str):
            raise OtherSearchError(where, "made by another program or an earlier version of this one")
        try:
            require_same(_format_identity(stored), _format_identity(self._identity))
        except ValueError as error:
            raise OtherSearchError(where, str(error)) from error

    def _open(self) -> Any:
        if self._path is None:
            return None
        # Optuna and SQLAlchemy interpret some characters of a URL, so the path is not part of it.
        options = {"creator": partial(_connect, self._path)}
        return self._optuna.storages.RDBStorage("sqlite:///search.db", engine_kwargs=options)

    @contextmanager
    def _access(self) -> Iterator[None]:
        """Use the storage: its errors are raised as :class:`SearchError`, and signals take effect afterwards."""
        if self._path is None:
            yield
            return
        try:
            # Raised in a finaliser of SQLAlchemy, KeyboardInterrupt would be lost.
            with deferred_interrupt(), deferred_interrupt(SIGTERM):
                yield
        except (OSError, sqlite3.Error, self._optuna.exceptions.OptunaError, self._database_error) as error:
            raise _unusable(self._path, _first_cause(error)) from error


def _first_cause(error: BaseException) -> BaseException:
    """Return the error from which others were raised: the reason that SQLite gives, not that Optuna failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _format_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity, "space": format_space_json(identity["space"])}


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database.

    With a write-ahead log and without waiting for the disk at each of Optuna's many small changes, a trial costs
    milliseconds. A power failure can lose the last trials, which are then run again.
    """
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
