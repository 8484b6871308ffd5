"""``tinygrad-cifar reproduce``: reproduce the published experiments."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from typing import Any

from tinygrad_cifar.cli.common import (
    CommandError,
    Stopped,
    Subparsers,
    UsageError,
    add_data_option,
    check_foreign_files,
    check_no_folders,
    check_plotting,
    counted,
    int_in_range,
    lock_folder,
    output_folder,
    table,
)
from tinygrad_cifar.course.setting_fields import shorten
from tinygrad_cifar.system.arguments import suggest
from tinygrad_cifar.system.progress import ProgressDisplay, show_progress

_BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
_LINES = 20  # of progress, without a bar
_MAX_WORKERS = 256

_EXAMPLES = """
examples:
  tinygrad-cifar reproduce --list
  tinygrad-cifar reproduce --data DIR --out reproduced
  tinygrad-cifar reproduce 002 003-final --data DIR --out reproduced
  tinygrad-cifar reproduce a3 record --data DIR --out more
"""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "reproduce",
        help="reproduce the published experiments",
        description="Reproduce the experiments of five course reports, and write one page that compares each reported "
        "value with the reproduced one. Finished runs are kept, so the same command resumes one that was stopped.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="experiments or numbers of reports (default: all reports)"
    )
    parser.add_argument("--list", action="store_true", help="list the experiments and exit")
    parser.add_argument("--out", type=output_folder, metavar="DIR", help="output folder")
    add_data_option(parser)
    parser.add_argument(
        "--docs",
        type=output_folder,
        metavar="DIR",
        help="also copy the Markdown pages and their figures into this folder",
    )
    parser.add_argument(
        "--workers",
        type=int_in_range(1, _MAX_WORKERS),
        metavar="N",
        help="number of processes (default: one for each core)",
    )
    parser.set_defaults(command=reproduce)


def reproduce(options: argparse.Namespace) -> int:
    """Run the command."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs its caches
    check_plotting()
    try:
        from tinygrad_cifar.experiments import reproduce as experiments  # noqa: PLC0415
        from tinygrad_cifar.experiments.catalogue import EXPERIMENTS, REPORTS  # noqa: PLC0415 (matplotlib is slow to import)
    except ImportError as error:
        raise CommandError(
            f"this needs {error.name}; install it with pip install {(error.name or '').partition('.')[0]}"
        ) from error
    try:
        for name in options.names:
            if name not in (known := [*EXPERIMENTS, *REPORTS]):
                hint = suggest(name, known, {}) or ";"
                raise UsageError(
                    f"unknown experiment or report {shorten(name)}{hint} `tinygrad-cifar reproduce --list` lists all"
                )
        if options.list:
            listed = experiments.select_experiments(options.names or list(REPORTS))
            print(table(["name", "runs", "values", "core s", "experiment"], [_line(e) for e in listed], wrapped=True))
            return 0
        chosen = experiments.select_experiments(options.names)
        if options.out is None:
            raise UsageError("--out DIR is required (see `tinygrad-cifar reproduce --help`)")
        with lock_folder(options.out):
            pages = experiments.page_names(chosen)
            check_no_folders(options.out, pages, work="reproduction")
            if not experiments.has_runs(options.out):  # the pages are written after the runs
                check_foreign_files(options.out, pages, work="reproduction", remedy="move the files")
            study = experiments.open_study(options.out, options.data)
        with lock_folder(options.out):  # it exists now
            with show_progress("reproduce", max_lines=_LINES, bar_format=_BAR) as display:
                callback = partial(_show, display)
                stats = experiments.reproduce(study, chosen, workers=options.workers, callback=callback)
            if options.docs is not None:
                experiments.write_docs(study, options.docs)
    except experiments.ReproductionError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the finished runs are stored in {options.out}; the same command resumes it") from None
    done = f"{counted(stats.done, 'run')} done, {stats.kept} kept, {stats.elapsed:.0f} s"
    print(f"{done}: {options.out / experiments.INDEX}")
    return 0


def _line(experiment: Any) -> list[str]:
    jobs, numbers = experiment.jobs(), len(experiment.numbers)
    seconds = f"{sum(job.cost for job in jobs):.0f}"
    what = f"{experiment.source}: {experiment.title}{' (only if named)' * experiment.on_request}"
    return [experiment.name, str(len(jobs)), str(numbers), seconds, what]


def _show(display: ProgressDisplay, progress: Any) -> None:
    status = f"{progress.done}/{counted(progress.total, 'run')}"
    line = f"{progress.share:4.0%} of the work, {progress.done} of {counted(progress.total, 'run')}"
    display.update(100 * progress.share, 100, status=status, lines=[line])
