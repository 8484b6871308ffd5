"""Documents as lists of blocks, written as Markdown and as HTML for screens, phones and paper.

The HTML has no scripts and no fonts, and refers only to the files of the figures. On a narrow screen, each row of a
table becomes a card, so that no horizontal scrolling is needed.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Title:
    """A heading of level 1 to 4; its name, if any, is the target of links."""

    level: int
    text: str
    name: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph; if ``marked``, it is highlighted."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table of texts; the first ``left`` columns are aligned left, the others right.

    ``links`` has for each row the name of a heading to which its first cell links, empty for none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    links: Sequence[str] = ()


@dataclass(frozen=True)
class Image:
    """A figure: its file in the folder of figures, its description, and its size in pixels."""

    file: str
    description: str
    size: tuple[int, int]


Block: TypeAlias = Title | Text | Table | Image


def to_markdown(blocks: Iterable[Block], figures: str) -> str:
    """Write blocks as Markdown, with the figures in the folder ``figures``.

    Examples
    --------
    >>> from tinygrad_cifar.experiments.document import Table, Title, to_markdown
    >>> print(to_markdown([Title(2, "Results"), Table(["", "%"], [["train", "41.00"]])], "figures"))
    ## Results
    <BLANKLINE>
    |  | % |
    |:--|--:|
    | train | 41.00 |
    <BLANKLINE>
    """
    return "\n\n".join(_markdown(block, figures) for block in blocks) + "\n"


def _markdown(block: Block, figures: str) -> str:
    match block:
        case Title():
            return f"{'#' * block.level} {block.text}"
        case Text():
            return f"> **{block.text}**" if block.marked else block.text
        case Image():
            return f"![{block.description}]({figures}/{block.file})"
        case Table():
            marks = [":--" if i < block.left else "--:" for i in range(len(block.header))]
            lines = [_markdown_row(block.header), f"|{'|'.join(marks)}|", *map(_markdown_row, block.rows)]
            return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 3rem 0 0.5rem; padding-top: 0.75rem;
  border-top: 3px solid #0072b2; }
h3 { font-size: 1.1rem; line-height: 1.3; margin: 2.25rem 0 0.4rem; }
h4 { font-size: 1rem; margin: 1.25rem 0 0.3rem; }
p { margin: 0.5rem 0; max-width: 46rem; }
p.marked { border-left: 4px solid #d55e00; background: #fdf3ec; padding: 0.5rem 0.75rem; }
a { color: #005a8f; }
table { border-collapse: collapse; margin: 0.9rem 0; font-size: 0.93rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.28rem 0.9rem 0.28rem 0; text-align: right; vertical-align: baseline; }
th { font-weight: 600; border-bottom: 2px solid #999; vertical-align: bottom; }
td { border-bottom: 1px solid #e3e3e3; }
td { white-space: nowrap; }
td.l { white-space: normal; }
.l { text-align: left; }
figure { margin: 1rem 0; }
figure img { display: block; width: 100%; max-width: 44rem; height: auto; border: 1px solid #eee; }
@media screen and (max-width: 640px) {
  table, tbody { display: block; }
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: 0.45rem 0; border-bottom: 1px solid #ddd; }
  td { border: 0; padding: 0; text-align: left; }
  td:first-child { flex-basis: 100%; font-weight: 600; }
  td:empty { display: none; }
  td:not(:first-child)::before { content: attr(data-label) " "; color: #666; font-size: 0.85em; }
}
@media print {
  @page { margin: 16mm; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  h2 { break-before: page; }
  h2, h3, h4 { break-after: avoid; }
  table { font-size: 9pt; }
  tr, figure, p { break-inside: avoid; }
  figure img { max-width: 130mm; max-height: 200mm; width: auto; border: 0; }
  a { color: inherit; text-decoration: none; }
}
"""


def to_html(title: str, blocks: Iterable[Block], figures: str) -> str:
    """Write blocks as an HTML page, with the figures in the folder ``figures`` next to it.

    Examples
    --------
    >>> from tinygrad_cifar.experiments.document import Text, to_html
    >>> "<p>a &lt; b</p>" in to_html("Order", [Text("a < b")], "figures")
    True
    """
    body = "\n".join(_html(block, figures) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, figures: str) -> str:
    match block:
        case Title():
            name = f' id="{html.escape(block.name)}"' if block.name else ""
            return f"<h{block.level}{name}>{html.escape(block.text)}</h{block.level}>"
        case Text():
            return f"{'<p class=marked>' if block.marked else '<p>'}{html.escape(block.text)}</p>"
        case Image():
            source, (width, height) = html.escape(f"{figures}/{block.file}"), block.size
            return (
                f'<figure><a href="{source}"><img src="{source}" width="{width}" height="{height}" '
                f'alt="{html.escape(block.description)}"></a></figure>'
            )
        case Table():
            return _html_table(block)


def _html_table(table: Table) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        left = ' class="l"' if i < table.left else ""
        label = f' data-label="{html.escape(table.header[i])}"' if tag == "td" and i else ""
        return f"<{tag}{left}{label}>{text}</{tag}>"

    head = "".join(cell("th", i, html.escape(text)) for i, text in enumerate(table.header))
    lines = []
    for k, row in enumerate(table.rows):
        texts = [html.escape(text) for text in row]
        if table.links and table.links[k]:
            texts[0] = f'<a href="#{html.escape(table.links[k])}">{texts[0]}</a>'
        lines.append(f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(texts))}</tr>")
    body = "\n".join(lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
