"""Runs the cases on the adapters of the installed libraries, and formats the page."""

from __future__ import annotations

import platform
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.evidence.referee.adapters import ADAPTERS, Adapter
from tests.evidence.referee.cases import CASES, Case
from tests.evidence.tables import format_table

PAGE = Path(__file__).parents[3] / "docs" / "referee.md"


class Answer(NamedTuple):
    """What a library did, one of :data:`VERDICTS`, and the numbers or the error."""

    verdict: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.detail}" if self.detail and self.verdict != "right" else self.verdict


def ask(adapter: Adapter, case: Case) -> Answer:
    """Return the answer of a library to a case."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = case.program(adapter)
    except NotImplementedError:
        return Answer("not offered")
    except Exception as error:  # noqa: BLE001 (each library has errors of its own)
        return Answer("right" if "an error" in case.right else "refused", type(error).__name__)
    if any(_agree(found, right) for right in case.right):
        return Answer("right")
    return Answer("other" if case.group == "kinks" else "wrong", _text(found))


def _agree(found: Any, right: Any) -> bool:
    if isinstance(right, (str, tuple)) or isinstance(found, (str, tuple)):
        return bool(found == right)
    found, right = np.asarray(found, dtype=float), np.asarray(right, dtype=float)
    if right.ndim == 0 and found.size == 1:
        found = found.reshape(())
    return found.shape == right.shape and bool(np.allclose(found, right, rtol=1e-6, atol=1e-306, equal_nan=True))


def _text(found: Any) -> str:
    if isinstance(found, (str, tuple)):
        return str(found)
    numbers = np.asarray(found, dtype=float).ravel().tolist()
    return ", ".join(f"{number:.3g}" for number in numbers)


def measure(adapters: list[Adapter]) -> list[list[str]]:
    """Return a row for each case: its group, its question, and the answer of each library."""
    return [[case.group, case.question, *[str(ask(adapter, case)) for adapter in adapters]] for case in CASES]


def format_page(rows: list[list[str]], titles: list[str], versions: str) -> str:
    """Return the page."""
    counts = [
        [title, *[sum(row[2 + i].startswith(v) for row in rows) for v in VERDICTS]] for i, title in enumerate(titles)
    ]
    return f"""# Hard cases in several libraries

Written by `python -m tests.evidence.referee`: {versions}.

One suite of {len(rows)} hard cases, run on each library through an adapter of at most fifty lines. *Right* is the
mathematical answer or, at kinks, where there is none, the one that this library documents; another one is a different
convention, given as *other*. *Wrong* means other numbers, without an error; *refused*, an error, which can be the
better answer; *not offered*, that the library has no such operation, or no tape on which the question could be asked.

{format_table(["library", *VERDICTS], counts)}
{format_table(["about", "case", *titles], rows)}"""


VERDICTS = ("right", "other", "wrong", "refused", "not offered")


def main() -> int:
    """Run every case on every installed library; write the page if all are installed."""
    present = [adapter for adapter in ADAPTERS if _is_present(adapter)]
    rows = measure([adapter() for adapter in present])
    titles = [adapter.title for adapter in present]
    print(format_table(["about", "case", *titles], rows))  # noqa: T201 (a command)
    if len(present) < len(ADAPTERS):
        print("The page is not written, since not every library is installed.", file=sys.stderr)  # noqa: T201
        return 1
    versions = ", ".join([f"Python {platform.python_version()}", *[adapter.version() for adapter in present]])
    PAGE.write_text(format_page(rows, titles, versions), encoding="utf-8")
    return 0


def _is_present(adapter: type[Adapter]) -> bool:
    try:
        adapter()
    except ImportError:
        return False
    return True
