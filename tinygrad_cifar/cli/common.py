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
_LONGEST_TEXT = 2000

Subparsers = Any  # argparse keeps the class of its subparsers to itself


class CommandError(Exception):
    """What a command cannot do: one sentence for the user."""


class UsageError(CommandError):
    """Options that cannot be understood."""


class Stopped(Exception):  # noqa: N818 (it is an event)
    """The user pressed Ctrl-C: one sentence that says what is left and how to go on."""


class Parser(argparse.ArgumentParser):
    """A parser that raises its complaints, and whose help is no wider than a terminal."""

    def __init__(self, *, description: str = "", **options: Any) -> None:
        super().__init__(
            description=textwrap.fill(description, WIDTH),
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the options."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def int_in_range(least: int, most: int) -> Callable[[str], int]:
    """Return what turns an option's text into a number of a range."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and len(text) < 20 and least <= int(text) <= most):  # noqa: PLR2004 (before int() toils)
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return convert


def nonempty_path(text: str) -> Path:
    """Return the folder that an option names: an empty text, as of a variable that is not set, names none."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a folder (. is the one where you are)")
    return Path(text)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Let the user choose the data."""
    parser.add_argument(
        "--data",
        default="builtin",
        metavar="DIR",
        help="the folder with CIFAR-10, as `tinygrad-cifar fetch` makes it; or `builtin` (the default), images of "
        "shapes that are drawn at once",
    )


def make_folder(out: Path) -> None:
    """Make the folder that ``--out`` names, unless it is there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{out} cannot be made a folder ({error.strerror}); choose another --out") from error


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Keep other commands out of the folder that ``--out`` names, once it is there."""
    if not out.is_dir():
        yield
        return
    try:
        with exclusive_lock(out):
            yield
    except FolderInUseError as error:
        raise CommandError(f"{error}; wait until it has ended, or choose another --out") from error


def wrapped(line: str) -> str:
    """Return a line as it fits a terminal of 80 columns, what goes on indented."""
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, wrapped: bool = False) -> str:
    """Align texts in columns, the first ``left`` of them to the left and the others to the right.

    If ``wrapped``, the last column is to the left, too, and goes on in the next line where it would pass column 80.

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
    r"""Return text as a terminal may safely show it, and no longer than a screen: it may come from somebody's file.

    Examples
    --------
    >>> from tinygrad_cifar.cli.common import escape_unprintable
    >>> print(escape_unprintable("\x1b[2J gone"))
    \x1b[2J gone
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_LONGEST_TEXT])
