"""Documents: the Markdown and the HTML contain every text, in the structure of the blocks."""

from __future__ import annotations

import html.parser
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.experiments.document import Image, Table, Text, Title, to_html, to_markdown

cells = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters=" "), max_size=6)


@st.composite
def tables(draw):
    columns = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(cells, min_size=columns, max_size=columns), max_size=3))
    links = draw(st.just(()) | st.lists(st.sampled_from(["", "a", "b"]), min_size=len(rows), max_size=len(rows)))
    header = draw(st.lists(cells, min_size=columns, max_size=columns))
    return Table(header, rows, draw(st.integers(0, columns)), links)


class TableReader(html.parser.HTMLParser):
    """Reads the cells of a table, with their attributes and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
            self.links.append("")
        elif tag in ("th", "td"):
            self.rows[-1].append([tag, dict(attributes), ""])
        elif tag == "a":
            self.links[-1] = dict(attributes)["href"]

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1][2] += data.strip("\n")


def read_table(table):
    page = to_html("", [table], "figures")
    return TableReader(page[page.index("<table>") : page.index("</table>")])


@given(tables())
def test_a_table_in_html_has_its_cells_alignment_and_labels(table):
    head, *rows = read_table(table).rows
    assert [text for _, _, text in head] == list(table.header)
    assert [[text for _, _, text in row] for row in rows] == [list(row) for row in table.rows]
    for row in (head, *rows):
        assert [attributes.get("class") == "l" for _, attributes, _ in row] == [i < table.left for i in range(len(row))]
    for row in rows:
        labels = [attributes.get("data-label") for _, attributes, _ in row]
        assert labels == [None, *table.header[1:]]
        assert {tag for tag, _, _ in row} == {"td"}
    assert all(tag == "th" and "data-label" not in attributes for tag, attributes, _ in head)


@given(tables())
def test_the_first_cell_of_a_row_links_to_its_heading(table):
    links = table.links or [""] * len(table.rows)
    assert read_table(table).links == ["", *(f"#{name}" if name else "" for name in links)]


@given(tables())
def test_a_table_in_markdown_has_its_cells_and_alignment(table):
    head, marks, *rows = to_markdown([table], "figures").rstrip("\n").split("\n")

    def read(line):
        return [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]

    if not any("\\" in text for row in (table.header, *table.rows) for text in row):
        assert [cell[1:-1] for cell in read(head)] == list(table.header)
        assert [[cell[1:-1] for cell in read(row)] for row in rows] == [list(row) for row in table.rows]
    assert read(marks) == [":--" if i < table.left else "--:" for i in range(len(table.header))]


def test_only_the_first_column_is_aligned_left_by_default():
    assert "|:--|--:|--:|" in to_markdown([Table(["a", "b", "c"], [])], "figures")


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_title_has_its_level_and_its_name(level):
    assert to_markdown([Title(level, "A < B", "name")], "figures") == f"{'#' * level} A < B\n"
    assert f'<h{level} id="name">A &lt; B<a' in to_html("", [Title(level, "A < B", "name")], "figures")
    assert f"<h{level}>A</h{level}>" in to_html("", [Title(level, "A")], "figures")


def test_a_marked_text_is_highlighted():
    for marked, markdown, code in (
        (False, "a & b\n", "<p>a &amp; b</p>"),
        (True, "> **a & b**\n", "<p class=marked>a &amp;"),
    ):
        assert to_markdown([Text("a & b", marked)], "figures") == markdown
        assert code in to_html("", [Text("a & b", marked)], "figures")
    assert to_markdown([Text("a & b")], "figures") == "a & b\n"


def test_an_image_has_its_file_description_and_size():
    image = Image("a.png", "the loss", (300, 200))
    assert to_markdown([image], "figures") == "![the loss](figures/a.png)\n"
    code = '<a href="figures/a.png"><img src="figures/a.png" width="300" height="200" alt="the loss"></a>'
    assert code in to_html("", [image], "figures")


def test_blocks_are_separated_and_in_order():
    blocks = [Title(1, "one"), Text("two"), Text("three")]
    assert to_markdown(blocks, "figures") == "# one\n\ntwo\n\nthree\n"
    page = to_html("The <title>", blocks, "figures")
    assert page.index("<h1>one</h1>") < page.index("<p>two</p>") < page.index("<p>three</p>")
    assert "<title>The &lt;title&gt;</title>" in page
