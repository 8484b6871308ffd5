"""Figures: complete, legible, and drawn without changing the state of matplotlib."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.container import ErrorbarContainer  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from tinygrad_cifar.course import plotting as figures  # noqa: E402
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
