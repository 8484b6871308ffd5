"""The command line: one module per command, and here the main parser and the error handling.

Every error ends in a one-line message on the standard error and a nonzero exit status. The module of a command has
``add_parser``, which adds its parser, and a function that runs it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from tinygrad_cifar._version import __version__
from tinygrad_cifar.cli import check, evaluate, fetch, reproduce, search, train
from tinygrad_cifar.cli.common import CommandError, Parser, Stopped, UsageError, escape_unprintable
from tinygrad_cifar.course.settings import SettingsError
from tinygrad_cifar.course.training import TrainingDiverged
from tinygrad_cifar.data import DataError
from tinygrad_cifar.system.checkpoints import CheckpointError

COMMANDS = (train, evaluate, check, search, reproduce, fetch)

DEBUG = "TINYGRAD_CIFAR_DEBUG"
FAILED, MISUSED, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141  # 128 plus the signal, as in shells

_EXPECTED = (CommandError, DataError, SettingsError, CheckpointError, TrainingDiverged)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments of the command line. Default: those of the process.

    Returns
    -------
    int
        0 for success, 1 for an error, 2 for invalid options, 130 after Ctrl-C, 141 if the output pipe is closed.

    Examples
    --------
    >>> from tinygrad_cifar.cli import main
    >>> main(["--version"])
    tinygrad-cifar 0.1.0
    0
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # for file names that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except Stopped as stopped:
        return _print_error(str(stopped), INTERRUPTED)
    except KeyboardInterrupt:
        return _print_error("stopped", INTERRUPTED)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _print_error(f"error: {_format_error(error)}", MISUSED if isinstance(error, UsageError) else FAILED)
    return status


def _run(arguments: Sequence[str] | None) -> int:
    parser = _build_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as done:  # after --help or --version
        return int(done.code or 0)
    if options.command is None:
        parser.print_help()
        return 0
    status: int = options.command(options)
    return status


def _build_parser() -> Parser:
    parser = Parser(
        prog="tinygrad-cifar",
        description="Train and check image classifiers with automatic differentiation on NumPy.",
        epilog=f"Set the environment variable {DEBUG}\nto see the traceback of an error.",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-cifar {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _format_error(error: Exception) -> str:
    if isinstance(error, _EXPECTED):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'allocation failed'}); try a smaller model or --dtype float32"
    return f"unexpected {type(error).__name__} ({error}): internal error; set {DEBUG}=1 for a traceback"


def _print_error(message: str, status: int) -> int:
    _flush_output()
    sys.stderr.write(f"tinygrad-cifar: {escape_unprintable(' '.join(message.split()))}\n")
    return status


def _flush_output() -> None:
    """Flush the standard output before the error is printed; discard it if that fails."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Redirect the standard output to the null device, since the last flush of the interpreter would fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
