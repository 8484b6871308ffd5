"""``tinygrad-cifar reproduce``: the published experiments, redone and compared."""

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
    int_in_range,
    lock_folder,
    nonempty_path,
    table,
)
from tinygrad_cifar.cli.progress import ProgressDisplay, show_progress

_BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
_LINES = 20  # where no bar can be drawn
_MOST_WORKERS = 256

_EXAMPLES = """
examples:
  tinygrad-cifar reproduce --list
  tinygrad-cifar reproduce --data DIR --out reproduced
  tinygrad-cifar reproduce 002 003-final --data DIR --out reproduced
  tinygrad-cifar reproduce record --data DIR --out record
"""


def add_parser(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "reproduce",
        help="redo the published experiments",
        description="Redo the experiments of five reports and write one page that puts each published number beside "
        "ours. What was done before is kept, so a stopped or killed command goes on when it is given again.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="experiments, or reports by number; all of the reports by default"
    )
    parser.add_argument("--list", action="store_true", help="list the experiments, and do nothing")
    parser.add_argument("--out", type=nonempty_path, metavar="DIR", help="where everything is written")
    add_data_option(parser)
    parser.add_argument(
        "--docs",
        type=nonempty_path,
        metavar="DIR",
        help="copy the pages in Markdown and their figures into this folder, too",
    )
    parser.add_argument(
        "--workers",
        type=int_in_range(1, _MOST_WORKERS),
        metavar="N",
        help="how many processes (default: one for each core)",
    )
    parser.set_defaults(command=reproduce)


def reproduce(options: argparse.Namespace) -> int:
    """Redo experiments as the options say."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its caches
    try:
        from tinygrad_cifar.experiments import REPORTS  # noqa: PLC0415 (matplotlib is slow to import)
        from tinygrad_cifar.experiments import reproduce as experiments  # noqa: PLC0415
    except ImportError as error:
        raise CommandError(
            f"to reproduce needs {error.name}, which `pip install {(error.name or '').partition('.')[0]}` brings"
        ) from error
    try:
        if options.list:
            listed = experiments.select_experiments(options.names or list(REPORTS))
            print(table(["name", "runs", "numbers", "core s", "what"], [_line(e) for e in listed], wrapped=True))
            return 0
        chosen = experiments.select_experiments(options.names)
        if options.out is None:
            raise UsageError("where to? give --out DIR (see `tinygrad-cifar reproduce --help`)")
        with lock_folder(options.out):
            study = experiments.open_study(options.out, options.data)
        with lock_folder(options.out):  # which is there now
            with show_progress("reproduce", max_lines=_LINES, bar_format=_BAR) as display:
                callback = partial(_show, display)
                effort = experiments.reproduce(study, chosen, workers=options.workers, callback=callback)
            if options.docs is not None:
                experiments.write_docs(study, options.docs)
    except experiments.ReproductionError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; what is done is kept in {options.out}, and the same command goes on from there"
        ) from None
    done = f"{effort.done} run{'s' * (effort.done != 1)} done"
    print(f"{done}, {effort.kept} kept, {effort.elapsed:.0f} s: {options.out / experiments.INDEX}")
    return 0


def _line(experiment: Any) -> list[str]:
    jobs, numbers = experiment.jobs(), len(experiment.numbers)
    seconds = f"{sum(job.cost for job in jobs):.0f}"
    what = f"{experiment.source}: {experiment.title}{' (only when named)' * experiment.on_request}"
    return [experiment.name, str(len(jobs)), str(numbers), seconds, what]


def _show(display: ProgressDisplay, progress: Any) -> None:
    status = f"{progress.done}/{progress.total} runs"
    plural = "s" * (progress.total != 1)
    line = f"{progress.share:4.0%} of the work, {progress.done} of {progress.total} run{plural}"
    display.update(100 * progress.share, 100, status=status, lines=[line])
