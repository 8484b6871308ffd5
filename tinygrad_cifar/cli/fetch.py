"""``tinygrad-cifar fetch``: download CIFAR-10."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tinygrad_cifar.cli.common import Stopped, Subparsers, nonempty_path, progress_bar

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

    bar = progress_bar(desc="CIFAR-10", unit="B", unit_scale=True)
    try:
        place = fetch_cifar10(options.folder, progress=_lines() if bar is None else _moving(bar))
    except KeyboardInterrupt:
        raise Stopped("stopped; what has arrived is kept, and the same command goes on from there") from None
    finally:
        if bar is not None:
            bar.close()
    print(f"CIFAR-10 is in {place}; train on it with --data {place}")
    return 0


def _moving(bar: object) -> Callable[[int, int], None]:
    def move(done: int, total: int) -> None:
        bar.total, bar.n = total, done  # type: ignore[attr-defined]
        bar.refresh() if done == total else bar.update(0)  # type: ignore[attr-defined]

    return move


def _lines() -> Callable[[int, int], None]:
    said = -1

    def say(done: int, total: int) -> None:
        nonlocal said
        tenth = _LINES * done // total
        if tenth != said:
            said = tenth
            print(f"{done // _MEGABYTE:4} of {total // _MEGABYTE} MB", flush=True)

    return say
