"""The page that steps through a computation: its steps, and its behaviour in Chromium."""

from __future__ import annotations

import html
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given

import tinygrad_cifar as tg
from tests.inspection.test_pictures import programs, two_layer_cost
from tests.support.browser import BROWSER, browse
from tests.support.tensors import variable
from tinygrad_cifar.inspection.page import write_page


def page_of(result, tmp_path):
    tg.graph(result).to_html(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def steps_of(text):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)["steps"]


def rows(step):
    return dict(step["rows"])


def named(step, name):
    (array,) = [array for array in step["arrays"] if array["name"] == name]
    return array


# -- the steps ---------------------------------------------------------------------------------------------------------


@given(result=programs())
def test_every_operation_has_a_step_forward_and_one_backward(result):
    view = tg.graph(result)
    cotangents = view.cotangents(np.ones(result.shape))
    phases = [step["phase"] for step in steps_of(write_page(view.nodes, cotangents))]
    count = len(view.operations)
    assert phases == ["start", *["forward"] * count, *["backward"] * count, "end"]


@given(result=programs())
def test_the_memory_grows_to_that_of_the_graph_and_is_freed(result):
    view = tg.graph(result)
    steps = steps_of(write_page(view.nodes, view.cotangents(np.ones(result.shape))))
    saved = [step["level"][0] for step in steps]
    assert saved[len(view.operations)] == max(saved) == view.nbytes
    assert saved[0] == saved[-1] == 0


@given(result=programs())
def test_in_the_end_only_the_gradients_of_the_parameters_are_left(result):
    view = tg.graph(result)
    steps = steps_of(write_page(view.nodes, view.cotangents(np.ones(result.shape))))
    assert steps[-1]["level"][1] == sum(8 * int(np.prod(node.shape)) for node in view.parameters)


def test_a_step_forward_shows_formula_inputs_result_and_what_is_saved(tmp_path):
    x, y = variable([1.0, 2.0]), variable([3.0, 4.0])
    with tg.trace_graph(values=True):
        loss = (x * y).sum()
    step = steps_of(page_of(loss, tmp_path))[1]
    assert rows(step)["formula"] == "out = x * y"
    assert rows(step)["saved for backward"] == "y (2, 16 bytes); x (2, 16 bytes)"
    assert named(step, "x")["cells"] == [["1", "2"]]
    assert named(step, "out")["cells"] == [["3", "8"]]


def test_a_step_backward_shows_vjps_contributions_and_what_is_freed(tmp_path):
    x = variable([1.0, 2.0])
    with tg.trace_graph(values=True):
        loss = (tg.tanh(x) + 3 * x).sum()
    steps = {step["title"]: step for step in steps_of(page_of(loss, tmp_path))}
    step = steps["Backward: tanh"]
    assert rows(step)["gradient of x"] == "g * (1 / cosh(x)**2)"
    assert rows(step)["added to"] == "other contributions to the gradient of x (2)"
    assert rows(step)["freed"] == "x (16 bytes)"
    expected = [f"{v:.4g}" for v in 1 - np.tanh([1.0, 2.0]) ** 2]
    assert named(step, "to the gradient of x")["cells"] == [expected]


@given(result=programs())
def test_the_arrays_that_are_freed_are_those_that_the_memory_loses(result):
    view = tg.graph(result)
    steps = steps_of(write_page(view.nodes, view.cotangents(np.ones(result.shape))))
    for before, step in itertools.pairwise(steps):
        if step["phase"] == "backward":
            sizes = re.findall(r"\((\d+) bytes\)", rows(step)["freed"])
            assert before["level"][0] - step["level"][0] == sum(map(int, sizes)), step["title"]


def test_a_result_of_several_elements_needs_a_gradient(tmp_path):
    x = variable([1.0, 2.0])
    y = x * 2
    with pytest.raises(ValueError, match=r"make it with graph\(result, gradient=...\), an array of shape \(2,\)"):
        tg.graph(y).to_html(tmp_path / "page.html")
    tg.graph(y, gradient=[1.0, 3.0]).to_html(tmp_path / "page.html")
    assert named(steps_of((tmp_path / "page.html").read_text())[-1], "gradient of x")["cells"] == [["2", "6"]]


def test_large_arrays_are_shown_by_their_range(tmp_path):
    x = variable(np.arange(1000.0))
    loss = x.sum()
    assert named(steps_of(page_of(loss, tmp_path))[0], "x")["text"] == "0 to 999, mean 499.5"


def test_a_value_that_was_not_kept_says_how_to_keep_it(tmp_path):
    x = variable([1.0])
    loss = ((x + 1) + 1).sum()
    assert named(steps_of(page_of(loss, tmp_path))[1], "out")["text"] == (
        "not kept; compute it inside trace_graph(values=True)"
    )


def test_the_size_of_the_page_grows_with_the_graph_only():
    sizes = []
    for count in (50, 100):
        x = variable([1.0])
        result = x
        for _ in range(count):
            result = tg.sin(result)
        view = tg.graph(result)
        sizes.append(len(write_page(view.nodes, view.cotangents())))
    assert sizes[1] < 2.2 * sizes[0]


def test_the_page_needs_no_network(tmp_path):
    text = page_of(two_layer_cost(), tmp_path)
    assert set(re.findall(r"https?://[^\"' )]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link|<img|@import|url\(|src=", text)


def test_a_name_cannot_end_the_script(tmp_path):
    params = {"</script><b>": variable([1.0])}
    loss = params["</script><b>"].sum()
    text = page_of(loss, tmp_path)
    assert "</script><b>" not in text
    assert steps_of(text)[0]["arrays"][0]["name"] == "params['</script><b>']"


def test_a_freed_graph_is_refused(tmp_path):
    loss = two_layer_cost()
    loss.backward()
    with pytest.raises(RuntimeError, match="the graph has been freed by a backward pass"):
        tg.graph(loss).to_html(tmp_path / "page.html")


def test_a_graph_that_was_freed_after_its_view_was_made_is_refused(tmp_path):
    x = variable([1.0, 2.0])
    y = x * x
    view = tg.graph(y, gradient=[1.0, 1.0])
    y.backward(gradient=[1.0, 1.0])
    with pytest.raises(RuntimeError, match="the graph has been freed by a backward pass"):
        view.to_html(tmp_path / "page.html")


# -- in the browser ----------------------------------------------------------------------------------------------------

REPORT = """<script>
window.addEventListener("load", () => {
  const report = (() => { ACTIONS })();
  document.body.innerHTML = "<pre id=report></pre>";
  document.getElementById("report").textContent = JSON.stringify(report);
});
</script></body>"""

PRESS = """
const seen = [];
const note = () => seen.push(document.querySelector("#step p").textContent);
const press = (key) => { document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})); note(); };
"""


def report(tmp_path, page, actions):
    """Open a page, run a function body in it, and return its result."""
    page.write_text(page.read_text().replace("</body>", REPORT.replace("ACTIONS", PRESS + actions)))
    shown = browse(tmp_path / "profile", page, "--dump-dom", "--allow-file-access-from-files", width=1280)
    (found,) = re.findall(r'<pre id="report">(.*?)</pre>', shown, re.DOTALL)
    return json.loads(html.unescape(found))


needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


def product_of_two():
    x, y = variable([1.0, 2.0]), variable([3.0, 4.0])
    with tg.trace_graph(values=True):
        return (x * y).sum()


@needs_browser
def test_keys_and_buttons_move_through_the_steps(tmp_path):
    actions = """
    note();
    for (const key of ["ArrowRight", " ", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"]) press(key);
    for (const id of ["next", "last", "back", "first"]) { document.getElementById(id).click(); note(); }
    const slider = document.getElementById("slider");
    slider.value = 3; slider.dispatchEvent(new Event("input")); note();
    return seen;
    """
    page_of(product_of_two(), tmp_path)
    seen = report(tmp_path, tmp_path / "page.html", actions)
    places = [re.match(r"Step (\d) of 5", line)[1] for line in seen]
    assert "".join(places) == "0" + "1215500" + "1540" + "3"


@needs_browser
def test_values_and_gradients_appear_when_they_are_computed(tmp_path):
    actions = """
    const visible = (name) => [...document.querySelectorAll("#picture ." + name)].filter(
      e => getComputedStyle(e).visibility === "visible").length;
    const counts = [];
    for (let i = 0; i < 6; i++) { counts.push([visible("value"), visible("gradient")]); press("ArrowRight"); }
    return counts;
    """
    loss, page = product_of_two(), tmp_path / "page.html"
    tg.graph(loss, cotangents=True).to_html(page)
    assert report(tmp_path, page, actions) == [[2, 0], [3, 0], [4, 0], [4, 2], [4, 4], [4, 4]]


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(tmp_path, width):
    """In a frame, since the windows of Chromium are at least 500 pixels wide."""
    page_of(two_layer_cost(), tmp_path)
    measure = """
    const page = document.querySelector("iframe").contentDocument;
    const wide = [];
    const buttons = [...page.querySelectorAll("button")].map(b => b.getBoundingClientRect());
    for (let i = 0; i < 28; i++) {
      page.body.dispatchEvent(new page.defaultView.KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
      wide.push(page.documentElement.scrollWidth - page.documentElement.clientWidth);
    }
    return {
      wide: Math.max(...wide),
      right: Math.max(...buttons.map(b => b.right)),
      small: Math.min(...buttons.map(b => b.height)),
    };
    """
    frame = tmp_path / "frame.html"
    frame.write_text(f'<body><iframe src="page.html" width="{width}" height="800" style="border:0"></iframe></body>')
    measured = report(tmp_path, frame, measure)
    assert measured["wide"] <= 0
    assert measured["right"] <= width
    assert measured["small"] >= 44  # pixels: large enough for a finger


def test_a_graph_that_is_too_large_for_the_page_is_refused(tmp_path):
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(2000):
        y = y * 1.001
    with pytest.raises(ValueError, match="to_html: the page shows at most 2,000 nodes, and the graph has 4,001;"):
        tg.graph(y).to_html(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
