"""A plugin of pytest that plants one fault, or reports the primitives that are there to plant faults into.

``python -m pytest -p tinygrad_cifar.testing.fault_plugin`` with the environment variables

=========================  =============================================================================================
``TINYGRAD_CIFAR_FAULT``   the fault, ``<kind>: <primitive>.<input>``; planted once the tests are collected
``TINYGRAD_CIFAR_REPORT``  a file that receives the report, as JSON: ``vjps``, those of primitives that are not the
                           library's own; and ``no_fault``, why the planted change changes nothing, if that is proved
=========================  =============================================================================================
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing import faults

FAULT, REPORT = "TINYGRAD_CIFAR_FAULT", "TINYGRAD_CIFAR_REPORT"

_planted: list[Any] = []


def pytest_collection_finish(session: Any) -> None:  # noqa: ARG001 (the name is pytest's)
    """Plant the fault: the primitives of the tests have been made by now."""
    if title := os.environ.get(FAULT):
        kind, name, input = split_title(title)
        if name not in PRIMITIVES or input not in PRIMITIVES[name].vjps:
            return  # reported as missing
        proved = kind == "returns the cotangent" and faults.returns_the_cotangent(name, input)
        fault = faults.inject_into_vjp(kind, name, input)
        fault.__enter__()
        _planted.extend((fault, title, "the VJP does nothing else" if proved else ""))


def pytest_sessionfinish(session: Any) -> None:  # noqa: ARG001 (as above)
    """Write the report, and remove the fault."""
    report: dict[str, Any] = {"vjps": user_vjps(), "planted": bool(_planted), "no_fault": ""}
    if _planted:
        fault, title, reason = _planted
        fault.__exit__(None, None, None)
        report["no_fault"] = reason or faults.explain_no_fault(*split_title(title))
        _planted.clear()
    if path := os.environ.get(REPORT):
        Path(path).write_text(json.dumps(report), encoding="utf-8")


def split_title(title: str) -> tuple[str, str, str]:
    """Return the kind, the primitive and the input of ``<kind>: <primitive>.<input>``."""
    kind, _, place = title.partition(": ")
    name, _, input = place.rpartition(".")
    return kind, name, input


def user_vjps() -> list[tuple[str, str]]:
    """Return the primitive and the input of every VJP that is not the library's own."""
    return [
        (op.name, input)
        for op in PRIMITIVES.values()
        if op.module.partition(".")[0] != "tinygrad_cifar"
        for input in op.vjps
    ]
