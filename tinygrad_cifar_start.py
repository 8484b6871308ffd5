"""Start of the command line: everything that must happen before NumPy is imported.

NumPy reads its number of threads when it is imported, and the import takes a tenth of a second, in which Ctrl-C would
print a traceback. Importing anything of the package imports NumPy, so the console script imports this module instead.
``python -m tinygrad_cifar`` imports the package first; it sets the number of threads by starting itself again.
"""

from __future__ import annotations

import os
import signal
import sys

#: Environment variables from which BLAS libraries read their number of threads, as in ``tinygrad_cifar.system.blas``.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_COMPUTE = {"train", "evaluate", "check", "search", "reproduce"}
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def start() -> int:
    """Run the command line with one BLAS thread or ``--threads``, and return its exit status."""
    try:
        _hold_signals()
        _open_closed_streams()
        arguments = sys.argv[1:]
        computes = bool(arguments) and arguments[0] in _COMPUTE and not {"-h", "--help", "--help-all"} & {*arguments}
        threads = _requested_threads(arguments)
        if computes:
            _set_threads(threads)
        from tinygrad_cifar.system import blas  # noqa: PLC0415 (imports NumPy)

        if computes:
            blas.relaunch(threads=threads or 1)
        from tinygrad_cifar.cli import main  # noqa: PLC0415

        _receive_signals()
        return main()
    except KeyboardInterrupt as stop:
        if sys.stderr is not None:
            sys.stderr.write("tinygrad-cifar: stopped\n")
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt the interpreter's own clean-up


def _hold_signals() -> None:
    """Handle SIGTERM like Ctrl-C, and let both wait until the modules are imported.

    Python loses an exception that is raised in a finaliser, of which the import system has many.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def _receive_signals() -> None:
    """Receive the signals that have come since the start of the process, or of the one that restarted it."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _stop(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)


def _open_closed_streams() -> None:
    """Open the null device for each closed standard stream, so that no other file takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115 (until the process ends)


def _requested_threads(arguments: list[str]) -> int | None:
    """Return the value of ``--threads``; the parser of the command reports an invalid one."""
    for option, value in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, joined = option.partition("=")
        text = joined if equals else value
        if name == "--threads" and text.isdecimal() and len(text) < 4 and int(text):  # noqa: PLR2004
            return int(text)
    return None


def _set_threads(threads: int | None) -> None:
    """Set the number of threads of BLAS libraries, unless the user has set it and did not give ``--threads``."""
    if threads is not None:
        for name in THREAD_VARIABLES:
            os.environ.pop(name, None)
    if "numpy" not in sys.modules and not any(name in os.environ for name in THREAD_VARIABLES):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads or 1)))
