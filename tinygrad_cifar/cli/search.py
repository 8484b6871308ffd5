"""``tinygrad-cifar search``: which settings are best, found by training with many.

Every trial is a run as ``train`` makes it from the same options, worth its validation accuracy. What was tried is kept
in a storage, so a search that was stopped goes on, and the same command given twice at once shares the work.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinygrad_cifar.cli.common import (
    WIDTH,
    CommandError,
    Stopped,
    Subparsers,
    UsageError,
    add_data_option,
    int_in_range,
    load_data,
    make_folder,
    nonempty_path,
    wrapped,
)
from tinygrad_cifar.cli.findings import SearchReport, describe_incomplete, picture, ranking, rounds_of, rows_of, to_csv
from tinygrad_cifar.cli.progress import ProgressDisplay, show_progress
from tinygrad_cifar.cli.settings import (
    add_settings,
    batch_sizes,
    complete_settings,
    explicit_settings,
    find_unused,
    format_options,
)
from tinygrad_cifar.cli.vary import FORMS, format_point, format_space, format_stored_space, parse_vary
from tinygrad_cifar.course.preparation import split_dataset
from tinygrad_cifar.course.runs import versions
from tinygrad_cifar.course.settings import MODELS, Settings, SettingsError
from tinygrad_cifar.data import Dataset
from tinygrad_cifar.search import (
    Choice,
    ObjectiveResult,
    SearchError,
    SearchProgress,
    Space,
    Trial,
    ValidationAccuracy,
    coarse_to_fine,
)
from tinygrad_cifar.search import search as try_all
from tinygrad_cifar.search.space import OtherSearchError, Point, Value, import_optional
from tinygrad_cifar.system.blas import usable_cores
from tinygrad_cifar.system.files import atomic_write
from tinygrad_cifar.system.processes import ProcessExecutor

TABLE, NUMBERS, PICTURE, STORAGE = "trials.csv", "trials.json", "search.png", "search.db"
_NAME = "search"

_MOST_WORKERS = 256
_MOST_TRIALS = 100_000
_MOST_CHECKED = 10_000  # points whose settings are looked at before any of them is tried
_SEEDS = 4  # of a search from coarse to fine: one to screen, the others to repeat
_SECONDS_TO_CONNECT = 10

_EXAMPLES = f"""
what to vary, by the names of the options of the training:
  {FORMS}
  log is a range on a logarithmic scale, lin one on a linear scale; N is how
  many points of it a grid has. hidden=grid:50,200+100 tries one layer of 50
  units, and two of 200 and 100.

examples:
  # every combination of 5 rates and 3 lambdas
  tinygrad-cifar search two-layer --vary eta=log:0.001:0.1:5 \\
    --vary lam=grid:0,0.001,0.01 --out runs/grid

  # 50 points that learn from those before them
  tinygrad-cifar search two-layer --vary eta=log:0.001:0.3 \\
    --vary lam=log:1e-5:0.1 --sampler tpe --trials 50 --out runs/tpe

  # narrow lambda down until the seeds matter more
  tinygrad-cifar search two-layer --vary lam=log:1e-5:0.1:8 --narrow \\
    --out runs/lambda

In DIR are then {TABLE}, {NUMBERS}, {PICTURE} and {STORAGE}, the storage;
with --name rates, rates-{TABLE} and so on, beside those of other searches.
"""


def add_parser(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "search",
        help="search for the best settings",
        description="Train with many settings, in parallel, and rank them by their accuracy on the validation images; "
        "the test images are not looked at. The same command again goes on where it was stopped.",
        usage="tinygrad-cifar search MODEL --vary NAME=... --out DIR [options]",
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", choices=MODELS, help=f"which classifier: {', '.join(MODELS)}")
    parser.add_argument(
        "--vary", type=parse_vary, action="append", required=True, metavar="NAME=...", help="what to try for a setting"
    )
    parser.add_argument("--out", type=nonempty_path, required=True, metavar="DIR", help="where everything is written")
    add_data_option(parser)
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="draw nothing")
    how = parser.add_argument_group("the search")
    how.add_argument(
        "--sampler",
        choices=("grid", "random", "tpe"),
        help="every combination; points by chance; or points that learn from those before (default: grid, and random "
        "with --trials)",
    )
    how.add_argument("--trials", type=int_in_range(1, _MOST_TRIALS), metavar="N", help="how many random or tpe tries")
    how.add_argument(
        "--narrow",
        action="store_true",
        help="repeat the best with other seeds, search again closer to them, and stop when only the seeds decide",
    )
    how.add_argument(
        "--storage", type=Path, metavar="FILE", help=f"where Optuna keeps the trials (default: DIR/{STORAGE})"
    )
    how.add_argument(
        "--name",
        type=_name,
        default=_NAME,
        help=f"the search's name in the storage and, if it is not {_NAME} (the default), before those of its files",
    )
    where = parser.add_argument_group("the machines")
    where.add_argument(
        "--workers",
        type=int_in_range(1, _MOST_WORKERS),
        metavar="N",
        help="how many trials at once (default: one for each core), each in a process with one BLAS thread",
    )
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this Dask scheduler do them, as tcp://host:8786; they need this package and the data "
        "in the same place",
    )
    add_settings(parser)
    parser.set_defaults(command=search)


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty; give the search a name")
    return text


@dataclass(frozen=True, repr=False)
class TrainObjective:
    """The objective: a run as ``train`` makes it, worth its validation accuracy.

    Attributes
    ----------
    model : str
    given : tuple of (str, value)
        The settings that the user gave and does not vary.
    sizes : tuple of int
        How many images each training batch has.
    data : str
        ``builtin``, or the folder with CIFAR-10.
    """

    model: str
    given: tuple[tuple[str, Value], ...]
    sizes: tuple[int, ...]
    data: str

    def __repr__(self) -> str:
        """Return the command it stands for, by which a storage knows it again."""
        return " ".join(["train", self.model, "--data", self.data, *format_options(dict(self.given))])

    def all_given(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """Return what the user would have to give for the run that a point stands for, and nothing in vain."""
        given = dict(self.given) | dict(point)
        idle = find_unused(self.model, given)
        return {name: value for name, value in given.items() if name not in idle}

    def settings(self, point: Mapping[str, Value]) -> Settings:
        """Return the settings of that run."""
        return complete_settings(self.model, self.all_given(point), self.sizes)

    def __call__(self, point: Mapping[str, Value]) -> ObjectiveResult:
        return ValidationAccuracy(self.settings(point), self.data)({})


def search(options: argparse.Namespace) -> int:
    """Search as the options say."""
    for name in ("matplotlib", "distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they tell of their caches and connections
    try:
        return _search(options)
    except OtherSearchError as error:
        place = "--storage" if options.storage else "--out"
        kept, own = map(format_stored_space, (error.kept, error.own))
        raise CommandError(
            f"{error.where} with another {error.what}: it is {kept}, not {own}; give this one another --name, or "
            f"another {place}"
        ) from error
    except SearchError as error:
        raise CommandError(str(error)) from error


def _search(options: argparse.Namespace) -> int:
    import_optional("optuna")
    space = _space(options)
    sampler = options.sampler or _default_sampler(options)
    _check_space(space, sampler, options)
    dataset = load_data(options.data)
    place = options.data if options.data == "builtin" else str(Path(options.data).absolute())
    given = {name: value for name, value in explicit_settings(options).items() if name not in space}
    run = TrainObjective(options.model, tuple(given.items()), batch_sizes(dataset), place)
    _check_points(run, space, sampler, dataset)
    with _executor(options) as (executor, workers):
        make_folder(options.out)
        _announce(options, space, sampler, dataset, workers)
        findings = _find(options, run, space, sampler=sampler, executor=executor, workers=workers)
    return _report(options, run, findings, dataset)


def _find(options: argparse.Namespace, run: TrainObjective, space: Space, **how: Any) -> SearchReport:
    """Search, or go on with it, and show how far it is."""
    storage = options.storage or options.out / STORAGE
    seed = vars(options).get("seed", 0)
    how |= {"trials": options.trials, "seed": seed, "storage": storage, "name": options.name}
    searches: dict[str, list[Trial]] = {}
    try:
        with show_progress(options.name) as display:
            watch = partial(_show, display, searches)
            if options.narrow:
                how |= {"seeds": range(seed, seed + _SEEDS), "number": ".2%"}
                begin = partial(_announce_round, display)
                return SearchReport(space, searches, coarse_to_fine(run, space, watch=watch, begin=begin, **how))
            try_all(run, space, watch=watch, **how)
            return SearchReport(space, searches)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; the trials that are done are kept in {storage}, and the same command goes on from there"
        ) from None


# -- before ------------------------------------------------------------------------------------------------------------


def _space(options: argparse.Namespace) -> Space:
    space = dict(options.vary)
    if len(space) < len(options.vary):
        names = [name for name, _ in options.vary]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} is varied twice; give one --vary {twice}=...")
    for name in space:
        if name in vars(options):
            raise UsageError(f"{name} is both varied and given as --{name.replace('_', '-')}; leave one of them out")
    return space


def _default_sampler(options: argparse.Namespace) -> str:
    return "random" if options.trials else "grid"


def _check_space(space: Space, sampler: str, options: argparse.Namespace) -> None:
    if options.narrow and "seed" in space:
        raise UsageError("--narrow repeats with seeds of its own; do not vary the seed")
    if sampler != "grid":
        if options.trials is None:
            raise UsageError(f"--sampler {sampler} needs to know how many trials to make; give --trials N")
        return
    if options.trials is not None:
        raise UsageError("a grid has as many trials as points; --trials is for --sampler random or tpe")
    for name, dimension in space.items():
        if not isinstance(dimension, Choice) and dimension.points is None:
            raise UsageError(
                f"how many points has the grid in {name}? say so, as in {name}=log:LOW:HIGH:5, or give --trials N to "
                "draw points at random"
            )
    points = prod(len(dimension.grid()) for dimension in space.values())
    if points > _MOST_TRIALS:
        raise UsageError(f"this grid has {points} points, more than the {_MOST_TRIALS} that a search may have")


def _check_points(run: TrainObjective, space: Space, sampler: str, dataset: Dataset) -> None:
    """Refuse at once what would fail in the workers, or have no effect, trial after trial.

    It looks at the points of a grid, or the corners of the space.
    """
    values = [
        d.grid() if isinstance(d, Choice) or sampler == "grid" else [float(d.low), float(d.high)]
        for d in space.values()
    ]
    idle: dict[str, str] = {}
    for k, combination in enumerate(islice(product(*values), _MOST_CHECKED)):
        point = dict(zip(space, combination, strict=True))
        try:
            settings = ValidationAccuracy(run.settings(point), run.data).base
        except SettingsError as error:
            raise SettingsError(f"with {format_point(point)}: {error}") from error
        idle_here = find_unused(run.model, {**dict(run.given), **point})
        idle = {name: sentence for name, sentence in idle_here.items() if k == 0 or name in idle}
        if k == 0:
            split_dataset(dataset, settings)
    for sentence in idle.values():
        raise SettingsError(sentence)


@contextmanager
def _executor(options: argparse.Namespace) -> Iterator[tuple[Executor, int]]:
    """Lend what does the trials, and say how many it should have at once."""
    if options.scheduler is None:
        count = options.workers or usable_cores()
        with ProcessExecutor(count) as processes:
            yield processes, count
        return
    distributed = import_optional("distributed")
    try:
        client = distributed.Client(options.scheduler, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise CommandError(f"there is no Dask scheduler at {options.scheduler} ({error})") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise CommandError(f"the Dask scheduler at {options.scheduler} has no workers; start some first")
        yield client.get_executor(), options.workers or threads


def _announce(options: argparse.Namespace, space: Space, sampler: str, dataset: Dataset, workers: int) -> None:
    where = f"workers of {options.scheduler}" if options.scheduler else f"process{'es' * (workers != 1)}"
    points = prod(len(dimension.grid()) for dimension in space.values()) if sampler == "grid" else options.trials
    count = f"{points} trial{'s' * (points != 1)}"
    text = f"{options.model} on {dataset.name}: {sampler}, {count}{' a round' * options.narrow}, {workers} {where}"
    print(wrapped(text))
    for line in format_space(space):
        print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    print(flush=True)


def _announce_round(display: ProgressDisplay, number: int, space: Space) -> None:
    display.write(wrapped(f"round {number}: {'; '.join(format_space(space))}"))


# -- meanwhile ---------------------------------------------------------------------------------------------------------


def _show(display: ProgressDisplay, searches: dict[str, list[Trial]], progress: SearchProgress) -> None:
    """Show the trials that have ended, and keep them."""
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


# -- afterwards --------------------------------------------------------------------------------------------------------


def _report(options: argparse.Namespace, run: TrainObjective, findings: SearchReport, dataset: Dataset) -> int:
    """Write the files, and print what was found."""
    out = options.out
    table, numbers, image, repeated = (_output_name(options.name, file) for file in (TABLE, NUMBERS, PICTURE, "best"))
    best = findings.best
    given = {} if best is None else _given_for(run, best[0], findings)
    _save(out / table, to_csv(findings))
    _save(out / numbers, json.dumps(_numbers(options, run, findings, dataset, given), indent=1, allow_nan=False) + "\n")
    missing = describe_incomplete(findings)
    if best is None:
        raise CommandError(f"no trial is complete: {missing}")
    files = [table, numbers]
    details = f"{dataset.name}: {options.model}, {len(findings.trials)} trials"
    if options.figures and _draw(out / image, findings, details):
        files.append(image)
    if findings.narrowed is None and options.trials and len(findings.trials) > options.trials:
        text = f"{len(findings.trials)} trials of this search were already made; nothing more was tried"
        print(f"\n{text}, and all of them are shown.")
    print(f"\n{ranking(findings)}\n")
    if missing:
        print(f"{textwrap.fill(missing, WIDTH)}\n")
    if findings.narrowed is not None:
        rounds = len(findings.narrowed.rounds)
        text = (
            f"{rounds} round{'s' * (rounds != 1)}; no further one, for {findings.narrowed.reason}. The best mean has a "
            f"standard error of {findings.narrowed.standard_error:.2%}."
        )
        print(f"{textwrap.fill(text, WIDTH)}\n")
    print(f"To repeat the best:\n{_command(run, given, out / repeated)}\n")
    print(wrapped(f"{out}: {' '.join(files)}"))
    return 0


def _output_name(name: str, file: str) -> str:
    """Return what a file of a search is called, so that none replaces that of a search with another name."""
    return file if name == _NAME else f"{quote(name, safe=' ')}-{file}"


def _given_for(run: TrainObjective, point: Point, findings: SearchReport) -> dict[str, Value]:
    given = run.all_given(point)
    if findings.narrowed is not None:  # the first of the seeds that its finalists were repeated with
        first = given.get("seed", 0)
        given["seed"] = first + 1 if isinstance(first, int) else 1
    return given


def _command(run: TrainObjective, given: Mapping[str, Value], out: Path) -> str:
    """Return the command that trains with some settings, broken into lines where it is long."""
    data = [] if run.data == "builtin" else [f"--data {shlex.quote(run.data)}"]
    lines = [f"  tinygrad-cifar train {run.model}"]
    for option in [*data, *format_options(given), f"--out {shlex.quote(str(out))}"]:
        if len(lines[-1]) + 1 + len(option) + len(" \\") > WIDTH:
            lines[-1] += " \\"
            lines.append(f"    {option}")
        else:
            lines[-1] += f" {option}"
    return "\n".join(lines)


def _numbers(
    options: argparse.Namespace,
    run: TrainObjective,
    findings: SearchReport,
    dataset: Dataset,
    given: Mapping[str, Value],
) -> dict[str, Any]:
    best: dict[str, Any] | None = None
    if findings.best is not None:
        settings = asdict(complete_settings(run.model, given, run.sizes))
        best = {"params": findings.best[0], "validation_accuracy": findings.best[1], "settings": settings}
    numbers: dict[str, Any] = {
        "data": dataset.identity(),
        "model": run.model,
        "given": dict(run.given),
        "varied": format_space(findings.space),
        "sampler": options.sampler or _default_sampler(options),
        "best": best,
        "trials": rows_of(findings),
        "versions": versions(),
    }
    if findings.narrowed is not None:
        numbers["rounds"] = rounds_of(findings.narrowed)
        numbers["reason"] = findings.narrowed.reason
    return numbers


def _draw(path: Path, findings: SearchReport, details: str) -> bool:
    """Draw the search, if matplotlib is there, and say whether it was."""
    try:
        from tinygrad_cifar.course import plotting as figures  # noqa: PLC0415 (matplotlib is optional, and slow to import)
    except ImportError:
        print("no figure: it needs matplotlib, which `pip install matplotlib` brings")
        return False
    figures.save_figure(picture(findings, details), path)
    return True


def _save(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
