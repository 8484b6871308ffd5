"""The notebook of the guide: it has the statements of the guide, and its results are those that running it gives."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

from docs import notebook
from tests.project.test_docs import blocks

pytestmark = pytest.mark.slow

PAGE = notebook.GUIDE.read_text(encoding="utf-8")
STORED = notebook.read()
CODE_CELLS = [cell for cell in STORED["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_the_stored_notebook_is_that_of_the_guide() -> None:
    wanted = notebook.convert(PAGE)["cells"]
    keys = ("cell_type", "metadata", "source")
    shown = [{key: cell[key] for key in keys} for cell in STORED["cells"]]
    assert shown == [{key: cell[key] for key in keys} for cell in wanted], "run `python -m docs.notebook`"


def test_no_statement_and_no_paragraph_of_the_guide_is_missing() -> None:
    cells = iter("\n".join(map(source, STORED["cells"])).splitlines())
    for line in PAGE.splitlines():
        if line.startswith(">>> "):
            statement = line.removeprefix(">>> ").partition("  # doctest:")[0]
            assert statement in cells  # searches on from the last one
    for paragraph in "".join(notebook._PYTHON.split(PAGE)[::2]).split("\n\n"):
        assert any(paragraph.strip() in source(cell) for cell in STORED["cells"])


def shown(cell: dict[str, Any]) -> str:
    """Return the output of a cell as a Python session shows it."""
    text = ""
    for output in cell["outputs"]:
        match output["output_type"]:
            case "stream":
                text += "".join(output["text"])
            case "error":
                text += f"{output['ename']}: {output['evalue']}\n"
            case _:
                text += "".join(output["data"]["text/plain"]) + "\n"
    return text


def test_the_stored_results_are_those_of_the_guide() -> None:
    groups = [group for block in blocks(notebook.GUIDE, "python") for group in notebook.examples_of(block)]
    for group, cell in zip(groups, CODE_CELLS, strict=True):
        last = group[-1]
        wanted = last.want
        if last.exc_msg:  # a notebook shows the class of an exception without its module
            name, _, message = last.exc_msg.partition(":")
            wanted = f"{name.rpartition('.')[2]}:{message}"
        flags = sum(last.options)
        assert doctest.OutputChecker().check_output(wanted, shown(cell), flags), last.source


def test_the_stored_notebook_has_no_paths_of_a_machine() -> None:
    text = notebook.NOTEBOOK.read_text(encoding="utf-8")
    assert str(notebook.FOLDER.parent) not in text
    assert not [word for word in ("/tmp/", "site-packages", "/home/", "ipykernel_") if word in text]


def results(cell: dict[str, Any]) -> list[Any]:
    """Return the results of a cell; of an error only the class, as the message may be shortened in the guide."""
    return [output.get("ename") or output.get("text") or output["data"] for output in cell["outputs"]]


def test_running_the_notebook_gives_the_stored_results(tmp_path: Path) -> None:
    for name in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(name, reason="needs the extra docs")
    executed = notebook.execute(notebook.convert(PAGE), tmp_path)
    assert [results(c) for c in executed["cells"] if c["cell_type"] == "code"] == [results(c) for c in CODE_CELLS]
