"""The web site of the documentation: it builds without warnings, and its pages show what they should."""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import BROWSER, browse
from tinygrad_cifar.cli import _build_parser
from tinygrad_cifar.cli.settings import OPTIONS

pytestmark = pytest.mark.slow

for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "sphinx_argparse_cli"):
    pytest.importorskip(module, reason="needs the extra docs")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", ROOT / "docs", site]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return site


def text(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_the_front_page_has_the_install_line_an_example_and_a_picture(site: Path) -> None:
    front = site / "index.html"
    assert "python3 -m venv .venv && .venv/bin/pip install" in text(front)
    assert "class Small(models.Classifier):" in text(front)
    assert "pytest" not in text(front)
    sources = re.findall(r'<img[^>]*src="([^"]+)"', front.read_text())
    assert any((site / source).is_file() for source in sources)


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = [a for a in _build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(action.choices)


@pytest.mark.parametrize("command", commands())
def test_the_page_of_the_command_line_has_every_option(site: Path, command: str) -> None:
    page = (site / "command_line.html").read_text()
    actions = [action for action in commands()[command]._actions if action.help != argparse.SUPPRESS]
    options = [option for action in actions for option in action.option_strings]
    assert [option for option in options if f'id="tinygrad-cifar-{command}-{option}"' not in page] == []


def test_the_page_of_the_command_line_has_every_setting(site: Path) -> None:
    assert [field.option for field in OPTIONS.values() if field.option not in text(site / "command_line.html")] == []


@pytest.mark.parametrize("page", ["guide.html", "reference/operations.html"])
def test_examples_have_a_copy_button_that_takes_the_statements(site: Path, page: str) -> None:
    assert "copybutton.js" in (site / page).read_text()
    script = (site / "_static" / "copybutton.js").read_text()
    assert (
        "'>>> |\\\\.\\\\.\\\\. ', true, true" in script
    )  # the prompts, a regular expression; lines without are left out


def test_no_entry_of_the_reference_is_garbled(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        prose = text_without_code(page)
        assert not re.findall(r":(?:ivar|vartype|param|class|func|meth|mod|data):?.*|``.*|\w+, \w+ : .*", prose), page


def text_without_code(page: Path) -> str:
    code = r"<(pre|script|style)\b.*?</\1>|<dt class=\"sig.*?</dt>"
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(code, "", page.read_text(), flags=re.DOTALL)))


MEASURE = """<script>
window.addEventListener("load", () => {
  const cut = [...document.querySelectorAll("article table.docutils")].filter(
    e => e.parentElement.scrollWidth > e.parentElement.clientWidth + 1);
  document.body.innerHTML = "<pre id=measured></pre>";
  document.getElementById("measured").textContent = JSON.stringify(cut.map(e => e.textContent.trim().slice(0, 60)));
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_no_table_is_cut_off_at_1280_pixels(site: Path, tmp_path: Path) -> None:
    copied = tmp_path / "site"
    shutil.copytree(site, copied)
    pages = [page for page in copied.rglob("*.html") if 'class="table-wrapper' in page.read_text()]
    assert len(pages) > 5
    for page in pages:
        page.write_text(page.read_text().replace("</body>", MEASURE))
        shown = browse(tmp_path / "profile", page, "--dump-dom", width=1280)
        (found,) = re.findall(r'<pre id="measured">(.*?)</pre>', shown, re.DOTALL)
        assert json.loads(html.unescape(found)) == [], page.name
