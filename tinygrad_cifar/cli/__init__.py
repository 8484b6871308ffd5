"""The command line: a module for each command, and here what they share: one parser, and one way to fail.

Whatever goes wrong ends in one sentence on the standard error and a status that is not 0. Each command's module has
``add_parser``, which describes its options, and the function that does it.
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
FAILED, MISUSED, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141  # the last two are 128 and the signal, as shells have it

_EXPECTED = (CommandError, DataError, SettingsError, CheckpointError, TrainingDiverged)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those that the process was started with.

    Returns
    -------
    int
        0 if all went well, 1 if not, 2 for options that cannot be understood, 130 after Ctrl-C, 141 if nobody reads
        the output any more.

    Examples
    --------
    >>> from tinygrad_cifar.cli import main
    >>> main(["--version"])
    tinygrad-cifar 0.1.0
    0
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return PIPE_CLOSED
    except Stopped as stopped:
        return _say(str(stopped), INTERRUPTED)
    except KeyboardInterrupt:
        return _say("stopped", INTERRUPTED)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _say(f"error: {_sentence(error)}", MISUSED if isinstance(error, UsageError) else FAILED)
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
        description="Train and check image classifiers whose gradients come from the project's own autodiff.",
        epilog=f"To see where an error comes from, set the environment variable\n{DEBUG}.",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-cifar {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _sentence(error: Exception) -> str:
    if isinstance(error, _EXPECTED):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error or 'none is left'}); try a smaller model or --dtype float32"
    return f"unexpected {type(error).__name__} ({error}): a fault of this program; set {DEBUG}=1 to see where"


def _say(message: str, status: int) -> int:
    _forget_output_if_it_fails()
    sys.stderr.write(f"tinygrad-cifar: {escape_unprintable(' '.join(message.split()))}\n")
    return status


def _forget_output_if_it_fails() -> None:
    """Print what is still to be printed before the error, unless that is the error."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()


def _forget_output() -> None:
    """Let the interpreter's last flush go nowhere: it would complain of the closed pipe or the full disk again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
