"""Documentation: all examples in README.md and docs/ run and give the results shown.

Python examples are doctests, one session per page. Commands run in order in an empty folder, with the built-in data;
those that need a folder with CIFAR-10 (DIR) are only checked up to its absence. Checks of gradients use 60 features by
default, and all of them with the profile ``thorough``, which takes about 20 seconds.
"""

import doctest
import re
import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import tinygrad_cifar
from tinygrad_cifar.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FEWER = [] if settings().max_examples >= 300 else ["--features", "60"]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [code for kind, code in FENCED.findall(page.read_text()) if kind == language]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_examples_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # Several pages may define the same primitives.
    monkeypatch.setattr("tinygrad_cifar.engine.primitives.PRIMITIVES", {})
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


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_run(page, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    ran = 0
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if "DIR" in words:
            continue
        assert main([*words, *(FEWER if words[0] == "check" else [])]) == 0, f"{line}\n{capsys.readouterr()}"
        ran += 1
    if not ran:
        pytest.skip("every command on this page needs CIFAR-10")


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_for_cifar_10_have_valid_options(page, monkeypatch, tmp_path, capsys):
    """With an empty folder of data, a command fails for lack of data (status 1), not for its options (status 2)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR").mkdir()
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if "--data" in words and "DIR" in words:
            assert main(words) == 1, f"{line}\n{capsys.readouterr()}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_files_are_valid(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCED.sub("", page.read_text()))
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


REFERENCE = "".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
PUBLIC_NAMES = sorted({*tinygrad_cifar.__all__} - {*tinygrad_cifar.engine.ops.__all__, "__version__"})
MODULES = sorted({"engine.ops", *tinygrad_cifar._MODULES.values()})


@pytest.mark.parametrize(
    "entry", [*(f"{name}\n" for name in PUBLIC_NAMES), *(f"{name}\n   :members:" for name in MODULES)]
)
def test_the_reference_contains_all_public_names(entry):
    assert f":: tinygrad_cifar.{entry}" in REFERENCE


def test_the_readme_states_the_oldest_supported_python():
    assert "3.10" in (ROOT / "README.md").read_text()
    assert sys.version_info >= (3, 10)
