"""Markdown tables of the generated pages: a table with an empty cell, or without a row, raises an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MissingResultError(ValueError):
    """A result of the page was not measured."""


def format_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table, numbers aligned right; an empty cell raises an error."""
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    lines = [list(head), ["---:" if right else "---" for right in numeric]]
    for row in rows:
        if len(row) != len(head) or any(cell is None or cell == "" for cell in row):
            raise MissingResultError(f"format_table: the row has an empty cell: {row}")
        lines.append([f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", r"\|") for cell in row])
    if not rows:
        raise MissingResultError(f"format_table: there are no rows under {head}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
