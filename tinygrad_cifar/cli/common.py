"""The parts that the commands share: errors, options, and tables."""

from __future__ import annotations

import argparse
import os
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tinygrad_cifar.course.setting_fields import shorten
from tinygrad_cifar.system.arguments import listed
from tinygrad_cifar.system.locks import FolderInUseError, exclusive_lock

WIDTH = 80  # columns of a terminal
_MAX_TEXT = 2000
_MAX_SHOWN = 10**9  # higher limits are not shown
_MAX_THREADS = 256
_BUILTIN = "builtin"

Subparsers = Any  # the class that argparse uses is private


class CommandError(Exception):
    """A command that cannot be carried out.

    Parameters
    ----------
    message : str
        The error message, of one line.
    advice : sequence of str
        Further lines that say what to do.
    """

    def __init__(self, message: str, advice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.advice = advice


class UsageError(CommandError):
    """Invalid options."""


class Stopped(Exception):  # noqa: N818 (an event)
    """The user pressed Ctrl-C, or SIGTERM came; the one-line message says how to continue."""


def int_in_range(least: int, most: int) -> Callable[[str], int]:
    """Return a converter from the text of an option to an integer of a range."""
    limits = f", at least {least}" if most > _MAX_SHOWN else f" from {least} to {most}"

    def convert(text: str) -> int:
        is_long = len(text) > len(str(most))  # int() is slow for long texts
        if text.isdecimal() and not is_long and least <= int(text) <= most:
            return int(text)
        if text.isdecimal() and (is_long or int(text) > most):
            raise argparse.ArgumentTypeError(f"must be at most {most}; got {shorten(text)}")
        raise argparse.ArgumentTypeError(f"must be an integer{limits}; got {shorten(text)}")

    return convert


def folder_path(text: str, *, writable: bool = False) -> Path:
    """Return the path of a folder that exists or can be created; an error otherwise."""
    if not text:  # as from an unset variable of the shell
        raise argparse.ArgumentTypeError("must not be empty; give a folder (. is the current one)")
    path = Path(text)
    try:
        absolute = path.absolute()
        existing = next(p for p in (absolute, *absolute.parents) if os.path.lexists(p))
        if not existing.is_dir():
            raise argparse.ArgumentTypeError(f"must be a folder, and {existing} is not one; choose another")
        if writable and not os.access(existing, os.W_OK | os.X_OK):
            raise argparse.ArgumentTypeError(f"must be a folder to write to, and {existing} is not; choose another")
        path.exists()  # its name may be too long
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot be used ({error.strerror}); choose another folder") from error
    return path


output_folder = partial(folder_path, writable=True)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--data``."""
    parser.add_argument(
        "--data",
        type=_data_source,
        default=_BUILTIN,
        metavar="DIR",
        help=f"folder that `tinygrad-cifar fetch` wrote, or `{_BUILTIN}` (default), synthetic images of shapes",
    )


def _data_source(text: str) -> str:
    if text == _BUILTIN or os.path.isdir(text):  # noqa: PTH112 (False for an invalid name, too)
        return text
    if os.path.isfile(text):  # noqa: PTH113
        remedy = "give the folder of the files"
        if text.endswith((".tar.gz", ".tgz", ".tar")):
            remedy = f"unpack the archive with tinygrad-cifar fetch DIR --from {text}"
        raise argparse.ArgumentTypeError(f"must be a folder, and {text} is a file; {remedy}")
    raise argparse.ArgumentTypeError(f"must be {_BUILTIN} or a folder with CIFAR-10; {shorten(text)} does not exist")


def add_threads_option(parser: Any) -> None:
    """Add the option ``--threads``, whose value has an effect before the arguments are parsed, when NumPy is loaded."""
    parser.add_argument(
        "--threads",
        type=int_in_range(1, _MAX_THREADS),
        metavar="N",
        help="threads of matrix products (default: 1)",
    )


def check_plotting() -> None:
    """Raise an error if the environment gives matplotlib an unknown backend, before the work that is to be plotted."""
    if "MPLBACKEND" not in os.environ:
        return  # importing matplotlib takes time
    try:
        import_module("matplotlib")
    except ImportError:
        pass  # reported when the figures are drawn
    except ValueError as error:
        raise UsageError(
            "the environment variable MPLBACKEND must name a backend of matplotlib; got "
            f"{shorten(os.environ['MPLBACKEND'])}; unset it, or set it to agg"
        ) from error


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


def check_no_folders(out: Path, names: Iterable[str], *, work: str) -> None:
    """Raise an error if a folder is in the place of a file that a command writes.

    Parameters
    ----------
    out : Path
        The folder of ``--out``.
    names : iterable of str
        Names of the files.
    work : str
        The work of the command, as ``run``.
    """
    for name in names:
        if (out / name).is_dir():
            raise CommandError(
                f"{out / name} is a folder, and a file of the {work} belongs there; choose another --out"
            )


def check_foreign_files(out: Path, names: Iterable[str], *, work: str, remedy: str) -> None:
    """Raise an error if a folder has files with the names of results, which are not those of the command.

    Parameters
    ----------
    out : Path
        The folder of ``--out``, which does not contain earlier work of the command.
    names : iterable of str
        Names of the files that the command would replace.
    work : str
        The work of the command, as ``run``.
    remedy : str
        What to do instead of choosing another folder.
    """
    foreign = [name for name in names if os.path.lexists(out / name)]
    if foreign:
        raise CommandError(
            f"{out} does not contain a {work}, but {listed(foreign)}, which the {work} would replace; choose "
            f"another --out, or {remedy}"
        )


def wrapped(line: str, width: int = WIDTH, indent: str = "") -> str:
    """Wrap a line to 80 columns; continuation lines are indented. Words are not broken, so they can be copied."""
    return textwrap.fill(
        line,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, which is plural unless the number is 1.

    Examples
    --------
    >>> from tinygrad_cifar.cli.common import counted
    >>> counted(1, "step"), counted(2, "step")
    ('1 step', '2 steps')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def terminal_width() -> int:
    """Return the number of columns of the terminal; 80 if it does not know its size."""
    return shutil.get_terminal_size((WIDTH, 24)).columns or WIDTH


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
