"""A contestant of the models, in a process of its own: a library, or the programs derived by hand.

Memory that one library returns to the system costs another one page faults, and threads of BLAS spin after a product;
so each contestant has a process, which is stopped while it is not being asked. Requests and replies are pickled.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import profiling, threads
from benchmarks.agreement import describe_failure
from benchmarks.implementations import HAND
from benchmarks.libraries import Library, Thunk, load
from benchmarks.libraries.ours import ForwardPass
from benchmarks.models.collection import MODELS
from benchmarks.models.model import Model, Size
from benchmarks.processes import NotInstalledError, StoppedProcess, UnavailableError
from benchmarks.timing import choose_count, spread, time_calls, time_interleaved
from tinygrad_cifar.engine.blocked import memory

_GROUP = 0.02  # seconds of consecutive calls of a part of a model


class Contestant:
    """Computes models with a library.

    Parameters
    ----------
    library : Library, optional
        If None, it computes the programs derived by hand.
    """

    def __init__(self, library: Library | None) -> None:
        self._library = library
        self._thunks: dict[str | None, Thunk] = {}  # of the alternatives; that of the library itself is None's
        self._counts: dict[str | None, int] = {}
        self._model: int | None = None

    def close(self) -> None:
        """Forget what was prepared."""
        self._thunks = {}

    def results(self, model: int, size: Size, dtype: str, alternative: str | None, calls: int) -> list[Any]:
        """Prepare a model, and return the results of its first calls, of which the first one compiles.

        What was prepared of another model is forgotten.

        Raises
        ------
        UnavailableError
            If the library cannot compute it.
        """
        if model != self._model:
            self._model, self._thunks = model, {}
        try:
            prepare, read = self._find(MODELS[model], alternative)
            self._thunks[alternative] = thunk = prepare(MODELS[model].inputs(size, dtype))
            return [_copy(read(thunk())) for _ in range(calls)]
        except Exception as failure:  # of a library
            raise UnavailableError(describe_failure(failure)) from failure

    def _find(self, model: Model, alternative: str | None) -> tuple[Callable[[Any], Thunk], Callable[[Any], Any]]:
        """Return what prepares a model, and what reads its results."""
        if alternative is not None:
            return model.alternatives[alternative][:2]
        if self._library is not None:
            return partial(model.make, self._library), self._library.numpy
        if model.by_hand is None:
            raise LookupError("the model is not derived by hand")
        return model.by_hand, lambda results: results

    def choose_count(self, alternative: str | None, group: float) -> float:
        """Choose the number of calls of a group that takes about so many seconds, and return those of one call."""
        thunk = self._thunks[alternative]
        self._counts[alternative] = choose_count(thunk, group)
        return time_calls(thunk, 1)

    def seconds(self, alternative: str | None) -> float:
        """Return the seconds of a call, the mean of a group, after a call that is not timed."""
        thunk, count = self._thunks[alternative], self._counts[alternative]
        gc.disable()
        try:
            time_calls(thunk, 1)
            return time_calls(thunk, count) / count
        finally:
            gc.enable()

    def peak(self) -> int:
        """Return the bytes at the peak of a call, beyond those allocated before it."""
        thunk = self._thunks[None]
        smallest, memory._SMALLEST = memory._SMALLEST, sys.maxsize  # a region that is kept would not be counted
        tracemalloc.start()
        try:
            thunk()  # a result of an earlier call may be freed in this one
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            thunk()
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
            memory._SMALLEST = smallest

    def split(self, size: Size, dtype: str, rounds: int) -> dict[str, float]:
        """Return the medians of the seconds of a call of this library, and of its forward pass, recorded or not."""
        if self._model is None:
            raise RuntimeError("split: no model has been prepared; call results before")
        model = MODELS[self._model]
        functions = {"whole": self._thunks[None]}
        for part in (True, False):
            forward = ForwardPass(recorded=part)
            functions["recorded" if part else "computed"] = model.make(forward, model.inputs(size, dtype))
        times = time_interleaved(list(functions.values()), rounds, group=_GROUP, warm=1)
        return {name: spread(taken).median for name, taken in zip(functions, times, strict=True)}

    def profile(self, steps: int) -> dict[str, Any]:
        """Return the profile of a call of this library; the update of a step of training is not a part of its own."""
        return profiling.profile(self._thunks[None], _no_update, steps)


def _no_update() -> None:
    pass


def _copy(results: Any) -> Any:
    """Return results as arrays of their own, which the next call does not change."""
    return tuple(map(_copy, results)) if isinstance(results, (tuple, list)) else np.array(results)


class RemoteContestant:
    """A contestant in a process of its own, with the same methods.

    Raises
    ------
    NotInstalledError
        If the library is not installed.
    """

    def __init__(self, name: str, thread_count: int) -> None:
        self._process = StoppedProcess("benchmarks.models.contestant", name, thread_count, text=False)
        try:
            self._receive()
        except UnavailableError:
            self._process.close()
            raise

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments: self._receive((method, *arguments))

    def _receive(self, request: Any = None) -> Any:
        with self._process.running() as (requests, replies):
            try:
                if request is not None:
                    pickle.dump(request, requests)
                    requests.flush()
                failure, reply = pickle.load(replies)  # noqa: S301 (of this program)
            except (BrokenPipeError, EOFError):
                raise UnavailableError(f"its process ended with status {self._process.wait()}") from None
        if failure is not None:
            raise failure(reply)
        return reply


def serve(name: str) -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with replies
    threads.limit_cores()

    def reply(failure: type[Exception] | None, answer: Any) -> None:
        pickle.dump((failure, answer), replies)
        replies.flush()

    try:
        library = None if name == HAND else load(name)
        if library is not None:
            library.use_threads(threads.count())
    except ImportError as error:
        reply(NotInstalledError, str(error))
        return
    contestant = Contestant(library)
    reply(None, None)
    while True:
        try:
            method, *arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 (of this program)
        except EOFError:
            return
        try:
            answer = getattr(contestant, method)(*arguments)
        except UnavailableError as error:
            reply(UnavailableError, str(error))
        except Exception as error:  # noqa: BLE001 (the other contestants continue)
            reply(UnavailableError, describe_failure(error))
        else:
            reply(None, answer)


if __name__ == "__main__":
    serve(sys.argv[1])
