"""Mutation testing of the package outside the engine: the share of random mutants that a module's own tests detect.

    python -m tests.evidence.mutants                        a sample of each module's mutants, and docs/mutants.md
    python -m tests.evidence.mutants data/batches cli       these modules and folders only; prints, writes no page
    python -m tests.evidence.mutants --sample 10000 nn      all mutants of a folder

The engine has faults of its own kind (:mod:`tests.evidence.faults`). Here a module's own tests are those in the folder
of its package. They are run once unchanged, to learn which test runs which lines, and how long each takes. Then each
mutant (:mod:`tests.evidence.mutations`) is given to the tests that run its lines, the fastest first, until one fails.
They run in copies of the project (:mod:`tests.evidence.mutant_worker`), so the checkout is not changed. Each result is
logged at once, and an interrupted run continues where it was. Needs the extras ``test`` and ``experiments``, and a
system with ``fork``.
"""

# Prints its results.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.evidence.equivalent_mutants import EQUIVALENT
from tests.evidence.mutations import KINDS, Mutant, draw_sample, list_mutants

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutants.md"
PACKAGE = "tinygrad_cifar"

# The module of the engine that is included: the faults of faults.py change most of the others, and not this one.
ALSO = ("engine/tracing",)
OWN_TESTS = {
    "engine/tracing": ("tests/engine/test_tracing.py",),
    "__main__": ("tests/cli",),
    "__init__": ("tests/project/test_package.py",),
}

SAMPLE = 30  # mutants of each module
SEED = 0
BUDGET = 60.0  # seconds of tests for one mutant
LEAST_CPU = 5.0  # seconds of processor time that a test may take above five times its usual time
GOAL = 95


class Project(NamedTuple):
    """The project whose tests are measured: this one, or a small one in the tests of this module."""

    root: Path
    package: str

    def modules(self) -> list[str]:
        """Return the modules that are mutated, by their paths in the package without suffix."""
        folder = self.root / self.package
        files = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.py"))
        return [name for name in files if not name.startswith("engine/") or name in ALSO]

    def source(self, module: str) -> str:
        return (self.root / self.package / f"{module}.py").read_text(encoding="utf-8")

    def own_tests(self, module: str) -> tuple[str, ...]:
        """Return the test files and folders of a module."""
        return OWN_TESTS.get(module, (f"tests/{module.partition('/')[0]}",))

    def digest_of_tests(self, module: str) -> str:
        """Return a digest of the sources of a module's tests, helpers included."""
        files = [
            path for place in (*self.own_tests(module), "tests/support") for path in _python_files(self.root / place)
        ]
        return _digest("".join(path.read_text(encoding="utf-8") for path in files))


def _python_files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# -- the processes that run tests --------------------------------------------------------------------------------------


class Worker:
    """A process with a copy of the project, in which it runs tests."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.folder = project, folder
        ignored = shutil.ignore_patterns(".*", "*.egg-info", "docs", "runs", "build", "dist")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(project.root, folder / "copy", ignore=ignored)
        (folder / "tmp").mkdir()
        environment = os.environ | {
            "PYTHONPATH": str(folder / "copy"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("mutant_worker.py"))],
            cwd=folder / "copy",
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *, tests: Sequence[str] = (), files: Sequence[str] = (), **options: Any) -> dict[str, Any]:
        task = {"tests": tests, "files": files, "file": "", "options": [], "coverage": False, "cpu": 3600, "wall": 7200}
        task |= {"limits": {}, "package": self.project.package, "output": str(self.folder / "output.txt")} | options
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker in {self.folder} has ended with status {self.process.wait()}")
        for left in (self.folder / "tmp").iterdir():
            shutil.rmtree(left, ignore_errors=True)
        return json.loads(answer)

    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Baseline(NamedTuple):
    """What the unchanged tests do: their times, the lines that they run, and those that fail without a mutant."""

    seconds: dict[str, float]
    shared: dict[str, tuple[float, list[str]]]  # fixtures and the like: their times, and the tests that use them
    lines: dict[str, dict[str, list[int]]]
    failed: list[str]

    def tests_of(self, mutant: Mutant, budget: float) -> dict[str, float]:
        """Return the tests that run the lines of a mutant, the fastest first, up to a time, with their times.

        If there are none, since the lines run on import or in another process, return all tests, those that run the
        module first.
        """
        of_module = self.lines.get(mutant.module, {})
        first, last = mutant.lines or (0, 0)
        running = {test for test, lines in of_module.items() if any(first <= line <= last for line in lines)}
        found = {test for test in running or self.seconds if test in self.seconds and test not in self.failed}
        waiting = {name: found.intersection(tests) for name, (_, tests) in self.shared.items()}

        def cost(test: str) -> float:
            """Return the time of a test, and of the fixtures that no test before it has used."""
            return self.seconds[test] + sum(self.shared[name][0] for name, users in waiting.items() if test in users)

        chosen: dict[str, float] = {}
        for test in sorted(found, key=lambda test: (test not in of_module, cost(test))):
            if not chosen or sum(chosen.values()) + cost(test) <= budget:
                chosen[test] = cost(test)
                waiting = {name: users for name, users in waiting.items() if test not in users}
        return chosen


def measure_baseline(worker: Worker, tests: Sequence[str], work: Path) -> Baseline:
    """Run the unchanged tests once, for their times and the lines that they run, or read what an earlier run found."""
    root = worker.folder / "copy"
    sources = [
        path for place in (worker.project.package, "tests/support", *tests) for path in _python_files(root / place)
    ]
    file = work / f"baseline-{_digest(''.join(path.read_text(encoding='utf-8') for path in sources))}.json"
    if not file.exists():
        result = worker.run(files=tests, coverage=True)
        if result["status"] not in (0, 1):
            raise RuntimeError(f"the tests in {', '.join(tests)} cannot be run unchanged:\n{worker.output()[-3000:]}")
        found = Baseline(result["seconds"], result["shared"], result["lines"], sorted(set(result["failed"])))
        file.write_text(json.dumps(found._asdict()), encoding="utf-8")
    return Baseline(**json.loads(file.read_text(encoding="utf-8")))


# -- the results -------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """The outcome of one mutant: the test that detected it, if any, and the number of tests that run its lines."""

    mutant: Mutant
    detected_by: str
    tests: int
    equivalent: str = ""

    @property
    def survived(self) -> bool:
        return not self.detected_by and not self.equivalent


def try_mutant(worker: Worker, baseline: Baseline, mutant: Mutant, source: str, budget: float) -> Outcome:
    """Run the tests of a mutant of the given source until one fails."""
    tests = baseline.tests_of(mutant, budget)
    seconds = sum(tests.values())
    if not tests:
        return Outcome(mutant, "", 0)
    result = worker.run(
        tests=list(tests),
        limits={test: LEAST_CPU + 5 * cost for test, cost in tests.items()},
        file=f"{worker.project.package}/{mutant.module}.py",
        source=mutant.apply(source),
        options=["-x"],
        cpu=int(20 + 5 * seconds),
        wall=int(60 + 15 * seconds),
    )
    if result["status"] in (0, 5):  # passed, or no longer among the parameters of a test
        return Outcome(mutant, "", len(tests))
    return Outcome(mutant, (result["failed"] or ["the tests cannot be imported"])[0], len(tests))


class Log:
    """The results so far, one line each, so that an interrupted run can be continued.

    A detected mutant stays detected while its module is unchanged; one that survived is tried again when a test of its
    package has changed.
    """

    def __init__(self, file: Path, project: Project, modules: Sequence[str]) -> None:
        # Read once: files that are edited during the run belong to the next one.
        self.sources = {module: project.source(module) for module in modules}
        self.digests = {module: project.digest_of_tests(module) for module in modules}
        self.file = file
        self.known: dict[str, dict[str, Any]] = {}
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self.known[entry["key"]] = entry
        self.lock = threading.Lock()

    def key(self, mutant: Mutant) -> str:
        return f"{_digest(self.sources[mutant.module])} {mutant.identity}"

    def find(self, mutant: Mutant) -> Outcome | None:
        entry = self.known.get(self.key(mutant))
        if entry and (entry["detected_by"] or entry["digest"] == self.digests[mutant.module]):
            return Outcome(mutant, entry["detected_by"], entry["tests"])
        return None

    def add(self, outcome: Outcome) -> None:
        entry = {"key": self.key(outcome.mutant), "detected_by": outcome.detected_by, "tests": outcome.tests}
        entry["digest"] = self.digests[outcome.mutant.module]
        with self.lock, self.file.open("a", encoding="utf-8") as stream:
            self.known[entry["key"]] = entry
            stream.write(json.dumps(entry) + "\n")


class Report(NamedTuple):
    """The outcomes of a run, and what its page says besides."""

    outcomes: list[Outcome]
    totals: dict[str, int]  # all mutants of each module
    failed: list[str]  # tests that fail without a mutant, and were left out
    missing: list[str]  # modules that were not measured
    sample: int
    seed: int
    budget: float


def run_mutants(
    project: Project,
    modules: Sequence[str],
    work: Path,
    *,
    sample: int = SAMPLE,
    seed: int = SEED,
    budget: float = BUDGET,
    processes: int = 1,
    equivalent: dict[str, str] = EQUIVALENT,
) -> Report:
    """Try a sample of the mutants of each module.

    Parameters
    ----------
    project : Project
        The project.
    modules : sequence of str
        The modules that are mutated.
    work : Path
        The folder of the copies and of the log.
    sample, seed : int
        How many mutants of each module are tried, and the seed that chooses them.
    budget : float
        Seconds of unchanged tests that a mutant is given.
    processes : int
        How many processes run tests.
    equivalent : dict
        The mutants that change nothing that can be observed, with the reason.
    """
    work.mkdir(parents=True, exist_ok=True)
    log = Log(work / "log.jsonl", project, modules)
    every = {module: list_mutants(module, source) for module, source in log.sources.items()}
    drawn = [mutant for mutants in every.values() for mutant in draw_sample(mutants, sample, seed)]
    groups: dict[tuple[str, ...], list[Mutant]] = {}
    for mutant in drawn:
        if mutant.identity not in equivalent and not log.find(mutant):
            groups.setdefault(project.own_tests(mutant.module), []).append(mutant)
    failed = _try_groups(project, groups, log, work, budget, processes)
    outcomes = []
    for mutant in drawn:
        reason = equivalent.get(mutant.identity, "")
        outcome = Outcome(mutant, "", 0, reason) if reason else log.find(mutant)
        assert outcome is not None, f"the log has no result of {mutant.identity}"
        outcomes.append(outcome)
    totals = {module: len(mutants) for module, mutants in every.items()}
    missing = [module for module in project.modules() if module not in totals]
    return Report(outcomes, totals, failed, missing, sample, seed, budget)


def _try_groups(
    project: Project, groups: dict[tuple[str, ...], list[Mutant]], log: Log, work: Path, budget: float, processes: int
) -> list[str]:
    """Try mutants, grouped by their tests, and log the outcomes; return the tests that fail without a mutant."""
    waiting: queue.SimpleQueue[tuple[tuple[str, ...], list[Mutant]]] = queue.SimpleQueue()
    for group in sorted(groups.items(), key=lambda group: -len(group[1])):
        waiting.put(group)
    count = sum(map(len, groups.values()))
    done = itertools.count(1)
    failed: list[str] = []
    errors: list[BaseException] = []

    def run_worker(number: int) -> None:
        worker = Worker(project, work / f"worker-{number}")
        try:
            while not errors and not waiting.empty():
                tests, mutants = waiting.get_nowait()
                baseline = measure_baseline(worker, tests, work)
                failed.extend(baseline.failed)
                for mutant in mutants:
                    outcome = try_mutant(worker, baseline, mutant, log.sources[mutant.module], budget)
                    log.add(outcome)
                    what = outcome.detected_by or f"SURVIVED {outcome.tests} tests"
                    print(f"{next(done)}/{count}  {mutant.identity}: {what}", file=sys.stderr, flush=True)
        except queue.Empty:
            pass  # another worker has taken the last group
        except BaseException as error:  # noqa: BLE001 (raised below)
            errors.append(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=run_worker, args=(number,)) for number in range(min(processes, len(groups)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return failed


class Row(NamedTuple):
    """The score of a module: all its mutants, those tried, detected and equivalent."""

    module: str
    all: int
    tried: int
    detected: int
    equivalent: int

    @property
    def share(self) -> float:
        """Percentage of detected mutants among those that are not equivalent; 100 if there are none."""
        faults = self.tried - self.equivalent
        return 100 * self.detected / faults if faults else 100.0


def score(report: Report) -> list[Row]:
    """Return a row for each module that has mutants."""
    rows = []
    for module, total in report.totals.items():
        of_module = [outcome for outcome in report.outcomes if outcome.mutant.module == module]
        detected = sum(bool(outcome.detected_by) for outcome in of_module)
        equivalent = sum(bool(outcome.equivalent) for outcome in of_module)
        if of_module:
            rows.append(Row(module, total, len(of_module), detected, equivalent))
    return rows


def sum_rows(rows: Iterable[Row], title: str) -> Row:
    columns = list(zip(*rows, strict=True))[1:]
    return Row(title, *map(sum, columns))


def find_stale(project: Project, equivalent: dict[str, str]) -> list[str]:
    """Return the entries of the list of equivalent mutants that no module has any more."""
    known = {m.identity for module in project.modules() for m in list_mutants(module, project.source(module))}
    return [identity for identity in equivalent if identity not in known]


# -- the page ----------------------------------------------------------------------------------------------------------


def format_page(report: Report) -> str:
    """Return the text of docs/mutants.md."""
    rows = score(report)
    total = sum_rows(rows, "all")
    cells = [
        f"| {f'`{row.module}`' if row is not total else 'all'} | {row.all:,} | {row.tried:,} | {row.equivalent:,} | "
        f"{row.detected:,} | {row.share:.0f} % |"
        for row in [*rows, total]
    ]
    below = [row.module for row in rows if row.share < GOAL]
    kinds = "\n".join(f"- *{kind}*: {text}" for kind, text in KINDS.items())
    survivors = [f"- {outcome.mutant.identity}" for outcome in report.outcomes if outcome.survived]
    equivalent = [f"- {o.mutant.identity}: {o.equivalent}" for o in report.outcomes if o.equivalent]
    missing = f"\nNot measured: {', '.join(f'`{name}`' for name in report.missing)}.\n" if report.missing else ""
    failed = f"\nLeft out, since they failed without a mutant: {', '.join(report.failed)}.\n" if report.failed else ""
    newline = "\n"
    return f"""# Mutants outside the engine

Written by `python -m tests.evidence.mutants --sample {report.sample} --seed {report.seed} \
--budget {report.budget:.0f}`. A mutant is the package with one small
change in one module. It counts as detected if a test of the module's own package (the folder of the same name in
`tests/`) fails. The faults injected into the engine are on [another page](trust.md); of its modules, only
`engine/tracing` is here.

Of each module, up to {report.sample} mutants were drawn at random with seed {report.seed}: {total.tried:,} of \
{total.all:,}. Of those that are not
equivalent to the original, {total.detected:,} of {total.tried - total.equivalent:,} were detected, \
{total.share:.1f} %. The share of a single module is uncertain: if its tests
detect 95 % of all its mutants, {100 * chance_of_less(report.sample):.0f} of 100 samples of {report.sample} show less \
than that.

{kinds}

Strings, annotations and docstrings are not changed. A mutant is given to the tests that run its lines, the fastest
first, up to {report.budget:.0f} seconds; if its lines run on import or in other processes only, to all tests of the
package, those that run the module first.
{missing}{failed}
| module | mutants | tried | equivalent | detected | share |
| --- | ---: | ---: | ---: | ---: | ---: |
{newline.join(cells)}

{f"Below {GOAL} %: {', '.join(f'`{name}`' for name in below)}." if below else f"No module is below {GOAL} %."}

## Survivors

{newline.join(survivors) or "None."}

## Equivalent

Mutants that change nothing that a user of the module can observe, except its speed, or only on another system. They
were judged by hand, one by one, and are listed in `tests/evidence/equivalent_mutants.py`.

{newline.join(equivalent) or "None in this sample."}
"""


def chance_of_less(count: int, share: float = GOAL / 100) -> float:
    """Return the probability that less than ``share`` of ``count`` mutants are detected if that is the share of all."""
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count) if k < share * count)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.evidence.mutants",
        description="Mutate the modules outside the engine, and count the mutants that their tests detect.",
    )
    parser.add_argument("names", nargs="*", metavar="MODULE", help="modules or folders, as data/batches or data")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="mutants of each module (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the sample (default: %(default)s)")
    parser.add_argument(
        "--budget", type=float, default=BUDGET, help="seconds of tests per mutant (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="write docs/mutants.md for the named modules only")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "tinygrad-cifar-mutants",
        help="folder of the log and the copies; an existing log is continued (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    project = Project(ROOT, PACKAGE)
    modules = project.modules()
    if unknown := [name for name in options.names if not any(_selects(name, module) for module in modules)]:
        parser.error(f"not a module outside the engine: {', '.join(unknown)}")
    chosen = [
        module for module in modules if not options.names or any(_selects(name, module) for name in options.names)
    ]
    report = run_mutants(
        project,
        chosen,
        options.work,
        sample=options.sample,
        seed=options.seed,
        budget=options.budget,
        processes=options.processes,
    )
    print(f"{'module':32}{'mutants':>9}{'tried':>7}{'equivalent':>12}{'detected':>10}{'share':>8}")
    rows = score(report)
    for row in [*rows, sum_rows(rows, "all")]:
        print(f"{row.module:32}{row.all:9}{row.tried:7}{row.equivalent:12}{row.detected:10}{row.share:7.0f}%")
    for outcome in report.outcomes:
        if outcome.survived:
            line = f"{PACKAGE}/{outcome.mutant.module}.py:{outcome.mutant.line}"
            print(f"SURVIVED  {line}  {outcome.mutant.identity}  ({outcome.tests} tests)")
    for identity in find_stale(project, EQUIVALENT):
        print(f"not a mutant any more; remove it from equivalent_mutants.py: {identity}")
    for test in report.failed:
        print(f"left out, since it fails without a mutant: {test}")
    if options.page or not options.names:
        PAGE.write_text(format_page(report), encoding="utf-8")
    return 0


def _selects(name: str, module: str) -> bool:
    return module == name or module.startswith(f"{name}/")


if __name__ == "__main__":
    sys.exit(main())
