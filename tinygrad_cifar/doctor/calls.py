"""Calls of the user's functions.

Their output is kept apart, and an exception, or a call that does not end, becomes one sentence.
"""

from __future__ import annotations

import ctypes
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

# The folders of this package, of NumPy and its neighbours, and of Python's own modules.
_LIBRARIES = tuple(
    str(folder) + os.sep
    for folder in (Path(__file__).parents[1], Path(np.__file__).parents[1], Path(os.__file__).parent)
)
_NOTEBOOK = "ipykernel_"  # in the paths of the files that hold the cells of a notebook


class DiagnosisError(ValueError):
    """The cost or the gradients cannot be diagnosed; the message says why, in one sentence."""


class _OutOfTime(BaseException):
    """Raised inside a call that does not end; not an Exception, so that ``except Exception`` does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt Python code of this thread that runs longer than ``seconds``.

    The code is interrupted between two instructions of Python, so a single call of a compiled function that does not
    return is not.
    """
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    thread = ctypes.c_ulong(threading.get_ident())
    lock, is_over = threading.Lock(), False

    def interrupt() -> None:
        with lock:
            if not is_over:
                set_exception(thread, ctypes.py_object(_OutOfTime))

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        # An exception that has been set is raised at the next instruction. It must not be withdrawn: the interpreter
        # would look for it at every instruction from then on, and never end under a profiler (CPython 3.11).
        with lock:
            is_over = True
        timer.cancel()


def call_function(function: Callable[[], Any], name: str, *, seconds: float, printed: list[str] | None = None) -> Any:
    """Call one of the user's functions.

    Parameters
    ----------
    function : callable
        The call, without arguments.
    name : str
        How error messages name the function.
    seconds : float
        Time limit.
    printed : list of str, optional
        Receives the text that the function prints.

    Raises
    ------
    DiagnosisError
        If the function raises an exception or exceeds the time limit.
    """
    out = io.StringIO()
    try:
        with time_limit(seconds), redirect_stdout(out), redirect_stderr(out):
            return function()
    except _OutOfTime:
        raise DiagnosisError(
            f"{name} did not return within {seconds:g} s; check its loops, or pass a larger time_limit to "
            "tg.doctor.diagnose"
        ) from None
    except DiagnosisError:
        raise
    except (Exception, SystemExit) as error:
        raise DiagnosisError(f"{name} raised {describe_exception(error)}{_line_of(error)}") from error
    finally:
        if printed is not None and out.getvalue():
            printed.append(out.getvalue())


def describe_exception(error: BaseException) -> str:
    """Return an exception of the user's code in words."""
    if isinstance(error, _OutOfTime):
        return "it was stopped, since it took too long"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_of_user(file: str) -> bool:
    """Return whether a file of code belongs to the user, not to a library."""
    return not file.startswith(("<", *_LIBRARIES))


def _line_of(error: BaseException) -> str:
    """Return the line of the user's code in which an error was raised, in words; empty if it is not known."""
    line, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_of_user(code.co_filename):
            file = "the cell" if _NOTEBOOK in code.co_filename else Path(code.co_filename).name
            line = f" (line {trace.tb_lineno} of {file}, in {code.co_name})"
        trace = trace.tb_next
    return line
