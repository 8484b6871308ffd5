"""Chromium without a window."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def browse(profile: Path, page: Path, *options: str, width: int = 1400) -> str:
    """Open a page in a window of a width, with a folder for the browser's own files, and return the output."""
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={profile}", f"--window-size={width},1000", "--hide-scrollbars"),
        *("--virtual-time-budget=20000", *options, page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
