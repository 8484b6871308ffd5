"""Documents as lists of blocks, written as Markdown and as HTML for screens, phones and paper.

The HTML has no scripts and no fonts, and refers only to the files of the figures. It is light or dark as the browser
prefers. A wide screen shows the contents beside the text. On a narrow screen, each row of a table becomes a card, and
a figure is replaced by its narrow version, or scrolls in its own box if it has none. On paper, a heading and the text
below it stay on one page with the table or figure that follows.
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
    """A figure: its file in the folder of figures, its description, and its size in pixels.

    ``narrow`` has the file and the size of the version for phones, if there is one.
    """

    file: str
    description: str
    size: tuple[int, int]
    narrow: tuple[str, tuple[int, int]] | None = None


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
:root { color-scheme: light dark; --text: #1a1a1a; --weak: #666; --page: #fff; --link: #005a8f; --rule: #0072b2;
  --line: #e3e3e3; --strong-line: #999; --marked: #fdf3ec; --mark: #d55e00; }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --weak: #a3a3a3; --page: #17191c; --link: #7cc4f5; --rule: #3b9bd9;
    --line: #33373c; --strong-line: #74797f; --marked: #33241a; --mark: #f0894b; }
  figure img { filter: brightness(0.92); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; color: var(--text); background: var(--page);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 3rem 0 0.5rem; padding-top: 0.75rem;
  border-top: 3px solid var(--rule); }
h3 { font-size: 1.1rem; line-height: 1.3; margin: 2.25rem 0 0.4rem; }
h4 { font-size: 1rem; margin: 1.25rem 0 0.3rem; }
p { margin: 0.5rem 0; max-width: 46rem; }
p.marked { border-left: 4px solid var(--mark); background: var(--marked); padding: 0.5rem 0.75rem; }
a { color: var(--link); }
a.self { margin-left: 0.4rem; text-decoration: none; font-weight: 400; opacity: 0; }
:is(h2, h3, h4):hover a.self, a.self:focus { opacity: 1; }
nav { font-size: 0.9rem; line-height: 1.35; }
nav ul { margin: 0; padding: 0; list-style: none; }
nav li { margin: 0.35rem 0; }
nav li li { margin-left: 0.9rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
nav.beside { display: none; }
summary { font-weight: 600; cursor: pointer; }
details { margin: 0.75rem 0; padding: 0.4rem 0.75rem; border: 1px solid var(--line); border-radius: 6px; }
a.up { position: fixed; right: 0.75rem; bottom: 0.75rem; padding: 0.4rem 0.8rem; border-radius: 6px;
  border: 1px solid var(--strong-line); background: var(--page); text-decoration: none; font-size: 0.9rem; }
table { border-collapse: collapse; margin: 0.9rem 0; font-size: 0.93rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.28rem 0.9rem 0.28rem 0; text-align: right; vertical-align: baseline; }
th { font-weight: 600; border-bottom: 2px solid var(--strong-line); vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
td.l { white-space: normal; }
.l { text-align: left; }
figure { margin: 1rem 0; max-width: 44rem; }
figure img { display: block; width: 100%; height: auto; border: 1px solid var(--line); background: #fff; }
@media screen and (min-width: 1100px) {
  body { display: grid; grid-template-columns: 15rem minmax(0, 1fr); gap: 2.5rem; max-width: 80rem; }
  nav.beside { display: block; position: sticky; top: 1rem; align-self: start; max-height: calc(100vh - 2rem);
    overflow-y: auto; border-right: 1px solid var(--line); padding: 0.5rem 0.75rem 0.5rem 0; }
  details, a.up { display: none; }
}
@media screen and (max-width: 640px) {
  table, tbody { display: block; }
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: 0.45rem 0; border-bottom: 1px solid var(--line); }
  td { border: 0; padding: 0; text-align: left; }
  td:first-child { flex-basis: 100%; font-weight: 600; }
  td:empty { display: none; }
  td:not(:first-child)::before { content: attr(data-label) " "; color: var(--weak); font-size: 0.85em; }
  figure.scrolls { overflow-x: auto; }
  figure.scrolls img { width: 44rem; max-width: none; }
  nav li { margin: 0.6rem 0; }
}
@media print {
  @page { margin: 16mm; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  nav, details, a.up, a.self { display: none; }
  h2 { break-before: page; }
  h2, h3, h4 { break-after: avoid; }
  table { font-size: 9pt; }
  .together, tr, figure, p { break-inside: avoid; }
  figure img { max-width: 130mm; max-height: 190mm; width: auto; border: 0; }
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
    blocks = list(blocks)
    contents = _contents([block for block in blocks if isinstance(block, Title) and block.name])
    beside = f'<nav class="beside" aria-label="Contents">\n{contents}\n</nav>\n' if contents else ""
    above = f"<details>\n<summary>Contents</summary>\n<nav>\n{contents}\n</nav>\n</details>\n" if contents else ""
    up = '<a class="up" href="#top">\N{UPWARDS ARROW} Contents</a>\n' if contents else ""
    first, *groups = _groups(blocks) or [[]]
    # The contents are below the title of the page.
    beginning = "\n".join(_html(block, figures) for block in first[:1])
    groups = [group for group in (first[1:], *groups) if group]
    body = "\n".join(_html_group(group, figures) for group in groups)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n'
        f'<body id="top">\n{beside}<main>\n{beginning}\n{above}{body}\n</main>\n{up}</body>\n</html>\n'
    )


def _contents(titles: Sequence[Title]) -> str:
    """Return links to the headings as nested lists; empty if there is nothing to choose from."""
    if len(titles) < 2:  # noqa: PLR2004
        return ""
    lines, levels = [], [titles[0].level - 1]
    for heading in titles:
        while heading.level < levels[-1]:
            lines.append("</li></ul>")
            levels.pop()
        if heading.level > levels[-1]:
            lines.append("<ul>")
            levels.append(heading.level)
        else:
            lines.append("</li>")
        lines.append(f'<li><a href="#{html.escape(heading.name)}">{html.escape(heading.text)}</a>')
    lines += ["</li></ul>"] * (len(levels) - 1)
    return "\n".join(lines)


def _groups(blocks: Sequence[Block]) -> list[list[Block]]:
    """Divide blocks after each table and each figure: a group is headings and texts, and what they introduce."""
    groups: list[list[Block]] = [[]]
    for block in blocks:
        groups[-1].append(block)
        if isinstance(block, Table | Image):
            groups.append([])
    return [group for group in groups if group]


def _html_group(group: Sequence[Block], figures: str) -> str:
    lines = "\n".join(_html(block, figures) for block in group)
    return f'<div class="together">\n{lines}\n</div>'


def _html(block: Block, figures: str) -> str:
    match block:
        case Title():
            return _html_title(block)
        case Text():
            return f"{'<p class=marked>' if block.marked else '<p>'}{html.escape(block.text)}</p>"
        case Image():
            return _html_image(block, figures)
        case Table():
            return _html_table(block)


def _html_title(title: Title) -> str:
    text = html.escape(title.text)
    if not title.name:
        return f"<h{title.level}>{text}</h{title.level}>"
    name = html.escape(title.name)
    link = f'<a class="self" href="#{name}" aria-label="Link to this section">#</a>'
    return f'<h{title.level} id="{name}">{text}{link}</h{title.level}>'


def _html_image(image: Image, figures: str) -> str:
    source, (width, height) = html.escape(f"{figures}/{image.file}"), image.size
    img = f'<img src="{source}" width="{width}" height="{height}" alt="{html.escape(image.description)}">'
    if image.narrow is None:
        return f'<figure class="scrolls" tabindex="0"><a href="{source}">{img}</a></figure>'
    file, (width, height) = image.narrow
    narrow = (
        f'<source media="screen and (max-width: 640px)" srcset="{html.escape(f"{figures}/{file}")}" '
        f'width="{width}" height="{height}">'
    )
    return f'<figure><a href="{source}"><picture>{narrow}{img}</picture></a></figure>'


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
