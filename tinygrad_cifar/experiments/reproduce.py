"""Do what is declared: every job once, in parallel, and then the figures and the report from what came of them.

All jobs together are one search over a list of points, one point for each job, so it is the search's workers, its
way to give work out and its care for workers that die which are used here. The longest jobs come first, so that at
the end no worker is alone with one of them.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinygrad_cifar.course import plotting as figures
from tinygrad_cifar.course.runs import versions
from tinygrad_cifar.data import Dataset, load_dataset
from tinygrad_cifar.experiments import EXPERIMENTS, REPORTS, pages
from tinygrad_cifar.experiments.declaration import Experiment, Job
from tinygrad_cifar.experiments.document import Block, Image, to_html, to_markdown
from tinygrad_cifar.experiments.figure_specs import Picture
from tinygrad_cifar.experiments.jobs import run_job
from tinygrad_cifar.experiments.outcomes import OutcomeError, OutcomeStore
from tinygrad_cifar.experiments.results import Results, load_results
from tinygrad_cifar.system import blas as machine
from tinygrad_cifar.system.files import atomic_write
from tinygrad_cifar.system.processes import ProcessExecutor, run_jobs

INDEX, NUMBERS, IDENTITY, FIGURES, OUTCOMES = "index.html", "results.json", "data.json", "figures", "runs"

_LOG = logging.getLogger(__name__)  # warnings go to the standard error unless the program says otherwise


class ReproductionError(Exception):
    """What cannot be done: one sentence for the user."""


@dataclass(frozen=True)
class ReproductionProgress:
    """How far the jobs are.

    Attributes
    ----------
    done, total : int
        Jobs.
    share : float
        The part of the work that is done, from 0 to 1, by what the jobs are expected to cost.
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
        ``builtin``, or the folder with CIFAR-10.
    data : str
        The data's name.
    outcomes : Outcomes
        Of its jobs.
    class_names : tuple of str
    """

    out: Path
    source: str
    data: str
    outcomes: OutcomeStore
    class_names: tuple[str, ...]

    @property
    def small(self) -> bool:
        """Whether everything is run small."""
        return self.source == "builtin"

    def jobs(self, experiments: Sequence[Experiment]) -> dict[str, Job]:
        """Return the jobs of some experiments by key, those that several share once, the longest first."""
        jobs = {job.key: job for experiment in experiments for job in experiment.jobs(small=self.small)}
        return dict(sorted(jobs.items(), key=lambda item: -item[1].cost))

    def results_of(self, experiment: Experiment) -> Results:
        """Return the results of an experiment; raises OutcomeError unless all its jobs are done."""
        return load_results(experiment, self.outcomes, data=self.data, class_names=self.class_names, small=self.small)

    def results(self) -> list[Results]:
        """Return the results of every experiment all of whose jobs are done, in the order of the declarations."""
        found = []
        for experiment in EXPERIMENTS.values():
            with suppress(OutcomeError):
                found.append(self.results_of(experiment))
        return found


def select_experiments(names: Sequence[str]) -> list[Experiment]:
    """Return experiments by their names, or by their reports' numbers; all but those on request without any.

    Raises
    ------
    ReproductionError
        If there is no such experiment.

    Examples
    --------
    >>> from tinygrad_cifar.experiments.reproduce import select_experiments
    >>> [experiment.name for experiment in select_experiments(["002"])]
    ['002-gradients', '002-softmax']
    """
    unknown = [name for name in names if name not in EXPERIMENTS and name not in REPORTS]
    if unknown:
        raise ReproductionError(
            f"there is no experiment {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}, and the reports "
            f"{', '.join(REPORTS)}"
        )
    if not names:
        return [e for e in EXPERIMENTS.values() if not e.on_request]
    return [e for e in EXPERIMENTS.values() if e.name in names or e.report in names]


def open_study(out: Path, source: str) -> Study:
    """Make the folder if need be, and see that it is for this data, and what in it cannot be gone on from.

    A file that is not the outcome that belongs in its place is told of in a warning; it counts as not done.

    Raises
    ------
    ReproductionError
        If the folder cannot be used, or holds results of other data, or a folder is where an outcome belongs.
    DataError
        If there is no such data.
    """
    dataset = load_dataset(source)
    try:
        (out / OUTCOMES).mkdir(parents=True, exist_ok=True)
        (out / FIGURES).mkdir(exist_ok=True)
        _check_identity(out, dataset)
    except OSError as error:
        raise ReproductionError(f"{out} cannot be written to ({error.strerror}); choose another --out") from error
    for part in (out / OUTCOMES).glob(".*.part"):  # what a killed worker left half-written
        part.unlink(missing_ok=True)
    outcomes = OutcomeStore(out / OUTCOMES, str(dataset.identity()["sha256"]))
    study = Study(out, source, dataset.name, outcomes, dataset.class_names)
    _warn_about_foreign_files(study)
    return study


def _warn_about_foreign_files(study: Study) -> None:
    """Say which files are not what belongs in their place, before any progress is shown."""
    for job in study.jobs(list(EXPERIMENTS.values())).values():
        path = study.outcomes.path(job)
        if path.is_dir():  # which no file can take the place of
            raise ReproductionError(
                f"{path} is a folder, where the file of a run belongs; move or remove it, and give the command again"
            )
        if path.exists():
            try:
                study.outcomes.require(job)
            except OutcomeError as error:
                _LOG.warning("%s: it does not count, and that run is to be done again", error)


def _check_identity(out: Path, dataset: Dataset) -> None:
    own, path = dataset.identity(), out / IDENTITY
    if not path.exists():
        with atomic_write(path) as file:
            file.write(json.dumps(own, indent=2).encode() + b"\n")
        return
    try:
        kept = json.loads(path.read_bytes())
        if kept["sha256"] == own["sha256"]:
            return
        name = kept["name"]
    except (ValueError, LookupError, TypeError) as error:
        raise ReproductionError(f"{path} does not say which data the results are of; choose another --out") from error
    raise ReproductionError(
        f"{out} holds results of other data ({name}, digest {str(kept['sha256'])[:12]}) than {own['name']}, digest "
        f"{str(own['sha256'])[:12]}; choose another --out"
    )


def reproduce(
    study: Study,
    experiments: Sequence[Experiment],
    *,
    workers: int | None = None,
    callback: Callable[[ReproductionProgress], None] | None = None,
) -> pages.RunStats:
    """Do what is not yet done of some experiments, and write the report of everything that is.

    Parameters
    ----------
    study : Study
    experiments : sequence of Experiment
    workers : int, optional
        How many processes, by default one for each core.
    callback : callable, optional
        Called with :class:`Progress` at the start and whenever a job is done.

    Returns
    -------
    Effort
        What it took.

    Raises
    ------
    ReproductionError
        If a job fails; what others have done is kept.
    """
    started = time.perf_counter()
    jobs = study.jobs(experiments)
    todo = {key: job for key, job in jobs.items() if not study.outcomes.has(job)}
    count = workers or machine.usable_cores()
    with _faster_kernel(), ProcessExecutor(count) as executor:
        _run_jobs(study, jobs, todo, executor, callback)
        results = study.results()
        images = _draw(study, results, executor)
        arithmetic = executor.submit(_arithmetic).result()
    effort = pages.RunStats(time.perf_counter() - started, len(todo), len(jobs) - len(todo), count, arithmetic)
    _write(study, results, images, effort)
    return effort


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
                    f"({type(result.error).__name__}: {result.error})"
                )
            if result.value:
                raise ReproductionError(f"{result.job.name}: {result.value}")
            done[result.job.key] = result.job.cost
            report()


@contextmanager
def _faster_kernel() -> Iterator[None]:
    """Let the workers use the BLAS kernel that is fastest here, unless the user has chosen one."""
    faster = {name: value for name, value in machine.runtime().faster.items() if name not in os.environ}
    os.environ.update(faster)
    try:
        yield
    finally:
        for name in faster:
            del os.environ[name]


def _arithmetic() -> str:
    kept, used = versions(), machine.runtime()
    return f"NumPy {kept['numpy']}, Python {kept['python']}, {used._replace(faster={})}"


# -- figures and pages -------------------------------------------------------------------------------------------------


def _draw(study: Study, results: Sequence[Results], executor: ProcessExecutor) -> dict[str, list[Image]]:
    """Draw every figure, an experiment at a time, and return what can be shown."""
    futures = {
        result.experiment.name: executor.submit(_draw_one, study, result.experiment.name)
        for result in sorted(results, key=lambda result: -len(result.experiment.pictures))
    }
    return {name: future.result() for name, future in futures.items()}


def _draw_one(study: Study, name: str) -> list[Image]:
    experiment = EXPERIMENTS[name]
    results = study.results_of(experiment)
    images = []
    for picture in experiment.pictures:
        path = study.out / FIGURES / _file(experiment, picture)
        figures.save_figure(picture.draw(results), path, colours=256)
        images.append(Image(path.name, f"{picture.title}: {experiment.title} ({study.data})", _size(path)))
    return images


def _size(path: Path) -> tuple[int, int]:
    """Return the width and the height that a PNG's header tells."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width, height


def _write(study: Study, results: Sequence[Results], images: dict[str, list[Image]], effort: pages.RunStats) -> None:
    """Write the numbers, the Markdown, and at last the page."""
    _save(study.out / NUMBERS, json.dumps(_numbers(study, results, effort), indent=1, allow_nan=False) + "\n")
    blocks: list[Block] = pages.summary(results, effort)
    for number in REPORTS:
        of_report = [result for result in results if result.experiment.report == number]
        if of_report:
            blocks += pages.report(number, of_report, images)
            _save(study.out / _page(number), _markdown(number, of_report, images))
    _save(study.out / INDEX, to_html(f"{pages.title(results)}: {study.data}", blocks, FIGURES))


def write_docs(study: Study, docs: Path) -> None:
    """Copy the Markdown pages to ``reports/`` in a folder of documentation, and their figures to ``images/reports/``.

    A page that is there and has an experiment which is not done in this folder is left alone, with a warning.

    Raises
    ------
    OSError
        If they cannot be written there.
    """
    pages_folder, images_folder = docs / "reports", docs / "images" / "reports"
    for folder in (pages_folder, images_folder):
        folder.mkdir(parents=True, exist_ok=True)
    results = study.results()
    for number in dict.fromkeys(result.experiment.report for result in results):
        done = [result.experiment for result in results if result.experiment.report == number]
        page, copy = study.out / _page(number), pages_folder / _page(number)
        if lost := _only_in(copy, number, done):
            _LOG.warning("%s has %s, which this folder has not: it is left as it is", copy, " and ".join(lost))
        else:
            _save(copy, page.read_text(encoding="utf-8").replace(f"]({FIGURES}/", "](../images/reports/"))
            for name in [_file(experiment, picture) for experiment in done for picture in experiment.pictures]:
                with atomic_write(images_folder / name) as file:
                    file.write((study.out / FIGURES / name).read_bytes())


def _only_in(copy: Path, number: str, done: Sequence[Experiment]) -> list[str]:
    """Return the experiments that a page has and a folder has not."""
    lines = set(copy.read_text(encoding="utf-8").splitlines()) if copy.is_file() else set()
    others = [e for e in EXPERIMENTS.values() if e.report == number and e not in done]
    return [experiment.name for experiment in others if f"## {experiment.title}" in lines]


def _page(number: str) -> str:
    return f"report_{number}.md" if number.isdecimal() else f"{number}.md"


def _file(experiment: Experiment, picture: Picture) -> str:
    return f"{experiment.name}-{picture.slug}.png"


def _markdown(number: str, results: Sequence[Results], images: dict[str, list[Image]]) -> str:
    title, *rest = pages.report(number, results, images, level=1)
    return to_markdown([title, *pages.warning(results[0]), *rest], FIGURES)


def _numbers(study: Study, results: Sequence[Results], effort: pages.RunStats) -> dict[str, Any]:
    counted = pages.tally(results)
    return {
        "data": json.loads((study.out / IDENTITY).read_bytes()),
        "is_cifar10": not study.small,
        "versions": versions(),
        "accuracies": counted.accuracies,
        "within_two_points": counted.near,
        "gradient_errors": counted.bounds,
        "gradient_errors_kept_to": counted.kept,
        "core_seconds": round(sum(result.seconds for result in results), 1),
        "last_command": {
            "seconds": round(effort.elapsed, 1),
            "runs_done": effort.done,
            "runs_kept": effort.kept,
            "processes": effort.workers,
        },
        "experiments": [result.to_json() for result in results],
    }


def _save(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
