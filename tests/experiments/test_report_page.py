"""The page in a browser: every figure loads, and nothing overflows on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_report import small_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")

# A window cannot be as narrow as a phone, but a frame can. Scripts cannot read a frame, so the page sends a message.
SENDER = """
<script>
window.addEventListener("load", () => {
  const width = document.documentElement.clientWidth;
  const images = [...document.images];
  const wide = [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > width + 1);
  parent.postMessage(JSON.stringify({
    width,
    scrolled: document.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter(i => !i.complete || i.naturalWidth === 0).map(i => i.src),
    misdeclared: images.filter(i => i.naturalWidth != i.getAttribute("width")
                                 || i.naturalHeight != i.getAttribute("height")).map(i => i.src),
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


def browse(tmp_path: Path, page: Path, *options: str) -> str:
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--hide-scrollbars"),
        *("--virtual-time-budget=20000", *options, page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def measured(tmp_path: Path, width: int) -> dict[str, Any]:
    out = tmp_path / "out"
    shutil.copytree(small_report() / "out", out)
    page, frame = out / "index.html", out / "frame.html"
    page.write_text(page.read_text().replace("</body>", SENDER))
    frame.write_text(RECEIVER.replace("WIDTH", str(width)))
    found = re.search(r'<pre id="measured">(.+?)</pre>', browse(tmp_path, frame, "--dump-dom"))
    assert found is not None, "the page has sent no message"
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.mark.parametrize("width", [390, 1200])
def test_every_figure_loads_and_nothing_overflows(tmp_path: Path, width: int) -> None:
    found = measured(tmp_path, width)
    assert found["width"] == width
    assert found["images"] == len(list((small_report() / "out" / "figures").glob("*.png")))
    assert found["broken"] == []
    assert found["misdeclared"] == []
    assert found["wide"] == []
    assert found["scrolled"] <= width


def test_the_page_can_be_printed(tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(tmp_path, small_report() / "out" / "index.html", f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")
