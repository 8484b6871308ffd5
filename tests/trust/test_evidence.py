"""The page of evidence: it has no holes, and nothing that it speaks of is missing from the one that is kept."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.evidence import conformance, faults
from tests.evidence import measure as evidence
from tests.evidence.specs import SPECS

KEPT = evidence.PAGE.read_text(encoding="utf-8")
LATELY = "measure again: python -m tests.evidence"


@pytest.fixture(scope="module")
def quick():
    """Return what the command says when it does a little of everything."""
    command = [sys.executable, "-m", "tests.evidence", "--quick", "--processes", "1"]
    run = subprocess.run(command, cwd=evidence.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def headings(page):
    return re.findall(r"^#.*", page, re.MULTILINE)


def test_one_command_measures_all_that_is_on_the_page(quick):
    assert headings(quick) == headings(KEPT), LATELY


def test_every_primitive_is_on_the_page():
    assert re.findall(r"^\| `(\w+)` \| [\d,]+ \|", KEPT, re.MULTILINE) == sorted(SPECS), LATELY


def test_every_kind_of_fault_is_on_the_page_and_was_caught():
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+ \| [\d,]+) \| [\d,]+ \|$", KEPT, re.MULTILINE))
    assert {*faults.RULE_FAULTS, "engine"} <= set(rows), LATELY
    assert all(len(set(rows[kind].split(" | "))) == 1 for kind in (*faults.RULE_FAULTS, "engine"))
    assert [name for name in faults.ENGINE_FAULTS if f"| {name} |" not in KEPT] == [], LATELY


def test_every_decision_is_on_the_page():
    assert [row.test for row in conformance.DECISIONS if f"`{row.test}`" not in KEPT] == [], LATELY


@pytest.mark.parametrize("cell", [None, ""])
def test_a_hole_in_a_row_is_an_error(cell):
    with pytest.raises(evidence.HoleError, match="there is a hole in this row"):
        evidence.table(["a", "b"], [["one", cell]])


def test_a_table_without_rows_is_an_error():
    with pytest.raises(evidence.HoleError, match="no rows"):
        evidence.table(["a"], [])


def test_what_was_not_measured_is_an_error():
    with pytest.raises(evidence.HoleError, match=r"nothing was measured of \('kills',\)"):
        evidence.killed_runs({})
