"""Pictures of a graph: folding, layout, SVG, Mermaid and DOT."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cifar as tg
from tests.support.browser import BROWSER, browse
from tests.support.tensors import variable
from tinygrad_cifar import Tensor, models, nn
from tinygrad_cifar import functional as F
from tinygrad_cifar.inspection import svg
from tinygrad_cifar.inspection.diagram import make_diagram

SVG = "{http://www.w3.org/2000/svg}"


def two_layer_cost():
    rng = np.random.default_rng(0)
    X, y, lam = rng.normal(size=(5, 4)), np.array([0, 1, 2, 0, 1]), 0.01
    W1, b1, W2, b2 = (variable(rng.normal(size=shape)) for shape in [(4, 6), (6,), (6, 3), (3,)])
    with tg.trace_graph(values=True):
        H = tg.relu(X @ W1 + b1)
        S = H @ W2 + b2
        return F.cross_entropy(S, y) + lam * ((W1**2).sum() + (W2**2).sum())


def deep_cost(layers=8):
    model = models.Perceptron([6, *[5] * layers, 3], rng=0)
    with tg.trace_graph():
        return model.cost(np.ones((4, 6)), [0, 1, 2, 0], 0.1)


@st.composite
def programs(draw):
    """Draw results of random programs of sums, products and functions of two parameters and a constant."""
    values = [variable([1.0, 2.0]), variable([3.0, 4.0]), Tensor([5.0, 6.0])]
    with tg.trace_graph():
        for _ in range(draw(st.integers(1, 12))):
            x, y = (values[draw(st.integers(max(0, len(values) - 5), len(values) - 1))] for _ in range(2))
            values.append(draw(st.sampled_from([tg.add, tg.multiply, lambda x, _: tg.sin(x)]))(x, y))
    recorded = [value for value in values if value._node is not None]
    return recorded[-1] if recorded[-1]._node.primitive else recorded[0] * 1.0


def diagram_of(result, fold=None):
    return tg.graph(result)._diagram(fold)


# -- folding -----------------------------------------------------------------------------------------------------------


@given(result=programs(), size=st.integers(1, 6))
def test_folding_any_operations_leaves_no_cycle_and_loses_no_node(result, size):
    nodes = tg.graph(result).nodes
    names = [f"g{i % size}" for i in range(len(nodes))]
    for node, name in zip(nodes, names, strict=True):
        object.__setattr__(node, "modules", (name,))
    diagram = make_diagram(nodes, set(names), svg.fits_page)
    assert all(arrow.source < arrow.target for arrow in diagram.arrows)
    shown = [node for box in diagram.boxes for node in box.nodes]
    assert sorted(node.index for node in shown) == [node.index for node in nodes if node.kind != "data" or node.shape]


def test_a_two_layer_network_fits_a_page_without_folding():
    cost = two_layer_cost()
    diagram = tg.graph(cost, cotangents=True)._diagram(None)
    assert diagram.note == ""
    assert svg.fits_page(diagram)


@pytest.mark.parametrize("layers", [8, 30])
def test_a_large_graph_is_folded_until_it_fits_and_says_so(layers):
    diagram = diagram_of(deep_cost(layers))
    assert svg.fits_page(diagram)
    assert diagram.note.startswith("Folded to fit a page:")


def test_a_long_program_without_modules_is_folded():
    w = variable(np.ones(3))
    z, rng = w, np.random.default_rng(0)
    for kind in rng.integers(3, size=300):
        z = [tg.sin, tg.tanh, lambda z: z * w][kind](z)
    assert svg.fits_page(diagram_of(z))


def test_modules_can_be_chosen():
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU(), nn.Linear(3, 2, rng=1))
    with tg.trace_graph():
        loss = model(np.ones((1, 4))).sum()
    folded = [box for box in diagram_of(loss, ["model.layers.0"]).boxes if box.kind == "folded"]
    assert [box.title for box in folded] == ["layers.0"]
    assert {node.name for node in folded[0].nodes} == {"", "model.layers.0.W", "model.layers.0.b"}
    assert not any(box.kind == "folded" for box in diagram_of(loss, []).boxes)


def test_a_parameter_that_is_used_again_before_its_module_ends_makes_no_cycle():
    layer, x = nn.Linear(2, 2, rng=0), variable(np.ones((2, 2)))
    with tg.trace_graph():
        first = layer(x)
        second = tg.sin(layer.W)
        loss = (first * second).sum()
    nodes = tg.graph(loss).nodes
    object.__setattr__(nodes[-2], "modules", ("layer",))  # the product, as if the module had computed it
    diagram = make_diagram(nodes, "layer", svg.fits_page)
    assert all(arrow.source < arrow.target for arrow in diagram.arrows)


def test_a_module_that_is_called_twice_has_two_boxes():
    layer, x = nn.Linear(3, 3, rng=0), variable(np.ones((1, 3)))
    with tg.trace_graph():
        loss = tg.sin(layer(tg.exp(layer(x)))).sum()
    folded = [box for box in diagram_of(loss, "layer").boxes if box.kind == "folded"]
    assert len(folded) == 2


def test_an_unknown_module_is_refused():
    w = variable([1.0])
    with pytest.raises(ValueError, match=r"fold: there is no module W; the modules are: none \(trace_graph records"):
        tg.graph(w * w).to_svg(fold="W")


# -- boxes -------------------------------------------------------------------------------------------------------------


def test_boxes_show_shape_values_and_gradients():
    W = variable([[1.0, 2.0]])
    loss = (2 * W).sum()
    boxes = {box.title: box.lines for box in tg.graph(loss, cotangents=True)._diagram(None).boxes}
    assert boxes == {
        "W": ("1 x 2", "value [1, 2]", "gradient [2, 2]"),
        "multiply": ("1 x 2", "x = 2", "gradient [1, 1]"),
        "loss = sum": ("scalar", "value 6", "gradient 1"),
    }


def test_operations_show_their_module():
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU())
    with tg.trace_graph():
        loss = model(np.ones((1, 4))).sum()
    boxes = tg.graph(loss)._diagram([]).boxes
    lines = {box.title: box.lines[0] for box in boxes if box.kind == "operation"}
    assert lines == {
        "matmul": "1 x 3 in layers.0",
        "add": "1 x 3 in layers.0",
        "relu": "1 x 3 in layers.1",
        "loss = sum": "scalar",
    }


def test_large_arrays_are_shown_by_their_range():
    W = variable(np.arange(10.0))
    loss = W.sum()
    (box, _) = tg.graph(loss)._diagram(None).boxes
    assert box.lines == ("10", "value 0 to 9")


def test_other_types_than_float64_are_shown():
    W = variable(np.ones(2), dtype=np.float32)
    loss = W.sum()
    assert diagram_of(loss).boxes[0].lines[0] == "2 float32"


# -- layout ------------------------------------------------------------------------------------------------------------


@given(result=programs())
def test_boxes_do_not_overlap_and_arrows_lead_downwards(result):
    layout = svg.lay_out(diagram_of(result, []))
    for a, b in combinations(layout.boxes, 2):
        assert abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
    for points in layout.arrows:
        assert [y for _, y in points] == sorted(y for _, y in points)
    for box in layout.boxes:
        assert -1e-6 <= box.x - box.width / 2 <= box.x + box.width / 2 <= layout.width + 1e-6


@given(result=programs())
def test_arrows_pass_beside_boxes(result):
    layout = svg.lay_out(diagram_of(result, []))
    for points in layout.arrows:
        for (x, top), (_, bottom) in zip(points[1:-1:2], points[2:-1:2], strict=True):
            hit = [b for b in layout.boxes if abs(b.x - x) < b.width / 2 and top <= b.y <= bottom]
            assert hit == []


# -- SVG ---------------------------------------------------------------------------------------------------------------


def test_the_picture_is_one_element_that_refers_to_nothing_outside():
    text = tg.graph(two_layer_cost())._repr_svg_()
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|@import|url\(", text)


def test_parameters_data_and_operations_have_different_shapes():
    root = ET.fromstring(tg.graph(two_layer_cost()).to_svg())
    corners = {
        kind: {len(e.get("points").split()) for e in root.iter(f"{SVG}polygon") if e.get("class") == kind}
        for kind in ("parameter", "data")
    }
    assert corners == {"parameter": {6}, "data": {4}}
    assert {e.get("class") for e in root.iter(f"{SVG}rect")} == {"bg", "operation", "result"}


def test_the_legend_names_the_kinds_that_are_drawn():
    texts = [e.text for e in ET.fromstring(tg.graph(two_layer_cost()).to_svg()).iter(f"{SVG}text")]
    assert texts[-6:] == ["parameter", "data", "operation", "result", "gradient", "no gradient"]
    assert "folded" in [e.text for e in ET.fromstring(tg.graph(deep_cost()).to_svg()).iter(f"{SVG}text")]


def test_text_stays_inside_its_box():
    diagram = diagram_of(two_layer_cost())
    for box, place in zip(diagram.boxes, svg.lay_out(diagram).boxes, strict=True):
        assert place.width > max(8 * len(box.title), *[7.2 * len(line) for line in box.lines])


def luminance(colour):
    """Return the relative luminance of a colour as WCAG defines it."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", range(3), ids=["light", "dark", "print"])
def test_text_can_be_read_on_every_colour(scheme):
    style = ET.fromstring(tg.graph(two_layer_cost()).to_svg()).find(f"{SVG}style").text
    colours = dict(re.findall(r"--([\w-]+):(#\w+)", re.findall(r"\.tg\{(.*?)\}", style)[scheme]))
    for text in ("fg", "soft"):
        for ground in ("bg", "op", "par", "data", "fold", "res"):
            low, high = sorted(luminance(colours[name]) for name in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)  # as WCAG requires


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_picture_of_a_two_layer_network_is_printed_on_one_page(tmp_path):
    page, printed = tmp_path / "picture.html", tmp_path / "picture.pdf"
    cost = two_layer_cost()
    page.write_text(f"<!DOCTYPE html><title>Picture</title>{tg.graph(cost, cotangents=True).to_svg()}")
    browse(tmp_path / "profile", page, f"--print-to-pdf={printed}")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed.read_bytes())) == 1


# -- text formats ------------------------------------------------------------------------------------------------------


@given(result=programs())
def test_the_writers_show_the_same_boxes_and_arrows(result):
    view = tg.graph(result)
    diagram = view._diagram(None)
    arrows = sorted((a.source, a.target) for a in diagram.arrows)
    mermaid, dot = view.to_mermaid(), view.to_dot()
    assert sorted((int(a), int(b)) for a, b in re.findall(r"n(\d+) -\.?->? n(\d+)", mermaid)) == arrows
    assert sorted((int(a), int(b)) for a, b in re.findall(r"n(\d+) -> n(\d+)", dot)) == arrows
    assert len(re.findall(r":::", mermaid)) == len(re.findall(r"label=", dot)) == len(diagram.boxes)
    assert len(list(ET.fromstring(view.to_svg()).iter(f"{SVG}title"))) == len(diagram.boxes)


def test_names_are_escaped():
    params = {'<a&"b\\': variable([1.0])}
    loss = params['<a&"b\\'].sum()
    view = tg.graph(loss)
    assert any(e.text == view[0].name for e in ET.fromstring(view.to_svg()).iter(f"{SVG}text"))
    assert "n0{{\"params['#lt;a#amp;#quot;b\\\\']<br/>1<br/>value 1\"}}:::parameter" in view.to_mermaid()
    assert 'n0 [label="params[\'<a&\\"b\\\\\\\\\']\\n1\\nvalue 1", shape=hexagon' in view.to_dot()
