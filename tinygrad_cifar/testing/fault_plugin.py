"""A plugin of pytest that injects one fault, or reports the primitives that are there to inject faults into.

``python -m pytest -p tinygrad_cifar.testing.fault_plugin`` with the environment variables

=========================  =============================================================================================
``TINYGRAD_CIFAR_FAULT``   the fault, ``<kind>: <primitive>.<input>``; injected once the tests are collected
``TINYGRAD_CIFAR_REPORT``  a file that receives the report, as JSON (:class:`Report`)
=========================  =============================================================================================

The tests run in one process, whatever the options of pytest-xdist: the fault is injected in this one.
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pytest

from tinygrad_cifar.engine.graph import Primitive
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing import faults

FAULT, REPORT = "TINYGRAD_CIFAR_FAULT", "TINYGRAD_CIFAR_REPORT"


class Report(TypedDict):
    """What is known after the tests.

    Attributes
    ----------
    vjps : list of (str, str)
        Primitive and input of each VJP that is not the library's own and existed before the first test.
    made_by_tests : list of str
        The primitives that were made while the tests ran.
    failed : str
        The first test or file that failed; empty if none did.
    error : str
        The last line of the error, if a file could not be imported.
    injected : bool
        Whether the fault was injected.
    no_fault : str
        Why the injected change changes nothing, if that is proved.
    unchanged : bool
        Whether the results of the changed VJP were the right ones in every call.
    """

    vjps: list[tuple[str, str]]
    made_by_tests: list[str]
    failed: str
    error: str
    injected: bool
    no_fault: str
    unchanged: bool


class _Injection(NamedTuple):
    """The fault that is injected, the comparison of its results with the right ones, and why it has no effect."""

    fault: AbstractContextManager[faults.Comparison]
    comparison: faults.Comparison
    proof: str


_report: Report = {
    "vjps": [],
    "made_by_tests": [],
    "failed": "",
    "error": "",
    "injected": False,
    "no_fault": "",
    "unchanged": False,
}
_before: dict[str, Primitive] = {}  # the primitives before the first test
_injection: _Injection | None = None


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: Any) -> Any:
    """Keep pytest-xdist from distributing the tests, before it reads its options."""
    if hasattr(config.option, "numprocesses"):
        config.option.numprocesses = 0
        config.option.distload = False
    return (yield)


def pytest_collection_finish(session: Any) -> None:  # noqa: ARG001 (the name is pytest's)
    """Inject the fault: the primitives of the tests have been made by now."""
    global _injection  # noqa: PLW0603 (the state of a plugin)
    _before.update(PRIMITIVES)
    _report["vjps"] = [(op.name, input) for op in _primitives_of_users() for input in op.vjps]
    if title := os.environ.get(FAULT):
        kind, name, input = split_title(title)
        if name not in PRIMITIVES or input not in PRIMITIVES[name].vjps:
            return  # reported as missing
        proved = kind == "returns the cotangent" and faults.returns_the_cotangent(name, input)
        fault = faults.inject_and_compare(kind, name, input)
        _injection = _Injection(fault, fault.__enter__(), "the VJP does nothing else" if proved else "")
        _report["injected"] = True


def pytest_exception_interact(call: Any, report: Any) -> None:
    """Note the first file that cannot be imported, with the last line of the error."""
    if isinstance(report, pytest.CollectReport) and not _report["failed"]:
        lines = [line.removeprefix("E").strip() for line in call.excinfo.exconly().splitlines() if line.strip()]
        _report["failed"], _report["error"] = report.nodeid, lines[-1] if lines else ""


def pytest_runtest_logreport(report: Any) -> None:
    """Note the first test that fails."""
    if report.failed and not _report["failed"]:
        _report["failed"] = report.nodeid


def pytest_sessionfinish(session: Any) -> None:  # noqa: ARG001 (as above)
    """Write the report, and remove the fault."""
    global _injection  # noqa: PLW0603 (as above)
    _report["made_by_tests"] = [op.name for op in _primitives_of_users() if _before.get(op.name) is not op]
    if _injection is not None:
        _injection.fault.__exit__(None, None, None)
        _report["no_fault"] = _injection.proof
        if not _injection.proof and _injection.comparison.was_applied:
            _report["no_fault"] = faults.explain_no_fault(*split_title(os.environ[FAULT]))
        _report["unchanged"] = _injection.comparison.unchanged
        _injection = None
    if path := os.environ.get(REPORT):
        Path(path).write_text(json.dumps(_report), encoding="utf-8")


def split_title(title: str) -> tuple[str, str, str]:
    """Return the kind, the primitive and the input of ``<kind>: <primitive>.<input>``."""
    kind, _, place = title.partition(": ")
    name, _, input = place.rpartition(".")
    return kind, name, input


def _primitives_of_users() -> list[Primitive]:
    return [op for op in PRIMITIVES.values() if op.module.partition(".")[0] != "tinygrad_cifar"]
