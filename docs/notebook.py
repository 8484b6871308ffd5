"""The guide as an executed notebook: ``python -m docs.notebook`` writes ``guide.ipynb`` from ``guide.md``.

Each statement of the guide that shows a result ends a cell, since a notebook shows the value of the last statement of a
cell. The rest of the page becomes text cells. Needs ``nbclient`` and ``ipykernel``, of the extra ``docs``.
"""

from __future__ import annotations

import doctest
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
GUIDE, NOTEBOOK = FOLDER / "guide.md", FOLDER / "guide.ipynb"

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r" *# doctest: .*")
_MAY_RAISE = "raises-exception"  # the tag with which Jupyter continues after an error

Cell = dict[str, Any]


def examples_of(block: str) -> Iterator[list[doctest.Example]]:
    """Divide a block of examples after each one that shows a result."""
    group: list[doctest.Example] = []
    for example in doctest.DocTestParser().get_examples(block):
        group.append(example)
        if example.want:
            yield group
            group = []
    if group:
        yield group


def convert(page: str) -> dict[str, Any]:
    """Return the notebook of a page, without outputs."""
    cells: list[Cell] = []
    for i, part in enumerate(_PYTHON.split(page)):
        if i % 2 == 0:
            if part.strip():
                cells.append({"cell_type": "markdown", "metadata": {}, "source": _lines(part.strip())})
        else:
            cells.extend(_code_cell(group) for group in examples_of(part))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _code_cell(group: list[doctest.Example]) -> Cell:
    lines: list[str] = []
    end = group[0].lineno
    for example in group:
        lines += [""] * (example.lineno - end)  # an empty line between statements
        source = _OPTION.sub("", example.source).rstrip("\n").split("\n")
        lines += source
        end = example.lineno + example.source.count("\n")
    tags = {"tags": [_MAY_RAISE]} if group[-1].exc_msg else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": tags,
        "outputs": [],
        "source": _lines("\n".join(lines)),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def execute(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the notebook with its outputs, executed in a folder.

    Errors have their message only, places in the source are those of the guide, and warnings on the standard error are
    left out: all three would otherwise contain paths of the machine.
    """
    import nbformat  # noqa: PLC0415 (of the extra docs)
    from nbclient import NotebookClient  # noqa: PLC0415

    os.environ["IPYKERNEL_CELL_NAME"] = "guide"
    node = nbformat.reads(json.dumps(notebook), as_version=4)
    NotebookClient(node, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    executed: dict[str, Any] = json.loads(nbformat.writes(node))
    executed["metadata"] = notebook["metadata"]
    for cell in executed["cells"]:
        cell["metadata"].pop("execution", None)  # the times
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    output["traceback"] = [f"{output['ename']}: {output['evalue']}"]
    return executed


def write(notebook: dict[str, Any], path: Path = NOTEBOOK) -> None:
    """Write a notebook."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path = NOTEBOOK) -> dict[str, Any]:
    """Read a notebook."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as empty:
        write(execute(convert(GUIDE.read_text(encoding="utf-8")), Path(empty)))
