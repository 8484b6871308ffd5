"""The command line: one module per command, and here the main parser and the error handling.

Every error ends in a message of one sentence on the standard error, wrapped only on a terminal and in some cases
followed by advice, and a nonzero exit status. The module of a command has ``add_parser``, which adds its parser, and a
function that runs it.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from tinygrad_cifar._version import __version__
from tinygrad_cifar.cli import check, doctor, evaluate, fetch, reproduce, search, train
from tinygrad_cifar.cli.common import CommandError, Stopped, UsageError, escape_unprintable, terminal_width, wrapped
from tinygrad_cifar.cli.parser import Parser
from tinygrad_cifar.cli.settings import OPTIONS
from tinygrad_cifar.course.setting_fields import option_of
from tinygrad_cifar.course.settings import SettingsError
from tinygrad_cifar.course.training import TrainingDiverged
from tinygrad_cifar.data import DataError
from tinygrad_cifar.system.checkpoints import CheckpointError

COMMANDS = (train, evaluate, check, doctor, search, reproduce, fetch)

DEBUG = "TINYGRAD_CIFAR_DEBUG"
FAILED, MISUSED, PIPE_CLOSED = 1, 2, 141  # 128 plus the signal, as in shells

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
        0 for success, 1 for an error, 2 for an invalid option or value, 130 after Ctrl-C, 143 after SIGTERM, 141 if the
        output pipe is closed.

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
        _flush_output()
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except Stopped as stopped:
        return _print_error(str(stopped), _status_of_stop(stopped.__context__))
    except KeyboardInterrupt as stop:
        return _print_error("stopped", _status_of_stop(stop))
    except Exception as error:
        interruption = _interruption_behind(error)
        if interruption is not None:
            return _print_error("stopped", _status_of_stop(interruption))
        if os.environ.get(DEBUG):
            raise
        is_misuse = isinstance(error, UsageError | SettingsError)
        advice = error.advice if isinstance(error, CommandError) else ()
        return _print_error(f"error: {_format_error(error)}", MISUSED if is_misuse else FAILED, advice)
    return status


def _interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption that an error follows from: a library that was interrupted may raise another one."""
    before = error.__cause__ or error.__context__
    if before is None or isinstance(before, KeyboardInterrupt):
        return before
    return _interruption_behind(before)


def _status_of_stop(stop: BaseException | None) -> int:
    """Return 128 plus the number of the signal that stopped the command, which the start of the process passes on."""
    return 128 + (stop.args[0] if stop is not None and stop.args else signal.SIGINT)


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
    if isinstance(error, SettingsError):
        return error.format(lambda name: option_of(name) if name in OPTIONS else f"the {name}")
    if isinstance(error, _EXPECTED):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        if not error.filename and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            return f"the output cannot be written ({reason})"
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'allocation failed'}); try a smaller model or batch"
    return f"unexpected {type(error).__name__} ({error}): internal error; set {DEBUG}=1 for a traceback"


def _print_error(message: str, status: int, advice: Sequence[str] = ()) -> int:
    with suppress(OSError):
        _flush_output()
    lines = [f"tinygrad-cifar: {escape_unprintable(' '.join(message.split()))}"]
    lines += [f"  {escape_unprintable(line)}" for line in advice]
    if sys.stderr.isatty():
        width = terminal_width()
        lines = [wrapped(line.lstrip(), width, "  " * line.startswith("  ")) for line in lines]
    with suppress(OSError):  # there is no other place to report it
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
    return status


def _flush_output() -> None:
    """Flush the standard output; if that fails, discard the rest of it, since the interpreter would fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
        raise


def _discard_output() -> None:
    """Redirect the standard output to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
