"""The parts that the commands share: errors, the parser that raises them, options, and tables."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tinygrad_cifar.system.locks import FolderInUseError, exclusive_lock

WIDTH = 80  # columns of a terminal
_MAX_TEXT = 2000

Subparsers = Any  # the class that argparse uses is private


class CommandError(Exception):
    """A command that cannot be carried out, as a one-line error message."""


class UsageError(CommandError):
    """Invalid options."""


class Stopped(Exception):  # noqa: N818 (an event)
    """The user pressed Ctrl-C; the one-line message says how to continue."""


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, with a help text of at most 80 columns."""

    def __init__(self, *, description: str = "", **options: Any) -> None:
        super().__init__(
            description=textwrap.fill(description, WIDTH),
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise an error for invalid options."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def int_in_range(least: int, most: int) -> Callable[[str], int]:
    """Return a converter from the text of an option to an integer of a range."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and len(text) < 20 and least <= int(text) <= most):  # noqa: PLR2004 (int() is slow for long texts)
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {least} to {most}")
        return int(text)

    return convert


def nonempty_path(text: str) -> Path:
    """Return the path of an option; an empty text, as from an unset shell variable, is an error."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty; give a folder (. is the current one)")
    return Path(text)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--data``."""
    parser.add_argument(
        "--data",
        default="builtin",
        metavar="DIR",
        help="folder with CIFAR-10, as written by `tinygrad-cifar fetch`; or `builtin` (the default), synthetic images "
        "of shapes",
    )


def make_folder(out: Path) -> None:
    """Create the folder of ``--out`` if it does not exist."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"the folder {out} cannot be created ({error.strerror}); choose another --out") from error


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Hold the lock of the folder of ``--out``, if it exists."""
    if not out.is_dir():
        yield
        return
    try:
        with exclusive_lock(out):
            yield
    except FolderInUseError as error:
        raise CommandError(f"{error}; wait until it has ended, or choose another --out") from error


def wrapped(line: str) -> str:
    """Wrap a line to 80 columns; continuation lines are indented."""
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, wrapped: bool = False) -> str:
    """Format a table with aligned columns.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences of str
    left : int
        Number of columns that are aligned to the left. Default: 1.
    wrapped : bool
        If True, the last column is aligned to the left and wrapped at column 80. Default: False.

    Examples
    --------
    >>> from tinygrad_cifar.cli.common import table
    >>> print(table(["", "loss"], [["train", "1.2"], ["test", "10.5"]]))
           loss
    train   1.2
    test   10.5
    """
    columns = list(zip(header, *rows, strict=True))
    last = len(columns) - 1 if wrapped else len(columns)
    widths = [max(map(len, column)) for column in columns[:last]]
    lines = []
    for row in (header, *rows):
        cells = [
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row[:last], widths, strict=True))
        ]
        line = "  ".join(cells)
        if wrapped:
            indent = len(line) + 2
            line = textwrap.fill(row[last], WIDTH, initial_indent=f"{line}  ", subsequent_indent=" " * indent)
        lines.append(line.rstrip())
    return "\n".join(lines)


def escape_unprintable(text: str) -> str:
    r"""Escape the characters of a text that a terminal would interpret, and truncate it: it may come from a file.

    Examples
    --------
    >>> from tinygrad_cifar.cli.common import escape_unprintable
    >>> print(escape_unprintable("\x1b[2J gone"))
    \x1b[2J gone
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_MAX_TEXT])
