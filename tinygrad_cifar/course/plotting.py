"""Figures of training runs: functions from histories or arrays to figures, and :func:`save_figure`.

The heading of a figure names its content, the data and the settings. Lines differ in dash and marker as well as in
colour (the palette of Okabe and Ito), so that they are distinguishable in grey and with any colour vision. Figures are
drawn for a page; those that are not matrices can be drawn for a phone as well. The global state of matplotlib is not
changed.

Requires matplotlib, which the extra ``experiments`` installs.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from tinygrad_cifar.course.training import History
from tinygrad_cifar.data.dataset import SIDE
from tinygrad_cifar.system.files import atomic_write

Array = np.ndarray[Any, np.dtype[Any]]

_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.interpolation": "nearest",
}
_COLOURS = ("#0072B2", "#D55E00", "#000000", "#CC79A7", "#009E73", "#56B4E9", "#E69F00")
_MARKERS = "osD^vPX"
WIDE, NARROW = 7.0, 3.6  # inches: the widths of a figure on a page and on a phone
_MARGIN = 0.8  # inches of a panel taken by its vertical axis
_LETTER_WIDTH = 0.085  # inches, in a tick label
_NAME_WIDTH = 0.066  # inches, of a letter in the name of a template
_DPI = {WIDE: 150, NARROW: 200}
_FEW_DECADES = 1000  # range below which only powers of ten would be too few ticks


@dataclass(frozen=True)
class Heading:
    """The heading of a figure.

    Attributes
    ----------
    title : str
        Content of the figure.
    details : str
        Name of the data and settings, in one line.
    """

    title: str
    details: str


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes
    ----------
    label : str
        Name in the legend.
    x : ndarray
        Horizontal coordinates of the points.
    y : ndarray
        Vertical coordinates of the points.
    colour : int
        Index of the colour and of the marker. Default: 0.
    dashed : bool
        Default: False.
    spread : ndarray, optional
        Half length of the error bar of each point, NaN where there is none.
    joined : bool
        If False, only the points are drawn. Default: True.
    """

    label: str
    x: Array
    y: Array
    colour: int = 0
    dashed: bool = False
    spread: Array | None = None
    joined: bool = True


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes.

    Attributes
    ----------
    x_label : str
        Name of the horizontal axis.
    y_label : str
        Name of the vertical axis.
    lines : sequence of Line
    title : str
    log_x : bool
        If True, the x axis is logarithmic. Default: False.
    log_y : bool
        If True, the y axis is logarithmic. Default: False.
    y_limits : (float, float), optional
        Range of the y axis. If None, that of the lines.
    legend : bool
        If False, there is no legend. Default: True, for several lines.
    x_names : sequence of str
        Names of the x values 0, 1, ... of a categorical axis.
    """

    x_label: str
    y_label: str
    lines: Sequence[Line]
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    y_limits: tuple[float, float] | None = None
    legend: bool = True
    x_names: Sequence[str] = ()


def plot_curves(
    heading: Heading,
    panels: Sequence[Panel],
    *,
    columns: int | None = None,
    shared: bool = True,
    width: float = WIDE,
) -> Figure:
    """Draw panels of curves.

    Parameters
    ----------
    heading : Heading
    panels : sequence of Panel
    columns : int, optional
        Panels per row. If None, all are in one row. A narrow figure has one per row.
    shared : bool
        If True, all panels have the same vertical scale. Default: True.
    width : float
        ``WIDE`` (default) or ``NARROW``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.plotting import Heading, Line, Panel, plot_curves
    >>> line = Line("parabola", np.arange(5.0), np.arange(5.0) ** 2)
    >>> figure = plot_curves(Heading("A parabola", "no data, no settings"), [Panel("x", "x squared", [line])])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['x squared']
    """
    columns = 1 if width == NARROW else columns or len(panels)
    rows = -(-len(panels) // columns)
    with _style():
        figure = _figure(heading, 3.9 if rows == 1 and width == WIDE else 2.9 * rows, width)
        grid: list[Axes] = list(figure.subplots(rows, columns, sharey=shared, squeeze=False).flat)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid, panels, strict=False):
            _draw_panel(axes, panel, width / columns - _MARGIN)
    return figure


def _draw_panel(axes: Axes, panel: Panel, width: float) -> None:
    for line in panel.lines:
        marked = len(panel.lines) > 1 or not line.joined
        style: dict[str, Any] = {
            "label": line.label,
            "color": _COLOURS[line.colour % len(_COLOURS)],
            "marker": _MARKERS[line.colour % len(_MARKERS)] if marked else None,
            "linestyle": "none" if not line.joined else "--" if line.dashed else "-",
        }
        if line.spread is not None and np.isfinite(line.spread).any():
            axes.errorbar(line.x, line.y, line.spread, capsize=3, **style)
        else:
            axes.plot(line.x, line.y, markevery=max(1, len(line.x) // 10) if line.joined else None, **style)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.yaxis.set_tick_params(labelleft=True)
    if panel.x_names:
        axes.set_xticks(range(len(panel.x_names)), panel.x_names)
        axes.set_xlim(-0.5, len(panel.x_names) - 0.5)
    elif panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        if high < _FEW_DECADES * low:
            axes.xaxis.set_major_locator(LogLocator(subs=_multiples(low, high, width)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    if panel.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_ylim()
        if high < _FEW_DECADES * low:
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    if panel.y_limits is not None:
        axes.set_ylim(panel.y_limits)
    if len(panel.lines) > 1 and panel.legend:
        axes.legend(fontsize=9)


def _multiples(low: float, high: float, width: float) -> Sequence[float]:
    """Return the multiples of powers of ten that get a tick: as many as have room for their labels."""
    for multiples in ((1.0, 2.0, 5.0), (1.0, 3.0)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        marks = [m * 10.0**k for k in decades for m in multiples if low <= m * 10.0**k <= high]
        apart = (width * math.log(b / a) / math.log(high / low) for a, b in pairwise(marks))
        needed = (_LETTER_WIDTH * (1 + (len(f"{a:g}") + len(f"{b:g}")) / 2) for a, b in pairwise(marks))
        if all(available >= wanted for available, wanted in zip(apart, needed, strict=True)):
            return multiples
    return (1.0,)


def plot_histograms(
    heading: Heading, values: Mapping[str, Array], x_label: str, *, bins: int = 100, width: float = WIDE
) -> Figure:
    """Draw one histogram per array, with shared axes: side by side, or one below the other in a narrow figure.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.plotting import Heading, plot_histograms
    >>> values = np.random.default_rng(0).normal(size=1000)
    >>> figure = plot_histograms(Heading("Normal numbers", "seed 0"), {"sigma 1": values, "sigma 2": 2 * values}, "x")
    >>> [axes.get_title() for axes in figure.axes]
    ['sigma 1', 'sigma 2']
    """
    edges = np.histogram_bin_edges(np.concatenate([array.ravel() for array in values.values()]), bins)
    with _style():
        rows, columns = (len(values), 1) if width == NARROW else (1, len(values))
        figure = _figure(heading, 3.4 if width == WIDE else 2.6 * rows, width)
        grid: list[Axes] = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for i, (axes, (name, array)) in enumerate(zip(grid, values.items(), strict=True)):
            axes.hist(array.ravel(), edges.tolist(), color=_COLOURS[i % len(_COLOURS)])
            axes.set_title(name, fontsize=10)
            axes.set_xlabel(x_label)
            axes.set_ylabel("elements")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.xaxis.set_tick_params(labelbottom=True)
            axes.yaxis.set_tick_params(labelleft=True)
    return figure


def plot_bars(heading: Heading, values: Mapping[str, Sequence[float]], y_label: str, *, width: float = WIDE) -> Figure:
    """Draw a bar for each name: the mean of its values, with the standard deviation of several values.

    Examples
    --------
    >>> from tinygrad_cifar.course.plotting import Heading, plot_bars
    >>> figure = plot_bars(Heading("Accuracy", "two seeds"), {"small": [50.0, 52.0], "large": [60.0, 61.0]}, "in %")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['51', '60.5']
    """
    means = [float(np.mean(found)) for found in values.values()]
    spreads = [float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for found in values.values()]
    with _style():
        figure = _figure(heading, 3.4, width)
        axes = figure.add_subplot()
        names = [name.replace(", ", "\n") for name in values]
        colours = [_COLOURS[i % len(_COLOURS)] for i in range(len(means))]
        bars = axes.bar(names, means, yerr=spreads if any(spreads) else None, color=colours, width=0.6, capsize=4)
        axes.bar_label(bars, [f"{mean:.3g}" for mean in means], padding=3, fontsize=9)
        axes.margins(y=0.12)
        axes.set_ylabel(y_label)
    return figure


def plot_loss(heading: Heading, histories: Mapping[str, History]) -> Figure:
    """Draw loss and cost against the epoch, for the training and validation images of one or several runs.

    Parameters
    ----------
    heading : Heading
    histories : mapping
        Histories by the names of the runs. The name of a single run can be empty, as in ``{"": history}``.

    Returns
    -------
    Figure
        One panel if cost and loss are equal (lambda is 0, or the decay is decoupled), otherwise two.
    """
    same = all((h.column("train_loss") == h.column("train_cost")).all() for h in histories.values())
    names = {"loss": "mean loss", "cost": "mean cost"}
    if same:
        names = {"loss": "mean loss, which is the cost"}
    return plot_curves(heading, [Panel("epoch", name, _lines(histories, quantity)) for quantity, name in names.items()])


def plot_accuracy(heading: Heading, histories: Mapping[str, History]) -> Figure:
    """Draw the accuracy against the epoch; parameters as for :func:`plot_loss`."""
    return plot_curves(heading, [Panel("epoch", "accuracy in %", _lines(histories, "accuracy", 100.0))])


def _lines(histories: Mapping[str, History], quantity: str, scale: float = 1.0) -> list[Line]:
    lines = []
    for i, (name, history) in enumerate(histories.items()):
        # For one run, the colour means training or validation; for several, it means the run.
        colours = (0, 1) if len(histories) == 1 else (i, i)
        lines += lines_of(history, quantity, (f"{name} training".strip(), f"{name} validation".strip()), colours, scale)
    return lines


def lines_of(
    history: History, quantity: str, labels: tuple[str, str], colours: tuple[int, int], scale: float = 1.0
) -> list[Line]:
    """Return the lines of the training and, dashed, of the validation images, each only if it was measured.

    Parameters
    ----------
    history : History
    quantity : str
        ``"loss"``, ``"cost"`` or ``"accuracy"``.
    labels, colours : tuple
        Of the two lines.
    scale : float
        Factor of the values. Default: 1.0.
    """
    lines = []
    for part, label, colour in zip(("train", "validation"), labels, colours, strict=True):
        y = scale * history.column(f"{part}_{quantity}")
        if not np.isnan(y).all():
            lines.append(Line(label, history.column("epoch"), y, colour, dashed=part == "validation"))
    return lines


def plot_layers(heading: Heading, history: History, *, width: float = WIDE) -> Figure:
    """Draw the statistics of the layers against the epoch: activations in the first row, gradients in the second.

    Parameters
    ----------
    heading : Heading
    history : History
        Of a run with ``layer_statistics=True``.
    width : float
        ``WIDE`` (default) or ``NARROW``.

    Raises
    ------
    ValueError
        If the run did not measure the layers.
    """
    if not history.layers:
        raise ValueError("plot_layers: the history must contain layers; train with layer_statistics=True")
    panels = []
    for what in ("activation", "gradient"):
        for quantity, label, scale in (("mean", "mean", 1.0), ("std", "spread", 1.0), ("zeros", "zeros in %", 100.0)):
            lines = [
                Line(layer, history.column("epoch"), scale * history.column(f"{layer}_{what}_{quantity}"), i)
                for i, layer in enumerate(history.layers)
            ]
            is_positive = quantity == "std" and all((line.y > 0).all() for line in lines)
            limits = (-2.0, 102.0) if quantity == "zeros" else None
            is_last = what == "gradient" and quantity == "zeros"  # there is room between the lines
            name = f"{what}s: {label}"
            panels.append(Panel("epoch", name, lines, log_y=is_positive, y_limits=limits, legend=is_last))
    return plot_curves(heading, panels, columns=3, shared=False, width=width)


def plot_learning_rate(heading: Heading, rates: Array, *, width: float = WIDE) -> Figure:
    """Draw the learning rate of each update; the first update is step 0."""
    line = Line("", np.arange(len(rates)), rates)
    return plot_curves(heading, [Panel("update step", "learning rate eta", [line])], width=width)


def plot_templates(
    heading: Heading,
    weights: Array,
    names: Sequence[str] | None = None,
    *,
    columns: int = 5,
    width: float = WIDE,
) -> Figure:
    """Draw the weights of linear units as images.

    Parameters
    ----------
    heading : Heading
    weights : ndarray, shape (3072, n)
        One column per unit, in the layout of the images. Each image is scaled from its minimum to its maximum.
    names : sequence of str, optional
        One per unit, written above its image.
    columns : int
        Images per row. Default: 5. A narrow figure has fewer, so that the names have room.
    width : float
        ``WIDE`` (default) or ``NARROW``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.plotting import Heading, plot_templates
    >>> weights = np.random.default_rng(0).normal(size=(3072, 10))
    >>> figure = plot_templates(Heading("Noise", "drawn from seed 0"), weights, list("abcdefghij"))
    >>> len(figure.axes[0].texts)
    10
    """
    images = _as_images(weights)
    if width == NARROW:
        columns = min(columns, max(1, int(width / (_NAME_WIDTH * max(map(len, names or ["image"]))))))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    top, gap = (9 if names else 3), 3  # pixels above and beside an image
    sheet = np.ones((rows * (SIDE + top) + gap, columns * (SIDE + gap) - gap, 3))
    with _style():
        figure = _figure(heading, (width - 0.3) * sheet.shape[0] / sheet.shape[1], width)
        axes = figure.add_subplot()
        for i, image in enumerate(images):
            y, x = (i // columns) * (SIDE + top) + top, (i % columns) * (SIDE + gap)
            sheet[y : y + SIDE, x : x + SIDE] = image
            if names:
                axes.text(x + SIDE / 2 - 0.5, y - 2.5, names[i], ha="center", va="baseline", fontsize=9)
        axes.imshow(sheet)
        axes.set_axis_off()
    return figure


def _as_images(weights: Array) -> Array:
    images = weights.T.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1).astype(np.float64)
    low, high = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    scaled: Array = (images - low) / np.where(high > low, high - low, 1.0)
    return scaled


def plot_heat_map(
    heading: Heading,
    values: Array,
    texts: Sequence[Sequence[str]],
    *,
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
    scale: str,
) -> Figure:
    """Draw a matrix as shades, darker for larger values, with a text in each cell.

    A text is black or white, whichever has the higher contrast with its cell.

    Parameters
    ----------
    heading : Heading
    values : ndarray, shape (m, n)
        Values of the cells.
    texts : m sequences of n str
        Texts of the cells.
    rows, columns : (str, sequence of str)
        Name of the axis and of its entries.
    scale : str
        Name of the colour scale.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.plotting import Heading, plot_heat_map
    >>> figure = plot_heat_map(
    ...     Heading("Powers", "exact"),
    ...     np.array([[1.0, 1.0], [2.0, 4.0]]),
    ...     [["1", "1"], ["2", "4"]],
    ...     rows=("base", ["1", "2"]),
    ...     columns=("exponent", ["1", "2"]),
    ...     scale="power",
    ... )
    >>> figure.axes[0].get_xlabel(), figure.axes[1].get_ylabel()
    ('exponent', 'power')
    """
    with _style():
        figure = _figure(heading, 1.3 + 0.55 * len(values))
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap="Blues", aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(columns[1])), columns[1], rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows[1])), rows[1])
        axes.tick_params(length=0)
        axes.set_xlabel(columns[0])
        axes.set_ylabel(rows[0])
        for (i, j), value in np.ndenumerate(values):
            colour = "black" if np.isnan(value) else _legible_on(image.to_rgba(value))
            axes.text(j, i, texts[i][j], ha="center", va="center", fontsize=8, color=colour)
        bar = figure.colorbar(image, ax=axes, label=scale, shrink=0.8, pad=0.02)
        bar.outline.set_visible(False)
    return figure


def _legible_on(background: Array) -> str:
    """Return black or white, whichever has the higher contrast with a colour, as the WCAG define it."""
    channels = np.asarray(background[:3], dtype=np.float64)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def plot_confusion_matrix(heading: Heading, counts: Array, class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix (rows: true, columns: predicted) in percent, with the numbers of images below.

    Percentages are rounded to the nearest integer, and halves up.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.plotting import Heading, plot_confusion_matrix
    >>> figure = plot_confusion_matrix(Heading("Confusion", "two classes"), np.array([[3, 1], [0, 4]]), ["cat", "dog"])
    >>> [text.get_text().split() for text in figure.axes[0].texts]
    [['75', '%', '3'], ['25', '%', '1'], ['0', '%', '0'], ['100', '%', '4']]
    """
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = 100 * counts / totals
    rounded = (200 * counts + totals) // (2 * totals)  # exact: the format of a float rounds halves to even
    texts = [
        [f"{percent} %\n{count}" for percent, count in zip(*row, strict=True)]
        for row in zip(rounded, counts, strict=True)
    ]
    return plot_heat_map(
        heading,
        shares,
        texts,
        rows=("true class", class_names),
        columns=("predicted class", class_names),
        scale="% of the images of the true class",
    )


def save_figure(figure: Figure, path: Path, *, colours: int | None = None) -> None:
    """Write a figure as PNG, atomically.

    Parameters
    ----------
    figure : Figure
    path : Path
    colours : int, optional
        Number of colours, at most 256. A palette reduces the size of the file to a third. If None, use all colours.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = io.BytesIO()
    intermediate = {} if colours is None else {"compress_level": 0}  # compressed below, with a palette
    with _style():
        figure.savefig(content, format="png", metadata={"Software": None}, pil_kwargs=intermediate)
    if colours is not None:
        image = Image.open(content).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        content = io.BytesIO()
        image.save(content, format="png", optimize=True)
    with atomic_write(path) as file:
        file.write(content.getvalue())


@contextmanager
def _style() -> Iterator[None]:
    """Use the style of this module, independent of the matplotlibrc of the user."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def _figure(heading: Heading, height: float, width: float = WIDE) -> Figure:
    """Return a figure with a heading and ``height`` inches below it."""
    title = _even_lines(heading.title, int(9 * width))
    details = _even_lines(heading.details, int(15.5 * width))
    further = 0.2 * (len(title) - 1)  # inches taken by further lines of the title
    top = 0.42 + further + 0.18 * len(details)
    total = height + top
    layout = ConstrainedLayoutEngine(rect=(0.01, 0.0, 0.98, height / total))
    figure = Figure(figsize=(width, total), dpi=_DPI[width], layout=layout)
    middle = 1 - (0.26 + further / 2) / total
    figure.text(0.02, middle, "\n".join(title), fontsize=12, fontweight="bold", va="center")
    below = 1 - (0.40 + further) / total
    figure.text(0.02, below, "\n".join(details), fontsize=8, color="0.3", va="top", linespacing=1.2)
    return figure


def _even_lines(text: str, width: int) -> list[str]:
    """Wrap into the minimum number of lines for the width, as narrow as possible."""
    fewest = len(textwrap.wrap(text, width))
    if fewest == 0:
        return [""]
    return next(lines for narrow in range(1, width + 1) if len(lines := textwrap.wrap(text, narrow)) <= fewest)
