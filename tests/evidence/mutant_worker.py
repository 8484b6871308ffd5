"""A process that runs tests for one mutant after another, in a copy of the project.

:mod:`tests.evidence.mutants` starts it. The process imports the other libraries once, but nothing of the package under
test. For each task it writes the mutated source to the copy, forks, and lets the child import the package and run the
chosen tests. This takes a fraction of the time of a new process, and yet no mutant can affect the next one. A child has
its own process group, a limit of CPU time and a limit of memory; the rest of the group is killed when the child ends.

Tasks are lines of JSON on standard input, results lines of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pluggy import HookimplMarker

hookimpl = HookimplMarker("pytest")

PRELOADED = ("numpy", "numpy.testing", "pytest", "hypothesis.extra.numpy", "hypothesis.stateful", "tqdm", "optuna")
MEMORY = 8 * 2**30
IGNORED = "ignore::pytest.PytestAssertRewriteWarning"  # of Hypothesis, which is imported already
PROFILE = "mutants"  # of Hypothesis: few inputs, the same ones every time, not shortened


class Chosen:
    """A plugin of pytest that runs the chosen tests in their order, and records their times and failures.

    A test that takes more processor time than its limit ends the process, and so does one that waits for long.
    """

    def __init__(self, tests: list[str] | None, limits: dict[str, float]) -> None:
        self.tests, self.limits = tests, limits
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.tests is not None:
            places = {test: i for i, test in enumerate(self.tests)}
            items[:] = sorted((item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        limit = self.limits.get(nodeid, 0)
        signal.setitimer(signal.ITIMER_PROF, limit)
        signal.setitimer(signal.ITIMER_REAL, limit and 30 + 2 * limit)  # other processes may be busy

    def pytest_runtest_logfinish(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid} (on import)")


class Coverage:
    """A plugin of pytest that records which test runs which lines of the package.

    A test also runs the lines of its fixtures, and of the tests' functions with ``functools.cache`` that it calls, even
    if an earlier test has caused them to run. Their times are recorded by themselves.
    """

    def __init__(self, package: Path) -> None:
        import coverage  # noqa: PLC0415 (needed only here)

        self.package = package
        self.coverage = coverage.Coverage(data_file=None, source=[str(package)], config_file=False)
        self.coverage.start()
        self.contexts = [""]
        self.test = ""
        self.users: dict[str, list[str]] = {}  # tests by the fixtures and cached functions that they share
        self.seconds: dict[str, float] = {}
        self.cache = functools.cache
        functools.cache = self.watch_cache

    @contextlib.contextmanager
    def context(self, name: str) -> Iterator[None]:
        """Count the lines that run in the block for a test, or for something that tests share."""
        started = time.perf_counter()
        self.contexts.append(name)
        self.coverage.switch_context(name)
        try:
            yield
        finally:
            self.contexts.pop()
            self.coverage.switch_context(self.contexts[-1])
            self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - started

    def watch_cache(self, function: Any) -> Any:
        """Replace ``functools.cache``."""
        cached = self.cache(function)
        if not getattr(function, "__module__", "").startswith("tests."):
            return cached

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            name = f"{function.__module__}.{function.__qualname__}{arguments!r}"
            self.users.setdefault(name, []).append(self.test)
            with self.context(name):
                return cached(*arguments)

        return call

    def pytest_collection_finish(self, session: Any) -> None:
        for item in session.items:
            for fixtures in item._fixtureinfo.name2fixturedefs.values():
                for fixture in fixtures:
                    if fixture.scope != "function":
                        self.users.setdefault(self.name(fixture), []).append(item.nodeid)

    def name(self, fixture: Any) -> str:
        return f"fixture {fixture.baseid} {fixture.argname}"

    @hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        if fixturedef.scope == "function":
            return (yield)
        with self.context(self.name(fixturedef)):
            return (yield)

    @hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        self.test = item.nodeid
        with self.context(item.nodeid):
            return (yield)

    def lines(self) -> dict[str, dict[str, list[int]]]:
        """Return, for each module and each test, the lines of the module that it runs."""
        self.coverage.stop()
        data = self.coverage.get_data()
        found: dict[str, dict[str, list[int]]] = {}
        for file in data.measured_files():
            module = str(Path(file).relative_to(self.package).with_suffix(""))
            tests = found.setdefault(module, {})
            for line, contexts in data.contexts_by_lineno(file).items():
                for test in {test for context in contexts for test in self.users.get(context, [context]) if test}:
                    tests.setdefault(test, []).append(line)
        return found

    def shared(self) -> dict[str, tuple[float, list[str]]]:
        """Return the time of everything that several tests share, and the tests."""
        return {name: (self.seconds[name], tests) for name, tests in self.users.items() if name in self.seconds}


def register_profile() -> None:
    """Let Hypothesis draw as many inputs as a plain run of the tests does, the same ones every time."""
    from hypothesis import HealthCheck, Phase, settings  # noqa: PLC0415

    settings.register_profile(
        PROFILE,
        max_examples=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def run_child(task: dict[str, Any], answer: int) -> None:
    """Run the tests of a task in this process, which ends with it, and write the result to a file descriptor."""
    import pytest  # noqa: PLC0415

    assert Path(task["package"]).name not in sys.modules, "the child imports the package under test"
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (task["cpu"], task["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    files = task["files"] or sorted({test.split("::")[0] for test in task["tests"]})
    chosen = Chosen(None if task["files"] else task["tests"], task["limits"])
    coverage = [Coverage(Path(task["package"]).absolute())] if task["coverage"] else []
    arguments = [
        "-q",
        "--no-header",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-W",
        IGNORED,
        *task["options"],
    ]
    status = pytest.main([*arguments, f"--hypothesis-profile={PROFILE}", *files], plugins=[chosen, *coverage])
    result = {"status": int(status), "failed": chosen.failed, "seconds": chosen.seconds}
    if coverage:
        result |= {"lines": coverage[0].lines(), "shared": coverage[0].shared()}
    with open(answer, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run the tests of a task in a child and return its result, with the status -1 if the child was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            run_child(task, writing)
        except BaseException:  # noqa: BLE001 (the process ends)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    end = time.monotonic() + task["wall"]
    late = False
    os.set_blocking(reading, False)
    received = b""
    while True:
        with contextlib.suppress(BlockingIOError):
            received += os.read(reading, 1 << 20)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > end:
            late = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(BlockingIOError):
        while part := os.read(reading, 1 << 20):
            received += part
    os.close(reading)
    if received:
        with contextlib.suppress(ValueError):
            return json.loads(received)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    late = late or number in (signal.SIGXCPU, signal.SIGPROF, signal.SIGALRM)
    return {"status": -1, "failed": ["the tests do not end" if late else f"the tests were ended by signal {number}"]}


@contextlib.contextmanager
def mutated(task: dict[str, Any]) -> Iterator[None]:
    """Write the mutated source to the copy, and the right one afterwards."""
    if not task["file"]:
        yield
        return
    file = Path(task["file"])
    right = file.read_bytes()
    compiled = Path(importlib.util.cache_from_source(str(file)))
    compiled.unlink(missing_ok=True)  # its time stamp and size may agree with those of the mutant
    file.write_text(task["source"], encoding="utf-8")
    try:
        yield
    finally:
        file.write_bytes(right)
        compiled.unlink(missing_ok=True)


def main() -> None:
    """Answer tasks until the standard input ends."""
    sys.dont_write_bytecode = True
    sys.path[0] = ""  # the copy, instead of the folder of this file
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    register_profile()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        task = json.loads(line)
        with mutated(task):
            result = run(task)
        answers.write(json.dumps(result) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
