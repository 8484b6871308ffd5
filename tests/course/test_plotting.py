"""Figures: complete, legible, and drawn without changing the state of matplotlib."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.container import ErrorbarContainer  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from PIL import Image  # noqa: E402

from tinygrad_cifar.course import plotting as figures  # noqa: E402
from tinygrad_cifar.course.layer_statistics import LayerStatistics  # noqa: E402
from tinygrad_cifar.course.plotting import Heading, Line, Panel  # noqa: E402
from tinygrad_cifar.course.training import History, Measurement  # noqa: E402

HEADING = Heading("A title", "CIFAR-10: " + ", ".join(["a rather long list of settings"] * 6))
CLASSES = ["airplane", "automobile", "horizontal stripes", "vertical stripes", "diagonal stripes", *"abcde"]


def history(epochs: int = 12, *, lam: float = 0.1, validation: bool = True) -> History:
    rows = []
    for epoch in range(epochs + 1):
        loss, missing = 2.3 * 0.9**epoch, np.nan
        held_out = (loss + 0.1, loss + 0.1 + lam, 0.5 - 0.4 * 0.9**epoch) if validation else (missing,) * 3
        rows.append(Measurement(100 * epoch, float(epoch), 0.1, loss, loss + lam, 0.6 - 0.5 * 0.9**epoch, *held_out))
    return History(rows)


POINTS = Line("reproduced", np.arange(1.0, 4.0), np.arange(3.0), spread=np.array([0.1, np.nan, 0.2]), joined=False)
PANELS = [Panel("x", "y", [POINTS, Line("reported", np.arange(1.0, 4.0), np.arange(3.0), 1, joined=False)], "t")] * 3


def weights(units: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3072, units))


DRAWN = {
    "loss": lambda: figures.plot_loss(HEADING, {"": history()}),
    "loss without lambda": lambda: figures.plot_loss(HEADING, {"": history(lam=0.0)}),
    "loss of one epoch": lambda: figures.plot_loss(HEADING, {"": history(1)}),
    "several": lambda: figures.plot_accuracy(HEADING, {f"lambda {i}": history(40) for i in range(4)}),
    "accuracy": lambda: figures.plot_accuracy(HEADING, {"": history(validation=False)}),
    "learning rate": lambda: figures.plot_learning_rate(HEADING, np.linspace(1e-5, 0.1, 5400)),
    "tiny rate": lambda: figures.plot_learning_rate(HEADING, np.full(10, 1e-12)),
    "templates": lambda: figures.plot_templates(HEADING, weights(10), CLASSES),
    "hidden units": lambda: figures.plot_templates(HEADING, weights(50), columns=10),
    "one unit": lambda: figures.plot_templates(HEADING, weights(1)),
    "loss on a phone": lambda: figures.plot_curves(HEADING, PANELS, columns=2, width=figures.NARROW),
    "histograms on a phone": lambda: figures.plot_histograms(
        HEADING, {"a": weights(1), "b": weights(1)}, "x", width=3.6
    ),
    "learning rate on a phone": lambda: figures.plot_learning_rate(HEADING, np.linspace(1e-5, 0.1, 540), width=3.6),
    "templates on a phone": lambda: figures.plot_templates(HEADING, weights(10), CLASSES, width=figures.NARROW),
    "confusion": lambda: figures.plot_confusion_matrix(HEADING, np.arange(100).reshape(10, 10) * 100, CLASSES),
}


@pytest.fixture(params=DRAWN, name="figure")
def _figure(request: pytest.FixtureRequest) -> Figure:
    drawn: Figure = DRAWN[request.param]()
    return drawn


def test_no_element_is_cut_off(figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    inner = np.array(canvas.buffer_rgba())
    inner[3:-3, 3:-3] = 255
    assert (inner == 255).all()  # the outermost three pixels are white all around


def test_axes_do_not_overlap_the_heading(figure: Figure) -> None:
    figure.draw_without_rendering()
    bottom = min(text.get_window_extent().y0 for text in figure.texts)
    for axes in figure.axes:
        assert axes.get_tightbbox().y1 <= bottom


def test_the_heading_has_title_and_details(figure: Figure) -> None:
    title, details = (text.get_text() for text in figure.texts)
    assert title == HEADING.title
    assert details.replace("\n", " ") == HEADING.details


def test_axes_are_named(figure: Figure) -> None:
    for axes in figure.axes:
        if axes.axison:
            assert axes.get_ylabel()
            assert axes.get_xlabel() or axes.get_label() == "<colorbar>"


def test_fonts_are_large_enough(figure: Figure) -> None:
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


def test_lines_differ_without_their_colours(figure: Figure) -> None:
    for axes in figure.axes:
        curves = [line for line in axes.lines if line.get_marker() != "_"]  # the others are ends of error bars
        looks = [(line.get_linestyle(), line.get_marker()) for line in curves]
        assert len(set(looks)) == len(looks)


def test_the_cost_has_a_panel_unless_it_is_the_loss() -> None:
    assert len(DRAWN["loss"]().axes) == 2
    assert len(DRAWN["loss without lambda"]().axes) == 1


def test_curves_go_through_the_measurements() -> None:
    run = history()
    training, validation = figures.plot_accuracy(HEADING, {"": run}).axes[0].lines
    np.testing.assert_array_equal(training.get_ydata(), 100 * run.column("train_accuracy"))
    np.testing.assert_array_equal(validation.get_ydata(), 100 * run.column("validation_accuracy"))
    np.testing.assert_array_equal(training.get_xdata(), run.column("epoch"))


def test_missing_measurements_are_not_drawn() -> None:
    assert len(DRAWN["accuracy"]().axes[0].lines) == 1


def test_panels_share_one_scale() -> None:
    panels = [Panel("x", "y", [Line("", np.arange(3.0), scale * np.arange(3.0))]) for scale in (1, 10)]
    left, right = figures.plot_curves(HEADING, panels).axes
    assert left.get_ylim() == right.get_ylim()


def test_a_template_has_the_layout_of_an_image() -> None:
    image = np.zeros((3, 32, 32))
    image[0, 4, 20] = 7.0  # red, in row 4 and column 20
    (drawn,) = figures.plot_templates(HEADING, image.reshape(3072, 1)).axes[0].images
    red = np.asarray(drawn.get_array())[-35:-3, :32]  # the last rows are the margin
    assert tuple(np.argwhere((red == [1, 0, 0]).all(axis=2))[0]) == (4, 20)
    assert (red.sum(axis=2) == 0).sum() == 32 * 32 - 1


def test_each_template_has_its_own_scale() -> None:
    (drawn,) = figures.plot_templates(HEADING, weights(2) * [1.0, 1000.0]).axes[0].images
    sheet = np.asarray(drawn.get_array())
    for left in (0, 35):
        tile = sheet[3:35, left : left + 32]
        assert (tile.min(), tile.max()) == (0, 1)


def test_a_unit_without_weights_is_drawn() -> None:
    figures.plot_templates(HEADING, np.zeros((3072, 1)))


@given(st.lists(st.integers(0, 400), min_size=1, max_size=10))
def test_percentages_round_halves_up(counts: list[int]) -> None:
    axes = figures.plot_confusion_matrix(HEADING, np.array([counts] * len(counts)), list(map(str, counts))).axes[0]
    shown = [int(text.get_text().split()[0]) for text in axes.texts[: len(counts)]]
    total = max(1, sum(counts))
    assert shown == [int((Decimal(100 * n) / total).quantize(Decimal(1), ROUND_HALF_UP)) for n in counts]


def luminance(colour: str | tuple[float, ...]) -> float:
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_texts_of_a_heat_map_have_enough_contrast() -> None:
    values = np.linspace(0, 1, 100).reshape(10, 10)
    names = [str(i) for i in range(10)]
    axes = figures.plot_heat_map(
        HEADING, values, [names] * 10, rows=("r", names), columns=("c", names), scale="s"
    ).axes[0]
    for text, value in zip(axes.texts, values.flat, strict=True):
        low, high = sorted((luminance(text.get_color()), luminance(axes.images[0].to_rgba(value))))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_heat_map_with_a_missing_value_is_drawn() -> None:
    names = ["a", "b"]
    values = np.array([[np.nan, 1.0], [2.0, 3.0]])
    axes = figures.plot_heat_map(HEADING, values, [names] * 2, rows=("r", names), columns=("c", names), scale="s").axes[
        0
    ]
    assert axes.texts[0].get_color() == "black"


def test_only_series_with_error_bars_have_them_in_the_legend() -> None:
    figure = figures.plot_curves(HEADING, PANELS[:1])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    bars = {label: isinstance(handle, ErrorbarContainer) for handle, label in zip(handles, labels, strict=True)}
    assert bars == {"reproduced": True, "reported": False}


def test_points_that_are_not_joined_have_no_line() -> None:
    for line in figures.plot_curves(HEADING, PANELS[:1]).axes[0].lines:
        assert line.get_linestyle() == "None"


def test_a_narrow_figure_has_one_panel_per_row() -> None:
    axes = figures.plot_curves(HEADING, PANELS, columns=2, width=figures.NARROW).axes
    assert len({round(a.get_subplotspec().colspan.start) for a in axes}) == 1


def test_the_confusion_matrix_has_percentages_and_counts() -> None:
    axes = figures.plot_confusion_matrix(HEADING, np.array([[1, 3], [0, 0]]), ["cat", "dog"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["25 %\n1", "75 %\n3", "0 %\n0", "0 %\n0"]
    assert axes.get_ylabel() == "true class"


def test_a_saved_figure_is_a_png_of_the_right_size(tmp_path: Path) -> None:
    figure = DRAWN["loss"]()
    figures.save_figure(figure, tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == tuple(int(inches * 150) for inches in figure.get_size_inches())
    assert zlib.crc32(content[-8:-4]) == int.from_bytes(content[-4:], "big")  # whole to its end


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        figures.save_figure(DRAWN["confusion"](), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_full_disk_leaves_the_old_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        figures.save_figure(DRAWN["tiny rate"](), tmp_path / "a.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_the_matplotlibrc_of_the_user_is_neither_used_nor_changed(tmp_path: Path) -> None:
    figures.save_figure(DRAWN["accuracy"](), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False, "savefig.dpi": 20}):
        before = dict(matplotlib.rcParams)
        figures.save_figure(DRAWN["accuracy"](), tmp_path / "b.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_window_system_is_used() -> None:
    code = (
        "import io, sys; from tinygrad_cifar.course.plotting import *;"
        "plot_templates(Heading('', ''), np.zeros((3072, 1))).savefig(io.BytesIO());"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("ends", [(5e-5, 1e-3), (1e-4, 5e-2), (0.001, 0.1), (0.003, 0.02), (1e-5, 8e-3), (2e-5, 5e-5)])
@pytest.mark.parametrize("count", [1, 2])
def test_labels_of_a_logarithmic_axis_do_not_overlap(ends, count):
    line = figures.Line("", np.array(ends), np.array([0.0, 1.0]))
    panels = [figures.Panel("x", "y", [line], log_x=True)] * count
    figure = figures.plot_curves(figures.Heading("Labels", "none"), panels)
    figure.canvas.draw()
    for axes in figure.axes:
        least, most = axes.get_xlim()
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        boxes = [label.get_window_extent() for place, label in ticks if least <= place <= most]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


# -- panels ------------------------------------------------------------------------------------------------------------


def line(count: int = 5, **options) -> Line:
    x = np.arange(float(count))
    return Line(options.pop("label", "a line"), x, x**2, **options)


def drawn_panel(*lines: Line, **options) -> Axes:
    return figures.plot_curves(HEADING, [Panel("x", "y", lines, **options)]).axes[0]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("columns", [None, 1, 2, 3])
def test_panels_fill_the_rows_of_a_grid(count, columns):
    panels = [Panel("x", f"panel {i}", [line()]) for i in range(count)]
    figure = figures.plot_curves(HEADING, panels, columns=columns)
    wide = columns or count
    assert [axes.get_ylabel() for axes in figure.axes if axes.axison] == [panel.y_label for panel in panels]
    assert len(figure.axes) == wide * -(-count // wide)
    places = [axes.get_subplotspec().get_geometry() for axes in figure.axes[:count]]
    assert places == [(-(-count // wide), wide, i, i) for i in range(count)]


def test_a_figure_is_as_wide_as_a_page_and_higher_with_more_rows():
    panels = [Panel("x", "y", [line()])] * 6
    sizes = [figures.plot_curves(HEADING, panels, columns=columns).get_size_inches() for columns in (6, 3, 2, 1)]
    assert {width for width, _ in sizes} == {7.0}
    heights = [height for _, height in sizes]
    assert np.diff(heights)[1:] == pytest.approx([2.9, 3 * 2.9])  # two, three and six rows
    assert heights[1] - heights[0] == pytest.approx(2 * 2.9 - 3.9)


def test_panels_may_have_their_own_scales():
    panels = [Panel("x", "y", [Line("", np.arange(3.0), scale * np.arange(3.0))]) for scale in (1, 10)]
    left, right = figures.plot_curves(HEADING, panels, shared=False).axes
    assert right.get_ylim() == pytest.approx([10 * y for y in left.get_ylim()])


def test_every_panel_labels_its_ticks():
    for axes in figures.plot_curves(HEADING, [Panel("x", "y", [line()])] * 2).axes:
        axes.figure.draw_without_rendering()
        assert any(label.get_visible() and label.get_text() for label in axes.get_yticklabels())


def test_a_panel_has_its_title_and_names():
    axes = figures.plot_curves(HEADING, [Panel("epochs", "accuracy", [line()], title="seed 3")]).axes[0]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("seed 3", "epochs", "accuracy")


def test_one_line_has_no_legend_and_no_markers():
    axes = drawn_panel(line())
    assert axes.get_legend() is None
    assert axes.lines[0].get_marker() in ("None", None, "")


def test_several_lines_have_a_legend_and_markers():
    axes = drawn_panel(*(line(label=f"line {i}", colour=i) for i in range(7)))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"line {i}" for i in range(7)]
    assert len({one.get_marker() for one in axes.lines}) == 7
    assert len({one.get_color() for one in axes.lines}) == 7


def test_colours_start_again_after_the_last():
    first, again = drawn_panel(line(colour=0), line(colour=7, dashed=True)).lines
    assert (first.get_color(), first.get_marker()) == (again.get_color(), again.get_marker())
    assert (first.get_linestyle(), again.get_linestyle()) == ("-", "--")


def test_the_default_line_is_solid_and_has_the_first_colour():
    first, default = drawn_panel(line(colour=0, dashed=False), line()).lines
    assert (first.get_color(), first.get_linestyle()) == (default.get_color(), default.get_linestyle())


@pytest.mark.parametrize("count", [2, 9, 10, 19, 20, 100, 105])
def test_a_line_has_about_ten_markers(count):
    every = drawn_panel(line(count), line(count)).lines[0].get_markevery()
    assert every == max(1, count // 10)


def test_points_with_error_bars_are_not_joined():
    axes = drawn_panel(line(4, spread=np.array([1.0, 2.0, 3.0, 4.0]), joined=False))
    points = axes.lines[0]
    assert points.get_linestyle() == "None"
    assert points.get_marker() == "o"
    (bars,) = (bar for container in axes.containers for bar in container.lines[2])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [[-1, 1], [-1, 3], [1, 7], [5, 13]])
    assert len(axes.containers[0].lines[1]) == 2  # caps at both ends


def test_a_categorical_axis_names_its_values():
    axes = drawn_panel(line(3), x_names=["one", "two", "three"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two", "three"]
    assert axes.get_xticks().tolist() == [0, 1, 2]
    assert axes.get_xlim() == (-0.5, 2.5)


@pytest.mark.parametrize("last", [7, 10, 40, 100, 4000])
def test_a_linear_axis_has_few_round_ticks(last):
    axes = drawn_panel(Line("", np.array([0.0, last]), np.array([0.0, 1.0])))
    ticks = axes.get_xticks()
    assert 4 <= len(ticks) <= 10
    step = ticks[1] - ticks[0]
    assert f"{step:e}"[0] in "125"


def log_ticks(low, high, columns=1):
    one = Line("", np.array([low, high]), np.array([0.0, 1.0]))
    axes = figures.plot_curves(HEADING, [Panel("x", "y", [one], log_x=True)] * columns).axes[0]
    axes.figure.draw_without_rendering()
    least, most = axes.get_xlim()
    assert axes.get_xscale() == "log"
    return [
        label.get_text()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if least <= place <= most
    ]


@pytest.mark.parametrize(
    ("low", "high", "columns", "expected"),
    [
        (1e-3, 1e-1, 1, ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"]),
        (1e-3, 1e-1, 2, ["0.001", "0.003", "0.01", "0.03", "0.1"]),
        (1e-2, 1e-1, 2, ["0.01", "0.02", "0.05", "0.1"]),
        (1e-2, 1e-1, 3, ["0.01", "0.03", "0.1"]),
        (1e-4, 1e-2, 2, ["0.0001", "0.001", "0.01"]),
        (1, 100, 3, ["1", "3", "10", "30", "100"]),
        (1, 100, 2, ["1", "2", "5", "10", "20", "50", "100"]),
        (1e-4, 1, 2, ["0.0001", "0.001", "0.01", "0.1", "1"]),
        (1e-4, 1, 1, ["0.0001", "0.001", "0.01", "0.1", "1"]),
    ],
)
def test_a_logarithmic_axis_has_as_many_ticks_as_have_room(low, high, columns, expected):
    assert log_ticks(low, high, columns) == expected


# -- histories, histograms and learning rates --------------------------------------------------------------------------


def test_the_colours_of_one_run_tell_training_from_validation():
    training, validation = figures.plot_accuracy(HEADING, {"": history()}).axes[0].lines
    assert training.get_color() != validation.get_color()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert (training.get_label(), validation.get_label()) == ("training", "validation")


def test_the_colours_of_several_runs_tell_the_runs_apart():
    lines = figures.plot_accuracy(HEADING, {"a": history(), "b": history()}).axes[0].lines
    assert [one.get_label() for one in lines] == ["a training", "a validation", "b training", "b validation"]
    colours = [one.get_color() for one in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [one.get_linestyle() for one in lines] == ["-", "--", "-", "--"]


def test_loss_and_cost_are_drawn_as_measured():
    run = history()
    loss, cost = figures.plot_loss(HEADING, {"": run}).axes
    assert (loss.get_ylabel(), cost.get_ylabel()) == ("mean loss", "mean cost")
    for axes, name in ((loss, "loss"), (cost, "cost")):
        for drawn, part in zip(axes.lines, ("train", "validation"), strict=True):
            np.testing.assert_array_equal(drawn.get_ydata(), run.column(f"{part}_{name}"))


def test_one_run_with_a_cost_is_enough_for_its_panel():
    assert len(figures.plot_loss(HEADING, {"a": history(lam=0.0), "b": history()}).axes) == 2


def test_the_learning_rate_of_each_step_is_drawn():
    rates = np.linspace(0.1, 0.2, 7)
    (drawn,) = figures.plot_learning_rate(HEADING, rates).axes[0].lines
    np.testing.assert_array_equal(drawn.get_xdata(), range(7))
    np.testing.assert_array_equal(drawn.get_ydata(), rates)


@pytest.mark.parametrize("bins", [None, 7])
def test_histograms_count_every_element_over_the_same_edges(bins):
    values = {"one": weights(2), "two": 3 * weights(1), "three": weights(3).ravel()}
    options = {} if bins is None else {"bins": bins}
    axes = figures.plot_histograms(HEADING, values, "weights", **options).axes
    edges = []
    for one, (name, array) in zip(axes, values.items(), strict=True):
        assert (one.get_title(), one.get_xlabel(), one.get_ylabel()) == (name, "weights", "elements")
        assert sum(bar.get_height() for bar in one.patches) == array.size
        assert len(one.patches) == (bins or 100)
        edges.append([bar.get_x() for bar in one.patches])
        assert any(label.get_visible() for label in one.get_yticklabels())
        assert len(one.get_xticks()) <= 8
    assert edges[0] == edges[1] == edges[2]
    assert edges[0][0] == min(array.min() for array in values.values())
    assert len({one.patches[0].get_facecolor() for one in axes}) == 3
    assert len({(one.get_xlim(), one.get_ylim()) for one in axes}) == 1


# -- images and matrices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "columns"), [(10, None), (3, None), (7, 3), (6, 3), (1, 5)])
@pytest.mark.parametrize("named", [True, False])
def test_templates_are_drawn_in_rows(count, columns, named):
    names = [f"unit {i}" for i in range(count)] if named else None
    options = {} if columns is None else {"columns": columns}
    axes = figures.plot_templates(HEADING, weights(count), names, **options).axes[0]
    sheet = np.asarray(axes.images[0].get_array())
    wide = min(columns or 5, count)
    high = -(-count // wide)
    top = 9 if named else 3
    assert sheet.shape == (high * (32 + top) + 3, wide * 35 - 3, 3)
    covered = np.ones(sheet.shape[:2], bool)
    for i in range(count):
        y, x = (i // wide) * (32 + top) + top, (i % wide) * 35
        image = weights(count)[:, i].reshape(3, 32, 32).transpose(1, 2, 0)
        expected = (image - image.min()) / (image.max() - image.min())
        np.testing.assert_allclose(sheet[y : y + 32, x : x + 32], expected, atol=1e-12)
        covered[y : y + 32, x : x + 32] = False
    assert (sheet[covered] == 1).all()  # white
    assert [text.get_text() for text in axes.texts] == (names or [])
    for i, text in enumerate(axes.texts):
        assert text.get_position() == ((i % wide) * 35 + 15.5, (i // wide) * 41 + 9 - 2.5)
        assert text.get_ha() == "center"


def test_the_pixels_of_templates_are_square():
    figure = figures.plot_templates(HEADING, weights(10))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert not axes.axison
    box, sheet = axes.get_window_extent(), axes.images[0].get_array()
    assert box.width / sheet.shape[1] == pytest.approx(box.height / sheet.shape[0], rel=0.01)
    assert box.width > 0.9 * figure.get_window_extent().width


def test_a_unit_without_weights_is_black():
    (drawn,) = figures.plot_templates(HEADING, np.full((3072, 1), 4.0)).axes[0].images
    assert (np.asarray(drawn.get_array())[3:35] == 0).all()


@pytest.fixture(name="heat")
def _heat():
    return figures.plot_heat_map(
        HEADING,
        np.array([[0.0, 1.0, np.nan], [2.0, 8.0, 10.0]]),
        [["a", "b", "c"], ["d", "e", "f"]],
        rows=("row", ["r0", "r1"]),
        columns=("column", ["c0", "c1", "c2"]),
        scale="scale",
    )


def test_a_heat_map_has_a_text_in_the_centre_of_each_cell(heat):
    places = {text.get_text(): text.get_position() for text in heat.axes[0].texts}
    assert places == {"a": (0, 0), "b": (1, 0), "c": (2, 0), "d": (0, 1), "e": (1, 1), "f": (2, 1)}
    assert all((text.get_ha(), text.get_va()) == ("center", "center") for text in heat.axes[0].texts)


def test_a_heat_map_names_its_rows_and_columns(heat):
    axes, bar = heat.axes
    assert (axes.get_ylabel(), [label.get_text() for label in axes.get_yticklabels()]) == ("row", ["r0", "r1"])
    assert (axes.get_xlabel(), [label.get_text() for label in axes.get_xticklabels()]) == ("column", ["c0", "c1", "c2"])
    assert (axes.get_yticks().tolist(), axes.get_xticks().tolist()) == ([0, 1], [0, 1, 2])
    assert bar.get_ylabel() == "scale"


def test_a_heat_map_has_no_grid_lines_over_its_cells(heat):
    heat.draw_without_rendering()
    axes = heat.axes[0]
    assert not any(grid.get_visible() for grid in (*axes.get_xgridlines(), *axes.get_ygridlines()))
    assert not any(spine.get_visible() for spine in axes.spines.values())
    assert all(tick.get_markersize() == 0 for tick in (*axes.get_xticklines(), *axes.get_yticklines()))


def test_larger_values_of_a_heat_map_are_darker_and_have_white_texts(heat):
    image = heat.axes[0].images[0]
    shades = [sum(image.cmap(image.norm(value))[:3]) for value in (0.0, 1.0, 2.0, 8.0, 10.0)]
    assert shades == sorted(shades, reverse=True)
    colours = {text.get_text(): text.get_color() for text in heat.axes[0].texts}
    assert [colours[name] for name in "abdef"] == ["black", "black", "black", "white", "white"]


def test_a_heat_map_with_more_rows_is_higher():
    def height(rows):
        names = [str(i) for i in range(rows)]
        values = np.arange(2.0 * rows).reshape(rows, 2)
        columns = ("y", ["a", "b"])
        texts = [["", ""]] * rows
        figure = figures.plot_heat_map(HEADING, values, texts, rows=("x", names), columns=columns, scale="")
        return figure.get_size_inches()[1]

    assert height(9) - height(5) == pytest.approx(4 * 0.55)
    assert height(10) - height(2) == pytest.approx(8 * 0.55)


def test_the_confusion_matrix_shades_shares_of_the_true_class():
    axes = figures.plot_confusion_matrix(HEADING, np.array([[1, 3], [0, 0]]), ["cat", "dog"]).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[25, 75], [0, 0]])
    assert axes.get_xlabel() == "predicted class"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


# -- headings and files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 3, 20, 40, 90])
def test_details_are_wrapped_into_few_even_lines(words):
    details = " ".join(f"setting {i}" for i in range(words))
    text = figures.plot_learning_rate(Heading("A title", details), np.ones(2)).texts[1].get_text()
    lines = text.split("\n")
    assert " ".join(lines) == details
    assert max(map(len, lines)) <= 108
    assert len(lines) == len(textwrap.wrap(details, 108))
    narrower = textwrap.wrap(details, max(map(len, lines)) - 1)
    assert words == 1 or len(narrower) > len(lines)  # no narrower text has as few lines


@pytest.mark.parametrize("lines", [1, 2, 5])
def test_the_details_are_below_the_title_and_above_the_axes(lines):
    heading = Heading("A title", " ".join(["0123456789"] * 9 * lines))
    figure = figures.plot_learning_rate(heading, np.ones(2))
    figure.draw_without_rendering()
    title, details = (text.get_window_extent() for text in figure.texts)
    top = figure.get_window_extent().y1
    assert title.y1 <= top
    assert title.y0 - details.y1 < 0.1 * 150  # a tenth of an inch
    assert details.y1 <= title.y0 + 2
    assert title.x0 == pytest.approx(details.x0, abs=3)
    gap = details.y0 - figure.axes[0].get_tightbbox().y1
    assert 0 <= gap < 0.4 * 150


def test_a_longer_heading_leaves_the_axes_their_size():
    heights = []
    for lines in (1, 6):
        figure = figures.plot_learning_rate(Heading("A title", " ".join(["0123456789"] * 9 * lines)), np.ones(2))
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_window_extent().height)
    assert heights[0] == pytest.approx(heights[1], abs=2)


@pytest.mark.parametrize("colours", [2, 16, 256])
def test_a_saved_figure_may_have_a_palette(tmp_path, colours):
    figure = DRAWN["templates"]()
    figures.save_figure(figure, tmp_path / "all.png")
    figures.save_figure(figure, tmp_path / "few.png", colours=colours)
    with Image.open(tmp_path / "all.png") as full, Image.open(tmp_path / "few.png") as few:
        assert few.size == full.size
        assert few.mode == "P"
        assert len(few.getcolors()) <= colours
        assert "Software" not in full.info
    assert (tmp_path / "few.png").stat().st_size < (tmp_path / "all.png").stat().st_size


# -- layers ------------------------------------------------------------------------------------------------------------


def test_statistics_of_layers_have_six_panels_with_a_line_per_layer():
    statistics = {"first": LayerStatistics(0.1, 1.0, 0.5, 0.0, 1e-3, 0.0), "last": LayerStatistics(0, 1, 0, 0, 1, 0)}
    rows = [Measurement(step, float(step), 0.1, *[0.5] * 6, layers=statistics) for step in range(3)]
    figure = figures.plot_layers(Heading("Layers", "no data"), History(rows))
    assert [axes.get_ylabel() for axes in figure.axes] == [
        f"{what}s: {label}" for what in ("activation", "gradient") for label in ("mean", "spread", "zeros in %")
    ]
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [["first", "last"]] * 6
    assert figure.axes[2].lines[0].get_ydata().tolist() == [50.0] * 3
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear"] * 2


def test_a_history_without_layers_is_refused():
    with pytest.raises(ValueError, match="plot_layers: the history must contain layers; train with layer_statistics"):
        figures.plot_layers(Heading("Layers", "no data"), History())
