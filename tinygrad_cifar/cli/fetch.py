"""``tinygrad-cifar fetch``: download CIFAR-10, or unpack an archive that has been downloaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_cifar.cli.common import CommandError, Stopped, Subparsers, folder_path
from tinygrad_cifar.course.setting_fields import shorten
from tinygrad_cifar.system.progress import show_progress

_MEGABYTE = 1_000_000
_LINES = 10  # without a progress bar

_EXAMPLES = """
without a network:
  download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz elsewhere
  tinygrad-cifar fetch data --from cifar-10-python.tar.gz
"""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "fetch",
        help="download CIFAR-10",
        description="Download CIFAR-10 (170 MB), verify it and unpack it into a folder. An interrupted download is "
        "resumed.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("folder", type=folder_path, metavar="DIR", help="output folder; created if necessary")
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument(
        "--from",
        dest="source",
        type=_source,
        metavar="FILE_OR_URL",
        help="the archive cifar-10-python.tar.gz, on this machine or at this URL; no other server is tried",
    )
    sources.add_argument(
        "--mirror", type=_url, metavar="URL", help="download the archive from this URL, before the known servers"
    )
    parser.set_defaults(command=fetch)


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise argparse.ArgumentTypeError(f"must start with https:// or http://; got {shorten(text)}")
    return text


def _source(text: str) -> Path | str:
    if "://" in text and not text.startswith("file://"):
        return _url(text)
    path = Path(_path_of_url(text) if text.startswith("file://") else text)
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except (OSError, ValueError):
        is_folder = False
    if is_folder:
        raise argparse.ArgumentTypeError(
            f"must be the archive; {shorten(text)} is a folder. If it contains the unpacked files, give it to --data"
        )
    raise argparse.ArgumentTypeError(f"must be a file, or a URL with https://; the file {shorten(text)} does not exist")


def _path_of_url(url: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 (the network modules are slow to import)
    from urllib.request import url2pathname  # noqa: PLC0415

    return url2pathname(urlsplit(url).path)


def fetch(options: argparse.Namespace) -> int:
    """Run the command."""
    from tinygrad_cifar.data import fetch as downloads  # noqa: PLC0415 (the network modules are slow to import)

    def report(done: int, total: int) -> None:
        display.update(done, total, lines=[f"{done // _MEGABYTE:4} of {total // _MEGABYTE} MB"])

    try:
        if isinstance(options.source, Path):
            folder = downloads.unpack_cifar10(options.source, options.folder)
        else:
            others = () if options.mirror is None else (options.mirror,)
            mirrors = (*others, *downloads.MIRRORS) if options.source is None else (options.source,)
            with show_progress("CIFAR-10", max_lines=_LINES, unit="B", unit_scale=True, bar_format=None) as display:
                folder = downloads.fetch_cifar10(options.folder, mirrors=mirrors, progress=report)
    except downloads.DownloadError as error:
        raise CommandError(str(error), advice=_advice(options.folder)) from error
    except KeyboardInterrupt:
        if isinstance(options.source, Path):
            raise Stopped("stopped; the same command unpacks the archive again") from None
        raise Stopped("stopped; the partial file is kept, and the same command resumes the download") from None
    print(f"CIFAR-10 is in {folder}; train on it with --data {folder}")
    return 0


def _advice(folder: Path) -> list[str]:
    return [
        f"- from a downloaded archive: tinygrad-cifar fetch {folder} --from FILE",
        f"- from another server: tinygrad-cifar fetch {folder} --mirror URL",
        "- without CIFAR-10: tinygrad-cifar train MODEL --data builtin --out DIR",
    ]
