"""Calls of the user's functions.

Their output is kept apart, and an exception, or a call that does not end, becomes one sentence.
"""

from __future__ import annotations

import ctypes
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any


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

    timer = threading.Timer(seconds, interrupt)
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
            f"{name} did not return within {seconds:g} s; check its loops, or pass a larger time_limit"
        ) from None
    except DiagnosisError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise DiagnosisError(f"{name} raised {reason}{_line_of(error)}") from error
    finally:
        if printed is not None and out.getvalue():
            printed.append(out.getvalue())


def _line_of(error: BaseException) -> str:
    """Return the line of the user's code in which an error was raised, in words; empty if it is not known."""
    line, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "tinygrad_cifar" not in file and "numpy" not in file and not file.startswith("<"):
            line = f" (line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name})"
        trace = trace.tb_next
    return line
