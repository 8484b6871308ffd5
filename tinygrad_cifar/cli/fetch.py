"""``tinygrad-cifar fetch``: download CIFAR-10."""

from __future__ import annotations

import argparse

from tinygrad_cifar.cli.common import Stopped, Subparsers, nonempty_path
from tinygrad_cifar.cli.progress import show_progress

_MEGABYTE = 1_000_000
_LINES = 10  # without a progress bar


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "fetch",
        help="download CIFAR-10",
        description="Download CIFAR-10 (170 MB), verify it and unpack it into a folder. An interrupted download is "
        "resumed.",
    )
    parser.add_argument("folder", type=nonempty_path, metavar="DIR", help="output folder; created if necessary")
    parser.set_defaults(command=fetch)


def fetch(options: argparse.Namespace) -> int:
    """Run the command."""
    from tinygrad_cifar.data.fetch import fetch_cifar10  # noqa: PLC0415 (the network modules are slow to import)

    def report(done: int, total: int) -> None:
        display.update(done, total, lines=[f"{done // _MEGABYTE:4} of {total // _MEGABYTE} MB"])

    try:
        with show_progress("CIFAR-10", max_lines=_LINES, unit="B", unit_scale=True, bar_format=None) as display:
            folder = fetch_cifar10(options.folder, progress=report)
    except KeyboardInterrupt:
        raise Stopped("stopped; the partial file is kept, and the same command resumes the download") from None
    print(f"CIFAR-10 is in {folder}; train on it with --data {folder}")
    return 0
