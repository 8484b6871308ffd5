"""``tinygrad-cifar search``: search for the best settings of a training run.

Every trial is a run that ``train`` makes from the same options, and its value is the validation accuracy. The trials
are stored, so a search that was stopped can be resumed.
"""

from __future__ import annotations

import argparse
import json
import logging
import textwrap
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from tinygrad_cifar.cli.common import (
    WIDTH,
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
    make_folder,
    output_folder,
    wrapped,
)
from tinygrad_cifar.cli.parser import RenamedOption
from tinygrad_cifar.cli.search_objective import TrainObjective, check_points
from tinygrad_cifar.cli.search_report import SearchReport
from tinygrad_cifar.cli.search_results import DEFAULT_NAME, FIGURE, TRIALS_CSV, TRIALS_JSON, output_name, write_results
from tinygrad_cifar.cli.settings import (
    SYNONYMS,
    add_settings,
    batch_sizes,
    explicit_settings,
)
from tinygrad_cifar.cli.vary import FORMS, format_point, format_space, parse_vary
from tinygrad_cifar.course.settings import MODELS
from tinygrad_cifar.data import Dataset, load_dataset
from tinygrad_cifar.search import (
    Choice,
    SearchError,
    SearchProgress,
    Space,
    Trial,
)
from tinygrad_cifar.search import search as run_search
from tinygrad_cifar.search.coarse_to_fine import coarse_to_fine
from tinygrad_cifar.search.space import OtherSearchError, import_optional
from tinygrad_cifar.system.blas import usable_cores
from tinygrad_cifar.system.processes import ProcessExecutor
from tinygrad_cifar.system.progress import ProgressDisplay, show_progress

STORAGE = "search.db"

_MAX_WORKERS = 256
_MAX_TRIALS = 100_000
_SEEDS = 4  # of a coarse-to-fine search: one screens, the others repeat
_SECONDS_TO_CONNECT = 10

_EXAMPLE = """\
example: tinygrad-cifar search two-layer --vary eta=log:0.001:0.1:5 \\
           --vary lam=grid:0,0.001,0.01 --out runs/grid"""
_EXAMPLES = f"""
what to vary, by the names of the options of the training:
  {FORMS}
  log is a range on a logarithmic scale, lin one on a linear scale; N is the
  number of points of a grid. hidden=grid:50,200+100 tries one layer of 50
  units, and two layers of 200 and 100.

examples:
  # every combination of 5 rates and 3 lambdas
  tinygrad-cifar search two-layer --vary eta=log:0.001:0.1:5 \\
    --vary lam=grid:0,0.001,0.01 --out runs/grid

  # 50 points, each chosen by the results so far
  tinygrad-cifar search two-layer --vary eta=log:0.001:0.3 \\
    --vary lam=log:1e-5:0.1 --sampler tpe --trials 50 --out runs/tpe

  # smaller and smaller ranges of lambda, until seed noise dominates
  tinygrad-cifar search two-layer --vary lam=log:1e-5:0.1:8 \\
    --coarse-to-fine --out runs/lambda

The results are written to {TRIALS_CSV}, {TRIALS_JSON}, {FIGURE} and the storage,
{STORAGE}, in DIR; with --name rates, to rates-{TRIALS_CSV} and so on.
"""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "search",
        help="search for the best settings",
        description="Train with many settings, in parallel, and rank them by their accuracy on the validation images. "
        "The same command resumes a search.",
        usage="tinygrad-cifar search MODEL --vary NAME=... --out DIR [options]",
        basic=(
            *("model", "--vary", "--out", "--data", "--sampler", "--trials", "--coarse-to-fine", "--workers"),
            "--epochs",
        ),
        example=_EXAMPLE,
        synonyms=SYNONYMS,
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", choices=MODELS, help=f"classifier: {', '.join(MODELS)}")
    parser.add_argument(
        "--vary",
        type=parse_vary,
        action="append",
        required=True,
        metavar="NAME=...",
        help="a setting to vary, and its values",
    )
    parser.add_argument("--out", type=output_folder, required=True, metavar="DIR", help="output folder")
    add_data_option(parser)
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="do not write figures")
    options = parser.add_argument_group("the search")
    options.add_argument(
        "--sampler",
        choices=("grid", "random", "tpe"),
        metavar="NAME",
        help="grid: every combination; random: random points; tpe: points chosen by the results so far (default: grid, "
        "or random with --trials)",
    )
    options.add_argument(
        "--trials", type=int_in_range(1, _MAX_TRIALS), metavar="N", help="number of trials of random and tpe"
    )
    options.add_argument(
        "--coarse-to-fine",
        action="store_true",
        help="repeat the best with other seeds, and shrink the ranges around them, until seed noise dominates",
    )
    options.add_argument("--narrow", action=RenamedOption, present="--coarse-to-fine")
    options.add_argument(
        "--storage", type=Path, metavar="FILE", help=f"SQLite database of the trials (default: DIR/{STORAGE})"
    )
    options.add_argument(
        "--name",
        type=_name,
        default=DEFAULT_NAME,
        help=f"name of the search in the storage, and prefix of its files unless it is {DEFAULT_NAME} (the default)",
    )
    machines = parser.add_argument_group("the machines")
    machines.add_argument(
        "--workers",
        type=int_in_range(1, _MAX_WORKERS),
        metavar="N",
        help="trials at once, in processes (default: one per core)",
    )
    machines.add_argument(
        "--threads",
        type=int_in_range(1, _MAX_WORKERS),
        metavar="N",
        help="BLAS threads of each of these processes (default: 1)",
    )
    machines.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run the trials on the workers of this Dask scheduler, as tcp://host:8786; they need this package and "
        "the data in the same folder",
    )
    add_settings(parser)
    parser.set_defaults(command=search)


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty; give the search a name")
    return text


def search(options: argparse.Namespace) -> int:
    """Run the command."""
    for name in ("matplotlib", "distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they log their caches and connections
    try:
        return _search(options)
    except OtherSearchError as error:
        place = "--storage" if options.storage else "--out"
        raise CommandError(f"{error.reason}; give this one another --name, or another {place}") from error
    except SearchError as error:
        raise CommandError(str(error)) from error


def _search(options: argparse.Namespace) -> int:
    import_optional("optuna")
    space = _space(options)
    sampler = options.sampler or _default_sampler(options)
    _check_space(space, sampler, options)
    _check_files(options)
    if options.figures:
        check_plotting()
    dataset = load_dataset(options.data)
    source = options.data if options.data == "builtin" else str(Path(options.data).absolute())
    given = {name: value for name, value in explicit_settings(options).items() if name not in space}
    digest = str(dataset.identity()["sha256"])[:16]
    objective = TrainObjective(options.model, tuple(given.items()), batch_sizes(dataset), source, digest)
    check_points(objective, space, sampler, dataset)
    with _executor(options) as (executor, workers):
        make_folder(options.out)
        _print_header(options, space, sampler, dataset, workers)
        report = _run(options, objective, space, sampler=sampler, executor=executor, workers=workers)
    write_results(options, objective, report, dataset, sampler)
    return 0


def _run(options: argparse.Namespace, objective: TrainObjective, space: Space, **arguments: Any) -> SearchReport:
    """Run or resume the search, and show its progress."""
    storage = options.storage or options.out / STORAGE
    seed = vars(options).get("seed", 0)
    arguments |= {"trials": options.trials, "seed": seed, "storage": storage, "name": options.name}
    searches: dict[str, list[Trial]] = {}
    try:
        with show_progress(options.name) as display:
            arguments["callback"] = partial(_show, display, searches)
            if options.coarse_to_fine:
                arguments |= {"seeds": range(seed, seed + _SEEDS), "value_format": ".2%"}
                found = coarse_to_fine(objective, space, on_round=partial(_print_round, display), **arguments)
                return SearchReport(space, searches, found)
            run_search(objective, space, **arguments)
            return SearchReport(space, searches)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the finished trials are stored in {storage}; the same command resumes it") from None


# -- checks ------------------------------------------------------------------------------------------------------------


def _space(options: argparse.Namespace) -> Space:
    space = dict(options.vary)
    if len(space) < len(options.vary):
        names = [name for name, _ in options.vary]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} is varied twice; give only one --vary {twice}=...")
    for name in space:
        if name in vars(options):
            raise UsageError(f"{name} is both varied and given as --{name.replace('_', '-')}; remove one of them")
    return space


def _default_sampler(options: argparse.Namespace) -> str:
    return "random" if options.trials else "grid"


def _check_space(space: Space, sampler: str, options: argparse.Namespace) -> None:
    given = {*space, *vars(options)}
    if "layer_statistics" in given:
        raise UsageError("--layer-statistics has no effect on a search, which keeps the accuracies only; omit it")
    if "measure_every" in given and "patience" not in given:
        raise UsageError("--measure-every has no effect on a search without --patience; omit it, or give --patience N")
    if options.coarse_to_fine and "seed" in space:
        raise UsageError("--coarse-to-fine chooses its own seeds; do not vary the seed")
    if sampler != "grid":
        if options.trials is None:
            raise UsageError(f"--sampler {sampler} needs the number of trials; give --trials N")
        for name, dimension in space.items():
            if not isinstance(dimension, Choice) and dimension.points is not None:
                raise UsageError(
                    f"{name}: the number of points, {dimension.points}, is for --sampler grid, not {sampler}; omit it"
                )
        return
    if options.trials is not None:
        raise UsageError("a grid has as many trials as points; --trials is for --sampler random or tpe")
    for name, dimension in space.items():
        if not isinstance(dimension, Choice) and dimension.points is None:
            raise UsageError(
                f"a grid needs the number of points in {name}; give it, as in {name}=log:LOW:HIGH:5, or give "
                "--trials N for random points"
            )
    points = prod(len(dimension.grid()) for dimension in space.values())
    if points > _MAX_TRIALS:
        raise UsageError(
            f"the grid must have at most {_MAX_TRIALS} points; got {points}; vary fewer settings or values"
        )


def _check_files(options: argparse.Namespace) -> None:
    """Raise an error if the files of the results would replace files that are not those of a search."""
    files = (TRIALS_CSV, TRIALS_JSON, *([FIGURE] if options.figures else []))
    names = [output_name(options.name, file) for file in files]
    check_no_folders(options.out, names, work="search")
    if not _has_results(options.out / output_name(options.name, TRIALS_JSON)):
        check_foreign_files(options.out, names, work="search", remedy="move the files")


def _has_results(path: Path) -> bool:
    """Return whether a file has the results of a search, which writes it before the table and the figure."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"model", "varied", "trials"} <= set(content)


@contextmanager
def _executor(options: argparse.Namespace) -> Iterator[tuple[Executor, int]]:
    """Open the executor of the trials, and yield it with the number of trials to run at once."""
    if options.scheduler is None:
        count = options.workers or usable_cores()
        with ProcessExecutor(count, threads=options.threads or 1) as processes:
            yield processes, count
        return
    if options.threads:
        raise UsageError("--threads is for processes of this machine; set their number where the Dask workers start")
    distributed = import_optional("distributed")
    try:
        client = distributed.Client(options.scheduler, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"no Dask scheduler at {options.scheduler} ({error}); start one, or leave --scheduler out"
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise CommandError(f"the Dask scheduler at {options.scheduler} has no workers; start some with dask worker")
        yield client.get_executor(), options.workers or threads


def _print_header(options: argparse.Namespace, space: Space, sampler: str, dataset: Dataset, workers: int) -> None:
    where = f"workers of {options.scheduler}" if options.scheduler else f"process{'es' * (workers != 1)}"
    points = prod(len(dimension.grid()) for dimension in space.values()) if sampler == "grid" else options.trials
    count = f"{counted(points, 'trial')}{' a round' * options.coarse_to_fine}"
    text = f"{options.model} on {dataset.name}: {sampler}, {count}, {workers} {where}"
    print(wrapped(text))
    for line in format_space(space):
        print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    print(flush=True)


def _print_round(display: ProgressDisplay, number: int, space: Space) -> None:
    display.write(wrapped(f"round {number}: {'; '.join(format_space(space))}"))


# -- progress ----------------------------------------------------------------------------------------------------------


def _show(display: ProgressDisplay, searches: dict[str, list[Trial]], progress: SearchProgress) -> None:
    """Show the trials that have ended, and collect them by the name of the search."""
    before = {trial.number for trial in searches.get(progress.name, ())}
    searches[progress.name] = progress.trials
    best = "-" if progress.best is None else f"{progress.best.value:.2%}"
    new = [trial for trial in progress.trials if trial.number not in before]
    lines = [_line(k, progress.total, trial, best) for k, trial in enumerate(new, start=len(before) + 1)]
    display.update(len(progress.trials), progress.total, status=f"best={best}", lines=lines, label=progress.name)


def _line(k: int, total: int, trial: Trial, best: str) -> str:
    result = f"{trial.value:.2%}" if trial.state == "complete" else trial.state
    line = f"{k:{len(str(total))}}/{total}  {result:>8}  best {best:>6}  {format_point(trial.params)}"
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."
