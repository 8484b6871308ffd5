"""Every example in README.md and docs/ runs, and does what it says.

Python examples are doctests, one session a page. Commands run one after another in an empty folder, on the built-in
data; those that need a folder of CIFAR-10 (DIR) are run as far as its absence.
"""

import doctest
import re
import shlex
import sys
from pathlib import Path

import pytest

import tinygrad_cifar
from tinygrad_cifar.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [code for kind, code in FENCED.findall(page.read_text()) if kind == language]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_examples_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tinygrad_cifar.engine.primitives.PRIMITIVES", {}
    )  # a page may make rows that other pages make, too
    text = "\n".join(blocks(page, "python"))
    if ">>>" not in text:
        exec(compile(text, name(page), "exec"), {"__name__": "__main__"})
        return
    test = doctest.DocTestParser().get_doctest(text, {}, name(page), str(page), 0)
    report = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert not report, "".join(report)


def commands(page):
    return [line for code in blocks(page, "sh") for line in code.splitlines() if line.startswith("tinygrad-cifar ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_run(page, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    ran = 0
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if "DIR" in words:
            continue
        assert main(words) == 0, f"{line}\n{capsys.readouterr()}"
        ran += 1
    if not ran:
        pytest.skip("every command on this page needs CIFAR-10")


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_for_cifar_10_have_options_that_exist(page, monkeypatch, tmp_path, capsys):
    """Without the data, a command fails at the folder (status 1) and not at its options (status 2)."""
    monkeypatch.chdir(tmp_path)
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if "--data" in words and "DIR" in words:
            assert main(words) == 1, f"{line}\n{capsys.readouterr()}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCED.sub("", page.read_text()))
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


REFERENCE = "".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
OF_THE_PACKAGE = sorted({*tinygrad_cifar.__all__} - {*tinygrad_cifar.engine.ops.__all__, "__version__"})
MODULES = sorted({"engine.ops", *tinygrad_cifar._MODULES.values()})


@pytest.mark.parametrize(
    "entry", [*(f"{name}\n" for name in OF_THE_PACKAGE), *(f"{name}\n   :members:" for name in MODULES)]
)
def test_the_reference_has_everything_offered(entry):
    assert f":: tinygrad_cifar.{entry}" in REFERENCE


def test_the_readme_names_this_interpreters_oldest_relative():
    assert "3.10" in (ROOT / "README.md").read_text()
    assert sys.version_info >= (3, 10)
