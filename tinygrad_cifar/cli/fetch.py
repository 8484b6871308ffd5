"""``tinygrad-cifar fetch``: download CIFAR-10."""

from __future__ import annotations

import argparse

from tinygrad_cifar.cli.common import Stopped, Subparsers, nonempty_path
from tinygrad_cifar.cli.progress import show_progress

_MEGABYTE = 1_000_000
_LINES = 10  # where no bar can be drawn


def add_parser(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "fetch",
        help="download CIFAR-10",
        description="Download CIFAR-10 (170 MB), check it, and unpack it into a folder. An interrupted download goes "
        "on where it stopped.",
    )
    parser.add_argument("folder", type=nonempty_path, metavar="DIR", help="the folder; it is made if need be")
    parser.set_defaults(command=fetch)


def fetch(options: argparse.Namespace) -> int:
    """Download CIFAR-10 into a folder."""
    from tinygrad_cifar.data.fetch import fetch_cifar10  # noqa: PLC0415 (the network's modules are slow to import)

    def report(done: int, total: int) -> None:
        display.update(done, total, lines=[f"{done // _MEGABYTE:4} of {total // _MEGABYTE} MB"])

    try:
        with show_progress("CIFAR-10", max_lines=_LINES, unit="B", unit_scale=True, bar_format=None) as display:
            place = fetch_cifar10(options.folder, progress=report)
    except KeyboardInterrupt:
        raise Stopped("stopped; what has arrived is kept, and the same command goes on from there") from None
    print(f"CIFAR-10 is in {place}; train on it with --data {place}")
    return 0
