"""Reproduction of experiments: run every job once, in parallel, then draw the figures and write the pages.

The longest jobs run first, so that the workers finish at about the same time.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinygrad_cifar.course import plotting
from tinygrad_cifar.course.runs import versions
from tinygrad_cifar.data import Dataset, load_dataset
from tinygrad_cifar.data.cifar10 import OFFICIAL
from tinygrad_cifar.experiments import pages
from tinygrad_cifar.experiments.catalogue import EXPERIMENTS, REPORTS
from tinygrad_cifar.experiments.declaration import Experiment, FigureSpec, Job
from tinygrad_cifar.experiments.document import Block, Image, to_html, to_markdown
from tinygrad_cifar.experiments.jobs import run_job
from tinygrad_cifar.experiments.outcomes import OutcomeError, OutcomeStore
from tinygrad_cifar.experiments.results import Results, load_results
from tinygrad_cifar.system import blas
from tinygrad_cifar.system.files import atomic_write
from tinygrad_cifar.system.identity import require_same
from tinygrad_cifar.system.processes import ProcessExecutor, run_jobs

INDEX, NUMBERS, IDENTITY, FIGURES, OUTCOMES = "index.html", "results.json", "data.json", "figures", "runs"

_REMEDY = "finished runs are stored: repeat the command, with fewer --workers if memory is short"
_FOR_PHONES = ".narrow.png"  # end of the name of a figure drawn for a phone

_LOG = logging.getLogger(__name__)  # by default, warnings are printed on the standard error


class ReproductionError(Exception):
    """An error of a reproduction, with a one-line message."""


@dataclass(frozen=True)
class ReproductionProgress:
    """The progress of a reproduction, passed to its callback.

    Attributes
    ----------
    done : int
        Number of finished jobs.
    total : int
        Number of all jobs.
    share : float
        Finished share of the work, from 0 to 1, by the expected durations of the jobs.
    """

    done: int
    total: int
    share: float


@dataclass(frozen=True)
class Study:
    """A folder in which experiments are reproduced on one data set.

    Attributes
    ----------
    out : Path
        The folder.
    source : str
        ``builtin``, or the folder of CIFAR-10.
    data : str
        Name of the data set.
    outcomes : OutcomeStore
        The outcomes of its jobs.
    class_names : tuple of str
        Names of the classes.
    """

    out: Path
    source: str
    data: str
    outcomes: OutcomeStore
    class_names: tuple[str, ...]

    @property
    def small(self) -> bool:
        """Whether the jobs are the small versions for the built-in data."""
        return self.source == "builtin"

    def jobs(self, experiments: Sequence[Experiment]) -> dict[str, Job]:
        """Return the jobs of experiments by key, shared ones once, the longest first."""
        jobs = {job.key: job for experiment in experiments for job in experiment.jobs(small=self.small)}
        return dict(sorted(jobs.items(), key=lambda item: -item[1].cost))

    def results_of(self, experiment: Experiment) -> Results:
        """Return the results of an experiment; raises OutcomeError if a job is not done."""
        return load_results(experiment, self.outcomes, data=self.data, class_names=self.class_names, small=self.small)

    def results(self) -> list[Results]:
        """Return the results of the experiments whose jobs are all done, in the order of the declarations."""
        found = []
        for experiment in EXPERIMENTS.values():
            with suppress(OutcomeError):
                found.append(self.results_of(experiment))
        return found


def select_experiments(names: Sequence[str]) -> list[Experiment]:
    """Return experiments by their names or reports; without names, all except those on request.

    Raises
    ------
    ReproductionError
        If a name is unknown.

    Examples
    --------
    >>> from tinygrad_cifar.experiments.reproduce import select_experiments
    >>> [experiment.name for experiment in select_experiments(["002"])]
    ['002-gradients', '002-softmax']
    """
    unknown = [name for name in names if name not in EXPERIMENTS and name not in REPORTS]
    if unknown:
        raise ReproductionError(
            f"unknown experiment {', '.join(unknown)}; the experiments are {', '.join(EXPERIMENTS)}, and the reports "
            f"{', '.join(REPORTS)}"
        )
    if not names:
        return [e for e in EXPERIMENTS.values() if not e.on_request]
    return [e for e in EXPERIMENTS.values() if e.name in names or e.report in names]


def page_names(experiments: Sequence[Experiment]) -> list[str]:
    """Return the names of the pages of experiments, and of the file with their results.

    Examples
    --------
    >>> from tinygrad_cifar.experiments.reproduce import page_names, select_experiments
    >>> page_names(select_experiments(["002-softmax", "003-fine"]))
    ['index.html', 'results.json', 'report_002.md', 'report_003.md']
    """
    reports = dict.fromkeys(experiment.report for experiment in experiments)
    return [INDEX, NUMBERS, *map(_page_file, reports)]


def has_runs(out: Path) -> bool:
    """Return whether a folder has stored runs."""
    return any((out / OUTCOMES).glob("*.npz"))


def open_study(out: Path, source: str) -> Study:
    """Create the folder if necessary, and check that it is for this data.

    A file that is not the outcome of its job is reported in a warning; its run is repeated.

    Parameters
    ----------
    out : Path
        The folder.
    source : str
        ``builtin``, or the folder of CIFAR-10.

    Returns
    -------
    Study

    Raises
    ------
    ReproductionError
        If the folder cannot be used, holds results of other data, or has a folder in the place of an outcome.
    DataError
        If the data cannot be read.
    """
    dataset = load_dataset(source)
    try:
        for folder in (out / OUTCOMES, out / FIGURES):
            if os.path.lexists(folder) and not folder.is_dir():
                raise ReproductionError(f"{folder} must be a folder; move the file, or choose another --out")
            folder.mkdir(parents=True, exist_ok=True)
        _check_identity(out, dataset)
    except OSError as error:
        raise ReproductionError(
            f"{error.filename or out} is not writable ({error.strerror}); choose another --out"
        ) from error
    for name in (OUTCOMES, FIGURES):
        for part in (out / name).rglob(".*.part"):  # partial files of a killed worker
            part.unlink(missing_ok=True)
    outcomes = OutcomeStore(out / OUTCOMES, str(dataset.identity()["sha256"]))
    study = Study(out, source, dataset.name, outcomes, dataset.class_names)
    _warn_about_foreign_files(study)
    return study


def _warn_about_foreign_files(study: Study) -> None:
    """Warn about files that are not the outcomes of their jobs, before the progress is shown."""
    for job in study.jobs(list(EXPERIMENTS.values())).values():
        path = study.outcomes.path(job)
        if path.is_dir():  # a file cannot replace it
            raise ReproductionError(
                f"{path} is a folder, but the file of a run belongs there; move or remove it, then repeat the command"
            )
        if path.exists():
            try:
                study.outcomes.require(job)
            except OutcomeError as error:
                _LOG.warning("%s: ignored; the run is repeated if its experiment is named", error)


def _check_identity(out: Path, dataset: Dataset) -> None:
    own, path = dataset.identity(), out / IDENTITY
    if not path.exists():
        with atomic_write(path) as file:
            file.write(json.dumps(own, indent=2).encode() + b"\n")
        return
    try:
        stored = json.loads(path.read_bytes())
        name = stored["name"]
    except (ValueError, LookupError, TypeError) as error:
        raise ReproductionError(f"{path} does not identify the data of the results; choose another --out") from error
    try:
        require_same(stored, {"sha256": own["sha256"]})
    except ValueError as error:
        raise ReproductionError(f"{out} holds results of other data ({name}): {error}; choose another --out") from error


def reproduce(
    study: Study,
    experiments: Sequence[Experiment],
    *,
    workers: int | None = None,
    callback: Callable[[ReproductionProgress], None] | None = None,
) -> pages.RunStats:
    """Run the jobs of experiments that are not done, and write the pages of all that are.

    Parameters
    ----------
    study : Study
        The folder and the data.
    experiments : sequence of Experiment
        The experiments to run.
    workers : int, optional
        Number of processes. Default: one for each core.
    callback : callable, optional
        Called with :class:`ReproductionProgress` at the start and after every job.

    Returns
    -------
    RunStats
        Statistics of this call.

    Raises
    ------
    ReproductionError
        If a job fails; the outcomes of the others are kept.
    """
    started = time.perf_counter()
    jobs = study.jobs(experiments)
    todo = {key: job for key, job in jobs.items() if not study.outcomes.has(job)}
    count = workers or blas.usable_cores()
    with _faster_kernel(), ProcessExecutor(count) as executor:
        _run_jobs(study, jobs, todo, executor, callback)
        results = study.results()
        images = _draw(study, results, executor)
        arithmetic = executor.submit(_describe_arithmetic).result()
    stats = pages.RunStats(time.perf_counter() - started, len(todo), len(jobs) - len(todo), count, arithmetic)
    _write(study, results, images, stats)
    return stats


def _run_jobs(
    study: Study,
    jobs: dict[str, Job],
    todo: dict[str, Job],
    executor: ProcessExecutor,
    callback: Callable[[ReproductionProgress], None] | None,
) -> None:
    done = {key: job.cost for key, job in jobs.items() if key not in todo}
    total = sum(job.cost for job in jobs.values())

    def report() -> None:
        if callback is not None:
            callback(ReproductionProgress(len(done), len(jobs), sum(done.values()) / total))

    if not todo:
        return
    report()
    run = partial(run_job, study.source, study.outcomes)
    with closing(run_jobs(executor, run, todo.values(), workers=executor.workers)) as results:
        for result in results:
            if result.error is not None:
                raise ReproductionError(
                    f"{result.job.name}: its worker was lost {result.attempts} times "
                    f"({type(result.error).__name__}: {result.error}); {_REMEDY}"
                )
            if result.value:
                raise ReproductionError(f"{result.job.name}: {result.value}; {_REMEDY}")
            done[result.job.key] = result.job.cost
            report()


@contextmanager
def _faster_kernel() -> Iterator[None]:
    """Start workers with the fastest BLAS kernel of this processor, unless the user has chosen one."""
    faster = {name: value for name, value in blas.runtime().faster.items() if name not in os.environ}
    os.environ.update(faster)
    try:
        yield
    finally:
        for name in faster:
            del os.environ[name]


def _describe_arithmetic() -> str:
    installed, used = versions(), blas.runtime()
    return f"NumPy {installed['numpy']}, Python {installed['python']}, {used._replace(faster={})}"


# -- figures and pages -------------------------------------------------------------------------------------------------


def _draw(study: Study, results: Sequence[Results], executor: ProcessExecutor) -> dict[str, list[Image]]:
    """Draw the figures of all experiments in parallel, and return them by experiment."""
    futures = {
        result.experiment.name: executor.submit(_draw_experiment, study, result.experiment.name)
        for result in sorted(results, key=lambda result: -len(result.experiment.figures))
    }
    try:
        return {name: future.result() for name, future in futures.items()}
    except BrokenProcessPool as error:
        raise ReproductionError(f"a worker was lost while it drew the figures; {_REMEDY}") from error


def _draw_experiment(study: Study, name: str) -> list[Image]:
    experiment = EXPERIMENTS[name]
    results = study.results_of(experiment)
    images = []
    for figure in experiment.figures:
        description = f"{figure.title}: {experiment.title} ({study.data})"
        file = _figure_file(experiment, figure)
        size = _save_figure(study, figure.draw(results), file)
        narrow = None
        if figure.reflows:
            narrow_file = f"{Path(file).stem}{_FOR_PHONES}"
            narrow = (narrow_file, _save_figure(study, figure.draw(results, plotting.NARROW), narrow_file))
        images.append(Image(file, description, size, narrow))
    return images


def _save_figure(study: Study, figure: Any, file: str) -> tuple[int, int]:
    """Write a figure, and return its size in pixels."""
    path = study.out / FIGURES / file
    plotting.save_figure(figure, path, colours=256)
    return _png_size(path)


def _png_size(path: Path) -> tuple[int, int]:
    """Return the width and height in the header of a PNG file."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width, height


def _write(study: Study, results: Sequence[Results], images: dict[str, list[Image]], stats: pages.RunStats) -> None:
    """Write the JSON, the Markdown pages, and last the HTML page."""
    _save(study.out / NUMBERS, json.dumps(_to_json(study, results, stats), indent=1, allow_nan=False) + "\n")
    blocks: list[Block] = pages.summary(results, stats)
    for number in REPORTS:
        of_report = [result for result in results if result.experiment.report == number]
        if of_report:
            blocks += pages.report(number, of_report, images)
            _save(study.out / _page_file(number), _markdown(number, of_report, images))
    _save(study.out / INDEX, to_html(f"{pages.title(results)}: {study.data}", blocks, FIGURES))


def write_docs(study: Study, docs: Path) -> None:
    """Copy the Markdown pages to ``reports/`` in a folder of documentation, and their figures to ``images/reports/``.

    An existing page with an experiment that is not done in this folder is not replaced, with a warning.

    Parameters
    ----------
    study : Study
        The reproduced experiments.
    docs : Path
        Folder of the documentation.

    Raises
    ------
    OSError
        If the files cannot be written.
    """
    pages_folder, images_folder = docs / "reports", docs / "images" / "reports"
    for folder in (pages_folder, images_folder):
        folder.mkdir(parents=True, exist_ok=True)
    results = study.results()
    for number in dict.fromkeys(result.experiment.report for result in results):
        done = [result.experiment for result in results if result.experiment.report == number]
        page, copy = study.out / _page_file(number), pages_folder / _page_file(number)
        if missing := _only_in(copy, number, done):
            _LOG.warning("%s has %s, which this folder lacks; the page was not replaced", copy, " and ".join(missing))
        else:
            _save(copy, page.read_text(encoding="utf-8").replace(f"]({FIGURES}/", "](../images/reports/"))
            for name in [_figure_file(experiment, figure) for experiment in done for figure in experiment.figures]:
                with atomic_write(images_folder / name) as file:
                    file.write((study.out / FIGURES / name).read_bytes())


def _only_in(copy: Path, number: str, done: Sequence[Experiment]) -> list[str]:
    """Return the experiments that a page has and a folder lacks."""
    lines = set(copy.read_text(encoding="utf-8", errors="replace").splitlines()) if copy.is_file() else set()
    others = [e for e in EXPERIMENTS.values() if e.report == number and e not in done]
    return [experiment.name for experiment in others if f"## {experiment.title}" in lines]


def _page_file(number: str) -> str:
    return f"report_{number}.md" if number.isdecimal() else f"{number}.md"


def _figure_file(experiment: Experiment, figure: FigureSpec) -> str:
    return f"{experiment.name}-{figure.slug}.png"


def _markdown(number: str, results: Sequence[Results], images: dict[str, list[Image]]) -> str:
    title, *rest = pages.report(number, results, images, level=1)
    return to_markdown([title, *pages.warning(results[0]), *rest], FIGURES)


def _to_json(study: Study, results: Sequence[Results], stats: pages.RunStats) -> dict[str, Any]:
    counted = pages.count_agreement(results)
    return {
        "data": json.loads((study.out / IDENTITY).read_bytes()),
        "is_cifar10": study.data == OFFICIAL,
        "versions": versions(),
        "accuracies": counted.accuracies,
        "within_two_points": counted.near,
        "gradient_errors": counted.bounds,
        "gradient_errors_kept_to": counted.within,
        "core_seconds": round(sum(result.seconds for result in results), 1),
        "last_command": {
            "seconds": round(stats.elapsed, 1),
            "runs_done": stats.done,
            "runs_kept": stats.kept,
            "processes": stats.workers,
        },
        "experiments": [result.to_json() for result in results],
    }


def _save(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
