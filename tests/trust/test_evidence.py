"""docs/trust.md: the committed page is complete, and an incomplete one cannot be generated."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.evidence import conformance, faults, measure
from tests.evidence.specs import SPECS

COMMITTED = measure.PAGE.read_text(encoding="utf-8")
REMEDY = "run: python -m tests.evidence"


@pytest.fixture(scope="module")
def quick_page():
    """Return the page that the command prints with ``--quick``."""
    command = [sys.executable, "-m", "tests.evidence", "--quick", "--processes", "1"]
    run = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def headings(page):
    return re.findall(r"^#.*", page, re.MULTILINE)


def test_command_measures_every_section(quick_page):
    assert headings(quick_page) == headings(COMMITTED), REMEDY


def test_page_lists_every_primitive():
    assert re.findall(r"^\| `(\w+)` \| [\d,]+ \|", COMMITTED, re.MULTILINE) == sorted(SPECS), REMEDY


def test_page_lists_every_fault_as_detected():
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+ \| [\d,]+) \| [\d,]+ \|$", COMMITTED, re.MULTILINE))
    assert {*faults.VJP_FAULTS, "engine"} <= set(rows), REMEDY
    assert all(len(set(rows[kind].split(" | "))) == 1 for kind in (*faults.VJP_FAULTS, "engine"))
    assert [name for name in faults.ENGINE_FAULTS if f"| {name} |" not in COMMITTED] == [], REMEDY


def test_page_lists_every_decision():
    assert [row.test for row in conformance.DECISIONS if f"`{row.test}`" not in COMMITTED] == [], REMEDY


@pytest.mark.parametrize("cell", [None, ""])
def test_missing_cell_raises(cell):
    with pytest.raises(measure.MissingResultError, match="the row has an empty cell"):
        measure.format_table(["a", "b"], [["one", cell]])


def test_empty_table_raises():
    with pytest.raises(measure.MissingResultError, match="no rows"):
        measure.format_table(["a"], [])


def test_missing_measurement_raises():
    with pytest.raises(measure.MissingResultError, match=r"there are no results of \('kills',\)"):
        measure.killed_runs({})
