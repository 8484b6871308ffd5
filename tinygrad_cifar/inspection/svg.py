"""A diagram as SVG, which needs neither Graphviz nor a network.

Boxes and arrows carry their numbers (``data-box``, ``data-arrow``), for the page that highlights them. The picture has
its own background and follows the reader's colour scheme, so it can be read in light and dark
notebooks, and prints on white. Parameters, data and operations differ in shape, in the label of the legend and in
colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tinygrad_cifar.inspection.diagram import Box, Diagram
from tinygrad_cifar.inspection.layout import Layout, Placed, make_layout

# Drawn at 96 pixels per inch, a sheet of A4 with margins has 718 x 1047 pixels; text of 12 pixels is still readable
# when it is printed at seven tenths of its size.
PAGE_WIDTH, PAGE_HEIGHT = 718 / 0.7, 1047 / 0.7

_CHARACTER, _TITLE_CHARACTER, _LINE = 7.3, 8.0, 16.0
_PADDING = 10.0
_SLANT = 12.0  # of the sides of hexagons and parallelograms
_MARGIN = 16.0
_LEGEND_HEIGHT = 46.0

_STYLE = """
.tg{--bg:#fff;--fg:#1a1a1a;--soft:#565656;--line:#5b6470;--op:#fff;--par:#dbe9ff;--par-line:#1d5fbf;--data:#fff0d2;
--data-line:#9a6200;--fold:#ececec;--res:#e2f4e1;--res-line:#21732a;
font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12px}
@media (prefers-color-scheme:dark){.tg{--bg:#15181c;--fg:#f0f0f0;--soft:#b4bac2;--line:#9aa4b0;--op:#20252b;
--par:#17345f;--par-line:#7fb2ff;--data:#4a3405;--data-line:#f0bb55;--fold:#33373d;--res:#163c1b;--res-line:#79d083}}
@media print{.tg{--bg:#fff;--fg:#000;--soft:#444;--line:#444;--op:#fff;--par:#dbe9ff;--par-line:#1d5fbf;--data:#fff0d2;
--data-line:#9a6200;--fold:#ececec;--res:#e2f4e1;--res-line:#21732a}}
.tg .bg{fill:var(--bg)}.tg text{fill:var(--fg)}.tg .t{font-weight:700;font-size:13px}.tg .s{fill:var(--soft)}
.tg .operation{fill:var(--op);stroke:var(--line);stroke-width:1.2}
.tg .parameter{fill:var(--par);stroke:var(--par-line);stroke-width:1.8}
.tg .data{fill:var(--data);stroke:var(--data-line);stroke-width:1.5}
.tg .folded{fill:var(--fold);stroke:var(--line);stroke-width:1.2}
.tg .result{fill:var(--res);stroke:var(--res-line);stroke-width:1.8}
.tg .a{fill:none;stroke:var(--line);stroke-width:1.4}.tg .c{stroke-dasharray:4 4}.tg .h{fill:var(--line)}
.tg .r{display:none}
""".replace("\n", "")


def write_svg(diagram: Diagram) -> str:
    """Return the picture of a diagram as SVG."""
    layout = lay_out(diagram)
    result = len(diagram.boxes) - 1
    legend, legend_width = _legend(diagram)
    notes = _wrap(diagram.note, max(layout.width, legend_width)) if diagram.note else []
    width = max(layout.width, legend_width) + 2 * _MARGIN
    height = layout.height + _LEGEND_HEIGHT + len(notes) * _LINE + 2.5 * _MARGIN
    shift = (width - layout.width) / 2
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" style="max-width:100%;height:auto"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tg" {size} role="img" aria-label="{_describe(diagram)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="bg" width="{width:.0f}" height="{height:.0f}" rx="6"/>',
        f'<g transform="translate({shift:.1f},{_MARGIN + len(notes) * _LINE:.1f})">',
    ]
    for arrow, points in zip(diagram.arrows, layout.arrows, strict=True):
        parts.append(f'<g data-arrow="{arrow.source} {arrow.target}">')
        parts.append(f"{_arrow(points, has_gradient=arrow.has_gradient)}</g>")
    for i, (box, place) in enumerate(zip(diagram.boxes, layout.boxes, strict=True)):
        parts.append(f'<g data-box="{i}">{_draw_box(box, place, is_result=i == result)}</g>')
    parts.append("</g>")
    for i, line in enumerate(notes):
        parts.append(f'<text class="s" x="{_MARGIN}" y="{_MARGIN + i * _LINE + 4:.1f}">{escape(line)}</text>')
    parts.append(f'<g transform="translate({_MARGIN},{height - _MARGIN - _LEGEND_HEIGHT:.1f})">{legend}</g></svg>')
    return "".join(parts)


def lay_out(diagram: Diagram) -> Layout:
    """Return the layout of a diagram with boxes of the size of their text."""
    return make_layout(diagram, [_size(box) for box in diagram.boxes])


def fits_page(diagram: Diagram) -> bool:
    """Return whether the picture can be printed on a sheet of A4 and read."""
    if len(diagram.boxes) > _MOST_BOXES:
        return False
    layout = lay_out(diagram)
    return layout.width <= PAGE_WIDTH and layout.height + _LEGEND_HEIGHT + 3 * _MARGIN <= PAGE_HEIGHT


_MOST_BOXES = 150  # no more boxes than this fit a page


def _size(box: Box) -> tuple[float, float]:
    width = max(len(box.title) * _TITLE_CHARACTER, *[len(line) * _CHARACTER for line in (*box.lines, "")])
    slant = 2 * _SLANT if box.kind in ("parameter", "data") else 0
    return width + 2 * _PADDING + slant, _LINE * (1 + len(box.lines)) + 2 * _PADDING - 6


def _draw_box(box: Box, place: Placed, *, is_result: bool) -> str:
    x, y, width, height = place
    kind = "result" if is_result and box.kind == "operation" else box.kind
    top = y - height / 2 + _PADDING + 8
    details = escape("\n".join([box.title, *box.lines, *_tooltip(box)]))
    lines = "".join(
        f'<text class="s {_what(line)}" text-anchor="middle" x="{x:.1f}" y="{top + _LINE * (i + 1):.1f}">'
        f"{escape(line)}</text>"
        for i, line in enumerate(box.lines)
    )
    return (
        f"<title>{details}</title>{_outline(kind, x, y, width, height)}"
        f'<text class="t" text-anchor="middle" x="{x:.1f}" y="{top:.1f}">{escape(box.title)}</text>{lines}'
    )


def _what(line: str) -> str:
    return line.partition(" ")[0] if line.startswith(("value ", "gradient ")) else ""


def _tooltip(box: Box) -> list[str]:
    """Return what does not fit into a box: its line in the program and its module."""
    texts = []
    if len(box.nodes) == 1 and (location := box.nodes[0].location) is not None:
        texts.append(f"{location}: {location.source}")
    if box.module:
        texts.append(f"module {box.module}")
    return texts


def _outline(kind: str, x: float, y: float, width: float, height: float) -> str:
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    if kind == "parameter":  # a hexagon
        points = [(left + _SLANT, top), (right - _SLANT, top), (right, y), (right - _SLANT, bottom)]
        return _polygon(kind, [*points, (left + _SLANT, bottom), (left, y)])
    if kind == "data":  # a parallelogram
        return _polygon(kind, [(left + _SLANT, top), (right, top), (right - _SLANT, bottom), (left, bottom)])
    radius = 8 if kind != "folded" else 2
    back = ""
    if kind == "folded":  # a pile of sheets
        back = "".join(_rectangle(kind, left + d, top + d, width, height, radius) for d in (5, 2.5))
    inner = _rectangle(kind, left + 3, top + 3, width - 6, height - 6, 6) if kind == "result" else ""
    return back + _rectangle(kind, left, top, width, height, radius) + inner


def _polygon(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polygon class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _rectangle(kind: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.0f}"/>'


def _arrow(points: Sequence[tuple[float, float]], *, has_gradient: bool) -> str:
    """Return a smooth line through the points, vertical at each of them, with a head at its end.

    A head at its start, for the gradient that flows back, is there but not shown; a page can show it.
    """
    (x, y), *others = points
    back = f'<path class="r" d="M{x:.1f},{y:.1f}l-5,10h10z"/>' if has_gradient else ""
    path = [f"M{x:.1f},{y:.1f}"]
    last_x, last_y = others[-1]
    others[-1] = last_x, last_y - 7
    for i, (to_x, to_y) in enumerate(others):
        is_inside_a_row = i % 2 == 1
        if is_inside_a_row or abs(to_x - x) < 1:
            path.append(f"L{to_x:.1f},{to_y:.1f}")
        else:
            middle = (y + to_y) / 2
            path.append(f"C{x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}")
        x, y = to_x, to_y
    head = f"M{last_x:.1f},{last_y:.1f}l-4,-8h8z"
    return f'<path class="a{"" if has_gradient else " c"}" d="{"".join(path)}"/><path class="h" d="{head}"/>{back}'


def _legend(diagram: Diagram) -> tuple[str, float]:
    """Return the legend of what a diagram contains, and its width."""
    kinds = dict.fromkeys(box.kind for box in diagram.boxes)
    shown = [kind for kind in ("parameter", "data", "operation", "folded") if kind in kinds]
    is_result = diagram.boxes[-1].kind == "operation"
    parts, x = [], 0.0
    for kind in [*shown, "result"] if is_result else shown:
        parts.append(_outline(kind, x + 16, _LEGEND_Y, 30, 18))
        parts.append(f'<text x="{x + 40:.0f}" y="{_LEGEND_Y + 4:.0f}">{kind}</text>')
        x += 62 + len(kind) * _CHARACTER
    for text, style in (("gradient", "a"), ("no gradient", "a c")):
        if any(arrow.has_gradient == (style == "a") for arrow in diagram.arrows):
            parts.append(f'<path class="{style}" d="M{x:.0f},{_LEGEND_Y:.0f}h28"/>')
            parts.append(f'<path class="h" d="M{x + 34:.0f},{_LEGEND_Y:.0f}l-8,-4v8z"/>')
            parts.append(f'<text x="{x + 40:.0f}" y="{_LEGEND_Y + 4:.0f}">{text}</text>')
            x += 62 + len(text) * _CHARACTER
    return "".join(parts), x - 22


_LEGEND_Y = 30.0


def _describe(diagram: Diagram) -> str:
    kinds = [box.kind for box in diagram.boxes]
    counts = [f"{kinds.count(kind)} {name}" for kind, name in _NAMES.items() if kind in kinds]
    return escape(f"Graph of {diagram.boxes[-1].title}: {', '.join(counts)}. {diagram.note}".strip())


_NAMES = {"operation": "operations", "parameter": "parameters", "data": "data", "folded": "folded groups"}


def _wrap(text: str, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and (len(lines[-1]) + 1 + len(word)) * _CHARACTER > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
