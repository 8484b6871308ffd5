"""docs/trust.md: the committed page is complete, and an incomplete one cannot be generated."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.evidence import accuracy, conformance, faults, symbolic, trust_page
from tests.evidence.checkpoint import ROOT, Checkpoint, StaleCheckpointError
from tests.evidence.specs import SPECS
from tests.evidence.tables import MissingResultError, format_table

COMMITTED = trust_page.PAGE.read_text(encoding="utf-8")
REMEDY = "run: python -m tests.evidence"


@pytest.fixture(scope="module")
def quick_page():
    """Return the page that the command prints with ``--quick``."""
    command = [sys.executable, "-m", "tests.evidence", "--quick", "--processes", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def headings(page):
    return re.findall(r"^#.*", page, re.MULTILINE)


def test_command_measures_every_section(quick_page):
    assert headings(quick_page) == headings(COMMITTED), REMEDY


def section(title):
    """Return the text of a section of the page."""
    return COMMITTED.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text):
    """Return the names in the first column of a table, in its order."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_page_lists_every_primitive():
    assert rows(section("Primitives and oracles")) == sorted(SPECS), REMEDY


def test_page_lists_every_proof_as_complete():
    assert rows(section("Proofs")) == symbolic.ELEMENTWISE, REMEDY
    assert "None is open." in section("Proofs")


def test_page_explains_every_function_that_is_beyond_its_goal():
    assert set(rows(section("Accuracy"))) == set(accuracy.NAMES), REMEDY
    assert "not explained yet" not in section("Accuracy")


def test_page_lists_every_fault_as_detected():
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+ \| [\d,]+) \| [\d,]+ \|$", COMMITTED, re.MULTILINE))
    assert {*faults.VJP_FAULTS, "engine"} <= set(rows), REMEDY
    assert all(len(set(rows[kind].split(" | "))) == 1 for kind in (*faults.VJP_FAULTS, "engine"))
    assert [name for name in faults.ENGINE_FAULTS if f"| {name} |" not in COMMITTED] == [], REMEDY


def test_page_lists_every_decision():
    assert [row.test for row in conformance.DECISIONS if f"`{row.test}`" not in COMMITTED] == [], REMEDY


@pytest.mark.parametrize("cell", [None, ""])
def test_missing_cell_raises(cell):
    with pytest.raises(MissingResultError, match="the row has an empty cell"):
        format_table(["a", "b"], [["one", cell]])


def test_empty_table_raises():
    with pytest.raises(MissingResultError, match="no rows"):
        format_table(["a"], [])


def test_missing_measurement_raises():
    with pytest.raises(MissingResultError, match=r"there are no results of \('kills',\)"):
        trust_page.killed_runs({})


def test_checkpoint_continues_from_its_results(tmp_path):
    file = tmp_path / "results"
    with Checkpoint(file, "sources").open() as add:
        add(("oracle", "exp"), 1.5)
    with Checkpoint(file, "sources").open() as add:
        add(("oracle", "log"), 2.5)
    assert Checkpoint(file, "sources").results == {("oracle", "exp"): 1.5, ("oracle", "log"): 2.5}


def test_checkpoint_with_an_incomplete_result_continues(tmp_path):
    """The process was killed while it wrote."""
    file = tmp_path / "results"
    with Checkpoint(file, "sources").open() as add:
        add(("oracle", "exp"), 1.5)
        add(("oracle", "sin"), "a result that was being written")
    file.write_bytes(file.read_bytes()[:-5])
    with Checkpoint(file, "sources").open() as add:
        add(("oracle", "log"), 2.5)
    assert Checkpoint(file, "sources").results == {("oracle", "exp"): 1.5, ("oracle", "log"): 2.5}


def test_checkpoint_of_other_sources_raises(tmp_path):
    file = tmp_path / "results"
    Checkpoint(file, "sources")
    with pytest.raises(StaleCheckpointError, match="the results are of other sources"):
        Checkpoint(file, "changed sources")
