"""The page in a browser: figures are legible, nothing overflows, and it is readable in the dark and on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pypdf
import pytest

from tests.support.browser import BROWSER, browse
from tinygrad_cifar.course.plotting import NARROW, WIDE
from tinygrad_cifar.experiments.document import Table, Text, Title, to_html

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")

# A window cannot be as narrow as a phone, but a frame can. Scripts cannot read a frame, so the page sends a message.
SENDER = """
<script>
window.addEventListener("load", () => {
  const width = document.documentElement.clientWidth;
  const images = [...document.images];
  const shown = i => i.currentSrc.split("/").pop();
  const declared = i => [...i.parentElement.querySelectorAll("source"), i].find(
    e => (e.getAttribute("srcset") || e.getAttribute("src")).endsWith(shown(i)));
  const wide = [...document.body.querySelectorAll("*")].filter(
    e => e.getBoundingClientRect().right > width + 1 && !e.parentElement.closest(".scrolls"));
  const behind = e => e.closest(".marked") || document.body;
  const colours = e => [getComputedStyle(e).color, getComputedStyle(behind(e)).backgroundColor];
  parent.postMessage(JSON.stringify({
    width,
    scrolled: document.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter(i => !i.complete || i.naturalWidth === 0).map(i => i.src),
    misdeclared: images.filter(i => i.naturalWidth != declared(i).getAttribute("width")
                                 || i.naturalHeight != declared(i).getAttribute("height")).map(shown),
    widths: images.map(i => [shown(i), i.clientWidth]),
    colours: [...document.querySelectorAll("h1, h3, p, a, td")].map(colours),
    beside: getComputedStyle(document.querySelector("nav.beside")).display,
    above: getComputedStyle(document.querySelector("details")).display,
    wide: wide.map(e => e.outerHTML.slice(0, 100)),
  }), "*");
});
</script>
</body>
"""
RECEIVER = """<!DOCTYPE html>
<pre id="measured"></pre>
<script>
window.addEventListener("message", e => { document.getElementById("measured").textContent = e.data; });
</script>
<iframe src="index.html" style="border: 0; width: WIDTHpx; height: 844px"></iframe>
"""


def measured(small_report: Path, tmp_path: Path, width: int, *options: str) -> dict[str, Any]:
    out = tmp_path / "out"
    shutil.copytree(small_report / "out", out)
    page, frame = out / "index.html", out / "frame.html"
    page.write_text(page.read_text().replace("</body>", SENDER))
    frame.write_text(RECEIVER.replace("WIDTH", str(width)))
    found = re.search(r'<pre id="measured">(.+?)</pre>', browse(tmp_path / "profile", frame, "--dump-dom", *options))
    assert found is not None, "the page has sent no message"
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.mark.parametrize("width", [390, 1200])
def test_every_figure_loads_and_nothing_overflows(small_report: Path, tmp_path: Path, width: int) -> None:
    found = measured(small_report, tmp_path, width)
    assert found["width"] == width
    files = (small_report / "out" / "figures").glob("*.png")
    assert found["images"] == len([file for file in files if ".narrow." not in file.name])
    assert found["broken"] == []
    assert found["misdeclared"] == []
    assert found["wide"] == []
    assert found["scrolled"] <= width


@pytest.mark.parametrize("width", [390, 1200])
def test_the_letters_of_figures_have_ten_pixels(small_report: Path, tmp_path: Path, width: int) -> None:
    smallest = 8 / 72  # inches; another test checks the sizes of the fonts
    for file, shown in measured(small_report, tmp_path, width)["widths"]:
        inches = NARROW if ".narrow." in file else WIDE
        assert smallest * shown / inches >= 10, file


def test_the_contents_are_beside_the_text_or_above_it(small_report: Path, tmp_path: Path) -> None:
    on_a_phone, on_a_desk = (measured(small_report, tmp_path / str(width), width) for width in (390, 1200))
    assert (on_a_phone["beside"], on_a_phone["above"]) == ("none", "block")
    assert (on_a_desk["beside"], on_a_desk["above"]) == ("block", "none")


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as "rgb(1, 2, 3)", as the WCAG define it."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("scheme", "is_dark"), [(0, True), (1, False)], ids=["dark", "light"])
def test_the_page_has_the_scheme_of_the_browser_with_enough_contrast(
    small_report: Path, tmp_path: Path, scheme: int, *, is_dark: bool
) -> None:
    found = measured(small_report, tmp_path, 1200, f"--blink-settings=preferredColorScheme={scheme}")
    assert found["colours"]
    for text, background in found["colours"]:
        low, high = sorted(map(luminance, (text, background)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, background)
        assert (luminance(text) > luminance(background)) == is_dark


def printed(tmp_path: Path, page: Path) -> list[str]:
    """Return the texts of the pages of the printed page."""
    paper = tmp_path / "report.pdf"
    browse(tmp_path / "profile", page, f"--print-to-pdf={paper}")
    return [sheet.extract_text() for sheet in pypdf.PdfReader(paper).pages]


def test_the_page_can_be_printed(small_report: Path, tmp_path: Path) -> None:
    sheets = printed(tmp_path, small_report / "out" / "index.html")
    assert "This is not CIFAR-10" in sheets[0]
    assert not any("\N{UPWARDS ARROW} Contents" in sheet for sheet in sheets)


def test_a_printed_table_is_on_the_page_of_its_heading(tmp_path: Path) -> None:
    blocks = []
    for i in range(12):
        rows = [[f"row-{i}-{k}", "1"] for k in range(3 + i % 7)]
        blocks += [
            Title(3, f"heading-{i}-", f"h{i}"),
            Text("A sentence."),
            Text("Another one."),
            Table(["", "n"], rows),
        ]
    (tmp_path / "page.html").write_text(to_html("Tables", [Title(1, "Tables"), *blocks], "figures"))
    sheets = printed(tmp_path, tmp_path / "page.html")
    assert len(sheets) > 1
    for i in range(12):
        (sheet,) = [sheet for sheet in sheets if f"heading-{i}-" in sheet]
        assert all(f"row-{i}-{k}" in sheet for k in range(3 + i % 7)), i
